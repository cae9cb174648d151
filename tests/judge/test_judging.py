"""The judge: weights with true errors, classes that don't depend on the labels it starts from."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from judge_stage import SCAN, as_found, made, truth
from numpy.testing import assert_array_equal

from napari_defectstrain.evaluation.folders import truth_sites
from napari_defectstrain.evaluation.score import confusion_matrix, f1_by_role
from napari_defectstrain.judge.judging import JudgeConfig, Judgement, judge_images
from napari_defectstrain.judge.solving import ImageEvidence
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

X2, XY, Y2, V1, V2, OTHER = range(1, 7)


@lru_cache
def judged(wrong: float, fractions: tuple[float, ...] | None = None) -> Judgement:
    image = made() if fractions is None else made(fractions)
    found = as_found(image, wrong)
    return judge_images([image.image], [found], [SCAN.pixel_size_pm], WSE2)[0]


def f1(sites: Sites, image: SimulatedImage) -> np.ndarray:
    return f1_by_role(confusion_matrix(sites, truth(image), SCAN.shape, SCAN.pixel_size_pm))


@pytest.mark.slow
def test_classes_come_from_the_image_and_not_from_the_labels():
    image = made()
    assert (f1(as_found(image, 0.3), image) < 0.75).all()
    assert (f1(judged(0.3).sites, image) > 0.93).all()


@pytest.mark.slow
def test_thirty_per_cent_of_wrong_labels_change_a_thousandth_of_the_classes_at_most():
    scan = replace(SCAN, shape=(420, 420))
    changed = columns = 0
    for seed in (51, 52, 53, 54):
        config = SimulationConfig(
            crystal=CrystalConfig(fractions=(0.06, 0.05, 0.06, 0.01)), scan=scan
        )
        image = simulate_image(config, np.random.default_rng(seed), "image")
        good = as_found(image, 0.0)
        found = [good, replace(as_found(image, 0.3), position_px=good.position_px)]
        right, wrong = (
            judge_images([image.image], [f], [SCAN.pixel_size_pm], WSE2)[0].sites for f in found
        )
        n = len(good)
        weighed = np.isfinite(right.weight[:n]) & np.isfinite(wrong.weight[:n])
        changed += int((right.class_index[:n] != wrong.class_index[:n])[weighed].sum())
        columns += int(weighed.sum())
    assert columns > 4000 and changed <= 0.001 * columns


def test_weights_err_as_much_as_they_say():
    sites, image = judged(0.0).sites, made()
    true = np.array([*image.config.weights[:6], np.nan])[image.class_index]
    for role, least in ((0, 150), (X2, 150)):
        mine = (np.asarray(image.class_index) == role) & np.isfinite(sites.weight)
        assert mine.sum() > least
        pull = (sites.weight[mine] - sites.weight[mine].mean()) / sites.weight_sigma[mine]
        # the standard deviation of 200 unit pulls scatters by 5 %
        assert 0.8 < pull.std() < 1.25
        # tails of the profile beyond its reach go to the background: a few per cent of contrast
        assert abs(sites.weight[mine].mean() - true[mine].mean()) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_how_bright_the_chalcogens_are_is_the_images_own(factor):
    """At another detector: weights kept half of the difference to cross sections once, or more."""
    usual = np.array(made().config.weights)
    weights = (usual[0], *(factor * usual[1:]))
    config = replace(made().config, weights=tuple(float(w) for w in weights))
    image = simulate_image(config, np.random.default_rng(7), "image")
    found = judge_images([image.image], [as_found(image, 0.0)], [SCAN.pixel_size_pm], WSE2)[0].sites
    for role in (X2, V1):
        mine = (np.asarray(image.class_index) == role) & np.isfinite(found.weight)
        assert found.weight[mine].mean() == pytest.approx(weights[role], abs=0.03)


@pytest.mark.slow
def test_an_image_without_a_class_does_not_invent_it():
    sites = judged(0.3, (0.0, 0.0, 0.08, 0.0)).sites
    counts = np.bincount(sites.class_index[np.isfinite(sites.weight)], minlength=len(ROLES))
    assert counts[XY] <= 1 and counts[Y2] == 0 and counts[V2] <= 1
    assert counts[V1] > 15


def test_probabilities_are_normalised_and_agree_with_the_classes():
    sites = judged(0.3).sites
    np.testing.assert_allclose(sites.probabilities.sum(axis=1), 1, atol=1e-9)
    weighed = np.isfinite(sites.weight)
    metal = weighed & (truth(made()).class_index == 0)
    assert np.isin(sites.class_index[metal], (0, OTHER)).all()
    assert (sites.class_index[metal] == 0).mean() > 0.98


@pytest.mark.slow
def test_a_light_metal_column_is_other_and_says_its_weight():
    image = made()
    position = image.position_px
    metal = np.flatnonzero(np.asarray(image.class_index) == 0)
    middle = (np.array(SCAN.shape) - 1) / 2
    row = metal[np.argmin(np.hypot(*(position[metal] - middle).T))]
    y, x = np.mgrid[: SCAN.shape[0], : SCAN.shape[1]]
    sigma = 62.0 / SCAN.pixel_size_pm
    bump = np.exp(-((y - position[row, 0]) ** 2 + (x - position[row, 1]) ** 2) / (2 * sigma**2))
    data = np.asarray(image.image.data, dtype=float)
    height = np.percentile(data, 99) - np.percentile(data, 20)
    lighter = replace(image.image, data=data - 0.6 * height * bump)
    found = judge_images([lighter], [as_found(image, 0.0)], [SCAN.pixel_size_pm], WSE2)[0].sites
    assert found.class_index[row] == OTHER
    assert 0.2 < found.weight[row] < 0.7


@pytest.mark.slow
def test_judging_is_repeatable_and_leaves_its_input_alone():
    image, found = made(), as_found(made(), 0.1)
    data = image.image.data.copy()
    before = {k: np.array(getattr(found, k)) for k in ("position_px", "probabilities")}
    one = judge_images([image.image], [found], [SCAN.pixel_size_pm], WSE2)[0].sites
    two = judge_images([image.image], [found], [SCAN.pixel_size_pm], WSE2)[0].sites
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    np.testing.assert_array_equal(image.image.data, data)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_an_image_that_cannot_be_judged_keeps_its_columns_and_says_so():
    few = as_found(made(), 0.0).subset(np.arange(len(made().position_px)) < 40)
    kept = judge_images([made().image], [few], [SCAN.pixel_size_pm], WSE2)[0]
    assert kept.sites is few
    assert kept.classes is None
    assert "not judged" in kept.warnings[0]


def test_images_of_noise_are_left_to_the_network():
    rng = np.random.default_rng(0)
    image = CalibratedImage(rng.normal(size=(200, 200)), 20.0, "noise")
    position = rng.uniform(0, 200, (400, 2))
    sites = truth_sites(position, rng.integers(0, 2, 400), WSE2)
    kept = judge_images([image], [sites], [20.0], WSE2)[0]
    assert kept.sites is sites and kept.warnings


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"network_say": (0.1, 1.5)}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(DefectStrainError, match=next(iter(settings))):
        JudgeConfig(**settings)


def test_the_network_counts_vacancies_where_weights_cannot_tell():
    network = np.zeros((3, 7))
    network[0, V1], network[1, V2], network[2, X2] = 1.0, 1.0, 1.0
    everywhere = np.ones(3, bool)
    evidence = ImageEvidence(None, ~everywhere, everywhere, network, np.zeros(3), np.zeros(3))
    blind, clear = evidence.where_blind(1.5), evidence.where_blind(2.5)
    best = blind[:, :5].argmax(axis=1)
    assert best[0] == V1 - 1 and best[1] == V2 - 1 and best[2] == X2 - 1
    told = np.sort(blind[:, [X2 - 1, V1 - 1, V2 - 1]], axis=1)
    assert np.all(told[:, 2] > 20 * told[:, 1])
    assert_array_equal(clear, 1.0)
