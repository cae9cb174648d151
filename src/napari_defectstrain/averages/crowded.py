"""Class averages from every defect, isolated or not.

An image is the perfect lattice plus, at each defect, the difference that its class makes; to first
order the differences add:

``I(cell s) = m + sum over defects d of D_class(d)(s - d) + slow + noise``

`m` is the perfect cell, `D_c` what a defect of class c does to the cells around it. Every pixel of
the cell has the same equations, so that one matrix is factorised for all of them. The average of a
class is then ``m + D_c``, as if every one of its defects had been alone. What varies slowly over an
image (scan distortion, background, brightness) is fitted along.

The errors are those of a sandwich with bands of the images as clusters (White 1980,
doi:10.2307/1912934): every band has its influence on the averages. So the stack of a class holds
one *window for each band*, the average plus the band's influence times their number: their mean is
the average, and their scatter is its error, as with windows of single defects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import NdBSpline
from scipy.ndimage import spline_filter1d
from scipy.sparse import csr_array

from ..crystal.regions import Regions
from ..crystal.robust import robust_sigma
from ..progress import shared_out
from ..types import (
    BoolArray,
    CalibratedImage,
    ClassStack,
    FloatArray,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .additivity import PAIR_SHELLS, PairCheck, near_pairs, pair_check, pair_text
from .average import stacked_classes
from .cells import DOUBTFUL, SAMPLES, CellFrame, PatchCells, cut_cells
from .patches import Patch, find_patches
from .windows import SPLINE_ORDER, WindowFrame

LEAST_DEFECTS = 3
"""Defects that a class needs for a crowded average."""

_AT_A_TIME = 4  # domains
_NEAREST = 7  # a defect's own cell and those beside it
_CELLS_PER_UNKNOWN = 1.5
_MOST_BANDS = 300
_LEAST_BANDS = 16
_BAND_NM = 2.0
_OUTLIER_SIGMA = 6.0
_MOST_ROUNDS = 4
_MOST_OUTLIERS = 0.02  # of the cells, in every round: what is more common isn't strange
_WIDEST = 0.5
_LEAST_SPARE = 0.05  # of a cell's noise, that a fit has left


class Bands(NamedTuple):
    """Bands of scan lines, in the order of the windows that stand for them.

    Parameters
    ----------
    image_index : array of int, `(T,)`
        The image of each.
    line_px : array, `(T,)`
        Mean height of its cells in the image [px].
    """

    image_index: IntArray
    line_px: FloatArray

    def nearest(self, image_index: int, line_px: FloatArray) -> IntArray:
        """The band of an image that lines are nearest to, `(n,)`; -1 where it has none."""
        mine = np.flatnonzero(self.image_index == image_index)
        if len(mine) == 0:
            return np.full(len(line_px), -1)
        mine = mine[np.argsort(self.line_px[mine], kind="stable")]
        between = (self.line_px[mine[1:]] + self.line_px[mine[:-1]]) / 2
        return np.asarray(mine[np.searchsorted(between, line_px)])


@dataclass(frozen=True)
class CrowdedStacks:
    """Crowded averages, ready to be measured.

    Parameters
    ----------
    stacks : mapping of class to ClassStack
        One window for each band, see the module; the defect-free class comes first. Bands of a
        group of images with too few of a class add nothing to its average, but have windows, in
        the group next to theirs: their columns may know of its field all the same.
    pairs : tuple of PairCheck
    warnings : tuple of str
    bands : Bands
        Which part of which image every window stands for.
    """

    stacks: Mapping[str, ClassStack]
    pairs: tuple[PairCheck, ...] = ()
    warnings: tuple[str, ...] = ()
    bands: Bands | None = None


@dataclass(frozen=True)
class _Solution:
    """Of images of like probe width.

    Parameters
    ----------
    mean : array, `(C, P)`
        The perfect cell of each domain.
    difference : array, `(K D, P)`
        What each class does to the cells around it.
    inverse : array, `(K D, K D)`
        Of the normal matrix.
    left : list of array, `(n, P)`
        What the solution leaves of the cells of each domain.
    around_mean : array, `(C, K D)`
        Mean of `PatchCells.around` over the cells of each domain.
    """

    mean: FloatArray
    difference: FloatArray
    inverse: FloatArray
    left: list[FloatArray]
    around_mean: FloatArray


@dataclass(frozen=True)
class _Solved:
    """A solution with the influence of each band, and what entered.

    Parameters
    ----------
    solution : _Solution
    image_index : array of int, `(T,)`
        Of each band.
    line_px : array, `(T,)`
        Mean height of each band's cells in the image [px].
    on_mean, on_difference : arrays, `(T, C, P)` and `(T, K D, P)`
        Influence of each band on the mean of each domain's cells, and on the differences; float32.
    count : array, `(C, 1 + K)`
        Cells of each domain, and its defects of each class.
    effective : array, `(1 + K,)`
        As many windows without neighbours would be worth as much.
    pairs : tuple of PairCheck
    """

    solution: _Solution
    image_index: IntArray
    line_px: FloatArray
    on_mean: FloatArray
    on_difference: FloatArray
    count: IntArray
    effective: FloatArray
    pairs: tuple[PairCheck, ...]

    def mean_of(self, k: int, part: slice) -> tuple[FloatArray, FloatArray]:
        """The perfect cell as it is around the k-th class, `(P,)`, and the bands' influence on it.

        Each domain counts by its defects: where probes differ, the columns around a defect have the
        profile of the images that the defects are from.
        """
        share = self.count[:, k] / max(int(self.count[:, k].sum()), 1)
        shift = np.tensordot(share @ self.solution.around_mean, self.on_difference[part], (0, 1))
        influence = np.tensordot(self.on_mean[part], share, (1, 0)) - shift
        return share @ self.solution.mean, influence


def crowded_stacks(
    images: Sequence[CalibratedImage],
    sites: Sequence[Sites],
    window: WindowFrame,
    min_probability: float,
    regions: Sequence[Regions | None] | None = None,
    overconfidence: Sequence[float] | None = None,
    counted: Sequence[BoolArray] | None = None,
    group: IntArray | None = None,
    progress: Progress = no_progress,
) -> CrowdedStacks:
    """Solve for the averages of all classes at once, from all their defects.

    Parameters
    ----------
    images, sites : sequences of equal length
    window : WindowFrame
        Of the averages.
    min_probability : float
        Columns whose class is less probable count for no class; what they do to their surroundings
        is fitted along.
    regions : sequence of Regions or None, optional
        Of each image; without them an image is one domain.
    overconfidence : sequence of float, optional
        As in `average.stack_classes`.
    counted : sequence of array of bool, optional
        Columns of each image that count, for instance those that no other image shows.
    group : array of int, `(n_images,)`, optional
        Group of images of like probe width (`ClassStack.group`): each is solved by itself.
    progress : Progress

    Returns
    -------
    CrowdedStacks
        Without stacks, and with a warning, where there are fewer cells than a solution takes.
    """
    frame = CellFrame(window.a_pm)
    names = sites[0].class_names
    roles = np.array([*stacked_classes(names)[1:], DOUBTFUL])
    cells: list[PatchCells] = []
    patches = find_patches(images, sites, frame.a_pm, regions)

    def cut(patch: Patch) -> PatchCells:
        of = patch.image_index
        mine = None if counted is None else counted[of]
        return cut_cells(images[of], sites[of], patch, frame, roles, min_probability, mine)

    for i in range(0, len(patches), _AT_A_TIME):
        progress(0.6 * i / len(patches), "cutting cells")
        cells += shared_out(cut, patches[i : i + _AT_A_TIME])
    cells = [part for part in cells if len(part) > part.slow.shape[1]]
    belongs = np.zeros(len(images), dtype=int) if group is None else np.asarray(group)
    kinds = np.unique([belongs[c.image_index] for c in cells]).tolist()
    solved: dict[int, _Solved] = {}
    notes = []
    for i, kind in enumerate(kinds):
        progress(0.6 + 0.3 * i / len(kinds), "solving for all classes at once")
        alike = [c for c in cells if belongs[c.image_index] == kind]
        found = _solved(alike, frame, roles)
        if found is None:
            few = sum(map(len, alike))
            notes.append(
                f"crowded averages: {few} cells with known surroundings are too few for all "
                "classes at once"
            )
        else:
            solved[kind] = found
    progress(0.9, "drawing averages")
    expected = _expected(sites, roles[:-1], min_probability)
    wrong = np.ones(len(names))
    if overconfidence is not None:
        wrong[: len(overconfidence)] = overconfidence
    stacks = _stacks(solved, frame, window, expected, names, wrong) if solved else {}
    pairs = tuple(pair for one in solved.values() for pair in one.pairs)
    crossed = dict.fromkeys(pair_text(p) for p in pairs if p.left_out or p.needed)
    return CrowdedStacks(stacks, pairs, (*notes, *crossed), _bands_of(solved))


def _bands_of(solved: Mapping[int, _Solved]) -> Bands | None:
    if not solved:
        return None
    return Bands(
        np.concatenate([one.image_index for one in solved.values()]),
        np.concatenate([one.line_px for one in solved.values()]),
    )


def _solved(cells: Sequence[PatchCells], frame: CellFrame, roles: IntArray) -> _Solved | None:
    """Solve without outliers, and without pairs that don't add; None for too few cells."""
    reach = len(frame.offset)
    for _ in range(_MOST_ROUNDS):
        if not _enough(cells):
            return None
        solution = _solve(cells)
        strange = _outliers(solution.left)
        if not any(bad.any() for bad in strange):
            break
        cells = [c.without(bad) for c, bad in zip(cells, strange, strict=True)]
    else:
        solution = _solve(cells)
    bands = _bands(cells)
    square = [_square_left(c, r, solution) for c, r in zip(cells, solution.left, strict=True)]
    pairs = [pair_check(cells, square, bands, frame, d) for d in PAIR_SHELLS]
    crossed = [p.distance for p in pairs if p.left_out]
    if crossed:
        fewer = [c.without(near_pairs(c, frame, crossed)) for c in cells]
        if _enough(fewer) and not _lost(cells, fewer, roles):
            cells, solution, bands = fewer, _solve(fewer), _bands(fewer)
        else:
            pairs = [replace(p, left_out=False, needed=p.left_out) for p in pairs]
    image, on_mean, on_difference = _influences(cells, solution, bands)
    every = np.concatenate(bands)
    line = np.concatenate([c.place_nm[:, 0] / c.pixel_nm for c in cells])
    line = np.bincount(every, line) / np.maximum(np.bincount(every), 1)
    count = np.array([[len(c), *((c.role == r).sum() for r in roles)] for c in cells])
    spread = np.diag(solution.inverse).reshape(len(roles), reach)[:, :_NEAREST].mean(axis=1)
    worth = np.where(spread > 0, 1.0 / np.maximum(spread, 1e-12), 0.0)
    return _Solved(
        solution,
        image,
        line,
        on_mean,
        on_difference,
        count,
        np.append(float(count[:, 0].sum()), worth),
        tuple(pairs),
    )


