"""A counter's edges: readings are corrected by them, and the stated uncertainty holds and is not padded."""

from __future__ import annotations

import bisect
import math
import random
from collections import Counter
from itertools import accumulate, pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattloop.footprint import Footprint
from wattloop.grid.intensity import ConstantIntensity
from wattloop.meters.base import Correction
from wattloop.meters.nvml import NvmlMeter
from wattloop.sampler import Settlement, Snapshot

TICK_S = 1.0
CALL_S = 2e-5
STAYS_S = 0.25
"""Time for which a run stays subscribed after its last reading."""


class Board:
    """GPUs in simulated time: power in pieces, and counters that show the energy of their last refresh.

    Each GPU's refreshes come a little after those of the one before. Every call takes `call_s` and up to `unrest_s`
    more; the counter is sampled at the end of a quick one and anywhere in a slow one. A refresh is early or late by up
    to `jitter_s`. The power is that of the moment, or, if `power_refresh_s` is given, a mean of the quarter before the
    last refresh (Yang et al., SC'24), times `power_scale`.
    """

    class NVMLError(Exception):
        pass

    def __init__(
        self,
        pieces: list[tuple[float, float]],
        refresh_s: float,
        phase_s: float = 0.0,
        *,
        gpus: int = 1,
        call_s: float = CALL_S,
        unrest_s: float = 0.0,
        jitter_s: float = 0.0,
        power_refresh_s: float = 0.0,
        power_scale: float = 1.0,
    ) -> None:
        self.now_s = 100.0
        self.gpus, self.call_s, self.calls = gpus, call_s, Counter[str]()
        self._unrest_s, self._jitter_s = unrest_s, jitter_s
        self._power_refresh_s, self._power_scale = power_refresh_s, power_scale
        self._chance = random.Random(phase_s)
        self._refresh_s, self._phase_s = refresh_s, phase_s
        self._begins = [0.0, *accumulate(length_s for length_s, _ in pieces)]
        self._watts = [watts for _, watts in pieces]
        self._joules = [0.0, *accumulate(length_s * watts for length_s, watts in pieces)]

    def energy_j(self, at_s: float) -> float:
        turns, rest_s = divmod(at_s, self._begins[-1])
        piece = min(bisect.bisect_right(self._begins, rest_s), len(self._watts)) - 1
        return turns * self._joules[-1] + self._joules[piece] + (rest_s - self._begins[piece]) * self._watts[piece]

    def power_w(self, at_s: float) -> float:
        if self._power_refresh_s:
            end_s = math.floor(at_s / self._power_refresh_s) * self._power_refresh_s
            begin_s = end_s - self._power_refresh_s / 4
            return self._power_scale * (self.energy_j(end_s) - self.energy_j(begin_s)) / (end_s - begin_s)
        piece = min(bisect.bisect_right(self._begins, at_s % self._begins[-1]), len(self._watts)) - 1
        return self._power_scale * self._watts[piece]

    def _asked(self, call: str) -> float:
        """Return the moment that a call tells of."""
        self.calls[call] += 1
        took_s = self.call_s + self._chance.uniform(0, self._unrest_s)
        told_s = self.now_s + (took_s if self.call_s <= CALL_S else self._chance.random() * took_s)
        self.now_s += took_s
        return told_s

    def _edge_s(self, gpu: int, beat: int) -> float:
        early_s = random.Random(gpu + self.gpus * beat).uniform(-1, 1) * self._jitter_s if self._jitter_s else 0.0
        return (beat + 0.37 * gpu) * self._refresh_s + self._phase_s + early_s

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: int) -> int:
        now_s = self._asked("energy")
        beat = math.floor((now_s - self._edge_s(gpu, 0)) / self._refresh_s) + 2
        while self._edge_s(gpu, beat) > now_s:
            beat -= 1
        return int(self.energy_j(self._edge_s(gpu, beat)) * 1e3)

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        return int(self.power_w(self._asked("power")) * 1e3)

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return int(uuid.removeprefix("GPU-"))

    def nvmlDeviceGetUUID(self, gpu: int) -> str:
        return f"GPU-{gpu}"

    def nvmlDeviceGetPciInfo(self, gpu: int) -> SimpleNamespace:
        return SimpleNamespace(busId=str(gpu))

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetName": "Fake",
            "nvmlDeviceGetEnforcedPowerLimit": 1_500_000,
        }
        if name not in answers:
            raise AttributeError(name)
        return lambda *args: answers[name]


