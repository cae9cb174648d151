"""Profiles that differ with direction: their symmetry, derivatives, and what they cure."""

from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest
from class_stage import average, average_of, small_model, stack_of

from napari_defectstrain.columns.asymmetry import Asymmetry, no_terms, number_of_terms
from napari_defectstrain.columns.averages.crowded import jacobian, predict, profile_jacobian
from napari_defectstrain.columns.averages.measure import (
    ColumnConfig,
    ColumnFitModel,
    ColumnMeasurement,
    fit_columns,
    measure_columns,
)
from napari_defectstrain.columns.profiles import ColumnProfile, FourierWindow, spline_profile
from napari_defectstrain.types import ClassAverage, ClassStack, DefectStrainError

SPOT = 2.0 / (np.sqrt(3.0) * exact.A_PM)
COUNTS = 60.0


def lopsided(n_splines: int = 7) -> ColumnProfile:
    terms = no_terms(n_splines, SPOT)
    size = len(terms.coefficient)
    terms = replace(terms, coefficient=0.05 * np.cos(1.7 * np.arange(size)))
    return replace(
        spline_profile(55.0, 9, 0.7), asymmetry=terms, blur_pm2=np.array([200.0, -60.0, 90.0])
    )


def test_the_image_of_a_column_is_real() -> None:
    profile = lopsided()
    kx, ky = np.random.default_rng(0).uniform(-0.009, 0.009, (2, 40))
    there, back = profile.transfer(kx, ky), profile.transfer(-kx, -ky)
    assert np.abs(there.imag).max() > 0.01
    np.testing.assert_allclose(there, back.conj(), atol=1e-15)


def test_shift_and_ellipse_keep_the_first_spots() -> None:
    terms = no_terms(8, SPOT)
    angle = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    by = terms.basis(SPOT * np.cos(angle), SPOT * np.sin(angle), 0.0127)
    spectrum = np.abs(np.fft.fft(by, axis=0)) / len(angle)
    assert spectrum[[0, 1, 2]].max() < 1e-15
    assert spectrum[3].max() > 0.05 and spectrum[4].max() > 0.05


def test_patches_are_images_of_single_columns() -> None:
    profile = lopsided()
    window = FourierWindow(61, 20.0, profile.cutoff_per_pm)
    transfer = profile.transfer(window.kx_per_pm, window.ky_per_pm)
    place = np.array([[33.0, -47.0]])
    patch, row, column = window.patches(transfer, place, 9)

    def image(at: np.ndarray) -> np.ndarray:
        whole = window.image(transfer * window.structure_factor(at, np.ones(1)))
        return whole[np.ix_(row[0], column[0])]

    scale = np.abs(patch[0]).max()
    np.testing.assert_allclose(patch[0, 0], image(place), atol=1e-12 * scale)
    for axis, step in enumerate(np.eye(2) * 0.01):
        difference = (image(place + step) - image(place - step)) / 0.02
        # third derivatives: (step / width)^2 of the slope, below 1e-7
        np.testing.assert_allclose(
            patch[1 + axis, 0], difference, atol=1e-7 * np.abs(difference).max()
        )
    x, y = window.x_pm[column[0]], -window.x_pm[row[0]]
    direct = profile.evaluate(x[None, :] - place[0, 0], y[:, None] - place[0, 1])
    # periodic images lie elsewhere
    np.testing.assert_allclose(patch[0, 0], direct, atol=2e-3 * scale)


