"""The strain widget: arrows, maps beside theory, line profile, references, figures."""

from importlib.resources import files
from textwrap import fill

import ase.io
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from napari.components import ViewerModel
from numpy.testing import assert_allclose
from report_stage import results_folder
from strain_stage import (
    SIGMA_PM,
    SITE,
    measured_classes,
    settle,
    show_averages,
    strain_widget,
)
from widget_stage import answers, drag, errors, run

from napari_defectstrain.averages.choice import leave_out
from napari_defectstrain.output.figures import files as figures_files
from napari_defectstrain.types import DisplacementField, StrainField
from napari_defectstrain.widgets.base import forms, saving
from napari_defectstrain.widgets.layers.averages import (
    OUTDATED,
    STACK,
    look_at,
    update_average,
    world_box_pm,
)
from napari_defectstrain.widgets.layers.fields import add_displacement, map_title, show_maps
from napari_defectstrain.widgets.layers.sites import kind, note, provenance
from napari_defectstrain.widgets.layers.window_edits import window_edits_of
from napari_defectstrain.widgets.strain import comparison_view, figure_files, report_writing
from napari_defectstrain.widgets.strain import widget as strain_module
from napari_defectstrain.widgets.strain.controls import NO_MODEL
from napari_defectstrain.widgets.strain.figure_files import expected_paths
from napari_defectstrain.widgets.strain.profile_plot import PX_PER_NOTE, write_notes
from napari_defectstrain.widgets.strain.widget import StrainWidget


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


@pytest.fixture
def staged(qtbot, monkeypatch):
    """Averages that were measured, set beside theory."""
    viewer = ViewerModel()
    show_averages(viewer)
    widget = strain_widget(viewer, qtbot, monkeypatch)
    run(qtbot, widget)
    settle(qtbot, widget)
    return viewer, widget


def of_kind(viewer, what):
    return [la for la in viewer.layers if kind(la) == what]


def panels(viewer):
    return {note(la)["panel"]: la for la in of_kind(viewer, "comparison map")}


def a_field(name="SV"):
    """Two columns, and a strain field whose dilation rises along x by 1e-5 a pm."""
    site = np.array([[0.0, 190.0], [190.0, 0.0]])
    u = np.array([[0.0, 5.0], [-3.0, 0.0]])
    x = np.arange(-100.0, 101.0, 10.0)
    grid = np.tile(1e-5 * x, (len(x), 1))
    components = dict.fromkeys(("exx", "eyy", "exy", "rotation", "dilation"), grid)
    strain = StrainField(name, x, -x, components, {k: 0.1 * v for k, v in components.items()}, 60.0)
    return DisplacementField(name, site, np.array([True, False]), u, np.eye(4)), strain


def test_arrows_start_at_the_sites_and_point_with_y_up():
    viewer = ViewerModel()
    field, _ = a_field()
    layer = add_displacement(viewer, field, (1000.0, 2000.0), 10.0, provenance("displacement", {}))
    # a column above the defect (y up) lies at smaller y in the world, and moves further up
    assert_allclose(layer.data[0], [[810.0, 2000.0], [-5.0, 0.0]])
    assert_allclose(layer.data[1], [[1000.0, 2190.0], [0.0, -3.0]])
    assert layer.length == 10.0
    assert layer.vector_style == "arrow"
    assert_allclose(layer.features["magnitude_pm"], [5.0, 3.0])


def test_columns_without_a_fit_get_no_arrow():
    field, _ = a_field()
    field.u_pm[0] = np.nan
    layer = add_displacement(ViewerModel(), field, (0.0, 0.0), 1.0, provenance("displacement", {}))
    assert len(layer.data) == 1


def maps_of(viewer, components, top_pm=1000.0):
    _, strain = a_field()
    about = {"SV": provenance("displacement", {}, **{"class": "SV"})}
    labels = provenance("map labels", {}, of="maps")
    centres = {"SV": (0.0, 500.0)}
    fields = {"SV": strain}
    return show_maps(viewer, fields, centres, 2000.0, top_pm, components, True, 0.0, about, labels)


