"""Makes the pictures of the documentation: the real plugin at work on the bundled samples.

Needs a display, for instance a virtual one::

    xvfb-run -a -s "-screen 0 1920x1200x24" python docs/making/make_screenshots.py
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.viewer import Viewer
from PIL import Image
from qtpy.QtCore import QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from vispy.gloo import glir

from napari_defectstrain.materials import CHALCOGEN_SITES
from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.base.docking import dock_of
from napari_defectstrain.widgets.base.forms import Panel
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.gallery import open_gallery
from napari_defectstrain.widgets.layers.averages import look_at
from napari_defectstrain.widgets.layers.sites import kind, note
from napari_defectstrain.widgets.series.widget import SeriesWidget
from napari_defectstrain.widgets.strain.widget import StrainWidget
from napari_defectstrain.widgets.train.widget import TrainWidget
from napari_defectstrain.widgets.workbench.widget import WorkbenchWidget

PLUGIN = "napari-defectstrain"
SIZE = (1680, 1050)


def pump(seconds: float) -> None:
    """Let Qt work for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def finish(panel: Panel) -> None:
    """Wait until a widget has no job left."""
    idle = 0
    while idle < 5:
        idle = 0 if panel.run_bar.running else idle + 1
        pump(0.1)
    print(f"{type(panel).__name__}: {panel.run_bar.status.text()}", flush=True)


def shoot(viewer: Viewer, path: Path, small: bool = False) -> None:
    """Save a picture of the whole window; small: in 256 colours, which takes half the bytes."""
    for notification in viewer.window._qt_window.findChildren(NapariQtNotification):
        notification.close()
    pump(1.0)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    if small:
        with Image.open(path) as picture:
            # kmeans: without it greys turn violet, and faint bands vanish
            few = picture.convert("RGB").quantize(
                256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
            )
        few.save(path, optimize=True)
    print(path, flush=True)


def open_viewer(sample: str) -> Viewer:
    """A window of a fixed size with a sample in it."""
    viewer = Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample(PLUGIN, sample)
    viewer.canvas.overlays.scale_bar.visible = True
    pump(1.0)
    viewer.reset_view()
    return viewer


def add(viewer: Viewer, panel: Panel, name: str, tabify: bool) -> None:
    """Dock a widget on the right."""
    viewer.window.add_dock_widget(panel, name=name, area="right", tabify=tabify)
    pump(0.5)


def detection(out: Path) -> None:
    """One region: the opened sample, its defects, its weights, and points being edited."""
    viewer = open_viewer("one_region")
    panel = DetectWidget(viewer)
    add(viewer, panel, "Detect defects", tabify=False)
    viewer.reset_view()
    shoot(viewer, out / "sample.png")
    panel.run()
    finish(panel)
    shoot(viewer, out / "detect.png")
    weights(viewer, panel)
    shoot(viewer, out / "weights.png", small=True)
    panel.weights_panel.forget()
    dock_of(panel.weights_panel).close()
    edit(viewer, panel)
    shoot(viewer, out / "edit.png")
    viewer.close()


def gallery(out: Path) -> None:
    """All detections of one region, the strangest first, some of them in a lasso."""
    viewer = open_viewer("one_region")
    panel = DetectWidget(viewer)
    add(viewer, panel, "Detect defects", tabify=False)
    panel.run()
    finish(panel)
    shown = open_gallery(viewer)
    while shown.looks is None or shown.looks.core is None:
        pump(0.2)
    shown.which.sort.setCurrentText("distance (sigma)")
    shown.which.chips["other"].setChecked(False)
    plot = shown.side.plot
    rows = shown.grid.list.rows
    place = plot.place_of(rows)
    middle = np.nanmedian(place[shown.looks.detections.class_index[rows] == 2], axis=0)
    angle = np.linspace(0.0, 2.0 * np.pi, 30)
    corners = middle + 26.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    QTest.mousePress(plot, Qt.MouseButton.LeftButton, pos=QPointF(*corners[0]).toPoint())
    for corner in corners:
        QTest.mouseMove(plot, QPointF(*corner).toPoint())
    QTest.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=QPointF(*corners[-1]).toPoint())
    pump(1.0)
    shoot(viewer, out / "gallery.png", small=True)
    viewer.close()


