"""The guard of a budget: what it says, when, and what makes a run stop."""

from __future__ import annotations

import logging

import pytest

from wattloop.budget import Budget
from wattloop.footprint import Totals
from wattloop.forecast import Forecast
from wattloop.guard import BudgetGuard

J_PER_KWH = 3.6e6


def spent(kwh: float) -> Totals:
    return Totals(gpu_j=kwh * J_PER_KWH, kg_co2e=kwh / 2)


def ahead(low_kwh: float) -> Forecast:
    values = (low_kwh * 1.1, low_kwh, low_kwh * 1.2)
    return Forecast(*values, *(value / 2 for value in values), 60.0, 50.0, 70.0, 0.0, 0.0, 0.0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_half_and_four_fifths_and_nineteen_twentieths_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    guard = BudgetGuard(Budget(kwh=100.0))
    for percent in range(100):
        assert not guard.look(spent(percent))
        assert not guard.look(spent(percent))
    assert [line.partition(":")[0] for line in said(caplog)] == [
        f"{percent}% of the budget of 100 kWh is spent" for percent in (50, 80, 95)
    ]


def test_a_run_resumed_with_much_spent_is_told_only_how_much(caplog: pytest.LogCaptureFixture) -> None:
    guard = BudgetGuard(Budget(kwh=100.0))
    guard.look(spent(85.0))
    guard.look(spent(86.0))
    (line,) = said(caplog)
    assert line.startswith("85% of the budget of 100 kWh is spent: 42.5 kg CO2e, 85 kWh")


@pytest.mark.parametrize(("budget", "over_at"), [(Budget(kwh=100.0), 100.0), (Budget(kwh=100.0, kg_co2e=40.0), 80.0)])
def test_the_limit_reached_first_is_a_reason_to_stop(budget: Budget, over_at: float) -> None:
    guard = BudgetGuard(budget)
    assert not guard.look(spent(over_at - 0.01))
    assert guard.over is None
    assert guard.look(spent(over_at))
    assert guard.over is not None
    assert guard.over.startswith(f"budget of {budget} spent: ")
    assert not guard.look(spent(over_at + 1)), "said already"


def test_a_budget_that_only_warns_never_stops(caplog: pytest.LogCaptureFixture) -> None:
    guard = BudgetGuard(Budget(kwh=1.0, on_exceed="warn"))
    assert not any(guard.look(spent(kwh)) for kwh in (0.1, 1.0, 1.5, 2.0))
    assert guard.over is None
    (line,) = said(caplog)
    assert line == "budget of 1 kWh spent: 500 g CO2e, 1 kWh; training goes on"


def test_one_high_forecast_ends_nothing_but_three_in_a_row_do() -> None:
    guard = BudgetGuard(Budget(kwh=10.0, act_on="forecast"))
    for low_kwh in (11.0, 11.0, 9.0, 11.0, 11.0):
        assert not guard.look(spent(1.0), ahead(low_kwh))
    assert guard.look(spent(1.0), ahead(11.0))
    assert guard.over == "budget of 10 kWh will not do: the run is to take 5.5 kg CO2e, 11 kWh at least"
    assert not guard.looks_ahead


def test_a_forecast_counts_only_where_the_budget_acts_on_it() -> None:
    guard = BudgetGuard(Budget(kwh=10.0))
    assert not guard.looks_ahead
    assert not any(guard.look(spent(1.0), ahead(50.0)) for _ in range(10))


def test_a_warning_of_what_is_to_come_does_not_replace_that_of_what_came(caplog: pytest.LogCaptureFixture) -> None:
    guard = BudgetGuard(Budget(kwh=10.0, act_on="forecast", on_exceed="warn"))
    for _ in range(5):
        guard.look(spent(1.0), ahead(11.0))
    for _ in range(5):
        guard.look(spent(10.0), ahead(11.0))
    will, did = said(caplog)
    assert will.startswith("budget of 10 kWh will not do: ")
    assert did.startswith("budget of 10 kWh spent: ")
    assert will.endswith("; training goes on")


def test_other_ranks_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    guard = BudgetGuard(Budget(kwh=1.0), speaks=False)
    guard.look(spent(0.9))
    assert guard.look(spent(1.0))
    assert said(caplog) == []
