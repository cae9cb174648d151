"""The elastic inclusion: its field, its fit, and what tells it from other fields."""

from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.strain.chi_squared import (
    agreement,
    effective_windows,
    weighting,
    with_systematic,
)
from napari_defectstrain.strain.displacement import displacement_field, predicted_field
from napari_defectstrain.strain.field import StrainConfig, strain_field
from napari_defectstrain.theory.elasticity import (
    fit_inclusion,
    inclusion_displacement,
    inclusion_strain,
)
from napari_defectstrain.theory.field_symmetry import displacement_decay, threefold_symmetry
from napari_defectstrain.types import ColumnFits, DefectStrainError, DisplacementField

A = 330.0
SITE, IS_METAL = ideal_sites(A, 1250.0)
N = 2 * len(SITE)


def noise_root(rng: np.random.Generator, sigma: float = 0.2) -> np.ndarray:
    """A square root of a covariance with correlations between columns."""
    return sigma * (np.eye(N) + rng.normal(0, 0.5, (N, N)) / np.sqrt(N))


def measured(
    u: np.ndarray, root: np.ndarray, rng: np.random.Generator, remove: str = "translation"
) -> DisplacementField:
    """A noisy displacement with its exact covariance."""
    noise = (root @ rng.normal(size=N)).reshape(-1, 2)
    flag, weight = np.zeros(len(SITE), dtype=int), np.ones(len(SITE))
    fits = ColumnFits("SV", SITE, IS_METAL, SITE + u + noise, root @ root.T, weight, flag)
    nothing = np.zeros((N, N))
    reference = ColumnFits("2Se", SITE, IS_METAL, SITE, nothing, weight, flag)
    return displacement_field(fits, reference, remove)


def test_the_field_obeys_its_equations() -> None:
    strength, radius = -1700.0, 260.0
    place = np.random.default_rng(1).uniform(-900, 900, (200, 2))
    away = np.abs(np.hypot(*place.T) - radius) > 1
    place, h = place[away], 1e-2

    def u(r):
        return inclusion_displacement(r, strength, radius)

    by_x = (u(place + [h, 0]) - u(place - [h, 0])) / (2 * h)
    by_y = (u(place + [0, h]) - u(place - [0, h])) / (2 * h)
    strain = inclusion_strain(place, strength, radius)
    # central differences: h^2/6 of the third derivative, below 1e-9
    np.testing.assert_allclose(strain["exx"], by_x[:, 0], atol=1e-9)
    np.testing.assert_allclose(strain["eyy"], by_y[:, 1], atol=1e-9)
    np.testing.assert_allclose(strain["exy"], (by_x[:, 1] + by_y[:, 0]) / 2, atol=1e-9)
    np.testing.assert_allclose(by_x[:, 1] - by_y[:, 0], 0, atol=1e-9)  # no rotation
    outside = np.hypot(*place.T) > radius
    np.testing.assert_allclose(strain["dilation"][outside], 0, atol=1e-12)
    np.testing.assert_allclose(strain["dilation"][~outside], 2 * strength / radius**2)
    rim = radius * np.array([np.cos(0.3), np.sin(0.3)])
    np.testing.assert_allclose(u(rim * 0.999999), u(rim * 1.000001), atol=1e-4)  # continuous
    np.testing.assert_allclose(inclusion_displacement(np.zeros(2), 1.0, 0.0), 0)


@pytest.mark.parametrize("target", ["displacement", "dilation"])
@pytest.mark.parametrize("remove", ["none", "translation", "affine"])
def test_a_noise_free_inclusion_is_found(target: str, remove: str) -> None:
    rng = np.random.default_rng(2)
    field = measured(inclusion_displacement(SITE, -1700.0, 400.0), 1e-4 * np.eye(N), rng, remove)
    fit = fit_inclusion(field, target)
    # noise of 1e-4 pm: S to about 190 * 1e-4 pm^2, R to a millionth; the dilation knows S less
    assert fit.strength_pm2 == pytest.approx(-1700.0, abs=2.0 if target == "dilation" else 0.3)
    assert fit.radius_pm == pytest.approx(400.0, abs=0.3)
    assert fit.inner_strain == pytest.approx(-1700.0 / 400.0**2, rel=2e-3)
    np.testing.assert_allclose(fit.predicted(field).u_pm, field.u_pm, atol=2e-2)
    if target == "displacement":
        assert 0.01 < fit.agreement.p_value < 0.99


