"""What is checked of a board once: its counter against its power, and who else uses it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.nvml import FakeNvml
from fakes.powercap import Powercap
from wattloop.meters import MeterOptions, open_meters
from wattloop.meters.checks import CHECKS, CrossCheck, strangers
from wattloop.meters.nvml import NvmlMeter


@pytest.fixture
def stranger() -> Iterator[int]:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process.pid
        process.communicate(b"\n")


@pytest.fixture
def worker() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def checked(counter_w: float, powers_w: list[float]) -> str:
    check = CrossCheck()
    said = [check.add(i * 1.0, i * counter_w, watts, last=i == len(powers_w) - 1) for i, watts in enumerate(powers_w)]
    assert said[:-1] == [""] * (len(said) - 1)
    return said[-1]


def test_a_counter_that_says_much_less_than_the_power_is_named() -> None:
    assert checked(187 / 5, [327 / 5] * CHECKS) == "its energy counter says 37 W where its power reading says 65 W"


@pytest.mark.parametrize("counter_w", [87.0, 100.0, 114.0])
def test_a_difference_within_15_percent_is_let_be(counter_w: float) -> None:
    assert checked(counter_w, [100.0] * CHECKS) == ""


def test_a_load_that_jumps_does_not_look_like_a_fault() -> None:
    # Read once a second, a wave of 100 and 500 W may show 500 W twelve times of twenty.
    assert checked(300.0, [500.0] * 12 + [100.0] * 8) == ""


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=CHECKS), st.floats(0, 1000))
def test_any_readings_are_taken(powers_w: list[float], counter_w: float) -> None:
    assert isinstance(checked(counter_w, powers_w), str)


def test_a_board_is_warned_of_once(fake_nvml: FakeNvml, caplog: pytest.LogCaptureFixture) -> None:
    fake_nvml.reset("profile=constant:300;power_scale=0.5")
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        return now_s

    class Slow:
        """The real binding, with a counter that follows the test's clock."""

        def __getattr__(self, name: str) -> object:
            import pynvml

            if name == "nvmlDeviceGetTotalEnergyConsumption":
                return lambda handle: int(now_s * 300e3)
            return getattr(pynvml, name)

    meter = NvmlMeter(Slow(), {}, clock)
    for _ in range(3 * CHECKS):
        now_s += 1.0
        meter.read()
    meter.close()
    said = [record.getMessage() for record in caplog.records if "energy counter says" in record.getMessage()]
    assert len(said) == 1
    assert "says 300 W where its power reading says 150 W; the counter is used" in said[0]


def test_processes_of_another_session_are_strangers(stranger: int, worker: int) -> None:
    assert strangers([os.getpid(), worker, stranger]) == [stranger]


def test_nobody_is_a_stranger_where_the_numbers_mean_nothing(stranger: int) -> None:
    assert strangers([stranger]) == []
    assert strangers([os.getpid(), 2**22 + 1]) == []


def test_a_shared_board_is_flagged_and_warned_of(
    fake_nvml: FakeNvml, stranger: int, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nvml.reset(f"pids={os.getpid()},{stranger}")
    meter = NvmlMeter(environ={})
    with caplog.at_level(logging.WARNING, "wattloop"):
        shared = [meter.read()[0].shared for _ in range(2 * CHECKS)]
    meter.close()
    assert shared[0] is False
    assert shared[-1] is True
    assert [f"also used by process {stranger}" in record.getMessage() for record in caplog.records] == [True]


def test_a_module_with_its_cpu_in_the_counter_gets_no_cpu_beside_it(fake_nvml: FakeNvml, tmp_path: object) -> None:
    Powercap.intel_server(tmp_path, sockets=1)
    for name, kinds in (("NVIDIA GH200 480GB", {"gpu"}), ("NVIDIA H100 80GB HBM3", {"gpu", "cpu", "dram"})):
        fake_nvml.reset(f"name={name}")
        meters = open_meters(MeterOptions(modelled_cpu=True, powercap_root=str(tmp_path)))
        assert {reading.kind for meter in meters for reading in meter.read()} == kinds
        for meter in meters:
            meter.close()
