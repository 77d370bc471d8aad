"""Ranks on `torch.distributed`, as Lightning, Accelerate, the Trainer and torchrun start them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wattloop.ranks import CADENCE_STEPS, Meetings


class TorchRanks:
    """A job on `torch.distributed`.

    Collectives go through the process group that training uses: it works, where a second one might not, and its order
    of collectives is the same on all ranks. Meetings go through the store behind it.

    Args:
        distributed: The module.
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
        """Return what each rank gave, in the order of ranks."""
        found: list[Any] = [None] * self.world_size
        self._distributed.all_gather_object(found, value)
        return found

    def meet(self, place: str, patience_s: float) -> bool:
        """Wait for all ranks to come to a place."""
        return self._meetings().meet(place, patience_s)

    def refuse(self, place: str) -> None:
        """Let no rank wait at a place."""
        self._meetings().refuse(place)

    def lead(self, place: str, over: bool) -> bool:
        """Keep the other ranks at a place, or let them go on."""
        return self._meetings().lead(place, over)

    def follow(self, place: str, leave: bool = False) -> int | None:
        """Return how often the rank that leads gave a sign, None once all are to go on."""
        return self._meetings().follow(place, leave)

    def _meetings(self) -> Meetings:
        return Meetings(_TorchStore(self._distributed.distributed_c10d._get_default_store()), self.world_size)


class _TorchStore:
    def __init__(self, store: Any) -> None:
        self._store = store

    def count(self, key: str) -> int:
        return int(self._store.add(key, 1))

    def found(self, key: str) -> str | None:
        return self._store.get(key).decode() if self._store.check([key]) else None

    def first(self, key: str, value: str) -> str:
        return str(self._store.compare_set(key, "", value).decode())
