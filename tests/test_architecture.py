"""The rooms of the house: what may import what, and how long a module may be."""

import ast
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

MAX_LINES = 400
FORBIDDEN_NAMES = ("util", "helper", "manager", "misc", "common")


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


WITHOUT_TORCH = ("config", "condition", "locate", "prepare", "windows")
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


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_toolkits_stay_in_the_widgets(path):
    # Not even within functions: the core has no business with a toolkit at any time.
    if not relative(path).startswith("widgets/"):
        assert not imports(path, within_functions=True) & TOOLKITS


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_heavy_imports_stay_where_they_belong(path):
    for name, places in LAZY.items():
        if not relative(path).startswith(places):
            assert name not in imports(path)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_modules_are_short_and_named_for_what_they_hold(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES
    assert not any(word in path.stem for word in FORBIDDEN_NAMES)
