"""What a defect's far field says: strength, relaxation area, elastic dipole, with errors.

Far from a point defect that has the lattice's threefold symmetry, the displacement of an isotropic
sheet is ``u = A r / r^2``: no other field of no angular dependence falls off. Of it follow

* ``2 pi A``, the area by which a circle around the defect grows in an endless sheet;
* the relaxation area of a finite sheet with free borders, ``2 pi A * 2 / (1 + nu)``: borders that
  are not held let the defect push further (Eshelby 1956, doi:10.1016/S0081-1947(08)60132-0);
* the elastic dipole ``P = 2 pi A C11``: the energy of the defect in a strain is linear in it,
  ``E = -P_ij e_ij`` (Clouet, Varvenne & Jourdan 2018, doi:10.1016/j.commatsci.2018.01.053).
  Positive pushes outwards.

Nearer, the same symmetry allows fields that fall as ``1 / r^2``: with ``z = x + i y`` and
``u = ux + i uy``, ``i / z^2`` and ``i z / conj(z)^3`` (the next multipole, and what the lattice
itself does at short wave lengths), and ``i / z^2`` of opposite sign on the sublattices (their shift
in a sheared cell). They average to nothing over a circle, not over shells of three columns: they
are fitted along with A, and the error of A holds what they cost.

For a dipole of any shape the displacement is ``u_i = -P_jk d_k G_ij`` with the sheet's Green's
function ``G_ij = (-(1/mu + 1/C11) d_ij ln r + (1/mu - 1/C11) x_i x_j / r^2) / 4 pi``. A defect on a
site of threefold symmetry has ``Pxx = Pyy`` and ``Pxy = 0``: what is measured of the difference is
a test of the measurement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc, stdtrit

from ..strain.chi_squared import Agreement, Weighting, agreement, solve_weighted, weighting
from ..types import DefectStrainError, DisplacementField, FloatArray
from ..units import EV_PER_N_PER_M_PM2
from .elastic_constants import ElasticConstants
from .field_symmetry import symmetry_patterns

MIN_PATTERNS = 8
"""Symmetric patterns of far columns below which four numbers are not fitted."""
SHELLS_TRIED = 4
"""Inner radii beyond the chosen one that the effect of the choice is judged by."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class FarField:
    """A defect's far field.

    Parameters
    ----------
    class_name : str
    strength_pm2, statistical_pm2, radius_effect_pm2 : float
        A [pm^2], its standard error by the scatter of the windows, and what other choices of the
        inner radius change beyond that.
    quantile : float
        Half the interval of `CONFIDENCE` in standard errors (Student's, of the windows).
    near_pm, reach_pm : float
        Radii of the innermost and outermost columns that were used [pm].
    n_columns : int
    agreement : Agreement
        Chi squared of the far field in the symmetric part of the displacement.
    scan_near_pm, scan_strength_pm2, scan_sigma_pm2 : arrays, `(K,)`
        A for other inner radii.
    elastic : ElasticConstants or None
        None where none is known for the material: then there is no relaxation area and no dipole.
    anisotropy_ev, anisotropy_sigma_ev : arrays, `(2,)`
        ``(Pxx - Pyy) / 2`` and ``Pxy`` [eV] and their standard errors; NaN without constants.
    anisotropy_p : float
        Probability of as much anisotropy by noise alone.
    """

    class_name: str
    strength_pm2: float
    statistical_pm2: float
    radius_effect_pm2: float
    quantile: float
    near_pm: float
    reach_pm: float
    n_columns: int
    agreement: Agreement
    scan_near_pm: FloatArray
    scan_strength_pm2: FloatArray
    scan_sigma_pm2: FloatArray
    elastic: ElasticConstants | None
    anisotropy_ev: FloatArray
    anisotropy_sigma_ev: FloatArray
    anisotropy_p: float

    @property
    def sigma_pm2(self) -> float:
        """Standard error of A, of both parts [pm^2]."""
        return float(np.hypot(self.statistical_pm2, self.radius_effect_pm2))

    @property
    def two_pi_a_pm2(self) -> tuple[float, float]:
        """``2 pi A`` and its standard error [pm^2]."""
        return 2 * np.pi * self.strength_pm2, 2 * np.pi * self.sigma_pm2

    @property
    def relaxation_area_pm2(self) -> tuple[float, float]:
        """Change of the area of a sheet with free borders, and its standard error [pm^2]."""
        factor = np.nan if self.elastic is None else 2.0 / (1.0 + self.elastic.poisson)
        value, sigma = self.two_pi_a_pm2
        return factor * value, factor * sigma

    @property
    def dipole_ev(self) -> tuple[float, float]:
        """Isotropic part of the elastic dipole, ``(Pxx + Pyy) / 2``, and its error [eV]."""
        factor = np.nan if self.elastic is None else self.elastic.c11 * EV_PER_N_PER_M_PM2
        value, sigma = self.two_pi_a_pm2
        return factor * value, factor * sigma

    def interval(self, number: tuple[float, float]) -> tuple[float, float]:
        """The interval of `CONFIDENCE` of a number and its standard error."""
        value, sigma = number
        return value - self.quantile * sigma, value + self.quantile * sigma


