"""``wattloop hardware``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from wattloop.commands.common import AsJson, columns, refuse, shortened, write_json

if TYPE_CHECKING:
    from wattloop.hardware import Hardware


def hardware(
    search: Annotated[str, typer.Argument(help="Part of a name or a vendor: A100, rtx 40, AMD. Default: all.")] = "",
    json: AsJson = False,
) -> None:
    """List the GPUs and TPUs that `wattloop estimate --gpu` knows, with power and peak rates."""
    from wattloop.hardware import search as find
    from wattloop.hardware import suggestions

    found = find(search)
    if not found:
        near = " or ".join(each.name for each in suggestions(search))
        refuse(f"no hardware has {search!r} in its name" + (f"; did you mean {near}?" if near else ""))
    if json:
        write_json(found)
    elif len(found) == 1:
        _show(found[0])
    else:
        name = max(len(each.name) for each in found)
        if sys.stdout.isatty():
            name = min(name, max(12, columns() - 44))
        typer.echo(f"{'name':{name}}  vendor  TDP W  mean W  FP32 TF  16-bit TF")
        for each in found:
            power = f"{_figure(each.tdp_w):>5}  {_figure(each.measured_w):>6}"
            rates = f"{_figure(each.fp32_tflops):>7}  {_figure(each.tensor16_tflops):>9}"
            typer.echo(f"{shortened(each.name, name):{name}}  {each.vendor:6}  {power}  {rates}".rstrip())


def _show(each: Hardware) -> None:
    lines = [f"{each.vendor} {each.name}, {each.kind}"]
    if each.tdp_w is not None:
        lines.append(f"{each.tdp_w:g} W TDP")
    if each.measured_w is not None:
        lines.append(f"{each.measured_w:g} W mean while training, {scope(each)} ({each.measured_source})")
    if each.fp32_tflops is not None:
        efficiency = each.fp32_gflops_per_w
        per_watt = f", {efficiency:.3g} GFLOPS/W" if efficiency is not None else ""
        lines.append(f"{each.fp32_tflops:g} TFLOPS in FP32{per_watt}")
    if each.tensor16_tflops is not None:
        lines.append(f"{each.tensor16_tflops:g} TFLOPS in FP16 or BF16, dense")
    lines.append(each.source)
    if each.note:
        lines.append(each.note)
    if each.aliases:
        lines.append(f"also: {', '.join(each.aliases)}")
    typer.echo("\n".join(lines))


def scope(each: Hardware) -> str:
    """Say what the measured power of an accelerator holds."""
    return "with its share of host, network and fans" if each.measured_scope == "system" else "the device alone"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
