"""When to run a job, by the forecast of its grid: at once, later, or in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from math import inf, isfinite
from typing import Literal

import msgspec

from wattloop.grid.intensity import CarbonIntensity, ConstantIntensity, Intensity
from wattloop.grid.pausing import pause_and_resume
from wattloop.grid.window import BEYOND, Span, Window, below, flexible_start, quantile
from wattloop.units import G_PER_KG, J_PER_KWH

Kind = Literal["now", "flexible_start", "pause_and_resume", "threshold"]
LONGEST_HOURS = 100_000.0
"""What no job takes, in hours: some eleven years."""


class Interval(msgspec.Struct, frozen=True):
    """An uninterrupted time in which a job runs."""

    start: datetime
    end: datetime


class Plan(msgspec.Struct, frozen=True):
    """One way to run a job, and what it emits.

    Attributes:
        kind: How it was found: ``"now"`` without waiting; ``"flexible_start"`` later, in one piece;
            ``"pause_and_resume"`` in the best pieces; ``"threshold"`` while intensity is at most a threshold.
        start: When the job first runs.
        end: When it is done.
        intervals: The times in which it runs.
        waits_h: Hours before the first start.
        paused_h: Hours paused between first start and end, at the idle draw.
        kwh: Energy of the site, idle time and PUE included.
        kg_co2e: What that emits.
        saved_kg: How much less that is than when started at once; below 0 where it is more.
        saved_fraction: The same as a share of what starting at once emits.
        threshold_g_co2e_per_kwh: The threshold, in a plan by threshold.
    """

    kind: Kind
    start: datetime
    end: datetime
    intervals: tuple[Interval, ...]
    waits_h: float
    paused_h: float
    kwh: float
    kg_co2e: float
    saved_kg: float
    saved_fraction: float
    threshold_g_co2e_per_kwh: float | None = None


class Schedule(msgspec.Struct, frozen=True):
    """The plans for one job, from the one without waiting to the one with pauses.

    Attributes:
        hours: How long the job runs.
        within_hours: How much later than at once it may be done.
        watts: Power while it runs.
        idle_watts: Power while it is paused.
        pue: Power usage effectiveness of the site.
        source: Whose forecast this is, and of what.
        intensities: The forecast, as pairs of a moment and the g CO2e/kWh that hold from then on.
        now: Start at once.
        flexible_start: The best uninterrupted time.
        pause_and_resume: The best times that add up to the job.
        threshold: Whenever intensity is at most a threshold.
    """

    hours: float
    within_hours: float
    watts: float
    idle_watts: float
    pue: float
    source: str
    intensities: tuple[tuple[datetime, float], ...]
    now: Plan
    flexible_start: Plan
    pause_and_resume: Plan
    threshold: Plan

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All plans, the simplest first."""
        return (self.now, self.flexible_start, self.threshold, self.pause_and_resume)


def plan(
    series: CarbonIntensity,
    hours: float,
    within_hours: float,
    watts: float,
    idle_watts: float = 0.0,
    *,
    start: datetime | None = None,
    pue: float = 1.0,
    threshold: float | None = None,
) -> Schedule:
    """Plan when to run a job, by Dodge et al. 2022 (arXiv 2206.05229): Flexible Start, and Pause and Resume.

    Both are exact for the forecast given: no other start, and no other choice of pauses, emits less. They wait at no
    cost; from the first start to the end a paused job draws ``idle_watts`` (the paper: nothing).

    Args:
        series: Carbon intensity with a forecast from ``start`` to ``hours + within_hours`` later.
        hours: How long the job runs (> 0).
        within_hours: How much later it may be done than if it were started at once (>= 0).
        watts: Power while it runs (> 0).
        idle_watts: Power while it is paused (0 to ``watts``).
        start: The soonest start, as an aware datetime. Default: now.
        pue: Power usage effectiveness of the site (>= 1).
        threshold: Intensity up to which the plan by threshold runs, in g CO2e/kWh (> 0); it runs above it once no time
            is left to wait. Default: what the cleanest ``hours`` of the forecast do not exceed.

    Raises:
        ValueError: An argument is not accepted, or the forecast does not reach as far as the job may.

    Example:
        >>> from wattloop.grid.intensity import ConstantIntensity
        >>> round(plan(ConstantIntensity(100.0, "mine"), hours=2, within_hours=6, watts=500).now.kg_co2e, 3)
        0.1
    """
    hours = _number("hours", hours, low=0.0, above=True, high=LONGEST_HOURS)
    within_hours = _number("within_hours", within_hours, low=0.0, high=LONGEST_HOURS)
    watts = _number("watts", watts, low=0.0, above=True)
    idle_watts = _number("idle_watts", idle_watts, low=0.0)
    pue = _number("pue", pue, low=1.0)
    if threshold is not None:
        threshold = _number("threshold", threshold, low=0.0, above=True)
    if idle_watts > watts:
        raise ValueError(f"idle_watts={idle_watts:g} is not accepted; a paused job draws at most watts={watts:g}")
    if start is None:
        start = datetime.now(UTC)
    elif not isinstance(start, datetime) or start.tzinfo is None:
        raise ValueError(f"start={start!r} is not accepted; give an aware datetime, e.g. with tzinfo=UTC")
    # Between two times of one zone, Python counts as its clocks do, which once a year are put back.
    zone, start = start.tzinfo or UTC, start.astimezone(UTC)
    window, known = _window(series, start, hours, within_hours)
    job = _Job(window, start, zone, hours * 3600.0, watts, idle_watts / watts, pue)
    limit = threshold if threshold is not None else quantile(window, job.run_s / window.edges[-1])
    return Schedule(
        hours=hours,
        within_hours=within_hours,
        watts=watts,
        idle_watts=idle_watts,
        pue=pue,
        source=known[0][1].source,
        intensities=tuple((time, value) for (time, _), value in zip(known, window.values, strict=True)),
        now=job.plan("now", [(0.0, job.run_s)]),
        flexible_start=job.plan("flexible_start", [flexible_start(window, job.run_s)]),
        pause_and_resume=job.plan("pause_and_resume", pause_and_resume(window, job.run_s, job.idle)),
        threshold=job.plan("threshold", below(window, job.run_s, limit), limit),
    )


