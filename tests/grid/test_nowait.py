"""A source that is slow, fails or hangs keeps nobody waiting."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from wattloop.grid.intensity import ConstantIntensity, Intensity
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
