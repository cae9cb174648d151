"""Fits of a learnt profile: by sums of pixels, by every few of them, and until it stands."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_defectstrain.columns.images.background import SplineSurface
from napari_defectstrain.columns.images.fit import ImageFit, ImageFitter, ImageState
from napari_defectstrain.columns.images.measure import ImageColumnConfig, fit_image_columns
from napari_defectstrain.columns.images.rendering import Shape
from napari_defectstrain.columns.images.start import pixels_of
from napari_defectstrain.columns.images.types import NoiseModel
from napari_defectstrain.columns.profiles import gaussian_profile, spline_profile
from napari_defectstrain.types import FloatArray

SIGMA, SIDE, STEP = 2.9, 180, 9.0


def crystal(
    sigma: float, side: int, step: float, gaussian: bool = False
) -> tuple[ImageFitter, ImageState]:
    """Columns of a Gaussian, or of an aperture: a seventh of its light is beyond three sigma."""
    along = np.arange(0.5 * step, side, step)
    place = np.stack(np.meshgrid(along, along, indexing="ij"), -1).reshape(-1, 2)
    profile = spline_profile(sigma, 14, 0.7, 0.5 / sigma, 0.17 / sigma)
    if gaussian:
        profile = gaussian_profile(sigma)
    config = ImageColumnConfig(double_precision=True)
    surface = SplineSurface((side, side), 6 * step, np.float64)
    pixels = pixels_of(np.ones((side, side)), config)
    fitter = ImageFitter(pixels, place, sigma, profile.cutoff_per_pm, surface, config)
    shape = Shape.starting(profile, np.zeros((len(profile.coefficient), 0)), np.zeros((3, 0)))
    background = np.full(surface.size, 20.0)
    weight = np.full(len(place), 3000.0)
    return fitter, ImageState(place, weight, background, shape, np.zeros(len(place), dtype=bool))


def image_of(fitter: ImageFitter, state: ImageState) -> FloatArray:
    points = fitter.renderer.spread(state.position)
    return fitter.model(state, fitter.renderer.structure_factor(points, state.weight))


def test_every_few_pixels_tell_what_all_tell() -> None:
    fitter, state = crystal(SIGMA, SIDE, STEP)
    told = []
    for every in (1, 2):
        fitter.every = every
        seen = fitter.seen(state, NoiseModel(1.0, 0.0))
        looked = fitter.looked(state, seen=seen.patches)
        assert looked.tail > 0.05
        told.append(fitter.information(looked, seen.inverse).block)
    inner = np.abs(state.position - 0.5 * SIDE).max(axis=1) < 0.5 * SIDE - 30
    diagonal = [np.diagonal(block[inner], axis1=1, axis2=2) for block in told]
    assert np.allclose(diagonal[1], diagonal[0], rtol=0.01)


def wide_columns() -> tuple[FloatArray, FloatArray]:
    """Counts of columns so wide that sums of 3 x 3 pixels come first, and their places."""
    fitter, state = crystal(4.2, 220, 20.0, gaussian=True)
    weight = np.where(np.arange(len(state.weight)) % 2, 20000.0, 12000.0)
    expected = image_of(fitter, replace(state, weight=weight))
    return np.random.default_rng(2).poisson(expected).astype(float), state.position


@pytest.fixture
def endings(monkeypatch: pytest.MonkeyPatch) -> list[ImageFit | None]:
    """How fits by the pixels that follow those by sums end, as they come."""
    found: list[ImageFit | None] = []
    settled = ImageFitter.settled

    def noted(self: ImageFitter, *given: Any) -> ImageFit | None:
        found.append(settled(self, *given))
        return found[-1]

    monkeypatch.setattr(ImageFitter, "settled", noted)
    return found


def test_a_fit_by_sums_ends_where_that_of_the_pixels_does(endings: list[ImageFit | None]) -> None:
    counts, place = wide_columns()
    start = place + 0.4
    by_sums = fit_image_columns(counts, start, ImageColumnConfig())
    assert len(endings) == 1 and endings[0] is not None
    missing = counts.copy()
    missing[0, 0] = np.nan  # sums would lose what is beside it: by the pixels themselves
    by_pixels = fit_image_columns(missing, start, ImageColumnConfig(tolerance_px=2e-4))
    assert len(endings) == 1
    inner = np.abs(place - 110.0).max(axis=1) < 80
    away = (by_sums.position_px - by_pixels.position_px)[inner]
    assert np.sqrt(np.mean(away**2)) < 0.05 * np.sqrt(np.mean(by_pixels.sigma_px[inner] ** 2))
    assert np.allclose(by_sums.sigma_px[inner], by_pixels.sigma_px[inner], rtol=0.03)
    assert not by_sums.flag[inner].any()
    assert by_sums.converged and by_pixels.converged


def test_counts_keep_their_noise_where_sums_come_first(endings: list[ImageFit | None]) -> None:
    """The noise was read from the residual all the same: gain 4 of counts times 4."""
    counts, place = wide_columns()
    found = fit_image_columns(4.0 * counts, place + 0.4, ImageColumnConfig(noise="poisson"))
    assert len(endings) == 1 and endings[0] is not None
    assert found.noise == NoiseModel(1.0, 0.0)


def test_sums_that_do_not_converge_leave_it_to_the_pixels(
    endings: list[ImageFit | None],
) -> None:
    counts, place = wide_columns()
    found = fit_image_columns(counts, place + 0.4, ImageColumnConfig(max_iterations=1))
    assert not endings
    assert not found.converged


def test_a_profile_is_learnt_until_it_stands() -> None:
    """Light beyond patches was counted twice: fits ended seven errors on the way."""
    fitter, state = crystal(SIGMA, 360, STEP)
    counts = np.random.default_rng(3).poisson(image_of(fitter, state)).astype(float)
    amount = []
    for config in (ImageColumnConfig(), ImageColumnConfig(tolerance_px=1e-5, max_iterations=30)):
        found = fit_image_columns(counts, state.position + 0.3, config).aberrations
        assert found is not None
        amount.append(found.amount)
    assert amount[0] == pytest.approx(amount[1], abs=2.0 * found.sigma)
