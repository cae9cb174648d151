"""One order of the edits of points and of windows: what was done together goes together."""

import pytest
from napari.components import ViewerModel
from small_alloy import true_sites
from strain_stage import show_averages
from widget_stage import add_region

from napari_defectstrain.widgets.layers import edit_history
from napari_defectstrain.widgets.layers.averages import STACK
from napari_defectstrain.widgets.layers.edit_history import history_of
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.sites import add_detection, note, provenance


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def defects(viewer):
    made, image = add_region(viewer, size=256)
    return add_detection(viewer, image, [true_sites(made)], provenance("defects", {}))[1]


def class_of(defects, point=0):
    return str(defects.features["class"].iloc[point])


def test_steps_of_before_anybody_watched_are_taken_back_and_done_again(viewer, defects):
    editor, before = editor_of(defects), class_of(defects)
    editor.relabel("other", [0])
    history = history_of(viewer)
    history.watch(editor)
    assert history.undo()
    assert class_of(defects) == before
    assert history.can_redo
    assert history.redo()
    assert class_of(defects) == "other"
    assert not history.can_redo


def relabelled_and_taken_back(viewer, defects):
    """A point and its window, given a class together, and that undone."""
    layers = {note(la)["class"]: la for la in show_averages(viewer)}
    history, editor = history_of(viewer), editor_of(defects)
    history.watch(editor)
    with history.together():
        editor.relabel("other", [0])
        history.windows.leave_out("run", "SV", [0])
    assert history.undo()
    assert layers["SV"].metadata[STACK].included.all()
    return history, editor


def test_after_a_new_edit_of_points_no_window_is_changed_again(viewer, defects):
    history, editor = relabelled_and_taken_back(viewer, defects)
    editor.relabel("DV" if class_of(defects, 1) != "DV" else "SV", [1])
    assert not history.can_redo
    assert not history.windows.can_redo("run")
    assert not history.windows.redo("run")


def test_after_a_new_choice_of_windows_no_point_is_changed_again(viewer, defects):
    history, editor = relabelled_and_taken_back(viewer, defects)
    before = class_of(defects)
    history.windows.leave_out("run", "SV", [1])
    assert not editor.can_redo
    assert not editor.redo()
    assert class_of(defects) == before


def test_a_part_of_a_deed_is_not_taken_back_below_later_edits(viewer, defects, monkeypatch):
    said = []
    monkeypatch.setattr(edit_history, "show_info", said.append)
    made, image = add_region(viewer, size=256, name="other")
    others = add_detection(viewer, image, [true_sites(made)], provenance("defects", {}))[1]
    history, one, two = history_of(viewer), editor_of(defects), editor_of(others)
    for editor in (one, two):
        history.watch(editor)
    as_found = class_of(defects), class_of(others), class_of(others, 1)
    with history.together():
        one.relabel("other", [0])
        two.relabel("other", [0])
    two.relabel("other", [1])
    one.undo()  # as Ctrl+Z on its layer
    now = class_of(defects), class_of(others), class_of(others, 1)
    assert now == ("other", "other", "other")
    assert len(said) == 1
    assert "there" in said[0]
    two.undo()
    assert (class_of(defects), class_of(others, 1)) == ("other", as_found[2])
    one.undo()
    assert (class_of(defects), class_of(others), class_of(others, 1)) == as_found
    two.redo()
    assert (class_of(defects), class_of(others)) == ("other", "other")
    assert len(said) == 1
