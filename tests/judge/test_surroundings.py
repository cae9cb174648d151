"""What metals say of the columns between them, and that no class is told by its strain."""

from dataclasses import replace

import numpy as np
import pytest
from judge_stage import truth
from scipy.spatial import cKDTree

from napari_defectstrain.judge.judging import judge_images
from napari_defectstrain.judge.surroundings import MetalsAround, Settled, surroundings_of
from napari_defectstrain.materials import ROLES, WSE2
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, clean_image, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.trials.known_fields import known_displacement
from napari_defectstrain.types import CalibratedImage, IntArray, Sites

X2 = ROLES.index("X2")
PIXEL_PM, SIDE, A_PM = 20.74, 340, 330.0


def with_strained_perfect_columns(strain: float) -> tuple[Sites, IntArray, CalibratedImage]:
    """A noisy image whose vacancies strain as much as some of its perfect columns do."""
    crystal = CrystalConfig(
        fractions=(0.02, 0.02, 0.08, 0.01), spacing_change=(0.006, 0.012, -0.048, -0.08)
    )
    scan = ScanConfig(
        shape=(SIDE, SIDE), pixel_size_pm=PIXEL_PM, rotation_deg=8.0, contamination=0.0
    )
    config = SimulationConfig(crystal=crystal, scan=replace(scan, jitter_px=0.0))
    made = simulate_image(config, np.random.default_rng(2), "strained")
    place, role = np.asarray(made.position_px), np.asarray(made.class_index)
    a_px = A_PM / PIXEL_PM
    beside = cKDTree(place[role > X2]).query(place)[0]
    inside = np.minimum(place, SIDE - 1 - place).min(axis=1) > 2.5 * a_px
    chosen: list[int] = []
    for k in np.flatnonzero((role == X2) & inside & (beside > 1.2 * a_px)):
        if all(np.hypot(*(place[k] - place[other])) > 4.5 * a_px for other in chosen):
            chosen.append(int(k))
    matrix = made.config.scan.matrix_pm()
    for k in chosen:
        offset_pm = (made.position_px - made.position_px[k])[:, ::-1] @ matrix.T
        moved = known_displacement(offset_pm, strain, A_PM) @ np.linalg.inv(matrix).T
        place = place + moved[:, ::-1]
    data = 130.0 * clean_image(place, role, config) + 20.0
    data += np.random.default_rng(102).normal(0.0, 55.0, data.shape)
    true = truth(made)
    known = 0.94 * true.probabilities + 0.06 / true.probabilities.shape[1]
    sites = replace(true, position_px=place, probabilities=known)
    return sites, np.array(chosen), CalibratedImage(data.astype(np.float32), PIXEL_PM, "strained")


def one_column(b: float, stiff: float, s2: float):
    """A chalcogen column with three metals around, `K_wr = b` and `K_rr = stiff`."""
    way = np.array([[0.0, 1.0], [np.sqrt(0.75), -0.5], [-np.sqrt(0.75), -0.5]])
    metals = MetalsAround(
        np.zeros(3, int), np.arange(1, 4), way, np.array([True, False, False, False])
    )
    by_class = np.array([0.0, 0.04, 0.07, -0.1, -0.3, 0.0])
    settled = Settled(
        expected=np.zeros((4, 2)),
        own2=np.full(2, 3 * s2),
        by_class=by_class,
        share=np.array([[0.1, 0.0, 0.3, 0.0, 0.0], *np.zeros((3, 5))]),
    )
    push = np.zeros((4, 2))
    push[1:] = way * 3.0  # q_r is nine
    position = np.zeros((4, 2))
    position[1:] = 0.02 * way
    around = surroundings_of(
        metals,
        settled,
        weight=np.array([0.5, 1.0, 1.0, 1.0]),
        information=np.full(4, 200.0),
        position=position,
        push=push,
        stiffness=np.full((4, 2), stiff / 3),
        slope=way * b / 3,
        loudness=np.ones(4),
    )
    # taken to be .02 out, and there by .1 * .04 - .3 * .1 of its own class
    return around, by_class - (0.02 + 0.1 * 0.04 - 0.3 * 0.1)


@pytest.mark.parametrize("b", [-30.0, -5.0, 0.0])
def test_both_factors_are_the_likelihood_of_weight_and_place_together(b):
    a, stiff, s2, q_w, q_r = 200.0, 90.0, 0.02, 11.0, 9.0
    around, expected = one_column(b, stiff, s2)
    np.testing.assert_allclose(around.expected[0], expected, atol=1e-12)
    mean = np.array([0.72, 1.05, 1.4, 0.36, 0.0])
    r = np.linspace(-3.0, 3.0, 40_001)
    exact = []
    for m, d in zip(expected[:5], mean - 0.5, strict=True):
        both = q_w * d + q_r * r - (a * d**2 + 2 * b * d * r + stiff * r**2) / 2
        exact.append(np.log(np.exp(both - (r - m) ** 2 / (2 * s2)).sum()))
    weight = np.array([0.5 + q_w / a])
    row = np.array([True, False, False, False])
    pull = (around.weights(weight, row)[:5, 0] - mean) * np.sqrt(a / around.gain[0, :5])
    away = around.away[0] - around.lean[0] * (weight - 0.5)
    place = (away - around.expected[0, :5]) / around.spread[0, :5]
    given = -(pull**2 + place**2) / 2
    # of Student's t, which the places follow, little is left to see at these distances
    told = np.log(around.factors(weight, row)[0, :5])
    likely = np.exp(-(place**2 - (place**2).min()) / 2)
    np.testing.assert_allclose(
        told - told[0], np.log((likely + 0.05) / (likely[0] + 0.05)), atol=0.2
    )
    np.testing.assert_allclose(given - given[0], np.array(exact) - exact[0], atol=1e-6)


@pytest.mark.parametrize("off", [0.0, 0.3, -0.9, 40.0])
def test_no_class_is_told_by_its_strain_alone(off):
    """Perfect columns may be strained on purpose, and vacancies needn't strain."""
    around, _ = one_column(-5.0, 90.0, 1e-4)
    around = replace(around, away=around.away + off)
    factor = around.factors(np.array([0.6]), np.array([True, False, False, False]), 2)
    assert factor.shape == (1, 8)
    assert factor.max() / factor.min() <= 21.0 + 1e-9


def test_a_column_without_metals_is_weighed_as_it_was():
    around, _ = one_column(-5.0, 90.0, 0.02)
    row = np.array([False, True, False, False])
    weight = np.array([0.9])
    np.testing.assert_allclose(around.weights(weight, row, 1), np.full((7, 1), 0.9))
    factor = around.factors(weight, row, 1)
    np.testing.assert_allclose(factor, np.full((1, 7), factor[0, 0]))


@pytest.mark.parametrize("strain", [0.0, -0.048])
def test_perfect_columns_that_are_strained_stay_perfect(strain):
    sites, chosen, image = with_strained_perfect_columns(strain)
    (judged,) = judge_images([image], [sites], [PIXEL_PM], WSE2)
    chance = judged.sites.probabilities[chosen, X2]
    assert len(chosen) >= 9 and np.median(judged.sites.weight_sigma[chosen]) > 0.07
    assert (chance > 0.5).all()
    assert (chance > 0.9).sum() >= len(chosen) - 1
