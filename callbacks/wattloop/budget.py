"""Budget: the most a run may spend, in energy or in CO2e."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec

from wattloop.units import format_co2e, format_energy


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a run; the first one reached counts.

    Args:
        kg_co2e: Most CO2-equivalent the run may emit, in kg (> 0), PUE included.
        kwh: Most energy its devices may draw, in kWh (> 0).
        on_exceed: ``"stop"`` ends training the framework's own way; ``"warn"`` logs one line and goes on.
        act_on: ``"spent"`` acts when a limit is reached; ``"forecast"`` already when the low end of the forecast's
            90 % interval is above one.

    Raises:
        ValueError: A limit is not a positive finite number, none is given, or a word is not one of the two.

    Example:
        >>> Budget(kg_co2e=2.0).used_fraction(kwh=1.0, kg_co2e=0.5)
        0.25
    """

    kg_co2e: float | None = None
    kwh: float | None = None
    on_exceed: Literal["stop", "warn"] = "stop"
    act_on: Literal["spent", "forecast"] = "spent"

    def __post_init__(self) -> None:
        for name in ("kg_co2e", "kwh"):
            limit = getattr(self, name)
            if limit is None:
                continue
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= sys.float_info.max:
                raise ValueError(f"Budget: {name}={limit!r} is not accepted; give a finite number above 0")
        if self.kg_co2e is None and self.kwh is None:
            raise ValueError("Budget: kg_co2e=None and kwh=None; give at least one limit, e.g. Budget(kg_co2e=2.0)")
        if self.on_exceed not in ("stop", "warn"):
            raise ValueError(f"Budget: on_exceed={self.on_exceed!r} is not accepted; give 'stop' or 'warn'")
        if self.act_on not in ("spent", "forecast"):
            raise ValueError(f"Budget: act_on={self.act_on!r} is not accepted; give 'spent' or 'forecast'")

    def used_fraction(self, kwh: float, kg_co2e: float) -> float:
        """Return the spent share of the limit that is nearest to its end (1 = all of it).

        Args:
            kwh: Energy spent so far, in kWh.
            kg_co2e: CO2e emitted so far, in kg.
        """
        shares = ((kwh, self.kwh), (kg_co2e, self.kg_co2e))
        return max(spent / limit for spent, limit in shares if limit is not None)

    def __str__(self) -> str:
        limits = []
        if self.kg_co2e is not None:
            limits.append(format_co2e(self.kg_co2e))
        if self.kwh is not None:
            limits.append(format_energy(self.kwh))
        return " or ".join(limits)
