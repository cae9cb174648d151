"""Bootstrap, spacings with their errors, and precision against the number of windows."""

from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest
from class_stage import average_of, bootstrap_positions_refit, measurement, noisy

from napari_defectstrain.columns.averages.measure import (
    ColumnConfig,
    ColumnFitModel,
    ColumnMeasurement,
    fit_columns,
    influence,
)
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.precision.bootstrap import (
    bootstrap_by_image,
    bootstrap_classes,
    bootstrap_displacements,
    bootstrap_positions,
)
from napari_defectstrain.precision.spacings import mean_spacing, nearest_metals, spacing_gradient
from napari_defectstrain.precision.summary import (
    nearest_metal_spacings,
    single_window_spacings,
    spacing_results,
)
from napari_defectstrain.types import ClassAverage, DefectStrainError

A = exact.A_PM
STEP = exact.STEP_PM


def averages_for(
    measured: dict[str, ColumnMeasurement], purity: float = 1.0
) -> dict[str, ClassAverage]:
    blank = np.zeros((3, 3))
    return {
        n: ClassAverage(n, blank, blank, len(m.influence_pm), 2, STEP, A, purity)
        for n, m in measured.items()
    }


def test_bootstrap_has_the_mean_and_the_spread_of_the_windows() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(4, 4))
    shifts = rng.normal(size=(60, 4)) @ root
    shifts -= shifts.mean(axis=0)
    position = np.array([10.0, -3.0, 4.0, 0.5])
    samples = bootstrap_positions(shifts, position, 20000, rng)
    expected = shifts.T @ shifts / (60 * 59)
    # 20 000 samples: the mean to sigma / 141, a covariance to 1 %
    sigma = np.sqrt(np.diag(expected))
    assert np.all(np.abs(samples.mean(axis=0) - position) < 4 * sigma / np.sqrt(20000))
    np.testing.assert_allclose(np.cov(samples.T), expected, atol=0.05 * expected.max())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["profile", "gaussians", "gaussian"])
def test_the_fast_bootstrap_equals_averaging_and_fitting(model: str) -> None:
    # noise as in averages of hundreds of windows: the second order of its shifts is 0.005 pm
    stack = noisy("SV", 40, np.random.default_rng(2), noise=0.02)
    config = ColumnConfig(model=model, compare=False)
    others = {}
    if model == "profile":  # the influence takes it as known: others must tell most of it
        for name in ("2Se", "SeTe"):
            image = exact.average_image(name, 61)
            sem = np.full_like(image, 3e-4)
            others[name] = ClassAverage(name, image, sem, 4000, 0, STEP, A, 1.0)
    found = fit_columns({**others, "SV": average_of(stack)}, config)["SV"]
    response = influence(found, stack)
    slow = bootstrap_positions_refit(stack, others, config, 4, np.random.default_rng(3))
    fast = bootstrap_positions(
        response, found.fits.position_pm.ravel(), 4, np.random.default_rng(3)
    )
    # few windows scatter about their own mean by less than about the true one
    slow = found.fits.position_pm.ravel() + np.sqrt(40 / 39) * (
        slow - found.fits.position_pm.ravel()
    )
    columns = np.ones(len(found.fits.site_pm), dtype=bool)
    if model == "gaussian":
        # single Gaussians choose their pixels anew, with jumps of dim columns; the triangle of
        # metals has none here
        columns = np.isin(np.arange(len(columns)), nearest_metals(*sites_of(found)))
    both = np.repeat(columns, 2)
    np.testing.assert_allclose(fast[:, both], slow[:, both], atol=0.01)
    assert np.std(slow[:, both], axis=0).max() > 0.05


def sites_of(model: ColumnFitModel) -> tuple[np.ndarray, np.ndarray]:
    return model.fits.site_pm, model.fits.is_metal


