"""Carbon Aware SDK (Green Software Foundation): a server of your own in front of another provider."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

import msgspec

from wattloop.grid.providers.answer import Answer, NoAnswer, decoded, each, moment
from wattloop.grid.providers.client import Client, Patience
from wattloop.grid.providers.live import Live

HOUR = timedelta(hours=1)
BACK = timedelta(hours=2)


class _Rating(msgspec.Struct):
    time: str
    rating: float


class _Value(msgspec.Struct):
    timestamp: str
    value: float
    duration: float = 5.0


class _Forecast(msgspec.Struct):
    forecastData: list[msgspec.Raw]


class CarbonAwareSDK(Live):
    """Live carbon intensity and its forecast from a Carbon Aware SDK.

    Args:
        url: Address of the server's Web API.
        location: Location as the server names it (``"westeurope"``).
        kind: What the server's data source gives: ``"marginal"`` (WattTime) or ``"average"`` (Electricity Maps). The
            server does not say, and the two are not to be mixed up.
        patience: How long the server may take.

    Raises:
        ValueError: The address, location or kind is not accepted.

    Example::

        EmissionsCallback(region="NL", intensity=CarbonAwareSDK("http://carbon.lan", "westeurope", kind="average"))
    """

    name = "Carbon Aware SDK"
    refresh_s = 300.0

    def __init__(
        self,
        url: str,
        location: str,
        *,
        kind: Literal["average", "marginal"] | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(url, patience)
        if not isinstance(location, str) or not location.isprintable() or not location.strip():
            raise ValueError(f"location={location!r} is not accepted; give one of your server's, e.g. 'westeurope'")
        if kind not in ("average", "marginal"):
            raise ValueError(
                f"kind={kind!r} is not accepted; say what your server's data source gives: "
                "'marginal' (WattTime) or 'average' (Electricity Maps)"
            )
        self._location = location
        self.kind = kind

    @property
    def place(self) -> str:
        """The argument that says where."""
        return f"location={self._location!r}"

    @property
    def source(self) -> str:
        """Provider, place, and what its values count."""
        return f"Carbon Aware SDK, {self._location}, {self.kind}"

    def _fetch(self, client: Client, now: datetime) -> Answer:
        answer, where = Answer(), {"location": self._location}
        trouble = None
        try:
            read_forecast(client.get("/emissions/forecasts/current", where, place=self.place), answer)
        except NoAnswer as none:  # not every data source looks ahead
            trouble = none
        asked = where | {"time": f"{now - BACK:%Y-%m-%dT%H:%M:%SZ}", "toTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
        try:
            read_emissions(client.get("/emissions/bylocation", asked, place=self.place), answer)
        except NoAnswer:
            if trouble is not None:
                raise
        return answer


def read_emissions(raw: bytes, answer: Answer) -> None:
    """Take in the answer of ``/emissions/bylocation``, each for an hour at most; raises `NoAnswer`."""
    ratings = list(each(decoded(raw, list[msgspec.Raw]), _Rating, answer))
    starts = sorted({start for rating in ratings if (start := moment(rating.time)) is not None})
    until_next = {start: min(following - start, HOUR) for start, following in pairwise(starts)}
    usual = min(until_next.values(), default=HOUR)
    for rating in ratings:
        start = moment(rating.time)
        answer.add(rating.time, rating.rating, until_next.get(start, usual) if start else usual, "measured")


def read_forecast(raw: bytes, answer: Answer) -> None:
    """Take in the answer of ``/emissions/forecasts/current``; raises `NoAnswer`."""
    for ahead in decoded(raw, list[_Forecast])[:1]:
        for value in each(ahead.forecastData, _Value, answer):
            minutes = value.duration if 0.0 < value.duration <= 1440.0 else 0.0
            answer.add(value.timestamp, value.value, timedelta(minutes=minutes), "forecast")
