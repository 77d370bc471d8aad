"""Opening: a driver may take its time to wake, or for ever; nothing else waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from wattloop.meters.base import Correction, Meter, MeterUnavailable, Reading, SettlingMeter

log = logging.getLogger("wattloop")

ASK_INTERVAL_S = 0.5


class Opening:
    """A meter that is opened in a thread of its own, which ends with that; until then it has no channels.

    Args:
        open_meter: Opens the meter; may raise, and may take any time.
        stand_ins: Meters to close when it turns out to be open: those it takes the place of.

    Attributes:
        meter: The meter, once it is open.
        reason: Why it could not be opened, once that is known.
        error: The same, as it was raised.
    """

    def __init__(
        self, open_meter: Callable[[], Meter], stand_ins: Callable[[Meter], Sequence[Meter]] = lambda meter: ()
    ) -> None:
        self._open_meter = open_meter
        self._stand_ins = stand_ins
        self.meter: Meter | None = None
        self.reason = ""
        self.error: Exception | None = None
        self._arrived = self._waited_in_vain = self._closed = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._run, name="wattloop-opening", daemon=True).start()

    def _run(self) -> None:
        meter, reason = None, ""
        raised: Exception | None = None
        try:
            meter = self._open_meter()
        except MeterUnavailable as error:
            reason, raised = str(error), error
        except Exception as error:
            reason, raised = repr(error), error
        with self._lock:
            self.meter, self.reason, self.error = meter, reason, raised
            self._done.set()
            unwanted = meter if self._closed else None
            if reason and self._waited_in_vain and not self._closed:
                log.warning(reason)
        if unwanted is not None:
            unwanted.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is known whether the meter opens, for `timeout_s` seconds at most; return whether it is."""
        self._done.wait(timeout_s)
        with self._lock:
            self._waited_in_vain = not self._done.is_set()
        return not self._waited_in_vain

    @property
    def interval_s(self) -> float:
        """That of the meter; until it is open, the time between two looks whether it is."""
        return ASK_INTERVAL_S if self.meter is None else self.meter.interval_s

    def _there(self) -> Meter | None:
        meter = self.meter
        if meter is not None and not self._arrived:
            self._arrived = True
            for stand_in in self._stand_ins(meter):
                stand_in.close()
        return meter

    def read(self) -> tuple[Reading, ...]:
        """Return the meter's readings; none until it is open."""
        meter = self._there()
        return () if meter is None else meter.read()

    def mark(self, mark_s: float) -> tuple[Reading, ...]:
        """Return the meter's readings, to be corrected where it can."""
        meter = self._there()
        return meter.mark(mark_s) if isinstance(meter, SettlingMeter) else self.read()

    def next_look_s(self, now_s: float) -> float | None:
        """Return when the meter wants to look; never until it is open."""
        meter = self.meter
        return meter.next_look_s(now_s) if isinstance(meter, SettlingMeter) else None

    def look(self) -> tuple[Correction, ...]:
        """Return what the meter learnt of marked readings."""
        meter = self.meter
        return meter.look() if isinstance(meter, SettlingMeter) else ()

    def close(self) -> None:
        """Close the meter, now or as soon as it turns out to be open."""
        with self._lock:
            self._closed, meter = True, self.meter
        if meter is not None:
            meter.close()
