"""Recovery: what a run spent after its last checkpoint, from its journal, so that a crash loses nothing.

A run keeps its name over all its sessions, and its journal holds what it has spent in all. A session that goes on from
a checkpoint takes that from the journal; what lies between the checkpoint and it was spent on work that is done again.
Three journals are left alone, and the session, whose account begins with the checkpoint's, gets a name of its own:

* that of a run that had finished, from an older checkpoint of which something new begins;
* one that somebody else is writing: two sessions go on from one checkpoint at the same time, each an account of its own
  (where a file system has no locks, both write to one file, and a third session takes the figures of the last line);
* one of a newer version.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from wattloop.footprint import Totals
from wattloop.journal import End, Epoch, Journal, Record, Start, Tick, file_name, open_file
from wattloop.ledger import Ledger, new_run_id
from wattloop.reading import newer
from wattloop.units import J_PER_KWH, format_energy

log = logging.getLogger("wattloop")

TAIL_BYTES = 1 << 16
ROUNDING_J = 1e-3
"""Lines are rounded so, in joules."""
INTERVAL_S = 6.0
"""Time between two lines where the journal does not say, in seconds."""


class Reached(msgspec.Struct, kw_only=True):
    """How far a run had come by its journal.

    Attributes:
        totals: What it had spent by the last line.
        uncertainty_j: Half-width of the interval that holds the true energy, in joules, that of the time between the
            last line and a kill included.
        session: Number of its last session.
        ended: How that ended; empty where nobody came to say so.
        step: The step at which it ended.
        newer: What to do about a newer version's journal; None for one of ours.
        damaged: Lines that cannot be read.
    """

    totals: Totals = Totals()
    uncertainty_j: float = 0.0
    session: int = 0
    ended: str = ""
    step: int = -1
    newer: str | None = None
    damaged: int = 0
    _interval_s: float = INTERVAL_S
    _tick: Totals | None = None
    _peak_w: float = 0.0

    def take(self, record: Record) -> None:
        """Take in the next line."""
        if isinstance(record, Start):
            self.totals, self.uncertainty_j = record.spent_before, record.uncertainty_kwh * J_PER_KWH
            self.session, self._interval_s = record.session, record.interval_s or INTERVAL_S
            self.ended, self._tick, self._peak_w = "", None, _mean_w(record.spent_before)
        elif isinstance(record, End):
            # May be less than what was ticked: what a failed run left idling was not training's.
            self.totals, self.uncertainty_j = record.totals, record.uncertainty_kwh * J_PER_KWH
            self.ended, self.step, self.session = record.status, record.step, record.session
        elif isinstance(record, Tick):
            if self._tick is not None:
                self._peak_w = max(self._peak_w, _mean_w(record.totals - self._tick))
            self._tick = self.totals = record.totals
            self.session, self.ended = record.session, ""
            self.uncertainty_j = record.uncertainty_kwh * J_PER_KWH
        elif isinstance(record, Epoch) and record.totals.energy_j > self.totals.energy_j:
            self.totals = record.totals

    def end(self) -> None:
        """Widen by what may have been drawn after the last line, if the run was killed."""
        if self.session and not self.ended:
            self.uncertainty_j += max(self._peak_w, _mean_w(self.totals)) * self._interval_s


def _mean_w(spent: Totals) -> float:
    return max(0.0, spent.energy_j / spent.duration_s) if spent.duration_s > 0 else 0.0


def reached(path: str | os.PathLike[str]) -> Reached:
    """Return how far a run had come, from the first and the last lines of its journal, however long that is.

    Raises:
        OSError: The file cannot be read.
    """
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        first = file.readline(TAIL_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(first), size - TAIL_BYTES))
        tail = file.read().split(b"\n")
    # The first piece may begin, and the last does end, in the middle of a line.
    cut = size - TAIL_BYTES > len(first)
    lines = filter(None, [first, *tail[1 if cut else 0 : -1]])
    decoder = msgspec.json.Decoder(Record)
    found = Reached()
    for line in lines:
        found.newer = found.newer or newer(line)
        try:
            found.take(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            found.damaged += 1
    found.end()
    return found


def open_journal(ledger: Ledger, folder: str | os.PathLike[str] | None) -> Journal | None:
    """Open the journal of a session that begins, and count what the run has spent beyond its checkpoint.

    A run has one file, wherever its sessions would put theirs; another in `folder` is begun where it cannot be found
    or written.

    Args:
        ledger: The run's, with this session open.
        folder: Where a new file goes; None for no record.
    """
    if ledger.checkpoint is None and ledger.sessions == 1:
        return _new(ledger, folder)
    for path in dict.fromkeys(_places(ledger, folder)):
        journal: Journal | None = None
        try:
            journal = Journal.existing(path)
        except FileNotFoundError:
            continue
        except BlockingIOError:
            return _branch(ledger, folder, "is being written by another run")
        except OSError as error:
            log.debug("%s cannot be gone on with: %s", path, error)
        try:
            found = reached(path)
        except OSError as error:
            log.warning("the record of this run cannot be read, so its checkpoint alone says what was spent: %s", error)
            found = Reached()
        why = _settle(ledger, found, path)
        if why is None and journal is not None and folder is not None:
            ledger.journal = os.path.abspath(path)
            return journal
        if journal is not None:
            journal.close()
        return _new(ledger, folder) if why is None else _branch(ledger, folder, why)
    if ledger.checkpoint is not None and ledger.journal is not None:
        log.info("no record of run %s is found; it goes on from what its checkpoint says was spent", ledger.run_id)
    ledger.checkpoint = None
    return _new(ledger, folder)


def _places(ledger: Ledger, folder: str | os.PathLike[str] | None) -> list[Path]:
    name = file_name(ledger.run_id)
    places = [Path(ledger.journal)] if ledger.journal and os.path.basename(ledger.journal) == name else []
    return [*places, Path(folder).absolute() / name] if folder is not None else places


def _settle(ledger: Ledger, found: Reached, path: Path) -> str | None:
    """Count what was found; return why not, where this session is no part of that run."""
    checkpoint, ledger.checkpoint = ledger.checkpoint, None
    if found.newer is not None:
        return f"was {found.newer}"
    if found.damaged:
        log.warning("%d of the last lines in the record of this run cannot be read: %s", found.damaged, path)
    if checkpoint is None:
        return None if found.session < ledger.sessions else "was gone on with by another run"
    same = found.ended and (found.session, found.step) == (checkpoint.session, checkpoint.step)
    behind_j = found.totals.energy_j - checkpoint.totals.energy_j
    if found.ended == "finished" and behind_j > ROUNDING_J and not same:
        return "is that of a run that had finished"
    ledger.sessions = max(ledger.sessions, found.session + 1)
    if behind_j > ROUNDING_J:
        log.info(
            "run %s goes on: %s were spent, %s of them after its checkpoint",
            ledger.run_id,
            format_energy(found.totals.kwh),
            format_energy(behind_j / J_PER_KWH),
        )
    totals = found.totals if behind_j > ROUNDING_J else checkpoint.totals
    ledger.recover(totals, found.uncertainty_j, lost=not same)
    return None


def _branch(ledger: Ledger, folder: str | os.PathLike[str] | None, why: str) -> Journal | None:
    ledger.checkpoint = None
    parent = ledger.run_id
    ledger.branch(new_run_id())
    said = log.info if "finished" in why else log.warning
    said("the record of run %s %s; run %s goes on from its checkpoint alone", parent, why, ledger.run_id)
    return _new(ledger, folder)


def _new(ledger: Ledger, folder: str | os.PathLike[str] | None) -> Journal | None:
    journal = Journal(folder, ledger.run_id) if folder is not None else None
    ledger.journal = os.path.abspath(journal.path) if journal is not None and journal.kept else None
    return journal
