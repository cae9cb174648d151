"""A run in which hardly anything is isolated: what it says, and what goes on."""

from dataclasses import replace

import numpy as np
import pytest
from small_alloy import QUICK, SPACING_CHANGE, simulated, true_sites

from napari_defectstrain.averages.average import AverageConfig
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.results import planned_files, write_results
from napari_defectstrain.output.tables import spacings_table, summary
from napari_defectstrain.pipeline import detect, measure
from napari_defectstrain.pipeline.class_measurement import add_strain
from napari_defectstrain.pipeline.isolated import missing_classes
from napari_defectstrain.types import DefectStrainError

LONELY = AverageConfig(shells=3, window_nm=2.0)
"""No chalcogen column of the stage has that many perfect ones around it."""


@pytest.fixture(scope="module")
def found():
    """An image a third of whose chalcogen columns lack one atom."""
    image = simulated(5, size=448, fractions=(0.0, 0.0, 0.33, 0.0))
    return detect([image.image], QUICK.replace(average=LONELY, bootstrap=20), [true_sites(image)])


@pytest.fixture(scope="module")
def result(found):
    config = found.config.replace(average=LONELY.replace(crowded=True))
    return measure(replace(found, config=config))


def test_every_defect_tells_what_isolated_ones_can_not(result):
    assert not result.measurements and not result.stacks
    spacing = result.crowded["SV"].spacing
    assert spacing.n > 100
    away = spacing.strain - SPACING_CHANGE["SV"]
    assert abs(away) < 3 * spacing.strain_total_std < 0.012
    assert any(w.startswith("isolated averages: ") for w in result.warnings)
    assert any("SV" in w and "measured from every defect only" in w for w in result.warnings)
    assert not any("no defect could be measured" in w for w in result.warnings)


def test_its_tables_and_files_hold_what_there_is(result, tmp_path):
    table = spacings_table(result).set_index("class")
    assert np.isnan(table.loc["SV", "strain"])
    assert table.loc["SV", "crowded_strain"] == result.crowded["SV"].spacing.strain
    assert "every defect:" in summary(result)
    written = {p.relative_to(tmp_path).as_posix() for p in write_results(result, tmp_path)}
    assert written <= set(planned_files([i.name for i in result.images], WSE2))
    assert {"spacings.csv", "lattices.csv", "crowded_strain_SV.tif"} <= written


def test_without_them_it_says_how_to_go_on(found):
    with pytest.raises(DefectStrainError, match="fewer shells.*or measure averages of every"):
        measure(found)


def test_a_class_without_columns_leaves_the_others(result):
    good = result.crowded["SV"]
    nowhere = np.full_like(good.fits.position_pm, np.nan)
    lost = replace(
        good, displacement=None, strain=None, fits=replace(good.fits, position_pm=nowhere)
    )
    measured = {"2Se": result.crowded["2Se"], "SeTe": lost, "SV": good}
    again = add_strain(measured, result.config)
    assert again["SV"].strain is not None
    assert again["SeTe"].strain is None and again["SeTe"].displacement is None
    stacks = {name: result.crowded_stacks["SV"] for name in ("SeTe", "SV")}
    notes = missing_classes(WSE2, stacks, again, {})
    assert any(note.startswith("SeTe: ") and "no strain" in note for note in notes)
    assert not any(note.startswith("SV: ") for note in notes)
    # fitted, but for one of the metals that the spacing is of
    empty = replace(again["SV"], spacing=replace(good.spacing, spacing_pm=np.nan))
    notes = missing_classes(WSE2, stacks, {**again, "SV": empty}, {})
    assert any(note.startswith("SV: ") and "no spacing" in note for note in notes)
