"""Carbon intensity as a step function of time, and when to run a job that is not to be paused, or by a threshold.

All times are seconds from the begin of the window, all costs are intensity x seconds of the job's full power, and
``idle`` is the share of that power which a paused job draws, from its first start to its end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from operator import mul, sub

import msgspec

from wattloop.grid.intensity import Intensity

NEARLY = 1.0 - 1e-12
"""What is not cheaper than this share of the best is a tie, which the earlier or the simpler plan wins."""

BEYOND = timedelta(days=1)
"""How far beyond a window its forecast is asked for: what comes next says when the window's last step ends."""

Span = tuple[float, float]
"""Begin and end of an uninterrupted time, in seconds from the begin of the window."""


class Window(msgspec.Struct, frozen=True):
    """Carbon intensity over a window.

    Attributes:
        edges: Where a step begins, in rising order from 0, and as the last one where the window ends.
        values: The intensity of each step, in g CO2e/kWh.
        areas: Intensity x seconds of each step.
        heads: The sum of the areas before each edge.
    """

    edges: list[float]
    values: list[float]
    areas: list[float]
    heads: list[float]

    @classmethod
    def ahead(cls, points: Sequence[tuple[datetime, Intensity]], start: datetime, length_s: float) -> Window | None:
        """Cut a forecast to a window, or to what it covers of one; its last value holds for the usual time.

        Args:
            points: Moments in rising order, each with the intensity that holds from it to the next.
            start: Begin of the window, as an aware datetime.
            length_s: Its length, in seconds.

        Returns:
            None where the forecast says nothing of the begin.
        """
        edges = [(time - start).total_seconds() for time, _ in points]
        if not edges or edges[0] > 0.0:
            return None
        # What is known may have been cut to begin here.
        whole = edges[1:] if edges[0] == 0.0 and len(edges) > 2 else edges
        between_s = sorted(after - before for before, after in pairwise(whole))
        usual_s = between_s[(len(between_s) - 1) // 2] if between_s else 0.0
        end_s = min(length_s, edges[-1] + usual_s)
        values = [float(intensity.g_co2e_per_kwh) for _, intensity in points]
        first = max(k for k, edge in enumerate(edges) if edge <= 0.0)
        past = next((k for k, edge in enumerate(edges) if edge >= end_s), len(edges))
        return cls.of([0.0, *edges[first + 1 : past], end_s], values[first:past]) if end_s > 0.0 else None

    @classmethod
    def of(cls, edges: list[float], values: list[float]) -> Window:
        """Make the steps of a window from their edges and values."""
        areas = list(map(mul, values, map(sub, edges[1:], edges)))
        return cls(edges, values, areas, list(accumulate(areas, initial=0.0)))

    def upto(self, time_s: float) -> float:
        """Return intensity x seconds from the begin of the window to a moment in it."""
        step = min(bisect_right(self.edges, time_s), len(self.values)) - 1
        return self.heads[step] + (time_s - self.edges[step]) * self.values[step]

    def cost(self, spans: Sequence[Span], idle: float = 0.0) -> float:
        """Return what running in these spans costs, the idle time between them counted."""
        running = sum(self.upto(end) - self.upto(begin) for begin, end in spans)
        return running + idle * (self.upto(spans[-1][1]) - self.upto(spans[0][0]) - running)


def flexible_start(window: Window, duration_s: float) -> Span:
    """Find the uninterrupted span with the least emissions; of equals, the earliest.

    The cost of a span is piecewise linear in its begin, so that it is least where the span begins or ends at an edge.
    """
    edges, values, heads = window.edges, window.values, window.heads
    latest_s = max(0.0, edges[-1] - duration_s)
    last = len(values) - 1
    step, best_s, best = 0, 0.0, float("inf")
    for begin_s, head in zip(edges, heads, strict=True):
        if begin_s > latest_s:
            break
        end_s = begin_s + duration_s
        while step < last and edges[step + 1] < end_s:
            step += 1
        cost = heads[step] + (end_s - edges[step]) * values[step] - head
        if cost < best * NEARLY:
            best_s, best = begin_s, cost
    step = 0
    for end_s, head in zip(edges, heads, strict=True):
        begin_s = end_s - duration_s
        if begin_s < 0.0:
            continue
        while edges[step + 1] <= begin_s and step < last:
            step += 1
        cost = head - heads[step] - (begin_s - edges[step]) * values[step]
        if cost < best * NEARLY or (begin_s < best_s and cost * NEARLY <= best):
            best_s, best = begin_s, cost
    return best_s, best_s + duration_s


def below(window: Window, duration_s: float, limit: float) -> list[Span]:
    """Run while intensity is at most a limit, and without a pause once the rest of the window is needed for the job."""
    spans: list[Span] = []
    left_s, slack_s = duration_s, window.edges[-1] - duration_s
    for begin_s, end_s, value in zip(window.edges, window.edges[1:], window.values, strict=False):
        if left_s <= 0.0:
            break
        if value > limit:
            waited_s = min(slack_s, end_s - begin_s)
            slack_s -= waited_s
            begin_s += waited_s
        ran_s = min(left_s, end_s - begin_s)
        if ran_s > 0.0:
            append(spans, begin_s, begin_s + ran_s)
            left_s -= ran_s
    return spans


def quantile(window: Window, share: float) -> float:
    """Return the intensity that is not exceeded in a share of the window's time."""
    left_s = share * window.edges[-1]
    lengths = list(map(sub, window.edges[1:], window.edges))
    for step in sorted(range(len(lengths)), key=window.values.__getitem__):
        left_s -= lengths[step]
        if left_s <= 1e-9 * window.edges[-1]:
            return window.values[step]
    return max(window.values)


def append(spans: list[Span], begin_s: float, end_s: float) -> None:
    """Add a span to others, the last of which it may continue."""
    if spans and spans[-1][1] >= begin_s:
        begin_s = spans.pop()[0]
    spans.append((begin_s, end_s))
