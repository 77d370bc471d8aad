"""What mkdocstrings, which reads the source and runs none of it, has to be told of this package."""

from __future__ import annotations

import re

import griffe

EXAMPLE = re.compile(r"^( *)Example:\n", re.MULTILINE)
LITERAL = re.compile(r"^( *)Example::\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)


PAGES = {
    r"`(wattloop\.options\.)?RunOptions`": "[the options][options]",
    r"those of `wattloop\.rows\.row`": "[these][logged-keys]",
    r"see `wattloop\.rows\.row` for its keys": "with [these keys][logged-keys]",
}
"""What has a page of its own here."""


class Docstrings(griffe.Extension):
    """Shows examples as code, and a `msgspec.Struct` with the signature that its fields make."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite a docstring: an example under the heading that griffe knows, and names that are pages here."""
        if obj.docstring is not None:
            text = LITERAL.sub(r"\1Examples:\n\1    ```python\n\2\1    ```\n", obj.docstring.value + "\n")
            text = EXAMPLE.sub(r"\1Examples:\n", text).rstrip()
            for name, page in PAGES.items():
                text = re.sub(name, page, text)
            obj.docstring.value = text

    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        """Add the constructor that msgspec makes."""
        if not any(str(base).endswith("Struct") for base in cls.bases):
            return
        kinds = griffe.ParameterKind
        kind = kinds.keyword_only if "kw_only" in cls.keywords else kinds.positional_or_keyword
        taken = [
            griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value)
            for field in cls.attributes.values()
            if field.annotation and "instance-attribute" in field.labels
        ]
        itself = griffe.Parameter("self", kind=kinds.positional_or_keyword)
        init = griffe.Function("__init__", parameters=griffe.Parameters(itself, *taken), parent=cls)
        cls.set_member("__init__", init)
