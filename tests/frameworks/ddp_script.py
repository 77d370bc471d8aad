"""Two ranks under Lightning with a budget that ends the run midway; each writes the step it stopped at."""

import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import torch

from wattloop import Budget
from wattloop.lightning import EmissionsCallback


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        time.sleep(0.005)
        return self.layer(batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Report(pl.Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (self.folder / f"rank{trainer.global_rank}").write_text(str(trainer.global_step))


if __name__ == "__main__":
    strategy, folder = sys.argv[1], Path(sys.argv[2])
    callback = EmissionsCallback(region="FR", interval_s=0.05, budget=Budget(kwh=300 / 3.6e6))
    trainer = pl.Trainer(
        strategy=strategy,
        devices=2,
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        callbacks=[callback, Report(folder)],
        enable_progress_bar=False,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.zeros(4000, 4)))
