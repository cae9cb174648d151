"""How the windows of a class vary: their first principal components, as far as they aren't noise.

The first components of pure noise look like something, too, and fit the very windows that they were
found in. So the components of one half of the windows are held against the other half: what varies
there along them, less what the noise of the defect-free windows does, is the class's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import BoolArray, FloatArray

MIN_WINDOWS = 20
OWN_SIGMA = 3.0
"""Errors by which a component must vary more than noise to be called the class's own."""


@dataclass(frozen=True)
class Component:
    """One way in which the windows of a class vary.

    Parameters
    ----------
    picture : array, `(P, P)`
        One standard deviation of it, in units of a metal column's height; NaN outside the disc.
    share : float
        Of the windows' variance within the disc.
    noise_share : float
        What part of its variance is noise, by the other half of the windows; above 1 where the
        windows vary less than noise. On the high side: a half knows the direction less well.
    sigma : float
        Variance above noise in units of its error.
    """

    picture: FloatArray
    share: float
    noise_share: float
    sigma: float

    @property
    def is_noise(self) -> bool:
        """Whether it is no more than noise."""
        return self.sigma < OWN_SIGMA

    @property
    def kind(self) -> str:
        """For people.

        >>> Component(np.zeros((1, 1)), 0.1, 0.97, 1.2).kind
        'noise'
        """
        return "noise" if self.is_noise else f"{100 * min(self.noise_share, 1.0):.0f} % noise"


def window_components(
    windows: FloatArray,
    first: BoolArray,
    noise: FloatArray,
    noise_weight: FloatArray,
    noise_scale: tuple[float, float],
    pixel: BoolArray,
    count: int,
) -> tuple[Component, ...]:
    """First principal components of a class's windows.

    Parameters
    ----------
    windows : array, `(N, K)`
        Their pixels within the disc.
    first : array of bool, `(N,)`
        Those of the first half.
    noise : array, `(R, K)`
        Noise alone.
    noise_weight : array, `(R,)`
        How much each of these counts.
    noise_scale : (float, float)
        Of the class's windows over that, and its error.
    pixel : array of bool, `(P, P)`
        The disc.
    count : int
        Components asked for.

    Returns
    -------
    tuple of Component
        Empty for fewer than 20 windows of either.
    """
    if min(len(windows), len(noise)) < MIN_WINDOWS:
        return ()
    centred = windows - windows.mean(axis=0)
    directions, variance = _directions(centred, count)
    total = float((centred**2).sum() / (len(windows) - 1))
    checked = [_check(centred, half, noise, noise_weight, count) for half in (first, ~first)]
    scale2 = noise_scale[0] ** 2
    found = []
    for k in range(len(directions)):
        varies, error, quiet, quiet_error = np.array([c[k] for c in checked]).T
        above = float(np.mean(varies - scale2 * quiet))
        # the halves are independent; the noise windows and their scale are the same for both
        own = 0.5 * np.hypot(*error)
        shared = scale2 * float(np.mean(quiet_error))
        scaled = 2.0 * noise_scale[0] * noise_scale[1] * float(np.mean(quiet))
        picture = np.full(pixel.shape, np.nan)
        picture[pixel] = directions[k] * np.sqrt(variance[k])
        found.append(
            Component(
                picture=picture,
                share=float(variance[k] / total) if total > 0.0 else 0.0,
                noise_share=float(scale2 * np.mean(quiet) / max(np.mean(varies), 1e-300)),
                sigma=above / max(float(np.sqrt(own**2 + shared**2 + scaled**2)), 1e-300),
            )
        )
    return tuple(found)


def _directions(centred: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Directions `(count, K)` of largest variance, and the variances; the sum of each positive."""
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    rows = rows[:count] * np.where(rows[:count].sum(axis=1) < 0.0, -1.0, 1.0)[:, None]
    return rows, singular[:count] ** 2 / (len(centred) - 1)


def _check(
    centred: FloatArray,
    half: BoolArray,
    noise: FloatArray,
    noise_weight: FloatArray,
    count: int,
) -> list[tuple[float, float, float, float]]:
    """Variance of the other half along a half's components, of noise along them, with errors."""
    mine, others = centred[half], centred[~half]
    directions, _ = _directions(mine - mine.mean(axis=0), count)
    along = (others - others.mean(axis=0)) @ directions.T
    quiet = noise @ directions.T
    part = noise_weight / noise_weight.sum()
    quiet = quiet - part @ quiet
    level = part @ quiet**2
    quiet_error = np.sqrt((part**2) @ (quiet**2 - level) ** 2)
    square = along**2
    return list(
        zip(
            square.sum(axis=0) / (len(along) - 1),
            square.std(axis=0, ddof=1) / np.sqrt(len(along)),
            level,
            quiet_error,
            strict=True,
        )
    )
