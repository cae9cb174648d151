"""What columns that somebody labelled say of the classes at one microscope.

An image tells the means of its classes where it holds many columns of each, and only where the
classes of the columns can be told apart to begin with. Labels say which column is of which class:
how much a class weighs, how often it comes, what else there is on its sites, and how sure is sure
enough. They take the place of what is known of any microscope.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from ..config import Between, Config, Length
from .mixture import OTHER, V1, V2, X2, XY, Y2, ClassPrior, FurtherClass

DECILES = (0.1, 0.9)
_TELLING = 0.25
"""Weights between the outer tenths of the chalcogen columns, in the metal's, from which on they
tell the sublattices apart: of metals it is 0.1 to 0.2, by neighbours' tails and noise."""
_WEIGHT = Between(-0.5, 5.0)
_SPREAD = Between(0.001, 5.0)
_SHARE = Between(0.0, 1.0)


@dataclass(frozen=True)
class Stranger(Config):
    """Columns on chalcogen sites that were labelled *other* and agree on a weight.

    Parameters
    ----------
    weight : float
        In units of the metal's.
    spread : float
        How far it may be off in one image.
    share : float
        Fraction of the columns of chalcogen sites.
    """

    weight: Annotated[float, _WEIGHT] = 0.0
    spread: Annotated[float, _SPREAD] = 0.03
    share: Annotated[float, _SHARE] = 0.01


@dataclass(frozen=True)
class LearntClasses(Config):
    """Classes of one material at one microscope, learnt from labels; all weights in the metal's.

    Parameters
    ----------
    mean : tuple of float
        Weights of X2, XY, Y2, V1 and V2; empty where they weren't learnt.
    spread : tuple of float
        Standard deviation of what each may be in one image.
    share : tuple of float
        Fractions of X2, XY, Y2, V1, V2 and other; empty where they weren't learnt.
    strength : float
        How many columns of an image they count for.
    strangers : tuple of Stranger
        Further classes on chalcogen sites, which count as *other*.
    blind : bool
        Whether the network's word on vacancies counts where weights can't tell them.
    thresholds : tuple of float
        How probable XY, Y2, V1 and V2 must be beside X2 alone: odds are compared with odds of the
        thresholds. Empty for one half each: the most probable class.
    """

    mean: Annotated[tuple[float, ...], Length(0, 5), _WEIGHT] = ()
    spread: Annotated[tuple[float, ...], Length(0, 5), _SPREAD] = ()
    share: Annotated[tuple[float, ...], Length(0, 6), _SHARE] = ()
    strength: Annotated[float, Between(0.0, 1e6)] = 0.0
    strangers: tuple[Stranger, ...] = field(default=())
    blind: bool = True
    thresholds: Annotated[tuple[float, ...], Length(0, 4), Between(0.01, 0.99)] = ()

    @property
    def usual_weight(self) -> float:
        """Mean weight of a column on a chalcogen site."""
        share = np.array(self.share[:OTHER])
        return float((share * np.array(self.mean)).sum() / share.sum())

    @property
    def reach(self) -> float:
        """Weights between the outer tenths of columns on chalcogen sites; 0 if unknown."""
        if not self.mean or not self.share:
            return 0.0
        order = np.argsort(self.mean)
        below = np.cumsum(np.array(self.share[:OTHER])[order])
        first, last = np.searchsorted(below / below[-1], DECILES)
        return float(self.mean[order[last]] - self.mean[order[first]])

    @property
    def tells_sublattices(self) -> bool:
        """Whether it tells metals from chalcogens that outshine them."""
        return self.reach >= _TELLING

    def prior(self, known: ClassPrior) -> ClassPrior:
        """What is known of the classes, with what was learnt in the place of what is usual.

        Parameters
        ----------
        known : ClassPrior
            Of the material.
        """
        if self.mean:
            mean, spread = np.array(self.mean), np.array(self.spread)
            x2 = mean[X2]
            known = replace(
                known,
                x2=(float(x2), float(spread[X2])),
                heavier=float(mean[Y2] / x2),
                midway=float((mean[XY] - (x2 + mean[Y2]) / 2) / x2),
                half=float(mean[V1] / x2),
                empty=float(mean[V2]),
                spread=tuple(float(s) for s in spread[[V1, V2, XY, Y2]] / x2),
            )
        if self.share:
            known = replace(known, share=self.share, strength=self.strength)
        more = tuple(FurtherClass(s.weight, s.share, s.spread) for s in self.strangers)
        return replace(known, further=(*known.further, *more), blind=known.blind and self.blind)
