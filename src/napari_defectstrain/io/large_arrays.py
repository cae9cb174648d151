"""Arrays that may be larger than the memory: on a disk, and in memory only while looked at.

Windows of a thousand images lie in files that go with the last array that looks into them. Pages
of such a file that were looked at count as this process's memory until they are let go of; the disk
or the system's own cache has them still, so that nothing is lost.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from ..types import FloatArray, IntArray

LARGE_BYTES = 1 << 26
"""What takes more lies on the disk."""


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
"""Of glibc's ``mallopt``."""
_GIVEN_BACK = 1 << 29
_TAKEN_AT_ONCE = _MAPPED = 1 << 25
"""Free bytes at the end of the heap from which on they go back to the system, how many it is asked
for, and from how many on an array is on its own (the most that glibc takes)."""


def one_heap() -> None:
    """Let all threads of this process share one heap, where its C library is glibc.

    It gives each thread one of its own, and each keeps what it once had: two hundred megabytes of
    arrays that nobody uses, where models are fitted side by side. And what is freed is kept for the
    next array for a while: the system clears each page that it gives out, which took a third of a
    process's time in the system, as fits and figures make and drop arrays of a few megabytes.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    import ctypes

    with suppress(OSError, AttributeError):  # another C library knows no such thing
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        mallopt(_M_TRIM_THRESHOLD, _GIVEN_BACK)
        mallopt(_M_TOP_PAD, _TAKEN_AT_ONCE)


def is_large(size: int) -> bool:
    """Whether so many bytes are kept on the disk."""
    return size >= LARGE_BYTES


def room(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An array to be filled; on the disk where it is a large one, if there is space.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return on_disk(shape, dtype) if is_large(size) else np.empty(shape, dtype)


def on_disk(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An array in a file that goes with the last array that looks into it.

    In memory where no such file can be had.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    # All of its space is taken beforehand: a disk that is full later would end the process.
    with suppress(OSError, AttributeError), tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype, "r+", shape=shape)
    return np.empty(shape, dtype)


def let_go(array: npt.NDArray[Any]) -> None:
    """Forget what was read or written of a file that an array looks into; it stays in the file.

    Nothing is done for arrays in memory. The array can be used as before.

    Parameters
    ----------
    array : array
        Or a view of it.
    """
    base: Any = array
    shared = False
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            shared = base.mode != "c"  # a private copy of the pages is nowhere else
        base = base.base
    if shared and isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError, ValueError):  # advice, no more
            base.madvise(mmap.MADV_DONTNEED)


def in_parts(array: FloatArray, index: IntArray, size: int) -> Iterator[FloatArray]:
    """Rows of an array by their numbers, some at a time; pages that were looked at are let go of.

    Parameters
    ----------
    array : array, `(N, ...)`
    index : array of int, `(M,)`
    size : int
        Rows at a time.

    Yields
    ------
    array, `(size, ...)`
        Copies; the last holds what is left. None for an empty `index`.

    Examples
    --------
    >>> [part.tolist() for part in in_parts(np.arange(6.0), np.array([0, 2, 5]), 2)]
    [[0.0, 2.0], [5.0]]
    """
    for start in range(0, len(index), size):
        part = array[index[start : start + size]]
        let_go(array)
        yield part
