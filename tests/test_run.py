"""A run, step by step, over a GPU of known power."""

from __future__ import annotations

import copy
import gc
import json
import logging
import math
import os
import pickle
import re
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fakes.nvml import FakeNvml
from fakes.powercap import Powercap
from wattloop import journal
from wattloop.budget import Budget
from wattloop.embodied import Embodied
from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.run import Run

KWH = 3.6e6
PATIENCE_S = 20.0
"""How long a test waits for what must come, on however slow a machine."""
ROUNDING_J = 0.002
"""The library counts millijoules."""

NewRun = Callable[..., Run]


@pytest.fixture
def new(fake_nvml: FakeNvml, tmp_path: Path) -> NewRun:
    """Make a run that measures the fake GPU and nothing else."""

    def new(**options: Any) -> Run:
        return Run(**{"powercap_root": str(tmp_path / "no powercap"), "region": "FR", **options})

    return new


@pytest.fixture(autouse=True)
def _no_thread_is_left(fake_nvml: FakeNvml) -> Any:
    yield
    gc.collect()
    until(lambda: not sampler_threads())


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.0005)


def sampler_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wattloop-sampler"]


def settle(run: Run) -> None:
    """Have the meters answer, however slow this machine is now."""
    assert run._session is not None and run._session.sampler is not None
    assert run._session.sampler.read(PATIENCE_S)


def recorded(run: Run, folder: Path) -> list[journal.Record]:
    """Return the one record in a folder, once it is complete."""
    assert run.settle(PATIENCE_S)
    (path,) = folder.glob("*.jsonl")
    return [*journal.read(path)]


def train(run: Run, steps: int = 1, seconds: float = 0.01) -> None:
    run.enter_phase("train")
    for _ in range(steps):
        time.sleep(seconds / steps)
        run.step()
    settle(run)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# -- what it measures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["constant:300", "square:50,600,0.007,0.3"])
def test_energy_is_the_integral_of_power_from_start_to_finish(fake_nvml: FakeNvml, new: NewRun, profile: str) -> None:
    fake_nvml.reset(f"devices=2;profile={profile}")
    while True:
        run = new(intensity=400.0, pue=1.25)
        t0 = time.monotonic()
        run.start(framework="test")
        t1 = time.monotonic()
        time.sleep(0.03)
        t2 = time.monotonic()
        settle(run)
        run.finish()
        t3 = time.monotonic()
        if not run.totals.modelled_j:  # else this machine was too busy to open the driver in time
            break
    totals = run.totals
    assert fake_nvml.energy_j(t1, t2) - ROUNDING_J <= totals.energy_j <= fake_nvml.energy_j(t0, t3) + ROUNDING_J
    assert t2 - t1 <= totals.duration_s <= t3 - t0
    assert totals.kg_co2e == pytest.approx(totals.energy_j / KWH * 1.25 * 0.4)
    assert (totals.cpu_j, totals.measured_fraction) == (0, 1)


def test_the_stated_uncertainty_holds_though_the_counter_refreshes_seldom(fake_nvml: FakeNvml, new: NewRun) -> None:
    fake_nvml.reset("profile=constant:400;refresh_s=0.05")
    for _ in range(5):
        run = new()
        t0 = time.monotonic()
        run.start(framework="test")
        t1 = time.monotonic()
        time.sleep(0.02)
        t2 = time.monotonic()
        settle(run)
        run.finish()
        t3 = time.monotonic()
        low_j, high_j = (run.totals.energy_j + sign * run.uncertainty_kwh * KWH for sign in (-1, 1))
        assert low_j <= fake_nvml.energy_j(t0, t3)
        assert high_j >= fake_nvml.energy_j(t1, t2)


def test_energy_goes_to_the_phase_it_was_spent_in(fake_nvml: FakeNvml, new: NewRun) -> None:
    run = new()
    run.start(framework="test")
    train(run)
    t0 = time.monotonic()
    with run.phase("validation"):
        t1 = time.monotonic()
        time.sleep(0.02)
        t2 = time.monotonic()
        settle(run)
    t3 = time.monotonic()
    train(run)
    run.finish()
    phases_j = run.phases_j
    assert set(phases_j) == {"startup", "train", "validation"}
    assert sum(phases_j.values()) == pytest.approx(run.totals.energy_j)
    assert phases_j["validation"] >= fake_nvml.energy_j(t1, t2) - ROUNDING_J
    assert phases_j["train"] <= run.totals.energy_j - fake_nvml.energy_j(t1, t2) + ROUNDING_J
    if t3 - t0 < 0.05:  # no reading can have timed out
        assert phases_j["validation"] <= fake_nvml.energy_j(t0, t3) + ROUNDING_J


