"""Margins without data are found, columns beside them are neither judged nor counted."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import simulated, true_sites

from napari_defectstrain.crystal.blank import blank_area, distance_to_data_end
from napari_defectstrain.crystal.region_search import find_regions
from napari_defectstrain.crystal.regions import HOLE
from napari_defectstrain.judge import judge_images
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import CalibratedImage

A_PX = WSE2.lattice_pm / 20.74


def noise(shape=(120, 150), mean=40.0):
    return np.random.default_rng(0).poisson(mean, shape).astype(float)


def test_an_image_of_counts_has_no_blank_area():
    assert blank_area(noise(), 16.0) is None
    assert blank_area(noise(mean=0.05), 16.0) is None
    assert blank_area(np.ones((40, 40)), 16.0) is None  # nothing else is there


@pytest.mark.parametrize("fill", [0.0, 40.0, -1e-12])
def test_rows_columns_and_corners_without_data_are_found(fill):
    data = noise()
    true = np.zeros(data.shape, dtype=bool)
    true[:3] = True  # narrower than a unit cell
    true[:, -20:] = True
    y, x = np.mgrid[:120, :150]
    true |= y - x > 70  # the corner of a turned image
    data[true] = fill
    found = blank_area(data, 16.0)
    assert found is not None
    # some pixels of the ragged rim stay out, some beside it have the same count by chance
    assert (found != true).sum() < 0.02 * true.sum()


def test_an_equal_area_within_the_image_is_none():
    data = noise()
    data[40:80, 40:80] = 0.0
    assert blank_area(data, 16.0) is None


def test_distance_is_to_the_border_or_to_the_last_pixel_with_data():
    data = noise()
    data[:30] = 0.0
    place = np.array([[32.0, 75.0], [100.0, 75.0], [100.0, 4.0], [10.0, 75.0]])
    found = distance_to_data_end(place, data, 16.0)
    assert found == pytest.approx([2.0, 19.0, 4.0, -21.0])


def test_columns_cut_by_a_margin_count_nowhere():
    image = simulated(5, size=384)
    sites = true_sites(image)
    top, left = 47, 61
    data = np.zeros((384 + 2 * top, 384 + left))
    data[top:-top, left:] = image.image.data
    shifted = replace(sites, position_px=sites.position_px + [top, left])
    padded = CalibratedImage(data, 20.74, "padded")
    (judged,) = judge_images([padded], [shifted], [20.74], WSE2)
    (plain,) = judge_images([image.image], [sites], [20.74], WSE2)
    np.testing.assert_allclose(judged.sites.weight, plain.sites.weight, atol=1e-9)
    np.testing.assert_allclose(judged.sites.weight_sigma, plain.sites.weight_sigma, atol=1e-9)
    regions = find_regions(data, judged.sites, A_PX)
    assert (regions.labels[: top - 1] == HOLE).all()
    assert (regions.labels[:, : left - 1] == HOLE).all()
    counted = regions.usable[tuple(np.rint(judged.sites.position_px).astype(int).T)]
    assert counted.sum() > 0.8 * len(sites)
    assert np.array_equal(judged.sites.class_index[counted], sites.class_index[counted])
