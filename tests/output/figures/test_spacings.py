"""Spacings by class and precision against N: what is drawn is what was measured."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.spacings import (
    draw_precision,
    draw_spacings,
    needed_in_words,
    precision_rows_figure,
    spacing_rows_figure,
)
from napari_defectstrain.precision.curve import PrecisionAgainstN, PrecisionFit
from napari_defectstrain.precision.spacings import SpacingResult


def a_curve(p1_pm=6.0, floor_pm=0.0, total=200):
    n = np.array([1, 10, total])
    fit = PrecisionFit(p1_pm, 0.1, floor_pm, 0.05, total)
    zero = np.zeros(3)
    return PrecisionAgainstN(n, fit.at(n), zero, np.array([0.025]), np.ones((1, 3)), fit, "SV")


def a_measurement(name, spacing_pm, strain, count=200, precision_pm=0.2):
    rng = np.random.default_rng(1)
    samples = spacing_pm + precision_pm * np.linspace(-3.0, 3.0, 101)
    spacing = SpacingResult(
        class_name=name,
        n=count,
        n_excluded=0,
        spacing_pm=spacing_pm,
        precision_pm=precision_pm if count > 1 else np.nan,
        strain=strain,
        strain_std=0.0007,
        strain_total_std=0.0009,
        purity=1.0,
        samples_pm=samples,
    )
    single = spacing_pm + 6.0 * rng.normal(size=(count, 3))
    return SimpleNamespace(
        spacing=spacing, single_spacing_pm=single, precision=a_curve(total=max(count, 11))
    )


def measured():
    return {
        "2Se": a_measurement("2Se", 330.0, 0.0),
        "SV": a_measurement("SV", 314.0, -0.0485),
        "DV": a_measurement("DV", 303.0, -0.08, count=1),
    }


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_spacings_are_said_with_both_errors():
    axes = spacing_rows_figure(measured(), WSE2).axes[0]
    reference, sv, dv = words(axes)
    assert reference == "330.00 ± 0.20 pm   N = 200\nreference"
    assert sv == "314.00 ± 0.20 pm   N = 200\n−4.85 ± 0.07 % (± 0.09 total)"
    assert dv.startswith("303.00 ± ? pm   N = 1\n")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2Se", "SV", "DV"]
    assert axes.get_xlabel() == "W–W spacing [pm]"


def test_bands_are_one_sigma_and_the_full_range_of_the_bootstrap():
    axes = spacing_rows_figure({"SV": measured()["SV"]}, WSE2).axes[0]
    ends = [c.get_datalim(axes.transData).intervalx for c in axes.collections]
    assert_allclose(ends, [[314.0 - 0.6, 314.0 + 0.6], [314.0 - 0.2, 314.0 + 0.2]])


def test_the_reference_is_the_dashed_line():
    axes = spacing_rows_figure(measured(), WSE2).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert_allclose(dashed[0].get_xdata(), 330.0)


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        # 6 pm of one window: (6/0.3)^2 = 400
        (a_curve(total=200), "400, 200 more than now"),
        (a_curve(total=1000), "400, there are 1000"),
        (a_curve(floor_pm=0.5), "never, floor 0.50 pm"),
    ],
)
def test_windows_for_the_target_are_said(curve, said):
    assert needed_in_words(curve) == said


def test_precision_is_drawn_with_its_fit_and_the_target():
    axes = precision_rows_figure({"SV": measured()["SV"]}, WSE2).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    (legend,) = [t.get_text() for t in axes.get_legend().get_texts()]
    assert legend == "SV: 400, 200 more than now"
    target, *lines = axes.lines
    assert_allclose(target.get_ydata(), 0.3)
    fitted = max(lines, key=lambda line: len(line.get_xdata()))
    x, y = fitted.get_data()
    assert_allclose(y, 6.0 / np.sqrt(x))


def test_everything_is_drawn_in_the_colours_asked_for():
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    with mpl.rc_context({"text.color": "#123456", "axes.labelcolor": "#123456"}):
        left, right = figure.subplots(1, 2)
        draw_spacings(left, measured(), WSE2)
        draw_precision(right, measured(), WSE2)
    figure.draw_without_rendering()
    assert {text.get_color() for text in left.texts} == {"#123456"}
    assert right.xaxis.label.get_color() == "#123456"


def test_the_legend_of_precision_lies_over_no_curve():
    figure = precision_rows_figure(measured(), WSE2)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert legend.y0 >= axes.get_window_extent().y1
    assert legend.x1 <= figure.bbox.x1 and legend.y1 <= figure.bbox.y1
