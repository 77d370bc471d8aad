"""A wall clock that can be stepped, for a process that preloads it: ``LD_PRELOAD=<build()>``."""

from __future__ import annotations

import ctypes
from pathlib import Path

from fakes.compiled import compiled

SOURCE = Path(__file__).with_name("wall_clock.c")


def build() -> Path:
    """Compile the library and return its path."""
    return compiled(SOURCE, "wall_clock.so", "-ldl")


def step(seconds: int) -> None:
    """Move this process's wall clock; it must have been preloaded."""
    ctypes.CDLL(None).wall_clock_step(ctypes.c_long(seconds))
