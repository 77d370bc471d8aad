"""Whatever breaks: training ends as the user asked, once it is said what is lost, and the energy holds as stated.

One row of `ROWS` is one fault, put in during real training with a front end of the contract. Each asserts that

1. training did all its steps, or ended by the error that the user's own code raised, and no other;
2. exactly the warnings of the row were given, each once;
3. the energy is the fake's own integral within what the run states as its uncertainty, but for what the row allows to
   be lost, and never nothing;
4. no call of ours held training up for longer than a reading may take (`READ_TIMEOUT_S`), beyond what the machine did
   to sleeps of the same moments;
5. no thread of ours is left, but for one that hangs in the driver.

Where rows run: what happens below the run (the driver and its counters) is the same whatever drives the run, so those
rows run with the plain loop and one framework, Lightning. What a framework's own hooks take part in (how training ends,
where the record goes, what the grid says, threads and processes) runs with every front end. What ends a process
(signals, the end of a script, a stepped wall clock) happens in children of one server per test process, which has
imported the frameworks already: see `ends.py`. Workers of a DataLoader are forked where a front end has a DataLoader,
and spawned with the plain loop alone, as each of them imports torch again. Disks that are full or read-only are
mounted, which only root may do; elsewhere those rows are skipped, and `tests/test_journal.py` fills a file instead.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import math
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Front, Lightning, Loop, Outcome, Transformers, Work, fronts
from fakes.nvml import NO_DEVICE, FakeNvml
from fakes.powercap import Powercap
from fakes.wall_clock import build as wall_clock
from faults.examples import Examples
from wattloop import Budget, journal, track
from wattloop.grid.intensity import Intensity
from wattloop.recorder import TICK_INTERVAL_S
from wattloop.run import Run
from wattloop.sampler import READ_TIMEOUT_S

J_PER_KWH = 3.6e6
INTERVAL_S = 0.05
MEAN_W, PEAK_W = 300.0, 500.0
MACHINE = "profile=square:100,500,0.3;refresh_s=0.02"
STEADY = "profile=constant:300"
ROUNDING_J = 0.01
PATIENCE_S = 20.0
"""How long a test waits for what must come, on however slow a machine."""

NO_DRIVER, NO_LIBRARY, NO_PERMISSION, LOST = 9, 12, 4, 15

LOOP = "loop"
BELOW = (LOOP, "lightning.pytorch")
EVERY_FRONT = tuple(front.name for front in fronts())


def until(true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    end_s = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.002)


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("wattloop")]


class Watched:
    """A run whose calls are timed, on a machine whose energy is known.

    Attributes:
        calls: Name and duration of every call from outside, in seconds.
        sessions: When each session was asked for, had begun, was to end and had ended; monotonic, in seconds.
    """

    TIMED = ("start", "know", "step", "enter_phase", "epoch_end", "refresh", "metrics", "check_stop", "finish")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.calls: list[tuple[str, float]] = []
        self.sessions: list[list[float]] = []
        self._inside = 0
        for name in self.TIMED:
            setattr(run, name, self._timed(name, getattr(run, name)))

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            if self._inside:
                return call(*args, **more)
            running = self.run.running
            self._inside += 1
            before_s = time.monotonic()
            try:
                return call(*args, **more)
            finally:
                self._inside -= 1
                after_s = time.monotonic()
                self.calls.append((name, after_s - before_s))
                if name == "start":
                    self.sessions.append([before_s, after_s])
                elif name == "finish" and running:
                    self.sessions[-1] += [before_s, after_s]

        return timed

    def assert_no_call_took_longer_than_a_reading_may(self, noise_s: float) -> None:
        # One call may fall into a pause that no sleep of ours saw.
        second_s = sorted(took_s for _, took_s in self.calls)[-2]
        assert second_s <= READ_TIMEOUT_S + noise_s, sorted(self.calls, key=lambda call: call[1])[-5:]
        steps_s = sorted(took_s for name, took_s in self.calls if name == "step")
        assert len(steps_s) < 2 or steps_s[-2] <= READ_TIMEOUT_S + noise_s

    def starved_s(self, noise_s: float) -> float:
        """Return for how long at the end the mean power may have stood in, where this machine let the reader starve."""
        footprint = self.run._footprint
        return INTERVAL_S + READ_TIMEOUT_S + noise_s if footprint is not None and footprint._bridged.energy_j else 0.0

    def assert_energy_is_as_stated(self, fake: FakeNvml, lost_j: float = 0.0) -> None:
        within_j = sum(fake.energy_j(began_s, ends_s) for _, began_s, ends_s, _ in self.sessions)
        around_j = sum(fake.energy_j(asked_s, ended_s) for asked_s, _, _, ended_s in self.sessions)
        energy_j, doubt_j = self.run.totals.energy_j, self.run.uncertainty_kwh * J_PER_KWH
        assert energy_j > 0
        assert within_j - doubt_j - lost_j - ROUNDING_J <= energy_j <= around_j + doubt_j + ROUNDING_J, (
            f"{energy_j:.1f} ± {doubt_j:.1f} J, drawn {within_j:.1f} to {around_j:.1f} J"
        )


class Scene:
    """What a training step does: sleep, and at some steps let something break."""

    def __init__(self, fake: FakeNvml, tmp_path: Path, acts: Mapping[int, Callable[[Scene], object]], step_s: float):
        self.fake, self.tmp_path, self.step_s = fake, tmp_path, step_s
        self.stack = contextlib.ExitStack()
        self.late_s = 0.0
        self.notes: dict[str, Any] = {}
        self._acts = acts

    def __call__(self, step: int) -> None:
        if step in self._acts:
            self._acts[step](self)
        before_s = time.monotonic()
        time.sleep(self.step_s)
        self.late_s = max(self.late_s, time.monotonic() - before_s - self.step_s)

    @property
    def noise_s(self) -> float:
        return 0.01 + self.late_s


@dataclass(frozen=True)
class Row:
    """A fault, and what may come of it.

    Attributes:
        acts: What happens at which step.
        machine: Configuration of the fake from before the start on.
        grid: Makes the source of carbon intensity.
        warns: Patterns of all warnings.
        lost_s: For how long energy may go uncounted, in seconds.
        measured: Bounds of the share that is measured.
        doubt: Largest share of the energy that may be uncertain.
        error: Type of what training ends by.
        hangs: The driver does so until the end.
        known: The energy is the fake's, and not the model's of the CPU.
    """

    name: str
    acts: Mapping[int, Callable[[Scene], object]] = field(default_factory=dict)
    machine: str = MACHINE
    grid: Callable[[], Grid] | None = None
    warns: tuple[str, ...] = ()
    steps: int = 40
    step_s: float = 0.015
    lost_s: float = 0.0
    measured: tuple[float, float] = (1.0, 1.0)
    doubt: float = 0.2
    error: type[BaseException] | None = None
    hangs: bool = False
    known: bool = True
    on: tuple[str, ...] = BELOW


def error(call: Any, code: int) -> Callable[[Scene], None]:
    return lambda scene: scene.fake.set_error(0, call, code)


def hang(call: Any) -> Callable[[Scene], None]:
    return lambda scene: scene.stack.enter_context(scene.fake.hanging(0, call))


def hang_for(call: Any, seconds: float) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        hanging = contextlib.ExitStack()
        hanging.enter_context(scene.fake.hanging(0, call))
        timer = threading.Timer(seconds, hanging.close)
        timer.start()
        scene.stack.callback(timer.join)

    return act


def latency(call: Any, seconds: float) -> Callable[[Scene], None]:
    return lambda scene: scene.fake.set_latency(0, call, seconds)


def leap(joules: float) -> Callable[[Scene], None]:
    return lambda scene: scene.fake.add_to_counter(0, joules)


def reset(scene: Scene) -> None:
    scene.fake.reset_counter(0)


def forget_handles(scene: Scene) -> None:
    scene.fake.invalidate_handles(0)


def both(*acts: Callable[[Scene], object]) -> Callable[[Scene], object]:
    return lambda scene: [act(scene) for act in acts]


def fail(kind: Callable[[], BaseException]) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        raise kind()

    return act


def fork(scene: Scene) -> None:
    """Let a child do what children of training do: some work, and an orderly end."""
    before = multiprocessing.get_context("fork")
    child = before.Process(target=time.sleep, args=(0.01,))
    child.start()
    scene.notes["child"] = child


def fork_bare(scene: Scene) -> None:
    child = os.fork()
    if child == 0:
        os._exit(len(our_threads()))
    assert os.waitpid(child, 0)[1] == 0


class Grid:
    """A source of carbon intensity that fails in a way of its own."""

    def __init__(self, *answers: float | Exception, seconds: float = 0.0) -> None:
        self.answers = answers
        self.seconds = seconds
        self.asked: list[datetime] = []

    def at(self, time_: datetime) -> Intensity:
        self.asked.append(time_)
        time.sleep(self.seconds)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return Intensity(answer, "a test")

    def forecast(self, start: datetime, end: datetime) -> None:
        return None


LOST_SAID = r"GPU GPU-a0b1c200-\S+: GPU is lost; its last mean power, \d+ W, fills the gap"
MOVED_SAID = r"GPU GPU-a0b1c200-\S+: its energy counter moved by -?\d+ J in [\d.]+ s; .* fills the gap"
SILENT_SAID = r"the instruments have not answered for [\d.]+ s; their last mean power, \d+ W, fills the gap"
MODELLED_SAID = r"nothing can be measured here, so the CPU's energy is modelled: .*"
GRID_SAID = r"carbon intensity is not to be had \(.*\); the last one known stays in use"
MOVED = {"warns": (MOVED_SAID,), "lost_s": INTERVAL_S, "measured": (0.5, 0.999), "doubt": 1.0}
"""The interval in which a counter lies is lost, and filled by the mean power till then."""
LONG = {"steps": 100, "step_s": 0.018}
"""Long enough for a lost board to be asked again, a second later."""
BACK = {**LONG, "measured": (0.5, 1.0), "doubt": 1.0}
"""The counter tells what was drawn meanwhile; where the last mean says more, that stands until it has caught up."""

ROWS = [
    Row("no fault"),
    # The driver
    Row("lost for good", {25: error("all", LOST)}, warns=(LOST_SAID,), measured=(0.1, 0.9), doubt=3.0),
    Row("lost at once", {0: error("all", LOST)}, warns=(LOST_SAID,), measured=(0.0, 0.5), doubt=12.0),
    Row(
        "lost and back, the counter went on",
        {15: error("all", LOST), 30: error("all", 0)},
        warns=(LOST_SAID,),
        **BACK,
    ),
    Row(
        "lost and back, the counter began again",
        {25: error("all", LOST), 40: both(reset, error("all", 0))},
        warns=(LOST_SAID,),
        measured=(0.1, 0.9),
        doubt=3.0,
        **LONG,
    ),
    Row(
        "lost and back under another handle",
        {15: both(forget_handles, error("all", LOST)), 30: error("all", 0)},
        warns=(LOST_SAID,),
        **BACK,
    ),
    Row(
        "handle invalid",
        {15: forget_handles},
        warns=(r"GPU GPU-a0b1c200-\S+: Invalid Argument; .*",),
        **BACK,
    ),
    Row("unknown error", {25: error("all", 999)}, warns=(LOST_SAID.replace("GPU is lost", "Unknown Error"),),
        measured=(0.1, 0.9), doubt=3.0),
    Row("counter leaps", {15: leap(1e6)}, **MOVED),
    Row("counter leaps at the start", {0: leap(1e6)}, **MOVED),
    Row("counter leaps at a border", {20: leap(1e6)}, **MOVED),
    Row("counter falls", {15: leap(-500.0)}, **MOVED,
        machine=f"{MACHINE};offset_j=1000"),
    Row("counter leaps and falls back", {15: leap(1e6), 20: leap(-1e6)}, warns=(MOVED_SAID,), lost_s=2 * INTERVAL_S,
        measured=(0.3, 0.999), doubt=1.5),
    Row("counter begins again", {15: reset}, **MOVED),
    Row("hangs for ever", {25: hang("total_energy")}, warns=(SILENT_SAID,), steps=72, measured=(0.05, 0.9), doubt=6.0,
        hangs=True),
    Row("hangs in every call", {25: hang("all")}, warns=(SILENT_SAID,), steps=72, measured=(0.05, 0.9), doubt=6.0,
        hangs=True),
    Row("hangs 0.3 s, then answers", {12: hang_for("total_energy", 0.3)}),
    Row("hangs 0.3 s at a border", {19: hang_for("total_energy", 0.3)}),
    Row("every call takes 20 ms", {}, f"{MACHINE};latency.all=0.02", measured=(0.5, 1.0), doubt=0.9, steps=80),
    Row("a reading comes to take 20 ms", {5: latency("total_energy", 0.02)}, lost_s=INTERVAL_S, doubt=0.8),
    Row("a reading comes to take 0.3 s", {5: latency("total_energy", 0.3)}, measured=(0.0, 1.0), doubt=3.0,
        steps=80, lost_s=INTERVAL_S),
    Row("no permission for the counter", machine=f"{STEADY};error.total_energy=4;error.field_83=4"),
    Row(
        "no permission for anything",
        machine=f"{STEADY};error.all=4",
        warns=(r"GPU 0 is not measured: Insufficient Permissions", MODELLED_SAID),
        known=False,
    ),
    Row("library missing", machine="error.init=12", warns=(MODELLED_SAID,), known=False),
    Row("driver not loaded", machine="error.init=9", warns=(MODELLED_SAID,), known=False),
    # The grid
    Row("grid fails midway", grid=lambda: Grid(50.0, 50.0, 50.0, ConnectionError("no route")),
        warns=(GRID_SAID,), on=EVERY_FRONT),
    Row("grid says NaN", grid=lambda: Grid(50.0, 50.0, 50.0, math.nan), warns=(GRID_SAID,)),
    Row("grid says less than nothing", grid=lambda: Grid(50.0, 50.0, 50.0, -50.0), warns=(GRID_SAID,)),
    Row("grid says infinity", grid=lambda: Grid(50.0, 50.0, 50.0, math.inf), warns=(GRID_SAID,)),
    Row("grid is slow", grid=lambda: Grid(50.0, seconds=0.3), on=EVERY_FRONT),
    # Training
    Row("exception", {30: fail(lambda: ZeroDivisionError("the user's"))}, error=ZeroDivisionError, on=EVERY_FRONT,
        doubt=0.5),
    Row("Ctrl-C", {30: fail(KeyboardInterrupt)}, error=BaseException, on=EVERY_FRONT, doubt=0.5),
    Row("exception while the driver hangs", {25: hang("all"), 70: fail(ZeroDivisionError)}, error=ZeroDivisionError,
        warns=(SILENT_SAID,), steps=72, measured=(0.05, 0.9), doubt=6.0, hangs=True),
    Row("children are forked", {10: fork, 15: fork_bare, 20: fork}, on=EVERY_FRONT),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Have done what only the first run of a process does."""
    with FakeNvml(), track(region="FR") as run:
        for _ in run.steps(range(3)):
            pass
    until(lambda: not our_threads())


