"""The smooth background of an image."""

import numpy as np

from napari_defectstrain.columns.images.background import SplineSurface


def test_products_of_splines_are_summed_over_all_pixels() -> None:
    """The sparse matrix is that of all splines at all pixels, for any weights of these."""
    surface = SplineSurface((40, 33), 9.0, np.float64)
    weight = np.random.default_rng(3).random((40, 33))
    one = np.eye(surface.size[0] * surface.size[1]).reshape(-1, *surface.size)
    every = np.array([surface.evaluate(c).ravel() for c in one])

    normal = surface.normal(surface.gather(weight)).toarray()

    np.testing.assert_allclose(normal, (every * weight.ravel()) @ every.T, atol=1e-9)


def test_sums_of_squares_of_pixels_hold_what_the_pixels_do() -> None:
    """Cells of several pixels: none is left out at the end."""
    surface = SplineSurface((211, 1000), 300.0)
    weight = np.random.default_rng(3).random((211, 1000))

    np.testing.assert_allclose(surface.gather(weight).sum(), weight.sum())
