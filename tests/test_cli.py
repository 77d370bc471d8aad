"""The command line as its users meet it: in a process of its own, in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

import wattloop
from fakes.day import DAY

ROOT = str(Path(wattloop.__file__).parents[1])
CODE = "import sys; sys.argv[0] = 'wattloop'; from wattloop.cli import main; main()"
START = "2025-01-20T00:00Z"


def environment(**variables: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": ROOT, "TZ": "UTC", "TERM": "xterm-256color", **variables}


def wattloop_(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)


def told(*arguments: str, **variables: str) -> str:
    done = wattloop_(*arguments, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str) -> str:
    done = wattloop_(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def on_a_terminal(*arguments: str, columns: int = 0, **variables: str) -> str:
    """Run on a terminal of so many columns; of what COLUMNS says, 80 by default, where there are none."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (40, columns))
    size = {} if columns else {"COLUMNS": "80"}
    command = [sys.executable, "-c", CODE, *arguments]
    with subprocess.Popen(command, env=environment(**{**size, **variables}), stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert child.returncode == 0
    return shown.decode()


@pytest.fixture
def series(tmp_path: Path) -> str:
    path = tmp_path / "grid.csv"
    begin = datetime.fromisoformat(START)
    lines = [f"{begin + timedelta(hours=k):%Y-%m-%d %H:%M:%S},{value}" for k, value in enumerate(DAY * 3)]
    path.write_text("\n".join(["datetime_utc,gco2_per_kwh", *lines, ""]), encoding="utf-8")
    return str(path)


def planned(series: str, *arguments: str) -> str:
    return told("schedule", "--hours", "6", "--within", "24", "--series", series, "--start", START, *arguments)


# -- regions -----------------------------------------------------------------------------------------------------------


def test_all_regions_are_listed_each_in_a_line() -> None:
    lines = told("regions").splitlines()
    assert lines[0].split() == ["code", "name", "g/kWh", "year", "basis"]
    assert len(lines) == 1 + len(wattloop_regions())
    assert any(line.split() == ["FR", "France", "44.2", "2024", "life-cycle"] for line in lines)
    assert any(line.startswith("aws:eu-west-3 ") and line.endswith(" 44.2  2024  life-cycle, of FR") for line in lines)


def wattloop_regions() -> Sequence[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(told("regions", "--json"))
    return found


def test_a_search_lists_what_has_it_in_its_name() -> None:
    lines = told("regions", "carolina").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["US-NC", "US-SC"]


def test_one_region_is_told_with_its_source() -> None:
    assert told("regions", "eu-west-3").splitlines() == [
        "aws:eu-west-3: AWS eu-west-3, Paris",
        "44.179 g CO2e/kWh, 2024, of FR",
        "Ember via Our World in Data, CC BY 4.0",
        "life-cycle, production-based, average",
    ]


def test_scripts_get_every_field() -> None:
    found = json.loads(told("regions", "québec", "--json"))
    assert [region["code"] for region in found] == ["CA-QC", "azure:canadaeast"]
    assert found[1]["place"] == "CA-QC"
    assert found[0]["g_co2e_per_kwh"] == found[1]["g_co2e_per_kwh"] > 0


def test_what_no_region_has_is_answered_with_near_names() -> None:
    message = refused("regions", "Frnace")
    assert message == "wattloop: no region has 'Frnace' in its code or name; did you mean FR (France)?\n"


def test_a_terminal_of_80_columns_is_enough() -> None:
    shown = on_a_terminal("regions", "us")
    assert max(len(line) for line in shown.splitlines()) <= 80


# -- schedule ----------------------------------------------------------------------------------------------------------


def test_a_schedule_says_when_to_start_and_what_that_saves(series: str) -> None:
    lines = planned(series).splitlines()
    assert lines[0] == "6 h at 300 W, to be done by Tue 21 Jan 06:00"
    assert lines[1] == "grid.csv, g CO2e/kWh; times are UTC"
    later = next(line for line in lines if line.startswith("later "))
    assert "Mon 20 Jan 09:00  Mon 20 Jan 15:00" in later
    assert later.endswith("60.3 %")  # 635 of 1600 g/kWh for six hours
    assert lines[-1] == "Start at Mon 20 Jan 09:00: saves 290 g CO2e."


def test_a_schedule_with_pauses_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    hours = [100, 900, 100, 900, 900, 900]
    path.write_text("time,value\n" + "".join(f"2025-01-20T{k:02}:00Z,{v}\n" for k, v in enumerate(hours)))
    arguments = ("--hours", "2", "--within", "4", "--series", str(path), "--start", START)
    shown = told("schedule", *arguments, "--idle-watts", "30")
    assert shown.splitlines()[-1] == "Start now, pause once for 1 h in all: saves 213 g CO2e."
    assert shown.splitlines()[0] == "2 h at 300 W, 30 W while paused, to be done by Mon 20 Jan 06:00"


def test_where_nothing_is_cleaner_it_says_so(series: str) -> None:
    shown = told("schedule", "--hours", "2", "--within", "2", "--series", series, "--start", "2025-01-20T11:00Z")
    assert shown.splitlines()[-1] == "Start now: no later time is cleaner."


def test_a_schedule_in_a_pipe_has_no_colours_and_on_a_terminal_it_has(series: str) -> None:
    arguments = ("schedule", "--hours", "6", "--series", series, "--start", START)
    assert "\x1b" not in told(*arguments)
    assert "\x1b[32m" in on_a_terminal(*arguments)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_schedule_fits_its_terminal(series: str, columns: int) -> None:
    lines = told("schedule", "--hours", "6", "--series", series, "--start", START, COLUMNS=str(columns)).splitlines()
    assert max(map(len, lines)) <= columns


def test_a_schedule_can_be_shown_in_ascii(series: str) -> None:
    arguments = ("schedule", "--hours", "6", "--series", series, "--start", START)
    assert told(*arguments, PYTHONIOENCODING="ascii", COLUMNS="60").isascii()


def test_scripts_get_the_plans(series: str) -> None:
    plans = json.loads(planned(series, "--json", "--idle-watts", "60", "--pue", "1.2"))
    assert (plans["hours"], plans["within_hours"], plans["watts"], plans["idle_watts"]) == (6, 24, 300, 60)
    assert plans["now"]["kg_co2e"] == pytest.approx(1.2 * 0.3 * sum(DAY[:6]) / 1000)
    assert plans["flexible_start"]["start"] == "2025-01-20T09:00:00Z"
    assert plans["pause_and_resume"]["saved_kg"] >= plans["flexible_start"]["saved_kg"] > 0


def test_times_are_told_in_the_users_zone(series: str) -> None:
    shown = told("schedule", "--hours", "6", "--series", series, "--start", START, TZ="Asia/Tokyo")
    assert "times are JST" in shown
    assert "Start at Mon 20 Jan 18:00: saves" in shown


def test_a_yearly_value_has_nothing_to_schedule() -> None:
    message = refused("schedule", "--hours", "6", "--region", "GB")
    assert message.startswith("wattloop: of United Kingdom one value is known for all of 2024 (")
    assert "at a constant intensity no time is better than another" in message
    assert "--series FILE" in message
    assert "--provider NAME --zone ZONE" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "Frnace"], "wattloop: --region 'Frnace' is not known; did you mean 'FR' (France)?"),
        ([], "wattloop: there is nothing to plan by; give --series FILE"),
        (["--series", "/nowhere.csv"], "wattloop: /nowhere.csv: No such file or directory\n"),
        (["--series", "{series}"], "its values are from 2025-01-20T00:00Z to 2025-01-23T00:00Z, none for "),
        (["--series", "{series}", "--start", "2025-01-23T00:00Z"], "none for 2025-01-23T00:00Z; give --start, a time"),
        (["--series", "{series}", "--start", "9999-12-31"], "none for 9999-12-31T00:00Z"),
        (
            ["--series", "{series}", "--start", START, "--within", "1e9"],
            "give a number of at least 0 and at most 100000",
        ),
        (["--series", "{series}", "--start", START, "--value", "price"], "--value 'price' is not a column of "),
        (["--series", "{series}", "--kind", "mean"], "Invalid value"),
        (
            ["--time", "at", "--region", "FR"],
            "wattloop: --time and --value are columns of a file; give --series\n",
        ),
        (
            ["--zone", "FR", "--region", "FR"],
            "wattloop: --zone and --url are a live provider's; give --provider\n",
        ),
        (["--provider", "gb", "--region", "GB"], "wattloop: --provider and --region are both given"),
        (["--provider", "nobody"], "Invalid value"),
        (["--series", "{series}", "--region", "FR"], "wattloop: --series and --region are both given"),
        (["--series", "{series}", "--start", "soon"], "wattloop: --start 'soon' is not a time"),
        (["--series", "{series}", "--start", START, "--within", "100"], "give within_hours of at most 66"),
        (["--series", "{series}", "--start", START, "--watts", "-1"], "wattloop: --watts -1.0 is not accepted"),
        (
            ["--series", "{series}", "--start", START, "--idle-watts", "900"],
            "wattloop: --idle-watts 900 is not accepted",
        ),
        (["--watts", "much"], "Invalid value"),
    ],
)
def test_a_users_mistake_is_answered_in_a_line_and_with_code_2(
    series: str, arguments: Sequence[str], message: str
) -> None:
    given = [argument.replace("{series}", series) for argument in arguments]
    assert message in refused("schedule", "--hours", "6", *given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "which column is the time?"),
        ("time,value\n", "there is no value"),
        ("time,value\n2025-01-20T00:00Z,100\n", "there is one value alone"),
        ("time,value\n2025-01-20T00:00Z,100\nyesterday,100\n", "line 3: time 'yesterday' is not accepted"),
        (
            "time,value\n2025-01-20T00:00Z,-5\n",
            "line 2: value '-5' is not accepted; give a number from 0 to 2500 g CO2e/kWh",
        ),
        ("time,value\n2025-01-20T00:00Z,nan\n", "there is no value"),
        ("time,value\n2025-01-20T00:00Z,1\n2025-01-20T00:00Z,2\n", "line 3: 2 and 1 are both given for 2025-01-20T00"),
        ("time,co2,carbon\n2025-01-20T00:00Z,1,2\n", "which column is the value? Give --value, one of 'co2', 'carbon'"),
    ],
)
def test_a_file_that_is_no_series_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(text, encoding="utf-8")
    said = refused("schedule", "--hours", "6", "--series", str(path), "--start", START)
    assert message in said
    assert said.count("\n") == 1


