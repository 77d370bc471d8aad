"""Jobs of 1, 2 and 4 processes on gloo: every front end, and what a job meets with.

Truth is the clock: rank r's GPU draws 100 (r + 1) W, so that energy is the sum of watts x seconds between moments that
the ranks noted themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ranks.launch import Started, environment, told, torchrun
from wattloop import journal
from wattloop.ranks import CADENCE_STEPS

pytest.importorskip("torch")

FRONTS = {
    "loop": "torch",
    "fsdp": "torch",
    "accelerate": "accelerate",
    "transformers": "transformers",
    "lightning": "lightning",
}
CASES = [
    "every_rank_sees_all",
    "late_drivers",
    "uneven",
    "uneven_with_a_budget",
    "streams",
    "rows_at_different_steps",
    "one_rank_fails",
    "one_rank_alone",
    "resumed",
]
INTERVAL_S = 0.1
WAKING_S = 0.1
"""How long a machine with fewer cores than ranks may keep a sampler's thread waiting."""
KWH = 3.6e6

Told = list[dict[str, Any]]


class Job:
    """A job of so many ranks that has trained with all front ends, and met with all cases, one after the other."""

    def __init__(self, world: int, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.watts = [100.0 * (rank + 1) for rank in range(world)]
        worker = Path(__file__).with_name("worker.py")
        names = [*FRONTS, *(CASES if world > 1 else [])]
        with Started(torchrun(world, str(worker), str(folder), *names), environment(), folder / "output") as job:
            self.printed = job.finish()

    def told(self, name: str) -> Told:
        return told(self.folder / name, self.world)

    def records(self, name: str) -> list[journal.Record]:
        (path,) = (self.folder / name).rglob("wattloop-*.jsonl")
        return [*journal.read(path)]

    def spent_j(self, since_s: list[float], until_s: list[float]) -> float:
        return sum(w * (end - begin) for w, begin, end in zip(self.watts, since_s, until_s, strict=True))

    def spent_at_s(self, energy_j: float, since_s: list[float]) -> float:
        """Return when the job had spent so much, each rank from its own beginning."""
        return (energy_j + sum(w * begin for w, begin in zip(self.watts, since_s, strict=True))) / sum(self.watts)


@pytest.fixture(scope="module")
def job_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Job]:
    """Every job trains once, and all tests look at what it wrote."""
    for package in FRONTS.values():
        pytest.importorskip(package)
    return functools.cache(lambda world: Job(world, tmp_path_factory.mktemp(f"ranks{world}")))


@pytest.fixture(params=[1, 2, 4], ids="{} ranks".format)
def any_job(request: pytest.FixtureRequest, job_of: Callable[[int], Job]) -> Job:
    return job_of(request.param)


@pytest.fixture(params=[2, 4], ids="{} ranks".format)
def job(request: pytest.FixtureRequest, job_of: Callable[[int], Job]) -> Job:
    return job_of(request.param)


def column(ranks: Told, name: str) -> list[Any]:
    return [rank[name] for rank in ranks]


# -- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", FRONTS)
def test_a_budget_stops_all_ranks_at_one_step_soon_after_it_is_spent(any_job: Job, front: str) -> None:
    ranks, budget_j = any_job.told(front), sum(any_job.watts) * 1.0
    (steps,) = set(column(ranks, "steps"))
    assert {len(ends) for ends in column(ranks, "step_ends_s")} == {steps}
    assert {*column(ranks, "should_stop")} == {True}
    cadence = CADENCE_STEPS if any_job.world > 1 else 1

    # No sooner than it can have been spent,
    earliest_s = any_job.spent_at_s(budget_j, column(ranks, "before_start_s"))
    assert max(rank["step_ends_s"][-1] for rank in ranks) >= earliest_s
    # nor later than an interval and a cadence after it must have been.
    seen_s = any_job.spent_at_s(budget_j, column(ranks, "after_start_s")) + INTERVAL_S + WAKING_S
    done = min(sum(end < seen_s for end in rank["step_ends_s"]) for rank in ranks)
    assert steps <= done + cadence


@pytest.mark.parametrize("front", FRONTS)
def test_every_rank_has_the_job_s_energy_at_the_end(any_job: Job, front: str) -> None:
    ranks = any_job.told(front)
    ends_s = [rank["step_ends_s"][-1] for rank in ranks]
    least_j = any_job.spent_j(column(ranks, "after_start_s"), ends_s)
    most_j = any_job.spent_j(column(ranks, "before_start_s"), column(ranks, "end_s"))
    for rank in ranks:
        # A reading that a busy machine could not make in time may lack.
        assert least_j - INTERVAL_S * sum(any_job.watts) <= rank["energy_j"] <= most_j
        assert sum(rank["phases_j"].values()) == pytest.approx(rank["energy_j"])
        # A driver that a busy machine kept from answering at the start is believed to have drawn as it does later.
        assert rank["measured"] > 0.9


