"""Evaluation: counts by the paper's definitions, calibration, purity, truth tables, conditions."""

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.evaluation.calibration_curve import reliability
from napari_defectstrain.evaluation.conditions import (
    conditions_of,
    curve,
    f1_errors,
    settings_beside,
    varied,
)
from napari_defectstrain.evaluation.confusion import purity_by_confusion
from napari_defectstrain.evaluation.score import (
    NONE,
    UNKNOWN,
    compare,
    confusion_matrix,
    f1_by_role,
    match_columns,
    partial_scores,
    scores,
)
from napari_defectstrain.evaluation.truth_tables import class_aliases, read_truth
from napari_defectstrain.io.files import write_json
from napari_defectstrain.materials import MATERIALS, ROLES, WSE2
from napari_defectstrain.types import DefectStrainError, Sites

METAL, X2, XY, Y2, V1, V2, OTHER = range(7)
PIXEL_PM = 20.0
SHAPE = (400, 400)  # 8 nm; the margin of 500 pm is 25 px


def columns(places, classes) -> Sites:
    index = np.asarray(classes, dtype=int)
    return Sites(
        np.asarray(places, dtype=float).reshape(-1, 2),
        np.eye(len(ROLES))[index],
        index,
        WSE2.class_names,
        np.full(len(index), "model"),
    )


# ------------------------------------------------------------------ matching and counting


def test_pairs_are_one_to_one_as_many_as_can_be_and_of_least_total_distance():
    # a chain: taking the nearest pair first would leave one column without a counterpart
    found = np.array([[0.0, 0.0], [0.0, 6.0]])
    true = np.array([[0.0, 4.0], [0.0, -6.0]])
    f, t = match_columns(found, true, 7.0)
    assert sorted(zip(f.tolist(), t.tolist(), strict=True)) == [(0, 1), (1, 0)]
    f, t = match_columns(np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[0.0, 0.0]]), 7.0)
    assert (f.tolist(), t.tolist()) == ([0], [0])


def test_nothing_matches_nothing():
    for found, true in (((0, 2), (3, 2)), ((3, 2), (0, 2))):
        f, t = match_columns(np.zeros(found), np.zeros(true), 1.0)
        assert len(f) == len(t) == 0


def test_confusions_misses_and_inventions_are_counted_inside_the_margin_only():
    true = columns(
        [[100, 100], [100, 150], [100, 200], [100, 250], [10, 200]], [V1, XY, Y2, X2, V1]
    )
    found = columns(
        [[100, 107], [100, 150], [100, 300], [100, 250], [10, 200], [390, 390]],
        [V1, Y2, V1, X2, XY, V2],
    )
    # 7 px are 140 pm: a hit; the 2Te has no counterpart, the SV at x = 300 neither; the rim is out
    counts = confusion_matrix(found, true, SHAPE, PIXEL_PM)
    expected = np.zeros((8, 8), dtype=int)
    expected[V1, V1] = expected[XY, Y2] = expected[Y2, NONE] = expected[X2, X2] = 1
    expected[NONE, V1] = 1
    np.testing.assert_array_equal(counts, expected)


def test_a_hit_lies_within_150_pm():
    true = columns([[100, 100]], [V1])
    for offset, hits in ((7.4, 1), (7.6, 0)):
        counts = confusion_matrix(columns([[100, 100 + offset]], [V1]), true, SHAPE, PIXEL_PM)
        assert counts[V1, V1] == hits


def test_a_true_column_at_the_margin_counts_wherever_its_detection_lies():
    true = columns([[25, 100], [24.9, 200]], [V1, V1])
    found = columns([[24, 100], [26, 200]], [V1, V1])
    counts = confusion_matrix(found, true, SHAPE, PIXEL_PM)
    assert counts[V1, V1] == counts.sum() == 1


def test_scores_follow_their_definitions():
    counts = np.zeros((8, 8), dtype=int)
    counts[METAL, METAL], counts[X2, X2], counts[X2, V1] = 500, 900, 4
    counts[V1, V1], counts[V1, X2], counts[V1, NONE] = 90, 6, 3
    counts[METAL, V1], counts[NONE, V1], counts[OTHER, V1], counts[OTHER, OTHER] = 1, 2, 5, 10
    row = scores(counts, WSE2.class_names).set_index("class").loc["SV"]
    assert row["columns"] == 99
    assert row["precision"] == pytest.approx(90 / 102)  # 4 + 1 + 2 + 5 were none
    assert row["recall"] == pytest.approx(90 / 99)
    # true negatives: the other chalcogen columns, 900 perfect and 10 of class other
    specificity = 910 / (910 + 12)
    assert row["TNR"] == pytest.approx(specificity)
    assert row["balanced_accuracy"] == pytest.approx((90 / 99 + specificity) / 2)
    assert row["F1"] == pytest.approx(2 * 90 / (2 * 90 + 12 + 9))
    assert f1_by_role(counts)[2] == pytest.approx(row["F1"])  # XY, Y2, V1, V2
    assert np.isnan(scores(counts, WSE2.class_names).set_index("class").loc["DV", "recall"])


