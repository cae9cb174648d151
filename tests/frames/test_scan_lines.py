"""Scan lines find their places: by the other frames and by the crystal, never by themselves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from synthetic_lattice import HEIGHTS, frame_matrix, make_crystal, render

from napari_defectstrain.frames.register import FrameConfig, register_frames
from napari_defectstrain.frames.scan_lines import bragg_filtered, match_lines
from napari_defectstrain.frames.sums import align_frame, shift_lines, shift_rows
from napari_defectstrain.simulate.acquisition import jitter_lines

PIXEL_PM = 20.74
SIDE = 320
SIGMA_PX = 2.3
DEFECTS = (0.03, 0.0, 0.06, 0.0)
INWARD_PM = (0.0, 0.0, 9.0, 0.0)


@pytest.fixture(scope="module")
def crystal():
    """Vacancies that draw their three metals in by 9 pm, turned by 17 degrees."""
    rng = np.random.default_rng(1)
    matrix = frame_matrix(PIXEL_PM, 17.0)
    return make_crystal((SIDE, SIDE), matrix, 330.0, (150.3, 160.8), rng, DEFECTS, INWARD_PM)


def picture(crystal, shift_px=(0.0, 0.0), wave_px=0.0):
    place = crystal.position_px + np.asarray(shift_px)
    # a wave of the specimen itself: columns of one height move together
    place[:, 1] += wave_px * np.sin(2 * np.pi * crystal.position_px[:, 0] / 64)
    return render((SIDE, SIDE), place, HEIGHTS[crystal.class_index], SIGMA_PX)


def jittered(crystal, rng, jitter_px=1.0, counts=13.0, frames=8, noise=2.0, **how):
    """Frames drifting by 0.3, 0.4 px each, and the shift of every line."""
    lines = rng.normal(0, jitter_px, (frames, SIDE))
    stack = []
    for t in range(frames):
        clean = picture(crystal, (0.3 * t, 0.4 * t), **how)
        moved = counts * np.clip(jitter_lines(clean, lines[t : t + 1]), 0, None)
        stack.append(rng.poisson(moved) + rng.normal(0, noise, moved.shape))
    return np.array(stack), lines


def columns(image, start):
    """Places of columns by least squares: a Gaussian of known width, and a constant."""
    reach = np.arange(-4, 5)
    oy, ox = (a.ravel() for a in np.meshgrid(reach, reach, indexing="ij"))
    place = start.copy()
    for _ in range(12):
        centre = np.rint(place).astype(int)
        y, x = centre[:, :1] + oy, centre[:, 1:] + ox
        dy, dx = y - place[:, :1], x - place[:, 1:]
        shape = np.exp(-(dy**2 + dx**2) / (2 * SIGMA_PX**2))
        basis = np.stack([np.ones_like(shape), shape, shape * dy, shape * dx], axis=-1)
        basis *= (np.hypot(dy, dx) <= 3.6)[..., None]
        normal = np.einsum("npi,npj->nij", basis, basis)
        found = np.linalg.solve(normal, np.einsum("npi,np->ni", basis, image[y, x])[..., None])
        place += np.clip(SIGMA_PX**2 * found[:, 2:, 0] / found[:, 1:2, 0], -0.5, 0.5)
    return place


def metals(crystal, found):
    """Metal columns well inside a sum: true places there, and measured ones less the fit's bias."""
    y0, y1, x0, x1 = found.region
    place = crystal.position_px[crystal.class_index == 0] - [y0, x0]
    inside = ((place > 10) & (place < np.array(found.summed.shape) - 11)).all(axis=1)
    place = place[inside]
    bias = columns(picture(crystal)[y0:y1, x0:x1], place) - place
    error = columns(found.summed, place) - place - bias
    return place, error - error.mean(axis=0)


def test_interpolation_is_exact_for_what_the_pixels_resolve():
    y, x = np.mgrid[:64, :64].astype(float)

    def blob(y0, x0):
        return np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * 2.5**2))

    lines = np.linspace(-1.3, 1.3, 64)
    moved = shift_lines(blob(30.0, 32.0), lines)
    truth = np.exp(-((y - 30) ** 2 + (x - 32 - lines[:, None]) ** 2) / (2 * 2.5**2))
    # a Gaussian of 2.5 px has 3e-14 of its amplitude left at the Nyquist frequency
    assert_allclose(moved, truth, atol=1e-8)
    assert_allclose(shift_rows(blob(30.0, 32.0), 0.37), blob(30.37, 32.0), atol=1e-8)
    jittery = shift_lines(blob(33.4, 30.7), lines)
    canvas, region = align_frame(jittery, np.array([3.4, -1.3]), lines)
    assert_allclose(
        canvas[region[0] : region[1]], blob(30.0, 32.0)[region[0] : region[1]], atol=1e-4
    )


def test_lines_are_matched_within_the_errors_that_counts_leave(crystal):
    rng = np.random.default_rng(2)
    template = picture(crystal)
    truth = rng.normal(0.3, 0.8, SIDE)
    clean = 13 * shift_lines(template, truth)
    rows = rng.poisson(np.clip(clean, 0, None)) + rng.normal(0, 2, clean.shape)
    found, sigma = match_lines(rows, template, 3.0, np.zeros(SIDE))
    pull = (found - truth) / sigma
    # Lines between rows of columns have few counts and seldom a wrong maximum: robust scatter.
    # Its own error is 1.2 / sqrt(2 * 320) = 5 %, and a mean noise stands for the local one.
    assert 0.8 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.25
    assert abs(np.median(pull)) < 4 * 1.25 / np.sqrt(SIDE)
    good = np.abs(pull) < 4
    # no locking: the error does not repeat with the pixel
    for wave in (np.cos, np.sin):
        assert abs((pull[good] * wave(2 * np.pi * truth[good])).mean()) < 4 / np.sqrt(2 * SIDE)


