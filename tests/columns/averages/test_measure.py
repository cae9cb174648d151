"""Column fits: derivatives, exact recovery, accuracy on physical images, honest errors."""

import json
from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest
from class_stage import average, average_of, small_model
from class_stage import stack_of as stack
from scipy.ndimage import gaussian_filter

from napari_defectstrain.columns.averages.crowded import (
    NormalEquations,
    jacobian,
    predict,
    profile_jacobian,
)
from napari_defectstrain.columns.averages.joint import (
    FULL_BLUR,
    TRACELESS_BLUR,
    Target,
    fit_jointly,
)
from napari_defectstrain.columns.averages.measure import (
    FLAGS,
    ColumnConfig,
    ColumnFitModel,
    fit_columns,
    influence,
    measure_columns,
)
from napari_defectstrain.columns.averages.single import fit_single_gaussians
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.types import ClassStack, ColumnFits, DefectStrainError

A = exact.A_PM
STEP = exact.STEP_PM


def true_positions(fits: ColumnFits) -> np.ndarray:
    site, position, _, _ = exact.structure(fits.class_name)
    nearest = np.argmin(np.linalg.norm(site[None] - fits.site_pm[:, None], axis=2), axis=1)
    return position[nearest]


def spacing(fits: ColumnFits) -> float:
    corner = fits.position_pm[fits.is_metal][:3]  # sites are sorted by radius
    return float(np.linalg.norm(corner - np.roll(corner, 1, axis=0), axis=1).mean())


def test_jacobian_against_central_differences() -> None:
    geometry, state, profile = small_model(np.random.default_rng(1))
    analytic = jacobian(geometry, state, profile, FULL_BLUR)
    free = np.array([0, 1, 2, 4, 5])
    shared = profile_jacobian(geometry, state, profile, free)
    n = int((~state.empty).sum())
    sizes = [(0, 0.01), (n, 0.01), (2 * n, 1.0), (len(analytic) - 11, 1.0)]
    sizes += [(len(analytic) - 9, 0.01), (len(analytic) - 1, 0.1), (len(analytic) - 2, 0.1)]
    for row, step in sizes:
        change = np.zeros(len(analytic))
        change[row] = step
        up, down = (state.moved(s * change, FULL_BLUR) for s in (1, -1))
        difference = predict(geometry, up, profile) - predict(geometry, down, profile)
        # patches of 1 nm: tails beyond are left out of the Jacobian, 1e-4 of its peak
        atol = 2e-4 * np.abs(analytic[row]).max()
        np.testing.assert_allclose(analytic[row], difference / (2 * step), atol=atol)
    for i, index in enumerate(free):
        images = []
        for sign in (1, -1):
            coefficient = profile.coefficient.copy()
            coefficient[index] += sign * 1e-3
            images.append(predict(geometry, state, replace(profile, coefficient=coefficient)))
        difference = (images[0] - images[1]) / 2e-3
        np.testing.assert_allclose(shared[i], difference, atol=1e-9 * np.abs(difference).max())


@pytest.mark.parametrize("spline", [True, False])
def test_noise_free_recovery_of_a_model_in_the_family(spline: bool) -> None:
    rng = np.random.default_rng(2)
    geometry, truth, profile = small_model(rng, spline)
    data = predict(geometry, truth, profile)
    start = replace(
        truth,
        position_pm=geometry.site_pm.copy(),
        weight=truth.weight * rng.uniform(0.9, 1.1, len(truth.weight)),
        background=np.zeros_like(truth.background),
        blur_pm2=truth.blur_pm2 + [40.0, 10.0, -40.0],
    )
    free = np.array([0, 1, 2, 4, 5]) if spline else np.arange(0)
    first = profile.coefficient.copy()
    first[free] *= 0.97
    fit = fit_jointly(
        geometry,
        {"SV": Target(data, 100, 0.0, TRACELESS_BLUR if spline else FULL_BLUR)},
        {"SV": start},
        replace(profile, coefficient=first),
        free,
        0.3,
        1e-7,
        40,
    )
    assert fit.converged
    # 1e-6 px of 20 pm
    np.testing.assert_allclose(fit.states["SV"].position_pm, truth.position_pm, atol=2e-5)
    np.testing.assert_allclose(fit.states["SV"].weight, truth.weight, rtol=1e-6, atol=0.01)
    np.testing.assert_allclose(fit.profile.coefficient, profile.coefficient, atol=1e-6)


