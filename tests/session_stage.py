"""A person's sessions in napari, each in a process of its own that can be killed.

As a script it forks a process for each line of its input (imports take seconds, and are made once):
``work FOLDER`` makes a study and goes through the whole chain, ``look FOLDER`` opens it, ``hands
FOLDER SEED`` edits and starts jobs until it is killed. They say on their output what they show.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SIZE = 288
NAME = "region"
SETTLED_MS = 3500
"""After which the layers of a study are written though nobody asked for it."""


class Sessions:
    """The processes, from outside.

    Parameters
    ----------
    folder : Path
        Where widgets keep their settings: each session has a file of its own.
    """

    def __init__(self, folder: Path) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, "PYTHONPATH": path},
            text=True,
        )

    def begin(self, *words: object) -> int:
        """Start a session; returns its process."""
        self._process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self._process.stdin.flush()
        word, said = self.next()
        assert word == "process", (word, said)
        return int(said)

    def next(self) -> tuple[str, str]:
        """The next thing that is said: a word and the rest of its line."""
        line = self._process.stdout.readline()
        assert line, "the sessions ended by themselves"
        word, _, rest = line.strip().partition(" ")
        return word, rest

    def until(self, wanted: str) -> tuple[str, list[tuple[str, str]]]:
        """What is said under a word, and all that was said before it."""
        before = []
        while True:
            word, said = self.next()
            if word == wanted:
                return said, before
            assert word not in ("error", "ended"), (said, before)
            before.append((word, said))

    def end(self) -> None:
        """No more sessions."""
        self._process.communicate()


def killed_at_work(
    sessions: Sessions, path: Path, seed: int, seconds: float
) -> tuple[str, dict[str, object]]:
    """Kill a session some time after its first edit, and look at what it leaves.

    Returns
    -------
    told : str
        What it told last: edits by hand, the kind of the last one, jobs that ran (d, a, s).
    shown : mapping
        What its window showed before its first edit.
    """
    pid = sessions.begin("hands", path, seed)
    told, before = sessions.until("edits")
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    while True:
        word, said = sessions.next()
        assert word != "error", said
        if word == "ended":
            break
        if word == "edits":  # napari says on the same output what it shows
            told = said
    check(path, int(told.split()[0]))
    return told, json.loads(dict(before)["shown"])


def check(path: Path, told: int) -> None:
    """A killed session lost its last edit at most, half-wrote nothing, and a window opens it."""
    from napari.components import ViewerModel

    from napari_defectstrain.study import open_study
    from napari_defectstrain.widgets.layers.averages import STACK, runs
    from napari_defectstrain.widgets.layers.sites import corrected_planes, kind, note
    from napari_defectstrain.widgets.study.opening import open_into

    with open_study(path) as study:
        assert not study.read_only, study.notes
        # one more may be there: it was written, not yet told
        assert told <= edits_by_hand(study) <= told + 1
        numbers = [edit.number for edit in study.history()]
        assert numbers == list(range(1, len(numbers) + 1))
        right, regions, choices = study.sites(NAME), study.regions(NAME), study.windows
    viewer = ViewerModel()
    keeper, notes = open_into(viewer, path)
    assert notes == []
    (defects,) = [la for la in viewer.layers if kind(la) == "defects"]
    shown = corrected_planes(viewer, defects)[0]
    inside = regions.label_at(right.position_px) != 252
    for name in ("SV", "DV", "2Te", "SeTe"):
        there = (right.class_name == name) & (inside | (right.source == "manual"))
        assert (shown.class_name == name).sum() == there.sum()
    found = list(runs(viewer).values())
    assert found  # averages that were there don't go
    for averages in found:
        assert len({note(la)["class"] for la in averages}) == len(averages)
        for layer in averages:
            assert layer.metadata[STACK].windows.ndim == 3
            assert np.isfinite(layer.data).all()
    newest = {note(la)["class"]: la.metadata[STACK] for la in found[-1]}
    for choice in choices:
        stack = newest.get(choice.class_name)
        if stack is None:
            continue
        away = np.hypot(*(stack.position_px - (choice.y_px, choice.x_px)).T)
        if away.min() < 0.5:
            assert stack.included[away.argmin()] == choice.included
    keeper.close()
    for part in path.rglob("*.json"):
        json.loads(part.read_text())


def tell(word: str, what: object = "") -> None:
    """Say something to whoever started the session: a line that is whole, or not there."""
    os.write(1, f"{word} {what}\n".encode())


def shown(viewer) -> dict[str, object]:
    """All that a person sees of a window, in numbers that another process can compare."""
    from napari_defectstrain.widgets.layers.averages import STACK
    from napari_defectstrain.widgets.layers.sites import corrected_planes, kind
    from napari_defectstrain.widgets.study.arrangement import panels_of
    from napari_defectstrain.widgets.study.keeper import keeper_of

    found: dict[str, object] = {}
    for layer in viewer.layers:
        seen = [type(layer).__name__, _rounded(layer.scale), _rounded(layer.translate)]
        seen += [str(layer.units), bool(layer.visible), round(float(layer.opacity), 6)]
        seen += [getattr(getattr(layer, "colormap", None), "name", "")]
        if kind(layer) == "defects":
            (sites,) = corrected_planes(viewer, layer)
            rows = zip(
                sites.position_px.round(2).tolist(), sites.class_name, sites.source, strict=True
            )
            seen += [sorted(f"{p} {c} {s}" for p, c, s in rows)]
        elif not isinstance(layer.data, list):
            seen += [_rounded(np.asarray(layer.data, dtype=float).sum(), 3), list(layer.data.shape)]
        if hasattr(layer, "features"):
            seen += [sorted(layer.features.columns), len(layer.features)]
        if STACK in layer.metadata:
            seen += [np.flatnonzero(~layer.metadata[STACK].included).tolist()]
        found[f"layer {layer.name}"] = seen
    for panel in sorted(panels_of(viewer), key=lambda panel: type(panel).__name__):
        name = type(panel).__name__
        found[f"controls of {name}"] = {
            key: panel.settings.get(key) for key in panel.settings.values()
        }
        found[f"tables of {name}"] = _tables(panel)
        found[f"plots of {name}"] = _plots(panel)
    camera = viewer.scene.camera
    found["camera"] = [_rounded(camera.center), _rounded(camera.zoom)]
    keeper = keeper_of(viewer)
    found["state"] = keeper.state
    return json.loads(json.dumps(found))


def _rounded(values: object, digits: int = 4) -> object:
    return np.round(np.asarray(values, dtype=float), digits).tolist()


def _tables(panel) -> list[object]:
    from qtpy.QtWidgets import QTableWidget

    tables = [panel.table] if isinstance(getattr(panel, "table", None), QTableWidget) else []
    return [
        [
            table.item(i, j).text() if table.item(i, j) is not None else ""
            for i in range(table.rowCount())
            for j in range(table.columnCount())
        ]
        for table in tables
    ]


def _plots(panel) -> list[object]:
    """What lines and bars of the plots of a widget, also those below the viewer, stand for."""
    results = getattr(panel, "results", None)
    canvases = [getattr(results, name, None) for name in ("spacings", "precision")]
    canvases += [getattr(getattr(panel, "profile", None), "canvas", None)]
    return [
        [
            [zlib.crc32(np.round(line.get_xydata(), 6).tobytes()) for line in axes.lines]
            + [_rounded(bar.get_height(), 6) for bar in axes.patches if hasattr(bar, "get_height")]
            for axes in canvas.figure.axes
        ]
        for canvas in canvases
        if canvas is not None
    ]


# ---------------------------------------------------------------------- inside of a session


def made_ready(folder: Path) -> Callable[[], object]:
    """Quick fits, the truth as detector, and no questions; returns what makes a viewer."""
    import small_alloy
    from widget_stage import Found

    from napari_defectstrain.pipeline import class_measurement
    from napari_defectstrain.widgets.average import measuring
    from napari_defectstrain.widgets.base import forms, worker
    from napari_defectstrain.widgets.detect import widget as detect_module
    from napari_defectstrain.widgets.strain import widget as strain_module

    made = small_alloy.simulated(seed=1, size=SIZE, name=NAME)

    def quick(config):
        return small_alloy.QUICK.replace(
            material=config.material, seed=config.seed, strain=config.strain
        )

    def detect(images, config, progress):
        found = []
        for image in images:
            for part in range(5):  # a job that takes its time, and can be cancelled
                progress(part / 5, image.name)
                wait(60)
            found.append(Found(small_alloy.true_sites(made)))
        return found

    spacings, classes = class_measurement.measure_spacings, class_measurement.measure_classes
    measuring.measure_spacings = lambda s, c, p: spacings(s, quick(c), p)
    strain_module.measure_classes = lambda s, c, p: classes(s, quick(c), p)
    detect_module.detect_images = detect
    forms.ask = lambda parent, title, text, choices: choices[0]
    worker.show_error = lambda text: tell("error", text)

    def new_viewer():
        import napari
        from npe2 import PluginManager

        os.environ["DEFECTSTRAIN_SETTINGS"] = str(folder / f"settings_{os.getpid()}.json")
        PluginManager.instance().discover()
        viewer = napari.Viewer()
        viewer.window.resize(1500, 900)
        names = ("Detect defects", "Average classes", "Strain maps")
        docks = viewer.window.add_plugin_dock_widget
        return viewer, [docks("napari-defectstrain", name)[1] for name in names]

    return new_viewer


def wait(ms: int) -> None:
    """Sleep in a worker, turn the event loop in the window's thread."""
    import threading
    import time

    if threading.current_thread() is threading.main_thread():
        from qtpy.QtTest import QTest

        QTest.qWait(ms)
    else:
        time.sleep(ms / 1e3)


