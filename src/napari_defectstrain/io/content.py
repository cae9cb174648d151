"""Images and values known by what they hold, not by their names, places or order.

Whatever depends on which images there are, and must not depend on how they came, goes by these:
random draws, the order in which a run adds up, and what was worked out before.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from scipy import sparse

from ..types import CalibratedImage, FloatArray
from .large_arrays import let_go

_BLOCK = 1 << 20
"""Pixels that are hashed at a time: in memory they are few beside any image."""


def pixels_sha256(data: FloatArray) -> str:
    """Hash of an image's shape and grey values, whatever type of number holds them.

    Parameters
    ----------
    data : array, `(H, W)`

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.arange(6).reshape(2, 3)
    >>> pixels_sha256(counts.astype("uint16")) == pixels_sha256(counts.astype("float32"))
    True
    >>> pixels_sha256(counts) == pixels_sha256(counts.T)
    False
    """
    digest = hashlib.sha256(f"{data.shape}".encode())
    lines = max(1, _BLOCK // max(data.shape[1], 1))
    for start in range(0, data.shape[0], lines):
        digest.update(np.ascontiguousarray(data[start : start + lines], dtype="<f8").data)
    return digest.hexdigest()


def in_content_order(images: Sequence[CalibratedImage]) -> list[int]:
    """Numbers of the images by the hashes of their pixels; copies stay in the order given."""
    known = [pixels_sha256(image.data) for image in images]
    return sorted(range(len(known)), key=lambda i: (known[i], i))


def content_key(*values: Any) -> str:
    """Hash of values of any kind that the stages take: different ones are never written alike.

    Parameters
    ----------
    *values
        Arrays, sparse matrices, dataclasses (settings among them), mappings, sequences, plain
        values and None. The names of an image's metadata that say where its file lies don't count.

    Raises
    ------
    TypeError
        On values whose text needn't say all that they hold.
    """
    digest = hashlib.sha256()
    for value in values:
        _feed(digest, value)
    return digest.hexdigest()


_WHERE = ("path", "file_sha256")
"""Metadata of an image that says which file it lay in, not what it is."""


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        _feed_array(digest, value)
    elif sparse.issparse(value):
        _feed(digest, f"sparse {value.shape}")
        whole = value.tocsr()
        for part in (whole.indptr.astype("<i8"), whole.indices.astype("<i8"), whole.data):
            _feed(digest, part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed(digest, type(value).__name__)
        for field in dataclasses.fields(value):
            given = getattr(value, field.name)
            if isinstance(value, CalibratedImage) and field.name == "metadata":
                given = {name: known for name, known in given.items() if name not in _WHERE}
            _feed(digest, field.name)
            _feed(digest, given)
    elif isinstance(value, Mapping):
        _feed(digest, f"mapping of {len(value)}")
        for name in sorted(value, key=repr):
            _feed(digest, name)
            _feed(digest, value[name])
    elif isinstance(value, list | tuple | set | frozenset):
        _feed(digest, f"{len(value)} of")
        for one in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            _feed(digest, one)
    elif value is None or isinstance(value, str | bytes | bool | int | float | np.generic):
        plain = value.item() if isinstance(value, np.generic) else value
        digest.update(f"{type(plain).__name__}:{plain!r};".encode())
    elif isinstance(value, PurePath):
        _feed(digest, str(value))
    else:
        raise TypeError(f"content_key: got a {type(value).__name__}, whose text may not say all")


def _feed_array(digest: Any, value: np.ndarray[Any, Any]) -> None:
    if value.dtype.hasobject:
        _feed(digest, [str(value.shape), *value.ravel().tolist()])
        return
    _feed(digest, f"{value.dtype.str} {value.shape}")
    digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    let_go(value)
