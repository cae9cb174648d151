"""Bootstrap, spacings with their errors, and precision against the number of windows."""

import exact_images as exact
import numpy as np
import pytest

from napari_defectstrain.columns import (
    ColumnConfig,
    ColumnFitModel,
    ColumnMeasurement,
    fit_columns,
    influence,
)
from napari_defectstrain.lattice import ideal_sites
from napari_defectstrain.precision import (
    bootstrap_positions,
    bootstrap_positions_refit,
    nearest_metal_spacings,
    single_window_spacings,
    spacing_results,
)
from napari_defectstrain.types import ClassAverage, ClassStack, ColumnFits, DefectStrainError

A = exact.A_PM
STEP = exact.STEP_PM


def stack_of(name: str, windows: np.ndarray) -> ClassStack:
    n = len(windows)
    zeros, pairs = np.zeros(n, int), np.zeros((n, 2))
    return ClassStack(
        name,
        windows,
        STEP,
        A,
        zeros,
        np.arange(n),
        pairs,
        pairs,
        np.ones(n),
        np.ones(n, bool),
        np.full(n, ""),
    )


def average_of(stack: ClassStack, purity: float = 1.0) -> ClassAverage:
    w = stack.windows
    sem = w.std(axis=0, ddof=1) / np.sqrt(len(w))
    return ClassAverage(stack.class_name, w.mean(axis=0), sem, len(w), 0, STEP, A, purity)


def noisy(name: str, n: int, rng: np.random.Generator, noise: float = 0.05) -> ClassStack:
    image = exact.average_image(name, 61)
    return stack_of(name, image + noise * rng.normal(size=(n, *image.shape)))


def measurement(
    name: str, strain: float, n: int, rng: np.random.Generator, sigma: float = 4.0
) -> ColumnMeasurement:
    """A measured class whose metal triangle is strained, without an image behind it."""
    site, is_metal = ideal_sites(A, 450.0)
    position = site * (1.0 + strain * (np.hypot(*site.T) < 200.0))[:, None]
    shifts = rng.normal(0, sigma, (n, 2 * len(site)))
    shifts -= shifts.mean(axis=0)
    fits = ColumnFits(
        name,
        site,
        is_metal,
        position,
        shifts.T @ shifts / (n * max(n - 1, 1)),
        np.ones(len(site)),
        np.zeros(len(site), int),
    )
    none = np.zeros((0, 0))
    model = ColumnFitModel(fits, None, none, none.astype(bool), none, none, none)
    return ColumnMeasurement(fits, shifts, np.zeros((2 * len(site), 1)), position, model)


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
    expected = shifts.T @ shifts / 60**2
    # 20 000 samples: the mean to sigma / 141, a covariance to 1 %
    sigma = np.sqrt(np.diag(expected))
    assert np.all(np.abs(samples.mean(axis=0) - position) < 4 * sigma / np.sqrt(20000))
    np.testing.assert_allclose(np.cov(samples.T), expected, atol=0.05 * expected.max())


@pytest.mark.parametrize("model", ["gaussians", "gaussian"])
def test_the_fast_bootstrap_equals_averaging_and_fitting(model: str) -> None:
    # noise as in averages of hundreds of windows: the second order of its shifts is 0.005 pm
    stack = noisy("SV", 40, np.random.default_rng(2), noise=0.02)
    config = ColumnConfig(model=model)
    found = fit_columns({"SV": average_of(stack)}, config)["SV"]
    response = influence(found, stack)
    slow = bootstrap_positions_refit(stack, {}, config, 6, np.random.default_rng(3))
    fast = bootstrap_positions(
        response, found.fits.position_pm.ravel(), 6, np.random.default_rng(3)
    )
    # single Gaussians choose their pixels anew, with jumps; the inner triangle has none here
    first = 4 if model == "gaussian" else len(found.fits.site_pm)
    columns = np.repeat(np.arange(len(found.fits.site_pm)) < first, 2)
    columns[:2] &= model == "gaussians"
    np.testing.assert_allclose(fast[:, columns], slow[:, columns], atol=0.01)
    assert np.std(slow[:, columns], axis=0).max() > 0.05


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
