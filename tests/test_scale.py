"""A week is as cheap as a minute: nothing we hold grows with steps, readings, epochs or runs.

What is held is counted twice. Blocks of Python's allocator are counted over a whole run, at no cost. `tracemalloc` is
too slow for that, so it traces the end of a run alone: what is still held then of all that the end asked for. Neither
times anything.
"""

from __future__ import annotations

import gc
import itertools
import math
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.nvml import FakeNvml
from wattloop import sampler
from wattloop.budget import Budget
from wattloop.forecaster import MAX_BINS
from wattloop.journal import LONGEST_LINE, Epoch, read
from wattloop.meters.base import Reading
from wattloop.meters.nvml import NvmlMeter
from wattloop.recorder import TICK_INTERVAL_S
from wattloop.run import Run
from wattloop.sampler import READ_TIMEOUT_S, Follower, Listener, Sampler, Settlement, Snapshot

HOUR_S, WEEK_S = 3600, 604_800
MOST_BYTES = 64 * 1024
MOST_BLOCKS = 2000
"""A full set of bins is some 800, and the interpreter's own caches move by some hundreds."""


class Board:
    """A GPU in simulated time, of 300 W, whose counter shows the energy of its last refresh."""

    class NVMLError(Exception):
        pass

    def __init__(self, refresh_s: float, call_s: float = 2e-5) -> None:
        self.now_s = 100.0
        self.refresh_s, self.call_s = refresh_s, call_s

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:
        self.now_s += self.call_s
        return int(math.floor(self.now_s / self.refresh_s) * self.refresh_s * 300_000)

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetUUID": "GPU-0",
            "nvmlDeviceGetName": "Fake",
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetPciInfo": SimpleNamespace(busId="0"),
            "nvmlDeviceGetPowerUsage": 300_000,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
        }
        if name not in answers:
            raise AttributeError(name)
        return lambda *args: answers[name]


