"""Cells of whole images: where they lie, what they hold, and which defects lie around."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import relabelled, simulated, true_sites

from napari_defectstrain.averages import find_patches
from napari_defectstrain.averages.cells import DOUBTFUL, SAMPLES, CellFrame, cut_cells
from napari_defectstrain.types import OTHER

A_PM = 330.0
FRAME = CellFrame(A_PM)
ROLES = np.array([2, 3, 4, 5, DOUBTFUL])
CROWDED = (0.05, 0.03, 0.05, 0.02)


@pytest.fixture(scope="module")
def alloy():
    image = simulated(3, fractions=CROWDED)
    sites = true_sites(image)
    (patch,) = find_patches([image.image], [sites], A_PM)
    return image.image, sites, patch


def cells_of(alloy, sites=None, counted=None):
    image, known, patch = alloy
    return cut_cells(image, sites or known, patch, FRAME, ROLES, 0.9, counted)


def test_cell_is_sampled_from_corner_to_corner():
    sample = FRAME.sample_pm.reshape(SAMPLES, SAMPLES, 2)
    assert np.allclose(sample[SAMPLES // 2, SAMPLES // 2], 0)
    first, second = sample[-1, 0] - sample[0, 0], sample[0, -1] - sample[0, 0]
    assert np.allclose([np.hypot(*first), np.hypot(*second)], A_PM * (1 - 1 / SAMPLES))
    assert FRAME.hexagon_centre.any() and FRAME.hexagon_centre.mean() < 0.15


def test_own_cell_comes_first_and_nearest_follow():
    radius = np.hypot(*(FRAME.offset @ FRAME.basis.T).T) / A_PM
    assert radius[0] == 0
    assert np.allclose(radius[1:7], 1)
    assert (np.diff(radius) > -1e-9).all()


def test_every_cell_holds_its_column_a_metal_and_an_empty_centre(alloy):
    cells = cells_of(alloy)
    perfect = cells.value[cells.role == 1].mean(axis=0)
    assert perfect.max() == pytest.approx(1.0, abs=0.05)
    assert abs(perfect[FRAME.hexagon_centre].mean()) < 0.02
    empty = cells.value[cells.role == 5].mean(axis=0)
    own = np.hypot(*FRAME.sample_pm.T) < 0.1 * A_PM
    assert empty[own].mean() < 0.3 * perfect[own].mean()


def test_defects_around_are_those_of_the_table(alloy):
    _, sites, patch = alloy
    cells = cells_of(alloy)
    centre = patch.lattice.to_pm(sites.position_px)
    i, reach = len(cells) // 2, len(FRAME.offset)
    pixel_nm = 1e-3 / np.sqrt(np.linalg.det(patch.lattice.matrix))
    here = patch.lattice.to_pm(cells.place_nm[i] / pixel_nm)
    for k, role in enumerate(ROLES[:-1]):
        near = np.hypot(*(centre[sites.class_index == role] - here).T)
        within = np.hypot(*(FRAME.offset @ FRAME.basis.T).T).max() + 0.25 * A_PM
        row = cells.around[[i], k * reach : (k + 1) * reach]
        assert row.sum() == (near < within).sum()


def test_columns_of_doubtful_class_count_for_none(alloy):
    image, sites, patch = alloy
    doubt = sites.probabilities.copy()
    some = np.flatnonzero(sites.class_index == 4)[::2]
    doubt[some] = np.eye(7)[4] * 0.6 + np.eye(7)[1] * 0.4
    cells = cells_of(alloy, replace(sites, probabilities=doubt))
    certain = cells_of(alloy)
    assert (cells.role == DOUBTFUL).sum() + (cells.role == 4).sum() == (certain.role == 4).sum()
    assert (cells.role == DOUBTFUL).any()


def test_no_cell_near_a_strange_column_or_one_that_does_not_count(alloy):
    image, sites, patch = alloy
    middle = np.argmin(np.hypot(*(sites.position_px - 256).T))
    chosen = np.zeros(len(sites), dtype=bool)
    chosen[middle] = True
    strange = relabelled(sites, chosen, "other")
    assert strange.class_index[middle] == OTHER
    assert len(cells_of(alloy)) - len(cells_of(alloy, strange)) > 10
    counted = sites.position_px[:, 0] < 256
    half = cells_of(alloy, counted=counted)
    assert len(half) < 0.6 * len(cells_of(alloy))
