"""Strain along a line: values, bands, models, and which extremes are claimed."""

from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.strain.displacement import predicted_field
from napari_defectstrain.strain.extrema import find_extrema, largest_of_noise
from napari_defectstrain.strain.field import StrainConfig, strain_field
from napari_defectstrain.strain.interpolation import METHODS
from napari_defectstrain.strain.lines import COMPONENTS, line_profile
from napari_defectstrain.theory.elasticity import inclusion_displacement
from napari_defectstrain.types import DefectStrainError, DisplacementField

A = 330.0
SITE, IS_METAL = ideal_sites(A, 1250.0)
N = 2 * len(SITE)
ELASTIC = inclusion_displacement(SITE, -1700.0, 190.0)
RADIUS = np.hypot(*SITE.T)[:, None]
WAVE = 2.0 * np.sin(RADIUS / 70.0) * SITE / np.maximum(RADIUS, 1) * np.exp(-RADIUS / 800.0)


def field(u, sigma: float = 0.2, rng=None) -> DisplacementField:
    noise = 0 if rng is None else sigma * rng.normal(size=u.shape)
    return DisplacementField("SV", SITE, IS_METAL, u + noise, sigma**2 * np.eye(N))


def model(u) -> DisplacementField:
    return predicted_field("SV", SITE, IS_METAL, u)


def test_a_linear_displacement_along_any_line() -> None:
    gradient = np.array([[0.012, -0.004], [0.007, -0.021]])
    displacement = field(SITE @ gradient.T)
    expected = {
        "exx": 0.012, "eyy": -0.021, "exy": 0.0015, "rotation": 0.0055, "dilation": -0.009,
    }  # fmt: skip
    for component in COMPONENTS:
        profile = line_profile(displacement, component, (-300.0, -500.0), (400.0, 200.0))
        if component in expected:
            np.testing.assert_allclose(profile.value, expected[component], atol=1e-12)
            assert profile.unit == ("rad" if component == "rotation" else "1")
        else:
            along = profile.point_pm @ gradient[COMPONENTS[5:].index(component)]
            np.testing.assert_allclose(profile.value, along, atol=1e-9)
            assert profile.unit == "pm"


