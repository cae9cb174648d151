"""A named class is a class like any other: counted, averaged, measured, written and read again."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import QUICK, simulated, true_sites

from napari_defectstrain.crystal.populations import population_table
from napari_defectstrain.io.tables import read_sites
from napari_defectstrain.materials import get_material
from napari_defectstrain.output.results import write_results
from napari_defectstrain.pipeline import chain
from napari_defectstrain.types import Sites

NAMED = get_material("WSe2 + SSe=0.45 + Mo=0.48@metal")
SETE, SSE, MO = 2, 7, 8


def renamed(sites: Sites) -> Sites:
    """The SeTe columns as the class SSe, and three of the metals as Mo."""
    index = np.where(sites.class_index == SETE, SSE, sites.class_index)
    index[np.flatnonzero(sites.is_metal)[:3]] = MO
    names = NAMED.all_class_names
    return replace(
        sites, class_index=index, class_names=names, probabilities=np.eye(len(names))[index]
    )


@pytest.mark.slow
def test_it_measures_what_any_class_of_the_same_columns_does(tmp_path):
    made = simulated(seed=1, rotation_deg=8.0)
    plain, sites = true_sites(made), renamed(true_sites(made))
    # on the metals' sites nothing is changed here: their windows would be others
    sites = replace(sites, class_index=np.where(sites.class_index == MO, 0, sites.class_index))
    config = QUICK.replace(material=NAMED.label)
    one = chain.run([made.image], QUICK, sites=[plain])
    two = chain.run([made.image], config, sites=[sites])
    mine, its = two.measurements["SSe"], one.measurements["SeTe"]
    assert mine.average.n == its.average.n > 3
    np.testing.assert_allclose(mine.average.mean, its.average.mean, atol=1e-6)
    # the one atom of XY that scatters more is not assumed of a class that is only named
    assert mine.spacing.spacing_pm == pytest.approx(its.spacing.spacing_pm, abs=0.5)
    assert mine.strain is not None
    files = {path.name for path in write_results(two, tmp_path / "out")}
    assert {"average_SSe.tif", "strain_SSe.tif"} <= files
    back = read_sites(next((tmp_path / "out").glob("*.sites.csv")), NAMED.all_class_names)
    np.testing.assert_array_equal(back.class_index, two.sites[0].class_index)


def test_named_columns_are_counted_on_their_own_sublattice():
    sites = renamed(true_sites(simulated(seed=1, rotation_deg=8.0)))
    table = population_table(["a"], [sites], sites.class_names)
    rows = table[table["image"] == "a"].set_index("class")
    chalcogens = int(sites.is_chalcogen.sum())
    assert rows.loc["SSe", "columns"] == (sites.class_index == SSE).sum() > 0
    assert rows.loc["SSe", "all_columns"] == chalcogens
    assert rows.loc["Mo@metal", "columns"] == 3
    assert rows.loc["Mo@metal", "all_columns"] == int(sites.is_metal.sum()) + 3
    # neither a substituent nor a vacancy
    without = rows.loc["2Te", "columns"]
    assert rows.loc["x", "concentration"] == pytest.approx(2 * without / (2 * chalcogens))


def test_metal_sites_of_another_kind_isolate_nothing_and_stand_as_other():
    sites = renamed(true_sites(simulated(seed=1, rotation_deg=8.0)))
    assert (sites.role[sites.class_index == MO] == 6).all()
    assert sites.is_other.sum() == 3
    assert not sites.is_metal[sites.class_index == MO].any()
    assert sites.is_chalcogen[sites.class_index == SSE].all()
