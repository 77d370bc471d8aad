"""What may come, as a mixture of normal distributions: the little of probability that a forecast needs, and no more."""

from __future__ import annotations

import math

import msgspec

LEVEL = 0.90
"""Probability that an interval is to hold what it speaks of."""
Z = 1.6448536269514722
"""Two-sided quantile of the normal distribution at `LEVEL`."""


HALVINGS = 14
"""A quantile is found within the range of the outcomes divided by two to this power."""


class Interval(msgspec.Struct, frozen=True):
    """A value and the interval that holds it with the probability `LEVEL`."""

    value: float
    low: float
    high: float


NOTHING = Interval(0.0, 0.0, 0.0)


class Outcome(msgspec.Struct, frozen=True):
    """One way it may go: its weight (those of all ways sum to 1), its mean and its standard deviation."""

    weight: float
    mean: float
    sd: float


def student(freedom: float) -> float:
    """Return how much wider Student's t is than the normal distribution at `LEVEL` (Abramowitz and Stegun 26.7.5).

    Args:
        freedom: Degrees of freedom; fewer than 2 count as 2, where the expansion ends.
    """
    n = max(freedom, 2.0)
    return (Z + (Z**3 + Z) / (4 * n) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * n**2)) / Z


def interval(value: float, outcomes: list[Outcome]) -> Interval:
    """Return the central interval of a mixture, with `value` in it, all of it at least 0."""
    tail = (1 - LEVEL) / 2
    low, high = quantile(outcomes, tail), quantile(outcomes, 1 - tail)
    value = max(0.0, value)
    return Interval(value, max(0.0, min(low, value)), max(high, value))


def quantile(outcomes: list[Outcome], share: float) -> float:
    """Return the value below which a mixture lies with the probability `share`."""
    low = min(one.mean - 8 * one.sd for one in outcomes)
    high = max(one.mean + 8 * one.sd for one in outcomes)
    scaled = [(one.weight / 2, one.mean, 1.0 / max(one.sd * math.sqrt(2), 1e-300)) for one in outcomes]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if sum(half * math.erfc((mean - middle) * scale) for half, mean, scale in scaled) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
