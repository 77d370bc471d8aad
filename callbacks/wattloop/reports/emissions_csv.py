"""Emissions CSV: one row a run, in the columns of codecarbon's ``emissions.csv``, so that notebooks keep working.

Energy and power are those of the site, PUE included, as there; ours, of the devices, stand in our own columns.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable
from datetime import datetime

from wattloop.reports.place import place
from wattloop.reports.summary import RunSummary
from wattloop.reports.text import cell
from wattloop.units import J_PER_KWH

Value = str | float | int | None

CODECARBON = (
    "timestamp project_name run_id experiment_id duration emissions emissions_rate cpu_power gpu_power ram_power "
    "cpu_energy gpu_energy ram_energy energy_consumed water_consumed country_name country_iso_code region "
    "cloud_provider cloud_region os python_version codecarbon_version cpu_count cpu_model gpu_count gpu_model "
    "longitude latitude ram_total_size tracking_mode cpu_utilization_percent gpu_utilization_percent "
    "ram_utilization_percent ram_used_gb on_cloud pue wue"
).split()
"""Columns of codecarbon 3.3.2, in its order."""

OWN: dict[str, Callable[[RunSummary], Value]] = {
    "status": lambda run: run.status,
    "started": lambda run: run.started.isoformat() if run.started is not None else None,
    "ended": lambda run: run.ended.isoformat(),
    "framework": lambda run: run.framework,
    "hosts": lambda run: " ".join(run.hosts),
    "world_size": lambda run: run.world_size,
    "sessions": lambda run: run.sessions,
    "parent_run_id": lambda run: run.parent,
    "steps": lambda run: run.steps,
    "epochs": lambda run: run.epochs,
    "device_kwh": lambda run: run.kwh,
    "device_gpu_kwh": lambda run: run.gpu_kwh,
    "device_cpu_kwh": lambda run: run.cpu_kwh,
    "device_kwh_uncertainty": lambda run: run.uncertainty_kwh,
    "measured_fraction": lambda run: run.measured_fraction,
    "lost_kwh": lambda run: run.lost_kwh,
    "pauses": lambda run: run.pauses,
    "waited_s": lambda run: run.waited_s,
    "waited_kwh": lambda run: run.waited_kwh,
    "emissions_net": lambda run: run.kg_co2e_net,
    "emissions_embodied": lambda run: run.kg_co2e_embodied,
    "g_co2e_per_kwh": lambda run: run.g_co2e_per_kwh,
    "intensity_source": lambda run: "; ".join(source.name for source in run.sources),
    "intensity_kind": lambda run: " and ".join(dict.fromkeys(source.kind for source in run.sources)),
    "region_code": lambda run: run.region,
    "budget_kwh": lambda run: run.budget.kwh if run.budget is not None else None,
    "budget_kg_co2e": lambda run: run.budget.kg_co2e if run.budget is not None else None,
    "budget_used_fraction": lambda run: run.budget_used_fraction,
    "stop_reason": lambda run: run.stop_reason,
    "wattloop_version": lambda run: run.version,
    "path": lambda run: run.path,
}
"""Our own columns, which follow."""


def emissions_csv(runs: Iterable[RunSummary]) -> str:
    """Return a table of runs as CSV, with its head.

    Args:
        runs: The runs, in the order of the rows.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*CODECARBON, *OWN])
    for run in runs:
        known = _known(run)
        values = [*(known.get(name) for name in CODECARBON), *(value(run) for value in OWN.values())]
        writer.writerow([cell(value) if isinstance(value, str) else value for value in values])
    return file.getvalue()


def _known(run: RunSummary) -> dict[str, Value]:
    where = place(run.region)
    pue = run.pue or 1.0
    # Memory is a part of what we count as the CPU's; channels tell them apart once the run is over.
    ram_kwh = sum(channel.kwh or 0.0 for channel in run.channels if channel.kind == "dram")
    energy_kwh = {"cpu": pue * (run.cpu_kwh - ram_kwh), "gpu": pue * run.gpu_kwh, "ram": pue * ram_kwh}
    to_watts = J_PER_KWH / run.duration_s if run.duration_s > 0 else 0.0
    return {
        "timestamp": _local(run.ended),
        "project_name": os.path.basename(os.path.dirname(os.path.abspath(run.path))),
        "run_id": run.run_id,
        "duration": run.duration_s,
        "emissions": run.kg_co2e,
        "emissions_rate": run.kg_co2e / run.duration_s if run.duration_s > 0 else 0.0,
        **{f"{part}_power": to_watts * kwh for part, kwh in energy_kwh.items()},
        **{f"{part}_energy": kwh for part, kwh in energy_kwh.items()},
        "energy_consumed": sum(energy_kwh.values()),
        "country_name": where.country,
        "country_iso_code": where.iso3,
        "region": where.part,
        "cloud_provider": where.cloud,
        "cloud_region": where.cloud_region,
        "gpu_count": round(run.gpus) or None,
        "gpu_model": " + ".join(f"{count} x {model}" for model, count in run.gpu_models.items()),
        "on_cloud": "Y" if where.cloud else "N" if where.name else "",
        "pue": run.pue,
    }


def _local(time: datetime) -> str:
    """Write a time as codecarbon does: local, to the second, without a zone."""
    try:
        time = time.astimezone()
    except (OverflowError, ValueError, OSError):
        pass
    return f"{time:%Y-%m-%dT%H:%M:%S}"
