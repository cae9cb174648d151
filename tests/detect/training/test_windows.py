"""Detection: maps to columns, sublattices by majority, tiles, weights files, scores, training."""

import numpy as np
import pytest

from napari_defectstrain.detect.network.condition import material_condition
from napari_defectstrain.detect.network.config import NetworkConfig
from napari_defectstrain.detect.training.windows import draw_window, label_columns
from napari_defectstrain.evaluation.score import match_columns, scores
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import Sites

SMALL = NetworkConfig(features=(4, 4, 6, 6, 8))


def region(seed: int = 0, side: int = 400, rotation: float = 17.0) -> SimulatedImage:
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=(0.06, 0.05, 0.06, 0.02)),
        scan=ScanConfig(shape=(side, side), rotation_deg=rotation),
    )
    return simulate_image(config, np.random.default_rng(seed), "region")


def truth_sites(simulated: SimulatedImage) -> Sites:
    index = np.asarray(simulated.class_index)
    return Sites(
        simulated.position_px, np.eye(6)[index], index, WSE2.class_names,
        np.full(len(index), "truth"),
    )  # fmt: skip


def test_labels_mark_three_by_three_pixels() -> None:
    labels = label_columns(np.array([[5.2, 7.8], [0.0, 0.0]]), np.array([3, 0]), (10, 12))
    assert (labels == 4).sum() == 9 and labels[5, 8] == 4 and labels[4, 7] == 4
    assert (labels == 1).sum() == 4  # cut by the corner


def test_a_window_and_its_labels_belong_together() -> None:
    conditions = Conditions(
        contamination=(0, 0),
        read_noise=(0, 0),
        patterns=("whole",),
        lookalikes=(0, 0),
        alloy=(0, 0),
        lighter=(0, 0),
        processed=0,
    )
    image, labels, material, condition = draw_window(conditions, 96, np.random.default_rng(3))
    assert material == "WSe2"
    np.testing.assert_array_equal(condition, material_condition("WSe2"))
    assert image.shape == labels.shape == (96, 96)
    assert image[labels == 1].mean() > image[labels == 2].mean()
    assert image[labels == 1].mean() > image[labels == 0].mean()


def test_scores_by_hand() -> None:
    counts = np.zeros((7, 7), dtype=int)
    counts[0, 0] = 100
    counts[1, 1], counts[1, 4] = 90, 2  # two host columns taken for SV
    counts[4, 4], counts[4, 1], counts[4, 6] = 8, 1, 1  # one missed as host, one not found
    counts[6, 4] = 1  # one SV where there is no column
    row = scores(counts, WSE2.class_names).set_index("class").loc["SV"]
    assert row["precision"] == pytest.approx(8 / 11)
    assert row["recall"] == pytest.approx(8 / 10)
    assert row["F1"] == pytest.approx(2 * 8 / (2 * 8 + 3 + 2))
    # 90 other chalcogen columns were not taken for SV; TNR = TN / (TN + FP) with all 3 FP
    assert row["balanced_accuracy"] == pytest.approx((0.8 + 90 / 93) / 2)


def test_matching_is_one_to_one() -> None:
    found = np.array([[0.0, 0.0], [0.0, 1.0], [50.0, 50.0]])
    true = np.array([[0.0, 0.9], [0.0, 2.5]])
    f, t = match_columns(found, true, 2.0)
    assert sorted(zip(f.tolist(), t.tolist(), strict=True)) == [(0, 0), (1, 1)]
