"""Windows of an image in the lattice frame: where they lie, and how they are cut out of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.spatial import cKDTree

from ..crystal.lattice import ideal_sites, nearest_sites
from ..crystal.robust import robust_sigma
from ..progress import shared_out
from ..types import METAL, OTHER, BoolArray, DefectStrainError, FloatArray, ImageLattice, IntArray
from ..units import PM_PER_NM

CORE_RADIUS = 0.8
"""Radius of what registration leaves out [a]: in the gap between the three nearest metals
(0.58 a), which the defect moves most, and the first chalcogen shell (1 a). The field of a defect
has no mean displacement by symmetry, so what lies outside does not pull."""

SPLINE_ORDER = 5
CENTRE_REACH_PM = 1200.0
CENTRE_FREE = 1.1  # a; the first shell moves with the defect and tells nothing of the lattice
MIN_NEIGHBOURS = 10
CHUNK = 32  # windows interpolated at a time: coordinates of 32 x 131^2 px are 9 MB


@dataclass(frozen=True)
class WindowFrame:
    """The grid of a window: odd side, the central pixel at the origin, row 0 at the largest y.

    Parameters
    ----------
    a_pm, step_pm : float
        Lattice constant of the lattice frame, side of a pixel [pm].
    window_nm : float
        Side of the window [nm]; rounded up to an odd number of pixels.
    """

    a_pm: float
    step_pm: float
    window_nm: float

    @property
    def half(self) -> int:
        """Pixels on each side of the central one."""
        return int(np.ceil((self.window_nm * PM_PER_NM / self.step_pm - 1) / 2 - 1e-9))

    @property
    def shape(self) -> tuple[int, int]:
        """`(P, P)`."""
        return 2 * self.half + 1, 2 * self.half + 1

    @cached_property
    def position_pm(self) -> FloatArray:
        """(x, y) of every pixel in the lattice frame, y up, `(P, P, 2)` [pm]."""
        row, column = np.mgrid[-self.half : self.half + 1, -self.half : self.half + 1]
        return np.asarray(np.stack([column, -row], axis=2) * self.step_pm)

    def outside(self, radius: float) -> BoolArray:
        """Pixels farther from the centre than `radius` lattice constants, `(P, P)`."""
        return np.asarray(np.linalg.norm(self.position_pm, axis=2) > radius * self.a_pm)

    @cached_property
    def hexagon_centres(self) -> BoolArray:
        """Pixels around the hexagon centres outside the first shell, `(P, P)`.

        Within 0.15 a of a centre; within 1.2 a of the origin the tails of the defect count.
        """
        side = (self.half + 1) * self.step_pm
        site, is_metal = ideal_sites(self.a_pm, side * 1.5)
        # The third site of the honeycomb's cell is the metal's inverted.
        centre = -site[is_metal]
        centre = centre[np.hypot(*centre.T) > 1.2 * self.a_pm]
        distance, _ = cKDTree(centre).query(self.position_pm)
        return np.asarray(distance < 0.15 * self.a_pm)

    def levelled(self, windows: FloatArray) -> FloatArray:
        """Windows `(N, P, P)` less what is at their hexagon centres."""
        floor = windows[:, self.hexagon_centres].mean(axis=1)
        return np.asarray(windows - floor[:, None, None])

    def fits(
        self,
        centre_px: FloatArray,
        lattice: ImageLattice,
        shape: tuple[int, int],
        margin_px: float,
    ) -> BoolArray:
        """Whether windows around these centres lie inside an image, `(N,)`."""
        reach = self.half * self.step_pm
        corner = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * reach @ lattice.matrix.T
        place = centre_px[:, None] + corner  # (n, 4, 2)
        last = np.array(shape) - 1 - margin_px
        return np.asarray(((place >= margin_px) & (place <= last)).all(axis=(1, 2)))


def window_centres(
    position_px: FloatArray, class_index: IntArray, index: IntArray, lattice: ImageLattice
) -> FloatArray:
    """Where the lattice around a column puts its ideal site.

    Mean distance of the columns within 1.2 nm from their ideal sites, counted from the column
    itself: it follows slow distortion of the scan. The defect's own columns (within 1.1 a) have no
    say, nor have columns of the class other, which may lie anywhere.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) of all columns [px].
    class_index : array of int, `(N,)`
        Role of each column (0 metal, 1 X2, 2-5 defects, 6 other).
    index : array of int, `(M,)`
        Chalcogen columns asked for.
    lattice : ImageLattice

    Returns
    -------
    array, `(M, 2)`
        (y, x) [px]; the column's own position where fewer than 10 neighbours tell.
    """
    start = np.asarray(position_px, dtype=float)[index]
    if len(index) == 0:
        return start
    scale = float(np.sqrt(np.linalg.det(lattice.matrix)))
    around = cKDTree(position_px).query_ball_point(start, CENTRE_REACH_PM * scale)
    owner = np.repeat(np.arange(len(index)), [len(a) for a in around])
    other = np.concatenate([np.asarray(a, dtype=int) for a in around])
    offset_pm = (position_px[other] - start[owner]) @ np.linalg.inv(lattice.matrix).T
    site, metal_site = nearest_sites(offset_pm, lattice.a_pm)
    residual = offset_pm - site
    use = (
        (np.hypot(*site.T) > CENTRE_FREE * lattice.a_pm)
        & (metal_site == (class_index[other] == METAL))
        & (class_index[other] != OTHER)
        & (np.hypot(*residual.T) < 0.25 * lattice.a_pm)
    )
    count = np.bincount(owner[use], minlength=len(index))
    total = np.stack(
        [np.bincount(owner[use], residual[use, k], minlength=len(index)) for k in (0, 1)], axis=1
    )
    shift = np.where(count >= MIN_NEIGHBOURS, 1.0 / np.maximum(count, 1), 0.0)[:, None] * total
    return np.asarray(start + shift @ lattice.matrix.T)


@dataclass(frozen=True)
class WindowSource:
    """An image ready for interpolation: spline coefficients, lattice and brightness.

    Parameters
    ----------
    coefficients : array, `(H, W)`
        B-spline coefficients of the raw image.
    lattice : ImageLattice
    height : float
        Mean of the metal columns above the hexagon centres around them, in units of the image.
    """

    coefficients: FloatArray
    lattice: ImageLattice
    height: float

    @classmethod
    def of(
        cls,
        data: FloatArray,
        metal_px: FloatArray,
        lattice: ImageLattice,
        name: str,
        coefficients: FloatArray | None = None,
    ) -> WindowSource:
        """Prepare an image, or a domain of it.

        Parameters
        ----------
        data : array, `(H, W)`
        metal_px : array, `(M, 2)`
            (y, x) of its metal columns [px].
        lattice : ImageLattice
        name : str
            Of the image, for messages.
        coefficients : array, `(H, W)`, optional
            Those of another domain of the same image, to be shared.

        Raises
        ------
        DefectStrainError
            If the metal columns aren't brighter than the hexagon centres.
        """
        if coefficients is None:
            coefficients = spline_filter(  # float32: nine images of 4096 px a side are 0.6 GB
                np.asarray(data, dtype=float), SPLINE_ORDER, output=np.float32, mode="mirror"
            )
        angle = np.deg2rad([90.0, 210.0, 330.0])  # hexagon centres as seen from a metal
        step = lattice.a_pm / np.sqrt(3) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        around = metal_px[:, None] + step @ lattice.matrix.T  # (m, 3, 2)
        last = np.array(data.shape) - 2
        inside = ((around > 1) & (around < last)).all(axis=(1, 2))
        height = _sampled(coefficients, metal_px[inside])
        height = height - _sampled(coefficients, around[inside]).mean(axis=1)
        middle = float(np.median(height)) if len(height) else 0.0
        spread = robust_sigma(height, middle) if len(height) else 0.0
        if not middle > 0:
            raise DefectStrainError(
                f"{name}: metal columns are not brighter than the hexagon centres, expected an "
                "annular dark-field image with its columns detected; check contrast and sites"
            )
        typical = height[np.abs(height - middle) <= 3 * spread]
        return cls(coefficients, lattice, float(typical.mean()))

    def cut(self, centre_px: FloatArray, frame: WindowFrame) -> FloatArray:
        """Windows around centres `(N, 2)` [px], background 0, metal 1; `(N, P, P)` float32."""
        grid = frame.position_pm.reshape(-1, 2) @ self.lattice.matrix.T  # (p^2, 2) px
        windows = np.empty((len(centre_px), *frame.shape), dtype=np.float32)

        def fill(start: int) -> None:
            place = centre_px[start : start + CHUNK, None] + grid
            value = _sampled(self.coefficients, place).reshape(-1, *frame.shape)
            windows[start : start + CHUNK] = frame.levelled(value) / self.height

        shared_out(fill, range(0, len(centre_px), CHUNK), algebra=False)
        return windows


def _sampled(coefficients: FloatArray, place_px: FloatArray) -> FloatArray:
    """Spline values at places `(..., 2)` (y, x)."""
    return np.asarray(
        map_coordinates(
            coefficients,
            np.moveaxis(place_px, -1, 0),
            order=SPLINE_ORDER,
            mode="mirror",
            prefilter=False,
        )
    )
