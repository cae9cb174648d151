"""How wide the probe of each image was, by its own lattice, which images are alike, where it lies.

The windows of a perfect crystal have Fourier components at the reciprocal lattice vectors only:
``I(g) = T(g) F(g)``, with the transfer function T of the whole recording (probe, source, jitter)
and the structure factor F of the unit cell. The reflections (10) and (20) of the honeycomb have
structure factors of equal size whatever the brightness of its two columns, so that their ratio
says how T falls: for a Gaussian, ``I(20)/I(10) = exp(-2 pi^2 sigma^2 (g20^2 - g10^2))``. Neither
background nor dose nor composition enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import BoolArray, ClassStack, DefectStrainError, FloatArray, IntArray
from ..units import PM_PER_NM
from .windows import CORE_RADIUS, WindowFrame

MIN_WINDOWS = 3
USUAL_PM = 47.0  # a probe of 0.11 nm full width at half maximum
ORDERS = 3
"""Reflections up to this order of both basis vectors are fitted, so that none leaks into (20)."""


@dataclass(frozen=True)
class ProbeWidths:
    """Width of the columns of each image, and groups of images that are alike.

    Parameters
    ----------
    sigma_pm, error_pm : arrays, `(I,)`
        Standard deviation of the Gaussian that falls as the transfer function between the first
        and second order of the lattice, and its standard error [pm]; NaN where an image has
        fewer than 3 defect-free windows.
    group : array of int, `(I,)`
        Group of each image, from the narrowest, 0, on; images of unknown width belong to the
        largest group.
    """

    sigma_pm: FloatArray
    error_pm: FloatArray
    group: IntArray

    @property
    def typical_pm(self) -> float:
        """Median width of the images; `USUAL_PM` where none is known."""
        known = np.isfinite(self.sigma_pm)
        return float(np.median(self.sigma_pm[known])) if known.any() else USUAL_PM


def probe_widths(
    windows: FloatArray,
    image_index: IntArray,
    n_images: int,
    frame: WindowFrame,
    tolerance: float,
    min_group: int,
) -> ProbeWidths:
    """Width of each image's columns by its registered defect-free windows, and their groups.

    Parameters
    ----------
    windows : array, `(N, P, P)`
        Defect-free ones.
    image_index : array of int, `(N,)`
        Their images, 0 to ``n_images - 1``.
    n_images : int
    frame : WindowFrame
    tolerance : float
        Images belong together whose widths differ by no more than this fraction.
    min_group : int
        Groups of fewer windows join the group nearest in width: a column profile needs data.
    """
    g, value = _reflections(windows, frame)
    sigma, error = np.full(n_images, np.nan), np.full(n_images, np.nan)
    for i in range(n_images):
        mine = np.flatnonzero(image_index == i)
        if len(mine) >= MIN_WINDOWS:
            sigma[i], error[i] = _width(value[mine], g)
    count = np.bincount(image_index, minlength=n_images)
    return ProbeWidths(sigma, error, group_widths(sigma, count, tolerance, min_group))


def image_widths(reference: ClassStack | None, n_images: int) -> ProbeWidths:
    """Widths and groups of the images that a stack of defect-free windows comes from.

    Parameters
    ----------
    reference : ClassStack or None
        None: no width is known, and all images are one group.
    n_images : int
    """
    group = np.zeros(n_images, dtype=int)
    if reference is None:
        unknown = np.full(n_images, np.nan)
        return ProbeWidths(unknown, unknown, group)
    side = reference.windows.shape[1] * reference.step_pm / PM_PER_NM
    frame = WindowFrame(reference.a_pm, reference.step_pm, side)
    use = reference.included
    found = probe_widths(
        reference.windows[use], reference.image_index[use], n_images, frame, np.inf, 0
    )
    if reference.group is not None:
        group[reference.image_index] = reference.group
    return ProbeWidths(found.sigma_pm, found.error_pm, group)


def _reflections(windows: FloatArray, frame: WindowFrame) -> tuple[tuple[float, float], FloatArray]:
    """Amplitudes of the reflections (10) and (20) of each window, `(N, 2)`, and their |g| [1/pm].

    Projected on the phases that a window in the lattice frame has there: mean over the three
    equivalent directions.
    """
    wave, cosine, sine = _waves(windows, frame)
    size = np.linalg.norm(wave, axis=1)
    first = float(size.min())
    found = []
    for target in (first, 2 * first):
        shell = np.abs(size - target) < 0.01 * first
        # Phase of the honeycomb: known but for the columns' brightness, so taken from the mean
        # of the data over the shell, folded to one direction of the threefold set.
        sign = np.where(_threefold(wave[shell]), 1.0, -1.0)
        z = cosine[:, shell] - 1j * sign * sine[:, shell]
        mean = z.mean(axis=1)
        turned = mean * np.exp(-1j * np.angle(mean.mean()))
        found.append(turned.real)
    return (first / (2 * np.pi), first / np.pi), np.stack(found, axis=1)


def _waves(windows: FloatArray, frame: WindowFrame) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The lattice's waves of low order, `(w, 2)` [rad/pm], and their cosines and sines, `(N, w)`.

    By least squares over a disc, the centre left out.
    """
    radius = np.linalg.norm(frame.position_pm, axis=2)
    use = (radius <= frame.half * frame.step_pm) & frame.outside(CORE_RADIUS)
    r = frame.position_pm[use]  # (m, 2)
    b1 = 2 * np.pi / frame.a_pm * np.array([1.0, -1 / np.sqrt(3)])
    b2 = 2 * np.pi / frame.a_pm * np.array([0.0, 2 / np.sqrt(3)])
    orders = [
        (h, k)
        for h in range(-ORDERS, ORDERS + 1)
        for k in range(-ORDERS, ORDERS + 1)
        if (h, k) > (0, 0) and h * h - h * k + k * k <= ORDERS**2  # b1, b2: 120 degrees apart
    ]
    wave = np.stack([h * b1 + k * b2 for h, k in orders])  # (w, 2)
    phase = r @ wave.T
    design = np.column_stack([np.ones(len(r)), r / frame.a_pm, np.cos(phase), np.sin(phase)])
    solver = np.linalg.pinv(design)[3:]  # (2w, m)
    amplitude = np.asarray(windows[:, use] @ solver.T.astype(windows.dtype), dtype=float)
    return wave, amplitude[:, : len(orders)], amplitude[:, len(orders) :]


