"""Ledger: what a run has spent, over all its sessions and whatever its checkpoints brought along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from wattloop.footprint import Footprint, Totals
from wattloop.sampler import Settlement
from wattloop.share import Share
from wattloop.state import STATE_VERSION, State
from wattloop.units import J_PER_KWH

LOST = "lost"
"""The phase under which energy is counted whose work was lost."""

OTHERS = "other ranks"
"""What stands for their channels where they are not known."""


def new_run_id() -> str:
    """Make up the name of a run."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"


class Border(msgspec.Struct):
    """The moment between two epochs, and what is learnt of it later.

    Attributes:
        time_s: When it was, monotonic, in seconds.
        totals: What had been spent, as the instruments showed it.
        edges_j: What each instrument may not have shown, in joules, by channel.
        kg_per_joule: Emissions of a joule at that moment, in kg CO2e.
        late_j: What each instrument turned out not to have shown, in joules, by channel.
        closed: A record rests on it: nothing is learnt any more.
    """

    time_s: float = 0.0
    totals: Totals = Totals()
    edges_j: dict[str, float] = msgspec.field(default_factory=dict)
    kg_per_joule: float = 0.0
    late_j: dict[str, float] = msgspec.field(default_factory=dict)
    closed: bool = False

    @property
    def settled(self) -> Totals:
        """What had been spent, as far as is known by now."""
        late_j = sum(self.late_j.values())
        return self.totals + Totals(gpu_j=late_j, kg_co2e=late_j * self.kg_per_joule)

    @property
    def edge_j(self) -> float:
        """What is still not known of it, in joules."""
        return sum(self.edges_j.values())


