"""All classes of a run beside theories, the table of it, and the figure of shells."""

import numpy as np
import pandas as pd
import pytest
from strain_stage import measured_classes

from napari_defectstrain.materials import MATERIALS, WSE2
from napari_defectstrain.output.figures.theory import shells_figure
from napari_defectstrain.output.tables import summary
from napari_defectstrain.output.theory_tables import EVERY, ISOLATED, theory_table
from napari_defectstrain.pipeline.comparison import LATTICE
from napari_defectstrain.pipeline.runs import RunConfig, RunResult
from napari_defectstrain.pipeline.theories import bundled_references, compare_with_theory
from napari_defectstrain.strain.field import StrainConfig
from napari_defectstrain.theory.elastic_constants import TheoryConfig


def result(**more) -> RunResult:
    config = RunConfig(strain=StrainConfig(step_pm=60.0), **more)
    return RunResult(
        config, (), (), pd.DataFrame(), None, measurements=measured_classes(("SeTe", "SV"))
    )


@pytest.fixture(scope="module")
def compared() -> RunResult:
    return compare_with_theory(result())


def test_every_measured_class_is_compared(compared):
    assert list(compared.comparisons) == ["SeTe", "SV"]
    # made-up measurements hold no fits that a structure could be seen through
    assert any("SV: not compared with SV_9x9.extxyz" in note for note in compared.warnings)
    assert all(LATTICE in one.displacement for one in compared.comparisons.values())
    assert "SV: 2πA = -" in summary(compared)


def test_the_table_holds_what_was_found(compared):
    table = theory_table(compared).set_index("class")
    far = compared.comparisons["SV"].numbers.far
    row = table.loc["SV"]
    assert row["averages"] == ISOLATED
    assert row["two_pi_a_pm2"] == pytest.approx(2 * np.pi * far.strength_pm2)
    assert row["two_pi_a_pm2_low"] < row["two_pi_a_pm2"] < row["two_pi_a_pm2_high"]
    assert row["a_sigma_pm2"] == pytest.approx(np.hypot(row["a_stat_pm2"], row["a_radius_pm2"]))
    assert row["relaxation_area_pm2"] / row["two_pi_a_pm2"] == pytest.approx(2 / (1 + 23 / 119))
    assert row["dipole_ev"] < 0 < table.loc["SeTe", "dipole_ev"]
    assert row["lattice_aic"] < row["eshelby_aic"]
    assert row["best"] == LATTICE
    assert "doi" in row["elastic_source"]


def test_averages_of_every_defect_have_rows_of_their_own():
    plain = result()
    both = compare_with_theory(RunResult(**{**vars(plain), "crowded": plain.measurements}), {})
    table = theory_table(both)
    assert list(table["averages"]) == [ISOLATED, ISOLATED, EVERY, EVERY]
    assert list(both.crowded_comparisons) == ["SeTe", "SV"]


def test_elastic_constants_of_ones_own_change_what_depends_on_them(compared):
    own = TheoryConfig(c11_n_per_m=238.0, c12_n_per_m=46.0)
    stiff = theory_table(compare_with_theory(result(theory=own), {})).set_index("class")
    soft = theory_table(compared).set_index("class")
    for name in ("two_pi_a_pm2", "relaxation_area_pm2"):
        assert stiff[name].to_numpy() == pytest.approx(soft[name].to_numpy())
    assert stiff["dipole_ev"].to_numpy() == pytest.approx(2 * soft["dipole_ev"].to_numpy())
    assert stiff.loc["SV", "elastic_source"] == "as given"


def test_structures_are_bundled_for_one_material():
    assert set(bundled_references(WSE2)) == {"SeTe", "2Te", "SV", "DV"}
    assert set(bundled_references(WSE2, {"SV", "2Se"})) == {"SV"}
    assert bundled_references(MATERIALS["MoS2"]) == {}


def test_shells_are_drawn_with_all_theories(compared):
    figure = shells_figure(compared.comparisons)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["SeTe", "SV"]
    texts = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert texts == ["Eshelby", LATTICE, "measured"]
