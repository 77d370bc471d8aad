"""Hooks of mkdocs: what the code itself says takes the place of a line in a page."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

HELP = re.compile(r"^\* `--help`: .*\n", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in a page's places."""
    for place, fill in PLACES.items():
        if place in markdown:
            markdown = markdown.replace(place, fill())
    return markdown


def _commands() -> str:
    """Return what typer says of every command."""
    asked = [sys.executable, "-m", "typer", "wattloop.cli", "utils", "docs", "--name", "wattloop"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return HELP.sub("", said[said.index("\n## ") :].replace("**Usage**:\n\n", ""))


def _keys() -> str:
    """Return the table of logged keys."""
    from wattloop.rows import row

    lines = (inspect.getdoc(row) or "").splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


PLACES = {
    "<!-- what typer says of the commands -->": _commands,
    "<!-- the table of wattloop.rows.row -->": _keys,
}
