"""Editing a defects layer as napari does it, without a window: undo, redo, manual marks."""

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_allclose, assert_array_equal

from napari_defectstrain.crystal.regions import Regions
from napari_defectstrain.types import DefectStrainError, Sites
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.layers import editing
from napari_defectstrain.widgets.layers.editing import column_near, editor_of
from napari_defectstrain.widgets.layers.regions import detection_put_in_steps
from napari_defectstrain.widgets.layers.sites import (
    add_detection,
    calibrate,
    corrected_planes,
    image_planes,
    note,
    pixel_size_pm,
    provenance,
    sites_from_layers,
)

NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
PLACE = {
    "scale": (20.0, 20.0),
    "translate": (500.0, 100.0),
    "units": ("pm", "pm"),
    "axis_labels": ("y", "x"),
}


def test_points_of_another_class_are_drawn_once(layers):
    _, _, defects = layers
    drawn = []
    looks = [defects.events.symbol, defects.events.border_color, defects.events.face_color]
    looks += [defects._border.events.colors, defects._face.events.colors]
    for event in looks:
        event.connect(lambda event: drawn.append(event.type))
    editor = editor_of(defects)
    drawn.clear()
    editor.relabel("DV", [0])
    assert len(drawn) <= 2  # the other one is of the class of new points
    looks = {str(s) for s in defects.symbol[[0]]}
    assert looks == {str(s) for s in defects.symbol[defects.features["class"] == "DV"]}
    dv = np.flatnonzero(defects.features["class"] == "DV")
    assert_allclose(defects.border_color[dv], defects.border_color[dv[:1]].repeat(len(dv), axis=0))


def a_grid(classes: list[int]) -> Sites:
    """Columns on a square grid, 10 px apart."""
    n = len(classes)
    side = int(np.ceil(np.sqrt(n)))
    y, x = np.divmod(np.arange(n), side)
    return Sites(
        position_px=10.0 * np.column_stack([y, x]) + 5.0,
        probabilities=np.full((n, 7), 0.2 / 6) + (0.8 - 0.2 / 6) * np.eye(7)[classes],
        class_index=np.array(classes),
        class_names=NAMES,
        source=np.full(n, "model"),
    )


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def layers(viewer):
    """Image, sites and defects: metal, SV, metal, 2Se, SeTe, metal, DV, 2Te, metal."""
    image = viewer.add_image(np.zeros((30, 30)), name="region", **PLACE)
    metadata = provenance("defects", {"material": "WSe2"}, "ab12")
    sites, defects = add_detection(viewer, image, [a_grid([0, 4, 0, 1, 2, 0, 5, 3, 0])], metadata)
    return image, sites, defects


def classes(layer):
    return list(layer.features["class"].astype(str))


def test_a_detection_makes_two_layers_where_the_image_is(layers):
    image, sites, defects = layers
    assert (sites.name, defects.name) == ("region · sites", "region · defects")
    assert not sites.visible
    assert not sites.editable
    assert len(sites.data) == 9
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]
    for layer in (sites, defects):
        assert_allclose(layer.scale, image.scale)
        assert_allclose(layer.translate, image.translate)
        assert layer.units == image.units
        assert layer.axis_labels == image.axis_labels
        assert note(layer)["weights_sha256"] == "ab12"
        assert note(layer)["parameters"] == {"material": "WSe2"}
        assert note(layer)["software"].startswith("napari-defectstrain ")
    assert list(defects.features["class"].cat.categories) == list(NAMES[1:])
    assert len({tuple(c) for c in defects.border_color}) == 4
    assert len({str(s) for s in defects.symbol}) == 4


def test_layers_give_back_the_columns_that_they_were_made_of(layers):
    _, sites, defects = layers
    want = a_grid([0, 4, 0, 1, 2, 0, 5, 3, 0])
    got = sites_from_layers(sites, defects)
    assert_allclose(got.position_px, want.position_px)
    assert_allclose(got.probabilities, want.probabilities)
    assert_array_equal(got.class_index, want.class_index)
    assert_array_equal(got.source, want.source)


def test_a_new_point_has_the_chosen_class_whatever_was_selected(layers):
    _, sites, defects = layers
    editor = editor_of(defects)
    editor.choose_class("DV")
    defects.selected_data = {1}  # sets napari's own defaults to SeTe, 0.8, model
    defects.add([15.0, 5.0])
    last = defects.features.iloc[-1]
    assert (last["class"], last["probability"], last["source"]) == ("DV", 1.0, "manual")
    assert str(defects.symbol[-1]) == str(defects.symbol[2])
    assert_allclose(defects.border_color[-1], defects.border_color[2])
    assert_array_equal(sites_from_layers(sites, defects).class_index[3], 5)