def test_every_gpu_and_the_cpu_are_told_apart(fake_nvml: FakeNvml, new: NewRun, tmp_path: Path) -> None:
    fake_nvml.reset("devices=2;d0.profile=constant:100;d1.profile=constant:400;d0.uuid=GPU-a;d1.uuid=GPU-b")
    tree = Powercap(tmp_path / "powercap")
    package, memory = tree.add("intel-rapl:0", "package-0"), tree.add("intel-rapl:0:0", "dram")
    run = new(powercap_root=tree.root, log_dir=tmp_path)
    for _ in range(2):
        run.start(framework="test")
        settle(run)
        time.sleep(0.05)
        package.advance(5.0)
        memory.advance(1.0)
        train(run)
        run.finish()
    end = recorded(run, tmp_path)[-1]
    assert isinstance(end, journal.End)
    assert end.channels_j == run.channels_j
    assert set(run.channels_j) == {"GPU-a", "GPU-b", "cpu:0", "dram:0"}
    assert (run.channels_j["cpu:0"], run.channels_j["dram:0"]) == (10.0, 2.0)
    assert run.channels_j["GPU-b"] == pytest.approx(4 * run.channels_j["GPU-a"], rel=0.02)
    assert sum(run.channels_j.values()) == pytest.approx(run.totals.energy_j)


def test_net_and_embodied_emissions_are_told_over_all_sessions_apart_from_what_is_logged(
    fake_nvml: FakeNvml, new: NewRun, tmp_path: Path
) -> None:
    """Two GPUs in the first session and one in the second."""
    embodied = Embodied(kg_co2e_per_device=365 * 86_400.0, lifetime_years=1.0)  # a kg for every second of a GPU
    run = new(intensity=400.0, net_share=0.75, embodied=embodied, log_dir=tmp_path)
    high_s = 0.0
    for gpus in (2, 1):
        fake_nvml.reset(f"devices={gpus}")
        t0 = time.monotonic()
        run.start(framework="test")
        settle(run)
        train(run, seconds=0.02)
        row = run.metrics()
        run.finish()
        assert run.settle(PATIENCE_S)
        until(lambda: not sampler_threads())
        high_s += gpus * (time.monotonic() - t0)
    records = recorded(run, tmp_path)
    end, starts = records[-1], [record for record in records if isinstance(record, journal.Start)]
    assert isinstance(end, journal.End)
    assert run.kg_co2e_embodied is not None
    assert 2 * 0.02 + 0.02 <= run.kg_co2e_embodied <= high_s
    assert run.kg_co2e_net == pytest.approx(run.totals.energy_j / KWH * 0.4 * 0.25)
    assert (end.kg_co2e_net, end.kg_co2e_embodied) == (run.kg_co2e_net, run.kg_co2e_embodied)
    assert [(start.net_share, start.embodied) for start in starts] == [(0.75, embodied)] * 2
    assert row["emissions/kg_co2e"] == pytest.approx(row["energy/kwh"] * 0.4)
    assert not [name for name in row if "net" in name or "embodied" in name]
    assert re.search(r"CO2e \(net [\d.]+ m?g CO2e, embodied [\d.]+ k?g CO2e apart\); 1 steps", run.summary())


def test_an_exception_in_a_phase_passes_and_ends_it(new: NewRun) -> None:
    run = new()
    run.start(framework="test")
    run.enter_phase("train")
    with pytest.raises(ZeroDivisionError), run.phase("validation"):
        raise ZeroDivisionError
    settle(run)
    before_j = run.phases_j.get("validation", 0.0)
    train(run)
    run.finish()
    assert run.phases_j.get("validation", 0.0) == before_j


def test_epochs_sum_to_the_run(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path, interval_s=0.01)
    run.start(framework="test", total_epochs=5)
    rows = []
    for _ in range(5):
        train(run, steps=4)
        rows.append(run.epoch_end())
    run.finish()
    for name in ("energy/epoch_kwh", "emissions/epoch_kg_co2e"):
        whole = rows[-1][name.replace("epoch_", "")]
        assert sum(row[name] for row in rows) == pytest.approx(whole, rel=1e-12)
    records = recorded(run, tmp_path)
    epochs = [record for record in records if isinstance(record, journal.Epoch)]
    assert [(epoch.epoch, epoch.step) for epoch in epochs] == [(1, 4), (2, 8), (3, 12), (4, 16), (5, 20)]
    for epoch, row in zip(epochs, rows, strict=True):
        assert epoch.spent.kwh == pytest.approx(row["energy/epoch_kwh"], rel=1e-12)
        assert epoch.metrics == {key: None if math.isnan(value) else value for key, value in row.items()}


