"""Session: what measures a run from a start to its end, and how one session makes room for the next."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref

from wattloop.epilogue import Epilogue, conclude
from wattloop.footprint import Footprint
from wattloop.job import Job
from wattloop.ledger import Ledger
from wattloop.meters import MeterOptions
from wattloop.progress import Progress
from wattloop.recorder import Recorder
from wattloop.sampler import READ_TIMEOUT_S, Listener, Sampler, acquire, release

log = logging.getLogger("wattloop")

ABANDONED = "interrupted"
"""Status of a session that nobody said had ended: what was drawn since training was last seen alive is not its own."""
SILENCE_S = 5.0
"""Instruments that do not answer for longer are worth a warning; at the end of a run, a tenth of that is."""


class Session:
    """Measures in the process that makes it; in a forked child all of it is the parent's.

    Args:
        ledger: The run's, open for this session.
        footprint: What is spent.
        progress: How far the run is.
        job: The ranks that measure together.
        recorder: The record; None for none.

    Attributes:
        footprint: As given.
        recorder: As given.
        sampler: What reads the meters; None before `measure`, without a thread to be had, and after the end.
        epilogue: What is still learnt after the end; None before that.
    """

    def __init__(
        self, ledger: Ledger, footprint: Footprint, progress: Progress, job: Job, recorder: Recorder | None
    ) -> None:
        self._ledger, self._progress, self._job = ledger, progress, job
        self.footprint, self.recorder = footprint, recorder
        self.sampler: Sampler | None = None
        self.epilogue: Epilogue | None = None
        self._listener: weakref.WeakMethod[Listener] | None = None
        self._meters: MeterOptions | None = None
        self._closer: weakref.finalize[..., Session] | None = None
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._silence_warned = False

    @property
    def here(self) -> bool:
        """This process is the one that measures."""
        return self._pid == os.getpid()

    @property
    def open(self) -> bool:
        """True until the end, in the process that measures."""
        return self.epilogue is None and self.here

    @property
    def running(self) -> bool:
        """True where that process has instruments to read, too."""
        return self.sampler is not None and self.here

    def record(self) -> None:
        """Begin the record, or begin it again as that of the run which this has become.

        An earlier session that would go on in it ends: at once, if it is over and only its last reading is not settled,
        or if it trained in this thread, where a new object goes on now.
        """
        if self.recorder is None:
            return
        stale = _live.get(self._ledger.run_id)
        if stale is not None and stale is not self and stale._thread == threading.get_ident():
            stale.give_up()
        conclude(self._ledger.run_id)
        self.recorder.start()
        _live[self._ledger.run_id] = self

    def measure(
        self, meters: MeterOptions, listener: Listener, interval_s: float, began_s: float | None = None
    ) -> None:
        """Begin to read the meters.

        Args:
            meters: Which.
            listener: Bound method that takes what they say, in the sampler's thread; held weakly.
            interval_s: Time between two readings, in seconds.
            began_s: Since when what is drawn counts, monotonic, in seconds; None for when this returns.
        """
        if began_s is not None:
            self.footprint.began_s = began_s
        try:
            sampler = acquire(meters)
        except RuntimeError as error:
            log.warning("nothing is measured: %s", error)
            return
        self.sampler, self._meters, self._listener = sampler, meters, weakref.WeakMethod(listener)
        self._closer = weakref.finalize(self, _abandon, self._pid, meters, sampler, self.footprint, self.recorder)
        sampler.subscribe(listener, interval_s)
        sampler.read()
        if began_s is None:
            self.footprint.began_s = time.monotonic()

    def peek(self) -> None:
        """Read the meters for somebody who need not be training, so that it is no sign of life."""
        if self.sampler is not None and self.running and self.sampler.read():
            self.footprint.land()

    def refresh(self, patience_s: float = READ_TIMEOUT_S) -> bool:
        """Read the meters now; where they do not answer in time, what they said last stands, and False is returned."""
        sampler, footprint = self.sampler, self.footprint
        if sampler is None or not self.running:
            return False
        asked_s = time.monotonic()
        answered = sampler.read(patience_s)
        if answered:
            footprint.land()
        else:
            # Be it the driver that hangs or the machine that lets our thread starve: nothing is lost.
            footprint.bridge(asked_s)
        footprint.mark()
        return answered

    def mind_silence(self, patience_s: float = SILENCE_S, until_s: float | None = None) -> bool:
        """Let the mean power stand in for instruments that have been silent for longer than `patience_s` seconds.

        Args:
            patience_s: See above.
            until_s: Up to when, monotonic, in seconds; None for now.

        Returns:
            True where they have been.
        """
        sampler = self.sampler
        if sampler is None or (silent_s := sampler.silent_s) <= patience_s or not self.running:
            return False
        mean_w = self.footprint.bridge(time.monotonic() if until_s is None else until_s)
        if patience_s and not self._silence_warned:
            self._silence_warned = True
            instead = (
                "nothing is counted" if mean_w is None else f"their last mean power, {mean_w:.0f} W, fills the gap"
            )
            log.warning("the instruments have not answered for %.1f s; %s", silent_s, instead)
        return True

    def finish(self, status: str, patience_s: float = READ_TIMEOUT_S) -> None:
        """End in good order; what is still learnt of the last reading goes to the epilogue.

        Args:
            status: Word for the record.
            patience_s: Longest wait for the last reading, in seconds.
        """
        if self.open:
            answered = self.refresh(patience_s)
            never = not self.footprint.time_s
            self.mind_silence(0.001 if never else SILENCE_S / 10)
            self._leave(status, answered)

    def give_up(self) -> None:
        """End where nobody said so: training failed, and what was drawn since it was last seen alive is not its own."""
        if self.open:
            self._unsubscribe()
            self.footprint.rewind()
            self._job.fail(None)
            self._leave(ABANDONED, answered=False)

    def _leave(self, status: str, answered: bool) -> None:
        sampler, self.sampler = self.sampler, None
        self.epilogue = Epilogue(self._ledger, self.footprint, self.recorder, self._progress.steps_done, status)
        if sampler is None or self._meters is None:
            self.epilogue.conclude()
            return
        self._unsubscribe(sampler)
        if self._closer is not None:
            self._closer.detach()
        if answered:
            self.epilogue.follow(sampler)
        else:
            self.epilogue.conclude()
        release(self._meters, sampler)

    def _unsubscribe(self, sampler: Sampler | None = None) -> None:
        sampler = sampler or self.sampler
        listener = self._listener() if self._listener is not None else None
        if sampler is not None and listener is not None:
            sampler.unsubscribe(listener)


_live: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
"""The sessions of this process that began to record last, by their run's name."""


def _abandon(pid: int, meters: MeterOptions, sampler: Sampler, footprint: Footprint, recorder: Recorder | None) -> None:
    """Let go of what a session holds whose run was dropped without `finish`."""
    if pid != os.getpid():
        return
    release(meters, sampler)
    footprint.rewind()
    footprint.close()
    if recorder is not None:
        recorder.end(recorder.step, ABANDONED)
