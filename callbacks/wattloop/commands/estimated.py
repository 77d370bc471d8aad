"""What `wattloop estimate` tells a person: inputs, results with their formulas, equivalents, and the same elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from wattloop.commands.common import first_word, shortened
from wattloop.commands.hardware import scope
from wattloop.commands.terminal import printing
from wattloop.equivalents import SOURCE
from wattloop.estimating import Estimate
from wattloop.grid.regions import resolve
from wattloop.hardware import resolve as resolve_hardware
from wattloop.units import format_co2e, format_energy

ROOM_FOR_PLACE = 27
"""Columns that the longest code of a region takes."""
MADE = "NVIDIA's figure for a GPU of an HGX H100"


def show(done: Estimate, *, world_by_default: bool) -> None:
    """Print an estimate.

    Args:
        done: The estimate.
        world_by_default: No place was named, so that it is for the world's average.
    """
    several = len({basis for *_, basis in _places_rows(done) if basis}) > 1
    caution = "; across bases they compare only roughly" if several else ""
    with printing() as console:
        console.print(_facts([*_inputs(done, world_by_default)]))
        console.print()
        console.print(_facts([*_results(done)], of_results=True))
        console.print()
        console.print(_facts([("as much as", _equivalents(done))]))
        console.print()
        console.print(_places_table(done, console.width))
        console.print(f"cleanest and dirtiest of {done.elsewhere_of}, gross{caution}", markup=False)


def _inputs(done: Estimate, world_by_default: bool) -> Iterator[tuple[str, str]]:
    devices = f"{done.count:,} x " if done.count is not None else ""
    time = f"{_number(done.hours)} h" if done.hours is not None else f"{_number(done.gpu_hours)} device-hours"
    every = f" ({_number(done.gpu_hours)} device-hours)" if done.count is not None and done.count > 1 else ""
    yield "run", f"{devices}{done.gpu or 'device'}, {time}{every}"
    yield "power", _power(done)
    if not done.region:
        yield "grid", f"{done.g_co2e_per_kwh:g} g CO2e/kWh, as given"
    else:
        why = "; no --region is given, so this is the world average" if world_by_default else ""
        yield "grid", f"{done.g_co2e_per_kwh:g} g CO2e/kWh, {done.intensity_source}{why}"
    if done.pue == 1.0:
        yield "PUE", "1, the devices alone: cooling and the like are not in it"


def _power(done: Estimate) -> str:
    watts = f"{_number(done.watts)} W per device"
    if done.watts_from == "given" or done.gpu is None:
        return f"{watts}, as given"
    device = resolve_hardware(done.gpu)
    note = f". {device.note}" if device.note else ""
    if done.watts_from == "measured":
        return f"{watts}, the mean measured while training, {scope(device)} ({done.watts_source}){note}"
    share = done.utilization
    part = f"{share:g} x {device.tdp_w:g} W TDP" if share is not None else "TDP, a rough upper bound"
    return f"{watts}: {part}, without the host ({done.watts_source}){note}"


def _results(done: Estimate) -> Iterator[tuple[str, str, str]]:
    devices = f"{done.count:,} x " if done.count is not None else ""
    hours = f"{_number(done.hours)} h" if done.hours is not None else f"{_number(done.gpu_hours)} device-h"
    kwh = f"{_number(done.kwh)} kWh"
    gross = f"{kwh} x {done.g_co2e_per_kwh / 1e3:g} kg/kWh"
    yield "energy", format_energy(done.kwh), f"{devices}{_number(done.watts)} W x {hours} x PUE {done.pue:g} / 1000"
    yield "gross", format_co2e(done.kg_co2e), gross
    if done.kg_co2e_net is not None:
        share = f"{gross} x (1 - {done.net_share:g})" if done.net_share is not None else ""
        net_g = done.net_g_co2e_per_kwh
        yield "net", format_co2e(done.kg_co2e_net), share or f"{kwh} x {(net_g or 0.0) / 1e3:g} kg/kWh"
    if done.kg_co2e_embodied is not None and done.embodied is not None:
        life = f"{done.embodied.lifetime_years:g} years x 8,760 h"
        made = f"{done.embodied.kg_co2e_per_device:g} kg x {_number(done.gpu_hours)} device-h"
        yield "embodied", format_co2e(done.kg_co2e_embodied), f"{made} / ({life}), in neither; {MADE}"


def _equivalents(done: Estimate) -> str:
    same = done.equivalents
    told = [
        (same.phone_charges, "phone charges"),
        (same.car_km, "km by car"),
        (same.home_years, "years of a US home's energy"),
        (same.passenger_flights, "return flights San Francisco-New York of a passenger"),
    ]
    # A small part of one thing, or a million of another, says nothing to anybody.
    worth = [(value, what) for value, what in told if 0.1 <= value < 1e6] or [told[0] if told[0][0] < 0.1 else told[-1]]
    return f"{', or '.join(f'{_about(value)} {what}' for value, what in worth)} ({SOURCE})"


def _facts(rows: list[tuple[str, ...]], *, of_results: bool = False) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    if of_results:
        table.add_column(style="green", no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _places_table(done: Estimate, width: int) -> Table:
    rows = [*_places_rows(done)]
    heads = ["", "g/kWh", "CO2e", "of this", "basis"]
    cells = [
        [
            role,
            f"{g_co2e_per_kwh:.1f}",
            format_co2e(kg_co2e).removesuffix(" CO2e"),
            _share(g_co2e_per_kwh, done.g_co2e_per_kwh),
            basis,
        ]
        for role, _, _, g_co2e_per_kwh, kg_co2e, basis in rows
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    while (room := width - sum(widths) - 2 * len(widths)) < ROOM_FOR_PLACE and len(widths) > 3:
        widths.pop()
    table = Table(box=None, pad_edge=False)
    for head in ("", "place", *heads[1 : len(widths)]):
        table.add_column(
            head, justify="left" if head in ("", "place", "basis") else "right", no_wrap=True, overflow="crop"
        )
    for (role, code, name, *_), (_, *rest) in zip(rows, cells, strict=True):
        place = Text(_place(code, name, room))
        table.add_row(role, place, *rest[: len(widths) - 1], style="green" if role == "cleanest" else "")
    return table


def _share(g_co2e_per_kwh: float, of_g: float) -> str:
    share = 100.0 * g_co2e_per_kwh / of_g
    return f"{_about(share)} %" if share < 1e6 else "> 1,000,000 %"


def _place(code: str, name: str, room: int) -> str:
    """Write a place within a width: its code whole, as that is what one gives for --region."""
    if ":" in code:  # a cloud's regions have their code in their name
        name = name.partition(", ")[2]
    full = shortened(f"{code}  {name}".strip(), room)
    return full if len(code) + 8 <= room or full == code else code


def _places_rows(done: Estimate) -> Iterator[tuple[str, str, str, float, float, str]]:
    basis = resolve(done.region).basis if done.region else ""
    yield "this", done.region, done.place or "as given", done.g_co2e_per_kwh, done.kg_co2e, first_word(basis)
    for each in done.elsewhere:
        role = "" if each.role == "compared" else each.role
        yield role, each.region, each.name, each.g_co2e_per_kwh, each.kg_co2e, first_word(each.basis)


def _number(value: float | None) -> str:
    """Write a number of a formula so that who follows it comes to the same result."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) or value >= 1e6 else f"{value:,.6g}"


def _about(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 99.5 else f"{value:.3g}"
