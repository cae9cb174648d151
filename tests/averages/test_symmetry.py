"""C3v averages: nothing symmetric is lost, nothing else is left, and what went is shown."""

import numpy as np
import pytest
from exact_images import STEP_PM, average_image
from scipy.ndimage import gaussian_filter

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.averages.symmetry import (
    operations,
    symmetric_basis,
    symmetrise_average,
    symmetrise_displacement,
    symmetriser,
)
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.types import ClassStack, DefectStrainError, DisplacementField

A_PM = 330.0
SITE, IS_METAL = ideal_sites(A_PM, 900.0)


def field(u, covariance=None, site=SITE, is_metal=IS_METAL):
    n = 2 * len(site)
    covariance = np.eye(n) if covariance is None else covariance
    return DisplacementField("SV", site, is_metal, np.array(u, dtype=float), covariance)


def symmetric_field(site=SITE):
    """Radial, and a part of threefold symmetry that is neither radial nor curl-free."""
    r2 = (site**2).sum(axis=1) + 1e4
    x, y = site.T
    # (2xy, x^2 - y^2) is the gradient of x^2 y - y^3/3, which C3v leaves alone
    threefold = np.stack([2 * x * y, x**2 - y**2], axis=1)
    return 5e2 * site / r2[:, None] + 3e2 * threefold / r2[:, None] ** 1.5


def stack_of(windows):
    n = len(windows)
    return ClassStack(
        "SV",
        np.asarray(windows),
        STEP_PM,
        A_PM,
        np.zeros(n, int),
        np.arange(n),
        np.zeros((n, 2)),
        np.zeros((n, 2)),
        np.ones(n),
        np.ones(n, dtype=bool),
        np.full(n, ""),
    )


def test_the_operations_form_a_group_that_keeps_the_lattice():
    g = operations()
    assert np.array_equal(g[0], np.eye(2))
    assert np.allclose(g @ g.transpose(0, 2, 1), np.eye(2))
    products = (g[:, None] @ g[None]).reshape(-1, 4)
    assert np.abs(products[:, None] - g.reshape(1, 6, 4)).max(axis=2).min(axis=1).max() < 1e-12
    for operation in g:
        moved = SITE @ operation.T
        distance = np.linalg.norm(moved[:, None] - SITE[None], axis=2)
        assert distance.min(axis=1).max() < 1e-9
        assert np.array_equal(IS_METAL[distance.argmin(axis=1)], IS_METAL)


def test_the_symmetriser_is_an_orthogonal_projector_even_in_a_square():
    square = np.abs(SITE).max(axis=1) < 700
    for site in (SITE, SITE[square]):
        p = symmetriser(site)
        assert np.abs(p - p.T).max() < 1e-12
        assert np.abs(p @ p - p).max() < 1e-12
        basis = symmetric_basis(site)
        assert np.abs(basis @ basis.T - p).max() < 1e-10
    # Six equivalents give two unknowns, three on the mirror planes one, the origin none
    n_general = sum(len(np.unique((operations() @ s).round(6), axis=0)) == 6 for s in SITE)
    n_mirror = sum(len(np.unique((operations() @ s).round(6), axis=0)) == 3 for s in SITE)
    assert symmetric_basis(SITE).shape[1] == n_general / 6 * 2 + n_mirror / 3


def test_a_symmetric_field_is_unchanged_and_an_antisymmetric_one_vanishes():
    u = symmetric_field()
    found = symmetrise_displacement(field(u))
    assert np.abs(found.symmetric.u_pm - u).max() < 1e-10
    assert np.abs(found.hidden.u_pm).max() < 1e-10
    rotation = np.stack([-SITE[:, 1], SITE[:, 0]], axis=1) * 1e-3
    shift = np.broadcast_to([1.0, -2.0], SITE.shape)
    shear = SITE * [1e-3, -1e-3]
    for odd in (rotation, shift, shear):
        found = symmetrise_displacement(field(u + odd))
        assert np.abs(found.symmetric.u_pm - u).max() < 1e-10
        assert np.abs(found.hidden.u_pm - odd).max() < 1e-10


def test_precision_gains_as_the_number_of_equivalents():
    found = symmetrise_displacement(field(np.zeros_like(SITE), 4.0 * np.eye(2 * len(SITE))))
    variance = found.symmetric.sigma_pm**2
    general = np.array([len(np.unique((operations() @ s).round(6), axis=0)) == 6 for s in SITE])
    assert np.allclose(variance[general], 4.0 / 6)
    # Three on the mirror planes share one number: 4/3 along the plane, nothing across it
    assert np.allclose(variance[~general].sum(axis=1)[1:], 4.0 / 3)
    # Symmetric and hidden parts of white noise don't correlate: their variances add up
    assert np.allclose(variance + found.hidden.sigma_pm**2, 4.0)


