"""Data: what the explorer knows of a run, from its journal: a week of it fits in a page, and no total changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from wattloop.hardware import resolve
from wattloop.reports.explorer.bins import Bins
from wattloop.reports.explorer.curves import Curves, Epochs, Session, Wait, curves
from wattloop.reports.facts import listed
from wattloop.reports.summary import RunSummary
from wattloop.units import G_PER_KG

SOURCES = 3
"""Sources of intensity that are named; a live one may name every hour apart."""
BASES = ("life-cycle", "direct", "mixed", "operational")
"""First words of what carbon intensity counts, in the tables of regions and in sources."""
_BASIS = re.compile(rf"(?:\(|, )({'|'.join(BASES)})(?=[ ,)])")
WHOLE = 1e-6
"""Relative difference up to which parts make a whole."""


class RunData(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the page has it.

    Attributes:
        name: What the page calls it.
        status: As in `RunSummary`.
        ended: It has an end on record: its totals are final.
        reason: Why its budget ended it.
        kwh: Energy, in kWh; `cpu_kwh` that of CPU packages and memory.
        kg: Emissions, in kg CO2e, PUE included.
        uncertainty_kwh: Half-width of the interval that holds the true energy, in kWh.
        measured: Share of the energy that was measured (0-1).
        pue: Of its last session.
        mean_g: Mean intensity of its energy, in g CO2e/kWh.
        kind: Whether electricity is priced as average or marginal, or by turns as both.
        bases: What the intensity counts, as far as its sources say so, of `BASES`.
        gpus: GPUs it held, on average.
        gpus_named: How many of which product; empty where that is not on record.
        device: The name of these in the table of hardware; empty where it is not there, or there are several.
        phases: Energy by phase, in kWh.
        exact_phases: These are the record's own figures, not counted from its lines.
        at_epoch_end: It ended where its last epoch did, and not amid another.
    """

    name: str
    run_id: str
    framework: str
    hosts: tuple[str, ...]
    region: str
    source: str
    kind: str
    bases: tuple[str, ...]
    status: str
    ended: bool
    reason: str
    begin: str
    duration_s: float
    kwh: float
    cpu_kwh: float
    kg: float
    uncertainty_kwh: float
    measured: float
    lost_kwh: float
    pue: float
    mean_g: float
    gpus: float
    gpus_named: str
    device: str
    net_share: float
    kg_net: float | None
    kg_embodied: float | None
    budget_kwh: float | None
    budget_kg: float | None
    phases: dict[str, float]
    exact_phases: bool
    at_epoch_end: bool
    sessions: list[Session]
    pauses: list[Wait]
    bins: Bins
    epochs: Epochs


def shown(run: RunSummary, path: str | os.PathLike[str], max_bins: int = 1500, max_epochs: int = 1000) -> RunData:
    """Return what the page has of a run.

    Args:
        run: What its journal says of it.
        path: The journal.
        max_bins: Spans of time to keep at most.
        max_epochs: Epochs to keep one by one; of more, neighbours are taken together.
    """
    found = curves(path, max_bins, max_epochs)
    bins = found.bins
    kwh, kg = sum(bins.kwh), _kg(found)
    whole = abs(sum(run.phases_kwh.values()) - kwh) <= WHOLE * kwh
    budget = run.budget
    names = [source.name for source in run.sources]
    return RunData(
        name=run.run_id,
        run_id=run.run_id,
        framework=run.framework,
        hosts=run.hosts,
        region=run.region,
        source="; ".join(names[:SOURCES]) + (f"; and {len(names) - SOURCES} more" if len(names) > SOURCES else ""),
        kind=" and ".join(dict.fromkeys(source.kind for source in run.sources)) or "average",
        bases=_bases(names),
        status=run.status,
        ended=run.status not in ("running", "killed"),
        reason=run.stop_reason,
        begin=f"{run.started or run.ended:%Y-%m-%d %H:%M %Z}",
        duration_s=bins.end_s[-1] if bins.end_s else 0.0,
        kwh=kwh,
        cpu_kwh=run.cpu_kwh,
        kg=kg,
        uncertainty_kwh=run.uncertainty_kwh,
        measured=run.measured_fraction,
        lost_kwh=run.lost_kwh,
        pue=found.sessions[-1].pue if found.sessions else 1.0,
        mean_g=_mean(bins.g, bins.kwh) or found.g_co2e_per_kwh,
        gpus=run.gpus,
        gpus_named=listed([f"{count} x {model}" for model, count in run.gpu_models.items()]),
        device=_device(run.gpu_models),
        net_share=run.net_share,
        kg_net=run.kg_co2e_net,
        kg_embodied=run.kg_co2e_embodied,
        budget_kwh=budget.kwh if budget is not None else None,
        budget_kg=budget.kg_co2e if budget is not None else None,
        phases=run.phases_kwh if whole and run.phases_kwh else _by_phase(bins),
        exact_phases=whole and bool(run.phases_kwh),
        at_epoch_end=found.at_epoch_end,
        sessions=found.sessions,
        pauses=found.pauses,
        bins=bins,
        epochs=found.epochs,
    )


def _device(models: Iterable[str]) -> str:
    """Name what all GPUs are in the table of hardware."""
    found = {_resolved(model) for model in models}
    return found.pop() if len(found) == 1 else ""


@lru_cache
def _resolved(model: str) -> str:
    try:
        return resolve(model).name
    except ValueError:
        return ""


def _bases(sources: Iterable[str]) -> tuple[str, ...]:
    """Find the bases that sources tell of in the list at their end."""
    told = (_BASIS.findall(source)[-1:] for source in sources)
    return tuple(dict.fromkeys(basis for found in told for basis in found))


def basis_of(told: str) -> str:
    """Return what intensity counts as one of `BASES`; empty for none of them.

    Args:
        told: A basis in the words of the tables of regions.
    """
    word = told.partition(",")[0].partition(" ")[0]
    return word if word in BASES else ""


def _kg(found: Curves) -> float:
    priced = zip(found.bins.kwh, found.bins.g, found.bins.session, strict=True)
    return sum(kwh * g * found.sessions[session].pue / G_PER_KG for kwh, g, session in priced)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total if total > 0 else 0.0


def _by_phase(bins: Bins) -> dict[str, float]:
    phases: dict[str, float] = {}
    for kwh, phase in zip(bins.kwh, bins.phase, strict=True):
        phases[phase] = phases.get(phase, 0.0) + kwh
    return phases
