"""What `wattloop watch` adds to a command's start and end, and how right its energy is.

Run it where wattloop is installed, with a C compiler::

    python benchmarks/watch.py [--json FILE] [--repetitions 30] [--only life energy]

It takes some ten minutes. The command is a C program that tells when it was started and when it ended, by the monotonic
clock. The fake NVML answers at once but where it is said not to; the command's start waits for no driver, its end waits
for the last reading, though not for long.

* **Start**: from the moment before the process is made until the command's first line runs; `bare` is the command
  alone, `interpreter` a Python that does nothing but become the command: all that is ours is above that.
* **End**: from the command's last line until its parent knows that we have ended.
* **Energy**: of commands of twelve seconds, beside the integral of the fake over the time that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from figures import save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SECONDS, LONG_S = 0.7, 12.0
LIFE_AIM_MS, ENERGY_AIM = 50.0, 1.0
COUNTER = "profile=constant:300;refresh_s="
COMMAND = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static void tell(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    printf("%lld.%09ld\\n", (long long)t.tv_sec, t.tv_nsec);
    fflush(stdout);
}
int main(int count, char **arguments) {
    tell();
    double seconds = atof(arguments[1]);
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
    tell();
    return 0;
}
"""
SETTINGS: dict[str, tuple[str, list[str]]] = {
    "1 GPU, counter of 20 ms": (f"devices=1;{COUNTER}0.02", []),
    "1 GPU, counter of 100 ms": (f"devices=1;{COUNTER}0.1", []),
    "8 GPUs, counter of 20 ms": (f"devices=8;{COUNTER}0.02", []),
    "8 GPUs, counter of 100 ms": (f"devices=8;{COUNTER}0.1", []),
    "8 GPUs, --region FR, with a record": (f"devices=8;{COUNTER}0.02", ["--region", "FR", "--log-dir", "{folder}"]),
    "1 GPU, --region France": (f"devices=1;{COUNTER}0.02", ["--region", "France"]),
    "1 GPU, --region france": (f"devices=1;{COUNTER}0.02", ["--region", "france"]),
    "1 GPU, --region us_ca (looked up)": (f"devices=1;{COUNTER}0.02", ["--region", "us_ca"]),
    "1 GPU, --json": (f"devices=1;{COUNTER}0.02", ["--json"]),
    "1 GPU, on a terminal": (f"devices=1;{COUNTER}0.02", []),
    "a driver that wakes up in 0.5 s": (f"devices=1;{COUNTER}0.02;latency.init=0.5", []),
    "a driver that hangs": ("hang.init=1", []),
    "a driver that ceases to answer": (f"devices=1;{COUNTER}0.02;hang.all=1@0.4", []),
    "each call takes 2 ms, 8 GPUs": (f"devices=8;{COUNTER}0.02;latency.all=0.002", []),
    "no driver": ("error.init=12", []),
}
LOADS = {
    "constant 300 W, counter of 100 ms": f"devices=1;{COUNTER}0.1",
    "8 GPUs of 300 W, counter of 20 ms": f"devices=8;{COUNTER}0.02",
    "100/500 W every 0.13 s, counter of 100 ms": "devices=1;profile=square:100,500,0.13;refresh_s=0.1",
    "100/500 W every 1 s, counter of 20 ms": "devices=1;profile=square:100,500,1;refresh_s=0.02",
    "100/500 W every 5 s, counter of 100 ms": "devices=1;profile=square:100,500,5;refresh_s=0.1",
    "power alone, 300 W": "devices=1;profile=constant:300;error.total_energy=3;error.field_83=3",
}


@dataclass(frozen=True)
class Row:
    what: str
    middle: float
    worst: float
    unit: str
    aim: float | None = None


def prefix() -> list[str]:
    """Return how wattloop is called: by its script, where it is installed."""
    script = Path(sys.executable).with_name("wattloop")
    code = "import sys; sys.argv[0] = 'wattloop'; from wattloop.cli import main; main()"
    return [str(script)] if script.exists() else [sys.executable, "-c", code]


def command(folder: Path) -> str:
    source, program = folder / "command.c", folder / "command"
    source.write_text(COMMAND)
    subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    return str(program)


@dataclass(frozen=True)
class Life:
    start_ms: float
    end_ms: float


