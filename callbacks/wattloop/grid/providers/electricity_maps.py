"""Electricity Maps, API version 3: consumption-based average carbon intensity of most grids of the world."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import msgspec

from wattloop.grid.providers.answer import Answer, NoAnswer, decoded, each
from wattloop.grid.providers.client import Client, Patience, Secret
from wattloop.grid.providers.live import Live, nearest_region

TOKEN = "ELECTRICITYMAPS_TOKEN"
HOUR = timedelta(hours=1)


class _Value(msgspec.Struct):
    carbonIntensity: float
    datetime: str
    isEstimated: bool = False


class _Latest(_Value):
    zone: str = ""


class _Forecast(msgspec.Struct):
    forecast: list[msgspec.Raw]
    zone: str = ""


class ElectricityMaps(Live):
    """Live carbon intensity and its forecast from Electricity Maps (life-cycle, consumption-based, average).

    Without a plan that includes forecasts, the latest value alone is used.

    Args:
        zone: Zone of Electricity Maps (``"FR"``, ``"US-CAL-CISO"``); or give `lat` and `lon`.
        lat: Latitude of the place, in degrees.
        lon: Longitude of the place, in degrees.
        token: Token of the API. Default: the environment's ``ELECTRICITYMAPS_TOKEN``, the only one that a copy in
            another process has, too.
        base_url: Address of the API.
        patience: How long the API may take.

    Raises:
        ValueError: No zone or place, no token, or one that is not accepted.

    Example::

        EmissionsCallback(region="FR", intensity=ElectricityMaps("FR"))
    """

    name = "Electricity Maps"

    def __init__(
        self,
        zone: str | None = None,
        *,
        lat: float | None = None,
        lon: float | None = None,
        token: str | None = None,
        base_url: str = "https://api.electricitymaps.com/v3",
        patience: Patience | None = None,
    ) -> None:
        super().__init__(base_url, patience, secret=True)
        if (zone is None) == (lat is None and lon is None):
            raise ValueError(f"zone={zone!r}, lat={lat!r}, lon={lon!r} is not accepted; give zone=, or lat= and lon=")
        if zone is None:
            self._where = {"lat": _degrees("lat", lat, 90.0), "lon": _degrees("lon", lon, 180.0)}
        elif isinstance(zone, str) and zone and zone.isprintable() and not zone.isspace():
            self._where = {"zone": zone}
            self.region = nearest_region(zone, zone.partition("-")[0])
        else:
            raise ValueError(f"zone={zone!r} is not accepted; give a zone of Electricity Maps, e.g. 'FR'")
        self._token = Secret("token=", token) if token is not None else None
        self._read_environment()
        if self._token is None:
            raise ValueError(f"Electricity Maps wants a token; give token= or set {TOKEN}")

    def _read_environment(self) -> None:
        token = os.environ.get(TOKEN)
        if getattr(self, "_token", None) is None:
            self._token = Secret(TOKEN, token) if token else None

    @property
    def place(self) -> str:
        """The arguments that say where."""
        return ", ".join(f"{name}={value}" for name, value in self._where.items())

    @property
    def source(self) -> str:
        """Provider, place, and what its values count."""
        return f"Electricity Maps v3, {self.place}, life-cycle, average"

    def _fetch(self, client: Client, now: datetime) -> Answer:
        if self._token is None:
            raise NoAnswer(f"this process has no token; set {TOKEN}", lasting=True)
        answer, zone = Answer(), self._where.get("zone")
        headers, credentials = {"auth-token": self._token.reveal()}, f"token= or {TOKEN}"
        latest = client.get("/carbon-intensity/latest", self._where, headers, place=self.place, credentials=credentials)
        try:
            ahead = client.get(
                "/carbon-intensity/forecast", self._where, headers, place=self.place, credentials=credentials
            )
            read_forecast(ahead, zone, answer)
        except NoAnswer:  # not in every plan, and no loss for the present
            pass
        read_latest(latest, zone, answer)
        return answer


def read_latest(raw: bytes, zone: str | None, answer: Answer) -> None:
    """Take in the answer of ``/carbon-intensity/latest``; raises `NoAnswer`."""
    latest = decoded(raw, _Latest)
    _check_zone(latest.zone, zone)
    note = "estimated" if latest.isEstimated else "measured"
    answer.add(latest.datetime, latest.carbonIntensity, HOUR, note, can_be_zero=False)


def read_forecast(raw: bytes, zone: str | None, answer: Answer) -> None:
    """Take in the answer of ``/carbon-intensity/forecast``; raises `NoAnswer`."""
    ahead = decoded(raw, _Forecast)
    _check_zone(ahead.zone, zone)
    for value in each(ahead.forecast, _Value, answer):
        answer.add(value.datetime, value.carbonIntensity, HOUR, "forecast", can_be_zero=False)


def _check_zone(told: str, asked: str | None) -> None:
    if asked is not None and told and told.casefold() != asked.casefold():
        raise NoAnswer("it answers for another zone", lasting=True)


def _degrees(name: str, value: object, most: float) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise ValueError(f"{name}={value!r} is not accepted; give degrees from {-most:g} to {most:g}")
    return f"{float(value):.5f}"
