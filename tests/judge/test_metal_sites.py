"""Which sublattice is the metal's is told by what varies, where labels said that it does."""

from dataclasses import replace

import judge_stage
import numpy as np
import pytest

from napari_defectstrain.judge import JudgeConfig, LearntClasses, judge_images
from napari_defectstrain.judge.metal_sites import with_metals_told
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import METAL

ALLOY = (0.46, 0.23, 0.04, 0.01)
WEIGHTS = (0.71, 1.06, 1.4, 0.35, 0.0)
PIXEL_PM = judge_stage.SCAN.pixel_size_pm
LEARNT = LearntClasses(
    mean=WEIGHTS, spread=(0.03,) * 5, share=(0.258, *ALLOY, 0.002), strength=200.0
)
USUAL = LEARNT.replace(share=(0.82, 0.05, 0.03, 0.07, 0.02, 0.01))


def as_taken_for(made, wrong=True):
    """Columns as a network finds them; metals and chalcogens exchanged where it is wrong."""
    found = judge_stage.as_found(made, 0.0)
    if not wrong:
        return found
    index = np.where(found.is_metal, 1, METAL)
    return replace(found, class_index=index, probabilities=np.eye(7)[index])


def told(made, found, learnt):
    return with_metals_told(made.image, found, PIXEL_PM, WSE2.lattice_pm, learnt)


@pytest.fixture(scope="module")
def alloy():
    return judge_stage.made(ALLOY)


def test_metals_are_those_that_all_look_alike(alloy):
    found = told(alloy, as_taken_for(alloy), LEARNT)
    truth = np.asarray(alloy.class_index) == METAL
    right = found.is_metal == truth
    assert right.mean() > 0.97  # but for a few at the border that belong to no domain
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    share = np.array(LEARNT.share) / np.sum(LEARNT.share)
    np.testing.assert_allclose(found.probabilities[right & ~truth][0, 1:], share)
    assert found.class_index[right & ~truth][0] == 1 + share.argmax()


def test_what_is_right_or_was_not_learnt_stays(alloy):
    right, wrong = as_taken_for(alloy, wrong=False), as_taken_for(alloy)
    assert told(alloy, right, LEARNT) is right
    assert told(alloy, wrong, None) is wrong
    # brightness alone, as corrections without an image that is done teach it
    assert told(alloy, wrong, LEARNT.replace(share=())) is wrong
    assert told(alloy, wrong, USUAL) is wrong
    few = wrong.subset(np.arange(len(wrong)) < 20)
    assert told(alloy, few, LEARNT) is few


def test_of_alike_chalcogens_noise_decides_nothing():
    made = judge_stage.made()
    found = as_taken_for(made, wrong=False)
    assert told(made, found, LEARNT) is found


def test_reach_is_what_lies_between_the_outer_tenths():
    assert LEARNT.reach == pytest.approx(1.4 - 0.71)
    assert USUAL.reach == 0.0
    assert LearntClasses().reach == 0.0


def test_an_alloy_that_outshines_its_metal_is_judged_by_what_was_learnt(alloy):
    found = as_taken_for(alloy)
    config = JudgeConfig(learnt=LEARNT)
    [judged] = judge_images([alloy.image], [found], [PIXEL_PM], WSE2, config)
    weighed = np.isfinite(judged.sites.weight[: len(found)])
    right = judged.sites.class_index[: len(found)] == np.asarray(alloy.class_index)
    assert right[weighed].mean() > 0.97
