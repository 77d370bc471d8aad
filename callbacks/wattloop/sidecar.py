"""Sidecar: the state of a run beside the backups of a framework that has no place for it in them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from wattloop.ledger import Ledger
from wattloop.state import State
from wattloop.units import J_PER_KWH

log = logging.getLogger("wattloop")

KEPT = 10
"""States kept: of the moments from which training may go on."""


class Saved(msgspec.Struct, frozen=True):
    """The state at a moment.

    Attributes:
        epoch: The epoch that training would go on with.
        batch: The last batch done of it; 0 at its beginning.
        state: The run's.
    """

    epoch: int
    batch: int
    state: State


class Sidecar:
    """A JSON file of the last few states of a run, replaced in one piece.

    It is written before the backup it goes with. So it never misses what a backup holds, and where a kill comes between
    the two, the backup goes with the state before the last; what was spent since then is in the last.

    Args:
        path: The file.
        durable: Wait until the disk has it, and warn where it does not; otherwise the record beside it does that.
    """

    def __init__(self, path: str | os.PathLike[str], durable: bool) -> None:
        self.path = os.path.abspath(path)
        self._durable = durable
        self._warned = False
        self._saved: list[Saved] = []

    def load(self, epoch: int, batch: int, *, exactly: bool) -> dict[str, Any] | None:
        """Return the state that goes with a backup, with all counted that was spent since; None where there is none.

        Args:
            epoch: The epoch that training goes on with.
            batch: The last batch done of it.
            exactly: A state of that moment; otherwise the last one will do.
        """
        try:
            with open(self.path, "rb") as file:
                saved = msgspec.json.decode(file.read(), type=list[Saved])
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("what this run spent before is not counted: %s cannot be read: %s", self.path, error)
            return None
        fitting = [one for one in saved if (one.epoch, one.batch) == (epoch, batch)] or ([] if exactly else saved)
        if not fitting:
            return None
        self._saved = saved[: saved.index(fitting[-1]) + 1]
        state: dict[str, Any] = msgspec.to_builtins(_ahead(fitting[-1].state, saved[-1].state))
        return state

    def save(self, epoch: int, batch: int, state: Mapping[str, Any]) -> None:
        """Keep a state; a disk that does not take it costs one warning.

        Args:
            epoch: The epoch that training would go on with.
            batch: The last batch done of it; 0 at its beginning.
            state: What `Run.state_dict` returned.
        """
        self._saved = [*self._saved, Saved(epoch, batch, msgspec.convert(state, State))][-KEPT:]
        written = f"{self.path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(written, "wb") as file:
                file.write(msgspec.json.encode(self._saved))
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(written, self.path)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                os.unlink(written)
            if not self._warned:
                self._warned = True
                level = logging.WARNING if self._durable else logging.DEBUG
                log.log(level, "a restart would not know what this run spent: %s", error)

    def forget(self) -> None:
        """Delete the file: no backup goes with it any more."""
        self._saved = []
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def _ahead(state: State, last: State) -> State:
    """Count what was spent after a state as lost, where no record says so."""
    if state.journal is not None or last.run_id != state.run_id or last.totals.energy_j <= state.totals.energy_j:
        return state
    ledger = Ledger()
    ledger.load(state, running=False, fresh=True, step=0)
    ledger.recover(last.totals, last.uncertainty_kwh * J_PER_KWH, lost=True)
    ledger.sessions = last.session
    return ledger.state(state.step)
