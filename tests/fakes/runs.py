"""Generated training runs, step by step, and what a sampler sees of them: to hold forecasts against.

Each kind of run is a recipe with random parameters; the same seed gives the same run. A step has a duration and a
power, which wander and scatter in ways no forecast assumes: gamma and log-normal noise, slow waves, stragglers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Phase = tuple[str, float, float]
"""Name, seconds and watts of what interrupts the steps."""


@dataclass
class MadeRun:
    """A run from its first step to its last.

    Attributes:
        kind: The recipe.
        seconds: Duration of each step.
        watts: Power of each step.
        between: What comes after so many steps, before the next.
        epoch_steps: Steps of an epoch.
        epochs: Epochs of the whole run.
        first_step: Steps done before, in a resumed run.
        startup: Seconds and watts before the first step.
        tells: What is known of the length: "steps", "epochs", "time" or "nothing".
        jitter: For the sampler's clock.
    """

    kind: str
    seconds: list[float]
    watts: list[float]
    epoch_steps: int
    epochs: int
    jitter: random.Random
    between: dict[int, list[Phase]] = field(default_factory=dict)
    first_step: int = 0
    startup: tuple[float, float] = (0.0, 0.0)
    tells: str = "steps"
    cold_first_epoch: bool = False
    slow_start: bool = False

    @property
    def total_steps(self) -> int:
        return self.first_step + len(self.seconds)

    def __post_init__(self) -> None:
        self.energy_j = self.startup[0] * self.startup[1]
        self.duration_s = self.startup[0]
        self.energy_j += sum(s * w for s, w in zip(self.seconds, self.watts, strict=True))
        self.duration_s += sum(self.seconds)
        for phases in self.between.values():
            self.energy_j += sum(s * w for _, s, w in phases)
            self.duration_s += sum(s for _, s, _ in phases)


@dataclass(frozen=True)
class Seen:
    """What is known at one moment: at the end of an epoch (`epoch` counts them), or at a tick of the sampler."""

    time_s: float
    step: int
    energy_j: float
    phases_j: dict[str, float]
    phases_s: dict[str, float]
    epoch: int = 0


def watched(run: MadeRun, interval_s: float = 1.0, refresh_s: float = 0.1) -> Iterator[Seen]:
    """Tell what the sampler sees: ticks that come late, or not for a while, and a reading at every border of phases.

    The counter shows what was used up to its last refresh.
    """
    chance = run.jitter
    now, energy_j, step, epoch = 0.0, 0.0, run.first_step, 0
    counted_j, counted_s = 0.0, 0.0
    phases_j: dict[str, float] = {}
    phases_s: dict[str, float] = {}
    due = interval_s * chance.random()
    lag = refresh_s * chance.random()

    def seen(phase: str, at: float, ahead_j: float, watts: float, ended: int = 0) -> Seen:
        nonlocal counted_j, counted_s
        late_s = (at + lag) % refresh_s if refresh_s else 0.0
        reading_j = max(counted_j, energy_j + ahead_j - late_s * watts)
        phases_j[phase] = phases_j.get(phase, 0.0) + reading_j - counted_j
        phases_s[phase] = phases_s.get(phase, 0.0) + at - counted_s
        counted_j, counted_s = reading_j, at
        return Seen(at, step, reading_j, dict(phases_j), dict(phases_s), ended)

    def passes(phase: str, seconds: float, watts: float) -> Iterator[Seen]:
        nonlocal now, energy_j, due
        while due <= now + seconds:
            yield seen(phase, due, (due - now) * watts, watts)
            due += interval_s * (1.0 + chance.uniform(-0.05, 0.05))
            if chance.random() < 0.002:
                due += chance.uniform(5.0, 30.0)
        now += seconds
        energy_j += seconds * watts

    yield from passes("startup", *run.startup)
    yield seen("startup", now, 0.0, run.startup[1])
    for seconds, watts in zip(run.seconds, run.watts, strict=True):
        yield from passes("train", seconds, watts)
        step += 1
        for phase, phase_s, phase_w in run.between.get(step, ()):
            yield seen("train", now, 0.0, watts)
            yield from passes(phase, phase_s, phase_w)
            yield seen(phase, now, 0.0, phase_w)
        if step % run.epoch_steps == 0 or step == run.total_steps:
            epoch += 1
            yield seen("train", now, 0.0, watts, epoch)


# -- recipes ----------------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """What a recipe may change: factors of every step's duration and power, and what comes between steps."""

    chance: random.Random
    wide: bool
    epochs: int
    epoch_steps: int
    step_s: float
    power_w: float
    slow: list[float]
    hot: list[float]
    between: dict[int, list[Phase]] = field(default_factory=dict)
    tells: str = "steps"
    first_step: int = 0
    cold_first_epoch: bool = False
    slow_start: bool = False

    @property
    def total(self) -> int:
        return self.epochs * self.epoch_steps

    @property
    def epoch_s(self) -> float:
        return self.epoch_steps * self.step_s

    def between_(self, low: float, high: float) -> float:
        """Draw from a range, which is half as wide again where parameters are held out."""
        if self.wide:
            low, high = low / 1.25, high * 1.25
        return self.chance.uniform(low, high)

    def log_between(self, low: float, high: float) -> float:
        return math.exp(self.chance.uniform(math.log(low), math.log(high)))

    def add(self, step: int, phase: str, seconds: float, share_of_power: float) -> None:
        self.between.setdefault(step, []).append((phase, seconds, self.power_w * share_of_power))


