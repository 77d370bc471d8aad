"""Curves: how a run spent over time and epoch by epoch, with its sessions and pauses, from its journal's lines."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from wattloop.footprint import Totals
from wattloop.journal import End, Epoch, Pause, Record, Resume, Start, Stop, Tick
from wattloop.reading import Problem, scan
from wattloop.reports.explorer.bins import Bins, Point, binned
from wattloop.reports.text import printable
from wattloop.units import J_PER_KWH

FORECASTS = ("kwh", "kwh_low", "kwh_high", "kg_co2e", "kg_co2e_low", "kg_co2e_high")
PLAUSIBLE, PLAUSIBLE_S = 1e18, 1e10
"""Beyond this, in joules and kg, and in seconds, a line was damaged."""


class Session(msgspec.Struct, frozen=True):
    """A session of a run.

    Attributes:
        begin_s: When it began, in seconds of the run.
        time_s: The same moment, in seconds since 1970.
        pue: By which its emissions are counted.
    """

    begin_s: float
    time_s: float
    pue: float


class Wait(msgspec.Struct, frozen=True):
    """A pause for cleaner electricity.

    Attributes:
        begin_s: When it began, in seconds of the run, as of the line before.
        duration_s: How long it was, in seconds; None where it was not over.
        kwh: What it took, in kWh.
        reason: Why the run waited.
    """

    begin_s: float
    duration_s: float | None
    kwh: float
    reason: str


class Epochs(msgspec.Struct, frozen=True):
    """The epochs of a run, column by column.

    Attributes:
        number: Number of the last epoch of each row.
        count: Epochs in the row.
        begin_s: When it began, in seconds of the run.
        end_s: When it ended.
        kwh: Energy of a row's epochs together, in kWh.
        kg: Their emissions, in kg CO2e.
        forecast: What was forecast at that moment, by name; None where nothing was.
    """

    number: list[int]
    count: list[int]
    begin_s: list[float]
    end_s: list[float]
    kwh: list[float]
    kg: list[float]
    forecast: dict[str, list[float | None]]


class Curves(msgspec.Struct, frozen=True):
    """What a journal tells of time.

    Attributes:
        g_co2e_per_kwh: Intensity at the begin of the last session, for a run that spent nothing; in g CO2e/kWh.
        at_epoch_end: The run ended where its last epoch did, and not amid another.
    """

    sessions: list[Session]
    pauses: list[Wait]
    bins: Bins
    epochs: Epochs
    g_co2e_per_kwh: float
    at_epoch_end: bool


def curves(path: str | os.PathLike[str], max_bins: int, max_epochs: int) -> Curves:
    """Read a journal; what cannot be read of it is left out.

    Args:
        path: The file.
        max_bins: Spans of time to keep at most.
        max_epochs: Epochs to keep one by one; of more, neighbours are taken together.
    """
    reader = _Reader()
    for found in scan(path):
        if not isinstance(found, Problem):
            reader.take(found)
    return reader.curves(max_bins, max_epochs)


class _Reader:
    """Takes a journal's records one by one."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.sessions: list[tuple[float, float]] = []
        self.epochs: list[Epoch] = []
        self.pauses: list[Wait] = []
        self.phase = "startup"
        self.last_s = 0.0
        self.g_co2e_per_kwh = 0.0
        self.end: End | None = None

    def take(self, record: Record) -> None:
        # Who damages a time may leave its zone out.
        time = record.time if record.time.tzinfo is not None else record.time.replace(tzinfo=UTC)
        if isinstance(record, Start):
            self._begin(time, record.pue if record.pue > 0 else 1.0)
            self.phase, self.g_co2e_per_kwh = "startup", record.g_co2e_per_kwh
            self._add(record.spent_before, time, "earlier")
            return
        if not self.sessions:
            self._begin(time, 1.0)
        if isinstance(record, Tick):
            self.phase = printable(record.phase)
            self._add(record.totals, time, self.phase)
        elif isinstance(record, Epoch):
            self.epochs.append(record)
            self._add(record.totals, time, self.phase, aside=True)
        elif isinstance(record, Pause):
            self.pauses.append(Wait(self.last_s, None, 0.0, printable(record.reason)))
        elif isinstance(record, Resume):
            if self.pauses and self.pauses[-1].duration_s is None:
                begun, spent = self.pauses.pop(), record.spent
                self.pauses.append(Wait(begun.begin_s, spent.duration_s, spent.kwh, begun.reason))
        elif isinstance(record, End):
            self.end = record
            self._add(record.totals, time, self.phase)
        elif not isinstance(record, Stop):
            self._add(record.totals, time, self.phase)

    def _begin(self, time: datetime, pue: float) -> None:
        if not self.points:
            self.points.append(Point(0.0, time.timestamp(), 0.0, 0.0, "earlier", 0))
        self.sessions.append((time.timestamp(), pue))
        self.end = None

    def _add(self, totals: Totals, time: datetime, phase: str, aside: bool = False) -> None:
        values = (totals.duration_s, totals.energy_j, totals.kg_co2e)
        duration_s, energy_j, kg = values
        if not (-PLAUSIBLE_S < duration_s < PLAUSIBLE_S and all(-PLAUSIBLE < value < PLAUSIBLE for value in values)):
            return
        self.last_s = max(self.last_s, duration_s)
        session = len(self.sessions) - 1
        self.points.append(Point(duration_s, time.timestamp(), energy_j / J_PER_KWH, kg, phase, session, aside))

    def curves(self, max_bins: int, max_epochs: int) -> Curves:
        borders = [epoch.totals.duration_s for epoch in self.epochs]
        bins, begins_s = binned(self.points, [pue for _, pue in self.sessions], borders, max_bins)
        sessions = [Session(begin_s, *rest) for begin_s, rest in zip(begins_s, self.sessions, strict=True)]
        epochs = _epochs(self.epochs, max_epochs)
        return Curves(sessions, self.pauses, bins, epochs, self.g_co2e_per_kwh, self._at_epoch_end())

    def _at_epoch_end(self) -> bool:
        if self.end is None or self.end.status not in ("finished", "stopped") or not self.epochs:
            return False
        return self.end.step <= self.epochs[-1].step


def _epochs(records: Iterable[Epoch], most: int) -> Epochs:
    # Of an epoch that was done again after a crash, the last time counts; the first was lost work.
    kept: list[Epoch] = []
    for record in records:
        while kept and kept[-1].epoch >= record.epoch:
            kept.pop()
        kept.append(record)
    each = max(1, -(-len(kept) // most))
    rows = [kept[at : at + each] for at in range(0, len(kept), each)]
    return Epochs(
        number=[row[-1].epoch for row in rows],
        count=[len(row) for row in rows],
        begin_s=[row[0].totals.duration_s - row[0].spent.duration_s for row in rows],
        end_s=[row[-1].totals.duration_s for row in rows],
        kwh=[sum(one.spent.kwh for one in row) for row in rows],
        kg=[sum(one.spent.kg_co2e for one in row) for row in rows],
        forecast={name: [_finite(row[-1].metrics.get(f"forecast/{name}")) for row in rows] for name in FORECASTS},
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