class Ledger:
    """Adds the session that measures now to what was spent before it.

    Attributes:
        run_id: Name of the run; empty before its first session.
        parent: Name of the run that it branched off; empty for none.
        sessions: Number of the session that is open, or was last.
        epochs: Epochs ended.
        border: Where the current epoch began.
        lost: What was spent on work that was lost, since training went on from an older checkpoint.
        journal: Path of the run's record; None for none.
        checkpoint: State from which the run goes on, as long as its record was not looked into.
        others: What the other ranks have spent in this session, as far as is known here.
        others_channels_j: The same by channel, in joules; empty as long as that is not known.
        others_models: Product names of their devices, by channel.
    """

    def __init__(self) -> None:
        self.run_id = self.parent = ""
        self.sessions = self.epochs = 0
        self.border = Border()
        self.lost = Totals()
        self.journal: str | None = None
        self.checkpoint: State | None = None
        self._includes: set[str] = set()
        self._before = Totals()
        self._uncertainty_before_j = 0.0
        self._phases_before_j: dict[str, float] = {}
        self._channels_before_j: dict[str, float] = {}
        self._session: Footprint | None = None
        self.others = Share()
        self.others_channels_j: dict[str, float] = {}
        self.others_models: dict[str, str] = {}

    def open(self, session: Footprint) -> None:
        """Begin a session; the one before it is closed."""
        self._close()
        self.run_id = self.run_id or new_run_id()
        self.sessions += 1
        self._session = session

    def _close(self) -> None:
        self._before, self._uncertainty_before_j = self.totals, self.uncertainty_j
        self._phases_before_j, self._channels_before_j = self.phases_j, self.channels_j
        self._session, self.others, self.others_channels_j, self.others_models = None, Share(), {}, {}

    @property
    def totals(self) -> Totals:
        """What was spent so far."""
        return self._before + self._session.totals + self.others.totals if self._session is not None else self._before

    @property
    def before(self) -> tuple[Totals, float]:
        """What was spent before this session, and what is uncertain of it, in joules."""
        return self._before, self._uncertainty_before_j

    @property
    def uncertainty_j(self) -> float:
        """Half-width of the interval that holds the true energy so far, in joules."""
        session_j = self._session.uncertainty_j if self._session is not None else 0.0
        return self._uncertainty_before_j + session_j + max(0.0, self.others.uncertainty_j) + self.others.edge_j

    @property
    def phases_j(self) -> dict[str, float]:
        """Energy by phase so far, in joules."""
        phases_j = self._session.phases_j if self._session is not None else {}
        return _added(_added(self._phases_before_j, phases_j), self.others.phases_j)

    @property
    def channels_j(self) -> dict[str, float]:
        """Energy by channel so far, in joules."""
        channels_j = self._session.channels_j if self._session is not None else {}
        others_j = self.others.totals.energy_j
        others_channels_j = self.others_channels_j or ({OTHERS: others_j} if others_j else {})
        return _added(_added(self._channels_before_j, channels_j), others_channels_j)

    def agree(self, others: Share, before: Totals) -> None:
        """Take in what all ranks agreed on.

        Args:
            others: What the other ranks have spent in this session.
            before: Energy and emissions before it, by the rank that read the run's record.
        """
        self.others = others
        more = before - self._before
        if not more.energy_j and not more.kg_co2e:
            return
        # What that rank alone found there was spent before this epoch, and is in no phase or channel known here.
        more = Totals(gpu_j=more.energy_j, kg_co2e=more.kg_co2e)
        self._before += more
        self.border.totals += more
        self._phases_before_j = _added(self._phases_before_j, {"other": more.energy_j})
        self._channels_before_j = _added(self._channels_before_j, {OTHERS: more.energy_j})

    def end_epoch(self) -> tuple[Border, Border]:
        """End an epoch where the next one begins, so that epochs sum to the run; return its two ends."""
        session, before = self._session, self.border
        if session is not None:
            before.edges_j = before.edges_j or dict(session.start_edges_j)
            edges_j = {**session.edges_j, OTHERS: self.others.edge_j}
            self.border = Border(session.time_s, self.totals, edges_j, session.kg_per_joule)
        self.epochs += 1
        return before, self.border

    def settle(self, settlement: Settlement) -> None:
        """Take in what was learnt of the session's start or of the last border; in the sampler's thread."""
        border = self.border
        amended = self._session.settle(settlement) if self._session is not None else Totals()
        if border.closed or not border.time_s:
            return
        border.totals += amended
        if settlement.time_s == border.time_s:
            for one in settlement.corrections:
                if one.channel in border.edges_j:
                    border.late_j[one.channel] = one.energy_j
                    border.edges_j[one.channel] = one.edge_j

    def state(self, step: int) -> State:
        """Return what a checkpoint is to hold.

        Args:
            step: Steps done.
        """
        return State(
            version=STATE_VERSION,
            run_id=self.run_id,
            includes=sorted(self._includes - {self.run_id}),
            epochs=self.epochs,
            totals=self.totals,
            epoch_start=self.border.settled,
            uncertainty_kwh=self.uncertainty_j / J_PER_KWH,
            phases_j=self.phases_j,
            channels_j=self.channels_j,
            lost=self.lost,
            session=self.sessions,
            step=step,
            journal=self.journal,
        )

    def load(self, state: State, *, running: bool, fresh: bool, step: int) -> None:
        """Go on from a checkpoint; what is counted already is not counted again.

        A run that has spent nothing yet becomes the checkpoint's run. One that has keeps its name and adds the other's
        spending to its own, once. For an older checkpoint of its own, what it spent since was lost.

        Args:
            state: The checkpoint's.
            running: A session is open, and not only the last one that was.
            fresh: Nothing was done in it yet.
            step: Steps done.
        """
        counted = {self.run_id, *self._includes} - {""}
        if state.run_id and state.run_id == self.run_id:
            # A search for a learning rate, say, goes back to where it began, and no step is done again.
            moved = (state.session, state.step) != (self.sessions, step)
            if moved and {*state.includes} == self._includes - {self.run_id}:
                self._go_back(state, running)
            return
        if not state.run_id or state.run_id in counted:
            return
        new = self.sessions == 0 or (self.sessions == 1 and running and fresh and not self.epochs)
        if new and not self._includes:
            self.run_id, self.sessions = state.run_id, state.session + self.sessions
            self.journal, self.checkpoint, self.lost = state.journal, state, state.lost
        else:
            self.lost += state.lost
        self._includes |= {self.run_id, state.run_id, *state.includes}
        self.epochs += state.epochs
        self._before += state.totals
        self.border = Border(totals=self.border.settled + state.epoch_start)
        self._uncertainty_before_j += state.uncertainty_kwh * J_PER_KWH
        self._phases_before_j = _added(self._phases_before_j, state.phases_j)
        self._channels_before_j = _added(self._channels_before_j, state.channels_j)

    def recover(self, totals: Totals, uncertainty_j: float, *, lost: bool) -> None:
        """Count what a run had spent when it ended, where that is more than its checkpoint, loaded just now, says.

        Args:
            totals: What it had spent, the checkpoint's included.
            uncertainty_j: Half-width of the interval that holds the true energy then, in joules.
            lost: What was done after the checkpoint is done again.
        """
        more = totals - self._before
        # Ticks do not say which channel drew it.
        scale = totals.energy_j / self._before.energy_j if self._before.energy_j > 0 else 1.0
        self._channels_before_j = {name: scale * energy_j for name, energy_j in self._channels_before_j.items()}
        self._before = totals
        self._uncertainty_before_j = max(self._uncertainty_before_j, uncertainty_j)
        self.border.totals += more
        self._phases_before_j = _added(self._phases_before_j, {LOST if lost else "other": more.energy_j})
        if lost:
            self.lost += more

    def branch(self, run_id: str) -> None:
        """Become a run of another name, whose account begins with this one's."""
        self._includes.add(self.run_id)
        self.parent, self.run_id, self.sessions, self.journal = self.run_id, run_id, 1, None

    def _go_back(self, state: State, running: bool) -> None:
        in_session = running and state.session == self.sessions
        if not running:
            self._close()
        more = (self.totals if in_session else self._before) - state.totals
        if more.energy_j < 0:
            return
        self.lost = state.lost + more
        self.epochs = state.epochs
        self.border = Border(totals=state.epoch_start + more)
        if not in_session:
            self._phases_before_j = _added(state.phases_j, {LOST: more.energy_j} if more.energy_j else {})


def _added(phases_j: Mapping[str, float], more_j: Mapping[str, float]) -> dict[str, float]:
    # A copy in one step: the sampler's thread may be adding a phase.
    sums_j, more_j = dict(phases_j), dict(more_j)
    for name, energy_j in more_j.items():
        sums_j[name] = sums_j.get(name, 0.0) + energy_j
    return sums_j
