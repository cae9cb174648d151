"""Parts of a class: stacks of their own, with what each is expected to hold."""

from dataclasses import replace

import class_stage as stage
import numpy as np
import pytest

from napari_defectstrain.averages import average_stack, part_names, split_stack
from napari_defectstrain.materials import WSE2
from napari_defectstrain.styles import class_styles
from napari_defectstrain.types import DefectStrainError, Neighbours

CHANCE = np.array([1.0, 0.98, 0.3, 0.0, 0.02, 0.8])


def whole():
    stack = stage.noisy("SV", 8, np.random.default_rng(0))
    included = np.ones(8, bool)
    included[[1, 4]] = False
    names = WSE2.class_names
    probabilities = np.zeros((8, len(names)))
    probabilities[:, names.index("SV")], probabilities[:, names.index("DV")] = 0.99, 0.01
    neighbours = Neighbours(np.arange(8), np.full(8, 2), np.zeros((8, 2)), 2000.0)
    return replace(
        stack,
        included=included,
        reason=np.where(included, "", "by hand"),
        probability=np.full(8, 0.99),
        probabilities=probabilities,
        class_names=names,
        overconfidence=2.0,
        neighbours=neighbours,
    )


def test_windows_go_where_they_belong_and_doubtful_ones_to_neither():
    stack = whole()
    parts = split_stack(stack, np.stack([CHANCE, 1 - CHANCE], axis=1))
    assert tuple(parts) == part_names("SV", 2) == ("SV.1", "SV.2")
    index = np.flatnonzero(stack.included)
    first, second = parts.values()
    assert first.site_index.tolist() == index[[0, 1, 5]].tolist()
    assert first.included.tolist() == [True, True, False]
    assert first.reason[2] == "between populations: 0.800 < 0.9"
    assert second.site_index.tolist() == index[[2, 3, 4]].tolist()
    assert np.array_equal(second.windows, stack.windows[index[[2, 3, 4]]])
    assert second.neighbours.window.tolist() == [0, 1, 2]
    assert first.n + second.n == 4
    assert stack.n == 6  # as it was


def test_a_part_expects_the_other_and_the_other_classes_in_it():
    parts = split_stack(whole(), np.stack([CHANCE, 1 - CHANCE], axis=1))
    average = average_stack(parts["SV.1"])
    # the detector is wrong twice as often as it says
    assert average.purity == pytest.approx(0.98 * 0.99)
    assert average.contaminants["SV.2"] == pytest.approx(0.98 * 0.01)
    assert average.contaminants["DV"] == pytest.approx(0.02)
    assert average.contaminants["SV"] == pytest.approx(0.0)


def test_a_part_has_the_role_and_the_look_of_the_whole():
    assert WSE2.role_of("SV.2") == "V1"
    styles = class_styles(WSE2.all_class_names)
    assert styles["SV.2"] == styles["SV"]
    with pytest.raises(KeyError, match="strange"):
        styles["strange"]


def test_chances_of_other_windows_are_refused():
    with pytest.raises(DefectStrainError, match="SV: got chances of 5 windows, expected those"):
        split_stack(whole(), np.full((5, 2), 0.5))
    with pytest.raises(DefectStrainError, match=r"SV\.2: got no window"):
        split_stack(whole(), np.tile([0.9, 0.1], (6, 1)))
