"""Accepted: what a user gives, or an error that names the option, the value and what is accepted."""

from __future__ import annotations

import sys


def number(
    name: str, value: object, low: float, high: float = sys.float_info.max, *, above: bool = False, hint: str = ""
) -> float:
    """Return a value that is a finite number within bounds.

    Args:
        name: What the user calls it.
        value: As given.
        low: Lower bound.
        high: Upper bound.
        above: The lower bound itself is too low.
        hint: Follows what is accepted, in the error.

    Raises:
        ValueError: It is none.

    Example:
        >>> number("pue", 2, 1.0, 10.0)
        2.0
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (above and value == low):  # type: ignore[operator]
        begin = f"above {low:g}" if above else f"from {low:g}"
        end = "" if high == sys.float_info.max else f", up to {high:g}" if above else f" to {high:g}"
        kind = "a finite number" if high == sys.float_info.max else "a number"
        raise ValueError(f"{name}={value!r} is not accepted; give {kind} {begin}{end}{hint}")
    return float(value)  # type: ignore[arg-type]


def count(name: str, value: object) -> int:
    """Return a value that is a whole number of 1 or more.

    Args:
        name: What the user calls it.
        value: As given.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} is not accepted; give a whole number of 1 or more")
    return value


def name(option: str, value: object) -> str:
    """Return a value that is a text.

    Args:
        option: What the user calls it.
        value: As given.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{option}={value!r} is not accepted; give a name")
    return value


def one_of(values: dict[str, object], what: str, need: str = "") -> None:
    """Refuse more than one way to tell a thing.

    Args:
        values: What was given, None for nothing, by what the user calls it.
        what: What they tell.
        need: How to tell it, where one of them has to.

    Raises:
        ValueError: More than one is given, or none where one has to be.
    """
    given = [f"{name}=" for name, value in values.items() if value is not None]
    if len(given) > 1:
        both = "both" if len(given) == 2 else "all"
        raise ValueError(f"{' and '.join(given)} are {both} given; {what} is told by one of them")
    if need and not given:
        raise ValueError(f"{what} is not known; give {need}")
