"""The torch renderer: the same images, labels and noise as the numpy path."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from napari_defectstrain.detect.finding.prepare import normalise, resample
from napari_defectstrain.detect.network.config import NetworkConfig, TrainConfig
from napari_defectstrain.detect.training.fourier_columns import (
    _packed,
    column_coefficients,
    sampled,
)
from napari_defectstrain.detect.training.loop import (
    SimulatedWindows,
    draw_example,
    rendered,
    train,
)
from napari_defectstrain.detect.training.processed import processed
from napari_defectstrain.detect.training.render_jobs import RenderJob, draw_job, grid_points, job_of
from napari_defectstrain.detect.training.renderer import (
    _contamination,
    _grain,
    _jitter,
    _noise_filter,
    _normalised,
    _resampled,
    _slow_field,
    exposures,
    packed_batches,
    render_batch,
)
from napari_defectstrain.detect.training.windows import RIM_PX, draw_window
from napari_defectstrain.io.files import write_tiff
from napari_defectstrain.simulate.acquisition import ScanConfig, expose, random_field
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.simulate.dataset import SimulationConfig, crystal_for, crystal_image
from napari_defectstrain.simulate.lookalikes import LOOKALIKES
from napari_defectstrain.simulate.probe import ProbeConfig
from napari_defectstrain.simulate.processing import ProcessingConfig, process
from napari_defectstrain.simulate.structure import Crystal, CrystalConfig
from napari_defectstrain.types import DefectStrainError

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


WINDOW = 64
FIELD_PM = (WINDOW + 2 * RIM_PX) * 40.0
ABERRATED = ProbeConfig(
    energy_kev=60.0, semi_angle_mrad=31.0, c1_pm=-2500.0, a1_pm=900.0, a1_deg=20.0, b2_nm=50.0,
    b2_deg=200.0, a2_nm=60.0, a2_deg=75.0, c3_nm=800.0, c5_mm=0.4, source_fwhm_pm=70.0,
)  # fmt: skip
UPRIGHT = CrystalConfig(fractions=(0.1, 0.05, 0.1, 0.05))
LEANING = CrystalConfig(
    fractions=(0.1, 0.05, 0.1, 0.05), disorder_pm=4.0, lookalikes=(0.01,) * len(LOOKALIKES),
    tilt_mrad=40.0, tilt_deg=70.0, ripple_mrad=15.0,
)  # fmt: skip
CASES = {
    "paper": (20.74, (0.0, 0.0), 0.0, ProbeConfig(), UPRIGHT),
    "fine, sheared": (12.5, (0.05, -0.03), 31.0, ProbeConfig(c1_pm=1500.0), LEANING),
    "aberrated": (27.3, (-0.02, 0.04), 200.0, ABERRATED, LEANING),
    "coarse": (41.0, (0.02, 0.02), 77.0, ProbeConfig(a1_pm=1200.0, source_fwhm_pm=60.0), UPRIGHT),
}


def clean_images(
    jobs: list[RenderJob], device: torch.device, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """Noise-free images, `(n, n)`, in units of the height of an isolated metal column."""
    with torch.no_grad():
        found = [
            image
            for b in packed_batches(jobs, device, dtype)
            for image in sampled(b, column_coefficients(b), None).unbind()
        ]
    sides = [job.scan.shape[0] for job in jobs]
    return [image[:n, :n] for image, n in zip(found, sides, strict=True)]


def scene(name: str, **changes: object) -> tuple[RenderJob, SimulationConfig, Crystal, np.ndarray]:
    """A window's job and what the numpy path needs to make the same."""
    pixel, (shear_x, shear_y), rotation, probe, crystal_config = CASES[name]
    side = int(np.ceil(FIELD_PM / pixel))
    scan = ScanConfig(
        shape=(side, side), pixel_size_pm=pixel, rotation_deg=rotation, shear_x=shear_x,
        shear_y=shear_y,
    ).replace(**changes)  # fmt: skip
    config = SimulationConfig(crystal=crystal_config, probe=probe, scan=scan)
    crystal = crystal_for(config, np.random.default_rng(7))
    origin = np.array([side / 2 + 0.31, side / 2 - 0.77])
    return job_of(crystal, config, origin, WINDOW), config, crystal, origin