def test_maps_are_in_per_cent_with_symmetric_limits_and_lie_where_they_belong():
    viewer = ViewerModel()
    maps = maps_of(viewer, ["dilation"])
    assert [la.name for la in maps] == ["SV · dilation (%)", "SV · σ dilation (%)"]
    dilation, sigma = maps
    assert_allclose(dilation.contrast_limits, (-0.1, 0.1))
    assert_allclose(sigma.contrast_limits, (0.0, 0.01))
    # x = +100 pm is in the last column, 100 pm right of the centre of its class
    assert_allclose(dilation.data[0, -1], 0.1)
    assert_allclose(dilation.data_to_world((10, 20))[1], 600.0)
    (labels,) = of_kind(viewer, "map labels")
    assert labels.features["text"][0] == "dilation ±0.1 %"
    dilation.contrast_limits = (-0.05, 0.05)
    assert labels.features["text"][0] == map_title(dilation) == "dilation ±0.05 %"


def test_maps_that_are_there_are_changed_and_hidden_never_doubled():
    viewer = ViewerModel()
    (first, _) = maps_of(viewer, ["dilation"])
    top = first.translate[0]
    exx, _, dilation, _ = maps_of(viewer, ["exx", "dilation"])
    assert dilation is first
    assert exx.translate[0] == top < dilation.translate[0]
    assert len(of_kind(viewer, "map")) == 4
    assert maps_of(viewer, []) == []
    assert not any(la.visible for la in of_kind(viewer, "map"))
    (labels,) = of_kind(viewer, "map labels")
    assert not labels.visible


def test_strain_without_averages_is_said(qtbot, monkeypatch):
    shown = errors(monkeypatch)
    widget = StrainWidget(ViewerModel())
    qtbot.addWidget(widget)
    run(qtbot, widget)
    assert "average the classes" in shown[0]


def test_strain_adds_arrows_maps_and_tables(staged, qtbot, tmp_path, monkeypatch):
    viewer, widget = staged
    arrows = {note(la)["class"]: la for la in of_kind(viewer, "displacement")}
    assert [arrows[n].length for n in ("SeTe", "SV")] == [40, 10]
    assert note(arrows["SV"])["parameters"]["bootstrap"] == widget.bootstrap.value()
    assert {la.name for la in of_kind(viewer, "map")} == {
        "SeTe · dilation (%)",
        "SV · dilation (%)",
    }
    assert [widget.table.item(i, 0).text() for i in range(3)] == ["2Se", "SeTe", "SV"]
    assert widget.table.item(0, 4).text() == "reference"
    written = []
    monkeypatch.setattr(strain_module, "displacement_table", lambda _: pd.DataFrame({"a": [1]}))
    for i, name in enumerate(("spacings.csv", "displacement.csv")):
        monkeypatch.setattr(forms, "ask_save_path", lambda *_, n=name: str(tmp_path / n))
        widget.export_buttons[i].click()
        written.append(pd.read_csv(tmp_path / name))
    assert list(written[0]["class"]) == ["2Se", "SeTe", "SV"]
    widget.controls.enlargement["V1"].setValue(25)
    assert [arrows[n].length for n in ("SeTe", "SV")] == [40, 25]
    # the scale arrow is a round length, enlarged alike: 10 pm are 250 pm in the picture
    scale = viewer.layers["arrows · scale"].data[1, 1]
    assert_allclose(scale, [0.0, 250.0])
    longest = arrows["SV"].features["magnitude_pm"].max()
    text = viewer.layers["arrows · labels"].features["text"][1]
    assert text == f"10 pm  ×25  ≤ {longest:.1f} pm"
    # again (with the same outcome): numbered, and the old ones hidden under the new
    run(qtbot, widget)
    settle(qtbot, widget)
    assert not viewer.layers["SV · displacement"].visible
    assert viewer.layers["SV · displacement [1]"].visible
    assert len(of_kind(viewer, "comparison map")) == 4


