"""Counts and concentrations against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.crystal.populations import population_table, usable_populations
from napari_defectstrain.crystal.regions import Regions
from napari_defectstrain.materials import WSE2
from napari_defectstrain.simulate.structure import lattice_sites
from napari_defectstrain.types import CalibratedImage, DefectStrainError, Sites

NAMES = WSE2.class_names


def sites_with(counts: dict[str, int]) -> Sites:
    """Sites with so many columns of each class, all at the origin."""
    index = np.repeat([NAMES.index(name) for name in counts], list(counts.values())).astype(int)
    return Sites(
        position_px=np.zeros((len(index), 2)),
        probabilities=np.eye(len(NAMES))[index],
        class_index=index,
        class_names=NAMES,
        source=np.full(len(index), "model"),
    )


def row(table: pd.DataFrame, image: str, class_name: str) -> pd.Series:
    found = table[(table["image"] == image) & (table["class"] == class_name)]
    assert len(found) == 1
    return found.iloc[0]


def test_fractions_follow_their_definitions():
    # 100 chalcogen columns, so 200 atomic sites: x = (6 + 2*3)/200, vacancies = (4 + 2*1)/200
    sites = sites_with({"W": 98, "2Se": 86, "SeTe": 6, "2Te": 3, "SV": 4, "DV": 1})
    table = population_table(["a"], [sites], NAMES)
    assert row(table, "a", "SeTe")[["columns", "all_columns"]].tolist() == [6, 100]
    assert row(table, "a", "SeTe")["concentration"] == pytest.approx(0.06)
    assert row(table, "a", "x")[["columns", "all_columns"]].tolist() == [9, 100]
    assert row(table, "a", "x")["concentration"] == pytest.approx(0.06)
    assert row(table, "a", "vacancy fraction")["concentration"] == pytest.approx(0.03)
    assert row(table, "a", "W")[["columns", "all_columns"]].tolist() == [98, 98]


def test_other_is_listed_and_counts_neither_as_substituted_nor_as_vacant():
    without = {"W": 98, "2Se": 86, "SeTe": 6, "2Te": 3, "SV": 4, "DV": 1}
    table = population_table(["a"], [sites_with({**without, "other": 2})], NAMES)
    # 2 of 98 metals, 100 chalcogens and 2 that are neither
    assert row(table, "a", "other")[["columns", "all_columns"]].tolist() == [2, 200]
    assert row(table, "a", "other")["concentration"] == pytest.approx(0.01)
    plain = population_table(["a"], [sites_with(without)], NAMES)
    rest = table["class"] != "other"
    pd.testing.assert_frame_equal(table[rest], plain[plain["class"] != "other"])


def test_all_images_together_weigh_by_columns():
    small = sites_with({"W": 10, "2Se": 5, "SV": 5})
    large = sites_with({"W": 90, "2Se": 90})
    table = population_table(["small", "large"], [small, large], NAMES)
    # five vacancies in 100 columns, not the mean of 50 % and 0 %
    assert row(table, "all", "SV")["concentration"] == pytest.approx(0.05)
    assert row(table, "all", "vacancy fraction")["concentration"] == pytest.approx(0.025)
    assert table["image"].unique().tolist() == ["small", "large", "all"]


def test_columns_of_the_table_are_the_documented_ones():
    table = population_table([], [], NAMES)
    assert list(table) == [
        *("image", "class", "columns", "all_columns"),
        *("concentration", "per_site", "area_nm2", "per_nm2"),
        *("corrected", "corrected_std", "low", "high", "crystal_low", "crystal_high"),
        *("wilson_low", "wilson_high", "dispersion", "dispersion_p"),
        *("image_std", "images_low", "images_high"),
    ]
    assert (table["columns"] == 0).all()
    assert table["concentration"].isna().all()


def test_image_without_chalcogens_has_no_concentration():
    table = population_table(["a"], [sites_with({"W": 3})], NAMES)
    assert math.isnan(row(table, "a", "x")["concentration"])
    assert row(table, "a", "SV")["columns"] == 0


def test_other_material_is_refused():
    with pytest.raises(DefectStrainError, match="another material"):
        population_table(
            ["a"], [sites_with({"W": 1})], ("Mo", "2S", "SSe", "2Se", "SV", "DV", "other")
        )


def test_names_and_sites_must_match():
    with pytest.raises(DefectStrainError, match="2 names and 1 tables"):
        population_table(["a", "b"], [sites_with({"W": 1})], NAMES)


def test_concentrations_refer_to_area_and_to_atomic_sites():
    a = sites_with({"W": 98, "2Se": 86, "SeTe": 6, "2Te": 3, "SV": 4, "DV": 1})
    b = sites_with({"W": 10, "2Se": 10})
    table = population_table(["a", "b"], [a, b], NAMES, [10.0, 2.5])
    assert row(table, "a", "SV")["per_nm2"] == pytest.approx(0.4)
    assert row(table, "a", "vacancy fraction")["per_nm2"] == pytest.approx(0.6)  # 4 + 2*1 atoms
    assert row(table, "a", "x")["per_nm2"] == pytest.approx(1.2)
    assert row(table, "all", "SV")["per_nm2"] == pytest.approx(4 / 12.5)
    assert row(table, "all", "SV")["area_nm2"] == pytest.approx(12.5)
    # 100 chalcogen columns hold 200 atomic sites
    assert row(table, "a", "2Te")["per_site"] == pytest.approx(0.03)
    assert row(table, "a", "2Te")["concentration"] == pytest.approx(0.03)
    assert row(table, "a", "SV")["per_site"] == pytest.approx(0.02)
    assert math.isnan(row(table, "a", "2Se")["per_site"])


def test_without_areas_there_is_no_density():
    table = population_table(["a"], [sites_with({"W": 1, "2Se": 1})], NAMES)
    assert table[["area_nm2", "per_nm2"]].isna().all(axis=None)


def doubtful(rng: np.random.Generator, n: int) -> tuple[Sites, np.ndarray]:
    """Columns with calibrated probabilities, and what they truly are."""
    p = np.zeros((n, len(NAMES)))
    doubt = np.where(rng.random(n) < 0.3, rng.uniform(0.02, 0.6, n), 0.001)
    p[:, 1], p[:, 4], p[:, 2] = 1.0 - doubt, 0.7 * doubt, 0.3 * doubt
    cumulated = p.cumsum(axis=1)
    true = (rng.random(n)[:, None] > cumulated).sum(axis=1)
    given = p.argmax(axis=1)
    sites = sites_with({"2Se": n})
    return (
        Sites(sites.position_px, p, given, NAMES, sites.source),
        true,
    )


def test_corrected_fractions_err_as_much_as_they_say():
    rng = np.random.default_rng(0)
    pulls, inside, raw = [], [], []
    for _ in range(150):
        sites, true = doubtful(rng, 300)
        found = row(population_table(["a"], [sites], NAMES), "a", "vacancy fraction")
        truth = (true == 4).sum() / 600
        pulls.append((found["corrected"] - truth) / found["corrected_std"])
        inside.append(found["low"] <= truth <= found["high"])
        raw.append(found["concentration"] - truth)
    # 150 unit pulls: their width errs by 6 %, their mean by 0.08, the coverage by 2 %
    assert 0.85 < np.std(pulls) < 1.15
    assert abs(np.mean(pulls)) < 0.3
    assert np.mean(inside) > 0.9
    # the most probable class alone misses most of them
    assert np.mean(raw) < -0.01


def test_limits_for_the_crystal_cover_what_it_was_made_with():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(200):
        index = rng.choice([1, 2, 3], 400, p=[0.95, 0.03, 0.02])
        sites = sites_with({"2Se": 400})
        sites = Sites(sites.position_px, np.eye(len(NAMES))[index], index, NAMES, sites.source)
        found = row(population_table(["a"], [sites], NAMES), "a", "x")
        inside.append(found["crystal_low"] <= 0.035 <= found["crystal_high"])
        assert found["corrected"] == pytest.approx(found["concentration"])
        assert found["corrected_std"] == 0.0
    assert 0.9 < np.mean(inside) < 0.99


def test_none_found_still_has_an_upper_limit():
    found = row(population_table(["a"], [sites_with({"2Se": 100})], NAMES), "a", "SV")
    assert found["corrected"] == 0.0
    assert found["crystal_low"] == 0.0
    # Wilson's limit of no success in n trials
    assert found["crystal_high"] == pytest.approx(3.8415 / 103.8415, rel=1e-3)


def test_intervals_of_counts_are_wilsons_and_those_of_atoms_are_wider():
    sites = sites_with({"W": 98, "2Se": 86, "SeTe": 6, "2Te": 3, "SV": 4, "DV": 1})
    table = population_table(["a"], [sites], NAMES)
    assert row(table, "a", "SeTe")[["wilson_low", "wilson_high"]].tolist() == pytest.approx(
        [0.02779, 0.12477], abs=1e-4
    )
    # 12 of 200 sites, in 9 columns: as if fewer sites had been looked at
    found = row(table, "a", "x")
    assert found["wilson_low"] < 0.0347 < 0.06 < 0.1022 < found["wilson_high"]


def test_images_that_differ_are_told_from_those_that_do_not():
    alike = [sites_with({"W": 100, "2Se": 95, "SV": 5})] * 4
    table = population_table(list("abcd"), alike, NAMES)
    found = row(table, "all", "SV")
    assert found["dispersion"] == pytest.approx(0.0)
    assert found["dispersion_p"] == 1.0
    assert found["image_std"] == 0.0
    assert math.isnan(row(table, "a", "SV")["dispersion"])
    unlike = [sites_with({"W": 100, "2Se": 100 - n, "SV": n}) for n in (1, 30, 2, 25)]
    table = population_table(["a", "b", "all", "d"], unlike, NAMES)  # an image may be called so
    last = table[(table["image"] == "all") & (table["class"] == "SV")].iloc[-1]
    assert last["dispersion_p"] < 0.001
    assert last["images_high"] > last["wilson_high"]
    vacancies = table[(table["image"] == "all") & (table["class"] == "vacancy fraction")].iloc[-1]
    # one atom of two is gone: half as much of the sites as of the columns
    assert vacancies["image_std"] == pytest.approx(last["image_std"] / 2)


@pytest.mark.parametrize("border_pm", [0.0, 50.0])
def test_densities_are_those_of_the_crystal_though_columns_at_the_border_are_not_listed(border_pm):
    pixel_pm, shape = 20.0, np.array((300, 340))
    place, is_metal = lattice_sites(330.0, 6000.0)
    turn = np.deg2rad(12.0)
    turned = place[is_metal] @ np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    position = turned / pixel_pm + shape / 2
    away = np.minimum(position + 0.5, shape - 0.5 - position).min(axis=1) * pixel_pm
    kept = away > border_pm
    n = int(kept.sum())
    sites = Sites(
        position[kept],
        np.eye(len(NAMES))[np.zeros(n, dtype=int)],
        np.zeros(n, dtype=int),
        NAMES,
        np.full(n, "model"),
    )
    regions = Regions(np.ones(tuple(shape), dtype=np.uint8), ())
    image = CalibratedImage(np.zeros(shape), pixel_pm, "a")
    table = usable_populations([image], [sites], [regions], NAMES)
    density = row(table, "a", "W")["per_nm2"]
    assert density == pytest.approx(1 / (0.33**2 * np.sqrt(3) / 2), rel=0.008)
