"""On a real NVIDIA GPU: what a run reports against the driver's own counter and nvidia-smi, and how the driver behaves.

It is skipped where none answers. Where one does, ``python -m pytest -m gpu tests/gpu`` also prints a table of what the
documentation says of refresh periods and call times. Under load where torch has CUDA, else idle.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import pynvml
import pytest

from wattloop.meters.gate import COUNTERS, POWERS, Failed, Gate, Handle, first
from wattloop.meters.nvml import NvmlMeter
from wattloop.run import Run
from wattloop.units import J_PER_KWH

pytestmark = pytest.mark.gpu

RUN_S = 8.0
WARM_UP_S = 2.0
WATCH_S = 3.0
CALLS = 1000
NVIDIA_SMI_ERROR = 0.15


@dataclass
class Boards:
    """The boards that a run here measures, and their counters as the driver shows them."""

    gate: Gate
    handles: dict[str, Handle]

    def counters_j(self) -> dict[str, float]:
        return {uuid: first(self.gate, handle, COUNTERS)[1] for uuid, handle in self.handles.items()}


@pytest.fixture(scope="module")
def boards() -> Iterator[Boards]:
    """Without torch and without the fake of the other tests."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError) as error:
        pytest.skip(f"no NVIDIA GPU answers here: {error}")
    try:
        if hasattr(pynvml.nvmlLib, "fake_reset"):
            pytest.skip("no NVIDIA GPU answers here: the NVML library is a fake")
        gate = Gate(pynvml)
        yield Boards(gate, {uuid: gate("nvmlDeviceGetHandleByUUID", uuid) for uuid in measured_boards()})
    finally:
        pynvml.nvmlShutdown()


def measured_boards() -> list[str]:
    try:
        meter = NvmlMeter()
    except Exception as error:
        pytest.skip(f"no NVIDIA GPU can be measured here: {error}")
    with contextlib.closing(meter):
        return [reading.channel for reading in meter.read()]


@pytest.fixture(scope="module")
def load(boards: Boards) -> Iterator[str]:
    """Keep every GPU busy that torch can use; say what was done."""
    try:
        import torch
    except ImportError:
        yield "idle"
        return
    if not torch.cuda.is_available():
        yield "idle"
        return
    done = threading.Event()

    def work(device: int) -> None:
        left = torch.randn(8192, 8192, device=f"cuda:{device}", dtype=torch.bfloat16)
        while not done.is_set():
            for _ in range(10):
                left @ left
            torch.cuda.synchronize(device)

    workers = [threading.Thread(target=work, args=(device,)) for device in range(torch.cuda.device_count())]
    for worker in workers:
        worker.start()
    time.sleep(WARM_UP_S)
    yield f"bfloat16 matmul on {len(workers)}"
    done.set()
    for worker in workers:
        worker.join()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Sequence[Sequence[object]]], None]:
    """Print a Markdown table past pytest's capturing."""

    def say(title: str, rows: Sequence[Sequence[object]]) -> None:
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        with capsys.disabled():
            sys.stdout.write("\n".join(["", title, "", *lines, ""]))

    return say


# -- a run against the driver's own figures ----------------------------------------------------------------------------


