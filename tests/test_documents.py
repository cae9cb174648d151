"""What the documents say of the code is there: names, public imports, kinds of files, rooms."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import napari_defectstrain
from napari_defectstrain.detect.network.bundled import bundled_weights
from napari_defectstrain.detect.network.weights_file import load_weights
from napari_defectstrain.io import SUFFIXES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
SRC = Path(napari_defectstrain.__file__).parent
SOURCES = sorted(SRC.rglob("*.py"))
FOREIGN = ("np", "numpy", "scipy", "torch", "napari")
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


def bound(target: ast.expr) -> set[str]:
    """Names that an assignment binds, attributes of self included."""
    if isinstance(target, ast.Tuple | ast.List):
        return set().union(*(bound(part) for part in target.elts))
    return {getattr(target, "id", getattr(target, "attr", ""))}


def names(body: list[ast.AST]) -> set[str]:
    """What statements define."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(*(bound(target) for target in node.targets))
        elif isinstance(node, ast.AnnAssign):
            found |= bound(node.target)
    return found


class Known:
    """Every module of the package with its names, and every class with its attributes."""

    def __init__(self) -> None:
        self.modules: dict[str, set[str]] = {}
        self.classes: dict[str, set[str]] = {}
        for path in SOURCES:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            parts = path.relative_to(SRC).with_suffix("").parts
            face = path.with_suffix(".pyi")
            public = re.findall(r" as (\w+)$", face.read_text(), re.M) if face.is_file() else []
            dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[dotted] = names(tree.body) | set(public)
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    inside = names(list(ast.walk(node)))
                    self.classes[node.name] = self.classes.get(node.name, set()) | inside

    def has(self, word: str, owners: dict[str, str]) -> bool:
        """Whether a dotted word is a module, a module's name or a class's attribute."""
        head, _, last = word.rpartition(".")
        ends = {name for name in self.modules if f".{name}".endswith(f".{head}")}
        owner = owners.get(head, head.rpartition(".")[2])
        return (
            any(f".{name}".endswith(f".{word}") for name in self.modules)
            or any(last in self.modules[name] for name in ends)
            or last in self.classes.get(owner, ())
        )


def owners(tree: ast.AST) -> dict[str, str]:
    """The class that each argument of a module's functions is said to be of."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            found[node.arg] = ast.unparse(node.annotation).split(" ")[0]
    return found


@pytest.mark.slow
def test_docstrings_name_what_is_there():
    """`module.name`, `Class.attribute` and `argument.attribute` in docstrings and comments."""
    known, gone = Known(), []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        arguments = owners(ast.parse(text))
        for word in re.findall(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)+)`(?!`)", text):
            if word.split(".")[0] not in FOREIGN and not known.has(word, arguments):
                gone.append(f"{path.relative_to(SRC)}: {word}")
    assert gone == []


@pytest.mark.slow
def test_a_docstring_of_what_is_gone_would_be_found():
    known = Known()
    assert known.has("averages.outliers", {}) and known.has("columns.types.FLAGS", {})
    assert known.has("config.material", {"config": "CrystalConfig"})
    assert not known.has("image_columns.fit_image_columns", {})
    assert not known.has("config.no_such_field", {"config": "CrystalConfig"})


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_name_what_is_in_them(package):
    """A word in backquotes in a package's docstring is a module, room or public name."""
    module = importlib.import_module(package)
    folder = Path(module.__file__).parent
    here = {path.stem for path in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/*")}
    rooms = {name.removeprefix("napari_defectstrain.") for name in PACKAGES}
    words = re.findall(r"(?<!`)`([\w.]+)`(?!`)", module.__doc__)
    assert [word for word in words if word not in here | rooms | set(module.__all__)] == []


def test_the_shipped_network_has_seen_as_many_windows_as_is_said():
    # its batch normalisation counts the batches, those of the network it began with included
    weights = load_weights(bundled_weights("WSe2"))
    tensors = weights.network.state_dict()
    counted = {int(v) for name, v in tensors.items() if name.endswith("num_batches_tracked")}
    assert len(counted) == 1
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    said = re.search(r"counts (\d+) steps in all: ([\d ]+) windows", page)
    assert said is not None
    assert {int(said[1])} == counted
    assert int(said[2].replace(" ", "")) == counted.pop() * weights.config.batch
    assert f"stops at step {weights.record[-1]['step']:.0f}, after" in page