def weights(viewer: Viewer, panel: DetectWidget) -> None:
    """The histogram of weights, with the columns between 2Se and SeTe selected."""
    panel.weights_button.click()
    canvas = panel.weights_panel.canvas
    while not canvas.drawn:
        pump(0.2)
    panel.weights_panel.select(0.88, 1.04, CHALCOGEN_SITES)
    pump(0.5)
    while not canvas.drawn:
        pump(0.2)


def edit(viewer: Viewer, panel: DetectWidget) -> None:
    """Zoom in, add one point, and select two others."""
    defects = viewer.layers[-1]
    middle = np.array(viewer.layers[0].data.shape) / 2
    viewer.scene.camera.center = (0.0, *viewer.layers[0].data_to_world(middle))
    viewer.scene.camera.zoom *= 4.5
    panel.edit.select()
    sites = next(la for la in viewer.layers if la.name.endswith("· sites"))
    perfect = sites.data[(sites.features["class"] == "2Se").to_numpy()]
    defects.add(perfect[np.hypot(*(perfect - middle - 20).T).argmin()])
    near = np.argsort(np.hypot(*(defects.data - middle).T))[:2]
    defects.selected_data = {int(i) for i in near}


def nine_regions() -> tuple[Viewer, DetectWidget, AverageWidget, StrainWidget]:
    """The nine regions with their defects, and the three widgets for them."""
    viewer = open_viewer("nine_regions")
    panels = DetectWidget(viewer), AverageWidget(viewer), StrainWidget(viewer)
    for i, (panel, name) in enumerate(
        zip(panels, ("Detect defects", "Average classes", "Strain maps"), strict=True)
    ):
        add(viewer, panel, name, tabify=i > 0)
    detect = panels[0]
    detect.image.setCurrentIndex(detect.image.count() - 1)
    _raise(detect)
    detect.run()
    finish(detect)
    viewer.layers.selection.active = viewer.layers[-1]
    viewer.reset_view()
    return viewer, *panels


def averages(out: Path) -> None:
    """Averages of nine regions with plots, a window that was left out, columns."""
    viewer, _, average, _ = nine_regions()
    _raise(average)
    average.run()
    finish(average)
    shoot(viewer, out / "averages.png", small=True)
    mean = next(la for la in viewer.layers if kind(la) == "average" and note(la)["class"] == "SV")
    columns = next(
        la for la in viewer.layers if kind(la) == "columns" and note(la)["class"] == "SV"
    )
    columns.visible = True
    viewer.layers.selection.active = columns
    look_at(viewer, [mean])
    viewer.scene.camera.zoom *= 0.6
    shoot(viewer, out / "columns.png", small=True)
    columns.visible = False
    names = [average.table.item(i, 0).text() for i in range(average.table.rowCount())]
    average.look_through(names.index("SeTe"))
    view = average.results.windows
    view.filter_box.setCurrentText("left out")
    pump(0.5)
    view.grid.setCurrentIndex(view.model.index(0, 0))
    shoot(viewer, out / "windows.png", small=True)
    viewer.close()


def measurement(out: Path) -> None:
    """Nine regions and their defects; `make_strain_screenshots` shows their strain."""
    viewer, *_ = nine_regions()
    shoot(viewer, out / "nine_regions.png", small=True)
    viewer.close()


def training(out: Path) -> None:
    """One region beside simulated examples, and a training of some minutes."""
    viewer = open_viewer("one_region")
    panel = TrainWidget(viewer)
    add(viewer, panel, "Train a network", tabify=False)
    viewer.reset_view()
    for button in (panel.own.take_button, panel.examples.button):
        button.click()
        finish(panel)
    panel.examples.marks.click()
    shoot(viewer, out / "train.png", small=True)
    # Small windows, few of them: a picture of a curve, not weights to use.
    panel.base = panel.base.replace(window_px=96, batch=4, calibration_windows=8)
    panel.steps.setValue(1000)
    panel.epoch.setValue(20)
    with tempfile.TemporaryDirectory() as folder:
        panel.weights.setText(str(Path(folder) / "mine.safetensors"))
        panel.run_bar.run_button.click()
        while len(panel.log.record) < 15:
            pump(1.0)
        shoot(viewer, out / "training.png", small=True)
        panel.run_bar.cancel()
        finish(panel)
    viewer.close()


