"""The order of events: understand, start the command, get ready to measure beside it, and tell what it used."""

from __future__ import annotations

import os
import sys
import time

from wattloop.watching.arguments import Arguments, refuse, understood
from wattloop.watching.command import CANNOT_RUN, NOT_FOUND, Command

TYPE_CHECKING = False  # the command would wait for typing
if TYPE_CHECKING:
    from typing import NoReturn

    from wattloop.watching.measuring import Measuring

FIRST_LINE_S, LINE_S = 2.0, 1.0
"""When a line is first shown on a terminal, and how often from then on, in seconds."""


def main(arguments: list[str]) -> NoReturn:
    """Watch a command, and end as it ended.

    Args:
        arguments: What follows ``wattloop watch``.
    """
    asked = understood(arguments)
    try:
        command = Command(asked.command)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        refuse(f"{asked.command[0]}: {error.strerror}", NOT_FOUND if missing else CANNOT_RUN)
    try:
        _follow(asked, command)
    except Exception as error:
        _tell(f"wattloop: what was used cannot be told: {error!r}\n")
    while not command.follow():
        command.stop_with_it()
    command.end_alike()


def _follow(asked: Arguments, command: Command) -> None:
    from wattloop.watching.live import LiveLine

    live = LiveLine()
    measuring = _measuring(asked, command.began_s)
    until_s = FIRST_LINE_S
    shown = asked.live and live.possible and measuring is not None
    while not command.follow(until_s if shown else None):
        if command.stopping:
            live.hide()
            command.stop_with_it()
        elif measuring is not None:
            live.draw(measuring.line())
            until_s = LINE_S
    ended_s = time.monotonic()
    if measuring is None:
        return
    text = measuring.end(command.code, command.signal, ended_s)
    live.hide()
    if asked.output is not None:
        try:
            with open(asked.output, "w", encoding="utf-8") as file:
                file.write(text)
            return
        except OSError as error:
            text = f"wattloop: {asked.output}: {error.strerror}\n{text}"
    live.begin_line()
    _tell(text)


def _measuring(asked: Arguments, began_s: float) -> Measuring | None:
    try:
        from wattloop.watching.measuring import Measuring

        return Measuring(asked, began_s)
    except Exception as error:
        _tell(f"wattloop: nothing is measured: {error!r}\n")
        return None


def _tell(text: str) -> None:
    if sys.stderr is None:
        # It was closed when we were started, and may be any file of ours by now.
        return
    try:
        os.write(2, text.encode(sys.stderr.encoding, "replace"))
    except OSError:
        # Nobody is there to read it.
        pass
