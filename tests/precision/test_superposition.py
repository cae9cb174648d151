"""What neighbouring defects add to a class average."""

import numpy as np
import pytest
from window_stage import A_PM, candidates

from napari_defectstrain.averages.candidates import find_neighbours, neighbours_of
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.precision.superposition import (
    field_at,
    neighbour_contribution,
    tail_strength,
)
from napari_defectstrain.types import ClassStack, DefectStrainError, DisplacementField, Neighbours

SITE, IS_METAL = ideal_sites(A_PM, 1000.0)
NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
STRENGTH = -900.0


def radial(site, strength=STRENGTH):
    return strength * site / np.maximum((site**2).sum(axis=1, keepdims=True), 1.0)


def field(u=None):
    u = radial(SITE) if u is None else u
    return DisplacementField("SV", SITE, IS_METAL, u, np.eye(2 * len(SITE)))


def stack(name, n, neighbours):
    return ClassStack(
        name,
        np.zeros((n, 1, 1)),
        20.0,
        A_PM,
        np.zeros(n, int),
        np.arange(n),
        np.zeros((n, 2)),
        np.zeros((n, 2)),
        np.ones(n),
        np.ones(n, dtype=bool),
        np.full(n, ""),
        class_names=NAMES,
        neighbours=neighbours,
    )


def around(window, role, site):
    return Neighbours(np.array(window), np.array(role), np.array(site, dtype=float), 2000.0)


NOBODY = around(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)))


def test_a_field_is_its_own_at_its_sites_and_a_tail_beyond():
    far = np.array([[3300.0, 0.0], [0.0, -2200.0]])
    assert tail_strength(field()) == pytest.approx(STRENGTH)
    assert np.allclose(field_at(field(), SITE), radial(SITE))
    assert np.allclose(field_at(field(), far), radial(far))
    holes = radial(SITE)
    holes[[0, 4]] = np.nan
    found = field_at(field(holes), SITE)
    assert np.array_equal(found[[0, 4]], np.zeros((2, 2)))
    assert np.allclose(np.delete(found, [0, 4], axis=0), radial(np.delete(SITE, [0, 4], axis=0)))


def test_the_mean_over_windows_is_that_of_the_plain_sum():
    rng = np.random.default_rng(0)
    chalcogen = SITE[~IS_METAL]
    window = rng.integers(0, 5, 30)
    where = chalcogen[rng.integers(7, len(chalcogen), 30)]
    role = rng.choice([4, 6], 30)  # others have no field
    base = around([0, 1], [4, 4], chalcogen[[20, 25]])
    found = neighbour_contribution(
        stack("SV", 5, around(window, role, where)),
        stack("2Se", 4, base),
        {"SV": field()},
        SITE,
        IS_METAL,
    )
    own = sum(field_at(field(), SITE - p) for p in where[role == 4]) / 5
    other = sum(field_at(field(), SITE - p) for p in chalcogen[[20, 25]]) / 4
    assert np.allclose(found.own_pm, own, atol=1e-5)  # sites are rounded to 0.001 pm
    assert np.allclose(found.reference_pm, other, atol=1e-5)
    outer = np.hypot(*SITE.T) > 0.8 * A_PM
    expected = own - other - (own - other)[outer].mean(axis=0)
    assert np.allclose(found.u_pm, expected, atol=1e-5)
    assert found.per_window == 6.0 and found.reach_pm == 2000.0


def test_vacancies_beyond_the_metals_stretch_their_triangle():
    # Three chalcogen sites at sqrt(3) a, in the directions of the nearest metals, which they draw
    # outwards. (Six in a ring would do nothing: a ring of 1/r sources has no field inside.)
    angle = np.arctan2(SITE[:, 1], SITE[:, 0])
    beyond = np.abs(np.hypot(*SITE.T) - np.sqrt(3) * A_PM) < 1
    three = SITE[~IS_METAL & beyond & (np.abs(np.sin(3 * angle) + 1) < 1e-6)]
    assert len(three) == 3
    known = around(np.zeros(3, int), np.full(3, 4), three)
    found = neighbour_contribution(
        stack("SV", 1, known), stack("2Se", 1, NOBODY), {"SV": field()}, SITE, IS_METAL
    )
    nearest = np.flatnonzero(IS_METAL)[:3]
    away = SITE[nearest] / np.hypot(*SITE[nearest].T)[:, None]
    outward = (found.u_pm[nearest] * away).sum(axis=1)
    assert np.ptp(outward) < 1e-6 and outward[0] > 0.3
    assert found.strain == pytest.approx(outward[0] / (A_PM / np.sqrt(3)), rel=1e-3)


def test_windows_left_out_do_not_count():
    known = around([0, 1], [4, 4], SITE[~IS_METAL][[10, 12]])
    some = stack("SV", 2, known)
    some.included[1] = False
    alone = stack("SV", 1, around([0], [4], SITE[~IS_METAL][[10]]))
    base = stack("2Se", 1, NOBODY)
    a, b = (neighbour_contribution(s, base, {"SV": field()}, SITE, IS_METAL) for s in (some, alone))
    assert np.allclose(a.u_pm, b.u_pm) and a.per_window == 1.0


def test_unknown_neighbours_are_refused():
    with pytest.raises(DefectStrainError, match="2Se: the defects around its windows"):
        neighbour_contribution(stack("SV", 1, NOBODY), stack("2Se", 1, None), {}, SITE, IS_METAL)


def test_neighbours_of_some_windows_are_counted_anew():
    known = around([0, 0, 2, 3], [4, 5, 4, 6], SITE[:4])
    some = neighbours_of(known, np.array([3, 0]))
    assert some.window.tolist() == [1, 1, 0]
    assert some.class_index.tolist() == [4, 5, 6]
    assert np.array_equal(some.site_pm, SITE[[0, 1, 3]])
    assert len(neighbours_of(known, np.zeros(0, int)).window) == 0


def test_no_candidates_have_no_neighbours():
    found = find_neighbours(candidates(np.zeros(0, int)), [], [])
    assert len(found.window) == 0 and found.site_pm.shape == (0, 2)
