"""`wattloop watch` as its users meet it: real commands, signals and terminals, over fake GPUs of known energy."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import wattloop
from fakes.nvml import FakeNvml
from fakes.nvml import environment as with_fake
from wattloop import journal
from wattloop.grid.regions import regions, resolve
from wattloop.watching.account import duration
from wattloop.watching.arguments import _is_known

ROOT = str(Path(wattloop.__file__).parents[1])
CODE = "import sys; sys.argv[0] = 'wattloop'; from wattloop.cli import main; main()"
ONE = "devices=1;profile=constant:300;refresh_s=0.02"
PATIENCE_S = 60.0
"""How long a test waits for what must come, on however slow a machine."""
J_PER_KWH = 3.6e6


def environment(config: str = ONE, **variables: str) -> dict[str, str]:
    return with_fake(config, {"PYTHONPATH": ROOT, "TERM": "xterm-256color", **variables})


def watch(*arguments: str) -> list[str]:
    return [sys.executable, "-c", CODE, "watch", *arguments]


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def watched(*arguments: str, config: str = ONE, **more: Any) -> subprocess.CompletedProcess[bytes]:
    more = {"env": environment(config), "capture_output": True, "check": False, "timeout": PATIENCE_S, **more}
    return subprocess.run(watch(*arguments), **more)


def account(*arguments: str, config: str = ONE, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(watched("--json", *arguments, config=config, **more).stderr)
    return found


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.005)


@pytest.mark.parametrize("moment", ["wattloop.watching.main", "argparse", "wattloop.watching.witness"])
def test_ctrl_c_before_the_command_has_begun_ends_us_without_a_word(moment: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    hook = f"lambda event, args: event == 'import' and args[0] == {moment!r} and os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run(
        python(f"import os, signal, sys; sys.addaudithook({hook}); {CODE}", "watch", "touch", str(made)),
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
    assert not made.exists()


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_what_is_accepted_at_once_is_accepted_by_all_that_follows() -> None:
    labels = {label for region in regions() for label in (region.code, region.name, *region.aliases)}
    known = {as_typed for label in labels for as_typed in (label, label.lower(), label.upper()) if _is_known(as_typed)}
    assert {"FR", "France", "FRA", "California", "gcp:europe-west9", "france", "fr", "GCP:EUROPE-WEST9"} <= known
    assert not known & {"", "Georgia", "georgia", "code", "Frnace"}
    for label in known:
        found = resolve(label)
        assert label.casefold() in {one.casefold() for one in (found.code, found.name, *found.aliases)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "Frnace", "--", "touch"], "--region 'Frnace' is not known; did you mean 'FR' (France)?"),
        (["--region", "code", "--", "touch"], "--region 'code' is not known"),
        (["--pue", "0.5", "--", "touch"], "--pue 0.5 is not accepted; give a number from 1 to 10"),
        (["--pue", "nan", "--", "touch"], "--pue nan is not accepted"),
        (["--intensity", "-3", "--", "touch"], "-3"),
        (["--net-share", "2", "--", "touch"], "--net-share 2.0 is not accepted"),
        (["--pue", "much", "--", "touch"], "argument --pue: invalid float value: 'much'"),
        (["--nothing", "--", "touch"], "wattloop watch --help tells what is accepted"),
    ],
)
def test_a_mistake_is_told_in_a_line_before_the_command_runs(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = watched(*arguments, str(tmp_path / "made"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "made").exists()


def test_without_a_command_it_says_how_to_give_one() -> None:
    for arguments in ([], ["--"], ["--region", "FR"]):
        done = watched(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(b"wattloop: there is no command to watch")


def test_the_commands_own_options_are_its_own() -> None:
    assert watched("--pue", "1.2", "printf", "%s|", "--pue", "-h", "--", "-x").stdout == b"--pue|-h|--|-x|"
    assert watched("--", "printf", "%s|", "--json").stdout == b"--json|"


def test_help_is_told_and_names_it_among_the_commands() -> None:
    done = watched("--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--log-dir" in done.stdout
    listed = subprocess.run(python(CODE, "--help"), env=environment(), capture_output=True, text=True, check=True)
    assert "watch" in listed.stdout.split()


def test_it_works_without_the_extra() -> None:
    code = f"import sys; sys.modules['typer'] = sys.modules['rich'] = None; {CODE}"
    done = subprocess.run(
        python(code, "watch", "sh", "-c", "exit 4"), env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 4


# -- the command's own -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_its_exit_code_is_the_commands(code: int) -> None:
    assert watched("--", "sh", "-c", f"exit {code}").returncode == code


def test_what_is_not_there_or_cannot_be_run_ends_as_in_a_shell(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("true\n")
    for command, code, why in (
        ("no-such-command", 127, "No such file or directory"),
        (str(tmp_path / "missing"), 127, "No such file or directory"),
        (str(tmp_path / "plain"), 126, "Permission denied"),
        (str(tmp_path), 126, "Permission denied"),
        ("", 127, "No such file or directory"),
    ):
        done = watched("--", command)
        assert done.returncode == code, command
        assert done.stderr.decode() == f"wattloop: {command}: {why}\n"


def test_a_script_that_does_not_say_of_what_is_the_shells(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $1"; exit 3\n')
    script.chmod(0o755)
    done = watched("--", str(script), "one")
    assert (done.returncode, done.stdout.decode()) == (3, f"{script} one\n")


def test_input_and_output_go_through_to_the_byte() -> None:
    sent = bytes(range(256)) * 4000
    done = watched("--", "cat", input=sent)
    assert done.stdout == sent
    code = "import os, sys; os.write(1, bytes(range(256))); os.write(2, bytes(range(255, -1, -1)))"
    done = watched("-o", os.devnull, "--", *python(code))
    assert (done.stdout, done.stderr) == (bytes(range(256)), bytes(range(255, -1, -1)))


def test_output_is_there_before_the_command_ends() -> None:
    with subprocess.Popen(
        watch("-o", os.devnull, "--", "sh", "-c", "echo first; read line; echo got $line"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.stdin.write(b"it\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got it\n"
        assert process.wait(PATIENCE_S) == 0


def test_arguments_need_not_be_text() -> None:
    odd = os.fsdecode(b"\xff\xfe \n*")
    done = watched("--json", "--", "sh", "-c", 'printf %s "$1"; sleep 0.7', "sh", odd)
    assert done.stdout == b"\xff\xfe \n*"
    assert json.loads(done.stderr)["command"][-1] == "\ufffd\ufffd \n*"


SEEN = """
import json, os, signal, sys
status = open("/proc/self/status").read().splitlines()
seen = [line for line in status if line.startswith(("SigBlk", "SigIgn", "SigCgt", "ShdPnd"))]
more = [os.getpgrp(), os.getsid(0), os.getcwd(), os.nice(0), sorted(os.listdir("/proc/self/fd"), key=int)[:-1]]
open(sys.argv[1], "w").write(json.dumps([seen, more, dict(os.environ)]))
"""


def mask(line: str) -> int:
    """Read a set of signals; the C library keeps the 32nd and 33rd to itself, and spawns with them ignored."""
    return int(line.split()[1], 16) & ~(0b11 << 31)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", None])
def test_the_command_finds_what_it_would_find_without(tmp_path: Path, locale: str | None) -> None:
    kept = {key: value for key, value in environment().items() if not key.startswith(("LC_", "LANG", "PYTHONCOERCE"))}
    variables = kept | ({} if locale is None else {"LC_ALL" if locale == "C.UTF-8" else "LANG": locale})
    reader, writer = os.pipe()
    shell = ["sh", "-c", 'trap "" HUP USR1; "$@"', "sh"]
    for name, command in (("bare", []), ("watched", watch("--no-live", "--"))):
        done = subprocess.run(
            [*shell, *command, *python(SEEN, str(tmp_path / name))],
            env=variables,
            pass_fds=[reader],
            process_group=0,
            capture_output=True,
            check=True,
        )
        assert done.stdout == b""
    os.close(reader)
    os.close(writer)
    bare, under = (json.loads((tmp_path / name).read_text()) for name in ("bare", "watched"))
    assert [mask(line) for line in under[0]] == [mask(line) for line in bare[0]]  # ignored, blocked, caught, pending
    assert under[1][1:] == bare[1][1:]
    assert under[2] == bare[2]


# -- signals -----------------------------------------------------------------------------------------------------------

LISTENS = """
import os, signal, sys, time
def hear(number, frame):
    os.write(1, f"{signal.Signals(number).name}\\n".encode())
    if number == signal.SIGTERM:
        sys.exit(9)
