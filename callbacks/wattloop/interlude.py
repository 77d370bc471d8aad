"""Interlude: what is said and recorded of a wait for cleaner electricity, when it begins and when it ends."""

from __future__ import annotations

import logging

from wattloop.footprint import Totals
from wattloop.recorder import Recorder
from wattloop.units import format_co2e, format_duration, format_energy
from wattloop.waiting import Verdict

log = logging.getLogger("wattloop")


def begins(recorder: Recorder | None, step: int, verdict: Verdict) -> None:
    """Say and record that a wait begins.

    Args:
        recorder: The record; None for none.
        step: Steps done.
        verdict: Why, and until when by the forecast.
    """
    until = f"; to go on at {verdict.until.astimezone():%a %H:%M %Z} by the forecast" if verdict.until else ""
    log.warning("training waits at step %d: %s%s", step, verdict.why, until)
    if recorder is not None:
        recorder.pause(step, verdict.why, verdict.until)


def ends(recorder: Recorder | None, step: int, why: str, spent: Totals) -> None:
    """Say and record that training goes on.

    Args:
        recorder: The record; None for none.
        step: Steps done.
        why: Why it does.
        spent: What the wait took.
    """
    took, drew = format_duration(spent.duration_s), f"{format_energy(spent.kwh)}, {format_co2e(spent.kg_co2e)}"
    log.warning("training goes on at step %d after %s: %s (the wait took %s)", step, took, why, drew)
    if recorder is not None:
        recorder.resume(step, why, spent)
