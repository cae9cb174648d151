"""The error budget: each part against errors that were put in."""

from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest
from class_stage import measurement, noisy

from napari_defectstrain.columns.averages.measure import ColumnMeasurement
from napari_defectstrain.columns.averages.types import Alternative
from napari_defectstrain.precision.budget import BudgetConfig, ErrorBudget, KnownBias, error_budget
from napari_defectstrain.precision.budget_parts import Pair, _excess, few_windows_factor
from napari_defectstrain.precision.image_scatter import WindowValues, between_images, shift_excess
from napari_defectstrain.strain.displacement import displacement_field
from napari_defectstrain.types import ClassStack, DefectStrainError

A = exact.A_PM
REFERENCE = measurement("2Se", 0.0, 400, np.random.default_rng(100))


def stack_for(measured: ColumnMeasurement, images: int = 10) -> ClassStack:
    """A stack of as many windows, spread over images; only its labels count here."""
    rng = np.random.default_rng(0)
    n = len(measured.influence_pm)
    small = noisy(measured.fits.class_name, n, rng)
    shift = rng.normal(0, 3.0, (n, 2))
    return replace(small, image_index=np.arange(n) % images, shift_pm=shift)


def nothing_known(measured: ColumnMeasurement) -> KnownBias:
    zero = np.zeros_like(measured.fits.site_pm)
    return KnownBias(zero, zero[None], zero, zero, corrected=True)


def budget(
    measured: ColumnMeasurement,
    known: KnownBias | None = None,
    config: BudgetConfig | None = None,
    stack: ClassStack | None = None,
    single_atom: float = 0.0,
    reference: ColumnMeasurement = REFERENCE,
) -> ErrorBudget:
    return error_budget(
        measured,
        reference,
        stack or stack_for(measured),
        stack_for(reference),
        known or nothing_known(measured),
        config or BudgetConfig(),
        single_atom,
        np.random.default_rng(5),
    )


@pytest.mark.slow
def test_independent_windows_have_a_statistical_error_and_little_else() -> None:
    measured = measurement("SV", -0.05, 300, np.random.default_rng(1))
    found = budget(measured)
    assert list(found.parts) == list(found.strain_parts)
    # 4 pm a window; the mean of the far columns, taken out, adds a few per cent
    expected = 4.0 * np.sqrt(1 / 300 + 1 / 400)
    assert np.median(found.statistical_pm) == pytest.approx(expected, rel=0.1)
    # three columns of that error each: the spacing scatters as one column does
    strain = np.hypot(4.0 / np.sqrt(300), 0.95 * 4.0 / np.sqrt(400)) / A
    assert found.sigma_stat == pytest.approx(strain, rel=0.15)
    assert found.sigma_total == pytest.approx(found.sigma_stat, rel=0.1)
    assert np.median(found.total_pm) == pytest.approx(expected, rel=0.15)


def test_few_windows_of_either_make_the_statistical_error_larger() -> None:
    for n_own, n_base in ((200, 8), (8, 200)):
        rng = np.random.default_rng(3)
        own, base = measurement("SV", -0.05, n_own, rng), measurement("2Se", 0.0, n_base, rng)
        plain = displacement_field(own.fits, base.fits).sigma_pm ** 2
        found = Pair.of(own, base).statistical_pm ** 2
        more = sum(
            (few_windows_factor(n) - 1.0) * np.diag(m.fits.covariance_pm2).reshape(-1, 2)
            for m, n in ((own, n_own), (base, n_base))
        )
        np.testing.assert_allclose(found, plain + more)
        # eight windows tell nearly all of it: by 7 / 5
        assert np.median(found / plain) > 1.3


