"""Citations: BibTeX entries of what a statement rests on."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_VERSION = re.compile(r"[0-9A-Za-z.+]{1,40}")


class Citation(msgspec.Struct, frozen=True):
    """A work that is cited.

    Attributes:
        key: What it is cited by.
        fields: Of its BibTeX entry, LaTeX already.
        sort: Of the entry.
    """

    key: str
    fields: dict[str, str]
    sort: str = "misc"

    def bibtex(self) -> str:
        """Return its entry."""
        fields = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields.items())
        return f"@{self.sort}{{{self.key},\n{fields}}}\n"

    def reference(self) -> str:
        """Return it as a line of text, LaTeX's braces and escapes left out."""
        parts = [
            self.fields[name] for name in ("author", "title", "year", "note", "howpublished") if name in self.fields
        ]
        url = self.fields.get("url")
        plain = ". ".join(parts).replace("{", "").replace("}", "").replace("\\", "").replace("$", "")
        return f"{plain}. {url}" if url else f"{plain}."


PATTERSON = Citation(
    "patterson2021carbon",
    {
        "author": "Patterson, David and Gonzalez, Joseph and Le, Quoc and Liang, Chen and Munguia, Lluis-Miquel and "
        "Rothchild, Daniel and So, David and Texier, Maud and Dean, Jeff",
        "title": "Carbon Emissions and Large Neural Network Training",
        "year": "2021",
        "note": "arXiv:2104.10350",
    },
)
SCI = Citation(
    "iso21031",
    {
        "author": "{ISO/IEC}",
        "title": "{ISO/IEC 21031:2024} Information technology -- Software Carbon Intensity ({SCI}) specification",
        "year": "2024",
    },
)
_SOURCES = (
    (
        "Ember via Our World in Data",
        Citation(
            "ember_owid",
            {
                "author": "{Ember} and {Our World in Data}",
                "title": "Carbon intensity of electricity generation",
                "note": "Ember, Yearly Electricity Data, with processing by Our World in Data. CC BY 4.0",
                "url": "https://ourworldindata.org/grapher/carbon-intensity-electricity",
            },
        ),
    ),
    (
        "Global Electricity Review 2025",
        Citation(
            "ember_review2025",
            {
                "author": "{Ember}",
                "title": "Global Electricity Review 2025",
                "year": "2025",
                "note": "CC BY 4.0",
                "url": "https://ember-energy.org",
            },
        ),
    ),
    (
        "eGRID2023",
        Citation(
            "egrid2023",
            {
                "author": "{US Environmental Protection Agency}",
                "title": "Emissions \\& Generation Resource Integrated Database ({eGRID}2023)",
                "url": "https://www.epa.gov/egrid",
            },
        ),
    ),
    (
        "Announcement 2025 No. 47",
        Citation(
            "mee2025announcement47",
            {
                "author": "{Ministry of Ecology and Environment and National Bureau of Statistics of China}",
                "title": "Announcement 2025 No. 47, table 3",
                "year": "2025",
            },
        ),
    ),
    (
        "ENTSO-E",
        Citation(
            "entsoe_transparency",
            {
                "author": "{ENTSO-E}",
                "title": "Transparency Platform: actual generation per production type",
                "url": "https://transparency.entsoe.eu",
            },
        ),
    ),
    (
        "CodeCarbon",
        Citation(
            "codecarbon",
            {
                "author": "{CodeCarbon contributors}",
                "title": "{CodeCarbon}",
                "note": "Version 3.3.2",
                "url": "https://github.com/mlco2/codecarbon",
            },
        ),
    ),
    (
        "Google, Carbon free energy",
        Citation(
            "google_cfe",
            {
                "author": "{Google}",
                "title": "Carbon free energy for {Google Cloud} regions",
                "url": "https://github.com/GoogleCloudPlatform/region-carbon-info",
            },
        ),
    ),
    (
        "Electricity Maps",
        Citation(
            "electricitymaps",
            {
                "author": "{Electricity Maps}",
                "title": "Carbon intensity {API}",
                "url": "https://www.electricitymaps.com",
            },
        ),
    ),
    (
        "WattTime",
        Citation(
            "watttime",
            {"author": "{WattTime}", "title": "Marginal operating emissions rate", "url": "https://watttime.org"},
        ),
    ),
    (
        "GB Carbon Intensity",
        Citation(
            "gb_carbon_intensity",
            {
                "author": "{National Energy System Operator}",
                "title": "Carbon Intensity {API}",
                "url": "https://carbonintensity.org.uk",
            },
        ),
    ),
    (
        "Energi Data Service",
        Citation(
            "energidataservice",
            {
                "author": "{Energinet}",
                "title": "Energi Data Service: {CO2} emission",
                "url": "https://www.energidataservice.dk",
            },
        ),
    ),
)


def wattloop(versions: Iterable[str]) -> Citation:
    """Return the citation of this package.

    Args:
        versions: Those that measured.
    """
    # What looks like a version: the text of a record goes no further.
    known = ", ".join(version for version in versions if _VERSION.fullmatch(version))
    note = f"Version {known}" if known else "Software"
    title = "wattloop: energy and {CO2e} of a deep-learning run, measured inside the training loop"
    return Citation("wattloop", {"author": "{The wattloop developers}", "title": title, "note": note})


def of_source(name: str) -> tuple[Citation, ...]:
    """Return what is to be cited for a source of carbon intensity; nothing where we do not know it.

    Args:
        name: As in a record.
    """
    return tuple(citation for needle, citation in _SOURCES if needle.casefold() in name.casefold())
