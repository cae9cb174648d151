"""How far the numbers of columns of the classes err in common, because classes are known by them.

Each column's doubt is one thing: it averages out. That the weights, widths and shares of the
classes were found from these very columns is another: were XY taken to weigh too little, columns
of X2 would be counted as XY all over the image. Fisher's information of the weights says how well
the classes are known (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x, for mixtures); that
neighbouring columns err alike makes them known less well (the sandwich of Conley 1999,
doi:10.1016/S0304-4076(98)00084-0). What follows for the numbers is linear in it.

All is worked out from what the table of columns holds: weights, their errors, probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from scipy.special import gammaln

from ..materials import ROLES
from ..types import ON_METAL, OTHER, BoolArray, FloatArray, Sites

_X2, _XY, _Y2, _V1, _V2 = (ROLES.index(role) for role in ("X2", "XY", "Y2", "V1", "V2"))
_LEAST_COLUMNS = 30
"""Of X2, below which nothing can be said."""
_TAILS = 16.0
"""Degrees of freedom of Student's t that weights follow about those of their classes."""
_WEIGHT_TIES = {"V1": 0.045, "V2": 0.03, "XY": 0.03, "Y2": 0.12}
"""How well weights are known beforehand, in that of X2: V1 as half of it, V2 as nothing, XY as
midway, Y2 by cross sections. As tight as the judge's."""
_WIDTH_COLUMNS, _SHARE_COLUMNS = 30.0, 10.0
"""How many columns count for what is known beforehand of widths and of shares."""
_SKEW, _SKEW_PER_COLUMN, _LOG2_TAILS = 0.03, 1.5, 0.8
"""How far the shape of the noise on chalcogens differs from that on metals, by which it is told."""
_FLANK = 0.005
"""Of the columns of X2: how many more or fewer lie on its upper flank than the metals' noise says.
By the errors of x of 59 poor images of the second simulator (seed 21001), to which 40 % more
columns beyond three widths, .19 % of X2, contribute."""
_FLANK_PULLS, _FLANK_SHARES = np.array([3.25, 3.75, 4.25]), np.array([0.5, 0.3, 0.2])
_NETWORK = 0.5
"""How far a network's odds of heavier and of lighter columns err in one image, in nats: by the
columns at the borders of the same images, which aren't weighed."""
_REACH = 4.0
"""How far columns err alike, in distances of nearest neighbours, falling linearly."""
_LEAST_INFORMATION = 1.0
_PART = 8192
"""Columns at a time: their derivatives by all parameters take a kilobyte each."""


@dataclass(frozen=True)
class CommonErrors:
    """Errors of the numbers of columns that all columns of an image share.

    Parameters
    ----------
    own : array, `(K, K)`
        Covariance of what was found from the image's columns.
    beforehand : array, `(K, M)`
        Change of the numbers by one standard deviation of each thing that was taken as known: it
        errs alike in all images of a material.
    """

    own: FloatArray
    beforehand: FloatArray

    @classmethod
    def none(cls, classes: int) -> CommonErrors:
        """Where nothing is known of weights, or there are too few."""
        return cls(np.zeros((classes, classes)), np.zeros((classes, len(_WEIGHT_TIES) + 1)))

    def __add__(self, other: CommonErrors) -> CommonErrors:
        return CommonErrors(self.own + other.own, self.beforehand + other.beforehand)

    def variance(self, change: FloatArray) -> float:
        """Of a sum of the numbers, each times its part of `change`, `(K,)`."""
        found = float(change @ self.own @ change)
        return max(found, 0.0) + float(np.square(change @ self.beforehand).sum())


@dataclass(frozen=True)
class _Mixture:
    """Classes of chalcogen columns, other last, which has no weight.

    Parameters
    ----------
    mean : array, `(F,)`
        Weights.
    share : array, `(F + 1,)`
    """

    mean: FloatArray
    share: FloatArray

    @property
    def parameters(self) -> int:
        return 3 * len(self.mean) + 3

    def pulls(self, weight: FloatArray, width: FloatArray) -> FloatArray:
        return np.asarray((weight[:, None] - self.mean) / width[:, None])

    def posterior(self, weight: FloatArray, width: FloatArray) -> FloatArray:
        """Probability of each class by weight alone, `(n, F)`."""
        terms = self.share[:-1] * np.exp(_log_t(self.pulls(weight, width), _TAILS))
        return np.asarray(terms / terms.sum(axis=1, keepdims=True))

    def scores(self, weight: FloatArray, width: FloatArray) -> FloatArray:
        """Derivatives of the logarithm of each class's term, `(n, F + 1, P)`.

        By the weights, by the logarithms of the widths and of the shares, by the skew (see
        `judge.mixture.ClassModel.skew`) and by the binary logarithm of the degrees of freedom.
        """
        f = len(self.mean)
        pull = self.pulls(weight, width)
        steep = (_TAILS + 1.0) * pull / (_TAILS + pull**2)
        scores = np.zeros((len(weight), f + 1, self.parameters))
        k = np.arange(f)
        scores[:, k, k] = steep / width[:, None]
        scores[:, k, f + k] = steep * pull - 1.0
        scores[:, :, 2 * f : 3 * f + 1] = np.eye(f + 1) - self.share
        centre = 4.0 * np.exp(_log_t(np.zeros(1), _TAILS)) * _TAILS / (_TAILS - 1.0)
        scores[:, :f, -2] = steep * (np.abs(pull) - centre)
        scores[:, :f, -1] = _log_t(pull, 2**0.5 * _TAILS) - _log_t(pull, 2**-0.5 * _TAILS)
        return scores


