"""Options are checked once, at construction, and a refusal names the option, the value and what is accepted."""

from __future__ import annotations

import math
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattloop.budget import Budget
from wattloop.embodied import Embodied
from wattloop.grid.intensity import Intensity
from wattloop.meters import MeterOptions
from wattloop.options import RunOptions, validated
from wattloop.run import Run

RANGES = {"pue": "a number from 1 to 10", "net_share": "a number from 0 to 1", "interval_s": "a number from 0.01 to 60"}
COUNTS = ("total_epochs", "total_steps", "log_every_n_steps")
PATHS = ("log_dir", "powercap_root")
HUGE = 10**400


class Grid:
    def at(self, time: datetime) -> Intensity:
        return Intensity(42.0, "a test")

    def forecast(self, start: datetime, end: datetime) -> None:
        return None


def refusal(**options: Any) -> str:
    with pytest.raises(ValueError) as error:
        Run(**options)
    return str(error.value)


NO_NUMBERS = [-1, math.nan, math.inf, -math.inf, HUGE, -HUGE, "1.2", None, [1.0], 1j]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pue", value) for value in (0.999, 0, 0.0, 10.01, True, *NO_NUMBERS)),
        *(("net_share", value) for value in (-0.001, 1.001, 50, True, *NO_NUMBERS)),
        *(("interval_s", value) for value in (0, 0.0, 0.009, 60.1, True, False, *NO_NUMBERS)),
    ],
)
def test_a_number_out_of_range_or_none_at_all(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}={value!r} is not accepted; give {RANGES[name]}"


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, math.nan, True, False, "10", [1], -HUGE, Fraction(3)])
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_is_no_whole_number_of_1_or_more(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}={value!r} is not accepted; give a whole number of 1 or more"


@pytest.mark.parametrize("value", [0, 0.0, -56, math.nan, math.inf, 2501, HUGE])
def test_an_intensity_no_grid_has(value: Any) -> None:
    assert refusal(intensity=value) == (
        f"intensity={value!r} is not accepted; give g CO2e/kWh as a number above 0 and up to 2500"
    )


@pytest.mark.parametrize("value", [True, "56", [56.0], object()])
def test_an_intensity_that_is_none(value: Any) -> None:
    assert refusal(intensity=value).startswith(f"intensity={value!r} is not accepted; give gCO2e/kWh (> 0) or a ")


@pytest.mark.parametrize(
    ("region", "near"),
    [
        ("Frnace", "'FR' (France)"),
        ("Untied Kingdom", "'GB' (United Kingdom)"),
        ("Californa", "'US-CA' (California, US)"),
    ],
)
def test_an_unknown_region_with_a_near_match(region: str, near: str) -> None:
    message = refusal(region=region)
    assert message.startswith(f"region={region!r} is not known; did you mean ")
    assert near in message
    assert "ISO 3166" in message


@pytest.mark.parametrize("region", ["Atlantis", "", " ", "ZZ", "US-ZZ", "\0", "FR\nDE"])
def test_an_unknown_region(region: str) -> None:
    message = refusal(region=region)
    assert message.startswith(f"region={region!r} is not known")
    assert "Accepted: an ISO 3166 country code" in message


@pytest.mark.parametrize("region", [7, True, b"FR", ["FR"]])
def test_a_region_that_is_no_text(region: Any) -> None:
    assert refusal(region=region).startswith(f"region={region!r} is not accepted; give a place by code or name")


@pytest.mark.parametrize("budget", [2.0, 0, True, "2 kg", [2.0], False])
def test_a_budget_that_is_none(budget: Any) -> None:
    assert refusal(budget=budget) == f"budget={budget!r} is not accepted; give a Budget, e.g. Budget(kg_co2e=2.0)"


@pytest.mark.parametrize("value", [-1.0, 0, math.nan, math.inf])
def test_a_budget_without_a_sense(value: float) -> None:
    assert f"kg_co2e={value!r} is not accepted" in refusal(budget={"kg_co2e": value})


@pytest.mark.parametrize("embodied", [164.0, 0, True, "164 kg", [164.0], False])
def test_embodied_emissions_that_are_none(embodied: Any) -> None:
    assert refusal(embodied=embodied) == (
        f"embodied={embodied!r} is not accepted; give an Embodied, e.g. Embodied(lifetime_years=5.0)"
    )


@pytest.mark.parametrize("value", [1, 0, "no", "True", [], 1.0])
def test_a_yes_or_no_that_is_neither(value: Any) -> None:
    assert refusal(modelled_cpu=value) == f"modelled_cpu={value!r} is not accepted; give True or False"