def test_blank_values_are_filled_with_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    path.write_text("time,value\n2025-01-20 00:00,100\n2025-01-20 01:00,\n2025-01-20 02:00,900\n2025-01-20 03:00,900\n")
    arguments = ("--hours", "2", "--within", "1", "--series", str(path), "--start", START, "--watts", "1000", "--json")
    assert json.loads(told("schedule", *arguments))["now"]["kg_co2e"] == pytest.approx(0.2)


def test_of_several_columns_one_may_be_named_and_times_may_have_their_own_zone(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    rows = [f"2025-01-20T0{hour}:00+02:00,{hour},{100 * hour}" for hour in range(1, 7)]
    path.write_text("\n".join(["begin,co2 of one,co2 of two", *rows, ""]))
    arguments = ("--series", str(path), "--time", "begin", "--value", "co2 of two", "--start", "2025-01-20T00:00Z")
    plans = json.loads(told("schedule", "--hours", "2", "--within", "1", "--watts", "1000", *arguments, "--json"))
    assert plans["now"]["kg_co2e"] == pytest.approx(0.2 + 0.3)


def test_a_gap_in_a_series_is_not_planned_across(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    hours = [0, 1, 2, 3, 9, 10, 11, 12]
    path.write_text("time,value\n" + "".join(f"2025-01-20 {hour:02}:00,100\n" for hour in hours))
    message = refused("schedule", "--hours", "6", "--series", str(path), "--start", START)
    assert message.startswith("wattloop: the forecast ends 4 h after 2025-01-20 00:00 UTC, 6 h within 24 h need 30 h")


@pytest.mark.parametrize("arguments", [("schedule", "--hours", "6"), ("doctor",)])
def test_a_command_without_an_option_for_it_suggests_none(arguments: Sequence[str]) -> None:
    message = refused(*arguments, "--region", "zz")
    assert message.startswith("wattloop: --region 'zz' is not known. Accepted: an ISO 3166 country code")
    assert message.endswith("or 'world'; `wattloop regions` lists them all\n")
    one_that_has = refused("estimate", "--hours", "6", "--watts", "300", "--region", "zz")
    assert one_that_has.endswith("; for any other place give --intensity in g CO2e/kWh\n")


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_help_names_the_commands() -> None:
    assert {"regions", "schedule"} <= set(told("--help").split())
    assert "--idle-watts" in told("schedule", "-h")


def test_the_version_is_told() -> None:
    assert told("--version") == f"wattloop {wattloop.__version__}\n"


def test_without_a_command_it_lists_them_and_the_exit_code_is_2() -> None:
    done = wattloop_()
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == told("--help")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regoins"], "No such command 'regoins'[^;]*; wattloop --help tells what is accepted"),
        (["--frob"], "No such option: --frob[^;]*; wattloop --help tells what is accepted"),
        (["regions", "a", "b"], r"Got unexpected extra argument[^;]*; wattloop regions --help tells what is accepted"),
        (["schedule"], r"Missing option '--hours'; wattloop schedule --help tells what is accepted"),
        (["report"], r"Missing argument '[^;]*; wattloop report --help tells what is accepted"),
        (
            ["estimate", "--hours", "x"],
            r"Invalid value for '--hours': [^;]*; wattloop estimate --help tells what is .*",
        ),
        (["regions", "\x1b[2J"], "no region has .*"),
    ],
)
def test_what_is_not_understood_is_answered_in_a_line_that_names_the_next_step(
    arguments: Sequence[str], message: str
) -> None:
    assert re.fullmatch(f"wattloop: {message}\n", refused(*arguments))


