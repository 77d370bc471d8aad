"""Edges: the moments at which an energy counter moves, and what it must have held between two of them.

A counter that is refreshed every 20 to 100 ms shows the energy of its last refresh: a reading is late by up to one
period, and a difference of two readings wrong by up to period x power at each end. Whoever looks often enough around a
moment sees when the counter moved before and after it, and can interpolate.
"""

from __future__ import annotations

from collections import deque
from statistics import median

import msgspec

FIRST_GAP_S = 0.002
"""Time between two looks as long as the period is not known, in seconds."""
LEAST_GAP_S = 0.0005
LOOKS = 20
"""Looks per period once it is known."""
LEARNT = 3
"""Periods that must have been seen."""
IRREGULAR = 0.25
"""A counter whose periods differ by more than this share is not interpolated."""
ASSUMED_S = 0.1
"""Period assumed of a counter of which nothing is known, in seconds; NVIDIA documents none, 10-100 ms are reported."""
RHYTHM_S = 60.0
"""Time for which a rhythm is trusted without another look, in seconds."""
PATIENCE = 2.5
"""Periods to wait for an edge before giving up."""


class Settled(msgspec.Struct, frozen=True):
    """What a reading should have been, learnt when the counter next moved.

    Attributes:
        mark_s: Time of the reading, as it was given to `EdgeWatch.mark`.
        energy_j: Energy at that time on the counter's own scale, in joules.
        error_j: Most that it can be off by, in joules.
    """

    mark_s: float
    energy_j: float
    error_j: float


class _Mark(msgspec.Struct):
    """A marked reading; the edge after it is filled in when it is seen."""

    mark_s: float
    taken_s: float
    shown_j: float
    edge_s: float = 0.0
    gained_j: float = 0.0


class EdgeWatch:
    """Learns a counter's period from looks at it, and settles the readings that were marked.

    Attributes:
        period_s: The period, in seconds; `ASSUMED_S` as long as it is not known, the longest seen where it varies.
        regular: The period is known, long enough to see two edges apart, and keeps within `IRREGULAR`.
        peak_w: Highest mean power seen over one period, in watts; 0.0 before any.
    """

    def __init__(self) -> None:
        self.period_s = ASSUMED_S
        self.regular = False
        self.peak_w = 0.0
        self._periods: deque[float] = deque(maxlen=9)
        self._marks: list[_Mark] = []
        self._look: tuple[float, float] | None = None
        self._edge_s: float | None = None
        self._near_edge_s: float | None = None  # the same, if every look since saw the counter stand
        self._until_s = 0.0

    @property
    def learnt(self) -> bool:
        """Whether enough periods were seen."""
        return len(self._periods) >= LEARNT

    @property
    def gap_s(self) -> float:
        """Time between two looks, in seconds."""
        return min(max(self.period_s / LOOKS, LEAST_GAP_S), FIRST_GAP_S)

    def wants_look(self, now_s: float) -> bool:
        """Tell whether there is something to learn from another look."""
        return bool(self._marks) and now_s < self._until_s

    def late_s(self, now_s: float) -> float:
        """Return for how long the counter has not moved, as far as its rhythm tells; 0.0 where it is not known."""
        if not self.regular or self._edge_s is None or now_s - self._edge_s > RHYTHM_S:
            return 0.0
        late_s = (now_s - self._edge_s) % self.period_s
        # So near an edge there is no telling on which side of it.
        return late_s if self.gap_s < late_s < self.period_s - self.gap_s else self.period_s / 2

    def look(self, before_s: float, after_s: float, value_j: float, mark_s: float | None = None) -> list[Settled]:
        """Take a look at the counter, and settle what can be settled.

        Args:
            before_s: When the counter was asked.
            after_s: When it answered.
            value_j: What it showed, in joules.
            mark_s: A name for this look, if it is a reading to be settled: its time.
        """
        now_s = (before_s + after_s) / 2
        if self._look is not None and now_s - self._look[0] > max(3 * self.gap_s, self.period_s / 2):
            # More than one edge may have passed unseen.
            self._look = self._near_edge_s = None
            self._marks.clear()
        settled = self._edge(now_s, value_j)
        self._look = (now_s, value_j)
        if mark_s is not None:
            self._marks.append(_Mark(mark_s, now_s, value_j))
            self._until_s = now_s + PATIENCE * self.period_s * (1 if self.learnt else LEARNT + 1)
        return settled

    def _edge(self, now_s: float, value_j: float) -> list[Settled]:
        if self._look is None or value_j == self._look[1]:
            return []
        look_s, shown_j = self._look
        edge_s, gained_j = (look_s + now_s) / 2, value_j - shown_j
        if gained_j < 0:
            self._marks.clear()
            return []
        for mark in self._marks:
            if not mark.edge_s:
                mark.edge_s, mark.gained_j = edge_s, gained_j
        sharp = now_s - look_s <= 3 * self.gap_s
        if self._near_edge_s is not None and sharp:
            self._learn(edge_s - self._near_edge_s)
        self._edge_s, self._near_edge_s = edge_s, edge_s if sharp else None
        if not self.learnt:
            return []
        marks, self._marks = self._marks, []
        if self.regular:
            self.peak_w = max(self.peak_w, gained_j / self.period_s)
            return [self._settled(mark) for mark in marks]
        if self.period_s <= 2 * FIRST_GAP_S:
            # It moves whenever it is looked at: there is nothing to add, and little to doubt.
            return [Settled(mark.mark_s, mark.shown_j, mark.gained_j) for mark in marks]
        return []

    def _learn(self, period_s: float) -> None:
        self._periods.append(period_s)
        if not self.learnt:
            return
        middle_s = median(self._periods)
        tolerance_s = max(IRREGULAR * middle_s, 2 * FIRST_GAP_S)
        seen_apart = middle_s > 2 * FIRST_GAP_S
        self.regular = seen_apart and all(abs(seen_s - middle_s) <= tolerance_s for seen_s in self._periods)
        self.period_s = middle_s if self.regular else max(self._periods)

    def _settled(self, mark: _Mark) -> Settled:
        share = min(max(1.0 - (mark.edge_s - mark.taken_s) / self.period_s, 0.0), 1.0)
        late_j = share * mark.gained_j
        return Settled(mark.mark_s, mark.shown_j + late_j, max(late_j, mark.gained_j - late_j))