def test_a_lost_gpu_is_filled_in_and_said_once(
    fake_nvml: FakeNvml, new: NewRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = new()
    run.start(framework="test")
    train(run)
    fake_nvml.set_error(0, "all", 15)
    for _ in range(3):
        train(run, seconds=0.005)
    row = run.metrics()
    run.finish()
    assert 0 < row["energy/measured_fraction"] < 1
    assert row["energy/gpu_kwh"] > 0
    assert len(warnings(caplog)) == 1
    assert "GPU is lost" in warnings(caplog)[0]


def test_a_driver_that_hangs_holds_up_no_step_and_no_end(fake_nvml: FakeNvml, new: NewRun) -> None:
    run = new()
    run.start(framework="test")
    train(run)
    with fake_nvml.hanging(0, "total_energy"):
        before_s = time.monotonic()
        for _ in range(1000):
            run.step()
        run.enter_phase("validation")
        row = run.epoch_end()
        run.finish()
        assert time.monotonic() - before_s < 5  # four readings of 0.05 s at most
    assert row["energy/kwh"] > 0


# -- steps and rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "framework", "expected"),
    [(None, None, [50, 100]), (None, 40, [40, 80, 120]), (25, 40, [25, 50, 75, 100]), (1000, 1, [])],
)
def test_rows_are_due_at_the_users_cadence_else_the_frameworks_else_ours(
    new: NewRun, option: int | None, framework: int | None, expected: list[int]
) -> None:
    run = new(log_every_n_steps=option)
    run.start(framework="test", log_every_n_steps=framework)
    assert [step for step in range(1, 121) if run.step() and run.should_log] == expected
    run.finish()
    assert run.steps_done == 120


def test_steps_counted_in_bulk_miss_no_row_and_make_none_twice(new: NewRun) -> None:
    run = new(log_every_n_steps=10)
    run.start(framework="test")
    due = [run.steps_done for _ in range(10) if run.step(7) and run.should_log]
    run.finish()
    assert due == [14, 21, 35, 42, 56, 63, 70]  # the first step at or after each multiple of 10


def test_a_resumed_runs_rows_fall_on_the_same_steps(new: NewRun) -> None:
    run = new(log_every_n_steps=10)
    run.start(framework="test", step=1234)
    due = [run.steps_done for _ in range(20) if run.step() and run.should_log]
    run.finish()
    assert due == [1240, 1250]


KEYS = [
    "energy/kwh",
    "energy/gpu_kwh",
    "energy/cpu_kwh",
    "energy/epoch_kwh",
    "energy/measured_fraction",
    "power/watts",
    "emissions/kg_co2e",
    "emissions/epoch_kg_co2e",
    "grid/g_co2e_per_kwh",
    "forecast/kwh",
    "forecast/kwh_low",
    "forecast/kwh_high",
    "forecast/kg_co2e",
    "forecast/kg_co2e_low",
    "forecast/kg_co2e_high",
]


def test_every_row_has_the_same_keys_and_plain_floats(new: NewRun) -> None:
    run = new(total_epochs=3, intensity=56)
    rows = [run.metrics()]
    run.start(framework="test")
    for _ in range(3):
        train(run)
        rows += [run.metrics(), run.epoch_end()]
    run.finish()
    rows.append(run.metrics())
    assert all([*row] == KEYS for row in rows)
    assert {type(value) for row in rows for value in row.values()} == {float}
    assert all(math.isfinite(value) for row in rows[2:] for value in row.values())


def test_with_a_budget_there_is_one_key_more(new: NewRun) -> None:
    run = new(budget=Budget(kwh=1e-3))
    run.start(framework="test")
    train(run)
    row = run.metrics()
    run.finish()
    assert [*row] == [*KEYS, "budget/used_fraction"]
    assert row["budget/used_fraction"] == pytest.approx(row["energy/kwh"] / 1e-3)


def test_power_is_what_the_gpu_draws(fake_nvml: FakeNvml, new: NewRun) -> None:
    fake_nvml.reset("profile=constant:123")
    run = new(interval_s=0.01)
    run.start(framework="test")
    until(lambda: run.metrics()["power/watts"] == pytest.approx(123, rel=0.05))
    run.finish()


def test_the_summary_says_what_was_spent(new: NewRun) -> None:
    run = new()
    run.start(framework="test")
    train(run, steps=3)
    run.finish()
    found = re.fullmatch(
        r"([\d.]+) (J|Wh) ± [\d.]+ (?:J|Wh) \(100% measured\), [\d.]+ m?g CO2e; 3 steps in \d+ s", run.summary()
    )
    assert found, run.summary()
    assert float(found[1]) * {"J": 1, "Wh": 3600}[found[2]] == pytest.approx(run.totals.energy_j, rel=0.005)


# -- how long, how much ------------------------------------------------------------------------------------------------


def test_the_length_is_epochs_times_the_steps_of_the_first(new: NewRun) -> None:
    run = new()
    run.start(framework="test", total_epochs=4)
    assert run.total_steps is None
    train(run, steps=25)
    assert run.total_steps is None
    run.epoch_end()
    assert run.total_steps == 100
    run.finish()


def test_what_the_user_says_of_the_length_goes_before_the_framework(new: NewRun) -> None:
    run = new(total_steps=70)
    run.start(framework="test", total_steps=100, total_epochs=4, steps_per_epoch=25)
    assert run.total_steps == 70
    run.finish()
    run = new(total_epochs=2)
    run.start(framework="test", total_epochs=4, steps_per_epoch=25)
    assert run.total_steps == 50
    run.expect(None, 4, 30)
    assert run.total_steps == 60
    run.finish()


