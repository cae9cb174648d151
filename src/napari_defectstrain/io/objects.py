"""What was measured as plain JSON and arrays, and back: tables, mappings, our dataclasses.

JSON holds names and small values, arrays lie beside it as ``.npy``, so that every program reads
both. What JSON knows stays as it is; the rest becomes a mapping with the key ``@``, which says what
it is. Arrays and dataclasses that occur twice are written once, and are one again when they are
read: where windows were left out, the stacks before and after share their pixels.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..types import DefectStrainError

MARK = "@"
PACKAGE = __name__.partition(".")[0]

Array = npt.NDArray[Any]


class Packer:
    """Makes JSON of values, and gathers their arrays."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self._numbers: dict[int, int] = {}
        self._written: dict[int, int] = {}
        self._alive: list[Any] = []  # ids are told apart only as long as their objects live

    def pack(self, value: Any) -> Any:
        """A value as JSON; its arrays join `arrays`.

        Raises
        ------
        DefectStrainError
            If it holds anything that isn't known here.
        """
        if value is None or isinstance(value, (bool, str)):
            return value if not isinstance(value, np.str_) else str(value)
        if isinstance(value, np.generic):
            return self.pack(value.item())
        if isinstance(value, (int, float)):
            known = isinstance(value, int) or math.isfinite(value)
            return value if known else {MARK: "number", "value": repr(float(value))}
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, pd.DataFrame):
            return self._table(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._object(value)
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list):
            return [self.pack(item) for item in value]
        if isinstance(value, (tuple, set, frozenset)):
            kind = next(k for k in (tuple, frozenset, set) if isinstance(value, k)).__name__
            items = value if kind == "tuple" else sorted(value)
            return {MARK: kind, "items": [self.pack(item) for item in items]}
        if isinstance(value, PurePath):
            return str(value)
        raise DefectStrainError(f"got a {type(value).__name__}, which no file of ours can hold")

    def _array(self, value: Array) -> dict[str, Any]:
        if value.dtype.kind == "O":
            items = [self.pack(item) for item in value.ravel()]
            return {MARK: "objects", "shape": list(value.shape), "items": items}
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.arrays)
            self.arrays.append(value)
        return {MARK: "array", "n": self._numbers[id(value)]}

    def _table(self, table: pd.DataFrame) -> dict[str, Any]:
        columns: list[Any] = []
        for name in table.columns:
            column = table[name]
            if isinstance(column.dtype, pd.CategoricalDtype):
                codes = self.pack(column.cat.codes.to_numpy())
                names = [self.pack(c) for c in column.cat.categories]
                content = {MARK: "categories", "codes": codes, "names": names}
            else:
                content = self.pack(np.asarray(column))
            columns.append([self.pack(name), content])
        return {MARK: "table", "rows": len(table), "columns": columns}

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        if all(isinstance(key, str) for key in value) and MARK not in value:
            return {str(key): self.pack(item) for key, item in value.items()}
        pairs = [[self.pack(key), self.pack(item)] for key, item in value.items()]
        return {MARK: "pairs", "items": pairs}

    def _object(self, value: Any) -> dict[str, Any]:
        if id(value) in self._written:
            return {MARK: "same", "n": self._written[id(value)]}
        module, _, rest = type(value).__module__.partition(".")
        if module != PACKAGE:
            raise DefectStrainError(f"got a {type(value).__name__}, which no file of ours can hold")
        fields = {f.name: self.pack(getattr(value, f.name)) for f in dataclasses.fields(value)}
        number = self._written[id(value)] = len(self._written)
        self._alive.append(value)
        name = f"{rest}:{type(value).__qualname__}"
        return {MARK: "object", "n": number, "type": name, "fields": fields}


class Unpacker:
    """Makes values of JSON and arrays.

    Parameters
    ----------
    array : callable
        Gives an array by its number.
    """

    def __init__(self, array: Callable[[int], Array]) -> None:
        self._read = array
        self._arrays: dict[int, Array] = {}
        self._objects: dict[int, Any] = {}

    def unpack(self, content: Any) -> Any:
        """The value that was packed.

        Raises
        ------
        DefectStrainError
            If it is damaged, or of a later version that knows more.
        """
        if isinstance(content, list):
            return [self.unpack(item) for item in content]
        if not isinstance(content, dict):
            return content
        if MARK not in content:
            return {key: self.unpack(item) for key, item in content.items()}
        try:
            return self._marked(content)
        except DefectStrainError:
            raise
        except Exception as error:
            raise DefectStrainError(
                f"damaged: {content.get(MARK)!r} can't be read ({type(error).__name__})"
            ) from error

    def _marked(self, content: dict[str, Any]) -> Any:
        kind = content[MARK]
        if kind == "number":
            return float(content["value"])
        if kind in ("tuple", "set", "frozenset"):
            make = {"tuple": tuple, "set": set, "frozenset": frozenset}[kind]
            return make(self.unpack(item) for item in content["items"])
        if kind == "pairs":
            return {self.unpack(key): self.unpack(item) for key, item in content["items"]}
        if kind == "array":
            return self._array(content["n"])
        if kind == "objects":
            found = np.empty(len(content["items"]), dtype=object)
            found[:] = [self.unpack(item) for item in content["items"]]
            return found.reshape(content["shape"])
        if kind == "table":
            return self._table(content)
        if kind == "same":
            return self._objects[content["n"]]
        if kind == "object":
            return self._object(content)
        raise DefectStrainError(f"got {kind!r}, which this version doesn't know: is it newer?")

    def _array(self, number: int) -> Array:
        if number not in self._arrays:
            self._arrays[number] = self._read(number)
        return self._arrays[number]

    def _table(self, content: dict[str, Any]) -> pd.DataFrame:
        columns: dict[Any, Any] = {}
        for name, column in content["columns"]:
            if isinstance(column, dict) and column.get(MARK) == "categories":
                codes, names = self.unpack(column["codes"]), self.unpack(column["names"])
                columns[self.unpack(name)] = pd.Categorical.from_codes(codes, names)
            else:
                columns[self.unpack(name)] = self.unpack(column)
        return pd.DataFrame(columns, index=pd.RangeIndex(content["rows"]))

    def _object(self, content: dict[str, Any]) -> Any:
        kind = _known_type(content["type"])
        values = {name: self.unpack(item) for name, item in content["fields"].items()}
        given = {f.name for f in dataclasses.fields(kind) if f.init}
        found = kind(**{name: item for name, item in values.items() if name in given})
        for name in values.keys() - given:
            object.__setattr__(found, name, values[name])
        self._objects[content["n"]] = found
        return found


def _known_type(name: str) -> type:
    """A dataclass of this package by its name; nothing else is ever made from a file."""
    module, _, attribute = name.partition(":")
    parts = (*module.split("."), attribute)
    if not all(part.isidentifier() for part in parts):
        raise DefectStrainError(f"got the type {name!r}, expected one of ours")
    try:
        found = getattr(importlib.import_module(f"{PACKAGE}.{module}"), attribute, None)
    except ImportError:
        found = None
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise DefectStrainError(
            f"got the type {name!r}, which this version doesn't know: was it written by another?"
        )
    return found
