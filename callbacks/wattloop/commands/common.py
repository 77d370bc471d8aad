"""What the commands have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]

USAGE = 2
"""Exit code of a user's mistake."""
BROKEN_PIPE = 141
"""Exit code where who reads what we write has left: 128 and the signal that would have ended us."""
LONGEST_LINE = 5000
"""Characters of a message; a path alone may have 4096."""


@contextmanager
def user_errors(options: Iterable[str] = ()) -> Iterator[None]:
    """Tell the user what is wrong with an argument or a file in one line.

    Args:
        options: Names of the command's options; functions call their arguments by the same.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if not error.filename:
            raise
        refuse(f"{error.filename}: {error.strerror}")
    except (ValueError, OverflowError) as error:
        from wattloop.commands.words import as_options

        refuse(as_options(str(error), options))


def refuse(message: str) -> NoReturn:
    """End with a message and exit code 2."""
    say(message)
    raise typer.Exit(USAGE)


def say(message: str) -> None:
    """Tell the user a line on stderr, whatever an argument or a record has put into it."""
    from wattloop.reports.text import printable

    typer.echo(f"wattloop: {printable(message, LONGEST_LINE)}", err=True)


def one_way(ways: Mapping[str, object]) -> str:
    """Return the option that says how to write something, empty for none; more than one are refused.

    Args:
        ways: What was given, by its option.
    """
    given = [name for name, value in ways.items() if value]
    if len(given) > 1:
        both = "both" if len(given) == 2 else "all"
        refuse(f"{' and '.join(given)} are {both} given; it is written in one way at a time")
    return "".join(given)


def write_json(value: object) -> None:
    """Write a value of ours as indented JSON."""
    write_text(as_json(value))


def as_json(value: object) -> str:
    """Return a value of ours as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode() + "\n"


def write_text(text: str) -> None:
    """Write a text as it is: in UTF-8, whatever the terminal's encoding."""
    typer.echo(text.encode(), nl=False)


def shortened(text: str, width: int) -> str:
    """Cut a text to a width, and show that it was."""
    return text if len(text) <= width else f"{text[: width - 3].rstrip()}..."


def first_word(basis: str) -> str:
    """Say what a carbon intensity counts in a word: the first of all that it does."""
    return basis.partition(",")[0].partition(" ")[0]


def columns() -> int:
    """Return the width of the terminal."""
    import shutil

    return shutil.get_terminal_size().columns
