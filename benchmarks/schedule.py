"""What waiting for clean electricity saves, by the design of Dodge et al. 2022 (arXiv 2206.05229), and what plans take.

Run it on a folder of hourly series, CSV files of a UTC time and g CO2e/kWh (half an hour for two years of hours)::

    python benchmarks/schedule.py FOLDER [--watts 300] [--idle-watts 60] [--every 1] [--json FILE]

Jobs of 6, 36 and 192 hours start at every hour of the series, and may end 6 to 24 hours, or 25 to 100 % of their
duration, later than at once. Savings are means over all starts, in per cent of what starting at once emits. For every
one of them Pause and Resume must save at least what Flexible Start does, with idle power no more than without, and
Flexible Start at least nothing; else this exits with 1.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from figures import save

from wattloop.grid.pausing import pause_and_resume
from wattloop.grid.window import Window, flexible_start

JOBS_H = (6, 36, 192)
HOURS = (6.0, 12.0, 18.0, 24.0)
SHARES = (0.25, 0.5, 0.75, 1.0)
HOUR_S = 3600.0
ROUNDING = 1e-12


@dataclass(frozen=True)
class Row:
    series: str
    job_h: int
    window: str
    starts: int
    flexible_start: float
    pause_and_resume: float
    with_idle: float
    violations: int


def read(path: Path) -> list[float]:
    """Read a series; a blank hour holds the value before it."""
    values: list[float] = []
    with path.open(encoding="utf-8", newline="") as file:
        for _, value in list(csv.reader(file))[1:]:
            values.append(float(value) if value.strip() else values[-1])
    return values


def row(series: str, values: list[float], job_h: int, within_h: float, label: str, idle: float, every: int) -> Row:
    window_h = job_h + within_h
    steps = -int(-window_h // 1)
    edges = [*(HOUR_S * k for k in range(steps)), HOUR_S * window_h]
    saved: list[tuple[float, float, float]] = []
    for start in range(0, len(values) - steps + 1, every):
        window = Window.of(edges, values[start : start + steps])
        now = window.upto(HOUR_S * job_h)
        later = window.cost([flexible_start(window, HOUR_S * job_h)])
        free = window.cost(pause_and_resume(window, HOUR_S * job_h))
        paid = window.cost(pause_and_resume(window, HOUR_S * job_h, idle), idle)
        saved.append((1.0 - later / now, 1.0 - free / now, 1.0 - paid / now))
    violations = sum(
        fs < -ROUNDING or pr < fs - ROUNDING or idle_pr < fs - ROUNDING or idle_pr > pr + ROUNDING
        for fs, pr, idle_pr in saved
    )
    means = [100.0 * fmean(column) for column in zip(*saved, strict=True)]
    return Row(series, job_h, label, len(saved), *means, violations)


def speed(values: list[float], idle: float) -> None:
    """Time a 30-day job in a year of five-minute steps, interpolated between the hours."""
    fine = [a + (b - a) * k / 12 for a, b in zip(values, [*values[1:], values[-1]], strict=True) for k in range(12)]
    window = Window.of([300.0 * k for k in range(len(fine) + 1)], fine)
    job_s = 30 * 24 * HOUR_S
    for what, plan in (
        ("Flexible Start", lambda: flexible_start(window, job_s)),
        ("Pause and Resume", lambda: pause_and_resume(window, job_s)),
        ("Pause and Resume, idle", lambda: pause_and_resume(window, job_s, idle)),
    ):
        took = []
        for _ in range(5):
            begin = time.perf_counter()
            plan()
            took.append(time.perf_counter() - begin)
        print(f"  {what:24} {median(took):6.3f} s (median of 5; {len(fine)} steps)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--watts", type=float, default=300.0)
    parser.add_argument("--idle-watts", type=float, default=60.0)
    parser.add_argument("--every", type=int, default=1, help="hours between two starts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    idle = options.idle_watts / options.watts
    rows: list[Row] = []
    for path in sorted(options.folder.glob("*.csv")):
        values = read(path)
        print(f"{path.stem}: {len(values)} hours, mean {fmean(values):.0f} g/kWh", flush=True)
        speed(values, idle)
        print(
            f"  {'job':>5} {'within':>7} {'starts':>6}   FS %   PR %   PR % with {options.idle_watts:g} W idle",
            flush=True,
        )
        for job_h in JOBS_H:
            windows = [(hours, f"+{hours:g} h") for hours in HOURS]
            windows += [(job_h * share, f"+{share:.0%}") for share in SHARES]
            for within_h, label in windows:
                rows.append(row(path.stem, values, job_h, within_h, label, idle, options.every))
                last = rows[-1]
                print(
                    f"  {job_h:3} h {label:>8} {last.starts:6} {last.flexible_start:6.2f} {last.pause_and_resume:6.2f} "
                    f"{last.with_idle:6.2f}" + (f"  {last.violations} violations" if last.violations else ""),
                    flush=True,
                )
    save(options.json, rows)
    violations = sum(each.violations for each in rows)
    print(f"{sum(each.starts for each in rows)} starts and windows, {violations} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
