"""Histograms of weights: every weighed column is in one bin, and curves are what is expected."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid

from napari_defectstrain.judge.histograms import (
    columns_within,
    nearest_column,
    on_metal_site,
    weight_histograms,
)
from napari_defectstrain.materials import CHALCOGEN_SITES, METAL_SITES, ROLES, WSE2
from napari_defectstrain.types import Sites

MEANS = {"metal": 1.0, "X2": 0.72, "XY": 1.1, "V1": 0.35}
NUMBER = {"metal": 900, "X2": 800, "XY": 60, "V1": 40}
SIGMA = 0.04


def weighed(seed=1) -> Sites:
    """Columns of four classes, certain of their class, in rows of one class each."""
    rng = np.random.default_rng(seed)
    index = np.repeat([ROLES.index(r) for r in NUMBER], list(NUMBER.values()))
    mean = np.repeat(list(MEANS.values()), list(NUMBER.values()))
    place = np.column_stack([index * 1000.0, np.arange(len(index)) * 4.0])
    return Sites(
        place,
        np.eye(len(ROLES))[index],
        index,
        WSE2.class_names,
        np.full(len(index), "model"),
        weight=rng.normal(mean, SIGMA),
        weight_sigma=np.full(len(index), SIGMA),
    )


def test_every_weighed_column_is_in_one_bin_of_its_sublattice():
    sites = weighed()
    unweighed = np.arange(len(sites)) % 10 == 0
    sites = replace(sites, weight=np.where(unweighed, np.nan, sites.weight))
    found = weight_histograms([sites, sites])
    assert found is not None
    known = np.bincount(sites.class_index[~unweighed], minlength=len(ROLES))
    both = found.chalcogen.count.sum(axis=1) + found.metal.count.sum(axis=1)
    assert_array_equal(both, 2 * known)
    assert found.metal.count[1:].sum() == 0
    assert found.chalcogen.count[0].sum() == 0
    assert found.unweighed == 2 * unweighed.sum()


def test_curves_hold_as_many_columns_as_probabilities_say_and_lie_at_the_means():
    sites = weighed()
    # half of the single vacancies might be perfect
    doubtful = np.flatnonzero(sites.class_index == ROLES.index("V1"))[::2]
    probabilities = np.array(sites.probabilities)
    probabilities[doubtful, ROLES.index("V1")] = 0.5
    probabilities[doubtful, ROLES.index("X2")] = 0.5
    found = weight_histograms([replace(sites, probabilities=probabilities)])
    assert found is not None
    histogram = found.of(CHALCOGEN_SITES)
    width = histogram.edges[1] - histogram.edges[0]
    under = trapezoid(histogram.curve, histogram.at, axis=1) / width
    assert_allclose(under, histogram.expected, atol=0.5)
    assert_allclose(histogram.expected[ROLES.index("V1")], 30.0)
    assert_allclose(histogram.share.sum(), 1.0)
    for role in ("XY", "V1"):
        k = ROLES.index(role)
        assert_allclose(histogram.mean[k], MEANS[role], atol=0.02)
        assert_allclose(histogram.at[histogram.curve[k].argmax()], MEANS[role], atol=0.02)
    assert np.isnan(found.metal.mean[ROLES.index("V1")])


def test_a_bin_holds_the_columns_that_its_range_selects():
    sites = weighed()
    # weights that are edges themselves belong to the bin on the right, in both
    sites = replace(sites, weight=np.round(sites.weight / 0.02) * 0.02)
    found = weight_histograms([sites])
    assert found is not None
    for sublattice in (METAL_SITES, CHALCOGEN_SITES):
        histogram = found.of(sublattice)
        for i in range(histogram.n_bins):
            inside = columns_within(sites, *histogram.edges[i : i + 2], sublattice)
            assert inside.sum() == histogram.count[:, i].sum()
    everywhere = columns_within(sites, -10.0, 10.0)
    assert everywhere.all()
    assert not columns_within(replace(sites, weight=None), -10.0, 10.0).any()


def test_ranges_snap_to_bins_and_walk_without_leaving_the_histogram():
    found = weight_histograms([weighed()])
    assert found is not None
    histogram = found.chalcogen
    first, last = histogram.edges[0], histogram.edges[-1]
    width = histogram.edges[1] - first
    low, high = histogram.whole_bins(0.741, 0.639)
    assert low <= 0.639 < low + width
    assert high - width <= 0.741 < high
    assert histogram.whole_bins(-9.0, 9.0) == (first, last)
    assert_allclose(histogram.next_bin(low, 1), (low + width, low + 2 * width))
    assert_allclose(histogram.next_bin(last - width, 5), (last - width, last))
    assert_allclose(histogram.longer(low, high, -100), (low, low + width))
    assert_allclose(histogram.longer(low, high, 1), (low, high + width))


def test_there_is_no_histogram_without_weights():
    sites = weighed()
    assert weight_histograms([]) is None
    assert weight_histograms([replace(sites, weight=None, weight_sigma=None)]) is None
    nothing = np.full(len(sites), np.nan)
    assert weight_histograms([replace(sites, weight=nothing, weight_sigma=nothing)]) is None


@pytest.mark.parametrize("on_metal", [True, False])
def test_what_is_other_for_certain_lies_on_the_sublattice_that_its_neighbours_do_not(on_metal):
    around = "X2" if on_metal else "metal"
    angle = np.array([0.0, 2.1, 4.2])
    place = np.vstack([[0.0, 0.0], 8 * np.column_stack([np.sin(angle), np.cos(angle)])])
    index = np.array([ROLES.index("other"), *[ROLES.index(around)] * 3])
    source = np.full(4, "model")
    sites = Sites(place, np.eye(len(ROLES))[index], index, WSE2.class_names, source)
    assert on_metal_site(sites)[0] == on_metal


def test_a_point_belongs_to_the_nearest_column_of_its_own_plane():
    column = np.array([[0, 5.0, 5.0], [1, 5.0, 9.0], [1, 30.0, 30.0]])
    assert nearest_column(np.array([[1, 5.0, 5.0]]), column).tolist() == [1]
    assert nearest_column(np.array([[6.0, 9.0]]), column[:, 1:]).tolist() == [1]


def test_stray_weights_make_neither_endless_bins_nor_an_empty_picture():
    sites = weighed()
    weight = np.array(sites.weight)
    weight[0] = 500.0
    found = weight_histograms([replace(sites, weight=weight)])
    assert found is not None
    assert found.metal.n_bins <= 2002
    assert found.metal.count.sum() == NUMBER["metal"]
    assert found.metal.span[1] <= 2.5
