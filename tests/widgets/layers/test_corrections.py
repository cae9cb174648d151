"""What edited points mean for the columns: pure arrays, no napari."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.types import Sites
from napari_defectstrain.widgets.layers.corrections import correct_sites, reach_px

NAMES = ("W", "2Se", "SeTe", "2Te", "SV", "DV", "other")
METAL, X2, XY, Y2, V1, V2, OTHER = range(7)


def a_row(classes: list[int]) -> Sites:
    """Columns in a row, 10 px apart: half of that is the reach of a point."""
    n = len(classes)
    probabilities = np.full((n, 7), 0.1 / 6)
    probabilities[np.arange(n), classes] = 0.9
    return Sites(
        position_px=np.column_stack([np.full(n, 50.0), 10.0 * np.arange(n)]),
        probabilities=probabilities,
        class_index=np.array(classes),
        class_names=NAMES,
        source=np.full(n, "model"),
    )


def points(*rows: tuple[float, int, bool]):
    """Points on the row: (x, class, by hand)."""
    return (
        np.array([[50.0, x] for x, _, _ in rows]).reshape(-1, 2),
        np.array([c for _, c, _ in rows], dtype=int),
        np.array([m for _, _, m in rows], dtype=bool),
    )


def test_untouched_points_leave_everything_as_it_was():
    sites = a_row([METAL, X2, METAL, V1, METAL, XY])
    got = correct_sites(sites, *points((30.0, V1, False), (50.0, XY, False)))
    assert_array_equal(got.class_index, sites.class_index)
    assert_array_equal(got.probabilities, sites.probabilities)
    assert_array_equal(got.position_px, sites.position_px)
    assert_array_equal(got.source, ["model"] * 6)


def test_a_deleted_defect_is_a_perfect_column():
    sites = a_row([METAL, X2, METAL, V1, METAL, XY])
    got = correct_sites(sites, *points((50.0, XY, False)))
    assert_array_equal(got.class_index, [METAL, X2, METAL, X2, METAL, XY])
    assert_array_equal(got.source, ["model"] * 3 + ["manual"] + ["model"] * 2)
    assert_array_equal(got.probabilities[3], [0, 1, 0, 0, 0, 0, 0])


def honeycomb(other: list[int]) -> Sites:
    """Perfect columns of a honeycomb, some of them other; the last one an adatom in a hexagon."""
    site, is_metal = ideal_sites(17.0, 60.0)
    position = np.array([80.0, 80.0]) + site[:, ::-1] * [-1, 1]
    adatom = position[0] + [17.0 / np.sqrt(3), 0.0]  # y down: opposite to the metal above
    index = np.append(np.where(is_metal, METAL, X2), OTHER)
    index[other] = OTHER
    return Sites(
        np.vstack([position, adatom]), np.eye(7)[index], index, NAMES, np.full(len(index), "model")
    )


def test_other_deleted_is_what_its_neighbours_leave_or_nothing():
    sites = honeycomb([0, 3])  # a chalcogen and a metal
    truth = np.where(ideal_sites(17.0, 60.0)[1], METAL, X2)
    assert truth[0] == X2 and truth[3] == METAL
    got = correct_sites(sites, *points())
    assert_array_equal(got.class_index, truth)
    assert_array_equal(got.position_px, sites.position_px[:-1])
    assert_array_equal(got.source[[0, 3]], ["manual", "manual"])
    assert_array_equal(got.probabilities, np.eye(7)[truth])


def test_other_kept_stays_and_can_be_given():
    sites = honeycomb([])
    adatom = (sites.position_px[-1:], np.array([OTHER]), np.array([False]))
    assert_array_equal(correct_sites(sites, *adatom).class_index, sites.class_index)
    both = (sites.position_px[[-1, 3]], np.array([OTHER, OTHER]), np.array([False, True]))
    got = correct_sites(sites, *both)
    assert got.class_index[3] == OTHER and got.probability[3] == 1.0
    assert_array_equal(np.delete(got.class_index, 3), np.delete(sites.class_index, 3))


def test_other_added_beside_the_columns_is_a_column_of_its_own():
    sites = a_row([METAL, X2, METAL, X2])
    place = (np.array([[60.0, 15.0]]), np.array([OTHER]), np.array([True]))
    got = correct_sites(sites, *place)
    assert_array_equal(got.class_index, [METAL, X2, METAL, X2, OTHER])


def test_a_relabelled_defect_is_certain():
    got = correct_sites(a_row([METAL, V1, METAL]), *points((10.0, V2, True)))
    assert_array_equal(got.class_index, [METAL, V2, METAL])
    assert got.probability[1] == 1.0
    assert got.source[1] == "manual"


def test_a_defect_relabelled_as_perfect_is_perfect():
    got = correct_sites(a_row([METAL, V1, METAL]), *points((10.0, X2, True)))
    assert_array_equal(got.class_index, [METAL, X2, METAL])


def test_an_added_point_turns_the_nearest_column_and_moves_it():
    got = correct_sites(a_row([METAL, X2, METAL]), *points((12.0, V1, True)))
    assert_array_equal(got.class_index, [METAL, V1, METAL])
    assert_allclose(got.position_px[1], [50.0, 12.0])
    assert len(got) == 3


def test_a_point_far_from_every_column_adds_one():
    got = correct_sites(a_row([METAL, X2, METAL]), *points((60.0, V2, True)))
    assert_array_equal(got.class_index, [METAL, X2, METAL, V2])
    assert_allclose(got.position_px[3], [50.0, 60.0])
    assert got.source[3] == "manual"


def test_a_defect_moved_to_another_column_leaves_its_own_perfect():
    sites = a_row([METAL, V1, METAL, X2, METAL])
    got = correct_sites(sites, *points((29.0, V1, True)))
    assert_array_equal(got.class_index, [METAL, X2, METAL, V1, METAL])


def test_of_two_points_at_one_column_the_one_by_hand_counts_then_the_nearer():
    sites = a_row([METAL, V1, METAL])
    for order in (1, -1):
        rows = [(10.0, V1, False), (12.0, V2, True)][::order]
        assert correct_sites(sites, *points(*rows)).class_index[1] == V2
        rows = [(11.0, XY, True), (8.0, Y2, True)][::order]
        got = correct_sites(sites, *points(*rows))
        assert got.class_index[1] == XY
        assert len(got) == 3


def test_the_reach_is_half_the_distance_of_neighbours():
    sites = a_row([METAL, X2, METAL, X2])
    assert reach_px(sites.position_px) == 5.0
    near = correct_sites(sites, *points((34.9, V1, True)))
    far = correct_sites(sites, *points((35.1, V1, True)))
    assert (len(near), len(far)) == (4, 5)


def test_no_columns_and_no_points():
    empty = a_row([])
    assert len(correct_sites(empty, *points())) == 0
    got = correct_sites(empty, *points((3.0, V1, True)))
    assert_array_equal(got.class_index, [V1])


def test_inputs_are_not_changed():
    sites = a_row([METAL, V1, METAL, XY])
    before = [np.array(v) for v in (sites.position_px, sites.probabilities, sites.class_index)]
    correct_sites(sites, *points((11.0, V2, True)))
    after = (sites.position_px, sites.probabilities, sites.class_index)
    for old, new in zip(before, after, strict=True):
        assert_array_equal(old, new)
