"""The class other: on either sublattice or between them, it misleads no lattice and no average."""

import numpy as np
import pytest
from synthetic_lattice import HEIGHTS, Crystal, frame_matrix, make_crystal, render

from napari_defectstrain.averages.average import AverageConfig, stack_classes
from napari_defectstrain.averages.windows import window_centres
from napari_defectstrain.crystal.honeycomb import OTHER_REACH
from napari_defectstrain.crystal.lattice import (
    fit_lattice,
    ideal_sites,
    index_columns,
    isolated,
    metal_sublattice,
)
from napari_defectstrain.detect.finding.locate import assign_classes, settle_sublattices
from napari_defectstrain.evaluation.truth_tables import class_aliases
from napari_defectstrain.materials import DEFECT_ROLES, MATERIALS, ROLES, WSE2
from napari_defectstrain.simulate.dataset import WSE2_WEIGHTS
from napari_defectstrain.simulate.lookalikes import LOOKALIKES, STACKED, layer_weights
from napari_defectstrain.simulate.scattering import nominal_weights
from napari_defectstrain.styles import CLASS_STYLE, DISPLACEMENT_SCALE
from napari_defectstrain.types import METAL, OTHER, CalibratedImage, ImageLattice, Sites

A_PM = 330.0
PIXEL_PM = 20.74
SHAPE = (640, 640)
HOLLOW_PM = np.array([0.0, -A_PM / np.sqrt(3)])
"""From a chalcogen column to the middle of a hexagon, opposite to a metal."""


def alloy(seed: int, adatoms: float = 0.0, antisites: float = 0.0, angle_deg: float = 12.0):
    """An alloy whose columns inside the image are in part other; (crystal, rng)."""
    rng = np.random.default_rng(seed)
    matrix = frame_matrix(PIXEL_PM, angle_deg)
    made = make_crystal(SHAPE, matrix, A_PM, (310.4, 322.7), rng, (0.03, 0.015, 0.03, 0.01))
    inside = ((made.position_px > 2) & (made.position_px < np.array(SHAPE) - 3)).all(axis=1)
    position, role = made.position_px[inside], made.class_index[inside]
    is_metal, site = made.is_metal[inside], made.site_pm[inside]
    role = np.where(rng.random(len(role)) < antisites, OTHER, role)  # on either sublattice
    above = np.flatnonzero(~is_metal & (rng.random(len(role)) < adatoms))
    position = np.concatenate([position, position[above] + HOLLOW_PM @ matrix.T])
    role = np.concatenate([role, np.full(len(above), OTHER)])
    is_metal = np.concatenate([is_metal, np.zeros(len(above), dtype=bool)])
    site = np.concatenate([site, site[above] + HOLLOW_PM])
    return Crystal(position, role, is_metal, site, matrix), rng


def as_sites(position, role, certain=0.99):
    probabilities = np.full((len(role), 7), (1 - certain) / 6)
    probabilities[np.arange(len(role)), role] = certain
    return Sites(position, probabilities, role, WSE2.class_names, np.full(len(role), "model"))


def test_every_role_has_a_name_and_a_look_of_its_own():
    assert ROLES[METAL] == "metal" and ROLES[OTHER] == ROLES[-1] == "other"
    assert set(ROLES) == {"metal", "X2", *DEFECT_ROLES, "other"}
    for material in MATERIALS.values():
        assert len(set(material.class_names)) == len(ROLES)
        assert material.defect_names == material.class_names[2:6]
    assert set(CLASS_STYLE) == set(ROLES)
    assert set(DISPLACEMENT_SCALE) == set(DEFECT_ROLES)
    for material in MATERIALS.values():
        assert set(class_aliases(material).values()) == set(ROLES)
        assert len(nominal_weights(material)) == len(WSE2_WEIGHTS) == OTHER
        rows = layer_weights(material.name, nominal_weights(material))
        assert len(rows) == OTHER + len(LOOKALIKES) + len(STACKED)
    assert len({style.colour for style in CLASS_STYLE.values()}) == len(ROLES)
    assert len({style.symbol for style in CLASS_STYLE.values()}) == len(ROLES)


def test_columns_are_metal_chalcogen_or_other():
    sites = as_sites(np.zeros((7, 2)), np.arange(7))
    assert sites.is_metal.tolist() == [True] + [False] * 6
    assert sites.is_chalcogen.tolist() == [False] + [True] * 5 + [False]
    assert sites.is_other.tolist() == [False] * 6 + [True]


# ---------------------------------------------------------------- sublattices


@pytest.mark.parametrize("seed", range(3))
def test_the_vote_of_the_sublattices_is_not_misled(seed):
    crystal, rng = alloy(seed, adatoms=0.08, antisites=0.06)
    other = crystal.class_index == OTHER
    odds = 8 * (HEIGHTS[crystal.class_index] - 0.85) + rng.normal(0, 1, len(other))
    position = crystal.position_px + rng.normal(0, 0.4, crystal.position_px.shape)
    found = metal_sublattice(position, odds, is_other=other)
    assert other.mean() > 0.08
    # at the very edge a column that antisites leave with one neighbour can be mistaken
    rim = np.minimum(position, np.array(SHAPE) - 1 - position).min(axis=1) < 12
    assert np.array_equal(found[~other & ~rim], crystal.is_metal[~other & ~rim])
    # on the sites of the honeycomb the columns around them tell; adatoms sit on none
    on_site = np.arange(len(other)) <= np.flatnonzero(~other).max()
    sure = other & on_site & ~rim
    assert (found[sure] == crystal.is_metal[sure]).mean() > 0.99


