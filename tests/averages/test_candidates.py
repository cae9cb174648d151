"""Which defect-free windows are the reference: far apart, and independent of the defects around."""

from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.averages.candidates import Candidates, thin_reference
from napari_defectstrain.crystal.honeycomb import basis_pm

A_PM = 330.0


def perfect_columns(side: int, kept: np.ndarray | None = None) -> Candidates:
    """A rhombus of defect-free candidates of two patches; `kept` takes some of them away."""
    i, j = (g.ravel() for g in np.meshgrid(np.arange(side), np.arange(side)))
    place = np.stack([i, j], axis=1) @ basis_pm(A_PM).T
    patch = np.repeat([0, 1], len(place))
    place = np.tile(place, (2, 1)) + np.random.default_rng(9).normal(0, 15.0, (2 * len(i), 2))
    n = len(place)
    probabilities = np.zeros((n, 7))
    probabilities[:, 1] = 1.0
    every = Candidates(
        patch, patch, np.arange(n), np.ones(n, dtype=int), probabilities, place, place
    )
    return every if kept is None else every.take(np.flatnonzero(kept))


@pytest.mark.parametrize(
    ("count", "width"),
    [(20, 6.0), (60, 4.0), (120, 3.0), (160, 7**0.5), (250, 2.0), (380, 3**0.5)],
)
def test_windows_lie_as_far_apart_as_their_number_allows(count: int, width: float) -> None:
    # two patches of 24 x 24 sites hold 32, 72, 128, about 164, 288 and 384 of each kind
    found = thin_reference(perfect_columns(24), count, 0.9, A_PM, np.random.default_rng(3))
    assert len(found) == count
    for patch in (0, 1):
        place = found.centre_px[found.patch_index == patch]
        gap = np.hypot(*(place[:, None] - place[None]).T) + 1e9 * np.eye(len(place))
        # 15 pm of scatter on each: five sigma of the difference
        assert gap.min() == pytest.approx(width * A_PM, abs=110.0)


def test_what_is_drawn_does_not_depend_on_what_else_could_be() -> None:
    """Where defects make candidates scarce, no larger share of them is taken."""
    everywhere = thin_reference(perfect_columns(24), 10**6, 0.9, A_PM, np.random.default_rng(5))
    crowded = np.random.default_rng(6).random(2 * 24 * 24) < 0.2
    crowded[: 24 * 12] = True  # half a patch without defects
    some = thin_reference(perfect_columns(24, crowded), 10**6, 0.9, A_PM, np.random.default_rng(5))
    expected = everywhere.site_index[crowded[everywhere.site_index]]
    assert some.site_index.tolist() == expected.tolist()


def test_defects_stay_and_improbable_columns_go() -> None:
    found = perfect_columns(12)
    found.class_index[:3] = 4
    found.probabilities[10:, 1] = 0.5
    kept = thin_reference(found, 100, 0.9, A_PM, np.random.default_rng(0))
    assert kept.site_index[:3].tolist() == [0, 1, 2]
    assert (kept.site_index < 10).all()


@pytest.mark.parametrize("seed", range(5))
def test_where_there_are_few_all_count(seed: int) -> None:
    kept = np.zeros(2 * 12 * 12, dtype=bool)
    kept[[5, 17, 100]] = True
    few = perfect_columns(12, kept)
    assert len(thin_reference(few, 100, 0.9, A_PM, np.random.default_rng(seed))) == 3


def test_each_patch_draws_by_its_own_key() -> None:
    """Neither another order of the images nor one that is added moves what is drawn in one."""
    found = perfect_columns(24)
    keys = [(11, 1), (12, 1)]
    both = thin_reference(found, 10**6, 0.9, A_PM, np.random.default_rng(3), keys)
    turned = np.flatnonzero(found.patch_index == 1)
    alone = replace(found.take(turned), patch_index=np.zeros(len(turned), dtype=int))
    one = thin_reference(alone, 10**6, 0.9, A_PM, np.random.default_rng(3), keys[1:])
    assert one.site_index.tolist() == both.site_index[both.patch_index == 1].tolist()
    by_place = set(both.site_index[both.patch_index == 0] % (24 * 24))
    assert by_place != set(one.site_index % (24 * 24))
