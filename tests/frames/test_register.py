"""Registration of frames finds the true drift: across lattice vectors and below a pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.frames.drift import drift_of, drift_table, frame_time_s, series_summary
from napari_defectstrain.frames.register import FrameConfig, register_frames
from napari_defectstrain.frames.shifts import _consensus
from napari_defectstrain.frames.spectra import Peak
from napari_defectstrain.pipeline.loading import sum_frames
from napari_defectstrain.types import CalibratedImage, DefectStrainError

PIXEL_PM = 20.74
DEFECTS = (0.056, 0.032, 0.056, 0.01)


def series(seed, shift_px, shape=(400, 400), defects=DEFECTS, counts=12.0):
    """Low-dose frames of one drifting region: `counts` in the maximum of a metal column."""
    rng = np.random.default_rng(seed)
    crystal = make_crystal(shape, frame_matrix(PIXEL_PM, 12.0), 330.0, (190.3, 205.8), rng, defects)
    height = HEIGHTS[crystal.class_index]
    frames = [render(shape, crystal.position_px + s, height, 2.3) for s in shift_px]
    return rng.poisson(counts * np.array(frames)).astype(np.float32), crystal


@pytest.mark.slow
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


@pytest.mark.slow
def test_jumps_of_hundreds_of_pm_do_not_slip_by_a_lattice_vector():
    # 330 pm are 15.9 px: every other jump is nearer to a wrong maximum of the crystal's
    # cross-correlation than to the true one.
    drift = np.array([[0, 0], [9.3, -2.2], [1.4, 11.6], [-12.7, 3.3], [-24.1, 15.2]], dtype=float)
    frames, _ = series(3, drift)
    found = register_frames(frames)
    assert not found.ambiguous.any()
    assert np.abs(found.shift_px - drift).max() < 0.05


@pytest.mark.slow
def test_a_perfect_crystal_follows_the_slow_drift_and_says_so():
    drift = np.outer(np.arange(5), [0.5, -0.4])
    frames, _ = series(4, drift, defects=(0.0, 0.0, 0.0, 0.0))
    found = register_frames(frames)
    assert found.ambiguous[1:].all()
    assert np.abs(found.shift_px - drift).max() < 0.05


@pytest.mark.slow
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


@pytest.mark.slow
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


RIGID = FrameConfig(jitter="off")
PATH = np.cumsum(
    np.vstack([[0.0, 0.0], np.tile([[0.4, -0.3], [1.1, 0.6], [-0.5, 0.2]], (3, 1))]), 0
)


@pytest.fixture(scope="module")
def ten():
    """Ten good frames along `PATH`."""
    frames, _ = series(20, PATH, shape=(256, 256))
    frames.flags.writeable = False
    return frames


def error_px(found):
    """Of the frames in the sum, relative to their own mean."""
    off = (found.shift_px - PATH)[~found.bad]
    return np.abs(off - off.mean(axis=0)).max()


@pytest.mark.slow
def test_a_good_series_has_no_bad_frames(ten):
    found = register_frames(ten, RIGID)
    assert not found.bad.any() and not any(found.reason) and found.notes == ()
    assert error_px(found) < 0.05
    # Scatter over reported error, of 20 values (18 free ones): the standard deviation is known to a
    # sixth, and that of each error from 30 bands to an eighth.
    pull = (found.shift_px - PATH - (found.shift_px - PATH).mean(axis=0)) / found.sigma_px
    assert 0.5 < pull.std() < 1.7


@pytest.mark.slow
def test_jumps_at_a_tenth_of_the_dose_need_the_consensus_of_all_frames():
    rng = np.random.default_rng(30)
    path = np.vstack([[0.0, 0.0], rng.normal(0, 12.0, (9, 2))])
    frames, _ = series(31, path, counts=1.3)
    found = register_frames(frames, RIGID)
    # ten times fewer counts than above: 3.2 times the error
    assert np.abs(found.shift_px - path).max() < 0.16


def test_a_majority_of_pairs_outvotes_false_maxima():
    rng = np.random.default_rng(32)
    place = rng.normal(0, 20, (8, 2))
    edges = [
        (i, j, Peak(place[j] - place[i] + rng.normal(0, 0.02, 2), 2.0, True))
        for i in range(8)
        for j in range(i + 1, 8)
    ]
    # the surest pairs are off by a lattice vector: up to two of the seven of a frame
    for false in ((0, 1), (2, 3), (4, 6), (1, 5), (3, 7), (0, 6)):
        k = [edge[:2] for edge in edges].index(false)
        i, j, peak = edges[k]
        edges[k] = (i, j, Peak(peak.shift_px + [0.0, 15.9], 9.0, True))
    found = _consensus(8, edges)
    # an outlier still pulls as 0.1 px among six pairs do: 0.02 px each
    assert np.abs(found - found[0] - (place - place[0])).max() < 0.1


@pytest.mark.slow
def test_blank_first_frames_and_glitches_are_left_out_with_their_reason(ten):
    frames = ten.copy()
    rng = np.random.default_rng(21)
    frames[0] = rng.poisson(3.0, frames[0].shape)
    frames[6, 100:130] = np.roll(frames[6, 100:130], 37, axis=1)
    found = register_frames(frames, RIGID)
    assert np.flatnonzero(found.bad).tolist() == [0, 6]
    assert found.reason[0] == "shows no lattice"
    assert "rows do not fit" in found.reason[6]
    assert "2 of 10 frames left out (frame 0: shows no lattice; frame 6" in found.notes[0]
    assert np.isnan(found.shift_px[0]).all() and np.array_equal(found.shift_px[1], [0.0, 0.0])
    assert error_px(found) < 0.05
    good = register_frames(frames[[1, 2, 3, 4, 5, 7, 8, 9]], RIGID)
    # the same frames make the same sum, but for the last hundredth of a pixel of their places
    y0, x0 = (max(found.region[i], good.region[i]) for i in (0, 2))
    y1, x1 = (min(found.region[i], good.region[i]) for i in (1, 3))
    a, b = (
        r.summed[y0 - r.region[0] : y1 - r.region[0], x0 - r.region[2] : x1 - r.region[2]]
        for r in (found, good)
    )
    assert np.sqrt(np.mean((a - b) ** 2)) < 0.02 * a.std()


@pytest.mark.slow
def test_a_blurred_frame_is_left_out_and_can_be_put_back(ten):
    frames = ten.copy()
    rng = np.random.default_rng(22)
    frames[4] = rng.poisson(gaussian_filter(np.maximum(ten[4], 0), 1.5))
    found = register_frames(frames, RIGID)
    assert np.flatnonzero(found.bad).tolist() == [4]
    assert found.reason[4].startswith("blurred")
    again = register_frames(frames, RIGID.replace(include=(4,)))
    assert not again.bad.any() and again.reason[4].endswith("(kept by hand)")
    assert_allclose(again.summed.mean() / 10, found.summed.mean() / 9, rtol=0.02)
    assert not register_frames(frames, RIGID.replace(leave_out_bad=False)).bad.any()
    assert np.flatnonzero(register_frames(ten, RIGID.replace(exclude=(2, 3))).bad).tolist() == [
        2,
        3,
    ]


@pytest.mark.slow
def test_saturated_rows_are_found_in_frames_of_bytes(ten):
    frames = np.clip(10 * ten, 0, 255).astype(np.uint8)
    assert not register_frames(frames, RIGID).bad.any()
    frames[5, 100:110] = 255
    found = register_frames(frames, RIGID)
    assert np.flatnonzero(found.bad).tolist() == [5]
    assert error_px(found) < 0.05


@pytest.mark.slow
def test_no_more_than_three_in_ten_are_left_out_for_their_looks(ten):
    frames = ten.copy()
    for n, t in enumerate((1, 3, 5, 7)):
        rows = slice(50 * n, 50 * n + 24 + 4 * n)
        frames[t, rows] = np.roll(frames[t, rows], 37, axis=1)
    found = register_frames(frames, RIGID)
    assert found.bad.sum() == 3
    kept = [t for t in (1, 3, 5, 7) if not found.bad[t]]
    assert len(kept) == 1 and "at most 30 % are left out" in found.reason[kept[0]]


@pytest.mark.slow
def test_frames_of_other_doses_belong_to_the_series():
    path = PATH[:6]
    frames, _ = series(23, path, shape=(256, 256))
    rng = np.random.default_rng(24)
    frames[2] = rng.binomial(frames[2].astype(int), 0.35)
    found = register_frames(frames, RIGID)
    assert not found.bad.any()
    # the others of frame 2 are bright, those of the bright frames are darkened by frame 2
    relative = found.gain[2] / np.median(found.gain)
    assert relative == pytest.approx(0.35 * (4 + 0.35) / 5, abs=0.02)
    assert np.abs(found.shift_px - path).max() < 0.08


@pytest.mark.slow
def test_series_that_cannot_be_summed_are_refused_in_words(ten):
    blank = np.random.default_rng(25).poisson(3.0, ten.shape).astype(float)
    with pytest.raises(DefectStrainError, match="10 of 10 frames show nothing of what the others"):
        register_frames(blank, RIGID)
    most = np.concatenate([blank[:6], ten[6:]])
    with pytest.raises(DefectStrainError, match=r"6 of 10 frames .* \(frame 0 shows no lattice"):
        register_frames(most, RIGID)
    holed = ten.astype(float)
    holed[3, 5, 5] = np.nan
    with pytest.raises(DefectStrainError, match=r"frame 3 holds NaN .* \(exclude = 3\)"):
        register_frames(holed, RIGID)
    assert register_frames(holed, RIGID.replace(exclude=(3,))).bad[3]
    with pytest.raises(DefectStrainError, match="all frames are excluded"):
        register_frames(ten[:2], RIGID.replace(exclude=(0, 1)))
    with pytest.raises(DefectStrainError, match=r"frame\(s\) \[12\] .* expected 0 to 9"):
        register_frames(ten, RIGID.replace(include=(12,)))
    with pytest.raises(DefectStrainError, match=r"frame\(s\) \[0\] are to be included, but show"):
        register_frames(np.concatenate([blank[:1], ten[1:]]), RIGID.replace(include=(0,)))


def test_settings_round_trip_and_reject_nonsense():
    config = FrameConfig(max_step_px=40.0, exclude=(1, 2), include=(4,), jitter="off")
    assert FrameConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(DefectStrainError, match="jitter: got 'perhaps', expected one of auto"):
        FrameConfig(jitter="perhaps")
    with pytest.raises(DefectStrainError, match="max_step_px: got -1.0, expected a finite number"):
        FrameConfig(max_step_px=-1.0)
    with pytest.raises(DefectStrainError, match=r"\[2\] both to exclude and to include"):
        FrameConfig(exclude=(2,), include=(2, 3))


@pytest.mark.slow
def test_thirty_frames_that_lose_atoms_still_register():
    frames = tifffile.imread(Path(__file__).parents[2] / "sample_data" / "dose_series.tif")
    assert len(frames) == 30
    found = register_frames(frames, RIGID)
    assert not found.bad.any() and not found.ambiguous.any()
    # Simulated without drift, but the mean of the lines keeps jitter of 1 px / sqrt(512) =
    # 0.05 px, and vacancies draw the crystal together
    assert np.abs(found.shift_px - found.shift_px.mean(axis=0)).max() < 0.25


@pytest.mark.slow
def test_the_drift_is_told_in_pm_and_per_second(ten):
    metadata = {"dwell_time_us": 4.0, "warnings": ["an old one"], "frame": 0}
    planes = [CalibratedImage(frame, PIXEL_PM, "series", metadata) for frame in ten]
    total = sum_frames(planes, "series", config=RIGID.replace(exclude=(9,)))
    assert total.metadata["frames"] == 9 and total.metadata["frames_taken"] == 10
    assert total.metadata["warnings"][0] == "an old one"
    assert "1 of 10 frames left out (frame 9: left out by hand)" in total.metadata["warnings"][1]
    assert "frame" not in total.metadata
    json.dumps(dict(total.metadata))
    table = drift_of(total)
    seconds = 256 * 256 * 4e-6
    assert frame_time_s(metadata, (256, 256)) == pytest.approx(seconds)
    assert_allclose(table["time_s"], (np.arange(10) + 0.5) * seconds, atol=1e-6)
    assert_allclose(table["y_pm"][:9].astype(float), PATH[:9, 0] * PIXEL_PM, atol=1.0)
    step = np.hypot(*np.diff(PATH[:9], axis=0).T) * PIXEL_PM / seconds
    # 0.02 px between two frames, in 0.26 s
    assert_allclose(table["speed_pm_per_s"][1:9].astype(float), step, atol=4.0)
    assert table["bad"].tolist() == [False] * 9 + [True]
    reach = np.hypot(*np.ptp(PATH[:9], axis=0)) * PIXEL_PM
    text = series_summary(total)
    assert text.startswith("9 of 10 frames summed, drift ")
    assert abs(float(text.split()[-2]) - reach) < 1.5
    assert series_summary(planes[0]) == "" and drift_of(planes[0]) is None
    bare = drift_table(register_frames(ten[:3], RIGID))
    assert "y_pm" not in bare and "time_s" not in bare and len(bare) == 3
