"""What every source of carbon intensity gives, and the simplest one: a value that never changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from numbers import Real
from typing import ClassVar, Literal, Protocol

import msgspec

MAX_G_CO2E_PER_KWH = 2500.0
"""Upper bound of a believable value, in g CO2e/kWh: about twice the dirtiest national grid."""


def is_believable(g_co2e_per_kwh: float) -> bool:
    """Tell whether a value can be the yearly carbon intensity of a grid.

    Args:
        g_co2e_per_kwh: The value in question, in g CO2e/kWh; believable above 0 and up to ``MAX_G_CO2E_PER_KWH``.

    Example:
        >>> is_believable(473.0), is_believable(0.0), is_believable(float("nan"))
        (True, False, False)
    """
    return isinstance(g_co2e_per_kwh, Real) and 0.0 < g_co2e_per_kwh <= MAX_G_CO2E_PER_KWH


def is_possible(g_co2e_per_kwh: object) -> bool:
    """Tell whether a value can be the carbon intensity of a grid at one moment, in g CO2e/kWh.

    Unlike that of a year it may be 0: where only direct emissions count, an hour of nothing but wind is published as
    0, and so is the marginal kWh while wind or sun go to waste. It is never negative, nor above ``MAX_G_CO2E_PER_KWH``.

    Args:
        g_co2e_per_kwh: The value in question.

    Example:
        >>> is_possible(0.0), is_possible(-1.0), is_possible(float("nan")), is_possible(True)
        (True, False, False, False)
    """
    is_number = isinstance(g_co2e_per_kwh, Real) and not isinstance(g_co2e_per_kwh, bool)
    return is_number and 0.0 <= g_co2e_per_kwh <= MAX_G_CO2E_PER_KWH  # type: ignore[operator]


class NotKnown(LookupError):
    """A source has no value for that moment; the message says why, in words for the user.

    Attributes:
        pending: It was asked for the first time just now, and may well have one in a moment.
    """

    def __init__(self, why: str, *, pending: bool = False) -> None:
        super().__init__(why)
        self.pending = pending


class Intensity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Carbon intensity of electricity at one place and moment.

    Attributes:
        g_co2e_per_kwh: Grams of CO2-equivalent per kWh.
        source: Who published the value, and for when.
        kind: ``"average"`` (all generation) or ``"marginal"`` (the plants that answer one more kWh of demand).
        stale: Nothing is known of the moment: an earlier value stands in.
    """

    g_co2e_per_kwh: float
    source: str
    kind: Literal["average", "marginal"] = "average"
    stale: bool = False


def plain(given: Intensity) -> Intensity:
    """Return an intensity in Python's own types: a user's source may hold NumPy's, which no record can.

    Args:
        given: What a source gave.

    Raises:
        ValueError: It cannot be the carbon intensity of a grid; see `is_possible`.
    """
    value = given.g_co2e_per_kwh
    if not is_possible(value):
        raise ValueError(f"{value} gCO2e/kWh")
    if type(given) is Intensity and type(value) is float and type(given.source) is str:
        return given
    kind: Literal["average", "marginal"] = "marginal" if given.kind == "marginal" else "average"
    return Intensity(float(value), str(given.source), kind, bool(given.stale))


class CarbonIntensity(Protocol):
    """A source of carbon intensity over time.

    One that answers at once says so by an attribute ``instant = True``; any other is asked in the background, and its
    last answer is used meanwhile.
    """

    def at(self, time: datetime) -> Intensity:
        """Return the intensity that holds at a moment, at once and without the network.

        Args:
            time: The moment, as an aware datetime.

        Raises:
            NotKnown: It has no value for that moment; the yearly value of the run's region is used instead.
        """
        ...

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]] | None:
        """Return the expected intensities of a period, or None where the source does not look ahead.

        Args:
            start: Begin of the period, as an aware datetime.
            end: End of the period, as an aware datetime.

        Returns:
            Moments in rising order, each with the intensity that holds from it to the next.
        """
        ...


class ConstantIntensity(msgspec.Struct, frozen=True, dict=True):
    """One intensity for all times: a yearly average, or the user's own value.

    Attributes:
        g_co2e_per_kwh: Grams of CO2-equivalent per kWh, above 0 and up to ``MAX_G_CO2E_PER_KWH``.
        source: Where the value comes from.

    Raises:
        ValueError: The value is not a number in that range.

    Example:
        >>> from datetime import UTC, datetime
        >>> ConstantIntensity(56.0, "supplier's contract").at(datetime.now(UTC)).g_co2e_per_kwh
        56.0
    """

    instant: ClassVar[bool] = True

    g_co2e_per_kwh: float
    source: str

    def __post_init__(self) -> None:
        """Refuse a value that no grid has."""
        if not is_believable(self.g_co2e_per_kwh):
            raise ValueError(
                f"intensity={self.g_co2e_per_kwh!r} is not accepted; "
                f"give g CO2e/kWh as a number above 0 and up to {MAX_G_CO2E_PER_KWH:g}"
            )

    @cached_property
    def _intensity(self) -> Intensity:
        return Intensity(float(self.g_co2e_per_kwh), self.source)

    def at(self, time: datetime) -> Intensity:
        """Return the one intensity, the same object every time.

        Args:
            time: Any moment.
        """
        return self._intensity

    def forecast(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, Intensity]]:
        """Return a series of one point, which holds from ``start`` on.

        Args:
            start: Begin of the period.
            end: End of the period.
        """
        return ((start, self._intensity),)
