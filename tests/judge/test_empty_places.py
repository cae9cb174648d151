"""Places that the network overlooked are found by the crystal around them, and judged."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import simulated, true_sites

from napari_defectstrain.judge import judge_images
from napari_defectstrain.judge.empty_places import (
    empty_places,
    with_empty_places,
    with_places_beyond,
)
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


def test_places_beyond_the_border_go_on_with_the_lattice(alloy):
    image, sites = alloy
    place = sites.position_px
    shown = np.minimum(place, 511 - place).min(axis=1) > 40
    window = sites.subset(shown)
    window = replace(window, position_px=window.position_px - 38)  # an image cut out of the first
    shape = (512 - 76,) * 2
    more = with_places_beyond(window, shape, A_PX)
    new = more.subset(np.arange(len(more)) >= len(window))
    assert np.array_equal(more.position_px[: len(window)], window.position_px)
    inside = np.minimum(new.position_px, np.array(shape) - 1 - new.position_px).min(axis=1) / A_PX
    assert inside.max() < 0.3 and inside.min() > -0.8
    away = np.hypot(*(new.position_px[:, None] + 38 - place).transpose(2, 0, 1))
    assert away.min(axis=1).max() < 0.1 * A_PX
    assert np.array_equal(new.is_metal, sites.is_metal[away.argmin(axis=1)])
    hidden = np.minimum(place - 38, 512 - 77 - place + 38).min(axis=1) / A_PX
    assert len(new) > 0.9 * ((hidden > -0.4) & (hidden < 2 / A_PX)).sum()


def test_no_places_beyond_the_border_of_a_flake_that_ends_before_it(alloy):
    _, sites = alloy
    flake = sites.subset(inner(sites))
    assert with_places_beyond(flake, (512, 512), A_PX) is flake
    assert (
        with_places_beyond(sites.subset(np.zeros(len(sites), bool)), (512, 512), A_PX) is not None
    )