def test_theories_lie_beside_the_measurement_with_linked_colours(staged):
    viewer, widget = staged
    shown = panels(viewer)
    assert list(shown) == ["measured", "Eshelby", "reference", "difference"]
    assert [la.name for la in shown.values()] == [f"SV · dilation · {p} (%)" for p in shown]
    boxes = [world_box_pm(la) for la in shown.values()]
    for left, right in zip(boxes, boxes[1:], strict=False):
        assert left[1, 1] < right[0, 1]
        assert_allclose(left[:, 0], right[:, 0])
    averages = [world_box_pm(la) for la in of_kind(viewer, "average")]
    assert boxes[0][0, 0] > max(b[1, 0] for b in averages)
    comparison = widget.view.answer.comparison
    for panel, layer in shown.items():
        expected = 100 * comparison.strain[panel].components["dilation"]
        assert_allclose(layer.data, expected)
        assert [str(u) for u in layer.units] == ["picometer"] * 2
    shown["Eshelby"].contrast_limits = (-2.0, 2.0)
    assert all(tuple(la.contrast_limits) == (-2.0, 2.0) for la in shown.values())
    shown["reference"].visible = False
    assert not any(la.visible for la in shown.values())
    texts = list(viewer.layers["comparison · labels"].features["text"])
    assert texts[-3:] == ["+2 %", "0", "−2 %"] and "growth positive" in texts[0]
    assert texts[1:3] == ["measured", "Eshelby"]
    assert "PBE, unconverged,\nsee reference_structures.md" in texts[3]
    assert texts[4] == "measured − reference"
    # what was built in is found: the structure agrees, the elastic model doesn't
    value = widget.comparison_table.value
    assert float(value("Best amplitude s").split(" ")[0]) == pytest.approx(1.0, abs=0.04)
    assert widget.view.answer.comparison.amplitude.full.p_value > 1e-3
    assert float(value("Eshelby χ²/dof").split(" ")[0]) > 2
    note_of_bundled = "PBE, unconverged, see reference_structures.md"
    assert value(note_of_bundled) == note_of_bundled
    assert "interpretation" in value("Passivated")
    assert value("Out of plane").startswith("up to ")
    assert "ring" in widget.controls.component.toolTip()


def test_the_numbers_for_theory_stand_in_the_table(staged, qtbot, monkeypatch):
    _, widget = staged
    shown = errors(monkeypatch)
    numbers = widget.view.answer.comparison.numbers
    line = f"SV: 2πA = {2 * np.pi * numbers.far.strength_pm2:.0f} ("
    assert numbers.line.startswith(line)
    assert "elastic dipole -" in numbers.line
    value = widget.comparison_table.value
    assert value("2πA") == numbers.said["2πA"]
    for name in ("Relaxation area", "Elastic dipole", "Anisotropy"):
        assert value(name) == numbers.said[name.lower()]
    assert value("Lattice χ²/dof").endswith(f"ΔAIC {numbers.gain:.0f}")
    assert "lattice statics explains more than Eshelby" in numbers.verdict
    assert not widget.controls.c12.isEnabled()
    before = numbers.far.dipole_ev[0]
    widget.controls.c11.setValue(238.0)
    widget.controls.c12.setValue(46.0)
    settle(qtbot, widget)
    stiff = widget.view.answer.comparison.numbers.far
    assert widget.controls.c12.isEnabled()
    assert stiff.dipole_ev[0] == pytest.approx(2 * before, rel=1e-6)
    assert stiff.elastic.source == "as given"
    widget.controls.c12.setValue(500.0)
    settle(qtbot, widget)
    assert "those of a stable sheet" in shown[-1]
    widget.controls.c11.setValue(0.0)
    settle(qtbot, widget)
    assert widget.view.answer.comparison.numbers.far.dipole_ev[0] == pytest.approx(before)
    widget.controls.model.setCurrentText(NO_MODEL)
    settle(qtbot, widget)
    assert widget.view.answer.asked.target == ""
    assert value("2πA") == value("Lattice χ²/dof") == ""
    assert set(widget.profile.profile.models) == {"reference"}