for name in "HUP INT QUIT USR1 USR2 TERM".split():
    signal.signal(getattr(signal, "SIG" + name), hear)
os.write(1, b"ready\\n")
while True:
    time.sleep(60)
"""


class Watching:
    """A command being watched, in a process group of its own."""

    def __init__(self, *command: str, config: str = ONE, **more: Any) -> None:
        self.process = subprocess.Popen(
            watch("-o", os.devnull, "--", *command),
            env=environment(config),
            stdout=subprocess.PIPE,
            process_group=0,
            **more,
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def line(self) -> bytes:
        return self.output.readline().strip()

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def send_group(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def end(self) -> tuple[int, list[bytes]]:
        rest = self.output.read().split()
        return self.process.wait(PATIENCE_S), rest

    def witness(self) -> psutil.Process:
        """The process that shows what the group is sent, once it is there."""
        found: list[psutil.Process] = []
        until(lambda: found.extend(one for one in self.children() if one.name() == "cat") or found)
        return found[0]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@pytest.fixture
def listening() -> Iterator[Watching]:
    watching = Watching(*python(LISTENS))
    assert watching.line() == b"ready"
    watching.witness()
    yield watching
    with contextlib.suppress(ProcessLookupError):
        watching.send_group(signal.SIGKILL)
    watching.process.wait()
    watching.output.close()


@pytest.mark.parametrize("name", "HUP INT QUIT USR1 USR2".split())
def test_a_signal_to_us_alone_is_passed_on_once(listening: Watching, name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    for _ in range(2):
        listening.send(number)
        assert listening.line() == f"SIG{name}".encode()
    listening.send(signal.SIGTERM)
    assert listening.end() == (9, [b"SIGTERM"])


@pytest.mark.parametrize("name", "HUP INT QUIT USR1 USR2".split())
def test_a_signal_to_the_whole_group_reaches_the_command_once(listening: Watching, name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    for _ in range(2):
        before = listening.witness().pid
        listening.send_group(number)
        assert listening.line() == f"SIG{name}".encode()
        until(lambda before=before: listening.witness().pid != before)  # it was noticed
    listening.send(signal.SIGTERM)
    assert listening.end() == (9, [b"SIGTERM"])


def test_a_signal_to_us_alone_is_passed_on_after_one_to_the_group(listening: Watching) -> None:
    before = listening.witness().pid
    listening.send_group(signal.SIGINT)
    assert listening.line() == b"SIGINT"
    until(lambda: listening.witness().pid != before)
    listening.send(signal.SIGINT)
    assert listening.line() == b"SIGINT"
    listening.send(signal.SIGTERM)
    assert listening.end() == (9, [b"SIGTERM"])


def test_what_the_witness_is_sent_late_hides_no_later_signal(listening: Watching) -> None:
    """As of a scheduler that sends to one process of a job after the other, and takes its time."""
    listening.send(signal.SIGINT)
    assert listening.line() == b"SIGINT"
    late = listening.witness()
    late.send_signal(signal.SIGINT)
    until(lambda: listening.witness().pid != late.pid)
    listening.send(signal.SIGINT)
    assert listening.line() == b"SIGINT"
    listening.send(signal.SIGTERM)
    assert listening.end() == (9, [b"SIGTERM"])


def test_a_command_in_a_group_of_its_own_is_sent_what_the_group_is_sent() -> None:
    code = f"import os; os.setpgid(0, 0)\n{LISTENS}"
    watching = Watching(*python(code))
    assert watching.line() == b"ready"
    watching.witness()
    watching.send_group(signal.SIGINT)
    assert watching.line() == b"SIGINT"
    watching.send(signal.SIGTERM)
    assert watching.end() == (9, [b"SIGTERM"])


@pytest.mark.parametrize("name", ["TERM", "INT", "KILL", "QUIT", "SEGV"])
def test_where_a_signal_ends_the_command_the_same_one_ends_us(name: str, tmp_path: Path) -> None:
    done = watched("--", "sh", "-c", f"kill -{name} $$", cwd=tmp_path)
    assert done.returncode == -getattr(signal, f"SIG{name}")
    assert b"wattloop: " in done.stderr
    assert not [*tmp_path.iterdir()]  # no core of ours


def test_a_shell_sees_128_and_the_signal() -> None:
    script = '"$@"; echo $?'
    command = ["bash", "-c", script, "bash", *watch("--", "sh", "-c", "kill -TERM $$")]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False)
    assert done.stdout == b"143\n"


def test_a_command_that_ignores_an_interruption_goes_on_and_is_told_of() -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); input()"
    with subprocess.Popen(
        watch("--json", "--", *python(code)),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        os.kill(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(b"\n", PATIENCE_S)
    assert process.returncode == 0
    assert json.loads(told)["exit_code"] == 0


def test_what_nohup_has_ignored_stays_ignored() -> None:
    code = "import os, signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True); input()"
    shell = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *watch("-o", os.devnull, "--", *python(code))]
    with subprocess.Popen(
        shell, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        os.kill(process.pid, signal.SIGHUP)
        process.communicate(b"\n", PATIENCE_S)
    assert process.returncode == 0


def test_grandchildren_that_are_left_behind_are_left_alone(tmp_path: Path) -> None:
    done = watched("--", "sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!")
    left = psutil.Process(int(done.stdout))
    assert done.returncode == 0
    assert left.status() != psutil.STATUS_ZOMBIE
    left.kill()


def test_nothing_of_ours_is_left_behind_when_we_are_killed() -> None:
    watching = Watching("sleep", "100")
    witness = watching.witness()
    children = watching.children()
    watching.send(signal.SIGKILL)
    watching.process.wait()
    watching.output.close()
    until(lambda: not witness.is_running() or witness.status() == psutil.STATUS_ZOMBIE)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_many_children_are_no_trouble_where_none_is_waited_for() -> None:
    """As under a parent that ignores SIGCHLD, which is inherited."""
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    command = python(code, *watch("--", "sh", "-c", "for i in 1 2 3; do true & done; wait; exit 5"))
    assert subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 5


# -- what is told ------------------------------------------------------------------------------------------------------


def test_what_was_used_is_told_on_stderr() -> None:
    done = watched("--region", "FR", "--pue", "1.5", "--net-share", "0.5", "--", "sleep", "2")
    first, gpu, grid = done.stderr.decode().splitlines()
    assert re.fullmatch(
        r"wattloop: \d+ J ± [\d.]+ J, [\d.]+% measured, [\d.]+ mg CO2e, net [\d.]+ mg CO2e in [2-9] s", first
    )
    assert re.fullmatch(r"  GPU-a0b1c200  NVIDIA H100 80GB HBM3 +\d+ J +\d+\.\d W  by its energy counter", gpu)
    assert grid.startswith("  44.18 g CO2e/kWh, PUE 1.5: France 2024: Ember")


def test_scripts_get_it_as_json(tmp_path: Path) -> None:
    told = account("--intensity", "100", "--pue", "1.2", "--net-share", "0.25", "--", "sh", "-c", "sleep 3; exit 3")
    assert (told["exit_code"], told["command"][0], told["pue"], told["g_co2e_per_kwh"]) == (3, "sh", 1.2, 100.0)
    assert told["kg_co2e"] == pytest.approx(told["kwh"] * 1.2 * 100 / 1000)
    assert told["kg_co2e_net"] == pytest.approx(0.75 * told["kg_co2e"])
    assert sum(channel["kwh"] for channel in told["channels"]) == pytest.approx(told["kwh"])
    assert told["journal"] is None
    assert told["warnings"] == []
    (channel,) = told["channels"]
    assert (channel["name"][:4], channel["method"], channel["model"]) == ("GPU-", "counter", "NVIDIA H100 80GB HBM3")


def test_it_can_be_told_in_a_file(tmp_path: Path) -> None:
    done = watched("--json", "-o", str(tmp_path / "used"), "--", "sh", "-c", "sleep 1; echo mine >&2")
    assert done.stderr == b"mine\n"
    assert json.loads((tmp_path / "used").read_text())["exit_code"] == 0


def test_where_that_file_cannot_be_written_it_is_told_on_stderr(tmp_path: Path) -> None:
    done = watched("-o", str(tmp_path / "no" / "used"), "--", "sleep", "0.7")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0
    assert lines[0] == f"wattloop: {tmp_path}/no/used: No such file or directory"
    assert any("measured" in line for line in lines)


def test_a_command_that_is_over_at_once_is_said_to_be() -> None:
    config = f"{ONE};hang.init=1"  # nothing is measured, however long it takes to say so
    assert watched("--", "true", config=config).stderr.endswith(b"before anything was measured\n")


def test_what_is_wrong_is_told_at_the_end_and_not_in_between(tmp_path: Path) -> None:
    done = watched("--", "sh", "-c", "sleep 1; echo last >&2", config="devices=2;d1.error.all=15")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "last"
    assert "wattloop: GPU 1 is not measured: GPU is lost" in lines
    assert any(line.startswith("wattloop: no region given, so the world average") for line in lines)


def test_nobody_to_read_it_is_no_trouble() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert watched("--", "sh", "-c", "exit 6", capture_output=False, stderr=writer).returncode == 6
    os.close(writer)
    more = {"capture_output": False, "preexec_fn": lambda: os.close(2)}
    assert watched("--", "sh", "-c", "exit 6", **more).returncode == 6


def test_what_would_be_told_on_a_closed_stderr_is_told_to_no_other_file(tmp_path: Path) -> None:
    more = {"capture_output": False, "preexec_fn": lambda: os.close(2)}
    assert watched("--log-dir", str(tmp_path), "--", "sleep", "1", **more).returncode == 0
    (path,) = tmp_path.glob("*.jsonl")
    assert [*journal.read(path)]  # each line is a record


def test_durations() -> None:
    assert [duration(s) for s in (0.0421, 1.0, 9.94, 9.96, 83.4, 7260.0)] == [
        "0.042 s",
        "1 s",
        "9.9 s",
        "10 s",
        "83 s",
        "2.0 h",
    ]


# -- energy ------------------------------------------------------------------------------------------------------------

TIMED = "import time; print(time.monotonic(), flush=True); time.sleep(SECONDS); print(time.monotonic(), flush=True)"


@pytest.mark.parametrize(
    "config",
    [
        "devices=2;profile=constant:300;refresh_s=0.1",
        "devices=1;profile=square:100,500,0.7;refresh_s=0.02",
        "devices=1;profile=constant:250;error.total_energy=3;error.field_83=3",
    ],
    ids=["constant", "a wave", "power alone"],
)
def test_energy_is_right_within_what_is_stated(tmp_path: Path, config: str) -> None:
    before_s = time.monotonic()
    done = watched("--json", "--log-dir", str(tmp_path), "--", *python(TIMED.replace("SECONDS", "3")), config=config)
    after_s = time.monotonic()
    told = json.loads(done.stderr)
    begin_s, end_s = map(float, done.stdout.split())
    with FakeNvml(config) as truth:
        least_j, most_j = truth.energy_j(begin_s, end_s), truth.energy_j(before_s, after_s)
    doubt_j = told["uncertainty_kwh"] * J_PER_KWH
    assert least_j - doubt_j <= told["kwh"] * J_PER_KWH <= most_j + doubt_j
    assert end_s - begin_s <= told["duration_s"] <= after_s - before_s
    start, *_, end = journal.read(told["journal"])
    assert isinstance(start, journal.Start)
    assert isinstance(end, journal.End)
    assert (start.framework, start.world_size, end.status) == ("watch", 1, "finished")
    assert end.totals.kwh == pytest.approx(told["kwh"])
    assert {name: joules / J_PER_KWH for name, joules in end.channels_j.items()} == {
        channel["name"]: pytest.approx(channel["kwh"]) for channel in told["channels"]
    }


def test_ten_seconds_are_right_to_a_hundredth() -> None:
    """By the time that the command itself says it ran, less the start of its interpreter."""
    configs = {
        "100 ms": "devices=1;profile=constant:300;refresh_s=0.1",
        "wave": "devices=2;profile=square:100,500,0.13;refresh_s=0.02",
    }
    running = {}
    for name, config in configs.items():
        command = watch("--json", "--", *python(TIMED.replace("SECONDS", "12")))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running[name] = (time.monotonic(), subprocess.Popen(command, env=environment(config), **pipes))  # type: ignore[call-overload]
    for name, (_, process) in running.items():
        output, errors = process.communicate(timeout=PATIENCE_S)
        told = json.loads(errors)
        _, end_s = map(float, output.split())
        with FakeNvml(configs[name]) as truth:
            true_j = truth.energy_j(end_s - told["duration_s"], end_s)
        assert told["kwh"] * J_PER_KWH == pytest.approx(true_j, rel=0.01), name


@pytest.mark.parametrize(
    ("ending", "status"), [("exit 0", "finished"), ("exit 4", "failed"), ("kill -TERM $$", "interrupted")]
)
def test_the_record_says_how_it_ended(tmp_path: Path, ending: str, status: str) -> None:
    watched("--log-dir", str(tmp_path), "--", "sh", "-c", f"sleep 1; {ending}")
    (path,) = tmp_path.glob("*.jsonl")
    *_, end = journal.read(path)
    assert isinstance(end, journal.End)
    assert end.status == status


def test_without_a_folder_for_it_no_record_is_kept(tmp_path: Path) -> None:
    watched("--", "sleep", "0.7", cwd=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_written_costs_the_record_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = account("--log-dir", str(tmp_path / "file" / "logs"), "--", "sh", "-c", "sleep 1; exit 3")
    assert told["exit_code"] == 3
    assert told["journal"] is None
    assert told["kwh"] > 0
    assert any(warning.startswith("no record of this run is kept") for warning in told["warnings"])


BUSY = """
import os, sys, time
end_s = time.monotonic() + 2
while time.monotonic() < end_s:
    pass
