"""Fake hardware, put where the real code paths end: the NVML library and the powercap tree."""
