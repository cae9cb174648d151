"""Averages of every defect: exact where differences add, honest where they don't."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array
from small_alloy import SHARED_PROFILE, SPACING_CHANGE, simulated, true_sites

from napari_defectstrain.averages import WindowFrame, crowded, crowded_stacks
from napari_defectstrain.averages.additivity import PAIR_SHELLS, PairCheck
from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.averages.cells import DOUBTFUL, CellFrame, PatchCells
from napari_defectstrain.averages.crowded import Bands, _bands, _joined, _solved
from napari_defectstrain.pipeline import measure_classes

FRAME = CellFrame(330.0)
PIXELS = 16
ROLES = np.array([2, 3, 4, 5, DOUBTFUL])
CROWDED = (0.05, 0.03, 0.05, 0.02)


def lattice_cells(seed, n=60, noise=0.02, pair=0.0, slow=0.0, classes=2):
    """A square of cells whose defects of two classes add, and the differences they make.

    `pair` is what a defect does to its own cell beyond that where another one is its neighbour.
    """
    rng = np.random.default_rng(seed)
    reach = len(FRAME.offset)
    truth = rng.normal(0, 0.1, (5 * reach, PIXELS))
    truth[classes * reach :] = 0
    table = rng.choice([1, 2, 3], (n, n), p=[0.85, 0.1, 0.05])
    cell = np.argwhere(np.ones((n, n), bool))
    cell = cell[((cell > 4) & (cell < n - 5)).all(axis=1)]
    around = np.zeros((len(cell), 5 * reach))
    for d, offset in enumerate(FRAME.offset):
        there = table[tuple((cell - offset).T)]
        for k in range(classes):
            around[:, k * reach + d] = there == k + 2
    mean = rng.normal(0, 1, PIXELS)
    place = cell * 0.3
    wave = np.cos(place[:, :1] / 4.0)
    value = mean + around @ truth + slow * wave + rng.normal(0, noise, (len(cell), PIXELS))
    radius = np.hypot(*(FRAME.offset @ FRAME.basis.T).T) / FRAME.a_pm
    beside = np.tile(np.abs(radius - 1) < 0.1, 5)
    role = table[tuple(cell.T)]
    value[(role > 1) & (around @ beside > 0)] += pair
    shapes, _ = np.linalg.qr(np.column_stack([np.ones(len(cell)), wave]))
    cells = PatchCells(0, csr_array(around), value, shapes, role, cell, place, 0.02)
    return cells, mean, truth


def wave_mean(cells):
    return np.cos(cells.place_nm[:, 0] / 4.0).mean()


def test_differences_that_add_are_found_within_their_errors():
    cells, mean, truth = lattice_cells(0, slow=0.5)
    found = _solved([cells], FRAME, ROLES)
    bands = len(found.image_index)
    spread = np.sqrt((found.on_difference**2).sum(axis=0) * bands / (bands - 1))
    known = slice(0, 2 * len(FRAME.offset))
    pull = ((found.solution.difference - truth) / np.where(spread > 0, spread, 1))[known]
    assert spread[known].mean() < 0.003
    assert pull.std() == pytest.approx(1.0, abs=0.15)
    assert np.allclose(found.solution.mean[0], mean + 0.5 * wave_mean(cells), atol=0.01)
    assert not any(p.left_out for p in found.pairs)
    assert [p.distance for p in found.pairs] == list(PAIR_SHELLS)


def test_influences_sum_to_nothing():
    cells, *_ = lattice_cells(1)
    found = _solved([cells], FRAME, ROLES)
    size = np.abs(found.on_difference).max()
    assert np.abs(found.on_difference.sum(axis=0)).max() < 1e-3 * size
    assert np.abs(found.on_mean.sum(axis=0)).max() < 1e-3 * np.abs(found.on_mean).max()


def test_domains_of_an_image_share_its_bands():
    """They share the jitter of its lines: with a band for each, many islands would look precise."""
    cells, *_ = lattice_cells(1)
    left = cells.place_nm[:, 1] < np.median(cells.place_nm[:, 1])
    islands = [cells.without(left), cells.without(~left)]
    (whole,) = _bands([cells])
    parts = _bands(islands)
    assert [*map(len, parts)] == [*map(len, islands)]
    np.testing.assert_array_equal(np.unique(np.concatenate(parts)), np.unique(whole))
    assert set(parts[0]) & set(parts[1])
    other = _bands([islands[0], replace(islands[1], image_index=1)])
    assert not set(other[0]) & set(other[1])
    one, two = _solved([cells], FRAME, ROLES), _solved(islands, FRAME, ROLES)
    assert len(two.image_index) == len(one.image_index)
    assert np.abs(two.on_mean.sum(axis=0)).max() < 1e-3 * np.abs(two.on_mean).max()


def test_the_nearest_band_of_an_image():
    rng = np.random.default_rng(3)
    bands = Bands(rng.integers(0, 3, 40), rng.uniform(0, 1000, 40))
    lines = rng.uniform(-50, 1050, 200)
    away = np.abs(lines[:, None] - np.where(bands.image_index == 1, bands.line_px, np.inf))
    np.testing.assert_array_equal(bands.nearest(1, lines), away.argmin(axis=1))
    np.testing.assert_array_equal(bands.nearest(5, lines), -1)


def test_groups_count_by_what_they_are_worth():
    """However many bands their images have: the error is that of the weighted mean."""
    rng = np.random.default_rng(4)
    groups = [rng.normal(mean, 1.0, (n, 3, 3)) for mean, n in ((0.0, 30), (10.0, 10))]
    joined = _joined(groups, [1.0, 3.0])
    means = [group.mean(axis=0) for group in groups]
    np.testing.assert_allclose(joined.mean(axis=0), 0.25 * means[0] + 0.75 * means[1], atol=1e-5)
    squares = [((g - m) ** 2).sum(axis=0) / len(g) ** 2 for g, m in zip(groups, means, strict=True)]
    expected = 0.25**2 * squares[0] + 0.75**2 * squares[1]
    np.testing.assert_allclose(joined.var(axis=0) / len(joined), expected, rtol=1e-4)


def test_a_group_that_is_worth_nothing_changes_neither_average_nor_error():
    rng = np.random.default_rng(5)
    group = rng.normal(3.0, 1.0, (30, 3, 3))
    joined = _joined([group, 10], [2.0, 0.0])
    assert len(joined) == 40
    np.testing.assert_allclose(joined.mean(axis=0), group.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(joined[30:], np.tile(group.mean(axis=0), (10, 1, 1)), atol=1e-5)
    error = joined.var(axis=0) / len(joined)
    np.testing.assert_allclose(error, group.var(axis=0) / len(group), rtol=1e-4)


def test_as_many_windows_as_effective_would_tell_as_much():
    cells, *_ = lattice_cells(2)
    found = _solved([cells], FRAME, ROLES)
    count = found.count.sum(axis=0)
    assert (found.effective[1:3] < count[1:3]).all()
    assert (found.effective[1:3] > 0.6 * count[1:3]).all()


def test_pairs_that_do_not_add_are_left_out():
    cells, _, truth = lattice_cells(3, pair=0.05)
    found = _solved([cells], FRAME, ROLES)
    nearest = found.pairs[0]
    assert nearest.left_out and abs(nearest.excess) > 5 * nearest.sigma
    assert 0.4 < nearest.share < 0.75
    own = found.solution.difference[[0, len(FRAME.offset)]] - truth[[0, len(FRAME.offset)]]
    assert np.abs(own).mean() < 0.01


def test_dirt_is_left_out():
    cells, _, truth = lattice_cells(4)
    cells.value[100:110] += 30.0
    found = _solved([cells], FRAME, ROLES)
    known = slice(0, 2 * len(FRAME.offset))
    assert np.abs(found.solution.difference - truth)[known].max() < 0.03


def test_too_few_cells_are_not_solved():
    cells, *_ = lattice_cells(5, n=22)
    assert _solved([cells], FRAME, ROLES) is None


def test_small_image_says_that_it_is_too_small():
    image = simulated(5, size=256, fractions=CROWDED)
    found = crowded_stacks([image.image], [true_sites(image)], WindowFrame(330.0, 20.0, 2.0), 0.9)
    assert not found.stacks
    assert "too few" in found.warnings[0]


@pytest.mark.slow
def test_every_defect_tells_more_than_isolated_ones():
    images = [simulated(k, size=640, fractions=CROWDED, name=f"a{k}") for k in (6, 7)]
    sites = [true_sites(i) for i in images]
    window = WindowFrame(330.0, 20.0, 2.0)
    found = crowded_stacks([i.image for i in images], sites, window, 0.9)
    stack = found.stacks["SV"]
    assert stack.n_columns > 60
    assert stack.effective_n == pytest.approx(stack.n_columns, rel=0.3)
    assert average_stack(stack).n == stack.n_columns
    measured = measure_classes(found.stacks, SHARED_PROFILE)
    for name in ("SeTe", "2Te", "SV", "DV"):
        spacing = measured[name].spacing
        away = spacing.strain - SPACING_CHANGE[name]
        assert abs(away) < 4 * spacing.strain_total_std, name
    assert measured["SV"].spacing.strain_std < 0.0015


def test_no_class_is_lost_with_pairs_that_do_not_add(monkeypatch):
    """Where hardly a defect is without such a neighbour, pairs stay, and it is said."""
    made = simulated(8, size=480, fractions=(0.06, 0.03, 0.06, 0.01))

    def crossed(cells, square, bands, frame, distance):
        return PairCheck(distance, 0.6, -0.2, 0.01, True)

    window, sites = WindowFrame(330.0, 20.0, 2.0), [true_sites(made)]
    usual = crowded_stacks([made.image], sites, window, 0.9)
    monkeypatch.setattr(crowded, "pair_check", crossed)
    found = crowded_stacks([made.image], sites, window, 0.9)
    assert {"SeTe", "SV"} <= set(found.stacks) == set(usual.stacks)
    assert found.stacks["SV"].n_columns == usual.stacks["SV"].n_columns
    assert all(p.needed and not p.left_out for p in found.pairs)
    assert sum("kept, though they don't add" in text for text in found.warnings) == 3


@pytest.mark.parametrize("seed", [302, 303, 306])
def test_pairs_that_add_are_kept_in_small_images(seed):
    """A defect alone has more say in what is fitted, so that less is left: no sign of pairs."""
    made = simulated(seed, size=480, fractions=(0.06, 0.03, 0.06, 0.01))
    found = crowded_stacks([made.image], [true_sites(made)], WindowFrame(330.0, 20.0, 2.0), 0.9)
    assert not any(p.left_out or p.needed for p in found.pairs)
    assert all(abs(p.excess) < 0.05 for p in found.pairs)
