"""The gate to NVML: the one place where it is called, and what a board may offer behind it.

Facts about the calls are from NVIDIA's NVML API Reference Guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

Handle = Any


class Failed(Exception):
    """An NVML call gave no value; the message is NVML's own.

    Args:
        why: The message.
        code: NVML's error code; None where it gave none.
    """

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


class Gate:
    """The one place where NVML is called: every vendor error becomes `Failed`."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml

    def __call__(self, name: str, *args: Any) -> Any:
        """Call an NVML function by name.

        Raises:
            Failed: It gave an error, or is not there.
        """
        try:
            return getattr(self.nvml, name)(*args)
        except self.nvml.NVMLError as error:
            raise Failed(str(error), getattr(error, "value", None)) from None
        except (AttributeError, OSError, ValueError, UnicodeDecodeError) as error:
            raise Failed(f"{name}: {error}") from None

    def field(self, handle: Handle, field: int) -> float:
        """Return one NVML field value, whose return code is its own."""
        value = self("nvmlDeviceGetFieldValues", handle, [field])[0]
        if value.nvmlReturn != 0:
            raise Failed(f"field {field}: {self.nvml.NVMLError(value.nvmlReturn)}", value.nvmlReturn)
        # nvmlValueType_t: 0 double, 1 unsigned int, 2 unsigned long, 3 unsigned long long, 4 signed long long, 5 int
        members = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal")
        if value.valueType not in range(len(members)):
            raise Failed(f"field {field}: its type is {value.valueType}")
        return float(getattr(value.value, members[value.valueType]))


class Source(msgspec.Struct, frozen=True):
    """One value that a board may offer.

    Attributes:
        name: What NVML calls it.
        ask: Asks for it.
    """

    name: str
    ask: Callable[[Gate, Handle], float]

    def __call__(self, gate: Gate, handle: Handle) -> float:
        """Return the value."""
        return self.ask(gate, handle)


def _power_limit(gate: Gate, handle: Handle) -> float:
    """Return a board's power limit, in watts.

    Raises:
        Failed: There is none, or none that a board can have.
    """
    watts = float(gate("nvmlDeviceGetEnforcedPowerLimit", handle)) / 1e3
    if not 0.0 < watts < math.inf:
        raise Failed(f"its power limit is {watts} W")
    return watts


POWER_LIMIT = Source("power limit", _power_limit)
# What a board may offer, best first; energies in joules, powers in watts.
COUNTERS: tuple[Source, ...] = (
    Source("energy counter", lambda gate, handle: gate("nvmlDeviceGetTotalEnergyConsumption", handle) / 1e3),
    Source("energy counter, field 83", lambda gate, handle: gate.field(handle, 83) / 1e3),
)
POWERS: tuple[Source, ...] = (
    Source("instant power, field 186", lambda gate, handle: gate.field(handle, 186) / 1e3),
    Source("average power, field 185", lambda gate, handle: gate.field(handle, 185) / 1e3),
    Source("power usage", lambda gate, handle: gate("nvmlDeviceGetPowerUsage", handle) / 1e3),
)


def first(gate: Gate, handle: Handle, sources: tuple[Source, ...]) -> tuple[Source, float]:
    """Return the first source that answers, and its value.

    Raises:
        Failed: None does; the message is that of the last one asked.
    """
    failure = Failed("")
    for source in sources:
        try:
            return source, source(gate, handle)
        except Failed as error:
            failure = error
    raise failure
