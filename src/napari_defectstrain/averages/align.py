"""Rigid sub-pixel registration of windows against a template."""

from __future__ import annotations

from math import factorial

import numpy as np
from scipy.ndimage import gaussian_filter

from ..io.large_arrays import let_go
from ..types import BoolArray, DefectStrainError, FloatArray

TAYLOR_ORDER = 6
MAX_SHIFT_PM = 60.0
"""Longest shift that one registration finds."""
SMOOTHING_PX = 1.0  # a sampled Gaussian much narrower has no good derivatives


def register_windows(
    windows: FloatArray,
    template: FloatArray,
    mask: BoolArray,
    step_pm: float,
    max_shift_pm: float = MAX_SHIFT_PM,
) -> FloatArray:
    """Rigid shift of each window against a template, by least squares over a mask.

    Minimises ``sum over mask of (window(r) - gain template(r - shift) - plane(r))^2`` for each
    window, with its own gain and plane (offset and slope: contamination). The template is
    expanded into its derivatives up to sixth order, so that a Gauss-Newton step costs only a
    few small matrices per window; good for shifts up to about two pixels.

    Parameters
    ----------
    windows : array, `(N, P, P)`
    template : array, `(P, P)`
        Smoothed by a Gaussian of 1 px, which moves nothing, to keep noise out of its derivatives.
    mask : array of bool, `(P, P)`
        Pixels that count; leave out what differs between classes.
    step_pm : float
        Side of a pixel [pm].
    max_shift_pm : float
        Shifts are limited to this length [pm].

    Returns
    -------
    array, `(N, 2)`
        (x, y) with y up, row 0 the largest y [pm]: what lies at r in the template lies at
        ``r + shift`` in the window.

    Raises
    ------
    DefectStrainError
        If the template shows no contrast in two directions inside the mask.
    """
    order = [(i, n - i) for n in range(TAYLOR_ORDER + 1) for i in range(n + 1)]
    # Derivatives near the border see its mirror image: leave their reach out.
    inner = np.zeros(mask.shape, dtype=bool)
    border = int(np.ceil(4 * SMOOTHING_PX))
    inner[border:-border, border:-border] = True
    use = mask & inner
    row, column = np.nonzero(use)
    plane = np.stack([np.ones(len(row)), row - row.mean(), column - column.mean()], axis=1)
    plane, _ = np.linalg.qr(plane)  # (m, 3)
    derivative = np.stack(
        [
            gaussian_filter(np.asarray(template, dtype=float), SMOOTHING_PX, order=o)[use]
            for o in order
        ],
        axis=1,
    )  # (m, k)
    derivative -= plane @ (plane.T @ derivative)
    gram = derivative.T @ derivative
    gradient = gram[1:3, 1:3]
    if not np.linalg.eigvalsh(gradient)[0] > 1e-9 * max(gram[0, 0], 1e-300):
        raise DefectStrainError(
            "registration: the template shows no contrast in two directions inside the mask; "
            "use larger windows"
        )
    overlap = np.empty((len(windows) + 1, len(order)))
    for start in range(0, len(windows), 128):
        part = np.asarray(windows[start : start + 128])[:, use].astype(float)
        let_go(windows)
        overlap[:-1][start : start + 128] = part @ derivative
    overlap[-1] = np.asarray(template, dtype=float)[use] @ derivative
    shift = _gauss_newton(overlap, gram, order, max_shift_pm / step_pm)
    # Smoothing moves nothing, but columns cut by the mask's rim weigh less in the smoothed
    # template: what the template itself seems to be moved by is in every shift.
    blank = ~np.asarray(shift[:-1].any(axis=1))
    shift = np.where(blank[:, None], 0.0, shift[:-1] - shift[-1])
    return np.asarray(np.stack([shift[:, 1], -shift[:, 0]], axis=1) * step_pm)


def _gauss_newton(
    overlap: FloatArray, gram: FloatArray, order: list[tuple[int, int]], limit: float
) -> FloatArray:
    """Shifts (row, column) [px] that fit ``gain template(r - shift)`` best, for all windows."""
    shift = np.zeros((len(overlap), 2))
    for _ in range(20):
        value = _taylor(shift, order, (0, 0))
        # Regressors: the template at the present shift, and its change with the shift.
        model = np.stack(
            [value, _taylor(shift, order, (1, 0)), _taylor(shift, order, (0, 1))], axis=2
        )  # (n, k, 3)
        normal = np.einsum("nki,kl,nlj->nij", model, gram, model, optimize=True)
        right = np.einsum("nki,nk->ni", model, overlap)
        solution = np.linalg.solve(normal, right[..., None])[..., 0]
        gain = solution[:, 0]
        safe = np.abs(gain) > 1e-12 * np.abs(gain).max(initial=1e-300)
        step = np.where(safe[:, None], solution[:, 1:] / np.where(safe, gain, 1.0)[:, None], 0.0)
        step /= np.maximum(1.0, np.hypot(*step.T))[:, None]
        shift += step
        shift *= np.minimum(1.0, limit / np.maximum(np.hypot(*shift.T), 1e-30))[:, None]
        if np.abs(step).max(initial=0.0) < 1e-7:
            break
    return shift


def _taylor(
    shift: FloatArray, order: list[tuple[int, int]], derivative: tuple[int, int]
) -> FloatArray:
    """Coefficients `(N, K)` of ``template(r - shift)``, or of its derivative by the shift."""
    columns = []
    for i, j in order:
        factors = []
        for axis, n in ((0, i), (1, j)):
            d = derivative[axis]
            s = -shift[:, axis]
            # d/ds of (-s)^n / n! is -(-s)^(n-1)/(n-1)!
            factors.append(
                (-1.0) ** d * s ** (n - d) / factorial(n - d) if n >= d else np.zeros(len(s))
            )
        columns.append(factors[0] * factors[1])
    return np.stack(columns, axis=1)
