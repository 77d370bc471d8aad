"""What the callbacks of all frameworks have in common: a `Run`, and their place in the framework's list."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Unpack

from wattloop.options import RunOptions
from wattloop.run import Run

SHOWN = ("energy/kwh", "emissions/kg_co2e", "forecast/kg_co2e")
"""The keys a terminal is given; all others would fill it."""

_TERMINALS = ("ProgbarLogger", "ProgressCallback", "PrinterCallback", "NotebookProgressCallback")


class Adapter:
    """Holds the `Run`, and nothing else that would have to survive a copy or a pickle.

    Attributes:
        run: The run; its `metrics`, `forecast` and `summary` may be asked at any time.
        row: The row last put into the framework's logs.
    """

    row: Mapping[str, float] = {}

    def __init__(self, **options: Unpack[RunOptions]) -> None:
        super().__init__()
        self.run = Run(**options)

    def __getstate__(self) -> dict[str, Any]:
        return {"run": self.run}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.run = state["run"]


def move_to_front(callback: object) -> Any:
    """Move a callback to the front of the list that the framework is calling it from.

    Frameworks hand one mutable dict of logs from callback to callback in list order, so that only those behind ours
    see our keys; a user's callbacks come last. The list is found in the calling frames: the nearest caller that is an
    object with a ``callbacks`` list which holds `callback`, or has a ``callback_handler`` that is. Called from within
    the walk through that list, the move makes it skip nobody and call nobody twice.

    Args:
        callback: The callback, during one of its hooks.

    Returns:
        The object whose ``callbacks`` they are, or None where there is none.
    """
    frame = sys._getframe(1)
    for _ in range(8):
        owner = frame.f_locals.get("self")
        owner = getattr(owner, "callback_handler", owner)
        callbacks = getattr(owner, "callbacks", None)
        if isinstance(callbacks, list):
            for place, other in enumerate(callbacks):
                if other is callback:
                    callbacks.insert(0, callbacks.pop(place))
                    return owner
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None


def shorten(logs: dict[str, Any], row: Mapping[str, float]) -> None:
    """Take out of `logs` what a row put there, but for the keys worth a person's glance."""
    for key in row:
        if key not in SHOWN:
            logs.pop(key, None)


def put_before_terminal(callbacks: list[Any], shortener: object) -> None:
    """Place a callback before the one that writes to the terminal, once."""
    if any(type(callback) is type(shortener) for callback in callbacks):
        return
    for place, callback in enumerate(callbacks):
        if any(base.__name__ in _TERMINALS for base in type(callback).__mro__):
            callbacks.insert(place, shortener)
            return
