"""Folders of results: the mark, what an earlier run left, what the user made, inputs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_defectstrain.io import writing
from napari_defectstrain.io.out_folder import (
    OutFolder,
    check_inputs,
    check_out_dir,
    settings_of,
    writing_into,
)
from napari_defectstrain.io.unfinished import check_whole, read_mark
from napari_defectstrain.io.writing import (
    atomic_path,
    check_writable,
    host_id,
    is_left_over,
    remove_left_over,
)
from napari_defectstrain.types import DefectStrainError

MANIFEST = "run.json"
MARK = "run.unfinished.json"


def write(folder: OutFolder, **files: str) -> None:
    for name, text in files.items():
        with atomic_path(folder.place(name.replace("__", "."))) as temporary:
            temporary.write_text(text)


def whole(path: Path, **files: str) -> list[str]:
    """A finished run; returns its notes."""
    with writing_into(path, "detect", MANIFEST) as folder:
        write(folder, **files)
        folder.finish({"parameters": {}})
    return folder.notes


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_mark_is_there_from_the_first_write_to_the_last(tmp_path):
    whole(tmp_path, a__csv="old")
    with writing_into(tmp_path, "detect", MANIFEST) as folder:
        assert names(tmp_path) == {"a.csv", MARK}  # no run.json that pretends
        write(folder, a__csv="new", b__csv="new")
        mark = read_mark(tmp_path, MANIFEST)
        assert mark.is_running
        assert mark.command == "detect"
        folder.finish({})
    assert names(tmp_path) == {"a.csv", "b.csv", MANIFEST}
    assert json.loads((tmp_path / MANIFEST).read_text())["files"] == ["a.csv", "b.csv"]


def test_a_stopped_run_leaves_its_mark_and_what_it_knew(tmp_path):
    whole(tmp_path, a__csv="old", b__csv="old")
    with (
        pytest.raises(KeyboardInterrupt, match="now"),
        writing_into(tmp_path, "detect", MANIFEST) as folder,
    ):
        write(folder, a__csv="new")
        folder.place("c.csv")
        raise KeyboardInterrupt("now")
    assert names(tmp_path) == {"a.csv", "b.csv", MARK}
    with pytest.raises(DefectStrainError, match="was stopped there: b.csv may be of an earlier"):
        check_whole(tmp_path, MANIFEST, ["a.csv", "b.csv"])
    with pytest.raises(DefectStrainError, match="was stopped there"):
        check_whole(tmp_path, MANIFEST)
    (note,) = check_whole(tmp_path, MANIFEST, ["a.csv"])
    assert "didn't finish" in note
    # the next run knows both runs' files: what it doesn't write goes
    assert whole(tmp_path, c__csv="third") == []
    assert names(tmp_path) == {"c.csv", MANIFEST}
    assert check_whole(tmp_path, MANIFEST, ["c.csv"]) == []


def test_foreign_and_edited_files_are_kept_and_said(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "a.csv").write_text("mine, by chance of this name")
    notes = whole(tmp_path, a__csv="first", b__csv="first", c__csv="first")
    assert notes == ["a.csv was not as a run had written it: kept as a.kept.csv"]
    (tmp_path / "a.csv").write_text("corrected by hand")
    (tmp_path / "b.csv").write_text("corrected by hand")
    notes = whole(tmp_path, a__csv="second")
    assert len(notes) == 2
    assert (tmp_path / "a.csv").read_text() == "second"
    assert (tmp_path / "a.kept.csv").read_text() == "mine, by chance of this name"
    assert (tmp_path / "a.kept_2.csv").read_text() == "corrected by hand"
    assert (tmp_path / "b.csv").read_text() == "corrected by hand"  # written no more, so left
    assert names(tmp_path) == {
        "notes.txt",
        MANIFEST,
        *["a.csv", "a.kept.csv", "a.kept_2.csv", "b.csv"],
    }
    assert json.loads((tmp_path / MANIFEST).read_text())["warnings"] == notes


def test_a_file_corrected_after_a_stop_is_kept_too(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt, match="now"),
        writing_into(tmp_path, "run", MANIFEST) as folder,
    ):
        write(folder, a__csv="model", b__csv="model")
        folder.place("c.csv")
        raise KeyboardInterrupt("now")
    (tmp_path / "a.csv").write_text("manual")
    whole(tmp_path, a__csv="model", b__csv="model")
    assert (tmp_path / "a.kept.csv").read_text() == "manual"
    assert not (tmp_path / "b.kept.csv").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b/c", "..\\x", "C:x", ""])
def test_a_manifest_leads_nowhere_outside(tmp_path, name):
    out = tmp_path / "out"
    whole(out, a__csv="old")
    (tmp_path / "x").write_text("not ours")
    (out / MANIFEST).write_text(json.dumps({"files": [name], "sha256": {name: None}}))
    whole(out, b__csv="new")
    assert (tmp_path / "x").read_text() == "not ours"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"files": 3}', '{"files": [[1]]}'])
def test_a_damaged_manifest_or_mark_is_no_obstacle(tmp_path, content):
    for name in (MANIFEST, MARK):
        (tmp_path / name).write_text(content)
    with pytest.raises(DefectStrainError, match="was stopped there"):
        check_whole(tmp_path, MANIFEST)
    whole(tmp_path, a__csv="new")
    assert names(tmp_path) == {"a.csv", MANIFEST}


def test_two_commands_in_one_folder_leave_each_other_alone(tmp_path):
    whole(tmp_path, a__csv="detected")
    with writing_into(tmp_path, "columns", "columns.json") as folder:
        assert (tmp_path / MANIFEST).exists()
        assert check_whole(tmp_path, MANIFEST) == []
        write(folder, b__csv="fitted")
        folder.finish({})
    assert names(tmp_path) == {"a.csv", "b.csv", MANIFEST, "columns.json"}


def test_a_folder_that_is_being_written_is_refused(tmp_path):
    with writing_into(tmp_path, "run", MANIFEST):
        for attempt in (
            lambda: check_out_dir(tmp_path, force=True),
            lambda: OutFolder(tmp_path, "run", MANIFEST),
        ):
            with pytest.raises(DefectStrainError, match="still writes there"):
                attempt()
    check_out_dir(tmp_path, force=True)  # no longer
    with pytest.raises(DefectStrainError, match="isn't empty .run .* was stopped there"):
        check_out_dir(tmp_path)


def test_a_mark_of_a_dead_process_is_a_stopped_run(tmp_path):
    mark = {"command": "run", "host": host_id(), "pid": dead_pid()}
    (tmp_path / MARK).write_text(json.dumps(mark))
    assert not read_mark(tmp_path, MANIFEST).is_running
    # process 1 always runs; of another machine nothing is known
    for host, running in ((host_id(), True), ("00000000", False)):
        (tmp_path / MARK).write_text(json.dumps({**mark, "host": host, "pid": 1}))
        assert read_mark(tmp_path, MANIFEST).is_running is running


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_results_never_replace_inputs(tmp_path, link):
    out = tmp_path / "out"
    out.mkdir()
    given = tmp_path / "image.tif" if link else out / "average_SV.tif"
    given.write_bytes(b"an image")
    if link:
        getattr(out / "average_SV.tif", link)(given)
    with pytest.raises(DefectStrainError, match="is read, and would be replaced by the result ave"):
        check_inputs(out, ["run.json", "average_SV.tif"], [tmp_path / "missing", None, given])
    check_inputs(out, ["run.json", "average_DV.tif"], [given])
    check_inputs(tmp_path / "nowhere", ["average_SV.tif"], [given])


def test_a_manifest_can_be_a_settings_file(tmp_path):
    with writing_into(tmp_path, "simulate", "simulation.json") as folder:
        write(folder, a__tif="x")
        folder.finish({"seed": 3})
    assert settings_of(json.loads((tmp_path / "simulation.json").read_text())) == {"seed": 3}


# ------------------------------------------------------------------ temporary files


def temporary(folder: Path, pid: int, name: str = "a.csv", host: str | None = None) -> Path:
    path = folder / f".{host or host_id()}-{pid}-0123abcd.part.{name}"
    path.write_text("half")
    return path


def test_only_what_dead_writers_left_is_removed(tmp_path):
    dead = temporary(tmp_path, dead_pid())
    living = temporary(tmp_path, os.getpid())
    elsewhere = temporary(tmp_path, 1, host="00000000")
    foreign = [tmp_path / name for name in (".a.part", "a.csv.part", ".x-1-2.part.a", "a.csv")]
    for path in foreign:
        path.write_text("mine")
    assert remove_left_over(tmp_path) == [dead]
    assert names(tmp_path) == {path.name for path in (living, elsewhere, *foreign)}
    os.utime(elsewhere, (time.time() - 2 * 86400,) * 2)
    assert is_left_over(elsewhere)
    assert remove_left_over(tmp_path / "nowhere") == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the start of processes")
def test_a_number_that_another_process_has_now_is_no_living_writer(tmp_path):
    path = temporary(tmp_path, os.getpid())
    assert not is_left_over(path)
    os.utime(path, (time.time() - 80000,) * 2)  # before this process began
    assert is_left_over(path)


def test_the_next_run_tidies_up_and_needs_no_force_for_it(tmp_path):
    figures = tmp_path / "figures"
    dead = dead_pid()
    temporary(tmp_path, dead)
    check_out_dir(tmp_path)
    figures.mkdir()
    temporary(figures, dead)
    whole(tmp_path, a__csv="new")
    assert not list(tmp_path.rglob("*.part.*"))


def test_atomic_files_leave_nothing_and_name_their_writer(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="now"), atomic_path(tmp_path / "a") as path:
        path.write_text("half")
        assert not is_left_over(path)
        raise KeyboardInterrupt("now")
    assert names(tmp_path) == set()


def test_a_link_is_replaced_not_written_through(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    with atomic_path(tmp_path / "a") as path:
        path.write_text("new")
    assert (tmp_path / "target").read_text() == "mine"


def test_no_space_and_no_permission_are_found_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(DefectStrainError, match="MB of free space, expected"):
        check_writable(tmp_path / "new", needed_bytes=10**18)
    (tmp_path / "file").write_text("")
    with pytest.raises(DefectStrainError, match="is a file"):
        check_writable(tmp_path / "file" / "below")

    def refused(self: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(writing.Path, "write_bytes", refused)
    with pytest.raises(DefectStrainError, match="Read-only file system"):
        check_writable(tmp_path)
    assert names(tmp_path) == {"file"}
