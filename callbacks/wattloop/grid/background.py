"""The one thread in which sources of carbon intensity are asked: those on the network, and the user's own."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from collections.abc import Callable

NAME = "wattloop-grid"
HANG_S = 15.0
"""A job that takes longer, in seconds, keeps its thread; the others get a new one."""

Job = Callable[[], None]


class Background:
    """Does jobs one after another, in a daemon thread that lives as long as there are any.

    Whoever wants something done again asks again. So a thread is there only while somebody is interested: none before
    the first job, none soon after a run, and none that holds on to what a dropped source held.

    Args:
        hang_s: How long a job may keep the others waiting, in seconds.
    """

    def __init__(self, hang_s: float = HANG_S) -> None:
        self._hang_s = hang_s
        self._wake = threading.Condition()
        self._jobs: collections.deque[tuple[Job, float]] = collections.deque()
        self._thread: threading.Thread | None = None
        self._busy_since_s: float | None = None

    def submit(self, job: Job, linger_s: float = 0.0) -> None:
        """Have a job done; it must handle its own errors, and nobody waits for it.

        Args:
            job: Held until it is done.
            linger_s: How long the thread waits for the next one before it ends, in seconds.
        """
        with self._wake:
            self._jobs.append((job, linger_s))
            self._wake.notify_all()
            self._staff()

    def tend(self) -> None:
        """Let those who still wait have a new thread, if the job before them hangs. Costs next to nothing."""
        if self._jobs and (self._thread is None or self._hangs):
            with self._wake:
                self._staff()

    @property
    def _hangs(self) -> bool:
        since_s = self._busy_since_s
        return since_s is not None and time.monotonic() - since_s > self._hang_s

    def _staff(self) -> None:
        if self._jobs and (self._thread is None or self._hangs or not self._thread.is_alive()):
            self._busy_since_s = None
            self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter is ending: `tend` tries again
                self._thread = None

    def _run(self) -> None:
        me, linger_s = threading.current_thread(), 0.0
        while True:
            with self._wake:
                if self._thread is not me:
                    return
                self._busy_since_s = None
                self._wake.wait_for(lambda: self._jobs or self._thread is not me, linger_s)
                if self._thread is not me:
                    return
                if not self._jobs:
                    self._thread = None
                    return
                job, linger_s = self._jobs.popleft()
                self._busy_since_s = time.monotonic()
            with contextlib.suppress(BaseException):  # there is nobody here to tell, not even of an exit
                job()
            del job


_shared = Background()


def submit(job: Job, linger_s: float = 0.0) -> None:
    """Have a job done in the process's one thread; see `Background.submit`."""
    _shared.submit(job, linger_s)


def tend() -> None:
    """Let those who still wait have a new thread, if need be; see `Background.tend`."""
    _shared.tend()


def _forget() -> None:
    """Start afresh in a forked child, where the thread is not."""
    global _shared
    _shared = Background()


os.register_at_fork(after_in_child=_forget)
