"""What the explorer knows of a run, against the lines of its journal."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.records import BEGIN, made, write_journal
from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.grid.series import IntensitySeries
from wattloop.journal import End, Start, Tick
from wattloop.loop import track
from wattloop.reading import Problem
from wattloop.reports.explorer import page, write
from wattloop.reports.explorer.bins import Point, binned
from wattloop.reports.explorer.data import RunData, shown
from wattloop.reports.explorer.hours import from_runs, from_series
from wattloop.reports.explorer.page import _json_in_html, _shortened, rows_each
from wattloop.reports.runs import summarize

J_PER_KWH = 3.6e6


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(**others: object) -> Start:
    values = {
        "time": BEGIN,
        "run_id": "made",
        "version": "0.1.0",
        "framework": "loop",
        "host": "here",
        "region": "FR",
        "g_co2e_per_kwh": 50.0,
        "intensity_source": "a table",
        "pue": 1.0,
        "budget": None,
        "spent_before": Totals(),
    }
    return Start(**{**values, **others})


def load(path: Path, max_bins: int = 1500, now: datetime | None = None) -> tuple[RunData | None, tuple[Problem, ...]]:
    run, problems = summarize(path, now=lambda: now or datetime.now(UTC))
    return shown(run, path, max_bins) if run is not None else None, problems


def write_lines(path: Path, *records: object) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return path


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_journal(tmp_path_factory.mktemp("data"), made(), intensity=lambda time: 100.0 + 10.0 * time.hour)


def test_totals_and_epochs_are_those_of_the_record(journal: Path) -> None:
    run, problems = load(journal)
    assert run is not None and not problems
    end = lines(journal)[-1]
    assert run.kwh == pytest.approx((end["totals"]["gpu_j"] + end["totals"]["cpu_j"]) / J_PER_KWH, rel=1e-12)
    assert run.kg == pytest.approx(end["totals"]["kg_co2e"], rel=1e-12)
    epochs = [line for line in lines(journal) if line["record"] == "epoch"]
    assert run.epochs.number == [*range(1, 101)]
    assert run.epochs.kwh == pytest.approx([epoch["spent"]["gpu_j"] / J_PER_KWH for epoch in epochs])
    assert run.epochs.forecast["kwh_high"] == [epoch["metrics"]["forecast/kwh_high"] for epoch in epochs]
    assert run.phases == pytest.approx({name: j / J_PER_KWH for name, j in end["phases_j"].items()})
    assert (run.gpus, run.status, run.ended) == (pytest.approx(8.0), "finished", True)


@pytest.mark.parametrize("most", [1500, 300, 40, 3])
def test_thinning_keeps_energy_emissions_and_as_many_borders_as_fit(journal: Path, most: int) -> None:
    whole, _ = load(journal, max_bins=100_000)
    thin, _ = load(journal, max_bins=most)
    assert whole is not None and thin is not None
    assert len(thin.bins.end_s) <= most < len(whole.bins.end_s)
    assert sum(thin.bins.kwh) == pytest.approx(sum(whole.bins.kwh), rel=1e-12)
    kg = [sum(k * g for k, g in zip(run.bins.kwh, run.bins.g, strict=True)) for run in (thin, whole)]
    assert kg[0] == pytest.approx(kg[1], rel=1e-12)
    assert thin.bins.end_s == sorted(thin.bins.end_s) and thin.bins.end_s[-1] == whole.bins.end_s[-1]
    if most >= 300:
        assert set(thin.epochs.end_s) <= set(thin.bins.end_s)


def test_a_week_of_lines_becomes_a_page_that_can_be_passed_on(tmp_path: Path) -> None:
    count = 120_960
    ticks = (
        Tick(
            time=BEGIN + timedelta(seconds=5 * i),
            step=i,
            phase="validation" if i % 720 > 700 else "train",
            totals=Totals(gpu_j=12_000.0 * i, kg_co2e=1e-3 * i, duration_s=5.0 * i),
            g_co2e_per_kwh=300.0,
        )
        for i in range(1, count + 1)
    )
    path = write_lines(tmp_path / "wattloop-week.jsonl", start(), *ticks)
    run, _ = load(path)
    assert run is not None
    assert len(run.bins.end_s) <= 1500
    assert run.kwh == pytest.approx(12_000.0 * count / J_PER_KWH)
    share = sum(k for k, phase in zip(run.bins.kwh, run.bins.phase, strict=True) if phase == "validation") / run.kwh
    assert share == pytest.approx(19 / 720, rel=0.06)
    assert len(page([path])) < 2e6


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(-1e4, 1e9), st.floats(-1, 1e3), st.sampled_from(["train", "wait", "x"])),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 20),
)
def test_bins_of_any_points_rise_and_add_up_to_the_last(points: list[tuple], most: int) -> None:
    made_points = [Point(0.0, 0.0, 0.0, 0.0, "earlier", 0)]
    made_points += [Point(s, s, kwh, kg, phase, 0) for s, kwh, kg, phase in sorted(points, key=lambda each: each[0])]
    bins, _ = binned(made_points, [1.5], [], most)
    assert len(bins.end_s) <= max(most, 1)
    assert bins.end_s == sorted(bins.end_s)
    assert all(kwh >= 0 for kwh in bins.kwh)
    least = min(0.0, *(point.kwh for point in made_points))
    assert sum(bins.kwh) == pytest.approx(made_points[-1].kwh - least, rel=1e-9, abs=1e-6)


def test_what_an_end_takes_back_was_never_spent(tmp_path: Path) -> None:
    ticks = [
        Tick(
            time=BEGIN + timedelta(seconds=10 * i),
            step=i,
            phase="train",
            totals=Totals(gpu_j=1000.0 * i, kg_co2e=0.01 * i, duration_s=10.0 * i),
            g_co2e_per_kwh=50.0,
        )
        for i in range(1, 6)
    ]
    totals = Totals(gpu_j=3500.0, kg_co2e=0.035, duration_s=35.0)
    end = End(
        time=BEGIN + timedelta(seconds=60),
        step=5,
        status="interrupted",
        totals=totals,
        uncertainty_kwh=0.0,
        phases_j={"train": 3500.0},
    )
    run, _ = load(write_lines(tmp_path / "wattloop-back.jsonl", start(), *ticks, end))
    assert run is not None
    assert (run.kwh, run.kg) == (pytest.approx(3500 / J_PER_KWH), pytest.approx(0.035))
    assert run.duration_s == 35.0


def test_sessions_are_told_apart_and_an_epoch_that_was_done_again_counts_once(tmp_path: Path) -> None:
    first = write_journal(tmp_path, made(epochs=6, wait_s=0), "first", until_s=700.0)
    records = lines(first)
    spent = [line for line in records if line["record"] == "tick"][-1]["totals"]
    epochs = [line for line in records if line["record"] == "epoch"]
    again = {**records[0], "time": "2026-01-13T09:00:00Z", "session": 2, "spent_before": spent, "pue": 1.5}
    tick = {
        **[line for line in records if line["record"] == "tick"][-1],
        "time": "2026-01-13T09:10:00Z",
        "totals": {
            **spent,
            "gpu_j": spent["gpu_j"] + 3.6e6,
            "kg_co2e": spent["kg_co2e"] + 0.6,
            "duration_s": spent["duration_s"] + 600,
        },
    }
    redone = {**epochs[2], "time": "2026-01-13T09:09:00Z", "totals": tick["totals"]}
    with first.open("a") as file:
        for line in (again, tick, redone):
            file.write(json.dumps(line) + "\n")
    run, problems = load(first)
    assert run is not None and not problems
    assert len(epochs) > 3 and run.epochs.number == [1, 2, 3]
    assert [session.pue for session in run.sessions] == [1.2, 1.5]
    assert run.bins.g[-1] == pytest.approx(400.0)  # 0.6 kg of 1 kWh at a PUE of 1.5
    assert run.kg == pytest.approx(tick["totals"]["kg_co2e"])


@pytest.mark.parametrize(("after_s", "status"), [(8.0, "running"), (3600.0, "killed")])
def test_a_record_without_an_end_is_of_a_run_that_goes_on_or_was_killed(
    tmp_path: Path, after_s: float, status: str
) -> None:
    path = write_journal(tmp_path, made(epochs=3), until_s=300.0)
    last = datetime.fromisoformat(lines(path)[-1]["time"])
    run, _ = load(path, now=last + timedelta(seconds=after_s))
    assert run is not None
    assert (run.status, run.ended) == (status, False)


@pytest.mark.parametrize(
    ("status", "steps_more", "at_epoch_end"),
    [
        ("finished", 0, True),
        ("stopped", 0, True),
        ("stopped", 7, False),
        ("finished", 7, False),
        ("failed", 0, False),
        ("interrupted", 0, False),
        (None, 0, False),
    ],
)
def test_a_run_that_did_not_end_where_an_epoch_did_is_told_from_one_that_did(
    tmp_path: Path, status: str | None, steps_more: int, at_epoch_end: bool
) -> None:
    path = write_journal(tmp_path, made(epochs=3))
    *records, end = lines(path)
    end |= {"status": status, "step": end["step"] + steps_more}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*records, *([end] if status else [])]))
    run, _ = load(path)
    assert run is not None
    assert run.at_epoch_end == at_epoch_end


def test_a_time_that_makes_no_sense_is_of_a_damaged_line(tmp_path: Path) -> None:
    path = write_journal(tmp_path, made(epochs=3))
    whole, _ = load(path)
    *records, end = lines(path)
    end["totals"]["duration_s"] = 1e13
    path.write_text("".join(json.dumps(line) + "\n" for line in [*records, end]))
    run, _ = load(path)
    assert run is not None and whole is not None
    assert run.duration_s <= whole.duration_s


@pytest.mark.parametrize(
    ("modelled", "share"), [(0.0, "100 %"), (0.004, "99.6 %"), (0.0004, "99.9 %"), (0.2, "80 %"), (1.0, "0 %")]
)
def test_a_share_that_is_not_whole_is_not_rounded_up(tmp_path: Path, modelled: float, share: str) -> None:
    path = write_journal(tmp_path, made(epochs=1, steps=20))
    records = lines(path)
    for record in records:
        if "totals" in record:
            record["totals"]["modelled_j"] = modelled * record["totals"].get("gpu_j", 0.0)
    path.write_text("".join(json.dumps(line) + "\n" for line in records))
    assert f": {share} of the energy measured" in page([path])


def test_pauses_are_told_with_what_they_took(journal: Path) -> None:
    run, _ = load(journal)
    assert run is not None
    resume = next(line for line in lines(journal) if line["record"] == "resume")
    (pause,) = run.pauses
    assert (pause.duration_s, pause.reason) == (resume["spent"]["duration_s"], "above 250 g/kWh")
    assert pause.duration_s == pytest.approx(2400, rel=0.01)
    assert pause.kwh == pytest.approx(resume["spent"]["gpu_j"] / J_PER_KWH)


@pytest.mark.usefixtures("fake_nvml")
def test_a_real_run_is_shown_as_it_was_recorded(tmp_path: Path) -> None:
    with track(region="FR", pue=1.3, total_epochs=3, log_dir=tmp_path, interval_s=0.02) as run:
        for _ in run.epochs(range(3)):
            for _ in run.steps(range(10)):
                time.sleep(0.005)
    assert run.settle(30.0)
    (path,) = tmp_path.glob("wattloop-*.jsonl")
    shown, problems = load(path)
    assert shown is not None and not problems
    end = lines(path)[-1]
    assert shown.kwh == pytest.approx(end["totals"]["gpu_j"] / J_PER_KWH, rel=1e-9)
    assert shown.kg == pytest.approx(end["totals"]["kg_co2e"], rel=1e-9)
    assert (shown.status, shown.epochs.number, shown.region, shown.pue) == ("finished", [1, 2, 3], "FR", 1.3)
    assert sum(shown.epochs.kwh) <= shown.kwh
    assert shown.gpus == pytest.approx(1.0, rel=0.1)


def test_more_epochs_than_fit_are_taken_together_without_loss(tmp_path: Path) -> None:
    path = write_journal(tmp_path, made(epochs=2500, steps=2, wait_s=0), tick_s=60.0)
    run, _ = load(path)
    assert run is not None
    spent = [line["spent"]["gpu_j"] for line in lines(path) if line["record"] == "epoch"]
    assert len(run.epochs.number) <= 1000
    assert sum(run.epochs.count) == 2500
    assert sum(run.epochs.kwh) == pytest.approx(sum(spent) / J_PER_KWH)


def test_hours_of_a_series_are_means_and_gaps_stay_gaps() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    halves = {noon + timedelta(minutes=30 * i): 100.0 + 100.0 * (i % 2) for i in range(8) if i not in (3, 4, 5)}
    hours = from_series(IntensitySeries(halves, kind="marginal"))
    # A value holds for twice the usual half-hour at most, so the one of 13:00 till 14:00.
    assert hours.hours == pytest.approx([150.0, 100.0, None, 150.0])
    assert (hours.begin, hours.kind) == (int(noon.timestamp()), "marginal")


def test_what_cannot_be_read_is_returned_and_told_in_the_page(tmp_path: Path) -> None:
    good = write_journal(tmp_path, made(epochs=2))
    good.write_bytes(good.read_bytes().replace(b'{"record":"tick"', b'{"record":"tock"', 1))
    (tmp_path / "wattloop-empty-\udcff.jsonl").touch()  # no name in UTF-8
    (tmp_path / "wattloop-foreign.jsonl").write_text("not\nours\n")
    (tmp_path / "wattloop-newer.jsonl").write_text('{"record":"start","format":99,"version":"9.0"}\n')
    out = tmp_path / "explorer.html"
    problems = write([tmp_path, tmp_path / "missing.jsonl"], out)
    html = out.read_text(encoding="utf-8")
    assert len(problems) == 5
    for said in ("empty: no record", "not the record of a run", "update wattloop", "No such file", "not a record"):
        assert said in html


def test_a_page_without_a_run_says_so(tmp_path: Path) -> None:
    html = page([tmp_path / "none.jsonl"])
    assert "No run to show" in html and "No such file" in html and "vegaEmbed" not in html


def test_a_page_is_small(journal: Path) -> None:
    assert len(page([journal]).encode()) < 6e6


@pytest.mark.parametrize("count", [300, 1000])
def test_a_page_of_many_runs_is_small_and_keeps_their_totals(tmp_path: Path, count: int) -> None:
    seed = write_journal(tmp_path, made(epochs=100, steps=20), "seed", tick_s=15.0, models=("NVIDIA H100 80GB HBM3",))
    end, text = lines(seed)[-1], seed.read_text()
    seed.unlink()
    for i in range(count):
        name = f"20260115T093044-{i:06d}"
        (tmp_path / f"wattloop-{name}.jsonl").write_text(text.replace('"run_id":"seed"', f'"run_id":"{name}"', 1))
    html = page([tmp_path])
    assert len(html.encode()) < 6e6
    assert f"page of {count} runs stays small" in html
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert len(data["runs"]) == count
    for run in data["runs"]:
        assert sum(run["bins"]["kwh"]) == pytest.approx(end["totals"]["gpu_j"] / J_PER_KWH, rel=1e-7)
        assert sum(run["epochs"]["count"]) == 100


@pytest.mark.parametrize("count", [1, 10, 100, 300, 1000])
def test_points_are_shared_out_among_runs(count: int) -> None:
    bins, epochs = rows_each(count)
    assert bins * count <= 12_000 and epochs <= bins
    assert (bins, epochs) == (1500, 1000) or bins == min(1500, 12_000 // count)


@pytest.mark.parametrize(
    ("models", "named", "device"),
    [
        ((), "", ""),
        (("NVIDIA A100-SXM4-80GB",), "8 x NVIDIA A100-SXM4-80GB", "A100 SXM4"),
        (("A GPU that nobody knows",), "8 x A GPU that nobody knows", ""),
        (("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-40GB"), "", "A100 SXM4"),
        (("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"), "", ""),
        (("NVIDIA A100-SXM4-80GB", "A GPU that nobody knows"), "", ""),
    ],
)
def test_the_gpus_are_named_as_on_record(tmp_path: Path, models: tuple[str, ...], named: str, device: str) -> None:
    run, _ = load(write_journal(tmp_path, made(epochs=1), models=models))
    assert run is not None
    named = named or " and ".join(f"{8 // len(models)} x {model}" for model in models)
    assert (run.gpus_named, run.device) == (named, device)


@pytest.mark.parametrize(
    ("source", "bases"),
    [
        ("a table", ()),
        ("Electricity Maps v3, DE, life-cycle, average", ("life-cycle",)),
        ("GB Carbon Intensity, national, direct, average", ("direct",)),
        ("France 2024: Ember, CC BY 4.0 (life-cycle, production-based, average)", ("life-cycle",)),
        ("Texas 2023: US EPA (public domain) (direct, production-based, average)", ("direct",)),
        ("Quebec 2024: x (mixed (fuel shares x one: fossil direct, others life-cycle), average)", ("mixed",)),
    ],
)
def test_what_the_intensity_counts_is_read_from_its_source(tmp_path: Path, source: str, bases: tuple[str, ...]) -> None:
    run, _ = load(write_journal(tmp_path, made(epochs=1), source=source))
    assert run is not None and run.bases == bases


def test_a_run_may_be_priced_on_several_bases(tmp_path: Path) -> None:
    ticks = [
        Tick(
            time=BEGIN + timedelta(seconds=10 * i),
            step=i,
            phase="train",
            totals=Totals(gpu_j=1000.0 * i, kg_co2e=0.01 * i, duration_s=10.0 * i),
            g_co2e_per_kwh=50.0,
            intensity=Intensity(50.0, source, "average"),
        )
        for i, source in enumerate(["a (direct, average)", "unsaid", "b (life-cycle, average)"], 1)
    ]
    run, _ = load(write_lines(tmp_path / "wattloop-bases.jsonl", start(), *ticks))
    assert run is not None and {*run.bases} == {"direct", "life-cycle"}


def test_text_of_a_record_is_data_and_nothing_else(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    path = write_journal(tmp_path, made(epochs=2), "evil", hosts=(evil,), region=evil, source=evil)
    path.write_text(path.read_text().replace('"run_id":"evil"', f'"run_id":{json.dumps(evil)}'))
    html = page([path])
    assert evil not in html and "<img src=x" not in html
    assert html.count("</script>") == 3


def test_not_a_number_is_no_number(tmp_path: Path) -> None:
    tick = Tick(time=BEGIN, step=1, phase="train", totals=Totals(), g_co2e_per_kwh=50.0)
    broken = msgspec.json.encode(tick).replace(b'"totals":{', b'"totals":{"gpu_j":1e999,', 1)
    path = tmp_path / "wattloop-nan.jsonl"
    path.write_bytes(msgspec.json.encode(start()) + b"\n" + broken + b"\n")
    run, problems = load(path)
    assert run is not None and (run.kwh, run.kg) == (0.0, 0.0)
    assert [problem.line for problem in problems] == [2]


SMALL = made(epochs=3, steps=20, wait_s=60.0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_journal_is_shown_as_far_as_it_makes_sense(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "wattloop-damaged.jsonl"
    whole = tmp_path / "wattloop-made.jsonl"
    if not whole.exists():
        write_journal(tmp_path, SMALL)
    text = whole.read_text()
    numbers = [*re.finditer(r"(?<=:)-?[0-9][0-9.e+-]*(?=[,}])|Z(?=\")", text)]
    for at in sorted(data.draw(st.sets(st.integers(0, len(numbers) - 1), max_size=12)), reverse=True):
        begin, end = numbers[at].span()
        strange = data.draw(st.sampled_from(["0", "-1", "1e300", "-1e17", "1e-300", "0.0", "null", '"x"']))
        text = text[:begin] + ("" if text[begin] == "Z" else strange) + text[end:]
    kept = data.draw(st.permutations(text.splitlines(keepends=True)) | st.just(text.splitlines(keepends=True)))
    path.write_text("".join(kept[: data.draw(st.integers(1, len(kept)))]))
    run, problems = load(path)
    assert run is not None or problems
    if run is not None:
        assert run.bins.end_s == sorted(run.bins.end_s)
        from_runs([run])
        _json_in_html(_shortened(msgspec.to_builtins(run)))