def lone_column(position_px: np.ndarray, scan: ScanConfig, probe: ProbeConfig) -> RenderJob:
    labels = np.zeros((32, 32), dtype=np.uint8)
    return RenderJob(position_px[None], np.ones(1), probe, scan, labels, "WSe2", np.zeros(4))


@pytest.mark.parametrize("name", CASES)
def test_noise_free_windows_equal_those_of_numpy(name: str) -> None:
    job, config, crystal, origin = scene(name)
    expected, _ = crystal_image(crystal, config, origin)
    small = resample(expected, config.scan.pixel_size_pm, 40.0)
    cut = slice(RIM_PX, RIM_PX + WINDOW)
    even = normalise(small)[cut, cut]
    for dtype, bound in ((torch.float64, 1e-4), (torch.float32, 1e-3)):
        batch = _packed([job], CPU, dtype)
        image = sampled(batch, column_coefficients(batch), None)
        mine = _resampled(batch, image)
        assert np.abs(mine[0].numpy() - small).max() < bound * small.max()
        # normalising divides by the local standard deviation, a tenth of the maximum or more
        assert np.abs(_normalised(batch, mine)[0].numpy() - even).max() < 10 * bound
        # before resampling there is also what the patch of the numpy path adds where it ends,
        # beyond the information limit
        assert np.abs(image[0].numpy() - expected).max() < 2 * bound * expected.max()


