"""Steps: intensities that hold one after another, each for its own time, looked up by the moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime

import msgspec

from wattloop.grid.intensity import Intensity


class Step(msgspec.Struct, frozen=True):
    """An intensity and when it holds.

    Attributes:
        start: First moment, as an aware datetime.
        end: The moment after the last.
        intensity: What holds then.
    """

    start: datetime
    end: datetime
    intensity: Intensity


class Steps:
    """Intensities over time; a later one ends the one before it, and between them there may be gaps.

    Args:
        steps: In any order; of two with the same start, the last one given stands.
    """

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        by_start = {step.start: step for step in steps}
        self.steps = tuple(by_start[start] for start in sorted(by_start))
        self._starts = [step.start for step in self.steps]

    def at(self, time: datetime) -> Intensity | None:
        """Return what holds at a moment; None in a gap, and before and after all.

        Args:
            time: The moment, as an aware datetime.
        """
        step = self.before(time)
        return step.intensity if step is not None and time < step.end else None

    def before(self, time: datetime) -> Step | None:
        """Return the step that began last, whether it still holds or not.

        Args:
            time: A moment, as an aware datetime.
        """
        index = bisect_right(self._starts, time) - 1
        return self.steps[index] if index >= 0 else None

    def between(self, start: datetime, end: datetime) -> tuple[tuple[datetime, Intensity], ...] | None:
        """Return the steps of a period up to the first gap, each with the moment from which it holds.

        Args:
            start: Begin of the period, as an aware datetime.
            end: End of the period.

        Returns:
            None where nothing is known of its begin.
        """
        index = max(0, bisect_right(self._starts, start) - 1)
        found: list[tuple[datetime, Intensity]] = []
        known_to = start
        for step in self.steps[index:]:
            if step.start > known_to or max(step.start, start) >= end:
                break
            if step.end > start:
                found.append((max(step.start, start), step.intensity))
                known_to = step.end
        return tuple(found) or None
