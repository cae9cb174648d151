"""Windows that are left out, put back and given other classes: steps, and what they hold."""

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_array_equal
from strain_stage import show_averages

from napari_defectstrain.widgets.layers.averages import CUT, STACK
from napari_defectstrain.widgets.layers.sites import note
from napari_defectstrain.widgets.layers.window_edits import can_come_back, window_edits_of


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def layers(viewer):
    return {note(la)["class"]: la for la in show_averages(viewer)}


def give(edits, window, target="SeTe"):
    """Let a window of the vacancies count for another class."""
    return edits.relabel("run", {"SV": [window], target: [-1]}, target)


def test_steps_of_a_growing_class_hold_its_windows_once(viewer, layers):
    edits = window_edits_of(viewer)
    before = layers["SeTe"].metadata[STACK]
    for window in range(3):
        give(edits, window)
    now = layers["SeTe"].metadata
    assert len(now[STACK].windows) == len(before.windows) + 3
    steps = [step["SeTe"] for step in edits._undo["run"]]
    assert [len(kept.stack.windows) for kept in steps] == [
        len(before.windows) + k for k in range(3)
    ]
    for kept in (now[CUT], *(one for step in steps for one in step)):
        assert np.shares_memory(kept.windows, now[STACK].windows)
    while edits.undo("run"):
        pass
    assert_array_equal(layers["SeTe"].metadata[STACK].windows, before.windows)
    assert_array_equal(layers["SeTe"].metadata[STACK].included, before.included)
    assert len(layers["SeTe"].metadata[CUT].windows) == len(before.windows)
    assert layers["SV"].metadata[STACK].included.all()


def test_steps_of_averages_that_are_gone_are_forgotten(viewer, layers):
    edits = window_edits_of(viewer)
    edits.leave_out("run", "SV", [0])
    edits.leave_out("run", "SV", [1])
    edits.undo("run")
    for layer in layers.values():
        viewer.layers.remove(layer)
    show_averages(viewer, run="other")
    edits.leave_out("other", "SV", [0])
    assert not edits.can_undo("run")
    assert not edits.can_redo("run")
    assert edits.can_undo("other")


def test_only_what_counts_nowhere_else_comes_back(viewer, layers):
    edits = window_edits_of(viewer)
    give(edits, 0)
    edits.leave_out("run", "SV", [1])
    assert can_come_back(layers["SV"].metadata[STACK], [0, 1, 2]) == [1]
    edits.put_back("run", "SV", [0, 1])
    assert np.flatnonzero(~layers["SV"].metadata[STACK].included).tolist() == [0]
