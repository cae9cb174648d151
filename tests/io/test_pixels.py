"""Hot, dead and clipped pixels: found where they are, and never where they aren't."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_alloy import simulated

from napari_defectstrain.io.files import write_tiff
from napari_defectstrain.io.pixels import (
    _RING2,
    CLIPPED,
    REPLACED,
    _median_of_eight,
    _values,
    check_pixels,
    find_clipped,
    without_hot_pixels,
)
from napari_defectstrain.pipeline.loading import load_images, sum_frames
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.types import CalibratedImage, DefectStrainError


def counts(pixel_pm=20.74, dose=1.24e7, offset=100.0, read_noise=0.12, seed=1, size=384):
    """An image of one's own, simulated once for all tests."""
    return _counts(pixel_pm, dose, offset, read_noise, seed, size).copy()


@cache
def _counts(pixel_pm, dose, offset, read_noise, seed, size):
    scan = ScanConfig(
        shape=(size, size),
        pixel_size_pm=pixel_pm,
        dose_e_per_nm2=dose,
        offset_counts=offset,
        read_noise=read_noise,
    )
    made = simulate_image(SimulationConfig(scan=scan), np.random.default_rng(seed), "image")
    return made.counts.astype(np.float32)


# ------------------------------------------------------------------ hot and dead pixels


@pytest.mark.parametrize(("value", "number"), [(65535, 1), (65535, 20), (1000, 20), (-200, 20)])
def test_hot_and_dead_pixels_are_found_and_replaced(value, number):
    clean = counts()
    where = np.random.default_rng(number).integers(0, 384, (number, 2))
    spoilt = clean.copy()
    spoilt[tuple(where.T)] = value
    before = spoilt.copy()
    mended, found = without_hot_pixels(spoilt)
    assert {tuple(p) for p in found.tolist()} == {tuple(p) for p in where.tolist()}
    # within five standard deviations of a pixel's noise (21), and columns' curvature
    assert np.abs(mended - clean).max() < 110
    assert np.array_equal(spoilt, before)


@pytest.mark.slow
def test_a_hot_or_dead_pixel_inside_a_column_at_the_border_and_a_pair_of_them():
    clean = counts()
    inner = clean[5:-5, 5:-5]
    top = np.array(np.unravel_index(inner.argmax(), inner.shape)) + 5
    for places, value in (
        ([top], 65535),
        ([top], 0),
        ([(0, 0), (383, 17)], 65535),
        ([(90, 90), (90, 91)], 65535),
    ):
        spoilt = clean.copy()
        for place in places:
            spoilt[tuple(place)] = value
        mended, found = without_hot_pixels(spoilt)
        assert found.tolist() == [list(map(int, place)) for place in places]
        assert np.abs(mended - clean).max() < 120


