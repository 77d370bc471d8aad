"""A carbon intensity of one's own over time: from a CSV file, a mapping, pairs, or a pandas Series."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol
from zoneinfo import ZoneInfo

from wattloop.grid.intensity import MAX_G_CO2E_PER_KWH, Intensity, NotKnown, is_possible
from wattloop.grid.steps import Step, Steps

TIMES = ("time", "datetime", "timestamp", "date", "point_time", "from", "start")
"""Words by which the column of times is found."""
VALUES = ("co2", "co₂", "carbon", "intensity", "moer", "rating", "value")
"""Words by which the column of values is found."""
MINUTE = "%Y-%m-%dT%H:%MZ"
ACCEPTED = f"a number from 0 to {MAX_G_CO2E_PER_KWH:g} g CO2e/kWh"


class SupportsItems(Protocol):
    """What a mapping and a pandas Series have in common."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Return the pairs of time and value."""
        ...


class IntensitySeries:
    """Carbon intensity that changes at given times and holds in between.

    * A value holds until the next one, but no longer than twice the usual (median) time between two, so that one
      missing value is bridged and a longer gap is not; the last one holds for the usual time. In a gap, before the
      first and after the last value, the run uses the yearly value of its region.
    * Values may come in any order. Of two for the same moment, both must be the same.
    * ``None``, ``nan`` and an empty cell are missing values. Anything else that no grid can have is refused.
    * Times must have a zone, their own or `tz`. When clocks go back, the first of two equal local times is the one
      before that; a local time that clocks jump over is refused.

    Args:
        points: Times and values in g CO2e/kWh (0-2500): pairs, a mapping, or a pandas Series with a DatetimeIndex.
        source: Where the values come from, for the record.
        kind: ``"average"`` or ``"marginal"``.
        tz: Zone of times without one: a name (``"Europe/Paris"``, ``"UTC"``) or a `tzinfo`.
        longest: Longest time that a value holds. Default: see above. Needed where there is one value alone.

    Raises:
        ValueError: There is no value, or one that is not accepted; the message says which.

    Example:
        >>> noon = datetime(2025, 1, 20, 12, tzinfo=UTC)
        >>> series = IntensitySeries({noon: 300, noon + timedelta(hours=1): 250})
        >>> series.at(noon + timedelta(minutes=59)).g_co2e_per_kwh
        300.0
    """

    instant: ClassVar[bool] = True

    def __init__(
        self,
        points: SupportsItems | Iterable[tuple[datetime, float]],
        *,
        source: str = "the user's series",
        kind: Literal["average", "marginal"] = "average",
        tz: str | tzinfo | None = None,
        longest: timedelta | None = None,
    ) -> None:
        items = points.items() if hasattr(points, "items") else points
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):
            raise ValueError(f"points={points!r} is not accepted; give pairs of time and value, or a mapping of them")
        self._set(_numbered(items), source, kind, tz, longest)

    def _set(
        self,
        cells: list[Cell],
        source: str,
        kind: Literal["average", "marginal"],
        tz: str | tzinfo | None,
        longest: timedelta | None,
    ) -> None:
        if kind not in ("average", "marginal"):
            raise ValueError(f"kind={kind!r} is not accepted; give 'average' or 'marginal'")
        if not isinstance(source, str) or not source.strip():
            raise ValueError(f"source={source!r} is not accepted; say where the values come from")
        if longest is not None and not (isinstance(longest, timedelta) and longest > timedelta(0)):
            raise ValueError(f"longest={longest!r} is not accepted; give a timedelta above 0")
        self.source = source
        self.kind: Literal["average", "marginal"] = kind
        self._steps = _steps(cells, _zone(tz), source, kind, longest)

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        *,
        time: str | None = None,
        value: str | None = None,
        source: str | None = None,
        kind: Literal["average", "marginal"] = "average",
        tz: str | tzinfo | None = None,
        longest: timedelta | None = None,
    ) -> IntensitySeries:
        """Read a series from a CSV file with a header.

        Args:
            path: The file.
            time: Name of the column of times, ISO 8601. Default: the one whose name says so. A name that says UTC
                gives its times that zone.
            value: Name of the column of values, in g CO2e/kWh. Default: the one whose name says so.
            source: Where the values come from. Default: the file's name.
            kind: As for the class.
            tz: As for the class.
            longest: As for the class.

        Raises:
            OSError: The file cannot be read.
            ValueError: There is no such column, more than one, or a row is not accepted.
        """
        path = Path(path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file)
                names = [name for name in rows.fieldnames or () if name]
                times = _column(path, "time", time, names, TIMES)
                values = _column(path, "value", value, [name for name in names if name != times], VALUES)
                if tz is None and "utc" in times.casefold():
                    tz = UTC
                cells = [(f"{path}, line {rows.line_num}", row[times], row[values]) for row in rows]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
        read = [(where, _read_time(where, one), _read_value(where, other)) for where, one, other in cells]
        series = cls.__new__(cls)
        series._set(read, source if source is not None else path.name, kind, tz, longest)
        return series

    def at(self, time: datetime) -> Intensity:
        """Return the intensity of a moment.

        Args:
            time: The moment, as an aware datetime.

        Raises:
            NotKnown: It lies in a gap, or outside the series.
        """
        known = self._steps.at(time)
        if known is None:
            first, last = self.span
            raise NotKnown(
                f"{self.source}: its values are from {first:{MINUTE}} to {last:{MINUTE}}, "
                f"none for {time.astimezone(UTC):{MINUTE}}"
            )
        return known

    @property
    def span(self) -> tuple[datetime, datetime]:
        """When the first value begins to hold, and when the last one ceases to."""
        return self._steps.steps[0].start, self._steps.steps[-1].end

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]] | None:
        """Return the values of a period, up to the first gap.

        Args:
            start: Begin of the period, as an aware datetime.
            end: End of the period.

        Returns:
            Moments in rising order, each with the intensity that holds from it to the next; None where there is no
            value for the begin.
        """
        return self._steps.between(start, end)

    def __len__(self) -> int:
        return len(self._steps.steps)

    def __repr__(self) -> str:
        steps = self._steps.steps
        return (
            f"IntensitySeries({len(steps)} values, {steps[0].start:%Y-%m-%dT%H:%MZ}..{steps[-1].end:%Y-%m-%dT%H:%MZ})"
        )


