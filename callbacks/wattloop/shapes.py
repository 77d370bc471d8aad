"""Shapes: the ways in which the cost of steps may go on, and how likely each is before anything is seen.

* Trend: it grows or falls all the way to the end, as with a curriculum or growing sequences; or steeply so.
* Settling: it approaches a level, as with a GPU that warms up.
* Decline: it falls to a level, as with a warm-up that is not over.
* Epochwise: it repeats itself in every epoch, as with sorted data.
* Shift: it went to another level at some step, and stays there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec

SETTLING_S = (120.0, 420.0)
"""Time constants with which a GPU's temperature settles, in seconds."""
DECLINE = 4.0
"""Time constants of a decline in what is seen of it."""
MIN_SHIFTED = 4
"""Bins on either side of a shift, without which it is none."""


class Prior(msgspec.Struct, frozen=True):
    """How likely a shape is, and the standard deviation of its size, relative to the mean cost."""

    weight: float
    size: float


TREND = Prior(0.08, 0.25)
STEEP_TREND = Prior(0.02, 1.5)
SETTLING = Prior(0.05, 0.05)
DECLINING = Prior(0.05, 1.0)
EPOCHWISE = Prior(0.10, 0.7)
SHIFT = Prior(0.005, 0.3)


class Course(msgspec.Struct, frozen=True):
    """Where in the run the bins lie, all in steps (or whatever the bins are counted in).

    Attributes:
        start: Where the first bin begins.
        total: Length of the whole run.
        period: Length of an epoch, None if unknown.
        border: Where an epoch begins.
        per_second: Steps done in a second.
    """

    start: float
    total: float
    period: float | None
    border: float
    per_second: float


class Shape(msgspec.Struct, frozen=True):
    """A way to go on, at size 1.

    Attributes:
        past: Its value in each bin.
        ahead: Its mean over the steps to come.
        prior: How likely it is.
        falls: It can't be turned upside down.
    """

    past: Sequence[float]
    ahead: float
    prior: Prior
    falls: bool = False


def shapes(weights: Sequence[float], values: Sequence[float], to_do: float, course: Course) -> list[Shape]:
    """Return all that apply.

    Args:
        weights: Steps of each bin, above 0.
        values: Cost of each bin.
        to_do: Steps to come, above 0.
        course: Where the bins lie.
    """
    ends = [*itertools.accumulate(weights, initial=course.start)]
    here, end, seen = ends[-1], ends[-1] + to_do, ends[-1] - course.start
    middles = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
    line, line_ahead = [m / course.total for m in middles], (here + end) / 2 / course.total
    found = [Shape(line, line_ahead, TREND), Shape(line, line_ahead, STEEP_TREND)]
    for tau, prior in (*((s * course.per_second, SETTLING) for s in SETTLING_S), (seen / DECLINE, DECLINING)):
        if tau > 0:
            past = [math.exp((course.start - m) / tau) for m in middles]
            ahead = tau * (math.exp(-seen / tau) - math.exp(-(seen + to_do) / tau)) / to_do
            found.append(Shape(past, ahead, prior, falls=prior is DECLINING))
    if course.period and course.period < course.total:
        sums = [_saw_tooth(at, course.border, course.period) for at in (*ends, end)]
        past = [(b - a) / w for a, b, w in zip(sums, sums[1:], weights, strict=False)]
        found.append(Shape(past, (sums[-1] - sums[-2]) / to_do, EPOCHWISE))
    if (at := _shift(weights, values)) is not None:
        found.append(Shape([float(index >= at) for index in range(len(weights))], 1.0, SHIFT))
    return found


def _saw_tooth(at: float, border: float, period: float) -> float:
    """Return the integral of what rises from -1/2 to 1/2 in every epoch."""
    share = ((at - border) / period) % 1.0
    return period * (share * share - share) / 2


def _shift(weights: Sequence[float], values: Sequence[float]) -> int | None:
    """Return the bin at which the level most clearly changes."""
    total_w, total_v = sum(weights), sum(values)
    best, best_gain, weight, value = None, 0.0, 0.0, 0.0
    least = max(MIN_SHIFTED, len(weights) // 8)
    for index in range(len(weights) - least):
        weight += weights[index]
        value += values[index]
        apart = value - total_v * weight / total_w
        gain = apart * apart / (weight * (total_w - weight))
        if index + 1 >= least and gain > best_gain:
            best, best_gain = index + 1, gain
    return best
