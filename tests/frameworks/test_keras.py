"""What the Keras callback relies on, and what its users expect beyond the contract."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Keras
from fakes.nvml import FakeNvml
from wattloop import Budget
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
