"""The network is changed only if held-out images gain, and the standard set doesn't lose."""

import shutil
from dataclasses import replace

import judge_stage
import numpy as np
import pytest

from napari_defectstrain import detect
from napari_defectstrain.detect import bundled_weights
from napari_defectstrain.judge import JudgeConfig, LearntClasses
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.teaching import (
    Course,
    Gain,
    Lesson,
    Seen,
    Verdict,
    fine_tuning,
    teach_network,
)
from napari_defectstrain.teaching.fine_tuning import (
    TuneConfig,
    seen_by,
    split,
    standard_lessons,
)
from napari_defectstrain.types import DefectStrainError

GAINS = Verdict(Gain(0.8, 0.9, 0.05, 0.15, 100), (), 1, 0.0, 0)
taught_by = []


def seen(name, whole=True):
    made = judge_stage.made()
    image = replace(made.image, name=name)
    looked = np.ones(image.data.shape, dtype=bool)
    lesson = Lesson(image, made.position_px, np.asarray(made.class_index), looked, whole)
    return Seen(lesson, judge_stage.as_found(made, 0.0), judge_stage.SCAN.pixel_size_pm)


def test_a_third_of_the_whole_images_is_held_out():
    every = [*(seen(name) for name in "abcdef"), seen("g", whole=False)]
    learnt, held = split(every)
    assert [one.lesson.name for one in held] == ["c", "f"]
    assert [one.lesson.name for one in learnt] == ["a", "b", "d", "e", "g"]


@pytest.mark.parametrize("names", ["abcd", "abcde"])
def test_of_few_whole_images_two_are_held_out(names):
    learnt, held = split([seen(name) for name in names])
    assert [one.lesson.name for one in held] == ["b", "d"]
    assert len(learnt) == len(names) - 2


def test_the_time_that_is_given_is_taken_on_the_device_that_there_is():
    assert TuneConfig(minutes=60).steps >= 10**6  # never 1000 steps and then over
    assert TuneConfig().device == "auto"


def test_training_without_a_look_is_said(monkeypatch):
    def no_look(*_):
        raise DefectStrainError("look: got too few columns")

    monkeypatch.setattr(fine_tuning, "learn_look", no_look)
    monkeypatch.setattr(fine_tuning, "_judged", lambda *_: [])
    _, note = fine_tuning._train_settings([], RunConfig(), TuneConfig(), None, WSE2)
    assert "got too few columns" in note


def test_the_standard_set_is_judged_as_for_any_microscope(monkeypatch):
    asked = []
    monkeypatch.setattr(fine_tuning, "seen_lessons", lambda lessons, config: [])

    def judged_counts(seen, config, material):
        asked.append(config.judge)
        return [np.ones((1, 8, 8))]

    monkeypatch.setattr(fine_tuning, "judged_counts", judged_counts)
    taught = JudgeConfig(network_say=(0.0, 0.0), learnt=LearntClasses(mean=(0.7,) * 5))
    fine_tuning.standard_f1([], RunConfig(judge=taught), WSE2)
    assert asked == [JudgeConfig()]


def test_of_one_or_two_images_the_network_learns_nothing(tmp_path):
    step = teach_network([seen("a"), seen("b")], RunConfig(), tmp_path / "w.safetensors")
    assert not step.taken and "needs 4 images" in step.note
    with pytest.raises(DefectStrainError, match="expected 4 or more"):
        fine_tuning.compare_hand_labelled([seen("a")], RunConfig(), tmp_path)


def test_a_network_that_finds_nothing_has_answered(monkeypatch):
    def nothing(lessons, config):
        raise DefectStrainError("b: no columns found")

    monkeypatch.setattr(fine_tuning, "seen_lessons", nothing)
    held = [seen("b"), seen("d")]
    again = seen_by(held, RunConfig())
    assert [len(one.found) for one in again] == [0, 0]
    assert [one.lesson for one in again] == [one.lesson for one in held]
    # and its columns count as missed
    judged = fine_tuning.judged_counts(again, RunConfig(), WSE2)
    assert fine_tuning.mean_f1(np.sum(judged, axis=(0, 1))) == 0.0


