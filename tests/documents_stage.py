"""The documents and what stands between their fences."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of the blocks between fences, less what the fences are indented by."""
    found = []
    for indent, language, text in FENCED.findall(text_of(path)):
        found.append((language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)))
    return found


def lines_of(text: str) -> list[str]:
    """The lines of a block, each without what explains it in a second column or a comment."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"  +(?=-|/)", " ", line.strip())
        found.append(re.split(r" {2,}| # ", line)[0])
    return [line for line in found if line and not line.startswith("#")]


def commands(path: Path) -> list[str]:
    """The lines of a document's blocks that call ``defectstrain``, less what explains them."""
    lines = [line for _, text in blocks(path) for line in lines_of(text)]
    return [line for line in lines if line.startswith("defectstrain ")]
