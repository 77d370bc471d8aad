"""The sampler's schedule, its requests and its life, with scripted meters and clocks."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.nvml import FakeNvml
from wattloop.meters import MeterOptions
from wattloop.meters.base import Correction, Reading
from wattloop.sampler import FOLLOW_S, Sampler, Settlement, Snapshot, acquire, release

PATIENCE_S = 20.0
"""How long a test waits for what must come, on however slow a machine."""


class Clock:
    """Time that stands still until told to move."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.when_asked: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.when_asked()
        return self.now_s


class Meter:
    """An instrument of one channel that notes when it was read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, channel: str = "cpu:0", interval_s: float = 1e3):
        self.interval_s = interval_s
        self.channel = channel
        self.read_s: list[float] = []
        self.closed = 0
        self.fault: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self._clock = clock

    def read(self) -> tuple[Reading, ...]:
        self.free.wait(PATIENCE_S)
        if self.fault is not None:
            raise self.fault
        self.read_s.append(self._clock())
        return (Reading(self.channel, "cpu", float(len(self.read_s)), "counter", 0.0),)

    def close(self) -> None:
        self.closed += 1


class Listener:
    """Keeps the snapshots it was sent."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.threads: set[str] = set()
        self.fault: Exception | None = None

    def take(self, snapshot: Snapshot) -> None:
        self.threads.add(threading.current_thread().name)
        self.snapshots.append(snapshot)
        if self.fault is not None:
            raise self.fault

    @property
    def times_s(self) -> list[float]:
        return [snapshot.time_s for snapshot in self.snapshots]


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.0005)


@pytest.fixture
def start() -> Iterator[Callable[..., Sampler]]:
    """Start samplers that are closed after the test."""
    samplers = []

    def start(*meters: Meter, clock: Callable[[], float] = time.monotonic) -> Sampler:
        samplers.append(Sampler(lambda: meters, clock))
        return samplers[-1]

    yield start
    for sampler in samplers:
        sampler.close(PATIENCE_S)
        assert not sampler._thread.is_alive()


Start = Callable[..., Sampler]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def wattloop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wattloop-sampler"]


# -- schedule ---------------------------------------------------------------------------------------------------------


def move(clock: Clock, sampler: Sampler, listener: Listener, now_s: float, interval_s: float) -> None:
    """Set the time, and have the thread look at it: twice, as it may just have looked when the time was set."""
    clock.now_s = now_s
    for _ in range(2):
        sampler.subscribe(listener.take, interval_s)
        until(lambda: not sampler._changed)


def test_readings_are_due_on_a_grid_that_late_readings_do_not_shift(start: Start) -> None:
    clock, listener = Clock(), Listener()
    meter = Meter(clock)
    sampler = start(meter, clock=clock)
    sampler.subscribe(listener.take, 1.0)
    assert sampler.read(PATIENCE_S)
    for now_s in (100.9, 101.4, 101.9, 102.0, 102.99, 105.5, 105.9, 106.0):
        move(clock, sampler, listener, now_s, 1.0)
    assert [at_s for at_s in meter.read_s if at_s > 100.0] == [101.4, 102.0, 105.5, 106.0]


def test_the_grid_holds_over_a_million_beats_of_a_tenth(start: Start) -> None:
    clock, listener = Clock(), Listener()
    meter = Meter(clock)
    sampler = start(meter, clock=clock)
    sampler.subscribe(listener.take, 0.1)
    assert sampler.read(PATIENCE_S)
    beat_s = 100.0 + 1_000_000 * 0.1
    for now_s in (beat_s, beat_s + 0.09, beat_s + 0.1001):
        move(clock, sampler, listener, now_s, 0.1)
    assert [at_s for at_s in meter.read_s if at_s > 100.0] == [beat_s, beat_s + 0.1001]


