"""Plans are the cleanest there are: checked against trying everything, on small windows and on long ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from math import sin, tau
from random import Random
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.day import DAY
from wattloop.grid import IntensitySeries
from wattloop.grid.chart import chart
from wattloop.grid.intensity import ConstantIntensity, Intensity
from wattloop.grid.pausing import pause_and_resume
from wattloop.grid.schedule import Plan, Schedule, plan
from wattloop.grid.window import Span, Window, below, flexible_start, quantile

MIDNIGHT = datetime(2025, 1, 20, tzinfo=UTC)


class Series:
    """Values that hold for the same time each, the last one too."""

    def __init__(self, values: Sequence[float], begin: datetime = MIDNIGHT, step_h: float = 1.0) -> None:
        self.points = [
            (begin + timedelta(hours=step_h * k), Intensity(value, "test")) for k, value in enumerate(values)
        ]

    def at(self, time: datetime) -> Intensity:
        return max((point for point in self.points if point[0] <= time), key=lambda point: point[0])[1]

    def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]]:
        first = max(k for k, point in enumerate(self.points) if point[0] <= start or k == 0)
        return [point for point in self.points[first:] if point[0] < end]


def cost(values: Sequence[float], on: Sequence[int], idle: float) -> float:
    """Cost of running in some unit steps, idle in the others between the first and the last of them."""
    ran = sum(values[k] for k in on)
    return ran + idle * (sum(values[on[0] : on[-1] + 1]) - ran)


def cheapest(values: Sequence[float], run: int, idle: float) -> float:
    return min(cost(values, on, idle) for on in combinations(range(len(values)), run))


def unit_window(values: Sequence[float], lengths: Sequence[int] = ()) -> Window:
    edges = [0.0]
    for length in lengths or [1] * len(values):
        edges.append(edges[-1] + length)
    return Window.of(edges, [float(value) for value in values])


def run_s(spans: Sequence[Span]) -> float:
    return sum(end - begin for begin, end in spans)


STEPS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=7)
IDLE = st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.9, 1.0])


# -- the two optima ----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 12), IDLE)
def test_no_choice_of_pauses_is_cleaner(steps: list[tuple[int, int]], run: int, idle: float) -> None:
    units = [value for value, length in steps for _ in range(length)][:13]
    run = min(run, len(units))
    window = unit_window(units)
    spans = pause_and_resume(window, float(run), idle)
    assert run_s(spans) == pytest.approx(run)
    assert window.cost(spans, idle) == pytest.approx(cheapest(units, run, idle), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 25), IDLE)
def test_a_job_that_ends_within_a_step_is_planned_as_exactly(
    steps: list[tuple[int, int]], halves: int, idle: float
) -> None:
    """Steps two halves long and a job of any number of halves: the best begins and ends at a half."""
    values = [value for value, _ in steps]
    units = [value for value in values for _ in range(2)]
    halves = min(halves, len(units))
    window = unit_window(values, [2] * len(values))
    spans = pause_and_resume(window, float(halves), idle)
    assert run_s(spans) == pytest.approx(halves)
    assert window.cost(spans, idle) == pytest.approx(cheapest(units, halves, idle), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.floats(0.1, 20.0))
def test_no_uninterrupted_time_is_cleaner(steps: list[tuple[int, int]], run: float) -> None:
    window = unit_window([value for value, _ in steps], [length for _, length in steps])
    run = min(run, window.edges[-1])
    begin, end = flexible_start(window, run)
    assert end - begin == pytest.approx(run)
    assert begin >= 0.0
    assert end <= window.edges[-1] + 1e-9
    latest = window.edges[-1] - run
    tried = [latest * k / 97 for k in range(98)]
    assert all(window.cost([(begin, end)]) <= window.cost([(at, at + run)]) + 1e-9 for at in tried)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 900.0), min_size=2, max_size=60), st.floats(0.01, 1.0), IDLE)
def test_pausing_saves_at_least_what_waiting_does_and_that_at_least_nothing(
    values: list[float], share: float, idle: float
) -> None:
    window = unit_window(values)
    run = share * len(values)
    now = window.cost([(0.0, run)])
    later = window.cost([flexible_start(window, run)])
    best = window.cost(pause_and_resume(window, run, idle), idle)
    free = window.cost(pause_and_resume(window, run))
    assert free <= best + 1e-9
    assert best <= later
    assert later <= now + 1e-9


def random_days(days: int, seed: int) -> list[float]:
    """Quarters of hours of a grid with the sun's rhythm, weather and noise."""
    random = Random(seed)
    values, weather = [], 0.0
    for quarter in range(96 * days):
        weather = 0.995 * weather + random.gauss(0.0, 4.0)
        sun = max(0.0, -sin(tau * quarter / 96))
        values.append(max(20.0, 300.0 + weather - (150.0 + weather) * sun + random.gauss(0.0, 5.0)))
    return values