def test_controls_change_layers_in_place(staged, qtbot):
    viewer, widget = staged
    before = {la.unique_id: la.name for la in viewer.layers}
    shown, controls = panels(viewer), widget.controls
    maximum = np.nanmax(np.abs(shown["measured"].data))
    limits = tuple(shown["measured"].contrast_limits)
    controls.smoothing.setValue(0.0)
    settle(qtbot, widget)
    assert np.nanmax(np.abs(shown["measured"].data)) > maximum
    assert tuple(shown["measured"].contrast_limits) == limits
    controls.component.setCurrentText("exx")
    controls.class_name.setCurrentText("SeTe")
    controls.smoothing.setValue(60.0)
    settle(qtbot, widget)
    assert {la.unique_id for la in viewer.layers} == set(before)
    assert shown["measured"].name == "SeTe · exx · measured (%)"
    assert widget.view.answer.comparison.reference.name == "SeTe_9x9.extxyz"
    controls.class_name.setCurrentText("SV")
    controls.component.setCurrentText("dilation")
    settle(qtbot, widget)
    assert {la.unique_id: la.name for la in viewer.layers} == before
    assert np.nanmax(np.abs(shown["measured"].data)) == pytest.approx(maximum)
    # without theories their maps are empty, and what is left is told
    controls.reference.choice.setCurrentText("none")
    settle(qtbot, widget)
    texts = list(viewer.layers["comparison · labels"].features["text"])
    assert texts[3:5] == ["no reference", "measured − Eshelby"]
    assert np.isnan(shown["reference"].data).all()
    controls.model.setCurrentText("none")
    settle(qtbot, widget)
    assert np.isnan(shown["Eshelby"].data).all() and np.isnan(shown["difference"].data).all()
    assert not widget.comparison_table.value("Eshelby χ²/dof")


def test_what_is_not_significant_is_faded_on_request(staged):
    viewer, widget = staged
    veil = next(la for la in of_kind(viewer, "significance") if note(la)["panel"] == "measured")
    strain = widget.view.answer.comparison.strain["measured"]
    value, sigma = strain.components["dilation"], strain.sigma["dilation"]
    faded = np.isfinite(value) & (np.abs(value) <= 2 * sigma)
    assert 0 < faded.mean() < 1
    np.testing.assert_array_equal(veil.data[..., 3] > 0, faded)
    widget.controls.fade.setChecked(False)
    assert not veil.visible
    assert viewer.layers["SV · dilation · measured (%)"].visible


def test_ellipses_and_triangles_are_shapes_on_request(staged, qtbot):
    viewer, widget = staged
    assert not of_kind(viewer, "error ellipses") and not of_kind(viewer, "triangles")
    widget.controls.ellipses.setChecked(True)
    (ellipses,) = of_kind(viewer, "error ellipses")
    arrows = viewer.layers["SV · displacement"]
    assert len(ellipses.data) == len(arrows.data)
    # one sigma of 0.3 pm, enlarged ten times as the arrows are, around their tips
    corners = ellipses.data[7]
    assert_allclose(np.ptp(corners, axis=0), 2 * 10 * SIGMA_PM, rtol=1e-3)
    tip = arrows.data[7, 0] + 10 * arrows.data[7, 1]
    assert_allclose(corners.mean(axis=0) + ellipses.translate, tip, atol=1e-3)
    widget.controls.triangles.setCurrentText("metal")
    settle(qtbot, widget)
    (triangles,) = of_kind(viewer, "triangles")
    found = widget.view.answer.triangles
    assert_allclose(triangles.features["value"], 100 * found.components["dilation"])
    assert "metal triangles,\nunsmoothed" in list(
        viewer.layers["comparison · labels"].features["text"]
    )
    colour = triangles.face_color[np.argmin(triangles.features["value"])]
    assert colour[2] > colour[0]  # contraction is blue
    widget.controls.triangles.setCurrentText("none")
    widget.controls.ellipses.setChecked(False)
    settle(qtbot, widget)
    assert not triangles.visible and not ellipses.visible


def test_the_profile_follows_line_and_component(staged, qtbot, tmp_path, monkeypatch):
    viewer, widget = staged
    (line,) = of_kind(viewer, "profile line")
    profile = widget.profile.profile
    assert profile.component == "dilation"
    assert_allclose(profile.point_pm[:, 0], 0.0, atol=1e-9)  # across the defect along y, upwards
    assert profile.point_pm[-1, 1] > profile.point_pm[0, 1]
    assert set(profile.models) == {"Eshelby", "reference", "lattice statics"}
    # along x, over the map of the reference
    offset = panels(viewer)["reference"].translate[1] - panels(viewer)["measured"].translate[1]
    line.data = [np.array([[-190.0, offset - 600.0], [-190.0, offset + 600.0]])]
    settle(qtbot, widget)
    profile = widget.profile.profile
    assert_allclose(profile.point_pm[:, 1], 190.0, atol=1e-6)
    assert_allclose(profile.point_pm[0, 0], -600.0, atol=5.0)
    widget.profile.component.setCurrentText("uy")
    settle(qtbot, widget)
    assert widget.profile.profile.unit == "pm"
    for ending in (".csv", ".png", ".svg", ".pdf"):
        path = tmp_path / f"line{ending}"
        monkeypatch.setattr(saving, "save_dialog", lambda *_, p=path: (str(p), ""))
        widget.profile.export.click()
        assert path.stat().st_size > 1000
    table = pd.read_csv(tmp_path / "line.csv")
    assert_allclose(table["uy_pm"], widget.profile.profile.value)
    line.data = [np.array([[-50_000.0, 0.0], [-49_000.0, 0.0]])]
    settle(qtbot, widget)
    assert widget.profile.profile is None
    assert "outside the maps" in widget.profile.canvas._message
    assert not widget.profile.export.isEnabled()


