"""Summary: what is known of a run, whatever ended it, as its journal tells."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from wattloop.budget import Budget
from wattloop.footprint import Totals


class Source(msgspec.Struct, frozen=True):
    """On whose word electricity was priced.

    Attributes:
        name: Who published the carbon intensity, and for when.
        kind: Average or marginal.
        kwh: Energy priced so.
    """

    name: str
    kind: Literal["average", "marginal"]
    kwh: float


class Channel(msgspec.Struct, frozen=True):
    """A device that was measured.

    Attributes:
        name: A GPU's UUID, ``cpu:0``, ``dram:0``, on another host of the run ``host/cpu:0``.
        method: How it was measured, ``counter``, ``integrated`` or ``modelled``; empty for those of other ranks, whose
            energy alone is on record.
        kwh: Its energy; None as long as the run is not over.
        model: Product name of a GPU; empty where it is not on record.
    """

    name: str
    method: str
    kwh: float | None
    model: str = ""

    @property
    def kind(self) -> str:
        """``gpu``, ``cpu``, ``dram``, ``psys`` or, for all of other ranks together, ``other``."""
        if self.name == "other ranks":
            return "other"
        kind, colon, _ = self.name.rpartition("/")[2].partition(":")
        return kind if colon and kind in ("cpu", "dram", "psys") else "gpu"


class LastForecast(msgspec.Struct, frozen=True):
    """What was last expected of the whole run, with its 90 % intervals, as of the last epoch that ended.

    Attributes:
        epoch: That epoch.
        kwh: Energy, in kWh.
        kwh_low: Lower end of its interval.
        kwh_high: Upper end of it.
        kg_co2e: Emissions in kg CO2e, gross, PUE included.
        kg_co2e_low: Lower end of their interval.
        kg_co2e_high: Upper end of it.
    """

    epoch: int
    kwh: float
    kwh_low: float
    kwh_high: float
    kg_co2e: float
    kg_co2e_low: float
    kg_co2e_high: float


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run over all its sessions, as far as its journal tells. All texts are printable; unknown ones are empty.

    Attributes:
        run_id: Its name.
        path: Its journal.
        status: How it ended: ``finished``, ``stopped``, ``failed``, ``interrupted``; ``running`` as long as it goes on,
            ``killed`` where it does not and nobody came to say so.
        started: When its first session on record began; None where that is not on record.
        ended: When it ended, or was last heard of.
        duration_s: Time measured, in seconds: without the gaps between sessions.
        framework: The front end.
        version: Of wattloop, in the last session.
        hosts: Names of the hosts it was on.
        hosts_together: How many of them it had at a time, at most.
        world_size: Ranks that measured together in the last session.
        gpus: GPUs reserved, on average over `duration_s`.
        gpu_models: How many GPUs of each product name it had, the most of them at a time; empty where that is not on
            record.
        sessions: Number of its last session.
        parent: The run that it branched off; empty for none.
        inherited: The part of its figures that is that run's...
        inherited_lost_kwh: ... and of `lost_kwh`.
        steps: Steps done when it was last heard of.
        epochs: Epochs ended.
        kwh: Energy of all devices, in kWh.
        gpu_kwh: Of the GPUs.
        cpu_kwh: Of CPU packages and memory.
        uncertainty_kwh: Half-width of the interval that holds the true energy; after a kill it holds what may have been
            drawn since the last line.
        measured_fraction: Share that was measured, not modelled.
        kg_co2e: Emissions in kg CO2e, gross, PUE included.
        kg_co2e_net: Less what was matched by clean energy; None where no share was given.
        net_share: That share.
        kg_co2e_embodied: Its part of what making its devices emitted, in no other figure; None where not known.
        site_kwh: Energy of the site: that of each session times its PUE; None where that is not on record.
        g_co2e_per_kwh: Mean carbon intensity of that energy; None where it is not known.
        sources: On whose word it was priced, the source of most energy first.
        region: Where it ran last, as the user named it; empty where its last session had an intensity alone.
        regions: Where it ran: the last one last.
        pues: Power usage effectiveness of the sites, likewise.
        budget: What it might spend.
        budget_used_fraction: The spent share of that.
        pauses: How often it waited for cleaner electricity.
        waited_s: For how long, in seconds; a part of `duration_s`.
        waited_kwh: What it drew in pauses that are over; a part of `kwh`.
        waiting: It waits now, or did when it was last heard of.
        stop_reason: Why the budget ended it; empty where it did not.
        lost_kwh: Energy spent on work that was lost, since training went on from an older checkpoint.
        phases_kwh: Energy by phase; empty as long as it is not over.
        channels: What was measured.
        forecast: What was last expected of the whole run.
    """

    run_id: str
    path: str
    status: str
    started: datetime | None
    ended: datetime
    duration_s: float
    framework: str
    version: str
    hosts: tuple[str, ...]
    hosts_together: int
    world_size: int
    gpus: float
    gpu_models: dict[str, int]
    sessions: int
    parent: str
    inherited: Totals
    inherited_lost_kwh: float
    steps: int
    epochs: int
    kwh: float
    gpu_kwh: float
    cpu_kwh: float
    uncertainty_kwh: float
    measured_fraction: float
    kg_co2e: float
    kg_co2e_net: float | None
    net_share: float
    kg_co2e_embodied: float | None
    site_kwh: float | None
    g_co2e_per_kwh: float | None
    sources: tuple[Source, ...]
    region: str
    regions: tuple[str, ...]
    pues: tuple[float, ...]
    budget: Budget | None
    budget_used_fraction: float | None
    pauses: int
    waited_s: float
    waited_kwh: float
    waiting: bool
    stop_reason: str
    lost_kwh: float
    phases_kwh: dict[str, float]
    channels: tuple[Channel, ...]
    forecast: LastForecast | None

    @property
    def pue(self) -> float | None:
        """Power usage effectiveness; where it changed, the mean over the energy."""
        if len(self.pues) > 1 and self.site_kwh is not None and self.kwh > 0:
            return self.site_kwh / self.kwh
        return self.pues[-1] if self.pues else None
