"""Thermal design power of CPUs, for the energy of a CPU that nothing measures (see ``data/SOURCES.md``)."""

from __future__ import annotations

import csv
import platform
import re
import unicodedata
from functools import cache
from pathlib import Path

import msgspec

TABLE = Path(__file__).parent / "data" / "cpu_tdp.csv"
_COUNT = r"(?:\d+|dual|triple|quad|six|eight|twelve|sixteen)"
_NOISE = re.compile(
    r"\((?:r|tm|oem only)\)|[®™\u200b]"
    r"|@.*|(?<= )0(?= *(?:@|$))"
    r"|,? *(?:with +|w/ *)?radeon.*|,? *(?:r\d+,? *)?\d+ compute cores.*"
    rf"|\b{_COUNT}-core processor\b|\b\d+-cores?\b"
    r"|\b\d+(?:st|nd|rd|th) gen\b"
    r"|\b(?:cpu|processor|apu)\b"
)
_BRAND_DASH = re.compile(r"(?<=\bi[3579])-")


class CpuTdp(msgspec.Struct, frozen=True):
    """A CPU model and the power it is designed for.

    Attributes:
        name: Name of the model in the table.
        watts: Thermal design power of one package, in watts (> 0).
    """

    name: str
    watts: float


def cpu_tdp(model_name: str) -> CpuTdp | None:
    """Find the thermal design power of a CPU by its exact model; a similar name is another CPU.

    Args:
        model_name: The ``model name`` of ``/proc/cpuinfo``, or a vendor's product name.

    Returns:
        The table's entry, or None where the model is not in it, or is in it with several powers.

    Example:
        >>> cpu_tdp("AMD EPYC 7742 64-Core Processor")
        CpuTdp(name='AMD EPYC 7742', watts=225.0)
        >>> cpu_tdp("Intel(R) Xeon(R) Processor") is None
        True
    """
    return _table().get(normalise(model_name))


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name the CPU of this machine gives itself, or an empty string.

    Args:
        cpuinfo: The kernel's description of the processors (Linux); elsewhere Python's own is used.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:[ \t]*(\S.*)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor()


def normalise(model_name: str) -> str:
    """Reduce a CPU's name to what tells models apart: no marks, clock, core count, generation or graphics.

    Args:
        model_name: Name as the CPU, or a table, gives it.

    Example:
        >>> normalise("12th Gen Intel(R) Core(TM) i7-12700K"), normalise("AMD FX(tm)-8350 Eight-Core Processor")
        ('intel core i7 12700k', 'amd fx-8350')
    """
    bare = _NOISE.sub(" ", unicodedata.normalize("NFKC", model_name).lower())
    return _BRAND_DASH.sub(" ", " ".join(bare.split()).replace(" -", "-"))


@cache
def _table() -> dict[str, CpuTdp | None]:
    table: dict[str, CpuTdp | None] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            entry = CpuTdp(row["name"], float(row["watts"]))
            known = table.setdefault(normalise(entry.name), entry)
            if known is None or known.watts != entry.watts:
                table[normalise(entry.name)] = None
    return table
