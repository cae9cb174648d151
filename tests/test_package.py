"""What is installed: wheel, sdist and the editable package carry manifest, samples and weights."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_defectstrain
from napari_defectstrain.io import POINT_SUFFIXES, SUFFIXES

ROOT = Path(__file__).parents[1]
SAMPLES = [f"nine_regions_{i}" for i in range(1, 10)] + ["one_region"]
SERIES = ["drift_series", "dose_series"]  # not in the wheel: made when they are opened
MAX_SAMPLE_MB = 40
MAX_SAMPLE_MB_IN_WHEEL = 15
MAX_WHEEL_MB = 25

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree"
)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Wheel and sdist, built from the source tree without network."""
    out = tmp_path_factory.mktemp("dist")
    # setuptools writes its scratch files beside the sources: build from a copy of what git tracks
    # or would track, so that neither they nor anything ignored gets into the result.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    source = ROOT
    if listed.returncode == 0:
        source = tmp_path_factory.mktemp("source")
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


def carried(*more: str) -> list[str]:
    """Files that must be in wheel and sdist, as paths inside the installed package."""
    found = ["napari.yaml", "py.typed", "sample_data/__init__.py"]
    for name in (*SAMPLES, *more):
        found += [f"sample_data/{name}.tif", f"sample_data/{name}.truth.csv"]
    weights = Path(napari_defectstrain.__file__).parent / "detect" / "weights"
    found += [f"detect/weights/{path.name}" for path in weights.glob("*.safetensors")]
    found += [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]
    return found


def test_weights_are_there():
    assert any(name.endswith(".safetensors") for name in carried())


def test_wheel_carries_everything_and_nothing_else(built):
    names = zipfile.ZipFile(built[0]).namelist()
    assert not [name for name in carried() if f"napari_defectstrain/{name}" not in names]
    tops = {name.split("/")[0] for name in names}
    assert tops == {
        "napari_defectstrain",
        f"napari_defectstrain-{napari_defectstrain.__version__}.dist-info",
    }
    assert not [name for name in names if ".part." in name or name.endswith(".pyc")]
    assert {Path(name).suffix for name in names if "/docs/" in name} == {".md"}


def test_the_wheel_is_small(built):
    assert built[0].stat().st_size < MAX_WHEEL_MB * 1e6


def test_samples_take_little_of_the_wheel(built):
    infos = zipfile.ZipFile(built[0]).infolist()
    samples = [info for info in infos if "/sample_data/" in info.filename]
    assert sum(info.compress_size for info in samples) < MAX_SAMPLE_MB_IN_WHEEL * 1e6
    names = [Path(info.filename).name for info in samples]
    assert not [name for name in names if name.startswith(tuple(SERIES))]


def test_sdist_carries_everything(built):
    with tarfile.open(built[1]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in carried(*SERIES):
        beside = name.startswith(("sample_data/", "docs/"))
        place = name if beside else f"src/napari_defectstrain/{name}"
        assert place in names
    assert {"LICENSE", "README.md", "Makefile", "tests/test_package.py", "napari.yaml"} <= names
    assert {"mkdocs.yml", "docs/index.md"} <= names


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installed_package_works_in_a_bare_folder(built, kind, tmp_path):
    """Without dependencies: import, open a sample, make one, find manifest and weights."""
    artefact = built[0] if kind == "wheel" else built[1]
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(artefact)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    code = """
import json, sys
from pathlib import Path
from importlib.metadata import distribution
from importlib.resources import as_file, files
import numpy as np
import napari_defectstrain
from napari_defectstrain.io import read_file
from napari_defectstrain.simulate import sample_image
package = files("napari_defectstrain")
with as_file(files("napari_defectstrain.sample_data") / "one_region.tif") as path:
    sample = read_file(path)
weights = files("napari_defectstrain.detect.weights").iterdir()
made = read_file(sample_image("dose_series", Path("kept"))).data
stored = read_file(Path(sys.argv[1]) / "dose_series.tif").data
print(json.dumps({
    "file": napari_defectstrain.__file__,
    "version": distribution("napari-defectstrain").version,
    "manifest": (package / "napari.yaml").read_text(),
    "differing": float(np.mean(made != stored)),
    "sample": [list(sample.data.shape), sample.pixel_size_pm],
    "weights": sorted(w.name for w in weights if w.name.endswith(".safetensors")),
}))
"""
    # Run from an empty folder: neither the source tree nor the editable install must help out.
    environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "sample_data")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["file"]).is_relative_to(target)
    assert found["version"] == napari_defectstrain.__version__
    assert "napari-defectstrain.detect" in found["manifest"]
    assert found["sample"] == [[1024, 1024], 20.74]
    assert found["differing"] < 1e-4  # another libm rounds a few expectations the other way
    expected = [Path(name).name for name in carried() if name.endswith(".safetensors")]
    assert found["weights"] == sorted(expected)