def write_pair(folder, kind, class_name):
    """The bundled pair in another format, as a user has it: named as such programs do."""
    source = files("napari_defectstrain.sample_data")
    ending = {"vasp": "vasp", "cif": "cif", "extxyz": "xyz"}[kind]
    stem = "CONTCAR_" if kind == "vasp" else "relaxed_"
    paths = folder / f"{stem}{class_name}.{ending}", folder / f"pristine.{ending}"
    for path, name in zip(paths, (f"{class_name}_9x9.extxyz", "pristine_9x9.extxyz"), strict=True):
        ase.io.write(path, ase.io.read(source / name), format=kind)
    return paths


@pytest.mark.parametrize("kind", ["vasp", "cif", "extxyz"])
def test_own_structures_take_one_click(staged, qtbot, tmp_path, monkeypatch, kind):
    viewer, widget = staged
    defect, pristine = write_pair(tmp_path, kind, "SV")
    bundled = panels(viewer)["reference"].data.copy()
    monkeypatch.setattr(forms, "ask_open_path", lambda *_: str(defect))
    asked = answers(monkeypatch, f"Take {pristine.name}")
    widget.controls.reference.button.click()
    settle(qtbot, widget)
    assert "pristine" in asked[0][1].lower()
    assert widget.controls.reference.choice.currentText() == "own files"
    assert widget.view.answer.reference_problem == ""
    reference = widget.view.answer.comparison.reference
    assert reference.name == defect.name
    # formats round coordinates to 1e-5 of a cell, 0.03 pm
    assert_allclose(panels(viewer)["reference"].data, bundled, atol=0.02)
    text = list(viewer.layers["comparison · labels"].features["text"])[3]
    assert text == f"reference {defect.name}"  # the bundled ones' caution is not theirs
    # the next class has none yet
    widget.controls.class_name.setCurrentText("SeTe")
    settle(qtbot, widget)
    assert widget.view.answer.comparison.reference is None
    assert "No structures of SeTe" in widget.controls.reference.label.text()


def test_references_that_do_not_fit_are_refused_in_words(staged, qtbot, tmp_path, monkeypatch):
    viewer, widget = staged
    said = []
    monkeypatch.setattr(comparison_view, "show_warning", said.append)
    defect, pristine = write_pair(tmp_path, "vasp", "SeTe")
    chosen = [str(defect), str(pristine), str(tmp_path / "note.txt"), str(pristine)]
    (tmp_path / "note.txt").write_text("no structure")
    monkeypatch.setattr(forms, "ask_open_path", lambda *_: chosen.pop(0))
    answers(monkeypatch, "Choose another…", "Choose another…")
    widget.controls.reference.button.click()
    settle(qtbot, widget)
    assert "got a structure of SeTe, expected one of SV" in said[0]
    assert "got a structure of SeTe" in widget.comparison_table.value("Reference")
    assert np.isnan(panels(viewer)["reference"].data).all()
    widget.controls.smoothing.setValue(50.0)
    settle(qtbot, widget)
    assert len(said) == 1  # said once
    widget.controls.reference.button.click()
    settle(qtbot, widget)
    assert "note.txt: got a file txt, expected one of extended XYZ" in said[1]


