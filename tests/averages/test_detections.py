"""Every detection as a row: which are listed, in what order, and what is told of them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_alloy import simulated, true_sites

from napari_defectstrain.averages import inside_polygon, list_detections, points_of_columns
from napari_defectstrain.averages.detections import class_doubt
from napari_defectstrain.averages.thumbnails import thumbnail_source
from napari_defectstrain.crystal.regions import NOT_2H, Regions
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import DefectStrainError

A_PM = WSE2.lattice_pm


@pytest.fixture(scope="module")
def alloy():
    made = simulated(size=256)
    sites = true_sites(made)
    return made, sites, thumbnail_source(made.image, sites, A_PM).lattice


def test_all_defects_are_listed_and_no_certain_perfect_column(alloy):
    _, sites, lattice = alloy
    found = list_detections([sites], [lattice])
    assert_array_equal(found.site_index, np.flatnonzero(sites.class_index > 1))
    assert_array_equal(found.position_px, sites.position_px[found.site_index])
    assert_allclose(found.doubt, 0.0)


def test_perfect_columns_that_may_be_defects_are_listed_the_most_doubtful_first(alloy):
    _, sites, lattice = alloy
    chances = np.array(sites.probabilities)
    perfect = np.flatnonzero(sites.class_index == 1)[:4]
    for column, p in zip(perfect, (0.55, 0.62, 0.7, 0.95), strict=True):
        chances[column] = 0.0
        chances[column, [1, 4]] = p, 1.0 - p
    doubtful = replace(sites, probabilities=chances)
    found = list_detections([doubtful], [lattice])
    listed = set(found.site_index.tolist())
    assert set(perfect[:3].tolist()) <= listed  # doubts .9, .76 and .6; the last is .1
    assert perfect[3] not in listed
    fewer = set(list_detections([doubtful], [lattice], most_perfect=1).site_index.tolist())
    assert perfect[0] in fewer
    assert perfect[1] not in fewer


def test_nothing_is_listed_where_the_crystal_is_not_2h(alloy):
    made, sites, lattice = alloy
    labels = np.ones(made.image.data.shape, dtype=np.uint8)
    labels[:, :128] = NOT_2H
    found = list_detections([sites], [lattice], [Regions(labels, ())])
    assert len(found)
    assert found.position_px[:, 1].min() >= 127.5


def test_the_triangle_around_a_vacancy_is_as_built(alloy):
    _, sites, lattice = alloy
    found = list_detections([sites], [lattice])
    names = np.array(WSE2.class_names)[found.class_index]
    usual = np.nanmedian(found.triangle_pm[names == "SeTe"])
    # a substituent pushes the three metals apart, a double vacancy lets them come together
    assert usual > A_PM
    assert np.nanmedian(found.triangle_pm[names == "DV"]) < A_PM
    assert np.isfinite(found.triangle_pm).sum() > 0.8 * len(found)


def test_a_class_given_by_hand_is_certain_and_inputs_stay(alloy):
    _, sites, lattice = alloy
    found = list_detections([sites, sites], [lattice, lattice])
    before = np.array(found.class_index)
    changed = found.with_class([0, len(found) - 1], 4)
    assert_array_equal(found.class_index, before)
    assert changed.class_index[[0, -1]].tolist() == [4, 4]
    assert changed.by_hand[[0, -1]].all()
    assert_allclose(changed.probability[[0, -1]], 1.0)
    assert changed.image_index[-1] == 1
    with pytest.raises(DefectStrainError, match="got class 0, expected 1 to 6"):
        found.with_class([0], 0)


def test_images_of_different_classes_are_refused(alloy):
    _, sites, lattice = alloy
    other = replace(sites, class_names=(*sites.class_names[:-1], "strange"))
    with pytest.raises(DefectStrainError, match="expected one or more images of one material"):
        list_detections([sites, other], [lattice, lattice])


def test_doubt_is_one_less_the_margin():
    chances = np.array([[0.1, 0.6, 0.3], [1.0, 0.0, 0.0], [0.4, 0.2, 0.4]])
    assert_allclose(class_doubt(chances), [0.7, 0.0, 1.0])


def test_points_are_found_within_reach_only():
    columns, points = np.array([[1.0, 1.0], [5.0, 5.0]]), np.array([[5.2, 5.0], [9.0, 9.0]])
    assert points_of_columns(columns, points, 0.5).tolist() == [-1, 0]
    assert points_of_columns(columns, points[:0], 0.5).tolist() == [-1, -1]


def test_a_lasso_holds_what_lies_within_also_where_it_is_not_convex(rng):
    corner = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], dtype=float)
    assert inside_polygon(np.array([[2.0, 0.5], [2.0, 2.0], [0.5, 3.0]]), corner).tolist() == [
        True,
        False,
        True,
    ]
    # area by chance: the polygon fills 10 of 16
    inside = inside_polygon(rng.uniform(0, 4, (20_000, 2)), corner).mean()
    assert abs(inside - 10 / 16) < 4 * np.sqrt(0.625 * 0.375 / 20_000)
