"""What else an image may show than what it is said to be: readings and their likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..materials import MATERIALS, Material
from ..simulate import ELEMENTS, nominal_weights
from .cell_columns import Sublattice
from .evidence import CellEvidence

_RATIO_SPREAD = 0.17
"""How far the logarithm of the ratio of brightness lies from cross sections in real images:
detectors, energies, channelling, tilt."""
_GAMMA_SPREAD = 0.25
"""Standard deviation of the logarithm of what gamma people give their pictures."""
_SPACING_SPREAD = 0.04
"""Of the lattice constant by files: their scales err by 5 to 7 %."""
_MOST_MISFIT = 12.5  # nothing counts for more: pictures hold surprises
_RARE = 3.0
"""Nats that a preset has against itself whose 2H monolayers are seldom seen."""
COMMON = ("WSe2", "MoS2", "WS2", "MoSe2")
"""Presets whose 2H monolayers are often seen."""
_VACANCIES = 4.0
"""Nats that columns of half the brightness count for against a reading whose metal sits there."""
_SEEN = 0.008
_OF_HALF, _OF_COLUMN = 2.0, 0.026
"""Nats that a column of half the brightness counts for on the sublattice that it lies on, and a
column that isn't one against it: by three vacancies in a hundred chalcogens, and four such columns
in a thousand metals."""
EQUAL = ("a 2H (AA') bilayer or graphene", 1.0, 0.04)
"""Reading of two equal sublattices: its ratio of brightness, and how well that is known."""
_OTHERS: tuple[tuple[str, float, float, float | None], ...] = (
    (*EQUAL, None),
    ("hexagonal boron nitride", 0.56, 0.12, 250.4),
    ("graphene", 1.0, 0.05, 246.0),
)


@dataclass(frozen=True)
class Reading:
    """One thing that the images may show.

    Parameters
    ----------
    name : str
    log_ratio, spread : float
        Logarithm of the dim sublattice's brightness over the bright one's, and its uncertainty.
    a_pm : float or None
        Lattice constant [pm]; None where it may be any.
    dim_is_chalcogen : bool or None
        Whether vacancies of one of two atoms lie on the dim sublattice; None where there are none.
    against : float
        Nats that are against it beforehand.
    """

    name: str
    log_ratio: float
    spread: float
    a_pm: float | None
    dim_is_chalcogen: bool | None
    against: float = 0.0

    def misfit(self, found: RunEvidence) -> float:
        """Minus the logarithm of its likelihood, without constants [nats]."""
        total = _half_square((np.log(found.ratio) - self.log_ratio) / self.spread)
        total += self.against
        if found.a_pm is not None and self.a_pm is not None:
            total += _half_square((found.a_pm / self.a_pm - 1) / _SPACING_SPREAD)
        if found.vacancies_dim is not None and self.dim_is_chalcogen is not None:
            total += 0.0 if found.vacancies_dim == self.dim_is_chalcogen else _VACANCIES
        return total + float(np.log(self.spread / _RATIO_SPREAD))


def _half_square(pull: float) -> float:
    return float(min(pull**2 / 2, _MOST_MISFIT))


@dataclass(frozen=True)
class RunEvidence:
    """Evidence of images that agree, pooled.

    Parameters
    ----------
    ratio : float
        Brightness of the dim sublattice over the bright one's.
    a_pm : float or None
        Lattice constant by the stated scales [pm].
    vacancies_dim : bool or None
        Whether columns of half the brightness lie on the dim sublattice; None where there are too
        few of them to say.
    mean_ratio : float
        Of the mean brightness of the sublattices.
    metal_brighter : float
        Nats a column by which the one that is brighter in the mean is the metal's, by what its
        columns are like.
    weighed : int
        Columns that say so.
    half : tuple of float
        How many columns of half the brightness lie on the bright and on the dim sublattice, less
        those that holes make.
    columns : tuple of int
        How many were weighed on each.
    for_dim_chalcogens : float
        Nats by which vacancies speak for chalcogens on the dim sublattice.
    bent : bool
        Whether the grey values of most images are bent, by a gamma or clipping.
    """

    ratio: float
    a_pm: float | None
    vacancies_dim: bool | None
    mean_ratio: float = float("nan")
    metal_brighter: float = 0.0
    weighed: int = 0
    half: tuple[float, float] = (0.0, 0.0)
    columns: tuple[int, int] = (0, 0)
    for_dim_chalcogens: float = 0.0
    bent: bool = False


def pooled_evidence(found: Sequence[CellEvidence]) -> RunEvidence:
    """Evidence of several images together; medians, so that no image rules."""
    ratio = float(np.median([max(e.ratio, 0.02) for e in found]))
    stated = [e.measured_a_pm for e in found if e.measured_a_pm is not None]
    # where one is unresolved, that none of half the brightness are seen on it says nothing
    pairs = [(e.bright, e.dim) for e in found if e.bright.resolved and e.dim.resolved]
    sides = [[pair[k] for pair in pairs] for k in range(2)]
    columns = (sum(s.n for s in sides[0]), sum(s.n for s in sides[1]))
    peaked = (_peaked(sides[0]), _peaked(sides[1]))
    for_dim = _for_dim(peaked, columns)
    count = [sum(s.half * s.n for s in side) for side in sides]
    half = [n / max(of, 1) for n, of in zip(count, columns, strict=True)]
    dim: bool | None = None
    for mine, other, verdict in ((1, 0, True), (0, 1, False)):
        if half[mine] > max(_SEEN, 3 * half[other]) and count[mine] >= 5:
            dim = verdict
    if dim is False and for_dim > 0:  # those on the dim one are more than metals would make
        dim = None
    weighed = sum(e.weighed for e in found)
    return RunEvidence(
        ratio,
        float(np.median(stated)) if stated else None,
        dim,
        float(np.median([e.mean_ratio for e in found])),
        sum(e.weighed * e.metal_brighter for e in found) / max(weighed, 1),
        weighed,
        peaked,
        columns,
        for_dim,
        2 * sum(e.centre_sigma > 0 for e in found) > len(found),
    )


def _for_dim(half: Sequence[float], columns: Sequence[int]) -> float:
    """Nats by which vacancies speak for chalcogens on the dim sublattice.

    Columns of half the brightness on the bright one speak against them, but no more than as many
    vacancies as are usual would: many may be Mo beside W, few can't be told from Mo.
    """
    of_bright, of_dim = (_OF_HALF * max(h, 0.0) for h in half)
    return of_dim - min(of_bright, _OF_COLUMN * columns[0])


def _peaked(side: Sequence[Sublattice]) -> float:
    """Columns of half the weight, less as many as are fainter still."""
    return float(sum((s.half - s.fainter) * s.n for s in side))


def reading_of(material: Material) -> Reading | None:
    """A material as a reading; None for elements without cross sections."""
    if not {material.metal, material.chalcogen, material.substituent} <= set(ELEMENTS):
        return None
    r = nominal_weights(material)[1]
    log = -abs(float(np.log(r)))
    spread = float(np.hypot(_RATIO_SPREAD, _GAMMA_SPREAD * log))
    return Reading(material.name, log, spread, material.lattice_pm, r < 1)


def all_readings(asked: Material) -> list[Reading]:
    """Every reading but the asked one: the other presets, bilayers, graphene, boron nitride."""
    presets = [reading_of(m) for m in MATERIALS.values() if m.name != asked.name]
    rare = [
        replace(p, against=0.0 if p.name in COMMON else _RARE) for p in presets if p is not None
    ]
    return [*rare, *(Reading(name, float(np.log(r)), s, a, None) for name, r, s, a in _OTHERS)]
