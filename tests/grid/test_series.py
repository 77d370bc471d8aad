"""A series of one's own: what holds when, where its gaps are, and what is refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattloop.grid import CarbonIntensity, Intensity, IntensitySeries, NotKnown

NOON = datetime(2025, 1, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def hourly(*values: Any, start: datetime = NOON) -> list[tuple[datetime, Any]]:
    return [(start + n * HOUR, value) for n, value in enumerate(values)]


def value(series: IntensitySeries, time: datetime) -> float | None:
    try:
        return series.at(time).g_co2e_per_kwh
    except NotKnown:
        return None


def written(folder: Path, text: str) -> Path:
    path = folder / "grid.csv"
    path.write_text(text, encoding="utf-8")
    return path


class PandasLike:
    """As much of a pandas Series as is used."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self.pairs = pairs

    def items(self) -> Iterator[tuple[Any, Any]]:
        return iter(self.pairs)


class Timestamp(datetime):
    """A kind of datetime of another library."""


def test_a_value_holds_until_the_next() -> None:
    series: CarbonIntensity = IntensitySeries(hourly(300, 250.5, 0), source="the plant's meter", kind="marginal")
    assert series.at(NOON) == Intensity(300.0, "the plant's meter", "marginal")
    assert series.at(NOON + HOUR - SECOND).g_co2e_per_kwh == 300.0
    assert series.at(NOON + HOUR).g_co2e_per_kwh == 250.5
    assert series.at(NOON + 2 * HOUR).g_co2e_per_kwh == 0.0


def test_the_last_value_holds_as_long_as_usual_and_before_the_first_is_none() -> None:
    series = IntensitySeries(hourly(300, 250, 200))
    assert value(series, NOON + 3 * HOUR - SECOND) == 200.0
    assert value(series, NOON + 3 * HOUR) is None
    assert value(series, NOON - SECOND) is None
    with pytest.raises(NotKnown, match="from 2025-01-20T12:00Z to 2025-01-20T15:00Z, none for 2026-01-01T00:00Z"):
        series.at(datetime(2026, 1, 1, tzinfo=UTC))


def test_one_missing_value_is_bridged_and_a_longer_gap_is_not() -> None:
    assert value(IntensitySeries(hourly(300, None, 200, 100)), NOON + 2 * HOUR - SECOND) == 300.0
    series = IntensitySeries(hourly(300, math.nan, None, 200, 100, 100))
    assert value(series, NOON + 2 * HOUR - SECOND) == 300.0
    assert value(series, NOON + 2 * HOUR) is None
    assert value(series, NOON + 3 * HOUR) == 200.0


def test_the_longest_time_a_value_holds_may_be_given() -> None:
    series = IntensitySeries([(NOON, 300)], longest=HOUR)
    assert value(series, NOON + HOUR - SECOND) == 300.0
    assert value(series, NOON + HOUR) is None
    assert value(IntensitySeries(hourly(300, 200), longest=HOUR / 2), NOON + HOUR * 0.75) is None


def test_pairs_mappings_and_pandas_give_the_same_in_any_order() -> None:
    pairs = hourly(300, 250, 200)
    many = [
        IntensitySeries(pairs),
        IntensitySeries(reversed(pairs)),
        IntensitySeries(iter([pairs[1], pairs[2], pairs[0]])),
        IntensitySeries(dict(pairs)),
        IntensitySeries(PandasLike([(Timestamp(*time.timetuple()[:6], tzinfo=UTC), value) for time, value in pairs])),
        IntensitySeries(PandasLike([(time.replace(tzinfo=None), value) for time, value in pairs]), tz="UTC"),
        IntensitySeries([(time.astimezone(timezone(timedelta(hours=-7))), value) for time, value in pairs]),
        IntensitySeries([*pairs, pairs[0]]),
    ]
    for series in many:
        assert series.forecast(NOON, NOON + 3 * HOUR) == many[0].forecast(NOON, NOON + 3 * HOUR)
        assert len(series) == 3
        assert type(series.forecast(NOON, NOON + HOUR)[0][0]) is datetime  # type: ignore[index]


