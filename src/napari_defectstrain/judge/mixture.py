"""Classes by weight: a mixture whose means, widths and shares are the image's own.

A column of class c weighs ``mu_c``; its estimate scatters around that by its standard error times
a factor that the columns themselves show. All are found by expectation-maximisation (Dempster,
Laird & Rubin 1977, doi:10.1111/j.2517-6161.1977.tb01600.x) with priors that say what a class of
few columns can't: X beside nothing weighs half of two X, XY lies midway between 2X and 2Y, an
empty site weighs nothing, and how much heavier Y is follows from cross sections. What fits none of
the classes is *other*: a broad, rare component; but further classes of one weight each may be named
or found (`open_classes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gamma

from ..materials import ROLES
from ..types import FloatArray

CHALCOGEN = tuple(ROLES.index(r) for r in ("X2", "XY", "Y2", "V1", "V2"))
"""Roles of the components, in their order; then comes *other*, then further classes."""
X2, XY, Y2, V1, V2, OTHER = range(6)
_OTHER_RANGE = 2.6
"""Weights that *other* spreads over, in the metal's."""
_OTHER_SHARE = 0.002
_OTHER_STRENGTH = 40.0
"""How many columns this share counts for: few, as samples hold none or many. Were it sure, all
classes together would be in doubt by a part of a column that isn't there."""
_PRIOR_COLUMNS = 30.0
"""A class's own scatter counts fully against the expected one from this many columns on."""
_TIES = {"V1": 0.045, "V2": 0.03, "XY": 0.03, "Y2": 0.12}
"""Standard deviations of the priors of the means, in units of 2X's weight."""
_WIDTHS = (0.6, 1.7)
_SHARE_STRENGTH = 10.0
_ROUNDS = 12
_SETTLED = 1e-4
"""Of what models are told by: a hundredth of what classes are apart, and less."""
USUAL_TAILS = 16
"""Degrees of freedom of Student's t that pulls follow where too few metals tell."""
TAILS = (8, USUAL_TAILS, 32, 64)
"""Those that an image may have: powers of two, whose densities are squares of squares."""
_HEIGHT = {v: float(gamma((v + 1) / 2) / gamma(v / 2) / np.sqrt(np.pi * v)) for v in TAILS}
_LEAST_FACTOR = 1e-6
_TYPICAL_SHARES = (0.9, 0.035, 0.02, 0.035, 0.01)


