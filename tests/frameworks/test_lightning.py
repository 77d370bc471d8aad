"""What the Lightning callback relies on, and what its users expect beyond the contract."""

from __future__ import annotations

import csv
import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Lightning
from contract.test_contract import Load
from fakes.grid import CLEAN, DIRTY, Grid
from fakes.nvml import FakeNvml, environment
from wattloop import Budget, CleanHours
from wattloop.lightning import EmissionsCallback

pl = pytest.importorskip("lightning.pytorch")
torch = pytest.importorskip("torch")

J_PER_KWH = 3.6e6
PROMPT_S = 0.5
"""How long what happens at once may take, on however slow a machine."""


@pytest.fixture
def front() -> Lightning:
    return Lightning("lightning.pytorch")


def fit(
    front: Lightning, folder: Path, *, batches: int = 6, work: Any = lambda: None, val: bool = False, **opts: Any
) -> Any:
    trainer = front.trainer(folder, **opts)
    trainer.fit(front.model(work), front.loader(batches), front.loader(2) if val else None)
    return trainer


@pytest.mark.parametrize("place", [0, 2], ids=["first", "last"])
def test_early_stopping_and_checkpoints_can_watch_emissions(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path, place: int
) -> None:
    callbacks = [
        pl.callbacks.EarlyStopping(monitor="emissions/kg_co2e", patience=0, mode="min"),
        pl.callbacks.ModelCheckpoint(tmp_path, monitor="emissions/kg_co2e", filename="{emissions/kg_co2e:.9f}"),
    ]
    callbacks.insert(place, EmissionsCallback(region="FR"))
    trainer = fit(front, tmp_path, max_epochs=5, callbacks=callbacks, work=lambda: time.sleep(0.02))

    # Emissions only grow: without patience the second epoch is the last.
    assert trainer.current_epoch == 2
    assert list(tmp_path.glob("**/kg_co2e=0.0*.ckpt"))


@pytest.mark.parametrize("every", [{"val_check_interval": 0.5}, {"check_val_every_n_epoch": 2}])
def test_early_stopping_at_the_end_of_a_validation_finds_the_keys(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path, every: dict[str, Any]
) -> None:
    stopping = pl.callbacks.EarlyStopping(monitor="emissions/kg_co2e", patience=99, mode="min")
    trainer = fit(
        front, tmp_path, max_epochs=2, callbacks=[EmissionsCallback(region="FR"), stopping], val=True, **every
    )
    assert trainer.global_step == 12


def test_step_rows_come_every_n_steps(front: Lightning, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fit(front, tmp_path, batches=10, max_epochs=2, callbacks=[EmissionsCallback(region="FR")], log_every_n_steps=5)
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["energy/kwh"] and not row["epoch"]]
    assert steps == [4, 9, 14, 19, 20]


@pytest.mark.parametrize(
    ("options", "batches", "total"),
    [
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 6, 12),
        ({"max_steps": 3}, 6, 3),
        ({"max_epochs": 2, "max_steps": 3}, 6, 3),
        ({"max_steps": 3, "accumulate_grad_batches": 4}, 6, 10),
        ({"max_epochs": 3, "limit_train_batches": 2}, 6, 6),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 6, 6),
    ],
)
def test_knows_the_batches_of_the_whole_run(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path, options: dict[str, Any], batches: int, total: int
) -> None:
    callback = EmissionsCallback(region="FR")
    trained = 0

    def work() -> None:
        nonlocal trained
        trained += 1

    fit(front, tmp_path, batches=batches, work=work, callbacks=[callback], **options)
    assert callback.run.total_steps == total == trained == callback.run.steps_done


