"""The spacing of an average whose windows have changed, before it is fitted again.

The fit of an average knows by how much each window pulls at each column (`columns.averages`); the
average of other windows is shifted by the mean of their pulls, to first order. That takes a moment,
where the fit takes many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns.averages.measure import ColumnMeasurement
from ..io.large_arrays import in_parts
from ..types import ClassStack, FloatArray
from .spacings import nearest_metal_spacings, nearest_metals

CHUNK = 256  # windows at a time


@dataclass(frozen=True)
class ForeseenSpacing:
    """What the fit of other windows says of the spacing around a defect.

    Parameters
    ----------
    spacing_pm, sem_pm : float
        Mean of the three spacings, and its standard error by the scatter of the windows; NaN for
        the latter where there is one window [pm].
    n : int
        Windows.
    """

    spacing_pm: float
    sem_pm: float
    n: int


def foresee_spacing(measured: ColumnMeasurement, stack: ClassStack) -> ForeseenSpacing | None:
    """Spacing around the defect in the average of a stack, by the last fit of its class.

    Parameters
    ----------
    measured : ColumnMeasurement
        Of the same class, of other windows of the same size.
    stack : ClassStack
        Only included windows count.

    Returns
    -------
    ForeseenSpacing or None
        None where the last fit says nothing of these windows: images of different probe width were
        fitted apart, or the windows have another size.
    """
    model, fits = measured.model, measured.fits
    if measured.parts or model.pixel.shape != stack.windows.shape[1:] or stack.n == 0:
        return None
    corner = nearest_metals(fits.site_pm, fits.is_metal)
    rows = (2 * corner[:, None] + np.arange(2)).ravel()
    operator = model.operator[rows]
    index = np.flatnonzero(stack.included)
    parts = in_parts(stack.windows, index, CHUNK)
    shift = np.concatenate(
        [(part[:, model.pixel] - model.model) @ operator.T for part in parts]
    ).reshape(-1, len(corner), 2)
    position = fits.position_pm[corner]
    site, metal = fits.site_pm[corner], np.ones(len(corner), dtype=bool)

    def spacing(at: FloatArray) -> FloatArray:
        return np.asarray(np.mean(nearest_metal_spacings(at, site, metal), axis=-1))

    single = spacing(position + shift)
    n = len(index)
    sem = float(single.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return ForeseenSpacing(float(spacing(position + shift.mean(axis=0))), sem, n)
