"""Edges: the moments at which an energy counter moves, and what it must have held between two of them.

A counter that is refreshed every 20 to 100 ms shows the energy of its last refresh: a reading is late by up to one
period, and a difference of two readings wrong by up to period x power at each end. Whoever looks when the counter next
moves after a moment, and feels the power until then, knows what it had not shown yet: what it gained, less what was
drawn after the moment. How far the power that is felt can be believed is seen where it is felt for a whole period.
"""

from __future__ import annotations

import itertools
import math
from collections import deque

import msgspec

from wattloop.meters.rhythm import LEARNT, RESYNC_S, Rhythm

FIRST_GAP_S = 0.002
"""Time between two looks as long as the period is not known, in seconds."""
LEAST_GAP_S, MOST_GAP_S = 0.0005, 0.001
LOOKS = 20
"""Looks per period where the counter is due to move, and readings of the power per period."""
MOST_LOOK_S = 0.012
"""A look that takes longer is given up, in seconds: who wants a reading may have to wait for one, and for two reads."""
MOST_MARKS = 8
"""Readings that wait to be settled at a time."""
PATIENCE = 3.0
"""Periods to wait for an edge before giving up."""
REST_S = (1.0, 60.0)
"""Times for which nothing is marked after nothing was learnt, in seconds: each twice the one before."""
CHECK_S = 2.0
"""Shortest time from one check of the power that is felt to the next, in seconds."""
SCEPTIC = 4.0
"""Felt power that explains less of the unevenness than all but one part in so many is not believed."""
MEMORY = 0.9
"""Share of what was seen before, of the power as of the time that a look takes, that counts beside the next."""


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
    """A marked reading; at the edge after it: how far that was, what the counter gained, what was felt until then."""

    mark_s: float
    taken_s: float
    shown_j: float
    ahead_s: float = math.nan
    gained_j: float = 0.0
    felt: tuple[float, float] | None = None


