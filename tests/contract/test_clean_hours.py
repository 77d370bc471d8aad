"""Waiting for clean hours, in every front end: real training on a grid that changes under it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Front, Outcome, fronts
from fakes.grid import CLEAN, DIRTY, Grid
from fakes.nvml import FakeNvml
from wattloop import Budget, CleanHours
from wattloop.journal import End, Pause, Record, Resume, Stop

J_PER_KWH = 3.6e6
WATTS = 200.0
STEP_S = 0.02
PROMPT_S = 5.0
"""How long what happens at once may take, on however slow a machine."""


@pytest.fixture(params=fronts(), ids=lambda front: front.name)
def front(request: pytest.FixtureRequest) -> Front:
    return request.param


@pytest.fixture(autouse=True)
def gpu(fake_nvml: FakeNvml) -> FakeNvml:
    fake_nvml.reset(f"devices=1;profile=constant:{WATTS};refresh_s=0.005")
    return fake_nvml


def options(folder: Path, grid: Grid, **more: Any) -> dict[str, Any]:
    wait = {"below": 250.0, "shortest_minutes": 0.0, **more.pop("wait", {})}
    return {
        "intensity": grid,
        "wait": CleanHours(**wait),
        "interval_s": 0.05,
        "log_dir": str(folder),
        "powercap_root": str(folder / "no powercap"),
        **more,
    }


class Steps:
    """When each step was done, and what happens in some of them."""

    def __init__(self, grid: Grid | None = None, **events: Any) -> None:
        self.at_s: list[float] = []
        self._grid = grid if grid is not None else Grid(CLEAN)
        self._events = {int(name.removeprefix("at_")): event for name, event in events.items()}

    def __call__(self, step: int) -> None:
        self._grid.step(STEP_S)
        self.at_s.append(time.monotonic())
        if step in self._events:
            self._events[step]()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [r.message for r in caplog.records if r.name == "wattloop" and r.levelno >= logging.WARNING]
    return [line for line in lines if line.startswith("training ")]


def of(outcome: Outcome, kind: type) -> list[Any]:
    return [record for record in outcome.records if isinstance(record, kind)]


def test_the_first_step_waits_for_clean_electricity(
    front: Front, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid, steps = Grid(CLEAN), Steps()
    callback = front.callback(**options(tmp_path, grid))
    grid.run = front.run(callback)
    grid.dirty_for(3.0)
    outcome = front.train(callback, tmp_path, epochs=2, steps=5, log_every=5, work=steps)
    assert outcome.error is None and outcome.steps == 10
    assert grid.clean_s < steps.at_s[0] < grid.clean_s + PROMPT_S
    (pause,), (resume,), (end,) = of(outcome, Pause), of(outcome, Resume), of(outcome, End)
    assert (pause.step, pause.reason) == (0, "500 gCO2e/kWh is above 250")
    assert (resume.step, resume.reason) == (0, "100 gCO2e/kWh")
    waited_s = resume.spent.waited_s
    assert waited_s == pytest.approx((resume.time - pause.time).total_seconds(), abs=0.2)
    assert end.totals.waited_s == pytest.approx(waited_s, abs=0.05)
    assert end.totals.duration_s - waited_s >= 10 * STEP_S
    # What the GPU drew meanwhile is counted, at the intensity of that time.
    assert resume.spent.energy_j == pytest.approx(WATTS * waited_s, rel=0.05)
    assert end.phases_j["wait"] == pytest.approx(WATTS * waited_s, rel=0.05)
    dirty_kg = resume.spent.kwh * DIRTY / 1000
    assert dirty_kg * (1 - 1.0 / waited_s) < resume.spent.kg_co2e <= dirty_kg * 1.001
    first, second = said(caplog)
    assert first == "training waits at step 0: 500 gCO2e/kWh is above 250"
    assert second.startswith("training goes on at step 0 after ") and ": 100 gCO2e/kWh (the wait took " in second
    assert "of them waiting" in front.run(callback).summary()


def test_training_pauses_between_two_steps_and_goes_on_where_it_was(
    front: Front, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = Grid(CLEAN)
    steps = Steps(grid, at_20=lambda: grid.dirty_for(2.0))
    callback = front.callback(**options(tmp_path, grid, log_every_n_steps=25))
    grid.run = front.run(callback)
    outcome = front.train(callback, tmp_path, epochs=2, steps=100, log_every=25, work=steps)
    assert outcome.error is None and outcome.steps == 200
    (pause,), (resume,), (end,) = of(outcome, Pause), of(outcome, Resume), of(outcome, End)
    assert 20 < pause.step == resume.step < 200
    gaps_s = [after - before for before, after in pairwise(steps.at_s)]
    longest = max(range(len(gaps_s)), key=gaps_s.__getitem__)
    assert longest + 1 == pause.step  # the gap is where the record says
    assert gaps_s[longest] >= resume.spent.waited_s > 1.0
    assert end.totals.waited_s == pytest.approx(resume.spent.waited_s, abs=0.05)
    assert end.step == 200
    assert len(said(caplog)) == 2
    if front.saves_checkpoint:  # how long it would be, nobody knew
        assert any(f"{pause.step}" in path.name and "epoch" not in path.name for path in outcome.checkpoints)


def test_a_run_whose_last_step_is_done_waits_for_nothing(
    front: Front, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = Grid(CLEAN)
    steps = Steps(at_9=lambda: setattr(grid, "value", DIRTY))
    callback = front.callback(**options(tmp_path, grid, total_steps=10))
    outcome = front.train(callback, tmp_path, epochs=1, steps=10, log_every=5, work=steps)
    assert outcome.error is None and outcome.steps == 10
    assert not of(outcome, Pause) and not said(caplog)


def test_ctrl_c_ends_a_wait_at_once_and_what_it_drew_is_recorded(front: Front, tmp_path: Path) -> None:
    callback = front.callback(**options(tmp_path, Grid(DIRTY)))
    run = front.run(callback)
    pressed_s: list[float] = []

    def press() -> None:
        end_s = time.monotonic() + 60.0
        while not run.totals.waited_s > 1.0 and time.monotonic() < end_s:
            time.sleep(0.01)
        pressed_s.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    outcome = front.train(callback, tmp_path, epochs=1, steps=5, log_every=5, work=Steps())
    ended_s = time.monotonic()
    presser.join()
    assert isinstance(outcome.error, KeyboardInterrupt | SystemExit)
    assert outcome.steps == 0 and ended_s - pressed_s[0] < PROMPT_S
    waited_j = run.phases_j["wait"]
    assert waited_j == pytest.approx(WATTS * run.totals.waited_s, rel=0.1) and run.totals.waited_s > 1.0
    run.finish()


def test_a_budget_that_is_spent_in_a_wait_ends_the_run(front: Front, tmp_path: Path) -> None:
    budget = Budget(kwh=WATTS * 2.0 / J_PER_KWH)
    callback = front.callback(**options(tmp_path, Grid(DIRTY), budget=budget))
    begin_s = time.monotonic()
    outcome = front.train(callback, tmp_path, epochs=1, steps=50, log_every=5, work=Steps())
    assert outcome.error is None and outcome.steps <= 1  # Keras and the Trainer train one step all the same
    assert 1.0 < time.monotonic() - begin_s < 60.0
    (stop,), (end,) = of(outcome, Stop), of(outcome, End)
    assert "budget" in stop.reason and end.status == "stopped"


def test_all_pauses_together_last_no_longer_than_the_longest_wait(front: Front, tmp_path: Path) -> None:
    callback = front.callback(**options(tmp_path, Grid(DIRTY, looks_ahead=False), wait={"max_wait_hours": 2.0 / 3600}))
    outcome = front.train(callback, tmp_path, epochs=2, steps=20, log_every=5, work=Steps())
    assert outcome.error is None and outcome.steps == 40
    (resume,), (end,) = of(outcome, Resume), of(outcome, End)
    assert 1.5 < end.totals.waited_s < 2.0 + PROMPT_S
    assert resume.reason.endswith("is over")


def test_what_a_run_waited_before_a_crash_counts_after_it(front: Front, tmp_path: Path) -> None:
    longest = {"max_wait_hours": 2.0 / 3600}

    def crash() -> None:
        raise RuntimeError("the machine breaks")

    grid = Grid(DIRTY, looks_ahead=False)
    first = front.callback(**options(tmp_path, grid, wait=longest))
    outcome = front.train_saving(first, tmp_path, epochs=2, steps=5, work=Steps(at_7=crash))
    assert isinstance(outcome.error, RuntimeError)
    front.run(first).finish()
    again = front.callback(**options(tmp_path, grid, wait=longest))
    outcome = front.train_saving(again, tmp_path, epochs=2, steps=5, work=Steps())
    assert outcome.error is None and outcome.steps == 5
    records: list[Record] = outcome.records
    assert sum(isinstance(record, Pause) for record in records) == 1
    assert front.run(again).totals.waited_s < 2.0 + PROMPT_S
