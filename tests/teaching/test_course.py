from dataclasses import replace
from functools import cache

import judge_stage
import numpy as np
import pytest

from napari_defectstrain.judge import JudgeConfig, class_prior
from napari_defectstrain.materials import WSE2
from napari_defectstrain.teaching import (
    CLASSES,
    NETWORK,
    THRESHOLDS,
    Course,
    Gain,
    Lesson,
    Seen,
    Step,
    Verdict,
    course_text,
    teach_judge,
)
from napari_defectstrain.teaching.priors import Scales, believed, learn_classes, unlabelled_chances
from napari_defectstrain.types import DefectStrainError

FRACTIONS = (0.1, 0.08, 0.08, 0.03)
PIXEL_PM = judge_stage.SCAN.pixel_size_pm
GAMMA = 2.2


def seen(gamma=1.0, name="one", whole=True):
    """An image with the columns that a network found in it, and all of its columns labelled."""
    made = judge_stage.made(FRACTIONS)
    found = judge_stage.as_found(made, 0.0)
    image = replace(made.image, name=name)
    if gamma != 1:
        data = np.asarray(image.data, dtype=float)
        low, high = data.min(), np.quantile(data, 0.999)
        data = 1e4 * ((data - low) / (high - low)) ** gamma
        image = replace(image, data=data.astype(np.float32))
    looked = np.ones(image.data.shape, dtype=bool)
    lesson = Lesson(image, made.position_px, np.asarray(made.class_index), looked, whole)
    return Seen(lesson, found, PIXEL_PM)


@cache
def learnt(gamma):
    scales, one = Scales(WSE2), seen(gamma)
    return scales, one, learn_classes([one], scales, JudgeConfig())


def test_classes_of_a_picture_with_gamma_are_learnt_and_told_apart():
    scales, one, config = learnt(GAMMA)
    usual = class_prior(WSE2)
    mean = np.array(config.learnt.mean)
    # gamma bends what is bright: Y2 is far beyond what cross sections and their errors allow
    assert mean[2] / mean[0] > usual.heavier + 2 * usual.spread[3]
    labelled = scales.labelled([one], config)
    wrong = []
    for settings in (JudgeConfig(), config):
        prior = class_prior(WSE2, settings.learnt)
        chance, labels = unlabelled_chances(labelled, prior, settings.network_say)
        wrong.append(int((chance.argmax(axis=1) != labels).sum()))
    assert wrong[1] <= 0.3 * wrong[0] and wrong[0] >= 10


def test_what_is_usual_is_learnt_as_such():
    _, one, config = learnt(1.0)
    usual = class_prior(WSE2)
    mean = np.array(config.learnt.mean)
    # what cross sections say of vacancies holds, by their own errors
    assert abs(mean[3] - usual.half * mean[0]) < 2 * usual.spread[0] * mean[0]
    assert abs(mean[4]) < 2 * usual.spread[1] * mean[0]
    # shares are those of the labels: some 480 columns, so that 1.5 % are two standard errors of 5 %
    role = one.lesson.class_index[one.lesson.class_index > 0]
    counted = np.bincount(role, minlength=6)[1:6] / len(role)
    np.testing.assert_allclose(config.learnt.share[:5], counted, atol=0.015)


def test_labels_say_which_sublattice_is_the_metals():
    one = seen()
    index = np.where(one.found.is_metal, 1, 0)  # exchanged, as where chalcogens outshine metals
    found = replace(one.found, class_index=index, probabilities=np.eye(7)[index])
    again = believed(replace(one, found=found)).found
    # but for columns that the network put too far away
    assert (again.class_index == one.lesson.class_index).mean() > 0.99
    assert (again.probabilities.argmax(axis=1) == again.class_index).all()


def test_columns_called_other_become_a_class_that_counts_as_other():
    scales, one, _ = learnt(1.0)
    labels = one.lesson.class_index.copy()
    labels[labels == WSE2.class_names.index("SV")] = WSE2.class_names.index("other")
    config = learn_classes([replace(one, lesson=replace(one.lesson, class_index=labels))],
                           scales, JudgeConfig())  # fmt: skip
    (stranger,) = config.learnt.strangers
    vacancy = learnt(1.0)[2].learnt.mean[3]
    assert stranger.weight == pytest.approx(vacancy, abs=0.04)
    assert stranger.share == pytest.approx(FRACTIONS[2], abs=0.03)


def test_labels_around_corrections_teach_brightness_but_no_shares():
    scales, _, _ = learnt(1.0)
    one = seen(whole=False)
    config = learn_classes([one], scales, JudgeConfig())
    assert config.learnt.mean and not config.learnt.share


def test_one_image_is_taught_by_tiles_and_it_is_said():
    course = teach_judge([seen(GAMMA)], WSE2)
    assert course.by_tiles and [s.what for s in course.steps] == [CLASSES, THRESHOLDS]
    assert course.steps[0].taken and course.judge.learnt is not None
    assert course.total.mean.low > 0
    text = course_text(course, WSE2)
    assert "this helps" in text and "from one image only the judge can be taught" in text


def test_columns_around_corrections_do_not_decide():
    # all of them were wrong before: whatever is said of them instead looks like a gain
    course = teach_judge([seen(GAMMA, whole=False)], WSE2)
    assert course.steps[0].verdict.helps and not course.helps
    assert course.judge == JudgeConfig() and course.total is None
    text = course_text(course, WSE2)
    assert "nothing was changed" in text and "wrong by choice" in text and "--done" in text


def test_what_the_judge_gained_together_is_told_without_the_network():
    verdict = Verdict(Gain(0.8, 0.9, 0.05, 0.15, 100), (Gain(0.8, 0.9, 0.05, 0.15, 100),) * 4,
                      4, 0.0, 0)  # fmt: skip
    steps = [Step(what, verdict) for what in (CLASSES, THRESHOLDS, NETWORK)]
    two, network = (Course(tuple(steps[k] for k in kept), JudgeConfig(), verdict, False)
                    for kept in ((0, 1), (0, 2)))  # fmt: skip
    assert "together" in course_text(two, WSE2)
    assert "together" not in course_text(network, WSE2)


def test_where_nothing_can_be_gained_nothing_is_changed():
    course = teach_judge([seen()], WSE2)
    assert not course.helps and course.total is None
    assert course.judge == JudgeConfig()
    assert "doesn't help: nothing was changed" in course_text(course, WSE2)


def test_what_can_not_teach_is_refused():
    with pytest.raises(DefectStrainError, match="got no corrected image"):
        teach_judge([], WSE2)
    with pytest.raises(DefectStrainError, match="two images called one"):
        teach_judge([seen(), seen()], WSE2)
    with pytest.raises(DefectStrainError, match="the same pixels as one and two"):
        teach_judge([seen(), seen(name="two")], WSE2)
    with pytest.raises(DefectStrainError, match="switched off"):
        teach_judge([seen()], WSE2, JudgeConfig(enabled=False))
