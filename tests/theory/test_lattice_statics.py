"""The harmonic lattice: its elastic constants, its symmetries, and its answer to forces."""

import numpy as np
import pytest
from theory_stage import A_PM, ELASTIC, IS_METAL, MODEL, SITE

from napari_defectstrain.materials import MATERIALS, WSE2
from napari_defectstrain.theory.elastic_constants import (
    C11_C12_N_PER_M,
    ElasticConstants,
    TheoryConfig,
)
from napari_defectstrain.theory.kanzaki import force_patterns
from napari_defectstrain.theory.lattice_statics import LatticeModel, lattice_model
from napari_defectstrain.types import DefectStrainError


@pytest.mark.parametrize("name", C11_C12_N_PER_M)
def test_the_force_field_has_the_elastic_constants_that_were_asked_for(name):
    material = MATERIALS[name]
    elastic = TheoryConfig().elastic(material)
    found = lattice_model(material, elastic, material.lattice_pm)
    assert found.elastic.c11 == pytest.approx(elastic.c11, rel=1e-3)
    assert found.elastic.c12 == pytest.approx(elastic.c12, abs=1e-3 * elastic.c11)
    assert min(found.force_n_per_m) > 0


def test_optical_frequencies_are_those_of_the_monolayer():
    # E' and A1' of WSe2 by Raman scattering: 250 1/cm both; four constants can't match all
    shift, breathing = MODEL.optical_cm(183.84, 78.971)
    assert shift == pytest.approx(250.0, rel=0.05)
    assert breathing == pytest.approx(250.0, rel=0.15)


def test_long_waves_are_those_of_the_elastic_sheet():
    """The acoustic branches of the even sector, with the others free: C11 and mu times q^2."""
    q = 1e-5
    for direction in ([1.0, 0.0], [0.6, 0.8]):
        d = MODEL.dynamical(q * np.array([direction]))[0]
        rigid = np.zeros((5, 2))
        rigid[[0, 1, 2, 3], [0, 1, 0, 1]] = 1.0
        inner = np.zeros((5, 3))
        inner[[2, 3, 4], [0, 1, 2]] = 1.0
        mixed = inner.T @ d @ rigid
        seen = rigid.T @ d @ rigid - mixed.conj().T @ np.linalg.solve(inner.T @ d @ inner, mixed)
        stiffness = np.linalg.eigvalsh(seen) / q**2 / MODEL.cell_area_pm2
        assert stiffness == pytest.approx([ELASTIC.shear, ELASTIC.c11], rel=2e-3)


def test_nothing_opposes_a_shift_of_all_atoms():
    d = MODEL.dynamical(np.zeros((1, 2)))[0]
    shift = np.array([1.0, 0.3, 1.0, 0.3, 0.0])
    assert np.abs(d @ shift).max() < 1e-9
    assert np.abs(d - d.conj().T).max() < 1e-9


def test_the_answer_has_the_symmetry_of_the_forces():
    place, on_metal, force, _ = force_patterns(A_PM)
    u = MODEL.response(SITE, IS_METAL, place, on_metal, force, 12)
    half = np.deg2rad(120.0)
    turn = np.array([[np.cos(half), -np.sin(half)], [np.sin(half), np.cos(half)]])
    for operation in (turn, np.diag([-1.0, 1.0])):
        moved = SITE @ operation.T
        image = np.argmin(np.linalg.norm(moved[:, None] - SITE, axis=2), axis=1)
        inside = np.hypot(*SITE.T) < 1200.0
        assert u[:, image][:, inside] == pytest.approx((u @ operation.T)[:, inside], abs=1e-9)


def test_the_far_field_of_forces_is_that_of_their_dipole():
    """Radial displacement of shells of six, where threefold fields average out: A / r."""
    place, on_metal, force, _ = force_patterns(A_PM)
    u = MODEL.response(SITE, IS_METAL, place, on_metal, force[[0]], 40)[0]
    strength = np.sum(force[0] * place) / (4 * np.pi * MODEL.elastic.c11)
    u = u + np.pi * strength / (40**2 * MODEL.cell_area_pm2) * SITE
    radius = np.hypot(*SITE.T)
    far = (radius > 800.0) & (radius < 1240.0)
    outward = np.sum(u * SITE, axis=1)[far]  # A, column by column, but for oscillations
    assert outward.mean() == pytest.approx(strength, rel=0.02)
    assert np.ptp(outward) > 0.3 * abs(strength)


@pytest.mark.parametrize(
    ("force", "match"),
    [((1.0, 2.0, 3.0), "expected 4 numbers"), ((0.0, 1.0, 1.0, 1.0), "hold a sheet together")],
)
def test_force_constants_that_hold_nothing_are_refused(force, match):
    with pytest.raises(DefectStrainError, match=match):
        lattice_model(WSE2, None, A_PM, force)


def test_a_force_field_of_ones_own_is_taken_as_it_is():
    own = (150.0, 18.0, 18.0, 18.0)
    assert lattice_model(WSE2, None, A_PM, own) == LatticeModel(A_PM, WSE2.thickness_pm, own)
    with pytest.raises(DefectStrainError, match="got no elastic constants"):
        lattice_model(WSE2, None, A_PM)


@pytest.mark.parametrize(("c11", "c12"), [(100.0, 120.0), (np.nan, 1.0), (50.0, -60.0)])
def test_constants_of_no_stable_sheet_are_refused(c11, c12):
    with pytest.raises(DefectStrainError, match="those of a stable sheet"):
        ElasticConstants(c11, c12, "")


def test_one_elastic_constant_is_not_enough():
    with pytest.raises(DefectStrainError, match="expected c12_n_per_m, too"):
        TheoryConfig(c11_n_per_m=100.0)
    given = TheoryConfig(c11_n_per_m=100.0, c12_n_per_m=20.0)
    assert given.elastic(MATERIALS["MoTe2"]).poisson == 0.2
    assert TheoryConfig().elastic(MATERIALS["MoTe2"]) is None
    assert TheoryConfig.from_dict(given.to_dict()) == given
