"""What is believed of an image's columns before it is looked at, and whether the image agrees.

The network's classes are where the search starts, and a part of what is known of vacancies. Where
weights rule out too many of them, the image is looked at as if nothing were known; then once more
from the classes that this gives, which are kept where it fails. The network is heard then as far as
these bear it out: how often its classes go with which of them is counted, and its word is worth no
more than that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..materials import ROLES
from ..types import BoolArray, FloatArray
from .learnt import LearntClasses
from .mixture import OTHER
from .places import LatticePlaces
from .solving import ImageClasses

_X2, _END = ROLES.index("X2"), ROLES.index("other") + 1
_UNKNOWN = 0.2
"""How far a chalcogen column of unknown class may weigh from X2."""
_IMPOSSIBLE = 0.01
_CONTRADICTED = 0.05
"""Share of the columns whose weight rules out the network's class from which on it isn't believed:
good ones have up to 1.5 %, on hard images too; where a tenth is of any class, 7 %."""
_DOUBTS = (0.03, 0.5)
"""How well the weight of a column that isn't judged is known, on the lattice and beside it."""
_CUT_ERROR = 0.05
"""What the border adds to the error of a weight beside it."""
_HEARD_COLUMNS = 2.0
"""Columns of usual classes that every class of the network is taken to have been given to."""
_AS_EXPECTED = 0.02
"""Of the chalcogens' brightness: a smaller difference is no other detector's."""
_BRIGHTER = (0.4, 2.5)
"""How far the chalcogens' brightness may be from cross sections."""


@dataclass(frozen=True)
class Told:
    """What is believed of an image's columns before it is looked at: see `ImageEvidence`.

    Parameters
    ----------
    metal, chalcogen : arrays of bool, `(N,)`
        Columns on sites of either sublattice that are judged.
    site : array of bool, `(N,)`
        Columns on chalcogen sites, judged or not.
    network : array, `(N, K)`
        What the network's word is worth: probabilities, in the order of `materials.ROLES`.
    guess, doubt : arrays, `(N,)`
        What the columns weigh, and how surely.
    labels : array, `(N, K)`, optional
        Probabilities of the classes that the search starts from; None for a start from no labels.
    """

    metal: BoolArray
    chalcogen: BoolArray
    site: BoolArray
    network: FloatArray
    guess: FloatArray
    doubt: FloatArray
    labels: FloatArray | None = None

    @property
    def share(self) -> FloatArray:
        """How far each column is of XY, Y2, V1, V2 and others, `(N, 5)`."""
        if self.labels is None:
            return np.zeros((len(self.network), _END - _X2 - 1))
        return self.labels[:, _X2 + 1 : _END] * self.chalcogen[:, None]

    def as_bright(self, seen: tuple[float, float] | None) -> Told:
        """Columns on chalcogen sites as heavy as the lattice says, where it says another weight.

        Profile and weights are learnt from each other, and hardly leave a brightness that both
        start from: a profile that dips where neighbours lie explains one that is wrong. Where the
        tiles differ from each other by as much, classes and cross sections tell more.

        Parameters
        ----------
        seen : tuple of float, optional
            Mean weight of the chalcogens and its scatter, see `brightness_of_sublattices`.
        """
        if seen is None:
            return self
        (mean, scatter), expected = seen, float(self.guess[self.site].mean())
        if abs(mean - expected) < max(scatter, _AS_EXPECTED * expected):
            return self
        factor = float(np.clip(mean / max(expected, 1e-6), *_BRIGHTER))
        return replace(self, guess=self.guess * np.where(self.site, factor, 1.0))

    def without_labels(self, typical: float, learnt: LearntClasses | None = None) -> Told:
        """Every column on a chalcogen site may be of any class, as often as was learnt.

        Parameters
        ----------
        typical : float
            Weight of X2.
        learnt : LearntClasses, optional
        """
        usual = self.network[self.chalcogen].mean(axis=0)
        if learnt is not None and learnt.mean and learnt.share:
            usual = np.zeros_like(usual)
            usual[_X2:_END] = learnt.share
            typical = learnt.usual_weight
        return replace(
            self,
            network=np.where(self.site[:, None], usual, self.network),
            guess=np.where(self.site, typical, self.guess),
            doubt=self._unsure,
            labels=None,
        )

    def contradicted(self, found: ImageClasses) -> bool:
        """Whether weights rule out the class that the search started from for too many columns."""
        if self.labels is None:
            return False
        claimed = self.labels[self.chalcogen, _X2:_END].argmax(axis=1)
        chance = found.chance[self.chalcogen][np.arange(len(claimed)), claimed]
        return bool((chance < _IMPOSSIBLE).mean() > _CONTRADICTED)

    def classes_found(self, found: ImageClasses) -> FloatArray:
        """The classes that weights give, as a network's probabilities, `(N, K)`.

        Near the border, where columns aren't judged, they are as unsure as their weights.
        """
        every = found.chance.copy()
        cut = self.site & ~self.chalcogen
        error = np.hypot(found.error[cut], _CUT_ERROR)
        every[cut] = found.model.posterior(found.weight[cut], error)
        result = self.network.copy()
        result[self.site] = 0.0
        result[self.site, _X2:_END] = every[self.site, : OTHER + 1]
        result[self.site, _END - 1] += every[self.site, OTHER + 1 :].sum(axis=1)
        return result

    def heard(self, found: ImageClasses, start: Told) -> Told:
        """Start from what was found; the network counts as far as that bears it out.

        Parameters
        ----------
        found : ImageClasses
            What the image says by itself.
        start : Told
            The same as labels.
        """
        claimed = self.network[self.chalcogen, _X2:_END]
        claimed = claimed / claimed.sum(axis=1, keepdims=True)
        given = found.chance[self.chalcogen, : OTHER + 1]
        worth = claimed.T @ given + _HEARD_COLUMNS * given.mean(axis=0)
        worth /= worth.sum(axis=1, keepdims=True)
        network = self.network.copy()
        network[self.chalcogen] = 0.0
        network[self.chalcogen, _X2:_END] = claimed @ worth
        return replace(start, network=network, doubt=self._unsure)

    @property
    def _unsure(self) -> FloatArray:
        """Doubt of the weights where a chalcogen column's class isn't known, `(N,)`."""
        return np.where(self.site, np.hypot(self.doubt, _UNKNOWN), self.doubt)


def told_by(
    labels: FloatArray,
    places: LatticePlaces,
    judged: BoolArray,
    typical: FloatArray,
) -> Told:
    """What probabilities of classes say of an image's columns.

    Parameters
    ----------
    labels : array, `(N, K)`
        Probabilities, in the order of `materials.ROLES`.
    places : LatticePlaces
    judged : array of bool, `(N,)`
        Columns that lie on the lattice and not too near the border.
    typical : array, `(K,)`
        Weights of the roles.
    """
    metal, chalcogen = judged & places.is_metal, judged & ~places.is_metal
    weight = labels @ typical
    weight[places.on_lattice & places.is_metal] = 1.0
    doubt = np.where(places.on_lattice, *_DOUBTS)
    site = places.on_lattice & ~places.is_metal
    return Told(metal, chalcogen, site, labels, weight, doubt, labels)