@pytest.mark.slow
def test_column_models_that_disagree_beyond_chance() -> None:
    rng = np.random.default_rng(2)
    measured = measurement("SV", -0.05, 300, rng)
    site = measured.fits.site_pm
    near = (np.hypot(*site.T) < 0.8 * A)[:, None]
    outward = site / np.maximum(np.hypot(*site.T), 1.0)[:, None]

    def other(of: ColumnMeasurement, shift: np.ndarray, noise: float) -> Alternative:
        extra = noise * rng.normal(size=of.influence_pm.shape)
        extra -= extra.mean(axis=0)
        # a model's own noise moves it by its mean, which its influences tell
        chance = noise / np.sqrt(len(extra)) * rng.normal(size=of.fits.position_pm.shape)
        position = of.fits.position_pm + shift + chance
        return Alternative(position, np.zeros_like(position), of.influence_pm + extra)

    flat = {"gaussians": other(REFERENCE, 0.0 * site, 1.0)}
    base = replace(REFERENCE, alternatives=flat)
    agreeing = replace(measured, alternatives={"gaussians": other(measured, 0 * site, 1.0)})
    differing = replace(
        measured, alternatives={"gaussians": other(measured, 2.0 * near * outward, 1.0)}
    )
    none = budget(agreeing, reference=base)
    some = budget(differing, reference=base)
    metals = near.ravel() & measured.fits.is_metal
    # 2 pm outwards, half of its variance, shared by x and y: 1 pm each; the difference of the
    # models scatters by 0.08 pm, which is taken out
    np.testing.assert_allclose(some.parts["model"][metals], 1.0, rtol=0.15)
    assert none.parts["model"].max() < 0.08
    # the spacing grows by 2 sqrt(3) pm, half of the variance again
    assert some.strain_parts["model"] == pytest.approx(2 * np.sqrt(1.5) / A, rel=0.1)
    assert none.strain_parts["model"] < 3e-4
    biased = replace(
        differing,
        alternatives={
            "gaussians": replace(differing.alternatives["gaussians"], bias_pm=2.0 * near * outward)
        },
    )
    # a known bias is no disagreement
    assert budget(biased, reference=base).strain_parts["model"] < 3e-4


def test_errors_of_the_profile_cancel_where_both_have_them() -> None:
    measured = measurement("SeTe", 0.006, 50, np.random.default_rng(3))
    radial = 1e-3 * REFERENCE.fits.site_pm.ravel()[:, None]
    base = replace(REFERENCE, profile_shift_pm=radial)
    same = budget(replace(measured, profile_shift_pm=radial), reference=base)
    # 0.1 % on both spacings leaves 0.1 % of 0.6 % of strain
    assert same.strain_parts["profile"] < 1e-5
    twice = budget(replace(measured, profile_shift_pm=2 * radial), reference=base)
    assert twice.strain_parts["profile"] == pytest.approx(1e-3, rel=0.02)
    inner = np.hypot(*measured.fits.site_pm.T) < 0.8 * A
    expected = 1e-3 * A / np.sqrt(3)
    radius = np.hypot(*twice.parts["profile"][inner & measured.fits.is_metal].T)
    # the weighted mean of the columns, taken out, isn't quite zero: their weights scatter
    np.testing.assert_allclose(radius, expected, rtol=0.1)


def test_another_profile_counts_where_it_surely_differs_by_more_than_noise() -> None:
    measured = measurement("SeTe", 0.006, 50, np.random.default_rng(3))
    radial = 1e-3 * measured.fits.site_pm
    base = replace(REFERENCE, check_shift_pm=np.zeros((radial.size, 1)))

    def checked(noise: float) -> ErrorBudget:
        by_noise = noise * radial.reshape(-1, 1)
        other = measured.fits.position_pm + radial
        moved = replace(measured, check_position_pm=other, check_shift_pm=by_noise)
        return budget(moved, reference=base)

    assert checked(0.0).strain_parts["profile"] == pytest.approx(1e-3, rel=0.02)
    assert checked(0.3).strain_parts["profile"] == pytest.approx(np.sqrt(0.91) * 1e-3, rel=0.02)
    assert checked(0.6).strain_parts["profile"] == 0.0  # 1.7 standard errors of noise
    assert checked(1.1).strain_parts["profile"] < 1e-5
    whole, less = (np.square(checked(noise).parts["profile"]).sum() for noise in (0.0, 0.3))
    assert less == pytest.approx(0.91 * whole, rel=0.05)
    assert np.all(checked(1.2).parts["profile"] < 0.2)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_noise_between_two_fits_rarely_counts(n: int) -> None:
    """The positive part of its square over its mean was half of its variance on average."""
    rng = np.random.default_rng(n)
    counted, square, groups = [], [], np.zeros(2, dtype=int)
    for _ in range(1000):
        away = rng.normal(size=(n, 2))
        told = (away - away.mean(axis=0)) / np.sqrt(n * (n - 1))
        found = _excess(away.mean(axis=0), told.T, groups, n)
        counted.append(found[0] > 0.0)
        square.append(n * found[0])
    assert np.mean(counted) == pytest.approx(0.05, abs=0.04)
    assert np.median(square) == 0.0
    # what is far beyond noise counts but for the noise
    sure = _excess(np.array([3.0, 3.0, np.nan]), 0.1 * np.eye(3), np.array([0, 0, 1]), n)
    assert sure == pytest.approx([9.0 - 0.01, np.nan], nan_ok=True)


