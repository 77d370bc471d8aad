"""A source that is slow, fails or hangs keeps nobody waiting."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wattloop.grid.intensity import ConstantIntensity, Intensity, NotKnown
from wattloop.grid.nowait import PATIENCE_S, NoWait

NOW = datetime.now(UTC)
PATIENCE_OF_TESTS_S = 20.0


class Source:
    """Answers 1, 2, 3, ... when it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.fault: Exception | None = None
        self.asked = 0

    def at(self, time: datetime) -> Intensity:
        self.asked += 1
        answer = Intensity(float(self.asked), "a test")
        assert self.free.wait(PATIENCE_OF_TESTS_S)
        if self.fault is not None:
            raise self.fault
        return answer

    def forecast(self, start: Any, end: Any) -> None:
        return None


def value(source: NoWait) -> float | None:
    answer = source.at(NOW)
    return answer.g_co2e_per_kwh if answer is not None else None


def until(true: Any) -> None:
    end_s = time.monotonic() + PATIENCE_OF_TESTS_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.001)


def test_one_that_answers_at_once_is_asked_every_time() -> None:
    source = NoWait(Source())
    assert [value(source) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_one_that_never_changes_needs_no_thread() -> None:
    before = threading.active_count()
    assert value(NoWait(ConstantIntensity(56.0, "a test"))) == 56.0
    assert threading.active_count() == before


def test_one_that_does_not_answer_is_waited_for_once_and_asked_once() -> None:
    slow = Source()
    slow.free.clear()
    source = NoWait(slow)
    before_s = time.monotonic()
    assert [value(source) for _ in range(100)] == [None] * 100
    assert time.monotonic() - before_s < 50 * PATIENCE_S
    assert slow.asked == 1
    slow.free.set()
    until(lambda: value(source) is not None)
    until(lambda: (value(source) or 0.0) > 2.0)


def test_its_errors_come_out() -> None:
    failing = Source()
    source = NoWait(failing)
    assert value(source) == 1.0
    failing.fault = ConnectionError("no route")
    with pytest.raises(ConnectionError, match="no route"):
        value(source)
    failing.fault = None
    assert value(source) == 3.0


def test_one_thread_answers_every_question_and_ends_when_there_are_no_more() -> None:
    threads = set()

    class Watched(Source):
        def at(self, time: datetime) -> Intensity:
            threads.add(threading.current_thread())
            return super().at(time)

    sources = [NoWait(Watched()) for _ in range(3)]
    for source in sources * 3:
        until(lambda source=source: value(source) is not None)
    (thread,) = threads
    assert thread.daemon
    until(lambda: not thread.is_alive())


def test_one_that_says_it_is_instant_is_asked_in_place() -> None:
    class Instant(Source):
        instant = True

        def at(self, time: datetime) -> Intensity:
            assert threading.current_thread() is threading.main_thread()
            return super().at(time)

    assert value(NoWait(Instant())) == 1.0


def test_where_one_has_no_value_the_fallback_stands_in_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    quiet = NoWait(source, Intensity(44.0, "France 2024"))
    source.fault = NotKnown("the meter is off")
    until(lambda: value(quiet) == 44.0)
    assert [value(quiet) for _ in range(10)] == [44.0] * 10
    source.fault = None
    until(lambda: value(quiet) not in (None, 44.0))
    quiet.close()
    (record,) = caplog.records
    assert record.message == "the meter is off; meanwhile the yearly value is used, 44 gCO2e/kWh (France 2024)"


def test_its_forecast_comes_when_it_comes() -> None:
    asked = threading.Event()

    class Ahead(Source):
        def forecast(self, start: Any, end: Any) -> Any:
            asked.set()
            assert self.free.wait(PATIENCE_OF_TESTS_S)
            return ((start, Intensity(5.0, "a test")),)

    slow = Ahead()
    slow.free.clear()
    source = NoWait(slow)
    later = NOW + timedelta(hours=1)
    assert source.forecast(NOW, later) is None
    assert asked.wait(PATIENCE_OF_TESTS_S)
    assert source.forecast(NOW, later) is None
    slow.free.set()
    until(lambda: source.forecast(NOW, later) == [(NOW, Intensity(5.0, "a test"))])


def test_each_who_asks_is_told_as_far_as_he_looks_whoever_asked_before() -> None:
    class Ahead(Source):
        def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]]:
            hours = [start + timedelta(hours=hour) for hour in range(1000)]
            return [(hour, Intensity(100.0, "a test")) for hour in hours if hour < end]

    source = NoWait(Ahead())
    for _ in range(3):
        until(lambda: len(source.forecast(NOW, NOW + timedelta(hours=1)) or ()) == 1)
        until(lambda: len(source.forecast(NOW, NOW + timedelta(hours=24)) or ()) == 24)
        assert len(source.forecast(NOW, NOW + timedelta(hours=1)) or ()) == 1
        assert len(source.forecast(NOW, NOW + timedelta(hours=48)) or ()) == 48
