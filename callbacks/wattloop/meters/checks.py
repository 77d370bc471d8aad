"""Checks that are made once of a board: does its counter agree with its power, and who else draws from it."""

from __future__ import annotations

import os
from math import isfinite, sqrt

CHECKS = 20
"""Readings of a board after which it is checked."""
LEAST_S = 10.0
"""Time over which the two are compared at least, in seconds; a power reading may be the mean of the last one."""
DISAGREE = 0.15
"""Relative difference of counter and power that is worth a warning; single boards were reported at 40 %."""


class CrossCheck:
    """Compares an energy counter with power readings taken beside it.

    Power is read now and then, so that its mean scatters where the load does: a difference counts from three standard
    errors on.
    """

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        self._powers_w: list[float] = []

    def add(self, now_s: float, counter_j: float, power_w: float, last: bool) -> str:
        """Take one pair of readings.

        Args:
            now_s: When they were read, in seconds.
            counter_j: The counter, in joules.
            power_w: The power, in watts; not counted where it is not finite.
            last: Whether to compare now.

        Returns:
            What is wrong; empty before the last pair, and where nothing is.
        """
        self._begin = self._begin or (now_s, counter_j)
        if isfinite(power_w):
            self._powers_w.append(power_w)
        begin_s, begin_j = self._begin
        if not last or len(self._powers_w) < 2 or now_s - begin_s < LEAST_S:
            return ""
        counter_w = (counter_j - begin_j) / (now_s - begin_s)
        n = len(self._powers_w)
        mean_w = sum(self._powers_w) / n
        error_w = sqrt(sum((power_w - mean_w) ** 2 for power_w in self._powers_w) / (n - 1) / n)
        if abs(counter_w - mean_w) <= max(DISAGREE * mean_w, 3 * error_w):
            return ""
        return f"its energy counter says {counter_w:.0f} W where its power reading says {mean_w:.0f} W"


def strangers(pids: list[int], own: int | None = None) -> list[int]:
    """Return the processes of other sessions than ours.

    Ranks, workers and launchers of a job share its session. In a container, NVML's numbers are the host's and mean
    nothing here: where our own is not among them, nobody is called a stranger.

    Args:
        pids: Processes that use a board.
        own: Our process; None for the one that asks.
    """
    own = os.getpid() if own is None else own
    if own not in pids:
        return []
    session = os.getsid(own)
    return [pid for pid in pids if _session(pid) not in (session, None)]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
