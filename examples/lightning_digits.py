"""PyTorch Lightning: handwritten digits, with energy and CO2e in TensorBoard and metrics.csv.

Install and run::

    pip install "wattloop[lightning,tensorboard]" scikit-learn
    python lightning_digits.py
"""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from wattloop.lightning import EmissionsCallback


class DigitsModel(LightningModule):
    """A small convolutional network for 8x8 grey-scale digits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, 10),
        )

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, digits = batch
        loss = nn.functional.cross_entropy(self.net(images), digits)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        images, digits = batch
        self.log("val/accuracy", (self.net(images).argmax(1) == digits).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def main(log_dir: str | Path = "runs/lightning", epochs: int = 20) -> None:
    """Train on the digits and log to `log_dir`."""
    seed_everything(0)
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(digits))
    train, val = random_split(data, [0.8, 0.2])

    emissions = EmissionsCallback(region="FR")  # wattloop: this line, and its place in `callbacks` below

    trainer = Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=1,
        callbacks=[emissions],
        logger=[
            TensorBoardLogger(log_dir, name=None, version="tensorboard"),
            CSVLogger(log_dir, name=None, version="csv"),
        ],
        log_every_n_steps=10,
    )
    trainer.fit(DigitsModel(), DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=256))
    print(emissions.run.summary())


if __name__ == "__main__":
    main()