def test_probabilities_are_settled_by_place_and_other_keeps_its_own():
    crystal, _ = alloy(4, adatoms=0.05, antisites=0.05)
    role = crystal.class_index
    given = np.full((len(role), 7), 0.02)
    given[np.arange(len(role)), role] = 0.88
    # the network takes every fifth SeTe for a metal
    fooled = np.flatnonzero(role == 2)[::5]
    given[fooled] = [0.9, 0.02, 0.06, 0.005, 0.005, 0.0, 0.01]
    settled = settle_sublattices(crystal.position_px, given)
    np.testing.assert_allclose(settled.sum(axis=1), 1.0)
    np.testing.assert_allclose(settled[:, OTHER], given[:, OTHER])
    ordinary = role != OTHER
    assert ((settled[:, METAL] > 0)[ordinary] == crystal.is_metal[ordinary]).all()
    assert not settled[(settled[:, METAL] > 0), 1:OTHER].any()
    # 0.06 of 0.09 among the chalcogen classes
    np.testing.assert_allclose(settled[fooled, 2], 0.99 * 0.06 / 0.09)
    found = assign_classes(settled, (0.5, 0.5, 0.5, 0.5))
    assert np.array_equal(found, role)


def test_without_other_nothing_changes_on_the_metal_sublattice():
    crystal, _ = alloy(5)
    given = np.zeros((len(crystal.class_index), 7))
    given[:, :6] = 0.02
    given[np.arange(len(given)), crystal.class_index] = 0.9
    settled = settle_sublattices(crystal.position_px, given)
    np.testing.assert_array_equal(
        settled[crystal.is_metal], np.eye(7)[[0] * crystal.is_metal.sum()]
    )
    assert not settled[:, OTHER].any()


def test_an_image_full_of_other_does_not_fail():
    crystal, _ = alloy(6)
    given = np.tile(np.eye(7)[OTHER], (len(crystal.class_index), 1))
    settled = settle_sublattices(crystal.position_px, given)
    np.testing.assert_array_equal(settled, given)
    assert (assign_classes(settled, (0.5,) * 4) == OTHER).all()


# ---------------------------------------------------------------- lattice and centres


