"""Figures in the width of one column or of both: nothing is cut off."""

import numpy as np
import pytest
from figure_stage import average, displacement, made_up_stack, spacing, strain
from matplotlib.backends.backend_agg import FigureCanvasAgg

from napari_defectstrain.cli.main import build_parser
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.files import STYLE, figure_settings
from napari_defectstrain.output.figures.maps import averages_figure
from napari_defectstrain.output.figures.precision import spacing_figure
from napari_defectstrain.output.figures.strain import (
    comparison_figure,
    displacement_figure,
    strain_figure,
)
from napari_defectstrain.styles import FIGURE_WIDTHS_INCH, chosen_width_inch, figure_width

CLASSES = {"2Se": 0.7, "SeTe": 0.9, "2Te": 1.1, "SV": 0.35, "DV": 0.0}


@pytest.fixture(scope="module")
def made():
    """Figures by name, each made when it is called."""
    rng = np.random.default_rng(3)
    stacks = {name: made_up_stack(name, height, rng) for name, height in CLASSES.items()}
    averages = {name: average(stack) for name, stack in stacks.items()}
    defects = [name for name in CLASSES if name != "2Se"]
    fields = {name: displacement(name, 1.0) for name in defects}
    strains = {name: strain(name, 1.0) for name in defects}
    spacings = {n: spacing(n, 330.0 - k, 0.2, rng) for k, n in enumerate(CLASSES)}
    single = {name: 330.0 + rng.normal(size=60) for name in CLASSES}
    rows = {"measured": strains["SV"], "Eshelby": strains["DV"]}
    return {
        "averages": lambda: averages_figure(stacks, averages),
        "displacement": lambda: displacement_figure(averages, fields, strains),
        "strain": lambda: strain_figure(strains["SV"], fields["SV"]),
        "theory": lambda: comparison_figure(rows, fields["SV"]),
        "spacings": lambda: spacing_figure(single, spacings, WSE2),
    }


NAMES = ("averages", "displacement", "strain", "theory", "spacings")


@pytest.mark.parametrize("width", FIGURE_WIDTHS_INCH)
@pytest.mark.parametrize("name", NAMES)
def test_figures_fit_the_width_that_is_asked_for(made, name, width):
    with figure_width(width):
        figure = made[name]()
    assert figure.get_figwidth() == width
    figure.set_canvas(FigureCanvasAgg(figure))
    with figure_settings(STYLE):
        box = figure.get_tightbbox()
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    # a hundredth of an inch is less than a line is wide
    assert box.x0 > -0.01 and box.x1 < width + 0.01
    assert box.y0 > -0.01 and box.y1 < figure.get_figheight() + 0.01
    across = max(axes.get_subplotspec().get_gridspec().ncols for axes in plots(figure))
    assert across <= 3 or width == 7.0
    if width == 3.3:
        assert min(axes.get_position().width for axes in plots(figure)) * width > 0.7


def plots(figure):
    return [a for a in figure.axes if a.get_label() != "<colorbar>" and a.get_subplotspec()]


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_lettered_in_the_order_of_reading(made, name):
    with figure_width(3.3):
        figure = made[name]()
    figure.set_canvas(FigureCanvasAgg(figure))
    with figure_settings(STYLE):
        figure.draw_without_rendering()
    letters = {}
    for axes in plots(figure):
        texts = [text.get_text() for text in axes.texts] + [axes.get_title(loc="left")]
        (letter,) = {t[1] for t in texts if t.startswith("(") and t[2:3] == ")"}
        place = axes.get_position()
        letters[letter] = (-round(place.y1, 2), place.x0)
    assert sorted(letters) == sorted(letters, key=letters.get)


def test_a_figure_keeps_its_own_width_unless_told():
    assert chosen_width_inch(5.0) == 5.0
    with figure_width(3.3):
        assert chosen_width_inch(5.0) == 3.3
        with figure_width(None):
            assert chosen_width_inch(5.0) == 5.0
    assert chosen_width_inch(5.0) == 5.0


def test_the_command_takes_both_widths_and_no_other(capsys):
    parser = build_parser(["run"])
    given = ["run", "a.tif", "--out", "b"]
    assert parser.parse_args(given).figure_width is None
    assert parser.parse_args([*given, "--figure-width", "7"]).figure_width == 7.0
    with pytest.raises(SystemExit):
        parser.parse_args([*given, "--figure-width", "5"])
    assert "--figure-width" in capsys.readouterr().err