Cell = tuple[str, datetime, float | None]
"""Where it was found, the time, and the value; None for a missing one."""


def _numbered(items: Iterable[Any]) -> list[Cell]:
    cells: list[Cell] = []
    for number, item in enumerate(items, 1):
        where = f"point {number}"
        try:
            time, value = item
        except (TypeError, ValueError):
            raise ValueError(f"{where}: {item!r} is not accepted; give a pair of time and value") from None
        # Not a time, pandas calls a time, too; it equals nothing, itself included.
        if not isinstance(time, datetime) or time != time:
            raise ValueError(f"{where}: time {time!r} is not accepted; give a datetime")
        cells.append((where, time, _checked(where, value)))
    return cells


def _steps(
    cells: list[Cell],
    zone: tzinfo | None,
    source: str,
    kind: Literal["average", "marginal"],
    longest: timedelta | None,
) -> Steps:
    times = _in_utc([(where, time) for where, time, _ in cells], zone)
    by_time: dict[datetime, float] = {}
    for (where, _, value), time in zip(cells, times, strict=True):
        if value is not None and by_time.setdefault(time, value) != value:
            raise ValueError(f"{where}: {value:g} and {by_time[time]:g} are both given for {time:%Y-%m-%dT%H:%M:%SZ}")
    starts = sorted(by_time)
    if not starts:
        raise ValueError(f"{source}: there is no value")
    if len(starts) == 1 and longest is None:
        raise ValueError(f"{source}: there is one value alone; say by longest= for how long it holds, or give more")
    usual = timedelta.max
    if len(starts) > 1:
        between = sorted(after - before for before, after in pairwise(starts))
        usual = between[(len(between) - 1) // 2]
    most, last = (longest, min(usual, longest)) if longest is not None else (2 * usual, usual)
    ends = [min(after, before + most) for before, after in pairwise(starts)] + [starts[-1] + last]
    intensities: dict[float, Intensity] = {}  # one object for each value: a year of hours has few
    return Steps(
        Step(start, end, intensities.setdefault(by_time[start], Intensity(by_time[start], source, kind)))
        for start, end in zip(starts, ends, strict=True)
    )


def _in_utc(times: list[tuple[str, datetime]], zone: tzinfo | None) -> list[datetime]:
    """Give times without a zone theirs; of equal ones when clocks go back, the first to come is the earlier."""
    backwards = len(times) > 1 and times[0][1].replace(tzinfo=None) > times[-1][1].replace(tzinfo=None)
    seen: Counter[datetime] = Counter()
    converted: list[datetime] = []
    for where, time in reversed(times) if backwards else times:
        try:
            if time.utcoffset() is None:
                if zone is None:
                    raise ValueError(f"{where}: {time.isoformat()} has no zone; give tz=, e.g. 'UTC' or 'Europe/Paris'")
                local = time.replace(tzinfo=zone, fold=1 if seen[time] else time.fold)
                seen[time] += 1
                utc = local.astimezone(UTC)
                if utc.astimezone(zone).replace(tzinfo=None) != time.replace(tzinfo=None):
                    raise ValueError(
                        f"{where}: clocks in {zone} never show {time.isoformat()}; is tz= the zone of these times?"
                    )
            else:
                utc = time.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"{where}: {time.isoformat()} is not accepted as a time") from None
        # A plain datetime, whatever kind of it came.
        converted.append(datetime(*utc.timetuple()[:6], utc.microsecond, tzinfo=UTC))
    return converted[::-1] if backwards else converted


def _zone(tz: object) -> tzinfo | None:
    if tz is None or isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(tz)  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, LookupError):
        raise ValueError(f"tz={tz!r} is not accepted; give the name of a zone, e.g. 'UTC' or 'Europe/Paris'") from None


def _column(path: Path, what: str, given: str | None, names: list[str], words: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names) or "none"
    if given is not None:
        if given not in names:
            raise ValueError(f"{what}={given!r} is not a column of {path}; it has {listed}")
        return given
    found = [name for name in names if any(word in name.casefold() for word in words)]
    if len(found) != 1 and len(names) == 1:
        return names[0]
    if len(found) != 1:
        raise ValueError(f"{path}: which column is the {what}? Give {what}=, one of {listed}")
    return found[0]


def _read_time(where: str, text: str | None) -> datetime:
    try:
        return datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise ValueError(f"{where}: time {text!r} is not accepted; give ISO 8601, e.g. 2025-01-20T12:00Z") from None


def _read_value(where: str, text: str | None) -> float | None:
    try:
        return _checked(where, float(text)) if text and text.strip() else None
    except ValueError:
        raise ValueError(f"{where}: value {text!r} is not accepted; give {ACCEPTED}") from None


def _checked(where: str, value: Any) -> float | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if not is_possible(value):
        raise ValueError(f"{where}: value {value!r} is not accepted; give {ACCEPTED}")
    return float(value)
