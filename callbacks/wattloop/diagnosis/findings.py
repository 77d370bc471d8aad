"""Findings: what `wattloop doctor` tells, for people and for scripts."""

from __future__ import annotations

import msgspec

from wattloop.diagnosis.surroundings import Package, Surroundings


class Instrument(msgspec.Struct, frozen=True):
    """A kind of instrument.

    Attributes:
        name: ``"nvml"``, ``"rapl"`` or ``"model"``.
        used: A run here would use it.
        why: Why not, or with what limits.
        remedy: What would help; empty where nothing is known to.
    """

    name: str
    used: bool
    why: str = ""
    remedy: str = ""


class FoundGpu(msgspec.Struct, frozen=True):
    """A GPU of the host.

    Attributes:
        index: NVML's index; None where it did not get as far as to tell.
        uuid: Its UUID; "GPU <index>" where it does not tell it.
        name: Product name.
        visible: This process can use it.
        shared: A slice of it is this process's, and the whole board is what can be measured.
        instrument: What it is measured by; empty where it is not.
        refresh_s: How often its energy counter moves, in seconds; None where that was not seen.
        why: Why it is not measured.
        remedy: What would help.
    """

    index: int | None
    uuid: str
    name: str = ""
    visible: bool = False
    shared: bool = False
    instrument: str = ""
    refresh_s: float | None = None
    why: str = ""
    remedy: str = ""


class Channel(msgspec.Struct, frozen=True):
    """One thing that was read just now.

    Attributes:
        name: GPU UUID, ``"cpu:0"``, ``"dram:0"``, ...
        method: ``"counter"``, ``"integrated"`` or ``"modelled"``.
        watts: Its mean power while it was read, in watts.
    """

    name: str
    method: str
    watts: float


class Model(msgspec.Struct, frozen=True):
    """By what the CPU would be modelled.

    Attributes:
        cpu: Its name.
        watts: Design power, in watts.
        known: It is in the table for this machine; else a guess.
    """

    cpu: str
    watts: float
    known: bool


class Grid(msgspec.Struct, frozen=True):
    """The carbon intensity that would be used.

    Attributes:
        region: Code of the place.
        g_co2e_per_kwh: Yearly value.
        year: Its year.
        source: Who published it, and what it counts.
        given: The user named the place; else it is the world's average.
        tokens: Whether the environment holds a live provider's credentials, by the name of the variable; None where
            the extra that they are for is not installed.
    """

    region: str
    g_co2e_per_kwh: float
    year: int
    source: str
    given: bool
    tokens: dict[str, bool] | None


class Versions(msgspec.Struct, frozen=True):
    """Versions.

    Attributes:
        wattloop: Ours.
        python: The interpreter's.
        driver: NVIDIA's driver; empty where it did not answer.
        binding: The package nvidia-ml-py.
        frameworks: The frameworks that are installed.
        extras: What each of our extras still wants; None where that is not known.
    """

    wattloop: str
    python: str
    driver: str
    binding: str
    frameworks: tuple[Package, ...]
    extras: dict[str, tuple[str, ...]] | None


class Diagnosis(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        measured: Something was measured just now, not only modelled.
        instruments: The kinds of instrument there are.
        gpus: The host's GPUs.
        channels: What was read just now.
        model: By what the CPU would be modelled.
        cuda_visible_devices: The variable; None where it is not set.
        remarks: What in it names no GPU, or may name another than it seems.
        warnings: What a run would have warned of.
        grid: The carbon intensity that would be used.
        surroundings: What the process runs in.
        versions: Of us and of what we work with.
    """

    measured: bool
    instruments: tuple[Instrument, ...]
    gpus: tuple[FoundGpu, ...]
    channels: tuple[Channel, ...]
    model: Model
    cuda_visible_devices: str | None
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]
    grid: Grid
    surroundings: Surroundings
    versions: Versions