@pytest.fixture(scope="module")
def fits() -> dict[str, dict[str, ColumnFitModel]]:
    """Noise-free class averages of the paper's probe, fitted by each model."""
    averages = {
        name: average(name, exact.average_image(name, 101), exact.N_WINDOWS[name])
        for name in exact.STRAINS
    }
    models = ("profile", "gaussians", "gaussian")
    return {m: fit_columns(averages, ColumnConfig(model=m)) for m in models}


def strain_errors(fitted: dict[str, ColumnFitModel]) -> dict[str, float]:
    base = spacing(fitted["2Se"].fits)
    return {n: spacing(m.fits) / base - 1 - exact.STRAINS[n] for n, m in fitted.items()}


@pytest.mark.slow
def test_the_profile_is_accurate(fits: dict[str, dict[str, ColumnFitModel]]) -> None:
    for model in fits["profile"].values():
        error = model.fits.position_pm - true_positions(model.fits)
        good = np.isfinite(error[:, 0])
        metal = model.fits.is_metal
        # the physics asks for 0.2 and 0.5 pm; the learnt profile does far better
        assert np.sqrt(np.mean(error[metal & good] ** 2)) < 0.05
        assert np.sqrt(np.mean(error[~metal & good] ** 2)) < 0.05
    for error in strain_errors(fits["profile"]).values():
        assert abs(error) < 3e-4


def test_weights_are_those_of_the_columns(fits: dict[str, dict[str, ColumnFitModel]]) -> None:
    for name, model in fits["profile"].items():
        weight = model.fits.weight
        assert weight[0] == pytest.approx(exact.WEIGHTS[name], abs=0.01)
        assert weight[1:][~model.fits.is_metal[1:]] == pytest.approx(0.70, abs=0.01)


def test_single_gaussians_shrink_every_strain(fits: dict[str, dict[str, ColumnFitModel]]) -> None:
    # the tails of the probe: 0.4-1.2 % of strain, enough to turn the sign of SeTe
    errors = strain_errors(fits["gaussian"])
    assert exact.STRAINS["SeTe"] + errors["SeTe"] < 0
    assert -0.015 < errors["2Te"] < -0.008
    assert 0.003 < errors["SV"] < 0.006
    # all together, but of Gaussian shape: better, not good
    together = strain_errors(fits["gaussians"])
    for name in ("SeTe", "2Te", "SV", "DV"):
        assert 3e-4 < abs(together[name]) < 0.5 * abs(errors[name])


def test_the_empty_centre_of_a_double_vacancy(fits: dict[str, dict[str, ColumnFitModel]]) -> None:
    for name, model in fits["profile"].items():
        found = model.fits
        site, is_metal = ideal_sites(A, 1000.0 - ColumnConfig().rim_pm)
        np.testing.assert_allclose(found.site_pm, site)
        np.testing.assert_array_equal(found.is_metal, is_metal)
        assert (found.flag[0] == FLAGS["low_signal"]) == (name == "DV")
        assert np.isnan(found.position_pm[0]).all() == (name == "DV")
        assert (found.flag[1:] == 0).all()
        assert np.isfinite(found.position_pm[1:]).all()


