from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.evaluation import compare
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.teaching import (
    CLASSES,
    Gain,
    Lesson,
    Step,
    Verdict,
    compared,
    counts_by_tile,
    holding_out,
)
from napari_defectstrain.teaching.holding_out import LEAST_GAIN, folds
from napari_defectstrain.teaching.telling import step_lines
from napari_defectstrain.types import CalibratedImage, Sites

PIXEL_PM = 50.0
SIDE = 200


def lesson(name="a", seed=0, whole=True):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[5:SIDE:6, 5:SIDE:6].reshape(2, -1).astype(float)
    index = rng.choice(6, len(y), p=[0.4, 0.3, 0.1, 0.1, 0.08, 0.02])
    image = CalibratedImage(np.zeros((SIDE, SIDE), dtype=np.float32), PIXEL_PM, name=name)
    looked = np.ones((SIDE, SIDE), dtype=bool)
    return Lesson(image, np.stack([y, x], axis=1), index, looked, whole)


def found(truth, wrong=0.0, seed=1):
    rng = np.random.default_rng(seed)
    index = truth.class_index.copy()
    lost = rng.random(len(index)) < wrong
    index[lost] = rng.integers(1, 6, int(lost.sum()))
    n = len(index)
    return Sites(truth.position_px, np.eye(7)[index], index, WSE2.class_names, np.full(n, "model"))


def test_counts_of_all_tiles_are_those_of_the_evaluation():
    truth = lesson()
    sites = found(truth, 0.2).subset(np.arange(len(truth.position_px)) % 17 > 0)
    counts = counts_by_tile(truth, sites, PIXEL_PM)
    expected = compare(sites, truth.position_px, truth.class_index, (SIDE, SIDE), PIXEL_PM).counts
    np.testing.assert_array_equal(counts.sum(axis=0), expected)
    assert (counts.sum(axis=(1, 2)) > 0).all()


