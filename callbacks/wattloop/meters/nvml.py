"""NVIDIA GPUs through NVML: the best instrument each board has, found by asking it.

Facts about the calls are from NVIDIA's NVML API Reference Guide; the accuracy of power readings from Yang et al.,
"Part-time Power Measurements" (SC'24, arXiv:2312.02741).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from wattloop.meters.base import MeterUnavailable, Method, Reading
from wattloop.meters.visible import Board, order_doubt, torch_uuids, visible_gpus

log = logging.getLogger("wattloop")

COUNTER_INTERVAL_S = 1.0
POWER_INTERVAL_S = 0.1
REFRESH_S = 0.1
"""Refresh period assumed of an energy counter, in seconds; NVIDIA documents none, 10-100 ms are reported."""
RESOLUTION_J = 1e-3
"""Smallest step of an energy counter, in joules."""
POWER_ERROR = 0.05
"""Relative error of a board's power reading (Yang et al., SC'24)."""
IMPLAUSIBLE = 1.5
"""A counter that rises faster than this multiple of the power limit is lying."""
FALLBACK_LIMIT_W = 2000.0
BACK_OFF_S = (1.0, 60.0)

_Handle = Any


class _Failed(Exception):
    """An NVML call gave no value; the message is NVML's own."""


class _Gate:
    """The one place where NVML is called: every vendor error becomes `_Failed`."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml

    def __call__(self, name: str, *args: Any) -> Any:
        try:
            return getattr(self.nvml, name)(*args)
        except self.nvml.NVMLError as error:
            raise _Failed(str(error)) from None
        except (AttributeError, OSError, ValueError, UnicodeDecodeError) as error:
            raise _Failed(f"{name}: {error}") from None

    def field(self, handle: _Handle, field: int) -> float:
        """Return one NVML field value, whose return code is its own."""
        value = self("nvmlDeviceGetFieldValues", handle, [field])[0]
        if value.nvmlReturn != 0:
            raise _Failed(f"field {field}: {self.nvml.NVMLError(value.nvmlReturn)}")
        # nvmlValueType_t: 0 double, 1 unsigned int, 2 unsigned long, 3 unsigned long long, 4 signed long long, 5 int
        members = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal")
        if value.valueType not in range(len(members)):
            raise _Failed(f"field {field}: its type is {value.valueType}")
        return float(getattr(value.value, members[value.valueType]))


_Source = Callable[[_Gate, _Handle], float]


def _power_limit(gate: _Gate, handle: _Handle) -> float:
    watts = float(gate("nvmlDeviceGetEnforcedPowerLimit", handle)) / 1e3
    if not 0.0 < watts < math.inf:
        raise _Failed(f"its power limit is {watts} W")
    return watts


# What a board may offer, best first; energies in joules, powers in watts.
_COUNTERS: tuple[_Source, ...] = (
    lambda gate, handle: gate("nvmlDeviceGetTotalEnergyConsumption", handle) / 1e3,
    lambda gate, handle: gate.field(handle, 83) / 1e3,
)
_POWERS: tuple[_Source, ...] = (
    lambda gate, handle: gate.field(handle, 186) / 1e3,
    lambda gate, handle: gate.field(handle, 185) / 1e3,
    lambda gate, handle: gate("nvmlDeviceGetPowerUsage", handle) / 1e3,
)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _first(gate: _Gate, handle: _Handle, sources: tuple[_Source, ...]) -> tuple[_Source, float]:
    """Return the first source that answers, and its value.

    Raises:
        _Failed: None does; the message is that of the last one asked.
    """
    failure = _Failed("")
    for source in sources:
        try:
            return source, source(gate, handle)
        except _Failed as error:
            failure = error
    raise failure


class _Gpu:
    """One board: cumulative joules from whatever it offers, across resets, garbage and losses.

    ``_value`` and ``_time_s`` are the last good reading; ``_settled_j`` is the energy up to it. While the board is
    lost, its last mean power stands in; when it comes back, its counter tells what the gap really held. ``_anchor`` is
    the reading that mean power is taken from: a counter that is read sooner than it refreshes says nothing of it.
    """

    def __init__(self, gate: _Gate, uuid: str, shared: bool, clock: Callable[[], float]) -> None:
        self.uuid = uuid
        self._shared = shared
        self._gate = gate
        self._clock = clock
        self._handle: _Handle = gate("nvmlDeviceGetHandleByUUID", uuid)
        self.method: Method = "counter"
        self.interval_s = COUNTER_INTERVAL_S
        self._limit_w = self._quietly(FALLBACK_LIMIT_W, (_power_limit,))
        powers = tuple(self._believed(power) for power in _POWERS)
        try:
            self._source, self._value = _first(gate, self._handle, _COUNTERS)
            self._power_w = self._quietly(0.0, powers)
        except _Failed:
            self.method = "integrated"
            self.interval_s = POWER_INTERVAL_S
            self._source, self._value = _first(gate, self._handle, powers)
            self._power_w = self._value
        self._time_s = clock()
        self._anchor = (self._time_s, self._value)
        self._settled_j = self._shown_j = self._modelled_j = self._uncertainty_j = 0.0
        self._retry_s = self._back_off_s = 0.0
        self._warned = False

    def _quietly(self, default: float, sources: tuple[_Source, ...]) -> float:
        try:
            return _first(self._gate, self._handle, sources)[1]
        except _Failed:
            return default

    def _believed(self, power: _Source) -> _Source:
        def ask(gate: _Gate, handle: _Handle) -> float:
            watts = power(gate, handle)
            if not self._can_draw(watts):
                raise _Failed(f"it reports {watts:.0f} W")
            return watts

        return ask

    def _can_draw(self, watts: float) -> bool:
        if watts > IMPLAUSIBLE * self._limit_w:
            # Limits can be raised at any time.
            self._limit_w = self._quietly(self._limit_w, (_power_limit,))
        return 0.0 <= watts <= IMPLAUSIBLE * self._limit_w

    def read(self) -> Reading:
        """Return the board's cumulative energy; a board that does not answer is filled in, never dropped."""
        gap_j = 0.0
        try:
            value = self._ask()
        except _Failed as error:
            self._lose(error)
            gap_j = self._power_w * (self._clock() - self._time_s)
        else:
            self._take(value, self._clock())
        self._shown_j = max(self._shown_j, self._settled_j + gap_j)
        unsettled_j = self._shown_j - self._settled_j
        return Reading(
            channel=self.uuid,
            kind="gpu",
            energy_j=self._shown_j,
            method=self.method,
            uncertainty_j=self._uncertainty_j + unsettled_j,
            modelled_j=self._modelled_j + unsettled_j,
            edge_j=REFRESH_S * self._power_w + RESOLUTION_J if self.method == "counter" else 0.0,
            shared=self._shared,
        )

    def _ask(self) -> float:
        if self._back_off_s:
            if self._clock() < self._retry_s:
                raise _Failed("it is lost")
            # A handle does not survive a reset of its GPU.
            self._handle = self._gate("nvmlDeviceGetHandleByUUID", self.uuid)
        return self._source(self._gate, self._handle)

    def _lose(self, error: _Failed) -> None:
        now_s = self._clock()
        if now_s >= self._retry_s:
            self._back_off_s = min(max(BACK_OFF_S[0], 2 * self._back_off_s), BACK_OFF_S[1])
            self._retry_s = now_s + self._back_off_s
        self._warn(str(error))

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("GPU %s: %s; its last mean power, %.0f W, fills the gap", self.uuid, why, self._power_w)

    def _take(self, value: float, now_s: float) -> None:
        dt_s = now_s - self._time_s
        was_lost = self._back_off_s > 0.0
        measured = True
        if self.method == "counter":
            gained_j = value - self._value
            since_s, since = self._anchor
            if not self._can_draw(gained_j / (now_s - since_s + REFRESH_S)):
                self._warn(f"its energy counter moved by {gained_j:.0f} J in {dt_s:.2f} s")
                gained_j, measured = self._power_w * dt_s, False
                self._anchor = (now_s, value)
            elif now_s - since_s >= (REFRESH_S if value != since else COUNTER_INTERVAL_S):
                self._power_w = (value - since) / (now_s - since_s)
                self._anchor = (now_s, value)
        else:
            gained_j, measured = (self._value + value) / 2 * dt_s, not was_lost
            self._power_w = value
            self._uncertainty_j += POWER_ERROR * gained_j if measured else 0.0
        if not measured:
            self._modelled_j += gained_j
            self._uncertainty_j += gained_j
        self._settled_j += gained_j
        self._value, self._time_s = value, now_s
        self._back_off_s = self._retry_s = 0.0


