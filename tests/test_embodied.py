"""Embodied emissions, by ISO/IEC 21031, and what is told beside gross ones; figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.beside import beside
from wattloop.embodied import Embodied
from wattloop.footprint import Totals
from wattloop.options import validated

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


@pytest.mark.parametrize("name", ["kg_co2e_per_device", "lifetime_years", "devices"])
@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, True, "4", [4.0], 10**400])
def test_what_is_no_positive_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as error:
        Embodied(**{name: value})
    assert str(error.value) == f"Embodied: {name}={value!r} is not accepted; give a finite number above 0"


def test_a_device_that_serves_one_run_all_its_life_is_that_runs() -> None:
    assert Embodied(lifetime_years=6.0).kg_co2e(6 * YEAR_S, 6 * YEAR_S) == pytest.approx(164.0)


def test_a_board_of_eight_h100_is_its_makers_figure() -> None:
    assert Embodied().kg_co2e(4 * YEAR_S, 8 * 4 * YEAR_S) == pytest.approx(1312.0)


def test_gpus_are_counted_each_for_as_long_as_it_was() -> None:
    # 4 GPUs for a day, then 2 for 5 days.
    one = Embodied(kg_co2e_per_device=365.0, lifetime_years=10.0)
    assert one.kg_co2e(6 * DAY_S, (4 * 1 + 2 * 5) * DAY_S) == pytest.approx(1.4)


def test_a_slice_of_a_gpu_is_a_part_of_one_whatever_was_counted() -> None:
    one = Embodied(kg_co2e_per_device=365.0, lifetime_years=1.0, devices=1 / 7)
    assert one.kg_co2e(7 * DAY_S, 99 * DAY_S) == pytest.approx(1.0)


def test_without_a_gpu_nobody_knows_what_to_share_out() -> None:
    assert Embodied().kg_co2e(DAY_S, 0.0) is None
    assert Embodied(kg_co2e_per_device=365.0, lifetime_years=1.0, devices=2).kg_co2e(DAY_S, 0.0) == pytest.approx(2.0)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1e-3, 1e6), st.floats(1e-3, 100))
def test_parts_of_a_run_add_up_to_it(first_s: float, second_s: float, kg: float, years: float) -> None:
    one = Embodied(kg_co2e_per_device=kg, lifetime_years=years, devices=3)
    parts = [one.kg_co2e(span_s, 0.0) or 0.0 for span_s in (first_s, second_s)]
    assert sum(parts) == pytest.approx(one.kg_co2e(first_s + second_s, 0.0))


# -- beside gross emissions --------------------------------------------------------------------------------------------

SPENT = Totals(gpu_j=3.6e6, kg_co2e=96.4, duration_s=DAY_S, gpu_s=8 * DAY_S)


def test_where_nothing_was_given_nothing_is_told() -> None:
    one = beside(SPENT, validated({"region": "FR"}))
    assert (one.kg_co2e_net, one.kg_co2e_embodied, str(one)) == (None, None, "")


@pytest.mark.parametrize(
    ("gross_t", "gross_kg_per_kwh", "net_kg_per_kwh", "net_t"),
    [(4.8, 0.201, 0.177, 4.3), (72.2, 0.403, 0.330, 59.1)],
    ids=["GShard-600B", "Switch Transformer"],
)
def test_net_emissions_are_those_of_patterson_et_al(
    gross_t: float, gross_kg_per_kwh: float, net_kg_per_kwh: float, net_t: float
) -> None:
    settings = validated({"net_share": 1 - net_kg_per_kwh / gross_kg_per_kwh})
    net_kg = beside(Totals(kg_co2e=1000 * gross_t), settings).kg_co2e_net
    assert net_kg == pytest.approx(1000 * net_t, rel=0.02)  # the paper's table 4 has two figures


def test_all_of_it_matched_is_net_zero_and_said_to_be() -> None:
    one = beside(SPENT, validated({"net_share": 1.0}))
    assert (one.kg_co2e_net, one.kg_co2e_embodied) == (0.0, None)
    assert str(one) == " (net 0 mg CO2e)"


def test_embodied_emissions_are_told_apart_from_both() -> None:
    one = beside(SPENT, validated({"net_share": 0.25, "embodied": Embodied(kg_co2e_per_device=365.0)}))
    assert (one.kg_co2e_net, one.kg_co2e_embodied) == (pytest.approx(72.3), pytest.approx(2.0))
    assert str(one) == " (net 72.3 kg CO2e, embodied 2 kg CO2e apart)"


def test_that_they_are_not_known_is_said_where_they_were_asked_for() -> None:
    one = beside(Totals(cpu_j=1.0, duration_s=1.0), validated({"embodied": Embodied()}))
    assert one.kg_co2e_embodied is None
    assert str(one) == " (embodied not known: no GPU was counted, give devices=)"
