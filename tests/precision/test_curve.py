"""Precision and signal to noise against the number of windows, and the fit of it."""

import exact_images as exact
import numpy as np
import pytest
from class_stage import average_of, noisy

from napari_defectstrain.columns.averages.measure import ColumnConfig, fit_columns, influence
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.precision.curve import PrecisionFit, precision_against_n
from napari_defectstrain.precision.spacings import neighbouring_metals
from napari_defectstrain.types import ClassStack, ColumnFits, DefectStrainError

A = exact.A_PM


def lattice_stack(
    n: int, noise_pm: float, structure_pm: float, rng: np.random.Generator
) -> tuple[ClassStack, ColumnFits, np.ndarray, np.ndarray]:
    """A stack whose columns scatter by `noise_pm` in windows and `structure_pm` in truth."""
    site, is_metal = ideal_sites(A, 1000.0)
    shifts = rng.normal(0, noise_pm, (n, 2 * len(site)))
    truth = rng.normal(0, structure_pm, site.shape)
    position = site + truth + shifts.mean(axis=0).reshape(-1, 2)
    covariance = noise_pm**2 / n * np.eye(2 * len(site))
    fits = ColumnFits(
        "2Se", site, is_metal, position, covariance, np.ones(len(site)), np.zeros(len(site), int)
    )
    pixels = 1.0 + 0.2 * rng.normal(size=(n, 121, 121))
    pairs = np.zeros((n, 2))
    stack = ClassStack(
        "2Se",
        pixels,
        20.0,
        A,
        np.zeros(n, int),
        np.arange(n),
        pairs,
        pairs,
        np.ones(n),
        np.ones(n, bool),
        np.full(n, ""),
    )
    return stack, fits, shifts - shifts.mean(axis=0), shifts.mean(axis=0)


def test_noise_and_floor_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    stack, fits, shifts, shifts_mean = lattice_stack(400, 4.0, 0.5, rng)
    curve = precision_against_n(stack, fits, shifts, rng)
    fit = curve.fit
    assert fit is not None
    # a spacing is a difference of two columns: sqrt(2) times their scatter along it
    assert fit.p1_pm == pytest.approx(np.sqrt(2) * 4.0, rel=0.02)
    truth = fits.position_pm - shifts_mean.reshape(-1, 2)
    pairs = neighbouring_metals(fits, A)
    floor = np.std(np.linalg.norm(truth[pairs[:, 0]] - truth[pairs[:, 1]], axis=1))
    assert abs(fit.floor_pm - floor) < 4 * fit.floor_std_pm
    assert fit.floor_std_pm < 0.1 * floor
    # every point within a tenth of the fit
    np.testing.assert_allclose(curve.precision_pm, fit.at(curve.n), rtol=0.1)
    # 1/sqrt(N) where the floor is small: down to 9 windows it adds less than 1 %
    few = curve.n <= 9
    np.testing.assert_allclose(
        curve.precision_pm[few] * np.sqrt(curve.n[few]), fit.p1_pm, rtol=0.06
    )


@pytest.mark.slow
def test_windows_without_structure_have_no_floor() -> None:
    pulls = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        stack, fits, shifts, _ = lattice_stack(200, 4.0, 0.0, rng)
        fit = precision_against_n(
            stack, fits, shifts, rng, numbers=[1, 5, 30, 200], n_subsets=20
        ).fit
        assert fit is not None
        pulls.append(fit.floor_pm / fit.floor_std_pm)
    # noise alone: a floor beyond two of its errors is rare
    assert np.mean(np.array(pulls) < 2.0) > 0.7


def test_how_many_windows_are_needed() -> None:
    assert PrecisionFit(6.0, 0.1, 0.0, 0.05).windows_needed(0.3) == 400
    assert PrecisionFit(6.0, 0.1, 0.18, 0.02).windows_needed(0.3) == 625  # 36 / (0.09 - 0.0324)
    assert PrecisionFit(6.0, 0.1, 0.31, 0.02).windows_needed(0.3) == np.inf
    with pytest.raises(DefectStrainError, match="expected a positive number"):
        PrecisionFit(6.0, 0.1, 0.0, 0.05).windows_needed(0.0)


def test_what_windows_cancel_is_not_extrapolated() -> None:
    # 100 windows of 6 pm: a variance of 0.36, of which 0.11 is made up for
    fit = PrecisionFit(6.0, 0.1, 0.0, 0.05, total=100, cancelled_pm2=0.11)
    assert fit.at(100) == pytest.approx(0.5)
    assert fit.at(400) == pytest.approx(0.25)  # a quarter of the variance, not less
    assert fit.windows_needed(0.5) == 100
    assert fit.windows_needed(0.25) == 400
    assert fit.at(25) == pytest.approx(np.sqrt(36 / 25 - 0.11))


def test_around_a_defect_its_own_structure_is_no_floor() -> None:
    rng = np.random.default_rng(3)
    stack, fits, shifts, _ = lattice_stack(150, 4.0, 3.0, rng)
    curve = precision_against_n(stack, fits, shifts, rng, own_structure=True)
    assert curve.fit is not None
    assert curve.fit.floor_pm == 0.0
    np.testing.assert_allclose(curve.precision_pm, np.sqrt(32.0 / curve.n), rtol=0.1)
    stack, fits, shifts, _ = lattice_stack(4, 4.0, 3.0, rng)
    few = precision_against_n(stack, fits, shifts, rng, numbers=[1, 4], own_structure=True)
    np.testing.assert_allclose(few.precision_pm, np.sqrt(32.0 / few.n), rtol=0.15)


def test_precision_and_snr_of_fitted_windows() -> None:
    rng = np.random.default_rng(9)
    stack = noisy("2Se", 100, rng, noise=0.3)
    before = stack.windows.copy()
    model = fit_columns({"2Se": average_of(stack)}, ColumnConfig(model="gaussians"))["2Se"]
    response = influence(model, stack)
    curve = precision_against_n(stack, model.fits, response, rng, numbers=[1, 4, 16, 100])
    # white noise: precision falls as 1 / sqrt(N); few spacings of each average, hence 15 %
    expected = curve.precision_pm[0] / np.sqrt(curve.n)
    np.testing.assert_allclose(curve.precision_pm[:3], expected[:3], rtol=0.15)
    assert curve.precision_pm[3] == pytest.approx(expected[3], rel=0.5)  # one average only
    assert curve.snr_gain.shape == (3, 4)
    np.testing.assert_allclose(curve.snr_gain[:, 0], 1.0, atol=0.05)
    # the gain follows sqrt(N) until the structure of the background itself shows
    assert 1.7 < curve.snr_gain[0, 1] < 2.1
    assert np.all(np.diff(curve.snr_gain, axis=1) > 0)
    np.testing.assert_array_equal(stack.windows, before)
    few = precision_against_n(stack, model.fits, response, rng, n_subsets=1)
    assert few.n[[0, -1]].tolist() == [1, 100]
    with pytest.raises(DefectStrainError, match="expected 1 to 100"):
        precision_against_n(stack, model.fits, response, rng, numbers=[101])
