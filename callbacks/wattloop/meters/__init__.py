"""Instruments: one file each, behind the `Meter` protocol; here they are chosen and opened."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from wattloop.meters.base import Meter, MeterUnavailable

log = logging.getLogger("wattloop")

PATIENCE_S, LAST_PATIENCE_S = 0.3, 5.0


class MeterOptions(msgspec.Struct, frozen=True):
    """What to measure with; equal options share one sampler.

    Attributes:
        modelled_cpu: Model the CPU's energy where it cannot be measured, beside what is measured.
        powercap_root: Folder of the Linux powercap tree.
    """

    modelled_cpu: bool = False
    powercap_root: str = "/sys/class/powercap"


def open_meters(
    options: MeterOptions, patience_s: float = PATIENCE_S, last_patience_s: float = LAST_PATIENCE_S
) -> tuple[Meter, ...]:
    """Open every instrument that works here; never raises.

    Where nothing can be measured at all, the CPU's energy is modelled and said to be.

    Args:
        options: What to measure with.
        patience_s: Longest wait for the GPUs' driver, in seconds; later, its GPUs are counted from when it answers.
        last_patience_s: The same where there is nothing else to measure.
    """
    from wattloop.meters.nvml import NvmlMeter
    from wattloop.meters.opening import Opening
    from wattloop.meters.rapl import RaplMeter

    reasons: list[str] = []
    cpu = _open(lambda: RaplMeter(options.powercap_root), reasons)
    measured = cpu is not None

    def superseded(late: Meter) -> tuple[Meter, ...]:
        covered = isinstance(late, NvmlMeter) and late.covers_cpu
        return (cpu,) if cpu is not None and (covered or not (measured or options.modelled_cpu)) else ()

    opening = Opening(NvmlMeter, superseded)
    answered = opening.wait(patience_s if measured else last_patience_s)
    gpus = opening.meter if answered else None
    if gpus is None:
        reasons.append(opening.reason if answered else "the NVIDIA driver does not answer")
    elif isinstance(gpus, NvmlMeter) and gpus.covers_cpu:
        return (gpus,)
    if cpu is None and (options.modelled_cpu or gpus is None):
        from wattloop.meters.modelled import ModelledCpuMeter

        cpu = _open(ModelledCpuMeter, reasons)
        if gpus is None:
            instead = "the CPU's energy is modelled" if cpu is not None else "no energy is counted"
            log.warning("nothing can be measured here, so %s: %s", instead, "; ".join(reasons))
    elif not answered:
        log.warning("the NVIDIA driver does not answer; its GPUs are counted from when it does")
    log.debug("instruments not used: %s", "; ".join(reasons) or "none")
    return tuple(meter for meter in (gpus if answered else opening, cpu) if meter is not None)


def _open(meter: Callable[[], Meter], reasons: list[str]) -> Meter | None:
    try:
        return meter()
    except MeterUnavailable as reason:
        reasons.append(str(reason))
    except Exception as error:
        reasons.append(repr(error))
    return None
