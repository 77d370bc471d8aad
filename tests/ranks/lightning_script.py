"""Two ranks that Lightning launches itself, with a budget that ends the run midway; each writes down what it saw."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from wattloop import Budget
from wattloop.lightning import EmissionsCallback

WATTS = [100.0, 200.0]
BUDGET_S = 1.5


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        time.sleep(0.003)
        return self.layer(batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class FullDisk(TorchCheckpointIO):
    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class First(pl.Callback):
    """Stands before ours."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.begin_s = time.monotonic()


class Last(pl.Callback):
    """Stands behind ours."""

    def __init__(self, folder: Path, first: First, callback: EmissionsCallback) -> None:
        self.folder, self.first, self.callback = folder, first, callback

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.started_s, self.started_cpu_s = time.monotonic(), time.process_time()

    def on_train_batch_end(self, *args: Any) -> None:
        self.last_step_s = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        totals = self.callback.run.totals
        told = {
            "step": trainer.global_step,
            "gpu_j": totals.gpu_j,
            "cpu_j": totals.cpu_j,
            "own_cpu_j": self.callback.run._footprint.totals.cpu_j,
            "cpu_s": time.process_time() - self.started_cpu_s,
            "before_start_s": self.first.begin_s,
            "after_start_s": self.started_s,
            "last_step_s": self.last_step_s,
            "end_s": time.monotonic(),
            "pids": [os.getppid(), os.getpid()],
        }
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    strategy, folder, full = sys.argv[1], Path(sys.argv[2]), "full" in sys.argv[3:]
    callback = EmissionsCallback(
        region="FR",
        interval_s=0.05,
        modelled_cpu=True,
        powercap_root=str(folder / "no powercap"),
        budget=Budget(kwh=BUDGET_S * sum(WATTS) / 3.6e6),
    )
    first = First()
    trainer = pl.Trainer(
        strategy=strategy,
        devices=2,
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        callbacks=[first, callback, Last(folder, first, callback)],
        enable_progress_bar=False,
        enable_checkpointing=not full,
        plugins=[FullDisk()] if full else None,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.zeros(4000, 4)))
