"""Markup: a text with citations, as LaTeX or Markdown, whatever is put into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from wattloop.reports.citations import Citation
from wattloop.reports.text import latex, markdown


class Markup(msgspec.Struct, frozen=True):
    """How a text is written.

    Attributes:
        text: Escapes a text that is not ours.
        cite: Refers to works; with a space before.
        signs: What is written in another way in ours, which has no other special characters.
    """

    text: Callable[[str], str]
    cite: Callable[[Sequence[Citation]], str]
    signs: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Write a text of ours."""
        for sign, written in self.signs.items():
            text = text.replace(sign, written)
        return text


def as_latex(write: Callable[[Markup], str], works: Sequence[Citation]) -> str:
    r"""Return a text in LaTeX; the BibTeX entries of what it cites follow, where TeX skips them.

    So one file serves ``\input`` and, as BibTeX skips what is no entry, ``\bibliography``.

    Args:
        write: Writes the text.
        works: What it cites.
    """

    def cite(cited: Sequence[Citation]) -> str:
        return f"~\\cite{{{','.join(work.key for work in cited)}}}" if cited else ""

    text = write(Markup(latex, cite, {"%": r"\%", "±": r"$\pm$", "CO2e": "CO$_2$e"}))
    return f"{text}\n\\iffalse\n{''.join(work.bibtex() for work in works)}\\fi\n"


def as_markdown(write: Callable[[Markup], str], works: Sequence[Citation]) -> str:
    """Return a text in Markdown, with its references.

    Args:
        write: Writes the text.
        works: What it cites.
    """
    numbers = {work.key: number for number, work in enumerate(works, start=1)}

    def cite(cited: Sequence[Citation]) -> str:
        return "".join(f" [{numbers[work.key]}]" for work in cited)

    references = [f"{number}. {work.reference()}" for number, work in enumerate(works, start=1)]
    return "\n".join([write(Markup(markdown, cite)), "", *references]) + "\n"
