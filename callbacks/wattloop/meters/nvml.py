"""NVIDIA GPUs through NVML: those that this process can use."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from wattloop.meters.base import Correction, MeterUnavailable, Reading
from wattloop.meters.gate import Failed, Gate, Handle
from wattloop.meters.gpu import Gpu
from wattloop.meters.visible import Board, VisibleGpu, ignored, order_doubt, torch_uuids, visible_gpus

log = logging.getLogger("wattloop")

MODULES = ("GH200",)
"""Boards whose energy counter was reported to be that of their whole module, CPU included."""

LOOKING_S = 0.005
"""Time that looking may take before other GPUs have to wait for the next time, in seconds."""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Survey(msgspec.Struct):
    """What was found on the way to a host's GPUs.

    Attributes:
        driver: Version of the driver; empty where it does not say.
        boards: The GPUs that answered.
        visible: Those that this process can use.
        remarks: What in the environment names no GPU, or may name another than it seems.
        faults: Why a GPU is not measured: NVML's words, and its code, by "GPU <index>" or UUID.
    """

    driver: str = ""
    boards: tuple[Board, ...] = ()
    visible: tuple[VisibleGpu, ...] = ()
    remarks: tuple[str, ...] = ()
    faults: dict[str, tuple[str, int | None]] = {}


class NvmlMeter:
    """Energy of the GPUs that this process can use.

    Args:
        nvml: The `pynvml` module, or one like it; None imports it.
        environ: Where ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` are looked up.
        clock: Monotonic time in seconds.
        survey: Takes what is found on the way, also where that leads nowhere.

    Attributes:
        covers_cpu: The counters hold the CPU's energy too.

    Raises:
        MeterUnavailable: No NVML, no driver, or no GPU that this process can use and measure.
    """

    def __init__(
        self,
        nvml: Any = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        survey: Survey | None = None,
    ) -> None:
        if nvml is None:
            import pynvml

            nvml = pynvml
        self._gate = Gate(nvml)
        self._clock = clock
        self._open = False
        self._survey = Survey() if survey is None else survey
        try:
            self._gate("nvmlInit")
        except Failed as error:
            raise MeterUnavailable(f"no NVIDIA GPU is measured: {error}", code=error.code) from None
        self._open = True
        with contextlib.suppress(Failed):
            self._survey.driver = _text(self._gate("nvmlSystemGetDriverVersion"))
        self._gpus = self._opened(environ, clock)
        if not self._gpus:
            self.close()
            raise MeterUnavailable("no NVIDIA GPU is measured: this process can use none that answers")
        self.interval_s = min(gpu.interval_s for gpu in self._gpus)
        self.covers_cpu = any(name in board.name for board in self._found for name in MODULES)

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that are measured."""
        return self._gpus

    def _opened(self, environ: Mapping[str, str], clock: Callable[[], float]) -> tuple[Gpu, ...]:
        self._found = boards = self._survey.boards = tuple(self._boards())
        torch = torch_uuids()
        doubt = order_doubt(environ, boards) if torch is None else ""
        if doubt:
            log.warning(doubt)
        self._survey.remarks = tuple(filter(None, [ignored(environ, boards) if torch is None else "", doubt]))
        self._survey.visible = visible_gpus(environ, boards, torch)
        models = {board.uuid: board.name for board in boards}
        gpus = []
        for visible in self._survey.visible:
            try:
                gpus.append(Gpu(self._gate, visible.uuid, visible.shared, clock, models[visible.uuid]))
            except Failed as error:
                log.warning("GPU %s is not measured: %s", visible.uuid, error)
                self._survey.faults[visible.uuid] = (str(error), error.code)
        return tuple(gpus)

    def _boards(self) -> Iterator[Board]:
        for index in range(self._count()):
            try:
                handle = self._gate("nvmlDeviceGetHandleByIndex", index)
                uuid, name = self._gate("nvmlDeviceGetUUID", handle), self._gate("nvmlDeviceGetName", handle)
                bus = self._gate("nvmlDeviceGetPciInfo", handle).busId
            except Failed as error:
                log.warning("GPU %d is not measured: %s", index, error)
                self._survey.faults[f"GPU {index}"] = (str(error), error.code)
                continue
            yield Board(index, _text(uuid), _text(name), _text(bus), tuple(self._slices(handle)))

    def _count(self) -> int:
        try:
            return int(self._gate("nvmlDeviceGetCount"))
        except Failed:
            return 0

    def _slices(self, board: Handle) -> Iterator[str]:
        """Yield the UUIDs of a board's MIG slices; a board that cannot be partitioned has none."""
        with contextlib.suppress(Failed):
            if self._gate("nvmlDeviceGetMigMode", board)[0]:
                for index in range(self._gate("nvmlDeviceGetMaxMigDeviceCount", board)):
                    with contextlib.suppress(Failed):
                        handle = self._gate("nvmlDeviceGetMigDeviceHandleByIndex", board, index)
                        yield _text(self._gate("nvmlDeviceGetUUID", handle))

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per GPU."""
        return tuple(gpu.read() for gpu in self._gpus)

    def mark(self, mark_s: float) -> tuple[Reading, ...]:
        """Return one reading per GPU, each to be corrected when its counter next moves."""
        return tuple(gpu.read(mark_s) for gpu in self._gpus)

    def next_look_s(self, now_s: float) -> float | None:
        """Return when to look again; None when no reading waits for a correction."""
        at_s = min(gpu.look_s for gpu in self._gpus)
        return max(at_s, now_s) if at_s < math.inf else None

    def look(self) -> tuple[Correction, ...]:
        """Return what the counters tell of marked readings."""
        begin_s = now_s = self._clock()
        corrections: list[Correction] = []
        # The one that has waited longest first: a slow driver must not keep those waiting who want a reading.
        for gpu in sorted(self._gpus, key=lambda gpu: gpu.look_s):
            if gpu.look_s <= now_s and now_s - begin_s <= LOOKING_S:
                corrections += gpu.look()
                now_s = self._clock()
        return tuple(corrections)

    def close(self) -> None:
        """Shut NVML down; it counts its users, so others are not disturbed."""
        if self._open:
            self._open = False
            with contextlib.suppress(Failed):
                self._gate("nvmlShutdown")
