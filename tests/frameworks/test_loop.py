"""What users of plain loops and of Accelerate expect beyond the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import wattloop
from contract.test_contract import Load
from fakes.grid import CLEAN, DIRTY, Grid
from fakes.nvml import FakeNvml
from wattloop import Budget, CleanHours
from wattloop.grid.intensity import Intensity

J_PER_KWH = 3.6e6


def test_a_loop_of_any_shape_can_ask_whether_to_stop(fake_nvml: FakeNvml) -> None:
    steps = 0
    with wattloop.track(region="FR", interval_s=0.02, budget=Budget(kwh=30 / J_PER_KWH)) as run:
        while not run.should_stop and steps < 1000:
            time.sleep(0.005)
            run.step()
            steps += 1
    assert 0 < steps < 1000


def test_a_loop_that_says_nothing_of_its_epochs_waits_in_later_ones_too(fake_nvml: FakeNvml) -> None:
    grid = Grid(CLEAN)
    waits = CleanHours(below=250, shortest_minutes=0)
    with wattloop.track(intensity=grid, wait=waits, interval_s=0.02) as run:
        grid.run = run
        for epoch in range(2):
            for step in run.steps(range(50)):
                grid.step(0.01)
                if (epoch, step) == (1, 10):
                    grid.dirty_for(1.0)
    assert run.steps_done == 100 and run.totals.waited_s > 0.5


def test_breaking_off_in_the_step_after_which_it_would_wait_waits_for_nothing(fake_nvml: FakeNvml) -> None:
    grid = Grid(CLEAN)
    with wattloop.track(intensity=grid, wait=CleanHours(below=250, shortest_minutes=0), interval_s=0.02) as run:
        for step in run.steps(range(1000)):
            time.sleep(0.01)
            if step == 10:
                grid.value = DIRTY
                time.sleep(0.5)
                break
    assert run.steps_done == 10 and run.totals.waited_s == 0.0


def test_a_loop_of_any_shape_can_ask_whether_to_wait(fake_nvml: FakeNvml) -> None:
    grid, waited_at = Grid(DIRTY), []
    with wattloop.track(intensity=grid, wait=CleanHours(below=250, shortest_minutes=0), interval_s=0.02) as run:
        grid.run = run
        grid.dirty_for(0.5)
        run.wait_to_begin()
        assert run.totals.waited_s > 0.5 and not run.should_wait
        for step in range(200):
            grid.step(0.005)
            if step == 50:
                grid.dirty_for(0.5)
            if run.step() and run.should_wait:
                waited_at.append(step)
                run.wait()
                assert not run.should_wait
    assert len(waited_at) == 1 and 50 <= waited_at[0] < 150
    assert run.totals.waited_s > 1.0


def test_a_loop_that_counts_steps_itself_is_training_and_its_forecast_looks_ahead(fake_nvml: FakeNvml) -> None:
    with wattloop.track(region="FR", interval_s=0.02, total_steps=400) as run:
        for step in range(400):
            time.sleep(0.005)
            run.step()
            if step == 199:
                run.refresh()
                spent_kwh, forecast = run.totals.kwh, run.forecast()
    assert forecast is not None and forecast.kwh > 1.3 * spent_kwh
    assert run.phases_j["train"] > 0.9 * run.totals.energy_j


def test_a_loop_that_counts_steps_itself_pauses_when_its_forecast_has_spoken(fake_nvml: FakeNvml) -> None:
    grid, saved = Grid(CLEAN), list[int]()
    wait = CleanHours(below=250, shortest_minutes=0.01)
    with wattloop.track(
        intensity=grid, wait=wait, interval_s=0.02, total_steps=1500, before_pause=lambda: saved.append(run.steps_done)
    ) as run:
        grid.run = run
        run.wait_to_begin()
        assert run.totals.waited_s == 0.0
        for step in range(1500):
            grid.step(0.003)
            run.step()
            if step == 500:
                assert run.forecast() is not None
                grid.dirty_for(0.5)
            if run.should_wait:
                run.wait()
                break
    assert saved == [run.steps_done] and run.totals.waited_s > 0.5


def test_a_wait_that_its_user_began_before_the_steps_is_not_begun_again(fake_nvml: FakeNvml) -> None:
    grid, saved = Grid(DIRTY), list[int]()
    wait = CleanHours(below=250, shortest_minutes=0)
    with wattloop.track(
        intensity=grid, wait=wait, interval_s=0.02, before_pause=lambda: saved.append(run.steps_done)
    ) as run:
        grid.run = run
        grid.dirty_for(0.5)
        run.wait_to_begin()
        waited_s = run.totals.waited_s
        for _ in run.steps(range(10)):
            pass
    assert run.totals.waited_s == waited_s > 0.5
    assert not saved  # there is nothing to save yet


def test_what_the_user_says_of_the_length_goes_before_a_guess_by_the_epoch(fake_nvml: FakeNvml) -> None:
    class Later(Grid):
        def forecast(self, start: datetime, end: datetime) -> list[tuple[datetime, Intensity]]:
            clean = start + timedelta(minutes=59)
            return [(start, Intensity(DIRTY, "a test")), (clean, Intensity(CLEAN, "a test"))]

    wait = CleanHours(below=250, deadline_hours=1.0, job_hours=0.9, shortest_minutes=0)
    with wattloop.track(intensity=Later(DIRTY), wait=wait, interval_s=0.02) as run:
        for _ in range(3):
            for _ in run.steps(range(200)):
                time.sleep(0.005)
    # Training is said to need all but six minutes, so what is clean at the very end is of no use.
    assert run.steps_done == 600 and run.totals.waited_s == 0.0


def test_the_logger_is_any_callable(fake_nvml: FakeNvml) -> None:
    logged: list[tuple[str, float, int]] = []
    with wattloop.track(region="FR", log_every_n_steps=2, log=lambda *row: logged.append(row)) as run:
        for _ in run.steps(range(4)):
            pass
    assert [step for name, _, step in logged if name == "energy/kwh"] == [2, 4]
    assert all(isinstance(value, float) for _, value, _ in logged)


def test_a_broken_logger_costs_one_warning(fake_nvml: FakeNvml, caplog: pytest.LogCaptureFixture) -> None:
    def log(name: str, value: float, step: int) -> None:
        raise OSError("disk full")

    done = 0
    with wattloop.track(region="FR", log_every_n_steps=1, log=log) as run:
        for _ in run.steps(range(5)):
            done += 1
    assert done == 5
    assert len([record for record in caplog.records if "disk full" in record.getMessage()]) == 1


def test_batches_without_length_and_loops_that_break_off(fake_nvml: FakeNvml) -> None:
    def batches() -> Iterator[int]:
        yield from range(10)

    with wattloop.track(region="FR", interval_s=0.02) as run:
        for epoch in run.epochs(range(3)):
            for batch in run.steps(batches()):
                time.sleep(0.005)
                if epoch == 1 and batch == 4:
                    break
        assert run.total_steps == 30
    assert run.steps_done == 24
    assert run.epochs_done == 3


def test_with_a_folder_and_no_logger_event_files_are_written(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    with wattloop.track(region="FR", log_dir=tmp_path, total_epochs=1) as run:
        for _ in run.epochs(range(1)):
            for _ in run.steps(range(3)):
                pass
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert len(list(tmp_path.glob("wattloop-*.jsonl"))) == 1


def test_a_validation_block_is_counted_apart(fake_nvml: FakeNvml) -> None:
    with wattloop.track(region="FR", total_epochs=1) as run:
        for _ in run.epochs(range(1)):
            for _ in run.steps(range(3)):
                pass
            with run.phase("validation"):
                time.sleep(0.1)
    assert run.phases_j["validation"] == pytest.approx(30, rel=0.5)


def test_a_state_dict_lets_a_new_process_go_on_counting(fake_nvml: FakeNvml) -> None:
    load = Load(fake_nvml, steps=40, step_s=0.005)
    with wattloop.track(region="FR") as first:
        for _ in first.steps(range(20)):
            load(first.steps_done)
        fake_nvml.set_power(0, 0.0)
        time.sleep(0.01)
    with wattloop.track(region="FR") as second:
        second.load_state_dict(first.state_dict())
        fake_nvml.set_power(0, 300.0)
        for step, _ in enumerate(second.steps(range(20))):
            load(20 + step)
    assert second.totals.kwh == pytest.approx(load.kwh, rel=0.05)
    assert second.totals.kwh > first.totals.kwh


def test_accelerate_saves_and_restores_the_run(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    with wattloop.track(region="FR") as run:
        accelerator.register_for_checkpointing(run)
        for _ in run.steps(range(10)):
            time.sleep(0.01)
        run.refresh()
        saved_kwh = run.totals.kwh
        accelerator.save_state(str(tmp_path))
        run.refresh()
        after_kwh = run.totals.kwh

    resumed = wattloop.track(region="FR")
    accelerator = accelerate.Accelerator(cpu=True)
    accelerator.register_for_checkpointing(resumed)
    accelerator.load_state(str(tmp_path))
    assert saved_kwh > 0
    assert saved_kwh <= resumed.totals.kwh <= after_kwh


def test_the_summary_is_one_line_a_person_can_read(fake_nvml: FakeNvml) -> None:
    with wattloop.track(region="FR") as run:
        for _ in run.steps(range(5)):
            time.sleep(0.01)
    text = run.summary()
    assert "\n" not in text
    assert "CO2e" in text
    assert "100% measured" in text
