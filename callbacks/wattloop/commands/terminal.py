"""Terminal: what a command tells a person; in a pipe plain, no line of it folded, and none with blanks at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console

from wattloop.commands.common import columns

WIDE = 10_000
"""Columns where nobody looks: a pipe, or a file."""
LINES = 25
"""As nothing here fills a screen, any number is as good."""


@contextmanager
def printing(file: IO[str] | None = None, piped_width: int = WIDE) -> Iterator[Console]:
    """Print to a terminal, a pipe or a file; all is written at the end.

    Args:
        file: Where to; None for the standard output.
        piped_width: Columns where there is no terminal whose width counts, nor COLUMNS to say it.
    """
    target = sys.stdout if file is None else file
    narrow = file is None and (target.isatty() or "COLUMNS" in os.environ)
    # Where it is not told both, it takes a dumb terminal to have 80 columns.
    console = Console(file=target, highlight=False, width=columns() if narrow else piped_width, height=LINES)
    with console.capture() as captured:
        yield console
    text = captured.get()
    if not console.is_terminal:
        text = "\n".join(line.rstrip(" ") for line in text.split("\n"))
    target.write(text)
    target.flush()
