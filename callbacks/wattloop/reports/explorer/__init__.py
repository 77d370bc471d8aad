"""Explorer: one HTML file in which anybody with a browser can look into runs and ask what if, without a network."""

from __future__ import annotations

from wattloop.reports.explorer.page import page, write

__all__ = ["page", "write"]
