"""Alive: whether a journal is being written, found out without touching the lock that its writer holds, or is to take.

To try the lock would be to hold it for a moment, and a run that opens its journal in that moment would be turned away.
"""

from __future__ import annotations

import os
from pathlib import Path

LOCKS = Path("/proc/locks")


def being_written(path: str | os.PathLike[str], locks: Path = LOCKS) -> bool | None:
    """Tell whether a process of this machine holds a journal open for writing.

    Args:
        path: The journal.
        locks: The kernel's list of locks (proc(5)).

    Returns:
        None where that cannot be found out. A process of another machine, or in a container beside this one, is not
        seen.
    """
    try:
        file = os.stat(path)
        listed = locks.read_text(encoding="ascii")
    except OSError:
        return None
    inode = str(file.st_ino)
    for line in listed.splitlines():
        # 1: FLOCK  ADVISORY  WRITE 25520 fe:00:2222818 0 EOF; one that waits for the lock has "->" after the number.
        fields = line.split()
        if len(fields) < 8 or fields[3] != "WRITE" or not fields[5].endswith(f":{inode}"):
            continue
        major, minor, _ = fields[5].split(":")
        if (int(major, 16), int(minor, 16)) == (os.major(file.st_dev), os.minor(file.st_dev)):
            return True
        # Btrfs and overlays tell another device here than stat does.
        if _has_open(fields[4], file):
            return True
    return False


def _has_open(pid: str, file: os.stat_result) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_is(entry, file) for entry in entries)
    except OSError:
        return False


def _is(entry: os.DirEntry[str], file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(entry.path), file)
    except OSError:
        return False