def fit_far_field(
    displacement: DisplacementField,
    elastic: ElasticConstants | None = None,
    windows: float = np.inf,
    near_pm: float | None = None,
    cell_area_pm2: float = np.inf,
) -> FarField:
    """Fit the far field by generalised least squares.

    Only what has the threefold symmetry is compared for A: it has as many coordinates as there are
    symmetric patterns, a sixth of all, so that the covariance of a few hundred windows can be
    inverted. What inverting an estimated covariance adds to the error is counted (Dodelson &
    Schneider 2013, doi:10.1103/PhysRevD.88.063537).

    Parameters
    ----------
    displacement : DisplacementField
        With its covariance; the prediction loses what was taken out of it.
    elastic : ElasticConstants, optional
    windows : float
        `chi_squared.effective_windows`; by default the covariance counts as exact.
    near_pm : float, optional
        Radius of the nearest columns that count as far; default 1.5 lattice constants [pm].
    cell_area_pm2 : float
        Of a periodic supercell of fixed shape, in which the mean strain is held at zero; by
        default the defect is alone in an endless sheet.

    Raises
    ------
    DefectStrainError
        If there are too few far columns, or their errors are unknown or zero.
    """
    near = default_near_pm(displacement) if near_pm is None else near_pm
    problem = _Problem(displacement, windows, cell_area_pm2)
    shells = problem.shells()
    first = problem.fit(near)
    if first is None:
        raise DefectStrainError(
            f"far field of {displacement.class_name}: got too few columns beyond {near:.0f} pm, "
            f"expected {MIN_PATTERNS} symmetric patterns of them; use larger windows"
        )
    inner = shells[shells >= near - 1.0]
    tried = [(radius, problem.fit(radius)) for radius in inner[: SHELLS_TRIED + 1]]
    scan = [(r, f.strength, f.sigma) for r, f in tried if f is not None]
    table = np.array(scan).T
    anisotropy = _Anisotropy(np.full(2, np.nan), np.full(2, np.nan), np.nan)
    if elastic is not None:
        anisotropy = problem.anisotropy(near, elastic)
    dof = first.dof
    return FarField(
        class_name=displacement.class_name,
        strength_pm2=first.strength,
        statistical_pm2=first.sigma,
        radius_effect_pm2=_radius_effect(table, first),
        quantile=float(stdtrit(dof, 0.5 + CONFIDENCE / 2) if np.isfinite(dof) else 1.959964),
        near_pm=float(inner[0]),
        reach_pm=float(shells[-1]),
        n_columns=first.n_columns,
        agreement=first.agreement,
        scan_near_pm=table[0],
        scan_strength_pm2=table[1],
        scan_sigma_pm2=table[2],
        elastic=elastic,
        anisotropy_ev=anisotropy.value,
        anisotropy_sigma_ev=anisotropy.sigma,
        anisotropy_p=anisotropy.p_value,
    )


