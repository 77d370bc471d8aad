"""RAPL read from a real tree of files, against the joules that the tree was told to draw."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.powercap import Powercap, Zone
from wattloop.meters.base import MeterUnavailable, Reading
from wattloop.meters.rapl import RaplMeter


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Machine:
    """One package whose power a test decides, its meter and its clock."""

    def __init__(self, root: Path, range_uj: int = 262_143_328_850) -> None:
        self.clock = Clock()
        self.zone = Powercap(root).add("intel-rapl:0", "package-0", energy_uj=range_uj // 3, range_uj=range_uj)

    def open(self) -> RaplMeter:
        return RaplMeter(self.zone.path.parent, clock=self.clock)

    def run(self, watts: float, seconds: float) -> None:
        self.zone.advance(watts * seconds)
        self.clock.now_s += seconds


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only(meter: RaplMeter) -> Reading:
    (reading,) = meter.read()
    return reading


def joules(meter: RaplMeter) -> dict[str, float]:
    return {reading.channel: reading.energy_j for reading in meter.read()}


def draw(zones: dict[str, Zone]) -> None:
    for number, zone in enumerate(zones.values()):
        zone.advance(10.0 + number)


def test_packages_and_memory_of_a_server(tmp_path: Path) -> None:
    tree, zones = Powercap.intel_server(tmp_path, sockets=2)
    clock = Clock()
    meter = RaplMeter(tree.root, clock=clock)
    clock.now_s += 1
    draw(zones)
    drawn = {name: pytest.approx(10.0 + number) for number, name in enumerate(zones)}
    assert joules(meter) == {
        "cpu:0": drawn["package-0"],
        "cpu:1": drawn["package-1"],
        "dram:0": drawn["dram-0"],
        "dram:1": drawn["dram-1"],
    }
    assert {reading.kind for reading in meter.read()} == {"cpu", "dram"}


@pytest.mark.parametrize("build", [Powercap.laptop, Powercap.amd])
def test_each_joule_once_beside_psys_and_mmio(
    tmp_path: Path, build: Callable[[Path], tuple[Powercap, dict[str, Zone]]]
) -> None:
    tree, zones = build(tmp_path)
    clock = Clock()
    meter = RaplMeter(tree.root, clock=clock)
    clock.now_s += 1
    draw(zones)
    assert joules(meter) == {"cpu:0": pytest.approx(10.0)}


def test_mmio_where_it_is_the_only_way(tmp_path: Path) -> None:
    tree = Powercap(tmp_path)
    tree.add("intel-rapl-mmio:0", "package-0")
    assert list(joules(RaplMeter(tree.root))) == ["cpu:0"]


def test_psys_only_where_there_is_no_package(tmp_path: Path) -> None:
    tree = Powercap(tmp_path)
    tree.add("intel-rapl:0", "psys")
    (reading,) = RaplMeter(tree.root).read()
    assert (reading.channel, reading.kind) == ("psys:0", "psys")


def test_zones_are_told_by_name_not_by_number(tmp_path: Path) -> None:
    tree = Powercap(tmp_path)
    tree.add("intel-rapl:0", "psys")
    tree.add("intel-rapl:1", "package-1")
    tree.add("intel-rapl:1:0", "dram")
    tree.add("intel-rapl:2", "package-0")
    assert set(joules(RaplMeter(tree.root))) == {"cpu:0", "cpu:1", "dram:1"}


def test_dies_of_one_package_are_channels_of_their_own(tmp_path: Path) -> None:
    tree = Powercap(tmp_path)
    for number, name in enumerate(("package-0-die-0", "package-0-die-1")):
        tree.add(f"intel-rapl:{number}", name)
        tree.add(f"intel-rapl:{number}:0", "dram")
    assert set(joules(RaplMeter(tree.root))) == {"cpu:0-die-0", "cpu:0-die-1", "dram:0-die-0", "dram:0-die-1"}


@settings(max_examples=50, deadline=None)
@given(
    range_j=st.integers(10_000, 262_143),
    steps=st.lists(st.tuples(st.floats(0, 500), st.floats(0.05, 5)), min_size=1, max_size=30),
)
def test_energy_survives_every_wrap(
    tmp_path_factory: pytest.TempPathFactory, range_j: int, steps: list[tuple[float, float]]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("powercap"), range_uj=range_j * 1_000_000)
    machine.zone.energy_uj = range_j * 1_000_000 - 1
    machine.run(0, 0)
    meter = machine.open()
    for watts, seconds in steps:
        machine.run(watts, seconds)
        last = only(meter)
    assert last.energy_j == pytest.approx(sum(watts * seconds for watts, seconds in steps), abs=1e-4)
    assert (last.method, last.modelled_j, last.uncertainty_j) == ("counter", 0, 0)


def test_interval_is_short_enough_for_the_wrap(tmp_path: Path) -> None:
    assert Machine(tmp_path / "long").open().interval_s == 10
    assert Machine(tmp_path / "short", range_uj=1_000_000_000).open().interval_s <= 0.5


def test_a_counter_reset_is_no_wrap(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    meter = machine.open()
    machine.run(100, 2)
    only(meter)
    machine.zone.reset()
    machine.clock.now_s += 2
    after = only(meter)
    assert after.energy_j == pytest.approx(400)
    assert after.modelled_j == after.uncertainty_j == pytest.approx(200)
    machine.run(100, 2)
    assert only(meter).energy_j == pytest.approx(600)
    assert len(caplog.records) == 1


def test_a_fall_with_no_known_range_is_not_measured(machine: Machine) -> None:
    machine.zone.break_file("max_energy_range_uj")
    meter = machine.open()
    machine.run(100, 2)
    assert only(meter).energy_j == pytest.approx(200)
    machine.zone.reset()
    machine.run(100, 1)
    after = only(meter)
    assert after.energy_j == pytest.approx(300)
    assert after.modelled_j == after.uncertainty_j == pytest.approx(100)


def test_a_pause_long_enough_for_an_unseen_wrap_is_not_measured(machine: Machine) -> None:
    meter = machine.open()
    machine.run(100, 1)
    only(meter)
    machine.run(100, 3600)
    after = only(meter)
    assert after.modelled_j == pytest.approx(100 * 3600)
    assert abs(after.energy_j - 100 * 3601) <= after.uncertainty_j


def test_failed_reads_are_filled_with_the_last_mean_power_until_the_counter_is_back(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    meter = machine.open()
    machine.run(100, 2)
    only(meter)
    machine.zone.break_file()
    for seconds in (1, 2, 3):
        machine.run(150, 1)
        filled = only(meter)
        assert filled.energy_j == pytest.approx(200 + 100 * seconds)
        assert filled.modelled_j == filled.uncertainty_j == pytest.approx(100 * seconds)
    machine.zone.mend_file()
    back = only(meter)
    assert back.energy_j == pytest.approx(200 + 450)
    assert back.modelled_j == 0
    assert [(record.name, record.levelno) for record in caplog.records] == [("wattloop", logging.WARNING)]


def test_energy_never_falls_where_the_gap_was_filled_with_too_much(machine: Machine) -> None:
    meter = machine.open()
    machine.run(100, 2)
    only(meter)
    machine.zone.break_file()
    machine.run(10, 5)
    filled_j = only(meter).energy_j
    machine.zone.mend_file()
    assert only(meter).energy_j == filled_j
    machine.run(100, 10)
    assert only(meter).energy_j == pytest.approx(200 + 50 + 1000)


@pytest.mark.parametrize("text", ["", "garbage\n", "12.5"])
def test_garbage_is_a_failed_read(machine: Machine, text: str) -> None:
    meter = machine.open()
    machine.run(100, 2)
    only(meter)
    (machine.zone.path / "energy_uj").write_text(text)
    machine.clock.now_s += 1
    assert only(meter).energy_j == pytest.approx(300)


def test_a_zone_that_goes_keeps_its_channel(tmp_path: Path) -> None:
    tree, zones = Powercap.intel_server(tmp_path, sockets=1)
    meter = RaplMeter(tree.root)
    zones["dram-0"].remove_file("energy_uj")
    assert [reading.channel for reading in meter.read()] == ["cpu:0", "dram:0"]


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_without_a_tree_the_reason_says_so(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MeterUnavailable, match="no CPU energy is measured: .* holds no RAPL counter"):
        RaplMeter(tmp_path / folder)


def test_without_permission_the_reason_gives_the_remedy(tmp_path: Path) -> None:
    def read_text(file: Path) -> str:
        if file.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(file))
        return file.read_text()

    tree, _ = Powercap.intel_server(tmp_path)
    with pytest.raises(MeterUnavailable) as reason:
        RaplMeter(tree.root, read_text=read_text)
    assert f"sudo chmod a+r {tmp_path}/*/energy_uj" in str(reason.value)
    assert "\n" not in str(reason.value)


def test_one_unreadable_zone_is_named_and_the_others_are_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree, zones = Powercap.intel_server(tmp_path, sockets=1)
    zones["dram-0"].break_file()
    assert list(joules(RaplMeter(tree.root))) == ["cpu:0"]
    assert "dram:0 not measured" in caplog.text


def test_close_twice(machine: Machine) -> None:
    meter = machine.open()
    meter.close()
    meter.close()
