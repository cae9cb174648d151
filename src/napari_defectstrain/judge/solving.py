"""From what an image says of its weights to classes: neighbours by their posterior.

The weights' equations and the mixture of classes are solved in turns: the estimate of a weight
takes its neighbours at the mean of their posterior, and its error counts their doubt; the classes
follow from the estimates. It starts from no labels at all, but from the weights that a broad
Gaussian prior gives, so that wrong labels can't hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from ..types import BoolArray, FloatArray, IntArray
from .mixture import (
    OTHER,
    TAILS,
    USUAL_TAILS,
    V1,
    V2,
    X2,
    XY,
    Y2,
    ClassModel,
    ClassPrior,
    FurtherClass,
    best_model,
    improve,
    t_density,
    without_other,
)
from .picture import WeightEquations
from .surroundings import Surroundings

_FREE_ROUNDS = 5
_ROUNDS, _MOST_ROUNDS = 7, 40
_SETTLED = 0.1
"""Of its error: rounds end, at the earliest after the first few, where no weight moves by more.
Short steps take more of them: stopped too early, perfect columns at a border were of no class."""
_METAL_SPREAD = 0.05
_CHALCOGEN_SPREAD = 0.3
_METAL_SCATTER = 0.01
"""How much the weights of equal metal columns truly differ (tilt, strain)."""
_SKEW_COLUMNS, _SKEW_REACH, _MOST_SKEW = 100, 4.5, 0.3
_THIRD_MOMENT = 1.6
"""Of a distribution whose halves differ in width, over that difference."""
_OTHER_METAL_SHARE = 0.002
_OTHER_RANGE = 2.6
_LEAST_SAY = 0.01
_ANCHOR_COLUMNS, _ANCHOR_PRIOR = 100.0, 3.0
"""Columns of a class beyond which it says no more of the scale, and what "it is right" counts."""
_ANCHOR_WIDTH = 1.15
_LEAST_TIE = 0.015
_CLEAR_SIGMA, _BLIND_SIGMA = 2.5, 1.5
"""Distance of X2, V1 and V2 in standard errors from which on their weights tell them apart, and
below which they don't."""


