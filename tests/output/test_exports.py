"""What is exported is read back by the programs that it is for."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.cli.main import main
from napari_defectstrain.io import write_json, write_tiff
from napari_defectstrain.io.out_folder import file_sha256
from napari_defectstrain.io.writing import atomic_folder
from napari_defectstrain.output import export_results
from napari_defectstrain.output.exports import EXPORT_FORMATS
from napari_defectstrain.types import DefectStrainError

STEP_PM = 8.0


@pytest.fixture
def results(tmp_path):
    """A folder of results with two classes, one column without a position."""
    folder = tmp_path / "results"
    folder.mkdir()
    site = np.array([[0.0, 0.0], [164.0, -95.0], [-164.0, -95.0], [0.0, 190.0]])
    columns = pd.DataFrame(
        {
            "class": ["2Se"] * 4 + ["DV"] * 4,
            "sublattice": ["chalcogen", "metal", "metal", "metal"] * 2,
            "site_x_pm": np.tile(site[:, 0], 2),
            "site_y_pm": np.tile(site[:, 1], 2),
            "x_pm": np.tile(site[:, 0], 2) + 1.5,
            "y_pm": np.tile(site[:, 1], 2) - 2.25,
            "sigma_x_pm": 0.5,
            "sigma_y_pm": 0.25,
            "flag": [0, 0, 0, 0, 4, 0, 0, 0],
            "weight": [0.7, 1.0, 1.0, 1.0, np.nan, 1.0, 1.0, 1.0],
        }
    )
    columns.loc[4, ["x_pm", "y_pm", "sigma_x_pm", "sigma_y_pm"]] = np.nan
    displacement = columns[columns["class"] == "DV"].copy()
    displacement["ux_pm"], displacement["uy_pm"] = 1.5, -2.25
    displacement = displacement.drop(columns=["x_pm", "y_pm", "flag", "weight"])
    columns.to_csv(folder / "columns.csv", index=False)
    displacement.to_csv(folder / "displacement.csv", index=False)
    write_json(folder / "run.json", {"parameters": {"material": "WSe2"}, "files": []})
    for k, name in enumerate(("2Se", "DV")):
        average = np.random.default_rng(k).normal(size=(21, 21)).astype(np.float32)
        about = {"class": name, "n": 12 + k, "frame": "lattice frame", "step_pm": STEP_PM}
        write_tiff(folder / f"average_{name}.tif", average, STEP_PM, about)
    return folder


def pixels(k):
    return np.random.default_rng(k).normal(size=(21, 21)).astype(np.float32)


def test_columns_are_read_by_ase(results, tmp_path):
    from ase.io import read

    written = export_results(results, tmp_path / "out", ["extxyz"])
    assert [path.name for path in written] == ["columns_2Se.extxyz", "columns_DV.extxyz"]
    pristine, defect = (read(path) for path in written)
    assert pristine.get_chemical_symbols() == ["Se", "W", "W", "W"]
    np.testing.assert_allclose(pristine.positions[1], [1.655, -0.9725, 0], atol=1e-8)  # Å
    assert "displacement" not in pristine.arrays  # it is what others are measured against
    assert len(defect) == 3  # an empty column has no position
    assert defect.info["columns_without_position"] == 1
    assert defect.info["class"] == "DV"
    np.testing.assert_allclose(defect.arrays["displacement"], [[0.015, -0.0225, 0]] * 3)
    np.testing.assert_allclose(defect.arrays["displacement_sigma"], [[0.005, 0.0025, 0]] * 3)
    np.testing.assert_allclose(
        defect.positions - defect.arrays["site"], defect.arrays["displacement"], atol=1e-8
    )
    assert defect.arrays["flag"].tolist() == [0, 0, 0]


def test_averages_are_read_by_rosettasciio(results, tmp_path):
    from rsciio.hspy import file_reader

    written = export_results(results, tmp_path / "out", ["hspy"])
    for k, path in enumerate(written):
        (signal,) = file_reader(str(path))
        np.testing.assert_array_equal(signal["data"], pixels(k))
        # y up, row 0 the largest: as in the tables, and in the companions' files
        assert [(a["name"], a["scale"]) for a in signal["axes"]] == [
            ("y", -STEP_PM),
            ("x", STEP_PM),
        ]
        for axis in signal["axes"]:
            assert axis["units"] == "pm"
            assert axis["offset"] + 10 * axis["scale"] == 0  # the defect's site is the origin
        assert signal["original_metadata"]["n"] == 12 + k
        assert signal["metadata"]["General"]["title"] == path.stem


def test_averages_are_read_as_ome_zarr(results, tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    for _ in range(2):  # a second time over the first
        written = export_results(results, tmp_path / "out", ["ome-zarr"], force=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "average_2Se.ome.zarr",
        "average_DV.ome.zarr",
    ]
    for k, path in enumerate(written):
        group = zarr.open_group(path, mode="r")
        (scales,) = group.attrs["ome"]["multiscales"]
        (level,) = scales["datasets"]
        np.testing.assert_array_equal(group[level["path"]][:], pixels(k))
        scale, moved = level["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [STEP_PM, STEP_PM]}
        assert moved == {"type": "translation", "translation": [-80.0, -80.0]}
        assert [axis["unit"] for axis in scales["axes"]] == ["picometer"] * 2
        # zarr 3 as anyone finds it on the disk
        assert json.loads((path / "zarr.json").read_text())["zarr_format"] == 3


def test_what_can_not_be_exported_is_named(results, tmp_path):
    with pytest.raises(DefectStrainError, match="got csv, expected some of extxyz"):
        export_results(results, tmp_path / "out", ["csv"])
    with pytest.raises(DefectStrainError, match="got a folder without measurements"):
        export_results(tmp_path, tmp_path / "out")
    (results / "columns.csv").unlink()
    with pytest.raises(DefectStrainError, match="got a folder without measurements"):
        export_results(results, tmp_path / "out")


def test_what_a_hand_changed_is_exported_and_said(results, tmp_path, capsys):
    table = results / "columns.csv"
    about = {"parameters": {"material": "WSe2"}, "files": ["columns.csv"]}
    write_json(results / "run.json", {**about, "sha256": {"columns.csv": file_sha256(table)}})
    options = ["export", str(results), "--out", str(tmp_path / "out"), "--formats", "extxyz"]
    assert main(options) == 0
    assert capsys.readouterr().err == ""
    table.write_text(table.read_text().replace("0.25", "0.26"))
    assert main([*options, "--force"]) == 0
    assert "exported as changed by hand after the run: columns.csv" in capsys.readouterr().err


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_nothing_that_is_there_is_replaced_unasked(results, tmp_path, capsys, kind):
    if kind == "ome-zarr":
        pytest.importorskip("zarr", minversion="3")
    out = tmp_path / "out"
    options = ["export", str(results), "--out", str(out), "--formats", f"extxyz,{kind}"]
    written = export_results(results, out, [kind])
    own = written[-1] / "by hand.txt" if written[-1].is_dir() else written[-1]
    own.write_text("mine")
    before = contents(out)
    assert main(options) == 2
    said = capsys.readouterr().err
    assert f"{written[0].name}, {written[1].name} would be replaced; choose another folder" in said
    assert "--force" in said and said.count("\n") == 1
    assert contents(out) == before  # nor is anything written beside it
    assert main([*options, "--force"]) == 0
    assert not own.exists() or own.read_bytes() != b"mine"
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_folder_that_can_not_take_its_place_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "average.ome.zarr"
    path.mkdir()
    (path / "mine").write_text("kept")
    rename = Path.rename

    def full(self, target):
        if self.name.endswith(path.name) and (self / "new").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(DefectStrainError, match="free some space"), atomic_folder(path) as part:
        part.mkdir()
        (part / "new").touch()
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith("zarr")] == [path.name]
    assert (path / "mine").read_text() == "kept"
    monkeypatch.undo()
    with atomic_folder(path) as part:
        part.mkdir()
        (part / "new").touch()
    assert [p.name for p in path.iterdir()] == ["new"]
