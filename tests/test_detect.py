"""Detection: maps to columns, sublattices by majority, tiles, weights files, scores, training."""

import numpy as np
import pytest
import torch

from napari_defectstrain.detect.config import DetectConfig, NetworkConfig
from napari_defectstrain.detect.device import pick_device
from napari_defectstrain.detect.doubts import irregular_fraction, opposed_fraction
from napari_defectstrain.detect.evaluate import confusion_matrix, match_columns, scores
from napari_defectstrain.detect.locate import (
    assign_classes,
    locate_columns,
    settle_sublattices,
)
from napari_defectstrain.detect.network import N_LABELS, ResUNet
from napari_defectstrain.detect.predict import detect_columns, predict_maps
from napari_defectstrain.detect.prepare import normalise, resample, to_resampled
from napari_defectstrain.detect.windows import draw_window, label_columns
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, Cancelled, DefectStrainError, Sites

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


def test_resampling_keeps_places_and_values() -> None:
    y, x = np.mgrid[:300, :280]
    wave = np.cos(2 * np.pi * (x / 9.0 + y / 11.3))
    small = resample(wave, 20.74, 40.0)
    place = np.stack(np.mgrid[: small.shape[0], : small.shape[1]], axis=-1)
    old = to_resampled(place, small.shape, wave.shape)
    expected = np.cos(2 * np.pi * (old[..., 1] / 9 + old[..., 0] / 11.3))
    # the mirrored rim has a kink whose ringing dies off inwards
    np.testing.assert_allclose(small[30:-30, 30:-30], expected[30:-30, 30:-30], atol=0.01)


def test_normalised_contrast_does_not_depend_on_gain_offset_or_slow_background() -> None:
    data = region().counts.astype(float)
    x = np.linspace(0, 1, data.shape[1])
    same = normalise(3.7 * data + 500)
    np.testing.assert_allclose(same, normalise(data), atol=2e-3)
    tilted = normalise(data + 0.3 * data.std() * x)
    assert np.abs(tilted - normalise(data))[60:-60, 60:-60].max() < 0.1


def test_labels_mark_three_by_three_pixels() -> None:
    labels = label_columns(np.array([[5.2, 7.8], [0.0, 0.0]]), np.array([3, 0]), (10, 12))
    assert (labels == 4).sum() == 9 and labels[5, 8] == 4 and labels[4, 7] == 4
    assert (labels == 1).sum() == 4  # cut by the corner


def test_a_window_and_its_labels_belong_together() -> None:
    conditions = Conditions(
        contamination=(0, 0), read_noise=(0, 0), patterns=("whole",), lookalikes=(0, 0)
    )
    image, labels, material = draw_window(conditions, 96, np.random.default_rng(3))
    assert material == "WSe2"
    assert image.shape == labels.shape == (96, 96)
    assert image[labels == 1].mean() > image[labels == 2].mean()
    assert image[labels == 1].mean() > image[labels == 0].mean()


