"""Embodied: a run's part of what making its devices emitted, which no meter shows."""

from __future__ import annotations

import sys

import msgspec

YEAR_S = 365 * 86400.0


class Embodied(msgspec.Struct, frozen=True, kw_only=True):
    """By what the emissions of making devices are shared out over the time for which a run reserves them.

    SCI (ISO/IEC 21031:2024): M = TE x time reserved / lifetime x share reserved, with TE a device's total embodied
    emissions. Lost work counts: its devices were reserved.

    Args:
        kg_co2e_per_device: Emissions of making one device, in kg CO2e (> 0). Default 164, one of the eight GPUs of an
            NVIDIA HGX H100 board, 1,312 kg in all by NVIDIA's product carbon footprint (ISO 14067): without the
            server's other parts.
        lifetime_years: How long a device serves, in years (> 0). Default 4, the short end of the usual 4 to 6: a
            longer life leaves less for each run.
        devices: How many are reserved (> 0); a part of one where it is shared, as 1/7 for a slice of a GPU. Default:
            the GPUs that are counted, each for as long as it is.

    Raises:
        ValueError: A number is not a positive finite one.

    Example:
        >>> eight_gpus_for_a_day_s = 8 * 86400.0
        >>> round(Embodied().kg_co2e(86400.0, eight_gpus_for_a_day_s), 3)
        0.899
    """

    kg_co2e_per_device: float = 164.0
    lifetime_years: float = 4.0
    devices: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None and name == "devices":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
                raise ValueError(f"Embodied: {name}={value!r} is not accepted; give a finite number above 0")

    def kg_co2e(self, duration_s: float, gpu_s: float) -> float | None:
        """Return the part that falls to a run, in kg CO2e; None where it has no device to share it out by.

        Args:
            duration_s: Length of the run, in seconds.
            gpu_s: For how long GPUs were counted, in seconds, added up over all of them.
        """
        reserved_s = gpu_s if self.devices is None else self.devices * duration_s
        if self.devices is None and not reserved_s:
            return None
        return self.kg_co2e_per_device * reserved_s / YEAR_S / self.lifetime_years
