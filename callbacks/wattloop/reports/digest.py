"""Digest: what a journal says of its run, taken in line by line; what is kept of it does not grow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.journal import End, Epoch, Pause, Record, Resume, Start, Stop, Tick
from wattloop.recovery import Reached
from wattloop.reports.summary import Channel, LastForecast, RunSummary, Source
from wattloop.reports.text import printable
from wattloop.units import G_PER_KG, J_PER_KWH

KEPT = 4096
"""Different names of one sort (hosts, sources, channels, ...) that are kept of a record."""


class Digest:
    """Takes in a journal line by line.

    Attributes:
        reached: How far the run had come.
        last: The last line; None before the first.
        start: The last that began a session; None before the first.
    """

    def __init__(self) -> None:
        self.reached = Reached()
        self.last: Record | None = None
        self.first: Start | None = None
        self.start: Start | None = None
        self.end: End | None = None
        self.epoch: Epoch | None = None
        self.stop: Stop | None = None
        self.step = self.sessions = self.pauses = 0
        self.waited_kwh, self.waiting = 0.0, False
        self.lost_kwh = 0.0
        self.hosts: dict[str, None] = {}
        self.hosts_together = 1
        self.regions: dict[str, None] = {}
        self.pues: dict[float, None] = {}
        self.methods: dict[str, str] = {}
        self.models: dict[str, str] = {}
        self.gpu_models: dict[str, int] = {}
        self.priced_j: dict[tuple[str, Literal["average", "marginal"]], float] = {}
        self._intensity: Intensity | None = None
        self._priced_from_j = 0.0
        self._site_j = 0.0

    def take(self, record: Record) -> None:
        """Take in the next line."""
        if isinstance(record, Start):
            self._begin(record)
        elif isinstance(record, Tick) and record.intensity is not None:
            # It was recorded as soon as it changed: nearly all since the line before was priced as before.
            self._price(self.reached.totals)
            self._intensity = record.intensity
        self.reached.take(record)
        self.last = record
        if isinstance(record, Tick):
            self.step, self.lost_kwh = record.step, record.lost_kwh
            if record.channels is not None:
                self._keep(self.methods, ((printable(name), printable(how)) for name, how in record.channels.items()))
            if record.models is not None:
                self._name(record.models)
        elif isinstance(record, Epoch):
            # It is put down a moment later, maybe after a line that knows of more steps.
            self.step, self.epoch = max(self.step, record.step), record
        elif isinstance(record, Stop):
            self.step, self.stop = record.step, record
        elif isinstance(record, Pause):
            self.step, self.waiting, self.pauses = record.step, True, self.pauses + 1
        elif isinstance(record, Resume):
            self.step, self.waiting = record.step, False
            self.waited_kwh += record.spent.kwh
        elif isinstance(record, End):
            self.step, self.end, self.lost_kwh, self.waiting = record.step, record, record.lost.kwh, False
        self.sessions = max(self.sessions, self.reached.session)

    def _begin(self, start: Start) -> None:
        self._price(self.reached.totals)
        self._intensity = Intensity(start.g_co2e_per_kwh, start.intensity_source)
        self._priced_from_j = start.spent_before.energy_j
        before = self.start
        if before is None:
            self.first = start
            self._site_j = start.spent_before.energy_j * start.pue
        else:
            self._site_j += (start.spent_before.energy_j - before.spent_before.energy_j) * before.pue
        self.start, self.end, self.stop, self.lost_kwh = start, None, None, start.lost.kwh
        self.waiting = False
        self._keep(self.hosts, ((printable(host), None) for host in start.hosts or (start.host,)))
        self.hosts_together = max(self.hosts_together, len({*start.hosts}))
        # The last one last.
        region = printable(start.region)
        self.regions.pop(region, None)
        self.pues.pop(start.pue, None)
        self._keep(self.regions, [(region, None)])
        self._keep(self.pues, [(start.pue, None)])

    def _name(self, models: dict[str, str]) -> None:
        """Take in the product names of the devices that this session has."""
        named = [(printable(channel), printable(model)) for channel, model in [*models.items()][:KEPT]]
        self._keep(self.models, named)
        for model, count in Counter(model for _, model in named if model).items():
            self._keep(self.gpu_models, [(model, max(count, self.gpu_models.get(model, 0)))])

    @staticmethod
    def _keep(known: dict[Any, Any], more: Iterable[tuple[Any, Any]]) -> None:
        for name, value in more:
            if name in known or len(known) < KEPT:
                known[name] = value

    def _price(self, totals: Totals) -> None:
        """Put down what was priced by the source that ends here."""
        more_j, self._priced_from_j = totals.energy_j - self._priced_from_j, totals.energy_j
        if self._intensity is not None:
            # A live source that is silent says when its last value is of.
            name = printable(self._intensity.source.partition(", last value, of ")[0])
            key = (name, self._intensity.kind)
            self._keep(self.priced_j, [(key, self.priced_j.get(key, 0.0) + more_j)])

    def summary(self, path: str, status: str, ended: datetime) -> RunSummary:
        """Return what is known of the run.

        Args:
            path: The journal.
            status: How the run ended, or whether it goes on.
            ended: When it ended, or was last heard of.
        """
        totals, start, first, end = self.reached.totals, self.start, self.first, self.end
        self._price(totals)
        branched = first is not None and bool(first.parent) and first.session == 1
        site_j: float | None = None
        if start is not None:
            site_j = self._site_j + (totals.energy_j - start.spent_before.energy_j) * start.pue
        net_share = start.net_share if start is not None else 0.0
        net_kg = totals.kg_co2e * (1.0 - net_share) if net_share else None
        embodied_kg = None
        if start is not None and start.embodied is not None:
            embodied_kg = start.embodied.kg_co2e(totals.duration_s, totals.gpu_s)
        if end is not None:
            net_kg, embodied_kg = end.kg_co2e_net, end.kg_co2e_embodied
        budget = start.budget if start is not None else None
        kwh = totals.kwh
        name = Path(path).name.removeprefix("wattloop-").removesuffix(".jsonl")
        return RunSummary(
            run_id=printable(start.run_id if start is not None else name),
            path=printable(path),
            status=printable(status),
            started=aware(first.time) if first is not None else None,
            ended=ended,
            duration_s=totals.duration_s,
            framework=printable(start.framework) if start is not None else "",
            version=printable(start.version) if start is not None else "",
            hosts=tuple(self.hosts),
            hosts_together=self.hosts_together,
            world_size=start.world_size if start is not None else 1,
            gpus=_ratio(totals.gpu_s, totals.duration_s) or 0.0,
            gpu_models=self.gpu_models,
            sessions=max(self.sessions, 1),
            parent=printable(first.parent) if first is not None else "",
            inherited=first.spent_before if first is not None and branched else Totals(),
            inherited_lost_kwh=first.lost.kwh if first is not None and branched else 0.0,
            steps=self.step,
            epochs=self.epoch.epoch if self.epoch is not None else 0,
            kwh=kwh,
            gpu_kwh=totals.gpu_j / J_PER_KWH,
            cpu_kwh=totals.cpu_j / J_PER_KWH,
            uncertainty_kwh=self.reached.uncertainty_j / J_PER_KWH,
            measured_fraction=totals.measured_fraction,
            kg_co2e=totals.kg_co2e,
            kg_co2e_net=net_kg,
            net_share=net_share,
            kg_co2e_embodied=embodied_kg,
            site_kwh=site_j / J_PER_KWH if site_j is not None else None,
            g_co2e_per_kwh=_ratio(totals.kg_co2e * G_PER_KG, site_j / J_PER_KWH) if site_j is not None else None,
            sources=self._sources(),
            region=printable(start.region) if start is not None else "",
            regions=tuple(filter(None, self.regions)),
            pues=tuple(self.pues),
            budget=budget,
            budget_used_fraction=budget.used_fraction(kwh, totals.kg_co2e) if budget is not None else None,
            pauses=self.pauses,
            waited_s=totals.waited_s,
            waited_kwh=self.waited_kwh,
            waiting=self.waiting,
            stop_reason=printable(self.stop.reason) if self.stop is not None else "",
            lost_kwh=self.lost_kwh,
            phases_kwh=_in_kwh(end.phases_j) if end is not None else {},
            channels=self._channels(),
            forecast=self._forecast(),
        )

    def _sources(self) -> tuple[Source, ...]:
        found = [Source(name, kind, energy_j / J_PER_KWH) for (name, kind), energy_j in self.priced_j.items()]
        # A session's first line names a source before its first tick says of which kind that is.
        used = [source for source in found if source.kwh > 0] or found[:1]
        return tuple(sorted(used, key=lambda source: -source.kwh))

    def _channels(self) -> tuple[Channel, ...]:
        kwh = _in_kwh(self.end.channels_j) if self.end is not None else {}
        return tuple(
            Channel(name, self.methods.get(name, ""), kwh.get(name), self.models.get(name, ""))
            for name in {**self.methods, **self.models, **kwh}
        )

    def _forecast(self) -> LastForecast | None:
        if self.epoch is None:
            return None
        names = LastForecast.__struct_fields__[1:]
        values = [self.epoch.metrics.get(f"forecast/{name}") for name in names]
        known = [value for value in values if value is not None]
        return LastForecast(self.epoch.epoch, *known) if len(known) == len(names) else None


def _ratio(part: float, whole: float) -> float | None:
    ratio = part / whole if whole > 0 else math.nan
    return ratio if math.isfinite(ratio) else None


def _in_kwh(parts_j: dict[str, float]) -> dict[str, float]:
    return {printable(name): energy_j / J_PER_KWH for name, energy_j in list(parts_j.items())[:KEPT]}


def aware(time: datetime) -> datetime:
    """Return a time that says what zone it is in: universal time where it does not."""
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
