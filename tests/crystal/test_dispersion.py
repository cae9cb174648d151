"""Scatter between images: by chance, and by more."""

import numpy as np
import pytest

from napari_defectstrain.crystal.dispersion import dispersion_of, wilson


def test_wilson_against_published_values():
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, Table I
    for count, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                                (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson(count / n, n) == pytest.approx((low, high), abs=6e-5)


def test_chance_is_called_more_than_chance_as_often_as_promised():
    rng = np.random.default_rng(5)
    total = np.array([300, 500, 800, 400])
    p = [dispersion_of(rng.binomial(total, 0.03), total).p for _ in range(100)]
    assert np.mean(np.array(p) <= 0.05) <= 0.11
    assert 0.35 < np.mean(p) < 0.65


def test_built_in_scatter_is_found_and_measured():
    rng = np.random.default_rng(6)
    total = np.full(40, 2000)
    share = rng.beta(9, 171, 40)  # mean .05, standard deviation .0162
    found = dispersion_of(rng.binomial(total, share), total)
    assert found.p == pytest.approx(1 / 2000)
    assert found.ratio > 5
    assert found.std == pytest.approx(0.0162, rel=0.35)
    assert found.low < 0.05 < found.high
    # wider than counting alone would have it
    assert found.high - found.low > 2 * np.diff(wilson(0.05, 80000))[0]


def test_the_order_of_the_images_changes_no_digit():
    count, total = np.array([12, 9, 21, 30]), np.array([301, 299, 310, 301])
    assert dispersion_of(count, total) == dispersion_of(count[::-1], total[::-1])


def test_one_image_or_none_of_a_class_tells_no_scatter():
    for count, total in (([5], [100]), ([0, 0], [100, 100]), ([5, 0], [100, 0])):
        assert np.isnan(dispersion_of(np.array(count), np.array(total)).ratio)