@pytest.fixture(autouse=True)
def _no_thread_is_left(fake_nvml: FakeNvml) -> Iterator[None]:
    yield
    until(lambda: not our_threads())


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"region": "FR", "interval_s": INTERVAL_S, "powercap_root": str(tmp_path / "no powercap"), **more}


def assert_said(caplog: pytest.LogCaptureFixture, patterns: tuple[str, ...]) -> None:
    ours = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("wattloop")]
    assert len(ours) == len(patterns), ours
    for pattern in patterns:
        assert [text for text in ours if re.fullmatch(pattern, text)], (pattern, ours)


def front_named(name: str) -> Front:
    (front,) = (front for front in fronts() if front.name == name)
    return front


CASES = [(row, name) for row in ROWS for name in row.on if name in EVERY_FRONT]


@pytest.mark.parametrize(("row", "name"), CASES, ids=[f"{row.name}-{name}" for row, name in CASES])
def test_fault(row: Row, name: str, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    front = front_named(name)
    fake_nvml.reset(row.machine)
    scene = Scene(fake_nvml, tmp_path, row.acts, row.step_s)
    grid = {} if row.grid is None else {"intensity": row.grid()}
    callback = front.callback(**options(tmp_path, **grid))
    watched = Watched(front.run(callback))
    with caplog.at_level(logging.WARNING, "wattloop"), scene.stack:
        outcome = front.train(callback, tmp_path, 2, row.steps // 2, log_every=row.steps // 4, work=scene)
        watched.run.finish()
        assert row.hangs or until(lambda: not our_threads()) is None
        assert len(our_threads()) <= 1

    if row.error is None:
        assert outcome.error is None
        assert outcome.steps == watched.run.steps_done == row.steps
    else:
        assert isinstance(outcome.error, row.error)
    assert_said(caplog, row.warns)
    watched.assert_no_call_took_longer_than_a_reading_may(scene.noise_s)
    totals = watched.run.totals
    if row.known:
        watched.assert_energy_is_as_stated(fake_nvml, row.lost_s * PEAK_W)
        starved_j = watched.starved_s(scene.noise_s) * PEAK_W
        assert row.measured[0] - starved_j / totals.energy_j <= totals.measured_fraction <= row.measured[1]
        assert watched.run.uncertainty_kwh * J_PER_KWH <= row.doubt * totals.energy_j + starved_j
    else:
        assert totals.measured_fraction == 0.0
        assert totals.energy_j >= 0.0
    assert sum(watched.run.phases_j.values()) == pytest.approx(totals.energy_j)
    assert totals.kg_co2e == 0.0 or totals.kg_co2e > 0.0
    if "child" in scene.notes:
        scene.notes["child"].join(PATIENCE_S)
        assert scene.notes["child"].exitcode == 0


# -- the driver, once more --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BELOW)
def test_a_driver_that_hangs_from_the_beginning_is_said_to_be_silent(
    name: str, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    front = front_named(name)
    scene = Scene(fake_nvml, tmp_path, {}, step_s=0.015)
    with caplog.at_level(logging.WARNING, "wattloop"), fake_nvml.hanging(NO_DEVICE, "init"):
        callback = front.callback(**options(tmp_path))
        watched = Watched(front.run(callback))
        outcome = front.train(callback, tmp_path, 2, 20, log_every=10, work=scene)
        assert {thread.name for thread in our_threads()} <= {"wattloop-sampler", "wattloop-opening"}
    assert (outcome.error, outcome.steps) == (None, 40)
    assert_said(caplog, (r"the instruments have not answered for [\d.]+ s; nothing is counted",))
    watched.assert_no_call_took_longer_than_a_reading_may(scene.noise_s)
    # Nothing is known of what it drew, and none of it is said to be measured.
    assert watched.run.totals.energy_j == watched.run.totals.measured_fraction == 0.0


@pytest.mark.parametrize("name", BELOW)
def test_what_is_drawn_before_a_late_driver_answers_is_counted(
    name: str, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nvml.reset(MACHINE)
    front = front_named(name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(fake_nvml.hanging(NO_DEVICE, "init"))
        scene = Scene(fake_nvml, tmp_path, {16: lambda scene: stack.close()}, step_s=0.015)
        callback = front.callback(**options(tmp_path))
        watched = Watched(front.run(callback))
        outcome = front.train(callback, tmp_path, 2, 20, log_every=10, work=scene)
    assert (outcome.error, outcome.steps) == (None, 40)
    assert_said(caplog, ())
    watched.assert_no_call_took_longer_than_a_reading_may(scene.noise_s)
    watched.assert_energy_is_as_stated(fake_nvml)
    assert 0.2 < watched.run.totals.measured_fraction < 0.9


@pytest.mark.parametrize("name", BELOW)
def test_the_cpu_is_measured_though_the_driver_hangs_from_the_beginning(
    name: str, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = Powercap(tmp_path / "powercap")
    package = tree.add("intel-rapl:0", "package-0")
    front = front_named(name)

    def draw(scene: Scene) -> None:
        until(lambda: run._footprint.channels)
        package.advance(3.0)

    with fake_nvml.hanging(NO_DEVICE, "init"):
        scene = Scene(fake_nvml, tmp_path, dict.fromkeys(range(30, 60), draw), step_s=0.015)
        callback = front.callback(**options(tmp_path, powercap_root=str(tree.root)))
        run = front.run(callback)
        outcome = front.train(callback, tmp_path, 3, 20, log_every=10, work=scene)
    assert (outcome.error, outcome.steps) == (None, 60)
    assert_said(caplog, (r"the NVIDIA driver does not answer; its GPUs are counted from when it does",))
    assert run.totals.gpu_j == 0.0
    assert run.totals.cpu_j == pytest.approx(90.0, abs=run.uncertainty_kwh * J_PER_KWH + ROUNDING_J)


def test_a_budget_ends_the_run_though_the_driver_hangs(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset(STEADY)
    with track(**options(tmp_path, budget=Budget(kwh=600 / J_PER_KWH))) as run, contextlib.ExitStack() as stack:
        began_s = time.monotonic()
        for _ in run.epochs(range(100)):
            for _ in run.steps(range(10)):
                if run.steps_done == 30:
                    stack.enter_context(fake_nvml.hanging(0, "all"))
                time.sleep(0.01)
        took_s = time.monotonic() - began_s
    assert run.should_stop
    assert took_s == pytest.approx(2.0, abs=0.3 + 0.1)


def test_a_cpu_counter_that_cannot_be_read_any_more_is_filled_in(
    fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nvml.reset(f"error.init={NO_DRIVER}")
    tree = Powercap(tmp_path / "powercap")
    package = tree.add("intel-rapl:0", "package-0")
    more = {"region": "FR", "interval_s": INTERVAL_S, "powercap_root": tree.root}
    with caplog.at_level(logging.WARNING, "wattloop"), track(**more) as run:
        began_s = time.monotonic()
        for step in run.steps(range(60)):
            if step == 30:
                package.break_file()
            time.sleep(0.01)
            package.advance(100.0 * (time.monotonic() - began_s) - package.energy_uj / 1e6)
    assert_said(caplog, (r"cpu:0: .*; its last mean power, \d+ W, fills the gap",))
    assert run.totals.cpu_j == pytest.approx(package.energy_uj / 1e6, abs=run.uncertainty_kwh * J_PER_KWH + 10.0)
    assert 0.2 < run.totals.measured_fraction < 0.9


WITHOUT = """
import logging, sys, time
logging.basicConfig(format="%(message)s")
{first}
import wattloop
with wattloop.track(region="FR", powercap_root="/nowhere") as run:
    for _ in run.steps(range(60)):
        time.sleep(0.01)
print(run.steps_done, run.totals.measured_fraction)
"""


@pytest.mark.parametrize(
    ("first", "said"),
    [("", "Shared Library Not Found"), ("sys.modules['pynvml'] = None", "pynvml")],
    ids=["NVML", "pynvml"],
)
def test_without_the_library_or_its_binding_the_cpu_is_modelled(first: str, said: str) -> None:
    without = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    code = WITHOUT.format(first=first)
    ended = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.split()) == (0, ["60", "0.0"])
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(MODELLED_SAID, line)
    assert said in line


# -- where the record goes --------------------------------------------------------------------------------------------


@pytest.fixture(params=EVERY_FRONT)
def front(request: pytest.FixtureRequest) -> Front:
    return front_named(request.param)


def trained(
    front: Front,
    fake: FakeNvml,
    tmp_path: Path,
    epochs: int = 2,
    steps: int = 40,
    acts: Mapping[int, Any] | None = None,
    **more: Any,
) -> tuple[Watched, Outcome]:
    """Train without any fault but those in `acts`, and assert what must hold of any run."""
    scene = Scene(fake, tmp_path, acts or {}, step_s=0.01)
    callback = front.callback(**options(tmp_path, **more))
    watched = Watched(front.run(callback))
    outcome = front.train(callback, tmp_path / "theirs", epochs, steps // epochs, log_every=5, work=scene)
    assert (outcome.error, outcome.steps) == (None, steps)
    watched.assert_no_call_took_longer_than_a_reading_may(scene.noise_s)
    watched.assert_energy_is_as_stated(fake)
    return watched, outcome


def writes_events(front: Front) -> bool:
    """Tell whether we write an event file of our own; the contract's loop has a writer of the user's."""
    return front.name.startswith("keras")


def test_a_folder_that_cannot_be_written_costs_the_record_and_one_warning(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "wattloop"):
        trained(front, fake_nvml, tmp_path, log_dir=tmp_path / "file" / "logs")
    events = (r"no TensorBoard event file in .*",) if writes_events(front) else ()
    assert_said(caplog, (r"no record of this run is kept: .*Not a directory.*", *events))


@contextlib.contextmanager
def small_disk(folder: Path, option: str) -> Iterator[Path]:
    """Mount a disk of 64 kB; only root can."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64k,{option}", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a disk of its own")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_read_only_disk_costs_the_record_and_one_warning(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "ro") as disk, caplog.at_level(logging.WARNING, "wattloop"):
        trained(front, fake_nvml, tmp_path, log_dir=disk)
    events = (r"no TensorBoard event file in .*",) if writes_events(front) else ()
    assert_said(caplog, (r"no record of this run is kept: .*Read-only file system.*", *events))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's writer
def test_a_full_disk_costs_the_rest_of_the_record_and_one_warning(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "rw") as disk, caplog.at_level(logging.WARNING, "wattloop"):

        def fill(scene: Scene) -> None:
            # Whatever room is left in pages that files have already is soon used up.
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(512))

        trained(front, fake_nvml, tmp_path, acts={10: fill}, epochs=20, steps=100, log_dir=disk)
        (path,) = disk.glob("wattloop-*.jsonl")
        records = list(journal.read(path))
    events = (r"the TensorBoard event file of this run ends here: .*",) if writes_events(front) else ()
    assert_said(caplog, (r"the record of this run waits until it can be written again: .*", *events))
    assert isinstance(records[0], journal.Start)
    assert not isinstance(records[-1], journal.End)


# -- again, at once, elsewhere ----------------------------------------------------------------------------------------


def test_a_second_fit_counts_both_and_nothing_between(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset(MACHINE)
    callback = front.callback(**options(tmp_path))
    watched = Watched(front.run(callback))
    for number in range(2):
        scene = Scene(fake_nvml, tmp_path, {}, step_s=0.01)
        outcome = front.train(callback, tmp_path / str(number), 2, 10, log_every=5, work=scene)
        assert (outcome.error, outcome.steps) == (None, 20)
        until(lambda: not our_threads())
        time.sleep(0.05)
    assert len(watched.sessions) == 2
    watched.assert_energy_is_as_stated(fake_nvml)


def test_two_runs_at_once_share_one_thread(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset(MACHINE)
    other = Watched(Run(**options(tmp_path)))
    threads = []

    def start(scene: Scene) -> None:
        other.run.start(framework="test")
        threads.append(len(our_threads()))

    def finish(scene: Scene) -> None:
        other.run.finish()
        threads.append(len(our_threads()))

    trained(front, fake_nvml, tmp_path, acts={10: start, 30: finish})
    assert threads == [1, 1]
    other.assert_energy_is_as_stated(fake_nvml)


def test_a_run_may_live_in_any_thread(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset(MACHINE)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            trained(front, fake_nvml, tmp_path)
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert faults == []


def files_of_ours(folder: Path) -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(link))
    return [path for path in found if "wattloop" in Path(path).name or path.startswith(str(folder))]


def test_ten_runs_leave_nothing_behind(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset(MACHINE)
    for number in range(10):
        callback = front.callback(**options(tmp_path, log_dir=tmp_path / "ours"))
        scene = Scene(fake_nvml, tmp_path, {}, step_s=0.005)
        outcome = front.train(callback, tmp_path / f"theirs{number}", 1, 4, log_every=2, work=scene)
        assert outcome.error is None
    until(lambda: not our_threads())
    gc.collect()
    assert files_of_ours(tmp_path / "ours") == []
    assert fake_nvml.calls("init") == fake_nvml.calls("shutdown") == 10


CELL = """
import time, wattloop
run = wattloop.track(**options)
{entered}
    for step in run.steps(range(10)):
        time.sleep(0.01)
        if step == stop_at:
            raise KeyboardInterrupt
"""


def test_a_notebooks_cells_may_be_run_again_and_broken_off(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.reset(STEADY)
    cell = compile(CELL.format(entered="with run:"), "<cell>", "exec")
    bare = compile(CELL.format(entered="run.start(framework='cell')\nif True:"), "<cell>", "exec")
    namespace: dict[str, Any] = {"__name__": "__main__", "options": options(tmp_path)}
    for code, stop_at in [(cell, None), (cell, 5), (bare, 5), (bare, None), (cell, None)]:
        namespace["stop_at"] = stop_at
        with contextlib.suppress(KeyboardInterrupt):
            exec(code, namespace)
        # The sampler of a run that has ended settles its last reading first.
        until(lambda code=code: len(our_threads()) <= 1 + (code is bare))
        assert namespace["run"].totals.energy_j > 0 or code is bare
    assert namespace["run"].steps_done == 10
    namespace.clear()
    gc.collect()
    until(lambda: not our_threads())


# -- processes --------------------------------------------------------------------------------------------------------


class LoopWithWorkers(Loop):
    """A plain loop over a loader."""

    def __init__(self, path: Path, way: str) -> None:
        self.path, self.way = path, way

    def train(self, callback: Any, folder: Path, epochs: int, steps: int, log_every: int, work: Work) -> Outcome:
        import torch

        loader = torch.utils.data.DataLoader(
            Examples(torch.zeros(steps, 4), self.path), num_workers=2, multiprocessing_context=self.way
        )
        outcome = Outcome()
        with callback as run:
            for _ in run.epochs(range(epochs)):
                for _ in run.steps(loader):
                    work(outcome.steps)
                    outcome.steps += 1
        return outcome


class LightningWithWorkers(Lightning):
    def __init__(self, path: Path) -> None:
        super().__init__("lightning.pytorch")
        self.path = path

    def loader(self, steps: int) -> Any:
        import torch

        return torch.utils.data.DataLoader(Examples(torch.zeros(steps, 4), self.path), num_workers=2)


class TransformersWithWorkers(Transformers):
    def __init__(self, path: Path) -> None:
        self.path = path

    def trainer(self, *args: Any, **more: Any) -> Any:
        trainer = super().trainer(*args, **more, dataloader_num_workers=2)
        trainer.train_dataset = Examples(trainer.train_dataset, self.path)
        return trainer


@pytest.mark.parametrize(
    "with_workers",
    [
        pytest.param(lambda path: LoopWithWorkers(path, "spawn"), id="loop-spawn"),
        pytest.param(lambda path: LoopWithWorkers(path, "fork"), id="loop-fork"),
        pytest.param(LightningWithWorkers, id="lightning-fork"),
        pytest.param(TransformersWithWorkers, id="transformers-fork"),
    ],
)
def test_workers_of_a_data_loader_measure_nothing(
    with_workers: Callable[[Path], Front], fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    fake_nvml.reset(MACHINE)
    lines = tmp_path / "lines"
    trained(with_workers(lines), fake_nvml, tmp_path, steps=20)
    seen = [[int(number) for number in line.split()] for line in lines.read_text().splitlines()]
    assert len(seen) >= 20
    workers = {pid for pid, _, _ in seen}
    assert len(workers) >= 2
    assert os.getpid() not in workers
    assert {(threads, samplers) for _, threads, samplers in seen} == {(0, 0)}
    assert fake_nvml.calls("init") == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    environ = {
        **os.environ,
        "LD_PRELOAD": str(wall_clock()),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(Path(__file__).with_name("ends.py")), str(tmp_path_factory.mktemp("warm"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Ended:
    """What a process left behind."""

    code: int
    took_s: float
    output: str
    note: dict[str, Any]
    records: list[journal.Record]


def ended(folder: Path) -> Ended:
    end = json.loads((folder / "end.json").read_text())
    note = json.loads((folder / "note.json").read_text())
    paths = sorted(folder.glob("wattloop-*.jsonl"))
    records = [record for path in paths for record in journal.read(path)]
    return Ended(end["code"], end["ended_s"] - note["ended_s"], (folder / "output").read_text(), note, records)


ENDS = ("exit", "hang", "error", "int", "term", "clock")


def test_a_process_may_end_in_any_way(front: Front, server: subprocess.Popen[str], tmp_path: Path) -> None:
    assert server.stdin is not None
    assert server.stdout is not None
    # The long one is the same whatever drives the run.
    ends = (*ENDS, "kill") if front.name in BELOW else ENDS
    server.stdin.write(f"{front.name} {tmp_path} {' '.join(ends)}\n")
    server.stdin.flush()
    while (line := server.stdout.readline()) and line != "done\n":
        pass
    assert line == "done\n"
    runs = {name: ended(tmp_path / name) for name in ends}

    for name, run in runs.items():
        assert run.took_s < PATIENCE_S, name
        assert not re.search(r'File ".*/wattloop/', run.output), run.output
        assert isinstance(run.records[0], journal.Start), name
        tick = next(record for record in reversed(run.records) if isinstance(record, journal.Tick | journal.End))
        around_j = 300.0 * (run.note["ended_s"] - run.note["began_s"])
        assert tick.totals.energy_j >= around_j - 300.0 * (TICK_INTERVAL_S + INTERVAL_S + 0.1) - ROUNDING_J

    assert runs["exit"].code == runs["hang"].code == 3
    assert runs["error"].code == runs["clock"].code == 0
    # Lightning turns Ctrl-C into an exit of its own.
    assert runs["int"].code in ((1,) if "lightning" in front.name else (-2, 130))
    # ... and SIGTERM into an end of the fit.
    assert runs["term"].code == (0 if "lightning" in front.name else -15)

    stepped = runs["clock"].note
    moves_s = [b - a for a, b in pairwise(stepped["asked"])]
    assert min(moves_s) < -3000
    assert max(moves_s) > 7000
    assert stepped["steps"] == 40
    assert stepped["duration_s"] < 60
    lowest_j = 300.0 * (stepped["duration_s"] - 0.1) - stepped["doubt_j"]
    assert lowest_j <= stepped["energy_j"] <= 300.0 * (stepped["duration_s"] + 0.1) + stepped["doubt_j"]
    assert "wattloop:" not in runs["clock"].output

    if "kill" in runs:
        killed = runs["kill"]
        assert killed.code == -9
        ticks = [record for record in killed.records if isinstance(record, journal.Tick)]
        assert len(ticks) >= 2
        drawn_j = 300.0 * (killed.note["ended_s"] - killed.note["began_s"])
        assert ticks[-1].totals.energy_j >= drawn_j - 300.0 * (TICK_INTERVAL_S + INTERVAL_S)
        assert ticks[-1].totals.energy_j <= killed.note["energy_j"] + ROUNDING_J