def _log_t(pull: FloatArray, tails: float) -> FloatArray:
    height = gammaln((tails + 1.0) / 2.0) - gammaln(tails / 2.0) - 0.5 * np.log(np.pi * tails)
    return np.asarray(height - (tails + 1.0) / 2.0 * np.log1p(pull**2 / tails))


def common_errors(sites: Sites) -> CommonErrors:
    """Errors of the expected numbers of columns that the classes' own errors make.

    Parameters
    ----------
    sites : Sites
        Weighed columns of one image; those that were not weighed, or are certain, add nothing.
    """
    k = len(sites.class_names)
    if sites.weight is None or sites.weight_sigma is None:
        return CommonErrors.none(k)
    classes = [c for c in range(1, k) if c != OTHER and not sites.class_names[c].endswith(ON_METAL)]
    p = np.asarray(sites.probabilities, dtype=float)[:, [*classes, OTHER]]
    sigma = np.asarray(sites.weight_sigma, dtype=float)
    weighed = np.isfinite(sites.weight) & np.isfinite(sigma) & (sigma > 0.0)
    rows = weighed & (p[:, :-1].sum(axis=1) > 0.5)
    network = _network_errors(sites, ~weighed)
    beforehand = CommonErrors.none(k).beforehand
    p = p[rows] / p[rows].sum(axis=1, keepdims=True)
    if p[:, 0].sum() < _LEAST_COLUMNS:
        return CommonErrors(network, beforehand)
    width = sigma[rows] * np.sqrt((_TAILS - 2.0) / _TAILS)
    weight = np.asarray(sites.weight, dtype=float)[rows]
    mixture = _mixture(p, weight, width)
    metals = int((weighed & sites.is_metal).sum())
    place = np.asarray(sites.position_px, dtype=float)[rows]
    where = np.array([*classes, OTHER])
    own, beforehand[where] = _propagated(mixture, p, weight, width, place, metals)
    network[np.ix_(where, where)] += own
    return CommonErrors(network, beforehand)


def _network_errors(sites: Sites, rows: BoolArray) -> FloatArray:
    """Covariance of the numbers by a network's odds in the columns that weren't weighed."""
    p = np.asarray(sites.probabilities, dtype=float)[rows]
    changes = []
    for classes in ((_XY, _Y2), (_V1, _V2)):
        odds = np.isin(np.arange(p.shape[1]), classes)
        changes.append((p * (odds - p @ odds[:, None])).sum(axis=0))
    change = _NETWORK * np.array(changes)
    return np.asarray(change.T @ change)


def _mixture(p: FloatArray, weight: FloatArray, width: FloatArray) -> _Mixture:
    information = p[:, :-1] / width[:, None] ** 2
    mean = (information * weight[:, None]).sum(axis=0) / np.maximum(information.sum(axis=0), 1e-12)
    share = np.maximum(p.sum(axis=0), 1e-3)
    return _Mixture(mean, share / share.sum())


def _propagated(
    mixture: _Mixture,
    p: FloatArray,
    weight: FloatArray,
    width: FloatArray,
    place: FloatArray,
    metals: int,
) -> tuple[FloatArray, FloatArray]:
    sums = [_sums(mixture, p[part], weight[part], width[part]) for part in _parts(len(p))]
    score = np.concatenate([one[0] for one in sums])
    change, missing, every = (np.sum([one[k] for one in sums], axis=0) for k in (1, 2, 3))
    f, shape = len(mixture.mean), slice(mixture.parameters - 2, None)
    seen = np.zeros_like(missing)
    count = p.sum(axis=0)
    at = np.arange(f)
    known = (_TAILS + 1.0) / (_TAILS + 3.0)
    seen[at, at] = known * (p[:, :-1] / width[:, None] ** 2).sum(axis=0)
    seen[f + at, f + at] = 2.0 * _TAILS / (_TAILS + 3.0) * count[:-1]
    shares = slice(2 * f, 3 * f + 1)
    seen[shares, shares] = count.sum() * (
        np.diag(mixture.share) - np.outer(mixture.share, mixture.share)
    )
    seen[:, shape], seen[shape, :] = every, every.T
    weights = _weight_ties(mixture)
    others = _other_ties(mixture, len(weight), metals)
    least = np.eye(mixture.parameters) * 1e-9
    # both estimate the same: the former runs away where classes overlap, the latter can't
    found = 0.5 * (seen - missing + score.T @ score)
    known_in_all = found + weights.T @ weights + others.T @ others + least
    value, vector = np.linalg.eigh(known_in_all)
    inverse = (vector / np.maximum(value, _LEAST_INFORMATION)) @ vector.T
    numbers = change @ inverse
    scatter = _alike(score - score.mean(axis=0), place) + others.T @ others
    own = numbers @ scatter @ numbers.T
    beforehand = numbers @ weights.T
    flank = _flank(mixture, p, width, numbers)
    return own, np.column_stack([beforehand, flank])


