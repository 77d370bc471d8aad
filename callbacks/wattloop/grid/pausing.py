"""Pause and Resume, exactly: the cleanest seconds of a window that add up to a job, with the idle power of its pauses.

A second of the job's first or last step of the window costs that step's intensity; a second of a step between them
costs ``1 - idle`` of it, since the machine draws its idle share there anyway. So for a given pair of first and last
step the best is to fill the cheapest steps (a fractional knapsack), and what remains is to find the pair. To look at
all of them would take hours: a price for every second that the job lacks bounds from below what a pair can cost, in
constant time, and at the price where that bound is highest few pairs remain (Lagrangian relaxation, then branch and
bound: Geoffrion 1974). Pairs are left out by such a bound or by the order of the best ones: the answer is exact.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import merge
from itertools import accumulate
from operator import add, itemgetter, sub

import msgspec

from wattloop.grid.window import NEARLY, Span, Window, append, flexible_start

INFINITE = float("inf")
ENOUGH = 1.0 - 1e-5
"""How near to the highest one a bound has to be; what it leaves is searched all the same."""
MANY = 2000
"""Pairs that are sooner searched than thinned out."""
FAR = 0.04
"""Share of the steps, in order of intensity, that takes longer to go through time and again than a bound to set up."""
MOST = 24
"""Bounds that are kept; each takes 32 bytes for each step."""
SHARES = (0.04, -0.04, 0.16, -0.16, 0.08, -0.08, 0.02, -0.02)
"""Where further prices lie: how many steps of the window they let a job run in more, as a share of all."""


def pause_and_resume(window: Window, duration_s: float, idle: float = 0.0) -> list[Span]:
    """Find the spans with the least emissions that add up to a duration, idle power between first and last counted.

    Args:
        window: Carbon intensity over time.
        duration_s: How long the job runs, in seconds; at most the window.
        idle: Power while paused, as a share of the power while running (0-1).

    Returns:
        The uninterrupted span of `flexible_start` where no pause makes it cleaner.
    """
    whole = flexible_start(window, duration_s)
    if idle >= 1.0:
        return [whole]
    best = window.cost([whole])
    pair = _cheapest(window, duration_s, idle, best) if idle > 0.0 else (0, len(window.values) - 1)
    spans = _filled(window, duration_s, idle, *pair) if pair else [whole]
    return spans if window.cost(spans, idle) < best * NEARLY else [whole]


def _filled(window: Window, duration_s: float, idle: float, first: int, last: int) -> list[Span]:
    """Fill the cheapest steps from a first to a last one."""
    edges, values = window.edges, window.values
    rate = {step: (1.0 - idle) * values[step] for step in range(first, last + 1)}
    if idle:
        rate[first], rate[last] = values[first], values[last]
    run_s, left_s = dict.fromkeys(rate, 0.0), duration_s
    for step in sorted(rate, key=rate.__getitem__):
        run_s[step] = min(left_s, edges[step + 1] - edges[step])
        left_s -= run_s[step]
        if left_s <= 0.0:
            break
    spans: list[Span] = []
    for step, ran_s in run_s.items():
        if ran_s:
            begin_s, end_s = edges[step], edges[step + 1]
            goes_on = bool(spans) and spans[-1][1] == begin_s
            at_end = run_s.get(step + 1) or (idle and step == first)  # no idle time before the first start
            if ran_s < end_s - begin_s and not goes_on and at_end:
                append(spans, end_s - ran_s, end_s)
            else:
                append(spans, begin_s, begin_s + ran_s if ran_s < end_s - begin_s else end_s)
    return spans


def _cheapest(window: Window, duration_s: float, idle: float, best: float) -> tuple[int, int] | None:
    """Return the first and last step of the best spans, or None where no pair costs less than the best known.

    What pairs cost is a Monge matrix: the cheapest seconds of two overlapping stretches cost together no more than
    those of their union and of their intersection, and idle power is additive. So the best last step never falls as the
    first one rises, and each row that is searched halves the columns for the others.
    """
    likely = _tightest(window, duration_s, idle)
    pairs, found = _Pairs(window, duration_s, idle, likely[0].price), None
    for run in likely:
        if run.last > run.first:
            cost = pairs.cost(run.first, run.last, best)
            if cost < best * NEARLY:
                best, found = cost, (run.first, run.last)
    rows, columns = pairs.candidates(best * NEARLY)
    stack = [(rows, 0, len(columns))]
    while stack:
        rows, low, high = stack.pop()
        rows = [row for row in rows if pairs.floors[row] < best * NEARLY]
        if not rows:
            continue
        middle = len(rows) // 2
        first = rows[middle]
        cost, at = pairs.best_last(first, columns, low, high)
        if cost < best * NEARLY:
            best, found = cost, (first, columns[at])
        stack += [(rows[:middle], low, at + 1), (rows[middle + 1 :], at, high)]
    return found


class _Relaxed(msgspec.Struct, frozen=True):
    """The best run at a price per second, however long: it costs ``cost`` and lasts ``run_s``."""

    price: float
    cost: float
    run_s: float
    first: int
    last: int


def _relax(window: Window, idle: float, price: float) -> _Relaxed:
    """Take each second that costs less than its price, and of all stretches of steps the one with the greatest gain."""
    limit, edges = price / (1.0 - idle), window.edges
    lengths = map(sub, edges[1:], edges)
    costs = [
        area - price * length if value < limit else idle * area
        for value, area, length in zip(window.values, window.areas, lengths, strict=True)
    ]
    heads = list(accumulate(costs, initial=0.0))
    tops = list(accumulate(heads, max))
    gains = list(map(sub, heads, tops))
    gain = min(gains)
    last = gains.index(gain)
    first = heads.index(tops[last])
    run_s = sum(
        end - begin
        for value, begin, end in zip(
            window.values[first:last], edges[first:last], edges[first + 1 : last + 1], strict=True
        )
        if value < limit
    )
    return _Relaxed(price, gain + price * run_s, run_s, first, last - 1)


def _tightest(window: Window, duration_s: float, idle: float) -> tuple[_Relaxed, ...]:
    """Find the price at which the bound is highest: where the best run changes from too short to too long.

    Returns:
        The best run at that price, and the nearest ones known that are too short and too long.
    """
    short = _Relaxed(0.0, 0.0, 0.0, 0, 0)
    long = _Relaxed(0.0, window.heads[-1], window.edges[-1], 0, len(window.values) - 1)
    while True:
        known_s = short.run_s, long.run_s
        price = (long.cost - short.cost) / (long.run_s - short.run_s)
        between = _relax(window, idle, price)
        highest = short.cost + price * (duration_s - short.run_s)
        bound = between.cost + price * (duration_s - between.run_s)
        if between.run_s == duration_s or bound >= highest * ENOUGH:
            return between, short, long
        if between.run_s < duration_s:
            short = between
        else:
            long = between
        if (short.run_s, long.run_s) == known_s:  # all that is left to gain is rounding
            return between, short, long


class _Priced(msgspec.Struct, frozen=True):
    """The bound at one price: ``floor + firsts[first] + lasts[last]``; and the running time it has between edges."""

    price: float
    floor: float
    firsts: array[float]
    lasts: array[float]
    run_s: array[float]
    rising: list[int]
    falling: list[int]


class _Pairs:
    """What a job costs from a first to a last step of a window."""

    def __init__(self, window: Window, duration_s: float, idle: float, price: float) -> None:
        self.window, self.duration_s, self.idle = window, duration_s, idle
        self.lengths = list(map(sub, window.edges[1:], window.edges))
        self.each = list(zip(window.values, window.areas, self.lengths, strict=True))
        self.order = sorted(range(len(self.lengths)), key=window.values.__getitem__)
        self.bounds = [self._priced(price)]
        self.floors = [0.0] * len(self.lengths)

    def candidates(self, cutoff: float) -> tuple[list[int], list[int]]:
        """Return the first and the last steps of all pairs that may cost less than a cutoff.

        Where they are many, more prices thin them out: pairs unlike the best one have their highest bound elsewhere.
        """
        size = len(self.order)
        rows, columns = self._below(self.bounds[0], range(size - 1), range(1, size), cutoff)
        middle = len(self.bounds[0].falling)
        for share in SHARES:
            if len(rows) * len(columns) <= MANY:
                break
            rank = min(max(middle + round(size * share), 0), size - 1)
            self.bounds.append(self._priced((1.0 - self.idle) * self.window.values[self.order[rank]]))
            rows, columns = self._below(self.bounds[-1], rows, columns, cutoff)
        edges = self.window.edges
        latest_s = edges[columns[-1] + 1] - self.duration_s if columns else -1.0
        return [row for row in rows if edges[row] <= latest_s and row < columns[-1]], columns

    def _below(
        self, bound: _Priced, rows: Sequence[int], columns: Sequence[int], cutoff: float
    ) -> tuple[list[int], list[int]]:
        """Keep the first and last steps that a bound leaves below a cutoff."""
        firsts, lasts, floors, room = bound.firsts, bound.lasts, self.floors, cutoff - bound.floor
        kept_rows, kept_columns = [], []
        lowest = [*accumulate((lasts[column] for column in reversed(columns)), min)][::-1]
        lowest.append(INFINITE)
        at, size = 0, len(columns)
        for row in rows:
            while at < size and columns[at] <= row:
                at += 1
            rest = firsts[row] + lowest[at]
            if rest < room:
                kept_rows.append(row)
                floors[row] = max(floors[row], bound.floor + rest)
        at, size, first = 0, len(rows), INFINITE
        for column in columns:
            while at < size and rows[at] < column:
                first = min(first, firsts[rows[at]])
                at += 1
            if first + lasts[column] < room:
                kept_columns.append(column)
        return kept_rows, kept_columns

    def _priced(self, price: float) -> _Priced:
        idle, limit = self.idle, price / (1.0 - self.idle)
        inner = [a - price * s if v < limit else idle * a for v, a, s in self.each]
        ends = [a - price * s if v < price else 0.0 for v, a, s in self.each]
        heads = list(accumulate(inner, initial=0.0))
        under = self._rank(price)
        return _Priced(
            price=price,
            floor=price * self.duration_s,
            firsts=array("d", map(sub, ends, heads[1:])),
            lasts=array("d", map(add, ends, heads)),
            run_s=array("d", accumulate([s if v < limit else 0.0 for v, _, s in self.each], initial=0.0)),
            rising=self.order[under:],
            falling=self.order[:under][::-1],
        )

    def best_last(self, first: int, columns: list[int], low: int, high: int) -> tuple[float, int]:
        """Return the least cost from a first step on, and where in the columns its last step is."""
        edges, soonest_s = self.window.edges, self.window.edges[first] + self.duration_s
        low = max(low, bisect_right(columns, first))
        while low < high and edges[columns[low] + 1] < soonest_s:
            low += 1
        candidates = columns[low:high]
        floors = [0.0] * len(candidates)
        for bound in self.bounds:
            base = bound.floor + bound.firsts[first]
            floors = list(map(max, floors, [base + bound.lasts[column] for column in candidates]))
        best, at = INFINITE, low
        for k in sorted(range(len(floors)), key=floors.__getitem__):
            if floors[k] >= best:
                break
            cost = self.cost(first, candidates[k], best)
            if cost < best:
                best, at = cost, low + k
        return best, at

    def cost(self, first: int, last: int, cutoff: float) -> float:
        """Return what the best run from a first to a last step costs, or at least the cutoff where it is no less."""
        values, lengths, inner = self.window.values, self.lengths, 1.0 - self.idle
        cost, bound = max(((b.floor + b.firsts[first] + b.lasts[last], b) for b in self.bounds), key=itemgetter(0))
        price = bound.price
        outer = sorted((values[step], lengths[step]) for step in (first, last))
        lacks_s = self.duration_s - (bound.run_s[last] - bound.run_s[first + 1])
        lacks_s -= sum(length for value, length in outer if value < price)
        order, sign = (bound.rising, 1.0) if lacks_s >= 0.0 else (bound.falling, -1.0)
        lacks_s *= sign
        within = ((inner * values[step], lengths[step]) for step in order if first < step < last)
        outer = [each for each in outer if (each[0] < price) == (sign < 0.0)]
        if sign < 0.0:
            outer.reverse()
        rate = price
        for rate, length in merge(within, outer, key=itemgetter(0), reverse=sign < 0.0):
            if lacks_s <= 0.0 or cost >= cutoff:
                break
            changed_s = min(lacks_s, length)
            cost += sign * (rate - price) * changed_s
            lacks_s -= changed_s
        self._note(bound, rate)
        return cost if lacks_s <= 1e-6 or cost >= cutoff else INFINITE

    def _note(self, bound: _Priced, price: float) -> None:
        """Bound at a price, too, that was long to reach from the nearest one: the next pair may be a neighbour."""
        steps = abs(self._rank(price) - len(bound.falling))
        if steps > FAR * len(self.order) and len(self.bounds) < MOST:
            self.bounds.append(self._priced(price))

    def _rank(self, price: float) -> int:
        return bisect_left(self.order, price / (1.0 - self.idle), key=self.window.values.__getitem__)