class CounterLog(threading.Thread):
    """Polls the counters beside a run, and remembers when they moved: between two edges, energy is interpolated."""

    def __init__(self, boards: Boards) -> None:
        super().__init__(daemon=True)
        self._boards = boards
        self._done = threading.Event()
        self._edges: dict[str, list[tuple[float, float]]] = {uuid: [] for uuid in boards.handles}

    def run(self) -> None:
        before, before_s = self._boards.counters_j(), time.monotonic()
        while not self._done.wait(0.001):
            now, now_s = self._boards.counters_j(), time.monotonic()
            for uuid, counter_j in now.items():
                if counter_j != before[uuid]:
                    self._edges[uuid].append(((before_s + now_s) / 2, counter_j))
            before, before_s = now, now_s

    def __enter__(self) -> CounterLog:
        self.start()
        self._wait_for_edges()
        return self

    def __exit__(self, *error: object) -> None:
        self._wait_for_edges()
        self._done.set()
        self.join()

    def _wait_for_edges(self) -> None:
        """Wait until each counter has moved twice, so that what lies before is between two edges."""
        seen = {uuid: len(edges) for uuid, edges in self._edges.items()}
        end_s = time.monotonic() + 5.0
        while any(len(self._edges[uuid]) < count + 2 for uuid, count in seen.items()):
            assert time.monotonic() < end_s, "a counter stands still"
            time.sleep(0.005)

    def energy_j(self, start_s: float, end_s: float) -> float:
        return sum(at(edges, end_s) - at(edges, start_s) for edges in self._edges.values())

    def bounds_j(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return what was drawn between the edges inside the window, and between those around it."""
        low_j = high_j = 0.0
        for edges in self._edges.values():
            begin, end = (bisect.bisect(edges, (moment_s,)) for moment_s in (start_s, end_s))
            low_j += max(0.0, edges[end - 1][1] - edges[begin][1])
            high_j += edges[end][1] - edges[begin - 1][1]
        return low_j, high_j


def at(edges: list[tuple[float, float]], moment_s: float) -> float:
    """Return a counter's energy at a moment between two edges."""
    after = bisect.bisect(edges, (moment_s,))
    (begin_s, begin_j), (end_s, end_j) = edges[after - 1], edges[after]
    return begin_j + (end_j - begin_j) * (moment_s - begin_s) / (end_s - begin_s)


class NvidiaSmi:
    """Mean power of some boards together by nvidia-smi, over the time of a block; None where it tells nothing."""

    mean_w: float | None = None

    def __init__(self, uuids: Sequence[str]) -> None:
        self._boards = len(uuids)
        query = "--query-gpu=power.draw --format=csv,noheader,nounits -lms 100".split()
        self._command = ["nvidia-smi", f"--id={','.join(uuids)}", *query]

    def __enter__(self) -> NvidiaSmi:
        self._process = (
            subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True) if shutil.which("nvidia-smi") else None
        )
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        output, _ = self._process.communicate()
        powers_w = []
        for line in output.splitlines():
            with contextlib.suppress(ValueError):  # "[N/A]", or a line that was cut short
                powers_w.append(float(line))
        if len(powers_w) >= 10 * self._boards:
            self.mean_w = self._boards * fmean(powers_w)


def test_a_run_agrees_with_the_counter_and_with_nvidia_smi(
    boards: Boards, load: str, tmp_path: Path, say: Callable[[str, Sequence[Sequence[object]]], None]
) -> None:
    try:
        boards.counters_j()
    except Failed as error:
        pytest.skip(f"there is no energy counter to compare with: {error}")
    run = Run(region="FR", powercap_root=str(tmp_path / "none"))
    with CounterLog(boards) as log, NvidiaSmi([*boards.handles]) as nvidia_smi:
        run.start(framework="test")
        run.enter_phase("train")
        footprint = run._footprint
        assert footprint is not None
        started_s = footprint._start_s
        assert started_s is not None
        end_s = time.monotonic() + RUN_S
        while time.monotonic() < end_s:
            time.sleep(0.1)
            run.step()
        run.finish()
        finished_s = footprint.time_s
    measured_j, uncertainty_j = run.totals.gpu_j, run.uncertainty_kwh * J_PER_KWH
    counter_j, (low_j, high_j) = log.energy_j(started_s, finished_s), log.bounds_j(started_s, finished_s)
    mean_w = measured_j / run.totals.duration_s
    say(
        f"A run of {run.totals.duration_s:.1f} s, {load}",
        [
            ("", "J", "W"),
            ("wattloop", f"{measured_j:.1f} ± {uncertainty_j:.1f}", f"{mean_w:.1f}"),
            ("counter, between edges", f"{counter_j:.1f}", f"{counter_j / run.totals.duration_s:.1f}"),
            ("nvidia-smi, mean", "", "none" if nvidia_smi.mean_w is None else f"{nvidia_smi.mean_w:.1f}"),
        ],
    )
    assert {reading.channel for reading in footprint.channels} == set(boards.handles)
    assert run.totals.measured_fraction == 1
    assert low_j - uncertainty_j <= measured_j <= high_j + uncertainty_j
    assert abs(measured_j - counter_j) <= uncertainty_j
    if nvidia_smi.mean_w is not None:
        assert mean_w == pytest.approx(nvidia_smi.mean_w, rel=NVIDIA_SMI_ERROR)


