"""What a step costs while a provider of carbon intensity hangs, answers, or is waited for, beside a constant one.

Run it with ``python -m tox run -e bench-providers``, or, where wattloop is installed, with::

    python benchmarks/providers.py [--seconds 32] [--json FILE]

Each kind trains for that long with steps of a millisecond, on a fake GPU, with a row every 50 steps; the provider is a
server on this machine. `hangs` takes the connection and says nothing for 30 s, `refuses` is not there, `answers` says
something every time, and `waits` is the same with a policy that looks at the grid but never has to wait. The longest
step of a busy machine is the scheduler's: hold it against that of the constant one.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from figures import save

from fakes.grid_server import GridServer
from fakes.nvml import FakeNvml
from wattloop import CleanHours
from wattloop.grid.providers import GBCarbonIntensity, Patience
from wattloop.run import Run

HANG_S = 30.0
STEP_S = 0.001


@dataclass(frozen=True)
class Row:
    kind: str
    steps: int
    step_us: float
    longest_step_ms: float
    steps_over_1_ms: int
    row_us: float
    start_ms: float
    finish_ms: float
    warnings: int


class Warnings(logging.Handler):
    """Counts them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begin_s = time.perf_counter()
    result = call()
    return time.perf_counter() - begin_s, result


def trained(kind: str, server: GridServer, seconds: float, folder: str) -> Row:
    intensity: Any = 211.0
    options: dict[str, Any] = {}
    if kind != "constant":
        hang = server.hangs()
        server.fault = (lambda request: hang) if kind == "hangs" else None
        url = "http://127.0.0.1:9" if kind == "refuses" else server.url("gb")
        intensity = GBCarbonIntensity(base_url=url, patience=Patience(read_s=HANG_S, whole_s=HANG_S))
    if kind == "waits":
        options["wait"] = CleanHours(below=2500.0)
    warnings = Warnings()
    log = logging.getLogger("wattloop")
    log.addHandler(warnings)
    run = Run(region="GB", intensity=intensity, powercap_root="/nonexistent", log_dir=folder, interval_s=0.1, **options)
    start_s, _ = timed(lambda: run.start(framework="bench", log_every_n_steps=50))
    run.wait_to_begin()
    run.enter_phase("train")
    steps_s, rows_s = [], []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        time.sleep(STEP_S)
        step_s, due = timed(run.step)
        steps_s.append(step_s)
        if due:
            rows_s.append(timed(run.metrics)[0])
    finish_s, _ = timed(run.finish)
    run.settle(10.0)
    log.removeHandler(warnings)
    return Row(
        kind,
        len(steps_s),
        1e6 * median(steps_s),
        1e3 * max(steps_s),
        sum(step_s > 1e-3 for step_s in steps_s),
        1e6 * median(rows_s),
        1e3 * start_s,
        1e3 * finish_s,
        warnings.count,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=32.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("wattloop").propagate = False
    rows = []
    print("| provider | steps | step us | longest ms | over 1 ms | row us | start ms | finish ms | warnings |")
    print("| --- |" + " ---: |" * 8)
    with tempfile.TemporaryDirectory() as folder, FakeNvml() as fake, GridServer() as server:
        for kind in ("constant", "hangs", "refuses", "answers", "waits"):
            fake.reset("devices=1;profile=constant:300")
            row = trained(kind, server, arguments.seconds, folder)
            rows.append(row)
            print(
                f"| {row.kind} | {row.steps} | {row.step_us:.2f} | {row.longest_step_ms:.2f} | {row.steps_over_1_ms} |"
                f" {row.row_us:.0f} | {row.start_ms:.1f} | {row.finish_ms:.1f} | {row.warnings} |",
                flush=True,
            )
    save(arguments.json, rows)


if __name__ == "__main__":
    main()