@pytest.mark.slow
@pytest.mark.parametrize("read_noise", [0.0, 0.12])
@pytest.mark.parametrize("dose", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("pixel_pm", [10.0, 20.74, 60.0, 100.0])
def test_columns_and_noise_are_not_touched(pixel_pm, dose, read_noise):
    image = counts(pixel_pm, dose, 100.0 if read_noise else 0.0, read_noise)
    mended, found = without_hot_pixels(image)
    assert len(found) == 0
    assert mended is image
    assert find_clipped(image).lowest == 0
    assert find_clipped(image).highest == 0


def test_columns_of_one_pixel_are_not_touched():
    rng = np.random.default_rng(5)
    image = rng.poisson(2.0, (128, 128)).astype(float)
    image[2::4, 2::4] += 100.0
    image[2::4, 4::4] += np.where(rng.random((32, 31)) < 0.02, 180.0, 70.0)
    assert len(without_hot_pixels(image)[1]) == 0


def test_a_bright_noisy_grain_is_not_touched():
    rng = np.random.default_rng(6)
    image = rng.normal(100.0, 5.0, (512, 512))
    image[100:110, 200:212] += rng.normal(800.0, 60.0, (10, 12))
    assert len(without_hot_pixels(image)[1]) == 0


# ------------------------------------------------------------------ clipping


def stretched(data, low, high, levels=255):
    """Grey levels of a picture, cut off at two values."""
    return np.clip(np.round((data - low) / (high - low) * levels), 0, levels)


def test_clipping_is_found_at_either_end():
    data = counts()
    low, high = np.quantile(data, [0.006, 0.985])
    both = find_clipped(stretched(data, low, high))
    assert both.highest == pytest.approx(0.015 * data.size, rel=0.15)
    assert both.lowest == pytest.approx(0.006 * data.size, rel=0.3)
    top = find_clipped(stretched(data, data.min(), high))
    assert (top.lowest, top.highest > 0) == (0, True)
    scaled = find_clipped(stretched(data, low, high).astype(np.float32) / 255 * 3 - 1)
    assert scaled == both


@pytest.mark.parametrize("levels", [40, 255, 65535])
def test_pictures_stretched_to_the_full_range_are_not_clipped(levels):
    data = counts()
    found = find_clipped(stretched(data, data.min(), data.max(), levels))
    assert (found.lowest, found.highest) == (0, 0)


def test_a_thresholded_picture_says_so_and_sparse_counts_do_not(rng):
    data = counts()
    mask = CalibratedImage((data > np.median(data)).astype(float), 20.0, "mask")
    _, warnings = check_pixels(mask)
    assert any("thresholded" in text for text in warnings)
    sparse = CalibratedImage(rng.poisson(0.05, data.shape).astype(float), 20.0, "sparse")
    _, warnings = check_pixels(sparse)
    assert not any("thresholded" in text for text in warnings)


def test_black_borders_and_holes_are_not_clipped():
    data = counts(offset=40.0, read_noise=0.02)
    data[:30] = 0
    data[200:260, 100:190] = 0
    assert find_clipped(data).lowest == 0


def test_the_median_of_eight_is_that_of_numpy(rng):
    values = rng.integers(0, 5, (500, 8)).astype(float)  # with many ties
    values[:100] = rng.normal(size=(100, 8))
    assert np.array_equal(_median_of_eight(values), np.median(values, axis=1))


def test_pixels_beyond_the_border_are_mirrored_without_the_border(rng):
    data = rng.normal(size=(6, 5))
    padded = np.pad(data, 2, mode="reflect")
    where = np.argwhere(np.ones_like(data, dtype=bool))
    found = _values(data, where, _RING2)
    expected = [[padded[y + 2 + dy, x + 2 + dx] for dy, dx in _RING2] for y, x in where]
    assert np.array_equal(found, expected)


# ------------------------------------------------------------------ where images come in


def test_pixels_are_checked_once_right_after_loading(tmp_path):
    data = counts()
    data[50, 60] = 65535
    write_tiff(tmp_path / "hot.tif", data.astype(np.uint16), 20.74)
    (image,), notes = load_images([tmp_path / "hot.tif"])
    assert image.data.max() < 1000
    assert image.metadata[REPLACED] == 1
    assert any(n.startswith("hot.tif: 1 hot or dead pixel left out") for n in notes)
    again, texts = check_pixels(image)
    assert again is image
    assert texts == ()


@pytest.mark.slow
def test_pixels_of_frames_are_checked_before_they_are_summed():
    made = simulated(size=256).image
    rng = np.random.default_rng(0)
    frames = []
    for t in range(4):
        data = rng.poisson(made.data / 4).astype(np.float32)
        data[20 + 3 * t, 30] = 60000
        top = np.quantile(data, 0.99)
        frames.append(replace(made, data=np.minimum(data, top), name=f"f[{t}]"))
        frames[-1].data[20 + 3 * t, 30] = 60000
    total = sum_frames(frames, "f")
    assert total.data.max() < 2000
    assert total.metadata[REPLACED] == 4
    said = " ".join(total.metadata["warnings"])
    assert "4 hot or dead pixels" in said


def test_a_clipped_image_says_so_in_its_metadata():
    data = counts()
    image = CalibratedImage(stretched(data, data.min(), np.quantile(data, 0.98)), 20.74, "cut")
    checked, (text,) = check_pixels(image)
    assert text.startswith("cut: 2 % of the pixels")
    assert checked.metadata[CLIPPED]["highest"] > 0


@pytest.mark.parametrize(
    ("scale", "offset"), [(1.0, 1e9), (1.0, -(2.0**40)), (1e30, 0.0), (1e-30, 0.0), (1e25, 1e33)]
)
def test_offsets_and_units_that_single_precision_cannot_hold_are_made_good(scale, offset):
    plain = np.asarray(counts(size=96), dtype=np.float64)
    image = CalibratedImage(scale * plain + offset, 20.74, "odd")
    checked, said = check_pixels(image)
    assert len(said) == (1 if 0.0 in (offset, scale - 1.0) else 2)
    single = checked.data.astype(np.float32).astype(float)
    slope, rest = np.polyfit(plain.ravel(), single.ravel(), 1)
    assert 0.1 < single.std() < 1e6
    assert slope > 0
    assert np.abs(single - slope * plain - rest).max() < 2e-4 * np.ptp(single)


def test_an_offset_that_swallowed_the_grey_levels_is_refused():
    data = np.asarray(counts(size=96), dtype=np.float32) + np.float32(1e9)
    with pytest.raises(DefectStrainError, match=r"got values about 1e\+09 in steps of 64"):
        check_pixels(CalibratedImage(data, 20.74, "odd"))


def test_usual_values_stay_as_they_are():
    image = CalibratedImage(np.asarray(counts(size=96), dtype=np.float64), 20.74, "usual")
    assert check_pixels(image)[1] == ()
    hot = image.data.copy()
    hot[40, 40] = 1e30
    checked, said = check_pixels(CalibratedImage(hot, 20.74, "hot"))
    assert said == ("hot: 1 hot or dead pixel left out (replaced by the median of those around)",)
    assert checked.data.max() < 1e9
