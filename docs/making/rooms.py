"""The rooms of the package: what they hold, what imports what, and a picture of it.

Run: ``python docs/making/rooms.py`` prints the figures, with ``--picture`` it draws
docs/images/rooms.png, too (``make picture``). The limits and the order are in docs/rooms.toml.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
PACKAGE = DOCS.parent / "src" / "napari_defectstrain"
NAME = "napari_defectstrain"
PLAN = DOCS / "rooms.toml"
PICTURE = DOCS / "images" / "rooms.png"
GRAPH = "Description"
"""Key of the picture's metadata that holds the graph it was drawn from."""


@dataclass(frozen=True)
class Arrow:
    """One import: from a module to a module, both dotted and without the package's name.

    Parameters
    ----------
    source, target : str
        Modules.
    name : str
        What is imported of the target.
    whole : bool
        True where it is the target itself.
    """

    source: str
    target: str
    name: str
    whole: bool = False


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
                is_module = whole in known
                found.append(Arrow(source, whole if is_module else target, alias.name, is_module))
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


def room_graph() -> dict[str, list[str]]:
    """Rooms that each room imports from, the words ("") left out."""
    between = {(room(a.source)[0], room(a.target)[0]) for a in arrows() if a.target}
    names = [name for name in plan()["rooms"] if name and (PACKAGE / name).is_dir()]
    return {a: [b for b in names if (a, b) in between and a != b] for a in names}


def direct(graph: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same without arrows that a way through other rooms stands for."""

    def reach(start: str) -> set[str]:
        found = set(graph[start])
        return found.union(*(reach(name) for name in graph[start])) if found else found

    return {
        a: [b for b in bs if not any(b in reach(c) for c in bs if c != b)]
        for a, bs in graph.items()
    }


def draw(path: Path = PICTURE) -> None:
    """The rooms as boxes, the ground floor below; arrows of imports, those implied left out."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    graph = room_graph()
    users = {b: [a for a in graph if b in graph[a]] for b in graph}
    depth: dict[str, int] = {}
    for name in reversed(graph):  # what uses a room comes later in the plan
        depth[name] = 1 + max((depth[a] for a in users[name]), default=0)
    across = plan()["across"]
    place = {name: (across.get(name, 0.0), -1.25 * level) for name, level in depth.items()}
    lowest = -1.25 * max(depth.values())
    figure, axes = plt.subplots(figsize=(8, 10), layout="constrained")
    for a, targets in direct(graph).items():
        for b in targets:
            style = {"arrowstyle": "-|>", "color": "0.45", "shrinkA": 18, "shrinkB": 18}
            style["connectionstyle"] = "arc3,rad=0.08"
            axes.annotate("", xy=place[b], xytext=place[a], arrowprops=style)
    known = modules_cached()
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#dbe9f6", "edgecolor": "#08519c"}
    for name, (x, y) in place.items():
        count = sum(room(m)[0] == name and known[m].name != "__init__.py" for m in known)
        text = f"{name}\n{count} modules"
        axes.text(x, y, text, ha="center", va="center", fontsize=10, bbox=box)
    words = ", ".join(n for n in top_level()[0] if not n.startswith("_"))
    axes.text(0, lowest - 0.9, f"the words: {words}", ha="center", fontsize=10)
    axes.set_xlim(-6.0, 6.0)
    axes.set_ylim(lowest - 1.2, -0.6)
    axes.set_axis_off()
    figure.savefig(path, dpi=110, metadata={GRAPH: json.dumps(graph)})


if __name__ == "__main__":
    print(report())
    if "--picture" in sys.argv[1:]:
        draw()
        print(f"drawn: {PICTURE.name}")
