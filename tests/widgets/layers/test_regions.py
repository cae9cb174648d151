"""The layer of regions: where it lies, what it says, how edits of it count, and what is asked."""

import re

import numpy as np
import pytest
from napari.components import ViewerModel
from small_alloy import simulated, true_sites
from widget_stage import PIXEL_PM, add_region, answers, layer_named, run, use_truth

from napari_defectstrain.crystal.regions import CONTAMINATED, HOLE, NOT_2H, Regions
from napari_defectstrain.types import OTHER, DefectStrainError
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.detect.widget import NEW_LAYERS, REPLACE, DetectWidget
from napari_defectstrain.widgets.layers.regions import (
    KIND_COLOURS,
    colormap,
    detection_put_in_steps,
    divided_planes,
    edited,
    regions_of,
)
from napari_defectstrain.widgets.layers.sites import calibrate, note, provenance

NM2 = 384 * 384 * (PIXEL_PM * 1e-3) ** 2


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


@pytest.fixture
def stage(qtbot, monkeypatch):
    """One detected region, without a window."""
    viewer = ViewerModel()
    made, image = add_region(viewer, rotate=30.0, translate=(100.0, 50.0))
    use_truth(monkeypatch, made)
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    return viewer, widget, image


def paint(layer, rows, label):
    """Paint whole rows as a hand would: through the layer, so that it can be undone."""
    layer.visible = True
    corners = np.array([[rows[0], 0], [rows[0], 383], [rows[1], 383], [rows[1], 0]])
    layer.paint_polygon(corners, label)


def test_regions_lie_between_image_and_points_at_its_place(stage):
    viewer, _, image = stage
    names = [layer.name for layer in viewer.layers]
    assert names == ["region", "region · regions", "region · sites", "region · defects"]
    layer = layer_named(viewer, "region · regions")
    for attribute in ("scale", "translate", "rotate"):
        np.testing.assert_allclose(getattr(layer, attribute), getattr(image, attribute))
    assert layer.units == image.units
    assert layer.data.shape == image.data.shape
    assert (layer.data == 1).all()
    assert not layer.visible  # the whole image is one domain: nothing to see
    assert note(layer)["parameters"]["contamination"] == 0.35
    assert regions_of(viewer, layer_named(viewer, "region · defects")) is layer


def test_hovering_names_the_region(stage):
    viewer, _, _ = stage
    layer = layer_named(viewer, "region · regions")
    layer.visible = True
    layer.data[:10] = HOLE
    said = layer.get_status(layer.data_to_world((50, 50)), world=True)["coordinates"]
    assert "2H domain 1" in said
    found = float(re.search(r"orientation \(deg\): ([\d.]+)", said).group(1))
    assert found == pytest.approx(8.0, abs=0.1)  # as simulated
    assert "hole" in layer.get_status(layer.data_to_world((5, 5)), world=True)["coordinates"]


def test_colours_are_fixed(stage):
    look = colormap()
    for label, colour in KIND_COLOURS.items():
        wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        np.testing.assert_allclose(look.map(label)[:3], wanted, atol=1e-6)
    assert look.map(0)[3] == 0
    assert look.map(2)[3] == look.map(250)[3] == 1
    assert look.map(1)[3] == 0  # the main domain must not veil the image


def test_a_spot_of_dirt_is_outlined_and_the_rest_left_clear(stage):
    viewer, _, _ = stage
    layer = layer_named(viewer, "region · regions")
    layer.visible = True
    layer.data[100:140, 100:140] = CONTAMINATED
    layer.refresh()
    shown = layer.colormap.map(layer._slice.image.view)
    assert shown[120, 100, 3] > 0
    assert shown[120, 120, 3] == 0
    assert shown[300, 300, 3] == 0


def test_painted_regions_count_at_once_and_undo(stage, qtbot):
    viewer, widget, _ = stage
    layer = layer_named(viewer, "region · regions")
    assert f"{NM2:.1f} nm² usable" in widget.edit.population.text()
    before = [label.text() for label in widget.edit.count_labels]
    paint(layer, (0, 191), CONTAMINATED)
    half = layer.data.size - int((layer.data == CONTAMINATED).sum())
    area = half * (PIXEL_PM * 1e-3) ** 2
    qtbot.waitUntil(
        lambda: f"{area:.1f} nm² usable" in widget.edit.population.text(), timeout=60_000
    )
    perfect = int(widget.edit.count_labels[0].text())
    assert perfect == pytest.approx(int(before[0]) / 2, rel=0.1)
    layer.undo()
    qtbot.waitUntil(
        lambda: f"{NM2:.1f} nm² usable" in widget.edit.population.text(), timeout=60_000
    )
    assert [label.text() for label in widget.edit.count_labels] == before


def test_edited_regions_reach_averaging(stage):
    viewer, _, _ = stage
    layer, defects = (
        layer_named(viewer, "region · regions"),
        layer_named(viewer, "region · defects"),
    )
    layer.data[:192] = NOT_2H
    layer.data[192:, 192:] = 2
    (sites,), (regions,) = divided_planes(viewer, defects)
    assert [d.index for d in regions.domains] == [1, 2]
    upper = np.rint(sites.position_px[:, 0]) < 192
    assert (sites.class_index[upper] == OTHER).all()
    assert not (sites.class_index[~upper] == OTHER).any()