class NvmlMeter:
    """Energy of the GPUs that this process can use.

    Args:
        nvml: The `pynvml` module, or one like it; None imports it.
        environ: Where ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` are looked up.
        clock: Monotonic time in seconds.

    Raises:
        MeterUnavailable: No NVML, no driver, or no GPU that this process can use and measure.
    """

    def __init__(
        self,
        nvml: Any = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if nvml is None:
            import pynvml

            nvml = pynvml
        self._gate = _Gate(nvml)
        self._open = False
        try:
            self._gate("nvmlInit")
        except _Failed as error:
            raise MeterUnavailable(f"no NVIDIA GPU is measured: {error}") from None
        self._open = True
        self._gpus = self._opened(environ, clock)
        if not self._gpus:
            self.close()
            raise MeterUnavailable("no NVIDIA GPU is measured: this process can use none that answers")
        self.interval_s = min(gpu.interval_s for gpu in self._gpus)

    def _opened(self, environ: Mapping[str, str], clock: Callable[[], float]) -> tuple[_Gpu, ...]:
        boards, torch = tuple(self._boards()), torch_uuids()
        doubt = order_doubt(environ, boards) if torch is None else ""
        if doubt:
            log.warning(doubt)
        gpus = []
        for visible in visible_gpus(environ, boards, torch):
            try:
                gpus.append(_Gpu(self._gate, visible.uuid, visible.shared, clock))
            except _Failed as error:
                log.warning("GPU %s is not measured: %s", visible.uuid, error)
        return tuple(gpus)

    def _boards(self) -> Iterator[Board]:
        for index in range(self._count()):
            try:
                handle = self._gate("nvmlDeviceGetHandleByIndex", index)
                uuid, name = self._gate("nvmlDeviceGetUUID", handle), self._gate("nvmlDeviceGetName", handle)
                bus = self._gate("nvmlDeviceGetPciInfo", handle).busId
            except _Failed as error:
                log.warning("GPU %d is not measured: %s", index, error)
                continue
            yield Board(index, _text(uuid), _text(name), _text(bus), tuple(self._slices(handle)))

    def _count(self) -> int:
        try:
            return int(self._gate("nvmlDeviceGetCount"))
        except _Failed:
            return 0

    def _slices(self, board: _Handle) -> Iterator[str]:
        """Yield the UUIDs of a board's MIG slices; a board that cannot be partitioned has none."""
        with contextlib.suppress(_Failed):
            if self._gate("nvmlDeviceGetMigMode", board)[0]:
                for index in range(self._gate("nvmlDeviceGetMaxMigDeviceCount", board)):
                    with contextlib.suppress(_Failed):
                        handle = self._gate("nvmlDeviceGetMigDeviceHandleByIndex", board, index)
                        yield _text(self._gate("nvmlDeviceGetUUID", handle))

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per GPU."""
        return tuple(gpu.read() for gpu in self._gpus)

    def close(self) -> None:
        """Shut NVML down; it counts its users, so others are not disturbed."""
        if self._open:
            self._open = False
            with contextlib.suppress(_Failed):
                self._gate("nvmlShutdown")
