"""Columns are drawn as promised; labels are kept; intervals hold what is true."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit_stage import judged

from napari_defectstrain.crystal.overlaps import Overlap
from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.evaluation.audit import (
    AUDIT_FILE,
    AUDIT_TABLE,
    UNSURE,
    AuditConfig,
    AuditedImage,
    draw_audit,
    has_audit,
    read_audit,
    same_columns,
    write_audit,
)
from napari_defectstrain.evaluation.audit_folders import (
    AuditedFolder,
    audit_coverage,
    each_place_once,
    labelled_by,
    true_scores,
)
from napari_defectstrain.evaluation.audit_scores import score_audit, scores_text
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import DefectStrainError


@pytest.fixture(scope="module")
def made():
    return judged(1)


@pytest.fixture(scope="module")
def audit(made):
    return draw_audit([made[0]])


def test_a_hundred_columns_by_class_and_doubt_each_with_its_weight(audit, made):
    table = audit.table
    assert len(table) == 100
    assert table["number"].tolist() == list(range(1, 101))
    assert not table.duplicated(["image", "column"]).any()
    assert set(table["found"]) == {"2Se", "SeTe", "2Te", "SV", "DV"}
    assert set(table["doubt"]) == {"sure", "likely", "doubtful"}
    assert (table["label"] == "").all()
    # weights stand for all columns that could have been drawn
    assert table["weight"].sum() == pytest.approx(len(made[0].audited))
    sizes = {k: s.columns for k, s in enumerate(audit.strata)}
    assert (table["stratum"].map(sizes) == table["stratum_columns"]).all()
    rest = table.groupby("stratum").agg(n=("number", "size"), size=("stratum_columns", "first"))
    assert (rest["n"] >= np.minimum(4, rest["size"])).all()


def test_classes_come_mixed_so_that_half_an_audit_tells_of_all(audit):
    half = audit.table.iloc[:50]
    assert set(half["found"]) == set(audit.table["found"])
    assert not half["found"].is_monotonic_increasing


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_images():
    one, two = judged(2, "a")[0], judged(3, "b")[0]
    first, second = draw_audit([one, two]), draw_audit([two, one])
    pd.testing.assert_frame_equal(first.table, second.table)
    other = draw_audit([one, two], AuditConfig(seed=1))
    assert not first.table.equals(other.table)


def test_metals_rims_and_places_that_do_not_count_are_not_drawn(made):
    image = made[0]
    labels = np.full(image.shape, 253, dtype=np.uint8)
    labels[:, : image.shape[1] // 2] = 1
    inside = AuditedImage(
        image.name,
        image.sites,
        label_regions(labels, image.sites),
        image.shape,
        image.pixel_size_pm,
    )
    table = draw_audit([inside]).table
    assert not (table["found"] == "W").any()
    assert table["x_px"].max() < image.shape[1] / 2
    assert table[["y_px", "x_px"]].min().min() >= 500.0 / image.pixel_size_pm
    with pytest.raises(DefectStrainError, match="no columns inside"):
        draw_audit([])


def test_labels_are_kept_changed_and_taken_back(tmp_path, audit):
    some = audit.with_label(1, "SV").with_label(2, UNSURE).with_label(3, "2Se").with_label(3, "")
    assert (some.labelled, some.next_number, some.complete) == (2, 3, False)
    assert audit.labelled == 0  # nothing is changed in place
    write_audit(some, tmp_path, score_audit(some))
    assert has_audit(tmp_path)
    again = read_audit(tmp_path)
    pd.testing.assert_frame_equal(again.table, some.table, check_dtype=False)
    assert again.strata == some.strata
    assert again.config == some.config
    values = json.loads((tmp_path / AUDIT_FILE).read_text())
    assert (values["columns"], values["labelled"], values["unsure"]) == (100, 2, 1)
    assert {row["class"] for row in values["scores"]} == set(WSE2.class_names[1:])
    for number, label in ((0, "SV"), (101, "SV"), (1, "W"), (1, "hole")):
        with pytest.raises(DefectStrainError, match="expected"):
            some.with_label(number, label)


def test_damaged_audits_end_in_one_line(tmp_path, audit):
    with pytest.raises(DefectStrainError, match="expected an audit"):
        read_audit(tmp_path)
    write_audit(audit, tmp_path)
    whole = (tmp_path / AUDIT_FILE).read_text()
    for text in (whole[:200], "[]", "{}", whole.replace('"schema": 1', '"schema": 9')):
        (tmp_path / AUDIT_FILE).write_text(text)
        with pytest.raises(DefectStrainError):
            read_audit(tmp_path)
    (tmp_path / AUDIT_FILE).write_text(whole)
    table = audit.table.assign(label=["hole", *[""] * 99])
    table.to_csv(tmp_path / AUDIT_TABLE, index=False)
    with pytest.raises(DefectStrainError, match="column 1: got the label 'hole'"):
        read_audit(tmp_path)


def test_columns_that_lie_elsewhere_now_are_noticed(audit, made):
    image = made[0]
    assert same_columns(audit, [image]) == []
    assert same_columns(audit, []) == [image.name]
    fewer = image.sites.subset(np.arange(len(image.sites)) > 50)
    moved = AuditedImage(image.name, fewer, None, image.shape, image.pixel_size_pm)
    assert same_columns(audit, [moved]) == [image.name]


def test_estimates_by_hand():
    image, true = judged(4)
    audit = draw_audit([image], AuditConfig(columns=60))
    whole = labelled_by(audit, {image.name: true})
    table = whole.table
    scores = score_audit(whole).set_index("class")
    for name in ("2Se", "SeTe", "SV"):
        own = table[table["found"] == name]
        right = own[own["label"] == name]["weight"].sum()
        missed = table[(table["found"] != name) & (table["label"] == name)]["weight"].sum()
        assert scores.loc[name, "precision"] == pytest.approx(right / own["weight"].sum())
        assert scores.loc[name, "recall"] == pytest.approx(right / (right + missed))
    assert "SeTe" in scores_text(scores.reset_index())


def test_who_labels_everything_knows_everything():
    image, true = judged(5)
    every = len(image.audited)
    audit = labelled_by(draw_audit([image], AuditConfig(columns=every)), {image.name: true})
    assert len(audit.table) == every
    scores = score_audit(audit).set_index("class")
    for _, row in true_scores([image], {image.name: true}).iterrows():
        for name in ("precision", "recall", "expected_precision", "expected_recall"):
            found = scores.loc[row["class"], [name, f"{name}_low", f"{name}_high"]]
            if row["found"]:
                wanted = [row[name.removeprefix("expected_")]] * 3
                assert found.tolist() == pytest.approx(wanted)


def test_without_labels_nothing_is_said_and_unsure_ones_are_left_out(audit, made):
    scores = score_audit(audit)
    assert scores[["precision", "recall"]].isna().all(axis=None)
    whole = labelled_by(audit, {made[0].name: made[1]})
    row = int(np.flatnonzero(audit.table["stratum_columns"] > 100)[0])
    unsure = whole.with_label(row + 1, UNSURE)
    before, after = (score_audit(a)["labelled"].sum() for a in (whole, unsure))
    assert after == before - 1


@pytest.mark.parametrize("overconfidence", [1.0, 4.0])
def test_intervals_hold_what_is_true(overconfidence):
    image, true = judged(6, overconfidence=overconfidence)
    audited = AuditedFolder(None, WSE2, (image,))
    labels = {image.name: true}
    table = audit_coverage(audited, labels, AuditConfig(seed=300), repeats=40)
    by_labels = table[~table["score"].str.startswith("expected")]
    assert by_labels["cover"].min() >= 0.875  # 35 of 40
    assert by_labels["cover"].mean() >= 0.95
    helped = table[table["score"].str.startswith("expected")]
    assert helped["cover"].mean() >= 0.85
    assert helped["width"].mean() < 0.5 * by_labels["width"].mean()
    # right on average
    precision = table[table["score"] == "precision"]
    assert (precision["mean"] - precision["true"]).abs().max() < 0.04


def test_limits_hold_where_errors_are_of_other_classes_than_the_probabilities_say():
    scores = []
    for seed in (41, 42):
        image, true = judged(seed, by_class={4: 4.0, 1: 0.5})  # four times as many are SV
        audited = AuditedFolder(None, WSE2, (image,))
        table = audit_coverage(audited, {image.name: true}, AuditConfig(seed=seed), repeats=20)
        scores.append(table[table["score"].str.startswith("expected")])
    cover = pd.concat(scores).groupby(["class", "score"])["cover"].mean()
    assert cover.mean() >= 0.9
    assert cover["SV", "expected_recall"] >= 0.7  # one factor for all errors alike: about half


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_that_contradict_sure_probabilities_are_believed(seed):
    """A tenth of the perfect columns that nothing doubts are SeTe: labels alone say 90 %."""
    image, true = judged(8)
    rng = np.random.default_rng(seed)
    perfect = np.flatnonzero((image.sites.class_name == "2Se") & (true == "2Se"))
    true = true.copy()
    true[rng.choice(perfect, len(perfect) // 10, replace=False)] = "SeTe"
    audit = labelled_by(draw_audit([image], AuditConfig(seed=seed)), {image.name: true})
    scores = score_audit(audit).set_index("class")
    told = true_scores([image], {image.name: true}).set_index("class")
    for name in ("precision", "recall"):
        row = scores.loc["2Se" if name == "precision" else "SeTe"]
        truth = told.loc[row.name, name]
        assert row[f"expected_{name}_low"] <= truth <= row[f"expected_{name}_high"]


def test_what_two_images_show_is_drawn_and_weighs_once(made):
    image, true = made
    copy = replace(image, name="copy")
    half = int(image.shape[1] / 2)
    # the second image shows the first, moved by half its width
    moved = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, half]])
    same = each_place_once([image, copy], [Overlap(0, 1, np.eye(2, 3), 1.0)])
    assert [len(one.audited) for one in same] == [len(image.audited), 0]
    assert draw_audit(same).table["weight"].sum() == pytest.approx(len(image.audited))
    assert true_scores(same, {image.name: true, "copy": true})["found"].sum() == len(image.audited)
    beside = each_place_once([image, copy], [Overlap(0, 1, moved, 0.5)])
    x = image.sites.position_px[beside[1].audited, 1]
    assert len(beside[0].audited) == len(image.audited)
    assert len(x)
    assert x.min() >= image.shape[1] - 0.5 - half
