"""Bins: a run's cumulative points as spans of time, as few as asked for, whose energy and emissions add up exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from wattloop.units import G_PER_KG


class Point(msgspec.Struct, frozen=True):
    """Cumulative figures of a moment.

    Attributes:
        duration_s: Time measured till then, in seconds.
        time_s: Time of the line, in seconds since 1970.
        kwh: Energy till then, in kWh.
        kg: Emissions till then, in kg CO2e.
        phase: What was going on since the point before.
        session: Index of the session.
        aside: The moment lies before the line, as with an epoch, which is told a little later.
    """

    duration_s: float
    time_s: float
    kwh: float
    kg: float
    phase: str
    session: int
    aside: bool = False


class Bins(msgspec.Struct, frozen=True):
    """Spans of time that follow each other from 0 on, column by column.

    Attributes:
        end_s: Where each ends, in seconds of the run.
        kwh: Energy, in kWh.
        g: Intensity at which that was priced, in g CO2e/kWh.
        phase: What took most of the time.
        session: Index of the session.
    """

    end_s: list[float]
    kwh: list[float]
    g: list[float]
    phase: list[str]
    session: list[int]


def binned(
    points: Sequence[Point], pues: Sequence[float], borders_s: Iterable[float], most: int
) -> tuple[Bins, list[float]]:
    """Make bins of points.

    What a later line takes back (a failed run's idling) was never spent: cumulative figures are lowered to what comes
    after them.

    Args:
        points: In the order of their lines.
        pues: PUE of each session.
        borders_s: Moments to keep where possible, those at which epochs end.
        most: Bins to make at most.

    Returns:
        The bins, and the second of the run at which each session begins.
    """
    points = _timed(points)
    ends = {*borders_s}
    kept = _kept(points, ends, most)
    bins = Bins([], [], [], [], [])
    for first, last in pairwise(kept):
        a, b = points[first], points[last]
        kwh, kg = b.kwh - a.kwh, b.kg - a.kg
        if not kwh and b.duration_s <= a.duration_s:
            continue
        time_in: dict[str, float] = {}
        for before, after in pairwise(points[first : last + 1]):
            time_in[after.phase] = time_in.get(after.phase, 0.0) + max(after.duration_s - before.duration_s, 1e-9)
        bins.end_s.append(b.duration_s)
        bins.kwh.append(kwh)
        bins.g.append(kg * G_PER_KG / (kwh * pues[b.session]) if kwh > 0 else 0.0)
        bins.phase.append(max(time_in, key=lambda name: time_in[name]))
        bins.session.append(b.session)
    _price_the_idle(bins)
    begins_s = [
        next((p.duration_s for p in points if p.session == s and p.phase == "earlier"), 0.0) for s in range(len(pues))
    ]
    return bins, begins_s


def _timed(points: Sequence[Point]) -> list[Point]:
    """Put points in order, none of them above a later one, by the wall clock where nothing measured the time."""
    by_clock = len({point.duration_s for point in points}) < 2
    begin_s = points[0].time_s if points else 0.0
    if by_clock:
        points = [msgspec.structs.replace(point, duration_s=max(0.0, point.time_s - begin_s)) for point in points]
    told = _lowered([point for point in points if not point.aside])
    within = [point for point in points if point.aside and told and point.duration_s <= told[-1].duration_s]
    return _lowered(sorted([*told, *within], key=lambda point: (point.session, point.duration_s)))


def _lowered(points: Sequence[Point]) -> list[Point]:
    """Lower cumulative figures to what comes after them."""
    lowered: list[Point] = []
    low_s = low_kwh = low_kg = math.inf
    for point in reversed(points):
        low_s, low_kwh, low_kg = min(low_s, point.duration_s), min(low_kwh, point.kwh), min(low_kg, point.kg)
        lowered.append(msgspec.structs.replace(point, duration_s=low_s, kwh=low_kwh, kg=low_kg))
    return lowered[::-1]


def _kept(points: Sequence[Point], ends: set[float], most: int) -> list[int]:
    """Choose the points between which bins lie: sessions' ends first, then epochs', phases', and a grid of time."""
    last = len(points) - 1
    sessions = [i for i in range(last) if points[i].session != points[i + 1].session]
    epochs = [i for i in range(1, last) if points[i].duration_s in ends]
    phases = [i for i in range(1, last) if points[i].phase != points[i + 1].phase]
    kept = {0, last}
    for more in (sessions, epochs, phases):
        kept.update(_spread([i for i in more if i not in kept], most + 1 - len(kept)))
    room, total_s = most + 1 - len(kept), points[-1].duration_s
    if last < most:
        return [*range(last + 1)]
    if room > 0 and total_s > 0:
        each_s = total_s / room
        cells: dict[int, int] = {}
        for i in range(last):
            cells[int(points[i].duration_s / each_s)] = i
        kept.update(_spread([i for i in cells.values() if i not in kept], room))
    return sorted(kept)


def _spread(indices: list[int], room: int) -> list[int]:
    if len(indices) <= room:
        return indices
    return [indices[at * len(indices) // room] for at in range(max(0, room))]


def _price_the_idle(bins: Bins) -> None:
    """Give spans without energy the intensity of the one before, so that no line falls to 0 for no reason."""
    known = next((g for g, kwh in zip(bins.g, bins.kwh, strict=True) if kwh > 0), 0.0)
    for at, kwh in enumerate(bins.kwh):
        if kwh > 0:
            known = bins.g[at]
        else:
            bins.g[at] = known
