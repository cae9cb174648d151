"""A measured class beside elasticity and a relaxed structure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import exact_images as exact
import numpy as np
import pytest
from class_stage import average_of, noisy
from class_stage import measurement as windows_of

from napari_defectstrain.columns.averages.measure import ColumnConfig, measure_columns
from napari_defectstrain.crystal.honeycomb import ideal_sites
from napari_defectstrain.pipeline import comparison
from napari_defectstrain.pipeline.comparison import (
    ATOMISTIC,
    DIFFERENCE,
    ELASTIC,
    MEASURED,
    Comparison,
    compare_class,
    reference_displacement,
)
from napari_defectstrain.pipeline.runs import ClassMeasurement
from napari_defectstrain.precision.spacings import SpacingResult
from napari_defectstrain.strain.displacement import displacement_field
from napari_defectstrain.strain.field import StrainConfig
from napari_defectstrain.theory.elasticity import inclusion_displacement
from napari_defectstrain.theory.reference import bundled_reference
from napari_defectstrain.types import ClassAverage, ColumnFits, DefectStrainError, DisplacementField

A_PM, N = exact.A_PM, 2000
SIGMA_PM = 0.3
STRAIN = StrainConfig(step_pm=50.0)


def measurement(name: str, u_pm: np.ndarray | None) -> ClassMeasurement:
    """Of displacements with independent errors; nothing else of it is compared."""
    site, is_metal = ideal_sites(A_PM, 1000.0)
    covariance = SIGMA_PM**2 * np.eye(2 * len(site))
    zero = np.zeros(len(site))
    fits = ColumnFits(name, site, is_metal, site, covariance, zero, zero.astype(int))
    blank = np.zeros((3, 3))
    average = ClassAverage(name, blank, blank, N, 0, 20.0, A_PM, 1.0)
    spacing = SpacingResult(name, N, 0, A_PM, 0.1, 0.0, 0.0, 0.0, 1.0, np.zeros(2))
    field = None if u_pm is None else DisplacementField(name, site, is_metal, u_pm, covariance)
    return ClassMeasurement(average, fits, spacing, np.zeros((N, 3)), displacement=field)


def compared(u_pm: np.ndarray, route: str = "direct") -> Comparison:
    measured = {"2Se": measurement("2Se", None), "SV": measurement("SV", u_pm)}
    return compare_class(measured, "SV", "2Se", STRAIN, bundled_reference("SV"), route)


def noise(seed: int) -> np.ndarray:
    shape = ideal_sites(A_PM, 1000.0)[0].shape
    return np.random.default_rng(seed).normal(0.0, SIGMA_PM, shape)


@pytest.mark.slow
def test_the_structure_that_is_there_agrees_and_elasticity_does_not() -> None:
    site, _ = ideal_sites(A_PM, 1000.0)
    found = compared(bundled_reference("SV").columns.at(site, A_PM) + noise(1))
    assert found.amplitude is not None
    assert found.amplitude.s == pytest.approx(1.0, abs=4 * found.amplitude.sigma)
    # right answers fail once in a thousand seeds; wrong ones are off by tens of sigma
    assert found.amplitude.full.p_value > 1e-3
    assert found.inclusion.agreement.p_value < 1e-6
    assert found.symmetry.symmetric.p_value < 1e-6
    assert found.symmetry.rest.p_value > 1e-3


def test_elasticity_that_is_there_is_not_called_an_oscillation() -> None:
    site, _ = ideal_sites(A_PM, 1000.0)
    found = compared(inclusion_displacement(site, -2500.0, 150.0) + noise(2))
    assert found.inclusion.agreement.p_value > 1e-3
    assert found.symmetry.symmetric.p_value > 1e-3
    assert found.inclusion.strength_pm2 == pytest.approx(
        -2500.0, abs=4 * found.inclusion.strength_sigma_pm2
    )
    assert found.amplitude is not None
    assert found.amplitude.full.p_value < 1e-6


@pytest.mark.slow
def test_the_difference_is_what_is_left_with_the_errors_of_the_measurement() -> None:
    site, _ = ideal_sites(A_PM, 1000.0)
    found = compared(bundled_reference("SV").columns.at(site, A_PM) + noise(3))
    assert set(found.strain) == {MEASURED, ELASTIC, ATOMISTIC, DIFFERENCE}
    for component, values in found.strain[DIFFERENCE].components.items():
        parts = (found.strain[k].components[component] for k in (MEASURED, ATOMISTIC))
        measured, theory = parts
        assert values == pytest.approx(measured - theory, abs=1e-12, nan_ok=True)
        sigma = found.strain[DIFFERENCE].sigma[component]
        assert sigma == pytest.approx(found.strain[MEASURED].sigma[component], nan_ok=True)
        assert not np.nan_to_num(found.strain[ATOMISTIC].sigma[component]).any()


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused() -> None:
    site, _ = ideal_sites(A_PM, 1000.0)
    with pytest.raises(DefectStrainError, match="got the route 'sideways'"):
        compared(noise(4), "sideways")
    measured = {"SV": measurement("SV", noise(4))}
    with pytest.raises(DefectStrainError, match="expected 2Se among them"):
        compare_class(measured, "SV", "2Se")
    with pytest.raises(DefectStrainError, match="2Se has no displacement"):
        compare_class({"2Se": measurement("2Se", None)}, "2Se", "2Se")
    with pytest.raises(DefectStrainError, match="got fits of no class"):
        compared(noise(4), "microscope")


@pytest.mark.slow
def test_a_reference_is_seen_with_the_settings_and_the_correction_of_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = ColumnConfig(model="gaussians", compare=False)
    averages, stacks = {}, {}
    rng = np.random.default_rng(9)
    for name in ("2Se", "SV"):
        stacks[name] = noisy(name, 20, rng)
        averages[name] = average_of(stacks[name])
    fitted = measure_columns(stacks, averages, config)
    assert all(c.config == config for c in fitted.values())
    bias = np.full_like(fitted["SV"].fits.site_pm, 0.5)
    fitted["SV"] = replace(fitted["SV"], bias_pm=bias)
    measured = {}
    for name, c in fitted.items():
        u = displacement_field(c.fits, fitted["2Se"].fits)
        one = measurement(name, None)
        measured[name] = replace(
            one, average=averages[name], fits=c.fits, columns=c, displacement=u
        )
    given: list[Mapping[str, Any]] = []
    plain = comparison.through_microscope

    def noted(*args: Any, **more: Any) -> DisplacementField:
        given.append({"config": args[4], **more})
        return plain(*args, **more)

    monkeypatch.setattr(comparison, "through_microscope", noted)
    reference_displacement(bundled_reference("SV"), measured, "2Se")
    assert given[0]["config"] == config
    np.testing.assert_array_equal(given[0]["bias_pm"]["SV"], bias)
    models = {name: c.model for name, c in fitted.items()}
    asked = (bundled_reference("SV"), models, averages, "2Se", config)
    as_found, less = plain(*asked), plain(*asked, bias_pm={"SV": 3.0 * bias * [1, 0]})
    # a common shift is taken out again; a shift of the nearest columns alone is not
    np.testing.assert_allclose(less.u_pm, as_found.u_pm, atol=1e-6)
    inner = np.hypot(*fitted["SV"].fits.site_pm.T)[:, None] < 250.0
    moved = plain(*asked, bias_pm={"SV": inner * bias})
    assert np.abs(moved.u_pm - as_found.u_pm)[inner[:, 0]].max() > 0.3


def test_averages_of_every_defect_are_known_as_well_as_their_bands_tell() -> None:
    """Their number of columns says nothing of the errors; the perfect crystal has none at all."""
    bands = windows_of("SV", 0.0, 24, np.random.default_rng(0))
    own = replace(measurement("SV", noise(6)), columns=bands)
    base = measurement("2Se", None)
    exact_fits = replace(base.fits, covariance_pm2=np.zeros_like(base.fits.covariance_pm2))
    measured = {"SV": own, "2Se": replace(base, fits=exact_fits, columns=bands)}
    found = compare_class(measured, "SV", "2Se", STRAIN)
    assert found.windows == 23
    assert found.inclusion.agreement.weights == "diagonal"
    assert compared(noise(6)).windows > 1000