def test_what_nobody_looked_at_does_not_count():
    truth = lesson()
    half = np.zeros((SIDE, SIDE), dtype=bool)
    half[:, : SIDE // 2] = True
    sites = found(truth, 0.2)
    both = [counts_by_tile(truth.within(m), sites, PIXEL_PM).sum(axis=0) for m in (half, ~half)]
    whole = counts_by_tile(truth, sites, PIXEL_PM).sum(axis=0)
    np.testing.assert_array_equal(both[0] + both[1], whole)
    assert both[0].sum() < whole.sum()


def test_whole_images_are_held_out_each_once():
    lessons = [lesson(name) for name in "abcdefg"]
    made = folds(lessons)
    assert sorted(one.name for _, held in made for one in held) == list("abcdefg")
    for learnt, held in made:
        assert not {one.name for one in learnt} & {one.name for one in held}
        assert len(learnt) + len(held) == len(lessons)


def test_one_image_is_split_by_tiles_that_share_no_column():
    made = folds([lesson()])
    assert len(made) == 2
    for (learnt,), (held,) in made:
        assert not (learnt.looked & held.looked).any()
        assert (learnt.looked | held.looked).all()


def test_the_interval_holds_the_gain_of_many_such_images():
    # 15 sets of four images each: of so few images the interval is a little short, and misses the
    # gain in at most 10 % of the sets: more than 5 of 15 would be chance at p = .002
    before, after = [], []
    for seed in range(60):
        truth = lesson(seed=seed)
        before.append(counts_by_tile(truth, found(truth, 0.10, seed), PIXEL_PM))
        after.append(counts_by_tile(truth, found(truth, 0.05, seed), PIXEL_PM))
    rng = np.random.default_rng(0)
    all_of_them = compared(before, after, rng).mean.difference
    assert all_of_them > 0.02
    missed = 0
    for k in range(0, 60, 4):
        gain = compared(before[k : k + 4], after[k : k + 4], rng).mean
        missed += not gain.low <= all_of_them <= gain.high
    assert missed <= 5


def test_what_changes_nothing_does_not_help():
    truth = lesson()
    counts = [counts_by_tile(truth, found(truth, 0.1), PIXEL_PM)]
    verdict = compared(counts, counts, np.random.default_rng(0))
    assert verdict.mean.difference == 0.0 and not verdict.helps
    assert verdict.images == 1
    role = ROLES.index("XY")
    truth_columns = (
        compare(found(truth), truth.position_px, truth.class_index, (SIDE, SIDE), PIXEL_PM)
        .counts[role, :]
        .sum()
    )
    assert verdict.classes[0].columns == truth_columns


@pytest.mark.parametrize(
    ("after", "low", "by_chance", "worse", "helps"),
    [
        (0.95, 0.01, 0.0003, 0, True),
        (0.95, 0.01, 0.0003, 1, True),
        (0.95, -0.001, 0.0003, 0, True),
        (0.95, -0.001, 0.0003, 1, False),
        (0.95, 0.01, 0.002, 0, False),
        (0.9 + 0.5 * LEAST_GAIN, 0.001, 0.0003, 0, False),
    ],
)
def test_a_gain_must_be_worth_it_more_than_chance_and_hold(after, low, by_chance, worse, helps):
    assert Verdict(Gain(0.9, after, low, 0.1, 50), (), 4, by_chance, worse).helps is helps


TILES = 16
COLUMNS = np.array([0, 60, 5, 3, 3, 1, 0, 0])
"""True columns of each class in a tile."""


def tiles(rng, missed, spread=0.0):
    """Counts `(16, 8, 8)` of an image of whose defects a share is called X2, tiles differing."""
    share = np.clip(missed + spread * rng.standard_normal(TILES), 0.0, 1.0)
    counts = np.zeros((TILES, 8, 8), dtype=np.int64)
    for k in range(1, 6):
        lost = rng.binomial(COLUMNS[k], share if k > 1 else 0.02 * share)
        counts[:, k, k] += COLUMNS[k] - lost
        counts[:, k, 1 if k > 1 else 3] += lost
    return counts


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_chance_does_not_help(monkeypatch, spread):
    # 60 sets of four images whose columns are judged twice, neither time better than the other
    monkeypatch.setattr(holding_out, "_SAMPLES", 100)
    rng = np.random.default_rng(7)
    helped = 0
    for _ in range(60):
        before, after = ([tiles(rng, 0.15, spread) for _ in range(4)] for _ in range(2))
        helped += compared(before, after, rng).helps
    assert helped <= 3


@pytest.mark.parametrize("count", [4, 8])
def test_one_image_that_fails_without_what_was_taught_is_enough(count):
    rng = np.random.default_rng(3)
    before = [tiles(rng, 0.7), *(tiles(rng, 0.05) for _ in range(count - 1))]
    after = [tiles(rng, 0.05), *before[1:]]
    verdict = compared(before, after, rng)
    # samples of the images lack this one in a third of the cases
    assert verdict.mean.low <= 0.0 and verdict.worse == 0 and verdict.helps
    assert "; not in every image, but none is worse" in step_lines(Step(CLASSES, verdict), WSE2)[0]


def test_a_gain_of_one_image_at_the_cost_of_another_does_not_help():
    rng = np.random.default_rng(3)
    before = [tiles(rng, 0.7), tiles(rng, 0.05), tiles(rng, 0.05), tiles(rng, 0.05)]
    after = [tiles(rng, 0.05), tiles(rng, 0.3), *before[2:]]
    verdict = compared(before, after, rng)
    assert verdict.mean.difference > 0.05 and verdict.worse == 1 and not verdict.helps
    step = Step(CLASSES, replace(verdict, by_chance=0.0003))
    assert "doesn't help" in step_lines(step, WSE2)[0]
    assert "1 of 4 images are worse" in step_lines(step, WSE2)[0]


def test_a_class_that_is_nowhere_counts_neither_before_nor_after():
    rng = np.random.default_rng(3)
    before = tiles(rng, 0.2)
    before[:, 5] = 0  # no V2
    after = before.copy()
    after[0, 1, 1] -= 1
    after[0, 1, 5] += 1  # and one X2 that is called so
    verdict = compared([before], [after], rng)
    assert verdict.mean.difference == 0.0
    assert verdict.classes[3].columns == 0 and np.isnan(verdict.classes[3].after)
