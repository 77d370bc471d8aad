"""Rhythm: when an energy counter moves, learnt from the times between which it was seen to."""

from __future__ import annotations

import math
from collections import deque

LEARNT = 3
"""Periods that must have been seen."""
IRREGULAR = 0.25
"""A counter whose periods differ by more than this share is not interpolated."""
APART = 1.25
"""Looks per period that it takes to see the counter stand, and so to miss none of its moves."""
BLUNT = 2.0
"""A move that was not seen to a multiple of the usual time between two looks teaches nothing."""
ASSUMED_S = 0.1
"""Period assumed of a counter of which nothing is known, in seconds; NVIDIA documents none, 10-100 ms are reported."""
RESYNC_S, RHYTHM_S = 60.0, 65.0
"""Longest time until a rhythm is looked at again, and for which it is trusted without, in seconds."""
RESYNC = 1.0
"""A rhythm followed over some time is good for that multiple of it at most, before another look is due."""
UNREST_S = 0.001
"""By so much a move is taken to come early or late, until it is seen not to, in seconds."""
CALM = 0.9
"""Share of the largest surprise of late that is still reckoned with after the next move."""


class Rhythm:
    """A counter's period and phase.

    Attributes:
        period_s: The period, in seconds; `ASSUMED_S` as long as it is not known, the longest seen where it varies, and
            two looks' time where it is shorter than what can be seen.
        regular: The period is known, long enough to see two moves apart, and keeps within `IRREGULAR`.
        resync_s: When the rhythm is to be looked at again, monotonic, in seconds; infinite where there is none.
        lost: The counter did not move when it should have, or at another time.
        vague: When it moved last is not known to a look.
    """

    def __init__(self) -> None:
        self.period_s = ASSUMED_S
        self.regular = self.lost = self.vague = False
        self.resync_s = math.inf
        self._periods: deque[tuple[float, float]] = deque(maxlen=9)
        self._first_s: float | None = None
        self._edge_s = 0.0
        self._near_s: float | None = None  # the last move, if the counter has been watched ever since
        self._grain_s = self._first_doubt_s = self._off_s = 0.0

    @property
    def learnt(self) -> bool:
        """Whether enough periods were seen."""
        return len(self._periods) >= LEARNT

    @property
    def quick(self) -> bool:
        """Whether the counter moves whenever it is looked at."""
        return self.learnt and not self._apart

    @property
    def _apart(self) -> bool:
        return self._mean_s > APART * sum(grain_s for _, grain_s in self._periods) / len(self._periods)

    @property
    def _mean_s(self) -> float:
        # One look after the other, none missing: however coarse they are, the mean is that of the periods.
        return sum(period_s for period_s, _ in self._periods) / len(self._periods)

    def interrupt(self) -> None:
        """Note that the counter may have moved unseen."""
        self._near_s = None

    def moved(self, after_s: float, until_s: float, grain_s: float) -> float:
        """Take in that the counter moved once between two times.

        Args:
            after_s: Time of the last look before.
            until_s: Time of the first look after.
            grain_s: Time from one look to the next where one follows the other, in seconds.

        Returns:
            When it moved: where the rhythm says, as far as the looks allow.
        """
        seen_s = edge_s = (after_s + until_s) / 2
        if self._tells(seen_s):
            beats = math.floor((until_s - self._edge_s) / self.period_s)
            dues_s = [self._edge_s + beat * self.period_s for beat in (beats, beats + 1)]
            off_s, edge_s = min((abs(min(max(due_s, after_s), until_s) - due_s), due_s) for due_s in dues_s)
            edge_s = min(max(edge_s, after_s), until_s)
            self._off_s = max(CALM * self._off_s, off_s)
        self.vague = until_s - after_s > BLUNT * grain_s
        if self.vague:
            # It moved before anybody looked: look sooner, and again.
            self._off_s += grain_s
        else:
            self._grain_s = grain_s
            if self._near_s is not None:
                self._learn(seen_s - self._near_s, max(grain_s, until_s - after_s))
            self._follow(edge_s)
        self._near_s = None if self.vague else seen_s
        return edge_s

    def _learn(self, period_s: float, grain_s: float) -> None:
        self._periods.append((period_s, grain_s))
        if not self.learnt:
            return
        mean_s, grain_s = self._mean_s, max(grain_s for _, grain_s in self._periods)
        tolerance_s = IRREGULAR * mean_s + grain_s
        was_regular = self.regular
        self.regular = self._apart and all(abs(seen_s - mean_s) <= tolerance_s for seen_s, _ in self._periods)
        if not self._apart:
            self.period_s = min(2 * mean_s, max(mean_s, ASSUMED_S))
        elif not self.regular:
            self.period_s = max(period_s for period_s, _ in self._periods)
        elif not was_regular or self.lost or abs(self.period_s - mean_s) > tolerance_s:
            self.period_s, self.lost = mean_s, False
            self._anchor((self._near_s or 0.0) + period_s)

    def _follow(self, edge_s: float) -> None:
        """Keep the rhythm: the further apart two moves are, the better they tell the period between them."""
        followed = self._tells(edge_s)
        if followed and self._first_s is not None:
            beats = max(round((edge_s - self._first_s) / self.period_s), 1)
            period_s = (edge_s - self._first_s) / beats
            if abs(period_s - self.period_s) * beats > max(self.period_s / 4, self._grain_s):
                self.lost = True  # until the next move, which tells the period anew
            elif beats > len(self._periods):
                self.period_s = period_s
        elif not self.lost:
            self._anchor(edge_s)
        self._edge_s = edge_s
        # As long as it takes until a quarter of a period is in doubt.
        good_s = (self.period_s / 4 - self.doubt_s(edge_s)) / self._drift
        good_s = min(good_s, RESYNC * self._followed_s) if followed and good_s > self._followed_s / 4 else math.inf
        self.resync_s = edge_s + min(good_s, RESYNC_S)

    def _anchor(self, edge_s: float) -> None:
        """Begin anew: what is known of the period are those that were seen one after the other."""
        seen_s = self.period_s * len(self._periods) if self.regular else 0.0
        self._first_s = edge_s - seen_s
        unrest_s = max((abs(period_s - self._mean_s) - grain_s for period_s, grain_s in self._periods), default=0.0)
        self._off_s = max(unrest_s, UNREST_S)
        self._first_doubt_s = max((grain_s for _, grain_s in self._periods), default=0.0) + self._off_s

    @property
    def _followed_s(self) -> float:
        return max(self._edge_s - (self._first_s or 0.0), self.period_s)

    @property
    def _drift(self) -> float:
        """How far the period may be off, in seconds per second."""
        return (self._grain_s + self._first_doubt_s) / 2 / self._followed_s

    @property
    def longest_s(self) -> float:
        """The period, and what it may be longer by, in seconds."""
        return self.period_s * (1 + self._drift) if self.regular else self.period_s

    def doubt_s(self, now_s: float) -> float:
        """Return how far off the next move may be, in seconds."""
        return 0.75 * self._grain_s + self._off_s + self._drift * (now_s - self._edge_s)

    def _tells(self, now_s: float) -> bool:
        """Tell whether the next move is known to a quarter of a period."""
        trusted = self.regular and not self.lost and now_s - self._edge_s <= RHYTHM_S
        return trusted and self.doubt_s(now_s) <= self.period_s / 4

    def late_s(self, now_s: float) -> float:
        """Return for how long the counter has not moved, as far as its rhythm tells; 0.0 where it is not known."""
        if not self._tells(now_s):
            return self.period_s / 2 if self.regular else 0.0
        late_s, doubt_s = (now_s - self._edge_s) % self.period_s, self.doubt_s(now_s)
        # So near a move there is no telling on which side of it.
        return late_s if doubt_s < late_s < self.period_s - doubt_s else self.period_s / 2

    def next_s(self, now_s: float, still_s: float) -> float:
        """Return from when on the counter may move next; `now_s` where it may do so any time.

        Args:
            now_s: The time.
            still_s: Since when it has been seen not to move.
        """
        if not self._tells(now_s):
            return now_s
        doubt_s, late_s = self.doubt_s(now_s), (now_s - self._edge_s) % self.period_s
        wait_s = min(self.period_s - late_s, self.period_s - (now_s - still_s)) - doubt_s
        return now_s if late_s <= doubt_s else now_s + max(wait_s, 0.0)
