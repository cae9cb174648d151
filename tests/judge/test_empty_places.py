"""Places that the network overlooked are found by the crystal around them, and judged."""

import numpy as np
import pytest
from small_alloy import simulated, true_sites

from napari_defectstrain.judge import judge_images
from napari_defectstrain.judge.empty_places import empty_places, with_empty_places
from napari_defectstrain.materials import WSE2

A_PX = 330.0 / 20.74


@pytest.fixture(scope="module")
def alloy():
    image = simulated(2)
    return image, true_sites(image)


def inner(sites, margin=40, side=512):
    place = sites.position_px
    return ((place > margin) & (place < side - margin)).all(axis=1)


def test_nothing_is_missing_where_all_are_found(alloy):
    _, sites = alloy
    assert len(empty_places(sites, A_PX)) == 0
    assert with_empty_places(sites, A_PX) is sites


def test_overlooked_places_are_where_the_columns_were(alloy):
    _, sites = alloy
    lost = np.flatnonzero(inner(sites) & (sites.class_index >= 4))
    kept = np.ones(len(sites), dtype=bool)
    kept[lost] = False
    found = empty_places(sites.subset(kept), A_PX)
    away = np.hypot(*(found[:, None] - sites.position_px[lost]).transpose(2, 0, 1)).min(axis=1)
    assert (away < 0.1 * A_PX).all()
    assert len(found) > 0.8 * len(lost)  # those beside one another have too few neighbours


def test_there_is_no_place_beyond_the_edge_nor_in_a_hole(alloy):
    _, sites = alloy
    hole = np.hypot(*(sites.position_px - 256).T) < 60
    assert len(empty_places(sites.subset(~hole), A_PX)) == 0


def test_a_lost_metal_is_no_place(alloy):
    _, sites = alloy
    metal = np.flatnonzero(inner(sites) & sites.is_metal)[::50]
    kept = np.ones(len(sites), dtype=bool)
    kept[metal] = False
    assert len(empty_places(sites.subset(kept), A_PX)) == 0


@pytest.mark.slow
def test_overlooked_columns_get_their_classes(alloy):
    image, sites = alloy
    some = np.flatnonzero(inner(sites) & (sites.class_index == 5))[::2]
    more = np.flatnonzero(inner(sites) & (sites.class_index == 1))[::100]
    lost = np.append(some, more)
    kept = np.ones(len(sites), dtype=bool)
    kept[lost] = False
    (judged,) = judge_images([image.image], [sites.subset(kept)], [20.74], WSE2)
    found = judged.sites
    assert len(found) == len(sites)
    added = found.position_px[len(sites) - len(lost) :]
    near = np.hypot(*(added[:, None] - sites.position_px[lost]).transpose(2, 0, 1)).argmin(axis=1)
    expected = sites.class_index[lost][near]
    assert np.array_equal(found.class_index[len(sites) - len(lost) :], expected)
