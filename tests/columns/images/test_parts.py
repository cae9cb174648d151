"""The part of a large image whose columns tell where the fit of all of them starts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_defectstrain.columns.images import measure
from napari_defectstrain.columns.images.fit import Pixels
from napari_defectstrain.columns.images.measure import fit_image_columns
from napari_defectstrain.columns.images.parts import Part

SIDE, SPACING, SIGMA, PIXEL_PM = 220, 9.0, 2.6, 20.0


def lattice(height: int, width: int) -> NDArray[np.float64]:
    sides = (np.arange(SPACING / 2, n, SPACING) for n in (height, width))
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)


def test_a_part_holds_about_as_many_columns_as_asked_for_in_the_middle() -> None:
    place = lattice(450, 900)
    part = Part.densest((450, 900), place, 400)
    assert part is not None
    assert 350 < part.member.sum() < 480
    inside = place[part.member]
    assert np.all((inside > np.array(part.first) - 0.5) & (inside < np.array(part.last) - 0.5))
    assert np.abs(np.add(part.first, part.last) / 2 - [225, 450]).max() < 45
    pixels = Pixels(np.arange(450 * 900.0).reshape(450, 900), np.ones((450, 900)))
    y, x = part.first
    assert part.of(pixels).data[0, 0] == pixels.data[y, x]
    assert np.allclose(part.outwards(part.inwards(place)), place)


def test_a_part_lies_where_columns_are() -> None:
    place = lattice(900, 900)
    place = place[(place > 500).all(axis=1)]  # a flake in a corner
    part = Part.densest((900, 900), place, 400)
    assert part is not None and min(part.first) > 450
    narrow = Part.densest((50, 900), lattice(50, 900), 200)
    assert narrow is not None and (narrow.first[0], narrow.last[0]) == (0, 50)


def test_small_images_have_no_part() -> None:
    assert Part.densest((450, 450), lattice(450, 450), 2000) is None
    assert Part.densest((450, 450), np.zeros((0, 2)), 2000) is None


def test_starting_from_a_part_ends_where_starting_from_all_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    place = lattice(SIDE, SIDE)
    weight = np.where(rng.random(len(place)) < 0.5, 24.0, 10.0)
    at = np.arange(SIDE)[:, None]
    by_y, by_x = (np.exp(-0.5 * ((at - p) / SIGMA) ** 2) for p in place.T)
    image = 20.0 + (by_y * weight) @ by_x.T + rng.normal(0, 0.5, (SIDE, SIDE))
    start = place + rng.normal(0, 0.3, place.shape)

    def foresee(
        position: NDArray[np.float64], found: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means = [np.nanmedian(found[weight == w]) for w in (10.0, 24.0)]
        return place, np.where(weight == 24.0, means[1], means[0])

    asked = {"pixel_size_pm": PIXEL_PM, "foresee": foresee}
    whole = fit_image_columns(image, start, **asked)  # type: ignore[arg-type]
    fitted = []
    gaussians = measure._gaussians

    def counted(*given: object) -> object:
        fitted.append(len(given[1]))  # type: ignore[arg-type]
        return gaussians(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "_gaussians", counted)
    monkeypatch.setattr(measure, "LARGE", 400)
    monkeypatch.setattr(measure, "ENOUGH", 200)
    told = fit_image_columns(image, start, **asked)  # type: ignore[arg-type]
    assert len(fitted) == 1 and fitted[0] < 250 < len(place)
    assert whole.aberrations is not None and told.aberrations is not None
    assert told.aberrations.amount == pytest.approx(whole.aberrations.amount, abs=0.05)
    away = np.abs(told.position_px - whole.position_px).max(axis=1)
    assert np.nanmax(away) < 0.1 * np.nanmedian(whole.sigma_px)
    assert np.array_equal(told.flag, whole.flag)
    assert told.noise.constant == pytest.approx(whole.noise.constant, rel=0.02)
