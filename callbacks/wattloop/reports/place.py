"""Place: what the tables of regions know of where a run was, in the words that others use."""

from __future__ import annotations

import msgspec

from wattloop.grid.regions import Region, resolve

CLOUDS = ("aws", "azure", "gcp")


class Place(msgspec.Struct, frozen=True):
    """Where a run was; unknown parts are empty.

    Attributes:
        name: In English, as granular as is known, with the country, said once: ``Quebec, Canada``.
        country: Its country, in English.
        iso3: ISO 3166 alpha-3 code of that.
        part: State, province or bidding zone, in lower case.
        cloud: Cloud provider: ``aws``, ``azure`` or ``gcp``.
        cloud_region: That provider's name of the region.
    """

    name: str = ""
    country: str = ""
    iso3: str = ""
    part: str = ""
    cloud: str = ""
    cloud_region: str = ""


def place(code: str) -> Place:
    """Tell what is known of a region.

    Args:
        code: As in a record; one that this version does not know stands for itself.

    Example:
        >>> place("US-CA").name, place("FR").iso3, place("aws:eu-west-3").country
        ('California, United States', 'FRA', 'France')
    """
    region = _resolved(code)
    if region is None or region.code == "WORLD":
        return Place(name=region.name if region is not None else code)
    provider, colon, cloud_region = region.code.partition(":")
    if colon and provider in CLOUDS:
        there = place(region.within)
        return Place(_with_country(region), there.country, there.iso3, there.part, provider, cloud_region)
    country = _country(region)
    if country is region:
        return Place(region.name, region.name, next(iter(region.aliases), ""))
    part = region.name if "-" in region.code else region.code
    return Place(_with_country(region), country.name, next(iter(country.aliases), ""), part.lower())


def _country(region: Region) -> Region:
    return _resolved((region.within or region.code)[:2]) or region


def _with_country(region: Region) -> str:
    country = _country(region)
    # Some are named by it, one as the UAE.
    said = any(name in region.name for name in (country.name, *country.aliases))
    return region.name if said else f"{region.name}, {country.name}"


def _resolved(code: str) -> Region | None:
    try:
        return resolve(code) if code else None
    except ValueError:
        return None
