"""What the border of an image does to the weights of columns near it, read off the metals there.

Columns outside of the image shine into it, and the waves that columns are weighed by end there:
up to some two lattice constants from the border weights are off by a few per cent, and scatter
more. How much, the metals say, which all weigh one.
"""

from __future__ import annotations

import numpy as np

from ..crystal import distance_to_data_end
from ..types import BoolArray, FloatArray
from .picture import WeightEquations

REACH = 2.25
"""Lattice constants from the border up to which weights are levelled."""
_RIM = 0.65
"""Lattice constants from the border within which columns aren't weighed: they lie in the light of
columns outside, of which nothing is known."""
_CORNER_RIM, _CORNER = 0.9, 1.36
"""The same in corners, where a second side cuts the profile of a column."""
_STEP = 0.25
_BEFOREHAND = 5.0
"""Metals that a strip of its own bias needs: fewer are taken as those farther in."""
_MOST_BIAS, _MOST_SCATTER = 0.25, 3.0


def border_distance(position_px: FloatArray, data: FloatArray, a_px: float) -> FloatArray:
    """How far columns `(N, 2)` (y, x) lie from where the data of an image end [a], `(N,)`."""
    return distance_to_data_end(position_px, data, a_px) / a_px


def weighable(
    position_px: FloatArray, data: FloatArray, distance: FloatArray, a_px: float
) -> BoolArray:
    """Whether enough of a column lies within the image to weigh it, `(N,)`.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        Places of the columns (y, x) [px].
    data : array, `(H, W)`
    distance : array, `(N,)`
        From the nearest border, `border_distance` [a].
    a_px : float
        Lattice constant [px].
    """
    sides = np.minimum(position_px, np.array(data.shape) - 1.0 - position_px) / a_px
    corner = (sides < _CORNER).all(axis=1)
    return np.asarray(distance >= np.where(corner, _CORNER_RIM, _RIM))


def level_rim(
    equations: WeightEquations,
    mean: FloatArray,
    distance: FloatArray,
    is_metal: BoolArray,
) -> WeightEquations:
    """The same equations, near the border as right and as sure as the metals there are.

    Parameters
    ----------
    equations : WeightEquations
    mean : array, `(N,)`
        What the columns are thought to weigh.
    distance : array, `(N,)`
        From the nearest border, `border_distance` [a].
    is_metal : array of bool, `(N,)`
        Metals that are judged.
    """
    weight, sigma = equations.estimates(mean, np.zeros_like(mean))
    inside = is_metal & (distance > REACH)
    if inside.sum() < 10 * _BEFOREHAND:
        return equations
    typical = float(np.median(weight[inside]))
    spread = float(np.median(np.abs(weight[inside] - typical) / sigma[inside]))
    factor, scatter = np.ones_like(weight), np.ones_like(weight)
    for low in np.arange(0.0, REACH, _STEP):
        strip = (distance >= low) & (distance < low + _STEP)
        own = strip & is_metal
        n = int(own.sum())
        if n == 0:
            continue
        level = float(np.median(weight[own])) / typical
        level = (n * level + _BEFOREHAND) / (n + _BEFOREHAND)
        level = float(np.clip(level, 1.0 - _MOST_BIAS, 1.0 + _MOST_BIAS))
        wide = float(np.median(np.abs(weight[own] / level - typical) / sigma[own]))
        wide = (n * wide / max(spread, 1e-9) + _BEFOREHAND) / (n + _BEFOREHAND)
        factor[strip] = level
        scatter[strip] = np.clip(wide, 1.0, _MOST_SCATTER)
    return equations.levelled(factor, scatter)
