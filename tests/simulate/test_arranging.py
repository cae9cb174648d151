"""Vacancies in pairs and lines: as many as before, and next to each other."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_defectstrain.simulate.structure import CrystalConfig, build_crystal

FRACTIONS = (0.02, 0.01, 0.04, 0.01)


def crystal(**settings):
    config = CrystalConfig(fractions=FRACTIONS, **settings)
    return build_crystal(config, 5000.0, np.random.default_rng(4))


def neighbours(found) -> np.ndarray:
    """Vacancies next to each vacancy."""
    place = found.site_pm[np.isin(found.class_index, (4, 5))]
    near = cKDTree(place).query_ball_point(place, 1.1 * CrystalConfig().lattice_pm)
    return np.array([len(n) - 1 for n in near])


@pytest.mark.parametrize(("arrangement", "least"), [("pairs", 1), ("lines", 1)])
def test_every_arranged_vacancy_has_a_neighbour(arrangement, least):
    found = crystal(arrangement=arrangement, arranged=1.0, line_length=4)
    alone = (neighbours(found) < least).sum()
    assert alone <= 3  # what is left of a row that isn't whole
    assert (neighbours(crystal()) == 0).mean() > 0.5


def test_as_many_of_each_class_as_before():
    before = np.bincount(crystal().class_index, minlength=7)
    for arrangement in ("pairs", "lines"):
        found = crystal(arrangement=arrangement, arranged=0.5)
        assert np.bincount(found.class_index, minlength=7).tolist() == before.tolist()


def test_random_crystals_stay_as_they_were():
    assert (crystal(arrangement="random", arranged=1.0).class_index == crystal().class_index).all()
