"""``wattloop report`` as its users meet it: in a process of its own, in a pipe and on a terminal."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reports.trained import training
from test_cli import environment, on_a_terminal, told, wattloop_
from test_journal import END, START, TICK, written
from wattloop.budget import Budget
from wattloop.footprint import Totals
from wattloop.grid.intensity import Intensity
from wattloop.reports.emissions_csv import CODECARBON

SPENT = Totals(gpu_j=2e6, cpu_j=1e6, modelled_j=1.5e6, kg_co2e=0.04, duration_s=7200.0, gpu_s=14400.0)
BEGIN = msgspec.structs.replace(START, time=datetime(2026, 1, 2, 3, 4, tzinfo=UTC), hosts=("node1",), budget=None)
TICKED = msgspec.structs.replace(
    TICK, totals=SPENT, intensity=Intensity(44.2, "France 2024: Ember"), time=datetime(2026, 1, 2, 5, tzinfo=UTC)
)
DONE = msgspec.structs.replace(
    END, totals=SPENT, status="finished", step=1000, uncertainty_kwh=0.02, time=datetime(2026, 1, 2, 5, 4, tzinfo=UTC)
)
IDS = ("20260102T030405-a1b2c3", "20260102T030405-d4e5f6", "20260102T030405-a7b8c9")

Ways = Callable[..., str]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Three runs: finished, killed and stopped by a budget."""
    folder = tmp_path / "logs"
    endings = ([DONE], [TICKED], [msgspec.structs.replace(DONE, status="stopped")])
    for run_id, ending in zip(IDS, endings, strict=True):
        budget = Budget(kwh=0.8) if ending[0] is not DONE else None
        written(folder, msgspec.structs.replace(BEGIN, run_id=run_id, budget=budget), TICKED, *ending, run_id=run_id)
    return folder


def one(logs: Path, number: int = 0) -> str:
    return str(logs / f"wattloop-{IDS[number]}.jsonl")


# -- on a terminal and in a pipe --------------------------------------------------------------------------------------


def test_runs_are_told_each_in_a_line_and_added_up(logs: Path) -> None:
    lines = told("report", str(logs)).splitlines()
    assert lines[0].split() == "run status started time framework steps region g/kWh energy CO2e".split()
    cells = [re.split(r"\s{2,}", line.rstrip()) for line in lines]
    assert cells[1] == [
        IDS[0],
        "finished",
        "2026-01-02 03:04 UTC",
        "2.0 h",
        "loop",
        "1,000",
        "FR",
        "44",
        "833 ± 20 Wh",
        "40 g",
    ]
    assert [line[1] for line in cells[1:4]] == ["finished", "stopped", "killed"]
    assert lines[4].startswith("3 runs ")
    assert cells[4][-1] == "120 g"
    assert lines[-1] == "50% of the energy was measured."


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        (50, "run energy CO2e"),
        (60, "run status energy CO2e"),
        (80, "run status time energy CO2e"),
        (100, "run status started time region energy CO2e"),
        (120, "run status started time steps region g/kWh energy CO2e"),
    ],
)
def test_a_narrow_terminal_is_shown_fewer_columns(logs: Path, columns: int, kept: str) -> None:
    lines = told("report", str(logs), COLUMNS=str(columns)).splitlines()
    assert lines[0].split() == kept.split()
    assert max(map(len, lines)) <= columns
    assert all(run_id in "\n".join(lines) for run_id in IDS)


def test_one_run_is_told_in_full(logs: Path) -> None:
    shown = told("report", one(logs, 2))
    assert shown.startswith(f"{IDS[2]}  stopped\n")
    assert not any(line.endswith(" ") for line in shown.splitlines())
    for said in (
        "energy     833 ± 20 Wh, 50% measured",
        "556 Wh GPUs, 278 Wh CPUs and memory",
        "emissions  40 g CO2e, gross, PUE 1.1 included",
        "place      France (FR)",
        "intensity  43.6 g CO2e/kWh on average",
        "France 2024: Ember",
        "budget     800 Wh, 104.2% used (stop)",
        "time       2026-01-02 03:04 UTC to 2026-01-02 05:04 UTC, 2.0 h measured",
        "with       loop on node1, wattloop 0.1.0",
        "devices    GPU-aa, counter",
        f"record     {one(logs, 2)}",
    ):
        assert said in shown


def test_times_are_told_in_the_users_zone_and_to_scripts_in_universal_time(logs: Path) -> None:
    assert "2026-01-02 12:04 JST" in told("report", one(logs), TZ="Asia/Tokyo")
    assert "2026-01-02 12:04 JST" in told("report", str(logs), TZ="Asia/Tokyo")
    (run,) = json.loads(told("report", one(logs), "--json", TZ="Asia/Tokyo"))["runs"]
    assert run["started"] == "2026-01-02T03:04:00Z"


