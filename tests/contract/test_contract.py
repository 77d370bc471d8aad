"""The contract that every front end keeps: one suite, real training, truth from the fake hardware's own integral."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import re
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contract.fronts import Front, fronts, same
from fakes.nvml import FakeNvml
from wattloop import Budget
from wattloop.journal import End, Epoch, Start, Stop

J_PER_KWH = 3.6e6
INTERVAL_S = 0.05

KEYS = {
    *("energy/kwh", "energy/gpu_kwh", "energy/cpu_kwh", "energy/epoch_kwh", "energy/measured_fraction", "power/watts"),
    *("emissions/kg_co2e", "emissions/epoch_kg_co2e", "grid/g_co2e_per_kwh"),
    *("forecast/kwh", "forecast/kwh_low", "forecast/kwh_high"),
    *("forecast/kg_co2e", "forecast/kg_co2e_low", "forecast/kg_co2e_high"),
}


@pytest.fixture(params=fronts(), ids=lambda front: front.name)
def front(request: pytest.FixtureRequest) -> Front:
    return request.param


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("wattloop")] == []


class Load:
    """A training load: the GPUs draw nothing before the first step and nothing after the last.

    So the energy of the run is the fake's integral over all time, whatever else the framework does around it.
    """

    def __init__(
        self,
        fake: FakeNvml,
        steps: int,
        step_s: float,
        *,
        watts: float = 300.0,
        devices: int = 1,
        same_machine: bool = False,
    ) -> None:
        self.steps, self.step_s, self.watts, self.devices = steps, step_s, watts, devices
        self._fake = fake
        self.began_s: list[float] = []
        if not same_machine:
            fake.reset(f"devices={devices};profile=constant:0;refresh_s=0.005")
        self.start_s = time.monotonic()

    def __call__(self, step: int) -> None:
        self.began_s.append(time.monotonic())
        if step == 0:
            # The start of the run lies in a refresh of its own, in which nothing is drawn.
            time.sleep(0.006)
            self.power_on()
        self.work(step)
        if step == self.steps - 1:
            self.power_off()

    def work(self, step: int) -> None:
        time.sleep(self.step_s)

    def power_on(self) -> None:
        for device in range(self.devices):
            self._fake.set_power(device, self.watts)

    def power_off(self) -> None:
        for device in range(self.devices):
            self._fake.set_power(device, 0.0)
        # The counter shows the end of the load from its next refresh on.
        time.sleep(0.006)

    @property
    def kwh(self) -> float:
        return self._fake.energy_j(self.start_s, time.monotonic()) / J_PER_KWH


class StepLoad(Load):
    """A load whose steps cost what they cost however long they take: the counter is moved by hand."""

    def power_on(self) -> None:
        self.total_j = 0.0

    def work(self, step: int) -> None:
        super().work(step)
        self._fake.add_to_counter(0, self.joules(step))
        self.total_j += self.joules(step)

    def joules(self, step: int) -> float:
        return 3.0

    def power_off(self) -> None:
        pass

    @property
    def kwh(self) -> float:
        return self.total_j / J_PER_KWH


class SquareLoad(Load):
    """100 W and 500 W in turns."""

    def power_on(self) -> None:
        for device in range(self.devices):
            self._fake.set_square(device, 100.0, 500.0, 0.7 + 0.1 * device)


def options(**more: Any) -> dict[str, Any]:
    return {"region": "FR", "interval_s": INTERVAL_S, **more}


def test_takes_every_option(front: Front, tmp_path: Path) -> None:
    callback = front.callback(
        region="US-CA",
        intensity=250.0,
        pue=1.2,
        budget=Budget(kg_co2e=2.0, kwh=5.0, on_exceed="warn"),
        total_epochs=3,
        total_steps=300,
        log_dir=tmp_path,
        log_every_n_steps=10,
        interval_s=0.5,
        modelled_cpu=True,
        powercap_root=str(tmp_path),
    )
    settings = front.run(callback).settings
    assert (settings.region, settings.pue, settings.total_steps) == ("US-CA", 1.2, 300)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"pue": 0.9}, r"pue=0\.9 is not accepted; give a number from 1"),
        ({"pue": math.nan}, r"pue=nan is not accepted"),
        ({"region": "Frnace"}, r"region='Frnace' is not known; did you mean 'FR' \(France\)"),
        ({"total_epochs": 0}, r"total_epochs=0 is not accepted; give a whole number of 1 or more"),
        ({"intensity": -5.0}, r"intensity=-5\.0 is not accepted"),
        ({"interval_s": 0}, r"interval_s=0 is not accepted"),
        ({"budget": 5.0}, r"budget=5\.0 is not accepted; give a Budget"),
    ],
)
def test_refuses_bad_values_at_construction(front: Front, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        front.callback(**bad)


def test_refuses_unknown_options_at_construction(front: Front) -> None:
    with pytest.raises(TypeError, match=r"unknown option regoin='FR'; did you mean 'region'\? Accepted: region, "):
        front.callback(regoin="FR")


def test_every_row_holds_every_key_from_the_first_on(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    load = Load(fake_nvml, steps=24, step_s=0.005)
    callback = front.callback(**options(budget=Budget(kwh=1.0), log_every_n_steps=4))
    outcome = front.train(callback, tmp_path, epochs=3, steps=8, log_every=4, work=load)

    expected = KEYS | {"budget/used_fraction"}
    assert outcome.error is None
    assert len(outcome.rows) >= 3
    whole = [row for row in outcome.rows if "energy/epoch_kwh" in row]
    assert [expected - row.keys() for row in whole] == [set()] * len(whole)
    assert expected <= outcome.rows[0].keys()
    if outcome.events:
        assert expected <= outcome.events.keys()
        assert len(outcome.event_files) == 1
        assert {len(outcome.events[tag]) for tag in expected if "/epoch_" not in tag} == {
            len(outcome.events["energy/kwh"])
        }


def test_energy_and_emissions_equal_what_the_gpu_drew(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    load = Load(fake_nvml, steps=40, step_s=0.01)
    callback = front.callback(**options(intensity=400.0, pue=1.5))
    outcome = front.train(callback, tmp_path, epochs=2, steps=20, log_every=10, work=load)

    last = outcome.rows[-1]
    doubt_kwh = front.run(callback).uncertainty_kwh
    assert last["energy/gpu_kwh"] == pytest.approx(load.kwh, rel=0.005, abs=doubt_kwh)
    assert last["energy/kwh"] == last["energy/gpu_kwh"]
    assert last["emissions/kg_co2e"] == pytest.approx(last["energy/kwh"] * 1.5 * 0.4, rel=1e-6)
    assert last["energy/measured_fraction"] == 1.0
    assert last["grid/g_co2e_per_kwh"] == 400.0


@pytest.mark.parametrize("load_type", [Load, SquareLoad], ids=["300W", "100-500W"])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_ten_seconds_are_right_to_half_a_percent_everywhere(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, load_type: type[Load], devices: int
) -> None:
    load = load_type(fake_nvml, steps=100, step_s=0.1, devices=devices)
    callback = front.callback(**options(interval_s=1.0))
    outcome = front.train(callback, tmp_path, epochs=4, steps=25, log_every=5, work=load)

    assert outcome.rows[-1]["energy/gpu_kwh"] == pytest.approx(load.kwh, rel=0.005)
    if outcome.events:
        assert outcome.events["energy/gpu_kwh"][-1][1] == pytest.approx(load.kwh, rel=0.005)


def test_tensorboard_is_told_to_draw_the_forecast_as_a_margin(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    callback = front.callback(**options(log_dir=tmp_path))
    outcome = front.train(callback, tmp_path, 2, 10, log_every=5, work=Load(fake_nvml, steps=20, step_s=0.005))

    assert ("forecast/kg_co2e", "forecast/kg_co2e_low", "forecast/kg_co2e_high") in outcome.charts
    assert ("emissions/kg_co2e",) * 3 in outcome.charts
    assert {tag for series in outcome.charts for tag in series} <= outcome.events.keys()


def test_epochs_sum_to_the_run(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    load = Load(fake_nvml, steps=30, step_s=0.005)
    callback = front.callback(**options(log_dir=tmp_path))
    outcome = front.train(callback, tmp_path, epochs=3, steps=10, log_every=10, work=load)

    epochs = [record for record in outcome.records if isinstance(record, Epoch)]
    assert [record.epoch for record in epochs] == [1, 2, 3]
    for of in ("gpu_j", "cpu_j", "kg_co2e", "duration_s"):
        whole = getattr(epochs[-1].totals, of)
        assert sum(getattr(record.spent, of) for record in epochs) == pytest.approx(whole, rel=1e-12)
    assert epochs[-1].totals.kwh == pytest.approx(load.kwh, abs=front.run(callback).uncertainty_kwh)


def test_the_record_holds_the_run(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    load = Load(fake_nvml, steps=20, step_s=0.005)
    callback = front.callback(**options(pue=1.3, log_dir=tmp_path))
    outcome = front.train(callback, tmp_path, epochs=2, steps=10, log_every=10, work=load)

    start, end = outcome.records[0], outcome.records[-1]
    assert isinstance(start, Start)
    assert (start.region, start.pue) == ("FR", 1.3)
    assert "Ember" in start.intensity_source
    assert isinstance(end, End)
    assert (end.status, end.step) == ("finished", 20)
    assert sum(end.phases_j.values()) / J_PER_KWH == pytest.approx(end.totals.kwh, rel=1e-9)
    assert sum(end.channels_j.values()) / J_PER_KWH == pytest.approx(end.totals.kwh, rel=1e-9)
    assert abs(end.totals.kwh - load.kwh) <= end.uncertainty_kwh


def test_a_second_fit_goes_on_counting(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    callback = front.callback(**options())
    first = Load(fake_nvml, steps=10, step_s=0.01)
    front.train(callback, tmp_path / "1", epochs=1, steps=10, log_every=5, work=first)
    first_kwh = first.kwh
    second = Load(fake_nvml, steps=20, step_s=0.01)
    outcome = front.train(callback, tmp_path / "2", epochs=2, steps=10, log_every=5, work=second)

    assert outcome.error is None
    assert outcome.steps == 20
    doubt_kwh = front.run(callback).uncertainty_kwh
    assert outcome.rows[-1]["energy/kwh"] == pytest.approx(first_kwh + second.kwh, abs=doubt_kwh)
    assert outcome.rows[-1]["energy/kwh"] > first_kwh


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["exception", "ctrl-c"])
def test_an_exception_in_training_passes_through_and_loses_no_energy(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, error: BaseException
) -> None:
    class Failing(Load):
        def work(self, step: int) -> None:
            super().work(step)
            if step == 15:
                self.power_off()
                raise error

    load = Failing(fake_nvml, steps=100, step_s=0.01)
    callback = front.callback(**options())
    outcome = front.train(callback, tmp_path, epochs=5, steps=20, log_every=5, work=load)
    failed_kwh = load.kwh

    # Lightning turns a KeyboardInterrupt into the end of the process.
    assert isinstance(outcome.error, type(error) if isinstance(error, Exception) else KeyboardInterrupt | SystemExit)
    again = Load(fake_nvml, steps=10, step_s=0.01, same_machine=True)
    outcome = front.train(callback, tmp_path / "again", epochs=1, steps=10, log_every=5, work=again)
    assert outcome.error is None
    lost_kwh, doubt_kwh = load.watts * (INTERVAL_S + 0.02) / J_PER_KWH, front.run(callback).uncertainty_kwh
    spent_kwh = failed_kwh + again.kwh
    assert spent_kwh - lost_kwh - doubt_kwh <= outcome.rows[-1]["energy/kwh"] <= spent_kwh + doubt_kwh


def test_what_a_crashed_run_leaves_idling_is_not_counted(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    class Failing(Load):
        def work(self, step: int) -> None:
            super().work(step)
            if step == 10:
                self.failed_kwh = self.kwh
                raise RuntimeError("a cell of a notebook")

    load = Failing(fake_nvml, steps=100, step_s=0.01)
    callback = front.callback(**options())
    front.train(callback, tmp_path, epochs=5, steps=20, log_every=5, work=load)
    time.sleep(0.4)  # 120 J that are nobody's
    load.power_off()
    again = Load(fake_nvml, steps=10, step_s=0.01, same_machine=True)
    outcome = front.train(callback, tmp_path / "again", epochs=1, steps=10, log_every=5, work=again)

    slack_kwh = load.watts * (2 * INTERVAL_S) / J_PER_KWH
    assert outcome.rows[-1]["energy/kwh"] == pytest.approx(load.failed_kwh + again.kwh, abs=slack_kwh)


class Crashing(Load):
    """A load whose step fails."""

    def __init__(self, fake: FakeNvml, steps: int, crash_at: int, *, same_machine: bool = False) -> None:
        super().__init__(fake, steps, step_s=0.01, same_machine=same_machine)
        self.crash_at = crash_at

    def work(self, step: int) -> None:
        super().work(step)
        if step == self.crash_at:
            self.power_off()
            raise RuntimeError("out of memory")

    def since_j(self, step: int) -> float:
        """Return what was drawn from the beginning of a step on."""
        return self._fake.energy_j(self.began_s[step], time.monotonic())


def resumable(front: Front, tmp_path: Path, **more: Any) -> Any:
    """Make a callback whose run has a record; where the framework has a folder for it, in that."""
    has_folder = "lightning" in front.name or front.name == "transformers"
    return front.callback(**options(**({} if has_folder else {"log_dir": tmp_path / "logs"}), **more))


def test_crashes_lose_no_energy_and_resumes_count_none_twice(front: Front, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    # Both fail in the second of three epochs of 20 steps, so both go on from the same checkpoint.
    first = Crashing(fake_nvml, 60, crash_at=32)
    crashed = resumable(front, tmp_path)
    front.train_saving(crashed, tmp_path, 3, 20, first)
    lost_j = first.since_j(20)
    second = Crashing(fake_nvml, 40, crash_at=14, same_machine=True)
    again = resumable(front, tmp_path)
    front.train_saving(again, tmp_path, 3, 20, second)
    lost_j += second.since_j(0)
    third = Load(fake_nvml, 40, 0.01, same_machine=True)
    last = resumable(front, tmp_path)
    outcome = front.train_saving(last, tmp_path, 3, 20, third)

    assert (outcome.error, outcome.steps) == (None, 40)
    run, spent_kwh = front.run(last), first.kwh  # of all three
    # What a framework does not say the end of is known to the last reading, twice.
    slack_j = 2 * first.watts * (INTERVAL_S + 0.02)
    doubt_kwh = run.uncertainty_kwh
    assert spent_kwh - slack_j / J_PER_KWH - doubt_kwh <= run.totals.kwh <= spent_kwh + doubt_kwh
    assert run.lost.energy_j == pytest.approx(lost_j, abs=slack_j + doubt_kwh * J_PER_KWH)
    assert run.lost.energy_j >= 0.5 * lost_j
    assert run.id == front.run(again).id == front.run(crashed).id
    assert len([*tmp_path.rglob("wattloop-*.jsonl")]) == 1
    starts = [record for record in outcome.records if isinstance(record, Start)]
    assert [start.session for start in starts] == [1, 2, 3]
    assert "of it lost work" in run.summary()
    end = outcome.records[-1]
    assert isinstance(end, End)
    assert (end.status, end.lost) == ("finished", run.lost)


@pytest.mark.parametrize("raised", [True, False])
def test_the_budget_of_a_resume_is_the_one_given_then(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, raised: bool
) -> None:
    load = Crashing(fake_nvml, 60, crash_at=32)
    crashed = resumable(front, tmp_path, budget=Budget(kwh=1.0))
    front.train_saving(crashed, tmp_path, 3, 20, load)
    budget = Budget(kwh=(1.0 if raised else 0.8 * load.kwh))
    resumed = resumable(front, tmp_path, budget=budget)
    outcome = front.train_saving(resumed, tmp_path, 3, 20, Load(fake_nvml, 40, 0.01, same_machine=True))

    assert outcome.error is None
    # Frameworks that cannot be told before the first step do one.
    at_least_one = not ("lightning" in front.name or front.name == "loop")
    assert outcome.steps == (40 if raised else at_least_one)


def test_a_spent_budget_stops_mid_epoch_the_frameworks_own_way(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interval_s, step_s, steps = 0.2, 0.01, 300
    load = Load(fake_nvml, steps=steps, step_s=step_s)
    budget_kwh = 0.6 * steps * step_s * load.watts / J_PER_KWH
    callback = front.callback(**options(interval_s=interval_s, budget=Budget(kwh=budget_kwh), log_dir=tmp_path))
    with caplog.at_level(logging.WARNING, "wattloop"):
        outcome = front.train(callback, tmp_path, epochs=2, steps=steps // 2, log_every=50, work=load)
    load.power_off()

    assert outcome.error is None
    assert 0 < outcome.steps < steps
    assert outcome.steps % (steps // 2) != 0
    spent_s = load.began_s[0] + budget_kwh * J_PER_KWH / load.watts
    longest_step_s = max(b - a for a, b in pairwise(load.began_s))
    assert load.began_s[-1] <= spent_s + interval_s + longest_step_s
    assert outcome.rows[-1]["budget/used_fraction"] >= 1.0
    said = [record.getMessage() for record in caplog.records if "training stops" in record.getMessage()]
    assert len(said) == 1
    assert f"at step {outcome.steps}" in said[0]
    (stop,) = (record for record in outcome.records if isinstance(record, Stop))
    assert stop.reason == said[0]
    if front.saves_checkpoint:
        assert any(str(path) in said[0] for path in outcome.checkpoints)


def test_a_budget_that_only_warns_lets_training_finish(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load = Load(fake_nvml, steps=40, step_s=0.01)
    callback = front.callback(**options(budget=Budget(kwh=30.0 / J_PER_KWH, on_exceed="warn")))
    with caplog.at_level(logging.WARNING, "wattloop"):
        outcome = front.train(callback, tmp_path, epochs=2, steps=20, log_every=10, work=load)

    assert outcome.steps == 40
    said = [record.getMessage() for record in caplog.records if "budget" in record.getMessage()]
    assert re.fullmatch(r"budget of 30 J spent: .*; training goes on", said[-1])
    assert len(said) <= 4
    assert all(re.match(r"\d\d% of the budget of 30 J is spent: ", line) for line in said[:-1])


def test_a_budget_that_acts_on_the_forecast_stops_before_it_is_spent(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load = StepLoad(fake_nvml, steps=400, step_s=0.01)
    budget = Budget(kwh=600.0 / J_PER_KWH, act_on="forecast")
    callback = front.callback(**options(interval_s=0.02, budget=budget))
    with caplog.at_level(logging.WARNING, "wattloop"):
        outcome = front.train(callback, tmp_path, epochs=10, steps=40, log_every=10, work=load)

    assert outcome.error is None
    assert outcome.steps < 160
    assert front.run(callback).totals.energy_j < 600.0
    (line,) = [record.getMessage() for record in caplog.records if "training stops" in record.getMessage()]
    assert line.startswith("budget of 600 J will not do: the run is to take ")


def test_a_budget_spent_before_the_start_ends_the_run_after_one_step_at_most(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    callback = front.callback(**options(budget=Budget(kwh=10.0 / J_PER_KWH)))
    front.train(callback, tmp_path / "1", epochs=1, steps=50, log_every=10, work=Load(fake_nvml, 50, 0.01))
    outcome = front.train(callback, tmp_path / "2", epochs=2, steps=20, log_every=10, work=Load(fake_nvml, 40, 0.01))
    assert outcome.error is None
    assert outcome.steps <= 1


def test_the_forecast_after_epoch_one_sets_a_slow_start_aside(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    class SlowStart(StepLoad):
        def joules(self, step: int) -> float:
            # The first tenth of the first epoch's steps makes it three times as dear as the others.
            return 63.0 if step < 3 else 3.0

    load = SlowStart(fake_nvml, steps=300, step_s=0.01)
    callback = front.callback(**options(interval_s=0.02))
    outcome = front.train(callback, tmp_path, epochs=10, steps=30, log_every=30, work=load)

    first = outcome.epoch_rows[0]
    assert first["forecast/kwh"] == pytest.approx(load.kwh, rel=0.10)
    assert first["forecast/kwh_low"] <= load.kwh <= first["forecast/kwh_high"]
    assert first["forecast/kwh_high"] - first["forecast/kwh_low"] < load.kwh
    assert same(outcome.epoch_rows[-1]["forecast/kwh"], outcome.epoch_rows[-1]["energy/kwh"])


@pytest.mark.parametrize("copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_hold_the_options_and_what_was_spent(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, copied: Any
) -> None:
    fresh = copied(front.callback(**options(pue=1.4)))
    load = Load(fake_nvml, steps=10, step_s=0.01)
    front.train(fresh, tmp_path, epochs=1, steps=10, log_every=5, work=load)
    if front.name == "loop":
        fresh._log = None  # a closure of the test's own
    used = front.run(copied(fresh))

    assert used.settings.pue == 1.4
    assert used.totals == front.run(fresh).totals
    assert used.totals.kwh == pytest.approx(load.kwh, abs=used.uncertainty_kwh)
    assert not used.running


def test_no_gpu_and_no_counter_trains_on_a_model_and_says_so(
    front: Front, fake_nvml: FakeNvml, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nvml.reset("error.init=9")
    callback = front.callback(**options(powercap_root=str(tmp_path / "no powercap")))
    with caplog.at_level(logging.WARNING, "wattloop"):
        outcome = front.train(callback, tmp_path, epochs=1, steps=20, log_every=10, work=_burn)

    assert outcome.error is None
    assert outcome.rows[-1]["energy/measured_fraction"] == 0.0
    assert outcome.rows[-1]["energy/cpu_kwh"] > 0.0
    assert len([record for record in caplog.records if "modelled" in record.getMessage()]) == 1


def _burn(step: int) -> None:
    time.sleep(0.01)  # lets the sampler's thread open its instruments
    sum(range(200_000))
