"""How long the gallery of detections makes a person wait, with ten thousand windows.

``xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/bench_gallery.py [--windows 10000]
[--images 1] [--relabel 200] [--average 1400] [--out FOLDER]`` shows as many detections as that on
made-up images of columns, opens the gallery, sorts, scrolls, draws a lasso, relabels and takes that
back, then relabels in averages of a few hundred windows; prints a table of how long each took,
of the CPU time that all its threads took (the rest is waiting for other programs), and of the
longest time that the window stood still meanwhile.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from bench_window import StallMeter
from qtpy.QtCore import QEvent, QObject, QPointF, Qt, QTimer
from qtpy.QtTest import QTest
from scipy.ndimage import gaussian_filter

from napari_defectstrain.averages import AverageConfig, average_stack
from napari_defectstrain.columns import ColumnConfig
from napari_defectstrain.materials import WSE2
from napari_defectstrain.pipeline import RunConfig, average_classes, measure_spacings
from napari_defectstrain.types import CalibratedImage, Sites
from napari_defectstrain.widgets.gallery import open_gallery
from napari_defectstrain.widgets.layers import (
    MEASUREMENT,
    STACK,
    add_averages,
    add_detection,
    layer_id,
    note,
    provenance,
)

PIXEL_PM, BOND = 20.0, 1.0 / np.sqrt(3.0)
WEIGHTS = np.array([1.0, 0.72, 0.85, 1.1, 0.4, 0.1, 0.3])
"""Of the classes, in units of the metal's."""
SCROLLS = 60


def made_up(side: int, defects: int, rng: np.random.Generator) -> tuple[np.ndarray, Sites]:
    """An image of a honeycomb, and its columns with some defects that a model isn't sure of."""
    a = WSE2.lattice_pm / PIXEL_PM
    n = int(1.3 * side / a) + 2
    i, j = (k.ravel() for k in np.mgrid[-n:n, -n:n])
    turn = np.deg2rad(8.0)
    cell = np.stack([a * (i + 0.5 * j), a * np.sqrt(0.75) * j], axis=1)
    both = np.concatenate([cell, cell + np.array([0.5 * a, 0.5 * a * BOND])])
    is_metal = np.repeat([True, False], len(cell))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    place = (both @ rotation.T + side / 2)[:, ::-1]
    inside = ((place > 1) & (place < side - 2)).all(axis=1)
    place, is_metal = place[inside], is_metal[inside]
    role = np.where(is_metal, 0, 1)
    chosen = rng.choice(np.flatnonzero(~is_metal), defects, replace=False)
    role[chosen] = rng.integers(2, 6, defects)
    sure = np.where(role > 1, rng.uniform(0.5, 1.0, len(role)), 1.0)
    chances = np.zeros((len(role), len(WSE2.class_names)))
    chances[np.arange(len(role)), role] = sure
    chances[np.arange(len(role)), np.where(role > 1, 1, 2)] += 1.0 - sure
    weight = WEIGHTS[role] + 0.02 * rng.normal(size=len(role))
    row, column = np.rint(place).astype(int).T
    image = np.zeros((side, side), dtype=np.float32)
    np.add.at(image, (row, column), np.maximum(weight, 0.0))
    image = gaussian_filter(image, 2.6) / 0.0235
    image += 0.05 * rng.standard_normal(image.shape, dtype=np.float32)
    sites = Sites(
        position_px=place + 0.05 * rng.normal(size=place.shape),
        probabilities=chances,
        class_index=role,
        class_names=WSE2.class_names,
        source=np.full(len(role), "model"),
        weight=weight,
        weight_sigma=np.full(len(role), 0.02),
    )
    return image, sites


def add(viewer: napari.Viewer, image: np.ndarray, sites: Sites, name: str) -> None:
    """An image and its detection as layers."""
    look = {"scale": (PIXEL_PM, PIXEL_PM), "units": ("pm", "pm"), "axis_labels": ("y", "x")}
    layer = viewer.add_image(image, name=name, **look)
    add_detection(viewer, layer, [sites], provenance("defects", {"material": "WSe2"}))


