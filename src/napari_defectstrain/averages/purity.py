"""What a stack is expected to hold beside its own class.

An impure stack is biased: of 80 % SV and 20 % DV, the spacing is neither's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..types import BoolArray, FloatArray

LEAST_OWN = 0.5
"""Share of the light that must be of the class itself for others' to be taken out."""

MOST_GAIN = 3.0
"""Sum of the magnitudes of a solution's row: of one class half of whose windows are another's."""


def expected_purity(probability: FloatArray, overconfidence: float = 1.0) -> float:
    """Expected fraction of windows that truly are of their class.

    The mean of their probabilities, if these are calibrated. If columns of that class are known
    to be wrong `overconfidence` times as often as their probabilities say, so are the windows.

    Parameters
    ----------
    probability : array, `(N,)`
        Probability of the class given to each window.
    overconfidence : float
        At least 1; by the network's calibration windows (`detect.training.calibrate`).

    Returns
    -------
    float
        0 to 1; NaN without windows.

    Examples
    --------
    >>> expected_purity(np.array([1.0, 0.98, 0.96]))
    0.98
    >>> round(expected_purity(np.array([1.0, 0.98, 0.96]), overconfidence=3.0), 6)
    0.94
    """
    if len(probability) == 0:
        return float("nan")
    impurity = 1.0 - float(np.mean(probability, dtype=float))
    return float(np.clip(1.0 - overconfidence * impurity, 0.0, 1.0))


def expected_mixture(
    probabilities: FloatArray, role: int, overconfidence: float = 1.0
) -> FloatArray:
    """Expected fractions of windows given one class that are of each class.

    Parameters
    ----------
    probabilities : array, `(N, K)`
        Probability of every class for each window.
    role : int
        Class given to them: its fraction is `expected_purity`, the others share the rest in the
        proportions of their probabilities.
    overconfidence : float
        As in `expected_purity`.

    Returns
    -------
    array, `(K,)`
        Sums to 1; NaN without windows.
    """
    if len(probabilities) == 0:
        return np.full(np.shape(probabilities)[1], np.nan)
    mean = np.mean(probabilities, axis=0, dtype=float)
    purity = expected_purity(np.asarray(probabilities)[:, role], overconfidence)
    rest = float(np.delete(mean, role).sum())
    mixture = mean * ((1.0 - purity) / rest if rest > 0.0 else 0.0)
    mixture[role] = purity
    return np.asarray(mixture)


def purity_text(purity: float, contaminants: Mapping[str, float], least: float = 0.0005) -> str:
    """For people: ``0.994 (2Se 0.004, DV 0.001)``, the commonest first, none below `least`.

    Examples
    --------
    >>> purity_text(0.994, {"2Se": 0.0042, "SeTe": 0.0001, "DV": 0.001})
    '0.994 (2Se 0.004, DV 0.001)'
    """
    shown = sorted((-share, name) for name, share in contaminants.items() if share >= least)
    text = ", ".join(f"{name} {-share:.3f}" for share, name in shown)
    return f"{purity:.3f}" + (f" ({text})" if text else "")


