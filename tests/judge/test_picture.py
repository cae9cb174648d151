"""An image explained by its columns: profile, places and lines as they were put in."""

import numpy as np
import pytest
from judge_stage import SCAN, as_found, made
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array

from napari_defectstrain.judge.judging import class_prior
from napari_defectstrain.judge.mixture import ClassModel
from napari_defectstrain.judge.picture import Picture, WeightEquations
from napari_defectstrain.judge.places import lattice_places
from napari_defectstrain.judge.solving import ImageClasses, anchored_weights
from napari_defectstrain.judge.working import LowPass, line_shifts, shift_lines
from napari_defectstrain.materials import WSE2


def test_a_profile_holds_all_of_a_columns_light():
    image = made()
    sites = as_found(image, 0.0)
    weight = np.array([*image.config.weights[:6], 0.7])[image.class_index]
    a_pm = WSE2.lattice_pm
    picture = Picture(
        np.asarray(image.image.data),
        SCAN.pixel_size_pm,
        a_pm,
        0.18 * a_pm,
        lattice_places(sites, a_pm),
        sites.position_px,
        weight,
    )
    for _ in range(2):
        picture.fit_profile()
        picture.explain()
    # what is positive everywhere has its greatest wave at zero; a mean that is lost to the
    # background and asked for all the same would take the light away from the profile
    strength = picture.transfer.real
    assert strength[0, 0] > 0.8 * np.abs(strength).max()


def test_the_low_pass_is_a_gaussian_average():
    image = np.random.default_rng(0).normal(size=(90, 70)).astype(np.float32)
    expected = gaussian_filter(image, 6.0, mode="reflect", truncate=6.0)
    np.testing.assert_allclose(LowPass((90, 70), 6.0)(image), expected, atol=2e-3)


def test_lines_go_back_to_where_they_were():
    rng = np.random.default_rng(1)
    x = np.arange(300)
    shift = rng.normal(0, 0.4, 40)
    wave = lambda at: np.sin(at / 2.1) + 0.5 * np.cos(at / 3.7)  # noqa: E731
    straight = np.tile(wave(x), (40, 1)).astype(np.float32)
    moved = np.stack([wave(x - s) for s in shift]).astype(np.float32)
    slope = np.tile(np.cos(x / 2.1) / 2.1 - 0.5 * np.sin(x / 3.7) / 3.7, (40, 1))
    found = np.zeros(40)
    for _ in range(3):
        found = line_shifts(shift_lines(moved, found) - straight, slope, found)
    np.testing.assert_allclose(found, shift, atol=0.02)
    np.testing.assert_allclose(shift_lines(moved, shift)[:, 30:-30], straight[:, 30:-30], atol=0.02)


def test_smoothing_keeps_a_straight_line_and_mends_one_column():
    sites = as_found(made(), 0.0)
    places = lattice_places(sites, WSE2.lattice_pm)
    on = places.on_lattice
    moved = 0.3 + places.ideal_px @ np.array([[0.01, -0.02], [0.015, 0.005]])
    np.testing.assert_allclose(places.smooth(moved, on.astype(float))[on], moved[on], atol=0.04)
    row = np.flatnonzero(on)[40]
    off = moved.copy()
    off[row] += 5.0
    np.testing.assert_allclose(places.smooth(off, on.astype(float))[on], moved[on], atol=0.04)


def test_neighbours_are_the_sixty_sites_around_of_the_same_sublattice():
    places = lattice_places(as_found(made(), 0.0), WSE2.lattice_pm)
    near, there = places.neighbours, places.neighbours >= 0
    rows = np.flatnonzero(places.on_lattice)
    np.testing.assert_array_equal(near[rows, 0], rows)
    assert there.sum(axis=1)[rows].min() >= 0.75 * 61
    inside = (np.abs(places.ideal_px - places.ideal_px.mean(axis=0)) < 60).all(axis=1)
    row, column = np.nonzero(there & inside[:, None])
    assert (places.is_metal[near[row, column]] == places.is_metal[row]).all()
    a_px = WSE2.lattice_pm / SCAN.pixel_size_pm
    away = np.hypot(*(places.ideal_px[near[row, column]] - places.ideal_px[row]).T) / a_px
    assert away.max() < 4.1
    np.testing.assert_allclose(away[(column > 0) & (column < 7)], 1.0, atol=0.03)


