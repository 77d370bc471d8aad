"""Table: runs on a terminal; one alone is told in full. A narrow terminal is shown fewer columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wattloop.reports.collection import Report, Total
from wattloop.reports.place import place
from wattloop.reports.summary import RunSummary
from wattloop.reports.text import counted, energy, moment
from wattloop.units import format_co2e, format_duration, format_energy, format_share

STYLES = {"finished": "green", "running": "cyan", "stopped": "yellow", "interrupted": "yellow"}
OTHER_STYLE = "red"
GAP = 2
INDENT = 11
WHOLE = 10_000


class _Column(msgspec.Struct, frozen=True):
    """A column.

    Attributes:
        head: Its title.
        rank: The lower, the longer it stays as the terminal gets narrower.
        of_run: Its text for a run.
        of_total: For all of them.
        right: Aligned to the right.
    """

    head: str
    rank: int
    of_run: Callable[[RunSummary], str]
    of_total: Callable[[Total], str] = lambda total: ""
    right: bool = True


def _energy(kwh: float, uncertainty_kwh: float) -> str:
    value, doubt, unit = energy(kwh, uncertainty_kwh)
    return f"{value} ± {doubt} {unit}"


def _co2e(kg: float) -> str:
    return format_co2e(kg).removesuffix(" CO2e")


def _intensity(g_co2e_per_kwh: float | None) -> str:
    return f"{g_co2e_per_kwh:.0f}" if g_co2e_per_kwh is not None else ""


COLUMNS = (
    _Column("run", 0, lambda run: run.run_id, lambda total: counted(total.runs, "run"), right=False),
    _Column("status", 3, lambda run: run.status, right=False),
    _Column("started", 5, lambda run: moment(run.started or run.ended), right=False),
    _Column("time", 4, lambda run: format_duration(run.duration_s), lambda total: format_duration(total.duration_s)),
    _Column("framework", 9, lambda run: run.framework, right=False),
    _Column("steps", 7, lambda run: f"{run.steps:,}"),
    _Column("region", 6, lambda run: run.region, right=False),
    _Column("g/kWh", 8, lambda run: _intensity(run.g_co2e_per_kwh), lambda total: _intensity(total.g_co2e_per_kwh)),
    _Column(
        "energy",
        1,
        lambda run: _energy(run.kwh, run.uncertainty_kwh),
        lambda total: _energy(total.kwh, total.uncertainty_kwh),
    ),
    _Column("CO2e", 2, lambda run: _co2e(run.kg_co2e), lambda total: _co2e(total.kg_co2e)),
)


def show(report: Report, console: Console) -> None:
    """Print a table of runs, or all that is known of a single one.

    Args:
        report: The runs, one at least.
        console: Where to.
    """
    if len(report.runs) == 1:
        _show_one(report.runs[0], console)
        return
    columns, rows = _fitting(report, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_footer=True)
    for column, texts in zip(columns, rows, strict=True):
        table.add_column(
            column.head,
            Text(texts[-1], style="bold"),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if column.rank == 0 else _width(column, texts),
        )
    for number, run in enumerate(report.runs):
        table.add_row(*(_cell(column, texts[number], run) for column, texts in zip(columns, rows, strict=True)))
    console.print(table)
    _footnotes(report, console)


def _fitting(report: Report, width: int) -> tuple[list[_Column], list[list[str]]]:
    texts = {column.head: [*map(column.of_run, report.runs), column.of_total(report.total)] for column in COLUMNS}
    columns = [*COLUMNS]
    while len(columns) > 2 and sum(_widths(columns, [texts[one.head] for one in columns])) > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    return columns, [texts[column.head] for column in columns]


def _widths(columns: list[_Column], rows: list[list[str]]) -> list[int]:
    return [_width(column, texts) + GAP for column, texts in zip(columns, rows, strict=True)]


def _width(column: _Column, texts: list[str]) -> int:
    return max(cell_len(text) for text in (column.head, *texts))


def _cell(column: _Column, text: str, run: RunSummary) -> Text:
    return Text(text, style=STYLES.get(run.status, OTHER_STYLE) if column.head == "status" else "")


def _footnotes(report: Report, console: Console) -> None:
    total = report.total
    notes = [f"{format_share(total.measured_fraction)} of the energy was measured"]
    if total.lost_kwh > 0:
        notes.append(f"{format_energy(total.lost_kwh)} went into lost work")
    if total.kg_co2e_net is not None:
        notes.append(f"net {format_co2e(total.kg_co2e_net)}")
    if total.kg_co2e_embodied is not None:
        notes.append(f"embodied {format_co2e(total.kg_co2e_embodied)} apart")
    console.print()
    console.print(Text("; ".join(notes) + "."), soft_wrap=True)


def _show_one(run: RunSummary, console: Console) -> None:
    style = STYLES.get(run.status, OTHER_STYLE)
    waiting = ", waiting for cleaner electricity" if run.waiting and run.status == "running" else ""
    console.print(Text.assemble((run.run_id, "bold"), "  ", (run.status, style), waiting), soft_wrap=True)
    for name, text in _details(run):
        # Not as a table, which pads every line to its full width. A path is not torn apart.
        width = max(console.width - INDENT, INDENT) if name != "record" else WHOLE
        for number, line in enumerate(Text(text).wrap(console, width)):
            line.rstrip()
            console.print(Text(("" if number else name).ljust(INDENT), style="dim").append_text(line), soft_wrap=True)


def _details(run: RunSummary) -> Iterator[tuple[str, str]]:
    if run.stop_reason:
        yield "why", run.stop_reason
    yield "energy", f"{_energy(run.kwh, run.uncertainty_kwh)}, {format_share(run.measured_fraction)} measured"
    if run.gpu_kwh and run.cpu_kwh:
        yield "", f"{format_energy(run.gpu_kwh)} GPUs, {format_energy(run.cpu_kwh)} CPUs and memory"
    if run.lost_kwh > 0:
        share = f", {run.lost_kwh / run.kwh:.1%}" if run.kwh > 0 else ""
        yield "", f"{format_energy(run.lost_kwh)}{share} of it on work that was lost"
    yield "emissions", f"{format_co2e(run.kg_co2e)}, gross" + (f", PUE {run.pue:.3g} included" if run.pue else "")
    if run.kg_co2e_net is not None:
        yield "", f"{format_co2e(run.kg_co2e_net)} net, {run.net_share:.0%} of the energy matched by clean energy"
    if run.kg_co2e_embodied is not None:
        yield "", f"{format_co2e(run.kg_co2e_embodied)} embodied, apart"
    yield from _carbon(run)
    if run.budget is not None and run.budget_used_fraction is not None:
        yield "budget", f"{run.budget}, {run.budget_used_fraction:.1%} used ({run.budget.on_exceed})"
    if run.forecast is not None and run.status not in ("finished", "stopped"):
        ahead = run.forecast
        interval = f"{format_energy(ahead.kwh_low)} to {format_energy(ahead.kwh_high)}"
        yield "forecast", f"{format_energy(ahead.kwh)} ({interval})"
        yield "", f"{format_co2e(ahead.kg_co2e)}, after epoch {ahead.epoch}"
    yield "progress", f"{counted(run.steps, 'step')}, {counted(run.epochs, 'epoch')}"
    begun = f"{moment(run.started)} to " if run.started is not None else "until "
    yield "time", f"{begun}{moment(run.ended)}, {format_duration(run.duration_s)} measured"
    if run.sessions > 1:
        yield "", counted(run.sessions, "session")
    if run.pauses:
        spent = f"{format_duration(run.waited_s)}, {format_energy(run.waited_kwh)}"
        yield "", f"{counted(run.pauses, 'pause')} for cleaner electricity: {spent}"
    if run.parent:
        yield "", f"branched off {run.parent}, of which {format_energy(run.inherited.kwh)} are counted here"
    yield from _machine(run)


def _carbon(run: RunSummary) -> Iterator[tuple[str, str]]:
    if run.regions:
        yield "place", ", ".join(f"{place(code).name} ({code})" for code in run.regions)
    if run.g_co2e_per_kwh is not None:
        yield "intensity", f"{run.g_co2e_per_kwh:.3g} g CO2e/kWh on average"
    shares = len(run.sources) > 1
    for source in run.sources:
        part = f"{format_energy(source.kwh)}: " if shares else ""
        yield "", f"{part}{source.name}" + (", marginal" if source.kind == "marginal" else "")
    if len({source.kind for source in run.sources}) > 1:
        yield "", "average and marginal intensity differ in kind: their sum is neither"


def _machine(run: RunSummary) -> Iterator[tuple[str, str]]:
    ranks = f", {run.world_size} ranks" if run.world_size > 1 else ""
    hosts = f" on {', '.join(run.hosts)}" if run.hosts else ""
    if run.framework:
        yield "with", f"{run.framework}{ranks}{hosts}, wattloop {run.version}"
    for number, channel in enumerate(run.channels):
        used = [format_energy(channel.kwh)] if channel.kwh is not None else []
        yield (
            "" if number else "devices",
            ", ".join([channel.name, *filter(None, [channel.model]), *used, *filter(None, [channel.method])]),
        )
    for number, (name, kwh) in enumerate(run.phases_kwh.items()):
        share = f", {kwh / run.kwh:.1%}" if run.kwh > 0 else ""
        yield "" if number else "phases", f"{name} {format_energy(kwh)}{share}"
    yield "record", run.path
