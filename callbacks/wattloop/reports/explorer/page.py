"""Page: the explorer as one file of HTML, with scripts, styles and data inside, and no leave to ask for more."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from wattloop import __version__
from wattloop.grid.regions import Region, regions
from wattloop.hardware import hardware
from wattloop.reading import Problem
from wattloop.reports.collection import Report, collect, find
from wattloop.reports.explorer.charts import THRESHOLDS, charts
from wattloop.reports.explorer.data import RunData, basis_of, shown
from wattloop.reports.explorer.hours import Hours, from_runs, from_series
from wattloop.reports.place import place
from wattloop.reports.runs import summarize
from wattloop.reports.summary import RunSummary
from wattloop.reports.text import printable
from wattloop.units import format_co2e, format_energy, format_share

if TYPE_CHECKING:
    from wattloop.grid.series import IntensitySeries

HERE = Path(__file__).parent
BINS_PER_RUN, EPOCHS_PER_RUN = 1500, 1000
ROWS_OF_ALL, FEWEST_ROWS = 12_000, 8
"""Many runs are drawn less finely: with some 170 bytes a row and 2 kB a run, the page of 1,000 is of 5 MB."""
SHOWN = 6
"""Runs that are drawn to begin with, and at most."""
PHASES = ("startup", "train", "validation", "checkpoint", "wait", "other", "earlier")
SCRIPTS = ("model", "state", "words", "text", "drawing", "tables", "controls")
"""Files that are one script in the page, and share their names."""
LIBRARY = "window.vegaEmbed = vegaEmbed;"


def write(
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    series: IntensitySeries | str | os.PathLike[str] | None = None,
) -> tuple[Problem, ...]:
    """Write the explorer of some runs.

    Args:
        paths: Their journals, and folders of them, searched to the bottom.
        out: File to write, in UTF-8.
        series: Carbon intensity over time, or a CSV file of it, from which another start is priced.

    Returns:
        What could not be read of the journals; the page says the same.

    Raises:
        ImportError: The packages of `wattloop[report]` are not installed.
        OSError: The file cannot be written, or the series not read.
        ValueError: The series is not accepted.

    Example:
        >>> write(["logs"], "explorer.html")
        ()
    """
    text, problems = _made(paths, series, datetime.now(UTC))
    Path(out).write_text(text, encoding="utf-8")
    return problems


def page(
    paths: Iterable[str | os.PathLike[str]],
    series: IntensitySeries | str | os.PathLike[str] | None = None,
    now: datetime | None = None,
) -> str:
    """Return the explorer of some runs as HTML.

    Args:
        paths: Their journals, and folders of them, searched to the bottom.
        series: Carbon intensity over time, or a CSV file of it, from which another start is priced.
        now: When the page is made, by which a run without an end is taken for running or killed.
    """
    return _made(paths, series, now or datetime.now(UTC))[0]


def _made(
    paths: Iterable[str | os.PathLike[str]],
    series: IntensitySeries | str | os.PathLike[str] | None,
    now: datetime,
) -> tuple[str, tuple[Problem, ...]]:
    journals, problems = find(paths)
    by_name: dict[str, str] = {}

    def read(path: str) -> tuple[RunSummary | None, tuple[Problem, ...]]:
        run, wrong = summarize(path, now=lambda: now)
        if run is not None:
            by_name[run.path] = path
        return run, wrong

    report = collect(journals, problems, read)
    most = rows_each(len(report.runs))
    runs = [shown(run, by_name[run.path], *most) for run in report.runs]
    hours = from_series(series) if series is not None else from_runs(runs)
    return _rendered(runs, report, hours, now), report.problems


def rows_each(runs: int) -> tuple[int, int]:
    """Return how many spans of time and how many rows of epochs to keep of each run, that the page stays small.

    Args:
        runs: How many runs share the page.
    """
    rows = max(FEWEST_ROWS, ROWS_OF_ALL // max(1, runs))
    return min(BINS_PER_RUN, rows), min(EPOCHS_PER_RUN, rows)


def _rendered(runs: Sequence[RunData], report: Report, hours: Hours | None, now: datetime) -> str:
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError("the explorer needs altair, vl-convert and jinja2: pip install 'wattloop[report]'") from error

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rows, _ = rows_each(len(runs))
    library = _library()
    own = "\n".join((HERE / "script" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    own = f'(() => {{\n"use strict";\n{own}}})();\n'
    data = {
        "runs": [_shortened(msgspec.to_builtins(run)) for run in runs],
        "series": msgspec.to_builtins(hours),
        "charts": charts(),
        "phases": PHASES,
        "shown": SHOWN,
    }
    html: str = environment.get_template("template.html").render(
        runs=runs,
        # A page is passed on, so it says no more of where files lay than their names.
        problems=[printable(str(msgspec.structs.replace(each, path=Path(each.path).name))) for each in report.problems],
        notes=[note.partition(", from ")[0] for note in report.notes],
        rows=rows if rows < BINS_PER_RUN else None,
        hours=hours,
        places=_places(),
        place_names={run.region: place(run.region).name or "not given" for run in runs},
        devices=_devices(),
        basis_of=basis_of,
        thresholds=THRESHOLDS,
        phases=PHASES,
        shown=SHOWN,
        version=__version__,
        now=f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        css=Markup((HERE / "explorer.css").read_text(encoding="utf-8")),
        data=Markup(_json_in_html(data)),
        library=Markup(library),
        own=Markup(own),
        hashes=" ".join(f"'sha256-{_sha256(script)}'" for script in (library, own)),
        co2e=_co2e,
        energy=format_energy,
        duration=_duration,
        share=_share,
    )
    return html


@cache
def _library() -> str:
    """Return vega, vega-lite and vega-embed as one script."""
    import vl_convert

    script: str = vl_convert.javascript_bundle(LIBRARY)
    return script


def _json_in_html(value: object) -> str:
    """Return JSON that no parser of HTML takes for anything else."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shortened(value: Any) -> Any:
    """Round the columns to nine figures, which is nothing to a total and half of the page."""
    if isinstance(value, dict):
        return {key: _shortened(one) for key, one in value.items()}
    if isinstance(value, list):
        return [
            float(f"{one:.9g}") if isinstance(one, float) and math.isfinite(one) else _shortened(one) for one in value
        ]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_GROUPS = {"US": "United States", "CA": "Canada", "CN": "China", "aws": "AWS", "azure": "Azure", "gcp": "Google Cloud"}