def finish(panel) -> None:
    """Wait until a widget has nothing to do any more."""
    quiet = 0
    while quiet < 3:
        wait(50)
        quiet = 0 if panel.run_bar.running else quiet + 1


def defects_of(viewer):
    """The layer of defects."""
    from napari_defectstrain.widgets.layers.sites import kind

    (found,) = [layer for layer in viewer.layers if kind(layer) == "defects"]
    return found


def work(viewer, panels, path: Path) -> None:
    """Detect, save, edit, average, leave windows out, measure; one more edit, and no saving."""
    import small_alloy

    from napari_defectstrain.io import write_tiff
    from napari_defectstrain.widgets.layers.averages import runs
    from napari_defectstrain.widgets.layers.editing import editor_of
    from napari_defectstrain.widgets.layers.sites import note

    detect, average, strain = panels
    made = small_alloy.simulated(seed=1, size=SIZE, name=NAME)
    write_tiff(path.parent / f"{NAME}.tif", made.image.data, made.image.pixel_size_pm)
    viewer.open(path.parent / f"{NAME}.tif", plugin="napari-defectstrain")
    detect.thresholds[0].setValue(0.45)
    detect.run_bar.run_button.click()
    finish(detect)
    detect.study.save_to(path)
    editor = editor_of(defects_of(viewer))
    editor.relabel("DV", [0, 1, 2])
    average.windows.shells.setCurrentIndex(0)
    average.windows.references.setValue(20)
    average.run_bar.run_button.click()
    finish(average)
    (averages,) = runs(viewer).values()
    run, name = note(averages[0])["run"], note(averages[0])["class"]
    average.edits.leave_out(run, name, [0, 1])
    while average.measuring.waiting:
        wait(50)
    finish(average)
    average.results.show_plots()
    strain.run_bar.run_button.click()
    finish(strain)
    viewer.layers[NAME].colormap = "magma"
    viewer.layers["averages · labels"].visible = False
    viewer.scene.camera.zoom *= 1.7
    wait(SETTLED_MS)
    editor.relabel("SV", [3])


