"""How much CO2e a kWh of electricity stands for: where, when, and on whose word.

Live providers are in `wattloop.grid.providers`, which needs ``pip install 'wattloop[grid]'``.
"""

from __future__ import annotations

from wattloop.grid.intensity import CarbonIntensity, ConstantIntensity, Intensity, NotKnown
from wattloop.grid.regions import Region, regions, resolve, world

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wattloop.grid.series import IntensitySeries

__all__ = [
    "CarbonIntensity",
    "ConstantIntensity",
    "Intensity",
    "IntensitySeries",
    "NotKnown",
    "Region",
    "regions",
    "resolve",
    "world",
]


def __getattr__(name: str) -> Any:
    if name != "IntensitySeries":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wattloop.grid.series import IntensitySeries  # zones and CSV, needed by few

    return IntensitySeries
