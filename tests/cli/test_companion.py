"""``defectstrain companion``: from a run's folder and a file that was scanned along to averages."""

import json

import numpy as np
import pandas as pd
import pytest
from rsciio import hspy
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.cli.main import main
from napari_defectstrain.io.companions import Companion, write_averaged
from napari_defectstrain.io.files import sites_table, write_json, write_table
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.simulate.companions import SpectrumConfig, simulate_spectra
from napari_defectstrain.simulate.samples import write_simulated


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An image, its columns, its spectrum image, and the folder of a detection."""
    folder = tmp_path_factory.mktemp("companion")
    made = simulated(seed=1, size=400)
    write_simulated(made, folder.joinpath)
    write_table(folder / f"{made.name}.sites.csv", sites_table(true_sites(made), 20.74))
    write_json(folder / "quick.json", QUICK)
    config = SpectrumConfig(channels=16, line_channel=(3.0, 7.0, 12.0), counts=(40.0, 20.0, 150.0))
    spectra = simulate_spectra(made, config, np.random.default_rng(0))
    axis = {"name": "Energy loss", "units": "eV", "scale": 2.0, "offset": 100.0}
    write_averaged(folder / "eels.hspy", spectra, 41.48, Companion(spectra, (axis,), "EELS"), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "DPI", 40)
        arguments = ["--sites", str(folder), "--config", str(folder / "quick.json")]
        image = str(folder / f"{made.name}.tif")
        assert main(["detect", image, *arguments, "--out", str(folder / "run")]) == 0
    return folder


def test_the_run_knows_its_images_and_the_files_open(work, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--window-nm", "1.0", "--step-pm", "50"]
    run = str(work / "run")
    assert main(["companion", run, str(work / "eels.hspy"), "--out", str(out), *arguments]) == 0
    assert "SV" in capsys.readouterr().out
    (found,) = hspy.file_reader(str(out / "companion_SV_difference.hspy"))
    (error,) = hspy.file_reader(str(out / "companion_SV_difference_sigma.hspy"))
    assert found["data"].shape == (21, 21, 16)
    assert found["axes"][2]["offset"] == 100.0
    assert found["metadata"]["Signal"]["signal_type"] == "EELS"
    core = np.s_[9:12, 9:12, 10:15]
    assert found["data"][core].sum() > 10 * np.sqrt((error["data"][core] ** 2).sum())
    table = pd.read_csv(out / "companion.csv")
    assert (table["n"] > 0).all()
    listed = json.loads((out / "companion.json").read_text())
    assert "companion_2Se.hspy" in listed["files"]
    assert listed["companion"]["step_pm"] == 50.0
    assert listed["companion_of"] == {"alloy": str(work / "eels.hspy")}


def test_an_image_that_has_gone_is_named(work, tmp_path, capsys):
    text = (work / "run" / "run.json").read_text()
    other = tmp_path / "run"
    other.mkdir()
    (other / "run.json").write_text(text.replace("alloy.tif", "elsewhere.tif"))
    arguments = [str(other), str(work / "eels.hspy"), "--out", str(tmp_path / "out")]
    assert main(["companion", *arguments]) == 2
    assert "is no longer there" in capsys.readouterr().err


def test_one_file_an_image(work, tmp_path, capsys):
    file = str(work / "eels.hspy")
    run = str(work / "run")
    assert main(["companion", run, file, file, "--out", str(tmp_path / "out")]) == 2
    assert "expected one each" in capsys.readouterr().err
