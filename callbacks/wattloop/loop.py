"""Plain loops, PyTorch's and Accelerate's: iterators and a context manager over the same `Run`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from wattloop.options import RunOptions
from wattloop.run import Run
from wattloop.tensorboard import EventFile, add_layout, event_file

_logger = logging.getLogger("wattloop")

T = TypeVar("T")
Log = Callable[[str, float, int], object]
Save = Callable[[], object]


class LoopRun(Run):
    """A `Run` that a plain loop drives; see `track`."""

    def __init__(self, log: Log | None = None, before_pause: Save | None = None, **options: Unpack[RunOptions]) -> None:
        super().__init__(**options)
        if before_pause is not None and not callable(before_pause):
            raise ValueError(f"before_pause={before_pause!r} is not accepted; give a callable that saves a checkpoint")
        self._before_pause = before_pause
        if log is not None and not callable(log):
            raise ValueError(f"log={log!r} is not accepted; give a callable, e.g. writer.add_scalar")
        self._log = log

    def _reset(self) -> None:
        super()._reset()
        self._events: EventFile | None = None
        self._stop_said = self._log_warned = self._training = False

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "log": self._log, "before_pause": self._before_pause}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._log, self._before_pause = state["log"], state["before_pause"]

    def __enter__(self) -> Self:
        """Begin to measure."""
        self.start(framework="loop")
        if self._log is None:
            self._events = event_file(self.settings.log_dir)
        else:
            add_layout(getattr(self._log, "__self__", None))
        self._stop_if_due(self.check_stop())
        # Its first step tells a loop that counts them itself.
        self._progress.hurry()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End measuring, whatever ended the loop."""
        if error is not None:
            self.fail(error)
        else:
            self.finish("stopped" if self.should_stop else "finished")
        if self._events is not None:
            self._events.close()
            self._events = None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, before or inside the `with` block; see `Run.load_state_dict`."""
        super().load_state_dict(state)
        # Ranks may load at different times; they find out together, at the next step.
        if self.running and self._job.ranks.world_size == 1:
            self._stop_if_due(self.check_stop())

    def epochs(self, epochs: Iterable[T]) -> Iterator[T]:
        """Go through the epochs, log a row after each, and end early when the budget is spent.

        Args:
            epochs: The epochs; their number is the run's `total_epochs` where it has a length.
        """
        total = _length(epochs)
        self.expect(None, total)
        for epoch in epochs:
            if self.should_stop:
                return
            yield epoch
            self._emit(self.epoch_end())
            self._stop_if_due(self.should_stop)

    def steps(self, batches: Iterable[T]) -> Iterator[T]:
        """Go through the batches of an epoch, count a step after each, and end early when the budget is spent.

        Args:
            batches: The batches, e.g. a `DataLoader`; their number is known in advance where it has a length.
        """
        length = _length(batches)
        if length is not None:
            self._progress.expect_epoch(length)
        self.agree_on_epoch(length)
        if not self._training:
            self.wait_to_begin()
        self.enter_phase("train")
        try:
            for batch in batches:
                if self.should_stop:
                    return
                yield batch
                if self.step():
                    if self.should_log:
                        self._emit(self.metrics())
                    if self.should_wait and not self.should_stop:
                        self.wait()
                    self._stop_if_due(self.should_stop)
        finally:
            self.enter_phase("other")

    def wait_to_begin(self, leave: Callable[[], bool] = lambda: False) -> None:
        """Wait for cleaner electricity before the first step; see `Run.wait_to_begin`."""
        super().wait_to_begin(leave)
        self._begin_training()
        self._stop_if_due(self.should_stop)

    def wait(self, leave: Callable[[], bool] = lambda: False) -> None:
        """Wait for cleaner electricity, a checkpoint before a long wait; see `Run.wait`."""
        if self._training and self.wait_is_long:
            self._save_before_pause()
        super().wait(leave)

    def _attend(self) -> bool:
        if not self._training:
            self._begin_training()
        return super()._attend()

    def _begin_training(self) -> None:
        self._training = True
        self.enter_phase("train")

    def _save_before_pause(self) -> None:
        if self._before_pause is None:
            return
        try:
            with self.phase("checkpoint"):
                self._before_pause()
        except Exception as error:
            _logger.warning("the checkpoint before the pause could not be saved: %r", error)

    def _stop_if_due(self, due: bool) -> None:
        if due and not self._stop_said:
            self._stop_said = True
            self.stopped(None)

    def _emit(self, row: dict[str, float]) -> None:
        try:
            if self._events is not None:
                self._events.add(row, self.steps_done)
            elif self._log is not None:
                for name, value in row.items():
                    self._log(name, value, self.steps_done)
        except Exception as error:
            if not self._log_warned:
                self._log_warned = True
                _logger.warning("the row of step %d could not be logged: %r", self.steps_done, error)


def _length(items: Iterable[Any]) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


def track(log: Log | None = None, before_pause: Save | None = None, **options: Unpack[RunOptions]) -> LoopRun:
    """Measure a plain training loop.

    Args:
        log: Called with (name, value, step) for every logged value, e.g. ``SummaryWriter.add_scalar``. Without it, and
            with ``log_dir=``, rows go to a TensorBoard event file there.
        before_pause: Called on every rank before a long pause for cleaner electricity (``wait=``), to save a
            checkpoint.
        **options: See `RunOptions`. The keys logged are those of `wattloop.rows.row`.

    Returns:
        A run to be used as a context manager; loops of other shapes call `run.step()` themselves, `run.wait_to_begin()`
        before the first one, `run.wait()` where `run.should_wait` says so, and end where `run.should_stop` does.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option's value is not accepted.

    Example:
        >>> with track(region="FR", total_epochs=2) as run:
        ...     for epoch in run.epochs(range(2)):
        ...         for batch in run.steps([1, 2, 3]):
        ...             pass
        >>> run.steps_done
        6
    """
    return LoopRun(log, before_pause, **options)