Recipe = Callable[[Plan], None]


def steady(plan: Plan) -> None:
    """Nothing but noise."""


def correlated(plan: Plan) -> None:
    """Steps that depend on those before them, as with neighbours on the same machine."""
    memory = 1 - plan.log_between(0.002, 0.3)
    spread, state = plan.between_(0.02, 0.12), plan.chance.gauss(0, 1)
    for i in range(plan.total):
        state = memory * state + math.sqrt(1 - memory * memory) * plan.chance.gauss(0, 1)
        plan.slow[i] *= max(0.2, 1 + spread * state)


def stragglers(plan: Plan) -> None:
    """A step in a hundred or so takes many times as long: a slow disk, a garbage collection."""
    often, tail = plan.log_between(0.002, 0.03), plan.between_(1.5, 3.0)
    for i in range(plan.total):
        if plan.chance.random() < often:
            plan.slow[i] *= 2 * min(plan.chance.paretovariate(tail), 15.0)
            plan.hot[i] *= 0.6


def bucketed(plan: Plan) -> None:
    """Batches of texts of similar length: a few sizes, drawn at random."""
    sizes = [plan.between_(0.4, 2.5) for _ in range(plan.chance.randint(3, 8))]
    share = [plan.chance.random() + 0.1 for _ in sizes]
    for i in range(plan.total):
        plan.slow[i] *= plan.chance.choices(sizes, share)[0]


def decaying_start(plan: Plan) -> None:
    """Caches and allocators warm up: the first steps are dearer, less and less so."""
    factor, tau = plan.between_(3, 20), plan.epoch_steps * plan.between_(0.01, 0.06)
    plan.slow_start = True
    for i in range(plan.total):
        plan.slow[i] *= 1 + factor * math.exp(-i / tau)


def slow_first_steps(plan: Plan) -> None:
    """The first steps take 5 to 50 times as long: lazy compilation of every shape."""
    factor, count = plan.between_(5, 50), max(1, int(plan.epoch_steps * plan.log_between(0.005, 0.1)))
    plan.slow_start = True
    for i in range(min(count, plan.total)):
        plan.slow[i] *= factor * plan.chance.uniform(0.7, 1.3)
        plan.hot[i] *= 0.7


def compiled(plan: Plan) -> None:
    """The first step and the first validation compile."""
    plan.slow_start = True
    plan.slow[0] += plan.epoch_s * plan.between_(0.15, 1.0) / plan.step_s
    plan.hot[0] *= plan.between_(0.4, 0.8)
    seconds = plan.epoch_s * plan.between_(0.03, 0.12)
    for epoch in range(1, plan.epochs + 1):
        first = plan.epoch_s * plan.between_(0.005, 0.02) if epoch == 1 else 0.0
        plan.add(epoch * plan.epoch_steps, "validation", seconds * plan.between_(0.97, 1.03) + first, 0.75)


def autotuned(plan: Plan) -> None:
    """Kernels are tried out during the first steps: a plateau of slow steps."""
    count, factor = int(plan.epoch_steps * plan.between_(0.1, 0.3)), plan.between_(2.0, 5.0)
    plan.slow_start = True
    for i in range(min(count, plan.total)):
        plan.slow[i] *= factor


def heating(plan: Plan) -> None:
    """The GPU warms up: more leakage, then lower clocks."""
    leak, throttle, tau_s = plan.between_(0.01, 0.07), plan.between_(0.0, 0.04), plan.log_between(60, 600)
    now = 0.0
    for i in range(plan.total):
        warm = 1 - math.exp(-now / tau_s)
        plan.hot[i] *= 1 + leak * warm
        plan.slow[i] *= 1 + throttle * warm
        now += plan.step_s * plan.slow[i]


