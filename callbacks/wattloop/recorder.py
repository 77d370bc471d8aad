"""Recorder: writes what happens in a run to its journal; without a folder it writes nothing."""

from __future__ import annotations

import collections
import math
import os
import platform
from collections.abc import Mapping
from datetime import datetime

import msgspec

from wattloop import __version__
from wattloop.beside import beside
from wattloop.claims import models_of
from wattloop.footprint import Footprint, Totals
from wattloop.journal import End, Epoch, Journal, Pause, Record, Resume, Start, Stop, Tick
from wattloop.ledger import Border, Ledger
from wattloop.options import Settings
from wattloop.recovery import open_journal
from wattloop.units import J_PER_KWH

TICK_INTERVAL_S = 5.0
"""Time between two ticks, in seconds."""
TICK_READINGS = 5
SHORTEST_TICK_INTERVAL_S = 0.25
"""Who has the meters read more often than every second is given a tick every so many readings, but no more often."""
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
        folder: Where the journal goes; None for no record. A run that has one already goes on in it.
        ledger: The run's, open for this session.
        session: What this session spends.
        framework: Name of the front end.
        settings: The run's.
        world_size: Ranks that measure together.
        hosts: Names of the hosts they are on; empty for this one.

    Attributes:
        step: Steps done when last told.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        ledger: Ledger,
        session: Footprint,
        framework: str,
        settings: Settings,
        world_size: int = 1,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self._journal: Journal | None = None
        self._folder = folder
        self._ledger = ledger
        self._session = session
        self._framework = framework
        self._settings = settings
        self._world_size, self._hosts = world_size, hosts
        self._tick_s = max(SHORTEST_TICK_INTERVAL_S, min(TICK_INTERVAL_S, TICK_READINGS * settings.interval_s))
        self._ticked_s = -math.inf
        self._channels: dict[str, str] | None = None
        self._models: dict[str, str] | None = None
        self._others_models: dict[str, str] = {}
        self._priced_by: tuple[str, str] | None = None
        self.step = 0
        self._epochs: collections.deque[_Epoch] = collections.deque()

    def _put(self, record: Record) -> None:
        if self._journal is not None:
            self._journal.put(record)

    def start(self) -> None:
        """Record what all later lines rest on; again where a run becomes, after its start, the one of a checkpoint."""
        begun, self._journal = self._journal, None
        if begun is not None:
            begun.discard()
        journal = open_journal(self._ledger, self._folder)
        if journal is None:
            return
        ledger, session, settings = self._ledger, self._session, self._settings
        spent_before, uncertainty_j = ledger.before
        journal.put(
            Start(
                run_id=ledger.run_id,
                version=__version__,
                framework=self._framework,
                host=platform.node(),
                region=settings.region,
                g_co2e_per_kwh=session.intensity.g_co2e_per_kwh,
                intensity_source=session.intensity.source,
                pue=settings.pue,
                budget=settings.budget,
                spent_before=spent_before,
                uncertainty_kwh=uncertainty_j / J_PER_KWH,
                lost=ledger.lost,
                session=ledger.sessions,
                parent=ledger.parent,
                interval_s=self._tick_s + settings.interval_s,
                world_size=self._world_size,
                hosts=self._hosts or (platform.node(),),
                net_share=settings.net_share,
                embodied=settings.embodied,
            )
        )
        self._ticked_s, self._channels, self._models, self._priced_by = -math.inf, None, None, None
        self._journal = journal

    def tick(self, step: int, now_s: float) -> None:
        """Record the totals every few seconds, and write out what has gathered; in the sampler's thread.

        When the carbon intensity comes from elsewhere than before, or other ranks have told of their devices, that is
        recorded at once.
        """
        self.step = step
        journal = self._journal
        if journal is None:
            return
        while self._epochs and now_s - self._epochs[0].end.time_s >= SETTLING_S:
            self._put_epoch(self._epochs.popleft())
        if now_s - self._ticked_s >= self._tick_s or self._has_news():
            self._ticked_s = now_s
            self._put_tick(step)
        journal.flush()

    def _has_news(self) -> bool:
        intensity = self._session.intensity
        priced_by = (intensity.source, intensity.kind)
        return priced_by != self._priced_by or self._ledger.others_models != self._others_models

    def _put_tick(self, step: int) -> None:
        ledger, session = self._ledger, self._session
        intensity, others_models = session.intensity, ledger.others_models
        priced_by = (intensity.source, intensity.kind)
        channels: dict[str, str] = {one.channel: one.method for one in session.channels}
        models = {**others_models, **models_of(session.channels)}
        self._put(
            Tick(
                step=step,
                phase=session.phase,
                totals=_rounded(ledger.totals),
                g_co2e_per_kwh=intensity.g_co2e_per_kwh,
                uncertainty_kwh=round(ledger.uncertainty_j / J_PER_KWH, 9),
                lost_kwh=round(ledger.lost.kwh, 9),
                session=ledger.sessions,
                channels=channels if channels != self._channels else None,
                intensity=intensity if priced_by != self._priced_by else None,
                models=models if models != self._models else None,
            )
        )
        self._channels, self._models, self._others_models, self._priced_by = channels, models, others_models, priced_by

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

    def pause(self, step: int, reason: str, until: datetime | None) -> None:
        """Record that the run begins to wait."""
        self._put(Pause(step=step, reason=reason, until=until))

    def resume(self, step: int, reason: str, spent: Totals) -> None:
        """Record that it goes on."""
        self._put(Resume(step=step, reason=reason, spent=_rounded(spent)))

    def end(self, step: int, status: str) -> None:
        """Record the end of the session and close the journal."""
        while self._epochs:
            self._put_epoch(self._epochs.popleft())
        ledger, totals = self._ledger, self._ledger.totals
        if ledger.others_models != self._others_models:
            # A job of a few steps hears of the others at its end.
            self._put_tick(step)
        apart = beside(totals, self._settings)
        uncertainty_kwh = ledger.uncertainty_j / J_PER_KWH
        self._put(
            End(
                step=step,
                status=status,
                totals=totals,
                uncertainty_kwh=uncertainty_kwh,
                phases_j=ledger.phases_j,
                channels_j=ledger.channels_j,
                lost=ledger.lost,
                session=ledger.sessions,
                kg_co2e_net=apart.kg_co2e_net,
                kg_co2e_embodied=apart.kg_co2e_embodied,
            )
        )
        self.close()

    def close(self) -> None:
        """Write out what has gathered and close the journal."""
        if self._journal is not None:
            self._journal.flush()
            self._journal.close()


def _rounded(totals: Totals) -> Totals:
    """Shorten a line of which there are many: to millijoules, tens of micrograms and milliseconds."""
    names = totals.__struct_fields__
    return Totals(*(round(getattr(totals, name), 9 if name == "kg_co2e" else 3) for name in names))