def test_editable_or_installed_package_carries_everything():
    for name in carried():
        top, _, rest = name.partition("/")
        if top == "docs" and (ROOT / "docs").is_dir():
            continue  # from the source tree, *?* takes them from there
        package = "napari_defectstrain"
        if top == "sample_data":
            package, name = "napari_defectstrain.sample_data", rest
        assert files(package).joinpath(name).is_file()


def test_sample_data_is_small():
    total = sum(path.stat().st_size for path in (ROOT / "sample_data").iterdir() if path.is_file())
    assert total < MAX_SAMPLE_MB * 1e6


def test_every_package_is_carried():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    src = ROOT / "src"
    found = [p.parent.relative_to(src) for p in src.rglob("__init__.py")]
    listed = set(config["tool"]["setuptools"]["packages"])
    beside = {"napari_defectstrain.sample_data", "napari_defectstrain.docs"}
    assert listed == {".".join(p.parts) for p in found} | beside


def test_manifest_is_valid_and_its_names_exist():
    manifest = PluginManifest.from_distribution("napari-defectstrain")
    manifest.validate_imports()
    widgets = [widget.display_name for widget in manifest.contributions.widgets]
    named = ["Detect defects", "Average classes", "Strain maps", "Train a network"]
    assert widgets == ["Defect strain", *named, "Follow a series"]
    assert len(manifest.contributions.sample_data) == 4


def test_napari_offers_every_kind_of_file_that_can_be_read():
    manifest = PluginManifest.from_distribution("napari-defectstrain")
    reader, of_studies = manifest.contributions.readers
    assert of_studies.accepts_directories
    known = {*SUFFIXES, *POINT_SUFFIXES}
    assert sorted(reader.filename_patterns) == sorted(f"*{suffix}" for suffix in known)


def test_every_widget_is_in_a_menu():
    contributions = PluginManifest.from_distribution("napari-defectstrain").contributions
    offered = {item.command for items in contributions.menus.values() for item in items}
    assert offered == {widget.command for widget in contributions.widgets}


def test_manifest_at_the_top_is_the_same_file():
    inside = ROOT / "src" / "napari_defectstrain" / "napari.yaml"
    assert (ROOT / "napari.yaml").read_text() == inside.read_text()


def test_core_does_not_depend_on_napari_or_qt():
    needed = metadata.requires("napari-defectstrain") or []
    core = [re.split(r"[^\w-]", line)[0].lower() for line in needed if "extra ==" not in line]
    assert "numpy" in core
    assert not {"napari", "pyqt6", "pyqt5", "pyside6", "qtpy"} & set(core)


def test_console_script_says_its_version():
    (script,) = metadata.entry_points(group="console_scripts", name="defectstrain")
    assert script.value == "napari_defectstrain.cli.main:main"
    done = subprocess.run(
        [sys.executable, "-m", "napari_defectstrain", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert napari_defectstrain.__version__ in done.stdout


def test_licence_is_the_full_text():
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text
    assert "END OF TERMS AND CONDITIONS" in text
