"""Epilogue: the last reading of a session is settled when its counters next move; nobody waits for it."""

from __future__ import annotations

import atexit
import os
import threading

from wattloop.footprint import Footprint
from wattloop.ledger import Ledger
from wattloop.recorder import Recorder
from wattloop.sampler import FOLLOW_S, Sampler, Settlement

_open: set[Epilogue] = set()


class Epilogue:
    """Takes in what is learnt after the end of a session, then completes its record.

    Args:
        ledger: The run's.
        session: What the session has spent, up to its last snapshot.
        recorder: Its record; None for none.
        step: Steps done.
        status: Word for the record.
    """

    def __init__(self, ledger: Ledger, session: Footprint, recorder: Recorder | None, step: int, status: str) -> None:
        self._ledger, self._session, self._recorder = ledger, session, recorder
        self.run_id = ledger.run_id
        self._step, self._status = step, status
        self._pid = os.getpid()
        self._awaited = {reading.channel for reading in session.channels if reading.method == "counter"}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def follow(self, sampler: Sampler) -> None:
        """Go on until what the sampler can still learn of the last snapshot is learnt."""
        if not self._awaited:
            self.conclude()
            return
        _open.add(self)
        sampler.follow(self._learn)

    def _learn(self, settlement: Settlement | None) -> bool:
        """Take in what was learnt; in the sampler's thread."""
        if settlement is None:
            self.conclude()
            return True
        with self._lock:
            if not self._over.is_set():
                self._ledger.settle(settlement)
                if settlement.time_s == self._session.time_s:
                    self._session.settle_end(settlement)
                    self._awaited -= {one.channel for one in settlement.corrections}
        return not self._awaited

    def wait(self, timeout_s: float = FOLLOW_S) -> bool:
        """Wait until all is known and recorded, for `timeout_s` seconds at most; return whether it is."""
        return self._over.wait(timeout_s)

    def conclude(self) -> None:
        """Complete the record with what is known by now; a second call does nothing."""
        with self._lock:
            if self._over.is_set() or self._pid != os.getpid():
                return
            self._session.close()
            if self._recorder is not None:
                self._recorder.end(self._step, self._status)
            self._over.set()
        _open.discard(self)


def conclude(run_id: str) -> None:
    """Complete the record of a run's last session at once, because a further one is to go on in it."""
    for epilogue in [*_open]:
        if epilogue.run_id == run_id:
            epilogue.conclude()


def _conclude_all() -> None:
    for epilogue in [*_open]:
        epilogue.wait()
        epilogue.conclude()


atexit.register(_conclude_all)
os.register_at_fork(after_in_child=_open.clear)
