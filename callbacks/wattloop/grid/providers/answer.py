"""What every provider's answer is made of, and the one place where its values are checked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeVar

import msgspec

from wattloop.grid.intensity import is_possible

LONGEST = 20_000
"""Values of one answer that are looked at: two months of them, five minutes apart."""
YEARS = range(2000, 2100)
LONGEST_PERIOD = timedelta(days=1)

T = TypeVar("T")


class NoAnswer(Exception):
    """A provider gives nothing of use; the message says why, without a word of what was sent or received.

    Attributes:
        lasting: Asking again soon would change nothing.
        retry_after_s: How long the provider wants to be left alone, in seconds.
    """

    def __init__(self, why: str, *, lasting: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.lasting = lasting
        self.retry_after_s = retry_after_s


class Point(msgspec.Struct, frozen=True):
    """One value and when it holds.

    Attributes:
        start: First moment, UTC.
        end: The moment after the last, UTC.
        g_co2e_per_kwh: Grams of CO2-equivalent per kWh (0-2500).
        note: What is to be said of it, e.g. ``"forecast"``.
    """

    start: datetime
    end: datetime
    g_co2e_per_kwh: float
    note: str = ""


class Answer:
    """The values of an answer that can be used, and how many cannot.

    Attributes:
        points: Those that can.
        dropped: How many were left out.
    """

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.dropped = 0

    def add(
        self,
        time: str,
        value: object,
        period: timedelta,
        note: str = "",
        *,
        zone: tzinfo | None = None,
        can_be_zero: bool = True,
    ) -> None:
        """Take a value in, unless no grid can have it or its time is none.

        Args:
            time: Since when it holds, ISO 8601.
            value: In g CO2e/kWh.
            period: How long it holds.
            note: What is to be said of it.
            zone: Zone of a time that names none; without it such a time is refused.
            can_be_zero: The provider publishes zeros that are meant.
        """
        start = moment(time, zone)
        usable = is_possible(value) and (can_be_zero or value != 0)
        if start is None or not usable or not timedelta(0) < period <= LONGEST_PERIOD:
            self.dropped += 1
            return
        self.points.append(Point(start, start + period, float(value), note))  # type: ignore[arg-type]


def moment(text: str, zone: tzinfo | None = None) -> datetime | None:
    """Read a time of a provider.

    Args:
        text: ISO 8601.
        zone: Zone of a time that names none.

    Returns:
        The time in UTC; None if it is no time, has no zone, or lies outside 2000-2099.

    Example:
        >>> moment("2025-01-20T12:00Z")
        datetime.datetime(2025, 1, 20, 12, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            if zone is None:
                return None
            time = time.replace(tzinfo=zone)
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year in YEARS else None


def decoded(raw: bytes | msgspec.Raw, what: type[T]) -> T:
    """Read JSON of a known shape; more than that may be in it.

    Raises:
        NoAnswer: It has another shape, or is no JSON.
    """
    try:
        return msgspec.json.decode(raw, type=what)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NoAnswer("its answer is not what is expected of it") from error


def each(items: list[msgspec.Raw], what: type[T], answer: Answer) -> Iterator[T]:
    """Read the items of a list one by one, so that one that is wrong costs no other.

    Args:
        items: The list.
        what: Shape of an item.
        answer: Where those of another shape are counted.
    """
    for item in items[:LONGEST]:
        try:
            yield decoded(item, what)
        except NoAnswer:
            answer.dropped += 1
