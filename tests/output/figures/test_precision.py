"""Figures show what they are given: labels, numbers, limits; on made-up results."""

import numpy as np
import pandas as pd
import pytest
from figure_stage import average, displacement, made_up_stack, spacing, strain
from matplotlib.figure import Figure

from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures import maps as figures
from napari_defectstrain.output.figures import panels as figures_panels
from napari_defectstrain.output.figures import precision as figures_precision
from napari_defectstrain.output.figures import strain as figures_strain
from napari_defectstrain.precision.budget import PARTS, ErrorBudget
from napari_defectstrain.precision.curve import PrecisionAgainstN, PrecisionFit
from napari_defectstrain.precision.spacings import SpacingResult
from napari_defectstrain.types import (
    STRAIN_COMPONENTS,
    CalibratedImage,
    Sites,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def texts(figure: Figure) -> list[str]:
    """Every piece of text that a reader sees."""
    found = [t.get_text() for axes in figure.axes for t in axes.texts]
    found += [axes.get_title(loc) for axes in figure.axes for loc in ("left", "center")]
    found += [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())]
    legends = [axes.get_legend() for axes in figure.axes] + figure.legends
    return found + [t.get_text() for legend in legends if legend for t in legend.get_texts()]


def test_detections_are_drawn_where_they_are(rng):
    image = CalibratedImage(rng.poisson(50, (80, 120)).astype(float), 100.0, "region")
    position = np.array([[10.0, 20.0], [40.0, 100.0], [5.0, 5.0], [30.0, 60.0]])
    index = np.array([2, 4, 0, 6])
    sites = Sites(position, np.eye(7)[index], index, WSE2.class_names, np.full(4, "model"))
    figure = figures.detections_figure(image, sites, WSE2)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    # 100 pm a pixel: (y, x) = (10, 20) px lies at x = 2 nm, y = 1 nm
    assert lines["SeTe  1"].get_xydata().tolist() == [[2.0, 1.0]]
    assert lines["SV  1"].get_xydata().tolist() == [[10.0, 4.0]]
    assert lines["other  1"].get_xydata().tolist() == [[6.0, 3.0]]
    assert "2Te  0" in texts(figure)
    assert not any(label.startswith("W ") for label in lines)


def test_detections_without_calibration_have_no_scale_bar(rng):
    image = CalibratedImage(rng.poisson(50, (80, 120)).astype(float), None, "region")
    empty = Sites(
        np.zeros((0, 2)),
        np.zeros((0, 7)),
        np.zeros(0, dtype=int),
        WSE2.class_names,
        np.zeros(0, dtype=str),
    )
    figure = figures.detections_figure(image, empty, WSE2)
    assert not any("nm" in text for text in texts(figure))


def test_averages_share_one_grey_scale_and_show_n(rng):
    stacks = {"2Se": made_up_stack("2Se", 0.7, rng), "SV": made_up_stack("SV", 0.35, rng)}
    figure = figures.averages_figure(stacks, {k: average(s) for k, s in stacks.items()})
    limits = {axes.images[0].get_clim() for axes in figure.axes}
    assert len(limits) == 1
    assert texts(figure).count("N = 20\npurity 0.980") == 2
    assert texts(figure).count("N = 1") == 2


def test_histograms_name_value_and_precision(rng):
    spacings = {
        name: spacing(name, value, std, rng)
        for name, value, std in (("2Se", 329.5, 0.3), ("SeTe", 331.6, 0.4), ("SV", 313.7, 0.3))
    }
    single = {name: rng.normal(330.0, 7.0, 60) for name in spacings}
    figure = figures_precision.spacing_figure(single, spacings, WSE2)
    assert "SeTe: 331.60 ± 0.40 pm, N = 20 (purity 0.980)" in texts(figure)
    assert any(text.startswith("SeTe: 3") and text.endswith(" pm") for text in texts(figure))


def test_spacing_of_one_window_is_a_line(rng):
    lonely = SpacingResult(
        "SV", 1, 0, 313.7, np.nan, -0.05, np.nan, np.nan, 1.0, np.full(10, 313.7)
    )
    figure = figures_precision.spacing_figure({"SV": np.array([313.7])}, {"SV": lonely}, WSE2)
    assert "SV: N = 1" in texts(figure)


