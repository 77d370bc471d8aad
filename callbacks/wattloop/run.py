"""Run: the framework-neutral state machine that every front end drives."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Unpack

import msgspec

from wattloop.footprint import WAIT, Footprint
from wattloop.forecaster import Forecaster
from wattloop.grid.intensity import Intensity
from wattloop.guard import BudgetGuard
from wattloop.interlude import begins, ends
from wattloop.job import Job
from wattloop.ledger import new_run_id
from wattloop.options import RunOptions
from wattloop.progress import LOG_EVERY_N_STEPS, Progress
from wattloop.ranks import Engine, detect
from wattloop.recorder import Recorder
from wattloop.sampler import FOLLOW_S, READ_TIMEOUT_S, Settlement, Snapshot
from wattloop.session import Session
from wattloop.standing import Standing
from wattloop.state import understood
from wattloop.vigil import PAUSE, TRAIN, Vigil
from wattloop.waiting import Needs, needs

log = logging.getLogger("wattloop")


class Run(Standing):
    """Energy, emissions, forecast and budget of one training run.

    A front end calls `start`, then `step` after every step, `enter_phase` around validation, `epoch_end` and `finish`;
    it logs the rows of `metrics` and `epoch_end`, and stops training when `should_stop` says so. The measuring itself
    happens in the sampler's thread. Starting again, after `finish` or after a crash without it, goes on counting.

    Args:
        **options: See `RunOptions`.

    Attributes:
        should_stop: The budget is spent, on whichever rank: training is to stop.
        should_wait: Training is to `wait` for cleaner electricity, at this step on all ranks.
        wait_is_long: It may take so long that a checkpoint is worth it.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option's value is not accepted.
    """

    def __init__(self, **options: Unpack[RunOptions]) -> None:
        self.should_stop = self._place_said = False
        super().__init__(**options)

    def _reset(self) -> None:
        super()._reset()
        self._seen_steps = 0
        self._guard = BudgetGuard(self.settings.budget)
        self._vigil: Vigil | None = None
        self.should_wait = self.wait_is_long = False

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "steps": self.steps_done, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Run.__init__(self, **state["options"])
        self.load_state_dict(state["state"])
        self._progress.steps_done = state["steps"]

    # -- life -----------------------------------------------------------------------------------------------------

    def start(
        self,
        *,
        framework: str,
        step: int = 0,
        total_steps: float | None = None,
        total_epochs: int | None = None,
        steps_per_epoch: float | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        log_every_n_steps: int | None = None,
        state: Mapping[str, Any] | None = None,
        engine: Engine | None = "torch",
        began_s: float | None = None,
    ) -> None:
        """Begin to measure; the user's options go before what the framework says.

        In a job of several ranks all of them begin, and the first `check_stop` of all settles who counts what.

        Args:
            framework: Name of the front end, for the record.
            step: Steps already done, in a resumed run.
            total_steps: Steps of the whole run, None if unknown.
            total_epochs: Epochs of the whole run, None if unknown.
            steps_per_epoch: Steps of an epoch, None to count the first.
            log_dir: Folder of the record, None for no record.
            log_every_n_steps: Steps between two rows, None for the default.
            state: What a checkpoint holds of the run, see `load_state_dict`; None to begin one, or to go on with this.
            engine: What makes one job of several processes here, None for nothing.
            began_s: Since when what is drawn counts, monotonic, in seconds: what was drawn before the instruments first
                answered is filled in by what they say then, and flagged as modelled. None for when this returns.
        """
        if self._session is not None:
            self._session.give_up()
        self._conclude_last()
        if state is not None:
            self._ledger_load(state, running=False)
        self._reset()
        settings = self.settings
        every = settings.log_every_n_steps or log_every_n_steps or LOG_EVERY_N_STEPS
        self._job = Job(detect(engine), self.id or new_run_id(), every)
        self._guard = BudgetGuard(settings.budget, speaks=self._job.ranks.rank == 0)
        self._ledger.run_id = self._job.run_id
        self._progress = Progress(every, self._job.ranks.cadence, settings.total_steps, settings.total_epochs)
        self._progress.sync_at_rows(self._job.same_rows)
        footprint = Footprint(settings.intensity, settings.pue, min(0.5, settings.interval_s), settings.fallback)
        # As long as ranks have not agreed on who counts what, nothing of a job is lost, nor counted twice.
        footprint.claims = None if self._job.alone else {}
        self._ledger.open(footprint)
        recorder: Recorder | None = None
        if self._job.ranks.rank == 0:
            self._say_place(footprint.intensity)
            folder, ranks = settings.log_dir or log_dir, self._job.ranks.world_size
            recorder = Recorder(folder, self._ledger, footprint, framework, settings, ranks, self._job.hosts)
        self._session = session = Session(self._ledger, footprint, self._progress, self._job, recorder)
        if settings.wait is not None:
            self._vigil = Vigil(settings.wait, footprint.grid, self._job, self._needs)
        self.know(step=step, total_steps=total_steps, total_epochs=total_epochs, steps_per_epoch=steps_per_epoch)
        session.record()
        self._check_budget()
        session.measure(settings.meters, self._observe, settings.interval_s, began_s)

    def _conclude_last(self) -> None:
        """Let nothing more be learnt of the last session."""
        if self._session is not None and self._session.epilogue is not None:
            self._session.epilogue.conclude()

    def _say_place(self, intensity: Intensity) -> None:
        if not (self.settings.place_given or self._place_said):
            self._place_said = True
            log.warning("no region given, so the world average, %.0f gCO2e/kWh, is used", intensity.g_co2e_per_kwh)

    def know(
        self,
        *,
        step: int = 0,
        total_steps: float | None = None,
        total_epochs: int | None = None,
        steps_per_epoch: float | None = None,
        time_left_s: float | None = None,
    ) -> None:
        """Learn where the run stands and how long it is, from a framework that knows only after `start`, as there.

        Args:
            step: Steps already done, in a resumed run.
            total_steps: Steps of the whole run, None if unknown.
            total_epochs: Epochs of the whole run, None if unknown.
            steps_per_epoch: Steps of an epoch, None to count the first.
            time_left_s: Longest time that the run may still take, in seconds, None if it may take any.
        """
        self.should_stop = False
        self._progress.begin(step)
        self._forecaster = Forecaster(step, self.epochs_done)
        self.expect(total_steps, total_epochs, steps_per_epoch, time_left_s)

    def expect(
        self,
        total_steps: float | None,
        total_epochs: int | None = None,
        steps_per_epoch: float | None = None,
        time_left_s: float | None = None,
    ) -> None:
        """Revise the length of the run, as in `know`."""
        self._progress.expect(total_steps, total_epochs, steps_per_epoch, time_left_s)

    def finish(self, status: str = "finished", patience_s: float = READ_TIMEOUT_S) -> None:
        """End measuring; may be called at any time and any number of times.

        The last reading is settled, and the record completed, within the next `FOLLOW_S` seconds: see `settle`.

        Args:
            status: Word for the record: ``"finished"``, ``"stopped"``, ``"failed"`` or ``"interrupted"``.
            patience_s: Longest wait for the last reading, in seconds.
        """
        session = self._session
        if session is None:
            return
        if status in ("finished", "stopped"):
            self.conclude()
        elif session.here:
            self._job.fail(session.footprint)
        session.finish(status, patience_s)

    def conclude(self) -> None:
        """Hear of the other ranks' last steps, at a run's end in good order; once, and only where all come to it."""
        session = self._session
        if session is not None and session.here and self._job.at_end():
            self.refresh()
            self.check_stop()
            self._ledger.others_channels_j = self._job.others_by_channel(session.footprint)

    def fail(self, error: BaseException) -> None:
        """End measuring, as training ended by an exception.

        Args:
            error: The exception; one that only asks the process to end is an interruption.
        """
        self.finish("interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed")

    def settle(self, timeout_s: float = FOLLOW_S, *, conclude: bool = False) -> bool:
        """Wait until all that can be known of a finished run is known and recorded.

        Args:
            timeout_s: Longest wait in seconds.
            conclude: Complete the record then with what is known, for a process that is about to end.

        Returns:
            True when all of it is.
        """
        epilogue = self._session.epilogue if self._session is not None else None
        settled = epilogue is None or epilogue.wait(timeout_s)
        if conclude:
            self._conclude_last()
        return settled

    # -- progress -------------------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> bool:
        """Count finished steps.

        Args:
            n: How many were finished since the last call.

        Returns:
            True when something is due: see `should_log` and `should_stop`.
        """
        progress = self._progress
        progress.steps_done += n
        return progress.steps_done >= progress.attention and self._attend()

    def _attend(self) -> bool:
        if self._session is not None and self._session.mind_silence():
            self._check_budget()
        # Plan first, then look at the budget: the sampler's thread writes them in the other order, so none is missed.
        self._progress.attend()
        if self._progress.sync_due or self._job.ranks.world_size == 1:
            self.check_stop()
        if self.should_stop or self.should_wait:
            self._progress.hurry()
        return self.should_log or self.should_stop or self.should_wait

    def check_stop(self) -> bool:
        """Sum with all other ranks, and decide whether training is to stop; all must ask at the same step."""
        if self._agree():
            self.should_stop = True
            self._progress.hurry()
        return self.should_stop

    def _agree(self) -> bool:
        job, footprint, over = self._job, self._footprint, self._guard.over is not None
        pause = self._vigil.wish() if self._vigil is not None else TRAIN
        if job.ranks.world_size == 1 or footprint is None:
            self._pause(pause)
            return over
        stop = job.exchange(footprint, self._ledger, self._seen_steps, over, self.settings.budget, pause)
        self._pause(job.pause)
        if job.together:
            self._forecaster.observe(job.step, job.agreed.phases_j, footprint.phases_s)
            self._check_budget(agreed=True)
        return stop

    def _pause(self, wish: float) -> None:
        """Take to what all ranks have agreed on; a run whose last step is done waits for nothing."""
        done = self.total_steps is not None and self.steps_done >= self.total_steps
        if wish > TRAIN and not done:
            self.should_wait, self.wait_is_long = True, wish > PAUSE
            # At an epoch's end, too: all stop at the next step, whichever rows are due where.
            self._progress.hurry()

    def wait_to_begin(self, leave: Callable[[], bool] = lambda: False) -> None:
        """Wait for cleaner electricity before the first step, if the run is to; all ranks must ask.

        Args:
            leave: See `wait`.
        """
        self.should_wait = False
        if self._vigil is None or self.should_stop:
            return
        self._vigil.look_first()
        self.check_stop()
        if self.should_wait and not self.should_stop:
            self.wait(leave)
        self._vigil.go_on()
        self.should_wait = False

    def wait(self, leave: Callable[[], bool] = lambda: False) -> None:
        """Wait where `should_wait` says so: until electricity is clean enough, or the wait has to end.

        What is drawn meanwhile is counted, under the phase `wait`. Ctrl-C ends it at once, and so does a spent budget.

        Args:
            leave: Asked several times a second: whether to go on all the same, as where the process is to end.
        """
        session, vigil = self._session, self._vigil
        self.should_wait = False
        if session is None or vigil is None:
            return
        speaks = self._job.ranks.rank == 0

        def to_leave() -> bool:
            session.mind_silence()
            session.footprint.mark()
            return self.should_stop or self._guard.over is not None or leave()

        if speaks:
            begins(session.recorder, self.steps_done, vigil.verdict)
        with self.phase(WAIT):
            before = self.totals
            why = vigil.stay(to_leave, self.check_stop)
        # All go on now: they add up what it took before that is told.
        self.check_stop()
        self.should_wait = False
        if speaks:
            ends(session.recorder, self.steps_done, why, self.totals - before)

    def _needs(self) -> Needs:
        length = self._progress.length()
        if self._progress.total_is_guess:
            length = msgspec.structs.replace(length, steps=None)
        if (total_s := self.settings.total_time_s) is not None:
            length = msgspec.structs.replace(length, time_left_s=max(0.0, total_s - self.totals.duration_s))
        return needs(length, self._forecaster, self.totals, self._ledger.lost, self._footprint)

    def agree_on_epoch(self, steps: int | None) -> None:
        """Find out how many steps of the epoch that begins all ranks will do, where they may differ; all must ask.

        Args:
            steps: How many this rank will do; None where it does not know.
        """
        reach = self._job.reach(steps)
        if reach is not None:
            self._progress.sync_within(reach)

    def stopped(self, checkpoint: str | os.PathLike[str] | None) -> None:
        """Say in one line, and in the record, that the budget ended the run.

        Args:
            checkpoint: Where the model was saved; None if the front end saves none.
        """
        if self._job.ranks.rank != 0:
            return
        saved = f", checkpoint in {os.fspath(checkpoint)}" if checkpoint is not None else ""
        reason = (
            f"{self._guard.over or 'budget spent on another rank'}; training stops at step {self.steps_done}{saved}"
        )
        log.warning(reason)
        if self._session is not None and self._session.recorder is not None:
            self._session.recorder.stop(self.steps_done, reason)

    def enter_phase(self, name: str) -> None:
        """Count energy under another phase from now on: `startup`, `train`, `validation` or `checkpoint`."""
        footprint = self._footprint
        if footprint is not None and self.running and footprint.phase != name:
            self.refresh()
            footprint.phase = name

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what is spent inside a `with` block under another phase.

        Args:
            name: The phase, e.g. ``"validation"``.
        """
        before = self._footprint.phase if self._footprint is not None else name
        self.enter_phase(name)
        try:
            yield
        finally:
            self.enter_phase(before)

    def epoch_end(self) -> dict[str, float]:
        """End an epoch; the reading that ends it begins the next, so that epochs sum to the run.

        Returns:
            The row to log, as from `metrics`.
        """
        self.refresh()
        if self._job.at_epoch_end():
            self.check_stop()
        self._progress.epoch_end()
        self._forecaster.epoch_end()
        start, end = self._ledger.end_epoch()
        self._last_epoch = end.totals - start.settled
        values = self.metrics()
        if self._session is not None and self._session.recorder is not None:
            self._session.recorder.epoch(self.steps_done, start, end, values)
        return values

    def refresh(self) -> bool:
        """Read the meters now; where they do not answer at once, what they said last stands, and False is returned."""
        if self._session is None or not self.running:
            return False
        answered = self._session.refresh()
        if not answered:
            self._check_budget()
        return answered

    # -- in the sampler's thread ----------------------------------------------------------------------------------

    def _observe(self, snapshot: Snapshot | Settlement) -> None:
        session, steps = self._session, self.steps_done
        if session is None:
            return
        footprint = session.footprint
        if isinstance(snapshot, Settlement):
            self._ledger.settle(snapshot)
            return
        footprint.take(snapshot)
        if steps != self._seen_steps:
            self._seen_steps = steps
            footprint.mark()
        if self._job.alone:
            self._forecaster.observe(steps, footprint.phases_j, footprint.phases_s)
        self._check_budget()
        if self._vigil is not None and self._vigil.look() and self._job.ranks.world_size == 1:
            self._progress.hurry()
        if session.recorder is not None:
            session.recorder.tick(steps, snapshot.time_s)

    def _check_budget(self, agreed: bool = False) -> None:
        if self.settings.budget is None:
            return
        # The forecast of a job is a new one only where its ranks have just agreed.
        forecast = self.forecast() if self._guard.looks_ahead and (agreed or self._job.alone) else None
        if self._guard.look(self.totals, forecast) and self._job.ranks.world_size == 1:
            self._progress.hurry()

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for a resumed run to go on counting: plain numbers and strings."""
        if self._session is not None:
            self._session.peek()
        state: dict[str, Any] = msgspec.to_builtins(self._ledger.state(self.steps_done))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: count what its run has spent, once, however often this is called.

        What that run spent after the checkpoint is taken from its record, where that is found, and was lost. A run
        that has done steps of its own keeps its name and adds what the checkpoint says.

        Args:
            state: What `state_dict` returned.
        """
        self._conclude_last()
        become = self._ledger_load(state, running=self.running)
        if self._session is not None and self.running:
            if become:
                self._session.record()
            self._check_budget()

    def _ledger_load(self, state: Mapping[str, Any], *, running: bool) -> bool:
        """Return whether this has become the checkpoint's run."""
        before, saved = self.id, understood(state)
        if saved is not None:
            steps = self.steps_done
            self._ledger.load(saved, running=running, fresh=steps <= self._progress.epoch_first_step, step=steps)
            if self._ledger.checkpoint is saved and not running:
                self._progress.steps_done = saved.step
        return self.id != before