@dataclass(frozen=True)
class ClassModel:
    """Means, widths and shares of the classes of chalcogen columns.

    Parameters
    ----------
    mean : array, `(5 + K,)`
        Weights of X2, XY, Y2, V1, V2 and of K further classes in units of the metal's.
    width : array, `(5 + K,)`
        Scatter of a class in units of the columns' standard errors.
    share : array, `(6 + K,)`
        Fractions of the columns: of the five, of *other*, of the further classes.
    skew : float
        How much farther columns scatter above the likeliest weight than below: widths are
        ``1 + skew`` and ``1 - skew`` times as large. Grains of dirt only ever add light.
    tails : int
        Degrees of freedom of Student's t that pulls follow, one of `TAILS`: the more, the nearer to
        a Gaussian. Noise of clean images is one; where errors differ more than they say, it isn't.
    """

    mean: FloatArray
    width: FloatArray
    share: FloatArray
    skew: float = 0.0
    tails: int = USUAL_TAILS

    @property
    def scatter(self) -> FloatArray:
        """Standard deviation of a class in units of the columns' standard errors, `(5 + K,)`."""
        return np.asarray(self.width * np.sqrt(self.tails / (self.tails - 2)))

    @property
    def shift(self) -> float:
        """Mean less likeliest weight of a class, in units of its width."""
        mean_pull = 2.0 * _HEIGHT[self.tails] * self.tails / (self.tails - 1.0)
        return 2.0 * self.skew * mean_pull

    def _sides(self, pull: FloatArray) -> FloatArray:
        """Widths above and below the likeliest weight."""
        return np.where(pull > 0.0, 1.0 + self.skew, 1.0 - self.skew)

    def half_pulls(
        self, weight: FloatArray, sigma: FloatArray, mean: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """From the likeliest weights, `(5 + K, n)`: in widths of the half, and that half's width.

        Parameters
        ----------
        weight : array, `(n,)` or `(5 + K, n)`
            The latter where a weight depends on the class that a column is taken to be of.
        sigma : array, `(n,)`
        mean : array, `(5 + K,)`
        """
        width = sigma * self.width[:, None]
        pull = (weight - mean[:, None]) / width + self.shift
        if self.skew:
            side = self._sides(pull)
            return pull / side, width * side
        return pull, width

    def moved_from(self, other: ClassModel) -> float:
        """Largest difference of a mean, a relative width or a share."""
        width = np.abs(self.width / other.width - 1.0).max()
        mean, share = np.abs(self.mean - other.mean).max(), np.abs(self.share - other.share).max()
        return float(max(mean, width, share))

    def posterior(
        self, weight: FloatArray, sigma: FloatArray, prior: FloatArray | None = None
    ) -> FloatArray:
        """Probability of each class, in the order of the shares, `(n, 6 + K)`.

        Parameters
        ----------
        weight : array, `(n,)` or `(5 + K, n)`
        sigma : array, `(n,)`
        prior : array, `(n, 6 + K)`, optional
            What is known of each column beside its weight: factors of the shares.
        """
        terms = self.terms(weight, sigma, prior)
        return np.asarray(terms / terms.sum(axis=1, keepdims=True))

    def terms(
        self, weight: FloatArray, sigma: FloatArray, prior: FloatArray | None = None
    ) -> FloatArray:
        """Share times density of each class, `(n, 6 + K)`; a t's never vanish.

        Kept class by class in memory: sums over the few classes are sums of long rows.
        """
        pull = (weight - self.mean[:, None]) / sigma
        pull /= self.width[:, None]
        if self.skew:
            pull += self.shift
            pull /= self._sides(pull)
        density = t_density(pull * pull, self.tails) / (sigma * self.width[:, None])
        terms = np.empty((len(self.share), len(sigma)))
        terms[:OTHER] = density[:OTHER] * self.share[:OTHER, None]
        # nothing is lighter than an empty site: what seems to be is one, its neighbours misplaced
        terms[OTHER] = np.where(
            _of(weight, V2) > self.mean[V2], self.share[OTHER] / _OTHER_RANGE, 0.0
        )
        terms[OTHER + 1 :] = density[OTHER:] * self.share[OTHER + 1 :, None]
        if prior is not None:
            terms *= np.maximum(prior.T, _LEAST_FACTOR)
        return terms.T


def t_density(pull2: FloatArray, tails: int) -> FloatArray:
    """Student's density of squared pulls, without a logarithm: (1 + z^2 / v)^(-(v + 1) / 2).

    Parameters
    ----------
    pull2 : array
    tails : int
        Degrees of freedom v, one of `TAILS`.
    """
    base = 1.0 + pull2 / tails
    power = base * base
    for _ in range(tails.bit_length() - 3):
        power *= power
    return np.asarray(_HEIGHT[tails] / (power * np.sqrt(base)))


@dataclass(frozen=True)
class FurtherClass:
    """A class beside the material's own, by its weight.

    Parameters
    ----------
    weight : float
        In units of the metal's.
    share : float
        Fraction of the columns of its sublattice that it is expected to have.
    spread : float
        Standard deviation of what the weight may be in one image.
    """

    weight: float
    share: float
    spread: float = 0.03


def _of(weight: FloatArray, k: int) -> FloatArray:
    """Weights of columns if they are of class k, `(n,)`."""
    return weight if weight.ndim == 1 else weight[k]


def without_other(chance: FloatArray) -> FloatArray:
    """Columns of the classes that have a weight, without *other*, `(n, 5 + K)`."""
    return np.concatenate([chance.T[:OTHER], chance.T[OTHER + 1 :]]).T


@dataclass(frozen=True)
class ClassPrior:
    """What is known of the classes before an image is seen.

    Parameters
    ----------
    heavier : float
        Weight of 2Y over that of 2X.
    midway : float
        Weight of XY less the mean of 2X and 2Y, in units of 2X's.
    half : float
        Weight of V1 over that of X2.
    spread : tuple of float
        Standard deviations of V1, V2, XY and Y2, see `_TIES`.
    share : tuple of float
        Typical fractions of X2, XY, Y2, V1, V2 and other.
    strength : float
        How many columns they count for.
    further : tuple of FurtherClass
        Classes beside these on chalcogen sites.
    on_metal : tuple of FurtherClass
        Classes beside the metal on its sites.
    x2 : tuple of float, optional
        Weight of 2X and its standard deviation; without it the images alone say.
    empty : float
        Weight of V2: what an empty site seems to weigh.
    blind : bool
        Whether the network's word on vacancies counts where weights can't tell them.
    run_x2 : float, optional
        Weight of 2X where the further classes weigh what they do: in an image where 2X weighs more
        they do as well. Without it they weigh the same everywhere.
    """

    heavier: float
    midway: float = 0.015
    half: float = 0.49
    spread: tuple[float, ...] = tuple(_TIES[k] for k in ("V1", "V2", "XY", "Y2"))
    share: tuple[float, ...] = (*_TYPICAL_SHARES[:4], _TYPICAL_SHARES[4], _OTHER_SHARE)
    strength: float = _SHARE_STRENGTH
    further: tuple[FurtherClass, ...] = ()
    on_metal: tuple[FurtherClass, ...] = ()
    x2: tuple[float, float] | None = None
    empty: float = 0.0
    blind: bool = True
    run_x2: float | None = None

    @property
    def shares(self) -> FloatArray:
        """Expected fractions of all classes, `(6 + K,)`."""
        more = np.array([f.share for f in self.further])
        own = np.array(self.share) / np.sum(self.share)
        return np.concatenate([own * (1.0 - more.sum()), more])

    def means(self, x2: float, heavier: float | None = None) -> FloatArray:
        """Expected weights of the classes for a weight of 2X."""
        y2 = x2 * (heavier or self.heavier)
        xy = 0.5 * (x2 + y2) + self.midway * x2
        factor = 1.0 if self.run_x2 is None else x2 / self.run_x2
        further = (f.weight * factor for f in self.further)
        return np.array([x2, xy, y2, self.half * x2, self.empty, *further])


def starting_model(
    weight: FloatArray, prior: ClassPrior, heavier: float | None = None
) -> ClassModel:
    """A model that needs no labels: most chalcogen columns are X2, where nothing else is known."""
    x2 = float(np.median(_of(weight, X2))) if prior.x2 is None else prior.x2[0]
    mean = prior.means(x2, heavier)
    return ClassModel(mean, np.ones(len(mean)), prior.shares)


def improve(
    model: ClassModel,
    weight: FloatArray,
    sigma: FloatArray,
    prior: ClassPrior,
    knowledge: FloatArray | None = None,
    slope: float = 0.0,
    rounds: int = _ROUNDS,
) -> ClassModel:
    """Expectation-maximisation of an image's columns under the priors.

    Parameters
    ----------
    model : ClassModel
        To start from.
    weight : array, `(n,)` or `(5 + K, n)`
    sigma : array, `(n,)`
    prior : ClassPrior
    knowledge : array, `(n, 6 + K)`, optional
        As in `ClassModel.posterior`.
    slope : float
        How much the variance of a width grows with the weight.
    rounds : int
        At most; fewer where nothing moves any more.
    """
    for _ in range(rounds):
        chance = model.posterior(weight, sigma, knowledge)
        own = without_other(chance)
        mean = _means(model, own, weight, sigma, prior)
        width = _widths(model, own, weight, sigma, mean, slope)
        share = _shares(chance, prior)
        before, model = model, ClassModel(mean, width, share, model.skew, model.tails)
        if model.moved_from(before) < _SETTLED:
            break
    return model


def _shares(chance: FloatArray, prior: ClassPrior) -> FloatArray:
    total = chance.sum(axis=0)
    share = (total + prior.strength * prior.shares) / (len(chance) + prior.strength)
    other = total[OTHER] + _OTHER_STRENGTH * _OTHER_SHARE
    share[OTHER] = other / (len(chance) + _OTHER_STRENGTH)
    return np.asarray(share / share.sum())


def _means(
    model: ClassModel, own: FloatArray, weight: FloatArray, sigma: FloatArray, prior: ClassPrior
) -> FloatArray:
    """Weighted means, pulled towards what the other classes say of each."""
    away, width = model.half_pulls(weight, sigma, model.mean)
    information = own.T * _trust(away**2, model.tails) / width**2
    total, pull = information.sum(axis=1), (information * weight).sum(axis=1)
    if model.skew:  # from likeliest weights to means
        pull += model.shift * model.width * (information @ sigma)
    mean = model.mean.copy()
    usual, tie = (0.0, 0.0) if prior.x2 is None else (prior.x2[0], prior.x2[1] ** -2.0)
    mean[X2] = (pull[X2] + tie * usual) / max(total[X2] + tie, 1e-12)
    x2 = mean[X2]
    spread = dict(zip((V1, V2, XY, Y2), np.array(prior.spread) * x2, strict=True))
    for _ in range(3):
        expected = prior.means(x2, mean[Y2] / x2)
        by_xy = 2 * (mean[XY] - prior.midway * x2) - x2
        # Y2 knows of its weight by its own columns, by cross sections, and by XY
        terms = {
            V1: ((expected[V1], spread[V1]),),
            V2: ((prior.empty, spread[V2]),),
            XY: ((expected[XY], spread[XY]),),
            Y2: ((prior.heavier * x2, spread[Y2]), (by_xy, _doubt(total[XY], spread[XY]))),
        }
        terms |= {5 + k: ((expected[5 + k], f.spread),) for k, f in enumerate(prior.further)}
        for k, beforehand in terms.items():
            weights = np.array([s**-2.0 for _, s in beforehand])
            values = np.array([v for v, _ in beforehand])
            mean[k] = (pull[k] + (weights * values).sum()) / (total[k] + weights.sum())
    return mean


def _trust(pull2: FloatArray, tails: int) -> FloatArray:
    """How much a column counts for its class, by its squared pull: t is a mixture of Gaussians."""
    return np.asarray((tails + 1) / (tails + pull2))


def _doubt(information: float, tie: float) -> float:
    return float(2.0 * np.sqrt(1.0 / max(information, 1e-6) + tie**2))


def _widths(
    model: ClassModel,
    own: FloatArray,
    weight: FloatArray,
    sigma: FloatArray,
    mean: FloatArray,
    slope: float,
) -> FloatArray:
    pull2 = model.half_pulls(weight, sigma, mean)[0] ** 2
    squares = (own.T * _trust(pull2, model.tails) * pull2).sum(axis=1) * model.width**2
    count = own.sum(axis=0)
    common = np.clip(squares[X2] / max(count[X2], 1.0), 0.09, 9.0)
    expected = common * np.clip(1 + slope * (mean - mean[X2]), *np.square(_WIDTHS))
    found = (squares + _PRIOR_COLUMNS * expected) / (count + _PRIOR_COLUMNS)
    return np.asarray(np.sqrt(np.clip(found, common * _WIDTHS[0] ** 2, common * _WIDTHS[1] ** 2)))


def best_model(
    weight: FloatArray,
    sigma: FloatArray,
    prior: ClassPrior,
    knowledge: FloatArray | None = None,
    slope: float = 0.0,
) -> ClassModel:
    """The model of greatest likelihood of several starts, widths annealed."""
    best, most = None, -np.inf
    for factor in (0.9, 1.0, 1.1):
        model = starting_model(weight, prior, prior.heavier * factor)
        for heat in (2.0, 1.4, 1.0):
            model = replace(model, width=model.width * heat)
            model = improve(model, weight, sigma, prior, knowledge, slope, 4)
        likelihood = float(np.log(model.terms(weight, sigma, knowledge).sum(axis=1)).sum())
        away = (model.mean[Y2] / model.mean[X2] - prior.heavier) / prior.spread[3]
        likelihood -= 0.5 * away**2
        if likelihood > most:
            best, most = model, likelihood
    assert best is not None
    return improve(best, weight, sigma, prior, knowledge, slope, 2 * _ROUNDS)
