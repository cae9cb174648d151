"""The data of a figure's plots are what is drawn."""

import numpy as np
from matplotlib.figure import Figure

from napari_defectstrain.output.figures.drawn import COLUMNS, drawn_data


def test_everything_drawn_is_there():
    figure = Figure()
    axes = figure.subplots()
    axes.set_title("(a) title", loc="left")
    axes.set_xlabel("N")
    axes.set_ylabel("error\n[pm]")
    axes.plot([1, 2], [3, 4], color="#112233", label="line")
    axes.errorbar([1, 2], [5, 6], [0.5, 0.25], fmt="o", label="measured")
    axes.bar([0, 1], [7, 8], bottom=[0, 1], label="bars")
    axes.stairs([9, 10], [0, 1, 3], fill=True)
    axes.hlines([11], 0, 2, label="total")
    axes.hlines([np.nan], 0, 2, label="unknown")
    axes.fill_between([0, 1], [1, 1], [2, 2])
    axes.scatter([1], [12], label="dots")
    axes.axvline(3.0)  # not data
    found = drawn_data(figure)
    assert tuple(found.columns) == COLUMNS
    assert set(found["panel"]) == {"(a) title"}
    assert set(found["y_label"]) == {"error [pm]"}
    by_label = {name: rows for name, rows in found.groupby("series")}
    assert by_label["line"][["x", "y"]].to_numpy().tolist() == [[1, 3], [2, 4]]
    assert set(by_label["line"]["colour"]) == {"#112233"}
    measured = by_label["measured"][["x", "y", "y_low", "y_high"]].to_numpy()
    assert np.allclose(measured, [[1, 5, 4.5, 5.5], [2, 6, 5.75, 6.25]])
    assert np.allclose(by_label["bars"][["x", "y", "y_low"]], [[0, 7, 0], [1, 9, 1]])
    steps = found[found["kind"] == "step"][["x", "x_high", "y"]].to_numpy()
    assert steps.tolist() == [[0, 1, 9], [1, 3, 10]]
    assert by_label["total"][["x", "x_high", "y"]].to_numpy().tolist() == [[0, 2, 11]]
    assert "unknown" not in by_label
    assert by_label["dots"][["x", "y"]].to_numpy().tolist() == [[1, 12]]
    outline = found[found["kind"] == "outline"]
    assert outline["y"].min() == 1 and outline["y"].max() == 2
    assert 3.0 not in set(found["x"].dropna()) - {1, 2}


def test_pictures_and_colour_bars_have_no_plots():
    figure = Figure()
    axes = figure.subplots()
    figure.colorbar(axes.imshow(np.eye(3)))
    axes.plot([0, 1], [0, 1])
    assert len(drawn_data(figure)) == 0
