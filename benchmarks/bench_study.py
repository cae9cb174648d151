"""What a study costs while one works: an edit, an opening, a status; and after ten thousand edits.

``python benchmarks/bench_study.py [--columns 4000] [--edits 10000] [--folder DIR]``

``xvfb-run -a python benchmarks/bench_study.py --kills 20`` kills windows of real processes instead,
at random times of edits and jobs (detection, averages, strain), and looks at what they leave.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_defectstrain import create_study, open_study
from napari_defectstrain.io import write_tiff
from napari_defectstrain.materials import WSE2
from napari_defectstrain.study import status_of
from napari_defectstrain.types import Sites


@contextmanager
def timed(what: str, times: int = 1) -> Iterator[None]:
    """Print how long the block took [ms], divided by the times that it did something."""
    start = time.perf_counter()
    yield
    print(f"{what}: {1e3 * (time.perf_counter() - start) / times:.2f} ms")


def columns(n: int, side: int, rng: np.random.Generator) -> Sites:
    """Columns anywhere, of any class."""
    index = rng.integers(0, len(WSE2.class_names), n)
    return Sites(
        position_px=rng.uniform(0, side, (n, 2)).round(6),
        probabilities=np.eye(len(WSE2.class_names))[index],
        class_index=index,
        class_names=WSE2.class_names,
        source=np.full(n, "model", dtype="<U6"),
    )


def reclassed(sites: Sites, row: int) -> Sites:
    """Another class for one column."""
    index, source = sites.class_index.copy(), sites.source.copy()
    index[row] = (index[row] + 1) % len(sites.class_names)
    source[row] = "manual"
    p = np.eye(len(sites.class_names))[index]
    return replace(sites, class_index=index, source=source, probabilities=p)


def kill_windows(times: int, seed: int) -> None:
    """Kill sessions in napari, one after another, and print what each was at.

    Raises
    ------
    AssertionError
        If one leaves less than all but its last edit, or anything half-written.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from qtpy.QtWidgets import QApplication
    from session_stage import Sessions, killed_at_work

    app = QApplication.instance() or QApplication([])
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "mine.defectstrain"
        sessions = Sessions(Path(name))
        worker = sessions.begin("work", path)
        sessions.until("shown")
        os.kill(worker, signal.SIGKILL)
        sessions.until("ended")
        during = 0
        for k in range(times):
            seconds = float(rng.uniform(0.0, 8.0))
            told, _ = killed_at_work(sessions, path, int(rng.integers(2**31)), seconds)
            edits, _, *jobs = told.split()
            during += bool(jobs)
            job = {"d": "detection", "a": "averages", "s": "strain"}[jobs[0][0]] if jobs else "none"
            print(f"kill {k + 1}: after {seconds:.1f} s, {edits} edits, job {job}: whole")
        sessions.end()
    app.quit()
    print(f"{times} kills, {during} of them while a job ran: nothing lost but the last edit")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=4000)
    parser.add_argument("--edits", type=int, default=10000)
    parser.add_argument("--folder", type=Path, help="on the disk that is asked about (temporary)")
    parser.add_argument("--kills", type=int, metavar="N", help="kill N windows instead")
    parser.add_argument("--seed", type=int, default=14, help="of the times of the kills")
    options = parser.parse_args()
    if options.kills:
        kill_windows(options.kills, options.seed)
        return
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        image = Path(folder) / "image.tif"
        write_tiff(image, rng.uniform(size=(512, 512)).astype(np.float32), 20.74)
        study = create_study(Path(folder) / "study", images=[image])
        with timed(f"an answer of {options.columns} columns"):
            study.set_sites("image", columns(options.columns, 512, rng))
        first = min(200, options.edits)
        with timed("an edit, written through to the disk", first):
            for _ in range(first):
                study.record("image", reclassed(study.sites("image"), int(rng.integers(30))))
        # the rest as lines of the same kind, without the time that it takes to make them
        (*_, last) = study.history()
        for _ in range(options.edits - first):
            change = {**last.content["changes"][0], "from": {"class": "W"}, "to": {"class": "SV"}}
            study._journal.append("columns", {"changes": [change]}, "manual", "image", "anna")
        study.close()
        size = (study.path / "edits.jsonl").stat().st_size
        print(f"journal of {options.edits} edits: {size / 1e6:.2f} MB")
        with timed(f"opening with {options.edits} edits, and the corrected columns"):
            study = open_study(study.path)
            study.sites("image")
        with timed("its status"):
            status_of(study)
        with timed("beginning a new part of the journal"):
            study.compact()
        study.close()
        with timed("opening after that, and the corrected columns"):
            study = open_study(study.path)
            study.sites("image")
        with timed("the whole history"):
            print(f"{len(study.history())} edits in the history")
        study.close()


if __name__ == "__main__":
    main()
