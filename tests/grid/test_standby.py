"""A plan for a machine that is reserved is the cleanest there is, its idle power from now on counted."""

from __future__ import annotations

from itertools import combinations, pairwise
from random import Random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.day import DAY
from wattloop.grid.pausing import pause_and_resume
from wattloop.grid.standby import stand_by
from wattloop.grid.window import Window


def cheapest(values: list[float], run: int, idle: float) -> float:
    """Try every choice of unit steps in which a job might run, the machine idle in all others up to its end."""
    costs = []
    for on in combinations(range(len(values)), run):
        ran = sum(values[k] for k in on)
        costs.append(ran + idle * (sum(values[: on[-1] + 1]) - ran))
    return min(costs)


def cost(window: Window, spans: list[tuple[float, float]], idle: float) -> float:
    ran = sum(window.upto(end) - window.upto(begin) for begin, end in spans)
    return ran + idle * (window.upto(spans[-1][1]) - ran)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), idle=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))
def test_no_other_choice_of_times_emits_less(data: st.DataObject, idle: float) -> None:
    steps = data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=5))
    units = [float(value) for value, length in steps for _ in range(length)]
    run = data.draw(st.integers(1, len(units)))
    edges = [0.0]
    for _, length in steps:
        edges.append(edges[-1] + length)
    window = Window.of(edges, [float(value) for value, _ in steps])
    spans = stand_by(window, float(run), idle)
    assert sum(end - begin for begin, end in spans) == pytest.approx(run)
    assert spans[0][0] >= 0.0 and spans[-1][1] <= edges[-1]
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert cost(window, spans, idle) == pytest.approx(cheapest(units, run, idle), abs=1e-9)


def test_at_equal_intensity_a_run_begins_at_once() -> None:
    assert stand_by(Window.of([0.0, 10.0, 20.0], [5.0, 5.0]), 7.0, 0.3) == [(0.0, 7.0)]


def test_a_machine_that_idles_for_nothing_waits_as_pause_and_resume_does() -> None:
    window = Window.of([float(hour) for hour in range(25)], [float(value) for value in DAY])
    assert cost(window, stand_by(window, 5.0), 0.0) == window.cost(pause_and_resume(window, 5.0))
    assert stand_by(window, 5.0)[0] == (10.0, 15.0)


def test_one_that_draws_as_much_idle_does_not_wait() -> None:
    window = Window.of([float(hour) for hour in range(25)], [float(value) for value in DAY])
    assert stand_by(window, 5.0, 1.0) == [(0.0, 5.0)]


def test_at_nearly_equal_intensity_it_begins_at_once_however_many_steps_are_added_up() -> None:
    window = Window.of([300.0 * k for k in range(9000)], [123.4] * 8999)
    assert stand_by(window, 30 * 86400.0 + 0.1, 0.0) == [(0.0, 30 * 86400.0 + 0.1)]


def test_three_days_of_five_minutes_are_planned_in_no_time() -> None:
    random = Random(3)
    window = Window.of([300.0 * k for k in range(865)], [random.uniform(50, 600) for _ in range(864)])
    begin_s = process_time()
    assert len(stand_by(window, 36 * 3600.0, 0.2)) > 10
    assert process_time() - begin_s < 2.0
