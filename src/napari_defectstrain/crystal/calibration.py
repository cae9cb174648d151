"""Pixel size from the picture itself: the {100} spots of its power spectrum and a known lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter, uniform_filter

from ..types import DefectStrainError, FloatArray, Progress, no_progress
from .few_periods import hexagon_of_few_periods

CALIBRATED_BY_LATTICE = "lattice"
"""Value of an image's metadata ``calibration`` where its pixel size comes from its lattice."""

TILE = 1024  # px; larger pictures are judged by several tiles of this side
PIXEL_RANGE_PM = (1.25, 70.0)
_FINE_PM = 5.0
"""Below this, pixels are joined, so that a lattice spans few enough of them."""
_JOINED = (1, 2, 4)
_FEW_PERIODS = 14.0
"""Below so many {100} periods a tile, a lattice is judged by all of its spots."""
_LEAST_PERIODS = 4.0
"""{100} periods a tile below which nothing is a lattice: noise makes hexagons of fewer."""
SPOT_RANGE = (1 / 60, 1 / 4)
"""Lengths of {100} vectors that a picture of atoms may have [1/px]."""
MIN_SIDE = 32
MIN_SNR = 12.0
MAX_DEVIATION = 0.25
"""A stated pixel size that differs by more from that of the lattice (fraction) is refused."""
CLEAR = 0.97
"""Quality of an estimate that contradicts what the user says; lesser ones may be chance."""
MAX_SHEAR = 0.08
"""Difference of the lattice's principal stretches (fraction) that is worth a warning; it is the
angle of a simple shear. Networks are trained on no more."""
SPOTS = np.array([[1, 0], [0, 1], [-1, 1], [1, 1], [-1, 2], [2, -1], [2, 0], [0, 2], [-2, 2]])
"""Spots of the refinement in units of two {100} vectors 60 degrees apart: {100}, {110}, {200}."""


@dataclass(frozen=True)
class PixelSizeEstimate:
    """Pixel size found from the lattice.

    Parameters
    ----------
    pixel_size_pm, sigma_pm : float
        Side of a pixel and its standard error [pm], without that of the lattice constant, with
        what strain and distortion within the field do.
    angle_deg : float
        Direction of a zigzag row against the image's x, counter-clockwise as seen, in
        [-30, 30) degrees.
    quality : float
        0-1: share of the weakest {100} spot's power that is not background.
    shear : float
        Difference of the principal stretches of a regular lattice into this one (fraction).
    """

    pixel_size_pm: float
    sigma_pm: float
    angle_deg: float
    quality: float
    shear: float = 0.0


