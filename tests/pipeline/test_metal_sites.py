"""Classes named on metal sites are averaged and strain like any other, against perfect metals."""

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree
from small_alloy import SHARED_PROFILE
from synthetic_lattice import frame_matrix, render

from napari_defectstrain.averages.average import average_stack
from napari_defectstrain.averages.companion import CompanionConfig
from napari_defectstrain.averages.metal_sites import seen_from_metals, turned_lattice
from napari_defectstrain.crystal.lattice import ideal_sites
from napari_defectstrain.materials import get_material
from napari_defectstrain.output.results import summary, write_results
from napari_defectstrain.pipeline import chain
from napari_defectstrain.pipeline.companions import average_companion
from napari_defectstrain.pipeline.runs import RunResult
from napari_defectstrain.types import CalibratedImage, ImageLattice, Sites

NAMED = get_material("WSe2 + Mo=0.5@metal + WV=0@metal")
MO, WV, SETE = 7, 8, 2
A_PM, PIXEL_PM, SIDE = 330.0, 20.74, 560
OUTWARD_PM = {MO: 5.0, WV: -9.0}
"""What the three nearest chalcogens move by; a triangle's side by sqrt(3) times that."""
HEIGHT = np.array([1.0, 0.7, 1.05, 1.4, 0.36, 0.0, 0.5, 0.5, 0.0])


def crystal(angle_deg: float, rng: np.random.Generator) -> tuple[CalibratedImage, Sites]:
    """Mo and vacancies in turn on every sixth metal site, some SeTe between them."""
    matrix = frame_matrix(PIXEL_PM, angle_deg)
    site, is_metal = ideal_sites(A_PM, SIDE * PIXEL_PM * 0.75)
    role = np.where(is_metal, 0, 1)
    index = np.rint(np.linalg.solve(A_PM * np.array([[1, 0.5], [0, np.sqrt(0.75)]]), site.T)).T
    coarse = is_metal & (np.mod(index, 6) == 0).all(axis=1)
    kind = np.where(np.mod(index.sum(axis=1), 12) == 0, MO, WV)
    role = np.where(coarse, kind, role)
    beside = cKDTree(site[coarse]).query(site)[0]
    role[~is_metal & (beside > 2.7 * A_PM) & (rng.random(len(site)) < 0.3)] = SETE
    moved = site.copy()
    chalcogen = np.flatnonzero(~is_metal)
    for centre, own in zip(site[coarse], role[coarse], strict=True):
        away = site[chalcogen] - centre
        near = np.flatnonzero(np.hypot(*away.T) < 0.7 * A_PM)
        unit = away[near] / np.hypot(*away[near].T)[:, None]
        moved[chalcogen[near]] += OUTWARD_PM[int(own)] * unit
    place = moved @ matrix.T + (SIDE - 1) / 2 + rng.uniform(-3, 3, 2)
    data = render((SIDE, SIDE), place, HEIGHT[role], 60.0 / PIXEL_PM)
    data += rng.normal(0, 0.03, data.shape)
    inside = np.all((place > 1) & (place < SIDE - 2), axis=1)
    names = NAMED.all_class_names
    sites = Sites(
        place[inside], np.eye(len(names))[role[inside]], role[inside], names,
        np.full(int(inside.sum()), "model"),
    )  # fmt: skip
    return CalibratedImage(100 + 900 * data, PIXEL_PM, f"turned_{angle_deg:g}"), sites


@lru_cache
def measured() -> RunResult:
    rng = np.random.default_rng(11)
    images, sites = zip(*[crystal(angle, rng) for angle in (8.0, 41.0)], strict=True)
    config = SHARED_PROFILE.replace(material=NAMED.label, force_material=True)
    return chain.run(list(images), config, sites=list(sites))


def test_metal_sites_seen_as_chalcogens_are_the_same_honeycomb():
    lattice = ImageLattice(np.array([40.0, 60.0]), frame_matrix(PIXEL_PM, 13.0), A_PM, None, 0.0)
    turned = turned_lattice(lattice)
    site, is_metal = ideal_sites(A_PM, 700.0)
    metals = lattice.to_px(site[is_metal])
    chalcogens = lattice.to_px(site[~is_metal])
    near, nearest = ideal_sites(A_PM, 350.0)
    # around a metal, in its own axes, chalcogens lie where metals do around a chalcogen
    assert cKDTree(metals).query(turned.to_px(near[~nearest]))[0].max() < 1e-9
    assert cKDTree(chalcogens).query(turned.to_px(near[nearest]))[0].max() < 1e-9


def test_strangers_of_the_chalcogen_sites_break_isolation():
    _, sites = crystal(8.0, np.random.default_rng(1))
    seen = seen_from_metals(sites)
    assert (seen.is_metal == (sites.class_index == 1)).all()
    assert (seen.class_index[sites.class_index == 0] == 1).all()
    assert seen.is_other[sites.class_index == SETE].all()
    assert (seen.role[sites.class_index == MO] == MO).all()
    assert seen.is_chalcogen[sites.class_index == WV].all()
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1.0)