@pytest.mark.parametrize(("sign", "factor"), [(1.0, 100.0), (0.6, 200.0), (-9.0, 10.0)])
def test_arrows_are_enlarged_by_the_round_factor_they_state(rng, sign, factor):
    stack = made_up_stack("SeTe", 1.05, rng)
    field = displacement("SeTe", sign)
    figure = figures_strain.displacement_figure(
        {"SeTe": average(stack)}, {"SeTe": field}, {"SeTe": strain("SeTe", 1.0)}
    )
    axes = figure.axes[0]
    (quiver,) = (c for c in axes.collections if hasattr(c, "U"))
    np.testing.assert_allclose(quiver.U, factor * field.u_pm[:, 0] / 1000.0)
    np.testing.assert_allclose(quiver.V, factor * field.u_pm[:, 1] / 1000.0)  # y up, as the axis
    assert axes.get_ylim()[0] < axes.get_ylim()[1]
    # long enough to be seen, short enough not to reach the next column of its kind
    longest = np.hypot(quiver.U, quiver.V).max()
    assert 0.12 <= longest <= 0.3
    (key,) = (a for a in axes.artists if hasattr(a, "text"))
    assert key.text.get_text().endswith(f" pm (×{factor:g})")
    # the key arrow has the length that its words say
    assert pytest.approx(factor * float(key.text.get_text().split()[0]) / 1000.0) == key.U


def test_arrows_of_nothing_are_drawn():
    field = displacement("SeTe", 0.0)
    assert figures_panels.enlargement(field) == 500.0


def test_strain_maps_are_in_per_cent_with_symmetric_limits():
    field = strain("SV", -1.0)
    figure = figures_strain.strain_figure(field, displacement("SV", -1.0))
    maps = [axes.images[0] for axes in figure.axes if axes.get_title() and axes.images]
    assert len(maps) == len(STRAIN_COMPONENTS)
    for drawn, name in zip(maps, STRAIN_COMPONENTS, strict=True):
        low, high = drawn.get_clim()
        assert low == -high
        np.testing.assert_allclose(
            np.ma.filled(drawn.get_array(), np.nan),
            (1000.0 if name == "rotation" else 100.0) * field.components[name],
        )
    bars = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    units = ["%", "%", "%", "mrad", "%"]
    assert [bar for bar in bars if "σ" not in bar] == [f"[{unit}]" for unit in units]
    assert [bar for bar in bars if "σ" in bar] == [f"σ [{unit}]" for unit in units]
    assert texts(figure).count("0.5 nm") == 10  # every map tells its scale


def test_precision_is_log_log(rng):
    n = np.array([1, 4, 16, 64])
    gain = np.sqrt(n) * np.array([[1.0], [0.9], [1.1]])
    background = np.array([0.025, 0.01, 0.05])
    curve = PrecisionAgainstN(n, 8.0 / np.sqrt(n), 1.0 / n, background, gain)
    figure = figures_precision.precision_figure(curve, "2Se")
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]


def test_the_fit_of_precision_is_stated(rng):
    n = np.array([1, 4, 16, 64])
    fit = PrecisionFit(8.0, 0.2, 0.5, 0.1, total=64)
    gain = np.sqrt(n) * np.ones((3, 1))
    curve = PrecisionAgainstN(n, fit.at(n), 1.0 / n, np.array([0.025, 0.01, 0.05]), gain, fit)
    title = figures_precision.precision_figure(curve, "2Se").axes[0].get_title()
    assert "8.00 ± 0.20 pm" in title
    assert "0.50 ± 0.10 pm" in title


def test_budgets_are_drawn_part_by_part():
    site = np.zeros((2, 2))
    parts = {name: np.full((2, 2), 0.1 * k) for k, name in enumerate(PARTS)}
    strains = {name: 1e-4 * k for k, name in enumerate(PARTS)}
    budget = ErrorBudget("SV", site, np.full((2, 2), 0.3), parts, 5e-4, strains)
    figure = figures_precision.budget_figure({"SV": budget, "2Se": budget}, WSE2)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    # the defect alone, in per cent: statistical, then the parts in their order
    np.testing.assert_allclose(heights, [0.05, *(0.01 * k for k in range(len(PARTS)))])
    (total,) = figure.axes[0].collections[0].get_segments()
    assert total[0][1] == pytest.approx(100 * budget.sigma_total)


def test_drift_is_drawn_in_pm_where_the_scale_is_known():
    table = pd.DataFrame(
        {
            "frame": [0, 1, 2],
            **{f"{axis}_{kind}": [0.0, 1.0, 2.0] for axis in "xy" for kind in ("px", "pm")},
            **{f"sigma_{axis}_{kind}": 0.1 for axis in "xy" for kind in ("px", "pm")},
            "bad": [False, True, False],
        }
    )
    axes = figures_precision.drift_figure(table).axes[0]
    assert axes.get_ylabel() == "drift [pm]"
    assert "1 left out" in axes.get_title()
    plain = table.drop(columns=["x_pm", "y_pm"])
    assert figures_precision.drift_figure(plain).axes[0].get_ylabel() == "drift [px]"


def test_no_figure_needs_a_display():
    field = strain("SV", -1.0)
    figure = figures_strain.strain_figure(field, displacement("SV", -1.0))
    assert figure.canvas.manager is None
