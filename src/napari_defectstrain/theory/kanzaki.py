"""Lattice statics of a point defect: forces on the columns around it, fitted to displacements.

A defect pulls and pushes at its neighbours. Kanzaki's forces are those on the *perfect* harmonic
lattice that displace it as the defect does (Kanzaki 1957, doi:10.1016/0022-3697(57)90003-3), on
the nearest shells of columns alone, with the threefold symmetry of the site: one number for a shell
of three, two for one of six. The lattice answers with its own wave lengths: beside ``A / r`` the
field oscillates from shell to shell, which no inclusion in a continuum can.

Displacements are linear in the forces, and so is the far field: ``A = sum(F . r) / (4 pi C11)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..crystal.honeycomb import ideal_sites
from ..strain.chi_squared import Agreement, Weighting, agreement, solve_weighted
from ..strain.displacement import like_measured, predicted_field
from ..types import BoolArray, DefectStrainError, DisplacementField, FloatArray
from ..units import EV_PER_N_PER_M_PM2
from .far_field import even_weighting
from .field_symmetry import symmetry_patterns
from .lattice_statics import LatticeModel

SHELLS = 4
"""Shells that forces are tried on, from the nearest one outwards: metals at 0.58 a, chalcogens at
a, metals at 1.15 and 1.53 a."""
CELLS = 30
"""Side of the supercell that stands for an endless sheet, in unit cells."""
SAME_SHELL_PM = 2.0


@dataclass(frozen=True)
class ShellFit:
    """Forces on so many shells, fitted.

    Parameters
    ----------
    shells : int
    force_pn, force_sigma_pn : arrays, `(K,)`
        Of each pattern: the root of the sum of squares of its forces, positive outwards (of shells
        of six a second one, across) [pN].
    strength_pm2, strength_sigma_pm2 : float
        A of the far field [pm^2].
    agreement : Agreement
    misfit : float
        ``-2 log(likelihood)``, see `minus_two_log_likelihood`.
    """

    shells: int
    force_pn: FloatArray
    force_sigma_pn: FloatArray
    strength_pm2: float
    strength_sigma_pm2: float
    agreement: Agreement
    misfit: float

    @property
    def aic(self) -> float:
        """Akaike's information criterion (doi:10.1109/TAC.1974.1100705)."""
        return self.misfit + 2.0 * len(self.force_pn)


@dataclass(frozen=True)
class KanzakiFit:
    """The forces that displace the lattice as was measured.

    Parameters
    ----------
    class_name : str
    model : LatticeModel
    tried : tuple of ShellFit
        From one shell on.
    site_pm, u_pm : arrays, `(M, 2)`
        Sites that were measured, and the displacement by the best fit there, nothing taken out
        [pm].
    """

    class_name: str
    model: LatticeModel
    tried: tuple[ShellFit, ...]
    site_pm: FloatArray
    u_pm: FloatArray

    @property
    def best(self) -> ShellFit:
        """That of the least `aic`."""
        return min(self.tried, key=lambda one: one.aic)

    @property
    def strength(self) -> tuple[float, float]:
        """A of the best fit and its standard error [pm^2].

        The error holds that of the choice: the squared deviations of other fits count by their
        Akaike weights (Burnham & Anderson 2004, doi:10.1177/0049124104268644).
        """
        best = self.best
        weight = np.exp(-0.5 * np.array([one.aic - best.aic for one in self.tried]))
        apart = [
            one.strength_sigma_pm2**2 + (one.strength_pm2 - best.strength_pm2) ** 2
            for one in self.tried
        ]
        return best.strength_pm2, float(np.sqrt(np.average(apart, weights=weight)))

    @property
    def dipole_ev(self) -> tuple[float, float]:
        """Elastic dipole and its standard error [eV]."""
        factor = 2 * np.pi * self.model.elastic.c11 * EV_PER_N_PER_M_PM2
        value, sigma = self.strength
        return factor * value, factor * sigma

    def predicted(self, measured: DisplacementField) -> DisplacementField:
        """The model at the measured columns, with the same taken out."""
        plain = predicted_field(self.class_name, self.site_pm, measured.is_metal, self.u_pm)
        return like_measured(plain, measured)


def fit_kanzaki(
    displacement: DisplacementField,
    model: LatticeModel,
    windows: float = np.inf,
    cells: int | None = None,
) -> KanzakiFit:
    """Fit Kanzaki's forces on the nearest one, two, ... `SHELLS` shells to a displacement.

    Least squares of the displacement's symmetric part, weighted by its covariance.

    Parameters
    ----------
    displacement : DisplacementField
        With its covariance.
    model : LatticeModel
        Of the same lattice constant.
    windows : float
        `chi_squared.effective_windows`; by default the covariance counts as exact.
    cells : int, optional
        Of a periodic supercell of fixed shape that the displacement is of, unit cells along a side;
        by default the defect is alone in an endless sheet.

    Raises
    ------
    DefectStrainError
        If there are too few columns, or their errors are unknown or zero.
    """
    data = SymmetricData.of(displacement, windows)
    site, is_metal = displacement.site_pm, displacement.is_metal
    place, on_metal, force, shell = force_patterns(model.lattice_pm)
    fields = model.response(site, is_metal, place, on_metal, force, cells or CELLS)
    strength = np.einsum("pfi,fi->p", force, place) / (4 * np.pi * model.elastic.c11)
    if cells is None:  # an endless sheet would grow by as much more
        area = CELLS**2 * model.cell_area_pm2
        fields = fields + (np.pi / area * strength)[:, None, None] * site
    design = data.seen(fields.reshape(len(force), -1).T)
    tried = []
    for shells in range(1, SHELLS + 1):
        use = shell < shells
        if use.sum() >= len(data.values):
            break
        found, covariance, _ = solve_weighted(data.values, design[:, use], data.weigh)
        left = data.values - design[:, use] @ found
        tried.append(
            ShellFit(
                shells=shells,
                force_pn=found,
                force_sigma_pn=np.sqrt(np.diag(covariance)),
                strength_pm2=float(strength[use] @ found),
                strength_sigma_pm2=float(np.sqrt(strength[use] @ covariance @ strength[use])),
                agreement=agreement(left, data.weigh, design[:, use]),
                misfit=minus_two_log_likelihood(left, data.weigh),
            )
        )
    if not tried:
        raise DefectStrainError(
            f"lattice statics of {displacement.class_name}: got {len(data.values)} symmetric "
            "patterns of columns, expected more; use larger windows"
        )
    fit = KanzakiFit(displacement.class_name, model, tuple(tried), site, np.zeros_like(site))
    best = fit.best
    u = np.tensordot(best.force_pn, fields[shell < best.shells], 1)
    return KanzakiFit(fit.class_name, model, fit.tried, site, u)


