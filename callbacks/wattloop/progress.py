"""Progress: how far a run is, how long it is, and at which steps there is something to do."""

from __future__ import annotations

import math
import time

from wattloop.forecaster import Length

LOG_EVERY_N_STEPS = 50


class Progress:
    """Counts steps, and says when one of them is more than a step.

    Args:
        log_every_n_steps: Steps between two rows.
        cadence: Steps between two collectives; infinite for a single rank.
        total_steps: Steps of the whole run, by the user; goes before what a framework says.
        total_epochs: Epochs of the whole run, likewise.

    Attributes:
        steps_done: Steps done.
        attention: The next step at which something is due; until then, a step is no more than a count.
        epoch_first_step: Steps done when the current epoch began.
        log_due: A row is due at this step.
        sync_due: A collective is due at this step: one of the cadence, or one with a row.
        total_is_guess: The run is only taken to end with the epoch that it is in; nobody said so.
    """

    def __init__(
        self,
        log_every_n_steps: int = LOG_EVERY_N_STEPS,
        cadence: float = math.inf,
        total_steps: float | None = None,
        total_epochs: int | None = None,
    ) -> None:
        self.steps_done = 0
        self.attention: float = math.inf
        self.log_due = self.sync_due = False
        self._log_every, self._cadence = log_every_n_steps, cadence
        self._next_log: float = math.inf
        self._next_sync: float = math.inf
        self._sync_from, self._sync_until, self._sync_rows = 0, math.inf, True
        self._given_steps, self._given_epochs = total_steps, total_epochs
        self._total_steps, self._total_epochs = total_steps, total_epochs
        self._steps_per_epoch: float | None = None
        self.total_is_guess = False
        self._whole_epoch = True
        self._ends_s = math.inf
        self.epoch_first_step = 0

    def begin(self, step: int) -> None:
        """Stand at a step; that of a resumed run need not be the first of an epoch."""
        self.steps_done = self.epoch_first_step = step
        self._whole_epoch = step == 0
        self.log_due = self.sync_due = False
        self._plan()

    def attend(self) -> None:
        """Find out what is due at this step, and plan ahead."""
        self.log_due = self.steps_done >= self._next_log
        self.sync_due = self.steps_done >= self._next_sync or (self.log_due and self._sync_rows)
        self._plan()

    def hurry(self) -> None:
        """Make something due at the next step; from any thread."""
        self.attention = 0

    def sync_within(self, steps: float) -> None:
        """Do collectives in the next `steps` steps only, counted from here, as ranks may not have done the same."""
        self._sync_from, self._sync_until, self._sync_rows = self.steps_done, self.steps_done + steps, False
        self._plan()

    def sync_at_rows(self, wanted: bool) -> None:
        """Do a collective also where a row is due, or not, as ranks log at different steps."""
        self._sync_rows = wanted

    def _plan(self) -> None:
        self._next_log = (self.steps_done // self._log_every + 1) * self._log_every
        self._next_sync = self._sync_from + ((self.steps_done - self._sync_from) // self._cadence + 1) * self._cadence
        if self._next_sync > self._sync_until:
            self._next_sync = math.inf
        self.attention = min(self._next_log, self._next_sync)

    def expect(
        self,
        total_steps: float | None,
        total_epochs: int | None = None,
        steps_per_epoch: float | None = None,
        time_left_s: float | None = None,
    ) -> None:
        """Take what a framework says of the run's length; None where it does not know."""
        self._ends_s = math.inf if time_left_s is None else time.monotonic() + time_left_s
        self._total_steps, self.total_is_guess = self._given_steps or total_steps, False
        self._total_epochs = self._given_epochs or total_epochs
        self._steps_per_epoch = steps_per_epoch or self._steps_per_epoch

    def expect_epoch(self, steps: int) -> None:
        """Take the length of the epoch that begins; a run of unknown length is taken to end with that epoch."""
        if self._total_epochs is not None:
            self._steps_per_epoch = steps
        elif self._total_steps is None or self.total_is_guess:
            self._total_steps, self.total_is_guess = self.steps_done + steps, True

    def epoch_end(self) -> None:
        """End an epoch; where nobody said how long epochs are, the first one tells."""
        if self._steps_per_epoch is None and self._whole_epoch and self.steps_done > self.epoch_first_step:
            self._steps_per_epoch = self.steps_done - self.epoch_first_step
        self.epoch_first_step = self.steps_done
        self._whole_epoch = True

    @property
    def total_steps(self) -> float | None:
        """Steps of the whole run; None as long as nobody knows."""
        if self._total_steps is not None:
            return self._total_steps
        if self._total_epochs is not None and self._steps_per_epoch is not None:
            return self._total_epochs * self._steps_per_epoch
        return None

    def length(self, time_left_s: float | None = None) -> Length:
        """Return what is known of the run's length.

        Args:
            time_left_s: How long it may still take by the user; None leaves it to the framework.
        """
        if time_left_s is None and self._ends_s < math.inf:
            time_left_s = max(0.0, self._ends_s - time.monotonic())
        return Length(self.total_steps, self._total_epochs, self._steps_per_epoch, time_left_s)
