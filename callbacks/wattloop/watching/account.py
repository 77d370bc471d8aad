"""What is told of a command: in a line while it runs, and in a few when it has ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from wattloop.beside import beside
from wattloop.reports.summary import Channel
from wattloop.units import J_PER_KWH, format_co2e, format_duration, format_energy, format_share

if TYPE_CHECKING:
    from wattloop.run import Run


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a command used.

    Attributes:
        command: The command and its arguments.
        exit_code: Its exit code; 128 and the signal where one ended it.
        duration_s: From its start to its end, in seconds.
        kwh: Energy of all devices, in kWh; None: it ended before anything was measured, and so are all that follow.
        uncertainty_kwh: Half-width of the interval that holds the true energy, in kWh.
        measured_fraction: Share of the energy that was measured rather than modelled (0-1).
        kg_co2e: Emissions in kg CO2e, PUE included.
        kg_co2e_net: The same less what clean energy matched; None where no share was given.
        g_co2e_per_kwh: Carbon intensity, as last used.
        intensity_source: On whose word.
        pue: Power usage effectiveness of the site.
        channels: What was measured.
        journal: Path of the record; None where none is kept.
        warnings: What was not as it should be.
    """

    command: Sequence[str]
    exit_code: int
    duration_s: float
    kwh: float | None = None
    uncertainty_kwh: float | None = None
    measured_fraction: float | None = None
    kg_co2e: float | None = None
    kg_co2e_net: float | None = None
    g_co2e_per_kwh: float | None = None
    intensity_source: str | None = None
    pue: float | None = None
    channels: Sequence[Channel] = ()
    journal: str | None = None
    warnings: Sequence[str] = ()


def account(
    run: Run | None, command: Sequence[str], exit_code: int, duration_s: float, warnings: Sequence[str]
) -> Account:
    """Give account of a command.

    Args:
        run: What measured it; None where nothing did.
        command: The command and its arguments.
        exit_code: Its exit code.
        duration_s: How long it ran, in seconds.
        warnings: What was warned of.
    """
    # What need not be text has to be, in JSON.
    command = [os.fsencode(argument).decode(errors="replace") for argument in command]
    bare = Account(command=command, exit_code=exit_code, duration_s=duration_s, warnings=warnings)
    if run is None or run.intensity is None or not run.readings:
        return bare
    totals, intensity, channels_j = run.totals, run.intensity, run.channels_j
    return msgspec.structs.replace(
        bare,
        kwh=totals.kwh,
        uncertainty_kwh=run.uncertainty_kwh,
        measured_fraction=totals.measured_fraction,
        kg_co2e=totals.kg_co2e,
        kg_co2e_net=beside(totals, run.settings).kg_co2e_net,
        g_co2e_per_kwh=intensity.g_co2e_per_kwh,
        intensity_source=intensity.source,
        pue=run.settings.pue,
        channels=[
            Channel(one.channel, one.method, channels_j.get(one.channel, 0.0) / J_PER_KWH, one.model)
            for one in run.readings
        ],
        journal=run.journal,
    )


def lines(told: Account) -> list[str]:
    """Write an account for a person."""
    found = [f"wattloop: {warning}" for warning in told.warnings]
    took = duration(told.duration_s)
    if told.kwh is None or told.kg_co2e is None:
        return [*found, f"wattloop: {took}, over before anything was measured"]
    measured, doubt = told.measured_fraction or 0.0, told.uncertainty_kwh or 0.0
    energy = f"{format_energy(told.kwh)} ± {format_energy(doubt)}, {format_share(measured)} measured"
    net = "" if told.kg_co2e_net is None else f", net {format_co2e(told.kg_co2e_net)}"
    pue = "" if told.pue in (None, 1.0) else f", PUE {told.pue:g}"
    found.append(f"wattloop: {energy}, {format_co2e(told.kg_co2e)}{net} in {took}")
    width = max(map(len, map(_named, told.channels)))
    for channel in told.channels:
        kwh = channel.kwh or 0.0
        watts = kwh * J_PER_KWH / told.duration_s if told.duration_s else 0.0
        how = _METHODS[channel.method]
        found.append(f"  {_named(channel):{width}}  {format_energy(kwh):>9}  {watts:6.1f} W  {how}")
    found.append(f"  {told.g_co2e_per_kwh:.4g} g CO2e/kWh{pue}: {told.intensity_source}")
    if told.journal is not None:
        found.append(f"  record: {told.journal}")
    return found


_METHODS = {
    "counter": "by its energy counter",
    "integrated": "by its power, integrated",
    "modelled": "modelled, load x design power",
}


def live(run: Run, duration_s: float) -> str:
    """Write what is known so far in a short line.

    Args:
        run: What measures.
        duration_s: How long the command has run, in seconds.
    """
    if not run.readings:
        return f"wattloop {duration(duration_s)}"
    totals = run.totals
    used = f"{format_energy(totals.kwh)}  {format_co2e(totals.kg_co2e)}"
    return f"wattloop {duration(duration_s)}  {run.power_w:.0f} W  {used}"


def duration(seconds: float) -> str:
    """Write a time for a person, who may have watched a command of less than a second.

    Example:
        >>> duration(0.0421), duration(83.4)
        ('0.042 s', '83 s')
    """
    return f"{seconds:.2g} s" if seconds < 9.95 else format_duration(seconds)


def _named(channel: Channel) -> str:
    short = channel.name[:12] if channel.name.startswith("GPU-") else channel.name
    return f"{short}  {channel.model}".rstrip()
