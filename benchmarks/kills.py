"""Kills at random moments: does a run that is resumed after each of them know what it has spent?

Run it with ``python -m tox run -e bench-kills``, or, where wattloop and the frameworks are installed, with::

    python benchmarks/kills.py [--kills 200] [--seed 1] [--jobs 4] [--fronts loop keras] [--quick] [--json FILE]

It takes some five minutes with four jobs. Chains of sessions train on a fake NVML of 100 and 500 W in turns, which
knows its exact integral; sessions are ended by SIGKILL, and the next one goes on from the last whole checkpoint, until
one comes to its end. Kills come at any time, within the first hundredths of a second, in the middle of writing a
checkpoint, and while the run is ending. One process has imported the frameworks and forks a child for each session.

After each kill, what the next session says the run has spent before (in its record) is held against the integral over
the lifetimes of all sessions of the run, from the return of `Run.start` (or, for what may be too much, from its call)
until the kill; at the end of a chain, so is the total. It must not be too much by more than the stated uncertainty, nor
too little by more than that and one journal interval. Lateness of the machine, which a thread of the child sees as too
long a sleep, is let off. In plain loops the lost work is held likewise against the integral from each checkpoint's
state until the kill.

A session killed before there is any checkpoint is followed by a new run. A session that is killed after it began to
measure and before its framework has handed over the checkpoint (Lightning, Accelerate) has a record of its own, and is
none of the run's; their number is printed. So is that of runs which had put their end on record when they were killed:
nothing is left to be done in them.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kills.child import MACHINE, Board, Plan, become
from kills.truth import ROUNDING_J, Check, Lived, Said, check

from fakes.nvml import FakeNvml
from wattloop import journal
from wattloop.reading import Problem, scan

J_PER_KWH = 3.6e6
FINE_S, COARSE_S = 0.05, 1.0
"""Time between two readings. A tick comes every five: chains of the latter take longer, and are one in ten."""
RESUMED = "resumes of killed runs"
CASES = ("loop", "loop", "loop", "loop", "accelerate", "lightning", "transformers", "keras")
MOMENTS = ("any", "any", "any", "any", "start", "checkpoint", "end")


@dataclass
class Chain:
    """Sessions of one training, one after another.

    Attributes:
        kills: How many to kill, before one that is to come to its end.
        interval_s: Time between two readings, in seconds.
        session_s: Typical length of a session, in seconds.
        checked: Parts of records that were held against the integral.
    """

    case: str
    folder: Path
    rng: random.Random
    kills: int
    interval_s: float
    session_s: float
    sessions: int = 0
    ended: bool = False
    lived: list[Lived] = field(default_factory=list)
    checked: set[tuple[str, int]] = field(default_factory=set)


@dataclass
class Running:
    """A session that lives."""

    chain: Chain
    plan: Plan
    board: Board
    pid: int
    kill_after_s: float
    killed_s: float = 0.0


class Kills:
    """Lets chains run until enough sessions were killed and resumed.

    Args:
        kills: How many.
        seed: Of all that is random, but for what the machine does.
        cases: What drives the training, in turns.
        quick: Short sessions only.
        folder: Where all of them write.
    """

    def __init__(self, kills: int, seed: int, cases: list[str], quick: bool, folder: Path) -> None:
        self.kills, self.cases, self.quick, self.folder = kills, cases, quick, folder
        self.rng = random.Random(seed)
        self.fake = FakeNvml(MACHINE).__enter__()
        self.checks: list[Check] = []
        self.counts: Counter[str] = Counter({"kills": 0, RESUMED: 0})
        self.moments: Counter[str] = Counter()
        self.number = 0

    def run(self, jobs: int) -> None:
        active: list[Running] = []
        while active or self.counts[RESUMED] < self.kills:
            while len(active) < jobs and self.counts[RESUMED] < self.kills:
                active.append(self.begin(self.chain()))
            for running in [*active]:
                if self.gone(running):
                    active.remove(running)
                    if not running.chain.ended:
                        active.append(self.begin(running.chain))
            time.sleep(0.0005)

    def chain(self) -> Chain:
        rng = random.Random(self.rng.random())
        self.number += 1
        coarse = not self.quick and self.number % 10 == 0
        folder = self.folder / str(self.number)
        folder.mkdir()
        case = self.cases[self.number % len(self.cases)]
        interval_s, session_s = (COARSE_S, 8.0) if coarse else (FINE_S, 0.7 if self.quick else 1.2)
        return Chain(case, folder, rng, rng.randint(1, 3 if coarse else 5), interval_s, session_s)

    def begin(self, chain: Chain) -> Running:
        rng, moment = chain.rng, chain.rng.choice(MOMENTS)
        if chain.sessions >= chain.kills:
            moment = "end" if chain.sessions == chain.kills and rng.random() < 0.5 else ""
        after_s = {"any": 1.5 * chain.session_s, "start": 0.03, "end": 0.05}.get(moment, 0.0) * rng.random()
        length_s = chain.session_s * (chain.kills + 1)
        plan = Plan(chain.case, chain.folder, moment, rng.randrange(1 << 30), chain.interval_s, length_s)
        chain.sessions += 1
        board = Board()
        pid = os.fork()
        if pid == 0:
            become(plan, board)
        return Running(chain, plan, board, pid, after_s)

    def gone(self, running: Running) -> bool:
        """Kill a session when its time has come; tell whether it is gone, and if so, look at what it left."""
        board, moment = running.board, running.plan.moment
        since_s = board["ending"] if moment == "end" else board["asked"] if moment in ("any", "start") else 0.0
        if since_s and not running.killed_s and time.monotonic() - since_s >= running.kill_after_s:
            os.kill(running.pid, signal.SIGKILL)
            running.killed_s = time.monotonic()
        pid, status = os.waitpid(running.pid, os.WNOHANG)
        if pid != 0:
            self.bury(running, os.waitstatus_to_exitcode(status))
        return pid != 0

    def bury(self, running: Running, code: int) -> None:
        chain, board, plan = running.chain, running.board, running.plan
        killed = code == -signal.SIGKILL
        # Measuring ends with training, even if the process was killed a moment later, before that was on record.
        ended_s = board["ended"] or board["died"] or running.killed_s
        if not killed and code != 0:
            self.counts["sessions that failed"] += 1
            print((chain.folder / "output").read_text()[-2000:], file=sys.stderr)
        if killed:
            self.counts["kills"] += 1
            self.moments[plan.moment] += 1
        elif plan.moment:
            self.counts["sessions that ended before their kill"] += 1
        if board["asked"]:
            started_s = board["started"] or ended_s
            run_id = board.run_id if board["started"] else ""
            lived = Lived(run_id, board["asked"], started_s, ended_s, board["late"], board["saved"], killed)
            chain.lived.append(lived)
            self.counts["kills before a start returned"] += not board["started"]
        for path in chain.folder.rglob("wattloop-*.jsonl"):
            self.look_into(chain, plan, path)
        chain.ended = chain.ended or not killed

    def look_into(self, chain: Chain, plan: Plan, path: Path) -> None:
        """Hold what a record says by now, and did not before, against the integral."""
        run_id = path.name.removeprefix("wattloop-").removesuffix(".jsonl")
        found = [*scan(path)]
        if any(isinstance(one, Problem) and "empty" not in one.message for one in found):
            self.counts["records with problems"] += 1
        mine = [lived for lived in chain.lived if lived.run_id == run_id]
        starts = [one for one in found if isinstance(one, journal.Start)]
        for number, start in enumerate(starts):
            if start.session == 1 or not self.first_time(chain, run_id, number):
                continue
            began_s = start.time.timestamp() - time.time() + time.monotonic()
            before = [lived for lived in mine if lived.ended_s < began_s]
            following = next((lived for lived in mine if lived.ended_s >= began_s), None)
            # Who was killed as it began may not have been able to say from which checkpoint.
            if following is not None:
                said = Said(start.spent_before.energy_j, start.uncertainty_kwh * J_PER_KWH, start.lost.energy_j)
                self.compare(chain, plan, said, before, following)
                self.counts[RESUMED] += 1
        if found and isinstance(end := found[-1], journal.End) and self.first_time(chain, run_id, -1):
            said = Said(end.totals.energy_j, end.uncertainty_kwh * J_PER_KWH, end.lost.energy_j)
            self.compare(chain, plan, said, mine, None)
            self.counts["kills after the end was on record"] += mine[-1].killed
            chain.ended = True
        if starts and starts[0].session == 1 and not mine:
            self.counts["records of sessions that never got to their checkpoint"] += self.first_time(chain, run_id, -2)

    def first_time(self, chain: Chain, run_id: str, part: int) -> bool:
        known = len(chain.checked)
        chain.checked.add((run_id, part))
        return len(chain.checked) > known

    def compare(self, chain: Chain, plan: Plan, said: Said, sessions: list[Lived], following: Lived | None) -> None:
        unknown = [lived for lived in chain.lived if not lived.run_id]
        tick_s = max(0.25, min(5.0, 5 * chain.interval_s)) + chain.interval_s
        result = check(chain.case, plan.moment or "none", self.fake, said, sessions, following, unknown, tick_s)
        self.checks.append(result)
        if not result.ok:
            print(f"violation in {chain.folder}: {result}", file=sys.stderr)


def warm(cases: list[str], folder: Path) -> None:
    """Import all that a child would, and train once with it."""
    fronts: list[Any] = []
    if {"lightning", "transformers", "keras"} & {*cases}:
        from contract.fronts import Keras, Lightning, Transformers

        named = {"lightning": Lightning("lightning.pytorch"), "transformers": Transformers(), "keras": Keras()}
        fronts = [named[case] for case in named if case in cases]
    if "accelerate" in cases:
        import accelerate  # noqa: F401
    for front in fronts:
        front.train(front.callback(region="FR"), folder / front.name, 1, 2, log_every=1, work=lambda step: None)
    gc.collect()
    gc.freeze()


def table(kills: Kills) -> Iterator[str]:
    columns = ("checks", "below, J", "above, J", "median, J", "stated, J", "lost off, J", "wrong")
    yield f"{'':14}" + "".join(f"{column:>12}" for column in columns)
    for case in [*dict.fromkeys(one.case for one in kills.checks), "all"]:
        checks = [one for one in kills.checks if case in (one.case, "all")]
        errors = [one.error_j for one in checks]
        figures = (min(errors), max(errors), median(errors), median(one.said.uncertainty_j for one in checks))
        lost_j = max(abs(one.lost_error_j) for one in checks)
        wrong = sum(not one.ok for one in checks)
        yield f"{case:14}{len(checks):12}" + "".join(f"{figure:12.1f}" for figure in (*figures, lost_j)) + f"{wrong:12}"
    beyond = sum(abs(one.error_j) > one.said.uncertainty_j + ROUNDING_J for one in kills.checks)
    yield f"kills by moment: {dict(kills.moments)}"
    yield ", ".join(f"{count} {what}" for what, count in kills.counts.items())
    yield f"{beyond} of {len(kills.checks)} are off by more than the stated uncertainty, the journal interval left out"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="killed sessions that are resumed, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=4, help="sessions at once")
    parser.add_argument("--fronts", nargs="+", choices=sorted({*CASES}), default=[*CASES])
    parser.add_argument("--quick", action="store_true", help="short sessions only")
    parser.add_argument("--json", type=Path, help="also write all checks to this file")
    parser.add_argument("--keep", type=Path, help="keep all that was written in this folder")
    options = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.mkdir(exist_ok=True)
        logging.disable(logging.WARNING)
        with FakeNvml(MACHINE), contextlib.redirect_stdout(None):
            warm(options.fronts, folder)
        logging.disable(logging.NOTSET)
        kills = Kills(options.kills, options.seed, options.fronts, options.quick, folder)
        kills.run(options.jobs)
    for line in table(kills):
        print(line)
    wrong = sum(not one.ok for one in kills.checks)
    if options.json:
        about = {"python": platform.python_version(), "cpus": os.cpu_count(), "seed": options.seed}
        about["took_s"] = round(time.monotonic() - began_s, 1)
        rows = [{**asdict(one), "error_j": one.error_j, "ok": one.ok} for one in kills.checks]
        counts = {**kills.counts, "violations": wrong, "checks": len(rows)}
        options.json.write_text(json.dumps({"about": about, "counts": counts, "rows": rows}, indent=1) + "\n")
    return 1 if wrong or kills.counts["sessions that failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