def test_tilt_moves_the_single_atom_of_a_vacancy_alone() -> None:
    measured = measurement("SV", -0.05, 300, np.random.default_rng(4))
    config = BudgetConfig(tilt_mrad=10.0)
    one_image = budget(measured, config=config, stack=stack_for(measured, 1), single_atom=1.0)
    centre = np.hypot(*measured.fits.site_pm.T) < 1.0
    # 10 mrad move the atom 1.7 pm from its place above the metals' plane
    np.testing.assert_allclose(one_image.parts["tilt"][centre], 1.7, atol=0.05)
    assert np.all(one_image.parts["tilt"][~centre] == 0.0)
    assert one_image.strain_parts["tilt"] == 0.0
    nine = budget(measured, config=config, stack=stack_for(measured, 9), single_atom=1.0)
    np.testing.assert_allclose(nine.parts["tilt"][centre], 1.7 / 3, atol=0.02)


def test_known_biases_leave_their_uncertainty_or_count_in_full() -> None:
    measured = measurement("SV", -0.05, 300, np.random.default_rng(6))
    radial = 1e-3 * measured.fits.site_pm
    errors = np.stack([0.3 * radial, -0.4 * radial])
    known = KnownBias(radial, errors, 2 * radial, 2 * radial, corrected=True)
    corrected = budget(measured, known)
    # of strain: errors of 0.03 and 0.04 %, 0.2 % of neighbours; the class's spacing is 5 % less
    assert corrected.strain_parts["impurity"] == pytest.approx(0.5e-3, rel=0.06)
    np.testing.assert_allclose(corrected.parts["impurity"], 0.5 * np.abs(radial), atol=1e-9)
    assert corrected.strain_parts["neighbours"] == pytest.approx(0.2 * 2e-3, rel=0.06)
    assert corrected.strain_corrections["neighbours"] == pytest.approx(2e-3, rel=0.06)
    full = budget(measured, replace(known, corrected=False))
    assert full.strain_parts["impurity"] == pytest.approx(np.hypot(1e-3, 0.5e-3), rel=0.06)
    assert full.strain_parts["neighbours"] == pytest.approx(2e-3, rel=0.06)
    assert full.corrections == {}


def lost(measured: ColumnMeasurement, which: np.ndarray) -> ColumnMeasurement:
    """The same without the positions of some columns."""
    position = measured.fits.position_pm.copy()
    position[which] = np.nan
    influence = measured.influence_pm.copy()
    influence[:, np.repeat(which, 2)] = np.nan
    covariance = measured.fits.covariance_pm2.copy()
    covariance[np.repeat(which, 2)] = covariance[:, np.repeat(which, 2)] = np.nan
    fits = replace(measured.fits, position_pm=position, covariance_pm2=covariance)
    return replace(measured, fits=fits, influence_pm=influence, check_position_pm=position)


@pytest.mark.slow
def test_metals_without_a_position_cost_no_more_than_their_own_errors() -> None:
    measured = measurement("SV", -0.05, 60, np.random.default_rng(20))
    site, is_metal = measured.fits.site_pm, measured.fits.is_metal
    whole = budget(measured)
    far = np.zeros(len(site), bool)
    far[np.flatnonzero(is_metal & (np.hypot(*site.T) > 0.8 * A))[0]] = True
    one = budget(lost(measured, far))
    assert one.sigma_stat == pytest.approx(whole.sigma_stat, rel=0.1)
    assert np.isnan(one.statistical_pm[far]).all()
    assert np.isfinite(one.total_pm[~far]).all()
    in_reference = budget(measured, reference=lost(REFERENCE, far))
    assert in_reference.sigma_stat == pytest.approx(whole.sigma_stat, rel=0.1)
    none = budget(lost(measured, is_metal))
    assert np.isnan(none.sigma_total)
    assert none.strain_design_effect == 1.0
    assert np.isnan([none.strain_parts[part] for part in ("scan", "registration")]).all()
    assert np.isfinite(none.total_pm[~is_metal]).all()


def test_what_cannot_be_told_is_unknown_and_counts_as_none() -> None:
    measured = measurement("SV", -0.05, 6, np.random.default_rng(21))
    few = budget(
        measured,
        replace(nothing_known(measured), neighbours_known=False),
        stack=stack_for(measured, 3),
    )
    assert few.unknown == ("model", "registration", "scan", "neighbours")
    for part in few.unknown:
        assert np.isnan(few.strain_parts[part])
        assert np.isnan(few.parts[part]).all()
        assert np.isnan(few.rms_pm(measured.fits.is_metal)[part])
    assert few.strain_systematic == pytest.approx(few.strain_parts["profile"])
    assert np.isfinite(few.sigma_total)
    assert np.isfinite(few.total_pm).all()