def growing(plan: Plan) -> None:
    """A curriculum: steps get dearer, or cheaper, all the way."""
    growth = plan.between_(0.05, 0.25) * plan.chance.choice([1, 1, 1, -0.5])
    bend = plan.between_(0.85, 1.2)
    for i in range(plan.total):
        plan.slow[i] *= 1 + growth * (i / plan.total) ** bend


def staircase(plan: Plan) -> None:
    """A curriculum in stages."""
    stages = plan.chance.randint(2, 6)
    growth = plan.between_(0.04, 0.2) / (stages - 1)
    for i in range(plan.total):
        plan.slow[i] *= 1 + growth * int(stages * i / plan.total)


def lengthening(plan: Plan) -> None:
    """Sequences grow to their full length over a part of the run; attention is quadratic."""
    start, until, square = 1 - plan.between_(0.03, 0.15), plan.between_(0.6, 1.0), plan.between_(0.05, 0.3)
    for i in range(plan.total):
        length = min(1.0, start + (1 - start) * i / (plan.total * until))
        plan.slow[i] *= (1 - square) * length + square * length * length


def steep(plan: Plan) -> None:
    """Sequences grow so long that the last steps cost two to four times as much as the first."""
    growth = plan.between_(1.0, 3.0)
    for i in range(plan.total):
        plan.slow[i] *= 1 + growth * i / plan.total


def sorted_in_epoch(plan: Plan) -> None:
    """Data sorted by length in every epoch."""
    shortest, power = plan.between_(0.2, 0.7), plan.between_(0.7, 2.0)
    for i in range(plan.total):
        plan.slow[i] *= shortest + (1 - shortest) * ((i % plan.epoch_steps) / plan.epoch_steps) ** power


def validated(plan: Plan) -> None:
    """Validation at the end of every epoch."""
    seconds, share = plan.epoch_s * plan.between_(0.03, 0.3), plan.between_(0.5, 1.0)
    for epoch in range(1, plan.epochs + 1):
        plan.add(epoch * plan.epoch_steps, "validation", seconds * plan.between_(0.97, 1.03), share)


def validated_sometimes(plan: Plan) -> None:
    """Validation every few epochs: nobody knows before the first."""
    every = plan.chance.randint(2, 5)
    seconds, share = plan.epoch_s * plan.between_(0.02, 0.12), plan.between_(0.5, 1.0)
    for epoch in range(every, plan.epochs + 1, every):
        plan.add(epoch * plan.epoch_steps, "validation", seconds * plan.between_(0.97, 1.03), share)


def interrupted(plan: Plan) -> None:
    """Validation and checkpoints every so many steps; checkpoints take what the disk lets them."""
    every = max(2, int(plan.epoch_steps * plan.between_(0.08, 0.7)))
    seconds = every * plan.step_s * plan.between_(0.03, 0.2)
    for step in range(every, plan.total + 1, every):
        plan.add(step, "validation", seconds * plan.between_(0.95, 1.05), 0.8)
    every = max(2, int(plan.epoch_steps * plan.between_(0.1, 1.0)))
    seconds = every * plan.step_s * plan.between_(0.005, 0.04)
    for step in range(every, plan.total + 1, every):
        plan.add(step, "checkpoint", seconds * plan.chance.gammavariate(3, 1 / 3), 0.3)


def cold_cache(plan: Plan) -> None:
    """The first epoch reads from a disk, the others from memory."""
    plan.cold_first_epoch = True
    factor = plan.between_(1.3, 4.0)
    for i in range(plan.epoch_steps):
        plan.slow[i] *= factor * plan.chance.uniform(0.8, 1.2)
        plan.hot[i] *= 0.6


def accumulating(plan: Plan) -> None:
    """Optimizer steps of many batches: seconds each, longer than a tick; and the last of an epoch is short."""
    for i in range(plan.epoch_steps - 1, plan.total, plan.epoch_steps):
        plan.slow[i] *= 0.5


def resumed(plan: Plan) -> None:
    """It begins at some step, in the middle of an epoch; steps warm up again."""
    plan.first_step = plan.chance.randint(1, int(0.7 * plan.total))
    validated(plan)
    plan.between = {step: phases for step, phases in plan.between.items() if step > plan.first_step}
    for i in range(plan.first_step, min(plan.total, plan.first_step + 5)):
        plan.slow[i] *= plan.between_(2, 20)


def iterable(plan: Plan) -> None:
    """Nobody knows how long an epoch is, before the first."""
    plan.tells = "epochs"
    validated(plan)


