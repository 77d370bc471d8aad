"""A run told in every way that there is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console

from wattloop.reports.collection import Report, total
from wattloop.reports.emissions_csv import emissions_csv
from wattloop.reports.statement import latex_statement, markdown_statement
from wattloop.reports.summary import RunSummary
from wattloop.reports.table import show


def report(*runs: RunSummary) -> Report:
    return Report(runs=runs, total=total(runs))


def shown(told: Report, width: int | None = None) -> str:
    file = io.StringIO()
    show(told, Console(file=file, highlight=False, width=width or 10_000))
    return file.getvalue()


def in_every_way(run: RunSummary, folder: Path) -> Iterator[str]:
    one = report(run)
    two = report(run, msgspec.structs.replace(run, run_id="another"))
    for told in (one, two):
        yield shown(told)
        yield shown(told, 60)
        yield latex_statement(told)
        yield markdown_statement(told)
        yield emissions_csv(told.runs)
        yield msgspec.json.encode(told).decode()
        yield card(told, folder)


def card(told: Report, folder: Path) -> str:
    from wattloop.reports.model_card import write

    path = folder / "README.md"
    path.unlink(missing_ok=True)
    write(path, told)
    return path.read_text()
