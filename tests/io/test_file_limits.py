"""What files promise is compared with what they hold before any of it is allocated."""

import json
import struct
import tokenize
import zlib

import h5py
import numpy as np
import pytest
import tifffile
from microscope_files import write_dm, write_mrc, write_ser, write_velox

from napari_defectstrain.crystal.region_files import read_regions
from napari_defectstrain.io import formats
from napari_defectstrain.io.dm_tags import check_dm
from napari_defectstrain.io.file_limits import check_hdf5, check_ser
from napari_defectstrain.io.files import read_images, write_tiff
from napari_defectstrain.io.rasters import DamagedFile
from napari_defectstrain.types import DefectStrainError

HUGE = 16_000  # a side that an image may have; its pixels are 512 MB


@pytest.fixture
def frame(rng):
    return rng.poisson(50, (40, 48)).astype(np.uint16)


@pytest.fixture
def no_memory(monkeypatch):
    """Whatever asks for more than a few MB fails the test."""
    empty, fromfile = np.empty, np.fromfile

    def checked_empty(shape, *args, **kwargs):
        assert np.prod(shape, dtype=float) < 1e7
        return empty(shape, *args, **kwargs)

    def checked_fromfile(file, dtype=float, count=-1, *args, **kwargs):
        assert count < 1e7
        return fromfile(file, dtype, count, *args, **kwargs)

    monkeypatch.setattr(np, "empty", checked_empty)
    monkeypatch.setattr(np, "fromfile", checked_fromfile)


def tiff_of_one_strip(path, shape, strip, compression=8):
    """A TIFF whose header promises `shape` in the bytes of one strip."""
    tags = [(256, 4, shape[1]), (257, 4, shape[0]), (258, 3, 8), (259, 3, compression)]
    tags += [(262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, shape[0]), (279, 4, len(strip))]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", code, kind, 1, n) for code, kind, n in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    path.write_bytes(head + strip + directory + bytes(4))
    return path


def test_a_small_tiff_that_asks_for_much(tmp_path, no_memory):
    path = tiff_of_one_strip(tmp_path / "a.tif", (HUGE, HUGE), zlib.compress(bytes(10_000)))
    with pytest.raises(DefectStrainError, match="damaged or cut-off one .16000 x 16000 values"):
        read_images(path)


@pytest.mark.parametrize("shape", [(16_712_192, 512), (HUGE, HUGE)])
def test_damaged_labels_of_regions(tmp_path, no_memory, shape):
    path = tiff_of_one_strip(tmp_path / "a.regions.tif", shape, zlib.compress(bytes(10_000)))
    with pytest.raises(DefectStrainError, match="px, expected at most|damaged or cut-off"):
        read_regions(path)


def test_cut_off_labels_of_regions(tmp_path):
    path = tmp_path / "a.regions.tif"
    write_tiff(path, np.ones((64, 64), np.uint8), 20.0, {"labels": {"1": "2H domain 1"}})
    raw = path.read_bytes()
    for kept in range(8, len(raw), 23):
        path.write_bytes(raw[:kept])
        with pytest.raises(DefectStrainError, match="damaged or cut-off|expected|no image"):
            read_regions(path)


def test_a_strip_longer_than_its_file(tmp_path, frame, no_memory):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, frame, metadata=None, compression="zlib")
    raw = bytearray(path.read_bytes())
    at = raw.index(struct.pack("<HHI", 279, 4, 1)) + 8
    raw[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(raw)
    with pytest.raises(DefectStrainError, match="a strip or tile of 2147483648 bytes"):
        read_images(path)


def test_a_png_that_expands_too_far(tmp_path, no_memory):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", HUGE, HUGE, 16, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(path)


def test_an_npy_header_that_asks_for_much(tmp_path, frame, no_memory):
    path = tmp_path / "a.npy"
    np.save(path, frame)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(40, 48), }    ", b"(14000, 14000)}"))
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(path)


def test_an_mrc_header_that_asks_for_much(tmp_path, frame, no_memory):
    path = write_mrc(tmp_path / "a.mrc", frame, 0.2)
    raw = path.read_bytes()
    for shape in [(HUGE, HUGE, 1), (48, 40, 10**6), (-1, 40, 1), (48, 40, 0)]:
        path.write_bytes(struct.pack("<3i", *shape) + raw[12:])
        with pytest.raises(DefectStrainError, match="damaged or cut-off|expected an image"):
            read_images(path)


def test_a_series_that_asks_for_much(tmp_path, frame, no_memory):
    path = write_ser(tmp_path / "a_1.ser", frame[None], 2e-11)
    raw = path.read_bytes()
    for at, count in [(18, 10**6), (18, 2**31), (30, 10**6)]:  # frames; dimensions
        path.write_bytes(raw[:at] + struct.pack("<I", count) + raw[at + 4 :])
        with pytest.raises(DamagedFile, match="frames in|values of"):
            check_ser(path)
        with pytest.raises(DefectStrainError, match="damaged or cut-off"):
            read_images(path)


def test_an_hdf5_dataset_that_asks_for_much(tmp_path, frame, no_memory):
    path = write_velox(tmp_path / "a.emd", {"HAADF": frame}, 2e-11)
    with h5py.File(path, "a") as file:
        group = file["Data/Image/" + next(iter(file["Data/Image"]))]
        del group["Data"]
        group.create_dataset("Data", (HUGE, HUGE, 1), "u2", chunks=(256, 256, 1), compression=9)
    with pytest.raises(DamagedFile, match="16000 x 16000 x 1 values of uint16 in 0 bytes"):
        check_hdf5(path)
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(path)


