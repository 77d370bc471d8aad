"""CPU energy where nothing measures it: the load of this process and its children times the CPU's design power."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from wattloop.meters.base import Reading

if TYPE_CHECKING:
    import psutil

UNKNOWN_W_PER_LOGICAL_CPU = 4.0
"""Design power assumed where the machine's own isn't known, in watts per logical CPU: codecarbon's, for a CPU that is
not in its table (``DEFAULT_POWER_PER_CORE``, https://github.com/mlco2/codecarbon/blob/master/codecarbon/core/cpu.py)."""
KNOWN_ERROR = 0.5
UNKNOWN_ERROR = 1.0


class DesignPower(msgspec.Struct, frozen=True):
    """What the CPUs of a machine may draw together.

    Attributes:
        name: The CPU's name, in the table's words where it is there.
        watts: Thermal design power of all packages, in watts (> 0).
        known: True where that is the table's number for this whole machine.
    """

    name: str
    watts: float
    known: bool


def design_power(
    logical_cpus: int,
    cpuinfo: Path = Path("/proc/cpuinfo"),
    cpus: Path = Path("/sys/devices/system/cpu"),
) -> DesignPower:
    """Find the design power of this machine's CPUs.

    A virtual machine has some of its host's CPUs and does not know of how many: it gets the power per logical CPU that
    an unknown CPU gets, unless its CPU's whole design power is less.

    Args:
        logical_cpus: How many logical CPUs the machine has.
        cpuinfo: Linux's description of the processors.
        cpus: Linux's folder of CPUs.
    """
    from wattloop.meters.tdp import cpu_model, cpu_tdp

    name = cpu_model(cpuinfo)
    found = cpu_tdp(name)
    guess_w = UNKNOWN_W_PER_LOGICAL_CPU * logical_cpus
    if found is None:
        return DesignPower(name, guess_w, known=False)
    watts = found.watts * _count_packages(cpus)
    if _is_virtual(cpuinfo):
        return DesignPower(found.name, min(watts, guess_w), known=False)
    return DesignPower(found.name, watts, known=True)


def _count_packages(cpus: Path) -> int:
    found = set()
    for file in cpus.glob("cpu[0-9]*/topology/physical_package_id"):
        try:
            found.add(file.read_text())
        except OSError:
            continue
    return max(1, len(found))


def _is_virtual(cpuinfo: Path) -> bool:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(line.startswith("flags") and "hypervisor" in line.split() for line in text.splitlines())


class TreeCpuTime:
    """CPU time of this process and all its children since it was made, in seconds; never falls.

    A child that is waited for moves into its parent's account of its children. One that nobody waits for leaves the
    sum, which is no reason to take back what it had used.
    """

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._root = psutil.Process()
        self._total_s = 0.0
        self._sum_s = self._sum()

    def __call__(self) -> float:
        """Return the time used so far."""
        sum_s = self._sum()
        self._total_s += max(0.0, sum_s - self._sum_s)
        self._sum_s = sum_s
        return self._total_s

    def _sum(self) -> float:
        processes = [self._root]
        try:
            processes += self._root.children(recursive=True)
        except self._psutil.Error:
            pass
        return sum(self._used_s(process) for process in processes)

    def _used_s(self, process: psutil.Process) -> float:
        try:
            used = process.cpu_times()
        except self._psutil.Error:
            return 0.0
        # Not all systems account for the children.
        return float(used.user + used.system + getattr(used, "children_user", 0) + getattr(used, "children_system", 0))


class ModelledCpuMeter:
    """Energy of the CPU as the share of its time that this process and its children use, times its design power.

    Args:
        tdp_w: Thermal design power of all the machine's CPUs together, in watts (> 0); None looks it up.
        clock: Monotonic time in seconds.
        cpu_seconds: Returns the CPU time used so far, in seconds; None sums that of the process tree.
        logical_cpus: Number of logical CPUs that share ``tdp_w``; None counts the machine's.

    Attributes:
        tdp_w: Thermal design power used, in watts.
        cpu_name: The CPU's name, empty where the power was given.
        known: True where the power was given, or is the table's for this machine: then the result is taken to be right
            to 50 %, else to 100 %.
        interval_s: Longest time between two reads, in seconds.

    Example:
        >>> seconds, used = iter([0.0, 10.0]), iter([0.0, 20.0])
        >>> meter = ModelledCpuMeter(200.0, lambda: next(seconds), lambda: next(used), logical_cpus=8)
        >>> meter.read()[0].energy_j
        500.0
    """

    def __init__(
        self,
        tdp_w: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu_seconds: Callable[[], float] | None = None,
        logical_cpus: int | None = None,
    ) -> None:
        self.interval_s = 1.0
        self._logical_cpus = logical_cpus or os.cpu_count() or 1
        power = design_power(self._logical_cpus) if tdp_w is None else DesignPower("", tdp_w, known=True)
        self.tdp_w, self.cpu_name, self.known = power.watts, power.name, power.known
        self._error = KNOWN_ERROR if self.known else UNKNOWN_ERROR
        self._clock = clock
        self._cpu_seconds = cpu_seconds or TreeCpuTime()
        self._time_s, self._counted_s = clock(), self._cpu_seconds()
        self._energy_j = 0.0
        self._closed = False

    def read(self) -> tuple[Reading, ...]:
        """Return the one reading of the whole CPU, as of now."""
        if self._closed:
            return ()
        now_s = self._clock()
        used_s = self._cpu_seconds() - self._counted_s
        # Systems account in steps of some 10 ms: what is more than the CPUs can have done so far belongs to later.
        used_s = min(max(0.0, used_s), max(0.0, now_s - self._time_s) * self._logical_cpus)
        self._time_s = now_s
        self._counted_s += used_s
        self._energy_j += self.tdp_w * used_s / self._logical_cpus
        return (
            Reading(
                channel="cpu:0",
                kind="cpu",
                energy_j=self._energy_j,
                method="modelled",
                uncertainty_j=self._error * self._energy_j,
                modelled_j=self._energy_j,
            ),
        )

    def close(self) -> None:
        """Let go of the channel; nothing else is held."""
        self._closed = True
