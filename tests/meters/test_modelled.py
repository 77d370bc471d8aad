"""The CPU model against work that is known: by construction, or by the operating system's own account."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.meters.modelled import UNKNOWN_W_PER_LOGICAL_CPU, ModelledCpuMeter, TreeCpuTime, design_power

SPIN = "import time\nwhile time.process_time() < {seconds}: pass"


class Machine:
    """Eight logical CPUs of 200 W together, whose clock and work a test decides."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.used_s = 3.0
        self.meter = ModelledCpuMeter(200.0, lambda: self.now_s, lambda: self.used_s, logical_cpus=8)

    def run(self, seconds: float, cpus: float) -> None:
        self.now_s += seconds
        self.used_s += seconds * cpus


def test_energy_is_the_share_of_the_design_power() -> None:
    machine = Machine()
    machine.run(seconds=10, cpus=2)
    machine.run(seconds=10, cpus=0)
    (reading,) = machine.meter.read()
    assert reading.energy_j == pytest.approx(200 * 10 * 2 / 8)
    assert (reading.channel, reading.kind, reading.method) == ("cpu:0", "cpu", "modelled")
    assert reading.modelled_j == reading.energy_j
    assert reading.uncertainty_j == pytest.approx(reading.energy_j / 2)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 8)), max_size=30))
def test_energy_does_not_depend_on_when_it_is_read(steps: list[tuple[float, float]]) -> None:
    often, once = Machine(), Machine()
    last_j = 0.0
    for seconds, cpus in steps:
        often.run(seconds, cpus)
        once.run(seconds, cpus)
        energy_j = often.meter.read()[0].energy_j
        assert energy_j >= last_j
        last_j = energy_j
    assert often.meter.read()[0].energy_j == pytest.approx(once.meter.read()[0].energy_j, abs=1e-6)
    assert last_j == pytest.approx(sum(seconds * cpus * 25 for seconds, cpus in steps), abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-100, 100)), max_size=30))
def test_power_never_exceeds_the_design_power_and_energy_never_falls(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    start_s, last_j = machine.now_s, 0.0
    for seconds, used_s in steps:
        machine.now_s += seconds
        machine.used_s += used_s
        energy_j = machine.meter.read()[0].energy_j
        assert last_j <= energy_j <= 200 * (machine.now_s - start_s) + 1e-6
        last_j = energy_j


def test_steps_of_the_account_are_not_cut_off() -> None:
    machine = Machine()
    for _ in range(100):
        machine.now_s += 0.01
        machine.meter.read()
        machine.now_s += 0.001
        machine.used_s += 0.02
        machine.meter.read()
    machine.now_s += 1
    assert machine.meter.read()[0].energy_j == pytest.approx(200 * 2 / 8)


def own_cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def test_own_work_is_what_the_system_accounts() -> None:
    tree = TreeCpuTime()
    before_s = own_cpu_s()
    deadline_s = time.process_time() + 0.08
    while time.process_time() < deadline_s:
        pass
    assert tree() == pytest.approx(own_cpu_s() - before_s, abs=0.03)


def test_a_childs_work_counts_while_it_runs_and_after_it_ends() -> None:
    tree = TreeCpuTime()
    with subprocess.Popen(
        [sys.executable, "-c", SPIN.format(seconds=0.1) + "\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        running_s = tree()
        assert running_s >= 0.08
        child.communicate(b"\n")
    assert running_s <= tree() < running_s + 0.08


def test_work_of_a_child_that_nobody_waits_for_is_kept() -> None:
    tree = TreeCpuTime()
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", SPIN.format(seconds=0.1) + "\nprint(flush=True)\ninput()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout
        child.stdout.readline()
        running_s = tree()
        child.communicate(b"\n")
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert tree() >= running_s >= 0.08


def machine_files(folder: Path, model: str, flags: str = "fpu sse", sockets: int = 1) -> tuple[Path, Path]:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: {model}\nflags\t\t: {flags}\n")
    for cpu in range(4):
        topology = folder / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{cpu % sockets}\n")
    return cpuinfo, folder / "cpu"


EPYC = "AMD EPYC 7742 64-Core Processor"


@pytest.mark.parametrize("sockets", [1, 2])
def test_each_package_of_a_known_cpu_has_its_design_power(tmp_path: Path, sockets: int) -> None:
    power = design_power(256, *machine_files(tmp_path, EPYC, sockets=sockets))
    assert (power.watts, power.known) == (225 * sockets, True)  # AMD's product page: 225 W


def test_an_unknown_cpu_has_a_power_per_logical_cpu(tmp_path: Path) -> None:
    power = design_power(16, *machine_files(tmp_path, "Nobody's CPU 1"))
    assert (power.name, power.watts, power.known) == ("Nobody's CPU 1", 16 * UNKNOWN_W_PER_LOGICAL_CPU, False)


def test_a_small_virtual_machine_does_not_draw_its_hosts_design_power(tmp_path: Path) -> None:
    power = design_power(2, *machine_files(tmp_path, EPYC, flags="fpu hypervisor sse"))
    assert (power.watts, power.known) == (2 * UNKNOWN_W_PER_LOGICAL_CPU, False)


def test_no_description_of_the_cpu_is_an_unknown_cpu(tmp_path: Path) -> None:
    assert not design_power(4, tmp_path / "missing", tmp_path / "missing").known


def test_defaults_measure_this_process() -> None:
    meter = ModelledCpuMeter()
    assert meter.tdp_w > 0
    deadline_s = time.process_time() + 0.03
    while time.process_time() < deadline_s:
        pass
    (reading,) = meter.read()
    assert reading.energy_j > 0
    assert reading.uncertainty_j == pytest.approx(reading.energy_j * (0.5 if meter.known else 1.0))
    meter.close()
    meter.close()
