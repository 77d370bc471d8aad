"""Budgets: what is accepted, and how much of one is spent."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattloop.budget import Budget


@pytest.mark.parametrize("limit", ["kg_co2e", "kwh"])
@pytest.mark.parametrize("value", [0, 0.0, -1, -1e-300, math.nan, math.inf, -math.inf, True, "2", 10**400, [1.0], 2j])
def test_a_limit_must_be_a_finite_number_above_0(limit: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=f"^Budget: {limit}=.* is not accepted; give a finite number above 0$"
    ) as error:
        Budget(**{limit: value})
    assert repr(value) in str(error.value)


def test_no_limit_at_all_is_no_budget() -> None:
    with pytest.raises(ValueError, match="give at least one limit"):
        Budget()


@pytest.mark.parametrize("word", ["halt", "", None, True, "STOP"])
def test_on_exceed_is_one_of_two_words(word: Any) -> None:
    with pytest.raises(ValueError, match=f"on_exceed={word!r} is not accepted; give 'stop' or 'warn'"):
        Budget(kwh=1.0, on_exceed=word)


def test_limits_are_named_and_the_default_is_to_stop() -> None:
    with pytest.raises(TypeError):
        Budget(2.0)  # type: ignore[call-arg, misc]
    assert Budget(kwh=2).on_exceed == "stop"


@pytest.mark.parametrize(
    ("budget", "used"),
    [
        (Budget(kwh=4), 0.25),
        (Budget(kg_co2e=4), 0.5),
        (Budget(kg_co2e=4, kwh=4), 0.5),
        (Budget(kg_co2e=40, kwh=4), 0.25),
        (Budget(kwh=0.5), 2.0),
    ],
)
def test_the_limit_nearest_to_its_end_counts(budget: Budget, used: float) -> None:
    assert budget.used_fraction(kwh=1.0, kg_co2e=2.0) == used


positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(st.one_of(st.none(), positive), positive, st.floats(0, 1e6), st.floats(0, 1e6))
@settings(deadline=None)
def test_used_up_means_a_limit_was_reached(
    kg_co2e: float | None, kwh: float, spent_kwh: float, spent_kg: float
) -> None:
    budget = Budget(kg_co2e=kg_co2e, kwh=kwh)
    reached = spent_kwh >= kwh or (kg_co2e is not None and spent_kg >= kg_co2e)
    assert (budget.used_fraction(spent_kwh, spent_kg) >= 1) == reached


def test_it_is_written_for_people() -> None:
    assert str(Budget(kg_co2e=0.002)) == "2 g CO2e"
    assert str(Budget(kg_co2e=2.0, kwh=10.0)) == "2 kg CO2e or 10 kWh"


def test_it_is_a_value() -> None:
    budget = Budget(kg_co2e=2.0, on_exceed="warn")
    assert budget == Budget(kg_co2e=2.0, on_exceed="warn") == copy.deepcopy(budget)
    assert pickle.loads(pickle.dumps(budget)) == budget
    assert msgspec.json.decode(msgspec.json.encode(budget), type=Budget) == budget
    with pytest.raises(AttributeError):
        budget.kwh = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("word", ["spend", "", None, True])
def test_act_on_is_one_of_two_words(word: Any) -> None:
    with pytest.raises(ValueError, match=f"act_on={word!r} is not accepted; give 'spent' or 'forecast'"):
        Budget(kwh=1.0, act_on=word)
