"""Fits of whole averages: a column too weak to hold its place doesn't take another's."""

from dataclasses import replace

import exact_images as exact
import numpy as np
import pytest
from class_stage import average_of, noisy

from napari_defectstrain.columns.averages.crowded import LinearStart
from napari_defectstrain.columns.averages.joint import FULL_BLUR, Target, fit_jointly
from napari_defectstrain.columns.averages.models import (
    _fit_without_strays,
    _geometry,
    fit_start,
    fit_together,
)
from napari_defectstrain.columns.averages.types import ColumnConfig
from napari_defectstrain.columns.profiles import gaussian_profile
from napari_defectstrain.precision.spacings import mean_spacing
from napari_defectstrain.types import ClassAverage, KnownProbe, no_progress

CONFIG = ColumnConfig(fit_radius_pm=560.0, compare=False)
SIGMA_PM = 60.0


@pytest.fixture(scope="module")
def stray():
    """An empty centre that begins as a faint column, most of the way to a metal."""
    average = average_of(noisy("DV", 7, np.random.default_rng(1), 0.02))
    geometry = _geometry(average, CONFIG, SIGMA_PM)
    profile = gaussian_profile(SIGMA_PM)
    data = average.mean[geometry.pixel]
    state = LinearStart.of(geometry, profile).state(data, 0.0)
    centre = int(np.argmin(np.hypot(*geometry.site_pm.T)))
    metal = int(np.argmin(np.hypot(*(geometry.site_pm - [-165.0, -95.0]).T)))
    position, weight = state.position_pm.copy(), state.weight.copy()
    position[centre] = 0.8 * geometry.site_pm[metal]
    weight[centre] = 0.1 * weight[metal]
    empty = state.empty.copy()
    empty[centre] = False
    begin = replace(state, position_pm=position, weight=weight, empty=empty)
    target = Target(data, 7, 4e-4, FULL_BLUR)
    return geometry, target, begin, profile, centre, metal


def shift_of(joint, geometry, column):
    return float(np.hypot(*(joint.states["DV"].position_pm - geometry.site_pm)[column]))


def test_faint_column_on_its_neighbour_is_emptied(stray):
    geometry, target, begin, profile, centre, metal = stray
    given = (geometry, {"DV": target}, {"DV": begin}, profile, np.arange(0), 1.0)
    astray = fit_jointly(*given, 1e-2, 15, False)
    assert shift_of(astray, geometry, centre) > CONFIG.max_shift_pm
    settled = _fit_without_strays(*given, CONFIG, False)
    assert settled.states["DV"].empty[centre]
    outward = -exact.STRAINS["DV"] * exact.RING_PM
    assert shift_of(settled, geometry, metal) == pytest.approx(outward, abs=3.0)


def test_column_that_leaves_the_pixels_is_held_at_its_site(stray):
    geometry, target, begin, profile, _, metal = stray
    radius = np.hypot(*geometry.site_pm.T)
    rim = int(np.argmax(np.where(geometry.is_metal, radius, 0.0)))
    assert radius[rim] > CONFIG.fit_radius_pm - CONFIG.rim_pm
    position, weight = begin.position_pm.copy(), begin.weight.copy()
    position[rim] *= 1.5  # no pixel is left to tell its place or its weight
    weight[rim] *= -1e6
    away = replace(begin, position_pm=position, weight=weight)
    given = (geometry, {"DV": target}, {"DV": away}, profile, np.arange(0), 1.0)
    astray = fit_jointly(*given, 1e-2, 15, False)
    assert shift_of(astray, geometry, rim) > CONFIG.max_shift_pm
    settled = _fit_without_strays(*given, CONFIG, False)
    assert settled.converged and shift_of(settled, geometry, rim) == 0.0
    outward = -exact.STRAINS["DV"] * exact.RING_PM
    assert shift_of(settled, geometry, metal) == pytest.approx(outward, abs=3.0)


def test_columns_that_hold_their_places_are_left_alone():
    averages = {
        name: average_of(noisy(name, 20, np.random.default_rng(2), 0.02)) for name in ("2Se", "SV")
    }
    start = fit_start(averages, CONFIG, no_progress)
    fitted = fit_together(averages, CONFIG, start, no_progress)
    assert not fitted["SV"].structure.state.empty[:20].any()


def test_factors_do_what_operators_do():
    rng = np.random.default_rng(4)
    averages = {name: average_of(noisy(name, 20, rng, 0.02)) for name in ("2Se", "DV")}
    start = fit_start(averages, CONFIG, no_progress)
    whole = fit_together(averages, CONFIG, start, no_progress)
    factors = fit_together(averages, CONFIG, start, no_progress, operators=False)
    for name, model in whole.items():
        pixels = rng.normal(size=(3, int(model.pixel.sum())))
        alike = factors[name]
        assert alike.operator.shape == (len(model.operator), 0) and alike.response is not None
        own, by_profile = alike.response.of(pixels)
        expected = pixels @ model.operator.T, pixels @ model.profile_operator.T
        assert np.isnan(own).all(axis=0).sum() == (2 if name == "DV" else 0)  # no centre
        for found, told in zip((own, by_profile), expected, strict=True):
            scale = np.nanmax(np.abs(told))
            np.testing.assert_allclose(found, told, atol=1e-11 * scale, rtol=0)
        np.testing.assert_array_equal(alike.profile_gain, model.profile_gain)
        np.testing.assert_array_equal(alike.fits.position_pm, model.fits.position_pm)
        assert alike.without_operators().response is None


def test_few_windows_follow_what_is_known_of_their_probe():
    """Four nanometres out of focus: without it their strain is half a standard error too small."""
    averages = {}
    for name, n in {"2Se": 15, "SV": 5, "2Te": 5}.items():
        _, position, weight, _ = exact.structure(name)
        mean = exact.render(position, weight, exact.transfer(defocus_pm=4000.0), 61)
        sem = np.full_like(mean, 0.2 / np.sqrt(n))  # of noise that isn't there
        averages[name] = ClassAverage(name, mean, sem, n, 0, exact.STEP_PM, exact.A_PM, 1.0)
    away, error = {}, {}
    for probe in (None, KnownProbe(0.9, 0.3)):
        start = fit_start(averages, CONFIG, no_progress, probe)
        found = fit_together(averages, CONFIG, start, no_progress)
        spacing = {name: mean_spacing(model.fits) for name, model in found.items()}
        away[probe] = {
            name: spacing[name] / spacing["2Se"] - 1.0 - exact.STRAINS[name]
            for name in ("2Te", "SV")
        }
        error[probe] = np.linalg.norm(found["SV"].profile_gain @ found["SV"].profile_prior)
    unknown, known = away.values()
    assert unknown["2Te"] < -0.003 and unknown["SV"] > 0.0015
    assert abs(known["2Te"]) < 0.001 and abs(known["SV"]) < 0.0005
    unknown, known = error.values()
    assert 0.3 * unknown < known < 0.7 * unknown
