"""Who does the stages that are independent by image: processes of this machine, or a cluster.

Here they are a pool of Python's own, which needs no scheduler; elsewhere a scheduler of
``dask.distributed`` that runs already, started by any of Dask's own launchers (docs/cluster.md).
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from ..types import DefectStrainError
from .work import Outcome, Workers, outcome_of

_COPIED = sys.platform == "linux"
"""Whether a process may be copied once it has imported: elsewhere the system's libraries forbid."""
_AHEAD = 4
"""Calls that a worker has waiting: enough that it never waits itself, and few enough that what they
are given fits into memory."""

_THREADS_OF = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NEEDED = (
    "napari_defectstrain.detect.finding.predict",
    "napari_defectstrain.pipeline.by_image",
    "napari_defectstrain.output.figures.maps",
)
"""What processes of this machine import: five seconds of work with all that comes along."""
_ENDED = (
    "a process of this run was ended from outside, as systems do where memory runs out; give fewer "
    "of them (--jobs 1), or fewer or smaller images. In a script, keep what it does under "
    'if __name__ == "__main__":'
)
_LOOK_S = 2.0
_CONNECT_S = 10


def usual_jobs(images: int) -> int:
    """Processes for so many images: as many as cores, but each with four images to do or more."""
    return max(1, min(_cores(), images // 4))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Windows, macOS
        return os.cpu_count() or 1


class LocalWorkers:
    """Processes or threads of this machine.

    Parameters
    ----------
    jobs : int
        How many.
    threads : bool
        Threads of this process instead: they share its memory, and Python's lock.

    Notes
    -----
    Processes import the main module: a script that uses them keeps what it does under
    ``if __name__ == "__main__":``. On Linux they are copies of one that imports what they need,
    from the beginning of the ``with`` block on.
    """

    def __init__(self, jobs: int, threads: bool = False) -> None:
        self.jobs = jobs
        self._threads = threads
        self._pool: Executor | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        if _COPIED and not self._threads:
            from multiprocessing import forkserver

            multiprocessing.get_context("forkserver").set_forkserver_preload(list(_NEEDED))
            with self._shared_out():
                forkserver.ensure_running()  # returns at once
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            # after Ctrl-C nobody waits for what is under way
            if error is not None and isinstance(self._pool, ProcessPoolExecutor):
                _end_processes(self._pool)
            self._pool.shutdown(wait=error is None, cancel_futures=True)
            if _COPIED and not self._threads and error is None:
                _end_model()
            self._pool = None

    def outcomes(
        self,
        function: Callable[..., Any],
        calls: Mapping[int, tuple[Any, ...]],
        ahead: int = _AHEAD,
    ) -> Iterator[tuple[int, Outcome]]:
        """See `work.Workers`; no more is sent than is soon done: so many calls for each of them.

        Raises
        ------
        DefectStrainError
            If a process is killed: the system does so where memory runs out.
        """
        try:
            yield from self._outcomes(function, calls, ahead)
        except BrokenProcessPool as error:
            raise DefectStrainError(_ENDED) from error

    def behind_others(self) -> Workers:
        """The same, for work that nobody waits for yet: what others ask for meanwhile comes first.

        One call is sent to each at a time, so that none is waiting when somebody else asks.
        """
        return _BehindOthers(self)

    def _outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]], ahead: int
    ) -> Iterator[tuple[int, Outcome]]:
        with self._starting:  # several threads may ask at once
            if self._pool is None:
                self._pool = self._started()
            pool = self._pool
        waiting = iter(calls.items())
        number: dict[Future[Outcome], int] = {}

        def send(count: int) -> None:
            for i, given in itertools.islice(waiting, count):
                number[pool.submit(outcome_of, function, given)] = i

        send(ahead * self.jobs)
        while number:
            ended, _ = wait(number, return_when=FIRST_COMPLETED)
            send(len(ended))
            for future in sorted(ended, key=number.__getitem__):
                yield number.pop(future), future.result()

    def _started(self) -> Executor:
        if self._threads:
            return ThreadPoolExecutor(self.jobs)
        with self._shared_out() as share:
            pool = ProcessPoolExecutor(
                self.jobs,
                mp_context=multiprocessing.get_context("forkserver" if _COPIED else "spawn"),
                initializer=_begin_work,
                initargs=(share,),
            )
            for _ in range(self.jobs):  # processes start with the first calls: within the block
                pool.submit(os.getpid)
        return pool

    @contextmanager
    def _shared_out(self) -> Iterator[int]:
        """Processes that start within the block have a share of the cores each."""
        share = max(1, _cores() // self.jobs)
        with _environment({name: str(share) for name in _THREADS_OF}):
            yield share


class _BehindOthers:
    """Local workers that are given what others leave them time for."""

    def __init__(self, workers: LocalWorkers) -> None:
        self._workers = workers

    def outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]]
    ) -> Iterator[tuple[int, Outcome]]:
        return self._workers.outcomes(function, calls, ahead=1)


