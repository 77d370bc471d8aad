"""Keras on jax, with 1, 2 and 4 devices in one process and as many GPUs of 100 W, and a budget that ends each run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np

from fakes.nvml import FakeNvml
from wattloop import Budget
from wattloop.keras import EmissionsCallback

BUDGET_S, INTERVAL_S = 1.0, 0.1


class Watch(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.step_ends_s: list[float] = []
        self.after_start_s = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self.after_start_s = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        time.sleep(0.003)
        self.step_ends_s.append(time.monotonic())


def train(devices: int, folder: Path) -> dict[str, Any]:
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:devices])
    )
    callback = EmissionsCallback(
        region="FR",
        interval_s=INTERVAL_S,
        budget=Budget(kwh=100 * devices * BUDGET_S / 3.6e6),
        log_dir=folder / str(devices),
        powercap_root=str(folder / "no powercap"),
    )
    watch = Watch()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before_start_s = time.monotonic()
    x = np.zeros((4 * 4000, 4))
    model.fit(x, x[:, :1], batch_size=4, epochs=1, verbose=0, callbacks=[watch, callback])
    end_s = time.monotonic()
    callback.run.settle()
    return {
        "sharded_over": len(model.layers[0].kernel.value.sharding.device_set),
        "steps": callback.run.steps_done,
        "energy_j": callback.run.totals.energy_j,
        "before_start_s": before_start_s,
        "after_start_s": watch.after_start_s,
        "step_ends_s": watch.step_ends_s,
        "end_s": end_s,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert jax.process_count() == 1
    for devices in (1, 2, 4):
        with FakeNvml(f"devices={devices};profile=constant:100"):
            (folder / f"devices{devices}.json").write_text(json.dumps(train(devices, folder)))
