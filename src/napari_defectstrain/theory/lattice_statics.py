"""Harmonic lattice statics of a 2H monolayer: a valence force field, and what forces do to it.

The energy is a sum of squares of bond stretchings and bendings of angles about the perfect
structure (Born & Huang, Dynamical Theory of Crystal Lattices, 1954; for MoS2 Wakabayashi et al.
1975, doi:10.1103/PhysRevB.12.659, and Jiang 2015, doi:10.1088/0957-4484/26/31/315706),

``E = 1/2 k_r (dr)^2 + 1/2 k_m d^2 (dt_m)^2 + 1/2 k_x d^2 (dt_x)^2 + 1/2 k_v d^2 (dt_v)^2``

with the bond length d, the angles t_m between two bonds of a metal to the same layer, t_x between
two bonds of a chalcogen, and t_v between the bonds of a metal to the two chalcogens of a column.
Every term is invariant to rotations, so that the far field is that of an elastic sheet, whose
constants, with the sublattices free to shift, follow in closed form.

Seen along the normal, only what is even under the mirror of the metals' plane moves columns: the
metal in the plane, both chalcogens alike in the plane, and their distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ..materials import Material
from ..types import BoolArray, DefectStrainError, FloatArray
from .elastic_constants import ElasticConstants

CONSTANTS = ("stretch", "bend at the metal", "bend at the chalcogen", "bend of the column")
"""The four force constants in the order in which they are given [N/m]."""

MATCHED = 0.01
"""Elastic constants are matched to this fraction, or the model is refused."""
OPTICAL_WEIGHT, ALIKE_WEIGHT = 0.01, 0.001
"""Weights of a relative deviation of an optical frequency, and of the logarithm of the ratio of two
bending constants, beside a relative deviation of an elastic constant."""

_CM = 2.0 * np.pi * 2.99792458e10  # rad/s of 1/cm
_DALTON_KG = 1.66053906660e-27
_MASS = {"S": 32.06, "Se": 78.971, "Te": 127.60, "Mo": 95.95, "W": 183.84}  # IUPAC [Da]
_OPTICAL_CM = {
    "MoS2": (384.0, 403.0),
    "MoSe2": (287.0, 240.5),
    "WS2": (356.0, 417.0),
    "WSe2": (250.0, 250.0),
}
"""Raman shifts of E' and A1' of monolayers [1/cm]: Tonndorf et al. 2013, doi:10.1364/OE.21.004908,
of WS2 Berkdemir et al. 2013, doi:10.1038/srep01755."""


@dataclass(frozen=True)
class _Term:
    """A stretching or bending: its constant's number, and its change by each atom it holds."""

    constant: int
    kind: tuple[int, ...]  # 0 metal, 1 upper and 2 lower chalcogen
    place: FloatArray  # (n, 3), where the atoms are [pm]
    change: FloatArray  # (n, 3), by their displacements


