"""Waiting: decides when a run waits for cleaner electricity, and when it goes on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from wattloop.clean_hours import CleanHours
from wattloop.footprint import WAIT, Footprint, Totals
from wattloop.forecaster import Forecaster, Length
from wattloop.grid.intensity import Intensity, is_possible
from wattloop.grid.nowait import NoWait
from wattloop.grid.standby import stand_by
from wattloop.grid.window import BEYOND, Window, quantile

log = logging.getLogger("wattloop")

DAY_S = 86400.0
YEAR_S = 366.0 * DAY_S
IDLE = 0.2
"""Power of a run that waits, as a share of its power in training, as long as none of the two has been seen."""
LOOK_S = 30.0
"""Longest time between two looks at the grid, in seconds."""
LOOK_HELD_S = 5.0
"""The same while the run waits, where that costs no more than a hundredth of the time."""
SOON_S = 1.0
"""The same where it is not the grid that decides, in seconds."""
COSTLY = 1000.0
"""A look that takes long is taken the more seldom: no more than a thousandth of the time goes by in looking."""


class Needs(msgspec.Struct, frozen=True):
    """What a run still needs.

    Attributes:
        trained_s: How long it has been doing anything but wait, lost work apart, in seconds.
        waited_s: How long it has waited, in seconds.
        lost_s: How long it has done what is to be done again, after a crash, in seconds.
        job_s: How long it will still train, at most, in seconds; None as long as nobody knows.
        left_s: How long it may still take, waits included, by a limit of its framework or of the user, in seconds.
        idle: Power while it waits as a share of its power in training (0-1); None as long as that is not known.
    """

    trained_s: float = 0.0
    waited_s: float = 0.0
    lost_s: float = 0.0
    job_s: float | None = None
    left_s: float = math.inf
    idle: float | None = None


def needs(length: Length, forecaster: Forecaster, totals: Totals, lost: Totals, footprint: Footprint | None) -> Needs:
    """Return what a run still needs, by its own forecast; its high end, as nobody wants to miss a deadline.

    Args:
        length: How long the run is.
        forecaster: What its steps have cost so far.
        totals: What it has spent.
        lost: What of that was spent on work that was lost.
        footprint: The session's; None for none.
    """
    by_steps = forecaster.remaining(msgspec.structs.replace(length, time_left_s=None))
    idle_w, train_w = (0.0 if footprint is None else footprint.power_in(phase) for phase in (WAIT, "train"))
    return Needs(
        trained_s=max(0.0, totals.duration_s - totals.waited_s - lost.duration_s),
        waited_s=totals.waited_s,
        lost_s=lost.duration_s,
        job_s=by_steps.duration_s.high if by_steps is not None else None,
        left_s=length.time_left_s if length.time_left_s is not None else math.inf,
        idle=min(idle_w / train_w, 1.0) if idle_w and train_w else None,
    )


class Verdict(msgspec.Struct, frozen=True):
    """Whether to wait, and why (or why not), in words; `until` is when that is expected to end, None if not known."""

    wait: bool
    why: str = ""
    until: datetime | None = None


class Waiting:
    """Looks at the grid for a run, from the sampler's thread while it trains, and from training's while it waits.

    Args:
        policy: What the user calls clean, and how long to wait for it.
        grid: Where the carbon intensity comes from.
        now: Wall-clock time, aware.
        clock: Monotonic time, in seconds.
        ends_s: When the machine is taken away, in seconds since 1970.

    Attributes:
        verdict: The last one.
        held: The run waits, or has not begun.
    """

    def __init__(
        self,
        policy: CleanHours,
        grid: NoWait,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        ends_s: float = math.inf,
    ) -> None:
        self.policy = policy
        self.verdict = Verdict(False)
        self.held = False
        self._grid, self._now, self._clock, self._ends_s = grid, now, clock, ends_s
        self._began_s = clock()
        self._known_s = self._resumed_s = self._due_s = -math.inf
        self._held_s = self._waited_s = 0.0
        self._lock = threading.Lock()
        self._said: set[str] = set()

    @property
    def due(self) -> bool:
        """It is time to look again."""
        return self._clock() >= self._due_s

    def hold(self, held: bool) -> None:
        """Hear that the run waits from now on, or goes on."""
        with self._lock:
            self._due_s, now_s = -math.inf, self._clock()
            if held:
                self._known_s = now_s
                self._held_s = self._held_s if self.held else now_s
            elif self.held:
                self._resumed_s = now_s
                self._waited_s += now_s - self._held_s
                self.verdict = Verdict(False)
            self.held = held

    @property
    def knows(self) -> bool:
        """The carbon intensity is known now; what is expected, too, if it is to be at all."""
        now = self._now()
        self._window(now, DAY_S)
        return self._grid.known(now) is not None and self._grid.has_looked_ahead

    @property
    def is_outstanding(self) -> bool:
        """What is not known may be in a moment: the source has not answered for the first time."""
        return self._grid.is_outstanding

    def is_long(self, verdict: Verdict) -> bool:
        """Tell whether a wait may take so long that a checkpoint is worth it."""
        limit = timedelta(minutes=min(self.policy.checkpoint_minutes, 1e9))
        return verdict.until is None or verdict.until - self._now() > limit

    def look(self, needs: Needs) -> Verdict:
        """Decide, unless the last verdict still holds.

        Args:
            needs: The run's.
        """
        with self._lock:
            if self.due:
                began_s, now = self._clock(), self._now()
                intensity = self._grid.known(now)
                self._due_s = began_s + SOON_S
                if intensity is not None:
                    self._known_s = began_s
                    self.verdict = self._judge(now, intensity, needs)
                else:
                    self.verdict = self._blind(began_s)
                took_s = self._clock() - began_s
                if self.held:
                    self._due_s = min(self._due_s, began_s + max(LOOK_HELD_S, 100.0 * took_s))
                else:
                    self._due_s = max(self._due_s, began_s + COSTLY * took_s)
            return self.verdict

    def _blind(self, now_s: float) -> Verdict:
        """Judge where the carbon intensity is not known."""
        lost_minutes = self.policy.lost_minutes
        if not self.held or now_s - self._known_s >= 60.0 * lost_minutes:
            return Verdict(False, f"carbon intensity has not been known for {lost_minutes:g} min")
        return self.verdict if self.verdict.wait else Verdict(True, "carbon intensity is not known")

    def _judge(self, now: datetime, intensity: Intensity, needs: Needs) -> Verdict:
        policy = self.policy
        job_s = needs.job_s
        if job_s is None and policy.job_hours is not None:
            job_s = max(0.0, 3600.0 * policy.job_hours - needs.trained_s)
        now_s = self._clock()
        left_s, limit = min(needs.left_s, self._ends_s - now.timestamp()), "the time limit leaves none to wait"
        if policy.deadline_hours is not None:
            gone_s = max(now_s - self._began_s, needs.trained_s + needs.lost_s + needs.waited_s)
            if (deadline_s := 3600.0 * policy.deadline_hours - gone_s) <= left_s:
                left_s, limit = deadline_s, "the time left to the deadline is needed"
        if left_s < math.inf and job_s is None:
            self._say("how long the run takes is not known yet, so it does not wait; give CleanHours(job_hours=...)")
            return Verdict(False, "how long the run takes is not known")
        spare_s = left_s - (job_s or 0.0)
        # The instruments may be silent, and what they know of the time with them.
        waited_s = max(needs.waited_s, self._waited_s + (now_s - self._held_s if self.held else 0.0))
        if (left_s := 3600.0 * policy.max_wait_hours - waited_s) < spare_s:
            spare_s, limit = left_s, f"the longest wait, {policy.max_wait_hours:g} h, is over"
        if spare_s <= 0.0:
            return Verdict(False, limit)
        self._due_s = now_s + min(LOOK_S, spare_s)
        shortest_s = 0.0 if self.held else 60.0 * policy.shortest_minutes
        if not self.held:
            if now_s - self._resumed_s < shortest_s:
                return Verdict(False, "it went on a moment ago")
            if job_s is not None and job_s <= shortest_s:
                return Verdict(False, "it is nearly done")
        by_plan = policy.below is None and policy.percentile is None
        ahead_s = DAY_S
        if by_plan and job_s is not None:
            ahead_s = job_s + spare_s
        elif policy.below is not None:
            ahead_s = max(DAY_S, spare_s)
        window = self._window(now, ahead_s)
        if window is not None:
            self._due_s = min(self._due_s, now_s + window.edges[1])
        if by_plan:
            return self._by_plan(now, intensity, window, job_s or 0.0, needs.idle, shortest_s)
        return self._by_limit(now, intensity, window, spare_s, shortest_s)

    def _by_limit(
        self, now: datetime, intensity: Intensity, window: Window | None, spare_s: float, shortest_s: float
    ) -> Verdict:
        """Wait above a limit: resume at or below it, pause well above it."""
        policy, value = self.policy, intensity.g_co2e_per_kwh
        if policy.below is not None:
            limit = policy.below
        elif policy.percentile is not None and window is not None:
            limit = quantile(window, policy.percentile / 100.0)
        else:
            return self._no_forecast("percentile")
        if value <= (limit if self.held else limit * (1.0 + policy.hysteresis)):
            return Verdict(False, f"{value:.0f} gCO2e/kWh")
        until_s = math.inf
        if window is not None:
            until_s = next((t for t, v in zip(window.edges, window.values, strict=False) if v <= limit), math.inf)
        until = now + timedelta(seconds=until_s) if until_s < math.inf else None
        seen_s = window.edges[-1] if window is not None else 0.0
        if spare_s < until_s and spare_s <= seen_s:
            return Verdict(False, f"no {limit:.0f} gCO2e/kWh are forecast in the time it may wait")
        if until_s < shortest_s:
            return Verdict(False, "cleaner electricity is near")
        return Verdict(True, f"{value:.0f} gCO2e/kWh is above {limit:.0f}", until)

    def _by_plan(
        self,
        now: datetime,
        intensity: Intensity,
        window: Window | None,
        job_s: float,
        idle: float | None,
        shortest_s: float,
    ) -> Verdict:
        """Wait where the plan with the least emissions for what is left of the run does not run now."""
        if window is None:
            return self._no_forecast("deadline_hours")
        value = f"{intensity.g_co2e_per_kwh:.0f} gCO2e/kWh"
        if job_s <= 0.0 or job_s >= window.edges[-1]:
            return Verdict(False, f"{value}, and the forecast does not reach farther than the run")
        begin_s = stand_by(window, job_s, IDLE if idle is None else idle)[0][0]
        if begin_s <= shortest_s:
            return Verdict(False, value)
        until = now + timedelta(seconds=begin_s)
        self._due_s = min(self._due_s, self._clock() + begin_s)
        return Verdict(True, f"{value}, and cleaner hours are forecast before the deadline", until)

    def _no_forecast(self, option: str) -> Verdict:
        self._say(f"there is no forecast of carbon intensity, by which {option}= goes: the run does not wait")
        return Verdict(False, "there is no forecast")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            log.warning(line)

    def _window(self, now: datetime, length_s: float) -> Window | None:
        """Return what the source expects, None where it does not say, or says what no grid has."""
        try:
            length_s = min(length_s, YEAR_S)
            points = self._grid.forecast(now, now + timedelta(seconds=length_s) + BEYOND) or ()
            window = Window.ahead(points, now, length_s)
        except Exception as error:
            log.debug("no carbon intensity of the time to come: %r", error)
            return None
        return window if window is not None and all(map(is_possible, window.values)) else None
