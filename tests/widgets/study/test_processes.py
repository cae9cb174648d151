"""Sessions in windows of real processes: left unsaved, opened by another one, killed at work."""

import json
import os
import signal
import sys

import pytest
from session_stage import NAME, Sessions, killed_at_work

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks with libraries of Qt loaded"),
]


def test_another_process_shows_what_the_killed_one_did(qapp, tmp_path):
    sessions = Sessions(tmp_path)
    path = tmp_path / "mine.defectstrain"
    worker = sessions.begin("work", path)
    first = json.loads(sessions.until("shown")[0])
    os.kill(worker, signal.SIGKILL)  # instead of saving
    sessions.until("ended")
    assert {f"layer {NAME}", "layer averages · labels"} <= set(first)
    for name in ("AverageWidget", "StrainWidget"):
        assert any(first[f"tables of {name}"])
    assert any(any(axes) for canvas in first["plots of AverageWidget"] for axes in canvas)
    sessions.begin("look", path)
    second = json.loads(sessions.until("shown")[0])
    sessions.until("ended")  # closed as a person closes it
    told, third = killed_at_work(sessions, path, 3, seconds=4.0)
    sessions.end()
    assert int(told.split()[0]) > 0
    for again in (second, third):
        assert list(again) == list(first)
        assert [what for what, value in first.items() if again[what] != value] == []
