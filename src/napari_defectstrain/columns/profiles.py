"""The image of one column, shared by all columns of an image and learnt from the image itself.

An incoherent image is the scattering object convolved with one intensity profile: the probe, the
source, vibration and jitter (Kirkland 2010, doi:10.1007/978-1-4419-6533-2, chapter 3).
Crowded-field photometry learns that profile from the data as an effective point spread function
(Anderson & King 2000, doi:10.1086/316632). Here it lives in Fourier space, where a probe is
simple: its transfer function is smooth and ends at twice the aperture, and the tails in real
space, which are what moves the peaks of neighbouring columns, follow from its shape near zero.
There a column at any position is a phase ramp, exact to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from ..types import DefectStrainError, FloatArray
from .asymmetry import NONE, Asymmetry, ComplexArray, no_terms
from .splines import DEGREE, splines_at, uniform_knots

MIN_COEFFICIENTS = DEGREE + 2
_TOGETHER = 8
"""Columns whose patches are worked out at once."""
_Around = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]
_NOTHING = 1e-9
"""Part of a Gaussian's height that doesn't matter for derivatives."""


@dataclass(frozen=True)
class Splines:
    """Derivatives of a transfer function, but for its Gaussian, at given frequencies.

    Parameters
    ----------
    radial : array, frequencies' shape + `(B,)`
        By the coefficients of its radial part.
    angular : array, frequencies' shape + `(J,)`, or None
        By those of its asymmetry, where it has one.
    """

    radial: FloatArray
    angular: ComplexArray | None


@dataclass(frozen=True)
class ColumnProfile:
    """Transfer function of a column of unit weight: a radial spline times a Gaussian.

    ``T(k) = (R(|k|) + A(k)) exp(-2 pi^2 k^T S k)``, with R a cubic spline of uniform knots on
    ``[0, cutoff]``, zero beyond; ``R(0)``, the first coefficient, is the integral. A, where there
    is one, differs with direction (`asymmetry.Asymmetry`). S is a blur: the whole width where
    R is 1, or what one image is blurred more (or less) than the others where they share a learnt
    R.

    Parameters
    ----------
    coefficient : array, `(B,)`
        Coefficients of the spline; all ones give ``R = 1``.
    cutoff_per_pm : float
        Where R ends [1/pm].
    blur_pm2 : array, `(3,)`
        xx, xy and yy of S [pm^2].
    asymmetry : Asymmetry
        A; nothing for a symmetric profile.
    """

    coefficient: FloatArray
    cutoff_per_pm: float
    blur_pm2: FloatArray
    asymmetry: Asymmetry = NONE

    def __post_init__(self) -> None:
        if len(self.coefficient) < MIN_COEFFICIENTS:
            raise DefectStrainError(
                f"ColumnProfile: got {len(self.coefficient)} coefficients, "
                f"expected at least {MIN_COEFFICIENTS}"
            )
        if not self.cutoff_per_pm > 0 or len(self.blur_pm2) != 3:
            raise DefectStrainError(
                f"ColumnProfile: got cutoff {self.cutoff_per_pm} /pm and {len(self.blur_pm2)} "
                "blur terms, expected a positive cutoff and xx, xy, yy"
            )

    @property
    def is_gaussian(self) -> bool:
        """Whether it is a Gaussian, of which the cutoff takes less than a billionth away."""
        if self.asymmetry.n_splines or not (self.coefficient == 1.0).all():
            return False
        xx, xy, yy = self.blur_pm2
        narrow = 0.5 * (xx + yy) - np.hypot(0.5 * (xx - yy), xy)
        lost = np.exp(-2.0 * np.pi**2 * max(narrow, 0.0) * self.cutoff_per_pm**2)
        return bool(lost < _NOTHING)

    def with_blur(self, blur_pm2: FloatArray) -> ColumnProfile:
        """The same profile with another blur."""
        return replace(self, blur_pm2=blur_pm2)

    def normalised(self) -> ColumnProfile:
        """The same shape with an integral of 1."""
        return self.with_parameters(self.parameters / self.coefficient[0])

    @property
    def parameters(self) -> FloatArray:
        """Coefficients of the spline, then those of the asymmetry, `(B + J,)`."""
        return np.concatenate([self.coefficient, self.asymmetry.coefficient])

    def with_parameters(self, parameters: FloatArray) -> ColumnProfile:
        """The same profile with other `parameters`."""
        radial, angular = np.split(parameters, [len(self.coefficient)])
        asymmetry = replace(self.asymmetry, coefficient=angular)
        return replace(self, coefficient=radial, asymmetry=asymmetry)

    def transfer(
        self, kx_per_pm: FloatArray, ky_per_pm: FloatArray, known: Splines | None = None
    ) -> FloatArray | ComplexArray:
        """T at frequencies (x, y) [1/pm], of their shape; complex where it is asymmetric.

        `known` saves the work where the splines there are known already (`FourierWindow.transfer`).
        """
        splines = known or self._splines(kx_per_pm, ky_per_pm)
        gaussian = self._gaussian(kx_per_pm, ky_per_pm)
        radial = splines.radial @ self.coefficient
        if splines.angular is None:
            return np.asarray(radial * gaussian)
        angular = splines.angular @ self.asymmetry.coefficient
        return np.asarray((radial + angular) * gaussian, dtype=complex)

    def by_parameters(
        self, kx_per_pm: FloatArray, ky_per_pm: FloatArray, known: Splines | None = None
    ) -> FloatArray | ComplexArray:
        """Derivative of `transfer` by each of `parameters`, frequencies' shape + `(B + J,)`."""
        splines = known or self._splines(kx_per_pm, ky_per_pm)
        gaussian = self._gaussian(kx_per_pm, ky_per_pm)[..., None]
        radial = splines.radial * gaussian
        if splines.angular is None:
            return np.asarray(radial)
        angular = splines.angular * gaussian
        return np.concatenate([radial, angular], axis=-1, dtype=complex)

    def _splines(self, kx: FloatArray, ky: FloatArray) -> Splines:
        radial = self.basis(np.hypot(kx, ky))
        if not self.asymmetry.n_splines:
            return Splines(radial, None)
        return Splines(radial, self.asymmetry.basis(kx, ky, self.cutoff_per_pm))

    def basis(self, k_per_pm: FloatArray) -> FloatArray:
        """The B-splines at a frequency, its shape + `(B,)`; zero beyond the cutoff."""
        k = np.asarray(k_per_pm, dtype=float)
        knots = uniform_knots(1.0, len(self.coefficient) - DEGREE)
        return splines_at(knots, k / self.cutoff_per_pm)

    def evaluate(self, dx_pm: FloatArray, dy_pm: FloatArray) -> FloatArray:
        """Intensity at an offset from the column (x, y) [1/pm^2], of the offsets' shape.

        Periodic images of the column lie 5 nm away.
        """
        dx, dy = np.broadcast_arrays(np.asarray(dx_pm, float), np.asarray(dy_pm, float))
        n = int(np.ceil(self.cutoff_per_pm * 5000.0))
        k = np.arange(-n, n + 1) / 5000.0
        transfer = self.transfer(k[None, :], k[:, None]) / 5000.0**2
        phase_y = np.exp(2j * np.pi * dy.reshape(-1, 1) * k)
        phase_x = np.exp(2j * np.pi * dx.reshape(-1, 1) * k)
        return np.asarray(((phase_y @ transfer) * phase_x).sum(axis=1).real.reshape(dx.shape))

    def _gaussian(self, kx: FloatArray, ky: FloatArray) -> FloatArray:
        xx, xy, yy = self.blur_pm2
        return np.asarray(
            np.exp(-2.0 * np.pi**2 * (xx * kx * kx + 2.0 * xy * kx * ky + yy * ky * ky))
        )