def test_choosing_a_class_leaves_selected_points_alone(layers):
    defects = layers[2]
    defects.selected_data = {0, 1}
    editor_of(defects).choose_class("2Te")
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]
    assert len({str(s) for s in defects.symbol}) == 4


def test_add_undo_redo(layers):
    defects = layers[2]
    editor = editor_of(defects)
    defects.add([15.0, 5.0])
    assert (len(defects.data), editor.can_undo, editor.can_redo) == (5, True, False)
    assert editor.undo()
    assert (len(defects.data), editor.can_undo, editor.can_redo) == (4, False, True)
    assert list(defects.features["source"]) == ["model"] * 4
    assert editor.redo()
    assert_allclose(defects.data[-1], [15.0, 5.0])
    assert classes(defects)[-1] == "SV"
    assert not editor.redo()


def test_delete_undo_gives_back_everything(layers):
    defects = layers[2]
    editor = editor_of(defects)
    data, features = defects.data.copy(), defects.features.copy()
    colours, shapes = defects.border_color.copy(), defects.symbol.copy()
    defects.selected_data = {0, 2}
    defects.remove_selected()
    assert classes(defects) == ["SeTe", "2Te"]
    assert editor.edited == 1
    editor.undo()
    assert editor.edited == 0
    assert_allclose(defects.data, data)
    assert defects.features.equals(features)
    assert_allclose(defects.border_color, colours)
    assert_array_equal(defects.symbol, shapes)


def test_a_moved_point_is_manual_and_certain(layers):
    defects = layers[2]
    editor = editor_of(defects)
    defects._set_drag_start({1}, (15.0, 15.0))
    defects._move({1}, (17.0, 16.0))
    defects._drag_start = None
    assert_allclose(defects.data[1], [17.0, 16.0])
    assert list(defects.features["source"]) == ["model", "manual", "model", "model"]
    assert defects.features["probability"][1] == 1.0
    editor.undo()
    assert_allclose(defects.data[1], [15.0, 15.0])
    assert list(defects.features["source"]) == ["model"] * 4


def test_relabel_changes_class_colour_symbol_and_the_columns(layers):
    _, sites, defects = layers
    editor = editor_of(defects)
    defects.selected_data = {0, 2}
    assert editor.relabel("2Te") == 2
    assert classes(defects) == ["2Te", "SeTe", "2Te", "2Te"]
    assert_allclose(defects.border_color[0], defects.border_color[3])
    assert str(defects.symbol[0]) == str(defects.symbol[3])
    assert list(defects.features["source"]) == ["manual", "model", "manual", "model"]
    assert_array_equal(sites_from_layers(sites, defects).class_index, [0, 3, 0, 1, 2, 0, 3, 3, 0])
    assert editor.relabel("2Te") == 0
    editor.undo()
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]


def test_other_is_given_and_taken_like_any_class(layers):
    _, sites, defects = layers
    editor = editor_of(defects)
    assert editor.class_names[-1] == "other"
    defects.selected_data = {0}
    assert editor.relabel("other") == 1
    assert str(defects.symbol[0]) == "x"
    assert len({tuple(c) for c in defects.border_color}) == 4
    got = sites_from_layers(sites, defects)
    assert_array_equal(got.class_index, [0, 6, 0, 1, 2, 0, 5, 3, 0])
    assert got.probability[1] == 1.0
    editor.relabel("SV", [0])
    assert_array_equal(sites_from_layers(sites, defects).class_index[1], 4)
    editor.choose_class("other")
    defects.add([10.0, 10.0])  # between the columns
    assert classes(defects)[-1] == "other"
    assert_array_equal(sites_from_layers(sites, defects).class_index[-1], 6)
    editor.undo()
    assert len(sites_from_layers(sites, defects)) == 9


def test_other_that_was_detected_is_shown_among_the_defects(viewer):
    image = viewer.add_image(np.zeros((30, 30)), name="region", **PLACE)
    found = [a_grid([0, 6, 0, 1, 2, 0, 5, 3, 0])]
    sites, defects = add_detection(viewer, image, found, provenance("defects", {}))
    assert classes(defects) == ["other", "SeTe", "DV", "2Te"]
    assert_array_equal(sites_from_layers(sites, defects).class_index, found[0].class_index)