def _places() -> list[tuple[str, list[Region]]]:
    """Return all regions in groups: countries, then states and zones, then clouds."""
    groups: dict[str, list[Region]] = {"Countries": []}
    for region in sorted(regions(), key=lambda region: (region.code != "WORLD", region.name)):
        head = region.code.partition(":" if ":" in region.code else "-")[0]
        is_country = region.code == "WORLD" or (len(region.code) == 2 and region.code.isalpha())
        name = "Countries" if is_country else _GROUPS.get(head, "Nordic bidding zones")
        groups.setdefault(name, []).append(region)
    order = ["Countries", "United States", "Canada", "China", "Nordic bidding zones", "AWS", "Azure", "Google Cloud"]
    return sorted(groups.items(), key=lambda group: order.index(group[0]))


def _devices() -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the devices whose efficiency is known, by vendor: name, and FP32 GFLOPS/W."""
    known = [(each.vendor, each.name, each.fp32_gflops_per_w) for each in hardware()]
    rows = sorted((vendor, name, value) for vendor, name, value in known if value is not None)
    return [(vendor, [(name, value) for _, name, value in of]) for vendor, of in groupby(rows, key=lambda row: row[0])]


def _co2e(kg: float) -> str:
    return format_co2e(kg).replace("CO2e", "CO₂e")


def _share(fraction: float) -> str:
    return format_share(fraction).replace("%", " %")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
