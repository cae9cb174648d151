"""The transfer functions that electron probes have: how much lies between zero and the first spots.

A crystal tells the transfer function of its probe at the spots of its lattice. What it is between
zero and the first of them, where the tails are, hardly any image of a dirty alloy tells. But
probes are a family: an aperture (Born and Wolf, *Principles of Optics*, 9.5.2), aberrations,
which leave the slope at zero as it is (Hopkins 1955, doi:10.1098/rspa.1955.0158) and lower the
middle, and a blur by source, vibration and jitter. Its members differ in one way beyond blur and
scale, and that way shows at the outer spots. A lattice whose two sublattices have weights of their
own tells its amount by little more than how few spots compare, so that mean and slope must be right
there; a few much aberrated members, whose transfer functions all but vanish, may not settle them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from ..types import FloatArray
from .profiles import ColumnProfile, aperture_transfer

MEMBERS = 128
GRID = 64  # no less than two diameters of the aperture, so that nothing wraps around
RADIUS = 12  # points of the aperture's radius
NODES = 5  # of the focal spread
DEFOCUS, COMA, ASTIGMATISM, C3, C5, SPREAD = 1.2, 0.4, 0.4, 0.5, 0.3, 0.7
"""Standard deviations of the phases that aberrations make at the rim of the aperture [rad]; of the
defocus that makes 0.7 rad there, the half of its spread."""
LIMITS = (0.92, 1.1)
"""How far the information limit may differ from that assumed."""
SPOTS = np.array([1.0, np.sqrt(3.0), 2.0])
SPOT_WEIGHT = np.array([1.0, 0.5, 0.3])
FREQUENCIES = np.linspace(0.0, 1.0, 121)
FOCUS_AMOUNT = -0.81
"""Of a probe in focus without aberrations, in standard deviations of the family from its mean."""
LEAST = 1e-4
MEDIAN_STEPS, LEAST_AWAY = 30, 1e-3
KEPT = Path(__file__).with_name("probe_family.npy")
"""What `made_members` gives: it takes half a second of each process, and other drawings of SciPy
would give other members."""


class Departure(NamedTuple):
    """By how much the logarithm of a transfer function departs from an aperture's and a blur's.

    Parameters
    ----------
    frequency : array, `(K,)`
        In units of the information limit.
    mean : array, `(K,)`
        Of a member of mean amount; half of all such are above, half below.
    mode : array, `(K,)`
        The one way in which members differ, one standard deviation of them.
    """

    frequency: FloatArray
    mean: FloatArray
    mode: FloatArray


@lru_cache(maxsize=1)
def family_members() -> FloatArray:
    """Radial means of the transfer functions of probes without a blur, `(MEMBERS, K)`."""
    members: FloatArray = np.load(KEPT, allow_pickle=False)
    return members


def made_members() -> FloatArray:
    """What is kept of `family_members`, made anew."""
    from scipy.stats import qmc  # a quarter of a second

    # a sequence that fills the space evenly: the mean of few members is that of many
    even = qmc.Sobol(7, seed=1).random(MEMBERS)
    drawn = ndtri(even[:, :6]) * [DEFOCUS, C3, C5, ASTIGMATISM, COMA, SPREAD / 2]
    reach = LIMITS[0] + even[:, 6] * (LIMITS[1] - LIMITS[0])
    return np.array(
        [_radial_transfer(one[:6], part) for one, part in zip(drawn, reach, strict=True)]
    )


@lru_cache(maxsize=1)
def focused_probe() -> FloatArray:
    """The same of a probe in focus, without aberrations: the aperture and its focal spread."""
    return _radial_transfer(np.zeros(6), 1.0)


def _radial_transfer(phases: FloatArray, part: float) -> FloatArray:
    """Radial mean of one transfer function, `(K,)`: phases of the rim, size of the aperture."""
    c1, c3, c5, a1, b2, spread = phases
    axis = np.arange(GRID) - GRID // 2
    radius = np.hypot(axis, axis[:, None])
    angle = np.arctan2(axis[:, None], axis)
    ring = np.rint(4.0 * radius).astype(int).ravel()
    count = np.bincount(ring)
    node, weight = np.polynomial.hermite_e.hermegauss(NODES)
    size = RADIUS * part
    s = radius / size
    aperture = np.clip((1.0 - s) * size + 0.5, 0.0, 1.0)
    fixed = c3 * s**4 + c5 * s**6 + a1 * s**2 * np.cos(2 * angle) + b2 * s**3 * np.cos(angle)
    intensity = np.zeros_like(s)
    for x, w in zip(node, weight, strict=True):
        phase = fixed + (c1 + x * (SPREAD + spread)) * s**2
        intensity += w * np.abs(np.fft.ifft2(np.fft.ifftshift(aperture * np.exp(-1j * phase)))) ** 2
    transfer = np.fft.fftshift(np.fft.fft2(intensity)).real
    mean = np.bincount(ring, transfer.ravel() / transfer.max()) / np.maximum(count, 1)
    there = count > 0
    radii = np.flatnonzero(there) / 4.0
    return np.asarray(np.interp(2.0 * RADIUS * FREQUENCIES, radii, mean[there]))


def family_departure(spot: float) -> Departure:
    """The family's departure from an aperture and a blur that agree with it at the spots.

    Parameters
    ----------
    spot : float
        Frequency of the first spots of the lattice in units of the information limit.
    """
    aperture = np.maximum(aperture_transfer(FREQUENCIES), LEAST)
    left = _beyond_a_blur(family_members(), spot)
    # a usual blur, to a half at the first spots: frequencies count as an image holds them
    counts = aperture * np.exp(-0.5 * (FREQUENCIES / spot) ** 2)
    far, _, ways = np.linalg.svd((left - left.mean(axis=0)) * counts, full_matrices=False)
    amount = far[:, 0] * np.sqrt(len(left)) * np.sign(ways[0, 0])
    return Departure(FREQUENCIES, *_median_lines(amount, left))


def _median_lines(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Value at zero and slope of lines of least absolute deviations, `(K,)` each.

    By weighted least squares (Schlossmacher 1973, doi:10.1080/01621459.1973.10481414).

    Parameters
    ----------
    x : array, `(N,)`
    y : array, `(N, K)`
        Each column has a line of its own.
    """
    weight = np.ones_like(y)
    for _ in range(MEDIAN_STEPS):
        total = weight.sum(axis=0)
        mean_x, mean_y = x @ weight / total, (weight * y).sum(axis=0) / total
        away = x[:, None] - mean_x
        slope = (weight * away * (y - mean_y)).sum(axis=0) / (weight * away**2).sum(axis=0)
        left = y - mean_y - slope * away
        weight = 1.0 / np.maximum(np.abs(left), LEAST_AWAY)
    return np.asarray(mean_y - slope * mean_x), np.asarray(slope)


