"""Instruments: one file each, behind the `Meter` protocol; here they are chosen and opened."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from wattloop.meters.base import Meter, MeterUnavailable

if TYPE_CHECKING:
    from wattloop.meters.nvml import Survey

log = logging.getLogger("wattloop")

Name = Literal["nvml", "rapl", "model"]

PATIENCE_S, LAST_PATIENCE_S = 0.3, 5.0


class MeterOptions(msgspec.Struct, frozen=True):
    """What to measure with; equal options share one sampler.

    Attributes:
        modelled_cpu: Model the CPU's energy where it cannot be measured, beside what is measured.
        powercap_root: Folder of the Linux powercap tree.
    """

    modelled_cpu: bool = False
    powercap_root: str = "/sys/class/powercap"


class Refusal(msgspec.Struct, frozen=True):
    """Why an instrument is not used.

    Attributes:
        instrument: ``"nvml"``, ``"rapl"`` or ``"model"``.
        why: Why.
        remedy: What the instrument itself knows would help; empty for nothing.
        code: NVML's error code; None where there is none.
        hangs: The driver did not answer in time.
    """

    instrument: Name
    why: str
    remedy: str = ""
    code: int | None = None
    hangs: bool = False

    def __str__(self) -> str:
        return f"{self.why}; {self.remedy}" if self.remedy else self.why


def open_meters(
    options: MeterOptions,
    patience_s: float = PATIENCE_S,
    last_patience_s: float = LAST_PATIENCE_S,
    refused: list[Refusal] | None = None,
    survey: Survey | None = None,
) -> tuple[Meter, ...]:
    """Open every instrument that works here; never raises.

    Where nothing can be measured at all, the CPU's energy is modelled and said to be.

    Args:
        options: What to measure with.
        patience_s: Longest wait for the GPUs' driver, in seconds; later, its GPUs are counted from when it answers.
        last_patience_s: The same where there is nothing else to measure.
        refused: Takes why instruments are not used.
        survey: Takes what was found of GPUs.
    """
    from wattloop.meters.nvml import NvmlMeter
    from wattloop.meters.opening import Opening
    from wattloop.meters.rapl import RaplMeter

    refused = [] if refused is None else refused
    cpu = _open("rapl", lambda: RaplMeter(options.powercap_root), refused)
    measured = cpu is not None

    def superseded(late: Meter) -> tuple[Meter, ...]:
        covered = isinstance(late, NvmlMeter) and late.covers_cpu
        return (cpu,) if cpu is not None and (covered or not (measured or options.modelled_cpu)) else ()

    opening = Opening(lambda: NvmlMeter(survey=survey), superseded)
    answered = opening.wait(patience_s if measured else last_patience_s)
    gpus = opening.meter if answered else None
    if gpus is None:
        hangs = Refusal("nvml", "the NVIDIA driver does not answer", hangs=True)
        refused.append(_refusal("nvml", opening.error) if answered and opening.error else hangs)
    elif isinstance(gpus, NvmlMeter) and gpus.covers_cpu:
        return (gpus,)
    if cpu is None and (options.modelled_cpu or gpus is None):
        from wattloop.meters.modelled import ModelledCpuMeter

        cpu = _open("model", ModelledCpuMeter, refused)
        if gpus is None:
            instead = "the CPU's energy is modelled" if cpu is not None else "no energy is counted"
            log.warning("nothing can be measured here, so %s: %s", instead, "; ".join(map(str, refused)))
    elif not answered:
        log.warning("the NVIDIA driver does not answer; its GPUs are counted from when it does")
    log.debug("instruments not used: %s", "; ".join(map(str, refused)) or "none")
    return tuple(meter for meter in (gpus if answered else opening, cpu) if meter is not None)


def _open(name: Name, meter: Callable[[], Meter], refused: list[Refusal]) -> Meter | None:
    try:
        return meter()
    except Exception as error:
        refused.append(_refusal(name, error))
    return None


def _refusal(name: Name, error: Exception) -> Refusal:
    if isinstance(error, MeterUnavailable):
        return Refusal(name, error.why, error.remedy, error.code)
    return Refusal(name, repr(error))
