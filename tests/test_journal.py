"""The record of a run: written through, and readable whatever ended it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattloop.budget import Budget
from wattloop.footprint import Totals
from wattloop.journal import End, Epoch, Journal, Record, Start, Stop, Tick, read

SPENT = Totals(gpu_j=100.0, cpu_j=20.0, modelled_j=5.0, uncertainty_j=1.5, kg_co2e=1e-5, duration_s=0.4)
START = Start(
    run_id="r1",
    version="0.1.0",
    framework="loop",
    host="a host",
    region="FR",
    g_co2e_per_kwh=56.0,
    intensity_source="a test",
    pue=1.1,
    budget=Budget(kg_co2e=2.0, on_exceed="warn"),
    spent_before=Totals(),
)
TICK = Tick(step=3, phase="train", totals=SPENT, g_co2e_per_kwh=56.0, channels={"GPU-aa": "counter"})
EPOCH = Epoch(
    epoch=1, step=10, spent=SPENT, totals=SPENT, uncertainty_kwh=0.0, metrics={"energy/kwh": 1.0, "forecast/kwh": None}
)
STOP = Stop(step=11, reason="budget of 2 kg CO2e spent: 2 kg CO2e, 35 kWh")
END = End(step=11, status="stopped", totals=SPENT, uncertainty_kwh=0.01, phases_j={"train": 100.0, "validation": 20.0})
ALL: tuple[Record, ...] = (START, TICK, EPOCH, TICK, STOP, END)


def written(folder: Path, *records: Record, run_id: str = "r1") -> Path:
    journal = Journal(folder, run_id)
    for record in records:
        journal.put(record)
    journal.flush()
    journal.close()
    return journal.path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_written_is_read_back_typed(tmp_path: Path) -> None:
    path = written(tmp_path / "logs" / "deep", *ALL)
    assert path == tmp_path / "logs" / "deep" / "wattloop-r1.jsonl"
    assert tuple(read(path)) == ALL


def test_lines_are_json_that_others_can_read(tmp_path: Path) -> None:
    lines = written(tmp_path, *ALL).read_bytes().splitlines()
    first = msgspec.json.decode(lines[0])
    assert (first["record"], first["format"], first["run_id"], first["budget"]["kg_co2e"]) == ("start", 1, "r1", 2.0)
    assert [msgspec.json.decode(line)["record"] for line in lines] == ["start", "tick", "epoch", "tick", "stop", "end"]


def test_records_say_when_in_universal_time(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    path = written(tmp_path, Stop(step=1, reason=""))
    (record,) = read(path)
    assert before <= record.time <= datetime.now(UTC)
    assert record.time.tzinfo is not None


def test_nothing_is_written_before_it_is_flushed_and_all_of_it_after(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r1")
    journal.put(START)
    journal.put(TICK)
    assert journal.path.read_bytes() == b""
    journal.flush()
    assert tuple(read(journal.path)) == (START, TICK)
    journal.close()


def test_a_further_part_of_a_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    written(tmp_path, START, TICK)
    assert tuple(read(written(tmp_path, START, END))) == (START, TICK, START, END)


KILLED = """
import os, signal, sys
from wattloop.journal import Journal, Stop
journal = Journal(sys.argv[1], "r1")
for step in range(1000):
    journal.put(Stop(step=step, reason="x"))
    journal.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_flushed_outlives_a_kill(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    records = [*read(tmp_path / "wattloop-r1.jsonl")]
    assert [record.step for record in records if isinstance(record, Stop)] == [*range(1000)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("whole"), *ALL).read_bytes()


@given(data=st.data())
@settings(deadline=None)
def test_cut_short_at_any_byte_it_yields_the_whole_lines_and_takes_more(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "wattloop-r1.jsonl"
    path.write_bytes(whole[:cut])
    left = ALL[: whole[:cut].count(b"\n")]
    assert tuple(read(path)) == left
    written(folder, START, END)
    assert tuple(read(path)) == (*left, START, END)


def test_a_line_that_is_no_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wattloop-r1.jsonl"
    path.write_bytes(b'{"record": "poem"}\n')
    with pytest.raises(msgspec.DecodeError):
        [*read(path)]
    with pytest.raises(FileNotFoundError):
        [*read(tmp_path / "missing.jsonl")]


texts = st.text(st.characters(exclude_categories=["Cs"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
totals = st.builds(Totals, *[finite] * 6)
moments = st.datetimes(timezones=st.just(UTC))
records = st.one_of(
    st.builds(Stop, time=moments, step=st.integers(0, 2**53), reason=texts),
    st.builds(
        Tick,
        time=moments,
        step=st.integers(0, 2**53),
        phase=texts,
        totals=totals,
        g_co2e_per_kwh=finite,
        channels=st.dictionaries(texts, texts),
    ),
    st.builds(
        Epoch,
        time=moments,
        totals=totals,
        uncertainty_kwh=finite,
        epoch=st.integers(0),
        step=st.integers(0),
        spent=totals,
        metrics=st.dictionaries(texts, st.one_of(st.none(), finite)),
    ),
)


@given(kept=st.lists(records, max_size=8))
@settings(deadline=None)
def test_any_values_come_back_as_they_went(tmp_path_factory: pytest.TempPathFactory, kept: list[Record]) -> None:
    assert [*read(written(tmp_path_factory.mktemp("any"), *kept))] == kept


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "logs", "r1")
    for record in ALL:
        journal.put(record)
        journal.flush()
    journal.close()
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith("no record of this run is kept: ")


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as if the disk were full then."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("into_second_line", [0, 20])
def test_a_full_disk_costs_one_warning_leaves_the_record_readable_and_nothing_out_once_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, into_second_line: int
) -> None:
    journal = Journal(tmp_path, "r1")
    journal.put(START)
    journal.flush()
    with disk_of(journal.path.stat().st_size + into_second_line):
        for record in ALL[1:]:
            journal.put(record)
            journal.flush()
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith("the record of this run waits until it can be written again: ")
    assert tuple(read(journal.path)) == (START,)
    journal.flush()
    journal.close()
    assert tuple(read(journal.path)) == ALL


def test_a_name_that_is_no_text_costs_its_line_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, START, Stop(step=1, reason=os.fsdecode(b"checkpoint in \xff")), END)
    assert tuple(read(path)) == (START, END)
    assert len(warnings(caplog)) == 1


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    path = written(
        tmp_path, Epoch(epoch=1, step=1, spent=SPENT, totals=SPENT, uncertainty_kwh=0.0, metrics={"forecast/kwh": None})
    )
    assert b'"forecast/kwh":null' in path.read_bytes()
    (record,) = read(path)
    assert isinstance(record, Epoch)
    assert not any(value is not None and math.isnan(value) for value in record.metrics.values())


def test_closing_twice_and_writing_after_it_does_no_harm(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r1")
    journal.close()
    journal.close()
    journal.put(END)
    journal.flush()
    assert journal.path.read_bytes() == b""


def test_two_threads_may_flush_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r1")
    barrier = threading.Barrier(4)
    faults = []

    def write(first: int) -> None:
        barrier.wait()
        try:
            for step in range(first, first + 250):
                journal.put(Stop(step=step, reason="x"))
                journal.flush()
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 1000, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert faults == []
    assert sorted(record.step for record in read(journal.path) if isinstance(record, Stop)) == [*range(1000)]
