"""Episodes: what interrupts the steps (validation, checkpoints), how often it comes, and what it costs each time."""

from __future__ import annotations

import itertools
import math

import msgspec

from wattloop.distribution import student

KEPT = 32
"""Episodes whose cost is remembered, the latest."""
FIRST_IS_DEARER = 1.2
"""Beyond this ratio to the others, the first episode's cost is set aside: it compiled something."""
ONE_EPISODE_ERROR = 0.15
"""Relative standard deviation of the cost of an episode of which only one has been seen."""
IRREGULAR = 0.02
"""Relative spread of the gaps beyond which they are counted by epochs."""


class Episode(msgspec.Struct):
    """One validation, or one checkpoint: after which step, and at what cost."""

    step: float
    energy_j: float
    duration_s: float


class Ahead(msgspec.Struct, frozen=True):
    """What the episodes to come will cost: energy in joules, duration in seconds, and both standard deviations."""

    energy_j: float = 0.0
    energy_sd_j: float = 0.0
    duration_s: float = 0.0
    duration_sd_s: float = 0.0


class Episodes:
    """Learns cost and cadence of one kind of interruption from what a phase has used so far.

    Args:
        first_step: Steps done when it begins to watch; what happens before another one is done is no guide.
    """

    def __init__(self, first_step: float) -> None:
        self._first_step = first_step
        self._kept: list[Episode] = []
        self._count = 0
        self._open = False
        self._energy_j = self._duration_s = 0.0

    @property
    def seen(self) -> int:
        """Episodes so far."""
        return self._count

    def observe(self, step: float, energy_j: float, duration_s: float) -> None:
        """Take note of what the phase has used so far; as long as that grows, it is one episode.

        Args:
            step: Steps done.
            energy_j: Energy, in joules.
            duration_s: Time, in seconds.
        """
        more_j, more_s = energy_j - self._energy_j, duration_s - self._duration_s
        self._energy_j, self._duration_s = energy_j, duration_s
        if not (more_j > 0 or more_s > 0):
            self._open = False
        elif step <= self._first_step:
            pass
        elif self._open or (self._kept and self._kept[-1].step == step):
            last = self._kept[-1]
            self._kept = [*self._kept[:-1], Episode(last.step, last.energy_j + more_j, last.duration_s + more_s)]
            self._open = True
        else:
            self._kept = [*self._kept, Episode(step, more_j, more_s)][-KEPT:]
            self._count += 1
            self._open = True

    def ahead(self, total_steps: float, border: float, epochs: int, steps_per_epoch: float | None) -> Ahead:
        """Return what is still to come.

        Args:
            total_steps: Steps of the whole run.
            border: Steps done at the end of the last epoch.
            epochs: Epochs ended since it began to watch.
            steps_per_epoch: Steps of an epoch, None if unknown.
        """
        kept = self._kept
        if not kept:
            return Ahead()
        count, count_sd = self._expected(kept, total_steps, border, epochs, steps_per_epoch)
        # One that is not over yet is no guide to the others, if there are any.
        whole = kept[:-1] if self._open and len(kept) > 1 else kept
        has_first = len(kept) == self._count
        energy_j, energy_sd_j, energy_error_j = _cost([one.energy_j for one in whole], has_first)
        duration_s, duration_sd_s, duration_error_s = _cost([one.duration_s for one in whole], has_first)
        begun = kept[-1] if self._open else None
        rest_j = max(0.0, energy_j - begun.energy_j) if begun else 0.0
        rest_s = max(0.0, duration_s - begun.duration_s) if begun else 0.0
        return Ahead(
            count * energy_j + rest_j,
            math.hypot(count * energy_error_j, math.sqrt(count) * energy_sd_j, count_sd * energy_j),
            count * duration_s + rest_s,
            math.hypot(count * duration_error_s, math.sqrt(count) * duration_sd_s, count_sd * duration_s),
        )

    def _expected(
        self, kept: list[Episode], total_steps: float, border: float, epochs: int, steps_per_epoch: float | None
    ) -> tuple[float, float]:
        """Return how many are to come, and its standard deviation."""
        first, last = kept[0].step, kept[-1].step
        if len(kept) > 1:
            gaps = [b.step - a.step for a, b in itertools.pairwise(kept)]
            gap = (last - first) / len(gaps)
            spread = math.sqrt(sum((one - gap) ** 2 for one in gaps) / len(gaps)) / gap if gap > 0 else 0.0
        else:
            gap, spread = first - self._first_step, 0.0
            origin = border if border > self._first_step else 0.0
            # At the end of an epoch, the next comes after whole ones, wherever in one this began to watch.
            if steps_per_epoch and abs((first - origin) / steps_per_epoch % 1.0 - 0.5) > 0.49:
                gap = steps_per_epoch * max(1, math.ceil(gap / steps_per_epoch - 0.02))
        if gap <= 0:
            return 0.0, 0.0
        if spread > IRREGULAR and epochs and steps_per_epoch and border > self._first_step:
            since = sum(one.step > border for one in kept)
            per_step = (self._count - since) / (border - self._first_step)
            count = max(0.0, per_step * (total_steps - border) - since)
            return count, 0.5
        # One after the very last step counts: the least of slack lets it in.
        count = max(0.0, (total_steps - last) / gap)
        return (math.floor(count + 0.02), 0.0) if spread <= IRREGULAR else (count, 0.5 + spread)


def _cost(costs: list[float], has_first: bool) -> tuple[float, float, float]:
    """Return an episode's mean cost, how much single ones scatter, and the standard error of the mean."""
    if has_first and len(costs) > 1:
        others = sum(costs[1:]) / (len(costs) - 1)
        if costs[0] > FIRST_IS_DEARER * others:
            costs = costs[1:]
    mean = sum(costs) / len(costs)
    if len(costs) == 1:
        return mean, ONE_EPISODE_ERROR * mean, ONE_EPISODE_ERROR * mean
    sd = math.sqrt(sum((cost - mean) ** 2 for cost in costs) / (len(costs) - 1)) * student(len(costs) - 1)
    return mean, sd, sd / math.sqrt(len(costs))