def values(
    windows: int, images: int, shared: float, rng: np.random.Generator, balanced: bool = False
) -> WindowValues:
    image = np.arange(windows) % images
    value = rng.normal(size=(windows, 60)) + shared * rng.normal(size=(images, 60))[image]
    if balanced:  # what one window has too much, the others of its image have too little
        for g in range(images):
            value[image == g] -= value[image == g].mean(axis=0)
    value -= value.mean(axis=0)
    return WindowValues(value, image, rng.random(windows))


def test_images_that_share_an_error() -> None:
    groups = np.zeros(60, dtype=int)
    rng = np.random.default_rng(7)
    independent = between_images(values(200, 10, 0.0, rng), None, groups, rng, 1)
    assert independent.ratio[0] == pytest.approx(1.0, abs=4 * independent.chance_std[0])
    # 60 quantities over 10 images tell a variance to sqrt(2 / 540) = 6 %
    assert independent.chance_std[0] == pytest.approx(0.06, abs=0.02)
    sharing = between_images(values(200, 10, 0.5, rng), None, groups, rng, 1)
    # the shared variance of 0.25 over 10 images, in 60 quantities: known to 6 % of 0.03
    assert sharing.excess[0] == pytest.approx(0.25 / 10, rel=0.3)
    assert sharing.design_effect[0] == 1.0
    made_up = between_images(values(200, 10, 0.0, rng, balanced=True), None, groups, rng, 1)
    assert made_up.ratio[0] < 1e-20
    assert made_up.design_effect[0] < 1e-20
    assert made_up.excess[0] == 0.0


def test_four_images_tell_what_they_differ_by_without_bias() -> None:
    rng, groups = np.random.default_rng(14), np.zeros(60, dtype=int)
    found = [
        between_images(values(40, 4, 2.0, rng), None, groups, rng, 1).excess[0] for _ in range(20)
    ]
    # 4 over 4 images and 1 over 40 windows, less what 40 windows that scatter by 4 + 1 say by
    # themselves; 60 quantities of 3 degrees of freedom each, 20 times: to 2.4 %
    assert np.mean(found) == pytest.approx(4.0 / 4 + 1.0 / 40 - 5.0 / 40, rel=0.1)


def test_what_class_and_reference_share_in_an_image_cancels() -> None:
    rng = np.random.default_rng(8)
    common = rng.normal(size=(10, 60))
    groups = np.zeros(60, dtype=int)

    def of(n: int, sign: float) -> WindowValues:
        image = np.arange(n) % 10
        value = rng.normal(size=(n, 60)) + sign * common[image]
        return WindowValues(value - value.mean(axis=0), image, rng.random(n))

    own, base = of(200, 1.0), of(300, -1.0)  # the reference's count negatively
    assert between_images(own, base, groups, rng, 1).excess[0] < 0.003
    assert between_images(own, None, groups, rng, 1).excess[0] > 0.05


def test_too_few_images_or_windows_tell_nothing() -> None:
    rng = np.random.default_rng(9)
    groups = np.zeros(60, dtype=int)
    few = between_images(values(60, 3, 5.0, rng), None, groups, rng, 1)
    assert (few.ratio[0], few.design_effect[0]) == (1.0, 1.0)
    assert np.isnan(few.excess[0])
    assert np.isnan(shift_excess(values(7, 7, 0.0, rng), groups, rng, 1)[0])


def test_windows_that_were_moved_far() -> None:
    rng = np.random.default_rng(10)
    groups = np.zeros(60, dtype=int)
    plain = values(200, 10, 0.0, rng)
    assert shift_excess(plain, groups, rng, 1)[0] < 0.002  # of 1 / 200
    far = (plain.shift_pm > np.median(plain.shift_pm))[:, None]
    pulled = replace(plain, value=plain.value + 0.6 * (far - far.mean()))
    # the halves differ by 0.6, the mean of all is 0.3 from either
    assert shift_excess(pulled, groups, rng, 1)[0] == pytest.approx(0.09, rel=0.2)


def test_a_single_quantity_rarely_exceeds_chance_by_chance() -> None:
    rng = np.random.default_rng(12)
    alarms = []
    for _ in range(300):
        every = values(20, 5, 0.0, rng)
        one = replace(every, value=every.value[:, :1])
        alarms.append(shift_excess(one, np.zeros(1, dtype=int), rng, 1)[0] > 0.0)
    # one in 20, give or take the 100 permutations; beyond one standard deviation are 12 %
    assert 0.02 < np.mean(alarms) < 0.09


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(DefectStrainError, match=r"BudgetConfig\.tilt_mrad: got -1"):
        BudgetConfig(tilt_mrad=-1.0)
    config = BudgetConfig(tilt_mrad=3.0, correct=False)
    assert BudgetConfig.from_dict(config.to_dict()) == config
