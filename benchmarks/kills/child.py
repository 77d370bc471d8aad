"""A session that may be killed at any moment: it trains, saves at random steps, and tells a page that outlives it."""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.nvml import FakeNvml

MACHINE = "profile=square:100,500,0.7;refresh_s=0.02"
PEAK_W = 500.0
BEAT_S = 0.002
PATIENCE_S = 20.0
SLOTS = ("asked", "started", "late", "died", "ending", "ended", "saved")


class Board:
    """A page shared with a child: what it tells, for as long as it lives."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def __getitem__(self, slot: str) -> float:
        return struct.unpack_from("d", self._page, 8 * SLOTS.index(slot))[0]

    def __setitem__(self, slot: str, value: float) -> None:
        struct.pack_into("d", self._page, 8 * SLOTS.index(slot), value)

    @property
    def run_id(self) -> str:
        return self._page[1024:1088].rstrip(b"\0").decode()

    @run_id.setter
    def run_id(self, run_id: str) -> None:
        self._page[1024:1088] = run_id.encode().ljust(64, b"\0")


@dataclass
class Plan:
    """A session to be."""

    case: str
    folder: Path
    moment: str
    seed: int
    interval_s: float
    length_s: float


class Child:
    """A session: trains, saves at random steps, and tells the board."""

    step_s = 0.005

    def __init__(self, plan: Plan, board: Board) -> None:
        self.plan, self.board = plan, board
        self.rng = random.Random(plan.seed)
        # Keras saves by epochs.
        self.epochs = 10 if plan.case == "keras" else 3
        self.steps = max(6, round(plan.length_s / self.step_s / self.epochs))
        self.torn = plan.moment == "checkpoint"
        self.rate = self.step_s / 0.3
        self.fake = FakeNvml(MACHINE).__enter__()

    def options(self, **more: Any) -> dict[str, Any]:
        return {
            "region": "FR",
            "interval_s": self.plan.interval_s,
            "powercap_root": str(self.plan.folder / "no powercap"),
            **more,
        }

    def watch(self, run: Any) -> None:
        self.run = run
        start, finish = run.start, run.finish

        def timed_start(*args: Any, **more: Any) -> None:
            self.board["asked"] = time.monotonic()
            start(*args, **more)
            self.board.run_id = run.id
            self.board["started"] = time.monotonic()

        def timed_finish(*args: Any, **more: Any) -> None:
            running = run.running
            if running:
                self.board["ending"] = time.monotonic()
            finish(*args, **more)
            if running:
                self.board["ended"] = time.monotonic()

        def beat() -> None:
            while True:
                before_s = time.monotonic()
                time.sleep(BEAT_S)
                if self.board["started"]:
                    self.board.run_id = run.id
                    self.board["late"] = max(self.board["late"], time.monotonic() - before_s - BEAT_S)

        run.start, run.finish = timed_start, timed_finish
        threading.Thread(target=beat, daemon=True).start()

    def work(self, *args: Any) -> None:
        time.sleep(self.step_s)

    def due(self) -> bool:
        """Tell whether to save now."""
        return self.rng.random() < self.rate

    def die(self) -> None:
        """Be killed in the midst of saving, at the first or second time."""
        if self.torn and self.rng.random() < 0.5:
            self.board["died"] = time.monotonic()
            os.kill(os.getpid(), signal.SIGKILL)

    def die_when_changed(self, folder: Path, pattern: str) -> None:
        """Be killed as soon as a framework begins to save."""

        def look() -> set[tuple[str, int]]:
            found = set()
            for path in folder.glob(pattern):
                with contextlib.suppress(OSError):
                    found.add((path.name, path.stat().st_mtime_ns))
            return found

        def watch() -> None:
            before = look()
            while look() <= before:
                time.sleep(0.0005)
            time.sleep(self.rng.random() * 0.003)
            self.board["died"] = time.monotonic()
            os.kill(os.getpid(), signal.SIGKILL)

        if self.torn:
            threading.Thread(target=watch, daemon=True).start()

    def write(self, path: Path, write: Callable[[Path], object]) -> None:
        """Save in one piece, as good scripts do."""
        new = path.with_name(path.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        write(new)
        self.die()
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(new, path)

    def train(self) -> None:
        getattr(self, self.plan.case)()

    def loop(self) -> None:
        import wattloop

        path = self.plan.folder / "checkpoint.json"
        run = wattloop.track(**self.options(log_dir=self.plan.folder / "logs"))
        self.watch(run)
        saved = json.loads(path.read_text()) if path.exists() else None
        early = self.rng.random() < 0.5
        if saved and early:
            run.load_state_dict(saved["run"])
        done = saved["step"] if saved else 0
        with run:
            if saved:
                self.board["saved"] = saved["saved_s"]
                if not early:
                    run.load_state_dict(saved["run"])
            for _ in run.steps(range(self.epochs * self.steps - done)):
                self.work()
                done += 1
                if self.due():
                    with run.phase("checkpoint"):
                        state = {"run": run.state_dict(), "step": done, "saved_s": time.monotonic()}
                        self.write(path, lambda new, state=state: new.write_text(json.dumps(state)))

    def accelerate(self) -> None:
        import accelerate

        import wattloop

        path = self.plan.folder / "checkpoint"
        accelerator = accelerate.Accelerator(cpu=True)
        run = wattloop.track(**self.options(log_dir=self.plan.folder / "logs"))
        self.watch(run)
        accelerator.register_for_checkpointing(run)
        done = 0
        with run:
            if path.exists():
                accelerator.load_state(str(path))
                done = json.loads((path / "step.json").read_text())

            def write(new: Path) -> None:
                accelerator.save_state(str(new))
                (new / "step.json").write_text(str(done))

            for _ in run.steps(range(self.epochs * self.steps - done)):
                self.work()
                done += 1
                if self.due():
                    self.write(path, write)

    def lightning(self) -> None:
        import lightning.pytorch as pl

        from contract.fronts import Lightning

        front, path, child = Lightning("lightning.pytorch"), self.plan.folder / "saved.ckpt", self

        class Save(pl.Callback):
            def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
                if child.due():
                    child.write(path, trainer.save_checkpoint)

        callback = front.callback(**self.options())
        self.watch(callback.run)
        # A logger of the usual kind: a new folder for every session, and no log_dir of ours.
        trainer = pl.Trainer(
            default_root_dir=self.plan.folder,
            max_epochs=self.epochs,
            callbacks=[callback, Save()],
            accelerator="cpu",
            logger=pl.loggers.CSVLogger(self.plan.folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        model, loader = front.model(self.work), front.loader(self.steps)
        trainer.fit(model, loader, ckpt_path=path if path.exists() else None)

    def transformers(self) -> None:
        from contract.fronts import Transformers

        front, folder = Transformers(), self.plan.folder / "out"
        callback = front.callback(**self.options())
        self.watch(callback.run)
        options = {
            "num_train_epochs": self.epochs,
            "save_steps": max(2, self.steps // 3),
            "save_total_limit": 2,
            "restore_callback_states_from_checkpoint": self.rng.random() < 0.5,
            "report_to": [],
        }
        trainer = front.trainer(folder, self.work, self.steps, [callback], **options)
        for broken in [path for path in folder.glob("checkpoint-*") if not whole(path)]:
            shutil.rmtree(broken)
        found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        self.die_when_changed(folder, "checkpoint-*")
        trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)

    def keras(self) -> None:
        import keras

        from contract.fronts import Keras

        front, child, folder = Keras(), self, self.plan.folder / "backup"
        callback = front.callback(**self.options(log_dir=self.plan.folder / "logs"))
        self.watch(callback.run)
        save_freq = random.Random(str(self.plan.folder)).choice(["epoch", max(2, self.steps // 3)])

        class Work(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                child.work()

        if not restorable(folder):
            shutil.rmtree(folder, ignore_errors=True)
        self.die_when_changed(folder, "*")
        backup = keras.callbacks.BackupAndRestore(folder, save_freq=save_freq, double_checkpoint=True)
        front.fit(self.steps, self.epochs, [Work(), backup, callback])


def whole(checkpoint: Path) -> bool:
    import torch

    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
        torch.load(checkpoint / "optimizer.pt", weights_only=False)
        torch.load(checkpoint / "rng_state.pth", weights_only=False)
    except Exception:
        return False
    return (checkpoint / "model.safetensors").exists()


def restorable(backup: Path) -> bool:
    import h5py

    try:
        json.loads((backup / "training_metadata.json").read_text())
        h5py.File(backup / "latest.weights.h5").close()
    except (OSError, ValueError):
        return (backup / "latest.weights.h5.bkp").exists() and (backup / "training_metadata.json.bkp").exists()
    return True


def become(plan: Plan, board: Board) -> None:
    code = 1
    try:
        output = os.open(plan.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", force=True)
        child = Child(plan, board)
        child.train()
        child.run.settle(PATIENCE_S)
        if plan.moment == "end":
            time.sleep(0.05)
        code = 0
    except BaseException:
        logging.exception("ended")
    finally:
        sys.stdout.flush()
        os._exit(code)
