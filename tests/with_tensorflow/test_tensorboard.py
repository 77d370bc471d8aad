"""Keras's own TensorBoard callback, which needs TensorFlow: our keys reach it wherever it stands in the list."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["KERAS_BACKEND"] = "tensorflow"
keras = pytest.importorskip("keras")
np = pytest.importorskip("numpy")

from fakes.nvml import FakeNvml  # noqa: E402
from wattloop.keras import EmissionsCallback  # noqa: E402


@pytest.mark.parametrize("place", [0, 1], ids=["first", "last"])
def test_keras_own_tensorboard_callback_writes_our_keys(fake_nvml: FakeNvml, tmp_path: Path, place: int) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    assert keras.backend.backend() == "tensorflow"
    callbacks = [keras.callbacks.TensorBoard(tmp_path)]
    callbacks.insert(place, EmissionsCallback(region="FR"))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(np.zeros((8, 4)), np.zeros((8, 1)), epochs=3, verbose=0, callbacks=callbacks).history

    events = EventAccumulator(str(tmp_path / "train"))
    events.Reload()
    written = [float(make_ndarray(event.tensor_proto)) for event in events.Tensors("epoch_emissions/kg_co2e")]
    assert written == pytest.approx(history["emissions/kg_co2e"], rel=1e-6)


def test_a_run_on_tensorflow_counts_its_batches(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    callback = EmissionsCallback(region="FR", log_dir=tmp_path)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=2)
    model.fit(np.zeros((10, 4)), np.zeros((10, 1)), batch_size=2, epochs=2, verbose=0, callbacks=[callback])
    assert callback.run.steps_done == 10
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