def test_a_class_changed_in_the_features_table_counts_as_an_edit(layers):
    defects = layers[2]
    editor = editor_of(defects)
    features = defects.features.copy()
    features.loc[3, "class"] = "DV"
    defects.features = features
    assert list(defects.features["source"]) == ["model"] * 3 + ["manual"]
    assert editor.can_undo


def test_a_new_edit_forgets_what_was_undone(layers):
    defects = layers[2]
    editor = editor_of(defects)
    defects.add([1.0, 1.0])
    editor.undo()
    defects.add([2.0, 2.0])
    assert not editor.can_redo


def test_undo_reaches_back_a_hundred_steps(layers, monkeypatch):
    assert editing.UNDO_STEPS == 100
    monkeypatch.setattr(editing, "UNDO_STEPS", 12)  # the same with fewer edits
    defects = layers[2]
    editor = editor_of(defects)
    for i in range(12 + 5):
        defects.add([float(i), 0.0])
    steps = 0
    while editor.undo():
        steps += 1
    assert steps == 12
    assert len(defects.data) == 4 + 5


def test_keys_of_the_layer_undo_and_redo(layers):
    defects = layers[2]
    editor_of(defects)
    defects.add([1.0, 1.0])
    keys = {str(k): f for k, f in defects.keymap.items()}
    keys["Ctrl+Z"](defects)
    assert len(defects.data) == 4
    keys["Ctrl+Shift+Z"](defects)
    assert len(defects.data) == 5


def test_a_layer_has_one_editor(layers):
    assert editor_of(layers[2]) is editor_of(layers[2])


def test_an_emptied_layer_can_be_undone(layers):
    defects = layers[2]
    editor = editor_of(defects)
    defects.selected_data = {0, 1, 2, 3}
    defects.remove_selected()
    assert len(defects.data) == 0
    editor.undo()
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]


def test_planes_of_a_stack_are_corrected_one_by_one(viewer):
    stack = viewer.add_image(
        np.zeros((2, 30, 30)),
        name="stack",
        scale=(1, 20, 20),
        units=("pixel", "pm", "pm"),
        axis_labels=("image", "y", "x"),
    )
    planes = [a_grid([0, 4, 0, 1]), a_grid([0, 1, 0, 2])]
    _, defects = add_detection(viewer, stack, planes, provenance("defects", {}))
    editor_of(defects)
    assert_allclose(defects.data, [[0, 5, 15], [1, 15, 15]])
    defects.add([1.0, 5.0, 15.0])
    first, second = corrected_planes(viewer, defects)
    assert_array_equal(first.class_index, [0, 4, 0, 1])
    assert_array_equal(second.class_index, [0, 4, 0, 2])


def test_calibrating_takes_the_companions_along(viewer):
    image = viewer.add_image(np.zeros((30, 30)), name="raw")
    assert pixel_size_pm(image) is None
    sites, defects = add_detection(viewer, image, [a_grid([0, 4, 0, 1])], provenance("defects", {}))
    calibrate(viewer, image, 25.0, "lattice")
    for layer in (image, sites, defects):
        assert pixel_size_pm(layer) == pytest.approx(25.0)
        assert [str(u) for u in layer.units] == ["picometer", "picometer"]
    (plane,) = image_planes(image)
    assert plane.pixel_size_pm == pytest.approx(25.0)
    assert plane.metadata["calibration"] == "lattice"


def test_pixel_size_knows_units(viewer):
    image = viewer.add_image(np.zeros((8, 8)), scale=(0.02, 0.02), units=("nm", "nm"))
    assert pixel_size_pm(image) == pytest.approx(20.0)


# ------------------------------------------------------------------ classes that are none


@pytest.fixture
def complaints(monkeypatch):
    shown = []
    monkeypatch.setattr(editing, "show_error", shown.append)
    monkeypatch.setattr(editing, "show_info", shown.append)
    return shown


@pytest.mark.parametrize(
    ("bad", "word"),
    [("vacancy", "'vacancy'"), (np.nan, "no class"), (None, "no class"), ("", "''"), ("W", "'W'")],
)
@pytest.mark.parametrize("categories", [True, False])
def test_a_class_that_is_none_is_refused_and_taken_back(layers, complaints, bad, word, categories):
    _, sites, defects = layers
    editor = editor_of(defects)
    editor.relabel("2Te", [0])
    features = defects.features.copy()
    names = features["class"].astype(object)
    names[1] = bad
    features["class"] = names.astype("category") if categories else names
    defects.features = features
    assert classes(defects) == ["2Te", "SeTe", "DV", "2Te"]
    assert list(defects.features["class"].cat.categories) == list(NAMES[1:])
    assert len(complaints) == 1
    assert f"got {word} for 1 point, expected one of 2Se, SeTe" in complaints[0]
    assert_array_equal(sites_from_layers(sites, defects).class_index, [0, 3, 0, 1, 2, 0, 5, 3, 0])
    editor.undo()
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]


