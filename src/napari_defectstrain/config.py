"""Frozen settings that round-trip through JSON and reject unknown keys."""

from __future__ import annotations

import dataclasses
import types as pytypes
import typing
from collections.abc import Mapping
from typing import Any, Self

from .types import DefectStrainError


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings: plain frozen dataclasses of JSON values and other configs."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from JSON values.

        Raises
        ------
        DefectStrainError
            On an unknown key: a misspelt setting must not be silently ignored.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise DefectStrainError(
                f"{cls.__name__}: got unknown setting(s) {', '.join(unknown)}, "
                f"expected some of {', '.join(sorted(known))}"
            )
        hints = typing.get_type_hints(cls)
        return cls(**{name: _decode(hints[name], value) for name, value in values.items()})

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed."""
        return dataclasses.replace(self, **changes)


def _decode(hint: Any, value: Any) -> Any:
    """JSON gives lists and dicts; the fields want tuples and configs."""
    if value is None:
        return None
    origin = typing.get_origin(hint)
    if origin in (typing.Union, pytypes.UnionType):
        inner = [h for h in typing.get_args(hint) if h is not type(None)]
        return _decode(inner[0], value) if len(inner) == 1 else value
    if isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, Mapping):
        return hint.from_dict(value)
    if origin is tuple and isinstance(value, list):
        args = typing.get_args(hint)
        inner_hint = args[0] if args else Any
        return tuple(_decode(inner_hint, v) for v in value)
    return value
