"""One class measured, by elasticity, and by a relaxed structure: the same columns, the same steps.

All three displacement fields have the same taken out, and go through the same interpolation,
smoothing and derivatives, so that no difference between them is made by the analysis. Errors are
those of the windows' scatter and, where the class has an error budget, its systematic parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..columns.averages.measure import ColumnConfig
from ..materials import WSE2, Material
from ..precision.budget import ErrorBudget
from ..strain.chi_squared import effective_windows, with_systematic
from ..strain.displacement import like_measured
from ..strain.field import StrainConfig, strain_field
from ..theory.defect_numbers import (
    INCLUSION,
    LATTICE,
    STRUCTURE,
    DefectNumbers,
    defect_numbers,
)
from ..theory.elastic_constants import TheoryConfig
from ..theory.elasticity import InclusionFit, fit_inclusion
from ..theory.field_symmetry import SymmetryTest, threefold_symmetry
from ..theory.reference import (
    Amplitude,
    Reference,
    fit_amplitude,
    reference_field,
    through_microscope,
)
from ..types import DefectStrainError, DisplacementField, StrainField
from .runs import ClassMeasurement

MEASURED, DIFFERENCE = "measured", "difference"
ELASTIC, ATOMISTIC = INCLUSION, STRUCTURE
ROUTES = ("direct", "microscope")
SAME_SITE_PM = 1.0


@dataclass(frozen=True)
class Comparison:
    """A class average beside the two theories of it.

    Parameters
    ----------
    class_name : str
    displacement : mapping of str to DisplacementField
        ``measured``, ``Eshelby``, where the material's elastic constants are known ``lattice
        statics``, and with a reference ``reference``.
    strain : mapping of str to StrainField
        Of the same but lattice statics, and ``difference``: measured less `difference_to`, with
        the measurement's errors.
    inclusion : InclusionFit
    symmetry : SymmetryTest
        Whether what the inclusion leaves over has the lattice's threefold symmetry.
    reference : Reference or None
    amplitude : Amplitude or None
    numbers : DefectNumbers
        For elastic theory, and which of the theories explains the measurement.
    route : str
        How the reference was compared: one of `ROUTES`.
    windows : float
        Effective number of windows behind the errors.
    difference_to : str
        ``reference`` or ``Eshelby``.
    systematic : bool
        Whether the errors hold the systematic ones of the class's budget.
    """

    class_name: str
    displacement: Mapping[str, DisplacementField]
    strain: Mapping[str, StrainField]
    inclusion: InclusionFit
    symmetry: SymmetryTest
    reference: Reference | None
    amplitude: Amplitude | None
    numbers: DefectNumbers
    route: str
    windows: float
    difference_to: str = ATOMISTIC
    systematic: bool = False


def compare_class(
    measured: Mapping[str, ClassMeasurement],
    class_name: str,
    defect_free: str,
    strain: StrainConfig | None = None,
    reference: Reference | None = None,
    route: str = "microscope",
    columns: ColumnConfig | None = None,
    *,
    found: DisplacementField | None = None,
    target: str = "displacement",
    difference_to: str | None = None,
    systematic: bool = True,
    material: Material = WSE2,
    theory: TheoryConfig | None = None,
) -> Comparison:
    """Fit the elastic model, bring in the reference, and map the strain of all.

    Parameters
    ----------
    measured : mapping of class to ClassMeasurement
        Of `pipeline.measure_classes`: the class and the defect-free one.
    class_name, defect_free : str
    strain : StrainConfig, optional
    reference : Reference, optional
    route : str
        ``microscope``: the reference's images are simulated and measured as the class was;
        ``direct``: its coordinates as they are.
    columns : ColumnConfig, optional
        Of the fit, for the route through the microscope; by default those of the measurement.
    found : DisplacementField, optional
        What `reference_displacement` found for this measurement, reference and route before: it
        does not depend on the settings of the strain.
    target : str
        What the inclusion is fitted to, see `elasticity.fit_inclusion`.
    difference_to : str, optional
        ``reference`` or ``Eshelby``; by default the reference where there is one.
    systematic : bool
        Whether the systematic errors of the class's budget, where it has one, count too.
    material : Material
        Whose elastic constants count.
    theory : TheoryConfig, optional
        Of the numbers for elastic theory.

    Raises
    ------
    DefectStrainError
        If the class has no displacement or no errors, or the reference can't be compared.
    """
    own, base = (_measured(measured, name) for name in (class_name, defect_free))
    if own.displacement is None:
        raise DefectStrainError(
            f"comparison: {class_name} has no displacement, expected a class of defects that was "
            f"measured against {defect_free}"
        )
    windows = _windows_behind(own, base)
    budget = own.budget if systematic else None
    displacement = with_budget(own.displacement, budget)
    inclusion = fit_inclusion(displacement, target, strain, windows)
    fields = {MEASURED: displacement, ELASTIC: inclusion.predicted(displacement)}
    amplitude = None
    if reference is not None:
        if found is None:
            found = reference_displacement(reference, measured, defect_free, route, columns)
        fields[ATOMISTIC] = found
        amplitude = fit_amplitude(displacement, found, windows)
    to = difference_to or (ATOMISTIC if reference is not None else ELASTIC)
    if to not in (ELASTIC, ATOMISTIC) or to not in fields:
        raise DefectStrainError(
            f"comparison of {class_name}: got the difference to {to!r}, expected one of "
            f"{', '.join(list(fields)[1:])}"
        )
    left = replace(displacement, u_pm=displacement.u_pm - fields[to].u_pm)
    maps = {name: strain_field(field, strain) for name, field in fields.items()}
    maps[DIFFERENCE] = strain_field(left, strain)
    numbers = defect_numbers(displacement, material, windows, fields.get(ATOMISTIC), theory)
    if numbers.kanzaki is not None:
        fields[LATTICE] = numbers.kanzaki.predicted(displacement)
    return Comparison(
        class_name=class_name,
        displacement=fields,
        strain=maps,
        inclusion=inclusion,
        symmetry=threefold_symmetry(inclusion.residual, windows),
        reference=reference,
        amplitude=amplitude,
        numbers=numbers,
        route=route,
        windows=windows,
        difference_to=to,
        systematic=budget is not None,
    )


def _windows_behind(own: ClassMeasurement, base: ClassMeasurement) -> float:
    """Effective number of windows that the covariance of a displacement was estimated from.

    An average of every defect counts its columns, but its errors come from as many bands of the
    images as it has windows; and its perfect crystal lies at ideal sites, without any error.
    """
    n, n_base = (
        float(one.average.n if one.columns is None else len(one.columns.influence_pm))
        for one in (own, base)
    )
    exact = not np.any(base.fits.covariance_pm2)
    return effective_windows(n, np.inf if exact else n_base)


def with_budget(displacement: DisplacementField, budget: ErrorBudget | None) -> DisplacementField:
    """A displacement with the systematic errors of a budget added, and its design effect.

    They are taken as independent between columns. A model's error, which columns at like distances
    share, keeps the lattice's symmetry: tests of symmetry count it as noise of both parts.

    Parameters
    ----------
    displacement : DisplacementField
    budget : ErrorBudget or None
        Of the same class; None adds nothing.

    Raises
    ------
    DefectStrainError
        If the budget is of other columns.
    """
    if budget is None:
        return displacement
    distance = np.linalg.norm(displacement.site_pm[:, None] - budget.site_pm, axis=2)
    partner = distance.argmin(axis=1)
    if not (distance[np.arange(len(partner)), partner] < SAME_SITE_PM).all():
        raise DefectStrainError(
            f"error budget of {budget.class_name}: got one of other columns than the displacement "
            f"of {displacement.class_name}, expected the same"
        )
    scattered = replace(
        displacement, covariance_pm2=budget.design_effect * displacement.covariance_pm2
    )
    return with_systematic(scattered, budget.systematic_pm[partner])


def _measured(measured: Mapping[str, ClassMeasurement], name: str) -> ClassMeasurement:
    if name not in measured:
        raise DefectStrainError(
            f"comparison: got measurements of {', '.join(measured) or 'no class'}, expected {name} "
            "among them; average that class too"
        )
    return measured[name]


def reference_displacement(
    reference: Reference,
    measured: Mapping[str, ClassMeasurement],
    defect_free: str,
    route: str = "microscope",
    columns: ColumnConfig | None = None,
) -> DisplacementField:
    """A reference at the measured columns of its class, with the same taken out, without errors.

    Parameters
    ----------
    reference, measured, defect_free, route, columns
        As in `compare_class`.

    Raises
    ------
    DefectStrainError
        If the reference can't be compared with the measurement.
    """
    if route not in ROUTES:
        raise DefectStrainError(
            f"reference: got the route {route!r}, expected one of {', '.join(ROUTES)}"
        )
    own = _measured(measured, reference.class_name)
    assert own.displacement is not None
    if route == "direct":
        return reference_field(reference, own.displacement, own.average.a_pm)
    fitted = {n: m.columns for n, m in measured.items() if m.columns is not None}
    if columns is None and reference.class_name in fitted:
        columns = fitted[reference.class_name].config
    found = through_microscope(
        reference,
        {n: c.model for n, c in fitted.items()},
        {n: measured[n].average for n in fitted},
        defect_free,
        columns,
        bias_pm={n: c.bias_pm for n, c in fitted.items() if c.bias_pm is not None},
    )
    # errors of a noise-free simulation are none; what was taken out is taken out of it anew
    bare = replace(found, covariance_pm2=np.zeros_like(found.covariance_pm2), projection=None)
    return like_measured(bare, own.displacement)
