"""Steps that cores share."""

import os
import threading

import pytest

from napari_defectstrain.pipeline.workers import LocalWorkers
from napari_defectstrain.progress import (
    Stages,
    are_there_helpers,
    asked_of_helpers,
    helped_by,
    in_this_thread,
    shared_out,
    spare_cores,
)


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


def test_work_shared_out_within_has_its_part_of_the_cores(four_cores, monkeypatch):
    threads: dict[int, set[int]] = {0: set(), 1: set()}
    together = threading.Barrier(4, timeout=20)

    def outer(item):
        def inner(_):
            together.wait()  # two of each: all four cores
            threads[item].add(threading.get_ident())
            return item

        return shared_out(inner, range(2))

    assert shared_out(outer, range(2)) == [[0, 0], [1, 1]]
    assert [len(some) for some in threads.values()] == [2, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    within = shared_out(lambda _: shared_out(lambda _: threading.get_ident(), range(5)), range(2))
    assert [len(set(some)) for some in within] == [1, 1]


@pytest.mark.parametrize("cores", ["1", "2"])
def test_whoever_asks_is_told(four_cores, monkeypatch, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    said, here = [], threading.get_ident()

    def told(fraction, message):
        assert threading.get_ident() == here
        said.append((fraction, message))

    own = in_this_thread(lambda fraction, message: said.append((fraction, message)))
    shared_out(lambda item: own(item, "own"), range(2), progress=told, message="step")
    assert [one for one in said if one[1] == "step"] == [(0.0, "step"), (0.5, "step")]
    assert len(said) == (4 if cores == "1" else 2)  # words of other threads are dropped


def halved(number, progress):
    progress(0.5, "halving")
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def test_helpers_make_calls_meanwhile():
    with LocalWorkers(2, threads=True) as workers, helped_by(workers):
        assert are_there_helpers()
        asked = [asked_of_helpers(halved, number) for number in range(6)]
        for number, future in enumerate(asked):
            if number % 2:
                with pytest.raises(ValueError, match=f"{number} is odd"):
                    future.result(timeout=20)
            else:
                assert future.result(timeout=20) == number // 2


def test_nobody_is_asked_where_nobody_helps():
    with helped_by(None):
        assert not are_there_helpers()
        with pytest.raises(LookupError, match="helped_by"):
            asked_of_helpers(halved, 2)
    assert not are_there_helpers()