def test_empty_sites_weigh_nothing_on_the_scale_of_the_profile():
    prior = class_prior(WSE2)
    mean = np.array([0.7, 1.0, 1.3, 0.42, 0.12])
    model = ClassModel(mean, np.ones(5), np.full(6, 1 / 6))
    chance = np.eye(6)[np.repeat(np.arange(5), 200)]
    weight = np.repeat(mean, 200)
    metal = np.zeros((1000, 2))
    found = ImageClasses(weight, weight, chance, metal, weight, weight, model)
    scaled = anchored_weights(found, prior, np.ones(1000, bool)).reshape(5, 200)[:, 0]
    np.testing.assert_allclose(scaled[[0, 3, 4]], [0.7, 0.343, 0.0], atol=0.02)
    few = anchored_weights(found, prior, np.zeros(1000, bool))
    np.testing.assert_array_equal(few, weight)


@pytest.mark.parametrize("overlap", [0.1, 0.35])
def test_weights_that_overlap_find_an_end(overlap):
    """Twelve columns of no known class in one another's light went to and fro ever farther."""
    coupling = np.full((12, 12), overlap) + (1.0 - overlap) * np.eye(12)
    true = np.linspace(0.3, 1.4, 12)
    equations = WeightEquations(np.zeros(12), coupling @ true, csr_array(coupling))
    mean = np.zeros(12)
    for _ in range(400):
        estimate, _ = equations.estimates(mean, np.zeros(12))
        mean = mean + equations.step * (estimate - mean)
    np.testing.assert_allclose(mean, true, atol=1e-3)


def test_neighbours_that_were_put_elsewhere_lend_no_weight():
    """Metals drawn in by what is no vacancy took light from the column between them."""
    image = made()
    sites = as_found(image, 0.0)
    weight = np.array([*image.config.weights[:6], 0.7])[image.class_index]
    a_pm = WSE2.lattice_pm
    places = lattice_places(sites, a_pm)
    picture = Picture(
        np.asarray(image.image.data),
        SCAN.pixel_size_pm,
        a_pm,
        0.18 * a_pm,
        places,
        image.position_px,
        weight,
    )
    true = picture.sampling.to_working(image.position_px)
    picture.place_at(true)
    picture.fit_profile()
    picture.explain()
    picture.fit_noise()
    known, sure = picture.weight, np.zeros(len(true))
    right, _ = picture.equations().estimates(known, sure)
    middle = np.array(picture.sampling.working) / 2
    away = np.hypot(*(true - middle).T) + 1e6 * places.is_metal
    centre = int(np.argmin(away))
    metals = np.argsort(np.hypot(*(true - true[centre]).T) + 1e6 * ~places.is_metal)[:3]
    drawn = np.zeros_like(true)
    way = true[centre] - true[metals]
    drawn[metals] = 10.0 / picture.sampling.pixel_pm * way / np.hypot(*way.T)[:, None]
    picture.place_at(true + drawn)
    picture.left = -drawn
    picture.explain()
    equations = picture.equations()
    off = equations.estimates(known, sure)[0][centre] - right[centre]
    freed = equations.freed(1.0).estimates(known, sure)[0][centre] - right[centre]
    half = equations.freed(0.5).estimates(known, sure)[0][centre] - right[centre]
    assert off < -0.01
    assert abs(freed) < 0.25 * abs(off)
    np.testing.assert_allclose(half, (off + freed) / 2, atol=1e-6)