def test_without_a_length_there_is_no_forecast(new: NewRun) -> None:
    run = new()
    assert run.forecast() is None
    run.start(framework="test")
    train(run, steps=5)
    row = run.epoch_end()
    run.finish()
    assert run.forecast() is None
    assert all(math.isnan(row[key]) for key in KEYS if key.startswith("forecast/"))


def test_after_an_epoch_the_forecast_holds_what_is_spent_and_what_is_to_come(new: NewRun) -> None:
    run = new(total_epochs=10, intensity=500.0, pue=2.0)
    run.start(framework="test")
    train(run, steps=10, seconds=0.03)
    epoch_j = run.phases_j["train"]
    run.epoch_end()
    forecast, spent = run.forecast(), run.totals
    assert forecast is not None
    assert spent.kwh <= forecast.kwh_low <= forecast.kwh <= forecast.kwh_high
    assert forecast.kwh == pytest.approx(spent.kwh + 9 * epoch_j / KWH, rel=0.5)
    assert forecast.kg_co2e == pytest.approx(forecast.kwh * 2.0 * 0.5)
    assert forecast.kg_co2e_low == pytest.approx(forecast.kwh_low * 2.0 * 0.5)
    run.finish()


def test_a_run_that_has_done_all_its_steps_forecasts_what_it_spent(new: NewRun) -> None:
    run = new(total_steps=5)
    run.start(framework="test")
    train(run, steps=5)
    run.finish()
    forecast = run.forecast()
    assert forecast is not None
    assert (forecast.kwh_low, forecast.kwh, forecast.kwh_high) == pytest.approx((run.totals.kwh,) * 3)


# -- budget -----------------------------------------------------------------------------------------------------------