@pytest.mark.slow
def test_strength_radius_and_chi_squared_are_honest() -> None:
    rng = np.random.default_rng(3)
    root = noise_root(rng)
    truth = inclusion_displacement(SITE, -1700.0, 420.0)
    fits = [fit_inclusion(measured(truth, root, rng)) for _ in range(100)]
    pull = np.array([(f.strength_pm2 + 1700.0) / f.strength_sigma_pm2 for f in fits])
    # 100 draws: mean to 0.1, width to 0.07
    assert abs(pull.mean()) < 0.3 and pull.std() == pytest.approx(1, abs=0.22)
    held = [f.radius_interval_pm[0] <= 420.0 <= f.radius_interval_pm[1] for f in fits]
    assert np.mean(held) == pytest.approx(0.68, abs=0.15)
    # two coordinates went with the translation, two with the parameters
    assert fits[0].agreement.dof == N - 4 and fits[0].agreement.weights == "full"
    p = np.array([f.agreement.p_value for f in fits])
    assert p.mean() == pytest.approx(0.5, abs=0.09) and np.mean(p < 0.1) == pytest.approx(
        0.1, abs=0.09
    )


@pytest.mark.slow
def test_diagonal_weights_are_honest_too() -> None:
    rng = np.random.default_rng(4)
    common = rng.normal(0, 0.15, (N, 3))  # strong correlations over the whole window
    root = np.hstack([noise_root(rng), common])
    covariance = root @ root.T
    square = np.linalg.cholesky(covariance)
    truth = inclusion_displacement(SITE, -1700.0, 420.0)
    fits = [fit_inclusion(measured(truth, square, rng), windows=30.0) for _ in range(60)]
    assert fits[0].agreement.weights == "diagonal"
    pull = np.array([(f.strength_pm2 + 1700.0) / f.strength_sigma_pm2 for f in fits])
    assert abs(pull.mean()) < 0.3 and pull.std() == pytest.approx(1, abs=0.22)
    reduced = np.array([f.agreement.reduced for f in fits])
    assert reduced.mean() == pytest.approx(1, abs=0.1)
    assert np.mean([f.agreement.p_value for f in fits]) == pytest.approx(0.5, abs=0.1)


def test_a_radius_within_the_first_columns_is_not_resolved() -> None:
    rng = np.random.default_rng(5)
    field = measured(inclusion_displacement(SITE, -1700.0, 100.0), 0.1 * np.eye(N), rng)
    fit = fit_inclusion(field)
    assert fit.radius_interval_pm[0] == 0.0 and not fit.radius_resolved
    assert fit.radius_interval_pm[1] < 210.0 and np.isnan(fit.inner_strain)
    assert fit.strength_pm2 == pytest.approx(-1700.0, abs=4 * fit.strength_sigma_pm2)
    # the whole window strained alike: no rim within it
    wide = fit_inclusion(measured(0.002 * SITE, 0.1 * np.eye(N), rng))
    assert wide.radius_interval_pm[1] == np.inf


def test_oscillations_are_rejected_and_have_the_lattices_symmetry() -> None:
    rng = np.random.default_rng(6)
    root = noise_root(rng)
    elastic = inclusion_displacement(SITE, -1700.0, 190.0)
    radius = np.hypot(*SITE.T)[:, None]
    wave = 1.0 * np.sin(radius / 80.0) * SITE / np.maximum(radius, 1)
    fit = fit_inclusion(measured(elastic + wave, root, rng))
    assert fit.agreement.p_value < 1e-6
    test = threefold_symmetry(fit.residual)
    assert test.symmetric.p_value < 1e-6 and test.rest.p_value > 0.01
    assert test.fraction > 0.8
    # an error without that symmetry: columns shifted along x by their row
    skew = elastic + np.stack([np.sin(SITE[:, 1] / 150.0), 0 * SITE[:, 0]], axis=1)
    other = threefold_symmetry(fit_inclusion(measured(skew, root, rng)).residual)
    assert other.rest.p_value < 1e-6 and other.fraction < 0.6