# -- how the driver behaves --------------------------------------------------------------------------------------------


def test_the_refresh_period_is_found(
    boards: Boards, load: str, say: Callable[[str, Sequence[Sequence[object]]], None]
) -> None:
    try:
        boards.counters_j()
    except Failed as error:
        pytest.skip(f"there is no energy counter to watch: {error}")
    learnt = learnt_periods()
    rows: list[tuple[object, ...]] = [
        ("GPU", "refresh by polling: median, 5 to 95 % (ms)", "by EdgeWatch (ms)", "regular", "looks a second")
    ]
    for uuid, handle in boards.handles.items():
        polled = sorted(polled_periods(boards.gate, handle))
        assert polled, f"the counter of {uuid} stands still"
        low_s, high_s = polled[len(polled) // 20], polled[-1 - len(polled) // 20]
        period_s, regular, looks = learnt[uuid]
        name = boards.gate("nvmlDeviceGetName", handle)
        spread = f"{median(polled) * 1e3:.2f}, {low_s * 1e3:.2f} to {high_s * 1e3:.2f}"
        rows.append((name, spread, f"{period_s * 1e3:.2f}", regular, f"{looks / WATCH_S:.0f}"))
        if regular:
            assert period_s == pytest.approx(median(polled), rel=0.25)
        else:
            # What is not interpolated has to be doubted for as long as it may stand.
            assert period_s >= median(polled)
    say(f"Refresh of the energy counter, {load}", rows)


def learnt_periods() -> dict[str, tuple[float, bool, int]]:
    """Drive a meter as the sampler's thread does; return what it learnt of each board."""
    meter = NvmlMeter()
    with contextlib.closing(meter):
        looks = 0
        mark_s, end_s = 0.0, time.monotonic() + WATCH_S
        while (now_s := time.monotonic()) < end_s:
            if now_s >= mark_s:
                meter.mark(now_s)
                mark_s = now_s + 0.5
            look_s = meter.next_look_s(time.monotonic())
            time.sleep(max(0.0, min(mark_s, look_s or mark_s) - time.monotonic()))
            if look_s is not None and time.monotonic() >= look_s:
                meter.look()
                looks += 1
        return {gpu.uuid: (gpu._watch.period_s, gpu._watch.regular, looks) for gpu in meter._gpus}


def polled_periods(gate: Gate, handle: Handle) -> list[float]:
    """Return the times between the counter's moves, looked for as fast as it answers."""
    source, value = first(gate, handle, COUNTERS)
    moves_s: list[float] = []
    end_s = time.monotonic() + WATCH_S
    while (now_s := time.monotonic()) < end_s:
        if (seen := source(gate, handle)) != value:
            value = seen
            moves_s.append(now_s)
    return [after - before for before, after in itertools.pairwise(moves_s)]


def test_calls_answer_well_within_the_time_that_a_reader_waits(
    boards: Boards, load: str, say: Callable[[str, Sequence[Sequence[object]]], None]
) -> None:
    calls = {
        "nvmlDeviceGetTotalEnergyConsumption": COUNTERS[0],
        "energy, field 83": COUNTERS[1],
        "instant power, field 186": POWERS[0],
        "average power, field 185": POWERS[1],
        "nvmlDeviceGetPowerUsage": POWERS[2],
    }
    rows: list[tuple[object, ...]] = [("call", "median (us)", "99 % (us)", "longest (us)")]
    handle = next(iter(boards.handles.values()))
    answered = 0
    for name, call in calls.items():
        times_s = []
        try:
            for _ in range(CALLS):
                begin_s = time.perf_counter()
                call(boards.gate, handle)
                times_s.append(time.perf_counter() - begin_s)
        except Failed as error:
            rows.append((name, str(error), "", ""))
            continue
        times_s.sort()
        answered += 1
        quantiles = (median(times_s), times_s[len(times_s) * 99 // 100], times_s[-1])
        rows.append((name, *(f"{time_s * 1e6:.0f}" for time_s in quantiles)))
        assert median(times_s) < 0.05
    say(f"Calls to the driver, {load}", rows)
    assert answered
