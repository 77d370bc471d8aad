"""What a run spent after its checkpoint: counted once, whatever became of the run and of its record."""

from __future__ import annotations

import copy
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.nvml import FakeNvml
from wattloop import journal
from wattloop.budget import Budget
from wattloop.footprint import Totals
from wattloop.journal import End, Journal, Start, Tick
from wattloop.recovery import reached
from wattloop.run import Run
from wattloop.session import ABANDONED

J_PER_KWH = 3.6e6
PATIENCE_S = 20.0
"""How long a record may take to be completed, on however slow a machine."""

NewRun = Callable[..., Run]


@pytest.fixture
def new(fake_nvml: FakeNvml, tmp_path: Path) -> NewRun:
    """Make a run that measures the fake GPU and nothing else, and has its record in a folder ``logs``."""

    def new(**options: Any) -> Run:
        given = {"powercap_root": str(tmp_path / "none"), "region": "FR", "interval_s": 0.05}
        return Run(**{**given, "log_dir": tmp_path / "logs", **options})

    return new


def train(run: Run, steps: int = 5) -> None:
    run.enter_phase("train")
    for _ in range(steps):
        time.sleep(0.01)
        run.step()
    run.refresh()


def finish(run: Run, status: str = "finished") -> None:
    """End a run, and wait until its record is complete."""
    run.finish(status)
    assert run.settle(PATIENCE_S)


def begun(new: NewRun, **options: Any) -> tuple[Run, dict[str, Any]]:
    """Train, save a checkpoint, and train on; return the run, still going, and the checkpoint."""
    run = new(**options)
    run.start(framework="test")
    train(run)
    run.epoch_end()
    state = json.loads(json.dumps(run.state_dict()))
    train(run)
    return run, state


def path_of(run: Run, folder: Path) -> Path:
    return folder / "logs" / f"wattloop-{run.id}.jsonl"


def kill(run: Run, folder: Path) -> None:
    """Leave what a kill leaves: a record without an end, up to the last tick, which here is the last reading."""
    finish(run)
    path = path_of(run, folder)
    *lines, last = path.read_bytes().splitlines(keepends=True)
    end = msgspec.json.decode(last, type=End)
    tick = Tick(
        step=end.step,
        phase="train",
        totals=end.totals,
        g_co2e_per_kwh=56.0,
        uncertainty_kwh=end.uncertainty_kwh,
        session=end.session,
    )
    path.write_bytes(b"".join(lines) + msgspec.json.encode(tick) + b"\n")


def before(run: Run, state: dict[str, Any]) -> None:
    run.load_state_dict(state)
    run.start(framework="test")


def after(run: Run, state: dict[str, Any]) -> None:
    run.start(framework="test")
    run.load_state_dict(state)


def at_once(run: Run, state: dict[str, Any]) -> None:
    run.start(framework="test", state=state)


def records(path: Path, kind: type) -> list[Any]:
    return [record for record in journal.read(path) if isinstance(record, kind)]