class Session:
    """What the sampler's thread does for a run, in simulated time."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.meter = NvmlMeter(board, {}, lambda: board.now_s)
        self.footprint = Footprint(ConstantIntensity(100.0, "a test"))
        self.corrections: dict[float, list[Correction]] = {}
        self.looks = 0

    def until(self, end_s: float, ticks: bool = True) -> None:
        """Look for edges as long as the meter wants to, and read on every tick."""
        tick_s = self.board.now_s + TICK_S if ticks else math.inf
        while self.board.now_s < end_s:
            look_s = self.meter.next_look_s(self.board.now_s)
            self.board.now_s = max(self.board.now_s, min(tick_s, end_s, look_s or math.inf))
            if look_s is not None and self.board.now_s >= look_s:
                self.looks += 1
                for one in self.meter.look():
                    self.corrections.setdefault(one.mark_s, []).append(one)
                    self.footprint.settle(Settlement(one.mark_s, (one,)))
            elif self.board.now_s >= tick_s:
                self.footprint.take(Snapshot(self.board.now_s, self.meter.read()))
                tick_s += TICK_S

    def mark(self) -> float:
        """Return the energy when the counters were asked, of all GPUs."""
        mark_s = self.board.now_s
        self.footprint.take(Snapshot(mark_s, self.meter.mark(mark_s)))
        return self.board.gpus * self.board.energy_j(mark_s + min(self.board.call_s, CALL_S) / 2)

    def window(self, start_s: float, duration_s: float) -> tuple[float, float, float]:
        """Return the energy measured, the true energy, and the stated uncertainty, in joules."""
        self.board.now_s = start_s
        begin_j = self.mark()
        self.until(start_s + duration_s)
        end_s, end_j = self.board.now_s, self.mark()
        measured_j, uncertainty_j = self.footprint.totals.energy_j, self.footprint.uncertainty_j
        edges_j = self.footprint.edges_j
        self.until(end_s + STAYS_S, ticks=False)
        for one in self.corrections.get(end_s, []):
            measured_j += one.energy_j
            uncertainty_j += one.edge_j - edges_j[one.channel]
        return measured_j, end_j - begin_j, uncertainty_j

    def epochs(self, count: int, duration_s: float, unrest_s: float = 0.0) -> tuple[float, float]:
        """Return the worst error of some epochs as they are settled, and of bare reads of the counter, in joules."""
        chance = random.Random(count)
        borders: dict[float, tuple[float, float, float]] = {}
        next_s = self.board.now_s
        for _ in range(count + 1):
            self.board.now_s = mark_s = max(self.board.now_s, next_s)
            (reading,) = self.meter.mark(mark_s)
            borders[mark_s] = (reading.energy_j, self.meter._gpus[0]._value, self.board.energy_j(mark_s + CALL_S / 2))
            next_s = mark_s + duration_s + chance.uniform(0, unrest_s)
            self.until(next_s)
        self.until(self.board.now_s + STAYS_S, ticks=False)
        late_j = {mark_s: sum(one.energy_j for one in self.corrections.get(mark_s, [])) for mark_s in borders}
        settled = [energy_j - true_j + late_j[mark_s] for mark_s, (energy_j, _, true_j) in borders.items()]
        bare = [bare_j - true_j for _, bare_j, true_j in borders.values()]
        worst = [max(abs(end - begin) for begin, end in pairwise(errors)) for errors in (settled, bare)]
        return worst[0], worst[1]


def wave(period_s: float, low_w: float = 100.0, high_w: float = 500.0) -> list[tuple[float, float]]:
    return [(period_s / 2, low_w), (period_s / 2, high_w)]


CONSTANT = [(1.0, 300.0)]


def worst_epochs(
    pieces: list[tuple[float, float]], refresh_s: float, epoch_s: float, starts: int, **board: float
) -> list[tuple[float, float]]:
    """Return the worst settled and bare error of ten epochs, in joules, for many phases and starts."""
    chance = random.Random(2)
    worst = []
    for _ in range(starts):
        session = Session(Board(pieces, refresh_s, chance.random() * refresh_s, **board))  # type: ignore[arg-type]
        session.until(100.0 + chance.random())
        worst.append(session.epochs(10, epoch_s, board.get("unrest_s", 0.0)))
    return worst


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


profiles = st.lists(st.tuples(st.floats(0.01, 3.0), st.floats(20.0, 700.0)), min_size=1, max_size=8)
periods = st.sampled_from([0.01, 0.02, 0.05, 0.1])


def test_the_stated_uncertainty_holds_in_99_of_100_windows() -> None:
    held = []

    @settings(max_examples=500, deadline=None, database=None)
    @given(profiles, periods, st.floats(0, 1), st.floats(0, 1), st.floats(0.2, 60.0))
    def window(
        pieces: list[tuple[float, float]], refresh_s: float, phase: float, start: float, duration_s: float
    ) -> None:
        session = Session(Board(pieces, refresh_s, phase * refresh_s))
        measured_j, true_j, uncertainty_j = session.window(100.0 + start, duration_s)
        held.append(abs(measured_j - true_j) <= uncertainty_j)

    window()
    assert len(held) >= 500
    assert sum(held) >= 0.99 * len(held)


@pytest.mark.parametrize("refresh_s", [0.01, 0.02, 0.05, 0.1])
def test_the_uncertainty_is_not_padded(refresh_s: float) -> None:
    watts = 300.0
    for phase in range(10):
        session = Session(Board([(1.0, watts)], refresh_s, phase / 10 * refresh_s))
        measured_j, true_j, uncertainty_j = session.window(100.0, 10.0)
        bound_j = 2 * refresh_s * watts
        assert abs(measured_j - true_j) <= uncertainty_j <= 1.5 * bound_j


@pytest.mark.parametrize("refresh_s", [0.005, 0.01, 0.02, 0.05, 0.1])
def test_half_a_minute_is_right_to_a_thousandth(refresh_s: float) -> None:
    """Constant load and square waves, at any phase."""
    chance = random.Random(1)
    for pieces in (CONSTANT, wave(0.07), wave(0.13), wave(1.0)):
        for _ in range(100):
            board = Board(pieces, refresh_s, chance.random() * refresh_s)
            measured_j, true_j, _ = Session(board).window(100.0 + chance.random(), 30.0)
            assert measured_j == pytest.approx(true_j, rel=0.001)


def test_epochs_on_a_fast_wave_are_twice_as_right_as_two_bare_reads() -> None:
    worst = worst_epochs(wave(0.13), 0.02, 0.4, starts=50)
    assert middle([settled_j / bare_j for settled_j, bare_j in worst]) <= 0.5


@pytest.mark.parametrize(("unrest_s", "share"), [(0.0, 0.005), (0.001, 0.01)])
def test_epochs_in_step_with_the_counter_are_no_worse_than_two_bare_reads(unrest_s: float, share: float) -> None:
    """Ten epochs of four refreshes, 3.08 waves, each: the delays of bare reads nearly cancel.

    Where a bare read comes right after a refresh, it is wrong by less than anybody could settle; so small a share of
    the epoch's energy may be added then.
    """
    worst = worst_epochs(wave(0.13), 0.1, 0.4, starts=100, unrest_s=unrest_s, jitter_s=unrest_s)
    assert all(settled_j <= bare_j + share * 0.4 * 300.0 for settled_j, bare_j in worst)
    assert sum(settled_j <= bare_j for settled_j, bare_j in worst) >= 0.95 * len(worst)
    assert middle([settled_j / bare_j for settled_j, bare_j in worst]) <= 0.5


@pytest.mark.parametrize("jitter_s", [0.0, 0.001])
@pytest.mark.parametrize("refresh_s", [0.02, 0.05, 0.1])
def test_epochs_out_of_step_are_five_times_as_right_as_two_bare_reads(refresh_s: float, jitter_s: float) -> None:
    for pieces in (CONSTANT, wave(0.07), wave(0.13), wave(0.2), wave(0.5), wave(1.0)):
        worst = worst_epochs(pieces, refresh_s, 0.437, starts=15, jitter_s=jitter_s)
        ratios = [settled_j / bare_j for settled_j, bare_j in worst]
        assert middle(ratios) <= 0.2
        assert max(ratios) <= 1.0


@pytest.mark.parametrize("refresh_s", [0.02, 0.05, 0.1])
def test_power_that_lags_behind_is_not_believed(refresh_s: float) -> None:
    """A reading that is refreshed every 100 ms says little of a wave of 130 ms."""
    worst = worst_epochs(wave(0.13), refresh_s, 0.437, starts=60, power_refresh_s=0.1)
    ratios = [settled_j / bare_j for settled_j, bare_j in worst]
    assert middle(ratios) <= 0.5
    assert sum(ratio <= 1.0 for ratio in ratios) >= 0.95 * len(ratios)


def test_power_that_is_five_per_cent_off_takes_nothing_from_a_counter() -> None:
    chance = random.Random(4)
    for pieces in (CONSTANT, wave(0.13), wave(1.0)):
        for _ in range(30):
            board = Board(pieces, 0.1, chance.random() * 0.1, power_scale=0.95)
            measured_j, true_j, _ = Session(board).window(100.0 + chance.random(), 30.0)
            assert measured_j == pytest.approx(true_j, rel=0.001)


# -- drivers that take their time, and counters that do not ------------------------------------------------------------


@pytest.mark.parametrize("gpus", [1, 8])
@pytest.mark.parametrize("call_s", [0.004, 0.01, 0.02])
def test_behind_a_slow_driver_energy_is_within_its_uncertainty(call_s: float, gpus: int) -> None:
    chance = random.Random(5)
    for refresh_s in (0.02, 0.05, 0.1):
        for pieces in (CONSTANT, wave(0.13), wave(1.0)):
            for _ in range(10):
                board = Board(pieces, refresh_s, chance.random() * refresh_s, gpus=gpus, call_s=call_s)
                session = Session(board)
                measured_j, true_j, uncertainty_j = session.window(100.0 + chance.random(), 3 + 5 * chance.random())
                assert abs(measured_j - true_j) <= uncertainty_j
                assert uncertainty_j <= gpus * TICK_S * 300.0


@pytest.mark.parametrize(("call_s", "refresh_s"), [(0.004, 0.05), (0.004, 0.1), (0.01, 0.05), (0.01, 0.1)])
def test_the_rhythm_is_learnt_behind_a_slow_driver(call_s: float, refresh_s: float) -> None:
    for phase in range(10):
        session = Session(Board(CONSTANT, refresh_s, phase / 10 * refresh_s, call_s=call_s))
        session.window(100.0, 5.0)
        assert session.meter._gpus[0]._watch.regular
        assert session.meter._gpus[0]._watch.period_s == pytest.approx(refresh_s, rel=0.1)


def test_what_cannot_be_learnt_is_looked_for_ever_more_rarely() -> None:
    session = Session(Board(CONSTANT, 0.1, gpus=8, call_s=0.02))
    for _ in range(60):
        session.mark()
        session.until(session.board.now_s + 2.0)
    before = session.board.calls["energy"]
    for _ in range(60):
        session.mark()
        session.until(session.board.now_s + 2.0)
    assert (session.board.calls["energy"] - before) / 120 <= 2 * 8


@pytest.mark.parametrize("refresh_s", [0.001, 0.002, 0.003, 0.004, 0.005, 0.007])
def test_a_quick_counter_is_doubted_for_two_looks_at_most(refresh_s: float) -> None:
    for phase in range(20):
        session = Session(Board(CONSTANT, refresh_s, phase / 20 * refresh_s))
        measured_j, true_j, uncertainty_j = session.window(100.0, 10.0)
        assert abs(measured_j - true_j) <= uncertainty_j <= 2 * max(2 * 0.002, 1.1 * refresh_s) * 300.0


# -- what looking costs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refresh_s", [0.02, 0.05, 0.1])
def test_between_epochs_a_counter_is_read_once_a_second(refresh_s: float) -> None:
    session = Session(Board(wave(0.13), refresh_s))
    session.mark()
    session.until(160.0)
    before = session.board.calls.total()
    session.until(760.0)
    assert (session.board.calls.total() - before) / 600 <= 1.5


@pytest.mark.parametrize("refresh_s", [0.02, 0.05, 0.1])
def test_an_epoch_costs_few_looks_at_the_counter_and_half_a_period_of_power(refresh_s: float) -> None:
    calls = Counter[str]()
    for phase in range(10):
        session = Session(Board(wave(0.13), refresh_s, phase / 10 * refresh_s))
        session.epochs(25, 0.4)
        before = session.board.calls.copy()
        session.epochs(100, 0.4)
        calls += session.board.calls - before
    assert calls["energy"] / 1000 <= 6
    assert calls["power"] / 1000 <= 19  # 10 until the edge, 1 at the mark, 4 beside looks, and a check every 2 s


def test_an_irregular_counter_is_left_alone() -> None:
    class Irregular(Board):
        def nvmlDeviceGetTotalEnergyConsumption(self, gpu: int) -> int:
            self.now_s += CALL_S
            edges_s = (0.0, 0.013, 0.05, 0.061, 0.11, 0.18, 0.21, 0.29)
            turns, rest_s = divmod(self.now_s, 0.3)
            return int(self.energy_j(turns * 0.3 + edges_s[bisect.bisect_right(edges_s, rest_s) - 1]) * 1e3)

    session = Session(Irregular([(0.2, 100.0), (0.1, 600.0)], 0.1))
    measured_j, true_j, uncertainty_j = session.window(100.05, 10.0)
    assert abs(measured_j - true_j) <= uncertainty_j
    assert session.meter.next_look_s(session.board.now_s) is not None
    assert not session.meter._gpus[0]._watch.regular


def test_looking_ends_by_itself() -> None:
    session = Session(Board([(1.0, 300.0)], 0.02))
    session.window(100.0, 30.0)
    assert session.looks < 1500
    still = Session(Board([(1.0, 0.0)], 0.02))
    still.window(100.0, 30.0)
    assert still.looks < 1000
