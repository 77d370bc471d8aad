"""Edges: the moments at which an energy counter moves, and what it must have held between two of them.

A counter that is refreshed every 20 to 100 ms shows the energy of its last refresh: a reading is late by up to one
period, and a difference of two readings wrong by up to period x power at each end. Whoever looks often enough around a
moment sees when the counter moved before and after it, and can interpolate.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, median

import msgspec

FIRST_GAP_S = 0.002
"""Time between two looks as long as the period is not known, in seconds."""
LEAST_GAP_S, MOST_GAP_S = 0.0005, 0.002
LOOKS = 20
"""Looks per period once it is known."""
LEARNT = 3
"""Periods that must have been seen."""
IRREGULAR = 0.25
"""A counter whose periods differ by more than this share is not interpolated."""
ASSUMED_S = 0.1
"""Period assumed of a counter of which nothing is known, in seconds; NVIDIA documents none, 10-100 ms are reported."""
MOST_MARKS = 8
"""Readings that wait to be settled at a time."""
RHYTHM_S = 60.0
"""Longest time for which a rhythm is trusted without another look, in seconds."""
RESYNC = 1.0
"""A rhythm followed over some time is good for that multiple of it, before another look is due."""
PATIENCE = 3.0
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
    """A marked reading, the edge after it and what the counter gained there, and at the edge after that one."""

    mark_s: float
    taken_s: float
    power_w: float
    shown_j: float
    edge_s: float = 0.0
    gained_j: float = 0.0
    next_j: float | None = None


class EdgeWatch:
    """Learns a counter's period from looks at it, and settles the readings that were marked.

    Attributes:
        period_s: The period, in seconds; `ASSUMED_S` as long as it is not known, the longest seen where it varies.
        regular: The period is known, long enough to see two edges apart, and keeps within `IRREGULAR`.
        resync_s: When the rhythm is to be looked at again, monotonic, in seconds; infinite where there is none.
        peak_w: Highest mean power seen over one period, in watts; 0.0 before any.
    """

    def __init__(self) -> None:
        self.period_s = ASSUMED_S
        self.regular = False
        self.peak_w = 0.0
        self._periods: deque[float] = deque(maxlen=9)
        self._first_edge_s: float | None = None
        self.resync_s = math.inf
        self._resyncing = False
        self._marks: list[_Mark] = []
        self._look: tuple[float, float] | None = None
        self._edge_s: float | None = None
        self._near_edge_s: float | None = None  # the same, if every look since saw the counter stand
        self._until_s = 0.0

    def forget(self) -> None:
        """Drop what is being watched for, as the counter told something untrue; its rhythm is still its own."""
        self._look = self._near_edge_s = None
        self._marks.clear()

    @property
    def learnt(self) -> bool:
        """Whether enough periods were seen."""
        return len(self._periods) >= LEARNT

    @property
    def gap_s(self) -> float:
        """Time between two looks, in seconds."""
        return min(max(self.period_s / LOOKS, LEAST_GAP_S), MOST_GAP_S) if self.learnt else FIRST_GAP_S

    def wants_look(self, now_s: float) -> bool:
        """Tell whether there is something to learn from another look."""
        if now_s >= self.resync_s:
            self._until_s = max(self._until_s, now_s + PATIENCE * self.period_s)
            self.resync_s = math.inf
            self._resyncing = True
        return (bool(self._marks) or self._resyncing) and now_s < self._until_s

    def late_s(self, now_s: float) -> float:
        """Return for how long the counter has not moved, as far as its rhythm tells; 0.0 where it is not known."""
        if not self.regular or self._edge_s is None or now_s - self._edge_s > RHYTHM_S:
            return 0.0
        late_s = (now_s - self._edge_s) % self.period_s
        followed_s = self._edge_s - (self._first_edge_s or 0.0) or self.period_s
        doubt_s = self.gap_s * (0.5 + (now_s - self._edge_s) / followed_s)
        # So near an edge there is no telling on which side of it.
        return late_s if doubt_s < late_s < self.period_s - doubt_s else self.period_s / 2

    def look(
        self, before_s: float, after_s: float, value_j: float, mark_s: float | None = None, power_w: float = 0.0
    ) -> list[Settled]:
        """Take a look at the counter, and settle what can be settled.

        Args:
            before_s: When the counter was asked.
            after_s: When it answered.
            value_j: What it showed, in joules.
            mark_s: A name for this look, if it is a reading to be settled: its time.
            power_w: The power at that time, in watts.
        """
        now_s = (before_s + after_s) / 2
        if self._look is not None and now_s - self._look[0] > max(3 * self.gap_s, self.period_s / 2):
            # More than one edge may have passed unseen.
            self.forget()
        settled = self._edge(now_s, value_j)
        self._look = (now_s, value_j)
        if mark_s is not None and len(self._marks) < MOST_MARKS:
            self._marks.append(_Mark(mark_s, now_s, power_w, value_j))
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
            elif mark.next_j is None:
                mark.next_j = gained_j
        sharp = now_s - look_s <= 3 * self.gap_s
        if self._near_edge_s is not None and sharp:
            self._learn(edge_s - self._near_edge_s)
        self._near_edge_s = edge_s if sharp else None
        self._follow(edge_s)
        if not self.learnt:
            return []
        if self.regular:
            self.peak_w = max(self.peak_w, gained_j / self.period_s)
            ready = [mark for mark in self._marks if mark.next_j is not None]
            self._marks = [mark for mark in self._marks if mark.next_j is None]
            return [self._settled(mark) for mark in ready]
        marks, self._marks = self._marks, []
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
        if not self.regular:
            self.period_s = max(self._periods)
        elif abs(self.period_s - middle_s) > tolerance_s or self._first_edge_s is None:
            self.period_s = fmean(self._periods)

    def _follow(self, edge_s: float) -> None:
        """Keep the rhythm: the further apart two edges are, the better they tell the period between them."""
        self._resyncing = False
        if self._first_edge_s is not None and self.regular:
            beats = round((edge_s - self._first_edge_s) / self.period_s)
            period_s = (edge_s - self._first_edge_s) / max(beats, 1)
            if beats > len(self._periods) and abs(period_s - self.period_s) * beats <= self.period_s / 4:
                self.period_s = period_s
            elif beats > len(self._periods):
                self._first_edge_s = edge_s
                self._resyncing = True  # until the next edge, which tells the period anew
        self._first_edge_s = edge_s if self._first_edge_s is None else self._first_edge_s
        self._edge_s = edge_s
        self.resync_s = edge_s + min(max(RESYNC * (edge_s - self._first_edge_s), 5 * self.period_s), RHYTHM_S)

    def _settled(self, mark: _Mark) -> Settled:
        ahead_s = min(max(mark.edge_s - mark.taken_s, 0.0), self.period_s)
        late_s = self.period_s - ahead_s
        late_j = late_s / self.period_s * mark.gained_j
        now_w, mean_w = mark.power_w, mark.gained_j / self.period_s
        next_w = (mark.next_j or 0.0) / self.period_s
        if abs(now_w - next_w) < abs(now_w - mean_w) / 2:
            # The power had changed before to what it was from then on.
            late_j = min(max(mark.gained_j - now_w * ahead_s, 0.0), mark.gained_j)
        elif late_s <= (mean_w - next_w) / (now_w - next_w or math.inf) * self.period_s <= self.period_s:
            # One change, from the power now to that of the next period, makes up what was gained, and is yet to come.
            late_j = min(now_w * late_s, mark.gained_j)
        return Settled(mark.mark_s, mark.shown_j + late_j, max(late_j, mark.gained_j - late_j))
