"""The one background thread of the process: it alone reads the meters, and hands out what they say."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from wattloop.meters import MeterOptions, open_meters
from wattloop.meters.base import Correction, Meter, Reading, SettlingMeter

log = logging.getLogger("wattloop")

READ_TIMEOUT_S = 0.05
"""Longest that a caller waits for a fresh reading, in seconds."""
IDLE_INTERVAL_S = 60.0
FOLLOW_S = 0.3
"""Longest time in which something is still learnt of a snapshot, in seconds."""


T = TypeVar("T")


class Snapshot(msgspec.Struct, frozen=True):
    """All channels at one moment.

    Attributes:
        time_s: Monotonic time at which the read began, in seconds.
        readings: One reading per channel.
        took_s: How long the read took, in seconds.
    """

    time_s: float
    readings: tuple[Reading, ...]
    took_s: float = 0.0


class Settlement(msgspec.Struct, frozen=True):
    """What is learnt later of a snapshot that was asked for.

    Attributes:
        time_s: That of the snapshot.
        corrections: One for each channel that is settled.
    """

    time_s: float
    corrections: tuple[Correction, ...]


Listener = Callable[[Snapshot | Settlement], None]
Follower = Callable[[Settlement | None], bool]


class _Instrument:
    """A meter, its place in the schedule, and what it said last."""

    def __init__(self, meter: Meter, start_s: float) -> None:
        self.meter = meter
        self.settling = meter if isinstance(meter, SettlingMeter) else None
        self.readings: tuple[Reading, ...] = ()
        self._start_s = self._read_s = start_s
        self._warned = False

    def due_s(self, interval_s: float) -> float:
        """Return when to read it next: the first beat after the last read, on a grid that does not drift."""
        interval_s = min(interval_s, self.meter.interval_s)
        beats = math.floor((self._read_s - self._start_s) / interval_s + 1e-6) + 1
        return self._start_s + beats * interval_s

    def read(self, now_s: float, mark: bool) -> None:
        self._read_s = now_s
        settling = self.settling if mark else None
        readings = self._tried(self.meter.read if settling is None else lambda: settling.mark(now_s))
        self.readings = self.readings if readings is None else readings

    def next_look_s(self, now_s: float) -> float:
        settling = self.settling
        at_s = self._tried(lambda: settling.next_look_s(now_s)) if settling is not None else None
        return math.inf if at_s is None else at_s

    def look(self) -> tuple[Correction, ...]:
        return (self._tried(self.settling.look) if self.settling else None) or ()

    def _tried(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as error:
            if not self._warned:
                self._warned = True
                log.warning("%s cannot be read: %r", type(self.meter).__name__, error)
            return None


class Sampler:
    """Reads the meters on an absolute schedule and on request, in a daemon thread of its own.

    Every snapshot goes to every listener, in the sampler's thread, so that a listener needs no lock of its own.
    A driver call that hangs holds this thread and nobody else: `read` gives up after its timeout.

    Args:
        open_meters: Called once, in the thread; returns the meters to read.
        clock: Monotonic time in seconds.
    """

    def __init__(self, open_meters: Callable[[], Sequence[Meter]], clock: Callable[[], float] = time.monotonic) -> None:
        self._open_meters = open_meters
        self._clock = clock
        self._wake = threading.Condition()
        self._listeners: dict[weakref.WeakMethod[Listener], float] = {}
        self._followers: dict[Follower, float] = {}  # and until when
        self._asked = self._served = 0
        self._missed = 0  # the last request that was given up
        self._busy_since_s: float | None = clock()  # when the thread last turned to the meters; None while it rests
        self._closing = self._changed = self._warned = False
        self._thread = threading.Thread(target=self._run, name="wattloop-sampler", daemon=True)
        self._thread.start()

    def subscribe(self, listener: Listener, interval_s: float) -> None:
        """Send every snapshot to a bound method, held weakly, at least every `interval_s` seconds."""
        with self._wake:
            self._listeners[weakref.WeakMethod(listener)] = interval_s
            self._changed = True
            self._wake.notify_all()

    def unsubscribe(self, listener: Listener) -> None:
        """Stop sending snapshots to `listener`; one that is not subscribed is ignored."""
        with self._wake:
            self._listeners.pop(weakref.WeakMethod(listener), None)

    def follow(self, follower: Follower) -> None:
        """Send what is learnt of the last snapshots to `follower`, and go on that long, closed or not.

        Args:
            follower: Called in the thread with each `Settlement`, until it returns True or `FOLLOW_S` seconds are over;
                then for a last time with None. It is held until that.
        """
        with self._wake:
            self._followers[follower] = self._clock() + FOLLOW_S
            self._changed = True
            self._wake.notify_all()

    def read(self, timeout_s: float = READ_TIMEOUT_S) -> bool:
        """Have the thread read all meters now and tell its listeners.

        Args:
            timeout_s: Longest wait in seconds.

        Returns:
            False when the meters did not answer in time, so that the last snapshot has to do. As long as they hang,
            nobody waits for them again.
        """
        with self._wake:
            if self._served < self._missed:
                return False
            self._asked += 1
            ticket = self._asked
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._served >= ticket or self._closing, timeout_s)
            if self._served < ticket:
                self._missed = ticket
            return self._served >= ticket

    @property
    def silent_s(self) -> float:
        """For how long the meters have been asked by now without an answer, in seconds."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else max(0.0, self._clock() - since_s)

    def close(self, timeout_s: float = READ_TIMEOUT_S) -> None:
        """End the thread, after its followers; one that hangs in a driver call is left to die with the process."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            hangs = self._served < self._missed
            own = self._thread is threading.current_thread()
        if not (hangs or own or self._followers):
            self._thread.join(timeout_s)

    def _run(self) -> None:
        instruments = [_Instrument(meter, self._clock()) for meter in self._open_meters()]
        with self._wake:
            asked = self._asked
        requested, due = True, instruments
        try:
            while not self._closing or self._followers:
                self._busy_since_s = now_s = self._clock()
                for instrument in instruments if requested else due:
                    instrument.read(now_s, requested)
                if requested or due:
                    readings = tuple(reading for instrument in instruments for reading in instrument.readings)
                    self._publish(Snapshot(now_s, readings, self._clock() - now_s))
                with self._wake:
                    self._served = asked
                    self._changed = False
                    self._wake.notify_all()
                    interval_s = min(self._listeners.values(), default=IDLE_INTERVAL_S)
                    now_s = self._clock()
                    look_s = min((i.next_look_s(now_s) for i in instruments), default=math.inf)
                    next_s = min((i.due_s(interval_s) for i in instruments), default=math.inf)
                    leave_s = min(self._followers.values(), default=math.inf)
                    self._busy_since_s = None
                    self._wake.wait_for(
                        lambda: self._ending or self._changed or self._asked > self._served,
                        min(next_s - now_s, look_s - now_s, leave_s - now_s, IDLE_INTERVAL_S),
                    )
                    # A request that comes after this is for a later reading, even if one is due now.
                    asked = self._asked
                    requested = asked > self._served
                self._busy_since_s = now_s = self._clock()
                if look_s <= now_s and not self._ending:
                    self._settle([correction for i in instruments for correction in i.look()])
                self._leave_followers(now_s)
                due = [i for i in instruments if i.due_s(interval_s) <= now_s]
        finally:
            for instrument in instruments:
                with contextlib.suppress(Exception):
                    instrument.meter.close()

    @property
    def _ending(self) -> bool:
        return self._closing and not self._followers

    def _leave_followers(self, now_s: float) -> None:
        for follower in [follower for follower, until_s in [*self._followers.items()] if until_s <= now_s]:
            self._tell(follower, None)
            del self._followers[follower]

    def _settle(self, corrections: list[Correction]) -> None:
        for time_s in dict.fromkeys(correction.mark_s for correction in corrections):
            self._publish(Settlement(time_s, tuple(one for one in corrections if one.mark_s == time_s)))

    def _publish(self, snapshot: Snapshot | Settlement) -> None:
        with self._wake:
            listeners = {reference: reference() for reference in self._listeners}
            for reference in [reference for reference, listener in listeners.items() if listener is None]:
                del self._listeners[reference]
        for listener in listeners.values():
            if listener is not None:
                self._tell(listener, snapshot)
        if isinstance(snapshot, Settlement):
            for follower in [*self._followers]:
                if self._tell(follower, snapshot):
                    self._tell(follower, None)
                    del self._followers[follower]

    def _tell(self, listener: Callable[[Any], T], what: Any) -> T | None:
        try:
            return listener(what)
        except Exception as error:
            if not self._warned:
                self._warned = True
                log.warning("a measurement could not be used: %r", error)
            return None


_lock = threading.RLock()
_shared: dict[MeterOptions, tuple[Sampler, int]] = {}


def acquire(options: MeterOptions) -> Sampler:
    """Return the process's sampler for these meters, started if need be; give it back with `release`."""
    with _lock:
        sampler, users = _shared.get(options, (None, 0))
        if sampler is None:
            sampler = Sampler(lambda: open_meters(options))
        _shared[options] = (sampler, users + 1)
        return sampler


def release(options: MeterOptions, sampler: Sampler) -> None:
    """Give a sampler back; the last one to do so closes it."""
    with _lock:
        current, users = _shared.get(options, (None, 0))
        if current is not sampler:
            return
        if users > 1:
            _shared[options] = (sampler, users - 1)
            return
        del _shared[options]
    sampler.close()


def _close_all() -> None:
    for sampler, _ in [*_shared.values()]:
        sampler.close()


def _forget() -> None:
    """Start afresh in a forked child: threads do not survive a fork, and what the parent measures is the parent's."""
    global _lock
    _lock = threading.RLock()
    _shared.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget)
