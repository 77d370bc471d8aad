"""A hook of mkdocs: what typer says of `wattloop`'s own commands takes the place of a line in a page."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

PLACE = "<!-- what typer says of the commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put it there."""
    if PLACE not in markdown:
        return markdown
    said = subprocess.run(
        [sys.executable, "-m", "typer", "wattloop.cli", "utils", "docs", "--name", "wattloop"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    commands = said[said.index("\n## ") :].replace("**Usage**:\n\n", "")
    return markdown.replace(PLACE, re.sub(r"^\* `--help`: .*\n", "", commands, flags=re.MULTILINE))
