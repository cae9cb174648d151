"""Several images side by side: a press corrects the one under the pointer."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks

from napari_defectstrain.types import Sites
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.pointing import defects_at, follow_pointer
from napari_defectstrain.widgets.layers.sites import add_detection, provenance

NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
PIXEL_PM = 20.0


def columns() -> Sites:
    """Two vacancies and a perfect column."""
    classes = np.array([4, 4, 1])
    return Sites(
        position_px=np.array([[10.0, 10.0], [30.0, 20.0], [20.0, 30.0]]),
        probabilities=0.94 * np.eye(7)[classes] + 0.01,
        class_index=classes,
        class_names=NAMES,
        source=np.full(3, "model"),
    )


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def both(viewer):
    """Defects of two images side by side, 40 px each, with a gap; the second are being edited."""
    found = []
    for k in range(2):
        look = {"scale": (PIXEL_PM, PIXEL_PM), "units": ("pm", "pm"), "axis_labels": ("y", "x")}
        image = viewer.add_image(
            np.zeros((40, 40)), name=f"region {k + 1}", translate=(0.0, k * 1000.0), **look
        )
        about = provenance("defects", {"material": "WSe2"})
        found.append(add_detection(viewer, image, [columns()], about)[1])
    follow_pointer(viewer)
    viewer.layers.selection.active = found[1]
    found[1].mode = "select"
    return found


def press(viewer, world, modifiers=()):
    """A click at a place of the world, as napari's canvas hands it on."""
    event = SimpleNamespace(
        type="mouse_press",
        position=tuple(world),
        view_direction=None,
        dims_displayed=[0, 1],
        dims_point=list(viewer.dims.point),
        modifiers=modifiers,
        button=1,
        handled=False,
        pos=np.array(world),
        camera_zoom=1.0,
    )
    for callbacks in (mouse_press_callbacks, mouse_release_callbacks):
        callbacks(viewer, event)
        callbacks(viewer.layers.selection.active, event)
        event.type = "mouse_release"


def test_a_click_selects_the_point_under_it_of_whatever_image(viewer, both):
    first, second = both
    second.selected_data = {0}
    press(viewer, first.data_to_world(first.data[1]))
    assert viewer.layers.selection.active is first
    assert first.mode == "select"
    assert first.selected_data == {1}
    assert not second.selected_data  # a key would otherwise seem to mean it, too
    press(viewer, second.data_to_world(second.data[0]))
    assert viewer.layers.selection.active is second
    assert second.selected_data == {0}


def test_a_point_is_added_to_the_image_under_the_pointer(viewer, both):
    first, second = both
    second.mode = "add"
    editor_of(second).choose_class("DV")
    press(viewer, first.data_to_world((20.0, 30.0)))
    assert [len(la.data) for la in both] == [3, 2]
    np.testing.assert_allclose(first.data[2], (20.0, 30.0), atol=1e-9)
    assert str(first.features["class"].iloc[2]) == "DV"


def test_a_press_beside_all_images_or_on_hidden_points_changes_nothing(viewer, both):
    first, second = both
    press(viewer, (400.0, 900.0))  # in the gap
    assert viewer.layers.selection.active is second
    first.visible = False
    press(viewer, first.data_to_world(first.data[0]))
    assert viewer.layers.selection.active is second
    assert defects_at(viewer, first.data_to_world(first.data[0])) is None


def test_moving_the_view_or_another_layer_stays_as_it_is(viewer, both):
    first, second = both
    second.mode = "pan_zoom"
    press(viewer, first.data_to_world(first.data[0]))
    assert viewer.layers.selection.active is second
    viewer.layers.selection.active = viewer.layers[0]
    press(viewer, second.data_to_world(second.data[0]))
    assert viewer.layers.selection.active is viewer.layers[0]


def test_ends_when_asked():
    viewer = ViewerModel()
    before = list(viewer.mouse_drag_callbacks)
    end = follow_pointer(viewer)
    assert len(viewer.mouse_drag_callbacks) == len(before) + 1
    end()
    assert viewer.mouse_drag_callbacks == before
