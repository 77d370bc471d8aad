"""Ranks that are threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from wattloop.ranks import Meetings


class DictStore:
    """Keys and values that all threads see."""

    def __init__(self) -> None:
        self.lock, self.values = threading.Lock(), dict[str, str]()

    def count(self, key: str) -> int:
        with self.lock:
            self.values[key] = str(int(self.values.get(key, "0")) + 1)
            return int(self.values[key])

    def found(self, key: str) -> str | None:
        return self.values.get(key)

    def first(self, key: str, value: str) -> str:
        with self.lock:
            return self.values.setdefault(key, value)


class ThreadRanks:
    """Ranks that are threads of one process, and note what went through their collectives."""

    cadence = 10.0

    class Shared:
        def __init__(self, world_size: int) -> None:
            self.barrier = threading.Barrier(world_size, timeout=20)
            self.values: list[Any] = [None] * world_size
            self.collectives: list[tuple[str, Any]] = []
            self.store = DictStore()

    def __init__(self, rank: int, world_size: int, shared: Shared) -> None:
        self.rank, self.world_size, self.shared = rank, world_size, shared

    def _all(self, name: str, value: Any) -> list[Any]:
        self.shared.values[self.rank] = value
        self.shared.barrier.wait()
        found = [*self.shared.values]
        if self.rank == 0:
            self.shared.collectives.append((name, value))
        self.shared.barrier.wait()
        return found

    def sum(self, values: Sequence[float]) -> list[float]:
        return [sum(column) for column in zip(*self._all("sum", [*values]), strict=True)]

    def least(self, values: Sequence[float]) -> list[float]:
        return [min(column) for column in zip(*self._all("least", [*values]), strict=True)]

    def gather(self, value: Any) -> list[Any]:
        return self._all("gather", value)

    def meet(self, place: str, patience_s: float) -> bool:
        self._all("meet", place)
        return True

    def refuse(self, place: str) -> None:
        pass

    def lead(self, place: str, over: bool) -> bool:
        return Meetings(self.shared.store, self.world_size).lead(place, over)

    def follow(self, place: str, leave: bool = False) -> int | None:
        return Meetings(self.shared.store, self.world_size).follow(place, leave)
