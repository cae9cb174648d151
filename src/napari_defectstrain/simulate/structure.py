"""The crystal: sites of a 2H monolayer, defects drawn at random, their relaxations superposed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated

import numpy as np
from scipy.spatial import cKDTree

from ..config import Between, Config, Length, OneOf
from ..materials import DEFECT_ROLES, get_material
from ..types import BoolArray, DefectStrainError, FloatArray, IntArray
from .arranging import ARRANGEMENTS, arranged_vacancies
from .lookalikes import FIRST_KINDS, LOOKALIKES, OTHER
from .relaxing import Field, relaxation, relaxed_displacement, superpose

LAYERED = ("bilayer 2H", "bilayer 3R", "graphene", "hBN")
"""Patterns of other crystals, which look like a 2H monolayer where one doesn't look twice."""
PATTERNS = ("whole", "edge", "holes", "twin", "grain", "1T'", *LAYERED)
N_DEFECTS = len(DEFECT_ROLES)
"""Values in settings that have one for each class of defects."""
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
        Lattice constant of the defect-free crystal [pm]; 0 takes the material's.
    fractions : tuple of float
        Fraction of the chalcogen columns that are XY, Y2, V1, V2.
    spacing_change : tuple of float
        Relative change of the metal-metal spacing next to XY, Y2, V1, V2.
    disorder_pm : float
        Standard deviation per axis of random static displacements [pm].
    relaxed : tuple of str
        Structure files of XY, Y2, V1, V2 (`structures.read_relaxed`) whose displacements take the
        place of `spacing_change`; an empty name keeps the latter.
    relaxed_pristine : str
        The structure without a defect.
    lookalikes : tuple of float
        Fraction of the places of each of `lookalikes.LOOKALIKES` that hold one; empty for none,
        and the first ten alone for no others.
    tilt_mrad, tilt_deg : float
        Tilt of the crystal against the beam [mrad] and the direction in the sample, from x
        towards y, that its top layer moves to [deg].
    ripple_mrad, ripple_nm : float
        Root mean square of a local tilt on top of it [mrad] and its wavelength [nm].
    pattern : str
        One of `PATTERNS`: what else than one perfect grain the field of view holds.
    arrangement : str
        One of `arranging.ARRANGEMENTS`: vacancies at random, or some in pairs or in lines.
    arranged : float
        Share of the vacancies that lie in them.
    line_length : int
        Vacancies in a line.
    """

    material: str = "WSe2"
    lattice_pm: Annotated[float, Between(0, 1000)] = 0.0
    fractions: Annotated[tuple[float, ...], Length(N_DEFECTS), Between(0, 1)] = (
        0.056,
        0.032,
        0.056,
        0.002,
    )
    spacing_change: Annotated[tuple[float, ...], Length(N_DEFECTS), Between(-0.9, 0.9)] = (
        0.006,
        0.012,
        -0.048,
        -0.080,
    )
    disorder_pm: Annotated[float, Between(0, 1000)] = 0.0
    relaxed: Annotated[tuple[str, ...], Length(0, N_DEFECTS)] = ()
    relaxed_pristine: str = "pristine_9x9.extxyz"
    lookalikes: Annotated[
        tuple[float, ...], Length(0, FIRST_KINDS, len(LOOKALIKES)), Between(0, 1)
    ] = ()
    tilt_mrad: Annotated[float, Between(-1000, 1000)] = 0.0
    tilt_deg: Annotated[float, Between(-10000, 10000)] = 0.0
    ripple_mrad: Annotated[float, Between(0, 1000)] = 0.0
    ripple_nm: Annotated[float, Between(0.1, 10000)] = 5.0
    pattern: Annotated[str, OneOf(PATTERNS)] = "whole"
    arrangement: Annotated[str, OneOf(ARRANGEMENTS)] = "random"
    arranged: Annotated[float, Between(0, 1)] = 0.5
    line_length: Annotated[int, Between(2, 100)] = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lattice_pm == 0:
            object.__setattr__(self, "lattice_pm", get_material(self.material).lattice_pm)
        if sum(self.fractions) > 1:
            raise DefectStrainError(
                f"fractions: got {self.fractions}, expected four of XY, Y2, V1, V2 that sum "
                "to at most 1"
            )
        if sum(self.lookalikes) > 1:
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


def build_crystal(config: CrystalConfig, radius_pm: float, rng: np.random.Generator) -> Crystal:
    """A round flake of a crystal, its defects drawn independently or arranged as settings say."""
    site, is_metal = lattice_sites(config.lattice_pm, radius_pm)
    roles = rng.choice(
        np.arange(1, OTHER), size=len(site), p=(1 - sum(config.fractions), *config.fractions)
    )
    class_index = np.where(is_metal, 0, roles)
    if config.arrangement != "random":
        length = config.line_length if config.arrangement == "lines" else 2
        class_index = arranged_vacancies(
            site, is_metal, class_index, config.lattice_pm, config.arranged, length, rng
        )
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
        zip(LOOKALIKES, config.lookalikes, strict=False), start=1
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
    total, own = _displacements(config, site, class_index, kind)
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


def _displacements(
    config: CrystalConfig, site: FloatArray, class_index: IntArray, kind: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Displacement by all defects, and that by the nearest of them, `(N, 2)` each."""
    a = config.lattice_pm
    of_class = np.array([0.0, 0.0, *config.spacing_change, 0.0])
    of_kind = np.array([0.0, *(look.spacing_change for look in LOOKALIKES)])
    fields: dict[int, Field] = {}
    for role, path in enumerate(config.relaxed, start=2):
        if path:
            of_class[role] = 0.0
            fields[role] = partial(
                relaxed_displacement, defect=path, pristine=config.relaxed_pristine, lattice_pm=a
            )
    change = of_class[class_index] + of_kind[kind]
    total = np.zeros_like(site)
    defect = np.flatnonzero(change != 0)
    if len(defect):
        analytic = partial(relaxation, spacing_change=1.0, lattice_pm=a)
        total += superpose(site, defect, change[defect], analytic, a)
    for role, field in fields.items():
        of_role = np.flatnonzero(class_index == role)
        if len(of_role):
            total += superpose(site, of_role, np.ones(len(of_role)), field, a)
    defect = np.flatnonzero((change != 0) | np.isin(class_index, list(fields)))
    own = np.zeros_like(site)
    if len(defect):
        nearest = defect[cKDTree(site[defect]).query(site)[1]]
        offset = site - site[nearest]
        own = relaxation(offset, change[nearest], a)
        for role, field in fields.items():
            mine = class_index[nearest] == role
            own[mine] = field(offset[mine])
    return total, own


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
