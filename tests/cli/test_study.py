"""Studies by the command line: made, measured, looked at; images that move and change."""

import io
import shlex
from contextlib import redirect_stdout

import pandas as pd
import pytest
from small_alloy import QUICK, simulated, true_sites
from study_stage import columns, picture, reclassed, small_study

from napari_defectstrain import create_study, open_study
from napari_defectstrain.cli.main import main
from napari_defectstrain.detect import bundled_weights
from napari_defectstrain.failures import Failures
from napari_defectstrain.io import sites_table, write_json, write_table
from napari_defectstrain.io.out_folder import file_sha256
from napari_defectstrain.simulate.samples import write_simulated
from napari_defectstrain.study import (
    Answer,
    WeightsRecord,
    answer_key,
    study_command,
    study_script,
)
from napari_defectstrain.study import weights as study_weights
from napari_defectstrain.types import DefectStrainError

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


# ------------------------------------------------------------------ what fails changes nothing


def with_answers_of(study) -> None:
    """As if the bundled network had found the columns."""
    weights = file_sha256(bundled_weights("WSe2"))
    key = answer_key(study.config, [file.sha256 for file in study.files], weights)
    for i, name in enumerate(study.images):
        study.set_sites(name, columns(seed=i), Answer(weights_sha256=weights, key=key))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weights", "nofile.safetensors"], "nofile.safetensors"),
        (["--weights", "other.safetensors"], "expected those of the study, bundled"),
        (["--set", "detect.weights=other.safetensors"], "expected those of the study, bundled"),
        (["--weights", "nofile.safetensors", "--new-weights"], "nofile.safetensors"),
        (["--reference", "nothing=a,b"], "nothing"),
        (["--seed", "5", "--sites", "nowhere"], "--sites nowhere: got no folder"),
        (["--seed", "5", "--sites", "."], "got no table of an image of the study"),
        (["--seed", "5", "--regions", "nowhere"], "--regions nowhere: got no folder"),
        (["--frames"], "got frames = True, expected False"),
        (["--material", "MoS2"], "no lattice of 316 pm"),
    ],
)
def test_what_is_refused_leaves_the_study_as_it_was(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    other = WeightsRecord("other.safetensors", "b" * 64)

    def configured(config):
        if not config.detect.weights:
            sha256 = file_sha256(bundled_weights(config.material))
            return WeightsRecord("bundled", sha256)
        if config.detect.weights.startswith("nofile"):
            raise DefectStrainError("nofile.safetensors: there is none")
        return other

    monkeypatch.setattr(study_weights, "configured_weights", configured)
    with small_study(tmp_path, 1) as study:
        with_answers_of(study)
    before = {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}
    assert main(["detect", "--study", "small", *options]) == 2
    assert said in capsys.readouterr().err
    after = {p: p.read_bytes() for p in study.path.rglob("*") if p.is_file()}
    assert after == before


def test_settings_on_trial_are_kept_with_what_is_found(tmp_path):
    with small_study(tmp_path, 1) as study:
        study.try_config(study.config.replace(seed=7))
        study.record("image_0", reclassed(study.sites("image_0"), 2, "DV"))
        with open_study(study.path, read_only=True) as other:
            assert other.config.seed == 0
        study.set_sites("image_0", columns(seed=5))
        with open_study(study.path, read_only=True) as other:
            assert other.config.seed == 7
        assert "parameters" in [next(iter(e.content)) for e in study.history()]


def test_frames_of_a_study_are_summed_as_they_were(tmp_path):
    config = CONFIG.replace(frames=True, pixel_size_pm=20.0)
    with create_study(tmp_path / "s", config, [picture(tmp_path / "sum.tif")]) as study:
        assert len(study.images) == 1
        series = study.config.series.replace(exclude=(0,))
        with pytest.raises(DefectStrainError, match="got series.exclude = .0., expected"):
            study.set_config(study.config.replace(series=series))
        assert study.config == config
    with small_study(tmp_path) as study:  # of no frames: nothing lies elsewhere
        study.set_config(study.config.replace(series=series))


def test_no_image_makes_no_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.tif").write_bytes(b"II*\0abc")
    assert main(["run", "broken.tif", "--study", "below/new"]) == 2
    assert "broken.tif: not a readable .tif image" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["broken.tif"]
    # one of two is enough
    picture(tmp_path / "good.tif")
    failures = Failures()
    with create_study("new", images=["good.tif", "broken.tif"], failures=failures) as study:
        assert study.images == ("good",)
    assert [one.name for one in failures.found] == ["broken.tif"]
    # and a study without any says why
    with create_study("empty"):
        pass
    assert main(["run", "broken.tif", "--study", "empty"]) == 2
    assert "broken.tif: not a readable .tif image" in capsys.readouterr().err


def test_tables_are_asked_of_the_images_that_come(tmp_path, monkeypatch):
    """Images of before keep their columns; those that have a table take it."""
    (tmp_path / "tables").mkdir()
    picture(tmp_path / "new.tif", 5)
    write_table(tmp_path / "tables" / "new.sites.csv", sites_table(columns(seed=5), 12.0))
    measured = []
    monkeypatch.setattr(
        "napari_defectstrain.output.studies.run_study", lambda study, *a: measured.append(study)
    )
    with small_study(tmp_path, 2) as study:
        pass
    given = ["detect", str(tmp_path / "new.tif"), "--study", str(study.path), "--strict"]
    with pytest.raises(AttributeError):  # what is measured is none: that it came so far is enough
        main([*given, "--sites", str(tmp_path / "tables")])
    with open_study(study.path, read_only=True) as study:
        assert study.answer_of("new").by == "file"
        assert study.answer_of("image_0").by == "model"
        assert len(study.sites("new")) == 30


def test_what_does_nothing_is_said(tmp_path, capsys):
    with small_study(tmp_path, 1) as study:
        study.set_sites("image_0", columns(seed=3), Answer(by="file"))
    assert main(["status", str(study.path), "--find", str(tmp_path / "nowhere")]) == 2
    assert "--find" in capsys.readouterr().err
    picture(tmp_path / "image_0.tif", seed=77)
    assert main(["status", str(study.path), "--accept-changed"]) == 0
    assert "image_0: its columns came from a table" in capsys.readouterr().out
    assert main(["detect", "--study", str(study.path), "--force", "--sites", "nowhere"]) == 2
    assert main(["detect", "--study", str(study.path), "--force", "--seed", "-1"]) == 2
    assert "--force: does nothing with --study" in capsys.readouterr().err
