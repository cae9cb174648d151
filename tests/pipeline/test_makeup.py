"""A class of two populations through the measurement: told, split, and measured in parts."""

import pickle
from dataclasses import replace

import class_stage as stage
import exact_images as exact
import numpy as np
import pandas as pd
import pytest
from makeup_stage import CONFIG, PASSIVATED, stacks
from matplotlib.figure import Figure

from napari_defectstrain.averages import average_stack
from napari_defectstrain.columns import measure_columns
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.makeup import (
    draw_makeup,
    halves_figure,
    populations_figure,
    variability_figure,
)
from napari_defectstrain.output.makeup import (
    halves_table,
    makeup_lines,
    parts_table,
    variability_table,
)
from napari_defectstrain.output.results import planned_files
from napari_defectstrain.output.run_figures import measurement_figures
from napari_defectstrain.output.tables import spacings_table, summary
from napari_defectstrain.pipeline import measure_classes, measure_spacings, split_classes
from napari_defectstrain.pipeline.class_measurement import measure_in_parts
from napari_defectstrain.pipeline.runs import RunResult
from napari_defectstrain.precision import ClassMakeup, ask_populations, window_quantities
from napari_defectstrain.precision.makeup import populations_of
from napari_defectstrain.styles import FIGURE_WIDTHS_INCH
from napari_defectstrain.types import DefectStrainError


@pytest.fixture(scope="module")
def measured():
    windows = stacks()
    return windows, measure_classes(windows, CONFIG)


@pytest.fixture(scope="module")
def result(measured):
    windows, found = measured
    whole, both, notes = measure_in_parts(windows, found, CONFIG)
    empty = pd.DataFrame()
    return RunResult(CONFIG, (), (), empty, None, stacks=whole, measurements=both, warnings=notes)


def test_undistorted_vacancies_are_told_from_the_others(measured):
    makeup = measured[1]["SV"].makeup
    found = makeup.populations
    assert found.two
    rest, other = found.populations
    assert makeup.is_undistorted(other) and not makeup.is_undistorted(rest)
    assert other.share == pytest.approx(0.3, abs=0.02)
    assert found.belonging[:PASSIVATED, 1].min() > 0.5 > found.belonging[PASSIVATED:, 1].max()
    for population, truth in ((rest, exact.STRAINS["SV"]), (other, 0.0)):
        strain, error = makeup.strain_of(population)
        assert abs(strain - truth) < 4 * error
        assert error < 0.004
    assert makeup.in_words.startswith("30 ± 5 % undistorted (p < 0.008), the rest -4.")


