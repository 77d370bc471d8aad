"""How a wait of two processes ends that does not end with clean electricity."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from ranks.launch import Started, environment, told, torchrun
from wattloop import journal

pytest.importorskip("torch")

WORLD, WATTS = 2, 300.0
EPOCHS = 20
LONG_S = 12.0
"""A wait in which ranks have added up once what it takes."""
WORKER = str(Path(__file__).with_name("waiting_ends_worker.py"))
PATIENCE_S = 60.0
"""How long what happens at once may take, with all that ends beside it, on however slow a machine."""


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def records(folder: Path) -> list[journal.Record]:
    (path,) = folder.glob("wattloop-*.jsonl")
    return [*journal.read(path)]


def waiting_for(folder: Path, seconds: float) -> bool:
    """Tell whether the record says that the run has waited so long."""
    ticks = [
        one for path in folder.glob("wattloop-*.jsonl") for one in journal.read(path) if isinstance(one, journal.Tick)
    ]
    return bool(ticks) and ticks[-1].totals.waited_s > seconds


def pids(folder: Path) -> list[int]:
    return [int((folder / f"pid{rank}").read_text()) for rank in range(WORLD)]


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def check_record(folder: Path) -> None:
    """Its last line tells what the wait has drawn, on both ranks, up to when they last added up."""
    *_, last = records(folder)
    assert isinstance(last, journal.Tick | journal.End)
    assert last.totals.waited_s > LONG_S
    assert last.totals.energy_j >= WATTS * (LONG_S - 2.0)


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_a_job_that_is_ended_while_it_waits_ends_at_once_and_its_record_tells_of_the_wait(
    tmp_path: Path, how: str
) -> None:
    with Started(torchrun(WORLD, WORKER, "forever", str(tmp_path)), environment(), tmp_path / "output") as job:
        until(lambda: waiting_for(tmp_path, LONG_S), job.printed)
        if how == "ctrl-c":
            os.killpg(job._process.pid, signal.SIGINT)
        else:
            os.kill(job._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            job._process.wait(PATIENCE_S)
        assert job._process.returncode, job.printed
        assert not any(map(lives, pids(tmp_path))), job.printed
    check_record(tmp_path)


@contextlib.contextmanager
def by_hand(case: str, folder: Path) -> Iterator[list[Started]]:
    """Start the ranks without a launcher that would end one with the other; the first one keeps the store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(WORLD)}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                Started(
                    [sys.executable, WORKER, case, str(folder)],
                    environment({**shared, "RANK": str(rank)}),
                    folder / f"output{rank}",
                )
            )
            for rank in range(WORLD)
        ]


@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_rank_is_killed_in_the_wait_the_other_does_not_hang(tmp_path: Path, killed: int) -> None:
    with by_hand("forever", tmp_path) as ranks:
        until(lambda: waiting_for(tmp_path, 1.5), ranks[0].printed)
        os.kill(pids(tmp_path)[killed], signal.SIGKILL)
        left = ranks[1 - killed]
        # It goes on, and its collective fails, as it would in training.
        assert left._process.wait(PATIENCE_S) != 0
        assert "has lost the others" in left.printed


def test_all_go_on_together_where_one_sees_in_the_wait_that_the_budget_is_spent(tmp_path: Path) -> None:
    with Started(torchrun(WORLD, WORKER, "budget", str(tmp_path)), environment(), tmp_path / "output") as job:
        job.finish(PATIENCE_S)
    ranks = told(tmp_path, WORLD)
    assert [rank["stopped"] for rank in ranks] == [True, True]
    assert ranks[0]["steps"] == ranks[1]["steps"] <= 10
    assert any(isinstance(one, journal.Stop) and "budget" in one.reason for one in records(tmp_path))


def test_ranks_with_epochs_and_rows_of_their_own_wait_at_the_same_step(tmp_path: Path) -> None:
    with Started(torchrun(WORLD, WORKER, "uneven", str(tmp_path)), environment(), tmp_path / "output") as job:
        job.finish(PATIENCE_S)
    found = records(tmp_path)
    assert sum(isinstance(one, journal.Pause) for one in found) == 1
    (resume,) = [one for one in found if isinstance(one, journal.Resume)]
    ranks = told(tmp_path, WORLD)
    waits_in = []
    for rank in ranks:
        gaps_s = [after - before for before, after in pairwise(rank["begins_s"])]
        longest = max(range(len(gaps_s)), key=gaps_s.__getitem__)
        assert gaps_s[longest] >= resume.spent.waited_s - 1.0 > 1.0
        waits_in.append(divmod(longest + 1, rank["steps"] // EPOCHS))
    assert waits_in[0] == waits_in[1]  # the same epoch, and the same step of it


def test_a_budget_that_both_ranks_have_spent_in_the_wait_ends_it(tmp_path: Path) -> None:
    with Started(torchrun(WORLD, WORKER, "shared_budget", str(tmp_path)), environment(), tmp_path / "output") as job:
        job.finish(PATIENCE_S)
    ranks = told(tmp_path, WORLD)
    assert [(rank["stopped"], rank["steps"]) for rank in ranks] == [(True, 0), (True, 0)]
    assert all(rank["waited_s"] < 16.0 for rank in ranks)
