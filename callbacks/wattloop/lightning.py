"""PyTorch Lightning: `EmissionsCallback`, under ``lightning.pytorch`` and ``pytorch_lightning`` alike."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import math
import os
import sys
from typing import TYPE_CHECKING, Any

from wattloop.adapter import Adapter
from wattloop.tensorboard import add_layout

if TYPE_CHECKING:
    import lightning.pytorch as pl

log = logging.getLogger("wattloop")

_NAMES = ("lightning.pytorch", "pytorch_lightning")


def _bases() -> tuple[Any, ...]:
    """Return the Callback classes of the namespaces in use: those already imported, else the one installed."""
    names = [name for name in _NAMES if sys.modules.get(name)]
    if not names:
        names = [name for name in _NAMES if importlib.util.find_spec(name.partition(".")[0]) is not None][:1]
    if not names:
        raise ImportError("wattloop.lightning needs PyTorch Lightning: pip install 'wattloop[lightning]'")
    return tuple(importlib.import_module(name).Callback for name in names)


class EmissionsCallback(Adapter, *_bases()):  # type: ignore[misc]
    """Logs energy and CO2e beside the loss, forecasts the run's total, and stops it when its budget is spent.

    Rows go to every logger of the trainer: at ``log_every_n_steps``, and at the end of each epoch through
    ``self.log``, so that ``EarlyStopping(monitor="emissions/kg_co2e")`` and ``ModelCheckpoint(monitor=...)`` see them
    wherever they stand in the list. A budget stop saves ``checkpoints/budget-step=<n>.ckpt`` in the log folder, a long
    pause for cleaner electricity ``checkpoints/pause-step=<n>.ckpt``, of which the last one is kept.

    Args:
        **options: See `wattloop.options.RunOptions`. The keys logged are those of `wattloop.rows.row`.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option's value is not accepted.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from wattloop import Budget
        >>> from wattloop.lightning import EmissionsCallback
        >>> trainer = Trainer(callbacks=[EmissionsCallback(region="FR", budget=Budget(kg_co2e=2.0))])
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin to measure, so that what comes before the first step counts too."""
        if stage == "fit":
            self._stopping = False
            self._paused_at: str | None = None
            self._folder = trainer.log_dir
            self.run.start(
                framework="lightning", log_dir=self._folder, log_every_n_steps=trainer.log_every_n_steps or None
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not begin at all where a resumed run's budget is spent already."""
        if self.run.check_stop():
            self.run.stopped(None)
            trainer.should_stop = self._stopping = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn how long the run is, and wait for clean electricity: the `Timer` of `max_time` begins only then."""
        total_steps = _total_batches(trainer)
        total_epochs = trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None
        self.run.know(
            step=trainer.fit_loop.epoch_loop.total_batch_idx + 1,
            total_steps=total_steps,
            total_epochs=total_epochs,
            # One that stands before us has begun, and a wait takes from its time.
            time_left_s=_time_left_s(trainer.callbacks[: trainer.callbacks.index(self)]),
        )
        self.run.wait_to_begin(lambda: trainer.received_sigterm)
        self.run.expect(total_steps, total_epochs, time_left_s=_time_left_s(trainer.callbacks))
        self.run.enter_phase("train")
        budget, fit_loop = self.run.settings.budget, trainer.fit_loop
        if budget is not None and budget.on_exceed == "stop" and (fit_loop.min_epochs or fit_loop.min_steps):
            log.warning("min_epochs and min_steps go before the budget: Lightning does not stop before they are met")
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if any(base.__name__ == "TensorBoardLogger" for base in type(logger).__mro__):
                    add_layout(logger.experiment)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step; log, wait and stop when due."""
        if not self.run.step():
            return
        if self.run.should_log:
            self._log(trainer, self.run.metrics())
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        if self.run.should_wait and not self._stopping:
            if self.run.wait_is_long:
                self._save_before_pause(trainer)
            self.run.wait(lambda: trainer.received_sigterm)
        if self.run.should_stop and not self._stopping:
            self._stopping = trainer.should_stop = True
            self.run.stopped(self._saved(trainer, "budget"))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count validation apart."""
        if not trainer.sanity_checking:
            self.run.enter_phase("validation")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log for those who look at the end of a validation that is not at the end of an epoch."""
        # Not whether we measure: where one rank cannot, all must still log together.
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not _validates_every_epoch(trainer):
            pl_module.log_dict(self.run.metrics(), sync_dist=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go back to counting training."""
        if not trainer.sanity_checking:
            self.run.enter_phase("train")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's row."""
        pl_module.log_dict(self.run.epoch_end(), sync_dist=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the run has spent in all."""
        self.run.finish("stopped" if self._stopping else "finished")
        self._log(trainer, self.run.metrics())

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End measuring where training never began."""
        self.run.finish()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End measuring: no other hook follows."""
        self.run.fail(exception)

    def state_dict(self) -> dict[str, Any]:
        """Return what the run has spent, for the checkpoint."""
        return self.run.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self.run.load_state_dict(state_dict)

    def _log(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        step = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=step)

    def _save_before_pause(self, trainer: pl.Trainer) -> None:
        """Save, and remove what was saved before the pause before: a long run has many."""
        path, last = self._saved(trainer, "pause"), self._paused_at
        if path is not None and last is not None and path != last:
            try:
                trainer.strategy.remove_checkpoint(last)
            except Exception as error:
                log.warning("the checkpoint %s could not be removed: %r", last, error)
        self._paused_at = path or last

    def _saved(self, trainer: pl.Trainer, why: str) -> str | None:
        path = os.path.join(self._folder or "", "checkpoints", f"{why}-step={trainer.global_step}.ckpt")
        try:
            with self.run.phase("checkpoint"):
                trainer.save_checkpoint(path)
        except Exception as error:
            log.warning("the checkpoint %s could not be saved: %r", path, error)
            # The other ranks, which had nothing to write, wait in the barrier that ends `save_checkpoint`.
            with contextlib.suppress(Exception):
                trainer.strategy.barrier()
            return None
        return path


def _validates_every_epoch(trainer: pl.Trainer) -> bool:
    return bool(trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1)


def _time_left_s(callbacks: list[Any]) -> float | None:
    """Return what `max_time` leaves, None without one."""
    timers = [callback for callback in callbacks if any(c.__name__ == "Timer" for c in type(callback).__mro__)]
    return min((left_s for timer in timers if (left_s := timer.time_remaining()) is not None), default=None)


def _total_batches(trainer: pl.Trainer) -> float | None:
    """Return the batches of the whole run, None where Lightning does not know."""
    per_epoch, accumulated = float(trainer.num_training_batches), trainer.accumulate_grad_batches
    totals = []
    if (trainer.max_epochs or 0) > 0 and math.isfinite(per_epoch):
        totals.append(trainer.max_epochs * per_epoch)
    if trainer.max_steps > 0 and math.isfinite(per_epoch):
        epochs, steps = divmod(trainer.max_steps, math.ceil(per_epoch / accumulated))
        totals.append(epochs * per_epoch + min(steps * accumulated, per_epoch))
    elif trainer.max_steps > 0:
        totals.append(float(trainer.max_steps * accumulated))
    return min(totals, default=None)
