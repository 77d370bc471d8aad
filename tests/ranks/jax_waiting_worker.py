"""One of several processes of Keras on jax, which wait for clean electricity before the first step and amid it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fakes.grid import CLEAN, Grid
from fakes.nvml import FakeNvml
from wattloop import CleanHours
from wattloop.keras import EmissionsCallback

STEPS, DIRTY_AT = 600, 200
FIRST_WAIT_S, SECOND_WAIT_S = 13.0, 4.0


class Watch(keras.callbacks.Callback):
    def __init__(self, grid: Grid, leads: bool) -> None:
        super().__init__()
        self._grid, self._leads = grid, leads
        self.step_ends_s: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._grid.step(0.003)
        self.step_ends_s.append(time.monotonic())
        if self._leads and batch == DIRTY_AT:
            self._grid.dirty_for(SECOND_WAIT_S)


def main(rank: int, world: int, address: str, folder: Path) -> None:
    keras.distribution.initialize(address, world, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    grid = Grid(CLEAN)
    callback = EmissionsCallback(
        intensity=grid,
        wait=CleanHours(below=250, shortest_minutes=0),
        interval_s=0.1,
        log_dir=folder,
        powercap_root=str(folder / "no powercap"),
    )
    grid.run = callback.run
    watch = Watch(grid, rank == 0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((2 * STEPS, 4), dtype="float32")
    os.environ["CUDA_VISIBLE_DEVICES"] = str(rank)
    if rank == 0:
        grid.dirty_for(FIRST_WAIT_S)
    with FakeNvml("devices=2;d0.profile=constant:100;d1.profile=constant:200"):
        model.fit(x, x[:, :1], batch_size=2, epochs=1, verbose=0, callbacks=[watch, callback])
        callback.run.settle()
    told = {"steps": callback.run.steps_done, "waited_s": callback.run.totals.waited_s}
    (folder / f"rank{rank}.json").write_text(json.dumps({**told, "step_ends_s": watch.step_ends_s}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
