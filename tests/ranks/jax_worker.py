"""One of several processes of Keras on jax, which make one job, and a budget that ends it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

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


def main(rank: int, world: int, address: str, folder: Path) -> None:
    keras.distribution.initialize(address, world, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    watts = [100.0 * (one + 1) for one in range(world)]
    callback = EmissionsCallback(
        region="FR",
        interval_s=INTERVAL_S,
        budget=Budget(kwh=sum(watts) * BUDGET_S / 3.6e6),
        log_dir=folder,
        powercap_root=str(folder / "no powercap"),
    )
    watch = Watch()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((2 * 4000, 4), dtype="float32")
    os.environ["CUDA_VISIBLE_DEVICES"] = str(rank)
    profiles = ";".join(f"d{one}.profile=constant:{w}" for one, w in enumerate(watts))
    with FakeNvml(f"devices={world};{profiles}"):
        before_start_s = time.monotonic()
        history = model.fit(x, x[:, :1], batch_size=2, epochs=1, verbose=0, callbacks=[watch, callback])
        end_s = time.monotonic()
        callback.run.settle()
    told = {
        "steps": callback.run.steps_done,
        "energy_j": callback.run.totals.energy_j,
        "row": {name: values[-1] for name, values in history.history.items()},
        "run_id": callback.run.id,
        "before_start_s": before_start_s,
        "after_start_s": watch.after_start_s,
        "step_ends_s": watch.step_ends_s,
        "end_s": end_s,
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