def by_trying_all_pairs(values: Sequence[float], run: int, idle: float) -> float:
    """Cost of the best run in whole steps, by sorting what lies between each first and last step."""
    best = float("inf")
    for first in range(len(values) - run + 1):
        for last in range(first + run - 1, len(values)):
            between = sorted(values[first + 1 : last])
            outer = sum(values[k] for k in {first, last})
            kept = run - len({first, last})
            if kept < 0 or kept > len(between):
                continue
            best = min(best, outer + (1.0 - idle) * sum(between[:kept]) + idle * sum(between))
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("idle", [0.02, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("run", [7, 40])
def test_long_windows_are_planned_as_exactly(seed: int, idle: float, run: int) -> None:
    values = random_days(2, seed)[: 96 + 60]
    window = unit_window(values)
    found = window.cost(pause_and_resume(window, float(run), idle), idle)
    assert found == pytest.approx(by_trying_all_pairs(values, run, idle), rel=1e-9)


@pytest.mark.parametrize(
    "values", [[5] * 40, [1, 9] * 20, [1, 1, 9, 9, 2, 2, 9, 9] * 6], ids=["flat", "teeth", "waves"]
)
@pytest.mark.parametrize("idle", [0.05, 0.3])
def test_ties_by_the_dozen_do_no_harm(values: list[float], idle: float) -> None:
    window = unit_window(values)
    found = window.cost(pause_and_resume(window, 11.0, idle), idle)
    assert found == pytest.approx(by_trying_all_pairs(values, 11, idle), rel=1e-9)


def test_of_equals_the_earliest_and_the_simplest_wins() -> None:
    window = unit_window([5, 5, 5, 5])
    assert flexible_start(window, 1.5) == (0.0, 1.5)
    assert pause_and_resume(window, 1.5) == [(0.0, 1.5)]
    assert pause_and_resume(unit_window([3, 1, 1, 3, 1, 1]), 2.0) == [(1.0, 3.0)]


def test_a_part_of_a_step_is_run_beside_the_rest() -> None:
    assert pause_and_resume(unit_window([9, 5, 1, 9]), 1.5) == [(1.5, 3.0)]
    assert pause_and_resume(unit_window([9, 1, 5, 9]), 1.5) == [(1.0, 2.5)]


def test_a_pause_that_costs_more_than_it_saves_is_not_made() -> None:
    window = unit_window([1, 3, 1, 9])
    assert pause_and_resume(window, 2.0, 0.0) == [(0.0, 1.0), (2.0, 3.0)]
    assert pause_and_resume(window, 2.0, 0.5) == [(0.0, 1.0), (2.0, 3.0)]
    assert pause_and_resume(window, 2.0, 0.7) == [(0.0, 2.0)]
    assert pause_and_resume(window, 2.0, 1.0) == [(0.0, 2.0)]


@pytest.mark.parametrize("idle", [0.0, 0.2])
def test_a_month_of_a_year_of_five_minutes_is_planned_in_seconds(idle: float) -> None:
    quarters = random_days(365, 1)
    values = [value + k for value in quarters for k in (0.0, 0.5, 1.0)]
    window = Window.of([300.0 * k for k in range(len(values) + 1)], values)
    begin = process_time()
    spans = pause_and_resume(window, 30 * 86400.0, idle)
    assert process_time() - begin < 10.0  # about 0.1 s and 1 s on an idle machine
    assert run_s(spans) == pytest.approx(30 * 86400.0)
    assert window.cost(spans, idle) < window.cost([flexible_start(window, 30 * 86400.0)])


# -- by threshold ------------------------------------------------------------------------------------------------------


def test_a_threshold_pauses_above_it_and_resumes_below() -> None:
    window = unit_window([5, 1, 5, 1, 1, 5])
    assert below(window, 2.0, 3.0) == [(1.0, 2.0), (3.0, 4.0)]
    assert below(window, 2.0, 5.0) == [(0.0, 2.0)]


def test_a_threshold_gives_way_when_no_time_is_left_to_wait() -> None:
    window = unit_window([5, 5, 5, 1, 5, 5])
    assert below(window, 4.0, 3.0) == [(2.0, 6.0)]
    assert below(window, 3.5, 3.0) == [(2.5, 6.0)]
    assert below(window, 6.0, 3.0) == [(0.0, 6.0)]


@settings(max_examples=200, deadline=None)
@given(STEPS, st.floats(0.1, 20.0), st.floats(0.0, 13.0))
def test_a_threshold_always_gets_the_job_done_in_time(steps: list[tuple[int, int]], run: float, limit: float) -> None:
    window = unit_window([value for value, _ in steps], [length for _, length in steps])
    run = min(run, window.edges[-1])
    spans = below(window, run, limit)
    assert run_s(spans) == pytest.approx(run)
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert 0.0 <= spans[0][0] <= spans[-1][1] <= window.edges[-1] + 1e-9


def test_the_usual_threshold_is_what_the_cleanest_hours_do_not_exceed() -> None:
    window = unit_window([5, 1, 4, 2, 3])
    assert [quantile(window, share) for share in (0.2, 0.4, 0.5, 1.0)] == [1.0, 2.0, 3.0, 5.0]


# -- plan --------------------------------------------------------------------------------------------------------------


def day(**options: Any) -> Schedule:
    return plan(Series(DAY), 4, 16, 300, start=MIDNIGHT, **options)


def test_a_plan_says_when_how_much_and_what_is_saved() -> None:
    schedule = day()
    now, later = schedule.now, schedule.flexible_start
    assert now.kg_co2e == pytest.approx(0.3 * (300 + 280 + 260 + 240) / 1000)
    assert (now.kwh, now.waits_h, now.saved_kg, now.saved_fraction) == (pytest.approx(1.2), 0.0, 0.0, 0.0)
    assert later.start == MIDNIGHT + timedelta(hours=10)
    assert later.end == MIDNIGHT + timedelta(hours=14)
    assert later.waits_h == 10.0
    assert later.kg_co2e == pytest.approx(0.3 * (100 + 90 + 80 + 95) / 1000)
    assert later.saved_kg == pytest.approx(now.kg_co2e - later.kg_co2e)
    assert later.saved_fraction == pytest.approx(1 - 365 / 1080)
    assert schedule.source == "test"


def test_a_job_may_end_as_much_later_as_is_said_and_no_more() -> None:
    for each in plan(Series(DAY), 4, 6, 300, start=MIDNIGHT).plans:
        assert MIDNIGHT <= each.start <= each.end <= MIDNIGHT + timedelta(hours=10)


def test_what_the_series_covers_is_planned_however_short_and_whenever_it_starts() -> None:
    random = Random(5)
    hourly = [(MIDNIGHT + timedelta(hours=k), random.uniform(50, 600)) for k in range(72)]
    series = IntensitySeries(hourly)
    for _ in range(300):
        start = MIDNIGHT + timedelta(hours=random.uniform(0, 60))
        hours, within = random.choice([0.1, 0.5, 1.0, 3.0]), random.choice([0.0, 0.25, 1.0, 6.0])
        planned = plan(series, hours, within, 300, start=start)
        assert planned.flexible_start.saved_kg >= -1e-12
    # Its last value holds for an hour, as the others do.
    assert plan(series, 2.0, 0.5, 300, start=MIDNIGHT + timedelta(hours=69.5)).hours == 2.0
    with pytest.raises(ValueError, match="the forecast ends"):
        plan(series, 2.0, 0.6, 300, start=MIDNIGHT + timedelta(hours=69.5))


@pytest.mark.parametrize("day", [datetime(2025, 10, 25, 18), datetime(2025, 3, 29, 18)])
def test_a_plan_of_a_zone_is_that_of_the_same_moment_when_clocks_change(day: datetime) -> None:
    start = day.replace(tzinfo=ZoneInfo("Europe/Paris"))
    values = [(start.astimezone(UTC) + timedelta(hours=k), 100.0 if 12 <= k < 14 else 400.0) for k in range(48)]
    series = IntensitySeries(values)
    here = plan(series, 2, 24, 300, start=start)
    there = plan(series, 2, 24, 300, start=start.astimezone(UTC))
    assert here.plans == there.plans
    assert here.flexible_start.start.tzinfo is start.tzinfo
    assert here.flexible_start.start.astimezone(UTC) == values[12][0] and here.flexible_start.waits_h == 12.0


def test_a_series_of_numpy_numbers_makes_a_plan_of_plain_ones() -> None:
    numpy = pytest.importorskip("numpy")
    schedule = plan(Series([numpy.float32(value) for value in DAY]), 4, 16, 300, start=MIDNIGHT)
    assert msgspec.json.decode(msgspec.json.encode(schedule))["now"]["kg_co2e"] == day().now.kg_co2e


def test_idle_time_between_pieces_is_paid_for_and_waiting_is_not() -> None:
    series = Series([100, 900, 100, 900, 900])
    schedule = plan(series, 2, 3, 300, 60, start=MIDNIGHT)
    best = schedule.pause_and_resume
    assert [(each.start.hour, each.end.hour) for each in best.intervals] == [(0, 1), (2, 3)]
    assert best.kg_co2e == pytest.approx((0.3 * 200 + 0.06 * 900) / 1000)
    assert (best.kwh, best.paused_h) == (pytest.approx(0.66), 1.0)
    waiting = plan(Series([900, 100, 100]), 2, 1, 300, 60, start=MIDNIGHT).flexible_start
    assert (waiting.kwh, waiting.waits_h, waiting.paused_h) == (pytest.approx(0.6), 1.0, 0.0)


def test_pue_raises_emissions_and_leaves_the_share_saved() -> None:
    plain, site = day().flexible_start, day(pue=1.5).flexible_start
    assert site.kg_co2e == pytest.approx(1.5 * plain.kg_co2e)
    assert site.kwh == pytest.approx(1.5 * plain.kwh)
    assert site.saved_fraction == pytest.approx(plain.saved_fraction)


def test_a_start_within_a_step_is_counted_from_there() -> None:
    start = MIDNIGHT + timedelta(minutes=30)
    schedule = plan(Series([100, 300, 50]), 1, 1, 1000, start=start)
    assert schedule.now.kg_co2e == pytest.approx(0.5 * 0.1 + 0.5 * 0.3)
    assert schedule.flexible_start.start == MIDNIGHT + timedelta(hours=1.5)
    best = schedule.pause_and_resume
    assert [(each.start.minute, each.end.minute) for each in best.intervals] == [(30, 0), (0, 30)]
    assert best.kg_co2e == pytest.approx(0.5 * 0.1 + 0.5 * 0.05)


def test_without_a_threshold_of_ones_own_it_is_that_of_the_cleanest_hours() -> None:
    assert day().threshold.threshold_g_co2e_per_kwh == 100.0
    own = day(threshold=150).threshold
    assert own.threshold_g_co2e_per_kwh == 150.0
    assert own.start == MIDNIGHT + timedelta(hours=9)


def test_at_a_constant_intensity_nothing_is_saved() -> None:
    schedule = plan(ConstantIntensity(100.0, "mine"), 6, 24, 300, start=MIDNIGHT)
    assert all(each.start == MIDNIGHT and each.saved_kg == 0.0 for each in schedule.plans)


def test_a_plan_starts_now_unless_told() -> None:
    before = datetime.now(UTC)
    assert before <= plan(ConstantIntensity(1.0, "mine"), 1, 0, 1).now.start <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": 0}, "hours=0 is not accepted; give a number above 0"),
        ({"hours": float("nan")}, "hours=nan is not accepted"),
        ({"hours": 1e300}, "hours=1e\\+300 is not accepted; give a number above 0 and at most 100000"),
        ({"within_hours": 1e9}, "within_hours=1000000000.0 is not accepted"),
        ({"within_hours": -1}, "within_hours=-1 is not accepted; give a number of at least 0"),
        ({"watts": 0}, "watts=0 is not accepted"),
        ({"watts": "300"}, "watts='300' is not accepted"),
        ({"idle_watts": 301}, "idle_watts=301 is not accepted; a paused job draws at most watts=300"),
        ({"pue": 0.9}, "pue=0.9 is not accepted; give a number of at least 1"),
        ({"threshold": 0}, "threshold=0 is not accepted"),
        ({"start": datetime(2025, 1, 20)}, "give an aware datetime"),
        ({"start": MIDNIGHT - timedelta(hours=1)}, "the forecast begins at 2025-01-20 00:00 UTC"),
        ({"within_hours": 21}, "the forecast ends 24 h after .* give within_hours of at most 20"),
        ({"hours": 25}, "it does not cover the job itself"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_reason(options: dict[str, Any], message: str) -> None:
    arguments = {"hours": 4, "within_hours": 16, "watts": 300, "idle_watts": 0, "start": MIDNIGHT, **options}
    with pytest.raises(ValueError, match=message):
        plan(Series(DAY), **arguments)


def test_a_source_that_does_not_look_ahead_is_refused() -> None:
    class Blind(Series):
        def forecast(self, start: datetime, end: datetime) -> None:  # type: ignore[override]
            return None

    with pytest.raises(ValueError, match="Blind has no forecast from 2025-01-20 00:00 UTC on"):
        plan(Blind(DAY), 1, 1, 1, start=MIDNIGHT)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_forecast_that_lies_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="holds a value that no grid has"):
        plan(Series([100, value, 100]), 1, 2, 1, start=MIDNIGHT)


# -- the chart ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("hours", [0.1, 4, 20])
def test_a_chart_fits_its_terminal(width: int, hours: float) -> None:
    schedule = plan(Series(DAY), hours, 20 - hours, 300, 30, start=MIDNIGHT)
    for ascii_only in (False, True):
        lines = chart(schedule, width, ascii_only=ascii_only)
        assert max(map(len, lines)) < max(width, 28)
        assert all(line.isascii() for line in lines) or not ascii_only


def marked(lines: Sequence[str], label: str) -> str:
    return next(line for line in lines if line.strip().startswith(label))[7:]


def test_a_chart_shows_when_each_plan_runs() -> None:
    schedule = plan(Series([100, 900, 100, 900]), 2, 2, 300, 30, start=MIDNIGHT)
    lines = chart(schedule, 48, ascii_only=True)
    assert marked(lines, "now") == "#" * 20
    assert marked(lines, "best") == "#" * 10 + "." * 10 + "#" * 10
    assert lines[0].split()[0] == "900"


def test_every_plan_is_a_frozen_value() -> None:
    for each in day().plans:
        assert isinstance(each, Plan)
        with pytest.raises(AttributeError):
            each.kg_co2e = 0.0  # type: ignore[misc]