@dataclass(frozen=True)
class LatticeModel:
    """A valence force field of a 2H monolayer in the lattice frame.

    Parameters
    ----------
    lattice_pm, thickness_pm : float
        Lattice constant and distance of the two chalcogen layers [pm].
    force_n_per_m : tuple of 4 float
        The constants of `CONSTANTS` [N/m].
    """

    lattice_pm: float
    thickness_pm: float
    force_n_per_m: tuple[float, ...]

    @property
    def cell_area_pm2(self) -> float:
        """Of the unit cell [pm^2]."""
        return float(np.sqrt(0.75) * self.lattice_pm**2)

    @cached_property
    def elastic(self) -> ElasticConstants:
        """Elastic constants of the sheet with free inner shifts [N/m]."""
        plain, mixed, inner = self._second_derivatives
        c = (plain - mixed @ np.linalg.solve(inner, mixed.T)) / self.cell_area_pm2
        return ElasticConstants(float(c[0, 0]), float(c[0, 1]), "the lattice model")

    def optical_cm(self, metal_da: float, chalcogen_da: float) -> tuple[float, float]:
        """Frequencies of E' and A1' at the zone's centre by the masses [Da], in 1/cm."""
        _, _, inner = self._second_derivatives
        reduced = 2 * metal_da * chalcogen_da / (metal_da + 2 * chalcogen_da) * _DALTON_KG
        breathing = 2 * chalcogen_da * _DALTON_KG
        shift, height = inner[0, 0], inner[2, 2]
        return (
            float(np.sqrt(max(shift, 0.0) / reduced)) / _CM,
            float(np.sqrt(max(height, 0.0) / breathing)) / _CM,
        )

    @cached_property
    def _second_derivatives(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of a cell's energy by (exx, eyy, 2 exy), and by (shift x, y, half the growth in z)."""
        constant, *squares = _by_strain_and_shift(self.lattice_pm, self.thickness_pm)
        k = np.asarray(self.force_n_per_m)[constant, None, None]
        plain, mixed, inner = ((k * square).sum(axis=0) for square in squares)
        return plain, mixed, inner

    def dynamical(self, q_per_pm: FloatArray) -> FloatArray:
        """Second derivatives of the energy in the even sector, complex `(Q, 5, 5)` [N/m].

        Rows are the metal's x and y, the chalcogens' common x and y, and half their growth in
        distance, each the displacement of one atom; phases are those of the atoms' own places.

        Parameters
        ----------
        q_per_pm : array, `(Q, 2)`
            Wave vectors [rad/pm].
        """
        d = np.zeros((len(q_per_pm), 5, 5), dtype=complex)
        for term in _terms(self.lattice_pm, self.thickness_pm):
            phase = np.exp(1j * q_per_pm @ term.place[:, :2].T)  # (q, n)
            b = np.zeros((len(q_per_pm), 5), dtype=complex)
            for n, kind in enumerate(term.kind):
                at = 0 if kind == 0 else 2
                b[:, at : at + 2] += phase[:, n, None] * term.change[n, :2]
                if kind:
                    b[:, 4] += phase[:, n] * term.change[n, 2] * (1.0 if kind == 1 else -1.0)
            d += self.force_n_per_m[term.constant] * b.conj()[:, :, None] * b[:, None, :]
        return d

    def response(
        self,
        place_pm: FloatArray,
        is_metal: BoolArray,
        force_place_pm: FloatArray,
        force_on_metal: BoolArray,
        force: FloatArray,
        cells: int,
    ) -> FloatArray:
        """Displacement of columns by forces on columns, in a periodic supercell of fixed shape.

        Parameters
        ----------
        place_pm : array, `(M, 2)`
            Columns whose displacement is asked for, relative to the chalcogen column at the origin.
        is_metal : array of bool, `(M,)`
        force_place_pm : array, `(F, 2)`
            Columns that forces act on.
        force_on_metal : array of bool, `(F,)`
        force : array, `(P, F, 2)`
            Patterns of forces on whole columns, each of which adds up to none on either
            sublattice; in pm N/m (1e-12 N).
        cells : int
            Unit cells along a side of the supercell.

        Returns
        -------
        array, `(P, M, 2)`
            [pm], without a mean shift of the lattice.
        """
        q = _wave_vectors(self.lattice_pm, cells)
        inverse = _inverse(self, cells)
        at = np.exp(-1j * q @ force_place_pm.T)  # (q, f)
        source = np.zeros((len(q), 5, len(force)), dtype=complex)
        for first, chosen in ((0, force_on_metal), (2, ~force_on_metal)):
            source[:, first : first + 2] = np.einsum("qf,pfi->qip", at[:, chosen], force[:, chosen])
        wave = inverse @ source  # (q, 5, p)
        back = np.exp(1j * q @ place_pm.T) / cells**2  # (q, m)
        found = np.empty((len(force), len(place_pm), 2))
        for first, chosen in ((0, is_metal), (2, ~is_metal)):
            u = np.tensordot(back[:, chosen], wave[:, first : first + 2], (0, 0))  # (m, 2, p)
            found[:, chosen] = u.real.transpose(2, 0, 1)
        return found


def lattice_model(
    material: Material,
    elastic: ElasticConstants | None,
    lattice_pm: float,
    force_n_per_m: Sequence[float] = (),
) -> LatticeModel:
    """The force field of a material, by its elastic constants.

    C11 and C12 are matched; of the fields that do, the one whose optical frequencies at the zone's
    centre are nearest to the measured ones (E' and A1' by Raman scattering) is taken; where these
    are not known, the one whose bending constants are most alike.

    Parameters
    ----------
    material : Material
    elastic : ElasticConstants or None
        None only beside a force field of one's own.
    lattice_pm : float
        Lattice constant of the columns whose displacements are asked for [pm].
    force_n_per_m : sequence of 4 float, optional
        A force field of one's own, see `CONSTANTS`; then nothing is matched [N/m].

    Raises
    ------
    DefectStrainError
        If no positive force constants give these elastic constants, or those given hold no sheet
        together.
    """
    if force_n_per_m:
        k = tuple(float(v) for v in force_n_per_m)
        return _stable(LatticeModel(lattice_pm, material.thickness_pm, k))
    if elastic is None:
        raise DefectStrainError(
            f"lattice statics of {material.name}: got no elastic constants, expected C11 and C12 "
            "in N/m, or force constants; none are known of this material"
        )
    return _matched(material.name, lattice_pm, material.thickness_pm, elastic.c11, elastic.c12)


@lru_cache(maxsize=16)
def _matched(name: str, a: float, thickness: float, c11: float, c12: float) -> LatticeModel:
    metal, chalcogen = _split(name)
    optical = _OPTICAL_CM.get(name)

    def model(log_k: FloatArray) -> LatticeModel:
        return LatticeModel(a, thickness, tuple(np.exp(log_k)))

    def apart(log_k: FloatArray) -> FloatArray:
        tried = model(log_k)
        got = [tried.elastic.c11 / c11 - 1.0, (tried.elastic.c12 - c12) / c11]
        if optical is not None:
            found = tried.optical_cm(_MASS[metal], _MASS[chalcogen])
            got += [OPTICAL_WEIGHT * (f / o - 1.0) for f, o in zip(found, optical, strict=True)]
        got += list(ALIKE_WEIGHT * np.diff(log_k[1:]))
        return np.array(got)

    start = np.log(c11 * np.array([1.0, 0.1, 0.1, 0.1]))
    found = model(least_squares(apart, start, max_nfev=400).x)
    if max(abs(found.elastic.c11 - c11), abs(found.elastic.c12 - c12)) > MATCHED * c11:
        raise DefectStrainError(
            f"elastic constants of {name}: got C11 = {c11:g} and C12 = {c12:g} N/m, expected ones "
            "that bonds and their angles can have (the nearest such: "
            f"{found.elastic.c11:.0f} and {found.elastic.c12:.0f}); give force constants"
        )
    return found


def _split(name: str) -> tuple[str, str]:
    """Metal and chalcogen of a formula."""
    second = next(i for i in range(1, len(name)) if name[i].isupper())
    return name[:second], name[second:].rstrip("2")


@lru_cache(maxsize=16)
def _terms(a: float, thickness: float) -> tuple[_Term, ...]:
    """The terms of a unit cell, whose metal stands at the origin of (x, y, z)."""
    angle = np.deg2rad([90.0, 210.0, 330.0])
    flat = a / np.sqrt(3.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # a chalcogen's metals lie at these angles, so a metal's chalcogens lie opposite
    height = thickness / 2.0
    metal = np.zeros(3)
    terms = []
    for kind, z in ((1, height), (2, -height)):
        around = [np.array([-x, -y, z]) for x, y in flat]
        for place in around:
            terms.append(_stretch((0, kind), metal, place))
        for i, j in ((0, 1), (1, 2), (2, 0)):
            terms.append(_bend(1, (0, kind, kind), metal, around[i], around[j]))
        own = around[0]
        metals = [own + np.array([x, y, -z]) for x, y in flat]
        for i, j in ((0, 1), (1, 2), (2, 0)):
            terms.append(_bend(2, (kind, 0, 0), own, metals[i], metals[j]))
    for x, y in flat:
        above, below = np.array([-x, -y, height]), np.array([-x, -y, -height])
        terms.append(_bend(3, (0, 1, 2), metal, above, below))
    return tuple(terms)


@lru_cache(maxsize=16)
def _by_strain_and_shift(a: float, thickness: float) -> tuple[NDArray[Any], ...]:
    """Constant of each term `(T,)`; what a unit of it adds to second derivatives, 3 `(T, 3, 3)`.

    By the strain twice, by strain and inner shift, by the shift twice.
    """
    strains, shifts, constants = [], [], []
    for term in _terms(a, thickness):
        x, y = term.place[:, 0], term.place[:, 1]
        cx, cy, cz = term.change.T
        strains.append([cx @ x, cy @ y, 0.5 * (cx @ y + cy @ x)])
        kind = np.array(term.kind)
        up = np.where(kind == 1, 1.0, np.where(kind == 2, -1.0, 0.0))
        shifts.append([cx @ (kind > 0), cy @ (kind > 0), cz @ up])
        constants.append(term.constant)
    strain, shift = np.array(strains), np.array(shifts)
    pairs = ((strain, strain), (strain, shift), (shift, shift))
    return np.array(constants), *(left[:, :, None] * right[:, None] for left, right in pairs)


def _stretch(kind: tuple[int, ...], first: FloatArray, second: FloatArray) -> _Term:
    along = (second - first) / np.linalg.norm(second - first)
    return _Term(0, kind, np.array([first, second]), np.array([-along, along]))


def _bend(
    constant: int, kind: tuple[int, ...], apex: FloatArray, first: FloatArray, second: FloatArray
) -> _Term:
    """Bond length times the change of the angle at the apex; both bonds are equally long."""
    length = np.linalg.norm(first - apex)
    e, f = (first - apex) / length, (second - apex) / length
    cosine = float(e @ f)
    sine = np.sqrt(1.0 - cosine**2)
    by_first, by_second = -(f - cosine * e) / sine, -(e - cosine * f) / sine
    change = np.array([-(by_first + by_second), by_first, by_second])
    return _Term(constant, kind, np.array([apex, first, second]), change)


@lru_cache(maxsize=8)
def _wave_vectors(a: float, cells: int) -> FloatArray:
    """Wave vectors of a supercell but zero, `(cells^2 - 1, 2)` [rad/pm]."""
    basis = a * np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    reciprocal = 2.0 * np.pi * np.linalg.inv(basis).T
    step = np.arange(cells) - cells // 2
    index = np.stack(np.meshgrid(step, step, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray(index[index.any(axis=1)] @ reciprocal / cells)


@lru_cache(maxsize=4)
def _inverse(model: LatticeModel, cells: int) -> FloatArray:
    return np.linalg.inv(model.dynamical(_wave_vectors(model.lattice_pm, cells)))


def _stable(model: LatticeModel) -> LatticeModel:
    k = model.force_n_per_m
    if len(k) == len(CONSTANTS) and all(np.isfinite(k)) and min(k) >= 0 and k[0] > 0:
        found = model.elastic
        if found.c11 > abs(found.c12):
            return model
    raise DefectStrainError(
        f"force constants: got {', '.join(f'{v:g}' for v in k)}, expected {len(CONSTANTS)} numbers "
        f"of N/m, none negative, that hold a sheet together: {', '.join(CONSTANTS)}"
    )
