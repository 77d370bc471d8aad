"""Regions by code and name, checked against the numbers Ember and the EPA published."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wattloop.grid
from wattloop.grid import Region, regions, resolve, world
from wattloop.grid.regions import read_table, search

NOW = datetime(2025, 1, 20, 12, tzinfo=UTC)
DATA = Path(wattloop.grid.__file__).parent / "data"
G_PER_KWH_PER_LB_PER_MWH = 0.45359237
HEADER = "code,name,aliases,g_co2e_per_kwh,year,source,basis\n"

IN_THE_SOURCE_TABLE = """
AE AF AG AL AM AO AR AS AT AU AW AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA CD CG CH CI CK CL CM CN
CO CR CU CV CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FO FR GA GB GD GE GF GH GI GL GM GN GP GQ GR GT GU
GW GY HK HN HR HT HU ID IE IL IN IQ IR IS IT JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LK LR LS LT LU LV LY
MA MD ME MG MK ML MM MN MO MQ MR MS MT MU MV MW MX MY MZ NC NE NG NI NL NO NP NR NZ OM PA PE PF PG PH PK PL PM PR PS
PT PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SK SL SN SO SR SS ST SV SY SZ TC TD TG TH TJ TL TM TN TO TR TT TW TZ
UA UG US UY UZ VC VE VG VI VN VU WS YE ZA ZM ZW
""".split()

STATES = """
AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA
RI SC SD TN TX UT VT VA WA WV WI WY
""".split()


def rows(table: str) -> list[dict[str, str]]:
    with (DATA / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refusal(name: object) -> str:
    with pytest.raises(ValueError) as refused:
        resolve(name)  # type: ignore[arg-type]
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "g_co2e_per_kwh", "year"),
    [("FR", 44.18, 2024), ("US", 383.55, 2024), ("DE", 344.14, 2024), ("IN", 708.32, 2024), ("world", 473.0, 2024)],
)
def test_countries_have_the_life_cycle_values_ember_published(name: str, g_co2e_per_kwh: float, year: int) -> None:
    region = resolve(name)
    assert region.g_co2e_per_kwh == pytest.approx(g_co2e_per_kwh, abs=0.005)
    assert region.year == year
    assert "Ember" in region.source
    assert "CC BY 4.0" in region.source
    assert region.basis == "life-cycle, production-based, average"


@pytest.mark.parametrize(
    ("name", "lb_per_mwh"), [("US-CA", 394.769), ("US-TX", 771.179), ("US-VT", 52.239), ("US-WV", 1968.869)]
)
def test_states_have_the_direct_values_of_egrid2023(name: str, lb_per_mwh: float) -> None:
    region = resolve(name)
    assert region.g_co2e_per_kwh == pytest.approx(lb_per_mwh * G_PER_KWH_PER_LB_PER_MWH, abs=0.0005)
    assert region.year == 2023
    assert region.source == "EPA eGRID2023, public domain"
    assert region.basis == "direct, production-based, average"


def test_a_province_of_canada_is_the_sum_of_its_fuels() -> None:
    region = resolve("CA-SK")
    shares = 50.7 * 743 + 1.2 * 230 + 27.9 * 995 + 0.6 * 48 + 3.0 * 26 + 16.6 * 26
    assert region.g_co2e_per_kwh == pytest.approx(shares / 100.0, abs=0.05)
    assert resolve("CA-NU").g_co2e_per_kwh == pytest.approx((99.8 * 816 + 0.2 * 48) / 100.0, abs=0.05)
    assert "fossil direct, others life-cycle" in region.basis


@pytest.mark.parametrize(("name", "kg_per_kwh"), [("CN-BJ", 0.5554), ("CN-YN", 0.1333), ("CN-HE", 0.6516)])
def test_provinces_of_china_have_the_ministrys_values(name: str, kg_per_kwh: float) -> None:
    region = resolve(name)
    assert region.g_co2e_per_kwh == pytest.approx(kg_per_kwh * 1000.0)
    assert region.year == 2023
    assert "No. 47" in region.source
    assert "CO2 alone" in region.basis


def test_a_zone_says_how_much_of_its_generation_counts_as_nothing() -> None:
    assert resolve("SE4").basis.endswith("a lower bound, 15 % of generation counted as 0")
    assert "lower bound" not in resolve("NO1").basis
    assert "Stockholm" in resolve("SE3").name


@pytest.mark.parametrize(
    ("name", "g_co2e_per_kwh"),
    [("gcp:europe-west9", 34.0), ("gcp:northamerica-northeast1", 2.0), ("gcp:us-central1", 430.0)],
)
def test_google_regions_have_googles_values(name: str, g_co2e_per_kwh: float) -> None:
    region = resolve(name)
    assert (region.g_co2e_per_kwh, region.year, region.place) == (g_co2e_per_kwh, 2023, "")
    assert "Google" in region.source


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("aws:eu-west-3", "FR"),
        ("aws:us-east-1", "US-VA"),
        ("aws:ca-central-1", "CA-QC"),
        ("aws:cn-northwest-1", "CN-NX"),
        ("azure:francecentral", "FR"),
        ("azure:westus3", "US-AZ"),
        ("azure:canadacentral", "CA-ON"),
        ("gcp:europe-north2", "SE"),
    ],
)
def test_a_cloud_region_without_a_value_has_that_of_its_place_and_says_so(name: str, place: str) -> None:
    region, stands_in = resolve(name), resolve(place)
    assert region.place == place
    assert (region.g_co2e_per_kwh, region.year) == (stands_in.g_co2e_per_kwh, stands_in.year)
    assert (region.source, region.basis) == (stands_in.source, stands_in.basis)
    assert f"(the value of {place})" in region.intensity().source


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("gcp:europe-west4", "NL"),
        ("gcp:europe-west2", "GB"),
        ("gcp:asia-east2", "HK"),
        ("gcp:us-central1", "US-IA"),
        ("gcp:northamerica-northeast2", "CA-ON"),
        ("gcp:europe-north2", "SE"),
        ("aws:us-gov-west-1", "US"),
        ("azure:westus3", "US-AZ"),
    ],
)
def test_a_cloud_region_is_within_a_country_or_state(name: str, code: str) -> None:
    assert resolve(name).within == code


def test_every_cloud_region_is_within_a_place_that_has_a_value() -> None:
    clouds = [region for region in regions() if ":" in region.code]
    assert all(resolve(region.within).code == region.within and ":" not in region.within for region in clouds)
    assert all(region.within == region.place for region in clouds if region.place)
    # Where a country has states here, its regions are told by them.
    national = {region.code for region in clouds if region.within in ("US", "CA", "CN")}
    assert national == {"aws:us-gov-east-1", "aws:us-gov-west-1"}


def test_every_cloud_region_stands_in_a_place_or_has_a_value_of_its_own() -> None:
    clouds = [region for region in regions() if ":" in region.code]
    assert {region.code.partition(":")[0] for region in clouds} == {"aws", "azure", "gcp"}
    assert all((region.place == "") == ("Google" in region.source) for region in clouds)
    assert all(":" not in resolve(region.place).code for region in clouds if region.place)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("carolina", ["US-NC", "US-SC"]),
        ("QUÉBEC", ["CA-QC", "azure:canadaeast"]),
        ("eu-west-3", ["aws:eu-west-3"]),
        ("stockholm", ["aws:eu-north-1", "gcp:europe-north2", "SE3"]),
        ("Atlantis", []),
    ],
)
def test_a_search_finds_parts_of_codes_and_names(text: str, codes: list[str]) -> None:
    assert [region.code for region in search(text)] == codes


def test_a_search_begins_with_whole_codes_and_names() -> None:
    assert search("fr")[0].code == "FR"
    assert search("us")[0].code == "US"


def test_an_empty_search_finds_all() -> None:
    assert search("") == regions()


def test_states_lie_around_the_national_value_of_egrid2023() -> None:
    national = 770.884 * G_PER_KWH_PER_LB_PER_MWH
    assert national == pytest.approx(349.7, abs=0.05)
    values = [resolve(f"US-{state}").g_co2e_per_kwh for state in STATES]
    assert min(values) < national < max(values)
    assert sum(values) / len(values) == pytest.approx(national, rel=0.1)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("fr", "FR"),
        ("fra", "FR"),
        ("France", "FR"),
        (" fRANCE ", "FR"),
        ("UK", "GB"),
        ("Great Britain", "GB"),
        ("USA", "US"),
        ("U.S.A.", "US"),
        ("South Korea", "KR"),
        ("Czech Republic", "CZ"),
        ("Russia", "RU"),
        ("Russian Federation", "RU"),
        ("Türkiye", "TR"),
        ("turkiye", "TR"),
        ("Côte d'Ivoire", "CI"),
        ("Trinidad & Tobago", "TT"),
        ("The Netherlands", "NL"),
        ("NA", "NA"),
        ("Namibia", "NA"),
        ("us_ca", "US-CA"),
        ("California", "US-CA"),
        ("new york", "US-NY"),
        ("District of Columbia", "US-DC"),
        ("Washington, D.C.", "US-DC"),
        ("Washington", "US-WA"),
        ("US-PR", "PR"),
        ("CA", "CA"),
        ("WORLD", "WORLD"),
        ("global", "WORLD"),
        ("CA-QC", "CA-QC"),
        ("Québec", "CA-QC"),
        ("quebec", "CA-QC"),
        ("Newfoundland", "CA-NL"),
        ("CN-SC", "CN-SC"),
        ("Inner Mongolia", "CN-NM"),
        ("Neimenggu", "CN-NM"),
        ("SE3", "SE3"),
        ("SE-3", "SE3"),
        ("se-se3", "SE3"),
        ("FI", "FI"),
        ("gcp:europe-west9", "gcp:europe-west9"),
        ("GCP europe-west9", "gcp:europe-west9"),
        ("gcp:me-central1", "gcp:me-central1"),
        ("aws:eu-west-3", "aws:eu-west-3"),
        ("AWS/eu-west-3", "aws:eu-west-3"),
        ("azure:francecentral", "azure:francecentral"),
        ("Azure FranceCentral", "azure:francecentral"),
    ],
)
def test_a_place_answers_to_its_codes_and_names(name: str, code: str) -> None:
    assert resolve(name).code == code


def test_every_country_of_the_source_is_there_but_the_one_without_a_value() -> None:
    assert {row["code"] for row in rows("countries.csv")} == {*IN_THE_SOURCE_TABLE, "NA", "WORLD"}
    assert "region='CF' is not known" in refusal("CF")


@pytest.mark.parametrize("row", rows("countries.csv"), ids=lambda row: row["code"])
def test_every_country_is_found_by_alpha_2_alpha_3_and_name(row: dict[str, str]) -> None:
    alpha_3 = row["aliases"].split("|")[0]
    names = [row["code"], alpha_3, *([row["name"]] if row["name"] != "Georgia" else [])]
    assert [resolve(name).code for name in names] == [row["code"]] * len(names)
    assert row["code"] == "WORLD" or (len(row["code"]), len(alpha_3)) == (2, 3)


def test_every_state_is_there() -> None:
    assert {row["code"] for row in rows("us_states.csv")} == {f"US-{state}" for state in STATES}


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("Georgia", ("'GE'", "'US-GA'")),
        ("Korea", ("'KP'", "'KR'")),
        ("Congo", ("'CD'", "'CG'")),
        ("virgin islands", ("'VG'", "'VI'")),
    ],
)
def test_a_name_of_two_places_is_refused_with_the_code_of_each(name: str, codes: tuple[str, str]) -> None:
    message = refusal(name)
    assert message.startswith(f"region={name!r} names more than one place")
    assert all(code in message for code in codes)
    assert all(resolve(code.strip("'")) for code in codes)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("Frnace", "did you mean 'FR' (France)?"),
        ("Calfornia", "did you mean 'US-CA' (California, US)?"),
        ("Untied Kingdom", "did you mean 'GB' (United Kingdom)?"),
        ("TX", "did you mean 'US-TX' (Texas, US)?"),
        ("ON", "did you mean 'CA-ON' (Ontario, CA)?"),
        ("europe-west9", "did you mean 'gcp:europe-west9' (GCP europe-west9, Paris)?"),
        ("eu-west-3", "did you mean 'aws:eu-west-3' (AWS eu-west-3, Paris)?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_near_match(name: str, suggestion: str) -> None:
    assert refusal(name).startswith(f"region={name!r} is not known; {suggestion} Accepted: ")


def test_the_nearest_of_many_near_matches_comes_first() -> None:
    message = refusal("azure:francecentrl")
    assert "did you mean 'azure:francecentral' (Azure francecentral, Paris) or " in message


@pytest.mark.parametrize("name", ["zz", "", "-", "US-", "CN-", "!FR", "Atlantis", "aws", "aws:", "473", 473, None])
def test_an_unknown_name_is_never_guessed(name: object) -> None:
    message = refusal(name)
    assert message.startswith(f"region={name!r} is not known. Accepted: an ISO 3166 country code or English name")
    assert "'US-CA'" in message
    assert "'world'" in message
    assert "'aws:eu-west-3'" in message
    assert "intensity=" in message


@given(st.text())
def test_any_text_is_a_region_or_a_value_error(name: str) -> None:
    try:
        assert resolve(name) in regions()
    except ValueError as refused:
        assert repr(name) in str(refused)


def test_no_region_has_electricity_free_of_carbon() -> None:
    assert len(regions()) == (1 + 212) + 51 + 13 + 30 + 9 + (40 + 38 + 67 + 2)
    assert all(0.0 < region.g_co2e_per_kwh < 1500.0 for region in regions())
    assert all(2009 <= region.year <= 2025 for region in regions())


def test_every_code_and_name_is_its_own_or_refused_as_ambiguous() -> None:
    for region in regions():
        assert resolve(region.code) == region
        if region.name not in ("Georgia",):
            assert resolve(region.name) == region


@pytest.mark.parametrize("value", ["0.0", "-1.0", "nan", "inf", "99999"])
def test_a_table_with_such_a_value_is_refused(tmp_path: Path, value: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"{HEADER}XX,Nowhere,,{value},2024,nobody,unknown\n", encoding="utf-8")
    with pytest.raises(ValueError, match="region table row 'XX' holds"):
        list(read_table(table))


def test_a_table_of_another_kind_of_place_has_the_same_format(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"{HEADER}CA-QC,Quebec,Québec|QC,1.5,2023,somebody,direct\n", encoding="utf-8")
    assert list(read_table(table)) == [Region("CA-QC", "Quebec", 1.5, 2023, "somebody", "direct", ("Québec", "QC"))]


def test_the_intensity_of_a_region_says_where_it_comes_from() -> None:
    intensity = resolve("US-CA").intensity().at(NOW)
    assert intensity.g_co2e_per_kwh == pytest.approx(179.06, abs=0.005)
    assert intensity.kind == "average"
    assert intensity.source == "California 2023: EPA eGRID2023, public domain (direct, production-based, average)"


def test_the_world_is_a_region() -> None:
    assert world() == resolve("world")


def test_nothing_heavy_is_imported() -> None:
    heavy = {"pandas", "numpy", "requests", "httpx", "urllib.request"}
    code = f"import sys, wattloop.grid; wattloop.grid.resolve('FR'); print(sorted({heavy!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(wattloop.grid.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("name", ["FR", "fra", "France", "US-CA", "gcp:europe-west9"])
def test_the_first_name_of_a_process_is_found_in_20_ms(name: str) -> None:
    code = (
        "from time import process_time as now; from wattloop.grid import resolve; begin = now(); "
        f"resolve({name!r}); print(now() - begin)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(wattloop.grid.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert float(done.stdout) < 0.020, done.stderr  # of CPU time: what others do on this machine does not count