def estimate_pixel_size(
    data: FloatArray,
    a_pm: float,
    expected_pm: float | None = None,
    progress: Progress = no_progress,
) -> PixelSizeEstimate:
    """Pixel size by the hexagonal {100} spots of the power spectrum, d100 = a sqrt(3)/2.

    The three spots need not be regular (scan shear), but must close: g3 = g2 - g1. The cell's
    area gives the pixel size. Spots that turn out to be {110} are recognised by the {100} spots
    inside: for a honeycomb of heights M and X their power is at least a quarter of that of {110}
    (M^2 + X^2 - M X against (M + X)^2).

    Parameters
    ----------
    data : array, `(H, W)`
        Image with 32 px a side at least; larger than 1024 px: nine tiles at most are used.
    a_pm : float
        Lattice constant of the crystal [pm].
    expected_pm : float, optional
        Restricts the search to pixel sizes from which this one [pm] is `MAX_DEVIATION` off at most.
    progress : Progress

    Returns
    -------
    PixelSizeEstimate

    Raises
    ------
    DefectStrainError
        If the picture is too small or not finite, or shows no lattice between 1.25 and 70 pm a
        pixel.
    """
    image = np.asarray(data)
    if image.ndim != 2 or min(image.shape) < MIN_SIDE:
        raise DefectStrainError(
            f"pixel size: got an image of shape {image.shape}, expected 2D with at least "
            f"{MIN_SIDE} px a side; give the pixel size by hand"
        )
    low, high = PIXEL_RANGE_PM
    if expected_pm is not None:
        low, high = expected_pm / (1 + MAX_DEVIATION), expected_pm / (1 - MAX_DEVIATION)
    spacing = a_pm * np.sqrt(3) / 2
    good = _bases_of_tiles(image, low / spacing, high / spacing, _FINE_PM / spacing, progress)
    if good is None:
        raise DefectStrainError(
            f"pixel size: no lattice of {a_pm:g} pm found between {low:g} and {high:g} pm per "
            "pixel; check the lattice constant, or give the pixel size by hand"
        )
    # |det| of two {100} vectors is 1/(cell area) = 2/(sqrt(3) a^2)
    pixel = np.array([a_pm * np.sqrt(np.sqrt(3) / 2 * abs(np.linalg.det(b))) for b, _, _ in good])
    sigma = np.array([s for _, s, _ in good]) * pixel
    spots = np.array([b @ SPOTS[:3].T for b, _, _ in good])  # (tiles, 2, 3)
    turn = np.exp(6j * np.arctan2(-spots[:, 0], spots[:, 1]))
    # g100 is perpendicular to a zigzag row: 90 degrees apart, 30 degrees modulo 60
    angle = np.rad2deg(np.angle(-turn.mean()) / 6)
    if len(pixel) > 2:
        spread = float(1.2533 * pixel.std(ddof=1) / np.sqrt(len(pixel)))
    else:
        spread = float(pixel[0]) * _spread_of_quarters(image, good[0][0])
    return PixelSizeEstimate(
        pixel_size_pm=float(np.median(pixel)),
        sigma_pm=float(max(spread, np.median(sigma) / np.sqrt(len(pixel)))),
        angle_deg=float((angle + 30) % 60 - 30),
        quality=float(np.median([q for _, _, q in good])),
        shear=float(np.median([_shear(b) for b, _, _ in good])),
    )


