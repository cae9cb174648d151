"""Figures of populations and of pairs show what is outside, and nothing of too few."""

import re

import numpy as np
from alloy_stage import alloy_sites
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_defectstrain.crystal.defect_patterns import find_patterns
from napari_defectstrain.crystal.pattern_counts import PatternConfig
from napari_defectstrain.crystal.populations import population_table
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.populations import (
    clusters_figure,
    draw_pairs,
    pairs_figure,
    populations_figure,
)

NAMES = WSE2.class_names


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def lettered(figure: Figure) -> str:
    """The letters before the titles of the panels."""
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    return "".join(re.match(r"\((.)\)", title)[1] for title in titles)


def found(*alloys):
    names = [f"i{k}" for k in range(len(alloys))]
    config = PatternConfig(simulations=99)
    return find_patterns(names, alloys, [None] * len(alloys), WSE2.lattice_pm, config)


def test_pairs_outside_their_envelope_are_filled():
    table = found(alloy_sites(1, arrangement="lines", arranged=1.0)).pair_correlation
    figure = drawn(pairs_figure(table, NAMES))
    assert lettered(figure) == "abcdefghijklmnopqrstuvwxyz"[: len(figure.axes)]
    panels = {axes.get_title().partition(" ")[2]: axes for axes in figure.axes}
    assert "vacancy – vacancy" in panels
    filled = [
        line
        for line in panels["vacancy – vacancy"].lines
        if line.get_color() == "#D55E00" and len(line.get_xdata())
    ]
    assert np.isin(1.0, filled[0].get_xdata())
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_a_perfect_crystal_has_no_pairs_to_draw():
    perfect = found(alloy_sites(1, radius_pm=2500.0, fractions=(0.0, 0.0, 0.0, 0.0)))
    figure = Figure()
    assert draw_pairs(figure, perfect.pair_correlation, NAMES) == []
    assert "too few" in figure.texts[0].get_text()
    assert perfect.clusters.empty


def test_clusters_and_populations_are_drawn_for_one_image_and_for_several():
    alloys = [alloy_sites(k, radius_pm=2500.0) for k in range(3)]
    patterns = found(*alloys)
    figure = drawn(clusters_figure(patterns.clusters, patterns.nearest, NAMES))
    assert lettered(figure) == "abc"
    for count in (1, 3):
        table = population_table([f"i{k}" for k in range(count)], alloys[:count], NAMES)
        figure = drawn(populations_figure(table, NAMES))
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert titles == ["(a) SeTe", "(b) 2Te", "(c) SV", "(d) DV"]
        said = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert len(said) == (4 if count > 1 else 0)
