"""Columns of a tile weighed without a network."""

import numpy as np
import pytest

from napari_defectstrain.judge.cell_columns import _HOLD, _unmixed


@pytest.mark.parametrize("sigma", [2.0, 5.0, 9.0])
def test_the_band_tells_as_much_as_the_whole_matrix(sigma, rng):
    """Whatever the order of the columns, sharp or blurred into each other."""
    place = np.stack(np.meshgrid(np.arange(14) * 9.2, np.arange(12) * 10.6), axis=-1).reshape(-1, 2)
    place = rng.permutation(place + rng.normal(0.0, 0.4, place.shape))
    distance2 = ((place[:, None] - place) ** 2).sum(axis=2)
    gram = np.exp(-distance2 / (4 * sigma**2)) + _HOLD * np.eye(len(place))
    height = rng.normal(1.0, 0.3, len(place))
    assert np.allclose(_unmixed(gram @ height, place, sigma**2), height, rtol=0.0, atol=1e-9)