def test_figures_are_saved_with_their_data_and_never_over_others(
    staged, qtbot, tmp_path, monkeypatch
):
    _, widget = staged
    folder = tmp_path / "figures"
    folder.mkdir()
    monkeypatch.setattr(figure_files, "ask_folder", lambda *_: folder)
    monkeypatch.setattr(figures_files, "DPI", 40)
    widget.output_buttons[1].click()
    settle(qtbot, widget)
    names = {p.name for p in folder.iterdir()}
    for stem in ("displacement_dilation", "strain_SV", "strain_all_components_SV", "profile_SV"):
        assert {f"{stem}{ending}" for ending in (".png", ".svg", ".pdf")} <= names
    table = pd.read_csv(folder / "strain_SV.csv")
    strain = widget.view.answer.comparison.strain["Eshelby"].components["eyy"]
    assert_allclose(table["eyy_Eshelby"], strain[np.isfinite(strain)], rtol=1e-5, atol=1e-9)
    columns = pd.read_csv(folder / "displacement_dilation.csv")
    assert len(columns) == len(SITE) and set(columns["class"]) == {"SV"}
    assert {p.name for p in expected_paths(folder, ["SV"], ["png", "pdf", "svg"])} == names
    before = (folder / "strain_SV.csv").stat().st_mtime_ns
    widget.figures.formats.setCurrentText("PDF")
    asked = answers(monkeypatch, None)
    widget.output_buttons[1].click()
    settle(qtbot, widget)
    assert "Replace" in asked[0][1]
    assert (folder / "strain_SV.csv").stat().st_mtime_ns == before
    elsewhere = tmp_path / "print"
    elsewhere.mkdir()
    monkeypatch.setattr(figure_files, "ask_folder", lambda *_: elsewhere)
    widget.output_buttons[1].click()
    settle(qtbot, widget)
    assert {p.suffix for p in elsewhere.iterdir()} == {".pdf", ".csv"}


def test_a_report_of_a_folder_is_written_and_shown(staged, qtbot, tmp_path, monkeypatch):
    _, widget = staged
    folder = results_folder(tmp_path / "run")
    shown = []
    monkeypatch.setattr(report_writing, "show_file", shown.append)
    monkeypatch.setattr(report_writing, "ask_folder", lambda *_: folder)
    widget.report.button.click()
    settle(qtbot, widget)
    assert shown == [folder / "report.html"]
    assert "Reviewer" in shown[0].read_text(encoding="utf-8")
    assert widget.run_bar.status.text() == f"Wrote report.html into {folder}"
    asked = answers(monkeypatch, None)  # it is there now: asked, and not replaced
    before = shown[0].stat().st_mtime_ns
    widget.report.button.click()
    settle(qtbot, widget)
    assert "Replace" in asked[0][1] and shown[0].stat().st_mtime_ns == before
    monkeypatch.setattr(report_writing, "ask_folder", lambda *_: tmp_path)
    widget.report.button.click()  # a folder without results: said, nothing written
    settle(qtbot, widget)
    assert "got no run.json" in widget.run_bar.status.text()
    assert len(shown) == 1


def test_rotation_is_in_mrad_wherever_it_is_shown(staged, qtbot):
    viewer, widget = staged
    controls, shown = widget.controls, panels(viewer)
    controls.maps["rotation"].setChecked(True)
    controls.component.setCurrentText("rotation")
    controls.triangles.setCurrentText("metal")
    controls.limit.setValue(0.5)
    settle(qtbot, widget)
    strain = widget.view.answer.comparison.strain["measured"].components["rotation"]
    assert shown["measured"].name == "SV · rotation · measured (mrad)"
    assert_allclose(shown["measured"].data, 1000 * strain)
    # 0.5 % asked for are 5 mrad
    assert shown["measured"].contrast_limits == [-5.0, 5.0]
    texts = list(viewer.layers["comparison · labels"].features["text"])
    assert texts[0].startswith("SV · rotation (mrad)")
    assert texts[-3:] == ["+5 mrad", "0", "−5 mrad"]
    shown["measured"].contrast_limits = (-4.0, 4.0)
    assert list(viewer.layers["comparison · labels"].features["text"])[-1] == "−4 mrad"
    (triangles,) = of_kind(viewer, "triangles")
    assert triangles.name.endswith("(mrad)")
    found = widget.view.answer.triangles.components["rotation"]
    assert_allclose(triangles.features["value"], 1000 * found)
    assert set(triangles.features["unit"]) == {"mrad"}
    rows = {la.name: la for la in of_kind(viewer, "map")}
    assert map_title(rows["SV · rotation (mrad)"]) == "rotation ±5 mrad"
    assert_allclose(rows["SV · rotation (mrad)"].data, 1000 * strain)


