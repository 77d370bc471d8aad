"""``wattloop watch``, as the list of commands knows it: `wattloop.cli.main` goes past all this, to lose no time."""

from __future__ import annotations

import typer

RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Arguments are for `wattloop.watching` to understand."""


def watch(context: typer.Context) -> None:
    """Measure any command and its children: wattloop watch -- COMMAND."""
    from wattloop.watching.main import main

    main(context.args)