@dataclass(frozen=True)
class Unmixing:
    """How the pure positions of all classes follow from those of their averages, `unmix_positions`.

    Parameters
    ----------
    names : tuple of str
        The classes.
    part : array, `(M, c, c)`
        Share of each class in the light of each average (the row) at each column.
    solution : array, `(M, c, c)`
        What pure positions (the row) are of the averages' ones. Of classes that aren't corrected
        the unit matrix's row.
    corrected : array of bool, `(c, M)`
        Whether the class is corrected at that column.
    """

    names: tuple[str, ...]
    part: FloatArray
    solution: FloatArray
    corrected: BoolArray

    def pure(self, shift_pm: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Shifts of the pure positions by shifts of the averages' columns, `(M, 2)` each [pm].

        A column without a value is not mixed into others, and keeps none.
        """
        shift = np.stack([shift_pm[name] for name in self.names], axis=1)  # (m, c, 2)
        pure = self.solution @ np.nan_to_num(shift)
        return {
            name: np.where(np.isfinite(shift[:, k]), pure[:, k], np.nan)
            for k, name in enumerate(self.names)
        }

    def amplification(self, name: str) -> FloatArray:
        """How far a pure position moves with the class's own average, `(M,)`: its noise grows so.

        The noise of the other averages comes in too, by their small shares; left out.
        """
        k = self.names.index(name)
        return np.asarray(self.solution[:, k, k])

    def shares(self, name: str) -> dict[str, FloatArray]:
        """Share of each class in the light of the average's columns, `(M,)` each."""
        k = self.names.index(name)
        return {other: self.part[:, k, j] for j, other in enumerate(self.names)}


def unmix_positions(
    position_pm: Mapping[str, FloatArray],
    weight: Mapping[str, FloatArray],
    mixtures: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, FloatArray], Unmixing]:
    """What the windows of other classes within a stack do to its columns.

    The average of a stack with the shares ``s_k`` of the classes k shows, at each column, light of
    all of them: to first order its position is the mean of theirs, by the share and the column's
    weight in each class. The averages of all classes are such mixtures, so that the pure positions
    are the solution of one small linear system a column.

    The solution enlarges differences and noise by about one over the purity. Where half or less of
    the light is the class's own, or the solution's row sums to more than `MOST_GAIN` (classes that
    hold much of one another), it would be noise and errors of the shares: nothing is corrected
    there.

    Parameters
    ----------
    position_pm : mapping of class to array, `(M, 2)`
        Measured positions, of the same sites [pm]; NaN where a column has none.
    weight : mapping of class to array, `(M,)`
        Their weights.
    mixtures : mapping of class to mapping of class to float
        Expected shares of the other classes in each stack (`ClassAverage.contaminants`). Shares of
        classes that aren't measured are taken to look like the class itself.

    Returns
    -------
    dict of class to array, `(M, 2)`
        Measured position less the pure one [pm]: to be subtracted; 0 where a column has none.
    Unmixing
    """
    names = tuple(position_pm)
    measured = np.stack([position_pm[name] for name in names])  # (c, m, 2)
    seen: BoolArray = np.asarray(np.isfinite(measured).all(axis=2))
    light = np.where(seen, np.stack([weight[name] for name in names]), 0.0)
    light = np.maximum(light, 0.0)  # of an empty column it is noise
    share = np.array(
        [[0.0 if k == n else mixtures.get(n, {}).get(k, 0.0) for k in names] for n in names]
    )
    np.fill_diagonal(share, np.maximum(1.0 - share.sum(axis=1), 0.0))
    part = share[:, :, None] * light[None]  # (c, k, m)
    total = part.sum(axis=1, keepdims=True)
    part = np.divide(part, total, out=np.zeros_like(part), where=total > 0)
    # a column without a position is neither asked for nor mixed into others
    lost = ~seen | (total[:, 0] <= 0.0)
    part = np.moveaxis(part, 2, 0)  # (m, c, k)
    part[lost.T] = 0.0
    part += lost.T[:, :, None] * np.eye(len(names))
    # a class as a whole, by its shares; then single columns, by their light
    usable = _usable(share[None])[0] & _usable(part)  # (m, c)
    solution = np.linalg.inv(_rows_of(part, usable))
    # differences between classes are small beside the positions: solve for those
    origin = np.where(seen[..., None], measured, 0.0).sum(axis=0) / np.maximum(
        seen.sum(axis=0), 1
    ).reshape(-1, 1)
    offset = np.where(seen[..., None], measured - origin, 0.0)
    pure = solution @ np.moveaxis(offset, 1, 0)  # (m, c, 2)
    bias = np.where(seen[..., None], offset - np.moveaxis(pure, 0, 1), 0.0)
    found = Unmixing(names, part, solution, usable.T)
    return {name: bias[k] for k, name in enumerate(names)}, found


def _rows_of(part: FloatArray, usable: BoolArray) -> FloatArray:
    """The mixtures with the unit matrix's rows for the classes that stay as they are."""
    return np.where(usable[..., None], part, np.eye(part.shape[-1]))


def _usable(part: FloatArray) -> BoolArray:
    """Which rows of the mixtures `(..., c, c)` can be solved for, `(..., c)`."""
    # with more than half on the diagonal and rows that sum to one no matrix is singular
    usable = np.diagonal(part, axis1=-2, axis2=-1) > LEAST_OWN
    for _ in range(part.shape[-1]):
        gain = np.abs(np.linalg.inv(_rows_of(part, usable))).sum(axis=-1)
        usable = usable & (gain < MOST_GAIN)
    return np.asarray(usable)
