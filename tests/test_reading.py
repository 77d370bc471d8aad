"""Reading records of which nothing is known: what is wrong is told in its place, and nothing is raised."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_journal import ALL, END, START, TICK, written
from wattloop.journal import LONGEST_LINE, Journal, Start
from wattloop.reading import PATIENCE_LINES, Problem, scan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path, *ALL)


def change(path: Path, edit: Callable[[list[bytes]], object]) -> list[object]:
    lines = path.read_bytes().splitlines(keepends=True)
    edit(lines)
    path.write_bytes(b"".join(lines))
    return [*scan(path)]


def test_a_sound_record_is_read_whole(path: Path) -> None:
    assert tuple(scan(path)) == ALL
    assert tuple(scan(str(path))) == ALL


def test_a_last_line_cut_short_is_left_out_without_a_word(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])
    assert tuple(scan(path)) == ALL[:-1]


def test_lines_that_are_no_records_are_named_and_the_others_read(path: Path) -> None:
    found = change(path, lambda lines: lines.__setitem__(slice(1, 3), [b"\0\0\0\n", b'{"record":"tick"}\n', b"\xff\n"]))
    problem = found[1]
    assert isinstance(problem, Problem)
    assert (problem.path, problem.line, problem.last_line) == (str(path), 2, 4)
    assert str(problem).startswith(f"{path}, lines 2 to 4: not a record: ")
    assert (found[0], *found[2:]) == (START, *ALL[3:])


@pytest.mark.parametrize("place", [0, 2, 5])
def test_one_damaged_line_costs_no_other(path: Path, place: int) -> None:
    found = change(path, lambda lines: lines.__setitem__(place, lines[place][: len(lines[place]) // 2] + b"\n"))
    (problem,) = (one for one in found if isinstance(one, Problem))
    assert (problem.line, problem.last_line) == (place + 1, place + 1)
    assert [one for one in found if one is not problem] == [*ALL[:place], *ALL[place + 1 :]]


@pytest.mark.parametrize("unreadable", [False, True], ids=["more fields", "other fields"])
def test_from_a_newer_format_on_it_says_which_version_wrote_it_and_what_to_do(path: Path, unreadable: bool) -> None:
    new = {**msgspec.to_builtins(START), "format": 3, "version": "4.5.6"}
    if unreadable:
        new = {"record": "start", "format": 3, "version": "4.5.6", "id": 7}
    found = change(path, lambda lines: lines.insert(2, msgspec.json.encode(new) + b"\n"))
    assert found[:2] == [START, TICK]
    (problem,) = found[2:]
    assert isinstance(problem, Problem)
    assert problem.line == 3
    assert "written by wattloop 4.5.6 in format 3" in problem.message
    assert "update wattloop" in problem.message


def test_a_line_of_an_older_version_lacks_what_there_was_not(path: Path) -> None:
    old = {key: value for key, value in msgspec.to_builtins(START).items() if key not in ("lost", "session", "parent")}
    path.write_bytes(msgspec.json.encode(old) + b"\n")
    (start,) = scan(path)
    assert isinstance(start, Start)
    assert start.session == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty: no record was written yet"),
        (b'{"record":"sta', "empty: no record was written yet"),
        (b"step,loss\n1,0.5\n2,0.4\n", "not the record of a run"),
        (b"[]\n\n", "not the record of a run"),
        (os.urandom(4096).replace(b"\n", b"") + b"\n", "not the record of a run"),
        (b"x\n" * (10 * PATIENCE_LINES), "not the record of a run"),
    ],
)
def test_what_is_no_record_at_all_is_said_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wattloop-r1.jsonl"
    path.write_bytes(content)
    assert [*scan(path)] == [Problem(str(path), 0, 0, message)]


def test_a_path_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("none", "No such file or directory"), (".", "not a file"), ("pipe", "not a file")):
        (problem,) = scan(tmp_path / name)
        assert isinstance(problem, Problem)
        assert problem.message == message
        assert str(problem) == f"{tmp_path / name}: {message}"


def test_a_line_without_end_takes_no_memory(path: Path) -> None:
    with path.open("ab") as file:
        for _ in range(20):
            file.write(b"x" * LONGEST_LINE)
        file.write(b"\n" + msgspec.json.encode(END) + b"\n")
    tracemalloc.start()
    try:
        found = [*scan(path)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[:-2] == [*ALL]
    assert found[-1] == END
    assert str(found[-2]).endswith("line 7: not a record: too long")
    assert peak < 6 * LONGEST_LINE


def test_a_long_record_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    peaks = []
    for ticks in (100, 20_000):
        journal = Journal(tmp_path, str(ticks))
        journal.put(START)
        for number in range(ticks):
            journal.put(TICK)
            if number % 1000 == 0:
                journal.flush()
        journal.flush()
        journal.close()
        tracemalloc.start()
        assert sum(1 for _ in scan(journal.path)) == ticks + 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


@given(content=st.binary(max_size=4096) | st.text().map(str.encode))
@settings(deadline=None)
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "wattloop-r1.jsonl"
    path.write_bytes(content)
    assert all(isinstance(found, Problem) for found in scan(path))


@given(data=st.data())
@settings(deadline=None)
def test_damage_anywhere_raises_nothing_and_costs_the_lines_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = written(tmp_path_factory.mktemp("damage"), *ALL)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=300).filter(lambda some: b"\n" not in some))
    hit = range(content[:at].count(b"\n"), content[: at + len(damage)].count(b"\n") + 1)
    content[at : at + len(damage)] = damage
    path.write_bytes(content)
    kept = [found for found in scan(path) if not isinstance(found, Problem)]
    for number, record in enumerate(ALL):
        assert number in hit or record in kept