def test_resampling_images_sees_what_their_windows_share() -> None:
    rng = np.random.default_rng(10)
    image = np.repeat(np.arange(12), 25)
    shared = rng.normal(size=(12, 2))[image]
    shifts = rng.normal(size=(300, 2)) + shared
    shifts -= shifts.mean(axis=0)
    samples = bootstrap_by_image(shifts, image, np.zeros(2), 4000, rng)
    # the variance of the mean is (1 + 1/25) / 12 = 0.087, known from 12 images to 40 %;
    # windows taken as independent give 2 / 300 = 0.007
    variance = samples.var(axis=0)
    assert np.all((variance > 0.03) & (variance < 0.2))
    assert bootstrap_positions(shifts, np.zeros(2), 4000, rng).var(axis=0).max() < 0.01
    # exact for the drawn images: the sum of each, enlarged by 12 / 11
    sums = np.stack([shifts[image == g].sum(axis=0) for g in range(12)]) / 300
    expected = (sums**2).sum(axis=0) * 12 / 11
    np.testing.assert_allclose(variance, expected, rtol=0.12)  # 4000 samples: 2.2 %
    few = bootstrap_by_image(shifts, image // 4, np.zeros(2), 10, rng)
    assert np.isnan(few).all()  # three images tell nothing


def test_bootstraps_of_all_classes() -> None:
    rng = np.random.default_rng(11)
    measured = {
        "2Se": measurement("2Se", 0.0, 200, rng),
        "SV": measurement("SV", -0.05, 100, rng),
    }
    images = {"2Se": np.arange(200) % 8, "SV": np.arange(100) % 8}
    found = bootstrap_classes(measured, images, "2Se", rng, 3000)
    vacancy = found["SV"]
    sigma = measured["SV"].fits.sigma_pm
    np.testing.assert_allclose(vacancy.sigma_pm, sigma, rtol=0.08)  # 3000 samples: 1.3 %
    assert vacancy.sigma_by_image_pm.shape == sigma.shape
    # independent windows: both agree, but 8 images tell their scatter to 27 % only
    assert vacancy.spacing_std_by_image_pm == pytest.approx(vacancy.spacing_pm.std(), rel=0.8)
    assert vacancy.n_images == 8
    alone = bootstrap_classes(measured, {n: 0 * i for n, i in images.items()}, "2Se", rng, 50)
    assert np.isnan(alone["SV"].strain_by_image)
    assert np.isnan(alone["SV"].spacing_std_by_image_pm)


def test_displacement_samples_hold_the_scatter_of_both_classes() -> None:
    rng = np.random.default_rng(12)
    base, other = measurement("2Se", 0.0, 80, rng), measurement("SV", -0.05, 60, rng)
    drawn = bootstrap_displacements(other, base, 4000, np.random.default_rng(1))
    again = bootstrap_displacements(other, base, 4000, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn, again)
    assert drawn.shape == (4000, *other.fits.site_pm.shape)
    u = other.fits.position_pm - base.fits.position_pm
    variance = other.fits.sigma_pm**2 + base.fits.sigma_pm**2
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.12)  # 4000 samples: 2.2 %
    assert np.all(np.abs(drawn.mean(axis=0) - u) < 5 * np.sqrt(variance / 4000))
    fewer = replace(base, fits=replace(base.fits, site_pm=base.fits.site_pm + 5.0))
    with pytest.raises(DefectStrainError, match="expected the same sites"):
        bootstrap_displacements(other, fewer, 10, rng)


def test_three_windows_have_the_precision_of_a_mean_of_three() -> None:
    rng = np.random.default_rng(3)
    shifts = rng.normal(size=(3, 2000))  # 2000 coordinates tell the variance to 4 %
    samples = bootstrap_positions(shifts - shifts.mean(axis=0), np.zeros(2000), 2000, rng)
    assert samples.var(axis=0).mean() == pytest.approx(1 / 3, rel=0.1)