def default_near_pm(displacement: DisplacementField, spacings: float = 1.5) -> float:
    """So many lattice constants, by the nearest metal columns [pm]."""
    radius = np.hypot(*displacement.site_pm[displacement.is_metal].T)
    return float(spacings * np.sqrt(3.0) * radius.min(initial=np.inf))


def dipole_displacement(
    offset_pm: FloatArray, dipole_pm2: FloatArray, elastic: ElasticConstants
) -> FloatArray:
    """Displacement around an elastic dipole in an isotropic sheet, `(..., 2)` [pm].

    Parameters
    ----------
    offset_pm : array, `(..., 2)`
        Places (x, y) outside of the origin [pm].
    dipole_pm2 : array, `(2, 2)`
        Symmetric, in units of ``2 pi C11``: the unit matrix times A for an isotropic one [pm^2].
    elastic : ElasticConstants
    """
    p = 2 * np.pi * np.asarray(dipole_pm2, float)  # P / C11
    both = elastic.c11 / elastic.shear + 1.0
    other = elastic.c11 / elastic.shear - 1.0
    r2 = np.sum(np.square(offset_pm), axis=-1, keepdims=True)
    moved = offset_pm @ p
    along = np.sum(moved * offset_pm, axis=-1, keepdims=True)
    # -P_jk d_k G_ij, term by term
    total = -both * moved + other * (moved + np.trace(p) * offset_pm - 2 * along * offset_pm / r2)
    return np.asarray(-total / (4 * np.pi * r2))


@dataclass(frozen=True)
class _Fit:
    strength: float
    sigma: float
    dof: float
    n_columns: int
    agreement: Agreement


@dataclass(frozen=True)
class _Anisotropy:
    value: FloatArray
    sigma: FloatArray
    p_value: float


def even_weighting(covariance: FloatArray, windows: float, class_name: str) -> Weighting:
    """Inverse covariance where there are windows enough, else the same weight for all patterns.

    Variances of a few windows are no good weights: patterns whose scatter is small by chance count
    too much, and their error is believed too small.

    Parameters
    ----------
    covariance : array, `(n, n)`
        Of patterns; what was taken out of the field has no variance.
    windows : float
    class_name : str
        For messages.
    """
    variance = np.diag(covariance)
    floor = 1e-12 * float(variance.max(initial=0.0))
    if floor > 0:  # leaves other patterns as they are
        covariance = covariance + np.diag(np.where(variance <= floor, floor, 0.0))
    found = weighting(covariance, windows, what=f"errors of {class_name}")
    if found.weights == "full":
        return found
    scale = np.sqrt(np.mean(np.diag(covariance)))
    return replace(found, root=np.eye(len(covariance)) / scale)


