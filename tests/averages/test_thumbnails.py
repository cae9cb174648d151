"""Thumbnails: turned into the lattice frame, in units of a metal column, whatever the image."""

from dataclasses import replace

import numpy as np
from numpy.testing import assert_allclose
from small_alloy import simulated, true_sites

from napari_defectstrain.averages.average import AverageConfig, average_stack, stack_classes
from napari_defectstrain.averages.thumbnails import STEP_PM, thumbnail_frame, thumbnail_source
from napari_defectstrain.crystal.regions import Regions
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import CalibratedImage

A_PM = WSE2.lattice_pm


def cut(made, columns, image=None):
    source = thumbnail_source(made.image if image is None else image, true_sites(made), A_PM)
    return source.cut(made.position_px[columns])


def inner(made, role, margin=74):
    inside = ((made.position_px > margin) & (made.position_px < 256 - margin)).all(axis=1)
    return np.flatnonzero(inside & (made.class_index == role))


def test_thumbnails_show_what_class_averages_show():
    made = simulated(size=256)
    sites = true_sites(made)
    config = AverageConfig(window_nm=2.6, shells=0, step_pm=STEP_PM)
    rng = np.random.default_rng(0)
    average = average_stack(stack_classes([made.image], [sites], config, A_PM, rng)["2Se"])
    shown = cut(made, inner(made, 1)).mean(axis=0)
    off = (average.mean.shape[0] - shown.shape[0]) // 2
    expected = average.mean[off:-off, off:-off]
    # linear interpolation and pixels of 50 pm blur the columns by some per cent
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.99
    assert_allclose(shown.max(), expected.max(), atol=0.15)


def test_turning_the_scan_changes_no_thumbnail():
    one, other = (simulated(size=256, rotation_deg=angle, seed=3) for angle in (4.0, 33.0))
    means = [cut(made, inner(made, 1)).mean(axis=0) for made in (one, other)]
    assert np.corrcoef(*(m.ravel() for m in means))[0, 1] > 0.98


def test_grey_values_and_their_zero_play_no_role():
    made = simulated(size=256)
    columns = inner(made, 2)[:5]
    image = replace(made.image, data=250.0 * made.image.data + 4000.0)
    assert_allclose(cut(made, columns, image), cut(made, columns), atol=2e-3)


def test_beyond_the_border_there_is_nothing():
    made = simulated(size=256)
    source = thumbnail_source(made.image, true_sites(made), A_PM)
    corner = source.cut(np.array([[0.0, 0.0], [128.0, 128.0]]))
    assert np.isnan(corner[0]).any()
    assert np.isfinite(corner[1]).all()


def test_an_image_without_lattice_or_calibration_is_shown_as_it_lies(rng):
    made = simulated(size=256)
    sites = true_sites(made)
    lost = replace(sites, position_px=rng.uniform(0, 255, sites.position_px.shape))
    for size in (20.0, None):
        image = CalibratedImage(made.image.data, size, "lost")
        source = thumbnail_source(image, lost, A_PM)
        matrix = source.lattice.matrix
        assert matrix[0, 0] == matrix[1, 1] == 0.0
        assert matrix[0, 1] < 0 < matrix[1, 0]
        side = thumbnail_frame(A_PM).shape[0]
        assert source.cut(lost.position_px[:3]).shape == (3, side, side)


def test_each_domain_turns_its_own():
    made = simulated(size=256)
    sites = true_sites(made)
    labels = np.ones(made.image.data.shape, dtype=np.uint8)
    labels[:, 128:] = 2
    source = thumbnail_source(made.image, sites, A_PM, Regions(labels, ()))
    assert sorted(source.labels) == [1, 2]
    place = np.array([[100.0, 40.0], [100.0, 220.0]])
    own = [source.labels[k] for k in source.domain_at(place)]
    assert own == [1, 2]