@pytest.mark.parametrize("optics", [{}, {"source_fwhm_pm": 80.0}])
def test_the_prior_of_noisy_averages_draws_no_strain(optics: dict[str, float]) -> None:
    """Means without noise that are held for noisy ones: what is off is the prior's doing.

    That of an aperture without a focal spread drew by 0.115 and 0.080 % (2Te).
    """
    numbers = {"2Se": 60, "SeTe": 30, "2Te": 20, "SV": 30}
    averages = {}
    for name, n in numbers.items():
        mean = exact.average_image(name, 101, **optics)
        averages[name] = replace(average(name, mean, n), sem=np.full_like(mean, 0.2 / np.sqrt(n)))
    found = fit_columns(averages, ColumnConfig(fit_radius_pm=1000.0), respond=False)
    for error in strain_errors(found).values():
        assert abs(error) < 7e-4


def noisy(name: str, n: int, rng: np.random.Generator, size: int = 61) -> ClassStack:
    """Windows with noise whose pixels are correlated, as those of resampled images are."""
    image = exact.average_image(name, size)
    noise = gaussian_filter(rng.normal(size=(n, size, size)), (0, 0.8, 0.8))
    return stack(name, image + 0.05 * noise / noise.std())


@pytest.mark.slow
def test_errors_are_honest() -> None:
    config = ColumnConfig(n_coefficients=8, check_coefficients=7, compare=False)
    pulls, checks = [], []
    for rng in np.random.default_rng(5).spawn(10):
        stacks = {name: noisy(name, 30, rng) for name in ("2Se", "SV")}
        measured = measure_columns(stacks, {n: average_of(s) for n, s in stacks.items()}, config)
        for name in stacks:
            found = measured[name].fits
            shared = np.sum(measured[name].profile_shift_pm ** 2, axis=1).reshape(-1, 2)
            sigma = np.sqrt(found.sigma_pm**2 + shared)
            pulls.append((found.position_pm - true_positions(found)) / sigma)
            by_noise = np.sqrt(np.sum(measured[name].check_shift_pm ** 2, axis=1)).reshape(-1, 2)
            checks.append((measured[name].check_position_pm - found.position_pm) / by_noise)
    pull = np.concatenate(pulls)
    # 10 seeds, 2 classes, 13 columns, 2 axes: 520 pulls, their neighbours slightly
    # correlated; sigma from 30 windows widens them by 1 / (2 * 29) = 2 %
    assert abs(pull.mean()) < 3 / np.sqrt(0.5 * pull.size)
    assert pull.std() == pytest.approx(1.02, abs=0.11)
    # unbiased by less than three standard errors at each column (means of 20 at each coordinate)
    worst = np.abs(np.array(pulls).mean(axis=0)).max() * np.sqrt(len(pulls))
    assert worst < 4.2  # the largest of 26 normal deviates exceeds that once in 1400
    # another number of coefficients differs by what the same noise makes of both
    # and by what both can't describe alike, which is the same for all seeds
    by_seed = np.array(checks).reshape(10, 2, -1).std(axis=0, ddof=1)
    assert np.sqrt(np.mean(by_seed**2)) == pytest.approx(1.1, abs=0.25)


@pytest.mark.slow
def test_influence_has_no_mean_and_moves_the_fit() -> None:
    rng = np.random.default_rng(6)
    stacks = {name: noisy(name, 20, rng) for name in ("2Se", "SV")}
    before = {name: s.windows.copy() for name, s in stacks.items()}
    config = ColumnConfig(model="gaussians")
    averages = {n: average_of(s) for n, s in stacks.items()}
    models = fit_columns(averages, config)
    response = influence(models["SV"], stacks["SV"])
    assert response.shape == (20, models["SV"].fits.position_pm.size)
    np.testing.assert_allclose(response.mean(axis=0), 0, atol=1e-12)
    half = stack("SV", stacks["SV"].windows[:10])
    again = fit_columns({"SV": average_of(half)}, config)["SV"].fits.position_pm
    predicted = models["SV"].fits.position_pm.ravel() + response[:10].mean(axis=0)
    # the second order of a shift s in a column of width 55 pm is about s^2 / 55
    shift = np.abs(again - models["SV"].fits.position_pm).max()
    assert 0.2 < shift < 3.0
    np.testing.assert_allclose(again.ravel(), predicted, atol=2 * shift**2 / 55.0)
    for name, s in stacks.items():
        np.testing.assert_array_equal(s.windows, before[name])


