"""The processes that train together: who they are, and the few things they do at the same step."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Literal, Protocol

Engine = Literal["torch", "jax"]
"""What makes one job of several processes."""

CADENCE_STEPS = 10
"""Steps between two collectives: fixed and the same on all ranks, so that they meet at the same step."""
POLL_S = (0.001, 0.25)
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

    def lead(self, place: str, over: bool) -> bool:
        """Keep those who `follow` at a place, or let them go on; of one rank alone, time and again.

        Args:
            place: The place.
            over: All are to go on.

        Returns:
            True where one of them asks that all go on.
        """
        ...

    def follow(self, place: str, leave: bool = False) -> int | None:
        """Return how often the rank that leads has given a sign of its life; None once all are to go on.

        Neither this nor `lead` waits, and no collective is open meanwhile, whose time could run out.

        Args:
            place: The place.
            leave: Ask the rank that leads to let all go on: one that went alone would wait for the others in training.
        """
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

    def lead(self, place: str, over: bool) -> bool:
        """Return False."""
        return False

    def follow(self, place: str, leave: bool = False) -> int | None:
        """Return None."""
        return None


class Store(Protocol):
    """Keys and values that all ranks see, as every engine keeps to bring them together."""

    def count(self, key: str) -> int:
        """Add one to a key, and return the sum."""
        ...

    def found(self, key: str) -> str | None:
        """Return a key's value, or None where it has none; does not wait."""
        ...

    def first(self, key: str, value: str) -> str:
        """Give a key a value unless it has one, and return the one it has."""
        ...


class Meetings:
    """Brings ranks together without a collective, which would hang where one is missing.

    The last rank to come to a place, or the first to lose patience, decides for all.

    Args:
        store: What all ranks see.
        world_size: How many there are.
    """

    def __init__(self, store: Store, world_size: int) -> None:
        self._store, self._world_size = store, world_size

    def meet(self, place: str, patience_s: float) -> bool:
        """Wait for all ranks to come to a place; see `Ranks`."""
        store, verdict = self._store, f"wattloop/{place}/verdict"
        if store.count(f"wattloop/{place}/came") == self._world_size:
            return store.first(verdict, "all") == "all"
        end_s, pause_s = time.monotonic() + patience_s, POLL_S[0]
        while (found := store.found(verdict)) is None:
            if time.monotonic() >= end_s:
                return store.first(verdict, "not all") == "all"
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, POLL_S[1])
        return found == "all"

    def refuse(self, place: str) -> None:
        """Let no rank wait at a place."""
        self._store.first(f"wattloop/{place}/verdict", "not all")

    def lead(self, place: str, over: bool) -> bool:
        """Keep the other ranks at a place, or let them go on; see `Ranks`."""
        if over:
            self._store.first(f"wattloop/{place}/verdict", "over")
            return False
        self._store.count(f"wattloop/{place}/alive")
        return self._store.found(f"wattloop/{place}/leave") is not None

    def follow(self, place: str, leave: bool = False) -> int | None:
        """Return how often the rank that leads gave a sign, None once all are to go on; see `Ranks`."""
        if leave:
            self._store.first(f"wattloop/{place}/leave", "please")
        if self._store.found(f"wattloop/{place}/verdict") is not None:
            return None
        return int(self._store.found(f"wattloop/{place}/alive") or 0)


def detect(engine: Engine | None) -> Ranks:
    """Return the job that this process is part of, without importing an engine.

    Args:
        engine: What would make it part of one; None for nothing.
    """
    if engine == "torch":
        distributed = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            from wattloop.ranks_torch import TorchRanks

            if distributed.get_world_size() > 1:
                return TorchRanks(distributed)
    if engine == "jax":
        jax = sys.modules.get("jax")
        if jax is not None and jax.process_count() > 1:
            from wattloop.ranks_jax import JaxRanks

            return JaxRanks(jax)
    return SingleRank()
