"""WattTime, API version 3: the marginal operating emissions rate, of the plants that answer one more kWh of demand."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from wattloop.grid.providers.answer import Answer, NoAnswer, decoded, each
from wattloop.grid.providers.client import Client, Patience, Secret
from wattloop.grid.providers.live import Live
from wattloop.units import G_PER_LB

USER, PASSWORD = "WATTTIME_USER", "WATTTIME_PASSWORD"
KWH_PER_MWH = 1e3
SIGNAL = "co2_moer"
UNITS = "lbs_co2_per_mwh"
TOKEN_LIVES_S = 25 * 60.0
HORIZON_HOURS = 24


class _Meta(msgspec.Struct):
    region: str
    units: str
    data_point_period_seconds: float


class _Value(msgspec.Struct):
    point_time: str
    value: float


class _Forecast(msgspec.Struct):
    data: list[msgspec.Raw]
    meta: _Meta


class _Login(msgspec.Struct):
    token: str


class WattTime(Live):
    """Live **marginal** carbon intensity of a WattTime region and its forecast of a day (CO2, direct).

    Marginal and average intensities answer different questions and are not to be mixed: what a run records says which
    one it was priced with. The fallback where WattTime does not answer, the yearly value, is an average, and the
    warning says so.

    Args:
        region: Region of WattTime (``"CAISO_NORTH"``).
        user: User name. Default: the environment's ``WATTTIME_USER``.
        password: Password. Default: the environment's ``WATTTIME_PASSWORD``. A copy in another process has only what
            its environment has.
        signal: The signal; ``"co2_moer"`` is the only one in mass of CO2.
        base_url: Address of the API.
        patience: How long the API may take.

    Raises:
        ValueError: No region, no credentials, or one that is not accepted.

    Example::

        EmissionsCallback(region="US-CA", intensity=WattTime("CAISO_NORTH"))
    """

    name = "WattTime"
    refresh_s = 300.0
    kind: Literal["average", "marginal"] = "marginal"

    def __init__(
        self,
        region: str,
        *,
        user: str | None = None,
        password: str | None = None,
        signal: str = SIGNAL,
        base_url: str = "https://api.watttime.org",
        patience: Patience | None = None,
    ) -> None:
        super().__init__(base_url, patience, secret=True)
        if not isinstance(region, str) or not region.isprintable() or not region.strip():
            raise ValueError(f"region={region!r} is not accepted; give a region of WattTime, e.g. 'CAISO_NORTH'")
        if signal != SIGNAL:
            raise ValueError(
                f"signal={signal!r} is not accepted; only {SIGNAL!r} is a mass of CO2 (an index is a percentile)"
            )
        self._zone = region
        self._user = Secret("user=", user) if user is not None else None
        self._password = Secret("password=", password) if password is not None else None
        self._read_environment()
        if self._user is None or self._password is None:
            raise ValueError(f"WattTime wants user= and password=, or {USER} and {PASSWORD} in the environment")

    def _reset(self) -> None:
        super()._reset()
        self._bearer: Secret | None = None
        self._bearer_until_s = 0.0

    def _read_environment(self) -> None:
        user, password = os.environ.get(USER), os.environ.get(PASSWORD)
        if getattr(self, "_user", None) is None:
            self._user = Secret(USER, user) if user else None
        if getattr(self, "_password", None) is None:
            self._password = Secret(PASSWORD, password) if password else None

    @property
    def place(self) -> str:
        """The argument that says where."""
        return f"region={self._zone!r}"

    @property
    def source(self) -> str:
        """Provider, place, and what its values count."""
        return f"WattTime v3, {self._zone}, {SIGNAL}, direct, marginal"

    def _fetch(self, client: Client, now: datetime) -> Answer:
        known = self._bearer is not None and time.monotonic() < self._bearer_until_s
        try:
            raw = self._ask_forecast(client)
        except NoAnswer as refused:
            if not (known and refused.lasting):
                raise
            self._bearer = None  # it may have been taken back before its time
            raw = self._ask_forecast(client)
        answer = Answer()
        read_forecast(raw, self._zone, answer)
        return answer

    def _ask_forecast(self, client: Client) -> bytes:
        asked = {"region": self._zone, "signal_type": SIGNAL, "horizon_hours": str(HORIZON_HOURS)}
        bearer = {"authorization": f"Bearer {self._log_in(client).reveal()}"}
        return client.get(
            "/v3/forecast", asked, bearer, place=self.place, credentials=f"{self.place} and your plan of WattTime"
        )

    def _log_in(self, client: Client) -> Secret:
        if self._bearer is not None and time.monotonic() < self._bearer_until_s:
            return self._bearer
        if self._user is None or self._password is None:
            raise NoAnswer(f"this process has no password; set {USER} and {PASSWORD}", lasting=True)
        credentials = f"user= and password=, or {USER} and {PASSWORD}"
        raw = client.get(
            "/login", auth=(self._user.reveal(), self._password.reveal()), place="base_url=", credentials=credentials
        )
        try:
            self._bearer = Secret("token", decoded(raw, _Login).token)
        except ValueError:
            raise NoAnswer("its token is none") from None
        self._bearer_until_s = time.monotonic() + TOKEN_LIVES_S
        return self._bearer


def read_forecast(raw: bytes, region: str, answer: Answer) -> None:
    """Take in the answer of ``/v3/forecast``; raises `NoAnswer`."""
    ahead = decoded(raw, _Forecast)
    if ahead.meta.units != UNITS:
        raise NoAnswer(f"its values are not in {UNITS}", lasting=True)
    if ahead.meta.region.casefold() != region.casefold():
        raise NoAnswer("it answers for another region", lasting=True)
    seconds = ahead.meta.data_point_period_seconds
    if not 0.0 < seconds <= 86_400.0:
        raise NoAnswer("its values hold for no length of time", lasting=True)
    for value in each(ahead.data, _Value, answer):
        g_co2e_per_kwh = value.value * G_PER_LB / KWH_PER_MWH
        answer.add(value.point_time, g_co2e_per_kwh, timedelta(seconds=seconds), "forecast")
