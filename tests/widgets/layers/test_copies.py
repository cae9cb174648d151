"""Copies of layers are layers of their own."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers._layer_actions import _duplicate_layer as duplicate
from small_alloy import simulated, true_sites

from napari_defectstrain.crystal.regions import Regions
from napari_defectstrain.widgets.base.pacing import at_once
from napari_defectstrain.widgets.layers.copies import COPY, watch_copies
from napari_defectstrain.widgets.layers.regions import detection_put_in_steps, regions_of
from napari_defectstrain.widgets.layers.sites import (
    ID,
    KEY,
    inherited,
    kind,
    layer_by_id,
    layer_id,
    note,
    provenance,
)

SIZE = 160


@pytest.fixture
def viewer():
    made = simulated(seed=5, size=SIZE, name="alloy")
    viewer = ViewerModel()
    about = {"source": "alloy.tif", ID: "as opened", "study": ["alloy"]}
    image = viewer.add_image(made.image.data, name="alloy", metadata={KEY: about})
    whole = Regions(np.ones((SIZE, SIZE), dtype=np.int16), ())
    about = provenance("defects", {}), provenance("regions", {})
    put = detection_put_in_steps(viewer, image, None, [true_sites(made)], [whole], *about)
    at_once(put)
    return viewer


def copied(viewer, layer):
    viewer.layers.selection = {layer}
    duplicate(viewer.layers)
    return viewer.layers[f"{layer.name} copy"]


@pytest.mark.parametrize("watched_before", [True, False])
def test_a_copy_is_nobody_elses(viewer, watched_before):
    if watched_before:
        watch_copies(viewer)
    image, defects = viewer.layers["alloy"], viewer.layers["alloy · defects"]
    regions = regions_of(viewer, defects)
    before = {la: dict(note(la)) for la in viewer.layers}
    twins = [copied(viewer, la) for la in (image, defects, regions)]
    watch_copies(viewer)
    watch_copies(viewer)
    assert {la: note(la) for la in before} == before
    assert layer_by_id(viewer, "as opened") is image
    assert layer_id(twins[0]) != "as opened"
    assert note(twins[0]) == {"source": "alloy.tif"}
    assert [kind(la) for la in twins[1:]] == [COPY, COPY]
    assert regions_of(viewer, defects) is regions


def test_moved_layers_and_those_of_others_are_no_copies(viewer):
    watch_copies(viewer)
    before = [dict(note(la)) for la in viewer.layers]
    viewer.layers.move(0, 4)
    viewer.layers.move(3, 0)
    viewer.add_points(np.zeros((1, 2)))
    viewer.add_points(np.zeros((1, 2)))
    assert [note(la) for la in sorted(viewer.layers, key=lambda la: la.name)[:2]] == [{}, {}]
    assert sorted(map(str, before)) == sorted(str(note(la)) for la in viewer.layers if note(la))


def test_what_a_layer_hands_on_does_not_make_another_its_copy(viewer):
    watch_copies(viewer)
    opened = viewer.add_image(
        np.zeros((4, 4)), metadata={KEY: {"kind": "displacement", "run": "one", ID: "of a study"}}
    )
    about = {**inherited(opened), "kind": "comparison map"}
    made = [viewer.add_image(np.ones((4, 4)), metadata={KEY: dict(about)}) for _ in range(2)]
    assert [kind(layer) for layer in made] == ["comparison map"] * 2
    assert note(opened)[ID] == "of a study"
