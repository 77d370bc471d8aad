"""Recorder: writes what happens in a run to its journal; without a folder it writes nothing."""

from __future__ import annotations

import collections
import math
import os
import platform
from collections.abc import Mapping

import msgspec

from wattloop import __version__
from wattloop.footprint import Footprint
from wattloop.journal import End, Epoch, Journal, Record, Start, Stop, Tick
from wattloop.ledger import Border, Ledger
from wattloop.options import Settings
from wattloop.units import J_PER_KWH

TICK_INTERVAL_S = 5.0
SETTLING_S = 0.3
"""Time after which no more is learnt of a border, in seconds."""


class _Epoch(msgspec.Struct):
    number: int
    step: int
    start: Border
    end: Border
    metrics: dict[str, float | None]


class Recorder:
    """The record of one session.

    Args:
        folder: Where the journal goes; None for no record.
        ledger: The run's, open for this session.
        session: What this session spends.

    Attributes:
        step: Steps done when last told.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, ledger: Ledger, session: Footprint) -> None:
        self._journal = Journal(folder, ledger.run_id) if folder is not None else None
        self._ledger = ledger
        self._session = session
        self._ticked_s = -math.inf
        self.step = 0
        self._epochs: collections.deque[_Epoch] = collections.deque()

    def _put(self, record: Record) -> None:
        if self._journal is not None:
            self._journal.put(record)

    def start(self, framework: str, settings: Settings, world_size: int = 1, hosts: tuple[str, ...] = ()) -> None:
        """Record what all later lines rest on."""
        self._put(
            Start(
                run_id=self._ledger.run_id,
                version=__version__,
                framework=framework,
                host=platform.node(),
                region=settings.region,
                g_co2e_per_kwh=self._session.intensity.g_co2e_per_kwh,
                intensity_source=self._session.intensity.source,
                pue=settings.pue,
                budget=settings.budget,
                spent_before=self._ledger.totals,
                world_size=world_size,
                hosts=hosts or (platform.node(),),
            )
        )

    def tick(self, step: int, now_s: float) -> None:
        """Record the totals every few seconds, and write out what has gathered; in the sampler's thread."""
        self.step = step
        if self._journal is None:
            return
        while self._epochs and now_s - self._epochs[0].end.time_s >= SETTLING_S:
            self._put_epoch(self._epochs.popleft())
        if now_s - self._ticked_s >= TICK_INTERVAL_S:
            self._ticked_s = now_s
            self._put(
                Tick(
                    step=step,
                    phase=self._session.phase,
                    totals=self._ledger.totals,
                    g_co2e_per_kwh=self._session.intensity.g_co2e_per_kwh,
                    channels={reading.channel: reading.method for reading in self._session.channels},
                )
            )
        self._journal.flush()

    def epoch(self, step: int, start: Border, end: Border, row: Mapping[str, float]) -> None:
        """Record the end of an epoch, as soon as all is known of its two ends."""
        if self._journal is None:
            return
        metrics = {key: value if math.isfinite(value) else None for key, value in row.items()}
        self._epochs.append(_Epoch(self._ledger.epochs, step, start, end, metrics))

    def _put_epoch(self, epoch: _Epoch) -> None:
        epoch.start.closed = epoch.end.closed = True
        spent = epoch.end.settled - epoch.start.settled
        uncertainty_j = max(0.0, spent.uncertainty_j) + epoch.start.edge_j + epoch.end.edge_j
        self._put(
            Epoch(
                epoch=epoch.number,
                step=epoch.step,
                spent=spent,
                totals=epoch.end.settled,
                uncertainty_kwh=uncertainty_j / J_PER_KWH,
                metrics=epoch.metrics,
            )
        )

    def stop(self, step: int, reason: str) -> None:
        """Record that the budget ended the run."""
        self._put(Stop(step=step, reason=reason))

    def end(self, step: int, status: str) -> None:
        """Record the end of the session and close the journal."""
        while self._epochs:
            self._put_epoch(self._epochs.popleft())
        ledger = self._ledger
        uncertainty_kwh = ledger.uncertainty_j / J_PER_KWH
        self._put(
            End(
                step=step,
                status=status,
                totals=ledger.totals,
                uncertainty_kwh=uncertainty_kwh,
                phases_j=ledger.phases_j,
                channels_j=ledger.channels_j,
            )
        )
        self.close()

    def close(self) -> None:
        """Write out what has gathered and close the journal."""
        if self._journal is not None:
            self._journal.flush()
            self._journal.close()
