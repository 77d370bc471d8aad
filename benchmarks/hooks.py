"""What wattloop costs: per step, per import, per start and stop, each beside a baseline of the same minute.

Run it with ``python -m tox run -e bench``, or, where wattloop and the frameworks are installed, with::

    python benchmarks/hooks.py [--json FILE] [--only plain lightning transformers keras imports life]

It takes some five minutes, most of them to import the frameworks again and again.

* **Hooks**: ours against one that does nothing, through the framework's own dispatcher, 20,000 calls a repetition,
  while a run is measured on a fake GPU. Rows are what is logged every 50 steps, spread over all steps. What
  TensorBoard takes for a row differs twofold from one fit to the next: compare with as many constants, logged as often.
* **Imports**: fresh processes with warm bytecode, over bare Python or over the framework. Importing a framework varies
  by more than we add, so "within" times what we add from inside the process.
* **Start and stop**: until `Run.start` and `Run.finish` return; cold is the first in its process. The fake NVML answers
  at once: what a real driver takes to wake up comes on top.

All are medians. Baseline and ours take turns; "added" is the median of the differences between neighbours. CPU is what
is added in user + system time, over all threads: other programs on the machine disturb it less. GC is on.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from figures import save

CALLS = 20_000
REPETITIONS = 9
NEVER = 10**9
PACKAGES = ("lightning", "transformers", "keras", "torch", "tensorboard", "nvidia-ml-py", "msgspec")

Calls = Callable[[], object]
Times = tuple[float, float]
"""Wall and CPU time, in seconds."""


@dataclass(frozen=True)
class Row:
    what: str
    unit: str
    aim: float | None
    baseline: float | None
    ours: float
    added: float
    added_cpu: float


def compared(what: str, unit: str, scale: float, aim: float | None, pairs: list[tuple[Times, Times]]) -> Row:
    """Make a row of neighbours, baseline before ours."""
    baseline, ours = (median(side[0] for side in sides) * scale for sides in zip(*pairs, strict=True))
    added, added_cpu = (median(after[i] - before[i] for before, after in pairs) * scale for i in (0, 1))
    return Row(what, unit, aim, baseline, ours, added, added_cpu)


def alone(what: str, aim: float | None, times: list[Times]) -> Row:
    wall, cpu = (median(values) * 1e3 for values in zip(*times, strict=True))
    return Row(what, "ms", aim, None, wall, wall, cpu)


def timed(calls: Calls) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    calls()
    return time.perf_counter() - wall, time.process_time() - cpu


# -- hooks -------------------------------------------------------------------------------------------------------------


def hook(what: str, baseline: Calls, ours: Calls, aim: float | None = 2.0) -> Row:
    """Compare two functions that make `CALLS` calls each."""
    pairs = [(timed(baseline), timed(ours)) for _ in range(REPETITIONS + 1)]
    return compared(what, "us", 1e6 / CALLS, aim, pairs[1:])


def repeated(call: Callable[[int], object]) -> Calls:
    def calls() -> None:
        for index in range(CALLS):
            call(index)

    return calls


def plain() -> Iterator[Row]:
    from wattloop import track

    class NoOp:
        def step(self, n: int = 1) -> bool:
            return False

    none, exhaust, batches = NoOp(), partial(collections.deque, maxlen=0), range(CALLS)
    with track(region="FR", log_every_n_steps=NEVER) as run:
        yield hook("plain: run.step()", repeated(lambda _: none.step()), repeated(lambda _: run.step()))
        yield hook("plain: for batch in run.steps()", lambda: exhaust(batches), lambda: exhaust(run.steps(batches)))
    with track(region="FR", log=lambda name, value, step: None) as run:
        yield hook(
            "plain: the same, with rows", lambda: exhaust(batches), lambda: exhaust(run.steps(batches)), aim=None
        )


def lightning() -> Iterator[Row]:
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.demos.boring_classes import BoringModel
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.trainer.call import _call_callback_hooks

    from wattloop.lightning import EmissionsCallback

    class Constants(Callback):
        """Logs as many values as we do, as often, and knows them already."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (batch_idx + 1) % 50 == 0:
                trainer.logger.log_metrics(constants, step=trainer.global_step)

    def fit(what: str, ours: Callback, baseline: Callback, aim: float | None) -> Row:
        rows = []

        class Model(BoringModel):
            def on_train_start(self) -> None:
                rows.append(hook(what, dispatched(self.trainer, baseline), dispatched(self.trainer, ours), aim))
                self.trainer.callbacks = [ours]

        with tempfile.TemporaryDirectory() as folder:
            logger = TensorBoardLogger(folder)
            quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
            Trainer(accelerator="cpu", max_steps=1, callbacks=[ours], logger=logger, **quiet).fit(Model())
        return rows[0]

    def dispatched(trainer: Trainer, callback: Callback) -> Calls:
        calls = repeated(partial(_call_callback_hooks, trainer, "on_train_batch_end", None, None))
        return lambda: (setattr(trainer, "callbacks", [callback]), calls())

    constants = {f"constants/{index}": 1.0 for index in range(15)}
    bare = EmissionsCallback(region="FR", log_every_n_steps=NEVER)
    yield fit("lightning: on_train_batch_end", bare, Callback(), 2.0)
    yield fit("lightning: the same, with rows", EmissionsCallback(region="FR"), Callback(), None)
    yield fit("lightning: rows, over as many constants", EmissionsCallback(region="FR"), Constants(), None)


