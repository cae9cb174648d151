"""What could be known at best: classes by likelihood where all but one column's class is given.

The oracle knows the places of all columns, the classes of all columns but the one it judges, and,
from the image itself, the column's profile (the optics with the scan's blur), the shift of every
scan line, the background and the covariance of the noise. What it does not know is the class of
that one column and the noise. With all else known, the data of one column say one number, the
generalised least-squares estimate of its weight,

    w = (P' C^-1 r) / (P' C^-1 P),    variance 1 / (P' C^-1 P),

with P the column's profile, r the data less background and all other columns, and C the
covariance of the noise (Kay, *Fundamentals of Statistical Signal Processing* I, ch. 4: w is a
sufficient statistic). The class is the one of greatest likelihood times frequency.

Beside it the linear least-squares fit of all weights at once, neighbours free, cut at the
thresholds that are best for that very image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsmr
from scipy.spatial import cKDTree

from ..judge.local_noise import inner_product, learn_noise
from ..materials import ROLES
from ..types import BoolArray, DefectStrainError, FloatArray, IntArray, Sites, StrArray
from .known_image import REACH_PM, KnownImage, column_patches, explain_image
from .score import HIT_RADIUS_PM

_METAL, _X2, _V2, _OTHER = (ROLES.index(role) for role in ("metal", "X2", "V2", "other"))
_START = {"metal": 1.0, "X2": 0.7, "XY": 1.05, "Y2": 1.38, "V1": 0.355, "V2": 0.0, "other": 0.7}
_TILE_PM = 1650.0
_PRIOR_COLUMNS = 30.0
"""A class's own scatter counts fully against that of all classes from this many columns on."""
_CHUNK = 250
_MIN_CHALCOGEN = 20
_LEAST_SQUARES_REACH_PM = 300.0


@dataclass(frozen=True)
class OracleResult:
    """What the best possible judges make of an image.

    Parameters
    ----------
    sites, least_squares : Sites
        Columns at their true places with the classes given by the oracle, and by thresholds on the
        weights of the linear least-squares fit. Columns that are not judged keep their class.
    judged : array of bool, `(N,)`
        Columns on chalcogen sites.
    weight, sigma : arrays, `(N,)`
        The oracle's estimate of each judged column's weight relative to the metal's, and its
        standard error; NaN elsewhere.
    free_weight : array, `(N,)`
        Weight of each column by linear least squares of all.
    known : KnownImage
    """

    sites: Sites
    least_squares: Sites
    judged: BoolArray
    weight: FloatArray
    sigma: FloatArray
    free_weight: FloatArray
    known: KnownImage


