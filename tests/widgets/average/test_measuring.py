"""Measurements that are due while the bar does something else."""

from threading import Event

import pytest
from napari.components import ViewerModel
from strain_stage import show_averages
from widget_stage import errors

from napari_defectstrain.widgets.average import measuring
from napari_defectstrain.widgets.average.measuring import Measuring
from napari_defectstrain.widgets.base.worker import RunBar

pytestmark = pytest.mark.gui
NAMES = ("2Se", "SV")


class Job:
    """Runs until it is let go."""

    def __init__(self, bar):
        self.bar, self.go, self.ended = bar, Event(), []

    def start(self):
        self.bar.start(self._compute, self.ended.append, "")

    def _compute(self, progress):
        while not self.go.wait(0.01):
            progress(0.5, "")
        return "done"


@pytest.fixture
def stage(qtbot, monkeypatch):
    """Two runs whose fits take no time, what was measured of them, and another job of the bar."""
    viewer = ViewerModel()
    for run in ("first", "second"):
        show_averages(viewer, NAMES, run)
    monkeypatch.setattr(measuring, "WAIT_MS", 20)
    monkeypatch.setattr(measuring, "_measure", lambda *_: ({}, {}, ""))
    bar = RunBar("Run", "")
    qtbot.addWidget(bar)
    job, following, done = Job(bar), {}, []
    measurer = Measuring(viewer, bar, lambda: True, lambda run: following.pop(run, None))
    measurer.measured.connect(lambda run, _: done.append(run))
    yield measurer, job, following, done
    job.go.set()
    qtbot.waitUntil(lambda: not bar.running, timeout=60_000)


def end(qtbot, measurer, job):
    job.go.set()
    qtbot.waitUntil(lambda: not (job.bar.running or measurer.waiting), timeout=60_000)


def test_what_is_asked_for_during_another_job_waits_and_leaves_that_alone(
    stage, qtbot, monkeypatch
):
    measurer, job, _, done = stage
    said = errors(monkeypatch)
    job.start()
    measurer.now("first")
    assert measurer.waiting
    measurer.later("second")
    measurer.later("first")
    qtbot.wait(100)
    assert job.bar.running and not done
    end(qtbot, measurer, job)
    assert job.ended == ["done"] and sorted(done) == ["first", "second"] and not said


def test_windows_left_out_while_the_next_job_runs_do_not_cancel_it(stage, qtbot):
    measurer, job, following, done = stage
    following["first"] = job.start
    measurer.now("first")
    qtbot.waitUntil(lambda: done == ["first"] and job.bar._worker is not None, timeout=60_000)
    measurer.later("first")
    qtbot.wait(100)
    assert job.bar.running and measurer.waiting
    end(qtbot, measurer, job)
    assert job.ended == ["done"] and done == ["first", "first"]


def test_a_measurement_of_windows_of_before_is_stopped(stage, qtbot, monkeypatch):
    measurer, job, _, done = stage
    monkeypatch.setattr(
        measuring, "_measure", lambda *about: (job._compute(about[-1]) and {}, {}, "")
    )
    measurer.now("first")
    measurer.later("second")  # of other averages: what is measured goes on
    qtbot.wait(100)
    assert not job.bar._stop.asked
    measurer.later("first")
    qtbot.waitUntil(lambda: job.bar._stop.asked or bool(job.bar.failure), timeout=60_000)
    end(qtbot, measurer, job)
    assert sorted(done) == ["first", "second"]


def test_runs_that_are_gone_keep_nothing_waiting(stage, qtbot):
    measurer, job, _, done = stage
    job.start()
    measurer.now("gone")
    measurer.now("second")
    end(qtbot, measurer, job)
    assert done == ["second"]
