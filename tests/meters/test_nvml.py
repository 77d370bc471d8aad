"""NVML through the real binding against a fake library of known power, and the arithmetic against scripted boards."""

from __future__ import annotations

import logging
import math
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.nvml import NO_DEVICE, FakeNvml
from wattloop.meters.base import MeterUnavailable, Reading
from wattloop.meters.checks import CHECKS
from wattloop.meters.nvml import NvmlMeter

NOT_SUPPORTED, INVALID_ARGUMENT, GPU_IS_LOST, UNKNOWN = 3, 2, 15, 999
NO_COUNTER = "error.total_energy=3;error.field_83=3"


class NvmlError(Exception):
    """Stands for ``pynvml.NVMLError``."""


class Board:
    """A scripted GPU: what it answers is what a test put there, be it true or not.

    ``counter_j`` and ``usage_w`` answer the plain calls, ``fields`` those of ``nvmlDeviceGetFieldValues`` in J and W;
    None is "not supported". ``run`` lets it draw power and time pass.
    """

    def __init__(self, uuid: str = "GPU-aa", limit_w: float | None = 700.0) -> None:
        self.uuid = uuid
        self.limit_w = limit_w
        self.counter_j: float | None = 5e6
        self.usage_w: float | None = 300.0
        self.fields: dict[int, float | None] = {}
        self.value_type = 0
        self.drawn_j = 0.0
        self.lost = False
        self.lookups_s: list[float] = []


