"""The options that every front end takes, and the one place where they are checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from wattloop import accepted
from wattloop.budget import Budget
from wattloop.clean_hours import CleanHours
from wattloop.embodied import Embodied
from wattloop.grid.intensity import CarbonIntensity, ConstantIntensity, Intensity, is_believable
from wattloop.grid.regions import Region, resolve, world
from wattloop.meters import MeterOptions


class RunOptions(TypedDict, total=False):
    """Keyword options of `EmissionsCallback` and `track`; all are optional.

    Keys:
        region: Place whose yearly carbon intensity is used: ISO country code or name, US state (``"US-CA"``), Canadian
            or Chinese province, bidding zone (``"SE3"``) or cloud region (``"gcp:europe-west9"``). Default: that of
            the live provider, else the world average, said once in a warning.
        intensity: Carbon intensity in gCO2e/kWh (> 0), an `IntensitySeries`, one of `wattloop.grid.providers` or any
            other `CarbonIntensity`; goes before the region's.
        pue: Power usage effectiveness of the site (>= 1). Default 1.0, the devices alone.
        net_share: Share of the energy (0-1) that is matched by clean energy hour by hour: net emissions are the gross
            ones times ``1 - net_share`` (Patterson et al. 2021, arXiv 2104.10350). All that is logged, and the budget,
            stay gross. Default 0, which is none given.
        embodied: By what the emissions of making the devices are shared out, which are told apart. Default: not told.
        budget: What the run may spend.
        wait: For what electricity the run waits, before its first step and between steps. Default: it never waits.
        total_epochs: Epochs of the whole run (>= 1), where the framework does not know.
        total_steps: Steps of the whole run (>= 1), where the framework does not know.
        total_time_s: Time that the whole run will take, in seconds (> 0), where that ends it and the framework does not
            know.
        log_dir: Folder of the run's record. Default: the framework's own log folder; Keras and plain loops have none,
            there it also turns on TensorBoard event files.
        log_every_n_steps: Steps between two logged rows (>= 1). Default: the framework's own, else 50.
        interval_s: Longest time between two readings of the energy counters, in seconds (0.01-60). Default 1.0.
        modelled_cpu: Model the CPU's energy (load x TDP) where it cannot be measured, beside what is measured.
        powercap_root: Folder of the Linux powercap tree.
    """

    region: str
    intensity: float | CarbonIntensity
    pue: float
    net_share: float
    embodied: Embodied | None
    budget: Budget | None
    wait: CleanHours | None
    total_epochs: int | None
    total_steps: int | None
    total_time_s: float | None
    log_dir: str | os.PathLike[str] | None
    log_every_n_steps: int | None
    interval_s: float
    modelled_cpu: bool
    powercap_root: str | os.PathLike[str]


class Settings(msgspec.Struct, frozen=True):
    """Options after checking; see `RunOptions` for their meaning."""

    region: str
    intensity: CarbonIntensity
    fallback: Intensity
    pue: float
    net_share: float
    embodied: Embodied | None
    budget: Budget | None
    wait: CleanHours | None
    total_epochs: int | None
    total_steps: int | None
    total_time_s: float | None
    log_dir: str | None
    log_every_n_steps: int | None
    interval_s: float
    meters: MeterOptions
    place_given: bool


def validated(options: Mapping[str, Any]) -> Settings:
    """Check options and fill in the defaults.

    Raises:
        TypeError: An option is unknown.
        ValueError: A value is not accepted; the message names the option, the value and what is.
    """
    for name in options:
        if name not in RunOptions.__annotations__:
            import difflib  # 0.6 MB of memory, needed by nobody who spells well

            near = difflib.get_close_matches(name, RunOptions.__annotations__, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise TypeError(
                f"unknown option {name}={options[name]!r}{hint} Accepted: {', '.join(RunOptions.__annotations__)}"
            )
    region = options.get("region")
    intensity = options.get("intensity")
    given = intensity is not None
    if region is not None and not isinstance(region, str):
        raise ValueError(f"region={region!r} is not accepted; give a place by code or name, e.g. 'FR'")
    nearest = getattr(intensity, "region", None)
    own = nearest if isinstance(nearest, Region) else world()
    place = resolve(region) if region is not None else own
    if intensity is None:
        intensity = place.intensity()
    elif isinstance(intensity, int | float) and not isinstance(intensity, bool):
        given_g = float(intensity) if is_believable(intensity) else intensity
        intensity = ConstantIntensity(given_g, "given by the user")
    elif not (hasattr(intensity, "at") and hasattr(intensity, "forecast")):
        raise ValueError(f"intensity={intensity!r} is not accepted; give gCO2e/kWh (> 0) or a CarbonIntensity")
    budget = options.get("budget")
    if isinstance(budget, Mapping):
        budget = Budget(**budget)
    if budget is not None and not isinstance(budget, Budget):
        raise ValueError(f"budget={budget!r} is not accepted; give a Budget, e.g. Budget(kg_co2e=2.0)")
    embodied = options.get("embodied")
    if isinstance(embodied, Mapping):
        embodied = Embodied(**embodied)
    if embodied is not None and not isinstance(embodied, Embodied):
        raise ValueError(f"embodied={embodied!r} is not accepted; give an Embodied, e.g. Embodied(lifetime_years=5.0)")
    wait = options.get("wait")
    if isinstance(wait, Mapping):
        wait = CleanHours(**wait)
    if wait is not None and not isinstance(wait, CleanHours):
        raise ValueError(f"wait={wait!r} is not accepted; give CleanHours, e.g. CleanHours(below=250)")
    if wait is not None and isinstance(intensity, ConstantIntensity):
        raise ValueError(
            f"wait={wait!r} is not accepted with a carbon intensity that never changes; "
            "give intensity=, a live provider of wattloop.grid.providers or an IntensitySeries"
        )
    return Settings(
        region=place.code if region is not None or not given else "",
        intensity=intensity,
        fallback=Intensity(place.g_co2e_per_kwh, place.intensity().source),
        pue=accepted.number("pue", options.get("pue", 1.0), 1.0, 10.0),
        net_share=accepted.number("net_share", options.get("net_share", 0.0), 0.0, 1.0),
        embodied=embodied,
        budget=budget,
        wait=wait,
        total_epochs=_count(options, "total_epochs"),
        total_steps=_count(options, "total_steps"),
        total_time_s=_duration(options, "total_time_s"),
        log_dir=_path(options, "log_dir"),
        log_every_n_steps=_count(options, "log_every_n_steps"),
        interval_s=accepted.number("interval_s", options.get("interval_s", 1.0), 0.01, 60.0),
        meters=MeterOptions(
            modelled_cpu=_flag(options, "modelled_cpu"),
            powercap_root=_path(options, "powercap_root") or MeterOptions().powercap_root,
        ),
        place_given=region is not None or given,
    )


def _duration(options: Mapping[str, Any], name: str) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} is not accepted; give seconds, above 0")
    return float(value)


def _count(options: Mapping[str, Any], name: str) -> int | None:
    value = options.get(name)
    return None if value is None else accepted.count(name, value)


def _flag(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} is not accepted; give True or False")
    return value


def _path(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"{name}={value!r} is not accepted; give the path of a folder")
    return path
