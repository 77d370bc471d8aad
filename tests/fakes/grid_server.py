"""A server on this machine that plays every carbon intensity API, and its bad days.

What it tells is a function of time, so a test knows the truth: `g_co2e_per_kwh`. The shapes of the answers are those of
the APIs' public documentation.
"""

from __future__ import annotations

import json
import math
import threading
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

HOUR = timedelta(hours=1)
HALF_HOUR = timedelta(minutes=30)
FIVE_MINUTES = timedelta(minutes=5)
TOKEN = "em-0123456789abcdef-never-to-be-seen"
USER, PASSWORD = "someone-never-to-be-seen", "pass-0123456789-never-to-be-seen"
BEARER = "wt-bearer-0123456789-never-to-be-seen"
SECRETS = (TOKEN, USER, PASSWORD, BEARER, b64encode(f"{USER}:{PASSWORD}".encode()).decode())
LB_PER_MWH_PER_G_PER_KWH = 1 / 0.45359237


def g_co2e_per_kwh(time: datetime) -> float:
    """The truth: between 100 and 300, another value every five minutes."""
    return round(200 + 100 * math.sin(time.timestamp() // 300 % 97), 1)


def floor(time: datetime, period: timedelta) -> datetime:
    return datetime.fromtimestamp(time.timestamp() // period.total_seconds() * period.total_seconds(), UTC)


def times(start: datetime, end: datetime, period: timedelta) -> list[datetime]:
    first = floor(start, period)
    return [first + n * period for n in range(math.ceil((end - first) / period))]


def zulu(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.000Z}"


def minutes(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%MZ}"


def em_latest(now: datetime, zone: str = "FR") -> Any:
    start = floor(now, HOUR)
    return {
        "zone": zone,
        "carbonIntensity": g_co2e_per_kwh(start),
        "datetime": zulu(start),
        "updatedAt": zulu(now),
        "emissionFactorType": "lifecycle",
        "isEstimated": True,
        "estimationMethod": "TIME_SLICER_AVERAGE",
    }


def em_forecast(now: datetime, zone: str = "FR", hours: int = 72) -> Any:
    values = [
        {"carbonIntensity": g_co2e_per_kwh(time), "datetime": zulu(time)}
        for time in times(now, now + hours * HOUR, HOUR)
    ]
    return {"zone": zone, "forecast": values, "updatedAt": zulu(now)}


def gb_periods(now: datetime, *, regional: bool = False, hours: int = 48) -> list[Any]:
    return [
        {
            "from": minutes(time),
            "to": minutes(time + HALF_HOUR),
            "intensity": {"forecast": round(g_co2e_per_kwh(time)) + (0 if regional else 3), "index": "moderate"}
            | ({} if regional else {"actual": round(g_co2e_per_kwh(time)) if time <= now else None}),
        }
        for time in times(now - HALF_HOUR, now + hours * HOUR, HALF_HOUR)
    ]


def gb_national(now: datetime) -> Any:
    return {"data": gb_periods(now)}


def gb_regional(now: datetime, outward: str = "OX1") -> Any:
    periods = gb_periods(now, regional=True)
    return {"data": {"regionid": 12, "shortname": "South England", "postcode": outward, "data": periods}}


def wt_forecast(now: datetime, region: str = "CAISO_NORTH", hours: int = 24) -> Any:
    data = [
        {"point_time": time.isoformat(), "value": g_co2e_per_kwh(time) * LB_PER_MWH_PER_G_PER_KWH}
        for time in times(now, now + hours * HOUR, FIVE_MINUTES)
    ]
    meta = {
        "data_point_period_seconds": 300,
        "region": region,
        "warnings": [],
        "signal_type": "co2_moer",
        "units": "lbs_co2_per_mwh",
        "generated_at": now.isoformat(),
    }
    return {"data": data, "meta": meta}


def sdk_emissions(now: datetime, location: str = "westeurope") -> Any:
    return [
        {"location": location, "time": time.isoformat(), "rating": g_co2e_per_kwh(time)}
        for time in times(now - 2 * HOUR, now, HALF_HOUR)
    ]


def sdk_forecast(now: datetime, location: str = "westeurope", hours: int = 24) -> Any:
    data = [
        {"location": location, "timestamp": time.isoformat(), "duration": 5, "value": g_co2e_per_kwh(time)}
        for time in times(now + FIVE_MINUTES, now + hours * HOUR, FIVE_MINUTES)
    ]
    return [{"generatedAt": now.isoformat(), "location": location, "optimalDataPoint": data[0], "forecastData": data}]


def dk_records(now: datetime, area: str = "DK1", dataset: str = "CO2Emis") -> Any:
    start, end = (now - 3 * HOUR, now - 4 * FIVE_MINUTES) if dataset == "CO2Emis" else (now - HOUR, now + 12 * HOUR)
    records = [
        {
            "Minutes5UTC": f"{time:%Y-%m-%dT%H:%M:%S}",
            "Minutes5DK": f"{time + HOUR:%Y-%m-%dT%H:%M:%S}",
            "PriceArea": area,
            "CO2Emission": g_co2e_per_kwh(time),
        }
        for time in reversed(times(start, end, FIVE_MINUTES))
    ]
    return {"total": len(records), "limit": 0, "dataset": dataset, "records": records}


class Request(msgspec.Struct, frozen=True):
    """What somebody asked."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


Respond = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request; `fault` of the server goes before the API."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        grid: GridServer = self.server.grid
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.asked = Request(address.path, query, {name.lower(): value for name, value in self.headers.items()})
        grid.requests.append(self.asked)
        fault = grid.fault(self.asked) if callable(grid.fault) else None
        try:
            if fault is not None:
                fault(self)
            else:
                self.play(grid)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def play(self, grid: GridServer) -> None:
        asked, now = self.asked, grid.now()
        api, _, path = asked.path[1:].partition("/")
        if api == "em":
            if asked.headers.get("auth-token") != TOKEN:
                return self.tell({"error": f"Invalid auth-token {asked.headers.get('auth-token')}"}, 401)
            zone = asked.query.get("zone", "FR")
            what = path.rpartition("/")[2]
            if zone not in ("FR", "DE", "US-CAL-CISO"):
                return self.tell({"error": f"Zone {zone} does not exist"}, 404)
            return self.tell({"latest": em_latest, "forecast": em_forecast}[what](now, zone))
        if api == "gb":
            if path.startswith("regional/"):
                return self.tell(gb_regional(now, path.rpartition("/")[2]))
            return self.tell(gb_national(now))
        if api == "wt":
            if path == "login":
                basic = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                right = asked.headers.get("authorization") == basic
                return self.tell({"token": BEARER}) if right else self.tell({"detail": "no"}, 403)
            if asked.headers.get("authorization") != f"Bearer {BEARER}":
                return self.tell({"detail": "Invalid token"}, 401)
            return self.tell(wt_forecast(now, asked.query["region"]))
        if api == "sdk":
            where = asked.query["location"]
            return self.tell(sdk_forecast(now, where) if "forecasts" in path else sdk_emissions(now, where))
        if api == "dk":
            area = json.loads(asked.query["filter"])["PriceArea"][0]
            return self.tell(dk_records(now, area, path.rpartition("/")[2]))
        return self.tell({"error": "Not found"}, 404)

    def tell(self, what: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class GridServer:
    """The server; ``with GridServer() as server: ElectricityMaps("FR", base_url=server.url("em"), ...)``.

    Attributes:
        requests: What was asked, in order.
        fault: Called with each request; returns what to do instead of an answer, or None.
        now: Wall-clock time of the APIs.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[Request], Respond | None] | None = None
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._http.grid = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="fake-grid", daemon=True)

    def __enter__(self) -> GridServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def url(self, api: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{api}"

    # -- bad days -----------------------------------------------------------------------------------------------------

    def always(self, what: Respond) -> None:
        self.fault = lambda request: what

    def answers(self, what: Any, status: int = 200, headers: dict[str, str] | None = None) -> Respond:
        return lambda handler: handler.tell(what, status, headers)

    def hangs(self) -> Respond:
        """Take the request and say nothing until the server ends."""

        def hang(handler: Handler) -> None:
            self._released.wait()
            handler.close_connection = True

        return hang

    def drips(self, interval_s: float) -> Respond:
        """Begin an answer that never ends: one byte after another."""

        def drip(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("content-length", "1000000")
            handler.end_headers()
            while not self._released.wait(interval_s):
                handler.wfile.write(b" ")
                handler.wfile.flush()
            handler.close_connection = True

        return drip

    def cuts(self, what: Any) -> Respond:
        """Promise a whole answer, send half of it and hang up."""

        def cut(handler: Handler) -> None:
            body = json.dumps(what).encode()
            handler.send_response(200)
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            handler.close_connection = True

        return cut
