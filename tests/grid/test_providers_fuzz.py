"""Whatever a provider answers, training sees a carbon intensity that a grid can have, or none."""

from __future__ import annotations

import copy
import json
import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes import grid_server as fake
from wattloop.grid.intensity import NotKnown
from wattloop.grid.providers import CarbonAwareSDK, ElectricityMaps, EnergiDataService, GBCarbonIntensity, WattTime
from wattloop.grid.providers.answer import NoAnswer
from wattloop.grid.providers.live import Live

ANSWERS = 100_000
NOW = datetime.now(UTC).replace(microsecond=0)
JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    -0.0,
    2500,
    2500.0001,
    1e6,
    1e308,
    -1e308,
    2**53,
    2**64,
    -(2**70),
    10**400,
    math.nan,
    math.inf,
    -math.inf,
    5e-324,
    "",
    "NaN",
    "302",
    "Infinity",
    "\x00",
    "\ud800",
    "é" * 300,
    [],
    {},
    [[]],
    [None],
    {"data": {"data": {"data": []}}},
    {"forecast": "x", "actual": -5},
    "2025-01-20",
    "2025-01-20T12:00",
    "2025-01-20T25:61Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2025-03-30T02:30:00",
    "2025-10-26T02:30:00+02:00",
    "2025-W04-1T12:00Z",
    "20250120T120000Z",
    "now",
    (NOW - timedelta(hours=3)).isoformat(),
    NOW.isoformat(),
    (NOW + timedelta(hours=1)).astimezone().isoformat(),
    (NOW + timedelta(days=400)).isoformat(),
    f"{NOW:%Y-%m-%dT%H:%MZ}",
]

Case = tuple[Callable[[], Live], dict[str, Any]]
CASES: dict[str, Case] = {
    "electricity maps": (
        lambda: ElectricityMaps("FR", token=fake.TOKEN),
        {"latest": fake.em_latest(NOW), "forecast": fake.em_forecast(NOW, hours=4)},
    ),
    "gb national": (lambda: GBCarbonIntensity(), {"intensity": {"data": fake.gb_periods(NOW, hours=2)}}),
    "gb regional": (
        lambda: GBCarbonIntensity("OX1"),
        {"regional": {"data": {"regionid": 12, "data": fake.gb_periods(NOW, regional=True, hours=2)}}},
    ),
    "watttime": (
        lambda: WattTime("CAISO_NORTH", user=fake.USER, password=fake.PASSWORD),
        {"login": {"token": fake.BEARER}, "v3/forecast": fake.wt_forecast(NOW, hours=1)},
    ),
    "carbon aware": (
        lambda: CarbonAwareSDK("http://sdk.test", "westeurope", kind="marginal"),
        {"bylocation": fake.sdk_emissions(NOW), "forecasts": fake.sdk_forecast(NOW, hours=1)},
    ),
    "energi data": (
        lambda: EnergiDataService("DK1"),
        {
            "CO2EmisProg": {"records": fake.dk_records(NOW, dataset="CO2EmisProg")["records"][-20:]},
            "CO2Emis": {"records": fake.dk_records(NOW)["records"][:8]},
        },
    ),
}


def paths(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        found += paths(value, (*at, key))
    return found


def mutate(tree: Any, known: list[tuple[Any, ...]], chance: random.Random) -> Any:
    path = chance.choice(known)
    if not path:
        return chance.choice([*JUNK, [tree], {"data": tree}, [tree, tree]])
    parent = tree
    try:
        for key in path[:-1]:
            parent = parent[key]
        how, key = chance.randrange(8), path[-1]
        if how == 0 and isinstance(parent, dict):
            parent[chance.choice(["data", "value", "zone", "Value", ""])] = parent.pop(key)
        elif how == 1:
            del parent[key]
        elif how == 2 and isinstance(parent, list):
            chance.shuffle(parent)
        elif how == 3 and isinstance(parent, list):
            parent.extend(parent[: chance.randrange(1, 20)])
        elif how == 4 and isinstance(parent[key], int | float):
            parent[key] *= chance.choice([-1, 1000, 1e-9, 1e305])
        elif how == 5 and isinstance(parent[key], str):
            parent[key] = parent[key][: chance.randrange(len(parent[key]) + 1)] + chance.choice(
                ["", "Z", "+25:00", "x"]
            )
        else:
            parent[key] = copy.deepcopy(chance.choice(JUNK))
    except (LookupError, TypeError, OverflowError):  # an earlier mutation was there before
        pass
    return tree


def garbled(text: bytes, chance: random.Random) -> bytes:
    how = chance.randrange(12)
    if how == 0:
        return text[: chance.randrange(len(text) + 1)]
    if how == 1 and text:
        at = chance.randrange(len(text))
        return text[:at] + chance.randbytes(1) + text[at + 1 :]
    if how == 2:
        return chance.choice([b"", b"null", b"<html>busy</html>", b"\xff\xfe", b"[" * 5000, b'{"data":' * 3000, b"NaN"])
    return text


class Answers:
    """Plays the client: one answer for each path, most of them mutated."""

    def __init__(self, valid: dict[str, Any], known: dict[str, list[tuple[Any, ...]]], chance: random.Random) -> None:
        self.valid, self.known, self.chance = valid, known, chance
        self.whole = {name: json.dumps(tree).encode() for name, tree in valid.items()}
        self.spoilt = 0

    def get(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        name = next(name for name in self.valid if name in path)
        if self.chance.random() < 0.05:
            raise NoAnswer("it does not answer", lasting=self.chance.random() < 0.5)
        tree = copy.deepcopy(self.valid[name])
        for _ in range(self.chance.choice([0, 1, 1, 2, 2, 3, 4])):
            tree = mutate(tree, self.known[name], self.chance)
        answer = garbled(json.dumps(tree).encode("utf-8", "replace"), self.chance)
        self.spoilt += answer != self.whole[name]
        return answer


@pytest.mark.parametrize("name", CASES)
def test_no_answer_brings_an_exception_or_an_impossible_value(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, valid = CASES[name]
    known = {part: paths(tree) for part, tree in valid.items()}
    chance = random.Random(f"{name} 1")
    answers = Answers(valid, known, chance)
    asked = [NOW + timedelta(minutes=minutes) for minutes in (-600, -70, 0, 4, 35, 61, 300, 900)]
    outcomes = {"value": 0, "none": 0, "no answer": 0}
    source = make()
    with caplog.at_level(logging.DEBUG):
        rounds = 0
        while answers.spoilt < ANSWERS / len(CASES):
            rounds += 1
            if rounds % 20 == 0:  # a fresh one, or one that remembers
                source = make()
            try:
                answer = source._fetch(answers, NOW)  # type: ignore[arg-type]
                source._mind(answer)
                source._take(answer)
            except NoAnswer as refused:
                assert not any(secret in str(refused) for secret in fake.SECRETS)
                outcomes["no answer"] += 1
            source._due_s = math.inf  # nothing is asked of the network here
            for time in asked:
                try:
                    intensity = source.at(time)
                except NotKnown:
                    outcomes["none"] += 1
                    continue
                outcomes["value"] += 1
                assert type(intensity.g_co2e_per_kwh) is float
                assert 0.0 <= intensity.g_co2e_per_kwh <= 2500.0
                assert intensity.kind == source.kind
            for _, intensity in source.forecast(NOW, NOW + timedelta(hours=6)) or ():
                assert 0.0 <= intensity.g_co2e_per_kwh <= 2500.0
    assert min(outcomes.values()) > 100, outcomes
    assert not any(secret in caplog.text for secret in fake.SECRETS)
