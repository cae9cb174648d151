"""Steps of the fit of an image: of the shape with all else following, and not too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import FloatArray

LEAST_STEP = 0.2
SECANT = (0.5, 2.5)
LEAST_CHANGE = 0.02
TILE = 128
ROWS = 32  # of an image at a time: sums of 32 bits stay exact enough


@dataclass(frozen=True)
class ShapeErrors:
    """How well the shape of an image's columns is known.

    Parameters
    ----------
    inverse : array, `(S, S)`
        Of the information of the shape's parameters.
    scatter : array, `(S, S)`
        Their covariance by the noise of the pixels, as large as it shows to be.
    moves : array, `(N, 2, S)`
        By how much each column (y, x) moves with each of them [px].
    """

    inverse: FloatArray
    scatter: FloatArray
    moves: FloatArray

    @property
    def sigma(self) -> FloatArray:
        """Standard error of each parameter, `(S,)`."""
        return np.asarray(np.sqrt(np.maximum(np.diag(self.scatter), 0.0)))

    def at_scale(self, larger: float, n_modes: int) -> ShapeErrors:
        """The same where a unit of length is so many times as large; blurs follow the modes."""
        unit = np.ones(len(self.inverse))
        unit[n_modes:] = larger**-2.0
        both = np.outer(unit, unit)
        return ShapeErrors(self.inverse * both, self.scatter * both, self.moves / (larger * unit))

    def with_first(self) -> FloatArray:
        """By how much columns move when the first parameter changes by 1, `(N, 2)` [px].

        The others follow as the image asks them to.
        """
        following = self.inverse[:, 0] / max(self.inverse[0, 0], 1e-300)
        return np.asarray(self.moves @ following)


class FreeShape:
    """The shape's parameters when weights, positions and background follow them.

    Parameters
    ----------
    columns : array, `(N, 3, S)`
        By how much each column's parameters fall when a parameter of the shape grows.
    background : array, `(ny, nx, S)`
    images : array, `(S, H, W)`
        Derivatives of the image by the shape, all else following.
    inverse : array, `(H, W)`
        One over the variance of each pixel.
    prior : array, `(S,)`
        Information that is known beforehand.
    tile : int
        Pixels along the side of the tiles that errors are told by.
    """

    def __init__(
        self,
        columns: FloatArray,
        background: FloatArray,
        images: FloatArray,
        inverse: FloatArray,
        prior: FloatArray,
        tile: int = TILE,
    ) -> None:
        self.tile = tile
        self.columns, self.background, self.images = columns, background, images
        self.weighting = inverse
        self.normal = np.diag(prior)
        for start in range(0, images.shape[1], ROWS):
            rows = images[:, start : start + ROWS]
            weighted = rows * inverse[start : start + ROWS]
            flat = rows.reshape(len(rows), -1)
            self.normal += (flat @ weighted.reshape(len(rows), -1).T).astype(float)

    @property
    def found(self) -> tuple[FloatArray, FloatArray]:
        """How columns and background follow the shape."""
        return self.columns, self.background

    def step(self, pull: FloatArray, prior_pull: FloatArray) -> FloatArray:
        """Step of the shape's parameters, `(S,)`.

        Parameters
        ----------
        pull : array, `(H, W)`
            Residual over the variance.
        prior_pull : array, `(S,)`
            Gradient of the prior.
        """
        gradient = prior_pull.copy()
        for start in range(0, pull.shape[0], ROWS):
            rows = self.images[:, start : start + ROWS]
            gradient += rows.reshape(len(rows), -1) @ pull[start : start + ROWS].ravel()
        return np.asarray(self._inverse() @ gradient)

    def errors(self, pull: FloatArray) -> ShapeErrors:
        """How well the shape is known, and what its errors do to the places of the columns.

        Errors by the sandwich with tiles of the image as clusters, as contamination and jitter
        join what pixels say of the shape.

        Parameters
        ----------
        pull : array, `(H, W)`
            Residual over the variance where the fit ended.
        """
        score = self.scores(pull)
        inverse = self._inverse()
        return ShapeErrors(inverse, inverse @ (score.T @ score) @ inverse, -self.columns[:, 1:])

    def scores(self, pull: FloatArray) -> FloatArray:
        """What each tile of the image says of the shape, `(T, S)`."""
        (height, width), size = pull.shape, self.tile
        corners = [(y, x) for y in range(0, height, size) for x in range(0, width, size)]
        tiles = [(slice(y, y + size), slice(x, x + size)) for y, x in corners]
        return np.array([np.tensordot(self.images[:, *t], pull[t]) for t in tiles], dtype=float)

    def _inverse(self) -> FloatArray:
        scale = 1.0 / np.sqrt(np.maximum(np.diag(self.normal), 1e-300))
        scaled = self.normal * np.outer(scale, scale)
        scaled += 1e-12 * np.eye(len(scale))
        return np.asarray(scale[:, None] * np.linalg.inv(scaled) * scale)


def shape_by_instruments(
    own: FreeShape, told: FreeShape, pull: FloatArray
) -> tuple[FloatArray, ShapeErrors]:
    """Step of the shape to where the residual has nothing in common with the instruments.

    Parameters
    ----------
    own : FreeShape
        Derivatives of the columns as they were fitted.
    told : FreeShape
        The same of columns as they are foreseen: the instruments.
    pull : array, `(H, W)`
        Residual over the variance.

    Returns
    -------
    step : array, `(S,)`
    errors : ShapeErrors
        By the sandwich with tiles as clusters.
    """
    normal = np.zeros_like(own.normal)
    for start in range(0, pull.shape[0], ROWS):
        rows = np.s_[:, start : start + ROWS]
        left = (told.images[rows] * told.weighting[rows[1]]).reshape(len(normal), -1)
        normal += (left @ own.images[rows].reshape(len(normal), -1).T).astype(float)
    inverse = np.linalg.pinv(normal)
    step = inverse @ told.scores(pull).sum(axis=0)
    left = pull - np.tensordot(step, own.images, 1) * own.weighting
    score = told.scores(left)
    scatter = inverse @ (score.T @ score) @ inverse.T
    return step, ShapeErrors(inverse, scatter, -own.columns[:, 1:])


class Steadying:
    """Shortens steps of what swings to and fro: faint columns, corners of the background."""

    def __init__(self) -> None:
        self._last: list[FloatArray] = []
        self._factor: list[FloatArray] = []

    def __call__(
        self, columns: FloatArray, background: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Steps `(N, 3)` of weight, y and x, and of the background, as they should be taken."""
        rows = [columns[:, 1:], background.reshape(-1, 1)]
        if not self._last:
            self._last = [np.zeros_like(r) for r in rows]
            self._factor = [np.ones(len(r)) for r in rows]
        for k, row in enumerate(rows):
            back = np.einsum("ni,ni->n", row, self._last[k]) < 0
            factor = self._factor[k] * np.where(back, 0.5, 1.5)
            self._factor[k] = np.clip(factor, LEAST_STEP, 1.0)
            self._last[k] = row.copy()
        by_column, by_spline = self._factor
        return columns * by_column[:, None], background * by_spline.reshape(background.shape)


