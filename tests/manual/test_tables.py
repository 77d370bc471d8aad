"""The manual's tables: they name what the code has, all of it and nothing else."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_type_hints

import griffe
import msgspec
import pytest

import wattloop
from wattloop import Budget, grid, journal
from wattloop.diagnosis.findings import Diagnosis
from wattloop.estimating import Estimate
from wattloop.footprint import Totals
from wattloop.grid import providers
from wattloop.grid.regions import Region
from wattloop.grid.schedule import Schedule
from wattloop.hardware import Hardware
from wattloop.meters import MeterOptions
from wattloop.options import RunOptions, validated
from wattloop.reading import Problem
from wattloop.reports.collection import Report
from wattloop.rows import row
from wattloop.share import Share
from wattloop.watching.account import Account

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KEYS = row(Totals(), Totals(), None, None, Budget(kwh=1.0))


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a page as rows of cells, without their heads."""
    found: list[list[list[str]]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.lstrip().startswith("|"):
            next(lines)
            rows = takewhile(lambda line: line.lstrip().startswith("|"), lines)
            # A bar that is meant as one is written \| there.
            found.append([[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])] for row in rows])
    return found


def names(cell: str) -> list[str]:
    """Return the names in a cell; one that begins with _ goes on from the first."""
    found = re.findall(r"``?([^`]+)``?", cell)
    return [name if not name.startswith("_") else found[0] + name for name in found]


def first_table(page: str, heading: str | None = None) -> list[list[str]]:
    text = (ROOT / page).read_text()
    return tables(text[text.index(f"\n{heading}\n") :] if heading is not None else text)[0]


# -- options -----------------------------------------------------------------------------------------------------------


OPTIONS = first_table("docs/reference/options.md")


def test_every_option_is_in_the_manual_and_in_the_readme() -> None:
    assert [name for cell, *_ in OPTIONS for name in names(cell)] == list(RunOptions.__annotations__)
    readme = first_table("README.md", "## Options")
    assert [name for cell, *_ in readme for name in names(cell)] == list(RunOptions.__annotations__)


@pytest.mark.parametrize(("cell", "default"), [(row[0], row[1]) for row in OPTIONS], ids=lambda cell: cell.strip("`"))
def test_an_option_has_the_default_that_is_told(cell: str, default: str) -> None:
    name, told = cell.strip("`"), ast.literal_eval(default.strip("`"))
    without = validated({})
    # What stands for None is worked out from all that is given.
    worked_out = {"region", "intensity"}
    meters = {field: getattr(without.meters, field) for field in MeterOptions.__struct_fields__}
    known = {**{field: getattr(without, field) for field in without.__struct_fields__}, **meters}
    if name in worked_out:
        assert told is None
        assert (without.region, without.place_given) == ("WORLD", False)
    else:
        assert known[name] == told


@pytest.mark.parametrize(("cell", "accepted"), [(row[0], row[2]) for row in OPTIONS], ids=lambda cell: cell.strip("`"))
def test_an_option_accepts_what_is_told(cell: str, accepted: str) -> None:
    with pytest.raises(ValueError) as refusal:
        validated({cell.strip("`"): object()})
    assert str(refusal.value).endswith(f"; give {accepted}")


# -- keys --------------------------------------------------------------------------------------------------------------


def test_every_key_is_told_in_the_docstring_that_the_manual_shows() -> None:
    (told,) = tables(inspect.getdoc(row) or "")
    assert [name for cell, *_ in told for name in names(cell)] == list(KEYS)


def test_every_key_is_told_in_the_readme() -> None:
    told = first_table("README.md", "## What is logged")
    assert [name for cell, *_ in told for name in names(cell)] == list(KEYS)


def test_keys_of_the_prose_are_keys() -> None:
    prefixes = {key.partition("/")[0] for key in KEYS}
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"`(?:train/)?([a-z]+/[a-z_0-9]+)`", page.read_text()):
            assert name in KEYS or name.partition("/")[0] not in prefixes, (page.name, name)


# -- the record --------------------------------------------------------------------------------------------------------