@pytest.mark.slow
def test_lines_of_a_series_are_found_and_straightened(crystal):
    rng = np.random.default_rng(3)
    stack, lines = jittered(crystal, rng)
    before = stack.copy()
    found = register_frames(stack)
    assert np.array_equal(stack, before)
    assert found.notes == ()
    inner = slice(12, -12)
    off = found.lines.shift_px + found.shift_px[:, 1:] - 0.4 * np.arange(8)[:, None] - lines
    off = off[:, inner] - off[:, inner].mean()
    # A line's own error, the mean of eight of which stays in what the frames have in common
    own = np.median(found.lines.sigma_px)
    assert 1.4826 * np.median(np.abs(off)) < 1.3 * own
    # 8 frames of 320 lines give the standard deviation to 1.4 %; what the crystal's order says of
    # the mean of eight lines, an eighth of the variance, is not in it: 1 - 1/16
    assert_allclose(found.lines.jitter_px, 0.94, atol=0.17)
    rigid = register_frames(stack, FrameConfig(jitter="off"))
    _, straight = metals(crystal, found)
    _, bent = metals(crystal, rigid)
    still, _ = jittered(crystal, rng, jitter_px=0.0)
    _, best = metals(crystal, register_frames(still, FrameConfig(jitter="off")))
    assert bent[:, 1].std() > 1.3 * best[:, 1].std()
    # of 150 columns a standard deviation is known to 6 %, a ratio to 8 %
    assert straight[:, 1].std() < 1.2 * best[:, 1].std()
    assert straight[:, 0].std() < 1.15 * bent[:, 0].std()


@pytest.mark.slow
def test_straight_lines_stay(crystal):
    stack, _ = jittered(crystal, np.random.default_rng(4), jitter_px=0.0)
    found, rigid = register_frames(stack), register_frames(stack, FrameConfig(jitter="off"))
    assert found.lines.shift_px.std() < 0.3 * np.median(found.lines.sigma_px)
    assert found.lines.common_px < 0.02
    _, a = metals(crystal, found)
    _, b = metals(crystal, rigid)
    assert_allclose(a.std(axis=0), b.std(axis=0), rtol=0.05)


@pytest.mark.slow
def test_straightening_keeps_what_vacancies_do_to_their_neighbours(crystal):
    rng = np.random.default_rng(5)
    stack, _ = jittered(crystal, rng, counts=2000.0, noise=0.0)
    found = register_frames(stack)
    place, error = metals(crystal, found)
    centre = crystal.position_px[crystal.class_index == 4] - [found.region[0], found.region[2]]
    distance = np.linalg.norm(place[:, None] - centre[None], axis=2)
    metal, vacancy = np.nonzero(distance < 13)
    inward = (centre[vacancy] - place[metal]) / distance[metal, vacancy][:, None]
    pull_pm = (error[metal] * inward).sum(axis=1) * PIXEL_PM
    standard = pull_pm.std() / np.sqrt(len(pull_pm))
    # 9 pm were built in. In lines of 20 columns, each with a say of 1/20 without weights, 0.2 pm
    # would be lost on average; defects have less say than that.
    assert len(pull_pm) > 60
    assert abs(pull_pm.mean()) < 0.15 + 3 * standard
    assert standard < 0.15


@pytest.mark.slow
def test_waves_of_the_specimen_are_no_jitter(crystal):
    rng = np.random.default_rng(6)
    stack, _ = jittered(crystal, rng, wave_px=0.5)
    found = register_frames(stack)
    assert found.lines.common_px == 0
    assert "changes slowly from line to line" in found.notes[0]
    forced = register_frames(stack, FrameConfig(jitter="on"))
    assert forced.lines.common_px > 0.2 and forced.notes == ()


def test_two_frames_cannot_tell_whose_line_is_off(crystal):
    stack, _ = jittered(crystal, np.random.default_rng(7), frames=2)
    found = register_frames(stack)
    assert found.lines is None
    assert found.notes == ("scan-line jitter is not corrected: 2 frames, 3 are needed",)


def test_the_order_of_a_crystal_has_no_defects(crystal):
    clean = picture(crystal)
    order = bragg_filtered(clean)
    perfect = crystal.class_index.copy()
    perfect[perfect != 0] = 1
    ideal = crystal.site_pm @ crystal.matrix.T + [150.3, 160.8]
    whole = render((SIDE, SIDE), ideal, HEIGHTS[perfect], SIGMA_PX)
    inner = (slice(60, -60),) * 2
    truth = whole[inner] - whole[inner].mean()
    # 3 % of 2Te-like and 6 % of vacancies change the mean heights by some per cent
    assert np.corrcoef(order[inner].ravel(), truth.ravel())[0, 1] > 0.98
    assert bragg_filtered(np.random.default_rng(8).normal(size=(SIDE, SIDE))) is None
