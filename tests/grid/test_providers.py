"""Live providers against a server that plays their APIs, on good days and bad ones."""

from __future__ import annotations

import copy
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest

from fakes import grid_server as fake
from fakes.grid_server import GridServer, g_co2e_per_kwh
from wattloop.grid import Intensity, NotKnown, background
from wattloop.grid.nowait import NoWait
from wattloop.grid.providers import (
    CarbonAwareSDK,
    ElectricityMaps,
    EnergiDataService,
    GBCarbonIntensity,
    Patience,
    WattTime,
)
from wattloop.grid.providers.live import KEEP, Live

QUICK = Patience(connect_s=5.0, read_s=5.0, whole_s=5.0, attempts=3, backoff_s=0.01, longest_wait_s=0.02)
IMPATIENT = Patience(connect_s=0.2, read_s=0.2, whole_s=0.4, attempts=2, backoff_s=0.01, longest_wait_s=0.02)
PATIENCE_OF_TESTS_S = 30.0
YEARLY = Intensity(44.0, "France 2024")

Make = Callable[..., Live]
PROVIDERS: dict[str, Make] = {
    "Electricity Maps": lambda server, **more: ElectricityMaps(
        "FR", token=fake.TOKEN, base_url=server.url("em/v3"), **more
    ),
    "GB Carbon Intensity": lambda server, **more: GBCarbonIntensity(base_url=server.url("gb"), **more),
    "GB region": lambda server, **more: GBCarbonIntensity("OX1 2JD", base_url=server.url("gb"), **more),
    "WattTime": lambda server, **more: WattTime(
        "CAISO_NORTH", user=fake.USER, password=fake.PASSWORD, base_url=server.url("wt"), **more
    ),
    "Carbon Aware SDK": lambda server, **more: CarbonAwareSDK(server.url("sdk"), "westeurope", kind="average", **more),
    "Energi Data Service": lambda server, **more: EnergiDataService("DK1", base_url=server.url("dk"), **more),
}
PERIODS = {
    "Electricity Maps": fake.HOUR,
    "GB Carbon Intensity": fake.HALF_HOUR,
    "GB region": fake.HALF_HOUR,
    "WattTime": fake.FIVE_MINUTES,
    "Carbon Aware SDK": fake.HALF_HOUR,
    "Energi Data Service": fake.FIVE_MINUTES,
}
SOURCES = {
    "Electricity Maps": "Electricity Maps v3, zone=FR, life-cycle, average, estimated",
    "GB Carbon Intensity": "GB Carbon Intensity, national, direct, average, measured",
    "GB region": "GB Carbon Intensity, OX1, direct, average, forecast",
    "WattTime": "WattTime v3, CAISO_NORTH, co2_moer, direct, marginal, forecast",
    "Carbon Aware SDK": "Carbon Aware SDK, westeurope, average, measured",
    "Energi Data Service": "Energi Data Service, DK1, average, forecast",
}


