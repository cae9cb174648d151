"""Columns that were saved come back onto their image, however other programs count."""

import h5py
import numpy as np
import pandas as pd
import pytest
import roifile
from small_alloy import simulated, true_sites

from napari_defectstrain.io.files import sites_table, write_table
from napari_defectstrain.io.point_files import read_points
from napari_defectstrain.pipeline.opened import material_of_points, open_columns
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.types import DefectStrainError

SIZE = 256


@pytest.fixture(scope="module")
def made():
    return simulated(seed=5, size=SIZE, name="alloy")


def opened(made, path):
    points = read_points(path)
    return open_columns(made.image, points, RunConfig(material=material_of_points(points, "WSe2")))


def near(position, true):
    """Distance of each position from the nearest true one [px]."""
    return np.min(np.linalg.norm(position[:, None] - true[None], axis=-1), axis=1)


def test_our_own_table_comes_back_as_it_was(made, tmp_path):
    sites = true_sites(made)
    path = tmp_path / "alloy.sites.csv"
    write_table(path, sites_table(sites, made.image.pixel_size_pm))
    found = opened(made, path)
    np.testing.assert_allclose(found.sites.position_px, sites.position_px, atol=1e-6)
    assert (found.sites.class_name == sites.class_name).all()
    assert found.regions.labels.shape == made.image.data.shape
    assert found.notes == ()


def test_points_of_napari_stay_where_they_were(made, tmp_path):
    sites = true_sites(made)
    sites = sites.subset(sites.class_index > 1)
    table = pd.DataFrame(sites.position_px, columns=["axis-0", "axis-1"])
    table["class"], table["probability"] = sites.class_name, 0.75
    table["source"] = "manual"
    table.to_csv(tmp_path / "defects.csv", index_label="index")
    found = opened(made, tmp_path / "defects.csv")
    assert found.sites is None
    np.testing.assert_allclose(found.position_px, sites.position_px)
    assert (found.classes == sites.class_name).all()


def write_imagej(path, xy):
    """ImageJ's results, as *Find Maxima… > List* gives them."""
    table = pd.DataFrame({" ": np.arange(1, len(xy) + 1), "X": xy[:, 0], "Y": xy[:, 1]})
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda xy: xy, None),
        (lambda xy: xy + 1, "pixels count from 1"),
        (lambda xy: xy + 0.5, "off in y"),
        (lambda xy: np.stack([xy[:, 0], SIZE - 1 - xy[:, 1]], axis=1), "y counts from the bottom"),
    ],
)
def test_imagej_is_understood_by_the_picture(made, tmp_path, change, said):
    true = made.position_px
    bright = true[made.class_index != 5]  # double vacancies are no maxima
    write_imagej(tmp_path / "Results.csv", change(bright[:, ::-1]))
    found = opened(made, tmp_path / "Results.csv")
    # places of double vacancies, which the file lacks, are those of the lattice: not relaxed
    assert near(found.position_px, true).max() < 0.6
    notes = [note for note in found.notes if "made good" in note]
    assert ([said in note for note in notes] == [True]) if said else (notes == [])
    as_usual = [note for note in found.notes if "counts pixels from 0, y down" in note]
    assert len(as_usual) == (said is None)  # which way it was read is always said
    assert all("\n" not in note for note in found.notes)


def test_positions_without_classes_get_them_from_the_picture(made, tmp_path):
    true = made.position_px
    kept = made.class_index != 5
    sublattices = {"A": true[made.class_index == 0], "B": true[kept & (made.class_index != 0)]}
    with h5py.File(tmp_path / "lattice.hdf5", "w") as file:
        for name, position in sublattices.items():
            file[f"{name}_sublattice/atom_positions"] = position[:, ::-1]
    found = opened(made, tmp_path / "lattice.hdf5")
    sites = found.sites
    order = np.argmin(np.linalg.norm(sites.position_px[:, None] - true[None], axis=-1), axis=1)
    inside = ((true > 20) & (true < SIZE - 20)).all(axis=1)[order]
    right = sites.class_index == made.class_index[order]
    assert right[inside & (sites.class_index == 0)].all()
    assert right[inside].mean() > 0.98
    assert any("without classes" in note for note in found.notes)


def test_pairs_of_atomap_are_x_and_y(made, tmp_path):
    np.save(tmp_path / "positions.npy", made.position_px[:, ::-1])
    points = read_points(tmp_path / "positions.npy")
    np.testing.assert_array_equal(points.position, made.position_px)
    np.savetxt(tmp_path / "bare.csv", made.position_px[:, ::-1], delimiter=",", fmt="%.9f")
    frame = pd.DataFrame(made.position_px[:, ::-1])
    frame.to_csv(tmp_path / "frame.csv")
    frame.to_csv(tmp_path / "frame.tsv", index=False, sep="\t")
    for name in ("bare.csv", "frame.csv", "frame.tsv"):
        found = read_points(tmp_path / name)
        np.testing.assert_allclose(found.position, made.position_px, atol=1e-8)
        assert found.classes == ()
    (tmp_path / "three.csv").write_text("1,2,3\n4,5,6\n")
    assert read_points(tmp_path / "three.csv") is None
    np.save(tmp_path / "image.npy", np.zeros((40, 40)))
    assert read_points(tmp_path / "image.npy") is None


def points_of(xy, name="points"):
    """A point selection of ImageJ."""
    roi = roifile.ImagejRoi.frompoints(xy, name=name)
    roi.roitype = roifile.ROI_TYPE.POINT
    return roi


def test_regions_of_interest_of_imagej(tmp_path):
    xy = np.array([[3.0, 5.0], [10.0, 7.0]])
    points_of(xy).tofile(tmp_path / "a.roi")
    np.testing.assert_allclose(read_points(tmp_path / "a.roi").position, xy[:, ::-1])
    rois = [points_of(xy, "SV"), points_of(xy + 20, "DV")]
    roifile.roiwrite(tmp_path / "set.zip", rois)
    found = read_points(tmp_path / "set.zip")
    assert len(found) == 4
    assert list(found.table["label"])[:2] == ["SV", "SV"]
    (tmp_path / "bad.roi").write_bytes(b"Iout" + bytes(3))
    with pytest.raises(DefectStrainError, match="damaged"):
        read_points(tmp_path / "bad.roi")


def test_tables_of_something_else_are_left_to_others(tmp_path):
    (tmp_path / "spectrum.csv").write_text("energy,counts\n1,2\n")
    (tmp_path / "text.csv").write_text("")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    (tmp_path / "broken.h5").write_bytes(b"nothing")
    for name in ("spectrum.csv", "text.csv", "other.h5", "broken.h5"):
        assert read_points(tmp_path / name) is None


def test_positions_of_another_image_are_refused(made, tmp_path):
    other = simulated(seed=6, size=SIZE, rotation_deg=23.0, name="other")
    write_imagej(tmp_path / "Results.csv", other.position_px[:, ::-1])
    with pytest.raises(DefectStrainError, match="another image|in several ways"):
        opened(made, tmp_path / "Results.csv")


def test_classes_of_no_material_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("y_px,x_px,class\n1,2,Unobtainium\n")
    with pytest.raises(DefectStrainError, match="Unobtainium"):
        material_of_points(read_points(tmp_path / "x.csv"), "WSe2")
