"""Files of figures: text stays text, widths are those of print, no thread's settings leak."""

import io
import re
import tempfile
import threading
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_stage import average, displacement, made_up_stack, spacing, strain
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from napari_defectstrain.cli.main import main
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures import detection as figures_detection
from napari_defectstrain.output.figures import files as figures_files
from napari_defectstrain.output.figures import maps as figures
from napari_defectstrain.output.figures import precision as figures_precision
from napari_defectstrain.output.figures.strain import (
    comparison_figure,
    displacement_figure,
    strain_figure,
)
from napari_defectstrain.output.results import FIGURE_FORMATS, figure_formats
from napari_defectstrain.types import DefectStrainError

NAMES = ("2Se", "SeTe", "2Te", "SV", "DV")


def made_up_figures() -> dict[str, Figure]:
    """A figure of each kind that has several panels, of five classes."""
    rng = np.random.default_rng(5)
    stacks = {name: made_up_stack(name, 0.5, rng) for name in NAMES}
    averages = {name: average(stack) for name, stack in stacks.items()}
    defects = NAMES[1:]
    fields = {name: displacement(name, 1.0) for name in defects}
    maps = {name: strain(name, 1.0) for name in defects}
    spacings = {name: spacing(name, 330.0 - 3.0 * i, 0.3, rng) for i, name in enumerate(NAMES)}
    single = {name: rng.normal(330.0, 7.0, 60) for name in NAMES}
    log = pd.DataFrame({"step": [1, 2], "loss": [0.2, 0.1], "precision_V1": [0.9, 0.95]})
    return {
        "averages": figures.averages_figure(stacks, averages),
        "displacement": displacement_figure(averages, fields, maps, maps),
        "strain": strain_figure(maps["SV"], fields["SV"]),
        "comparison": comparison_figure({"measured": maps["SV"]}, fields["SV"]),
        "spacings": figures_precision.spacing_figure(single, spacings, WSE2),
        "training": figures_detection.training_figure(log, WSE2),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    return made_up_figures()


def letters(figure: Figure) -> list[str]:
    """Letters of panels in the order of reading: rows from above, in a row from the left."""
    found = []
    for axes in figure.axes:
        titles = [axes.get_title(loc) for loc in ("left", "center")]
        words = [text.get_text() for text in axes.texts] + titles
        marks = [m.group(1) for word in words if (m := re.match(r"\((\w)\)", word))]
        box = axes.get_position()
        found += [(-round(box.y1, 2), box.x0, mark) for mark in marks]
    return [mark for *_, mark in sorted(found)]


@pytest.mark.slow
def test_letters_of_panels_are_consecutive(drawn):
    panels = {
        "averages": 10,
        "displacement": 12,
        "strain": 10,
        "comparison": 3,
        "spacings": 3,
        "training": 3,
    }
    for name, figure in drawn.items():
        figure.canvas.draw()
        assert "".join(letters(figure)) == "abcdefghijklmnop"[: panels[name]], name


def test_figures_are_one_or_two_columns_wide_with_letters_of_seven_to_eight_points(drawn):
    for name, figure in drawn.items():
        assert figure.get_figwidth() in (3.3, 7.0), name
        assert figure.get_figheight() <= 9.5
        sizes = {t.get_fontsize() for t in figure.findobj(Text) if t.get_text()}
        assert min(sizes) >= 7 and max(sizes) <= 8, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIGURE_FORMATS)
