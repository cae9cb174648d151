"""The simulator: exact places, honest counts, known relaxations, reproducible samples."""

import json
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from napari_defectstrain.io.files import read_file
from napari_defectstrain.simulate.acquisition import (
    ScanConfig,
    contamination,
    expose,
    jitter_lines,
    random_field,
    whole_counts,
)
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image, simulate_series
from napari_defectstrain.simulate.image import column_height, render_columns
from napari_defectstrain.simulate.lookalikes import ALLOYED, LIGHTER
from napari_defectstrain.simulate.probe import ProbeConfig, probe_intensity
from napari_defectstrain.simulate.relaxing import relaxation, superpose
from napari_defectstrain.simulate.samples import SAMPLES
from napari_defectstrain.simulate.structure import (
    PATTERNS,
    CrystalConfig,
    build_crystal,
    lattice_sites,
)
from napari_defectstrain.types import DefectStrainError

SHARP = ProbeConfig(source_fwhm_pm=60.0)


def shifted(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The image moved by (y, x) px, exactly for a band-limited periodic image."""
    fy, fx = (np.fft.fftfreq(n) for n in image.shape)
    phase = np.exp(-2j * np.pi * (fy[:, None] * shift[0] + fx * shift[1]))
    return np.fft.ifft2(np.fft.fft2(image) * phase).real


@pytest.mark.parametrize("pixel_pm", [11.0, 20.74, 37.0])
def test_columns_sit_at_their_exact_sub_pixel_place(pixel_pm: float) -> None:
    # A displacement error d changes the image by d times its slope; 0.01 pm is the bound asked for.
    matrix = np.diag([pixel_pm, -pixel_pm])
    n = 2 * int(1600 / pixel_pm) + 1
    centre = np.full((1, 2), float(n // 2))
    reference = render_columns(centre, np.ones(1), (n, n), matrix, SHARP)
    slopes = np.stack(np.gradient(reference), axis=-1).reshape(-1, 2)
    for offset in np.random.default_rng(3).uniform(-0.5, 0.5, (6, 2)):
        image = render_columns(centre + offset, np.ones(1), (n, n), matrix, SHARP)
        difference = image - shifted(reference, offset)
        error_px = np.linalg.lstsq(slopes, -difference.ravel(), rcond=None)[0]
        assert np.abs(error_px * pixel_pm).max() < 0.01


def test_a_column_conserves_its_weight_and_columns_add() -> None:
    matrix = np.diag([20.0, -20.0])
    place = np.array([[80.2, 79.6], [83.9, 88.1]])
    weight = np.array([1.0, 0.4])
    both = render_columns(place, weight, (161, 161), matrix, SHARP)
    parts = [
        render_columns(place[i : i + 1], weight[i : i + 1], (161, 161), matrix, SHARP)
        for i in range(2)
    ]
    np.testing.assert_allclose(both, sum(parts), atol=1e-9)
    # what lies beyond 1.6 nm of an Airy-like probe is below 0.1 %
    assert both.sum() == pytest.approx(1.4, rel=1e-3)
    peak = render_columns(np.array([[80.0, 80.0]]), np.ones(1), (161, 161), matrix, SHARP).max()
    assert peak == pytest.approx(column_height(matrix, SHARP), rel=1e-4)


def test_the_probe_is_an_airy_disc_without_aberrations() -> None:
    probe = ProbeConfig(focal_spread_pm=0, source_fwhm_pm=1e-3, thermal_pm=0)
    step = 8.0
    intensity = np.fft.fftshift(probe_intensity(probe, np.diag([step, -step]), 512))
    row = intensity[256, 256:]
    # first zero of (2 J1(x)/x)^2 at r = 0.61 lambda / alpha = 101.9 pm
    first_minimum = np.flatnonzero(np.diff(row) > 0)[0] * step
    assert first_minimum == pytest.approx(0.61 * probe.wavelength_pm / 25e-3, abs=step)


def test_shear_of_the_scan_moves_columns_and_probe_alike() -> None:
    matrix = np.array([[20.0, 3.0], [0.0, -20.0]])
    image = render_columns(np.array([[60.0, 60.0]]), np.ones(1), (121, 121), matrix, SHARP)
    y, x = np.mgrid[-60:61, -60:61]
    place = matrix @ np.stack([x.ravel(), y.ravel()])  # (2, n) in the sample
    near = np.hypot(*place) < 250
    second = (image.ravel() * place[:, None] * place[None])[..., near].sum(-1) / image.ravel()[
        near
    ].sum()
    # round in the sample, though sheared in the image
    assert second[0, 1] / second[0, 0] == pytest.approx(0, abs=2e-3)
    assert second[1, 1] / second[0, 0] == pytest.approx(1, abs=2e-3)


def test_counts_have_the_variance_of_their_mean() -> None:
    flat = np.full((400, 400), 0.8)
    scan = ScanConfig(shape=(400, 400), jitter_px=0, read_noise=0, offset_counts=0)
    counts = expose(flat, scan, np.random.default_rng(0)).astype(float)
    expected = 0.8 * 1.24e7 * 0.02074**2 * 0.025
    # standard error of the mean of n counts: sqrt(mean/n); of a variance: mean sqrt(2/n)
    n = counts.size
    assert counts.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / n))
    assert counts.var() == pytest.approx(expected, abs=5 * expected * np.sqrt(2 / n))


def test_counts_beyond_sixteen_bits_are_kept() -> None:
    """They were cut off at 65535 without a word."""
    scan = ScanConfig(shape=(64, 64), jitter_px=0, dose_e_per_nm2=1.24e10)
    counts = expose(np.full((64, 64), 1.0), scan, np.random.default_rng(0))
    expected = 1.24e10 * 0.02074**2 * 0.025 + 100
    assert expected > 65535 and counts.dtype == np.uint32
    assert counts.mean() == pytest.approx(expected, rel=0.01)
    assert whole_counts(np.array([-3.0, 65535.4])).tolist() == [0, 65535]
    assert whole_counts(np.array([65535.4])).dtype == np.uint16
    with pytest.raises(DefectStrainError, match="choose a lower dose or gain"):
        expose(np.ones((64, 64)), scan.replace(gain=1e5), np.random.default_rng(0))


def test_jitter_shifts_lines_by_what_was_drawn() -> None:
    x = np.arange(200)
    line = np.cos(2 * np.pi * x / 12.5)
    shift = np.array([[0.0, 0.4, -1.3]])
    moved = jitter_lines(np.stack([line] * 3), shift)
    expected = np.cos(2 * np.pi * (x - shift[0][:, None]) / 12.5)
    # the rim mirrors, so only the middle is exact
    np.testing.assert_allclose(moved[:, 60:140], expected[:, 60:140], atol=5e-3)


def test_lines_of_a_single_frame_jump_by_whole_pixels() -> None:
    rows, columns = np.indices((60, 80))
    image = 1 + 0.5 * np.cos(2 * np.pi * columns / 7.3 + 0.2 * rows)
    scan = ScanConfig(
        shape=(60, 80), frames=1, jitter_px=1.5, whole_px=True, read_noise=0, offset_counts=0,
        dose_e_per_nm2=1e9,
    )  # fmt: skip
    counts = expose(image, scan, np.random.default_rng(0)).astype(float)
    middle = slice(20, 60)
    moved = np.stack([np.roll(image, k, axis=1)[:, middle] for k in range(-8, 9)])
    counts *= image.mean() / counts.mean()
    error = np.abs(moved - counts[:, middle]).mean(axis=2)  # (shift, row)
    best = error.argmin(axis=0) - 8
    assert error.min(axis=0).max() < 0.03
    assert len(set(best)) >= 4
    assert best.std() == pytest.approx(1.5, rel=0.3)


def test_read_noise_is_correlated_over_what_was_asked_for() -> None:
    scan = ScanConfig(
        shape=(400, 400), pixel_size_pm=20.0, jitter_px=0, read_noise=0.3, noise_pm=120.0,
        dose_e_per_nm2=1e9, offset_counts=20000,
    )  # fmt: skip
    counts = expose(np.zeros((400, 400)), scan, np.random.default_rng(3)).astype(float)
    noise = counts - 20000
    height = scan.dose_e_per_nm2 * 0.02**2 * scan.metal_fraction
    assert noise.std() == pytest.approx(0.3 * height, rel=0.05)
    lag = (noise[:, :-6] * noise[:, 6:]).mean() / noise.var()
    assert lag == pytest.approx(np.exp(-0.5), abs=0.06)


def test_conditions_draw_all_that_people_have() -> None:
    conditions = Conditions(materials=("WSe2", "any"))
    rng = np.random.default_rng(0)
    drawn = [conditions.draw(2000.0, rng) for _ in range(400)]
    assert {c.crystal.pattern for c in drawn} == set(PATTERNS)
    for seen in (
        lambda c: c.processing.smooth_pm > 0,
        lambda c: c.processing.subtract_pm > 0,
        lambda c: c.processing.gamma != 1,
        lambda c: max(c.processing.clip) > 0.005,
        lambda c: c.processing.eight_bit,
        lambda c: c.processing.jpeg_quality > 0,
        lambda c: c.scan.whole_px,
        lambda c: c.scan.noise_pm > 100,
        lambda c: c.scan.contamination > 1,
        lambda c: c.crystal.lookalikes[ALLOYED] > 0.2,
        lambda c: c.crystal.lookalikes[LIGHTER[0]] > 0.05,
        lambda c: c.crystal.material != "WSe2",
    ):
        assert 0 < sum(map(seen, drawn)) < 390
    for config in drawn:
        known = config.cross_sections
        assert bool(known) == (config.crystal.material != "WSe2")
        if known:  # what is shown differs from what is told as it does for known elements
            assert config.weights[4] == pytest.approx(known[0], rel=0.16)
            assert config.weights[3] == pytest.approx(2 * known[1], rel=0.22)
    alike = SimulationConfig.from_dict(json.loads(json.dumps(drawn[0].to_dict())))
    assert alike == drawn[0]
    tame = conditions.as_measured()
    assert all(tame.draw(2000.0, rng).crystal.lookalikes[ALLOYED] <= 0.001 for _ in range(50))


def test_contamination_is_positive_with_its_mean_and_correlation() -> None:
    scan = ScanConfig(contamination=0.2, contamination_nm=1.0, texture=0.0)
    dirt = contamination(scan, np.random.default_rng(1))
    assert dirt.min() >= 0
    # about (21 nm / 1 nm)^2 independent patches of relative spread 0.6: error of the mean 3 %
    assert dirt.mean() == pytest.approx(0.2, rel=0.12)
    field = random_field((512, 512), 12.0, np.random.default_rng(2))
    lag = (field[:, :-12] * field[:, 12:]).mean() / field.var()
    # Gaussian correlation exp(-(d/l)^2 / 2) of a field smoothed with a Gaussian of l/sqrt(2)
    assert lag == pytest.approx(np.exp(-0.5), abs=0.08)


def test_relaxation_gives_the_spacing_change_asked_for() -> None:
    a = 330.0
    ring = np.array([[0, 1], [-np.sqrt(3) / 2, -0.5], [np.sqrt(3) / 2, -0.5]]) * a / np.sqrt(3)
    moved = ring + relaxation(ring, np.full(3, -0.048), a)
    spacing = np.linalg.norm(moved - np.roll(moved, 1, axis=0), axis=1)
    np.testing.assert_allclose(spacing / a - 1, -0.048, atol=1e-12)
    far = relaxation(np.array([[1000.0, 0], [2000.0, 0]]), np.full(2, -0.048), a)
    assert far[0, 0] == pytest.approx(2 * far[1, 0])


def test_superposition_is_the_sum_of_single_fields() -> None:
    rng = np.random.default_rng(5)
    site, is_metal = lattice_sites(330.0, 2500.0)
    hexagon = site[~is_metal][:30] - [0.0, 330.0 / np.sqrt(3)]
    site = np.concatenate([site, hexagon])
    defect = rng.choice(len(site), 60, replace=False)
    change = rng.uniform(-0.08, 0.02, 60)
    direct = relaxation(site[:, None] - site[defect], change, 330.0).sum(axis=1)
    one = partial(relaxation, spacing_change=1.0, lattice_pm=330.0)
    found = superpose(site, defect, change, one, 330.0)
    # both are exact: only rounding differs, far below the displacements of several pm
    np.testing.assert_allclose(found, direct, atol=1e-9)
    assert np.abs(direct).max() > 5


def test_metals_surround_a_chalcogen_at_90_210_330_degrees() -> None:
    site, is_metal = lattice_sites(330.0, 1000.0)
    metal = site[is_metal]
    nearest = metal[np.argsort(np.hypot(*metal.T))[:3]]
    angles = np.sort(np.rad2deg(np.arctan2(nearest[:, 1], nearest[:, 0])) % 360)
    np.testing.assert_allclose(angles, [90, 210, 330], atol=1e-9)


def test_defects_come_in_the_fractions_asked_for() -> None:
    crystal = build_crystal(CrystalConfig(), 9000.0, np.random.default_rng(7))
    n = (~crystal.is_metal).sum()
    for role, fraction in zip(range(2, 6), CrystalConfig().fractions, strict=True):
        expected = n * fraction
        count = (crystal.class_index == role).sum()
        assert count == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert (crystal.class_index[crystal.is_metal] == 0).all()


def test_truth_lies_on_the_columns_of_the_image() -> None:
    scan = ScanConfig(
        shape=(160, 160),
        rotation_deg=25.0,
        shear_x=0.03,
        read_noise=0,
        jitter_px=0,
        contamination=0,
        dose_e_per_nm2=1e9,
    )
    simulated = simulate_image(SimulationConfig(scan=scan), np.random.default_rng(4))
    metal = simulated.position_px[simulated.class_index == 0]
    metal = metal[np.all((metal > 8) & (metal < 151), axis=1)]
    data = simulated.counts.astype(float)
    for y, x in np.round(metal).astype(int):
        patch = data[y - 2 : y + 3, x - 2 : x + 3]
        # the brightest pixel around a metal column is at its rounded place or next to it
        top = np.array(np.unravel_index(patch.argmax(), patch.shape)) - 2
        assert np.abs(top).max() <= 1


def test_rotation_is_counter_clockwise_as_seen() -> None:
    forward = np.linalg.inv(ScanConfig(rotation_deg=30.0, pixel_size_pm=1.0).matrix_pm())
    x, y = forward @ np.array([1.0, 0.0])
    # the lattice's x axis points up to the right: y is down in the image
    assert (x, -y) == pytest.approx((np.cos(np.pi / 6), np.sin(np.pi / 6)))


def test_settings_round_trip_and_reject_nonsense() -> None:
    config = Conditions().draw(5000.0, np.random.default_rng(0))
    assert SimulationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(DefectStrainError, match="unknown setting"):
        SimulationConfig.from_dict({"scna": {}})
    with pytest.raises(DefectStrainError, match="four of XY"):
        CrystalConfig(fractions=(0.9, 0.9, 0, 0))
    with pytest.raises(DefectStrainError, match="dose"):
        ScanConfig(dose_e_per_nm2=0)
    with pytest.raises(DefectStrainError, match="energy_kev: got -1"):
        ProbeConfig(energy_kev=-1)


@pytest.mark.slow
def test_the_bundled_region_is_reproduced_by_its_seed() -> None:
    folder = files("napari_defectstrain.sample_data")
    sample = SAMPLES["one_region"]
    made = next(iter(sample.make(np.random.default_rng(sample.seed))))
    stored = read_file(str(folder / "one_region.tif"))
    # another libm or FFT may round an expectation the other way: a few counts in a million differ
    assert (made.counts != stored.data).mean() < 1e-4
    table = pd.read_csv(str(folder / "one_region.truth.csv"))
    np.testing.assert_allclose(table[["y_px", "x_px"]], made.position_px, atol=1e-4)
    assert (table["class"] == made.truth_table()["class"]).all()


def test_a_series_shares_out_the_dose_and_drifts() -> None:
    scan = ScanConfig(shape=(128, 128), pixel_size_pm=25.0, frames=4, jitter_px=0.0)
    config = SimulationConfig(scan=scan)
    series = simulate_series(config, np.random.default_rng(3), drift_pm_per_s=2000.0, dwell_s=2e-6)
    assert series.counts.shape == (4, 128, 128)
    signal = series.counts.astype(float) - scan.offset_counts
    single = simulate_image(config, np.random.default_rng(3)).counts - scan.offset_counts
    # mean brightness per electron is the same; defects and contamination differ from draw to draw
    assert signal.sum(axis=0).mean() == pytest.approx(single.mean(), rel=0.15)
    # 2000 pm/s for 128 x 128 x 2 us = 66 pm or 2.6 px a frame, along a fixed direction
    drift = np.array(series.metadata["drift_pm_yx"])
    steps = np.diff(drift, axis=0)
    assert np.hypot(*steps.T) == pytest.approx(np.full(3, 65.5), abs=0.1)
    first, last = (np.fft.fft2(f - f.mean()) for f in (signal[0], signal[3]))
    peak = np.fft.ifft2(np.conj(first) * last).real
    # cross-correlation repeats with the lattice: look near the expected place only
    expected = np.rint((drift[3] - drift[0]) / 25.0).astype(int)
    near = [
        peak[(expected[0] + i) % 128, (expected[1] + j) % 128]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    assert max(near) > 0.8 * peak.max()


@pytest.mark.slow
def test_the_bundled_drift_series_is_reproduced_by_its_seed() -> None:
    sample = SAMPLES["drift_series"]
    made = next(sample.make(np.random.default_rng(sample.seed)))
    bundled = read_file(str(files("napari_defectstrain.sample_data") / "drift_series.tif"))
    np.testing.assert_array_equal(made.counts, bundled.data)
