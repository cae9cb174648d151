"""The examples run, and print what they promise."""

import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from small_alloy import SHARED_PROFILE, simulated, true_sites

from napari_defectstrain import pipeline
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.samples import write_simulated
from napari_defectstrain.types import Sites

EXAMPLES = Path(__file__).parent.parent / "examples"


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
    from napari_defectstrain.detect import predict

    def detect_columns(image, config, progress):
        sites = true_sites(simulated())
        return predict.Detection(sites, image.pixel_size_pm, "abc", config.material, ())

    monkeypatch.setattr(predict, "detect_columns", detect_columns)


@pytest.fixture(autouse=True)
def quick_columns(monkeypatch):
    """A disc of columns that saves time."""
    measure = pipeline.measure_columns
    monkeypatch.setattr(
        pipeline,
        "measure_columns",
        lambda stacks, averages, _, progress: measure(
            stacks, averages, SHARED_PROFILE.columns, progress
        ),
    )


@pytest.fixture
def sample(demo, tmp_path, monkeypatch) -> Path:
    """The small alloy in place of the bundled nine regions."""
    folder = tmp_path / "sample"
    folder.mkdir()
    made = simulated(name="nine_regions_1")
    write_simulated(made, folder)
    change = {"SeTe": 0.006, "2Te": 0.012, "SV": -0.048, "DV": -0.08}
    (folder / "nine_regions.json").write_text(json.dumps({"spacing_change": change}))
    monkeypatch.setattr(demo, "SAMPLE", folder)
    return folder


def test_quickstart_prints_strains(tmp_path, monkeypatch, capsys, truth_as_detection):
    tif, _ = write_simulated(simulated(), tmp_path)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", str(tif)])
    runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "vacancy fraction" in printed
    assert re.search(r"SV: N = \d+, 31\d\.\d\d ± \d", printed)  # 330 pm less 4.8 %
    assert "dilation from -" in printed


def test_demo_compares_with_the_truth(
    demo, sample, tmp_path, capsys, monkeypatch, truth_as_detection
):
    monkeypatch.setenv("DISPLAY", ":99")  # but --no-gui wins
    out = tmp_path / "demo_results"
    arguments = ["--out", str(out), "--regions", "1", "--bootstrap", "100", "--no-gui"]
    assert demo.main(arguments) == 0
    printed = capsys.readouterr().out
    row = re.search(
        r"^SV +\d+ +576 +\S+ ± \S+ +(-\d\.\d\d) ± \S+ +-4\.80 +([+-]\d\.\d)$", printed, re.MULTILINE
    )
    assert row is not None, printed
    assert abs(float(row[1]) + 4.8) < 1.0
    assert re.search(r"^SV +(\d+) +\1 +1\.0000 +1\.0000 +1\.0000$", printed, re.MULTILINE), printed
    assert (out / "figures" / "averages.png").exists()
    # its own results would be replaced, somebody else's folder is not
    assert demo.is_own(out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert demo.main(["--out", str(other), "--regions", "1", "--no-gui"]) == 2
    assert "isn't empty" in capsys.readouterr().err
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_demo_counts_hits_by_class_and_distance(demo):
    position = np.array([[10.0, 10.0], [50.0, 50.0], [90.0, 90.0]])
    index = np.array([4, 4, 2])
    sites = Sites(position, np.eye(6)[index], index, WSE2.class_names, np.full(3, "model"))
    expected = np.array([[10.0, 16.0], [50.0, 58.0], [90.0, 90.0]])  # 6 px, 8 px; other class
    assert demo.count_hits(sites, "SV", expected, 7.0) == 1
    assert demo.count_hits(sites, "DV", expected, 7.0) == 0
    assert demo.count_hits(sites, "SV", expected[:0], 7.0) == 0


def test_demo_scores_are_those_of_their_definition(demo, sample, truth_as_detection):
    made = simulated(name="nine_regions_1")
    truth = demo.read_truth("nine_regions_1")
    sites = true_sites(made)
    # one of the true SV called SeTe: recall of SV and precision of SeTe fall by one
    index = sites.class_index.copy()
    index[np.flatnonzero(index == 4)[0]] = 2
    wrong = Sites(sites.position_px, sites.probabilities, index, sites.class_names, sites.source)

    class Result:
        material = WSE2
        images = (made.image,)
        sites = (wrong,)

    lines = demo.detection_table(Result, [truth]).splitlines()
    table = pd.DataFrame([line.split() for line in lines[1:]], columns=lines[0].split())
    table = table.set_index("class").astype(float)
    n_sv, n_sete = (int((truth["class"] == name).sum()) for name in ("SV", "SeTe"))
    assert table.loc["SV", "recall"] == pytest.approx((n_sv - 1) / n_sv, abs=1e-4)
    assert table.loc["SV", "precision"] == 1.0
    assert table.loc["SeTe", "precision"] == pytest.approx(n_sete / (n_sete + 1), abs=1e-4)


def test_demo_shows_defects_averages_arrows_and_dilation(demo, truth_as_detection):
    from napari.components import ViewerModel

    viewer = ViewerModel()
    result = pipeline.run([simulated().image], SHARED_PROFILE)
    demo.show(viewer, result)
    names = [layer.name for layer in viewer.layers]
    assert names[:3] == ["alloy", "alloy · sites", "alloy · defects"]
    for name in ("SeTe", "2Te", "SV", "DV"):
        assert f"{name} · average" in names
        assert f"{name} · displacement" in names
        assert any(f"{name} · dilation" in layer for layer in names)
    assert len(viewer.layers["alloy · defects"].data) == (simulated().class_index > 1).sum()
    assert viewer.layers["SeTe · displacement"].length == 40.0
    assert viewer.layers["SV · displacement"].length == 10.0
