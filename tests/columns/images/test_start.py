"""Where fits of all columns of an image start."""

import numpy as np
import pytest

from napari_defectstrain.columns.images.start import pixels_of, starting_weights
from napari_defectstrain.columns.images.types import ImageColumnConfig


@pytest.mark.parametrize("sigma", [1.33, 2.3, 4.0])
def test_weights_of_a_gaussian_start_near_its_integral(sigma: float) -> None:
    """However few pixels it is wide: the mean of 3 x 3 pixels is less than its height."""
    y, x = np.mgrid[:61, :61] - 30.0
    image = 10.0 + 500.0 / (2 * np.pi * sigma**2) * np.exp(-0.5 * (y**2 + x**2) / sigma**2)
    pixels = pixels_of(image, ImageColumnConfig())

    weight = starting_weights(pixels, np.array([[30.0, 30.0]]), sigma, 10.0)

    assert weight == pytest.approx([500.0], rel=0.06)
