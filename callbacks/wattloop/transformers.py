"""Hugging Face Trainer: `EmissionsCallback`."""

from __future__ import annotations

import logging
import os
from typing import Any

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import ExportableState
except ImportError as error:
    raise ImportError("wattloop.transformers needs the Trainer: pip install 'wattloop[transformers]'") from error

from wattloop.adapter import Adapter, move_to_front, put_before_terminal, shorten
from wattloop.tensorboard import add_layout

log = logging.getLogger("wattloop")


class EmissionsCallback(Adapter, TrainerCallback, ExportableState):  # type: ignore[misc]
    """Adds energy and CO2e to every log of the Trainer, forecasts the run's total, and stops it at its budget.

    All integrations (`report_to`) get the keys, and so do ``state.log_history`` and ``trainer_state.json``, the final
    ``train_runtime`` log included; TensorBoard shows them as ``train/<key>``. A budget stop and a long
    pause for cleaner electricity save a checkpoint whatever the save strategy is.

    Args:
        **options: See `wattloop.options.RunOptions`. The keys logged are those of `wattloop.rows.row`.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option's value is not accepted.

    Example:
        >>> from transformers import Trainer
        >>> from wattloop.transformers import EmissionsCallback
        >>> Trainer(model, args, callbacks=[EmissionsCallback(region="FR")]).train()  # doctest: +SKIP
    """

    saved_state: dict[str, Any] | None = None
    """Set by the Trainer on a callback that it makes of a checkpoint."""
    _callbacks: list[Any] | None = None
    _stopping = False
    _pausing = False
    _layout_added = False

    def attach(self, trainer: Any) -> None:
        """Take the front of a trainer's callbacks by hand, where doing so by itself failed.

        Args:
            trainer: The `Trainer`; the callback is added if it is not there.
        """
        callbacks = trainer.callback_handler.callbacks
        if self in callbacks:
            callbacks.remove(self)
        callbacks.insert(0, self)
        self._callbacks = callbacks

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take the front of the list, where all integrations see our keys."""
        self._take_front()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to measure, from where a checkpoint left off."""
        given = self._take_back()
        if given is not None:
            given.on_train_begin(args, state, control, **kwargs)
            return
        self._take_front()
        if self._callbacks is None:
            log.warning("wattloop's keys may not reach your loggers: call EmissionsCallback.attach(trainer)")
        else:
            put_before_terminal(self._callbacks, _Shortener(self))
        self._stopping = self._pausing = self._layout_added = False
        self.run.start(
            framework="transformers",
            step=state.global_step,
            total_steps=state.max_steps,
            log_dir=args.output_dir,
            state=self._saved(state) if state.global_step > 0 else None,
            log_every_n_steps=state.logging_steps,
        )
        self.run.enter_phase("train")
        self.run.wait_to_begin()
        self._stop_if_due(control, self.run.check_stop())

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait, once the checkpoint is saved and handed on to whoever wants it."""
        if self._pausing:
            self._pausing = False
            self.run.wait()
            self._stop_if_due(control, self.run.should_stop)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count an optimizer step; wait and stop when due."""
        if self.run.step():
            self._stop_if_due(control, self.run.should_stop)
            if self.run.should_wait and not self._stopping:
                self._pausing = True
                control.should_save = control.should_save or self.run.wait_is_long

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count evaluation apart."""
        self.run.enter_phase("validation")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Go back to counting training."""
        self.run.enter_phase("train")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Say where the checkpoint of a budget stop is."""
        if self._stopping:
            self.run.stopped(os.path.join(args.output_dir, f"checkpoint-{state.global_step}"))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End an epoch; its row comes with the next log."""
        self.run.epoch_end()
        self._stop_if_due(control, self.run.should_stop and not self._stopping)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the row to what the Trainer logs, and to its history, which was written a moment ago."""
        if not self.run.running or logs is None:
            return
        if "train_runtime" in logs:
            self.run.conclude()
            self.run.refresh()
        self.row = self.run.metrics()
        logs.update(self.row)
        if state.log_history:
            state.log_history[-1].update(self.row)
        if not self._layout_added:
            self._layout_added = True
            for callback in self._callbacks or ():
                if getattr(callback, "tb_writer", None) is not None:
                    add_layout(callback.tb_writer, prefix="train/")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End measuring."""
        self.run.finish("stopped" if self._stopping else "finished")

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes to ``trainer_state.json``: what is spent, and no options: those are yours."""
        # The Trainer asks for it, too, before it may put a callback built from a checkpoint in this one's place.
        self._take_front()
        return {"args": {}, "attributes": {"saved_state": self.run.state_dict()}}

    def _saved(self, state: TrainerState) -> dict[str, Any] | None:
        # Filled from the checkpoint, whatever `restore_callback_states_from_checkpoint` says.
        saved = state.stateful_callbacks.get(type(self).__name__)
        saved = saved[0] if isinstance(saved, list) else saved
        return saved["attributes"]["saved_state"] if saved else None

    def _take_front(self) -> None:
        owner = move_to_front(self)
        if owner is not None:
            self._callbacks = owner.callbacks
            if self.saved_state is None:
                owner.wattloop_given = self

    def _take_back(self) -> EmissionsCallback | None:
        """Put the callback that the user gave back into the place of one that the Trainer made of a checkpoint."""
        owner = move_to_front(self) if self.saved_state is not None else None
        given: EmissionsCallback | None = getattr(owner, "wattloop_given", None)
        if owner is not None and given is not None:
            owner.callbacks[0] = given
        return given

    def _stop_if_due(self, control: TrainerControl, due: bool) -> None:
        if due:
            self._stopping = control.should_training_stop = control.should_save = True


class _Shortener(TrainerCallback):  # type: ignore[misc]
    """Keeps most of our keys off the terminal."""

    def __init__(self, owner: EmissionsCallback) -> None:
        self._owner = owner

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is not None:
            shorten(logs, self._owner.row)
