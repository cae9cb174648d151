"""Which lattice a picture shows, whatever it is: a name and a spacing for what isn't hexagonal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..types import FloatArray
from .calibration import MIN_SIDE, TILE, flattened
from .few_periods import EXPLAINED, PowerMap

HEXAGONAL, SQUARE, RECTANGULAR, OBLIQUE = "hexagonal", "square", "rectangular", "oblique"
_LEAST_PERIODS = 4.0
_MOST = 10
"""Spots that a lattice may be spanned by: the strongest ones."""
_STRONG, _WEAKEST = 0.05, 0.01
"""Power of spots, as a share of that of the strongest, that a lattice has to explain, and that it
may be spanned by."""
_AS_GOOD = 0.06
"""Of two lattices that explain as much but for this, the one with fewer spots is the picture's."""
_LIMIT = 0.48  # 1/px
_ALIKE, _RIGHT_DEG, _SIXTY_DEG = 0.1, 5.0, 6.0
"""How far a scan distorts lengths (fraction) and angles."""
_LONGEST = 2.5


@dataclass(frozen=True)
class SeenLattice:
    """A lattice that a picture shows.

    Parameters
    ----------
    kind : str
        ``hexagonal``, ``square``, ``rectangular`` or ``oblique``.
    spacing_px : tuple of float
        Lengths of its two shortest vectors [px].
    """

    kind: str
    spacing_px: tuple[float, float]

    def in_words(self, pixel_pm: float | None = None) -> str:
        """For people: its name and spacings, in pm where the side of a pixel is known.

        >>> SeenLattice("square", (16.5, 16.5)).in_words(20.0)
        'a square lattice, spacing 330 pm (16.5 px)'
        >>> SeenLattice("oblique", (16.5, 18.0)).in_words()
        'an oblique lattice, spacings 16.5 and 18.0 px'
        """
        article = "an" if self.kind == OBLIQUE else "a"
        several = self.kind in (OBLIQUE, RECTANGULAR)
        count = 2 if several else 1
        mean = float(np.mean(self.spacing_px))
        px = self.spacing_px if several else (mean,)
        in_px = f"{' and '.join(f'{s:.1f}' for s in px[:count])} px"
        text = f"{article} {self.kind} lattice, spacing{'s' * several} "
        if pixel_pm is None:
            return text + in_px
        return text + f"{' and '.join(f'{s * pixel_pm:.0f}' for s in px[:count])} pm ({in_px})"


def seen_lattice(data: FloatArray) -> SeenLattice | None:
    """The lattice that explains the power of a picture's middle; None where none does.

    Parameters
    ----------
    data : array, `(H, W)`
    """
    start = [max(0, (n - TILE) // 2) for n in data.shape]
    tile = data[start[0] : start[0] + TILE, start[1] : start[1] + TILE]
    if min(tile.shape) < MIN_SIDE:
        return None
    step = max(1, min(tile.shape) // 256)  # spots lie far inside where pixels are that many
    h, w = (n // step for n in tile.shape)
    joined = tile[: h * step, : w * step].reshape(h, step, w, step).mean(axis=(1, 3))
    z = flattened(joined)
    low = _LEAST_PERIODS / min(joined.shape)
    g, power = PowerMap(z, _LIMIT).peaks(low)
    if len(g) < 2 or not power.max() > 0:
        return None
    strong = g[power > _STRONG * power.max()]
    # beyond them noise holds most of the power
    spectrum = PowerMap(z, min(1.15 * float(np.hypot(*strong.T).max()), _LIMIT))
    g = g[power > _WEAKEST * power.max()][:_MOST]
    found: list[tuple[float, FloatArray]] = []
    for p, q in combinations(np.concatenate([g, -g]), 2):
        basis = np.stack([p, q], axis=1)
        if not _is_reduced(basis):
            continue
        explained = spectrum.explained(basis, 0.8 * low)
        if explained > EXPLAINED:
            found.append((explained, basis))
    if not found:
        return None
    most = max(explained for explained, _ in found)
    good = [basis for explained, basis in found if explained > most - _AS_GOOD]
    return _named(max(good, key=lambda basis: abs(float(np.linalg.det(basis)))), step)


def _is_reduced(basis: FloatArray) -> bool:
    """Whether two vectors are the shortest ones of their lattice, not too unlike, 60-90 degrees."""
    p, q = basis.T
    short, long = sorted((float(np.hypot(*p)), float(np.hypot(*q))))
    along = float(p @ q) / short**2
    return long < _LONGEST * short and -0.02 < along < 0.56


def _named(basis: FloatArray, step: int) -> SeenLattice:
    lattice = np.linalg.inv(basis).T * step  # columns: vectors of the picture [px]
    size = np.hypot(*lattice)
    cosine = abs(float(lattice[:, 0] @ lattice[:, 1])) / float(size.prod())
    angle = float(np.rad2deg(np.arccos(np.clip(cosine, 0.0, 1.0))))
    alike = abs(float(np.log(size[0] / size[1]))) < _ALIKE
    kind = OBLIQUE
    if angle > 90.0 - _RIGHT_DEG:
        kind = SQUARE if alike else RECTANGULAR
    elif alike and abs(angle - 60.0) < _SIXTY_DEG:
        kind = HEXAGONAL
    short, long = sorted(size.tolist())
    return SeenLattice(kind, (short, long))
