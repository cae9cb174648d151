"""Displacements against a reference."""

from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.strain.displacement import (
    displacement_field,
    displacement_samples,
    error_ellipses,
    far_affine,
    like_measured,
    predicted_field,
)
from napari_defectstrain.types import ColumnFits, DefectStrainError, DisplacementField

A = 330.0


def fits(name: str, u: np.ndarray, sigma: float = 0.2, radius: float = 1100.0) -> ColumnFits:
    site, is_metal = ideal_sites(A, radius)
    n = len(site)
    return ColumnFits(
        name, site, is_metal, site + u, np.eye(2 * n) * sigma**2, np.ones(n), np.zeros(n, dtype=int)
    )


def test_a_rigid_shift_is_removed_and_the_defects_field_stays() -> None:
    site, _ = ideal_sites(A, 1100.0)
    near = np.hypot(*site.T) < 1.5 * A
    u = np.where(near[:, None], -0.02 * site, 0.0)
    field = displacement_field(fits("SV", u + [0.7, -1.1]), fits("2Se", 0 * site))
    np.testing.assert_allclose(field.u_pm, u, atol=1e-12)
    # both fits' variances add; removing the mean of n columns takes or adds one n-th
    n = (np.hypot(*site.T) > 1.8 * A).sum()
    sigma = np.sqrt(2) * 0.2
    np.testing.assert_allclose(field.sigma_pm[0], sigma * np.sqrt(1 + 1 / n))
    np.testing.assert_allclose(field.sigma_pm[-1], sigma * np.sqrt(1 - 1 / n))


def test_a_central_field_has_no_translation() -> None:
    # every far shell is symmetric, so that u ~ r/r^2 passes through unchanged
    site, _ = ideal_sites(A, 1100.0)
    u = -1700.0 * site / np.maximum((site**2).sum(axis=1), 190.0**2)[:, None]
    field = displacement_field(fits("SV", u), fits("2Se", 0 * site))
    np.testing.assert_allclose(field.u_pm, u, atol=1e-12)
    kept = displacement_field(fits("SV", u + 2.0), fits("2Se", 0 * site), remove="none")
    np.testing.assert_allclose(kept.u_pm, u + 2.0, atol=1e-12)


def test_an_affine_map_is_reported_and_taken_out_on_request() -> None:
    site, _ = ideal_sites(A, 1100.0)
    gradient = np.array([[2e-3, 1e-3], [-5e-4, -1e-3]])
    near = np.hypot(*site.T) < 1.5 * A
    own = np.where(near[:, None], -0.02 * site, 0.0)
    measured = fits("SV", own + site @ gradient.T + [0.7, -1.1])
    field = displacement_field(measured, fits("2Se", 0 * site))
    np.testing.assert_allclose(field.u_pm, own + site @ gradient.T, atol=1e-10)
    np.testing.assert_allclose(far_affine(field).gradient, gradient, atol=1e-12)
    assert far_affine(field).n_columns == (np.hypot(*site.T) > 1.8 * A).sum()
    flat = displacement_field(measured, fits("2Se", 0 * site), remove="affine")
    np.testing.assert_allclose(flat.u_pm, own, atol=1e-10)
    np.testing.assert_allclose(far_affine(flat).gradient, 0, atol=1e-12)
    np.testing.assert_allclose(far_affine(flat).sigma, 0, atol=1e-6)
    small = ideal_sites(A, 400.0)[0]
    near_only = [fits(name, 0 * small, radius=400.0) for name in ("SV", "2Se")]
    with pytest.raises(DefectStrainError, match="use larger windows"):
        far_affine(displacement_field(*near_only))
    with pytest.raises(DefectStrainError, match="far columns of SV: got 0, expected at least 6"):
        displacement_field(*near_only, remove="affine")
    with pytest.raises(DefectStrainError, match="expected one of none, translation, affine"):
        displacement_field(*near_only, remove="magnification")


