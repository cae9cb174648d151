"""From maps to columns: one detection a column, sublattices by majority, classes; doubts."""

from functools import lru_cache

import numpy as np
import pytest

from napari_defectstrain.detect.finding.doubts import irregular_fraction, opposed_fraction
from napari_defectstrain.detect.finding.locate import (
    SEAM_PX,
    assign_classes,
    find_columns,
    merge_columns,
    settle_sublattices,
)
from napari_defectstrain.detect.finding.prepare import to_resampled
from napari_defectstrain.detect.network.network import N_LABELS
from napari_defectstrain.evaluation.score import match_columns
from napari_defectstrain.materials import WSE2, Material
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulatedImage, SimulationConfig, simulate_image
from napari_defectstrain.simulate.scattering import nominal_weights
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import Sites


@lru_cache
def region(material: Material = WSE2, side: int = 400) -> SimulatedImage:
    config = SimulationConfig(
        crystal=CrystalConfig(
            material.name, material.lattice_pm, fractions=(0.06, 0.05, 0.06, 0.02)
        ),
        scan=ScanConfig(shape=(side, side), rotation_deg=17.0),
        weights=nominal_weights(material),
    )
    return simulate_image(config, np.random.default_rng(0), "region")


def truth_sites(simulated: SimulatedImage) -> Sites:
    index = np.asarray(simulated.class_index)
    one_hot = np.eye(7)[index]
    source = np.full(len(index), "truth")
    return Sites(simulated.position_px, one_hot, index, WSE2.class_names, source)


