"""What every energy meter gives: cumulative joules per channel, and how far to trust them."""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import msgspec

Kind = Literal["gpu", "cpu", "dram", "psys"]
Method = Literal["counter", "integrated", "modelled"]


class Reading(msgspec.Struct, frozen=True, gc=False):
    """Energy of one channel since its meter opened.

    Attributes:
        channel: Name of the physical thing measured, unique on its host: a GPU's UUID, ``"cpu:0"``, ``"dram:0"``.
        kind: Class of hardware behind the channel.
        energy_j: Cumulative energy since the meter opened, in joules (>= 0, never falls).
        method: ``"counter"`` (the hardware's own energy counter), ``"integrated"`` (power readings over time)
            or ``"modelled"`` (not measured).
        uncertainty_j: What is not known of the energy gathered so far, in joules (>= 0): the difference
            of two readings is off by at most the difference of their ``uncertainty_j`` plus both ``edge_j``.
        modelled_j: The part of ``energy_j`` that was not measured, in joules (gaps filled by the last mean power,
            or all of it for a modelled channel).
        edge_j: What the instrument may not yet show at this moment, in joules (its refresh period x the power now).
        shared: True where the channel also holds what other users of the device drew (a MIG slice reports its board).
        power_w: Mean power of late, in watts; ``nan`` where only differences of ``energy_j`` tell.
        most_w: The most that the channel can draw, in watts, as far as is known.
        time_s: When it was read, monotonic, in seconds; ``nan`` where nothing better is known than of the snapshot.
        model: Product name of the device, in its driver's words; empty where it has none.
    """

    channel: str
    kind: Kind
    energy_j: float
    method: Method
    uncertainty_j: float
    modelled_j: float = 0.0
    edge_j: float = 0.0
    shared: bool = False
    power_w: float = math.nan
    most_w: float = math.inf
    time_s: float = math.nan
    model: str = ""


class MeterUnavailable(Exception):
    """An instrument can't be used here; ``str()`` says why and what would help.

    Args:
        why: Why.
        remedy: What would help; empty where only the surroundings tell.
        code: The vendor's error code; None where there is none.

    Attributes:
        why: As given.
        remedy: As given.
        code: As given.
    """

    def __init__(self, why: str, remedy: str = "", code: int | None = None) -> None:
        super().__init__(f"{why}; {remedy}" if remedy else why)
        self.why, self.remedy, self.code = why, remedy, code


class Correction(msgspec.Struct, frozen=True):
    """What a marked reading should have said, learnt a moment later.

    Attributes:
        channel: As in the reading.
        mark_s: The reading's mark.
        energy_j: To be added to the reading's ``energy_j``, in joules.
        edge_j: Takes the place of the reading's ``edge_j``, in joules.
    """

    channel: str
    mark_s: float
    energy_j: float
    edge_j: float


class Meter(Protocol):
    """One instrument, read by the sampler's thread alone."""

    @property
    def interval_s(self) -> float:
        """Longest time between two reads, in seconds, that the instrument's accuracy allows."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per channel; a failed device keeps its channel and never raises."""
        ...

    def close(self) -> None:
        """Release the instrument; may be called twice."""
        ...


@runtime_checkable
class SettlingMeter(Meter, Protocol):
    """A meter whose readings can be made more exact by looking at the instrument again soon after."""

    def mark(self, mark_s: float) -> tuple[Reading, ...]:
        """Read, and remember the readings under their time `mark_s` as worth correcting."""
        ...

    def next_look_s(self, now_s: float) -> float | None:
        """Return when `look` should next be called, or None as long as there is nothing to correct."""
        ...

    def look(self) -> tuple[Correction, ...]:
        """Look at the instruments, and return what was learnt of marked readings."""
        ...