def test_without_a_check_all_else_is_the_same() -> None:
    rng = np.random.default_rng(7)
    stacks = {name: noisy(name, n, rng, 41) for name, n in (("2Se", 12), ("SV", 6))}
    averages = {name: average_of(stack) for name, stack in stacks.items()}
    config = ColumnConfig(compare=False, correct=False)
    found = measure_columns(stacks, averages, config)
    plain = measure_columns(stacks, averages, config, check=False)
    for name, one in plain.items():
        assert np.array_equal(one.check_position_pm, one.fits.position_pm, equal_nan=True)
        assert not np.any(one.check_shift_pm)
        assert np.any(found[name].check_position_pm != one.check_position_pm)
        for same in ("influence_pm", "profile_shift_pm"):
            assert np.array_equal(getattr(found[name], same), getattr(one, same), equal_nan=True)
        assert np.array_equal(
            found[name].fits.covariance_pm2, one.fits.covariance_pm2, equal_nan=True
        )


@pytest.mark.slow
def test_one_window_has_no_covariance() -> None:
    rng = np.random.default_rng(7)
    stacks = {"2Se": noisy("2Se", 10, rng), "DV": noisy("DV", 1, rng)}
    lone = replace(average_of(noisy("DV", 2, rng)), mean=stacks["DV"].windows[0], n=1)
    nothing = replace(lone, sem=np.full_like(lone.mean, np.nan))
    averages = {"2Se": average_of(stacks["2Se"]), "DV": nothing}
    measured = measure_columns(stacks, averages, ColumnConfig(model="gaussians", compare=False))
    assert np.isnan(measured["DV"].fits.covariance_pm2).all()
    assert np.isfinite(measured["DV"].fits.position_pm[1:]).all()
    assert np.isfinite(measured["2Se"].fits.covariance_pm2).all()


def test_a_fit_that_gets_no_time_says_so() -> None:
    averages = {"SV": average("SV", exact.average_image("SV", 61))}
    config = ColumnConfig(model="gaussians", max_iterations=1, tolerance_pm=0.0)
    found = fit_columns(averages, config)["SV"].fits
    assert (found.flag & FLAGS["not_converged"]).all()
    assert np.isnan(found.position_pm).all()


def test_a_column_far_from_its_site_is_flagged() -> None:
    site, position, weight, _ = exact.structure("2Se")
    stray = int(np.argmin(np.linalg.norm(site - [A, 0.0], axis=1)))
    position = position.copy()
    position[stray] += [0.0, 40.0]
    image = exact.render(position, weight, exact.transfer(), 61)
    config = ColumnConfig(model="gaussians", max_shift_pm=30.0, min_distance_pm=165.0)
    found = fit_columns({"2Se": average("2Se", image)}, config)["2Se"].fits
    place = int(np.argmin(np.linalg.norm(found.site_pm - [A, 0.0], axis=1)))
    assert found.flag[place] & FLAGS["at_bound"]
    assert np.isnan(found.position_pm[place]).all()
    # its neighbour above is closer than allowed: flagged, with a position all the same
    above = int(np.argmin(np.linalg.norm(found.site_pm - [A, A / np.sqrt(3)], axis=1)))
    assert found.flag[above] == FLAGS["overlapping"]
    assert np.isfinite(found.position_pm[above]).all()