def _lost(cells: Sequence[PatchCells], fewer: Sequence[PatchCells], roles: IntArray) -> bool:
    """Whether a class that has enough defects among some cells has too few among fewer."""

    def count(some: Sequence[PatchCells]) -> IntArray:
        return np.array([sum(int((c.role == role).sum()) for c in some) for role in roles[:-1]])

    return bool(((count(cells) >= LEAST_DEFECTS) & (count(fewer) < LEAST_DEFECTS)).any())


def _enough(cells: Sequence[PatchCells]) -> bool:
    """Whether there are more cells than unknowns that something is known of."""
    told = np.sum([c.around.sum(axis=0) for c in cells], axis=0)
    unknowns = int((told > 0).sum()) + sum(c.slow.shape[1] for c in cells)
    return bool(sum(map(len, cells)) > _CELLS_PER_UNKNOWN * unknowns)


def _solve(cells: Sequence[PatchCells]) -> _Solution:
    """Least squares for the differences of all classes, slow shapes of each domain taken out."""
    size = cells[0].around.shape[1]
    normal, right = np.zeros((size, size)), np.zeros((size, cells[0].value.shape[1]))
    for c in cells:
        slow = (c.around.T @ c.slow).T  # (Q, K D)
        normal += (c.around.T @ c.around).toarray() - slow.T @ slow
        right += c.around.T @ c.value - slow.T @ (c.slow.T @ c.value)
    inverse = _inverse(normal)
    difference = inverse @ right
    left, mean = [], []
    for c in cells:
        rest = c.value - c.around @ difference
        mean.append(rest.mean(axis=0, dtype=float))
        left.append(np.asarray(rest - c.slow @ (c.slow.T @ rest), dtype=np.float32))
    around = np.array([np.asarray(c.around.mean(axis=0)) for c in cells])
    return _Solution(np.array(mean), difference, inverse, left, around)


