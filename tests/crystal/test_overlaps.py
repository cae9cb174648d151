"""Images of one place are found, whatever was done to them; others never."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites
from synthetic_lattice import frame_matrix, make_crystal

from napari_defectstrain.crystal.overlaps import (
    counted_columns,
    counted_regions,
    find_overlaps,
    overlap_warnings,
)
from napari_defectstrain.crystal.regions import CONTAMINATED, ERASED, label_regions
from napari_defectstrain.io.content import in_content_order
from napari_defectstrain.pipeline import chain
from napari_defectstrain.types import CalibratedImage, Sites

NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
ALLOY = (0.056, 0.032, 0.056, 0.002)
SHAPE = (512, 512)


@lru_cache
def crystal(seed, side=1100, defects=ALLOY, angle_deg=8.0):
    rng = np.random.default_rng(seed)
    return make_crystal(
        (side, side), frame_matrix(20.74, angle_deg), 330.0, (250.0, 250.0), rng, defects
    )


def field(whole, corner=(0, 0), seed=0, wrong=0.02):
    """Columns that an image shows: places to 6 pm, a share of the chalcogens misjudged."""
    rng = np.random.default_rng(seed)
    position = whole.position_px - np.array(corner) + rng.normal(0, 0.3, whole.position_px.shape)
    seen = ((position > 0) & (position < np.array(SHAPE) - 1)).all(axis=1)
    seen &= whole.class_index != 5
    kind = whole.class_index[seen].copy()
    bad = (kind > 0) & (rng.random(len(kind)) < wrong)
    kind[bad] = rng.integers(1, 5, int(bad.sum()))
    return Sites(position[seen], np.eye(7)[kind], kind, NAMES, np.full(len(kind), "model"))


def image(name, seed=0, shape=SHAPE):
    return CalibratedImage(np.random.default_rng(seed).normal(size=shape), 20.74, name)


def by_content(*images):
    """The images in the order of their pixels' hashes, by which the first of two is told."""
    return [images[i] for i in in_content_order(images)]


# ------------------------------------------------------------------ overlapping fields


@pytest.mark.parametrize(
    ("corner", "share"), [((0, 0), 1.0), ((100, 200), 0.49), ((256, 256), 0.25), ((390, 0), 0.24)]
)
def test_overlapping_fields_are_found_with_how_much_they_share(corner, share):
    fields = [field(crystal(1)), field(crystal(2)), field(crystal(1), corner, seed=1)]
    first, last = by_content(image("a", 1), image("c", 3))
    images = [first, image("b", 2), last]
    (found,) = find_overlaps(images, fields)
    assert (found.first, found.second) == (0, 2)
    assert found.share == pytest.approx(share, abs=0.02)
    assert found.matrix == pytest.approx(np.column_stack([np.eye(2), corner]), abs=0.5)
    (text,) = overlap_warnings(images, (found,))
    assert text.startswith(f"{last.name} and {first.name} show the same place")
    counted = counted_columns(images, fields, (found,))
    assert counted[0].all() and counted[1].all()
    assert 1 - counted[2].mean() == pytest.approx(found.share)


@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_turned_and_flipped_fields_are_found(quarter_turns, flip):
    other = field(crystal(1), (60, 90), seed=1)
    place = other.position_px - 255.5
    if flip:
        place = place * [1, -1]
    for _ in range(quarter_turns):
        place = place[:, ::-1] * [-1, 1]
    turned = replace(other, position_px=place + 255.5)
    images = by_content(image("a", 1), image("b", 2))
    (found,) = find_overlaps(images, [field(crystal(1)), turned])
    assert found.share == pytest.approx(0.73, abs=0.02)


