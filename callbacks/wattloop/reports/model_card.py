"""Model card: the ``co2_eq_emissions`` block of a Hugging Face model card, and nothing else in the card changed."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from wattloop.reports import facts
from wattloop.reports.collection import Report
from wattloop.units import G_PER_KG, format_share

KEY = "co2_eq_emissions"
BOM = "\ufeff"


def block(report: Report, hardware: str = "", training_type: str = "") -> dict[str, str | float]:
    """Return the block for runs, which are added up: emissions in grams, gross, PUE included.

    Args:
        report: The runs, one at least.
        hardware: What they ran on, in the user's words.
        training_type: ``pre-training`` or ``fine-tuning``; a record does not know.
    """
    runs, total = report.runs, report.total
    versions = " and ".join(sorted({run.version for run in runs} - {""}))
    source = [f"wattloop {versions}".strip(), f"{format_share(total.measured_fraction)} of the energy measured"]
    if total.g_co2e_per_kwh is not None:
        kinds = {"average": "", "marginal": ", marginal"}
        named = facts.listed([f"{found.name}{kinds[found.kind]}" for found in facts.sources(runs)])
        source.append(f"{total.g_co2e_per_kwh:.3g} g CO2e/kWh ({named}), PUE {facts.pues(runs)}")
    given: dict[str, str | float] = {
        "emissions": float(f"{total.kg_co2e * G_PER_KG:.6g}"),
        "source": "; ".join(source),
        "training_type": training_type,
        "geographical_location": facts.places(runs),
        "hardware_used": hardware or facts.hardware(runs),
    }
    return {name: value for name, value in given.items() if value != ""}


def write(path: str | os.PathLike[str], report: Report, hardware: str = "", training_type: str = "") -> None:
    """Write the block into a card, which is made where there is none.

    What the card says of its training type stays where none is given here; and what it says of its hardware, where
    records do not name that.

    Args:
        path: The card, ``README.md`` of a model's repository.
        report: The runs, one at least.
        hardware: As in `block`.
        training_type: As in `block`.

    Raises:
        OSError: The card cannot be read or written.
        ValueError: Its metadata cannot be read; it is left as it is.
    """
    target = Path(os.path.realpath(path))
    try:
        text = target.read_bytes().decode()
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError:
        raise ValueError(f"{os.fspath(path)}: not text in UTF-8") from None
    given = block(report, hardware, training_type)
    named = hardware or any(run.gpu_models for run in report.runs)
    try:
        known = _block_of(text)
        for name, ours in (("training_type", training_type), ("hardware_used", named)):
            if not ours and isinstance(known.get(name), str):
                given[name] = known[name]
        changed = with_block(text, given)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{os.fspath(path)}: its metadata cannot be read: {why}") from None
    _replace(target, changed.encode())


def with_block(text: str, given: dict[str, str | float]) -> str:
    """Return a card with another block; all else in it, comments and line ends too, stays as it is.

    Args:
        text: The card; may be empty.
        given: The block.

    Raises:
        ValueError: Its metadata cannot be read.
        TypeError: Hugging Face does not accept them.
        yaml.YAMLError: They are not YAML.
    """
    bom, text = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
    found = REGEX_YAML_BLOCK.search(text)
    if found is None:
        newline = "\r\n" if "\r\n" in text else "\n"
        return f"{bom}---{newline}{_as_yaml(given, newline)}{newline}---{newline}{text}"
    newline = "\r\n" if found[1].endswith("\r\n") else "\n"
    metadata = found[2]
    spliced = _spliced(metadata, given, newline)
    card = f"{text[: found.start(2)]}{spliced}{text[found.end(2) :]}"
    if not _same_but_block(text, card, given):
        # Something of YAML that is not written line by line: Hugging Face's own way, which loses comments.
        whole = ModelCard(text)
        whole.data[KEY] = given
        card = whole.content
    return bom + card


def _as_yaml(given: dict[str, str | float], newline: str) -> str:
    return str(ModelCardData(**{KEY: given}).to_yaml(line_break=newline))


def _block_of(text: str) -> dict[str, Any]:
    text = text.removeprefix(BOM)
    known = ModelCard(text, ignore_metadata_errors=True).data.get(KEY) if REGEX_YAML_BLOCK.search(text) else None
    return known if isinstance(known, dict) else {}


def _spliced(metadata: str, given: dict[str, str | float], newline: str) -> str:
    node = yaml.compose(metadata, yaml.SafeLoader)
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    indent = " " * (entries[0][0].start_mark.column if entries else 0)
    ours = newline.join(f"{indent}{line}" for line in _as_yaml(given, newline).split(newline))
    # A text of several lines holds the empty ones after it.
    places = [
        (key.start_mark.index, len(metadata[: _end(value)].rstrip())) for key, value in entries if key.value == KEY
    ]
    if not places:
        return f"{metadata}{newline}{ours}" if metadata else ours
    start, end = places[-1]
    line_end = re.compile(r"\r?\n|$").search(metadata, end)
    rest = metadata[line_end.start() :] if line_end is not None else ""
    return f"{metadata[: start - len(indent)]}{ours}{rest}"


def _end(node: yaml.Node) -> int:
    """Return where a value ends; the end mark of an indented one is that of the comments after it."""
    last: yaml.Node = node
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        pair = last.value[-1]
        last = pair[1] if isinstance(pair, tuple) else pair
    return int(last.end_mark.index)


def _same_but_block(before: str, after: str, given: dict[str, str | float]) -> bool:
    try:
        old, new = REGEX_YAML_BLOCK.search(before), REGEX_YAML_BLOCK.search(after)
        if old is None or new is None or before[old.end() :] != after[new.end() :]:
            return False
        data, changed = yaml.safe_load(old[2]) or {}, yaml.safe_load(new[2])
        others = [(key, value) for key, value in data.items() if key != KEY]
        kept = [(key, value) for key, value in changed.items() if key != KEY]
        return repr(others) == repr(kept) and bool(changed[KEY] == given)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False


def _replace(target: Path, content: bytes) -> None:
    """Write a file so that whoever reads it sees the old one or the new one."""
    try:
        file, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        # The user has not named that file.
        raise type(error)(error.errno, error.strerror, str(target)) from None
    try:
        with os.fdopen(file, "wb") as new:
            new.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~mask)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