def _inverse(normal: FloatArray) -> FloatArray:
    """Of a normal matrix; unknowns that nothing tells of stay zero."""
    size = np.sqrt(np.maximum(np.diag(normal), 0.0))
    scale = np.where(size > 1e-6, 1.0 / np.where(size > 1e-6, size, 1.0), 0.0)
    scaled = normal * scale * scale[:, None]
    return np.asarray(np.linalg.pinv(scaled, 1e-10, hermitian=True) * scale * scale[:, None])


def _outliers(left: Sequence[FloatArray]) -> list[BoolArray]:
    """Cells of which far more is left than of others: dirt, columns that nobody knows."""
    result = []
    for rest in left:
        size = np.log(np.maximum((rest**2).mean(axis=1), 1e-30))
        middle = float(np.median(size))
        spread = min(robust_sigma(size, middle), _WIDEST)  # dirt spoils the solution all around
        most = float(np.quantile(size, 1.0 - _MOST_OUTLIERS))
        result.append(np.asarray(size > max(middle + _OUTLIER_SIGMA * spread, most)))
    return result


def _square_left(cells: PatchCells, left: FloatArray, solution: _Solution) -> FloatArray:
    """Mean square left of each cell, at defects without what the fit took of its noise, `(n,)`.

    A defect with few like it around has more say in what is fitted there, so that less is left.
    """
    square = np.asarray((left**2).mean(axis=1, dtype=float))
    mine = np.flatnonzero(cells.role > 1)
    slow = (cells.around.T @ cells.slow).T
    design = cells.around[mine].toarray() - cells.slow[mine] @ slow
    leverage = (design @ solution.inverse * design).sum(axis=1)
    leverage += (cells.slow[mine] ** 2).sum(axis=1)
    square[mine] /= np.maximum(1.0 - leverage, _LEAST_SPARE)
    return square


