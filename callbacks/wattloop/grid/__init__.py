"""How much CO2e a kWh of electricity stands for: where, when, and on whose word."""

from wattloop.grid.intensity import CarbonIntensity, ConstantIntensity, Intensity
from wattloop.grid.regions import Region, regions, resolve, world

__all__ = ["CarbonIntensity", "ConstantIntensity", "Intensity", "Region", "regions", "resolve", "world"]
