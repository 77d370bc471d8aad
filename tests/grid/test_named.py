"""`wattloop schedule` by a live forecast, against a server that plays the providers' APIs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from fakes import grid_server as fake
from fakes.grid_server import GridServer, g_co2e_per_kwh
from test_cli import CODE, environment
from wattloop.commands import schedule
from wattloop.grid.providers import GBCarbonIntensity, Patience
from wattloop.grid.providers.named import PROVIDERS, await_forecast, named

TOKENS = {
    "ELECTRICITYMAPS_TOKEN": fake.TOKEN,
    "WATTTIME_USER": fake.USER,
    "WATTTIME_PASSWORD": fake.PASSWORD,
    "NO_PROXY": "127.0.0.1",
}
APIS = {
    "electricitymaps": ("em/v3", "FR", fake.HOUR),
    "gb": ("gb", "OX1 2JD", fake.HALF_HOUR),
    "watttime": ("wt", "CAISO_NORTH", fake.FIVE_MINUTES),
    "carbon-aware-sdk": ("sdk", "westeurope", fake.FIVE_MINUTES),
    "energidataservice": ("dk", "DK1", fake.FIVE_MINUTES),
}
IMPATIENT = Patience(connect_s=5.0, read_s=0.2, whole_s=0.4, attempts=1)


@pytest.fixture
def server() -> Iterator[GridServer]:
    with GridServer() as server:
        yield server
    end_s = time.monotonic() + 30.0
    while any(thread.name == "wattloop-grid" for thread in threading.enumerate()):
        assert time.monotonic() < end_s, "the thread in the background is left"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


def scheduled(*arguments: str, tokens: dict[str, str] = TOKENS) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, "schedule", "--hours", "2", "--within", "4", *arguments]
    variables = {**environment(), **dict.fromkeys(TOKENS, ""), **tokens}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def refused(*arguments: str, tokens: dict[str, str] = TOKENS) -> str:
    done = scheduled(*arguments, tokens=tokens)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wattloop: ") and done.stderr.count("\n") == 1
    assert not any(secret in done.stderr for secret in fake.SECRETS)
    return done.stderr


def asks(server: GridServer, name: str) -> list[str]:
    api, zone, _ = APIS[name]
    kind = ["--kind", "average"] if name == "carbon-aware-sdk" else []
    return ["--provider", name, "--zone", zone, "--url", server.url(api), *kind]


def test_the_command_line_offers_all_that_there_are() -> None:
    assert set(get_args(schedule.Provider)) == set(PROVIDERS) == set(APIS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_job_is_planned_by_what_the_provider_forecasts(server: GridServer, name: str) -> None:
    done = scheduled(*asks(server, name), "--json", "--watts", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    plans = json.loads(done.stdout)
    told = {datetime.fromisoformat(at): value for at, value in plans["intensities"]}
    begin, *later = sorted(told)
    assert begin <= datetime.fromisoformat(plans["now"]["start"]) <= datetime.now(UTC)
    assert len(later) >= timedelta(hours=5) / APIS[name][2]
    rounding = 0.5 if name == "gb" else 1e-6
    assert [told[at] for at in later] == pytest.approx([g_co2e_per_kwh(at) for at in later], abs=rounding)
    low, high = min(told.values()), max(told.values())
    assert 2 * low <= 1000 * plans["pause_and_resume"]["kg_co2e"] <= 1000 * plans["now"]["kg_co2e"] <= 2 * high


def test_great_britain_needs_no_zone_and_is_told_as_the_source(server: GridServer) -> None:
    done = scheduled("--provider", "gb", "--url", server.url("gb"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("GB Carbon Intensity, national, direct, average, ")


@pytest.mark.parametrize(
    ("name", "wanting"), [("electricitymaps", "ELECTRICITYMAPS_TOKEN"), ("watttime", "WATTTIME_USER and WATTTIME_PASS")]
)
def test_a_token_that_is_not_there_is_asked_for_by_name(server: GridServer, name: str, wanting: str) -> None:
    message = refused(*asks(server, name), tokens={})
    assert f"--provider '{name}' wants {wanting}" in message
    assert "in the environment" in message
    assert not server.requests


def test_a_wrong_token_is_told_at_once_and_not_shown(server: GridServer) -> None:
    begin_s = time.monotonic()
    message = refused(*asks(server, "electricitymaps"), tokens={**TOKENS, "ELECTRICITYMAPS_TOKEN": fake.BEARER})
    assert "no forecast came: Electricity Maps (--zone FR): it does not let us in (401)" in message
    assert len(server.requests) == 1
    assert time.monotonic() - begin_s < 15.0, "it waited for what could not come"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--provider", "watttime"], "--provider 'watttime' wants a zone; give a region of WattTime, e.g. CAISO_NORTH"),
        (
            ["--provider", "electricitymaps"],
            "--provider 'electricitymaps' wants a zone; give a zone of",
        ),
        (["--provider", "energidataservice", "--zone", "SE3"], "area='SE3' is not accepted; give 'DK1' or 'DK2'"),
        (["--provider", "carbon-aware-sdk", "--zone", "x"], "wants a url; give the address of your server"),
        (["--provider", "carbon-aware-sdk", "--zone", "x", "--url", "http://127.0.0.1"], "--kind None is not accepted"),
        (["--provider", "gb", "--kind", "average"], "--kind 'average' is not accepted; --provider 'gb' says itself"),
        (["--provider", "gb", "--url", "127.0.0.1"], "base_url= is not accepted; give https://HOST/PATH"),
        (["--provider", "watttime", "--zone", "x", "--url", "http://example.org"], "it must begin with https://"),
    ],
)
def test_what_a_provider_cannot_be_asked_for_is_refused_without_asking(arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_without_the_extra_it_says_how_to_get_it() -> None:
    code = f"import sys; sys.modules['httpx'] = None; {CODE}"
    command = [sys.executable, "-c", code, "schedule", "--hours", "2", "--provider", "gb"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "wattloop: live carbon intensity needs httpx and tenacity: pip install 'wattloop[grid]'\n"


# -- in this process, where one may be less patient -------------------------------------------------------------------


def no_forecast(source: Any, *arguments: Any) -> str:
    with pytest.raises(ValueError) as error:
        await_forecast(source, *arguments)
    return str(error.value)


def test_a_provider_that_hangs_is_waited_for_as_long_as_is_said(server: GridServer) -> None:
    server.always(server.hangs())
    source = GBCarbonIntensity(base_url=server.url("gb"), patience=Patience(read_s=3.0, whole_s=3.0, attempts=1))
    message = no_forecast(source, None, 0.2)
    assert message == "no forecast came, in 0.2 s: GB Carbon Intensity (postcode=None): it has not answered yet"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda server: server.hangs(), "it does not answer (ReadTimeout)"),
        (lambda server: server.answers({"error": "no"}, 503), "it answers 503"),
        (lambda server: server.answers(b"<html>"), "its answer"),
    ],
    ids=["hangs", "is down", "talks nonsense"],
)
def test_once_it_has_given_up_nobody_waits_longer(server: GridServer, bad: Callable[..., Any], why: str) -> None:
    server.always(bad(server))
    message = no_forecast(GBCarbonIntensity(base_url=server.url("gb"), patience=IMPATIENT), None, 3600.0)
    assert message.startswith("no forecast came: GB Carbon Intensity (postcode=None): ")
    assert why in message


def test_a_plan_without_forecasts_is_told_from_no_answer(server: GridServer) -> None:
    """Electricity Maps answers the present to every token, the forecast to some."""
    refuses = server.answers({"error": "not in your plan"}, 403)
    server.fault = lambda request: refuses if request.path.endswith("/forecast") else None
    message = no_forecast(named("electricitymaps", "FR", server.url("em/v3")))
    assert message == (
        "no forecast came: Electricity Maps (zone=FR) tells its present value alone; is a forecast in your plan?"
    )


def test_a_time_of_which_it_says_nothing_is_told_with_those_of_which_it_does(server: GridServer) -> None:
    source = named("gb", None, server.url("gb"))
    message = no_forecast(source, datetime.now(UTC) + timedelta(days=9))
    assert "GB Carbon Intensity (postcode=None): its values are from " in message
