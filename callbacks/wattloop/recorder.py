"""Recorder: writes what happens in a run to its journal; without a folder it writes nothing."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping

from wattloop import __version__
from wattloop.footprint import Footprint, Totals
from wattloop.journal import End, Epoch, Journal, Record, Start, Stop, Tick
from wattloop.ledger import Ledger
from wattloop.options import Settings
from wattloop.units import J_PER_KWH

TICK_INTERVAL_S = 5.0


class Recorder:
    """The record of one session.

    Args:
        folder: Where the journal goes; None for no record.
        ledger: The run's, open for this session.
        session: What this session spends.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, ledger: Ledger, session: Footprint) -> None:
        self._journal = Journal(folder, ledger.run_id) if folder is not None else None
        self._ledger = ledger
        self._session = session
        self._ticked_s = -math.inf

    def _put(self, record: Record) -> None:
        if self._journal is not None:
            self._journal.put(record)

    def start(self, framework: str, settings: Settings) -> None:
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
            )
        )

    def tick(self, step: int, now_s: float) -> None:
        """Record the totals every few seconds, and write out what has gathered; in the sampler's thread."""
        if self._journal is None:
            return
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

    def epoch(self, step: int, spent: Totals, row: Mapping[str, float]) -> None:
        """Record the end of an epoch."""
        metrics = {key: value if math.isfinite(value) else None for key, value in row.items()}
        self._put(Epoch(epoch=self._ledger.epochs, step=step, spent=spent, metrics=metrics))

    def stop(self, step: int, reason: str) -> None:
        """Record that the budget ended the run."""
        self._put(Stop(step=step, reason=reason))

    def end(self, step: int, status: str) -> None:
        """Record the end of the session and close the journal."""
        ledger = self._ledger
        uncertainty_kwh = ledger.uncertainty_j / J_PER_KWH
        self._put(
            End(
                step=step,
                status=status,
                totals=ledger.totals,
                uncertainty_kwh=uncertainty_kwh,
                phases_j=ledger.phases_j,
            )
        )
        self.close()

    def close(self) -> None:
        """Write out what has gathered and close the journal."""
        if self._journal is not None:
            self._journal.flush()
            self._journal.close()