def test_kinds_tell_what_each_look_alike_is_taken_for():
    places = [[100, 100], [100, 150], [100, 200], [100, 250]]
    kind = np.array(["Se+O", "Se+O", "adatom", ""])
    found = columns(places[:2] + places[3:], [V1, OTHER, X2])
    truth = np.array([OTHER, OTHER, OTHER, X2])
    made = compare(found, np.array(places, dtype=float), truth, SHAPE, PIXEL_PM, kind)
    assert set(made.kinds) == {"Se+O", "adatom"}
    assert made.kinds["Se+O"][[V1, OTHER]].tolist() == [1, 1]
    assert made.kinds["adatom"][NONE] == 1
    # nothing needs to be found of an adatom, and what was found of others is no invention
    assert (made.listed, made.missed, made.extra) == (1, 0, 0)


def test_errors_of_places_are_in_pm_and_along_y_and_x():
    true = np.array([[100.0, 100.0], [200.0, 150.0]])
    found = columns(true + [0.5, -0.25], [X2, V1])
    made = compare(found, true, np.array([X2, UNKNOWN]), SHAPE, PIXEL_PM)
    np.testing.assert_allclose(made.error_pm, [[10.0, -5.0]] * 2)
    assert made.counts.sum() == 1  # the column of unknown class is neither hit nor invention
    assert (made.listed, made.missed, made.extra) == (2, 0, 0)


def test_empty_sites_are_no_inventions_where_the_truth_lists_places_only():
    found = columns([[100, 100], [100, 200], [200, 100]], [X2, V2, V1])
    made = compare(found, np.array([[100.0, 100.0]]), np.array([UNKNOWN]), SHAPE, PIXEL_PM)
    assert made.extra == 1


def test_partial_truth_takes_what_it_does_not_list_as_none_of_its_classes():
    counts = np.zeros((8, 8), dtype=int)
    counts[V1, V1], counts[V1, NONE] = 8, 2
    counts[NONE, METAL], counts[NONE, X2], counts[NONE, V1], counts[NONE, XY] = 500, 300, 3, 7
    row = partial_scores(counts, WSE2.class_names, ["V1"]).iloc[0]
    assert row["precision"] == pytest.approx(8 / 11)
    assert row["recall"] == pytest.approx(0.8)
    assert row["TNR"] == pytest.approx(307 / 310)
    assert counts[NONE, METAL] == 500


# ------------------------------------------------------------------ calibration and purity


@pytest.mark.slow
def test_true_probabilities_have_no_more_error_than_chance():
    rng = np.random.default_rng(1)
    p = rng.random(20_000)
    found = reliability(p, rng.random(len(p)) < p)
    # of 2000 columns a bin the frequency scatters by 0.009 on average: mean distance 0.007
    assert found.ece < 0.02
    assert found.ece_if_true == pytest.approx(0.007, abs=0.003)
    assert found.columns == pytest.approx(0.96 * len(p), rel=0.02)
    assert found.count.sum() == found.columns


@pytest.mark.slow
def test_a_known_bias_is_the_calibration_error():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.8, 40_000)
    found = reliability(p, rng.random(len(p)) < p - 0.15)
    # bins scatter by 0.007; the bias has one sign, so that the error is its mean
    assert found.ece == pytest.approx(0.15, abs=0.01)
    assert 0.001 < found.ece_std < 0.01  # sqrt(0.24 / 40000) = 0.0024
    np.testing.assert_allclose(
        (found.probability - found.frequency)[found.count > 1000], 0.15, atol=0.04
    )


def test_sure_columns_do_not_hide_what_doubtful_ones_do():
    doubtful, right = np.full(100, 0.7), np.zeros(100, dtype=bool)
    sure = np.concatenate([np.full(5000, 0.999), np.full(5000, 0.001)])
    found = reliability(np.concatenate([doubtful, sure]), np.concatenate([right, sure > 0.5]))
    assert found.columns == 100
    assert found.ece == pytest.approx(0.7)


def test_images_not_columns_are_resampled_where_there_are_five():
    rng = np.random.default_rng(3)
    p = np.full(5000, 0.5)
    image = np.repeat(np.arange(10), 500)
    hit = rng.random(5000) < np.where(image % 2 == 0, 0.3, 0.7)  # images err together
    by_columns = reliability(p, hit).ece_std
    by_images = reliability(p, hit, image).ece_std
    assert by_images > 3 * by_columns


