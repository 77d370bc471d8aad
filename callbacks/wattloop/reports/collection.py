"""Collection: the runs of many journals, each told and counted once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from wattloop.footprint import Totals
from wattloop.reading import Problem
from wattloop.reports.runs import summarize
from wattloop.reports.summary import RunSummary
from wattloop.units import G_PER_KG, J_PER_KWH


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What runs have spent together; what one took over from another of them is counted once.

    Attributes:
        runs: How many they are.
        duration_s: Time measured, in seconds, added up.
        kwh: Energy of all devices, in kWh.
        gpu_kwh: Of the GPUs.
        cpu_kwh: Of CPU packages and memory.
        uncertainty_kwh: Half-width of the interval that holds the true energy: added up, as meters err alike.
        measured_fraction: Share that was measured, not modelled.
        kg_co2e: Emissions in kg CO2e, gross, PUE included.
        kg_co2e_net: Less what was matched by clean energy; None where no run gives a share of that.
        kg_co2e_embodied: Part of what making the devices emitted, in no other figure; None where one does not know.
        site_kwh: Energy of the sites, PUE included; None where a run does not know it.
        g_co2e_per_kwh: Mean carbon intensity of that energy.
        gpu_s: For how long GPUs were reserved, in seconds, added up.
        lost_kwh: Energy spent on work that was lost.
    """

    runs: int
    duration_s: float
    kwh: float
    gpu_kwh: float
    cpu_kwh: float
    uncertainty_kwh: float
    measured_fraction: float
    kg_co2e: float
    kg_co2e_net: float | None
    kg_co2e_embodied: float | None
    site_kwh: float | None
    g_co2e_per_kwh: float | None
    gpu_s: float
    lost_kwh: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, the first to begin first, what they have spent together, and what cannot be read.

    Attributes:
        runs: The runs.
        total: All of them.
        problems: What cannot be read.
        notes: What a reader should know, and is no problem.
    """

    runs: tuple[RunSummary, ...]
    total: Total
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def find(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[str], list[Problem]]:
    """Return the journals that paths stand for, and what of them is none.

    Args:
        paths: Journals, and folders of them, searched to the bottom for ``wattloop-*.jsonl``.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for given in paths:
        path = os.fspath(given)
        if not os.path.isdir(path):
            found.setdefault(os.path.realpath(path), path)
            continue
        inside = [*_inside(path, problems)]
        if not inside:
            problems.append(Problem(path, 0, 0, "no record of a run (wattloop-*.jsonl) is in this folder"))
        for each in inside:
            found.setdefault(os.path.realpath(each), each)
    return [*found.values()], problems


def _inside(folder: str, problems: list[Problem]) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        problems.append(Problem(str(error.filename), 0, 0, error.strerror or str(error)))

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(files):
            if name.startswith("wattloop-") and name.endswith(".jsonl"):
                yield os.path.join(parent, name)


def collect(
    paths: Iterable[str],
    problems: Sequence[Problem] = (),
    summarize: Callable[[str], tuple[RunSummary | None, tuple[Problem, ...]]] = summarize,
) -> Report:
    """Read journals.

    Args:
        paths: Of files, as from `find`; or what yields them and shows how far it is.
        problems: What is known already not to be readable.
        summarize: What reads one.
    """
    found, said = [], [*problems]
    for path in paths:
        run, wrong = summarize(path)
        said += wrong
        if run is not None:
            found.append(run)
    runs, notes = _once(found)
    return Report(runs=runs, total=total(runs), problems=tuple(said), notes=notes)


def _once(found: Sequence[RunSummary]) -> tuple[tuple[RunSummary, ...], tuple[str, ...]]:
    """Let the journal that tells most stand for a run that has several: copies, or sessions that found no older one."""
    by_id: dict[str, list[RunSummary]] = {}
    for run in found:
        by_id.setdefault(run.run_id, []).append(run)
    runs, notes = [], []
    for run_id, several in by_id.items():
        best = max(several, key=lambda run: (run.sessions, run.ended, run.kwh, run.status == "running"))
        if len(several) > 1:
            notes.append(f"{len(several)} files are of run {run_id}, which is told once, from {best.path}")
            begun = [run.started for run in several if run.started is not None]
            best = msgspec.structs.replace(best, started=min(begun, default=None))
        runs.append(best)
    return tuple(sorted(runs, key=lambda run: (run.started or run.ended, run.run_id))), tuple(notes)


def total(runs: Sequence[RunSummary]) -> Total:
    """Add up runs.

    Args:
        runs: Each a run of its own.
    """
    names = {run.run_id for run in runs}
    kwh = gpu_kwh = cpu_kwh = measured_kwh = lost_kwh = site_kwh = 0.0
    kg = net_kg = embodied_kg = duration_s = gpu_s = 0.0
    for run in runs:
        twice, lost_twice_kwh = (run.inherited, run.inherited_lost_kwh) if run.parent in names else (Totals(), 0.0)
        own_kg, own_s = run.kg_co2e - twice.kg_co2e, run.duration_s - twice.duration_s
        of_energy = _share(run.kwh - twice.kwh, run.kwh)
        kwh += run.kwh - twice.kwh
        gpu_kwh += run.gpu_kwh - twice.gpu_j / J_PER_KWH
        cpu_kwh += run.cpu_kwh - twice.cpu_j / J_PER_KWH
        measured_kwh += run.measured_fraction * run.kwh - twice.measured_fraction * twice.kwh
        lost_kwh += run.lost_kwh - lost_twice_kwh
        site_kwh += (run.site_kwh or 0.0) * of_energy
        kg += own_kg
        net_kg += own_kg if run.kg_co2e_net is None else run.kg_co2e_net * _share(own_kg, run.kg_co2e)
        embodied_kg += (run.kg_co2e_embodied or 0.0) * _share(own_s, run.duration_s)
        duration_s += own_s
        gpu_s += run.gpus * run.duration_s - twice.gpu_s
    site_known = bool(runs) and all(run.site_kwh is not None for run in runs)
    embodied_known = bool(runs) and all(run.kg_co2e_embodied is not None for run in runs)
    return Total(
        runs=len(runs),
        duration_s=duration_s,
        kwh=kwh,
        gpu_kwh=gpu_kwh,
        cpu_kwh=cpu_kwh,
        uncertainty_kwh=sum(run.uncertainty_kwh for run in runs),
        measured_fraction=min(max(0.0, measured_kwh / kwh), 1.0) if kwh > 0 else 0.0,
        kg_co2e=kg,
        kg_co2e_net=net_kg if any(run.kg_co2e_net is not None for run in runs) else None,
        kg_co2e_embodied=embodied_kg if embodied_known else None,
        site_kwh=site_kwh if site_known else None,
        g_co2e_per_kwh=kg * G_PER_KG / site_kwh if site_known and site_kwh > 0 else None,
        gpu_s=gpu_s,
        lost_kwh=lost_kwh,
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 1.0
