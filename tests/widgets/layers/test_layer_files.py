"""Layers survive a file with everything they hold: places, units, features, colours, ties."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.colormaps import Colormap
from numpy.testing import assert_array_equal
from small_alloy import simulated, true_sites

from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.layers.layer_files import read_records, write_records
from napari_defectstrain.widgets.layers.records import (
    record_of,
    settle_all,
    tuple_of,
    with_new_ids,
)
from napari_defectstrain.widgets.layers.regions import detection_put_in_steps, regions_of
from napari_defectstrain.widgets.layers.sites import (
    corrected_planes,
    kind,
    layer_by_id,
    layer_id,
    note,
    provenance,
)

SIZE = 128
PLACE = {
    "scale": (20.74, 20.74),
    "translate": (500.0, 100.0),
    "units": ("pm", "pm"),
    "axis_labels": ("y", "x"),
}


@pytest.fixture
def viewer():
    """A detection of a small image: image, sites, defects, regions."""
    made = simulated(seed=3, size=SIZE, name="region")
    sites = true_sites(made)
    model = ViewerModel()
    image = model.add_image(made.image.data, name="region", colormap="magma", **PLACE)
    labels = np.ones((SIZE, SIZE), dtype=np.int16)
    labels[:, 100:] = 101
    about = provenance("defects", {"material": "WSe2"}, "ab12")
    regions = [label_regions(labels, sites)]
    put = detection_put_in_steps(
        model, image, None, [sites], regions, about, provenance("regions", {})
    )
    at_once(put)
    return model


def reopened(viewer, path):
    """The layers of a viewer from a file, in a new viewer."""
    write_records(path, [record_of(la) for la in viewer.layers])
    records = with_new_ids(read_records(path))
    again = ViewerModel()
    for record in records:
        again.add_layer(Layer.create(*tuple_of(record)))
    settle_all(again, records)
    return again


def same(one, other):
    """Two layers look alike, and hold the same."""
    assert type(one) is type(other)
    assert one.name == other.name
    assert_array_equal(one.data, other.data)
    assert np.asarray(one.data).dtype == np.asarray(other.data).dtype
    for key in ("scale", "translate", "rotate", "shear"):
        assert_array_equal(getattr(one, key), getattr(other, key))
    for key in ("units", "axis_labels", "opacity", "visible", "editable", "blending"):
        assert getattr(one, key) == getattr(other, key), key
    if hasattr(one, "features"):
        pd.testing.assert_frame_equal(one.features, other.features, check_column_type=False)
    if hasattr(one, "symbol"):
        assert_array_equal(one.symbol, other.symbol)
        assert_array_equal(one.size, other.size)
        assert_array_equal(one.shown, other.shown)
        assert_array_equal(one.border_width, other.border_width)
    for part in ("face", "border", "edge"):
        if hasattr(one, f"{part}_color"):
            np.testing.assert_allclose(
                getattr(one, f"{part}_color"), getattr(other, f"{part}_color"), atol=1e-6
            )
            mode = f"{part}_color_mode"
            assert getattr(one, mode, None) == getattr(other, mode, None)


def test_a_detection_comes_back_as_it_was(viewer, tmp_path):
    defects = next(la for la in viewer.layers if kind(la) == "defects")
    again = reopened(viewer, tmp_path / "all.layers.zip")
    assert len(again.layers) == 4
    for one, other in zip(viewer.layers, again.layers, strict=True):
        same(one, other)
        assert layer_id(one) != layer_id(other)
    back = next(la for la in again.layers if kind(la) == "defects")
    assert back.features["class"].dtype == defects.features["class"].dtype
    before, after = corrected_planes(viewer, defects)[0], corrected_planes(again, back)[0]
    assert_array_equal(before.position_px, after.position_px)
    assert_array_equal(before.class_name, after.class_name)
    assert regions_of(again, back).contour == regions_of(viewer, defects).contour
    assert layer_by_id(again, note(back)["image"]).colormap.name == "magma"


def test_hidden_regions_come_back_outlined_once_they_are_shown(viewer, tmp_path):
    regions = next(la for la in viewer.layers if kind(la) == "regions")
    regions.visible, regions.contour = False, 0  # as where nothing but one domain was found
    back = next(
        la for la in reopened(viewer, tmp_path / "all.layers.zip").layers if kind(la) == "regions"
    )
    back.visible = True
    assert back.contour > 0


def test_colours_of_ones_own_come_back(tmp_path):
    viewer = ViewerModel()
    viewer.add_labels(np.arange(30).reshape(5, 6), name="plain")
    viewer.add_labels(np.arange(30).reshape(5, 6), name="shuffled").new_colormap(seed=7)
    steps = Colormap([[0, 0, 0, 1], [1, 0, 0, 1]], controls=[0, 0.4, 1], interpolation="zero")
    viewer.add_image(np.arange(30.0).reshape(5, 6), colormap=steps, name="steps")
    again = reopened(viewer, tmp_path / "all.layers.zip")
    for name in ("plain", "shuffled"):
        one, other = (v.layers[name].colormap.map(np.arange(20)) for v in (viewer, again))
        assert_array_equal(one, other)
    shown = np.linspace(0, 1, 11)
    assert_array_equal(again.layers["steps"].colormap.map(shown), steps.map(shown))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 9), (3, 1, 9), (2, 1, 8, 9), (1, 9)])
@pytest.mark.parametrize("old", [False, True])
def test_axes_of_one_plane_stay(tmp_path, shape, old):
    viewer = ViewerModel()
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    place = {"scale": np.arange(1.0, len(shape) + 1), "translate": np.ones(len(shape))}
    viewer.add_image(data, **place)
    viewer.add_labels(data.astype(np.int16), **place)
    path = tmp_path / "all.layers.zip"
    if old:  # as files were before they kept shapes: leading axes are known by the scale
        if 1 in shape[1:] and shape[0] > 1:
            pytest.skip("not to be known from such files")
        records = [record_of(la) for la in viewer.layers]
        write_records(path, records)
        without_shapes(path)
        found = read_records(path)
        assert [np.shape(record.data) for record in found] == [shape, shape]
        return
    again = reopened(viewer, path)
    for one, other in zip(viewer.layers, again.layers, strict=True):
        same(one, other)


def without_shapes(path):
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(files["layers.json"])
    for entry in content["layers"]:
        del entry["shape"]
    files["layers.json"] = json.dumps(content).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def test_a_class_keeps_its_colour_after_it_came_back(viewer, tmp_path):
    again = reopened(viewer, tmp_path / "all.layers.zip")
    colour = {}
    for model in (viewer, again):
        layer = next(la for la in model.layers if kind(la) == "defects")
        layer.features.loc[0, "class"] = "DV"
        layer.refresh_colors()
        colour[model is viewer] = layer.border_color[0]
    assert_array_equal(colour[True], colour[False])


def test_vectors_text_and_maps_come_back(tmp_path):
    viewer = ViewerModel()
    viewer.add_vectors(
        np.arange(12.0).reshape(3, 2, 2) / 7,
        features={"magnitude_pm": [1.0, 2.0, 4.0], "sublattice": ["metal", "metal", "chalcogen"]},
        edge_color="magnitude_pm",
        edge_colormap="plasma",
        edge_contrast_limits=(0.0, 4.0),
        length=30.0,
        vector_style="arrow",
        name="SV · displacement",
        **PLACE,
    )
    viewer.add_points(
        [[1.0, 2.0], [3.0, 4.0]],
        features={"text": ["a\nb", 'of "two", lines']},
        text={"string": "{text}", "size": 5.0, "scaling": True, "color": "white"},
        face_color="transparent",
        name="labels",
        **PLACE,
    )
    viewer.add_image(
        np.array([[np.nan, 1.5], [-2.5, 0.1]]), colormap="PiYG", contrast_limits=(-3, 3), name="map"
    )
    viewer.add_shapes([[[0, 0], [0, 5]]], shape_type="line", edge_color="red", name="line", **PLACE)
    viewer.add_points(np.zeros((0, 2)), name="nothing", **PLACE)
    again = reopened(viewer, tmp_path / "x.layers.zip")
    for one, other in zip(viewer.layers, again.layers, strict=True):
        same(one, other)
    assert again.layers["SV · displacement"].edge_colormap.name == "plasma"
    assert again.layers["SV · displacement"].edge_contrast_limits == (0.0, 4.0)
    assert again.layers["SV · displacement"].length == 30.0
    assert list(again.layers["labels"].text.values) == ["a\nb", 'of "two", lines']
    assert tuple(again.layers["map"].contrast_limits) == (-3, 3)


def test_other_programs_can_read_the_file(viewer, tmp_path):
    import io

    import tifffile

    path = tmp_path / "all.layers.zip"
    write_records(path, [record_of(la) for la in viewer.layers])
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        image = tifffile.imread(io.BytesIO(archive.read("001 region.tif")))
        table = pd.read_csv(io.BytesIO(archive.read("003 region · sites.csv")))
        content = json.loads(archive.read("layers.json"))
    assert_array_equal(image, viewer.layers["region"].data)
    sites = viewer.layers["region · sites"]
    assert_array_equal(table[["data_0", "data_1"]].to_numpy(), sites.data)
    assert list(table["class"]) == list(sites.features["class"])
    assert content["layers"][0]["look"]["units"] == ["picometer", "picometer"]
    assert "layers.json" in names


def test_a_file_opened_twice_gives_layers_of_their_own(viewer, tmp_path):
    path = tmp_path / "all.layers.zip"
    write_records(path, [record_of(la) for la in viewer.layers])
    for _ in range(2):
        for record in with_new_ids(read_records(path)):
            viewer.add_layer(Layer.create(*tuple_of(record)))
    ids = [layer_id(la) for la in viewer.layers]
    assert len(set(ids)) == len(ids) == 12
    for defects in [la for la in viewer.layers if kind(la) == "defects"]:
        assert len(corrected_planes(viewer, defects)) == 1


def broken(change):
    def damage(path):
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)

    return damage


def later(files):
    content = json.loads(files["layers.json"])
    files["layers.json"] = json.dumps({**content, "schema": 99}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:2000]),
        broken(lambda files: files.pop("001 region.tif")),
        broken(lambda files: files.update({"layers.json": b"{}"})),
        broken(lambda files: files.update({"layers.json": b'{"layers": 3'})),
        broken(lambda files: files.update({"003 region · sites.csv": b"x\n1\n"})),
        broken(later),
    ],
)
def test_damaged_files_are_refused_in_one_line(viewer, tmp_path, damage):
    path = tmp_path / "all.layers.zip"
    write_records(path, [record_of(la) for la in viewer.layers])
    damage(path)
    with pytest.raises(DefectStrainError) as refused:
        read_records(path)
    assert "\n" not in str(refused.value)
    assert "all.layers.zip" in str(refused.value)