def _spread_of_quarters(image: FloatArray, basis: FloatArray) -> float:
    """Relative error of the lattice's size, by how it differs between the image's quarters.

    Defects strain the crystal and scans are distorted: the average over a field is another one
    beside it, however sharp the spots are. 0 where there are too few periods to tell.
    """
    side = [n // 2 for n in image.shape]
    if _length(basis) * min(image.shape) < _FEW_PERIODS:
        return 0.0
    size = []
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows, columns = (slice(k * n, (k + 1) * n) for k, n in zip((y, x), side, strict=True))
        spots = SPOTS[:3] @ basis.T
        peak = _fourier_maxima(flattened(image[rows, columns]), spots)
        if not (np.abs(peak - spots) * side < 1.0).all():
            return 0.0
        size.append(_length(np.linalg.lstsq(SPOTS[:3].astype(float), peak, rcond=None)[0].T))
    return float(np.std(size, ddof=1) / (np.sqrt(len(size)) * np.mean(size)))


def _bases_of_tiles(
    image: FloatArray, low: float, high: float, fine: float, progress: Progress
) -> list[tuple[FloatArray, float, float]] | None:
    """Basis, relative error and quality of each tile [1/px]; None where too few show a lattice.

    Large scales are looked at with pixels joined. A hexagon whose vectors are multiples of those of
    a larger cell is that cell's: its higher orders look like a lattice of their own.
    """
    best: list[tuple[FloatArray, float, float]] | None = None
    for scale, joined in enumerate(_JOINED):
        # noise between the pixels' own frequency and a coarse lattice's hides few periods of it
        reach = 1.1 if best is not None else 2.2
        top = min(high, reach * fine * 2 / joined) if joined > 1 else high
        bottom = max(low, fine / joined)
        if bottom > top or min(image.shape) < 5 / top:
            continue
        binned = _joined(image, joined)
        tiles = _tiles(binned)
        found = []
        for i, tile in enumerate(tiles):
            progress((scale + i / len(tiles)) / len(_JOINED), "looking for the lattice")
            found.append(_reciprocal_basis(tile, bottom * joined, top * joined))
        good: list[tuple[FloatArray, float, float]] = []
        good += [(f[0] / joined, f[1], f[2]) for f in found if f is not None]
        if len(good) == 0 or 2 * len(good) < len(found) and len(good) < 3:
            continue
        if best is None or _is_multiple(best[0][0], good[0][0]):
            best = good
    return best


def _joined(image: FloatArray, count: int) -> FloatArray:
    """Means of blocks of `count` by `count` pixels."""
    if count == 1:
        return image
    h, w = (n // count for n in image.shape)
    blocks = np.asarray(image[: h * count, : w * count], dtype=np.float32)
    return np.asarray(blocks.reshape(h, count, w, count).mean(axis=(1, 3)))


def _is_multiple(basis: FloatArray, of: FloatArray) -> bool:
    """Whether a lattice's vectors are whole multiples of those of a finer reciprocal lattice."""
    index = np.linalg.solve(of, basis)
    return bool(np.abs(index - np.rint(index)).max() < 0.15)


def contradicting_estimate(data: FloatArray, a_pm: float) -> PixelSizeEstimate | None:
    """What a clear lattice says where none fits the stated pixel size; None where none is clear."""
    try:
        found = estimate_pixel_size(data, a_pm)
    except DefectStrainError:
        return None
    return found if found.quality >= CLEAR else None


def shear_warning(name: str, estimate: PixelSizeEstimate) -> tuple[str, ...]:
    """What is to be said of a lattice that is sheared beyond `MAX_SHEAR`."""
    if estimate.shear <= MAX_SHEAR:
        return ()
    return (
        f"{name}: the lattice is sheared by {100 * estimate.shear:.1f} %, expected at most "
        f"{100 * MAX_SHEAR:g} %: strong drift during the scan, or pixels that are not square; "
        "classes and spacings may be wrong",
    )


def lattice_spots(data: FloatArray) -> FloatArray | None:
    """Two {100} vectors of a picture 60 degrees apart, `(2, 2)`, columns (y, x) [1/px].

    By the tile in its middle, whatever the pixel size; None where no lattice shows.
    """
    start = [max(0, (n - TILE) // 2) for n in data.shape]
    tile = data[start[0] : start[0] + TILE, start[1] : start[1] + TILE]
    if min(tile.shape) < MIN_SIDE:
        return None
    found = _reciprocal_basis(tile, *SPOT_RANGE)
    return None if found is None else found[0]


def _tiles(image: FloatArray) -> list[FloatArray]:
    """The image, or up to three by three tiles spread over a large one."""
    starts = []
    for side in image.shape:
        count = min(3, -(-side // TILE))
        starts.append(np.linspace(0, max(side - TILE, 0), count).astype(int))
    return [image[y : y + TILE, x : x + TILE] for y in starts[0] for x in starts[1]]


def flattened(tile: FloatArray) -> FloatArray:
    """The tile without slow background, Hann-windowed."""
    z = np.asarray(tile, dtype=np.float32)
    if not np.isfinite(z).all():
        raise DefectStrainError("pixel size: the image holds NaN or inf; mask or crop them first")
    # Two box filters: a smooth high-pass that leaves periods up to 30 px (10 pm pixels) alone.
    size = int(min(min(z.shape) / 2, 96))
    z = z - uniform_filter(uniform_filter(z, size, mode="reflect"), size, mode="reflect")
    spread = float(z.std())
    if spread > 0:
        z = np.clip(z / spread, -5.0, 5.0)  # hot pixels and grains of dirt
    window = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in z.shape]
    return np.asarray(z * window[0][:, None] * window[1][None])


def _reciprocal_basis(
    tile: FloatArray, low: float, high: float
) -> tuple[FloatArray, float, float] | None:
    """Two {100} vectors (columns, (y, x) 1/px), relative error of their length, quality.

    `low` and `high` bound the length of {100} vectors [1/px]. None where no lattice shows.
    """
    low = max(low, _LEAST_PERIODS / min(tile.shape))
    if low > high:
        return None
    z = flattened(tile)
    spectrum = _Spectrum.of(z, min(high * np.sqrt(3) * 1.1, 0.48))
    basis = _best_hexagon(spectrum, low * 0.9)
    basis = None if basis is None else _fundamental(basis, spectrum)
    if basis is not None and not low <= _length(basis) <= high:
        basis = None
    if low * min(z.shape) < _FEW_PERIODS and (
        basis is None or _length(basis) * min(z.shape) < _FEW_PERIODS * np.sqrt(3)
    ):
        few = _of_few_periods(z, basis, low, high)
        if few is not None:
            return few
    if basis is None:
        return None
    quality = 1 - 1 / min(spectrum.at(basis @ h)[1] for h in SPOTS[:3])
    refined = _refine(z, basis, spectrum)
    return None if refined is None else (*refined, float(np.clip(quality, 0, 1)))


def _of_few_periods(
    z: FloatArray, known: FloatArray | None, low: float, high: float
) -> tuple[FloatArray, float, float] | None:
    """As `_reciprocal_basis`, where the picture is few periods wide.

    None where no lattice explains the picture, or none better than the one that is `known`.
    """
    found = hexagon_of_few_periods(z, low, high)
    if found is None or _length(found[0]) * min(z.shape) > _FEW_PERIODS:
        return None
    basis, explained = found
    if known is not None and _is_multiple(basis, known) and _is_multiple(known, basis):
        return None
    spots = SPOTS[:6]
    spots = spots[(np.abs(spots @ basis.T) < 0.48).all(axis=1)]
    peak = _fourier_maxima(z, spots @ basis.T)
    near = (np.abs(peak - spots @ basis.T) * z.shape < 1.5).all(axis=1)
    if near.sum() < 3:
        return basis, 0.05, min(explained, 0.9)
    weight = np.where(np.arange(len(spots)) < 3, 1.0, 0.5)[near]
    design = spots[near].astype(float)
    normal = design.T @ (weight[:, None] * design)
    refined = np.linalg.solve(normal, design.T @ (weight[:, None] * peak[near])).T
    miss = (peak[near] - design @ refined.T) * z.shape
    error = max(float(np.sqrt((miss**2).mean())), 0.03) / (_length(refined) * min(z.shape))
    return refined, error, float(np.clip(explained, 0, 0.96))


def _shear(basis: FloatArray) -> float:
    """Difference of the principal stretches of two regular {100} vectors into these."""
    regular = np.array([[0.0, np.sqrt(3) / 2], [1.0, 0.5]])
    size = np.linalg.svd(basis @ np.linalg.inv(regular), compute_uv=False)
    return float((size[0] - size[1]) / np.sqrt(size[0] * size[1]))


def _length(basis: FloatArray) -> float:
    """Length of the vectors of the regular hexagon with the same area as this basis."""
    return float(np.sqrt(2 / np.sqrt(3) * abs(np.linalg.det(basis))))


@dataclass(frozen=True)
class _Spectrum:
    """Half of the power spectrum up to a frequency, rows in order of fy.

    `background` is the power without spots, `snr` the power over it; both hold for power
    averaged over 3 x 3 bins, as the spots of distorted pictures spread over several.
    """

    power: FloatArray
    background: FloatArray
    fy: FloatArray
    fx: FloatArray

    @classmethod
    def of(cls, z: FloatArray, limit: float) -> _Spectrum:
        power = np.fft.fftshift(np.abs(np.fft.rfft2(z)) ** 2, axes=0)
        fy = np.fft.fftshift(np.fft.fftfreq(z.shape[0]))
        fx = np.fft.rfftfreq(z.shape[1])
        rows, columns = np.abs(fy) < limit, fx < limit
        fy, fx = fy[rows], fx[columns]
        power = uniform_filter(power[np.ix_(rows, columns)], 3, mode="nearest")
        radius = np.hypot(fy[:, None], fx[None])
        return cls(power, _ring_background(power, radius, 3.0 / min(z.shape)), fy, fx)

    @property
    def snr(self) -> FloatArray:
        return np.asarray(self.power / self.background)

    @property
    def bin(self) -> float:
        """The coarser of the two frequency steps [1/px]."""
        return float(max(self.fy[1] - self.fy[0], self.fx[1] - self.fx[0]))

    def at(self, g: FloatArray) -> tuple[float, float]:
        """Power above background, and SNR, of the strongest bin within one bin of `g`."""
        g = g if g[1] >= 0 else -g
        i = round((g[0] - self.fy[0]) / (self.fy[1] - self.fy[0]))
        j = round(g[1] / self.fx[1])
        if not (0 <= i < len(self.fy) and 0 <= j < len(self.fx)):
            return 0.0, 1.0
        near = np.s_[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        k = int(self.power[near].argmax())
        power = float(self.power[near].ravel()[k])
        background = float(self.background[near].ravel()[k])
        return power - background, power / background


def _ring_background(power: FloatArray, radius: FloatArray, width: float) -> FloatArray:
    """Background of rings of that width, interpolated in radius (log of the power).

    The lower quartile, as in small pictures the spots fill half of a ring. Scaled to the
    median of noise: 3 x 3 bins under a Hann window average about 4 independent ones, and a
    gamma variable of shape 4 has its lower quartile at 0.69 of its median.
    """
    ring = (radius / width).astype(int).ravel()
    order = np.argsort(ring, kind="stable")
    edges = np.flatnonzero(np.diff(ring[order], prepend=-1))
    groups = np.split(power.ravel()[order], edges[1:])
    quartile = np.array([float(np.percentile(g, 25)) for g in groups])
    level = np.log(np.maximum(quartile / 0.69, np.finfo(power.dtype).tiny))
    centre = (ring[order][edges] + 0.5) * width
    return np.asarray(np.exp(np.interp(radius, centre, level)))


def _best_hexagon(spectrum: _Spectrum, low: float, count: int = 40) -> FloatArray | None:
    """The two vectors p, q, 60 degrees apart, whose weakest spot among p, q, q - p is strongest.

    Clearness (SNR) tells spots from dirt; above 300 power counts instead, as in pictures with
    little noise the faint high orders stand out as well.
    """
    snr = spectrum.snr
    radius = np.hypot(spectrum.fy[:, None], spectrum.fx[None])
    peak = (snr == maximum_filter(snr, 5)) & (radius > low) & (snr > MIN_SNR)
    where = np.argwhere(peak)
    # by clearness and by power: where a picture was filtered, or compressed, faint spots beyond
    # what is left of the noise are the clearest of all
    order = [np.argsort(-values[peak])[:count] for values in (snr, spectrum.power)]
    where = where[np.unique(np.concatenate(order))]
    if len(where) < 3:
        return None
    g = np.stack([spectrum.fy[where[:, 0]], spectrum.fx[where[:, 1]]], axis=1)
    g = np.concatenate([g, -g])
    value = np.tile(snr[where[:, 0], where[:, 1]], 2)
    power = np.tile(spectrum.power[where[:, 0], where[:, 1]], 2)
    direction = g[:, 1] - 1j * g[:, 0]
    ratio = direction[None] / direction[:, None]
    # Scan shear of several per cent bends angles by some degrees and lengths by some per cent.
    fits = (np.abs(np.rad2deg(np.angle(ratio)) - 60) < 12) & (np.abs(np.log(np.abs(ratio))) < 0.2)
    first, second = np.nonzero(fits)
    if len(first) == 0:
        return None
    third = g[second] - g[first]
    gap = np.hypot(*np.moveaxis(third[:, None] - g[None], 2, 0))
    closing = gap.argmin(axis=1)
    closed = gap[np.arange(len(third)), closing] < 2.5 * spectrum.bin
    spots = np.stack([first, second, closing])
    weakest = value[spots].min(axis=0) * closed
    if weakest.max() < MIN_SNR:
        return None
    clear = weakest >= min(float(weakest.max()), 300.0)
    best = int((power[spots].min(axis=0) * clear).argmax())
    return np.asarray(np.stack([g[first[best]], g[second[best]]], axis=1))


def _fundamental(basis: FloatArray, spectrum: _Spectrum) -> FloatArray | None:
    """The hexagon inside, sqrt(3) smaller, where its spots say that `basis` is of {110}.

    None where the picture holds too few periods of the inner one to tell.
    """
    p, q = basis.T
    inner = np.stack([(p + q) / 3, (2 * q - p) / 3], axis=1)
    inner_power, inner_snr = zip(*[spectrum.at(inner @ h) for h in SPOTS[:3]], strict=True)
    outer_power = [spectrum.at(basis @ h)[0] for h in SPOTS[:3]]
    # A quarter for two equal sublattices without an envelope; less where the high-pass bites.
    if np.median(inner_power) < 0.12 * np.median(outer_power):
        return basis
    if min(inner_snr) > MIN_SNR / 3:
        return inner
    # Strong, but no clear spots: below 6 periods a lobe of the window is as wide as the ring.
    return basis if _length(inner) > 6 * spectrum.bin else None


def _refine(
    z: FloatArray, basis: FloatArray, spectrum: _Spectrum
) -> tuple[FloatArray, float] | None:
    """Basis fitted to all spots, each at the maximum of its Fourier peak; relative error."""
    unit = 1.0 / np.array(z.shape)
    for orders in (SPOTS[:3], SPOTS):
        target = orders @ basis.T
        orders = orders[(np.abs(target) < 0.48).all(axis=1)]
        start = orders @ basis.T
        snr = np.array([spectrum.at(g)[1] for g in start])
        orders, start, snr = orders[snr > 4], start[snr > 4], snr[snr > 4]
        if len(orders) < 3:
            return None
        peak = _fourier_maxima(z, start)
        near = (np.abs(peak - start) < 2.5 * unit).all(axis=1)
        if near.sum() < 3:
            return None
        weight = 1 / (1 / snr[near] + 0.02)
        design = orders[near].astype(float)
        normal = design.T @ (weight[:, None] * design)
        basis = np.linalg.solve(normal, design.T @ (weight[:, None] * peak[near])).T
    residual = (peak[near] - design @ basis.T) / unit  # bins
    dof = max(2 * len(design) - 4, 1)
    # Never less than 0.02 bins at weight 1/0.02, the rounding of strong clean spots.
    variance = max(float((weight[:, None] * residual**2).sum()) / dof, 0.02**2 / 0.02)
    inverse = np.linalg.inv(basis)  # (order, axis)
    share = np.einsum("ia,ij,ja->a", inverse, np.linalg.inv(normal), inverse)
    return basis, 0.5 * float(np.sqrt(variance * (share * unit**2).sum()))


def _fourier_maxima(z: FloatArray, start: FloatArray) -> FloatArray:
    """Maxima of |Fourier transform| near each `start` [1/px], by parabolas of its logarithm."""
    g = np.array(start, dtype=float)
    offset = np.array([-1.0, 0.0, 1.0])
    row, column = np.arange(z.shape[0]), np.arange(z.shape[1])
    for step in (0.7, 0.4, 0.4, 0.4):
        unit = step / np.array(z.shape)
        gx = (g[:, 1, None] + offset * unit[1]).ravel()  # (3k,)
        turn = 2 * np.pi * np.outer(column, gx)
        half = z @ np.cos(turn).astype(z.dtype) - 1j * (z @ np.sin(turn).astype(z.dtype))
        gy = g[:, 0, None] + offset * unit[0]  # (k, 3)
        wave = np.exp(-2j * np.pi * gy[:, :, None] * row)  # (k, 3, h)
        value = np.einsum("kih,hkj->kij", wave, half.reshape(len(row), len(g), 3))
        level = np.log(np.abs(value) ** 2 + np.finfo(float).tiny)
        for axis, (low, mid, high) in enumerate(
            (np.moveaxis(level[:, :, 1], 1, 0), np.moveaxis(level[:, 1, :], 1, 0))
        ):
            curve = np.maximum(2 * mid - low - high, 1e-9)
            move = np.clip((high - low) / (2 * curve), -1.0, 1.0)
            g[:, axis] += move * unit[axis]
    return g
