"""Parts of a class: stacks of their own, with what each is expected to hold."""

from dataclasses import replace

import class_stage as stage
import numpy as np
import pytest

from napari_defectstrain.averages import Membership, average_stack, part_names, split_stack
from napari_defectstrain.materials import WSE2
from napari_defectstrain.styles import class_styles
from napari_defectstrain.types import DefectStrainError, Neighbours


def whole():
    stack = stage.noisy("SV", 8, np.random.default_rng(0))
    included = np.ones(8, bool)
    included[[1, 4]] = False
    names = WSE2.class_names
    probabilities = np.zeros((8, len(names)))
    probabilities[:, names.index("SV")], probabilities[:, names.index("DV")] = 0.99, 0.01
    neighbours = Neighbours(np.arange(8), np.full(8, 2), np.zeros((8, 2)), 2000.0)
    return replace(
        stack,
        included=included,
        reason=np.where(included, "", "by hand"),
        probability=np.full(8, 0.99),
        probabilities=probabilities,
        class_names=names,
        overconfidence=2.0,
        neighbours=neighbours,
    )


def told(chance, value=None) -> Membership:
    """Populations told apart by one quantity, whose places are the means by these chances."""
    n, k = chance.shape
    value = np.zeros(n) if value is None else value
    share = chance.sum(axis=0)
    mean = chance.T @ value / share
    influence = chance * (value[:, None] - mean) / share
    return Membership(
        value=value[:, None],
        chance=chance,
        mean=mean[:, None],
        influence=influence,
        chance_gradient=np.zeros((k, n, k)),
        mean_gradient=np.eye(k)[:, :, None],
        others=(),
        other_chance=np.zeros((n, 0)),
        other_mean=np.zeros((0, 1)),
        other_gradient=np.zeros((k, n, 0)),
    )


SURE = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
VALUE = np.array([1.0, 3.0, 10.0, 11.0, 13.0, 0.5])


def test_windows_whose_population_is_sure_stay_what_they_are():
    stack = whole()
    parts = split_stack(stack, told(np.stack([SURE, 1 - SURE], axis=1), VALUE), {})
    assert tuple(parts) == part_names("SV", 2) == ("SV.1", "SV.2")
    index = np.flatnonzero(stack.included)
    for part, mine in zip(parts.values(), ([0, 1, 5], [2, 3, 4]), strict=True):
        assert part.site_index.tolist() == index[mine].tolist()
        assert part.included.all()
        np.testing.assert_allclose(part.windows, stack.windows[index[mine]], atol=1e-6)
        assert part.neighbours.window.tolist() == [0, 1, 2]
    assert stack.n == 6  # as it was


def test_noise_that_gives_a_window_its_population_does_not_bias_the_average():
    """Two pixels: one is told by, the other has the noise of both; windows overlap by a half."""
    rng = np.random.default_rng(1)
    n, apart = 60_000, 2.0
    second = rng.random(n) < 0.4
    noise = rng.normal(size=n)
    windows = np.zeros((n, 3, 3), dtype=np.float32)
    windows[:, 1, 1] = apart * second + noise
    windows[:, 0, 0] = 5.0 * second - 0.7 * noise + 0.5 * rng.normal(size=n)
    value = windows[:, 1, 1].astype(float)
    log_ratio = np.log(0.4 / 0.6) + apart * value - 0.5 * apart**2
    p = 1.0 / (1.0 + np.exp(-log_ratio))
    chance = np.stack([1.0 - p, p], axis=1)
    stack = stage.stack_of("SV", windows)
    first, other = split_stack(stack, told(chance, value), {}).values()
    assert average_stack(first).mean[[0, 1], [0, 1]] == pytest.approx([0.0, 0.0], abs=0.05)
    assert average_stack(other).mean[[0, 1], [0, 1]] == pytest.approx([5.0, apart], abs=0.05)
    sorted_by_itself = windows[p > 0.9, 1, 1].mean()
    assert sorted_by_itself > apart + 0.3


def test_a_part_expects_the_other_classes_but_not_the_other_part():
    parts = split_stack(whole(), told(np.stack([SURE, 1 - SURE], axis=1), VALUE), {})
    average = average_stack(parts["SV.1"])
    # the detector is wrong twice as often as it says
    assert average.purity == pytest.approx(0.98)
    assert average.contaminants["DV"] == pytest.approx(0.02)
    assert average.contaminants["SV"] == pytest.approx(0.0)
    assert "SV.2" not in average.contaminants


def test_a_part_has_the_role_and_the_look_of_the_whole():
    assert WSE2.role_of("SV.2") == "V1"
    styles = class_styles(WSE2.all_class_names)
    assert styles["SV.2"] == styles["SV"]
    with pytest.raises(KeyError, match="strange"):
        styles["strange"]


def test_chances_of_other_windows_are_refused():
    with pytest.raises(DefectStrainError, match="SV: got chances of 5 windows, expected those"):
        split_stack(whole(), told(np.full((5, 2), 0.5)), {})
    with pytest.raises(DefectStrainError, match="SV: got windows that all are of its populations"):
        split_stack(whole(), told(np.tile([0.9, 0.1], (6, 1)), VALUE), {})
    few = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    with pytest.raises(DefectStrainError, match=r"SV\.2: got windows worth 2.0 of this population"):
        split_stack(whole(), told(np.stack([few, 1 - few], axis=1), VALUE), {})
