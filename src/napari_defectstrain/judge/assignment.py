"""Which of two sublattices is the metal's, by what the weights of their columns are like.

Metals all weigh the same, or are of two kinds as in an alloy of W and Mo. Chalcogen columns may
hold none, one or two atoms of two kinds: X2, XY, Y2, and half of X2 where an atom is missing. Both
assignments are fitted to the weights of all columns, with shares and levels free: where the
chalcogens of an alloy outshine the metal, the mean brightness says the wrong thing, and the
scatter of the columns does not.

The noise of both sublattices is the same but for what grows with a column's brightness, so that
none can be alike on a sublattice whose columns are many-valued by noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import FloatArray

_EDGES = np.linspace(-0.6, 3.2, 153)
"""Bins of weight over the typical one."""
_SIGMAS = np.exp(np.linspace(np.log(0.03), np.log(0.45), 15))
"""Widths of a level that are tried, of the typical weight."""
_TWO_METALS = (0.42, 0.49, 0.57, 1.75, 2.04, 2.4)
"""Weights of the second kind of metal: Mo beside W or W beside Mo, and what gamma makes of them."""
_HEAVIER = (1.4, 1.65, 1.95, 2.4, 3.2)
"""Weights of Y2 over X2: Te beside Se, Se beside S, and what gamma makes of them."""
_HALVES = (0.42, 0.5, 0.57)
"""Weights of a column that lacks one of two atoms, in gammas that people give."""
_OUTLIERS = (0.005, 0.35)
"""Share of columns of any weight: beside holes and under dirt."""
_MOVES = (0.88, 1.13)
"""How far the level of most columns may lie from the typical weight."""
_NOISE_RATIO = 0.08
"""Standard deviation of the logarithm of the ratio of the two noises, beside what brightness
does."""
_ROUNDS = 18
_LEAST = 40
"""Columns of a sublattice below which nothing is said."""


@dataclass(frozen=True)
class _Levels:
    """Levels `(L,)` of one kind of sublattice, and how its components `(K, L)` spread over them."""

    level: FloatArray
    share: FloatArray


def _single(*levels: float) -> _Levels:
    return _Levels(np.array(levels), np.eye(len(levels)))


def _chalcogens(heavier: float, most: int) -> _Levels:
    """X2, XY, Y2, half of the most frequent of them, none, in units of the most frequent.

    The rarer end of X2 and Y2 never comes without as many XY: atoms are exchanged one by one.
    """
    end = np.array([1.0, (1 + heavier) / 2, heavier])
    level = np.append(end, [end[most] / 2, 0.0]) / end[most]
    share = np.eye(5)
    if most != 1:
        share[2 - most] = 0.0
        share[2 - most, [1, 2 - most]] = 0.5
    return _Levels(level, share)


_METAL = [_single(1.0, 0.0), *(_single(1.0, second, 0.0) for second in _TWO_METALS)]
_CHALCOGEN = [
    *(_single(1.0, half, 0.0) for half in _HALVES),
    *(_chalcogens(heavier, most) for most in (0, 1, 2) for heavier in _HEAVIER),
]


def metal_brighter(bright: FloatArray, dim: FloatArray) -> float:
    """Nats a column by which the brighter sublattice is the metal's rather than the dimmer.

    Parameters
    ----------
    bright, dim : array, `(N,)`
        Weights of the columns of each, in one unit.

    Returns
    -------
    float
        Negative where the dimmer one is the metal's; 0 where too few columns are there to say.
    """
    if min(len(bright), len(dim)) < _LEAST:
        return 0.0
    level = [float(np.median(w)) for w in (bright, dim)]
    if min(level) <= 0:
        return 0.0
    scaled = [w / t for w, t in zip((bright, dim), level, strict=True)]
    grows = float(np.log(level[0] / level[1]))
    log = np.log(_SIGMAS)
    ratio = (log[:, None] + np.log(level[0])) - (log + np.log(level[1]))
    beyond = np.maximum(np.maximum(ratio - max(grows, 0.0), min(grows, 0.0) - ratio), 0.0)
    noise = -((beyond / _NOISE_RATIO) ** 2) / 2
    metal, chalcogen = ([_best(w, kinds) for w in scaled] for kinds in (_METAL, _CHALCOGEN))
    is_bright = (metal[0][:, None] + chalcogen[1] + noise).max()
    is_dim = (chalcogen[0][:, None] + metal[1] + noise).max()
    return float(is_bright - is_dim) / (len(bright) + len(dim))


def _best(weight: FloatArray, kinds: Sequence[_Levels]) -> FloatArray:
    """Greatest log likelihood of weights by any of the kinds, for each of `_SIGMAS`, `(S,)`.

    A kind pays half the logarithm of the number of columns for every component.
    """
    low, high = _EDGES[0], _EDGES[-1]
    count, _ = np.histogram(np.clip(weight, low + 1e-6, high - 1e-6), _EDGES)
    seen = count > 0
    middle = ((_EDGES[1:] + _EDGES[:-1]) / 2)[seen]
    number = count[seen].astype(float)
    cost = np.log(number.sum()) / 2
    found = [_likelihood(middle, number, k) - (len(k.share) - 1) * cost for k in kinds]
    return np.asarray(np.max(found, axis=0))


def _likelihood(value: FloatArray, number: FloatArray, kind: _Levels) -> FloatArray:
    """Log likelihood of binned values, shares and a common factor of the levels fitted, `(S,)`."""
    broad = 1.0 / (_EDGES[-1] - _EDGES[0])
    sigma = _SIGMAS[:, None, None]
    parts = len(kind.share)
    factor = np.ones(len(_SIGMAS))
    share = np.full((len(_SIGMAS), parts), 0.9 / parts)
    share[:, 0] += 0.08
    outliers = np.full(len(_SIGMAS), 0.05)
    for i in range(_ROUNDS + 1):
        away = value[:, None] - factor[:, None, None] * kind.level
        gauss = np.exp(-((away / sigma) ** 2) / 2) / (np.sqrt(2 * np.pi) * sigma)
        part = (gauss @ kind.share.T) * share[:, None]
        total = part.sum(axis=2) + outliers[:, None] * broad
        if i == _ROUNDS:
            break
        held = number / total
        of_part = (part * held[..., None]).sum(axis=1) + 0.3
        of_none = (outliers[:, None] * broad * held).sum(axis=1) + 0.3
        of_level = gauss * (share @ kind.share)[:, None] * held[..., None]
        outliers = np.clip(of_none / (of_part.sum(axis=1) + of_none), *_OUTLIERS)
        share = of_part * ((1 - outliers) / of_part.sum(axis=1))[:, None]
        moment = (of_level * kind.level * value[:, None]).sum(axis=(1, 2))
        square = (of_level * kind.level**2).sum(axis=(1, 2))
        factor = np.clip(moment / np.maximum(square, 1e-9), *_MOVES)
    return np.asarray((number * np.log(total)).sum(axis=1))
