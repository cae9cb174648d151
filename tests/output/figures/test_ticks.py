"""Ticks are made late and placed once, and nothing that is drawn changes."""

import gc
from unittest.mock import Mock

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from napari_defectstrain.output.figures import drawing, files, ticks
from napari_defectstrain.output.figures import panels as panels_of_maps
from napari_defectstrain.types import no_progress


def panels() -> Figure:
    """Maps without ticks, plots with grids, turned and inner ticks, a colour bar, a second axis."""
    made = Figure(figsize=(5, 2.5), layout="constrained")
    grid = made.subplots(2, 3, sharex="row")
    for axes in grid[0, :2]:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title("map")
        axes.set_ylabel("row")
    made.colorbar(grid[0, 0].imshow(np.eye(4)), ax=list(grid[0, :2]), location="bottom")
    grid[0, 2].loglog([1, 3e4], [2e-3, 7.0])
    grid[0, 2].tick_params(axis="x", rotation=40, labelcolor="red")
    grid[1, 0].plot([1e7, 1.00004e7], [0, 1])
    grid[1, 0].grid(alpha=0.3, linewidth=4.0)
    grid[1, 0].twinx().set_ylabel("again")
    grid[1, 1].tick_params(direction="in", which="both", top=True, labeltop=True)
    grid[1, 1].minorticks_on()
    grid[1, 2].axis("off")
    return made


def test_nothing_that_is_drawn_changes():
    with files.figure_settings(files.STYLE):
        plain = panels()
    late = files.for_print(panels)()
    assert files.figure_bytes(late, "png") == files.figure_bytes(plain, "png")
    for figure in (late, plain):
        figure.set_layout_engine("none")
    assert files.figure_bytes(late, "svg") == files.figure_bytes(plain, "svg")


def test_axes_begin_without_ticks_and_only_within_the_block(monkeypatch):
    with ticks.made_late():
        axes = Figure().subplots()
    assert not {"majorTicks", "minorTicks"} & set(vars(axes.xaxis))
    before = Axis.set_clip_path, Axis.set_tick_params
    with pytest.raises(ZeroDivisionError), ticks.made_late():
        _ = 1 / 0
    assert (Axis.set_clip_path, Axis.set_tick_params) == before
    made = Mock(wraps=Axis._get_tick)
    monkeypatch.setattr(Axis, "_get_tick", lambda axis, major: made(axis, major))
    Figure().subplots()
    assert made.called  # as matplotlib does it


def test_another_matplotlib_does_as_it_likes(monkeypatch):
    monkeypatch.delattr(Axis, "majorTicks")
    before = Axis.set_clip_path
    with ticks.made_late():
        assert Axis.set_clip_path is before


