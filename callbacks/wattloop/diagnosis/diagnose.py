"""Diagnose: open the instruments as a run does, read them for a second, and put together what there is to say."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wattloop import __version__
from wattloop.diagnosis import remedies
from wattloop.diagnosis.findings import Channel, Diagnosis, FoundGpu, Grid, Instrument, Model, Versions
from wattloop.diagnosis.surroundings import Surroundings, extras, frameworks, installed, python, surroundings
from wattloop.grid.regions import resolve, world
from wattloop.meters import LAST_PATIENCE_S, MeterOptions, Refusal, open_meters
from wattloop.meters.base import Meter, Reading
from wattloop.meters.gpu import Gpu
from wattloop.meters.modelled import design_power
from wattloop.meters.nvml import NvmlMeter, Survey
from wattloop.meters.opening import Opening
from wattloop.meters.rapl import RaplMeter
from wattloop.sampler import Sampler, Settlement, Snapshot

OPENING_S = LAST_PATIENCE_S + 1.0
"""Longest wait for the instruments to open, in seconds."""
READING_S = 1.0
"""Longest wait for one of their readings, in seconds."""
LOOKS, LOOK_S = 11, 0.1
"""How often they are read, and how far apart, in seconds: over a second, so that a counter has moved some times."""


class Trial:
    """Opens the instruments, reads them for a while, and keeps what they and the way to them said.

    Args:
        options: What to measure with.

    Attributes:
        meters: The instruments that are used.
        refused: Why others are not.
        survey: What was found of GPUs.
        snapshots: What was read.
        warnings: What a run would have warned of.
        hangs: They have not opened, or ceased to answer.
    """

    def __init__(self, options: MeterOptions) -> None:
        self.meters: tuple[Meter, ...] = ()
        self.refused: list[Refusal] = []
        self.survey = Survey()
        self.snapshots: list[Snapshot] = []
        self._late_j: dict[tuple[float, str], float] = {}
        self.hangs = False
        with _warnings() as self.warnings:
            sampler = Sampler(lambda: self._opened(options))
            sampler.subscribe(self._take, LOOK_S)
            self.hangs = not sampler.read(OPENING_S)
            for _ in range(0 if self.hangs else LOOKS - 1):
                time.sleep(LOOK_S)
                self.hangs = not sampler.read(READING_S)
                if self.hangs:
                    break
            sampler.close()

    def _opened(self, options: MeterOptions) -> Sequence[Meter]:
        self.meters = open_meters(options, refused=self.refused, survey=self.survey)
        return self.meters

    def _take(self, snapshot: Snapshot | Settlement) -> None:
        if isinstance(snapshot, Snapshot):
            self.snapshots.append(snapshot)
        else:
            self._late_j |= {(snapshot.time_s, one.channel): one.energy_j for one in snapshot.corrections}

    @property
    def gpus(self) -> dict[str, Gpu]:
        """The GPUs that are measured, by UUID."""
        return {gpu.uuid: gpu for meter in self.used if isinstance(meter, NvmlMeter) for gpu in meter.gpus}

    @property
    def used(self) -> tuple[Meter, ...]:
        """The instruments that are used, those of a driver that has answered late among them."""
        return tuple(meter.meter or meter if isinstance(meter, Opening) else meter for meter in self.meters)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What was read, and its mean power."""
        found = []
        for name in dict.fromkeys(reading.channel for shot in self.snapshots for reading in shot.readings):
            seen = [(shot, one) for shot in self.snapshots for one in shot.readings if one.channel == name]
            (begin_s, begin_j), (end_s, end_j) = (self._settled(*seen[place]) for place in (0, -1))
            if end_s > begin_s:
                found.append(Channel(name, seen[-1][1].method, (end_j - begin_j) / (end_s - begin_s)))
        return tuple(found)

    def _settled(self, shot: Snapshot, reading: Reading) -> tuple[float, float]:
        read_s = shot.time_s if math.isnan(reading.time_s) else reading.time_s
        return read_s, reading.energy_j + self._late_j.get((shot.time_s, reading.channel), 0.0)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Gather what is warned of, instead of having it told in between."""
    logger, found = logging.getLogger("wattloop"), list[str]()

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    keeper, propagates = Keeper(logging.WARNING), logger.propagate
    logger.addHandler(keeper)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.propagate = propagates
        logger.removeHandler(keeper)


def diagnose(
    region: str | None = None,
    modelled_cpu: bool = False,
    powercap_root: str | None = None,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
) -> Diagnosis:
    """Find out what a run would measure in this process, and why not more.

    Args:
        region: Place of `wattloop regions`; None for none.
        modelled_cpu: Model the CPU where it cannot be measured.
        powercap_root: Folder of the Linux powercap tree; None for its usual place.
        root: Folder of the file system, where containers and drivers are looked for.
        environ: The environment, for what it says of those and for tokens.

    Raises:
        ValueError: The region is not known.
    """
    grid = _grid(region, environ)
    around = surroundings(environ, root)
    options = MeterOptions(modelled_cpu=modelled_cpu, powercap_root=powercap_root or MeterOptions().powercap_root)
    trial = Trial(options)
    power = design_power(os.cpu_count() or 1)
    channels = trial.channels
    versions = Versions(
        wattloop=__version__,
        python=python(),
        driver=trial.survey.driver,
        binding=installed("nvidia-ml-py"),
        frameworks=frameworks(),
        extras=extras(),
    )
    return Diagnosis(
        # One thread reads them all: where one hangs, none is measured.
        measured=not trial.hangs and any(channel.method != "modelled" for channel in channels),
        instruments=tuple(_instruments(trial, around)),
        gpus=tuple(_gpus(trial, around)),
        channels=channels,
        model=Model(power.name, power.watts, power.known),
        cuda_visible_devices=environ.get("CUDA_VISIBLE_DEVICES"),
        remarks=trial.survey.remarks,
        warnings=tuple(trial.warnings),
        grid=grid,
        surroundings=around,
        versions=versions,
    )


def _instruments(trial: Trial, around: Surroundings) -> Iterator[Instrument]:
    refused: dict[str, Refusal] = {refusal.instrument: refusal for refusal in trial.refused}
    used = {type(meter).__name__: meter for meter in trial.used}
    for name, kind, remedy in (
        ("nvml", "NvmlMeter", lambda refusal: remedies.of_gpus(refusal, around, trial.survey)),
        ("rapl", "RaplMeter", lambda refusal: remedies.of_cpu(refusal, around)),
        ("model", "ModelledCpuMeter", lambda refusal: ""),
    ):
        yield _instrument(name, used.get(kind), refused.get(name), remedy, trial)


def _instrument(
    name: str, meter: Meter | None, refusal: Refusal | None, remedy: Callable[[Refusal], str], trial: Trial
) -> Instrument:
    if meter is None:
        if refusal is None:
            return Instrument(name, used=False, why=_left_out(name, trial))
        return Instrument(name, used=False, why=refusal.why, remedy=remedy(refusal))
    if trial.hangs and name == "nvml":
        hangs = Refusal("nvml", "the NVIDIA driver opened, but does not answer any more", hangs=True)
        return Instrument(name, used=False, why=hangs.why, remedy=remedy(hangs))
    part = meter.refusal if isinstance(meter, RaplMeter) else None
    if part is not None:
        return Instrument(name, used=True, why=part.why, remedy=part.remedy)
    return Instrument(name, used=True, why="the driver took its time to answer" if refusal is not None else "")


def _left_out(name: str, trial: Trial) -> str:
    """Say why an instrument was not tried, or not kept."""
    if trial.hangs and not trial.meters:
        return "the instruments have not opened in time"
    if any(isinstance(meter, NvmlMeter) and meter.covers_cpu for meter in trial.used):
        return "the GPUs' counters are their whole modules', CPU included"
    return "only where nothing is measured, or on request" if name == "model" else ""


def _gpus(trial: Trial, around: Surroundings) -> Iterator[FoundGpu]:
    survey, gpus = trial.survey, trial.gpus
    visible = {gpu.uuid: gpu for gpu in survey.visible}
    for board in survey.boards:
        why, code = survey.faults.get(board.uuid, ("", None))
        gpu = gpus.get(board.uuid)
        yield FoundGpu(
            index=board.index,
            uuid=board.uuid,
            name=board.name,
            visible=board.uuid in visible,
            shared=board.uuid in visible and visible[board.uuid].shared,
            instrument=gpu.instrument if gpu is not None else "",
            refresh_s=gpu.refresh_s if gpu is not None else None,
            why=why,
            remedy=remedies.of_gpu(code, around) if why else "",
        )
    for name, (why, code) in survey.faults.items():
        if name not in {board.uuid for board in survey.boards}:
            yield FoundGpu(index=None, uuid=name, why=why, remedy=remedies.of_gpu(code, around))


def _grid(region: str | None, environ: Mapping[str, str]) -> Grid:
    place = resolve(region) if region is not None else world()
    tokens: dict[str, bool] | None = None
    try:
        from wattloop.grid.providers.named import PROVIDERS
    except ImportError:
        pass
    else:
        names = (name for provider in PROVIDERS.values() for name in provider.credentials)
        tokens = {name: bool(environ.get(name)) for name in names}
    source = f"{place.source} ({place.basis})"
    return Grid(place.code, place.g_co2e_per_kwh, place.year, source, region is not None, tokens)
