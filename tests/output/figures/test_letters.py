"""Texts are laid out once, and every text gets the layout that is its own."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from napari_defectstrain.output.figures import files, letters

CHANGES = [
    {"text": "b\nb"},
    {"text": "$b_b$"},
    {"text": "$b_b$", "parse_math": False},
    {"fontsize": 12},
    {"weight": "bold"},
    {"rotation": 30},
    {"rotation": 30, "rotation_mode": "anchor"},
    {"rotation": 30, "transform_rotates_text": True},
    {"ha": "right"},
    {"va": "top"},
    {"text": "b\nbbb", "multialignment": "right"},
    {"text": "b\nb", "linespacing": 3.0},
]


def sizes(many: list[dict]) -> list[tuple]:
    figure = Figure(dpi=100)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [figure.text(0.5, 0.5, **{"s": "a", **change}) for change in many]
    found = [text.get_window_extent(renderer).bounds for text in texts]
    figure.set_dpi(200)
    return found + [text.get_window_extent(renderer).bounds for text in texts]


def test_whatever_decides_on_a_layout_counts():
    changes = [{}, *({"s": c.pop("text", "a"), **c} for c in map(dict, CHANGES)), {}]
    plain = sizes(changes)
    with files.figure_settings(files.STYLE):
        styled = sizes(changes)
    with letters.laid_out_once():
        assert sizes(changes) == plain
    with files.figure_settings(files.STYLE), letters.laid_out_once():
        assert sizes(changes) == styled
    assert plain != styled


def test_a_wrapped_text_depends_on_its_place():
    with letters.laid_out_once():
        figure = Figure(figsize=(2, 2))
        renderer = FigureCanvasAgg(figure).get_renderer()
        text = figure.text(0.1, 0.5, "several words that are broken", wrap=True)
        wide = text.get_window_extent(renderer).width
        text.set_x(0.7)
        assert text.get_window_extent(renderer).width < wide


def test_another_matplotlib_does_as_it_likes(monkeypatch):
    def other(self, renderer, more=None):
        return None

    monkeypatch.setattr(Text, "_get_layout", other)
    with letters.laid_out_once():
        assert Text._get_layout is other


def test_afterwards_all_is_as_it_was():
    before = Text._get_layout
    with pytest.raises(ZeroDivisionError), letters.laid_out_once():
        _ = 1 / 0
    assert Text._get_layout is before
