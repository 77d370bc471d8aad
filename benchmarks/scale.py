"""What measuring costs beside the training: the share of a core, calls to the driver, memory, start and stop.

Run it where wattloop is installed, with ``nvidia-ml-py`` and a C compiler::

    python benchmarks/scale.py [--json FILE] [--only share memory life] [--seconds 60]

It takes some three minutes. Everything is measured in fresh processes, on a fake NVML that answers at once: of a real
driver, a call's own time comes on top, so calls per second are given too.

* **Share**: CPU time of the sampler's thread by its own clock over `--seconds`, after the first ten (in which it learns
  the counters' rhythm, and which are given apart), while the training thread sleeps. All machines are measured side by
  side: each is busy for less than a hundredth of the time.
* **Memory**: what is held above what was there before wattloop was imported: resident memory, its peak by the kernel's
  high-water mark, in bare Python and where torch is imported already, which needs much of the same; and Python's own
  by tracemalloc. Each in its own process, over some seconds of training; `tests/test_scale.py` tells of weeks.
* **Life**: until `Run.start` and `Run.finish` return. Cold is the first in its process; "after imports" has imported
  before what it needs. The median of fresh processes, and of many in one where warm.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from figures import save

REPETITIONS = 7
LEARNING_S = 10.0
TRAINING_S = 12.0
COUNTER = "profile=constant:300;refresh_s="
POWER_ONLY = "profile=constant:300;error.total_energy=3;error.field_83=3"
MACHINES = {
    "1 GPU, counter of 100 ms": f"devices=1;{COUNTER}0.1",
    "8 GPUs, counter of 100 ms": f"devices=8;{COUNTER}0.1",
    "16 GPUs, counter of 100 ms": f"devices=16;{COUNTER}0.1",
    "1 GPU, counter of 20 ms": f"devices=1;{COUNTER}0.02",
    "8 GPUs, counter of 20 ms": f"devices=8;{COUNTER}0.02",
    "16 GPUs, counter of 20 ms": f"devices=16;{COUNTER}0.02",
    "1 GPU, power at 10 Hz": f"devices=1;{POWER_ONLY}",
    "8 GPUs, power at 10 Hz": f"devices=8;{POWER_ONLY}",
    "16 GPUs, power at 10 Hz": f"devices=16;{POWER_ONLY}",
}


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    unit: str
    aim: float | None = None


# -- share of a core ---------------------------------------------------------------------------------------------------


def share(seconds: float) -> Iterator[Row]:
    with ThreadPoolExecutor(len(MACHINES)) as side_by_side:
        for what, found in side_by_side.map(
            lambda each: (each[0], in_child("one_share", each[1], seconds)), MACHINES.items()
        ):
            aim = 0.05 if "8 GPUs, counter" in what else None
            yield Row(f"sampler, {what}", 100 * found["steady"]["share"], "% of a core", aim)
            yield Row("  all threads", 100 * found["steady"]["process"], "% of a core")
            yield Row("  in the first ten seconds", 100 * found["learning"]["share"], "% of a core")
            yield Row("  calls", found["steady"]["calls"], "a second")
            yield Row("  calls in the first ten seconds", found["learning"]["calls"], "a second")


def one_share(seconds: float) -> dict[str, dict[str, float]]:
    from wattloop import Run

    run = Run(region="FR", log_dir=tempfile.mkdtemp(), total_steps=10**9)
    run.start(framework="none")
    run.enter_phase("train")
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "wattloop-sampler"]
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    fake = ctypes.CDLL("libnvidia-ml.so.1")
    # A field is counted beside the call that asks for it.
    calls_made = partial(sum_of_calls, fake.fake_calls)
    found = {}
    for window, length_s in (("learning", LEARNING_S), ("steady", seconds)):
        begin = time.monotonic(), time.clock_gettime(clock), time.process_time(), calls_made()
        steps_until(run, begin[0] + length_s)
        end = time.monotonic(), time.clock_gettime(clock), time.process_time(), calls_made()
        took_s, sampler_s, process_s, calls = (after - before for before, after in zip(begin, end, strict=True))
        found[window] = {"share": sampler_s / took_s, "process": process_s / took_s, "calls": calls / took_s}
    run.finish()
    return found


def sum_of_calls(count: Callable[[bytes], int]) -> int:
    return count(b"all") - sum(count(name) for name in (b"field_83", b"field_185", b"field_186"))


def steps_until(run: Any, end_s: float) -> None:
    """Train at a step a second."""
    while (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(1.0, left_s))
        if run.step() and run.should_log:
            run.metrics()


# -- memory ------------------------------------------------------------------------------------------------------------


def memory() -> Iterator[Row]:
    children = {
        "one_resident": "resident",
        "one_resident_beside_torch": "resident beside torch",
        "one_traced": "traced",
    }
    parts = [(child, count) for count in (1, 8) for child in children] * 5
    with ThreadPoolExecutor(10) as side_by_side:
        found = [*side_by_side.map(lambda part: in_child(part[0], f"devices={part[1]};{COUNTER}0.02"), parts)]
    for part in dict.fromkeys(parts):
        some = [one for one, of in zip(found, parts, strict=True) if of == part]
        for when in some[0]:
            what = f"{children[part[0]]}, {when}, {part[1]} GPU{'s' * (part[1] > 1)}"
            yield Row(what, median(one[when] for one in some), "MB", 5.0 if when == "peak" else None)


def one_resident() -> dict[str, float]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the high-water mark
    before = resident("VmRSS")
    found = trained(lambda: resident("VmRSS") - before)
    return found | {"peak": resident("VmHWM") - before}


def one_resident_beside_torch() -> dict[str, float]:
    try:
        import torch
    except ImportError:
        return {}
    assert torch
    return one_resident()


def resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def one_traced() -> dict[str, float]:
    tracemalloc.start()
    found = trained(lambda: tracemalloc.get_traced_memory()[0] / 1e6)
    return found | {"peak": tracemalloc.get_traced_memory()[1] / 1e6}


def trained(held_mb: Callable[[], float]) -> dict[str, float]:
    from wattloop import Run

    found = {"imported": held_mb()}
    run = Run(region="FR", log_dir=tempfile.mkdtemp(), total_steps=10**9)
    run.start(framework="none")
    found["started"] = held_mb()
    run.enter_phase("train")
    steps_until(run, time.monotonic() + TRAINING_S)
    run.epoch_end()
    run.finish()
    gc.collect()
    return found | {"after": held_mb()}


# -- start and stop ----------------------------------------------------------------------------------------------------


def life() -> Iterator[Row]:
    machines = {f"{count} GPU{'s' * (count > 1)}": f"devices={count};{COUNTER}0.02" for count in (1, 8, 16)}
    machines["8 GPUs, a driver that wakes up in 0.5 s"] = f"{machines['8 GPUs']};latency.init=0.5"
    for what, config in machines.items():
        lives = [in_child("one_life", config) | in_child("one_life_cold", config) for _ in range(REPETITIONS)]
        for part in lives[0]:
            aim = {"start, cold": 20.0, "start, warm": 20.0, "finish, cold": 10.0, "finish, warm": 10.0}.get(part)
            yield Row(f"{part}, {what}", median(one[part] for one in lives), "ms", aim)


def one_life_cold() -> dict[str, float]:
    """Time a start that has to import what it needs."""
    from wattloop import Run

    run = Run(region="FR", log_dir=tempfile.mkdtemp())
    begin_s = time.perf_counter()
    run.start(framework="none")
    found = {"start, cold, imports included": (time.perf_counter() - begin_s) * 1e3}
    run.finish()
    return found


def one_life() -> dict[str, float]:
    import psutil
    import pynvml

    import wattloop.meters.modelled
    import wattloop.meters.nvml
    import wattloop.meters.rapl
    from wattloop import Run

    assert psutil and pynvml and wattloop
    times: dict[str, list[float]] = {}
    for heat in ["cold"] + ["warm"] * REPETITIONS:
        run = Run(region="FR", log_dir=tempfile.mkdtemp())
        for what, call in (("start", partial(run.start, framework="none")), ("finish", run.finish)):
            begin_s = time.perf_counter()
            call()
            times.setdefault(f"{what}, {heat}", []).append((time.perf_counter() - begin_s) * 1e3)
            time.sleep(0.1)
    return {what: median(some) for what, some in times.items()}


# -- the table ---------------------------------------------------------------------------------------------------------


PARTS = {"share": share, "memory": memory, "life": life}
CHILDREN = {
    child.__name__: child
    for child in (one_share, one_resident, one_resident_beside_torch, one_traced, one_life, one_life_cold)
}


def in_child(child: str, config: str, *arguments: float) -> dict[str, Any]:
    """Run a function in a process of its own, on fake GPUs, and return what it found."""
    command = [sys.executable, __file__, "--child", child, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**fake_environment(config), "TMPDIR": folder}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def fake_environment(config: str) -> dict[str, str]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fakes.nvml import environment

    return environment(config)


def line(row: Row) -> str:
    aim = "" if row.aim is None else f"{row.aim:8g}{'  missed' if row.value > row.aim else ''}"
    return f"{row.what:60}{row.value:10.3f} {row.unit:12}{aim}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], help="measure these parts")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the window of the share")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        logging.disable(logging.WARNING)
        print(json.dumps(CHILDREN[options.child[0]](*map(float, options.child[1:]))))
        return
    print(f"{'':60}{'median':>10} {'':12}{'aim':>8}")
    rows: list[Row] = []
    for part in options.only:
        for row in PARTS[part](*[options.seconds] if part == "share" else []):
            print(line(row), flush=True)
            rows.append(row)
    save(options.json, rows)


if __name__ == "__main__":
    main()
