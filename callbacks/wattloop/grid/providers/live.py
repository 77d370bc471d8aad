"""Live: carbon intensity that is fetched in the background, kept while it is worth something, and never waited for."""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any, ClassVar, Literal

import msgspec

from wattloop.grid import background
from wattloop.grid.intensity import Intensity, NotKnown
from wattloop.grid.providers.answer import Answer, NoAnswer
from wattloop.grid.providers.client import Client, Patience, Secret, checked_url, persistent
from wattloop.grid.regions import Region, resolve
from wattloop.grid.steps import Step, Steps

log = logging.getLogger("wattloop")

KEEP = timedelta(hours=4)
"""How long a value stands in for those after it. In the hourly values of California and Texas of 2022, one of four
hours ago is a better guess than the mean of the year (its RMS error is 0.85 and 0.61 of that one's); in California, one
of six hours ago is a worse one.
"""
AHEAD = timedelta(days=14)
FIRST_S = 10.0
"""How long nothing is said of a provider that has not answered yet, in seconds."""
WANTED_S = 5.0
"""How long after somebody asked last it goes on being tried, in seconds."""
LATER_S = 300.0
"""Longest time until a provider that gave nothing is asked again, in seconds."""
NAP_S = 0.1


class _Unwanted(Exception):
    """Nobody asks any more."""