def test_a_column_that_has_left_the_pixels_is_dropped() -> None:
    geometry, truth, profile = small_model(np.random.default_rng(3))
    data = predict(geometry, truth, profile)
    position = truth.position_pm.copy()
    position[4] = (9000.0, -9000.0)  # no pixel follows it
    rows = jacobian(geometry, replace(truth, position_pm=position), profile, FULL_BLUR)
    lost = ~rows.any(axis=1)
    assert lost.sum() == 3  # x, y and weight
    inverse = NormalEquations.of(rows @ rows.T).inverse()
    assert np.isfinite(inverse).all()
    assert not inverse[lost].any()
    kept = rows[~lost]
    alone = NormalEquations.of(kept @ kept.T).inverse()
    np.testing.assert_allclose(inverse[np.ix_(~lost, ~lost)], alone, rtol=1e-9, atol=0)
    fit = fit_jointly(
        geometry,
        {"SV": Target(data, 1, 0.0, FULL_BLUR)},
        {"SV": replace(truth, position_pm=position)},
        profile,
        np.arange(0),
        0.3,
        1e-3,
        5,
    )
    assert np.isfinite(fit.states["SV"].position_pm).all()
    assert not np.diag(fit.linearised["SV"].inverse)[np.flatnonzero(lost)].any()


@pytest.mark.parametrize("rounding", [0.0, 1e-9])
def test_columns_that_have_merged_share_what_is_there(rounding: float) -> None:
    rows = np.random.default_rng(0).normal(size=(4, 50))
    rows[3] = rows[2]
    normal = rows @ rows.T
    normal[[2, 3], [3, 2]] *= 1.0 + rounding
    data = rows[0] + 2.0 * rows[2]
    assert np.allclose(
        NormalEquations.of(normal).solve(rows @ data) @ rows, data, rtol=0, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", ["profile", "gaussians", "gaussian"])
def test_one_window_of_noise_ends_in_flags(model: str) -> None:
    rng = np.random.default_rng(5)
    perfect = average("2Se", exact.average_image("2Se", 61))
    noise = average("DV", rng.normal(0.3, 2.0, (61, 61)), n=1)
    found = fit_columns({"2Se": perfect, "DV": noise}, ColumnConfig(model=model))["DV"].fits
    bad = (found.flag & ~FLAGS["overlapping"]) != 0
    assert bad.any()
    assert np.isnan(found.position_pm[bad]).all()
    assert np.isfinite(found.position_pm[~bad]).all()


def test_single_gaussians_beyond_the_pixels_have_no_position() -> None:
    image = exact.average_image("2Se", 61)
    site = np.array([[0.0, 0.0], [9000.0, 0.0], [30 * STEP, 30 * STEP]])
    found = fit_single_gaussians(image, STEP, site, 80.0, 55.0)
    assert found.converged.tolist() == [True, False, False]
    assert np.isfinite(found.position_pm).all(axis=1).tolist() == [True, False, False]


def test_bad_averages_are_refused() -> None:
    good = average("2Se", exact.average_image("2Se", 61))
    holed = good.mean.copy()
    holed[3, 4] = np.nan
    with pytest.raises(DefectStrainError, match="got no class average"):
        fit_columns({})
    with pytest.raises(DefectStrainError, match="holds NaN"):
        fit_columns({"2Se": replace(good, mean=holed)})
    with pytest.raises(DefectStrainError, match="expected those of 2Se"):
        fit_columns({"2Se": good, "SV": replace(good, step_pm=10.0)})
    with pytest.raises(DefectStrainError, match="square of odd side"):
        fit_columns({"2Se": replace(good, mean=good.mean[:, :-1])})
    with pytest.raises(DefectStrainError, match="use larger windows"):
        fit_columns({"2Se": average("2Se", exact.average_image("2Se", 25))})


def test_settings() -> None:
    config = ColumnConfig(model="gaussian", single_radius_pm=100.0)
    assert ColumnConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(DefectStrainError, match="expected one of profile"):
        ColumnConfig(model="lorentzian")
    with pytest.raises(DefectStrainError, match="n_coefficients: got 3"):
        ColumnConfig(n_coefficients=3)
    with pytest.raises(DefectStrainError, match="got unknown setting"):
        ColumnConfig.from_dict({"radius": 80.0})
    with pytest.raises(DefectStrainError, match="at least 14 pixels"):
        image = exact.average_image("2Se", 61)
        fit_columns(
            {"2Se": average("2Se", image)}, ColumnConfig(model="gaussian", single_radius_pm=30.0)
        )
