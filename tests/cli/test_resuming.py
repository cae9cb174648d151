"""Runs that go on, results that are merged or kept current, and what a hand made."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.cli import resuming, watching
from napari_defectstrain.cli.main import main
from napari_defectstrain.io.files import sites_table, write_json, write_table, write_tiff
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.types import DefectStrainError

STEMS = ("one", "two", "three")


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Figures take most of the time of a quick run."""
    monkeypatch.setattr(figure_files, "save_figure", lambda figure, path: path.touch())


@pytest.fixture
def work(tmp_path) -> Path:
    """Three images of one alloy, their true columns as tables, and quick settings."""
    (tmp_path / "tables").mkdir()
    for i, stem in enumerate(STEMS):
        made = simulated(seed=i + 1, rotation_deg=20.0 * i, size=288)
        write_tiff(tmp_path / f"{stem}.tif", made.counts, 20.74, {})
        write_table(tmp_path / "tables" / f"{stem}.sites.csv", sites_table(true_sites(made), 20.74))
    write_json(tmp_path / "quick.json", QUICK.to_dict())
    return tmp_path


@pytest.fixture
def call(work, capsys):
    """Run a command on images of these stems; what it says on stdout and stderr."""

    def ran(command: str, stems: object, *more: object, out: str = "out") -> tuple[int, str]:
        images = [work / f"{stem}.tif" for stem in stems]
        given = [command, *images, "--sites", work / "tables", "--config", work / "quick.json"]
        code = main([*map(str, (*given, *more)), "--out", str(work / out)])
        return code, "\n".join(capsys.readouterr())

    return ran


