"""Pairs, clusters and nearest defects against brute force, and against alloys of known order."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from alloy_stage import PIXEL_PM, alloy_sites
from scipy.spatial import cKDTree

from napari_defectstrain.crystal.defect_patterns import find_patterns
from napari_defectstrain.crystal.pattern_counts import (
    ANY_DEFECT,
    ANY_VACANCY,
    PatternConfig,
    count_patterns,
)
from napari_defectstrain.crystal.regions import label_regions
from napari_defectstrain.materials import WSE2, get_material
from napari_defectstrain.types import Sites

A_PM = WSE2.lattice_pm
QUICK = PatternConfig(simulations=199)


def patterns(*sites: Sites, config: PatternConfig = QUICK):
    names = [f"image {i}" for i in range(len(sites))]
    return find_patterns(names, sites, [None] * len(sites), A_PM, config)


def rows(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for name, value in wanted.items():
        table = table[table[name] == value]
    return table


def relabelled(sites: Sites, places: dict[int, str]) -> Sites:
    """The same columns, perfect but for some."""
    index = np.where(sites.is_metal, 0, 1)
    for place, name in places.items():
        index[place] = WSE2.class_names.index(name)
    return replace(sites, class_index=index, probabilities=np.eye(7)[index])


def row_of(sites: Sites, count: int) -> list[int]:
    """Chalcogen columns in a row along zigzag, from the middle of the flake on."""
    place = np.flatnonzero(sites.is_chalcogen)
    tree = cKDTree(sites.position_px[place])
    middle = sites.position_px[place].mean(axis=0)
    start = sites.position_px[place[tree.query(middle)[1]]]
    wanted = start + np.arange(count)[:, None] * [0, A_PM / PIXEL_PM]
    return place[tree.query(wanted)[1]].tolist()


def test_pairs_are_those_of_brute_force():
    sites = alloy_sites(1, radius_pm=2500.0, spacing_change=(0.0,) * 4)
    table = rows(patterns(sites).pair_correlation, image="all")
    position_pm = sites.position_px * PIXEL_PM
    for first, second in itertools.combinations_with_replacement(WSE2.class_names[2:6], 2):
        a, b = (position_pm[sites.class_name == name] for name in (first, second))
        distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1)) / A_PM
        for _, row in rows(table, class_a=first, class_b=second).iterrows():
            near = (np.abs(distance - row["distance_a"]) < 0.05).sum()
            assert row["observed"] == (near // 2 if first == second else near)


def test_expected_pairs_are_the_mean_of_the_placements():
    counted = count_patterns(alloy_sites(2), None, PatternConfig(simulations=999))
    mean, std = counted.pairs[1:].mean(axis=0), counted.pairs[1:].std(axis=0)
    pull = (mean - counted.expected) / np.maximum(std, 0.05) * np.sqrt(999)
    assert np.abs(pull).max() < 5


def test_warren_cowley_of_a_row_of_vacancies_by_hand():
    sites = alloy_sites(3)
    line = row_of(sites, 4)
    sites = relabelled(sites, dict.fromkeys(line, "SV"))
    table = rows(patterns(sites).pair_correlation, image="all", class_a="SV", class_b="SV")
    first = rows(table, shell=1).iloc[0]
    n = int(sites.is_chalcogen.sum())
    assert first["observed"] == 3
    assert first["expected"] == pytest.approx(first["site_pairs"] * 4 * 3 / (n * (n - 1)))
    share = 4 / n
    assert first["warren_cowley"] == pytest.approx((first["g"] * share - share) / (1 - share))
    assert rows(table, shell=3).iloc[0]["observed"] == 2  # two apart
    assert bool(first["outside"])


def test_clusters_and_lines_by_hand():
    sites = alloy_sites(3)
    line = row_of(sites, 9)
    # four in a row, a gap, a pair of unlike vacancies, a gap, one alone
    names = {0: "SV", 1: "SV", 2: "SV", 3: "SV", 5: "SV", 6: "DV", 8: "SV"}
    found = patterns(relabelled(sites, {line[k]: name for k, name in names.items()}))
    every = rows(found.clusters, image="all").set_index(["class", "measure"])["observed"]
    assert every[ANY_VACANCY].to_dict() == {
        "alone": 1, "pairs": 1, "triples": 0, "larger": 1,
        "largest": 4, "lines": 1, "longest line": 4,
    }  # fmt: skip
    assert every["SV"]["alone"] == 2
    assert every["DV"]["largest"] == 1
    nearest = rows(found.nearest, image="all", shell=1)
    assert rows(nearest, **{"class": "DV", "to": ANY_DEFECT})["share"].item() == 1.0
    assert rows(nearest, **{"class": "DV", "to": "same"})["share"].item() == 0.0
    assert rows(nearest, **{"class": ANY_VACANCY, "to": "same"})["observed"].item() == 6


def test_random_alloys_lie_inside_their_envelopes_as_often_as_promised():
    # 100 alloys of 5 %: more than 11 outside have a probability of 0.4 %
    outside = np.zeros(3)
    for seed in range(100):
        one = alloy_sites(seed, radius_pm=2500.0)
        found = patterns(one, config=PatternConfig(simulations=99, shells=4))
        tables = (found.pair_correlation, found.clusters, found.nearest)
        outside += [rows(table, image="all")["outside"].any() for table in tables]
    assert outside.max() <= 11


@pytest.mark.parametrize("arrangement", ["pairs", "lines"])
def test_pairs_and_lines_of_vacancies_lie_outside(arrangement):
    alloys = [alloy_sites(s, arrangement=arrangement, arranged=0.7) for s in (11, 12, 13)]
    found = patterns(*alloys)
    table = rows(found.pair_correlation, image="all", class_a=ANY_VACANCY, class_b=ANY_VACANCY)
    first = rows(table, shell=1).iloc[0]
    assert first["g"] > first["high"]
    assert first["warren_cowley"] > 0
    assert first["p_all"] <= 0.02
    clusters = rows(found.clusters, image="all", **{"class": ANY_VACANCY})
    telling = "lines" if arrangement == "lines" else "alone"
    assert rows(clusters, measure=telling)["outside"].item()
    # what was not arranged lies inside
    others = rows(found.pair_correlation, image="all", class_a="any substituent")
    assert not others["outside"].any()


def test_nothing_depends_on_the_order_of_the_images():
    one, two = alloy_sites(21, radius_pm=2500.0), alloy_sites(22, radius_pm=2500.0)
    forth = find_patterns(["a", "b"], [one, two], [None, None], A_PM, QUICK)
    back = find_patterns(["b", "a"], [two, one], [None, None], A_PM, QUICK)
    for name in ("pair_correlation", "clusters", "nearest"):
        for image in ("a", "b", "all"):
            first, second = (rows(getattr(t, name), image=image) for t in (forth, back))
            pd.testing.assert_frame_equal(
                first.reset_index(drop=True), second.reset_index(drop=True)
            )


def test_probabilities_correct_what_the_classes_given_overlook():
    sites = alloy_sites(31, arrangement="pairs", arranged=1.0)
    vacant = sites.class_index == WSE2.class_names.index("SV")
    # half of the vacancies are called perfect, being no more than 40 % probable to be vacancies
    rng = np.random.default_rng(0)
    doubtful = vacant & (rng.random(len(sites)) < 0.5)
    probabilities = sites.probabilities.copy()
    probabilities[doubtful] = 0.4 * np.eye(7)[4] + 0.6 * np.eye(7)[1]
    index = np.where(doubtful, 1, sites.class_index)
    blurred = replace(sites, class_index=index, probabilities=probabilities)
    table = rows(patterns(blurred).pair_correlation, image="all", class_a="SV", class_b="SV")
    first = rows(table, shell=1).iloc[0]
    assert first["corrected"] == pytest.approx(first["g"], rel=0.4)
    assert first["corrected_std"] > 0
    certain = rows(patterns(sites).pair_correlation, image="all", class_a="SV", class_b="SV")
    assert rows(certain, shell=1)["corrected_std"].item() == pytest.approx(0.0, abs=1e-9)


def test_one_draw_without_a_rare_class_does_not_take_the_scatter_away():
    sites = alloy_sites(31, radius_pm=3000.0)
    sites = relabelled(
        sites, dict.fromkeys(row_of(sites, 4)[1:], "SV") | {row_of(sites, 1)[0]: "DV"}
    )
    rare = sites.class_index == WSE2.class_names.index("DV")
    probabilities = sites.probabilities.copy()
    probabilities[rare] = 0.9 * np.eye(7)[5] + 0.1 * np.eye(7)[4]
    doubtful = replace(sites, probabilities=probabilities)
    table = rows(patterns(doubtful).pair_correlation, image="all", class_a="SV", class_b="DV")
    asked = table[table["expected"] > 0]
    assert np.isfinite(asked["corrected_std"]).all()
    assert (asked["corrected_std"] > 0).any()


def test_domains_and_places_without_columns_are_no_neighbours():
    sites = alloy_sites(41, radius_pm=3000.0)
    labels = np.ones((301, 301), dtype=np.uint8)
    labels[:, 140:160] = 253  # a hole across the middle
    labels[:, 160:] = 2
    regions = label_regions(labels, sites)
    whole, divided = (count_patterns(sites, r, QUICK) for r in (None, regions))
    assert divided.sites < whole.sites
    x = sites.position_px[sites.is_chalcogen, 1]
    assert divided.sites == int(((np.rint(x) < 140) | (np.rint(x) >= 160)).sum())
    assert (divided.site_pairs < whole.site_pairs).all()
    assert divided.left_out == 0


def test_named_classes_are_asked_too_and_an_empty_image_is_none():
    material = get_material("WSe2+SSe=0.52")
    sites = alloy_sites(51, radius_pm=2500.0)
    some = np.flatnonzero(sites.is_chalcogen)[::7]
    index = sites.class_index.copy()
    index[some] = 7
    named = Sites(
        sites.position_px, np.eye(8)[index], index, material.all_class_names, sites.source
    )
    found = find_patterns(["a"], [named], [None], A_PM, QUICK)
    assert "SSe" in set(found.clusters["class"])
    nothing = named.subset(np.zeros(len(named), dtype=bool))
    found = find_patterns(["a", "empty"], [named, nothing], [None, None], A_PM, QUICK)
    assert rows(found.pair_correlation, image="empty")["g"].isna().all()
    assert (rows(found.clusters, image="empty")["observed"] == 0).all()