def honeycomb_maps(classes: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Ideal maps of a small honeycomb, and the places (y, x) of its columns."""
    simulated = region()
    place = to_resampled(simulated.position_px, (400, 400), (207, 207))
    y, x = np.mgrid[:207, :207]
    maps = np.zeros((N_LABELS, 207, 207), dtype=np.float32)
    for (py, px), role in zip(place, simulated.class_index, strict=True):
        near = (slice(max(0, int(py) - 4), int(py) + 6), slice(max(0, int(px) - 4), int(px) + 6))
        disc = np.exp(-((y[near] - py) ** 2 + (x[near] - px) ** 2) / 2.0)
        shown = classes.get(int(role), int(role)) + 1
        maps[shown][near] = np.maximum(maps[shown][near], disc)
    maps[0] = 1 - maps[1:].sum(axis=0)
    return maps, place


def test_every_column_is_found_once_at_its_place() -> None:
    maps, place = honeycomb_maps({})
    found, probabilities, _ = locate_columns(maps, 0.3)
    inside = np.all((place > 3) & (place < 203), axis=1)
    f, t = match_columns(found, place, 1.0)
    assert set(np.flatnonzero(inside)) <= set(t)
    error = (found[f] - place[t])[inside[t]]
    # what is left of 0.05 px (2 pm) comes from the maxima of overlapping discs
    assert np.abs(error).max() < 0.05
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_metal_is_decided_by_the_majority_not_by_brightness() -> None:
    # the network takes every SeTe for W: its place in the honeycomb says otherwise
    maps, place = honeycomb_maps({2: 0})
    found, probabilities, _ = locate_columns(maps, 0.3)
    settled = settle_sublattices(found, probabilities)
    truth = region().class_index
    f, t = match_columns(found, place, 1.0)
    inside = np.all((place[t] > 8) & (place[t] < 198), axis=1)
    assert ((settled[f, 0] > 0.5) == (truth[t] == 0))[inside].all()


def test_thresholds_turn_doubtful_defects_into_the_host() -> None:
    p = np.array([[0, 0.3, 0.6, 0.1, 0, 0], [0, 0.1, 0.05, 0.05, 0.8, 0], [1, 0, 0, 0, 0, 0]])
    assert assign_classes(p, (0.5, 0.5, 0.5, 0.5)).tolist() == [2, 4, 0]
    assert assign_classes(p, (0.7, 0.5, 0.9, 0.5)).tolist() == [1, 1, 0]


def test_tiles_give_what_the_whole_gives() -> None:
    torch.manual_seed(0)
    network = ResUNet(SMALL).eval()
    prepared = np.random.default_rng(0).standard_normal((330, 413)).astype(np.float32)
    whole = predict_maps(network, prepared, DetectConfig(tile_px=512, symmetries=1, device="cpu"))
    tiled = predict_maps(network, prepared, DetectConfig(tile_px=256, symmetries=1, device="cpu"))
    # single precision, and kernels that depend on the size
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_detection_on_fresh_images_of_the_papers_kind() -> None:
    counts = np.zeros((7, 7), dtype=int)
    for seed in (11, 12):
        simulated = region(seed, side=700, rotation=33.0 * seed)
        found = detect_columns(simulated.image, DetectConfig(device="cpu"))
        assert found.warnings == ()
        counts += confusion_matrix(found.sites, truth_sites(simulated), (700, 700), 20.74)
    table = scores(counts, WSE2.class_names)
    assert (table["F1"] > 0.95).all(), table


def test_detection_can_be_stopped() -> None:
    def stop(fraction: float, message: str) -> None:
        if fraction > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        detect_columns(region().image, DetectConfig(device="cpu"), stop)


def test_images_outside_the_model_are_refused_or_doubted() -> None:
    noise = CalibratedImage(np.random.default_rng(0).normal(size=(256, 256)), None, "noise")
    with pytest.raises(DefectStrainError, match="no lattice"):
        detect_columns(noise)
    blank = CalibratedImage(np.zeros((128, 128)), 20.0, "blank")
    with pytest.raises(DefectStrainError, match="value 0 in every pixel"):
        detect_columns(blank)
    wrong = CalibratedImage(region().counts, 20.74 * 1.06, "wrong scale")
    assert any("another material, or a calibration" in w for w in detect_columns(wrong).warnings)
    with pytest.raises(DefectStrainError, match="no weights are bundled for MoS2"):
        detect_columns(region().image, DetectConfig(material="MoS2"))


def test_a_honeycomb_is_regular_and_another_net_is_not() -> None:
    simulated = region()
    assert irregular_fraction(simulated.position_px, (400, 400)) == 0
    square = np.stack(np.meshgrid(np.arange(0, 400, 9.0), np.arange(0, 400, 9.0)), -1)
    assert irregular_fraction(square.reshape(-1, 2), (400, 400)) > 0.9


def test_a_twin_opposes_the_majority() -> None:
    sites = truth_sites(region())
    assert opposed_fraction(sites) == 0
    # in the lower quarter the other sublattice is taken for metal
    swapped = sites.class_index.copy()
    low = sites.position_px[:, 0] > 300
    swapped[low] = np.where(swapped[low] == 0, 1, 0)
    other = Sites(sites.position_px, sites.probabilities, swapped, sites.class_names, sites.source)
    assert opposed_fraction(other) == pytest.approx(0.25, abs=0.03)


def test_devices() -> None:
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(DefectStrainError, match="this machine lacks"):
            pick_device("cuda")
    with pytest.raises(DefectStrainError, match="expected one of auto"):
        DetectConfig(device="tpu")
    with pytest.raises(DefectStrainError, match="four probabilities"):
        DetectConfig(thresholds=(0.5, 1.5, 0.5, 0.5))


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
