"""Scores against the conditions of images, which show where detection stops working."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..materials import DEFECT_ROLES
from ..types import FloatArray, IntArray
from .score import f1_by_role

PARAMETERS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "dose_e_per_nm2": (
        ("dose_e_per_nm2", 1.0),
        ("dose_e_nm2", 1.0),
        ("dose_e_per_a2", 100.0),
        ("dose", 1.0),
    ),
    "contamination": (("contamination", 1.0),),
    "pixel_size_pm": (
        ("pixel_size_pm", 1.0),
        ("pixel_pm", 1.0),
        ("pixel_size_nm", 1e3),
        ("pixel_size_a", 100.0),
    ),
    "defocus_nm": (
        ("c1_pm", 1e-3),
        ("defocus_pm", 1e-3),
        ("defocus_nm", 1.0),
        ("defocus_a", 0.1),
        ("c1_nm", 1.0),
    ),
    "jitter_px": (("jitter_px", 1.0),),
    "read_noise": (("read_noise", 1.0),),
    "tilt_mrad": (("tilt_mrad", 1.0),),
}
"""What curves are drawn against: names that settings give it, and the factor to its unit."""

LABELS: Mapping[str, str] = {
    "dose_e_per_nm2": "dose [e$^-$/nm$^2$]",
    "contamination": "contamination / metal column",
    "pixel_size_pm": "pixel size [pm]",
    "defocus_nm": "|defocus| [nm]",
    "jitter_px": "scan-line jitter a frame [px]",
    "read_noise": "read noise / metal column",
    "tilt_mrad": "tilt [mrad]",
}

_MIN_RANGE = 0.1
_MAX_BINS = 6
_DRAWS = 200


def conditions_of(settings: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among settings, however nested, that curves can be drawn against."""
    leaves: dict[str, float] = {}
    _flatten(settings, leaves)
    found: dict[str, float] = {}
    for name, spellings in PARAMETERS.items():
        for spelling, factor in spellings:
            if spelling in leaves:
                found[name] = leaves[spelling] * factor
                break
    if "defocus_nm" in found:
        found["defocus_nm"] = abs(found["defocus_nm"])
    return found


def _flatten(values: Mapping[str, Any], leaves: dict[str, float]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _flatten(value, leaves)
            continue
        numbers = value if isinstance(value, list) and value else [value]  # one a frame: their mean
        if all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            leaves.setdefault(str(name).casefold(), float(np.mean(numbers)))


def settings_beside(folder: Path, stem: str) -> dict[str, Any]:
    """Settings of an image in a JSON file of its folder: its own, or one that lists images.

    ``<stem>.json``, ``<stem>.truth.json``, or any ``*.json`` with an entry for the stem under
    ``images``; empty where there is none.
    """
    for name in (f"{stem}.json", f"{stem}.truth.json"):
        values = _load(folder / name)
        if values:
            images = values.get("images")
            if isinstance(images, dict) and isinstance(images.get(stem), dict):
                return dict(images[stem])
            return values
    for path in sorted(folder.glob("*.json")):
        images = _load(path).get("images")
        if isinstance(images, dict) and isinstance(images.get(stem), dict):
            return dict(images[stem])
    return {}


def _load(path: Path) -> dict[str, Any]:
    """A JSON object, or nothing: what lies beside a table need not be ours."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def varied(conditions: Sequence[Mapping[str, float]]) -> list[str]:
    """Parameters that all images state and that vary by more than 10 % over them."""
    found = []
    for name in PARAMETERS:
        values = np.array([c.get(name, np.nan) for c in conditions])
        if not np.isfinite(values).all() or len(np.unique(values)) < 3:
            continue
        if np.ptp(values) > _MIN_RANGE * max(np.abs(values).max(), 1e-12):
            found.append(name)
    return found


def curve(values: FloatArray, counts: Sequence[IntArray], groups: int = _MAX_BINS) -> pd.DataFrame:
    """F1 of each class against a parameter: images of similar values are counted together.

    Parameters
    ----------
    values : array, `(I,)`
        The parameter of each image.
    counts : sequence of array, `(8, 8)`
        Confusion matrix of each image.
    groups : int
        Most points of the curve, each of about as many images.

    Returns
    -------
    DataFrame
        value (mean), images, and F1 with its bootstrap standard deviation of each role.
    """
    values = np.asarray(values, dtype=float)
    distinct = np.unique(values)
    if len(distinct) <= groups:
        parts = [np.flatnonzero(values == v) for v in distinct]
    else:
        parts = [p for p in np.array_split(np.argsort(values, kind="stable"), groups) if len(p)]
    rng = np.random.default_rng(0)
    rows = []
    for part in parts:
        total = np.sum([counts[int(i)] for i in part], axis=0)
        row: dict[str, float] = {"value": float(values[part].mean()), "images": len(part)}
        error = f1_errors(total, rng)
        for role, f1, std in zip(DEFECT_ROLES, f1_by_role(total), error, strict=True):
            row[role], row[f"{role}_std"] = float(f1), float(std)
        rows.append(row)
    return pd.DataFrame(rows)


def f1_errors(counts: IntArray, rng: np.random.Generator) -> FloatArray:
    """Standard deviation of F1 of each defect class, `(4,)`: every count is a Poisson number."""
    draws = f1_by_role(rng.poisson(counts, (_DRAWS, *counts.shape)))  # (draws, 4)
    valid = np.isfinite(draws).sum(axis=0) > 1
    std = np.full(draws.shape[1], np.nan)
    std[valid] = np.nanstd(draws[:, valid], axis=0)
    return std
