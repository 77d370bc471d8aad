"""The line shown while a command runs: at the foot of its terminal, which the command does not write to.

The terminal is told to scroll all lines but the last, as apt does while packages are unpacked: what the command writes
scrolls above, and no column of it is touched. Programs that take the terminal for themselves (editors, pagers, prompts)
switch off its line mode, and a command in the background does not own it: then nothing is drawn.
"""

from __future__ import annotations

import os
import termios

LEAST_LINES, LEAST_COLUMNS = 4, 20
SAVE, RESTORE = "\x1b7", "\x1b8"
DIM, PLAIN, ERASE = "\x1b[2m", "\x1b[0m", "\x1b[2K"


class LiveLine:
    """The foot of a terminal.

    Args:
        terminal: File descriptor of what may be one.
    """

    def __init__(self, terminal: int = 2) -> None:
        self._terminal = terminal
        self._size: os.terminal_size | None = None  # for which the last line was taken
        self._disturbed = False
        dumb = os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
        self.possible = not dumb and os.isatty(terminal)

    def draw(self, text: str) -> None:
        """Show a text, or nothing where that would be in the way."""
        if not self.possible:
            return
        try:
            size = os.get_terminal_size(self._terminal)
            mine = os.tcgetpgrp(self._terminal) == os.getpgrp()
            in_lines = termios.tcgetattr(self._terminal)[3] & termios.ICANON
        except (OSError, termios.error):
            self.possible = False
            return
        if not (mine and in_lines):
            # Who has the terminal now may set it up for itself.
            self._disturbed = True
            return
        if size.lines < LEAST_LINES or size.columns < LEAST_COLUMNS:
            self.hide()
            return
        make_room = ""
        if size != self._size or self._disturbed:
            # One line down and up again: where the cursor is on the last one, all scrolls and its column stays.
            make_room = f"\x1bD\x1b[A{SAVE}\x1b[1;{size.lines - 1}r{RESTORE}"
            self._size, self._disturbed = size, False
        self._write(f"{make_room}{SAVE}\x1b[{size.lines};1H{ERASE}{DIM}{text[: size.columns - 1]}{PLAIN}{RESTORE}")

    def hide(self) -> None:
        """Give the line back."""
        if self._size is not None:
            lines, self._size = self._size.lines, None
            self._write(f"{SAVE}\x1b[r\x1b[{lines};1H{ERASE}{RESTORE}")

    def begin_line(self) -> None:
        """Go to the beginning of a line: of the next one, where the command left its own unfinished."""
        if self.possible:
            try:
                columns = os.get_terminal_size(self._terminal).columns
            except OSError:
                return
            self._write(f"{' ' * (columns - 1)}\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            # In one piece, between what the command writes.
            os.write(self._terminal, text.encode())
        except OSError:
            self.possible = False