def test_another_scan_rotation_and_pixel_size_are_found():
    other = field(crystal(1), seed=1)
    angle = np.deg2rad(37.0)
    turn = 1.2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scanned = replace(other, position_px=(other.position_px - 255.5) @ turn.T + 400.0)
    fields = [field(crystal(1)), scanned]
    for order in ([0, 1], [1, 0]):
        images = [(image("a", 1), image("b", 2, (900, 900)))[i] for i in order]
        (found,) = find_overlaps(images, [fields[i] for i in order])
        shared = {"b": 1.0, "a": found.share}[images[found.second].name]
        assert found.share == pytest.approx(shared, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("defects", [ALLOY, (0.01, 0.0, 0.01, 0.0), (0.1, 0.1, 0.1, 0.01)])
def test_different_places_are_no_pair(defects):
    whole = crystal(5, 3200, defects)
    corners = [(516 * i, 516 * j) for i in range(6) for j in range(6)]
    fields = [field(whole, corner, seed=k) for k, corner in enumerate(corners)]
    images = [image(f"i{k}", k) for k in range(len(fields))]
    assert find_overlaps(images, fields) == ()


# ------------------------------------------------------------------ copies


def test_copies_of_images_without_defects_are_found_by_their_noise():
    perfect = crystal(7, 600, (0.0, 0.0, 0.0, 0.0))
    one = np.random.default_rng(1).normal(100.0, 10.0, SHAPE)
    other = np.random.default_rng(2).normal(100.0, 10.0, SHAPE)
    columns = field(perfect, wrong=0.0)
    back = columns.position_px[:, ::-1] * [-1, 1] + [511, 0]  # as np.rot90 turns pixels
    pictures = {
        "one": (one, columns),
        "other": (other, columns),
        "scaled": (one * 3 - 40, columns),
        "rounded": (np.round(one).astype(np.uint8), columns),
        "turned": (np.rot90(one), replace(columns, position_px=back)),
        "flipped": (one[:, ::-1], replace(columns, position_px=columns.position_px)),
        "cropped": (one[90:, 60:], field(perfect, (90, 60), wrong=0.0)),
    }
    images = [CalibratedImage(data, 20.74, name) for name, (data, _) in pictures.items()]
    found = find_overlaps(images, [columns for _, columns in pictures.values()])
    pairs = [{images[o.first].name, images[o.second].name} for o in found]
    copies = {"scaled", "rounded", "turned", "flipped", "cropped"}
    assert set.union(*(pair for pair in pairs if "one" in pair)) == {"one", *copies}
    assert not any("other" in pair for pair in pairs)


def test_what_is_dirty_in_the_first_counts_in_the_second():
    """Of the common field, the first counts its crystal, and the second what is none there."""
    fields = [field(crystal(1)), field(crystal(1), (100, 200), seed=1)]
    images = by_content(image("a", 1), image("b", 2))
    (found,) = find_overlaps(images, fields)
    labels = np.ones(SHAPE, dtype=np.uint8)
    labels[250:, 300:] = CONTAMINATED
    labels[:130, 250:] = ERASED
    regions = [label_regions(labels, fields[0]), label_regions(np.ones_like(labels), fields[1])]
    counted = counted_columns(images, fields, [found], regions)
    assert counted[0].all()  # those outside of its domains have windows nowhere
    there = np.rint(fields[1].position_px + [100, 200]).astype(int)
    shared = found.shared(fields[1].position_px, SHAPE)
    at = np.clip(there, 0, 511)
    dirty = shared & (labels[at[:, 0], at[:, 1]] != 1)
    assert 0.1 < dirty.mean() < 0.4
    assert np.mean(counted[1] == (~shared | dirty)) > 0.99  # to a pixel at the borders
    areas = counted_regions(images, fields, regions, [found])
    kept = areas[1].usable
    assert areas[0].usable_px == regions[0].usable_px
    assert kept[200:300, 150:300].all() and not kept[40:140, :290].any()
    # every place counts once, wherever it is crystal; dirt that one alone shows counts nowhere
    both = 512**2 + 512**2 - 412 * 312 - 100 * 262
    assert areas[0].usable_px + areas[1].usable_px == pytest.approx(both, rel=0.01)
    without = counted_columns(images, fields, [found], [None, regions[1]])
    assert np.array_equal(without[1], ~shared)


def test_the_same_pairs_are_found_whatever_the_order():
    fields = [field(crystal(1)), field(crystal(2)), field(crystal(1), (100, 200), seed=1)]
    images = [image("a", 1), image("b", 2), image("c", 3)]
    (found,) = find_overlaps(images, fields)
    order = [2, 1, 0]
    (again,) = find_overlaps([images[i] for i in order], [fields[i] for i in order])
    assert (order[again.first], order[again.second]) == (found.first, found.second)
    assert np.array_equal(again.matrix, found.matrix)


# ------------------------------------------------------------------ what is done about it


@pytest.mark.slow
def test_a_copy_adds_no_window_and_no_count():
    made = simulated(seed=1, rotation_deg=8.0)
    one, sites = made.image, true_sites(made)
    copy = replace(one, data=one.data.astype(float) * 2 + 5, name="copy")
    alone = chain.detect([one], QUICK, [sites])
    both = chain.detect([one, copy], QUICK, [sites, sites])
    first, last = (image.name for image in by_content(one, copy))
    said = f"{last} and {first} show the same place: 100 %"
    assert any(said in text for text in both.warnings)
    totals = [
        found.populations.query("image == 'all'").set_index("class") for found in (alone, both)
    ]
    assert (totals[0]["columns"] == totals[1]["columns"]).all()
    assert totals[0]["area_nm2"].to_numpy() == pytest.approx(totals[1]["area_nm2"].to_numpy())
    counted = [one, copy][[one.name, copy.name].index(first)]
    single = chain.average_classes([counted], [sites], QUICK)
    double = chain.average_classes([one, copy], [sites, sites], QUICK)
    assert {n: s.n for n, s in single.items()} == {n: s.n for n, s in double.items()}
    kept = [one.name, copy.name].index(first)
    assert all((s.image_index == kept).all() for s in double.values())