@pytest.mark.parametrize("front", FRONTS)
def test_rank_0_alone_keeps_the_record_and_says_whose_it_is(any_job: Job, front: str) -> None:
    ranks, (start, *records) = any_job.told(front), any_job.records(front)
    assert isinstance(start, journal.Start)
    assert start.world_size == any_job.world
    assert start.hosts == (start.host,)
    assert {*column(ranks, "run_id")} == {start.run_id}
    (stop,) = [record for record in records if isinstance(record, journal.Stop)][:1]
    assert (stop.step, stop.reason[:9]) == (ranks[0]["steps"], "budget of")
    assert isinstance(records[-1], journal.End)
    assert records[-1].totals.energy_j == pytest.approx(ranks[0]["energy_j"])
    channels_j = records[-1].channels_j
    assert sum(channels_j.values()) == pytest.approx(records[-1].totals.energy_j)
    # Every rank's own GPU is there, and has drawn as it does.
    share = pytest.approx([watts / sum(any_job.watts) for watts in any_job.watts], abs=0.05)
    assert [channels_j[name] / sum(channels_j.values()) for name in sorted(channels_j)] == share


def test_the_trainer_s_last_row_is_the_job_s(any_job: Job) -> None:
    ranks = any_job.told("transformers")
    row = ranks[0]["last_row"]
    ends_s = [rank["step_ends_s"][-1] for rank in ranks]
    assert "train_runtime" in row
    least_j = any_job.spent_j(column(ranks, "after_start_s"), ends_s) - INTERVAL_S * sum(any_job.watts)
    assert least_j <= row["energy/kwh"] * KWH <= ranks[0]["energy_j"]
    # Power is of late: a mean over time in which it did not change.
    assert row["power/watts"] == pytest.approx(sum(any_job.watts), rel=0.05)


def test_lightning_s_epoch_row_is_the_same_on_all_ranks(any_job: Job) -> None:
    first, *others = column(any_job.told("lightning"), "row")
    assert any_job.world == 1 or first["energy/kwh"] > 0
    assert all(row == pytest.approx(first, nan_ok=True) for row in others)
    assert "sync_dist" not in any_job.printed


# -- what is counted -------------------------------------------------------------------------------------------------


def bounds_j(job: Job, ranks: Told) -> tuple[float, float]:
    """Return the least and the most that all GPUs can have drawn, whichever rank counts them in its time."""
    least_s = min(rank["step_ends_s"][-1] for rank in ranks) - max(column(ranks, "after_start_s"))
    most_s = max(column(ranks, "end_s")) - min(column(ranks, "before_start_s"))
    return sum(job.watts) * (least_s - INTERVAL_S), sum(job.watts) * most_s


@pytest.mark.parametrize(
    "case", ["every_rank_sees_all", "late_drivers", "uneven", "streams", "rows_at_different_steps"]
)
def test_a_gpu_is_counted_once_whoever_sees_it(job: Job, case: str) -> None:
    ranks = job.told(case)
    least_j, most_j = bounds_j(job, ranks)
    for rank in ranks:
        assert least_j <= rank["energy_j"] <= most_j


def test_ranks_of_uneven_length_end_in_their_own_time(job: Job) -> None:
    ranks = job.told("uneven")
    assert column(ranks, "steps") == [3 * (25 + 8 * rank) for rank in range(job.world)]
    assert f"ranks do 25 to {25 + 8 * (job.world - 1)} steps in an epoch" in job.printed


def test_a_budget_stops_an_uneven_epoch_at_one_step(job: Job) -> None:
    ranks = job.told("uneven_with_a_budget")
    (steps,) = set(column(ranks, "steps"))
    assert 0 < steps < 500


def test_nobody_waits_for_a_rank_that_failed(job: Job) -> None:
    *others, failed = job.told("one_rank_fails")
    assert failed["failed"]
    assert (failed["steps"], {*column(others, "steps")}) == (12, {14})
    assert all(rank["exit_s"] < 5 for rank in others)


def test_a_rank_that_measures_alone_goes_on_alone(job: Job) -> None:
    ranks = job.told("one_rank_alone")
    assert {*column(ranks, "alone")} == {True}
    assert 0.3 <= ranks[0]["waited_s"] < 10
    assert f"not all {job.world} ranks came to measure, so rank 0 counts alone" in job.printed


def test_a_state_that_all_ranks_load_is_counted_once(job: Job) -> None:
    ranks = job.told("resumed")
    first, second = column(ranks, "first"), column(ranks, "second")
    assert len({one for rank in ranks for one in rank["ids"]}) == 1
    least_j, most_j = bounds_j(job, second)
    for rank, before, after in zip(ranks, first, second, strict=True):
        assert rank["saved_j"] + least_j <= after["energy_j"] <= rank["saved_j"] + most_j
        # Who has spent it has it already.
        assert rank["loaded_by_itself_j"] == before["energy_j"]