class EdgeWatch:
    """Learns a counter's rhythm from looks at it, and settles the readings that were marked.

    Attributes:
        rhythm: When the counter moves.
        peak_w: Highest mean power seen over one period, in watts; 0.0 before any.
    """

    def __init__(self) -> None:
        self.rhythm = Rhythm()
        self.peak_w = 0.0
        self._marks: list[_Mark] = []
        self._look: tuple[float, float] | None = None
        self._edge: tuple[float, float] | None = None  # the last edge and what was gained there, if watched ever since
        self._powers: deque[tuple[float, float]] = deque(maxlen=8 * LOOKS)
        self._unexplained_j2 = self._uneven_j2 = 0.0
        self._took_s = self._last_took_s = 0.0  # by a look, as a rule and the last time
        self._until_s = self._check_s = self._still_s = 0.0
        self._resyncing = self._checking = False
        self._rest_s = self._rested_s = 0.0

    @property
    def period_s(self) -> float:
        """The counter's period, in seconds; see `Rhythm`."""
        return self.rhythm.period_s

    @property
    def regular(self) -> bool:
        """Whether the counter's rhythm is known."""
        return self.rhythm.regular

    def forget(self) -> None:
        """Drop what is being watched for, as the counter told something untrue; its rhythm is still its own."""
        self._look = self._edge = None
        self._marks.clear()
        self.rhythm.interrupt()

    @property
    def gap_s(self) -> float:
        """Time between two looks where the counter may move, in seconds."""
        return min(max(self.period_s / LOOKS, LEAST_GAP_S), MOST_GAP_S) if self.rhythm.learnt else FIRST_GAP_S

    @property
    def _pause_s(self) -> float:
        # At least half the time is the driver's.
        return max(self.gap_s, self._last_took_s)

    @property
    def _grain_s(self) -> float:
        return max(self.gap_s, self._took_s) + self._took_s

    def late_s(self, now_s: float) -> float:
        """Return for how long the counter has not moved, as far as its rhythm tells; 0.0 where it is not known."""
        return self.rhythm.late_s(now_s)

    def wants_look(self, now_s: float) -> bool:
        """Tell whether there is something to learn from another look."""
        if now_s >= self.rhythm.resync_s:
            self._until_s = max(self._until_s, now_s + PATIENCE * self.period_s)
            self.rhythm.resync_s = math.inf
            self._resyncing = True
        if now_s >= self._until_s and (self._marks or self._resyncing or self._checking):
            # It did not move when it should have, or draws nothing, or is looked at too seldom.
            self.rhythm.lost = self.regular
            if not self.rhythm.learnt:
                self._rest_s = min(max(2 * self._rest_s, REST_S[0]), REST_S[1])
                self._rested_s = now_s + self._rest_s
            self._resyncing = self._checking = False
            self._marks.clear()
        return bool(self._marks) or self._resyncing or self._checking

    def next_look_s(self, now_s: float) -> float:
        """Return when to look again, or to feel the power; infinite when there is nothing to learn."""
        if not self.wants_look(now_s):
            return self.rhythm.resync_s
        look_s = self._edge_due_s(now_s + self._pause_s)
        return min(look_s, now_s + self.period_s / LOOKS) if self.feels else look_s

    def near(self, now_s: float) -> bool:
        """Tell whether the counter may move about now."""
        return self._edge_due_s(now_s) <= now_s + LEAST_GAP_S / 2

    def _edge_due_s(self, now_s: float) -> float:
        due_s = self.rhythm.next_s(now_s, self._still_s)
        # Two edges that are missed by a little must not be taken for each other.
        return min(due_s, max(now_s, self._look[0] + self.period_s / 2)) if self._look and self._marks else due_s

    @property
    def feels(self) -> bool:
        """Whether the power is worth asking for, beside the counter: not where a call takes as long as a look waits."""
        return self._took_s <= self.gap_s and (bool(self._marks) or self._checking)

    def feel(self, now_s: float, power_w: float) -> None:
        """Take in the power at a moment, in watts."""
        self._powers.append((now_s, power_w))

    def look(self, before_s: float, after_s: float, value_j: float, mark_s: float | None = None) -> list[Settled]:
        """Take a look at the counter, and settle what can be settled.

        Args:
            before_s: When the counter was asked.
            after_s: When it answered.
            value_j: What it showed, in joules.
            mark_s: A name for this look, if it is a reading to be settled: its time.
        """
        now_s, took_s = (before_s + after_s) / 2, after_s - before_s
        self._took_s = took_s if self._look is None else MEMORY * self._took_s + (1 - MEMORY) * took_s
        self._last_took_s = took_s
        if took_s > MOST_LOOK_S:
            self.forget()
            self._resyncing = self._checking = False
            self.rhythm.resync_s = after_s + RESYNC_S
            return []
        blind_s = self.period_s if self.regular else max(self.period_s / 2, 2 * self._grain_s)
        if self._look is not None and now_s - self._look[0] > blind_s:
            # More than one edge may have passed unseen.
            self.forget()
        if self._look is None:
            self._still_s = now_s
        settled = self._seen(now_s, value_j)
        self._look = (now_s, value_j)
        if mark_s is not None and len(self._marks) < MOST_MARKS and now_s >= self._rested_s:
            self._marks.append(_Mark(mark_s, now_s, value_j))
            self._until_s = now_s + PATIENCE * self.period_s * (1 if self.rhythm.learnt else LEARNT + 1)
        return settled

    def _seen(self, now_s: float, value_j: float) -> list[Settled]:
        if self._look is None or value_j == self._look[1]:
            return []
        look_s, shown_j = self._look
        gained_j = value_j - shown_j
        if gained_j < 0:
            self.forget()
            return []
        self._still_s = edge_s = self.rhythm.moved(look_s, now_s, self._grain_s)
        for mark in self._marks:
            if math.isnan(mark.ahead_s):
                mark.ahead_s, mark.gained_j = max(edge_s - mark.taken_s, 0.0), gained_j
                mark.felt = self._felt(mark.taken_s, edge_s)
        self._check(edge_s, gained_j)
        self._resyncing = self.rhythm.lost or self.rhythm.vague
        marks = self._marks
        if self.regular:
            self.peak_w = max(self.peak_w, gained_j / self.period_s)
            self._marks = []
            return [self._settled(mark) for mark in marks]
        if self.rhythm.learnt:
            self._marks = []
        # One that moves whenever it is looked at has nothing to add, and little to doubt.
        return [Settled(mark.mark_s, mark.shown_j, mark.gained_j) for mark in marks] if self.rhythm.quick else []

    def _check(self, edge_s: float, gained_j: float) -> None:
        """See whether the power that was felt since the edge before explains what the counter gained."""
        before_s, before_j = self._edge or (edge_s, 0.0)
        self._edge = None if self.rhythm.vague else (edge_s, gained_j)
        whole, half = self._felt(before_s, edge_s), self._felt(before_s, (before_s + edge_s) / 2)
        if whole is None or half is None or self.rhythm.vague:
            self._checking = self.regular and bool(self._marks) and edge_s >= self._check_s
            return
        self._checking = False
        self._check_s = edge_s + CHECK_S
        self._unexplained_j2 = MEMORY * self._unexplained_j2 + (whole[0] - gained_j) ** 2
        uneven_j2 = (whole[0] / 2 - half[0]) ** 2 + (gained_j - before_j) ** 2 + (gained_j / LOOKS) ** 2
        self._uneven_j2 = MEMORY * self._uneven_j2 + uneven_j2

    def _felt(self, begin_s: float, end_s: float) -> tuple[float, float] | None:
        """Return the power that was felt between two times, integrated, and its variance; None where it was not felt.

        The power may have changed at any moment between two readings.
        """
        felt_j = felt_s = variance_j2 = 0.0
        for (from_s, from_w), (to_s, to_w) in itertools.pairwise(self._powers):
            first_s, last_s = max(from_s, begin_s), min(to_s, end_s)
            length_s = last_s - first_s
            if length_s > 0.0 and to_s - from_s <= self.period_s / 4:
                middle = ((first_s + last_s) / 2 - from_s) / (to_s - from_s)
                felt_j += (from_w + (to_w - from_w) * middle) * length_s
                felt_s += length_s
                variance_j2 += ((to_w - from_w) * length_s) ** 2 / 12
        short_s = end_s - begin_s - felt_s
        return (felt_j * (1 + short_s / felt_s), variance_j2) if felt_s and short_s <= self.period_s / 10 else None

    def _settled(self, mark: _Mark) -> Settled:
        gained_j = mark.gained_j
        late = max(1.0 - mark.ahead_s / self.period_s, 0.0)
        late_j = late * gained_j
        if mark.felt is not None:
            felt_j, variance_j2 = mark.felt
            uneven_j2 = self._uneven_j2 * (4 * late * (1 - late)) ** 2
            unexplained_j2 = self._unexplained_j2 * (1 - late) + variance_j2
            belief = max(0.0, 1 - SCEPTIC * unexplained_j2 / uneven_j2) if uneven_j2 else 0.0
            late_j += belief * (max(gained_j - felt_j, 0.0) - late_j)
        return Settled(mark.mark_s, mark.shown_j + late_j, max(late_j, gained_j - late_j))
