"""*Use crowded defects* in the average widget."""

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from widget_stage import add_region, finish, run, use_truth

from napari_defectstrain.averages.average import NoReferenceError
from napari_defectstrain.pipeline.every_defect import measure_every_defect
from napari_defectstrain.widgets.average import every_defect
from napari_defectstrain.widgets.average import widget as average_module
from napari_defectstrain.widgets.average.controls import EVERY, AveragesTable
from napari_defectstrain.widgets.average.results_panel import MEASUREMENT
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.averages import isolated_runs, of_every_defect, runs
from napari_defectstrain.widgets.layers.sites import kind, note
from napari_defectstrain.widgets.strain.widget import StrainWidget

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTSTRAIN_SETTINGS", str(tmp_path / "widgets.json"))


@pytest.fixture
def stage(qtbot, monkeypatch):
    """An average widget that is asked for every defect, with its warnings."""
    viewer = ViewerModel()
    made, _ = add_region(viewer, 1, size=512, name="region 1")
    use_truth(monkeypatch, made)
    detector = DetectWidget(viewer)
    qtbot.addWidget(detector)
    run(qtbot, detector)
    widget = AverageWidget(viewer)
    qtbot.addWidget(widget)
    widget.windows.references.setValue(40)
    widget.windows.window.setValue(2.0)
    widget.windows.crowded.setChecked(True)
    widget.measure.setChecked(False)
    said = []
    monkeypatch.setattr(every_defect, "show_warning", said.append)
    return viewer, widget, said


def crowded_layers(viewer):
    (found,) = [las for las in runs(viewer).values() if of_every_defect(las)]
    return {note(la)["class"]: la for la in found}


def test_every_defect_comes_in_a_row_and_into_the_table(stage, qtbot):
    viewer, widget, _ = stage
    assert widget.config("WSe2").average.crowded
    run(qtbot, widget)
    finish(qtbot, widget)
    layers = crowded_layers(viewer)
    (isolated,) = isolated_runs(viewer).values()
    below = max(la.extent.world[1, 0] for la in isolated)
    assert all(la.extent.world[0, 0] > below for la in layers.values())
    assert "SV · every defect" in viewer.layers
    measured = layers["SV"].metadata[MEASUREMENT]
    alone = next(la for la in isolated if note(la)["class"] == "SV")
    assert note(layers["SV"])["n"] == measured.spacing.n > note(alone)["n"]
    assert 0 < note(layers["SV"])["effective_n"] < measured.spacing.n
    labels = [la for la in viewer.layers if kind(la) == "average labels"][-1]
    assert list(labels.features["text"])[list(layers).index("SV")] == (
        f"SV  N = {measured.spacing.n}\nall, worth {note(layers['SV'])['effective_n']:.0f}"
    )
    rows = {widget.table.item(i, 0).text(): i for i in range(widget.table.rowCount())}
    text = widget.table.item(rows["SV"], EVERY).text()
    assert text.startswith(f"{100 * measured.spacing.strain:+.2f} ± ")
    assert f"N = {measured.spacing.n}, worth " in text
    assert len([la for la in viewer.layers if kind(la) == "columns"]) == len(layers)
    # its bands are no windows to look through, and nothing measures the pictures alone
    source = widget.results.source
    crowded_run = note(layers["SV"])["run"]
    assert source.currentData() != crowded_run
    source.setCurrentIndex(source.findData(crowded_run))
    assert widget.results.windows.class_box.count() == 0
    strain = StrainWidget(viewer)
    qtbot.addWidget(strain)
    strain.source.setCurrentIndex(strain.source.findData(crowded_run))
    strain.bootstrap.setValue(100)
    run(qtbot, strain)
    assert strain.measured.result.measurements["SV"].spacing.strain == measured.spacing.strain
    # averaging once more in their place takes both rows away
    widget.update_existing.setChecked(True)
    widget.windows.crowded.setChecked(False)
    run(qtbot, widget)
    assert len(runs(viewer)) == 1 and not any(of_every_defect(las) for las in runs(viewer).values())
    assert all(widget.table.item(i, EVERY).text() == "–" for i in range(widget.table.rowCount()))


def test_where_nothing_is_isolated_they_stand_alone(stage, qtbot, monkeypatch):
    viewer, widget, _ = stage

    def none_there(*_):
        raise NoReferenceError("averaging: no defect-free column is isolated")

    monkeypatch.setattr(average_module, "average_classes", none_there)
    run(qtbot, widget)
    finish(qtbot, widget)
    assert not isolated_runs(viewer)
    layers = crowded_layers(viewer)
    names = [widget.table.item(i, 0).text() for i in range(widget.table.rowCount())]
    assert names == list(layers) and "SV" in names


def test_what_differs_is_said(stage, qtbot, monkeypatch):
    _, widget, said = stage

    def differ(found, progress):
        result = measure_every_defect(found, progress)
        note = "SV: crowded and isolated averages differ by +1.00 ± 0.10 % of strain"
        return replace(result, warnings=(*result.warnings, note))

    monkeypatch.setattr(every_defect, "measure_every_defect", differ)
    run(qtbot, widget)
    finish(qtbot, widget)
    assert any("SV: crowded and isolated averages differ" in text for text in said)
    assert "Every defect: SeTe" in widget.run_bar.status.text()
    assert np.isfinite(widget.run_bar.bar.value())


def test_no_column_of_the_table_is_cut_in_a_narrow_dock(qtbot):
    table = AveragesTable()
    qtbot.addWidget(table)
    table.resize(322, 200)  # of the dock at 1366 x 768
    table.setRowCount(1)
    table.show_row(0, "SeTe", 226, 7, "0.994 (2Se 0.004, DV 0.001)")
    table.show()
    for hidden in (True, False):
        table.setColumnHidden(EVERY, hidden)
        qtbot.wait(50)
        header = table.horizontalHeader()
        shown = [c for c in range(table.columnCount()) if not table.isColumnHidden(c)]
        assert sum(table.columnWidth(c) for c in shown) <= table.viewport().width() + 1
        for column in shown:
            text = table.horizontalHeaderItem(column).text()
            need = max(header.fontMetrics().horizontalAdvance(line) for line in text.split("\n"))
            assert table.columnWidth(column) >= need