def test_a_class_taken_away_in_place_is_noticed_when_it_is_read(layers, complaints):
    """Nothing tells of it; the class other, the last one, must not come of it."""
    _, sites, defects = layers
    editor = editor_of(defects)
    defects.features.loc[1, "class"] = np.nan
    with pytest.raises(DefectStrainError, match=r"got the class nan of point 1, expected one of"):
        sites_from_layers(sites, defects)
    assert not editor.check()
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]


def test_missing_features_are_refused(layers, complaints):
    defects = layers[2]
    editor_of(defects)
    defects.features = defects.features.drop(columns="class")
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]
    assert "got features without class" in complaints[0]


def test_classes_given_as_plain_texts_are_taken(layers, complaints):
    defects = layers[2]
    editor_of(defects)
    features = defects.features.copy()
    features["class"] = ["DV", "SeTe", "DV", "2Te"]
    defects.features = features
    assert classes(defects) == ["DV", "SeTe", "DV", "2Te"]
    assert list(defects.features["source"]) == ["manual", "model", "model", "model"]
    assert list(defects.features["class"].cat.categories) == list(NAMES[1:])
    assert complaints == []


# ------------------------------------------------------------------ new points belong to columns


def snapping(viewer, defects):
    editor = editor_of(defects)
    editor.snap_by(lambda *point: column_near(viewer, defects, *point))
    return editor


def test_a_new_point_snaps_to_the_nearest_column(viewer, layers, complaints):
    _, sites, defects = layers
    snapping(viewer, defects)
    defects.add([17.5, 7.0])
    assert_allclose(defects.data[-1], [15.0, 5.0])
    got = sites_from_layers(sites, defects)
    assert_allclose(got.position_px, sites.data)
    assert got.class_name[3] == "SV"
    assert defects.selected_data == {4}


def test_a_new_point_on_a_column_that_has_one_relabels_it(viewer, layers, complaints):
    _, sites, defects = layers
    editor = snapping(viewer, defects)
    editor.choose_class("DV")
    defects.add([6.0, 16.5])  # there is SV at (5, 15)
    assert len(defects.data) == 4
    assert classes(defects) == ["DV", "SeTe", "DV", "2Te"]
    assert list(defects.features["source"]) == ["manual", "model", "model", "model"]
    assert complaints == ["There is a point of SV at this column already: it is DV now"]
    defects.add([5.0, 15.0])
    assert len(defects.data) == 4
    assert complaints[1] == "There is a point of DV at this column already"
    assert editor.undo()
    assert classes(defects) == ["SV", "SeTe", "DV", "2Te"]
    assert not editor.can_undo  # the point that was there already was no change
    assert (sites_from_layers(sites, defects).class_index != 0).sum() == 5


def test_several_new_points_of_one_column_are_one(viewer, layers, complaints):
    _, _, defects = layers
    snapping(viewer, defects)
    defects.add([[14.0, 5.0], [16.0, 5.5], [25.0, 26.0]])
    assert_allclose(defects.data[4:], [[15.0, 5.0], [25.0, 25.0]])


def test_points_of_other_planes_are_of_other_columns(viewer, complaints):
    stack = viewer.add_image(np.zeros((2, 30, 30)), name="stack")
    planes = [a_grid([0, 4, 0, 1]), a_grid([0, 1, 0, 2])]
    _, defects = add_detection(viewer, stack, planes, provenance("defects", {}))
    snapping(viewer, defects)
    defects.add([1.0, 6.0, 14.0])  # SV of the other plane lies there
    assert_allclose(defects.data[-1], [1.0, 5.0, 15.0])
    assert complaints == []


def test_without_a_column_the_brightest_place_is_taken(viewer, complaints):
    y, x = np.mgrid[:40, :40]
    picture = np.exp(-((y - 31.0) ** 2 + (x - 33.0) ** 2) / 8.0)
    image = viewer.add_image(picture, name="region", **PLACE)
    metadata = provenance("defects", {"material": "WSe2"})
    _, defects = add_detection(viewer, image, [a_grid([0, 4, 0, 1])], metadata)
    snapping(viewer, defects)
    defects.add([30.0, 34.0])
    assert_allclose(defects.data[-1], [31.0, 33.0])
    defects.add([20.0, 38.0])  # nothing there; its surroundings are brighter at one side
    assert_allclose(defects.data[-1], [20.0, 38.0])


