"""How the transfer of a picture falls with the wave, and how its grey values are bent.

The spots of one structure factor at k^2 of 1, 4 and 7 tell how the transfer T falls. In a picture
that was smoothed and then given a gamma, clipped or compressed they tell something else: grey
values that are bent mix the waves, and twice {100} lies where {200} does. Smoothing leaves so
little of {200} that what is seen there is mostly such a mixture. It has a phase of its own: the
square of {100} turns by twice the angle, {200} by as much as {100} the other way. So the bend is
fitted along with the transfer,

    g = I + c I^2 / s + d I^3 / s^2

with I the linear picture of the cell, its mean taken off, and s its standard deviation, and it is
believed where the spots are not what a linear picture makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from ..types import FloatArray, IntArray

_Group = tuple[dict[int, complex], dict[int, float]]

_N = 14
"""Samples of the cell a side: spots up to k^2 = 21, and no aliases of their squares in the rings
that are read."""
_H, _K = np.meshgrid(*2 * [np.rint(np.fft.fftfreq(_N, 1 / _N)).astype(int)], indexing="ij")
_K2 = _H**2 + _H * _K + _K**2
_KIND = (_H - _K) % 3
_AWAY = np.minimum(_K2 - 1, 20).astype(float)
_READ = {1: (1, 0, False), 3: (1, 1, False), 4: (2, 0, True), 7: (2, 1, False)}
"""A spot of each ring, and whether its structure factor is the conjugate of that of {100}."""
_CURVE = 0.01
"""How far the second derivative of ln T by k^2 may lie from 0: probes and smoothing bend it by no
more."""
_SLOPE = (-0.8, 0.5)
"""Slope of ln T by k^2 of usual pictures, smoothed ones too, and how far it is from that: a single
noisy tile may tell little of it."""
_BEND = (0.25, 0.12)
"""How large c and d are in pictures that people bend."""
_MODEL_ERROR, _FLOOR = 0.01, 0.002
"""How far amplitudes may lie from what is fitted: of themselves, and of {100}."""
_SIMPLER = 3.0
"""Nats by which a bent picture must fit better to be believed."""
_DARKER = 0.05
"""How far hexagon centres may lie below the ground, of the brightest column: smoothing taken off a
picture leaves them so."""
_SPOTS = {1: 6, 3: 6, 4: 6, 7: 12}
_TWO_PHASES = (0.12, 3.0)
"""Difference of the logarithm of {110} over {100} between two groups of tiles, and of its scatter
within them, from which on they show two phases."""
_BENT_STARTS = (-0.12, 0.0, 0.12)
_SLOPE_STARTS = (-1.2, -0.7)
_POOR = 5.0
"""Nats from which on a bent fit is begun anew, elsewhere and with {110} of either sign."""
_ELSEWHERE = (-1.6, (-0.1, 0.1), (1.0, -1.0))
"""Slope, c and signs of {110} that it is begun with then: what is left of {110} in a smoothed
picture may be turned over by the square of {100}."""
_ROUNDS = 8
_SETTLED = 0.1
"""Of {110}: how near the picture of what is straightened must come to it."""


@dataclass(frozen=True)
class Transfer:
    """The transfer that all tiles of an image share.

    Parameters
    ----------
    slope, curve : float
        Of ln T by k^2, T(1) = 1.
    bend : tuple of float
        c and d, both 0 where the picture is linear.
    unit : float
        s, the standard deviation of the picture of a cell.
    total_sigma : float
        Standard error of the sum of the weights by what is not known of the transfer and the bend,
        in units of the sum.
    """

    slope: float
    curve: float
    bend: tuple[float, float] = (0.0, 0.0)
    unit: float = 1.0
    total_sigma: float = 0.0

    @property
    def log3(self) -> float:
        """Logarithm of T(3)."""
        return 2 * self.slope + 2 * self.curve

    def straightened(self, first: complex, third: float) -> tuple[complex, float]:
        """What {100} and the sum of the weights would be without transfer and bend.

        Parameters
        ----------
        first, third : complex, float
            Structure factors of {100} and {110} as the picture shows them.
        """
        if self.bend == (0.0, 0.0):
            return first, third / float(np.exp(self.log3))
        f1, f3 = first, third
        for _ in range(_ROUNDS):
            seen = _rings(f1, f3 / np.exp(self.log3), self)
            f1, f3 = f1 + 0.8 * (first - seen[1]), f3 + 0.8 * (third - float(seen[3].real))
        left = abs(third - float(_rings(f1, f3 / np.exp(self.log3), self)[3].real))
        turned_over = abs(f3 - third) > abs(third) and not left < _SETTLED * abs(third)
        if not np.isfinite(f1) or abs(f1 - first) > abs(first) or turned_over:
            f1, f3 = first, third  # so far away it is another picture: no fixed point
        return complex(f1), float(f3 / np.exp(self.log3))


def _rings(first: complex, total: float, transfer: Transfer) -> dict[int, complex]:
    """Structure factors, as {100} has them, of every ring of a picture."""
    fall = np.exp(np.clip(transfer.slope * _AWAY + transfer.curve * _AWAY**2 / 2, -30.0, 5.0))
    spots = fall * np.choose(_KIND, [complex(total), first, np.conj(first)])
    spots[0, 0] = 0.0
    if transfer.bend != (0.0, 0.0):
        c, d = transfer.bend
        cell = np.fft.ifft2(spots).real * _N**2
        u = cell / transfer.unit
        spots = np.fft.fft2(cell * (1 + c * u + d * u**2)) / _N**2
    return {
        k: complex(np.conj(spots[i, j]) if c else spots[i, j]) for k, (i, j, c) in _READ.items()
    }


def fitted_transfer(
    first: Sequence[dict[int, complex]],
    third: Sequence[float],
    error: Sequence[dict[int, float]],
) -> Transfer:
    """The transfer by the spots of all tiles together, which share optics and scan.

    Amplitudes are fitted with their phases, not their sizes: the size of a faint spot is never
    less than the noise, which would make the transfer seem to fall more slowly, and the hexagon
    centres emptier than they are.

    Parameters
    ----------
    first : sequence of dict of int to complex
        Structure factors of each tile, as {100} has them, by k^2.
    third : sequence of float
        Of {110}, seen from a site.
    error : sequence of dict of int to float
        Standard errors by k^2.
    """
    size = [t / max(abs(f[1]), 1e-30) for f, t in zip(first, third, strict=True)]
    groups = []
    for which in _alike(np.array(size)):
        its = [first[i] for i in which], [third[i] for i in which], [error[i] for i in which]
        groups.append(_pooled(*its))
    scale = float(np.mean([abs(value[1]) for value, _ in groups])) or 1.0
    groups = [
        (
            {k: v / scale for k, v in value.items()},
            {k: max(e / scale, 1e-6) for k, e in sigma.items()},
        )
        for value, sigma in groups
    ]
    power = [sum(_SPOTS[k] * abs(v) ** 2 for k, v in value.items()) for value, _ in groups]
    unit = float(np.sqrt(np.mean(power)))
    fits = [_fit(groups, unit, slope, None) for slope in _SLOPE_STARTS]
    straight = min(fits, key=lambda f: f[0])
    bends = [_fit(groups, unit, float(straight[1][0]), c) for c in _BENT_STARTS]
    if min(fit[0] for fit in (straight, *bends)) > _POOR:
        slope, starts, signs = _ELSEWHERE
        bends += [_fit(groups, unit, slope, c, sign) for c in starts for sign in signs]
    bent = min(bends, key=lambda f: f[0])
    cost, fit, error_of_total = bent if bent[0] < straight[0] - _SIMPLER else straight
    surplus = max(1.0, 2 * cost / sum(2 * len(value) - 1 for value, _ in groups))
    bend = (0.0, 0.0) if len(fit) % 3 == 2 else (float(fit[2]), float(fit[3]))
    return Transfer(
        float(fit[0]), float(fit[1]), bend, unit * scale, error_of_total * float(np.sqrt(surplus))
    )


def _alike(size: FloatArray) -> list[IntArray]:
    """Tiles that show one structure: two groups where there are two phases in the picture."""
    log = np.log(np.maximum(np.abs(size), 1e-6))
    order = np.argsort(log, kind="stable")
    clearest = 0.0
    groups: list[IntArray] = [np.arange(len(size))]
    for cut in range(2, len(size) - 1):
        low, high = log[order[:cut]], log[order[cut:]]
        within = float(np.sqrt((low.var() * len(low) + high.var() * len(high)) / len(log)))
        apart = float(high.mean() - low.mean())
        clear = apart / max(within, 1e-9)
        if apart > _TWO_PHASES[0] and clear > max(_TWO_PHASES[1], clearest):
            clearest, groups = clear, [np.sort(order[:cut]), np.sort(order[cut:])]
    return groups


def _pooled(
    first: Sequence[dict[int, complex]],
    third: Sequence[float],
    error: Sequence[dict[int, float]],
) -> tuple[dict[int, complex], dict[int, float]]:
    """Means over the tiles: each seen from the same site, and not mirrored."""
    value: dict[int, complex] = {3: complex(np.mean(third))}
    error2: dict[int, float] = {}
    count: dict[int, int] = {3: len(first)}
    for its, errors in zip(first, error, strict=True):
        turn = np.exp(-2j * np.pi / 3 * np.rint(np.angle(its[1]) / (2 * np.pi / 3)))
        mirrored = (its[1] * turn).imag < 0
        for k, amplitude in its.items():
            turned = complex(amplitude * turn)
            value[k] = value.get(k, 0.0) + (turned.conjugate() if mirrored else turned)
            count[k] = count.get(k, 0) + 1
        for k, sigma in errors.items():
            error2[k] = error2.get(k, 0.0) + sigma**2
    mean = {k: v if k == 3 else v / count[k] for k, v in value.items()}
    return mean, {k: float(np.sqrt(error2[k])) / count[k] for k in mean}


def _fit(
    groups: Sequence[_Group], unit: float, slope: float, c: float | None, sign: float = 1.0
) -> tuple[float, FloatArray, float]:
    """Cost [nats], parameters, and the relative error of the sums by the transfer.

    Slope, curve, c and d if bent, and of each group {100} (two parts) and the sum of the weights.
    """
    shared = 2 if c is None else 4

    def away(p: FloatArray) -> FloatArray:
        bend = (0.0, 0.0) if c is None else (float(p[2]), float(p[3]))
        transfer = Transfer(p[0], p[1], bend, unit)
        pull = [(p[0] - _SLOPE[0]) / _SLOPE[1], p[1] / _CURVE]
        pull += [b / usual for b, usual in zip(bend, _BEND, strict=True)]
        for i, (value, sigma) in enumerate(groups):
            re, im, total = p[shared + 3 * i : shared + 3 * i + 3]
            model = _rings(complex(re, im), float(total), transfer)
            for k in sorted(value):
                error = np.sqrt(sigma[k] ** 2 + (_MODEL_ERROR * abs(model[k])) ** 2 + _FLOOR**2)
                off = (model[k] - value[k]) / error
                pull += [off.real] if k == 3 else [off.real, off.imag]
            pull.append(_below_zero(complex(re, im), float(total)) / _DARKER)
        return np.array(pull)

    start, size = [slope, 0.0], [0.3, 0.02]
    least, most = [-3.0, -0.3], [0.3, 0.3]
    if c is not None:
        start, size = [*start, c, 0.0], [*size, 0.2, 0.1]
        least, most = [*least, -1.5, -1.0], [*most, 1.5, 1.0]
    for value, _ in groups:
        start += [value[1].real, value[1].imag, sign * value[3].real / np.exp(2 * slope)]
        size, least = [*size, 0.3, 0.3, 1.0], [*least, -5.0, -5.0, -500.0]
        most = [*most, 5.0, 5.0, 500.0]
    start = list(np.clip(start, np.array(least) + 1e-6, np.array(most) - 1e-6))
    found = least_squares(away, start, x_scale=size, bounds=(least, most), max_nfev=60)
    covariance = np.linalg.inv(found.jac.T @ found.jac + 1e-12 * np.eye(len(start)))
    sums = np.arange(shared + 2, len(start), 3)
    error = np.sqrt(np.diag(covariance)[sums]) / np.maximum(np.abs(found.x[sums]), 1e-9)
    return float(found.cost), np.asarray(found.x), float(error.mean())


def _below_zero(first: complex, total: float) -> float:
    """How far the faintest site lies below zero, of the brightest: no column takes light away."""
    site = total + 2 * (first * np.exp(-2j * np.pi / 3 * np.arange(3))).real
    site = site * np.sign(total)
    return float(max(0.0, -site.min() / max(abs(site).max(), 1e-9)))
