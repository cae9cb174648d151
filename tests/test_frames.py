"""Registration of frames finds the true drift: across lattice vectors and below a pixel."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.frames import register_frames
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
        (np.ones((2, 64, 64)), "2 of 2 frames show nothing"),
        (np.full((2, 64, 64), np.nan), "NaN or inf"),
    ],
)
def test_bad_series_are_refused(frames, message):
    with pytest.raises(DefectStrainError, match=message):
        register_frames(frames)


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
