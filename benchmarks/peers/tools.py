"""One adapter per tool behind one Protocol: each through its documented API, with its own defaults, GPUs alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

J_PER_KWH = 3.6e6


@dataclass
class Measured:
    """What a tool says at its end.

    Attributes:
        energy_j: Energy of the GPUs over the whole run, in joules; None where it gives no figure.
        epochs_j: The same for each epoch; empty where it gives none.
        uncertainty_j: Half-width of the interval it states for `energy_j`; None where it states none.
        settled: Returns what it says a moment later; None where that is the same.
    """

    energy_j: float | None
    epochs_j: list[float] = field(default_factory=list)
    uncertainty_j: float | None = None
    settled: Callable[[], Measured] | None = None


class Tool(Protocol):
    """A tool in a training loop; made when it is imported, and used once.

    Attributes:
        has_steps: `step` is a call into the tool.
        imported: The statement a user begins with.
    """

    has_steps: bool
    imported: ClassVar[str]

    def start(self, epochs: int) -> None: ...

    def epoch_start(self) -> None: ...

    def step(self) -> None: ...

    def epoch_end(self) -> None: ...

    def stop(self) -> Measured: ...


class Nothing:
    """The empty loop that the others are compared with."""

    has_steps = False
    imported = "pass"

    def start(self, epochs: int) -> None:
        pass

    def epoch_start(self) -> None:
        pass

    def step(self) -> None:
        pass

    def epoch_end(self) -> None:
        pass

    def stop(self) -> Measured:
        return Measured(None)


class Wattloop:
    """`wattloop.track`, driven as its iterators do: a phase around the steps, a row made every 50 of them."""

    has_steps = True
    imported = "from wattloop import track"

    def __init__(self, **options: Any) -> None:
        from wattloop import track

        self._track, self._options = track, options
        self._folder = tempfile.mkdtemp()

    def start(self, epochs: int) -> None:
        # An empty powercap tree: no CPU is counted, as in the other tools' figures.
        tree = tempfile.mkdtemp()
        options = {"region": "FR", "log_dir": self._folder, "powercap_root": tree, **self._options}
        self._run = self._track(lambda *row: None, total_epochs=epochs, **options)
        self._run.__enter__()

    def epoch_start(self) -> None:
        self._run.enter_phase("train")

    def step(self) -> None:
        if self._run.step() and self._run.should_log:
            self._run.metrics()

    def epoch_end(self) -> None:
        self._run.enter_phase("other")
        self._run.epoch_end()

    def stop(self) -> Measured:
        self._run.__exit__(None, None, None)
        return Measured(None, settled=self._recorded)

    def _recorded(self) -> Measured:
        from wattloop import journal

        self._run.settle()
        (path,) = Path(self._folder).glob("*.jsonl")
        epochs_j = [record.spent.gpu_j for record in journal.read(path) if isinstance(record, journal.Epoch)]
        return Measured(self._run.totals.gpu_j, epochs_j, self._run.uncertainty_kwh * J_PER_KWH)


class Codecarbon:
    """`OfflineEmissionsTracker`: `start` and `stop` for a run in one piece, a task for each of several epochs.

    Its figure is `gpu_energy` of the returned `EmissionsData`; its default also models CPU and RAM, at its own cost.
    """

    has_steps = False
    imported = "from codecarbon import OfflineEmissionsTracker"

    def __init__(self, **options: Any) -> None:
        from codecarbon import OfflineEmissionsTracker

        self._tracker_class, self._options = OfflineEmissionsTracker, options
        self._epochs_j: list[float] = []

    def start(self, epochs: int) -> None:
        quiet = {"output_methods": [], "log_level": "error", "allow_multiple_runs": True}
        self._tracker = self._tracker_class(country_iso_code="FRA", **quiet, **self._options)
        self._tasks = epochs > 1
        if not self._tasks:
            self._tracker.start()

    def epoch_start(self) -> None:
        if self._tasks:
            self._tracker.start_task(f"epoch {len(self._epochs_j)}")

    def step(self) -> None:
        pass

    def epoch_end(self) -> None:
        if self._tasks:
            self._epochs_j.append(self._tracker.stop_task().gpu_energy * J_PER_KWH)

    def stop(self) -> Measured:
        self._tracker.stop()
        if self._tasks:
            return Measured(sum(self._epochs_j), self._epochs_j)
        # It has none after an error, which it logs and swallows.
        data = getattr(self._tracker, "final_emissions_data", None)
        return Measured(None if data is None else data.gpu_energy * J_PER_KWH)


class Carbontracker:
    """`CarbonTracker` of GPUs; its own parser reads the figures back from its log, and its PUE is taken out."""

    has_steps = False
    imported = "from carbontracker.tracker import CarbonTracker"

    def __init__(self, **options: Any) -> None:
        from carbontracker import constants, parser
        from carbontracker.tracker import CarbonTracker

        self._tracker_class, self._options = CarbonTracker, options
        self._pue, self._parse = constants.PUE_2023, parser.parse_all_logs
        self._log_dir = tempfile.mkdtemp()

    def start(self, epochs: int) -> None:
        quiet = {"components": "gpu", "log_dir": self._log_dir, "verbose": 0}
        self._tracker = self._tracker_class(epochs=epochs, **quiet, **self._options)

    def epoch_start(self) -> None:
        self._tracker.epoch_start()

    def step(self) -> None:
        pass

    def epoch_end(self) -> None:
        self._tracker.epoch_end()

    def stop(self) -> Measured:
        self._tracker.stop()
        log = self._parse(self._log_dir)[-1]
        if log["actual"] is None:
            return Measured(None)
        # Watts per epoch, or per epoch and device, times seconds.
        epochs = log["components"].get("gpu", {}).get("avg_energy_usages (J)")
        epochs_j = [] if epochs is None else [float(sum(_flat(epoch))) for epoch in epochs]
        return Measured(log["actual"]["energy (kWh)"] * J_PER_KWH / self._pue, epochs_j)


def _flat(value: Any) -> list[float]:
    return [float(one) for one in value] if hasattr(value, "__iter__") else [float(value)]


class Zeus:
    """`ZeusMonitor`: a window for the run, one for each of several epochs, and, if asked for, one for each step.

    There is no computation on the fake GPUs to wait for, so execution is not synchronised.
    """

    imported = "from zeus.monitor import ZeusMonitor"

    def __init__(self, step_windows: bool = False, **options: Any) -> None:
        from zeus.monitor import ZeusMonitor

        self._monitor_class, self._options = ZeusMonitor, options
        self.has_steps = step_windows
        self._epochs_j: list[float] = []

    def start(self, epochs: int) -> None:
        self._monitor = self._monitor_class(cpu_indices=[], **self._options)
        self._begin, self._end = (
            partial(call, sync_execution=False) for call in (self._monitor.begin_window, self._monitor.end_window)
        )
        self._epochs = epochs > 1
        self._begin("run")

    def epoch_start(self) -> None:
        if self._epochs:
            self._begin("epoch")

    def step(self) -> None:
        if self.has_steps:
            self._begin("step")
            self._end("step")

    def epoch_end(self) -> None:
        if self._epochs:
            self._epochs_j.append(sum(self._end("epoch").gpu_energy.values()))

    def stop(self) -> Measured:
        return Measured(sum(self._end("run").gpu_energy.values()), self._epochs_j)


TOOLS: dict[str, partial[Tool]] = {
    "nothing": partial(Nothing),
    "wattloop": partial(Wattloop),
    "codecarbon": partial(Codecarbon),
    "carbontracker": partial(Carbontracker),
    "zeus": partial(Zeus),
}
"""With their own sampling intervals, the empty loop first."""

FINER: dict[str, partial[Tool]] = {
    "wattloop, 0.1 s": partial(Wattloop, interval_s=0.1),
    "codecarbon, 1 s": partial(Codecarbon, measure_power_secs=1),
    "carbontracker, 0.1 s, ignore_errors": partial(Carbontracker, update_interval=0.1, ignore_errors=True),
    "zeus, a window per step": partial(Zeus, step_windows=True),
}
"""The same, with settings that ask for more."""

DISTRIBUTIONS = ("wattloop", "codecarbon", "carbontracker", "zeus", "nvidia-ml-py")


def nvidia_smi() -> str:
    """Make a folder for ``PATH`` with a program named ``nvidia-smi`` that does nothing, successfully.

    codecarbon asks it whether there is an NVIDIA GPU; all that it measures comes from NVML.
    """
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "nvidia-smi")
    with open(path, "w") as script:
        script.write("#!/bin/sh\nexit 0\n")
    os.chmod(path, 0o755)
    return folder
