"""SIGKILL at random times of editing: the last edit is lost at most, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from study_stage import small_study

from napari_defectstrain import open_study
from napari_defectstrain.io import read_settings, read_sites

TIMES = 20
EDITOR = r"""
import os
import sys

import numpy as np
sys.path.insert(0, sys.argv[2])
from study_stage import columns, moved, reclassed, with_column, without
from napari_defectstrain import open_study
from napari_defectstrain.crystal import label_regions
from napari_defectstrain.study import Answer



def edit_on(path, seed, told):
    study = open_study(path)
    assert not study.read_only, study.notes
    rng = np.random.default_rng(seed)
    while True:
        done = one_edit(study, rng)
        if done is not None:
            # told only when the call has returned: what is told must be on the disk
            os.write(told, b"%d\n" % done.number)


def one_edit(study, rng):
    name = study.images[rng.integers(len(study.images))]
    sites = study.sites(name)
    row, what = int(rng.integers(len(sites))), rng.integers(8)
    if what == 0 and len(sites) > 20:
        return study.record(name, without(sites, row))
    if what == 1:
        return study.record(name, with_column(sites, tuple(rng.uniform(0, 64, 2)), "SV"))
    if what <= 3:
        return study.record(name, reclassed(sites, row, str(rng.choice(["SV", "DV", "2Te"]))))
    if what == 4:
        about = Answer(key=str(rng.random()))
        return study.set_sites(name, columns(seed=int(rng.integers(5))), about)
    if what == 5:
        labels = np.ones((64, 64), dtype=np.uint8)
        labels[: rng.integers(1, 60)] = 0
        return study.set_regions(name, label_regions(labels, None))
    if what == 6:
        study.set_window(viewer={"zoom": float(rng.random())})
        if rng.random() < 0.3:
            study.compact()
        return None
    return study.record(name, moved(sites, row, (0.01, 0.01)))


# Imports take seconds, and are made once: each line of stdin asks for a process of its own.
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        edit_on(sys.argv[1], int(line), sys.stdout.fileno())
    os.write(sys.stdout.fileno(), b"process %d\n" % pid)
    os.waitpid(pid, 0)
    os.write(sys.stdout.fileno(), b"killed\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_at_random_times_it_loses_the_last_edit_at_most(tmp_path):
    rng = np.random.default_rng(5)
    study = small_study(tmp_path)
    study.close()
    before = len(study.history())
    here = str(Path(__file__).parents[1])
    editor = subprocess.Popen(
        [sys.executable, "-c", EDITOR, str(study.path), here],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    for seed in range(TIMES):
        told = edited_and_killed(editor, seed, float(rng.uniform(0.0, 0.1)))
        with open_study(study.path) as again:
            assert not again.read_only, again.notes
            history = again.history()
            # every edit that was told is there; one more may be: it was written, not yet told
            assert len(history) - max(told, default=before) in (0, 1)
            assert [edit.number for edit in history] == list(range(1, len(history) + 1))
            before = len(history)
            for name in again.images:
                again.sites(name)
                if again.has_regions(name):
                    assert again.regions(name).labels.shape == (64, 64)
            assert_whole(again.path)
    editor.communicate()
    assert before > TIMES  # it was killed at work


def edited_and_killed(editor: subprocess.Popen, seed: int, seconds: float) -> list[int]:
    """Numbers of the edits that a process told of before it was killed."""
    editor.stdin.write(b"%d\n" % seed)
    editor.stdin.flush()
    lines, pid = [], None
    while pid is None or not lines:
        line = editor.stdout.readline()
        if line.startswith(b"process "):
            pid = int(line.split()[1])
        else:
            lines.append(int(line))  # it is at work
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    while (line := editor.stdout.readline()) != b"killed\n":
        lines.append(int(line))
    return lines


def assert_whole(path: Path) -> None:
    """Every file that isn't a temporary one can be read."""
    for file in path.rglob("*"):
        if not file.is_file() or file.name.startswith("."):
            continue
        if file.name.endswith(".sites.csv"):
            read_sites(file, read_class_names(file))
        elif file.suffix == ".json":
            read_settings(file)
        elif file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8").splitlines()
            assert all(json.loads(line) for line in lines)


def read_class_names(path: Path) -> list[str]:
    """Of a table of columns."""
    header = path.read_text(encoding="utf-8").partition("\n")[0].split(",")
    return [name.removeprefix("p_") for name in header if name.startswith("p_")]
