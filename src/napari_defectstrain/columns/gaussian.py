"""One elliptical 2D Gaussian on a constant for each column: the paper's fit, many columns at once.

By least squares in the pixels within a radius of the column (doi:10.1021/acs.nanolett.0c00269),
in class averages (pm, y up) as in whole images (px, y down).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import BoolArray, FloatArray, IntArray

N_PARAMETERS = 7
"""Height, y, x, constant, and the inverse covariance yy, xy, xx."""

MIN_PIXELS = 2 * N_PARAMETERS


@dataclass(frozen=True)
class Neighbourhoods:
    """Pixels around each column, all `(N, P)`.

    Parameters
    ----------
    y, x, value : arrays
    used : array
        1 where a pixel counts, 0 elsewhere.
    index : array of int
        Places in the flattened image.
    """

    y: FloatArray
    x: FloatArray
    value: FloatArray
    used: FloatArray
    index: IntArray

    @classmethod
    def around(
        cls,
        image: FloatArray,
        good: FloatArray,
        position: FloatArray,
        radius: float,
        step: tuple[float, float] = (1.0, 1.0),
        origin: tuple[int, int] = (0, 0),
    ) -> Neighbourhoods:
        """The pixels within a radius of each position.

        Parameters
        ----------
        image, good : arrays, `(H, W)`
            The pixels, and 1 where one counts, 0 elsewhere.
        position : array, `(N, 2)`
            (y, x), in the unit of `step`.
        radius : float
            In the same unit.
        step : two floats
            From a row and from a column to the next; negative where y points up.
        origin : two ints
            Row and column of the pixel at (0, 0).
        """
        reach = radius / abs(step[1])
        half = int(np.ceil(reach)) + 1
        offset = np.arange(-half, half + 1)
        dy, dx = (g.ravel() for g in np.meshgrid(offset, offset, indexing="ij"))
        disc = np.hypot(dy, dx) <= reach + 1.0
        centre = np.rint(position / step).astype(int)
        row, column = centre[:, :1] + dy[disc], centre[:, 1:] + dx[disc]
        y, x = row * step[0], column * step[1]
        row, column = row + origin[0], column + origin[1]
        height, width = image.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        near = np.hypot(y - position[:, :1], x - position[:, 1:]) <= radius
        used = np.where(inside & near, good[row, column], 0.0)
        return cls(y, x, image[row, column].astype(float), used, row * width + column)

    def part(self, which: IntArray) -> Neighbourhoods:
        """Those of some of the columns."""
        return Neighbourhoods(
            self.y[which], self.x[which], self.value[which], self.used[which], self.index[which]
        )

    @property
    def enough(self) -> BoolArray:
        """Which columns have pixels enough for a fit, `(N,)`."""
        return np.asarray(self.used.sum(axis=1) >= MIN_PIXELS)

    def start(self, position: FloatArray, sigma: float) -> FloatArray:
        """Parameters to start from, `(N, 7)`: round Gaussians from darkest to brightest pixel."""
        low = np.where(self.used > 0, self.value, np.inf).min(axis=1)
        high = np.where(self.used > 0, self.value, -np.inf).max(axis=1)
        p = np.zeros((len(position), N_PARAMETERS))
        p[:, 0], p[:, 1:3], p[:, 3] = high - low, position, low
        p[:, 4] = p[:, 6] = sigma**-2
        return np.nan_to_num(p, posinf=0.0, neginf=0.0)

    def gaussian(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Model `(N, P)` and Jacobian `(N, 7, P)` (zero at pixels not used) at parameters."""
        height, y0, x0, constant, yy, xy, xx = (p[:, i : i + 1] for i in range(N_PARAMETERS))
        dy, dx = self.y - y0, self.x - x0
        exponent = 0.5 * (xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy)
        shape = np.exp(-np.clip(exponent, -50.0, 700.0))
        value = height * shape
        rows = [
            shape,
            value * (yy * dy + xy * dx),
            value * (xy * dy + xx * dx),
            np.ones_like(dx),
            -0.5 * value * dy * dy,
            -value * dx * dy,
            -0.5 * value * dx * dx,
        ]
        return value + constant, np.stack(rows, axis=1) * (self.used > 0)[:, None]


def integral(p: FloatArray) -> FloatArray:
    """Integrals of Gaussians of parameters `(N, 7)`."""
    determinant = np.maximum(p[:, 4] * p[:, 6] - p[:, 5] ** 2, 1e-300)
    return np.asarray(2.0 * np.pi * p[:, 0] / np.sqrt(determinant))


def is_peak(p: FloatArray) -> BoolArray:
    """Which Gaussians are bright and end on all sides."""
    return np.asarray((p[:, 4] > 0) & (p[:, 4] * p[:, 6] > p[:, 5] ** 2) & (p[:, 0] > 0))


def settle(
    near: Neighbourhoods,
    p: FloatArray,
    weight: FloatArray,
    max_step: float,
    tolerance: float,
    max_damping: float,
    max_iterations: int,
) -> tuple[FloatArray, FloatArray]:
    """Levenberg-Marquardt on all columns at once; damping and progress of each its own.

    Parameters
    ----------
    near : Neighbourhoods
    p : array, `(N, 7)`
        Where to start. Columns without pixels enough stay there.
    weight : array, `(N, P)`
        Of the squared residuals; zero at pixels not used.
    max_step : float
        The furthest that a column moves at once along y or x.
    tolerance : float
        A column whose step is below it, damped by less than `max_damping`, is done.
    max_damping : float
    max_iterations : int

    Returns
    -------
    parameters : array, `(N, 7)`
    last : array, `(N,)`
        The last step of each position, taken or not; infinite where there was none.
    """
    p = p.copy()
    last = np.full(len(p), np.inf)
    going = np.flatnonzero(near.enough)
    here, weight = near.part(going), weight[going]
    model, jacobian = here.gaussian(p[going])
    damping = np.full(len(going), 1e-3)
    for _ in range(max_iterations):
        if len(going) == 0:
            break
        residual = here.value - model
        weighed = jacobian * weight[:, None]
        normal = weighed @ jacobian.swapaxes(1, 2)
        scale = 1.0 / np.sqrt(np.maximum(np.einsum("mii->mi", normal), 1e-300))
        normal = normal * scale[:, :, None] * scale[:, None, :]
        normal += damping[:, None, None] * np.eye(N_PARAMETERS)
        right = scale * (weighed @ residual[..., None])[..., 0]
        step = scale * np.linalg.solve(normal, right[..., None])[..., 0]
        step[:, 1:3] = np.clip(step[:, 1:3], -max_step, max_step)
        tried_model, tried_jacobian = here.gaussian(p[going] + step)
        cost = np.sum(weight * residual**2, axis=1)
        tried = np.sum(weight * (here.value - tried_model) ** 2, axis=1)
        better = tried <= cost * (1 + 1e-12)
        p[going[better]] += step[better]
        model = np.where(better[:, None], tried_model, model)
        jacobian = np.where(better[:, None, None], tried_jacobian, jacobian)
        damping = np.clip(np.where(better, damping * 0.1, damping * 10.0), 1e-12, 1e6)
        last[going] = np.abs(step[:, 1:3]).max(axis=1)
        settled = better & (last[going] < tolerance) & (damping < max_damping)
        if settled.any():
            left = np.flatnonzero(~settled)
            going, here, damping = going[left], here.part(left), damping[left]
            model, jacobian, weight = model[left], jacobian[left], weight[left]
    return p, last
