"""Columns foreseen by class and neighbours: nearer to the truth than they were measured."""

import numpy as np

from napari_defectstrain.averages.patches import find_patches
from napari_defectstrain.materials import WSE2
from napari_defectstrain.precision.foreseen_columns import ForeseenColumns
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.types import Sites


def test_foreseen_columns_are_nearer_to_the_truth_than_measured_ones() -> None:
    rng = np.random.default_rng(2)
    simulated = simulate_image(SimulationConfig(scan=ScanConfig(shape=(512, 512))), rng)
    inside = ((simulated.position_px > 0) & (simulated.position_px < 511)).all(axis=1)
    true, role = simulated.position_px[inside], np.asarray(simulated.class_index)[inside]
    sites = Sites(true, np.eye(7)[role], role, WSE2.class_names, np.full(len(role), "truth"))
    weight = np.array([1.0, 0.4, 0.6, 0.8, 0.2, 0.0, 0.0])[role]
    patches = find_patches([simulated.image], [sites], 328.0, None)
    measured = true + rng.normal(0, 0.25, true.shape)
    place, heavy = ForeseenColumns(sites, patches, 328.0)(
        measured, weight + rng.normal(0, 0.05, len(weight))
    )
    known = np.isfinite(place[:, 0])
    assert known.mean() > 0.5
    assert np.array_equal(known, np.isfinite(heavy))
    assert np.std((place - true)[known]) < 0.6 * 0.25
    assert np.std((heavy - weight)[known]) < 0.6 * 0.05
    nothing = ForeseenColumns(sites, [], 328.0)(measured, weight)
    assert np.isnan(nothing[0]).all()
