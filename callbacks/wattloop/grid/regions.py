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
    "an ISO 3166 country code or English name ('FR', 'FRA', 'France'), a US state ('US-CA', 'California') or 'world'; "
    "for any other place give intensity= in g CO2e/kWh"
)


class Region(msgspec.Struct, frozen=True):
    """A place and the carbon intensity of its electricity over one year.

    Attributes:
        code: ISO 3166 code (``"FR"``, ``"US-CA"``), or ``"WORLD"``.
        name: English name.
        g_co2e_per_kwh: Grams of CO2-equivalent per kWh (> 0).
        year: Year the value describes.
        source: Who published it, with its licence.
        basis: What it counts: life-cycle or direct, production or consumption, average or marginal.
        aliases: Other names it answers to.

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

    def __post_init__(self) -> None:
        """Refuse a row that would make energy free of carbon."""
        if not is_believable(self.g_co2e_per_kwh):
            raise ValueError(
                f"region table row {self.code!r} holds {self.g_co2e_per_kwh!r} g CO2e/kWh; "
                f"accepted is a number above 0 and up to {MAX_G_CO2E_PER_KWH:g}"
            )

    def intensity(self) -> ConstantIntensity:
        """Return the yearly value as a source of intensity that says where it comes from."""
        return ConstantIntensity(self.g_co2e_per_kwh, f"{self.name} {self.year}: {self.source} ({self.basis})")


def read_table(path: Path) -> Iterator[Region]:
    """Read one table of regions.

    Args:
        path: CSV file with the columns code, name, aliases (separated by ``|``), g_co2e_per_kwh, year, source, basis.

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
            )


@cache
def regions() -> tuple[Region, ...]:
    """Return all known regions, in the order of their tables."""
    return tuple(region for path in sorted(DATA.glob("*.csv")) for region in read_table(path))


def world() -> Region:
    """Return the world average, for a run whose place is not known."""
    return resolve("WORLD")


def resolve(name: str) -> Region:
    """Find the region a name or code stands for; case, accents and ``-`` or ``_`` do not matter.

    Two-letter codes are countries (``"CA"`` is Canada); a state is written with its country (``"US-CA"``) or by name.

    Args:
        name: ISO 3166 code, English name, or ``"world"``.

    Raises:
        ValueError: Nothing, or more than one place, has that name.

    Example:
        >>> resolve("fra").code, resolve("California").code
        ('FR', 'US-CA')
    """
    found = _index().get(_key(name), ())
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"region={name!r} names more than one place; write {_listed(found)}")
    near = _near(_key(name))
    hint = f"; did you mean {_listed(near)}?" if near else "."
    raise ValueError(f"region={name!r} is not known{hint} Accepted: {ACCEPTED}")


def _key(name: object) -> str:
    text = unicodedata.normalize("NFKD", str(name)).casefold()
    text = "".join(char for char in text if not unicodedata.combining(char) and char not in ".,'’")
    text = re.sub(r"[\s_-]+", " ", text.replace("&", " and ").strip())
    return text.removeprefix("the ")


@cache
def _index() -> dict[str, tuple[Region, ...]]:
    index: dict[str, tuple[Region, ...]] = {}
    for region in regions():
        for key in {_key(label) for label in (region.code, region.name, *region.aliases)}:
            index[key] = (*index.get(key, ()), region)
    return index


def _near(key: str) -> list[Region]:
    index = _index()
    if len(key) < 4:  # too short to be misspelt: every code is one letter from another
        return [region for region in regions() if key and region.code.partition("-")[2].casefold() == key]
    import difflib

    keys = difflib.get_close_matches(key, index, n=3, cutoff=0.75)
    return list(dict.fromkeys(region for known in keys for region in index[known]))


def _listed(found: Iterable[Region]) -> str:
    return " or ".join(f"{region.code!r} ({_placed(region)})" for region in found)


def _placed(region: Region) -> str:
    country, dash, _ = region.code.partition("-")
    return f"{region.name}, {country}" if dash else region.name
