"""``wattloop regions``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from wattloop.commands.common import AsJson, columns, first_word, refuse, shortened, write_json

if TYPE_CHECKING:
    from wattloop.grid.regions import Region


def regions(
    search: Annotated[str, typer.Argument(help="Part of a code or name: FR, carolina, aws:eu. Default: all.")] = "",
    json: AsJson = False,
) -> None:
    """List the places that region= knows, with the yearly carbon intensity of each."""
    from wattloop.grid.regions import search as find
    from wattloop.grid.regions import suggestions

    found = find(search)
    if not found:
        near = " or ".join(f"{region.code} ({region.name})" for region in suggestions(search))
        refuse(f"no region has {search!r} in its code or name" + (f"; did you mean {near}?" if near else ""))
    if json:
        write_json(found)
    elif len(found) == 1:
        region = found[0]
        typer.echo(f"{region.code}: {region.name}")
        typer.echo(f"{region.g_co2e_per_kwh:g} g CO2e/kWh, {region.year}" + _of(region))
        typer.echo(f"{region.source}\n{region.basis}")
    else:
        code = max(len(region.code) for region in found)
        name = max(len(region.name) for region in found)
        if sys.stdout.isatty():
            name = min(name, max(12, columns() - code - 40))
        typer.echo(f"{'code':{code}}  {'name':{name}}   g/kWh  year  basis")
        for region in found:
            value = f"{region.g_co2e_per_kwh:6.1f}  {region.year}  {first_word(region.basis)}{_of(region)}"
            typer.echo(f"{region.code:{code}}  {shortened(region.name, name):{name}}  {value}")


def _of(region: Region) -> str:
    return f", of {region.place}" if region.place else ""