@pytest.fixture(autouse=True)
def no_proxy_and_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("ELECTRICITYMAPS_TOKEN", "WATTTIME_USER", "WATTTIME_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[GridServer]:
    with GridServer() as server:
        yield server
    until(lambda: not any(thread.name == "wattloop-grid" for thread in threading.enumerate()))


@pytest.fixture(params=PROVIDERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def until(true: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_OF_TESTS_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.005)


def value(source: Live, at: datetime) -> Intensity | None:
    try:
        return source.at(at)
    except NotKnown:
        return None


def answered(source: Live, at: datetime) -> Intensity:
    until(lambda: value(source, at) is not None)
    return source.at(at)


def trouble(source: Live, at: datetime) -> str:
    """What a provider says for itself once it is given up for now."""

    def given_up() -> bool:
        value(source, at)
        return source._refreshing_in is None and source._due_s > time.monotonic()

    until(given_up)
    with pytest.raises(NotKnown) as refused:
        source.at(at)
    assert not refused.value.pending
    return str(refused.value)


def now() -> datetime:
    return datetime.now(UTC)


# -- good days ---------------------------------------------------------------------------------------------------------


def test_it_gives_what_the_api_says_of_this_moment_and_where_it_has_it_from(server: GridServer, name: str) -> None:
    at = now()
    server.now = lambda: at
    source = PROVIDERS[name](server)
    intensity = answered(source, at)
    truth = g_co2e_per_kwh(fake.floor(at, PERIODS[name]))
    assert intensity.g_co2e_per_kwh == pytest.approx(round(truth) if name.startswith("GB") else truth, rel=1e-9)
    assert intensity.source == SOURCES[name]
    assert intensity.kind == ("marginal" if name == "WattTime" else "average")


def test_the_first_question_is_answered_before_anything_is_fetched(server: GridServer, name: str) -> None:
    source = PROVIDERS[name](server)
    assert source.forecast(now(), now() + fake.HOUR) is None
    with pytest.raises(NotKnown) as not_yet:
        source.at(now())
    assert not_yet.value.pending
    answered(source, now())


def test_it_looks_ahead(server: GridServer, name: str) -> None:
    at = now()
    server.now = lambda: at
    source = PROVIDERS[name](server)
    answered(source, at)
    ahead = source.forecast(at, at + 6 * fake.HOUR)
    assert ahead is not None
    assert ahead[0][0] == at
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(ahead))
    assert ahead[-1][0] >= at + 5 * fake.HOUR
    for time_, intensity in ahead[1:]:
        truth = g_co2e_per_kwh(time_)
        if name == "GB Carbon Intensity":
            truth = round(truth) + 3
        assert intensity.g_co2e_per_kwh == pytest.approx(round(truth) if name == "GB region" else truth, rel=1e-9)
        assert intensity.source.endswith("forecast")


def test_what_is_known_is_not_asked_again(server: GridServer, name: str) -> None:
    source = PROVIDERS[name](server)
    answered(source, now())
    until(lambda: source._refreshing_in is None)
    asked = len(server.requests)
    for _ in range(1000):
        source.at(now())
    assert len(server.requests) == asked


def test_one_thread_serves_all_and_ends_when_nobody_asks(server: GridServer) -> None:
    sources = [make(server) for make in PROVIDERS.values()]
    for source in sources:
        value(source, now())
    assert sum(thread.name == "wattloop-grid" for thread in threading.enumerate()) == 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "wattloop-grid")
    for source in sources:
        answered(source, now())


def test_a_place_may_be_given_by_its_coordinates(server: GridServer) -> None:
    source = ElectricityMaps(lat=48.8566, lon=2.3522, token=fake.TOKEN, base_url=server.url("em/v3"))
    assert answered(source, now()).source.startswith("Electricity Maps v3, lat=48.85660, lon=2.35220, ")
    assert server.requests[0].query == {"lat": "48.85660", "lon": "2.35220"}


def test_no_forecast_in_the_plan_is_no_loss_for_the_present(server: GridServer) -> None:
    server.fault = lambda request: server.answers({}, 403) if "forecast" in request.path else None
    source = PROVIDERS["Electricity Maps"](server)
    start = fake.floor(now(), fake.HOUR)
    assert answered(source, start).g_co2e_per_kwh == g_co2e_per_kwh(start)


def test_the_regional_answer_may_be_a_list(server: GridServer) -> None:
    server.always(server.answers({"data": [fake.gb_regional(now())["data"]]}))
    assert answered(PROVIDERS["GB region"](server), now()).kind == "average"


def test_watttime_logs_in_once_and_again_when_its_token_is_taken_back(server: GridServer) -> None:
    source = PROVIDERS["WattTime"](server)
    answered(source, now())
    until(lambda: source._refreshing_in is None)
    refused = iter([True])
    server.fault = lambda request: server.answers({}, 401) if "v3" in request.path and next(refused, False) else None
    source._due_s = -math.inf
    value(source, now())
    until(lambda: len(server.requests) >= 5)
    assert [request.path for request in server.requests] == [
        "/wt/login",
        "/wt/v3/forecast",
        "/wt/v3/forecast",
        "/wt/login",
        "/wt/v3/forecast",
    ]


