"""Strength, relaxation area and dipole of known far fields, with their errors."""

import numpy as np
import pytest
from theory_stage import (
    A_PM,
    ELASTIC,
    MODEL,
    SITE,
    STRENGTH_PM2,
    average_of_windows,
    displacement,
    lattice_field,
    noise,
)

from napari_defectstrain.theory.elasticity import inclusion_displacement
from napari_defectstrain.theory.far_field import dipole_displacement, fit_far_field
from napari_defectstrain.types import DefectStrainError
from napari_defectstrain.units import EV_PER_N_PER_M_PM2

INCLUSION = inclusion_displacement(SITE, STRENGTH_PM2, 190.0)


def test_the_numbers_of_an_exact_far_field():
    found = fit_far_field(displacement(INCLUSION), ELASTIC)
    assert found.strength_pm2 == pytest.approx(STRENGTH_PM2, abs=1e-6)
    two_pi_a = 2 * np.pi * STRENGTH_PM2
    assert found.two_pi_a_pm2[0] == pytest.approx(two_pi_a)
    assert found.relaxation_area_pm2[0] == pytest.approx(two_pi_a * 2 / (1 + 23 / 119))
    # 1 N/m pm^2 = 1e-24 J
    assert found.dipole_ev[0] == pytest.approx(two_pi_a * 119 * 1e-24 / 1.602176634e-19)
    assert found.dipole_ev[0] == pytest.approx(-7.93, abs=0.01)
    low, high = found.interval(found.two_pi_a_pm2)
    assert low < two_pi_a < high


def test_the_relaxation_area_is_the_dipole_over_the_modulus_of_area():
    found = fit_far_field(displacement(INCLUSION), ELASTIC)
    dipole = found.dipole_ev[0] / EV_PER_N_PER_M_PM2
    assert found.relaxation_area_pm2[0] == pytest.approx(dipole / ELASTIC.bulk)


def test_a_dipole_field_balances_all_forces():
    """C11 grad div u - mu curl curl u = 0 away from the origin, for any symmetric dipole."""
    dipole = np.array([[3.0, 0.7], [0.7, -1.0]])
    place, h = np.random.default_rng(3).uniform(200, 900, (40, 2)), 1.0

    def u(r):
        return dipole_displacement(r, dipole, ELASTIC)

    step = h * np.eye(2)

    def second(i, j):
        return (
            u(place + step[i] + step[j])
            - u(place + step[i] - step[j])
            - u(place - step[i] + step[j])
            + u(place - step[i] - step[j])
        ) / (4 * h**2)

    c11, mu = ELASTIC.c11, ELASTIC.shear
    force_x = c11 * second(0, 0)[:, 0] + mu * second(1, 1)[:, 0] + (c11 - mu) * second(0, 1)[:, 1]
    force_y = c11 * second(1, 1)[:, 1] + mu * second(0, 0)[:, 1] + (c11 - mu) * second(0, 1)[:, 0]
    scale = c11 * np.abs(second(0, 0)).max()
    # central differences: h^2 of derivatives twice higher, (h / r)^2 of them
    assert np.abs(force_x).max() < 1e-4 * scale
    assert np.abs(force_y).max() < 1e-4 * scale
    isotropic = dipole_displacement(place, np.eye(2), ELASTIC)
    assert isotropic == pytest.approx(place / np.sum(place**2, axis=1, keepdims=True))


def test_a_dipole_field_carries_its_dipole_through_any_circle():
    """What the stress pulls at a circle, times the place, less what it does inside: P."""
    dipole = np.array([[3.0, 0.7], [0.7, -1.0]])
    angle = np.linspace(0, 2 * np.pi, 721)[:-1]
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    place, h = 500.0 * normal, 0.5
    by = [
        (
            dipole_displacement(place + h * e, dipole, ELASTIC)
            - dipole_displacement(place - h * e, dipole, ELASTIC)
        )
        / (2 * h)
        for e in np.eye(2)
    ]
    gradient = np.stack(by, axis=2)  # (n, component, derivative)
    strain = 0.5 * (gradient + gradient.transpose(0, 2, 1))
    trace = np.trace(strain, axis1=1, axis2=2)[:, None, None]
    stress = ELASTIC.c12 * trace * np.eye(2) + 2 * ELASTIC.shear * strain
    traction = np.einsum("nij,nj->ni", stress, normal)
    u = dipole_displacement(place, dipole, ELASTIC)
    ends = np.einsum("ni,nj->nij", u, normal)
    ends = 0.5 * (ends + ends.transpose(0, 2, 1))
    trace = np.einsum("ni,ni->n", u, normal)[:, None, None]
    inside = ELASTIC.c12 * trace * np.eye(2) + 2 * ELASTIC.shear * ends
    flow = np.einsum("ni,nj->nij", traction, place) - inside
    total = -flow.mean(axis=0) * 2 * np.pi * 500.0
    assert total == pytest.approx(2 * np.pi * ELASTIC.c11 * dipole, rel=1e-4)


