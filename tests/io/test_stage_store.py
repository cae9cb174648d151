"""Results of stages come back as they were; what is damaged is as if it weren't there."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.io import plain_values
from napari_defectstrain.io.content import content_key, pixels_sha256
from napari_defectstrain.io.plain_values import from_plain
from napari_defectstrain.io.stage_store import KeepingError, StageStore
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites


def sites() -> Sites:
    rng = np.random.default_rng(1)
    return Sites(
        rng.random((5, 2)),
        rng.random((5, 7)),
        np.arange(5),
        tuple("abcdefg"),
        np.full(5, "model"),
        {"note": np.array(["", "ä", "b", "", "c"])},
        np.array([1.0, np.nan, 2.0, 3.0, np.inf]),
    )


def values() -> dict[str, object]:
    labels = np.ones((8, 9), np.uint8)
    return {
        "sites": sites(),
        "regions": label_regions(labels, sites()),
        "settings": RunConfig(bootstrap=77),
        "numbers": (1, 0.1 + 0.2, float("nan"), -float("inf"), np.float32(0.1), True, None),
        "coupling": sparse.csr_array(np.eye(3)),
        "names": {"α": ["x"], 2: ()},
        "empty": np.zeros((0, 3), bool),
    }


@pytest.fixture
def store(tmp_path) -> StageStore:
    return StageStore(tmp_path / "stages")


@pytest.mark.parametrize("name", values())
def test_what_is_kept_comes_back_bit_for_bit(store, name):
    given = values()[name]
    store.put("some", "a1", given)
    found, again = store.get("some", "a1")
    assert found
    assert type(again) is type(given)
    assert content_key(again) == content_key(given)


def test_nothing_is_kept_of_what_is_no_plain_data(store):
    with pytest.raises(TypeError, match="expected plain data"):
        store.put("some", "a1", object())
    with pytest.raises(TypeError, match="may not say all"):
        content_key(object())


def test_no_file_makes_anything_but_records_of_this_package():
    for name in ("os:system", "napari_defectstrain.io.writing:atomic_path"):
        with pytest.raises(DefectStrainError, match="can't be read"):
            from_plain({"$record": name, "fields": {}}, {})
    assert plain_values._PACKAGE == "napari_defectstrain"


def test_every_damaged_byte_is_noticed(store):
    store.put("some", "a1", sites())
    path = store.path("some", "a1")
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    for at in rng.integers(0, len(whole), 60).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        found, again = store.get("some", "a1")
        # some bytes of a zip file (times, flags) say nothing of what it holds
        assert not found or content_key(again) == content_key(sites())
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert store.get("some", "a1") == (False, None)
    assert path in store.damaged


def test_an_entry_under_a_wrong_name_is_none(store):
    store.put("some", "a1", 1)
    os.rename(store.path("some", "a1"), store.path("some", "b2"))
    assert store.get("some", "b2") == (False, None)
    assert store.get("some", "c3") == (False, None)


def test_a_full_disk_is_said_and_leaves_what_was_kept(store, monkeypatch):
    store.put("some", "a1", 1)

    def full(file, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(KeepingError, match=r"No space left.*free some space.*kept before is whole"):
        store.put("some", "a1", 2)
    monkeypatch.undo()
    assert store.get("some", "a1") == (True, 1)
    assert [p.name for p in store.folder.rglob("*.*")] == ["a1.npz"]


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(KeepingError, match="can't be made"):
        StageStore(tmp_path / "file" / "stages").put("some", "a1", 1)


def test_stores_are_joined_entry_by_entry(tmp_path):
    one, other = StageStore(tmp_path / "one"), StageStore(tmp_path / "other")
    one.put("some", "a1", 1)
    other.put("some", "a1", 1)
    other.put("more", "b2", 2)
    assert one.take_over(other) == 1
    assert one.get("more", "b2") == (True, 2)
    other.path("more", "b2").unlink()
    assert one.get("more", "b2") == (True, 2)


# ------------------------------------------------------------------ keys


def image(data: np.ndarray, **metadata: object) -> CalibratedImage:
    return CalibratedImage(data, 20.0, "a", metadata)


def test_a_key_is_of_all_that_is_given_but_where_it_lay():
    data = np.arange(12.0).reshape(3, 4)
    key = content_key(image(data, path="/here"))
    assert key == content_key(image(data.copy(), path="/there"))
    assert key != content_key(image(data + 1e-12))
    assert key != content_key(image(data, calibration="file"))
    assert content_key((1, 2), 3) != content_key(1, (2, 3))
    assert content_key("1") != content_key(1)
    assert content_key(True) != content_key(1)
    assert content_key([np.array([1, 2])]) != content_key([np.array([1]), np.array([2])])
    config = RunConfig()
    assert content_key(config) == content_key(RunConfig.from_dict(config.to_dict()))
    assert content_key(config) != content_key(config.replace(seed=1))


def test_temporary_files_of_dead_writers_are_removed(store):
    store.put("some", "a1", 1)
    dead = store.folder / "some" / ".00000000-1-00000000.part.b2.npz"
    dead.write_bytes(b"half")
    os.utime(dead, (0, 0))
    store.tidy()
    assert [p.name for p in Path(store.folder / "some").iterdir()] == ["a1.npz"]


def test_pixels_lie_on_the_disk_and_are_what_they_were(store):
    data = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for _ in range(2):
        kept = store.on_disk(data, pixels_sha256(data))
        assert isinstance(kept.base, np.memmap)
        assert not kept.flags.writeable
        assert kept.dtype == data.dtype
        assert np.array_equal(kept, data)
    (path,) = store.folder.rglob("*.npy")
    del kept
    path.write_bytes(path.read_bytes()[:-2] + b"\x00\x01")
    assert np.array_equal(store.on_disk(data, pixels_sha256(data)), data)
    path.write_bytes(b"torn")
    assert np.array_equal(store.on_disk(data, pixels_sha256(data)), data)
