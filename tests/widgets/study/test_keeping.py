"""A study keeps edits as one works, and gives the window back: the model of a viewer is enough."""

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers._layer_actions import _duplicate_layer as duplicate
from npe2 import PluginManager
from numpy.testing import assert_array_equal
from qtpy.QtCore import QEvent
from scipy.spatial import cKDTree
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.averages.choice import leave_out
from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.io.files import write_tiff
from napari_defectstrain.pipeline.chain import average_classes
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.study import open_study
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.base import forms
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.base.settings import SETTINGS_VARIABLE
from napari_defectstrain.widgets.layers.averages import STACK, add_averages, runs, update_average
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.regions import detection_put_in_steps, regions_of
from napari_defectstrain.widgets.layers.sites import (
    KEY,
    calibrate,
    corrected_planes,
    kind,
    layer_id,
    note,
    pixel_size_pm,
    provenance,
)
from napari_defectstrain.widgets.study import keeper as keeper_module
from napari_defectstrain.widgets.study import opening
from napari_defectstrain.widgets.study.arrangement import LAYERS_FILE
from napari_defectstrain.widgets.study.copying import CopyButtons
from napari_defectstrain.widgets.study.keeper import keeper_of
from napari_defectstrain.widgets.study.opening import open_into, save_as
from napari_defectstrain.widgets.study.ties import names_of

SIZE = 256


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "widgets.json"))


@pytest.fixture(scope="module")
def made():
    return simulated(seed=5, size=SIZE, name="alloy")


@pytest.fixture
def window(qapp, made, tmp_path):
    """A viewer with an image from a file, and its detection."""
    viewer = ViewerModel()
    PluginManager.instance().discover()
    write_tiff(tmp_path / "alloy.tif", made.image.data, made.image.pixel_size_pm)
    viewer.open(tmp_path / "alloy.tif", plugin="napari-defectstrain")
    detect(viewer, viewer.layers[0], true_sites(made))
    yield viewer
    if keeper_of(viewer) is not None:
        keeper_of(viewer).close()


def detect(viewer, image, sites):
    labels = np.ones((SIZE, SIZE), dtype=np.int16)
    labels[:, 230:] = 252
    about = provenance("defects", {"material": "WSe2"}, "ab12", overconfidence=[1.0] * 7)
    regions = [label_regions(labels, sites)]
    put = detection_put_in_steps(
        viewer, image, None, [sites], regions, about, provenance("regions", {}, "ab12")
    )
    return at_once(put)


def of_kind(viewer, what):
    return [la for la in viewer.layers if kind(la) == what]


def reopened(path):
    """The study in another window."""
    viewer = ViewerModel()
    keeper, notes = open_into(viewer, path)
    return viewer, keeper, notes


def same_columns(one, other):
    """Two sets of columns of any order."""
    assert len(one) == len(other)
    away, row = cKDTree(other.position_px).query(one.position_px)
    assert away.max() < 1e-5  # tables are rounded
    assert_array_equal(one.class_name, other.class_name[row])
    assert_array_equal(one.source, other.source[row])


def average(viewer, made):
    """Averages of the detection, as the widget makes them."""
    (defects,) = of_kind(viewer, "defects")
    image = viewer.layers["alloy"]
    sites = corrected_planes(viewer, defects)
    stacks = average_classes([made.image], sites, QUICK)
    stacks = {n: s for n, s in stacks.items() if n in ("2Se", "SeTe") and s.n > 1}
    about = provenance(
        "average",
        {"material": "WSe2", "seed": 0, "average": QUICK.average.to_dict()},
        run="r1",
        images=["alloy"],
        image_ids=[layer_id(image)],
        planes=[[layer_id(image), None]],
        corner_pm=[0.0, 6000.0],
        symmetric=False,
    )
    averages = {n: average_stack(s) for n, s in stacks.items()}
    return add_averages(viewer, stacks, averages, (0.0, 6000.0), about, True)


def test_a_new_study_holds_the_image_by_reference_and_its_columns(window, tmp_path):
    (defects,) = of_kind(window, "defects")
    keeper = save_as(window, tmp_path / "mine.defectstrain", RunConfig())
    study = keeper.study
    assert study.images == ("alloy",)
    assert study.files[0].absolute == str(tmp_path / "alloy.tif")
    assert not study.files[0].copy
    assert names_of(window.layers["alloy"]) == ["alloy"]
    assert study.edited_columns("alloy") == 0
    assert_array_equal(study.regions("alloy").labels, regions_of(window, defects).data)
    assert study.answer_of("alloy").weights_sha256 == "ab12"
    assert [edit.by for edit in study.history("alloy") if edit.what == "columns"] == []


