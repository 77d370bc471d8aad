"""Measuring beside a command that runs already: nothing here keeps it, or its end, waiting."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from wattloop.run import Run
    from wattloop.watching.arguments import Arguments

LAST_READING_S, SETTLE_S = 0.04, 0.02
"""How long the end of the command is kept waiting for the last reading, in seconds, and for how much of that for the
counters' next refresh: that of quick ones."""
STARTING_S = 0.1
"""How long it is kept waiting for a start that has just begun, in seconds."""
INTERRUPTIONS = (1, 2, 3, 15)
"""Signals that ask a command to end: SIGHUP, SIGINT, SIGQUIT and SIGTERM."""


class Measuring:
    """Measures from the moment that it is ready; what it needs is imported in a thread of its own.

    Args:
        asked: What `wattloop watch` was asked.
        began_s: When the command was started, monotonic, in seconds.
    """

    def __init__(self, asked: Arguments, began_s: float) -> None:
        self._asked, self._began_s = asked, began_s
        self._run: Run | None = None
        self._ready = False
        self._lock = threading.Lock()
        self._over = False
        self._warnings: list[str] = []
        self._thread = threading.Thread(target=self._start, name="wattloop-start", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        try:
            import importlib
            import logging

            from wattloop.run import Run

            self._listen(logging.getLogger("wattloop"))
            run = Run(**self._asked.options)
            with self._lock:
                if self._over:
                    return
                self._run = run
            # A job of many ranks that is started here is the command's, not ours.
            run.start(framework="watch", engine=None, began_s=self._began_s)
            self._ready = True
            # For the end, which is not to wait for it.
            importlib.import_module("wattloop.watching.account")
        except Exception as error:
            self._warnings.append(f"nothing is measured: {error!r}")

    def _listen(self, logger: logging.Logger) -> None:
        """Keep warnings until the end: till then, stderr is the command's."""
        import logging

        warnings = self._warnings

        class Keeper(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                warnings.append(record.getMessage())

        logger.addHandler(Keeper(logging.WARNING))
        logger.propagate = False

    def line(self) -> str:
        """Return what is known so far, in a short line."""
        from wattloop.watching.account import duration, live

        passed_s = time.monotonic() - self._began_s
        return live(self._run, passed_s) if self._ready and self._run else f"wattloop {duration(passed_s)}"

    def end(self, code: int, by_signal: int, ended_s: float) -> str:
        """Take the last reading, complete the record, and return what was used, in words or as JSON.

        Args:
            code: The command's exit code.
            by_signal: The signal that ended it; 0 for none.
            ended_s: When it ended, monotonic, in seconds.
        """
        with self._lock:
            self._over, run = True, self._run
        duration_s = ended_s - self._began_s
        if run is not None:
            self._thread.join(STARTING_S)
            if self._ready:
                run.finish(_status(code, by_signal), LAST_READING_S)
                left_s = ended_s + LAST_READING_S - time.monotonic()
                run.settle(min(max(0.0, left_s), SETTLE_S), conclude=True)
        elif not self._asked.json:
            # Without what the rest would have to be imported for.
            return f"wattloop: over after {duration_s:.2g} s, before anything was measured\n"
        from wattloop.watching import account as telling

        told = telling.account(run if self._ready else None, self._asked.command, code, duration_s, self._warnings)
        if self._asked.json:
            import msgspec

            return msgspec.json.encode(told).decode() + "\n"
        return "\n".join([*telling.lines(told), ""])


def _status(code: int, by_signal: int) -> str:
    if by_signal in INTERRUPTIONS:
        return "interrupted"
    return "failed" if code else "finished"
