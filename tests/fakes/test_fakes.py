"""The fakes tell the truth, through the code that will really read them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pynvml
import pytest

from fakes.nvml import NO_DEVICE, FakeNvml, environment
from fakes.powercap import Powercap


def handle(index: int = 0) -> object:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def read_j(device: object) -> tuple[float, float, float]:
    """Read the counter, and the times between which it was read."""
    before = time.monotonic()
    counter_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    return counter_mj / 1e3, before, time.monotonic()


def assert_counts_truly(fake: FakeNvml, device: object) -> None:
    first_j, t0, t1 = read_j(device)
    time.sleep(0.03)
    last_j, t2, t3 = read_j(device)
    assert fake.energy_j(t1, t2) - 0.002 <= last_j - first_j <= fake.energy_j(t0, t3) + 0.002


@pytest.mark.parametrize("profile", ["constant:300", "square:100,500,0.02", "square:50,400,0.013,0.3,0.004"])
def test_counter_is_the_integral_of_power(fake_nvml: FakeNvml, profile: str) -> None:
    fake_nvml.reset(f"profile={profile}")
    assert_counts_truly(fake_nvml, handle())


def test_integral_of_whole_periods_is_mean_power(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("devices=3;profile=square:100,500,1.0,0.25;d2.profile=constant:10")
    assert fake_nvml.energy_j(7.3, 17.3, device=1) == pytest.approx(200 * 10)
    assert fake_nvml.energy_j(7.3, 17.3) == pytest.approx(2 * 200 * 10 + 100)


def test_square_wave_is_high_from_its_phase(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("profile=square:100,500,1.0,0.25,0.1")
    assert fake_nvml.energy_j(5.1, 5.35) == pytest.approx(125)
    assert fake_nvml.energy_j(5.35, 6.1) == pytest.approx(75)


def test_power_set_live_counts_from_that_moment(fake_nvml: FakeNvml) -> None:
    device = handle()
    before = time.monotonic()
    fake_nvml.set_power(0, 100.0)
    after = time.monotonic()
    assert pynvml.nvmlDeviceGetPowerUsage(device) == 100_000
    assert fake_nvml.energy_j(before - 1, before) == pytest.approx(300)
    assert fake_nvml.energy_j(after, after + 2) == pytest.approx(200)
    assert_counts_truly(fake_nvml, device)


def test_counter_holds_between_refreshes(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("profile=constant:1000;refresh_s=1000")
    counter_j, before, after = read_j(handle())
    assert counter_j in {int(before / 1000) * 1e6, int(after / 1000) * 1e6}


def test_average_power_trails_instant_power_by_a_second(fake_nvml: FakeNvml) -> None:
    device = handle()
    fake_nvml.set_power(0, 100.0)
    average, instant = pynvml.nvmlDeviceGetFieldValues(device, [185, 186])
    assert (average.nvmlReturn, instant.nvmlReturn) == (0, 0)
    assert instant.value.uiVal == 100_000
    assert average.value.uiVal == pytest.approx(300_000, rel=0.1)


def test_field_values_carry_their_own_errors(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("error.field_83=3;error.field_186=2")
    values = pynvml.nvmlDeviceGetFieldValues(handle(), [83, 185, 186, 1])
    assert [value.nvmlReturn for value in values] == [3, 0, 2, 3]


def test_field_83_is_the_counter(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("offset_j=5000;refresh_s=1000")
    (value,) = pynvml.nvmlDeviceGetFieldValues(handle(), [pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION])
    assert value.valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
    assert value.value.ullVal == pynvml.nvmlDeviceGetTotalEnergyConsumption(handle())


def test_errors_arrive_as_nvml_exceptions_until_cleared(fake_nvml: FakeNvml) -> None:
    device = handle()
    fake_nvml.set_error(0, "total_energy", pynvml.NVML_ERROR_NOT_SUPPORTED)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    fake_nvml.set_error(0, "all", pynvml.NVML_ERROR_GPU_IS_LOST)
    with pytest.raises(pynvml.NVMLError_GpuIsLost, match="GPU is lost"):
        pynvml.nvmlDeviceGetPowerUsage(device)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetHandleByUUID("GPU-a0b1c200-fa4e-4000-8000-000000000000")
    fake_nvml.set_error(0, "all", 0)
    assert pynvml.nvmlDeviceGetPowerUsage(device) == 300_000


def test_driver_not_loaded(fake_nvml: FakeNvml) -> None:
    fake_nvml.set_error(NO_DEVICE, "init", pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()


def test_handles_are_invalid_after_a_gpu_reset(fake_nvml: FakeNvml) -> None:
    device = handle()
    uuid = pynvml.nvmlDeviceGetUUID(device)
    fake_nvml.invalidate_handles(0)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetPowerUsage(device)
    assert pynvml.nvmlDeviceGetPowerUsage(pynvml.nvmlDeviceGetHandleByUUID(uuid)) == 300_000


def test_counter_reset_and_leap(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("profile=constant:100;offset_j=1000000")
    device = handle()
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(device) > 1e9
    fake_nvml.reset_counter(0)
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(device) < 100_000
    fake_nvml.add_to_counter(0, 5000.0)
    assert 5_000_000 <= pynvml.nvmlDeviceGetTotalEnergyConsumption(device) < 5_100_000


def test_identity(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("devices=2;d1.name=NVIDIA T4;d1.limit_w=70;d1.uuid=GPU-1234;pids=12,34")
    device = handle(1)
    assert pynvml.nvmlDeviceGetCount() == 2
    assert pynvml.nvmlDeviceGetUUID(device) == "GPU-1234"
    assert pynvml.nvmlDeviceGetName(device) == "NVIDIA T4"
    assert pynvml.nvmlDeviceGetIndex(device) == 1
    assert pynvml.nvmlDeviceGetPciInfo(device).busId == "00000000:11:00.0"
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(device) == 70_000
    assert [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)] == [12, 34]
    assert pynvml.nvmlSystemGetDriverVersion()
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetHandleByIndex(2)


def test_mig_slices_have_uuids_and_a_parent_but_no_energy(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("mig=2")
    board = handle()
    assert pynvml.nvmlDeviceGetMigMode(board) == [1, 1]
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(board) == 7
    slices = [pynvml.nvmlDeviceGetMigDeviceHandleByIndex(board, index) for index in range(2)]
    uuids = {pynvml.nvmlDeviceGetUUID(each) for each in slices}
    assert len(uuids) == 2
    assert all(uuid.startswith("MIG-") for uuid in uuids)
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slices[1])
    assert pynvml.nvmlDeviceGetUUID(parent) == pynvml.nvmlDeviceGetUUID(board)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetTotalEnergyConsumption(slices[0])
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(board, 2)


def test_latency_delays_a_call(fake_nvml: FakeNvml) -> None:
    device = handle()
    fake_nvml.set_latency(0, "total_energy", 0.03)
    _, before, after = read_j(device)
    assert after - before >= 0.03


def test_a_hanging_call_returns_when_released(fake_nvml: FakeNvml) -> None:
    device = handle()
    stuck = threading.Thread(target=pynvml.nvmlDeviceGetTotalEnergyConsumption, args=(device,), daemon=True)
    with fake_nvml.hanging(0, "total_energy"):
        stuck.start()
        stuck.join(0.03)
        assert stuck.is_alive()
        assert pynvml.nvmlDeviceGetPowerUsage(device) == 300_000
    stuck.join(5)
    assert not stuck.is_alive()


def test_calls_are_counted(fake_nvml: FakeNvml) -> None:
    device = handle()
    for _ in range(3):
        pynvml.nvmlDeviceGetPowerUsage(device)
    assert (fake_nvml.calls("power_usage"), fake_nvml.calls("init"), fake_nvml.calls("all")) == (3, 1, 5)


def test_outside_the_fixture_there_is_no_driver() -> None:
    with FakeNvml():
        pynvml.nvmlInit()
    with pytest.raises(pynvml.NVMLError_LibraryNotFound):
        pynvml.nvmlInit()
    with FakeNvml(), pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()


@pytest.mark.parametrize("config", ["devices=17", "profile=sine:3", "error.no_such_call=3", "d3.nothing=1", "devices"])
def test_an_unreadable_configuration_is_refused(fake_nvml: FakeNvml, config: str) -> None:
    with pytest.raises(ValueError, match="item"):
        fake_nvml.reset(f"devices=1;{config}")


CHILD = """
import pynvml, time
pynvml.nvmlInit()
for index in range(pynvml.nvmlDeviceGetCount()):
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    before, counter_mj, after = time.monotonic(), pynvml.nvmlDeviceGetTotalEnergyConsumption(handle), time.monotonic()
    print(before, counter_mj, after, pynvml.nvmlDeviceGetPowerUsage(handle))