def test_it_looks_ahead_up_to_the_first_gap() -> None:
    series = IntensitySeries(hourly(300, 250, None, None, None, 100, 100, 100, 100))
    ahead = series.forecast(NOON + HOUR / 2, NOON + 12 * HOUR)
    assert ahead is not None
    assert [(time, one.g_co2e_per_kwh) for time, one in ahead] == [(NOON + HOUR / 2, 300.0), (NOON + HOUR, 250.0)]
    assert series.forecast(NOON - HOUR, NOON + HOUR) is None
    assert series.forecast(NOON + 4 * HOUR, NOON + 5 * HOUR) is None


def test_it_survives_pickling() -> None:
    series = pickle.loads(pickle.dumps(IntensitySeries(hourly(300, 250))))
    assert value(series, NOON) == 300.0


# -- zones -------------------------------------------------------------------------------------------------------------


def test_a_time_without_a_zone_is_refused_unless_one_is_given() -> None:
    naive = [(time.replace(tzinfo=None), value) for time, value in hourly(300, 250)]
    with pytest.raises(ValueError, match=r"point 1: 2025-01-20T12:00:00 has no zone; give tz=, e.g. 'UTC'"):
        IntensitySeries(naive)
    assert value(IntensitySeries(naive, tz="Asia/Kolkata"), NOON - 5.5 * HOUR) == 300.0
    assert value(IntensitySeries(naive, tz=timezone(HOUR)), NOON - HOUR) == 300.0
    with pytest.raises(ValueError, match="tz='Mars' is not accepted; give the name of a zone"):
        IntensitySeries(naive, tz="Mars")


@pytest.mark.parametrize("backwards", [False, True])
def test_when_clocks_go_back_the_first_of_two_equal_times_is_the_earlier(tmp_path: Path, backwards: bool) -> None:
    zone = ZoneInfo("Europe/Paris")
    start = datetime(2025, 10, 25, 22, tzinfo=UTC)  # midnight there; at 01:00 UTC clocks go back
    rows = [f"{(start + n * HOUR / 2).astimezone(zone):%Y-%m-%d %H:%M},{n}\n" for n in range(12)]
    assert sum(row.startswith("2025-10-26 02:00") for row in rows) == 2
    text = "time,value\n" + "".join(reversed(rows) if backwards else rows)
    series = IntensitySeries.from_csv(written(tmp_path, text), tz="Europe/Paris")
    assert [value(series, start + n * HOUR / 2) for n in range(12)] == [float(n) for n in range(12)]