def one_life(arguments: list[str], config: str, terminal: bool = False) -> Life:
    from fakes.nvml import environment

    variables = environment(config)
    ours, theirs = pty.openpty() if terminal else os.pipe()
    before_s = time.monotonic()
    process = subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=theirs)
    process.wait()
    after_s = time.monotonic()
    assert process.stdout is not None
    begin_s, end_s = map(float, process.stdout.read().split())
    process.stdout.close()
    os.close(ours)
    os.close(theirs)
    return Life(1e3 * (begin_s - before_s), 1e3 * (after_s - end_s))


def life(repetitions: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = command(folder)
        whole = [program, str(SECONDS)]
        become = f"import os, sys; os.execv({program!r}, sys.argv[1:])"
        cases = {
            "bare": (whole, "", False),
            "interpreter": ([sys.executable, "-c", become, *whole], "", False),
        }
        for what, (config, options) in SETTINGS.items():
            given = [option.replace("{folder}", name) for option in options]
            cases[what] = ([*prefix(), "watch", *given, "--", *whole], config, "terminal" in what)
        # What a command costs that is over at once: nothing is measured, and nobody waits.
        cases["bare, over at once"] = ([program, "0"], "", False)
        cases["1 GPU, over at once"] = ([*prefix(), "watch", "--", program, "0"], f"devices=1;{COUNTER}0.02", False)
        found: dict[str, list[Life]] = {what: [] for what in cases}
        for _ in range(repetitions):
            for what, case in cases.items():
                found[what].append(one_life(*case))
    for part in ("start", "end"):
        for what, lives in found.items():
            some = [getattr(one, f"{part}_ms") for one in lives]
            aim = None if what.startswith(("bare", "interpreter")) else LIFE_AIM_MS
            yield Row(f"{part}, {what}", median(some), max(some), "ms", aim)


def energy(repetitions: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        program = command(Path(name))
        parts = [load for load in LOADS for _ in range(max(1, repetitions // 6))]
        with ThreadPoolExecutor(6) as side_by_side:
            found = [*side_by_side.map(lambda load: one_energy(program, LOADS[load]), parts)]
    for load in LOADS:
        errors = [error for error, of in zip(found, parts, strict=True) if of == load]
        off = [abs(one[0]) for one in errors]
        yield Row(f"energy, {load}", median(off), max(off), "% off", ENERGY_AIM)
        yield Row("  stated", median(one[1] for one in errors), max(one[1] for one in errors), "%")
        held = sum(abs(one[0]) <= one[1] for one in errors)
        yield Row("  held", float(held), float(len(errors)), "of")


def one_energy(program: str, config: str) -> tuple[float, float]:
    """Return the error and what was stated of it, in % of the true energy."""
    from fakes.nvml import environment

    arguments = [*prefix(), "watch", "--json", "--", program, str(LONG_S)]
    done = subprocess.run(arguments, env=environment(config), capture_output=True, check=True)
    begin_s, end_s = map(float, done.stdout.split())
    truth = (
        "import sys; from fakes.nvml import FakeNvml\n"
        "with FakeNvml(sys.argv[1]) as fake: print(fake.energy_j(*map(float, sys.argv[2:])))"
    )
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = [sys.executable, "-c", truth, config, str(begin_s), str(end_s)]
    true_j = float(subprocess.run(child, env=variables, capture_output=True, check=True).stdout)
    told = json.loads(done.stderr)
    return 100 * (told["kwh"] * 3.6e6 / true_j - 1), 100 * told["uncertainty_kwh"] * 3.6e6 / true_j


PARTS = {"life": life, "energy": energy}


def line(row: Row) -> str:
    aim = "" if row.aim is None else f"{row.aim:8g}{'  missed' if row.middle > row.aim else ''}"
    return f"{row.what:55}{row.middle:10.2f}{row.worst:10.2f} {row.unit:6}{aim}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], help="measure these parts")
    parser.add_argument("--repetitions", type=int, default=30, help="of each setting; a sixth of it for energy")
    options = parser.parse_args()
    print(f"{'':55}{'median':>10}{'worst':>10} {'':6}{'aim':>8}")
    rows: list[Row] = []
    for part in options.only:
        for row in PARTS[part](options.repetitions):
            print(line(row), flush=True)
            rows.append(row)
    save(options.json, rows)


if __name__ == "__main__":
    main()
