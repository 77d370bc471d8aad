"""The manual's code: Python blocks are run, page by page, and console lines are parsed by what they call.

A page is one script, in a folder of its own that holds a ``grid.csv``; `SCENES` sets up what a page takes for granted.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from typer.main import get_command
from typer.testing import CliRunner

import wattloop
from fakes.day import DAY
from wattloop.cli import app
from wattloop.journal import Record
from wattloop.watching.arguments import understood

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ["README.md", *sorted(page.relative_to(ROOT).as_posix() for page in DOCS.rglob("*.md"))]

COLUMNS = 78
"""Width of what commands are shown to print."""


def parse_console(example: Example) -> None:
    """Parse every command, and compare what is shown below one with what it prints."""
    text = example.parsed.replace("\\\n", " ")
    for shown in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = shown.partition("\n")
        for command in line.split(" && "):
            program, *arguments = shlex.split(command, comments=True)
            assert program in CHECKS, f"{command!r} is checked by nothing"
            CHECKS[program](arguments, output.strip("\n"))


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def parse_wattloop(arguments: list[str], output: str) -> None:
    name, *rest = arguments
    if name == "watch":
        understood(rest)
        return
    group: Any = get_command(app())
    command = group.commands.get(name)
    assert command is not None, f"there is no command {name!r}"
    command.make_context(name, [*rest])
    if output:
        ran = CliRunner().invoke(app(), arguments, env={"COLUMNS": str(COLUMNS)})
        assert (ran.exit_code, lines(ran.output)) == (0, lines(output))


def parse_pip(arguments: list[str], output: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert arguments[0] == "install"
    for wanted in arguments[1:]:
        found = re.fullmatch(r"wattloop(?:\[(.+)\])?", wanted)
        assert found is not None
        assert set(filter(None, (found[1] or "").split(","))) <= set(extras)


def parse_module(arguments: list[str], output: str) -> None:
    environments = re.findall(r"^\[testenv:(.+)\]$", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    if arguments == ["-m", "pip", "install", "tox"]:
        return
    assert arguments[:3] == ["-m", "tox", "run"]
    assert arguments[3:] == [] or (arguments[3] == "-e" and set(arguments[4].split(",")) <= set(environments))


CHECKS: dict[str, Callable[[list[str], str], None]] = {
    "wattloop": parse_wattloop,
    "pip": parse_pip,
    "python": parse_module,
    "sudo": lambda arguments, output: None,
}


def parse_json(example: Example) -> None:
    """Decode every line; one that is a record's must be one of ours."""
    for line in example.parsed.splitlines():
        if "record" in json.loads(line):
            msgspec.json.decode(line, type=Record)


CHECKED: dict[str, Callable[[Example], None] | None] = {"python": None, "console": parse_console, "json": parse_json}
"""Languages of blocks, and what checks them; Python is run."""


def scaling(namespace: dict[str, Any]) -> None:
    namespace["model"] = type("Model", (), {"join": contextlib.nullcontext})()
    namespace["run"], namespace["loader"] = wattloop.track(region="FR"), [0]


def schedule(namespace: dict[str, Any]) -> None:
    from wattloop.grid import IntensitySeries

    namespace["series"] = IntensitySeries.from_csv("grid.csv", tz=UTC)


def readme(namespace: dict[str, Any]) -> None:
    """Set up what three frameworks are named by; ours is what is tried there."""
    namespace["Trainer"] = lambda *args, callbacks, **more: callbacks
    namespace["model"] = type("Model", (), {"fit": lambda self, *args, callbacks, **more: callbacks})()
    namespace["writer"] = type("Writer", (), {"add_scalar": lambda self, name, value, step: None})()
    namespace.update(x=None, y=None, args=None, data=None, loader=[0])


SCENES = {"docs/scaling.md": scaling, "docs/schedule.md": schedule, "README.md": readme}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ELECTRICITYMAPS_TOKEN", "WATTTIME_USER", "WATTTIME_PASSWORD"):
        monkeypatch.setenv(name, "not-a-real-one")
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    rows = [f"{begin + timedelta(hours=hour):%Y-%m-%dT%H:%MZ},{DAY[hour % 24]}" for hour in range(14 * 24)]
    (tmp_path / "grid.csv").write_text("\n".join(["time,g_co2e_per_kwh", *rows]) + "\n")
    return tmp_path


def parsed(page: str) -> Document:
    others = [CodeBlockParser(language, check) for language, check in CHECKED.items() if check is not None]
    return Sybil([PythonCodeBlockParser(), *others], path=str(ROOT)).parse(ROOT / page)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page: str, scene: Path) -> None:
    document = parsed(page)
    SCENES.get(page, lambda namespace: None)(document.namespace)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is_and_is_found(page: str) -> None:
    text = (ROOT / page).read_text()
    fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
    languages = [language.split(" ")[0] for language in fences[::2]]
    assert set(languages) <= {*CHECKED, "text"}
    assert not any(fences[1::2])
    assert len(list(parsed(page).examples())) == sum(language in CHECKED for language in languages)