"""


def test_a_child_process_sees_the_same_counters(fake_nvml: FakeNvml) -> None:
    config = "devices=2;refresh_s=0.02;d0.profile=constant:300;d1.profile=square:100,500,3600"
    fake_nvml.reset(config)
    output = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment(config), capture_output=True, text=True, check=True
    ).stdout
    rows = [[float(cell) for cell in line.split()] for line in output.splitlines()]
    assert len(rows) == 2
    for index, (before, counter_mj, after, power_mw) in enumerate(rows):
        low_j, high_j = fake_nvml.energy_j(0, before - 0.02, index), fake_nvml.energy_j(0, after, index)
        assert low_j - 0.001 <= counter_mj / 1e3 <= high_j
        assert power_mw / 1e3 in ({300}, {100, 500})[index]


def test_powercap_counter_wraps_at_its_range(tmp_path: Path) -> None:
    zone = Powercap(tmp_path).add("intel-rapl:0", "package-0", energy_uj=900_000, range_uj=1_000_000)
    zone.advance(joules=0.3)
    assert (zone.path / "energy_uj").read_text() == "200000\n"


def test_a_broken_powercap_file_is_unreadable_for_every_user(tmp_path: Path) -> None:
    _, zones = Powercap.intel_server(tmp_path)
    zones["dram-1"].break_file()
    with pytest.raises(OSError):
        (tmp_path / "intel-rapl:1:2" / "energy_uj").read_text()
    zones["dram-1"].advance(joules=2.0)
    zones["dram-1"].mend_file()
    assert (tmp_path / "intel-rapl:1" / "intel-rapl:1:2" / "energy_uj").read_text() == "2000000\n"
