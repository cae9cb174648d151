"""Docstrings as the documentation site shows them: examples are code (mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^|(?<=\n\n))(>>> .*?)(?=\n\n|\Z)", re.DOTALL)


def with_fences(docstring: str) -> str:
    """A docstring with its examples (``>>>``) between fences: in Markdown they would be quotes."""
    return EXAMPLE.sub(r"```python\n\1\n```", docstring)


class Examples(griffe.Extension):
    """Puts fences around the examples of all docstrings."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = with_fences(obj.docstring.value)
