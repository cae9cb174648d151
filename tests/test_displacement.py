"""Displacements against a reference."""

import numpy as np
import pytest

from napari_defectstrain.displacement import displacement_field
from napari_defectstrain.honeycomb import ideal_sites
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


def test_an_empty_column_has_no_displacement_and_spoils_no_other() -> None:
    site, _ = ideal_sites(A, 1100.0)
    empty = fits("DV", np.zeros_like(site))
    empty.position_pm[0] = np.nan
    empty.covariance_pm2[:2] = empty.covariance_pm2[:, :2] = np.nan
    field = displacement_field(empty, fits("2Se", 0 * site))
    assert np.isnan(field.u_pm[0]).all() and np.isfinite(field.u_pm[1:]).all()
    assert np.isfinite(field.covariance_pm2[2:, 2:]).all()


def test_sites_are_matched_by_place() -> None:
    small, large = ideal_sites(A, 900.0)[0], ideal_sites(A, 1100.0)[0]
    field = displacement_field(
        fits("SV", np.ones_like(small), radius=900.0), fits("2Se", np.zeros_like(large))
    )
    assert len(field.u_pm) == len(small)
    np.testing.assert_allclose(field.u_pm, 0, atol=1e-12)


def test_windows_too_small_to_fix_the_origin_are_refused() -> None:
    site = ideal_sites(A, 400.0)[0]
    with pytest.raises(DefectStrainError, match="take larger windows"):
        displacement_field(fits("SV", 0 * site, radius=400.0), fits("2Se", 0 * site, radius=400.0))