# -- pipes, disks and locales ------------------------------------------------------------------------------------------


COMMANDS = ["estimate --gpu A100 --hours 1", "hardware", "hardware --json", "regions", "regions --json", "doctor"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("logs") / "wattloop-é.jsonl"
    start = {
        "record": "start", "time": "2026-01-01T00:00:00Z", "run_id": "é", "version": "0.1.0", "framework": "loop",
        "host": "node", "region": "FR", "g_co2e_per_kwh": 44.0, "intensity_source": "a test", "pue": 1.0,
        "budget": None, "spent_before": {},
    }  # fmt: skip
    end = {
        "record": "end", "time": "2026-01-01T01:00:00Z", "step": 1, "status": "finished", "totals": {"gpu_j": 3.6e6},
        "uncertainty_kwh": 0.01, "phases_j": {},
    }  # fmt: skip
    path.write_text(f"{json.dumps(start)}\n{json.dumps(end)}\n")
    return str(path)


def shell(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell, in which "$@" is the command."""
    command = ["bash", "-c", script, "bash", sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [*COMMANDS, "report", "report --json", "report --markdown"])
def test_who_stops_reading_ends_a_command_without_a_word(command: str, record: str) -> None:
    arguments = [*command.split(), *([record] if command.startswith("report") else [])]
    done = shell('"$@" | true; exit ${PIPESTATUS[0]}', *arguments)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("command", [*COMMANDS, "--help", "report", "report --json", "report --markdown"])
def test_a_disk_that_is_full_is_told_in_a_line(command: str, record: str) -> None:
    arguments = [*command.split(), *([record] if command.startswith("report") else [])]
    done = shell('"$@" > /dev/full', *arguments)
    assert done.stderr == "wattloop: what there is to tell cannot be written: No space left on device\n"
    assert done.returncode == 2


@pytest.mark.parametrize("command", [*COMMANDS[:-1], "--help", "report", "report --json"])
def test_a_command_started_without_an_output_tells_nobody(command: str, record: str) -> None:
    arguments = [*command.split(), *([record] if command.startswith("report") else [])]
    done = shell('"$@" >&-', *arguments)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [*COMMANDS[:-1], "--help", "regions quebec", "report", "report --json"])
@pytest.mark.parametrize("more", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"TERM": "dumb"}])
def test_a_pipe_gets_whole_lines_in_any_locale(command: str, more: dict[str, str], record: str) -> None:
    arguments = [*command.split(), *([record] if command.startswith("report") else [])]
    text = told(*arguments, **more)
    assert "\x1b" not in text
    if "--json" in command:
        json.loads(text)
    elif command != "--help":
        assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("command", ["estimate --gpu H100 --count 8 --hours 1 --region FR", "doctor --region FR"])
def test_no_line_is_folded_in_a_pipe(command: str) -> None:
    said = "France 2024: Ember via Our World in Data, CC BY 4.0 (life-cycle, production-based, average)"
    short = "Ember via Our World in Data, CC BY 4.0 (life-cycle, production-based, average)"
    shown = wattloop_(*command.split()).stdout
    assert any((said if command.startswith("estimate") else short) in line for line in shown.splitlines())


@pytest.mark.parametrize("command", ["estimate --gpu V100 --hours 1 --compare FR", "regions car", "hardware", "report"])
@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {}])
def test_a_terminal_is_as_wide_as_it_says(command: str, more: dict[str, str], record: str) -> None:
    arguments = [*command.split(), *([record] if command.startswith("report") else [])]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(*arguments, columns=60, **more))
    # A path is not torn apart.
    assert [line for line in shown.splitlines() if len(line) > 60 and not line.startswith("record ")] == []


def test_ctrl_c_ends_a_report_at_once(record: str, tmp_path: Path) -> None:
    start, end = Path(record).read_text().splitlines(keepends=True)
    tick = {"record": "tick", "step": 1, "phase": "train", "totals": {}, "g_co2e_per_kwh": 44.0}
    long = tmp_path / "wattloop-long.jsonl"
    long.write_text(start + 300_000 * f"{json.dumps({**tick, 'time': '2026-01-01T00:30:00Z'})}\n" + end)
    command = [sys.executable, "-c", CODE, "report", str(long)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        # Once it has the record open, it reads it for seconds.
        while str(long) not in [file.path for file in psutil.Process(child.pid).open_files()]:
            assert child.poll() is None
            time.sleep(0.001)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60.0)
    assert (child.returncode, out, err) == (130, b"", b"")


def test_without_the_extra_it_says_how_to_get_it() -> None:
    code = f"import sys; sys.modules['typer'] = None; {CODE}"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "wattloop's command line needs typer and rich: pip install 'wattloop[cli]'\n"


def test_regions_imports_no_framework_no_network_and_no_tables_of_rich() -> None:
    code = f"import sys; sys.argv = ['wattloop', 'regions', 'FR']; {CODE.partition('; ')[2].partition('; ')[2]}"
    spy = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {code}"
    done = subprocess.run([sys.executable, "-c", spy], env=environment(), capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stderr.replace("'", '"')))
    assert not modules & {"torch", "numpy", "pandas", "ssl", "httpx", "asyncio", "psutil", "pynvml", "rich.table"}


def test_a_series_that_covers_now_needs_no_start(series: str) -> None:
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    lines = [f"{begin + timedelta(hours=k):%Y-%m-%dT%H:%M:%SZ},{value}" for k, value in enumerate(DAY * 3)]
    Path(series).write_text("\n".join(["time,value", *lines, ""]), encoding="utf-8")
    plans = json.loads(told("schedule", "--hours", "6", "--series", series, "--json"))
    assert begin <= datetime.fromisoformat(plans["now"]["start"]) <= datetime.now(UTC)
