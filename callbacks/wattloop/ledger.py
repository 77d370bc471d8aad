"""Ledger: what a run has spent, over all its sessions and whatever its checkpoints brought along."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from wattloop.footprint import Footprint, Totals
from wattloop.sampler import Settlement
from wattloop.share import Share
from wattloop.units import J_PER_KWH

log = logging.getLogger("wattloop")

STATE_VERSION = 1
OTHERS = "other ranks"
"""What stands for their channels where they are not known."""


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
        epochs: Epochs ended.
        border: Where the current epoch began.
        others: What the other ranks have spent in this session, as far as is known here.
        others_channels_j: The same by channel, in joules; empty as long as that is not known.
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.epochs = 0
        self.border = Border()
        self._includes: set[str] = set()
        self._before = Totals()
        self._uncertainty_before_j = 0.0
        self._phases_before_j: dict[str, float] = {}
        self._channels_before_j: dict[str, float] = {}
        self._session: Footprint | None = None
        self.others = Share()
        self.others_channels_j: dict[str, float] = {}

    def open(self, session: Footprint) -> None:
        """Begin a session; the one before it is closed."""
        self._before, self._uncertainty_before_j = self.totals, self.uncertainty_j
        self._phases_before_j, self._channels_before_j = self.phases_j, self.channels_j
        self._session, self.others, self.others_channels_j = session, Share(), {}

    @property
    def before(self) -> Totals:
        """What was spent before this session."""
        return self._before

    @property
    def totals(self) -> Totals:
        """What was spent so far."""
        return self._before + self._session.totals + self.others.totals if self._session is not None else self._before

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

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, for a checkpoint."""
        return {
            "version": STATE_VERSION,
            "run_id": self.run_id,
            "includes": sorted(self._includes - {self.run_id}),
            "epochs": self.epochs,
            "totals": msgspec.to_builtins(self.totals),
            "epoch_start": msgspec.to_builtins(self.border.settled),
            "uncertainty_kwh": self.uncertainty_j / J_PER_KWH,
            "phases_j": self.phases_j,
            "channels_j": self.channels_j,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, keep_id: bool) -> None:
        """Add what a checkpointed run had spent; what is counted already is not counted again.

        Args:
            state: What `state_dict` returned.
            keep_id: Keep this run's name, because a record was begun under it.
        """
        if state.get("version") != STATE_VERSION:
            log.warning("a saved state of version %r is not understood; it is not counted", state.get("version"))
            return
        if state["run_id"] in {self.run_id, *self._includes} - {""}:
            return
        self._includes |= {self.run_id, state["run_id"], *state.get("includes", ())} - {""}
        self.run_id = self.run_id if keep_id else state["run_id"]
        self.epochs += state["epochs"]
        self._before += msgspec.convert(state["totals"], Totals)
        self.border = Border(totals=self.border.settled + msgspec.convert(state["epoch_start"], Totals))
        self._uncertainty_before_j += state["uncertainty_kwh"] * J_PER_KWH
        self._phases_before_j = _added(self._phases_before_j, state["phases_j"])
        self._channels_before_j = _added(self._channels_before_j, state.get("channels_j", {}))


def _added(phases_j: Mapping[str, float], more_j: Mapping[str, float]) -> dict[str, float]:
    # A copy in one step: the sampler's thread may be adding a phase.
    sums_j, more_j = dict(phases_j), dict(more_j)
    for name, energy_j in more_j.items():
        sums_j[name] = sums_j.get(name, 0.0) + energy_j
    return sums_j