def timed(plan: Plan) -> None:
    """The run ends by the clock."""
    plan.tells = "time"
    plan.chance.choice([validated, interrupted, heating, decaying_start])(plan)
    plan.slow_start = False


def one_epoch(plan: Plan) -> None:
    """One long epoch, with checkpoints."""
    plan.chance.choice([decaying_start, slow_first_steps, heating, interrupted, steady])(plan)
    plan.epoch_steps, plan.epochs = plan.total, 1
    plan.slow_start = False


def unknown(plan: Plan) -> None:
    """Until somebody stops it."""
    plan.tells = "nothing"
    validated(plan)


def mixed(plan: Plan) -> None:
    """Several of these at once."""
    plan.chance.choice([decaying_start, slow_first_steps, autotuned])(plan)
    plan.chance.choice([heating, stragglers, bucketed, correlated])(plan)
    plan.chance.choice([validated, interrupted, validated_sometimes])(plan)
    plan.slow_start = False


RECIPES: dict[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        steady,
        correlated,
        stragglers,
        bucketed,
        decaying_start,
        slow_first_steps,
        compiled,
        autotuned,
        heating,
        growing,
        staircase,
        lengthening,
        steep,
        sorted_in_epoch,
        validated,
        validated_sometimes,
        interrupted,
        cold_cache,
        accumulating,
        resumed,
        iterable,
        timed,
        one_epoch,
        unknown,
        mixed,
    )
}


def make(kind: str, seed: int, wide: bool = False) -> MadeRun:
    """Make a run of a kind.

    Args:
        kind: Name of its recipe.
        seed: The same gives the same run.
        wide: Draw parameters from wider ranges.
    """
    chance = random.Random(f"{kind} {seed}")
    epochs = chance.randint(3, 40 if wide else 25)
    if kind == "accumulating":
        epoch_steps = chance.randint(15, 120)
        step_s = math.exp(chance.uniform(math.log(2.0), math.log(20.0)))
    else:
        epoch_steps = int(math.exp(chance.uniform(math.log(100), math.log(1500))))
        epoch_s = math.exp(chance.uniform(math.log(20.0 if wide else 40.0), math.log(900.0)))
        step_s = epoch_s / epoch_steps
    total = epochs * epoch_steps
    power_w = math.exp(chance.uniform(math.log(60), math.log(4000)))
    plan = Plan(chance, wide, epochs, epoch_steps, step_s, power_w, *_noise(chance, total, step_s))
    RECIPES[kind](plan)
    seconds, watts = [step_s * f for f in plan.slow], [power_w * f for f in plan.hot]
    first = plan.first_step
    startup = (chance.uniform(1.0, 60.0), power_w * chance.uniform(0.2, 0.5))
    run = MadeRun(
        kind,
        seconds[first:],
        watts[first:],
        plan.epoch_steps,
        plan.epochs,
        chance,
        plan.between,
        first,
        startup,
        plan.tells,
        plan.cold_first_epoch,
        plan.slow_start,
    )
    return _cut(run) if plan.tells == "time" else run


def _cut(run: MadeRun) -> MadeRun:
    """End a run in its last third, at the step with which its time is over."""
    limit_s = run.duration_s * run.jitter.uniform(0.67, 1.0)
    now = run.startup[0]
    for count, seconds in enumerate(run.seconds, start=1):
        now += seconds + sum(s for _, s, _ in run.between.get(count, ()))
        if now >= limit_s:
            break
    run.seconds, run.watts = run.seconds[:count], run.watts[:count]
    run.between = {step: phases for step, phases in run.between.items() if step <= count}
    run.__post_init__()
    return run


def _noise(chance: random.Random, total: int, step_s: float) -> tuple[list[float], list[float]]:
    """Return what scatters in every run: durations of steps, and power in slow waves."""
    spread = math.exp(chance.uniform(math.log(0.005), math.log(0.08)))
    if chance.random() < 0.5:
        shape = 1 / spread**2
        slow = [chance.gammavariate(shape, 1 / shape) for _ in range(total)]
    else:
        slow = [chance.lognormvariate(-spread * spread / 2, spread) for _ in range(total)]
    wave, period_s = chance.uniform(0.0, 0.015), math.exp(chance.uniform(math.log(5.0), math.log(100.0)))
    memory, state, hot = math.exp(-step_s / period_s), chance.gauss(0, 1), []
    kick = math.sqrt(1 - memory * memory)
    for _ in range(total):
        state = memory * state + kick * chance.gauss(0, 1)
        hot.append(max(0.3, 1 + wave * state + chance.uniform(-0.01, 0.01)))
    return slow, hot