def test_only_what_fits_no_class_may_lie_in_a_hexagon(viewer, complaints):
    """SV there would be a column more than there is."""
    angle = np.deg2rad(60.0 * np.arange(6))
    ring = 30.0 + 10.0 * np.column_stack([np.sin(angle), np.cos(angle)])
    columns = a_grid([0, 1, 0, 1, 0, 1])
    columns = replace(columns, position_px=ring)
    image = viewer.add_image(np.zeros((60, 60)), name="region", **PLACE)
    sites, defects = add_detection(viewer, image, [columns], provenance("defects", {}))
    editor = snapping(viewer, defects)
    defects.add([30.5, 32.0])
    assert_allclose(defects.data[-1], ring[0])
    assert len(sites_from_layers(sites, defects)) == 6
    editor.choose_class("other")
    defects.add([30.0, 30.0])
    assert_allclose(defects.data[-1], [30.0, 30.0])
    assert len(sites_from_layers(sites, defects)) == 7


def test_a_column_that_was_not_found_may_be_dark(viewer, complaints):
    """A double vacancy has no brightness to snap to."""
    image = viewer.add_image(np.zeros((60, 60)), name="region", **PLACE)
    found = a_grid([0, 1, 0, 1, 0, 1, 0, 1, 0])
    without = replace(
        found,
        position_px=np.delete(found.position_px, 8, axis=0),
        probabilities=found.probabilities[:8],
        class_index=found.class_index[:8],
        source=found.source[:8],
    )
    _, defects = add_detection(viewer, image, [without], provenance("defects", {}))
    snapping(viewer, defects).choose_class("DV")
    defects.add([25.3, 24.6])
    assert_allclose(defects.data[-1], [25.3, 24.6])


def test_whatever_is_deleted_goes(viewer, layers):
    """All layers selected, Delete: nothing that the plugin made stays behind."""
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    assert len(viewer.layers) == 0


@pytest.mark.parametrize(
    "names",
    [
        ("Mo", "2S", "SSe", "2Se", "SV", "DV", "other"),
        (*NAMES, "SSe"),
    ],
)
def test_another_detection_in_the_same_layers_may_bring_other_classes(viewer, complaints, names):
    image = viewer.add_image(np.zeros((30, 30)), name="raw")
    about = provenance("defects", {}), provenance("regions", {})
    whole = [Regions(np.ones((30, 30), dtype=np.int16), ())]
    first = detection_put_in_steps(viewer, image, None, [a_grid([0, 4, 2, 1])], whole, *about)
    defects = at_once(first)
    editor = editor_of(defects)
    editor.choose_class("SeTe")
    sites = a_grid([0, 4, 2, 1])
    more = np.zeros((4, len(names) - 7))
    sites = replace(
        sites, class_names=names, probabilities=np.concatenate([sites.probabilities, more], axis=1)
    )
    at_once(detection_put_in_steps(viewer, image, defects, [sites], whole, *about))
    assert editor.class_names == names[1:]
    assert editor.check()
    assert classes(defects) == [names[4], names[2]]
    assert editor.new_class in names
    editor.relabel(names[-1], [0])
    assert classes(defects) == [names[-1], names[2]]
    (columns,) = corrected_planes(viewer, defects)
    assert columns.class_name[1] == names[-1]
    assert complaints == []
    assert len({tuple(colour) for colour in defects.border_color}) == 2


def test_a_layer_in_nm_keeps_its_place_when_it_is_calibrated(viewer):
    image = viewer.add_image(
        np.zeros((8, 8)), scale=(0.02, 0.02), translate=(0.0, 5.0), units=("nm", "nm")
    )
    calibrate(viewer, image, 21.0, "lattice", 328.0)
    assert_allclose(image.translate, (0.0, 5000.0))
    calibrate(viewer, image, 22.0, "hand")
    assert_allclose(image.translate, (0.0, 5000.0))
    raw = viewer.add_image(np.zeros((8, 8)), translate=(0.0, 10.0))  # in pixels
    calibrate(viewer, raw, 22.0, "hand")
    assert_allclose(raw.translate, (0.0, 220.0))


def test_pixels_that_are_not_square_become_so_when_a_size_is_typed(viewer):
    image = viewer.add_image(np.zeros((8, 8)), scale=(20.0, 25.0), units=("pm", "pm"))
    calibrate(viewer, image, 22.0, "hand")
    assert pixel_size_pm(image) == 22.0
