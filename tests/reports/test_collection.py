"""Many records: all are found, each run is told once, and nothing is counted twice."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from pathlib import Path

import msgspec
import pytest

from fakes.nvml import FakeNvml
from reports.trained import finish, finished, new, path_of, train
from test_journal import END, START, TICK, written
from wattloop.embodied import Embodied
from wattloop.footprint import Totals
from wattloop.journal import Start
from wattloop.reports.collection import Report, collect, find


def collected(*paths: Path) -> Report:
    return collect(*find(paths))


def start(run_id: str, **more: object) -> Start:
    return msgspec.structs.replace(START, run_id=run_id, **more)


def test_a_folder_is_searched_to_the_bottom_and_nothing_is_found_twice(tmp_path: Path) -> None:
    deep = written(tmp_path / "a" / "b", start("deep"), END, run_id="deep")
    top = written(tmp_path, start("top"), END, run_id="top")
    (tmp_path / "wattloop-notes.txt").write_text("no record")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    os.symlink(tmp_path, tmp_path / "a" / "round")
    os.symlink(top, tmp_path / "wattloop-link.jsonl")
    paths, problems = find([tmp_path, deep, str(tmp_path / "a")])
    assert problems == []
    assert sorted(os.path.realpath(path) for path in paths) == sorted([str(deep), str(top)])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    report = collected(tmp_path, tmp_path / "none")
    assert report.runs == ()
    assert [str(problem) for problem in report.problems] == [
        f"{tmp_path}: no record of a run (wattloop-*.jsonl) is in this folder",
        f"{tmp_path / 'none'}: No such file or directory",
    ]


def test_bad_records_cost_no_good_one(tmp_path: Path) -> None:
    written(tmp_path, start("good"), END, run_id="good")
    bad = {"empty": b"", "foreign": b"step,loss\n1,2\n", "noise": b"\xff\0" * 100 + b"\n"}
    newer = {**msgspec.to_builtins(START), "format": 9, "version": "7.0"}
    bad["newer"] = json.dumps(newer, default=str).encode() + b"\n"
    for name, content in bad.items():
        (tmp_path / f"wattloop-{name}.jsonl").write_bytes(content)
    report = collected(tmp_path)
    assert [run.run_id for run in report.runs] == ["good"]
    assert {Path(problem.path).name for problem in report.problems} == {f"wattloop-{name}.jsonl" for name in bad}


def test_runs_add_up(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    runs = [finished(tmp_path, net_share=0.5, pue=1.5), finished(tmp_path, region="DE")]
    report = collected(tmp_path)
    total = report.total
    assert [run.run_id for run in report.runs] == [run.id for run in runs]
    assert total.runs == 2
    assert total.kwh == pytest.approx(sum(run.totals.kwh for run in runs))
    assert total.kg_co2e == pytest.approx(sum(run.totals.kg_co2e for run in runs))
    assert total.kg_co2e_net == pytest.approx(0.5 * runs[0].totals.kg_co2e + runs[1].totals.kg_co2e)
    assert total.uncertainty_kwh == pytest.approx(sum(run.uncertainty_kwh for run in runs))
    assert total.duration_s == pytest.approx(sum(run.totals.duration_s for run in runs))
    assert total.gpu_s == pytest.approx(sum(run.totals.gpu_s for run in runs))
    site_kwh = 1.5 * runs[0].totals.kwh + runs[1].totals.kwh
    assert total.g_co2e_per_kwh == pytest.approx(1000 * total.kg_co2e / site_kwh)
    assert total.measured_fraction == pytest.approx(1.0)
    assert total.kg_co2e_embodied is None


def test_what_a_run_took_over_from_another_is_counted_once(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    first = new(tmp_path, embodied=Embodied())
    first.start(framework="test")
    train(first)
    state = first.state_dict()
    train(first, 20)
    finish(first)
    second = new(tmp_path, embodied=Embodied())
    second.start(framework="test", state=state)
    train(second)
    finish(second)
    assert second.id != first.id
    report = collected(tmp_path)
    child = next(run for run in report.runs if run.run_id == second.id)
    checkpoint = msgspec.convert(state["totals"], Totals)
    assert (child.parent, child.inherited) == (first.id, checkpoint)
    own_kwh = second.totals.kwh - checkpoint.kwh
    assert report.total.kwh == pytest.approx(first.totals.kwh + own_kwh)
    assert report.total.gpu_kwh == pytest.approx(first.totals.kwh + own_kwh)
    assert report.total.kg_co2e == pytest.approx(first.totals.kg_co2e + second.totals.kg_co2e - checkpoint.kg_co2e)
    spent_s = first.totals.gpu_s + second.totals.gpu_s - checkpoint.gpu_s
    assert report.total.gpu_s == pytest.approx(spent_s)
    assert report.total.kg_co2e_embodied == pytest.approx(Embodied().kg_co2e(spent_s, spent_s), rel=0.02)
    # Alone, it has spent what its account says.
    assert collected(path_of(second, tmp_path)).total.kwh == pytest.approx(second.totals.kwh)


def test_a_run_in_several_files_is_told_once_from_the_one_that_tells_most(tmp_path: Path) -> None:
    more = END.totals + Totals(gpu_j=50.0)
    written(tmp_path / "old", start("r1"), TICK, END)
    later = start("r1", session=2, spent_before=END.totals)
    end = msgspec.structs.replace(END, totals=more, session=2)
    kept = written(tmp_path / "new", later, end)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "wattloop-r1.jsonl").write_bytes(kept.read_bytes())
    report = collected(tmp_path)
    (run,) = report.runs
    assert (run.sessions, run.kwh, run.started) == (2, more.kwh, START.time)
    assert report.total.kwh == more.kwh
    assert report.problems == ()
    (note,) = report.notes
    assert note.startswith("3 files are of run r1, which is told once, from ")


def test_a_run_that_goes_on_is_not_told_from_a_copy_that_nobody_writes(tmp_path: Path) -> None:
    path = written(tmp_path / "logs", start("r1", host=platform.node()), TICK, run_id="r1")
    copy = tmp_path / "a copy" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    with path.open("ab") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        report = collect([str(copy), str(path)])
    assert [(run.status, run.path) for run in report.runs] == [("running", str(path))]
