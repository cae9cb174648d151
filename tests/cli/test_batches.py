"""Batches with bad files, folders of stopped runs, and results that would replace their inputs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.cli.main import main
from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.failures import Failures
from napari_defectstrain.io.files import (
    read_images,
    sites_table,
    write_json,
    write_table,
    write_tiff,
)
from napari_defectstrain.output import results
from napari_defectstrain.output.figures import files as figure_files
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.runs import RunResult
from napari_defectstrain.types import DefectStrainError


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Figures take most of the time of a quick run."""
    monkeypatch.setattr(figure_files, "save_figure", lambda figure, path: path.touch())


@pytest.fixture
def work(tmp_path) -> Path:
    """Tables, and three images of which the second is damaged; two have the same name."""
    good = simulated(size=256, fractions=(0.03, 0.02, 0.03, 0.02))
    for folder in ("a", "b", "tables"):
        (tmp_path / folder).mkdir()
    for path in (tmp_path / "a" / "alloy.tif", tmp_path / "b" / "good.tif"):
        write_tiff(path, good.counts, 20.74, {})
    (tmp_path / "b" / "alloy.tif").write_bytes(b"no image")
    for stem in ("alloy", "alloy_2", "good"):
        table = sites_table(true_sites(good), 20.74)
        write_table(tmp_path / "tables" / f"{stem}.sites.csv", table)
    return tmp_path


@pytest.fixture
def call(work, capsys):
    def run(command: str, *arguments: object, out: str = "out") -> tuple[int, list[str]]:
        given = [command, *map(str, arguments), "--out", str(work / out)]
        code = main(given)
        said = capsys.readouterr().err.strip().splitlines()
        assert not list(work.rglob("*.part*"))
        return code, said

    return run


def batch(work: Path) -> list[object]:
    images = [work / "b" / "alloy.tif", work / "a" / "alloy.tif", work / "b" / "good.tif"]
    return [*images, "--sites", work / "tables"]


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


@pytest.mark.slow
def test_a_bad_file_is_named_and_left_out(work, call):
    code, said = call("detect", *batch(work))
    assert code == 3
    (left_out,) = [line for line in said if "left out" in line]
    assert "alloy.tif" in left_out
    found = json.loads((work / "out" / "run.json").read_text())
    # named by their folders' order, whatever order they are given in; the damaged file keeps its
    # name, too
    assert [image["name"] for image in found["images"]] == ["alloy", "good"]
    (failed,) = found["failed"]
    assert failed["name"] == "alloy.tif"
    assert failed["reason"]
    assert "alloy.sites.csv" in names(work / "out")
    assert "alloy_2.sites.csv" not in names(work / "out")


def test_strict_does_nothing(work, call):
    code, said = call("detect", *batch(work), "--strict")
    assert code == 2
    assert len(said) == 1
    assert "alloy.tif" in said[0]
    assert not (work / "out").exists()


@pytest.mark.slow
def test_every_way_to_fail_leaves_one_image_out(work, call, monkeypatch):
    noise = np.random.default_rng(0).normal(100.0, 10.0, (256, 256)).astype(np.float32)
    write_tiff(work / "a" / "noise.tif", noise, 20.74, {})  # no lattice
    write_tiff(work / "a" / "scale.tif", simulated(size=256).counts, 41.0, {})  # refused
    for stem in ("far", "tableless", "torn"):
        write_tiff(work / "a" / f"{stem}.tif", simulated(size=256).counts, 20.74, {})
    table = pd.read_csv(work / "tables" / "good.sites.csv")
    for stem in ("noise", "scale"):
        write_table(work / "tables" / f"{stem}.sites.csv", table)
    write_table(work / "tables" / "far.sites.csv", table.assign(y_px=table["y_px"] + 9000))
    (work / "tables" / "torn.sites.csv").write_text("y_px,x_px\n1")
    stems = ("noise", "scale", "far", "tableless", "torn")
    images = [work / "a" / f"{stem}.tif" for stem in stems]
    code, _ = call("detect", *images, work / "b" / "good.tif", "--sites", work / "tables")
    assert code == 3
    found = json.loads((work / "out" / "run.json").read_text())
    assert {failure["name"] for failure in found["failed"]} == set(stems)
    assert [image["name"] for image in found["images"]] == ["good"]
    # alone they are an error, as ever
    code, said = call("detect", *images, "--sites", work / "tables", out="none")
    assert code == 2
    assert said[-1].startswith("defectstrain: error: none of 5 images can be used")
    assert not (work / "none").exists()


@pytest.mark.slow
def test_a_detection_that_fails_leaves_the_others(work, call, monkeypatch):
    from napari_defectstrain.detect.finding import predict
    from napari_defectstrain.types import DefectStrainError

    def detect_columns(image, config, progress):
        if image.name == "alloy":
            raise DefectStrainError("alloy: no column")
        if image.name == "alloy_2":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        sites = true_sites(simulated(size=256, fractions=(0.03, 0.02, 0.03, 0.02)))
        return predict.Detection(sites, image.pixel_size_pm, "abc", config.material, ())

    monkeypatch.setattr(predict, "detect_columns", detect_columns)
    images = [work / "a" / "alloy.tif", work / "a" / "alloy.tif", work / "b" / "good.tif"]
    code, said = call("detect", *images)
    assert code == 3
    failed = json.loads((work / "out" / "run.json").read_text())["failed"]
    assert [failure["name"] for failure in failed] == ["alloy", "alloy_2"]
    assert "out of memory" in failed[1]["reason"]
    assert sum("left out" in line for line in said) == 2


