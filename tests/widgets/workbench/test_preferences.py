"""Preferences: kept, used by jobs, figures and layers, and taken back."""

import numpy as np
import pytest
from small_alloy import true_sites
from widget_stage import add_region

from napari_defectstrain import progress
from napari_defectstrain.styles import (
    CLASS_STYLE,
    LIGHTEST_GREY,
    PALETTES,
    chosen_width_inch,
    over_image,
    use_palette,
)
from napari_defectstrain.widgets.base.preferences import (
    apply_preferences,
    preferred_width_inch,
)
from napari_defectstrain.widgets.base.settings import Settings
from napari_defectstrain.widgets.layers.sites import add_detection, provenance
from napari_defectstrain.widgets.strain import figure_files
from napari_defectstrain.widgets.workbench import WorkbenchWidget
from napari_defectstrain.widgets.workbench.preferences import Preferences
from napari_defectstrain.widgets.workbench.steps import DETECT, STRAIN

VIBRANT = "Tol, vibrant"


@pytest.fixture(autouse=True)
def as_before(monkeypatch, tmp_path):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "settings.json"))
    yield
    use_palette(next(iter(PALETTES)))
    progress.use_threads(None)


@pytest.fixture
def page(qtbot):
    found = Preferences()
    qtbot.addWidget(found)
    return found


def test_a_palette_and_a_colour_of_ones_own(page):
    page.palette_box.setCurrentText(VIBRANT)
    assert CLASS_STYLE["V1"].colour == PALETTES[VIBRANT]["V1"]
    assert CLASS_STYLE["V1"].symbol == "ring"
    page.set_colour("V1", "#123456")
    assert CLASS_STYLE["V1"].colour == "#123456"
    assert CLASS_STYLE["V2"].colour == PALETTES[VIBRANT]["V2"]
    use_palette(next(iter(PALETTES)))  # another start
    apply_preferences()
    assert CLASS_STYLE["V1"].colour == "#123456"
    page.reset()
    assert {role: s.colour for role, s in CLASS_STYLE.items()} == PALETTES["Okabe and Ito"]


def test_threads_reach_the_jobs(page, monkeypatch):
    monkeypatch.setattr(progress.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert progress.spare_cores(algebra=False) == 8
    page.threads.setValue(3)
    assert progress.spare_cores(algebra=False) == 3
    page.reset()
    assert progress.spare_cores(algebra=False) == 8


def test_threads_reach_the_network():
    import torch

    from napari_defectstrain.detect.network.device import pick_device

    before = torch.get_num_threads()
    progress.use_threads(1)
    try:
        pick_device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_damaged_settings_are_defaults(page):
    Settings("preferences").set("palette", "no such")
    Settings("preferences").set("threads", "many")
    Settings("preferences").set("colours", {"V1": "blueish", "no role": "#000000"})
    apply_preferences()
    assert CLASS_STYLE["V1"].colour == PALETTES["Okabe and Ito"]["V1"]
    assert progress.asked_threads() is None


def test_widgets_and_layers_follow(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    bench = WorkbenchWidget(viewer)
    qtbot.addWidget(bench)
    made, layer = add_region(viewer, size=256)
    _, defects = add_detection(viewer, layer, [true_sites(made)], provenance("defects", {}))
    page = bench.show_preferences()
    page.palette_box.setCurrentText(VIBRANT)
    name = str(defects.features["class"].iloc[0])
    role = dict(zip(bench.panel(DETECT).edit.class_names, list(CLASS_STYLE)[1:], strict=True))[name]
    seen = over_image(PALETTES[VIBRANT][role])
    want = [int(seen[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    assert defects.border_color[0, :3] == pytest.approx(want, abs=0.01)
    page.thresholds["V1"].setValue(0.8)
    assert bench.panel(DETECT).config().detect.thresholds[2] == 0.8
    page.device.setCurrentText("cpu")
    assert bench.panel(DETECT).config().detect.device == "cpu"
    page.formats.setCurrentText("PDF")
    assert bench.panel(STRAIN).figures.formats.currentText() == "PDF"
    page.reset()
    assert bench.panel(DETECT).config().detect.thresholds[2] == 0.5
    page.close()


def test_figures_are_drawn_in_the_width(page):
    assert preferred_width_inch() is None
    page.width_box.setCurrentText("one column, 3.3 in")
    assert preferred_width_inch() == 3.3
    drawn = figure_files._in_width(3.3, lambda *_: chosen_width_inch(7.0))
    assert drawn == 3.3
    assert chosen_width_inch(7.0) == 7.0


@pytest.mark.parametrize(
    ("name", "own"), [("none", {}), (VIBRANT, {"V1": "red"}), (VIBRANT, {"V9": "#112233"})]
)
def test_palettes_are_checked(name, own):
    with pytest.raises(ValueError, match="got .*expected"):
        use_palette(name, own)
    assert CLASS_STYLE["V1"].colour == PALETTES["Okabe and Ito"]["V1"]


def test_the_colours_of_every_set_differ():
    for colours in PALETTES.values():
        assert set(colours) == set(CLASS_STYLE)
        assert len(set(colours.values())) == len(colours)


@pytest.mark.parametrize("colour", sorted({c for p in PALETTES.values() for c in p.values()}))
def test_colours_over_an_image_are_lighter_than_its_greys(colour):
    """Also for people without the middle cones, to whom pink and green are greys."""
    without_middle_cones = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )  # Machado, Oliveira and Fernandes 2009, severity 1; of linear RGB
    seen = np.array([int(over_image(colour)[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    weights = np.array([0.2126, 0.7152, 0.0722])
    assert weights @ linear > LIGHTEST_GREY - 0.01
    assert weights @ (without_middle_cones @ linear) > LIGHTEST_GREY - 0.08
