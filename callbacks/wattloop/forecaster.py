"""Forecaster: what remains of a run, from what its progress has cost so far."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from wattloop.distribution import NOTHING, Interval, Outcome, interval
from wattloop.episodes import Ahead, Episodes
from wattloop.forecast import Remaining
from wattloop.projection import Mean, project
from wattloop.shapes import Course
from wattloop.steadiness import MIN_BINS, warm_up

MAX_BINS = 64
MIN_FRACTION = 0.02
"""Share of the run that must be done before a forecast inside the first epoch."""
MIN_REST = 2
"""Bins left when the warm-up of a whole epoch is cut off; one alone would look sure for no reason."""
UNSEEN_EPISODES = Outcome(0.25, 0.12, 0.07)
"""Validation as long as none has been seen: how likely, and what it adds to training's cost, as a share."""
UNSEEN_POWER = -0.35
"""What the power of validation is above that of training, as a share."""
SHORTEST_S = 1e-6
"""Time below which nothing can be said of power, in seconds."""
PLAUSIBLE = 1e15
"""Beyond this, no number is believed."""
ASIDE = ("startup", "train", "wait")
"""Phases that are no interruptions: what is spent in them, but for training, does not come again."""


class Length(msgspec.Struct, frozen=True):
    """What is known of a run's length; with both steps and time, what is over first ends it.

    Attributes:
        steps: Steps of the whole run.
        epochs: Epochs of the whole run, which count where its steps are not known.
        steps_per_epoch: Steps of an epoch, None to count them.
        time_left_s: Seconds it may still take.
    """

    steps: float | None = None
    epochs: float | None = None
    steps_per_epoch: float | None = None
    time_left_s: float | None = None


class _Bin(msgspec.Struct, frozen=True):
    steps: float
    energy_j: float
    duration_s: float


