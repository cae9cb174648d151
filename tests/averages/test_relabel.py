"""Windows that are given another class: they leave one average and join the other."""

from dataclasses import replace

import numpy as np
import pytest
from class_stage import stack_of
from numpy.testing import assert_allclose, assert_array_equal
from small_alloy import relabelled, simulated, true_sites

from napari_defectstrain.averages.average import AverageConfig, average_stack, stack_classes
from napari_defectstrain.averages.choice import leave_out
from napari_defectstrain.averages.relabel import (
    find_windows,
    relabel_windows,
    with_joined,
)
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import DefectStrainError, Neighbours


def stacks(rng, **numbers):
    made, start = {}, 0
    for name, n in numbers.items():
        place = np.stack([np.arange(start, start + n) * 10.0, np.zeros(n)], axis=1)
        stack = stack_of(name, rng.normal(size=(n, 5, 5)).astype(np.float32))
        near = Neighbours(np.arange(n), np.full(n, 2), np.zeros((n, 2)), 1000.0)
        made[name] = replace(stack, position_px=place, neighbours=near)
        start += n
    return made


def moved(found, columns, target):
    place = np.array(columns, dtype=float)
    at = find_windows(found, np.zeros(len(place), dtype=int), place, 3.0)
    return relabel_windows(found, at, target)


def test_windows_join_the_average_of_their_new_class(rng):
    before = stacks(rng, SV=5, SeTe=4)
    changed = moved(before, [[10, 0], [20, 0.5]], "SeTe")
    assert (changed.moved, changed.left_out, changed.without) == (2, 0, 0)
    source, goal = changed.stacks["SV"], changed.stacks["SeTe"]
    assert source.n == 3
    assert set(source.reason[[1, 2]]) == {"relabelled SeTe"}
    assert goal.n == 6
    expected = np.concatenate([before["SeTe"].windows, before["SV"].windows[[1, 2]]])
    assert_array_equal(goal.windows, expected)
    assert_allclose(average_stack(goal).mean, expected.mean(axis=0), atol=1e-6)
    assert goal.neighbours.window.tolist() == [0, 1, 2, 3, 4, 5]
    cut = with_joined(before["SeTe"], leave_out(goal, [0]))
    assert_array_equal(cut.windows, expected)
    assert cut.included.all()
    assert with_joined(before["SV"], source) is before["SV"]
    assert before["SV"].n == 5  # not changed


def test_back_again_each_window_counts_once(rng):
    before = stacks(rng, SV=5, SeTe=4)
    after = {**before, **moved(before, [[10, 0]], "SeTe").stacks}
    again = moved(after, [[10, 0]], "SV")
    after |= again.stacks
    assert (again.moved, again.left_out) == (1, 0)
    assert after["SV"].included.all()
    assert len(after["SV"].included) == 5
    assert after["SeTe"].n == 4
    once_more = {**after, **moved(after, [[10, 0]], "SeTe").stacks}
    assert once_more["SeTe"].n == 5
    assert len(once_more["SeTe"].included) == 5


def test_what_statistics_left_out_joins_where_a_person_says_what_it_is(rng):
    before = stacks(rng, SV=5, SeTe=4)
    before["SV"] = leave_out(before["SV"], [1], "p = 0.5")
    changed = moved(before, [[10, 0]], "SeTe")
    assert changed.moved == 1
    assert changed.stacks["SeTe"].n == 5
    assert changed.stacks["SV"].n == 4
    assert changed.stacks["SV"].reason[1] == "relabelled SeTe; before: p = 0.5"


def test_what_was_left_out_is_of_its_new_class_only_and_comes_back_as_it_was(rng):
    before = stacks(rng, SV=5, SeTe=4)
    before["SV"] = leave_out(before["SV"], [1])
    after = {**before, **moved(before, [[10, 0]], "SeTe").stacks}
    assert after["SV"].reason[1].startswith("relabelled SeTe")  # else it could be put back there
    again = moved(after, [[10, 0]], "SV")
    assert again.moved == 0
    assert again.stacks["SV"].reason[1] == "by hand"
    assert not again.stacks["SV"].included[1]
    assert not again.stacks["SeTe"].included[4]


def test_what_a_hand_or_registration_left_out_joins_left_out(rng):
    before = stacks(rng, SV=5, SeTe=4)
    before["SV"] = leave_out(leave_out(before["SV"], [1]), [2], "registration: moved by 90 pm")
    changed = moved(before, [[10, 0], [20, 0], [30, 0]], "SeTe")
    assert changed.moved == 1
    goal = changed.stacks["SeTe"]
    assert goal.included[4:].tolist() == [False, False, True]
    assert goal.reason[4:].tolist() == ["by hand", "registration: moved by 90 pm", ""]
    cut = with_joined(before["SeTe"], goal)
    assert_array_equal(cut.included, goal.included)
    assert_array_equal(cut.reason, goal.reason)


def test_windows_lie_as_far_away_as_their_own_image_allows(rng):
    found = stacks(rng, SV=2)
    found["SV"] = replace(found["SV"], image_index=np.array([0, 1]))
    place = found["SV"].position_px + [0.0, 4.0]
    at = find_windows(found, np.array([0, 1]), place, np.array([3.0, 8.0]))
    assert at["SV"].tolist() == [-1, 1]


def test_without_an_average_of_the_new_class_they_are_left_out(rng):
    before = stacks(rng, SV=5, SeTe=4)
    changed = moved(before, [[0, 0], [400, 400]], "DV")
    assert (changed.moved, changed.left_out, changed.without) == (0, 1, 1)
    assert changed.stacks["SV"].n == 4
    assert list(changed.stacks) == ["SV"]


def test_windows_centred_on_metals_do_not_mix_with_others(rng):
    before = stacks(rng, SV=5, SeTe=4)
    before["SeTe"] = replace(before["SeTe"], on_metal=True)
    changed = moved(before, [[0, 0]], "SeTe")
    assert (changed.moved, changed.left_out) == (0, 1)


def test_a_class_is_never_left_without_windows(rng):
    before = stacks(rng, SV=2, SeTe=4)
    with pytest.raises(DefectStrainError, match="would leave none"):
        moved(before, [[0, 0], [10, 0]], "SeTe")


def test_relabelling_gives_the_average_that_averaging_anew_gives():
    made = simulated(size=384, fractions=(0.03, 0.0, 0.03, 0.0))
    sites = true_sites(made)
    config = AverageConfig(window_nm=2.0, shells=1, max_reference=40)
    rng = np.random.default_rng
    run = stack_classes([made.image], [sites], config, WSE2.lattice_pm, rng(0))
    column = int(run["SV"].site_index[run["SV"].included][0])
    place = sites.position_px[[column]]
    fast = {**run, **moved(run, place, "SeTe").stacks}
    chosen = np.arange(len(sites)) == column
    anew = stack_classes(
        [made.image], [relabelled(sites, chosen, "SeTe")], config, WSE2.lattice_pm, rng(0)
    )
    joined = fast["SeTe"].windows[-1]
    same = anew["SeTe"].windows[anew["SeTe"].site_index == column][0]
    # anew, registration goes the same way to a reference that is the same
    assert_allclose(joined, same, atol=1e-4)
