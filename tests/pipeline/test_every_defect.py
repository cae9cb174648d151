"""A run that measures averages of every defect beside those of isolated ones."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_alloy import QUICK, SPACING_CHANGE, simulated, true_sites

from napari_defectstrain.averages import AverageConfig, find_patches
from napari_defectstrain.averages.cells import DOUBTFUL, CellFrame, cut_cells
from napari_defectstrain.averages.crowded import Bands
from napari_defectstrain.columns.images.types import ImageColumns
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.results import CROWDED, planned_files, write_results
from napari_defectstrain.output.tables import (
    CROWDED_COLUMNS,
    columns_table,
    spacings_table,
    summary,
)
from napari_defectstrain.pipeline import detect, every_defect, measure
from napari_defectstrain.pipeline.every_defect import _bands_of_columns, _disagreements
from napari_defectstrain.pipeline.whole_images import columns_begun, fitted_columns
from napari_defectstrain.pipeline.work import Work
from napari_defectstrain.pipeline.workers import LocalWorkers
from napari_defectstrain.precision import few_windows_factor
from napari_defectstrain.types import no_progress

CROWDED_RUN = QUICK.replace(average=AverageConfig(window_nm=2.0, crowded=True), bootstrap=20)


def run_of(size: int, config=CROWDED_RUN):
    image = simulated(8, size=size, fractions=(0.04, 0.02, 0.04, 0.005))
    return measure(detect([image.image], config, [true_sites(image)]))


@pytest.fixture(scope="module")
def result():
    return run_of(640)


def test_both_kinds_of_averages_are_measured(result):
    assert set(result.crowded) == set(result.crowded_stacks)
    assert {"2Se", "SeTe", "2Te", "SV"} <= set(result.crowded)
    for name in ("SeTe", "SV"):
        isolated, crowded = result.measurements[name], result.crowded[name]
        assert crowded.spacing.n > 2 * isolated.spacing.n
        assert crowded.displacement is not None and crowded.strain is not None
        assert crowded.precision is None and isolated.precision is not None
        away = crowded.spacing.strain - SPACING_CHANGE[name]
        assert abs(away) < 3 * crowded.spacing.strain_total_std < 0.006
        # the profile's errors are those of this image, and in the budget
        assert crowded.budget is not None and crowded.budget.strain_parts["profile"] > 0


def test_tables_hold_both(result):
    table = spacings_table(result).set_index("class")
    for name in ("SeTe", "SV"):
        row, spacing = table.loc[name], result.crowded[name].spacing
        assert row["crowded_n"] == spacing.n
        assert row["effective_n"] == pytest.approx(result.crowded_stacks[name].effective_n)
        assert row["crowded_strain"] == spacing.strain
        assert row["crowded_strain_total_std"] == spacing.strain_total_std
        assert row["strain"] == result.measurements[name].spacing.strain
    assert summary(result).count("every defect:") == len(result.crowded) - 1


def test_errors_are_those_of_the_bands(result):
    """However they are worked out: by the covariance, by the windows, or by drawing them anew."""
    measured = result.crowded["SV"]
    bands = measured.columns.influence_pm
    n = len(bands)
    assert n < measured.average.n
    covariance = bands.T @ bands / (n * (n - 1))
    scale = np.diag(measured.fits.covariance_pm2).max()
    assert np.nanmax(np.abs(covariance - measured.fits.covariance_pm2)) < 1e-3 * scale
    table = columns_table(replace(result, measurements={"SV": measured}))
    factor = measured.budget.design_effect * few_windows_factor(n)
    total = np.hypot(np.sqrt(factor) * table["sigma_x_pm"], measured.budget.systematic_pm[:, 0])
    np.testing.assert_allclose(table["sigma_total_x_pm"], total)


def test_bands_of_images_without_a_class_keep_their_covariance(monkeypatch):
    """They tell of its field by what else is there; its variances alone were kept."""
    both = [
        simulated(seed, size=384, fractions=(0.04, 0.02, vacancies, 0.0))
        for seed, vacancies in ((8, 0.06), (9, 0.0))
    ]
    plain = CROWDED_RUN.replace(average=AverageConfig(window_nm=2.0))
    found = measure(detect([b.image for b in both], plain, [true_sites(b) for b in both]))
    stacks = {
        name: replace(stack, group=np.asarray(stack.image_index, dtype=int))
        for name, stack in found.stacks.items()
    }
    seen = []
    fields_of = every_defect.superposed_fields

    def noted(*given, **named):
        seen.append(fields_of(*given, **named))
        return seen[-1]

    monkeypatch.setattr(every_defect, "superposed_fields", noted)
    crowded = every_defect.measure_every_defect(replace(found, stacks=stacks))
    fits, stack = crowded.crowded["SV"].fits, crowded.crowded_stacks["SV"]
    assert np.unique(stack.group).size == 1 and set(stack.image_index) == {0, 1}
    influence = seen[0].influence_pm["SV"]
    site = seen[0].fields["SV"].site_pm
    index = [int(np.argmin(np.hypot(*(site - own).T))) for own in fits.site_pm]
    own = influence.reshape(len(influence), -1, 2)[:, index].reshape(len(influence), -1)
    assert len(own) == stack.n > 0
    known = np.isfinite(fits.position_pm).ravel()
    expected = (own.T @ own)[np.ix_(known, known)]
    told = fits.covariance_pm2[np.ix_(known, known)]
    np.testing.assert_allclose(told, expected, atol=1e-3 * expected.max())


def test_columns_are_fitted_by_whoever_and_an_image_without_is_said(result):
    fits = fitted_columns(result, Work())
    assert len(fits) == len(result.images)
    assert all(isinstance(one, ImageColumns) for one in fits)
    with LocalWorkers(2, threads=True) as threads:
        again = fitted_columns(result, Work(workers=threads))
        before = replace(result, stacks={})  # isolated averages come later, in the same frame
        begun = columns_begun(before, Work(workers=threads))(no_progress)
    for one, other in zip(begun, again, strict=True):
        np.testing.assert_array_equal(one.position_px, other.position_px)
    for one, other in zip(fits, again, strict=True):
        np.testing.assert_array_equal(one.position_px, other.position_px)
    plain = replace(result, warnings=(), crowded={}, crowded_stacks={})
    ended = [replace(fits[0], converged=False), *fits[1:]]
    same = every_defect.measure_every_defect(plain, columns=ended)
    (said,) = [w for w in same.warnings if "had not converged" in w]
    assert said.startswith(f"{result.images[0].name}: the fit of all columns")
    assert not any("had not converged" in w for w in result.warnings)
    for name, one in same.crowded.items():
        assert one.spacing.strain == pytest.approx(result.crowded[name].spacing.strain, abs=1e-9)
    gone = every_defect.measure_every_defect(plain, columns=["no light", *fits[1:]])
    assert not gone.crowded
    assert any("no light; their strain is not measured" in w for w in gone.warnings)


def test_all_files_are_planned(result, tmp_path):
    written = {p.relative_to(tmp_path).as_posix() for p in write_results(result, tmp_path)}
    assert written <= set(planned_files([i.name for i in result.images], WSE2))
    assert {f"{CROWDED}average_SV.tif", f"{CROWDED}strain_SV.sigma.tif"} <= written
    assert {f"{CROWDED}columns.csv", f"figures/{CROWDED}averages.png"} <= written
    assert f"figures/{CROWDED}spacings.png" not in written


def test_without_being_asked_nothing_is_added():
    result = run_of(512, QUICK)
    assert not result.crowded
    assert spacings_table(result)[list(CROWDED_COLUMNS)].isna().all().all()


def test_of_an_alloy_every_defect_is_measured_of_the_classes_asked_for_alone():
    image = simulated(8, size=480, fractions=(0.04, 0.02, 0.04, 0.005))
    found = detect([image.image], CROWDED_RUN, [true_sites(image)])
    alloy = SimpleNamespace(alloy=0.4, forced=False)
    measured = measure(replace(found, identity=alloy))
    assert set(measured.crowded) == set(measured.crowded_stacks) == {"2Se"}
    said = [line for line in measured.warnings if "not measured in an alloy" in line]
    assert said and len(set(said)) == len(said)


def test_small_image_is_measured_as_before():
    result = run_of(330, CROWDED_RUN.replace(average=AverageConfig(2, 1.6, crowded=True)))
    assert result.measurements and not result.crowded
    assert any("too few" in w for w in result.warnings)


def test_classes_that_differ_are_named(result):
    spacing = result.crowded["SV"].spacing
    away = replace(spacing, strain=spacing.strain + 20 * spacing.strain_total_std + 0.05)
    other = {**result.crowded, "SV": replace(result.crowded["SV"], spacing=away)}
    (note,) = _disagreements(result.crowded, other, WSE2)
    assert note.startswith("SV: crowded and isolated averages differ by +")


def test_columns_lie_in_the_bands_of_their_cells_whatever_size_of_pixels_is_stated():
    """Cells lie where the lattice says; the size that a file states may be some per cent off."""
    made = simulated(8, size=256, fractions=(0.04, 0.02, 0.04, 0.005))
    image = replace(made.image, pixel_size_pm=1.1 * made.image.pixel_size_pm)
    sites = true_sites(made)
    names, roles = sites.class_names, np.array([2, 3, 4, 5, DOUBTFUL])
    (patch,) = find_patches([image], [sites], 330.0)
    cells = cut_cells(image, sites, patch, CellFrame(330.0), roles, 0.9)
    line_px = cells.place_nm[:, 0] / cells.pixel_nm
    mine = np.flatnonzero(sites.role == names.index("SV"))
    away = np.abs(sites.position_px[mine, 0] - line_px[cells.role == 4][:, None]).min(axis=1)
    assert (away < 1.0).sum() == (cells.role == 4).sum()
    bands = Bands(np.zeros(2, dtype=int), np.array([60.0, 180.0]))
    found = SimpleNamespace(images=[image], sites=[sites])
    (band,) = _bands_of_columns(found, bands, None)
    assert np.array_equal(band, (sites.position_px[:, 0] > 120.0).astype(int))


def doubted(sites, share):
    """Columns of which the model says that they may be of another class, as often as it is so."""
    probabilities = sites.probabilities * (1.0 - share)
    sv, se = (list(sites.class_names).index(name) for name in ("SV", "2Se"))
    defect = sites.class_index == sv
    probabilities[:, se] += np.where(defect, share, 0.0)
    probabilities[~defect] = sites.probabilities[~defect]
    return replace(sites, probabilities=probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("overconfidence", [1.0, 3.0])
def test_doubtful_columns_have_an_error_of_impurity(overconfidence):
    """A share of other columns that is uncertain makes the strain uncertain by as much."""
    share = 0.04
    image = simulated(8, size=640, fractions=(0.04, 0.02, 0.04, 0.005))
    found = detect([image.image], CROWDED_RUN, [true_sites(image)])
    sure = measure(found).crowded["SV"]
    factors = tuple(overconfidence for _ in found.sites[0].class_names)
    doubtful = replace(found, sites=(doubted(found.sites[0], share),), overconfidence=factors)
    unsure = measure(doubtful).crowded["SV"]
    assert sure.budget.strain_parts["impurity"] < 1e-6
    strain = abs(sure.spacing.strain)
    expected = CROWDED_RUN.budget.share_error * share * overconfidence * strain
    # taking out what is known enlarges what isn't
    assert 0.9 < unsure.budget.strain_parts["impurity"] / expected < 1.4
    # what the probabilities fall short of is taken out, the rest was by counting so
    gained = abs(unsure.spacing.strain) / strain
    assert gained == pytest.approx(1.0 / (1.0 - share * overconfidence), rel=0.03)
