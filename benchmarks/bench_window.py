"""How long napari's window stands still while a person works: the longest stall of each step.

``xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/bench_window.py [--size 1366x768]
[--locale de_DE] [--sample nine_regions] [--out FOLDER]`` opens a sample, detects, edits a point,
averages, looks through the windows, measures strain and opens the line profile, in a napari that is
driven through its event loop. A timer ticks every 5 ms; where it is late, the event loop stood
still, and nobody could have pressed anything. Of each step are printed its length, the longest
stall, the CPU time that the window's own thread took of it (the rest is waiting for other threads
and programs), and what it was doing. ``--out`` keeps a screenshot of each step.
"""

import argparse
import collections
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QLocale, QTimer

from napari_defectstrain.widgets.average.widget import AverageWidget
from napari_defectstrain.widgets.base import forms
from napari_defectstrain.widgets.detect.widget import DetectWidget
from napari_defectstrain.widgets.layers.sites import kind
from napari_defectstrain.widgets.strain.widget import StrainWidget

TICK_MS = 5
LOOK_S = 0.04
LATE_S = 0.15
"""Stalls of this length on are looked into."""
TOLD_S = 0.5
"""A longer one is felt: the report marks it."""
EVERYTHING = "all {} images"


class StallMeter:
    """Longest time between two turns of the event loop, and what was done meanwhile."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._seen: collections.Counter[str] = collections.Counter()
        self._looking = False
        self.restart()
        self._timer.start()
        # A signal is handled in this thread, between two steps of Python: its stack stands still.
        signal.signal(signal.SIGALRM, self._look)
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)

    def restart(self) -> None:
        """Forget what was before."""
        self._last, self._cpu = time.monotonic(), time.thread_time()
        self.longest_s = self.longest_cpu_s = 0.0
        self.late = 0
        self.doing = ""

    def _tick(self) -> None:
        now, cpu = time.monotonic(), time.thread_time()
        gap = now - self._last
        self.late += gap > TOLD_S
        if gap > self.longest_s:
            self.longest_s, self.longest_cpu_s = gap, cpu - self._cpu
            self.doing = "; ".join(f"{n}x {what}" for what, n in self._seen.most_common(3))
        self._last, self._cpu = now, cpu
        self._seen.clear()

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        if self._looking or time.monotonic() - self._last <= LATE_S:
            return  # on a busy machine a look may take longer than until the next
        self._looking = True
        self._seen[_where(frame)] += 1
        self._looking = False


def _where(frame: FrameType | None) -> str:
    """The innermost lines of ours, and the innermost of all."""
    stack = []
    while frame is not None:
        name = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno}"
        stack.append((name, "napari_defectstrain" in frame.f_code.co_filename))
        frame = frame.f_back
    ours = [name for name, mine in stack if mine]
    told = [*reversed(ours[:3]), *(name for name, mine in stack[:1] if not mine)]
    return " > ".join(told)


class Driver:
    """Does what a person would do, from within the event loop, and reports on each step."""

    def __init__(self, viewer: napari.Viewer, out: Path | None) -> None:
        self.viewer, self.out = viewer, out
        self.meter = StallMeter()
        self.steps = 0

    def step(
        self,
        name: str,
        act: Callable[[], object],
        until: Callable[[], bool] = lambda: True,
        settle_s: float = 0.7,
    ) -> float:
        """Act, wait until it is done and for a moment more; returns the seconds it took."""
        self.meter.restart()
        start, cpu = time.monotonic(), time.process_time()
        acted: list[bool] = []

        def now() -> None:
            try:
                act()
            finally:
                acted.append(True)

        QTimer.singleShot(0, now)
        self.wait(lambda: bool(acted) and until())
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        quiet = time.monotonic() + settle_s
        self.wait(lambda: time.monotonic() > quiet and until())
        meter = self.meter
        mark = "  <--" if meter.longest_s > TOLD_S else ""
        print(
            f"{name:34s} {seconds:7.2f} s  cpu {cpu:7.2f} s  longest stall "
            f"{meter.longest_s:5.2f} s (cpu {meter.longest_cpu_s:5.2f} s), {meter.late} above "
            f"{TOLD_S} s{mark}",
            flush=True,
        )
        if meter.longest_s > LATE_S:
            print(f"    {meter.doing}", flush=True)
        self.picture(name)
        return seconds

    def wait(self, done: Callable[[], bool], limit_s: float = 1800.0) -> None:
        """Run the event loop until that is so."""
        loop, timer = QEventLoop(), QTimer()
        end = time.monotonic() + limit_s

        def look() -> None:
            if done() or time.monotonic() > end:
                loop.quit()

        timer.timeout.connect(look)
        timer.start(10)
        loop.exec()
        timer.stop()

    def picture(self, name: str) -> None:
        """Keep a screenshot of the whole window."""
        self.steps += 1
        if self.out is not None:
            path = self.out / f"{self.steps:02d}_{name.replace(' ', '_').replace(',', '')}.png"
            self.viewer.window._qt_window.grab().save(str(path))


def busy(widget: forms.Panel) -> bool:
    """Whether a widget has something running, due or half shown."""
    parts = [widget.run_bar.running, getattr(widget, "showing", False)]
    for name in ("measuring", "view"):
        part = getattr(widget, name, None)
        parts.append(part is not None and part.waiting)
    counts = getattr(widget, "counts", None)
    return any(parts) or (counts is not None and counts.busy)


def drive(options: argparse.Namespace) -> None:
    """All steps, one after another."""
    viewer = napari.Viewer(show=True)
    width, height = (int(v) for v in options.size.split("x"))
    window = viewer.window._qt_window
    window.setGeometry(0, 0, width, height)
    driver = Driver(viewer, options.out)
    driver.step("open", lambda: viewer.open_sample("napari-defectstrain", options.sample))
    docked: dict[str, forms.Panel] = {}

    def dock(name: str, kind_of: type[forms.Panel]) -> None:
        docked[name] = kind_of(viewer)
        viewer.window.add_dock_widget(docked[name], name=name, tabify=len(docked) > 1)

    driver.step("dock detect", lambda: dock("Detect defects", DetectWidget))
    detect = docked["Detect defects"]
    detect.image.setCurrentIndex(detect.image.count() - 1)  # all images, where there are several

    def found() -> bool:
        return not busy(detect) and not detect._queue

    driver.step("detect", detect.run_bar.run_clicked.emit, found)
    defects = next(la for la in viewer.layers if kind(la) == "defects")

    def edit() -> None:
        viewer.layers.selection.active = defects
        defects.selected_data = {0}
        defects.remove_selected()

    driver.step("edit", edit)
    driver.step("dock average", lambda: dock("Average classes", AverageWidget))
    average = docked["Average classes"]
    driver.step("count", lambda: None, lambda: not busy(average))
    start = time.monotonic()
    cpu = time.process_time()
    driver.step("average", average.run_bar.run_clicked.emit, lambda: not busy(average))
    driver.step("show windows", lambda: average.look_through(0))
    view = average.results.windows

    def choose(class_name: str, what: str) -> None:
        view.class_box.setCurrentText(class_name)
        view.filter_box.setCurrentText(what)

    driver.step("windows of 2Se", lambda: choose("2Se", "included"))
    driver.step("windows of SeTe", lambda: choose("SeTe", "included"))
    view.grid.setCurrentIndex(view.model.index(0, 0))
    driver.step("next window", lambda: view.grid.setCurrentIndex(view.model.index(1, 0)))
    if not options.no_edits:
        driver.step("leave out", view.leave_out, lambda: not busy(average))
        driver.step("undo", view.undo, lambda: not busy(average))
        driver.step("redo", view.redo, lambda: not busy(average))
        driver.step("undo again", view.undo, lambda: not busy(average))
    driver.step("plots", average.show_plots)
    driver.step("dock strain", lambda: dock("Strain maps", StrainWidget))
    strain = docked["Strain maps"]
    driver.step("strain", strain.run_bar.run_clicked.emit, lambda: not busy(strain))
    print(f"From Average to maps, with the edits between: {time.monotonic() - start:.1f} s")
    driver.step(
        "another class",
        lambda: strain.controls.class_name.setCurrentText("2Te"),
        lambda: not busy(strain),
    )
    driver.step("profile", strain.show_profile, lambda: not busy(strain))
    del cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="1366x768", help="of the window [px]")
    parser.add_argument("--locale", default="", help="such as de_DE")
    parser.add_argument("--sample", default="nine_regions")
    parser.add_argument("--out", type=Path, help="folder of the screenshots")
    parser.add_argument("--no-edits", action="store_true", help="leave no windows out")
    options = parser.parse_args()
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    if options.locale:
        QLocale.setDefault(QLocale(options.locale))
    # Questions are answered as most people would: with the first answer.
    forms.ask = lambda _parent, _title, _text, answers: answers[0]
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEFECTSTRAIN_SETTINGS"] = str(Path(folder) / "widgets.json")
        drive(options)
    sys.stdout.flush()
    os._exit(0)  # what a thread of the meter holds must not keep it


if __name__ == "__main__":
    main()
