"""Journal: the append-only record of a run, one JSON object a line, readable whatever ended the run."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from wattloop.budget import Budget
from wattloop.footprint import Totals

log = logging.getLogger("wattloop")

FORMAT = 1
LONGEST_LINE = 1 << 20


def _now() -> datetime:
    return datetime.now(UTC)


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="record"):
    """A run, or a further part of it, begins: all that the later lines rest on.

    Totals are those of all ranks: of rank 0, which writes them, up to the moment, of the others as last heard of.
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
    world_size: int = 1
    hosts: tuple[str, ...] = ()


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag="tick", tag_field="record"):
    """Cumulative totals at a moment, every few seconds; `channels` says how each was measured, by its name."""

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    phase: str
    totals: Totals
    g_co2e_per_kwh: float
    channels: dict[str, str]


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


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="record"):
    """The run, or this part of it, ended; all of its energy, by phase and by channel (GPU, CPU package, memory)."""

    time: datetime = msgspec.field(default_factory=_now)
    step: int
    status: str
    totals: Totals
    uncertainty_kwh: float
    phases_j: dict[str, float]
    channels_j: dict[str, float] = {}


Record = Start | Tick | Epoch | Stop | End


class Journal:
    """Appends records to a file, each written through to the system in one piece.

    Writing may block on a slow disk, so `put` only queues; the sampler's thread calls `flush`. A folder that cannot
    be written costs one warning, never an exception.

    Args:
        folder: Where the file goes; made if need be.
        run_id: Names the file, ``wattloop-<run_id>.jsonl``.
    """

    def __init__(self, folder: str | os.PathLike[str], run_id: str) -> None:
        self.path = Path(folder) / f"wattloop-{run_id}.jsonl"
        self._queue: collections.deque[Record] = collections.deque(maxlen=10_000)
        self._encoder = msgspec.json.Encoder()
        self._file: int | None = None
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _mend(self.path)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            log.warning("no record of this run is kept: %s", error)

    def put(self, record: Record) -> None:
        """Queue one record."""
        self._queue.append(record)

    def flush(self) -> None:
        """Write what is queued; a record that cannot be encoded is left out."""
        with self._lock:
            while self._queue:
                record = self._queue.popleft()
                if self._file is None:
                    continue
                try:
                    line = self._encoder.encode(record) + b"\n"
                except ValueError as error:
                    log.warning("a line is missing from the record of this run: %s", error)
                    continue
                try:
                    if os.write(self._file, line) != len(line):
                        raise OSError("a line was cut short")
                except OSError as error:
                    log.warning("the record of this run ends here: %s", error)
                    self._close()

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


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
