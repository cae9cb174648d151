"""The gallery as a person uses it: look, sort, select, relabel, leave out, undo, walk."""

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.testing import assert_allclose, assert_array_equal
from qtpy.QtCore import QEvent, QItemSelectionModel, QPointF, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from small_alloy import QUICK, simulated, true_sites
from widget_stage import PIXEL_PM, activate

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline.chain import average_classes, measure_spacings
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.precision import foresee_spacing
from napari_defectstrain.study import open_study
from napari_defectstrain.styles import CLASS_STYLE
from napari_defectstrain.widgets.base.docking import BottomPanel
from napari_defectstrain.widgets.base.settings import SETTINGS_VARIABLE
from napari_defectstrain.widgets.gallery import GalleryPanel, gallery_of
from napari_defectstrain.widgets.gallery import panel as panel_module
from napari_defectstrain.widgets.gallery.edits import AVERAGED, LEFT_OUT, NO_WINDOW
from napari_defectstrain.widgets.layers.averages import MEASUREMENT, STACK, add_averages, runs
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.sites import (
    add_detection,
    corrected_planes,
    layer_id,
    note,
    provenance,
)
from napari_defectstrain.widgets.study.opening import open_into, save_as

NAMES = WSE2.class_names
DOUBTFUL = 6
"""Defects of the fixture that the model isn't sure of, and perfect columns that may be some."""


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "widgets.json"))
    monkeypatch.setattr(panel_module, "WAIT_MS", 10)


