"""Ranks on several processes of jax, as `keras.distribution.initialize` starts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wattloop.ranks import CADENCE_STEPS, Meetings


class JaxRanks:
    """A job of several processes of jax, which all run the same program.

    Numbers go as bytes, as jax knows no doubles unless asked to, and each process sums them in the order of ranks.
    Meetings go through the key-value store of jax's coordination service.

    Args:
        jax: The module.
    """

    cadence: float = CADENCE_STEPS

    def __init__(self, jax: Any) -> None:
        self.rank: int = jax.process_index()
        self.world_size: int = jax.process_count()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, the same on each to the last bit."""
        return [sum(column) for column in zip(*self._gathered(values), strict=True)]

    def least(self, values: Sequence[float]) -> list[float]:
        """Return the minima over all ranks."""
        return [min(column) for column in zip(*self._gathered(values), strict=True)]

    def _gathered(self, values: Sequence[float]) -> list[list[float]]:
        import numpy as np

        rows = self._all_bytes(np.array(values, dtype=np.float64).tobytes())
        return [[float(value) for value in np.frombuffer(row, dtype=np.float64)] for row in rows]

    def _all_bytes(self, mine: bytes) -> list[bytes]:
        """Return the bytes of each rank, which are as many on all."""
        import numpy as np
        from jax.experimental.multihost_utils import process_allgather

        return [row.tobytes() for row in np.asarray(process_allgather(np.frombuffer(mine, dtype=np.uint8)))]

    def gather(self, value: Any) -> list[Any]:
        """Return what each rank gave, in the order of ranks."""
        mine = json.dumps(value).encode()
        most = -int(self.least([-len(mine)])[0])
        return [json.loads(row) for row in self._all_bytes(mine.ljust(most))]

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
        from jax._src.distributed import global_state

        if global_state.client is None:
            raise RuntimeError("jax has no coordination service here")
        return Meetings(_JaxStore(global_state.client), self.world_size)


class _JaxStore:
    def __init__(self, client: Any) -> None:
        self._client = client

    def count(self, key: str) -> int:
        return int(self._client.key_value_increment(key, 1))

    def found(self, key: str) -> str | None:
        try:
            return str(self._client.key_value_try_get(key))
        except Exception as error:
            if "NOT_FOUND" in str(error):
                return None
            raise

    def first(self, key: str, value: str) -> str:
        try:
            self._client.key_value_set(key, value)
        except Exception as error:
            if "ALREADY_EXISTS" not in str(error):
                raise
        return self.found(key) or value
