"""The command line, `wattloop`: one module a command in `wattloop.commands`."""

from __future__ import annotations

import sys

try:
    import typer
except ImportError:
    sys.exit("wattloop's command line needs typer and rich: pip install 'wattloop[cli]'")

from wattloop.commands.estimate import estimate
from wattloop.commands.hardware import hardware
from wattloop.commands.regions import regions
from wattloop.commands.report import report
from wattloop.commands.schedule import schedule

app = typer.Typer(
    name="wattloop",
    help="Energy and CO2e of deep-learning runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (estimate, hardware, regions, report, schedule):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    app()