def test_the_fit_is_unchanged_by_a_tenth_of_other_at_odd_places():
    crystal, rng = alloy(7)
    plain = as_sites(crystal.position_px, crystal.class_index)
    lattice = fit_lattice(plain.position_px, plain.is_metal, A_PM, PIXEL_PM, plain.is_chalcogen)
    strange = rng.uniform(0, 640, (len(plain) // 9, 2))
    sites = as_sites(
        np.concatenate([plain.position_px, strange]),
        np.concatenate([plain.class_index, np.full(len(strange), OTHER)]),
    )
    assert sites.is_other.mean() == pytest.approx(0.1, abs=0.001)
    found = fit_lattice(sites.position_px, sites.is_metal, A_PM, PIXEL_PM, sites.is_chalcogen)
    assert np.array_equal(found.matrix, lattice.matrix)
    assert np.array_equal(found.origin_px, lattice.origin_px)


def test_other_in_every_hexagon_does_not_turn_the_frame():
    # as many as chalcogens, and opposite to them: taken for chalcogens they would tie the vote
    crystal, _ = alloy(8, adatoms=1.0)
    sites = as_sites(crystal.position_px, crystal.class_index)
    few = sites.is_chalcogen & (np.arange(len(sites)) % 3 > 0)
    keep = sites.is_metal | few | sites.is_other
    lattice = fit_lattice(
        sites.position_px[keep], sites.is_metal[keep], A_PM, None, sites.is_chalcogen[keep]
    )
    for chosen, metal in ((few, False), (sites.is_metal, True)):
        site, is_metal, residual = index_columns(crystal.position_px[chosen], lattice)
        assert (is_metal == metal).all()
        assert np.abs(residual).max() < 1e-6  # noise-free


def test_antisites_leave_holes_that_the_fit_bridges():
    crystal, _ = alloy(9, antisites=0.1)
    sites = as_sites(crystal.position_px, crystal.class_index)
    found = fit_lattice(sites.position_px, sites.is_metal, A_PM, PIXEL_PM, sites.is_chalcogen)
    # noise-free positions: rounding only
    np.testing.assert_allclose(found.matrix, crystal.matrix, rtol=0, atol=1e-9)
    assert found.measured_a_pm == pytest.approx(A_PM, rel=1e-9)


@pytest.mark.slow
def test_window_centres_are_not_pulled_by_other():
    crystal, rng = alloy(10, antisites=0.1)
    role = crystal.class_index
    sites = as_sites(crystal.position_px, role)
    lattice = fit_lattice(sites.position_px, sites.is_metal, A_PM, None, sites.is_chalcogen)
    k = np.flatnonzero(sites.is_chalcogen)
    inner = np.minimum(crystal.position_px[k], 639 - crystal.position_px[k]).min(axis=1) > 70
    k = k[inner]
    # off their sites by up to 0.2 a: near enough to be taken for columns of the lattice
    moved = crystal.position_px.copy()
    shift = rng.uniform(0.05, 0.12, (len(moved), 2)) * A_PM / PIXEL_PM
    moved[sites.is_other] += shift[sites.is_other]
    centre = window_centres(moved, role, k, lattice)
    assert np.abs(centre - crystal.position_px[k]).max() < 1e-6
    pulled = window_centres(moved, np.where(crystal.is_metal, 0, 1), k, lattice)
    assert np.abs(pulled - crystal.position_px[k]).max() > 0.05  # px: they would


# ---------------------------------------------------------------- isolation and averages


def beside(place_pm):
    """A perfect crystal with an SV at the origin and one column of the class other at a place."""
    site, is_metal = ideal_sites(A_PM, 2500.0)
    role = np.where(is_metal, 0, 1)
    role[0] = 4
    gap = np.hypot(*(site - place_pm).T)
    if gap.min() < 1.0:
        role[gap.argmin()] = OTHER
    else:
        site, role = np.concatenate([site, [place_pm]]), np.append(role, OTHER)
    matrix = frame_matrix(PIXEL_PM, 21.0)
    lattice = ImageLattice(np.array([320.0, 320.0]), matrix, A_PM, None, 0.0)
    return np.array([320.0, 320.0]) + site @ matrix.T, role, lattice


R = A_PM / np.sqrt(3)


@pytest.mark.parametrize(
    ("place_pm", "free_shells"),
    [
        pytest.param((0.0, -R), 0, id="adatom in the next hexagon"),
        pytest.param((0.0, R), 0, id="antisite next to it"),
        pytest.param((0.5 * A_PM, 0.0), 0, id="adatom between two columns"),
        pytest.param((A_PM, 0.0), 0, id="on the first shell"),
        pytest.param((0.0, 2 * R), 0, id="adatom 1.15 a away"),
        pytest.param((A_PM, -2 * R), 1, id="adatom 1.53 a away"),
        pytest.param((0.0, 3 * R), 1, id="on the second shell"),
        pytest.param((2 * A_PM, 0.0), 2, id="on the third shell"),
        pytest.param((1.5 * A_PM, 2.5 * R), 2, id="antisite 2.08 a away"),
        pytest.param((0.0, 4 * R), 3, id="metal 2.31 a away"),
    ],
)
def test_a_strange_column_breaks_isolation_where_it_is(place_pm, free_shells):
    position, role, lattice = beside(np.array(place_pm))
    rng = np.random.default_rng(0)
    for scatter_pm in (0.0, 10.0):
        moved = position + rng.normal(0, scatter_pm / PIXEL_PM, position.shape)
        for shells in range(4):
            found = isolated(moved, role, lattice, SHAPE, shells)
            assert found[0] == (shells <= free_shells), (shells, scatter_pm)
            assert not found[role == OTHER].any() and not found[role == METAL].any()


def test_reaches_end_in_gaps_of_all_sites():
    site, _ = ideal_sites(A_PM, 3 * A_PM)
    hollow = -site
    radius = np.hypot(*np.concatenate([site, hollow]).T) / A_PM
    for shells, shell in ((1, 1.0), (2, np.sqrt(3)), (3, 2.0)):
        reach = OTHER_REACH[shells]
        assert reach > shell
        assert np.abs(radius - reach).min() > 0.1  # 33 pm


@pytest.mark.slow
def test_no_average_is_made_of_other_or_beside_it():
    crystal, rng = alloy(11, adatoms=0.01, antisites=0.01)
    image = render(SHAPE, crystal.position_px, HEIGHTS[crystal.class_index], 47.0 / PIXEL_PM)
    image = CalibratedImage(500 * (image + rng.normal(0, 0.05, SHAPE)), PIXEL_PM, "dirty alloy")
    sites = as_sites(crystal.position_px, crystal.class_index)
    config = AverageConfig(window_nm=2.0, max_reference=40)
    stacks = stack_classes([image], [sites], config, A_PM, np.random.default_rng(0))
    assert "other" not in stacks
    assert {"2Se", "SeTe", "SV"} <= set(stacks)
    strange = crystal.site_pm[crystal.class_index == OTHER]
    for stack in stacks.values():
        centre = crystal.site_pm[stack.site_index]
        gap = np.hypot(*np.moveaxis(centre[:, None] - strange, 2, 0)).min(axis=1)
        assert gap.min() > np.sqrt(3) * A_PM
        assert not sites.is_other[stack.site_index].any()
        np.testing.assert_array_equal(stack.probabilities, sites.probabilities[stack.site_index])
