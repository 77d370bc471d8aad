"""Which instruments a process gets, and what it is told when there are none."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest

from fakes.nvml import NO_DEVICE, FakeNvml
from fakes.powercap import Powercap
from wattloop.meters import MeterOptions, open_meters
from wattloop.meters.base import Meter, MeterUnavailable, Reading
from wattloop.meters.opening import Opening

GPU, CPU, MODEL = "NvmlMeter", "RaplMeter", "ModelledCpuMeter"


def opened(options: MeterOptions) -> list[str]:
    meters: tuple[Meter, ...] = open_meters(options)
    for meter in meters:
        meter.close()
    return [type(meter).__name__ for meter in meters]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("gpu", "rapl", "modelled_cpu", "expected"),
    [
        (True, True, False, [GPU, CPU]),
        (True, True, True, [GPU, CPU]),
        (True, False, False, [GPU]),
        (True, False, True, [GPU, MODEL]),
        (False, True, False, [CPU]),
        (False, True, True, [CPU]),
        (False, False, False, [MODEL]),
        (False, False, True, [MODEL]),
    ],
)
def test_the_cpu_is_modelled_only_where_asked_for_or_where_nothing_is_measured(
    fake_nvml: FakeNvml,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    gpu: bool,
    rapl: bool,
    modelled_cpu: bool,
    expected: list[str],
) -> None:
    fake_nvml.reset("devices=1" if gpu else "error.init=9")
    if rapl:
        Powercap.intel_server(tmp_path)
    assert opened(MeterOptions(modelled_cpu=modelled_cpu, powercap_root=str(tmp_path))) == expected
    assert len(warnings(caplog)) == (0 if gpu or rapl else 1)


def test_where_nothing_is_measured_one_warning_says_why_and_what_is_done(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nvml.reset("error.init=9")
    opened(MeterOptions(powercap_root=str(tmp_path)))
    (warning,) = warnings(caplog)
    assert warning.startswith("nothing can be measured here, so the CPU's energy is modelled: ")
    assert "Driver Not Loaded" in warning
    assert str(tmp_path) in warning


def test_a_counter_that_may_not_be_read_is_no_reason_to_warn_beside_a_gpu(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, zones = Powercap.amd(tmp_path)
    zones["package-0"].break_file()
    assert opened(MeterOptions(powercap_root=str(tmp_path))) == [GPU]
    assert warnings(caplog) == []


def test_without_the_means_to_model_no_energy_is_counted_and_nothing_raised(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.reset("error.init=9")
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert opened(MeterOptions(powercap_root=str(tmp_path))) == []
    assert warnings(caplog)[0].startswith("nothing can be measured here, so no energy is counted: ")


def test_without_the_binding_the_rest_still_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    Powercap.amd(tmp_path)
    assert opened(MeterOptions(powercap_root=str(tmp_path))) == [CPU]


class Late:
    """A driver that answers when it is let."""

    interval_s = 1.0

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.closed = threading.Event()

    def open(self) -> Late:
        assert self.may_answer.wait(20.0)
        return self

    def read(self) -> tuple[Reading, ...]:
        return (Reading("GPU-late", "gpu", 1.0, "counter", 0.0),)

    def close(self) -> None:
        self.closed.set()


class Stand:
    interval_s = 1.0
    closed = False

    def read(self) -> tuple[Reading, ...]:
        return ()

    def close(self) -> None:
        self.closed = True


def test_a_late_driver_has_no_channels_until_it_answers_and_then_takes_its_place() -> None:
    late, stand_in = Late(), Stand()
    opening = Opening(late.open, lambda meter: (stand_in,))
    assert not opening.wait(0.0)
    assert opening.read() == opening.mark(1.0) == ()
    assert opening.next_look_s(1.0) is None
    assert not stand_in.closed
    late.may_answer.set()
    assert opening.wait(20.0)
    assert [reading.channel for reading in opening.read()] == ["GPU-late"]
    assert stand_in.closed
    assert opening.interval_s == 1.0
    opening.close()
    assert late.closed.is_set()


def test_a_driver_that_answers_after_the_end_is_closed_again() -> None:
    late = Late()
    opening = Opening(late.open)
    opening.close()
    late.may_answer.set()
    assert late.closed.wait(20.0)


@pytest.mark.parametrize("error", [MeterUnavailable("no driver"), ValueError("odd")])
def test_a_driver_that_fails_late_is_said_to_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    may_fail = threading.Event()

    def fail() -> Meter:
        assert may_fail.wait(20.0)
        raise error

    opening = Opening(fail)
    assert not opening.wait(0.0)
    may_fail.set()
    assert opening.wait(20.0)
    assert opening.meter is None
    assert opening.read() == ()
    assert warnings(caplog) == [opening.reason]
    assert str(error) in opening.reason


def test_the_cpu_is_measured_while_the_driver_hangs(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Powercap.amd(tmp_path)
    with fake_nvml.hanging(NO_DEVICE, "init"):
        gpus, cpu = open_meters(MeterOptions(powercap_root=str(tmp_path)), patience_s=0.01)
        assert type(cpu).__name__ == CPU
        assert cpu.read()
        assert gpus.read() == ()
    assert isinstance(gpus, Opening)
    assert gpus.wait(20.0)
    assert [reading.kind for reading in gpus.read()] == ["gpu"]
    assert cpu.read()
    gpus.close()
    assert warnings(caplog) == ["the NVIDIA driver does not answer; its GPUs are counted from when it does"]


@pytest.mark.parametrize(("modelled_cpu", "stays"), [(False, False), (True, True)])
def test_a_model_that_stood_in_for_a_late_driver_steps_aside(
    fake_nvml: FakeNvml, tmp_path: Path, modelled_cpu: bool, stays: bool
) -> None:
    fake_nvml.reset("devices=1")
    with fake_nvml.hanging(NO_DEVICE, "init"):
        options = MeterOptions(modelled_cpu=modelled_cpu, powercap_root=str(tmp_path))
        gpus, cpu = open_meters(options, last_patience_s=0.01)
        assert cpu.read()
    assert isinstance(gpus, Opening)
    assert gpus.wait(20.0)
    assert gpus.read()
    assert bool(cpu.read()) == stays
    gpus.close()
