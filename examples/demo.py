"""Run the four examples one after another and compare what they drew, what they emitted and what was forecast.

Everything is read back from the TensorBoard event files that the frameworks wrote under ``./demo-runs``::

    python examples/demo.py             # about two minutes on two CPU cores
    python examples/demo.py --quick     # about one minute, with a coarser forecast
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from wattloop.meters.base import MeterUnavailable
from wattloop.meters.modelled import ModelledCpuMeter
from wattloop.meters.nvml import NvmlMeter
from wattloop.meters.rapl import RaplMeter
from wattloop.units import format_co2e, format_energy

EXAMPLES = Path(__file__).parent
RUNS = Path("demo-runs")
LOG_TAIL = 25


@dataclass(frozen=True)
class Example:
    """One script of this folder and how long it trains."""

    framework: str
    module: str
    folder: str
    epochs: int
    arguments: dict[str, int]


@dataclass(frozen=True)
class Result:
    """What one run's event files say."""

    framework: str
    kwh: float
    kg_co2e: float
    measured_fraction: float
    forecast_kwh: float
    forecast_kwh_low: float
    forecast_kwh_high: float


def examples(quick: bool) -> tuple[Example, ...]:
    """List the examples, each with its training cut short if `quick`."""
    epochs = 5 if quick else 20
    return (
        Example("PyTorch Lightning", "lightning_digits", "lightning", epochs, {"epochs": epochs}),
        Example("Keras", "keras_digits", "keras", epochs, {"epochs": epochs}),
        Example("Hugging Face Trainer", "transformers_pydoc", "transformers", 1, {"max_steps": 60 if quick else -1}),
        Example("plain PyTorch loop", "loop_digits", "loop", epochs, {"epochs": epochs}),
    )


def train(example: Example) -> None:
    """Run one example in its own process, its chatter in ``output.log``.

    Raises:
        SystemExit: The example failed; the message is the log's tail.
    """
    folder = RUNS / example.folder
    folder.mkdir(parents=True)
    log = folder / "output.log"
    call = f"import {example.module}; {example.module}.main({str(folder)!r}, **{example.arguments!r})"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(EXAMPLES.resolve()), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # models this small only lose time to more threads
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),  # Trainer's default holds date and host name
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as output:
        done = subprocess.run([sys.executable, "-c", call], env=environment, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        tail = log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        raise SystemExit("\n".join([f"failed; the end of {log} says:", "", *tail]))


def read_back(example: Example) -> Result:
    """Read a run's numbers from its event files; its forecast is the first one made after the first epoch.

    Raises:
        SystemExit: The event files hold no energy.
    """
    energy = scalars(example, "energy/kwh")
    if not energy:
        raise SystemExit(f"the event files under {RUNS / example.folder} hold no energy/kwh")
    first_epoch_end = int((energy[-1].step + 1) / example.epochs) - 1 if example.epochs > 1 else 0
    forecast, low, high = next(
        (
            (value.value, low.value, high.value)
            for value, low, high in zip(
                *(scalars(example, f"forecast/{name}") for name in ("kwh", "kwh_low", "kwh_high")), strict=True
            )
            if value.step >= first_epoch_end and math.isfinite(value.value)
        ),
        (math.nan, math.nan, math.nan),
    )
    return Result(
        framework=example.framework,
        kwh=energy[-1].value,
        kg_co2e=scalars(example, "emissions/kg_co2e")[-1].value,
        measured_fraction=scalars(example, "energy/measured_fraction")[-1].value,
        forecast_kwh=forecast,
        forecast_kwh_low=low,
        forecast_kwh_high=high,
    )


def scalars(example: Example, key: str) -> list[ScalarEvent]:
    """Return one key's values in the order of their steps; the Trainer files them under ``train/``."""
    found: list[ScalarEvent] = []
    for folder in {file.parent for file in (RUNS / example.folder).rglob("events.out.tfevents.*")}:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        for tag in {key, f"train/{key}"} & set(events.Tags()["scalars"]):
            found += events.Scalars(tag)
    return sorted(found, key=lambda event: (event.step, event.wall_time))


def table(results: list[Result]) -> str:
    """Lay the results out as plain text."""
    rows = [["framework", "energy", "CO2e", "measured", "forecast after epoch 1*", "off by"]]
    for result in results:
        if math.isfinite(result.forecast_kwh):
            interval = f"{format_energy(result.forecast_kwh_low)} to {format_energy(result.forecast_kwh_high)}"
            forecast = f"{format_energy(result.forecast_kwh)} ({interval})"
            error = f"{result.forecast_kwh / result.kwh - 1:+.1%}"
        else:
            forecast, error = "none was made", ""
        rows.append(
            [
                result.framework,
                format_energy(result.kwh),
                format_co2e(result.kg_co2e).removesuffix(" CO2e"),
                f"{result.measured_fraction:.0%}",
                forecast,
                error,
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "  ".join("-" * width for width in widths)
    note = "* energy of the whole run and its 90 % interval; in the one-epoch Trainer run, the first forecast made"
    return "\n".join([lines[0], rule, *lines[1:], "", note])


def explanation(results: list[Result]) -> Iterator[str]:
    """Say in words what the share that was measured means on this machine."""
    missing = []
    for open_meter in (NvmlMeter, RaplMeter):
        try:
            open_meter().close()
        except MeterUnavailable as reason:
            missing.append(f"  - {reason}")
    if any(result.measured_fraction > 0 for result in results):
        if all(result.measured_fraction == 1 for result in results):
            yield "All of this energy was measured by the hardware itself."
        else:
            yield "Where a counter fell silent, its last known power stood in: that share is not called measured."
        if missing:
            yield "What the hardware does not measure is not in these figures:"
            yield from missing
        return
    model = ModelledCpuMeter()
    power = f"{model.tdp_w:.0f} W, " + (model.cpu_name if model.known else "a guess: this CPU is not in the table")
    yield "Nothing could be measured on this machine, so all figures are estimates: the share of its CPU time that each"
    yield f"run used, times the power that the CPU is designed for ({power})."
    yield "They may well be off by half or more. Why nothing was measured:"
    yield from missing
    yield "They become measurements on a machine with an NVIDIA GPU and its driver, or on a Linux machine that lets you"
    yield "read its CPU's energy counters (RAPL, in /sys/class/powercap)."


def main() -> None:
    """Train, read back, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="train for a few epochs only")
    chosen = examples(parser.parse_args().quick)

    shutil.rmtree(RUNS, ignore_errors=True)
    print(f"Training with {len(chosen)} frameworks, one after another. Their output goes to {RUNS}/*/output.log")
    for number, example in enumerate(chosen, 1):
        print(f"  {number}/{len(chosen)} {example.framework} ... ", end="", flush=True)
        start = time.monotonic()
        train(example)
        print(f"{time.monotonic() - start:.0f} s")

    results = [read_back(example) for example in chosen]
    print("", table(results), "", *explanation(results), sep="\n")

    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    print(
        "", "Every number of every step is in TensorBoard:", f"  {python} -m tensorboard.main --logdir {RUNS}", sep="\n"
    )


if __name__ == "__main__":
    main()
