"""Frozen settings: typed, in range, round-tripping through JSON, rejecting unknown keys.

The type hint of a field says what it takes, `Between`, `OneOf` and `Length` in it which of that::

    shells: Annotated[int, Between(0, 3)] = 2
    thresholds: Annotated[tuple[float, ...], Length(4), Between(0, 1)] = (0.5,) * 4

They are checked however settings are made: from JSON, by the command line, or in Python.
"""

from __future__ import annotations

import dataclasses
import functools
import types as pytypes
import typing
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from .types import DefectStrainError

_MAX_SHOWN = 60  # characters of a wrong value that a message repeats


@dataclasses.dataclass(frozen=True)
class Between:
    """The declared range of a number, ends included; no number is ever infinite or NaN."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (f"{v:g}" if isinstance(v, float) else str(v) for v in (self.low, self.high))
        return f"from {low} to {high}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The declared choices of a text or number."""

    choices: tuple[Any, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(str(c) or 'nothing' for c in self.choices)}"


@dataclasses.dataclass(frozen=True)
class Length:
    """The declared length of a list; several where several are allowed."""

    allowed: tuple[int, ...]

    def __init__(self, *allowed: int) -> None:
        object.__setattr__(self, "allowed", allowed)

    def __str__(self) -> str:
        return " or ".join(map(str, self.allowed))


SEED = Between(0, 2**63 - 1)
"""Range of a seed."""

PIXEL_SIZE_PM = Between(0.1, 1000.0)
"""Range of a pixel's side [pm]: beyond it no columns of a crystal are resolved, or no crystal."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings: plain frozen dataclasses of JSON values and other configs.

    Raises
    ------
    DefectStrainError
        If a value is not of its field's type or outside what the field declares.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(typing.cast(Any, type(self))).items():
            value = checked(hint, getattr(self, name), f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | None = None) -> Self:
        """Settings from JSON values.

        Parameters
        ----------
        values : mapping
        where : str, optional
            What messages put before a setting's name, for instance ``file.json: ``; default the
            name of the class.

        Raises
        ------
        DefectStrainError
            On an unknown key (a misspelt setting must not be silently ignored), and on a value
            of the wrong type or out of range. The message gives the path of the setting.
        """
        where = f"{cls.__name__}." if where is None else where
        hints = _hints(typing.cast(Any, cls))
        if not isinstance(values, Mapping):
            raise DefectStrainError(
                f"{where.rstrip('.: ')}: got {_shown(values)}, expected an object of settings"
            )
        unknown = sorted(str(key) for key in values if key not in hints)
        if unknown:
            raise DefectStrainError(
                f"{where}{unknown[0]}: got unknown setting(s) {', '.join(unknown)}, "
                f"expected some of {', '.join(sorted(hints))}"
            )
        return cls(**{n: checked(hints[n], v, f"{where}{n}", True) for n, v in values.items()})

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed."""
        return dataclasses.replace(self, **changes)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def checked(
    hint: Any, value: Any, path: str, from_json: bool = False, limits: tuple[Any, ...] = ()
) -> Any:
    """The value as the field holds it: NumPy's numbers as Python's, lists of JSON as tuples."""
    if typing.get_origin(hint) is typing.Annotated:
        hint, *more = typing.get_args(hint)
        limits = (*limits, *more)
    if typing.get_origin(hint) in (typing.Union, pytypes.UnionType):
        if value is None:
            return None
        (inner,) = (h for h in typing.get_args(hint) if h is not type(None))
        return checked(inner, value, path, from_json, limits)
    if typing.get_origin(hint) is tuple:
        return _checked_items(typing.get_args(hint), value, path, from_json, limits)
    if issubclass(hint, Config):
        if from_json:
            return hint.from_dict(value, f"{path}.")
        found = value if isinstance(value, hint) else None
    else:
        found = _plain(hint, value)
    if found is None or not all(_holds(limit, found) for limit in limits):
        chosen = any(isinstance(limit, OneOf) for limit in limits)
        kind = [] if chosen else [_KINDS.get(hint, f"a {hint.__name__}")]
        expected = " ".join([*kind, *map(str, limits)])
        raise DefectStrainError(f"{path}: got {_shown(value)}, expected {expected}")
    return found


def _checked_items(
    args: tuple[Any, ...], value: Any, path: str, from_json: bool, limits: tuple[Any, ...]
) -> tuple[Any, ...]:
    """A list, of which every entry keeps to the limits but for those of the list's length."""
    lengths = [limit for limit in limits if isinstance(limit, Length)]
    if Ellipsis not in args:  # a pair and the like: all of one kind
        lengths = [Length(len(args))]
    if not isinstance(value, list | tuple) or any(len(value) not in n.allowed for n in lengths):
        length = "".join(f" of {n} entries" for n in lengths)
        raise DefectStrainError(f"{path}: got {_shown(value)}, expected a list{length}")
    rest = tuple(limit for limit in limits if not isinstance(limit, Length))
    entries = enumerate(value)
    return tuple(checked(args[0], v, f"{path}[{i}]", from_json, rest) for i, v in entries)


_KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


def _plain(kind: type, value: Any) -> Any:
    """The value as `kind`; None where it is none: true is no number, "2" neither."""
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) if np.isfinite(float(value)) else None
        except OverflowError:  # a whole number of hundreds of digits
            return None
    return value if type(value) is kind else None


def _holds(limit: Any, value: Any) -> bool:
    if isinstance(limit, OneOf):
        return value in limit.choices
    return bool(limit.low <= value <= limit.high)


def _shown(value: Any) -> str:
    """A wrong value as JSON would have it where it can, cut where it is long."""
    names = {None: "null", True: "true", False: "false"}
    try:
        text = names[value] if value is None or isinstance(value, bool) else repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