def look(viewer, panels, path: Path) -> None:
    """Open a study."""
    viewer.open(str(path), plugin="napari-defectstrain")
    wait(300)
    for panel in panels:
        finish(panel)
    panels[1].results.show_plots()
    wait(100)


def hands(viewer, panels, path: Path, seed: int) -> Iterator[str]:
    """Edits and jobs at random; yields what was done."""
    from napari_defectstrain.widgets.layers.averages import STACK, runs
    from napari_defectstrain.widgets.layers.editing import editor_of
    from napari_defectstrain.widgets.layers.regions import regions_of
    from napari_defectstrain.widgets.layers.sites import note
    from napari_defectstrain.widgets.study.keeper import keeper_of

    rng = np.random.default_rng(seed)
    _, average, _ = panels
    while True:
        what = rng.integers(12)
        defects = defects_of(viewer)
        row = int(rng.integers(len(defects.data)))
        busy = any(panel.run_bar.running for panel in panels)
        if what == 0:
            defects.add(rng.uniform(20, SIZE - 20, 2))
        elif what == 1 and len(defects.data) > 30:
            defects.selected_data = {row}
            defects.remove_selected()
        elif what == 2:
            editor_of(defects).undo()
        elif what == 3:
            regions = regions_of(viewer, defects)
            labels = np.array(regions.data)
            labels[: rng.integers(2, 12)] = int(rng.choice([1, 253]))
            regions.data = labels
            keeper_of(viewer).sync()
        elif what == 4 and not busy and runs(viewer):
            *_, averages = runs(viewer).values()
            layer = averages[int(rng.integers(len(averages)))]
            stack = layer.metadata[STACK]
            if stack.n > 3:
                window = int(rng.choice(np.flatnonzero(stack.included)))
                average.edits.leave_out(note(layer)["run"], note(layer)["class"], [window])
        elif what == 5:
            keeper_of(viewer).save_window()
        elif what in (6, 7, 8) and not busy:
            panels[what - 6].run_bar.run_button.click()
        else:
            editor_of(defects).relabel(str(rng.choice(["SV", "DV", "2Te"])), [row])
        yield str(what)


def edits_by_hand(study) -> int:
    """How many there are in the journal."""
    kinds = ("columns", "regions", "windows")
    return sum(edit.by == "manual" and edit.what in kinds for edit in study.history())


def session(folder: Path, words: list[str]) -> None:
    """One session, in the process that was made for it."""
    from napari_defectstrain.widgets.study.keeper import keeper_of

    new_viewer = made_ready(folder)
    viewer, panels = new_viewer()
    what, path = words[0], Path(words[1])
    if what == "work":
        work(viewer, panels, path)
    else:
        look(viewer, panels, path)
    tell("shown", json.dumps(shown(viewer)))
    if what == "look":
        viewer.close()
        return
    if what == "hands":
        keeper = keeper_of(viewer)
        assert not keeper.study.read_only, keeper.state
        for done in hands(viewer, panels, path, int(words[2])):
            assert keeper.problem == "", keeper.problem
            jobs = "".join("das"[i] for i, p in enumerate(panels) if p.run_bar.running)
            tell("edits", f"{edits_by_hand(keeper.study)} {done} {jobs}")
            wait(20)
    while True:
        wait(1000)


def main(folder: Path) -> None:
    """Fork a session for each line."""
    import napari
    import small_alloy

    import napari_defectstrain.widgets.study.opening  # noqa: F401

    napari.Viewer  # noqa: B018  # imported when it is first named
    made_ready(folder)
    small_alloy.simulated(seed=1, size=SIZE, name=NAME)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                session(folder, json.loads(line))
                code = 0
            except BaseException as error:  # said, or nobody would know
                tell("error", repr(error).replace("\n", " "))
                raise
            finally:
                os._exit(code)
        tell("process", pid)
        os.waitpid(pid, 0)
        tell("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
