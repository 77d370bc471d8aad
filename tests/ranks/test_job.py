"""What ranks agree on, with threads in the place of processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ranks.threads import DictStore, ThreadRanks
from wattloop.budget import Budget
from wattloop.footprint import Footprint, Totals
from wattloop.grid.intensity import ConstantIntensity
from wattloop.job import Job
from wattloop.journal import End, Tick, read
from wattloop.ledger import Ledger
from wattloop.meters.base import Correction, Reading
from wattloop.options import validated
from wattloop.progress import Progress
from wattloop.ranks import Meetings, SingleRank
from wattloop.recorder import Recorder
from wattloop.sampler import Settlement, Snapshot

KWH = 3.6e6


class Rank:
    """A rank with a session of its own, fed by hand."""

    def __init__(self, ranks: ThreadRanks) -> None:
        self.rank = ranks.rank
        self.job = Job(ranks, f"run of {ranks.rank}", 50)
        self.session = Footprint(ConstantIntensity(500.0, "a test"))
        self.session.claims = {}
        self.ledger = Ledger()
        self.ledger.open(self.session)

    def take(self, time_s: float, **energy_j: float) -> None:
        readings = tuple(Reading(name, "gpu", joules, "counter", 0.0) for name, joules in energy_j.items())
        self.session.take(Snapshot(time_s, readings))

    def exchange(
        self,
        step: int = 0,
        before_j: float = 0.0,
        stop: bool = False,
        budget: Budget | None = None,
        pause: float = 0.0,
    ) -> bool:
        if before_j:
            self.ledger.recover(Totals(gpu_j=before_j), 0.0, lost=True)
        return self.job.exchange(self.session, self.ledger, step, stop, budget, pause)


def together(world_size: int, act: Callable[[Rank], Any]) -> tuple[list[Any], list[tuple[str, Any]]]:
    """Let all ranks act at the same time; return what each returned, and the collectives of rank 0."""
    shared = ThreadRanks.Shared(world_size)
    with ThreadPoolExecutor(world_size) as threads:
        ranks = [ThreadRanks(rank, world_size, shared) for rank in range(world_size)]
        return [*threads.map(lambda one: act(Rank(one)), ranks)], shared.collectives


def test_all_ranks_hold_the_same_sum_and_know_what_is_not_their_own() -> None:
    def act(rank: Rank) -> Any:
        rank.take(0.0, **{f"GPU{rank.rank}": 0.0})
        rank.exchange()
        rank.session.phase = "train"
        rank.take(1.0, **{f"GPU{rank.rank}": 100.0 * (rank.rank + 1)})
        rank.exchange(step=10)
        return rank.job, rank.session.totals

    found, _ = together(4, act)
    for rank, (job, own) in enumerate(found):
        assert own.gpu_j == 100.0 * (rank + 1)
        assert (job.agreed.gpu_j, job.others.gpu_j) == (1000, 1000 - own.gpu_j)
        assert (own.gpu_s, job.others.totals.gpu_s, job.others.totals.duration_s) == (1, 3, 0)
        assert job.agreed.kg_co2e == pytest.approx(1000 / KWH * 0.5)
        assert job.agreed.phases_j == {"train": 1000}
        assert (job.run_id, job.step) == ("run of 0", 10)


def test_the_payload_is_small_and_the_same_for_any_number_of_ranks() -> None:
    def act(rank: Rank) -> None:
        rank.take(0.0, GPU=0.0)
        for step in range(10):
            rank.exchange(step)

    sizes = set()
    for world_size in (2, 3, 8):
        _, collectives = together(world_size, act)
        sums = [value for name, value in collectives if name == "sum"]
        assert len(sums) == 10
        # Once at the start, and once when the first instruments were seen.
        assert sum(name == "gather" for name, _ in collectives) == 2
        sizes |= {8 * len(value) for value in sums}
    assert len(sizes) == 1
    assert max(sizes) <= 256


@pytest.mark.parametrize("late", [False, True])
def test_what_waits_to_be_claimed_is_neither_lost_nor_counted_twice(late: bool) -> None:
    """Both ranks see both GPUs; the second only when the first has them already, or from the beginning."""

    def act(rank: Rank) -> Any:
        seen = rank.rank == 0 or not late
        rank.take(0.0, **({"A": 5.0, "B": 7.0} if seen else {}))
        rank.take(1.0, **({"A": 105.0, "B": 207.0} if seen else {}))
        rank.exchange()
        rank.take(2.0, A=205.0, B=407.0)
        rank.exchange()
        rank.take(3.0, A=305.0, B=607.0)
        rank.exchange()
        return rank.job.agreed.gpu_j, rank.session.power_w

    found, _ = together(2, act)
    assert [energy_j for energy_j, _ in found] == [900, 900]
    # What had waited is no power of late.
    assert [power_w for _, power_w in found] == [300, 0]


@pytest.mark.parametrize("owner", [0, 1])
def test_a_correction_reaches_what_waits(owner: int) -> None:
    def act(rank: Rank) -> float:
        name = "A" if rank.rank == owner else "B"
        rank.take(10.0, **{name: 100.0})
        rank.session.settle(Settlement(10.0, (Correction(name, 10.0, 20.0, 0.5),)))
        rank.exchange()
        rank.take(11.0, **{name: 150.0})
        rank.exchange()
        return rank.job.agreed.gpu_j

    # The first reading should have said 120 J.
    assert together(2, act)[0] == [60, 60]


def test_a_correction_of_another_s_gpu_changes_nothing() -> None:
    def act(rank: Rank) -> tuple[float, float]:
        rank.take(10.0, A=100.0)
        rank.exchange()
        rank.session.settle(Settlement(10.0, (Correction("A", 10.0, 20.0, 0.5),)))
        rank.take(11.0, A=150.0)
        rank.exchange()
        return rank.session.totals.gpu_j, rank.job.agreed.gpu_j

    assert together(2, act)[0] == [(30, 30), (0, 30)]


@pytest.mark.parametrize(("budget_j", "stops"), [(1000.1, False), (1000.0, True), (400.0, True)])
def test_the_sum_is_held_against_the_budget(budget_j: float, stops: bool) -> None:
    def act(rank: Rank) -> bool:
        name = f"GPU{rank.rank}"
        budget = Budget(kwh=budget_j / KWH)
        rank.take(0.0, **{name: 0.0})
        assert not rank.exchange(budget=budget)
        rank.take(1.0, **{name: 100.0})
        return rank.exchange(before_j=800.0, budget=budget)

    # Two ranks of 100 J, and 800 J before, which both bring along.
    assert together(2, act)[0] == [stops, stops]


def test_what_was_spent_before_is_rank_0_s_to_say() -> None:
    def act(rank: Rank) -> bool:
        return rank.exchange(before_j=0.0 if rank.rank == 0 else 2000.0, budget=Budget(kwh=1000 / KWH))

    assert together(2, act)[0] == [False, False]


def test_what_rank_0_found_in_the_record_is_in_no_rank_s_epoch() -> None:
    """As after a crash: all have loaded a checkpoint, and rank 0 has found that more was spent."""

    def act(rank: Rank) -> Any:
        name = f"GPU{rank.rank}"
        rank.ledger.recover(Totals(gpu_j=1000.0), 0.0, lost=False)
        rank.exchange(before_j=1500.0 if rank.rank == 0 else 0.0)
        rank.take(0.0, **{name: 0.0})
        rank.exchange()
        rank.take(1.0, **{name: 100.0})
        rank.exchange()
        start, end = rank.ledger.end_epoch()
        ledger = rank.ledger
        sums_j = [sum(ledger.phases_j.values()), sum(ledger.channels_j.values())]
        return [ledger.totals.energy_j, (end.settled - start.settled).energy_j, *sums_j]

    found, _ = together(3, act)
    assert [one[:3] for one in found] == [[1800, 300, 1800]] * 3
    # Whatever drew it on rank 0 is another's to the others.
    assert [one[3] for one in found[1:]] == [800, 800]


def test_a_budget_that_only_warns_stops_nobody() -> None:
    budget = Budget(kwh=1 / KWH, on_exceed="warn")
    assert together(2, lambda rank: rank.exchange(before_j=9.0, budget=budget))[0] == [False, False]


@pytest.mark.parametrize("who", [0, 1, 2])
def test_any_rank_can_stop_all(who: int) -> None:
    assert together(3, lambda rank: rank.exchange(stop=rank.rank == who))[0] == [True, True, True]


def test_at_the_end_every_channel_of_the_others_is_known() -> None:
    def act(rank: Rank) -> dict[str, float]:
        rank.take(0.0, **{f"GPU{rank.rank}": 0.0})
        rank.exchange()
        rank.take(1.0, **{f"GPU{rank.rank}": 10.0 * rank.rank})
        rank.exchange()
        rank.take(2.0, **{f"GPU{rank.rank}": 20.0 * rank.rank})
        return rank.job.others_by_channel(rank.session)

    # As of the last exchange, so that they sum to what was agreed on.
    assert together(3, act)[0] == [{"GPU1": 10, "GPU2": 20}, {"GPU0": 0, "GPU2": 20}, {"GPU0": 0, "GPU1": 10}]


MODELS = {"GPU0": "NVIDIA H100", "GPU1": "NVIDIA L40S"}


def test_rank_0_records_the_models_of_all_ranks_gpus_once(tmp_path: Path) -> None:
    def act(rank: Rank) -> None:
        name = f"GPU{rank.rank}"
        recorder = Recorder(tmp_path, rank.ledger, rank.session, "test", validated({}), 2) if rank.rank == 0 else None
        if recorder is not None:
            recorder.start()
        for step, time_s in enumerate((0.0, 0.1, 0.2, 6.0)):
            reading = Reading(name, "gpu", 100.0 * time_s, "counter", 0.0, model=MODELS[name])
            rank.session.take(Snapshot(time_s, (reading,)))
            if recorder is not None:
                recorder.tick(step, time_s)
            if step == 1:
                rank.exchange(step)
        if recorder is not None:
            recorder.close()

    together(2, act)
    (path,) = tmp_path.glob("*.jsonl")
    models = [record.models for record in read(path) if isinstance(record, Tick)]
    assert models == [{"GPU0": "NVIDIA H100"}, MODELS, None]


def test_a_job_that_agrees_at_its_end_alone_records_all_models(tmp_path: Path) -> None:
    def act(rank: Rank) -> None:
        name = f"GPU{rank.rank}"
        rank.session.take(Snapshot(0.0, (Reading(name, "gpu", 0.0, "counter", 0.0, model=MODELS[name]),)))
        recorder = Recorder(tmp_path, rank.ledger, rank.session, "test", validated({}), 2) if rank.rank == 0 else None
        if recorder is not None:
            recorder.start()
            recorder.tick(0, 0.0)
        rank.exchange()
        if recorder is not None:
            recorder.end(1, "finished")

    together(2, act)
    (path,) = tmp_path.glob("*.jsonl")
    *_, last, end = read(path)
    assert isinstance(last, Tick) and isinstance(end, End)
    assert last.models == MODELS


def test_progress_is_weighed_by_energy() -> None:
    """Rank 1, which draws three times as much, was read two steps earlier."""

    def act(rank: Rank) -> float:
        name, step = f"GPU{rank.rank}", 12 - 2 * rank.rank
        rank.take(0.0, **{name: 0.0})
        rank.exchange()
        rank.take(1.0, **{name: step * (10.0, 30.0)[rank.rank]})
        rank.exchange(step)
        return rank.job.agreed.gpu_j / rank.job.step

    # 40 J a step.
    assert together(2, act)[0] == pytest.approx([40, 40], rel=0.01)


def test_lengths_of_epochs() -> None:
    lengths: list[list[int | None]] = [[5, 5], [None, None], [7, None], [3, 4], [6, 6], [None, None]]

    def act(rank: Rank) -> list[float | None]:
        return [rank.job.reach(each[rank.rank]) for each in lengths]

    # Once they have differed, steps are counted from each epoch's beginning.
    assert together(2, act)[0] == [[None, None, None, 3, 6, float("inf")]] * 2


def test_a_collective_that_fails_leaves_the_rank_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ThreadRanks):
        def sum(self, values: Sequence[float]) -> list[float]:
            raise RuntimeError("connection reset")

    rank = Rank(Broken(0, 1, ThreadRanks.Shared(1)))
    assert rank.job.alone  # of one rank
    shared = ThreadRanks.Shared(2)
    with ThreadPoolExecutor(2) as threads:
        ranks = [*threads.map(Rank, [Broken(rank, 2, shared) for rank in range(2)])]
    with caplog.at_level(logging.WARNING, "wattloop"):
        for one in ranks:
            for _ in range(3):
                assert not one.exchange(stop=True)
            assert not one.job.at_epoch_end()
            assert not one.job.at_end()
            one.job.fail(one.session)
    assert [record.message for record in caplog.records] == [
        f"rank {rank} has lost the others, and counts alone from here: RuntimeError('connection reset')"
        for rank in range(2)
    ]


def test_ranks_that_have_parted_have_agreed_on_no_pause() -> None:
    class Breaking(ThreadRanks):
        def sum(self, values: Sequence[float]) -> list[float]:
            if broken:
                raise RuntimeError("connection reset")
            return super().sum(values)

    broken: list[bool] = []
    shared = ThreadRanks.Shared(2)
    with ThreadPoolExecutor(2) as threads:
        ranks = [*threads.map(Rank, [Breaking(rank, 2, shared) for rank in range(2)])]
        [*threads.map(lambda rank: rank.exchange(pause=2.0), ranks)]
        assert [rank.job.pause for rank in ranks] == [2.0, 2.0]
        broken.append(True)
        [*threads.map(Rank.exchange, ranks)]
    assert [rank.job.pause for rank in ranks] == [0.0, 0.0]


def parted(before_j: float = 0.0) -> Rank:
    """Return one of two ranks whose very first collective fails."""

    class Broken(ThreadRanks):
        def sum(self, values: Sequence[float]) -> list[float]:
            raise RuntimeError("connection reset")

    shared = ThreadRanks.Shared(2)
    with ThreadPoolExecutor(2) as threads:
        rank, _ = threads.map(Rank, [Broken(rank, 2, shared) for rank in range(2)])
    rank.take(0.0, A=0.0)
    rank.exchange(before_j=before_j)
    return rank


def test_a_rank_that_is_left_alone_counts_what_had_waited_and_what_it_sees_from_then_on() -> None:
    rank = parted()
    rank.take(1.0, A=100.0)
    assert rank.session.totals.energy_j == 100
    rank.take(2.0, A=200.0, B=0.0)
    rank.exchange()
    rank.take(3.0, A=300.0, B=50.0)
    assert rank.session.totals.energy_j == 350


def test_a_rank_that_is_left_alone_forgets_nothing_of_what_was_spent_before() -> None:
    rank = parted(before_j=1000.0)
    rank.exchange()
    assert rank.ledger.totals.energy_j == 1000


def test_a_rank_that_fails_before_all_agree_counts_what_had_waited() -> None:
    def act(rank: Rank) -> float:
        rank.take(0.0, A=0.0)
        rank.take(1.0, A=100.0)
        rank.job.fail(rank.session)
        rank.take(2.0, A=200.0)
        return rank.ledger.totals.energy_j

    assert together(2, act)[0] == [200, 200]


def test_a_single_rank_agrees_with_itself_at_no_cost() -> None:
    ranks = SingleRank()
    assert ranks.sum([1.0]) == ranks.least([1.0]) == ranks.gather(1.0) == [1.0]
    assert ranks.meet("anywhere", 0.0)
    ranks.refuse("anywhere")
    job = Job(ranks, "run", 50)
    assert (job.alone, job.reach(5), job.at_epoch_end(), job.at_end()) == (True, None, False, False)


def test_all_meet_or_none() -> None:
    store = DictStore()
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(lambda _: Meetings(store, 4).meet("here", 20.0), range(4))] == [True] * 4
        # One does not come; whoever comes later is told so.
        assert [*threads.map(lambda _: Meetings(store, 4).meet("there", 0.02), range(3))] == [False] * 3
    assert not Meetings(store, 4).meet("there", 20.0)


def test_nobody_waits_for_one_that_refuses() -> None:
    store = DictStore()
    Meetings(store, 2).refuse("end")
    assert not Meetings(store, 2).meet("end", 1e9)
    assert Meetings(store, 1).meet("elsewhere", 0.0)


# -- at which steps ---------------------------------------------------------------------------------------------------


def due(progress: Progress, steps: int) -> list[int]:
    found = []
    for _ in range(steps):
        progress.steps_done += 1
        if progress.steps_done >= progress.attention:
            progress.attend()
            if progress.sync_due:
                found.append(progress.steps_done)
    return found


def test_collectives_are_due_at_the_cadence_and_with_rows() -> None:
    progress = Progress(25, 10)
    progress.begin(0)
    assert due(progress, 50) == [10, 20, 25, 30, 40, 50]
    progress.sync_at_rows(False)
    assert due(progress, 50) == [60, 70, 80, 90, 100]


def test_a_resumed_run_falls_into_step_with_itself() -> None:
    progress = Progress(1000, 10)
    progress.begin(17)
    assert due(progress, 20) == [20, 30]


def test_in_epochs_of_uneven_length_collectives_are_due_in_the_steps_of_all() -> None:
    steps = []
    for extra in (0, 4):
        progress = Progress(7, 10)
        progress.begin(0)
        found = []
        for _ in range(2):
            progress.sync_within(33)
            begin = progress.steps_done
            found.append([step - begin for step in due(progress, 33 + extra)])
        steps.append(found)
    assert steps[0] == steps[1] == [[10, 20, 30], [10, 20, 30]]