class Secant:
    """How much longer steps of the shape should be than they are asked for.

    By what the last one left of what was asked for, along the first parameter (Aitken's method;
    Irons & Tuck 1969, doi:10.1002/nme.1620010306).

    Parameters
    ----------
    limits : (float, float)
        Of the factor.
    least : float
        Changes and steps below it say nothing.
    """

    def __init__(self, limits: tuple[float, float] = SECANT, least: float = LEAST_CHANGE) -> None:
        self._limits, self._least = limits, least
        self._asked = self._taken = 0.0

    def __call__(self, asked: FloatArray) -> float:
        """Factor of a step that is asked for, `(S,)`."""
        change = self._asked - float(asked[0])
        if abs(change) < self._least or abs(self._taken) < self._least:
            return 1.0
        return float(np.clip(self._taken / change, *self._limits))

    def taken(self, asked: FloatArray, step: FloatArray) -> None:
        """Note what was asked for and taken."""
        self._asked, self._taken = float(asked[0]), float(step[0])


def typical_step(moved: FloatArray) -> float:
    """Root mean square of the least 99 %: a few stragglers are flagged, not waited for."""
    if len(moved) == 0:
        return 0.0
    return float(np.sqrt(np.mean(np.sort(moved)[: -(-99 * len(moved) // 100)] ** 2)))
