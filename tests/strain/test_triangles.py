"""Strain of single triangles of columns."""

import numpy as np
import pytest

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.strain.triangles import triangle_strain
from napari_defectstrain.types import STRAIN_COMPONENTS, DefectStrainError, DisplacementField

A = 330.0


def field(u, radius: float = 900.0, covariance=None) -> DisplacementField:
    site, is_metal = ideal_sites(A, radius)
    if covariance is None:
        covariance = np.zeros((2 * len(site), 2 * len(site)))
    return DisplacementField("SV", site, is_metal, u(site), covariance)


@pytest.mark.parametrize("sublattice", ["metal", "chalcogen"])
def test_a_linear_displacement_gives_its_matrix_in_every_triangle(sublattice: str) -> None:
    gradient = np.array([[0.012, -0.004], [0.007, -0.021]])
    found = triangle_strain(field(lambda r: r @ gradient.T + [3.0, -1.0]), sublattice)
    expected = {
        "exx": 0.012, "eyy": -0.021, "exy": 0.0015, "rotation": 0.0055, "dilation": -0.009,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(found.components[name], value, atol=1e-14)
        np.testing.assert_array_equal(found.sigma[name], 0)


def test_triangles_are_all_of_those_of_nearest_neighbours() -> None:
    displacement = field(lambda r: 0 * r)
    found = triangle_strain(displacement)
    edges = found.vertices_pm - np.roll(found.vertices_pm, 1, axis=1)
    np.testing.assert_allclose(np.linalg.norm(edges, axis=2), A)
    assert displacement.is_metal[found.vertex].all()
    np.testing.assert_array_equal(displacement.site_pm[found.vertex], found.vertices_pm)
    # counted by hand: every chalcogen or hollow site whose three metals are within the window
    site, is_metal = displacement.site_pm, displacement.is_metal
    for up, sign in ((True, 1), (False, -1)):
        centres, _ = ideal_sites(A, 1400.0)
        corner = A / np.sqrt(3) * np.array([[0, 1], [-np.sqrt(0.75), -0.5], [np.sqrt(0.75), -0.5]])
        chalcogen = centres[~ideal_sites(A, 1400.0)[1]]
        centre = chalcogen if up else chalcogen - [0, A / np.sqrt(3)]  # hexagon centres
        vertices = centre[:, None] + sign * corner
        gap = np.linalg.norm(vertices[:, :, None] - site[is_metal], axis=3).min(axis=2)
        assert (found.points_up == up).sum() == (gap < 1).all(axis=1).sum()
    # the defect's own triangle of metals points up
    own = np.hypot(*found.centre_pm.T) < 1
    assert own.sum() == 1 and found.points_up[own].all()


def test_counter_clockwise_vertices() -> None:
    found = triangle_strain(field(lambda r: 0 * r), "chalcogen")
    a, b = (found.vertices_pm[:, k] - found.vertices_pm[:, 0] for k in (1, 2))
    np.testing.assert_allclose(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], A**2 * np.sqrt(0.75))


def test_the_core_is_the_change_of_its_spacing() -> None:
    ring = A / np.sqrt(3)
    found = triangle_strain(field(lambda r: -0.05 * r * (np.hypot(*r.T) < 1.01 * ring)[:, None]))
    own = np.hypot(*found.centre_pm.T) < 1
    # all three spacings shrink by 5 %: isotropic, the area by 10 %
    assert found.components["exx"][own] == pytest.approx(-0.05)
    assert found.components["eyy"][own] == pytest.approx(-0.05)
    assert found.components["dilation"][own] == pytest.approx(-0.1)
    assert found.components["rotation"][own] == pytest.approx(0, abs=1e-15)


def test_dilation_is_the_change_of_area() -> None:
    rng = np.random.default_rng(2)
    displacement = field(lambda r: 1e-4 * rng.normal(size=r.shape))
    found = triangle_strain(displacement)

    def area(place):
        a, b = (place[:, k] - place[:, 0] for k in (1, 2))
        return 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])

    moved = found.vertices_pm + displacement.u_pm[found.vertex]
    change = area(moved) / area(found.vertices_pm) - 1
    # second order: the square of displacements of 1e-4 pm in 330 pm
    np.testing.assert_allclose(found.components["dilation"], change, atol=1e-12)


@pytest.mark.slow
def test_errors_are_those_of_repeated_measurements() -> None:
    rng = np.random.default_rng(1)
    site, is_metal = ideal_sites(A, 700.0)
    n = 2 * len(site)
    root = 0.2 * (np.eye(n) + rng.normal(0, 0.5, (n, n)) / np.sqrt(n))
    draws = [
        triangle_strain(
            DisplacementField("SV", site, is_metal, (root @ z).reshape(-1, 2), root @ root.T)
        )
        for z in rng.normal(size=(400, n))
    ]
    for name in STRAIN_COMPONENTS:
        ratio = np.std([d.components[name] for d in draws], axis=0) / draws[0].sigma[name]
        np.testing.assert_allclose(ratio, 1, atol=0.16)  # 400 draws: 3.5 %


def test_triangles_around_a_missing_column_are_left_out() -> None:
    displacement = field(lambda r: 0.01 * r)
    whole = triangle_strain(displacement, "chalcogen")
    displacement.u_pm[0] = np.nan
    found = triangle_strain(displacement, "chalcogen")
    assert len(found.vertex) == len(whole.vertex) - 6
    np.testing.assert_allclose(found.components["exx"], 0.01)


def test_bad_input() -> None:
    with pytest.raises(DefectStrainError, match="expected metal or chalcogen"):
        triangle_strain(field(lambda r: r), "both")
    with pytest.raises(DefectStrainError, match="got 1 chalcogen columns"):
        triangle_strain(field(lambda r: r, 200.0), "chalcogen")
