"""The Cramér-Rao bound: how precisely the noise lets columns be placed, however they are fitted.

The inverse of the Fisher information of all parameters together, for independent pixels,
``F = sum over pixels of dm/da dm/db / variance`` (van den Bos & den Dekker 2001,
doi:10.1016/S1076-5670(01)80114-2; for columns in STEM images Van Aert et al. 2009,
doi:10.1016/j.ultramic.2009.05.010). With Poisson counts the variance is the mean and F is exact;
with read noise besides, it leaves out the little that the variance itself tells.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...types import DefectStrainError, FloatArray
from ..noise import NoiseModel
from ..profiles import ColumnProfile, FourierWindow
from .crowded import NormalEquations, Structure, block_jacobian, predict, profile_jacobian
from .types import ColumnFitModel

LEAST_MEAN = 1e-6
"""Least mean of a pixel, of the brightest one's: band-limited profiles ring around zero."""


def average_bounds(
    models: Mapping[str, ColumnFitModel],
    n: Mapping[str, int],
    noise: NoiseModel | None = None,
    learnt: bool = True,
) -> dict[str, FloatArray]:
    """Bound of all columns of class averages of n windows, with independent pixels.

    Free are the positions and weights of all columns, the background, the blur of each class, and
    the coefficients of the common profile.

    Windows that are resampled from images have correlated pixels of too small a variance, which
    makes the bound by their own scatter too low. Where the dose is known, `noise.counting_noise`
    gives the right one, with the counts in an area of a window's pixel.

    Parameters
    ----------
    models : mapping of class to ColumnFitModel
        Fits of ``profile`` or ``gaussians``; those of one `fit_columns`, for they share a profile.
    n : mapping of class to int
        Windows of each class.
    noise : NoiseModel, optional
        Of a pixel of a single window; by default what the fits found in the windows' scatter. For
        pure counts and read noise see `noise.counting_noise`.
    learnt : bool
        Whether the profile's coefficients are free; otherwise the profile is known.

    Returns
    -------
    dict of class to array, `(M, 2)`
        Least standard error of x and y [pm] of the columns of ``ColumnFits.site_pm``; NaN where a
        column is empty.

    Raises
    ------
    DefectStrainError
        For single Gaussians, which model no image; or without noise.
    """
    information = {
        name: _Information(name, _structure_of(name, model), noise or model.noise, n[name])
        for name, model in models.items()
    }
    size = max(len(i.shared_shared) for i in information.values()) if learnt else 0
    covariance: FloatArray = np.zeros((size, size))
    if size:
        normal: FloatArray = np.zeros((size, size))
        for i in information.values():
            normal += i.shared_shared + i.gain.T @ i.own_shared
        covariance = NormalEquations.of(normal).inverse()
    bounds = {}
    for name, i in information.items():
        variance = np.diag(i.inverse).copy()
        if size:
            variance += np.einsum("ig,gh,ih->i", i.gain, covariance, i.gain)
        bounds[name] = _of_positions(i.structure, variance)
    return bounds


class _Information:
    """Fisher information of one class: its own parameters, and those of the profile."""

    def __init__(self, name: str, structure: Structure, noise: NoiseModel | None, n: int) -> None:
        if noise is None or noise.silent:
            raise DefectStrainError(
                f"Cramér-Rao bound: the average of {name} has no noise, expected that of its "
                "windows; give a NoiseModel, for instance noise.counting_noise"
            )
        geometry, state, profile = structure.geometry, structure.state, structure.profile
        root = np.sqrt(n / noise.variance(predict(geometry, state, profile)))
        own = block_jacobian(geometry, state, profile, structure.blur_basis, root)
        shared = profile_jacobian(geometry, state, profile, structure.free) * root
        self.structure = structure
        self.inverse = NormalEquations.of(own.normal()).inverse()
        self.own_shared = own.times(shared)
        self.shared_shared = shared @ shared.T
        self.gain = -self.inverse @ self.own_shared


