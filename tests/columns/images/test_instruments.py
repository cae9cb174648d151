"""The shape of columns by what can be foreseen of them: instruments against correlated noise."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_defectstrain.averages import find_patches
from napari_defectstrain.columns.images import instruments, measure
from napari_defectstrain.columns.images.background import SplineSurface
from napari_defectstrain.columns.images.fit import ImageFitter, ImageState
from napari_defectstrain.columns.images.measure import fit_image_columns
from napari_defectstrain.columns.images.rendering import Shape
from napari_defectstrain.columns.images.start import pixels_of
from napari_defectstrain.columns.images.steps import FreeShape, shape_by_instruments
from napari_defectstrain.columns.images.types import Aberrations, ImageColumnConfig, NoiseModel
from napari_defectstrain.columns.profiles import gaussian_profile
from napari_defectstrain.precision.foreseen_columns import ForeseenColumns
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.simulate.probe import ProbeConfig
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import Sites

SIDE, SPACING, SIGMA, PIXEL_PM = 200, 9.0, 2.6, 20.0


def free_shape(images: NDArray[np.float64], weighting: NDArray[np.float64]) -> FreeShape:
    n = len(images)
    return FreeShape(np.zeros((5, 3, n)), np.zeros((2, 2, n)), images, weighting, np.zeros(n))


def test_instruments_are_not_misled_by_noise_that_columns_and_residual_share() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(size=(2, 160, 192))
    step = np.array([0.3, -0.2])
    weighting = np.full(true.shape[1:], 4.0)
    plain, told = [], []
    for _ in range(12):
        noise = 0.5 * rng.normal(size=true.shape[1:])
        seen = true + np.array([0.8, 0.1])[:, None, None] * noise  # noise in the columns, too
        pull = (np.tensordot(step, true, 1) + noise) * weighting
        own = free_shape(seen, weighting)
        plain.append(own.step(pull, np.zeros(2)))
        found, errors = shape_by_instruments(own, free_shape(true, weighting), pull)
        told.append((found, errors.sigma))
    assert np.mean(plain, axis=0)[0] > step[0] + 0.1
    mean = np.mean([t for t, _ in told], axis=0)
    spread = np.std([t for t, _ in told], axis=0)
    assert np.abs(mean - step).max() < 4 * spread.max() / np.sqrt(len(told))
    assert np.all(np.mean([s for _, s in told], axis=0) < 2 * spread)
    assert np.all(np.mean([s for _, s in told], axis=0) > 0.5 * spread)


def crystal(noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Gaussian columns of two weights, their places, and which are heavy."""
    rng = np.random.default_rng(5)
    side = np.arange(SPACING / 2, SIDE, SPACING)
    place = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    heavy = rng.random(len(place)) < 0.5
    at = np.arange(SIDE)[:, None]
    by_y, by_x = (np.exp(-0.5 * ((at - p) / SIGMA) ** 2) for p in place.T)
    image = 20.0 + (by_y * np.where(heavy, 24.0, 14.0)) @ by_x.T
    return image + rng.normal(0, noise, image.shape), place, heavy


