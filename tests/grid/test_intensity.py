"""A constant intensity holds at every time, and only values a grid can have are accepted."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.grid import CarbonIntensity, ConstantIntensity, Intensity

NOON = datetime(2025, 1, 20, 12, tzinfo=UTC)


def test_the_value_and_its_source_hold_at_every_time() -> None:
    intensity: CarbonIntensity = ConstantIntensity(56.0, "supplier's contract")
    assert intensity.at(NOON) == Intensity(56.0, "supplier's contract", "average")
    assert intensity.at(NOON + timedelta(days=400)) is intensity.at(NOON)


def test_the_forecast_is_one_point_at_the_start_of_the_period() -> None:
    intensity = ConstantIntensity(56.0, "supplier's contract")
    assert list(intensity.forecast(NOON, NOON + timedelta(hours=6))) == [(NOON, intensity.at(NOON))]


@pytest.mark.parametrize("value", [0.0, -0.0, -56.0, 2500.1, float("nan"), float("inf"), "56", None])
def test_a_value_no_grid_has_is_refused_by_name(value: float) -> None:
    with pytest.raises(ValueError) as refused:
        ConstantIntensity(value, "typed by hand")
    assert f"intensity={value!r}" in str(refused.value)
    assert "g CO2e/kWh as a number above 0 and up to 2500" in str(refused.value)


@given(st.floats(min_value=0.0, max_value=2500.0, exclude_min=True))
def test_every_value_in_the_range_is_accepted_as_it_is(value: float) -> None:
    assert ConstantIntensity(value, "measured").at(NOON).g_co2e_per_kwh == value


def test_it_cannot_be_changed_and_survives_pickling() -> None:
    intensity = ConstantIntensity(56.0, "supplier's contract")
    intensity.at(NOON)
    with pytest.raises(AttributeError):
        intensity.g_co2e_per_kwh = 1.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(intensity)) == intensity