print(time.process_time())
"""


def test_the_model_counts_the_command_and_its_children() -> None:
    """Energy per second of the processor's time is the same, whoever in the tree of processes used it."""
    watts = []
    for command in (python(BUSY), ["sh", "-c", 'sh -c "$1; true"; true', "sh", f"{sys.executable} -c '{BUSY}'"]):
        done = watched("--json", "--", *command, config="error.init=9")
        told = json.loads(done.stderr)
        assert [channel["method"] for channel in told["channels"]] == ["modelled"]
        assert told["measured_fraction"] == 0.0
        watts.append(told["kwh"] * J_PER_KWH / float(done.stdout))
    assert watts[0] > 0
    assert watts[0] == pytest.approx(watts[1], rel=0.25)


def test_the_gpus_are_those_that_the_command_can_use() -> None:
    variables = environment("devices=3", CUDA_VISIBLE_DEVICES="2,0")
    told = account("--", "sleep", "1", env=variables)
    assert sorted(channel["name"][:12] for channel in told["channels"]) == ["GPU-a0b1c200", "GPU-a2b3c402"]


@pytest.mark.parametrize("fault", ["hang.init=1", "error.init=12", "hang.total_energy=1", "latency.init=0.4"])
def test_whatever_the_driver_does_the_command_runs_and_nobody_waits_for_it(fault: str) -> None:
    """Where nothing else measures, a run may wait for the driver for five seconds; a command does not."""
    begin_s = time.monotonic()
    done = watched("--", "sh", "-c", "echo ran; sleep 0.5; exit 8", config=f"{ONE};{fault}")
    assert (done.returncode, done.stdout) == (8, b"ran\n")
    assert time.monotonic() - begin_s < 4.0