class Forecaster:
    """Learns what steps cost, and what validation and checkpoints cost beside them, in joules and in seconds.

    It is fed by the sampler's thread and asked by any other. Its memory does not grow with the run: when its bins are
    full, neighbours are merged, and from then on a bin takes in twice as many observations.

    Args:
        step: Steps already done when it begins to watch.
        epoch: Epochs already done then.
    """

    def __init__(self, step: int = 0, epoch: int = 0) -> None:
        self._bins: list[_Bin] = []  # the last one may be open
        self._closed: list[_Bin] = []
        self._per_bin, self._in_bin = 1, 0
        self._first_step = self._step = self._border = float(step)
        self._trained_s = 0.0
        self._binned = (self._step, 0.0, 0.0)
        self._episodes: dict[str, Episodes] = {}
        self._epochs_before, self._epochs = epoch, 0
        self._counted = (0.0, 0)  # steps in whole epochs, and how many those are

    def observe(self, step: float, phases_j: Mapping[str, float], phases_s: Mapping[str, float]) -> None:
        """Take note of progress.

        Args:
            step: Steps done.
            phases_j: Energy spent so far by phase, in joules.
            phases_s: Time spent so far by phase, in seconds.
        """
        for phase, energy_j in phases_j.items():
            if phase not in ASIDE and _plausible(energy_j):
                if phase not in self._episodes:
                    self._episodes = {**self._episodes, phase: Episodes(self._first_step)}
                duration_s = _plausible(phases_s.get(phase)) or 0.0
                self._episodes[phase].observe(step, energy_j, duration_s)
        train_j, train_s = _plausible(phases_j.get("train", 0.0)), _plausible(phases_s.get("train", 0.0))
        if not self._step < step < PLAUSIBLE or train_j is None or train_s is None:
            return
        before_step, before_j, before_s = self._binned
        bins = [*self._closed, _Bin(step - before_step, train_j - before_j, max(0.0, train_s - before_s))]
        self._in_bin += 1
        if self._in_bin >= self._per_bin:
            self._binned, self._in_bin = (step, train_j, train_s), 0
            if len(bins) >= MAX_BINS:
                self._per_bin *= 2
                bins = [_merged(bins[i : i + 2]) for i in range(0, len(bins), 2)]
            self._closed = bins
        # Other threads look at these, and at each for itself only.
        self._bins = bins
        self._trained_s = train_s
        self._step = float(step)

    def epoch_end(self) -> None:
        """Mark the end of an epoch."""
        steps, epochs = self._counted
        # The first epoch of a resumed run may have begun before.
        if self._step > self._border and (self._epochs or not self._first_step):
            self._counted = (steps + self._step - self._border, epochs + 1)
        self._epochs += 1
        self._border = self._step

    def remaining(self, length: Length) -> Remaining | None:
        """Return what is still to be spent, or None as long as it cannot be known.

        Args:
            length: What is known of the run's length.
        """
        bins, step = self._bins, self._step
        period, time_left_s = self._period(length), _plausible(length.time_left_s)
        total = self._total(length, period, step)
        if (total is not None and total <= step) or (time_left_s is not None and time_left_s < SHORTEST_S):
            return Remaining(NOTHING, NOTHING)
        enough = len(bins) >= MIN_BINS and self._late_enough(step, total, time_left_s)
        if not bins or not (self._counted[1] or enough):
            return None
        least = MIN_REST if self._counted[1] else MIN_BINS
        cut = warm_up([one.steps for one in bins], [one.energy_j for one in bins], least)
        ends = []
        if total is not None:
            ends.append(self._by_steps(bins[cut:], step, total, period))
        if time_left_s is not None:
            ends.append(self._by_time(bins[cut:], step, time_left_s, period))
        if not ends:
            return None
        return Remaining(_earliest([end.energy_j for end in ends]), _earliest([end.duration_s for end in ends]))

    def _period(self, length: Length) -> float | None:
        steps, epochs = self._counted
        told = _plausible(length.steps_per_epoch) or 0.0
        return told if told >= 1 else steps / epochs if epochs else None

    def _total(self, length: Length, period: float | None, step: float) -> float | None:
        steps, epochs = _plausible(length.steps), _plausible(length.epochs)
        if steps is not None or epochs is None or period is None:
            return steps
        if self._first_step and not self._epochs_before:
            return epochs * period
        ahead = epochs - self._epochs_before - self._epochs
        # An epoch that is longer than those before is not over yet.
        return self._border + max(period, step - self._border) + (ahead - 1) * period if ahead > 0 else step

    def _late_enough(self, step: float, total: float | None, time_left_s: float | None) -> bool:
        done = step - self._first_step
        by_steps = total is not None and done >= MIN_FRACTION * (total - self._first_step)
        return by_steps or (time_left_s is not None and self._trained_s >= MIN_FRACTION * time_left_s)

    def _by_steps(self, bins: list[_Bin], step: float, total: float, period: float | None) -> Remaining:
        to_do = total - step
        steps, costs_j, costs_s = _columns(bins)
        more = self._episodes_ahead(total, period)
        course = Course(step - sum(steps), total, period, self._border, sum(steps) / max(sum(costs_s), 1e-9))
        unseen = 0.0 if period and period >= total - self._first_step else 1.0
        energy, duration = (
            self._with_unseen_episodes(project(steps, costs, to_do, course), unseen) for costs in (costs_j, costs_s)
        )
        return Remaining(
            _sum(energy, to_do, more.energy_j, more.energy_sd_j),
            _sum(duration, to_do, more.duration_s, more.duration_sd_s),
        )

    def _by_time(self, bins: list[_Bin], step: float, time_left_s: float, period: float | None) -> Remaining:
        """Follow power over time instead of cost over steps; what is no training takes its share of the time."""
        duration = Interval(time_left_s, time_left_s, time_left_s)
        steps, costs_j, costs_s = _columns([one for one in bins if one.duration_s > SHORTEST_S])
        if not steps:
            return Remaining(NOTHING, duration)
        trained_s = sum(costs_s)
        # First as if all the time were training's.
        more = self._episodes_ahead(step + time_left_s * sum(steps) / trained_s, period)
        share = time_left_s / (time_left_s + more.duration_s)
        training_s = share * time_left_s
        start_s = max(0.0, self._trained_s - trained_s)
        course = Course(start_s, start_s + trained_s + training_s, None, 0.0, 1.0)
        power = self._with_unseen_episodes(project(costs_s, costs_j, training_s, course), UNSEEN_POWER)
        return Remaining(_sum(power, training_s, share * more.energy_j, share * more.energy_sd_j), duration)

    def _episodes_ahead(self, total: float, period: float | None) -> Ahead:
        found = [one.ahead(total, self._border, self._epochs, period) for one in self._episodes.values()]
        return Ahead(
            sum(one.energy_j for one in found),
            math.hypot(*(one.energy_sd_j for one in found)),
            sum(one.duration_s for one in found),
            math.hypot(*(one.duration_sd_s for one in found)),
        )

    def _with_unseen_episodes(self, mean: Mean, scale: float) -> Mean:
        """Let the interval, and not the value, allow for validation of which none has been seen yet."""
        if not scale or any(one.seen for one in self._episodes.values()):
            return mean
        # An epoch without any makes it much less likely, and cheaper in proportion, that one comes.
        without = 1 + self._counted[1]
        weight = UNSEEN_EPISODES.weight / without**2
        more, sd = (scale * part * mean.value / without for part in (UNSEEN_EPISODES.mean, UNSEEN_EPISODES.sd))
        outcomes = [Outcome((1 - weight) * one.weight, one.mean, one.sd) for one in mean.outcomes]
        outcomes += [Outcome(weight * one.weight, one.mean + more, math.hypot(one.sd, sd)) for one in mean.outcomes]
        return Mean(mean.value, outcomes)


def _columns(bins: list[_Bin]) -> tuple[list[float], list[float], list[float]]:
    return [one.steps for one in bins], [one.energy_j for one in bins], [one.duration_s for one in bins]


def _merged(bins: list[_Bin]) -> _Bin:
    return _Bin(*(sum(column) for column in _columns(bins)))


def _sum(mean: Mean, to_do: float, more: float, more_sd: float) -> Interval:
    outcomes = [Outcome(o.weight, to_do * o.mean + more, math.hypot(to_do * o.sd, more_sd)) for o in mean.outcomes]
    return interval(to_do * mean.value + more, outcomes)


def _earliest(ends: list[Interval]) -> Interval:
    return Interval(*(min(getattr(end, name) for end in ends) for name in Interval.__struct_fields__))


def _plausible(number: float | None) -> float | None:
    """Return a number that can be a quantity of a run, at least 0; None where it can't."""
    return max(0.0, number) if number is not None and abs(number) < PLAUSIBLE else None
