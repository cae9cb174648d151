"""The shape of columns by what can be foreseen of them: instruments against correlated noise."""

import numpy as np
from numpy.typing import NDArray

from napari_defectstrain.columns.images.measure import fit_image_columns
from napari_defectstrain.columns.images.steps import FreeShape, shape_by_instruments

SIDE, SPACING, SIGMA, PIXEL_PM = 200, 9.0, 2.6, 20.0


def free_shape(images: NDArray[np.float64], weighting: NDArray[np.float64]) -> FreeShape:
    n = len(images)
    return FreeShape(np.zeros((5, 3, n)), np.zeros((2, 2, n)), images, weighting, np.zeros(n))


def test_instruments_are_not_misled_by_noise_that_columns_and_residual_share() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(size=(2, 160, 192))
    step = np.array([0.3, -0.2])
    weighting = np.full(true.shape[1:], 4.0)
    plain, told = [], []
    for _ in range(12):
        noise = 0.5 * rng.normal(size=true.shape[1:])
        seen = true + np.array([0.8, 0.1])[:, None, None] * noise  # noise in the columns, too
        pull = (np.tensordot(step, true, 1) + noise) * weighting
        own = free_shape(seen, weighting)
        plain.append(own.step(pull, np.zeros(2)))
        found, errors = shape_by_instruments(own, free_shape(true, weighting), pull)
        told.append((found, errors.sigma))
    assert np.mean(plain, axis=0)[0] > step[0] + 0.1
    mean = np.mean([t for t, _ in told], axis=0)
    spread = np.std([t for t, _ in told], axis=0)
    assert np.abs(mean - step).max() < 4 * spread.max() / np.sqrt(len(told))
    assert np.all(np.mean([s for _, s in told], axis=0) < 2 * spread)
    assert np.all(np.mean([s for _, s in told], axis=0) > 0.5 * spread)


def crystal(noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Gaussian columns of two weights, their places, and which are heavy."""
    rng = np.random.default_rng(5)
    side = np.arange(SPACING / 2, SIDE, SPACING)
    place = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    heavy = rng.random(len(place)) < 0.5
    at = np.arange(SIDE)[:, None]
    by_y, by_x = (np.exp(-0.5 * ((at - p) / SIGMA) ** 2) for p in place.T)
    image = 20.0 + (by_y * np.where(heavy, 24.0, 14.0)) @ by_x.T
    return image + rng.normal(0, noise, image.shape), place, heavy


def test_what_is_foreseen_of_a_clear_image_changes_little_and_nothing_foreseen_nothing() -> None:
    image, place, heavy = crystal(0.3)

    def by_kind(
        position: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert len(position) == len(place)
        return place, np.where(heavy, np.nanmedian(weight[heavy]), np.nanmedian(weight[~heavy]))

    plain = fit_image_columns(image, place, pixel_size_pm=PIXEL_PM)
    told = fit_image_columns(image, place, pixel_size_pm=PIXEL_PM, foresee=by_kind)
    blind = fit_image_columns(
        image,
        place,
        pixel_size_pm=PIXEL_PM,
        foresee=lambda p, w: (np.full_like(p, np.nan), np.full_like(w, np.nan)),
    )
    assert np.array_equal(plain.position_px, blind.position_px, equal_nan=True)
    assert plain.aberrations is not None and told.aberrations is not None
    assert abs(told.aberrations.amount - plain.aberrations.amount) < 0.1
    assert np.nanmax(np.abs(told.position_px - plain.position_px)) < 0.02
