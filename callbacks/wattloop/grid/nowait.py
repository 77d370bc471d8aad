"""A source of carbon intensity that keeps nobody waiting, whatever it asks does."""

from __future__ import annotations

import threading
from datetime import datetime
from time import monotonic

from wattloop.grid.intensity import CarbonIntensity, ConstantIntensity, Intensity

PATIENCE_S = 0.02
"""Longest wait for an answer, in seconds; a source that let us wait once is not waited for until it is quick again."""


class NoWait:
    """Asks a source in a thread of its own, one question at a time, and hands out the last answer meanwhile.

    Args:
        source: What is asked.
    """

    def __init__(self, source: CarbonIntensity) -> None:
        self._source = source
        self._thread: threading.Thread | None = None
        self._answer: Intensity | Exception | None = None
        self._slow = False

    def at(self, time: datetime) -> Intensity | None:
        """Return the intensity at a moment, or the last one known; None where none was ever given.

        Raises:
            Exception: The source's own, if that was its last answer.
        """
        if isinstance(self._source, ConstantIntensity):
            return self._source.at(time)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._ask, args=(time,), name="wattloop-grid", daemon=True)
            self._thread.start()
            if not self._slow:
                self._thread.join(PATIENCE_S)
                self._slow = self._thread.is_alive()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _ask(self, time: datetime) -> None:
        asked_s = monotonic()
        try:
            self._answer = self._source.at(time)
        except Exception as error:
            self._answer = error
        self._slow = monotonic() - asked_s > PATIENCE_S
