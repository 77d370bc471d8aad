"""Quantities as a person reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattloop.units import G_PER_LB, J_PER_KWH, format_co2e, format_energy


def test_constants_are_the_definitions() -> None:
    assert J_PER_KWH == 1000 * 60 * 60
    assert G_PER_LB == 453.59237  # the international yard and pound agreement of 1959


@pytest.mark.parametrize(
    ("kwh", "text"),
    [
        (0.0, "0 J"),
        (1 / 3.6e6, "1 J"),
        (1e-6, "3.6 J"),
        (1e-3, "1 Wh"),
        (0.0123456, "12.3 Wh"),
        (0.5, "500 Wh"),
        (1.0, "1 kWh"),
        (12.345, "12.3 kWh"),
        (999.4, "999 kWh"),
        (1000.0, "1 MWh"),
        (2500.0, "2.5 MWh"),
        (1_287_000.0, "1,287 MWh"),  # GPT-3: Patterson et al., 2021, arXiv:2104.10350
        (-0.002, "-2 Wh"),
    ],
)
def test_energy(kwh: float, text: str) -> None:
    assert format_energy(kwh) == text


@pytest.mark.parametrize(
    ("kg", "text"),
    [
        (0.0, "0 mg CO2e"),
        (3.2e-7, "0.32 mg CO2e"),
        (4.2e-3, "4.2 g CO2e"),
        (2.0, "2 kg CO2e"),
        (1530.0, "1.53 t CO2e"),
        (552_100.0, "552 t CO2e"),  # GPT-3: Patterson et al., 2021, arXiv:2104.10350
        (25_000_000.0, "25,000 t CO2e"),
    ],
)
def test_co2e(kg: float, text: str) -> None:
    assert format_co2e(kg) == text


SCALES = {"MWh": 1e3, "kWh": 1.0, "Wh": 1e-3, "J": 1 / 3.6e6, "t": 1e3, "kg": 1.0, "g": 1e-3, "mg": 1e-6}


@given(st.floats(1e-9, 1e12), st.sampled_from((format_energy, format_co2e)))
@settings(deadline=None)
def test_what_is_written_is_the_value_to_three_figures_without_an_exponent(value: float, write: object) -> None:
    text = write(value)  # type: ignore[operator]
    parts = re.fullmatch(r"([0-9,.]+) (MWh|kWh|Wh|J|t|kg|g|mg)(?: CO2e)?", text)
    assert parts, text
    assert float(parts[1].replace(",", "")) * SCALES[parts[2]] == pytest.approx(value, rel=0.00501)