@pytest.fixture(scope="module")
def two_kinds():
    """Half of the vacancies relaxed, half not, nearly without noise."""
    rng = np.random.default_rng(3)
    size, n = 61, 80
    site, _, weight, _ = exact.structure("SV")
    kinds = exact.average_image("SV", size), exact.render(site, weight, exact.transfer(), size)
    images = {"2Se": [exact.average_image("2Se", size)] * 2, "SV": kinds}
    drawn = {
        name: stage.stack_of(
            name,
            np.concatenate([np.tile(one, (n // 2, 1, 1)) for one in both])
            + 0.003 * rng.normal(size=(n, size, size)),
        )
        for name, both in images.items()
    }
    averages = {name: average_stack(stack) for name, stack in drawn.items()}
    columns = measure_columns(drawn, averages, CONFIG.columns.replace(fit_radius_pm=560.0))
    return columns, drawn, averages


def test_what_two_kinds_of_triangles_do_to_the_profile_is_taken_off(two_kinds):
    """An average of both is broad, the shared profile with it, and all strains were too small."""
    found = window_quantities("SV", *two_kinds, "2Se")
    first, second = (one[:, 1].mean() for one in np.split(found.value, 2))
    variance = 0.25 * (found.triangle_pm(second) - found.triangle_pm(first)) ** 2
    for linear, truth in ((first, exact.STRAINS["SV"]), (second, 0.0)):
        before, now = (100 * (found.strain(linear, v) - truth) for v in (0.0, variance))
        assert abs(now) < 0.5 * abs(before)


def test_the_undistorted_are_called_so_whatever_the_others_do_to_their_profile(two_kinds):
    """By what the response sees alone, in a third of the stacks with 30 % of them they weren't."""
    quantities = window_quantities("SV", *two_kinds, "2Se")
    found = ask_populations(quantities.sample, CONFIG.makeup, np.random.default_rng(2))
    makeup = ClassMakeup(quantities, found, (), (), None, systematic=2e-4)
    rest, other = sorted(found.populations, key=lambda one: one.value[1])
    away = other.value - quantities.undistorted[:2]
    assert abs(away[1]) > 3.0 * other.value_std[1]
    assert makeup.is_undistorted(other) and not makeup.is_undistorted(rest)
    assert " % undistorted (p" in makeup.in_words


def test_what_is_taken_off_the_defect_free_is_what_is_of_the_same_profile(two_kinds):
    """Groups of images learn profiles of their own, and don't move with those of others."""
    columns, drawn, averages = two_kinds
    base = columns["2Se"]
    model, n = base.model, len(base.influence_pm)
    learnt = model.structure.profile
    other = learnt.with_parameters(1.01 * learnt.parameters)
    apart = replace(model, structure=replace(model.structure, profile=other))

    def mixing(*parts):
        grouped = {**columns, "2Se": replace(base, parts=parts)}
        return window_quantities("SV", grouped, drawn, averages, "2Se").mixing_per_pm

    own, of_base = mixing()
    assert own != 0.0 and of_base != 0.0
    # the larger part, whose windows are the noise, is of the other group
    few, every = np.arange(n) < n // 4, np.ones(n, dtype=bool)
    np.testing.assert_allclose(mixing((few, model), (~few, apart)), [own, 0.25 * of_base])
    np.testing.assert_allclose(mixing((few, apart), (~few, model)), [own, 0.75 * of_base])
    np.testing.assert_array_equal(mixing((every, apart)), [own, 0.0])


def test_parts_whose_windows_cannot_be_told_one_by_one_are_free_of_the_choice():
    """At three times the noise windows sorted by their own triangle gave +.6 and -.4 %."""
    rng = np.random.default_rng(12)
    config = CONFIG.replace(
        columns=CONFIG.columns.replace(fit_radius_pm=560.0), split=("SV",), bootstrap=50
    )
    away, pulls = [], []
    for _ in range(4):
        images = {"2Se": exact.average_image("2Se", 61), "SV": exact.average_image("SV", 61)}
        windows = {name: np.tile(image, (220, 1, 1)) for name, image in images.items()}
        site, _, weight, _ = exact.structure("SV")
        windows["SV"][:66] = exact.render(site, weight, exact.transfer(), 61)
        drawn = {
            name: replace(
                stage.stack_of(name, w + 0.28 * rng.normal(size=w.shape)),
                image_index=np.arange(len(w)) % 4,
            )
            for name, w in windows.items()
        }
        _, both, notes = measure_in_parts(drawn, measure_spacings(drawn, config), config)
        assert notes == ()
        for name, truth in (("SV.1", exact.STRAINS["SV"]), ("SV.2", 0.0)):
            spacing = both[name].spacing
            away.append(100 * (spacing.strain - truth))
            pulls.append((spacing.strain - truth) / spacing.strain_total_std)
    assert np.abs(np.mean(np.reshape(away, (-1, 2)), axis=0)).max() < 0.25
    assert np.sqrt(np.mean(np.square(pulls))) < 1.8


def test_the_way_to_the_undistorted_is_how_the_windows_vary(measured):
    makeup = measured[1]["SV"].makeup
    first, second = makeup.components
    assert not first.is_noise and second.is_noise
    by = {one.quantity: one for one in makeup.scatter}
    assert not by["triangle_pm"].is_noise
    # 0.3 x 0.7 of two places 4.8 % of the spacing apart
    assert by["triangle_pm"].own == pytest.approx(np.sqrt(0.21) * 0.048 * exact.A_PM, rel=0.15)
    assert by["asymmetry_1_pm"].is_noise and by["offset_x_pm"].is_noise


def test_a_pure_class_is_one_population_of_noise(measured):
    makeup = measured[1]["SeTe"].makeup
    assert not makeup.populations.two
    assert makeup.in_words.startswith("one population (p = ")
    assert all(c.is_noise for c in makeup.components)
    assert all(s.is_noise for s in makeup.scatter)
    assert 0.9 < makeup.quantities.noise_scale < 1.1


def test_the_noise_of_a_class_is_that_of_its_own_windows(measured):
    """By the defect-free windows, scaled: a pure class scatters just so."""
    quantities = measured[1]["SeTe"].makeup.quantities
    ratio = quantities.value.std(axis=0) / quantities.noise.std(axis=0)
    assert np.all(np.abs(ratio - 1) < 4 * np.sqrt(0.5 / 60 + 0.5 / 160))


def test_another_process_finds_the_same_populations_to_the_last_bit(measured):
    samples = {"SV": measured[1]["SV"].makeup.quantities.sample}
    sent = pickle.loads(pickle.dumps(samples))
    here, there = (
        populations_of(some, CONFIG.makeup, np.random.default_rng(5))["SV"]
        for some in (samples, sent)
    )
    assert here.p == there.p
    for one, other in zip(here.populations, there.populations, strict=True):
        assert np.array_equal(one.value_std, other.value_std)
        assert np.array_equal(one.value, other.value)


def test_halves_agree(measured):
    for name in ("2Se", "SeTe", "SV"):
        halves = measured[1][name].makeup.halves
        assert halves.by_image and abs(halves.n[0] - halves.n[1]) <= 2
        assert halves.resolution_pm < 150
    assert abs(measured[1]["SeTe"].makeup.halves.pull) < 3.5
    assert np.isnan(measured[1]["2Se"].makeup.halves.pull)


def test_parts_are_measured_as_classes_of_their_own(result):
    assert not any(note.startswith("SV") for note in result.warnings)
    strain = {name: m.spacing for name, m in result.measurements.items()}
    assert list(strain) == ["2Se", "SeTe", "SV", "SV.1", "SV.2"]
    for name, truth in (("SV.1", exact.STRAINS["SV"]), ("SV.2", 0.0)):
        assert abs(strain[name].strain - truth) < 4 * strain[name].strain_total_std
        assert result.measurements[name].strain is not None
        assert result.measurements[name].makeup is None
    assert strain["SV.1"].n + strain["SV.2"].n <= 100
    whole = strain["SV"].strain
    assert strain["SV.1"].strain < whole < strain["SV.2"].strain
    assert any(w.startswith("split SeTe: got no two populations (one pop") for w in result.warnings)


def test_a_class_of_one_population_is_not_split(measured):
    windows, found = measured
    with pytest.raises(DefectStrainError, match="split SeTe: got no two populations"):
        split_classes(windows, found, ["SeTe"])
    with pytest.raises(DefectStrainError, match="split DV: got no two populations .it is not meas"):
        split_classes(windows, found, ["DV"])


def test_tables_and_summary_say_it(result):
    parts = parts_table(result).set_index(["class", "part"])
    assert parts.index.tolist() == [("SeTe", 1), ("SV", 1), ("SV", 2)]
    assert bool(parts.loc[("SV", 2), "undistorted"])
    assert parts.loc[("SV", 2), "share_low"] < 0.3 < parts.loc[("SV", 2), "share_high"]
    varies = variability_table(result).set_index(["class", "what"])
    assert not varies.loc[("SV", "component_1"), "is_noise"]
    assert varies.loc[("SV", "component_1"), "noise_share"] < 0.5
    halves = halves_table(result).set_index("class")
    assert halves.loc["SV", ["n_1", "n_2"]].sum() == 100
    assert len(makeup_lines(result)) == 2
    assert "SV: 30 ± 5 % undistorted" in summary(result)
    table = spacings_table(result).set_index("class")
    assert {"SV", "SV.1", "SV.2"} < set(table.index)
    assert {"average_SV.1.tif", "class_parts.csv", "half_sets.csv"} <= set(planned_files([], WSE2))


def test_figures_draw_every_class(result):
    made = {n: m.makeup for n, m in result.measurements.items() if m.makeup is not None}
    parts, variability = populations_figure(made, WSE2), variability_figure(made)
    assert [axes.get_title(loc="left")[:3] for axes in parts.axes] == ["(a)", "(b)"]
    numbers = [axes.get_title()[:6] for axes in variability.axes]
    assert numbers == ["(a) 1:", "(b) 2:", "(c) 1:", "(d) 2:"]
    halves = halves_figure(made, WSE2)
    assert len(halves.axes[0].lines) == 4  # three classes, one half
    assert {f.get_figwidth() for f in (parts, variability, halves)} <= set(FIGURE_WIDTHS_INCH)
    figure = Figure()
    draw_makeup(figure, "SV", made["SV"], WSE2)
    titles = [axes.get_title(loc="left") + axes.get_title() for axes in figure.axes]
    assert titles[0] == "" and titles[1].startswith("1: ")
    said = populations_figure({"SV": made["SV"]}, WSE2).axes[0].get_title(loc="left")
    assert "undistorted" in said.replace("\n", " ")


def test_everything_that_is_drawn_of_parts_is_planned(result):
    planned = planned_files([], WSE2)
    figures = [drawing.name for drawing in measurement_figures(result)]
    assert {"spacings", "class_parts", "strain_SV.2"} < set(figures)
    assert all(f"figures/{name}.png" in planned for name in figures)


def test_not_asked_not_told(measured):
    config = CONFIG.replace(makeup=CONFIG.makeup.replace(enabled=False))
    few = {n: replace(s, included=np.arange(len(s.included)) < 20) for n, s in measured[0].items()}
    assert all(m.makeup is None for m in measure_classes(few, config).values())


def test_the_error_of_a_population_follows_the_slope_of_the_response(measured):
    """The linear response sees half of what is there: the error is twice as large."""
    makeup = replace(measured[1]["SV"].makeup, systematic=0.0)
    # what mixing does goes with the square of the sizes
    quantities = replace(makeup.quantities, mixing_per_pm=np.zeros(2))
    makeup = replace(makeup, quantities=quantities)
    other = makeup.populations.populations[1]
    seen = makeup.quantities.response_pm[1]
    plain, half = (
        replace(
            makeup,
            quantities=replace(makeup.quantities, response_pm=np.stack([factor * seen, seen])),
        )
        for factor in (1.0, 2.0)
    )
    assert half.strain_of(other)[1] == pytest.approx(2.0 * plain.strain_of(other)[1])


def test_the_error_of_a_population_holds_that_of_what_mixing_does(measured):
    """What is taken off has the errors of both places and of the shares: by differences."""
    makeup = replace(measured[1]["SV"].makeup, systematic=0.0)
    quiet = replace(makeup.quantities, noise=np.zeros_like(makeup.quantities.noise))
    plain = makeup.populations.populations
    steps = ((0.05, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.3))

    def with_populations(shifts, errors):
        share, *place = shifts
        share_std, *place_std = errors
        both = tuple(
            replace(
                one,
                share=one.share + sign * share,
                share_std=share_std,
                value=one.value + [0.0, moved],
                value_std=np.array([0.0, std]),
            )
            for one, sign, moved, std in zip(plain, (-1, 1), place, place_std, strict=True)
        )
        found = replace(makeup.populations, populations=both)
        return replace(makeup, quantities=quiet, populations=found)

    def strains(step):
        one = with_populations(step, np.zeros(3))
        return np.array([one.strain_of(p)[0] for p in one.populations.populations])

    def errors(step):
        one = with_populations(np.zeros(3), step)
        return np.array([one.strain_of(p)[1] for p in one.populations.populations])

    for step in np.array(steps):
        by_difference = 0.5 * np.abs(strains(step) - strains(-step))
        assert by_difference.min() > 0.0
        np.testing.assert_allclose(errors(step), by_difference, rtol=0.05)
        np.testing.assert_allclose(errors(3.0 * step), 3.0 * errors(step))
    together = np.linalg.norm([errors(np.array(step)) for step in steps], axis=0)
    np.testing.assert_allclose(errors(np.sum(steps, axis=0)), together)


def test_a_population_errs_by_what_its_class_errs_by(measured):
    """Profile and model displace the triangles of both populations, which no window tells."""
    one = measured[1]["SV"]
    parts = one.budget.strain_parts
    systematic = np.hypot(np.nan_to_num(parts["model"]), parts["profile"])
    assert systematic > 0.0
    for population in one.makeup.populations.populations:
        by_windows = replace(one.makeup, systematic=0.0).strain_of(population)[1]
        expected = np.hypot(by_windows, systematic)
        assert one.makeup.strain_of(population)[1] == pytest.approx(expected)


def test_few_windows_have_one_statistical_error(measured):
    """The bootstrap's standard deviation is smaller: it takes their scatter for known."""
    few = {
        n: replace(s, included=s.included & (np.arange(len(s.included)) >= 93))
        for n, s in measured[0].items()
        if n == "SV"
    }
    few["2Se"] = measured[0]["2Se"]
    found = measure_spacings(few, CONFIG)["SV"]
    assert found.spacing.n == 7
    assert found.spacing.strain_std == found.budget.sigma_stat
    drawn = found.spacing.samples_pm.std() / found.spacing.spacing_pm
    assert found.spacing.strain_std > 1.1 * drawn
