"""The processes that train together: who they are, and the few things they do at the same step."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

CADENCE_STEPS = 10
"""Steps between two collectives: fixed and the same on all ranks, so that they meet at the same step."""
POLL_S = (0.001, 1.0)
"""Shortest and longest pause between two looks at whether the others have come."""


class Ranks(Protocol):
    """The processes that train together; all but `meet` and `refuse` are collectives, that all must call alike.

    Attributes:
        rank: This process's place, from 0.
        world_size: How many there are.
        cadence: Steps between two collectives.
    """

    rank: int
    world_size: int
    cadence: float

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, the same on each to the last bit."""
        ...

    def least(self, values: Sequence[float]) -> list[float]:
        """Return the minima over all ranks."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return what each rank gave, plain numbers and strings, in the order of ranks."""
        ...

    def meet(self, place: str, patience_s: float) -> bool:
        """Wait for all ranks to come to a place, no longer than `patience_s` seconds.

        Returns:
            True on all ranks, or False on all: so that where one is missing, none begins a collective.
        """
        ...

    def refuse(self, place: str) -> None:
        """Let no rank wait at a place, for this one will not come."""
        ...


class SingleRank:
    """A job of one process."""

    rank = 0
    world_size = 1
    cadence = float("inf")

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the values."""
        return [*values]

    def least(self, values: Sequence[float]) -> list[float]:
        """Return the values."""
        return [*values]

    def gather(self, value: Any) -> list[Any]:
        """Return the one value."""
        return [value]

    def meet(self, place: str, patience_s: float) -> bool:
        """Return True."""
        return True

    def refuse(self, place: str) -> None:
        """Do nothing."""


class TorchRanks:
    """A job on `torch.distributed`, as Lightning, Accelerate, the Trainer and torchrun start it.

    Collectives go through the process group that training uses: it works, where a second one might not, and its order
    of collectives is the same on all ranks. Meetings go through the key-value store behind it, and hold up nobody.
    """

    cadence: float = CADENCE_STEPS

    def __init__(self, distributed: Any) -> None:
        self._distributed = distributed
        self.rank: int = distributed.get_rank()
        self.world_size: int = distributed.get_world_size()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, the same on each to the last bit."""
        return self._reduced(values, self._distributed.ReduceOp.SUM)

    def least(self, values: Sequence[float]) -> list[float]:
        """Return the minima over all ranks."""
        return self._reduced(values, self._distributed.ReduceOp.MIN)

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        import torch

        tensor = torch.tensor(values, dtype=torch.float64, device=self._device())
        self._distributed.all_reduce(tensor, how)
        return [float(value) for value in tensor.tolist()]

    def _device(self) -> Any:
        """Return where tensors are to be: with the CPU, if the group's backends serve it, no GPU has to wait."""
        import torch

        if "cpu:" in self._distributed.get_backend_config():
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())

    def gather(self, value: Any) -> list[Any]:
        """Return what each rank gave, plain numbers and strings, in the order of ranks."""
        found: list[Any] = [None] * self.world_size
        self._distributed.all_gather_object(found, value)
        return found

    def meet(self, place: str, patience_s: float) -> bool:
        """Wait for all ranks to come to a place; the last to come, or the first to lose patience, decides for all."""
        store = self._store()
        if store.add(f"wattloop/{place}/came", 1) == self.world_size:
            return self._decided(store, place, "all")
        verdict, end_s, pause_s = f"wattloop/{place}/verdict", time.monotonic() + patience_s, POLL_S[0]
        while not store.check([verdict]):
            if time.monotonic() >= end_s:
                return self._decided(store, place, "not all")
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, POLL_S[1])
        return bool(store.get(verdict) == b"all")

    def refuse(self, place: str) -> None:
        """Let no rank wait at a place, for this one will not come."""
        self._decided(self._store(), place, "not all")

    def _decided(self, store: Any, place: str, verdict: str) -> bool:
        return bool(store.compare_set(f"wattloop/{place}/verdict", "", verdict) == b"all")

    def _store(self) -> Any:
        return self._distributed.distributed_c10d._get_default_store()


def detect() -> Ranks:
    """Return the job that this process is part of, without importing anything."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        ranks = TorchRanks(distributed)
        if ranks.world_size > 1:
            return ranks
    return SingleRank()