@pytest.mark.parametrize("windows", [8, 18, 150])
def test_errors_are_as_large_as_the_noise_that_was_built_in(windows):
    """Pulls of A over 60 seeds: width 1 within 5 sigma of its error, 0.09; intervals cover."""
    rng = np.random.default_rng(windows)
    pulls, inside, anisotropy = [], [], []
    for _ in range(60):
        measured = average_of_windows(INCLUSION, windows, rng)
        found = fit_far_field(measured, ELASTIC, windows - 1)
        pulls.append((found.strength_pm2 - STRENGTH_PM2) / found.statistical_pm2)
        low, high = found.interval((found.strength_pm2, found.sigma_pm2))
        inside.append(low < STRENGTH_PM2 < high)
        anisotropy.append(found.anisotropy_p)
    scatter = 1.25 if windows < 10 else 1.0  # Student's, of 7 degrees of freedom: 1.18
    assert abs(np.mean(pulls)) < 4 * scatter / np.sqrt(60)
    assert 0.65 < np.std(pulls) / scatter < 1.45
    assert np.mean(inside) > 0.85  # 95 % less 3.5 sigma
    # a site of threefold symmetry has none: p is uniform
    assert np.mean(np.array(anisotropy) < 0.1) < 0.25


def test_an_anisotropic_dipole_is_seen():
    shape = STRENGTH_PM2 * np.diag([1.3, 0.7])
    site = np.where(np.hypot(*SITE.T)[:, None] > 1, SITE, 1.0)
    u = np.where(np.hypot(*SITE.T)[:, None] > 1, dipole_displacement(site, shape, ELASTIC), 0.0)
    found = fit_far_field(displacement(u + noise(2)), ELASTIC)
    expected = 2 * np.pi * 0.3 * STRENGTH_PM2 * ELASTIC.c11 * EV_PER_N_PER_M_PM2
    sigma = found.anisotropy_sigma_ev
    assert found.anisotropy_ev == pytest.approx([expected, 0.0], abs=4 * sigma.max())
    assert found.anisotropy_p < 1e-6
    assert found.strength_pm2 == pytest.approx(STRENGTH_PM2, abs=4 * found.sigma_pm2)


def test_oscillations_of_the_lattice_do_not_pass_for_strength():
    """Without noise what is left of them is within the error of the choice of the radius."""
    for near in (1.5, 1.7, 2.0, 2.3):
        found = fit_far_field(displacement(lattice_field()), ELASTIC, near_pm=near * A_PM)
        assert abs(found.strength_pm2 - STRENGTH_PM2) < 0.03 * abs(STRENGTH_PM2)
        assert found.strength_pm2 == pytest.approx(STRENGTH_PM2, abs=2 * found.sigma_pm2)
    default = fit_far_field(displacement(lattice_field()), ELASTIC)
    assert default.strength_pm2 == pytest.approx(STRENGTH_PM2, rel=0.005)
    assert default.radius_effect_pm2 > 0


def test_a_cell_of_fixed_shape_holds_growth_back():
    cells = 9
    held = INCLUSION - np.pi * STRENGTH_PM2 / (cells**2 * MODEL.cell_area_pm2) * SITE
    area = cells**2 * MODEL.cell_area_pm2
    found = fit_far_field(displacement(held), ELASTIC, cell_area_pm2=area)
    assert found.strength_pm2 == pytest.approx(STRENGTH_PM2, abs=1e-6)
    alone = fit_far_field(displacement(held), ELASTIC)
    assert alone.strength_pm2 > 0.8 * STRENGTH_PM2  # too weak by a fifth and more


def test_without_constants_there_is_a_strength_and_nothing_else():
    found = fit_far_field(displacement(INCLUSION + noise(1)))
    assert np.isfinite(found.two_pi_a_pm2).all()
    assert np.isnan(found.relaxation_area_pm2).all()
    assert np.isnan(found.dipole_ev).all()
    assert np.isnan(found.anisotropy_ev).all()


def test_too_few_far_columns_are_refused():
    with pytest.raises(DefectStrainError, match="too few columns beyond 1200 pm"):
        fit_far_field(displacement(INCLUSION), ELASTIC, near_pm=1200.0)
