"""Hours: carbon intensity hour by hour, by which a run is priced that had started at another time."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import msgspec

from wattloop.reports.explorer.data import RunData

if TYPE_CHECKING:
    from wattloop.grid.series import IntensitySeries

HOUR_S, DAY_S = 3600, 86400
LOOKS = 12
"""Moments of an hour at which a series is asked."""
MAX_HOURS = 3 * 366 * 24
MIN_SPREAD_G = 1.0
"""Difference between the hours of a day below which it makes no difference when a run starts, in g CO2e/kWh."""


class Hours(msgspec.Struct, frozen=True):
    """Means of whole hours.

    Attributes:
        begin: Begin of the first, in seconds since 1970.
        hours: In g CO2e/kWh; None where not known.
        daily: They are the 24 of any day, in UTC.
        source: Where they come from.
        kind: Average or marginal.
    """

    begin: int
    hours: list[float | None]
    daily: bool
    source: str
    kind: str


def from_series(series: IntensitySeries | str | os.PathLike[str]) -> Hours:
    """Return the hours of a series, at most three years of them.

    Args:
        series: What is known, or a CSV file of it; times without a zone are taken for UTC.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not accepted.
    """
    from wattloop.grid.intensity import NotKnown
    from wattloop.grid.series import IntensitySeries

    if not isinstance(series, IntensitySeries):
        series = IntensitySeries.from_csv(series, tz="UTC")
    first, last = series.span
    begin = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    count = min(MAX_HOURS, math.ceil((last - begin).total_seconds() / HOUR_S))
    hours: list[float | None] = []
    for hour in range(count):
        try:
            looks = [begin + timedelta(hours=hour + (look + 0.5) / LOOKS) for look in range(LOOKS)]
            hours.append(math.fsum(series.at(time).g_co2e_per_kwh for time in looks) / LOOKS)
        except NotKnown:
            hours.append(None)
    return Hours(int(begin.timestamp()), hours, False, series.source, series.kind)


def from_runs(runs: Sequence[RunData]) -> Hours | None:
    """Return the mean day of the run that saw every hour of the day at its own intensity; None where none did."""
    for run in runs:
        sums, times = [0.0] * 24, [0.0] * 24
        begin_s = 0.0
        for end_s, g, at in zip(run.bins.end_s, run.bins.g, run.bins.session, strict=True):
            session = run.sessions[at]
            time_s = session.time_s + (begin_s + end_s) / 2 - session.begin_s
            hour = int(time_s % DAY_S // HOUR_S)
            # A span that is longer than an hour tells nothing of one hour.
            if 0 < end_s - begin_s <= HOUR_S:
                sums[hour] += g * (end_s - begin_s)
                times[hour] += end_s - begin_s
            begin_s = end_s
        if all(times):
            day = [g / s for g, s in zip(sums, times, strict=True)]
            if max(day) - min(day) >= MIN_SPREAD_G:
                return Hours(0, [*day], True, f"the mean day of {run.name}: {run.source}", run.kind)
    return None
