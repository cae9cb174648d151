"""``defectstrain evaluate`` on folders: what it reads, prints, writes and refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.cli.main import main
from napari_defectstrain.evaluation.calibration_curve import reliability
from napari_defectstrain.evaluation.folders import Options, evaluate_folders
from napari_defectstrain.evaluation.tables import (
    columns_table,
    confusion_table,
    curves_table,
    purity_check,
    scores_table,
)
from napari_defectstrain.io.files import sites_table, write_json, write_table, write_tiff
from napari_defectstrain.materials import DEFECT_ROLES, ROLES, WSE2
from napari_defectstrain.output.figures import detection as figures
from napari_defectstrain.simulate.structure import lattice_sites
from napari_defectstrain.types import DefectStrainError, Sites

PIXEL_PM = 25.0
SIDE = 320
NAMES = WSE2.class_names


def crystal(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places [px] and roles of a crystal of 8 nm."""
    site, is_metal = lattice_sites(330.0, 8000.0)
    place = site[:, ::-1] / PIXEL_PM + SIDE / 2
    inside = np.all((place >= 0) & (place <= SIDE - 1), axis=1)
    roles = np.random.default_rng(seed).choice(
        [1, 2, 3, 4, 5], len(site), p=(0.7, 0.1, 0.08, 0.1, 0.02)
    )
    return place[inside], np.where(is_metal, 0, roles)[inside]


def detected(place: np.ndarray, role: np.ndarray, seed: int, wrong: float = 0.05) -> Sites:
    """Columns as a detector that errs in a fraction of the chalcogen columns gives them."""
    rng = np.random.default_rng(seed)
    found = role.copy()
    flipped = (role > 0) & (rng.random(len(role)) < wrong)
    found[flipped] = np.where(role[flipped] == 1, 4, 1)
    probabilities = np.eye(len(ROLES))[found] * 0.95 + np.eye(len(ROLES))[1] * 0.05
    moved = place + rng.normal(0, 0.2, place.shape)
    return Sites(moved, probabilities, found, NAMES, np.full(len(role), "model"))