def ask_oracle(
    data: FloatArray,
    truth: Sites,
    pixel_size_pm: float,
    kind: StrArray | None = None,
    believed: Sites | None = None,
) -> OracleResult:
    """Classify the chalcogen columns of an image whose truth is known, as well as can be.

    Judged are the columns that are X2, XY, Y2, V1 or V2, and those of class "other" that lie where
    a chalcogen column does (one Y alone, X beside a light atom): each of their kinds is a
    candidate too. Other columns (adatoms, antisites, metal vacancies) are given.

    Parameters
    ----------
    data : array, `(H, W)`
    truth : Sites
        All columns of the image with their true classes.
    pixel_size_pm : float
    kind : array of str, `(N,)`, optional
        What a column of class "other" is.
    believed : Sites, optional
        What another judge takes the columns to be. Their places, and the classes of the neighbours
        that are given, are then its own as far as it knows the true columns; weight, frequency and
        scatter of each class stay the true ones. What this oracle misses and the full one doesn't
        can't be had by who starts from there.

    Raises
    ------
    DefectStrainError
        If the truth lacks the metal or the perfect chalcogen columns, or the image is too small.
    """
    role = np.asarray(truth.class_index)
    if not (role == _METAL).any() or (role == _X2).sum() < _MIN_CHALCOGEN:
        raise DefectStrainError(
            f"oracle: got {int((role == _METAL).sum())} metal and {int((role == _X2).sum())} "
            f"perfect chalcogen columns, expected the truth to list all columns"
        )
    judged = _judged(truth, pixel_size_pm)
    group, names = _groups(role, kind, judged)
    start = np.array([_START[name.split(":")[0]] for name in names])
    candidates = np.unique(group[judged])
    even = np.arange(len(names))
    even[candidates] = _X2
    position, given = _as_believed(truth, group, believed, pixel_size_pm)
    known = explain_image(data, position, given, pixel_size_pm, start, even)
    weight, sigma = _estimates(known, np.flatnonzero(judged), pixel_size_pm)
    chance = _class_chances(weight, sigma, group[judged], known.weight, candidates)
    of_role = np.array([ROLES.index(names[g].split(":")[0]) for g in candidates])
    probabilities = np.eye(len(ROLES))[role]
    probabilities[judged] = chance @ np.eye(len(ROLES))[of_role]
    free = free_weights(known, np.asarray(data, dtype=float), pixel_size_pm)
    cut = role.copy()
    cut[judged] = best_cuts(free[judged], role[judged], _role_weights(known.weight, names))
    every = np.full((2, len(role)), np.nan)
    every[:, judged] = weight, sigma
    return OracleResult(
        sites=_sites(truth, probabilities),
        least_squares=_sites(truth, np.eye(len(ROLES))[cut]),
        judged=judged,
        weight=every[0],
        sigma=every[1],
        free_weight=free,
        known=known,
    )


def _as_believed(
    truth: Sites, group: IntArray, believed: Sites | None, pixel_size_pm: float
) -> tuple[FloatArray, IntArray]:
    """Places `(N, 2)` [px] and groups `(N,)` of the columns, as someone takes them to be."""
    position, group = np.array(truth.position_px), group.copy()
    if believed is not None and len(believed):
        away, nearest = cKDTree(believed.position_px).query(position)
        back = cKDTree(position).query(believed.position_px)[1]
        seen = (away < HIT_RADIUS_PM / pixel_size_pm) & (back[nearest] == np.arange(len(position)))
        position[seen] = believed.position_px[nearest[seen]]
        named = seen.copy()
        named[seen] = believed.class_index[nearest[seen]] < len(ROLES)
        group[named] = believed.class_index[nearest[named]]
    return position, group


def _sites(truth: Sites, probabilities: FloatArray) -> Sites:
    index = probabilities.argmax(axis=1)
    source = np.full(len(truth), "model", dtype=truth.source.dtype)
    return Sites(truth.position_px, probabilities, index, truth.class_names, source)


def _judged(truth: Sites, pixel_size_pm: float) -> BoolArray:
    """Chalcogen columns, and others with as many metals around as a chalcogen column has."""
    role = truth.class_index
    judged = (role != _METAL) & (role != _OTHER)
    other = np.flatnonzero(role == _OTHER)
    if len(other):
        metal = cKDTree(truth.position_px[role == _METAL])
        distance = metal.query(truth.position_px[judged], k=3)[0]
        typical = np.median(distance)
        found = metal.query(truth.position_px[other], k=3)[0]
        judged[other] = (np.abs(found / typical - 1) < 0.25).all(axis=1)
    return np.asarray(judged)


def _groups(role: IntArray, kind: StrArray | None, judged: BoolArray) -> tuple[IntArray, list[str]]:
    """Columns that share a weight: a group a role, and one for every kind of look-alike.

    Kinds on chalcogen sites and elsewhere are two groups: the first are candidates.
    """
    group, names = role.copy(), list(ROLES)
    kinds = np.full(len(role), "", dtype="<U40") if kind is None else np.asarray(kind, dtype=str)
    for place in (True, False):
        other = (role == _OTHER) & (judged == place)
        for name in np.unique(kinds[other]):
            group[other & (kinds == name)] = len(names)
            names.append(f"other:{name}")
    return group, names