def honeycomb_maps(shown_as: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Ideal maps of a small honeycomb, and the places (y, x) of its columns."""
    simulated = region()
    place = to_resampled(simulated.position_px, (400, 400), (207, 207))
    y, x = np.mgrid[:207, :207]
    maps = np.zeros((N_LABELS, 207, 207), dtype=np.float32)
    for (py, px), role in zip(place, simulated.class_index, strict=True):
        near = (slice(max(0, int(py) - 4), int(py) + 6), slice(max(0, int(px) - 4), int(px) + 6))
        disc = np.exp(-((y[near] - py) ** 2 + (x[near] - px) ** 2) / 2.0)
        shown = shown_as.get(int(role), int(role)) + 1
        maps[shown][near] = np.maximum(maps[shown][near], disc)
    maps[0] = 1 - maps[1:].sum(axis=0)
    return maps, place


def test_every_column_is_found_once_at_its_place() -> None:
    maps, place = honeycomb_maps({})
    located = merge_columns([find_columns(maps, 0.3)])
    found, probabilities = located.position_px, located.probabilities
    inside = np.all((place > 3) & (place < 203), axis=1)
    f, t = match_columns(found, place, 1.0)
    assert set(np.flatnonzero(inside)) <= set(t)
    error = (found[f] - place[t])[inside[t]]
    # what is left of 0.05 px (2 pm) comes from the maxima of overlapping discs
    assert np.abs(error).max() < 0.05
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_parts_with_seams_hold_what_the_whole_holds_bit_by_bit() -> None:
    maps, _ = honeycomb_maps({})
    whole = find_columns(maps, 0.3)
    parts = []
    for start, stop in ((150, 207), (0, 61), (61, 150)):  # in no order
        low, high = max(0, start - SEAM_PX), min(207, stop + SEAM_PX)
        part = find_columns(maps[:, low:high], 0.3).moved((low, 0))
        parts.append(part[(part.pixel[:, 0] >= start) & (part.pixel[:, 0] < stop)])
    assert sum(map(len, parts)) == len(whole)
    merged, once = merge_columns(parts), merge_columns([whole])
    for name in ("pixel", "probabilities", "column_probability"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(once, name))
    # offset + whole pixels: sums of two doubles round differently
    np.testing.assert_allclose(merged.position_px, once.position_px, rtol=0, atol=1e-12)


def test_of_two_maxima_on_one_column_the_stronger_stays() -> None:
    maps = np.zeros((N_LABELS, 40, 40), dtype=np.float32)
    for y, x, height in ((8, 8, 1.0), (8, 14, 1.0), (8, 20, 1.0), (20, 8, 1.0), (20, 11, 0.8)):
        maps[2, y - 1 : y + 2, x - 1 : x + 2] = height
    maps[0] = 1 - maps[2]
    found = merge_columns([find_columns(maps, 0.3)])
    position, strength = found.position_px, found.column_probability
    assert position.round().tolist() == [[8, 8], [8, 14], [8, 20], [20, 8]]
    assert strength == pytest.approx(1.0)


def test_metal_is_decided_by_the_majority_not_by_brightness() -> None:
    # the network takes every SeTe for W: its place in the honeycomb says otherwise
    maps, place = honeycomb_maps({2: 0})
    located = merge_columns([find_columns(maps, 0.3)])
    found, probabilities = located.position_px, located.probabilities
    settled = settle_sublattices(found, probabilities)
    truth = region().class_index
    f, t = match_columns(found, place, 1.0)
    inside = np.all((place[t] > 8) & (place[t] < 198), axis=1)
    assert ((settled[f, 0] > 0.5) == (truth[t] == 0))[inside].all()


def test_adatoms_have_no_vote_on_their_neighbours_sublattice() -> None:
    simulated = region()
    place, truth = simulated.position_px, np.asarray(simulated.class_index)
    probabilities = np.eye(7)[truth]
    # every fifth column of the middle has an adatom 90 pm away from it, named other
    middle = np.flatnonzero(np.all(np.abs(place - 200) < 150, axis=1))
    beside = place[middle[::5]] + (4.3, 0.0)
    every = np.concatenate([place, beside])
    strange = np.tile(np.eye(7)[6] * 0.9 + np.eye(7)[0] * 0.1, (len(beside), 1))
    settled = settle_sublattices(every, np.concatenate([probabilities, strange]))
    n = len(place)
    assert ((settled[:n, 0] == 1) == (truth == 0))[middle].all()
    assert (settled[n:].argmax(axis=1) == 6).all()
    np.testing.assert_allclose(settled.sum(axis=1), 1)


def test_thresholds_turn_doubtful_defects_into_the_host() -> None:
    p = np.zeros((3, 7))
    p[0, 1:4] = 0.3, 0.6, 0.1
    p[1, 1:5] = 0.1, 0.05, 0.05, 0.8
    p[2, 0] = 1
    assert assign_classes(p, (0.5, 0.5, 0.5, 0.5)).tolist() == [2, 4, 0]
    assert assign_classes(p, (0.7, 0.5, 0.9, 0.5)).tolist() == [1, 1, 0]


def test_other_needs_more_than_half() -> None:
    p = np.zeros((4, 7))
    p[0, [1, 6]] = 0.4, 0.6
    p[1, [1, 4, 6]] = 0.2, 0.35, 0.45  # the largest, but no majority: SV is below its threshold
    p[2, [0, 6]] = 0.3, 0.7  # on the metal sublattice
    p[3, [0, 6]] = 0.55, 0.45
    assert assign_classes(p, (0.5, 0.5, 0.5, 0.5)).tolist() == [6, 1, 6, 0]
    assert assign_classes(p, (0.5, 0.5, 0.3, 0.5)).tolist() == [6, 4, 6, 0]


def test_a_honeycomb_is_regular_and_another_net_is_not() -> None:
    simulated = region()
    assert irregular_fraction(simulated.position_px, (400, 400)) == 0
    square = np.stack(np.meshgrid(np.arange(0, 400, 9.0), np.arange(0, 400, 9.0)), -1)
    assert irregular_fraction(square.reshape(-1, 2), (400, 400)) > 0.9


def test_a_twin_opposes_the_majority() -> None:
    sites = truth_sites(region())
    assert opposed_fraction(sites) == 0
    # in the lower quarter the other sublattice is taken for metal
    swapped = sites.class_index.copy()
    low = sites.position_px[:, 0] > 300
    swapped[low] = np.where(swapped[low] == 0, 1, 0)
    other = Sites(sites.position_px, sites.probabilities, swapped, sites.class_names, sites.source)
    assert opposed_fraction(other) == pytest.approx(0.25, abs=0.03)