def gaussian_profile(sigma_pm: float) -> ColumnProfile:
    """A round Gaussian: a spline of ones, ending where the Gaussian is below 1e-10.

    Raises
    ------
    DefectStrainError
        If the width is not positive.
    """
    if not sigma_pm > 0:
        raise DefectStrainError(f"gaussian_profile: got sigma {sigma_pm} pm, expected above 0")
    return ColumnProfile(
        coefficient=np.ones(MIN_COEFFICIENTS),
        cutoff_per_pm=1.1 / sigma_pm,
        blur_pm2=np.array([sigma_pm**2, 0.0, sigma_pm**2]),
    )


def spline_profile(
    sigma_pm: float,
    n_coefficients: int,
    cutoff_sigma: float,
    limit_per_pm: float = np.inf,
    spot_per_pm: float = 0.0035,
) -> ColumnProfile:
    """A start for learning: the spline nearest to a probe as wide as a round Gaussian.

    The transfer function of a round aperture, ``A(k) = 2/pi (acos q - q sqrt(1 - q^2))`` with
    ``q = k / limit`` (Born and Wolf, *Principles of Optics*, 9.5.2), times a Gaussian that gives it
    the slope of the Gaussian of `sigma_pm` between the {10} and {20} spots of the lattice, which
    is where the data fix the width. It has the tails that a Gaussian lacks.

    Parameters
    ----------
    sigma_pm : float
        Width of the Gaussian [pm].
    n_coefficients : int
        Number of coefficients of the spline, the fixed last among them.
    cutoff_sigma : float
        Cutoff in units of ``1/sigma``; at 0.7 a Gaussian has fallen to 6e-5.
    limit_per_pm : float
        Information limit of the probe, ``2 alpha / lambda`` [1/pm]; infinite: a Gaussian.
    spot_per_pm : float
        Frequency of the {10} spots [1/pm].

    Raises
    ------
    DefectStrainError
        If a number is out of range.
    """
    if not (sigma_pm > 0 and cutoff_sigma > 0 and n_coefficients >= MIN_COEFFICIENTS):
        raise DefectStrainError(
            f"spline_profile: got sigma {sigma_pm} pm, cutoff {cutoff_sigma} and "
            f"{n_coefficients} coefficients, expected positive numbers and at least "
            f"{MIN_COEFFICIENTS} coefficients"
        )
    flat = ColumnProfile(np.ones(n_coefficients), cutoff_sigma / sigma_pm, np.zeros(3))
    k = np.linspace(0.0, flat.cutoff_per_pm, 500)
    spots = np.array([1.0, 2.0]) * spot_per_pm
    # 0.9: a limit at or below the {20} spots would leave nothing to compare
    aperture = aperture_transfer(np.minimum(spots / limit_per_pm, 0.9))
    slope = np.log(aperture[1] / aperture[0]) / (spots[1] ** 2 - spots[0] ** 2)
    rest = max(sigma_pm**2 + slope / (2.0 * np.pi**2), 0.0)
    scale = np.exp(-2.0 * np.pi**2 * (sigma_pm**2 - rest) * spots[0] ** 2) / aperture[0]
    goal = scale * aperture_transfer(k / limit_per_pm) * np.exp(-2.0 * np.pi**2 * rest * k**2)
    basis = flat.basis(k)
    middle = np.linalg.lstsq(basis[:, 1:-1], goal - basis[:, 0] * goal[0], rcond=None)[0]
    return replace(flat, coefficient=np.concatenate([goal[:1], middle, [0.0]]))