def test_hdf5_in_a_million_chunks(tmp_path):
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (2048, 1024), "u1", chunks=(1, 1))
    with pytest.raises(DamagedFile, match="in chunks of"):
        check_hdf5(path)


def test_hdf5_links_in_a_circle_end(tmp_path, frame):
    path = write_velox(tmp_path / "a.emd", {"HAADF": frame}, 2e-11)
    with h5py.File(path, "a") as file:
        file["Data/again"] = file["Data"]  # a hard link to its own parent
        file["Data/soft"] = h5py.SoftLink("/Data")
        file["Data/nowhere"] = h5py.SoftLink("/nothing")
    assert np.array_equal(read_images(path)[0].data, frame)


# ------------------------------------------------------------------ tags of DM files


def dm_with(path, frame, name, value, old):
    raw = write_dm(path, frame).read_bytes()
    at = raw.index(old, raw.index(name))
    path.write_bytes(raw[:at] + value + raw[at + len(old) :])
    return path


def test_good_dm_files_pass(tmp_path, frame):
    for suffix in ("dm3", "dm4"):
        check_dm(write_dm(tmp_path / f"a.{suffix}", frame))


@pytest.mark.parametrize("size", [2**31 - 1, -5, 10**6])
def test_dm_arrays_beyond_the_end(tmp_path, frame, size):
    count = frame.size
    path = tmp_path / "a.dm3"
    dm_with(path, frame, b"Data", struct.pack(">i", size), struct.pack(">i", count))
    with pytest.raises(DamagedFile, match="beyond the end of the file"):
        check_dm(path)
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(path)


def test_dm_dimensions_beyond_the_data(tmp_path, frame, no_memory):
    path = tmp_path / "a.dm3"
    dm_with(path, frame, b"Dimensions", struct.pack("<i", HUGE), struct.pack("<i", 48))
    with pytest.raises(DamagedFile, match=r"an image of 16000 x 40 px in 3840 bytes"):
        check_dm(path)


def tag(name, info, value=b""):
    head = b"\x15" + struct.pack(">h", len(name)) + name + b"%%%%" + struct.pack(">i", len(info))
    return head + b"".join(struct.pack(">i", i) for i in info) + value


@pytest.mark.parametrize(
    ("content", "match"),
    [
        # a structure of so many fields that taking them one by one lasts hours
        (tag(b"a", [15, 0, 60_000, *[0, 2] * 60_000]), "a structure of 60000 fields"),
        (tag(b"a", [20, 15, 0, 2**31 - 1, 0, 0]), "a structure of 2147483647 fields"),
        # an array of strings of no length: a reader counts to the end
        (tag(b"a", [20, 18, 0, 2**31 - 1]), "a tag of 2147483647 elements"),
        (tag(b"a", [18, 200_000], bytes(200_000)), "a tag of 200000 elements"),
        (b"\x15" + struct.pack(">h", 32_000) + bytes(32_000), "a tag's name of 32000 bytes"),
        (b"\x14\x00\x01a\x01\x00" * 100, "tags in the group|nested more than 64 deep"),
        (tag(b"a", [7, 0, 0, 0]), r"a tag of unknown type .4, 7."),
        (b"\x07\x00\x00", "a tag of unknown kind 7"),
    ],
)
def test_dm_tags_that_a_reader_would_not_come_back_from(tmp_path, content, match):
    root = b"\x01\x00" + struct.pack(">i", 1) + content + bytes(1000)
    path = tmp_path / "a.dm3"
    path.write_bytes(struct.pack(">3i", 3, len(root), 1) + root)
    with pytest.raises(DamagedFile, match=match):
        check_dm(path)
    with pytest.raises(DefectStrainError, match="damaged or cut-off"):
        read_images(path)


# ------------------------------------------------------------------ whatever a reader raises


@pytest.mark.parametrize(
    "error",
    [
        tokenize.TokenError("EOF in multi-line statement", (2, 0)),
        UnboundLocalError("data"),
        NameError("x"),
        RecursionError("too deep"),
        json.JSONDecodeError("no", "doc", 0),
        NotImplementedError(""),
    ],
)
def test_odd_errors_of_readers_are_one_line(tmp_path, frame, monkeypatch, error):
    np.save(tmp_path / "a.npy", frame)

    def raise_it(*_):
        raise error

    monkeypatch.setattr(formats, "_decode_npy", raise_it)
    with pytest.raises(DefectStrainError, match="a damaged or cut-off one") as caught:
        read_images(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named(tmp_path, frame, monkeypatch):
    np.save(tmp_path / "a.npy", frame)

    def raise_it(*_):
        raise ModuleNotFoundError("No module named 'sparse'")

    monkeypatch.setattr(formats, "_decode_npy", raise_it)
    with pytest.raises(DefectStrainError, match="needs a library that isn't installed .*sparse"):
        read_images(tmp_path / "a.npy")


def test_damaged_header_of_npy(tmp_path, frame):
    np.save(tmp_path / "a.npy", frame)
    raw = bytearray((tmp_path / "a.npy").read_bytes())
    for at in range(10, 80):  # every sign of the header in turn
        damaged = raw.copy()
        damaged[at] ^= 0x10
        (tmp_path / "a.npy").write_bytes(damaged)
        try:
            read_images(tmp_path / "a.npy")
        except DefectStrainError as error:
            assert "\n" not in str(error)
