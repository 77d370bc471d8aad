"""Energi Data Service (Energinet): Denmark's two price areas, by five minutes, free."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec

from wattloop.grid.providers.answer import Answer, NoAnswer, decoded, each
from wattloop.grid.providers.client import Client, Patience
from wattloop.grid.providers.live import Live, nearest_region
from wattloop.grid.regions import Region

FIVE_MINUTES = timedelta(minutes=5)
AREAS = ("DK1", "DK2")
BACK = timedelta(hours=3)


class _Record(msgspec.Struct):
    Minutes5UTC: str
    PriceArea: str
    CO2Emission: float


class _Dataset(msgspec.Struct):
    records: list[msgspec.Raw]


class EnergiDataService(Live):
    """Live carbon intensity of a Danish price area and its forecast (average, as Energinet declares it).

    Args:
        area: ``"DK1"`` (Jutland and Funen) or ``"DK2"`` (Zealand).
        base_url: Address of the API.
        patience: How long the API may take.

    Raises:
        ValueError: The area is none of these.

    Example::

        EmissionsCallback(region="DK", intensity=EnergiDataService("DK1"))
    """

    name = "Energi Data Service"
    refresh_s = 300.0

    def __init__(
        self,
        area: str,
        *,
        base_url: str = "https://api.energidataservice.dk",
        patience: Patience | None = None,
    ) -> None:
        super().__init__(base_url, patience)
        if area not in AREAS:
            raise ValueError(f"area={area!r} is not accepted; give 'DK1' or 'DK2'")
        self._area = area
        self.region: Region | None = nearest_region("DK")

    @property
    def place(self) -> str:
        """The argument that says where."""
        return f"area={self._area!r}"

    @property
    def source(self) -> str:
        """Provider, place, and what its values count."""
        return f"Energi Data Service, {self._area}, average"

    def _fetch(self, client: Client, now: datetime) -> Answer:
        answer = Answer()
        # The API takes Danish time, an hour or two ahead of UTC: this is some hours ago in either.
        asked = {
            "start": f"{now - BACK:%Y-%m-%dT%H:%M}",
            "filter": json.dumps({"PriceArea": [self._area]}),
            "limit": "0",
        }
        trouble = None
        try:
            read_records(client.get("/dataset/CO2EmisProg", asked, place=self.place), self._area, "forecast", answer)
        except NoAnswer as none:
            trouble = none
        try:
            read_records(client.get("/dataset/CO2Emis", asked, place=self.place), self._area, "measured", answer)
        except NoAnswer:
            if trouble is not None:
                raise
        return answer


def read_records(raw: bytes, area: str, note: str, answer: Answer) -> None:
    """Take in the answer of ``/dataset/...``; raises `NoAnswer`."""
    for record in each(decoded(raw, _Dataset).records, _Record, answer):
        if record.PriceArea == area:
            answer.add(record.Minutes5UTC, record.CO2Emission, FIVE_MINUTES, note, zone=UTC)
        else:
            answer.dropped += 1
