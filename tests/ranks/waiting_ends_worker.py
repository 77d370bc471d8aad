"""One of two ranks whose wait for clean electricity ends in some other way: as the case says that it is told."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from fakes.grid import CLEAN, DIRTY, Grid
from ranks.worker import CONFIG, RANK, gpus, leave, options
from wattloop import Budget, CleanHours, track

COLLECTIVE_S = 5.0
"""Time after which a collective fails."""
J_PER_KWH = 3.6e6
WAIT_S = 8.0
MACHINES = {
    "budget": "devices=2;d0.profile=constant:10;d1.profile=constant:200",
    "shared_budget": "devices=2;profile=constant:200",
}
STEPS = 200


def train(folder: Path, grid: Grid, lengths: list[int] | None = None, **more: Any) -> dict[str, Any]:
    """Train in step with the other rank, as far as both do so, and tell how it went."""
    wait = CleanHours(below=250, shortest_minutes=0)
    run = track(lambda *row: None, **options(folder, **{"budget": None, "intensity": grid, "wait": wait, **more}))
    grid.run = run
    begins_s: list[float] = []
    with run:
        for length in lengths or [STEPS]:
            for _ in run.steps(range(length)):
                begins_s.append(time.monotonic())
                if lengths is None:
                    dist.all_reduce(torch.zeros(1))
                time.sleep(0.003)
            run.epoch_end()
    assert run.settle(20.0)
    totals = run.totals
    told = {"steps": run.steps_done, "waited_s": totals.waited_s, "stopped": run.should_stop}
    return {**told, "begins_s": begins_s}


def forever(folder: Path) -> dict[str, Any]:
    return train(folder, Grid(DIRTY, looks_ahead=False))


def budget(folder: Path) -> dict[str, Any]:
    """Rank 1 is the one to see in the wait that the budget is spent, long before the first does."""
    return train(folder, Grid(DIRTY, looks_ahead=False), budget=Budget(kwh=200.0 * 3.0 / J_PER_KWH))


def shared_budget(folder: Path) -> dict[str, Any]:
    """Both together have spent it after 8 s of the wait, each of them alone after 16 s."""
    return train(folder, Grid(DIRTY, looks_ahead=False), budget=Budget(kwh=400.0 * 8.0 / J_PER_KWH))


def uneven(folder: Path) -> dict[str, Any]:
    """Ranks of different lengths, with rows at different steps, and a grid that gets dirty at an epoch's end."""

    grid = Grid(CLEAN)
    if RANK == 0:
        threading.Timer(1.0, lambda: grid.dirty_for(WAIT_S)).start()
    return train(folder, grid, [37 + 9 * RANK] * 20, total_epochs=20, log_every_n_steps=3 + 4 * RANK)


ALL = (forever, budget, shared_budget, uneven)
CASES = {case.__name__: case for case in ALL}


def main() -> None:
    case, folder = sys.argv[1], Path(sys.argv[2])
    (folder / f"pid{RANK}").write_text(str(os.getpid()))
    dist.init_process_group("gloo", timeout=timedelta(seconds=COLLECTIVE_S))
    with gpus(MACHINES.get(case, CONFIG), str(RANK)):
        told = CASES[case](folder)
    (folder / f"rank{RANK}.json").write_text(json.dumps(told))
    dist.barrier()
    leave()


if __name__ == "__main__":
    main()
