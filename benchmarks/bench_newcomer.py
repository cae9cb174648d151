"""A newcomer's first minutes in napari: clicks counted, waiting measured, longest stall printed.

``python benchmarks/bench_newcomer.py [--sample one_region] [--size 1366x768] [--out FOLDER]
[--run-all] [--steps 3]`` (under ``xvfb-run`` where there is no display) starts napari and does with
a real mouse what the strip of the dock *Defect strain* says: opens the dock from the menu, the
sample, detects, corrects three points, averages, measures strain and saves figures. Every press of
a button and every click on the canvas counts; keys don't, nor does the answer in the system's own
dialog of files. Of each step are printed clicks so far, the seconds that were waited, and the
longest stall of the event loop, with the CPU time that the window's own thread took of it: the rest
was waiting. ``--run-all`` presses *Run all* instead of detecting, averaging and measuring by hand.
``--out`` keeps a screenshot of each step; ``--steps`` ends after so many of them. What does not
come in time (`LIMIT_S`; three corrections, `SOON_S`) ends the run with an error.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from bench_window import StallMeter
from qtpy.QtCore import QEvent, QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QMenu, QWidget

from napari_defectstrain.widgets import WorkbenchWidget, kind
from napari_defectstrain.widgets.strain import figure_files

LIMIT_S, SOON_S = 600.0, 20.0
"""How long is waited for a job, and for what a click or a key does at once."""
MOST_CLICKS, MOST_WAIT_S = 14, 90.0
LEFT = Qt.MouseButton.LeftButton


class Newcomer:
    """Presses what can be seen, and counts."""

    def __init__(self, viewer: napari.Viewer, out: Path | None, most_steps: int = 0) -> None:
        self.viewer, self.out, self.most_steps = viewer, out, most_steps
        self.meter = StallMeter()
        self.clicks = 0
        self.waited_s = 0.0
        self.longest_s = 0.0
        self.steps = 0

    def step(
        self,
        name: str,
        act: Callable[[], None],
        until: Callable[[], bool] = lambda: True,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Act, and wait until what is awaited has come; a run of fewer steps ends here."""
        if self.most_steps and self.steps >= self.most_steps:
            return
        before = self.clicks
        self.meter.restart()
        self._act(act)
        start = time.monotonic()
        if not self.wait(until, limit_s):
            raise SystemExit(f"{name}: what is awaited did not come within {limit_s:.0f} s")
        waited = time.monotonic() - start
        self.wait_for(0.5)
        self.waited_s += waited
        self.longest_s = max(self.longest_s, self.meter.longest_s)
        self.steps += 1
        print(
            f"| {name} | {self.clicks - before} | {self.clicks} | {waited:.1f} | "
            f"{self.meter.longest_s:.2f} ({self.meter.longest_cpu_s:.2f}) |",
            flush=True,
        )
        if self.meter.longest_s > 0.5:
            print(f"    {self.meter.doing}", file=sys.stderr, flush=True)
        if self.out is not None:
            path = self.out / f"{self.steps:02d}_{name.split(':')[0].replace(' ', '_')}.png"
            self.viewer.window._qt_window.grab().save(str(path))

    def _act(self, act: Callable[[], None]) -> None:
        """Act as the event loop would: what is pressed finds it running."""
        ended: list[BaseException | None] = []

        def now() -> None:
            try:
                act()
                ended.append(None)
            except BaseException as problem:  # of this script, not of Qt's slot
                ended.append(problem)

        QTimer.singleShot(0, now)
        self.wait(lambda: bool(ended))
        if ended and ended[0] is not None:
            raise ended[0]

    def wait(self, done: Callable[[], bool], limit_s: float = LIMIT_S) -> bool:
        """Run the event loop until that is so; False where it took too long."""
        loop, timer = QEventLoop(), QTimer()
        end = time.monotonic() + limit_s
        timer.timeout.connect(lambda: (done() or time.monotonic() > end) and loop.quit())
        timer.start(10)
        loop.exec()
        timer.stop()
        return done()

    def wait_for(self, seconds: float) -> None:
        """Run the event loop for a while."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def click(self, widget: QWidget, place: QPoint | None = None) -> None:
        """Click on something that can be seen."""
        if not widget.isVisible() or not widget.isEnabled():
            raise SystemExit(f"can't be clicked: {widget.objectName() or widget}")
        if isinstance(widget, QAbstractButton) and widget.visibleRegion().isEmpty():
            raise SystemExit(f"out of sight: {widget.text()}")
        self.clicks += 1
        QTest.mouseClick(widget, LEFT, pos=place or widget.rect().center())

    def click_button(self, within: QWidget, text: str) -> None:
        """Click on the button of that text."""
        found = [
            b
            for b in within.findChildren(QAbstractButton)
            if b.text().replace("&", "") == text and b.isVisible()
        ]
        if not found:
            raise SystemExit(f"no button {text!r} can be seen")
        self.click(found[0])

    def choose(self, *names: str) -> None:
        """Go through the menu bar, a click a level."""
        bar = self.viewer.window._qt_window.menuBar()
        menu: QWidget = bar
        for name in names:
            actions = {a.text().replace("&", ""): a for a in menu.actions()}
            action = next((a for text, a in actions.items() if text.startswith(name)), None)
            if action is None:
                raise SystemExit(f"no {name!r} in the menu, but {', '.join(actions)}")
            self.click(menu, menu.actionGeometry(action).center())
            self.wait_for(0.2)
            following = action.menu()
            if isinstance(following, QMenu):
                menu = following

    def click_on(self, position: np.ndarray, layer: napari.layers.Layer) -> None:
        """Click on the canvas at a place of a layer [px]."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        world = np.array(layer.data_to_world(position))[-2:]
        camera = self.viewer.scene.camera
        middle = np.array([canvas.height(), canvas.width()]) / 2
        y, x = (world - np.array(camera.center[-2:])) * camera.zoom + middle
        point = QPoint(round(x), round(y))
        self.clicks += 1
        QTest.mouseMove(canvas, point)
        QTest.qWait(30)
        QTest.mouseClick(canvas, LEFT, pos=point)
        QTest.qWait(50)

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier) -> None:
        """Press a key on the canvas."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        self.viewer.window._qt_window.activateWindow()
        canvas.setFocus()
        QTest.qWaitForWindowActive(self.viewer.window._qt_window)
        QTest.keyClick(canvas, key, modifier)
        QTest.qWait(50)


def drive(options: argparse.Namespace, folder: Path) -> Newcomer:
    """All steps."""
    viewer = napari.Viewer(show=True)
    window = viewer.window._qt_window
    window.setGeometry(0, 0, *(int(v) for v in options.size.split("x")))
    new = Newcomer(viewer, options.out, options.steps)
    new.wait_for(1.0)
    print("| step | clicks | in all | waited [s] | longest stall [s] (CPU) |")
    print("| --- | --- | --- | --- | --- |")
    docked = lambda: window.findChildren(WorkbenchWidget)  # noqa: E731
    new.step(
        "dock: Plugins > Defect strain > Defect strain",
        lambda: new.choose("Plugins", "Defect strain", "Defect strain"),
        lambda: bool(docked()),
    )
    (bench,) = docked()
    sample = {"one_region": "Open the sample", "nine_regions": "Nine regions"}[options.sample]
    new.step(
        f"sample: {sample}",
        lambda: new.click_button(bench.strip, sample),
        lambda: len(viewer.layers) > 0 and bench.advice_buttons[0].text() == "&Detect",
    )
    idle = lambda: not bench.busy  # noqa: E731
    if options.run_all:
        new.step("run all: Run all", lambda: new.click(bench.all_button), idle)
    else:
        new.step("detect: Detect", lambda: new.click_button(bench.strip, "Detect"), idle)
        correct(new, bench)
        new.step("average: Average", lambda: new.click_button(bench.strip, "Average"), idle)
        new.step(
            "strain: Measure strain", lambda: new.click_button(bench.strip, "Measure strain"), idle
        )
    figure_files.ask_folder = lambda *_: folder
    new.step(
        "figure: Save figures…",
        lambda: new.click_button(bench.strip, "Save figures…"),
        lambda: idle() and len(list(folder.glob("*.png"))) > 2,
    )
    return new


def correct(new: Newcomer, bench: WorkbenchWidget) -> None:
    """Give three points another class: Correct, then a click and a key each."""
    if new.most_steps and new.steps >= new.most_steps:
        return
    # of the first image, whichever was searched last: a newcomer clicks on what she looks at
    defects = next(la for la in new.viewer.layers if kind(la) == "defects")
    image = new.viewer.layers[0]

    def look_closer() -> None:  # the wheel, not a click
        new.viewer.scene.camera.center = (0.0, *image.data_to_world(np.array(image.data.shape) / 2))
        new.viewer.scene.camera.zoom *= 3

    def relabel() -> None:
        new.click_button(bench.strip, "Correct")
        middle = np.array(image.data.shape) / 2
        away = np.hypot(*(np.asarray(defects.data) - middle).T)
        for i in np.argsort(away)[:3]:
            new.click_on(defects.data[i], defects)
            name = str(defects.features["class"].iloc[i])
            key = Qt.Key.Key_5 if name != "DV" else Qt.Key.Key_4
            new.press(key, Qt.KeyboardModifier.ShiftModifier)

    look_closer()
    before = int((defects.features["source"] == "manual").sum())
    new.step(
        "correct: Correct, three points, a key each",
        relabel,
        lambda: int((defects.features["source"] == "manual").sum()) >= before + 3,
        SOON_S,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="1366x768", help="of the window [px]")
    parser.add_argument("--sample", default="one_region", choices=("one_region", "nine_regions"))
    parser.add_argument("--run-all", action="store_true", help="by the one button")
    parser.add_argument("--steps", type=int, default=0, help="end after so many (0: all)")
    parser.add_argument("--out", type=Path, help="folder of the screenshots")
    options = parser.parse_args()
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and shutil.which("xvfb-run"):
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1920x1080x24"]
        os.execvp(screen[0], [*screen, sys.executable, *sys.argv])
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEFECTSTRAIN_SETTINGS"] = str(Path(folder) / "widgets.json")
        figures = Path(folder) / "figures"
        figures.mkdir()
        try:
            new = drive(options, figures)
        except SystemExit as problem:  # what is still running must not keep it
            print(problem, file=sys.stderr, flush=True)
            os._exit(1)
        print(f"| all | {new.clicks} | {new.clicks} | {new.waited_s:.1f} | {new.longest_s:.2f} |")
        good = new.clicks <= MOST_CLICKS and new.waited_s <= MOST_WAIT_S
        print(
            f"\n{new.clicks} clicks of {MOST_CLICKS}, {new.waited_s:.0f} s of waiting of "
            f"{MOST_WAIT_S:.0f}, longest stall {new.longest_s:.2f} s: "
            f"{'as asked' if good else 'MORE than asked'}",
            flush=True,
        )
    sys.stdout.flush()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    os._exit(0)  # what a thread of the meter holds must not keep it


if __name__ == "__main__":
    main()
