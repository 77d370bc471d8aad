"""Yearly carbon intensity of named places, from the tables in ``data/`` (see ``data/SOURCES.md``)."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import msgspec

from wattloop.grid.intensity import MAX_G_CO2E_PER_KWH, ConstantIntensity, is_believable

DATA = Path(__file__).parent / "data"
ACCEPTED = (
    "an ISO 3166 country code or English name ('FR', 'FRA', 'France'), a US state, a Canadian or Chinese province or a "
    "Swedish or Norwegian bidding zone ('US-CA', 'California', 'CA-QC', 'CN-SC', 'SE3'), a cloud region "
    "('gcp:europe-west9', 'aws:eu-west-3', 'azure:francecentral') or 'world'; `wattloop regions` lists them all; "
    "for any other place give intensity= in g CO2e/kWh"
)
_INNER = re.compile("[:-]")
_SPACE = re.compile(r"[\s_:/-]+")
_UNSAID = {ord(char): None for char in ".,'’"}


class Region(msgspec.Struct, frozen=True):
    """A place and the carbon intensity of its electricity over one year.

    Attributes:
        code: ISO 3166 code (``"FR"``, ``"US-CA"``), bidding zone (``"SE3"``), cloud region (``"aws:eu-west-3"``), or
            ``"WORLD"``.
        name: English name.
        g_co2e_per_kwh: Grams of CO2-equivalent per kWh (> 0).
        year: Year the value describes.
        source: Who published it, with its licence.
        basis: What it counts: life-cycle or direct, production or consumption, average or marginal.
        aliases: Other names it answers to.
        place: Code of the country or state whose value this is, where a cloud provider publishes none for its region.
        within: Code of the country or state that a cloud region is in, whosoever's value it has.

    Raises:
        ValueError: The value is not above 0, or above what any grid has.
    """

    code: str
    name: str
    g_co2e_per_kwh: float
    year: int
    source: str
    basis: str
    aliases: tuple[str, ...] = ()
    place: str = ""
    within: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that would make energy free of carbon."""
        if not is_believable(self.g_co2e_per_kwh):
            raise ValueError(
                f"region table row {self.code!r} holds {self.g_co2e_per_kwh!r} g CO2e/kWh; "
                f"accepted is a number above 0 and up to {MAX_G_CO2E_PER_KWH:g}"
            )

    def intensity(self) -> ConstantIntensity:
        """Return the yearly value as a source of intensity that says where it comes from."""
        where = f"{self.name} (the value of {self.place})" if self.place else self.name
        return ConstantIntensity(self.g_co2e_per_kwh, f"{where} {self.year}: {self.source} ({self.basis})")


def read_table(path: Path) -> Iterator[Region]:
    """Read one table of regions.

    Args:
        path: CSV file with the columns code, name, aliases (separated by ``|``), g_co2e_per_kwh, year, source, basis,
            and place and within where rows have one.

    Raises:
        ValueError: A row holds a value that is not accepted.
    """
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Region(
                code=row["code"],
                name=row["name"],
                g_co2e_per_kwh=float(row["g_co2e_per_kwh"]),
                year=int(row["year"]),
                source=row["source"],
                basis=row["basis"],
                aliases=tuple(filter(None, row["aliases"].split("|"))),
                place=row.get("place", ""),
                within=row.get("within", ""),
            )


@cache
def regions() -> tuple[Region, ...]:
    """Return all known regions, in the order of their tables."""
    return tuple(region for path in sorted(DATA.glob("*.csv")) for region in read_table(path))


def world() -> Region:
    """Return the world average, for a run whose place is not known."""
    return resolve("WORLD")


def resolve(name: str) -> Region:
    """Find the region a name or code stands for; case, accents and ``-``, ``_`` or ``:`` do not matter.

    Two-letter codes are countries (``"CA"`` is Canada); a state is written with its country (``"US-CA"``) or by name, a
    cloud region with its provider (``"aws:eu-west-3"``).

    Args:
        name: Code, English name, or ``"world"``.

    Raises:
        ValueError: Nothing, or more than one place, has that name.

    Example:
        >>> resolve("fra").code, resolve("California").code, resolve("aws:eu-west-3").place
        ('FR', 'US-CA', 'FR')
    """
    found = _index().get(_key(name), ())
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"region={name!r} names more than one place; write {_listed(found)}")
    near = suggestions(name)
    hint = f"; did you mean {_listed(near)}?" if near else "."
    raise ValueError(f"region={name!r} is not known{hint} Accepted: {ACCEPTED}")


def search(text: str) -> tuple[Region, ...]:
    """Return the regions with a text in their code or in one of their names: whole ones first, then beginnings.

    Args:
        text: Part of a code or name, case and accents as in `resolve`; empty for all.

    Example:
        >>> [region.code for region in search("carolina")]
        ['US-NC', 'US-SC']
    """
    key, found = _key(text), []
    for region in regions():
        labels = [_key(label) for label in _labels(region)]
        if any(key in label for label in labels):
            found.append((key not in labels, not any(label.startswith(key) for label in labels), region))
    return tuple(region for *_, region in sorted(found, key=lambda each: each[:2]))


def suggestions(name: str) -> list[Region]:
    """Return the regions a name that stands for none may have meant, the nearest first.

    Args:
        name: What `resolve` does not know.
    """
    key = _key(name)
    inner = [region for region in regions() if key and key == _key(_INNER.split(region.code, maxsplit=1)[-1])]
    if inner or len(key) < 4:  # too short to be misspelt: every code is one letter from another
        return inner
    import difflib

    index = _index()
    keys = difflib.get_close_matches(key, index, n=3, cutoff=0.75)
    return list(dict.fromkeys(region for known in keys for region in index[known]))


def _labels(region: Region) -> tuple[str, ...]:
    return (region.code, region.name, *region.aliases)


def _key(name: object) -> str:
    text = str(name)
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    text = text.casefold().translate(_UNSAID).replace("&", " and ").strip()
    return _SPACE.sub(" ", text).removeprefix("the ")


@cache
def _index() -> dict[str, tuple[Region, ...]]:
    index: dict[str, tuple[Region, ...]] = {}
    for region in regions():
        for key in {_key(label) for label in _labels(region)}:
            index[key] = (*index.get(key, ()), region)
    return index


def _listed(found: Iterable[Region]) -> str:
    return " or ".join(f"{region.code!r} ({_placed(region)})" for region in found)


def _placed(region: Region) -> str:
    country, dash, _ = region.code.partition("-")
    return f"{region.name}, {country}" if dash and ":" not in country else region.name