def _bands(cells: Sequence[PatchCells]) -> list[IntArray]:
    """Which band of scan lines each cell lies in, numbered over all images.

    Bands go right across an image, whose domains share the jitter of their lines, and are so high
    that what disturbs one hardly disturbs the next; higher where there are many images, and lower
    where one small image must do.
    """
    image = np.concatenate([np.full(len(c), c.image_index) for c in cells])
    line_nm = np.concatenate([c.place_nm[:, 0] for c in cells])
    height = sum(float(np.ptp(line_nm[image == i])) for i in np.unique(image))
    side = float(np.clip(height / _LEAST_BANDS, _BAND_NM / 2, _BAND_NM))
    side = max(side, height / _MOST_BANDS)
    slab = np.stack([image, (line_nm / side).astype(int)], axis=1)
    _, band = np.unique(slab, axis=0, return_inverse=True)
    return np.split(band.reshape(-1), np.cumsum([len(c) for c in cells])[:-1])


def _influences(
    cells: Sequence[PatchCells], solution: _Solution, bands: Sequence[IntArray]
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Image of each band, and its influence on each domain's mean cell and on the differences.

    Scaled up by what the fit has taken of the noise: rows over rows less unknowns.
    """
    n = sum(map(len, cells))
    fitted = int((np.diag(solution.inverse) > 0).sum()) + sum(c.slow.shape[1] for c in cells)
    factor = np.sqrt(n / max(n - fitted, 1))
    count, pixels = 1 + max(int(band.max()) for band in bands), cells[0].value.shape[1]
    image = np.zeros(count, dtype=int)
    on_mean = np.zeros((count, len(cells), pixels), dtype=np.float32)
    on_difference = np.zeros((count, *solution.difference.shape), dtype=np.float32)
    for i, (c, rest, band) in enumerate(zip(cells, solution.left, bands, strict=True)):
        slow = (c.around.T @ c.slow).T
        order = np.argsort(band, kind="stable")
        there, starts = np.unique(band[order], return_index=True)
        for t, mine in zip(there, np.split(order, starts[1:]), strict=True):
            part = rest[mine]
            score = c.around[mine].T @ part - slow.T @ (c.slow[mine].T @ part)
            image[t] = c.image_index
            on_difference[t] += factor * (solution.inverse @ score)
            on_mean[t, i] = factor * part.sum(axis=0, dtype=float) / len(c)
    return image, on_mean, on_difference


def _stacks(
    solved: Mapping[int, _Solved],
    frame: CellFrame,
    window: WindowFrame,
    expected: Mapping[int, FloatArray],
    names: Sequence[str],
    overconfidence: FloatArray,
) -> dict[str, ClassStack]:
    drawing = _Drawing(frame, window)
    stacks = {}
    for k, role in enumerate(expected):
        parts = {
            kind: one
            for kind, one in solved.items()
            if len(one.image_index) > 1 and one.count[:, k].sum() >= LEAST_DEFECTS
        }
        if not parts:
            continue
        worth = [one.effective[k] if kind in parts else 0.0 for kind, one in solved.items()]
        drawn = {kind: drawing.windows(one, k) for kind, one in parts.items()}
        windows = _joined([drawn.get(g, len(o.image_index)) for g, o in solved.items()], worth)
        group = [min(parts, key=lambda other: abs(other - kind)) for kind in solved]
        n = len(windows)
        stacks[names[role]] = ClassStack(
            class_name=names[role],
            windows=windows,
            step_pm=window.step_pm,
            a_pm=float(window.a_pm),
            image_index=np.concatenate([one.image_index for one in solved.values()]),
            site_index=np.full(n, -1),
            position_px=np.full((n, 2), np.nan),
            shift_pm=np.zeros((n, 2)),
            probability=np.full(n, expected[role][role]),
            included=np.ones(n, dtype=bool),
            reason=np.full(n, "", dtype="U1"),
            probabilities=np.tile(expected[role], (n, 1)),
            class_names=tuple(names),
            overconfidence=float(overconfidence[role]),
            group=np.repeat(group, [len(one.image_index) for one in solved.values()]),
            n_columns=int(sum(one.count[:, k].sum() for one in parts.values())),
            effective_n=float(sum(one.effective[k] for one in parts.values())),
        )
    return stacks


def _joined(windows: Sequence[FloatArray | int], worth: Sequence[float]) -> FloatArray:
    """Windows of groups of images whose mean is that of the groups' averages by what each is worth.

    A group has as many windows as its images have bands, however few defects of the class. One that
    is worth nothing is given by their number: its windows are the average.
    """
    some = [w for w in windows if not isinstance(w, int)]
    if len(some) == len(windows) == 1:
        return some[0]
    means = [0.0 if isinstance(w, int) else w.mean(axis=0, dtype=float) for w in windows]
    share = np.asarray(worth) / np.sum(worth)
    whole = sum(s * mean for s, mean in zip(share, means, strict=True))
    n = sum(w if isinstance(w, int) else len(w) for w in windows)
    result = np.empty((n, *some[0].shape[1:]), dtype=np.float32)
    start = 0
    for s, w, mean in zip(share, windows, means, strict=True):
        own = w if isinstance(w, int) else len(w)
        part = result[start : start + own]
        part[:] = whole if isinstance(w, int) else whole + (s * n / own) * (w - mean)
        start += own
    return result


def _expected(
    sites: Sequence[Sites], roles: IntArray, min_probability: float
) -> dict[int, FloatArray]:
    """Mean probabilities of the columns that count for each class."""
    result = {}
    for role in (1, *roles.tolist()):
        mine = [s.probabilities[s.class_index == role] for s in sites]
        every = np.concatenate([m[m[:, role] >= min_probability] for m in mine])
        result[role] = (
            every.mean(axis=0, dtype=float)
            if len(every)
            else np.eye(len(sites[0].class_names))[role]
        )
    return result


class _Drawing:
    """Draws windows of perfect and changed cells: splines on the cells' pixels.

    Parameters
    ----------
    frame : CellFrame
    window : WindowFrame
    """

    def __init__(self, frame: CellFrame, window: WindowFrame) -> None:
        corner = np.abs(np.linalg.solve(frame.basis, window.position_pm.reshape(-1, 2).T)).max()
        self._middle = max(int(np.abs(frame.offset).max()), int(np.ceil(corner))) + 1
        self._offset = frame.offset + self._middle
        self._shape = window.shape
        side = (2 * self._middle + 1) * SAMPLES
        place = np.linalg.solve(frame.basis, window.position_pm.reshape(-1, 2).T).T
        place = (place + self._middle) * SAMPLES + SAMPLES // 2
        knots = np.arange(-3.0, side + 3.0)  # the spline of a pixel is centred at it
        place = np.ascontiguousarray(place)
        found = NdBSpline.design_matrix(place, (knots, knots), SPLINE_ORDER)
        self._weights = csr_array(  # it leaves out what comes after the last spline used
            (found.data.astype(np.float32), found.indices, found.indptr),
            shape=(len(place), side**2),
        )

    def windows(self, one: _Solved, k: int) -> FloatArray:
        """A window for each band: the average plus its influence times their number, float32."""
        n, reach = len(one.image_index), len(self._offset)
        own = slice((k - 1) * reach, k * reach)
        result = np.empty((n, *self._shape), dtype=np.float32)
        for start in range(0, n, 32):
            part = slice(start, start + 32)
            perfect, influence = one.mean_of(k, part)
            change = None
            if k > 0:
                change = one.solution.difference[own] + n * one.on_difference[part, own]
            result[part] = self._draw(perfect + n * influence, change)
        return result

    def _draw(self, mean: FloatArray, change: FloatArray | None) -> FloatArray:
        wide, n = 2 * self._middle + 1, len(mean)
        grid = np.broadcast_to(mean[:, None, None], (n, wide, wide, mean.shape[1])).copy()
        if change is not None:
            grid[:, self._offset[:, 0], self._offset[:, 1]] += change
        grid = grid.reshape(n, wide, wide, SAMPLES, SAMPLES).transpose(0, 1, 3, 2, 4)
        grid = grid.reshape(n, wide * SAMPLES, wide * SAMPLES)
        for axis in (1, 2):
            grid = spline_filter1d(grid, SPLINE_ORDER, axis, output=np.float32, mode="mirror")
        drawn = self._weights @ grid.reshape(n, -1).T
        return np.asarray(drawn.T.reshape(n, *self._shape))
