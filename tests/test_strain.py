"""Strain of displacement fields whose strain is known."""

import json

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter

from napari_defectstrain.lattice import ideal_sites
from napari_defectstrain.strain import StrainConfig, derivative_operators, strain_field
from napari_defectstrain.types import DefectStrainError, DisplacementField

A = 330.0


def field(u, radius: float = 1100.0, covariance=None) -> DisplacementField:
    site, is_metal = ideal_sites(A, radius)
    values = u(site)
    if covariance is None:
        covariance = np.zeros((2 * len(site), 2 * len(site)))
    return DisplacementField("SV", site, is_metal, values, covariance)


def inner(strain, radius_pm: float):
    x, y = np.meshgrid(strain.x_pm, strain.y_pm)
    return np.hypot(x, y) < radius_pm


@pytest.mark.parametrize("method", ["rbf", "griddata"])
@pytest.mark.parametrize("smoothing", [0.0, 60.0])
def test_a_linear_displacement_gives_its_matrix(method: str, smoothing: float) -> None:
    gradient = np.array([[0.012, -0.004], [0.007, -0.021]])  # du_i / dx_j
    strain = strain_field(
        field(lambda r: r @ gradient.T), StrainConfig(method=method, smoothing_pm=smoothing)
    )
    # the nearest-value rim of griddata is smoothed into the map; far inside it is exact
    middle = inner(strain, 600)
    expected = {
        "exx": 0.012, "eyy": -0.021, "exy": 0.0015, "rotation": 0.0055, "dilation": -0.009,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(strain.components[name][middle], value, atol=1e-8)


def test_a_translation_and_a_small_rotation_are_no_strain() -> None:
    turn = 0.003
    strain = strain_field(field(lambda r: np.array([3.0, -2.0]) + turn * r[:, ::-1] * [-1, 1]))
    middle = np.isfinite(strain.components["exx"])
    for name in ("exx", "eyy", "exy", "dilation"):
        np.testing.assert_allclose(strain.components[name][middle], 0, atol=1e-10)
    np.testing.assert_allclose(strain.components["rotation"][middle], turn, atol=1e-10)


def test_turning_the_frame_turns_the_tensor() -> None:
    # a field with the lattice's own symmetry axes turned by 120 degrees: same columns, other values
    angle = 2 * np.pi / 3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def u(r):
        return np.stack([2e-6 * r[:, 0] ** 2, 1e-6 * r[:, 0] * r[:, 1]], axis=1)

    config = StrainConfig(step_pm=10)
    first = strain_field(field(u), config)
    turned = strain_field(field(lambda r: u(r @ turn) @ turn.T), config)

    def tensor(strain, place):
        row = np.abs(strain.y_pm - place[1]).argmin()
        column = np.abs(strain.x_pm - place[0]).argmin()
        c = {k: v[row, column] for k, v in strain.components.items()}
        return np.array([[c["exx"], c["exy"]], [c["exy"], c["eyy"]]])

    place = np.array([200.0, 0.0])
    expected = turn @ tensor(first, place) @ turn.T
    # the turned place (-100, 173.2) lies 3.2 pm off the grid, where e changes by 4e-6 per pm
    np.testing.assert_allclose(tensor(turned, turn @ place), expected, atol=2e-5)


def test_a_point_source_has_no_dilation_outside_its_core() -> None:
    # u = s r/r^2 outside the metal ring; 9 pm on the ring is an SV-like defect
    ring = A / np.sqrt(3)

    def u(r):
        r2 = np.maximum((r**2).sum(axis=1), ring**2)
        return -9.0 * ring * r / r2[:, None]

    strain = strain_field(field(u, 1600.0), StrainConfig(smoothing_pm=0))
    x, y = np.meshgrid(strain.x_pm, strain.y_pm)
    far = (np.hypot(x, y) > 700) & (np.hypot(x, y) < 1200)
    inside = np.hypot(x, y) < 60
    core = strain.components["dilation"][inside].mean()
    assert core < -0.05
    # columns 190 pm apart can't follow 1/r exactly: a few thousandths of the core's are left
    assert np.abs(strain.components["dilation"][far]).max() < 0.01 * abs(core)


def test_smoothing_in_closed_form_is_that_of_a_fine_grid() -> None:
    site, _ = ideal_sites(A, 700.0)
    value = np.random.default_rng(3).normal(size=len(site))
    x = np.arange(-40, 41) * 10.0
    by_x, by_y = derivative_operators(site, x, x[::-1], "rbf", 40.0)
    fine = np.arange(-320, 321) * 2.5
    grid = np.stack(np.meshgrid(fine, fine[::-1]), axis=2)
    spline = RBFInterpolator(site, value, kernel="thin_plate_spline")(grid.reshape(-1, 2))
    smooth = gaussian_filter(spline.reshape(grid.shape[:2]), 16.0, truncate=8)
    to_y, to_x = np.gradient(smooth, -2.5, 2.5)
    rows = slice(160, 481, 4)
    # differences over 5 pm of a field that bends over 40 pm: (2.5 / 40)^2 / 6 = 7e-4 of it
    shape = (len(x), len(x))
    atol = 2e-3 * np.abs(to_x[rows, rows]).max()
    np.testing.assert_allclose((by_x @ value).reshape(shape), to_x[rows, rows], atol=atol)
    np.testing.assert_allclose((by_y @ value).reshape(shape), to_y[rows, rows], atol=atol)


def test_griddata_breaks_a_mirror_symmetry_that_rbf_keeps() -> None:
    def u(r):  # even in x for uy, odd for ux: mirror-symmetric about the y axis
        r2 = (r**2).sum(axis=1) + 150.0**2
        return -9.0 * 190 * r * (1 + 0.3 * r[:, 1:] / 400) / r2[:, None]

    asymmetry = {}
    for method in ("rbf", "griddata"):
        strain = strain_field(field(u), StrainConfig(method=method))
        exx = strain.components["exx"]
        middle = inner(strain, 700)
        asymmetry[method] = np.sqrt(np.mean(((exx - exx[:, ::-1]) / 2)[middle] ** 2))
    assert asymmetry["rbf"] < 1e-12
    # arbitrary diagonals of the triangles: strain out of nothing, the size of the paper's errors
    assert 1e-4 < asymmetry["griddata"] < 1e-2


def test_errors_are_those_of_repeated_measurements() -> None:
    rng = np.random.default_rng(8)
    site, is_metal = ideal_sites(A, 700.0)
    root = rng.normal(0, 0.3, (2 * len(site), 2 * len(site))) / np.sqrt(2 * len(site))
    covariance = root @ root.T + 0.04 * np.eye(2 * len(site))
    factor = np.linalg.cholesky(covariance)
    config = StrainConfig(step_pm=50)
    first = strain_field(
        DisplacementField("SV", site, is_metal, np.zeros_like(site), covariance), config
    )
    draws = []
    for _ in range(120):
        u = (factor @ rng.standard_normal(2 * len(site))).reshape(-1, 2)
        sample = strain_field(DisplacementField("SV", site, is_metal, u, covariance), config)
        draws.append(sample.components["dilation"])
    spread = np.std(draws, axis=0)
    known = np.isfinite(spread)
    # 120 draws give a standard deviation to 6.5 %; the mean over the map does better
    ratio = (spread / first.sigma["dilation"])[known]
    assert ratio.mean() == pytest.approx(1, abs=0.06)
    assert np.abs(ratio - 1).max() < 0.35


def test_columns_without_a_place_are_left_out_and_inputs_stay() -> None:
    displacement = field(lambda r: 1e-3 * r)
    displacement.u_pm[0] = np.nan
    displacement.covariance_pm2[:2] = displacement.covariance_pm2[:, :2] = np.nan
    before = displacement.u_pm.copy()
    strain = strain_field(displacement)
    middle = inner(strain, 500)
    np.testing.assert_allclose(strain.components["exx"][middle], 1e-3, atol=1e-9)
    np.testing.assert_allclose(strain.sigma["exx"][middle], 0)
    np.testing.assert_array_equal(displacement.u_pm, before)
    assert np.isnan(strain.components["exx"][0, 0])  # the corner lies outside the columns


def test_settings() -> None:
    config = StrainConfig(method="griddata", smoothing_pm=0, columns="metal")
    assert StrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert StrainConfig.from_dict(StrainConfig(radius_pm=500.0).to_dict()).radius_pm == 500.0
    with pytest.raises(DefectStrainError, match="expected one of rbf, griddata"):
        StrainConfig(method="kriging")
    with pytest.raises(DefectStrainError, match="smoothing_pm: got -1"):
        StrainConfig(smoothing_pm=-1)
    with pytest.raises(DefectStrainError, match="radius_pm: got 5"):
        StrainConfig(radius_pm=5)
    with pytest.raises(DefectStrainError, match="got unknown setting"):
        StrainConfig.from_dict({"smothing_pm": 60.0})


def test_too_few_columns_are_refused() -> None:
    with pytest.raises(DefectStrainError, match="got 3 columns"):
        strain_field(field(lambda r: r, radius=200.0), StrainConfig(columns="metal"))
