"""The probe: intensity of a coherent, aberrated, defocus-averaged electron probe.

Wave optics of a round aperture (Kirkland, *Advanced Computing in Electron Microscopy*,
doi 10.1007/978-3-030-33260-0, ch. 3): the phase of the aberration function chi over the aperture,
Fourier transformed, squared; averaged over the Gaussian focal spread; convolved with a Gaussian
source. Coherent aberrations follow the notation of Krivanek: C1, A1, B2, A2, C3, C5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.fft

from ..config import Between, Config
from ..types import FloatArray
from ..units import electron_wavelength_pm

FOCAL_NODES = 5
"""Gauss-Hermite nodes of the focal spread: enough for 3 nm of spread at 30 mrad."""


@dataclass(frozen=True)
class ProbeConfig(Config):
    """Optics of the probe; every aberration defaults to zero, angles to the paper's.

    Parameters
    ----------
    energy_kev, semi_angle_mrad : float
        Beam energy [keV] and convergence semi-angle [mrad].
    c1_pm, a1_pm, a1_deg : float
        Defocus and twofold astigmatism [pm], its azimuth [deg].
    b2_nm, b2_deg, a2_nm, a2_deg : float
        Axial coma and threefold astigmatism [nm], azimuths [deg].
    c3_nm, c5_mm : float
        Spherical aberration of third [nm] and fifth order [mm].
    focal_spread_pm : float
        Standard deviation of the defocus by energy spread [pm].
    source_fwhm_pm : float
        Full width at half maximum of the Gaussian source image [pm].
    thermal_pm : float
        Root mean square thermal displacement of an atom per axis [pm]; blurs like the source.
    """

    energy_kev: Annotated[float, Between(1, 3000)] = 80.0
    semi_angle_mrad: Annotated[float, Between(0.1, 500)] = 25.0
    c1_pm: Annotated[float, Between(-1e7, 1e7)] = 0.0
    a1_pm: Annotated[float, Between(-1e7, 1e7)] = 0.0
    a1_deg: Annotated[float, Between(-10000, 10000)] = 0.0
    b2_nm: Annotated[float, Between(-1e6, 1e6)] = 0.0
    b2_deg: Annotated[float, Between(-10000, 10000)] = 0.0
    a2_nm: Annotated[float, Between(-1e6, 1e6)] = 0.0
    a2_deg: Annotated[float, Between(-10000, 10000)] = 0.0
    c3_nm: Annotated[float, Between(-1e8, 1e8)] = 0.0
    c5_mm: Annotated[float, Between(-100000, 100000)] = 0.0
    focal_spread_pm: Annotated[float, Between(0, 1e7)] = 2000.0
    source_fwhm_pm: Annotated[float, Between(0, 10000)] = 105.0
    thermal_pm: Annotated[float, Between(0, 1000)] = 6.0

    @property
    def wavelength_pm(self) -> float:
        """Relativistic electron wavelength [pm].

        >>> round(ProbeConfig(energy_kev=80).wavelength_pm, 3)
        4.176
        """
        return electron_wavelength_pm(self.energy_kev)

    @property
    def information_limit_per_pm(self) -> float:
        """Largest spatial frequency in an incoherent image, 2 alpha / lambda [1/pm]."""
        return 2e-3 * self.semi_angle_mrad / self.wavelength_pm


def aberration_phase(config: ProbeConfig, theta: FloatArray, phi: FloatArray) -> FloatArray:
    """Phase chi of the aberration function without the focal spread [rad].

    Parameters
    ----------
    config : ProbeConfig
    theta, phi : arrays
        Polar angle [rad] and azimuth [rad] in the aperture.
    """
    path = (
        config.c1_pm * theta**2 / 2
        + config.a1_pm * theta**2 / 2 * np.cos(2 * (phi - np.deg2rad(config.a1_deg)))
        + config.b2_nm * 1e3 * theta**3 * np.cos(phi - np.deg2rad(config.b2_deg))
        + config.a2_nm * 1e3 * theta**3 / 3 * np.cos(3 * (phi - np.deg2rad(config.a2_deg)))
        + config.c3_nm * 1e3 * theta**4 / 4
        + config.c5_mm * 1e9 * theta**6 / 6
    )
    return np.asarray(2 * np.pi / config.wavelength_pm * path)


def probe_intensity(config: ProbeConfig, matrix_pm: FloatArray, size: int) -> FloatArray:
    """Intensity of the probe in the pixels of a (sheared) scan.

    The intensity is made on a patch of `size` x `size` pixels; the scan maps a pixel to the place
    ``matrix_pm @ (x_px, y_px)`` in the sample, so that shear acts on the probe's image too.

    Parameters
    ----------
    config : ProbeConfig
    matrix_pm : array, `(2, 2)`
        Place in the sample (x, y) [pm] by that in the scan (x, y) [px].
    size : int
        Pixels along a side of the patch; 2.5 nm or more hold the tails.

    Returns
    -------
    array, `(size, size)`
        The intensity, unit sum, centred on pixel (0, 0) and wrapped.
    """
    f = np.fft.fftfreq(size)
    fx, fy = np.meshgrid(f, f)
    # exp(2 pi i f.p) with p = matrix^-1 r: spatial frequency in the sample is matrix^-T f.
    k = np.linalg.inv(matrix_pm).T
    kx, ky = k[0, 0] * fx + k[0, 1] * fy, k[1, 0] * fx + k[1, 1] * fy  # (size, size) 1/pm
    theta = np.hypot(kx, ky) * config.wavelength_pm
    phi = np.arctan2(ky, kx)
    alpha = config.semi_angle_mrad * 1e-3
    # A soft rim, one frequency step wide, keeps the aperture's area right on a coarse grid.
    step = config.wavelength_pm / (size * np.sqrt(abs(np.linalg.det(matrix_pm))))
    aperture = np.clip((alpha - theta) / step + 0.5, 0, 1)
    wave = aperture * np.exp(-1j * aberration_phase(config, theta, phi))
    nodes, weights = np.polynomial.hermite_e.hermegauss(FOCAL_NODES)
    if config.focal_spread_pm == 0:
        nodes, weights = np.zeros(1), np.ones(1)
    intensity = np.zeros((size, size))
    for node, weight in zip(nodes, weights, strict=True):
        defocus = np.pi / config.wavelength_pm * node * config.focal_spread_pm * theta**2
        intensity += weight * np.abs(scipy.fft.ifft2(wave * np.exp(-1j * defocus))) ** 2
    otf = scipy.fft.fft2(intensity / intensity.sum())
    sigma2 = (config.source_fwhm_pm / 2.3548200450309493) ** 2 + config.thermal_pm**2
    otf *= np.exp(-2 * np.pi**2 * sigma2 * (kx**2 + ky**2))
    return np.asarray(scipy.fft.ifft2(otf).real)
