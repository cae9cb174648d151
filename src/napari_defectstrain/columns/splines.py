"""Cubic B-splines of uniform knots: what profiles and backgrounds are made of."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline

from ..types import FloatArray

DEGREE = 3


def uniform_knots(length: float, pieces: int) -> FloatArray:
    """Knots of `pieces + 3` splines from 0 to `length`."""
    inner = np.linspace(0.0, length, pieces + 1)
    return np.concatenate([np.zeros(DEGREE), inner, np.full(DEGREE, length)])


def splines_at(knots: FloatArray, place: FloatArray) -> FloatArray:
    """The splines at places not below 0, of their shape + `(B,)`; zero beyond the last knot."""
    inside = place.ravel() <= knots[-1]
    values = np.zeros((place.size, len(knots) - DEGREE - 1))
    values[inside] = BSpline.design_matrix(place.ravel()[inside], knots, DEGREE).toarray()
    return values.reshape(*place.shape, -1)
