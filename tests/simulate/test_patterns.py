"""Crystals with look-alikes, tilt, holes, twins and another phase."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_defectstrain.materials import ROLES
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import (
    WSE2_WEIGHTS,
    SimulationConfig,
    crystal_image,
    crystal_to_px,
    simulate_image,
)
from napari_defectstrain.simulate.lookalikes import (
    FIRST_KINDS,
    LOOKALIKES,
    NOT_2H,
    OTHER,
    layer_weights,
)
from napari_defectstrain.simulate.patterns import (
    crystal_with_pattern,
    distorted_phase,
    layered_crystal,
    turned,
)
from napari_defectstrain.simulate.structure import LAYERED, CrystalConfig, build_crystal
from napari_defectstrain.types import DefectStrainError

PERFECT = CrystalConfig(fractions=(0.0, 0.0, 0.0, 0.0))
CLEAN = ScanConfig(
    shape=(160, 160), pixel_size_pm=20.0, contamination=0.0, read_noise=0.0, jitter_px=0.0
)


def threefold(position: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Mean of exp(3 i phi) over the three nearest of `around`, y up."""
    index = cKDTree(around).query(position, k=3)[1]
    offset = around[index] - position[:, None]
    return np.exp(3j * np.arctan2(offset[..., 1], offset[..., 0])).mean(axis=1)


def test_lookalikes_come_in_the_fractions_and_places_asked_for() -> None:
    wanted = tuple(0.01 * (1 + i % 3) for i in range(len(LOOKALIKES)))
    config = PERFECT.replace(lookalikes=wanted)
    crystal = build_crystal(config, 12000.0, np.random.default_rng(1))
    places = {
        "metal": crystal.is_metal.sum(),
        "chalcogen": (~crystal.is_metal & (crystal.kind == 0)).sum(),
    }
    for number, (look, fraction) in enumerate(zip(LOOKALIKES, wanted, strict=True), start=1):
        count = (crystal.kind == number).sum()
        expected = fraction * places["metal"]  # as many chalcogen sites and hexagons as metals
        assert abs(count - expected) < 5 * np.sqrt(expected)
        assert (crystal.class_index[crystal.kind == number] == OTHER).all()
        assert look.place in ("metal", "chalcogen", "hexagon")
    # adatoms in hexagons lie a / sqrt(3) from six columns
    adatom = crystal.kind == 1 + [look.name for look in LOOKALIKES].index("X adatom")
    regular = crystal.site_pm[crystal.kind == 0]
    distance = cKDTree(regular).query(crystal.site_pm[adatom], k=2)[0]
    assert distance == pytest.approx(config.lattice_pm / np.sqrt(3), rel=1e-6)


def test_tilt_splits_the_pair_and_moves_what_is_left_of_it() -> None:
    # 10 mrad over 336 pm: the two atoms of a column lie 3.36 pm apart, one alone 1.68 pm off.
    config = SimulationConfig(
        crystal=CrystalConfig(
            fractions=(0.0, 0.0, 0.2, 0.05), spacing_change=(0, 0, 0, 0), tilt_mrad=10.0
        ),
        scan=CLEAN,
    )
    rng = np.random.default_rng(2)
    crystal = build_crystal(config.crystal, 3000.0, rng)
    origin = np.array([79.5, 79.5])
    _, position = crystal_image(crystal, config, origin)
    upright = crystal_to_px(crystal.position_pm, config.scan, origin)
    off = (position - upright) * 20.0
    single = crystal.class_index == ROLES.index("V1")
    assert np.abs(off[~single]).max() < 1e-9
    assert np.abs(off[single, 1]) == pytest.approx(1.68, abs=1e-6)
    assert np.abs(off[single, 0]).max() < 1e-9
    assert {-1.0, 1.0} == set(np.sign(off[single, 1]))