def force_patterns(a_pm: float) -> tuple[FloatArray, BoolArray, FloatArray, FloatArray]:
    """Patterns of forces of threefold symmetry on the nearest shells.

    Returns
    -------
    array, `(F, 2)`, array of bool, `(F,)`
        Columns that forces act on [pm], and which are metal.
    array, `(P, F, 2)`
        Patterns of unit norm; the first of each shell points outwards.
    array of int, `(P,)`
        Shell of each pattern, from 0 outwards.
    """
    site, is_metal = ideal_sites(a_pm, 1.6 * a_pm)
    radius = np.hypot(*site.T)
    nothing = np.zeros((2 * len(site), 2 * len(site)))
    flat = DisplacementField("", site, is_metal, np.zeros_like(site), nothing)
    symmetric, _ = symmetry_patterns(flat)
    shape = symmetric.reshape(len(symmetric), -1, 2)
    of_pattern = np.array([radius[np.abs(p).sum(axis=1) > 1e-9].mean() for p in shape])
    patterns: list[FloatArray] = []
    shells: list[int] = []
    kinds = np.unique(np.round(of_pattern[of_pattern > SAME_SHELL_PM] / SAME_SHELL_PM))
    for number, kind in enumerate(kinds[:SHELLS]):
        own = np.abs(of_pattern - kind * SAME_SHELL_PM) <= SAME_SHELL_PM
        at = np.abs(radius - kind * SAME_SHELL_PM) <= SAME_SHELL_PM
        outward = np.where(at[:, None], site, 0.0)
        outward /= np.linalg.norm(outward)
        patterns.append(outward)
        for across in shape[own]:
            rest = across - np.sum(across * outward) * outward
            if np.linalg.norm(rest) > 0.5:
                patterns.append(rest / np.linalg.norm(rest))
                break
        shells += [number] * (len(patterns) - len(shells))
    return site, is_metal, np.array(patterns), np.array(shells)


@dataclass(frozen=True)
class SymmetricData:
    """The symmetric part of a displacement, as coordinates with weights.

    Parameters
    ----------
    displacement : DisplacementField
    patterns : array, `(K, 2M)`
    values : array, `(K,)`
    weigh : Weighting
    """

    displacement: DisplacementField
    patterns: FloatArray
    values: FloatArray
    weigh: Weighting

    @classmethod
    def of(cls, displacement: DisplacementField, windows: float) -> SymmetricData:
        """Of all columns whose images under the symmetry are known."""
        patterns, _ = symmetry_patterns(displacement)
        missing = np.repeat(~np.isfinite(displacement.u_pm).all(axis=1), 2)
        known = np.where(missing[:, None] | missing, 0.0, displacement.covariance_pm2)
        u = np.where(missing, 0.0, displacement.u_pm.ravel())
        weigh = even_weighting(patterns @ known @ patterns.T, windows, displacement.class_name)
        return cls(displacement, patterns, patterns @ u, weigh)

    def seen(self, fields: FloatArray) -> FloatArray:
        """Coordinates of models' fields `(2M, ...)`, with the same taken out."""
        operator = self.displacement.projection
        taken = fields if operator is None else operator @ fields
        return np.asarray(self.patterns @ taken)


def minus_two_log_likelihood(residual: FloatArray, weigh: Weighting) -> float:
    """Of a residual, but for a constant.

    With the inverse of a covariance that was estimated from n windows the likelihood is a
    multivariate t's, ``(n + 1) log(1 + chi2 / n)`` (Sellentin & Heavens 2016,
    doi:10.1093/mnrasl/slv190). With even weights chi squared is divided by what correlation makes
    of it, as its distribution is (`chi_squared.agreement`).
    """
    z = weigh.root @ residual
    chi2 = float(z @ z)
    if weigh.weights == "full":
        n = weigh.windows
        return chi2 if not np.isfinite(n) else (n + 1.0) * float(np.log1p(chi2 / n))
    correlation = weigh.root @ weigh.covariance @ weigh.root.T
    mean = float(np.trace(correlation))
    # the square of an estimated correlation is too large by its own scatter
    spread = max(float(np.sum(correlation**2)) - mean**2 / weigh.windows, mean**2 / len(z))
    return chi2 * mean / spread