class _Problem:
    """A displacement divided by its symmetry, and the fields that are fitted to it."""

    def __init__(
        self, displacement: DisplacementField, windows: float, cell_area_pm2: float
    ) -> None:
        self.displacement, self.windows = displacement, windows
        missing = np.repeat(~np.isfinite(displacement.u_pm).all(axis=1), 2)
        self.u = np.where(missing, 0.0, displacement.u_pm.ravel())
        known = np.where(missing[:, None] | missing, 0.0, displacement.covariance_pm2)
        self.covariance = known
        self.radius = np.hypot(*displacement.site_pm.T)
        self.symmetric, self.rest = symmetry_patterns(displacement)
        self.cell_area_pm2 = cell_area_pm2

    def shells(self) -> FloatArray:
        """Radii of the columns whose images are all known, each once [pm]."""
        used = np.abs(self.symmetric).sum(axis=0).reshape(-1, 2).sum(axis=1) > 0
        return np.asarray(np.unique(np.round(self.radius[used], 0)))

    def _beyond(self, patterns: FloatArray, near_pm: float) -> FloatArray:
        """Patterns of columns beyond a radius: each pattern is of one shell."""
        inside = np.repeat(self.radius < near_pm - 1.0, 2)
        return np.asarray(patterns[~(np.abs(patterns[:, inside]) > 1e-9).any(axis=1)])

    def fit(self, near_pm: float) -> _Fit | None:
        patterns = self._beyond(self.symmetric, near_pm)
        if len(patterns) < MIN_PATTERNS:
            return None
        design = patterns @ self._taken_out(self._fields())
        weigh = self._weighting(patterns)
        data = patterns @ self.u
        found, covariance, dof = solve_weighted(data, design, weigh)
        used = np.abs(patterns).sum(axis=0).reshape(-1, 2).sum(axis=1) > 0
        return _Fit(
            strength=float(found[0]),
            sigma=float(np.sqrt(covariance[0, 0])),
            dof=dof,
            n_columns=int(used.sum()),
            agreement=agreement(data - design @ found, weigh, design),
        )

    def anisotropy(self, near_pm: float, elastic: ElasticConstants) -> _Anisotropy:
        """The dipole's parts without threefold symmetry, in what the symmetric fit leaves alone."""
        patterns = self._beyond(self.rest, near_pm)
        apart = self.radius[:, None] > 1.0
        site = np.where(apart, self.displacement.site_pm, 1.0)
        shapes = (np.diag([1.0, -1.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
        fields = [(apart * dipole_displacement(site, s, elastic)).ravel() for s in shapes]
        design = patterns @ self._taken_out(np.array(fields).T)
        weigh = self._weighting(patterns)
        found, covariance, dof = solve_weighted(patterns @ self.u, design, weigh)
        factor = 2 * np.pi * elastic.c11 * EV_PER_N_PER_M_PM2
        squared = float(found @ np.linalg.solve(covariance, found))
        # Hotelling's T^2 of two numbers
        left = dof - 1.0 if np.isfinite(dof) else 1e9
        p = float(fdtrc(2, left, squared * left / (2.0 * (left + 1.0))))
        return _Anisotropy(factor * found, factor * np.sqrt(np.diag(covariance)), p)

    def _weighting(self, patterns: FloatArray) -> Weighting:
        noise = patterns @ self.covariance @ patterns.T
        return even_weighting(noise, self.windows, self.displacement.class_name)

    def _taken_out(self, fields: FloatArray) -> FloatArray:
        operator = self.displacement.projection
        return fields if operator is None else np.asarray(operator @ fields)

    def _fields(self) -> FloatArray:
        """A's field and those that fall faster, `(2M, 4)`; the last three in units of their own."""
        place = self.displacement.site_pm @ [1.0, 1j]
        apart = self.radius > 1.0
        z = np.where(apart, place, 1.0)
        unit = float(np.median(self.radius))
        dipole = apart / z.conj()
        if np.isfinite(self.cell_area_pm2):  # growth that the fixed cell holds back
            dipole = dipole - np.pi / self.cell_area_pm2 * place
        near = apart * unit * 1j / z**2
        bent = apart * unit * 1j * z / z.conj() ** 3
        sign = np.where(self.displacement.is_metal, 1.0, -1.0)
        fields = np.stack([dipole, near, bent, sign * near])
        return np.stack([fields.real, fields.imag], axis=2).reshape(4, -1).T


def _radius_effect(table: FloatArray, first: _Fit) -> float:
    """Scatter of A over inner radii, beyond what fewer columns explain.

    A of fewer columns differs from that of all by noise of the variance that it has more
    (Hausman 1978, doi:10.2307/1913827).
    """
    strength, sigma = table[1][1:], table[2][1:]
    if len(strength) == 0:
        return 0.0
    by_noise = np.maximum(sigma**2 - first.sigma**2, 0.0)
    excess = np.mean((strength - first.strength) ** 2 - by_noise)
    return float(np.sqrt(max(excess, 0.0)))