def test_hidden_parts_of_noise_pull_by_one_and_real_ones_by_more():
    rng = np.random.default_rng(3)
    n = 2 * len(SITE)
    root = rng.normal(size=(n, n)) / np.sqrt(n) + np.eye(n)
    covariance = root @ root.T
    noise = (root @ rng.normal(size=n)).reshape(-1, 2)
    found = symmetrise_displacement(field(symmetric_field() + noise, covariance))
    # The root mean square of about 90 pulls is known to 8 %
    assert found.pull == pytest.approx(1.0, abs=0.25)
    tilted = noise + 5.0 * IS_METAL[:, None] * [1.0, 0.0]
    assert symmetrise_displacement(field(tilted, covariance)).pull > 1.5


def test_missing_columns_stay_missing_and_leave_the_mean_of_the_others():
    u = symmetric_field()
    u[[0, 5]] = np.nan
    covariance = np.eye(2 * len(SITE))
    covariance[[0, 1, 10, 11]] = np.nan
    covariance[:, [0, 1, 10, 11]] = np.nan
    found = symmetrise_displacement(field(u, covariance))
    gone = np.isnan(found.symmetric.u_pm).any(axis=1)
    assert gone.nonzero()[0].tolist() == [0, 5]
    assert np.nanmax(np.abs(found.symmetric.u_pm - u)) < 1e-10
    assert np.isfinite(found.symmetric.sigma_pm[~gone]).all()


def test_a_symmetric_average_is_unchanged():
    image = average_image("SV", 101)
    found = symmetrise_average(stack_of([image, image]))
    # A spline of fifth order in steps of 20 pm resolves a probe of 110 pm to some 1e-5; what it
    # lacks beyond the border fades by 0.43 a pixel, to 1e-2 of 0.2 after five.
    assert np.abs(found.hidden).max() < 2e-3
    inner = np.s_[25:-25, 25:-25]
    assert np.abs(found.hidden[inner]).max() < 2e-5


def test_what_breaks_the_symmetry_is_taken_out_and_shown_with_its_error():
    rng = np.random.default_rng(4)
    image = average_image("SV", 101)
    y, x = (np.mgrid[:101, :101] - 50) * STEP_PM
    spot = 0.2 * np.exp(-((x - 400) ** 2 + (y + 100) ** 2) / (2 * 60.0**2))
    noise = gaussian_filter(rng.normal(size=(60, 101, 101)), (0, 1, 1)) * 0.3
    found = symmetrise_average(stack_of(image + spot + noise))
    # The spot leaves a sixth at its own place; the other five places have the rest
    peak = np.unravel_index(spot.argmax(), spot.shape)
    assert found.hidden[peak] == pytest.approx(0.2 * 5 / 6, abs=4 * found.hidden_sem[peak])
    assert found.significance[peak] > 8
    # Elsewhere noise alone: pulls of unit variance, away from the fixed pixels and from the spot
    quiet = np.hypot(x, y) > 250
    for g in operations():
        place = g @ [400.0, 100.0]
        quiet &= np.hypot(x - place[0], y + place[1]) > 250
    # sqrt(2 / 400 independent pixels) is 7 %, and the sem of 60 windows is known to 9 %
    assert np.std(found.significance[quiet]) == pytest.approx(1.0, abs=0.2)
    # Errors fall by sqrt(6) away from the mirror planes and the centre
    plain = average_stack(stack_of(image + spot + noise))
    inner = (np.hypot(x, y) > 300) & (np.hypot(x, y) < 900)
    ratio = np.median(found.average.sem[inner] / plain.sem[inner])
    assert ratio == pytest.approx(1 / np.sqrt(6), rel=0.12)


def test_mirrored_and_turned_windows_give_the_same_symmetric_average():
    rng = np.random.default_rng(5)
    windows = gaussian_filter(rng.normal(size=(4, 101, 101)), (0, 3, 3))
    one = symmetrise_average(stack_of(windows)).average.mean
    other = symmetrise_average(stack_of(windows[:, :, ::-1])).average.mean
    assert np.abs(one - other).max() < 1e-12
    assert np.abs(one - one[:, ::-1]).max() < 1e-12


def test_one_window_has_no_error_and_none_is_refused():
    image = average_image("SV", 61)
    with pytest.warns(UserWarning, match="one window only"):
        found = symmetrise_average(stack_of([image]))
    assert np.isnan(found.hidden_sem).all() and np.isfinite(found.average.mean).all()
    empty = stack_of([image])
    empty.included[:] = False
    with pytest.raises(DefectStrainError, match="all 1 windows are left out"):
        symmetrise_average(empty)