def lattice_offset(window: FloatArray, frame: WindowFrame) -> FloatArray:
    """How far a defect-free window's lattice lies from its ideal sites, (x, y) [pm].

    The three waves (10) of a structure with a threefold axis in the origin have one phase; where it
    lies off by t, that of a wave g is less by ``g . t``. Nothing of the columns' brightness enters.

    Parameters
    ----------
    window : array, `(P, P)`
        In the lattice frame; best an average.
    frame : WindowFrame
    """
    wave, cosine, sine = _waves(window[None], frame)
    size = np.linalg.norm(wave, axis=1)
    shell = size < 1.01 * size.min()
    sign = np.where(_threefold(wave[shell]), 1.0, -1.0)
    z = cosine[0, shell] - 1j * sign * sine[0, shell]
    late = np.angle(z * np.conj(z.sum()))
    return np.asarray(-np.linalg.pinv(sign[:, None] * wave[shell]) @ late)


def _threefold(wave: FloatArray) -> BoolArray:
    """Which of the waves are turned into one another by 120 degrees; the others by inversion."""
    angle = np.arctan2(wave[:, 1], wave[:, 0])
    return np.asarray(np.cos(3 * (angle - angle[0])) > 0)


def _width(value: FloatArray, g: tuple[float, float]) -> tuple[float, float]:
    """Sigma of the equivalent Gaussian and its error, by the scatter of the windows."""
    first, second = value.mean(axis=0)
    if not (first > 0 and second > 0):
        return np.nan, np.nan
    slope = 2 * np.pi**2 * (g[1] ** 2 - g[0] ** 2)
    variance = float(np.log(first / second) / slope)
    # Influence of each window on log(first / second)
    influence = value[:, 0] / first - value[:, 1] / second
    scatter = float(influence.std(ddof=1) / np.sqrt(len(value)) / slope)
    if not variance > 0:
        return np.nan, np.nan
    return float(np.sqrt(variance)), scatter / (2 * float(np.sqrt(variance)))


def group_widths(
    sigma_pm: FloatArray, count: IntArray, tolerance: float, min_group: int
) -> IntArray:
    """Groups of like width: the sorted widths are cut at their largest gaps until all fit.

    Parameters
    ----------
    sigma_pm : array, `(I,)`
        NaN where unknown.
    count : array of int, `(I,)`
        Windows of each image.
    tolerance : float
        Largest width of a group over its smallest, less one.
    min_group : int
        Groups of fewer windows join the nearest one.

    Returns
    -------
    array of int, `(I,)`
        By rising width, from 0 on. Images of unknown width join the group with most windows.

    Raises
    ------
    DefectStrainError
        If the tolerance is not above 0.
    """
    if not tolerance > 0:
        raise DefectStrainError(f"probe groups: got a tolerance of {tolerance:g}, expected above 0")
    known = np.flatnonzero(np.isfinite(sigma_pm))
    group = np.zeros(len(sigma_pm), dtype=int)
    if len(known) == 0:
        return group
    order = known[np.argsort(sigma_pm[known], kind="stable")]
    parts = _cut(order, np.log(sigma_pm), np.log1p(tolerance))
    while len(parts) > 1:
        size = [int(count[part].sum()) for part in parts]
        least = int(np.argmin(size))
        if size[least] >= min_group:
            break
        middle = [float(np.mean(sigma_pm[part])) for part in parts]
        beside = [k for k in (least - 1, least + 1) if 0 <= k < len(parts)]
        nearest = min(beside, key=lambda k: abs(middle[k] - middle[least]))
        low = min(least, nearest)
        parts[low : low + 2] = [np.concatenate(parts[low : low + 2])]
    for number, part in enumerate(parts):
        group[part] = number
    largest = int(np.argmax([count[part].sum() for part in parts]))
    group[~np.isfinite(sigma_pm)] = largest
    return group


def _cut(order: IntArray, level: FloatArray, span: float) -> list[IntArray]:
    """Parts of a sorted order within which `level` spans no more than `span`."""
    value = level[order]
    if len(order) < 2 or value[-1] - value[0] <= span:
        return [order]
    at = int(np.argmax(np.diff(value))) + 1
    return [*_cut(order[:at], level, span), *_cut(order[at:], level, span)]