def test_no_doubtful_column_no_calibration_error():
    found = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert found.columns == 0
    assert np.isnan([found.ece, found.ece_std, found.ece_if_true]).all()


def confusions() -> np.ndarray:
    counts = np.zeros((8, 8), dtype=int)
    counts[METAL, METAL] = 10_000
    counts[X2, [X2, V1]] = 9900, 100
    counts[V1, [V1, X2]] = 990, 10
    return counts


def test_purity_follows_from_confusions_and_numbers():
    rate = confusions()[:7].astype(float)
    true = np.array([1000.0, 800.0, 0, 0, 40.0, 0, 0])
    total = np.maximum(rate.sum(axis=1, keepdims=True), 1.0)
    share = rate[:, :7] / total
    found = np.rint(true @ share).astype(int)
    purity = purity_by_confusion(found, confusions())
    # 8 of the 47.6 SV are perfect columns; found numbers are rounded: 48
    assert purity[V1] == pytest.approx(40 * 0.99 / (40 * 0.99 + 8), abs=0.01)
    common = purity_by_confusion(np.array([1000, 500, 0, 0, 400, 0, 0]), confusions())
    assert common[V1] > 0.98 > purity[V1]
    assert np.isnan(purity[XY])


def test_purity_wants_matrices_of_the_right_shape():
    with pytest.raises(DefectStrainError, match="confusion matrix of"):
        purity_by_confusion(np.zeros(7, dtype=int), np.zeros((6, 6), dtype=int))


# ------------------------------------------------------------------ truth tables


def written(tmp_path, text: str):
    path = tmp_path / "a.truth.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("metal", METAL), ("W", METAL), ("2Se", X2), ("X2", X2), ("TeSe", XY), ("Se+Te", XY),
        ("2 Te", Y2), ("SV", V1), ("V_Se", V1), ("Double vacancy", V2), ("dv", V2),
        ("1Te", OTHER), ("adatom", OTHER), ("other", OTHER), ("metal vacancy", OTHER),
        ("1T'", OTHER), ("Se+O", OTHER),
    ],
)  # fmt: skip
def test_classes_have_many_names(tmp_path, name, role):
    truth = read_truth(written(tmp_path, f"y_px,x_px,class\n10,20,{name}\n"), WSE2, None)
    assert truth.class_index.tolist() == [role]
    assert truth.kind.tolist() == [name if role == OTHER and name != "other" else ""]


@pytest.mark.parametrize("material", MATERIALS.values(), ids=lambda m: m.name)
def test_every_material_knows_its_own_class_names(material):
    aliases = class_aliases(material)
    for role, name in zip(ROLES, material.class_names, strict=True):
        assert aliases[name.casefold()] == aliases[role.casefold()] == role


def test_kinds_that_say_no_more_than_the_class_are_dropped(tmp_path):
    table = "y_px,x_px,class,kind\n1,1,W,W\n9,9,2Se,2Se\n20,20,other,Se on W\n30,30,W,Mo for W\n"
    truth = read_truth(written(tmp_path, table), WSE2, None)
    assert truth.kind.tolist() == ["", "", "Se on W", "Mo for W"]


@pytest.mark.parametrize(
    "table",
    [
        "y_px,x_px,class\n10,20,SV\n",
        "Y_px;X_px;Class\n10;20;SV\n",
        "\ufeffy\tx\tlabel\n10\t20\tSV\n",
        "y_nm,x_nm,class\n0.2,0.4,SV\n",
        "y_pm,x_pm,type\n200,400,SV\n",
        "index,axis-0,axis-1,class\n0,10,20,SV\n",
    ],
)
def test_positions_are_read_in_whatever_unit_and_separator(tmp_path, table):
    truth = read_truth(written(tmp_path, table), WSE2, 20.0)
    np.testing.assert_allclose(truth.position_px, [[10.0, 20.0]])
    assert truth.class_index.tolist() == [V1]


def test_pixels_come_before_lengths(tmp_path):
    table = "y_px,x_px,y_nm,x_nm,class\n10,20,7,7,SV\n"
    truth = read_truth(written(tmp_path, table), WSE2, 20.0)
    np.testing.assert_allclose(truth.position_px, [[10.0, 20.0]])
    assert truth.notes == ()


def test_what_is_assumed_is_said(tmp_path):
    truth = read_truth(written(tmp_path, "y,x\n10,20\n30,40\n"), WSE2, None)
    assert (truth.class_index == UNKNOWN).all()
    assert any("y and x in pixels" in note for note in truth.notes)
    assert any("only places" in note for note in truth.notes)


def test_two_columns_of_any_name_are_y_and_x(tmp_path):
    truth = read_truth(written(tmp_path, "c0,c1\n10,20\n30,40\n"), WSE2, None)
    np.testing.assert_allclose(truth.position_px, [[10.0, 20.0], [30.0, 40.0]])
    assert any("c0 and c1 are taken as y and x" in note for note in truth.notes)


