"""Values of our types as JSON and arrays, and back: what the stage store keeps.

A tree of JSON in which what JSON doesn't have is an object of one key beginning with ``$``; arrays
lie beside it under names. Nothing in such a file is ever run: only the frozen dataclasses of this
package are made from it, by their fields.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from ..types import DefectStrainError

_PACKAGE = __package__.split(".")[0]

Arrays = dict[str, np.ndarray[Any, Any]]


def to_plain(value: Any) -> tuple[Any, Arrays]:
    """A value as JSON and the arrays that it names.

    Parameters
    ----------
    value
        Dataclasses of this package, arrays, sparse matrices, mappings, tuples, lists, numbers,
        texts, None, in each other as one likes.

    Raises
    ------
    TypeError
        On anything else.

    Examples
    --------
    >>> tree, arrays = to_plain({"a": (1, None)})
    >>> tree
    {'$mapping': [['a', {'$tuple': [1, None]}]]}
    """
    arrays: Arrays = {}
    return _plain(value, arrays), arrays


def from_plain(tree: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """The value that `to_plain` made this of.

    Raises
    ------
    DefectStrainError
        If it is none that this version knows.
    """
    try:
        return _value(tree, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise DefectStrainError(f"a kept value: can't be read by this version: {error}") from error


def _plain(value: Any, arrays: Arrays) -> Any:
    if value is None or isinstance(value, str | bool | int) and not isinstance(value, np.generic):
        return value
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(value, arrays)
    if isinstance(value, list):
        return [_plain(one, arrays) for one in value]
    if isinstance(value, tuple):
        return {"$tuple": [_plain(one, arrays) for one in value]}
    if isinstance(value, Mapping):
        items = [[_plain(k, arrays), _plain(v, arrays)] for k, v in value.items()]
        return {"$mapping": items}
    if isinstance(value, sparse.csr_array):
        parts = {name: getattr(value, name) for name in ("data", "indices", "indptr")}
        return {"$sparse": {"shape": list(value.shape), **_fields(parts, arrays)}}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(f"{_PACKAGE}."):
        given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        return {"$record": name, "fields": _fields(given, arrays)}
    raise TypeError(f"to_plain: got a {type(value).__name__}, expected plain data")


def _fields(given: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    return {name: _plain(value, arrays) for name, value in given.items()}


def _plain_array(value: Any, arrays: Arrays) -> Any:
    if value.dtype.hasobject:
        return {"$objects": list(value.shape), "items": [_plain(v, arrays) for v in value.flat]}
    name = f"array_{len(arrays)}"
    arrays[name] = np.asarray(value)
    return {"$scalar" if isinstance(value, np.generic) else "$array": name}


def _value(tree: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(tree, list):
        return [_value(one, arrays) for one in tree]
    if not isinstance(tree, dict):
        return tree
    kind = next(iter(tree))
    held = tree[kind]
    if kind == "$float":
        return float(held)
    if kind == "$array":
        return arrays[held]
    if kind == "$scalar":
        return arrays[held][()]
    if kind == "$tuple":
        return tuple(_value(one, arrays) for one in held)
    if kind == "$mapping":
        return {_value(k, arrays): _value(v, arrays) for k, v in held}
    if kind == "$sparse":
        parts = {name: _value(held[name], arrays) for name in ("data", "indices", "indptr")}
        return sparse.csr_array(tuple(parts.values()), shape=tuple(held["shape"]))
    if kind == "$objects":
        found = np.empty(len(tree["items"]), dtype=object)
        found[:] = [_value(one, arrays) for one in tree["items"]]
        return found.reshape(held)
    if kind == "$record":
        return _record(held)(**{n: _value(v, arrays) for n, v in tree["fields"].items()})
    raise ValueError(f"unknown kind {kind}")


def _record(name: str) -> Any:
    """A dataclass of this package; nothing else is ever looked up."""
    module, _, qualified = name.partition(":")
    if not module.startswith(f"{_PACKAGE}."):
        raise ValueError(f"{name} is none of this package")
    found = getattr(importlib.import_module(module), qualified)
    if not dataclasses.is_dataclass(found):
        raise ValueError(f"{name} is no record")
    return found
