"""Noise-free class averages with known columns, rendered exactly: the truth for the column fits.

Independent of the package's simulator on purpose: probe from wave optics, atoms placed by phase
ramps in Fourier space, so that a position is exact to rounding.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WAVELENGTH_PM = 4.1757  # 80 kV
SEMI_ANGLE_RAD = 0.025
A_PM = 330.0
RING_PM = A_PM / np.sqrt(3.0)
STEP_PM = 20.0
FIELD_PX = 256  # 5.12 nm, so that the rim of a window sees columns far outside it
WEIGHTS = {"2Se": 0.70, "SeTe": 1.06, "2Te": 1.37, "SV": 0.35, "DV": 0.0}
STRAINS = {"2Se": 0.0, "SeTe": 0.006, "2Te": 0.012, "SV": -0.048, "DV": -0.08}
N_WINDOWS = {"2Se": 437, "SeTe": 312, "2Te": 180, "SV": 576, "DV": 18}


def frequencies() -> tuple[Array, Array]:
    """Spatial frequencies of the field, rows (y up) and columns (x) [1/pm]."""
    k = np.fft.fftfreq(FIELD_PX, STEP_PM)
    return k[:, None], k[None, :]


@lru_cache
def transfer(
    c3_nm: float = 0.0,
    source_fwhm_pm: float = 105.0,
    defocus_spread_pm: float = 2000.0,
    defocus_pm: float = 0.0,
    c5_mm: float = 0.0,
    astigmatism_pm: float = 0.0,
    coma_nm: float = 0.0,
    jitter_pm: float = 0.0,
    jitter_deg: float = 0.0,
) -> Array:
    """Optical transfer function of the incoherent image, `(FIELD_PX, FIELD_PX)`, 1 at zero.

    Twofold astigmatism A1 and axial coma B2 along x; jitter blurs along one direction.
    """
    n = 512  # a fine, wide grid of its own: the aperture's edge needs it
    k = np.fft.fftfreq(n, STEP_PM)
    angle_y, angle_x = k[:, None] * WAVELENGTH_PM, k[None, :] * WAVELENGTH_PM
    angle2 = angle_y**2 + angle_x**2
    edge = 0.5 * (SEMI_ANGLE_RAD - np.sqrt(angle2)) * n * STEP_PM / WAVELENGTH_PM
    aperture = np.clip(edge + 0.5, 0.0, 1.0)
    otf = np.zeros((n, n), dtype=complex)
    aberration = 0.5 * c3_nm * 1e3 * angle2**2 + c5_mm * 1e9 / 3.0 * angle2**3
    aberration += astigmatism_pm * (angle_x**2 - angle_y**2) + 2e3 * coma_nm * angle2 * angle_x
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(11)
    for node, node_weight in zip(nodes, node_weights, strict=True):
        focus = defocus_pm + node * defocus_spread_pm
        phase = np.pi / WAVELENGTH_PM * (focus * angle2 + aberration)
        intensity = np.abs(np.fft.ifft2(aperture * np.exp(-1j * phase))) ** 2
        otf += node_weight * np.fft.fft2(intensity)
    otf /= otf[0, 0]
    if coma_nm == 0.0:
        otf = otf.real
    sigma = source_fwhm_pm / np.sqrt(8.0 * np.log(2.0))
    otf *= np.exp(-2.0 * np.pi**2 * sigma**2 * (k[:, None] ** 2 + k[None, :] ** 2))
    turn = np.deg2rad(jitter_deg)
    along = np.cos(turn) * k[None, :] + np.sin(turn) * k[:, None]
    otf *= np.exp(-2.0 * np.pi**2 * jitter_pm**2 * along**2)
    stride = n // FIELD_PX
    return np.ascontiguousarray(otf[::stride, ::stride])


def structure(class_name: str) -> tuple[Array, Array, Array, npt.NDArray[np.bool_]]:
    """Sites, relaxed positions `(M, 2)` (x, y) [pm], weights `(M,)` and sublattice."""
    half = 0.5 * FIELD_PX * STEP_PM
    n = int(half / A_PM) + 4
    i, j = (g.ravel() for g in np.meshgrid(np.arange(-2 * n, 2 * n), np.arange(-n, n)))
    chalcogen = np.stack([A_PM * (i + 0.5 * j), A_PM * np.sqrt(0.75) * j], axis=1)
    site = np.concatenate([chalcogen, chalcogen + [0.0, RING_PM]])
    is_metal = np.repeat([False, True], len(chalcogen))
    inside = np.all(np.abs(site) < half - 1.0, axis=1)
    site, is_metal = site[inside], is_metal[inside]
    radius = np.hypot(*site.T)
    weight = np.where(is_metal, 1.0, WEIGHTS["2Se"])
    weight[radius < 1.0] = WEIGHTS[class_name]
    # u0 on the ring of metals, 1/r outside, linear inside
    u0 = STRAINS[class_name] * RING_PM
    scale = u0 * np.where(radius > RING_PM, RING_PM / np.maximum(radius, 1.0) ** 2, 1.0 / RING_PM)
    return site, site * (1.0 + scale[:, None]), weight, is_metal


def render(position_pm: Array, weight: Array, otf: Array, size: int = 131) -> Array:
    """Image of columns, `(size, size)`, y down in memory, heights of about 1."""
    k = np.fft.fftfreq(FIELD_PX, STEP_PM)
    phase_y = np.exp(-2j * np.pi * k[:, None] * position_pm[None, :, 1])
    phase_x = np.exp(-2j * np.pi * k[None, :] * position_pm[:, 0, None])
    image = np.fft.ifft2((phase_y * weight) @ phase_x * otf).real / np.mean(otf).real
    r = size // 2
    index = np.arange(-r, r + 1) % FIELD_PX
    return np.ascontiguousarray(image[np.ix_(index, index)][::-1])


def average_image(class_name: str, size: int = 131, **optics: float) -> Array:
    """Noise-free class average with the relaxation of its class."""
    _, position, weight, _ = structure(class_name)
    return render(position, weight, transfer(**optics), size)
