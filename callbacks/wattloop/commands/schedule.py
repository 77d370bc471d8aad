"""``wattloop schedule``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wattloop.commands.common import AsJson, user_errors, write_json

if TYPE_CHECKING:
    from wattloop.grid.intensity import CarbonIntensity
    from wattloop.grid.schedule import Plan, Schedule

WAYS = "--series FILE, a CSV file of times and g CO2e/kWh, or --provider NAME --zone ZONE, a live forecast"

Provider = Literal["electricitymaps", "gb", "watttime", "carbon-aware-sdk", "energidataservice"]
OPTIONS = "hours series time value provider zone url kind region watts idle_watts pue threshold start".split()
CHART = 80
"""Columns of the chart in a pipe."""
Kind = Literal["average", "marginal"]


def schedule(
    hours: Annotated[float, typer.Option(help="How long the job runs.")],
    within: Annotated[float, typer.Option(help="How many hours later than at once it may be done.")] = 24.0,
    series: Annotated[
        Path | None,
        typer.Option(help="CSV file of times (UTC where they name no zone) and g CO2e/kWh.", show_default=False),
    ] = None,
    time: Annotated[str | None, typer.Option(help="Its column of times. Default: by its name.")] = None,
    value: Annotated[str | None, typer.Option(help="Its column of values. Default: by its name.")] = None,
    provider: Annotated[
        Provider | None,
        typer.Option(
            help="Whose live forecast: electricitymaps, gb, watttime, carbon-aware-sdk or energidataservice. Tokens "
            "are taken from the environment.",
            metavar="NAME",
        ),
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Where, in the provider's words: FR, OX1, CAISO_NORTH.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the provider's API. Default: the public one.", show_default=False)
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="What the values of a file or of a carbon-aware-sdk are: average or marginal.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Place of `wattloop regions`: one value, nothing to plan.")] = None,
    watts: Annotated[float, typer.Option(help="Power while the job runs.")] = 300.0,
    idle_watts: Annotated[float, typer.Option(help="Power while it is paused.")] = 0.0,
    pue: Annotated[float, typer.Option(help="Power usage effectiveness of the site.")] = 1.0,
    threshold: Annotated[
        float | None,
        typer.Option(help="Pause above this many g CO2e/kWh. Default: what the cleanest hours do not exceed."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Soonest start, ISO 8601; UTC where it names no zone. Default: now.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Say when a job would emit least: started later, or paused and resumed."""
    from wattloop.grid.schedule import plan

    with user_errors(OPTIONS):
        begin = _start(start)
        source = _source(series, region, provider, zone, url, kind, (time, value))
        _await(source, begin)
        planned = plan(source, hours, within, watts, idle_watts, start=begin, pue=pue, threshold=threshold)
    if json:
        write_json(planned)
    else:
        _show(planned)


def _source(
    series: Path | None,
    region: str | None,
    provider: Provider | None,
    zone: str | None,
    url: str | None,
    kind: Kind | None,
    columns: tuple[str | None, str | None],
) -> CarbonIntensity:
    given = {"--series": series, "--provider": provider, "--region": region}
    sources = [name for name, value in given.items() if value is not None]
    if len(sources) > 1:
        raise ValueError(f"{' and '.join(sources)} are both given; what a plan goes by comes from one of them")
    if provider is None and (zone is not None or url is not None):
        raise ValueError("--zone and --url are a live provider's; give --provider")
    if series is None and columns != (None, None):
        raise ValueError("--time and --value are columns of a file; give --series")
    if series is not None:
        from wattloop.grid.series import IntensitySeries

        time, value = columns
        return IntensitySeries.from_csv(series, time=time, value=value, kind=kind or "average", tz=UTC)
    if provider is not None:
        try:
            from wattloop.grid.providers.named import named
        except ImportError as error:
            raise ValueError(str(error)) from None
        return named(provider, zone, url, kind)
    if region is None:
        raise ValueError(f"there is nothing to plan by; give {WAYS}")
    from wattloop.grid.regions import resolve

    place = resolve(region)
    raise ValueError(
        f"of {place.name} one value is known for all of {place.year} ({place.g_co2e_per_kwh:g} g CO2e/kWh): at a "
        f"constant intensity no time is better than another. Give {WAYS}"
    )


def _start(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--start {text!r} is not a time; write it as 2025-01-31T18:00Z") from None
    return start if start.tzinfo else start.replace(tzinfo=UTC)


def _await(source: CarbonIntensity, start: datetime | None) -> None:
    """Have a source know its forecast, or say why it does not."""
    from wattloop.grid.series import IntensitySeries

    if isinstance(source, IntensitySeries):
        try:
            source.at(start or datetime.now(UTC))
        except LookupError as error:
            raise ValueError(f"{error}; give --start, a time within them") from None
        return
    from wattloop.grid.providers.live import Live
    from wattloop.grid.providers.named import await_forecast

    if isinstance(source, Live):
        await_forecast(source, start)


def _show(planned: Schedule) -> None:
    from rich.table import Table

    from wattloop.commands.terminal import printing
    from wattloop.grid.chart import chart
    from wattloop.units import format_co2e

    now = planned.now
    latest = now.start + timedelta(hours=planned.hours + planned.within_hours)
    paused = f", {planned.idle_watts:g} W while paused" if planned.idle_watts else ""
    table = Table(box=None, pad_edge=False)
    for column in ("", "start", "end", "CO2e", "saved"):
        table.add_column(
            column, justify="right" if column in ("CO2e", "saved") else "left", no_wrap=True, overflow="crop"
        )
    best = min(planned.plans, key=lambda each: each.kg_co2e)
    for each in planned.plans:
        table.add_row(
            _name(each),
            _time(each.start),
            _time(each.end),
            format_co2e(each.kg_co2e).removesuffix(" CO2e"),
            "" if each is now else f"{100.0 * each.saved_fraction:.1f} %",
            style="green" if each is best and each is not now else "",
        )
    with printing(piped_width=CHART) as console:
        heading = [
            f"{planned.hours:g} h at {planned.watts:g} W{paused}, to be done by {_time(latest)}",
            f"{planned.source}, g CO2e/kWh; times are {now.start.astimezone():%Z}",
            "",
            *chart(planned, console.width, ascii_only=console.options.ascii_only),
            "",
        ]
        for line in heading:
            console.print(line, markup=False, soft_wrap=True)
        console.print(table)
        console.print()
        console.print(_advice(planned), markup=False, soft_wrap=True)


def _name(each: Plan) -> str:
    pieces = len(each.intervals)
    paused = f", {pieces - 1} pause{'s' if pieces > 2 else ''}" if pieces > 1 else ""
    if each.kind == "threshold":
        return f"limit {each.threshold_g_co2e_per_kwh:.0f} g/kWh{paused}"
    return {"now": "now", "flexible_start": "later", "pause_and_resume": "best"}[each.kind] + paused


def _advice(planned: Schedule) -> str:
    from wattloop.units import format_co2e

    best = min(planned.plans, key=lambda each: each.kg_co2e)
    if best.saved_kg <= 0.0:
        return "Start now: no later time is cleaner."
    pauses = len(best.intervals) - 1
    pausing = f", pause {pauses} times for {best.paused_h:.3g} h in all" if pauses else ""
    begin = f"at {_time(best.start)}" if best.waits_h else "now"
    return f"Start {begin}{pausing.replace('1 times', 'once')}: saves {format_co2e(best.saved_kg)}."


def _time(time: datetime) -> str:
    return time.astimezone().strftime("%a %d %b %H:%M")
