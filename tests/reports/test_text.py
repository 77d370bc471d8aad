"""Figures written for a person."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from time import tzset

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.reports.text import energy, moment
from wattloop.units import format_share


@pytest.mark.parametrize(
    ("kwh", "uncertainty_kwh", "written"),
    [
        (0.0123456, 0.00021, "12.35 ± 0.21 Wh"),
        (123.456, 1.234, "123.5 ± 1.2 kWh"),
        (1234.5, 100.0, "1.23 ± 0.10 MWh"),
        (35 / 3.6e6, 70 / 3.6e6, "35 ± 70 J"),
        (0.0, 20 / 3.6e6, "0 ± 20 J"),
        (0.5, 0.0, "500.0 ± 0 Wh"),
        (0.5, 1e-9, "500.000 ± 0.000 Wh"),
        (0.0, 0.0, "0 ± 0 kWh"),
        (math.inf, 1.0, "? ± ? kWh"),
    ],
)
def test_an_energy_is_written_to_the_digits_that_mean_something(
    kwh: float, uncertainty_kwh: float, written: str
) -> None:
    value, doubt, unit = energy(kwh, uncertainty_kwh)
    assert f"{value} ± {doubt} {unit}" == written


@given(st.floats(), st.floats())
def test_any_energy_is_written(kwh: float, uncertainty_kwh: float) -> None:
    assert all(energy(kwh, uncertainty_kwh))


@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1))
def test_what_is_written_is_as_good_as_its_digits(kwh: float, share: float) -> None:
    value, doubt, unit = energy(kwh, share * kwh)
    scale = {"J": 1 / 3.6e6, "Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}[unit]
    assert float(value) * scale == pytest.approx(kwh, abs=0.06 * share * kwh)
    assert float(doubt) * scale == pytest.approx(share * kwh, rel=0.06)


@pytest.mark.parametrize("time", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_ends_of_time_are_written_in_every_zone(monkeypatch: pytest.MonkeyPatch, time: datetime, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    tzset()
    try:
        assert re.match(r"(000)?\d+-\d\d-\d\d \d\d:\d\d \S+", moment(time))
    finally:
        monkeypatch.undo()
        tzset()


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(1.0, "100%"), (0.1 + 0.2 + 0.7, "100%"), (0.99999, "99.9%"), (0.9951, "99.5%"), (0.8, "80%"), (0.0, "0%")],
)
def test_only_all_of_it_is_100_percent(fraction: float, text: str) -> None:
    assert format_share(fraction) == text