def transformers() -> Iterator[Row]:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

    from wattloop.transformers import EmissionsCallback

    def dispatched(callback: TrainerCallback) -> Calls:
        handler = CallbackHandler([DefaultFlowCallback(), callback], None, None, None, None)
        handler.on_train_begin(args, state, control)
        return repeated(lambda _: handler.on_step_end(args, state, control))

    with tempfile.TemporaryDirectory() as folder:
        args, state, control = TrainingArguments(folder, use_cpu=True), TrainerState(max_steps=NEVER), TrainerControl()
        # Rows are written by the Trainer's own logging, when it is due anyway.
        ours = EmissionsCallback(region="FR")
        yield hook("transformers: on_step_end", dispatched(TrainerCallback()), dispatched(ours))
        ours.on_train_end(args, state, control)


def keras() -> Iterator[Row]:
    import keras

    from wattloop.keras import EmissionsCallback

    class NoOp(keras.callbacks.Callback):  # one without this hook would have Keras use a pool of threads
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            pass

    def dispatched(callback: keras.callbacks.Callback) -> Calls:
        callbacks = keras.callbacks.CallbackList([callback], epochs=1, steps=NEVER)
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        batches, logs = itertools.count(), {"loss": 1.0}
        return repeated(lambda _: callbacks.on_train_batch_end(next(batches), logs))

    with tempfile.TemporaryDirectory() as folder:
        ours = EmissionsCallback(region="FR", log_every_n_steps=NEVER)
        yield hook("keras: on_train_batch_end", dispatched(NoOp()), dispatched(ours))
        ours.on_train_end()
        ours = EmissionsCallback(region="FR", log_dir=folder)
        yield hook("keras: the same, with rows", dispatched(NoOp()), dispatched(ours), aim=None)
        ours.on_train_end()


# -- imports -----------------------------------------------------------------------------------------------------------