def aperture_transfer(q: FloatArray) -> FloatArray:
    """Transfer function of an incoherent image by a round aperture, 1 at 0 and 0 from 1 on.

    Parameters
    ----------
    q : array
        Frequency over the information limit ``2 alpha / lambda``.
    """
    inside = np.clip(q, 0.0, 1.0)
    return np.asarray(2.0 / np.pi * (np.arccos(inside) - inside * np.sqrt(1.0 - inside**2)))


def _waves(
    cos: FloatArray, sin: FloatArray, cos_rest: FloatArray, sin_rest: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Cosine and sine of ``k (distance + rest)``, `(M, distance, k)`, by the addition theorem."""
    cos_r, sin_r = cos_rest[:, None, :], sin_rest[:, None, :]
    return cos * cos_r - sin * sin_r, sin * cos_r + cos * sin_r


@dataclass(frozen=True)
class FourierWindow:
    """The pixels of a square window, and the frequencies that carry a band-limited image there.

    The frequencies are those of a period of twice the window, so that nothing within the window
    sees a periodic image of it; what is seen nearby only may do with a shorter one. Only
    ``kx >= 0`` is kept: the image is real.

    Parameters
    ----------
    size : int
        Pixels along a side, odd; the central pixel is the origin.
    step_pm : float
        Side of a pixel [pm].
    cutoff_per_pm : float
        Highest frequency [1/pm].
    sides : float
        Period of the Fourier series, in sides of the window.
    """

    size: int
    step_pm: float
    cutoff_per_pm: float
    sides: float = 2.0

    @cached_property
    def x_pm(self) -> FloatArray:
        """Place of the columns of pixels, `(size,)` [pm]; y of the rows is its reverse."""
        return np.asarray((np.arange(self.size) - self.size // 2) * self.step_pm)

    @property
    def period_pm(self) -> float:
        """Period of the Fourier series [pm]."""
        return self.sides * self.size * self.step_pm

    @cached_property
    def kx_per_pm(self) -> FloatArray:
        """Frequencies along x, `(1, kx)` [1/pm]."""
        return np.asarray(np.arange(self._n + 1)[None, :] / self.period_pm)

    @cached_property
    def ky_per_pm(self) -> FloatArray:
        """Frequencies along y, `(ky, 1)` [1/pm]."""
        return np.asarray(np.arange(-self._n, self._n + 1)[:, None] / self.period_pm)

    @property
    def _n(self) -> int:
        return int(np.floor(self.cutoff_per_pm * self.period_pm))

    def transfer(self, profile: ColumnProfile) -> FloatArray | ComplexArray:
        """`ColumnProfile.transfer` at the frequencies, `(ky, kx)`."""
        return profile.transfer(self.kx_per_pm, self.ky_per_pm, self._splines(profile))

    def by_parameters(self, profile: ColumnProfile) -> FloatArray | ComplexArray:
        """`ColumnProfile.by_parameters` at the frequencies, `(ky, kx, B + J)`."""
        return profile.by_parameters(self.kx_per_pm, self.ky_per_pm, self._splines(profile))

    def _splines(self, profile: ColumnProfile) -> Splines:
        asymmetry = profile.asymmetry
        key = (asymmetry.n_splines, asymmetry.spot_per_pm) if asymmetry.n_splines else None
        return _window_splines(self, profile.cutoff_per_pm, len(profile.coefficient), key)

    def structure_factor(self, position_pm: FloatArray, weight: FloatArray) -> ComplexArray:
        """Fourier transform of weighted points, `(ky, kx)`."""
        k = 2.0 * np.pi * self.kx_per_pm
        x, y = position_pm[:, :1] * k, position_pm[:, 1:] * k  # ky >= 0 are those of kx
        phase_x = np.concatenate([np.cos(x), -np.sin(x)], axis=1)
        waves = np.concatenate([np.cos(y), np.sin(y)], axis=1) * weight[:, None]
        product = waves.T @ phase_x  # of cosines and sines: half the work of complex numbers
        product = product.reshape(2, self._n + 1, 2, self._n + 1)
        (cos_real, cos_imaginary), (sin_real, sin_imaginary) = product.swapaxes(1, 2)
        factor = np.empty((2 * self._n + 1, self._n + 1), dtype=complex)
        factor[self._n :].real = cos_real + sin_imaginary
        factor[self._n :].imag = cos_imaginary - sin_real
        factor[self._n :: -1].real = cos_real - sin_imaginary
        factor[self._n :: -1].imag = cos_imaginary + sin_real
        return factor

    def image(self, spectrum: ComplexArray | FloatArray) -> FloatArray:
        """Real images with these spectra `(..., ky, kx)`, `(..., size, size)`, y down in memory."""
        # Even and odd in ky, then in kx, all is real: a quarter of the work of complex phases
        cos_y, sin_y, cos_x, sin_x = self._waves
        upper, lower = spectrum[..., self._n :, :], spectrum[..., self._n :: -1, :]
        even, odd = upper + lower, upper - lower
        even[..., 0, :] *= 0.5
        even_real, odd_real = cos_y @ _copied(even.real), sin_y @ _copied(odd.real)
        if np.iscomplexobj(spectrum):
            even_imag, odd_imag = cos_y @ _copied(even.imag), sin_y @ _copied(odd.imag)
        else:
            even_imag = odd_imag = np.zeros_like(even_real)
        half = self.size // 2 + 1
        above = (even_real - odd_imag) @ cos_x, (even_imag + odd_real) @ sin_x
        below = (even_real + odd_imag) @ cos_x, (even_imag - odd_real) @ sin_x
        image = np.empty((*spectrum.shape[:-2], self.size, self.size))
        for rows, (even_x, odd_x) in ((np.s_[half - 1 :: -1], above), (np.s_[half - 1 :], below)):
            image[..., rows, half - 1 :] = even_x - odd_x
            image[..., rows, half - 1 :: -1] = even_x + odd_x
        return image

    def patches(
        self,
        transfer: FloatArray | ComplexArray,
        position_pm: FloatArray,
        half_px: int,
        derivatives: bool = True,
    ) -> tuple[FloatArray, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Images of single columns and their derivatives, each on a patch around its column.

        Parameters
        ----------
        transfer : array, `(ky, kx)`
            Transfer function of a column, real or complex.
        position_pm : array, `(M, 2)`
            Columns (x, y) [pm].
        half_px : int
            Half the side of a patch [px].
        derivatives : bool
            Whether they are wanted.

        Returns
        -------
        patch : array, `(3, M, 2 half + 1, 2 half + 1)`
            Intensity of a unit column, and its derivatives by the column's x and y; without
            `derivatives` `(1, ...)`.
        row, column : arrays, `(M, 2 half + 1)`
            Pixels of the window that a patch covers; they may lie outside.
        """
        offset, row, column, rest_pm = self._around(position_pm, half_px)
        # With the even and odd parts of T in ky all is cosines and sines
        k = 2.0 * np.pi * self.kx_per_pm[0]
        real = self._parts(transfer.real)
        imaginary = self._parts(transfer.imag) if np.iscomplexobj(transfer) else None
        distance = offset[:, None] * self.step_pm * k
        cos, sin = np.cos(distance), np.sin(distance)
        rest = rest_pm[:, :, None] * k  # (m, 2, k)
        cos_rest, sin_rest = np.cos(rest), np.sin(rest)
        weight = np.full(len(k), 2.0 / self.period_pm**2)
        weight[0] *= 0.5
        n = len(position_pm)
        patch = np.empty((3 if derivatives else 1, n, len(offset), len(offset)))
        for start in range(0, n, _TOGETHER):  # what is worked on stays in the processor's cache
            some = slice(start, start + _TOGETHER)
            cos_x, sin_x = _waves(cos, sin, cos_rest[some, 0], sin_rest[some, 0])
            cos_x, sin_x = cos_x * weight, sin_x * weight
            wave = np.concatenate([cos_x, sin_x], axis=2).transpose(0, 2, 1)  # (m, 2 kx, column)
            cos_y, sin_y = _waves(cos, -sin, cos_rest[some, 1], sin_rest[some, 1])
            half = _halves(cos_y, sin_y, real, imaginary)
            np.matmul(half, wave, out=patch[0, some])
            if not derivatives:
                continue
            by_x = np.concatenate([k * sin_x, -k * cos_x], axis=2).transpose(0, 2, 1)
            np.matmul(half, by_x, out=patch[1, some])
            half = _halves(k * sin_y, -(k * cos_y), real, imaginary)
            np.matmul(half, wave, out=patch[2, some])
        return patch, row, column

    def column_patches(
        self,
        profile: ColumnProfile,
        position_pm: FloatArray,
        half_px: int,
        derivatives: bool = True,
    ) -> tuple[FloatArray, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """`patches` of a profile: of a Gaussian by its own formula, which is quicker."""
        if not profile.is_gaussian:
            return self.patches(self.transfer(profile), position_pm, half_px, derivatives)
        offset, row, column, rest_pm = self._around(position_pm, half_px)
        xx, xy, yy = profile.blur_pm2
        area = xx * yy - xy * xy
        x = offset * self.step_pm + rest_pm[:, :1]
        y = -offset * self.step_pm + rest_pm[:, 1:]
        n = len(position_pm)
        patch = np.empty((3 if derivatives else 1, n, len(offset), len(offset)))
        for start in range(0, n, _TOGETHER):
            some = slice(start, start + _TOGETHER)
            dx, dy = x[some, None, :], y[some, :, None]
            by_x, by_y = (yy * dx - xy * dy) / area, (xx * dy - xy * dx) / area
            image = np.exp(-0.5 * (dx * by_x + dy * by_y)) / (2.0 * np.pi * np.sqrt(area))
            patch[0, some] = image
            if derivatives:
                patch[1, some], patch[2, some] = image * by_x, image * by_y
        return patch, row, column

    def _around(self, position_pm: FloatArray, half_px: int) -> _Around:
        """Offsets of a patch's pixels, their rows and columns, and from columns to pixels [pm]."""
        offset = np.arange(-half_px, half_px + 1)
        centre = np.rint(position_pm / self.step_pm).astype(np.intp)
        column = centre[:, :1] + offset + self.size // 2
        row = -centre[:, 1:] + offset + self.size // 2
        return offset, row, column, centre * self.step_pm - position_pm

    def _parts(self, transfer: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Even and odd parts in ky, `(ky >= 0, kx)`; both signs of ky added up."""
        even = transfer[self._n :] + transfer[self._n :: -1]
        even[0] *= 0.5
        return even, transfer[self._n :] - transfer[self._n :: -1]

    @cached_property
    def _waves(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Cosines and sines of ky y, `(y >= 0, ky >= 0)`, and of kx x, `(kx, x >= 0)`.

        Those of x have the weights of the half plane.
        """
        angle = 2.0 * np.pi * self.kx_per_pm.T * self.x_pm[self.size // 2 :]
        weight = np.full((self._n + 1, 1), 2.0 / self.period_pm**2)
        weight[0] *= 0.5
        cos, sin = np.cos(angle), np.sin(angle)
        return _copied(cos.T), _copied(sin.T), weight * cos, weight * sin


def _copied(values: FloatArray) -> FloatArray:
    """In one piece, as products want them."""
    return np.ascontiguousarray(values)


def _halves(
    cos_y: FloatArray,
    sin_y: FloatArray,
    real: tuple[FloatArray, FloatArray],
    imaginary: tuple[FloatArray, FloatArray] | None,
) -> FloatArray:
    """Sums over ky for the cosines and the sines of kx, `(M, row, 2 kx)`."""
    even, odd = real
    half = np.concatenate([cos_y @ even, sin_y @ -odd], axis=2)
    if imaginary is not None:
        even, odd = imaginary
        half -= np.concatenate([sin_y @ odd, cos_y @ even], axis=2)
    return half


@lru_cache(maxsize=16)
def _window_splines(
    window: FourierWindow,
    cutoff_per_pm: float,
    n_coefficients: int,
    asymmetry: tuple[int, float] | None,
) -> Splines:
    """All that a profile's transfer function is made of at a window's frequencies.

    Fits of many classes ask for the same again and again; it is a megabyte or two.
    """
    profile = ColumnProfile(np.zeros(n_coefficients), cutoff_per_pm, np.zeros(3))
    radial = profile.basis(np.hypot(window.kx_per_pm, window.ky_per_pm))
    if asymmetry is None:
        return Splines(radial, None)
    terms = no_terms(*asymmetry)
    return Splines(radial, terms.basis(window.kx_per_pm, window.ky_per_pm, cutoff_per_pm))