def hashes(folder: Path) -> dict[str, str]:
    """Of all results but ``run.json``, which holds times."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.*"))
        if path.is_file() and path.name != "run.json" and "stages" not in path.parts
    }


def times(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


# ------------------------------------------------------------------ going on


def test_the_second_run_does_nothing(work, call):
    assert call("detect", STEMS[:2], "--resume")[0] == 0
    before = times(work / "out")
    code, said = call("detect", reversed(STEMS[:2]), "--resume")
    assert code == 0
    assert "nothing to do: the results of 2 images are up to date" in said
    assert times(work / "out") == before
    # one more image: what is known of the others is taken
    code, said = call("detect", STEMS, "--resume")
    assert code == 0
    assert "stages: 3 done, 6 taken" in said
    # and the same as without any of this
    assert call("detect", STEMS, out="plain")[0] == 0
    assert hashes(work / "out") == hashes(work / "plain")


def test_the_order_of_the_images_changes_no_byte(work, call):
    call("detect", STEMS, out="a")
    call("detect", reversed(STEMS), "--jobs", "2", "--threads", out="b")
    assert hashes(work / "a") == hashes(work / "b")


def test_a_changed_image_is_said_and_done_again(work, call):
    call("detect", STEMS[:2], "--resume")
    made = simulated(seed=1, rotation_deg=0.0, size=288)
    write_tiff(work / "one.tif", made.counts + 1, 20.74, {})
    code, said = call("detect", STEMS[:2], "--resume")
    assert code == 0
    assert "one: its pixels are not those of the earlier run" in said
    assert "two: its pixels" not in said
    assert "stages: 3 done, 3 taken" in said


def test_only_folders_of_results_are_resumed(work, call):
    (work / "out").mkdir()
    (work / "out" / "letter.txt").write_text("mine")
    code, said = call("detect", STEMS[:1], "--resume")
    assert code == 2
    assert "the folder isn't empty" in said


def test_one_damaged_image_is_named_and_the_rest_done(work, call):
    (work / "two.tif").write_bytes(b"II*\x00 torn")
    code, said = call("detect", STEMS, "--resume", "--jobs", "2", "--threads")
    assert code == 3
    assert "two.tif: no image in this TIFF file" in said
    found = json.loads((work / "out" / "run.json").read_text())
    assert [image["name"] for image in found["images"]] == ["one", "three"]
    assert [failed["name"] for failed in found["failed"]] == ["two.tif"]
    code, said = call("detect", STEMS, "--resume")  # nothing to do, but it is said again
    assert code == 3
    assert "nothing to do" in said
    assert "two.tif: no image in this TIFF file" in said


def test_a_folder_that_goes_meanwhile_is_said(work, call, monkeypatch):
    import shutil

    from napari_defectstrain.output import results

    write = results.write_table

    def and_remove(path, table):
        write(path, table)
        if path.name == "populations.csv":
            shutil.rmtree(work / "out")

    monkeypatch.setattr(results, "write_table", and_remove)
    code, said = call("detect", STEMS[:1])
    assert code == 2
    assert "expected all" in said or "can't be written" in said
    assert not (work / "out" / "run.json").exists()


# ------------------------------------------------------------------ what a hand made


def test_edits_are_replaced_only_where_that_is_wanted(work, call, monkeypatch):
    call("detect", STEMS[:1])
    table = work / "out" / "one.sites.csv"
    corrected = table.read_text().replace(",model\n", ",manual\n", 1)
    for extra in (["--force"], ["--resume"]):
        table.write_text(corrected)
        code, said = call("detect", STEMS[:1], *extra)
        assert code == 2
        assert "changed by hand: one.sites.csv" in said
        assert table.read_text() == corrected
    # at a terminal it is asked
    answers = iter(["n\n", "y\n"])
    monkeypatch.setattr(resuming.sys, "stdin", _Terminal(answers))
    monkeypatch.setattr(resuming.sys.stderr, "isatty", lambda: True, raising=False)
    assert call("detect", STEMS[:1], "--force")[0] == 2
    assert table.read_text() == corrected
    assert call("detect", STEMS[:1], "--force")[0] == 0
    assert (work / "out" / "one.sites.kept.csv").read_text() == corrected


class _Terminal:
    def __init__(self, answers) -> None:
        self._answers = answers

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return next(self._answers)


# ------------------------------------------------------------------ merging


def test_a_merge_is_one_run(work, call, capsys):
    call("detect", STEMS, out="whole")
    call("detect", STEMS[::2], "--resume", out="a")
    call("detect", STEMS[1:2], "--resume", out="b")
    merged = ["merge", work / "b", work / "a", "-o", work / "c"]
    assert main([*map(str, merged)]) == 0
    assert "0 done" in capsys.readouterr().out
    assert hashes(work / "c") == hashes(work / "whole")
    assert main([*map(str, merged)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_what_no_one_run_could_have_made_is_not_merged(work, call, capsys):
    call("detect", STEMS[:1], out="a")
    call("detect", STEMS[1:2], "--seed", "7", out="b")

    def refused() -> str:
        assert main(["merge", str(work / "a"), str(work / "b"), "-o", str(work / "c")]) == 2
        return capsys.readouterr().err

    assert "seed is 0 in" in refused()
    call("detect", STEMS[1:2], "--force", out="b")
    table = work / "a" / "one.sites.csv"
    whole = table.read_text()
    table.write_text(whole.replace(",model\n", ",manual\n", 1))
    assert "one.sites.csv changed by hand" in refused()
    table.write_text(whole)
    (work / "two.tif").rename(work / "2.tif")
    assert "expected it to be there still" in refused()
    other = simulated(seed=5, rotation_deg=0.0, size=288)
    write_tiff(work / "two.tif", other.counts, 20.74, {})
    assert "has changed since" in refused()
    assert not (work / "c" / "run.json").exists()


# ------------------------------------------------------------------ watching


def test_files_are_taken_when_they_are_whole(tmp_path):
    now = [0.0]
    arrivals = watching.Arrivals(tmp_path, 5.0, lambda: now[0])
    path = tmp_path / "a.tif"
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".a.tif").write_bytes(b"temporary")
    assert arrivals.look() == ([], False)
    path.write_bytes(b"half")
    assert arrivals.look() == ([], True)
    now[0] = 4.0
    path.write_bytes(b"half and more")
    assert arrivals.look() == ([], True)
    now[0] = 8.0
    assert arrivals.look() == ([], True)
    now[0] = 9.5
    assert arrivals.look() == ([path], False)
    known = arrivals.states([path])
    path.write_bytes(b"written anew, longer")
    assert arrivals.look() == ([], True)
    now[0] = 20.0
    assert arrivals.look()[0] == [path]
    assert arrivals.states([path]) != known
    path.unlink()
    assert arrivals.look() == ([], False)
    gone = watching.Arrivals(tmp_path / "gone", 5.0)
    with pytest.raises(DefectStrainError, match="can't be watched.*what was measured is kept"):
        gone.look()


def test_stopped_in_a_run_it_says_that_the_results_are_not_whole(work, call, capsys, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "_measured", stopped)
    given = ["watch", str(work), "--out", str(work / "out"), "--settle", "0", "--every", "0"]
    assert main(given) == 130
    assert "watching has ended" not in capsys.readouterr().out
    for option in ("--every", "--settle", "--idle"):
        assert main([*given, option, "nan"]) == 2
        assert f"{option}: got nan, expected seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (["--jobs", "0"], "--jobs: got 0"),
        (["--material", "Foo"], "Foo"),
        (["--set", "average.window=3"], "average.window"),
        (["--split", "XX"], "split: got 'XX', expected a class of WSe2: W, 2Se"),
        (["--figures", "gif"], "gif"),
        (["--reference", "SV=a,b"], "got a, which is no file"),
        (["--sites", "none"], "--sites none: got no folder"),
        (["--regions", "none"], "--regions none: got no folder"),
        (["--weights", "none"], "weights: got none, which is no file"),
    ],
)
def test_mistakes_in_options_are_said_before_anything_is_waited_for(work, capsys, mistake, said):
    """Not at every image that comes, hours later, with a promise to go on."""
    given = ["watch", str(work), "--out", str(work / "out"), "--idle", "0", *mistake]
    assert main(given) == 2
    told = capsys.readouterr()
    assert said in told.err and len(told.err.strip().splitlines()) == 1
    assert "watching" not in told.out
    assert not (work / "out").exists()


def test_results_do_not_go_where_a_file_is(work, capsys):
    (work / "letter").write_text("mine")
    assert main(["watch", str(work), "--out", str(work / "letter"), "--idle", "0"]) == 2
    assert "got a file, expected a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_fills_is_measured_like_one_run(work, call, capsys):
    folder = work / "session"
    folder.mkdir()

    def fill() -> None:
        for stem in STEMS:
            (folder / f"{stem}.tif").write_bytes((work / f"{stem}.tif").read_bytes())
            time.sleep(1.0)

    filling = threading.Thread(target=fill)
    filling.start()
    given = ["--sites", work / "tables", "--config", work / "quick.json", "--idle", "3"]
    waiting = ["--settle", "0.3", "--every", "0.2", "--jobs", "1"]
    code = main(["watch", str(folder), "--out", str(work / "out"), *map(str, given), *waiting])
    filling.join()
    assert code == 0
    assert "watching" in capsys.readouterr().out
    for stem in STEMS:
        (work / f"{stem}.tif").unlink()
        (folder / f"{stem}.tif").rename(work / f"{stem}.tif")
    assert call("run", STEMS, out="whole")[0] == 0
    assert hashes(work / "out") == hashes(work / "whole")


def test_the_results_do_not_go_where_images_come_from(work, capsys):
    assert main(["watch", str(work), "--out", str(work)]) == 2
    assert "expected another one" in capsys.readouterr().err


# ------------------------------------------------------------------ killed


def killed_and_resumed(work: Path, kills: int) -> None:
    """Kill a run at random times until it gets through; compare with one that was left alone."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    images = [str(work / f"{stem}.tif") for stem in STEMS]

    def command(out: str) -> list[str]:
        given = ["run", *images, "--sites", work / "tables", "--config", work / "quick.json"]
        start = [sys.executable, "-m", "napari_defectstrain", *given]
        return [*map(str, start), "--resume", "--out", str(work / out)]

    began = time.monotonic()
    subprocess.run(command("whole"), env=environment, check=True, capture_output=True)
    takes_s = time.monotonic() - began
    rng = np.random.default_rng(14)
    for wait_s in rng.uniform(0.3, 1.0, kills) * takes_s:
        with subprocess.Popen(
            command("out"), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    ended = subprocess.run(command("out"), env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert hashes(work / "out") == hashes(work / "whole")
    assert not list((work / "out").rglob("*.part.*"))


@pytest.mark.slow
def test_a_run_killed_anywhere_goes_on_to_the_same_bytes(work):
    killed_and_resumed(work, int(os.environ.get("DEFECTSTRAIN_KILLS", "3")))


def test_nothing_to_do_names_what_is_broken_now(work, call):
    """Not what was broken then: files come and go beside results that are up to date."""
    assert call("detect", STEMS[:1], "--resume")[0] == 0
    (work / "torn.tif").write_bytes(b"II*\x00 torn")
    code, said = call("detect", ("one", "torn"), "--resume")
    assert code == 3
    assert "nothing to do" in said and "torn.tif: no image" in said
    code, said = call("detect", ("one", "torn"), "--resume", "--force", "--figures", "pdf")
    assert code == 3 and "nothing to do" not in said
    code, said = call("detect", STEMS[:1], "--resume", "--figures", "pdf")
    assert code == 0
    assert "nothing to do" in said and "torn" not in said
    # figures of another width are other figures
    code, said = call("detect", STEMS[:1], "--resume", "--figures", "pdf", "--figure-width", "7")
    assert code == 0 and "nothing to do" not in said
    # and a report of before is said to be one
    (work / "out" / "report.html").write_text("old")
    os.utime(work / "out" / "report.html", (0, 0))
    assert "report.html is of results of before" in call("detect", STEMS[:1], "--resume")[1]