# -- values that no grid has -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-1, -0.001, 5512.0, 1e300, None, "302", True, [302], {}])
def test_a_value_that_no_grid_has_is_left_out_and_said_once(
    server: GridServer, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    at = now()
    answer = fake.wt_forecast(at)
    answer["data"][0]["value"] = answer["data"][1]["value"] = wrong
    server.fault = lambda request: server.answers(answer) if "v3" in request.path else None
    source = PROVIDERS["WattTime"](server)
    until(lambda: source.forecast(at + 2 * fake.FIVE_MINUTES, at + fake.HOUR) is not None)
    assert value(source, at) is None
    source._due_s = -math.inf
    value(source, at)
    until(lambda: len(server.requests) == 3 and source._refreshing_in is None)
    (record,) = caplog.records
    assert "WattTime (region='CAISO_NORTH'): 2 of its 289 values cannot be carbon intensities" in record.message


def test_nan_spoils_the_whole_answer(server: GridServer) -> None:
    answer = fake.em_latest(now()) | {"carbonIntensity": math.nan}
    server.fault = lambda request: server.answers(answer) if "latest" in request.path else None
    source = PROVIDERS["Electricity Maps"](server, patience=QUICK)
    assert "its answer is not what is expected of it" in trouble(source, now())


def test_zero_is_taken_where_it_is_meant(server: GridServer) -> None:
    zero = fake.gb_national(now())
    for period in zero["data"]:
        period["intensity"]["actual"] = 0
    server.always(server.answers(zero))
    assert answered(PROVIDERS["GB Carbon Intensity"](server), now()).g_co2e_per_kwh == 0.0


def test_zero_is_refused_where_life_cycles_are_counted(server: GridServer) -> None:
    latest = fake.em_latest(now()) | {"carbonIntensity": 0}
    server.fault = lambda request: server.answers(latest if "latest" in request.path else {}, 200)
    said = trouble(PROVIDERS["Electricity Maps"](server, patience=QUICK), now())
    assert "there is no value in its answer that can be used" in said


@pytest.mark.parametrize("units", ["percentile", "g_co2_per_kwh", ""])
def test_watttime_in_another_unit_is_refused(server: GridServer, units: str) -> None:
    answer = fake.wt_forecast(now())
    answer["meta"]["units"] = units
    server.fault = lambda request: server.answers(answer) if "v3" in request.path else None
    assert "not in lbs_co2_per_mwh" in trouble(PROVIDERS["WattTime"](server), now())


def test_a_pound_per_mwh_is_converted_exactly(server: GridServer) -> None:
    answer = fake.wt_forecast(now())
    for point in answer["data"]:
        point["value"] = 1000.0
    server.fault = lambda request: server.answers(answer) if "v3" in request.path else None
    assert answered(PROVIDERS["WattTime"](server), now()).g_co2e_per_kwh == pytest.approx(453.59237, rel=1e-12)


def test_the_answer_for_another_place_is_refused(server: GridServer) -> None:
    server.fault = lambda request: server.answers(fake.em_latest(now(), "DE")) if "latest" in request.path else None
    assert "it answers for another zone" in trouble(PROVIDERS["Electricity Maps"](server), now())


@pytest.mark.parametrize("offset_h", [-11, -3, 0, 5.5, 14])
def test_a_time_means_the_same_in_every_zone(server: GridServer, offset_h: float) -> None:
    at = now()
    answer = fake.wt_forecast(at)
    offset = timedelta(hours=offset_h)
    for point in answer["data"]:
        there = datetime.fromisoformat(point["point_time"]) + offset
        sign, minutes = "-" if offset_h < 0 else "+", abs(round(offset_h * 60))
        point["point_time"] = f"{there:%Y-%m-%dT%H:%M:%S}{sign}{minutes // 60:02}:{minutes % 60:02}"
    server.fault = lambda request: server.answers(answer) if "v3" in request.path else None
    truth = g_co2e_per_kwh(fake.floor(at, fake.FIVE_MINUTES))
    assert answered(PROVIDERS["WattTime"](server), at).g_co2e_per_kwh == pytest.approx(truth)


def test_a_gap_is_bridged_by_the_last_value_and_only_so_long(server: GridServer) -> None:
    start = fake.floor(now(), fake.HOUR)
    server.fault = lambda request: server.answers({}, 404) if "forecast" in request.path else None
    source = PROVIDERS["Electricity Maps"](server)
    known = answered(source, start)
    late = source.at(start + fake.HOUR + KEEP)
    assert late.g_co2e_per_kwh == known.g_co2e_per_kwh
    assert late.source == f"{known.source}, last value, of {start:%Y-%m-%dT%H:%MZ}"
    with pytest.raises(NotKnown):
        source.at(start + fake.HOUR + KEEP + timedelta(seconds=1))


def test_a_clock_that_is_wrong_is_told_by_what_the_provider_knows(server: GridServer) -> None:
    source = PROVIDERS["GB Carbon Intensity"](server)
    answered(source, now())
    with pytest.raises(NotKnown, match=r"its values are from 20.* to 20.*, none for 19") as refused:
        source.at(datetime(1970, 1, 1, tzinfo=UTC))
    assert not refused.value.pending


# -- bad days ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_asking_again_would_not_change_is_asked_once_and_says_what_to_look_at(
    server: GridServer, name: str, status: int
) -> None:
    server.always(server.answers({"message": "no"}, status))
    source = PROVIDERS[name](server, patience=QUICK)
    said = trouble(source, now())
    assert len({request.path for request in server.requests}) == len(server.requests)
    credentials = {
        "Electricity Maps": "token= or ELECTRICITYMAPS_TOKEN",
        "WattTime": "WATTTIME_USER and WATTTIME_PASSWORD",
    }
    look_at = credentials.get(name, "base_url=") if status in (401, 403) else "base_url=" if name == "WattTime" else ""
    assert f"({status}); look at " in said
    assert look_at in said


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut", "half", "text", "list", "empty"])
def test_what_may_pass_is_asked_again_and_given_up(server: GridServer, name: str, fault: str) -> None:
    server.always(
        {
            "cut": server.cuts(fake.em_latest(now())),
            "half": server.answers(b'{"zone": "FR", "carbonInt'),
            "text": server.answers(b"<html>We are busy</html>"),
            "list": server.answers([1, 2]),
            "empty": server.answers(b""),
        }.get(fault)
        or server.answers({}, int(fault) if fault.isdigit() else 500)
    )
    source = PROVIDERS[name](server, patience=QUICK)
    trouble(source, now())
    assert len(server.requests) == QUICK.attempts * len({request.path for request in server.requests})


