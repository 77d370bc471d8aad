"""World: the shapes of the countries, with what their electricity emits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wattloop.grid.regions import regions

SHAPES = Path(__file__).parent / "data" / "world.json"


def shapes() -> dict[str, Any]:
    """Return the topology of all countries, each with its code as id, its name and its yearly intensity if known."""
    topology: dict[str, Any] = json.loads(SHAPES.read_bytes())
    known = {region.code: region for region in regions()}
    for shape in topology["objects"]["countries"]["geometries"]:
        region = known.get(shape["id"])
        if region is None:
            shape["properties"]["label"] = "not known"
        else:
            label = f"{region.g_co2e_per_kwh:.0f} g/kWh ({region.year})"
            shape["properties"] |= {"name": region.name, "g": region.g_co2e_per_kwh, "label": label}
    return topology