def test_a_terminal_shows_colours_and_a_pipe_does_not(logs: Path) -> None:
    assert "\x1b" not in told("report", str(logs))
    assert "\x1b[32mfinished\x1b[0m" in on_a_terminal("report", str(logs))


def test_many_records_are_read_behind_a_bar_on_a_terminal_only(logs: Path) -> None:
    for number in range(30):
        written(logs, msgspec.structs.replace(BEGIN, run_id=str(number)), DONE, run_id=str(number))
    assert "reading records" in on_a_terminal("report", str(logs), "--json")
    assert wattloop_("report", str(logs), "--json").stderr == ""


def test_a_terminal_that_knows_ascii_alone_is_enough(logs: Path) -> None:
    assert "833 ? 20 Wh" in told("report", str(logs), PYTHONIOENCODING="ascii")
    assert json.loads(told("report", str(logs), "--json", PYTHONIOENCODING="ascii"))


def test_a_run_that_goes_on_is_told_and_goes_on(tmp_path: Path) -> None:
    with training(tmp_path) as going:
        going.ticked(2)
        (run,) = json.loads(told("report", str(tmp_path), "--json"))["runs"]
        assert (run["run_id"], run["status"]) == (going.began["run_id"], "running")
        going.ticked(8)
        assert going.process.poll() is None
        going.kill()
    assert "killed" in told("report", str(tmp_path))


# -- in other ways ----------------------------------------------------------------------------------------------------


def test_scripts_get_every_figure(logs: Path) -> None:
    found = json.loads(told("report", str(logs), "--json"))
    assert [run["run_id"] for run in found["runs"]] == [IDS[0], IDS[2], IDS[1]]
    assert found["total"]["kg_co2e"] == pytest.approx(0.12)
    assert found["total"]["kwh"] == pytest.approx(3 * 3e6 / 3.6e6)
    assert (found["problems"], found["notes"]) == ([], [])
    assert found["runs"][1]["budget"] == {"kg_co2e": None, "kwh": 0.8, "on_exceed": "stop", "act_on": "spent"}


def test_spreadsheets_get_codecarbons_columns(logs: Path) -> None:
    rows = [*csv.DictReader(told("report", str(logs), "--csv").splitlines())]
    assert [*rows[0]][: len(CODECARBON)] == CODECARBON
    assert sum(float(row["emissions"]) for row in rows) == pytest.approx(0.12)


def test_papers_get_a_statement(logs: Path) -> None:
    text = told("report", str(logs), "--latex", "--hardware", "2 x A100")
    assert text.startswith("The 3 training runs took 6.0 h (12 GPU-hours) on 2 x A100 in France, in January 2026.")
    assert "@misc{wattloop," in text
    assert told("report", one(logs), "--markdown").startswith("Training took 2.0 h (4 GPU-hours) on 2 GPUs in")


def test_a_model_card_gets_its_block(logs: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\n# Model\n")
    said = told("report", str(logs), "--model-card", str(card), "--training-type", "fine-tuning")
    assert said == f"{card}: co2_eq_emissions is 120 g CO2e\n"
    assert card.read_text().startswith("---\nlicense: mit\nco2_eq_emissions:\n  emissions: 120.0\n")
    assert "  training_type: fine-tuning\n" in card.read_text()


@pytest.mark.parametrize("way", ["--json", "--csv", "--latex", "--markdown", None])
def test_a_file_gets_what_the_terminal_would(logs: Path, tmp_path: Path, way: str | None) -> None:
    ways = [way] if way else []
    assert told("report", str(logs), *ways, "--output", str(tmp_path / "out")) == ""
    assert (tmp_path / "out").read_text(encoding="utf-8") == told("report", str(logs), *ways)


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_bad_records_are_named_the_others_told_and_the_exit_code_is_1(logs: Path) -> None:
    (logs / "wattloop-empty.jsonl").touch()
    (logs / "wattloop-foreign.jsonl").write_text("step,loss\n1,2\n")
    done = wattloop_("report", str(logs), "--json")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"wattloop: {logs / 'wattloop-empty.jsonl'}: empty: no record was written yet",
        f"wattloop: {logs / 'wattloop-foreign.jsonl'}: not the record of a run",
    ]
    found = json.loads(done.stdout)
    assert len(found["runs"]) == 3
    assert [Path(problem["path"]).name for problem in found["problems"]] == [
        "wattloop-empty.jsonl",
        "wattloop-foreign.jsonl",
    ]


