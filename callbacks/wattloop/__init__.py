"""wattloop: the energy and CO2e of a training run, beside its loss.

Nothing is imported before it is used, so that ``import wattloop`` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing it from typing would be most of the cost of importing this
if TYPE_CHECKING:
    from typing import Any

    from wattloop.budget import Budget
    from wattloop.clean_hours import CleanHours
    from wattloop.embodied import Embodied
    from wattloop.estimating import estimate
    from wattloop.forecast import Forecast
    from wattloop.grid.intensity import CarbonIntensity
    from wattloop.loop import track
    from wattloop.run import Run

__all__ = ["Budget", "CarbonIntensity", "CleanHours", "Embodied", "Forecast", "Run", "estimate", "track"]
__version__ = "0.1.0"

_HOMES = {
    "Budget": "wattloop.budget",
    "CarbonIntensity": "wattloop.grid.intensity",
    "CleanHours": "wattloop.clean_hours",
    "Embodied": "wattloop.embodied",
    "Forecast": "wattloop.forecast",
    "Run": "wattloop.run",
    "estimate": "wattloop.estimating",
    "track": "wattloop.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