def series(out: Path) -> None:
    """The dose series, followed: tracks and events over the last sum, and its plots."""
    viewer = open_viewer("dose_series")
    panel = SeriesWidget(viewer)
    add(viewer, panel, "Follow a series", tabify=False)
    viewer.reset_view()
    panel.straighten.setChecked(False)
    panel.run()
    finish(panel)
    viewer.dims.set_current_step(0, len(panel.result.histories.sums) - 1)
    viewer.reset_view()
    shoot(viewer, out / "follow_series.png", small=True)
    viewer.close()


SIZES = ((1366, 768), (1920, 1080))
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
"""How linear RGB looks without the middle cones (Machado, Oliveira and Fernandes 2009, severity 1;
doi 10.1109/TVCG.2009.113)."""


def as_deuteranope(path: Path) -> Path:
    """Write a picture as somebody without the middle cones sees it, beside it."""
    with Image.open(path) as picture:
        value = np.asarray(picture.convert("RGB"), dtype=float) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ DEUTERANOPIA.T, 0.0, 1.0)
    shown = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    new = path.with_name(f"{path.stem}_deuteranopia.png")
    Image.fromarray(np.rint(255 * shown).astype(np.uint8)).save(new)
    print(new, flush=True)
    return new


def steps(out: Path, judge: Path | None = None) -> None:
    """The four steps in one dock, one region; in all sizes and colours for who judges them."""
    viewer = Viewer(show=True)
    window = viewer.window._qt_window
    bench = WorkbenchWidget(viewer)
    window.setGeometry(0, 0, *SIZES[0])
    add(viewer, bench, "Defect strain", tabify=False)

    def look(name: str) -> None:
        for size in SIZES if judge else SIZES[:1]:
            window.setGeometry(0, 0, *size)
            pump(0.5)
            folder, end = (judge, f"_{size[0]}") if judge else (out, "")
            path = folder / f"steps_{name}{end}.png"
            shoot(viewer, path, small=not judge)
            if judge:
                as_deuteranope(path)
        window.setGeometry(0, 0, *SIZES[0])

    def press(text: str) -> None:
        button = next(b for b in bench.advice_buttons if b.text().replace("&", "") == text)
        button.click()
        pump(0.5)
        while bench.busy:
            pump(0.2)
        pump(0.5)

    look("empty")
    press("Open the sample")
    if judge:
        bench.start_tour()
        look("tour")
        bench.leave_tour()
    press("Detect")
    look("detect")
    viewer.scene.camera.zoom *= 3
    press("Correct")
    look("correct")
    press("Average")
    if judge:
        look("average")
    press("Measure strain")
    if judge:
        look("strain")
    bench.show_step(3)
    look("report")
    if judge:
        for dialog, name in (
            (bench.show_preferences(), "preferences"),
            (bench.show_keys(), "keys"),
        ):
            pump(0.5)
            dialog.grab().save(str(judge / f"steps_{name}.png"))
            dialog.close()
    viewer.close()


def _raise(panel: Panel) -> None:
    """Bring the tab of a docked widget to the front."""
    dock = panel.parent()
    while dock is not None and not hasattr(dock, "raise_and_activate"):
        if type(dock).__name__ == "QtViewerDockWidget":
            break
        dock = dock.parent()
    if dock is not None:
        dock.raise_()
    pump(0.3)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "images"
    parser.add_argument("--out", type=Path, default=default, help="folder of the pictures")
    parts = {
        "detection": detection,
        "gallery": gallery,
        "averages": averages,
        "measurement": measurement,
        "training": training,
        "series": series,
        "steps": steps,
    }
    parser.add_argument(
        "--judge",
        type=Path,
        help="folder of the four steps in two sizes and as a deuteranope sees them; nothing else",
    )
    parser.add_argument("--only", choices=parts, help="one part only")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # Mesa 22 crashes in a visible viewer when the programs of removed layers are deleted.
    glir.GlirProgram.delete = lambda self: None
    with tempfile.TemporaryDirectory() as folder:
        # Pictures show the defaults, and leave the user's own settings alone.
        os.environ["DEFECTSTRAIN_SETTINGS"] = str(Path(folder) / "widgets.json")
        napari.settings.get_settings().application.save_window_geometry = False
        if args.judge:
            args.judge.mkdir(parents=True, exist_ok=True)
            steps(args.out, args.judge)
            return
        for name, part in parts.items():
            if args.only in (None, name):
                part(args.out)


if __name__ == "__main__":
    main()
