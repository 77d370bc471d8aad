"""The front ends under contract: each trains a real, tiny model with our callback and hands back what it wrote."""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wattloop import journal
from wattloop.run import Run

# Before 2.6 a Trainer takes callbacks of its own namespace only, and ours is of those that are imported before it.
for _namespace in ("lightning.pytorch", "pytorch_lightning"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_namespace)

Work = Callable[[int], None]
"""What a training step does besides the model's arithmetic, given the count of steps before it."""

Row = dict[str, float]


PATIENCE_S = 20.0
"""How long a record may take to be completed, on however slow a machine."""


@dataclass
class Outcome:
    """What a training run left behind, read back from the framework's own files.

    Attributes:
        rows: Every row of ours in the framework's text log, in order.
        epoch_rows: Those of the ends of epochs.
        events: Scalars of the event files by tag, without the framework's prefix.
        steps: Steps that were trained.
        error: What came out of the framework's fit, if anything.
        checkpoints: Checkpoints in the folder.
    """

    rows: list[Row] = field(default_factory=list)
    epoch_rows: list[Row] = field(default_factory=list)
    events: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    event_files: list[Path] = field(default_factory=list)
    steps: int = 0
    error: BaseException | None = None
    checkpoints: list[Path] = field(default_factory=list)
    records: list[journal.Record] = field(default_factory=list)
    charts: list[tuple[str, ...]] = field(default_factory=list)
    """Tags of each series of each margin chart in the layout."""


class Front(Protocol):
    """A framework with our callback in it."""

    name: str
    saves_checkpoint: bool

    def callback(self, **options: Any) -> Any:
        """Make the callback."""
        ...

    def run(self, callback: Any) -> Run:
        """Return the callback's run."""
        ...

    def train(self, callback: Any, folder: Path, epochs: int, steps: int, log_every: int, work: Work) -> Outcome:
        """Train for so many epochs of so many steps and return what was written."""
        ...

    def train_saving(self, callback: Any, folder: Path, epochs: int, steps: int, work: Work) -> Outcome:
        """Train likewise, from the last checkpoint in the folder if there is one, and save after every epoch."""
        ...


class _Counted:
    def __init__(self, work: Work) -> None:
        self.steps = 0
        self._work = work

    def __call__(self) -> None:
        self._work(self.steps)
        self.steps += 1


