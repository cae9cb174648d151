"""Files as microscopes and other programs write them: they open, or are refused in words."""

import json
import struct
import sys

import h5py
import numpy as np
import pytest
import tifffile
from microscope_files import WRITERS, write_emd, write_mrc, write_velox

from napari_defectstrain.io.files import read_datasets, read_file, read_images
from napari_defectstrain.types import DefectStrainError


@pytest.fixture
def frame(rng):
    return rng.poisson(50, (40, 48)).astype(np.uint16)


def warnings_of(entry):
    return " ".join(entry.metadata.get("warnings", ()))


# ------------------------------------------------------------------ they open


def add_spectra(path):
    """What Velox adds when X-rays are mapped beside the image."""
    element = "bbbb"
    with h5py.File(path, "a") as file:
        file["Data/SpectrumImage/ffff/SpectrumImageSettings"] = np.array([b"{}"])
        file["Data/SpectrumStream/eeee/Data"] = np.zeros((100, 1), np.uint16)
        file["Data/SpectrumStream/eeee/AcquisitionSettings"] = np.array([b"{}"])
        first = next(iter(file["Data/Image"]))
        pointer = {"dataPath": f"/Data/Image/{first}"}
        shown = {"data": "/SharedProperties/ImageSeriesDataReference/aaaa", "id": "Se"}
        file["SharedProperties/ImageSeriesDataReference/aaaa"] = [json.dumps(pointer).encode()]
        file[f"Displays/ImageDisplay/{element}"] = [json.dumps(shown).encode()]
    return path


def test_velox_with_spectra_opens_with_all_frames(tmp_path, frame):
    stack = np.stack([frame, frame + 1])
    path = write_velox(tmp_path / "a.emd", {"EDS": frame + 5, "HAADF": stack}, 20.74e-12)
    found = read_file(add_spectra(path))
    assert np.array_equal(found.data, stack)
    assert found.name == "a[HAADF]"
    assert found.pixel_size_pm == pytest.approx(20.74)
    assert found.metadata["dwell_time_us"] == 2.0
    # a map of an element has its name among the displays
    assert [entry.metadata["title"] for entry in read_datasets(path)] == ["Se", "HAADF"]


def test_older_velox_names_its_detectors_among_the_operations(tmp_path, frame):
    path = write_velox(tmp_path / "a.emd", {"x": frame, "y": frame + 1}, 2e-11)
    with h5py.File(path, "a") as file:
        for key, name in zip(file["Data/Image"], ["BF", "HAADF"], strict=True):
            operation = {"dataPath": f"/Data/Image/{key}", "detector": name}
            file[f"Operations/StemInputOperation/{key}"] = [json.dumps(operation).encode()]
    assert read_file(path).name == "a[HAADF]"


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("predictor", [False, True])
def test_compressed_tiffs_open(tmp_path, frame, compression, predictor):
    path = tmp_path / "a.tif"
    try:
        tifffile.imwrite(path, frame, compression=compression, predictor=predictor)
    except ValueError:
        pytest.skip("no such predictor")
    assert np.array_equal(read_file(path).data, frame)


def test_compression_that_cannot_be_read_is_named(tmp_path, frame):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frame, metadata=None)
    raw = path.read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)
    for number, name in [(34661, "JBIG"), (999, "number 999")]:
        at = raw.index(tag) + len(tag)
        path.write_bytes(raw[:at] + struct.pack("<H", number) + raw[at + 2 :])
        with pytest.raises(DefectStrainError, match=f"compressed by {name}, which can't be read"):
            read_file(path)


