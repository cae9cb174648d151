"""The oracle: right where noise allows, better than least squares, honest about its errors."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import scipy.fft
from scipy.ndimage import gaussian_filter

from napari_defectstrain.evaluation.folders import truth_sites
from napari_defectstrain.evaluation.oracle import OracleResult, ask_oracle, best_cuts
from napari_defectstrain.evaluation.score import confusion_matrix, f1_by_role
from napari_defectstrain.judge.local_noise import inner_product, learn_noise
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import DefectStrainError, Sites

X2 = ROLES.index("X2")
CLEAN = ScanConfig(
    shape=(220, 220), rotation_deg=17.0, jitter_px=0.0, read_noise=0.0, contamination=0.0,
    dose_e_per_nm2=4e8, offset_counts=0.0,
)  # fmt: skip
NOISY = CLEAN.replace(
    shape=(300, 300), dose_e_per_nm2=5e6, jitter_px=1.2, read_noise=0.2, contamination=0.5,
    contamination_nm=1.5, texture=0.3,
)  # fmt: skip


@lru_cache
def image(scan: ScanConfig, seed: int = 1) -> SimulatedImage:
    config = SimulationConfig(crystal=CrystalConfig(fractions=(0.08, 0.06, 0.08, 0.03)), scan=scan)
    return simulate_image(config, np.random.default_rng(seed), "image")


@lru_cache
def judged(scan: ScanConfig, seed: int = 1) -> OracleResult:
    made = image(scan, seed)
    data, sites = made.image.data.copy(), truth(made)
    before = data.copy(), sites.position_px.copy(), sites.class_index.copy()
    found = ask_oracle(data, sites, scan.pixel_size_pm)
    # inputs stay as they are
    for now, then in zip((data, sites.position_px, sites.class_index), before, strict=True):
        np.testing.assert_array_equal(now, then)
    return found


def truth(made: SimulatedImage) -> Sites:
    return truth_sites(made.position_px, np.asarray(made.class_index), WSE2)


def f1(sites: Sites, made: SimulatedImage) -> np.ndarray:
    scan = made.config.scan
    counts = confusion_matrix(sites, truth(made), scan.shape, scan.pixel_size_pm)
    return f1_by_role(counts)


@pytest.mark.slow
def test_clean_images_are_no_riddle_to_either_judge():
    made, found = image(CLEAN), judged(CLEAN)
    assert f1(found.sites, made).tolist() == [1.0] * 4
    assert f1(found.least_squares, made).tolist() == [1.0] * 4


@pytest.mark.slow
def test_the_oracle_beats_least_squares_in_noise():
    made, found = image(NOISY), judged(NOISY)
    best, free = f1(found.sites, made), f1(found.least_squares, made)
    assert (best >= free - 0.02).all()
    assert best.mean() > free.mean() + 0.05
    assert best.mean() < 1  # else the image tells nothing


def test_class_weights_are_those_of_the_simulation():
    found = judged(CLEAN)
    true = np.array(image(CLEAN).config.weights[:6])
    # a profile that ends at 450 pm leaves tails to the background: a few per cent of contrast
    np.testing.assert_allclose(found.known.weight[:6], true, atol=0.05)


def test_errors_of_the_weights_are_as_stated():
    found = judged(NOISY)
    inner = inside(image(NOISY), found.judged)
    group = found.known.group[inner]
    pull = (found.weight[inner] - found.known.weight[group]) / found.sigma[inner]
    # 260 columns: the standard deviation of unit pulls scatters by 0.05; the model of the noise
    # (stationary but for its size) may err by 15 %
    assert 0.8 < pull.std() < 1.2
    assert abs(pull.mean()) < 0.25


def inside(made: SimulatedImage, chosen: np.ndarray) -> np.ndarray:
    rim = 25
    side = np.asarray(made.config.scan.shape)
    place = made.position_px
    return chosen & np.all((place > rim) & (place < side - rim), axis=1)


@pytest.mark.slow
def test_lines_are_put_back_where_the_jitter_took_them_from():
    scan = CLEAN.replace(jitter_px=0.8, frames=1, dose_e_per_nm2=4e7)
    # one frame: a line's shift is known to about 0.02 px by its 30 columns; 220 lines tell
    # their scatter to 5 %
    found = judged(scan).known.line_shift_px
    assert found.std() == pytest.approx(0.8, rel=0.15)


@pytest.mark.slow
def test_a_column_does_not_vote_on_itself():
    # one SeTe only, its image scrambled: its own weight must not become its class's
    made = image(CLEAN)
    sites = truth(made)
    lone = np.flatnonzero(inside(made, sites.class_index == X2))[0]
    index = sites.class_index.copy()
    index[index == ROLES.index("V2")] = X2  # keep the rest plain
    index[lone] = ROLES.index("V2")
    given = replace(sites, class_index=index, probabilities=np.eye(len(ROLES))[index])
    found = ask_oracle(made.image.data, given, made.config.scan.pixel_size_pm)
    assert found.sites.class_index[lone] == X2


def test_probabilities_sum_to_one_and_metals_stay():
    found = judged(NOISY)
    np.testing.assert_allclose(found.sites.probabilities.sum(axis=1), 1.0)
    metal = truth(image(NOISY)).is_metal
    assert (found.sites.class_index[metal] == 0).all()
    assert np.isnan(found.weight[metal]).all()
    assert not found.judged[metal].any()


@pytest.mark.slow
def test_look_alikes_on_chalcogen_sites_are_judged_others_are_given():
    made = image(CLEAN)
    sites = truth(made)
    inner = np.flatnonzero(inside(made, sites.class_index == ROLES.index("Y2")))
    index = sites.class_index.copy()
    index[inner] = ROLES.index("other")
    between = sites.position_px[sites.is_metal][100] + [4.0, 4.0]  # an adatom beside a metal
    given = Sites(
        np.concatenate([sites.position_px, [between]]),
        np.eye(len(ROLES))[np.append(index, ROLES.index("other"))],
        np.append(index, ROLES.index("other")),
        sites.class_names,
        np.append(sites.source, "truth"),
    )
    kind = np.full(len(given), "", dtype="<U10")
    kind[inner], kind[-1] = "two Te", "adatom"
    found = ask_oracle(made.image.data, given, made.config.scan.pixel_size_pm, kind)
    assert found.judged[inner].all() and not found.judged[-1]
    # in a clean image a kind of its own weight is told from all classes
    assert (found.sites.class_index[inner] == ROLES.index("other")).all()


def test_truth_of_some_columns_is_not_enough():
    made = image(CLEAN)
    some = truth_sites(made.position_px[:40], np.full(40, ROLES.index("V1")), WSE2)
    with pytest.raises(DefectStrainError, match="expected the truth to list all columns"):
        ask_oracle(made.image.data, some, 20.74)
    with pytest.raises(DefectStrainError, match=r"2\.5 nm a side"):
        ask_oracle(made.image.data[:60, :60], truth(made), 20.74)


def test_white_noise_has_power_one_everywhere():
    noise = learn_noise(np.random.default_rng(0).standard_normal((512, 512)), 64)
    spectrum = noise.at(np.array([[256.0, 256.0], [3.0, 500.0]]))
    # a tile has 2112 numbers of power, the mixture 2 amplitudes: each is known to a few per cent
    np.testing.assert_allclose(spectrum.mean(axis=(1, 2)), 1.0, atol=0.08)
    assert spectrum.std(axis=(1, 2)).max() < 0.2


def test_dirt_in_patches_is_coloured_noise_there_and_nowhere_else():
    rng = np.random.default_rng(1)
    white = rng.standard_normal((512, 512))
    dirt = gaussian_filter(rng.standard_normal((512, 512)), 3.0)
    dirt[:, :256] = 0
    noise = learn_noise(white + 3 * dirt / dirt[:, 256:].std(), 64)
    y, x = (a.ravel() for a in np.mgrid[64:450:32, 64:200:32])
    clean = noise.at(np.stack([y, x], axis=1)).mean(axis=0)
    dirty = noise.at(np.stack([y, x + 256], axis=1)).mean(axis=0)
    np.testing.assert_allclose(clean.mean(), 1.0, atol=0.1)
    both = np.full(33, 2.0)  # the half of the plane that is left out
    both[[0, -1]] = 1.0
    variance = (dirty * both).sum() / 64**2
    # 1 + 9; half the image holds some 1000 grains, whose squares scatter by sqrt(2 / 1000)
    assert variance == pytest.approx(10.0, rel=0.15)
    # a Gaussian of 3 px has no power beyond a quarter of a cycle a pixel
    assert dirty[20:44, 20:].mean() == pytest.approx(1.0, abs=0.3)
    assert dirty[0, 2] > 50 * clean[0, 2]


def test_products_in_fourier_space_are_those_of_pixels():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 5, 32, 32))
    transforms = scipy.fft.rfft2(a), scipy.fft.rfft2(b)
    made = inner_product(*transforms, np.full((5, 32, 17), 2.0), 32)
    np.testing.assert_allclose(made, (a * b).sum(axis=(1, 2)) / 2, rtol=1e-9)


def test_best_cuts_separate_what_can_be_separated():
    role = np.array([5] * 10 + [4] * 40 + [1] * 400 + [2] * 30 + [3] * 20)
    typical = np.array([1.0, 0.7, 1.05, 1.38, 0.35, 0.0, 0.7])
    rng = np.random.default_rng(0)
    clean = typical[role] + rng.normal(0, 0.02, len(role))
    assert (best_cuts(clean, role, typical) == role).all()
    # shifted weights need shifted cuts, which are the best for these very columns
    assert (best_cuts(clean + 0.3, role, typical) == role).all()
    noisy = typical[role] + rng.normal(0, 0.3, len(role))
    found = best_cuts(noisy, role, typical)
    order = found[np.argsort(noisy)]
    rank = np.searchsorted([0.0, 0.35, 0.7, 1.05, 1.38], typical[order])
    assert (np.diff(rank) >= 0).all()


@pytest.mark.slow
def test_with_the_places_and_neighbours_that_someone_believes_in_it_errs_more():
    made, full = image(CLEAN), judged(CLEAN)
    true, pixel_pm = truth(made), CLEAN.pixel_size_pm
    rng = np.random.default_rng(4)
    shuffled = rng.permutation(len(true))  # by place, and not by row
    same = ask_oracle(made.image.data, true, pixel_pm, believed=true.subset(shuffled))
    np.testing.assert_allclose(same.weight, full.weight)
    wrong = np.where(true.class_index == ROLES.index("XY"), X2, true.class_index)
    moved = true.position_px + rng.normal(0, 12.0 / pixel_pm, true.position_px.shape)
    believed = replace(true, position_px=moved, class_index=wrong)
    worse = ask_oracle(made.image.data, true, pixel_pm, believed=believed)
    error = [
        np.std((r.weight - full.weight)[full.judged & (true.class_index == X2)])
        for r in (same, worse)
    ]
    assert error[1] > error[0] + 0.01
    # it is asked about the same columns, and answers at their true places
    np.testing.assert_array_equal(worse.judged, full.judged)
    np.testing.assert_array_equal(worse.sites.position_px, true.position_px)