def test_a_spent_budget_is_noticed_at_the_next_step(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = new(budget=Budget(kwh=1e-9), log_dir=tmp_path, log_every_n_steps=1000)
    run.start(framework="test")
    time.sleep(0.005)
    settle(run)
    assert run.step()
    assert (run.should_stop, run.should_log, run.steps_done) == (True, False, 1)
    assert run.step()
    run.stopped(tmp_path / "last.ckpt")
    run.finish("stopped")
    (line,) = warnings(caplog)
    assert re.fullmatch(
        r"budget of 0\.0036 J spent: [\d.]+ m?g CO2e, [\d.]+ m?W?[hJ]; "
        rf"training stops at step 2, checkpoint in {re.escape(str(tmp_path))}/last\.ckpt",
        line,
    )
    records = recorded(run, tmp_path)
    assert [record.reason for record in records if isinstance(record, journal.Stop)] == [line]
    assert isinstance(records[-1], journal.End)
    assert records[-1].status == "stopped"


def test_a_budget_of_co2e_counts_pue(fake_nvml: FakeNvml, new: NewRun) -> None:
    fake_nvml.reset("profile=constant:360")
    run = new(budget=Budget(kg_co2e=0.5), intensity=1000.0, pue=2.0)
    run.start(framework="test")
    time.sleep(0.01)
    settle(run)
    run.finish()
    assert run.metrics()["budget/used_fraction"] == pytest.approx(run.totals.kwh * 2.0 * 1.0 / 0.5)


def test_a_budget_that_warns_says_it_once_and_lets_training_go_on(
    new: NewRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = new(budget=Budget(kwh=1e-9, on_exceed="warn"))
    run.start(framework="test")
    for _ in range(5):
        train(run, seconds=0.003)
    assert not run.should_stop
    assert not run.check_stop()
    run.finish()
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].endswith("; training goes on")


def test_what_earlier_parts_spent_is_spent(new: NewRun) -> None:
    first = new()
    first.start(framework="test")
    train(first)
    first.finish()
    second = new(budget=Budget(kwh=first.totals.kwh / 2))
    assert second.metrics()["budget/used_fraction"] == 0
    second.load_state_dict(first.state_dict())
    assert second.metrics()["budget/used_fraction"] == pytest.approx(2)
    second.start(framework="test")
    settle(second)
    assert second.check_stop()
    second.finish()


# -- start, finish and start again -------------------------------------------------------------------------------------


def test_finishing_is_allowed_at_any_time_and_any_number_of_times(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path)
    run.finish()
    assert (run.running, run.totals) == (False, Totals())
    run.start(framework="test")
    assert run.running
    train(run)
    run.finish("failed")
    totals, row = run.totals, run.metrics()
    time.sleep(0.005)
    run.refresh()
    run.finish()
    run.finish("finished")
    assert (run.running, run.totals, run.metrics()) == (False, totals, row)
    ends = [r for r in recorded(run, tmp_path) if isinstance(r, journal.End)]
    assert [(end.status, end.totals) for end in ends] == [("failed", totals)]


def test_the_last_reading_is_settled_after_the_end(fake_nvml: FakeNvml, new: NewRun, tmp_path: Path) -> None:
    fake_nvml.reset("profile=square:100,500,0.13;refresh_s=0.05")
    for attempt in range(10):  # on a machine too busy to see the counter move, nothing is learnt
        run = new(log_dir=tmp_path / str(attempt))
        run.start(framework="test")
        t1 = time.monotonic()
        train(run, steps=10, seconds=0.5)
        t2 = time.monotonic()
        run.finish()
        t3 = time.monotonic()
        unsettled_j = run.uncertainty_kwh * KWH
        end = recorded(run, tmp_path / str(attempt))[-1]
        assert isinstance(end, journal.End)
        assert (end.totals, end.uncertainty_kwh) == (run.totals, run.uncertainty_kwh)
        assert sum(end.phases_j.values()) == pytest.approx(run.totals.energy_j)
        doubt_j = run.uncertainty_kwh * KWH
        assert fake_nvml.energy_j(t1, t2) - doubt_j <= run.totals.energy_j <= fake_nvml.energy_j(t1, t3) + doubt_j
        if doubt_j < 0.75 * unsettled_j:
            return
    pytest.fail("no last reading was settled")


def test_a_phase_after_the_end_changes_nothing(new: NewRun) -> None:
    """A generator over the batches is closed when nobody holds it any more, which may be after the end."""
    run = finished(new)
    run.enter_phase("other")
    assert run.settle(PATIENCE_S)
    assert set(run.phases_j) == {"startup", "train"}


def test_a_checkpoint_taken_on_right_after_the_end_is_not_in_the_record_of_what_ended(
    new: NewRun, tmp_path: Path
) -> None:
    first = finished(new)
    assert first.settle(PATIENCE_S)
    second = finished(new, log_dir=tmp_path)
    second.load_state_dict(first.state_dict())
    end = recorded(second, tmp_path)[-1]
    assert isinstance(end, journal.End)
    assert end.totals.energy_j == pytest.approx(second.totals.energy_j - first.totals.energy_j)


def test_a_start_right_after_the_end_leaves_two_whole_sessions(
    fake_nvml: FakeNvml, new: NewRun, tmp_path: Path
) -> None:
    fake_nvml.reset("refresh_s=0.1")
    run = new(log_dir=tmp_path)
    for _ in range(3):
        run.start(framework="test")
        train(run)
        run.epoch_end()
        run.finish()
    records = [record for record in recorded(run, tmp_path) if not isinstance(record, journal.Tick)]
    assert [type(record) for record in records] == 3 * [journal.Start, journal.Epoch, journal.End]
    ends = [record.totals for record in records if isinstance(record, journal.End)]
    starts = [record.spent_before for record in records if isinstance(record, journal.Start)]
    assert [Totals(), *ends] == [*starts, run.totals]


def test_a_run_forgotten_right_after_its_end_is_recorded_to_it(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path)
    run.start(framework="test")
    train(run)
    run.finish()
    del run
    gc.collect()
    (path,) = tmp_path.glob("*.jsonl")
    until(lambda: isinstance([*journal.read(path)][-1], journal.End))


def test_a_second_start_goes_on_counting_and_nothing_between_is_counted(fake_nvml: FakeNvml, new: NewRun) -> None:
    run = new()
    low_j = high_j = 0.0
    for _ in range(3):
        t0 = time.monotonic()
        run.start(framework="test")
        t1 = time.monotonic()
        time.sleep(0.01)
        t2 = time.monotonic()
        settle(run)
        run.finish()
        low_j += fake_nvml.energy_j(t1, t2) - ROUNDING_J
        high_j += fake_nvml.energy_j(t0, time.monotonic()) + ROUNDING_J
        assert low_j <= run.totals.energy_j <= high_j
        time.sleep(0.02)


def test_all_parts_of_a_run_are_in_one_record(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path)
    parts = []
    for _ in range(2):
        run.start(framework="test")
        train(run)
        run.finish()
        parts.append(run.totals)
    starts = [record for record in recorded(run, tmp_path) if isinstance(record, journal.Start)]
    assert [start.spent_before for start in starts] == [Totals(), parts[0]]
    assert {start.run_id for start in starts} == {run.id}


def test_a_start_without_a_finish_keeps_what_training_spent_and_says_it_was_interrupted(
    new: NewRun, tmp_path: Path
) -> None:
    run = new(log_dir=tmp_path)
    run.start(framework="test")
    train(run)
    run.refresh()
    spent_j = run.totals.energy_j
    run.start(framework="test")
    settle(run)
    assert run.totals.energy_j >= spent_j
    assert len(sampler_threads()) == 1
    run.finish()
    ends = [record.status for record in recorded(run, tmp_path) if isinstance(record, journal.End)]
    assert ends == ["interrupted", "finished"]


def test_the_record_tells_how_it_was_measured(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path / "logs", pue=1.2, budget=Budget(kwh=5.0))
    run.start(framework="test")
    train(run, steps=3)
    run.finish()
    start, tick, *_, end = recorded(run, tmp_path / "logs")
    assert isinstance(start, journal.Start)
    assert isinstance(tick, journal.Tick)
    assert isinstance(end, journal.End)
    assert (start.run_id, start.framework, start.region, start.pue) == (run.id, "test", "FR", 1.2)
    assert (start.budget, start.spent_before) == (Budget(kwh=5.0), Totals())
    assert start.g_co2e_per_kwh == run.metrics()["grid/g_co2e_per_kwh"] > 0
    assert tick.channels == {"GPU-a0b1c200-fa4e-4000-8000-000000000000": "counter"}
    assert (end.step, end.status, end.totals) == (3, "finished", run.totals)
    assert (end.uncertainty_kwh, end.phases_j) == (run.uncertainty_kwh, run.phases_j)


def test_a_folder_that_cannot_be_written_stops_nothing(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    run = new(log_dir=tmp_path / "file" / "logs")
    run.start(framework="test")
    train(run)
    run.epoch_end()
    run.finish()
    assert run.totals.energy_j > 0
    assert len(warnings(caplog)) == 1


def test_the_world_average_is_said_once_and_only_if_no_place_was_given(
    new: NewRun, caplog: pytest.LogCaptureFixture
) -> None:
    for options in ({}, {"region": None, "intensity": 56.0}):
        run = new(**options)
        run.start(framework="test")
        run.finish()
    assert warnings(caplog) == []
    run = new(region=None)
    for _ in range(2):
        run.start(framework="test")
        run.finish()
    assert len(warnings(caplog)) == 1
    assert re.match(r"no region given, so the world average, \d+ gCO2e/kWh, is used", warnings(caplog)[0])


def test_a_grid_that_fails_later_stops_nothing(new: NewRun, caplog: pytest.LogCaptureFixture) -> None:
    class Grid:
        answers = 1

        def at(self, time: datetime) -> Intensity:
            self.answers -= 1
            if self.answers < 0:
                raise TimeoutError("no answer")
            return Intensity(250.0, "a test")

        def forecast(self, start: datetime, end: datetime) -> None:
            return None

    run = new(intensity=Grid(), region=None)
    run.start(framework="test")
    train(run)
    run.finish()
    assert run.totals.kg_co2e == pytest.approx(run.totals.kwh * 0.25)
    assert len(warnings(caplog)) == 1


# -- state ------------------------------------------------------------------------------------------------------------


def finished(new: NewRun, **options: Any) -> Run:
    """Train three steps of a whole epoch and two of the next."""
    run = new(**options)
    run.start(framework="test")
    train(run, steps=3)
    run.epoch_end()
    train(run, steps=2)
    run.finish()
    return run


def approx(totals: Totals) -> Any:
    return pytest.approx([getattr(totals, name) for name in totals.__struct_fields__])


def spent_in_session_j(run: Run) -> float:
    """Return what was spent since the last start, in joules."""
    assert run._footprint is not None
    return run._footprint.totals.energy_j


def values(totals: Totals) -> list[float]:
    return [getattr(totals, name) for name in totals.__struct_fields__]


def test_state_is_plain_and_comes_back_whole(new: NewRun) -> None:
    first = finished(new)
    state = json.loads(json.dumps(first.state_dict()))
    second = new()
    second.load_state_dict(state)
    assert second.state_dict() == first.state_dict()
    assert (second.id, second.epochs_done, second.totals) == (first.id, 1, first.totals)
    assert second.phases_j == first.phases_j
    assert not second.running


def test_an_epoch_that_was_interrupted_is_one_epoch_when_resumed(new: NewRun) -> None:
    first, second = new(), new()
    first.start(framework="test")
    train(first, steps=3)
    ended_kwh = first.epoch_end()["energy/kwh"]
    train(first, steps=2)
    first.finish()
    second.load_state_dict(first.state_dict())
    second.start(framework="test", step=5)
    train(second)
    row = second.epoch_end()
    second.finish()
    assert row["energy/epoch_kwh"] == pytest.approx(row["energy/kwh"] - ended_kwh)
    assert second.epochs_done == 2


def test_an_epoch_of_two_sessions_is_one_epoch(new: NewRun) -> None:
    run = new()
    for _ in range(2):
        run.start(framework="test")
        train(run)
        run.finish()
    row = run.epoch_end()
    assert row["energy/epoch_kwh"] == pytest.approx(run.totals.kwh)


def test_state_is_counted_once_however_often_it_is_loaded(new: NewRun) -> None:
    first = finished(new)
    second = new()
    for _ in range(3):
        second.load_state_dict(first.state_dict())
    assert values(second.totals) == approx(first.totals)


def test_a_runs_own_state_is_counted_already(new: NewRun) -> None:
    run = finished(new)
    totals = run.totals
    run.load_state_dict(run.state_dict())
    assert run.totals == totals
    run.start(framework="test")
    run.load_state_dict(run.state_dict())
    run.finish()
    assert run.totals.energy_j == pytest.approx(totals.energy_j + spent_in_session_j(run))


def test_state_loaded_after_the_start_is_added_once(new: NewRun) -> None:
    first, second = finished(new), new()
    second.start(framework="test")
    settle(second)
    for _ in range(3):
        second.load_state_dict(first.state_dict())
    assert second.id == first.id
    second.finish()
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + spent_in_session_j(second))


def test_state_loaded_after_steps_is_added_once_under_the_runs_own_name(new: NewRun) -> None:
    first, second = finished(new), new()
    second.start(framework="test")
    train(second)
    own_id = second.id
    for _ in range(3):
        second.load_state_dict(first.state_dict())
    assert second.id == own_id != first.id
    second.finish()
    assert second.totals.energy_j == pytest.approx(first.totals.energy_j + spent_in_session_j(second))


def test_a_later_run_that_holds_an_earlier_one_does_not_count_it_again(new: NewRun) -> None:
    first, second = finished(new), new()
    second.start(framework="test")
    second.load_state_dict(first.state_dict())
    second.finish()
    third = new()
    third.load_state_dict(json.loads(json.dumps(second.state_dict())))
    third.load_state_dict(first.state_dict())
    assert values(third.totals) == approx(second.totals)


def test_a_finished_run_that_takes_on_another_counts_both_once(new: NewRun) -> None:
    first, second = finished(new), finished(new)
    own = second.state_dict()
    second.load_state_dict(first.state_dict())
    both = second.totals
    assert both.energy_j == pytest.approx(first.totals.energy_j + own["totals"]["gpu_j"])
    second.load_state_dict(own)
    second.load_state_dict(first.state_dict())
    assert second.totals == both


@pytest.mark.parametrize("state", [{}, {"version": 99, "totals": {}}, {"version": None}])
def test_state_that_is_not_understood_is_not_counted_and_said(
    new: NewRun, state: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = new()
    run.load_state_dict(state)
    assert run.totals == Totals()
    assert len(warnings(caplog)) == 1


COPIES: dict[str, Callable[[Run], Run]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda run: pickle.loads(pickle.dumps(run)),
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_copy_before_during_and_after_holds_options_and_spending_and_no_measuring(
    new: NewRun, duplicate: Callable[[Run], Run]
) -> None:
    run = new(budget=Budget(kwh=7.0), pue=1.3, total_epochs=3)
    copies = [duplicate(run)]
    assert copies[0].totals == Totals()
    run.start(framework="test")
    train(run, steps=3)
    low_j = run.totals.energy_j
    copies.append(duplicate(run))
    assert low_j <= copies[1].totals.energy_j
    run.finish()
    copies.append(duplicate(run))
    assert copies[1].totals.energy_j <= run.totals.energy_j
    assert copies[2].totals == run.totals
    for each, steps in zip(copies, (0, 3, 3), strict=True):
        assert (each.settings.budget, each.settings.pue, each.settings.total_epochs) == (Budget(kwh=7.0), 1.3, 3)
        assert (each.running, each.steps_done) == (False, steps)
        before_j = each.totals.energy_j
        each.start(framework="test")
        train(each)
        each.finish()
        assert each.totals.energy_j > before_j
    assert copies[2].totals.energy_j > run.totals.energy_j


def test_copying_does_not_disturb_a_running_run(fake_nvml: FakeNvml, new: NewRun) -> None:
    run = new()
    run.start(framework="test")
    t1 = time.monotonic()
    for _ in range(5):
        copy.deepcopy(run)
        pickle.dumps(run)
        time.sleep(0.002)
    t2 = time.monotonic()
    settle(run)
    assert len(sampler_threads()) == 1
    run.finish()
    assert run.totals.energy_j >= fake_nvml.energy_j(t1, t2) - ROUNDING_J


# -- threads and processes ---------------------------------------------------------------------------------------------


def test_two_runs_share_one_thread_and_each_has_its_own_energy(fake_nvml: FakeNvml, new: NewRun) -> None:
    outer, inner = new(), new()
    outer.start(framework="test")
    time.sleep(0.01)
    t0 = time.monotonic()
    inner.start(framework="test")
    assert len(sampler_threads()) == 1
    time.sleep(0.01)
    settle(inner)
    inner.finish()
    t1 = time.monotonic()
    assert len(sampler_threads()) == 1
    inner_j = inner.totals.energy_j
    time.sleep(0.01)
    settle(outer)
    outer.finish()
    assert inner.totals.energy_j == inner_j <= fake_nvml.energy_j(t0, t1) + ROUNDING_J
    assert outer.totals.energy_j >= inner_j + 300 * 0.02 - ROUNDING_J
    until(lambda: not sampler_threads())


def test_a_run_never_started_has_no_thread(new: NewRun) -> None:
    run = new()
    for _ in range(100):
        assert not run.step()
    run.epoch_end()
    run.refresh()
    assert sampler_threads() == []


def test_a_running_run_that_is_dropped_is_collected_and_its_thread_ends(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path)
    run.start(framework="test")
    train(run)
    gone = weakref.ref(run)
    del run
    until(lambda: gc.collect() is not None and gone() is None)
    until(lambda: not sampler_threads())
    (path,) = tmp_path.glob("*.jsonl")
    *begin, end = journal.read(path)
    assert [type(record) for record in begin] == [journal.Start, journal.Tick]
    assert isinstance(end, journal.End)
    assert end.status == "interrupted"


def test_a_dropped_run_lets_its_source_of_intensity_rest(new: NewRun) -> None:
    class Source:
        instant = True
        rested = 0

        def at(self, time: datetime) -> Intensity:
            return Intensity(100.0, "a test", "average")

        def forecast(self, start: Any, end: Any) -> None:
            return None

        def rest(self) -> None:
            self.rested += 1

    source = Source()
    run = new(region=None, intensity=source)
    run.start(framework="test")
    del run
    gc.collect()
    until(lambda: source.rested)


def test_a_dropped_run_leaves_the_thread_to_the_other(new: NewRun) -> None:
    dropped, kept = new(), new()
    dropped.start(framework="test")
    kept.start(framework="test")
    del dropped
    gc.collect()
    train(kept)
    assert len(sampler_threads()) == 1
    kept.finish()
    assert kept.totals.energy_j > 0


def in_child(work: Callable[[], bool]) -> bool:
    """Fork, work, and tell whether it went well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_measures_nothing_and_harms_nothing(fake_nvml: FakeNvml, new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path, log_every_n_steps=2)
    run.start(framework="test")
    t1 = time.monotonic()
    train(run)

    def work() -> bool:
        spent = run.totals
        calls = fake_nvml.calls("all")
        for _ in range(10):
            run.step()
        run.enter_phase("validation")
        run.refresh()
        run.epoch_end()
        time.sleep(0.005)
        run.finish()
        measured = fake_nvml.calls("all") - calls
        return not run.running and run.totals == spent and measured == 0 and not sampler_threads()

    assert in_child(work)
    assert run.running
    time.sleep(0.005)
    t2 = time.monotonic()
    settle(run)
    run.finish()
    assert run.totals.energy_j >= fake_nvml.energy_j(t1, t2) - ROUNDING_J
    assert run.steps_done == 1
    kinds = [type(record) for record in recorded(run, tmp_path)]
    assert [kind for kind in kinds if kind is not journal.Tick] == [journal.Start, journal.End]


def test_a_run_dropped_in_a_forked_child_writes_nothing_a_second_time(new: NewRun, tmp_path: Path) -> None:
    run = new(log_dir=tmp_path)
    run.start(framework="test")
    runs = [run]
    run._session.recorder.stop(0, "queued in the parent")
    del run

    def work() -> bool:
        runs.clear()
        gc.collect()
        return True

    assert in_child(work)
    runs[0].finish()
    assert sum(isinstance(record, journal.Stop) for record in recorded(runs[0], tmp_path)) == 1


def test_a_child_may_measure_by_a_run_of_its_own(new: NewRun) -> None:
    run = new()
    run.start(framework="test")
    settle(run)

    def work() -> bool:
        own = new()
        own.start(framework="test")
        time.sleep(0.005)
        settle(own)
        own.finish()
        return 0 < own.totals.energy_j < 300 * PATIENCE_S

    assert in_child(work)
    run.finish()


def test_an_intensity_that_fails_from_the_start_leaves_the_regions_yearly_value(
    new: NewRun, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def at(self, time: Any) -> Any:
            raise ConnectionError("no route to host")

        def forecast(self, start: Any, end: Any) -> None:
            return None

    run = new(region="FR", intensity=Broken())
    run.start(framework="test")
    run.finish()
    assert run.metrics()["grid/g_co2e_per_kwh"] == 44.179
    assert len([record for record in caplog.records if "no route to host" in record.getMessage()]) == 1


def test_without_a_thread_to_be_had_training_goes_on_unmeasured(
    new: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    run = new(log_dir=tmp_path)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    run.start(framework="test", total_epochs=1)
    run.step()
    run.epoch_end()
    run.finish()
    assert (run.steps_done, run.totals.energy_j) == (1, 0.0)
    assert warnings(caplog) == ["nothing is measured: can't start new thread"]
    assert [type(record) for record in recorded(run, tmp_path)] == [journal.Start, journal.Epoch, journal.End]


def test_a_last_reading_for_which_there_is_no_time_is_filled_in_and_flagged(new: NewRun) -> None:
    """As where a busy machine does not let the sampler's thread run in time, though no driver hangs."""
    run = new()
    run.start(framework="test")
    settle(run)
    begin_s = time.monotonic()
    time.sleep(0.3)
    settle(run)
    time.sleep(0.5)
    end_s = time.monotonic()
    run.finish(patience_s=0.0)
    assert run.settle(PATIENCE_S)
    assert 0.9 * 300.0 * (end_s - begin_s) < run.totals.energy_j < 1.5 * 300.0 * (time.monotonic() - begin_s)
    assert 0.0 < run.totals.modelled_j <= run.uncertainty_kwh * KWH
