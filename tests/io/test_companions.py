"""Companions of many kinds in, averages that HyperSpy's readers understand out."""

import h5py
import numpy as np
import pytest
from rsciio import hspy

from napari_defectstrain.io.companions import (
    Companion,
    read_companion,
    scan_notes,
    write_averaged,
)
from napari_defectstrain.types import CalibratedImage, DefectStrainError

ENERGY = {"name": "Energy loss", "units": "eV", "scale": 0.5, "offset": 400.0}


def test_axes_and_numbers_come_back(tmp_path):
    data = np.arange(5 * 5 * 8, dtype=np.float32).reshape(5, 5, 8)
    path = tmp_path / "average.hspy"
    write_averaged(path, data, 40.0, Companion(data, (ENERGY,), "EELS"), {"class": "SV"})
    (found,) = hspy.file_reader(str(path))
    np.testing.assert_array_equal(found["data"], data)
    y, x, energy = found["axes"]
    assert (y["name"], y["scale"], y["offset"], y["units"]) == ("y", -40.0, 80.0, "pm")
    assert (x["scale"], x["offset"], x["navigate"]) == (40.0, -80.0, True)
    assert {k: energy[k] for k in ENERGY} == ENERGY
    assert found["metadata"]["Signal"]["signal_type"] == "EELS"
    # what reads HDF5 alone (py4DSTEM takes arrays) finds the array, too
    with h5py.File(path) as file:
        assert file["Experiments/average/data"].shape == (5, 5, 8)


def test_a_hspy_file_is_read_lazily_with_its_axes(tmp_path):
    data = np.random.default_rng(0).poisson(3, (6, 7, 9)).astype(np.uint16)
    path = tmp_path / "spectra.hspy"
    write_averaged(path, data, 40.0, Companion(data, (ENERGY,), "EELS"), {})
    found = read_companion(path)
    assert hasattr(found.data, "dask")
    assert found.data.shape == (6, 7, 9)
    assert found.signal_type == "EELS"
    assert found.axes[0]["offset"] == 400.0
    np.testing.assert_array_equal(np.asarray(found.data[2:4, 1:3]), data[2:4, 1:3])


def test_zarr_is_written_and_read(tmp_path):
    pytest.importorskip("zarr")
    data = np.ones((3, 3, 4, 4), dtype=np.float32)
    path = tmp_path / "average.zarr"
    write_averaged(path, data, 40.0, Companion(data), {})
    np.testing.assert_array_equal(np.asarray(read_companion(path).data), data)


def test_plain_arrays_are_mapped(tmp_path):
    data = np.arange(60.0).reshape(3, 4, 5)
    np.save(tmp_path / "scan.npy", data)
    found = read_companion(tmp_path / "scan.npy")
    np.testing.assert_array_equal(np.asarray(found.data), data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, "no such file"),
        ("a.docx", b"x", "expected one of"),
        ("a.npy", b"x", "can't be read"),
        ("a.hspy", b"x", "can't be read"),
    ],
)
def test_what_is_no_companion_is_said(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DefectStrainError, match=message):
        read_companion(tmp_path / name)


def test_one_axis_is_no_scan(tmp_path):
    np.save(tmp_path / "line.npy", np.zeros(4))
    with pytest.raises(DefectStrainError, match="expected two of the scan"):
        read_companion(tmp_path / "line.npy")
    with pytest.raises(DefectStrainError, match="expected one of hspy, zarr"):
        write_averaged(tmp_path / "a.tif", np.zeros((2, 2)), 40.0, Companion(None), {})


@pytest.mark.parametrize(("step_pm", "told"), [(400.0, ""), (100.0, "5 x 5 nm"), (412.0, "")])
def test_a_scan_of_another_size_than_its_image_is_told(tmp_path, step_pm, told):
    """A flake scanned again at another magnification has the same shape, and is no companion."""
    data = np.zeros((50, 50, 3), dtype=np.float32)
    write_averaged(tmp_path / "spectra.hspy", data, step_pm, Companion(data, (ENERGY,)), {})
    found = read_companion(tmp_path / "spectra.hspy")
    assert found.scan_pm == pytest.approx((step_pm, step_pm))
    image = CalibratedImage(np.zeros((200, 200)), 100.0, "region")
    notes = scan_notes([found], [image])
    assert len(notes) == bool(told)
    assert all(told in note and "20 x 20 nm" in note for note in notes)
    assert scan_notes([Companion(data, name="plain")], [image]) == []
