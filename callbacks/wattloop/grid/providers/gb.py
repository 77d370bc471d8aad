"""Carbon Intensity API of Great Britain (its system operator's, CC BY 4.0): free, by half hours."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec

from wattloop.grid.providers.answer import Answer, NoAnswer, decoded, each, moment
from wattloop.grid.providers.client import Client, Patience
from wattloop.grid.providers.live import Live, nearest_region
from wattloop.grid.regions import Region

HALF_HOUR = timedelta(minutes=30)
OUTWARD = re.compile(r"([A-Z]{1,2}[0-9][A-Z0-9]?)(?: *[0-9][A-Z]{2})?")


class _Values(msgspec.Struct):
    forecast: msgspec.Raw = msgspec.Raw(b"null")
    actual: msgspec.Raw = msgspec.Raw(b"null")


class _Period(msgspec.Struct):
    start: str = msgspec.field(name="from")
    to: str
    intensity: _Values


class _Data(msgspec.Struct):
    data: msgspec.Raw


class _Region(msgspec.Struct):
    data: list[msgspec.Raw]


class GBCarbonIntensity(Live):
    """Live carbon intensity of Great Britain and its forecast of two days (direct emissions, average).

    Args:
        postcode: Postcode whose distribution region is meant (``"OX1"``); the part after the blank is not sent.
            Default: the whole country. Regions are forecast only, never measured.
        base_url: Address of the API.
        patience: How long the API may take.

    Raises:
        ValueError: The postcode is none.

    Example::

        EmissionsCallback(region="GB", intensity=GBCarbonIntensity(postcode="OX1"))
    """

    name = "GB Carbon Intensity"

    def __init__(
        self,
        postcode: str | None = None,
        *,
        base_url: str = "https://api.carbonintensity.org.uk",
        patience: Patience | None = None,
    ) -> None:
        super().__init__(base_url, patience)
        found = OUTWARD.fullmatch(postcode.strip().upper()) if isinstance(postcode, str) else None
        if postcode is not None and found is None:
            raise ValueError(f"postcode={postcode!r} is not accepted; give a postcode of Great Britain, e.g. 'OX1'")
        self._outward = found.group(1) if found is not None else None
        self.region: Region | None = nearest_region("GB")

    @property
    def place(self) -> str:
        """The argument that says where."""
        return f"postcode={self._outward!r}"

    @property
    def source(self) -> str:
        """Provider, place, and what its values count."""
        return f"GB Carbon Intensity, {self._outward or 'national'}, direct, average"

    def _fetch(self, client: Client, now: datetime) -> Answer:
        answer = Answer()
        since = f"{now - HALF_HOUR:%Y-%m-%dT%H:%MZ}"
        if self._outward is None:
            read_national(client.get(f"/intensity/{since}/fw48h"), answer)
        else:
            path = f"/regional/intensity/{since}/fw48h/postcode/{self._outward}"
            read_regional(client.get(path, place=self.place), answer)
        return answer


def read_national(raw: bytes, answer: Answer) -> None:
    """Take in the answer of ``/intensity/...``; raises `NoAnswer`."""
    _read_periods(decoded(raw, _Region).data, answer)


def read_regional(raw: bytes, answer: Answer) -> None:
    """Take in the answer of ``/regional/...``: a region, or a list of one; raises `NoAnswer`."""
    data = decoded(raw, _Data).data
    try:
        region = decoded(data, _Region)
    except NoAnswer:
        region = next(iter(decoded(data, list[_Region])), _Region([]))
    _read_periods(region.data, answer)


def _read_periods(periods: list[msgspec.Raw], answer: Answer) -> None:
    for period in each(periods, _Period, answer):
        actual, forecast = _number(period.intensity.actual), _number(period.intensity.forecast)
        start, end = moment(period.start), moment(period.to)
        length = end - start if start is not None and end is not None else timedelta(0)
        if actual is not None:
            answer.add(period.start, actual, length, "measured")
        else:
            answer.add(period.start, forecast, length, "forecast")


def _number(raw: msgspec.Raw) -> float | None:
    try:
        return decoded(raw, float | None)  # type: ignore[arg-type]
    except NoAnswer:
        return None
