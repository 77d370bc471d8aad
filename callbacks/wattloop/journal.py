"""Journal: the append-only record of a run, one JSON object a line, readable whatever ended the run.

A run has one file, over all its sessions. See `wattloop.reading` for reading files of which nothing is known.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import logging
import os
import stat
import threading
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from wattloop.budget import Budget
from wattloop.embodied import Embodied
from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity

log = logging.getLogger("wattloop")

FORMAT = 1
LONGEST_LINE = 1 << 20


def _now() -> datetime:
    return datetime.now(UTC)


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="record"):
    """A run, or a further session of it, begins: all that the later lines rest on.

    Totals are those of all ranks: of rank 0, which writes them, up to the moment, of the others as last heard of.

    Attributes:
        spent_before: What earlier sessions spent, known to `uncertainty_kwh`; `lost` is the part of it whose work was
            lost, because it was done after the checkpoint from which the run went on.
        session: Number of the session in its run, from 1.
        parent: Name of the run that this one branched off; empty for none.
        interval_s: Longest time between two lines, in seconds, as long as the instruments answer; 0 if not known.
        world_size: Ranks that measure together.
        hosts: Names of the hosts they are on.
        net_share: Share of the energy matched by clean energy; all emissions of the record are gross, but `End`'s net.
        embodied: By what the devices' embodied emissions are shared out; None where they are not told.
    """

    format: int = FORMAT
    time: datetime = msgspec.field(default_factory=_now)
    run_id: str
    version: str
    framework: str
    host: str
    region: str
    g_co2e_per_kwh: float
    intensity_source: str
    pue: float
    budget: Budget | None
    spent_before: Totals
    uncertainty_kwh: float = 0.0
    lost: Totals = Totals()
    session: int = 1
    parent: str = ""
    interval_s: float = 0.0
    world_size: int = 1
    hosts: tuple[str, ...] = ()
    net_share: float = 0.0
    embodied: Embodied | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tick", tag_field="record"):
    """Cumulative totals at a moment, every few seconds.

    Attributes:
        lost_kwh: The part of the totals whose work was lost.
        channels: How each was measured, by its name; None: as in the line before.
        intensity: On whose word, and average or marginal, electricity is priced; None: as in the line before.
        models: Product name of each GPU, other ranks' too, by its channel; None: as in the line before.
    """

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    phase: str
    totals: Totals
    g_co2e_per_kwh: float
    uncertainty_kwh: float = 0.0
    lost_kwh: float = 0.0
    session: int = 1
    channels: dict[str, str] | None = None
    intensity: Intensity | None = None
    models: dict[str, str] | None = None


class Epoch(msgspec.Struct, frozen=True, kw_only=True, tag="epoch", tag_field="record"):
    """An epoch ended: `spent` is its own, `totals` the run's till then, both settled soon after.

    `metrics` is the row that was logged at the time (null: unknown).
    """

    time: datetime = msgspec.field(default_factory=_now)
    epoch: int
    step: int
    spent: Totals
    totals: Totals
    uncertainty_kwh: float
    metrics: dict[str, float | None]


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop", tag_field="record"):
    """The budget ended the run."""

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    reason: str


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag="pause", tag_field="record"):
    """The run begins to wait for cleaner electricity; `until` is when it is expected to go on, None if not known."""

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    reason: str
    until: datetime | None = None


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag="resume", tag_field="record"):
    """The run goes on; `spent` is what the pause took, the time in it included."""

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    reason: str
    spent: Totals


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="record"):
    """The run, or this session of it, ended; all of its energy, by phase and by channel (GPU, CPU package, memory).

    Attributes:
        kg_co2e_net: The whole run's emissions in kg CO2e, less what was matched by clean energy; None: no share given.
        kg_co2e_embodied: The run's part of what making its devices emitted, in kg CO2e, in no other figure; None: not
            given, or no device to share it out by.
    """

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    status: str
    totals: Totals
    uncertainty_kwh: float
    phases_j: dict[str, float]
    channels_j: dict[str, float] = {}
    lost: Totals = Totals()
    session: int = 1
    kg_co2e_net: float | None = None
    kg_co2e_embodied: float | None = None


Record = Start | Tick | Epoch | Stop | Pause | Resume | End


class Journal:
    """Appends records to a file, each written through to the system in one piece.

    Writing may block on a slow disk, so `put` only queues; the sampler's thread calls `flush`. A folder that cannot
    be written costs one warning, never an exception; what a full disk does not take waits for room.

    The file is locked as long as it is open, so that a second process that goes on from the same checkpoint does not
    take it for the record of a run that has ended. The lock ends with the process, however that ends.

    Args:
        folder: Where the file goes; made if need be.
        run_id: Names the file, ``wattloop-<run_id>.jsonl``.

    Attributes:
        path: The file.
        kept: The file is open: what is put here is written there.
    """

    def __init__(self, folder: str | os.PathLike[str], run_id: str) -> None:
        self._prepare(Path(folder) / file_name(run_id))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open(os.O_CREAT)
        except OSError as error:
            log.warning("no record of this run is kept: %s", error)

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> Journal:
        """Open a file that is there already.

        Raises:
            BlockingIOError: Another process, or another run of this one, is writing it.
            OSError: It cannot be opened for writing, or is not there.
        """
        journal = cls.__new__(cls)
        journal._prepare(Path(path))
        journal._open(0)
        return journal

    def _prepare(self, path: Path) -> None:
        self.path = path
        self._queue: collections.deque[Record] = collections.deque(maxlen=10_000)
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()
        self._file: int | None = None
        self._warned = False

    def _open(self, create: int) -> None:
        file = open_file(self.path, os.O_RDWR | os.O_APPEND | create)
        try:
            _lock(file, self.path)
            _mend(self.path)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        _open_journals.add(self)

    @property
    def kept(self) -> bool:
        """True as long as the file is open."""
        return self._file is not None

    def put(self, record: Record) -> None:
        """Queue one record."""
        self._queue.append(record)

    def flush(self) -> None:
        """Write what is queued; a record that cannot be encoded is left out."""
        with self._lock:
            while self._queue:
                if self._file is None:
                    self._queue.clear()
                    return
                try:
                    line = self._encoder.encode(self._queue[0]) + b"\n"
                except (ValueError, TypeError) as error:
                    log.warning("a line is missing from the record of this run: %s", error)
                    self._queue.popleft()
                    continue
                if not self._written(self._file, line):
                    return
                self._queue.popleft()

    def _written(self, file: int, line: bytes) -> bool:
        try:
            written = os.write(file, line)
            if written == len(line):
                return True
            os.ftruncate(file, os.fstat(file).st_size - written)
            raise OSError(errno.ENOSPC, "a line was cut short")
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("the record of this run waits until it can be written again: %s", error)
            return False

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._close()

    def discard(self) -> None:
        """Close the file and delete it."""
        with self._lock:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            _open_journals.discard(self)
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _close_in_child() -> None:
    """Let go of the parent's files in a forked child, which would hold their locks for longer than the parent lives."""
    for journal in [*_open_journals]:
        file, journal._file = journal._file, None
        if file is not None:
            os.close(file)
    _open_journals.clear()


os.register_at_fork(after_in_child=_close_in_child)


def file_name(run_id: str) -> str:
    """Return the name of a run's file."""
    return f"wattloop-{run_id}.jsonl"


def open_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, and nothing that would hold us up, as a pipe would; a checkpoint may name anything.

    Raises:
        OSError: It is none, or cannot be opened.
    """
    file = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a file", os.fspath(path))
    return file


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", os.fspath(path)) from None
    except OSError:
        # Some network file systems have no locks.
        pass


def _mend(path: Path) -> None:
    """Cut off a last line that a crash cut short, so that the next record begins a line of its own."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        begin = max(0, end - LONGEST_LINE)
        file.seek(begin)
        whole = begin + file.read().rfind(b"\n") + 1
        if whole < end:
            file.truncate(whole)


def read(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the records of a journal, leaving out a last line that was cut short.

    Raises:
        OSError: The file cannot be read.
        msgspec.DecodeError: A line is not a record.
    """
    decoder = msgspec.json.Decoder(Record)
    with open(path, "rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield decoder.decode(line)
