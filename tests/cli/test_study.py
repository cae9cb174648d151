"""Studies by the command line: made, measured, looked at; images that move and change."""

import io
import shlex
from contextlib import redirect_stdout

import pandas as pd
import pytest
from small_alloy import QUICK, simulated, true_sites
from study_stage import picture, reclassed, small_study

from napari_defectstrain import open_study
from napari_defectstrain.cli.main import main
from napari_defectstrain.io import sites_table, write_json, write_table
from napari_defectstrain.simulate.samples import write_simulated
from napari_defectstrain.study import study_command, study_script

CONFIG = QUICK.replace(judge=QUICK.judge.replace(enabled=False))


@pytest.mark.slow
def test_a_study_from_the_command_line(tmp_path, capsys):
    made = simulated(seed=1, size=256, name="one")
    write_simulated(made, tmp_path.joinpath)
    (tmp_path / "tables").mkdir()
    write_table(tmp_path / "tables" / "one.sites.csv", sites_table(true_sites(made), 20.74))
    write_json(tmp_path / "quick.json", CONFIG)
    path = tmp_path / "s.defectstrain"
    given = ["--sites", str(tmp_path / "tables"), "--config", str(tmp_path / "quick.json")]
    image = str(tmp_path / "one.tif")
    assert main(["detect", image, "--study", str(tmp_path / "s"), *given]) == 0
    assert "SeTe" in capsys.readouterr().out
    with open_study(path) as study:
        assert study.config.replace(bootstrap=CONFIG.bootstrap) == CONFIG
        row = int((study.sites("one").class_name == "2Se").argmax())
        study.record("one", reclassed(study.sites("one"), row, "SV"), user="anna")
        command, script = study_command(study, "detect"), study_script(study, "detect")
    assert main(["status", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 edit since: run the study again" in said
    assert "1 of columns, the last on" in said
    # what the buttons copy does what the buttons do
    assert main(shlex.split(command)[1:]) == 0
    tables = {p.name: p.read_bytes() for p in (path / "results").glob("*.csv")}
    found = pd.read_csv(path / "results" / "one.sites.csv")
    assert list(found["source"]).count("manual") == 1
    with redirect_stdout(io.StringIO()) as out:
        exec(script, {})  # noqa: S102
    assert "SeTe" in out.getvalue()
    assert {p.name: p.read_bytes() for p in (path / "results").glob("*.csv")} == tables
    capsys.readouterr()
    assert main(["status", str(path)]) == 0
    said = capsys.readouterr().out
    assert "up to date" in said
    assert not (path / "lock.json").exists()


def test_history_is_a_table(tmp_path, capsys):
    with small_study(tmp_path, 1) as study:
        study.record("image_0", reclassed(study.sites("image_0"), 2, "DV"), user="anna")
    assert main(["status", str(study.path), "--history"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table["what"]) == ["study", "answer", "columns"]
    assert table["user"].iloc[-1] == "anna"
    assert '"class": "DV"' in table["to"].iloc[-1]


def test_a_moved_image_is_found_by_its_hash(tmp_path, capsys):
    with small_study(tmp_path) as study:
        pass
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "image_0.tif").rename(tmp_path / "elsewhere" / "deep" / "renamed.tif")
    assert main(["detect", "--study", str(study.path), "--strict"]) == 2
    said = capsys.readouterr().err
    assert "image_0.tif: is gone, moved or renamed; the same file lies at" in said
    assert "--find" in said
    assert main(["status", str(study.path)]) == 0
    out = capsys.readouterr()
    assert "missing" in out.out
    assert "is gone, moved or renamed" in out.err
    assert main(["status", str(study.path), "--find", str(tmp_path / "elsewhere")]) == 0
    out = capsys.readouterr()
    assert "image_0.tif: is at" in out.out
    assert "missing" not in out.out


def test_a_changed_image_is_refused_until_it_is_accepted(tmp_path, capsys):
    with small_study(tmp_path) as study:
        pass
    picture(tmp_path / "image_0.tif", seed=77)
    assert main(["detect", "--study", str(study.path), "--strict"]) == 2
    assert "was changed since it was taken into the study" in capsys.readouterr().err
    assert main(["status", str(study.path), "--check"]) == 0
    assert "changed" in capsys.readouterr().out
    assert main(["status", str(study.path), "--accept-changed"]) == 0
    assert "image_0.tif: taken as it is now" in capsys.readouterr().out
    assert main(["status", str(study.path), "--check"]) == 0
    assert "was changed" not in capsys.readouterr().err


def test_a_study_that_is_open_elsewhere_is_not_written(tmp_path, capsys):
    with small_study(tmp_path) as study:
        assert main(["detect", "--study", str(study.path)]) == 2
        assert "opened for reading only: " in capsys.readouterr().err
        assert main(["status", str(study.path)]) == 0
        assert "image_0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "run: got no images, expected it, or --study S"),
        (["run", "a.tif"], "run: got no --out DIR"),
        (["run", "a.tif", "--out", "x", "--copy"], "--copy: got no study"),
        (["run", "--study", "none"], "none: got no study and no images"),
        (["run", "--study", "none", "--out", "x"], "got a folder and a study, expected one"),
        (["run", "a.tif", "--out", "x", "--set", "average.nothing=3"], "--set average.nothing=3"),
        (["run", "a.tif", "--out", "x", "--set", "bootstrap=-3"], "bootstrap: got -3"),
        (["status", "none"], "got nothing, expected the folder of a study"),
    ],
)
def test_mistakes_are_named(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
