"""Registration finds true shifts: across lattice vectors, below a pixel, without locking."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.align import register_frames, register_windows
from napari_defectstrain.types import DefectStrainError

PIXEL_PM = 20.74
DEFECTS = (0.056, 0.032, 0.056, 0.01)


def series(seed, shift_px, shape=(400, 400), defects=DEFECTS, counts=12.0):
    """Low-dose frames of one drifting region: `counts` in the maximum of a metal column."""
    rng = np.random.default_rng(seed)
    crystal = make_crystal(shape, frame_matrix(PIXEL_PM, 12.0), 330.0, (190.3, 205.8), rng, defects)
    height = HEIGHTS[crystal.class_index]
    frames = [render(shape, crystal.position_px + s, height, 2.3) for s in shift_px]
    return rng.poisson(counts * np.array(frames)).astype(np.float32), crystal


def test_slow_drift_is_recovered_to_a_few_pm():
    rng = np.random.default_rng(1)
    drift = np.cumsum(np.vstack([[0.0, 0.0], rng.normal([0.35, -0.3], 0.15, (7, 2))]), axis=0)
    frames, _ = series(2, drift)
    before = frames.copy()
    found = register_frames(frames)
    assert np.array_equal(frames, before)
    assert not found.ambiguous.any()
    # Cramer-Rao: 1700 columns of 2 pi sigma^2 * 12 * 0.85 = 340 counts, sigma 2.3 px, give
    # 2.3 / sqrt(580 000) = 0.003 px; neighbours, window (a Hann window keeps a quarter of the
    # weight, for squares an eighth) and two noisy frames in each difference: 0.012 px,
    # of which 14 values stay within 4 sigma = 0.05 px = 1 pm.
    assert np.abs(found.shift_px - drift).max() < 0.05


def test_jumps_of_hundreds_of_pm_do_not_slip_by_a_lattice_vector():
    # 330 pm are 15.9 px: every other jump is nearer to a wrong maximum of the crystal's
    # cross-correlation than to the true one.
    drift = np.array([[0, 0], [9.3, -2.2], [1.4, 11.6], [-12.7, 3.3], [-24.1, 15.2]], dtype=float)
    frames, _ = series(3, drift)
    found = register_frames(frames)
    assert not found.ambiguous.any()
    assert np.abs(found.shift_px - drift).max() < 0.05


def test_a_perfect_crystal_follows_the_slow_drift_and_says_so():
    drift = np.outer(np.arange(5), [0.5, -0.4])
    frames, _ = series(4, drift, defects=(0.0, 0.0, 0.0, 0.0))
    found = register_frames(frames)
    assert found.ambiguous[1:].all()
    assert np.abs(found.shift_px - drift).max() < 0.05


def test_the_sum_is_the_undrifted_picture_over_the_common_field():
    drift = np.array([[0.0, 0.0], [3.37, -2.71], [6.52, -4.18]])
    frames, crystal = series(5, drift)
    found = register_frames(frames)
    y0, y1, x0, x1 = found.region
    assert found.summed.shape == (y1 - y0, x1 - x0)
    # The frames move down and left: their common field lies up to 7 px off the top-right corner.
    assert y0 >= 0 and y1 <= 400 - 6 and x0 >= 4 and x1 <= 400
    assert y1 - y0 > 380 and x1 - x0 > 380
    truth = 36.0 * render((400, 400), crystal.position_px, HEIGHTS[crystal.class_index], 2.3)
    truth = truth[y0:y1, x0:x1]
    # Poisson noise of the sum has variance `truth`; a Fourier shift keeps it. Chi^2 per pixel is
    # 1 +- sqrt(2/150 000) where counts abound; a misplacement by 0.2 px would add
    # (0.2/2.3)^2 * 36 / 3 = 10 %.
    bright = truth > 5
    chi2 = np.mean((found.summed - truth)[bright] ** 2 / truth[bright])
    assert abs(chi2 - 1) < 0.05


def test_one_frame_is_its_own_sum():
    frames, _ = series(6, np.zeros((1, 2)))
    found = register_frames(frames)
    assert np.array_equal(found.summed, frames[0])
    assert found.region == (0, 400, 0, 400)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((64, 64)), "expected \\(frames, height, width\\)"),
        (np.zeros((2, 8, 8)), "at least 32 px"),
        (np.ones((2, 64, 64)), "frame 0 is constant"),
        (np.full((2, 64, 64), np.nan), "NaN or inf"),
    ],
)
def test_bad_series_are_refused(frames, message):
    with pytest.raises(DefectStrainError, match=message):
        register_frames(frames)


STEP_PM = 20.0
SIDE = 91


def window_at(shift_pm, crystal, sigma_pm=45.0):
    """The lattice frame around the defect site, moved by `shift_pm`, as a window."""
    centre = SIDE // 2
    x, y = (crystal + shift_pm).T / STEP_PM
    position = np.stack([centre - y, centre + x], axis=1)
    return position, sigma_pm / STEP_PM


def honeycomb():
    from napari_defectstrain.lattice import ideal_sites

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
    assert np.hypot(*found[0]) == pytest.approx(10.0)
    assert np.array_equal(found[1], [0.0, 0.0])


def test_a_template_without_contrast_is_refused():
    flat = np.ones((SIDE, SIDE))
    with pytest.raises(DefectStrainError, match="no contrast"):
        register_windows(flat[None], flat, circle_mask(0.0), STEP_PM)
    stripes = np.tile(np.sin(np.arange(SIDE)), (SIDE, 1))
    with pytest.raises(DefectStrainError, match="no contrast in two directions"):
        register_windows(stripes[None], stripes, circle_mask(0.0), STEP_PM)


def test_registration_survives_smooth_contamination():
    rng = np.random.default_rng(9)
    drift = np.array([[0, 0], [1.3, 0.4], [2.1, 1.2]])
    frames, _ = series(10, drift)
    dirt = gaussian_filter(rng.normal(size=(400, 400)), 30, mode="wrap")
    dirt = 6 * (dirt - dirt.min()) / np.ptp(dirt)
    # dirt on the specimen moves with it, to the nearest pixel
    moved = [np.roll(dirt, np.rint(d).astype(int), axis=(0, 1)) for d in drift]
    found = register_frames(frames + rng.poisson(moved))
    assert np.abs(found.shift_px - drift).max() < 0.05


def _at(shift_pm, site, height):
    """Arguments of `render` for sites (x, y up) moved by a shift."""
    position, sigma = window_at(shift_pm, site)
    return position, height, sigma
