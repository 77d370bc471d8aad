"""How right forecasts are, and how honest their intervals, beside carbontracker's rule: total epochs x mean epoch.

Run it where wattloop is installed, with torch and lightning for the real runs::

    python benchmarks/forecast.py [--json FILE] [--runs 20] [--first-seed 100000] [--wide] [--no-real]

* **Generated runs** (`tests/fakes/runs.py` says what each kind is): `--runs` of each kind, with random parameters and
  seeds that the forecast's constants were not found with; those are below 10,000. `--wide` draws from wider ranges.
  Given are the median and the 95th percentile of the relative error of the run's energy, in %, after the first epoch,
  5 % and 20 % of the steps; the share of 90 % intervals that hold the truth; their median width, in % of the truth; and
  the same for the rule, which speaks after an epoch only, and is helped out with what it does not count or know: the
  energy of start-up, and that a run was resumed.
* **All** is all kinds whose length is known, without the two in which nothing of what comes can be known after the
  first epoch: `cold_cache` (dearer as a whole) and `steep` (in the end, steps cost two to four times as much as in the
  beginning). What counts there is how often the interval holds after three epochs, the last column.
* **Real runs** train a small network on the CPU, beside a fake GPU that works as long and draws as much as the loop
  tells it to: the signed error in % after one, two and four epochs, that of the rule after one, and in how many of the
  seven forecasts the interval held the truth.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from multiprocessing import Pool
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.calibration import Said, quantile, tried
from fakes.runs import RECIPES, make

MOMENTS = ("epoch 1", "5 %", "20 %")
UNFORESEEABLE = ("cold_cache", "steep")
SLOW_STARTS = ("decaying_start", "slow_first_steps", "compiled", "autotuned")
HEAD = (
    f"{'':20}{'runs':>5} |{'after epoch 1':^46}|{'after 5 %':^28}|{'after 20 %':^28}|{'epoch 3':>8}\n"
    f"{'':20}{'':5} |{'median':>8}{'95th':>8}{'rule':>8}{'times':>8}{'held':>7}{'width':>7}"
    f"|{'median':>8}{'95th':>8}{'held':>6}{'width':>6}|{'median':>8}{'95th':>8}{'held':>6}{'width':>6}|{'held':>8}"
)

Told = dict[str, Said]


def one(job: tuple[str, int, bool]) -> tuple[str, Told, bool]:
    """Return what was said of one run, and whether it ever was that the end is not known."""
    kind, seed, wide = job
    result = tried(make(kind, seed, wide))
    return kind, result.said, bool(result.silent)


def figures(said: list[Said]) -> dict[str, float]:
    """Return the figures of one moment, errors and widths as shares."""
    rules = [one.rule_error for one in said if one.rule_error is not None]
    return {
        "runs": len(said),
        "median_error": quantile([abs(one.error) for one in said], 0.5),
        "p95_error": quantile([abs(one.error) for one in said], 0.95),
        "held": sum(one.held for one in said) / len(said) if said else math.nan,
        "width": quantile([one.width for one in said], 0.5),
        "duration_median_error": quantile([abs(one.duration_error) for one in said], 0.5),
        "duration_p95_error": quantile([abs(one.duration_error) for one in said], 0.95),
        "duration_held": sum(one.duration_held for one in said) / len(said) if said else math.nan,
        "rule_median_error": quantile([abs(error) for error in rules], 0.5),
        "rule_p95_error": quantile([abs(error) for error in rules], 0.95),
    }


def by_moment(told: Iterable[Told]) -> dict[str, dict[str, float]]:
    told = [*told]
    return {
        moment: figures([each[moment] for each in told if moment in each])
        for moment in (*MOMENTS, "epoch 2", "epoch 3")
    }


def cell(value: float, width: int, scale: float = 100.0, digits: int = 2) -> str:
    return " " * (width - 1) + "-" if math.isnan(value) else f"{scale * value:{width}.{digits}f}"


def line(kind: str, runs: int, found: dict[str, dict[str, float]]) -> str:
    first = found["epoch 1"]
    times = first["rule_median_error"] / first["median_error"] if first["median_error"] else math.nan
    text = f"{kind:20}{runs:5} |" + "".join(
        cell(first[name], 8) for name in ("median_error", "p95_error", "rule_median_error")
    )
    text += cell(times, 8, 1.0, 1) + cell(first["held"], 7, digits=0) + cell(first["width"], 7, digits=1)
    for moment in ("5 %", "20 %"):
        each = found[moment]
        text += "|" + cell(each["median_error"], 8) + cell(each["p95_error"], 8)
        text += cell(each["held"], 6, digits=0) + cell(each["width"], 6, digits=1)
    return text + "|" + cell(found["epoch 3"]["held"], 8, digits=0)


def aims(
    all_: dict[str, dict[str, float]], kinds: dict[str, dict[str, dict[str, float]]]
) -> list[tuple[str, str, bool]]:
    """Return what the figures must show, what they are, and whether they do."""
    first, late = all_["epoch 1"], all_["20 %"]
    total = sum(all_[moment]["runs"] for moment in MOMENTS)
    held, duration_held = (
        sum(all_[moment]["runs"] * all_[moment][name] for moment in MOMENTS) / total
        for name in ("held", "duration_held")
    )
    rivals = {kind: found["epoch 1"] for kind, found in kinds.items() if found["epoch 1"]["rule_median_error"] >= 0}
    worse = [kind for kind, at in rivals.items() if at["median_error"] > at["rule_median_error"] * (1 + 1e-9)]
    times = min(rivals[kind]["rule_median_error"] / rivals[kind]["median_error"] for kind in SLOW_STARTS)
    late_held = min(kinds[kind]["epoch 3"]["held"] for kind in UNFORESEEABLE)
    return [
        ("after epoch 1: median error up to 2 %", f"{first['median_error']:.2%}", first["median_error"] <= 0.02),
        ("after epoch 1: 95th percentile up to 8 %", f"{first['p95_error']:.2%}", first["p95_error"] <= 0.08),
        (
            "after 20 % of the steps: median error up to 1 %",
            f"{late['median_error']:.2%}",
            late["median_error"] <= 0.01,
        ),
        ("energy intervals that hold: 86 to 94 %", f"{held:.1%}", 0.86 <= held <= 0.94),
        ("duration intervals that hold: 86 to 94 %", f"{duration_held:.1%}", 0.86 <= duration_held <= 0.94),
        ("no kind worse than by the rule", ", ".join(worse) or "none", not worse),
        ("slow starts: at least 10 times better than the rule", f"{times:.0f} times", times >= 10),
        ("unforeseeable kinds: intervals that hold after epoch 3", f"{late_held:.0%}", late_held >= 0.86),
    ]


def generated(runs: int, first_seed: int, wide: bool, processes: int) -> dict[str, Any]:
    jobs = [(kind, seed, wide) for kind in RECIPES for seed in range(first_seed, first_seed + runs)]
    told, silent = defaultdict(list), defaultdict(int)
    with Pool(processes) as pool:
        for kind, said, was_silent in pool.imap_unordered(one, jobs, chunksize=4):
            told[kind].append(said)
            silent[kind] += was_silent
    kinds = {kind: by_moment(told[kind]) for kind in RECIPES}
    known = [kind for kind in RECIPES if kind not in (*UNFORESEEABLE, "unknown")]
    all_ = by_moment(each for kind in known for each in told[kind])
    everything = by_moment(each for kind in RECIPES for each in told[kind])
    print(HEAD)
    for kind, found in kinds.items():
        print(line(kind, runs, found) if any(told[kind]) else f"{kind:20}{runs:5} | says that it is not known")
    print(line("ALL", runs * len(known), all_))
    print(line("with unforeseeable", runs * (len(RECIPES) - 1), everything))
    print()
    results = aims(all_, kinds)
    for aim, value, reached in results:
        print(f"{aim:60}{value:>12}  {'yes' if reached else 'NO'}")
    return {
        "kinds": kinds,
        "all": all_,
        "with_unforeseeable": everything,
        "aims": [{"aim": aim, "value": value, "reached": reached} for aim, value, reached in results],
    }


def trained() -> dict[str, Any]:
    """Train for real, each run in a process of its own, so that each finds a fresh fake driver."""
    found: dict[str, Any] = {}
    print(f"\n{'real runs':24}{'kWh':>10}{'after epoch 1':>15}{'2':>8}{'4':>8}{'rule':>8}{'held':>8}{'seconds':>9}")
    for name in ("steady", "slow_start", "growing", "validated_sometimes", "lightning"):
        with tempfile.NamedTemporaryFile("r") as result:
            command = [sys.executable, __file__, "--child", name, "--json", result.name]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            run = json.load(result)
        truth, said = run["kwh"], run["said"]
        errors = [each["kwh"] / truth - 1 for each in said]
        held = [each["kwh_low"] <= truth <= each["kwh_high"] for each in said]
        rule = (len(said) + 1) * run["epoch_ends_kwh"][0] / truth - 1
        found[name] = {"kwh": truth, "errors": errors, "held": held, "rule_error": rule}
        cells = "".join(f"{100 * errors[epoch - 1]:{width}.2f}" for epoch, width in ((1, 15), (2, 8), (4, 8)))
        print(f"{name:24}{truth:10.6f}{cells}{100 * rule:8.2f}{sum(held):5}/{len(held)}{run['duration_s']:9.1f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--runs", type=int, default=20, help="generated runs of each kind")
    parser.add_argument("--first-seed", type=int, default=100_000, help="of the generated runs of each kind")
    parser.add_argument("--wide", action="store_true", help="draw parameters from wider ranges")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that try generated runs")
    parser.add_argument("--no-real", action="store_true", help="generated runs only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        from forecast.real import real

        options.json.write_text(json.dumps(asdict(real(options.child))))
        return
    found = generated(options.runs, options.first_seed, options.wide, options.jobs)
    if not options.no_real:
        found["real"] = trained()
    if options.json:
        about = {"python": platform.python_version(), "first_seed": options.first_seed, "wide": options.wide}
        options.json.write_text(json.dumps({"about": about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
