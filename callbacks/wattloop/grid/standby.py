"""When to run a job whose machine is reserved already, and draws its idle power whether the job runs or not."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator

from wattloop.grid.window import Span, Window, append

SAVES = 1.0 - 1e-9
"""What is not cheaper than this share of the best may be so by rounding, and is not worth a wait."""

Part = tuple[float, int, float]
"""Of a step: its intensity, which one it is, and how many of its seconds."""


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
    best, best_last = window.upto(duration_s), None
    for last, end in _ends(window, duration_s, idle):
        cost = idle * window.upto(window.edges[last] + end.seconds) + (1.0 - idle) * end.cost
        if cost < best * SAVES:
            best, best_last = cost, last
    if best_last is None:
        return [(0.0, duration_s)]
    end = next(end for last, end in _ends(window, duration_s, idle) if last == best_last)
    return _spans(window, [*end.parts(), (window.values[best_last], best_last, end.seconds)])


class _Cheapest:
    """The cheapest seconds of the steps so far, as many as the job is long, in the order of their intensity."""

    def __init__(self, duration_s: float) -> None:
        self.duration_s = duration_s
        self.parts: list[Part] = []
        self.held_s = self.cost = 0.0

    def add(self, value: float, step: int, length_s: float) -> None:
        """Take in a step, and give up what is dearest for it."""
        insort(self.parts, (value, step, length_s))
        self.held_s += length_s
        self.cost += value * length_s
        while self.held_s > self.duration_s:
            dearest, step, seconds = self.parts.pop()
            gone_s = min(seconds, self.held_s - self.duration_s)
            self.held_s -= gone_s
            self.cost -= dearest * gone_s
            if gone_s < seconds:
                self.parts.append((dearest, step, seconds - gone_s))
                break


class _End:
    """What a step does in which the job ends: what is missing before it, and what is dearer there.

    Args:
        before: What is cheapest of the earlier steps.
        value: The step's intensity.
        length_s: Its length, in seconds.
        idle: As for `stand_by`.

    Attributes:
        seconds: How long the job runs in it.
        cost: Intensity x seconds of the whole job.
    """

    def __init__(self, before: _Cheapest, value: float, length_s: float, idle: float) -> None:
        self._before, self._given = before, 0
        self.seconds = before.duration_s - before.held_s
        self.cost, self._part_s = before.cost, 0.0
        for dearest, _, seconds in reversed(before.parts):
            if self.seconds >= length_s or (1.0 - idle) * dearest <= value:
                break
            moved_s = min(seconds, length_s - self.seconds)
            self.seconds += moved_s
            self.cost -= dearest * moved_s
            self._given, self._part_s = self._given + 1, seconds - moved_s
        self.cost += value * self.seconds

    def parts(self) -> list[Part]:
        """Return what the job runs in before that step; it is to be asked before the next one is looked at."""
        parts = self._before.parts
        kept, given = parts[: len(parts) - self._given], parts[len(parts) - self._given :]
        return kept + [(value, step, self._part_s) for value, step, _ in given[:1] if self._part_s > 0.0]


def _ends(window: Window, duration_s: float, idle: float) -> Iterator[tuple[int, _End]]:
    """Go through the steps in which the job may end."""
    before = _Cheapest(duration_s)
    for last, value in enumerate(window.values):
        length_s = window.edges[last + 1] - window.edges[last]
        if duration_s - before.held_s <= length_s:
            end = _End(before, value, length_s, idle)
            if end.seconds > 0.0:
                yield last, end
        before.add(value, last, length_s)


def _spans(window: Window, parts: Iterable[Part]) -> list[Span]:
    spans: list[Span] = []
    ordered = sorted((step, seconds) for _, step, seconds in parts)
    final = ordered[-1][0]
    for step, seconds in ordered:
        begin_s, end_s = window.edges[step], window.edges[step + 1]
        # A step used in part joins on to what comes before, if that ends where it begins; else to what follows.
        joins = step == final or (spans and spans[-1][1] >= begin_s)
        append(spans, *((begin_s, begin_s + seconds) if joins else (end_s - seconds, end_s)))
    return spans
