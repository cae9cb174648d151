"""The rooms of the package: what they hold, what imports what, and a picture of it.

Run: ``python docs/rooms.py`` prints the figures, ``python docs/rooms.py --picture`` draws
docs/images/rooms.svg, too. The limits and the order are in docs/rooms.toml.
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "src" / "napari_defectstrain"
NAME = "napari_defectstrain"
PLAN = DOCS / "rooms.toml"
PICTURE = DOCS / "images" / "rooms.svg"


@dataclass(frozen=True)
class Arrow:
    """One import: from a module to a module, both dotted and without the package's name."""

    source: str
    target: str
    name: str


def plan() -> dict[str, Any]:
    """The order, the limits and the short modules with their reasons."""
    return tomllib.loads(PLAN.read_text(encoding="utf-8"))


def modules() -> dict[str, Path]:
    """Every module by its dotted name without the package's; a package by its own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> tuple[str, str]:
    """The room a module lies in, and the room within it ("" where it lies beside those)."""
    path = modules_cached()[module]
    folder = path.parent.relative_to(PACKAGE).parts
    return (folder[0] if folder else ""), (folder[1] if len(folder) > 1 else "")


_MODULES: dict[str, Path] = {}


def modules_cached() -> dict[str, Path]:
    """`modules`, read once."""
    if not _MODULES:
        _MODULES.update(modules())
    return _MODULES


def arrows() -> list[Arrow]:
    """Every import of one module of the package by another, wherever in the module it stands."""
    known = modules_cached()
    found = []
    for source, path in known.items():
        base = source.split(".") if source else []
        if path.name != "__init__.py":
            base = base[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                start = base[: len(base) - node.level + 1]
            elif node.module and node.module.split(".")[0] == NAME:
                start = []
            else:
                continue
            rest = node.module.split(".") if node.module else []
            target = ".".join(start + (rest if node.level else rest[1:]))
            for alias in node.names:
                whole = f"{target}.{alias.name}" if target else alias.name
                found.append(Arrow(source, whole if whole in known else target, alias.name))
    return found


def upward(found: list[Arrow]) -> list[Arrow]:
    """Arrows that point up: from a room to one that comes later in the plan."""
    rooms = plan()["rooms"]
    order = {name: i for i, name in enumerate(rooms)}
    wrong = []
    for arrow in found:
        if arrow.target == "" or arrow.source in ("", "__main__"):  # the version; the doors
            continue
        (a, inner_a), (b, inner_b) = room(arrow.source), room(arrow.target)
        if order[a] < order[b]:
            wrong.append(arrow)
        elif a == b and inner_a != inner_b:
            inner = rooms[a]
            if inner.index(inner_a) < inner.index(inner_b):
                wrong.append(arrow)
    return wrong


def rooms_entered(arrow: Arrow) -> list[str]:
    """Packages, dotted, that an import enters from outside."""
    entered = []
    parts = arrow.target.split(".")
    inside = f"{arrow.source}."
    if modules_cached()[arrow.target].name == "__init__.py":
        parts.append("")
    for k in range(1, len(parts)):
        package = ".".join(parts[:k])
        if not inside.startswith(f"{package}."):
            entered.append(package)
    return entered


def lines(path: Path) -> int:
    """Lines of a file."""
    return path.read_text(encoding="utf-8").count("\n")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a module, and its lines without the docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            start, skipped = node.lineno, 0
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                skipped = (first.end_lineno or 0) - first.lineno + 1
            yield node.name, (node.end_lineno or 0) - start + 1 - skipped


def top_level() -> tuple[list[str], list[str]]:
    """Modules and packages at the top."""
    files = [p.stem for p in PACKAGE.glob("*.py")]
    folders = [p.parent.name for p in PACKAGE.glob("*/__init__.py")]
    return sorted(files), sorted(folders)


def report() -> str:
    """The figures of the house, a line each."""
    files, folders = top_level()
    known = modules_cached()
    longest = max(known, key=lambda name: lines(known[name]))
    function = max(
        ((count, f"{name}.{f}") for name, path in known.items() for f, count in functions(path)),
    )
    found = arrows()
    wrong = upward(found)
    between = Counter((room(a.source)[0], room(a.target)[0]) for a in found if a.target)
    text = [
        f"at the top: {len(files)} modules ({', '.join(files)})",
        f"at the top: {len(folders)} packages ({', '.join(folders)})",
        f"modules: {len(known)}; lines of src/: {sum(lines(p) for p in known.values())}",
        f"longest module: {longest}, {lines(known[longest])} lines",
        f"longest function: {function[1]}, {function[0]} lines",
        f"upward arrows: {len(wrong)}",
        *(f"  {arrow.source} -> {arrow.target} ({arrow.name})" for arrow in wrong),
        "imports between rooms:",
    ]
    for name in plan()["rooms"]:
        targets = sorted({b for a, b in between if a == name and b not in (name, "")})
        if name in {a for a, _ in between}:
            text.append(f"  {name or 'the words'}: {', '.join(targets) or 'the words only'}")
    return "\n".join(text)


if __name__ == "__main__":
    print(report())
