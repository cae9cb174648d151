"""Strain of displacement fields whose strain is known."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.strain.bands import smoothing_scan, strain_samples
from napari_defectstrain.strain.field import (
    StrainConfig,
    gradient_components,
    point_operators,
    significant,
    strain_field,
)
from napari_defectstrain.strain.interpolation import (
    METHODS,
    derivative_operators,
    grid_points,
    interpolation_operators,
)
from napari_defectstrain.strain.sublattices import sublattice_shift
from napari_defectstrain.types import STRAIN_COMPONENTS, DefectStrainError, DisplacementField

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


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", ["rbf", "cubic"])
def test_turning_the_frame_turns_the_tensor(method: str) -> None:
    # columns that map onto themselves when turned by 120 degrees, and a field turned with them
    angle = 2 * np.pi / 3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def u(r):
        return np.stack([2e-6 * r[:, 0] ** 2, 1e-6 * r[:, 0] * r[:, 1]], axis=1)

    config = StrainConfig(method=method)
    site, _ = ideal_sites(A, 1100.0)
    place = np.random.default_rng(2).uniform(-500, 500, (20, 2))

    def tensors(values, points):
        _, by_x, by_y = point_operators(site, points, config)
        e = gradient_components(by_x, by_y, values.reshape(-1, 1))
        return np.array([[e["exx"], e["exy"]], [e["exy"], e["eyy"]]])[..., 0].transpose(2, 0, 1), e

    before, first = tensors(u(site), place)
    after, second = tensors(u(site @ turn) @ turn.T, place @ turn.T)
    np.testing.assert_allclose(after, turn @ before @ turn.T, atol=1e-12)
    np.testing.assert_allclose(second["rotation"], first["rotation"], atol=1e-12)
    np.testing.assert_allclose(second["dilation"], first["dilation"], atol=1e-12)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kernel"), [("rbf", "thin_plate_spline"), ("cubic", "cubic")])
def test_smoothing_in_closed_form_is_that_of_a_fine_grid(method: str, kernel: str) -> None:
    site, _ = ideal_sites(A, 700.0)
    value = np.random.default_rng(3).normal(size=len(site))
    x = np.arange(-40, 41) * 10.0
    exact = interpolation_operators(site, grid_points(x, x[::-1]), method, 40.0)
    fine = np.arange(-320, 321) * 2.5
    grid = np.stack(np.meshgrid(fine, fine[::-1]), axis=2)
    spline = RBFInterpolator(site, value, kernel=kernel)(grid.reshape(-1, 2))
    smooth = gaussian_filter(spline.reshape(grid.shape[:2]), 16.0, truncate=8)
    to_y, to_x = np.gradient(smooth, -2.5, 2.5)
    rows = slice(160, 481, 4)
    # differences over 5 pm of a field that bends over 40 pm: (2.5 / 40)^2 / 6 = 7e-4 of it
    shape = (len(x), len(x))
    for operator, expected in zip(exact, (smooth, to_x, to_y), strict=True):
        atol = 2e-3 * np.abs(expected[rows, rows]).max()
        got = (operator @ value).reshape(shape)
        np.testing.assert_allclose(got, expected[rows, rows], atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_points_and_grids_agree(method: str) -> None:
    site, _ = ideal_sites(A, 700.0)
    value = np.random.default_rng(4).normal(size=len(site))
    x = np.arange(-60, 61) * 10.0  # the grid that griddata uses for points, too
    by_x, by_y = derivative_operators(site, x, x[::-1], method, 30.0)
    at = np.array([[100.0, -200.0], [0.0, 50.0]])
    _, point_x, point_y = interpolation_operators(site, at, method, 30.0)
    index = [(20 + 60) * 121 + 70, (60 - 5) * 121 + 60]
    np.testing.assert_allclose(point_x @ value, by_x[index] @ value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(point_y @ value, by_y[index] @ value, rtol=1e-9, atol=1e-12)


def test_zero_smoothing_passes_through_the_columns() -> None:
    site, _ = ideal_sites(A, 700.0)
    for method in ("rbf", "cubic"):
        value = interpolation_operators(site, site, method, 0.0).value
        np.testing.assert_allclose(value, np.eye(len(site)), atol=1e-9)


@pytest.mark.slow
def test_columns_beyond_a_small_map_tell_of_its_rim() -> None:
    site, _ = ideal_sites(A, 1150.0)
    found = {}
    for radius in (400.0, 300.0):
        x = np.arange(-radius, radius + 1, 20.0)
        by_x, by_y = derivative_operators(site, x, x[::-1], "griddata", 60.0)
        found[radius] = by_x.reshape(len(x), len(x), -1)
        np.testing.assert_allclose(by_x @ (0.01 * site[:, 0]), 0.01, atol=1e-6)
        np.testing.assert_allclose(by_y @ (0.01 * site[:, 1]), 0.01, atol=1e-6)
    # a map is that part of a larger one
    np.testing.assert_allclose(found[400.0][5:-5, 5:-5], found[300.0], atol=1e-12)


def test_griddata_breaks_a_mirror_symmetry_that_splines_keep() -> None:
    def u(r):  # mirror-symmetric about the y axis, 9 pm at the nearest metals, as beside an SV
        r2 = np.maximum((r**2).sum(axis=1), 190.0**2)
        return -9.0 * 190 * r * (1 + 0.3 * r[:, 1:] / 400) / r2[:, None]

    rms, peak = {}, {}
    for method in METHODS:
        strain = strain_field(field(u), StrainConfig(method=method, smoothing_pm=0))
        exx = strain.components["exx"]
        false = ((exx - exx[:, ::-1]) / 2)[inner(strain, 700)]
        rms[method], peak[method] = np.sqrt(np.mean(false**2)), np.abs(false).max()
    assert max(rms["rbf"], rms["cubic"]) < 1e-12
    # strain out of nothing, from the arbitrary diagonals of the triangles: 0.3 % rms, 2 % at most;
    # smoothing by 60 pm leaves 0.14 % and 0.7 %
    assert rms["griddata"] == pytest.approx(0.0032, abs=0.001)
    assert peak["griddata"] == pytest.approx(0.018, abs=0.006)


@pytest.mark.slow
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
    with pytest.raises(DefectStrainError, match="expected one of rbf, cubic, griddata"):
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


def test_smoothing_beyond_the_window_and_huge_maps_are_refused() -> None:
    near = field(lambda r: r, radius=700.0)
    with pytest.raises(DefectStrainError, match="smoothing of sigma 400 pm, expected at most 3"):
        strain_field(near, StrainConfig(smoothing_pm=400.0))
    with pytest.raises(DefectStrainError, match="use larger steps or a smaller map"):
        strain_field(near, StrainConfig(step_pm=1.0))


def test_bootstrap_maps_are_the_maps_of_each_sample() -> None:
    rng = np.random.default_rng(11)
    displacement = field(lambda r: -1e-3 * r, radius=700.0)
    samples = displacement.u_pm + rng.normal(0, 0.4, (40, *displacement.u_pm.shape))
    config = StrainConfig(step_pm=50.0)
    bands = strain_samples(displacement, samples, config, (50.0,))
    maps = np.array(
        [strain_field(replace(displacement, u_pm=u), config).components["exy"] for u in samples]
    )
    # single precision: 1e-7 of the strain of single columns, 1e-2
    atol = 1e-8
    np.testing.assert_allclose(bands.low["exy"], maps.min(axis=0), atol=atol)
    np.testing.assert_allclose(bands.high["exy"], maps.max(axis=0), atol=atol)
    np.testing.assert_allclose(bands.std["exy"], maps.std(axis=0), atol=atol)
    np.testing.assert_allclose(bands.bands["exy"][0], np.median(maps, axis=0), atol=atol)
    assert bands.n_samples == 40
    with pytest.raises(DefectStrainError, match=r"expected \(samples, \d+, 2\)"):
        strain_samples(displacement, samples[:, 1:], config)
    samples[3, 4] = np.nan
    with pytest.raises(DefectStrainError, match="expected samples of the same fit"):
        strain_samples(displacement, samples, config)


def test_the_scatter_of_many_samples_is_the_exact_error() -> None:
    rng = np.random.default_rng(12)
    site, _ = ideal_sites(A, 700.0)
    displacement = field(lambda r: 0 * r, 700.0, 0.09 * np.eye(2 * len(site)))
    config = StrainConfig(step_pm=100.0)
    bands = strain_samples(displacement, rng.normal(0, 0.3, (2000, *site.shape)), config)
    strain = strain_field(displacement, config)
    for name in STRAIN_COMPONENTS:
        ratio = bands.std[name] / strain.sigma[name]
        # 2000 draws: 1.6 % at a point; of about 150 points the largest is at 3 sigma
        assert np.nanmax(np.abs(ratio - 1)) < 0.07
        inner_half = (bands.bands[name][2] - bands.bands[name][1]) / 2 / strain.sigma[name]
        assert np.nanmean(inner_half) == pytest.approx(1, abs=0.03)


def test_significance_by_point() -> None:
    site, _ = ideal_sites(A, 700.0)
    displacement = field(lambda r: 0.01 * r * [1, 0], 700.0, 0.3**2 * np.eye(2 * len(site)))
    strain = strain_field(displacement)
    masks = significant(strain)
    inside = np.isfinite(strain.components["exx"])
    assert not masks["exx"][~inside].any()
    expected = 2 * strain.sigma["exx"] < 0.01
    np.testing.assert_array_equal(masks["exx"][inside], expected[inside])
    assert masks["exx"][inside].mean() > 0.5 and not masks["eyy"].any()
    assert strain.fwhm_pm == pytest.approx(141.3, abs=0.1)
    with pytest.raises(DefectStrainError, match="got 0 sigma"):
        significant(strain, 0.0)


@pytest.mark.slow
def test_scan_of_the_smoothing_length() -> None:
    site, _ = ideal_sites(A, 900.0)

    def core(r):  # contracted within the metal ring
        return -9.0 * 190 * r / np.maximum((r**2).sum(axis=1), 190.0**2)[:, None]

    lengths = [0.0, 60.0, 120.0]
    scan = smoothing_scan(field(core, 900.0, 0.04 * np.eye(2 * len(site))), lengths)
    single = strain_field(field(core, 900.0, 0.04 * np.eye(2 * len(site))))
    at = np.nanargmin(single.components["dilation"])
    assert scan.lowest["dilation"][1] == single.components["dilation"].ravel()[at]
    assert scan.lowest_sigma["dilation"][1] == pytest.approx(single.sigma["dilation"].ravel()[at])
    np.testing.assert_allclose(scan.fwhm_pm, np.array(lengths) * 2.3548, rtol=1e-4)
    assert (np.diff(scan.lowest["dilation"]) > 0).all()  # ever weaker, and ever surer
    for falling in (scan.rms, scan.noise_rms, scan.lowest_sigma):
        assert (np.diff(falling["dilation"]) < 0).all()
    with pytest.raises(DefectStrainError, match="got no length"):
        smoothing_scan(field(core), [])
    with pytest.raises(DefectStrainError, match="smoothing_pm: got -5"):
        smoothing_scan(field(core), [-5.0])


def test_the_error_of_the_rms_is_that_of_repeated_measurements() -> None:
    rng = np.random.default_rng(5)
    site, is_metal = ideal_sites(A, 700.0)
    u, covariance = 0.01 * site, 0.04 * np.eye(2 * len(site))
    config = StrainConfig(step_pm=50.0)
    scans = [
        smoothing_scan(
            DisplacementField("SV", site, is_metal, u + rng.normal(0, 0.2, u.shape), covariance),
            [60.0],
            config,
        )
        for _ in range(150)
    ]
    found = np.std([s.rms["dilation"][0] for s in scans])
    # 150 draws: 5.8 %
    assert found == pytest.approx(scans[0].rms_sigma["dilation"][0], rel=0.2)


def test_a_relative_shift_of_the_sublattices_is_told_from_strain() -> None:
    gradient = np.array([[0.012, -0.004], [0.007, -0.021]])
    shift = np.array([1.5, -0.5])
    plain = field(lambda r: r @ gradient.T, 900.0, 0.01 * np.eye(2 * len(ideal_sites(A, 900.0)[0])))
    moved = plain.u_pm + np.where(plain.is_metal[:, None], 0.0, shift)
    found = sublattice_shift(replace(plain, u_pm=moved))
    np.testing.assert_allclose(found.shift_pm, np.tile(shift, (len(found.site_pm), 1)), atol=1e-9)
    np.testing.assert_allclose(found.mean_pm, shift, atol=1e-9)
    assert found.is_significant and not sublattice_shift(plain).is_significant
    # maps from both take it for strain, maps from one don't see it
    both = strain_field(replace(plain, u_pm=moved))
    one = strain_field(replace(plain, u_pm=moved), StrainConfig(columns="metal"))
    middle = inner(both, 400)
    assert np.abs(both.components["exx"][middle] - 0.012).max() > 1e-3
    known = np.isfinite(one.components["exx"])
    np.testing.assert_allclose(one.components["exx"][known], 0.012, atol=1e-10)


@pytest.mark.slow
def test_the_error_of_the_sublattices_shift_is_that_of_repeated_measurements() -> None:
    rng = np.random.default_rng(6)
    site, is_metal = ideal_sites(A, 900.0)
    root = rng.normal(0, 0.05, (2 * len(site), 2 * len(site)))
    covariance = root @ root.T
    draws = [
        sublattice_shift(
            DisplacementField("SV", site, is_metal, (root @ z).reshape(-1, 2), covariance)
        )
        for z in rng.normal(size=(300, 2 * len(site)))
    ]
    ratio = np.std([d.mean_pm for d in draws], axis=0) / draws[0].mean_sigma_pm
    np.testing.assert_allclose(ratio, 1, atol=0.15)  # 300 draws: 4 %
    assert np.sqrt(np.mean([d.rms_pm**2 for d in draws])) == pytest.approx(
        draws[0].noise_rms_pm, rel=0.1
    )


def test_the_examples_of_the_conventions_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "conventions.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    site = ideal_sites(A, 1100.0)[0]
    measured = field(lambda r: 0.004 * r, 1100.0, 0.01 * np.eye(2 * len(site)))
    result = SimpleNamespace(measurements={"SV": SimpleNamespace(displacement=measured)})
    names = {"result": result}
    for example in examples:
        exec(example, names)
    np.testing.assert_allclose(names["left"].gradient, 0.004 * np.eye(2), atol=1e-12)
    assert not names["shift"].is_significant and "False" in capsys.readouterr().out


def test_sublattices_need_both() -> None:
    displacement = field(lambda r: r)
    with pytest.raises(DefectStrainError, match="got 3 metal columns"):
        sublattice_shift(field(lambda r: r, 200.0))
    metal = displacement.is_metal
    alone = DisplacementField(
        "SV",
        displacement.site_pm[metal],
        metal[metal],
        displacement.u_pm[metal],
        np.zeros((2 * metal.sum(), 2 * metal.sum())),
    )
    with pytest.raises(DefectStrainError, match="got no chalcogen column"):
        sublattice_shift(alone)
