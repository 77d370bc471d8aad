"""``wattloop doctor``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from wattloop.commands.common import AsJson, user_errors, write_json
from wattloop.commands.words import as_options

if TYPE_CHECKING:
    from wattloop.diagnosis.findings import Channel, Diagnosis, FoundGpu

OPTIONS = ("region", "modelled_cpu")
NAMES = {"nvml": "NVIDIA GPUs", "rapl": "CPU and memory", "model": "CPU, modelled"}
GOOD, BAD, NEITHER = "green", "red", "dim"
Line = tuple[str, str]
"""A text, and its style."""


def doctor(
    region: Annotated[str | None, typer.Option(help="Place of `wattloop regions`. Default: the world's.")] = None,
    modelled_cpu: Annotated[bool, typer.Option("--modelled-cpu", help="Model the CPU where not measured.")] = False,
    powercap_root: Annotated[str | None, typer.Option(help="Folder of the Linux powercap tree.", hidden=True)] = None,
    json: AsJson = False,
) -> None:
    """Say what is measured here, what is not, why, and what would help."""
    from wattloop.diagnosis.diagnose import diagnose

    with user_errors(OPTIONS):
        found = diagnose(region, modelled_cpu, powercap_root)
    if json:
        write_json(found)
    else:
        _show(found)
    sys.stdout.flush()
    # A driver that hangs would keep the process for ever.
    os._exit(0 if found.measured else 1)


def _show(found: Diagnosis) -> None:
    from rich.table import Table
    from rich.text import Text

    from wattloop.commands.terminal import printing

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, lines in _sections(found):
        for place, (text, style) in enumerate(lines):
            table.add_row(Text(title if place == 0 else "", style="bold"), Text(text, style=style))
    with printing() as console:
        console.print(table)


def _sections(found: Diagnosis) -> Iterator[tuple[str, list[Line]]]:
    channels = {channel.name: channel for channel in found.channels}
    for instrument in found.instruments:
        lines: list[Line] = []
        if instrument.used:
            names = [name for name in channels if _kind(channels[name]) == instrument.name]
            gpus = {gpu.uuid: gpu for gpu in found.gpus}
            lines += [(_channel(channels[name], gpus.get(name)), GOOD) for name in names]
        if instrument.why:
            lines.append((instrument.why, NEITHER if instrument.used or not instrument.remedy else BAD))
        if instrument.remedy:
            lines.append((f"-> {as_options(instrument.remedy, OPTIONS)}", ""))
        if instrument.name == "model":
            known = "" if found.model.known else ", guessed"
            lines.append((f"{found.model.cpu or 'this CPU'}: design power {found.model.watts:g} W{known}", NEITHER))
        if instrument.name == "nvml":
            lines += [line for gpu in found.gpus if not gpu.instrument for line in _uncounted(gpu)]
            lines += [(remark, "yellow") for remark in found.remarks if remark not in instrument.remedy]
        yield NAMES[instrument.name], lines
    said = {*found.remarks, *(instrument.why for instrument in found.instruments)}
    others = [text for text in found.warnings if not any(part in text for part in said if part)]
    shown = [(text, "yellow") for text in others if not any(gpu.why and gpu.why in text for gpu in found.gpus)]
    if shown:
        yield "warnings", shown
    yield "carbon", _carbon(found)
    yield "surroundings", [(_surroundings(found), "")]
    yield "versions", _versions(found)
    verdict = "energy is measured here" if found.measured else "nothing is measured here"
    yield "", [(verdict, f"bold {GOOD}" if found.measured else f"bold {BAD}")]


def _kind(channel: Channel) -> str:
    if channel.method == "modelled":
        return "model"
    return "nvml" if channel.name.startswith("GPU-") else "rapl"


def _channel(channel: Channel, gpu: FoundGpu | None) -> str:
    if gpu is None:
        return f"{channel.name}  {channel.watts:.1f} W now"
    refresh = f", refreshed every {1e3 * gpu.refresh_s:.0f} ms" if gpu.refresh_s is not None else ""
    shared = ", a slice: the whole board is counted" if gpu.shared else ""
    return f"{gpu.index}: {gpu.name}  {channel.watts:.1f} W now, by {gpu.instrument}{refresh}{shared}  {gpu.uuid}"


def _uncounted(gpu: FoundGpu) -> Iterator[Line]:
    name = f"{gpu.index}: {gpu.name}" if gpu.index is not None else gpu.uuid
    if gpu.why:
        yield f"{name}: {gpu.why}", BAD
        if gpu.remedy:
            yield f"-> {gpu.remedy}", ""
    elif not gpu.visible:
        yield f"{name}: not counted, this process cannot use it  {gpu.uuid}", NEITHER


def _carbon(found: Diagnosis) -> list[Line]:
    grid = found.grid
    default = "" if grid.given else ", as no region is given"
    lines = [(f"{grid.region}{default}: {grid.g_co2e_per_kwh:g} g CO2e/kWh, {grid.year}, {grid.source}", "")]
    if grid.tokens is None:
        lines.append(("live providers: the extra [grid] is not installed", NEITHER))
    else:
        for there, word in ((True, "set"), (False, "not set")):
            names = [name for name, is_there in grid.tokens.items() if is_there is there]
            if names:
                lines.append((f"{word} in the environment, for live providers: {', '.join(names)}", NEITHER))
    return lines


def _surroundings(found: Diagnosis) -> str:
    around = found.surroundings
    machine = "a virtual machine" if around.virtual else "no virtual machine that says so"
    container = f"a container ({around.container})" if around.container else "no container that can be told"
    return f"{machine}, {container}"


def _versions(found: Diagnosis) -> list[Line]:
    versions = found.versions
    driver = f", driver {versions.driver}" if versions.driver else ""
    lines = [
        (f"wattloop {versions.wattloop}, Python {versions.python}, nvidia-ml-py {versions.binding or '-'}{driver}", "")
    ]
    old = [package for package in versions.frameworks if package.supported is False]
    lines += [(f"{one.name} {one.version}: too old, wattloop wants {one.least}", BAD) for one in old]
    good = [f"{one.name} {one.version}" for one in versions.frameworks if one.supported is not False]
    if good:
        lines.append((", ".join(good), ""))
    if versions.extras is not None:
        whole = [name for name, wanting in versions.extras.items() if not wanting]
        lines.append((f"extras: {', '.join(whole) or 'none'}", ""))
        for name, wanting in versions.extras.items():
            if wanting:
                lines.append((f"  {name} wants {', '.join(wanting)}: pip install 'wattloop[{name}]'", NEITHER))
    return lines
