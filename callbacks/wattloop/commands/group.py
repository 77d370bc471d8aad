"""What all commands do alike: how they answer a mistake, Ctrl-C, and a pipe or a disk that takes no more."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wattloop.cli import INTERRUPTED
from wattloop.commands.common import BROKEN_PIPE, USAGE, say

UsageError: Any = typer.BadParameter.__base__
"""What typer raises at arguments that it does not understand; which package it takes that from is its own affair."""


def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Tell the version and exit.")] = False,
) -> None:
    """Energy and CO2e of deep-learning runs."""
    if version:
        from wattloop import __version__

        typer.echo(f"wattloop {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)


class Commands(TyperGroup):
    """The commands."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run one, and exit."""
        try:
            code = super().main(*args, **{**more, "standalone_mode": False})
        except UsageError as error:
            command = error.ctx.command_path if error.ctx is not None else "wattloop"
            say(f"{' '.join(error.format_message().split()).rstrip('.')}; {command} --help tells what is accepted")
            code = USAGE
        except OSError as error:
            _forget_output()
            say(f"what there is to tell cannot be written: {error.strerror}")
            code = USAGE
        except (typer.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run one within a context."""
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
            return found
        except BrokenPipeError:
            _forget_output()
            raise typer.Exit(BROKEN_PIPE) from None


def _forget_output() -> None:
    """Write nothing more: what is left in the buffer would be written, in vain, at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
