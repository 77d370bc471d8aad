"""Unit constants, and the one way a quantity is written for a person."""

from __future__ import annotations

J_PER_KWH = 3.6e6
G_PER_KG = 1e3
G_PER_LB = 453.59237


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for scale, unit in steps:
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}" if abs(value) / scale < 999.5 else f"{value / scale:,.0f} {unit}"
    scale, unit = steps[-1]
    return f"{value / scale:.3g} {unit}"


def format_energy(kwh: float) -> str:
    """Write an energy in kWh with three significant figures and the unit that fits.

    Args:
        kwh: Energy in kWh.

    Example:
        >>> format_energy(0.01234), format_energy(1.5e-6), format_energy(2500.0)
        ('12.3 Wh', '5.4 J', '2.5 MWh')
    """
    return _scaled(kwh, ((1e3, "MWh"), (1.0, "kWh"), (1e-3, "Wh"), (1.0 / J_PER_KWH, "J")))


def format_duration(seconds: float) -> str:
    """Write a duration in the unit that fits.

    Args:
        seconds: Duration in seconds.

    Example:
        >>> format_duration(12.3), format_duration(600.0), format_duration(9000.0), format_duration(360000.0)
        ('12 s', '10.0 min', '2.5 h', '100.0 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.1f} min" if seconds < 5970.0 else f"{seconds / 3600.0:,.1f} h"


def format_co2e(kg: float) -> str:
    """Write a mass of CO2-equivalent in kg with three significant figures and the unit that fits.

    Args:
        kg: Mass of CO2e in kg.

    Example:
        >>> format_co2e(0.0042), format_co2e(3.2e-7), format_co2e(1530.0)
        ('4.2 g CO2e', '0.32 mg CO2e', '1.53 t CO2e')
    """
    return _scaled(kg, ((1e3, "t CO2e"), (1.0, "kg CO2e"), (1e-3, "g CO2e"), (1e-6, "mg CO2e")))


def format_share(fraction: float) -> str:
    """Write a share, of which only a whole one is all.

    Args:
        fraction: The share, 0 to 1.

    Example:
        >>> format_share(1.0), format_share(0.9998), format_share(0.8)
        ('100%', '99.9%', '80%')
    """
    # Sums of shares are whole but for rounding.
    return "100%" if fraction > 1.0 - 1e-9 else f"{min(100 * fraction, 99.9):.3g}%"