@pytest.mark.slow
def test_the_symmetry_test_of_noise() -> None:
    rng = np.random.default_rng(7)
    root = noise_root(rng)
    elastic = inclusion_displacement(SITE, -1700.0, 300.0)
    tests = [
        threefold_symmetry(fit_inclusion(measured(elastic, root, rng)).residual) for _ in range(40)
    ]
    for part in ("symmetric", "rest"):
        p = np.array([getattr(t, part).p_value for t in tests])
        assert p.mean() == pytest.approx(0.5, abs=0.15)  # 40 draws: 0.046
    # a sixth of all patterns, and more of the columns on mirror lines
    assert tests[0].symmetric.rank == pytest.approx(N / 6, abs=2)
    np.testing.assert_allclose(
        threefold_symmetry(replace(tests[0].field)).field.u_pm, tests[0].field.u_pm, atol=1e-9
    )


def test_few_windows_widen_chi_squared() -> None:
    rng = np.random.default_rng(8)
    p, n, values = 12, 40, []
    for _ in range(400):
        windows = rng.normal(size=(n, p))
        weigh = weighting(np.cov(windows.T) / n, n - 1, "full")
        values.append(agreement(windows.mean(axis=0), weigh))
    found = np.array([v.p_value for v in values])
    # 400 draws: 0.014; an exact covariance would be believed in vain (mean p 0.3)
    assert found.mean() == pytest.approx(0.5, abs=0.05)
    assert np.mean(found < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean([v.reduced for v in values]) == pytest.approx(1.07, abs=0.1)
    assert effective_windows(576, 1_000_000) == pytest.approx(575, rel=0.01)
    assert effective_windows(100, 100) == pytest.approx(198)
    assert effective_windows(1, 100) == 0.0
    assert effective_windows(24, np.inf) == 23  # a reference without error


def test_the_prediction_goes_through_the_same_interpolation() -> None:
    rng = np.random.default_rng(9)
    field = measured(inclusion_displacement(SITE, -1700.0, 190.0), 1e-5 * np.eye(N), rng)
    predicted = fit_inclusion(field).predicted(field)
    config = StrainConfig(columns="metal")
    first, second = strain_field(field, config), strain_field(predicted, config)
    for name, values in first.components.items():
        np.testing.assert_allclose(values, second.components[name], atol=1e-5)
    # columns can't show a jump at the rim: a false ring, the same in both
    assert np.nanmax(second.components["dilation"]) > 1e-3
    assert np.nanmax(second.sigma["dilation"]) == 0


@pytest.mark.slow
def test_decay_is_that_of_one_over_r() -> None:
    rng = np.random.default_rng(10)
    truth = inclusion_displacement(SITE, -900.0, 190.0)
    fields = [measured(truth, 0.3 * np.eye(N), rng, "none") for _ in range(200)]
    decays = [displacement_decay(f) for f in fields]
    shell = decays[0].radius_pm
    np.testing.assert_allclose(
        np.mean([d.radial_pm for d in decays], axis=0), -900 / shell, atol=0.08
    )
    spread = np.std([d.radial_pm for d in decays], axis=0) / decays[0].radial_sigma_pm
    np.testing.assert_allclose(spread, 1, atol=0.22)  # 200 draws: 5 %
    # noise of 0.42 pm a column is not taken for displacement
    square = np.mean([d.rms_pm**2 for d in decays], axis=0)
    near = shell < 700
    np.testing.assert_allclose(np.sqrt(square)[near], 900 / shell[near], rtol=0.03)
    spread = np.std([d.rms_pm for d in decays], axis=0)[near]
    np.testing.assert_allclose(spread, decays[0].rms_sigma_pm[near], rtol=0.35)
    fit = fit_inclusion(fields[0])
    assert fit.decay_radius_pm() == pytest.approx(900, abs=4 * fit.strength_sigma_pm2)
    exact = displacement_decay(predicted_field("SV", SITE, IS_METAL, truth))
    beyond = shell[shell > 900][0]
    assert exact.radius_below_pm() == pytest.approx(beyond)
    assert exact.radius_below_pm(0.1) == np.inf
    assert decays[0].radius_below_pm(1.0, -2.0) <= beyond <= decays[0].radius_below_pm(1.0, 2.0)
    assert fit.decay_radius_pm(100.0) == 0.0


def test_systematic_errors_enter_the_covariance() -> None:
    rng = np.random.default_rng(11)
    field = measured(0 * SITE, 0.1 * np.eye(N), rng, "none")
    more = with_systematic(field, np.full(SITE.shape, 0.2))
    np.testing.assert_allclose(more.sigma_pm, np.hypot(0.1, 0.2))
    np.testing.assert_allclose(field.sigma_pm, 0.1)
    with pytest.raises(DefectStrainError, match=r"expected \(\d+, 2\) numbers of at least 0"):
        with_systematic(field, np.full(SITE.shape, -0.2))


def test_what_cannot_be_weighted_is_refused() -> None:
    rng = np.random.default_rng(12)
    field = measured(0.001 * SITE, 0.1 * np.eye(N), rng)
    with pytest.raises(DefectStrainError, match="coordinates without error"):
        fit_inclusion(predicted_field("SV", SITE, IS_METAL, SITE))
    unknown = replace(field, covariance_pm2=np.full((N, N), np.nan))
    with pytest.raises(DefectStrainError, match="got unknown errors"):
        fit_inclusion(unknown)
    with pytest.raises(DefectStrainError, match="got unknown errors"):
        fit_inclusion(field, windows=0.0)
    with pytest.raises(DefectStrainError, match="got 50 effective windows"):
        fit_inclusion(field, windows=50.0, weights="full")
    with pytest.raises(DefectStrainError, match="expected one of displacement, dilation"):
        fit_inclusion(field, "rotation")
    with pytest.raises(DefectStrainError, match="expected one of auto, full, diagonal"):
        fit_inclusion(field, weights="none")
    with pytest.raises(DefectStrainError, match="confidence of 68"):
        fit_inclusion(field, confidence=68.0)
    with pytest.raises(DefectStrainError, match="SV: got no coordinates"):
        weighting(np.zeros((0, 0)), what="SV")
    three = np.hypot(*SITE.T) < 200.0
    rows = np.repeat(three, 2)
    few = DisplacementField(
        "SV", SITE[three], IS_METAL[three], SITE[three], np.eye(N)[np.ix_(rows, rows)]
    )
    with pytest.raises(DefectStrainError, match="got 3 columns around it"):
        fit_inclusion(few)
    with pytest.raises(DefectStrainError, match="use larger windows"):
        lone = DisplacementField("SV", SITE[3:5], IS_METAL[3:5], SITE[3:5], np.eye(4))
        threefold_symmetry(lone)
    with pytest.raises(DefectStrainError, match="no column with a displacement around it"):
        displacement_decay(DisplacementField("SV", SITE[:1], IS_METAL[:1], SITE[:1], np.eye(2)))


def test_an_empty_centre_is_left_out() -> None:
    rng = np.random.default_rng(13)
    field = measured(inclusion_displacement(SITE, -1700.0, 300.0), 0.1 * np.eye(N), rng)
    field.u_pm[0] = np.nan
    field.covariance_pm2[:2] = field.covariance_pm2[:, :2] = np.nan
    fit = fit_inclusion(field)
    assert fit.strength_pm2 == pytest.approx(-1700.0, abs=4 * fit.strength_sigma_pm2)
    assert np.isnan(fit.residual.u_pm[0]).all() and np.isfinite(fit.residual.u_pm[1:]).all()
    test = threefold_symmetry(fit.residual)
    assert test.n_columns == len(SITE) - 1 and test.symmetric.p_value > 1e-3
