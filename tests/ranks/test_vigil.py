"""How ranks wait together, with threads in the place of processes: the first one decides, and nobody is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.grid import CLEAN, DIRTY, Grid
from ranks.threads import ThreadRanks
from wattloop import CleanHours
from wattloop.grid import IntensitySeries
from wattloop.grid.intensity import Intensity
from wattloop.grid.nowait import NoWait
from wattloop.job import Job
from wattloop.vigil import FIRST_ANSWER_S, LONG_PAUSE, PAUSE, TRAIN, Vigil
from wattloop.waiting import Needs

PATIENCE_S = 20.0


def vigils(grid: Any, world: int, leader_lost_s: float = 600.0, **policy: Any) -> list[Vigil]:
    shared = ThreadRanks.Shared(world)
    clean = CleanHours(**{"below": 250.0, "shortest_minutes": 0.0, **policy})
    with ThreadPoolExecutor(world) as threads:
        jobs = [*threads.map(lambda rank: Job(ThreadRanks(rank, world, shared), "a run", 50), range(world))]
    for job in jobs:
        job._name = "run 1"  # which processes count for themselves
    return [Vigil(clean, NoWait(grid), job, Needs, leader_lost_s) for job in jobs]


def never() -> bool:
    return False


def test_the_first_rank_alone_looks_at_the_grid_and_says_how_long_it_may_last() -> None:
    first, second = vigils(Grid(DIRTY), 2)
    assert (first.look(), second.look()) == (True, False)
    assert (first.wish(), second.wish()) == (LONG_PAUSE, TRAIN)
    (alone,) = vigils(Grid(CLEAN), 1)
    assert (alone.look(), alone.wish()) == (False, TRAIN)
    (short,) = vigils(Grid(DIRTY), 1, checkpoint_minutes=float("inf"))
    # How long it may last is not known here; a longest wait of no time at all would make it short.
    assert short.look() and short.wish() in (PAUSE, LONG_PAUSE)


def test_a_pause_is_told_with_the_reason_for_which_it_was_agreed() -> None:
    grid = Grid(DIRTY)
    (vigil,) = vigils(grid, 1)
    assert vigil.look() and vigil.wish() == LONG_PAUSE
    grid.value = CLEAN  # while a checkpoint is written
    vigil._waiting.hold(False)
    assert not vigil.look() and vigil.wish() == TRAIN
    assert vigil.verdict.wait and vigil.verdict.why == "500 gCO2e/kWh is above 250"


def test_what_cannot_be_known_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    over = datetime.now(UTC) - timedelta(days=2)
    series = IntensitySeries([(over, 400.0), (over + timedelta(hours=1), 400.0)])
    (vigil,) = vigils(series, 1)
    begin_s = time.monotonic()
    vigil.look_first()
    assert time.monotonic() - begin_s < FIRST_ANSWER_S / 2 and vigil.wish() == TRAIN
    (said,) = caplog.messages
    assert said == "carbon intensity is not known, so training begins without a wait for clean electricity"


@pytest.mark.parametrize("world", [1, 2, 4])
def test_all_go_on_when_the_first_one_does(world: int) -> None:
    grid = Grid(DIRTY)
    with ThreadPoolExecutor(world) as threads:
        staying = [threads.submit(vigil.stay, never) for vigil in vigils(grid, world)]
        time.sleep(0.3)
        assert not any(one.done() for one in staying)
        grid.value = CLEAN
        assert staying[0].result(PATIENCE_S) == "100 gCO2e/kWh"
        for one in staying[1:]:
            one.result(PATIENCE_S)


def test_when_the_first_one_is_interrupted_nobody_is_left_behind() -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    first, second = vigils(Grid(DIRTY), 2)
    with ThreadPoolExecutor(1) as threads:
        staying = threads.submit(second.stay, never)
        with pytest.raises(KeyboardInterrupt):
            first.stay(interrupted)
        staying.result(PATIENCE_S)


def test_when_one_is_to_go_on_all_do_since_it_would_wait_for_them_in_training() -> None:
    vigils_ = vigils(Grid(DIRTY), 3)
    with ThreadPoolExecutor(3) as threads:
        staying = [threads.submit(vigil.stay, lambda rank=rank: rank == 1) for rank, vigil in enumerate(vigils_)]
        assert staying[0].result(PATIENCE_S) == "it is not to wait any longer"
        for one in staying[1:]:
            one.result(PATIENCE_S)


def test_the_first_one_does_not_wait_for_itself_alone_when_it_has_lost_the_others() -> None:
    first, _ = vigils(Grid(DIRTY), 2)

    class Lost:
        def count(self, key: str) -> int:
            raise ConnectionError("the store is gone")

    first._job.ranks.shared.store = Lost()  # as when the process that kept it has ended
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(first.stay, never).result(PATIENCE_S) == "the ranks have lost each other"


def test_the_others_do_not_wait_for_ever_for_a_first_rank_that_died(caplog: pytest.LogCaptureFixture) -> None:
    _, second = vigils(Grid(DIRTY), 2, leader_lost_s=0.3)
    second.stay(never)
    assert [record.message for record in caplog.records] == [
        "rank 0 has not been heard of for 0.3 s: this rank waits no longer"
    ]


def test_each_pause_is_one_of_its_own() -> None:
    grid = Grid(DIRTY)
    first, second = vigils(grid, 2)
    for _ in range(3):
        grid.value = DIRTY
        with ThreadPoolExecutor(2) as threads:
            staying = [threads.submit(vigil.stay, never) for vigil in (first, second)]
            threading.Timer(0.3, lambda: setattr(grid, "value", CLEAN)).start()
            assert staying[0].result(PATIENCE_S) == "100 gCO2e/kWh"
            staying[1].result(PATIENCE_S)


class Slow:
    """A source that takes a moment for each answer, as one on the network does."""

    def at(self, time_: datetime) -> Intensity:
        time.sleep(0.1)
        return Intensity(300.0, "a test")

    def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]]:
        time.sleep(0.3)
        hours = [start + timedelta(hours=hour) for hour in range(200)]
        return [(at, Intensity(300.0 if hour < 1 else 50.0, "a test")) for hour, at in enumerate(hours) if at < end]


@pytest.fixture
def asked_in_background() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "wattloop-grid":
            thread.join(PATIENCE_S)


@pytest.mark.usefixtures("asked_in_background")
@pytest.mark.parametrize("policy", [{"below": None, "percentile": 30.0}, {"below": None, "deadline_hours": 48.0}])
def test_the_first_step_waits_for_the_first_forecast_of_a_slow_source(
    policy: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    (alone,) = vigils(Slow(), 1, job_hours=1.0, **policy)
    alone.look_first()
    assert alone.wish() == LONG_PAUSE and not caplog.records


@pytest.mark.usefixtures("asked_in_background")
def test_a_slow_source_that_cannot_look_ahead_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    class Blind(Slow):
        def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]]:
            raise NotImplementedError

    (alone,) = vigils(Blind(), 1, below=None, percentile=30.0)
    begin_s = time.monotonic()
    alone.look_first()
    assert alone.wish() == TRAIN and time.monotonic() - begin_s < FIRST_ANSWER_S
    assert "there is no forecast" in caplog.text
