"""Files of columns and regions open onto their image, in napari's own way of opening files."""

from pathlib import Path

import napari
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from numpy.testing import assert_allclose, assert_array_equal
from small_alloy import simulated, true_sites

from napari_defectstrain.io.files import sites_table, write_table, write_tiff
from napari_defectstrain.widgets.average.live_counts import gather
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.layers import layer_files, readers
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.regions import detection_put_in_steps, regions_of
from napari_defectstrain.widgets.layers.sites import (
    AWAITING,
    corrected_planes,
    kind,
    layer_id,
    note,
    provenance,
)

PLUGIN = "napari-defectstrain"
SIZE = 256


@pytest.fixture(scope="module")
def made():
    return simulated(seed=5, size=SIZE, name="alloy")


@pytest.fixture
def viewer(monkeypatch):
    """The model of a viewer, which readers take for the one on the screen."""
    PluginManager.instance().discover()
    model = ViewerModel()
    for module in (readers, layer_files):
        monkeypatch.setattr(module, "present_viewer", lambda: model)
    return model


@pytest.fixture
def told():
    """What napari tells its user during the test."""
    seen = []

    def remember(event):
        seen.append(str(event.message))

    notification_manager.notification_ready.connect(remember)
    yield seen
    notification_manager.notification_ready.disconnect(remember)


def of_kind(viewer, what):
    return [la for la in viewer.layers if kind(la) == what]


def the_image(viewer, made, name="alloy", **more):
    pixel = made.image.pixel_size_pm
    look = {"scale": (pixel, pixel), "units": ("pm", "pm"), "translate": (300.0, 40.0)}
    return viewer.add_image(made.image.data, name=name, **{**look, **more})


def test_a_table_of_columns_opens_onto_its_image(viewer, made, tmp_path, told):
    image = the_image(viewer, made)
    sites = true_sites(made)
    write_table(tmp_path / "alloy.sites.csv", sites_table(sites, made.image.pixel_size_pm))
    viewer.open(tmp_path / "alloy.sites.csv", plugin=PLUGIN)
    (defects,), (columns,) = of_kind(viewer, "defects"), of_kind(viewer, "sites")
    for layer in (defects, columns, regions_of(viewer, defects)):
        assert_array_equal(layer.scale, image.scale)
        assert_array_equal(layer.translate, image.translate)
        assert layer.units == image.units
    assert not columns.editable
    assert not columns.visible
    assert note(defects)["image"] == layer_id(image)
    assert list(defects.features["class"].cat.categories) == list(sites.class_names[1:])
    assert defects.border_color_mode == "cycle"
    assert told == [f"alloy.sites.csv: {len(sites)} columns opened onto alloy (table of columns)"]


def test_opened_columns_can_be_edited_and_gathered_for_averages(viewer, made, tmp_path):
    the_image(viewer, made)
    sites = true_sites(made)
    write_table(tmp_path / "alloy.sites.csv", sites_table(sites, None))
    viewer.open(tmp_path / "alloy.sites.csv", plugin=PLUGIN)
    (defects,) = of_kind(viewer, "defects")
    row = int(np.flatnonzero(defects.features["class"] == "SeTe")[0])
    editor_of(defects).relabel("DV", [row])
    gathered = gather(viewer, defects)
    assert len(gathered.sites[0]) == len(sites)
    changed = gathered.sites[0].class_name != sites.class_name
    assert changed.sum() == 1
    assert gathered.sites[0].class_name[changed] == ["DV"]
    assert gathered.sites[0].source[changed] == ["manual"]
    assert gathered.regions[0] is not None


def test_the_image_beside_the_table_is_opened_with_it(viewer, made, tmp_path):
    write_tiff(tmp_path / "alloy.tif", made.image.data, made.image.pixel_size_pm)
    write_table(tmp_path / "alloy.sites.csv", sites_table(true_sites(made), None))
    viewer.open(tmp_path / "alloy.sites.csv", plugin=PLUGIN)
    assert [la.name for la in viewer.layers][0] == "alloy"
    (defects,) = of_kind(viewer, "defects")
    assert len(corrected_planes(viewer, defects)[0]) == len(made.position_px)


def save_as_napari_does(layer, path):
    """The table that napari's own *Save Selected Layers* writes for points."""
    from napari_builtins.io import napari_write_points

    napari_write_points(str(path), *layer.as_layer_data_tuple()[:2])


def test_points_saved_by_napari_correct_the_detection_again(viewer, made, tmp_path, told):
    image = the_image(viewer, made)
    about = provenance("defects", {"material": "WSe2"})
    put = detection_put_in_steps(viewer, image, None, [true_sites(made)], [whole()], about, about)
    defects = at_once(put)
    editor_of(defects).relabel("DV", [0, 1])
    save_as_napari_does(defects, tmp_path / "mine.csv")
    viewer.open(tmp_path / "mine.csv", plugin=PLUGIN)
    one, other = of_kind(viewer, "defects")
    assert_allclose(one.data, other.data)
    assert list(one.features["class"]) == list(other.features["class"])
    assert list(one.features["source"]) == list(other.features["source"])
    before, after = (corrected_planes(viewer, la)[0] for la in (one, other))
    assert_array_equal(before.class_name, after.class_name)
    assert any("corrects the columns" in text for text in told)


