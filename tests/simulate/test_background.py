"""Contamination taken from an image."""

from pathlib import Path

import numpy as np
import pytest

from napari_defectstrain.simulate.acquisition import ScanConfig, contamination
from napari_defectstrain.simulate.background import (
    extract_background,
    measured_contamination,
    write_background,
)
from napari_defectstrain.simulate.dataset import SimulationConfig, crystal_for, crystal_image
from napari_defectstrain.types import CalibratedImage, DefectStrainError


@pytest.fixture(scope="module")
def dirty() -> tuple[CalibratedImage, np.ndarray]:
    """A noise-free image under contamination, and that contamination."""
    scan = ScanConfig(
        shape=(400, 400), pixel_size_pm=25.0, contamination=0.4, contamination_nm=2.5, texture=0.0
    )
    config = SimulationConfig(scan=scan)
    rng = np.random.default_rng(8)
    clean, _ = crystal_image(crystal_for(config, rng), config, np.array([199.5, 199.5]))
    dirt = contamination(scan, rng)
    return CalibratedImage(1000 * (clean + dirt) + 50, 25.0, "dirty"), dirt


def test_the_contamination_is_found_again(dirty: tuple[CalibratedImage, np.ndarray]) -> None:
    image, dirt = dirty
    found = extract_background(image, 330.0)
    inner = (slice(40, -40), slice(40, -40))
    correlation = np.corrcoef(found[inner].ravel(), dirt[inner].ravel())[0, 1]
    slope = np.polyfit(dirt[inner].ravel(), found[inner].ravel(), 1)[0]
    # The smoothing takes a little of it (sigma 0.3 nm against 2.5 nm), the defects add their own
    # share of brightness, and the height of columns in a crystal exceeds that of a lone one.
    assert correlation > 0.95
    assert slope == pytest.approx(1.0, abs=0.25)


def test_cuts_of_it_have_its_mean_and_the_scan_its_shape(
    dirty: tuple[CalibratedImage, np.ndarray], tmp_path: Path
) -> None:
    image, _ = dirty
    path = tmp_path / "dirt.tif"
    write_background(path, image, 330.0)
    scan = ScanConfig(shape=(90, 120), pixel_size_pm=30.0)
    cuts = [measured_contamination(path, scan, np.random.default_rng(s)) for s in range(40)]
    assert cuts[0].shape == (90, 120)
    assert min(c.min() for c in cuts) >= 0
    # strength 0.5-1.5 about 1; forty cuts of an image of 10 nm
    whole = extract_background(image, 330.0).mean()
    assert np.mean(cuts) == pytest.approx(whole, rel=0.2)


def test_uncalibrated_and_empty_images_are_refused() -> None:
    with pytest.raises(DefectStrainError, match="got no pixel size"):
        extract_background(CalibratedImage(np.ones((64, 64)), None, "bare"), 330.0)
    with pytest.raises(DefectStrainError, match="without contrast"):
        extract_background(CalibratedImage(np.ones((64, 64)), 20.0, "flat"), 330.0)
