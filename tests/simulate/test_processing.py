"""What people do to pictures: each step does what its name says."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_defectstrain.detect.training.processed import process_tensor
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.processing import ProcessingConfig, process

STEPS = {
    "nothing": {},
    "smoothed": {"smooth_pm": 55.0},
    "background": {"subtract_pm": 300.0},
    "contrast": {"gamma": 0.6, "clip": (0.02, 0.05)},
    "eight bits": {"eight_bit": True},
    "jpeg": {"jpeg_quality": 70},
    "all": {
        "smooth_pm": 20.0, "subtract_pm": 900.0, "gamma": 1.4, "clip": (0.01, 0.01),
        "eight_bit": True, "jpeg_quality": 40,
    },
}  # fmt: skip


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((75, 75))
    lattice = np.cos(rows / 2.1) * np.cos(columns / 2.6) + 0.02 * rows
    return 400 + 150 * lattice + 12 * rng.standard_normal(lattice.shape)


def stretched(image: np.ndarray) -> np.ndarray:
    return (image - image.min()) / np.ptp(image)


def test_smoothing_and_background_are_those_of_gaussian_filters(picture: np.ndarray) -> None:
    smooth = process(picture, ProcessingConfig(smooth_pm=40.0), 20.0)
    np.testing.assert_allclose(smooth, stretched(gaussian_filter(picture, 2.0)), atol=2e-3)
    flat = process(picture, ProcessingConfig(subtract_pm=160.0), 20.0)
    expected = stretched(picture - gaussian_filter(picture, 8.0, truncate=6))
    np.testing.assert_allclose(flat, expected, atol=2e-3)


def test_contrast_is_clipped_and_bent(picture: np.ndarray) -> None:
    clipped = process(picture, ProcessingConfig(clip=(0.02, 0.1)), 20.0)
    assert (clipped == 0).mean() == pytest.approx(0.02, abs=0.002)
    assert (clipped == 1).mean() == pytest.approx(0.1, abs=0.002)
    bent = process(picture, ProcessingConfig(gamma=0.5), 20.0)
    np.testing.assert_allclose(bent**2, stretched(picture), atol=1e-4)
    assert len(np.unique(process(picture, ProcessingConfig(eight_bit=True), 20.0))) <= 256


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_gives_back_what_a_file_gives_back(picture: np.ndarray, quality: int) -> None:
    config = ProcessingConfig(jpeg_quality=quality)
    mine = process(picture, config, 20.0) * 255
    file = io.BytesIO()
    before = np.round(stretched(picture) * 255).astype(np.uint8)
    Image.fromarray(before).save(file, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(file), dtype=float)
    # the library computes in whole numbers: now and then a coefficient is rounded the other way
    assert (np.abs(mine - theirs) <= 1).mean() > 0.9
    assert np.abs(mine - theirs).mean() < 0.5
    assert np.abs(mine - before).mean() == pytest.approx(np.abs(theirs - before).mean(), rel=0.1)


@pytest.mark.parametrize("name", STEPS)
def test_tensors_are_worked_on_alike(picture: np.ndarray, name: str) -> None:
    config = ProcessingConfig(**STEPS[name])
    mine = process_tensor(torch.from_numpy(picture), config, 20.0).numpy()
    theirs = process(picture, config, 20.0)
    # half-way grey values, and coefficients, may be rounded either way
    step = 1.001 / (config.grey_values - 1)
    assert (np.abs(mine - theirs) > step).mean() < (0.01 if config.jpeg_quality else 1e-9)
    assert np.abs(mine - theirs).mean() < 1e-3


def test_a_processed_file_has_the_grey_values_of_its_depth(rng: np.random.Generator) -> None:
    scan = ScanConfig(shape=(64, 64), pixel_size_pm=30.0)
    processing = ProcessingConfig(smooth_pm=30.0, jpeg_quality=80)
    made = simulate_image(SimulationConfig(scan=scan, processing=processing), rng)
    assert made.counts.dtype == np.uint16
    assert 200 < made.counts.max() <= 255
    assert made.metadata["simulation"]["processing"]["jpeg_quality"] == 80