def test_a_tilted_image_has_its_brightness_where_the_truth_says() -> None:
    # One isolated SV: the centroid of the image against the upright one moves by 8.4 pm
    crystal_config = PERFECT.replace(tilt_mrad=50.0, tilt_deg=90.0)
    config = SimulationConfig(crystal=crystal_config, scan=CLEAN)
    crystal = build_crystal(crystal_config, 200.0, np.random.default_rng(0))
    one = np.flatnonzero(np.hypot(*crystal.site_pm.T) < 1)
    crystal = crystal.take(one)
    alone = np.array([4])
    for upside_down, expected in ((False, 8.4), (True, -8.4)):
        column = replace(
            crystal, class_index=alone, layers=alone, upside_down=np.array([upside_down])
        )
        image, position = crystal_image(column, config, np.array([79.5, 79.5]))
        rows = np.arange(160)
        centroid = (image.sum(axis=1) * rows).sum() / image.sum()
        # y is up in the sample, rows count down
        assert (79.5 - centroid) * 20.0 == pytest.approx(expected, abs=0.1)
        assert (79.5 - position[0, 0]) * 20.0 == pytest.approx(expected, abs=1e-6)


def test_ripples_have_the_slope_asked_for() -> None:
    config = PERFECT.replace(ripple_mrad=15.0, ripple_nm=2.0)
    slopes = [build_crystal(config, 8000.0, np.random.default_rng(seed)).tilt for seed in range(8)]
    total = np.sqrt((np.concatenate(slopes) ** 2).sum(axis=1).mean())
    # mean square over many wavelengths; the field holds only some, hence 10 %
    assert total == pytest.approx(15e-3, rel=0.1)


def test_a_twin_turns_the_surroundings_over() -> None:
    config = PERFECT.replace(pattern="twin")
    crystal = crystal_with_pattern(config, 6000.0, 6000.0, np.random.default_rng(4))
    position, metal = crystal.position_pm, crystal.is_metal
    inner = np.hypot(*position.T) < 4500
    order = threefold(position[metal & inner], position[~metal]).imag
    assert (order > 0.9).sum() > 100
    assert (order < -0.9).sum() > 100
    assert (np.abs(order) > 0.9).mean() > 0.8


@pytest.mark.parametrize("pattern", ["twin", "grain", "1T'"])
def test_no_columns_clash_at_a_boundary(pattern: str) -> None:
    config = PERFECT.replace(pattern=pattern)
    crystal = crystal_with_pattern(config, 5000.0, 5000.0, np.random.default_rng(5))
    nearest = cKDTree(crystal.position_pm).query(crystal.position_pm, k=2)[0][:, 1]
    # the distorted phase itself brings columns as near as 0.6 bonds
    assert nearest.min() > 0.5 * config.lattice_pm / np.sqrt(3)


def test_edges_and_holes_take_columns_away() -> None:
    whole = len(build_crystal(PERFECT, 5000.0, np.random.default_rng(0)).site_pm)
    for pattern in ("edge", "holes"):
        config = PERFECT.replace(pattern=pattern)
        crystal = crystal_with_pattern(config, 5000.0, 5000.0, np.random.default_rng(1))
        assert 0.1 * whole < len(crystal.site_pm) < 0.99 * whole


def test_the_distorted_phase_pairs_its_metal_rows() -> None:
    flake = distorted_phase(PERFECT, 4000.0, np.random.default_rng(6))
    assert (flake.kind == NOT_2H).all()
    assert (flake.class_index == OTHER).all()
    metal = flake.position_pm[flake.is_metal]
    inner = np.hypot(*metal.T) < 3000
    nearest = cKDTree(metal).query(metal[inner], k=2)[0][:, 1] / PERFECT.lattice_pm
    # rows a sqrt(3) / 2 apart move towards each other by 2 x 0.7-1.2 x 0.125 a
    across = np.sqrt(3) / 2 - 2 * 0.125 * np.array([1.2, 0.7])
    assert np.hypot(across, 0.5)[0] <= nearest.min() <= nearest.max() <= np.hypot(across, 0.5)[1]


