"""The rooms of the house: what may import what, what is public, how long a module may be.

The order and the limits are in docs/rooms.toml; docs/making/rooms.py reads it for the picture, too.
"""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import napari_defectstrain

PACKAGE = Path(napari_defectstrain.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
TOOLKITS = {"napari", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "superqt"}
"""What only the widgets may import."""

LAZY = {"torch": ("detect",), "matplotlib": ("output/figures", "widgets")}
"""What is heavy to import, and the only places that may do so when they are imported."""

FORBIDDEN_NAMES = ("util", "helper", "manager", "misc", "common")


_SPEC = importlib.util.spec_from_file_location(
    "rooms", Path(__file__).resolve().parents[1] / "docs" / "making" / "rooms.py"
)
rooms = importlib.util.module_from_spec(_SPEC)
sys.modules["rooms"] = rooms
_SPEC.loader.exec_module(rooms)
PLAN = rooms.plan()
LIMITS = PLAN["limits"]


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def dotted(path: Path) -> str:
    parts = ["napari_defectstrain", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, within_functions: bool = False) -> set[str]:
    """Packages that a module imports, by default only those imported along with it."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef) and not within_functions:
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name.split(".")[0] for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                found.add(child.module.split(".")[0])
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


WITHOUT_TORCH = ("bundled", "config", "condition", "locate", "prepare", "windows")
"""Modules of `detect` that serve without torch: settings, what a network sees."""

CORE = [
    dotted(path)
    for path in MODULES
    if not relative(path).startswith("widgets/")
    and not relative(path).endswith("__main__.py")
    and not relative(path).startswith("output/figures/")
    and (not relative(path).startswith("detect/") or path.stem in WITHOUT_TORCH)
]


def test_core_is_not_empty():
    for name in ("io.files", "crystal.lattice", "pipeline.chain", "cli.main", "types"):
        assert f"napari_defectstrain.{name}" in CORE


@pytest.mark.slow
def test_core_imports_no_toolkit_torch_or_matplotlib():
    code = f"""
import importlib, sys
for name in {CORE!r}:
    importlib.import_module(name)
heavy = {sorted(TOOLKITS | set(LAZY))!r}
print(sorted(name for name in heavy if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_toolkits_stay_in_the_widgets(path):
    # Not even within functions: the core has no business with a toolkit at any time.
    if not relative(path).startswith("widgets/"):
        assert not imports(path, within_functions=True) & TOOLKITS


@pytest.mark.slow
@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_heavy_imports_stay_where_they_belong(path):
    for name, places in LAZY.items():
        if not relative(path).startswith(places):
            assert name not in imports(path)


def test_heads_of_the_house_fit_on_a_page():
    modules, packages = rooms.top_level()
    assert len(modules) <= LIMITS["top_modules"]
    assert len(packages) <= LIMITS["top_packages"]
    assert set(packages) <= set(PLAN["rooms"])


@pytest.mark.slow
def test_arrows_point_down():
    assert [f"{a.source} -> {a.target}" for a in rooms.upward(rooms.arrows())] == []


def test_an_upward_arrow_would_be_found():
    arrow = rooms.Arrow("io.files", "cli.main", "main")
    inner = rooms.Arrow("detect.network.network", "detect.training.loop", "train")
    assert rooms.upward([arrow, inner]) == [arrow, inner]


@pytest.mark.slow
def test_other_rooms_use_what_is_public():
    """What is not in the ``__all__`` of a room, and of a room within it, is private."""
    private = []
    for arrow in rooms.arrows():
        if not arrow.target or arrow.whole or arrow.source == "__main__":
            continue  # the version; whole modules
        for room in rooms.rooms_entered(arrow):
            public = importlib.import_module(f"napari_defectstrain.{room}").__all__
            if arrow.name not in public:
                private.append(f"{arrow.source}: {arrow.name} of {room}")
    assert private == [], "make them public in __init__.pyi, or leave them"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_modules_are_short_and_named_for_what_they_hold(path):
    lines = rooms.lines(path)
    name = dotted(path).removeprefix("napari_defectstrain").lstrip(".")
    assert lines <= LIMITS["module_lines"]
    assert path.stem == "__init__" or lines >= LIMITS["short_module_lines"] or name in PLAN["short"]
    assert not any(word in path.stem for word in FORBIDDEN_NAMES)
    long = {f: n for f, n in rooms.functions(path) if n > LIMITS["function_lines"]}
    assert long == {}


def test_reasons_for_short_modules_are_of_short_modules():
    known = rooms.modules()
    short = {
        name for name in PLAN["short"] if rooms.lines(known[name]) < LIMITS["short_module_lines"]
    }
    assert short == set(PLAN["short"])


def test_packages_say_what_they_are_for_and_what_is_public():
    for path in PACKAGE.rglob("__init__.py"):
        module = importlib.import_module(dotted(path))
        assert module.__doc__ and module.__doc__.count(".") >= 1
        assert isinstance(module.__all__, list | tuple)


@pytest.mark.slow
def test_rooms_import_what_they_say():
    wrong = {}
    for room, used in rooms.room_graph().items():
        doc = " ".join(importlib.import_module(f"napari_defectstrain.{room}").__doc__.split())
        told = re.search(r"Imports ([^.]*)\.", doc)
        if told and "above" not in told[1]:  # "every room above" says it in other words
            wrong[room] = set(used) - set(re.findall(r"`(\w+)`", told[1]))
    assert len(wrong) > 8
    assert not any(wrong.values()), wrong


@pytest.mark.slow
def test_public_names_stay_what_they_are_once_every_module_is_imported():
    """A module or package of the same name would take a public name's place when imported."""
    code = """
import importlib, pkgutil
import napari_defectstrain as nds
packages = [nds] + [
    importlib.import_module(m.name)
    for m in pkgutil.walk_packages(nds.__path__, "napari_defectstrain.") if m.ispkg
]
before = {(p.__name__, name): getattr(p, name) for p in packages for name in p.__all__}
for m in pkgutil.walk_packages(nds.__path__, "napari_defectstrain."):
    if not m.name.endswith("__main__"):
        importlib.import_module(m.name)
print([key for key, value in before.items()
       if getattr(importlib.import_module(key[0]), key[1]) is not value])
print(len(before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    changed, count = done.stdout.split("\n")[:2]
    assert changed == "[]"
    assert int(count) > 100


def test_the_public_face_is_light():
    heavy = sorted(TOOLKITS | set(LAZY) | {"numpy", "pandas", "scipy"})
    code = f"import sys, napari_defectstrain; print([m for m in sys.modules if m in {heavy}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
