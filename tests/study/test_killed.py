"""SIGKILL at random times while a hand edits: at most the last edit is lost, nothing half-written."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from study_stage import small_study

from napari_defectstrain import open_study
from napari_defectstrain.io import read_sites, read_settings

TIMES = 20
EDITOR = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[2])
from study_stage import columns, moved, reclassed, with_column, without
from napari_defectstrain import open_study
from napari_defectstrain.crystal import label_regions
from napari_defectstrain.study import Answer

study = open_study(sys.argv[1])
assert not study.read_only, study.notes
rng = np.random.default_rng(int(sys.argv[3]))
while True:
    name = study.images[rng.integers(len(study.images))]
    sites = study.sites(name)
    what = rng.integers(8)
    if what < 5:
        row = int(rng.integers(len(sites)))
        edit = [
            lambda: moved(sites, row, (0.01, 0.01)),
            lambda: reclassed(sites, row, str(rng.choice(["SV", "DV", "2Te"]))),
            lambda: with_column(sites, tuple(rng.uniform(0, 64, 2)), "SV"),
            lambda: without(sites, row) if len(sites) > 20 else moved(sites, row),
            lambda: reclassed(sites, row, "SV"),
        ][what]
        done = study.record(name, edit())
    elif what == 5:
        done = study.set_sites(name, columns(seed=int(rng.integers(5))), Answer(key=str(rng.random())))
    elif what == 6:
        labels = np.ones((64, 64), dtype=np.uint8)
        labels[: rng.integers(1, 60)] = 0
        done = study.set_regions(name, label_regions(labels, None))
    else:
        study.set_window(viewer={"zoom": float(rng.random())})
        if rng.random() < 0.3:
            study.compact()
        done = None
    if done is not None:
        # told only when the call has returned: what is told must be on the disk
        print(done.number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_at_random_times_it_loses_the_last_edit_at_most(tmp_path):
    rng = np.random.default_rng(5)
    study = small_study(tmp_path)
    study.close()
    before = len(study.history())
    for k in range(TIMES):
        told = edited_and_killed(study.path, k, float(rng.uniform(0.0, 0.3)))
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
    assert before > 3 * TIMES  # it was killed at work


def edited_and_killed(path: Path, seed: int, seconds: float) -> list[int]:
    """Numbers of the edits that a process told of before it was killed."""
    here = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", EDITOR, str(path), here, str(seed)], stdout=subprocess.PIPE
    )
    first = process.stdout.readline()  # it is at work now
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    lines = (first + rest).split(b"\n")[:-1]  # what follows the last end of a line was torn
    return [int(line) for line in lines]


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
