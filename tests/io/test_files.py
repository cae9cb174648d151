"""Reading images in every format, bad input, and writing without half-written files."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from microscope_files import WRITERS, write_dm, write_emd, write_mrc, write_ser, write_velox
from PIL import Image

from napari_defectstrain.io.files import (
    SUFFIXES,
    atomic_path,
    read_datasets,
    read_file,
    read_images,
    read_sites,
    sites_table,
    validate_image,
    write_json,
    write_table,
    write_tiff,
)
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
# DM and MRC files keep their scale as float32, ImageJ as a fraction of 32-bit integers.
SINGLE = 1e-7


@pytest.fixture
def frame(rng):
    """A small image of counts, not square, so that a transposition shows."""
    return rng.poisson(50, (40, 48)).astype(np.uint16)


@pytest.fixture
def frames(rng):
    return rng.poisson(50, (3, 40, 48)).astype(np.uint16)


# ------------------------------------------------------------------ formats


@pytest.mark.parametrize("suffix", [".dm3", ".dm4"])
def test_dm_gives_scale_energy_and_dwell_time(tmp_path, frame, suffix):
    path = write_dm(tmp_path / f"a{suffix}", frame, scale=0.02074)
    found = read_file(path)
    assert np.array_equal(found.data, frame)
    assert found.data.dtype == np.uint16
    assert found.pixel_size_pm == pytest.approx(20.74, rel=SINGLE)
    assert found.metadata["beam_energy_kev"] == 80.0
    assert found.metadata["dwell_time_us"] == 2.0
    assert found.metadata["source"] == f"a{suffix}"


@pytest.mark.parametrize("suffix", [".dm3", ".dm4"])
def test_dm_stack(tmp_path, frames, suffix):
    found = read_file(write_dm(tmp_path / f"a{suffix}", frames))
    assert found.is_stack
    assert np.array_equal(found.data, frames)
    assert found.pixel_size_pm == pytest.approx(20.0, rel=SINGLE)


def test_ser_series_and_single_image(tmp_path, frames):
    found = read_file(write_ser(tmp_path / "a_1.ser", frames, 20.74e-12))
    assert np.array_equal(found.data, frames)
    assert found.pixel_size_pm == pytest.approx(20.74)
    found = read_file(write_ser(tmp_path / "b_1.ser", frames[:1], 20.74e-12))
    assert np.array_equal(found.data, frames[0])


def test_mrc_image_stack_and_missing_calibration(tmp_path, frame, frames):
    found = read_file(write_mrc(tmp_path / "a.mrc", frame, 0.2074))
    assert np.array_equal(found.data, frame)
    assert found.pixel_size_pm == pytest.approx(20.74, rel=SINGLE)
    assert read_file(write_mrc(tmp_path / "b.mrc", frames, 0.2)).data.shape == (3, 40, 48)
    assert read_file(write_mrc(tmp_path / "c.mrc", frame, 0.0)).pixel_size_pm is None


@pytest.mark.slow
def test_berkeley_emd(tmp_path, frame):
    found = read_file(write_emd(tmp_path / "a.emd", frame, 0.02074))
    assert np.array_equal(found.data, frame)
    assert found.pixel_size_pm == pytest.approx(20.74)


def test_velox_emd_takes_haadf_of_several_detectors(tmp_path, frame):
    path = tmp_path / "a.emd"
    write_velox(path, {"BF": frame + 1, "HAADF": frame, "DF4": frame + 2}, 20.74e-12)
    found = read_file(path)
    assert np.array_equal(found.data, frame)
    assert found.name == "a[HAADF]"
    assert found.pixel_size_pm == pytest.approx(20.74)
    assert found.metadata["beam_energy_kev"] == 80.0
    assert found.metadata["semi_angle_mrad"] == 25.0
    assert found.metadata["dwell_time_us"] == 2.0
    assert "3 images (BF, HAADF, DF4); took a[HAADF]" in found.metadata["warnings"][0]
    assert [entry.name for entry in read_datasets(path)] == ["a[BF]", "a[HAADF]", "a[DF4]"]


def test_velox_series(tmp_path, frames):
    found = read_file(write_velox(tmp_path / "a.emd", {"HAADF": frames}, 20.74e-12))
    assert np.array_equal(found.data, frames)


@pytest.mark.parametrize(
    ("unit", "side"), [("nm", 0.02074), ("\\u00C5", 0.2074), ("\\u00B5m", 2.074e-5), ("pm", 20.74)]
)
def test_imagej_tiff_in_any_unit(tmp_path, frame, unit, side):
    path = tmp_path / "a.tif"
    per_unit = (1 / side, 1 / side)
    tifffile.imwrite(path, frame, imagej=True, resolution=per_unit, metadata={"unit": unit})
    found = read_file(path)
    assert np.array_equal(found.data, frame)
    # The fraction's denominator, up to 2^32, limits how well small sides are kept.
    assert found.pixel_size_pm == pytest.approx(20.74, rel=1e-4)


def test_ome_tiff(tmp_path, frames):
    path = tmp_path / "a.ome.tif"
    size = {"PhysicalSizeX": 0.02074, "PhysicalSizeXUnit": "nm"}
    size |= {"PhysicalSizeY": 0.02074, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(path, frames, metadata={"axes": "TYX", **size})
    found = read_file(path)
    assert np.array_equal(found.data, frames)
    assert found.pixel_size_pm == pytest.approx(20.74)


def test_each_side_of_ome_tiff_has_its_own_unit(tmp_path, frame):
    path = tmp_path / "a.ome.tif"
    size = {"PhysicalSizeX": 0.02074, "PhysicalSizeXUnit": "nm"}
    size |= {"PhysicalSizeY": 0.2074, "PhysicalSizeYUnit": "Å"}
    tifffile.imwrite(path, frame, ome=True, metadata={"axes": "YX", **size})
    assert read_file(path).pixel_size_pm == pytest.approx(20.74)
    size |= {"PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "pixel"}
    tifffile.imwrite(path, frame, ome=True, metadata={"axes": "YX", **size})
    found = read_file(path)
    assert found.pixel_size_pm is None
    assert "different units down (pixel)" in found.metadata["warnings"][0]


def test_tiff_saved_by_digital_micrograph(tmp_path, frame):
    # DM's private tags: 65003-65004 units, 65009-65010 scales, as a string and a double.
    tags = [(code, 2, 3, "nm", True) for code in (65003, 65004)]
    tags += [(code, 12, 1, 0.02074, True) for code in (65009, 65010)]
    tags += [(code, 12, 1, 0.0, True) for code in (65006, 65007)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frame, extratags=tags, metadata=None)
    assert read_file(path).pixel_size_pm == pytest.approx(20.74)


def test_tiff_dots_per_inch_are_no_calibration(tmp_path, frame):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frame, resolution=(72, 72), resolutionunit="INCH", metadata=None)
    found = read_file(path)
    assert found.pixel_size_pm is None
    assert "warnings" not in found.metadata


def test_tiff_pixels_per_centimetre(tmp_path, frame):
    path = tmp_path / "a.tif"
    # 1 cm / 25 pm = 4e8 pixels, which the tag's 32-bit fraction holds.
    tifffile.imwrite(path, frame, resolution=(4e8, 4e8), resolutionunit=3, metadata=None)
    assert read_file(path).pixel_size_pm == pytest.approx(25.0)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "P"])
def test_grey_png_of_any_kind_opens_in_pixels(tmp_path, frame, mode):
    path = tmp_path / "a.png"
    small = frame.astype(np.uint8)
    grey = Image.fromarray(small)
    (Image.fromarray(frame) if mode == "I;16" else grey.convert(mode)).save(path)
    found = read_file(path)
    assert np.array_equal(found.data, small)
    assert found.pixel_size_pm is None


def test_npy_image_and_stack(tmp_path, frames):
    np.save(tmp_path / "a.npy", frames)
    assert np.array_equal(read_file(tmp_path / "a.npy").data, frames)
    np.save(tmp_path / "b.npy", frames[:1].astype(">f4"))
    found = read_file(tmp_path / "b.npy")
    assert found.data.shape == (40, 48)
    assert found.data.dtype == np.float32
    assert found.data.dtype.isnative


def test_suffix_in_capitals(tmp_path, frame):
    path = write_dm(tmp_path / "a.dm3", frame)
    path = path.rename(tmp_path / "A.DM3")
    assert np.array_equal(read_file(path).data, frame)


def test_images_of_a_stack_are_named_and_exact(tmp_path, frames):
    write_tiff(tmp_path / "a.tif", frames, 20.0, {"beam_energy_kev": 80.0})
    images = read_images(tmp_path / "a.tif")
    assert [image.name for image in images] == ["a[0]", "a[1]", "a[2]"]
    for image, frame in zip(images, frames, strict=True):
        assert image.data.dtype == np.float32
        assert np.array_equal(image.data, frame)
        assert image.pixel_size_pm == 20.0
        assert image.metadata["beam_energy_kev"] == 80.0


def test_large_counts_stay_exact(tmp_path):
    data = np.full((40, 40), 2**24 + 1, dtype=np.uint32)
    data[0, 0] = 0
    np.save(tmp_path / "a.npy", data)
    (image,) = read_images(tmp_path / "a.npy")
    assert image.data[5, 5] == 2**24 + 1


# ------------------------------------------------------------------ calibration


def test_absurd_calibration_is_kept_apart(tmp_path, frame):
    found = read_file(write_dm(tmp_path / "a.dm3", frame, scale=20.0))  # 20 nm a pixel
    assert found.pixel_size_pm is None
    assert found.metadata["stated_pixel_size_pm"] == pytest.approx(20e3)
    assert "outside 1-200 pm" in found.metadata["warnings"][0]


def test_unknown_unit_is_no_calibration(tmp_path, frame):
    found = read_file(write_dm(tmp_path / "a.dm3", frame, unit="furlong"))
    assert found.pixel_size_pm is None
    assert "furlong" in found.metadata["warnings"][0]


def test_pixels_without_unit_are_no_calibration(tmp_path, frame):
    found = read_file(write_dm(tmp_path / "a.dm3", frame, scale=1.0, unit=""))
    assert found.pixel_size_pm is None
    assert "warnings" not in found.metadata


def test_oblong_pixels_are_refused(tmp_path, frame):
    path = write_dm(tmp_path / "a.dm3", frame, scale=0.02, scale_y=0.0201)
    with pytest.raises(DefectStrainError, match=r"20\.1 x 20 pm .*expected square"):
        read_file(path)
    # 0.05 % is rounding, not shape.
    near = write_dm(tmp_path / "b.dm3", frame, scale=0.02, scale_y=0.02001)
    assert read_file(near).pixel_size_pm == pytest.approx(20.0, rel=SINGLE)


def test_an_axis_that_runs_backwards_has_pixels_as_wide(tmp_path, frame):
    side = {"PhysicalSizeX": -0.02, "PhysicalSizeY": -0.02}
    units = {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, frame, ome=True, metadata={"axes": "YX", **side, **units})
    assert read_file(path).pixel_size_pm == pytest.approx(20.0)


def test_diffraction_pattern_is_refused(tmp_path, frame):
    path = write_dm(tmp_path / "a.dm3", frame, unit="1/nm")
    with pytest.raises(DefectStrainError, match="diffraction pattern"):
        read_file(path)


# ------------------------------------------------------------------ bad input


def test_missing_file(tmp_path):
    with pytest.raises(DefectStrainError, match="no such file"):
        read_images(tmp_path / "a.tif")


def test_folder(tmp_path):
    with pytest.raises(DefectStrainError, match="got a folder"):
        read_images(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(tmp_path, frame):
    folder = tmp_path / "locked"
    folder.mkdir()
    write_tiff(folder / "a.tif", frame, 20.0)
    folder.chmod(0)
    try:
        with pytest.raises(DefectStrainError, match="can't be read: Permission denied"):
            read_images(folder / "a.tif")
    finally:
        folder.chmod(0o700)


def test_unreadable_file(tmp_path, frame, monkeypatch):
    write_tiff(tmp_path / "a.tif", frame, 20.0)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(DefectStrainError, match="can't be read: Permission denied"):
        read_images(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_file(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(DefectStrainError, match="the file is empty"):
        read_images(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_not_an_image(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_text("Dear Sir or Madam, " * 200)
    with pytest.raises(DefectStrainError, match=rf"not a readable \{suffix} image"):
        read_images(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("name", ["a.docx", "a"])
def test_unknown_suffix(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(DefectStrainError, match="not a known kind of image"):
        read_images(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_opens(tmp_path, frame, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, frame)
    (image,) = read_images(path)
    assert np.array_equal(image.data, frame)


@pytest.mark.parametrize("kept", [0.0005, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_off_file(tmp_path, frame, suffix, kept):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, frame)
    raw = path.read_bytes()
    path.write_bytes(raw[: max(1, int(kept * len(raw)))])
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(path)


def test_pickled_npy_is_not_executed(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DefectStrainError, match="not a readable"):
        read_images(tmp_path / "a.npy")


def test_complex_values(tmp_path, frame):
    np.save(tmp_path / "a.npy", frame.astype(complex))
    with pytest.raises(DefectStrainError, match="complex values"):
        read_images(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_colour(tmp_path, rng, suffix):
    path = tmp_path / f"a{suffix}"
    colour = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
    if suffix == ".npy":
        np.save(path, colour)
    elif suffix == ".tif":
        tifffile.imwrite(path, colour, photometric="rgb")
    else:
        Image.fromarray(colour).save(path)
    with pytest.raises(DefectStrainError, match="colour image"):
        read_images(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf(tmp_path, frame, value):
    data = frame.astype(np.float32)
    data[3, 4] = value
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(DefectStrainError, match="1 pixels that are NaN or infinite"):
        read_images(tmp_path / "a.npy")


def test_constant(tmp_path):
    np.save(tmp_path / "a.npy", np.full((40, 40), 7.0))
    with pytest.raises(DefectStrainError, match="the value 7 in every pixel"):
        read_images(tmp_path / "a.npy")


def test_constant_frame_of_a_stack_is_named(tmp_path, frames):
    data = frames.copy()
    data[1] = 3
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(DefectStrainError, match=r"a\[1\]: got the value 3"):
        read_images(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(1, 1), (31, 200)])
def test_too_small(tmp_path, rng, shape):
    np.save(tmp_path / "a.npy", rng.random(shape))
    with pytest.raises(DefectStrainError, match="expected at least 32 x 32"):
        read_images(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_too_large_is_refused_before_it_is_loaded(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    shape = (16385, 20000)
    if suffix == ".npy":
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    elif suffix == ".tif":
        tifffile.memmap(path, shape=shape, dtype=np.uint8).flush()
    else:
        Image.fromarray(np.zeros((1, 1), np.uint8)).save(path)
        raw = bytearray(path.read_bytes())
        raw[16:24] = shape[1].to_bytes(4, "big") + shape[0].to_bytes(4, "big")
        path.write_bytes(raw)
    with pytest.raises(DefectStrainError, match="20000 x 16385 px, expected at most.*crop it"):
        read_images(path)


@pytest.mark.parametrize("shape", [(40,), (2, 3, 40, 40)])
def test_wrong_number_of_dimensions(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(DefectStrainError, match=r"expected an image \(H, W\) or a stack"):
        read_images(tmp_path / "a.npy")


def test_validate_image_accepts_a_good_one_and_does_not_touch_it(frame):
    data = frame.astype(np.float32)
    validate_image(CalibratedImage(data, 20.0))
    assert np.array_equal(data, frame)


def test_validate_image_refuses_complex(frame):
    with pytest.raises(DefectStrainError, match="complex values"):
        validate_image(CalibratedImage(frame.astype(complex), 20.0))


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32])
def test_tiff_round_trip(tmp_path, frame, dtype):
    metadata = {
        "beam_energy_kev": 80.0,
        "unit": 'µ = é, "quoted" = yes\nnext line',
        "origin_px": [1],
    }
    write_tiff(tmp_path / "a.tif", frame.astype(dtype), 20.74, metadata)
    found = read_file(tmp_path / "a.tif")
    assert np.array_equal(found.data, frame)
    assert found.pixel_size_pm == 20.74  # exactly: it also lies in the JSON
    assert {key: found.metadata[key] for key in metadata} == metadata
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:  # older tifffile drops other lines
        assert all(line.count("=") == 1 for line in tiff.pages[0].description.split("\n") if line)


def test_imagej_sees_the_scale(tmp_path, frame):
    write_tiff(tmp_path / "a.tif", frame, 20.74)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej
        assert tiff.imagej_metadata["unit"] == "nm"
        pixels, nm = tiff.pages.first.tags["XResolution"].value
        assert nm / pixels == pytest.approx(0.02074, rel=1e-6)
        assert tiff.pages.first.dtype == np.uint16


def test_tiff_compresses_counts(tmp_path, rng):
    counts = rng.poisson(100, (512, 512)).astype(np.uint16)
    write_tiff(tmp_path / "a.tif", counts, 20.74)
    # Poisson(100) has an entropy of log2(10 sqrt(2 pi e)) = 5.4 bits of the 16.
    assert (tmp_path / "a.tif").stat().st_size < 0.6 * counts.nbytes


def test_uncalibrated_tiff(tmp_path, frame):
    write_tiff(tmp_path / "a.tif", frame, None)
    assert read_file(tmp_path / "a.tif").pixel_size_pm is None


def test_channels_come_back_one_by_one(tmp_path, rng):
    maps = rng.normal(size=(3, 40, 48)).astype(np.float32)
    maps[0, 0, 0] = np.nan  # where nothing was measured
    write_tiff(tmp_path / "a.tif", maps, 5.0, {}, channels=["exx", "eyy", "exy"])
    found = read_datasets(tmp_path / "a.tif")
    assert [entry.name for entry in found] == ["a[exx]", "a[eyy]", "a[exy]"]
    for entry, expected in zip(found, maps, strict=True):
        assert np.array_equal(entry.data, expected, equal_nan=True)
        assert entry.pixel_size_pm == 5.0


def test_channels_must_match(tmp_path, frames):
    with pytest.raises(DefectStrainError, match="got 2 channel names"):
        write_tiff(tmp_path / "a.tif", frames, 5.0, channels=["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan])
def test_pixel_size_must_be_positive(tmp_path, frame, size):
    with pytest.raises(DefectStrainError, match="got a pixel size of"):
        write_tiff(tmp_path / "a.tif", frame, size)


def test_writing_does_not_change_its_input(tmp_path, frame):
    before, metadata = frame.copy(), {"a": [1, 2]}
    write_tiff(tmp_path / "a.tif", frame, 20.0, metadata)
    assert np.array_equal(frame, before)
    assert metadata == {"a": [1, 2]}


@dataclass
class _Settings:
    radius_pm: float
    names: tuple[str, ...]


def test_json_of_arrays_dataclasses_and_nan(tmp_path):
    content = {
        "array": np.arange(3),
        "number": np.float32(0.5),
        "nan": float("nan"),
        "settings": _Settings(1.5, ("µ", "b")),
        "path": Path("a/b"),
    }
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "array": [0, 1, 2],
        "number": 0.5,
        "nan": None,
        "settings": {"radius_pm": 1.5, "names": ["µ", "b"]},
        "path": str(Path("a/b")),
    }


def test_json_refuses_what_it_cannot_say(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path, frame):
    with pytest.raises(DefectStrainError, match="can't be written: No such file or directory"):
        write_tiff(tmp_path / "nowhere" / "a.tif", frame, 20.0)


def test_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DefectStrainError, match="can't be written: Not a directory"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_writing_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("before")
    expected = KeyboardInterrupt if error is KeyboardInterrupt else DefectStrainError
    match = "^$" if error is KeyboardInterrupt else "No space left on device; free some space"
    with pytest.raises(expected, match=match), atomic_path(path) as temporary:
        temporary.write_text("half of")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("kind", ["tiff", "table", "json"])
def test_full_disk(tmp_path, kind):
    # A limit on the size of files stands in for the full disk: write() fails half-way.
    code = f"""