@pytest.mark.parametrize(
    ("pattern", "weights"),
    [
        ("bilayer 2H", [1.71]),  # W over 2Se on both sublattices
        ("bilayer 3R", [0.70, 1.0, 1.71]),  # and 2Se in the centres of the hexagons
        ("graphene", [1.0]),
        ("hBN", [0.564, 1.0]),
    ],
)
def test_other_crystals_have_the_columns_that_they_have(pattern: str, weights: list[float]) -> None:
    config = PERFECT.replace(pattern=pattern)
    crystal = layered_crystal(config, 3000.0, np.random.default_rng(0))
    bright = layer_weights("WSe2", WSE2_WEIGHTS)[crystal.layers].sum(axis=1)
    assert sorted(set(bright.round(3))) == pytest.approx(weights, abs=0.001)
    assert (crystal.class_index == OTHER).all()
    assert (crystal.kind == NOT_2H).all()
    # every column has neighbours a bond away: three, six where the hexagons are filled
    bond = config.lattice_pm / np.sqrt(3)
    inner = np.hypot(*crystal.site_pm.T) < 2000
    tree = cKDTree(crystal.site_pm)
    near = tree.query_ball_point(crystal.site_pm[inner], 1.01 * bond, return_length=True) - 1
    assert set(near) == {6 if pattern == "bilayer 3R" else 3}


def test_atoms_are_missing_in_other_crystals_too() -> None:
    for pattern in LAYERED:
        config = PERFECT.replace(pattern=pattern, fractions=(0.0, 0.0, 0.1, 0.0))
        flake = layered_crystal(config, 6000.0, np.random.default_rng(0))
        whole = layered_crystal(PERFECT.replace(pattern=pattern), 6000.0, np.random.default_rng(0))
        bright = [layer_weights("WSe2", WSE2_WEIGHTS)[c.layers].sum() for c in (flake, whole)]
        assert 0.88 < bright[0] / bright[1] < 0.99


def test_settings_of_ten_lookalikes_hold_no_others() -> None:
    config = PERFECT.replace(lookalikes=(0.05,) * FIRST_KINDS)
    kinds = build_crystal(config, 6000.0, np.random.default_rng(1)).kind
    assert set(kinds) == set(range(FIRST_KINDS + 1))


def test_turning_is_counter_clockwise() -> None:
    crystal = turned(build_crystal(PERFECT, 500.0, np.random.default_rng(0)), np.pi / 2)
    before = build_crystal(PERFECT, 500.0, np.random.default_rng(0)).site_pm
    assert crystal.site_pm == pytest.approx(np.stack([-before[:, 1], before[:, 0]], axis=1))


def test_truth_names_the_lookalikes() -> None:
    config = SimulationConfig(
        crystal=CrystalConfig(lookalikes=(0.03,) * len(LOOKALIKES)),
        scan=CLEAN.replace(shape=(400, 400)),
    )
    table = simulate_image(config, np.random.default_rng(3)).truth_table()
    other = table["class"] == "other"
    assert other.any()
    assert (table.loc[other, "kind"] != "").all()
    assert (table.loc[~other, "kind"] == "").all()
    assert {"1Te", "Se+O", "metal vacancy", "W adatom"} <= set(table["kind"])
    plain = simulate_image(SimulationConfig(scan=CLEAN), np.random.default_rng(3)).truth_table()
    assert "kind" not in plain
    assert "p_other" not in plain


def test_bad_patterns_and_lookalikes_are_refused() -> None:
    with pytest.raises(DefectStrainError, match="pattern: got 'spiral'"):
        CrystalConfig(pattern="spiral")
    with pytest.raises(DefectStrainError, match="lookalikes: got"):
        CrystalConfig(lookalikes=(0.1,))