def test_a_driver_that_hangs_halfway_is_bridged() -> None:
    done = watched("--json", "--", "sleep", "3", config=f"{ONE};hang.all=1@1.5")
    told = json.loads(done.stderr)
    assert told["kwh"] * J_PER_KWH == pytest.approx(900, abs=told["uncertainty_kwh"] * J_PER_KWH)
    assert 0.1 < told["measured_fraction"] < 0.9


def test_one_in_another_is_no_trouble() -> None:
    inner = watch("--json", "-o", "/dev/stdout", "--", "sh", "-c", "sleep 1; exit 5")
    done = watched("--json", "--", *inner)
    assert done.returncode == 5
    assert json.loads(done.stderr)["kwh"] > json.loads(done.stdout)["kwh"] > 0


def test_a_command_that_measures_itself_is_no_trouble() -> None:
    code = "import time, wattloop\nwith wattloop.track(region='FR') as run: time.sleep(1)\nprint(run.totals.kwh)"
    done = watched("--json", "--", *python(code))
    assert json.loads(done.stderr)["kwh"] > float(done.stdout) > 0


def test_in_the_environment_of_a_rank_it_is_a_run_of_its_own(tmp_path: Path) -> None:
    rank = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    told = account("--log-dir", str(tmp_path), "--", "sleep", "1", env=environment(**rank))
    start = next(iter(journal.read(told["journal"])))
    assert isinstance(start, journal.Start)
    assert start.world_size == 1


