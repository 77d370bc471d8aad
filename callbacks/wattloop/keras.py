"""Keras 3, on any backend: `EmissionsCallback`."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

try:
    import keras
except ImportError as error:
    raise ImportError(
        f"wattloop.keras needs Keras 3 (pip install 'wattloop[keras]'), and KERAS_BACKEND to name a backend that is"
        f" installed (torch, jax or tensorflow): {error}"
    ) from error

from wattloop.adapter import Adapter, move_to_front, put_before_terminal, shorten
from wattloop.ranks import Engine, detect
from wattloop.sidecar import Sidecar
from wattloop.tensorboard import EventFile, event_file

log = logging.getLogger("wattloop")


class EmissionsCallback(Adapter, keras.callbacks.Callback):  # type: ignore[misc]
    """Adds energy and CO2e to the logs of every epoch, forecasts the run's total, and stops it at its budget.

    History, the progress bar, CSVLogger, EarlyStopping and TensorBoard see the keys, wherever they stand in the list.
    With ``log_dir=`` rows also go, every ``log_every_n_steps`` and at each epoch, to a TensorBoard event file of ours,
    for which Keras's own callback would need TensorFlow.

    A run that goes on after a crash goes on counting. Keras keeps no state of callbacks, so it lies in a small file:
    beside the folder of ``BackupAndRestore``, as long as that has a backup to restore, or else in ``log_dir``, where a
    fit whose ``initial_epoch`` (> 0) is one that the file knows goes on from there. Any other fit begins a run.

    Args:
        **options: See `wattloop.options.RunOptions`. The keys logged are those of `wattloop.rows.row`.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option's value is not accepted.

    Example:
        >>> from wattloop.keras import EmissionsCallback
        >>> model.fit(x, y, epochs=10, callbacks=[EmissionsCallback(region="FR", log_dir="logs")])  # doctest: +SKIP
    """

    _events: EventFile | None = None
    _backup: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Take the front of the list, where all others see our keys."""
        super().set_params(params)
        owner = move_to_front(self)
        if owner is not None:
            self._backup = next((c for c in owner.callbacks if isinstance(c, keras.callbacks.BackupAndRestore)), None)
            put_before_terminal(owner.callbacks, _Shortener(self))
            # A single callback given without a list would be called on several threads at once, out of order.
            owner._async_train = False

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Begin to measure."""
        self._close_events()
        self._first_epoch: int | None = None
        self._batch = -1
        self._unsaved = self._last_seen = 0
        self._stopping = False
        backend = keras.backend.backend()
        # On torch, `fit` knows of no other process: replicas may train for different numbers of steps.
        engine: Engine | None = "jax" if backend == "jax" else None
        self._sidecar = self._place() if detect(engine).rank == 0 else None
        self.run.start(
            framework=f"keras/{backend}",
            steps_per_epoch=self.params.get("steps"),
            state=self._backed_up(),
            engine=engine,
        )
        self._events = event_file(self.run.settings.log_dir)
        self._stop_if_due(self.run.check_stop())

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Learn how many epochs there are: only the first one's index tells where a resumed run begins."""
        self._batch = -1
        self._epoch = epoch
        if self._first_epoch is None:
            self._first_epoch = epoch
            if epoch > 0 and self._backup is None and self._sidecar is not None:
                state = self._sidecar.load(epoch, 0, exactly=True)
                if state is not None:
                    self.run.load_state_dict(state)
            self._stop_if_due(self.run.check_stop())
            self.run.wait_to_begin()
            self._stop_if_due(self.run.should_stop)
            self.run.expect(None, self.params["epochs"] - epoch, self.params.get("steps"))
        self.run.enter_phase("train")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Count the batches since the last call; log and stop when due."""
        # With steps_per_execution the last index of a group is given, even where the epoch has fewer.
        batch = min(batch, (self.params.get("steps") or sys.maxsize) - 1)
        done, self._batch = batch - self._batch, batch
        if self.run.step(done):
            if self.run.should_log and self._events is not None:
                self._events.add(self.run.metrics(), self.run.steps_done)
            if self.run.should_wait and not self._stopping:
                if self.run.wait_is_long:
                    self._back_up()
                self.run.wait()
            self._stop_if_due(self.run.should_stop)
        if self._backup is not None and self._backup.save_freq != "epoch":
            self._save_if_due(batch)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Count validation apart."""
        self.run.enter_phase("validation")

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Go back to counting training."""
        self.run.enter_phase("train")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the epoch's row to the logs."""
        self.row = self.run.epoch_end()
        if logs is not None:
            logs.update(self.row)
        if self._events is not None:
            self._events.add(self.row, self.run.steps_done)
        self._last_seen = 0
        if self._sidecar is not None and (self._backup is None or self._backup.save_freq == "epoch"):
            self._sidecar.save(epoch + 1, 0, self.run.state_dict())

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """End measuring."""
        self.run.finish("stopped" if self._stopping else "finished")
        self._close_events()
        if self._sidecar is not None and self._backup is not None and self._backup.delete_checkpoint:
            self._sidecar.forget()

    def _place(self) -> Sidecar | None:
        if self._backup is not None:
            # Two trainings may share a log folder, but not this one, by Keras's own rule. It is deleted in the end.
            folder = os.fspath(self._backup.backup_dir).rstrip("/")
            return Sidecar(f"{folder}.wattloop.json", durable=True) if "://" not in folder else None
        log_dir = self.run.settings.log_dir
        return Sidecar(os.path.join(log_dir, "wattloop-keras.json"), durable=False) if log_dir is not None else None

    def _backed_up(self) -> dict[str, Any] | None:
        """Return the state that goes with the backup which is about to be restored."""
        if self._backup is None or self._sidecar is None:
            return None
        try:
            with open(os.path.join(self._backup.backup_dir, "training_metadata.json"), "rb") as file:
                backup = json.load(file)
            return self._sidecar.load(backup["epoch"], backup["batch"], exactly=False)
        except FileNotFoundError:
            self._sidecar.forget()
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("what this run spent before is not counted: its backup cannot be read: %r", error)
        return None

    def _save_if_due(self, batch: int) -> None:
        """Save where `BackupAndRestore`, which counts like this, is about to."""
        self._unsaved += batch + 1 if batch <= self._last_seen else batch - self._last_seen
        self._last_seen = batch
        if self._backup.save_freq and self._unsaved >= self._backup.save_freq:
            self._unsaved = 0
            if self._sidecar is not None:
                self._sidecar.save(self._epoch, batch, self.run.state_dict())

    def _back_up(self) -> None:
        """Have `BackupAndRestore`, if there is one, save now; it knows its epoch only after the first it has seen."""
        if self._backup is None or self._backup._current_epoch != self._epoch:
            return
        if self._sidecar is not None:
            self._sidecar.save(self._epoch, self._backup._last_batch_seen, self.run.state_dict())
        try:
            with self.run.phase("checkpoint"):
                self._backup._save_model()
        except Exception as error:
            log.warning("no backup could be made before the pause: %r", error)

    def _stop_if_due(self, due: bool) -> None:
        # On jax, touching self.model makes Keras fetch the whole state: only to stop.
        if due and not self._stopping:
            self._stopping = self.model.stop_training = True
            self.run.stopped(None)

    def _close_events(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None


class _Shortener(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps most of our keys off the progress bar."""

    def __init__(self, owner: EmissionsCallback) -> None:
        super().__init__()
        self._owner = owner

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            shorten(logs, self._owner.row)
