"""A schedule as a few lines of text: the intensity over time, and below it when each plan runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from wattloop.grid.schedule import Plan, Schedule

ROWS = 5
MARGIN = 6
"""Columns left of the chart, for its labels."""
BLOCKS, RUN, PAUSE = " ▁▂▃▄▅▆▇█", "█", "░"
ASCII_BLOCKS, ASCII_RUN, ASCII_PAUSE = " ...:::##", "#", "."
LABELS = {"now": "now", "flexible_start": "later", "threshold": "limit", "pause_and_resume": "best"}


def chart(schedule: Schedule, width: int = 80, *, ascii_only: bool = False) -> list[str]:
    """Draw a schedule.

    Args:
        schedule: What to draw.
        width: Columns of the terminal.
        ascii_only: Draw without block characters.
    """
    columns = max(20, width - MARGIN - 2)
    begin = schedule.now.start
    length = timedelta(hours=schedule.hours + schedule.within_hours)
    edges = [begin + length * column / columns for column in range(columns + 1)]
    means = _means(schedule.intensities, edges)
    low, high = min(means), max(means)
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    most = ROWS * (len(blocks) - 1)
    heights = [round(1 + (mean - low) / (high - low) * (most - 1)) if high > low else most for mean in means]
    lines = []
    for row in reversed(range(ROWS)):
        label = f"{high:.0f}" if row == ROWS - 1 else f"{low:.0f}" if row == 0 else ""
        full = len(blocks) - 1
        bars = "".join(blocks[min(max(height - row * full, 0), full)] for height in heights)
        lines.append(f"{label:>{MARGIN}} {bars}".rstrip())
    run, pause = (ASCII_RUN, ASCII_PAUSE) if ascii_only else (RUN, PAUSE)
    for plan in schedule.plans:
        marks = "".join(_mark(plan, first, last, run, pause) for first, last in pairwise(edges))
        lines.append(f"{LABELS[plan.kind]:>{MARGIN}} {marks}".rstrip())
    lines.append(" " * (MARGIN + 1) + _axis(begin, begin + length, columns))
    return lines


def _means(points: Sequence[tuple[datetime, float]], edges: Sequence[datetime]) -> list[float]:
    means, at = [], 0
    for first, last in pairwise(edges):
        total, time = 0.0, first
        while time < last:
            while at + 1 < len(points) and points[at + 1][0] <= time:
                at += 1
            until = min(last, points[at + 1][0]) if at + 1 < len(points) else last
            total += points[at][1] * (until - time).total_seconds()
            time = until
        means.append(total / (last - first).total_seconds())
    return means


def _mark(plan: Plan, first: datetime, last: datetime, run: str, pause: str) -> str:
    none = timedelta(0)
    ran = sum((max(none, min(last, each.end) - max(first, each.start)) for each in plan.intervals), start=none)
    if 2 * ran >= last - first or plan.end - plan.start < last - first:
        return run if ran else " "
    return pause if plan.start < first and plan.end > last else " "


def _axis(begin: datetime, end: datetime, columns: int) -> str:
    ticks = max(1, columns // 24)
    form = "%d %b %H:%M" if end - begin <= timedelta(days=14) else "%d %b %Y"
    labels = [(begin + (end - begin) * tick / ticks).astimezone().strftime(form) for tick in range(ticks + 1)]
    axis = [" "] * columns
    for tick, label in enumerate(labels):
        at = min(max(columns * tick // ticks - len(label) // 2, 0), columns - len(label))
        axis[at : at + len(label)] = label
    return "".join(axis).rstrip()
