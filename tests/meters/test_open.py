"""Which instruments a process gets, and what it is told when there are none."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from fakes.nvml import FakeNvml
from fakes.powercap import Powercap
from wattloop.meters import MeterOptions, open_meters
from wattloop.meters.base import Meter

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