def test_text_stays_text(drawn, tmp_path, kind):
    (path,) = figures_files.write_figure(
        drawn["spacings"], tmp_path.joinpath, "v1.2 spacings", [kind]
    )
    assert path.name == f"v1.2 spacings.{kind}"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    content = path.read_bytes()
    if kind == "png":
        assert content.startswith(b"\x89PNG")
    if kind == "pdf":
        assert b"/Type3" not in content and b"/Type 3" not in content
        assert b"/TrueType" in content or b"/CIDFontType2" in content
    if kind == "svg":
        root = ET.fromstring(content)
        words = " ".join(" ".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text"))
        assert "W–W spacing [pm]" in words and "SeTe: 327.00 ± 0.30 pm, N = 20" in words


@pytest.mark.slow
def test_the_same_figure_gives_the_same_files(tmp_path):
    """No dates, no random names."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        rng = np.random.default_rng(2)
        samples = {"SV": spacing("SV", 314.0, 0.3, rng)}
        figure = figures_precision.spacing_figure({"SV": rng.normal(size=9)}, samples, WSE2)
        figures_files.write_figure(figure, (tmp_path / folder).joinpath, "spacings", FIGURE_FORMATS)
    for kind in FIGURE_FORMATS:
        first, second = (tmp_path / f / f"spacings.{kind}" for f in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_the_style_of_the_user_is_neither_taken_over_nor_changed(tmp_path):
    mine = {"font.size": 20.0, "axes.facecolor": "black", "pdf.fonttype": 3}
    with mpl.rc_context(mine):
        figure = figures.averages_figure(*_one_class())
        figures_files.save_figure(figure, tmp_path / "a.pdf")
        assert {name: mpl.rcParams[name] for name in mine} == mine
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()
    sizes = {t.get_fontsize() for t in figure.findobj(Text) if t.get_text()}
    assert max(sizes) <= 8


def _one_class():
    stack = made_up_stack("SV", 0.5, np.random.default_rng(1))
    return {"SV": stack}, {"SV": average(stack)}


def test_settings_of_two_threads_do_not_mix():
    """Where two `rc_context` overlap, the one that ends last leaves the other's settings."""
    before, inside, seen = mpl.rcParams["font.size"], threading.Event(), []

    def elsewhere():
        inside.wait(5)
        with figures_files.figure_settings({"font.size": 33.0}):
            seen.append(mpl.rcParams["font.size"])

    other = threading.Thread(target=elsewhere)
    other.start()
    with figures_files.figure_settings({"font.size": 22.0}):
        inside.set()
        other.join(0.1)  # it waits for its turn
        assert mpl.rcParams["font.size"] == 22.0 and not seen
    other.join(5)
    assert seen == [33.0] and mpl.rcParams["font.size"] == before


def test_formats_are_told_by_their_names():
    assert figure_formats("png") == ("png",)
    assert figure_formats(" PDF,.svg, pdf") == ("pdf", "svg")
    for wrong in ("", "png,", "jpg", "pdf;svg"):
        with pytest.raises(DefectStrainError, match="expected some of png, pdf, svg"):
            figure_formats(wrong)


@pytest.mark.parametrize("command", ["run", "detect", "evaluate"])
def test_an_unknown_format_is_refused_in_one_line_before_any_work(tmp_path, capsys, command):
    out = tmp_path / "out"
    places = ["nowhere"] if command != "evaluate" else ["nowhere", "neither"]
    assert main([command, *places, "--out", str(out), "--figures", "png,jpeg"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "figures: got jpeg, expected some of png, pdf, svg" in said
    assert not out.exists()


@pytest.mark.slow
def test_signs_of_maps_are_told_without_colours():
    field = strain("SV", -1.0)
    figure = strain_figure(field, displacement("SV", -1.0))
    (dilation,) = (a for a in figure.axes if a.get_title().startswith("dilation"))
    (contour,) = (c for c in dilation.collections if hasattr(c, "levels"))
    assert contour.levels[0] == pytest.approx(0.5 * dilation.images[0].get_clim()[0])
    assert contour.linestyles == "--"
    figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_a_picture_is_drawn_once_and_no_other_than_matplotlib_draws():
    """Laid out, with pictures, colour bars and letters: every pixel, and its size in print."""

    def figure() -> Figure:
        field = strain("SV", -1.0)
        return strain_figure(field, displacement("SV", -1.0))

    expected = io.BytesIO()
    with figures_files.figure_settings(figures_files.STYLE):
        figure().savefig(expected, format="png", dpi=figures_files.DPI)
    drawn = figure()
    canvas, dpi, colour = drawn.canvas, drawn.dpi, drawn.get_facecolor()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        count = Mock(wraps=drawn.draw)
        patch.setattr(drawn, "draw", count)
        path = Path(name) / "strain.png"
        figures_files.save_figure(drawn, path)
        written = Image.open(path)
        pixels = np.array(written)
    assert count.call_count == 1
    assert np.array_equal(pixels, np.array(Image.open(expected))[..., :3])
    assert written.info["dpi"] == pytest.approx((300.0, 300.0), abs=0.01)
    assert (drawn.canvas, drawn.dpi, drawn.get_facecolor()) == (canvas, dpi, colour)


def test_ticks_are_placed_once_and_where_matplotlib_places_them(monkeypatch):
    """Labels that change the layout, a logarithmic axis, shared ones, an offset, a colour bar."""

    def figure() -> Figure:
        made = Figure(figsize=(3.3, 2.5), layout="constrained")
        left, right, low = made.subplots(1, 3, width_ratios=(3, 1, 2))
        left.loglog([1, 3e4], [2e-3, 7.0])
        left.set_ylabel("error [pm]")
        right.plot([1e7, 1.00004e7], [0, 1])
        right.sharey(low)
        made.colorbar(low.imshow(np.eye(3) * 1e5, aspect="auto"), ax=low, location="bottom")
        low.twinx().set_ylabel("again")
        return made

    drawn, plain = figure(), figure()
    worked_out = Mock(wraps=drawn.axes[0].xaxis.get_major_ticks)
    monkeypatch.setattr(drawn.axes[0].xaxis, "get_major_ticks", worked_out)
    picture = figures_files.figure_bytes(drawn, "png")
    monkeypatch.setattr(figures_files, "placed_once", lambda figure: nullcontext())
    assert picture == figures_files.figure_bytes(plain, "png")
    assert not {"_update_ticks", "_get_ticklabel_bboxes", "_update_label_position"} & set(
        vars(drawn.axes[0].xaxis)
    )
    again = Mock(wraps=plain.axes[0].xaxis.get_major_ticks)
    monkeypatch.setattr(plain.axes[0].xaxis, "get_major_ticks", again)
    figures_files.figure_bytes(plain, "png")
    assert worked_out.call_count < again.call_count


def test_a_figure_that_is_written_keeps_no_canvas():
    """Figures wait for the garbage collector, and their letters remember what drew them."""
    figure = made_up_figures()["averages"]
    figures_files.figure_bytes(figure, "png")
    figure.set_layout_engine("none")
    first = figures_files.figure_bytes(figure, "png")
    drawn_by = [t._renderer for t in figure.findobj(Text) if t._renderer is not None]
    assert drawn_by and all(one.width * one.height == 1 for one in drawn_by)
    assert figures_files.figure_bytes(figure, "png") == first  # it can be drawn again