def test_an_instrument_in_a_hurry_is_read_alone_and_the_others_last_reading_stands(start: Start) -> None:
    clock, listener = Clock(), Listener()
    quick, slow = Meter(clock, "gpu", interval_s=0.1), Meter(clock, "cpu:0")
    sampler = start(quick, slow, clock=clock)
    sampler.subscribe(listener.take, 1.0)
    assert sampler.read(PATIENCE_S)
    slow_reads = len(slow.read_s)
    for now_s in (100.1, 100.2, 100.3):
        move(clock, sampler, listener, now_s, 1.0)
    assert [at_s for at_s in quick.read_s if at_s > 100.0] == [100.1, 100.2, 100.3]
    assert len(slow.read_s) == slow_reads
    assert [reading.channel for reading in listener.snapshots[-1].readings] == ["gpu", "cpu:0"]
    move(clock, sampler, listener, 101.0, 1.0)
    assert len(slow.read_s) == slow_reads + 1


def test_the_most_demanding_listener_sets_the_pace_while_it_listens(start: Start) -> None:
    clock, hasty, patient = Clock(), Listener(), Listener()
    meter = Meter(clock)
    sampler = start(meter, clock=clock)
    sampler.subscribe(hasty.take, 0.1)
    move(clock, sampler, patient, 100.5, 10.0)
    assert meter.read_s[-1] == 100.5
    sampler.unsubscribe(hasty.take)
    sampler.unsubscribe(hasty.take)
    move(clock, sampler, patient, 100.5, 10.0)
    move(clock, sampler, patient, 105.0, 10.0)
    assert meter.read_s[-1] == 100.5
    move(clock, sampler, patient, 110.0, 10.0)
    assert meter.read_s[-1] == 110.0
    assert 105.0 not in hasty.times_s


def test_a_dropped_listener_is_forgotten_with_its_pace(start: Start) -> None:
    clock, hasty, patient = Clock(), Listener(), Listener()
    meter = Meter(clock)
    sampler = start(meter, clock=clock)
    sampler.subscribe(hasty.take, 0.1)
    assert sampler.read(PATIENCE_S)
    del hasty
    gc.collect()
    sampler.subscribe(patient.take, 10.0)
    assert sampler.read(PATIENCE_S)
    move(clock, sampler, patient, 105.0, 10.0)
    assert meter.read_s[-1] == 100.0


# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_reads_all_instruments_now_and_tells_every_listener(start: Start) -> None:
    meters, listeners = (Meter(channel="cpu:0"), Meter(channel="dram:0")), (Listener(), Listener())
    sampler = start(*meters)
    for listener in listeners:
        sampler.subscribe(listener.take, 1e3)
    for _ in range(5):
        before_s = time.monotonic()
        assert sampler.read(PATIENCE_S)
        after_s = time.monotonic()
        assert all(before_s <= meter.read_s[-1] <= after_s for meter in meters)
        assert all(before_s <= listener.times_s[-1] <= after_s for listener in listeners)
    assert listeners[0].snapshots[-1] is listeners[1].snapshots[-1]
    assert listeners[0].threads == {"wattloop-sampler"}


def test_a_request_made_while_the_thread_is_looking_the_other_way_gets_a_reading_of_its_own(start: Start) -> None:
    clock, listener = Clock(), Listener()
    meter = Meter(clock)
    sampler = start(meter, clock=clock)
    assert sampler.read(PATIENCE_S)

    def ask_once() -> None:
        if threading.current_thread().name == "wattloop-sampler":
            clock.when_asked = lambda: None
            sampler.read(timeout_s=0)

    reads = len(meter.read_s)
    clock.when_asked = ask_once
    sampler.subscribe(listener.take, 1e3)
    until(lambda: len(meter.read_s) > reads)