def test_an_affine_fit_takes_part_of_a_defects_far_field() -> None:
    # of u = S r/r^2, the best affine map of the far columns is S/<r^2> r
    site, _ = ideal_sites(A, 1100.0)
    u = -1700.0 * site / np.maximum((site**2).sum(axis=1), 190.0**2)[:, None]
    field = displacement_field(fits("SV", u), fits("2Se", 0 * site))
    r2 = (site**2).sum(axis=1)
    expected = -1700.0 / r2[np.sqrt(r2) > 1.8 * A].mean()
    np.testing.assert_allclose(far_affine(field).gradient, expected * np.eye(2), atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("remove", ["none", "translation", "affine"])
def test_errors_are_those_of_repeated_measurements(remove: str) -> None:
    rng = np.random.default_rng(1)
    site, is_metal = ideal_sites(A, 1100.0)
    n = 2 * len(site)
    root = rng.normal(0, 0.3, (n, n)) / np.sqrt(n) + 0.2 * np.eye(n)
    covariance = root @ root.T
    exact = ColumnFits(
        "SV", site, is_metal, site, covariance, np.ones(n // 2), np.zeros(n // 2, dtype=int)
    )
    reference = fits("2Se", 0 * site, sigma=0.0)
    draws, gradients = [], []
    for z in rng.normal(size=(300, n)):
        noisy = replace(exact, position_pm=site + (root @ z).reshape(-1, 2))
        field = displacement_field(noisy, reference, remove)
        draws.append(field.u_pm)
        gradients.append(far_affine(field).gradient)
    ratio = np.std(draws, axis=0) / field.sigma_pm
    assert ratio.mean() == pytest.approx(1, abs=0.02)  # 300 draws: 4 % at a coordinate
    assert np.abs(ratio - 1).max() < 0.2
    if remove != "affine":
        scatter = np.std(gradients, axis=0) / far_affine(field).sigma
        np.testing.assert_allclose(scatter, 1, atol=0.17)


def test_samples_and_predictions_lose_what_the_measurement_lost() -> None:
    rng = np.random.default_rng(2)
    site, is_metal = ideal_sites(A, 1100.0)
    for remove in ("none", "translation", "affine"):
        empty = fits("DV", rng.normal(size=site.shape))
        empty.position_pm[0] = np.nan
        empty.covariance_pm2[:2] = empty.covariance_pm2[:, :2] = np.nan
        empty.covariance_pm2[50, 50] = 0.5  # weights that differ
        base = fits("2Se", 0 * site)
        field = displacement_field(empty, base, remove)
        samples = rng.normal(size=(3, *site.shape))
        found = displacement_samples(field, samples)
        for sample, projected in zip(samples, found, strict=True):
            moved = replace(empty, position_pm=np.where(np.isnan(empty.position_pm), np.nan, site))
            moved.position_pm[1:] += sample[1:]
            again = displacement_field(moved, base, remove)
            np.testing.assert_allclose(projected, again.u_pm, atol=1e-12)
        order = rng.permutation(len(site))  # a model knows more columns, in another order
        model = predicted_field("DV", site[order], is_metal[order], samples[0][order])
        np.testing.assert_allclose(like_measured(model, field).u_pm, found[0], atol=1e-12)
        np.testing.assert_array_equal(like_measured(model, field).covariance_pm2[2:, 2:], 0)
        again = like_measured(like_measured(model, field), field)
        np.testing.assert_allclose(again.u_pm, found[0], atol=1e-12)


def test_a_prediction_must_cover_the_measured_columns() -> None:
    site, is_metal = ideal_sites(A, 1100.0)
    field = displacement_field(fits("SV", 0 * site), fits("2Se", 0 * site))
    near = np.hypot(*site.T) < 800.0
    model = predicted_field("SV", site[near], is_metal[near], 0 * site[near])
    with pytest.raises(DefectStrainError, match="use a larger supercell or smaller windows"):
        like_measured(model, field)
    with pytest.raises(DefectStrainError, match="expected plain displacements"):
        like_measured(displacement_field(fits("SV", 0 * site), fits("2Se", 0 * site)), field)
    with pytest.raises(DefectStrainError, match=r"expected \(M, 2\), \(M,\) and \(M, 2\)"):
        predicted_field("SV", site, is_metal, site[:3])
    with pytest.raises(DefectStrainError, match="the columns of its displacement"):
        displacement_samples(field, np.zeros((5, 3, 2)))


def test_error_ellipses_are_those_of_the_covariance() -> None:
    site, is_metal = ideal_sites(A, 400.0)
    angle = np.linspace(-1.5, 1.5, len(site))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn.transpose(2, 0, 1)
    blocks = turn @ np.diag([0.5**2, 0.2**2]) @ turn.transpose(0, 2, 1)
    covariance = np.zeros((len(site), 2, len(site), 2))
    covariance[np.arange(len(site)), :, np.arange(len(site))] = blocks
    u = np.zeros_like(site)
    u[2] = np.nan
    n = 2 * len(site)
    field = DisplacementField("SV", site, is_metal, u, covariance.reshape(n, n))
    ellipses = error_ellipses(field)
    known = np.arange(len(site)) != 2
    np.testing.assert_allclose(ellipses.semi_axes_pm[known], [[0.5, 0.2]] * known.sum())
    np.testing.assert_allclose(ellipses.angle_rad[known], angle[known], atol=1e-12)
    assert np.isnan(ellipses.semi_axes_pm[2]).all() and np.isnan(ellipses.angle_rad[2])
    assert ellipses.confidence == pytest.approx(1 - np.exp(-0.5))
    # half of the draws lie within the ellipse of 50 %: 20000 draws, 0.35 % standard error
    half = error_ellipses(field, confidence=0.5)
    draws = np.random.default_rng(3).multivariate_normal([0, 0], blocks[0], 20000) @ turn[0]
    inside = ((draws / half.semi_axes_pm[0]) ** 2).sum(axis=1) < 1
    assert inside.mean() == pytest.approx(0.5, abs=0.015)
    with pytest.raises(DefectStrainError, match="got -1 sigma"):
        error_ellipses(field, -1.0)
    with pytest.raises(DefectStrainError, match="confidence of 95, expected between 0 and 1"):
        error_ellipses(field, confidence=95.0)


def test_an_empty_column_has_no_displacement_and_spoils_no_other() -> None:
    site, _ = ideal_sites(A, 1100.0)
    empty = fits("DV", np.zeros_like(site))
    empty.position_pm[0] = np.nan
    empty.covariance_pm2[:2] = empty.covariance_pm2[:, :2] = np.nan
    field = displacement_field(empty, fits("2Se", 0 * site))
    assert np.isnan(field.u_pm[0]).all() and np.isfinite(field.u_pm[1:]).all()
    assert np.isnan(field.covariance_pm2[:2]).all()
    assert np.isfinite(field.covariance_pm2[2:, 2:]).all()


def test_a_single_window_has_displacements_without_errors() -> None:
    site, _ = ideal_sites(A, 1100.0)
    one = fits("DV", np.ones_like(site), sigma=np.nan)
    field = displacement_field(one, fits("2Se", 0 * site))
    np.testing.assert_allclose(field.u_pm, 0, atol=1e-12)
    assert np.isnan(field.sigma_pm).all()


def test_sites_are_matched_by_place() -> None:
    small, large = ideal_sites(A, 900.0)[0], ideal_sites(A, 1100.0)[0]
    field = displacement_field(
        fits("SV", np.ones_like(small), radius=900.0), fits("2Se", np.zeros_like(large))
    )
    assert len(field.u_pm) == len(small)
    np.testing.assert_allclose(field.u_pm, 0, atol=1e-12)


def test_averages_of_other_lattices_are_refused() -> None:
    other = fits("SV", 0 * ideal_sites(A, 900.0)[0], radius=900.0)
    moved = ColumnFits(
        "2Se",
        other.site_pm + 50.0,
        other.is_metal,
        other.position_pm,
        other.covariance_pm2,
        other.weight,
        other.flag,
    )
    with pytest.raises(DefectStrainError, match="no site in common"):
        displacement_field(other, moved)
