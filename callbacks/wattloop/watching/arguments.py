"""What ``wattloop watch`` is asked, understood without what the command would have to wait for."""

from __future__ import annotations

import argparse
import os
import sys

TYPE_CHECKING = False  # of what typing, pathlib and the like cost, the command would wait for each
if TYPE_CHECKING:
    from typing import Any, NoReturn

PROGRAM = "wattloop watch"
OPTIONS = ("region", "intensity", "pue", "net_share", "modelled_cpu", "log_dir")
"""Those that are the `Run`'s."""
USAGE = 2
"""Exit code of a mistake in the arguments."""
EPILOG = """\
The command keeps its input, output and errors, its terminal and its exit code; where a signal ends it, the same signal
ends this. Signals are passed on to it once. What was used is told on stderr at its end. Exit codes of our own: 2 where
the arguments are not understood, 126 where the command cannot be run, 127 where there is none.
"""


class Arguments(argparse.Namespace):
    """What was asked.

    Attributes:
        options: For the `Run`.
        command: The command and its arguments.
        json: Tell what was used as JSON.
        output: Where to; None for stderr.
        live: Show a line while the command runs, where there is a terminal.
    """

    options: dict[str, Any]
    command: list[str]
    json: bool
    output: str | None
    live: bool


def understood(arguments: list[str]) -> Arguments:
    """Understand the arguments; one that is wrong is told in a line, and ends the process with code 2.

    Args:
        arguments: What follows ``wattloop watch``.
    """
    parser = _parser()
    found = parser.parse_args(arguments, Arguments())
    if found.command[:1] == ["--"]:
        del found.command[0]
    if not found.command:
        refuse("there is no command to watch; write wattloop watch -- COMMAND ARGUMENTS")
    given = ((name, getattr(found, name)) for name in OPTIONS)
    found.options = {name: value for name, value in given if value is not None}
    if not _surely_fine(found.options):
        # Some 30 ms, which the command waits rather than run for hours under a name that was misspelt.
        from wattloop.commands.words import as_options
        from wattloop.options import validated

        try:
            validated(found.options)
        except ValueError as error:
            refuse(as_options(str(error), OPTIONS))
    return found


def refuse(message: str, code: int = USAGE) -> NoReturn:
    """End with a message.

    Args:
        message: What is wrong.
        code: The exit code.

    Raises:
        SystemExit: Always.
    """
    sys.stderr.write(f"wattloop: {message}\n")
    raise SystemExit(code)


def _surely_fine(options: dict[str, Any]) -> bool:
    """Tell at once that usual values are accepted; of all others, `validated` has to say so."""
    region = options.get("region")
    return (
        (region is None or _is_known(region))
        and 1.0 <= options.get("pue", 1.0) <= 3.0
        and 1.0 <= options.get("intensity", 1.0) <= 1000.0
        and 0.0 <= options.get("net_share", 0.0) <= 1.0
    )


def _is_known(region: str) -> bool:
    """Tell whether a region is in the tables, but for upper and lower case to the letter, and but once."""
    import csv

    region = region.casefold()
    folder, found = os.path.join(os.path.dirname(__file__), os.pardir, "grid", "data"), 0
    for name in os.listdir(folder):
        if name.endswith(".csv"):
            with open(os.path.join(folder, name), encoding="utf-8", newline="") as table:
                _, *rows = csv.reader(table)
            found += sum(
                region in f"{code}|{label}|{aliases}".casefold().split("|") for code, label, aliases, *_ in rows
            )
    return bool(region) and found == 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        refuse(f"{message}; {PROGRAM} --help tells what is accepted")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Make what writes the help, which is made for every option; left to itself it asks shutil for the width."""
    try:
        columns = os.get_terminal_size(1).columns or 80
    except OSError:
        columns = 80
    return argparse.HelpFormatter(prog, width=columns - 2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        PROGRAM,
        f"{PROGRAM} [OPTIONS] [--] COMMAND [ARGUMENTS]",
        "Measure the energy and CO2e of any command and its children.",
        EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--region", help="place of `wattloop regions`, whose yearly intensity counts (the world's)")
    parser.add_argument("--intensity", type=float, metavar="G", help="carbon intensity instead, in g CO2e/kWh")
    parser.add_argument("--pue", type=float, help="power usage effectiveness of the site (1.0)")
    parser.add_argument("--net-share", type=float, metavar="SHARE", help="share of the energy matched by clean energy")
    parser.add_argument(
        "--modelled-cpu", action="store_true", default=None, help="model the CPU where it cannot be measured"
    )
    parser.add_argument("--log-dir", metavar="DIR", help="keep a record of the run in this folder (none is kept)")
    parser.add_argument("--json", action="store_true", help="tell what was used as one line of JSON")
    parser.add_argument("-o", "--output", metavar="FILE", help="tell it in this file instead of on stderr")
    parser.add_argument(
        "--no-live", dest="live", action="store_false", help="show no line on the terminal while the command runs"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    return parser
