"""Hooks of mkdocs: what the code itself says takes the place of a line in a page."""

from __future__ import annotations

import inspect
import re
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
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from wattloop.cli import app

    command = get_command(app())
    said = get_docs_for_click(obj=command, ctx=Context(command, info_name="wattloop"), name="wattloop")
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