def test_a_data_set_without_length_is_counted_in_its_first_epoch(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Any:
            yield from torch.zeros(7, 4)

    callback = EmissionsCallback(region="FR", interval_s=0.02)
    known: list[float | None] = []

    class Watch(pl.Callback):  # type: ignore[misc, name-defined]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            known.append(callback.run.total_steps)

    trainer = front.trainer(tmp_path, max_epochs=3, callbacks=[callback, Watch()])
    trainer.fit(front.model(lambda: time.sleep(0.01)), torch.utils.data.DataLoader(Stream()))
    assert known == [21, 21, 21]


def test_a_run_of_unknown_length_has_no_forecast(front: Lightning, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    class Enough(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = trainer.global_step >= 60

    callback = EmissionsCallback(region="FR", interval_s=0.02)
    fit(front, tmp_path, max_epochs=-1, callbacks=[callback, Enough()], work=lambda: time.sleep(0.01))
    assert callback.run.total_steps is None
    assert callback.run.forecast() is None


def test_a_run_that_ends_by_the_clock_is_forecast(front: Lightning, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    forecasts = []

    class Look(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            forecasts.append(callback.run.forecast())

    callback = EmissionsCallback(region="FR", interval_s=0.02)
    work = {"work": lambda: time.sleep(0.01)}
    fit(front, tmp_path, max_epochs=-1, max_time={"seconds": 2}, callbacks=[callback, Look()], **work)
    assert callback.run.total_steps is None
    halfway = forecasts[len(forecasts) // 2]
    assert halfway is not None
    # By the clock it ends after two seconds, though a machine may stand still in the last step.
    assert halfway.duration_s == pytest.approx(2.0, rel=0.15)
    assert halfway.kwh == pytest.approx(300 * 2.0 / J_PER_KWH, rel=0.15)


def test_a_budget_stop_waits_for_the_optimizer_and_can_be_resumed_where_it_stopped(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    load = Load(fake_nvml, steps=999, step_s=0.01)
    counts = [0, 0]

    def work(part: int) -> None:
        load(counts[part])
        counts[part] += 1

    budget = Budget(kwh=0.3 * load.watts / J_PER_KWH)
    stopped = EmissionsCallback(region="FR", interval_s=0.05, budget=budget)
    options = {"max_epochs": 2, "accumulate_grad_batches": 4}
    trainer = fit(front, tmp_path / "1", batches=40, work=lambda: work(0), callbacks=[stopped], **options)
    (checkpoint,) = tmp_path.rglob("budget-step=*.ckpt")

    assert trainer.global_step * 4 == counts[0] < 40
    assert checkpoint.name == f"budget-step={trainer.global_step}.ckpt"
    state = torch.load(checkpoint, weights_only=True)["callbacks"]["EmissionsCallback"]
    assert state["totals"]["gpu_j"] == pytest.approx(0.3 * load.watts, rel=0.5)

    resumed = EmissionsCallback(region="FR", interval_s=0.05, budget=Budget(kwh=1.0))
    trainer = front.trainer(tmp_path / "2", callbacks=[resumed], **options)
    trainer.fit(front.model(lambda: work(1)), front.loader(40), ckpt_path=checkpoint)
    load.power_off()
    # Lightning before 2.6 does the batch over in which the checkpoint was saved.
    repeated = int(tuple(map(int, pl.__version__.split(".")[:2])) < (2, 6))
    assert counts[0] + counts[1] == 80 + repeated
    assert resumed.run.steps_done == 80 + repeated
    # Between the two fits it draws on, which is nobody's.
    assert resumed.run.totals.kwh == pytest.approx(load.kwh, rel=0.15)
    # What was drawn between the checkpoint and the end of the first fit is in no state, only in its record.
    own_j = resumed.run._footprint.totals.energy_j
    assert resumed.run.totals.energy_j == pytest.approx(stopped.run.totals.energy_j + own_j)
    assert resumed.run.id == stopped.run.id
    # The run was stopped where its checkpoint is: nothing is done again.
    assert resumed.run.lost.energy_j == 0.0


def test_validation_is_counted_apart_and_the_sanity_check_is_start_up(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    class Slow(pl.Callback):  # type: ignore[misc, name-defined]
        slept_s = 0.0

        def on_validation_batch_start(self, trainer: Any, *args: Any) -> None:
            began_s = time.monotonic()
            time.sleep(0.05)
            if not trainer.sanity_checking:
                self.slept_s += time.monotonic() - began_s

    callback, slow = EmissionsCallback(region="FR"), Slow()
    fit(front, tmp_path, max_epochs=2, callbacks=[callback, slow], val=True, num_sanity_val_steps=2)
    phases = callback.run.phases_j
    # 300 W for 2 x 2 batches of validation, and for 2 of the sanity check.
    assert slow.slept_s >= 4 * 0.05
    assert 0.8 * 300 * slow.slept_s <= phases["validation"] <= 300 * (slow.slept_s + PROMPT_S)
    assert phases["startup"] >= 300 * 2 * 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 0},
        {"fast_dev_run": True},
        {"max_epochs": 1, "logger": False},
        {"max_epochs": 1, "barebones": True},
    ],
    ids=["no epochs", "fast_dev_run", "no logger", "barebones"],
)
def test_unusual_trainers_train_as_ever(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "barebones" in options:
        options = {**options, "logger": None, "enable_progress_bar": None, "enable_model_summary": None}
    callback = EmissionsCallback(region="FR")
    trainer = fit(front, tmp_path, callbacks=[callback], **options)
    assert trainer.state.finished
    assert not callback.run.running


def test_a_failure_before_training_ends_the_measuring(front: Lightning, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    model = front.model()
    model.configure_optimizers = lambda: 1 / 0
    callback = EmissionsCallback(region="FR")
    with pytest.raises(ZeroDivisionError):
        front.trainer(tmp_path, max_epochs=1, callbacks=[callback]).fit(model, front.loader(2))
    assert not callback.run.running


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
def test_either_namespace_alone_is_enough(namespace: str, tmp_path: Path) -> None:
    package = namespace.partition(".")[0]
    other = {"lightning": "pytorch_lightning", "pytorch_lightning": "lightning"}[package]
    script = f"""
import sys
sys.modules[{other!r}] = None
import {namespace} as pl
from {namespace}.demos.boring_classes import BoringModel
from wattloop.lightning import EmissionsCallback
assert issubclass(EmissionsCallback, pl.Callback)
callback = EmissionsCallback(region="FR")
options = dict(max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False)
pl.Trainer(callbacks=callback, **options).fit(BoringModel())
print("steps", callback.run.steps_done, "measured", callback.run.totals.measured_fraction)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment("devices=1"), cwd=tmp_path, capture_output=True, text=True
    )
    assert "steps 3 measured 1.0" in done.stdout, done.stderr


@pytest.mark.parametrize(("least", "warned"), [({}, 0), ({"min_epochs": 2}, 1), ({"min_steps": 30}, 1)])
def test_minima_that_would_hold_up_a_budget_stop_are_warned_of(
    front: Lightning,
    fake_nvml: FakeNvml,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    least: dict[str, int],
    warned: int,
) -> None:
    callback = EmissionsCallback(region="FR", budget=Budget(kwh=1.0))
    with caplog.at_level(logging.WARNING, "wattloop"):
        trainer = front.trainer(tmp_path, max_epochs=3, callbacks=[callback], **least)
        trainer.fit(front.model(lambda: None), front.loader(12))
    said = [record.getMessage() for record in caplog.records if record.name == "wattloop"]
    assert len([line for line in said if line.startswith("min_epochs and min_steps go before the budget")]) == warned


def test_max_time_begins_when_the_run_does_and_no_pause_takes_what_training_needs_of_it(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    grid = Grid(CLEAN)
    grid.dirty_for(3.0)
    steps = [0]

    def work() -> None:
        time.sleep(0.02)
        steps[0] += 1
        if steps[0] == 20:
            grid.value = DIRTY  # and so it stays: one that may train for 6 s and needs them does not wait

    wait = CleanHours(below=250, shortest_minutes=0)
    callback = EmissionsCallback(intensity=grid, wait=wait, interval_s=0.05)
    grid.run = callback.run
    trainer = fit(
        front, tmp_path, batches=100, work=work, max_epochs=1000, max_time={"seconds": 6}, callbacks=[callback]
    )
    assert 2.0 < callback.run.totals.waited_s < 6.0
    assert callback.run.totals.duration_s - callback.run.totals.waited_s > 5.0
    assert trainer.global_step == steps[0] > 100


def test_what_max_time_leaves_beside_the_training_may_be_waited(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    grid = Grid(CLEAN)
    steps = [0]

    def work() -> None:
        time.sleep(0.05)  # beside which it matters little how busy the machine is
        steps[0] += 1
        if steps[0] == 30:
            grid.value = DIRTY

    wait = CleanHours(below=250, shortest_minutes=0)
    callback = EmissionsCallback(intensity=grid, wait=wait, interval_s=0.05)
    trainer = fit(front, tmp_path, batches=60, work=work, max_epochs=2, max_time={"seconds": 16}, callbacks=[callback])
    # All 120 steps are done, in spite of a grid that never gets clean again.
    assert trainer.global_step == 120
    assert 1.0 < callback.run.totals.waited_s < 12.0


def test_a_process_that_is_to_end_does_not_go_on_waiting(front: Lightning, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    callback = EmissionsCallback(intensity=Grid(DIRTY), wait=CleanHours(below=250), interval_s=0.05)

    def end() -> None:
        while not callback.run.totals.waited_s > 0.5:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(BaseException) as ended:
        fit(front, tmp_path, max_epochs=1, callbacks=[callback])
    ender.join()
    assert "SIGTERM" in type(ended.value).__name__ or isinstance(ended.value, SystemExit)
    callback.run.finish()


def test_a_timer_that_has_begun_already_leaves_its_time_to_training(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    wait = CleanHours(below=250, max_wait_hours=4.0 / 3600)
    callback = EmissionsCallback(intensity=Grid(DIRTY, looks_ahead=False), wait=wait, interval_s=0.05)
    timer = pl.callbacks.Timer(duration={"seconds": 3})
    trainer = fit(front, tmp_path, max_epochs=3, callbacks=[timer, callback])
    assert trainer.global_step == 18 and callback.run.totals.waited_s == 0.0


def test_the_checkpoint_before_the_last_pause_is_kept_and_training_goes_on_from_it(
    front: Lightning, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    grid, steps = Grid(CLEAN), [0]

    def work() -> None:
        grid.step(0.01)
        steps[0] += 1
        if steps[0] in (30, 130):
            grid.dirty_for(0.5)

    options = {"intensity": grid, "wait": CleanHours(below=250, shortest_minutes=0), "interval_s": 0.05}
    callback = EmissionsCallback(**options)
    grid.run = callback.run
    more = {"max_epochs": 2, "accumulate_grad_batches": 4}
    trainer = fit(front, tmp_path, batches=120, work=work, callbacks=[callback], **more)
    assert trainer.global_step == 60 and steps[0] == 240
    (path,) = tmp_path.rglob("pause-step=*.ckpt")
    saved_at = int(path.stem.partition("=")[2])
    assert 32 <= saved_at < 60

    again, resumed = EmissionsCallback(**options), front.trainer(tmp_path, callbacks=[], **more)
    resumed.callbacks.insert(0, again)
    steps[0] = 1000
    resumed.fit(front.model(work), front.loader(120), ckpt_path=path)
    # It paused where gradients had been applied: no batch is trained twice, and none left out. Older releases take no
    # batch for done at whose end a checkpoint is made, be it one of their own.
    twice = "increment_completed" not in inspect.getsource(type(resumed.fit_loop.epoch_loop).reset)
    assert resumed.global_step == 60 + twice and steps[0] - 1000 == 240 - 4 * saved_at + twice
    assert again.run.steps_done == 240 + twice