@pytest.mark.parametrize("colour_first", [True, False])
def test_the_deepest_grey_page_is_taken_and_said(tmp_path, frame, rng, colour_first):
    path = tmp_path / "a.tif"
    colour = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
    small = (frame // 2).astype(np.uint8)
    pages = [colour, small, frame] if colour_first else [frame, small, colour]
    with tifffile.TiffWriter(path) as tiff:
        for page in pages:
            tiff.write(page, photometric="rgb" if page is colour else "minisblack")
    found = read_file(path)
    assert found.data.dtype == np.uint16
    assert np.array_equal(found.data, frame)
    number = 1 if colour_first else 3
    assert f"page {number} is a colour picture, left out" in warnings_of(found)
    assert "the file holds 2 images" in warnings_of(found)


def test_incomplete_tags_of_a_vendor_cost_the_calibration_only(tmp_path, frame):
    path = tmp_path / "a.tif"
    tags = [(271, 2, 10, "JEOL Ltd.", True)]
    tifffile.imwrite(path, frame, description="HAADF 5.0Mx", extratags=tags, metadata=None)
    found = read_file(path)
    assert np.array_equal(found.data, frame)
    assert found.pixel_size_pm is None
    assert "the tags of JEOL Ltd. are incomplete" in warnings_of(found)


def test_named_channels_of_ome_keep_their_names(tmp_path, frame):
    path = tmp_path / "a.ome.tif"
    about = {"axes": "CYX", "Channel": {"Name": ["BF", "HAADF"]}}
    about |= {"PhysicalSizeX": 0.02074, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(path, np.stack([frame + 1, frame]), metadata=about)
    found = read_file(path)
    assert np.array_equal(found.data, frame)
    assert found.name == "a.ome[HAADF]"
    assert found.metadata["channel"] == "HAADF"
    assert found.pixel_size_pm == pytest.approx(20.74)


@pytest.mark.parametrize("axes", ["CYX", "ZYX"])
def test_labels_of_imagej_that_name_detectors_are_channels(tmp_path, frame, axes):
    path = tmp_path / "a.tif"
    about = {"axes": axes, "Labels": ["BF-S 12:30", "HAADF 12:30"]}
    tifffile.imwrite(path, np.stack([frame + 1, frame]), imagej=True, metadata=about)
    found = read_file(path)
    assert np.array_equal(found.data, frame)
    assert found.name == "a[HAADF 12:30]"


def test_labels_of_frames_leave_a_stack_a_stack(tmp_path, frame):
    path = tmp_path / "a.tif"
    about = {"axes": "ZYX", "Labels": ["HAADF 1", "HAADF 2"]}
    tifffile.imwrite(path, np.stack([frame + 1, frame]), imagej=True, metadata=about)
    assert read_file(path).is_stack


def patched(path, *changes):
    raw = bytearray(path.read_bytes())
    for at, value in changes:
        raw[at : at + len(value)] = value
    path.write_bytes(raw)
    return path


def test_mode_0_of_mrc_is_signed_unless_imod_says_otherwise(tmp_path, frame):
    data = (frame - 60).astype(np.int8)
    path = write_mrc(tmp_path / "a.mrc", frame, 0.2)
    header = path.read_bytes()[:1024]
    path.write_bytes(header + data.tobytes())
    patched(path, (12, struct.pack("<i", 0)))
    assert np.array_equal(read_file(path).data, data)
    patched(path, (152, struct.pack("<2i", 1146047817, 0)))
    assert np.array_equal(read_file(path).data, data.view(np.uint8))
    patched(path, (152, struct.pack("<2i", 1146047817, 1)))
    assert np.array_equal(read_file(path).data, data)


def test_big_endian_mrc(tmp_path, frame):
    path = write_mrc(tmp_path / "a.mrc", frame, 0.2074)
    raw = np.frombuffer(path.read_bytes(), "<u4").astype(">u4").tobytes()
    for stamp in (b"\x11\x11\x00\x00", b"\x00\x00\x00\x00"):
        path.write_bytes(raw[:208] + b"MAP " + stamp + raw[216:])
        found = read_file(path)
        assert np.array_equal(found.data, frame)
        assert found.pixel_size_pm == pytest.approx(20.74, rel=1e-7)


def test_half_precision(tmp_path, frame):
    half = frame.astype(np.float16)
    np.save(tmp_path / "a.npy", half)
    tifffile.imwrite(tmp_path / "a.tif", half)
    path = write_mrc(tmp_path / "a.mrc", frame, 0.2)
    path.write_bytes(path.read_bytes()[:1024] + half.tobytes())
    patched(path, (12, struct.pack("<i", 12)))
    for suffix in ("npy", "tif", "mrc"):
        (image,) = read_images(tmp_path / f"a.{suffix}")
        assert image.data.dtype == np.float32
        assert np.array_equal(image.data, frame)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_text(tmp_path, frame):
    stem = "caf\udce9"  # the byte E9 alone: Latin-1, no UTF-8
    for suffix, write in WRITERS.items():
        path = tmp_path / f"{stem}{suffix}"
        write(path, frame)
        found = read_file(path)
        assert np.array_equal(found.data, frame)
        assert found.name == "café"
        assert found.metadata["source"] == f"café{suffix}"


# ------------------------------------------------------------------ refused in words


def test_ome_files_that_belong_together_are_refused(tmp_path, frame):
    xml = tifffile.OmeXml()
    xml.addimage("uint16", (2, 40, 48), (2, 1, 1, 40, 48, 1), axes="TYX")
    part = '<UUID FileName="{}">urn:uuid:{}</UUID>'
    text = xml.tostring()
    path = tmp_path / "a.ome.tif"
    head = text[: text.index("<TiffData")]
    tail = text[text.index("</Pixels>") :]
    parts = "".join(
        f'<TiffData FirstT="{i}" IFD="0" PlaneCount="1">{part.format(name, i)}</TiffData>'
        for i, name in enumerate(["a.ome.tif", "b.ome.tif"])
    )
    tifffile.imwrite(path, frame, description=head + parts + tail, metadata=None)
    tifffile.imwrite(tmp_path / "b.ome.tif", frame + 1, metadata=None)
    with pytest.raises(DefectStrainError, match="one of several OME files.*b.ome.tif"):
        read_file(path)


@pytest.mark.parametrize("kind", ["external", "virtual", "raw"])
def test_hdf5_that_shows_other_files_is_refused(tmp_path, frame, kind):
    secret = write_emd(tmp_path / "secret.emd", frame, 0.02)
    (tmp_path / "secret.raw").write_bytes(frame.tobytes())
    path = write_velox(tmp_path / "a.emd", {"HAADF": frame}, 2e-11)
    with h5py.File(path, "a") as file:
        group = file["Data/Image/" + next(iter(file["Data/Image"]))]
        del group["Data"]
        shape = (*frame.shape, 1)
        if kind == "external":
            group["Data"] = h5py.ExternalLink(str(secret), "data/scan/data")
        elif kind == "raw":
            outside = [(str(tmp_path / "secret.raw"), 0, frame.nbytes)]
            group.create_dataset("Data", shape, "u2", external=outside)
        else:
            layout = h5py.VirtualLayout(shape=shape, dtype="u2")
            source = h5py.VirtualSource(str(secret), "data/scan/data", shape=shape[:2])
            layout[:, :, 0] = source
            group.create_virtual_dataset("Data", layout)
    with pytest.raises(DefectStrainError, match="shows what lies in another file .*secret"):
        read_datasets(path)


# ------------------------------------------------------------------ our own description


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pixel_size_pm", -20.73),
        ("pixel_size_pm", "20"),
        ("pixel_size_pm", True),
        ("pixel_size_pm", 1e308),
        ("beam_energy_kev", [80]),
        ("dwell_time_us", -1),
        ("channels", "abc"),
        ("simulated", "yes"),
        ("expected_purity", 2),
    ],
)
def test_wrong_values_in_our_own_description_are_refused(tmp_path, frame, key, value):
    path = tmp_path / "a.tif"
    text = json.dumps({key: value})
    tifffile.imwrite(path, frame, imagej=True, metadata={"napari_defectstrain": text})
    with pytest.raises(DefectStrainError, match=f"its own description says {key} = "):
        read_file(path)


@pytest.mark.parametrize("text", ["[1, 2]", "7", '{"pixel_size_pm": ', '"a"', "{" * 10_000])
def test_a_description_that_is_no_object_is_one_line(tmp_path, frame, text):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frame, imagej=True, metadata={"napari_defectstrain": text})
    with pytest.raises(DefectStrainError, match="no JSON object|damaged or cut-off"):
        read_file(path)


def test_unknown_keys_of_our_own_description_are_left_out(tmp_path, frame):
    path = tmp_path / "a.tif"
    given = {"kind": "defects", "image": "1", "calibration": "lattice", "warnings": ["x"]}
    text = json.dumps({**given, "pixel_size_pm": 20.0, "beam_energy_kev": 80})
    tifffile.imwrite(path, frame, imagej=True, metadata={"napari_defectstrain": text})
    found = read_file(path)
    assert found.metadata == {"beam_energy_kev": 80, "source": "a.tif"}
    assert found.pixel_size_pm == 20.0