def said(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def own_j(run: Run) -> float:
    """Return what the session spent, in joules."""
    assert run._footprint is not None
    return run._footprint.totals.energy_j


def spent_j(state: dict[str, Any]) -> float:
    return msgspec.convert(state["totals"], Totals).energy_j


# -- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [before, after, at_once])
def test_what_was_spent_after_the_checkpoint_is_spent_and_lost(
    new: NewRun, tmp_path: Path, resume: Callable[[Run, dict[str, Any]], None]
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    second = new()
    resume(second, state)
    train(second)
    row = second.epoch_end()
    finish(second)

    assert second.id == first.id
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert second.lost.energy_j == pytest.approx(first.totals.energy_j - spent_j(state))
    assert second.lost.energy_j >= 300 * 0.05 * 0.9
    assert second.phases_j["lost"] == pytest.approx(second.lost.energy_j)
    assert sum(second.phases_j.values()) == pytest.approx(second.totals.energy_j)
    # Lost work is no part of the epoch that is done again.
    assert 300 * 0.05 * 0.9 <= row["energy/epoch_kwh"] * J_PER_KWH < own_j(second) + second.lost.energy_j / 2
    share = f"{second.lost.kwh / second.totals.kwh:.1%} of it lost work"
    assert share in second.summary()

    assert [*(tmp_path / "logs").iterdir()] == [path_of(first, tmp_path)]
    starts = records(path_of(first, tmp_path), Start)
    assert [start.session for start in starts] == [1, 2]
    assert starts[1].lost.energy_j == pytest.approx(second.lost.energy_j)
    assert starts[1].spent_before.energy_j == pytest.approx(first.totals.energy_j)
    assert records(path_of(first, tmp_path), End)[-1].lost == second.lost


def test_from_the_same_old_checkpoint_twice_all_is_counted_once(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    second = new()
    second.start(framework="test", state=state)
    train(second)
    kill(second, tmp_path)
    third = new()
    third.start(framework="test", state=state)
    finish(third)
    assert third.totals.energy_j == pytest.approx(second.totals.energy_j + own_j(third))
    assert third.lost.energy_j == pytest.approx(second.totals.energy_j - spent_j(state))


def test_a_later_checkpoint_keeps_what_was_lost_before_it(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    second = new()
    second.start(framework="test", state=state)
    train(second)
    later = second.state_dict()
    kill(second, tmp_path)
    third = new()
    third.start(framework="test", state=later)
    finish(third)
    lost_j = first.totals.energy_j - spent_j(state) + second.totals.energy_j - spent_j(later)
    assert third.lost.energy_j == pytest.approx(lost_j)
    assert third.lost.energy_j < third.totals.energy_j


@pytest.mark.parametrize("status", ["stopped", "failed", "interrupted"])
def test_a_run_that_did_not_finish_goes_on(new: NewRun, tmp_path: Path, status: str) -> None:
    first, state = begun(new)
    finish(first, status)
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.id == first.id
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert second.lost.energy_j > 0


def test_from_an_older_checkpoint_of_a_finished_run_another_begins(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    finish(first)
    before_bytes = path_of(first, tmp_path).read_bytes()
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.id != first.id
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))
    assert second.lost == Totals()
    assert path_of(first, tmp_path).read_bytes() == before_bytes
    (start,) = records(path_of(second, tmp_path), Start)
    assert start.parent == first.id
    # Its own checkpoints are its own, and the first one's are counted already.
    third = new()
    third.load_state_dict(second.state_dict())
    third.load_state_dict(state)
    assert third.totals == second.totals


@pytest.mark.parametrize("status", ["finished", "stopped"])
def test_from_its_last_checkpoint_a_run_that_ended_goes_on_and_nothing_is_lost(
    new: NewRun, tmp_path: Path, status: str
) -> None:
    first, _ = begun(new)
    state = first.state_dict()
    time.sleep(0.02)
    finish(first, status)
    assert first.totals.energy_j > spent_j(state)
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.id == first.id
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert second.lost == Totals()


def test_a_run_that_goes_back_to_its_own_checkpoint_loses_what_it_did_since(new: NewRun, tmp_path: Path) -> None:
    run, state = begun(new)
    finish(run, "failed")
    lost_j = run.totals.energy_j - spent_j(state)
    epochs = run.epochs_done
    run.start(framework="test", state=state)
    assert run.lost.energy_j == pytest.approx(lost_j)
    train(run)
    now = run.state_dict()
    train(run)
    run.load_state_dict(now)
    finish(run)
    assert run.epochs_done == epochs == 1
    assert run.lost.energy_j > lost_j + 300 * 0.05 * 0.9
    (path,) = (tmp_path / "logs").iterdir()
    assert records(path, End)[-1].lost == run.lost


@pytest.mark.parametrize("ended", [False, True])
def test_a_run_that_goes_back_to_the_step_it_is_at_loses_nothing(new: NewRun, ended: bool) -> None:
    run, _ = begun(new)
    state = run.state_dict()
    time.sleep(0.02)
    if ended:
        finish(run)
        run.start(framework="test", state=state)
    else:
        run.load_state_dict(state)
    finish(run)
    assert run.lost == Totals()


def test_a_run_that_begins_again_goes_on_in_its_record_even_if_its_end_is_missing(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = begun(new)
    for _ in range(2):
        kill(run, tmp_path)
        run.start(framework="test")
    path_of(run, tmp_path).write_bytes(b"")
    finish(run)
    path_of(run, tmp_path).write_bytes(b"")
    run.start(framework="test")
    finish(run)
    assert said(caplog) == []
    assert [*(tmp_path / "logs").iterdir()] == [path_of(run, tmp_path)]


def test_a_copy_that_goes_on_first_has_the_record_and_the_other_gets_one_of_its_own(
    new: NewRun, tmp_path: Path
) -> None:
    run, _ = begun(new)
    finish(run)
    other = copy.deepcopy(run)
    for one in (other, run):
        one.start(framework="test")
        train(one)
        finish(one)
    assert other.id != run.id
    assert run.totals.energy_j == pytest.approx(own_j(run) + other.totals.energy_j - own_j(other))
    assert [start.session for start in records(path_of(other, tmp_path), Start)] == [1, 2]
    (start,) = records(path_of(run, tmp_path), Start)
    assert start.parent == other.id


def test_energy_after_the_last_line_is_part_of_the_uncertainty(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    # 300 W for as long as there may be between two lines: five readings and one more.
    assert second.uncertainty_kwh * J_PER_KWH >= 300 * 0.3 * 0.9 + first.uncertainty_kwh * J_PER_KWH
    assert records(path_of(first, tmp_path), Start)[1].uncertainty_kwh > first.uncertainty_kwh


# -- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [before, after, at_once])
def test_lost_work_is_spent_of_the_budget(
    new: NewRun, tmp_path: Path, resume: Callable[[Run, dict[str, Any]], None]
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    limit = Budget(kwh=(first.totals.energy_j + spent_j(state)) / 2 / J_PER_KWH)
    second = new(budget=limit)
    resume(second, state)
    assert second.check_stop()
    finish(second)
    third = new(budget=Budget(kwh=1.0))
    resume(third, state)
    assert not third.check_stop()
    finish(third)


# -- where the record is ----------------------------------------------------------------------------------------------


def test_the_record_stays_where_it_began(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    second = new(log_dir=tmp_path / "version_1")
    second.start(framework="test", state=state)
    finish(second)
    assert not (tmp_path / "version_1").exists()
    assert len(records(path_of(first, tmp_path), Start)) == 2


def test_a_record_that_moved_to_the_new_folder_is_found(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    (tmp_path / "logs").rename(tmp_path / "moved")
    second = new(log_dir=tmp_path / "moved")
    second.start(framework="test", state=state)
    finish(second)
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert len([*(tmp_path / "moved").iterdir()]) == 1
    assert second.state_dict()["journal"] == str(tmp_path / "moved" / path_of(first, tmp_path).name)


def test_a_record_that_is_gone_leaves_the_checkpoint_and_one_quiet_line(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    path_of(first, tmp_path).unlink()
    second = new(log_dir=tmp_path / "elsewhere")
    with caplog.at_level(logging.INFO, "wattloop"):
        second.start(framework="test", state=state)
    finish(second)
    assert second.id == first.id
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))
    assert len(said(caplog, logging.INFO)) == 1
    assert said(caplog) == []
    assert (tmp_path / "elsewhere" / path_of(first, tmp_path).name).exists()


def test_a_record_that_ends_before_the_checkpoint_takes_nothing_from_it(new: NewRun, tmp_path: Path) -> None:
    # A disk was full, say.
    first, state = begun(new)
    finish(first)
    path = path_of(first, tmp_path)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))
    assert second.lost == Totals()
    assert len(records(path, Start)) == 2


def test_without_a_folder_now_the_record_is_read_and_left_as_it_is(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    content = path_of(first, tmp_path).read_bytes()
    second = new(log_dir=None)
    second.start(framework="test", state=state)
    finish(second)
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert path_of(first, tmp_path).read_bytes() == content


@pytest.mark.parametrize("name", ["other.jsonl", "../../etc/passwd", "wattloop-.jsonl"])
def test_a_checkpoint_cannot_make_us_write_to_any_other_file(new: NewRun, tmp_path: Path, name: str) -> None:
    first, state = begun(new)
    finish(first)
    target = tmp_path / "other.jsonl"
    target.write_text("a diary\n")
    second = new(log_dir=None)
    second.start(framework="test", state={**state, "journal": str(tmp_path / name)})
    finish(second)
    assert target.read_text() == "a diary\n"


@pytest.mark.parametrize("run_id", ["../up", "a/b", "a\0b", "a\n", "x" * 300])
def test_a_checkpoint_with_a_name_that_is_none_is_not_counted(
    new: NewRun, tmp_path: Path, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new, log_dir=None)
    finish(first)
    second = new()
    second.start(framework="test", state={**state, "run_id": run_id})
    finish(second)
    assert len(said(caplog)) == 1
    assert second.totals.energy_j == pytest.approx(own_j(second))
    assert [path.parent for path in tmp_path.rglob("wattloop-*")] == [tmp_path / "logs"]


def test_a_pipe_in_its_place_holds_nobody_up(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    path = path_of(first, tmp_path)
    path.unlink()
    os.mkfifo(path)
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))


def test_on_a_read_only_disk_the_record_is_read_and_another_begun(new: NewRun, tmp_path: Path) -> None:
    disk = tmp_path / "logs"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a disk of its own")
    try:
        first, state = begun(new)
        kill(first, tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        second = new(log_dir=tmp_path / "new")
        second.start(framework="test", state=state)
        finish(second)
        assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
        (path,) = (tmp_path / "new").iterdir()
        (start,) = records(path, Start)
        assert (start.run_id, start.session) == (first.id, 2)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# -- a record that cannot be relied on --------------------------------------------------------------------------------


def test_damaged_lines_are_said_and_the_others_count(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    with path_of(first, tmp_path).open("ab") as file:
        file.write(b'{"record":"tick","totals":\n\0\0\0\xff\n')
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert len(said(caplog)) == 1
    assert said(caplog)[0].startswith("2 of the last lines in the record of this run cannot be read: ")


def test_a_record_of_garbage_leaves_the_checkpoint(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    path_of(first, tmp_path).write_bytes(os.urandom(50_000).replace(b"\n", b"") + b"\n")
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))
    assert len(said(caplog)) == 1


def test_a_record_of_a_newer_version_is_left_alone(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    path = path_of(first, tmp_path)
    newer = path.read_bytes().replace(b'"format":1', b'"format":7').replace(b'"version":"', b'"version":"9.')
    path.write_bytes(newer)
    second = new()
    second.start(framework="test", state=state)
    finish(second)
    assert second.id != first.id
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))
    assert path.read_bytes() == newer
    (line,) = said(caplog)
    assert "format 7" in line
    assert "update wattloop" in line


@pytest.mark.parametrize("damage", [{"totals": None}, {"epochs": "two"}, {"phases_j": [1]}, {"lost": {"gpu_j": "x"}}])
def test_a_damaged_state_costs_one_warning_and_no_training(
    new: NewRun, tmp_path: Path, damage: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new)
    finish(first)
    second = new()
    second.start(framework="test", state={**state, **damage})
    finish(second)
    assert len(said(caplog)) == 1
    assert second.totals.energy_j == pytest.approx(own_j(second))


def test_a_state_from_before_there_were_lost_work_and_sessions_is_read(new: NewRun) -> None:
    first, state = begun(new, log_dir=None)
    finish(first)
    old = {key: value for key, value in state.items() if key not in ("lost", "session", "step", "journal")}
    second = new()
    second.load_state_dict(old)
    assert second.totals.energy_j == spent_j(state)


# -- at the same time -------------------------------------------------------------------------------------------------

WRITES = """
import sys
from wattloop.journal import Journal
journal = Journal.existing(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_session_beside_another_gets_an_account_of_its_own(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, state = begun(new)
    kill(first, tmp_path)
    path = path_of(first, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", WRITES, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        content = path.read_bytes()
        second = new()
        second.start(framework="test", state=state)
        finish(second)
        assert path.read_bytes() == content
        other.send_signal(signal.SIGKILL)
    assert second.id != first.id
    assert second.totals.energy_j == pytest.approx(spent_j(state) + own_j(second))
    (line,) = said(caplog)
    assert "is being written by another run" in line
    # The lock ended with the process.
    third = new()
    third.start(framework="test", state=state)
    finish(third)
    assert third.id == first.id


FORKS = """
import os, sys
from wattloop.journal import Journal
journal = Journal(sys.argv[1], "r1")
if os.fork():
    os.wait()
else:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_worker_that_outlives_a_killed_process_does_not_hold_the_record(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"open\n"
        path = tmp_path / "wattloop-r1.jsonl"
        with pytest.raises(BlockingIOError):
            Journal.existing(path)
        killed.kill()
        killed.wait()
        # The worker lives on until its input ends.
        Journal.existing(path).close()


def test_an_open_record_is_not_opened_twice(tmp_path: Path) -> None:
    opened = Journal(tmp_path, "r1")
    with pytest.raises(BlockingIOError):
        Journal.existing(opened.path)
    opened.close()
    Journal.existing(opened.path).close()


def test_a_run_whose_end_nobody_said_ends_when_its_thread_goes_on_from_its_checkpoint(
    new: NewRun, tmp_path: Path
) -> None:
    # As in a notebook, where a cell failed and the next one makes everything anew.
    first, state = begun(new)
    second = new()
    second.start(framework="test", state=state)
    assert not first.running
    finish(second)
    assert second.id == first.id
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + own_j(second))
    assert [end.status for end in records(path_of(first, tmp_path), End)] == [ABANDONED, "finished"]


def test_a_run_that_trains_in_another_thread_is_left_alone(new: NewRun, tmp_path: Path) -> None:
    first, state = begun(new)
    others: list[Run] = []

    def other() -> None:
        others.append(new())
        others[0].start(framework="test", state=state)
        finish(others[0])

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert first.running
    finish(first)
    assert others[0].id != first.id
    assert others[0].totals.energy_j == pytest.approx(spent_j(state) + own_j(others[0]))


# -- reading the end of a record --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticks", [0, 1, 2, 3000])
def test_the_end_of_a_long_record_tells_as_much_as_all_of_it(tmp_path: Path, ticks: int) -> None:
    start = Start(
        run_id="r1",
        version="0",
        framework="test",
        host="a host",
        region="FR",
        g_co2e_per_kwh=56.0,
        intensity_source="a test",
        pue=1.0,
        budget=None,
        spent_before=Totals(gpu_j=1000.0, duration_s=10.0),
        uncertainty_kwh=2 / J_PER_KWH,
        session=4,
        interval_s=6.0,
    )
    written = Journal(tmp_path, "r1")
    written.put(start)
    for number in range(1, ticks + 1):
        totals = Totals(gpu_j=1000.0 + 250 * 5 * number, duration_s=10.0 + 5 * number)
        tick = Tick(
            step=number,
            phase="train",
            totals=totals,
            g_co2e_per_kwh=56.0,
            uncertainty_kwh=3 / J_PER_KWH,
            session=4,
            channels={f"GPU-{device}": "counter" for device in range(8)},
        )
        written.put(tick)
    written.flush()
    written.close()
    assert (written.path.stat().st_size > 1 << 19) == (ticks == 3000)

    found = reached(written.path)
    assert (found.session, found.ended, found.damaged) == (4, "", 0)
    assert found.totals == Totals(gpu_j=1000.0 + 1250 * ticks, duration_s=10.0 + 5 * ticks)
    # 250 W between ticks, 100 W before there were two of them; six seconds of it may be missing.
    watts = 250.0 if ticks > 1 else found.totals.energy_j / found.totals.duration_s
    doubt_j = 3.0 if ticks else 2.0
    assert found.uncertainty_j == pytest.approx(
        doubt_j + 6 * max(watts, found.totals.energy_j / found.totals.duration_s)
    )
