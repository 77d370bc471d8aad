"""A source of carbon intensity that keeps nobody waiting, whatever it asks does, and always has an answer."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf
from time import monotonic

from wattloop.grid import background
from wattloop.grid.intensity import CarbonIntensity, Intensity, NotKnown, plain

log = logging.getLogger("wattloop")

PATIENCE_S = 0.02
"""Longest wait for an answer, in seconds; a source that let us wait once is not waited for until it is quick again."""

FRESH_S = 60.0
"""How long an answer may be taken for what the source says now, in seconds: one that hangs says nothing."""

AHEAD = timedelta(days=7)
"""How far a source that may block is asked to look."""

LINGER_S = 2.0
"""How long the thread waits for the next question, in seconds: a sampler asks every second."""

Series = Sequence[tuple[datetime, Intensity]]


class NoWait:
    """Asks a source in the background, one question at a time, and hands out the last answer meanwhile.

    A source that is ``instant`` is asked in place. Where one has no value, the fallback stands in; that is said once.

    Args:
        source: What is asked.
        fallback: The yearly value that stands in; None for none.
    """

    def __init__(self, source: CarbonIntensity, fallback: Intensity | None = None) -> None:
        self._source = source
        self._fallback = fallback
        self._instant = getattr(source, "instant", False) is True
        self._answer: Intensity | BaseException | None = None
        self._answered_s = -inf
        self._ahead: Series | None = None
        self._looked_ahead = False
        self._asking: set[tuple[int, str]] = set()
        self._slow = False
        self._said = False
        self._pending: NotKnown | None = None
        self._outstanding = False

    def at(self, time: datetime) -> Intensity | None:
        """Return the intensity at a moment, or the last one known; None where none was ever given.

        Args:
            time: The moment, as an aware datetime.

        Raises:
            Exception: The source's own, if that was its last answer.
        """
        try:
            answer = self._source.at(time) if self._instant else self._asked(time)
        except NotKnown as why:
            self._pending = why if why.pending else None
            if not why.pending:
                self._say(why)
            return self._fallback
        self._pending = None
        return answer

    def known(self, time: datetime) -> Intensity | None:
        """Return what the source itself knows of a moment now; no fallback, and no value of an earlier time.

        Args:
            time: The moment, as an aware datetime.
        """
        try:
            answer = self._source.at(time) if self._instant else self._asked(time)
            self._outstanding = not self._instant and self._answer is None
            silent = not self._instant and monotonic() - self._answered_s > FRESH_S
            return None if silent or answer is None or answer.stale else plain(answer)
        except Exception as why:
            self._outstanding = isinstance(why, NotKnown) and why.pending
            return None

    def forecast(self, start: datetime, end: datetime) -> Series | None:
        """Return what the source expects of a period; of one that may block, what it said when last asked.

        Args:
            start: Begin of the period, as an aware datetime.
            end: End of the period.
        """
        if self._instant:
            return self._source.forecast(start, end)
        # Those who ask look differently far, and each of them is told what another's question brought.
        self._submit("forecast", lambda: self._look_ahead(start, max(end, start + AHEAD)))
        return None if self._ahead is None else [point for point in self._ahead if point[0] < end]

    @property
    def is_outstanding(self) -> bool:
        """When last asked what is known, the source had not answered for the first time, and may in a moment."""
        return self._outstanding or not self.has_looked_ahead

    @property
    def has_looked_ahead(self) -> bool:
        """A source that may block has answered what it expects, once at least, if only that it cannot say."""
        return self._instant or self._looked_ahead

    def close(self) -> None:
        """Say what was used, if the source never came to answer; nobody asks it any more."""
        if self._pending is not None:
            self._say(self._pending)
        rest = getattr(self._source, "rest", None)
        if self._instant and callable(rest):
            rest()

    def _say(self, why: NotKnown) -> None:
        if self._said:
            return
        self._said = True
        if self._fallback is None:
            log.warning("%s; the last carbon intensity known stays in use", why)
            return
        marginal = getattr(self._source, "kind", "average") == "marginal" and self._fallback.kind == "average"
        log.warning(
            "%s; meanwhile the yearly value%s is used, %.0f gCO2e/kWh (%s)",
            why,
            ", an average and not a marginal one," if marginal else "",
            self._fallback.g_co2e_per_kwh,
            self._fallback.source,
        )

    def _asked(self, time: datetime) -> Intensity | None:
        done = threading.Event()
        if self._submit("at", lambda: self._ask(time, done)) and not self._slow:
            self._slow = not done.wait(PATIENCE_S)
        answer = self._answer
        if isinstance(answer, BaseException):
            raise answer if isinstance(answer, Exception) else RuntimeError(repr(answer))
        return answer

    def _submit(self, what: str, job: background.Job) -> bool:
        """Ask, unless that question is still open; one that was open when this process was forked is not."""
        question = (os.getpid(), what)
        if question in self._asking:
            background.tend()
            return False
        self._asking.add(question)

        def work() -> None:
            try:
                job()
            finally:
                self._asking.discard(question)

        background.submit(work, LINGER_S)
        return True

    def _ask(self, time: datetime, done: threading.Event) -> None:
        asked_s = monotonic()
        try:
            self._answer = self._source.at(time)
            self._answered_s = monotonic()
        except BaseException as error:
            self._answer = error
        self._slow = monotonic() - asked_s > PATIENCE_S
        self._asking.discard((os.getpid(), "at"))
        done.set()

    def _look_ahead(self, start: datetime, end: datetime) -> None:
        try:
            self._ahead = self._source.forecast(start, end)
        except Exception:
            self._ahead = None
        self._looked_ahead = True
