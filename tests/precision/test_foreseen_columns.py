"""Columns foreseen by class and neighbours: nearer to the truth than they were measured."""

from dataclasses import replace

import numpy as np

from napari_defectstrain.averages.patches import find_patches
from napari_defectstrain.crystal.honeycomb import ideal_sites
from napari_defectstrain.materials import WSE2, get_material
from napari_defectstrain.precision.foreseen_columns import ForeseenColumns
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, simulate_image
from napari_defectstrain.types import CalibratedImage, Sites


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


def crystal(share: float, material: str = "WSe2", kind: int = 4) -> tuple[CalibratedImage, Sites]:
    """The columns of a small crystal, some of one class, and a picture of nothing."""
    names = get_material(material).all_class_names
    site, is_metal = ideal_sites(330.0, 4500.0)
    place = np.stack([-site[:, 1], site[:, 0]], axis=1) / 20.0 + 128.0
    inside = ((place > 0) & (place < 255)).all(axis=1)
    drawn = np.random.default_rng(0).random(len(site)) < share
    role = np.where(is_metal, 0, np.where(drawn, kind, 1))[inside]
    made = np.full(len(role), "truth")
    sites = Sites(place[inside], np.eye(len(names))[role], role, names, made)
    return CalibratedImage(np.zeros((256, 256), dtype=np.float32), 20.0, "crystal"), sites


def test_columns_of_a_perfect_crystal_are_foreseen_too() -> None:
    image, sites = crystal(0.0)
    patches = find_patches([image], [sites], 330.0)
    rng = np.random.default_rng(1)
    measured = sites.position_px + rng.normal(0, 0.25, sites.position_px.shape)
    weight = np.where(sites.is_metal, 1.0, 0.4) + rng.normal(0, 0.05, len(sites))
    place, heavy = ForeseenColumns(sites, patches, 330.0)(measured, weight)
    known = np.isfinite(place[:, 0])
    assert known.mean() > 0.5
    assert np.std((place - sites.position_px)[known]) < 0.6 * 0.25
    assert np.std(heavy[known & sites.is_metal]) < 0.6 * 0.05


def test_a_crystal_without_inner_columns_foresees_nothing() -> None:
    image, sites = crystal(0.05)
    middle = np.hypot(*(sites.position_px - 128.0).T) < 20.0
    few = sites.subset(middle)
    patches = [replace(p, member=p.member[middle]) for p in find_patches([image], [sites], 330.0)]
    place, heavy = ForeseenColumns(few, patches, 330.0)(few.position_px, np.ones(len(few)))
    assert np.isnan(place).all() and np.isnan(heavy).all()


def test_columns_of_named_classes_are_foreseen_by_their_own_weight() -> None:
    image, sites = crystal(0.05, "WSe2 + SSe=0.52", 7)
    patches = find_patches([image], [sites], 330.0)
    weight = np.array([1.0, 0.4, 0.6, 0.8, 0.2, 0.0, 0.0, 0.52])[sites.class_index]
    place, heavy = ForeseenColumns(sites, patches, 330.0)(sites.position_px, weight)
    named = np.isfinite(place[:, 0]) & (sites.class_index == 7)
    assert named.sum() > 5
    assert np.abs(heavy[named] - 0.52).max() < 0.05
