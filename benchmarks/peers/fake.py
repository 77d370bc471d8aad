"""The fake NVML library under everyone's own pynvml, and what it knows: `more_nvml.c`, for whole processes."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("more_nvml.c")
FAKES = Path(__file__).resolve().parents[2] / "tests" / "fakes"


def build(folder: str) -> Path:
    """Compile the library into a folder of its own, once for the whole benchmark."""
    library = Path(folder) / "nvml" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    flags = ["-shared", "-fPIC", "-O2", "-pthread", f"-I{FAKES}", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run(["cc", *flags, "-o", str(library), str(SOURCE), "-lm"], check=True)
    return library


def environment(library: Path, config: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Give the environment in which a process finds the library as its NVML, so configured."""
    paths = [str(library.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(paths), "FAKE_NVML": config, **extra}


class Fake:
    """The library of this process, before any tool loads it; pynvml is left alone."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1", mode=ctypes.RTLD_GLOBAL)
        self._library.fake_energy_j.restype = ctypes.c_double
        self._library.fake_energy_j.argtypes = [ctypes.c_int, ctypes.c_double, ctypes.c_double]
        self._library.fake_calls.restype = ctypes.c_long
        # It reads its configuration at its first start.
        self._library.nvmlInit_v2()
        self._library.nvmlShutdown()

    def energy_j(self, t0: float, t1: float, devices: Iterable[int] | None = None) -> float:
        """Return the exact energy of some or all GPUs between two times of `time.monotonic`, in joules."""
        numbers = range(self._library.fake_device_count()) if devices is None else devices
        return float(sum(self._library.fake_energy_j(number, t0, t1) for number in numbers))

    def calls(self) -> int:
        """Count the NVML calls that this process has made."""
        return int(self._library.fake_calls(b"all"))

    def set_error(self, device: int, call: str, code: int) -> None:
        """Let a call fail from now on; "all" is every call on the device."""
        self._library.fake_set_error(device, call.encode(), code)

    def reset_counter(self, device: int) -> None:
        """Set the energy counter to zero, as a driver reload does."""
        self._library.fake_reset_counter(device)

    def set_hang(self, device: int, call: str) -> None:
        """Block a call from now on, for ever."""
        self._library.fake_set_hang(device, call.encode(), 1)
