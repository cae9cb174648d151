"""Steps of the shape that columns share."""

import numpy as np
import pytest

from napari_defectstrain.columns.images.steps import Secant


@pytest.mark.parametrize(("lack", "factor"), [(0.5, 2.0), (1.0, 1.0), (1.25, 0.8)])
def test_a_step_that_leads_part_of_the_way_is_made_longer(lack: float, factor: float) -> None:
    """What is asked for goes down by `lack` of what is taken; the second step ends it."""
    longer = Secant()
    place, goal = 0.0, 1.0
    for _ in range(2):
        asked = np.array([lack * (goal - place), 7.0])
        step = longer(asked) * asked
        longer.taken(asked, step)
        place += step[0]
    assert place == pytest.approx(goal)
    # nothing is left to tell a factor by
    assert longer(np.zeros(2)) == pytest.approx(factor)


def test_the_factor_keeps_its_limits_and_small_changes_say_nothing() -> None:
    for limits, least, expected in (((0.5, 2.5), 0.02, 2.5), ((0.3, 3.0), 1e-12, 3.0)):
        longer = Secant(limits, least)
        asked = np.array([1.0])
        assert longer(asked) == 1.0
        longer.taken(asked, asked)
        assert longer(0.9 * asked) == expected
        assert longer(-20.0 * asked) == limits[0]
        assert longer(asked + 0.5 * least) == 1.0
