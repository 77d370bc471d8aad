"""What mkdocstrings, which reads the source and runs none of it, has to be told of this package."""

from __future__ import annotations

import re

import griffe

EXAMPLE = re.compile(r"^( *)Example:\n", re.MULTILINE)
LITERAL = re.compile(r"^( *)Example::\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Shows examples as code, and a `msgspec.Struct` with the signature that its fields make."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Call the example of a docstring by the name of the section that griffe knows."""
        if obj.docstring is not None:
            text = LITERAL.sub(r"\1Examples:\n\1    ```python\n\2\1    ```\n", obj.docstring.value + "\n")
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:\n", text).rstrip()

    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        """Add the constructor that msgspec makes."""
        if not any(str(base).endswith("Struct") for base in cls.bases):
            return
        kinds = griffe.ParameterKind
        kind = kinds.keyword_only if "kw_only" in cls.keywords else kinds.positional_or_keyword
        taken = [
            griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value)
            for field in cls.attributes.values()
            if field.annotation and "ClassVar" not in str(field.annotation)
        ]
        itself = griffe.Parameter("self", kind=kinds.positional_or_keyword)
        init = griffe.Function("__init__", parameters=griffe.Parameters(itself, *taken), parent=cls)
        cls.set_member("__init__", init)