@pytest.fixture
def folders(tmp_path, written) -> tuple[Path, Path]:
    """A copy of what is written, of one's own."""
    return tuple(shutil.copytree(written / n, tmp_path / n) for n in ("pred", "truth"))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Seven images' detections and truth; the images' doses lie beside the truth."""
    folder = tmp_path_factory.mktemp("written")
    pred, truth = folder / "pred", folder / "truth"
    pred.mkdir()
    truth.mkdir()
    images = []
    for i in range(7):
        place, role = crystal(i)
        sites = detected(place, role, 100 + i, wrong=0.03 * i)
        write_table(pred / f"im_{i}.sites.csv", sites_table(sites, PIXEL_PM))
        write_table(truth / f"im_{i}.truth.csv", truth_table(place, role))
        write_json(truth / f"im_{i}.json", {"dose_e_per_nm2": 1e7 / (i + 1)})
        images.append({"name": f"im_{i}", "shape": [SIDE, SIDE], "pixel_size_pm": PIXEL_PM})
    write_json(pred / "run.json", {"parameters": {"material": "WSe2"}, "images": images})
    return folder


def truth_table(place: np.ndarray, role: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {"y_px": place[:, 0], "x_px": place[:, 1], "class": np.asarray(NAMES)[role]}
    )


def run(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("defectstrain: error")]
    assert len(lines) == 1 and "Traceback" not in error
    return lines[0]


@pytest.mark.slow
def test_everything_is_printed_and_written(folders, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*folders, "--out", out) == 0
    printed = capsys.readouterr().out
    for text in ("precision", "(0.9881)", "confusion", "calibration", "purity", "F1 against"):
        assert text in printed
    tables = ("scores", "confusion", "columns", "images", "calibration", "purity", "curves")
    for name in (*tables, "positions"):
        assert len(pd.read_csv(out / f"{name}.csv"))
    for name in ("confusion", "reliability", "curves"):
        assert (out / "figures" / f"{name}.png").stat().st_size > 5000
    record = json.loads((out / "evaluation.json").read_text())
    assert record["hit_radius_pm"] == 150
    assert record["complete_truth"] is True
    assert {r["class"] for r in record["scores"]} == {"DV", "SV", "SeTe", "2Te"}
    assert set(record["files"]) >= {"scores.csv", "figures/confusion.png"}


@pytest.mark.slow
def test_numbers_are_those_of_the_errors_built_in(folders):
    made = evaluate_folders(*folders)
    table = scores_table(made).set_index("class")
    counts = sum(c.counts for c in made.comparisons)
    right, lost, false = counts[4, 4], counts[4].sum() - counts[4, 4], counts[1, 4]
    assert lost > 10 and false > 10
    assert table.loc["SV", "precision"] == pytest.approx(right / (right + false))
    assert table.loc["SV", "recall"] == pytest.approx(right / (right + lost))
    assert table.loc["SeTe", "precision"] == 1.0  # wrong ones became 2Se
    assert table.loc["SV", "paper_F1"] == 0.9972
    everything = columns_table(made).set_index("image").loc["all"]
    assert everything["column_recall"] == everything["column_precision"] == 1.0
    # 0.2 px of 25 pm; 14 000 numbers know it to 0.6 %
    assert everything["rms_pm"] == pytest.approx(5.0, rel=0.02)
    curve = curves_table(made)
    assert set(curve["parameter"]) == {"dose_e_per_nm2"}
    assert curve["SV"].iloc[-1] > curve["SV"].iloc[0]  # the dose falls as the errors grow


@pytest.mark.slow
def test_expected_purities_are_compared_with_the_actual_one(folders):
    table = purity_check(evaluate_folders(*folders)).set_index("class")
    assert table.loc["SeTe", "expected_purity"] == pytest.approx(0.95)
    assert table.loc["SeTe", "actual_purity"] == 1.0
    # the other images confuse as often on average as all do
    actual = table.loc["SV", "actual_purity"]
    assert table.loc["SV", "by_confusion"] == pytest.approx(actual, abs=0.06)


@pytest.mark.slow
def test_look_alikes_get_a_row_each(folders):
    pred, truth = folders
    path = truth / "im_0.truth.csv"
    table = pd.read_csv(path)
    chosen = table.index[table["class"] == "2Se"][:40]
    table["kind"] = ""
    table.loc[chosen, "class"] = "other"
    table.loc[chosen, "kind"] = "1Te"
    write_table(path, table)
    rows = confusion_table(evaluate_folders(pred, truth)).set_index("truth")
    assert rows.loc["1Te", "look_alike"]
    assert 0 < rows.loc["1Te", "2Se"] == rows.loc["other", "2Se"] <= 40


@pytest.mark.slow
def test_truth_of_one_class_judges_that_class(folders, capsys):
    pred, truth = folders
    for path in truth.glob("*.truth.csv"):
        table = pd.read_csv(path)
        write_table(path, table[table["class"] == "SV"])
    made = evaluate_folders(pred, truth)
    assert made.judged == ("V1",) and not made.complete
    row = scores_table(made).iloc[0]
    assert row["class"] == "SV" and row["precision"] < 1 and row["recall"] < 1
    assert np.isnan(columns_table(made)["column_precision"]).all()
    assert run(pred, truth) == 0
    assert "taken as none of them" in capsys.readouterr().err


@pytest.mark.slow
def test_places_alone_judge_columns_only(folders, tmp_path, capsys):
    pred, truth = folders
    for path in truth.glob("*.truth.csv"):
        write_table(path, pd.read_csv(path).rename(columns={"y_px": "y", "x_px": "x"})[["y", "x"]])
    out = tmp_path / "out"
    assert run(pred, truth, "--radius-pm", 60, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "hit radius 60 pm" in printed and "confusion" not in printed
    table = pd.read_csv(out / "columns.csv").set_index("image")
    assert table.loc["all", "column_recall"] == table.loc["all", "column_precision"] == 1.0


@pytest.mark.slow
def test_a_common_shift_of_the_truth_is_pointed_out(folders):
    pred, truth = folders
    for path in truth.glob("*.truth.csv"):
        table = pd.read_csv(path)
        table[["y_px", "x_px"]] += 0.5
        write_table(path, table)
    notes = evaluate_folders(pred, truth).notes
    assert any("(-0.50, -0.50) px" in note or "(-0.49" in note for note in notes)


@pytest.mark.slow
def test_the_image_gives_what_run_json_lacks(folders):
    pred, truth = folders
    (pred / "run.json").unlink()
    with pytest.raises(DefectStrainError, match="give --pixel-size-pm"):
        evaluate_folders(pred, truth)
    given = evaluate_folders(pred, truth, Options(pixel_size_pm=PIXEL_PM))
    assert any("size of the image unknown" in note for note in given.notes)
    image = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    for i in range(7):
        metadata = {"simulation": {"scan": {"contamination": 0.1 * (i + 1)}}}
        write_tiff(truth / f"im_{i}.tif", image, PIXEL_PM, metadata)
    made = evaluate_folders(pred, truth)
    assert not any("unknown" in note for note in made.notes)
    assert made.conditions[2]["contamination"] == pytest.approx(0.3)
    assert made.conditions[2]["dose_e_per_nm2"] == pytest.approx(1e7 / 3)


@pytest.mark.slow
def test_tables_of_six_classes_have_none_of_the_seventh(folders):
    pred, truth = folders
    expected = scores_table(evaluate_folders(pred, truth))
    for path in pred.glob("*.sites.csv"):
        table = pd.read_csv(path)
        write_table(path, table.drop(columns="p_other"))
    pd.testing.assert_frame_equal(scores_table(evaluate_folders(pred, truth)), expected)


@pytest.mark.slow
def test_images_without_truth_are_left_out_and_said(folders):
    pred, truth = folders
    (truth / "im_3.truth.csv").unlink()
    made = evaluate_folders(pred, truth)
    assert len(made.comparisons) == 6
    assert "no truth for im_3: left out" in made.notes


@pytest.mark.slow
def test_plain_names_of_truth_tables_do_too(folders):
    pred, truth = folders
    for path in truth.glob("*.truth.csv"):
        path.rename(path.with_name(path.name.replace(".truth", "")))
    assert len(evaluate_folders(pred, truth).comparisons) == 7


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused_in_one_line(folders, tmp_path, capsys):
    pred, truth = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no common stems" in refused(capsys, pred, empty)
    assert "no common stems" in refused(capsys, empty, truth)
    assert "got no folder" in refused(capsys, tmp_path / "nowhere", truth)
    assert "got no folder" in refused(capsys, pred, truth, "--images", tmp_path / "nowhere")
    assert "NAME=CLASS" in refused(capsys, pred, truth, "--class", "hole")
    assert "expected some of XY" in refused(capsys, pred, truth, "--classes", "SV,blob")
    assert "above 0" in refused(capsys, pred, truth, "--radius-pm", 0)
    assert "isn't empty" in refused(capsys, pred, truth, "--out", truth)
    assert "give --images DIR" in refused(capsys, pred, truth, "--oracle")
    (truth / "im_0.truth.csv").write_text("y_px,x_px,class\n1,1,blob\n")
    assert "--class NAME=ROLE" in refused(capsys, pred, truth, "--strict")
    (pred / "im_0.sites.csv").write_text("")
    (truth / "im_0.truth.csv").write_text("y_px,x_px,class\n1,1,SV\n")
    assert "im_0.sites.csv: the file is empty" in refused(capsys, pred, truth, "--strict")
    (pred / "run.json").write_text("{")
    assert "not JSON" in refused(capsys, pred, truth)


def test_an_unknown_material_is_refused(folders, capsys):
    assert "material: got 'WSe'" in refused(capsys, *folders, "--material", "WSe")


# ------------------------------------------------------------------ figures


def test_training_curves_show_every_class(tmp_path):
    step = np.arange(50, 500, 50)
    log = pd.DataFrame({"step": step, "loss": 1 / step})
    for role in ROLES:
        log[f"precision_{role}"] = log[f"recall_{role}"] = 1 - 1 / step
    write_table(tmp_path / "w.csv", log)
    drawn = figures.training_figure(figures.read_training_log(tmp_path / "w.csv"), WSE2, 50)
    loss, precision, recall = drawn.axes
    assert [line.get_label() for line in precision.get_lines()] == list(NAMES)
    np.testing.assert_allclose(recall.get_lines()[0].get_ydata(), 1 - 1 / step)
    np.testing.assert_allclose(loss.get_lines()[0].get_xdata(), step / 50)
    of_several = figures.training_figure(log).axes[1]
    assert [line.get_label() for line in of_several.get_lines()] == list(ROLES)
    with pytest.raises(DefectStrainError, match="expected step and loss"):
        figures.training_figure(pd.DataFrame({"a": [1]}), WSE2)
    with pytest.raises(DefectStrainError, match="can't be read as a training log"):
        figures.read_training_log(tmp_path / "none.csv")


def test_reliability_diagrams_leave_out_classes_without_doubt():
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    found = {
        "SV": reliability(p, rng.random(1000) < p),
        "DV": reliability(np.zeros(5), np.zeros(5, dtype=bool)),
    }
    drawn = figures.reliability_figure(found, WSE2)
    titles = [axes.get_title() for axes in drawn.axes if axes.get_visible()]
    assert len(titles) == 1 and titles[0].startswith("SV: ")


@pytest.mark.slow
def test_curves_show_every_defect_and_the_oracle_beside_it(folders):
    table = curves_table(evaluate_folders(*folders))
    both = pd.concat([table, table.assign(judge="oracle")], ignore_index=True)
    drawn = figures.curves_figure(both, WSE2)
    (axes,), (legend,) = drawn.axes, drawn.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == 2 * len(DEFECT_ROLES) and "SV (oracle)" in labels
    assert axes.get_xscale() == "log"