def test_it_recovers(server: GridServer, name: str) -> None:
    faults = iter([server.answers({}, 500), server.cuts({}), server.answers(b"", 502)])
    server.fault = lambda request: next(faults, None)
    source = PROVIDERS[name](server, patience=Patience(attempts=6, backoff_s=0.01))
    assert answered(source, now()).kind == source.kind


@pytest.mark.parametrize("silence", ["hangs", "drips"])
def test_silence_is_given_up(server: GridServer, name: str, silence: str) -> None:
    server.always(server.hangs() if silence == "hangs" else server.drips(0.02))
    source = PROVIDERS[name](server, patience=IMPATIENT)
    said = trouble(source, now())
    assert "it does not answer (ReadTimeout)" in said or "its answer takes longer than 0.4 s" in said


def test_nobody_there(name: str) -> None:
    with GridServer() as gone:
        pass
    assert "it cannot be reached (ConnectError)" in trouble(PROVIDERS[name](gone, patience=QUICK), now())


def test_it_waits_as_long_as_it_is_told_to(server: GridServer) -> None:
    asked_s: list[float] = []

    def busy(request: Any) -> Any:
        asked_s.append(time.monotonic())
        return server.answers({}, 429, {"retry-after": "1"}) if len(asked_s) == 1 else None

    server.fault = busy
    answered(GBCarbonIntensity(base_url=server.url("gb"), patience=Patience(backoff_s=0.01)), now())
    assert asked_s[1] - asked_s[0] >= 1.0


