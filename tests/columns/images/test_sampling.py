"""Images of fine pixels, summed to larger ones."""

import numpy as np
from numpy.typing import NDArray

from napari_defectstrain.columns.images.derivatives import Patches, SeparableProfile
from napari_defectstrain.columns.images.fit import Pixels
from napari_defectstrain.columns.images.measure import fit_image_columns
from napari_defectstrain.columns.images.rendering import ColumnRenderer
from napari_defectstrain.columns.images.sampling import Sampling
from napari_defectstrain.columns.images.types import ImageColumnConfig
from napari_defectstrain.columns.profiles import gaussian_profile

SIGMA = 3.0  # in pixels; sums are of 2 x 2


def columns(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A crooked square lattice and its weights."""
    rng = np.random.default_rng(1)
    axes = [np.arange(9.0, n - 8.0, 11.0) for n in shape]
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return place + rng.normal(0, 0.2, place.shape), rng.uniform(300, 900, len(place))


def image_of(
    shape: tuple[int, int], place: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    by_y, by_x = (
        np.exp(-0.5 * ((np.arange(n)[:, None] - p) / SIGMA) ** 2)
        for n, p in zip(shape, place.T, strict=True)
    )
    return np.asarray((by_y * weight) @ by_x.T / (2 * np.pi * SIGMA**2))


def test_columns_are_drawn_as_sums_of_pixels_see_them() -> None:
    shape = (80, 96)
    place, weight = columns(shape)
    sums = image_of(shape, place, weight).reshape(40, 2, 48, 2).sum(axis=(1, 3))
    inwards = Sampling(2).inwards(place)
    assert np.allclose(Sampling(2).outwards(inwards), place)
    profile = gaussian_profile(SIGMA / 2)
    for dtype, error in ((np.float32, 3e-6), (np.float64, 1e-8)):
        renderer = ColumnRenderer((40, 48), SIGMA / 2, profile.cutoff_per_pm, dtype, side=2)
        factor = renderer.structure_factor(renderer.spread(inwards), weight)
        drawn = renderer.image(factor * renderer.transfer(profile))
        assert np.abs(drawn - sums).max() < error * sums.max()
    alone = image_of(shape, place[:1], np.ones(1)).reshape(40, 2, 48, 2).sum(axis=(1, 3))
    separable = SeparableProfile(profile, SIGMA / 2, np.float64, side=2)
    patches = Patches.of(separable, inwards[:1], np.ones(1))
    expected = patches.cut(alone)[0]
    found = patches.derivatives(slice(0, 1))[0, 0]
    seen = expected > 1e-3 * expected.max()
    assert np.abs(found - expected)[seen].max() < 1e-6 * expected.max()


def test_frequencies_beyond_those_of_the_pixels_are_folded_back() -> None:
    """At narrow columns the finer grid that they are drawn on never was an image of its own."""
    rng = np.random.default_rng(2)
    place, weight = rng.uniform(4, 36, (40, 2)), rng.uniform(1, 2, 40)
    for sigma in (1.0, 1.1):
        profile = gaussian_profile(sigma)
        renderer = ColumnRenderer((41, 42), sigma, profile.cutoff_per_pm, np.float64)
        assert renderer.oversampling > 1
        factor = renderer.structure_factor(renderer.spread(place), weight)
        drawn = renderer.image(factor * renderer.transfer(profile))
        by_y, by_x = (
            np.exp(-0.5 * ((np.arange(n)[:, None] - p) / sigma) ** 2)
            for n, p in zip((41, 42), place.T, strict=True)
        )
        expected = (by_y * weight) @ by_x.T / (2 * np.pi * sigma**2)
        assert np.abs(drawn - expected).max() < 1e-7 * expected.max()


def test_a_sum_counts_where_all_its_pixels_do() -> None:
    data = np.arange(35.0).reshape(5, 7)
    good = np.ones((5, 7))
    good[0, 0] = 0.0
    sums = Sampling(2).summed(Pixels(data, good))
    assert sums.data.shape == (3, 4)
    assert sums.data[0, 1] == data[:2, 2:4].sum()
    assert np.array_equal(sums.good, [[0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    assert np.all(sums.data[sums.good == 0] == 0)
    assert not sums.data_everywhere
    assert Sampling(2).summed(Pixels(data, np.ones((5, 7)))).data_everywhere
    again = Sampling(2).summed(Sampling(2).summed(Pixels(data, np.ones((5, 7)))))
    assert np.array_equal(again.good, [[1, 0], [0, 0]]) and again.data_everywhere
    assert Sampling.fit_for(3.0, ImageColumnConfig()).side == 1
    assert Sampling.fit_for(3.5, ImageColumnConfig(sampling_sigma=1.1)).side == 3
    assert Sampling.fit_for(9.0, ImageColumnConfig(sampling_sigma=1.0, model="gaussian")).side == 1


def test_a_fit_of_sums_says_the_same_in_pixels() -> None:
    shape = (151, 160)
    place, weight = columns(shape)
    counts = np.random.default_rng(3).poisson(40.0 + 12.0 * image_of(shape, place, weight))
    fine = fit_image_columns(counts, place, ImageColumnConfig(), 20.0)
    sums = fit_image_columns(counts, place, ImageColumnConfig(sampling_sigma=1.2), 20.0)
    use = (fine.flag == 0) & (sums.flag == 0) & (place < np.array(shape) - 10).all(axis=1)
    assert use.sum() > 80
    sigma = np.sqrt(np.diagonal(sums.covariance_px2, axis1=1, axis2=2))[use]
    ratio = sigma / np.sqrt(np.diagonal(fine.covariance_px2, axis1=1, axis2=2))[use]
    assert 0.99 < np.median(ratio) < 1.1
    away = (sums.position_px - fine.position_px)[use]
    assert np.sqrt(np.mean((away / sigma) ** 2)) < 0.5
    pull = (sums.position_px - place)[use] / sigma
    assert 0.85 < np.sqrt(np.mean(pull**2)) < 1.15
    assert abs(np.median(sums.weight[use] / fine.weight[use]) - 1) < 0.02
    assert abs(np.median(sums.background[use]) - np.median(fine.background[use])) < 4.0
    assert sums.profile is not None and fine.profile is not None
    centre = [p.evaluate(np.zeros(1), np.zeros(1))[0] for p in (sums.profile, fine.profile)]
    assert abs(centre[0] / centre[1] - 1) < 0.02
    assert abs(sums.noise.gain / fine.noise.gain - 1) < 0.2
