"""A grid whose carbon intensity a test sets while something runs on it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from wattloop.grid.intensity import Intensity

DIRTY, CLEAN = 500.0, 100.0


class Grid:
    """Answers at once with the value that was set last, and may change five times a second.

    Args:
        value: In g CO2e/kWh.
        looks_ahead: It has a forecast, of the next moment.
    """

    instant = True

    def __init__(self, value: float, looks_ahead: bool = True) -> None:
        self.value, self.looks_ahead = value, looks_ahead

    def at(self, time: datetime) -> Intensity:
        return Intensity(self.value, "a test")

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]]:
        ahead = 2 if self.looks_ahead else 0
        return [(start + timedelta(seconds=0.2 * k), Intensity(self.value, "a test")) for k in range(ahead)]

    def dirty_for(self, seconds: float) -> None:
        """Be dirty for a time, then clean."""
        self.value = DIRTY
        threading.Timer(seconds, lambda: setattr(self, "value", CLEAN)).start()