@pytest.mark.parametrize("form", ["3600", "date", "inf", "9" * 400])
def test_when_told_to_stay_away_for_long_it_does(server: GridServer, form: str) -> None:
    after = format_datetime(now() + timedelta(hours=1), usegmt=True) if form == "date" else form
    server.always(server.answers({}, 429, {"retry-after": after}))
    source = GBCarbonIntensity(base_url=server.url("gb"), patience=QUICK)
    assert "it answers 429" in trouble(source, now())
    if form == "inf":  # no length of time: as if nothing had been said
        assert len(server.requests) == QUICK.attempts
        return
    assert len(server.requests) == 1
    assert source._due_s - time.monotonic() > 3500


def test_it_is_not_tried_any_more_when_nobody_asks(server: GridServer) -> None:
    server.always(server.answers({}, 503))
    source = GBCarbonIntensity(base_url=server.url("gb"), patience=Patience(backoff_s=60.0, longest_wait_s=60.0))
    value(source, now())
    until(lambda: server.requests)
    source.rest()
    until(lambda: source._refreshing_in is None)


def test_one_that_hangs_leaves_the_thread_to_the_others(server: GridServer) -> None:
    crew = background.Background(hang_s=0.05)
    free, done = threading.Event(), threading.Event()
    crew.submit(free.wait)
    crew.submit(done.set)
    while not done.wait(0.01):
        crew.tend()
    free.set()


def test_a_job_that_exits_ends_nothing() -> None:
    crew, done = background.Background(), threading.Event()

    def leave() -> None:
        raise SystemExit

    crew.submit(leave)
    crew.submit(done.set)
    assert done.wait(PATIENCE_OF_TESTS_S)


def test_a_forked_child_asks_for_itself(server: GridServer) -> None:
    hang = server.hangs()
    parent = os.getpid()
    server.fault = lambda request: hang
    source = GBCarbonIntensity(base_url=server.url("gb"), patience=IMPATIENT)
    value(source, now())
    until(lambda: server.requests)  # the parent's question is open, and its thread is at it
    server.fault = None
    child = os.fork()
    if child == 0:
        try:
            answered(source, now())
            os._exit(0)
        finally:
            os._exit(1)
    assert os.getpid() == parent
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# -- the fallback ------------------------------------------------------------------------------------------------------


