"""A run that is priced by the moment: what it emits, what it records, and that nobody waits."""

from __future__ import annotations

import logging
import math
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import wattloop
from fakes import grid_server as fake
from fakes.grid_server import GridServer
from fakes.nvml import FakeNvml
from wattloop import CleanHours, journal
from wattloop.footprint import Footprint
from wattloop.grid import IntensitySeries, NotKnown, resolve
from wattloop.grid.intensity import Intensity
from wattloop.grid.providers import ElectricityMaps, GBCarbonIntensity, Patience, WattTime
from wattloop.grid.providers.live import Live
from wattloop.meters.base import Reading
from wattloop.run import Run
from wattloop.sampler import Snapshot

KWH = 3.6e6
PATIENCE_OF_TESTS_S = 30.0
QUICK = Patience(attempts=2, backoff_s=0.01, longest_wait_s=0.02)
YEARLY_GB = resolve("GB").g_co2e_per_kwh


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GridServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with GridServer() as server:
        yield server
    until(lambda: not any(thread.name == "wattloop-grid" for thread in threading.enumerate()))


def until(true: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_OF_TESTS_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.002)


def knows(source: Live) -> bool:
    try:
        source.at(datetime.now(UTC))
    except NotKnown:
        return False
    return True


def new(tmp_path: Path, **options: Any) -> Run:
    return Run(**{"powercap_root": str(tmp_path / "none"), "log_dir": tmp_path, "interval_s": 0.01, **options})


def train(run: Run, until_true: Callable[[], Any] | None = None) -> None:
    """Train for a moment, or until something is true of the footprint."""
    run.enter_phase("train")
    end_s = time.monotonic() + 0.1
    until(lambda: run.step() or (time.monotonic() > end_s if until_true is None else until_true()))


