"""What one image says of how it looks: see `looks` for what it is put together to.

The image is taken apart into columns, background and rest (`twins.taken_apart`). Scan lines are
compared with columns where the lattice puts them, not where they were fitted, because the fit of a
column follows the lines that it lies on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.optimize import brentq
from scipy.spatial import cKDTree
from scipy.special import j0

from ..averages import find_patches
from ..columns import ColumnProfile, ImageColumnConfig, ImageColumns, fit_image_columns
from ..crystal import decompose, robust_sigma
from ..judge import lattice_places
from ..materials import ROLES, get_material
from ..types import (
    METAL,
    CalibratedImage,
    DefectStrainError,
    FloatArray,
    ImageLattice,
    IntArray,
    Progress,
    Sites,
    no_progress,
)
from .looks import LIT, QUANTILES
from .twins import Parts, column_peak, noise_spectrum, taken_apart

LOOK_FIT = ImageColumnConfig(aberrations=False)
"""One width for all columns: tails that are free take the texture of contamination for their own,
and what is simulated with them is taken for more of it again."""
TILE_PX = 32
"""Side of the tiles of the noise's spectrum."""
X2 = ROLES.index("X2")
LAST = X2 + LIT
"""One after the last class of chalcogen columns, V2."""
_SLOW, _STEEP = 0.45, 8
"""Frequency that parts the background from noise [1/a], well below the lattice's first spots, and
how steeply: what lies in both by half would be lost, for each is simulated by itself."""
_RIM = 2.0  # a
_BASE = 0.02  # quantile of the background that counts as clean
_WHITE_PER_PX = 0.4  # from where on noise is taken for white
_ROLLS = (0.13, 0.29, 0.41, 0.59, 0.73, 0.89)  # of the width: no lattice has these periods
_IN_COLUMN = 0.7
"""Part of the lines' variance that widens columns along the lines: a column lies on three or four
lines, and its fitted place follows their mean."""
_LEAST_LINE_SIGMA = 0.03
"""What faults of the profile and disorder look like in lines that do not jitter [px]."""
_LEAST_COLUMNS = 3
_NEAR_DEFECT = 1.3  # a; within which metals are moved by a defect
_FOLLOWED = 0.09
"""Part of the noise on top of columns that their fit follows and takes away, by simulations."""
_MISFIT = 0.05
"""Part of the noise between columns that may be the wings of a profile that isn't quite theirs, by
simulations: where columns are dim, what is left varies by 1 to 6 % more than the noise."""
_PIXELS = 100_000  # that the noise is learnt from, of the whole and of each quarter
_FEW_GREYS = 4096


@dataclass(frozen=True)
class Seen:
    """What one image says.

    Parameters
    ----------
    name, material : str
    number : mapping of str to float
        By name; brightness in units of a metal column's height.
    sigma : mapping of str to float
        Standard errors, of those that have one.
    frequency_per_pm, transfer : arrays, `(K,)`
    blur_pm2 : array, `(3,)`
        See `looks.Shape`.
    spectrum : array, `(T, T / 2 + 1)`
        Of the noise.
    background : array, `(H, W)`
        Above the darkest.
    weight : sequence of array
        Brightness of the columns metal, X2, XY, Y2, V1, V2.
    picture : array, `(H, W)`
        The image, from 0 in the darkest background to 1 on top of a metal column.
    grey : tuple of float
        Base, height, step and, where pixels are clipped, both ends.
    metadata : mapping
        Of the file.
    notes : tuple of str
        What makes it doubtful.
    """

    name: str
    material: str
    number: Mapping[str, float]
    sigma: Mapping[str, float]
    frequency_per_pm: FloatArray
    transfer: FloatArray
    blur_pm2: FloatArray
    spectrum: FloatArray
    background: FloatArray
    weight: tuple[FloatArray, ...]
    picture: FloatArray
    grey: tuple[float, ...]
    metadata: Mapping[str, object]
    notes: tuple[str, ...] = ()