def test_users_say_what_their_names_mean(tmp_path):
    path = written(tmp_path, "y_px,x_px,class\n10,20,hole\n")
    assert read_truth(path, WSE2, None, {"hole": "DV"}).class_index.tolist() == [V2]
    with pytest.raises(DefectStrainError, match="hole=void"):
        read_truth(path, WSE2, None, {"hole": "void"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "empty"),
        ("y_px,x_px,class\n", "no rows"),
        ("a,b,class\n1,2,SV\n", "expected y_px and x_px"),
        ("y_px,x_px,class\n1,2,SV\n3,x,SV\n", "line 3: got no finite number"),
        ("y_px,x_px,class\n1,2,SV\n3,4,blob\n", "line 3: got the class 'blob'"),
        ("y_nm,x_nm,class\n1,2,SV\n", "no pixel size"),
    ],
)
def test_what_is_no_truth_is_refused_with_its_line(tmp_path, table, message):
    with pytest.raises(DefectStrainError, match=message):
        read_truth(written(tmp_path, table), WSE2, None)


def test_lists_of_atoms_are_refused(tmp_path):
    rows = "".join(f"{y},{x},X2\n" for y in (10, 30) for x in (20, 20.5))
    with pytest.raises(DefectStrainError, match="not single atoms"):
        read_truth(written(tmp_path, f"y_px,x_px,class\n{rows}"), WSE2, 20.0)


# ------------------------------------------------------------------ conditions


def test_conditions_are_found_however_nested_and_in_whatever_unit():
    settings = {
        "scan": {"dose_e_per_nm2": 1.24e7, "contamination": 0.2},
        "probe": {"c1_pm": -3000.0},
        "jitter_px": [0.5, 1.5],
        "name": "x",
        "flag": True,
    }
    assert conditions_of(settings) == {
        "dose_e_per_nm2": 1.24e7,
        "contamination": 0.2,
        "defocus_nm": 3.0,
        "jitter_px": 1.0,
    }
    assert conditions_of({"defocus_A": 40.0, "dose_e_per_A2": 10.0}) == {
        "defocus_nm": 4.0,
        "dose_e_per_nm2": 1000.0,
    }


def test_settings_lie_beside_the_image_or_in_a_list_of_images(tmp_path):
    write_json(tmp_path / "a.json", {"dose": 1.0})
    write_json(tmp_path / "set.json", {"images": {"b": {"dose": 2.0}}})
    (tmp_path / "broken.json").write_text("{")
    assert settings_beside(tmp_path, "a") == {"dose": 1.0}
    assert settings_beside(tmp_path, "b") == {"dose": 2.0}
    assert settings_beside(tmp_path, "c") == {}


def test_curves_are_drawn_against_what_varies():
    conditions = [{"contamination": c, "pixel_size_pm": 20.0} for c in (0.1, 0.2, 0.3)]
    assert varied(conditions) == ["contamination"]
    assert varied([*conditions, {"pixel_size_pm": 30.0}]) == []


def test_a_curve_counts_images_of_similar_value_together():
    def counts(hits: int) -> np.ndarray:
        made = np.zeros((8, 8), dtype=int)
        made[V1, V1], made[V1, X2] = hits, 100 - hits
        return made

    values = np.arange(12.0)
    made = curve(values, [counts(100 if v < 6 else 0) for v in values], groups=4)
    assert made["images"].tolist() == [3] * 4
    assert made["value"].tolist() == [1.0, 4.0, 7.0, 10.0]
    assert made["V1"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert made["XY"].isna().all()


def test_errors_of_f1_are_those_of_counting():
    counts = np.zeros((8, 8), dtype=int)
    counts[V1, V1], counts[V1, X2] = 900, 100
    std = f1_errors(counts, np.random.default_rng(0))[2]
    # F1 = 2 tp / (2 tp + fn): its derivatives times sqrt(tp), sqrt(fn)
    tp, fn = 900.0, 100.0
    expected = 2 * np.sqrt(fn**2 * tp + tp**2 * fn) / (2 * tp + fn) ** 2
    assert std == pytest.approx(expected, rel=0.25)  # 200 draws know it to 5 %


def test_tables_of_pandas_are_not_changed(tmp_path):
    counts = confusions()
    before = counts.copy()
    scores(counts, WSE2.class_names)
    partial_scores(counts, WSE2.class_names, ["V1"])
    purity_by_confusion(np.array([1, 1, 0, 0, 1, 0, 0]), counts)
    np.testing.assert_array_equal(counts, before)
    assert isinstance(scores(counts, WSE2.class_names), pd.DataFrame)