def _outcome(folder: Path, run: Run, counted: _Counted, error: BaseException | None, prefix: str = "") -> Outcome:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    assert run.settle(PATIENCE_S)
    outcome = Outcome(steps=counted.steps, error=error)
    outcome.event_files = sorted(folder.rglob("events.out.tfevents.*"))
    for parent in {path.parent for path in outcome.event_files}:
        events = EventAccumulator(str(parent), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            points = [(event.step, event.value) for event in events.Scalars(tag)]
            outcome.events.setdefault(tag.removeprefix(prefix), []).extend(points)
        if "custom_scalars__config__" in events.Tags()["tensors"]:
            (event,) = events.Tensors("custom_scalars__config__")
            layout = Layout.FromString(event.tensor_proto.string_val[0])
            series = (s for category in layout.category for chart in category.chart for s in chart.margin.series)
            outcome.charts += [tuple(t.removeprefix(prefix) for t in (s.value, s.lower, s.upper)) for s in series]
    for path in sorted(folder.rglob("wattloop-*.jsonl")):
        outcome.records.extend(journal.read(path))
    return outcome


def _resumed(folder: Path, run: Run, counted: _Counted, error: BaseException | None) -> Outcome:
    assert run.settle(PATIENCE_S)
    paths = sorted(folder.rglob("wattloop-*.jsonl"))
    records = [record for path in paths for record in journal.read(path)]
    return Outcome(steps=counted.steps, error=error, records=records)


def _caught(train: Callable[[], object]) -> BaseException | None:
    try:
        train()
    except BaseException as error:
        return error
    return None


class Lightning:
    """A Trainer with two loggers."""

    saves_checkpoint = True

    def __init__(self, namespace: str) -> None:
        self.name = namespace

    def callback(self, **options: Any) -> Any:
        from wattloop.lightning import EmissionsCallback

        return EmissionsCallback(**options)

    def run(self, callback: Any) -> Run:
        return callback.run

    def train(self, callback: Any, folder: Path, epochs: int, steps: int, log_every: int, work: Work) -> Outcome:
        counted = _Counted(work)
        trainer = self.trainer(folder, max_epochs=epochs, log_every_n_steps=log_every, callbacks=[callback])
        error = _caught(lambda: trainer.fit(self.model(counted), self.loader(steps)))
        outcome = _outcome(folder, self.run(callback), counted, error)
        for path in sorted(folder.rglob("metrics.csv")):
            with path.open() as file:
                rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
            outcome.rows += [row for row in rows if "energy/kwh" in row]
            outcome.epoch_rows += [row for row in rows if "epoch" in row and "energy/kwh" in row]
        outcome.checkpoints = sorted(folder.rglob("*.ckpt"))
        return outcome

    def train_saving(self, callback: Any, folder: Path, epochs: int, steps: int, work: Work) -> Outcome:
        pl = importlib.import_module(self.name)
        counted, saved = _Counted(work), folder / "saved" / "last.ckpt"
        saving = pl.callbacks.ModelCheckpoint(saved.parent, save_last=True)
        trainer = self.trainer(folder, max_epochs=epochs, callbacks=[callback, saving])
        path = saved if saved.exists() else None
        error = _caught(lambda: trainer.fit(self.model(counted), self.loader(steps), ckpt_path=path))
        return _resumed(folder, self.run(callback), counted, error)

    def trainer(self, folder: Path, **options: Any) -> Any:
        pl = importlib.import_module(self.name)
        loggers = importlib.import_module(f"{self.name}.loggers")
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        both = [loggers.TensorBoardLogger(folder, name="tb"), loggers.CSVLogger(folder, name="csv")]
        return pl.Trainer(**{"default_root_dir": folder, "logger": both, **quiet, **options})

    def model(self, counted: Callable[[], None] = lambda: None) -> Any:
        import torch

        pl = importlib.import_module(self.name)

        class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(4, 1)

            def training_step(self, batch: Any, batch_idx: int) -> Any:
                counted()
                return self.layer(batch).pow(2).mean()

            def validation_step(self, batch: Any, batch_idx: int) -> None:
                self.log("val_loss", self.layer(batch).pow(2).mean())

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=0.01)

        return Model()

    def loader(self, steps: int) -> Any:
        import torch

        return torch.utils.data.DataLoader(torch.zeros(steps, 4))


