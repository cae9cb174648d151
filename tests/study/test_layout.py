import json
from pathlib import Path

import pytest
from study_stage import same_sites, small_study

from napari_defectstrain import create_study, open_study
from napari_defectstrain.cli.main import main
from napari_defectstrain.study import layout, named_folder
from napari_defectstrain.types import DefectStrainError


def later(monkeypatch):
    """A version of tomorrow: what was called files is called sources there."""

    def step(content):
        changed = dict(content)
        changed["parameters"] = {**content["parameters"], "seed": content["parameters"]["seed"] + 1}
        return changed

    monkeypatch.setattr(layout, "SCHEMA", layout.SCHEMA + 1)
    monkeypatch.setattr(layout, "MIGRATIONS", {layout.SCHEMA - 1: step})


def test_an_older_schema_is_migrated_and_kept(tmp_path, monkeypatch):
    with small_study(tmp_path) as study:
        old = (study.path / "study.json").read_bytes()
        sites = study.sites("image_0")
    later(monkeypatch)
    with open_study(study.path, read_only=True) as reading:
        assert reading.config.seed == 1
        assert (study.path / "study.json").read_bytes() == old  # who only reads changes nothing
    with open_study(study.path) as again:
        assert again.config.seed == 1
        assert same_sites(again.sites("image_0"), sites)
        assert "migrated from schema 1 to 2; study.schema_1.json is what it was" in again.notes[0]
    assert (study.path / "study.schema_1.json").read_bytes() == old
    content = json.loads((study.path / "study.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["parameters"]["seed"]) == (2, 1)
    with open_study(study.path) as third:
        assert third.notes == []
        assert third.config.seed == 1


def test_a_newer_schema_is_refused_with_a_reason(tmp_path):
    with small_study(tmp_path) as study:
        path = study.path / "study.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "schema": 99, "version": "9.0"}), encoding="utf-8")
    before = path.read_bytes()
    match = "got a study of schema 99, written by napari-defectstrain 9.0; .* update"
    with pytest.raises(DefectStrainError, match=match):
        open_study(study.path)
    assert path.read_bytes() == before
    assert not (study.path / "lock.json").exists()


def test_one_that_can_not_be_migrated_is_refused(tmp_path, monkeypatch):
    with small_study(tmp_path) as study:
        pass
    monkeypatch.setattr(layout, "SCHEMA", 3)
    with pytest.raises(DefectStrainError, match="got schema 1, which can't be migrated"):
        open_study(study.path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "got no JSON object"),
        ('{"kind": "other", "schema": 1}', "got kind 'other' and schema 1"),
        ('{"kind": "napari-defectstrain study", "schema": "1"}', "schema '1'"),
        ('{"kind": "napari-defectstrain study", "schema": 1, "files": 3}', "got no list of files"),
        (
            '{"kind": "napari-defectstrain study", "schema": 1, "parameters": {"sed": 3}}',
            "parameters.sed: got unknown setting",
        ),
    ],
)
def test_a_damaged_study_file_is_named(tmp_path, content, said):
    with small_study(tmp_path) as study:
        (study.path / "study.json").write_text(content, encoding="utf-8")
    with pytest.raises(DefectStrainError, match=said):
        open_study(study.path)
    assert not (study.path / "lock.json").exists()


def test_the_folder_one_is_in_has_a_name(tmp_path, monkeypatch):
    with create_study(tmp_path / "alloy"):
        pass
    path = (tmp_path / "alloy.defectstrain").resolve()
    (path / "results").mkdir()
    monkeypatch.chdir(path)
    for given in (".", "study.json", "../alloy"):
        with open_study(given, read_only=True) as study:
            assert study.path.resolve() == path
            assert study.name == "alloy"
    monkeypatch.chdir(path / "results")
    with open_study("..", read_only=True) as study:
        assert study.name == "alloy"
    assert named_folder(".") == path / "results"
    assert named_folder("/") == Path("/").resolve()
    for given in (".", "/"):
        with pytest.raises(DefectStrainError, match="expected a name for the study's own folder"):
            create_study(given)
    assert main(["status", "."]) == 2
    assert main(["run", "--study", "/"]) == 2
