"""A viewer with a small simulated image, the truth as its detector, and hands to work it with."""

from dataclasses import dataclass

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from small_alloy import simulated, true_sites

from napari_defectstrain.types import Sites
from napari_defectstrain.widgets.base import forms, worker
from napari_defectstrain.widgets.detect import widget as detect_module

PIXEL_PM = 20.74

DOUBT = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""Of the detector, by role."""


@dataclass(frozen=True)
class Found:
    """What a detector finds."""

    sites: Sites
    weights_sha256: str = "cafe"
    warnings: tuple[str, ...] = ()
    pixel_size_pm: float = PIXEL_PM
    overconfidence: tuple[float, ...] = DOUBT


def truth_detector(*made):
    """Stands in for the network: gives the true columns of the simulated images."""

    def detect_images(images, config, progress):
        found = []
        for i, image in enumerate(images):
            progress(i / len(images), image.name)
            match = next(m for m in made if np.array_equal(m.image.data, image.data))
            found.append(Found(true_sites(match)))
        return found

    return detect_images


def use_truth(monkeypatch, *made):
    """Let the detect widget find what is true."""
    monkeypatch.setattr(detect_module, "detect_images", truth_detector(*made))


def answers(monkeypatch, *replies):
    """Answer the next questions of the widgets; returns the list of what was asked."""
    asked = []
    left = list(replies)

    def ask(_parent, title, text, choices):
        asked.append((title, text, choices))
        reply = left.pop(0)
        assert reply is None or reply in choices
        return reply

    monkeypatch.setattr(forms, "ask", ask)
    return asked


def errors(monkeypatch):
    """The list that error notifications go to."""
    shown = []
    monkeypatch.setattr(worker, "show_error", shown.append)
    return shown


def add_region(viewer, seed=1, size=384, name="region", **kwargs):
    """Add a calibrated simulated image; returns the simulation and the layer."""
    made = simulated(seed=seed, size=size, name=name)
    options = {
        "scale": (PIXEL_PM, PIXEL_PM),
        "units": ("pm", "pm"),
        "axis_labels": ("y", "x"),
        **kwargs,
    }
    return made, viewer.add_image(made.image.data, name=name, **options)


def finish(qtbot, widget, timeout=180_000):
    """Wait until a widget has no job left."""
    qtbot.waitUntil(lambda: not widget.run_bar.running, timeout=timeout)
    qtbot.wait(20)
    qtbot.waitUntil(lambda: not widget.run_bar.running, timeout=timeout)


def run(qtbot, widget):
    """Press the widget's run button and wait."""
    qtbot.mouseClick(widget.run_bar.run_button, Qt.MouseButton.LeftButton)
    finish(qtbot, widget)


def layer_named(viewer, name):
    """The layer of that name."""
    return viewer.layers[name]


def canvas_of(viewer):
    """The widget that napari draws on."""
    return viewer.window._qt_viewer.canvas.native


def canvas_position(viewer, layer, position):
    """Where a data position of a layer lies on the canvas."""
    world = np.array(layer.data_to_world(position))[-2:]
    camera = viewer.scene.camera
    canvas = canvas_of(viewer)
    middle = np.array([canvas.height(), canvas.width()]) / 2
    y, x = (world - np.array(camera.center[-2:])) * camera.zoom + middle
    return QPoint(round(x), round(y))


def click(viewer, layer, position):
    """Click with the left button at a data position."""
    canvas = canvas_of(viewer)
    point = canvas_position(viewer, layer, position)
    QTest.mouseMove(canvas, point)
    QTest.qWait(20)
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=point)
    QTest.qWait(50)


def drag(viewer, layer, start, stop):
    """Press at one data position, move, and release at another."""
    canvas = canvas_of(viewer)
    points = [
        canvas_position(viewer, layer, np.array(start) + f * (np.array(stop) - np.array(start)))
        for f in (0.0, 0.3, 0.6, 1.0)
    ]
    QTest.mouseMove(canvas, points[0])
    QTest.qWait(20)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=points[0])
    for point in points[1:]:
        QTest.mouseMove(canvas, point)
        QTest.qWait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=points[-1])
    QTest.qWait(50)


def activate(window):
    """Make a window the active one, in which alone Qt's shortcuts work.

    A window that opened a moment before may take the focus back: then asked again.
    """
    for _ in range(20):
        window.activateWindow()
        if QTest.qWaitForWindowActive(window, 1000):
            return
    raise AssertionError("the window didn't become the active one")


def press(viewer, key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key with the focus on the canvas."""
    canvas = canvas_of(viewer)
    activate(viewer.window._qt_window)
    canvas.setFocus()
    QTest.keyClick(canvas, key, modifier)
    QTest.qWait(50)
