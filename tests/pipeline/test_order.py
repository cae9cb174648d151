"""The same numbers whatever order the images come in."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.output.tables import spacings_table
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.runs import RunResult

SEEDS = (1, 2, 3)
ORDERS = ((0, 1, 2), (2, 0, 1))


def ran(order: tuple[int, ...]) -> RunResult:
    made = [simulated(seed=SEEDS[i], rotation_deg=8.0 + 20 * i, size=288) for i in order]
    named = [one.image for one in made]
    return chain.run(named, QUICK, [true_sites(one) for one in made])


@pytest.fixture(scope="module")
def both() -> list[RunResult]:
    return [ran(order) for order in ORDERS]


def same(one: object, other: object) -> bool:
    """Equal to the last bit, whatever they are made of."""
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def test_every_number_of_a_run_is_the_same_bit_for_bit(both):
    one, other = both
    assert one.measurements.keys() == other.measurements.keys()
    assert len(one.measurements) > 2
    for name, measured in one.measurements.items():
        for field in fields(measured):
            given = getattr(measured, field.name), getattr(other.measurements[name], field.name)
            assert same(*given), (name, field.name)
    columns = [c for c in spacings_table(one).columns if c != "image"]
    assert same(spacings_table(one)[columns].to_dict(), spacings_table(other)[columns].to_dict())


def test_windows_are_the_same_and_know_their_image(both):
    for name, stack in both[0].stacks.items():
        other = both[1].stacks[name]
        assert np.array_equal(stack.windows, other.windows)
        for one, result in ((stack, both[0]), (other, both[1])):
            assert len(one.image_keys) == len(result.images)
        keys = [[s.image_keys[i] for i in s.image_index] for s in (stack, other)]
        assert keys[0] == keys[1]


def test_an_image_that_joins_moves_no_reference_window_of_the_others():
    made = [simulated(seed=s, rotation_deg=8.0 + 20 * i, size=288) for i, s in enumerate(SEEDS)]
    images, sites = [m.image for m in made], [true_sites(m) for m in made]
    two = chain.average_classes(images[:2], sites[:2], QUICK)["2Se"]
    three = chain.average_classes(images, sites, QUICK)["2Se"]
    for i in (0, 1):
        drawn = [stack.site_index[stack.image_index == i].tolist() for stack in (two, three)]
        assert drawn[0] == drawn[1]
