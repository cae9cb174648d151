import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_defectstrain.io import host_id
from napari_defectstrain.study.locking import Lock, read_holder


def lock_of(folder, **changes):
    """The lock of another process."""
    values = {
        "user": "anna",
        "host": "tem-pc",
        "host_id": "00000000",
        "pid": 1,
        "since": "2026-11-26T10:00:00+01:00",
        "token": "other",
    }
    path = folder / "lock.json"
    path.write_text(json.dumps({**values, **changes}), encoding="utf-8")
    return path


def ended_pid():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_one_has_it_and_the_other_is_told_who(tmp_path):
    first, second = Lock(tmp_path), Lock(tmp_path)
    assert first.take() is None
    assert first.is_own
    holder = second.take()
    assert holder.pid == os.getpid()
    assert f"process {os.getpid()}" in str(holder)
    assert not second.is_own
    second.release()  # has nothing to give back
    assert first.is_own
    first.release()
    assert second.take() is None


def test_nothing_is_left_but_the_lock(tmp_path):
    lock = Lock(tmp_path)
    lock.take()
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_that_of_a_dead_process_here_is_taken_over(tmp_path):
    lock_of(tmp_path, host_id=host_id(), pid=ended_pid())
    assert Lock(tmp_path).take() is None


@pytest.mark.skipif(os.name == "nt", reason="none there")
@pytest.mark.parametrize("by_ps", [False, True])
def test_that_of_a_killed_process_that_nobody_waited_for_is_taken_over(
    tmp_path, monkeypatch, by_ps
):
    if by_ps:  # where there is no /proc
        if shutil.which("ps") is None:
            pytest.skip("no ps")
        monkeypatch.setattr(Path, "read_text", without_proc(Path.read_text))
    killed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lock_of(tmp_path, host_id=host_id(), pid=killed.pid)
    try:
        assert Lock(tmp_path).take().pid == killed.pid
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, and not waited for
        assert Lock(tmp_path).take() is None
    finally:
        killed.kill()
        killed.wait()


def without_proc(read):
    def read_text(self, *args, **kwargs):
        if str(self).startswith("/proc/"):
            raise FileNotFoundError(str(self))
        return read(self, *args, **kwargs)

    return read_text


def test_that_of_another_machine_only_if_asked(tmp_path):
    path = lock_of(tmp_path)
    holder = Lock(tmp_path).take()
    assert str(holder) == "anna on tem-pc (process 1) since 2026-11-26T10:00:00+01:00"
    assert not holder.is_here
    assert read_holder(path).token == "other"
    lock = Lock(tmp_path)
    assert lock.take(force=True) is None
    assert lock.is_own


def test_one_of_a_running_process_here_is_never_forced(tmp_path):
    first = Lock(tmp_path)
    first.take()
    assert Lock(tmp_path).take(force=True) is not None
    assert first.is_own


def test_a_lock_that_can_not_be_read_holds(tmp_path):
    (tmp_path / "lock.json").write_text("{", encoding="utf-8")
    assert Lock(tmp_path).take().user == "unknown"


def test_one_that_was_taken_over_is_not_removed(tmp_path):
    first = Lock(tmp_path)
    first.take()
    lock_of(tmp_path)
    first.release()
    assert read_holder(tmp_path / "lock.json").token == "other"


def test_it_works_where_there_are_no_links(tmp_path, monkeypatch):
    def no_links(*_args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    first = Lock(tmp_path)
    assert first.take() is None
    assert Lock(tmp_path).take().pid == os.getpid()


def test_of_many_at_once_one_gets_it(tmp_path):
    lock_of(tmp_path, host_id=host_id(), pid=ended_pid())  # and all have to take it over
    locks = [Lock(tmp_path) for _ in range(12)]
    start = threading.Barrier(len(locks))

    def take(lock):
        start.wait()
        return lock.take()

    with ThreadPoolExecutor(len(locks)) as pool:
        holders = list(pool.map(take, locks))
    assert sum(holder is None for holder in holders) == 1
    assert sum(lock.is_own for lock in locks) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]


def test_a_forked_process_neither_has_it_nor_gives_it_back(tmp_path, monkeypatch):
    lock = Lock(tmp_path)
    lock.take()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: 2**22 + 1)
        assert not lock.is_own
        lock.release()
    assert (tmp_path / "lock.json").exists()
