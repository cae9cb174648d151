"""What fits of all columns of an image are asked for, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from ...config import Between, Config, OneOf
from ...types import BoolArray, FloatArray, IntArray
from ..profiles import MIN_COEFFICIENTS, ColumnProfile
from ..types import FLAGS, MODELS

NOISES = ("auto", "poisson", "gaussian")

NO_POSITION = ~FLAGS["overlapping"]
"""Flags whose columns have no position."""


@dataclass(frozen=True)
class ImageColumnConfig(Config):
    """Settings of the fits of all columns of an image.

    Lengths are in units of sigma, the width of a Gaussian fitted to the columns: 48 pm for the
    paper's probe.

    Parameters
    ----------
    model : str
        ``profile``: all columns together, one profile learnt from the image; ``gaussians``: all
        together, one Gaussian of shared width; ``gaussian``: the paper's, each column by itself.
    noise : str
        ``poisson``: the image holds counts; ``gaussian``: the noise is the same everywhere;
        ``auto``: its variance is a straight line of the intensity, found from the residual.
    sigma_px : float or None
        Width to start from [px]; None takes it from the image.
    background_spacing : float
        Distance of the knots of the background's spline, in distances between columns.
    n_coefficients : int
        Coefficients of the profile's radial spline.
    cutoff_sigma : float
        Where the profile's transfer function ends, in units of 1/sigma.
    information_limit_per_pm : float
        Where an aperture like the probe's passes nothing more, ``2 alpha / lambda`` [1/pm]: it
        shapes the start of the profile, in images of known pixel size.
    aberrations : bool
        Whether the way in which aberrations change a probe is learnt from the image
        (`probe_family`), besides the blur.
    prior_sigma : float
        How far the probe may be from the mean of its family where the image says nothing, in
        standard deviations of the family.
    sampling_sigma : float or None
        Where pixels are fine, squares of them are summed to larger ones, of which sigma is at least
        so many; None fits the pixels as they are. The model ``gaussian`` always does.
    single_radius_sigma : float
        Radius of the pixels of a single Gaussian; 1.7 is 80 pm for the paper's probe.
    min_weight : float
        Columns of less than this fraction of a bright one (75th percentile) are empty.
    max_shift_sigma, min_distance_sigma, rim_sigma : float
        Bounds that raise flags: distance from the start, between columns, and from the border.
    tolerance_px : float
        Root mean square step of 99 % of the positions at convergence [px]; a further step would be
        about a tenth of it.
    max_iterations : int
    double_precision : bool
        Compute in 64 bits. 32 bits leave about 1e-6 px, and are faster.
    """

    model: Annotated[str, OneOf(MODELS)] = "profile"
    noise: Annotated[str, OneOf(NOISES)] = "auto"
    sigma_px: Annotated[float, Between(0.7, 100)] | None = None
    background_spacing: Annotated[float, Between(3, 1000)] = 6.0
    n_coefficients: Annotated[int, Between(MIN_COEFFICIENTS, 40)] = 14
    cutoff_sigma: Annotated[float, Between(0.3, 2)] = 0.7
    information_limit_per_pm: Annotated[float, Between(0.004, 1)] = 0.012
    aberrations: bool = True
    prior_sigma: Annotated[float, Between(1e-6, 1e6)] = 1.0
    sampling_sigma: Annotated[float, Between(0.9, 100)] | None = None
    single_radius_sigma: Annotated[float, Between(1, 6)] = 1.7
    min_weight: Annotated[float, Between(0, 1)] = 0.05
    max_shift_sigma: Annotated[float, Between(0.1, 10)] = 2.0
    min_distance_sigma: Annotated[float, Between(0, 10)] = 2.0
    rim_sigma: Annotated[float, Between(0, 10)] = 1.0
    tolerance_px: Annotated[float, Between(0, 1)] = 2e-3
    max_iterations: Annotated[int, Between(1, 1000)] = 20
    double_precision: bool = False


@dataclass(frozen=True)
class NoiseModel:
    """Variance of a pixel as a straight line of its expected intensity.

    Parameters
    ----------
    gain, constant : float
        ``variance = gain * intensity + constant``: 1 and 0 for counts.
    """

    gain: float
    constant: float

    def variance(self, model: FloatArray) -> FloatArray:
        """Variance of every pixel, never below 2 % of the typical one."""
        variance = self.gain * model + self.constant
        least = 0.02 * float(np.median(variance[::7, ::5]))
        return np.asarray(np.maximum(variance, least if least > 0 else 1e-6))


@dataclass(frozen=True)
class Aberrations:
    """Where in the family of probes an image's is, see `probe_family`.

    The family's mean is taken at the width of the Gaussians that a fit starts from. Where another
    start finds another width (sums of pixels, or not, by 0.6 %), the amount differs by 0.02 to 0.03
    at a profile that is the same to 0.4 % of its height, where the pixel size isn't known; `sigma`
    doesn't hold that.

    Parameters
    ----------
    amount, sigma : float
        In standard deviations of the family from its mean, and its standard error.
    moves_px : array, `(N, 2)`
        By how much the columns (y, x) would move with an amount larger by 1 [px].
    foreseen : bool
        Whether columns as they are foreseen told it; else dirt may pass for aberrations, by three
        and more.
    """

    amount: float
    sigma: float
    moves_px: FloatArray
    foreseen: bool = False


@dataclass(frozen=True)
class ImageColumns:
    """All columns of an image, fitted.

    Parameters
    ----------
    position_px : array, `(N, 2)`
        (y, x) [px]; NaN where the fit failed or the column is empty.
    covariance_px2 : array, `(N, 2, 2)`
        Of each position, y and x, whatever the neighbours' are [px^2]; NaN where there is no
        position, and everywhere where errors weren't asked for.
    weight : array, `(N,)`
        Integrated intensity of each column above the background.
    background : array, `(N,)`
        Intensity per pixel under each column.
    flag : array of int, `(N,)`
        Bits, see `columns.types.FLAGS`; 0 is good. ``at_bound`` is farther than
        `ImageColumnConfig.max_shift_sigma` from the start, ``outside`` closer to the border than
        `rim_sigma`.
    profile : ColumnProfile or None
        The shared profile, of integral 1; None for single Gaussians. Its lengths are in pm, or in
        px where `pixel_size_pm` is None; x is the image's, y its reverse.
    noise : NoiseModel
        What was taken for the noise.
    pixel_size_pm : float or None
    config : ImageColumnConfig
    aberrations : Aberrations or None
        None where they weren't learnt.
    converged : bool
        False where iterations ran out while columns or profile still moved; columns that moved by
        much are flagged besides. Of single Gaussians the flags alone tell.
    """

    position_px: FloatArray
    covariance_px2: FloatArray
    weight: FloatArray
    background: FloatArray
    flag: IntArray
    profile: ColumnProfile | None
    noise: NoiseModel
    pixel_size_pm: float | None
    config: ImageColumnConfig
    aberrations: Aberrations | None = None
    converged: bool = True

    def __len__(self) -> int:
        return len(self.position_px)

    def notes(self, name: str) -> tuple[str, ...]:
        """What whoever reads the columns of the image `name` must be told: nothing, or a line."""
        if self.converged:
            return ()
        return (f"{name}: the fit of all columns had not converged after its iterations",)

    def first(self, n: int) -> ImageColumns:
        """Some of the columns: the first `n`."""
        by_column = ("position_px", "covariance_px2", "weight", "background", "flag")
        aberrations = self.aberrations
        if aberrations is not None:
            aberrations = replace(aberrations, moves_px=aberrations.moves_px[:n])
        kept = {name: getattr(self, name)[:n] for name in by_column}
        return replace(self, **kept, aberrations=aberrations)

    @property
    def sigma_px(self) -> FloatArray:
        """Standard error of each position, `(N, 2)` (y, x) [px]."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance_px2, axis1=1, axis2=2)))

    @property
    def measured(self) -> BoolArray:
        """Columns that have a position, `(N,)`."""
        return np.asarray(np.isfinite(self.position_px[:, 0]))
