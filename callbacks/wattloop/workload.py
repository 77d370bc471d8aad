"""Workload: what a run asks of its devices, as a user tells it: their mean power, and for how long."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec

from wattloop import accepted
from wattloop.hardware import resolve

MOST_GPU_HOURS = 1e12
"""A hundred million devices for more than a year."""


class Power(msgspec.Struct, frozen=True):
    """Mean power of a device while a run goes on.

    Attributes:
        watts: The power.
        origin: ``"given"``; ``"measured"``, a published mean; ``"tdp"``, what it is designed for, or a share of that.
        source: Whose figure it is.
        gpu: Name of the device in the table; None where its watts were given.
    """

    watts: float
    origin: Literal["given", "measured", "tdp"]
    source: str
    gpu: str | None = None


def mean_power(gpu: str | None, watts: float | None, utilization: float | None) -> Power:
    """Return the mean power of a device.

    Args:
        gpu: Its name, or ...
        watts: ... its power.
        utilization: Share of TDP that it draws.

    Raises:
        ValueError: A value is not accepted, or nothing is published of the device.
    """
    if utilization is not None:
        accepted.number("utilization", utilization, 0.0, 1.0, above=True, hint=" (0.8 for 80 %)")
    if gpu is None:
        return Power(accepted.number("watts", watts, 0.0, above=True), "given", "given")
    device = resolve(accepted.name("gpu", gpu))
    if utilization is None and device.measured_w is not None:
        return Power(device.measured_w, "measured", device.measured_source, device.name)
    if device.tdp_w is None:
        known = f"; {device.measured_w:g} W were measured, used without utilization=" if device.measured_w else ""
        raise ValueError(
            f"gpu={gpu!r}: {device.vendor} publishes no TDP of {device.name}{known}. Give watts= per device"
        )
    return Power(device.tdp_w * (1.0 if utilization is None else utilization), "tdp", device.source, device.name)


def time_h(hours: float | None, days: float | None) -> float | None:
    """Return the length of a run in hours; None where it is told in neither.

    Raises:
        ValueError: It is not accepted.
    """
    if days is not None:
        return 24.0 * accepted.number("days", days, 0.0, above=True)
    return None if hours is None else accepted.number("hours", hours, 0.0, above=True)


def device_hours(devices: int | None, length_h: float | None, gpu_hours: float | None) -> float:
    """Return the hours of all devices together.

    Args:
        devices: How many they are.
        length_h: For how long, in hours.
        gpu_hours: The same where one of these is not told.

    Raises:
        ValueError: They are not accepted.
    """
    if devices is None or length_h is None:
        device_h = accepted.number("gpu_hours", gpu_hours, 0.0, above=True)
    else:
        device_h = min(devices, sys.float_info.max) * length_h
    if device_h > MOST_GPU_HOURS:
        raise ValueError(
            f"{device_h:.3g} device-hours are not accepted; give at most {MOST_GPU_HOURS:g}, "
            "a hundred million devices for a year"
        )
    return device_h
