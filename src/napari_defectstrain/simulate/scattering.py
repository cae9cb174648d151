"""How bright a column is: elastic scattering cross sections into an annular detector.

Free atoms in the parametrisation of Kirkland, *Advanced Computing in Electron Microscopy*,
doi 10.1007/978-3-030-33260-0, appendix C: three Lorentzians and three Gaussians. In an incoherent
image of a monolayer every atom counts with its cross section into the detector; multislice puts a
pair of chalcogen atoms within 8 % of the sum (`PAIR_RANGE`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import j0, k0

from ..materials import Material
from ..types import DefectStrainError, FloatArray

# (a, b) of the Lorentzians a / (q^2 + b) and (c, d) of the Gaussians c exp(-d q^2), in
# angstrom and 1 / angstrom.
_LORENTZIANS: dict[str, tuple[tuple[float, float], ...]] = {
    "C": ((0.212080767, 0.208605417), (0.199811865, 0.208610186), (0.168254385, 5.57870773)),
    "N": ((0.533015554, 0.290952515), (0.0529008883, 10.3547896), (0.0924159648, 10.3540028)),
    "O": ((0.339969204, 0.38157028), (0.307570172, 0.381571436), (0.130369072, 19.1919745)),
    "Si": ((1.06543892, 1.04118455), (0.120143691, 68.7113368), (0.180915263, 0.0887533926)),
    "S": ((1.01646916, 1.69181965), (0.441766748, 0.174180288), (0.121503863, 167.011091)),
    "Se": ((0.958390681, 0.183775557), (0.603851342, 196.819224), (1.90828931, 2.15082053)),
    "Nb": ((0.659532875, 0.086614549), (1.84545854, 5.94774398), (1.25584405, 0.640851475)),
    "Mo": ((0.61016012, 0.0911628054), (1.26544, 0.506776025), (1.97428762, 5.89590381)),
    "Te": ((2.09383882, 12.6856869), (1.56940519, 1.21236537), (1.30941993, 0.166633292)),
    "W": ((0.924906855, 0.128663377), (2.75554557, 0.765826479), (3.3044006, 13.447117)),
}
_GAUSSIANS: dict[str, tuple[tuple[float, float], ...]] = {
    "C": ((0.14204836, 1.33311887), (0.363830672, 3.80800263), (0.000835012, 0.040398262)),
    "N": ((0.261799101, 2.76252723), (0.0008802621, 0.0347681236), (0.110166555, 0.993421736)),
    "O": ((0.0883326058, 0.760635525), (0.1965867, 2.07401094), (0.00099622, 0.0303266869)),
    "Si": ((1.1206562, 3.70062619), (0.0305452816, 0.214097897), (1.59963502, 9.99096638)),
    "S": ((0.82796667, 2.3034281), (0.0233022533, 0.15695415), (1.18302846, 5.85782891)),
    "Se": ((0.173885956, 0.300006024), (0.935265145, 4.92471215), (0.0086225466, 0.0212308108)),
    "Nb": ((0.122253422, 0.16664605), (0.706638328, 1.62853268), (0.0026238159, 0.0082625786)),
    "Mo": ((0.648028962, 1.46634108), (0.0026038082, 0.0078433631), (0.113887493, 0.15511434)),
    "Te": ((0.0698067804, 0.0830817576), (1.04969537, 7.43147857), (0.555594354, 0.617487676)),
    "W": ((0.329973862, 0.198218895), (1.09916444, 13.5087534), (0.0206498883, 0.0338918459)),
}
_A0_E = 0.529177211 * 14.3996454
"""Bohr radius times elementary charge [V angstrom^2]."""
_WIDEST_MRAD = 500.0
_LOG_R = np.linspace(np.log(1e-5), np.log(12.0), 6000)
"""Logarithms of the radii of the integral [angstrom]."""
_AT_A_TIME = 512  # frequencies of a table
ELEMENTS = tuple(_LORENTZIANS)

PAIR_RANGE = (0.92, 1.06)
"""Brightness of two stacked chalcogen atoms over the sum of both alone: the upper atom focuses the
beam, thermal motion undoes it (multislice at 80 kV, 63-200 mrad)."""


def projected_potential(element: str, radius_angstrom: FloatArray) -> FloatArray:
    """Potential of a free atom at rest, projected along the beam [V angstrom].

    Parameters
    ----------
    element : str
        One of `ELEMENTS`.
    radius_angstrom : array
        Distance from the nucleus, above 0 [angstrom].
    """
    if element not in _LORENTZIANS:
        raise DefectStrainError(f"element: got {element!r}, expected one of {', '.join(ELEMENTS)}")
    r = np.asarray(radius_angstrom, dtype=float)
    total = np.zeros_like(r)
    for a, b in _LORENTZIANS[element]:
        total += 2 * a * k0(2 * np.pi * r * np.sqrt(b))
    for c, d in _GAUSSIANS[element]:
        total += c / d * np.exp(-((np.pi * r) ** 2) / d)
    return np.asarray(2 * np.pi**2 * _A0_E * total)


def scattering_factor(element: str, energy_kev: float, q_per_angstrom: FloatArray) -> FloatArray:
    """Modulus of the elastic scattering amplitude of an atom at rest [angstrom].

    In the Moliere (eikonal) approximation, Kirkland eq. 5.18:
    ``f(q) = 2 pi i / lambda * integral of J0(2 pi q r) (1 - exp(i sigma v(r))) r dr``. The first
    Born approximation overrates heavy atoms, whose phase is not small.

    Parameters
    ----------
    element : str
        One of `ELEMENTS`.
    energy_kev : float
        Beam energy [keV].
    q_per_angstrom : array, `(Q,)`
        Spatial frequency [1/angstrom].
    """
    wavelength, sigma = _wavelength_and_sigma(energy_kev)
    r = np.exp(_LOG_R)
    phase = sigma * projected_potential(element, r)
    wave = 2j * np.sin(phase / 2) * np.exp(0.5j * phase)  # exp(i phase) - 1, also where it is small
    q = np.asarray(q_per_angstrom, dtype=float)
    integral = np.zeros(len(q), dtype=complex)
    for first in range(0, len(q), _AT_A_TIME):
        part = slice(first, first + _AT_A_TIME)
        integral[part] = np.trapezoid(_bessel(q[part].tobytes()) * wave * r**2, _LOG_R)
    return np.asarray(2 * np.pi / wavelength * np.abs(integral))


@lru_cache(maxsize=1)
def _bessel(frequencies: bytes) -> FloatArray:
    """``J0(2 pi q r)`` at the radii of the integral, `(Q, R)`: the same for all elements.

    One table is kept, and a caller asks for `_AT_A_TIME` frequencies at most: 25 MB.
    """
    q = np.frombuffer(frequencies)
    return np.asarray(j0(2 * np.pi * q[:, None] * np.exp(_LOG_R)))


def _wavelength_and_sigma(energy_kev: float) -> tuple[float, float]:
    """Wavelength [angstrom] and interaction parameter [rad / (V angstrom)] of the beam."""
    energy = energy_kev * 1e3
    wavelength = 12.264259 / np.sqrt(energy * (1 + 0.97847562e-6 * energy))
    rest = 510.99895e3
    sigma = 2 * np.pi / (wavelength * energy) * (rest + energy) / (2 * rest + energy)
    return float(wavelength), float(sigma)


@lru_cache(maxsize=64)
def _per_angle(element: str, energy_kev: float) -> CubicSpline:
    """Cross section by scattering angle [angstrom^2 / rad], from 0 to `_WIDEST_MRAD`."""
    theta = np.linspace(0, 1e-3 * _WIDEST_MRAD, 251)
    wavelength, _ = _wavelength_and_sigma(energy_kev)
    amplitude = scattering_factor(element, energy_kev, theta / wavelength)
    return CubicSpline(theta, 2 * np.pi * theta * amplitude**2)


def adf_cross_section(
    element: str, energy_kev: float = 80.0, inner_mrad: float = 63.0, outer_mrad: float = 200.0
) -> float:
    """Cross section of one atom into an annular detector [angstrom^2].

    The integral of ``|f(theta / lambda)|^2 2 pi theta d theta`` between the detector's angles.

    Parameters
    ----------
    element : str
    energy_kev : float
        Beam energy [keV].
    inner_mrad, outer_mrad : float
        Angles of the detector [mrad].
    """
    if not 0 <= inner_mrad < outer_mrad <= _WIDEST_MRAD or energy_kev <= 0:
        raise DefectStrainError(
            f"detector: got {inner_mrad} to {outer_mrad} mrad at {energy_kev} keV, expected rising "
            f"angles up to {_WIDEST_MRAD:g} mrad and an energy above 0"
        )
    return float(_per_angle(element, energy_kev).integrate(1e-3 * inner_mrad, 1e-3 * outer_mrad))


def relative_weight(
    element: str,
    metal: str,
    energy_kev: float = 80.0,
    inner_mrad: float = 63.0,
    outer_mrad: float = 200.0,
) -> float:
    """Brightness of one atom relative to one atom of the metal.

    >>> round(relative_weight("Se", "W"), 3)
    0.374
    """
    angles = (energy_kev, inner_mrad, outer_mrad)
    return adf_cross_section(element, *angles) / adf_cross_section(metal, *angles)


def nominal_weights(
    material: Material,
    energy_kev: float = 80.0,
    inner_mrad: float = 63.0,
    outer_mrad: float = 200.0,
) -> tuple[float, ...]:
    """Brightness of the columns metal, X2, XY, Y2, V1, V2 relative to the metal's.

    Sums of cross sections times the middle of `PAIR_RANGE` for pairs.
    """
    angles = (energy_kev, inner_mrad, outer_mrad)
    x = relative_weight(material.chalcogen, material.metal, *angles)
    y = relative_weight(material.substituent, material.metal, *angles)
    return weights_by_atoms(x, y)


def weights_by_atoms(x: float, y: float) -> tuple[float, ...]:
    """Brightness of the columns metal, X2, XY, Y2, V1, V2 by that of one X and one Y.

    >>> [round(w, 2) for w in weights_by_atoms(0.4, 0.7)]
    [1.0, 0.79, 1.09, 1.39, 0.4, 0.0]
    """
    pair = sum(PAIR_RANGE) / 2
    return (1.0, 2 * x * pair, (x + y) * pair, 2 * y * pair, x, 0.0)
