"""Reading: journals that may be cut short, damaged, foreign or newer than we are; what is wrong is told, not raised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from wattloop.journal import FORMAT, LONGEST_LINE, Record, Start, open_file

PATIENCE_LINES = 1000
"""Lines without a single record after which a file is taken to be something else."""


class Problem(msgspec.Struct, frozen=True):
    """What cannot be read of a journal.

    Attributes:
        path: The file.
        line: Number of the line, from 1; of the first one where there are several in a row; 0 for the whole file.
        last_line: Number of the last one.
        message: What is wrong, and what to do where something can be done.
    """

    path: str
    line: int
    last_line: int
    message: str

    def __str__(self) -> str:
        if not self.line:
            return f"{self.path}: {self.message}"
        lines = f"line {self.line}" if self.line == self.last_line else f"lines {self.line} to {self.last_line}"
        return f"{self.path}, {lines}: {self.message}"


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What every version will say of itself."""

    record: str
    format: int = 0
    version: str = "?"


_decoder = msgspec.json.Decoder(Record)
_head_decoder = msgspec.json.Decoder(_Head)


def newer(line: bytes) -> str | None:
    """Tell what to do about a line that begins a session of a newer format; None where it does not."""
    try:
        head = _head_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if head.record != "start" or head.format <= FORMAT:
        return None
    return (
        f"written by wattloop {head.version} in format {head.format}, and this version reads up to format {FORMAT};"
        " update wattloop to read it"
    )


def scan(path: str | os.PathLike[str]) -> Iterator[Record | Problem]:
    """Yield the records of a journal, and in their places what cannot be read; nothing is raised.

    A last line that was cut short, by a crash or because it is being written, is left out without a word. From a line
    of a newer format on, nothing more is read. No more than a line is held in memory.

    Args:
        path: The file.

    Example:
        >>> for found in scan("logs/wattloop-20260102T030405-a1b2c3.jsonl"):
        ...     print(found)
        logs/wattloop-20260102T030405-a1b2c3.jsonl: No such file or directory
    """
    name = os.fspath(path)
    try:
        with open(open_file(path, os.O_RDONLY), "rb") as file:
            yield from _scan(name, file)
    except OSError as error:
        yield Problem(name, 0, 0, error.strerror or str(error))


def _scan(name: str, file: BinaryIO) -> Iterator[Record | Problem]:
    decode = _decoder.decode
    records, number, bad_since, reason = 0, 0, 0, ""
    for line in iter(lambda: file.readline(LONGEST_LINE), b""):
        if not line.endswith(b"\n"):
            if len(line) < LONGEST_LINE:
                break
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            line = b""
        number += 1
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if message := newer(line):
                yield Problem(name, number, number, message)
                return
            bad_since, reason = bad_since or number, str(error) if line else "too long"
            if not records and number >= PATIENCE_LINES:
                break
            continue
        if isinstance(record, Start) and (message := newer(line)):
            yield Problem(name, number, number, message)
            return
        if bad_since:
            yield Problem(name, bad_since, number - 1, f"not a record: {reason}")
            bad_since = 0
        records += 1
        yield record
    if not records:
        yield Problem(name, 0, 0, "not the record of a run" if number else "empty: no record was written yet")
    elif bad_since:
        yield Problem(name, bad_since, number, f"not a record: {reason}")
