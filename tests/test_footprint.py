"""Joules x PUE x intensity of the moment, against sums done by hand."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattloop.footprint import Footprint, Totals
from wattloop.grid.intensity import ConstantIntensity, Intensity
from wattloop.grid.series import IntensitySeries
from wattloop.meters.base import Kind, Reading
from wattloop.sampler import Snapshot

KWH = 3.6e6
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Grid:
    """A carbon intensity that a test sets, in gCO2e/kWh."""

    def __init__(self, g_co2e_per_kwh: float = 100.0) -> None:
        self.g_co2e_per_kwh = g_co2e_per_kwh
        self.fault: Exception | None = None
        self.asked_for: list[datetime] = []

    def at(self, time: datetime) -> Intensity:
        self.asked_for.append(time)
        if self.fault is not None:
            raise self.fault
        return Intensity(self.g_co2e_per_kwh, "a test")

    def forecast(self, start: datetime, end: datetime) -> None:
        return None


def gpu(energy_j: float, modelled_j: float = 0.0, uncertainty_j: float = 0.0, edge_j: float = 0.0) -> Reading:
    return Reading("GPU-aa", "gpu", energy_j, "counter", uncertainty_j, modelled_j, edge_j)


def channel(name: str, kind: Kind, energy_j: float) -> Reading:
    return Reading(name, kind, energy_j, "counter", 0.0)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_channel_counts_from_when_it_is_first_seen() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(7 * KWH),)))
    assert footprint.totals == Totals()
    footprint.take(Snapshot(10.0, (gpu(9 * KWH), channel("cpu:0", "cpu", 100 * KWH))))
    footprint.take(Snapshot(20.0, (gpu(9 * KWH), channel("cpu:0", "cpu", 101 * KWH))))
    assert footprint.totals == Totals(gpu_j=2 * KWH, cpu_j=KWH, kg_co2e=pytest.approx(1.5), duration_s=20.0, gpu_s=20.0)


def test_every_gpu_is_reserved_for_as_long_as_it_is_counted_and_those_of_other_ranks_are_not() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    footprint.claims = {}

    def take(second: float, *names: str) -> float:
        footprint.take(Snapshot(second, tuple(channel(name, "gpu", 0.0) for name in names)))
        return footprint.totals.gpu_s

    assert take(0.0, "GPU-a", "GPU-b") == 0.0
    assert take(10.0, "GPU-a", "GPU-b") == 0.0, "nobody knows yet whose they are"
    footprint.claims = {"GPU-a": True, "GPU-b": False}
    assert take(20.0, "GPU-a", "GPU-b", "GPU-c") == 20.0
    footprint.claims = {"GPU-a": True, "GPU-b": False, "GPU-c": True}
    assert take(30.0, "GPU-a", "GPU-b", "GPU-c") == 40.0
    assert footprint.totals.duration_s == 30.0


def test_memory_and_platform_count_beside_the_cpu() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    for energy_j in (0.0, 1.0):
        channels = [channel("cpu:0", "cpu", energy_j), channel("dram:0", "dram", 10 * energy_j)]
        footprint.take(Snapshot(energy_j, (*channels, channel("psys:0", "psys", 100 * energy_j))))
    assert (footprint.totals.gpu_j, footprint.totals.cpu_j) == (0, 111)


def test_pue_multiplies_emissions_and_not_the_devices_energy() -> None:
    footprint = Footprint(ConstantIntensity(400.0, "a test"), pue=1.5)
    footprint.take(Snapshot(0.0, (gpu(0),)))
    footprint.take(Snapshot(1.0, (gpu(KWH),)))
    assert footprint.totals.kwh == pytest.approx(1.0)
    assert footprint.totals.kg_co2e == pytest.approx(0.6)
    assert footprint.kg_per_joule * KWH == pytest.approx(0.6)


def test_each_joule_is_priced_at_the_intensity_of_its_moment() -> None:
    grid, now = Grid(), BEGIN
    footprint = Footprint(grid, now=lambda: now)
    footprint.take(Snapshot(0.0, (gpu(0),)))
    energy_j = 0.0
    for hour, (g_co2e_per_kwh, kwh) in enumerate(((100.0, 1.0), (900.0, 2.0), (0.0, 5.0)), start=1):
        now = BEGIN + timedelta(hours=hour)
        grid.g_co2e_per_kwh = g_co2e_per_kwh
        energy_j += kwh * KWH
        footprint.take(Snapshot(hour * 3600.0, (gpu(energy_j),)))
        assert grid.asked_for[-1] == now
        assert footprint.intensity.g_co2e_per_kwh == g_co2e_per_kwh
    assert footprint.totals.kg_co2e == pytest.approx(0.1 + 1.8)


@pytest.mark.parametrize("lie", [math.nan, math.inf, -1.0, OSError("no answer")])
def test_a_grid_that_fails_or_lies_leaves_the_last_intensity_in_use(
    lie: float | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    grid = Grid(100.0)
    footprint = Footprint(grid)
    footprint.take(Snapshot(0.0, (gpu(0),)))
    if isinstance(lie, Exception):
        grid.fault = lie
    else:
        grid.g_co2e_per_kwh = lie
    for count in (1, 2, 3):
        footprint.take(Snapshot(float(count), (gpu(count * KWH),)))
    assert footprint.totals.kg_co2e == pytest.approx(0.3)
    assert len(warnings(caplog)) == 1
    assert "the last one known stays in use" in warnings(caplog)[0]


def test_energy_is_counted_under_the_phase_that_was_on() -> None:
    footprint = Footprint(ConstantIntensity(100.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(0),)))
    energy_j = 0.0
    for phase, joules in (("startup", 5), ("train", 100), ("validation", 20), ("train", 100), ("checkpoint", 1)):
        footprint.phase = phase
        energy_j += joules
        footprint.take(Snapshot(energy_j, (gpu(energy_j),)))
    assert footprint.phases_j == {"startup": 5, "train": 200, "validation": 20, "checkpoint": 1}


def test_power_is_a_mean_over_no_less_than_its_window() -> None:
    footprint = Footprint(ConstantIntensity(100.0, "a test"), power_window_s=0.5)
    footprint.take(Snapshot(0.0, (gpu(0),)))
    footprint.take(Snapshot(0.1, (gpu(1000),)))
    assert footprint.power_w == 0
    footprint.take(Snapshot(0.5, (gpu(100),)))
    assert footprint.power_w == pytest.approx(200)
    footprint.take(Snapshot(1.5, (gpu(400),)))
    assert footprint.power_w == pytest.approx(300)


def test_uncertainty_is_what_was_gathered_and_both_ends() -> None:
    footprint = Footprint(ConstantIntensity(100.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(1000, uncertainty_j=500, edge_j=3),)))
    assert footprint.uncertainty_j == pytest.approx(3 + 3)
    footprint.take(Snapshot(1.0, (gpu(1100, uncertainty_j=510, edge_j=30),)))
    assert footprint.uncertainty_j == pytest.approx(10 + 3 + 30)


def test_a_gap_set_right_after_the_session_began_leaves_no_nonsense() -> None:
    footprint = Footprint(ConstantIntensity(100.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(1000, modelled_j=400, uncertainty_j=400),)))
    footprint.take(Snapshot(1.0, (gpu(1100, modelled_j=0, uncertainty_j=0),)))
    assert footprint.totals.measured_fraction == 1
    assert footprint.uncertainty_j == 0


@pytest.mark.parametrize(
    ("totals", "fraction"),
    [(Totals(), 0), (Totals(gpu_j=100), 1), (Totals(gpu_j=75, cpu_j=25, modelled_j=25), 0.75)],
)
def test_measured_fraction(totals: Totals, fraction: float) -> None:
    assert totals.measured_fraction == fraction


def test_rewinding_forgets_what_came_after_the_mark() -> None:
    footprint = Footprint(ConstantIntensity(100.0, "a test"))
    footprint.phase = "train"
    footprint.take(Snapshot(0.0, (gpu(0),)))
    footprint.take(Snapshot(1.0, (gpu(100),)))
    footprint.mark()
    footprint.take(Snapshot(2.0, (gpu(500),)))
    footprint.rewind()
    assert (footprint.totals.energy_j, footprint.phases_j) == (100, {"train": 100})


joules = st.floats(0, 1e7)
kinds: st.SearchStrategy[Kind] = st.sampled_from(("gpu", "cpu", "dram", "psys"))


@given(
    st.lists(kinds, min_size=1, max_size=4),
    st.data(),
    st.floats(1, 3),
    st.lists(st.floats(0, 2000), min_size=1, max_size=15),
)
@settings(deadline=None)
def test_totals_are_the_sum_over_channels_and_moments(
    channels: list[Kind], data: st.DataObject, pue: float, intensities: list[float]
) -> None:
    grid = Grid()
    footprint = Footprint(grid, pue)
    energies_j = [1e6] * len(channels)
    wanted = {"gpu": 0.0, "host": 0.0, "kg": 0.0}

    def snapshot(time_s: float) -> Snapshot:
        readings = zip(channels, energies_j, strict=True)
        return Snapshot(time_s, tuple(channel(str(i), kind, j) for i, (kind, j) in enumerate(readings)))

    footprint.take(snapshot(0.0))
    for moment, g_co2e_per_kwh in enumerate(intensities, start=1):
        grid.g_co2e_per_kwh = g_co2e_per_kwh
        footprint.phase = data.draw(st.sampled_from(("train", "validation")))
        for index, kind in enumerate(channels):
            gained_j = data.draw(joules)
            energies_j[index] += gained_j
            wanted["gpu" if kind == "gpu" else "host"] += gained_j
            wanted["kg"] += gained_j / KWH * pue * g_co2e_per_kwh / 1000
        footprint.take(snapshot(float(moment)))
    assert footprint.totals.gpu_j == pytest.approx(wanted["gpu"], abs=1e-3)
    assert footprint.totals.cpu_j == pytest.approx(wanted["host"], abs=1e-3)
    assert footprint.totals.kg_co2e == pytest.approx(wanted["kg"], abs=1e-9)
    assert sum(footprint.phases_j.values()) == pytest.approx(footprint.totals.energy_j, abs=1e-3)


spans = st.builds(Totals, *[st.integers(0, 2**40).map(float)] * 6)


@given(st.lists(spans, max_size=10))
@settings(deadline=None)
def test_spans_add_up_and_come_apart_again(parts: list[Totals]) -> None:
    total = sum(parts, Totals())
    for name in ("gpu_j", "cpu_j", "modelled_j", "uncertainty_j", "kg_co2e", "duration_s"):
        assert getattr(total, name) == sum(getattr(part, name) for part in parts)
    for part in parts:
        total -= part
    assert total == Totals()


def test_a_day_of_seconds_loses_no_joule() -> None:
    footprint = Footprint(ConstantIntensity(100.0, "a test"))
    for second in range(86_401):
        footprint.take(Snapshot(float(second), (gpu(300.0 * second),)))
    assert footprint.totals.energy_j == 300 * 86_400
    assert footprint.totals.kg_co2e == pytest.approx(300 * 86_400 / KWH * 0.1, rel=1e-9)


def test_time_is_asked_for_aware() -> None:
    grid = Grid()
    Footprint(grid)
    assert grid.asked_for[0].tzinfo is not None


def test_the_mean_power_stands_in_for_instruments_that_are_silent_until_they_answer() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"), pue=1.2, power_window_s=1.0)
    assert footprint.bridge(0.0) is None
    for second, energy_j in enumerate([0.0, 100.0, 200.0, 600.0, 700.0]):
        footprint.take(Snapshot(float(second), (gpu(energy_j),)))
    footprint.phase = "train"
    assert footprint.bridge(14.0) == 100.0
    totals = footprint.totals
    assert (totals.energy_j, totals.modelled_j, totals.duration_s, totals.gpu_s) == (1700.0, 1000.0, 14.0, 14.0)
    assert totals.kg_co2e == pytest.approx(1700.0 / KWH * 1.2 * 0.5)
    assert totals.uncertainty_j == 3000.0  # it has been seen to draw 400 W
    assert footprint.phases_j == {"startup": 700.0, "train": 1000.0}

    footprint.take(Snapshot(14.5, (gpu(1000.0),)))
    assert footprint.totals.energy_j == 1700.0, "what was shown does not fall by itself"
    footprint.take(Snapshot(15.0, (gpu(1800.0),)))
    kg_co2e = pytest.approx(1800.0 / KWH * 1.2 * 0.5)
    assert footprint.totals == Totals(gpu_j=1800.0, kg_co2e=kg_co2e, duration_s=15.0, gpu_s=15.0)
    assert footprint.phases_j == {"startup": 700.0, "train": 1100.0}


def test_what_stood_in_ends_when_the_instruments_were_asked_and_answered() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(0.0),)))
    footprint.take(Snapshot(1.0, (gpu(100.0),)))
    footprint.bridge(11.0)
    footprint.take(Snapshot(11.0, (gpu(150.0),)))
    footprint.land()
    assert (footprint.totals.energy_j, footprint.totals.modelled_j) == (150.0, 0.0)


def test_what_a_dead_session_bridged_is_forgotten_with_it() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(0.0),)))
    footprint.take(Snapshot(1.0, (gpu(100.0),)))
    footprint.mark()
    footprint.bridge(11.0)
    footprint.rewind()
    assert footprint.totals.energy_j == 100.0


def test_power_is_over_the_time_between_the_readings_however_long_the_others_take() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    footprint.take(Snapshot(0.0, (gpu(0.0),)))
    footprint.take(Snapshot(1.0, (msgspec.structs.replace(gpu(300.0), time_s=3.0),), took_s=2.0))
    assert footprint.power_w == 100.0
    footprint.bridge(4.0)
    assert footprint.totals.energy_j == 400.0


def test_what_a_late_instrument_did_not_see_is_filled_in_by_its_power_and_doubted_to_its_limit() -> None:
    footprint = Footprint(ConstantIntensity(500.0, "a test"))
    footprint.began_s = 10.0
    late = msgspec.structs.replace(gpu(0.0), time_s=12.0, power_w=100.0, most_w=700.0)
    footprint.take(Snapshot(11.0, (late,), took_s=1.0))
    footprint.take(Snapshot(13.0, (msgspec.structs.replace(late, energy_j=150.0, time_s=13.0, power_w=150.0),)))
    assert footprint.totals.energy_j == 150.0 + 2.0 * 150.0
    assert footprint.totals.modelled_j == 300.0
    assert footprint.totals.uncertainty_j == 2.0 * (700.0 - 150.0)
    assert (footprint.totals.duration_s, footprint.totals.gpu_s) == (3.0, 3.0)


def test_looks_ahead_as_far_as_its_source_does() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    hours = [(now + timedelta(hours=hour), 100.0 * (1 + hour)) for hour in (-1, 0, 1, 2)]
    footprint = Footprint(IntensitySeries(hours), pue=1.5, now=lambda: now + timedelta(minutes=30))
    ahead = footprint.ahead(5401.0)
    assert [at_s for at_s, _ in ahead][-2:] == [1800.0, 5400.0]
    assert [kg_per_joule * 3.6e6 for _, kg_per_joule in ahead][-2:] == pytest.approx([0.3, 0.45])
    assert Footprint(ConstantIntensity(100.0, "a test")).ahead(5400.0) == []


def test_a_source_that_cannot_look_ahead_costs_only_the_look() -> None:
    class Blind:
        instant = True

        def at(self, time: datetime) -> Intensity:
            return Intensity(100.0, "a test")

        def forecast(self, start: datetime, end: datetime) -> None:
            raise OSError("no")

    assert Footprint(Blind()).ahead(5400.0) == []