class SimulatedSampler:
    """What the sampler's thread does, in simulated time: reads when asked and once a second, and looks for edges."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.meter = NvmlMeter(board, {}, lambda: board.now_s)
        self.snapshots = self.looks = 0
        self._listeners: list[Listener] = []
        self._tick_s = board.now_s + 1.0

    silent_s = 0.0

    def subscribe(self, listener: Listener, interval_s: float) -> None:
        self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def follow(self, follower: Follower) -> None:
        follower(None)

    def read(self, timeout_s: float = READ_TIMEOUT_S) -> bool:
        now_s = self.board.now_s
        self._publish(Snapshot(now_s, self.meter.mark(now_s)))
        return True

    def close(self) -> None:
        self.meter.close()

    def until(self, end_s: float) -> None:
        board, meter = self.board, self.meter
        while board.now_s < end_s:
            look_s = meter.next_look_s(board.now_s) or math.inf
            board.now_s = max(board.now_s, min(self._tick_s, look_s, end_s))
            if board.now_s >= look_s:
                self.looks += 1
                for one in meter.look():
                    self._publish(Settlement(one.mark_s, (one,)))
            if board.now_s >= self._tick_s:
                self.snapshots += 1
                self._tick_s += 1.0
                self._publish(Snapshot(board.now_s, meter.read()))

    def _publish(self, snapshot: Snapshot | Settlement) -> None:
        for listener in self._listeners:
            listener(snapshot)


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Callable[..., tuple[Run, SimulatedSampler]]]:
    """Start a run whose sampler, the process's as far as it can tell, lives in simulated time."""
    runs = []

    def simulated(board: Board, **options: Any) -> tuple[Run, SimulatedSampler]:
        run = Run(**{"powercap_root": str(tmp_path / "none"), "region": "FR", **options})
        shared = SimulatedSampler(board)
        sampler._shared[run.settings.meters] = (shared, 0)  # type: ignore[assignment]
        run.start(framework="test", total_steps=100 * WEEK_S)
        runs.append(run)
        return run, shared

    yield simulated
    for run in runs:
        run.finish()


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def held_bytes(call: Callable[[], object]) -> int:
    """Return how much of what a call asks for is still held after it."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def train(run: Run, steps: int) -> None:
    for _ in itertools.repeat(None, steps):
        if run.step() and run.should_log:
            run.metrics()


@pytest.mark.parametrize("recorded", [True, False])
def test_ten_million_steps_hold_no_more_than_one_million(fake_nvml: FakeNvml, tmp_path: Path, recorded: bool) -> None:
    fake_nvml.reset("profile=constant:300;refresh_s=0.02")
    log_dir = tmp_path / "log" if recorded else None
    run = Run(region="FR", interval_s=0.01, log_every_n_steps=10_000, powercap_root=tmp_path, log_dir=log_dir)
    run.start(framework="test", total_steps=10_000_000)
    run.enter_phase("train")
    train(run, 1_000_000)
    before = blocks()
    train(run, 8_800_000)
    held = held_bytes(lambda: train(run, 200_000))
    grown = blocks() - before
    bins = len(run._forecaster._bins)
    run.finish()
    assert run.steps_done == 10_000_000
    assert bins <= MAX_BINS
    assert grown < MOST_BLOCKS
    assert held < MOST_BYTES


def test_a_week_holds_no_more_than_its_first_day(
    simulated: Callable[..., tuple[Run, SimulatedSampler]], tmp_path: Path
) -> None:
    run, shared = simulated(
        Board(refresh_s=0.05), log_dir=tmp_path / "log", budget=Budget(kwh=1e6), log_every_n_steps=1000
    )
    assert run._session is not None
    recorder = run._session.recorder
    assert recorder is not None
    assert recorder._journal is not None
    hours = 0

    def hour() -> None:
        nonlocal hours
        begin_s = 100.0 + hours * HOUR_S
        hours += 1
        run.enter_phase("train")
        for minute in range(1, 60):
            shared.until(begin_s + 60 * minute)
            if run.step(60) and run.should_log:
                run.metrics()
            assert len(run._forecaster._bins) <= MAX_BINS
            assert len(recorder._epochs) + len(recorder._journal._queue) <= 1
        with run.phase("validation"):
            shared.until(begin_s + HOUR_S)
        run.epoch_end()

    for _ in range(24):
        hour()
    before = blocks()
    for _ in range(WEEK_S // HOUR_S - 24 - 2):
        hour()
    held = held_bytes(lambda: (hour(), hour()))
    grown = blocks() - before
    run.finish()

    assert shared.snapshots == pytest.approx(WEEK_S, abs=2)
    assert run.totals.duration_s == pytest.approx(WEEK_S, abs=1)
    assert run.totals.energy_j == pytest.approx(300.0 * WEEK_S, rel=1e-6)
    assert grown < MOST_BLOCKS
    assert held < MOST_BYTES

    (path,) = (tmp_path / "log").iterdir()
    with path.open("rb") as lines:
        lengths = [len(line) for line in lines]
    assert len(lengths) <= WEEK_S / TICK_INTERVAL_S + hours + 3  # the first tick, the start and the end
    assert max(lengths) < LONGEST_LINE / 100
    records = [record for record in read(path) if isinstance(record, Epoch)]
    assert len(records) == hours
    assert sum(record.spent.energy_j for record in records) == pytest.approx(run.totals.energy_j, rel=1e-6)


@pytest.mark.parametrize(
    "recorded",
    [
        True,
        False,
    ],
)
def test_epochs_hold_nothing_once_they_are_written(
    simulated: Callable[..., tuple[Run, SimulatedSampler]], tmp_path: Path, recorded: bool
) -> None:
    run, shared = simulated(Board(refresh_s=0.05), log_dir=tmp_path / "log" if recorded else None)

    def epochs(count: int) -> None:
        for _ in range(count):
            run.enter_phase("train")
            run.step(10)
            shared.until(shared.board.now_s + 2.0)
            run.epoch_end()

    epochs(100)
    before = blocks()
    epochs(400)
    held = held_bytes(lambda: epochs(200))
    assert blocks() - before < MOST_BLOCKS
    assert held < MOST_BYTES


@pytest.mark.parametrize(
    "board",
    [
        pytest.param(Board(refresh_s=0.02), id="usual"),
        pytest.param(Board(refresh_s=1e-4), id="continuous"),
        pytest.param(Board(refresh_s=0.1, call_s=0.03), id="slower than its period"),
        pytest.param(Board(refresh_s=1e9), id="standing still"),
        pytest.param(Board(refresh_s=0.1, call_s=0.01), id="slow to answer"),
    ],
)
def test_borders_in_quick_succession_are_not_all_waited_for(board: Board) -> None:
    shared = SimulatedSampler(board)
    (gpu,) = shared.meter._gpus
    for _ in range(300):
        shared.read()
        shared.until(board.now_s + 0.2)
    assert len(gpu._watch._marks) + len(gpu._marks) + len(gpu._corrections) <= 20


@pytest.mark.parametrize(
    "refresh_s",
    [
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
    ],
)
def test_a_counter_whose_rhythm_is_known_is_looked_at_once_a_minute(refresh_s: float) -> None:
    shared = SimulatedSampler(Board(refresh_s))
    shared.read()
    shared.until(shared.board.now_s + 600.0)
    learning = shared.looks
    shared.until(shared.board.now_s + HOUR_S)
    assert shared.looks - learning <= 60 * 60  # the looks of up to three periods, once a minute


def test_the_sampler_holds_nothing_of_what_it_hands_out() -> None:
    """Its own thread and schedule, on a clock that leaps whenever it is asked."""
    now_s = itertools.count(100.0, 2.0)
    enough = threading.Event()

    class Meter:
        interval_s = 1.0
        reads = 0

        def read(self) -> tuple[Reading, ...]:
            self.reads += 1
            return (Reading("cpu:0", "cpu", float(self.reads), "counter", 0.0),)

        def close(self) -> None:
            pass

    class Listening:
        taken = 0
        last: Snapshot | Settlement | None = None

        def take(self, snapshot: Snapshot | Settlement) -> None:
            self.taken, self.last = self.taken + 1, snapshot
            if self.taken >= 20_000:
                enough.set()

    listener = Listening()
    sampling = Sampler(lambda: [Meter()], lambda: next(now_s))
    sampling.subscribe(listener.take, 1.0)
    assert sampling.read(20.0)
    held = held_bytes(lambda: enough.wait(60.0))
    sampling.close(20.0)
    assert enough.is_set()
    assert held < MOST_BYTES


def test_a_hundred_runs_hold_no_more_than_ten(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset("profile=constant:300")

    def runs(count: int) -> None:
        for number in range(count):
            run = Run(region="FR", powercap_root=tmp_path / "none", log_dir=tmp_path / "log")
            run.start(framework="test", total_steps=100)
            train(run, number)
            run.epoch_end()
            run.finish()
            assert run.settle(20.0)

    runs(10)
    before = blocks()
    held = held_bytes(lambda: runs(90))
    assert blocks() - before < MOST_BLOCKS
    assert held < MOST_BYTES
    assert not sampler._shared
