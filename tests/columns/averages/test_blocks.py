"""Blocks of a Jacobian against the whole of it."""

from dataclasses import replace

import numpy as np
import pytest
from class_stage import small_model

from napari_defectstrain.columns.averages.blocks import pixel_blocks
from napari_defectstrain.columns.averages.crowded import block_jacobian, jacobian
from napari_defectstrain.columns.averages.joint import FULL_BLUR
from napari_defectstrain.columns.profiles import FourierWindow, gaussian_profile


@pytest.mark.parametrize("side_px", [1, 7, 100])
def test_every_pixel_is_in_one_block(side_px: int) -> None:
    pixel = np.random.default_rng(0).random((23, 23)) < 0.7
    blocks = pixel_blocks(pixel, side_px)
    number = np.concatenate([b.number for b in blocks])
    assert np.array_equal(np.sort(number), np.arange(pixel.sum()))
    for b in blocks:
        assert np.ptp(b.row) < side_px
        assert np.ptp(b.column) < side_px
        assert np.array_equal(np.argwhere(pixel)[b.number], np.stack([b.row, b.column], axis=1))


@pytest.mark.parametrize("spline", [True, False])
def test_products_of_blocks_are_those_of_the_whole(spline: bool) -> None:
    rng = np.random.default_rng(4)
    geometry, state, profile = small_model(rng, spline)
    geometry = replace(geometry, patch_pm=300.0)  # so that columns are missing from some blocks
    position = state.position_pm.copy()
    position[4] = (9000.0, -9000.0)
    position[-1] += (700.0, 0.0)
    state = replace(state, position_pm=position)
    whole = jacobian(geometry, state, profile, FULL_BLUR)
    weight = rng.uniform(0.5, 2.0, whole.shape[1])
    blocks = block_jacobian(geometry, state, profile, FULL_BLUR, weight)
    assert sum(b.value.size for b in blocks.blocks) < 0.8 * whole.size
    whole = whole * weight
    vector, several = rng.normal(size=whole.shape[1]), rng.normal(size=(3, whole.shape[1]))
    left = rng.normal(size=(2, len(whole)))
    pairs = [
        (blocks.whole(), whole),
        (blocks.normal(), whole @ whole.T),
        (blocks.times(vector), whole @ vector),
        (blocks.times(several), whole @ several.T),
        (blocks.combined(left), left @ whole),
        (blocks.combined(left[0]), left[0] @ whole),
        (blocks.weighted(weight).whole(), whole * weight),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("width", [1.0, 0.8])
def test_gaussian_patches_by_formula_are_those_of_the_series(width: float) -> None:
    window = FourierWindow(61, 20.0, 0.02)
    blur = width * np.array([3100.0, 200.0, 2900.0])
    profile = gaussian_profile(55.0).with_blur(blur)
    assert profile.is_gaussian == (width == 1.0)  # what the cutoff takes of a narrow one matters
    position = np.array([[3.0, -7.0], [411.0, 130.0], [-590.0, 588.0]])
    found = window.column_patches(profile, position, 9)
    expected = window.patches(window.transfer(profile), position, 9)
    for kind, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(kind, other, rtol=0, atol=2e-9 * np.abs(other).max())
    assert all(np.array_equal(a, b) for a, b in zip(found[1:], expected[1:], strict=True))
    alone = window.column_patches(profile, position, 9, derivatives=False)[0]
    assert np.array_equal(alone, found[0][:1])


def test_splines_that_are_known_change_no_transfer_function() -> None:
    _, _, profile = small_model(np.random.default_rng(5))
    window = FourierWindow(31, 20.0, 0.9 * profile.cutoff_per_pm)
    kx, ky = window.kx_per_pm, window.ky_per_pm
    for _ in range(2):
        assert np.array_equal(window.transfer(profile), profile.transfer(kx, ky))
        assert np.array_equal(window.by_parameters(profile), profile.by_parameters(kx, ky))
        profile = replace(profile, cutoff_per_pm=1.1 * profile.cutoff_per_pm)