def test_a_driver_call_that_hangs_holds_nobody_up(start: Start) -> None:
    meter = Meter()
    sampler = start(meter)
    assert sampler.read(PATIENCE_S)
    meter.free.clear()
    before_s = time.monotonic()
    assert not sampler.read(timeout_s=0.01)
    assert 0.01 <= time.monotonic() - before_s < PATIENCE_S
    before_s = time.monotonic()
    assert not sampler.read(timeout_s=PATIENCE_S)  # who hangs is not waited for twice
    assert time.monotonic() - before_s < PATIENCE_S / 2
    meter.free.set()
    until(lambda: sampler.read(PATIENCE_S))


def test_closing_does_not_wait_for_a_hanging_driver(start: Start) -> None:
    meter = Meter()
    sampler = start(meter)
    assert sampler.read(PATIENCE_S)
    meter.free.clear()
    assert not sampler.read(timeout_s=0.001)
    sampler.close(timeout_s=0.01)
    assert meter.closed == 0
    meter.free.set()
    until(lambda: meter.closed == 1)


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_failing_instrument_keeps_its_last_reading_and_is_named_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole, listener = Meter(channel="cpu:0"), Meter(channel="dram:0"), Listener()
    sampler = start(broken, whole)
    sampler.subscribe(listener.take, 1e3)
    assert sampler.read(PATIENCE_S)
    (last,) = [reading for reading in listener.snapshots[-1].readings if reading.channel == "cpu:0"]
    broken.fault = OSError("gone")
    for _ in range(3):
        reads = len(whole.read_s)
        assert sampler.read(PATIENCE_S)
        assert len(whole.read_s) == reads + 1
        assert last in listener.snapshots[-1].readings
    assert warnings(caplog) == ["Meter cannot be read: OSError('gone')"]


