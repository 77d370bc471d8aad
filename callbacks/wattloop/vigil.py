"""Vigil: how the ranks of a run wait for cleaner electricity together, and go on together."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping

from wattloop.clean_hours import CleanHours
from wattloop.grid.nowait import NoWait
from wattloop.job import Job
from wattloop.waiting import Needs, Verdict, Waiting

log = logging.getLogger("wattloop")

TRAIN, PAUSE, LONG_PAUSE = 0.0, 1.0, 2.0
"""What the first rank wants of all."""
FIRST_ANSWER_S = 10.0
"""How long a run that has not begun waits for a provider's first answer, in seconds."""
POLL_S = 0.2
"""Time between two looks at whether to go on, in seconds."""
BEAT_S = 1.0
"""Time between two signs of life of the rank that leads, in seconds."""
AGREE_BEATS = 10
"""Signs of life between two moments at which all ranks add up what the wait has taken."""
LEADER_LOST_S = 600.0
"""How long the other ranks do without one, in seconds: it may be writing a checkpoint."""


class Vigil:
    """Waits with all ranks of a job: the first one looks at the grid and decides, the others follow.

    No collective is open while they wait, so that no engine's time-out runs; they meet in the job's store. From there
    they come, every few seconds, to a collective that takes a moment: so a budget that is spent by all of them together
    ends the wait, the record has what all of them draw, and a rank that is gone is noticed.

    Args:
        policy: What the user calls clean, and how long to wait for it.
        grid: Where the carbon intensity comes from.
        job: The ranks.
        needs: What the run still needs, from any thread.
        leader_lost_s: Without a sign of the first rank for so long, the others go on, in seconds.

    Attributes:
        verdict: The one by which this rank last wished to pause.
    """

    def __init__(
        self,
        policy: CleanHours,
        grid: NoWait,
        job: Job,
        needs: Callable[[], Needs],
        leader_lost_s: float = LEADER_LOST_S,
    ) -> None:
        self._waiting = Waiting(policy, grid, ends_s=batch_job_ends_s(os.environ))
        self._job, self._needs, self._leader_lost_s = job, needs, leader_lost_s
        self._leads = job.ranks.rank == 0
        self._pauses = 0
        self.verdict = Verdict(False)

    @property
    def _parted(self) -> bool:
        """The other ranks would train on, and wait in vain for this one."""
        return self._job.ranks.world_size > 1 and not self._job.together

    def look(self) -> bool:
        """Look at the grid where that is due and this rank's to do; in the sampler's thread.

        Returns:
            True when training is to pause.
        """
        waiting = self._waiting
        if not self._leads or waiting.held or self._parted:
            return False
        return waiting.look(self._needs()).wait if waiting.due else waiting.verdict.wait

    def look_first(self) -> None:
        """Look at the grid before the first step; a provider has a moment to answer for the first time."""
        if not self._leads or self._parted:
            return
        waiting, end_s = self._waiting, time.monotonic() + FIRST_ANSWER_S
        while not waiting.knows and waiting.is_outstanding and time.monotonic() < end_s:
            time.sleep(POLL_S)
        if waiting.knows:
            waiting.hold(True)
            waiting.look(self._needs())
        else:
            log.warning("carbon intensity is not known, so training begins without a wait for clean electricity")

    def wish(self) -> float:
        """Return what this rank wants of all: `TRAIN`, `PAUSE` or `LONG_PAUSE`."""
        verdict = self._waiting.verdict
        if not self._leads or not verdict.wait or self._parted:
            return TRAIN
        self.verdict = verdict
        return LONG_PAUSE if self._waiting.is_long(verdict) else PAUSE

    def stay(self, leave: Callable[[], bool], agree: Callable[[], object] = lambda: None) -> str:
        """Wait until it is time to go on.

        Args:
            leave: Asked several times a second: whether all are to go on whatever the grid.
            agree: Called every few seconds, on all ranks as often: adds up what they have spent.

        Returns:
            Why the run goes on, in words.
        """
        self._pauses += 1
        place = f"pause {self._pauses}"
        return self._lead(place, leave, agree) if self._leads else self._follow(place, leave, agree)

    def go_on(self) -> None:
        """Hear that nobody waits any more."""
        self._waiting.hold(False)

    def _lead(self, place: str, leave: Callable[[], bool], agree: Callable[[], object]) -> str:
        waiting, job = self._waiting, self._job
        waiting.hold(True)
        beats, beat_s, asked = 0, 0.0, False
        try:
            while True:
                if time.monotonic() >= beat_s:
                    asked = job.lead(place, over=False)
                    beats, beat_s = beats + 1, time.monotonic() + BEAT_S
                    if job.together and beats % AGREE_BEATS == 0:
                        agree()
                if self._parted:
                    return "the ranks have lost each other"
                if asked or leave():
                    return "it is not to wait any longer"
                verdict = waiting.look(self._needs())
                if not verdict.wait:
                    return verdict.why
                time.sleep(POLL_S)
        finally:
            # Whatever ends it, an exception too: nobody is left behind.
            job.lead(place, over=True)
            self.go_on()

    def _follow(self, place: str, leave: Callable[[], bool], agree: Callable[[], object]) -> str:
        sign, seen_s, agreed, asked = 0, time.monotonic(), 0, False
        while (latest := self._job.follow(place, leave=asked)) is not None:
            if latest != sign:
                sign, seen_s = latest, time.monotonic()
                if sign // AGREE_BEATS > agreed:
                    agreed = sign // AGREE_BEATS
                    agree()
            elif time.monotonic() - seen_s > self._leader_lost_s:
                log.warning("rank 0 has not been heard of for %g s: this rank waits no longer", self._leader_lost_s)
                break
            asked = asked or leave()
            time.sleep(POLL_S)
        return ""


def batch_job_ends_s(environment: Mapping[str, str]) -> float:
    """Return when the batch job of this process ends, in seconds since 1970; infinite where that is not known.

    Args:
        environment: Its environment, into which SLURM puts ``SLURM_JOB_END_TIME`` (from 22.05 on).
    """
    try:
        ends_s = float(environment.get("SLURM_JOB_END_TIME", ""))
    except ValueError:
        return math.inf
    return ends_s if ends_s > 0.0 else math.inf