def test_windows_side_by_side_equal_those_one_by_one() -> None:
    jobs = [scene(name)[0] for name in CASES]
    together = _packed(jobs, CPU, torch.float64)
    image = sampled(together, column_coefficients(together), None)
    windows = _normalised(together, _resampled(together, image))
    for job, whole, window in zip(jobs, image, windows, strict=True):
        alone = _packed([job], CPU, torch.float64)
        expected = sampled(alone, column_coefficients(alone), None)
        n = job.scan.shape[0]
        # a batch keeps frequencies up to the largest information limit among its windows: beyond
        # its own, a window has only what the rim of its patch adds
        np.testing.assert_allclose(whole[:n, :n], expected[0], atol=1e-4)
        assert torch.equal(clean_images([job], CPU, torch.float64)[0], expected[0])
        np.testing.assert_allclose(
            window, _normalised(alone, _resampled(alone, expected))[0], atol=1e-3
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pixel_pm", [11.0, 20.74, 37.0])
def test_columns_sit_at_their_exact_sub_pixel_place(pixel_pm: float, dtype: torch.dtype) -> None:
    n = 2 * int(1600 / pixel_pm) + 1
    scan = ScanConfig(shape=(n, n), pixel_size_pm=pixel_pm)
    probe = ProbeConfig(source_fwhm_pm=60.0)
    centre = np.full(2, float(n // 2))
    offsets = [np.zeros(2), *np.random.default_rng(3).uniform(-0.5, 0.5, (4, 2))]
    jobs = [lone_column(centre + offset, scan, probe) for offset in offsets]
    first, *others = (image.double().numpy() for image in clean_images(jobs, CPU, dtype))
    slopes = np.stack(np.gradient(first), axis=-1).reshape(-1, 2)
    fy = np.fft.fftfreq(n)
    for offset, image in zip(offsets[1:], others, strict=True):
        phase = np.exp(-2j * np.pi * (fy[:, None] * offset[0] + fy * offset[1]))
        moved = np.fft.ifft2(np.fft.fft2(first) * phase).real
        # a displacement error d changes the image by d times its slope
        error = np.linalg.lstsq(slopes, (moved - image).ravel(), rcond=None)[0]
        assert np.abs(error * pixel_pm).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_jobs_hold_the_columns_and_labels_of_windows(seed: int) -> None:
    conditions = Conditions(patterns=("whole", "twin", "holes", "1T'"))
    job = draw_job(conditions, WINDOW, np.random.default_rng(seed))
    window = draw_window(conditions, WINDOW, np.random.default_rng(seed))
    assert job.labels.dtype == np.uint8
    np.testing.assert_array_equal(job.labels, window.labels)
    assert job.material == window.material


def test_processed_pictures_and_unknown_materials_agree_with_numpy() -> None:
    # without noise both paths make the same picture, and do the same to it
    job, config, crystal, origin = scene("coarse")
    processing = ProcessingConfig(smooth_pm=30.0, subtract_pm=700.0, gamma=0.7, clip=(0.01, 0.02))
    expected, _ = crystal_image(crystal, config, origin)
    theirs = normalise(resample(process(expected, processing, 41.0).astype("f4"), 41.0, 40.0))
    batch = _packed([job], CPU, torch.float64)
    image = sampled(batch, column_coefficients(batch), None)
    mine = processed(image, [replace(job, processing=processing)])
    cut = slice(RIM_PX, RIM_PX + WINDOW)
    found = _normalised(batch, _resampled(batch, mine))[0].numpy()
    assert np.abs(found - theirs[cut, cut]).max() < 5e-3
    assert torch.equal(processed(image, [job]), image)
    conditions = Conditions(materials=("any",), processed=1.0, patterns=("bilayer 3R", "hBN"))
    for seed in range(3):
        drawn = draw_job(conditions, WINDOW, np.random.default_rng(seed))
        window = draw_window(conditions, WINDOW, np.random.default_rng(seed))
        np.testing.assert_array_equal(drawn.condition, window.condition)
        np.testing.assert_array_equal(drawn.labels, window.labels)
        assert drawn.processing.changes or drawn.processing == ProcessingConfig()


def test_correlated_noise_and_whole_jumps_agree_with_numpy() -> None:
    job, config, *_ = scene("coarse", noise_pm=120.0)
    jobs = [job, replace(job, scan=job.scan.replace(noise_pm=0.0))]
    filters = _noise_filter(_packed(jobs, CPU, torch.float64))
    white = torch.randn(40, *filters.shape[1:], dtype=torch.float64, generator=seeded(0))
    field = filters[0] @ white @ filters[0].mT
    theirs = random_field((200, 200), 120.0 / 41.0, np.random.default_rng(0))
    for lag in (0, 1, 3, 5):
        here = float((field[:, :, : 60 - lag] * field[:, :, lag:60]).mean())
        there = (theirs[:, : 200 - lag] * theirs[:, lag:]).mean()
        assert here == pytest.approx(there, abs=0.06)
    torch.testing.assert_close(filters[1], torch.eye(len(filters[1]), dtype=torch.float64))
    whole = replace(job, scan=job.scan.replace(whole_px=True, frames=1, jitter_px=1.5))
    batch = _packed([whole], CPU, torch.float64)
    phase = _jitter(batch, seeded(1))
    shift = -phase[0, :, 1].angle() / (2 * torch.pi) * batch.value["length"][0, 0, 0]
    torch.testing.assert_close(shift, shift.round(), atol=1e-9, rtol=0)
    assert len(shift.round().unique()) >= 4


@pytest.mark.slow
def test_counts_have_the_mean_and_variance_of_their_dose() -> None:
    job, config, *_ = scene(
        "coarse", jitter_px=0.0, contamination=0.0, gain=1.7, read_noise=0.1, dose_e_per_nm2=3e6
    )
    scan = config.scan
    height = scan.dose_e_per_nm2 * (scan.pixel_size_pm * 1e-3) ** 2 * scan.metal_fraction
    rate = clean_images([job], CPU)[0].numpy().clip(0) * height
    mean = scan.gain * rate + scan.offset_counts
    variance = scan.gain**2 * (rate + (scan.read_noise * height) ** 2) + 1 / 12  # rounding
    repeats = 150
    counts = torch.stack(exposures([job] * repeats, CPU, torch.Generator().manual_seed(1)))
    found = counts.double().numpy()
    chi2 = ((found.mean(axis=0) - mean) ** 2 / (variance / repeats)).mean()
    # chi-square of the pixels: standard deviation sqrt(2 / pixels)
    assert abs(chi2 - 1) < 5 * np.sqrt(2 / mean.size)
    ratio = (found.var(axis=0, ddof=1) / variance).mean()
    # a variance from 150 draws is known to sqrt(2 / 149), and a little worse for Poisson counts
    assert abs(ratio - 1) < 6 * np.sqrt(2 / 149 / mean.size)


@pytest.mark.slow
def test_jitter_and_counts_agree_with_numpy() -> None:
    job, config, crystal, origin = scene(
        "coarse", jitter_px=0.9, frames=4, contamination=0.0, dose_e_per_nm2=3e7, read_noise=0.02
    )
    clean, _ = crystal_image(crystal, config, origin)
    repeats = 200
    generator, rng = torch.Generator().manual_seed(2), np.random.default_rng(2)
    mine = torch.stack(exposures([job] * repeats, CPU, generator)).double().numpy()
    theirs = np.stack([expose(clean, config.scan, rng) for _ in range(repeats)]).astype(float)
    # beyond the rim numpy mirrors the lines, here they go on as the crystal does
    inner = slice(8, -8)
    mine, theirs = mine[:, inner, inner], theirs[:, inner, inner]
    spread = [found.var(axis=0, ddof=1) for found in (mine, theirs)]
    z2 = (mine.mean(axis=0) - theirs.mean(axis=0)) ** 2 / (sum(spread) / repeats)
    # pixels of a line share its shifts: about three independent numbers in each of 70 lines, so
    # the mean of z^2, 1, is known to sqrt(2 / 210) = 0.1
    assert abs(z2.mean() - 1) < 0.4
    # variances from 200 draws of 210 numbers: sqrt(2 / 42000) = 0.7 %, sqrt(2) of it in a ratio
    assert spread[0].mean() / spread[1].mean() == pytest.approx(1, abs=0.05)
    electrons = theirs.mean() - config.scan.offset_counts
    assert spread[0].mean() > 2 * electrons  # jitter is what is compared here, not counts


def test_contamination_has_the_stated_fluctuations() -> None:
    scan = scene("paper", contamination_nm=1.5)[1].scan
    job = lone_column(np.array([30.0, 30.0]), scan, ProbeConfig())
    job = RenderJob(**{**vars(job), "labels": np.zeros((WINDOW, WINDOW), dtype=np.uint8)})
    batch = _packed([job] * 60, CPU, torch.float64)
    generator = torch.Generator().manual_seed(4)
    points = grid_points(WINDOW)
    length_pm = float(batch.value["length"][0]) * scan.pixel_size_pm
    margin = int(np.ceil(700 / length_pm * points))
    rows = slice(margin, points - margin)
    for make, correlation_pm, cells in ((_slow_field, 1500.0, 3), (_grain, 100.0, 900)):
        field = make(batch, points, generator)
        # periodic: over the seam it changes no more than elsewhere
        steps = (field - field.roll(1, dims=2)).abs().amax(dim=(0, 1))
        assert steps[0] <= 1.5 * steps[1:].max()
        inside = field[:, rows, rows]
        # 60 draws of so many independent cells: a variance is known to sqrt(2 / (60 cells))
        tolerance = 4 * np.sqrt(2 / (60 * cells))
        assert float(inside.square().mean()) == pytest.approx(1, abs=tolerance)
        lag = round(correlation_pm / length_pm * points)
        expected = np.exp(-((lag * length_pm / points / correlation_pm) ** 2) / 2)
        product = (inside[:, :, lag:] * inside[:, :, :-lag]).mean()
        assert float(product) == pytest.approx(expected, abs=tolerance)


def test_contamination_adds_its_mean_and_texture() -> None:
    job, *_ = scene("paper", contamination=0.4, patchiness=0.0, texture=0.2)
    batch = _packed([job] * 20, CPU, torch.float32)
    coefficients = _contamination(batch, torch.Generator().manual_seed(5))
    field = sampled(batch, coefficients, None)
    # 20 draws of about (3520 / 250)^2 = 200 cells of texture
    assert float(field.mean()) == pytest.approx(0.4, abs=4 * 0.08 / np.sqrt(4000))
    assert float(field.std()) == pytest.approx(0.08, rel=4 * np.sqrt(0.5 / 4000) + 0.01)


def test_measured_contamination_takes_its_place(tmp_path: Path) -> None:
    y, x = np.mgrid[:200, :260] * 0.05
    path = tmp_path / "dirt.tif"
    write_tiff(path, (0.3 + 0.2 * np.sin(x) * np.cos(y)).astype(np.float32), 50.0, {})
    conditions = Conditions(background=str(path), contamination=(0.5, 0.5))
    rng = np.random.default_rng(0)
    jobs = [draw_job(conditions, WINDOW, rng) for _ in range(12)]
    measured = [job for job in jobs if job.dirt is not None]
    assert 2 <= len(measured) <= 10
    for job in measured[:2]:
        assert job.dirt.shape == (grid_points(WINDOW),) * 2
        # continued periodically without a step: the field changes by 0.01 from pixel to pixel
        for axis in (0, 1):
            assert np.abs(job.dirt - np.roll(job.dirt, 1, axis)).max() < 0.05
        batch = _packed([job], CPU, torch.float64)
        field = sampled(batch, _contamination(batch, torch.Generator()), None)[0].numpy()
        assert field.min() > 0.04 and field.max() < 0.76  # (0.1 to 0.5) times 0.5 to 1.5
        length = float(batch.value["length"][0])
        place = (np.arange(job.scan.shape[0]) + float(batch.value["margin"][0])) / length
        nearest = np.rint(place * grid_points(WINDOW)).astype(int)
        assert np.abs(field - job.dirt[np.ix_(nearest, nearest)]).max() < 0.02


def test_a_seed_gives_the_same_batch_again() -> None:
    rng = np.random.default_rng(9)
    jobs = [draw_job(Conditions(), WINDOW, rng) for _ in range(3)]
    before = [job.position_px.copy() for job in jobs]
    image, labels = render_batch(jobs, CPU, torch.Generator().manual_seed(1))
    again, _ = render_batch(jobs, CPU, torch.Generator().manual_seed(1))
    other, _ = render_batch(jobs, CPU, torch.Generator().manual_seed(2))
    assert image.shape == (3, 1, WINDOW, WINDOW) and image.dtype == torch.float32
    assert labels.shape == (3, WINDOW, WINDOW) and labels.dtype == torch.uint8
    assert torch.equal(image, again) and not torch.allclose(image, other, atol=0.01)
    assert not image.requires_grad and not image.is_inference()
    for job, position in zip(jobs, before, strict=True):
        np.testing.assert_array_equal(job.position_px, position)


@pytest.mark.slow
def test_normalised_windows_look_like_those_of_numpy() -> None:
    conditions = Conditions(patterns=("whole",))
    rng = np.random.default_rng(11)
    theirs = np.stack([draw_window(conditions, WINDOW, rng).image for _ in range(24)])
    jobs = [draw_job(conditions, WINDOW, rng) for _ in range(24)]
    mine = render_batch(jobs, CPU, torch.Generator().manual_seed(3))[0][:, 0].numpy()
    # mean 0, local deviation 1; the shape of the histogram scatters by a tenth between windows
    for power in (1, 2, 3):
        moments = [(images.astype(float) ** power).mean(axis=(1, 2)) for images in (mine, theirs)]
        scatter = np.sqrt(sum(m.var(ddof=1) / len(m) for m in moments))
        assert abs(moments[0].mean() - moments[1].mean()) < 4 * scatter + 1e-3


@pytest.mark.slow
def test_no_step_needs_another_device_or_waits_for_this_one() -> None:
    # a tensor of the device "meta" has no values: reading one, or mixing devices, raises
    rng = np.random.default_rng(0)
    jobs = [draw_job(Conditions(), 48, rng) for _ in range(3)]
    image, labels = render_batch(jobs, torch.device("meta"), torch.Generator())
    assert image.shape == (3, 1, 48, 48) and image.is_meta and labels.is_meta
    assert image.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_renders_the_same() -> None:
    jobs = [scene(name)[0] for name in CASES]
    gpu = torch.device("cuda")
    for mine, there in zip(clean_images(jobs, CPU), clean_images(jobs, gpu), strict=True):
        np.testing.assert_allclose(there.cpu(), mine, atol=1e-3)
    image, _ = render_batch(jobs, gpu, torch.Generator(gpu).manual_seed(1))
    again, _ = render_batch(jobs, gpu, torch.Generator(gpu).manual_seed(1))
    assert image.is_cuda and torch.allclose(image, again, atol=1e-3)


@pytest.mark.slow
def test_training_takes_windows_from_torch(tmp_path: Path) -> None:
    config = TrainConfig(
        network=NetworkConfig(features=(4, 4, 8, 8, 8)), steps=4, batch=4, window_px=48,
        steps_per_epoch=2, validation_windows=2, calibration_windows=2, workers=0,
        renderer="torch",
    )  # fmt: skip
    record = train(config, tmp_path / "w.safetensors")
    assert [entry["step"] for entry in record] == [2, 4]
    assert all(np.isfinite(entry["loss"]) for entry in record)
    more = train(config.replace(steps=5, renderer="numpy"), tmp_path / "w.safetensors")
    assert more[:2] == record  # a resumed run may change the renderer


@pytest.mark.parametrize("only", ["", "V1"])
def test_examples_of_both_renderers_have_the_same_labels(only: str) -> None:
    config = TrainConfig(window_px=48, only=only)
    by_numpy = draw_example(config, np.random.default_rng(3))
    by_torch = draw_example(config.replace(renderer="torch"), np.random.default_rng(3))
    assert torch.equal(by_numpy.labels, by_torch.labels)
    assert torch.equal(by_numpy.condition, by_torch.condition)
    assert by_torch.image.shape == by_numpy.image.shape
    assert by_torch.image.dtype == by_numpy.image.dtype
    seen = set(by_torch.labels.unique().tolist())
    assert not only or seen <= {0, 1, 2, 5}


def test_workers_hand_over_jobs() -> None:
    config = TrainConfig(window_px=48)
    loader = DataLoader(
        SimulatedWindows(config, 0, as_jobs=True), batch_size=2, num_workers=1, collate_fn=list
    )
    jobs = next(iter(loader))
    examples = rendered(jobs, config, torch.Generator().manual_seed(0))
    assert [example.image.shape for example in examples] == [(48, 48)] * 2
    for job, example in zip(jobs, examples, strict=True):
        np.testing.assert_array_equal(example.labels, job.labels)


def test_bad_input_is_named() -> None:
    with pytest.raises(DefectStrainError, match="renderer: got 'gpu'"):
        TrainConfig(renderer="gpu")
    rng = np.random.default_rng(0)
    jobs = [draw_job(Conditions(), side, rng) for side in (32, 48)]
    with pytest.raises(DefectStrainError, match="got 2 of 2 different sizes"):
        render_batch(jobs, CPU, torch.Generator())
    with pytest.raises(DefectStrainError, match="got 0 of 0"):
        render_batch([], CPU, torch.Generator())
    _, config, crystal, origin = scene("paper")
    with pytest.raises(DefectStrainError, match="got a scan of 88 px at 40 pm, expected 90"):
        job_of(crystal, config, origin, 66)
    flat = config.replace(scan=config.scan.replace(shape=(200, 190)))
    with pytest.raises(DefectStrainError, match="got a scan of 200 x 190 px, expected a square"):
        job_of(crystal, flat, origin, WINDOW)
