"""The CSV beside one that codecarbon 3.3.2 wrote: the same notebook reads both."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from fakes.nvml import FakeNvml
from reports.trained import J_PER_KWH, WATTS, finished, path_of
from test_journal import END, START, written
from wattloop.footprint import Totals
from wattloop.grid.regions import regions
from wattloop.reports.collection import collect, find
from wattloop.reports.emissions_csv import CODECARBON, OWN, emissions_csv
from wattloop.reports.place import place
from wattloop.reports.runs import summarize
from wattloop.reports.summary import RunSummary

THEIRS = Path(__file__).with_name("codecarbon-3.3.2.csv")


def rows(text: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(text, newline=""))]


def notebook(lines: Iterable[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Do what notebooks do with an emissions.csv: sums by country, shares by device, rates, times."""
    by_country: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in lines:
        sums = by_country[f"{row['country_name']} ({row['country_iso_code']})"]
        kwh = float(row["energy_consumed"])
        parts = [float(row[f"{part}_energy"]) for part in ("cpu", "gpu", "ram")]
        assert sum(parts) == pytest.approx(kwh)
        hours = float(row["duration"]) / 3600
        assert float(row["emissions_rate"]) * float(row["duration"]) == pytest.approx(float(row["emissions"]))
        datetime.strptime(row["timestamp"], "%Y-%m-%dT%H:%M:%S")
        sums["kg"] += float(row["emissions"])
        sums["kwh"] += kwh
        sums["hours"] += hours
        sums["mean_w"] = 1000 * kwh / hours
        sums["g_per_kwh"] = 1000 * float(row["emissions"]) / kwh
        sums["it_kwh"] += kwh / float(row["pue"])
    return {country: dict(sums) for country, sums in by_country.items()}


def summary(path: Path) -> RunSummary:
    run, _ = summarize(path)
    assert run is not None
    return run


def test_its_columns_are_codecarbons_and_then_our_own() -> None:
    head, *_ = csv.reader(io.StringIO(THEIRS.read_text(), newline=""))
    ours, *_ = csv.reader(io.StringIO(emissions_csv([]), newline=""))
    assert ours == [*head, *OWN]
    assert head == CODECARBON
    assert len({*ours}) == len(ours)


def test_one_notebook_reads_theirs_and_ours(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    finished(tmp_path, pue=1.2)
    run = finished(tmp_path, region="US-CA", pue=1.5)
    theirs = notebook(rows(THEIRS.read_text()))
    ours = notebook(rows(emissions_csv(collect(*find([tmp_path])).runs)))
    assert theirs.keys() == ours.keys() == {"France (FRA)", "United States (USA)"}
    for country, sums in theirs.items():
        assert sums.keys() == ours[country].keys()
    # Theirs has the PUE in energy and power, and so have these columns.
    california = ours["United States (USA)"]
    assert california["kwh"] == pytest.approx(1.5 * run.totals.kwh)
    assert california["it_kwh"] == pytest.approx(run.totals.kwh)
    assert california["mean_w"] == pytest.approx(1.5 * WATTS, rel=0.1)
    assert california["kg"] == pytest.approx(run.totals.kg_co2e)
    assert california["g_per_kwh"] == pytest.approx(1000 * run.totals.kg_co2e / run.totals.kwh / 1.5)


def test_a_row_holds_what_is_known_and_nothing_where_it_is_not(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    run = finished(tmp_path / "study", region="US-CA")
    (row,) = rows(emissions_csv([summary(path_of(run, tmp_path / "study"))]))
    known = {
        "project_name": "study",
        "run_id": run.id,
        "region": "california",
        "country_iso_code": "USA",
        "on_cloud": "N",
        "gpu_count": "1",
        "gpu_model": "1 x NVIDIA H100 80GB HBM3",
        "pue": "1.0",
        "status": "finished",
        "framework": "test",
        "region_code": "US-CA",
        "intensity_kind": "average",
        "epochs": "1",
        "steps": "10",
        "ram_energy": "0.0",
        "cpu_energy": "0.0",
    }
    assert {name: row[name] for name in known} == known
    assert float(row["device_kwh"]) == run.totals.kwh
    assert float(row["gpu_power"]) == pytest.approx(run.totals.energy_j / run.totals.duration_s)
    assert datetime.fromisoformat(row["ended"]).tzinfo is not None
    unknown = "experiment_id water_consumed os cpu_model longitude codecarbon_version wue budget_kwh".split()
    assert {row[name] for name in unknown} == {""}


def test_memory_is_told_apart_where_it_was_measured(tmp_path: Path) -> None:
    totals = Totals(gpu_j=3.6e6, cpu_j=1.8e6, duration_s=3600.0)
    channels = {"GPU-a": 3.6e6, "cpu:0": 1.0e6, "dram:0": 0.3e6, "node2/dram:0": 0.5e6}
    end = msgspec.structs.replace(END, totals=totals, channels_j=channels)
    (row,) = rows(emissions_csv([summary(written(tmp_path, START, end))]))
    assert float(row["ram_energy"]) == pytest.approx(1.1 * 0.8 / 3.6)
    assert float(row["cpu_energy"]) == pytest.approx(1.1 * 1.0 / 3.6)
    assert float(row["gpu_power"]) == pytest.approx(1.1 * 1000)


@pytest.mark.parametrize(
    ("code", "country", "iso3", "part"),
    [
        ("aws:ca-central-1", "Canada", "CAN", "quebec"),
        ("gcp:europe-west4", "Netherlands", "NLD", ""),
        ("gcp:us-central1", "United States", "USA", "iowa"),
    ],
)
def test_a_cloud_region_is_named_as_codecarbon_names_it(
    tmp_path: Path, code: str, country: str, iso3: str, part: str
) -> None:
    start = msgspec.structs.replace(START, region=code)
    (row,) = rows(emissions_csv([summary(written(tmp_path, start, END))]))
    where = ("cloud_provider", "cloud_region", "country_name", "country_iso_code", "region", "on_cloud")
    assert [row[name] for name in where] == [*code.split(":"), country, iso3, part, "Y"]


def test_every_region_has_a_country_and_no_name_says_it_twice() -> None:
    for region in regions():
        if region.code != "WORLD":
            where = place(region.code)
            assert where.country and len(where.iso3) == 3, region.code
            before, _, last = where.name.rpartition(", ")
            assert last != where.country or where.country not in before, where.name
    assert place("NO1").name == "Norway bidding zone 1 (Oslo)"
    assert place("azure:westeurope").name == "Azure westeurope, Netherlands"
    assert place("gcp:europe-west4").name == "GCP europe-west4, Eemshaven, Netherlands"
    assert place("aws:me-central-1").name == "AWS me-central-1, UAE"
    assert place("US-NM").name == "New Mexico, United States"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1"])
def test_no_text_of_a_record_is_a_formula(tmp_path: Path, text: str) -> None:
    start = msgspec.structs.replace(START, framework=text, hosts=(text,), run_id=text, intensity_source=text)
    (row,) = rows(emissions_csv([summary(written(tmp_path, start, END))]))
    for name in ("framework", "hosts", "run_id", "intensity_source"):
        assert row[name][0] == "'"
    assert J_PER_KWH * float(row["device_kwh"]) == pytest.approx(END.totals.energy_j)
