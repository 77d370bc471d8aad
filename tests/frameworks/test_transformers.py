"""What the Trainer callback relies on, and what its users expect beyond the contract."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Transformers
from contract.test_contract import StepLoad
from fakes.nvml import FakeNvml
from wattloop import Budget
from wattloop.transformers import EmissionsCallback

transformers = pytest.importorskip("transformers")

J_PER_KWH = 3.6e6


@pytest.fixture
def front() -> Transformers:
    return Transformers()


def pace() -> None:
    time.sleep(0.01)


def tags(folder: Path) -> dict[str, int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = folder.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(path))
    events.Reload()
    return {tag: len(events.Scalars(tag)) for tag in events.Tags()["scalars"]}


def test_the_keys_stand_in_every_log_the_final_one_included(
    front: Transformers, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    trainer = front.trainer(
        tmp_path, pace, 12, [EmissionsCallback(region="FR")], logging_steps=4, num_train_epochs=1, eval_strategy="epoch"
    )
    trainer.train()
    trainer.save_state()

    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert ["loss" in row for row in history] == [True, True, True, False, False]
    assert "eval_loss" in history[3]
    assert "train_runtime" in history[4]
    assert all("emissions/kg_co2e" in row for row in history)
    assert tags(tmp_path)["train/emissions/kg_co2e"] == 5


@pytest.mark.parametrize("how", ["add_callback", "attach", "class"])
def test_other_ways_in_work_too(front: Transformers, fake_nvml: FakeNvml, tmp_path: Path, how: str) -> None:
    callback = EmissionsCallback(region="FR")
    given = [EmissionsCallback] if how == "class" else []
    trainer = front.trainer(tmp_path, pace, 6, given, logging_steps=2, num_train_epochs=1)
    if how == "add_callback":
        trainer.add_callback(callback)
    elif how == "attach":
        callback.attach(trainer)
    trainer.train()
    assert tags(tmp_path)["train/energy/kwh"] == 4


@pytest.mark.parametrize("options", [{"num_train_epochs": 1}, {"max_steps": 60}, {"num_train_epochs": 0.5}])
def test_a_run_is_forecast_by_its_share_of_steps(
    front: Transformers, fake_nvml: FakeNvml, tmp_path: Path, options: dict[str, Any]
) -> None:
    steps = 120 if options.get("num_train_epochs") == 0.5 else 60
    load = StepLoad(fake_nvml, steps=60, step_s=0.01)
    done = iter(range(60))
    callback = EmissionsCallback(region="FR", interval_s=0.02)
    trainer = front.trainer(tmp_path, lambda: load(next(done)), steps, [callback], logging_steps=15, **options)
    trainer.train()

    forecasts = [row["forecast/kwh"] for row in trainer.state.log_history]
    assert callback.run.total_steps == 60
    assert all(math.isfinite(forecast) for forecast in forecasts)
    assert forecasts[0] == pytest.approx(load.kwh, rel=0.1)


@pytest.mark.parametrize("restore", [False, True])
def test_a_resumed_run_counts_what_was_spent_once(
    front: Transformers, fake_nvml: FakeNvml, tmp_path: Path, restore: bool
) -> None:
    first = EmissionsCallback(region="FR", pue=1.2)
    options = {"save_strategy": "epoch", "restore_callback_states_from_checkpoint": restore, "logging_steps": 5}
    front.trainer(tmp_path, pace, 20, [first], num_train_epochs=1, **options).train()
    spent_kwh = (
        json.loads((tmp_path / "checkpoint-20" / "trainer_state.json").read_text())["stateful_callbacks"][
            "EmissionsCallback"
        ]["attributes"]["saved_state"]["totals"]["gpu_j"]
        / J_PER_KWH
    )
    # transformers 4.45 reads this file in a way that torch refuses since 2.6.
    (tmp_path / "checkpoint-20" / "rng_state.pth").unlink()
    before = time.monotonic()
    trainer = front.trainer(
        tmp_path, pace, 20, [EmissionsCallback(region="FR", pue=1.2)], num_train_epochs=2, **options
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-20"))
    most_kwh = spent_kwh + fake_nvml.energy_j(before, time.monotonic()) / J_PER_KWH

    row = trainer.state.log_history[-1]
    assert 0 < spent_kwh <= first.run.totals.kwh
    assert spent_kwh + 300 * 20 * 0.01 / J_PER_KWH <= row["energy/kwh"] <= most_kwh
    assert row["emissions/kg_co2e"] == pytest.approx(row["energy/kwh"] * 1.2 * row["grid/g_co2e_per_kwh"] / 1e3)
    (live,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, EmissionsCallback))
    assert trainer.callback_handler.callbacks[0] is live
    assert live.run.steps_done == 40


@pytest.mark.parametrize("how", ["given", "added", "not kept"])
@pytest.mark.parametrize("restore", [False, True])
def test_on_resuming_the_options_given_now_count(
    front: Transformers, fake_nvml: FakeNvml, tmp_path: Path, restore: bool, how: str
) -> None:
    options = {"save_strategy": "epoch", "restore_callback_states_from_checkpoint": restore, "logging_steps": 5}
    first = EmissionsCallback(region="FR", pue=1.2, budget=Budget(kwh=1.0))
    front.trainer(tmp_path, pace, 10, [first], num_train_epochs=1, **options).train()
    (tmp_path / "checkpoint-10" / "rng_state.pth").unlink()

    def now() -> EmissionsCallback:
        return EmissionsCallback(region="DE", pue=1.5, budget=Budget(kwh=2.0), log_dir=tmp_path / "now")

    callback = None if how == "not kept" else now()
    given = [callback or now()] if how != "added" else []
    trainer = front.trainer(tmp_path, pace, 10, given, num_train_epochs=2, **options)
    if callback is not None and how == "added":
        trainer.add_callback(callback)
    del given
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))

    (live,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, EmissionsCallback))
    assert callback in (None, live)
    assert trainer.callback_handler.callbacks[0] is live
    assert live.run.options == now().run.options
    assert live.run.steps_done == 20
    assert live.run.id == first.run.id
    assert live.run.totals.kwh > first.run.totals.kwh
    # A third training of the same trainer is of the same callback.
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert [c for c in trainer.callback_handler.callbacks if isinstance(c, EmissionsCallback)] == [live]


def test_a_budget_stops_between_optimizer_steps(front: Transformers, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    callback = EmissionsCallback(region="FR", interval_s=0.05, budget=Budget(kwh=90 / J_PER_KWH))
    trainer = front.trainer(
        tmp_path, pace, 400, [callback], num_train_epochs=1, gradient_accumulation_steps=4, save_strategy="no"
    )
    trainer.train()
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    assert 0 < trainer.state.global_step < 100
    assert checkpoint.name == f"checkpoint-{trainer.state.global_step}"
    assert math.isfinite(trainer.state.log_history[-1]["train_loss"])


def test_evaluation_is_counted_apart(front: Transformers, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    class Slow(transformers.TrainerCallback):  # type: ignore[misc]
        def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.05)

    callback = EmissionsCallback(region="FR")
    options = {"num_train_epochs": 2, "eval_strategy": "epoch"}
    front.trainer(tmp_path, pace, 4, [callback, Slow()], **options).train()
    assert callback.run.phases_j["validation"] >= 300 * 4 * 0.05 * 0.8


def test_an_evaluation_of_its_own_logs_as_ever(
    front: Transformers, fake_nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without training, transformers opens its event file in ./runs.
    monkeypatch.chdir(tmp_path)
    trainer = front.trainer(tmp_path, pace, 4, [EmissionsCallback(region="FR")])
    assert "eval_loss" in trainer.evaluate()


def test_the_terminal_shows_three_of_the_keys(
    front: Transformers, fake_nvml: FakeNvml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = front.trainer(tmp_path, pace, 6, [EmissionsCallback(region="FR")], logging_steps=3, num_train_epochs=1)
    trainer.train()
    shown = capsys.readouterr().out
    assert "energy/kwh" in shown
    assert "forecast/kg_co2e'" in shown
    assert "grid/" not in shown
    assert "energy/gpu_kwh" in trainer.state.log_history[0]
