"""Windows of labelled images: labels where they belong, nothing learnt where nobody looked."""

import numpy as np
import pytest
import torch

from napari_defectstrain.detect.network.config import NetworkConfig, TrainConfig
from napari_defectstrain.detect.training.loop import MASKED, Example, _Run
from napari_defectstrain.detect.training.real_windows import (
    draw_labelled,
    labelled_image,
    mixed_batches,
)
from napari_defectstrain.types import CalibratedImage, DefectStrainError

SIDE = 120
CONFIG = TrainConfig(
    network=NetworkConfig(features=(4, 8, 8)), batch=4, window_px=48, workers=0, renderer="numpy"
)
CPU = torch.device("cpu")


def labelled(looked=None, pixel_pm=20.0):
    rng = np.random.default_rng(0)
    image = CalibratedImage(rng.normal(size=(SIDE, SIDE)).astype(np.float32), pixel_pm, name="a")
    position = np.array([[30.0, 40.0], [60.0, 60.0], [90.0, 20.0]])
    looked = np.ones((SIDE, SIDE), dtype=bool) if looked is None else looked
    return labelled_image(image, pixel_pm, position, np.array([0, 4, -1]), looked, "WSe2")


def test_labels_lie_at_the_columns_and_unknown_ones_are_masked():
    one = labelled()
    assert one.image.shape == one.labels.shape == (SIDE // 2, SIDE // 2)
    # pixel k of 20 pm is (k + 0.5) / 2 - 0.5 of 40 pm
    assert (one.labels[14:17, 19:22] == 1).all() and (one.labels[29:32, 29:32] == 5).all()
    assert (one.labels[44:47, 9:12] == MASKED).all()
    assert (one.labels == MASKED).sum() == 9


def test_what_nobody_looked_at_is_masked():
    looked = np.zeros((SIDE, SIDE), dtype=bool)
    looked[:, : SIDE // 2] = True
    one = labelled(looked)
    assert (one.labels[:, SIDE // 4 :] == MASKED).all()
    assert not (one.labels[:40, : SIDE // 4] == MASKED).any()


def test_windows_larger_than_the_image_have_no_labels_beyond_it():
    one = labelled()
    window = draw_labelled([one], 80, np.random.default_rng(0))
    assert window.image.shape == window.labels.shape == (80, 80)
    assert (window.labels[SIDE // 2 :] == MASKED).all()


def test_batches_are_mixed_by_the_share_and_of_labels_alone_with_one():
    looked = np.zeros((SIDE, SIDE), dtype=bool)
    looked[:100, :100] = True
    images = [labelled(looked)]
    batch = next(mixed_batches(images, 0.5)(CONFIG, 0, CPU))
    masked = (batch.labels == MASKED).any(dim=(1, 2))
    assert batch.image.shape == (4, 1, 48, 48) and batch.condition.shape[0] == 4
    assert int(masked.sum()) == 2
    alone = next(mixed_batches(images, 1.0)(CONFIG, 0, CPU))
    assert (alone.labels == MASKED).any(dim=(1, 2)).all()


def test_images_without_labels_are_refused():
    with pytest.raises(DefectStrainError, match="no labelled pixel"):
        mixed_batches([labelled(np.zeros((SIDE, SIDE), dtype=bool))], 0.5)


def test_masked_pixels_have_no_part_in_the_loss(tmp_path):
    def loss(labels):
        torch.manual_seed(0)
        run = _Run(CONFIG.replace(network=CONFIG.network.replace(dropout=0.0)), tmp_path / "w", CPU)
        image = torch.linspace(-1, 1, 48 * 48).reshape(1, 1, 48, 48)
        return float(run.learn(Example(image, labels[None], torch.zeros(1, 4))))

    ones = torch.ones(48, 48, dtype=torch.uint8)
    half = ones.clone()
    half[24:] = MASKED
    assert np.isfinite(loss(half))
    # the same network: masked or not, the rest's loss is a mean of its own pixels
    other = ones.clone()
    other[24:] = 3
    assert loss(half) != pytest.approx(loss(other), rel=1e-3)
    upper, lower = half, ones.clone()
    lower[:24] = MASKED
    assert 0.5 * (loss(upper) + loss(lower)) == pytest.approx(loss(ones), rel=2e-2)
