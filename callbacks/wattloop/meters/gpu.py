"""One NVIDIA board: cumulative joules from whatever it offers, across resets, garbage and losses.

The accuracy of power readings is from Yang et al., "Part-time Power Measurements" (SC'24, arXiv:2312.02741).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from wattloop.meters.base import Correction, Method, Reading
from wattloop.meters.checks import CHECKS, CrossCheck, strangers
from wattloop.meters.edges import EdgeWatch, Settled
from wattloop.meters.gate import COUNTERS, POWER_LIMIT, POWERS, Failed, Gate, Handle, Source, first

log = logging.getLogger("wattloop")

COUNTER_INTERVAL_S = 1.0
POWER_INTERVAL_S = 0.1
RESOLUTION_J = 1e-3
"""Smallest step of an energy counter, in joules."""
POWER_ERROR = 0.05
"""Relative error of a board's power reading (Yang et al., SC'24)."""
IMPLAUSIBLE = 1.5
"""A counter that rises faster than this multiple of the power limit is lying."""
FALLBACK_LIMIT_W = 2000.0
BACK_OFF_S = (1.0, 60.0)
JUST_NOW_S = 0.01
"""Time for which the power now is taken to have been that before, in seconds; further back, the mean is."""


class Gpu:
    """One board: cumulative joules from whatever it offers, across resets, garbage and losses.

    ``_value`` and ``_time_s`` are the last good reading; ``_settled_j`` is the energy up to it. While the board is
    lost, its last mean power stands in; when it comes back, its counter tells what the gap really held. ``_anchor`` is
    the reading that mean power is taken from: a counter that is read sooner than it refreshes says nothing of it.
    """

    def __init__(self, gate: Gate, uuid: str, shared: bool, clock: Callable[[], float], model: str = "") -> None:
        self.uuid = uuid
        self._model = model
        self._shared = shared
        self._gate = gate
        self._clock = clock
        self._handle: Handle = gate("nvmlDeviceGetHandleByUUID", uuid)
        self.method: Method = "counter"
        self.interval_s = COUNTER_INTERVAL_S
        self._limit_w = self._quietly(FALLBACK_LIMIT_W, (POWER_LIMIT,))
        powers = tuple(self._believed(power) for power in POWERS)
        # An average over a second, on most boards: a wave in step with our readings does not fool it.
        self._averaged = powers[1:]
        try:
            self._instant, self._power_w = first(gate, self._handle, powers)
        except Failed:
            self._instant, self._power_w = powers[0], 0.0
        try:
            self._source, self._value = first(gate, self._handle, COUNTERS)
        except Failed:
            self.method = "integrated"
            self.interval_s = POWER_INTERVAL_S
            self._source, self._value = first(gate, self._handle, powers)
            self._power_w = self._value
        self._time_s = clock()
        self._anchor = (self._time_s, self._value)
        self._asked_s, self._took_s, self._now_w = self._time_s, 0.0, 0.0
        self._waited_s = 0.0  # from the time of a mark until it was read
        # Settled by the counter; with gaps filled in; and as shown, with what the counter is known to owe.
        self._settled_j = self._filled_j = self._shown_j = 0.0
        self._peak_w = 0.0
        self._modelled_j = self._uncertainty_j = 0.0
        self._watch = EdgeWatch()
        self.look_s = math.inf
        self._marks: dict[float, tuple[float, float, float]] = {}
        self._corrections: list[Correction] = []
        self._retry_s = self._back_off_s = 0.0
        self._check, self._to_check = CrossCheck(), CHECKS
        self._warned = False

    @property
    def instrument(self) -> str:
        """What it is measured by, in NVML's words."""
        return self._source.name

    @property
    def refresh_s(self) -> float | None:
        """How often its counter is refreshed, in seconds; None as long as that was not seen."""
        rhythm = self._watch.rhythm
        return rhythm.period_s if rhythm.learnt and rhythm.regular else None

    def _quietly(self, default: float, sources: tuple[Source, ...]) -> float:
        try:
            return first(self._gate, self._handle, sources)[1]
        except Failed:
            return default

    def _believed(self, power: Source) -> Source:
        def ask(gate: Gate, handle: Handle) -> float:
            watts = power(gate, handle)
            if not self._can_draw(watts):
                raise Failed(f"it reports {watts:.0f} W")
            return watts

        return Source(power.name, ask)

    def _can_draw(self, watts: float) -> bool:
        if watts > IMPLAUSIBLE * self._limit_w:
            # Limits can be raised at any time.
            self._limit_w = self._quietly(self._limit_w, (POWER_LIMIT,))
        return 0.0 <= watts <= IMPLAUSIBLE * self._limit_w

    def read(self, mark_s: float | None = None) -> Reading:
        """Return the board's cumulative energy; a board that does not answer is filled in, never dropped.

        Args:
            mark_s: Time under which a correction of this reading is wanted; None for none.
        """
        gap_j = gap_doubt_j = 0.0
        now_s = self._clock()
        try:
            value = self._ask(now_s)
        except Failed as error:
            self._lose(error, now_s)
            shown_s = self._clock()
            gap_s = shown_s - self._time_s
            gap_j, gap_doubt_j = self._power_w * gap_s, self._doubt_w * gap_s
        else:
            self._take(value)
            shown_s = self._time_s
            if self._to_check and mark_s is None:
                self._look_over()
        self._filled_j = max(self._filled_j, self._settled_j + gap_j)
        unsettled_j = self._filled_j - self._settled_j
        self._shown_j = max(self._shown_j, self._filled_j)
        self._waited_s = 0.0
        if mark_s is not None and not self._back_off_s and self.method == "counter":
            self._marked(mark_s)
        return Reading(
            channel=self.uuid,
            kind="gpu",
            energy_j=self._shown_j,
            method=self.method,
            uncertainty_j=self._uncertainty_j + max(unsettled_j, gap_doubt_j),
            modelled_j=self._modelled_j + unsettled_j,
            edge_j=self._edge_j(),
            shared=self._shared,
            power_w=self._power_w,
            most_w=self._limit_w,
            time_s=shown_s,
            model=self._model,
        )

    def _look_over(self) -> None:
        """Read the power beside the first readings of a counter, and check the board once."""
        self._to_check -= 1
        if self.method == "counter":
            power_w = self._quietly(math.nan, self._averaged)
            fault = self._check.add(self._time_s, self._settled_j, power_w, last=not self._to_check)
            if fault:
                log.warning("GPU %s: %s; the counter is used", self.uuid, fault)
        others = strangers(self._users()) if not self._to_check else []
        if others:
            self._shared = True
            log.warning("GPU %s is also used by process %d: its energy is the whole board's", self.uuid, others[0])

    def _users(self) -> list[int]:
        try:
            return [process.pid for process in self._gate("nvmlDeviceGetComputeRunningProcesses", self._handle)]
        except Failed:
            return []

    @property
    def _doubt_w(self) -> float:
        """How far the power of a time that was not measured may be from the last mean, in watts."""
        highest_w = max(self._peak_w or self._limit_w, self._watch.peak_w)
        return max(self._power_w, highest_w - self._power_w)

    def _edge_j(self) -> float:
        if self.method != "counter":
            return 0.0
        return (self._watch.rhythm.longest_s + self._took_s + self._waited_s) * self._highest_w + RESOLUTION_J

    @property
    def _highest_w(self) -> float:
        """The most that it draws, as far as it was seen, in watts."""
        return max(self._power_w, self._now_w, self._watch.peak_w)

    def _marked(self, mark_s: float) -> None:
        """Show what the counter has not shown yet, as far as its rhythm is known, and watch for its next edge."""
        late_s = self._watch.late_s(self._time_s)
        just_s = min(late_s, JUST_NOW_S)
        settled = self._watch.look(self._before_s, self._before_s + self._took_s, self._value, mark_s)
        self._feel()
        late_j = just_s * self._now_w + (late_s - just_s) * self._power_w
        self._shown_j = max(self._shown_j, self._settled_j + late_j)
        self._waited_s = max(self._time_s - mark_s, 0.0)
        self._settle(settled)
        if self._watch.wants_look(self._time_s):
            self._marks[mark_s] = (self._value, self._shown_j - self._settled_j, self._waited_s)
        else:
            self._marks.clear()
        self.look_s = self._watch.next_look_s(self._clock())

    def _feel(self) -> None:
        """Ask for the power now, where that is quick."""
        self._now_w = self._power_w
        if self._watch.feels:
            before_s = self._clock()
            power_w = self._quietly(math.nan, (self._instant,))
            if power_w >= 0:
                self._now_w = power_w
                self._watch.feel((before_s + self._clock()) / 2, power_w)

    def look(self) -> list[Correction]:
        """Look for the counter's next edge, and return what that tells of marked readings."""
        now_s = self._clock()
        if self._watch.wants_look(now_s):
            if self._watch.near(now_s):
                self._look()
            self._feel()
        else:
            self._marks.clear()
        self.look_s = self._watch.next_look_s(self._clock())
        corrections, self._corrections = self._corrections, []
        return corrections

    def _look(self) -> None:
        before_s = self._clock()
        try:
            value = self._source(self._gate, self._handle)
        except Failed:
            self._marks.clear()
            return
        after_s = self._clock()
        if self._can_gain(value - self._value, after_s - self._time_s):
            self._settle(self._watch.look(before_s, after_s, value))
        else:
            # The next reading says so.
            self._forget_marks()

    def _settle(self, settled: list[Settled]) -> None:
        for one in settled:
            value, ahead_j, waited_s = self._marks.pop(one.mark_s, (math.nan, 0.0, 0.0))
            if value == value:
                energy_j = one.energy_j - value - ahead_j
                edge_j = one.error_j + (self._took_s + waited_s) * self._highest_w + RESOLUTION_J
                self._corrections.append(Correction(self.uuid, one.mark_s, energy_j, edge_j))

    def _forget_marks(self) -> None:
        self._marks.clear()
        self._watch.forget()

    def _can_gain(self, gained_j: float, dt_s: float) -> bool:
        return self._can_draw(gained_j / (dt_s + self._watch.period_s))

    def _ask(self, now_s: float) -> float:
        if self._back_off_s:
            if now_s < self._retry_s:
                raise Failed("it is lost")
            # A handle does not survive a reset of its GPU.
            self._handle = self._gate("nvmlDeviceGetHandleByUUID", self.uuid)
        before_s = self._clock()
        value = self._source(self._gate, self._handle)
        after_s = self._clock()
        self._before_s, self._took_s = before_s, after_s - before_s
        self._asked_s = (before_s + after_s) / 2
        return value

    def _lose(self, error: Failed, now_s: float) -> None:
        if now_s >= self._retry_s:
            self._back_off_s = min(max(BACK_OFF_S[0], 2 * self._back_off_s), BACK_OFF_S[1])
            self._retry_s = now_s + self._back_off_s
        self._warn(str(error))

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("GPU %s: %s; its last mean power, %.0f W, fills the gap", self.uuid, why, self._power_w)

    def _take(self, value: float) -> None:
        now_s = self._asked_s
        dt_s = now_s - self._time_s
        was_lost = self._back_off_s > 0.0
        measured = True
        if self.method == "counter":
            gained_j = value - self._value
            since_s, since = self._anchor
            if not self._can_gain(gained_j, now_s - since_s):
                self._warn(f"its energy counter moved by {gained_j:.0f} J in {dt_s:.2f} s")
                gained_j, measured = self._power_w * dt_s, False
                self._anchor = (now_s, value)
                self._forget_marks()
            elif now_s - since_s >= (self._watch.period_s if value != since else COUNTER_INTERVAL_S):
                self._power_w = (value - since) / (now_s - since_s)
                self._peak_w = max(self._peak_w, self._power_w)
                self._anchor = (now_s, value)
        else:
            gained_j, measured = (self._value + value) / 2 * dt_s, not was_lost
            self._power_w = value
            self._peak_w = max(self._peak_w, value)
            self._uncertainty_j += POWER_ERROR * gained_j if measured else 0.0
        if not measured:
            self._modelled_j += gained_j
            self._uncertainty_j += self._doubt_w * dt_s
        self._settled_j += gained_j
        self._value, self._time_s = value, now_s
        self._back_off_s = self._retry_s = 0.0