def _end_model() -> None:
    """Wait for the process that the others were copied from: what they took counts as ours then.

    It would end by itself, after us, and put half a gigabyte of modules in order before. Nothing is
    lost: it has done nothing but import, and its copies have ended.
    """
    from multiprocessing import forkserver

    model = getattr(forkserver, "_forkserver", None)
    stop, pid = (getattr(model, name, None) for name in ("_stop", "_forkserver_pid"))
    if stop is not None:
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        stop()


def _end_processes(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()


class ClusterWorkers:
    """The workers of a scheduler of ``dask.distributed`` that runs already.

    Parameters
    ----------
    address : str
        Of the scheduler, for instance ``tcp://node1:8786``.

    Raises
    ------
    DefectStrainError
        If dask.distributed isn't installed, or there is no scheduler.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise DefectStrainError(
                "--scheduler: got no dask.distributed, expected it to be installed; "
                "pip install napari-defectstrain[cluster]"
            ) from error
        try:
            self._client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise DefectStrainError(
                f"--scheduler {address}: got no answer within {_CONNECT_S} s ({error}), expected "
                "a Dask scheduler; start one, or look at the address that it printed"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def outcomes(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[Any, ...]]
    ) -> Iterator[tuple[int, Outcome]]:
        """See `work.Workers`; no more is sent than the workers can have under way.

        Raises
        ------
        DefectStrainError
            If workers were killed, again and again, or the scheduler went.
        """
        from distributed import CancelledError, KilledWorker, as_completed

        waiting = iter(calls.items())
        number: dict[Any, int] = {}
        threads = sum(self._client.nthreads().values())
        ended = as_completed(loop=self._client.loop)

        def send(count: int) -> None:
            for i, given in itertools.islice(waiting, count):
                future = self._client.submit(outcome_of, function, given, pure=False)
                number[future.key] = i
                ended.add(future)

        send(_AHEAD * max(1, threads))
        for future in ended:
            i = number.pop(future.key)
            try:
                outcome = future.result()
            except (KilledWorker, CancelledError) as error:
                raise DefectStrainError(
                    f"--scheduler: the workers that were given an image ended ({error}), as "
                    "systems do where memory runs out; give workers more memory, or smaller images"
                ) from error
            send(1)
            yield i, outcome


def check_jobs(jobs: int | None) -> None:
    """See that there is at least one local process.

    Raises
    ------
    DefectStrainError
        If there is none.
    """
    if jobs is not None and jobs < 1:
        raise DefectStrainError(f"--jobs: got {jobs}, expected 1 or more")


@contextmanager
def workers_for(
    images: int, jobs: int | None = None, scheduler: str | None = None, threads: bool = False
) -> Iterator[Workers | None]:
    """The workers that are asked for, while the block is open; None: this process alone.

    Parameters
    ----------
    images : int
        How many there are.
    jobs : int, optional
        Local processes; default `usual_jobs`.
    scheduler : str, optional
        Address of a scheduler, which comes before `jobs`.
    threads : bool
        Threads instead of local processes.

    Raises
    ------
    DefectStrainError
        If `jobs` is none, or as `ClusterWorkers`.
    """
    check_jobs(jobs)
    if scheduler is not None:
        with ClusterWorkers(scheduler) as cluster:
            yield cluster
        return
    jobs = usual_jobs(images) if jobs is None else jobs
    if jobs == 1:
        yield None
        return
    with LocalWorkers(jobs, threads) as local:
        yield local


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started within the block find, unless the user has set them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _begin_work(threads: int) -> None:
    """In a worker process: end with the parent, and leave Ctrl-C to it.

    The parent of a copy is the one it is copied from, which ends with the process that began it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    gc.freeze()  # what was imported stays, and needn't be looked at again and again


def _end_with(parent: int) -> None:
    """A killed parent can't tell its workers: they look for themselves."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