def test_without_the_layer_the_whole_image_counts(stage):
    viewer, widget, _ = stage
    viewer.layers.remove("region · regions")
    (sites,), (regions,) = divided_planes(viewer, layer_named(viewer, "region · defects"))
    assert regions is None
    assert not sites.is_other.any()
    widget.edit.update_counts()
    assert f"{NM2:.1f} nm² usable" in widget.edit.population.text()


def test_labels_that_are_no_regions_are_refused(stage):
    viewer, widget, _ = stage
    layer, defects = (
        layer_named(viewer, "region · regions"),
        layer_named(viewer, "region · defects"),
    )
    layer.data = np.full((384, 384), 255, dtype=np.uint8)
    with pytest.raises(DefectStrainError, match="region · regions: .*got labels from 255 to 255"):
        divided_planes(viewer, defects)
    layer.data = np.ones((100, 100), dtype=np.uint8)
    with pytest.raises(DefectStrainError, match=r"expected that of the image, \(384, 384\)"):
        divided_planes(viewer, defects)


def test_a_new_detection_asks_before_edited_regions_are_replaced(stage, qtbot, monkeypatch):
    viewer, widget, _ = stage
    layer = layer_named(viewer, "region · regions")
    assert not edited(layer)
    run(qtbot, widget)  # nothing was edited: nothing is asked
    assert layer_named(viewer, "region · regions") is layer
    layer.data[:50] = HOLE
    assert edited(layer)
    asked = answers(monkeypatch, None, REPLACE)
    run(qtbot, widget)
    assert "region · regions was edited" in asked[0][1]
    assert (layer.data[:50] == HOLE).all()
    run(qtbot, widget)
    assert len(viewer.layers) == 4
    assert (layer.data == 1).all()
    assert not edited(layer)


def test_keeping_edited_regions_makes_numbered_layers(stage, qtbot, monkeypatch):
    viewer, widget, _ = stage
    layer = layer_named(viewer, "region · regions")
    layer.data[:50] = HOLE
    answers(monkeypatch, NEW_LAYERS)
    run(qtbot, widget)
    names = [la.name for la in viewer.layers]
    assert "region · regions [1]" in names
    assert (layer.data[:50] == HOLE).all()
    new = layer_named(viewer, "region · regions [1]")
    assert regions_of(viewer, layer_named(viewer, "region · defects [1]")) is new
    assert regions_of(viewer, layer_named(viewer, "region · defects")) is layer


def test_calibrating_the_image_takes_its_regions_along(stage):
    viewer, _, image = stage
    calibrate(viewer, image, 25.0, "lattice")
    np.testing.assert_allclose(layer_named(viewer, "region · regions").scale, 25.0)


def test_stacks_have_regions_on_each_plane(qtbot, monkeypatch):
    viewer = ViewerModel()
    made = [add_region(ViewerModel(), seed=k, name=f"r{k}")[0] for k in (1, 2)]
    stack = viewer.add_image(
        np.stack([m.image.data for m in made]),
        name="stack",
        scale=(1, PIXEL_PM, PIXEL_PM),
        units=("pixel", "pm", "pm"),
    )
    use_truth(monkeypatch, *made)
    answers(monkeypatch, "Separate images")
    widget = DetectWidget(viewer)
    qtbot.addWidget(widget)
    run(qtbot, widget)
    layer = layer_named(viewer, "stack · regions")
    assert layer.data.shape == stack.data.shape
    layer.data[1, :192] = HOLE
    sites, regions = divided_planes(viewer, layer_named(viewer, "stack · defects"))
    assert [r.usable_px for r in regions] == [384 * 384, 192 * 384]
    assert len(sites) == 2
    widget.edit.update_counts()
    assert f"{1.5 * NM2:.1f} nm² usable" in widget.edit.population.text()


def test_defects_of_an_area_painted_as_crystal_are_as_they_were_found(qapp):
    made, viewer = simulated(seed=5, size=192, name="alloy"), ViewerModel()
    labels = np.ones((192, 192), dtype=np.int16)
    labels[:, 60:] = NOT_2H
    image = viewer.add_image(made.image.data, name="alloy")
    found = true_sites(made)
    about = provenance("defects", {}), provenance("regions", {})
    put = [found], [Regions(labels, ())], *about
    defects = at_once(detection_put_in_steps(viewer, image, None, *put))
    inside = found.position_px[:, 1] >= 60
    assert (inside & (found.class_index > 1)).any()

    def classes():
        (columns,), _ = divided_planes(viewer, defects, measure=False)
        assert len(columns) == len(found)
        assert (columns.source == found.source).all()
        return columns.class_index

    assert (classes()[inside] == OTHER).all()
    regions = regions_of(viewer, defects)
    regions.data = np.ones_like(labels)
    np.testing.assert_array_equal(classes(), found.class_index)
    viewer.layers.remove(regions)
    np.testing.assert_array_equal(classes(), found.class_index)
    again = at_once(detection_put_in_steps(viewer, image, defects, *put))
    viewer.layers.remove(regions_of(viewer, again))
    np.testing.assert_array_equal(classes(), found.class_index)
