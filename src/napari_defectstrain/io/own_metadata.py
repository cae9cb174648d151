"""What files of our own may say of themselves: known keys, each of its type and in range.

A file is not trusted for having been written by this software once: what it carries ends up beside
results, in the settings of a simulation, and in the layers of a viewer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..types import DefectStrainError

MAX_TEXT = 10_000
Check = Callable[[Any], bool]


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> bool:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        return plain and math.isfinite(value) and low <= value <= high

    return check


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(_text(entry) for entry in value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_number(-1e12, 1e12)(entry) for entry in value)


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(_numbers(row) and len(row) == 2 for row in value)


def _settings(value: Any) -> bool:
    """Settings are read by the config that they belong to, which checks them itself."""
    return isinstance(value, Mapping)


def _named_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_text(entry) for entry in value.values())


def _named_shares(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_number(0, 1)(entry) for entry in value.values())


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


KNOWN: Mapping[str, tuple[Check, str]] = {
    "software": (_text, "text"),
    "version": (_text, "text"),
    "pixel_size_pm": (_or_none(_number(1e-3, 1e6)), "0.001 to 1e6 pm"),
    "channels": (_texts, "a list of names"),
    # of the microscope
    "beam_energy_kev": (_number(1, 3000), "1 to 3000 keV"),
    "semi_angle_mrad": (_number(0, 500), "0 to 500 mrad"),
    "dwell_time_us": (_number(0, 1e9), "0 to 1e9 µs"),
    "title": (_text, "text"),
    "channel": (_text, "text"),
    # of simulated images
    "simulated": (_flag, "true or false"),
    "simulation": (_settings, "settings"),
    "drift_pm_yx": (_pairs, "pairs of numbers"),
    "contamination_of": (_text, "text"),
    # of results
    "weights_sha256": (_or_none(_text), "text"),
    "parameters": (_settings, "settings"),
    "class": (_text, "text"),
    "n": (_count, "a whole number"),
    "n_excluded": (_count, "a whole number"),
    "expected_purity": (_or_none(_number(0, 1)), "0 to 1"),
    "expected_contaminants": (_named_shares, "fractions by class"),
    "unit": (_text, "text"),
    "frame": (_text, "text"),
    "lattice_pm": (_number(1, 1e5), "1 to 1e5 pm"),
    "step_pm": (_number(1e-3, 1e6), "0.001 to 1e6 pm"),
    "origin_px": (_numbers, "numbers"),
    "x_pm": (_numbers, "numbers"),
    "y_pm": (_numbers, "numbers"),
    "smoothing_pm": (_number(0, 1e6), "0 to 1e6 pm"),
    "labels": (_named_texts, "names by label"),
}
"""Every key that `io.write_tiff` is given: what its values may be, and that in words."""


def checked_metadata(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The known keys of a file's own metadata; others are left out.

    Parameters
    ----------
    content : mapping
        JSON values.
    name : str
        Name of the file.

    Raises
    ------
    DefectStrainError
        If a known key holds a value of another type or out of range.
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key not in KNOWN:
            continue
        check, expected = KNOWN[key]
        if not check(value):
            raise DefectStrainError(
                f"{name}: its own description says {key} = {_short(value)}, expected {expected}; "
                "it was changed or damaged: export the image again"
            )
        found[key] = value
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