def test_a_run_told_once_from_two_files_is_no_fault(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / Path(one(logs)).name).write_bytes(Path(one(logs)).read_bytes())
    done = wattloop_("report", str(tmp_path), "--json")
    assert done.returncode == 0
    assert done.stderr.startswith(f"wattloop: 2 files are of run {IDS[0]}, which is told once, from ")


@pytest.mark.parametrize("way", [[], ["--latex"], ["--markdown"]])
def test_without_any_run_the_exit_code_is_1(tmp_path: Path, way: list[str]) -> None:
    done = wattloop_("report", str(tmp_path), str(tmp_path / "none"), *way)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"wattloop: {tmp_path}: no record of a run (wattloop-*.jsonl) is in this folder",
        f"wattloop: {tmp_path / 'none'}: No such file or directory",
        "wattloop: there is no run to report",
    ]


def test_scripts_get_a_document_without_any_run_too(tmp_path: Path) -> None:
    done = wattloop_("report", str(tmp_path), "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["runs"], found["total"]["kwh"], len(found["problems"])) == (1, [], 0.0, 1)
    done = wattloop_("report", str(tmp_path), "--csv")
    assert (done.returncode, next(csv.reader(done.stdout.splitlines()))[: len(CODECARBON)]) == (1, CODECARBON)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--csv"], "--json and --csv are both given; it is written in one way at a time"),
        (["--latex", "--model-card", "x"], "--latex and --model-card are both given"),
        (["--model-card", "x", "--output", "y"], "--output is given, but --model-card says already where to write"),
        (["--json", "--hardware", "x"], "--hardware is for --latex, --markdown and --model-card"),
        (["--latex", "--training-type", "x"], "--training-type is for --model-card"),
        (["--output", "/nowhere/at/all"], "/nowhere/at/all: No such file or directory"),
        (["--json", "--output", "/nowhere/at/all"], "/nowhere/at/all: No such file or directory"),
        (["--model-card", "/nowhere/README.md"], "wattloop: /nowhere/README.md: No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_refused(logs: Path, arguments: list[str], message: str) -> None:
    done = wattloop_("report", str(logs), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("way", [["--output"], ["--csv", "-o"], ["--model-card"]])
def test_no_record_is_written_over(logs: Path, way: list[str]) -> None:
    before = Path(one(logs)).read_bytes()
    done = wattloop_("report", str(logs), *way, str(logs / ".." / logs.name / Path(one(logs)).name))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(": this is one of the records; name another file to write to\n")
    assert Path(one(logs)).read_bytes() == before


def test_nothing_in_a_record_reaches_the_terminal_but_as_text(tmp_path: Path) -> None:
    evil: Any = "\x1b]0;owned\x07[red]\x9b2J\u202e\r\n[/]"
    begin = msgspec.structs.replace(
        BEGIN, run_id=evil, framework=evil, hosts=(evil,), region=evil, intensity_source=evil, version=evil, parent=evil
    )
    tick = msgspec.structs.replace(TICKED, channels={evil: evil}, intensity=Intensity(1.0, evil))
    done = msgspec.structs.replace(DONE, status=evil, phases_j={evil: 1.0}, channels_j={evil: 1.0})
    written(tmp_path, begin, tick, done, run_id="1")
    (tmp_path / "wattloop-\x1b[2J.jsonl").write_text("{}\n")
    for ways in ([], ["--json"], ["--csv"], ["--latex"], ["--markdown"]):
        for path in (str(tmp_path), str(tmp_path / "wattloop-1.jsonl")):
            out = wattloop_("report", path, *ways)
            assert all(char == "\n" or char.isprintable() for char in out.stdout + out.stderr), (ways, out)
            assert "red" in out.stdout
    assert "[red]" in told("report", str(tmp_path / "wattloop-1.jsonl"))


def test_html_writes_the_explorer(logs: Path, tmp_path: Path) -> None:
    page, series = tmp_path / "page.html", tmp_path / "grid.csv"
    series.write_text("time,g_co2e\n2026-01-02 03:00,40\n2026-01-02 04:00,60\n2026-01-02 05:00,50\n")
    shown = told("report", str(logs), "--html", str(page), "--series", str(series))
    assert "open it in a browser" in shown
    html = page.read_text(encoding="utf-8")
    assert all(name in html for name in IDS) and "grid.csv" in html
    refused = wattloop_("report", str(logs), "--series", str(series))
    assert (refused.returncode, refused.stderr) == (2, "wattloop: --series is for --html\n")


def test_help_names_every_way() -> None:
    shown = told("report", "--help", COLUMNS="100")
    for way in ("--json", "--csv", "--latex", "--markdown", "--model-card", "--html", "--output"):
        assert way in shown
    assert environment()["TZ"] == "UTC"