def whole():
    from napari_defectstrain.crystal.regions import Regions

    return Regions(np.ones((SIZE, SIZE), dtype=np.int16), ())


def test_points_without_a_detection_wait_for_it(viewer, made, tmp_path, told):
    image = the_image(viewer, made, name="another name")
    sites = true_sites(made)
    some = sites.subset(sites.class_index > 1)
    table = pd.DataFrame(some.position_px, columns=["axis-0", "axis-1"])
    table["class"], table["probability"], table["source"] = some.class_name, 0.9, "manual"
    table.to_csv(tmp_path / "mine.csv", index_label="index")
    viewer.open(tmp_path / "mine.csv", plugin=PLUGIN)
    (defects,) = of_kind(viewer, "defects")
    assert note(defects)[AWAITING]
    assert any("press Detect columns" in text for text in told)
    # the detector misses some, and takes others for perfect: the points say so
    poor = sites.subset(np.arange(len(sites)) % 7 != 0)
    about = provenance("defects", {"material": "WSe2"})
    again = at_once(detection_put_in_steps(viewer, image, defects, [poor], [whole()], about, about))
    assert again is defects
    assert_allclose(defects.data, some.position_px)
    found = corrected_planes(viewer, defects)[0]
    for name in ("SeTe", "2Te", "SV", "DV"):
        assert (found.class_name == name).sum() == (some.class_name == name).sum()


def test_regions_open_onto_their_image(viewer, made, tmp_path):
    the_image(viewer, made)
    labels = np.ones((SIZE, SIZE), dtype=np.int16)
    labels[:50] = 103
    write_tiff(tmp_path / "alloy.regions.tif", labels, None)
    viewer.open(tmp_path / "alloy.regions.tif", plugin=PLUGIN)
    (layer,) = of_kind(viewer, "regions")
    assert_array_equal(layer.data, labels)
    assert_array_equal(layer.scale, viewer.layers["alloy"].scale)
    assert layer.visible
    assert layer.contour


@pytest.mark.parametrize("name", ["x.sites.csv", "x.csv", "x.regions.tif", "x.layers.zip"])
def test_what_fits_nothing_is_said_and_adds_nothing(viewer, made, tmp_path, told, name):
    if name.endswith("tif"):
        write_tiff(tmp_path / name, np.ones((64, 64), dtype=np.int16), None)
    elif name.endswith("zip"):
        (tmp_path / name).write_bytes(b"PK nothing")
    else:
        write_table(tmp_path / name, sites_table(true_sites(made), None))
    assert viewer.open(tmp_path / name, plugin=PLUGIN) == []
    assert len(viewer.layers) == 0
    assert len(told) == 1
    assert "\n" not in told[0]


def test_everything_saved_in_napari_comes_back(viewer, made, tmp_path):
    image = the_image(viewer, made)
    about = provenance("defects", {"material": "WSe2"})
    put = detection_put_in_steps(viewer, image, None, [true_sites(made)], [whole()], about, about)
    at_once(put)
    (path,) = viewer.layers.save(str(tmp_path / "mine.layers.zip"), plugin=PLUGIN)
    assert Path(path).name == "mine.layers.zip"
    before = [(la.name, np.array(la.data)) for la in viewer.layers]
    viewer.layers.clear()
    viewer.open(path, plugin=PLUGIN)
    for (name, data), layer in zip(before, viewer.layers, strict=True):
        assert layer.name == name
        assert_array_equal(layer.data, data)
    (defects,) = of_kind(viewer, "defects")
    assert defects.border_color_mode == "cycle"
    assert len(corrected_planes(viewer, defects)[0]) == len(made.position_px)


def test_defects_saved_alone_are_tied_to_their_image_again(viewer, made, tmp_path):
    image = the_image(viewer, made)
    about = provenance("defects", {"material": "WSe2"})
    put = detection_put_in_steps(viewer, image, None, [true_sites(made)], [whole()], about, about)
    defects = at_once(put)
    viewer.layers.selection = {defects}
    viewer.layers.save(str(tmp_path / "mine.layers.zip"), selected=True, plugin=PLUGIN)
    viewer.layers.clear()
    image = the_image(viewer, made)
    viewer.open(tmp_path / "mine.layers.zip", plugin=PLUGIN)
    (back,) = of_kind(viewer, "defects")
    assert note(back)["image"] == layer_id(image)
    assert note(back)[AWAITING]


assert napari  # napari registers its own writers