class Live:
    """What all live providers have in common; each of them says how to fetch and what it fetched.

    `at` looks into what is known already, and has it refreshed in the background when that is due; it touches no
    network itself. When nothing newer is to be had, a value goes on being used for `KEEP`; after that, and before the
    first answer, it raises `NotKnown`, and the run uses a yearly value.

    Args:
        base_url: Address of the API.
        patience: How long the API may take.

    Attributes:
        name: What the provider is called.
        kind: ``"average"`` or ``"marginal"``.
        refresh_s: Time between two refreshes, in seconds.
        region: Place of the yearly value that is nearest to it, where that is known.
    """

    instant: ClassVar[bool] = True
    name: ClassVar[str] = ""
    refresh_s: ClassVar[float] = 900.0
    kind: Literal["average", "marginal"] = "average"

    def __init__(self, base_url: object, patience: Patience | None, *, secret: bool = False) -> None:
        if patience is not None and not isinstance(patience, Patience):
            raise ValueError(f"patience={patience!r} is not accepted; give a Patience, e.g. Patience(read_s=10.0)")
        self._base_url = checked_url(base_url, secret=secret)
        self._patience = patience or Patience()
        self.region: Region | None = None
        self._reset()

    def _reset(self) -> None:
        """Set all that belongs to this process alone."""
        self._steps = Steps()
        self._due_s = -math.inf
        self._first_s: float | None = None
        self._asked_s = -math.inf
        self._refreshing_in: int | None = None
        self._trouble: str | None = None
        self._dropping_said = False

    # -- what a provider says of itself -------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """The argument that says where, as its user wrote it."""
        raise NotImplementedError

    @property
    def source(self) -> str:
        """Provider, place, and what its values count."""
        raise NotImplementedError

    def _fetch(self, client: Client, now: datetime) -> Answer:
        """Ask the API, in the background; raises `NoAnswer`."""
        raise NotImplementedError

    def _read_environment(self) -> None:
        """Take up the credentials that a process finds in its environment."""

    # -- CarbonIntensity ----------------------------------------------------------------------------------------------

    def at(self, time: datetime) -> Intensity:
        """Return the intensity of a moment, from what is known already.

        Args:
            time: The moment, as an aware datetime.

        Raises:
            NotKnown: Nothing is known of that moment, nor of the hours before it.
        """
        self._refresh_if_due()
        steps = self._steps
        known = steps.at(time)
        if known is not None:
            return known
        last = steps.before(time)
        if last is not None and time - last.end <= KEEP:
            source = f"{last.intensity.source}, last value, of {last.start:%Y-%m-%dT%H:%MZ}"
            return msgspec.structs.replace(last.intensity, source=source, stale=True)
        raise self._not_known(time)

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]] | None:
        """Return what is known of a period, to the last moment of which the provider says something.

        Args:
            start: Begin of the period, as an aware datetime.
            end: End of the period.

        Returns:
            Moments in rising order, each with the intensity that holds from it to the next; None where nothing is known
            of its begin, as before the first answer.
        """
        self._refresh_if_due()
        return self._steps.between(start, end)

    @property
    def asking(self) -> bool:
        """True while the provider is being asked."""
        return self._refreshing_in == os.getpid()

    def rest(self) -> None:
        """Stop trying, until somebody asks again."""
        self._asked_s = -math.inf

    def _not_known(self, time: datetime) -> NotKnown:
        if self._trouble is not None:
            return NotKnown(f"{self.name} ({self.place}): {self._trouble}")
        if self._steps.steps:
            first, last = self._steps.steps[0].start, self._steps.steps[-1].end
            return NotKnown(
                f"{self.name} ({self.place}): its values are from {first:%Y-%m-%dT%H:%MZ} to {last:%Y-%m-%dT%H:%MZ}, "
                f"none for {time.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
            )
        waited_s = monotonic() - self._first_s if self._first_s is not None else 0.0
        return NotKnown(f"{self.name} ({self.place}): it has not answered yet", pending=waited_s < FIRST_S)

    # -- in the background --------------------------------------------------------------------------------------------

    def _refresh_if_due(self) -> None:
        now_s = self._asked_s = monotonic()
        if self._refreshing_in == os.getpid():
            background.tend()
        elif now_s >= self._due_s:
            self._first_s = now_s if self._first_s is None else self._first_s
            self._refreshing_in = os.getpid()
            background.submit(self._refresh)

    def _refresh(self) -> None:
        wait_s = min(self.refresh_s, LATER_S)
        try:
            answer = persistent(self._ask, self._patience, self._nap)
            self._take(answer)
            wait_s = self.refresh_s
        except _Unwanted:
            wait_s = self._patience.backoff_s
        except NoAnswer as trouble:
            self._trouble = str(trouble)
            wait_s = max(self.refresh_s if trouble.lasting else wait_s, trouble.retry_after_s)
        except Exception as error:
            self._trouble = f"it cannot be asked ({type(error).__name__})"
        finally:
            # Ranks that began at once need not come back at once.
            self._due_s = monotonic() + wait_s * random.uniform(1.0, 1.1)
            self._refreshing_in = None

    def _ask(self) -> Answer:
        try:
            with Client(self._base_url, self._patience) as client:
                answer = self._fetch(client, datetime.now(UTC))
            self._mind(answer)
        except NoAnswer as trouble:
            self._trouble = str(trouble)
            raise
        return answer

    def _nap(self, wait_s: float) -> None:
        end_s = monotonic() + wait_s
        while (left_s := end_s - monotonic()) > 0:
            if monotonic() - self._asked_s > WANTED_S:
                raise _Unwanted
            sleep(min(left_s, NAP_S))

    def _mind(self, answer: Answer) -> None:
        if answer.dropped and not self._dropping_said:
            self._dropping_said = True
            log.warning(
                "%s (%s): %d of its %d values cannot be carbon intensities and are left out",
                self.name,
                self.place,
                answer.dropped,
                answer.dropped + len(answer.points),
            )
        if not answer.points:
            raise NoAnswer("there is no value in its answer that can be used")

    def _take(self, answer: Answer) -> None:
        now = datetime.now(UTC)
        steps = [step for step in self._steps.steps if step.end > now - KEEP]
        for point in answer.points:
            if point.end > now - KEEP and point.start < now + AHEAD:
                source = f"{self.source}, {point.note}" if point.note else self.source
                steps.append(Step(point.start, point.end, Intensity(point.g_co2e_per_kwh, source, self.kind)))
        self._steps = Steps(steps)
        self._trouble = None

    # -- copies -------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place})"

    def __getstate__(self) -> dict[str, Any]:
        fresh = {"_steps", "_due_s", "_first_s", "_asked_s", "_refreshing_in", "_trouble", "_dropping_said"}
        return {
            name: value for name, value in vars(self).items() if name not in fresh and not isinstance(value, Secret)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()
        self._read_environment()

    def __copy__(self) -> Live:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        return self


def nearest_region(*names: str) -> Region | None:
    """Return the first of some places that is in the tables of yearly values.

    Args:
        *names: Codes or names, the best first.
    """
    for name in names:
        try:
            return resolve(name)
        except ValueError:
            continue
    return None
