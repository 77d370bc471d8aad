"""BudgetGuard: compares what a run has spent, and is going to, with what it may."""

from __future__ import annotations

import logging

from wattloop.budget import Budget
from wattloop.footprint import Totals
from wattloop.forecast import Forecast
from wattloop.units import format_co2e, format_energy

log = logging.getLogger("wattloop")

MARKS = (0.5, 0.8, 0.95)
"""Spent shares of a budget that are worth a line."""
FORECASTS = 3
"""Forecasts in a row that must be over a budget which acts on them."""


class BudgetGuard:
    """Watches one run's budget, and says each thing once.

    Args:
        budget: The budget; None for none, which is never spent.
        speaks: Whether this process is the one to warn.

    Attributes:
        over: Why the run is to stop, in words; None as long as it may go on.
    """

    def __init__(self, budget: Budget | None, speaks: bool = True) -> None:
        self._budget = budget
        self._speaks = speaks
        self._said: set[str] = set()
        self._mark = 0.0
        self._too_high = 0
        self.over: str | None = None

    @property
    def looks_ahead(self) -> bool:
        """A forecast is wanted: the budget acts on it, and has not yet."""
        return self._budget is not None and self._budget.act_on == "forecast" and not (self.over or self._said)

    def look(self, totals: Totals, forecast: Forecast | None = None) -> bool:
        """Compare; return True when that makes a reason to stop.

        Args:
            totals: What was spent so far.
            forecast: The whole run's, if it is known and wanted.
        """
        budget = self._budget
        if budget is None or self.over is not None:
            return False
        used = budget.used_fraction(totals.kwh, totals.kg_co2e)
        spent = f"{format_co2e(totals.kg_co2e)}, {format_energy(totals.kwh)}"
        if used >= 1.0:
            return self._exceeded("spent", f"budget of {budget} spent: {spent}")
        mark = max((mark for mark in MARKS if mark <= used), default=0.0)
        if mark > self._mark:
            self._mark = mark
            self._say(f"{used:.0%} of the budget of {budget} is spent: {spent}")
        if forecast is not None and self.looks_ahead:
            # The low end of one forecast in twenty is too high: one alone ends nothing.
            too_high = budget.used_fraction(forecast.kwh_low, forecast.kg_co2e_low) > 1.0
            self._too_high = self._too_high + 1 if too_high else 0
            if self._too_high >= FORECASTS:
                least = f"{format_co2e(forecast.kg_co2e_low)}, {format_energy(forecast.kwh_low)} at least"
                return self._exceeded("forecast", f"budget of {budget} will not do: the run is to take {least}")
        return False

    def _exceeded(self, what: str, over: str) -> bool:
        if self._budget is not None and self._budget.on_exceed == "stop":
            self.over = over
        elif what not in self._said:
            self._said.add(what)
            self._say(f"{over}; training goes on")
        return self.over is not None

    def _say(self, text: str) -> None:
        if self._speaks:
            log.warning(text)