class _Job(msgspec.Struct, frozen=True):
    window: Window
    start: datetime
    zone: tzinfo
    run_s: float
    watts: float
    idle: float
    pue: float

    def plan(self, kind: Kind, spans: Sequence[Span], threshold: float | None = None) -> Plan:
        to_kg = self.watts * self.pue / J_PER_KWH / G_PER_KG
        now_kg = self.window.cost([(0.0, self.run_s)]) * to_kg
        kg = self.window.cost(spans, self.idle) * to_kg
        begin_s, end_s = spans[0][0], spans[-1][1]
        paused_s = sum(after[0] - before[1] for before, after in pairwise(spans))
        intervals = tuple(Interval(self._at(first), self._at(last)) for first, last in spans)
        return Plan(
            kind=kind,
            start=intervals[0].start,
            end=self._at(end_s),
            intervals=intervals,
            waits_h=begin_s / 3600.0,
            paused_h=paused_s / 3600.0,
            kwh=(self.run_s + self.idle * paused_s) * self.watts * self.pue / J_PER_KWH,
            kg_co2e=kg,
            saved_kg=now_kg - kg,
            saved_fraction=1.0 - kg / now_kg if now_kg > 0.0 else 0.0,
            threshold_g_co2e_per_kwh=threshold,
        )

    def _at(self, seconds: float) -> datetime:
        return (self.start + timedelta(seconds=seconds)).astimezone(self.zone)


Known = Sequence[tuple[datetime, Intensity]]


def _window(series: CarbonIntensity, start: datetime, hours: float, within_hours: float) -> tuple[Window, Known]:
    """Cut a forecast to the time in which a job may run."""
    end = start + timedelta(hours=hours + within_hours)
    known = series.forecast(start, end + BEYOND)
    if not known:
        raise ValueError(
            f"{type(series).__name__} has no forecast from {start:%Y-%m-%d %H:%M %Z} on; nothing can be planned"
        )
    if known[0][0] > start:
        raise ValueError(
            f"the forecast begins at {known[0][0]:%Y-%m-%d %H:%M %Z}, after {start:%Y-%m-%d %H:%M %Z}; start then"
        )
    values = [intensity.g_co2e_per_kwh for _, intensity in known]
    if not all(isfinite(value) and value >= 0.0 for value in values):
        raise ValueError(f"the forecast of {known[0][1].source} holds a value that no grid has")
    length_s = (end - start).total_seconds()
    if isinstance(series, ConstantIntensity):
        known = [known[0], (end, known[0][1])]
    window = Window.ahead(known, start, length_s)
    reach_s = window.edges[-1] if window is not None else 0.0
    if window is None or reach_s < length_s:
        spare_h = reach_s / 3600.0 - hours
        advice = f"give within_hours of at most {spare_h:.4g}" if spare_h >= 0.0 else "it does not cover the job itself"
        raise ValueError(
            f"the forecast ends {reach_s / 3600.0:.4g} h after {start:%Y-%m-%d %H:%M %Z}, "
            f"{hours:g} h within {within_hours:g} h need {hours + within_hours:.4g} h; {advice}"
        )
    first = sum(time <= start for time, _ in known) - 1
    return window, known[first : first + len(window.values)]


def _number(name: str, value: float, low: float, *, above: bool = False, high: float = inf) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not number or not (value > low if above else value >= low) or value > high:
        most = f" and at most {high:g}" if high < inf else ""
        raise ValueError(
            f"{name}={value!r} is not accepted; give a number {'above' if above else 'of at least'} {low:g}{most}"
        )
    return float(value)
