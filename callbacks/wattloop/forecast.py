"""Forecast: what a whole run will have spent at its end, as it is shown, from what is spent and what remains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from wattloop.distribution import LEVEL, Interval, Z
from wattloop.units import J_PER_KWH

INTENSITY_ERROR = 0.08
"""Relative standard deviation allowed for the mean of a forecast carbon intensity over the hours to come."""


class Forecast(msgspec.Struct, frozen=True):
    """What a whole run will have spent at its end, with intervals whose low ends are never below what is spent.

    Attributes:
        kwh: Expected energy, in kWh.
        kwh_low: Lower end, in kWh.
        kwh_high: Upper end, in kWh.
        kg_co2e: Expected emissions, in kg CO2e.
        kg_co2e_low: Lower end, in kg CO2e.
        kg_co2e_high: Upper end, in kg CO2e.
        duration_s: Expected duration, in seconds.
        duration_s_low: Lower end, in seconds.
        duration_s_high: Upper end, in seconds.
        spent_kwh: Energy spent already, in kWh.
        spent_kg_co2e: Emissions so far, in kg CO2e.
        spent_s: Time gone by, in seconds.
        level: Probability with which each interval is to hold what it speaks of.
    """

    kwh: float
    kwh_low: float
    kwh_high: float
    kg_co2e: float
    kg_co2e_low: float
    kg_co2e_high: float
    duration_s: float
    duration_s_low: float
    duration_s_high: float
    spent_kwh: float
    spent_kg_co2e: float
    spent_s: float
    level: float = LEVEL

    @property
    def saved_by_stopping_kwh(self) -> float:
        """Energy that is not spent if the run ends at this step, in kWh."""
        return self.kwh - self.spent_kwh

    @property
    def saved_by_stopping_kg_co2e(self) -> float:
        """Emissions that do not happen if the run ends at this step, in kg CO2e."""
        return self.kg_co2e - self.spent_kg_co2e

    @property
    def saved_by_stopping_s(self) -> float:
        """Time that is not needed if the run ends at this step, in seconds."""
        return self.duration_s - self.spent_s


UNKNOWN = Forecast(*[math.nan] * 12)
"""What stands in the log as long as nothing can be said."""


class Remaining(msgspec.Struct, frozen=True):
    """What is still to be spent: energy in joules, and duration in seconds."""

    energy_j: Interval
    duration_s: Interval


def forecast(
    spent_j: float,
    spent_kg_co2e: float,
    spent_s: float,
    remaining: Remaining,
    kg_per_joule: float,
    ahead: Sequence[tuple[float, float]] = (),
    unseen: float = 0.0,
) -> Forecast:
    """Add what remains to what is spent.

    Args:
        spent_j: Energy spent so far, in joules.
        spent_kg_co2e: Emissions so far, in kg CO2e.
        spent_s: Time gone by, in seconds.
        remaining: What is still to be spent.
        kg_per_joule: Emissions of a joule drawn now, in kg CO2e, PUE included.
        ahead: Expected emissions of a joule in the time to come, where somebody knows: pairs of seconds from now, in
            rising order, and kg CO2e per joule from then on, PUE included. It widens the interval.
        unseen: Share of what was spent that the meters may not have shown, by which the interval is widened.
    """
    energy, time = _widened(remaining.energy_j, unseen), remaining.duration_s
    per_joule = mean_over(ahead, time.value, kg_per_joule)
    emitting = _widened(energy, Z * INTENSITY_ERROR) if ahead else energy
    return Forecast(
        kwh=(spent_j + energy.value) / J_PER_KWH,
        kwh_low=(spent_j + energy.low) / J_PER_KWH,
        kwh_high=(spent_j + energy.high) / J_PER_KWH,
        kg_co2e=spent_kg_co2e + emitting.value * per_joule,
        kg_co2e_low=spent_kg_co2e + emitting.low * per_joule,
        kg_co2e_high=spent_kg_co2e + emitting.high * per_joule,
        duration_s=spent_s + time.value,
        duration_s_low=spent_s + time.low,
        duration_s_high=spent_s + time.high,
        spent_kwh=spent_j / J_PER_KWH,
        spent_kg_co2e=spent_kg_co2e,
        spent_s=spent_s,
    )


def mean_over(ahead: Sequence[tuple[float, float]], duration_s: float, now: float) -> float:
    """Return the mean over the next `duration_s` seconds of what holds from one moment to the next.

    Args:
        ahead: Pairs of seconds from now, in rising order, and the value from then on; the last one holds on.
        duration_s: Length of the mean, in seconds.
        now: The value until the first of them.
    """
    value, since_s, area = now, 0.0, 0.0
    for at_s, then in ahead:
        if at_s >= duration_s > 0 or at_s > 0 >= duration_s:
            break
        area += value * max(0.0, at_s - since_s)
        value, since_s = then, max(since_s, at_s)
    return (area + value * (duration_s - since_s)) / duration_s if duration_s > 0 else value


def _widened(one: Interval, relative_error: float) -> Interval:
    """Widen by an independent error, which is relative to the value."""
    more = relative_error * one.value
    low = one.value - math.hypot(one.value - one.low, more)
    return Interval(one.value, max(0.0, low), one.value + math.hypot(one.high - one.value, more))
