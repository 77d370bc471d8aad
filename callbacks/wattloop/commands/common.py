"""What the commands have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Tell the user what is wrong with an argument or a file in one line."""
    try:
        yield
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, OverflowError) as error:
        refuse(str(error))


def refuse(message: str) -> NoReturn:
    """End with a message and exit code 2."""
    typer.echo(f"wattloop: {message}", err=True)
    raise typer.Exit(2)


def write_json(value: object) -> None:
    """Write a value of ours as indented JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def columns() -> int:
    """Return the width of the terminal."""
    import shutil

    return shutil.get_terminal_size().columns
