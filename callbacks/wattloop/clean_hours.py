"""CleanHours: for what electricity a run waits, and how long at most."""

from __future__ import annotations

import math

import msgspec


class CleanHours(msgspec.Struct, frozen=True, kw_only=True):
    """When a run is to wait for cleaner electricity: before its first step, and between two steps.

    One of ``below``, ``percentile`` and ``deadline_hours`` says what is clean; with a deadline, either of the other two
    waits no longer than it leaves. The carbon intensity comes from the run's ``intensity``, a live provider or a
    series. A run that waits keeps its devices, and what they draw meanwhile is counted like all else.

    Nothing is waited for that the forecast does not show in the time a run may wait; nor where the intensity is not
    known, where the framework's time limit or the deadline leaves no time, or where ranks have lost each other.

    Args:
        below: Run while carbon intensity is at most this, in g CO2e/kWh (> 0).
        percentile: Run while it is among the cleanest so many per cent (0-100) of the coming 24 hours, as far as the
            forecast goes.
        deadline_hours: Be done within so many hours of the start (> 0), earlier sessions included. Alone: run at
            the hours of the coming ones that together emit least, idle draw included, by the exact plan for the
            forecasts of the grid and of the run.
        job_hours: How long the run takes without waiting, in hours (> 0): a deadline and a time limit need to know it,
            and before the first steps nothing else tells.
        hysteresis: A run that trains pauses only where intensity is this share above the limit (>= 0).
        shortest_minutes: Shortest pause that is worth one, by the forecast, and shortest time between two, in minutes
            (>= 0).
        max_wait_hours: Longest that the run waits, all pauses together, over all its sessions, in hours (> 0).
        lost_minutes: When a run that waits has not known the carbon intensity for so long, it goes on, in minutes
            (>= 0).
        checkpoint_minutes: Pauses that may last longer begin with a checkpoint, where the framework can save one, in
            minutes (>= 0).

    Raises:
        ValueError: A value is not accepted, or none of the first three is given, or both of the first two.

    Example:
        >>> CleanHours(below=250.0, max_wait_hours=12.0).max_wait_hours
        12.0
    """

    below: float | None = None
    percentile: float | None = None
    deadline_hours: float | None = None
    job_hours: float | None = None
    hysteresis: float = 0.05
    shortest_minutes: float = 10.0
    max_wait_hours: float = 24.0
    lost_minutes: float = 30.0
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("below", "percentile", "deadline_hours", "job_hours", "max_wait_hours"):
            value = getattr(self, name)
            if value is None and name != "max_wait_hours":
                continue
            most = 100.0 if name == "percentile" else math.inf
            if not _is_number(value) or not 0.0 < value < most:
                accepted = "a number above 0 and below 100" if name == "percentile" else "a finite number above 0"
                raise ValueError(f"CleanHours: {name}={value!r} is not accepted; give {accepted}")
        for name in ("hysteresis", "shortest_minutes", "lost_minutes", "checkpoint_minutes"):
            value = getattr(self, name)
            if not _is_number(value) or value < 0.0 or (value == math.inf and name != "checkpoint_minutes"):
                raise ValueError(f"CleanHours: {name}={value!r} is not accepted; give a number of 0 or more")
        if self.below is not None and self.percentile is not None:
            raise ValueError(
                f"CleanHours: below={self.below:g} and percentile={self.percentile:g} both say what is clean; give one"
            )
        if self.below is None and self.percentile is None and self.deadline_hours is None:
            raise ValueError(
                "CleanHours: nothing says what is clean; give below=, percentile= or deadline_hours=, e.g. below=250"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