def test_labels_that_are_aligned_are_placed_anew():
    def figure() -> Figure:
        made = Figure(figsize=(4, 2), layout="constrained")
        left, right = made.subplots(1, 2)
        left.plot([0, 1], [0, 1])
        right.plot([0, 1], [0, 1])
        right.set_xticks([0, 1], ["a\nb", "c\nd"])
        left.set_xlabel("left")
        right.set_xlabel("right")
        made.align_xlabels()
        return made

    with files.figure_settings(files.STYLE):
        drawn, plain = figure(), figure()
    picture = files.figure_bytes(drawn, "svg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "_remembering", lambda axis, work_out: work_out)
        assert picture == files.figure_bytes(plain, "svg")
    labels = [axes.xaxis.label.get_position()[1] for axes in drawn.axes]
    assert labels[0] == labels[1]


def test_a_figure_is_cleared_away_when_it_is_written():
    """And the collector is left as it was found."""

    def left() -> int:
        return sum(isinstance(one, Figure) for one in gc.get_objects())

    gc.collect()
    before, on = left(), gc.isenabled()
    for frozen in (False, True):
        if frozen:
            gc.freeze()
        drawing.drawn_files(panels, (), ("png",), None, no_progress)
        assert gc.isenabled() == on and (gc.get_freeze_count() > 0) == frozen
    gc.unfreeze()
    assert left() == before


def test_ticks_are_copies_of_the_first_but_share_nothing_that_changes():
    with files.figure_settings(files.STYLE), ticks.made_late():
        axes = Figure().subplots()
        axes.set_xticks([0.0, 0.5, 1.0])
        first, second, third = axes.xaxis.get_major_ticks(3)
    second.label1.set_fontsize(20)
    second.label1.set_color("red")
    second.tick1line.set_markersize(9)
    assert {one.label1.get_fontsize() for one in (first, third)} == {7.0}
    assert third.label1.get_color() == "black" != second.label1.get_color()
    assert third.tick1line.get_markersize() == 2.5
    axes.tick_params(labelsize=5)  # settings for those to come, too
    assert axes.xaxis.get_major_ticks(4)[3].label1.get_fontsize() == 5.0
    axes.xaxis.reset_ticks()
    assert axes.xaxis.get_major_ticks(2)[1].label1.get_fontsize() == 5.0


def test_further_ticks_are_taken_from_the_first_one_as_it_is(monkeypatch):
    copied = Mock(wraps=Axis._copy_tick_props)
    monkeypatch.setattr(Axis, "_copy_tick_props", lambda *given: copied(*given))
    with ticks.made_late():
        axes = Figure().subplots()
    axes.plot([0, 1], [0, 1])
    first = axes.xaxis.get_major_ticks(1)[0]
    copied.reset_mock()
    first.label1.set_color("red")
    first.tick1line.set_marker(3)
    others = axes.xaxis.get_major_ticks(4)[1:]
    assert {tick.label1.get_color() for tick in others} == {"red"}
    assert {tick.tick1line.get_marker() for tick in others} == {3}
    assert not copied.called
    others[0].label1.set_color("blue")
    assert first.label1.get_color() == "red"
    axes.xaxis._copy_tick_props(others[0], first)  # of any others it is done as ever
    assert copied.called
    assert first.label1.get_color() == "blue"


def pictures() -> Figure:
    """Maps with names of rows and titles, and colour bars below them, of which one has two maps."""
    made = Figure(figsize=(5, 3.2), layout="constrained")
    grid = made.subplots(2, 3)
    for number, axes in enumerate(grid.flat):
        drawn = axes.imshow(np.arange(12.0).reshape(3, 4) * 10**number, extent=(0, 4, 0, 3))
        panels_of_maps.bare(axes)
        panels_of_maps.note(axes, "(a)", "upper left")
        panels_of_maps.scale_bar(axes)
        if number != 1:
            of_bar = [axes] if number else list(grid[0, :2])
            panels_of_maps.colour_bar(made, drawn, of_bar, "[%]")
    grid[0, 0].set_title("two\nlines")
    grid[0, 2].text(1.1, 0.5, "beyond", transform=grid[0, 2].transAxes)
    panels_of_maps.row_labels(grid, ("above", "below"))
    return made


def test_boxes_of_pictures_move_along_and_those_of_bars_are_measured_once():
    with files.figure_settings(files.STYLE):
        plain = pictures()
    late = files.for_print(pictures)()
    asked = Mock(wraps=Axes.get_tightbbox)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "get_tightbbox", lambda *given, **more: asked(*given, **more))
        picture = files.figure_bytes(late, "png")
        measured = [call.args[0] for call in asked.call_args_list]
        patch.setattr(ticks, "_remembering_box", lambda axes: axes.get_tightbbox)
        assert picture == files.figure_bytes(plain, "png")
    shown, bars = late.axes[:6], late.axes[6:]
    twice = {late.axes[2]}  # what reaches beyond is measured at each place
    assert [measured.count(axes) for axes in shown] == [1 + (axes in twice) for axes in shown]
    assert {measured.count(axes) for axes in bars} == {2}
    for axes in late.axes:  # matplotlib's own again
        assert not {"get_tightbbox", "_unstale_viewLim"} & set(vars(axes))
        assert "get_major_ticks" not in vars(axes.xaxis)


def test_limits_for_data_are_found_before_it_is_drawn():
    with files.figure_settings(files.STYLE):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0.0, 2.0], [1.0, 5.0])
        with ticks.placed_once(figure):
            assert axes.viewLim.x0 < 0.0 < 2.0 < axes.viewLim.x1
        axes.plot([7.0], [7.0])
        assert axes.viewLim.x1 > 7.0
