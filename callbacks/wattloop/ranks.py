"""What a run needs of a distributed job: who it is, and one decision for all."""

from __future__ import annotations

import sys
from typing import Any, Protocol

CADENCE_STEPS = 10
"""Steps between two collectives: fixed and the same on all ranks, so that they meet at the same step."""


class Ranks(Protocol):
    """The processes that train together.

    Attributes:
        rank: This process's place, from 0.
        world_size: How many there are.
        cadence: Steps between two collectives.
    """

    rank: int
    world_size: int
    cadence: float

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank; all ranks must call it at the same step."""
        ...


class SingleRank:
    """A job of one process."""

    rank = 0
    world_size = 1
    cadence = float("inf")

    def any(self, flag: bool) -> bool:
        """Return `flag`."""
        return flag


class TorchRanks:
    """A job on `torch.distributed`, as Lightning, Accelerate, the Trainer and torchrun start it."""

    cadence: float = CADENCE_STEPS

    def __init__(self, distributed: Any) -> None:
        self._distributed = distributed
        self.rank: int = distributed.get_rank()
        self.world_size: int = distributed.get_world_size()

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank; all ranks must call it at the same step."""
        import torch

        nccl = self._distributed.get_backend() == "nccl"
        device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
        votes = torch.tensor([float(flag)], device=device)
        self._distributed.all_reduce(votes)
        return bool(votes.item() > 0)


def detect() -> Ranks:
    """Return the job that this process is part of, without importing anything."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        ranks = TorchRanks(distributed)
        if ranks.world_size > 1:
            return ranks
    return SingleRank()