def focused(profile: ColumnProfile, limit: float, spot: float) -> ColumnProfile:
    """An aperture's profile with the focal spread that such a probe has.

    Parameters
    ----------
    profile : ColumnProfile
        Of an aperture and a blur (`profiles.spline_profile`).
    limit : float
        Its information limit, in the unit of the profile's cutoff.
    spot : float
        Frequency of the first spots of the lattice, likewise.
    """
    more = _beyond_a_blur(focused_probe()[None], min(spot / limit, 0.9))[0]
    return _departed(profile, limit, more.clip(-1, 1))


def family_member(
    profile: ColumnProfile, limit: float, spot: float, amount: float
) -> ColumnProfile:
    """An aperture's profile with the aberrations of a member of the family.

    Parameters
    ----------
    profile, limit, spot
        As of `focused`.
    amount : float
        In standard deviations of the family from its mean.
    """
    departure = family_departure(min(spot / limit, 0.9))
    more = departure.mean.clip(-1, 1) + (amount * departure.mode).clip(-1, 1)
    return _departed(profile, limit, more)


def _departed(profile: ColumnProfile, limit: float, more: FloatArray) -> ColumnProfile:
    """A profile whose logarithm is changed by so much at `FREQUENCIES`, as near as it can come."""
    k = np.linspace(0.0, profile.cutoff_per_pm, 500)
    basis = profile.basis(k)
    goal = basis @ profile.coefficient * np.exp(np.interp(k / limit, FREQUENCIES, more))
    coefficient = np.zeros(basis.shape[1])  # the last one stays: the end is zero
    coefficient[:-1] = np.linalg.lstsq(basis[:, :-1], goal, rcond=None)[0]
    return replace(profile, coefficient=coefficient)


def family_way(profile: ColumnProfile, limit: float, spot: float) -> FloatArray:
    """Change of a profile's coefficients by one standard deviation of the family, `(B,)`.

    In the one way in which its members differ beyond blur and scale; arguments as of `focused`.
    """
    k = np.linspace(0.0, profile.cutoff_per_pm, 500)
    basis = profile.basis(k)
    mode = family_departure(min(spot / limit, 0.9)).mode.clip(-1, 1)
    goal = basis @ profile.coefficient * np.interp(k / limit, FREQUENCIES, mode)
    way = np.zeros(basis.shape[1])
    way[:-1] = np.linalg.lstsq(basis[:, :-1], goal, rcond=None)[0]
    return way


def _beyond_a_blur(transfers: FloatArray, spot: float) -> FloatArray:
    """Logarithms over an aperture's, less the scale and blur that agree at the spots, `(N, K)`."""
    aperture = np.maximum(aperture_transfer(FREQUENCIES), LEAST)
    every = np.log(np.maximum(transfers, LEAST) / aperture)
    known = np.minimum(SPOTS * spot, 0.95)
    # scale and blur are free: what they can do at the spots is none of the family's business
    free = np.stack([np.ones(3), known**2], axis=1)
    at_spots = np.array([np.interp(known, FREQUENCIES, one) for one in every])
    weighted = free * SPOT_WEIGHT[:, None]
    fitted = np.linalg.lstsq(weighted, (at_spots * SPOT_WEIGHT).T, rcond=None)[0]
    blur = np.stack([np.ones_like(FREQUENCIES), FREQUENCIES**2], axis=1)
    return np.asarray(every - (blur @ fitted).T)
