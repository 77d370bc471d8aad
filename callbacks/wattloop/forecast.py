"""Forecast: the energy of a whole run from what its steps have cost so far, with an interval.

Training energy is followed against steps done, in bins. The warm-up (compilation, autotuning, cold caches) is cut off
where the marginal standard error of the rest is least: the MSER rule of simulation output analysis (White, 1997,
"An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6)). The interval is a
prediction interval for the mean of the steps to come, widened for autocorrelation between bins.
"""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import msgspec

MAX_BINS = 256
MIN_BINS = 3
"""Steady bins without which there is no saying how much they scatter."""
MIN_FRACTION = 0.02
"""Share of the run that must be done before a forecast inside the first epoch."""
MIN_REST = 2
"""Bins left when the warm-up of a whole epoch is cut off; one alone would look sure for no reason."""
FEW_BINS_ERROR = 0.15
"""Relative standard deviation of a step's energy known from fewer than `MIN_BINS`."""
LEVEL = 0.90
UNMODELLED = 0.01
"""Relative standard deviation allowed for what no run's past can show: drift of clocks, temperature and data."""


class Forecast(msgspec.Struct, frozen=True):
    """What a whole run will have spent at its end, with 90 % intervals whose low ends are never below what is spent.

    Attributes:
        kwh: Expected energy, in kWh.
        kwh_low: Lower end, in kWh.
        kwh_high: Upper end, in kWh.
        kg_co2e: Expected emissions, in kg CO2e.
        kg_co2e_low: Lower end, in kg CO2e.
        kg_co2e_high: Upper end, in kg CO2e.
    """

    kwh: float
    kwh_low: float
    kwh_high: float
    kg_co2e: float
    kg_co2e_low: float
    kg_co2e_high: float


UNKNOWN = Forecast(*[math.nan] * 6)
"""What stands in the log as long as nothing can be said."""


class Remaining(msgspec.Struct, frozen=True):
    """Energy still to be spent, in joules: its expected value and the half-width of its 90 % interval."""

    energy_j: float
    half_width_j: float


class _Bin(msgspec.Struct):
    steps: float
    energy_j: float


class Forecaster:
    """Learns what steps cost, and what validation and checkpoints cost beside them.

    Its memory does not grow with the run: when its bins are full, neighbours are merged.

    Args:
        step: Steps already done when it begins to watch.
    """

    def __init__(self, step: float = 0) -> None:
        self._bins: list[_Bin] = []
        self._first_step = self._step = step
        self._train_j = self._other_j = 0.0
        self._border_step = step
        self._border_other_j = 0.0
        self._epochs = 0

    def observe(self, step: float, train_j: float, other_j: float) -> None:
        """Take note of progress.

        Args:
            step: Steps done.
            train_j: Energy spent in training steps so far, in joules.
            other_j: Energy spent in validation and checkpoints so far, in joules.
        """
        self._other_j = other_j
        if step <= self._step:
            return
        self._bins.append(_Bin(step - self._step, train_j - self._train_j))
        self._step, self._train_j = step, train_j
        if len(self._bins) > MAX_BINS:
            self._bins = [_Bin(a.steps + b.steps, a.energy_j + b.energy_j) for a, b in _pairs(self._bins)]

    def epoch_end(self) -> None:
        """Mark the end of an epoch: what was spent beside its steps will be spent again in the next ones."""
        self._epochs += 1
        self._border_step, self._border_other_j = self._step, self._other_j

    def remaining(self, total_steps: float | None) -> Remaining | None:
        """Return what the steps to come will cost, or None as long as it cannot be known.

        Args:
            total_steps: Steps of the whole run; None where nobody knows.
        """
        if total_steps is None or not math.isfinite(total_steps):
            return None
        to_do = total_steps - self._step
        if to_do <= 0:
            return Remaining(0.0, 0.0)
        done = self._step - self._first_step
        if done <= 0 or (not self._epochs and done < MIN_FRACTION * total_steps):
            return None
        steady = _without_warm_up(self._bins[:], MIN_REST if self._epochs else MIN_BINS)
        if len(steady) < (1 if self._epochs else MIN_BINS):
            return None
        mean_j, sd_j, freedom = _mean_and_error(steady, to_do)
        other_j = 0.0
        if self._border_step > self._first_step:
            per_step_j = self._border_other_j / (self._border_step - self._first_step)
            since_border_j = self._other_j - self._border_other_j
            other_j = max(0.0, per_step_j * (total_steps - self._border_step) - since_border_j)
        sd_j = math.hypot(sd_j * to_do, UNMODELLED * (mean_j * to_do + other_j))
        return Remaining(mean_j * to_do + other_j, _student(freedom) * sd_j)


def _pairs(bins: list[_Bin]) -> list[tuple[_Bin, _Bin]]:
    if len(bins) % 2:
        bins = [_Bin(bins[0].steps + bins[1].steps, bins[0].energy_j + bins[1].energy_j), *bins[2:]]
    return [*zip(bins[::2], bins[1::2], strict=True)]


def _without_warm_up(bins: list[_Bin], least: int) -> list[_Bin]:
    """Cut the start off where the rest's mean has least standard error (MSER); `least` bins and half the steps stay."""
    best, best_error = 0, math.inf
    steps = energy_j = square = 0.0
    half = sum(b.steps for b in bins) / 2
    for index in range(len(bins) - 1, -1, -1):
        b = bins[index]
        steps += b.steps
        energy_j += b.energy_j
        square += b.energy_j * b.energy_j / b.steps
        if steps >= half and len(bins) - index >= least:
            error = max(0.0, square - energy_j * energy_j / steps) / (steps * steps)
            if error <= best_error:
                best, best_error = index, error
    return bins[best:]


def _mean_and_error(bins: list[_Bin], to_do: float) -> tuple[float, float, float]:
    """Return a step's energy and the standard deviation of the next `to_do` steps' mean, in joules, and its freedom.

    The autocorrelation of few values is estimated too low, by about (1 + 3 rho) / n (Marriott and Pope, 1954, "Bias in
    the estimation of autocorrelations", Biometrika 41), and correlated values count as fewer.
    """
    steps = sum(b.steps for b in bins)
    mean_j = sum(b.energy_j for b in bins) / steps
    if len(bins) < MIN_BINS:
        return mean_j, FEW_BINS_ERROR * abs(mean_j), 1.0
    # Each residual is scaled so that its variance is that of a single step, were steps independent.
    residuals = [(b.energy_j - mean_j * b.steps) / math.sqrt(b.steps) for b in bins]
    variance = sum(r * r for r in residuals) / (len(bins) - 1)
    if variance <= 0:
        return mean_j, 0.0, len(bins) - 1.0
    rho = sum(a * b for a, b in itertools.pairwise(residuals)) / (variance * (len(bins) - 1))
    rho = min(max(rho, 0.0) + (1 + 3 * max(rho, 0.0)) / len(bins), 0.95)
    inflation = (1 + rho) / (1 - rho)
    return mean_j, math.sqrt(variance * inflation * (1 / steps + 1 / to_do)), (len(bins) - 1) / inflation


def _student(freedom: float) -> float:
    """Two-sided quantile of Student's t at `LEVEL` (Cornish-Fisher expansion; Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    n = max(freedom, 2)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