def _structure_of(name: str, model: ColumnFitModel) -> Structure:
    if model.structure is None:
        raise DefectStrainError(
            f"Cramér-Rao bound: got single Gaussians fitted to {name}, expected the model "
            "'profile' or 'gaussians', which describe the whole image"
        )
    return model.structure


def _of_positions(structure: Structure, variance: FloatArray) -> FloatArray:
    free = ~structure.state.empty
    number = int(free.sum())
    sigma = np.full((len(free), 2), np.nan)
    sigma[free] = np.sqrt(variance[: 2 * number].reshape(2, number).T)
    return sigma[structure.shown]


def isolated_bound(
    profile: ColumnProfile,
    counts: float,
    pixel_size_pm: float,
    background_counts: float = 0.0,
    read_noise_counts: float = 0.0,
    offset_pm: tuple[float, float] = (0.0, 0.0),
    radius_pm: float = 500.0,
) -> FloatArray:
    """Bound of a single column far from others, in one image.

    Free are its position, its weight, and an even background.

    Parameters
    ----------
    profile : ColumnProfile
        Image of a column.
    counts : float
        Counts that the column adds to the image.
    pixel_size_pm : float
        Side of a pixel [pm].
    background_counts : float
        Counts of the background in a pixel.
    read_noise_counts : float
        Standard deviation of the read noise of a pixel, in counts.
    offset_pm : pair of float
        Where in its pixel the column lies, (x, y) from the centre [pm].
    radius_pm : float
        Half the side of the square of pixels that is looked at [pm].

    Returns
    -------
    array, `(2,)`
        Least standard error of x and y [pm]. For a round Gaussian of width sigma without
        background, in fine pixels, it is `single_parameter_bound`.

    Raises
    ------
    DefectStrainError
        If counts or sizes are not positive, or background or read noise are negative.
    """
    if not (counts > 0 and pixel_size_pm > 0 and radius_pm > pixel_size_pm):
        raise DefectStrainError(
            f"Cramér-Rao bound: got {counts} counts and pixels of {pixel_size_pm} pm within "
            f"{radius_pm} pm, expected positive counts and pixels smaller than the radius"
        )
    if not (background_counts >= 0 and read_noise_counts >= 0):
        raise DefectStrainError(
            f"Cramér-Rao bound: got a background of {background_counts} and read noise of "
            f"{read_noise_counts} counts, expected at least 0"
        )
    half = int(np.ceil(radius_pm / pixel_size_pm))
    nyquist = 0.5 / pixel_size_pm
    window = FourierWindow(2 * half + 1, pixel_size_pm, min(profile.cutoff_per_pm, nyquist))
    transfer = profile.normalised().transfer(window.kx_per_pm, window.ky_per_pm)
    patch, _, _ = window.patches(transfer, np.array([offset_pm]), half)
    image, by_x, by_y = counts * pixel_size_pm**2 * patch[:, 0].reshape(3, -1)
    mean = np.maximum(image, 0.0) + background_counts + read_noise_counts**2
    variance = np.maximum(mean, LEAST_MEAN * np.max(mean))
    rows = np.stack([by_x, by_y, image / counts, np.ones_like(image)])
    if background_counts == 0.0:
        rows = rows[:3]  # known to be nothing: counts can't be negative
    return np.asarray(
        np.sqrt(np.diag(NormalEquations.of((rows / variance) @ rows.T).inverse()))[:2]
    )


def single_parameter_bound(sigma_pm: float, counts: float) -> float:
    """The rule of thumb, ``sigma / sqrt(counts)``, for a Gaussian column alone [pm].

    No background, no neighbours, nothing to find but the position: the limit that
    `isolated_bound` has there. In a crystal the bound is higher.
    """
    if not (sigma_pm > 0 and counts > 0):
        raise DefectStrainError(
            f"Cramér-Rao bound: got sigma {sigma_pm} pm and {counts} counts, expected both positive"
        )
    return float(sigma_pm / np.sqrt(counts))