def test_a_bootstrap_of_one_window_does_not_move() -> None:
    samples = bootstrap_positions(
        np.zeros((1, 2)), np.array([1.0, 2.0]), 5, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(samples, np.tile([1.0, 2.0], (5, 1)))


def test_spacings_are_those_of_the_inner_triangle() -> None:
    site, is_metal = ideal_sites(A, 700.0)
    np.testing.assert_allclose(nearest_metal_spacings(site, site, is_metal), A)
    moved = site + 0.0
    moved[np.argmin(np.linalg.norm(site - [0, A / np.sqrt(3)], axis=1))] += [0.0, 3.0]
    three = np.sort(nearest_metal_spacings(np.stack([site, moved]), site, is_metal)[1])
    # two sides of the triangle grow, the third stays
    assert three[0] == pytest.approx(A)
    assert three[1:] == pytest.approx(np.hypot(A / 2, A * np.sqrt(0.75) + 3.0))
    with pytest.raises(DefectStrainError, match="got 0 metal columns"):
        nearest_metal_spacings(site[:1], site[:1], is_metal[:1])


def test_gradient_of_the_spacing_is_its_derivative() -> None:
    site, is_metal = ideal_sites(A, 450.0)
    rng = np.random.default_rng(13)
    position = site + rng.normal(0, 3.0, site.shape)
    gradient = spacing_gradient(position, site, is_metal)
    fits = measurement("SV", 0.0, 3, rng).fits
    step = 1e-3 * rng.normal(size=site.shape)
    change = mean_spacing(fits, position + step) - mean_spacing(fits, position - step)
    # central difference: the third order of 1e-3 pm over 330 pm
    assert change / 2 == pytest.approx(gradient @ step.ravel(), abs=1e-9)


def test_strain_and_its_errors() -> None:
    rng = np.random.default_rng(4)
    measured = {
        "2Se": measurement("2Se", 0.0, 400, rng),
        "SV": measurement("SV", -0.05, 300, rng),
    }
    results = spacing_results(measured, averages_for(measured, 0.97), "2Se", rng, 4000)
    reference, vacancy = results["2Se"], results["SV"]
    assert list(results) == ["2Se", "SV"]
    assert (reference.strain, reference.strain_std, reference.strain_total_std) == (0.0, 0.0, 0.0)
    assert vacancy.strain == pytest.approx(-0.05)
    assert vacancy.spacing_pm == pytest.approx(0.95 * A)
    assert (vacancy.n, vacancy.n_excluded, vacancy.purity) == (300, 2, 0.97)
    assert vacancy.samples_pm.shape == (4000,)
    # each of three columns moves by s outwards, the mean spacing by sqrt(3) s / sqrt(3) = s
    precision = 4.0 / np.sqrt(300)
    assert vacancy.precision_pm == pytest.approx(precision, rel=0.15)
    both = np.hypot(precision / A, 0.95 * 4.0 / np.sqrt(400) / A)
    assert vacancy.strain_std == pytest.approx(both, rel=0.15)
    assert vacancy.strain_total_std == pytest.approx(vacancy.strain_std)  # no budget given


def test_one_window_has_a_spacing_without_a_precision() -> None:
    rng = np.random.default_rng(6)
    measured = {"2Se": measurement("2Se", 0.0, 40, rng), "DV": measurement("DV", -0.08, 1, rng)}
    result = spacing_results(measured, averages_for(measured), "2Se", rng, 100)["DV"]
    assert result.strain == pytest.approx(-0.08)
    assert np.isnan([result.precision_pm, result.strain_std, result.strain_total_std]).all()


def test_a_reference_of_one_window_leaves_strain_without_an_error() -> None:
    rng = np.random.default_rng(6)
    measured = {"2Se": measurement("2Se", 0.0, 1, rng), "DV": measurement("DV", -0.08, 40, rng)}
    result = spacing_results(measured, averages_for(measured), "2Se", rng, 100)["DV"]
    assert np.isfinite(result.precision_pm)
    assert np.isnan([result.strain_std, result.strain_total_std]).all()
    images = {name: np.zeros(len(m.influence_pm), int) for name, m in measured.items()}
    drawn = bootstrap_classes(measured, images, "2Se", rng, 100)
    assert np.isnan(drawn["2Se"].sigma_pm).all()
    assert np.isfinite(drawn["DV"].sigma_pm).all()


def test_a_missing_reference_is_refused() -> None:
    rng = np.random.default_rng(7)
    measured = {"SV": measurement("SV", -0.05, 10, rng)}
    with pytest.raises(DefectStrainError, match="expected the defect-free reference 2Se"):
        spacing_results(measured, averages_for(measured), "2Se", rng, 10)


def test_single_windows_scatter_as_they_were_drawn() -> None:
    measured = measurement("2Se", 0.0, 2000, np.random.default_rng(8), sigma=4.0)
    spacings = single_window_spacings(measured)
    assert spacings.shape == (2000, 3)
    # a spacing is a difference of two columns: sqrt(2) * 4 pm; 6000 values give it to 1 %
    assert spacings.std() == pytest.approx(np.sqrt(2) * 4.0, rel=0.04)