def see_image(
    image: CalibratedImage,
    sites: Sites,
    material: str,
    progress: Progress = no_progress,
    fit: ImageColumns | None = None,
) -> Seen:
    """What one image says of how it looks.

    Parameters
    ----------
    image : CalibratedImage
    sites : Sites
        Its columns, judged or true.
    material : str
    progress : Progress
    fit : ImageColumns, optional
        The fit of these columns, where it is there.

    Raises
    ------
    DefectStrainError
        If the columns form no lattice, or no profile can be learnt from them.
    """
    a_pm = get_material(material).lattice_pm
    if fit is None:
        fit = fit_image_columns(image, sites.position_px, LOOK_FIT, progress=progress)
    patch = max(find_patches([image], [sites], a_pm), key=lambda p: int(p.member.sum()))
    pixel_pm = 1.0 / float(np.sqrt(abs(np.linalg.det(patch.lattice.matrix))))
    parts = taken_apart(image, fit, a_pm / pixel_pm, lambda left: _slow(left, a_pm / pixel_pm))
    rim = _rim(image.data.shape, a_pm / pixel_pm)
    bright = np.nan_to_num(fit.weight[fit.measured & sites.is_metal])
    if len(bright) < _LEAST_COLUMNS or not np.median(bright) > 0:
        raise DefectStrainError(
            f"{image.name}: got {len(bright)} metal columns that shine, expected a crystal"
        )
    metal = float(np.median(bright))
    height = metal * column_peak(parts.profile)
    base = float(np.quantile(parts.background[rim], _BASE))
    line_px, line_sigma = _line_jitter(sites, fit, parts, rim, a_pm)
    frequency, transfer, blur = _shape(parts.profile, pixel_pm, line_px)
    number = {"pixel_size_pm": pixel_pm, "line_px": line_px, "fwhm_pm": _fwhm(frequency, transfer)}
    number |= _distortion(patch.lattice, pixel_pm) | _disorder(sites, fit, a_pm, pixel_pm)
    number["frames"] = _frames(image, parts.profile, line_px)
    spectrum, noise, noise_sigma = _noise(parts, rim, base, height)
    number |= noise
    number |= _colour(spectrum, pixel_pm)
    background = (parts.background[rim] - base) / height
    number |= _background(background, pixel_pm)
    doubt = _error_of_weight(parts, sites, frequency * pixel_pm, transfer, noise, height)
    weight, weights, weight_sigma = _weights(sites, fit, metal, doubt)
    number |= weights
    shares, share_sigma = _fractions(sites)
    changes, change_sigma = _spacings(sites, fit, patch.lattice)
    return Seen(
        name=image.name,
        material=material,
        number=number | shares | changes,
        sigma={"line_px": line_sigma} | noise_sigma | weight_sigma | share_sigma | change_sigma,
        frequency_per_pm=frequency,
        transfer=transfer,
        blur_pm2=blur,
        spectrum=spectrum,
        background=background,
        weight=weight,
        picture=(np.asarray(image.data, dtype=float) - base) / height,
        grey=(base, height, *_greys(np.asarray(image.data, dtype=float))),
        metadata=image.metadata,
        notes=tuple(f"{n}; what is learnt of it may be off" for n in fit.notes(image.name)),
    )


