"""When to run a job whose machine is reserved already, and draws its idle power whether the job runs or not."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from wattloop.grid.window import NEARLY, Span, Window, append


def stand_by(window: Window, duration_s: float, idle: float = 0.0) -> list[Span]:
    """Find the spans with the least emissions that add up to a duration, idle power from now to the end counted.

    For each step in which the job may end, a second of that step costs its intensity, and a second of an earlier one
    ``1 - idle`` of it: the cheapest seconds of the earlier steps, the dearest of them given up for the last step's
    where those are cheaper. The earlier steps are kept in the order of their intensity from one end to the next.

    Args:
        window: Carbon intensity over time, from now.
        duration_s: How long the job runs, in seconds (> 0); at most the window.
        idle: Power while waiting, as a share of the power while running (0-1).

    Returns:
        The span that begins at once, where no wait makes it cleaner.
    """
    at_once = [(0.0, duration_s)]
    best, spans = window.upto(duration_s), at_once
    chosen: list[tuple[float, int, float]] = []  # intensity, step, seconds: the cheapest of the steps so far
    held_s = 0.0
    for last, value in enumerate(window.values):
        length_s = window.edges[last + 1] - window.edges[last]
        # What the last step takes over: what is missing, and what is dearer elsewhere.
        missing_s = duration_s - held_s
        taken_s = min(length_s, missing_s)
        rest = [*chosen]
        while rest and taken_s < length_s and (1.0 - idle) * rest[-1][0] > value:
            dearest, step, seconds = rest.pop()
            moved_s = min(seconds, length_s - taken_s)
            taken_s += moved_s
            if moved_s < seconds:
                rest.append((dearest, step, seconds - moved_s))
        if taken_s > 0.0 and missing_s <= length_s:
            end_s = window.edges[last] + taken_s
            cost = idle * window.upto(end_s) + (1.0 - idle) * (
                sum(value * seconds for value, _, seconds in rest) + value * taken_s
            )
            if cost < best * NEARLY:
                best, spans = cost, _spans(window, [*rest, (value, last, taken_s)])
        insort(chosen, (value, last, length_s))
        held_s += length_s
        while held_s > duration_s:
            dearest, step, seconds = chosen.pop()
            kept_s = seconds - min(seconds, held_s - duration_s)
            held_s -= seconds - kept_s
            if kept_s > 0.0:
                chosen.append((dearest, step, kept_s))
                break
    return spans


def _spans(window: Window, parts: Iterable[tuple[float, int, float]]) -> list[Span]:
    spans: list[Span] = []
    ordered = sorted((step, seconds) for _, step, seconds in parts)
    final = ordered[-1][0]
    for step, seconds in ordered:
        begin_s, end_s = window.edges[step], window.edges[step + 1]
        # A step used in part joins on to what comes before, if that ends where it begins; else to what follows.
        joins = step == final or (spans and spans[-1][1] >= begin_s)
        append(spans, *((begin_s, begin_s + seconds) if joins else (end_s - seconds, end_s)))
    return spans
