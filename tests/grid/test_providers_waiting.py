"""A run that waits for clean hours by the word of a live provider, and what becomes of it when that is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.grid_server import GridServer, Respond
from fakes.nvml import FakeNvml
from wattloop import CleanHours, journal, track
from wattloop.grid.providers import GBCarbonIntensity, Patience
from wattloop.vigil import FIRST_ANSWER_S

QUICK = Patience(connect_s=1.0, read_s=1.0, attempts=1, backoff_s=0.05, longest_wait_s=0.1)
WATTS, DIRTY, CLEAN = 200.0, 500, 100
KNOWN_S, LOST_S = 3.0, 6.0
"""How long the provider's last value holds, and how long a run then still waits."""
PROMPT_S = 10.0


class OftenAsked(GBCarbonIntensity):
    """The provider, asked as often as a test has no time to wait."""

    refresh_s = 0.5


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GridServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with GridServer() as server:
        yield server


@pytest.fixture(autouse=True)
def gpu(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset(f"devices=1;profile=constant:{WATTS};refresh_s=0.005")


def period(value: int, seconds: float) -> Any:
    now = datetime.now(UTC)
    times = {"from": (now - timedelta(minutes=25)).isoformat(), "to": (now + timedelta(seconds=seconds)).isoformat()}
    return {"data": [{**times, "intensity": {"forecast": value, "actual": value}}]}


def train(server: GridServer, folder: Path, base_url: str | None = None, **policy: Any) -> list[journal.Record]:
    provider = OftenAsked(base_url=base_url or server.url("gb"), patience=QUICK)
    wait = CleanHours(**{"below": 250, "lost_minutes": LOST_S / 60, **policy})
    run = track(intensity=provider, wait=wait, interval_s=0.05, log_dir=folder, powercap_root=str(folder / "none"))
    with run:
        for _ in run.steps(range(10)):
            pass
    assert run.settle(20.0)
    (path,) = folder.glob("*.jsonl")
    return [*journal.read(path)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.levelno >= logging.WARNING and one.name == "wattloop"]


Lose = Callable[[GridServer, Any], Respond | None]
WAYS: dict[str, Lose] = {
    "hangs up": lambda server, last: server.cuts(last),
    "hangs": lambda server, last: server.hangs(),
    "error 500": lambda server, last: server.answers({"error": "no"}, 500),
    "says nothing new": lambda server, last: server.answers(last),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_whose_provider_is_lost_while_it_waits_goes_on_after_the_stated_time(
    server: GridServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    last = period(DIRTY, KNOWN_S)
    first, then = server.answers(last), WAYS[way](server, last)
    server.fault = lambda request: first if len(server.requests) == 1 else then
    begin_s = time.monotonic()
    records = train(server, tmp_path)
    assert time.monotonic() - begin_s < KNOWN_S + LOST_S + PROMPT_S
    (pause,) = [one for one in records if isinstance(one, journal.Pause)]
    (resume,) = [one for one in records if isinstance(one, journal.Resume)]
    assert pause.reason == "500 gCO2e/kWh is above 250"
    assert resume.reason == f"carbon intensity has not been known for {LOST_S / 60:g} min"
    assert resume.spent.waited_s > LOST_S - 1.0
    assert resume.spent.energy_j == pytest.approx(WATTS * resume.spent.waited_s, rel=0.05)
    lines = warnings(caplog)
    assert sum("GB Carbon Intensity" in line for line in lines) <= 1
    assert [line.split(" at step")[0] for line in lines if "training" in line] == ["training waits", "training goes on"]


def test_a_provider_that_is_not_there_keeps_no_run_from_its_first_step_for_long(
    server: GridServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begin_s = time.monotonic()
    records = train(server, tmp_path, base_url="http://127.0.0.1:9/gb")
    assert time.monotonic() - begin_s < FIRST_ANSWER_S + PROMPT_S
    assert not any(isinstance(one, journal.Pause) for one in records)
    assert sum("GB Carbon Intensity" in line for line in warnings(caplog)) == 1


def test_a_provider_that_is_slow_to_answer_first_is_waited_for(server: GridServer, tmp_path: Path) -> None:
    def slow(handler: Any) -> None:
        time.sleep(0.7)
        handler.tell(period(DIRTY if len(server.requests) == 1 else CLEAN, 600.0))

    server.fault = lambda request: slow
    records = train(server, tmp_path)
    (resume,) = [one for one in records if isinstance(one, journal.Resume)]
    assert resume.reason == "100 gCO2e/kWh"
