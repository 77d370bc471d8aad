"""Live providers by the name that a command line has for them, with credentials from the environment alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any, Literal

import msgspec

from wattloop.grid.intensity import NotKnown
from wattloop.grid.providers import (
    CarbonAwareSDK,
    ElectricityMaps,
    EnergiDataService,
    GBCarbonIntensity,
    Patience,
    WattTime,
)
from wattloop.grid.providers.live import Live

PATIENCE_S = 15.0
"""How long a forecast is waited for, in seconds."""
LOOK_S = 0.02
DAY = timedelta(days=1)
QUICK = Patience(connect_s=5.0, read_s=5.0, whole_s=10.0, attempts=3, backoff_s=0.5, longest_wait_s=2.0)
"""Somebody is waiting, unlike in training."""


class _Provider(msgspec.Struct, frozen=True):
    make: Callable[..., Live]
    zones: str  # empty where it need not be told
    credentials: tuple[str, ...] = ()


PROVIDERS = {
    "electricitymaps": _Provider(ElectricityMaps, "a zone of Electricity Maps, e.g. FR", ("ELECTRICITYMAPS_TOKEN",)),
    "gb": _Provider(GBCarbonIntensity, ""),
    "watttime": _Provider(WattTime, "a region of WattTime, e.g. CAISO_NORTH", ("WATTTIME_USER", "WATTTIME_PASSWORD")),
    "carbon-aware-sdk": _Provider(CarbonAwareSDK, "a location of your server, e.g. westeurope"),
    "energidataservice": _Provider(EnergiDataService, "DK1 or DK2"),
}


def named(
    name: str,
    zone: str | None = None,
    url: str | None = None,
    kind: Literal["average", "marginal"] | None = None,
) -> Live:
    """Return a provider by its name.

    Args:
        name: One of `PROVIDERS`.
        zone: Where, in the provider's own words; None for all of Great Britain.
        url: Address of its API. Default: the public one; a Carbon Aware SDK has none.
        kind: ``"average"`` or ``"marginal"``, which a Carbon Aware SDK does not say of itself.

    Raises:
        ValueError: An argument is not accepted or wanting, or a credential is.
    """
    provider = PROVIDERS.get(name)
    if provider is None:
        raise ValueError(f"provider={name!r} is not known; give one of {', '.join(PROVIDERS)}")
    if not zone and provider.zones:
        raise ValueError(f"provider={name!r} wants a zone; give {provider.zones}")
    if wanting := [variable for variable in provider.credentials if not os.environ.get(variable)]:
        raise ValueError(f"provider={name!r} wants {' and '.join(wanting)} in the environment")
    more: dict[str, Any] = {"patience": QUICK}
    if name == "carbon-aware-sdk":
        if url is None:
            raise ValueError(f"provider={name!r} wants a url; give the address of your server")
        return CarbonAwareSDK(url, zone or "", kind=kind, **more)
    if kind is not None:
        raise ValueError(f"kind={kind!r} is not accepted; provider={name!r} says itself what its values are")
    if url is not None:
        more["base_url"] = url
    return provider.make(zone, **more)


def await_forecast(source: Live, start: datetime | None = None, patience_s: float = PATIENCE_S) -> None:
    """Wait until a provider has told a forecast.

    Args:
        source: The provider.
        start: From when on, as an aware datetime; None for now.
        patience_s: Longest wait, in seconds.

    Raises:
        ValueError: It does not come; the message says why.
    """
    give_up_s = monotonic() + patience_s

    def told() -> int:
        begin = start or datetime.now(UTC)
        return len(source.forecast(begin, begin + DAY) or ())

    while not (values := told()) and source.asking and monotonic() < give_up_s:
        sleep(LOOK_S)
    # The last of them may have come between one look and the other.
    if (values or told()) > 1:
        return
    try:
        source.at(start or datetime.now(UTC))
    except NotKnown as why:
        waited = f", in {patience_s:g} s" if source.asking else ""
        raise ValueError(f"no forecast came{waited}: {why}") from None
    raise ValueError(
        f"no forecast came: {source.name} ({source.place}) tells its present value alone; is a forecast in your plan?"
    )
