"""Whether an install without extras works: every public name, then `defectstrain run` on an image.

python .ci/bare.py, with the Python of an environment without napari and Qt.
"""

import ast
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import napari_defectstrain

GUI = ("napari", "PyQt6", "PySide6", "qtpy")


def main() -> None:
    """Import all public names outside the widgets, and run the chain on a small image."""
    there = [name for name in GUI if importlib.util.find_spec(name)]
    root = Path(napari_defectstrain.__file__).parent
    count = 0
    for face in sorted(root.rglob("__init__.pyi")):
        parts = face.parent.relative_to(root).parts
        if parts[:1] == ("widgets",):
            continue
        room = importlib.import_module(".".join(["napari_defectstrain", *parts]))
        for node in ast.parse(face.read_text(encoding="utf-8")).body:
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                getattr(room, alias.asname or alias.name)
                count += 1
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "results"
        call = [sys.executable, "-m", "napari_defectstrain"]
        made = ["simulate", "--out", str(images), "--size", "384", "--seed", "3"]
        subprocess.run([*call, *made], check=True, capture_output=True)
        (image,) = images.glob("*.tif")
        run = ["run", str(image), "--out", str(out), "--bootstrap", "50"]
        subprocess.run([*call, *run], check=True)
        files = len(list(out.rglob("*")))
    loaded = {name: version(name) for name in ("numpy", "scipy", "pandas", "matplotlib", "torch")}
    print(f"{count} public names, {files} files of results; of {', '.join(GUI)}: {there or 'none'}")
    print(f"Python {sys.version.split()[0]}, {loaded}")


if __name__ == "__main__":
    main()