class Machine:
    """Boards, a clock, and the functions of ``pynvml`` that a meter calls, over both."""

    NVMLError = NvmlError

    def __init__(self, *boards: Board) -> None:
        self.now_s = 1000.0
        self.boards = {board.uuid: board for board in boards or (Board(),)}
        self.shutdowns = 0

    @property
    def board(self) -> Board:
        (board,) = self.boards.values()
        return board

    def open(self) -> NvmlMeter:
        return NvmlMeter(nvml=self, environ={}, clock=lambda: self.now_s)

    def run(self, watts: float, seconds: float) -> None:
        self.now_s += seconds
        for board in self.boards.values():
            board.drawn_j += watts * seconds
            board.counter_j = None if board.counter_j is None else board.counter_j + watts * seconds
            board.usage_w = watts

    def nvmlInit(self) -> None:
        pass

    def nvmlShutdown(self) -> None:
        self.shutdowns += 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Board:
        return [*self.boards.values()][index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Board:
        board = self.boards[uuid]
        board.lookups_s.append(self.now_s)
        return self._answer(board, board)

    def nvmlDeviceGetUUID(self, board: Board) -> str:
        return board.uuid

    def nvmlDeviceGetName(self, board: Board) -> str:
        return "NVIDIA T4"

    def nvmlDeviceGetPciInfo(self, board: Board) -> SimpleNamespace:
        return SimpleNamespace(busId=f"00000000:{[*self.boards].index(board.uuid):02X}:00.0")

    def nvmlDeviceGetMigMode(self, board: Board) -> list[int]:
        raise NvmlError("Not Supported")

    def nvmlDeviceGetTotalEnergyConsumption(self, board: Board) -> float:
        return 1e3 * self._answer(board, board.counter_j)

    def nvmlDeviceGetPowerUsage(self, board: Board) -> float:
        return 1e3 * self._answer(board, board.usage_w)

    def nvmlDeviceGetEnforcedPowerLimit(self, board: Board) -> float:
        return 1e3 * self._answer(board, board.limit_w)

    def nvmlDeviceGetFieldValues(self, board: Board, fields: list[int]) -> list[SimpleNamespace]:
        self._answer(board, 0)
        return [
            SimpleNamespace(
                nvmlReturn=NOT_SUPPORTED if board.fields.get(field) is None else 0,
                valueType=board.value_type,
                value=SimpleNamespace(dVal=1e3 * (board.fields.get(field) or 0.0)),
            )
            for field in fields
        ]

    def _answer(self, board: Board, value: Any) -> Any:
        if board.lost:
            raise NvmlError("GPU is lost")
        if value is None:
            raise NvmlError("Not Supported")
        return value


def power_only(board: Board | None = None) -> Machine:
    machine = Machine(board or Board())
    machine.board.counter_j = None
    return machine


def only(meter: NvmlMeter) -> Reading:
    (reading,) = meter.read()
    return reading


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# -- against the fake library, through the real binding ---------------------------------------------------------------


@pytest.mark.parametrize("config", ["", "error.total_energy=3"])
@pytest.mark.parametrize("profile", ["constant:300", "square:100,500,0.013,0.3"])
def test_counted_energy_is_the_integral_of_power(fake_nvml: FakeNvml, profile: str, config: str) -> None:
    fake_nvml.reset(f"profile={profile};offset_j=123456;{config}")
    t0 = time.monotonic()
    meter = NvmlMeter(environ={})
    t1 = time.monotonic()
    time.sleep(0.02)
    t2 = time.monotonic()
    reading = only(meter)
    t3 = time.monotonic()
    meter.close()
    assert fake_nvml.energy_j(t1, t2) - 0.002 <= reading.energy_j <= fake_nvml.energy_j(t0, t3) + 0.002
    assert (reading.kind, reading.method, reading.uncertainty_j, reading.modelled_j) == ("gpu", "counter", 0.0, 0.0)
    assert reading.channel == "GPU-a0b1c200-fa4e-4000-8000-000000000000"


def test_integrated_energy_of_constant_power_is_exact(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset(f"profile=constant:250;{NO_COUNTER}")
    t0 = time.monotonic()
    meter = NvmlMeter(environ={})
    t1 = time.monotonic()
    for _ in range(4):
        time.sleep(0.005)
        t2 = time.monotonic()
        reading = only(meter)
    t3 = time.monotonic()
    meter.close()
    assert fake_nvml.energy_j(t1, t2) - 1e-6 <= reading.energy_j <= fake_nvml.energy_j(t0, t3) + 1e-6
    assert reading.method == "integrated"


def past_the_checks(meter: NvmlMeter) -> None:
    """Read a board as often as its power is read beside its counter, to check it once."""
    for _ in range(CHECKS):
        meter.read()


SOURCES = ["total_energy", "field_83", "field_186", "field_185", "power_usage"]


@pytest.mark.parametrize("offered", range(len(SOURCES)))
@pytest.mark.parametrize("code", [NOT_SUPPORTED, INVALID_ARGUMENT, UNKNOWN])
def test_the_best_source_that_answers_is_used(fake_nvml: FakeNvml, offered: int, code: int) -> None:
    fake_nvml.reset(";".join(f"error.{call}={code}" for call in SOURCES[:offered]))
    meter = NvmlMeter(environ={})
    past_the_checks(meter)
    before = [fake_nvml.calls(call) for call in SOURCES]
    reading = only(meter)
    meter.close()
    used = [call for call, calls in zip(SOURCES, before, strict=True) if fake_nvml.calls(call) > calls]
    assert used == [SOURCES[offered]]
    assert (reading.method, meter.interval_s) == (("counter", 1.0) if offered < 2 else ("integrated", 0.1))


def test_a_board_without_counter_and_power_is_left_out_and_the_other_measured(
    fake_nvml: FakeNvml, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nvml.reset("devices=2;" + ";".join(f"d0.error.{call}=3" for call in SOURCES))
    meter = NvmlMeter(environ={})
    assert [reading.channel[-1] for reading in meter.read()] == ["1"]
    meter.close()
    assert warnings(caplog) == ["GPU GPU-a0b1c200-fa4e-4000-8000-000000000000 is not measured: Not Supported"]


@pytest.mark.parametrize(
    ("visible", "channels"),
    [(None, "012"), ("1", "1"), ("2,0", "20"), ("GPU-a1", "1"), ("0,-1,2", "0")],
)
def test_only_the_gpus_of_this_process_are_measured(fake_nvml: FakeNvml, visible: str | None, channels: str) -> None:
    fake_nvml.reset("devices=3")
    meter = NvmlMeter(environ={} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert "".join(reading.channel[-1] for reading in meter.read()) == channels
    meter.close()


@pytest.mark.parametrize("config", ["devices=2;d1.name=NVIDIA L40S", "devices=2;mig=2;d1.name=NVIDIA L40S"])
def test_a_reading_names_the_model_of_its_board(fake_nvml: FakeNvml, config: str) -> None:
    fake_nvml.reset(config)
    meter = NvmlMeter(environ={})
    assert [reading.model for reading in meter.read()] == ["NVIDIA H100 80GB HBM3", "NVIDIA L40S"]
    meter.close()


def test_each_gpu_has_its_own_whole_energy(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("devices=3;d0.profile=constant:100;d1.profile=constant:200;d2.profile=constant:400")
    t0 = time.monotonic()
    meter = NvmlMeter(environ={})
    t1 = time.monotonic()
    time.sleep(0.02)
    t2 = time.monotonic()
    readings = meter.read()
    t3 = time.monotonic()
    meter.close()
    for device, reading in enumerate(readings):
        low_j, high_j = fake_nvml.energy_j(t1, t2, device), fake_nvml.energy_j(t0, t3, device)
        assert low_j - 0.002 <= reading.energy_j <= high_j + 0.002


def test_two_slices_of_a_board_are_the_board_once_and_shared(fake_nvml: FakeNvml) -> None:
    fake_nvml.reset("mig=2")
    meter = NvmlMeter(environ={"CUDA_VISIBLE_DEVICES": "MIG-b0c1d200,MIG-b1c2d301"})
    reading = only(meter)
    meter.close()
    assert (reading.channel, reading.shared) == ("GPU-a0b1c200-fa4e-4000-8000-000000000000", True)


@pytest.mark.parametrize(
    ("code", "why"), [(9, "Driver Not Loaded"), (12, "NVML Shared Library Not Found"), (999, "Unknown Error")]
)
def test_without_a_working_driver_it_says_why(fake_nvml: FakeNvml, code: int, why: str) -> None:
    fake_nvml.set_error(NO_DEVICE, "init", code)
    with pytest.raises(MeterUnavailable, match=f"no NVIDIA GPU is measured: {why}"):
        NvmlMeter(environ={})


@pytest.mark.parametrize(
    ("config", "visible"), [("devices=0", None), ("devices=2", ""), ("error.all=15", None), ("error.count=999", None)]
)
def test_without_a_usable_gpu_it_is_unavailable_and_nvml_is_let_go(
    fake_nvml: FakeNvml, config: str, visible: str | None
) -> None:
    fake_nvml.reset(config)
    with pytest.raises(MeterUnavailable, match="this process can use none that answers"):
        NvmlMeter(environ={} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert fake_nvml.calls("shutdown") == fake_nvml.calls("init") == 1


def test_closing_twice_lets_nvml_go_once(fake_nvml: FakeNvml) -> None:
    meter = NvmlMeter(environ={})
    meter.close()
    meter.close()
    assert fake_nvml.calls("shutdown") == 1


def test_a_handle_that_a_gpu_reset_made_invalid_is_looked_up_again(fake_nvml: FakeNvml) -> None:
    now_s = 0.0
    meter = NvmlMeter(environ={}, clock=lambda: now_s)
    fake_nvml.invalidate_handles(0)
    meter.read()
    lookups = fake_nvml.calls("handle_by_uuid")
    now_s = 1.0
    meter.read()
    before = fake_nvml.calls("total_energy")
    meter.read()
    meter.close()
    assert fake_nvml.calls("handle_by_uuid") == lookups + 1
    assert fake_nvml.calls("total_energy") == before + 1


def test_a_read_asks_a_healthy_board_one_thing(fake_nvml: FakeNvml) -> None:
    meter = NvmlMeter(environ={})
    past_the_checks(meter)
    before = fake_nvml.calls("all")
    for _ in range(5):
        meter.read()
    assert fake_nvml.calls("all") == before + 5
    meter.close()


# -- counters ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 700), st.floats(0.001, 100)), max_size=30))
@settings(deadline=None)
def test_a_true_counter_is_taken_at_its_word(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    meter = machine.open()
    for watts, seconds in steps:
        machine.run(watts, seconds)
        reading = only(meter)
        assert reading.energy_j == pytest.approx(machine.board.drawn_j, abs=1e-6)
        assert reading.modelled_j == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("lie_j", [-4e6, -1000.0, 1e6, math.nan])
def test_an_impossible_move_is_replaced_by_the_last_mean_power_and_flagged(
    lie_j: float, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()
    meter = machine.open()
    for _ in range(3):
        machine.run(200, 1)
        meter.read()
    assert machine.board.counter_j is not None
    true_j = machine.board.counter_j
    machine.board.counter_j += lie_j
    machine.run(200, 2)
    reading = only(meter)
    assert reading.energy_j == pytest.approx(3 * 200 + 2 * 200)
    assert (reading.modelled_j, reading.uncertainty_j) == pytest.approx((400, 400))
    if math.isnan(lie_j):
        machine.board.counter_j = true_j + 400
        meter.read()
    for _ in range(3):
        machine.run(100, 1)
        reading = only(meter)
    assert reading.energy_j == pytest.approx(1000 + 300)
    assert reading.modelled_j == pytest.approx(400)
    assert len(warnings(caplog)) == 1
    assert "its last mean power, 200 W, fills the gap" in warnings(caplog)[0]


def test_up_to_one_and_a_half_times_its_limit_a_counter_is_believed() -> None:
    machine = Machine(Board(limit_w=400))
    meter = machine.open()
    machine.run(400, 10)
    meter.read()
    machine.run(595, 10)
    assert only(meter).modelled_j == 0
    machine.run(700, 10)
    assert only(meter).modelled_j > 0


def test_a_limit_raised_during_the_run_is_asked_again() -> None:
    machine = Machine(Board(limit_w=100))
    meter = machine.open()
    machine.board.limit_w = 700
    machine.run(650, 10)
    reading = only(meter)
    assert (reading.energy_j, reading.modelled_j) == (6500, 0)


@pytest.mark.parametrize("limit_w", [None, 0.0, math.nan, math.inf])
def test_a_board_that_tells_no_limit_is_believed_within_reason(limit_w: float | None) -> None:
    machine = Machine(Board(limit_w=limit_w))
    meter = machine.open()
    machine.run(1000, 1)
    assert only(meter).modelled_j == 0
    machine.run(100_000, 1)
    assert only(meter).modelled_j > 0


def test_a_counter_that_refreshes_seldom_is_not_lying() -> None:
    machine = Machine(Board(limit_w=300))
    meter = machine.open()
    for _ in range(10):
        for _ in range(9):
            machine.now_s += 0.05
            meter.read()
        machine.run(0, 0.05)
        machine.board.counter_j = (machine.board.counter_j or 0.0) + 300 * 0.5
        reading = only(meter)
    assert reading.energy_j == pytest.approx(300 * 5)
    assert (reading.modelled_j, reading.uncertainty_j) == (0, 0)


def test_mean_power_is_known_from_quick_reads_too() -> None:
    machine = Machine()
    machine.board.usage_w = 10.0
    meter = machine.open()
    for _ in range(10):
        machine.run(300, 0.04)
        reading = only(meter)
    assert reading.edge_j == pytest.approx(0.1 * 300 + 0.001)


def test_a_reading_tells_the_power_of_late_and_the_most_there_can_be() -> None:
    machine = Machine(Board(limit_w=400))
    meter = machine.open()
    reading = only(meter)
    assert (reading.power_w, reading.most_w) == (300, 400)  # of the moment, as long as there is no mean
    machine.run(200, 1)
    assert only(meter).power_w == pytest.approx(200)
    machine.board.limit_w = 700
    machine.run(650, 10)
    reading = only(meter)
    assert (reading.power_w, reading.most_w) == pytest.approx((650, 700))
    machine.board.lost = True
    machine.run(100, 1)
    assert only(meter).power_w == pytest.approx(650)


def test_a_board_without_a_counter_tells_its_power_too() -> None:
    machine = power_only()
    meter = machine.open()
    machine.run(250, 1)
    assert only(meter).power_w == 250


def test_a_slow_driver_keeps_a_reader_waiting_for_one_look_only() -> None:
    class Slow(Machine):
        def nvmlDeviceGetTotalEnergyConsumption(self, board: Board) -> float:
            self.now_s += 0.01
            return super().nvmlDeviceGetTotalEnergyConsumption(board)

    machine = Slow(*(Board(f"GPU-{index}") for index in range(8)))
    meter = machine.open()
    meter.mark(machine.now_s)
    for _ in range(8):
        machine.now_s = meter.next_look_s(machine.now_s) or math.inf
        before_s = machine.now_s
        meter.look()
        assert machine.now_s - before_s <= 0.011


def test_power_is_asked_of_the_source_that_answered() -> None:
    class Counting(Machine):
        asked = 0

        def nvmlDeviceGetFieldValues(self, board: Board, fields: list[int]) -> list[SimpleNamespace]:
            self.asked += 1
            return super().nvmlDeviceGetFieldValues(board, fields)

    machine = Counting()
    meter = machine.open()
    machine.asked = 0
    for _ in range(10):
        machine.run(300, 0.5)
        meter.mark(machine.now_s)
    assert machine.asked == 0


def test_a_counter_that_stands_still_for_a_second_draws_nothing() -> None:
    machine = Machine()
    meter = machine.open()
    machine.run(300, 1)
    meter.read()
    for _ in range(9):
        machine.run(0, 0.1)
        assert only(meter).edge_j > 30
    machine.run(0, 0.1001)
    assert only(meter).edge_j == pytest.approx(0.001)
    machine.board.lost = True
    machine.run(0, 100)
    assert only(meter).energy_j == pytest.approx(300)


def test_what_the_counter_may_not_show_yet_is_its_refresh_times_power_and_its_last_millijoule() -> None:
    machine = Machine()
    meter = machine.open()
    machine.run(250, 1)
    assert only(meter).edge_j == pytest.approx(0.1 * 250 + 0.001)


def test_counter_energy_of_a_board_whose_power_lies_at_the_start() -> None:
    machine = Machine()
    machine.board.usage_w = 4_294_967.0
    meter = machine.open()
    assert only(meter).edge_j < 0.1 * 1.5 * 700
    machine.board.lost = True
    machine.now_s += 1
    assert only(meter).energy_j <= 1.5 * 700


# -- boards that go away ----------------------------------------------------------------------------------------------


def test_a_lost_board_goes_on_at_its_last_power_and_is_set_right_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Machine()
    meter = machine.open()
    machine.run(200, 10)
    meter.read()
    machine.board.lost = True
    for second in range(1, 11):
        machine.run(350, 1)
        reading = only(meter)
        assert reading.energy_j == pytest.approx(2000 + 200 * second)
        assert (reading.modelled_j, reading.uncertainty_j) == pytest.approx((200 * second,) * 2)
    machine.board.lost = False
    machine.run(350, 60)
    reading = only(meter)
    assert reading.energy_j == pytest.approx(2000 + 350 * 70)
    assert (reading.modelled_j, reading.uncertainty_j) == (0, 0)
    assert warnings(caplog) == ["GPU GPU-aa: GPU is lost; its last mean power, 200 W, fills the gap"]


def test_a_gap_filled_too_high_is_never_taken_back_but_owned_up_to() -> None:
    machine = Machine()
    meter = machine.open()
    machine.run(300, 1)
    meter.read()
    machine.board.lost = True
    machine.run(50, 10)
    filled = only(meter)
    machine.board.lost = False
    machine.run(50, 60)
    reading = only(meter)
    assert reading.energy_j == pytest.approx(max(filled.energy_j, machine.board.drawn_j)) == pytest.approx(3800)
    machine.board.lost = True
    machine.run(50, 0)
    meter.read()
    machine.board.lost = False
    machine.run(0, 2)
    reading = only(meter)
    assert reading.energy_j - reading.uncertainty_j <= machine.board.drawn_j + 1e-6


def test_a_gap_filled_too_high_is_uncertain_until_the_counter_has_caught_up() -> None:
    machine = Machine()
    meter = machine.open()
    machine.run(300, 1)
    meter.read()
    machine.board.lost = True
    machine.run(50, 2)
    meter.read()
    machine.board.lost = False
    machine.run(50, 2)
    reading = only(meter)
    assert reading.energy_j == pytest.approx(300 + 2 * 300)
    assert (reading.modelled_j, reading.uncertainty_j) == pytest.approx((400, 400))  # 900 J shown, 500 J drawn
    machine.run(50, 8)
    reading = only(meter)
    assert (reading.energy_j, reading.uncertainty_j) == pytest.approx((900, 0))


def test_a_lost_board_is_sought_by_uuid_ever_more_rarely() -> None:
    machine = Machine()
    meter = machine.open()
    machine.board.lost = True
    start_s = machine.now_s
    machine.board.lookups_s.clear()
    for _ in range(250):
        meter.read()
        machine.now_s += 1
    assert [at_s - start_s for at_s in machine.board.lookups_s] == [1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_a_board_is_sought_at_the_beat_on_which_its_pause_ends() -> None:
    machine = Machine()
    ticking = iter(range(100))
    meter = NvmlMeter(nvml=machine, environ={}, clock=lambda: machine.now_s + next(ticking) * 1e-6)
    machine.board.lost = True
    machine.board.lookups_s.clear()
    for _ in range(3):
        ticking = iter(range(100))
        meter.read()
        machine.now_s += 1
    assert len(machine.board.lookups_s) == 1


def test_a_gap_is_as_uncertain_as_the_power_seen_before_it() -> None:
    machine = Machine()
    meter = machine.open()
    for watts in (500, 100):
        machine.run(watts, 1)
        meter.read()
    machine.board.lost = True
    machine.run(450, 10)
    reading = only(meter)
    assert (reading.energy_j, reading.uncertainty_j) == pytest.approx((600 + 10 * 100, 10 * (500 - 100)))


def test_of_a_board_of_which_no_power_was_seen_the_limit_is_believed() -> None:
    machine = Machine()
    machine.board.usage_w = 50.0
    meter = machine.open()
    machine.board.lost = True
    machine.run(600, 10)
    reading = only(meter)
    assert (reading.energy_j, reading.uncertainty_j) == pytest.approx((10 * 50, 10 * (700 - 50)))


def test_a_board_that_returned_is_given_up_as_slowly_as_the_first_time() -> None:
    machine = Machine()
    meter = machine.open()
    for _ in range(2):
        machine.board.lost = True
        for _ in range(20):
            meter.read()
            machine.now_s += 1
        machine.board.lost = False
        machine.now_s += 60
        meter.read()
    machine.board.lost = True
    meter.read()
    machine.board.lookups_s.clear()
    start_s = machine.now_s
    machine.now_s += 1
    meter.read()
    assert machine.board.lookups_s == [start_s + 1]


def test_a_lost_board_leaves_its_neighbour_alone() -> None:
    first, second = Board("GPU-aa"), Board("GPU-bb")
    machine = Machine(first, second)
    meter = machine.open()
    first.lost = True
    machine.run(200, 5)
    lost, healthy = meter.read()
    assert lost.modelled_j > 0
    assert (healthy.channel, healthy.energy_j, healthy.modelled_j) == ("GPU-bb", 1000, 0)


def test_a_counter_that_was_reset_while_the_board_was_away_is_filled_in() -> None:
    machine = Machine()
    meter = machine.open()
    machine.run(200, 10)
    meter.read()
    machine.board.lost = True
    meter.read()
    machine.board.counter_j, machine.board.lost = 0.0, False
    machine.run(200, 30)
    reading = only(meter)
    assert (reading.energy_j, reading.modelled_j) == pytest.approx((2000 + 6000, 6000))
    machine.run(100, 1)
    assert only(meter).energy_j == pytest.approx(8100)


events = st.one_of(
    st.tuples(st.just("run"), st.floats(0, 700), st.floats(0.001, 30)),
    st.tuples(st.just("lose"), st.floats(0, 700), st.floats(0.001, 30)),
    st.tuples(st.just("find"), st.floats(0, 700), st.floats(0.001, 30)),
)


@given(st.lists(events, max_size=40))
@settings(deadline=None)
def test_outages_of_a_true_counter_stay_within_the_stated_uncertainty(script: list[tuple[str, float, float]]) -> None:
    machine = Machine()
    meter = machine.open()
    last_j = 0.0
    for word, watts, seconds in script:
        machine.board.lost = word == "lose" or (machine.board.lost and word == "run")
        machine.run(watts, seconds)
        reading = only(meter)
        assert reading.energy_j >= last_j
        assert 0 <= reading.modelled_j <= reading.energy_j + 1e-6
        assert reading.energy_j - reading.uncertainty_j <= machine.board.drawn_j + 1e-6
        last_j = reading.energy_j
    machine.board.lost = False
    machine.run(1, 61)  # longer than it may wait before it looks again
    reading = only(meter)
    assert reading.energy_j - reading.uncertainty_j - 1e-6 <= machine.board.drawn_j <= reading.energy_j + 1e-6


anything = st.one_of(st.none(), st.floats(), st.floats(-1e9, 1e9), st.integers(0, 2**64))


@given(st.booleans(), st.lists(st.tuples(st.booleans(), anything, anything, st.floats(0, 100)), max_size=40))
@settings(deadline=None)
def test_whatever_a_board_answers_energy_never_falls_and_nothing_is_raised(
    counts: bool, script: list[tuple[bool, Any, Any, float]]
) -> None:
    machine = Machine() if counts else power_only()
    meter = machine.open()
    last = only(meter)
    for lost, value, limit_w, seconds in script:
        board = machine.board
        board.lost, board.limit_w = lost, limit_w
        board.counter_j = value if counts else None
        board.usage_w = value
        machine.now_s += seconds
        reading = only(meter)
        assert last.energy_j <= reading.energy_j < math.inf
        assert 0 <= reading.modelled_j <= reading.energy_j * (1 + 1e-9) + 1e-6
        assert 0 <= reading.uncertainty_j < math.inf
        last = reading


# -- power readings ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 700), st.floats(0.001, 10)), max_size=30))
@settings(deadline=None)
def test_power_is_integrated_as_straight_lines_with_their_error(steps: list[tuple[float, float]]) -> None:
    machine = power_only()
    meter = machine.open()
    last_w, true_j = 300.0, 0.0
    for watts, seconds in steps:
        machine.run(watts, seconds)
        true_j += (last_w + watts) / 2 * seconds
        last_w = watts
        reading = only(meter)
        assert (reading.method, reading.edge_j, reading.modelled_j) == ("integrated", 0, pytest.approx(0, abs=1e-6))
        assert reading.energy_j == pytest.approx(true_j, abs=1e-6)
        assert reading.uncertainty_j == pytest.approx(0.05 * true_j, abs=1e-6)  # Yang et al., SC'24


@pytest.mark.parametrize("garbage_w", [4_294_967.295, -1.0, math.nan, math.inf])
def test_an_impossible_power_is_a_gap(garbage_w: float) -> None:
    machine = power_only()
    meter = machine.open()
    machine.run(300, 1)
    meter.read()
    machine.now_s += 1
    machine.board.usage_w = garbage_w
    reading = only(meter)
    assert (reading.energy_j, reading.modelled_j) == pytest.approx((600, 300))
    machine.run(300, 1)
    reading = only(meter)
    assert (reading.energy_j, reading.modelled_j) == pytest.approx((900, 600))


@pytest.mark.parametrize("garbage_w", [4_294_967.295, -1.0, math.nan])
def test_a_source_of_impossible_power_is_passed_over(garbage_w: float) -> None:
    machine = power_only()
    machine.board.fields = {186: garbage_w, 185: 100.0}
    meter = machine.open()
    machine.now_s += 1
    assert only(meter).energy_j == pytest.approx(100)


def test_a_board_of_nothing_but_impossible_power_is_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    machine = power_only()
    machine.board.usage_w = 4_294_967.0
    with pytest.raises(MeterUnavailable):
        machine.open()
    assert warnings(caplog) == ["GPU GPU-aa is not measured: it reports 4294967 W"]
    assert machine.shutdowns == 1


def test_a_gap_in_power_readings_stays_modelled() -> None:
    machine = power_only()
    meter = machine.open()
    machine.board.lost = True
    machine.run(300, 5)
    meter.read()
    machine.board.lost = False
    machine.run(500, 5)
    reading = only(meter)
    assert (reading.energy_j, reading.modelled_j) == pytest.approx((400 * 10, 400 * 10))


# -- old and odd bindings ---------------------------------------------------------------------------------------------


def test_a_field_of_unknown_type_is_no_value() -> None:
    machine = power_only()
    machine.board.fields, machine.board.value_type = {83: 1.0, 186: 1.0}, 6
    meter = machine.open()
    machine.now_s += 1
    assert only(meter).energy_j == pytest.approx(300)


def test_a_binding_without_a_function_is_a_board_without_it() -> None:
    class Old(Machine):
        nvmlDeviceGetTotalEnergyConsumption = property()  # type: ignore[assignment]
        nvmlDeviceGetFieldValues = property()  # type: ignore[assignment]

    machine = Old()
    meter = machine.open()
    machine.now_s += 1
    reading = only(meter)
    assert (reading.method, reading.energy_j) == ("integrated", pytest.approx(300))


def test_a_binding_that_answers_in_bytes_is_understood() -> None:
    class Bytes(Machine):
        def nvmlDeviceGetUUID(self, board: Board) -> bytes:  # type: ignore[override]
            return board.uuid.encode()

    assert only(Bytes().open()).channel == "GPU-aa"


def test_a_counter_that_leaps_while_it_is_watched_teaches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    meter = machine.open()
    leap_j = 0.0

    def run(seconds: float) -> None:
        machine.run(300, seconds)
        machine.board.counter_j = 5e6 + 6 * math.floor(machine.board.drawn_j / 6) + leap_j  # it moves every 20 ms

    for _ in range(5):
        run(1)
        before = meter.mark(machine.now_s)[0]
        for _ in range(200):
            run(0.002)
            meter.look()
    assert meter.mark(machine.now_s)
    leap_j = 1e6
    run(0.002)
    assert meter.look() == ()
    run(1)
    reading = only(meter)
    assert reading.edge_j <= before.edge_j * 1.01
    assert reading.energy_j == pytest.approx(machine.board.drawn_j, rel=0.1)
    assert len(warnings(caplog)) == 1
