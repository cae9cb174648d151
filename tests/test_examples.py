"""The examples run, and print what they promise."""

import ast
import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
from small_alloy import QUICK, SHARED_PROFILE, simulated, true_sites

from napari_defectstrain.columns.averages.measure import ColumnMeasurement
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.pipeline import chain as pipeline
from napari_defectstrain.pipeline import class_measurement
from napari_defectstrain.simulate.samples import write_simulated

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SEED = 5
"""Of an image with isolated defects of every class."""


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def truth_as_detection(monkeypatch):
    """The true columns of the small alloy in place of the network."""
    from napari_defectstrain.detect.finding import predict

    def detect_columns(image, config, progress):
        sites = true_sites(simulated(SEED))
        return predict.Detection(sites, image.pixel_size_pm, "abc", config.material, ())

    monkeypatch.setattr(predict, "detect_columns", detect_columns)


MEASURE = class_measurement.measure_columns
MEASURED: dict[tuple[tuple[str, bytes], ...], dict[str, ColumnMeasurement]] = {}


@pytest.fixture(autouse=True)
def quick_columns(monkeypatch):
    """A disc of columns that saves time, and no average measured twice: all show one image."""

    def measure(stacks, averages, config, progress, check=True, respond=True):
        if config == QUICK.columns:
            return MEASURE(stacks, averages, config, progress, check)
        key = tuple((name, average.mean.tobytes()) for name, average in averages.items())
        if key not in MEASURED:
            MEASURED[key] = MEASURE(stacks, averages, SHARED_PROFILE.columns, progress, check)
        return dict(MEASURED[key])

    monkeypatch.setattr(class_measurement, "measure_columns", measure)


@pytest.fixture
def sample(demo, tmp_path, monkeypatch) -> Path:
    """The small alloy in place of the bundled nine regions."""
    folder = tmp_path / "sample"
    folder.mkdir()
    made = simulated(SEED, name="nine_regions_1")
    write_simulated(made, folder.joinpath)
    change = {"SeTe": 0.006, "2Te": 0.012, "SV": -0.048, "DV": -0.08}
    (folder / "nine_regions.json").write_text(json.dumps({"spacing_change": change}))
    monkeypatch.setattr(demo, "SAMPLE", folder)
    return folder


@pytest.mark.slow
def test_quickstart_prints_strains(tmp_path, monkeypatch, capsys, truth_as_detection):
    tif, _ = write_simulated(simulated(SEED), tmp_path.joinpath)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", str(tif)])
    runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "vacancy fraction" in printed
    assert re.search(r"SV: N = \d+, 31\d\.\d\d ± \d", printed)  # 330 pm less 4.8 %
    assert "dilation from -" in printed


@pytest.mark.slow
def test_demo_compares_with_the_truth(
    demo, sample, tmp_path, capsys, monkeypatch, truth_as_detection
):
    monkeypatch.setattr(figure_files, "DPI", 50)  # drawn all the same, in a fraction of the time
    monkeypatch.setenv("DISPLAY", ":99")  # but --no-gui wins
    out = tmp_path / "demo_results"
    arguments = ["--out", str(out), "--regions", "1", "--bootstrap", "100", "--no-gui"]
    assert demo.main(arguments) == 0
    printed = capsys.readouterr().out
    row = re.search(
        r"^SV +\d+ +576 +\S+ ± \S+ +(-\d\.\d\d) +(\d\.\d\d) +(\d\.\d\d) +-4\.80 +([+-]\d\.\d)$",
        printed,
        re.MULTILINE,
    )
    assert row is not None, printed
    assert abs(float(row[1]) + 4.8) < 1.0
    assert float(row[3]) >= float(row[2])  # the total error holds the statistical one
    # class, columns, precision, recall, balanced accuracy, F1
    assert re.search(r"^ *SV +\d+( +1\.0000){5}$", printed, re.MULTILINE), printed
    assert (out / "figures" / "averages.png").exists()
    # its own results would be replaced, somebody else's folder is not
    assert demo.is_own(out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert demo.main(["--out", str(other), "--regions", "1", "--no-gui"]) == 2
    assert "isn't empty" in capsys.readouterr().err
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_demo_shows_defects_averages_arrows_and_dilation(demo, truth_as_detection):
    from napari.components import ViewerModel

    viewer = ViewerModel()
    result = pipeline.run([simulated(SEED).image], QUICK)
    demo.show(viewer, result)
    names = [layer.name for layer in viewer.layers]
    assert names[:3] == ["alloy", "alloy · sites", "alloy · defects"]
    for name in ("SeTe", "2Te", "SV", "DV"):
        assert f"{name} · average" in names
        assert f"{name} · displacement" in names
        assert any(f"{name} · dilation" in layer for layer in names)
    assert len(viewer.layers["alloy · defects"].data) == (simulated(SEED).class_index > 1).sum()
    assert viewer.layers["SeTe · displacement"].length == 40.0
    assert viewer.layers["SV · displacement"].length == 10.0


def test_scripts_import_what_other_scripts_have():
    """Benchmarks and the scripts of the documents borrow from one another, and nobody runs all."""
    folders = [ROOT / "benchmarks", ROOT / "docs", ROOT / "tests"]
    scripts = {path.stem: path for folder in folders for path in folder.glob("*.py")}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in scripts.items()}

    def names(tree: ast.Module) -> set[str]:
        found = set()
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name for alias in node.names}
        return found

    gone = [
        f"{name}: {alias.name} of {node.module}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in trees
        for alias in node.names
        if alias.name not in names(trees[node.module])
    ]
    assert gone == []
