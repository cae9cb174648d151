"""Displacements around point defects, analytic or relaxed, and their sum over a crystal."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import scipy.fft

from ..crystal.structures import RelaxedColumns, read_relaxed
from ..types import FloatArray, IntArray

Field = Callable[[FloatArray], FloatArray]
"""Displacement (x, y) [pm] at offsets (x, y) from a defect [pm], `(..., 2)` both."""


def relaxation(
    offset_pm: FloatArray, spacing_change: FloatArray | float, lattice_pm: float
) -> FloatArray:
    """Displacement beside a point defect: linear inside the ring of metal columns, 1/r outside.

    Radial, ``u0 r / r0`` for ``r < r0`` and ``u0 r0 / r`` beyond, with ``r0 = a / sqrt(3)`` and
    ``u0 = spacing_change a / sqrt(3)``: the field of a 2D inclusion (Eshelby, doi
    10.1098/rspa.1957.0133) whose radius is the metal ring.

    Parameters
    ----------
    offset_pm : array, `(..., 2)`
        Place relative to the defect [pm].
    spacing_change : array, `(...)`
        Relative change of the spacing of the three nearest metal columns.
    lattice_pm : float
    """
    ring = lattice_pm / np.sqrt(3)
    r2 = np.maximum((offset_pm**2).sum(axis=-1), ring**2)
    return np.asarray((np.asarray(spacing_change) * ring * ring / r2)[..., None] * offset_pm)


def superpose(
    site_pm: FloatArray,
    defect: IntArray,
    strength: FloatArray,
    field: Field,
    lattice_pm: float,
) -> FloatArray:
    """Sum of a field over defects, at sites of a honeycomb, `(N, 2)` [pm].

    Sites differ by lattice vectors and by the offsets of three sublattices (chalcogen, metal,
    centres of hexagons), so that the sum is a convolution on the lattice: exact, by Fourier
    transforms.

    Parameters
    ----------
    site_pm : array, `(N, 2)`
        Sites as `lattice_sites` gives them, or centres of hexagons.
    defect : array of int, `(D,)`
        Which of the sites hold a defect.
    strength : array, `(D,)`
        Factor of the field of each defect.
    field : callable
    lattice_pm : float
    """
    cell = lattice_pm * np.array([[1.0, 0.5], [0.0, np.sqrt(3) / 2]])  # columns a1, a2
    # offsets along y in steps of a / sqrt(3); the third step is a lattice vector again
    whole = np.linalg.solve(cell, site_pm.T).T  # (N, 2): integers plus s (-1/3, 2/3)
    sublattice = np.rint(3 * (whole[:, 0] + whole[:, 1])).astype(int) % 3
    offset = np.array([[0.0, s * lattice_pm / np.sqrt(3)] for s in range(3)])
    index = np.rint(np.linalg.solve(cell, (site_pm - offset[sublattice]).T).T).astype(int)
    index -= index.min(axis=0)
    extent = index.max(axis=0) + 1
    size = [scipy.fft.next_fast_len(2 * int(n), real=True) for n in extent]
    steps = [
        np.where(np.arange(n) < e, np.arange(n), np.arange(n) - n)
        for n, e in zip(size, extent, strict=True)
    ]
    lattice = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1) @ cell.T  # (s0, s1, 2)
    density = np.zeros((3, *size))
    where = index[defect]
    density[sublattice[defect], where[:, 0], where[:, 1]] = strength
    sources = [s for s in range(3) if density[s].any()]
    spectrum = {s: scipy.fft.rfft2(density[s]) for s in sources}
    out = np.zeros(site_pm.shape)
    for target in range(3):
        mine = sublattice == target
        if not mine.any():
            continue
        total = np.zeros((2, size[0], size[1] // 2 + 1), dtype=complex)
        for source in sources:
            kernel = field(lattice + offset[target] - offset[source])
            for axis in range(2):
                total[axis] += spectrum[source] * scipy.fft.rfft2(kernel[..., axis])
        for axis in range(2):
            summed = scipy.fft.irfft2(total[axis], s=size)
            out[mine, axis] = summed[index[mine, 0], index[mine, 1]]
    return out


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
