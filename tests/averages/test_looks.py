"""How unlike their class detections look, how they vary, and in what order they come."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from small_alloy import relabelled, simulated, true_sites

from napari_defectstrain.averages import core_pixels, list_detections, sorted_rows
from napari_defectstrain.averages import looks as looks_module
from napari_defectstrain.averages.looks import (
    DISTANCE,
    class_counts,
    class_distance,
    detection_features,
    find_components,
    grey_limits,
    looks_in_steps,
)
from napari_defectstrain.averages.thumbnails import thumbnail_source
from napari_defectstrain.materials import WSE2


def looked_at(sites, made):
    source = thumbnail_source(made.image, sites, WSE2.lattice_pm)
    found = list_detections([sites], [source.lattice])
    thumbnails = source.cut(found.position_px)
    return found, thumbnails, core_pixels(thumbnails)


def test_a_wrong_class_lies_farthest_from_its_average():
    made = simulated(size=384, fractions=(0.03, 0.03, 0.03, 0.0))
    sites = true_sites(made)
    inside = ((made.position_px > 60) & (made.position_px < 324)).all(axis=1)
    wrong = np.flatnonzero(inside & (sites.class_index == 3))[:1]  # a double substituent
    chosen = np.isin(np.arange(len(sites)), wrong)
    found, _, core = looked_at(relabelled(sites, chosen, "SV"), made)
    distance = detection_features(found, core)[DISTANCE]
    row = int(np.flatnonzero(found.site_index == wrong[0])[0])
    vacancies = found.class_index == 4
    assert distance[row] == distance[vacancies].max()
    assert distance[row] > 3
    # given its own class back it looks as the others
    right = found.with_class([row], 3)
    assert detection_features(right, core)[DISTANCE][row] < 2


def test_distances_are_usual_for_windows_that_differ_by_noise(rng):
    core = rng.normal(size=(400, 300)).astype(np.float32)
    distance = class_distance(core, np.zeros(400, dtype=int))
    assert abs(np.median(distance)) < 0.01
    # of unit spread: the standard error of a robust sigma of 400 is 6 %
    assert_allclose(np.std(distance), 1.0, atol=0.25)
    assert np.isnan(class_distance(core[:3], np.zeros(3, dtype=int))).all()


def test_components_find_the_direction_that_varies(rng):
    direction = rng.normal(size=200)
    direction /= np.linalg.norm(direction)
    strength = rng.normal(size=500)
    core = (strength[:, None] * 5 * direction + 0.1 * rng.normal(size=(500, 200))).astype("f4")
    found = find_components(core)
    assert abs(found.direction[0] @ direction) > 0.999
    told = found.of(core)[:, 0]
    assert abs(np.corrcoef(told, strength)[0, 1]) > 0.999
    assert found.direction[0][np.abs(found.direction[0]).argmax()] > 0


def test_pixels_beyond_the_border_take_the_mean():
    windows = np.ones((3, 41, 41), dtype=np.float32)
    windows[0, :20] = np.nan
    windows[1:] = 2.0
    core = core_pixels(windows)
    assert np.isfinite(core).all()
    assert core[0].min() == 1.0
    assert core[0].max() == 2.0


def test_order_is_stable_and_unknown_values_come_last():
    values = np.array([3.0, np.nan, 1.0, 3.0, 2.0])
    every = np.arange(5)
    assert sorted_rows(values, every, descending=True).tolist() == [0, 3, 4, 2, 1]
    assert sorted_rows(values, every, descending=False).tolist() == [2, 4, 0, 3, 1]
    assert sorted_rows(values, np.array([4, 2]), descending=False).tolist() == [2, 4]
    place = np.array([[1.0, 9.0], [0.0, 5.0], [1.0, 2.0]])
    assert sorted_rows(place, np.arange(3), descending=False).tolist() == [1, 2, 0]


def test_one_scale_of_grey_and_counts():
    windows = np.linspace(-1, 2, 100 * 41 * 41).reshape(100, 41, 41)
    low, high = grey_limits(windows)
    assert -1.0 < low < -0.9
    assert 1.9 < high < 2.0
    assert grey_limits(np.full((2, 5, 5), np.nan)) == (0.0, 1.0)
    assert class_counts(np.array([1, 1, 2]), ("W", "2Se", "SV")) == {"W": 0, "2Se": 2, "SV": 1}


def test_nothing_detected_has_no_features():
    made = simulated(size=256)
    sites = true_sites(made)
    empty = relabelled(sites, sites.class_index > 1, "2Se")
    found, thumbnails, core = looked_at(empty, made)
    assert len(found) == len(thumbnails) == len(core) == 0
    features = detection_features(found, core, find_components(core).of(core))
    assert_array_equal([len(v) for v in features.values()], 0)


def test_looks_come_in_steps_the_least_probable_first(monkeypatch):
    monkeypatch.setattr(looks_module, "FIRST", 5)
    monkeypatch.setattr(looks_module, "CHUNK", 20)
    made = [simulated(size=256), simulated(size=256, seed=2)]
    sites = [true_sites(one) for one in made]
    sites[0].probabilities[:] = 0.7 * sites[0].probabilities + 0.3 / 7
    images = [one.image for one in made]
    steps = list(
        (int(looks.ready.sum()), looks)
        for looks in looks_in_steps(images, sites, [None, None], WSE2.lattice_pm)
    )
    first, last = steps[0][1], steps[-1][1]
    assert steps[0][0] == 5
    assert [n for n, _ in steps] == sorted(n for n, _ in steps)
    assert first.core is None
    assert last.ready.all()
    assert np.isfinite(last.core).all()
    assert last.limits == first.limits
    assert last.components.shape == (len(last.detections), 3)
    assert first.thumbnails is last.thumbnails
    changed = last.with_class([0], 5)
    assert changed.features()["doubt"][0] == 0.0
    assert last.features()["doubt"][0] > 0.0
    anew = detection_features(changed.detections, last.core, last.components)
    for name, values in changed.features().items():
        assert_allclose(values, anew[name], err_msg=name)