def test_they_are_averaged_around_the_metal_with_its_weight():
    found = measured()
    for name, weight in (("W", 1.0), ("Mo@metal", 0.5), ("WV@metal", 0.0)):
        stack = found.stacks[name]
        average = average_stack(stack)
        assert stack.on_metal and stack.n >= 10
        middle = average.mean.shape[0] // 2
        # what the neighbours' tails add at the centre is a tenth of a column
        assert average.mean[middle, middle] == pytest.approx(weight, abs=0.13)
        fits = found.measurements[name].fits
        at = int(np.argmin(np.hypot(*fits.site_pm.T)))
        assert fits.sublattice[at] == "metal"
        assert fits.weight[at] == pytest.approx(weight, abs=0.05)
        ring = np.hypot(*fits.site_pm.T) < 0.7 * A_PM
        ring[at] = False
        assert (fits.sublattice[ring] == "chalcogen").all()
        assert fits.weight[ring] == pytest.approx(0.7, abs=0.05)
    assert not found.stacks["2Se"].on_metal


@pytest.mark.parametrize(("name", "role"), [("Mo@metal", MO), ("WV@metal", WV)])
def test_the_displacement_that_was_built_in_is_found(name, role):
    one = measured().measurements[name]
    expected = np.sqrt(3) * OUTWARD_PM[role] / A_PM
    assert one.spacing.strain == pytest.approx(expected, abs=4 * one.spacing.strain_total_std)
    assert one.spacing.strain_total_std < 0.004
    field = one.displacement
    near = (np.hypot(*field.site_pm.T) < 0.7 * A_PM) & (np.hypot(*field.site_pm.T) > 1.0)
    unit = field.site_pm[near] / np.hypot(*field.site_pm[near].T)[:, None]
    outward = (field.u_pm[near] * unit).sum(axis=1)
    sigma = np.sqrt(np.mean(field.sigma_pm[near] ** 2))
    assert outward == pytest.approx(OUTWARD_PM[role], abs=max(4 * sigma, 1.0))
    far = np.hypot(*field.site_pm.T) > 1.2 * A_PM
    assert np.abs(np.nanmean(field.u_pm[far], axis=0)).max() < 0.5
    centre = one.strain.components["dilation"][len(one.strain.y_pm) // 2, len(one.strain.x_pm) // 2]
    assert np.sign(centre) == np.sign(expected)


def test_their_reference_is_the_metal_in_every_table(tmp_path):
    found = measured()
    said = summary(found)
    assert "on metal sites: Se-Se spacing" in said
    assert said.count("reference") == 2
    write_results(found, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "spacings.csv").set_index("class")
    assert table.loc["W", "strain"] == 0.0
    assert table.loc["Mo@metal", "a_ref_pm"] == pytest.approx(table.loc["W", "spacing_pm"])
    assert table.loc["2Se", "a_ref_pm"] == pytest.approx(table.loc["2Se", "spacing_pm"])
    columns = pd.read_csv(tmp_path / "out" / "columns.csv")
    mine = columns[columns["class"] == "Mo@metal"]
    at = np.hypot(mine["site_x_pm"], mine["site_y_pm"]).to_numpy().argmin()
    assert mine["sublattice"].iloc[at] == "metal"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"average_Mo@metal.tif", "strain_Mo@metal.tif", "average_W.tif"} <= names


def test_without_such_classes_nothing_changes():
    found = measured()
    plain = chain.average_classes(
        found.images[:1],
        [
            Sites(s.position_px, s.probabilities[:, :7], np.minimum(s.class_index, 6),
                  NAMED.class_names, s.source)
            for s in found.sites[:1]
        ],
        found.config.replace(material="WSe2"),
    )  # fmt: skip
    assert not any(stack.on_metal for stack in plain.values()) and "W" not in plain


def test_other_signals_lie_as_the_averages_do_and_are_against_perfect_metals():
    """The image itself as a companion gives the averages again, in the frame of their windows."""
    found = measured()
    signal = {i: image.data for i, image in enumerate(found.images)}
    result = average_companion(found, signal, CompanionConfig(window_nm=1.2, step_pm=40.0))
    assert {"2Se", "W", "Mo@metal", "WV@metal"} <= set(result.averages)
    for name, one in result.averages.items():
        mean = average_stack(found.stacks[name]).mean
        half, bins = len(mean) // 2, len(one.mean) // 2
        picture = mean[half - 2 * bins : half + 2 * bins + 1 : 2, half - 2 * bins :: 2]
        picture = picture[:, : 2 * bins + 1]
        known = np.isfinite(one.mean)
        assert np.corrcoef(picture[known], one.mean[known])[0, 1] > 0.95, name
    differences = result.differences
    assert not {"2Se", "W"} & set(differences)
    middle = len(differences["WV@metal"].mean) // 2
    lost = differences["WV@metal"].mean
    assert np.nanargmin(lost) == np.ravel_multi_index((middle, middle), lost.shape)
    expected = result.averages["Mo@metal"].mean - result.averages["W"].mean
    np.testing.assert_array_equal(differences["Mo@metal"].mean, expected)
