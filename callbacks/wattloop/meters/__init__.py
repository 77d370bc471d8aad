"""Instruments: one file each, behind the `Meter` protocol."""
