"""Registration of windows finds true shifts below a pixel, without locking."""

import numpy as np
import pytest
from synthetic_lattice import render

from napari_defectstrain.averages.align import register_windows
from napari_defectstrain.types import DefectStrainError

STEP_PM = 20.0
SIDE = 91


def window_at(shift_pm, crystal, sigma_pm=45.0):
    """The lattice frame around the defect site, moved by `shift_pm`, as a window."""
    centre = SIDE // 2
    x, y = (crystal + shift_pm).T / STEP_PM
    position = np.stack([centre - y, centre + x], axis=1)
    return position, sigma_pm / STEP_PM


def honeycomb():
    from napari_defectstrain.crystal.lattice import ideal_sites

    site, is_metal = ideal_sites(330.0, 1500.0)
    return site, np.where(is_metal, 1.0, 0.7)


def circle_mask(core_pm):
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE // 2) * STEP_PM
    return np.hypot(y, x) > core_pm


def test_windows_are_registered_without_bias_or_pixel_locking():
    rng = np.random.default_rng(7)
    site, height = honeycomb()
    template = render((SIDE, SIDE), *_at(np.zeros(2), site, height))
    # Every fraction of a pixel, up to 1.5 px each way
    shift = np.stack([np.linspace(-30, 30, 61), rng.uniform(-30, 30, 61)], axis=1)
    windows = np.array([render((SIDE, SIDE), *_at(s, site, height)) for s in shift])
    gain, offset = rng.uniform(0.8, 1.2, 61), rng.uniform(-0.3, 0.3, 61)
    slope = rng.uniform(-2e-3, 2e-3, 61)
    tilted = windows * gain[:, None, None] + offset[:, None, None]
    tilted += slope[:, None, None] * np.arange(SIDE)
    found = register_windows(tilted, template, circle_mask(260.0), STEP_PM)
    # Columns cut by the mask's edges weigh differently in the smoothed template and in the
    # windows: 0.2 pm at shifts of 30 pm, in proportion, and nothing at zero.
    assert np.abs(found - shift).max() < 0.25
    assert np.abs((found - shift).mean(axis=0)).max() < 0.05
    # No locking: nothing is left that repeats with the pixel
    left = (found - shift) - shift * ((found - shift) * shift).sum(0) / (shift**2).sum(0)
    for phase in (np.cos, np.sin):
        wave = phase(2 * np.pi * shift / STEP_PM)
        assert np.abs((left * wave).mean(axis=0)).max() < 0.03


def test_noise_scatters_the_shifts_as_the_cramer_rao_bound_says():
    rng = np.random.default_rng(8)
    site, height = honeycomb()
    template = render((SIDE, SIDE), *_at(np.zeros(2), site, height))
    noise = 0.2
    windows = template + rng.normal(0, noise, (200, SIDE, SIDE))
    mask = circle_mask(260.0)
    found = register_windows(windows, template, mask, STEP_PM)
    gy, gx = np.gradient(template)
    bound = noise / np.sqrt([(gx[mask] ** 2).sum(), (gy[mask] ** 2).sum()]) * STEP_PM
    # Smoothing the template (1 px on 2.25 px) and a border of 4 px cost 15 % of precision;
    # the standard deviation of 200 draws is known to 5 %.
    assert (found.std(axis=0) < 1.3 * bound).all()
    assert (found.std(axis=0) > 0.85 * bound).all()
    assert (np.abs(found.mean(axis=0)) < 3.5 * found.std(axis=0) / np.sqrt(200)).all()


def test_the_masked_core_does_not_pull():
    site, height = honeycomb()
    template = render((SIDE, SIDE), *_at(np.zeros(2), site, height))
    changed = height.copy()
    changed[0] = 3.0
    lopsided = site.copy()
    lopsided[0] += [40.0, 0.0]  # a centre that is bright and off its site
    window = render((SIDE, SIDE), *_at(np.array([5.0, -8.0]), lopsided, changed))
    open_mask = np.ones((SIDE, SIDE), dtype=bool)
    masked = register_windows(window[None], template, circle_mask(260.0), STEP_PM)[0]
    pulled = register_windows(window[None], template, open_mask, STEP_PM)[0]
    assert np.abs(masked - [5.0, -8.0]).max() < 0.1
    assert np.abs(pulled - [5.0, -8.0]).max() > 0.5


def test_shifts_are_limited_and_blank_windows_stay():
    site, height = honeycomb()
    template = render((SIDE, SIDE), *_at(np.zeros(2), site, height))
    far = render((SIDE, SIDE), *_at(np.array([28.0, 0.0]), site, height))
    windows = np.stack([far, np.zeros((SIDE, SIDE))])
    found = register_windows(windows, template, circle_mask(0.0), STEP_PM, max_shift_pm=10.0)
    # of the shift against what the template itself seems to be moved by, here some 0.01 pm
    assert np.hypot(*found[0]) == pytest.approx(10.0, abs=0.1)
    assert np.array_equal(found[1], [0.0, 0.0])


def test_a_template_without_contrast_is_refused():
    flat = np.ones((SIDE, SIDE))
    with pytest.raises(DefectStrainError, match="no contrast"):
        register_windows(flat[None], flat, circle_mask(0.0), STEP_PM)
    stripes = np.tile(np.sin(np.arange(SIDE)), (SIDE, 1))
    with pytest.raises(DefectStrainError, match="no contrast in two directions"):
        register_windows(stripes[None], stripes, circle_mask(0.0), STEP_PM)


def _at(shift_pm, site, height):
    """Arguments of `render` for sites (x, y up) moved by a shift."""
    position, sigma = window_at(shift_pm, site)
    return position, height, sigma
