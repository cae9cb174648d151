"""Displacements against a reference."""

import numpy as np
import pytest

from napari_defectstrain.displacement import displacement_field, far_affine
from napari_defectstrain.lattice import ideal_sites
from napari_defectstrain.types import ColumnFits, DefectStrainError

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
    kept = displacement_field(fits("SV", u + 2.0), fits("2Se", 0 * site), remove_translation=False)
    np.testing.assert_allclose(kept.u_pm, u + 2.0, atol=1e-12)


def test_an_affine_map_is_reported_not_removed() -> None:
    site, _ = ideal_sites(A, 1100.0)
    gradient = np.array([[2e-3, 1e-3], [-5e-4, -1e-3]])
    u = site @ gradient.T
    field = displacement_field(fits("SV", u), fits("2Se", 0 * site))
    np.testing.assert_allclose(field.u_pm, u, atol=1e-10)
    np.testing.assert_allclose(far_affine(field), gradient, atol=1e-12)
    with pytest.raises(DefectStrainError, match="use larger windows"):
        far_affine(
            displacement_field(
                fits("SV", 0 * ideal_sites(A, 400.0)[0], radius=400.0),
                fits("2Se", 0 * ideal_sites(A, 400.0)[0], radius=400.0),
            )
        )


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