def test_every_edit_is_on_the_disk_when_it_is_made(window, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    (defects,) = of_kind(window, "defects")
    editor = editor_of(defects)
    row = int(np.flatnonzero(defects.features["class"] == "SeTe")[0])
    editor.relabel("DV", [row])
    copy = tmp_path / "as after a crash.defectstrain"
    shutil.copytree(keeper.study.path, copy)
    with open_study(copy, read_only=True) as study:
        assert study.edited_columns("alloy") == 1
        assert_array_equal(study.sites("alloy").class_name, keeper.study.sites("alloy").class_name)
        assert (study.sites("alloy").source == "manual").sum() == 1
    editor.undo()
    assert (keeper.study.sites("alloy").source == "manual").sum() == 0
    assert len(keeper.study.history("alloy")) > 2


@pytest.mark.parametrize("crash", [False, True])
def test_the_window_comes_back_as_it_was(window, made, tmp_path, crash):
    averages = average(window, made)
    (defects,) = of_kind(window, "defects")
    regions = regions_of(window, defects)
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    editor = editor_of(defects)
    rows = np.flatnonzero(defects.features["class"] == "SeTe")
    editor.relabel("DV", [int(rows[0])])
    defects.selected_data = {int(rows[1])}
    defects.remove_selected()
    defects.add([40.5, 60.25])
    regions.data = np.where(np.arange(SIZE) < 20, 253, regions.data).astype(regions.data.dtype)
    update_average(window, averages[0], leave_out(averages[0].metadata[STACK], [0]))
    window.layers["alloy"].colormap = "magma"
    keeper.sync()
    if not crash:
        keeper.save_window()
    path = keeper.study.path
    if crash:  # its journal is all there is of the last edits
        shutil.copytree(path, tmp_path / "copy.defectstrain", ignore=lambda *_: ["lock.json"])
        path = tmp_path / "copy.defectstrain"
    else:
        keeper.close()
    again, other, notes = reopened(path)
    assert [note for note in notes if "defectstrain" not in note] == []
    assert [la.name for la in again.layers] == [la.name for la in window.layers]
    (back,) = of_kind(again, "defects")
    one = corrected_planes(window, defects)[0]
    two = corrected_planes(again, back)[0]
    same_columns(one, two)
    assert_array_equal(regions_of(again, back).data, regions.data)
    for layer, twin in zip(window.layers, again.layers, strict=True):
        assert type(layer) is type(twin)
        np.testing.assert_allclose(layer.scale, twin.scale)
        np.testing.assert_allclose(layer.translate, twin.translate)
        assert layer.units == twin.units
        assert layer.visible == twin.visible
        if kind(layer) != "defects":
            np.testing.assert_allclose(layer.data, twin.data, atol=1e-6)
    ((_, kept),) = [(r, las) for r, las in runs(again).items()]
    assert_array_equal(kept[0].metadata[STACK].included, averages[0].metadata[STACK].included)
    assert note(kept[0])["n"] == note(averages[0])["n"]
    if not crash:
        assert again.layers["alloy"].colormap.name == "magma"
    edits = other.study.history()
    other_class = "DV" if back.features["class"].iloc[0] != "DV" else "SV"
    editor_of(back).relabel(other_class, [0])
    assert len(other.study.history()) == len(edits) + 1
    other.close()


def test_edits_of_the_last_session_can_be_undone(window, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    (defects,) = of_kind(window, "defects")
    editor = editor_of(defects)
    shown = [corrected_planes(window, defects)[0]]
    editor.relabel("DV", [int(np.flatnonzero(defects.features["class"] == "SeTe")[0])])
    shown.append(corrected_planes(window, defects)[0])
    defects.selected_data = {int(np.flatnonzero(defects.features["class"] == "SeTe")[1])}
    defects.remove_selected()
    shown.append(corrected_planes(window, defects)[0])
    defects.add([40.5, 60.25])
    editor.undo()
    keeper.close()
    again, other, _ = reopened(keeper.study.path)
    (back,) = of_kind(again, "defects")
    same_columns(corrected_planes(again, back)[0], shown[2])
    assert editor_of(back).undo()
    same_columns(corrected_planes(again, back)[0], shown[1])
    assert other.study.edited_columns("alloy") == 1
    assert editor_of(back).undo()
    same_columns(corrected_planes(again, back)[0], shown[0])
    assert not editor_of(back).can_undo
    assert other.study.edited_columns("alloy") == 0
    assert editor_of(back).redo()
    same_columns(corrected_planes(again, back)[0], shown[1])
    assert other.study.edited_columns("alloy") == 1
    other.close()


def test_a_folder_that_is_taken_away_is_said_and_loses_nothing_in_the_window(
    window, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(keeper_module, "show_warning", said.append)
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    (defects,) = of_kind(window, "defects")
    away = tmp_path / "away"
    keeper.study.path.rename(away)
    editor_of(defects).relabel("DV", [int(np.flatnonzero(defects.features["class"] == "SeTe")[0])])
    keeper.save_window()
    assert len(said) >= 1
    assert str(keeper.study.path) in said[0]
    assert "gone" in said[0]
    assert "gone" in keeper.state
    assert not keeper.study.path.exists()  # nothing is begun anew in its place
    assert (defects.features["source"] == "manual").sum() == 1
    away.rename(keeper.study.path)  # the disk is there again
    keeper.sync()
    keeper.save_window()
    assert keeper.problem == ""
    assert keeper.study.edited_columns("alloy") == 1


def test_a_full_disk_is_said_and_the_edit_written_with_the_next(window, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(keeper_module, "show_warning", said.append)
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    (defects,) = of_kind(window, "defects")
    first, second = np.flatnonzero(defects.features["class"] == "SeTe")[:2]

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        editor_of(defects).relabel("DV", [int(first)])
    assert len(said) == 1
    assert "No space left" in said[0]
    assert keeper.study.edited_columns("alloy") == 0
    editor_of(defects).relabel("DV", [int(second)])
    assert keeper.problem == ""
    with open_study(keeper.study.path, read_only=True) as study:
        assert study.edited_columns("alloy") == 2


def test_looks_are_kept_without_writing_all_layers(window, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    before = (keeper.study.path / LAYERS_FILE).read_bytes()
    image = window.layers["alloy"]
    looks = {"colormap": "magma", "opacity": 0.7, "gamma": 1.3, "name": "my alloy"}
    for key, value in {**looks, "contrast_limits": (1.0, 5.0)}.items():
        keeper._view.stop()
        setattr(image, key, value)
        assert keeper._view.isActive(), key  # it will be written soon
    keeper._save_view()
    copy = tmp_path / "as after a crash.defectstrain"
    shutil.copytree(keeper.study.path, copy, ignore=lambda *_: ["lock.json"])
    again, other, _ = reopened(copy)
    back = again.layers["my alloy"]
    assert back.colormap.name == "magma"
    assert (back.opacity, back.gamma, tuple(back.contrast_limits)) == (0.7, 1.3, (1.0, 5.0))
    assert (keeper.study.path / LAYERS_FILE).read_bytes() == before
    other.close()


def test_opening_is_no_edit(window, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    keeper.close()
    _, other, _ = reopened(keeper.study.path)
    edits = len(other.study.history())
    other.sync()
    other.take_all()
    assert len(other.study.history()) == edits
    other.close()


def test_a_second_window_reads_only_and_says_so(window, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    again, other, notes = reopened(keeper.study.path)
    assert other.study.read_only
    assert any("for reading only" in text for text in notes)
    assert "read-only" in other.state
    (defects,) = of_kind(again, "defects")
    edits = len(keeper.study.history())
    editor_of(defects).relabel("DV", [0])
    other.save_window()
    assert len(keeper.study.history()) == edits
    own = save_as(again, tmp_path / "own", RunConfig())
    assert own.study.edited_columns("alloy") <= 1
    assert own.study.images == ("alloy",)
    assert own.study.files[0].absolute == str(tmp_path / "alloy.tif")
    own.close()


def test_what_the_command_line_made_opens_too(qapp, made, tmp_path):
    from napari_defectstrain.study import create_study

    write_tiff(tmp_path / "alloy.tif", made.image.data, made.image.pixel_size_pm)
    study = create_study(tmp_path / "s", RunConfig(), [tmp_path / "alloy.tif"])
    study.set_sites("alloy", true_sites(made))
    study.close()
    viewer, keeper, _ = reopened(study.path)
    assert viewer.layers[0].name == "alloy"
    np.testing.assert_allclose(viewer.layers[0].scale, made.image.pixel_size_pm)
    (defects,) = of_kind(viewer, "defects")
    assert len(corrected_planes(viewer, defects)[0]) == len(made.position_px)
    keeper.close()


def test_a_moved_image_is_found_and_a_lost_one_asked_about(window, tmp_path, monkeypatch):
    keeper = save_as(window, tmp_path / "sub" / "mine", RunConfig())
    keeper.close()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "alloy.tif", tmp_path / "sub" / "renamed.tif")
    viewer, other, notes = reopened(keeper.study.path)
    assert any("was moved, and found at" in text for text in notes)
    assert len(of_kind(viewer, "defects")) == 1
    other.close()
    (tmp_path / "sub" / "renamed.tif").unlink()
    asked = []
    monkeypatch.setattr(forms, "ask", lambda *a: asked.append(a[2]) or "Open without them")
    viewer, other, notes = reopened(keeper.study.path)
    assert len(asked) == 1
    assert len(of_kind(viewer, "defects")) == 0
    assert any("gone" in text for text in notes)
    other.close()


def test_what_is_no_study_is_refused(qapp, tmp_path):
    with pytest.raises(DefectStrainError, match="expected"):
        open_into(ViewerModel(), tmp_path)


def by_hand(study):
    return [e for e in study.history() if e.by == "manual" and e.what in ("columns", "regions")]


def alloys(made, columns=None):
    """A viewer with pixels that have no file, and their detection."""
    viewer = ViewerModel()
    pixel = made.image.pixel_size_pm
    viewer.add_image(made.image.data, name="alloy", scale=(pixel, pixel), units=("pm", "pm"))
    defects = detect(viewer, viewer.layers[0], columns or true_sites(made))
    return viewer, defects


def other_columns(made):
    """Another answer: every SeTe is a vacancy."""
    sites = true_sites(made)
    index = np.where(sites.class_name == "SeTe", sites.class_names.index("SV"), sites.class_index)
    return replace(sites, class_index=index, probabilities=np.eye(len(sites.class_names))[index])


def counted(sites, name):
    return int((sites.class_name == name).sum())


@pytest.mark.parametrize("same_file", [False, True])
def test_a_study_beside_another_one_gets_none_of_its_edits(made, tmp_path, monkeypatch, same_file):
    monkeypatch.setattr(forms, "ask", lambda *_: "Keep it beside")
    (mine, defects), (others, _) = alloys(made), alloys(made, other_columns(made))
    if same_file:
        write_tiff(tmp_path / "alloy.tif", made.image.data, made.image.pixel_size_pm)
        for viewer in (mine, others):
            viewer.layers["alloy"].metadata[KEY] = {"path": str(tmp_path / "alloy.tif")}
    save_as(others, tmp_path / "b", RunConfig()).close()
    save_as(mine, tmp_path / "a", RunConfig())
    keeper, _ = open_into(mine, tmp_path / "b.defectstrain")
    study, back = keeper.study, of_kind(mine, "defects")[-1]
    assert back is not defects
    editor_of(back).relabel("DV", [0])
    assert [e.image for e in by_hand(study)] == ["alloy"]
    same_columns(study.sites("alloy"), corrected_planes(mine, back)[0])
    mine.layers.move(mine.layers.index(defects), len(mine.layers))  # theirs lies on top
    editor_of(defects).relabel("DV", [0])
    same_columns(study.sites("alloy"), corrected_planes(mine, back)[0])
    (new,) = set(study.images) - {"alloy"}
    same_columns(study.sites(new), corrected_planes(mine, defects)[0])
    keeper.close()


def test_another_layer_on_top_is_another_answer_and_no_edit(made, tmp_path):
    viewer, first = alloys(made)
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    study = keeper.study
    second = detect(viewer, viewer.layers["alloy"], other_columns(made))
    keeper.sync()
    same_columns(study.sites("alloy"), other_columns(made))
    viewer.layers.move(viewer.layers.index(second), 0)
    keeper.sync()
    same_columns(study.sites("alloy"), true_sites(made))
    viewer.layers.move(viewer.layers.index(second), len(viewer.layers))
    keeper.sync()
    viewer.layers.remove(second)
    keeper.sync()
    same_columns(study.model_sites("alloy"), true_sites(made))
    same_columns(study.sites("alloy"), true_sites(made))
    assert by_hand(study) == []
    editor_of(first).relabel("DV", [0])
    assert len(by_hand(study)) == 1
    keeper.close()


@pytest.mark.parametrize("what", ["no study", "cancelled", "itself, cancelled"])
def test_a_study_that_cannot_be_opened_leaves_the_open_one(made, tmp_path, monkeypatch, what):
    viewer, defects = alloys(made)
    keeper = save_as(viewer, tmp_path / "a", RunConfig())
    path = keeper.study.path
    if what == "cancelled":
        save_as(alloys(made)[0], tmp_path / "b", RunConfig()).close()
        path = tmp_path / "b.defectstrain"
    monkeypatch.setattr(forms, "ask", lambda *_: "Close what is open")
    if what == "no study":
        with pytest.raises(DefectStrainError):
            open_into(viewer, tmp_path)
    else:
        monkeypatch.setattr(opening, "_files_settled", lambda *_: False)
        assert open_into(viewer, path) == (None, [])
    still = keeper_of(viewer)
    assert still.study.path == keeper.study.path
    assert names_of(viewer.layers["alloy"]) == ["alloy"]
    editor_of(defects).relabel("DV", [0])
    with open_study(still.study.path, read_only=True) as study:
        assert study.edited_columns("alloy") == 1
    still.close()


def test_a_study_that_cannot_be_made_leaves_the_open_one(made, tmp_path, monkeypatch):
    viewer, defects = alloys(made)
    keeper = save_as(viewer, tmp_path / "a", RunConfig())

    def full(_keeper):
        raise DefectStrainError("the disk is full")

    monkeypatch.setattr(keeper_module.StudyKeeper, "take_all", full)
    with pytest.raises(DefectStrainError, match="full"):
        save_as(viewer, tmp_path / "b", RunConfig())
    still = keeper_of(viewer)
    editor_of(defects).relabel("DV", [0])
    assert still.study.path == keeper.study.path
    assert still.study.edited_columns("alloy") == 1
    still.close()


def test_what_is_found_in_a_copy_of_an_image_is_of_the_copy(made, tmp_path):
    viewer, defects = alloys(made)
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    study, image = keeper.study, viewer.layers["alloy"]
    viewer.layers.selection = {image}
    duplicate(viewer.layers)
    twin = viewer.layers["alloy copy"]
    twin.data = twin.data[::-1].copy()
    found = detect(viewer, twin, other_columns(made))
    keeper.sync()
    assert len(study.images) == 2
    same_columns(study.sites("alloy"), true_sites(made))
    same_columns(study.sites(names_of(twin)[0]), other_columns(made))
    image.data = image.data[:, ::-1].copy()  # the same of other pixels in the layer itself
    editor_of(defects).relabel("DV", [0])
    assert study.edited_columns("alloy") == 0
    assert len(study.images) == 3
    assert found is not defects
    keeper.close()


def test_an_area_painted_as_crystal_is_no_edit_of_its_columns(made, tmp_path):
    viewer, defects = alloys(made)
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    stripe = true_sites(made).position_px[:, 1] >= 230
    assert (stripe & (true_sites(made).class_index > 1)).any()
    for _ in range(2):
        regions = regions_of(viewer, defects)
        regions.data = np.ones_like(regions.data)
        keeper.sync()
        same_columns(keeper.study.sites("alloy"), true_sites(made))
        regions.data = np.where(np.arange(SIZE) >= 230, 252, regions.data).astype(
            regions.data.dtype
        )
        keeper.close()
        viewer, keeper, _ = reopened(keeper.study.path)
        (defects,) = of_kind(viewer, "defects")
    viewer.layers.remove(regions_of(viewer, defects))
    keeper.sync()
    same_columns(keeper.study.sites("alloy"), true_sites(made))
    same_columns(corrected_planes(viewer, defects)[0], true_sites(made))
    assert [e for e in by_hand(keeper.study) if e.what == "columns"] == []
    keeper.close()


def test_a_pixel_size_that_is_set_is_the_studys(window, made, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    study, stated = keeper.study, made.image.pixel_size_pm
    keeper.sync()
    assert study.files[0].images[0].given_pm is None
    calibrate(window, window.layers["alloy"], 21.0, "hand")
    assert keeper._soon.isActive()  # it will be written soon
    keeper.sync()
    (image,), _ = study.load_images()
    assert (image.pixel_size_pm, image.metadata["calibration"]) == (21.0, "given")
    copy = tmp_path / "as after a crash.defectstrain"  # its layers are those of before
    shutil.copytree(study.path, copy, ignore=lambda *_: ["lock.json"])
    again, other, _ = reopened(copy)
    for layer in (again.layers["alloy"], of_kind(again, "defects")[0]):
        assert pixel_size_pm(layer) == pytest.approx(21.0)
    edits = len(other.study.history())
    other.sync()
    assert len(other.study.history()) == edits
    calibrate(again, again.layers["alloy"], 20.5, "lattice", 328.0)
    other.sync()
    (image,), _ = other.study.load_images()
    assert (image.pixel_size_pm, image.metadata["calibration"]) == (20.5, "lattice")
    calibrate(again, again.layers["alloy"], stated, "hand")
    other.sync()
    assert other.study.files[0].images[0].given_pm is None
    assert other.study.load_images()[0][0].pixel_size_pm == pytest.approx(stated)
    other.close()
    keeper.close()


def test_the_last_stroke_is_kept_when_the_window_closes(made, tmp_path):
    viewer, defects = alloys(made)
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    regions = regions_of(viewer, defects)
    regions.data = np.where(np.arange(SIZE) < 20, 253, regions.data).astype(regions.data.dtype)
    keeper.eventFilter(keeper, QEvent(QEvent.Type.Close))
    viewer.layers.clear()  # as closing a viewer does
    keeper.close()
    with open_study(keeper.study.path, read_only=True) as study:
        assert (study.regions("alloy").labels[:, :20] == 253).all()


def test_pixels_without_a_file_are_kept_in_the_study(qapp, made, tmp_path):
    viewer = ViewerModel()
    pixel = made.image.pixel_size_pm
    viewer.add_image(made.image.data, name="alloy", scale=(pixel, pixel), units=("pm", "pm"))
    detect(viewer, viewer.layers[0], true_sites(made))
    keeper = save_as(viewer, tmp_path / "mine", RunConfig())
    keeper.close()
    again, other, _ = reopened(keeper.study.path)
    assert_array_equal(again.layers["alloy"].data, made.image.data)
    assert again.layers["alloy"].metadata[KEY]["study"] == ["alloy"]
    other.close()


def test_layers_that_napari_takes_away_at_its_end_are_no_wish(window, made, tmp_path):
    average(window, made)
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    window.layers.clear()  # as closing a viewer does
    keeper.save_window()
    keeper.close()
    again, other, _ = reopened(keeper.study.path)
    assert of_kind(again, "average")
    other.close()


def test_a_view_that_is_strange_is_left_out(window, tmp_path):
    keeper = save_as(window, tmp_path / "mine", RunConfig())
    keeper.study.set_window(viewer={"camera": 3, "step": ["a"]}, widgets=["none"])
    (keeper.study.path / "window.layers.zip").write_bytes(b"PK nonsense")
    keeper.close()
    again, other, notes = reopened(keeper.study.path)
    assert any("are lost" in text for text in notes)
    assert [kind(la) for la in again.layers] == ["", "regions", "sites", "defects"]
    other.close()


def test_a_widget_changes_its_own_parameters_of_a_study(window, tmp_path):
    config = RunConfig().replace(bootstrap=123)
    keeper = save_as(window, tmp_path / "mine", config)
    detect = RunConfig().detect.replace(thresholds=(0.6, 0.5, 0.5, 0.5))
    shown = RunConfig(detect=detect)
    buttons = CopyButtons(window, lambda: (shown, []), print, ("material", "detect"), "detect")
    assert buttons.command_text().endswith(str(keeper.study.path))
    assert "nds.open_study" in buttons.python_text()
    assert keeper.study.config.detect.thresholds[0] == 0.6
    assert keeper.study.config.bootstrap == 123
    keeper.close()
