"""The crystal: sites of a 2H monolayer, defects drawn at random, their relaxations superposed."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import scipy.fft
from scipy.spatial import cKDTree

from ..config import Config
from ..types import BoolArray, DefectStrainError, FloatArray, IntArray
from .lookalikes import LOOKALIKES, OTHER

PATTERNS = ("whole", "edge", "holes", "twin", "grain", "1T'")
_RIPPLES = 6
"""Plane waves that make up the local tilt."""


@dataclass(frozen=True)
class CrystalConfig(Config):
    """Structure of the simulated crystal.

    Parameters
    ----------
    material : str
        Preset of `materials`.
    lattice_pm : float
        Lattice constant of the defect-free crystal [pm].
    fractions : tuple of float
        Fraction of the chalcogen columns that are XY, Y2, V1, V2.
    spacing_change : tuple of float
        Relative change of the metal-metal spacing next to XY, Y2, V1, V2.
    disorder_pm : float
        Standard deviation per axis of random static displacements [pm].
    lookalikes : tuple of float
        Fraction of the places of each of `lookalikes.LOOKALIKES` that hold one; empty for none.
    tilt_mrad, tilt_deg : float
        Tilt of the crystal against the beam [mrad] and the direction in the sample, from x
        towards y, that its top layer moves to [deg].
    ripple_mrad, ripple_nm : float
        Root mean square of a local tilt on top of it [mrad] and its wavelength [nm].
    pattern : str
        One of `PATTERNS`: what else than one perfect grain the field of view holds.
    """

    material: str = "WSe2"
    lattice_pm: float = 330.0
    fractions: tuple[float, ...] = (0.056, 0.032, 0.056, 0.002)
    spacing_change: tuple[float, ...] = (0.006, 0.012, -0.048, -0.080)
    disorder_pm: float = 0.0
    lookalikes: tuple[float, ...] = ()
    tilt_mrad: float = 0.0
    tilt_deg: float = 0.0
    ripple_mrad: float = 0.0
    ripple_nm: float = 5.0
    pattern: str = "whole"

    def __post_init__(self) -> None:
        if len(self.fractions) != 4 or min(self.fractions) < 0 or sum(self.fractions) > 1:
            raise DefectStrainError(
                f"fractions: got {self.fractions}, expected four of XY, Y2, V1, V2 that sum "
                "to at most 1"
            )
        if self.pattern not in PATTERNS:
            raise DefectStrainError(
                f"pattern: got {self.pattern!r}, expected one of {', '.join(PATTERNS)}"
            )
        if self.lookalikes and (
            len(self.lookalikes) != len(LOOKALIKES) or not 0 <= sum(self.lookalikes) <= 1
        ):
            raise DefectStrainError(
                f"lookalikes: got {self.lookalikes}, expected none or {len(LOOKALIKES)} fractions "
                f"that sum to at most 1: {', '.join(look.name for look in LOOKALIKES)}"
            )


@dataclass(frozen=True)
class Crystal:
    """Columns of a crystal in the sample plane.

    Parameters
    ----------
    site_pm, displacement_pm, own_displacement_pm : arrays, `(N, 2)`
        (x, y) [pm], y up, axes of the lattice frame: ideal sites, the sum of all defects'
        displacements, and the part of the nearest defect.
    class_index : array, `(N,)`
        Role of each column, an index into `materials.ROLES`.
    is_metal : array of bool, `(N,)`
    disorder_pm : array, `(N, 2)`
        Random static displacement [pm], part of the position but of no defect.
    kind : array, `(N,)`
        Kind of a look-alike (`lookalikes.kind_names`), 0 for the ordinary columns.
    layers : array, `(N,)`
        Row of `lookalikes.layer_weights` that tells what the column holds.
    upside_down : array of bool, `(N,)`
        True where the bottom layer of that row lies on top.
    tilt : array, `(N, 2)`
        Local tilt: displacement (x, y) by height.
    """

    site_pm: FloatArray
    class_index: IntArray
    is_metal: BoolArray
    displacement_pm: FloatArray
    own_displacement_pm: FloatArray
    disorder_pm: FloatArray
    kind: IntArray
    layers: IntArray
    upside_down: BoolArray
    tilt: FloatArray

    def take(self, which: IntArray | BoolArray) -> Crystal:
        """Some of the columns."""
        return Crystal(*(getattr(self, f.name)[which] for f in fields(self)))

    @property
    def position_pm(self) -> FloatArray:
        """(x, y) of each column [pm]."""
        return self.site_pm + self.displacement_pm + self.disorder_pm


def lattice_sites(lattice_pm: float, radius_pm: float) -> tuple[FloatArray, BoolArray]:
    """Sites of a 2H monolayer within a circle, projected.

    Chalcogen columns at ``n a1 + m a2``, metal columns a/sqrt(3) above each (90 degrees), with
    ``a1 = (a, 0)``, ``a2 = (a/2, sqrt(3) a/2)``.

    Returns
    -------
    site_pm : array, `(N, 2)`
    is_metal : array of bool, `(N,)`
    """
    n = int(np.ceil(radius_pm / lattice_pm * 1.2)) + 2
    i, j = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1))
    chalcogen = np.stack([i + j / 2, j * np.sqrt(3) / 2], axis=-1).reshape(-1, 2) * lattice_pm
    metal = chalcogen + [0.0, lattice_pm / np.sqrt(3)]
    site = np.concatenate([chalcogen, metal])
    is_metal = np.repeat([False, True], len(chalcogen))
    inside = np.hypot(site[:, 0], site[:, 1]) <= radius_pm
    return site[inside], is_metal[inside]


def relaxation(offset_pm: FloatArray, spacing_change: FloatArray, lattice_pm: float) -> FloatArray:
    """Displacement beside a point defect: linear inside the ring of metal columns, 1/r outside.

    Radial, ``u0 r / r0`` for ``r < r0`` and ``u0 r0 / r`` beyond, with ``r0 = a / sqrt(3)`` and
    ``u0 = spacing_change a / sqrt(3)``: the field of a 2D inclusion (Eshelby, doi
    10.1098/rspa.1957.0133) whose radius is the metal ring.

    Parameters
    ----------
    offset_pm : array, `(..., 2)`
        Place relative to the defect [pm].
    spacing_change : array, `(...)`
        Relative change of the spacing of the three nearest metal columns.
    lattice_pm : float
    """
    ring = lattice_pm / np.sqrt(3)
    r2 = np.maximum((offset_pm**2).sum(axis=-1), ring**2)
    return np.asarray((spacing_change * ring * ring / r2)[..., None] * offset_pm)


def superposed_relaxation(
    site_pm: FloatArray,
    defect: IntArray,
    spacing_change: FloatArray,
    lattice_pm: float,
) -> FloatArray:
    """Sum of `relaxation` over defects, at sites of a honeycomb `(N, 2)` [pm].

    Sites differ by lattice vectors and by the offsets of three sublattices (chalcogen, metal,
    centres of hexagons), so that the sum is a convolution on the lattice: exact, by Fourier
    transforms.

    Parameters
    ----------
    site_pm : array, `(N, 2)`
        Sites as `lattice_sites` gives them, or centres of hexagons.
    defect : array of int, `(D,)`
        Which of the sites hold a defect.
    spacing_change : array, `(D,)`
        Of each defect, as in `relaxation`.
    lattice_pm : float
    """
    cell = lattice_pm * np.array([[1.0, 0.5], [0.0, np.sqrt(3) / 2]])  # columns a1, a2
    # offsets along y in steps of a / sqrt(3); the third step is a lattice vector again
    whole = np.linalg.solve(cell, site_pm.T).T  # (N, 2): integers plus s (-1/3, 2/3)
    sublattice = np.rint(3 * (whole[:, 0] + whole[:, 1])).astype(int) % 3
    offset = np.array([[0.0, s * lattice_pm / np.sqrt(3)] for s in range(3)])
    index = np.rint(np.linalg.solve(cell, (site_pm - offset[sublattice]).T).T).astype(int)
    index -= index.min(axis=0)
    extent = index.max(axis=0) + 1
    size = [scipy.fft.next_fast_len(2 * int(n), real=True) for n in extent]
    steps = [
        np.where(np.arange(n) < e, np.arange(n), np.arange(n) - n)
        for n, e in zip(size, extent, strict=True)
    ]
    lattice = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1) @ cell.T  # (s0, s1, 2)
    strength = np.zeros((3, *size))
    where = index[defect]
    strength[sublattice[defect], where[:, 0], where[:, 1]] = spacing_change
    sources = [s for s in range(3) if strength[s].any()]
    spectrum = {s: scipy.fft.rfft2(strength[s]) for s in sources}
    out = np.zeros(site_pm.shape)
    for target in range(3):
        mine = sublattice == target
        if not mine.any():
            continue
        for axis in range(2):
            total = np.zeros((size[0], size[1] // 2 + 1), dtype=complex)
            for source in sources:
                apart = lattice + offset[target] - offset[source]
                kernel = relaxation(apart, np.ones(apart.shape[:-1]), lattice_pm)[..., axis]
                total += spectrum[source] * scipy.fft.rfft2(kernel)
            field = scipy.fft.irfft2(total, s=size)
            out[mine, axis] = field[index[mine, 0], index[mine, 1]]
    return out


def build_crystal(config: CrystalConfig, radius_pm: float, rng: np.random.Generator) -> Crystal:
    """A round flake of a crystal with defects drawn independently on its columns."""
    site, is_metal = lattice_sites(config.lattice_pm, radius_pm)
    roles = rng.choice(
        np.arange(1, 6), size=len(site), p=(1 - sum(config.fractions), *config.fractions)
    )
    class_index = np.where(is_metal, 0, roles)
    kind = np.zeros(len(site), dtype=int)
    if any(config.lookalikes):
        site, is_metal, class_index, kind = _add_lookalikes(
            config, site, is_metal, class_index, rng
        )
    return relax_crystal(config, site, is_metal, class_index, rng, kind)


def _add_lookalikes(
    config: CrystalConfig,
    site: FloatArray,
    is_metal: BoolArray,
    class_index: IntArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, BoolArray, IntArray, IntArray]:
    """Put look-alikes on the sites and adatoms into the empty centres of hexagons."""
    hexagon = site[~is_metal] - [0.0, config.lattice_pm / np.sqrt(3)]
    places = {
        "metal": np.flatnonzero(is_metal),
        "chalcogen": np.flatnonzero(~is_metal),
        "hexagon": len(site) + np.arange(len(hexagon)),
    }
    kind = np.zeros(len(site) + len(hexagon), dtype=int)
    for number, (look, fraction) in enumerate(
        zip(LOOKALIKES, config.lookalikes, strict=True), start=1
    ):
        chosen = places[look.place]
        kind[chosen[rng.random(len(chosen)) < fraction]] = number
    keep = kind > 0
    keep[: len(site)] = True
    everything = np.concatenate([site, hexagon])[keep]
    kind = kind[keep]
    class_index = np.concatenate([class_index, np.zeros(len(kind) - len(site), dtype=int)])
    is_metal = np.concatenate([is_metal, np.zeros(len(kind) - len(site), dtype=bool)])
    return everything, is_metal, np.where(kind > 0, OTHER, class_index), kind


def relax_crystal(
    config: CrystalConfig,
    site: FloatArray,
    is_metal: BoolArray,
    class_index: IntArray,
    rng: np.random.Generator,
    kind: IntArray | None = None,
) -> Crystal:
    """Superpose the relaxations of all defects of a crystal with given classes and kinds."""
    kind = np.zeros(len(site), dtype=int) if kind is None else kind
    of_class = np.array([0.0, 0.0, *config.spacing_change, 0.0])
    of_kind = np.array([0.0, *(look.spacing_change for look in LOOKALIKES)])
    change = of_class[class_index] + of_kind[kind]
    defect = np.flatnonzero(change != 0)
    total = np.zeros_like(site)
    own = np.zeros_like(site)
    if len(defect):
        strength = change[defect]
        total = superposed_relaxation(site, defect, strength, config.lattice_pm)
        nearest = cKDTree(site[defect]).query(site)[1]
        own = relaxation(site - site[defect[nearest]], strength[nearest], config.lattice_pm)
    disorder = rng.normal(0, config.disorder_pm, site.shape) if config.disorder_pm else 0 * site
    tilt = np.zeros_like(site)
    upside_down = np.zeros(len(site), dtype=bool)
    if config.tilt_mrad or config.ripple_mrad:
        tilt = _local_tilt(config, site, rng)
        upside_down = rng.random(len(site)) < 0.5
    layers = np.where(kind > 0, OTHER - 1 + kind, class_index)
    return Crystal(
        site, class_index, is_metal, total, own, disorder, kind, layers, upside_down, tilt
    )


def _local_tilt(config: CrystalConfig, site_pm: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Tilt of a rippled sheet, `(N, 2)`: displacement (x, y) by height."""
    angle = np.deg2rad(config.tilt_deg)
    tilt = np.full(site_pm.shape, config.tilt_mrad * 1e-3) * [np.cos(angle), np.sin(angle)]
    if config.ripple_mrad:
        direction = rng.uniform(0, 2 * np.pi, _RIPPLES)
        unit = np.stack([np.cos(direction), np.sin(direction)])  # (2, waves)
        wavelength = config.ripple_nm * 1e3 * rng.uniform(0.6, 1.7, _RIPPLES)
        phase = 2 * np.pi * (site_pm @ unit / wavelength + rng.random(_RIPPLES))
        # each wave of amplitude A gives A^2 / 2 to the mean square of the tilt
        amplitude = config.ripple_mrad * 1e-3 * np.sqrt(2 / _RIPPLES)
        tilt = tilt + amplitude * np.cos(phase) @ unit.T
    return np.asarray(tilt)
