"""Real runs for the tests of reports: in this process, and in one that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import wattloop
from fakes.nvml import environment
from wattloop.run import Run

TESTS = Path(__file__).parents[1]
PACKAGE = Path(wattloop.__file__).parents[1]
PATIENCE_S = 60.0
"""How long another process may take, on however slow a machine."""
WATTS = 300.0
J_PER_KWH = 3.6e6


def new(folder: Path, **options: Any) -> Run:
    """Make a run that measures the fake GPU and nothing else."""
    given = {"powercap_root": str(folder / "none"), "region": "FR", "interval_s": 0.05, "log_dir": folder}
    return Run(**{**given, **options})


def train(run: Run, steps: int = 5) -> None:
    run.enter_phase("train")
    for _ in range(steps):
        time.sleep(0.01)
        run.step()
    run.refresh()


def finish(run: Run, status: str = "finished") -> None:
    """End a run, and wait until its record is complete."""
    run.finish(status)
    assert run.settle(PATIENCE_S)


def path_of(run: Run, folder: Path) -> Path:
    return folder / f"wattloop-{run.id}.jsonl"


def finished(folder: Path, status: str = "finished", **options: Any) -> Run:
    """Train for an epoch and a bit."""
    run = new(folder, **options)
    run.start(framework="test", total_epochs=2)
    train(run)
    run.epoch_end()
    train(run)
    finish(run, status)
    return run


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a record without any code of ours, but for a last line that is being written."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def energy_j(totals: dict[str, float]) -> float:
    return totals["gpu_j"] + totals["cpu_j"]


def until(what: Callable[[], Any]) -> Any:
    """Wait for something to come true."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        with contextlib.suppress(OSError, ValueError):
            if found := what():
                return found
        time.sleep(0.01)
    raise AssertionError("it did not come true")


class Training:
    """A process that trains until it is killed."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, process
        self.killed_s = 0.0

    @property
    def began(self) -> dict[str, Any]:
        found: dict[str, Any] = until(lambda: json.loads((self.folder / "began.json").read_text()))
        return found

    @property
    def path(self) -> Path:
        return self.folder / f"wattloop-{self.began['run_id']}.jsonl"

    def ticked(self, times: int, session: int = 1) -> None:
        """Wait until so many ticks of its session are on record."""
        until(
            lambda: (
                sum(line["record"] == "tick" and line.get("session", 1) == session for line in lines(self.path))
                >= times
            )
        )

    def kill(self) -> None:
        self.process.kill()
        self.killed_s = time.monotonic()
        self.process.wait()


@contextlib.contextmanager
def training(folder: Path) -> Iterator[Training]:
    (folder / "began.json").unlink(missing_ok=True)
    path = os.pathsep.join([str(PACKAGE), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(TESTS / "reports" / "training.py"), str(folder)]
    with subprocess.Popen(command, env=environment(f"profile=constant:{WATTS}", {"PYTHONPATH": path})) as process:
        try:
            yield Training(folder, process)
        finally:
            process.kill()