def _role_weights(weight: FloatArray, names: list[str]) -> FloatArray:
    return np.array([weight[names.index(role)] for role in ROLES])


def _estimates(
    known: KnownImage, column: IntArray, pixel_size_pm: float
) -> tuple[FloatArray, FloatArray]:
    """Generalised least-squares weight of each column, all else known, and its standard error.

    Around a column the noise is taken as stationary: a patch of the residual and the profile
    there, both in units of the expected noise, are weighted by the inverse of its spectrum.
    """
    tile = 2 * int(np.ceil(_TILE_PM / pixel_size_pm / 2))
    tile = min(tile, min(known.residual.shape) // 2 * 2)
    root = np.sqrt(known.variance)
    noise = learn_noise(known.residual / root, tile)
    shape = known.residual.shape
    padded = np.pad(known.residual / root, tile)
    taper = _taper(tile, REACH_PM / pixel_size_pm)
    weight, sigma = np.empty(len(column)), np.empty(len(column))
    for start in range(0, len(column), _CHUNK):
        part = column[start : start + _CHUNK]
        position = known.position_px[part]
        patch, flat = column_patches(shape, position, known.profile, known.line_shift_px)
        scaled = np.where(flat >= 0, patch / root.ravel()[flat], 0.0)
        half = (scaled.shape[1] - 1) // 2
        cut = max(0, half - (tile // 2 - 1))  # only where the whole image is smaller than a profile
        scaled = scaled[:, cut : scaled.shape[1] - cut, cut : scaled.shape[2] - cut]
        corner = np.rint(position).astype(int) - (half - cut) + tile
        index = corner[:, :, None] + np.arange(tile) - (tile - scaled.shape[1]) // 2
        data = padded[index[:, 0, :, None], index[:, 1, None, :]] * taper
        before = (tile - scaled.shape[1]) // 2
        after = tile - scaled.shape[1] - before
        model = scipy.fft.rfft2(np.pad(scaled, ((0, 0), (before, after), (before, after))))
        spectrum = noise.at(position)
        power = inner_product(model, model, spectrum, tile)
        pull = inner_product(model, scipy.fft.rfft2(data), spectrum, tile)
        place = slice(start, start + len(part))
        weight[place] = known.weight[known.group[part]] + pull / power
        sigma[place] = 1 / np.sqrt(power)
    return weight, sigma


def _taper(tile: int, flat_px: float) -> FloatArray:
    """One in the middle, falling to zero at the rim: a patch must not wrap around."""
    distance = np.abs(np.arange(tile) - (tile - 1) / 2)
    ramp = np.clip((tile / 2 - distance) / max(tile / 2 - flat_px, 1.0), 0, 1)
    rise = np.sin(np.pi / 2 * ramp) ** 2
    return np.asarray(rise[:, None] * rise)


def _class_chances(
    weight: FloatArray,
    sigma: FloatArray,
    group: IntArray,
    group_weight: FloatArray,
    candidates: IntArray,
) -> FloatArray:
    """Probability of each candidate group, `(n, candidates)`, of columns with these estimates.

    A column has no say in the weight of its own class (else a class of few columns would
    know them), and classes scatter by what their columns do.
    """
    pull = (weight - group_weight[group]) / sigma
    common = _spread(pull)
    log = np.empty((len(weight), len(candidates)))
    for i, candidate in enumerate(candidates):
        own = group == candidate
        n = int(own.sum())
        middle = np.full(len(weight), group_weight[candidate])
        if n > 1 and group_weight[candidate] != 0:
            mean = weight[own].mean()
            middle[:] = mean
            middle[own] = (n * mean - weight[own]) / (n - 1)
        squares = n * _spread(pull[own]) ** 2 if n > 3 else 0.0
        count = n if n > 3 else 0
        scatter2 = (_PRIOR_COLUMNS * common**2 + squares) / (_PRIOR_COLUMNS + count)
        width = sigma * np.sqrt(scatter2)
        log[:, i] = -(((weight - middle) / width) ** 2) / 2 - np.log(width) + np.log(n)
    chance = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(chance / chance.sum(axis=1, keepdims=True))


def _spread(pull: FloatArray) -> float:
    """Standard deviation by the median of absolute values: the oracle must not mind outliers."""
    return float(np.median(np.abs(pull)) / 0.6745)


def free_weights(known: KnownImage, data: FloatArray, pixel_size_pm: float) -> FloatArray:
    """Weights of all columns by linear least squares at their known places, `(N,)`.

    Profile, line shifts and background are those of `known`; every pixel counts the same.
    """
    rows, values = [], []
    reach = _LEAST_SQUARES_REACH_PM / pixel_size_pm
    n = len(known.position_px)
    for start in range(0, n, _CHUNK):
        patch, flat = column_patches(
            data.shape,
            known.position_px[start : start + _CHUNK],
            known.profile,
            known.line_shift_px,
        )
        half = (patch.shape[1] - 1) // 2
        offset = np.arange(-half, half + 1)
        keep = (np.hypot(offset[:, None], offset) <= reach) & (flat >= 0)
        for p, f, k in zip(patch, flat, keep, strict=True):
            rows.append(f[k])
            values.append(p[k])
    pointer = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    matrix = csr_array(
        (np.concatenate(values), np.concatenate(rows), pointer), shape=(n, data.size)
    )
    target = (data - known.background).ravel()
    return np.asarray(lsmr(matrix.T, target, atol=1e-8, btol=1e-8, maxiter=300)[0])


def best_cuts(weight: FloatArray, role: IntArray, role_weight: FloatArray) -> IntArray:
    """Classes by thresholds on the weight, those that give the greatest sum of F1.

    Parameters
    ----------
    weight : array, `(n,)`
    role : array of int, `(n,)`
        True roles: the thresholds are the best for these very columns.
    role_weight : array, `(7,)`
        Typical weight of each role, which orders them.

    Returns
    -------
    array of int, `(n,)`
        X2 or a defect role each.
    """
    present = [r for r in np.unique(role) if r not in (_METAL, _OTHER)]
    order = np.array(sorted(present, key=lambda r: role_weight[r]))
    if len(order) < 2:
        return np.full(len(weight), order[0] if len(order) else _X2)
    rank = np.argsort(weight)
    counts = np.stack([np.concatenate([[0], np.cumsum(role[rank] == r)]) for r in order])
    middle = (role_weight[order][1:] + role_weight[order][:-1]) / 2
    cut = np.searchsorted(weight[rank], middle)
    for _ in range(6):
        before = cut.copy()
        for i in range(len(cut)):
            low = cut[i - 1] if i else 0
            high = cut[i + 1] if i + 1 < len(cut) else len(weight)
            f1 = sum(
                _f1_between(counts, order, k, cut, i, np.arange(low, high + 1)) for k in (i, i + 1)
            )
            cut[i] = low + int(np.argmax(f1))
        if (cut == before).all():
            break
    found = np.empty(len(weight), dtype=int)
    found[rank] = order[np.searchsorted(cut, np.arange(len(weight)), side="right")]
    return found


def _f1_between(
    counts: IntArray, order: IntArray, k: int, cut: IntArray, moved: int, to: IntArray
) -> FloatArray:
    """F1 of class k of the order where cut number `moved` goes through the places `to`."""
    edges = [np.broadcast_to(c, to.shape) for c in cut]
    edges[moved] = to
    low = edges[k - 1] if k else np.zeros_like(to)
    high = edges[k] if k < len(cut) else np.full_like(to, counts.shape[1] - 1)
    hits = counts[k, high] - counts[k, low]
    if order[k] == _X2:
        return np.asarray(hits * 0.0)  # the table is of the defects
    return np.asarray(2 * hits / np.maximum(high - low + counts[k, -1], 1))
