"""What a measured defect tells elastic theory, and which theory explains it.

The theories are compared in one set of coordinates, those of the displacement's symmetric part,
with one covariance: Eshelby's inclusion (strength and radius), lattice statics (forces on the
nearest shells), and a relaxed structure, as it is and times one factor. Chi squared says whether a
theory agrees, information criteria whether a better one pays for its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..materials import Material
from ..strain.chi_squared import Agreement, agreement, solve_weighted
from ..types import DefectStrainError, DisplacementField, FloatArray
from .elastic_constants import ElasticConstants, TheoryConfig
from .elasticity import inclusion_displacement
from .far_field import FarField, default_near_pm, fit_far_field
from .kanzaki import KanzakiFit, SymmetricData, fit_kanzaki, minus_two_log_likelihood
from .lattice_statics import lattice_model

INCLUSION, LATTICE, STRUCTURE, SCALED = "Eshelby", "lattice statics", "reference", "reference × s"
RADII = 200
DECISIVE = 10.0
"""Differences of information criteria from which on the worse model has next to no support."""


@dataclass(frozen=True)
class ModelFit:
    """One theory of a displacement.

    Parameters
    ----------
    name : str
    n_parameters : int
    agreement : Agreement
    aic, bic : float
        Akaike's and the Bayesian information criterion; only differences mean something.
    strength_pm2, strength_sigma_pm2 : float
        A of its far field and its standard error [pm^2]; NaN where it is none of its numbers.
    """

    name: str
    n_parameters: int
    agreement: Agreement
    aic: float
    bic: float
    strength_pm2: float = np.nan
    strength_sigma_pm2: float = np.nan


@dataclass(frozen=True)
class DefectNumbers:
    """The numbers of a class for elastic theory.

    Parameters
    ----------
    class_name : str
    far : FarField or None
    kanzaki : KanzakiFit or None
    models : tuple of ModelFit
        Of the theories that could be fitted.
    notes : tuple of str
        Why there is no more.
    """

    class_name: str
    far: FarField | None
    kanzaki: KanzakiFit | None
    models: tuple[ModelFit, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> ModelFit | None:
        """The theory of the least Akaike criterion."""
        return min(self.models, key=lambda one: one.aic, default=None)

    def model(self, name: str) -> ModelFit | None:
        """One of the theories."""
        return next((one for one in self.models if one.name == name), None)

    @property
    def said(self) -> dict[str, str]:
        """What the far field says, number by number, for people: with intervals of 95 %."""
        far = self.far
        if far is None:
            return {}
        found = {"2πA": f"{_range(far, far.two_pi_a_pm2, '.0f')} pm²"}
        if far.elastic is not None:
            found["relaxation area"] = f"{_range(far, far.relaxation_area_pm2, '.0f')} pm²"
            found["elastic dipole"] = f"{_range(far, far.dipole_ev, '.2f')} eV"
            found["anisotropy"] = f"p = {far.anisotropy_p:.2f}"
        return found

    @property
    def line(self) -> str:
        """The same in one line."""
        said = self.said
        if not said:
            return f"{self.class_name}: no far field ({'; '.join(self.notes)})"
        numbers = [f"{name} {'= ' if name == '2πA' else ''}{text}" for name, text in said.items()]
        return f"{self.class_name}: {', '.join(numbers)}"

    @property
    def gain(self) -> float:
        """Akaike's criterion of Eshelby's inclusion less that of lattice statics; NaN without."""
        plain, lattice = self.model(INCLUSION), self.model(LATTICE)
        return np.nan if plain is None or lattice is None else plain.aic - lattice.aic

    @property
    def verdict(self) -> str:
        """Whether lattice statics explains what the inclusion leaves over, for people."""
        lattice, gain = self.model(LATTICE), self.gain
        if lattice is None or np.isnan(gain):
            return ""
        if gain > DECISIVE:
            says = f"lattice statics explains more than Eshelby (ΔAIC = {gain:.0f})"
        elif gain < -DECISIVE:
            says = f"Eshelby explains as much with fewer numbers (ΔAIC = {gain:.0f})"
        else:
            says = f"the data do not tell Eshelby from lattice statics (ΔAIC = {gain:.0f})"
        agrees = lattice.agreement.p_value
        return f"{says}; lattice statics: χ²/dof {lattice.agreement.reduced:.2f}, p = {agrees:.2g}"


def _range(far: FarField, number: tuple[float, float], spec: str) -> str:
    low, high = far.interval(number)
    return f"{number[0]:{spec}} ({low:{spec}} to {high:{spec}})"


def defect_numbers(
    displacement: DisplacementField,
    material: Material,
    windows: float = np.inf,
    reference: DisplacementField | None = None,
    config: TheoryConfig | None = None,
    cells: int | None = None,
) -> DefectNumbers:
    """Everything that elastic theory can be told of a measured displacement.

    Parameters
    ----------
    displacement : DisplacementField
        With its covariance.
    material : Material
    windows : float
        `chi_squared.effective_windows`; by default the covariance counts as exact.
    reference : DisplacementField, optional
        A relaxed structure at the same columns, with the same taken out.
    config : TheoryConfig, optional
    cells : int, optional
        Side of the periodic supercell of fixed shape that the displacement is of, in unit cells;
        by default the defect is alone in an endless sheet.

    Returns
    -------
    DefectNumbers
        What can't be told is left out, with a note.

    Raises
    ------
    DefectStrainError
        If the force constants or elastic constants given are those of no stable sheet.
    """
    config = config or TheoryConfig()
    a_pm = default_near_pm(displacement, 1.0)
    elastic = config.elastic(material)
    notes = []
    if elastic is None and not config.force_n_per_m:
        model = None
        notes.append(
            f"no elastic constants of {material.name} are known: no relaxation area, no dipole, no "
            "lattice statics; give C11 and C12"
        )
    else:
        model = lattice_model(material, elastic, a_pm, config.force_n_per_m)
        elastic = elastic or model.elastic
    if displacement.on_metal and model is not None:
        model = None
        notes.append("lattice statics is of defects on chalcogen sites: not compared with it")
    far, kanzaki = None, None
    models: list[ModelFit] = []
    try:
        far = _far_field(displacement, elastic, windows, a_pm, config, cells)
    except DefectStrainError as mistake:
        notes.append(str(mistake))
    try:
        data = SymmetricData.of(displacement, windows)
        models.append(_inclusion(data))
        if model is not None:
            kanzaki = fit_kanzaki(displacement, model, windows, cells)
            models.append(_lattice(kanzaki, data))
        if reference is not None:
            models += _structure(reference, data)
    except DefectStrainError as mistake:
        notes.append(str(mistake))
    return DefectNumbers(displacement.class_name, far, kanzaki, tuple(models), tuple(notes))


def _far_field(
    displacement: DisplacementField,
    elastic: ElasticConstants | None,
    windows: float,
    a_pm: float,
    config: TheoryConfig,
    cells: int | None,
) -> FarField:
    area = np.inf if cells is None else cells**2 * np.sqrt(0.75) * a_pm**2
    near = default_near_pm(displacement, config.far_spacings)
    return fit_far_field(displacement, elastic, windows, near, float(area))


def _inclusion(data: SymmetricData) -> ModelFit:
    """The inclusion of the best radius; the innermost one where smaller ones fit as well."""
    site = data.displacement.site_pm
    radius = np.hypot(*site.T)
    radii = np.linspace(radius[radius > 1.0].min(), radius.max(), RADII)
    units = np.array([inclusion_displacement(site, 1.0, r).ravel() for r in radii])
    design = data.seen(units.T)  # (k, radii)
    x, y = data.weigh.root @ design, data.weigh.root @ data.values
    norm = np.sum(x**2, axis=0)
    best = int(np.argmax((y @ x) ** 2 / norm))
    strength = float(y @ x[:, best] / norm[best])
    jacobian = design[:, [best]]
    if best > 0:
        inner, outer = design[:, best - 1], design[:, min(best + 1, RADII - 1)]
        jacobian = np.stack([design[:, best], strength * (outer - inner)], axis=1)
    _, covariance, _ = solve_weighted(data.values, jacobian, data.weigh)
    left = data.values - strength * design[:, best]
    fitted = _fit(INCLUSION, left, data, jacobian)
    sigma = float(np.sqrt(covariance[0, 0]))
    count = 2  # the radius counts though its best value may be the smallest
    return replace(
        fitted,
        n_parameters=count,
        aic=fitted.aic + 2.0 * (count - fitted.n_parameters),
        bic=float(fitted.bic + (count - fitted.n_parameters) * np.log(data.weigh.rank)),
        strength_pm2=strength,
        strength_sigma_pm2=sigma,
    )


def _lattice(kanzaki: KanzakiFit, data: SymmetricData) -> ModelFit:
    best = kanzaki.best
    k = len(best.force_pn)
    bic = best.misfit + k * np.log(data.weigh.rank)
    return ModelFit(LATTICE, k, best.agreement, best.aic, float(bic), *kanzaki.strength)


def _structure(reference: DisplacementField, data: SymmetricData) -> list[ModelFit]:
    """A relaxed structure as it is, and times the factor that fits best."""
    unknown = ~np.isfinite(reference.u_pm).all(axis=1)
    unknown &= np.isfinite(data.displacement.u_pm).all(axis=1)
    if (np.abs(data.patterns[:, np.repeat(unknown, 2)]) > 1e-9).any():
        raise DefectStrainError(
            f"reference of {reference.class_name}: got none at {int(unknown.sum())} measured "
            "columns, expected all; use a larger supercell or smaller windows"
        )
    # what was taken out of the measurement was taken out of it, too
    shape = data.patterns @ np.nan_to_num(reference.u_pm.ravel())
    found, _, _ = solve_weighted(data.values, shape[:, None], data.weigh)
    none = np.zeros((len(shape), 0))
    return [
        _fit(STRUCTURE, data.values - shape, data, none),
        _fit(SCALED, data.values - found[0] * shape, data, shape[:, None]),
    ]


def _fit(name: str, left: FloatArray, data: SymmetricData, jacobian: FloatArray) -> ModelFit:
    k = jacobian.shape[1]
    misfit = minus_two_log_likelihood(left, data.weigh)
    return ModelFit(
        name=name,
        n_parameters=k,
        agreement=agreement(left, data.weigh, jacobian),
        aic=misfit + 2.0 * k,
        bic=float(misfit + k * np.log(data.weigh.rank)),
    )
