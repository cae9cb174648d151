"""How far the work is, and what the steps say of it, by the layers alone."""

import numpy as np
import pytest
from napari.components import ViewerModel
from small_alloy import true_sites
from strain_stage import show_averages
from widget_stage import add_region

from napari_defectstrain.averages.choice import leave_out
from napari_defectstrain.widgets.layers.averages import STACK, update_average
from napari_defectstrain.widgets.layers.sites import add_detection, layer_id, note, provenance
from napari_defectstrain.widgets.workbench import State, advice, state_of
from napari_defectstrain.widgets.workbench.steps import (
    AVERAGE,
    DETECT,
    DONE,
    READY,
    REPORT,
    STRAIN,
    WAITS,
)


@pytest.fixture
def viewer():
    return ViewerModel()


def states(viewer, **more):
    state = state_of(viewer, **more)
    return [state.of(step) for step in range(4)]


def detect(viewer, made, layer):
    return add_detection(viewer, layer, [true_sites(made)], provenance("defects", {}))


def test_an_empty_viewer_offers_the_sample(viewer):
    assert states(viewer) == [WAITS] * 4
    for step in range(4):
        assert [what for _, what in advice(state_of(viewer), step).buttons] == [
            "one_region",
            "nine_regions",
            "open",
        ]
    assert state_of(viewer).remaining == ()


def test_a_picture_in_colours_is_something_to_detect_in(viewer):
    """Which says what to do with it; nothing open yet would be untrue."""
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True)
    assert states(viewer) == [READY, WAITS, WAITS, WAITS]


def test_from_an_image_to_its_strain(viewer):
    made, layer = add_region(viewer, size=256)
    assert states(viewer) == [READY, WAITS, WAITS, WAITS]
    assert state_of(viewer).remaining == (DETECT, AVERAGE, STRAIN)
    # whatever step is looked at, the way goes on at the first that is missing
    assert {advice(state_of(viewer), s).buttons[0][1] for s in range(4)} == {DETECT}
    detect(viewer, made, layer)
    assert states(viewer) == [DONE, READY, WAITS, WAITS]
    assert state_of(viewer).remaining == (AVERAGE, STRAIN)
    assert advice(state_of(viewer), STRAIN).buttons[0][1] == AVERAGE
    averages = show_averages(viewer)
    assert states(viewer)[1] == READY  # of another image
    for average in averages:
        note(average)["image_ids"] = [layer_id(layer)]
    assert states(viewer) == [DONE, DONE, READY, WAITS]
    assert advice(state_of(viewer), AVERAGE).buttons[0][1] == STRAIN
    viewer.add_vectors(
        np.zeros((1, 2, 2)), metadata=provenance("displacement", {}, run=note(averages[0])["run"])
    )
    assert states(viewer) == [DONE, DONE, DONE, READY]
    assert state_of(viewer).remaining == ()
    assert advice(state_of(viewer), REPORT).buttons[0][1] == "figures"
    assert states(viewer, written=True)[REPORT] == DONE
    # windows that are chosen anew make the strain one of before
    stack = averages[1].metadata[STACK]
    update_average(viewer, averages[1], leave_out(stack, [0]))
    assert states(viewer, written=True)[STRAIN] == READY
    assert state_of(viewer).remaining == (STRAIN,)


def test_a_new_image_is_detected_and_no_other_again(viewer):
    made, layer = add_region(viewer, size=256)
    detect(viewer, made, layer)
    _, other = add_region(viewer, size=256, name="other")
    state = state_of(viewer)
    assert state.unsearched == (other,)
    assert state.of(DETECT) == READY
    assert [what for _, what in advice(state, DETECT).buttons] == [DETECT, AVERAGE]
    assert "1 of 2" in advice(state, DETECT).text


def test_frames_whose_sum_is_there_need_not_be_searched(viewer):
    frames = viewer.add_image(np.zeros((3, 64, 64)), name="frames")
    viewer.add_image(np.zeros((64, 64)), metadata=provenance("sum", {}, frames_of=layer_id(frames)))
    assert state_of(viewer).images == 1


def test_every_state_has_words_and_a_way_on():
    found = frozenset("a")
    for state in (
        State(images=1),
        State(images=3),
        State(images=1, searched=found),
        State(images=1, searched=found, run="r"),
        State(images=1, searched=found, run="r", measured=True),
        State(images=1, searched=found, run="r", measured=True, written=True),
    ):
        for step in range(4):
            said = advice(state, step)
            assert said.text and said.buttons
            assert "{" not in said.text
