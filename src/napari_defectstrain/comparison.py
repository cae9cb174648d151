"""One class measured, by elasticity, and by a relaxed structure: the same columns, the same steps.

All three displacement fields have the same taken out, and go through the same interpolation,
smoothing and derivatives, so that no difference between them is made by the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .agreement import effective_windows
from .columns import ColumnConfig
from .displacement import like_measured
from .elasticity import InclusionFit, fit_inclusion
from .field_symmetry import SymmetryTest, threefold_symmetry
from .reference import Amplitude, Reference, fit_amplitude, reference_field, through_microscope
from .runs import ClassMeasurement
from .strain import StrainConfig, strain_field
from .types import DefectStrainError, DisplacementField, StrainField

MEASURED, ELASTIC, ATOMISTIC, DIFFERENCE = "measured", "Eshelby", "reference", "difference"
ROUTES = ("direct", "microscope")


@dataclass(frozen=True)
class Comparison:
    """A class average beside the two theories of it.

    Parameters
    ----------
    class_name : str
    displacement : mapping of str to DisplacementField
        ``measured``, ``Eshelby`` and, with a reference, ``reference``.
    strain : mapping of str to StrainField
        Of the same, and ``difference``: measured less reference, or less Eshelby without one; with
        the measurement's errors.
    inclusion : InclusionFit
    symmetry : SymmetryTest
        Whether what the inclusion leaves over has the lattice's threefold symmetry.
    reference : Reference or None
    amplitude : Amplitude or None
    route : str
        How the reference was compared: one of `ROUTES`.
    windows : float
        Effective number of windows behind the errors.
    """

    class_name: str
    displacement: Mapping[str, DisplacementField]
    strain: Mapping[str, StrainField]
    inclusion: InclusionFit
    symmetry: SymmetryTest
    reference: Reference | None
    amplitude: Amplitude | None
    route: str
    windows: float


def compare_class(
    measured: Mapping[str, ClassMeasurement],
    class_name: str,
    defect_free: str,
    strain: StrainConfig | None = None,
    reference: Reference | None = None,
    route: str = "microscope",
    columns: ColumnConfig | None = None,
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
        Of the fit, for the route through the microscope.

    Raises
    ------
    DefectStrainError
        If the class has no displacement or no errors, or the reference can't be compared.
    """
    if route not in ROUTES:
        raise DefectStrainError(
            f"reference: got the route {route!r}, expected one of {', '.join(ROUTES)}"
        )
    own, base = (_measured(measured, name) for name in (class_name, defect_free))
    if own.displacement is None:
        raise DefectStrainError(
            f"comparison: {class_name} has no displacement, expected a class of defects that was "
            f"measured against {defect_free}"
        )
    windows = effective_windows(own.average.n, base.average.n)
    inclusion = fit_inclusion(own.displacement, config=strain, windows=windows)
    fields = {
        MEASURED: own.displacement,
        ELASTIC: inclusion.predicted(own.displacement),
    }
    amplitude = None
    if reference is not None:
        fields[ATOMISTIC] = _atomistic(reference, measured, defect_free, route, columns)
        amplitude = fit_amplitude(own.displacement, fields[ATOMISTIC], windows)
    theory = fields.get(ATOMISTIC, fields[ELASTIC])
    left = replace(own.displacement, u_pm=own.displacement.u_pm - theory.u_pm)
    maps = {name: strain_field(field, strain) for name, field in fields.items()}
    maps[DIFFERENCE] = strain_field(left, strain)
    return Comparison(
        class_name=class_name,
        displacement=fields,
        strain=maps,
        inclusion=inclusion,
        symmetry=threefold_symmetry(inclusion.residual, windows),
        reference=reference,
        amplitude=amplitude,
        route=route,
        windows=windows,
    )


def _measured(measured: Mapping[str, ClassMeasurement], name: str) -> ClassMeasurement:
    if name not in measured:
        raise DefectStrainError(
            f"comparison: got measurements of {', '.join(measured) or 'no class'}, expected {name} "
            "among them; average that class too"
        )
    return measured[name]


def _atomistic(
    reference: Reference,
    measured: Mapping[str, ClassMeasurement],
    defect_free: str,
    route: str,
    columns: ColumnConfig | None,
) -> DisplacementField:
    own = measured[reference.class_name]
    assert own.displacement is not None
    if route == "direct":
        return reference_field(reference, own.displacement, own.average.a_pm)
    fitted = {n: m for n, m in measured.items() if m.columns is not None}
    found = through_microscope(
        reference,
        {n: m.columns.model for n, m in fitted.items() if m.columns is not None},
        {n: m.average for n, m in fitted.items()},
        defect_free,
        columns,
    )
    # errors of a noise-free simulation are none; what was taken out is taken out of it anew
    bare = replace(found, covariance_pm2=np.zeros_like(found.covariance_pm2), projection=None)
    return like_measured(bare, own.displacement)
