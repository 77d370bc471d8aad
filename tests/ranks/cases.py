"""What a job of several ranks meets with beside plain training, for `worker.py`: each writes down what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ranks.worker import CONFIG, RANK, WATTS, WORLD, Diary, Net, gpus, options, train_step
from wattloop import Budget, track
from wattloop.job import Job
from wattloop.ranks_torch import TorchRanks

ALONE_PATIENCE_S = 0.3
LATE_S = [0.3 + 0.1 * rank for rank in range(WORLD)]
FAILS_AT, ENDS_AT = 12, 14
"""Both behind the last step of the cadence: no rank is in a collective when one fails."""


def trained(folder: Path, steps: int, step_s: float = 0.01, state: Any = None, **more: Any) -> tuple[Diary, Any]:
    """Train for some steps without collectives of our own, as the model is as small as it gets."""
    run = track(lambda name, value, step: None, **options(folder, **{"budget": None, **more}))
    if state is not None:
        run.load_state_dict(state)
    diary = Diary(run)
    with run:
        diary.started()
        for _ in run.steps(range(steps)):
            time.sleep(step_s)
            diary.step_ended()
    return diary, run


def every_rank_sees_all(folder: Path) -> dict[str, Any]:
    with gpus(CONFIG, None):
        return trained(folder, 30)[0].tell()


def late_drivers(folder: Path) -> dict[str, Any]:
    """All see all, and each has its first reading only when training is under way."""
    with gpus(f"{CONFIG};latency.init={LATE_S[RANK]}", None):
        return trained(folder, 250)[0].tell()


def uneven(folder: Path) -> dict[str, Any]:
    """The documented way to train where ranks have different numbers of batches."""
    run = track(lambda name, value, step: None, **options(folder, budget=None, log_every_n_steps=7))
    diary = Diary(run)
    model = torch.nn.parallel.DistributedDataParallel(Net(lambda: time.sleep(0.003)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gpus(CONFIG, str(RANK)), run:
        diary.started()
        for _ in run.epochs(range(3)):
            with model.join():
                for x in run.steps(torch.zeros(25 + 8 * RANK, 2, 4)):
                    train_step(model, x, optimizer)
                    diary.step_ended()
    return diary.tell()


def uneven_with_a_budget(folder: Path) -> dict[str, Any]:
    """The budget ends an epoch that all ranks are still in."""
    run = track(**options(folder, budget=Budget(kwh=sum(WATTS) * 0.3 / 3.6e6)))
    diary = Diary(run)
    model = torch.nn.parallel.DistributedDataParallel(Net(lambda: time.sleep(0.003)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gpus(CONFIG, str(RANK)), run:
        diary.started()
        for _ in run.epochs(range(3)):
            with model.join():
                for x in run.steps(torch.zeros(500 + RANK, 2, 4)):
                    train_step(model, x, optimizer)
                    diary.step_ended()
    return diary.tell()


def streams(folder: Path) -> dict[str, Any]:
    """Batches without a length, as many on each rank."""

    def stream() -> Iterator[int]:
        yield from range(37)

    run = track(**options(folder, budget=None))
    diary = Diary(run)
    with gpus(CONFIG, str(RANK)), run:
        diary.started()
        for _ in run.epochs(range(2)):
            for _ in run.steps(stream()):
                time.sleep(0.003)
                diary.step_ended()
    return diary.tell()


def rows_at_different_steps(folder: Path) -> dict[str, Any]:
    with gpus(CONFIG, str(RANK)):
        return trained(folder, 40, log_every_n_steps=7 + RANK)[0].tell()


def one_rank_fails(folder: Path) -> dict[str, Any]:
    """The last rank fails, and lives on; the others come to their end in good order."""
    run = track(**options(folder, budget=None))
    diary = Diary(run)
    with gpus(CONFIG, str(RANK)):
        try:
            with run:
                diary.started()
                for step in run.steps(range(ENDS_AT)):
                    if RANK == WORLD - 1 and step == FAILS_AT:
                        raise ValueError("a test")
                    diary.step_ended()
                in_loop_s = time.monotonic()
            diary.told["exit_s"] = time.monotonic() - in_loop_s
        except ValueError:
            diary.told["failed"] = True
    return diary.tell()


def one_rank_alone(folder: Path) -> dict[str, Any]:
    """Rank 0 measures and the others do not, or come when it has given up."""
    begin_s = time.monotonic()
    job = Job(TorchRanks(dist), "", 50, ALONE_PATIENCE_S) if RANK == 0 else None
    waited_s = time.monotonic() - begin_s
    dist.barrier()
    late = Job(TorchRanks(dist), "", 50, 60.0) if job is None else job
    return {"alone": late.alone, "waited_s": waited_s}


def resumed(folder: Path) -> dict[str, Any]:
    """All ranks load what rank 0 has saved, in a further run as after a restart, and in the one that goes on."""
    with gpus(CONFIG, str(RANK)):
        diary, run = trained(folder, 30)
        saved = [run.state_dict()]
        dist.broadcast_object_list(saved)
        again, second = trained(folder, 30, state=saved[0])
        dist.barrier()
        run.load_state_dict(saved[0])
    counted_j = [float(rank_j) for rank_j in gathered(run.totals.energy_j)]
    return {
        "first": diary.tell(),
        "second": again.tell(),
        "saved_j": saved[0]["totals"]["gpu_j"],
        "loaded_by_itself_j": counted_j[RANK],
        "ids": gathered(second.id),
    }


def gathered(value: Any) -> list[Any]:
    found: list[Any] = [None] * WORLD
    dist.all_gather_object(found, value)
    return found


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    case.__name__: case
    for case in (
        every_rank_sees_all,
        late_drivers,
        uneven,
        uneven_with_a_budget,
        streams,
        rows_at_different_steps,
        one_rank_fails,
        one_rank_alone,
        resumed,
    )
}
