"""Relaxed structures as the displacement fields of simulated defects."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from ..crystal.structures import RelaxedColumns, read_relaxed
from ..types import FloatArray


@lru_cache(maxsize=16)
def relaxed_columns(defect: str, pristine: str) -> RelaxedColumns:
    """As `structures.read_relaxed`; names of the bundled structures (``SV_9x9.extxyz``) do too."""
    folder = files("napari_defectstrain.sample_data")
    with as_file(folder) as here:
        paths = [p if p.is_file() else Path(here) / p.name for p in (Path(defect), Path(pristine))]
        return read_relaxed(*paths)


def relaxed_displacement(
    offset_pm: FloatArray, defect: str, pristine: str, lattice_pm: float
) -> FloatArray:
    """Displacement at offsets `(..., 2)` from a defect [pm]; zero beyond the supercell."""
    return np.nan_to_num(relaxed_columns(defect, pristine).at(offset_pm, lattice_pm))
