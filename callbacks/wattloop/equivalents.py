"""Equivalents: what else emits as much, for readers to whom a mass of CO2e says little."""

from __future__ import annotations

import msgspec

SOURCE = "US EPA, Greenhouse Gas Equivalencies; flights: Patterson et al. 2021"
KM_PER_MILE = 1.609344
KG_PER_PHONE_CHARGE = 8.22e-3
KG_PER_CAR_MILE = 0.398
KG_PER_HOME_YEAR = 8.30e3
KG_PER_PASSENGER_FLIGHT = 1.2e3


class Equivalents(msgspec.Struct, frozen=True, kw_only=True):
    """What else emits as much, each alone.

    Attributes:
        phone_charges: Full charges of a smartphone (EPA).
        car_km: Kilometres by an average US car (EPA, per mile).
        home_years: Years of a US home's energy (EPA).
        passenger_flights: Return flights between San Francisco and New York, of one passenger (Patterson et al. 2021,
            arXiv 2104.10350).
    """

    phone_charges: float
    car_km: float
    home_years: float
    passenger_flights: float


def equivalents(kg_co2e: float) -> Equivalents:
    """Return what else emits as much.

    Args:
        kg_co2e: Mass of CO2e, in kg.

    Example:
        >>> round(equivalents(12_000.0).passenger_flights)
        10
    """
    return Equivalents(
        phone_charges=kg_co2e / KG_PER_PHONE_CHARGE,
        car_km=kg_co2e / KG_PER_CAR_MILE * KM_PER_MILE,
        home_years=kg_co2e / KG_PER_HOME_YEAR,
        passenger_flights=kg_co2e / KG_PER_PASSENGER_FLIGHT,
    )