import resource, signal, sys
import numpy as np, pandas as pd
from napari_defectstrain import io
from napari_defectstrain.types import DefectStrainError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
noise = np.random.default_rng(0).random((256, 256), dtype=np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
path = sys.argv[1]
try:
    if "{kind}" == "tiff":
        io.write_tiff(path, noise, 20.0)
    elif "{kind}" == "table":
        io.write_table(path, pd.DataFrame(noise))
    else:
        io.write_json(path, noise)
except DefectStrainError as error:
    print(error)
"""
    path = tmp_path / "a.out"
    path.write_text("before")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "can't be written: File too large" in done.stdout
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------ tables of columns


@pytest.fixture
def sites(rng):
    probabilities = rng.dirichlet(np.ones(7), size=8)
    return Sites(
        position_px=rng.uniform(0, 1000, (8, 2)),
        probabilities=probabilities,
        class_index=np.r_[0, probabilities[1:].argmax(axis=1)],
        class_names=NAMES,
        source=np.array(["model"] * 7 + ["manual"]),
    )


def test_sites_table_has_the_promised_columns(sites):
    table = sites_table(sites, 20.0)
    assert list(table.columns) == [
        *("y_px", "x_px", "y_nm", "x_nm", "class", "probability"),
        *("p_W", "p_2Se", "p_SeTe", "p_2Te", "p_SV", "p_DV", "p_other", "source"),
    ]
    # Both are rounded to 6 decimals, the px first scaled by 0.02.
    assert np.allclose(table["y_nm"], table["y_px"] * 0.02, rtol=0, atol=6e-7)
    assert sites_table(sites, None)["x_nm"].isna().all()


def test_sites_round_trip(tmp_path, sites):
    write_table(tmp_path / "a.csv", sites_table(sites, 20.0))
    found = read_sites(tmp_path / "a.csv", NAMES)
    half = 0.5e-6 * (1 + 1e-6)  # rounding to 6 decimals
    assert np.allclose(found.position_px, sites.position_px, rtol=0, atol=half)
    assert np.allclose(found.probabilities, sites.probabilities, rtol=0, atol=half)
    assert np.array_equal(found.class_index, sites.class_index)
    assert list(found.source) == list(sites.source)
    assert found.class_names == NAMES


def test_no_sites_round_trip(tmp_path):
    none = Sites(np.zeros((0, 2)), np.zeros((0, 7)), np.zeros(0, int), NAMES, np.zeros(0, "<U6"))
    write_table(tmp_path / "a.csv", sites_table(none, 20.0))
    assert len(read_sites(tmp_path / "a.csv", NAMES)) == 0


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_table_made_by_hand(tmp_path):
    text = "\ufeffx_px, y_px, class, remark\n10.5, 20, SV, sure\n3, 4, W, \n"
    found = read_sites(write(tmp_path / "a.csv", text), NAMES)
    assert found.position_px.tolist() == [[20.0, 10.5], [4.0, 3.0]]
    assert found.class_name.tolist() == ["SV", "W"]
    assert found.probability.tolist() == [1.0, 1.0]
    assert found.source.tolist() == ["file", "file"]


def test_row_added_by_hand(tmp_path, sites):
    path = tmp_path / "a.csv"
    write_table(path, sites_table(sites, 20.0))
    with path.open("a") as stream:
        stream.write("1.5,2.5,,,DV,,,,,,,,,\n")
    found = read_sites(path, NAMES)
    assert found.class_name[-1] == "DV"
    assert found.probability[-1] == 1.0
    assert found.source[-1] == "manual"


def test_tables_of_earlier_versions_lack_other(tmp_path, sites):
    path = tmp_path / "a.csv"
    chosen = np.minimum(sites.class_index, 5)
    share = sites.probabilities[:, :6] / sites.probabilities[:, :6].sum(axis=1, keepdims=True)
    old = Sites(sites.position_px, np.c_[share, np.zeros(8)], chosen, NAMES, sites.source)
    table = sites_table(old, 20.0).drop(columns="p_other")
    table.loc[2, [c for c in table if c.startswith("p_")]] = np.nan
    write_table(path, table)
    found = read_sites(path, NAMES)
    assert found.class_names == NAMES
    assert np.array_equal(found.class_index, chosen)
    assert not found.probabilities[:, 6].any()
    certain = np.eye(7)[chosen[2]]
    assert np.array_equal(found.probabilities[2], certain)
    rest = np.arange(8) != 2
    # rounded to 6 decimals
    assert np.allclose(found.probabilities[rest, :6], share[rest], rtol=0, atol=0.51e-6)


def test_other_in_a_table(tmp_path):
    text = f"{P},p_other\n1,2,other,0,0.1,0,0,0,0,0.9\n3,4,other,,,,,,,\n"
    found = read_sites(write(tmp_path / "a.csv", text), NAMES)
    assert found.is_other.all()
    assert found.probability.tolist() == [0.9, 1.0]


@pytest.mark.parametrize(
    "data",
    [
        b"y_px;x_px;class;Notiz\r\n20,0;10,5;SV;gr\xf6\xdfer\r\n4;3;W;\r\n",
        "\ufeffy_px\tx_px\tclass\tNotiz\n20.0\t10,5\tSV\tgrößer\n4\t3\tW\t\n".encode(),
        "y_px,x_px,class,Notiz\n20.0,10.5,SV,größer\n\n4,3,W,\n,,,\n".encode(),
    ],
)
def test_tables_of_other_locales(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    found = read_sites(tmp_path / "a.csv", NAMES)
    assert found.position_px.tolist() == [[20.0, 10.5], [4.0, 3.0]]
    assert found.class_name.tolist() == ["SV", "W"]
    assert found.extra["Notiz"].tolist() == ["größer", ""]


def test_columns_that_others_added_are_kept(tmp_path, sites):
    table = sites_table(sites, 20.0)
    table["remark"] = [f"0{i}, seen" for i in range(8)]
    table["strain"] = ["0.10", *[""] * 7]
    write_table(tmp_path / "a.csv", table)
    found = read_sites(tmp_path / "a.csv", NAMES)
    write_table(tmp_path / "b.csv", sites_table(found, 20.0))
    assert (tmp_path / "b.csv").read_text() == (tmp_path / "a.csv").read_text()
    some = found.subset(np.arange(8) % 2 == 0)
    assert some.extra["remark"].tolist() == [f"0{i}, seen" for i in (0, 2, 4, 6)]
    with pytest.raises(DefectStrainError, match=r"Sites.a: got shape \(3,\)"):
        replace(found, extra={"a": np.array(["1", "2", "3"])})


P = "y_px,x_px,class,p_W,p_2Se,p_SeTe,p_2Te,p_SV,p_DV"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "the file is empty"),
        ("y_nm,x_nm,class\n1,2,W\n", "expected also y_px, x_px"),
        ("y_px x_px class\n1 2 W\n", "separated by commas"),
        ("y_px,x_px,class\n\n1,2,W\n\n3,4,Te\n", "line 5: got the class 'Te'"),
        ("y_px,x_px,class\n1,2,W,\n", "not a table"),
        ("y_px,x_px,class,class\n1,2,W,W\n", "the column class twice"),
        ("y_px,x_px,class\n1,2,\n", "line 2: got the class ''"),
        ("y_px,x_px,class\n1,2,nan\n", "line 2: got the class 'nan'"),
        ("y_px,x_px,class\n1,2,3\n", "line 2: got the class '3'"),
        ("y_px;x_px;class\n1.234,5;2;W\n", "line 2: got '1.234.5' in y_px"),
        (f"{P}\n1,2,W,1.2,0,0,0,0,0\n", "line 2: got a probability outside 0-1"),
        (f"{P}\n1,2,W,nan,1,0,0,0,0\n", "line 2: got a probability outside 0-1 or an empty one"),
        ("y_px,x_px,class\n1,2,W\n3,4,Te\n", "line 3: got the class 'Te'"),
        ("y_px,x_px,class\n1,,W\n", "line 2: got no finite number"),
        ("y_px,x_px,class\nnan,2,W\ninf,2,W\n", "line 2 and 1 more: got no finite number"),
        ("y_px,x_px,class\none,2,W\n", "line 2: got 'one' in y_px"),
        ("y_px,x_px,class,p_W\n1,2,W,1\n", "expected also p_2Se"),
        (f"{P}\n1,2,W,-0.1,1.1,0,0,0,0\n", "line 2: got a probability outside 0-1"),
        (f"{P}\n1,2,W,1,,0,0,0,0\n", "line 2: got a probability outside 0-1 or an empty one"),
        ("y_px,x_px,class,p_W,p_other\n1,2,W,1,0\n", "expected also p_2Se"),
        (f"{P},p_other\n1,2,W,1,0,0,0,0,0,\n", "line 2: got a probability outside 0-1 or an empty"),
        (f"{P}\n1,2,W,0.9,0,0,0,0.9,0\n", r"line 2: got probabilities that sum to 1\.800"),
        ("y_px,x_px,class,source\n1,2,W,me\n", "line 2: got the source 'me'"),
        (
            f"{P},probability\n1,2,W,1,0,0,0,0,0,1\n3,4,SeTe,0,0,.01,0,.99,0,.99\n",
            "line 3: got the class SeTe with p_SV = 0.99; where you changed a class, empty all p_",
        ),
        (f"{P},probability\n1,2,SeTe,0,0,0,0,1,0,\n", "line 2: got the class SeTe with p_SV = 1"),
    ],
)
def test_bad_table(tmp_path, text, match):
    with pytest.raises(DefectStrainError, match=match):
        read_sites(write(tmp_path / "a.csv", text), NAMES)


@pytest.mark.parametrize(
    "row",
    [
        "1,2,2Se,0,.4,0,0,.6,0,.4",  # below a threshold
        "1,2,SeTe,0,0,1,0,0,0,.97",  # relabelled, and its probabilities set
        "1,2,SeTe,,,,,,,.97",
    ],
)
def test_a_class_that_is_not_the_most_probable_one_for_a_reason(tmp_path, row):
    sites = read_sites(write(tmp_path / "a.csv", f"{P},probability\n{row}\n"), NAMES)
    assert sites.class_names[sites.class_index[0]] == row.split(",")[2]


def test_missing_table(tmp_path):
    with pytest.raises(DefectStrainError, match="can't be read: No such file"):
        read_sites(tmp_path / "a.csv", NAMES)


def test_binary_table(tmp_path):
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(DefectStrainError, match="not a table|expected also|is empty"):
        read_sites(tmp_path / "a.csv", NAMES)


def test_table_is_plain_csv(tmp_path, sites):
    write_table(tmp_path / "a.csv", sites_table(sites, 20.0))
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.startswith(b"y_px,x_px,")
    assert b"\r" not in raw
    assert len(pd.read_csv(tmp_path / "a.csv")) == len(sites)


# ------------------------------------------------------------------ real microscope images


@pytest.mark.parametrize(
    ("name", "shape", "pixel_size_pm"),
    [
        ("example_Se_implanted_MoS2.dm3", (1024, 1024), 12.6953125),
        ("MoSe2_motif_40keV.tif", (500, 580), 13.05),
        ("WS2Te2_motif.tif", (374, 374), None),
        ("MoS2_scilink_Exp-001-5.tif", (512, 512), 13.67),
        ("MoS2_scilink_stem.tif", (512, 512), 17.94),
    ],
)
def test_real_image(real_images, name, shape, pixel_size_pm):
    (image,) = read_images(real_images / name)
    assert image.data.shape == shape
    if pixel_size_pm is None:
        assert image.pixel_size_pm is None
    else:
        assert image.pixel_size_pm == pytest.approx(pixel_size_pm, abs=0.005)


def test_real_dm3_metadata(real_images):
    (image,) = read_images(real_images / "example_Se_implanted_MoS2.dm3")
    assert image.metadata["beam_energy_kev"] == 60.0
    assert image.metadata["dwell_time_us"] == 32.4


@pytest.mark.parametrize("kept", [0.001, 0.1, 0.5, 0.87, 0.99])
def test_real_dm3_cut_off(real_images, tmp_path, kept):
    raw = (real_images / "example_Se_implanted_MoS2.dm3").read_bytes()
    (tmp_path / "a.dm3").write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(tmp_path / "a.dm3")