def test_jacobian_of_an_asymmetric_profile() -> None:
    geometry, state, profile = small_model(np.random.default_rng(1))
    profile = replace(profile, asymmetry=lopsided().asymmetry)
    n = int((~state.empty).sum())
    analytic = jacobian(geometry, state, profile, np.zeros((3, 0)))
    for row in (0, n, n // 2):
        change = np.zeros(len(analytic))
        change[row] = 0.01
        up, down = (state.moved(s * change, np.zeros((3, 0))) for s in (1, -1))
        difference = predict(geometry, up, profile) - predict(geometry, down, profile)
        # patches of 1 nm: tails beyond are left out of the Jacobian, 1e-4 of its peak
        atol = 5e-4 * np.abs(analytic[row]).max()
        np.testing.assert_allclose(analytic[row], difference / 0.02, atol=atol)
    free = np.array([0, 9, 14, len(profile.parameters) - 1])
    shared = profile_jacobian(geometry, state, profile, free)
    for i, index in enumerate(free):
        step = 1e-3 * np.eye(len(profile.parameters))[index]
        up, down = (
            predict(geometry, state, profile.with_parameters(profile.parameters + s * step))
            for s in (1, -1)
        )
        np.testing.assert_allclose(shared[i], (up - down) / 2e-3, atol=1e-9 * abs(shared[i]).max())


def averages(**optics: float) -> dict[str, ClassAverage]:
    """Without noise, but with the standard errors of counts, by which terms are held."""
    otf = exact.transfer(**optics)
    made = {}
    for name in ("2Se", "SV"):
        _, position, weight, _ = exact.structure(name)
        n = exact.N_WINDOWS[name]
        plain = average(name, exact.render(position, weight, otf, 91), n)
        made[name] = replace(plain, sem=np.sqrt(plain.mean.clip(0.02) / COUNTS / n))
    return made


def displacement_error(fitted: dict[str, ColumnFitModel]) -> float:
    """Root mean square error of the displacement of a vacancy's neighbours [pm]."""
    error = []
    for name, model in fitted.items():
        site, position, _, _ = exact.structure(name)
        fits = model.fits
        nearest = np.argmin(np.linalg.norm(site[None] - fits.site_pm[:, None], axis=2), axis=1)
        error.append(fits.position_pm - position[nearest])
    difference = error[1] - error[0]
    return float(np.sqrt(np.nanmean((difference - np.nanmean(difference, axis=0)) ** 2)))


@pytest.mark.slow
def test_astigmatism_leaves_the_displacements() -> None:
    images = averages(astigmatism_pm=2000.0)
    symmetric = displacement_error(fit_columns(images))
    free = displacement_error(fit_columns(images, ColumnConfig(asymmetric=True)))
    assert symmetric > 0.1
    assert free < 0.5 * symmetric


@pytest.mark.slow
def test_a_symmetric_probe_is_measured_alike() -> None:
    images = averages()
    symmetric = displacement_error(fit_columns(images))
    free = displacement_error(fit_columns(images, ColumnConfig(asymmetric=True)))
    # pm; 0.011 for either in so small a window, of which the terms take nothing away
    assert symmetric < 0.02 and free < symmetric + 0.005


def test_bad_numbers_of_terms_are_refused() -> None:
    with pytest.raises(DefectStrainError, match="Asymmetry: got 5 splines"):
        number_of_terms(5)
    with pytest.raises(DefectStrainError, match="Asymmetry: got 3 coefficients with 7 splines"):
        Asymmetry(np.zeros(3), 7, SPOT)
    with pytest.raises(DefectStrainError, match="n_asymmetry: got 4"):
        ColumnConfig(n_asymmetry=4)


def windows(optics: dict[str, float], n: int, seed: int) -> dict[str, ClassStack]:
    """Windows by a probe with white noise."""
    rng = np.random.default_rng(seed)
    stacks = {}
    for name in ("2Se", "SV"):
        image = exact.average_image(name, 61, **optics)
        stacks[name] = stack_of(name, image + 0.05 * rng.normal(size=(n, *image.shape)))
    return stacks


def measured_by(
    stacks: dict[str, ClassStack], config: ColumnConfig
) -> dict[str, ColumnMeasurement]:
    return measure_columns(
        stacks, {n: average_of(s) for n, s in stacks.items()}, config, check=False
    )


def models_of(measured: dict[str, ColumnMeasurement]) -> dict[str, ColumnFitModel]:
    return {name: one.model for name, one in measured.items()}


SMALL = ColumnConfig(fit_radius_pm=560.0)


def test_astigmatism_is_seen_and_followed() -> None:
    stacks = windows({"astigmatism_pm": 3000.0}, 200, 3)
    plain = measured_by(stacks, SMALL.replace(compare=False))
    found = measured_by(stacks, SMALL)
    assert found["SV"].config is not None and found["SV"].config.asymmetric
    assert found["2Se"].model.profile is not None
    assert len(found["2Se"].model.profile.asymmetry.coefficient) > 0
    assert set(found["SV"].alternatives) == {"gaussians", "gaussian"}
    apart = displacement_error(models_of(plain)), displacement_error(models_of(found))
    assert apart[0] > 1.0 and apart[1] < 0.3  # pm; noise alone makes .1


def test_a_round_probe_keeps_its_round_profile() -> None:
    found = measured_by(windows({}, 100, 4), SMALL)
    assert found["SV"].config == SMALL
    assert "asymmetric" in found["SV"].alternatives


def test_few_windows_say_nothing_of_directions() -> None:
    found = measured_by(windows({"astigmatism_pm": 3000.0}, 12, 5), SMALL)
    assert found["SV"].config == SMALL
