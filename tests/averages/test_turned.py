"""Windows of an image that was turned into the lattice frame, against those of the image itself."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, spline_filter
from synthetic_lattice import frame_matrix

from napari_defectstrain.averages.turned import TurnedImage, turned_corners
from napari_defectstrain.averages.windows import SPLINE_ORDER, WindowFrame, WindowSource
from napari_defectstrain.types import ImageLattice

A_PM = 330.0
FRAME = WindowFrame(A_PM, 20.0, 1.6)


def source_of(angle, pixel_pm=20.7, shape=(300, 340)):
    """Columns of 50 pm anywhere, as a picture that ends before the last frequency."""
    rng = np.random.default_rng(3)
    image = gaussian_filter(rng.normal(size=shape), 50.0 / pixel_pm)
    image /= image.std()
    coefficients = spline_filter(image, SPLINE_ORDER, output=np.float32, mode="mirror")
    matrix = frame_matrix(pixel_pm, angle)
    lattice = ImageLattice(np.zeros(2), matrix, A_PM, A_PM, 0.0)
    return WindowSource(coefficients, lattice, 2.0)


@pytest.mark.parametrize("angle", [0.0, 17.0, -48.0, 90.0])
def test_windows_are_those_of_the_image(angle):
    source = source_of(angle)
    centre = np.random.default_rng(1).uniform([90, 90], [210, 250], (40, 2))
    corners = turned_corners(centre, source.lattice, FRAME, 60.0)
    turned = TurnedImage.of(source, corners, FRAME)
    for moved in (0.0, 2.7):  # a second round looks elsewhere, within the reach
        cut, exact = turned.cut(centre + moved), source.cut(centre + moved, FRAME)
        # the spline of fifth order misses 1e-4 of such a picture, half a pixel from its pixels
        assert np.abs(cut - exact).max() < 5e-4 * exact.std()


def test_windows_near_the_border_are_right_to_their_last_pixel():
    source = source_of(31.0)
    reach = 3.0 + float(np.abs(FRAME.position_pm @ source.lattice.matrix.T).max())
    centre = np.array([[reach, 150.0], [150.0, reach], [299.0 - reach, 339.0 - reach]])
    turned = TurnedImage.of(source, turned_corners(centre, source.lattice, FRAME, 0.0), FRAME)
    exact = source.cut(centre, FRAME)
    # mirrored at the border, the picture has a kink, which is felt three pixels from there
    assert np.abs(turned.cut(centre) - exact).max() < 2e-3 * exact.std()
