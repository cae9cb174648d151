import numpy as np
import pytest

from napari_defectstrain.evaluation import compare
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.teaching import Gain, Lesson, Verdict, compared, counts_by_tile
from napari_defectstrain.teaching.holding_out import LEAST_GAIN, folds
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
    ("after", "low", "helps"),
    [(0.95, 0.01, True), (0.95, -0.001, False), (0.9 + 0.5 * LEAST_GAIN, 0.001, False)],
)
def test_a_gain_must_be_worth_it_and_more_than_chance(after, low, helps):
    assert Verdict(Gain(0.9, after, low, 0.1, 50), (), 4).helps is helps
