"""A fake NVML library under the real pynvml, and its controls.

The configuration text and the names of calls are documented at the top of ``fake_nvml.c``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal

import pynvml

from fakes.compiled import compiled

Call = Literal[
    "init",
    "shutdown",
    "driver_version",
    "count",
    "handle_by_index",
    "handle_by_uuid",
    "uuid",
    "name",
    "index",
    "pci_info",
    "mig_mode",
    "max_mig_count",
    "mig_handle",
    "parent_handle",
    "total_energy",
    "field_values",
    "field_83",
    "field_185",
    "field_186",
    "power_usage",
    "power_limit",
    "default_power_limit",
    "processes",
    "all",
]

SOURCE = Path(__file__).with_name("fake_nvml.c")
NO_DEVICE = -1
"""The device of calls that name none (``init``, ``count``, ...)."""


def build() -> Path:
    """Compile the library.

    Returns:
        Path of a file named ``libnvidia-ml.so.1``, alone in its folder.
    """
    return compiled(SOURCE, "libnvidia-ml.so.1", "-pthread", "-Wl,-soname,libnvidia-ml.so.1", "-lm")


@cache
def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build()), mode=ctypes.RTLD_GLOBAL)
    number, name, real = ctypes.c_int, ctypes.c_char_p, ctypes.c_double
    signatures = {
        "fake_reset": ((name,), number),
        "fake_remove": ((), None),
        "fake_set_power": ((number, real), None),
        "fake_set_square": ((number, real, real, real, real, real), None),
        "fake_set_refresh": ((number, real), None),
        "fake_set_error": ((number, name, number), number),
        "fake_set_latency": ((number, name, real), number),
        "fake_set_hang": ((number, name, number), number),
        "fake_reset_counter": ((number,), None),
        "fake_add_to_counter": ((number, real), None),
        "fake_invalidate_handles": ((number,), None),
        "fake_energy_j": ((number, real, real), real),
        "fake_calls": ((name,), ctypes.c_long),
        "fake_device_count": ((), number),
    }
    for symbol, (arguments, result) in signatures.items():
        function = getattr(library, symbol)
        function.argtypes, function.restype = arguments, result
    return library


def environment(config: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment in which a child process finds the fake as its NVML library.

    Args:
        config: Configuration text.
        extra: Variables to set besides.
    """
    paths = [str(build().parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(paths), "FAKE_NVML": config, **(extra or {})}


class FakeNvml:
    """The fake library of this process, fresh on entering and gone (as without a driver) on leaving.

    Before ``nvmlInit`` a profile is a device's whole past; after it, a change from that moment on.

    Args:
        config: Configuration text.

    Example:
        >>> with FakeNvml("devices=2;profile=constant:300") as fake:
        ...     round(fake.energy_j(10.0, 11.0))
        600
    """

    def __init__(self, config: str = "devices=1;profile=constant:300") -> None:
        self._config = config
        self._library = _load()

    def __enter__(self) -> FakeNvml:
        self.reset(self._config)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.fake_remove()
        self._drop_pynvml()

    def _drop_pynvml(self) -> None:
        pynvml.nvmlLib = None
        pynvml._nvmlLib_refcount = 0
        pynvml._nvmlGetFunctionPointer_cache.clear()

    def reset(self, config: str) -> None:
        """Start anew with this configuration: NVML is uninitialised, faults, calls and history are forgotten.

        Raises:
            ValueError: An item of the configuration can't be read.
        """
        self._drop_pynvml()
        if wrong := self._library.fake_reset(config.encode()):
            raise ValueError(f"item {config.split(';')[wrong - 1]!r} of {config!r}: see {SOURCE.name}")
        pynvml.nvmlLib = self._library

    def set_power(self, device: int, watts: float) -> None:
        """Let a device draw constant power, in watts."""
        self._library.fake_set_power(device, watts)

    def set_square(
        self, device: int, low_w: float, high_w: float, period_s: float, duty: float = 0.5, phase_s: float = 0.0
    ) -> None:
        """Let a device draw a square wave.

        Args:
            device: Its index.
            low_w: Power in the low part, in watts.
            high_w: Power in the high part, in watts.
            period_s: Length of both parts together, in seconds.
            duty: Share of the high part, 0 to 1.
            phase_s: A monotonic time at which a high part begins, in seconds.
        """
        self._library.fake_set_square(device, low_w, high_w, period_s, duty, phase_s)

    def set_refresh(self, device: int, refresh_s: float) -> None:
        """Let the energy counter step every ``refresh_s`` seconds (0 = continuous)."""
        self._library.fake_set_refresh(device, refresh_s)

    def set_error(self, device: int, call: Call, code: int) -> None:
        """Let a call return an NVML error code from now on (0 = work again); "all" is every call on the device."""
        self._check(call, self._library.fake_set_error(device, call.encode(), code))

    def set_latency(self, device: int, call: Call, latency_s: float) -> None:
        """Let a call take this many seconds more."""
        self._check(call, self._library.fake_set_latency(device, call.encode(), latency_s))

    @contextmanager
    def hanging(self, device: int, call: Call) -> Iterator[None]:
        """Block a call until the block is left."""
        self._check(call, self._library.fake_set_hang(device, call.encode(), 1))
        try:
            yield
        finally:
            self._library.fake_set_hang(device, call.encode(), 0)

    def reset_counter(self, device: int) -> None:
        """Set the energy counter to zero, as a driver reload does."""
        self._library.fake_reset_counter(device)

    def add_to_counter(self, device: int, joules: float) -> None:
        """Let the energy counter leap by joules that were never drawn (negative: fall)."""
        self._library.fake_add_to_counter(device, joules)

    def invalidate_handles(self, device: int) -> None:
        """Make the handles given out so far invalid, as a GPU reset does."""
        self._library.fake_invalidate_handles(device)

    def energy_j(self, t0: float, t1: float, device: int | None = None) -> float:
        """Return the exact energy between two times of ``time.monotonic``, in joules.

        Args:
            t0: Start, in seconds.
            t1: End, in seconds; for a device whose power is set live, not in the future.
            device: One device's index, or None for the sum of all.
        """
        devices = range(self._library.fake_device_count()) if device is None else (device,)
        return float(sum(self._library.fake_energy_j(index, t0, t1) for index in devices))

    def calls(self, call: Call) -> int:
        """Count the calls made since the reset, on all devices; "all" counts each call."""
        return int(self._library.fake_calls(call.encode()))

    def _check(self, call: str, found: int) -> None:
        if not found:
            raise ValueError(f"no call {call!r}")
