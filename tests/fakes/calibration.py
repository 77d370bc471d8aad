"""How forecasts fare on generated runs, beside the rule of carbontracker: total epochs times the mean epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fakes.runs import MadeRun, watched
from wattloop.forecast import Remaining
from wattloop.forecaster import Forecaster, Length

MOMENTS = ("epoch 1", "epoch 2", "epoch 3", "5 %", "20 %")


@dataclass(frozen=True)
class Said:
    """What was said of a run's energy at one moment, as shares of what it really was.

    Attributes:
        error: Relative error, signed.
        low: Lower end of the interval, relative to the truth, less one.
        high: Upper end, likewise.
        held: The interval held the truth.
        duration_error: Relative error of the duration.
        duration_held: Its interval held the truth.
        rule_error: Relative error of carbontracker's rule; None before the first epoch's end, or where it has none.
    """

    error: float
    low: float
    high: float
    held: bool
    duration_error: float
    duration_held: bool
    rule_error: float | None = None

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass
class Result:
    """One run: what was said at each moment; nothing where the forecast was that it is not known."""

    run: MadeRun
    said: dict[str, Said] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)


def tried(run: MadeRun) -> Result:
    """Let a forecaster watch a run up to a fifth of its steps and three epochs."""
    forecaster = Forecaster(run.first_step)
    result = Result(run)
    due = {moment: (len(run.seconds) * share) for moment, share in (("5 %", 0.05), ("20 %", 0.2))}
    epochs_j: list[float] = []
    border_j, startup_j = 0.0, None
    for seen in watched(run):
        forecaster.observe(seen.step, seen.phases_j, seen.phases_s)
        if startup_j is None and "train" in seen.phases_j:
            startup_j = border_j = seen.phases_j["startup"]
        moments = []
        if seen.epoch:
            forecaster.epoch_end()
            epochs_j.append(seen.energy_j - border_j)
            border_j = seen.energy_j
            # A resumed run's first epoch is a part of one.
            moments.append(f"epoch {seen.epoch - bool(run.first_step)}")
        for moment, step in [*due.items()]:
            if seen.step - run.first_step >= step:
                moments.append(moment)
                del due[moment]
        for moment in moments:
            if moment not in MOMENTS or seen.step >= run.total_steps:
                continue
            remaining = forecaster.remaining(_length(run, seen.time_s))
            if remaining is None:
                result.silent.add(moment)
            else:
                rule_j = _rule(run, seen.step, startup_j or 0.0, epochs_j) if epochs_j else None
                result.said[moment] = _said(run, seen.energy_j, seen.time_s, remaining, rule_j)
        if not due and seen.epoch >= 3 + bool(run.first_step):
            break
    return result


def _length(run: MadeRun, time_s: float) -> Length:
    match run.tells:
        case "steps":
            return Length(steps=run.total_steps, epochs=run.epochs, steps_per_epoch=run.epoch_steps)
        case "epochs":
            return Length(epochs=run.epochs)
        case "time":
            return Length(steps_per_epoch=run.epoch_steps, time_left_s=run.duration_s - time_s)
    return Length(steps_per_epoch=run.epoch_steps)


def _rule(run: MadeRun, step: int, startup_j: float, epochs_j: list[float]) -> float | None:
    """Return carbontracker's forecast, helped out with what it does not count or know: the start-up, a resume."""
    if run.tells not in ("steps", "epochs"):
        return None
    if run.first_step:
        done = step // run.epoch_steps * run.epoch_steps - run.first_step
        return startup_j + sum(epochs_j) * len(run.seconds) / done
    return startup_j + run.epochs * sum(epochs_j) / len(epochs_j)


def _said(run: MadeRun, spent_j: float, spent_s: float, remaining: Remaining, rule_j: float | None) -> Said:
    energy, time = remaining.energy_j, remaining.duration_s
    low, value, high = ((spent_j + one) / run.energy_j - 1 for one in (energy.low, energy.value, energy.high))
    slack_s = 1e-6 * run.duration_s
    return Said(
        value,
        low,
        high,
        low <= 0 <= high,
        (spent_s + time.value) / run.duration_s - 1,
        spent_s + time.low - slack_s <= run.duration_s <= spent_s + time.high + slack_s,
        None if rule_j is None else rule_j / run.energy_j - 1,
    )


def quantile(values: list[float], share: float) -> float:
    """Return a quantile, interpolated; nan of nothing."""
    if not values:
        return math.nan
    values = sorted(values)
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])