class PaintWatch(QObject):
    """When thumbnails were first painted."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.panel, self.at = panel, 0.0
        panel.grid.viewport().installEventFilter(self)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and not self.at:
            QTimer.singleShot(0, self._look)  # once it is painted
        return False

    def _look(self) -> None:
        pictures = self.panel.grid.list._kept.values()
        if not self.at and any(not picture.isNull() for picture in pictures):
            self.at = time.monotonic()


class Steps:
    """Takes the time of each step, and the longest stall meanwhile."""

    def __init__(self) -> None:
        self.meter = StallMeter()
        self.rows: list[tuple[str, float, float, float]] = []

    def take(
        self,
        name: str,
        act: Callable[[], object],
        until: Callable[[], bool] = lambda: True,
        end: Callable[[], float] = time.monotonic,
    ) -> None:
        """Act, and wait until that is so and painted."""
        QTest.qWait(400)
        self.meter.restart()
        start, cpu = time.monotonic(), time.process_time()
        act()
        while not until():
            QTest.qWait(5)
        QTest.qWait(1)  # what is to be painted is painted
        took, cpu = end() - start, time.process_time() - cpu
        QTest.qWait(300)
        stall = self.meter.longest_s
        self.rows.append((name, took, cpu, stall))
        print(f"{name}: {took:.3f} s, cpu {cpu:.3f} s, stall {stall:.3f} s", flush=True)
        if stall > 0.2:
            print(f"    {self.meter.longest_cpu_s:.3f} s cpu: {self.meter.doing}", flush=True)

    def table(self) -> str:
        """What was measured."""
        lines = [
            "| step | time [s] | CPU [s] | longest stall [s] |",
            "| --- | ---: | ---: | ---: |",
        ]
        rows = (f"| {n} | {t:.2f} | {c:.2f} | {s:.2f} |" for n, t, c, s in self.rows)
        return "\n".join([*lines, *rows])


def looked_through(viewer: napari.Viewer, options: argparse.Namespace, steps: Steps) -> None:
    """The gallery of all detections."""
    rng = np.random.default_rng(1)
    each = options.windows // options.images
    side = int(np.ceil(np.sqrt(each / 0.14) * WSE2.lattice_pm / PIXEL_PM * 0.94))
    for k in range(options.images):
        add(viewer, *made_up(side, each, rng), f"image {k + 1}")
    QTest.qWait(500)
    watch: list[PaintWatch] = []

    def opened() -> None:
        watch.append(PaintWatch(open_gallery(viewer)))

    steps.take("open: first thumbnails painted", opened, lambda: watch[0].at, lambda: watch[0].at)
    panel = watch[0].panel

    def whole() -> bool:
        return panel.looks.core is not None and not panel.gathering.busy

    steps.take("all thumbnails, distances, components", lambda: None, whole)
    n = len(panel.looks.detections)
    steps.take(f"sort {n} by distance", lambda: panel.which.sort.setCurrentText("distance (sigma)"))
    bar = panel.grid.verticalScrollBar()

    def scroll() -> None:
        for value in np.linspace(0, bar.maximum(), SCROLLS).astype(int).tolist():
            bar.setValue(value)
            QTest.qWait(1)

    steps.take(f"scroll through all in {SCROLLS} jumps", scroll)
    plot = panel.side.plot
    middle = np.array([plot.width() / 2, plot.height() / 2])
    angle = np.linspace(0, 2 * np.pi, 40)
    lasso = middle + 0.35 * np.stack([np.cos(angle), np.sin(angle)], axis=1) * 2 * middle * 0.8

    def draw() -> None:
        QTest.mousePress(plot, Qt.MouseButton.LeftButton, pos=QPointF(*lasso[0]).toPoint())
        for corner in lasso[1:]:
            QTest.mouseMove(plot, QPointF(*corner).toPoint())
            QTest.qWait(1)
        QTest.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=QPointF(*lasso[-1]).toPoint())

    steps.take("lasso of 40 corners", draw)
    print(f"  {len(panel.grid.chosen())} selected")
    if options.out is not None:
        viewer.screenshot(str(options.out / "gallery.png"), canvas_only=False, flash=False)
    found = panel.looks.detections
    vacancies = np.flatnonzero(found.class_index == 4)[: options.relabel]
    panel.grid.choose(vacancies)
    steps.take(f"relabel {len(vacancies)}", lambda: panel.label_class(4))
    steps.take("take that back", panel.undo)
    steps.take("gathered anew", lambda: None, whole)
    panel.walk_through()
    steps.take("walk: one key", lambda: panel.label_class(4))
    panel.end_walk()


def in_averages(viewer: napari.Viewer, options: argparse.Namespace, steps: Steps) -> None:
    """A relabel that averages of a few hundred windows follow."""
    rng = np.random.default_rng(2)
    image, sites = made_up(options.average, options.average**2 // 3000, rng)
    chances = np.eye(len(WSE2.class_names))[sites.class_index]
    sites = Sites(sites.position_px, chances, sites.class_index, sites.class_names, sites.source)
    add(viewer, image, sites, "averaged")
    config = RunConfig(
        average=AverageConfig(shells=1, min_probability=0.3),
        columns=ColumnConfig(model="gaussian", compare=False),
        bootstrap=50,
    )
    calibrated = CalibratedImage(image.astype(float), PIXEL_PM, "averaged")
    stacks = average_classes([calibrated], [sites], config)
    source = viewer.layers["averaged"]
    about = provenance(
        "average",
        {"material": "WSe2", "seed": 0, "average": config.average.to_dict()},
        run="bench",
        images=["averaged"],
        image_ids=[layer_id(source)],
        planes=[[layer_id(source), None]],
        corner_pm=[0.0, 0.0],
        symmetric=False,
    )
    averages = {name: average_stack(stack) for name, stack in stacks.items()}
    layers = add_averages(viewer, stacks, averages, (0.0, 9e4), about, True)
    measured = measure_spacings(stacks, config)
    for layer in layers:
        if note(layer)["class"] in measured:
            layer.metadata[MEASUREMENT] = measured[note(layer)["class"]]
    numbers = {note(la)["class"]: la.metadata[STACK].n for la in layers}
    print("  windows averaged:", numbers)
    panel = open_gallery(viewer)
    QTest.qWait(500)
    while panel.gathering.busy or panel._timer.isActive():
        QTest.qWait(20)
    panel._restate()
    vacancies = np.flatnonzero(panel.looks.detections.class_index == 4)
    vacancies = vacancies[panel.grid.list.states[vacancies] == 1]
    vacancies = vacancies[: min(30, len(vacancies) // 2)]
    panel.grid.choose(vacancies)
    total = sum(numbers.values())
    steps.take(
        f"relabel {len(vacancies)}: averages of {total} windows, and spacings",
        lambda: panel.label_class(1),
    )
    print(" ", panel.state.text())
    steps.take("take that back, averages too", panel.undo)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--relabel", type=int, default=200)
    parser.add_argument("--average", type=int, default=1400, help="side of the averaged image [px]")
    parser.add_argument("--size", default="1600x1000", help="of the window [px]")
    parser.add_argument("--out", type=Path, help="folder of the screenshot")
    options = parser.parse_args()
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEFECTSTRAIN_SETTINGS"] = str(Path(folder) / "widgets.json")
        viewer = napari.Viewer(show=True)
        width, height = (int(v) for v in options.size.split("x"))
        viewer.window._qt_window.setGeometry(0, 0, width, height)
        steps = Steps()
        looked_through(viewer, options, steps)
        viewer.layers.clear()
        if options.average:
            in_averages(viewer, options, steps)
        print(steps.table())
    sys.stdout.flush()
    os._exit(0)  # what a thread of the meter holds must not keep it


if __name__ == "__main__":
    main()
