"""How a class of defects moves the columns around it, by the image's own columns."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from ..types import BoolArray, FloatArray
from .places import LatticePlaces

_SHELLS = ((0.577, True), (1.0, False), (1.155, True), (1.528, True))
"""Distance in lattice constants and sublattice (metal) of the shells that move."""
_TOLERANCE = 0.08
_RIDGE = 4.0
"""Columns that a class must have before it is believed to move anything."""


class Relaxation:
    """Radial displacements of the shells around the chalcogen columns of an image.

    Parameters
    ----------
    places : LatticePlaces
    ideal_px : array, `(N, 2)`
        Ideal places [px].
    a_px : float
        Lattice constant [px].
    """

    def __init__(self, places: LatticePlaces, ideal_px: FloatArray, a_px: float) -> None:
        n = len(ideal_px)
        on = np.flatnonzero(places.on_lattice)
        reach = (max(radius for radius, _ in _SHELLS) + _TOLERANCE) * a_px
        pair = on[cKDTree(ideal_px[on]).query_pairs(reach, output_type="ndarray")]
        both = np.concatenate([pair, pair[:, ::-1]])
        both = both[~places.is_metal[both[:, 0]]]
        centre, moved = both.T
        way = ideal_px[moved] - ideal_px[centre]
        length = np.hypot(way[:, 0], way[:, 1])
        way /= length[:, None]
        self._ways: list[tuple[csr_array, csr_array]] = []
        for radius, metal in _SHELLS:
            keep = np.abs(length / a_px - radius) < _TOLERANCE
            keep &= places.is_metal[moved] == metal
            index = (moved[keep], centre[keep])
            y, x = (csr_array((part[keep], index), shape=(n, n)) for part in way.T)
            self._ways.append((y, x))

    def fields(self, share: FloatArray) -> FloatArray:
        """Displacement of every column by a unit of each class and shell, `(N, 2, C * S)`.

        Parameters
        ----------
        share : array, `(N, C)`
            How far each column is of each class.
        """
        parts = [np.stack([y @ share, x @ share], axis=1) for y, x in self._ways]
        return np.concatenate(parts, axis=2)

    @property
    def first_metals(self) -> tuple[csr_array, csr_array]:
        """Directions (y, x) from each chalcogen column (columns) to its metals (rows)."""
        return self._ways[0]

    @staticmethod
    def fitted(
        fields: FloatArray, moved: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The displacement by all defects that fits what is measured, and the amount of each field.

        Parameters
        ----------
        fields : array, `(N, 2, K)`
        moved : array, `(N, 2)`
            Measured displacements.
        variance : array, `(N, 2)`
            Of those; inf for what isn't known.

        Returns
        -------
        displacement : array, `(N, 2)`
        amount : array, `(K,)`
        """
        known: BoolArray = np.isfinite(variance)
        matrix = fields[known]
        information = 1.0 / variance[known]
        gram = (matrix * information[:, None]).T @ matrix
        gram[np.diag_indices_from(gram)] += _RIDGE * np.median(information)
        amount = np.linalg.solve(gram, (matrix * information[:, None]).T @ moved[known])
        return np.asarray(fields @ amount), amount