def test_smoothing_beyond_the_window_is_said_and_nothing_changes(staged, qtbot, monkeypatch):
    viewer, widget = staged
    shown = errors(monkeypatch)
    before = panels(viewer)["measured"].data.copy()
    # maps of one sublattice of windows of 1 nm: at most half of their reach
    widget.controls.columns.setCurrentText("metal")
    settle(qtbot, widget)
    widget.controls.smoothing.setMaximum(900.0)
    widget.controls.smoothing.setValue(700.0)
    settle(qtbot, widget)
    assert "got a smoothing of sigma 700 pm, expected at most" in shown[-1]
    widget.controls.columns.setCurrentText("both")
    widget.controls.smoothing.setValue(60.0)
    settle(qtbot, widget)
    assert_allclose(panels(viewer)["measured"].data, before)


def test_other_averages_bring_their_own_measurement(staged, qtbot):
    viewer, widget = staged
    show_averages(viewer, run="second")
    assert widget.source.currentData() == "second"  # the newest is chosen, not measured yet
    assert widget.table.rowCount() == 0
    assert not widget.output_buttons[0].isEnabled()
    widget.source.setCurrentIndex(0)
    settle(qtbot, widget)
    assert widget.table.rowCount() == 3
    assert widget.output_buttons[0].isEnabled()


def test_a_panel_opened_again_shows_what_was_measured(staged, qtbot, monkeypatch):
    viewer, widget = staged
    before = {la.name: la.visible for la in viewer.layers}
    again = strain_widget(viewer, qtbot, monkeypatch)
    settle(qtbot, again)
    assert again.table.rowCount() == 3
    assert again.comparison_table.rowCount() == widget.comparison_table.rowCount() > 0
    assert again.profile.profile is not None
    assert all(button.isEnabled() for button in again.output_buttons)
    assert {la.name: la.visible for la in viewer.layers} == before  # nothing twice, nothing hidden
    # its controls change what is there
    component = note(panels(viewer)["measured"])["component"]
    again.controls.component.setCurrentText("exx" if component != "exx" else "eyy")
    settle(qtbot, again)
    assert note(panels(viewer)["measured"])["component"] != component


def test_the_selected_map_has_the_only_colour_bar_and_none_is_made_while_maps_come(staged, qtbot):
    viewer, widget = staged
    made = []

    def note_bars(event):
        event.value.colorbar.events.visible.connect(lambda _: made.append(event.value.name))

    viewer.layers.events.inserted.connect(note_bars)
    before = len(of_kind(viewer, "map"))
    widget.controls.maps["exx"].setChecked(True)
    settle(qtbot, widget)
    maps = of_kind(viewer, "map")
    assert len(maps) == before + 2 and made == []
    for chosen in maps[:2]:
        viewer.layers.selection.active = chosen
        qtbot.waitUntil(lambda chosen=chosen: chosen.colorbar.visible, timeout=60_000)
        assert [la for la in maps if la.colorbar.visible] == [chosen]


def test_a_panel_opened_after_windows_were_left_out_asks_for_a_measurement(
    staged, qtbot, monkeypatch
):
    viewer, _ = staged
    average = next(la for la in of_kind(viewer, "average") if note(la)["class"] == "SV")
    update_average(viewer, average, leave_out(average.metadata[STACK], [0]))
    again = strain_widget(viewer, qtbot, monkeypatch)
    assert again.table.rowCount() == 0 and again.measured is None


def leave_one_out(viewer, run):
    window_edits_of(viewer).leave_out(run, "SV", [0])


def while_measuring(monkeypatch, act):
    """Do something in the GUI between the end of the fits and what shows them."""
    show = StrainWidget._show

    def later(self, averages, result):
        act()
        return show(self, averages, result)

    monkeypatch.setattr(StrainWidget, "_show", later)


