"""One rank of a job whose grid is dirty before the first step and in the midst of training, for longer than collectives
may take: trains with each front end it is told to, and writes down what came of it.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from fakes.grid import CLEAN, Grid
from ranks.worker import CONFIG, RANK, WORLD, Diary, Net, gpus, leave, options, train_step
from wattloop import CleanHours, track

COLLECTIVE_S = 3.0
"""Time after which a collective fails."""
WAIT_S = 6.0
DIRTY_AT, STEPS = 20, 400


def waiting(folder: Path, grid: Grid, **more: Any) -> dict[str, Any]:
    wait = CleanHours(below=250, shortest_minutes=0)
    return options(folder, budget=None, intensity=grid, wait=wait, **more)


class Work:
    """A step that takes a moment; in one of them the grid gets dirty."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self._steps = grid, 0

    def __call__(self) -> None:
        self._grid.step(0.003)
        if self._steps == DIRTY_AT and RANK == 0:
            self._grid.dirty_for(WAIT_S)
        self._steps += 1


def loop(folder: Path, grid: Grid) -> Diary:
    saved: list[int] = []
    run = track(
        lambda name, value, step: None, before_pause=lambda: saved.append(run.steps_done), **waiting(folder, grid)
    )
    grid.run = run
    diary = Diary(run)
    diary.told["saved"] = saved
    model = torch.nn.parallel.DistributedDataParallel(Net(Work(grid)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with run:
        for x in run.steps(torch.zeros(STEPS, 2, 4)):
            train_step(model, x, optimizer)
            diary.step_ended()
    return diary


def transformers(folder: Path, grid: Grid) -> Diary:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from wattloop.transformers import EmissionsCallback

    callback = EmissionsCallback(**waiting(folder, grid, log_dir=None))
    grid.run = callback.run
    diary = Diary(callback.run)

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            diary.step_ended()

    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        per_device_train_batch_size=1,
        num_train_epochs=1,
        logging_steps=25,
        save_strategy="no",
    )
    data = [{"x": torch.zeros(4), "labels": torch.zeros(1)} for _ in range(STEPS * WORLD)]
    Trainer(Net(Work(grid)), args, train_dataset=data, callbacks=[callback, Watch()]).train()
    diary.told["saved"] = [int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*")]
    return diary


def lightning(folder: Path, grid: Grid) -> Diary:
    import lightning.pytorch as pl

    from wattloop.lightning import EmissionsCallback

    callback = EmissionsCallback(**waiting(folder, grid, log_dir=None))
    grid.run = callback.run
    diary = Diary(callback.run)

    class Watch(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            diary.step_ended()

    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(Work(grid))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    trainer = pl.Trainer(
        strategy="ddp",
        devices=WORLD,
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        callbacks=[Watch(), callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=25,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.zeros(STEPS * WORLD, 4)))
    diary.told["saved"] = [int(path.stem.partition("=")[2]) for path in folder.rglob("pause-*.ckpt")]
    return diary


FRONTS = {front.__name__: front for front in (loop, transformers, lightning)}


def main() -> None:
    folder, *names = sys.argv[1:]
    dist.init_process_group("gloo", timeout=timedelta(seconds=COLLECTIVE_S))
    for name in names:
        place = Path(folder) / name
        place.mkdir(exist_ok=True)
        grid = Grid(CLEAN)
        if RANK == 0:
            grid.dirty_for(WAIT_S)
        with gpus(CONFIG, str(RANK)):
            diary = FRONTS[name](place, grid)
            assert diary.run.settle(20.0)
            told = {**diary.tell(), "waited_s": diary.run.totals.waited_s}
        (place / f"rank{RANK}.json").write_text(json.dumps(told))
        dist.barrier()
    leave()


if __name__ == "__main__":
    main()