def test_damaged_regions_of_one_image_leave_out_that_one(work, call):
    image, tables = work / "b" / "good.tif", ["--sites", work / "tables"]
    (work / "labels").mkdir()
    (work / "labels" / "alloy.regions.tif").write_bytes(b"II*\x00 torn")
    write_tiff(work / "labels" / "good.regions.tif", np.ones((256, 256), np.uint8), None, {})
    given = [*tables, "--regions", work / "labels"]
    code, said = call("detect", work / "a" / "alloy.tif", image, *given)
    assert code == 3
    assert sum("left out" in line for line in said) == 1
    found = json.loads((work / "out" / "run.json").read_text())
    assert [failure["name"] for failure in found["failed"]] == ["alloy"]
    assert [entry["name"] for entry in found["images"]] == ["good"]
    # alone it is an error, as ever; so it is where no image may be left out
    assert call("detect", work / "a" / "alloy.tif", *given, out="alone")[0] == 2
    assert call("detect", work / "a" / "alloy.tif", image, *given, "--strict", out="s")[0] == 2
    assert not (work / "alone").exists()


def test_what_cant_be_measured_is_left_out_before_the_others_are():
    good = simulated(size=256, fractions=(0.03, 0.02, 0.03, 0.02))
    dark = replace(good.image, data=good.image.data.max() - good.image.data, name="dark")
    images, sites = [dark, good.image], [true_sites(good)] * 2
    whole = label_regions(np.ones((256, 256), np.uint8), sites[0])
    found = RunResult(QUICK, tuple(images), tuple(sites), pd.DataFrame(), None, (whole, whole))
    failures = Failures()
    left = chain.measurable(found, failures)
    assert [image.name for image in left.images] == ["alloy"]
    assert [failure.name for failure in left.failed] == ["dark"]
    assert set(left.populations["image"]) == {"alloy", "all"}
    alone = replace(found, images=(dark,), sites=(sites[0],), regions=(whole,))
    assert chain.measurable(alone, Failures()) is alone  # what fails it is said by `measure`
    with pytest.raises(DefectStrainError, match="not brighter"):
        chain.measurable(found, Failures(strict=True))


@pytest.mark.slow
def test_run_and_columns_leave_out_too(work, call):
    write_json(work / "quick.json", QUICK)
    code, _ = call("run", *batch(work), "--config", work / "quick.json")
    assert code in (2, 3)  # a field so small may hold no defect-free window
    assert json.loads((work / "out" / "run.json").read_text())["failed"]
    code, said = call("columns", *batch(work), "--model", "gaussian", out="columns")
    assert code == 3
    assert any("alloy.tif" in line and "left out" in line for line in said)
    assert {"alloy_2.columns.csv", "good.columns.csv"} <= names(work / "columns")
    settings = json.loads((work / "columns" / "columns.json").read_text())
    assert [failure["name"] for failure in settings["failed"]] == ["alloy.tif"]
    again = ["--config", work / "columns" / "columns.json"]
    assert call("columns", *batch(work), *again, out="again")[0] == 3


@pytest.mark.slow
def test_evaluate_leaves_out_what_it_cant_compare(work, call):
    (work / "truth").mkdir()
    for stem in ("alloy", "good"):
        table = pd.read_csv(work / "tables" / f"{stem}.sites.csv")
        write_table(work / "truth" / f"{stem}.truth.csv", table)
    (work / "truth" / "alloy.truth.csv").write_text("y_px\nfar")
    given = [work / "tables", work / "truth", "--pixel-size-pm", "20.74"]
    code, said = call("evaluate", *given)
    assert code == 3
    assert any("alloy" in line and "left out" in line for line in said)
    found = json.loads((work / "out" / "evaluation.json").read_text())
    assert [failure["name"] for failure in found["failed"]] == ["alloy"]
    assert call("evaluate", *given, "--strict", out="strict")[0] == 2
    assert call("evaluate", *given, "--force", out="tables")[0] == 2  # where the detections are
    assert "evaluation.json" not in names(work / "tables")


# ------------------------------------------------------------------ stopped runs


