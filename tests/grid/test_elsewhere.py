"""The places that could stand in for one, checked against the tables themselves."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

import wattloop.grid
from wattloop.grid import regions, resolve, world
from wattloop.grid.elsewhere import extremes, group

DATA = Path(wattloop.grid.__file__).parent / "data"


def values(table: str, wanted: Callable[[str], bool] = lambda code: code != "WORLD") -> list[float]:
    with (DATA / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return [float(row["g_co2e_per_kwh"]) for row in csv.DictReader(file) if wanted(row["code"])]


@pytest.mark.parametrize(
    ("place", "of", "those"),
    [
        ("gcp:europe-west9", "Google Cloud's regions", values("cloud_regions", lambda code: code[:4] == "gcp:")),
        ("aws:eu-west-3", "AWS's regions", values("cloud_regions", lambda code: code[:4] == "aws:")),
        ("azure:francecentral", "Azure's regions", values("cloud_regions", lambda code: code[:6] == "azure:")),
        ("FR", "the world's countries", values("countries")),
        ("world", "the world's countries", values("countries")),
        ("California", "the US states", values("us_states")),
        ("CA-QC", "the Canadian provinces", values("canadian_provinces")),
        ("CN-SC", "the Chinese provinces", values("chinese_provinces")),
        ("SE3", "the Swedish and Norwegian bidding zones", values("nordic_zones")),
        ("NO1", "the Swedish and Norwegian bidding zones", values("nordic_zones")),
    ],
)
def test_a_place_is_compared_with_those_of_its_own_kind(place: str, of: str, those: list[float]) -> None:
    region = resolve(place)
    cleanest, dirtiest = extremes(region)
    assert group(region) == of
    assert (cleanest.g_co2e_per_kwh, dirtiest.g_co2e_per_kwh) == (min(those), max(those))
    assert group(cleanest) == group(dirtiest) == of


def test_no_place_is_compared_with_the_countries() -> None:
    assert extremes(None) == extremes(world()) == extremes(resolve("DE"))
    assert world() not in extremes(None)


@pytest.mark.parametrize("region", regions(), ids=lambda region: region.code)
def test_every_place_lies_between_its_extremes(region: wattloop.grid.Region) -> None:
    cleanest, dirtiest = extremes(region)
    assert cleanest.g_co2e_per_kwh <= region.g_co2e_per_kwh <= dirtiest.g_co2e_per_kwh
