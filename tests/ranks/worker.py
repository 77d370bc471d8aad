"""One rank of a job under torchrun: trains with each front end it is told to, and writes down what came of it.

Rank r computes on the fake GPU r of its host, which draws 100 (r + 1) W.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from fakes.nvml import FakeNvml
from wattloop import Budget, track
from wattloop.run import Run

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
WATTS = [100.0 * (rank + 1) for rank in range(WORLD)]
CONFIG = f"devices={WORLD};" + ";".join(f"d{rank}.profile=constant:{watts}" for rank, watts in enumerate(WATTS))
INTERVAL_S = 0.1
STEPS = 1000
J_PER_KWH = 3.6e6
BUDGET_J = sum(WATTS) * 1.0


class Diary:
    """What happened, and when, in monotonic seconds."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.before_start_s = time.monotonic()
        self.after_start_s = 0.0
        self.step_ends_s: list[float] = []
        self.told: dict[str, Any] = {}

    def started(self) -> None:
        self.after_start_s = time.monotonic()

    def work(self) -> None:
        time.sleep(0.003)

    def step_ended(self) -> None:
        self.step_ends_s.append(time.monotonic())

    def tell(self) -> dict[str, Any]:
        totals = self.run.totals
        return {
            "before_start_s": self.before_start_s,
            "after_start_s": self.after_start_s,
            "step_ends_s": self.step_ends_s,
            "steps": self.run.steps_done,
            "should_stop": self.run.should_stop,
            "energy_j": totals.energy_j,
            "phases_j": self.run.phases_j,
            "measured": totals.measured_fraction,
            "run_id": self.run.id,
            "end_s": time.monotonic(),
            **self.told,
        }


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "region": "FR",
        "interval_s": INTERVAL_S,
        "log_dir": str(folder),
        "powercap_root": str(folder / "no powercap"),
        "log_every_n_steps": 25,
        "budget": Budget(kwh=BUDGET_J / J_PER_KWH),
        **more,
    }


class Net(torch.nn.Module):
    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self._work = work

    def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
        self._work()
        y = self.layer(x)
        return {"loss": y.pow(2).mean(), "logits": y}


def train_step(model: Any, x: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    model(x)["loss"].backward()
    optimizer.step()


# -- front ends ------------------------------------------------------------------------------------------------------


def loop(folder: Path, wrap: Callable[[Any], Any] | None = None) -> Diary:
    run = track(lambda name, value, step: None, **options(folder))
    diary = Diary(run)
    model = (wrap or torch.nn.parallel.DistributedDataParallel)(Net(diary.work))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    diary.before_start_s = time.monotonic()
    with run:
        diary.started()
        for _ in run.epochs(range(2)):
            for x in run.steps(torch.zeros(STEPS, 2, 4)):
                train_step(model, x, optimizer)
                diary.step_ended()
    return diary


def fsdp(folder: Path) -> Diary:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (WORLD,))
    return loop(folder, lambda model: fully_shard(model, mesh=mesh))


def accelerate(folder: Path) -> Diary:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    run = track(lambda name, value, step: None, **options(folder))
    diary = Diary(run)
    model = Net(diary.work)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = torch.utils.data.DataLoader(torch.zeros(STEPS * WORLD, 4), batch_size=1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    diary.before_start_s = time.monotonic()
    with run:
        diary.started()
        for _ in run.epochs(range(2)):
            for x in run.steps(loader):
                optimizer.zero_grad()
                accelerator.backward(model(x)["loss"])
                optimizer.step()
                diary.step_ended()
    return diary


def transformers(folder: Path) -> Diary:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from wattloop.transformers import EmissionsCallback

    callback = EmissionsCallback(**options(folder, log_dir=None))
    diary = Diary(callback.run)

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            diary.started()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            diary.step_ended()

    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        per_device_train_batch_size=1,
        num_train_epochs=2,
        logging_steps=25,
        save_strategy="no",
    )
    data = [{"x": torch.zeros(4), "labels": torch.zeros(1)} for _ in range(STEPS * WORLD)]
    trainer = Trainer(Net(diary.work), args, train_dataset=data, callbacks=[callback, Watch()])
    diary.before_start_s = time.monotonic()
    trainer.train()
    diary.told["global_step"] = trainer.state.global_step
    diary.told["last_row"] = trainer.state.log_history[-1]
    return diary


def lightning(folder: Path) -> Diary:
    import lightning.pytorch as pl

    from wattloop.lightning import EmissionsCallback

    callback = EmissionsCallback(**options(folder, log_dir=None))
    diary = Diary(callback.run)

    class Watch(pl.Callback):  # type: ignore[misc]
        def setup(self, *args: Any, **kwargs: Any) -> None:
            diary.started()

        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            diary.step_ended()

    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(diary.work)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    trainer = pl.Trainer(
        strategy="ddp",
        devices=WORLD,
        accelerator="cpu",
        max_epochs=2,
        default_root_dir=folder,
        callbacks=[callback, Watch()],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=25,
    )
    diary.before_start_s = time.monotonic()
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.zeros(STEPS * WORLD, 4)))
    diary.told["global_step"] = trainer.global_step
    diary.told["row"] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return diary


FRONTS = {front.__name__: front for front in (loop, fsdp, accelerate, transformers, lightning)}


@contextlib.contextmanager
def gpus(config: str, visible: str | None) -> Iterator[FakeNvml]:
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    with FakeNvml(config) as fake:
        yield fake
        # A sampler follows its counters for a moment longer than a run lasts.
        for thread in threading.enumerate():
            if thread.name == "wattloop-sampler":
                thread.join(10.0)


def train(name: str, folder: Path) -> dict[str, Any]:
    with gpus(CONFIG, str(RANK)):
        return FRONTS[name](folder).tell()


def leave() -> NoReturn:
    """End, when all is told: at the interpreter's own exit gloo's threads abort the process once in a while."""
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    from ranks.cases import CASES

    folder, *names = sys.argv[1:]
    dist.init_process_group("gloo")
    for name in names:
        place = Path(folder) / name
        place.mkdir(exist_ok=True)
        found = train(name, place) if name in FRONTS else CASES[name](place)
        (place / f"rank{RANK}.json").write_text(json.dumps(found))
        dist.barrier()
    leave()


if __name__ == "__main__":
    main()
