"""When a run waits and when it goes on: by a limit, by percentile, by plan; with a simulated clock."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.day import DAY
from wattloop import CleanHours
from wattloop.grid import IntensitySeries, NotKnown
from wattloop.grid.intensity import ConstantIntensity, Intensity
from wattloop.grid.nowait import NoWait
from wattloop.options import validated
from wattloop.vigil import batch_job_ends_s
from wattloop.waiting import Needs, Verdict, Waiting

MIDNIGHT = datetime(2025, 1, 20, tzinfo=UTC)
HOUR_S = 3600.0


class Grid:
    """Answers at once, from a list of values that hold for a time each, as long as it is there."""

    instant = True

    def __init__(self, values: Sequence[float], step_s: float = HOUR_S, looks_ahead: bool = True) -> None:
        self.values, self.step_s, self.looks_ahead = values, step_s, looks_ahead
        self.gone = self.stale = False

    def at(self, time: datetime) -> Intensity:
        if self.gone:
            raise NotKnown("gone")
        return Intensity(self.values[self._index(time)], "test", stale=self.stale)

    def _index(self, time: datetime) -> int:
        return int((time - MIDNIGHT).total_seconds() // self.step_s)

    def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]] | None:
        if self.gone or not self.looks_ahead:
            return None
        points = [
            (MIDNIGHT + timedelta(seconds=k * self.step_s), Intensity(self.values[k], "test"))
            for k in range(self._index(start), len(self.values))
        ]
        return [point for point in points if point[0] < end]


class World:
    """A clock that is set by hand, and a run in it."""

    def __init__(self, grid: Any, hour: float = 0.0, ends_s: float = math.inf, **policy: Any) -> None:
        self.s = hour * HOUR_S
        self.grid = grid
        self.waiting = Waiting(CleanHours(**policy), NoWait(grid), self.now, lambda: self.s, ends_s)

    def now(self) -> datetime:
        return MIDNIGHT + timedelta(seconds=self.s)

    def to(self, hour: float) -> World:
        self.s = hour * HOUR_S
        return self

    def look(self, **needs: Any) -> Verdict:
        return self.waiting.look(Needs(**needs))


def hours(verdict: Verdict) -> float:
    assert verdict.until is not None
    return (verdict.until - MIDNIGHT).total_seconds() / HOUR_S


# -- by a limit --------------------------------------------------------------------------------------------------------


def test_it_waits_above_the_limit_until_the_forecast_is_below() -> None:
    world = World(Grid(DAY), below=250)
    verdict = world.look()
    assert verdict == Verdict(True, "300 gCO2e/kWh is above 250", MIDNIGHT + timedelta(hours=3))
    assert not world.to(3.0).look().wait


def test_between_the_limit_and_a_little_more_it_does_what_it_did() -> None:
    values = [200, 255, 255, 270, 255, 240, 255]
    world = World(Grid(values), below=250, hysteresis=0.05, shortest_minutes=0)
    states = []
    for hour in range(len(values)):
        wait = world.to(hour).look().wait
        if wait != world.waiting.held:
            world.waiting.hold(wait)
        states.append(wait)
    assert states == [False, False, False, True, True, False, False]


def test_before_the_first_step_the_limit_itself_counts() -> None:
    world = World(Grid([255, 255, 240]), below=250)
    world.waiting.hold(True)
    assert world.look().wait


def test_nothing_is_waited_for_that_is_not_forecast_in_the_time_it_may_wait() -> None:
    dirty = Grid([400.0] * 240)
    verdict = World(dirty, below=250, max_wait_hours=48).look()
    assert verdict == Verdict(False, "no 250 gCO2e/kWh are forecast in the time it may wait")
    assert not World(dirty, below=250).look().wait  # nor within the 24 hours of its own accord
    assert World(Grid([400.0] * 20), below=250, max_wait_hours=48).look().wait  # nobody knows


def test_a_longest_wait_of_more_than_a_day_is_looked_through() -> None:
    verdict = World(Grid([400.0] * 30 + [100.0] * 30), below=250, max_wait_hours=48).look()
    assert verdict.wait and hours(verdict) == 30.0
    assert World(Grid([400.0] * 50 + [100.0]), below=250, max_wait_hours=1e9).look().wait


def test_a_short_peak_is_no_reason_to_pause() -> None:
    world = World(Grid([200, 400, 200, 400, 400, 200], step_s=300), below=250, shortest_minutes=6)
    assert [world.to(k / 12).look().wait for k in range(6)] == [False, False, False, True, False, False]


def test_a_run_that_went_on_trains_for_a_while() -> None:
    world = World(Grid([400, 200, 400, 400, 400, 200], step_s=300), below=250, shortest_minutes=12)
    world.waiting.hold(True)
    assert world.look().wait
    assert not world.to(5 / 60).look().wait
    world.waiting.hold(False)
    assert world.to(10 / 60).look() == Verdict(False, "it went on a moment ago")
    # Twelve minutes after it went on, eight minutes of the peak are left: too few.
    assert world.to(17 / 60).look() == Verdict(False, "cleaner electricity is near")


def test_nothing_is_waited_for_that_the_forecast_does_not_show() -> None:
    world = World(Grid([400] * 48), below=250, max_wait_hours=12)
    assert world.look() == Verdict(False, "no 250 gCO2e/kWh are forecast in the time it may wait")


def test_what_comes_later_than_it_may_wait_is_not_waited_for() -> None:
    world = World(Grid(DAY), below=250, max_wait_hours=2)
    assert not world.look().wait
    assert World(Grid(DAY), below=250, max_wait_hours=3.5).look().wait


def test_where_the_forecast_ends_before_it_waits_in_the_dark() -> None:
    verdict = World(Grid([400, 400]), below=250).look()
    assert verdict.wait and verdict.until is None


def test_a_source_that_never_looks_ahead_will_do_for_a_limit() -> None:
    world = World(Grid(DAY, looks_ahead=False), below=250)
    assert world.look() == Verdict(True, "300 gCO2e/kWh is above 250", None)
    assert not world.to(3.0).look().wait


def test_a_run_that_is_nearly_done_does_not_pause() -> None:
    assert World(Grid(DAY), below=250).look(job_s=599.0) == Verdict(False, "it is nearly done")
    assert World(Grid(DAY), below=250).look(job_s=601.0).wait


# -- by percentile -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percentile", [10, 30, 50, 90])
def test_the_share_of_a_repeating_day_in_which_it_runs_is_the_percentile(percentile: float) -> None:
    world = World(Grid(DAY * 4), percentile=percentile, hysteresis=0, shortest_minutes=0, max_wait_hours=1000)
    ran = [not world.to(hour).look().wait for hour in range(24, 48)]
    most = sorted(DAY)[math.ceil(24 * percentile / 100) - 1]
    assert ran == [value <= most for value in DAY]


def test_without_a_forecast_there_is_no_percentile_which_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Grid(DAY, looks_ahead=False), percentile=30)
    assert not any(world.to(hour).look().wait for hour in range(24))
    assert [record.message for record in caplog.records] == [
        "there is no forecast of carbon intensity, by which percentile= goes: the run does not wait"
    ]


# -- by plan -----------------------------------------------------------------------------------------------------------


def test_with_a_deadline_it_runs_in_the_cleanest_hours_before_it() -> None:
    world = World(Grid(DAY + DAY), deadline_hours=24, job_hours=5, shortest_minutes=0)
    world.waiting.hold(True)
    verdict = world.look(idle=0.0)
    assert verdict.wait and hours(verdict) == 10.0


def test_idle_power_makes_the_wait_dearer_than_it_is_worth() -> None:
    world = World(Grid(DAY + DAY), deadline_hours=24, job_hours=5)
    assert not world.look(idle=0.9).wait


def test_a_plan_is_followed_through_its_pauses_and_is_done_by_its_deadline() -> None:
    ran = follow(Grid(DAY * 2), 20.0, 24.0, idle=0.0)
    assert sum(ran) * 0.25 == pytest.approx(20.0) and len(ran) == 4 * 24
    left_out = {hour for hour in range(24) if not any(ran[4 * hour : 4 * hour + 4])}
    assert left_out == {18, 19, 20, 21}  # the four dearest


def test_before_the_length_of_the_run_is_known_no_deadline_is_risked() -> None:
    assert World(Grid(DAY), deadline_hours=24).look() == Verdict(False, "how long the run takes is not known")
    assert World(Grid(DAY), below=100, deadline_hours=24).look().why == "how long the run takes is not known"


def test_a_plan_needs_a_forecast_that_reaches_farther_than_the_run() -> None:
    assert not World(Grid([400, 100]), deadline_hours=24, job_hours=2).look().wait
    assert World(Grid([400, 100]), deadline_hours=24, job_hours=1).look(idle=0.1).wait


# -- how long ----------------------------------------------------------------------------------------------------------


def test_all_pauses_together_are_no_longer_than_the_longest_wait() -> None:
    world = World(Grid([400] * 100), below=250, max_wait_hours=2)
    world.grid.looks_ahead = False
    assert world.look(waited_s=2 * HOUR_S - 1).wait
    world = World(world.grid, below=250, max_wait_hours=2)
    assert world.look(waited_s=2 * HOUR_S) == Verdict(False, "the longest wait, 2 h, is over")


def test_a_time_limit_leaves_no_more_than_the_run_does_not_need() -> None:
    assert World(Grid(DAY), below=250).look(left_s=5 * HOUR_S, job_s=HOUR_S).wait
    assert not World(Grid(DAY), below=250).look(left_s=3 * HOUR_S, job_s=HOUR_S).wait
    verdict = World(Grid(DAY), below=250).look(left_s=HOUR_S, job_s=HOUR_S)
    assert verdict == Verdict(False, "the time limit leaves none to wait")


def test_under_a_time_limit_the_length_of_the_run_has_to_be_known(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Grid(DAY), below=250)
    for _ in range(2):
        assert world.look(left_s=10 * HOUR_S) == Verdict(False, "how long the run takes is not known")
        world.s += 1.0
    assert len(caplog.records) == 1 and "job_hours" in caplog.text
    assert World(Grid(DAY), below=250, job_hours=1.0).look(left_s=10 * HOUR_S).wait


def test_the_end_of_the_batch_job_is_a_time_limit_and_makes_no_wait_longer() -> None:
    midnight_s = MIDNIGHT.timestamp()
    for spare_hours in (2.9, 3.1):
        ends_s = midnight_s + (5.0 + spare_hours) * HOUR_S
        world = World(Grid(DAY), below=250, job_hours=5.0, ends_s=ends_s)
        assert world.look().wait is (spare_hours > 3.0)  # it is clean three hours from now
    grid = Grid([400] * 100, looks_ahead=False)
    world = World(grid, below=250, job_hours=5.0, max_wait_hours=1.0, ends_s=midnight_s + 9 * HOUR_S)
    world.waiting.hold(True)
    assert world.to(0.9).look().wait
    assert world.to(1.1).look() == Verdict(False, "the longest wait, 1 h, is over")


@pytest.mark.parametrize(
    ("told", "ends_s"),
    [({"SLURM_JOB_END_TIME": "1764100000"}, 1764100000.0)]
    + [({"SLURM_JOB_END_TIME": bad}, math.inf) for bad in ("", "0", "-5", "soon", "nan", "4294967295e999")]
    + [({}, math.inf)],
)
def test_when_the_batch_job_ends_is_known_from_slurm(told: dict[str, str], ends_s: float) -> None:
    assert batch_job_ends_s(told) == ends_s


def test_a_deadline_is_that_of_the_whole_run_and_not_of_its_last_session() -> None:
    world = World(Grid([400] * 100, looks_ahead=False), below=250, deadline_hours=10)
    assert world.look(job_s=2 * HOUR_S, trained_s=5 * HOUR_S, waited_s=2 * HOUR_S).wait
    assert world.look(job_s=2 * HOUR_S, trained_s=4 * HOUR_S, lost_s=1 * HOUR_S, waited_s=2 * HOUR_S).wait
    world = World(world.grid, below=250, deadline_hours=10)
    verdict = world.look(job_s=2 * HOUR_S, trained_s=6 * HOUR_S, waited_s=2 * HOUR_S)
    assert verdict == Verdict(False, "the time left to the deadline is needed")


def test_the_longest_wait_ends_though_no_instrument_answers() -> None:
    world = World(Grid([400] * 100, looks_ahead=False), below=250, max_wait_hours=2, shortest_minutes=0)
    world.waiting.hold(True)
    assert world.to(1.5).look(waited_s=0.0).wait
    world.waiting.hold(False)
    assert world.to(2.0).look(waited_s=0.0).wait
    world.waiting.hold(True)
    assert world.to(2.4).look(waited_s=0.0).wait
    assert world.to(2.6).look(waited_s=0.0) == Verdict(False, "the longest wait, 2 h, is over")


def test_a_deadline_ends_a_wait_when_the_run_turns_out_to_be_longer() -> None:
    world = World(Grid([400] * 100, looks_ahead=False), below=250, deadline_hours=10)
    world.waiting.hold(True)
    assert world.to(1.0).look(job_s=5 * HOUR_S).wait
    assert world.to(2.0).look(job_s=9 * HOUR_S) == Verdict(False, "the time left to the deadline is needed")


@pytest.mark.parametrize("lie", [math.nan, -5.0, 1e9, "many", None])
def test_a_value_that_no_grid_has_is_not_known(lie: Any) -> None:
    world = World(Grid([lie] * 10), below=250)
    assert not world.look().wait
    world.waiting.hold(True)
    assert world.to(0.4).look() == Verdict(True, "carbon intensity is not known")
    assert not world.to(0.6).look().wait


def test_an_answer_that_is_none_is_not_known() -> None:
    class Odd(Grid):
        def at(self, time: datetime) -> Any:
            return 400.0

    assert not World(Odd(DAY), below=250).look().wait


def test_a_limit_is_waited_for_until_the_rest_is_needed_for_the_deadline() -> None:
    grid = Grid([400] * 100, looks_ahead=False)
    world = World(grid, below=250, deadline_hours=10)
    assert world.look(job_s=9.9 * HOUR_S).wait
    assert world.to(0.2).look(job_s=9.9 * HOUR_S) == Verdict(False, "the time left to the deadline is needed")


# -- what is not known -------------------------------------------------------------------------------------------------


def test_where_nothing_is_known_no_wait_begins() -> None:
    grid = Grid(DAY)
    grid.gone = True
    assert not World(grid, below=250).look().wait


@pytest.mark.parametrize("how", ["gone", "stale"])
def test_a_run_whose_provider_is_lost_while_it_waits_goes_on_after_the_stated_time(how: str) -> None:
    world = World(Grid(DAY), below=250, lost_minutes=20)
    verdict = world.look()
    assert verdict.wait
    world.waiting.hold(True)
    setattr(world.grid, how, True)
    assert world.to(19.9 / 60).look() == verdict
    assert world.to(20.1 / 60).look() == Verdict(False, "carbon intensity has not been known for 20 min")


def test_a_provider_that_comes_back_in_time_is_waited_for() -> None:
    world = World(Grid(DAY), below=250, lost_minutes=20)
    world.waiting.hold(True)
    world.grid.gone = True
    world.to(15 / 60).look()
    world.grid.gone = False
    assert world.to(16 / 60).look().wait
    world.grid.gone = True
    assert world.to(34 / 60).look().wait


@pytest.mark.parametrize("lie", [math.nan, -5.0, 1e9, "many"])
def test_a_forecast_that_no_grid_has_is_none(lie: Any) -> None:
    world = World(Grid([400, lie, 100]), below=250)
    assert world.look() == Verdict(True, "400 gCO2e/kWh is above 250", None)


def test_a_look_holds_for_half_a_minute_or_until_the_grid_changes() -> None:
    grid = Grid(DAY)
    world = World(grid, below=250)
    world.look()
    assert not world.waiting.due
    assert world.to(29 / 3600) and not world.waiting.due
    assert world.to(30 / 3600) and world.waiting.due
    world.to(1 - 1e-3).look()
    assert world.to(1 - 1e-4) and not world.waiting.due
    assert world.to(1.0) and world.waiting.due


# -- whole runs --------------------------------------------------------------------------------------------------------


def follow(grid: Grid, job_hours: float, deadline_hours: float, idle: float, **policy: Any) -> list[bool]:
    """Run a job of quarters of an hour as its verdicts say, and tell in which of them it ran."""
    world = World(grid, deadline_hours=deadline_hours, shortest_minutes=0, hysteresis=0, **policy)
    ran: list[bool] = []
    while (done := sum(ran) / 4) < job_hours:
        assert len(ran) < 1000
        needs = {"job_s": (job_hours - done) * HOUR_S, "idle": idle, "waited_s": (len(ran) / 4 - done) * HOUR_S}
        wait = world.to(len(ran) / 4).look(**needs).wait
        if wait != world.waiting.held:
            world.waiting.hold(wait)
        ran.append(not wait)
    return ran


def emitted(grid: Grid, ran: list[bool], idle: float) -> float:
    return sum(grid.values[quarter // 4] * (1.0 if on else idle) for quarter, on in enumerate(ran))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    job=st.integers(1, 20),
    spare=st.integers(0, 20),
    idle=st.sampled_from([0.0, 0.1, 0.3]),
    way=st.sampled_from([{}, {"below": 300.0}, {"percentile": 40.0}]),
)
def test_whatever_the_grid_a_run_is_done_by_its_deadline(
    seed: int, job: int, spare: int, idle: float, way: dict[str, float]
) -> None:
    random = Random(seed)
    grid = Grid([random.uniform(50, 600) for _ in range(job + spare + 30)])
    ran = follow(grid, job, job + spare, idle, **way)
    assert len(ran) <= 4 * (job + spare)
    if not way:  # the plan of the first hour, made again every quarter, is never worse than not waiting
        assert emitted(grid, ran, idle) <= emitted(grid, [True] * 4 * job, idle) * (1 + 1e-9)


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({}, "nothing says what is clean"),
        ({"below": 250, "percentile": 30}, "both say what is clean"),
        *[({"below": bad}, f"below={bad!r}") for bad in (0, -1, math.nan, math.inf, "250", True)],
        *[({"percentile": bad}, f"percentile={bad!r}") for bad in (0, 100, 101, math.nan)],
        *[({"below": 1, "max_wait_hours": bad}, f"max_wait_hours={bad!r}") for bad in (0, None, math.inf)],
        *[({"below": 1, "lost_minutes": bad}, f"lost_minutes={bad!r}") for bad in (-1, math.inf, None)],
        ({"deadline_hours": -3}, "deadline_hours=-3"),
        ({"deadline_hours": 3, "job_hours": 0}, "job_hours=0"),
        ({"below": 1, "hysteresis": -0.1}, "hysteresis=-0.1"),
    ],
)
def test_bad_values_are_refused_by_name(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        CleanHours(**policy)


SERIES = IntensitySeries([(MIDNIGHT, 100.0), (MIDNIGHT + timedelta(hours=1), 200.0)])


def test_an_intensity_that_never_changes_is_nothing_to_wait_for() -> None:
    for intensity in ({}, {"region": "FR"}, {"intensity": 250.0}, {"intensity": ConstantIntensity(250.0, "mine")}):
        with pytest.raises(ValueError, match="never changes"):
            validated({**intensity, "wait": CleanHours(below=100)})
    assert validated({"intensity": SERIES, "wait": {"below": 100}}).wait == CleanHours(below=100)


def test_what_is_no_clean_hours_is_refused() -> None:
    with pytest.raises(ValueError, match="give CleanHours"):
        validated({"intensity": SERIES, "wait": 250})
    with pytest.raises(ValueError, match="below=-1"):
        validated({"intensity": SERIES, "wait": {"below": -1}})


def test_a_policy_can_be_copied_and_sent_to_other_processes() -> None:
    policy = CleanHours(percentile=30, max_wait_hours=5)
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy
