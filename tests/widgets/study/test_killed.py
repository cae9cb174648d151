"""SIGKILL while a hand edits layers: at most the last edit is lost, and the window comes back."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from napari.components import ViewerModel
from small_alloy import simulated, true_sites

from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.io.files import write_tiff
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.study import create_study, open_study
from napari_defectstrain.widgets.layers.sites import corrected_planes, kind
from napari_defectstrain.widgets.study.opening import open_into

EDITOR = r"""
import os, sys
import numpy as np
from napari_defectstrain.widgets.layers.editing import editor_of
from napari_defectstrain.widgets.layers.regions import regions_of
from napari_defectstrain.widgets.layers.sites import kind
from napari_defectstrain.widgets.study.keeper import keeper_of
from napari_defectstrain.widgets.study.opening import open_into

path, windowed = sys.argv[1], sys.argv[2] == "window"

def tell(text):
    os.write(1, (text + "\n").encode())

def edits(viewer, seed):
    keeper = keeper_of(viewer)
    assert not keeper.study.read_only, keeper.state
    rng = np.random.default_rng(seed)
    (defects,) = [la for la in viewer.layers if kind(la) == "defects"]
    editor, regions = editor_of(defects), regions_of(viewer, defects)
    while True:
        what, row = rng.integers(6), int(rng.integers(len(defects.data)))
        if what == 0:
            defects.add(rng.uniform(10, 118, 2))
        elif what == 1 and len(defects.data) > 5:
            defects.selected_data = {row}
            defects.remove_selected()
        elif what == 2:
            editor.undo()
        elif what == 3:
            labels = np.array(regions.data)
            labels[: rng.integers(5, 40)] = int(rng.choice([1, 252, 253]))
            regions.data = labels
            keeper.sync()
        elif what == 4:
            keeper.save_window()
        else:
            editor.relabel(str(rng.choice(["SV", "DV", "2Te"])), [row])
        assert keeper.problem == "", keeper.problem
        tell(f"edits {len(keeper.study.history())}")
        yield

def model(seed):
    from napari.components import ViewerModel
    viewer = ViewerModel()
    open_into(viewer, path)
    for _ in edits(viewer, seed):
        pass

if windowed:
    import napari
    from npe2 import PluginManager
    from qtpy.QtCore import QTimer
    viewer = napari.Viewer()
    PluginManager.instance().discover()
    viewer.window.add_plugin_dock_widget("napari-defectstrain", "Detect defects")
    viewer.open(path, plugin="napari-defectstrain")
    hands = edits(viewer, int(sys.argv[3]))
    timer = QTimer()
    timer.timeout.connect(lambda: next(hands))
    timer.start(20)
    tell(f"process {os.getpid()}")
    napari.run()
else:  # imports take seconds, and are made once: each line of stdin asks for a process of its own
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            model(int(line))
        tell(f"process {pid}")
        os.waitpid(pid, 0)
        tell("ended")
"""


@pytest.fixture
def study(tmp_path):
    """The folder of a study of one small image whose columns are known."""
    made = simulated(seed=3, size=128, name="alloy")
    write_tiff(tmp_path / "alloy.tif", made.image.data, made.image.pixel_size_pm)
    new = create_study(tmp_path / "mine", RunConfig(), [tmp_path / "alloy.tif"])
    new.set_sites("alloy", true_sites(made))
    whole = label_regions(np.ones((128, 128), dtype=np.int16), None)
    new.set_regions("alloy", whole, by="model")
    new.close()
    return new.path


def started(study, *arguments):
    environment = {**os.environ, "DEFECTSTRAIN_SETTINGS": str(study.parent / "settings.json")}
    return subprocess.Popen(
        [sys.executable, "-c", EDITOR, str(study), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )


def killed(editor, seconds):
    """Kill a process some time after its first edit; returns the edits that it told of."""
    told, pid = 0, None
    while pid is None or not told:
        word, _, number = editor.stdout.readline().strip().partition(" ")
        if word == "process":
            pid = int(number)
        elif word == "edits":
            told = int(number)
        else:
            raise AssertionError("the editor ended by itself")
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return told


def rest(editor, told):
    """What it told of until it was killed."""
    for line in editor.stdout:
        word, _, number = line.strip().partition(" ")
        if word == "ended":
            break
        told = int(number) if word == "edits" else told
    return told


def check(path, told):
    """All edits that were told are there, and the window opens with them."""
    with open_study(path) as study:
        assert not study.read_only, study.notes
        history = study.history()
        # one more may be there: it was written, not yet told
        assert told <= len(history) <= told + 1
        assert [edit.number for edit in history] == list(range(1, len(history) + 1))
        right = study.sites("alloy")
    viewer = ViewerModel()
    keeper, notes = open_into(viewer, path)
    assert [text for text in notes if "lost" in text or "damaged" in text] == []
    (defects,) = [la for la in viewer.layers if kind(la) == "defects"]
    shown = corrected_planes(viewer, defects)[0]
    inside = keeper.study.regions("alloy").label_at(right.position_px) != 252
    for name in ("SV", "DV", "2Te", "SeTe"):
        there = right.class_name == name
        assert (shown.class_name == name).sum() == there.sum()
        # where the crystal isn't 2H, what was found gets no point, but stays what it is
        points = there & (inside | (right.source == "manual"))
        assert (defects.features["class"] == name).sum() == points.sum()
    keeper.close()
    for part in path.rglob("*.json"):
        json.loads(part.read_text())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_at_twenty_times_it_loses_the_last_edit_at_most(study, qapp):
    rng = np.random.default_rng(7)
    editor = started(study, "model")
    for seed in range(20):
        editor.stdin.write(f"{seed}\n")
        editor.stdin.flush()
        told = killed(editor, float(rng.uniform(0.0, 0.6)))
        check(study, rest(editor, told))
    editor.communicate()


@pytest.mark.slow
@pytest.mark.gui
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_window_that_is_killed_comes_back(study, qapp):
    editor = started(study, "window", "3")
    told = rest(editor, killed(editor, 1.5))
    editor.communicate()
    check(study, told)