def test_where_it_is_silent_the_yearly_value_stands_in_and_is_said_once(
    server: GridServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.always(server.answers({}, 401))
    source = PROVIDERS[name](server, patience=QUICK)
    quiet = NoWait(source, YEARLY)
    assert quiet.at(now()) == YEARLY
    trouble(source, now())
    assert [quiet.at(now()) for _ in range(50)] == [YEARLY] * 50
    quiet.close()
    (record,) = caplog.records
    assert record.message.startswith(f"{source.name} ({source.place}): it does not let us in (401); look at ")
    assert ("an average and not a marginal one" in record.message) == (name == "WattTime")
    assert record.message.endswith("is used, 44 gCO2e/kWh (France 2024)")


def test_a_run_too_short_for_an_answer_says_what_it_used(server: GridServer, caplog: pytest.LogCaptureFixture) -> None:
    server.always(server.hangs())
    quiet = NoWait(PROVIDERS["Electricity Maps"](server, patience=IMPATIENT), YEARLY)
    assert quiet.at(now()) == YEARLY
    assert not caplog.records
    quiet.close()
    (record,) = caplog.records
    assert "it has not answered yet; meanwhile the yearly value is used, 44 gCO2e/kWh (France 2024)" in record.message


def test_the_nearest_yearly_value_is_known(server: GridServer) -> None:
    found = {name: make(server).region for name, make in PROVIDERS.items()}
    codes = {name: region.code if region is not None else None for name, region in found.items()}
    assert codes == {
        "Electricity Maps": "FR",
        "GB Carbon Intensity": "GB",
        "GB region": "GB",
        "WattTime": None,
        "Carbon Aware SDK": None,
        "Energi Data Service": "DK",
    }
    california = ElectricityMaps("US-CAL-CISO", token=fake.TOKEN).region
    assert california is not None
    assert california.code == "US"


# -- tokens ------------------------------------------------------------------------------------------------------------


def everything_said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{record.name} {record.getMessage()} {record.exc_text}" for record in caplog.records)


@pytest.mark.parametrize("fault", ["none", "401", "500", "cut", "redirect", "hang"])
@pytest.mark.parametrize("secretive", ["Electricity Maps", "WattTime"])
def test_no_token_is_in_a_log_a_repr_an_error_or_a_pickle(
    server: GridServer, secretive: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faults = {
        "401": server.answers({"error": f"{fake.TOKEN} {fake.PASSWORD} is wrong"}, 401),
        "500": server.answers({"error": f"{fake.TOKEN} {fake.BEARER}"}, 500),
        "cut": server.cuts({"token": fake.BEARER, "was": fake.TOKEN}),
        "redirect": server.answers({}, 302, {"location": f"http://localhost:1/{fake.TOKEN}/{fake.PASSWORD}"}),
        "hang": server.hangs(),
    }
    source = PROVIDERS[secretive](server, patience=IMPATIENT)
    if fault == "none":
        answered(source, now())
        said = source.at(now()).source
    else:
        server.always(faults[fault])
        said = trouble(source, now())
    quiet = NoWait(source, YEARLY)
    quiet.at(now())
    quiet.close()
    shown = [said, repr(source), str(source), repr(vars(source)), everything_said(caplog)]
    shown.append(pickle.dumps(source).decode("latin-1"))
    for secret in fake.SECRETS:
        assert not any(secret in text for text in shown), fault
    assert not [record for record in caplog.records if record.name.startswith("http")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("secretive", ["Electricity Maps", "WattTime"])
def test_no_token_follows_a_redirect(server: GridServer, secretive: str, status: int) -> None:
    with GridServer() as elsewhere:
        where = elsewhere.url("em/v3/carbon-intensity/latest", "localhost")
        redirect = server.answers({}, status, {"location": where})
        server.fault = lambda request: None if "login" in request.path else redirect
        said = trouble(PROVIDERS[secretive](server, patience=QUICK), now())
        assert elsewhere.requests == []
    assert f"it sends us elsewhere ({status}), which is not followed; look at base_url=" in said


def test_tokens_come_from_the_environment(server: GridServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELECTRICITYMAPS_TOKEN", fake.TOKEN)
    monkeypatch.setenv("WATTTIME_USER", fake.USER)
    monkeypatch.setenv("WATTTIME_PASSWORD", fake.PASSWORD)
    answered(ElectricityMaps("FR", base_url=server.url("em/v3")), now())
    answered(WattTime("CAISO_NORTH", base_url=server.url("wt")), now())


def test_a_copy_in_another_process_finds_its_token_in_the_environment(
    server: GridServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PROVIDERS[name](server)
    answered(source, now())
    monkeypatch.setenv("ELECTRICITYMAPS_TOKEN", fake.TOKEN)
    monkeypatch.setenv("WATTTIME_USER", fake.USER)
    monkeypatch.setenv("WATTTIME_PASSWORD", fake.PASSWORD)
    there = pickle.loads(pickle.dumps(source))
    assert (repr(there), there.kind, there.region) == (repr(source), source.kind, source.region)
    assert value(there, now()) is None
    assert answered(there, now()).source == source.at(now()).source


@pytest.mark.parametrize("secretive", ["Electricity Maps", "WattTime"])
def test_a_copy_without_a_token_says_which_variable_it_wants(server: GridServer, secretive: str) -> None:
    there = pickle.loads(pickle.dumps(PROVIDERS[secretive](server)))
    assert "; set ELECTRICITYMAPS_TOKEN" in trouble(there, now()) or "; set WATTTIME_USER" in trouble(there, now())
    assert server.requests == []


def test_a_copy_in_this_process_is_the_same(server: GridServer, name: str) -> None:
    source = PROVIDERS[name](server)
    assert copy.deepcopy({"intensity": source})["intensity"] is source
    assert copy.copy(source) is source


# -- without the extra -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["httpx", "tenacity"])
def test_without_what_it_needs_it_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import wattloop.grid; import wattloop.grid.providers"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr.strip().endswith(
        "ImportError: live carbon intensity needs httpx and tenacity: pip install 'wattloop[grid]'"
    )


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ElectricityMaps("FR"), "wants a token; give token= or set ELECTRICITYMAPS_TOKEN"),
        (lambda: ElectricityMaps(token="x"), "zone=None, lat=None, lon=None is not accepted"),
        (lambda: ElectricityMaps("FR", lat=1.0, lon=2.0, token="x"), "give zone=, or lat= and lon="),
        (
            lambda: ElectricityMaps(lat=91.0, lon=2.0, token="x"),
            "lat=91.0 is not accepted; give degrees from -90",
        ),
        (lambda: ElectricityMaps(lat=1.0, token="x"), "lon=None is not accepted; give degrees from -180 to 180"),
        (lambda: ElectricityMaps("", token="x"), "zone='' is not accepted"),
        (lambda: ElectricityMaps("FR", token="x\ny"), "token= is not accepted; give printable ASCII"),
        (lambda: ElectricityMaps("FR", token="schlüssel"), "token= is not accepted"),
        (lambda: ElectricityMaps("FR", token=""), "token= is not accepted"),
        (lambda: ElectricityMaps("FR", token="x", base_url="http://maps.test"), "a token is sent to maps.test, so"),
        (lambda: ElectricityMaps("FR", token="x", base_url="ftp://maps.test"), "base_url= is not accepted; give https"),
        (lambda: ElectricityMaps("FR", token="x", base_url="https://a:b@maps.test"), "without user, password"),
        (lambda: ElectricityMaps("FR", token="x", patience=5), "patience=5 is not accepted; give a Patience"),
        (lambda: GBCarbonIntensity("75001"), "postcode='75001' is not accepted"),
        (lambda: GBCarbonIntensity("OX1/../.."), "is not accepted"),
        (lambda: GBCarbonIntensity(base_url=None), "base_url= is not accepted"),
        (lambda: WattTime("CAISO_NORTH"), "WattTime wants user= and password=, or WATTTIME_USER and WATTTIME_PASSWORD"),
        (lambda: WattTime("CAISO_NORTH", user="x"), "WattTime wants user= and password="),
        (lambda: WattTime("", user="x", password="y"), "region='' is not accepted"),
        (lambda: WattTime("A", user="x", password="y", signal="signal-index"), "(an index is a percentile)"),
        (lambda: CarbonAwareSDK("http://sdk.test", "eastus"), "kind=None is not accepted; say what your server's data"),
        (lambda: CarbonAwareSDK("http://sdk.test", 5, kind="average"), "location=5 is not accepted"),
        (lambda: CarbonAwareSDK("sdk.test", "eastus", kind="average"), "base_url= is not accepted"),
        (lambda: EnergiDataService("DK3"), "area='DK3' is not accepted; give 'DK1' or 'DK2'"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(wrong: Callable[[], Live], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        wrong()
    assert message in str(refused.value)
    assert not any(secret in str(refused.value) for secret in ("x\ny", "schlüssel", "a:b"))
