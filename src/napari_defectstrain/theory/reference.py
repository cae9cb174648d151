"""Relaxed structures beside the measurement: as they are, and seen through the microscope.

A reference is compared in two ways: its own displacements at the measured columns, and those that
the same fit finds in images simulated from it with the experiment's column profile and weights
(`through_microscope`), which carry what the measurement itself does to a displacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..columns.averages.measure import ColumnConfig, ColumnFitModel, fit_columns
from ..columns.profiles import FourierWindow
from ..crystal.honeycomb import ideal_sites
from ..crystal.structures import RelaxedColumns, read_relaxed
from ..materials import DEFECT_ROLES, ROLES, WSE2, Material, whole_class
from ..strain.chi_squared import Agreement, agreement, solve_weighted, weighting
from ..strain.displacement import displacement_field, like_measured, predicted_field
from ..types import ClassAverage, DefectStrainError, DisplacementField, FloatArray

BUNDLED = dict(zip(DEFECT_ROLES, [f"{n}_9x9.extxyz" for n in WSE2.defect_names], strict=True))
BUNDLED_PRISTINE = "pristine_9x9.extxyz"
BUNDLED_NOTE = "PBE, unconverged, see reference_structures.md"
"""What must stand beside every result of the bundled structures."""

OUTER_RIM_PM = 500.0
"""Columns this far outside a simulated window still light it."""
MIN_COLUMNS = 3


@dataclass(frozen=True)
class Reference:
    """A relaxed structure of one class.

    Parameters
    ----------
    class_name : str
    name : str
        Of the defect's file.
    columns : RelaxedColumns
    notes : tuple of str
        What to know before one trusts it; stands beside every result.
    """

    class_name: str
    name: str
    columns: RelaxedColumns
    notes: tuple[str, ...] = ()

    @property
    def out_of_plane_pm(self) -> float:
        """Largest change of height of any atom [pm]: how far the projection is justified."""
        return float(np.nanmax(self.columns.out_of_plane_pm))


def bundled_path(name: str) -> Path:
    """Where a bundled structure lies."""
    return Path(str(files("napari_defectstrain.sample_data"))) / name


def bundled_reference(class_name: str, material: Material = WSE2) -> Reference:
    """The bundled relaxed structure of a class of WSe2.

    Raises
    ------
    DefectStrainError
        If there is none for this material or class.
    """
    role = _role_of(class_name, material)
    if material.name != WSE2.name or material.substituent != WSE2.substituent:
        raise DefectStrainError(
            f"reference: none is bundled for {material.label}, only for {WSE2.name}; choose "
            "structure files of your own"
        )
    columns = read_relaxed(bundled_path(BUNDLED[role]), bundled_path(BUNDLED_PRISTINE))
    return Reference(class_name, BUNDLED[role], columns, (BUNDLED_NOTE, *columns.notes))


def load_reference(
    defect: Path, pristine: Path, class_name: str, material: Material = WSE2
) -> Reference:
    """A user's own pair of relaxed structures, see `structures.read_relaxed`.

    Raises
    ------
    DefectStrainError
        If it can't be read, or is of another material or class.
    """
    role = _role_of(class_name, material)
    columns = read_relaxed(defect, pristine)
    if columns.species != (material.metal, material.chalcogen):
        raise DefectStrainError(
            f"{pristine.name}: got {columns.species[0]}{columns.species[1]}2, expected "
            f"{material.name}; choose structures of the material that was measured"
        )
    if columns.substituent not in ("", material.substituent):
        raise DefectStrainError(
            f"{defect.name}: got {columns.substituent} in the place of {material.chalcogen}, "
            f"expected {material.substituent}, as in {class_name}"
        )
    if columns.role != role:
        found = material.class_names[ROLES.index(columns.role)]
        raise DefectStrainError(
            f"{defect.name}: got a structure of {found}, expected one of {class_name}; choose it "
            f"for {found}, or another file"
        )
    return Reference(class_name, defect.name, columns, columns.notes)


def _role_of(class_name: str, material: Material) -> str:
    if whole_class(class_name) not in material.defect_names:
        raise DefectStrainError(
            f"reference: got the class {class_name!r}, expected one of "
            f"{', '.join(material.defect_names)}"
        )
    return material.role_of(class_name)


def reference_field(
    reference: Reference, measured: DisplacementField, a_pm: float
) -> DisplacementField:
    """The structure's own displacements at the measured columns, without errors.

    Parameters
    ----------
    reference : Reference
    measured : DisplacementField
        Gives the columns, and what was taken out of displacements (drift of the far columns).
    a_pm : float
        Lattice constant of the measurement's frame, which all lengths are scaled to [pm].

    Returns
    -------
    DisplacementField

    Raises
    ------
    DefectStrainError
        If a measured column lies beyond the supercell, or is empty in it.
    """
    u = reference.columns.at(measured.site_pm, a_pm)
    predicted = predicted_field(measured.class_name, measured.site_pm, measured.is_metal, u)
    return like_measured(predicted, measured)


def through_microscope(
    reference: Reference,
    models: Mapping[str, ColumnFitModel],
    averages: Mapping[str, ClassAverage],
    defect_free: str,
    config: ColumnConfig | None = None,
    simulated: Mapping[str, ClassAverage] | None = None,
    bias_pm: Mapping[str, FloatArray] | None = None,
) -> DisplacementField:
    """Displacements that the fit finds in images simulated from a reference structure.

    By default both the defect's and the defect-free image are incoherent: columns of the weights
    that were fitted, at the structure's places, each with the class's learnt profile; then fitted
    by the same model, and subtracted, as the measurement was. Without noise.

    Parameters
    ----------
    reference : Reference
    models : mapping of class to ColumnFitModel
        The fits of the measured averages, with a learnt profile.
    averages : mapping of class to ClassAverage
        The measured ones: number of windows, size, step.
    defect_free : str
        The class that displacements are measured against.
    config : ColumnConfig, optional
        Of the fit.
    simulated : mapping of class to ClassAverage, optional
        Images simulated otherwise, of both (`multislice.multislice_average`).
    bias_pm : mapping of class to array, `(M, 2)`, optional
        What was subtracted from the measured positions (`ColumnMeasurement.bias_pm`), and is to be
        subtracted here alike [pm].

    Raises
    ------
    DefectStrainError
        If the class or the defect-free one wasn't fitted, or by single Gaussians, which learn no
        profile.
    """
    images = dict(simulated or {})
    for name in (defect_free, reference.class_name):
        if name in images:
            continue
        if name not in models or name not in averages:
            raise DefectStrainError(
                f"reference: got fits of {', '.join(models) or 'no class'}, expected {name} among "
                "them; average that class too"
            )
        if models[name].profile is None:
            raise DefectStrainError(
                f"reference: the fit of {name} learnt no column profile, expected the model "
                "'profile' or 'gaussians'; a single Gaussian can't be simulated with"
            )
        columns = reference.columns if name == reference.class_name else None
        chalcogen = _typical_chalcogen(models[defect_free])
        images[name] = _simulated(averages[name], models[name], columns, chalcogen)
    fitted = fit_columns(images, config, respond=False)
    found = {name: model.fits for name, model in fitted.items()}
    for name, bias in (bias_pm or {}).items():
        if name in found:
            found[name] = replace(found[name], position_pm=found[name].position_pm - bias)
    return displacement_field(found[reference.class_name], found[defect_free])


def _typical_chalcogen(model: ColumnFitModel) -> float:
    """Weight of a perfect chalcogen column relative to the metal's."""
    return float(np.median(model.fits.weight[~model.fits.is_metal]))