def test_positions_count_from_the_point_nearest_the_defect() -> None:
    profile = line_profile(field(ELASTIC), "exx", (-400.0, 100.0), (500.0, 100.0))
    np.testing.assert_allclose(profile.position_pm, profile.point_pm[:, 0], atol=1e-9)
    np.testing.assert_allclose(profile.point_pm[:, 1], 100.0)
    assert profile.position_pm[0] == -400 and profile.position_pm[-1] == 500
    default = line_profile(field(ELASTIC))
    np.testing.assert_allclose(default.point_pm[:, 0], 0)
    np.testing.assert_allclose(default.position_pm, default.point_pm[:, 1])
    # from the lowest to the highest column of the window, cut at their hull
    assert -1250 < default.position_pm[0] < -1000 and 1000 < default.position_pm[-1] < 1250


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_line_is_a_cut_through_the_map(method: str) -> None:
    config = StrainConfig(method=method, step_pm=10.0, radius_pm=700.0, smoothing_pm=40.0)
    displacement = field(ELASTIC + WAVE)
    strain = strain_field(displacement, config)
    profile = line_profile(displacement, "dilation", config=config, step_pm=10.0)
    middle = len(strain.x_pm) // 2
    for cut, values in (
        (strain.components["dilation"][:, middle], profile.value),
        (strain.sigma["dilation"][:, middle], profile.sigma),
    ):
        at = np.isin(strain.y_pm, profile.position_pm.round(6)) & (np.abs(strain.y_pm) < 400)
        along = np.abs(profile.position_pm) < 400
        np.testing.assert_allclose(cut[at][::-1], values[along], rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_bands_are_those_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    displacement = field(ELASTIC)
    samples = ELASTIC + 0.2 * rng.normal(size=(8, *SITE.shape))
    profile = line_profile(displacement, samples_pm=samples)
    each = np.array([line_profile(replace(displacement, u_pm=u), "eyy").value for u in samples])
    np.testing.assert_allclose(profile.low, each.min(axis=0), atol=1e-7)
    np.testing.assert_allclose(profile.high, each.max(axis=0), atol=1e-7)
    np.testing.assert_allclose(profile.bootstrap_std, each.std(axis=0), atol=1e-7)
    with pytest.raises(DefectStrainError, match="samples of the same columns"):
        line_profile(displacement, samples_pm=samples[:, :5])


def test_the_table_holds_what_is_drawn() -> None:
    rng = np.random.default_rng(2)
    samples = ELASTIC + 0.2 * rng.normal(size=(5, *SITE.shape))
    profile = line_profile(field(ELASTIC), samples_pm=samples, models={"Eshelby": model(ELASTIC)})
    table = profile.table()
    assert list(table) == [
        "position_pm", "x_pm", "y_pm", "eyy", "sigma",
        "bootstrap_std", "bootstrap_low", "bootstrap_high", "Eshelby",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["eyy"], profile.value)
    np.testing.assert_allclose(table["Eshelby"], profile.value, atol=1e-12)
    assert "ux_pm" in line_profile(field(ELASTIC), "ux").table()


def test_columns_near_the_line_are_marked() -> None:
    columns = line_profile(field(ELASTIC)).columns
    np.testing.assert_allclose(columns.position_pm, SITE[columns.index, 1])
    np.testing.assert_allclose(columns.offset_pm, 0, atol=1e-9)  # of this line, all lie on it
    # from the defect upwards along y: X, M, then the hexagon's centre, then X again at sqrt(3) a
    up = columns.position_pm > -1
    np.testing.assert_allclose(
        columns.position_pm[up][:4] / A, [0, 1 / np.sqrt(3), np.sqrt(3), 4 / np.sqrt(3)]
    )
    np.testing.assert_array_equal(columns.is_metal[up][:4], [False, True, False, True])
    beside = line_profile(field(ELASTIC), start_pm=(30.0, -500.0), end_pm=(30.0, 500.0)).columns
    np.testing.assert_allclose(beside.offset_pm, 30.0)  # the columns lie to its left


@pytest.mark.slow
def test_the_true_model_is_kept_and_the_wrong_one_rejected() -> None:
    rng = np.random.default_rng(3)
    models = {"Eshelby": model(ELASTIC), "reference": model(ELASTIC + WAVE)}
    profiles = [line_profile(field(ELASTIC + WAVE, 0.2, rng), models=models) for _ in range(15)]
    p = np.array([q.agreements["reference"].p_value for q in profiles])
    assert p.mean() == pytest.approx(0.5, abs=0.25)  # 15 draws: 0.075
    assert max(q.agreements["Eshelby"].p_value for q in profiles) < 1e-4
    assert min(len(q.oscillations("Eshelby")) for q in profiles) >= 2
    assert np.mean([len(q.oscillations("reference")) > 0 for q in profiles]) < 0.2
    # far fewer combinations than points, about two for each column that the line crosses
    rank = profiles[0].agreements["reference"].rank
    assert 15 < rank < len(profiles[0].position_pm) / 3


@pytest.mark.slow
def test_no_oscillation_is_claimed_of_an_elastic_field() -> None:
    rng = np.random.default_rng(4)
    claimed, p = 0, []
    for _ in range(30):
        profile = line_profile(field(ELASTIC, 0.2, rng), models={"Eshelby": model(ELASTIC)})
        claimed += len(profile.oscillations("Eshelby")) > 0
        p.append(profile.agreements["Eshelby"].p_value)
    # by its definition one line in twenty: 1.5 of 30 expected, more than 5 in 4 of 1000
    assert claimed <= 5
    assert np.mean(p) == pytest.approx(0.5, abs=0.16)


def test_extrema_and_their_errors() -> None:
    x = np.linspace(0, 4 * np.pi, 200)
    correlation = np.exp(-((x[:, None] - x) ** 2) / (2 * 0.5**2))
    covariance = 0.01 * correlation
    noise = largest_of_noise(covariance, np.inf, np.random.default_rng(6))
    found = find_extrema(x, 2 * np.sin(x), covariance, noise)
    assert [e.kind for e in found] == ["maximum", "minimum", "maximum", "minimum"]
    np.testing.assert_allclose(
        [e.position_pm for e in found], np.pi * np.array([0.5, 1.5, 2.5, 3.5]), atol=0.04
    )
    # the first stands out from the start by 2, from the minimum by 4; distant errors add
    assert found[0].prominence == pytest.approx(2, abs=2e-3)
    assert found[1].prominence == pytest.approx(4, abs=4e-3)  # the grid misses the peaks by 0.03
    assert found[1].prominence_sigma == pytest.approx(np.sqrt(0.02), rel=1e-3)
    assert found[1].significance == pytest.approx(4 / np.sqrt(0.02), rel=1e-2)
    assert found[1].p_value == pytest.approx(1 / 501)
    assert find_extrema(x, x, covariance, noise) == ()
    # a wiggle of a tenth of a standard error on a peak divides nothing
    wiggle = 2 * np.sin(x) + 0.01 * np.sin(40 * x)
    assert len(find_extrema(x, wiggle, covariance, noise)) == 4


def test_few_windows_make_extremes_less_sure() -> None:
    covariance = line_profile(field(ELASTIC)).covariance
    many = largest_of_noise(covariance, np.inf, np.random.default_rng(7), 200)
    few = largest_of_noise(covariance, 8.0, np.random.default_rng(7), 200)
    assert np.quantile(few, 0.95) > 1.15 * np.quantile(many, 0.95)


def test_a_profile_without_errors_claims_nothing() -> None:
    exact = line_profile(model(ELASTIC), models={"other": model(ELASTIC + WAVE)})
    assert exact.agreements == {} and exact.extrema == () and exact.sigma.max() == 0
    unknown = replace(field(ELASTIC), covariance_pm2=np.full((N, N), np.nan))
    assert np.isnan(line_profile(unknown).sigma).all()


def test_bad_lines_are_refused() -> None:
    displacement = field(ELASTIC)
    with pytest.raises(DefectStrainError, match="expected a line between the columns"):
        line_profile(displacement, "eyy", (1500.0, -500.0), (1500.0, 500.0))
    with pytest.raises(DefectStrainError, match="got 10 pm in steps of 5 pm"):
        line_profile(displacement, "eyy", (0.0, 0.0), (0.0, 10.0))
    with pytest.raises(DefectStrainError, match="at least four steps"):
        line_profile(displacement, step_pm=2000.0)
    with pytest.raises(DefectStrainError, match=r"expected two points \(x, y\)"):
        line_profile(displacement, "eyy", (0.0, np.nan), (0.0, 10.0))
    with pytest.raises(DefectStrainError, match="expected one of exx, eyy"):
        line_profile(displacement, "ezz")
    with pytest.raises(DefectStrainError, match="smoothing_pm: got -60"):
        line_profile(displacement, config=StrainConfig(smoothing_pm=-60.0))
    with pytest.raises(DefectStrainError, match="smooth less or use larger windows"):
        line_profile(displacement, config=StrainConfig(smoothing_pm=900.0))
    near = np.hypot(*SITE.T) < 200
    small = predicted_field("SV", SITE[near], IS_METAL[near], ELASTIC[near])
    with pytest.raises(DefectStrainError, match="use a larger supercell or smaller windows"):
        line_profile(displacement, models={"small": small})
    with pytest.raises(DefectStrainError, match="got 3 columns with a displacement"):
        line_profile(small, config=StrainConfig(columns="metal", smoothing_pm=0.0))
