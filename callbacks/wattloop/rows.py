"""The row that is logged: its keys are the same from the first log of a run to the last."""

from __future__ import annotations

import math

from wattloop.budget import Budget
from wattloop.footprint import Footprint, Totals
from wattloop.forecast import UNKNOWN, Forecast
from wattloop.units import J_PER_KWH


def row(
    totals: Totals,
    epoch: Totals,
    session: Footprint | None,
    forecast: Forecast | None,
    budget: Budget | None,
    others_w: float = 0.0,
) -> dict[str, float]:
    """Return a row of plain floats, ``nan`` where a value is not known.

    | key | meaning | unit |
    |---|---|---|
    | ``energy/kwh`` | energy of all devices so far | kWh |
    | ``energy/gpu_kwh`` | of the GPUs | kWh |
    | ``energy/cpu_kwh`` | of CPU packages and memory | kWh |
    | ``energy/epoch_kwh`` | in this epoch | kWh |
    | ``energy/measured_fraction`` | share measured, not modelled | 0-1 |
    | ``power/watts`` | mean power of late | W |
    | ``emissions/kg_co2e`` | emissions so far, PUE included | kg CO2e |
    | ``emissions/epoch_kg_co2e`` | in this epoch | kg CO2e |
    | ``grid/g_co2e_per_kwh`` | carbon intensity in use | gCO2e/kWh |
    | ``forecast/kwh``, ``_low``, ``_high`` | energy of the whole run, 90 % interval | kWh |
    | ``forecast/kg_co2e``, ``_low``, ``_high`` | emissions of the whole run, 90 % interval | kg CO2e |
    | ``budget/used_fraction`` | spent share of the budget, where there is one | 1 = all |

    Args:
        totals: What was spent so far.
        epoch: What was spent in the epoch to show.
        session: The session that measures now.
        forecast: The whole run, if known.
        budget: The run's budget, if it has one.
        others_w: Mean power of the other ranks, in watts.
    """
    ahead = forecast or UNKNOWN
    values = {
        "energy/kwh": totals.kwh,
        "energy/gpu_kwh": totals.gpu_j / J_PER_KWH,
        "energy/cpu_kwh": totals.cpu_j / J_PER_KWH,
        "energy/epoch_kwh": epoch.kwh,
        "energy/measured_fraction": totals.measured_fraction,
        "power/watts": session.power_w + others_w if session is not None else math.nan,
        "emissions/kg_co2e": totals.kg_co2e,
        "emissions/epoch_kg_co2e": epoch.kg_co2e,
        "grid/g_co2e_per_kwh": session.intensity.g_co2e_per_kwh if session is not None else math.nan,
        "forecast/kwh": ahead.kwh,
        "forecast/kwh_low": ahead.kwh_low,
        "forecast/kwh_high": ahead.kwh_high,
        "forecast/kg_co2e": ahead.kg_co2e,
        "forecast/kg_co2e_low": ahead.kg_co2e_low,
        "forecast/kg_co2e_high": ahead.kg_co2e_high,
    }
    if budget is not None:
        values["budget/used_fraction"] = budget.used_fraction(totals.kwh, totals.kg_co2e)
    return values