# -- on a terminal -----------------------------------------------------------------------------------------------------

SAVE, RESTORE = b"\x1b7", b"\x1b8"


class Terminal:
    """A terminal that a session of its own runs in."""

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None, lines: int = 24, columns: int = 80
    ) -> None:
        self.shown = b""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (lines, columns))

        def take() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            env=environment() | dict(variables or {}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=take,
        )
        os.close(theirs)
        self._end = ours

    def read(self) -> bool:
        """Take in what is written; False at its end."""
        if not select.select([self._end], [], [], PATIENCE_S)[0]:
            raise TimeoutError(self.shown)
        try:
            part = os.read(self._end, 65536)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        self.shown += part
        return bool(part)

    def until(self, text: bytes) -> None:
        while text not in self.shown:
            assert self.read(), self.shown

    def type(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def end(self) -> tuple[int, bytes]:
        while self.read():
            pass
        os.close(self._end)
        return self.process.wait(PATIENCE_S), self.shown


def without_line(shown: bytes) -> bytes:
    """What is left of the screen without what is written in its last line, between saving and restoring the cursor."""
    return re.sub(rb"\x1b7.*?\x1b8", b"", shown).replace(b"\x1bD\x1b[A", b"")


def test_a_terminal_shows_a_line_at_its_foot_and_the_commands_output_above() -> None:
    command = 'printf "half "; sleep 3.5; printf "whole\\n"'
    terminal = Terminal(watch("--region", "FR", "--", "sh", "-c", command))
    code, shown = terminal.end()
    assert code == 0
    drawn = re.findall(rb"\x1b7\x1b\[24;1H\x1b\[2K\x1b\[2m(.*?)\x1b\[0m\x1b8", shown)
    assert len(drawn) >= 2
    assert re.fullmatch(rb"wattloop \d(\.\d)? s  \d+ W  [\d.,]+ J  [\d.]+ mg CO2e", drawn[-1])
    assert SAVE + b"\x1b[1;23r" + RESTORE in shown  # the last line does not scroll
    assert SAVE + b"\x1b[r\x1b[24;1H\x1b[2K" + RESTORE in shown  # and is given back
    left = without_line(shown)
    assert left.startswith(b"half whole\r\n")
    assert b"% measured" in left


def test_an_unfinished_line_of_the_commands_is_left_as_it_is() -> None:
    _, shown = Terminal(watch("--no-live", "--", "printf", "no end"), columns=40).end()
    assert shown.startswith(b"no end" + b" " * 39 + b"\r")


@pytest.mark.parametrize(
    ("arguments", "variables", "lines"),
    [(["--no-live"], {}, 24), ([], {"TERM": "dumb"}, 24), ([], {}, 2)],
    ids=["on request", "a dumb terminal", "no room"],
)
def test_no_line_is_shown_where_it_would_be_in_the_way(
    arguments: list[str], variables: dict[str, str], lines: int
) -> None:
    terminal = Terminal(watch(*arguments, "--", "sleep", "3.3"), variables, lines=lines)
    assert b"\x1b7" not in terminal.end()[1]


def test_a_program_that_has_taken_the_terminal_is_not_drawn_over() -> None:
    _, shown = Terminal(watch("--", "sh", "-c", "stty -icanon; sleep 3.3; stty icanon")).end()
    assert b"\x1b7" not in shown


def test_a_terminal_that_was_taken_while_the_line_was_shown_is_given_back() -> None:
    command = "sleep 2.5; stty -icanon; sleep 1.5; stty icanon"
    _, shown = Terminal(watch("--", "sh", "-c", command)).end()
    assert shown.rindex(b"\x1b[r\x1b[24;1H\x1b[2K") > shown.rindex(b"\x1b[1;23r")


def test_a_pipe_is_shown_no_line() -> None:
    assert b"\x1b" not in watched("--", "sleep", "3.3").stderr


def test_ctrl_c_reaches_the_command_once_and_what_was_used_is_told() -> None:
    terminal = Terminal(watch("--", *python(LISTENS.replace("SIGTERM", "SIGUSR1"))))
    terminal.until(b"ready")
    (session,) = [psutil.Process(terminal.process.pid)]
    until(lambda: any(child.name() == "cat" for child in session.children()))
    for count in (1, 2):
        terminal.type(b"\x03")
        until(lambda count=count: terminal.read() and terminal.shown.count(b"SIGINT") == count)
    (command,) = [child for child in session.children() if child.name() != "cat"]
    command.send_signal(signal.SIGUSR1)
    code, shown = terminal.end()
    assert code == 9
    assert shown.count(b"SIGINT") == 2
    assert b"wattloop: " in shown


SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpgrp())
    os.write(1, b"[stopped]")
    os.read(0, 10)
    os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_ctrl_z_stops_us_with_the_command_as_a_shell_expects_and_both_go_on() -> None:
    command = 'for i in 1 2 3 4 5 6 7 8 9; do sleep 0.5; echo "line $i"; done; exit 3'
    terminal = Terminal(python(SHELL, *watch("--", "sh", "-c", command)))
    terminal.until(b"\x1b[1;23r")  # the line is shown
    terminal.type(b"\x1a")
    terminal.until(b"[stopped]")
    assert terminal.shown.rindex(b"\x1b[r\x1b[24;1H\x1b[2K") < terminal.shown.index(b"[stopped]")
    stopped = psutil.Process(terminal.process.pid).children(recursive=True)
    commands = [one for one in stopped if one.name() in ("sh", "sleep")]
    assert commands
    assert {one.status() for one in commands} == {psutil.STATUS_STOPPED}
    terminal.type(b"fg\n")
    code, shown = terminal.end()
    assert code == 3
    assert all(shown.count(f"line {i}\r\n".encode()) == 1 for i in range(1, 10))


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_the_command_waits_for_nothing_that_it_does_not_need() -> None:
    """What measuring needs takes longer to import than a command may be kept waiting."""
    spy = (
        "import os, sys\n"
        "def spawn(*arguments, spawn=os.posix_spawnp, **more):\n"
        "    if arguments[0] == 'true': os.write(1, repr(sorted(sys.modules)).encode())\n"
        "    return spawn(*arguments, **more)\n"
        "os.posix_spawnp = spawn\n"
    )
    command = python(spy + CODE, "watch", "--region", "gcp:europe-west9", "--pue", "1.1", "true")
    done = subprocess.run(command, env=environment(), capture_output=True, check=True)
    modules = set(json.loads(done.stdout.replace(b"'", b'"')))
    assert "wattloop.watching.command" in modules
    slow = {"typing", "typer", "rich", "logging", "threading", "subprocess", "msgspec", "psutil", "pynvml", "ctypes"}
    assert not modules & {*slow, "wattloop.run", "wattloop.options", "wattloop.sampler"}