def test_a_comparison_names_the_classes_that_there_are(monkeypatch, tmp_path):
    def without_xy(name):
        one = seen(name)
        index = np.where(one.lesson.class_index == 2, 1, one.lesson.class_index)
        return replace(one, lesson=replace(one.lesson, class_index=index))

    def nothing(held, config):
        return [replace(one, found=one.found.subset(one.found.class_index < 0)) for one in held]

    asked = []

    def tune(learnt, config, out, tuning, start, *_):
        asked.append((out.name, tuning.share, tuning.steps, tuning.minutes, start))
        return "of common images" if tuning.share == 0.0 else ""

    monkeypatch.setattr(fine_tuning, "tune", tune)
    monkeypatch.setattr(fine_tuning, "_steps_of", lambda weights: 40)
    monkeypatch.setattr(fine_tuning, "seen_by", nothing)
    images = [without_xy(name) for name in "abcd"]
    tuning = TuneConfig(minutes=3.0)
    text = fine_tuning.compare_hand_labelled(images, RunConfig(), tmp_path, tuning)
    first, note, used, simulated, by_hand = text.splitlines()
    assert "2 images" in first and "SeTe" not in text
    assert note == "of common images"
    assert used.startswith("the network in use") and "2Te" in used and "0.000" not in used
    assert simulated.startswith("40 steps on simulations: mean F1 0.000 (2Te 0.000, SV 0.000")
    assert by_hand.startswith("40 steps on 2 labelled images: mean F1 0.000 (2Te 0.000, SV 0.000")
    # both from nothing, one by simulations alone, the other by labels alone for as many steps
    (_, without, steps, minutes, nothing_yet), (_, alone, as_many, ever, nothing_either) = asked
    assert (without, alone) == (0.0, 1.0)
    assert minutes == 3.0 and steps > 10**5
    assert as_many == 40 and ever > 10**4
    assert nothing_yet is None and nothing_either is None


@pytest.mark.parametrize(("share", "mixed"), [(0.0, False), (1.0, True)])
def test_of_simulations_alone_no_label_is_seen(monkeypatch, tmp_path, share, mixed):
    asked = []
    monkeypatch.setattr(detect, "train", lambda *_, **given: asked.append(given))
    monkeypatch.setattr(fine_tuning, "_train_settings", lambda *_: ("settings", ""))
    fine_tuning.tune([seen("a")], RunConfig(), tmp_path, TuneConfig(share=share), None, resume=True)
    (given,) = asked
    assert ("source" in given) is mixed  # by default all batches are simulated
    assert given["resume"]


def test_the_standard_set_is_the_same_whenever_it_is_made():
    first, again = standard_lessons(WSE2, 1), standard_lessons(WSE2, 1)
    np.testing.assert_array_equal(first[0].image.data, again[0].image.data)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """The weights in use as the tuned ones, and two standard images' scores as they are said."""

    def tune(learnt, config, out, *_):
        shutil.copy(bundled_weights("WSe2"), out)
        return ""

    def teach_judge(seen, material, judge, progress):
        taught_by.append([one.lesson.name for one in seen])
        return Course((), judge, None, False)

    taught_by.clear()
    monkeypatch.setattr(fine_tuning, "tune", tune)
    monkeypatch.setattr(fine_tuning, "teach_judge", teach_judge)
    monkeypatch.setattr(fine_tuning, "standard_lessons", lambda material: [])
    return tmp_path / "w.safetensors"


@pytest.mark.slow
def test_weights_that_are_no_better_are_not_taken(quick):
    # the network itself finds what stands for its answer here: all columns, each of its class
    step = teach_network([seen(name) for name in "abcd"], RunConfig(), quick)
    assert step.verdict is not None and not step.taken
    # what is held out, b and d, taught the judge of the trial nothing either
    assert taught_by == [["a", "c"]]


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "taken"), [(0.004, True), (0.006, False)])
def test_weights_that_forget_are_refused(quick, monkeypatch, lost, taken):
    monkeypatch.setattr(fine_tuning, "compared", lambda *_: GAINS)
    scores = iter([0.99, 0.99 - lost])
    monkeypatch.setattr(fine_tuning, "standard_f1", lambda *_: next(scores))
    step = teach_network([seen(name) for name in "abcd"], RunConfig(), quick)
    assert step.taken is taken
    assert bool(step.refused) is not taken
