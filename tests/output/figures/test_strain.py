"""Figures of strain show what they are given: units, shared limits, marks, words."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.materials import WSE2
from napari_defectstrain.output.figures.profiles import profile_figure, smoothing_figure
from napari_defectstrain.output.figures.strain import (
    comparison_figure,
    displacement_figure,
    triangles_figure,
)
from napari_defectstrain.strain.bands import smoothing_scan
from napari_defectstrain.strain.displacement import error_ellipses
from napari_defectstrain.strain.field import StrainConfig, strain_field
from napari_defectstrain.strain.lines import line_profile
from napari_defectstrain.strain.triangles import triangle_strain
from napari_defectstrain.theory.elasticity import fit_inclusion, inclusion_displacement
from napari_defectstrain.types import ClassAverage, DisplacementField

A = 330.0
CONFIG = StrainConfig(step_pm=50.0)
SITE, IS_METAL = ideal_sites(A, 1000.0)


def displacement(name: str, strength: float) -> DisplacementField:
    rng = np.random.default_rng(1)
    u = inclusion_displacement(SITE, strength, 190.0) + rng.normal(0, 0.2, SITE.shape)
    return DisplacementField(name, SITE, IS_METAL, u, 0.04 * np.eye(2 * len(SITE)))


FIELDS = {"SeTe": displacement("SeTe", 250.0), "SV": displacement("SV", -1700.0)}
MAPS = {name: strain_field(field, CONFIG) for name, field in FIELDS.items()}
ELASTIC = {
    name: strain_field(fit_inclusion(field).predicted(field), CONFIG)
    for name, field in FIELDS.items()
}


def drawn(figure: Figure) -> str:
    """Draws it, and returns all its words."""
    figure.savefig(io.BytesIO(), format="png")
    return "\n".join(t.get_text() for t in figure.findobj(Text))


@pytest.mark.slow
def test_the_elastic_model_is_drawn_with_the_measurements_limits():
    window = np.random.default_rng(2).random((101, 101))
    averages = {
        name: ClassAverage(name, window, window, 20 + i, 0, 25.0, A, 0.99)
        for i, name in enumerate(FIELDS)
    }
    ellipses = {name: error_ellipses(field) for name, field in FIELDS.items()}
    figure = displacement_figure(averages, FIELDS, MAPS, ELASTIC, ellipses)
    words = drawn(figure)
    for word in ("SeTe", "SV", "N = 20", "N = 21", "Eshelby", "measured", "dilation [%]"):
        assert word in words
    # scale arrows: the longest round length that the arrows reach, and how much they are enlarged
    keys = [a.text.get_text() for axes in figure.axes for a in axes.artists]
    assert keys == ["1 pm (×200)", "5 pm (×20)"]
    panels = figure.axes[:6]
    for column in (0, 1):
        first, second = (panels[column + 2 * row].images[0] for row in (1, 2))
        assert first.get_clim() == second.get_clim()
        assert first.get_clim()[0] == -first.get_clim()[1]
    assert panels[2].images[0].get_clim() != panels[3].images[0].get_clim()


@pytest.mark.slow
def test_rows_of_a_component_share_limits_and_name_it():
    maps = {"measured": MAPS["SV"], "Eshelby": ELASTIC["SV"]}
    profile = line_profile(FIELDS["SV"], "eyy", config=CONFIG)
    figure = comparison_figure(maps, FIELDS["SV"], profile=profile, material=WSE2, fade=True)
    words = drawn(figure)
    for word in ("smoothing 60 pm (FWHM 141 pm)", "tension positive", "W", "Se", "[%]"):
        assert word in words
    panels = [a for a in figure.findobj(lambda a: hasattr(a, "images")) if a.images]
    limits = {tuple(a.images[-1].get_clim()) for a in panels[:6]}
    assert len({round(high, 6) for _, high in limits}) == 3  # one for each of three components
    supplement = comparison_figure(maps, FIELDS["SV"], ("exy", "rotation"))
    assert "mrad" in drawn(supplement)


def test_faded_maps_are_pale_where_nothing_is_significant():
    figure = comparison_figure({"measured": MAPS["SV"]}, FIELDS["SV"], ("exx",), fade=True)
    alpha = figure.axes[0].images[-1].get_alpha()
    exx, sigma = MAPS["SV"].components["exx"], MAPS["SV"].sigma["exx"]
    inside = np.isfinite(exx)
    np.testing.assert_array_equal(alpha[inside] == 1.0, np.abs(exx[inside]) > 2 * sigma[inside])
    drawn(figure)


def test_a_profile_states_models_and_their_probability():
    field = FIELDS["SV"]
    samples = field.u_pm + np.random.default_rng(3).normal(0, 0.2, (20, *SITE.shape))
    elastic = fit_inclusion(field).predicted(field)
    profile = line_profile(
        field, "uy", config=CONFIG, samples_pm=samples, models={"Eshelby": elastic}
    )
    figure = profile_figure(profile)
    words = drawn(figure)
    assert "[pm]" in words and "full range of the bootstrap" in words and "chalcogen" in words
    assert f"Eshelby (p = {profile.agreements['Eshelby'].p_value:.2f})" in words
    line = figure.axes[0].lines[1]
    np.testing.assert_allclose(line.get_ydata(), profile.value)
    np.testing.assert_allclose(line.get_xdata(), profile.position_pm / 1000)


@pytest.mark.slow
def test_scan_and_triangles():
    scan = smoothing_scan(FIELDS["SV"], [0.0, 60.0], CONFIG)
    figure = smoothing_figure(scan, ("eyy", "dilation"))
    assert "rms error" in drawn(figure) and len(figure.axes) == 2
    triangles = triangle_strain(FIELDS["SV"])
    figure = triangles_figure(triangles, MAPS["SV"])
    assert "metal triangles" in drawn(figure)
    shown = figure.axes[0].collections[0]
    np.testing.assert_allclose(shown.get_array(), 100 * triangles.components["exx"])
    assert shown.get_clim() == pytest.approx(figure.axes[3].images[0].get_clim())
    assert len(triangles_figure(triangles).axes) == 6  # three panels, three colour bars
