"""What is told of a run, against the fake's integral, the run itself, and the lines of its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.nvml import FakeNvml
from ranks.launch import Started, environment, told, torchrun
from reports.trained import (
    J_PER_KWH,
    PACKAGE,
    TESTS,
    WATTS,
    energy_j,
    finish,
    finished,
    lines,
    new,
    path_of,
    train,
    training,
    until,
)
from reports.ways import in_every_way
from test_journal import END, EPOCH, START, STOP, TICK, written
from wattloop.budget import Budget
from wattloop.clean_hours import CleanHours
from wattloop.embodied import Embodied
from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.journal import Journal, Pause, Record, Resume
from wattloop.loop import track
from wattloop.reading import Problem
from wattloop.reports.alive import being_written
from wattloop.reports.runs import KEPT_PROBLEMS, summarize
from wattloop.reports.summary import RunSummary

FR_G = 44.179
MODEL = "NVIDIA H100 80GB HBM3"


def summary(path: Path, **options: Any) -> RunSummary:
    run, problems = summarize(path, **options)
    assert problems == ()
    assert run is not None
    return run


# -- how runs end -----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_told_as_it_told_itself(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    run = new(tmp_path, pue=1.25)
    asked_s = time.monotonic()
    run.start(framework="test", total_epochs=2)
    began_s = time.monotonic()
    train(run, 20)
    run.epoch_end()
    train(run)
    ending_s = time.monotonic()
    finish(run)
    ended_s = time.monotonic()
    told = summary(path_of(run, tmp_path))
    row = run.metrics()
    assert told.status == "finished"
    assert (told.run_id, told.framework, told.sessions, told.steps, told.epochs) == (run.id, "test", 1, 25, 1)
    assert told.kwh == row["energy/kwh"]
    assert (told.gpu_kwh, told.cpu_kwh) == (row["energy/gpu_kwh"], row["energy/cpu_kwh"])
    assert told.measured_fraction == row["energy/measured_fraction"]
    assert told.kg_co2e == row["emissions/kg_co2e"]
    assert told.uncertainty_kwh == run.uncertainty_kwh
    assert told.duration_s == run.totals.duration_s
    doubt_j = told.uncertainty_kwh * J_PER_KWH
    assert fake_nvml.energy_j(began_s, ending_s) - doubt_j <= told.kwh * J_PER_KWH
    assert told.kwh * J_PER_KWH <= fake_nvml.energy_j(asked_s, ended_s) + doubt_j
    assert told.g_co2e_per_kwh == pytest.approx(FR_G)
    assert (told.regions, told.pues, told.pue) == (("FR",), (1.25,), 1.25)
    assert told.site_kwh == pytest.approx(1.25 * told.kwh)
    assert [(source.kind, source.kwh) for source in told.sources] == [("average", pytest.approx(told.kwh))]
    assert told.sources[0].name.startswith("France 2024: Ember")
    assert told.gpus == pytest.approx(1.0, abs=0.1)
    (channel,) = told.channels
    assert (channel.kind, channel.method, channel.kwh) == ("gpu", "counter", pytest.approx(told.kwh))
    assert (channel.model, told.gpu_models) == (MODEL, {MODEL: 1})
    assert sum(told.phases_kwh.values()) == pytest.approx(told.kwh)
    assert told.started is not None
    assert before <= told.started <= told.ended <= datetime.now(UTC)
    assert (told.budget, told.stop_reason, told.lost_kwh, told.kg_co2e_net, told.kg_co2e_embodied) == (
        None,
        "",
        0.0,
        None,
        None,
    )


@pytest.mark.parametrize("status", ["failed", "interrupted", "stopped"])
def test_another_end_is_told(fake_nvml: FakeNvml, tmp_path: Path, status: str) -> None:
    run = finished(tmp_path, status)
    assert summary(path_of(run, tmp_path)).status == status


def test_a_run_that_its_budget_stopped_says_why(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    budget = Budget(kwh=WATTS * 0.1 / J_PER_KWH)
    run = track(budget=budget, region="FR", interval_s=0.05, log_dir=tmp_path, powercap_root=str(tmp_path / "none"))
    with run:
        for _ in run.steps(range(10_000)):
            time.sleep(0.01)
    assert run.settle(60.0)
    told = summary(path_of(run, tmp_path))
    assert (told.status, told.budget) == ("stopped", budget)
    assert told.budget_used_fraction == run.metrics()["budget/used_fraction"] >= 1.0
    assert told.stop_reason.startswith("budget of ")
    assert f"training stops at step {run.steps_done}" in told.stop_reason


def test_net_and_embodied_are_told_apart(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    run = finished(tmp_path, net_share=0.25, embodied=Embodied(lifetime_years=0.5))
    told = summary(path_of(run, tmp_path))
    assert told.kg_co2e_net == run.kg_co2e_net == pytest.approx(0.75 * told.kg_co2e)
    assert told.kg_co2e_embodied == run.kg_co2e_embodied
    assert told.kg_co2e_embodied == pytest.approx(164.0 * told.duration_s / (0.5 * 365 * 86400), rel=0.05)
    assert told.net_share == 0.25


# -- running, and killed ----------------------------------------------------------------------------------------------


def test_a_run_is_running_until_it_is_killed_and_goes_on_in_a_second_session(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    with training(tmp_path) as first:
        first.ticked(4)
        living = summary(first.path)
        assert living.status == "running"
        assert 0 < living.kwh * J_PER_KWH <= WATTS * (time.monotonic() - first.began["asked_s"])
        assert living.phases_kwh == {}
        until_checkpoint(tmp_path)
        first.ticked(living.sessions + 5)
        first.kill()
    dead = summary(first.path)
    *_, last = lines(first.path)
    ticks = [line for line in lines(first.path) if line["record"] == "tick"]
    assert (dead.status, dead.sessions, dead.epochs) == ("killed", 1, 1)
    assert dead.gpu_models == living.gpu_models == {MODEL: 1}
    # The last line that says most is the total; an epoch is put down a moment later than it ends.
    assert dead.kwh * J_PER_KWH == pytest.approx(energy_j(ticks[-1]["totals"]))
    assert (dead.steps, dead.duration_s) == (ticks[-1]["step"], ticks[-1]["totals"]["duration_s"])
    assert dead.ended == datetime.fromisoformat(last["time"])
    lived_j = WATTS * (first.killed_s - first.began["asked_s"])
    stated_j = dead.uncertainty_kwh * J_PER_KWH
    assert dead.kwh * J_PER_KWH <= lived_j + ticks[-1]["uncertainty_kwh"] * J_PER_KWH
    # What may have been drawn after it is in the uncertainty: power x the longest time between two lines.
    (start,) = (line for line in lines(first.path) if line["record"] == "start")
    more_j = stated_j - ticks[-1]["uncertainty_kwh"] * J_PER_KWH
    assert more_j >= 0.8 * WATTS * start["interval_s"]
    assert dead.kwh * J_PER_KWH == pytest.approx(WATTS * dead.duration_s, abs=stated_j)

    with training(tmp_path) as second:
        second.ticked(3, session=2)
        assert second.path == first.path
        assert summary(second.path).status == "running"
        second.kill()
    again = summary(second.path)
    resumed = [line for line in lines(second.path) if line["record"] == "start"][1]
    assert (again.status, again.sessions) == ("killed", 2)
    assert again.kwh * J_PER_KWH > energy_j(resumed["spent_before"]) >= dead.kwh * J_PER_KWH - 0.001
    assert again.lost_kwh * J_PER_KWH == pytest.approx(energy_j(resumed["lost"]), rel=1e-3)
    assert again.lost_kwh > 0
    # Without the gap between the sessions.
    assert again.started == dead.started
    assert again.started is not None
    assert again.duration_s < (again.ended - again.started).total_seconds()


def until_checkpoint(folder: Path) -> None:
    until(lambda: (folder / "checkpoint.json").exists())


def test_a_run_that_is_resumed_and_finishes_is_told_as_a_whole(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    with training(tmp_path) as first:
        until_checkpoint(tmp_path)
        first.ticked(5)
        first.kill()
    run = new(tmp_path, pue=2.0)
    began_s = time.monotonic()
    run.start(framework="test", state=json.loads((tmp_path / "checkpoint.json").read_text()))
    train(run, 10)
    finish(run)
    mine_j = fake_nvml.energy_j(began_s, time.monotonic())
    told = summary(path_of(run, tmp_path))
    assert (told.status, told.sessions, told.steps) == ("finished", 2, run.steps_done)
    assert told.kwh == run.metrics()["energy/kwh"]
    assert told.kg_co2e == run.totals.kg_co2e
    assert told.lost_kwh == run.lost.kwh > 0
    assert told.phases_kwh["lost"] == pytest.approx(told.lost_kwh)
    starts = [line for line in lines(path_of(run, tmp_path)) if line["record"] == "start"]
    before_kwh = energy_j(starts[1]["spent_before"]) / J_PER_KWH
    own_kwh = told.kwh - before_kwh
    assert 0 < own_kwh * J_PER_KWH <= mine_j + told.uncertainty_kwh * J_PER_KWH
    # Each session's energy at its own PUE; the intensity was the same all the time.
    assert told.pues == (1.2, 2.0)
    assert told.site_kwh == pytest.approx(1.2 * before_kwh + 2.0 * own_kwh)
    assert told.pue == pytest.approx(told.site_kwh / told.kwh)
    assert told.g_co2e_per_kwh == pytest.approx(FR_G, rel=1e-4)


def test_reading_a_record_turns_no_writer_away(tmp_path: Path) -> None:
    path = written(tmp_path, START, *[TICK] * 50)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            summarize(path)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(500):
            Journal.existing(path).close()
    finally:
        done.set()
        for reader in readers:
            reader.join()


def test_who_writes_is_seen_without_a_lock(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r1")
    assert being_written(journal.path)
    journal.close()
    assert being_written(journal.path) is False
    assert being_written(journal.path, tmp_path / "no list of locks") is None
    assert being_written(tmp_path / "none") is None


def test_who_writes_is_seen_where_the_kernel_names_another_device(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r1")
    inode = journal.path.stat().st_ino
    locks = tmp_path / "locks"
    locks.write_text(f"1: FLOCK  ADVISORY  WRITE {os.getpid()} 00:ff:{inode} 0 EOF\n")
    assert being_written(journal.path, locks)
    locks.write_text(f"1: -> FLOCK  ADVISORY  WRITE {os.getpid()} 00:ff:{inode} 0 EOF\n")
    assert being_written(journal.path, locks) is False
    locks.write_text(f"1: FLOCK  ADVISORY  WRITE 0 00:ff:{inode} 0 EOF\n2: FLOCK\n\n")
    assert being_written(journal.path, locks) is False
    journal.close()


@pytest.mark.parametrize(("quiet_s", "status"), [(5.0, "running"), (59.0, "running"), (3600.0, "killed")])
def test_a_run_of_another_machine_lives_as_long_as_it_is_heard_of(tmp_path: Path, quiet_s: float, status: str) -> None:
    path = written(tmp_path, START, TICK)
    later = TICK.time + timedelta(seconds=quiet_s)
    assert summary(path, now=lambda: later, host="elsewhere").status == status
    assert summary(path, now=lambda: later, host=START.host).status == "killed"


# -- on what ----------------------------------------------------------------------------------------------------------


def test_a_session_on_other_gpus_of_a_model_has_no_more_of_them(tmp_path: Path) -> None:
    def session(number: int, **models: str) -> list[Record]:
        start = msgspec.structs.replace(START, session=number)
        return [start, msgspec.structs.replace(TICK, channels={}, models=models), TICK]

    path = written(tmp_path, *session(1, a="X", b="X"), *session(2, c="X", d="Y", e="Y"), *session(3, f="Y"))
    run = summary(path, host=START.host)
    assert run.gpu_models == {"X": 2, "Y": 2}
    assert {channel.name: channel.model for channel in run.channels if channel.model}.keys() == {*"abcdef"}


def test_a_record_of_before_models_were_told_names_none(tmp_path: Path) -> None:
    run = summary(written(tmp_path, START, TICK, END))
    assert run.gpu_models == {}
    assert [(channel.name, channel.model) for channel in run.channels] == [("GPU-aa", "")]


# -- many ranks -------------------------------------------------------------------------------------------------------


def test_a_job_of_two_ranks_is_told_as_one_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    worker = TESTS / "ranks" / "worker.py"
    with Started(torchrun(2, str(worker), str(tmp_path), "loop"), environment(), tmp_path / "output") as job:
        job.finish()
    ranks = told(tmp_path / "loop", 2)
    (path,) = (tmp_path / "loop").rglob("wattloop-*.jsonl")
    run = summary(path)
    assert (run.run_id, run.status, run.world_size) == (ranks[0]["run_id"], "stopped", 2)
    assert run.kwh * J_PER_KWH == pytest.approx(ranks[0]["energy_j"], rel=0.02)
    watts = [100.0, 200.0]
    least_j = sum(w * (r["step_ends_s"][-1] - r["after_start_s"]) for w, r in zip(watts, ranks, strict=True))
    most_j = sum(w * (r["end_s"] - r["before_start_s"]) for w, r in zip(watts, ranks, strict=True))
    doubt_j = run.uncertainty_kwh * J_PER_KWH
    assert least_j - doubt_j <= run.kwh * J_PER_KWH <= most_j + doubt_j
    assert run.gpus == pytest.approx(2.0, abs=0.2)
    assert len(run.hosts) == 1
    assert [channel.kind for channel in run.channels] == ["gpu", "gpu"]
    assert sum(channel.kwh or 0.0 for channel in run.channels) == pytest.approx(run.kwh)
    assert [channel.method for channel in run.channels] == ["counter", ""]
    assert [channel.model for channel in run.channels] == [MODEL, MODEL]
    assert run.gpu_models == {MODEL: 2}
    # A run that is killed has no end.
    assert max(len(line["models"]) for line in lines(path) if line.get("models")) == 2


# -- on whose word ----------------------------------------------------------------------------------------------------


@dataclass
class Changing:
    """Average intensity at first, marginal from a call on."""

    kind: Literal["average", "marginal"] = "average"
    instant = True

    def at(self, time: datetime) -> Intensity:
        return (
            Intensity(100.0, "first", "average") if self.kind == "average" else Intensity(700.0, "second", "marginal")
        )

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]] | None:
        return None


def test_average_and_marginal_are_told_apart_with_the_energy_of_each(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    source = Changing()
    run = new(tmp_path, intensity=source)
    run.start(framework="test")
    began_s = time.monotonic()
    train(run, 30)
    changed_s, source.kind = time.monotonic(), "marginal"
    train(run, 60)
    finish(run)
    told = summary(path_of(run, tmp_path))
    by_name = {each.name: each for each in told.sources}
    assert {name: each.kind for name, each in by_name.items()} == {"first": "average", "second": "marginal"}
    assert sum(each.kwh for each in told.sources) == pytest.approx(told.kwh)
    # Told to the line, of which there is one with the first reading after the change.
    first_kwh = fake_nvml.energy_j(began_s, changed_s) / J_PER_KWH
    changed = next(
        line for line in lines(path_of(run, tmp_path)) if (line.get("intensity") or {}).get("source") == "second"
    )
    before = [
        line for line in lines(path_of(run, tmp_path)) if line["record"] == "tick" and line["time"] < changed["time"]
    ]
    assert by_name["first"].kwh == pytest.approx(energy_j(before[-1]["totals"]) / J_PER_KWH, rel=1e-6)
    assert by_name["first"].kwh <= first_kwh + told.uncertainty_kwh
    # The mean is that of all the energy, priced reading by reading.
    assert told.g_co2e_per_kwh == pytest.approx(1000 * run.totals.kg_co2e / run.totals.kwh)
    assert 100.0 < (told.g_co2e_per_kwh or 0.0) < 700.0


class Grid:
    """A grid that the test makes clean."""

    instant = True
    value = 500.0

    def at(self, time: datetime) -> Intensity:
        return Intensity(self.value, "a test")

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]]:
        return [(start + timedelta(seconds=0.2 * k), Intensity(self.value, "a test")) for k in range(2)]


def test_a_run_that_waits_says_so_and_what_it_drew_meanwhile(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    grid, wait = Grid(), CleanHours(below=250.0, shortest_minutes=0.0)
    where = {"log_dir": tmp_path, "powercap_root": str(tmp_path / "none"), "interval_s": 0.05}
    run = track(intensity=grid, wait=wait, **where)
    waiting: list[RunSummary] = []

    def look() -> None:
        (path,) = until(lambda: [*tmp_path.glob("wattloop-*.jsonl")])
        until(lambda: any(line["record"] == "pause" for line in lines(path)))
        waiting.append(summary(path))
        time.sleep(0.5)
        grid.value = 100.0

    looks = threading.Thread(target=look)
    looks.start()
    with run:
        for _ in run.steps(range(20)):
            time.sleep(0.01)
    looks.join()
    assert run.settle(60.0)
    assert [(each.status, each.waiting, each.pauses) for each in waiting] == [("running", True, 1)]
    told = summary(path_of(run, tmp_path))
    assert (told.status, told.waiting, told.pauses) == ("finished", False, 1)
    assert told.waited_s == run.totals.waited_s >= 0.4
    assert told.waited_kwh == pytest.approx(told.phases_kwh["wait"], rel=0.02)
    assert told.waited_kwh * J_PER_KWH == pytest.approx(WATTS * told.waited_s, rel=0.1)
    assert told.waited_kwh < told.kwh


# -- records that tell less -------------------------------------------------------------------------------------------


def test_a_run_whose_first_line_is_lost_is_told_without_what_stood_there(tmp_path: Path) -> None:
    path = written(tmp_path, START, TICK, END)
    path.write_bytes(b"\0" * 40 + b"\n" + b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    run, problems = summarize(path)
    assert run is not None
    assert [problem.line for problem in problems] == [1]
    assert (run.run_id, run.status, run.kwh) == ("r1", "stopped", END.totals.kwh)
    assert (run.started, run.region, run.pue, run.site_kwh, run.g_co2e_per_kwh) == (None, "", None, None, None)


def test_what_a_newer_version_wrote_is_left_and_the_lines_before_it_told(tmp_path: Path) -> None:
    path = written(tmp_path, START, TICK, END)
    newer = {**msgspec.to_builtins(START), "format": 9, "version": "7.0"}
    path.write_bytes(path.read_bytes() + msgspec.json.encode(newer) + b"\n")
    run, (problem,) = summarize(path)
    assert run is not None
    assert (run.status, run.kwh) == ("stopped", END.totals.kwh)
    assert "written by wattloop 7.0" in problem.message


def test_an_end_counts_for_less_than_a_session_that_follows(tmp_path: Path) -> None:
    more = END.totals + Totals(gpu_j=50.0, kg_co2e=1e-6, duration_s=1.0)
    start = msgspec.structs.replace(START, session=2, spent_before=END.totals, net_share=0.5, lost=Totals(gpu_j=36.0))
    tick = msgspec.structs.replace(TICK, session=2, totals=more, lost_kwh=36.0 / J_PER_KWH)
    end = msgspec.structs.replace(END, kg_co2e_net=1.0, kg_co2e_embodied=2.0)
    run = summary(written(tmp_path, START, TICK, EPOCH, STOP, end, start, tick), host=START.host)
    assert (run.status, run.sessions, run.stop_reason) == ("killed", 2, "")
    assert run.kwh == more.kwh
    assert run.kg_co2e_net == 0.5 * more.kg_co2e
    assert run.kg_co2e_embodied is None
    assert run.lost_kwh == pytest.approx(1e-5)
    assert run.phases_kwh == {}
    assert run.channels[0].kwh is None


def test_a_session_without_a_place_ran_in_none_that_came_before(tmp_path: Path) -> None:
    second = msgspec.structs.replace(START, session=2, region="")
    told = summary(written(tmp_path, START, TICK, second, TICK))
    assert (told.region, told.regions) == ("", ("FR",))
    third = msgspec.structs.replace(START, session=3)
    again = summary(written(tmp_path / "again", START, second, third, END))
    assert (again.region, again.regions) == ("FR", ("FR",))


def test_a_session_killed_before_its_first_line_has_spent_what_it_began_with(tmp_path: Path) -> None:
    spent = Totals(gpu_j=77.0, kg_co2e=1e-6, duration_s=1.0)
    start = msgspec.structs.replace(START, session=2, spent_before=spent)
    run = summary(written(tmp_path, START, TICK, start), host=START.host)
    assert (run.status, run.kwh, run.steps) == ("killed", spent.kwh, TICK.step)


def test_the_last_forecast_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    names = ("kwh", "kwh_low", "kwh_high", "kg_co2e", "kg_co2e_low", "kg_co2e_high")
    ahead = {f"forecast/{name}": float(number) for number, name in enumerate(names)}
    told = msgspec.structs.replace(EPOCH, epoch=2, metrics=ahead)
    run = summary(written(tmp_path, START, EPOCH, told))
    assert run.forecast is not None
    assert msgspec.structs.astuple(run.forecast) == (2, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    (tmp_path / "unknown").mkdir()
    assert summary(written(tmp_path / "unknown", START, told, EPOCH)).forecast is None


def test_a_record_damaged_all_over_takes_no_more_memory_than_its_summary(tmp_path: Path) -> None:
    path = written(tmp_path, START, *[TICK] * 500)
    path.write_bytes(b"".join(line + b"{}\n" for line in path.read_bytes().splitlines(keepends=True)))
    run, problems = summarize(path)
    assert run is not None
    assert run.kwh == TICK.totals.kwh
    assert len(problems) == KEPT_PROBLEMS + 1
    assert str(problems[-1]) == f"{path}: {501 - KEPT_PROBLEMS} more places cannot be read"


def test_times_without_a_zone_and_at_the_ends_of_time_are_told(tmp_path: Path) -> None:
    first = msgspec.structs.replace(START, time=datetime(1, 1, 1))
    run = summary(written(tmp_path, first, msgspec.structs.replace(TICK, time=datetime(9999, 12, 31, 23, 59))))
    assert run.started == datetime(1, 1, 1, tzinfo=UTC)
    assert run.ended == datetime(9999, 12, 31, 23, 59, tzinfo=UTC)


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1e6)
TOTALS = st.builds(Totals, *[NUMBERS] * len(Totals.__struct_fields__))
RECORDS = st.one_of(
    st.builds(
        lambda **more: msgspec.structs.replace(START, **more),
        region=TEXTS,
        framework=TEXTS,
        intensity_source=TEXTS,
        hosts=st.lists(TEXTS, max_size=3).map(tuple),
        parent=TEXTS,
        spent_before=TOTALS,
        pue=NUMBERS,
        net_share=st.floats(0, 1),
        session=st.integers(1, 5),
        embodied=st.none() | st.just(Embodied()),
        time=st.datetimes(timezones=st.none() | st.just(UTC)),
    ),
    st.builds(
        lambda **more: msgspec.structs.replace(TICK, **more),
        totals=TOTALS,
        channels=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
        models=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
        intensity=st.none() | st.builds(Intensity, NUMBERS, TEXTS, st.sampled_from(["average", "marginal"])),
        step=st.integers(-10, 10**12),
        time=st.datetimes(timezones=st.just(UTC)),
    ),
    st.builds(lambda reason: msgspec.structs.replace(STOP, reason=reason), TEXTS),
    st.builds(Pause, step=st.integers(0, 9), reason=TEXTS),
    st.builds(Resume, step=st.integers(0, 9), reason=TEXTS, spent=TOTALS),
    st.builds(
        lambda **more: msgspec.structs.replace(END, **more),
        status=TEXTS,
        totals=TOTALS,
        phases_j=st.dictionaries(TEXTS, NUMBERS, max_size=3),
        channels_j=st.dictionaries(TEXTS, NUMBERS, max_size=3),
        kg_co2e_net=st.none() | NUMBERS,
    ),
    st.just(EPOCH),
)


@given(records=st.lists(RECORDS, max_size=6))
@settings(deadline=None, max_examples=150)
def test_whatever_a_record_says_it_is_told_in_every_way_and_obeyed_in_none(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    run, problems = summarize(written(folder, *records))
    assert all(isinstance(problem, Problem) for problem in problems)
    if run is None:
        assert not records
        return
    for text in in_every_way(run, folder):
        assert all(char == "\n" or char.isprintable() for char in text), repr(text)


def test_reading_a_record_imports_neither_a_terminal_nor_a_network() -> None:
    code = (
        "import sys, wattloop.reports.collection; print(sorted({'rich', 'typer', 'httpx', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
