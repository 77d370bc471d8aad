"""Ends of processes: a server that has imported the frameworks and forks a child for each training run that ends badly.

A line ``front folder end...`` on its input starts one child for each end; when all are gone, each folder holds what
the child printed, when it was killed or ended, and its exit code, and the server answers with a line.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from contract.fronts import Front, fronts
from fakes.nvml import FakeNvml
from fakes.wall_clock import step as step_wall_clock
from wattloop.grid.intensity import Intensity

STEP, STEPS, STEP_S = 20, 40, 0.015
EXIT_CODE = 3
KILLED_AFTER_S = 6.5


class Grid:
    """Notes the times at which it is asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def at(self, time: datetime) -> Intensity:
        self.asked.append(time.timestamp())
        return Intensity(50.0, "a test")

    def forecast(self, start: datetime, end: datetime) -> None:
        return None


class Child:
    """A training run that comes to an end of its own."""

    def __init__(self, front: Front, end: str, folder: Path) -> None:
        self.front, self.end, self.folder = front, end, folder
        self.grid = Grid()
        self.fake = FakeNvml("profile=constant:300;refresh_s=0.02").__enter__()
        more = {"intensity": self.grid} if end == "clock" else {}
        self.callback = front.callback(
            region="FR", interval_s=0.05, log_dir=folder, powercap_root=str(folder / "no powercap"), **more
        )
        self.run = front.run(self.callback)
        self.began_s = 0.0

    def note(self, **more: Any) -> None:
        moment = {"began_s": self.began_s, "ended_s": time.monotonic(), "energy_j": self.run.totals.energy_j}
        (self.folder / "note.json").write_text(json.dumps({**moment, **more}))

    def work(self, step: int) -> None:
        if step == 0:
            self.began_s = time.monotonic()
        time.sleep(STEP_S)
        if self.end == "clock" and step in (STEP, STEP + 10):
            step_wall_clock(-3600 if step == STEP else 7200)
        if self.end == "kill" and time.monotonic() - self.began_s >= KILLED_AFTER_S:
            self.note()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.end == "hang" and step == STEP // 2:
            self.fake.hanging(0, "all").__enter__()
        if step == STEP:
            self.note()
            if self.end in ("exit", "hang"):
                sys.exit(EXIT_CODE)
            if self.end == "error":
                raise ZeroDivisionError
            if self.end in ("int", "term"):
                os.kill(os.getpid(), {"int": signal.SIGINT, "term": signal.SIGTERM}[self.end])

    def train(self) -> None:
        steps = 5000 if self.end == "kill" else STEPS // 2
        outcome = self.front.train(self.callback, self.folder, 2, steps, log_every=10, work=self.work)
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("wattloop")]
        doubt_j = self.run.uncertainty_kwh * 3.6e6
        more = {"asked": self.grid.asked, "steps": outcome.steps, "doubt_j": doubt_j, "threads": threads}
        if self.end == "clock":
            self.note(**more, duration_s=self.run.totals.duration_s)
        if outcome.error is not None and self.end != "error":
            raise outcome.error
        # A script that goes on after a failure, and ends without a word to us.


def become(front: Front, end: str, folder: Path) -> None:
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    Child(front, end, folder).train()


def answer(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    named = {front.name: front for front in fronts()}
    for front in named.values():
        front.train(
            front.callback(region="FR"), Path(sys.argv[1]) / front.name, 1, 2, log_every=1, work=lambda step: None
        )
    # A child that ends cleans up what is its own, and not all that was ever imported.
    gc.collect()
    gc.freeze()
    answer("ready")
    for line in sys.stdin:
        name, folder, *ends = line.split()
        children = {}
        for end in ends:
            home = Path(folder) / end
            home.mkdir(parents=True)
            child = os.fork()
            if child == 0:
                become(named[name], end, home)
                return
            children[child] = home
        for _ in ends:
            child, status = os.wait()
            code = os.waitstatus_to_exitcode(status)
            (children[child] / "end.json").write_text(json.dumps({"code": code, "ended_s": time.monotonic()}))
        answer("done")


if __name__ == "__main__":
    main()