def _simulated(
    average: ClassAverage, model: ColumnFitModel, columns: RelaxedColumns | None, chalcogen: float
) -> ClassAverage:
    """A noise-free class average of the structure; of the perfect lattice where there is none."""
    assert model.profile is not None
    profile = model.profile
    size = average.mean.shape[0]
    window = FourierWindow(size, average.step_pm, profile.cutoff_per_pm)
    corner = size // 2 * average.step_pm * np.sqrt(2.0)
    site, is_metal = ideal_sites(average.a_pm, corner + OUTER_RIM_PM)
    weight = np.where(is_metal, 1.0, chalcogen)
    if columns is not None:
        weight[0] = np.nan_to_num(model.fits.weight[0])  # the defect: sites start at the origin
        site = site + np.nan_to_num(columns.at(site, average.a_pm))
    transfer = profile.transfer(window.kx_per_pm, window.ky_per_pm)
    image = window.image(transfer * window.structure_factor(site, weight))
    height = float(profile.evaluate(np.zeros(1), np.zeros(1))[0])
    return ClassAverage(
        average.class_name,
        image / height,
        np.zeros_like(image),
        average.n,
        0,
        average.step_pm,
        average.a_pm,
        1.0,
    )


@dataclass(frozen=True)
class Amplitude:
    """Best factor of a reference: ``u_measured = s u_reference``.

    Parameters
    ----------
    s, sigma : float
        The factor and its standard error.
    scaled, full : Agreement
        Of the measurement with the reference times `s`, and with the reference as it is.

    Notes
    -----
    If a fraction of the defects were passivated by atoms that undo the relaxation, the class
    average would show ``s = 1 - fraction`` of the displacement: an interpretation, one of several
    (the structure's own errors scale displacements, too).
    """

    s: float
    sigma: float
    scaled: Agreement
    full: Agreement

    @property
    def passivated(self) -> float:
        """``1 - s``, the passivated fraction that `s` would mean; its error is `sigma`."""
        return 1.0 - self.s


def fit_amplitude(
    measured: DisplacementField, reference: DisplacementField, windows: float = np.inf
) -> Amplitude:
    """Least squares of one factor on all columns that both have, weighted by the errors.

    Parameters
    ----------
    measured, reference : DisplacementField
        At the same sites, with the same taken out (`displacement.like_measured`).
    windows : float
        `chi_squared.effective_windows`; by default the covariance counts as exact.

    Raises
    ------
    DefectStrainError
        If the sites differ, the measurement has no errors, or too few columns are in common.
    """
    same = measured.site_pm.shape == reference.site_pm.shape and np.allclose(
        measured.site_pm, reference.site_pm, atol=1.0
    )
    if not same:
        raise DefectStrainError(
            f"amplitude of {measured.class_name}: got a reference at other columns, expected the "
            "measured ones; see like_measured"
        )
    known = np.isfinite(measured.u_pm).all(axis=1) & np.isfinite(reference.u_pm).all(axis=1)
    if known.sum() < MIN_COLUMNS:
        raise DefectStrainError(
            f"amplitude of {measured.class_name}: got {int(known.sum())} columns in common with "
            f"the reference, expected at least {MIN_COLUMNS}"
        )
    rows = np.repeat(known, 2)
    covariance = measured.covariance_pm2[np.ix_(rows, rows)]
    weigh = weighting(covariance, windows, what=f"errors of {measured.class_name}")
    u, v = measured.u_pm[known].ravel(), reference.u_pm[known].ravel()
    (s,), variance, _ = solve_weighted(u, v[:, None], weigh)
    return Amplitude(
        s=float(s),
        sigma=float(np.sqrt(variance[0, 0])),
        scaled=agreement(u - s * v, weigh, v[:, None]),
        full=agreement(u - v, weigh),
    )