def _slow(left: FloatArray, a_px: float) -> FloatArray:
    """What varies more slowly than `_SLOW`, the image mirrored at its rim."""
    waves = scipy.fft.dctn(left)
    down, across = (np.arange(n) / (2 * n) for n in left.shape)
    waves /= 1.0 + ((down[:, None] ** 2 + across**2) * (a_px / _SLOW) ** 2) ** (_STEEP // 2)
    return np.asarray(scipy.fft.idctn(waves))


def _rim(shape: tuple[int, ...], a_px: float) -> tuple[slice, slice]:
    """The part of an image that columns outside of it don't light."""
    edge = [int(min(_RIM * a_px, n / 6)) for n in shape]
    return slice(edge[0], shape[0] - edge[0]), slice(edge[1], shape[1] - edge[1])


def _shape(
    profile: ColumnProfile, pixel_pm: float, line_px: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Frequencies [1/pm], transfer function, and the blur that differs with direction [pm^2]."""
    xx, xy, yy = profile.blur_pm2 * np.array([1.0, -1.0, 1.0])  # px^2, y up
    xx -= _IN_COLUMN * line_px**2
    middle = (xx + yy) / 2
    k = np.linspace(0.0, profile.cutoff_per_pm, 41)
    radial = profile.basis(k) @ profile.coefficient
    transfer = radial * np.exp(-2 * np.pi**2 * middle * k**2)
    blur = np.array([(xx - yy) / 2, xy, (yy - xx) / 2]) * pixel_pm**2
    return k / pixel_pm, np.clip(transfer / transfer[0], -1.0, 1.5), blur


def _fwhm(frequency_per_pm: FloatArray, transfer: FloatArray) -> float:
    """Width of a column at half its height [pm]."""
    radius = np.arange(0.0, 400.0, 1.0)
    # a round column is the Hankel transform of its transfer function
    wave = j0(2 * np.pi * radius[:, None] * frequency_per_pm)
    column = wave @ (transfer * frequency_per_pm)
    below = int(np.argmax(column < column[0] / 2))
    if not below:
        return float(2 * radius[-1])
    ends = column[below] / column[0], column[below - 1] / column[0]
    return float(2 * np.interp(0.5, ends, (radius[below], radius[below - 1])))


def _frames(image: CalibratedImage, profile: ColumnProfile, line_px: float) -> float:
    """Frames summed, as the file says, or by how much more the lines shook within the sum."""
    stated = image.metadata.get("frames")
    if isinstance(stated, int) and stated > 0:
        return float(stated)
    xx, _, yy = profile.blur_pm2
    if line_px < 0.05:
        return 1.0
    return float(np.clip(1.0 + (xx - yy) / line_px**2 - _IN_COLUMN, 1.0, 30.0))


def _distortion(lattice: ImageLattice, pixel_pm: float) -> dict[str, float]:
    shape = decompose(lattice.matrix, pixel_pm)
    return {
        "shear_xx_yy": shape.shear_xx_yy,
        "shear_xy": shape.shear_xy,
        "rotation_deg": shape.rotation_deg,
    }


# ------------------------------------------------------------------ lines


def _line_jitter(
    sites: Sites, fit: ImageColumns, parts: Parts, rim: tuple[slice, slice], a_pm: float
) -> tuple[float, float]:
    """Standard deviation of the lines' shifts, and its standard error [px]."""
    places = lattice_places(sites, a_pm)
    known = places.on_lattice & fit.measured
    moved = np.where(known[:, None], fit.position_px - places.ideal_px, 0.0)
    smooth = places.ideal_px + places.smooth(moved, known.astype(float))
    lit = fit.measured
    place = np.where(known[:, None], smooth, fit.position_px)[lit]
    # across the lines a column is where it was found: its defects' pull is no jitter
    place[:, 0] = fit.position_px[lit, 0]
    model = parts.columns(place, fit.weight[lit]).astype(float)
    rest = (parts.model + parts.raw - model)[rim]
    slope = np.gradient(model, axis=1)[rim]
    power = (slope**2).sum(axis=1)
    usable = power > 0.3 * np.median(power)
    pair = usable[1:] & usable[:-1]
    shift = -(slope * rest).sum(axis=1) / np.maximum(power, 1e-12)
    step = np.diff(shift)[pair]
    if len(step) < 16:
        return 0.0, 0.0
    weight = (1.0 / power[1:] + 1.0 / power[:-1])[pair] / 2
    error2 = _noise_of_shifts(parts.rest[rim], slope, power, pair) * weight / weight.mean()

    def too_wide(line2: float) -> float:
        return robust_sigma(step / np.sqrt(2 * (line2 + error2)), 0.0) - 1.0

    line = 0.0 if too_wide(1e-12) <= 0 else float(np.sqrt(brentq(too_wide, 1e-12, 100.0)))
    # a median's standard error for pairs that share lines
    total2 = line**2 + float(error2.mean())
    chance = 1.9 * total2 / (max(line, 0.3 * np.sqrt(total2)) * np.sqrt(2 * len(step)))
    return line, float(np.hypot(chance, _LEAST_LINE_SIGMA))


def _noise_of_shifts(
    rest: FloatArray, slope: FloatArray, power: FloatArray, pair: np.ndarray
) -> float:
    """Mean variance of a line's shift by noise, of whatever colour: the shift of what isn't there.

    Half of the variance of the difference between neighbours [px^2].
    """
    found = []
    for part in _ROLLS:
        other = np.roll(slope, int(part * slope.shape[1]), axis=1)
        shift = (other * rest).sum(axis=1) / np.maximum(power, 1e-12)
        found.append(robust_sigma(np.diff(shift)[pair], 0.0) ** 2 / 2)
    return float(np.mean(found))


def _disorder(sites: Sites, fit: ImageColumns, a_pm: float, pixel_pm: float) -> dict[str, float]:
    """Random displacement of metals far from defects, across the lines [pm]."""
    places = lattice_places(sites, a_pm)
    known = places.on_lattice & fit.measured
    moved = np.where(known[:, None], fit.position_px - places.ideal_px, 0.0)
    rest = (moved - places.smooth(moved, known.astype(float)))[:, 0]
    defect = (sites.role != METAL) & (sites.class_index != X2)
    free = known & sites.is_metal
    if defect.any():
        near = cKDTree(sites.position_px[defect]).query(sites.position_px)[0]
        free &= near > _NEAR_DEFECT * a_pm / pixel_pm
    if free.sum() < 12:
        return {}
    error2 = float(np.median(fit.covariance_px2[free, 0, 0]))
    excess = robust_sigma(rest[free]) ** 2 - error2
    return {"disorder_pm": float(np.sqrt(max(excess, 0.0))) * pixel_pm}


# ------------------------------------------------------------------ noise


def _noise(
    parts: Parts, rim: tuple[slice, slice], base: float, height: float
) -> tuple[FloatArray, dict[str, float], dict[str, float]]:
    """Spectrum; variance of a pixel by brightness and by background, with errors."""
    rest = parts.rest[rim] / height
    square = rest**2
    dirt = (parts.background[rim] - base) / height
    bright = parts.model[rim] / height + dirt
    terms = np.stack([np.ones_like(bright), bright, dirt], axis=-1)
    whole, sure = _straight(square.reshape(-1), terms.reshape(-1, 3))
    halves = [n // 2 for n in square.shape]
    quarters = [
        _straight(square[y, x].reshape(-1), terms[y, x].reshape(-1, 3))[0]
        for y in (slice(halves[0]), slice(halves[0], None))
        for x in (slice(halves[1]), slice(halves[1], None))
    ]
    followed = _FOLLOWED * (whole[0] + 0.6 * whole[1])
    whole[1] += followed
    floor, slope, extra = whole
    expected = np.maximum(terms @ whole, 0.05 * square.mean())
    spectrum = noise_spectrum(rest / np.sqrt(expected), TILE_PX)
    error = np.maximum(sure, np.std(quarters, axis=0, ddof=1) / 2)
    error[0] = float(np.hypot(error[0], _MISFIT * whole[0]))
    error[1] = float(np.hypot(error[1], 0.5 * followed))
    mean = max(float(square.mean()), 1e-30)
    # of counts alone the third moment is the slope times the second
    usual = rest**2 < 36.0 * expected
    skew = float((rest[usual] ** 3).sum() / max((rest[usual] ** 2).sum(), 1e-30))
    number = {"floor": floor, "slope": slope, "with_background": extra, "noise": mean**0.5}
    number["skew"] = skew
    sigma = {"floor": error[0], "slope": error[1], "with_background": error[2]}
    sigma["noise"] = _error_of_noise(square)
    return (
        spectrum,
        {k: float(v) for k, v in number.items()},
        {k: float(v) for k, v in sigma.items()},
    )


def _error_of_noise(square: FloatArray) -> float:
    """Standard error of the noise, by the scatter of 16 parts."""
    parts = [b.mean() for a in np.array_split(square, 4) for b in np.array_split(a, 4, axis=1)]
    return float(np.std(parts, ddof=1) / 4 / (2 * np.sqrt(np.mean(parts))))


def _straight(square: FloatArray, terms: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variance as ``terms @ result`` and its errors; strange pixels are left out.

    None is negative, and what the background adds must be seen beyond its error.
    """
    every = max(1, len(square) // _PIXELS)
    square, terms = square[::every], terms[::every]
    expected = np.full(len(square), square.mean() + 1e-30)
    free = [0, 1, 2]
    result, error = np.zeros(3), np.zeros(3)
    for _ in range(4):
        good = square < 25.0 * expected
        weight = 1.0 / expected[good]
        columns = terms[good] * weight[:, None]
        # squares of normal noise have twice its variance's square; what is left out may be there
        error = np.sqrt(2.0 * np.diag(np.linalg.pinv(columns.T @ columns)))
        while True:
            result = np.zeros(3)
            fitted = np.linalg.lstsq(columns[:, free], square[good] * weight, rcond=None)[0]
            result[free] = fitted
            wrong = [i for i in free if result[i] < 0 or (i == 2 and result[i] < 3 * error[i])]
            if not wrong:
                break
            free.remove(wrong[-1])
        expected = np.maximum(terms @ result, 0.05 * square.mean() + 1e-30)
    return result, error


def _colour(spectrum: FloatArray, pixel_pm: float) -> dict[str, float]:
    """Share of white noise, and the correlation length of the rest [pm]."""
    side = len(spectrum)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.arange(side // 2 + 1) / side)
    both = np.full(side // 2 + 1, 2.0)
    both[0] = both[-1] = 1.0
    count = np.broadcast_to(both, spectrum.shape)
    white = min(float(np.median(spectrum[radius > _WHITE_PER_PX])), 1.0)
    excess = np.clip(spectrum - white, 0.0, None) * count
    total = float(excess.sum())
    if total <= 0:
        return {"white": 1.0, "correlation_pm": 0.0}
    # of power exp(-2 (pi c k)^2) the mean square frequency is 1 / (2 pi^2 c^2)
    square = float((excess * radius**2).sum()) / total
    return {"white": white, "correlation_pm": pixel_pm / (np.pi * np.sqrt(2 * square + 1e-12))}


# ------------------------------------------------------------------ background


def _background(background: FloatArray, pixel_pm: float) -> dict[str, float]:
    """Mean, patchiness and correlation length [nm] of the contamination."""
    mean = max(float(background.mean()), 0.0)
    rest = background - background.mean()
    power = np.abs(scipy.fft.rfft2(rest, s=[2 * n for n in rest.shape])) ** 2
    lags = scipy.fft.irfft2(power, s=[2 * n for n in rest.shape])
    reach = min(rest.shape) // 2
    counts = np.arange(rest.shape[0], rest.shape[0] - reach, -1) * rest.shape[1]
    across = np.arange(rest.shape[1], rest.shape[1] - reach, -1) * rest.shape[0]
    along = (lags[:reach, 0] / counts + lags[0, :reach] / across) / 2
    below = np.flatnonzero(along < along[0] / 2)
    half = float(below[0]) if len(below) else float(reach)
    return {
        "contamination": mean,
        "patchiness": float(background.std()) / max(mean, 1e-6),
        # of a Gaussian correlation exp(-r^2 / (2 c^2))
        "contamination_nm": max(half / 1.1774 * pixel_pm * 1e-3, 0.01),
    }


def background_quantiles(backgrounds: list[FloatArray]) -> FloatArray:
    """`QUANTILES` of the brightness of several backgrounds, each image counting alike."""
    at = np.linspace(0, 1, QUANTILES)
    return np.asarray(np.mean([np.quantile(b, at) for b in backgrounds], axis=0))


# ------------------------------------------------------------------ columns


def _error_of_weight(
    parts: Parts,
    sites: Sites,
    frequency_per_px: FloatArray,
    transfer: FloatArray,
    noise: Mapping[str, float],
    height: float,
) -> float:
    """By how much noise and background scatter the brightness of a metal column.

    What they make of columns that aren't there: in the empty centres of hexagons, opposite to a
    metal beside each chalcogen column.
    """
    left = parts.background + parts.rest
    shape = left.shape
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    seen = scipy.fft.irfft2(
        scipy.fft.rfft2(left) * np.interp(k, frequency_per_px, transfer, right=0.0), s=shape
    )
    metals = sites.position_px[sites.is_metal]
    chalcogens = sites.position_px[sites.is_chalcogen]
    if not len(metals) or not len(chalcogens):
        return 0.0
    distance, nearest = cKDTree(metals).query(chalcogens)
    reach = 1.5 * float(np.median(distance))
    centre = np.rint(2 * chalcogens - metals[nearest]).astype(int)
    inside = np.all((centre > reach) & (centre < np.array(shape) - 1 - reach), axis=1)
    row, column = centre[inside & (distance < reach)].T
    if len(row) < 12:
        return 0.0
    # what is slower is the fit's background: the mean over neighbours goes
    value = seen[row, column]
    around = cKDTree(np.stack([row, column], axis=1))
    index = around.query(np.stack([row, column], axis=1), k=min(12, len(row)))[1]
    scatter = robust_sigma(value - value[index].mean(axis=1))
    step = frequency_per_px[1] - frequency_per_px[0]
    square = float((2 * np.pi * frequency_per_px * transfer**2).sum() * step)
    peak = float((2 * np.pi * frequency_per_px * transfer).sum() * step)
    dark = max(float(parts.model[row, column].mean()) / height, 0.0)
    louder = (noise["floor"] + 0.8 * noise["slope"]) / max(
        noise["floor"] + dark * noise["slope"], 1e-30
    )
    return scatter / height * peak / square * float(np.sqrt(louder))


def _weights(
    sites: Sites, fit: ImageColumns, metal: float, doubt: float
) -> tuple[tuple[FloatArray, ...], dict[str, float], dict[str, float]]:
    """Brightness of the columns of each class, its medians, and its scatter beyond noise."""
    relative = np.where(fit.measured, np.nan_to_num(fit.weight), 0.0) / metal
    lists, number, sigma = [], {}, {}
    usual = (
        robust_sigma(relative[sites.class_index == X2]) if (sites.class_index == X2).any() else 0
    )
    for index in range(LAST):
        mine = sites.class_index == index
        values = relative[mine]
        lists.append(values)
        if len(values) < _LEAST_COLUMNS:
            continue
        number[f"weight_{ROLES[index]}"] = float(np.median(values))
        scatter = robust_sigma(values)
        # of a few columns the scatter may be small by chance
        sigma[f"weight_{ROLES[index]}"] = 1.2533 * max(scatter, usual) / np.sqrt(len(values))
        if index <= X2:
            number[f"scatter_{ROLES[index]}"] = float(np.sqrt(max(scatter**2 - doubt**2, 0.0)))
    return tuple(lists), number, sigma


def _spacings(
    sites: Sites, fit: ImageColumns, lattice: ImageLattice
) -> tuple[dict[str, float], dict[str, float]]:
    """How much closer or farther the three metals around each class are than around X2."""
    place = lattice.to_pm(fit.position_px)
    metals = place[sites.is_metal & fit.measured]
    at = lattice.to_pm(sites.position_px)
    distance, index = cKDTree(metals).query(at, k=4)
    a_pm = lattice.a_pm
    # three at a / sqrt(3), the next at twice that
    good = sites.is_chalcogen & (distance[:, 2] < 0.8 * a_pm) & (distance[:, 3] > 0.8 * a_pm)
    corner = metals[index[:, :3] % len(metals)]
    spacing = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).mean(axis=1)
    usual = good & (sites.class_index == X2)
    number: dict[str, float] = {}
    sigma: dict[str, float] = {}
    if usual.sum() < _LEAST_COLUMNS:
        return number, sigma
    reference = float(np.median(spacing[usual]))
    for role in range(X2 + 1, LAST):
        mine = spacing[good & (sites.class_index == role)] / reference - 1.0
        if len(mine) >= _LEAST_COLUMNS:
            number[f"change_{ROLES[role]}"] = float(np.median(mine))
            sigma[f"change_{ROLES[role]}"] = 1.2533 * robust_sigma(mine) / np.sqrt(len(mine))
    return number, sigma


def _fractions(sites: Sites) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the defects among the chalcogen columns, with binomial errors."""
    index: IntArray = sites.class_index[sites.is_chalcogen]
    n = max(len(index), 1)
    share = {r: float((index == ROLES.index(r)).sum()) / n for r in ROLES[X2 + 1 : LAST]}
    # Agresti and Coull's: none seen of n isn't none there
    smooth = {r: (p * n + 2) / (n + 4) for r, p in share.items()}
    error = {f"share_{r}": float(np.sqrt(p * (1 - p) / (n + 4))) for r, p in smooth.items()}
    number = {f"share_{r}": p for r, p in share.items()}
    return {**number, "share_other": float(sites.is_other.mean())}, error


def _greys(data: FloatArray) -> tuple[float, ...]:
    """Step between grey values, 0 where they are continuous, and the ends where any are clipped."""
    values, count = np.unique(data, return_counts=True)
    step = 0.0
    if 2 < len(values) <= _FEW_GREYS:
        step = float(np.median(np.diff(values)))
    typical = float(np.median(count))
    low, high = float(count[0]), float(count[-1])
    clipped = max(low, high) > max(5.0 * typical, 1e-3 * data.size)
    return (step, float(values[0]), float(values[-1])) if clipped else (step,)
