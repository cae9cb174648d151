"""Counting windows without cutting them, and choosing among the windows of a stack."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_alloy import QUICK, relabelled, simulated, true_sites

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.averages.choice import (
    BY_HAND,
    PUT_BACK,
    changed_by_hand,
    deviation,
    leave_out,
    put_back,
)
from napari_defectstrain.averages.counts import WindowCounter
from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes
from napari_defectstrain.types import ClassStack, DefectStrainError


@pytest.fixture(scope="module")
def alloy():
    made = [simulated(seed=s, size=384) for s in (1, 2)]
    return [m.image for m in made], [true_sites(m) for m in made]


def counter():
    return WindowCounter(WSE2.lattice_pm)


def cut(stacks):
    """Windows of each class but those found wanting only once they were cut."""
    found = {
        name: int(sum(not r.startswith("probability") for r in stack.reason))
        for name, stack in stacks.items()
    }
    return {name: n for name, n in found.items() if n}


@pytest.mark.slow
@pytest.mark.parametrize("shells", [1, 2])
def test_counts_are_the_windows_that_are_cut(alloy, shells):
    images, sites = alloy
    average = QUICK.average.replace(shells=shells, max_reference=25, iterations=0)
    counted = counter().count(images, sites, average)
    stacks = average_classes(images, sites, QUICK.replace(average=average))
    assert {n: c.n for n, c in counted.items() if c.n} == cut(stacks)
    assert counted["2Se"].n == 25
    assert counted["SV"].columns == sum((s.class_name == "SV").sum() for s in sites)
    assert list(counted) == ["2Se", "SeTe", "2Te", "SV", "DV"]


def test_what_two_images_show_is_counted_once(alloy):
    """A copy promises no more windows than the image that it is of."""
    images, sites = alloy
    copy = replace(images[0], data=images[0].data.copy(), name="copy")
    average = QUICK.average.replace(shells=1, iterations=0)
    once = counter().count(images[:1], sites[:1], average)
    twice = counter().count([images[0], copy], [sites[0], sites[0]], average)
    assert sum(c.n for c in once.values()) > 20
    assert {n: c.n for n, c in twice.items()} == {n: c.n for n, c in once.items()}


@pytest.mark.slow
def test_counts_keep_to_regions_and_probability(alloy):
    images, sites = alloy
    labels = np.ones(images[0].data.shape, dtype=np.uint8)
    labels[:, 220:] = 253  # a hole
    regions = [label_regions(labels, sites[0]), None]
    vague = sites[1].probabilities.copy()
    half = np.arange(0, len(vague), 2)
    vague[half] = 0.8 * vague[half] + 0.2 / vague.shape[1]
    sites = [sites[0], replace(sites[1], probabilities=vague)]
    average = QUICK.average.replace(shells=1, max_reference=20, iterations=0)
    counted = counter().count(images, sites, average, regions=regions)
    stacks = average_classes(images, sites, QUICK.replace(average=average), regions=regions)
    assert {n: c.n for n, c in counted.items() if c.n} == cut(stacks)
    left_out = {
        n: int(sum(r.startswith("probability") for r in s.reason)) for n, s in stacks.items()
    }
    # of the defect-free class those that are too improbable are never drawn
    for name in ("SeTe", "2Te", "SV", "DV"):
        assert counted[name].improbable == left_out.get(name, 0)
    assert sum(c.improbable for c in counted.values()) > 0


@pytest.mark.slow
def test_a_counter_that_remembers_agrees_with_a_new_one(alloy):
    images, sites = alloy
    one = counter()
    one.count(images, sites, QUICK.average)
    sv = sites[0].class_name == "SV"
    edited = [relabelled(sites[0], sv, "2Te"), sites[1]]
    wide = QUICK.average.replace(shells=1, window_nm=2.4)
    assert one.count(images, edited, wide) == counter().count(images, edited, wide)
    assert one.count(images[1:], sites[1:], wide) == counter().count(images[1:], sites[1:], wide)


@pytest.mark.slow
def test_images_calibrated_by_their_lattice_have_no_say_in_the_lattice_constant(alloy):
    images, sites = alloy
    metadata = {"calibration": "lattice"}
    named = [replace(i, metadata=metadata, pixel_size_pm=30.0) for i in images]
    average = QUICK.average.replace(shells=1, iterations=0)
    counted = counter().count(named, sites, average)
    stacks = average_classes(named, sites, QUICK.replace(average=average))
    assert {n: c.n for n, c in counted.items() if c.n} == cut(stacks)


def test_bad_input_of_counts_is_refused(alloy):
    images, sites = alloy
    with pytest.raises(DefectStrainError, match="got 0 images"):
        counter().count([], [], QUICK.average)
    with pytest.raises(DefectStrainError, match="got 2 images, 1 tables"):
        counter().count(images, sites[:1], QUICK.average)


def a_stack(count=6, reason=None):
    rng = np.random.default_rng(3)
    reason = np.array(reason or [""] * count, dtype="<U64")
    return ClassStack(
        class_name="SV",
        windows=rng.normal(size=(count, 5, 5)).astype(np.float32),
        step_pm=20.0,
        a_pm=330.0,
        image_index=np.zeros(count, dtype=int),
        site_index=np.arange(count),
        position_px=np.zeros((count, 2)),
        shift_pm=np.zeros((count, 2)),
        probability=np.ones(count),
        included=reason == "",
        reason=reason,
    )


def test_windows_are_left_out_and_put_back_without_touching_the_stack():
    stack = a_stack(reason=["", "outlier", "", "", "", ""])
    before = stack.included.copy(), stack.reason.copy()
    less = leave_out(stack, [0, 1])
    assert less.n == 4
    assert list(less.reason[:2]) == [BY_HAND, "outlier"]  # what was out keeps its reason
    assert less.windows is stack.windows
    more = put_back(less, [1])
    assert more.n == 5
    assert more.reason[1] == f"{PUT_BACK}outlier"  # the error budget asks who chose
    again = leave_out(more, [1])
    assert again.reason[1] == "outlier" and put_back(less, [0]).reason[0] == ""
    assert list(changed_by_hand(more, stack)) == [0, 1]
    assert_array_equal(stack.included, before[0])
    assert_array_equal(stack.reason, before[1])
    assert average_stack(more).n_excluded == 1


def test_deviation_is_from_the_average_of_the_others():
    stack = a_stack(reason=["", "outlier", "", "", "", ""])
    found = deviation(stack)
    mean = stack.windows[stack.included].mean(axis=0)
    assert_allclose(found[1], np.sqrt(np.mean((stack.windows[1] - mean) ** 2)), rtol=1e-5)
    others = stack.windows[[2, 3, 4, 5]].mean(axis=0)
    # float32 windows: relative rounding of 1e-7, more in the differences
    assert_allclose(found[0], np.sqrt(np.mean((stack.windows[0] - others) ** 2)), rtol=1e-5)


def test_nothing_to_compare_a_window_with_gives_nan():
    alone = a_stack(2, ["", "outlier"])
    found = deviation(alone)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    assert np.isnan(deviation(a_stack(2, ["outlier", "outlier"]))).all()


def test_the_last_window_stays_and_unknown_ones_are_refused():
    stack = a_stack(2, ["", "outlier"])
    with pytest.raises(DefectStrainError, match="would leave none"):
        leave_out(stack, [0])
    with pytest.raises(DefectStrainError, match="got window 2 of 2"):
        put_back(stack, [2])
    with pytest.raises(DefectStrainError, match="expected 0 to 1"):
        leave_out(stack, [-1])
