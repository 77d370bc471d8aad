"""Instruments: one file each, behind the `Meter` protocol; here they are chosen and opened."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from wattloop.meters.base import Meter, MeterUnavailable

log = logging.getLogger("wattloop")


class MeterOptions(msgspec.Struct, frozen=True):
    """What to measure with; equal options share one sampler.

    Attributes:
        modelled_cpu: Model the CPU's energy where it cannot be measured, beside what is measured.
        powercap_root: Folder of the Linux powercap tree.
    """

    modelled_cpu: bool = False
    powercap_root: str = "/sys/class/powercap"


def open_meters(options: MeterOptions) -> tuple[Meter, ...]:
    """Open every instrument that works here; never raises.

    Where nothing can be measured at all, the CPU's energy is modelled and said to be.
    """
    from wattloop.meters.nvml import NvmlMeter
    from wattloop.meters.rapl import RaplMeter

    reasons: list[str] = []
    gpus = _open(NvmlMeter, reasons)
    if isinstance(gpus, NvmlMeter) and gpus.covers_cpu:
        return (gpus,)
    cpu = _open(lambda: RaplMeter(options.powercap_root), reasons)
    if cpu is None and (options.modelled_cpu or gpus is None):
        from wattloop.meters.modelled import ModelledCpuMeter

        cpu = _open(ModelledCpuMeter, reasons)
        if gpus is None:
            instead = "the CPU's energy is modelled" if cpu is not None else "no energy is counted"
            log.warning("nothing can be measured here, so %s: %s", instead, "; ".join(reasons))
    log.debug("instruments not used: %s", "; ".join(reasons) or "none")
    return tuple(meter for meter in (gpus, cpu) if meter is not None)


def _open(meter: Callable[[], Meter], reasons: list[str]) -> Meter | None:
    try:
        return meter()
    except MeterUnavailable as reason:
        reasons.append(str(reason))
    except Exception as error:
        reasons.append(repr(error))
    return None