@pytest.mark.slow
def test_force_over_a_finished_run_and_a_stop(work, call, monkeypatch):
    image, tables = work / "b" / "good.tif", ["--sites", work / "tables"]
    assert call("detect", work / "a" / "alloy.tif", image, *tables)[0] == 0
    write = results.write_table

    def stopped(path: Path, table: pd.DataFrame) -> None:
        if path.name == "populations.csv":
            raise KeyboardInterrupt
        write(path, table)

    monkeypatch.setattr(results, "write_table", stopped)
    code, said = call("detect", image, *tables, "--force")
    assert code == 130
    assert len(said) == 1
    assert "is marked as unfinished" in said[0]
    assert "run.json" not in names(work / "out")
    # who reads the folder is told: the tables of the earlier run are refused, its own are not
    given = ["--sites", work / "out"]
    code, said = call("detect", work / "a" / "alloy.tif", *given, out="other")
    assert code == 2
    assert "alloy.sites.csv may be of an earlier run" in said[0]
    code, said = call(
        "evaluate", work / "out", work / "tables", "--pixel-size-pm", "20.74", out="e"
    )
    assert code == 2
    assert "was stopped there" in said[0]
    monkeypatch.setattr(results, "write_table", write)
    code, said = call("detect", image, *given, out="other")
    assert code == 0
    assert "didn't finish there" in said[0]
    # the next run leaves nothing that isn't its own
    assert call("detect", image, *tables, "--force")[0] == 0
    listed = set(json.loads((work / "out" / "run.json").read_text())["files"])
    there = {p.relative_to(work / "out").as_posix() for p in (work / "out").rglob("*.*")}
    assert there == listed | {"run.json"}
    assert not any("alloy" in name for name in listed)


@pytest.mark.slow
def test_a_table_corrected_in_place_is_kept_by_force(work, call):
    image, tables = work / "b" / "good.tif", ["--sites", work / "tables"]
    assert call("detect", image, *tables)[0] == 0
    path = work / "out" / "good.sites.csv"
    corrected = path.read_text().replace(",model\n", ",manual\n", 1)
    path.write_text(corrected)
    code, said = call("detect", image, *tables, "--force", "--discard-edits")
    assert code == 0
    assert any("good.sites.csv was not as a run had written it" in line for line in said)
    assert (work / "out" / "good.sites.kept.csv").read_text() == corrected
    assert call("detect", image, *tables, "--force")[1] == []  # its own files need no word


def test_simulate_is_marked_and_tidied_like_the_others(work, call, monkeypatch):
    from napari_defectstrain.simulate import dataset

    small = ["--size", "64", "--pixel-size-pm", "30"]
    assert call("simulate", "--images", "3", *small, out="s")[0] == 0
    first = (work / "s" / "simulated_1.tif").read_bytes()
    make = dataset.simulate_image

    def stopped(config, rng, name):
        if name == "simulated_2":
            raise KeyboardInterrupt
        return make(config, rng, name)

    monkeypatch.setattr(dataset, "simulate_image", stopped)
    assert call("simulate", "--images", "3", *small, "--seed", "5", "--force", out="s")[0] == 130
    assert {"simulation.unfinished.json", "simulated_3.tif"} <= names(work / "s")
    assert "simulation.json" not in names(work / "s")
    monkeypatch.setattr(dataset, "simulate_image", make)
    assert call("simulate", "--images", "2", *small, "--seed", "5", "--force", out="s")[0] == 0
    pairs = {f"simulated_{i}.{kind}" for i in (1, 2) for kind in ("tif", "truth.csv")}
    assert names(work / "s") == {*pairs, "simulation.json"}
    assert (work / "s" / "simulated_1.tif").read_bytes() != first
    again = ["--config", work / "s" / "simulation.json", "--force"]
    assert call("simulate", *again, out="s")[0] == 2  # its settings would be replaced


def test_a_drift_is_a_setting_like_the_others(work, call):
    small = ["--size", "64", "--pixel-size-pm", "30"]
    for value in ("nan", "inf"):
        code, said = call("simulate", *small, "--drift", value, out="d")
        assert code == 2 and "--drift: got" in said[-1]
    assert call("simulate", *small, "--drift", "40", out="d")[0] == 0
    settings = work / "d" / "simulation.json"
    assert call("simulate", "--config", settings, out="again")[0] == 0
    name = "simulated_1.tif"
    assert (work / "again" / name).read_bytes() == (work / "d" / name).read_bytes()


# ------------------------------------------------------------------ inputs


@pytest.mark.parametrize("given", ["image", "sites", "regions", "config", "link"])
def test_an_input_is_never_replaced(work, call, monkeypatch, given):
    monkeypatch.setattr(chain, "calibrated_images", None)  # the work doesn't begin
    image = work / "b" / "good.tif"
    out = work / "out"
    out.mkdir()
    arguments: list[object] = ["--sites", work / "tables"]
    if given == "image":
        image = image.rename(out / "average_2Se.tif")
        read_images(image)
    elif given == "sites":
        (work / "tables" / "good.sites.csv").rename(out / "good.sites.csv")
        arguments = ["--sites", out]
    elif given == "regions":
        path = out / "good.regions.tif"
        write_tiff(path, np.ones((256, 256), np.uint8), None, {})
        arguments += ["--regions", out]
    elif given == "config":
        path = out / "run.json"
        write_json(path, QUICK)
        arguments += ["--config", path]
    else:
        path = out / "average_DV.tif"
        path.symlink_to(image)
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}
    code, said = call("run", image, *arguments, "--force")
    assert code == 2
    assert len(said) == 1
    assert "is read, and would be replaced by the result" in said[0]
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before
