"""Steps that cores share."""

import os
import threading

import pytest

from napari_defectstrain.progress import Stages, shared_out, spare_cores


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


@pytest.mark.parametrize(
    ("omp", "blas", "for_algebra", "for_others"),
    [
        (None, None, 1, 4),  # algebra has threads of its own
        (None, "1", 4, 4),
        ("2", "1", 2, 2),
        ("2", None, 1, 2),
        ("64", "1", 4, 4),
        ("3,2", "2", 1, 3),
        ("nonsense", "0", 1, 4),
    ],
)
def test_threads_are_as_many_as_asked_for(
    four_cores, monkeypatch, omp, blas, for_algebra, for_others
):
    for name, value in (("OMP_NUM_THREADS", omp), ("OPENBLAS_NUM_THREADS", blas)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert spare_cores() == for_algebra
    assert spare_cores(algebra=False) == for_others


def test_results_keep_their_order(four_cores):
    together = threading.Barrier(2, timeout=20)

    def work(item):
        if item < 2:
            together.wait()  # two threads are here at a time
        return item * item

    assert shared_out(work, range(20)) == [i * i for i in range(20)]


def test_a_failure_ends_the_rest(four_cores, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    done = []

    def work(item):
        if item == 0:
            raise KeyboardInterrupt
        done.append(item)
        threading.Event().wait(0.01)

    with pytest.raises(KeyboardInterrupt):
        shared_out(work, range(1000))
    assert len(done) < 900


def test_stages_go_forward_by_their_weights():
    stages = Stages([2.0, 1.0, 1.0])
    told = [stages.whole(k, f) for k, f in ((0, 0.0), (0, 0.5), (0, 2.0), (1, 0.5), (2, 1.0))]
    assert told == [0.0, 0.25, 0.5, 0.625, 1.0]


@pytest.mark.parametrize("weights", [[], [1.0, 0.0]])
def test_stages_without_length_are_refused(weights):
    with pytest.raises(ValueError, match="expected some, all above 0"):
        Stages(weights)
