"""What the Keras callback relies on, and what its users expect beyond the contract."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Keras
from fakes.grid import CLEAN, Grid
from fakes.nvml import FakeNvml
from wattloop import Budget, CleanHours
from wattloop.keras import EmissionsCallback

keras = pytest.importorskip("keras")
np = pytest.importorskip("numpy")

J_PER_KWH = 3.6e6


@pytest.fixture
def front() -> Keras:
    return Keras()


class Pace(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes batches last."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        time.sleep(0.01)


@pytest.mark.parametrize("place", [0, 3], ids=["first", "last"])
def test_every_callback_sees_the_keys_wherever_it_stands(
    front: Keras, fake_nvml: FakeNvml, tmp_path: Path, place: int
) -> None:
    callbacks: list[Any] = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping(monitor="emissions/kg_co2e", mode="min", patience=1, verbose=0),
        Pace(),
    ]
    callbacks.insert(place, EmissionsCallback(region="FR"))
    history = front.fit(10, 5, callbacks).history

    # Emissions only grow: with a patience of one, the second epoch is the last.
    assert len(history["emissions/kg_co2e"]) == 2
    with (tmp_path / "log.csv").open() as file:
        rows = [float(row["emissions/kg_co2e"]) for row in csv.DictReader(file)]
    assert rows == pytest.approx(history["emissions/kg_co2e"])


def test_the_progress_bar_shows_three_of_the_keys(
    front: Keras, fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    front.fit(4, 1, [EmissionsCallback(region="FR")], verbose=2)
    shown = capsys.readouterr().out
    assert "energy/kwh: " in shown
    assert "emissions/kg_co2e: " in shown
    assert "forecast/kg_co2e: " in shown
    assert "energy/gpu_kwh" not in shown
    assert "grid/" not in shown


def test_a_callback_that_is_not_in_a_list_works_too(front: Keras, fake_nvml: FakeNvml) -> None:
    callback = EmissionsCallback(region="FR")
    history = front.fit(4, 2, callback).history
    assert len(history["energy/kwh"]) == 2
    assert callback.run.steps_done == 8


def test_the_model_is_touched_only_to_stop(front: Keras, fake_nvml: FakeNvml) -> None:
    touched: list[str] = []

    class Watched(EmissionsCallback):
        @property
        def model(self) -> Any:
            touched.append("model")
            return super().model

    front.fit(10, 2, [Watched(region="FR", log_every_n_steps=2)])
    assert touched == []
    front.fit(10, 2, [Pace(), Watched(region="FR", interval_s=0.02, budget=Budget(kwh=15 / J_PER_KWH))])
    assert touched == ["model"]


def test_validation_is_counted_apart(front: Keras, fake_nvml: FakeNvml) -> None:
    class Slow(keras.callbacks.Callback):  # type: ignore[misc]
        def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
            time.sleep(0.05)

    callback = EmissionsCallback(region="FR")
    data = (np.zeros((2, 4)), np.zeros((2, 1)))
    history = front.fit(4, 2, [callback, Slow()], validation_data=data, validation_batch_size=1).history
    assert "val_loss" in history
    assert callback.run.phases_j["validation"] >= 300 * 4 * 0.05


def test_data_without_length_is_counted_in_its_first_epoch(front: Keras, fake_nvml: FakeNvml) -> None:
    def batches() -> Iterator[Any]:
        for _ in range(18):
            yield np.zeros((1, 4)), np.zeros((1, 1))

    callback = EmissionsCallback(region="FR", interval_s=0.02)
    # Keras itself warns when such data end.
    history = front.fit(1, 3, [Pace(), callback], x=batches(), y=None, batch_size=None, steps_per_epoch=6).history
    assert callback.run.total_steps == 18
    assert np.isfinite(history["forecast/kwh"]).all()


def test_a_run_that_begins_at_a_later_epoch_counts_what_is_left(front: Keras, fake_nvml: FakeNvml) -> None:
    callback = EmissionsCallback(region="FR")
    front.fit(5, 6, [callback], initial_epoch=4)
    assert callback.run.total_steps == 10


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="keras refuses steps_per_execution on torch")
def test_batches_executed_together_are_all_counted(front: Keras, fake_nvml: FakeNvml) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=3)
    callback = EmissionsCallback(region="FR")
    model.fit(np.zeros((20, 4)), np.zeros((20, 1)), batch_size=1, epochs=2, verbose=0, callbacks=[callback])
    assert callback.run.steps_done == 40


def test_tensorflow_is_not_needed(front: Keras, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    front.fit(60, 1, [EmissionsCallback(region="FR", log_dir=tmp_path)])
    assert list(tmp_path.glob("events.out.tfevents.*"))
    assert "tensorflow" not in sys.modules


# -- restarts ---------------------------------------------------------------------------------------------------------


class Stumble(keras.callbacks.Callback):  # type: ignore[misc]
    """Fails at a batch of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0
        self.began_s: dict[int, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.began_s[epoch] = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == self.at:
            raise RuntimeError("out of memory")


def crashed(front: Keras, tmp_path: Path, **options: Any) -> EmissionsCallback:
    """Fail in the third epoch of ten batches, with a backup, and end measuring as the death of the process would."""
    callback = EmissionsCallback(region="FR", interval_s=0.05, **options)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(RuntimeError, match="out of memory"):
        front.fit(10, 4, [Pace(), backup, callback, Stumble(2, 5)])
    callback.run.finish("interrupted")
    return callback


def test_without_a_record_a_restored_backup_brings_what_was_spent_until_it(
    front: Keras, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    first, second = crashed(front, tmp_path), EmissionsCallback(region="FR")
    began_s = time.monotonic()
    front.fit(10, 4, [Pace(), keras.callbacks.BackupAndRestore(tmp_path / "backup"), second])
    own_kwh = fake_nvml.energy_j(began_s, time.monotonic()) / J_PER_KWH
    assert second.run.id == first.run.id
    assert second.run.epochs_done == 4
    # The third epoch's five batches are in no file.
    lost_kwh = 300 * 0.05 / J_PER_KWH
    assert second.run.totals.kwh <= first.run.totals.kwh + own_kwh - 0.9 * lost_kwh
    assert second.run.totals.kwh >= 300 * 0.01 * 40 / J_PER_KWH - second.run.uncertainty_kwh


def test_after_its_end_a_run_leaves_no_state_and_another_begins_at_nothing(
    front: Keras, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    first, second = EmissionsCallback(region="FR"), EmissionsCallback(region="FR")
    for callback in (first, second):
        front.fit(5, 2, [Pace(), keras.callbacks.BackupAndRestore(tmp_path / "backup"), callback])
        assert [*tmp_path.iterdir()] == []
    assert second.run.id != first.run.id
    assert second.run.totals.kwh < 1.5 * first.run.totals.kwh


def test_without_the_backup_its_state_is_nobodys(front: Keras, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    first, second = crashed(front, tmp_path), EmissionsCallback(region="FR")
    (tmp_path / "backup" / "training_metadata.json").unlink()
    (tmp_path / "backup" / "latest.weights.h5").unlink()
    history = front.fit(10, 1, [Pace(), keras.callbacks.BackupAndRestore(tmp_path / "backup"), second]).history
    assert len(history["loss"]) == 1
    assert second.run.id != first.run.id
    assert second.run.totals.kwh < first.run.totals.kwh


def test_a_damaged_state_costs_one_warning_and_the_training_goes_on_from_its_backup(
    front: Keras, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = crashed(front, tmp_path), EmissionsCallback(region="FR")
    (tmp_path / "backup.wattloop.json").write_text("[{")
    history = front.fit(10, 4, [Pace(), keras.callbacks.BackupAndRestore(tmp_path / "backup"), second]).history
    assert len(history["loss"]) == 2
    assert second.run.id != first.run.id
    assert len([r for r in caplog.records if r.name == "wattloop"]) == 1


def test_a_backup_every_few_batches_has_a_state_of_its_own(front: Keras, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    first = EmissionsCallback(region="FR")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=4)
    with pytest.raises(RuntimeError):
        front.fit(10, 4, [Pace(), backup, first, Stumble(1, 8)])
    saved = json.loads((tmp_path / "backup" / "training_metadata.json").read_text())
    states = json.loads((tmp_path / "backup.wattloop.json").read_text())
    assert (states[-1]["epoch"], states[-1]["batch"]) == (saved["epoch"], saved["batch"])
    assert states[-1]["state"]["step"] == 16
    assert len(states) == 4


def test_an_initial_epoch_that_the_log_folder_knows_goes_on_from_there(
    front: Keras, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    first, stumble = EmissionsCallback(region="FR", log_dir=tmp_path), Stumble(3, 5)
    with pytest.raises(RuntimeError):
        front.fit(10, 4, [Pace(), first, stumble])
    first.run.finish("interrupted")
    lost_j = fake_nvml.energy_j(stumble.began_s[2], time.monotonic())
    spent_kwh = first.run.totals.kwh
    second = EmissionsCallback(region="FR", log_dir=tmp_path)
    history = front.fit(10, 4, [Pace(), second], initial_epoch=2).history
    assert second.run.id == first.run.id
    assert history["energy/kwh"][0] >= spent_kwh + 300 * 0.1 / J_PER_KWH * 0.9
    # The third epoch, and half of the fourth.
    assert second.run.lost.energy_j == pytest.approx(lost_j, abs=second.run.uncertainty_kwh * J_PER_KWH)
    assert len([*tmp_path.glob("wattloop-*.jsonl")]) == 1


@pytest.mark.parametrize("initial_epoch", [0, 3])
def test_any_other_fit_in_the_same_log_folder_begins_a_run(
    front: Keras, fake_nvml: FakeNvml, tmp_path: Path, initial_epoch: int
) -> None:
    first = EmissionsCallback(region="FR", log_dir=tmp_path)
    front.fit(10, 2, [Pace(), first])
    second = EmissionsCallback(region="FR", log_dir=tmp_path)
    begin_s = time.monotonic()
    front.fit(10, initial_epoch + 1, [Pace(), second], initial_epoch=initial_epoch)
    assert second.run.id != first.run.id
    assert second.run.totals.energy_j <= fake_nvml.energy_j(begin_s, time.monotonic())


def test_a_backup_is_made_before_a_long_pause(front: Keras, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    grid = Grid(CLEAN)
    seen: list[dict[str, Any]] = []

    class Look(keras.callbacks.Callback):  # type: ignore[misc]
        batches = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches += 1
            grid.step(0.02)
            if self.batches == 60:
                grid.dirty_for(2.0)
            if callback.run.totals.waited_s and not seen:
                saved = json.loads((tmp_path / "backup" / "training_metadata.json").read_text())
                state = json.loads((tmp_path / "backup.wattloop.json").read_text())
                seen.append({"backup": saved, "state": state, "waited_s": callback.run.totals.waited_s})

    callback = EmissionsCallback(intensity=grid, wait=CleanHours(below=250, shortest_minutes=0), interval_s=0.05)
    grid.run = callback.run
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    front.fit(50, 3, [Look(), backup, callback])
    (found,) = seen
    assert found["backup"] == {"epoch": 1, "batch": 0}
    assert 1.0 < found["waited_s"] < 10.0
    assert len(found["state"]) == 2  # one for the end of the epoch, one for the pause