def weighed(made):
    """The true columns with weights, some of them in doubt."""
    sites = true_sites(made)
    inside = ((made.position_px > 90) & (made.position_px < 294)).all(axis=1)
    chances = np.array(sites.probabilities)
    for role, second in ((4, 1), (1, 4)):
        some = np.flatnonzero(inside & (sites.class_index == role))[: DOUBTFUL // 2]
        for k, column in enumerate(some):
            chances[column] = 0.0
            chances[column, role], chances[column, second] = 0.6 + 0.05 * k, 0.4 - 0.05 * k
    weight = np.array([1, 0.72, 0.85, 1.1, 0.4, 0.1, 0.3])[sites.class_index]
    return replace(
        sites, probabilities=chances, weight=weight, weight_sigma=np.full(len(weight), 0.02)
    )


@pytest.fixture
def shown(qtbot):
    """A viewer with the columns of one image, and its gallery."""
    made = simulated(seed=1, size=384, fractions=(0.03, 0.0, 0.03, 0.0), name="alloy")
    viewer = ViewerModel()
    look = {"scale": (PIXEL_PM, PIXEL_PM), "units": ("pm", "pm"), "axis_labels": ("y", "x")}
    image = viewer.add_image(made.image.data, name="alloy", **look)
    _, defects = add_detection(
        viewer, image, [weighed(made)], provenance("defects", {"material": "WSe2"})
    )
    panel = opened(viewer, qtbot)
    return made, viewer, defects, panel


def opened(viewer, qtbot):
    panel = GalleryPanel(viewer)
    panel.resize(1000, 420)
    qtbot.addWidget(panel)
    panel.show()
    settled(qtbot, panel)
    return panel


def settled(qtbot, panel):
    """Wait until everything that there is has its thumbnail."""

    def done():
        return not (panel.gathering.busy or panel._timer.isActive()) and (
            panel.looks is None or panel.looks.core is not None
        )

    qtbot.waitUntil(done, timeout=60_000)


def averaged(viewer, made, defects):
    """Averages of the detection, measured, as the widget makes them."""
    image = viewer.layers["alloy"]
    stacks = average_classes([made.image], corrected_planes(viewer, defects), QUICK)
    stacks = {n: stacks[n] for n in ("2Se", "SeTe", "SV")}
    about = provenance(
        "average",
        {"material": "WSe2", "seed": 0, "average": QUICK.average.to_dict()},
        run="r1",
        images=["alloy"],
        image_ids=[layer_id(image)],
        planes=[[layer_id(image), None]],
        corner_pm=[0.0, 9000.0],
        symmetric=False,
    )
    averages = {n: average_stack(s) for n, s in stacks.items()}
    layers = add_averages(viewer, stacks, averages, (0.0, 9000.0), about, True)
    return {note(la)["class"]: la for la in layers}


def rows_of(panel, name):
    found = panel.looks.detections
    return np.flatnonzero(found.class_index == NAMES.index(name))


def select(panel, rows):
    """Select thumbnails as dragging does."""
    model, flag = panel.grid.selectionModel(), QItemSelectionModel.SelectionFlag.Select
    model.clearSelection()
    for place in np.flatnonzero(np.isin(panel.grid.list.rows, rows)).tolist():
        model.select(panel.grid.list.index(place, 0), flag)


def class_at(panel, defects, row):
    place = panel.looks.detections.position_px[row]
    away = np.hypot(*(np.asarray(defects.data) - place).T)
    return str(defects.features["class"].iloc[int(away.argmin())]) if away.min() < 1 else None


def test_every_detection_is_there_before_any_average(shown):
    _, _, defects, panel = shown
    assert panel.grid.list.rowCount() == len(defects.data) + DOUBTFUL // 2
    assert panel.looks.ready.all()
    first = panel.grid.list.index(0, 0)
    assert not first.data(Qt.ItemDataRole.DecorationRole).isNull()
    # by probability, the least sure first
    assert "0.60" in first.data()
    assert "no window" in first.data(Qt.ItemDataRole.ToolTipRole)
    assert str(len(defects.data) + DOUBTFUL // 2) in panel.state.text()


def test_classes_filters_and_orders(shown):
    _, _, _, panel = shown
    listed = panel.grid.list
    for name in ("2Se", "SeTe", "other"):
        panel.which.chips[name].setChecked(False)
    assert set(panel.looks.detections.class_index[listed.rows]) == {NAMES.index("SV")}
    panel.which.chips["SeTe"].setChecked(True)  # several classes at once
    assert len(set(panel.looks.detections.class_index[listed.rows])) == 2
    features = panel.looks.features()
    panel.which.sort.setCurrentText("weight")
    assert (np.diff(features["weight"][listed.rows]) >= 0).all()
    panel.which.reverse.setChecked(True)
    assert (np.diff(features["weight"][listed.rows]) <= 0).all()
    panel.which.reverse.setChecked(False)
    panel.which.sort.setCurrentText("distance (sigma)")
    far = features["distance (sigma)"][listed.rows]
    assert (np.diff(far[np.isfinite(far)]) <= 0).all()
    panel.which.sort.setCurrentText("place")
    assert (np.diff(panel.looks.detections.position_px[listed.rows, 0]) >= 0).all()
    panel.which.filter.setCurrentText("in doubt")
    assert len(listed.rows) == DOUBTFUL // 2


def test_many_are_relabelled_by_a_key_and_taken_back(shown, qtbot):
    _, _, defects, panel = shown
    rows = rows_of(panel, "SV")[:4]
    select(panel, rows)
    panel.grid.setFocus()
    before = defects.features["class"].astype(str).tolist()
    panel.keys.labelled.emit(1)  # what the key 2 says: SeTe
    assert [class_at(panel, defects, row) for row in rows] == ["SeTe"] * 4
    assert (defects.features["source"] == "manual").sum() == 4
    assert set(panel.looks.detections.class_index[rows]) == {NAMES.index("SeTe")}
    assert "4 detections: SeTe now" in panel.state.text()
    panel.undo()
    assert defects.features["class"].astype(str).tolist() == before
    settled(qtbot, panel)
    assert set(panel.looks.detections.class_index[rows]) == {NAMES.index("SV")}
    assert set(panel.grid.chosen()) == set(rows)  # what was selected stays so
    panel.redo()
    assert [class_at(panel, defects, row) for row in rows] == ["SeTe"] * 4


def test_a_perfect_column_becomes_a_point_in_the_same_step(shown, qtbot):
    _, _, defects, panel = shown
    perfect, vacancy = rows_of(panel, "2Se")[:1], rows_of(panel, "SV")[:1]
    n = len(defects.data)
    panel.grid.choose(np.concatenate([perfect, vacancy]))
    panel.label_class(4)
    assert len(defects.data) == n + 1
    assert class_at(panel, defects, perfect[0]) == "DV"
    assert class_at(panel, defects, vacancy[0]) == "DV"
    assert_allclose(defects.data[-1], panel.looks.detections.position_px[perfect[0]])
    editor_of(defects).undo()  # Ctrl+Z on the canvas
    assert len(defects.data) == n
    assert class_at(panel, defects, vacancy[0]) == "SV"
    settled(qtbot, panel)
    assert panel.looks.detections.class_index[perfect[0]] == NAMES.index("2Se")


def test_averages_and_spacings_follow(shown, monkeypatch):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    config = RunConfig(columns=QUICK.columns, bootstrap=50)
    before = {n: la.metadata[STACK] for n, la in layers.items()}
    for name, found in measure_spacings(before, config).items():
        layers[name].metadata[MEASUREMENT] = found
    panel._restate()
    told, windows_told = [], panel.edits.windows
    windows_told.changed.connect(lambda _run, name: told.append(name))
    rows = rows_of(panel, "SV")
    rows = rows[panel.grid.list.states[rows] == AVERAGED][:3]
    panel.grid.choose(rows)
    panel.label_class(1)
    after = {n: la.metadata[STACK] for n, la in layers.items()}
    assert after["SV"].n == before["SV"].n - 3
    assert after["SeTe"].n == before["SeTe"].n + 3
    assert set(told) == {"SV", "SeTe"}  # the average widget measures them anew
    for name, layer in layers.items():
        assert_allclose(layer.data, average_stack(after[name]).mean)
        assert note(layer)["n"] == after[name].n
    windows = next(la for la in viewer.layers if la.name == "SeTe · windows")
    assert len(windows.data) == len(after["SeTe"].included)
    # the spacing that is told at once is what the fits say afterwards
    anew = measure_spacings(after, config)
    for name in ("SV", "SeTe"):
        now = foresee_spacing(layers[name].metadata[MEASUREMENT].columns, after[name])
        assert f"{name} N = {after[name].n}, {now.spacing_pm:.2f} ±" in panel.state.text()
        if name in anew:  # of enough windows
            assert abs(now.spacing_pm - anew[name].spacing.spacing_pm) < 0.3 * now.sem_pm
    assert "SeTe" in anew
    panel.undo()
    for name, layer in layers.items():
        assert_array_equal(layer.metadata[STACK].included, before[name].included)
        assert_array_equal(layer.metadata[STACK].windows, before[name].windows)
        assert_allclose(layer.data, average_stack(before[name]).mean)
    assert len(windows.data) == len(before["SeTe"].included)
    assert class_at(panel, defects, rows[0]) == "SV"


def test_averaging_anew_gives_what_relabelling_gave(shown):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    panel._restate()
    rows = rows_of(panel, "SV")
    panel.grid.choose(rows[panel.grid.list.states[rows] == AVERAGED][:2])
    panel.label_class(1)
    followed = layers["SeTe"].metadata[STACK]
    anew = average_classes([made.image], corrected_planes(viewer, defects), QUICK)["SeTe"]
    place = {tuple(p.round(1)) for p in anew.position_px[anew.included]}
    missing = [p for p in followed.position_px[followed.included] if tuple(p.round(1)) not in place]
    assert not missing
    assert anew.n == followed.n


def test_several_classes_are_left_out_and_put_back_in_one_step(shown):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    panel._restate()
    states = panel.grid.list.states
    rows = np.concatenate(
        [r[states[r] == AVERAGED][:2] for r in (rows_of(panel, "SV"), rows_of(panel, "SeTe"))]
    )
    numbers = {n: la.metadata[STACK].n for n, la in layers.items()}
    panel.grid.choose(rows)
    panel.leave_out()
    assert {n: la.metadata[STACK].n for n, la in layers.items()} == {
        **numbers,
        "SV": numbers["SV"] - 2,
        "SeTe": numbers["SeTe"] - 2,
    }
    assert set(panel.grid.list.states[rows]) == {LEFT_OUT}
    panel.which.filter.setCurrentText("left out")
    assert set(rows) <= set(panel.grid.list.rows)
    panel.undo()
    assert {n: la.metadata[STACK].n for n, la in layers.items()} == numbers
    panel.redo()
    panel.put_back()
    assert set(panel.grid.list.states[rows]) == {AVERAGED}
    assert panel.edits.history.can_undo


def test_without_an_average_nothing_can_be_left_out(shown):
    _, _, _, panel = shown
    panel.grid.choose(rows_of(panel, "SV")[:1])
    panel.leave_out()
    assert "average their classes first" in panel.state.text()
    assert set(panel.grid.list.states) == {NO_WINDOW}


def test_the_walk_takes_one_key_each(shown, qtbot):
    _, _, defects, panel = shown
    activate(panel.window())
    panel.walk_through()
    first = panel.walk.row
    doubt = panel.looks.features()["doubt"]
    assert doubt[first] == doubt.max()
    assert panel.state.text().startswith(f"1 of {DOUBTFUL}")
    assert panel.grid.chosen().tolist() == [first]
    panel.label_class(4)  # the key 5
    assert class_at(panel, defects, first) == "DV"
    assert panel.state.text().startswith(f"2 of {DOUBTFUL}")
    second = panel.walk.row
    assert second != first
    panel.skip()  # the space bar
    assert class_at(panel, defects, second) != "DV"
    assert panel.state.text().startswith(f"3 of {DOUBTFUL}")
    panel.walk_back()  # the key Z, twice
    panel.walk_back()
    assert panel.walk.row == first
    settled(qtbot, panel)
    assert class_at(panel, defects, first) != "DV"
    assert panel.walk.row == first
    assert panel.state.text().startswith(f"1 of {DOUBTFUL}")
    for _ in range(DOUBTFUL):
        panel.skip()
    assert panel.walk is None
    assert panel.state.text() == f"{DOUBTFUL} of {DOUBTFUL} looked at, 0 relabelled"


def test_going_back_takes_nothing_back_twice(shown, qtbot):
    _, _, defects, panel = shown
    row = rows_of(panel, "SV")[-1]
    select(panel, [row])
    panel.label_class(2)  # before the walk
    panel.walk_through()
    first = panel.walk.row
    panel.label_class(4)
    panel.undo()  # Ctrl+Z on the walk
    assert class_at(panel, defects, first) != "DV"
    panel.walk_back()
    assert panel.walk.row == first
    assert class_at(panel, defects, row) == "2Te"  # not what came before the walk
    panel.label_class(4)
    panel.end_walk()
    assert panel.state.text().endswith("1 relabelled")


def test_lasso_thumbnails_and_points_are_linked(shown, qtbot):
    _, viewer, defects, panel = shown
    plot = panel.side.plot
    rows = rows_of(panel, "SV")
    panel.side.x.setCurrentText("weight")
    panel.side.y.setCurrentText("probability")
    place = plot.place_of(rows)  # all vacancies are of one weight
    (left, top), (right, bottom) = place.min(axis=0) - 6, place.max(axis=0) + 6
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    QTest.mousePress(plot, Qt.MouseButton.LeftButton, pos=QPointF(*corners[0]).toPoint())
    for corner in corners[1:]:
        QTest.mouseMove(plot, QPointF(*corner).toPoint())
    QTest.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=QPointF(*corners[-1]).toPoint())
    assert set(panel.grid.chosen()) == set(rows)
    points = np.asarray(defects.data)[sorted(defects.selected_data)]
    expected = panel.looks.detections.position_px[rows]
    assert_array_equal(points[np.lexsort(points.T)], expected[np.lexsort(expected.T)])
    panel.which.filter.setCurrentText("selected")
    assert set(panel.grid.list.rows) == set(rows)
    panel.which.filter.setCurrentText("all")
    # and from the canvas to the thumbnails
    viewer.layers.selection.active = defects
    defects.selected_data = {0, 1}
    qtbot.waitUntil(lambda: len(panel.grid.chosen()) == 2, timeout=60_000)
    chosen = panel.looks.detections.position_px[panel.grid.chosen()]
    assert {tuple(p) for p in chosen} == {tuple(p) for p in np.asarray(defects.data)[:2]}


def test_choosing_one_flies_there(shown, qtbot):
    _, viewer, _, panel = shown
    row = int(rows_of(panel, "SeTe")[0])
    place = int(np.flatnonzero(panel.grid.list.rows == row)[0])
    panel.grid.setCurrentIndex(panel.grid.list.index(place, 0))
    qtbot.waitUntil(lambda: not panel.going.waiting, timeout=60_000)
    marker = viewer.layers["chosen window"]
    expected = panel.looks.detections.position_px[row] * PIXEL_PM
    assert_allclose(marker.data[0], expected, atol=1e-3)
    assert_allclose(viewer.scene.camera.center[-2:], expected, atol=1.0)
    assert "SeTe" in panel.state.text()
    panel.hide()
    assert not marker.visible


def test_edits_elsewhere_and_new_images_come_in(shown, qtbot):
    made, viewer, defects, panel = shown
    row = int(rows_of(panel, "SV")[0])
    place = panel.looks.detections.position_px[row]
    point = int(np.hypot(*(np.asarray(defects.data) - place).T).argmin())
    editor_of(defects).relabel("2Te", [point])
    settled(qtbot, panel)
    assert panel.looks.detections.class_index[row] == NAMES.index("2Te")
    assert panel.looks.detections.by_hand[row]
    n = panel.grid.list.rowCount()
    other = viewer.add_image(np.stack([made.image.data] * 2), name="stack", scale=(1, 20, 20))
    about = provenance("defects", {"material": "WSe2"})
    _, stack = add_detection(viewer, other, [true_sites(made)] * 2, about)
    settled(qtbot, panel)
    assert panel.grid.list.rowCount() == n + len(stack.data)
    # relabelled on the second plane of a stack
    mine = np.flatnonzero(panel.looks.detections.image_index == 2)
    panel.grid.choose(mine[:2])
    panel.label_class(5)
    changed = np.flatnonzero(stack.features["source"] == "manual")
    assert set(np.asarray(stack.data)[changed, 0]) == {1.0}
    assert set(stack.features["class"].iloc[changed].astype(str)) == {"other"}
    viewer.layers.remove(defects)
    viewer.layers.remove(stack)
    settled(qtbot, panel)
    assert panel.grid.list.rowCount() == 0
    assert "No detection yet" in panel.state.text()


def test_the_study_keeps_what_the_gallery_changes(shown, tmp_path, qapp):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    panel._restate()
    rows = rows_of(panel, "SV")
    rows = rows[panel.grid.list.states[rows] == AVERAGED]
    panel.grid.choose(rows[:2])
    panel.label_class(1)
    panel.grid.choose(rows[2:3])
    panel.leave_out()
    keeper.sync()
    study = keeper.study
    assert (study.sites("alloy").class_name != study.model_sites("alloy").class_name).sum() == 2
    chosen = [e.content for e in study.history() if e.what == "windows"]
    assert len(chosen) == 1  # what was relabelled is said by the columns
    assert len(chosen[0]["left_out"]) == 1
    panel.undo()
    panel.undo()
    keeper.sync()
    keeper.close()
    with open_study(study.path, read_only=True) as again:
        assert_array_equal(again.sites("alloy").class_name, again.model_sites("alloy").class_name)
        assert not (again.sites("alloy").source == "manual").any()
    assert layers["SV"].metadata[STACK].n > 0


def test_a_study_opens_with_each_window_in_one_average(shown, tmp_path):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    panel._restate()
    rows = rows_of(panel, "SV")
    panel.grid.choose(rows[panel.grid.list.states[rows] == AVERAGED][:2])
    panel.label_class(1)
    numbers = {n: la.metadata[STACK].n for n, la in layers.items()}
    keeper.sync()
    path = keeper.study.path
    keeper.close()
    other = ViewerModel()
    again, _ = open_into(other, path)
    (averages,) = runs(other).values()
    held = {note(la)["class"]: la.metadata[STACK] for la in averages}
    assert {n: stack.n for n, stack in held.items()} == numbers
    assert (held["SV"].reason == "relabelled SeTe").sum() == 2
    again.close()


def test_what_counts_in_another_class_is_not_put_back(shown):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    panel._restate()
    rows = rows_of(panel, "SV")
    panel.grid.choose(rows[panel.grid.list.states[rows] == AVERAGED][:2])
    panel.label_class(1)
    stack = layers["SV"].metadata[STACK]
    panel.edits.windows.leave_out("r1", "SV", np.flatnonzero(stack.included)[:1])
    out = np.flatnonzero(~layers["SV"].metadata[STACK].included)
    panel.edits.windows.put_back("r1", "SV", out)
    after = layers["SV"].metadata[STACK]
    assert (after.reason == "relabelled SeTe").sum() == (~after.included).sum() == 2


def test_a_class_given_while_thumbnails_are_made_stays(shown, qtbot):
    _, _, defects, panel = shown
    row = rows_of(panel, "SV")[:1]
    late = panel.looks  # as the worker holds them: made before, with classes of before
    panel.grid.choose(row)
    panel.label_class(1)
    panel._show(panel.places, late)
    assert panel.looks.detections.class_index[row[0]] == NAMES.index("SeTe")
    assert panel.looks.detections.by_hand[row[0]]
    # and of a list that was begun before: it comes with the old class, and is made anew
    panel._edited_since = True
    panel._show(panel.places, replace(late, thumbnails=late.thumbnails.copy()))
    assert panel._timer.isActive()
    # meanwhile it is behind the points, which still get what is asked for
    panel.grid.choose(row)
    panel.label_class(3)
    assert class_at(panel, defects, row[0]) == "SV"
    settled(qtbot, panel)
    assert panel.looks.detections.class_index[row[0]] == NAMES.index("SV")


def test_a_relabelling_does_not_stop_the_way_there(shown, qtbot):
    _, viewer, _, panel = shown
    row = rows_of(panel, "SV")[:1]
    panel.grid.choose(row)
    panel._picked(int(row[0]))
    panel.label_class(1)
    qtbot.waitUntil(lambda: not panel.going.waiting, timeout=60_000)
    assert "chosen window" in viewer.layers


def test_points_relabelled_on_the_canvas_count_where_they_were(shown, qtbot):
    made, viewer, defects, panel = shown
    layers = averaged(viewer, made, defects)
    panel._restate()
    rows = rows_of(panel, "SV")
    row = rows[panel.grid.list.states[rows] == AVERAGED][:1]
    panel.grid.choose(row)
    editor_of(defects).relabel("SeTe", sorted(defects.selected_data))
    settled(qtbot, panel)
    assert panel.grid.list.states[row[0]] == NO_WINDOW
    n = layers["SV"].metadata[STACK].n
    panel.grid.choose(row)
    panel.put_back()
    assert "average again" in panel.state.text()
    panel.leave_out()
    assert layers["SV"].metadata[STACK].n == n - 1


def test_other_colours_of_the_classes_are_taken_over(shown, monkeypatch):
    _, _, _, panel = shown
    place = int(np.flatnonzero(panel.grid.list.rows == rows_of(panel, "SV")[0])[0])

    def frame():
        picture = panel.grid.list.index(place, 0).data(Qt.ItemDataRole.DecorationRole)
        return picture.toImage().pixelColor(0, 0).name().upper()

    before, role = frame(), list(CLASS_STYLE)[NAMES.index("SV")]
    monkeypatch.setitem(CLASS_STYLE, role, replace(CLASS_STYLE[role], colour="#123456"))
    panel.restyle()
    assert before != frame() == "#123456"


def test_escape_gives_the_lasso_up_first(shown):
    plot = shown[3].side.plot
    asked = QKeyEvent(
        QEvent.Type.ShortcutOverride, Qt.Key.Key_Escape, Qt.KeyboardModifier.NoModifier
    )
    asked.ignore()
    plot.event(asked)
    assert not asked.isAccepted()  # the walk's
    QTest.mousePress(plot, Qt.MouseButton.LeftButton, pos=QPointF(60, 40).toPoint())
    plot.event(asked)
    assert asked.isAccepted()


def test_letters_choose_an_entry_while_the_keyboard_is_in_a_list(shown):
    _, _, _, panel = shown
    asked = QKeyEvent(
        QEvent.Type.ShortcutOverride, Qt.Key.Key_D, Qt.KeyboardModifier.NoModifier, "d"
    )
    for box in (panel.which.filter, panel.which.sort, panel.side.x, panel.side.y):
        asked.ignore()
        box.event(asked)
        assert asked.isAccepted()  # so Qt doesn't ask the panel's keys
    undo = QKeyEvent(
        QEvent.Type.ShortcutOverride, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier, "\x1a"
    )
    undo.ignore()
    panel.which.sort.event(undo)
    assert not undo.isAccepted()


def test_nothing_is_cut_below_a_narrow_canvas(shown, qtbot):
    panel = shown[3]
    around = BottomPanel(panel)
    qtbot.addWidget(around)
    around.resize(530, 290)  # what a window of 1366 x 768 leaves beside the docks
    around.show()
    qtbot.waitUntil(lambda: panel.width() <= around.viewport().width(), timeout=60_000)
    assert panel.height() <= around.viewport().height()
    assert panel.side.isVisible()
    chip = panel.which.chips["SV"]
    assert (chip.text(), chip.accessibleName()) == ("", "SV")
    around.resize(1000, 290)
    qtbot.waitUntil(lambda: chip.text() == "SV", timeout=60_000)
    around.takeWidget()  # the fixture's own


def test_a_viewer_has_one_gallery(qapp):
    viewer, other = ViewerModel(), ViewerModel()
    panel = gallery_of(viewer)
    assert gallery_of(viewer) is panel
    assert gallery_of(other) is not panel
    for one in (panel, gallery_of(other)):
        one.deleteLater()
