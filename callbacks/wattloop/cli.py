"""The command line, `wattloop`: one module a command in `wattloop.commands`."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # the command that `watch` starts would wait for typing
if TYPE_CHECKING:
    import typer

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal."""


def main() -> None:
    """Run the command line."""
    try:
        if sys.argv[1:2] == ["watch"]:
            # The command that is watched would wait for all that the others need.
            from wattloop.watching.main import main as watch

            watch(sys.argv[2:])
        _open_output()
        app()()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _open_output() -> None:
    """Have somewhere to write to where we were started without, and write what its encoding has no letter for."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def app() -> typer.Typer:
    """Make the command line of all commands."""
    try:
        import typer
    except ImportError:
        sys.exit("wattloop's command line needs typer and rich: pip install 'wattloop[cli]'")

    from wattloop.commands.doctor import doctor
    from wattloop.commands.estimate import estimate
    from wattloop.commands.group import Commands, options
    from wattloop.commands.hardware import hardware
    from wattloop.commands.regions import regions
    from wattloop.commands.report import report
    from wattloop.commands.schedule import schedule
    from wattloop.commands.watch import RAW, watch

    app = typer.Typer(
        name="wattloop",
        help="Energy and CO2e of deep-learning runs.",
        cls=Commands,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(options)
    for command in (doctor, estimate, hardware, regions, report, schedule):
        app.command()(command)
    app.command(context_settings=RAW)(watch)
    return app
