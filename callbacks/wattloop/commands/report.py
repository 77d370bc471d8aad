"""``wattloop report``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattloop.commands.common import LONGEST_LINE, AsJson, as_json, one_way, refuse, say, user_errors, write_text

if TYPE_CHECKING:
    from wattloop.reports.collection import Report

FEW = 20
"""Records that are read without a bar."""
EXTRA = "pip install 'wattloop[report]'"


def report(
    journal: Annotated[
        list[str],
        typer.Argument(help="Records of runs (wattloop-*.jsonl), and folders of them, searched to the bottom."),
    ],
    json: AsJson = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Write a row a run, in the columns of codecarbon's emissions.csv.")
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write a statement for a paper, with what it cites, as LaTeX.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write that statement as Markdown.")] = False,
    model_card: Annotated[
        Path | None,
        typer.Option(help="Write co2_eq_emissions into this Hugging Face model card (README.md).", show_default=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the explorer, one page for any browser, to this file.", show_default=False),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            help="With --html: a CSV file of times and g CO2e/kWh, by which another start is priced; times without a "
            "zone are UTC.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file instead of the terminal.", show_default=False),
    ] = None,
    hardware: Annotated[
        str, typer.Option(help="What the runs ran on, for a statement or a card: '8 x NVIDIA H100 SXM'.")
    ] = "",
    training_type: Annotated[
        str, typer.Option(help="For a card: pre-training or fine-tuning. Default: what it says already.")
    ] = "",
) -> None:
    """Tell what runs have spent, from their records: runs still going, and killed ones, too.

    Exit code 1 where a record cannot be read, or there is none; the others are told all the same.
    """
    ways = {"--json": json, "--csv": csv, "--latex": latex, "--markdown": markdown}
    way = one_way({**ways, "--model-card": model_card, "--html": html})
    if output is not None and way and way not in ways:
        refuse(f"--output is given, but {way} says already where to write")
    if hardware and not (latex or markdown or model_card):
        refuse("--hardware is for --latex, --markdown and --model-card")
    if series is not None and html is None:
        refuse("--series is for --html")
    if training_type and model_card is None:
        refuse("--training-type is for --model-card")
    found, paths = _read(journal)
    _spare_records(paths, output or model_card or html)
    # A script that parses what it gets gets it in any case; a sentence about no run says nothing.
    if found.runs or json or csv:
        with user_errors():
            if html is not None:
                _write_page(html, paths, series)
            elif model_card is not None:
                _write_card(model_card, found, hardware, training_type)
            elif way:
                _write(_text(found, way, hardware), output)
            else:
                _show(found, output)
    for note in found.notes:
        say(note)
    for problem in found.problems:
        say(str(problem))
    if not found.runs:
        say("there is no run to report")
    if found.problems or not found.runs:
        raise typer.Exit(1)


def _read(given: list[str]) -> tuple[Report, list[str]]:
    from wattloop.reports.collection import collect, find

    paths, problems = find(given)
    if len(paths) < FEW:
        return collect(paths, problems), paths
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # Nothing of it in a pipe, nor left behind.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        shown = progress.track(paths, description="reading records", update_period=0.2)
        return collect(shown, problems), paths


def _spare_records(paths: list[str], target: Path | None) -> None:
    """Refuse to write a report over what it is of."""
    if target is not None and os.path.realpath(target) in map(os.path.realpath, paths):
        refuse(f"{target}: this is one of the records; name another file to write to")


def _text(found: Report, way: str, hardware: str) -> str:
    if way == "--json":
        return as_json(_plain(found))
    if way == "--csv":
        from wattloop.reports.emissions_csv import emissions_csv

        return emissions_csv(found.runs)
    from wattloop.reports.statement import latex_statement, markdown_statement

    return (latex_statement if way == "--latex" else markdown_statement)(found, hardware)


def _plain(found: Report) -> dict[str, Any]:
    """Return what scripts get: problems as the lines a person reads, too."""
    from wattloop.reports.text import printable

    problems = [
        {"path": printable(each.path), "line": each.line, "message": printable(str(each), LONGEST_LINE)}
        for each in found.problems
    ]
    return {"runs": found.runs, "total": found.total, "problems": problems, "notes": found.notes}


def _write(text: str, output: Path | None) -> None:
    if output is None:
        write_text(text)
    else:
        output.write_text(text, encoding="utf-8", newline="")


def _show(found: Report, output: Path | None) -> None:
    from wattloop.commands.terminal import printing
    from wattloop.reports.table import show

    with contextlib.ExitStack() as stack:
        file = stack.enter_context(output.open("w", encoding="utf-8")) if output is not None else None
        console = stack.enter_context(printing(file))
        show(found, console)


def _write_card(card: Path, found: Report, hardware: str, training_type: str) -> None:
    try:
        from wattloop.reports.model_card import write
    except ImportError:
        refuse(f"a model card is written with huggingface_hub: {EXTRA}")
    from wattloop.units import format_co2e

    write(card, found, hardware, training_type)
    typer.echo(f"{card}: co2_eq_emissions is {format_co2e(found.total.kg_co2e)}")


def _write_page(path: Path, paths: list[str], series: Path | None) -> None:
    try:
        from wattloop.reports.explorer import page

        # What makes its charts is imported there.
        text = page(paths, series)
    except ImportError:
        refuse(f"the explorer is made with altair, vl-convert and jinja2: {EXTRA}")
    path.write_text(text, encoding="utf-8")
    typer.echo(f"{path}: written; open it in a browser")
