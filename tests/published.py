"""Runs whose energy and emissions were published, to compute again."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A column of table 4 of Patterson et al. 2021, arXiv 2104.10350; tonnes net are of the net intensity."""

    name: str
    watts: float
    count: int
    days: float
    pue: float
    gross_g: float
    net_g: float
    mwh: float
    gross_t: float
    net_t: float


PATTERSON = (
    Published("T5", 310, 512, 20, 1.12, 545, 545, 85.7, 46.7, 46.7),
    Published("Meena", 289, 1024, 30, 1.09, 415, 415, 232, 96.4, 96.4),
    Published("GShard-600B", 288, 1024, 3.1, 1.09, 201, 177, 24.1, 4.8, 4.3),
    Published("Switch Transformer", 245, 1024, 27, 1.10, 403, 330, 179, 72.2, 59.1),
    Published("GPT-3", 330, 10000, 14.8, 1.10, 429, 429, 1287, 552.1, 552.1),
)
