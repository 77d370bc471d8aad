"""Journals of made-up runs of any length, written by the real journal in no time, with the real forecaster's rows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from fakes.runs import MadeRun, Phase, Seen, watched
from wattloop.embodied import Embodied
from wattloop.footprint import Totals
from wattloop.forecast import UNKNOWN, forecast
from wattloop.forecaster import Forecaster, Length
from wattloop.grid.intensity import Intensity
from wattloop.journal import End, Epoch, Journal, Pause, Resume, Start, Tick
from wattloop.units import G_PER_KG, J_PER_KWH

BEGIN = datetime(2026, 1, 12, 14, 20, tzinfo=UTC)


def made(
    epochs: int = 100,
    gpus: int = 8,
    seed: int = 0,
    steps: int = 150,
    step_s: float = 1.0,
    gpu_w: float = 420.0,
    wait_s: float = 2400.0,
) -> MadeRun:
    """Make a run with validation after every epoch, a checkpoint after every tenth, and a pause in the middle."""
    chance = random.Random(seed)
    total, power_w = epochs * steps, gpus * gpu_w
    seconds = [step_s * chance.lognormvariate(0.0, 0.04) for _ in range(total)]
    watts = [
        power_w * (1 - 0.10 * math.exp(-i / (3 * steps)) + 0.03 * math.sin(i / 700) + chance.uniform(-0.02, 0.02))
        for i in range(total)
    ]
    between: dict[int, list[Phase]] = {}
    for epoch in range(1, epochs + 1):
        phases = [("validation", 12 * step_s, 0.6 * power_w)]
        if epoch % 10 == 0:
            phases.append(("checkpoint", 25.0, 0.25 * power_w))
        if epoch == epochs // 2 and wait_s:
            phases.append(("wait", wait_s, gpus * 75.0))
        between[epoch * steps] = phases
    return MadeRun("made", seconds, watts, steps, epochs, chance, between, startup=(40.0, 0.3 * power_w))


def write_journal(
    folder: Path,
    run: MadeRun,
    name: str = "made",
    *,
    gpus: int = 8,
    region: str = "DE",
    pue: float = 1.2,
    intensity: Callable[[datetime], float] = lambda time: 330.0,
    source: str = "Germany 2024: Ember via Our World in Data, CC BY 4.0 (life-cycle, production-based, average)",
    kind: Literal["average", "marginal"] = "average",
    begin: datetime = BEGIN,
    until_s: float = math.inf,
    tick_s: float = 5.0,
    planned: int | None = None,
    hosts: Sequence[str] = ("node-7",),
    net_share: float = 0.0,
    embodied: Embodied | None = None,
    models: Sequence[str] = (),
) -> Path:
    """Write the journal of a run, killed `until_s` seconds after its start.

    Args:
        folder: Where it goes.
        run: What happens.
        name: Of the run.
        gpus: GPUs among which its power is shared; 0 for none, and a CPU that draws it all.
        region: Where it is.
        pue: Of the site.
        intensity: In g CO2e/kWh, by time.
        source: Of the intensity.
        kind: Of the intensity.
        begin: When it begins.
        until_s: See above.
        tick_s: Time between two lines, in seconds.
        planned: Epochs that the forecast expects; default: those of the run.
        hosts: On which it runs.
        net_share: Share of clean energy.
        embodied: By what embodied emissions are told.
        models: Product names of its GPUs, given out in turn.
    """
    journal = Journal(folder, name)
    forecaster, length = Forecaster(), Length(steps=(planned or run.epochs) * run.epoch_steps)
    kg, border, ticked_s, phase, before = 0.0, Totals(), -math.inf, "startup", Seen(0.0, 0, 0.0, {}, {})
    channels = {f"GPU-{index:08x}-0000-0000-0000-000000000000": "counter" for index in range(gpus)}
    channels = channels or {"cpu:0": "counter"}
    named = {name: models[at % len(models)] for at, name in enumerate(channels) if gpus} if models else None
    journal.put(
        Start(
            time=begin,
            run_id=name,
            version="0.1.0",
            framework="lightning",
            host=hosts[0],
            hosts=tuple(hosts),
            region=region,
            g_co2e_per_kwh=intensity(begin),
            intensity_source=source,
            pue=pue,
            budget=None,
            spent_before=Totals(),
            interval_s=tick_s + 1.0,
            net_share=net_share,
            embodied=embodied,
        )
    )
    said: Intensity | None = None
    totals, time, step, waiting = Totals(), begin, 0, None
    for seen in watched(run):
        if seen.time_s > until_s:
            journal.flush()
            journal.close()
            return journal.path
        time, step = begin + timedelta(seconds=seen.time_s), seen.step
        g = intensity(time)
        kg += (seen.energy_j - before.energy_j) * pue * g / G_PER_KG / J_PER_KWH
        was, phase = phase, next((n for n, s in seen.phases_s.items() if s != before.phases_s.get(n, 0.0)), phase)
        before = seen
        totals = Totals(
            gpu_j=seen.energy_j if gpus else 0.0,
            cpu_j=0.0 if gpus else seen.energy_j,
            kg_co2e=kg,
            duration_s=seen.time_s,
            gpu_s=gpus * seen.time_s,
            uncertainty_j=0.004 * seen.energy_j,
        )
        if phase == "wait" != was:
            waiting = totals
            journal.put(Pause(time=time, step=seen.step, reason="above 250 g/kWh"))
        elif was == "wait" != phase and waiting is not None:
            journal.put(Resume(time=time, step=seen.step, reason="below 250 g/kWh", spent=totals - waiting))
        forecaster.observe(seen.step, seen.phases_j, seen.phases_s)
        if seen.time_s - ticked_s >= tick_s:
            ticked_s, one = seen.time_s, Intensity(g, source, kind)
            changed = said is None or one.source != said.source
            journal.put(
                Tick(
                    time=time,
                    step=seen.step,
                    phase=phase,
                    totals=totals,
                    g_co2e_per_kwh=g,
                    uncertainty_kwh=0.004 * totals.kwh,
                    channels=channels if said is None else None,
                    models=named if said is None else None,
                    intensity=one if changed else None,
                )
            )
            said = one
        if seen.epoch:
            forecaster.epoch_end()
            remaining = forecaster.remaining(length)
            ahead = UNKNOWN
            if remaining is not None:
                per_joule = pue * g / G_PER_KG / J_PER_KWH
                ahead = forecast(totals.energy_j, kg, seen.time_s, remaining, per_joule)
            values = {f"forecast/{n}": getattr(ahead, n) for n in ("kwh", "kwh_low", "kwh_high")}
            values |= {f"forecast/{n}": getattr(ahead, n) for n in ("kg_co2e", "kg_co2e_low", "kg_co2e_high")}
            journal.put(
                Epoch(
                    time=time,
                    epoch=seen.epoch,
                    step=seen.step,
                    spent=totals - border,
                    totals=totals,
                    uncertainty_kwh=1e-4,
                    metrics={key: value if math.isfinite(value) else None for key, value in values.items()},
                )
            )
            border = totals
        journal.flush()
    each = dict.fromkeys(channels, totals.energy_j / len(channels))
    journal.put(
        End(
            time=time,
            step=step,
            status="finished",
            totals=totals,
            uncertainty_kwh=0.004 * totals.kwh,
            phases_j=before.phases_j,
            channels_j=each,
            kg_co2e_net=kg * (1 - net_share) if net_share else None,
            kg_co2e_embodied=embodied.kg_co2e(totals.duration_s, totals.gpu_s) if embodied is not None else None,
        )
    )
    journal.flush()
    journal.close()
    return journal.path