@pytest.mark.parametrize("value", [7, True, b"logs", ["logs"], "lo\0gs"])
@pytest.mark.parametrize("name", PATHS)
def test_a_folder_that_is_no_path(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == f"{name}={value!r} is not accepted; give the path of a folder"


def test_an_unknown_option_names_its_neighbour_and_all_that_there_are() -> None:
    with pytest.raises(TypeError) as error:
        Run(regoin="FR")  # type: ignore[call-arg]
    message = str(error.value)
    assert message.startswith("unknown option regoin='FR'; did you mean 'region'? Accepted: ")
    assert all(name in message for name in RunOptions.__annotations__)


def test_an_unknown_option_like_no_other() -> None:
    with pytest.raises(TypeError, match=r"^unknown option xyz=1\. Accepted: region, intensity, pue, "):
        Run(xyz=1)  # type: ignore[call-arg]


# -- what is accepted -------------------------------------------------------------------------------------------------


def test_without_options_the_world_is_the_place_and_is_said_not_to_be_given() -> None:
    settings = validated({})
    assert (settings.region, settings.place_given, settings.pue, settings.interval_s) == ("WORLD", False, 1.0, 1.0)
    assert (settings.budget, settings.total_epochs, settings.total_steps, settings.log_dir) == (None,) * 4
    assert settings.meters == MeterOptions(modelled_cpu=False, powercap_root="/sys/class/powercap")


def test_a_region_is_resolved_to_its_code_and_yearly_intensity() -> None:
    settings = validated({"region": "france"})
    assert (settings.region, settings.place_given) == ("FR", True)
    assert "France" in settings.intensity.at(datetime.now()).source


def test_an_intensity_goes_before_the_regions_and_the_region_is_kept() -> None:
    settings = validated({"region": "FR", "intensity": 300})
    intensity = settings.intensity.at(datetime.now())
    assert (settings.region, intensity.g_co2e_per_kwh, intensity.source) == ("FR", 300.0, "given by the user")
    assert isinstance(intensity.g_co2e_per_kwh, float)


def test_with_an_intensity_alone_no_region_is_claimed() -> None:
    settings = validated({"intensity": 300.0})
    assert (settings.region, settings.place_given) == ("", True)


def test_any_source_of_intensity_is_taken_as_it_is() -> None:
    grid = Grid()
    assert validated({"intensity": grid}).intensity is grid


def test_emissions_are_gross_and_operational_if_nothing_else_is_asked_for() -> None:
    assert (validated({}).net_share, validated({}).embodied) == (0.0, None)
    assert validated({"net_share": 1, "embodied": Embodied()}).net_share == 1.0


@pytest.mark.parametrize("embodied", [Embodied(devices=2), {"devices": 2}])
def test_embodied_emissions_may_come_as_a_mapping(embodied: Any) -> None:
    assert validated({"embodied": embodied}).embodied == Embodied(devices=2)


@pytest.mark.parametrize("budget", [Budget(kwh=2.0), {"kwh": 2.0}])
def test_a_budget_may_come_as_a_mapping(budget: Any) -> None:
    assert validated({"budget": budget}).budget == Budget(kwh=2.0)


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    settings = validated({"log_dir": tmp_path, "powercap_root": tmp_path})
    assert (settings.log_dir, settings.meters.powercap_root) == (str(tmp_path), str(tmp_path))


def test_none_means_not_given_where_none_is_a_default() -> None:
    names = ("budget", "embodied", "total_epochs", "total_steps", "log_dir", "log_every_n_steps", "region", "intensity")
    assert validated(dict.fromkeys(names)) == validated({})


@given(pue=st.floats(1, 10), interval_s=st.floats(0.01, 60), count=st.integers(1, 10**9))
@settings(deadline=None)
def test_everything_in_range_is_accepted(pue: float, interval_s: float, count: int) -> None:
    got = validated({"pue": pue, "interval_s": interval_s, **dict.fromkeys(COUNTS, count), "region": "FR"})
    assert (got.pue, got.interval_s) == (pue, interval_s)
    assert (got.total_epochs, got.total_steps, got.log_every_n_steps) == (count, count, count)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers()),
    st.complex_numbers(),
)


@given(st.dictionaries(st.sampled_from(sorted(RunOptions.__annotations__)), anything, max_size=3))
@settings(deadline=None)
def test_whatever_is_given_is_accepted_or_refused_by_name(options: dict[str, Any]) -> None:
    try:
        validated(options)
    except ValueError as error:
        named = [name for name in options if f"{name}={options[name]!r}" in str(error)]
        assert named, error


@given(st.text(), anything)
@settings(deadline=None)
def test_whatever_it_is_called_an_unknown_option_is_refused_by_name(name: str, value: Any) -> None:
    if name in RunOptions.__annotations__:
        return
    with pytest.raises(TypeError) as error:
        validated({name: value})
    assert f"{name}={value!r}" in str(error.value)