def test_a_failing_listener_does_not_keep_snapshots_from_the_others(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = Listener(), Listener()
    broken.fault = ZeroDivisionError("float division by zero")
    sampler = start(Meter())
    sampler.subscribe(broken.take, 1e3)
    sampler.subscribe(whole.take, 1e3)
    for _ in range(3):
        assert sampler.read(PATIENCE_S)
    assert len(whole.snapshots) >= 3
    assert warnings(caplog) == ["a measurement could not be used: ZeroDivisionError('float division by zero')"]


def test_every_instrument_is_closed_though_one_cannot_be(start: Start) -> None:
    class Stuck(Meter):
        def close(self) -> None:
            super().close()
            raise OSError("busy")

    meters = Stuck(), Meter()
    sampler = start(*meters)
    assert sampler.read(PATIENCE_S)
    sampler.close(PATIENCE_S)
    assert [meter.closed for meter in meters] == [1, 1]


def test_without_any_instrument_requests_are_answered(start: Start) -> None:
    sampler, listener = start(), Listener()
    sampler.subscribe(listener.take, 1.0)
    assert sampler.read(PATIENCE_S)
    assert listener.snapshots[-1].readings == ()


# -- life -------------------------------------------------------------------------------------------------------------


def test_closing_twice_and_from_a_listener_ends_the_thread(start: Start) -> None:
    meter = Meter()
    sampler = start(meter)

    class Closer(Listener):
        def take(self, snapshot: Snapshot) -> None:
            sampler.close()

    closer = Closer()
    sampler.subscribe(closer.take, 1e3)
    sampler.read(PATIENCE_S)
    sampler._thread.join(PATIENCE_S)
    sampler.close()
    assert meter.closed == 1
    assert not sampler.read(timeout_s=0.01)


class Settling(Meter):
    """An instrument that knows better of each marked reading as soon as it is let look again."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.may_look = threading.Event()
        self._marks: list[float] = []

    def mark(self, mark_s: float) -> tuple[Reading, ...]:
        self._marks.append(mark_s)
        return self.read()

    def next_look_s(self, now_s: float) -> float | None:
        return now_s + 0.001 if self._marks else None

    def look(self) -> tuple[Correction, ...]:
        if not self.may_look.is_set():
            return ()
        marks, self._marks = self._marks, []
        return tuple(Correction(self.channel, mark_s, 1.0, 0.0) for mark_s in marks)


class Follower:
    def __init__(self, wants: int) -> None:
        self.told: list[Settlement | None] = []
        self._wants = wants

    def learn(self, settlement: Settlement | None) -> bool:
        self.told.append(settlement)
        return len(self.told) >= self._wants


def test_a_closed_sampler_goes_on_until_its_follower_knows_enough(start: Start) -> None:
    meter, follower = Settling(), Follower(wants=1)
    sampler = start(meter)
    assert sampler.read(PATIENCE_S)
    sampler.follow(follower.learn)
    sampler.close()
    assert meter.closed == 0
    meter.may_look.set()
    until(lambda: meter.closed)
    (settlement, last) = follower.told
    assert settlement is not None
    assert [one.energy_j for one in settlement.corrections] == [1.0]
    assert last is None


def test_a_follower_that_learns_nothing_is_let_go_in_time(start: Start) -> None:
    meter, follower = Settling(), Follower(wants=5)
    sampler = start(meter)
    assert sampler.read(PATIENCE_S)
    began_s = time.monotonic()
    sampler.follow(follower.learn)
    sampler.close()
    until(lambda: meter.closed)
    assert follower.told == [None]
    assert time.monotonic() - began_s >= FOLLOW_S


def test_a_follower_that_fails_ends_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    meter, listener = Settling(), Listener()
    meter.may_look.set()

    def fail(settlement: Settlement | None) -> bool:
        raise ValueError("oh")

    sampler = start(meter)
    sampler.subscribe(listener.take, 1e3)
    assert sampler.read(PATIENCE_S)
    sampler.follow(fail)
    assert sampler.read(PATIENCE_S)
    until(lambda: any(isinstance(snapshot, Settlement) for snapshot in listener.snapshots))
    sampler.close()
    until(lambda: meter.closed)
    assert warnings(caplog) == ["a measurement could not be used: ValueError('oh')"]


@pytest.fixture
def options(fake_nvml: FakeNvml, tmp_path: Path) -> MeterOptions:
    return MeterOptions(powercap_root=str(tmp_path))


def test_equal_options_share_one_thread_until_the_last_gives_it_back(options: MeterOptions) -> None:
    first, second = acquire(options), acquire(MeterOptions(powercap_root=options.powercap_root))
    assert first is second
    assert len(wattloop_threads()) == 1
    release(options, first)
    assert first.read(PATIENCE_S)
    release(options, second)
    until(lambda: not wattloop_threads())
    release(options, second)
    third = acquire(options)
    assert third is not first
    assert third.read(PATIENCE_S)
    release(options, third)
    until(lambda: not wattloop_threads())


def test_other_options_have_a_thread_of_their_own(options: MeterOptions, tmp_path: Path) -> None:
    other = MeterOptions(powercap_root=str(tmp_path / "other"))
    one, two = acquire(options), acquire(other)
    assert one is not two
    release(options, two)
    assert two.read(PATIENCE_S)
    release(options, one)
    release(other, two)
    until(lambda: not wattloop_threads())


def test_many_threads_share_one_sampler_and_none_is_left_over(options: MeterOptions) -> None:
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        for _ in range(20):
            sampler = acquire(options)
            sampler.read(0.001)
            release(options, sampler)

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join(PATIENCE_S)
    until(lambda: not wattloop_threads())


def test_a_forked_child_starts_afresh(options: MeterOptions) -> None:
    sampler = acquire(options)
    assert sampler.read(PATIENCE_S)
    child = os.fork()
    if child == 0:
        own = acquire(options)
        os._exit(0 if own is not sampler and own.read(PATIENCE_S) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert acquire(options) is sampler
    assert sampler.read(PATIENCE_S)
    release(options, sampler)
    release(options, sampler)
    until(lambda: not wattloop_threads())