class Keras:
    """`model.fit` on the backend that the environment names."""

    saves_checkpoint = False

    def __init__(self) -> None:
        self.name = "keras-" + os.environ.get("KERAS_BACKEND", "torch")

    def callback(self, **options: Any) -> Any:
        from wattloop.keras import EmissionsCallback

        return EmissionsCallback(**options)

    def run(self, callback: Any) -> Run:
        return callback.run

    def train(self, callback: Any, folder: Path, epochs: int, steps: int, log_every: int, work: Work) -> Outcome:
        import keras

        counted = _Counted(work)

        class Work(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                counted()

        history: list[Any] = []
        error = _caught(lambda: history.append(self.fit(steps, epochs, [Work(), callback])))
        outcome = _outcome(folder, self.run(callback), counted, error)
        if history:
            columns = {key: values for key, values in history[0].history.items() if "/" in key}
            outcome.rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            outcome.epoch_rows = outcome.rows
        return outcome

    def train_saving(self, callback: Any, folder: Path, epochs: int, steps: int, work: Work) -> Outcome:
        import keras

        counted = _Counted(work)

        class Work(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                counted()

        backup = keras.callbacks.BackupAndRestore(folder / "backup")
        error = _caught(lambda: self.fit(steps, epochs, [Work(), backup, callback]))
        return _resumed(folder, self.run(callback), counted, error)

    def fit(self, steps: int, epochs: int, callbacks: list[Any], **options: Any) -> Any:
        import keras
        import numpy as np

        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        data = {"x": np.zeros((steps, 4)), "y": np.zeros((steps, 1)), "batch_size": 1, "verbose": 0}
        return model.fit(**{**data, "epochs": epochs, "callbacks": callbacks, **options})


class Transformers:
    """The Trainer, reporting to TensorBoard."""

    name = "transformers"
    saves_checkpoint = True

    def callback(self, **options: Any) -> Any:
        from wattloop.transformers import EmissionsCallback

        return EmissionsCallback(**options)

    def run(self, callback: Any) -> Run:
        return callback.run

    def train(self, callback: Any, folder: Path, epochs: int, steps: int, log_every: int, work: Work) -> Outcome:
        counted = _Counted(work)
        trainer = self.trainer(
            folder, counted, steps, [callback], num_train_epochs=epochs, logging_steps=log_every, save_strategy="no"
        )
        error = _caught(trainer.train)
        outcome = _outcome(folder, self.run(callback), counted, error, prefix="train/")
        trainer.state.save_to_json(str(folder / "trainer_state.json"))
        history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
        outcome.rows = [{k: v for k, v in row.items() if "/" in k} for row in history if "energy/kwh" in row]
        outcome.epoch_rows = outcome.rows
        outcome.checkpoints = sorted(folder.glob("checkpoint-*"))
        return outcome

    def train_saving(self, callback: Any, folder: Path, epochs: int, steps: int, work: Work, **options: Any) -> Outcome:
        counted = _Counted(work)
        options = {"num_train_epochs": epochs, "save_strategy": "epoch", "logging_steps": 5, **options}
        trainer = self.trainer(folder, counted, steps, [callback], **options)
        saved = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        for path in saved:
            # transformers 4.45 reads this file in a way that torch refuses since 2.6.
            (path / "rng_state.pth").unlink(missing_ok=True)
        error = _caught(lambda: trainer.train(resume_from_checkpoint=str(saved[-1]) if saved else None))
        return _resumed(folder, self.run(callback), counted, error)

    def trainer(
        self, folder: Path, counted: Callable[[], None], steps: int, callbacks: list[Any], **options: Any
    ) -> Any:
        import torch
        from transformers import Trainer, TrainingArguments

        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(4, 1)

            def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
                if self.training:
                    counted()
                y = self.layer(x)
                return {"loss": (y - labels).pow(2).mean(), "logits": y}

        arguments = {"use_cpu": True, "report_to": ["tensorboard"], "disable_tqdm": True}
        arguments |= {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}
        data = [{"x": torch.zeros(4), "labels": torch.zeros(1)} for _ in range(steps)]
        args = TrainingArguments(output_dir=str(folder), **{**arguments, **options})
        return Trainer(Model(), args, train_dataset=data, eval_dataset=data[:2], callbacks=callbacks)


class Loop:
    """A plain PyTorch loop that logs through a `SummaryWriter`."""

    name = "loop"
    saves_checkpoint = False

    def callback(self, **options: Any) -> Any:
        from wattloop import track

        return track(**options)

    def run(self, callback: Any) -> Run:
        return callback

    def train(self, callback: Any, folder: Path, epochs: int, steps: int, log_every: int, work: Work) -> Outcome:
        from torch.utils.tensorboard import SummaryWriter

        counted = _Counted(work)
        rows: dict[int, Row] = {}

        class Writer(SummaryWriter):  # type: ignore[misc]
            def add_scalar(self, name: str, value: float, step: int) -> None:
                rows.setdefault(step, {})[name] = value
                super().add_scalar(name, value, step)

        with Writer(folder) as writer:
            callback._log = writer.add_scalar

            def train() -> None:
                with callback as run:
                    for _ in run.epochs(range(epochs)):
                        for _ in run.steps(range(steps)):
                            counted()

            error = _caught(train)
        outcome = _outcome(folder, self.run(callback), counted, error)
        outcome.rows = [rows[step] for step in sorted(rows)]
        outcome.epoch_rows = [rows[step] for step in sorted(rows) if step % steps == 0]
        return outcome

    def train_saving(self, callback: Any, folder: Path, epochs: int, steps: int, work: Work) -> Outcome:
        counted, path = _Counted(work), folder / "saved.json"

        def train() -> None:
            saved = json.loads(path.read_text()) if path.exists() else {"epochs": 0}
            if "run" in saved:
                callback.load_state_dict(saved["run"])
            with callback as run:
                for epoch in run.epochs(range(saved["epochs"], epochs)):
                    for _ in run.steps(range(steps)):
                        counted()
                    path.write_text(json.dumps({"run": run.state_dict(), "epochs": epoch + 1}))

        error = _caught(train)
        return _resumed(folder, self.run(callback), counted, error)


def fronts() -> list[Front]:
    """Return the front ends whose frameworks are installed; with ``WATTLOOP_FRONTS`` those it names."""
    every: list[Front] = [
        Loop(),
        Lightning("lightning.pytorch"),
        Lightning("pytorch_lightning"),
        Transformers(),
        Keras(),
    ]
    wanted = os.environ.get("WATTLOOP_FRONTS")
    return [front for front in every if wanted is None or front.name in wanted.split(",")]


def same(a: float, b: float) -> bool:
    """Compare two logged numbers, one of which may have been stored in single precision."""
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)
