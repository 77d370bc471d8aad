"""A grid whose carbon intensity a test sets while something runs on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from wattloop.grid.intensity import Intensity
from wattloop.run import Run

DIRTY, CLEAN = 500.0, 100.0
DIRTY_STEP_S = 0.1
"""How long a step takes on a dirty grid, in seconds: on a slow machine a run looks at the grid the more seldom."""
PATIENCE_S = 60.0


class Grid:
    """Answers at once with the value that was set last, and may change five times a second.

    Args:
        value: In g CO2e/kWh.
        looks_ahead: It has a forecast, of the next moment.

    Attributes:
        run: The run that is to wait for it; when that waits, the time begins for which `dirty_for` is dirty.
        clean_s: When it last became clean, monotonic.
    """

    instant = True

    def __init__(self, value: float, looks_ahead: bool = True) -> None:
        self.value, self.looks_ahead = value, looks_ahead
        self.run: Run | None = None
        self.clean_s = 0.0

    def at(self, time: datetime) -> Intensity:
        return Intensity(self.value, "a test")

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]]:
        ahead = 2 if self.looks_ahead else 0
        return [(start + timedelta(seconds=0.2 * k), Intensity(self.value, "a test")) for k in range(ahead)]

    def dirty_for(self, seconds: float) -> None:
        """Be dirty until the run has waited for a time, then clean."""
        self.value = DIRTY
        threading.Thread(target=self._become_clean, args=(seconds,), daemon=True).start()

    def _become_clean(self, seconds: float) -> None:
        waited_s, end_s = self._waited_s, time.monotonic() + PATIENCE_S
        while not self._waited_s > waited_s and time.monotonic() < end_s:
            time.sleep(0.01)  # asks again whether it waits
        time.sleep(seconds)  # is dirty, as it was told to be
        self.clean_s = time.monotonic()
        self.value = CLEAN

    @property
    def _waited_s(self) -> float:
        return self.run.totals.waited_s if self.run is not None else 0.0

    def step(self, seconds: float) -> None:
        """Take the time of a training step; a longer one as long as it is dirty."""
        time.sleep(seconds if self.value == CLEAN else max(seconds, DIRTY_STEP_S))