def test_what_is_foreseen_of_a_clear_image_changes_little_and_nothing_foreseen_nothing() -> None:
    image, place, heavy = crystal(0.3)

    def by_kind(
        position: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert len(position) == len(place)
        return place, np.where(heavy, np.nanmedian(weight[heavy]), np.nanmedian(weight[~heavy]))

    plain = fit_image_columns(image, place, pixel_size_pm=PIXEL_PM)
    told = fit_image_columns(image, place, pixel_size_pm=PIXEL_PM, foresee=by_kind)
    blind = fit_image_columns(
        image,
        place,
        pixel_size_pm=PIXEL_PM,
        foresee=lambda p, w: (np.full_like(p, np.nan), np.full_like(w, np.nan)),
    )
    assert np.array_equal(plain.position_px, blind.position_px, equal_nan=True)
    assert plain.aberrations is not None and told.aberrations is not None
    assert abs(told.aberrations.amount - plain.aberrations.amount) < 0.1
    away = np.abs(told.position_px - plain.position_px).max(axis=1)
    inner = ((place > 13) & (place < SIDE - 14)).all(axis=1)
    assert np.nanmax(away[inner]) < 0.02
    # pixels of the rim count for less, and errors there say so
    sigma = np.sqrt(np.einsum("nii->ni", told.covariance_px2)).max(axis=1)
    assert np.nanmax(away[~inner] / sigma[~inner]) < 3.0


def test_noise_that_is_given_is_kept() -> None:
    image, place, heavy = crystal(1.0)
    config = ImageColumnConfig(noise="poisson")
    found = fit_image_columns(
        image, place, config, PIXEL_PM, foresee=lambda p, w: (place, np.where(heavy, 1020.0, 595.0))
    )
    assert found.noise == NoiseModel(1.0, 0.0)


@pytest.mark.parametrize("error", [np.linalg.LinAlgError, RuntimeError])
def test_equations_that_become_singular_leave_the_plain_fit(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Images without noise ended in a traceback."""

    def singular(*_: object) -> None:
        raise error("singular")

    image, place, _ = crystal(0.3)
    plain = fit_image_columns(image, place, pixel_size_pm=PIXEL_PM)
    monkeypatch.setattr(instruments, "_followed", singular)
    told = fit_image_columns(
        image, place, pixel_size_pm=PIXEL_PM, foresee=lambda p, w: (place, np.nan_to_num(w))
    )
    assert np.array_equal(plain.position_px, told.position_px, equal_nan=True)


def test_errors_of_summed_pixels_are_told_by_as_many_tiles() -> None:
    """Of one tile alone nothing is left where a fit ends: the error was zero."""
    image, place, heavy = crystal(0.3)

    def by_kind(
        position: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return place, np.where(heavy, np.nanmedian(weight[heavy]), np.nanmedian(weight[~heavy]))

    sigma = []
    for sampling in (None, 0.9):
        config = ImageColumnConfig(sampling_sigma=sampling)
        found = fit_image_columns(image, place, config, PIXEL_PM, foresee=by_kind).aberrations
        assert found is not None
        sigma.append(found.sigma)
    assert 0.3 < sigma[1] / sigma[0] < 3.0


def test_errors_of_places_do_not_change_the_probe_on_average() -> None:
    """Columns settled without what their errors do to them, and the shape made up for it.

    An image with noise and the same with its negative: what is linear in it cancels.
    """
    image, place, heavy = crystal(0.0)

    def by_kind(
        position: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return place, np.where(heavy, np.nanmedian(weight[heavy]), np.nanmedian(weight[~heavy]))

    def amount(scale: float, seed: int) -> float:
        noise = np.random.default_rng(seed).normal(0, scale, image.shape)
        found = [
            fit_image_columns(image + n, place, pixel_size_pm=PIXEL_PM, foresee=by_kind).aberrations
            for n in (noise, -noise)
        ]
        return float(np.mean([one.amount for one in found if one is not None]))

    clear = amount(0.3, 1)
    noisy = np.mean([amount(6.0, seed) for seed in (1, 2)])
    assert abs(noisy - clear) < 0.1  # it was 0.2


def test_a_column_that_leaves_its_place_is_put_back() -> None:
    """It came near its neighbour, both took each other's light, and all columns diverged."""
    _, place, heavy = crystal(0.3)
    pixels = pixels_of(np.ones((SIDE, SIDE)), ImageColumnConfig())
    surface = SplineSurface((SIDE, SIDE), 60.0)
    fitter = ImageFitter(pixels, place, SIGMA, 0.3, surface, ImageColumnConfig())
    away = place.copy()
    away[7] += [1.5 * SIGMA, 0.0]
    away[8] -= [0.0, 0.9 * SIGMA]
    weight = np.where(heavy, 24.0, 14.0)
    shape = Shape.starting(gaussian_profile(SIGMA), np.zeros((0, 0)), np.eye(3))
    state = ImageState(
        away, weight, np.zeros(surface.size), shape, np.zeros(len(place), dtype=bool)
    )
    found = instruments._without_strays(fitter, state)
    assert np.array_equal(found.position[7], place[7])
    kept = np.arange(len(place)) != 7
    assert np.array_equal(found.position[kept], away[kept])


@pytest.mark.slow
def test_dirt_does_not_pass_for_another_probe() -> None:
    """One step of a fit that dirt had led astray left most of the error."""
    side = 400
    names = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
    scan = ScanConfig(shape=(side, side), rotation_deg=17.0, jitter_px=0.0, contamination=0.0)
    crystal = CrystalConfig(fractions=(0.03, 0.02, 0.03, 0.02))
    simulated = simulate_image(
        SimulationConfig(crystal=crystal, scan=scan), np.random.default_rng(2)
    )
    place = simulated.position_px
    inside = ((place > 0) & (place < side - 1)).all(axis=1)
    role = np.asarray(simulated.class_index)[inside]
    source = np.full(len(role), "truth")
    sites = Sites(place[inside], np.eye(7)[role], role, names, source)
    data = simulated.image.data.astype(float)
    rng = np.random.default_rng(2)
    thickness, grain = (
        gaussian_filter(rng.normal(size=data.shape), w, mode="wrap") for w in (18, 4)
    )
    thickness = np.maximum(thickness / thickness.std(), 0.0)
    height = float(np.ptp(np.percentile(data, [5, 99])))
    dirt = 0.08 * height * np.maximum(thickness * (1.0 + 0.25 * grain / grain.std()), 0.0)

    def aberrations(counts: NDArray[np.float64], told: bool) -> Aberrations:
        image = replace(simulated.image, data=counts.astype(np.float32))
        patches = find_patches([image], [sites], 328.0, None)
        foresee = ForeseenColumns(sites, patches, 328.0) if told else None
        found = fit_image_columns(image, sites.position_px, foresee=foresee).aberrations
        assert found is not None
        return found

    clean, dirty = aberrations(data, told=True), aberrations(data + dirt, told=True)
    assert aberrations(data + dirt, told=False).amount > clean.amount + 1.0  # led astray
    assert abs(dirty.amount - clean.amount) < 4 * np.hypot(clean.sigma, dirty.sigma)
    assert dirty.sigma < 0.3


def test_probes_far_out_of_focus_are_told(
    recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps by equations without light beyond patches diverged, and noise told the probe."""
    names = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
    scan = ScanConfig(shape=(320, 320), rotation_deg=17.0, jitter_px=0.0, contamination=0.0)
    crystal = CrystalConfig(fractions=(0.03, 0.02, 0.03, 0.02))
    probe = ProbeConfig(c1_pm=-5000.0)
    config = SimulationConfig(crystal=crystal, scan=scan, probe=probe)
    simulated = simulate_image(config, np.random.default_rng(4))
    place, last = simulated.position_px, scan.shape[0] - 1
    inside = ((place > 0) & (place < last)).all(axis=1)
    role = np.asarray(simulated.class_index)[inside]
    sites = Sites(place[inside], np.eye(7)[role], role, names, np.full(len(role), "truth"))
    image = simulated.image
    freed, told = measure.freed_of_noise, []
    monkeypatch.setattr(measure, "freed_of_noise", lambda *a: told.append(freed(*a)) or told[-1])
    foresee = ForeseenColumns(sites, find_patches([image], [sites], 328.0, None), 328.0)
    found = fit_image_columns(image, sites.position_px, foresee=foresee).aberrations
    assert told[0] is not None and told[0].converged
    assert found is not None
    assert found.amount > 1.0
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_columns_beyond_the_border_do_not_ripple_through_weights() -> None:
    """A lattice that goes on beyond the image: that light raised the background by turns.

    From knot to knot it was too bright and too dark, the columns there too light and too heavy, far
    into the image; the shape of the profile followed. Weights scattered by 60 %.
    """
    whole, place, heavy = crystal(0.0)
    rng = np.random.default_rng(7)
    cut = slice(6, SIDE - 6)  # through the columns of the rim
    image = whole[cut, cut] + rng.normal(0, 0.02, whole[cut, cut].shape)
    there = ((place > 6.5) & (place < SIDE - 7.5)).all(axis=1)
    place, heavy = place[there] - 6.0, heavy[there]

    def foresee(
        position: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return place, np.where(heavy, np.nanmedian(weight[heavy]), np.nanmedian(weight[~heavy]))

    inner = ((place > 20) & (place < len(image) - 21)).all(axis=1)
    scatter = []
    for told in (None, foresee):
        found = fit_image_columns(image, place, pixel_size_pm=PIXEL_PM, foresee=told)
        parts = [found.weight[inner & kind] for kind in (heavy, ~heavy)]
        scatter.append(max(np.ptp(w) / np.median(w) for w in parts))
    assert max(scatter) < 0.2


def test_errors_of_places_widen_the_expected_image_as_said() -> None:
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid([30.0, 45.0], [30.0, 45.0], indexing="ij"), -1).reshape(-1, 2)
    shape = (76, 76)
    start = Shape.starting(gaussian_profile(SIGMA), np.zeros((5, 0)), np.eye(3))
    surface = SplineSurface(shape, 100.0, np.float64)
    config = ImageColumnConfig(double_precision=True)
    pixels = pixels_of(np.ones(shape), config)
    fitter = ImageFitter(pixels, place, SIGMA, start.profile.cutoff_per_pm, surface, config)
    weight = np.array([100.0, 60.0, 30.0, 80.0])
    state = ImageState(place, weight, np.zeros(surface.size), start, np.zeros(4, dtype=bool))
    covariance = (
        np.array([[0.04, 0.01], [0.01, 0.02]]) * np.array([1.0, 2.0, 3.0, 0.0])[:, None, None]
    )
    root = np.array([np.linalg.cholesky(c + 1e-12 * np.eye(2)) for c in covariance])

    def image(moved: NDArray[np.float64]) -> NDArray[np.float64]:
        points = fitter.renderer.spread(moved)
        factor = fitter.renderer.structure_factor(points, weight)
        return fitter.model(replace(state, position=moved), factor)

    total = np.zeros(shape)
    for _ in range(300):
        move = np.einsum("nab,nb->na", root, rng.normal(size=(4, 2)))
        total += image(place + move) + image(place - move) - 2.0 * image(place)
    found = fitter.spread(state, covariance)
    assert np.abs(total / 600 - found).max() < 0.1 * np.abs(found).max()
