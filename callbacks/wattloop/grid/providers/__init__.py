"""Live carbon intensity from the network: one file per provider, and what they share.

Nothing is fetched before a run asks for its first value, and nobody waits for it then: see `live`.

| class | where | kind | credentials |
|---|---|---|---|
| `ElectricityMaps` | the world, by zone or by place | average | ``token=`` or ``ELECTRICITYMAPS_TOKEN`` |
| `GBCarbonIntensity` | Great Britain, or one postcode of it | average | none |
| `WattTime` | its regions | **marginal** | ``user=``, ``password=`` or ``WATTTIME_USER``, ``WATTTIME_PASSWORD`` |
| `CarbonAwareSDK` | whatever your own server serves | as you say | none |
| `EnergiDataService` | Denmark: DK1, DK2 | average | none |
"""

try:
    import httpx as _httpx
    import tenacity as _tenacity
except ImportError as error:  # pragma: no cover
    raise ImportError("live carbon intensity needs httpx and tenacity: pip install 'wattloop[grid]'") from error

from wattloop.grid.providers.carbon_aware import CarbonAwareSDK
from wattloop.grid.providers.client import Patience
from wattloop.grid.providers.electricity_maps import ElectricityMaps
from wattloop.grid.providers.energidataservice import EnergiDataService
from wattloop.grid.providers.gb import GBCarbonIntensity
from wattloop.grid.providers.watttime import WattTime

__all__ = ["CarbonAwareSDK", "ElectricityMaps", "EnergiDataService", "GBCarbonIntensity", "Patience", "WattTime"]

del _httpx, _tenacity
