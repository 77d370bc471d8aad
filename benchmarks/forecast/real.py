"""Real training on the CPU, beside a fake GPU that works as long and draws as much as the loop tells it to.

A step trains a small network and lasts until its GPU is done, or longer where the machine is busy. The fake's integral
is true. Each run takes some ten seconds, and hands back what was forecast after each epoch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fakes.nvml import FakeNvml
from wattloop.loop import track

EPOCHS, STEPS = 8, 60
STEP_S, VALIDATION_S = 0.02, 0.12
TRAINING_W, VALIDATION_W, IDLE_W = 300.0, 180.0, 60.0
INTERVAL_S = 0.1


@dataclass
class Real:
    """What was said after each epoch but the last, what was spent by then, and what was true in the end."""

    said: list[dict[str, float]] = field(default_factory=list)
    epoch_ends_kwh: list[float] = field(default_factory=list)
    kwh: float = 0.0
    duration_s: float = 0.0

    def add(self, run: Any) -> None:
        forecast = run.forecast()
        self.said.append({name: getattr(forecast, name) for name in ("kwh", "kwh_low", "kwh_high")})
        self.epoch_ends_kwh.append(run.totals.kwh)


class Model:
    """A small network that is really trained."""

    def __init__(self, fake: FakeNvml) -> None:
        import torch

        self._torch, self._fake = torch, fake
        self._net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
        self._optimizer = torch.optim.SGD(self._net.parameters(), lr=1e-3)
        self.step(0.0)

    def step(self, gpu_s: float) -> None:
        self._fake.set_power(0, TRAINING_W)
        until_s = time.monotonic() + gpu_s
        loss = self._net(self._torch.randn(64, 64)).pow(2).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        time.sleep(max(0.0, until_s - time.monotonic()))

    def validate(self, gpu_s: float) -> None:
        self._fake.set_power(0, VALIDATION_W)
        with self._torch.no_grad():
            self._net(self._torch.randn(64, 64))
        time.sleep(gpu_s)


def looped(fake: FakeNvml, step_s: Callable[[int], float], validate_every: int = 1) -> Real:
    """Train in a plain loop, whose steps take so long."""
    model, real = Model(fake), Real()
    fake.set_power(0, IDLE_W)
    start_s = time.monotonic()
    with track(region="FR", interval_s=INTERVAL_S, total_epochs=EPOCHS) as run:
        for epoch in run.epochs(range(EPOCHS)):
            if epoch:
                real.add(run)
            for index in run.steps(range(STEPS)):
                model.step(step_s(epoch * STEPS + index))
            if (epoch + 1) % validate_every == 0:
                with run.phase("validation"):
                    model.validate(VALIDATION_S)
        real.kwh, real.duration_s = fake.energy_j(start_s, end_s := time.monotonic()) / 3.6e6, end_s - start_s
    return real


def steady(fake: FakeNvml) -> Real:
    """Steps alike, validation after every epoch."""
    return looped(fake, lambda step: STEP_S)


def slow_start(fake: FakeNvml) -> Real:
    """The first steps of the first epoch take ten times as long."""
    return looped(fake, lambda step: STEP_S * (10 if step < STEPS // 10 else 1))


def growing(fake: FakeNvml) -> Real:
    """Steps take a fifth longer in the end than in the beginning."""
    return looped(fake, lambda step: STEP_S * (1 + 0.2 * step / (EPOCHS * STEPS)))


def validated_sometimes(fake: FakeNvml) -> Real:
    """Validation after every other epoch."""
    return looped(fake, lambda step: STEP_S, validate_every=2)


def lightning(fake: FakeNvml) -> Real:
    """A Trainer with validation after every epoch."""
    import lightning.pytorch as pl
    import torch

    from wattloop.lightning import EmissionsCallback

    model, real = Model(fake), Real()
    folder = tempfile.TemporaryDirectory()
    callback = EmissionsCallback(region="FR", interval_s=INTERVAL_S, log_dir=folder.name)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            model.step(STEP_S)
            return self.layer(batch).pow(2).mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            model.validate(VALIDATION_S / 8)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    class After(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch < EPOCHS - 1:
                real.add(callback.run)

    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        callbacks=[callback, After()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
        logger=False,
    )
    data = torch.utils.data.DataLoader(torch.zeros(STEPS, 4))
    fake.set_power(0, IDLE_W)
    start_s = time.monotonic()
    trainer.fit(Module(), data, torch.utils.data.DataLoader(torch.zeros(8, 4)))
    real.kwh, real.duration_s = fake.energy_j(start_s, end_s := time.monotonic()) / 3.6e6, end_s - start_s
    return real


RUNS: dict[str, Callable[[FakeNvml], Real]] = {
    each.__name__: each for each in (steady, slow_start, growing, validated_sometimes, lightning)
}


def real(name: str) -> Real:
    """Run one of `RUNS` on a fake GPU of its own."""
    with FakeNvml(f"devices=1;profile=constant:{IDLE_W};refresh_s=0.02") as fake:
        return RUNS[name](fake)
