"""How windows vary: noise is called noise, and what isn't is found."""

import numpy as np
import pytest

from napari_defectstrain.precision.variability import window_components

PIXEL = np.hypot(*np.mgrid[-8:9, -8:9]) <= 8
K = int(PIXEL.sum())


def components(windows: np.ndarray, noise: np.ndarray, scale: tuple[float, float] = (1.0, 0.01)):
    first = np.arange(len(windows)) % 2 == 0
    return window_components(windows, first, noise, np.ones(len(noise)), scale, PIXEL, 3)


def coloured(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a strong component of its own, as brightness of the whole window."""
    return rng.normal(size=(n, K)) + 1.5 * rng.normal(size=(n, 1)) / np.sqrt(K)


def test_components_of_noise_are_called_noise():
    rng = np.random.default_rng(0)
    sigmas = []
    for _ in range(10):
        found = components(coloured(120, rng), coloured(300, rng))
        assert all(c.is_noise and c.kind == "noise" for c in found)
        sigmas += [c.sigma for c in found]
    # the first components fit their own windows: in-sample they'd be far above noise
    assert abs(np.mean(sigmas)) < 0.6
    assert np.std(sigmas) < 1.5


def test_a_way_of_varying_that_noise_has_not_is_found():
    rng = np.random.default_rng(1)
    shape = np.zeros((17, 17))
    shape[8, 10], shape[8, 6] = 1.0, -1.0
    direction = shape[PIXEL] / np.linalg.norm(shape[PIXEL])
    windows = coloured(200, rng) + 3.0 * rng.normal(size=(200, 1)) * direction
    first, second, _ = components(windows, coloured(400, rng))
    assert not first.is_noise and second.is_noise
    assert first.sigma > 5
    # 1 of 1 + 9, and the direction found in a half has 0.8 of that variance
    assert 0.08 < first.noise_share < 0.18
    picture = first.picture[PIXEL]
    assert abs(picture @ direction) / np.linalg.norm(picture) > 0.9
    assert np.linalg.norm(picture) == pytest.approx(np.sqrt(10.0), rel=0.15)
    assert np.isnan(first.picture[~PIXEL]).all()
    assert first.kind.endswith("% noise")


def test_louder_windows_are_not_taken_for_varying_ones():
    rng = np.random.default_rng(2)
    found = components(1.2 * coloured(200, rng), coloured(400, rng), (1.2, 0.02))
    assert all(c.is_noise for c in found)


def test_too_few_windows_have_no_components():
    rng = np.random.default_rng(3)
    assert components(coloured(19, rng), coloured(100, rng)) == ()
