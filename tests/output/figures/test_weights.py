"""The figure of weights shows the bins, the classes and what was chosen."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from napari_defectstrain.judge.histograms import (
    weight_histograms,
)
from napari_defectstrain.materials import CHALCOGEN_SITES, METAL_SITES, ROLES, WSE2
from napari_defectstrain.output.figures.weights import ChosenWeights, draw_weights, weights_figure
from napari_defectstrain.styles import CLASS_STYLE
from napari_defectstrain.types import Sites

INDEX = np.repeat([0, 1, 2, 6], [300, 250, 20, 2])
MEAN = np.array([1.0, 0.7, 1.05, 0, 0, 0, 1.6])


def histograms():
    rng = np.random.default_rng(3)
    sites = Sites(
        np.column_stack([np.arange(len(INDEX)), 1000.0 * (INDEX == 0)]),
        np.eye(len(ROLES))[INDEX] * 0.98 + 0.02 * np.eye(len(ROLES))[np.where(INDEX == 0, 0, 1)],
        INDEX,
        WSE2.class_names,
        np.full(len(INDEX), "model"),
        weight=rng.normal(MEAN[INDEX], 0.04),
        weight_sigma=np.full(len(INDEX), 0.04),
    )
    return weight_histograms([sites])


def test_classes_are_drawn_in_their_colours_and_named_with_their_shares():
    figure = weights_figure(histograms(), WSE2)
    FigureCanvasAgg(figure).draw()
    chalcogen, metal = figure.axes
    colours = {to_hex(p.get_edgecolor()) for p in chalcogen.patches if isinstance(p, StepPatch)}
    wanted = {CLASS_STYLE[r].colour.lower() for r in ("X2", "XY", "other")}
    assert wanted <= colours
    assert CLASS_STYLE["metal"].colour.lower() not in colours
    words = [t.get_text() for t in chalcogen.texts]
    assert any(w.startswith("2Se\n9") for w in words)
    assert {w.split("\n")[0] for w in words} == {"2Se", "SeTe", "other"}
    assert [t.get_text() for t in metal.texts] == ["W\n100.0 %"]
    assert "Se sites" in chalcogen.get_xlabel()
    assert "W sites" in metal.get_xlabel()


def test_names_of_classes_do_not_lie_on_one_another():
    figure = weights_figure(histograms(), WSE2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [t.get_window_extent(canvas.get_renderer()) for a in figure.axes for t in a.texts]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_what_was_chosen_is_marked_in_its_panel_only():
    for sublattice, marked in ((CHALCOGEN_SITES, (2, 0)), (METAL_SITES, (0, 2)), ("", (2, 2))):
        figure = Figure()
        chosen = ChosenWeights(0.9, 1.1, sublattice)
        panels = draw_weights(figure, histograms(), WSE2, chosen)
        dashed = [
            sum(line.get_linestyle() == "--" for line in panels[s].lines)
            for s in (CHALCOGEN_SITES, METAL_SITES)
        ]
        assert tuple(dashed) == marked
