"""Images of one look are alike, those of another differ where they do."""

import numpy as np
import pytest
from look_stage import SHAKEN, STEADY, known_look, seen

from napari_defectstrain.trials import (
    compare_looks,
    grey_limits,
    radial_spectrum,
    see_simulated,
    simulate_look,
)


@pytest.fixture(scope="module")
def alike():
    return [see_simulated(simulate_look(known_look(), (288, 288), n, "", 8.0)) for n in (1, 2, 3)]


def test_what_is_simulated_of_a_look_is_like_the_image_that_it_was_learnt_from(alike):
    table = compare_looks([seen(*STEADY)], alike).set_index("quantity")
    told = table[table["within"].notna()]
    # chance is that of 95 in 100, and known by three images only
    assert (told["within"] == True).mean() > 0.75  # noqa: E712  objects, not booleans
    assert table.loc["grey values, distance", "difference"] < 0.08
    for name in (n for n in table.index if n.startswith("power ")):
        assert abs(table.loc[name, "difference"]) < 3.0


def test_another_look_is_told(alike):
    table = compare_looks([seen(*SHAKEN)], alike).set_index("quantity")
    jitter = table.loc["jitter of the lines"]
    assert not jitter["within"]
    assert jitter["real"] == pytest.approx(0.5, abs=0.12)
    assert jitter["simulated"] == pytest.approx(0.29, abs=0.08)


def test_what_one_simulated_image_differs_by_chance_is_not_known(alike):
    table = compare_looks([seen(*STEADY)], alike[:1])
    assert table["by_chance"].isna().all()
    assert set(table["within"]) == {None}


def test_the_spectrum_has_its_spots_where_the_lattice_has_them(alike):
    spectrum = radial_spectrum(alike[0])
    near = (spectrum.frequency > 0.6) & (spectrum.frequency < 1.4)
    top = spectrum.frequency[near][np.argmax(spectrum.power[near])]
    assert top == pytest.approx(1.0, abs=0.06)
    low, high = grey_limits(alike)
    assert low < 0.3 < 1.0 < high
