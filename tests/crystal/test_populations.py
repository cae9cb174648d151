"""Counts and concentrations against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.crystal.populations import population_table
from napari_defectstrain.materials import WSE2
from napari_defectstrain.types import DefectStrainError, Sites

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
