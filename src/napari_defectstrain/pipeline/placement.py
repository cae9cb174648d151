"""Where the columns of a table lie in its image: judged by the picture, not by what was meant.

Tables come from other programs, which count pixels from 1, put x before y, or y upwards. The
picture decides: at a table's columns it is bright by their classes, and nowhere else so.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from ..types import (
    METAL,
    OTHER,
    BoolArray,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    IntArray,
    Sites,
)
from ..units import PM_PER_NM
from .table_doubts import SAME_COLUMN, doubtful_rows, lines

MIN_AGREEMENT = 0.5
"""Least cosine between the contrast at the columns and that of their classes; tables of their own
image reach 0.9 even in poor ones, others seldom 0.6, and then their defects give them away."""

MIN_COLUMNS = 30
"""Tables of fewer columns are taken as they are: too few to judge by."""

_SAMPLE = 4000  # columns that are looked at: more say nothing new
_STEP_PX = 0.25
_OFFSETS_PX = tuple(_STEP_PX * k for k in range(-6, 7))
_MIN_OFFSET_PX = 0.35
_MIN_OFFSET = 0.012  # [a]: below it an aberration may shift all columns alike
_SNAP_PX = 0.15
_CLEARLY = 6.0  # standard errors
_TIE = 4.0
_OUTSIDE = 0.05  # fraction of a table that may lie outside before it counts as misplaced
_COLUMNS_PER_A2 = 4 / np.sqrt(3)
_DENSITIES = (0.02, 10.0)  # relative to the crystal's: half empty tables, repeated rows
_MIN_DEFECTS = 10
_MIN_CONTRAST = 0.25  # of the defects, relative to that between metal and chalcogen


@dataclass(frozen=True)
class _Placement:
    """How a table's positions become those in the image."""

    scale: float = 1.0
    unit: str = "px"
    swapped: bool = False
    flipped_y: bool = False
    flipped_x: bool = False
    offset_px: tuple[float, float] = (0.0, 0.0)

    def apply(self, position: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        moved = position[:, ::-1] * self.scale if self.swapped else position * self.scale
        turned = np.where((self.flipped_y, self.flipped_x), np.array(shape) - 1 - moved, moved)
        return np.asarray(turned + self.offset_px)

    @property
    def turns(self) -> tuple[bool, ...]:
        """What is exchanged or turned; the more usual, the earlier in order."""
        return self.swapped, self.flipped_x, self.flipped_y

    @property
    def text(self) -> str:
        """What was wrong with the table and has been made good."""
        said = [f"positions are in {self.unit} rather than px"] if self.unit != "px" else []
        if self.swapped:
            said.append("x and y are exchanged")
        said += ["y counts from the bottom"] if self.flipped_y else []
        said += ["x counts from the right"] if self.flipped_x else []
        # as the table counts: a flip turns the offset over
        signs = (1 if self.flipped_y else -1, 1 if self.flipped_x else -1)
        off = tuple(sign * d + 0.0 for sign, d in zip(signs, self.offset_px, strict=True))
        if off == (1.0, 1.0):
            said.append("pixels count from 1")
        elif any(off):
            said.append(f"all columns lie {off[0]:+.2g} px off in y, {off[1]:+.2g} px in x")
        return ", ".join(said)


@dataclass(frozen=True)
class _Fit:
    """A placement and the contrast that its columns find there, in order of agreement."""

    agreement: float
    placement: _Placement
    found: FloatArray


def place_sites(
    image: CalibratedImage, sites: Sites, a_px: float, weights: Sequence[float]
) -> tuple[Sites, tuple[str, ...]]:
    """Columns of a table where the picture has them, each once.

    Exchanged and flipped axes, a common offset (pixels counted from 1 or from their corner) and
    positions in pm or nm are found by agreement with the picture and made good; rows for the same
    column are merged. A table that fits as it is stays as it is.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
        In the order of the table's rows.
    a_px : float
        Lattice constant in the image [px].
    weights : sequence of float
        Brightness of the columns metal, X2, XY, Y2, V1, V2.

    Returns
    -------
    sites : Sites
    notes : tuple of str
        What was made good.

    Raises
    ------
    DefectStrainError
        If the table does not fit the picture, fits in several ways, has columns outside the image,
        or two classes for one column.
    """
    notes = []
    placement = _Placement()
    judged = _Picture(image, sites, a_px, weights)
    if len(judged) >= MIN_COLUMNS:
        placement = judged.placement()
    if placement != _Placement():
        moved = placement.apply(np.asarray(sites.position_px, dtype=float), image.data.shape)
        sites = replace(sites, position_px=moved)
        notes.append(f"{image.name}: in its table {placement.text}: made good, as the picture says")
    _refuse_outside(image, sites)
    if len(judged) >= MIN_COLUMNS and not judged.agrees:
        raise DefectStrainError(
            f"{image.name}: the {len(sites)} columns of its table lie unlike those of a crystal of "
            f"{a_px:.3g} px; expected y_px and x_px in pixels of this image"
        )
    once, merged = _each_once(image.name, sites, SAME_COLUMN * a_px)
    doubts = doubtful_rows(image.name, sites, a_px) if len(judged) >= MIN_COLUMNS else ()
    return once, (*notes, *merged, *doubts)


def place_positions(
    image: CalibratedImage, position_px: FloatArray, a_px: float, strict: bool
) -> tuple[FloatArray, tuple[str, ...]]:
    """Positions of which no class is known where the picture has columns.

    As `place_sites`, but that all columns are only expected to be brighter than what is between.

    Parameters
    ----------
    image : CalibratedImage
    position_px : array, `(N, 2)`
        (y, x) as a file has them.
    a_px : float
        Lattice constant in the image [px].
    strict : bool
        Whether these are all columns: positions that fit in no way, or in several, are refused.
        Else they stay, and only their unit is made good: of a few points, which may be the dark
        columns, brightness tells neither turns nor offsets.

    Returns
    -------
    position_px : array, `(N, 2)`
    notes : tuple of str
        What was made good.
    """
    n = len(position_px)
    alike = Sites(
        position_px=np.asarray(position_px, dtype=float),
        probabilities=np.ones((n, 1)),
        class_index=np.zeros(n, dtype=int),
        class_names=("column",),
        source=np.full(n, "file"),
    )
    if n < MIN_COLUMNS:
        return alike.position_px, ()
    # some points may be the dark columns: turned, or moved, they'd lie on brighter ones
    judged = _Picture(image, alike, a_px, (1.0, 0.0), turns=strict)
    try:
        placement = judged.placement()
    except DefectStrainError:
        if strict:
            raise
        return alike.position_px, ()
    if strict and not judged.agrees:
        raise DefectStrainError(
            f"{image.name}: the {n} positions lie unlike the columns of a crystal of {a_px:.3g} "
            "px; are they those of another image?"
        )
    if placement == _Placement():
        return alike.position_px, ()
    note = f"{image.name}: in its table {placement.text}: made good, as the picture says"
    return placement.apply(alike.position_px, image.data.shape), (note,)


class _Picture:
    """An image's contrast, and what a table's columns should find there."""

    def __init__(
        self,
        image: CalibratedImage,
        sites: Sites,
        a_px: float,
        weights: Sequence[float],
        turns: bool = True,
    ) -> None:
        self.image, self.a_px = image, a_px
        self.turns = turns
        self.agrees = False
        chosen = np.flatnonzero(sites.class_index < OTHER)  # how bright named ones are isn't told
        self.n = len(chosen)
        chosen = chosen[:: 1 + len(chosen) // _SAMPLE]
        self.classes: IntArray = sites.class_index[chosen]
        self.position = np.asarray(sites.position_px[chosen], dtype=float)
        w = np.asarray(weights, dtype=float)
        # above the mean of a cell, about a quarter of what its two columns hold
        self.expected: FloatArray = w[self.classes] - 0.25 * (w[0] + w[1])

    def __len__(self) -> int:
        return len(self.position)

    def placement(self) -> _Placement:
        """The placement that fits; that of the table as it is unless another is clearly better."""
        self.contrast = image_contrast(self.image.data, self.a_px)
        fits = [fit for scale, unit in self._units() for fit in self._fits(scale, unit)]
        if not fits:
            return _Placement()  # outside, or unlike any crystal
        fits.sort(key=lambda fit: -fit.agreement)
        best = fits[0]
        given = next((fit for fit in fits if _is_given(fit.placement)), None)
        if given is not None and not self._clearly_better(best, given):
            best = given
        best, fits = self._conventional(best, fits)
        self._refuse_unlike(best)
        self.agrees = True
        rivals = [fit for fit in fits if fit is not best and fit.agreement >= MIN_AGREEMENT]
        if best is not given and any(self._significance(best, r) < _TIE for r in rivals):
            raise DefectStrainError(
                f"{self.image.name}: its table doesn't fit the picture as it is, and otherwise in "
                "several ways; give y_px downwards and x_px to the right, in pixels from 0"
            )
        return best.placement

    def _conventional(self, best: _Fit, fits: list[_Fit]) -> tuple[_Fit, list[_Fit]]:
        """Of fits that are alike, one whose offset programs have, and what is still to be judged.

        A lattice that is its own mirror image fits when it is turned over, too, at some offset or
        other: that nobody counts in.
        """
        alike = [
            fit
            for fit in fits
            if _is_convention(fit.placement)
            and fit.agreement >= MIN_AGREEMENT
            and (fit.agreement >= best.agreement or self._significance(best, fit) < _TIE)
        ]
        if not alike or _is_given(best.placement) and _is_convention(best.placement):
            return best, fits
        if not _is_convention(best.placement):
            best = min(alike, key=lambda fit: fit.placement.turns)
        return best, alike

    def _units(self) -> list[tuple[float, str]]:
        """Units that make the columns about as dense as a crystal's, and their size in px."""
        pm = self.image.pixel_size_pm
        units = [(1.0, "px")]
        if pm is not None:
            units += [(1.0 / pm, "pm"), (PM_PER_NM / pm, "nm")]
        # between quantiles: a few rows may lie anywhere
        sides = np.subtract(*np.quantile(self.position, (0.95, 0.05), axis=0)) / 0.9
        expected = self.n * self.a_px**2 / _COLUMNS_PER_A2
        low, high = _DENSITIES
        return [u for u in units if low <= expected / max(np.prod(u[0] * sides), 1e-300) <= high]

    def _fits(self, scale: float, unit: str) -> list[_Fit]:
        """Of every way the axes can lie, at its best offset; the best first."""
        fits = []
        ways = (False, True) if self.turns else (False,)
        for swapped, flipped_y, flipped_x in itertools.product(ways, repeat=3):
            placement = _Placement(scale, unit, swapped, flipped_y, flipped_x)
            moved = placement.apply(self.position, self.image.data.shape)
            if _outside(moved, self.image.data.shape, 2.0).mean() <= _OUTSIDE:
                fits.append((self._with_offset if self.turns else self._fit)(placement, moved))
        return sorted(fits, key=lambda fit: -fit.agreement)

    def _with_offset(self, placement: _Placement, moved: FloatArray) -> _Fit:
        """The fit where the bright columns are brightest on average, within a pixel or so."""
        still = self._fit(placement, moved)
        bright = np.maximum(self.expected, 0.0)
        tried = {
            offset: float(self._fit(placement, moved + offset).found @ bright)
            for offset in itertools.product(_OFFSETS_PX, _OFFSETS_PX)
        }
        best = max(tried, key=lambda offset: tried[offset])
        offset = (_refined(tried, best, 0), _refined(tried, best, 1))
        if max(map(abs, offset)) < max(_MIN_OFFSET_PX, _MIN_OFFSET * self.a_px):
            return still
        halves = (round(2 * offset[0]) / 2, round(2 * offset[1]) / 2)
        if np.abs(np.subtract(offset, halves)).max() <= _SNAP_PX:
            offset = halves
        placed = replace(placement, offset_px=offset)
        fit = self._fit(placed, moved + offset)
        return fit if _z((fit.found - still.found) * bright) >= _CLEARLY else still

    def _fit(self, placement: _Placement, moved: FloatArray) -> _Fit:
        found = map_coordinates(self.contrast, moved.T, order=1, mode="constant")
        norm = np.sqrt((found @ found) * (self.expected @ self.expected))
        return _Fit(float(found @ self.expected / norm) if norm > 0 else 0.0, placement, found)

    def _clearly_better(self, other: _Fit, given: _Fit) -> bool:
        """Whether another placement than the given is right, by its classes' brightness too.

        What a material's classes should be like is known roughly. Where the table fits as it is,
        another placement must also tell the classes better whatever their brightness: not where
        there is one class, and the table lies as nobody counts.
        """
        if self._significance(other, given) < _CLEARLY:
            return False
        if not _is_convention(given.placement) and (self.classes == self.classes[0]).all():
            return True
        misfit = [self._from_class_means(fit) ** 2 for fit in (given, other)]
        return given.agreement < MIN_AGREEMENT or _z(misfit[0] - misfit[1]) >= _CLEARLY

    def _from_class_means(self, fit: _Fit) -> FloatArray:
        number = np.maximum(np.bincount(self.classes), 1)
        means = np.bincount(self.classes, weights=fit.found) / number
        return np.asarray(fit.found - means[self.classes])

    def _significance(self, better: _Fit, worse: _Fit) -> float:
        """By how many standard errors the columns fit better in one way than in the other."""
        scale = max(float(better.found @ self.expected), 0.0) / (self.expected @ self.expected)
        wrong = [(fit.found - scale * self.expected) ** 2 for fit in (worse, better)]
        return _z(wrong[0] - wrong[1])

    def _refuse_unlike(self, fit: _Fit) -> None:
        """Refuse a table whose columns, or whose defects, aren't those of the picture."""
        hint = "is it the table of another image?"
        if fit.agreement < MIN_AGREEMENT:
            raise DefectStrainError(
                f"{self.image.name}: the columns of its table lie where the picture shows none "
                f"(agreement {fit.agreement:.2f}, expected {MIN_AGREEMENT:g} to 1, also with axes "
                f"exchanged or flipped); {hint}"
            )
        which = self.classes != METAL
        defects = int((which & (self.classes > METAL + 1)).sum())
        if defects < _MIN_DEFECTS:
            return
        x, y = (v[which] - v[which].mean() for v in (self.expected, fit.found))
        spread = float(x @ x)
        slope = float(x @ y) / max(spread, 1e-12)
        error = float(np.sqrt(np.mean((y - slope * x) ** 2) / max(spread, 1e-12)))
        contrast = float(fit.found @ self.expected / (self.expected @ self.expected))
        if slope < _MIN_CONTRAST * contrast and 0.5 * contrast - slope > _CLEARLY * error:
            raise DefectStrainError(
                f"{self.image.name}: the picture shows none of the defects of its table where "
                f"they should be ({defects} looked at); {hint}"
            )


def _z(gains: FloatArray) -> float:
    """Mean over its standard error; 0 where all are alike."""
    error = float(gains.std()) / np.sqrt(len(gains))
    return float(gains.mean()) / error if error > 0 else 0.0


def _is_given(placement: _Placement) -> bool:
    return replace(placement, offset_px=(0.0, 0.0)) == _Placement()


def _is_convention(placement: _Placement) -> bool:
    """Whether pixels are counted from 0, from 1 or from their corner, along both axes."""
    off = tuple(abs(d) for d in placement.offset_px)
    return off[0] == off[1] and off[0] in (0.0, 0.5, 1.0)


def image_contrast(data: FloatArray, a_px: float) -> FloatArray:
    """The image without noise, slow background and outliers, about zero."""
    plain = np.asarray(data, dtype=np.float32)
    step = 1 + max(plain.shape) // 1024
    plain = np.clip(plain, *np.quantile(plain[::step, ::step], (0.002, 0.998)))
    return np.asarray(
        gaussian_filter(plain, max(0.1 * a_px, 0.7)) - gaussian_filter(plain, 0.6 * a_px)
    )


def _refined(
    tried: dict[tuple[float, float], float], best: tuple[float, float], axis: int
) -> float:
    """Vertex of the parabola through the best offset and its neighbours along an axis [px]."""
    step = _STEP_PX
    beside = [
        tried.get((best[0] + s * step * (axis == 0), best[1] + s * step * (axis == 1)))
        for s in (-1, 1)
    ]
    low, high = beside
    if low is None or high is None or low + high >= 2 * tried[best]:
        return best[axis]
    return best[axis] + step * (low - high) / (2 * (low + high - 2 * tried[best]))


def _outside(position_px: FloatArray, shape: tuple[int, ...], margin_px: float) -> BoolArray:
    low, high = -margin_px, np.array(shape) - 1 + margin_px
    return np.asarray(((position_px < low) | (position_px > high)).any(axis=1))


def _refuse_outside(image: CalibratedImage, sites: Sites) -> None:
    outside = _outside(sites.position_px, image.data.shape, 0.5)
    if outside.any():
        raise DefectStrainError(
            f"{image.name}: {int(outside.sum())} of {len(sites)} columns of its table "
            f"({lines(np.flatnonzero(outside))}) lie outside the image of "
            f"{' x '.join(map(str, image.data.shape))} px; is it the table of another image?"
        )


def _each_once(name: str, sites: Sites, reach_px: float) -> tuple[Sites, tuple[str, ...]]:
    """Without the rows that repeat a column; the first row for a column stays."""
    pairs = cKDTree(sites.position_px).query_pairs(reach_px, output_type="ndarray")
    if len(pairs) == 0:
        return sites, ()
    first, later = pairs[np.lexsort(pairs.T)].T
    unlike = sites.class_index[first] != sites.class_index[later]
    if unlike.any():
        one, other = int(first[unlike][0]), int(later[unlike][0])
        more = f" ({int(unlike.sum()) - 1} more such pairs)" if unlike.sum() > 1 else ""
        raise DefectStrainError(
            f"{name}: {lines([one, other])} of its table give one column two classes, "
            f"{sites.class_name[one]} and {sites.class_name[other]}{more}; keep one of them"
        )
    kept = np.ones(len(sites), dtype=bool)
    kept[later] = False
    again = np.flatnonzero(~kept)
    note = f"{name}: {len(again)} rows of its table repeat a column and count once: {lines(again)}"
    return sites.subset(kept), (note,)
