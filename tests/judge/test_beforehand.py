"""Labels that an image contradicts: not where the search starts, and heard as far as they hold."""

from dataclasses import replace

import numpy as np
import pytest
from judge_stage import SCAN, as_found, truth

from napari_defectstrain.judge import judge_images
from napari_defectstrain.judge.beforehand import Told
from napari_defectstrain.judge.mixture import ClassModel
from napari_defectstrain.judge.solving import ImageClasses
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate import CrystalConfig, SimulationConfig, simulate_image

X2, V1, OTHER = (ROLES.index(role) for role in ("X2", "V1", "other"))
SHARES = np.array([0.84, 0.05, 0.03, 0.06, 0.02])


def drawn(wrong: float, n: int = 4000) -> tuple[Told, ImageClasses, np.ndarray, np.ndarray]:
    """Chalcogen columns whose classes the image tells, a share of the labels of any class."""
    rng = np.random.default_rng(0)
    true = rng.choice(5, size=n, p=SHARES)
    label = np.where(rng.random(n) < wrong, rng.integers(0, 5, n), true)
    labels = np.zeros((n, len(ROLES)))
    labels[np.arange(n), X2 + label] = 1.0
    every, none = np.ones(n, bool), np.zeros(n, bool)
    weight = np.ones(n)
    told = Told(none, every, every, labels, weight, 0.03 * weight, labels)
    model = ClassModel(np.array([0.7, 1.0, 1.3, 0.35, 0.0]), np.ones(5), np.append(SHARES, 0.0))
    chance = np.eye(6)[true]
    sigma = np.full(n, 0.05)
    found = ImageClasses(weight, sigma, chance, np.zeros((n, 2)), weight, sigma, model)
    return told, found, true, label


@pytest.mark.parametrize(("wrong", "contradicted"), [(0.0, False), (0.03, False), (0.1, True)])
def test_labels_are_contradicted_where_weights_rule_out_many(wrong, contradicted):
    told, found, *_ = drawn(wrong)
    assert told.contradicted(found) is contradicted
    assert not told.without_labels(0.7).contradicted(found)


def test_labels_count_as_often_as_they_are_right():
    told, found, true, label = drawn(0.3)
    heard = told.heard(found, told)
    for claimed in range(5):
        said = heard.network[label == claimed, X2 : OTHER + 1]
        right = np.bincount(true[label == claimed], minlength=6) / (label == claimed).sum()
        assert np.abs(said - right).max() < 0.01
    # a vacancy that is called one: 40 % are; before: 100 % by the labels, or 6 % without them
    assert heard.network[label == V1 - X2, V1].mean() == pytest.approx(0.43, abs=0.06)


def test_labels_that_say_nothing_are_not_heard():
    told, found, *_ = drawn(1.0)
    said = told.heard(found, told).network[:, X2 : X2 + 5]
    assert np.abs(said - SHARES).max() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [0.1, 0.3])
def test_wrong_labels_leave_the_scale_of_the_weights(wrong):
    """The start from no labels ends at weights of its own: off by .004 and .014 here before."""
    scan = replace(
        SCAN, shape=(420, 420), pixel_size_pm=24.0, dose_e_per_nm2=6.2e6, contamination=0.45
    )
    for seed in (41, 61):
        config = SimulationConfig(crystal=CrystalConfig(), scan=scan)
        image = simulate_image(config, np.random.default_rng(seed), "image")
        good = as_found(image, 0.0)
        bad = replace(as_found(image, wrong), position_px=good.position_px)
        right, other = (
            judge_images([image.image], [found], [scan.pixel_size_pm], WSE2)[0].sites
            for found in (good, bad)
        )
        n = len(good)
        difference = (other.weight[:n] - right.weight[:n])[truth(image).class_index == X2]
        assert abs(np.nanmean(difference)) < 0.003


@pytest.mark.slow
def test_right_labels_are_not_worse_than_none_where_the_start_fails():
    """A clear image whose first round gives weights of 30: the start from no labels stands."""
    scan = replace(SCAN, dose_e_per_nm2=1e8, jitter_px=0.0, read_noise=0.0, contamination=0.0)
    crystal = CrystalConfig(fractions=(0.05, 0.03, 0.05, 0.005))
    config = SimulationConfig(crystal=crystal, scan=replace(scan, rotation_deg=21.0))
    image = simulate_image(config, np.random.default_rng(4), "alloy")
    found = judge_images([image.image], [truth(image)], [scan.pixel_size_pm], WSE2)[0].sites
    weighed = np.isfinite(found.weight[: len(image.position_px)])
    same = found.class_index[: len(weighed)] == image.class_index
    assert same[weighed].mean() > 0.99
