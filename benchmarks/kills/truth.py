"""What the fake GPU knows of the sessions of a run, and what the run's record says."""

from __future__ import annotations

from dataclasses import dataclass

from fakes.nvml import FakeNvml
from kills.child import PEAK_W

ROUNDING_J = 0.01


@dataclass
class Lived:
    """A session that was; times are monotonic, in seconds.

    Attributes:
        run_id: The run it was of, as far as it knew; empty where its start never returned.
        asked_s: When its start was called; `started_s`: when that returned.
        ended_s: When it was killed or had ended.
        late_s: How late the machine woke it.
        saved_s: When the checkpoint was saved from which it went on; 0 where nobody wrote that down.
        killed: It was.
    """

    run_id: str
    asked_s: float
    started_s: float
    ended_s: float
    late_s: float
    saved_s: float
    killed: bool


@dataclass
class Said:
    """What a record says was spent, in joules."""

    spent_j: float
    uncertainty_j: float
    lost_j: float


@dataclass
class Check:
    """A figure of a record against the integral, in joules.

    Attributes:
        moment: When the session before was killed.
        kills: Kills in the run so far.
        said: By the record.
        low_j: The integral from the returns of all starts on; `high_j`: from their calls.
        interval_j: What was drawn in the journal interval before the kill at which that was most.
        late_j: What the machine's lateness may have cost.
        lost_j: What was drawn after the checkpoints from which sessions went on; None where that is not known.
    """

    case: str
    moment: str
    kills: int
    said: Said
    low_j: float
    high_j: float
    interval_j: float
    late_j: float
    lost_j: float | None

    @property
    def error_j(self) -> float:
        return min(0.0, self.said.spent_j - self.low_j) or max(0.0, self.said.spent_j - self.high_j)

    @property
    def lost_error_j(self) -> float:
        return 0.0 if self.lost_j is None else self.said.lost_j - self.lost_j

    @property
    def ok(self) -> bool:
        above_j = self.said.uncertainty_j + ROUNDING_J
        below_j = above_j + self.interval_j + self.late_j
        return -below_j <= self.error_j <= above_j and abs(self.lost_error_j) <= below_j


def check(
    case: str,
    moment: str,
    fake: FakeNvml,
    said: Said,
    sessions: list[Lived],
    following: Lived | None,
    unknown: list[Lived],
    interval_s: float,
) -> Check:
    """Hold what a record says against the integral.

    Args:
        case: What drove the run.
        moment: When the session before was killed.
        fake: Knows the integral.
        said: By the record.
        sessions: Those whose spending it is to hold.
        following: The one that said so, unless the last one did so at its own end.
        unknown: Those whose start never returned: they may have put a first line into the record.
        interval_s: Longest time between two lines, in seconds.
    """
    low_j = sum(fake.energy_j(lived.started_s, lived.ended_s) for lived in sessions)
    high_j = sum(fake.energy_j(lived.asked_s, lived.ended_s) for lived in [*sessions, *unknown])
    kills = [lived for lived in sessions if lived.killed]
    interval_j = max((fake.energy_j(lived.ended_s - interval_s, lived.ended_s) for lived in kills), default=0.0)
    late_j = PEAK_W * sum(lived.late_s for lived in sessions)
    lost_j = _lost_j(fake, sessions, following) if case == "loop" else None
    return Check(case, moment, len(kills), said, low_j, high_j, interval_j, late_j, lost_j)


def _lost_j(fake: FakeNvml, sessions: list[Lived], following: Lived | None) -> float:
    """Return what was drawn after the checkpoint from which each session went on, in those before it."""
    lost_j, useful = 0.0, []
    for lived in [*sessions, *([following] if following is not None else [])]:
        if lived.saved_s:
            lost_j += sum(fake.energy_j(max(a, lived.saved_s), b) for a, b in useful if b > lived.saved_s)
            useful = [(a, min(b, lived.saved_s)) for a, b in useful if a < lived.saved_s]
        useful.append((lived.started_s, lived.ended_s))
    return lost_j
