"""What hands did to the parts of a merge, and what it may write over."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_alloy import QUICK, simulated, true_sites
from study_stage import reclassed

from napari_defectstrain import create_study, open_study, run_study
from napari_defectstrain.cli.main import main
from napari_defectstrain.cli.merging import read_part, said_of
from napari_defectstrain.crystal import label_regions
from napari_defectstrain.detect import bundled_weights
from napari_defectstrain.io.files import sites_table, write_json, write_table, write_tiff
from napari_defectstrain.io.out_folder import file_sha256
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.study import Answer, answer_key
from napari_defectstrain.types import DefectStrainError

CONFIG = QUICK.replace(judge=QUICK.judge.replace(enabled=False))
SIZE = 192


@pytest.fixture(scope="module", autouse=True)
def no_drawing():
    """Figures take most of the time of a quick run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "save_figure", lambda figure, path: path.touch())
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Two images, their true columns, quick settings, a run of each (a, b), and a study (s)."""
    work = tmp_path_factory.mktemp("merging")
    (work / "tables").mkdir()
    for seed, stem in enumerate(("one", "two"), 1):
        made = simulated(seed=seed, size=SIZE)
        write_tiff(work / f"{stem}.tif", made.counts, 20.74, {})
        write_table(work / "tables" / f"{stem}.sites.csv", sites_table(true_sites(made), 20.74))
    write_json(work / "quick.json", CONFIG.to_dict())
    assert detected(work, "one", "a", "--resume") == 0
    assert detected(work, "two", "b") == 0
    corrected_study(work)
    return work


def detected(work: Path, stem: str, out: str, *more: object) -> int:
    given = ["detect", work / f"{stem}.tif", "--out", work / out, "--sites", work / "tables"]
    return main([*map(str, (*given, "--config", work / "quick.json", *more))])


def corrected_study(work: Path) -> None:
    """A study whose columns the bundled network is said to have found; some were removed since."""
    with create_study(work / "s", CONFIG, [work / "one.tif"]) as study:
        weights = file_sha256(bundled_weights("WSe2"))
        key = answer_key(CONFIG, [study.files[0].sha256], weights)
        sites = true_sites(simulated(seed=1, size=SIZE))
        study.set_sites("one", sites, Answer(weights_sha256=weights, key=key))
        study.record("one", sites.subset(np.arange(len(sites)) >= 20))
        run_study(study, (), detect_only=True)


def copied_study(work: Path, name: str) -> Path:
    """A study that a test may change."""
    path = work / f"{name}.defectstrain"
    shutil.copytree(work / "s.defectstrain", path)
    return path


def merged(work: Path, *parts: object, out: str = "merged") -> int:
    return main(["merge", *(str(work / str(part)) for part in parts), "-o", str(work / out)])


def rows(folder: Path, stem: str = "one") -> int:
    return len(pd.read_csv(folder / f"{stem}.sites.csv"))


def same_populations(one: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(*(pd.read_csv(f / "populations.csv") for f in (one, other)))


@pytest.mark.parametrize("part", ["s", "s.defectstrain/results"])
def test_corrections_by_hand_are_merged(work, part, capsys):
    out = "of_results" if "/" in part else "of_study"
    assert merged(work, part, out=out) == 0
    assert "columns corrected by hand" in capsys.readouterr().err
    results = work / "s.defectstrain" / "results"
    assert rows(work / out) == rows(results)
    same_populations(work / out, results)


def test_a_study_that_was_edited_since_is_not_merged(work, capsys):
    with open_study(copied_study(work, "edited")) as study:
        study.record("one", reclassed(study.sites("one"), 3, "DV"))
    assert merged(work, "edited", out="none") == 2
    assert "1 edit since its results were written; run it again first" in capsys.readouterr().err
    assert not (work / "none").exists()


def test_regions_by_hand_are_merged(work):
    (work / "labels").mkdir()
    labels = np.ones((SIZE, SIZE), np.uint8)
    labels[: SIZE // 2] = 0
    write_tiff(work / "labels" / "one.regions.tif", labels, None, {})
    assert detected(work, "one", "halved", "--regions", work / "labels") == 0
    assert merged(work, "halved", out="of_halved") == 0
    same_populations(work / "halved", work / "of_halved")
    known = json.loads((work / "of_halved" / "run.json").read_text())
    assert known["regions_given"] == ["one"]


def test_regions_of_the_hands_of_a_study_are_merged(work):
    with open_study(copied_study(work, "drawn")) as study:
        labels = study.regions("one").labels.copy()
        labels[: SIZE // 2] = 0
        study.set_regions("one", label_regions(labels, None))
        assert run_study(study, (), detect_only=True).regions_given == ("one",)
    assert merged(work, "drawn", out="of_drawn") == 0
    same_populations(work / "of_drawn", work / "drawn.defectstrain" / "results")


def test_different_tables_of_one_image_are_not_merged(work, capsys):
    about = copied_study(work, "tables_only") / "results" / "run.json"
    content = json.loads(about.read_text())
    write_json(about, {**content, "weights_sha256": None})
    assert merged(work, "tables_only", "a", out="none") == 2
    assert "for one, expected one; leave one of the parts out" in capsys.readouterr().err


# ------------------------------------------------------------------ what is there stays


def state(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_results_of_others_are_not_replaced(work, capsys):
    before = state(work / "b")
    assert merged(work, "a", out="b") == 2
    assert "holds results of two, which would be replaced" in capsys.readouterr().err
    # nor by a run that would go on
    assert detected(work, "one", "b", "--resume") == 2
    assert "the folder isn't empty" in capsys.readouterr().err
    assert state(work / "b") == before


@pytest.mark.parametrize("out", ["a", "a/stages", "s.defectstrain", "s.defectstrain/results"])
def test_a_part_is_not_written_into(work, out, capsys):
    before = state(work / Path(out).parts[0])
    assert merged(work, Path(out).parts[0], out=out) == 2
    assert "which is merged, expected another one" in capsys.readouterr().err
    assert state(work / Path(out).parts[0]) == before


def test_what_was_merged_is_merged_with_more(work, capsys):
    assert merged(work, "a", out="grows") == 0
    capsys.readouterr()
    part = work / "measured"
    shutil.copytree(work / "b", part)
    write_table(part / "spacings.csv", pd.DataFrame({"class": ["SV"]}))
    assert merged(work, "a", "measured", out="grows") == 0
    assert "was measured, and others weren't" in capsys.readouterr().err
    assert {"one.sites.csv", "two.sites.csv"} <= {p.name for p in (work / "grows").iterdir()}


def test_windows_left_out_by_hand_are_refused(work):
    part = replace(read_part(work / "s.defectstrain"), windows=2)
    with pytest.raises(DefectStrainError, match="2 windows left out or put back by hand"):
        said_of([part], "run")
    assert len(said_of([part], "detect")) == 1
