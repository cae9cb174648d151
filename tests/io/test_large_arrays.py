"""Arrays on a disk: what was written stays, what was looked at takes no memory."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from napari_defectstrain.io import large_arrays
from napari_defectstrain.io.large_arrays import in_parts, let_go, on_disk, room
from napari_defectstrain.io.stage_store import StageStore
from napari_defectstrain.types import ClassStack

linux = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists() or not hasattr(mmap, "MADV_DONTNEED"),
    reason="only Linux says how much of a file is in memory",
)


def resident_mb(array: np.ndarray) -> float:
    """Megabytes of the file below an array that are in this process's memory."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    start = f"{base.ctypes.data:x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.startswith(start))
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1]) / 1024


def test_only_large_arrays_lie_on_the_disk(monkeypatch):
    monkeypatch.setattr(large_arrays, "LARGE_BYTES", 4000)
    assert isinstance(room((1000,)), np.memmap)
    assert not isinstance(room((999,)), np.memmap)
    assert isinstance(room((500,), float), np.memmap)


@linux
def test_what_is_let_go_of_takes_no_memory_and_is_as_it_was():
    array = on_disk((512, 1024, 4))  # 8 MB
    array[...] = np.arange(512, dtype=np.float32)[:, None, None]
    assert resident_mb(array) > 7.9
    let_go(array[3:5])  # a view of it will do
    assert resident_mb(array) < 0.1
    assert (array[:, 0, 0] == np.arange(512)).all()
    rows = np.arange(0, 512, 3)
    let_go(array)
    parts = []
    for part in in_parts(array, rows, 10):
        assert resident_mb(array) < 2.0  # the system reads ahead
        parts.append(part)
    assert np.array_equal(np.concatenate(parts), array[rows])


def test_a_private_copy_of_pages_is_not_forgotten(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5000))
    mine = np.load(tmp_path / "a.npy", mmap_mode="c")
    mine[:] = 1.0
    let_go(mine)
    let_go(np.asarray(mine)[10:])
    let_go(np.ones(3))
    assert (mine == 1.0).all()


def a_stack(windows: np.ndarray) -> ClassStack:
    n = len(windows)
    return ClassStack(
        "SV",
        windows,
        20.0,
        329.0,
        np.zeros(n, int),
        np.arange(n),
        np.zeros((n, 2)),
        np.zeros((n, 2)),
        np.ones(n),
        np.ones(n, bool),
        np.zeros(n, "<U8"),
    )


def test_large_windows_come_back_from_the_store_on_the_disk(tmp_path, monkeypatch):
    windows = np.random.default_rng(1).normal(size=(40, 21, 21)).astype(np.float32)
    store = StageStore(tmp_path)
    store.put("average", "key", a_stack(windows))
    monkeypatch.setattr(large_arrays, "LARGE_BYTES", 10_000)
    found, stack = store.get("average", "key")
    assert found and isinstance(stack.windows, np.memmap)
    assert np.array_equal(stack.windows, windows)
    assert not isinstance(stack.position_px, np.memmap)
    store.put("average", "again", stack)  # as it does with what was cut on the disk
    assert np.array_equal(store.get("average", "again")[1].windows, windows)


def test_damage_in_a_large_array_is_found(tmp_path, monkeypatch):
    windows = np.zeros((40, 21, 21), np.float32)
    store = StageStore(tmp_path)
    store.put("average", "key", a_stack(windows))
    path = store.path("average", "key")
    content = bytearray(path.read_bytes())
    content[content.index(b"windows") + 40_000] ^= 1  # within the array
    path.write_bytes(content)
    monkeypatch.setattr(large_arrays, "LARGE_BYTES", 10_000)
    assert store.get("average", "key") == (False, None)
    assert store.damaged == [path]
