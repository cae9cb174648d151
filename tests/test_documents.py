"""What the documents say of the code is there: names, public imports, kinds of files, rooms."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import napari_defectstrain
from napari_defectstrain.io import SUFFIXES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
NAME = re.compile(r"(?<![\w/.-])napari_defectstrain(?:\.[A-Za-z_]\w*)+")
PACKAGES = [
    "napari_defectstrain",
    *(
        module.name
        for module in pkgutil.walk_packages(napari_defectstrain.__path__, "napari_defectstrain.")
        if module.ispkg and not module.name.endswith("sample_data")
    ),
]

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree"
)


def resolved(dotted: str) -> object:
    """What a dotted name stands for: the longest module, then attributes.

    Raises
    ------
    AttributeError, ImportError
    """
    found = importlib.import_module("napari_defectstrain")
    name = found.__name__
    for part in dotted.split(".")[1:]:
        name = f"{name}.{part}"
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            found = getattr(found, part)
    return found


def blocks(path: Path) -> list[str]:
    """The Python of a document."""
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_dotted_names_stand_for_something(path):
    # widgets need napari, which has its own tests of what it opens
    found = set(NAME.findall(path.read_text(encoding="utf-8")))
    assert [name for name in sorted(found) if ".widgets" not in name and not resolved(name)] == []


def test_a_name_that_is_gone_would_be_found():
    assert resolved("napari_defectstrain.io.read_images")
    for name in ("napari_defectstrain.no_such_module", "napari_defectstrain.io.no_such_name"):
        with pytest.raises((AttributeError, ImportError), match="no_such"):
            resolved(name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_in_documents_uses_public_names(path):
    private = []
    for block in blocks(path):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("napari_defectstrain"):
                public = importlib.import_module(node.module).__all__
                private += [a.name for a in node.names if a.name not in public]
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "nds"
                and node.attr not in napari_defectstrain.__all__
            ):
                private.append(node.attr)
    assert private == []


def test_the_documents_have_python():
    assert sum(len(blocks(path)) for path in DOCUMENTS) >= 2


def test_every_kind_of_file_is_in_the_table():
    table = (ROOT / "docs" / "file-formats.md").read_text(encoding="utf-8")
    told = re.findall(r"\.\w+", "".join(re.findall(r"^\| (\.[^|]*)\|", table, re.MULTILINE)))
    assert sorted(told) == sorted(SUFFIXES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_name_what_is_in_them(package):
    """A word in backquotes in a package's docstring is a module, room or public name."""
    module = importlib.import_module(package)
    folder = Path(module.__file__).parent
    here = {path.stem for path in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/*")}
    rooms = {name.removeprefix("napari_defectstrain.") for name in PACKAGES}
    words = re.findall(r"(?<!`)`([\w.]+)`(?!`)", module.__doc__)
    assert [word for word in words if word not in here | rooms | set(module.__all__)] == []
