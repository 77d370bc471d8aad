"""Text: what stands in a record made harmless for where it is shown, and figures written for a person."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime

from wattloop.units import J_PER_KWH

LONGEST = 500
"""Characters of a text of a record that are shown."""
UNSHOWABLE = "\ufffd"

ENERGY = ((1e3, "MWh"), (1.0, "kWh"), (1e-3, "Wh"), (1.0 / J_PER_KWH, "J"))
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": r"\char96{}",
    "@": r"\char64{}",  # lets a statement and its BibTeX entries stand in one file
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "—": "---",
}
_LACKING = "ĦħĸĿŀŉŦŧſ"
"""Letters of Latin script that pdfLaTeX does not have, whatever its fonts' encoding."""
_PAIRS = re.compile(r"([-',])(?=\1)")
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#!|~&$@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Return a text with nothing in it that a terminal would obey: no control characters, no change of direction.

    Args:
        text: Of unknown origin.
        longest: Most characters of it, at the end of which "…" says that there were more.

    Example:
        >>> printable("a\x1b[2Jb")
        'a�[2Jb'
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else "".join(char if char.isprintable() else UNSHOWABLE for char in text)


def latex(text: str) -> str:
    r"""Return a text as LaTeX that shows it, with pdfLaTeX too, which knows the letters of Latin script alone.

    Some of those, as ``ą``, ``Đ`` and ``þ``, it knows with ``\usepackage[T1]{fontenc}`` only.

    Args:
        text: Any.

    Example:
        >>> latex("50 % of node_1")
        '50 \\% of node\\_1'
    """
    text = printable(text)
    # Two of them would make another sign.
    text = _PAIRS.sub(r"\1\0", text)
    return "".join("{}" if char == "\0" else _LATEX.get(char) or _latin(char) for char in text)


def _latin(char: str) -> str:
    if char < "\x7f":
        return char
    letter = unicodedata.category(char)[0] == "L"
    if letter and "\xc0" <= char < "\u0180" and char not in _LACKING:
        return char
    plain = (each for each in unicodedata.normalize("NFKD", char) if not unicodedata.combining(each))
    return "".join(_LATEX.get(each, each) if " " <= each < "\x7f" else "?" for each in plain)


def markdown(text: str) -> str:
    r"""Return a text as Markdown that shows it, with no link, image, markup or HTML in it.

    Args:
        text: Any; to be put into a sentence, since some signs mean something at the start of a line.

    Example:
        >>> markdown("node_1")
        'node\\_1'
    """
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def cell(text: str) -> str:
    """Return a text for a cell of a spreadsheet, which is not to take it for a formula.

    Args:
        text: Any.

    Example:
        >>> cell("=1+1"), cell("node1")
        ("'=1+1", 'node1')
    """
    text = printable(text)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@", UNSHOWABLE) and text else text


def energy(kwh: float, uncertainty_kwh: float) -> tuple[str, str, str]:
    """Return an energy and its uncertainty to the digits that mean something, and their unit.

    Args:
        kwh: Energy, in kWh.
        uncertainty_kwh: Half-width of the interval that holds the true one, in kWh.

    Example:
        >>> energy(0.0123456, 0.00021), energy(5.0, 0.0)
        (('12.35', '0.21', 'Wh'), ('5.000', '0', 'kWh'))
    """
    if not (math.isfinite(kwh) and math.isfinite(uncertainty_kwh)):
        return "?", "?", "kWh"
    size = max(abs(kwh), abs(uncertainty_kwh))
    if not size:
        return "0", "0", "kWh"
    scale, unit = next(((scale, unit) for scale, unit in ENERGY if size >= scale), ENERGY[-1])
    value, doubt = kwh / scale, abs(uncertainty_kwh) / scale
    if not doubt:
        return f"{value:.{_places(value, 4)}f}", "0", unit
    places = min(_places(doubt, 2), _places(value, 6)) if value else _places(doubt, 2)
    return f"{value:.{places}f}", f"{doubt:.{places}f}", unit


def _places(value: float, digits: int) -> int:
    """Return how many decimals show so many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def figure(value: float) -> str:
    """Write a number with three significant figures, and none of its whole ones left out.

    Args:
        value: The number.

    Example:
        >>> figure(44.179), figure(12345.6)
        ('44.2', '12,346')
    """
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def moment(time: datetime) -> str:
    """Write a moment in the user's zone, and say which that is.

    Args:
        time: The moment, as an aware datetime.
    """
    try:
        return f"{time.astimezone():%Y-%m-%d %H:%M %Z}"
    except (OverflowError, ValueError, OSError):  # the first and the last day there are
        return f"{time:%Y-%m-%d %H:%M} UTC"


def counted(number: int, noun: str) -> str:
    """Write a number of things, in the plural where there are not exactly one.

    Args:
        number: How many.
        noun: What, in the singular; its plural ends in s.
    """
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