def imports() -> Iterator[Row]:
    for framework, ours in (
        ("pass", "import wattloop"),
        ("pass", "from wattloop import track"),
        ("import torch", "from wattloop import track"),
        ("import lightning.pytorch", "from wattloop.lightning import EmissionsCallback"),
        ("from transformers import Trainer", "from wattloop.transformers import EmissionsCallback"),
        ("import keras", "from wattloop.keras import EmissionsCallback"),
    ):
        # `time` is built in: it costs neither side an import.
        clock = "time.perf_counter(), time.process_time()"
        code = f"{framework}\nimport time\nbefore = {clock}\n{ours}\nprint(*before, {clock})"
        runs = [(fresh(framework), fresh(code)) for _ in range(REPETITIONS + 1)][1:]  # the first writes the bytecode
        yield compared(ours, "ms", 1e3, 30.0, [(base[0], full[0]) for base, full in runs])
        clocks = [map(float, full[1].split()) for _, full in runs]
        yield alone(
            f"  within, after '{framework}'", 30.0, [(end - start, cpu - before) for start, before, end, cpu in clocks]
        )


def fresh(code: str) -> tuple[Times, str]:
    """Run code in a fresh interpreter; return its times, from fork to exit, and its last line."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        to_output = [(os.POSIX_SPAWN_DUP2, output.fileno(), 1)]
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], environment, file_actions=to_output)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - start
        if status:
            raise RuntimeError(f"{code!r} failed")
        output.seek(0)
        return (wall, usage.ru_utime + usage.ru_stime), output.read().strip().rpartition("\n")[2]


# -- start and stop ----------------------------------------------------------------------------------------------------


def life() -> Iterator[Row]:
    lives = {"1 GPU": [], "8 GPUs": []}
    for _, gpus in itertools.product(range(REPETITIONS), lives):
        lives[gpus].append(in_child("one_life", int(gpus.split()[0])))
    for gpus, found in lives.items():
        for what in found[0]:
            yield alone(f"{what}, {gpus}", None, [one[what] for one in found])


def one_life() -> dict[str, Times]:
    from wattloop import Run

    times: dict[str, list[Times]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for heat in ["cold"] + ["warm"] * REPETITIONS:
            times.setdefault(f"create, {heat}", []).append(timed(partial(Run, region="FR")))
            run = Run(region="FR", log_dir=folder)
            times.setdefault(f"start, {heat}", []).append(timed(partial(run.start, framework="none")))
            times.setdefault("refresh", []).append(timed(run.refresh))
            times.setdefault(f"finish, {heat}", []).append(timed(run.finish))
    return {what: tuple(map(median, zip(*some, strict=True))) for what, some in times.items()}


# -- the table ---------------------------------------------------------------------------------------------------------


PARTS = {part.__name__: part for part in (plain, lightning, transformers, keras, imports, life)}


def in_child(part: str, gpus: int = 1) -> Any:
    """Run a part in a process of its own, on fake GPUs, and return what it found."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fakes.nvml import environment

    with tempfile.NamedTemporaryFile("r") as result:
        command = [sys.executable, __file__, "--child", part, "--json", result.name]
        extra = {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "torch")}
        fake = environment(f"devices={gpus};profile=constant:300;refresh_s=0.02", extra)
        subprocess.run(command, env=fake, check=True)
        return json.load(result)


def line(row: Row) -> str:
    numbers = (row.baseline, row.ours, row.added, row.added_cpu)
    cells = "".join("         -" if number is None else f"{number:10.2f}" for number in numbers)
    return f"{row.what:50}{cells} {row.unit:3}" + (f"{row.aim:8.0f}" if row.aim is not None else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], help="measure these parts")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        logging.disable(logging.WARNING)
        found = one_life() if options.child == "one_life" else [asdict(row) for row in PARTS[options.child]()]
        options.json.write_text(json.dumps(found))
        return
    print(f"{'':50}{'baseline':>10}{'ours':>10}{'added':>10}{'CPU':>10}{'aim':>12}")
    rows: list[Row] = []
    for part in options.only:
        found = [*life()] if part == "life" else [Row(**row) for row in in_child(part)]
        print(*map(line, found), sep="\n", flush=True)
        rows += found
    save(options.json, rows, **{name: metadata.version(name) for name in PACKAGES})


if __name__ == "__main__":
    main()
