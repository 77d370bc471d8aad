"""Runs: what a journal says of its run, read once and in constant memory, whatever ended it, or while it goes on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime

from wattloop.reading import Problem, scan
from wattloop.reports.alive import being_written
from wattloop.reports.digest import Digest, aware
from wattloop.reports.summary import RunSummary

KEPT_PROBLEMS = 20
"""Places of a record that are told one by one."""
QUIET_S = 60.0
"""A run of another machine, whose lock is not seen here, lives if it was heard of within this time, in seconds..."""
QUIET_INTERVALS = 10
"""... or within so many of its own intervals between two lines."""


def _now() -> datetime:
    return datetime.now(UTC)


def summarize(
    path: str | os.PathLike[str], *, now: Callable[[], datetime] = _now, host: str | None = None
) -> tuple[RunSummary | None, tuple[Problem, ...]]:
    """Read a journal; nothing is raised, and nobody who writes it is disturbed.

    Args:
        path: The journal.
        now: Wall-clock time, aware.
        host: Name of this host; None to ask.

    Returns:
        What it says of its run, None where it says nothing; and what cannot be read of it.

    Example:
        >>> run, problems = summarize("logs/wattloop-20260102T030405-a1b2c3.jsonl")
        >>> print(run, problems[0])
        None logs/wattloop-20260102T030405-a1b2c3.jsonl: No such file or directory
    """
    digest, more = Digest(), 0
    problems: list[Problem] = []
    # Before reading: a run that ends meanwhile would have left neither an end that was read, nor a lock.
    written = being_written(path)
    for found in scan(path):
        if not isinstance(found, Problem):
            digest.take(found)
        elif len(problems) < KEPT_PROBLEMS:
            problems.append(found)
        else:
            more += 1
    if more:
        problems.append(Problem(os.fspath(path), 0, 0, f"{more} more places cannot be read"))
    last = digest.last
    if last is None:
        return None, tuple(problems)
    status = digest.reached.ended
    if not status:
        status = "running" if written or being_written(path) or _heard(digest, written, now(), host) else "killed"
    if status == "killed":
        digest.reached.end()
    return digest.summary(os.fspath(path), status, aware(last.time)), tuple(problems)


def _heard(digest: Digest, written: bool | None, now: datetime, host: str | None) -> bool:
    """Tell whether a run whose lock cannot be seen from here was heard of lately."""
    start, last = digest.start, digest.last
    if last is None or (written is False and (start is None or start.host == (host or platform.node()))):
        return False
    quiet_s = max(QUIET_S, QUIET_INTERVALS * start.interval_s if start is not None else 0.0)
    return (now - aware(last.time)).total_seconds() <= quiet_s