def _parts(n: int) -> list[slice]:
    return [slice(start, start + _PART) for start in range(0, n, _PART)]


def _sums(
    mixture: _Mixture, p: FloatArray, weight: FloatArray, width: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Scores of columns, and sums over them.

    Returns
    -------
    score : array, `(n, P)`
    change : array, `(F + 1, P)`
        Derivatives of the numbers of columns.
    missing : array, `(P, P)`
        Information that is hidden by not knowing the classes.
    shape : array, `(P, 2)`
        What the noise's shape would tell, were they known.
    """
    scores = mixture.scores(weight, width)
    score = np.einsum("nk,nkp->np", p, scores)
    change = p[:, :, None] * (scores - score[:, None, :])
    missing = np.einsum("nkp,nkq->pq", change, scores, optimize=True)
    shape = np.einsum("nk,nkp,nkq->pq", p, scores, scores[:, :, -2:], optimize=True)
    return score, change.sum(axis=0), missing, shape


def _weight_ties(mixture: _Mixture) -> FloatArray:
    """What is known of the weights beforehand, over its standard deviations, `(4, P)`."""
    x2, y2 = mixture.mean[[0, _Y2 - 1]]
    x2 = max(float(x2), 1e-3)
    ties = np.zeros((len(_WEIGHT_TIES), mixture.parameters))
    spread = {name: x2 * value for name, value in _WEIGHT_TIES.items()}
    ties[0, [_V1 - 1, 0]] = np.array([1.0, -0.5]) / spread["V1"]
    ties[1, _V2 - 1] = 1.0 / spread["V2"]
    ties[2, [_XY - 1, 0, _Y2 - 1]] = np.array([1.0, -0.5, -0.5]) / spread["XY"]
    ties[3, [_Y2 - 1, 0]] = np.array([1.0, -float(y2) / x2]) / spread["Y2"]
    return ties


def _other_ties(mixture: _Mixture, columns: int, metals: int) -> FloatArray:
    """What is known of further classes, widths, shares and shape, over its standard deviations."""
    f = len(mixture.mean)
    ties = []

    def tie(value: float, *at: int) -> None:
        row = np.zeros(mixture.parameters)
        row[list(at)] = np.array([1.0, -1.0])[: len(at)] * value
        ties.append(row)

    for k in range(5, f):
        tie(1.0 / _WEIGHT_TIES["XY"], k)
    for k in range(1, f):
        tie(np.sqrt(2.0 * _WIDTH_COLUMNS), f + k, f)
    for k in range(f + 1):
        tie(float(np.sqrt(_SHARE_COLUMNS * mixture.share[k])), 2 * f + k)
    skew = np.hypot(_SKEW, _SKEW_PER_COLUMN / np.sqrt(max(metals, 1)))
    tie(float(1.0 / skew), mixture.parameters - 2)
    tie(1.0 / _LOG2_TAILS, mixture.parameters - 1)
    row = np.zeros(mixture.parameters)  # shares sum to one
    row[2 * f : 3 * f + 1] = mixture.share * np.sqrt(columns)
    return np.array([*ties, row])


def _alike(score: FloatArray, place: FloatArray) -> FloatArray:
    """Covariance of the summed scores of columns that err like those around them, `(P, P)`."""
    tree = cKDTree(place)
    nearest = float(np.median(tree.query(place, k=2)[0][:, 1]))
    if not np.isfinite(nearest) or nearest <= 0.0:
        return np.asarray(score.T @ score)
    a, b = tree.query_pairs(_REACH * nearest, output_type="ndarray").T
    alike = 1.0 - np.linalg.norm(place[a] - place[b], axis=1) / (_REACH * nearest)
    both = score.T @ (csr_array((alike, (a, b)), shape=(len(place), len(place))) @ score)
    value, vector = np.linalg.eigh(score.T @ score + both + both.T)
    return np.asarray((vector * np.maximum(value, 0.0)) @ vector.T)


def _flank(mixture: _Mixture, p: FloatArray, width: FloatArray, numbers: FloatArray) -> FloatArray:
    """Change of the numbers by columns of X2 that lie farther up than noise says, `(F + 1,)`."""
    typical = np.quantile(width, np.linspace(0.05, 0.95, 19))
    change = np.zeros(len(mixture.share))
    for pull, share in zip(_FLANK_PULLS, _FLANK_SHARES, strict=True):
        weight = mixture.mean[0] + pull * typical
        chance = mixture.posterior(weight, typical)
        chance = np.column_stack([chance, np.zeros(len(chance))])
        score = np.einsum("nk,nkp->p", chance, mixture.scores(weight, typical)) / len(chance)
        change += share * (chance.mean(axis=0) + numbers @ score)
    change[0] -= 1.0
    return np.asarray(_FLANK * p[:, 0].sum() * change)