def test_when_clocks_go_forward_the_hour_that_is_not_is_refused(tmp_path: Path) -> None:
    zone = ZoneInfo("Europe/Paris")
    start = datetime(2025, 3, 29, 23, tzinfo=UTC)
    rows = [f"{(start + n * HOUR).astimezone(zone):%Y-%m-%d %H:%M},{n}\n" for n in range(5)]
    series = IntensitySeries.from_csv(written(tmp_path, "time,value\n" + "".join(rows)), tz="Europe/Paris")
    assert [value(series, start + n * HOUR) for n in range(5)] == [float(n) for n in range(5)]
    path = written(tmp_path, "time,value\n2025-03-30 01:00,1\n2025-03-30 02:30,2\n")
    with pytest.raises(ValueError, match=r"grid.csv, line 3: clocks in Europe/Paris never show 2025-03-30T02:30:00"):
        IntensitySeries.from_csv(path, tz="Europe/Paris")


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "column", "options"),
    [
        ("datetime_utc,gco2_per_kwh", 1, {}),
        ("Datetime (UTC),Zone,gCO₂eq/kWh (direct),gCO₂eq/kWh (life cycle)", 3, {"value": "gCO₂eq/kWh (life cycle)"}),
        ("when,how much", 1, {"time": "when", "value": "how much", "tz": "UTC"}),
        ("Time,Watts,Intensity", 2, {"tz": "UTC"}),
        ("\ufeffpoint_time,value", 1, {"tz": "UTC"}),
    ],
)
def test_columns_are_found_by_their_names(tmp_path: Path, header: str, column: int, options: dict[str, Any]) -> None:
    rows = []
    for time, amount in (("2025-01-20 12:00", "300"), ("2025-01-20 13:00", "250")):
        cells = [time, *["x"] * header.count(",")]
        cells[column] = amount
        rows.append(",".join(cells))
    path = written(tmp_path, "\n".join([header, *rows]))
    series = IntensitySeries.from_csv(path, **options)
    assert (value(series, NOON), value(series, NOON + HOUR)) == (300.0, 250.0)
    assert series.at(NOON).source == "grid.csv"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("time,value\n2025-01-20T12:00,1\n", {}, "line 2: 2025-01-20T12:00:00 has no zone"),
        ("time,value\nnoon,1\n", {}, "line 2: time 'noon' is not accepted; give ISO 8601"),
        (
            "time,value\n2025-01-20T12:00Z,many\n",
            {},
            "line 2: value 'many' is not accepted; give a number from",
        ),
        ("time,value\n2025-01-20T12:00Z,-1\n", {}, "line 2: value '-1' is not accepted"),
        ("time,value\n2025-01-20T12:00Z,2501\n", {}, "line 2: value '2501' is not accepted"),
        ("time,value\n2025-01-20T12:00Z,inf\n", {}, "line 2: value 'inf' is not accepted"),
        ("time,value\n2025-01-20T12:00Z\n2025-01-20T13:00Z,\n", {}, "there is no value"),
        ("time,value\n", {}, "there is no value"),
        ("", {}, "which column is the time? Give time=, one of none"),
        ("time,value\n2025-01-20T12:00Z,5\n", {}, "there is one value alone; say by longest="),
        ("time,value\n2025-01-20T12:00Z,5\n2025-01-20T12:00Z,6\n", {}, "line 3: 6 and 5 are both given for 2025"),
        (
            "time,co2 direct,co2 lifecycle\n",
            {},
            "which column is the value? Give value=, one of 'co2 direct', ",
        ),
        ("time,value\n", {"value": "co2"}, "value='co2' is not a column of"),
        (
            "time,value\n0001-01-01T00:00+14:00,5\n",
            {"longest": HOUR},
            "line 2: 0001-01-01T00:00:00+14:00 is not",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as refused:
        IntensitySeries.from_csv(written(tmp_path, text), **options)
    assert message in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="is not a CSV file in UTF-8"):
        IntensitySeries.from_csv(path)
    with pytest.raises(FileNotFoundError):
        IntensitySeries.from_csv(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        ([], {}, "there is no value"),
        ("2025", {}, "points='2025' is not accepted"),
        (5, {}, "points=5 is not accepted"),
        ([5], {}, "point 1: 5 is not accepted; give a pair of time and value"),
        ([("2025-01-20", 5)], {}, "point 1: time '2025-01-20' is not accepted; give a datetime"),
        ([(NOON, True)], {}, "point 1: value True is not accepted"),
        ([(NOON, "300")], {}, "point 1: value '300' is not accepted; give a number from 0 to 2500 g CO2e/kWh"),
        ([(NOON, [1])], {}, "point 1: value [1] is not accepted"),
        (hourly(1, 2), {"kind": "mean"}, "kind='mean' is not accepted; give 'average' or 'marginal'"),
        (hourly(1, 2), {"source": ""}, "source='' is not accepted"),
        (hourly(1, 2), {"longest": 5}, "longest=5 is not accepted; give a timedelta above 0"),
    ],
)
def test_a_wrong_argument_is_refused(points: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        IntensitySeries(points, **options)
    assert message in str(refused.value)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.one_of(st.none(), st.floats(0, 2500))), min_size=2, unique_by=lambda p: p[0]
    ),
    st.lists(st.integers(-50, 500), max_size=30),
)
def test_every_moment_has_the_last_value_before_it_or_none(
    points: list[tuple[int, float | None]], asked: list[int]
) -> None:
    minute = timedelta(minutes=1)
    known = sorted((at, amount) for at, amount in points if amount is not None)
    if len(known) < 2:
        return
    series = IntensitySeries([(NOON + at * minute, amount) for at, amount in points])
    steps = sorted(later - earlier for (earlier, _), (later, _) in pairwise(known))
    usual = steps[(len(steps) - 1) // 2]
    for at in asked:
        before = [(time, amount) for time, amount in known if time <= at]
        last = before[-1] if before else None
        holds = last is not None and at - last[0] < (usual if last == known[-1] else 2 * usual)
        assert value(series, NOON + at * minute) == (last[1] if last is not None and holds else None)
