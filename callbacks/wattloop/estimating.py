"""Estimate: energy and CO2e of a run that nothing measures, because it is still to come or stands in a paper.

The formulas are those of Strubell et al. 2019 (arXiv 1906.02243) and Patterson et al. 2021 (arXiv 2104.10350):
device-hours x mean power x PUE is energy, times carbon intensity is CO2e. Nothing is rounded on the way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import msgspec

from wattloop import accepted
from wattloop.embodied import Embodied
from wattloop.equivalents import Equivalents, equivalents
from wattloop.grid.elsewhere import extremes, group
from wattloop.grid.intensity import MAX_G_CO2E_PER_KWH, is_possible
from wattloop.grid.regions import Region, resolve, world
from wattloop.units import G_PER_KG
from wattloop.workload import device_hours, mean_power, time_h

WORLD_KWH_A_YEAR = 3.1e13
"""All electricity of 2024, by Ember's *Global Electricity Review 2025*."""


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """The same run in another place.

    Attributes:
        role: Why this place: cleanest or dirtiest of those that the run's own is one of, or asked for.
        region: Its code.
        name: Its name.
        g_co2e_per_kwh: Its yearly carbon intensity.
        basis: What that counts.
        kg_co2e: Gross CO2e of the run there, in kg.
    """

    role: Literal["cleanest", "dirtiest", "compared"]
    region: str
    name: str
    g_co2e_per_kwh: float
    basis: str
    kg_co2e: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Energy and CO2e of a run by its hardware and time, and the inputs as they were used.

    Attributes:
        kwh: Energy, PUE included, in kWh.
        kg_co2e: Gross operational emissions, in kg CO2e.
        kg_co2e_net: What is left of them with hourly-matched clean energy, in kg CO2e; None: nothing given to tell by.
        kg_co2e_embodied: The part of making the devices, in kg CO2e, which is in neither; None: not asked for.
        gpu: Name of the device in the table; None where its watts were given.
        watts: Mean power per device that was used, in watts: scaled by ``utilization`` where that was given.
        watts_from: ``"given"``; ``"measured"``, a published mean; ``"tdp"``, the most the device is designed for, or
            ``utilization`` of it.
        watts_source: Whose figure it is.
        count: Devices; None where GPU-hours were given.
        hours: Length of the run; None where GPU-hours were given.
        gpu_hours: Hours of all devices together.
        utilization: By what TDP was scaled (0-1); None where it was not used.
        pue: Power usage effectiveness of the site.
        region: Code of the place; empty where the intensity was given.
        place: Its name.
        g_co2e_per_kwh: Gross carbon intensity.
        intensity_source: Whose figure it is, of which year, and what it counts.
        net_g_co2e_per_kwh: Net carbon intensity; None where none was given.
        net_share: Share of the energy matched by clean energy; None where none was given.
        embodied: By what embodied emissions are shared out; None where they are not.
        equivalents: What else emits as much as the run, gross.
        elsewhere_of: Which places ``"cleanest"`` and ``"dirtiest"`` are of.
        elsewhere: The same run in other places.
    """

    kwh: float
    kg_co2e: float
    kg_co2e_net: float | None
    kg_co2e_embodied: float | None
    gpu: str | None
    watts: float
    watts_from: Literal["given", "measured", "tdp"]
    watts_source: str
    count: int | None
    hours: float | None
    gpu_hours: float
    utilization: float | None
    pue: float
    region: str
    place: str
    g_co2e_per_kwh: float
    intensity_source: str
    net_g_co2e_per_kwh: float | None
    net_share: float | None
    embodied: Embodied | None
    equivalents: Equivalents
    elsewhere_of: str
    elsewhere: tuple[Elsewhere, ...]


def estimate(
    *,
    gpu: str | None = None,
    watts: float | None = None,
    count: int | None = None,
    hours: float | None = None,
    days: float | None = None,
    gpu_hours: float | None = None,
    utilization: float | None = None,
    pue: float = 1.0,
    region: str | None = None,
    intensity: float | None = None,
    net_intensity: float | None = None,
    net_share: float | None = None,
    embodied: Embodied | None = None,
    compare: Sequence[str] = (),
) -> Estimate:
    """Estimate the energy and CO2e of a run from its hardware, its time and its place.

    Args:
        gpu: Device by name, as ``"A100"`` or ``"TPU v3"`` (`wattloop hardware` lists them). Its mean power measured in
            training is used where one is published, else its TDP, which is a rough upper bound.
        watts: Mean power of one device instead, in watts (> 0), with whatever of its host is to be counted.
        count: Number of devices (>= 1). Default 1.
        hours: Length of the run, in hours (> 0).
        days: The same in days (> 0).
        gpu_hours: Hours of all devices together (> 0), instead of their number and the length.
        utilization: Share of the device's TDP that is drawn in the mean (above 0, up to 1); goes before what was
            measured.
        pue: Power usage effectiveness of the site (1-10). Default 1.0, the devices alone.
        region: Place whose yearly carbon intensity is used, as everywhere. Default: the world average.
        intensity: Carbon intensity instead, in gCO2e/kWh (> 0).
        net_intensity: Intensity after hourly-matched clean energy, in gCO2e/kWh (0 up to the gross one).
        net_share: Share of the energy that such clean energy matches instead (0-1).
        embodied: By what the emissions of making the devices are shared out. Default: they are not told.
        compare: Places to tell the same run's emissions for, besides the cleanest and the dirtiest.

    Raises:
        ValueError: A value is not accepted, is missing, or contradicts another; the message names it.

    Example:
        >>> gpt3 = estimate(watts=330, count=10_000, days=14.8, pue=1.1, intensity=429)
        >>> round(gpt3.kwh / 1e3), round(gpt3.kg_co2e / 1e3)
        (1289, 553)
    """
    accepted.one_of({"gpu": gpu, "watts": watts}, "the power of a device", "gpu=NAME or watts=W per device")
    accepted.one_of({"hours": hours, "days": days, "gpu_hours": gpu_hours}, "the time", "hours=, days= or gpu_hours=")
    accepted.one_of({"region": region, "intensity": intensity}, "the carbon intensity")
    accepted.one_of({"net_intensity": net_intensity, "net_share": net_share}, "what is net")
    accepted.one_of({"gpu_hours": gpu_hours, "count": count}, "the number of devices")
    accepted.one_of({"watts": watts, "utilization": utilization}, "the mean power of a device")
    power = mean_power(gpu, watts, utilization)
    pue = accepted.number("pue", pue, 1.0, 10.0)
    devices = None if gpu_hours is not None else accepted.count("count", 1 if count is None else count)
    length_h = time_h(hours, days)
    device_h = device_hours(devices, length_h, gpu_hours)
    place = (
        resolve(accepted.name("region", region)) if region is not None else None if intensity is not None else world()
    )
    if place is not None:
        gross_g = place.g_co2e_per_kwh
    else:
        gross_g = accepted.number("intensity", intensity, 0.0, MAX_G_CO2E_PER_KWH, above=True, hint=", in g CO2e/kWh")
    kwh = power.watts * device_h * pue / 1e3
    if kwh > WORLD_KWH_A_YEAR:
        raise ValueError(
            f"{kwh:.3g} kWh is more than all electricity the world generates in a year, about "
            f"{WORLD_KWH_A_YEAR / 1e9:,.0f} TWh; look at the power, the number of devices and the time again"
        )
    kg_co2e = kwh * gross_g / G_PER_KG
    return Estimate(
        kwh=kwh,
        kg_co2e=kg_co2e,
        kg_co2e_net=_net_kg(kwh, gross_g, net_intensity, net_share),
        kg_co2e_embodied=_embodied_kg(embodied, length_h, device_h),
        gpu=power.gpu,
        watts=power.watts,
        watts_from=power.origin,
        watts_source=power.source,
        count=devices,
        hours=length_h,
        gpu_hours=device_h,
        utilization=utilization,
        pue=pue,
        region=place.code if place is not None else "",
        place=place.name if place is not None else "",
        g_co2e_per_kwh=gross_g,
        intensity_source=place.intensity().source if place is not None else "given",
        net_g_co2e_per_kwh=net_intensity,
        net_share=net_share,
        embodied=embodied,
        equivalents=equivalents(kg_co2e),
        elsewhere_of=group(place),
        elsewhere=_elsewhere(kwh, place, compare),
    )


def _net_kg(kwh: float, gross_g: float, net_g: float | None, share: float | None) -> float | None:
    if share is not None:
        return kwh * gross_g / G_PER_KG * (1.0 - accepted.number("net_share", share, 0.0, 1.0))
    if net_g is None:
        return None
    if not is_possible(net_g) or net_g > gross_g:
        raise ValueError(
            f"net_intensity={net_g!r} is not accepted; give g CO2e/kWh from 0 to the gross intensity, {gross_g:g}"
        )
    return kwh * net_g / G_PER_KG


def _embodied_kg(embodied: Embodied | None, length_h: float | None, device_h: float) -> float | None:
    if embodied is None:
        return None
    if not isinstance(embodied, Embodied):
        raise ValueError(f"embodied={embodied!r} is not accepted; give an Embodied, e.g. Embodied(lifetime_years=5.0)")
    if embodied.devices is not None and length_h is None:
        raise ValueError("embodied= has devices, whose time GPU-hours do not tell; give hours= instead of gpu_hours=")
    kg_co2e = embodied.kg_co2e(3600.0 * (length_h or 0.0), 3600.0 * device_h)
    if kg_co2e is not None and kg_co2e > sys.float_info.max:
        raise ValueError(f"embodied={embodied!r} comes to no finite mass for this run; look at its numbers again")
    return kg_co2e


def _elsewhere(kwh: float, place: Region | None, compare: Sequence[str]) -> tuple[Elsewhere, ...]:
    if isinstance(compare, str):
        raise ValueError(f"compare={compare!r} is not accepted; give a list of places, e.g. ['FR', 'SE3']")
    cleanest, dirtiest = extremes(place)
    try:
        asked = dict.fromkeys(resolve(name) for name in compare)
    except ValueError as error:
        raise ValueError(str(error).replace("region=", "compare=", 1)) from None
    roles: list[tuple[Literal["cleanest", "dirtiest", "compared"], Region]] = [
        ("cleanest", cleanest),
        ("dirtiest", dirtiest),
        *(("compared", each) for each in asked),
    ]
    return tuple(
        Elsewhere(
            role=role,
            region=each.code,
            name=each.name,
            g_co2e_per_kwh=each.g_co2e_per_kwh,
            basis=each.basis,
            kg_co2e=kwh * each.g_co2e_per_kwh / G_PER_KG,
        )
        for role, each in roles
    )