@dataclass(frozen=True)
class ImageEvidence:
    """What one image says of its columns: plain data, all that the run's classes are made of.

    Parameters
    ----------
    equations : WeightEquations
    is_metal, is_chalcogen : arrays of bool, `(N,)`
        Sublattice of a column's site; neither where it has no site and isn't judged.
    network : array, `(N, K)`
        The network's probabilities, in the order of `materials.ROLES`.
    guess, doubt : arrays, `(N,)`
        What a column that isn't judged weighs beforehand, and how surely.
    place_px : array, `(N, 2)`, optional
        Where lattice, defects around and image together put each column (y, x) [px].
    labels : array of int, `(N,)`, optional
        Class that somebody gave to a column, in the order X2, XY, Y2, V1, V2, other; -1 where
        nobody did. They hold against anything but a weight that is out of the question.
    around : Surroundings, optional
        What the metals around each column say of its class.
    """

    equations: WeightEquations
    is_metal: BoolArray
    is_chalcogen: BoolArray
    network: FloatArray
    guess: FloatArray
    doubt: FloatArray
    place_px: FloatArray | None = None
    labels: IntArray | None = None
    around: Surroundings | None = None

    def by_class(
        self, weight: FloatArray, sigma: FloatArray, further: int = 0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Chalcogen columns with their metals where each class would put them.

        Parameters
        ----------
        weight, sigma : arrays, `(N,)`
            Of all columns, metals where they are taken to be.
        further : int
            How many classes there are beside X2, XY, Y2, V1, V2.

        Returns
        -------
        weight : array, `(6 + K, n)`
            In the order of the shares.
        sigma : array, `(n,)`
        factor : array, `(n, 6 + K)`
            Of the shares, by where the metals are.
        """
        rows = self.is_chalcogen
        its, error = weight[rows], sigma[rows]
        if self.around is None:
            return np.tile(its, (6 + further, 1)), error, np.ones((len(its), 6 + further))
        return (
            self.around.weights(its, rows, further),
            error * np.sqrt(self.around.gain[rows, X2]),
            self.around.factors(its, rows, further),
        )

    def labelled(self, further: int = 0) -> FloatArray:
        """Factors of the shares by the labels, `(n, 6 + K)`; *other* may be any further class."""
        labels = np.full(len(self.network), -1) if self.labels is None else self.labels
        mine = labels[self.is_chalcogen]
        factor = np.ones((len(mine), 6 + further))
        told = mine >= 0
        factor[told] = np.arange(6 + further) == mine[told, None]
        factor[:, OTHER + 1 :][mine == OTHER] = 1.0
        return factor

    def knowledge(self, say: tuple[float, ...], further: int = 0) -> FloatArray:
        """What the network says of vacancies, as factors of the shares, `(n, 6 + K)`.

        It sees how a vacancy pulls its surroundings, which the weight doesn't tell and which, where
        the pull is strong, falsifies the weight of an empty site. But most of what it knows is the
        weight, which must not count twice: `say` are the powers of its odds of V1 and of V2. Of
        heavier columns it knows nothing else, and of the `further` classes nothing at all.
        """
        given = self.network[self.is_chalcogen, 1:6] + _LEAST_SAY
        given = given / given.sum(axis=1, keepdims=True)
        full = given[:, [X2, XY, Y2]].sum(axis=1, keepdims=True)
        odds = given / given.mean(axis=0)
        factor = np.ones((len(given), 6 + further))
        factor[:, [X2, XY, Y2]] = (full / full.mean()) ** say[0]
        factor[:, V1], factor[:, V2] = odds[:, V1] ** say[0], odds[:, V2] ** say[1]
        factor[:, OTHER + 1 :] = factor[:, [X2, V1]].max(axis=1, keepdims=True)
        return factor

    def where_blind(self, apart_sigma: float, further: int = 0) -> FloatArray:
        """Factors of the shares: the network counts vacancies where weights can't.

        Where classes overlap the mixture could make their shares what it likes: in MoS2, where two
        S weigh 0.4 of Mo, a poor image would get a quarter of vacancies that nobody sees.

        Parameters
        ----------
        apart_sigma : float
            Least distance of the weights of X2, V1 and V2 in standard errors: the network's word
            counts in full below `_BLIND_SIGMA`, and not at all beyond `_CLEAR_SIGMA`.
        further : int
            How many classes there are that the network doesn't know.
        """
        blind = np.clip((_CLEAR_SIGMA - apart_sigma) / (_CLEAR_SIGMA - _BLIND_SIGMA), 0.0, 1.0)
        given = self.network[self.is_chalcogen, 1:6] + _LEAST_SAY
        full = given[:, [X2, XY, Y2]].sum(axis=1)
        factor = np.ones((len(given), 6 + further))
        factor[:, [X2, XY, Y2]] = (full / given.sum(axis=1))[:, None] ** blind
        factor[:, [V1, V2]] = (given[:, [V1, V2]] / given.sum(axis=1, keepdims=True)) ** blind
        return factor


@dataclass(frozen=True)
class ImageClasses:
    """Weights and classes of an image's columns.

    Parameters
    ----------
    weight, sigma : arrays, `(N,)`
        In units of the metal's; sigma by what the columns of its class scatter.
    chance : array, `(N, 6 + K)`
        Of chalcogen columns: X2, XY, Y2, V1, V2, other, and K further classes; 0 elsewhere.
    metal_chance : array, `(N, 2 + M)`
        Of columns on metal sites: metal, other, and M further classes; 0 elsewhere.
    mean : array, `(N,)`
        Posterior mean of the weights.
    error : array, `(N,)`
        What sigma would be if no class scattered more than the commonest of its sites.
    model : ClassModel
    place_px : array, `(N, 2)`, optional
        Places of the columns that the weights were taken at.
    """

    weight: FloatArray
    sigma: FloatArray
    chance: FloatArray
    metal_chance: FloatArray
    mean: FloatArray
    error: FloatArray
    model: ClassModel
    place_px: FloatArray | None = None

    @property
    def other_metal(self) -> FloatArray:
        """Probability that a column on a metal site is none, `(N,)`; 0 elsewhere."""
        return np.asarray(self.metal_chance[:, 1:].sum(axis=1))


def solve_classes(
    evidence: ImageEvidence,
    prior: ClassPrior,
    say: tuple[float, ...] = (0.0, 0.0),
    start: ClassModel | None = None,
) -> ImageClasses:
    """Weights and classes of one image.

    Parameters
    ----------
    evidence : ImageEvidence
    prior : ClassPrior
    say : tuple of float
        How much the network's odds of V1 and of V2 count, see `ImageEvidence.knowledge`.
    start : ClassModel, optional
        To start from; by default several starts are tried.
    """
    metal, chalcogen = evidence.is_metal, evidence.is_chalcogen
    mean, variance = _free_weights(evidence)
    more = len(prior.further)
    knowledge = evidence.knowledge(say, more) * evidence.labelled(more)
    weight, sigma = evidence.equations.estimates(mean, variance)
    if start is not None and len(start.mean) != 5 + more:
        start = None
    each, error, factor = evidence.by_class(weight, sigma, more)
    its = without_other(each.T).T
    model = start or best_model(its, error, prior, knowledge * factor)
    typical = float(np.median(sigma[chalcogen])) if chalcogen.any() else 0.0
    steps = min(model.mean[X2] - model.mean[V1], model.mean[V1] - model.mean[V2])
    apart = float(steps) / max(typical * float(model.width[X2]), 1e-9)
    if prior.blind:
        knowledge = knowledge * evidence.where_blind(apart, more)
    for done in range(1, _MOST_ROUNDS + 1):
        weight, sigma = evidence.equations.estimates(mean, variance)
        each, error, factor = evidence.by_class(weight, sigma, more)
        its = without_other(each.T).T
        width = _metal_width(weight[metal], sigma[metal])
        model = replace(
            model,
            skew=metal_skew(weight[metal], sigma[metal]),
            tails=metal_tails(weight[metal], sigma[metal]),
        )
        model = improve(model, its, error, prior, knowledge * factor, rounds=4)
        chance = model.posterior(its, error, knowledge * factor)
        metals, metal_mean, metal_variance = _metals(
            weight[metal], sigma[metal] * width, prior.on_metal
        )
        new, doubt = _strangers(evidence, weight, sigma)
        new[metal], doubt[metal] = metal_mean, metal_variance
        within = np.insert(_within_class(model, its), OTHER, each[OTHER], axis=1)
        new[chalcogen] = (chance * within).sum(axis=1)
        doubt[chalcogen] = (
            (chance * within**2).sum(axis=1) - new[chalcogen] ** 2 + chance[:, OTHER] * error**2
        )
        moved = evidence.equations.step * (new - mean)
        mean, variance = mean + moved, np.maximum(doubt, 0.0)
        if done >= _ROUNDS and np.abs(moved / sigma).max() < _SETTLED:
            break
    every, on_metal = np.zeros((len(mean), chance.shape[1])), np.zeros((len(mean), metals.shape[1]))
    every[chalcogen], on_metal[metal] = chance, metals
    usual = np.full(len(mean), model.scatter[X2])
    usual[metal] = width
    scatter = usual.copy()
    scatter[chalcogen] = (
        without_other(chance) @ model.scatter + chance[:, OTHER] * model.scatter[X2]
    )
    place = evidence.place_px
    weight[chalcogen] = (chance * each.T).sum(axis=1)
    sigma[chalcogen] = error
    return ImageClasses(weight, sigma * scatter, every, on_metal, mean, sigma * usual, model, place)


def anchored_weights(found: ImageClasses, prior: ClassPrior, chalcogen: BoolArray) -> FloatArray:
    """Posterior means of the weights, on a scale on which empty sites weigh nothing.

    Profile and contrast of the classes are learnt from one another: the product of both is what an
    image shows beside its lattice. That X beside nothing weighs half of two, and an empty site
    nothing, settles which is which.

    Parameters
    ----------
    found : ImageClasses
    prior : ClassPrior
    chalcogen : array of bool, `(N,)`
        Which columns are scaled.

    Returns
    -------
    array, `(N,)`
    """
    model = found.model
    x2 = float(model.mean[X2])
    step = x2 - model.mean[[V1, V2]]
    expected = x2 * np.array([1.0 - prior.half, 1.0])
    count = found.chance.sum(axis=0)[[V1, V2]]
    # wider than its errors: not X beside nothing alone, whose weight would be known
    mixed = model.width[[V1, V2]] > _ANCHOR_WIDTH * model.width[X2]
    heavy = np.where(mixed, 0.0, np.minimum(count, _ANCHOR_COLUMNS)) * expected**-2.0
    scale = ((heavy * step * expected).sum() + _ANCHOR_PRIOR) / (
        (heavy * step**2).sum() + _ANCHOR_PRIOR
    )
    scale = float(np.clip(scale, 0.7, 1.4))
    return np.where(chalcogen, x2 + scale * (found.mean - x2), found.mean)


def _within_class(model: ClassModel, weight: FloatArray) -> FloatArray:
    """What each column would weigh if it were of each class, `(n, 5 + K)`.

    A class that scatters more than the errors of X2 is no single weight: its columns keep what they
    differ by as far as it isn't noise.
    """
    own = np.clip(1.0 - (model.width[X2] / model.width) ** 2, 0.0, 1.0)
    own[model.width < _ANCHOR_WIDTH * model.width[X2]] = 0.0
    return np.asarray(model.mean + own * (weight.T - model.mean))


def _free_weights(evidence: ImageEvidence) -> tuple[FloatArray, FloatArray]:
    """Weights under a broad Gaussian prior for each sublattice, no label used."""
    equations, metal = evidence.equations, evidence.is_metal
    mean = equations.weight.copy()
    chalcogen = evidence.is_chalcogen
    spread = np.where(chalcogen, _CHALCOGEN_SPREAD, evidence.doubt)
    spread = np.where(metal, _METAL_SPREAD, spread)
    typical = np.where(chalcogen, np.median(mean[chalcogen]), evidence.guess)
    typical = np.where(metal, 1.0, typical)
    variance = np.where(metal, 0.02, 0.05) ** 2
    for _ in range(_FREE_ROUNDS):
        weight, sigma = equations.estimates(mean, variance)
        known = sigma**-2.0 + spread**-2.0
        new = (weight * sigma**-2.0 + typical * spread**-2.0) / known
        mean = mean + equations.step * (new - mean)
    return mean, 1.0 / known


def _metal_width(weight: FloatArray, sigma: FloatArray) -> float:
    """Scatter of the metals in units of their errors."""
    spread = 1.4826 * float(np.median(np.abs(weight - np.median(weight)) / sigma))
    return float(np.clip(spread, 0.3, 3.0))


def metal_skew(weight: FloatArray, sigma: FloatArray) -> float:
    """How lopsided the noise is, by the metals of an image, see `ClassModel.skew`.

    Dirt lies on metals as on all else, and theirs is the one weight that is beyond doubt.
    """
    if len(weight) < _SKEW_COLUMNS:
        return 0.0
    z = (weight - np.median(weight)) / sigma
    z = z[np.abs(z) < _SKEW_REACH * 1.4826 * np.median(np.abs(z))]
    z = (z - z.mean()) / z.std()
    third, error2 = float((z**3).mean()), 6.0 / len(z)
    third *= third**2 / (third**2 + error2)
    return float(np.clip(third / _THIRD_MOMENT, -_MOST_SKEW, _MOST_SKEW))


def metal_tails(weight: FloatArray, sigma: FloatArray) -> int:
    """How far noise reaches, by the metals of an image, see `ClassModel.tails`.

    The likeliest of a few; metals that lie farther than noise does, which may be none, say nothing.
    """
    if len(weight) < _SKEW_COLUMNS:
        return USUAL_TAILS
    pull = (weight - np.median(weight)) / sigma
    pull /= np.median(np.abs(pull))
    pull2 = pull[np.abs(pull) < _SKEW_REACH * 1.4826] ** 2
    likelihood = []
    for tails in TAILS:
        half = float(stdtrit(tails, 0.75))
        reach = 2.0 * float(stdtr(tails, _SKEW_REACH * 1.4826 * half)) - 1.0
        density = t_density(pull2 * half**2, tails) * half / reach
        likelihood.append(float(np.log(density).sum()))
    return TAILS[int(np.argmax(likelihood))]


def _metals(
    weight: FloatArray, sigma: FloatArray, further: Sequence[FurtherClass] = ()
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Probability of metal, other and the further classes; posterior mean, variance of weights."""
    own2 = _METAL_SCATTER**2
    centre = np.array([1.0, *(f.weight for f in further)])
    share = np.array([f.share for f in further])
    share = np.concatenate([[1.0 - share.sum() - _OTHER_METAL_SHARE], share])
    pull = (weight[:, None] - centre) / sigma[:, None]
    density = share * np.exp(-(pull**2) / 2) / (sigma[:, None] * np.sqrt(2 * np.pi))
    other = np.full((len(weight), 1), _OTHER_METAL_SHARE / _OTHER_RANGE)
    chance = np.concatenate([density[:, :1], other, density[:, 1:]], axis=1)
    chance /= chance.sum(axis=1, keepdims=True)
    known = centre + (weight[:, None] - centre) * (own2 / (own2 + sigma**2))[:, None]
    each = np.concatenate([known[:, :1], weight[:, None], known[:, 1:]], axis=1)
    mean = (chance * each).sum(axis=1)
    spread = own2 + chance[:, 1] * (sigma**2 - own2)
    return chance, mean, spread + (chance * (each - mean[:, None]) ** 2).sum(axis=1)


def _strangers(
    evidence: ImageEvidence, weight: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and variance of columns that aren't judged."""
    known = sigma**-2.0 + evidence.doubt**-2.0
    mean = (weight * sigma**-2.0 + evidence.guess * evidence.doubt**-2.0) / known
    return mean, 1.0 / known


def pooled_prior(found: Sequence[ImageClasses], prior: ClassPrior) -> ClassPrior:
    """What the images of one run say together of the classes' means and shares.

    A class that one image holds a handful of is known by the others. Means are tied as tightly
    as the images agree, which is not at all where each was taken at another detector.
    """
    if len(found) < 2:
        return prior
    model = [f.model for f in found]
    count = np.array([f.chance[:, : OTHER + 1].sum(axis=0) for f in found])
    x2 = np.array([m.mean[X2] for m in model])
    heavier, wide = _tied(
        np.array([m.mean[Y2] for m in model]) / x2, count[:, Y2], prior.heavier, prior.spread[3]
    )
    half, narrow = _tied(
        np.array([m.mean[V1] for m in model]) / x2, count[:, V1], prior.half, prior.spread[0]
    )
    share = count.sum(axis=0) + prior.strength * np.array(prior.share) / np.sum(prior.share)
    return replace(
        prior,
        heavier=heavier,
        half=half,
        spread=(narrow, *prior.spread[1:3], wide),
        share=tuple(share / share.sum()),
    )


def _tied(
    ratio: FloatArray, count: FloatArray, expected: float, spread: float
) -> tuple[float, float]:
    """Mean of the images' ratios with the prior as one of them, and how far they scatter."""
    importance = np.minimum(count, 30.0)
    total = importance.sum() + 5.0
    mean = float(((importance * ratio).sum() + 5.0 * expected) / total)
    squares = (importance * (ratio - mean) ** 2).sum() + 5.0 * spread**2
    return mean, float(np.clip(np.sqrt(squares / total), _LEAST_TIE, spread))
