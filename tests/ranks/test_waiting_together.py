"""Two processes that wait for clean electricity at the same steps, longer than a collective of theirs may take."""

from __future__ import annotations

import contextlib
import socket
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from ranks.launch import Started, environment, told, torchrun
from wattloop import journal

pytest.importorskip("torch")

FRONTS = {"loop": "torch", "transformers": "transformers", "lightning": "lightning"}
WORLD, WATTS, STEPS = 2, 300.0, 400
COLLECTIVE_S = 3.0


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in FRONTS.values():
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("waiting")
    worker = Path(__file__).with_name("waiting_worker.py")
    with Started(torchrun(WORLD, str(worker), str(folder), *FRONTS), environment(), folder / "output") as job:
        job.finish()
    return folder


@pytest.mark.parametrize("front", FRONTS)
def test_all_ranks_wait_at_the_same_steps_without_a_collective_running_out(job: Path, front: str) -> None:
    ranks = told(job / front, WORLD)
    (path,) = (job / front).rglob("wattloop-*.jsonl")
    records = [*journal.read(path)]
    pauses = [record for record in records if isinstance(record, journal.Pause)]
    resumes = [record for record in records if isinstance(record, journal.Resume)]
    end = records[-1]
    assert isinstance(end, journal.End) and end.step == STEPS
    assert [pause.step for pause in pauses] == [resume.step for resume in resumes]
    start, middle = (pause.step for pause in pauses)
    assert start == 0 < middle < STEPS
    for rank in ranks:
        assert rank["steps"] == len(rank["step_ends_s"]) == STEPS
        gaps_s = [after - before for before, after in pairwise(rank["step_ends_s"])]
        longest = max(range(len(gaps_s)), key=gaps_s.__getitem__)
        assert longest + 1 == middle and gaps_s[longest] > COLLECTIVE_S
        assert rank["waited_s"] > 2 * COLLECTIVE_S
        assert rank["saved"] == [middle]
    # Both ranks' devices drew power while they waited, and the one record tells of both.
    for resume in resumes:
        assert resume.spent.energy_j == pytest.approx(WATTS * resume.spent.waited_s, rel=0.1)
    assert end.phases_j["wait"] == pytest.approx(WATTS * end.totals.waited_s, rel=0.1)


def test_processes_of_jax_wait_at_the_same_steps_and_add_up_what_they_draw_meanwhile(tmp_path: Path) -> None:
    for package in ("jax", "keras"):
        pytest.importorskip(package)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    worker = str(Path(__file__).with_name("jax_waiting_worker.py"))
    with contextlib.ExitStack() as stack:
        started = []
        for rank in range(WORLD):
            command = [sys.executable, worker, str(rank), str(WORLD), address, str(tmp_path)]
            env = environment({"KERAS_BACKEND": "jax"})
            started.append(stack.enter_context(Started(command, env, tmp_path / f"output{rank}")))
        for one in started:
            one.finish()
    (path,) = tmp_path.glob("wattloop-*.jsonl")
    records = [*journal.read(path)]
    start, middle = (record.step for record in records if isinstance(record, journal.Pause))
    assert start == 0 < middle
    for record in records:
        if isinstance(record, journal.Resume):
            assert record.spent.energy_j == pytest.approx(WATTS * record.spent.waited_s, rel=0.1)
    for rank in told(tmp_path, WORLD):
        assert rank["steps"] == len(rank["step_ends_s"])
        gaps_s = [after - before for before, after in pairwise(rank["step_ends_s"])]
        longest = max(range(len(gaps_s)), key=gaps_s.__getitem__)
        # Keras tells this callback, which took the front of the list, of a step before it tells the one that watches.
        assert longest + 2 == middle and gaps_s[longest] > 1.0
