"""Steadiness: where a series of bins becomes steady, and how much it scatters from there on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from wattloop.distribution import student

MIN_BINS = 3
"""Steady bins without which there is no saying how much they scatter."""
CLEARLY = 6.0
"""Standard errors by which a warm-up must differ from the rest to be cut off."""
FROM_THE_FIRST = 0.5
"""Share of what sets a warm-up apart that its first bin must show."""
ON_THE_LINE = 0.5
"""Share of what sets a warm-up apart beyond which a trend of the rest explains it."""


def warm_up(weights: Sequence[float], values: Sequence[float], least: int) -> int:
    """Return how many bins at the start are warm-up: compilation, autotuning, cold caches.

    They are cut off where the standard error of the rest is least, the MSER rule of simulation output analysis (White,
    1997, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6)); but only where
    they clearly differ from the rest, and are not the beginning of its trend.

    Args:
        weights: Steps of each bin, above 0.
        values: Cost of each bin.
        least: Bins that stay at least; half of the steps do, too.
    """
    half = sum(weights) / 2
    best, best_error = 0, math.inf
    weight = value = square = 0.0
    for index in range(len(weights) - 1, -1, -1):
        w, v = weights[index], values[index]
        weight += w
        value += v
        square += v * v / w
        if weight >= half and len(weights) - index >= least:
            error = max(0.0, square - value * value / weight) / (weight * weight)
            if error <= best_error:
                best, best_error = index, error
    if not best:
        return 0
    before, after = sum(weights[:best]), sum(weights[best:])
    mean = sum(values[best:]) / after
    variance, freedom = noise(weights[best:], values[best:], mean)
    differs = sum(values[:best]) / before - mean
    if abs(differs) <= CLEARLY * student(freedom) * math.sqrt(variance * (1 / before + 1 / after)):
        return 0
    # A warm-up begins with the first step; what is odd later on are stragglers.
    if (values[0] / weights[0] - mean) / differs < FROM_THE_FIRST:
        return 0
    expected = -_slope(weights[best:], values[best:], mean) * (before + after) / 2
    return best if expected / differs < ON_THE_LINE else 0


def _slope(weights: Sequence[float], values: Sequence[float], mean: float) -> float:
    at, square, cross, half = 0.0, 0.0, 0.0, sum(weights) / 2
    for w, v in zip(weights, values, strict=True):
        middle = at + w / 2 - half
        square += w * middle * middle
        cross += middle * (v - mean * w)
        at += w
    return cross / square if square > 0 else 0.0


def noise(weights: Sequence[float], values: Sequence[float], mean: float) -> tuple[float, float]:
    """Return the variance of a step's cost as it counts for sums over many steps, and its degrees of freedom.

    It is looked for in single bins and in threes. The autocorrelation of few values is estimated too low, by about
    (1 + 3 rho) / n (Marriott and Pope, 1954, "Bias in the estimation of autocorrelations", Biometrika 41), and
    correlated values count as fewer.
    """
    most, freedom = 0.0, 1.0
    if len(weights) < MIN_BINS:
        return most, freedom
    apart = [v - mean * w for w, v in zip(weights, values, strict=True)]
    for size in (1, 3):
        groups = range(0, len(weights) - size + 1, size)
        if size > 1 and len(groups) < 2 * MIN_BINS:
            break
        # Each is scaled so that its variance is that of a single step, were steps independent.
        scaled = [sum(apart[i : i + size]) / math.sqrt(sum(weights[i : i + size])) for i in groups]
        n = len(scaled)
        variance = sum(r * r for r in scaled) / (n - 1)
        if variance <= 0:
            continue
        rho = sum(a * b for a, b in itertools.pairwise(scaled)) / (variance * (n - 1))
        rho = min(max(rho, 0.0) + (1 + 3 * max(rho, 0.0)) / n, 0.95)
        inflation = (1 + rho) / (1 - rho)
        if variance * inflation > most:
            most, freedom = variance * inflation, max(1.0, (n - 1) / inflation)
    return most, freedom
