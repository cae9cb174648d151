"""Stages are done once, whoever does them, and one image's failure is its own."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from napari_defectstrain.averages.average import AverageConfig
from napari_defectstrain.failures import Failures
from napari_defectstrain.io.content import content_key
from napari_defectstrain.io.stage_store import KeepingError, StageStore
from napari_defectstrain.pipeline.by_image import CALIBRATE
from napari_defectstrain.pipeline.isolated import unless_crowded
from napari_defectstrain.pipeline.runs import RunConfig
from napari_defectstrain.pipeline.work import Outcome, Stage, Work, outcome_of
from napari_defectstrain.pipeline.workers import LocalWorkers, usual_jobs, workers_for
from napari_defectstrain.types import CalibratedImage, Cancelled, DefectStrainError


def _killed(value, progress):
    os.kill(os.getpid(), signal.SIGKILL)


KILLED = Stage("killed", 1, _killed)
NAMES = {i: f"image {i}" for i in range(5)}


def _doubled(value, progress):
    progress(0.5, "doubling")
    if value < 0:
        raise DefectStrainError(f"got {value}")
    if value > 100:
        raise KeyError("a mistake of the program")
    return 2 * value


DOUBLE = Stage("double", 1, _doubled)


class Backwards:
    """Others, who end in another order than they begin."""

    def outcomes(self, function, calls):
        for i in reversed(calls):
            yield i, outcome_of(function, calls[i])


@pytest.fixture(params=[None, Backwards()])
def work(tmp_path, request) -> Work:
    return Work(StageStore(tmp_path), request.param)


def calls(*values):
    return {i: (v,) for i, v in enumerate(values)}


def test_what_was_done_is_not_done_again(work):
    assert work.each(DOUBLE, calls(1, 2, 3), NAMES, Failures()) == {0: 2, 1: 4, 2: 6}
    again = Work(work.store)
    assert list(again.each(DOUBLE, calls(3, 2, 4), NAMES, Failures()).items()) == [
        (0, 6),
        (1, 4),
        (2, 8),
    ]
    assert (again.done["double"], again.taken["double"]) == (1, 2)
    newer = Stage("double", 2, _doubled)
    assert again.once(newer, 1) == 2
    assert again.once(newer, 1) == 2
    assert again.done["double"] == 2


def test_a_damaged_entry_is_done_again(work):
    work.once(DOUBLE, 1)
    work.store.path("double", DOUBLE.key((1,))).write_bytes(b"PK torn")
    assert work.once(DOUBLE, 1) == 2
    assert work.done["double"] == 2
    assert work.once(DOUBLE, 1) == 2
    assert work.done["double"] == 2


def test_a_failure_is_of_its_image_alone(work):
    failures = Failures()
    assert work.each(DOUBLE, calls(1, -2, 3, -4), NAMES, failures) == {0: 2, 2: 6}
    assert [f.name for f in failures.found] == ["image 1", "image 3"]
    with pytest.raises(DefectStrainError, match="got -2"):
        Work(None, work.workers).each(DOUBLE, calls(1, -2), NAMES, Failures(strict=True))


def test_a_mistake_of_the_program_is_none_of_an_image(work):
    with pytest.raises(KeyError, match="a mistake"):
        work.each(DOUBLE, calls(1, 101), NAMES, Failures())


def test_what_cannot_be_kept_is_no_failure_of_an_image(tmp_path):
    (tmp_path / "double").write_text("in the way")
    with pytest.raises(KeepingError, match="can't be made"):
        Work(StageStore(tmp_path)).each(DOUBLE, calls(1), NAMES, Failures())


def test_a_full_disk_is_no_lack_of_isolated_defects():
    crowded = RunConfig(average=AverageConfig(crowded=True))
    notes: list[str] = []
    with unless_crowded(crowded, notes):
        raise DefectStrainError("no window")
    with pytest.raises(KeepingError, match="disk full"), unless_crowded(crowded, notes):
        raise KeepingError("disk full")
    assert notes == ["isolated averages: no window"]


def test_what_was_done_before_a_stop_stays(tmp_path):
    def stop_at_three(fraction, message):
        if "image 2" in message:
            raise Cancelled

    work = Work(StageStore(tmp_path))
    with pytest.raises(Cancelled):
        work.each(DOUBLE, calls(1, 2, 3, 4), NAMES, Failures(), stop_at_three)
    work = Work(work.store)
    work.each(DOUBLE, calls(1, 2, 3, 4), NAMES, Failures())
    assert work.taken["double"] == 2


def test_an_error_from_elsewhere_says_where():
    outcome = outcome_of(_doubled, (101,))
    assert "_doubled" in outcome.error.__notes__[0]
    assert outcome_of(_doubled, (1,)) == Outcome(2)


# ------------------------------------------------------------------ Dask


def pictures() -> dict[int, tuple]:
    from napari_defectstrain.materials import WSE2

    rng = np.random.default_rng(1)
    y, x = np.mgrid[:160, :160] * 20.74
    q = 2 * np.pi / (330.0 * np.sqrt(3) / 2)
    waves = sum(np.cos(q * (np.cos(a) * x + np.sin(a) * y)) for a in np.deg2rad([8, 68, 128]))
    data = [40 * (waves + 2) + rng.normal(0, 3, x.shape) for _ in range(3)]
    data[1] = rng.normal(100.0, 10.0, x.shape)  # no lattice
    images = [CalibratedImage(d, 20.74, NAMES[i]) for i, d in enumerate(data)]
    return {i: (image, WSE2, None) for i, image in enumerate(images)}


def compared(workers) -> None:
    given = pictures()
    here, there = Failures(), Failures()
    alone = Work().each(CALIBRATE, given, NAMES, here)
    shared = Work(None, workers).each(CALIBRATE, given, NAMES, there)
    assert list(shared) == [0, 2]
    assert content_key(alone) == content_key(shared)
    assert here.found == there.found


def test_threads_give_the_same():
    with LocalWorkers(2, threads=True) as workers:
        compared(workers)


def _held(started, last, progress):
    """Ends once the last of all calls has begun, if there is somebody to begin it."""
    started.append(1)
    if not last:
        return len(started)
    end = time.monotonic() + 20
    while len(started) < last and time.monotonic() < end:
        time.sleep(0.01)
    return len(started)


def test_nobody_waits_for_the_slowest():
    """A worker goes on with the next call as long as there are any, whatever another one is at."""
    started = []
    calls = {i: (started, 40 if i == 0 else 0) for i in range(40)}
    with LocalWorkers(2, threads=True) as workers:
        found = dict(workers.outcomes(_held, calls))
    assert found[0].value == 40
    assert sorted(found) == list(range(40))


def _noted(order, name, begun, go, progress):
    order.append(name)
    begun.set()
    assert go.wait(60)


def test_what_somebody_waits_for_comes_before_work_that_nobody_waits_for_yet():
    order, begun, go = [], threading.Event(), threading.Event()
    calls = {i: (order, f"image {i}", begun, go) for i in range(4)}
    with LocalWorkers(1, threads=True) as workers:
        later = workers.behind_others()
        thread = threading.Thread(target=lambda: list(later.outcomes(_noted, calls)))
        thread.start()
        assert begun.wait(60)
        asked = workers.outcomes(_noted, {0: (order, "asked", begun, go)})
        other = threading.Thread(target=lambda: list(asked))
        other.start()
        while workers._pool._work_queue.empty():  # until it has been asked
            time.sleep(0.001)
        go.set()
        for one in (thread, other):
            one.join()
    assert order.index("asked") == 1
    assert len(order) == 5


@pytest.mark.slow
def test_processes_give_the_same():
    with LocalWorkers(2) as workers:
        compared(workers)


@pytest.mark.slow
def test_a_scheduler_and_two_workers_on_loopback_give_the_same():
    distributed = pytest.importorskip("distributed")
    asked = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(host="127.0.0.1", **asked) as cluster,
        workers_for(3, scheduler=cluster.scheduler_address) as workers,
    ):
        compared(workers)


def test_what_is_asked_for_is_checked():
    with pytest.raises(DefectStrainError, match="expected 1 or more"), workers_for(3, 0):
        pass
    with workers_for(3, 1) as alone:
        assert alone is None
    assert usual_jobs(1) == 1
    assert usual_jobs(10**6) >= 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL there")
def test_a_process_that_the_system_ends_is_told_in_words():
    with (
        pytest.raises(DefectStrainError, match=r"ended from outside.*memory.*--jobs 1"),
        LocalWorkers(2) as workers,
    ):
        Work(workers=workers).each(KILLED, calls(1, 2, 3), NAMES, Failures())
