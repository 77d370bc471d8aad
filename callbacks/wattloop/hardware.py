"""Hardware: GPUs and TPUs by name, with the power and peak rates that are published (see ``data/SOURCES.md``)."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

TABLE = Path(__file__).parent / "data" / "hardware.csv"
ACCEPTED = (
    "a GPU or TPU as its vendor or driver calls it ('A100', 'NVIDIA H100 80GB HBM3', 'RTX 4090', 'MI300X', 'TPU v4'); "
    "`wattloop hardware` lists them all; for any other give watts= per device"
)
# What vendors and drivers put around a name without telling devices apart.
_UNSAID = frozenset("nvidia amd google intel geforce tesla instinct radeon cloud gpu generation edition".split())
_WORD = re.compile(r"[^\W_]+")


class Hardware(msgspec.Struct, frozen=True):
    """An accelerator and what is published about it; None is not published, or not known for sure.

    Attributes:
        name: Short name, without the vendor's.
        vendor: Who makes it.
        kind: What it is sold for.
        tdp_w: Thermal design power of one board, module or chip, in watts (> 0).
        measured_w: Published mean power in training, in watts (> 0).
        measured_scope: What that holds: ``"system"`` is the accelerator with its share of host, network and fans;
            ``"device"`` the accelerator alone. Empty where nothing was measured.
        measured_source: Who measured it, and on what.
        fp32_tflops: Peak rate in FP32 without tensor cores, in TFLOPS.
        tensor16_tflops: Peak dense rate in FP16 or BF16, in TFLOPS.
        source: Vendor's document that holds its power and peak rates.
        aliases: Other names it answers to, those of the driver among them.
        note: What else to know of the figures.
    """

    name: str
    vendor: str
    kind: Literal["data centre", "workstation", "consumer"]
    tdp_w: float | None
    measured_w: float | None
    measured_scope: Literal["", "system", "device"]
    measured_source: str
    fp32_tflops: float | None
    tensor16_tflops: float | None
    source: str
    aliases: tuple[str, ...] = ()
    note: str = ""

    @property
    def fp32_gflops_per_w(self) -> float | None:
        """Peak FP32 rate per watt of TDP, in GFLOPS/W: EnergyVis's measure of efficiency (arXiv 2103.16435)."""
        if self.fp32_tflops is None or self.tdp_w is None:
            return None
        return 1e3 * self.fp32_tflops / self.tdp_w


@cache
def hardware() -> tuple[Hardware, ...]:
    """Return all known accelerators, in the order of the table."""
    return tuple(read_table(TABLE))


def read_table(path: Path) -> Iterator[Hardware]:
    """Read a table of accelerators.

    Args:
        path: CSV file with the fields of `Hardware` as columns; aliases are separated by ``|``.

    Raises:
        msgspec.ValidationError: A row holds a value that is not accepted.
    """
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            fields = {name: value or None if name.endswith(("_w", "_tflops")) else value for name, value in row.items()}
            yield msgspec.convert({**fields, "aliases": _split(row["aliases"])}, Hardware, strict=False)


def resolve(name: str) -> Hardware:
    """Find the accelerator a name stands for; case, spaces, dashes and the vendor's name do not matter.

    A family by its bare name is its module for servers: ``"A100"`` is the SXM4 one, not the PCIe card.

    Args:
        name: As its vendor, its driver or everybody calls it.

    Raises:
        ValueError: Nothing, or more than one device, has that name.

    Example:
        >>> resolve("NVIDIA A100-SXM4-80GB").name, resolve("a100").tdp_w, resolve("rtx4090").tdp_w
        ('A100 SXM4', 400.0, 450.0)
    """
    found = _index().get(_key(name))
    if found is not None:
        return found
    wider = _wider(name)
    if len(wider) > 1:
        raise ValueError(f"gpu={name!r} may be more than one device; write {_listed(wider)}")
    near = wider or suggestions(name)
    hint = f"; did you mean {_listed(near)}?" if near else "."
    raise ValueError(f"gpu={name!r} is not known{hint} Accepted: {ACCEPTED}")


def search(text: str) -> tuple[Hardware, ...]:
    """Return the accelerators with a text in their vendor or in one of their names, in the order of the table.

    Args:
        text: Part of a name, case and spaces as in `resolve`; empty for all.

    Example:
        >>> [each.name for each in search("l40")]
        ['L40', 'L40S']
    """
    key, bare = _key(text), text.strip().casefold()
    return tuple(
        each
        for each in hardware()
        if bare == each.vendor.casefold() or ((key or not bare) and any(key in _key(label) for label in _labels(each)))
    )


def suggestions(name: str) -> list[Hardware]:
    """Return the accelerators a name that stands for none may have meant, the nearest first.

    Args:
        name: What `resolve` does not know.
    """
    import difflib

    index = _index()
    keys = difflib.get_close_matches(_key(name), index, n=5, cutoff=0.7)
    return list(dict.fromkeys(index[key] for key in keys))[:3]


def _wider(name: str) -> list[Hardware]:
    """Return the accelerators of which a name says a part: some of the words, or a piece of them run together."""
    words, key = set(_words(name)), _key(name)
    if not words:
        return []
    return [
        each
        for each in hardware()
        if any(words <= set(_words(label)) or _has(_key(label), key) for label in _labels(each))
    ]


def _has(whole: str, part: str) -> bool:
    return whole.startswith(part) or (len(part) >= 4 and part in whole)


def _labels(each: Hardware) -> tuple[str, ...]:
    return (each.name, *each.aliases)


def _words(name: object) -> list[str]:
    text = unicodedata.normalize("NFKC", str(name)).casefold()
    return [word for word in _WORD.findall(text) if word not in _UNSAID]


def _key(name: object) -> str:
    return "".join(_words(name))


@cache
def _index() -> dict[str, Hardware]:
    return {_key(label): each for each in hardware() for label in _labels(each)}


def _split(aliases: str) -> tuple[str, ...]:
    return tuple(filter(None, aliases.split("|")))


def _listed(found: list[Hardware]) -> str:
    names = [repr(each.name) for each in found]
    return " or ".join(names) if len(names) <= 8 else ", ".join([*names[:8], f"or one of {len(names) - 8} more"])