def recorded(run: Run, folder: Path) -> list[journal.Record]:
    assert run.settle(PATIENCE_OF_TESTS_S)
    (path,) = folder.glob("*.jsonl")
    return [*journal.read(path)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# -- time-resolved -----------------------------------------------------------------------------------------------------


def test_energy_is_priced_at_the_intensity_of_its_moment_over_a_day_of_changing_power() -> None:
    midnight = datetime(2025, 1, 20, tzinfo=UTC)

    def g_at(s: float) -> float:
        return 300 + 200 * math.sin(s // 3600)

    def power_w(s: float) -> float:
        return 400 + 300 * math.sin(s // 3600)  # drawn when it is dirty: the day's mean would be wrong

    series = IntensitySeries([(midnight + timedelta(hours=hour), g_at(3600 * hour)) for hour in range(25)])
    clock_s = 0.0
    footprint = Footprint(series, pue=1.2, now=lambda: midnight + timedelta(seconds=clock_s))
    offset_s, energy_j, truth_g, tick_s = 1000.0, 0.0, 0.0, 7.3
    for n in range(int(86_400 / tick_s)):
        clock_s = n * tick_s
        reading = Reading("gpu", "gpu", energy_j, "counter", 0.0, time_s=offset_s + clock_s)
        footprint.take(Snapshot(offset_s + clock_s, (reading,)))
        for part in range(10):  # what the device does until the next reading
            s = clock_s + part * tick_s / 10
            energy_j += power_w(s) * tick_s / 10
            truth_g += power_w(s) * tick_s / 10 / KWH * g_at(s)
    # At each change of hour, at most one reading is priced at the new intensity that belongs to the old one.
    doubt_g = sum(
        tick_s * max(power_w(3600 * h), power_w(3600 * h - 1)) / KWH * abs(g_at(3600 * h) - g_at(3600 * h - 1))
        for h in range(1, 25)
    )
    last_g = power_w(86_399) * tick_s / KWH * g_at(86_399)  # drawn after the last reading
    assert footprint.totals.kg_co2e * 1000 == pytest.approx(1.2 * truth_g, abs=1.2 * (doubt_g + last_g))
    assert doubt_g + last_g < 0.002 * truth_g
    mean_g = energy_j / KWH * sum(g_at(3600 * hour) for hour in range(24)) / 24
    assert mean_g < 0.9 * truth_g


def test_a_run_is_priced_and_recorded_by_what_its_provider_says(
    server: GridServer, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = fake.gb_national(datetime.now(UTC))
    for period in answer["data"]:
        period["intensity"] = {"forecast": 123, "actual": None, "index": "low"}
    server.always(server.answers(answer))
    source = GBCarbonIntensity(base_url=server.url("gb"))
    until(lambda: knows(source))
    run = new(tmp_path, region="GB", intensity=source, pue=1.5)
    run.start(framework="test")
    train(run)
    run.finish()
    records = recorded(run, tmp_path)
    assert run.totals.energy_j > 0
    assert run.totals.kg_co2e == pytest.approx(run.totals.kwh * 1.5 * 0.123, rel=1e-9)
    assert run.metrics()["grid/g_co2e_per_kwh"] == 123.0
    (start,) = [record for record in records if isinstance(record, journal.Start)]
    assert start.g_co2e_per_kwh == 123.0
    assert start.intensity_source == "GB Carbon Intensity, national, direct, average, forecast"
    said = [record.intensity for record in records if isinstance(record, journal.Tick) and record.intensity is not None]
    assert [(one.source, one.kind) for one in said] == [(start.intensity_source, "average")]
    assert warnings(caplog) == []


def test_the_record_tells_when_a_live_marginal_value_takes_over_from_the_yearly_average(
    server: GridServer, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.always(server.answers({}, 401))
    source = WattTime("CAISO_NORTH", user=fake.USER, password=fake.PASSWORD, base_url=server.url("wt"), patience=QUICK)
    run = new(tmp_path, region="US-CA", intensity=source)
    run.start(framework="test")
    train(run, lambda: warnings(caplog))
    server.fault = None
    source._due_s = -math.inf
    train(run, lambda: run.metrics()["grid/g_co2e_per_kwh"] != resolve("US-CA").g_co2e_per_kwh)
    train(run)
    run.finish()
    records = recorded(run, tmp_path)
    said = [record.intensity for record in records if isinstance(record, journal.Tick) and record.intensity is not None]
    assert [(one.kind, one.source.split(",")[0].split(":")[0]) for one in said] == [
        ("average", "California 2023"),
        ("marginal", "WattTime v3"),
    ]
    (warning,) = warnings(caplog)
    assert "look at user= and password=, or WATTTIME_USER and WATTTIME_PASSWORD" in warning
    assert "the yearly value, an average and not a marginal one, is used, 179 gCO2e/kWh (California 2023" in warning


def test_no_record_holds_a_token(server: GridServer, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    source = ElectricityMaps("FR", token=fake.TOKEN, base_url=server.url("em/v3"))
    run = new(tmp_path, region="FR", intensity=source)
    run.start(framework="test")
    train(run, lambda: knows(source))
    run.finish()
    recorded(run, tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    held = [path.read_text(), pickle.dumps(run).decode("latin-1"), str(run.state_dict())]
    held += [repr(run.settings), repr(run.options)]
    assert not any(secret in text for secret in fake.SECRETS for text in held)


# -- bad days ----------------------------------------------------------------------------------------------------------


def test_without_a_network_the_run_ends_with_yearly_values_and_one_warning(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with GridServer() as gone:
        pass
    source = GBCarbonIntensity(base_url=gone.url("gb"), patience=QUICK)
    run = new(tmp_path, region="GB", intensity=source)
    run.start(framework="test")
    train(run, lambda: warnings(caplog))
    for _ in range(3):
        train(run)
        run.epoch_end()
    run.finish()
    records = recorded(run, tmp_path)
    assert run.totals.kg_co2e == pytest.approx(run.totals.kwh * YEARLY_GB / 1000, rel=1e-9)
    (warning,) = warnings(caplog)
    assert warning.startswith("GB Carbon Intensity (postcode=None): it cannot be reached (ConnectError); meanwhile the")
    said = [record.intensity for record in records if isinstance(record, journal.Tick) and record.intensity is not None]
    assert [one.source for one in said] == [resolve("GB").intensity().source]


def test_a_provider_that_hangs_delays_no_step(server: GridServer, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    server.always(server.hangs())
    source = GBCarbonIntensity(base_url=server.url("gb"), patience=Patience(read_s=30.0, whole_s=30.0))
    run = new(tmp_path, region="GB", intensity=source, log_every_n_steps=10)
    run.start(framework="test")
    run.enter_phase("train")
    worst_s: list[float] = []
    for _ in range(10):
        taken_s = []
        for _ in range(100):
            time.sleep(0.0005)
            before_s = time.perf_counter()
            run.step()
            taken_s.append(time.perf_counter() - before_s)
        worst_s.append(max(taken_s))
    assert server.requests  # it is being asked all the while
    run.finish()
    # A machine with other work may take the processor away in some rounds, not in all of them.
    assert min(worst_s) < 0.001, worst_s
    assert run.totals.kg_co2e == pytest.approx(run.totals.kwh * YEARLY_GB / 1000, rel=1e-9)


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "Fraction"])
def test_a_source_of_ones_own_may_speak_in_numbers_of_other_kinds(
    kind: str, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    number = Fraction if kind == "Fraction" else getattr(pytest.importorskip("numpy"), kind)

    class Mine:
        def at(self, time: datetime) -> Intensity:
            return Intensity(number(123), source="mine")

        def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]]:
            return [(start + timedelta(hours=k), self.at(start)) for k in range(3)]

    with wattloop.track(intensity=Mine(), wait=CleanHours(below=200), log_dir=tmp_path, interval_s=0.02) as run:
        for _ in run.steps(range(50)):
            time.sleep(0.005)
    assert run.settle(20.0)
    (path,) = tmp_path.glob("*.jsonl")
    end = [*journal.read(path)][-1]
    assert isinstance(end, journal.End) and type(end.totals.kg_co2e) is float
    assert end.totals.kg_co2e == pytest.approx(end.totals.kwh * 0.123)


def test_where_a_series_ends_the_yearly_value_goes_on_and_is_said(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    series = IntensitySeries({datetime(2020, 1, 1, tzinfo=UTC): 100}, longest=timedelta(hours=1), source="my meter")
    run = new(tmp_path, region="GB", intensity=series)
    run.start(framework="test")
    train(run)
    run.finish()
    assert run.settle(PATIENCE_OF_TESTS_S)
    assert run.totals.kg_co2e == pytest.approx(run.totals.kwh * YEARLY_GB / 1000, rel=1e-9)
    (warning,) = warnings(caplog)
    assert warning.startswith("my meter: its values are from 2020-01-01T00:00Z to 2020-01-01T01:00Z, none for 20")
