"""State: what a checkpoint holds of a run, in whatever file a framework keeps it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from wattloop.footprint import Totals

log = logging.getLogger("wattloop")

STATE_VERSION = 1

RunId = Annotated[str, msgspec.Meta(pattern=r"^[\w.-]{0,100}\Z")]
"""A name that makes the name of a file."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint holds of a run: enough to go on counting.

    Attributes:
        run_id: Name of the run.
        includes: Names of other runs whose totals are in this one's.
        epochs: Epochs ended.
        totals: What was spent.
        epoch_start: What had been spent when the current epoch began.
        uncertainty_kwh: Half-width of the interval that holds the true energy, in kWh.
        phases_j: Energy by phase, in joules.
        channels_j: Energy by channel, in joules.
        lost: What was spent on work that was lost.
        session: Number of the run's session, from 1.
        step: Steps done.
        journal: Path of the run's record; None for none.
    """

    version: int
    run_id: RunId
    includes: list[str] = []
    epochs: int
    totals: Totals
    epoch_start: Totals
    uncertainty_kwh: float
    phases_j: dict[str, float]
    channels_j: dict[str, float] = {}
    lost: Totals = Totals()
    session: int = 1
    step: int = 0
    journal: str | None = None


def understood(state: Mapping[str, Any]) -> State | None:
    """Return a saved state typed; None, with a warning, for one that is not ours to read."""
    if state.get("version") != STATE_VERSION:
        log.warning("a saved state of version %r is not understood; it is not counted", state.get("version"))
        return None
    try:
        return msgspec.convert(state, State)
    except msgspec.ValidationError as error:
        log.warning("a saved state is damaged (%s); it is not counted", error)
        return None