KINDS: tuple[Any, ...] = journal.Record.__args__
STRUCTS: dict[str, Any] = {"totals": Totals, **{kind.__struct_config__.tag: kind for kind in KINDS}}
WORDS = {"": msgspec.NODEFAULT, "0": 0.0, "1": 1, "null": None, "as before": None, "empty": "", "zeros": Totals()}


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_of_a_record_is_told_with_its_default(name: str) -> None:
    told = first_table("docs/records.md", f"### `{name}`")
    fields = msgspec.structs.fields(STRUCTS[name])
    assert [cell.strip("`") for cell, *_ in told] == [field.name for field in fields]
    if name == "totals":
        return
    for field, (_, default, _) in zip(fields, told, strict=True):
        if field.name in ("format", "time"):  # written in every line
            assert default == ""
        elif default == "none":
            assert not (field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
        else:
            assert field.default == WORDS[default]


# -- names -------------------------------------------------------------------------------------------------------------


def test_every_public_name_is_in_the_reference() -> None:
    told = set(re.findall(r"^::: (\S+)$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE))
    public = {f"{module.__name__}.{name}" for module in (wattloop, grid, providers) for name in module.__all__}
    callbacks = {f"wattloop.{framework}.EmissionsCallback" for framework in ("lightning", "keras", "transformers")}
    elsewhere = {"wattloop.grid.CarbonIntensity"}  # the same as wattloop's
    assert (public | callbacks) - told == elsewhere


def told_structs() -> dict[str, griffe.Class]:
    extensions = griffe.load_extensions(str(ROOT / "tools" / "manual_docstrings.py"))
    source = griffe.load("wattloop", search_paths=[str(ROOT / "callbacks")], extensions=extensions)
    told = re.findall(r"^::: wattloop\.(\S+)$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE)
    found = {name: source[name] for name in told}
    targets = {name: one.final_target if isinstance(one, griffe.Alias) else one for name, one in found.items()}
    return {
        name: one
        for name, one in targets.items()
        if isinstance(one, griffe.Class) and any(str(base).endswith("Struct") for base in one.bases)
    }


def test_the_reference_shows_structs_as_they_are_called() -> None:
    structs = told_structs()
    assert len(structs) > 8
    for name, told in structs.items():
        called = inspect.signature(getattr(import_module(told.module.path), told.name)).parameters.values()
        shown = list(told.parameters)[1:]
        assert [one.name for one in shown] == [one.name for one in called], name
        assert [one.kind.value for one in shown] == [one.kind.description for one in called], name
        assert [one.required for one in shown] == [one.default is one.empty for one in called], name


def test_the_collective_is_as_large_as_is_told() -> None:
    numbers = len(Share.__struct_fields__)
    scaling = (DOCS / "scaling.md").read_text()
    assert f"sums {numbers} numbers" in scaling
    assert set(re.findall(r"(\d+) bytes", scaling)) == {str(8 * numbers)}


# -- json --------------------------------------------------------------------------------------------------------------


def test_every_key_of_the_commands_json_is_told() -> None:
    page = (DOCS / "reference" / "json.md").read_text()
    for path in re.findall(r"^::: (\S+)$", page, re.MULTILINE):
        module, _, name = path.rpartition(".")
        struct = getattr(import_module(module), name)
        told = re.findall(r"^    (\w+): ", (inspect.getdoc(struct) or "").partition("Attributes:\n")[2], re.MULTILINE)
        assert {*told} == {*struct.__struct_fields__}, path


def test_every_struct_of_the_commands_json_is_told() -> None:
    page = (DOCS / "reference" / "json.md").read_text() + (DOCS / "reference" / "api.md").read_text()
    told = {*re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    roots: list[Any] = [Estimate, Schedule, Region, Hardware, Account, Diagnosis, Report]
    while roots:
        struct = roots.pop()
        path = f"{struct.__module__}.{struct.__qualname__}"
        assert path in told or {f"wattloop.{struct.__name__}", f"wattloop.grid.{struct.__name__}"} & told, path
        hints = [*get_type_hints(struct).values()]
        while hints:
            hint = hints.pop()
            hints += get_args(hint)
            if hasattr(hint, "__struct_fields__") and hint not in (struct, Problem):
                roots.append(hint)


# -- warnings ----------------------------------------------------------------------------------------------------------


FORMAT = re.compile(r"%(?:\.\d)?[sdfr]")
TELLING = 20
"""Letters that a string must have besides what is put into it."""


def said() -> list[str]:
    """Return a pattern for every string of the package that a warning may be made of."""
    trees = [ast.parse(path.read_text()) for path in Path(wattloop.__file__).parent.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [node.value for node in nodes if isinstance(node.value, str) and len(FORMAT.sub("", node.value)) >= TELLING]
    return [".*".join(map(re.escape, FORMAT.split(text))) for text in texts]


def test_every_warning_of_the_faults_is_one_that_is_given() -> None:
    patterns = said()
    told = [names(row[-1]) for table in tables((DOCS / "faults.md").read_text()) for row in table]
    warnings = [text for cell in told for text in cell if " " in text]
    assert len(warnings) >= 8
    for text in warnings:
        assert any(re.fullmatch(pattern, text) for pattern in patterns), text
