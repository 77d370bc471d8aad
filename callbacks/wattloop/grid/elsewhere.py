"""Elsewhere: the places that could stand in for one, because the same provider or the same list has them."""

from __future__ import annotations

import re

from wattloop.grid.regions import Region, regions

_CLOUDS = {"gcp": "Google Cloud's regions", "aws": "AWS's regions", "azure": "Azure's regions"}
_STATES = {"US": "the US states", "CA": "the Canadian provinces", "CN": "the Chinese provinces"}
_ZONE = re.compile(r"(?:SE|NO)\d")
_ZONES, _COUNTRIES = "the Swedish and Norwegian bidding zones", "the world's countries"


def group(region: Region | None) -> str:
    """Say in words which places a region is one of.

    Args:
        region: A place; None, or the world, is anywhere: one of the countries.
    """
    code = region.code if region is not None else ""
    cloud, colon, _ = code.partition(":")
    country, dash, _ = code.partition("-")
    if colon:
        return _CLOUDS.get(cloud, f"{cloud}'s regions")
    if dash:
        return _STATES.get(country, f"the states of {country}")
    return _ZONES if _ZONE.fullmatch(code) else _COUNTRIES


def extremes(region: Region | None) -> tuple[Region, Region]:
    """Return the cleanest and the dirtiest of the places that a region is one of; it may be one of the two itself.

    Args:
        region: A place; None, or the world, is anywhere: one of the countries.

    Example:
        >>> from wattloop.grid.regions import resolve
        >>> [each.code for each in extremes(resolve("US-CA"))]
        ['US-VT', 'US-WV']
    """
    of = group(region)
    alike = [each for each in regions() if each.code != "WORLD" and group(each) == of]
    return min(alike, key=_intensity), max(alike, key=_intensity)


def _intensity(region: Region) -> float:
    return region.g_co2e_per_kwh