def test_windows_left_out_while_strain_is_measured_make_it_of_before(qtbot, monkeypatch):
    viewer = ViewerModel()
    show_averages(viewer)
    widget = strain_widget(viewer, qtbot, monkeypatch)
    edits = widget._edits
    while_measuring(monkeypatch, lambda: edits.leave_out("run", "SV", [0]))
    run(qtbot, widget)
    settle(qtbot, widget)
    assert of_kind(viewer, "displacement")
    assert all(note(la)[OUTDATED] for la in of_kind(viewer, "displacement"))
    assert edits.outdated("run") and not widget.current and not widget.stale.isHidden()
    edits.undo("run")
    assert not edits.outdated("run") and widget.current and widget.stale.isHidden()


def test_other_averages_chosen_while_measuring_cost_no_arrows(qtbot, monkeypatch):
    viewer = ViewerModel()
    show_averages(viewer)
    show_averages(viewer, run="second")
    widget = strain_widget(viewer, qtbot, monkeypatch)
    widget.choose_run("run")
    while_measuring(monkeypatch, lambda: widget.choose_run("second"))
    run(qtbot, widget)
    settle(qtbot, widget)
    arrows = of_kind(viewer, "displacement")
    assert {(note(la)["run"], note(la)["class"]) for la in arrows} == {
        ("run", "SeTe"),
        ("run", "SV"),
    }
    assert widget.table.rowCount() == 0 and widget.view.measured is None
    widget.choose_run("run")
    settle(qtbot, widget)
    assert widget.table.rowCount() == 3 and widget.view.measured is widget.measured


def test_numbers_of_windows_of_before_are_told_and_written_only_if_asked_for(
    staged, qtbot, tmp_path, monkeypatch
):
    viewer, widget = staged
    path = tmp_path / "spacings.csv"
    monkeypatch.setattr(forms, "ask_save_path", lambda *_: str(path))
    folders = []
    monkeypatch.setattr(figure_files, "ask_folder", lambda *_: folders.append(1))
    assert widget.stale.isHidden()
    leave_one_out(viewer, "run")
    assert not widget.stale.isHidden()
    asked = answers(monkeypatch, None, None, strain_module.EXPORT)
    widget.export_buttons[0].click()
    widget.output_buttons[1].click()
    assert not path.exists() and not folders
    widget.export_buttons[0].click()
    assert path.exists() and len(asked) == 3
    run(qtbot, widget)
    settle(qtbot, widget)
    assert widget.stale.isHidden() and widget.current
    assert not window_edits_of(viewer).outdated("run")  # the arrows of before are still there
    widget.output_buttons[1].click()
    assert folders == [1] and len(asked) == 3


def test_the_line_is_dragged_by_hand_and_the_plot_below_follows(
    make_napari_viewer, qtbot, monkeypatch
):
    viewer = make_napari_viewer(show=True)
    show_averages(viewer, ("2Se", "SV"))
    widget = strain_widget(viewer, qtbot, monkeypatch, measured_classes(("SV",)))
    viewer.window.add_dock_widget(widget, area="right")
    run(qtbot, widget)
    settle(qtbot, widget)
    widget.output_buttons[0].click()
    assert widget.profile.isVisible()
    widget.profile.edit.click()
    (line,) = of_kind(viewer, "profile line")
    assert viewer.layers.selection.active is line
    look_at(viewer, [panels(viewer)["measured"]])
    viewer.scene.camera.zoom *= 0.7
    qtbot.wait(50)
    before = widget.profile.profile
    drag(viewer, line, line.data[0][1], (-600.0, 500.0))
    settle(qtbot, widget)
    after = widget.profile.profile
    assert after is not before
    # a pixel of the screen is about 5 pm
    assert_allclose(line.data[0][1], (-600.0, 500.0), atol=30.0)
    assert_allclose(after.point_pm[-1], (500.0, 600.0), atol=40.0)


@pytest.mark.parametrize("height", [190, 250, 400])
def test_notes_beside_a_profile_are_broken_into_lines_that_fit(height):
    figure = Figure(figsize=(6.0, height / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.subplots()
    notes = "reference: PBE, unconverged, see reference_structures.md; mean of three settings"
    write_notes(figure, fill(notes, max(20, height // PX_PER_NOTE)))
    canvas.draw()
    extent = figure.texts[0].get_window_extent()
    assert extent.y0 >= 0
    assert extent.y1 <= height
