"""Projection: the mean cost of the steps to come, from the steps done, when nobody knows how it goes on.

That it stays as it is, and each way in which it may change, are weighed against each other by how well they explain
what was seen: Bayesian model averaging (Hoeting et al., 1999, Statistical Science 14(4)). Each is a regression on one
shape, whose size has a normal prior; noise is autocorrelated, and counts as more for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from wattloop.distribution import Outcome, quantile, student
from wattloop.shapes import EPOCHWISE, Course, Shape, shapes
from wattloop.steadiness import MIN_BINS, noise

FEW_BINS_ERROR = 0.15
"""Relative standard deviation of a step's cost known from fewer than `MIN_BINS`."""
WANDER = 0.01
"""Relative standard deviation with which power wanders, slower than a short past can show."""
WANDER_S = 40.0
"""Time over which it does so, in seconds."""
UNMODELLED = 0.003
"""Relative standard deviation, per square root of (steps ahead / steps seen), of what no past can show."""
MOST_UNMODELLED = 0.009
TRUST = (0.6, 0.95)
"""Probability of a change from which on it moves the value, and at which it does so fully."""


NEGLIGIBLE = 1e-60
"""A cost below which the squares of its errors vanish."""


class Mean(msgspec.Struct, frozen=True):
    """Cost of a step to come: the best single value, and all that it may be."""

    value: float
    outcomes: list[Outcome]


class _Fit(msgspec.Struct, frozen=True):
    size: float
    spread: float  # variance of the size, per variance of the noise
    move: float  # from the shape's mean in the past to that of the steps to come
    explains: float  # of the sum of squares
    centre: float
    shape: Shape


def project(weights: Sequence[float], values: Sequence[float], to_do: float, course: Course) -> Mean:
    """Return what a step to come will cost.

    Args:
        weights: Steps of each bin, in order, without warm-up.
        values: Cost of each bin.
        to_do: Steps to come.
        course: Where the bins lie.
    """
    total = sum(weights)
    mean = sum(values) / total
    if len(weights) < MIN_BINS or mean < NEGLIGIBLE:
        return Mean(mean, [Outcome(1.0, mean, FEW_BINS_ERROR * student(1) * abs(mean))])
    fits = [fit for one in shapes(weights, values, to_do, course) if (fit := _fit(weights, values, mean, total, one))]
    variance, freedom = noise(weights, _residuals(weights, values, mean, fits), mean)
    variance += (WANDER * mean) ** 2 * min(total, 2 * WANDER_S * course.per_second)
    unmodelled = mean * min(UNMODELLED * math.sqrt(to_do / total), MOST_UNMODELLED)
    still = variance * (1 / total + 1 / to_do) + unmodelled * unmodelled
    log_odds = [_log_odds(fit, mean, variance, freedom) for fit in fits]
    log_odds.append(math.log(1 - sum(fit.shape.prior.weight for fit in fits)))
    top = max(log_odds)
    *odds, flat = [math.exp(one - top) for one in log_odds]
    whole, wide = sum(odds) + flat, student(freedom)
    stays = [Outcome(flat / whole, mean, wide * math.sqrt(still))]
    moves: list[Outcome] = []
    for fit, odd in zip(fits, odds, strict=True):
        prior, spread = (fit.shape.prior.size * mean) ** 2, fit.spread * variance
        kept = prior / (prior + spread)
        sd = math.sqrt(still + fit.move * fit.move * kept * spread)
        outcome = Outcome(odd / whole, mean + kept * fit.size * fit.move, wide * sd)
        (stays if fit.shape.prior is EPOCHWISE else moves).append(outcome)
    return Mean(_value(stays, moves), stays + moves)


def _value(stays: list[Outcome], moves: list[Outcome]) -> float:
    """Return the median of all ways to go on; where a change is not likely, the mean of those without one."""
    staying = sum(one.weight for one in stays)
    low, high = TRUST
    trust = min(max((1 - staying - low) / (high - low), 0.0), 1.0)
    still = sum(one.weight * one.mean for one in stays) / staying if staying > 0 else stays[0].mean
    return still + trust * (quantile(stays + moves, 0.5) - still) if trust else still


def _fit(weights: Sequence[float], values: Sequence[float], mean: float, total: float, shape: Shape) -> _Fit | None:
    first = second = cross = 0.0
    for w, v, p in zip(weights, values, shape.past, strict=True):
        wp = w * p
        first += wp
        second += wp * p
        cross += p * v
    centre = first / total
    second -= first * centre
    cross -= first * mean
    if second <= 1e-9 * total:
        return None
    return _Fit(cross / second, 1 / second, shape.ahead - centre, cross * cross / second, centre, shape)


def _residuals(weights: Sequence[float], values: Sequence[float], mean: float, fits: list[_Fit]) -> Sequence[float]:
    """Return the bins' costs without the shape that explains most of them, if it explains more than noise would."""
    best = max(fits, key=lambda fit: fit.explains, default=None)
    squares = sum(v * v / w for w, v in zip(weights, values, strict=True)) - mean * sum(values)
    if best is None or best.explains <= 4 / len(weights) * squares:
        return values
    size, centre = best.size, best.centre
    return [v - w * size * (p - centre) for w, v, p in zip(weights, values, best.shape.past, strict=True)]


def _log_odds(fit: _Fit, mean: float, variance: float, freedom: float) -> float:
    """Return the logarithm of a shape's marginal likelihood against that of no change, times its prior."""
    if fit.shape.falls and fit.size <= 0:
        return -math.inf
    spread, prior = fit.spread * variance, (fit.shape.prior.size * mean) ** 2
    square = fit.size * fit.size / freedom
    likelihood = 0.5 * math.log(spread / (spread + prior))
    likelihood += (freedom + 1) / 2 * (math.log1p(square / spread) - math.log1p(square / (spread + prior)))
    return likelihood + math.log(fit.shape.prior.weight)
