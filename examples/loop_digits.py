"""A plain PyTorch loop: handwritten digits, with energy and CO2e in TensorBoard.

Install and run::

    pip install "wattloop[tensorboard]" torch scikit-learn
    python loop_digits.py
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torch.utils.tensorboard import SummaryWriter

import wattloop


def main(log_dir: str | Path = "runs/loop", epochs: int = 20) -> None:
    """Train on the digits and write TensorBoard event files to `log_dir`."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(digits))
    train, val = random_split(data, [0.8, 0.2])
    loader = DataLoader(train, batch_size=32, shuffle=True)

    model = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * 4 * 4, 10),
    ).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    writer = SummaryWriter(log_dir)

    with wattloop.track(region="FR", total_epochs=epochs, log=writer.add_scalar) as run:  # wattloop: this line,
        for epoch in run.epochs(range(epochs)):  # run.epochs around the epochs,
            for x, y in run.steps(loader):  # and run.steps around the batches
                loss = nn.functional.cross_entropy(model(x.to(device)), y.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                writer.add_scalar("train/loss", loss.item(), run.steps_done)

            with torch.no_grad():
                x, y = val[:]
                accuracy = (model(x.to(device)).argmax(1).cpu() == y).float().mean()
            writer.add_scalar("val/accuracy", accuracy, run.steps_done)
            print(f"epoch {epoch}: accuracy {accuracy:.3f}")

    writer.close()
    print(run.summary())


if __name__ == "__main__":
    main()
