"""Multislice images of relaxed structures: atoms, blur, and what abTEM makes of them."""

import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from napari_defectstrain.columns.profiles import FourierWindow, aperture_transfer, spline_profile
from napari_defectstrain.crystal.honeycomb import ideal_sites
from napari_defectstrain.crystal.structures import RelaxedColumns, read_relaxed
from napari_defectstrain.theory import multislice
from napari_defectstrain.theory.multislice import Optics, framed_atoms, multislice_average
from napari_defectstrain.types import ClassAverage, DefectStrainError
from napari_defectstrain.units import electron_wavelength_pm

A_PM = 330.0
FOLDER = Path(str(files("napari_defectstrain.sample_data")))
DEFECT, PRISTINE = FOLDER / "SV_9x9.extxyz", FOLDER / "pristine_9x9.extxyz"


@pytest.fixture(scope="module")
def columns() -> RelaxedColumns:
    return read_relaxed(DEFECT, PRISTINE)


def blank(size: int) -> ClassAverage:
    return ClassAverage("SV", np.zeros((size, size)), np.zeros((size, size)), 9, 0, 20.0, A_PM, 1.0)


def test_pristine_atoms_lie_on_the_ideal_sites(columns: RelaxedColumns) -> None:
    symbols, place = framed_atoms(PRISTINE, columns, A_PM, 2000.0)
    site, is_metal = ideal_sites(A_PM, 2000.0 * np.sqrt(2.0) + 1.0)
    inside = (np.abs(site) <= 2000.0).all(axis=1)
    assert (symbols == "W").sum() == (inside & is_metal).sum()
    assert (symbols == "Se").sum() == 2 * (inside & ~is_metal).sum()
    distance = np.linalg.norm(place[:, None, :2] - site[None], axis=2)
    # coordinates are given to 1e-6 angstrom or so
    assert distance.min(axis=1).max() < 0.01
    assert np.unique(place[symbols == "W", 2].round(1)).tolist() == [0.0]
    half = 168.0 * A_PM / columns.lattice_pm
    assert np.unique(np.abs(place[symbols == "Se", 2]).round(1)) == pytest.approx([half], abs=0.1)


def test_the_defect_lies_at_the_origin(columns: RelaxedColumns) -> None:
    symbols, place = framed_atoms(DEFECT, columns, A_PM, 600.0)
    centre = np.hypot(*place[:, :2].T) < 40.0
    assert symbols[centre].tolist() == ["Se"]
    metal = place[(symbols == "W") & (np.hypot(*place[:, :2].T) < 230.0)]
    side = np.hypot(*(metal[:, :2] - np.roll(metal[:, :2], 1, axis=0)).T)
    assert side.mean() / A_PM - 1.0 == pytest.approx(columns.spacing_change, abs=1e-4)
    angle = np.sort(np.rad2deg(np.arctan2(metal[:, 1], metal[:, 0])) % 360.0)
    assert angle == pytest.approx([90.0, 210.0, 330.0], abs=0.1)


def test_the_image_takes_the_blur_of_the_experiment() -> None:
    """An incoherent image by the bare aperture becomes the one by the learnt profile."""
    optics = Optics()
    limit = 2e-3 * optics.semi_angle_mrad / electron_wavelength_pm(optics.energy_kev)
    profile = spline_profile(48.0, 10, 0.7, limit)
    site, is_metal = ideal_sites(A_PM, 3000.0)
    weight = np.where(is_metal, 1.0, 0.7)
    n = 35
    step = 1310.0 / n
    fine = FourierWindow(2 * n + 1, step, limit)
    k = np.hypot(fine.kx_per_pm, fine.ky_per_pm)
    bare = fine.image(aperture_transfer(k / limit) * fine.structure_factor(site, weight))
    made = multislice._with_profile(bare, step, blank(111), profile, optics)
    window = FourierWindow(111, 20.0, profile.cutoff_per_pm)
    transfer = profile.transfer(window.kx_per_pm, window.ky_per_pm)
    expected = window.image(transfer * window.structure_factor(site, weight))
    expected = (expected - expected.min()) / np.ptp(expected)
    # the mirrored border, and frequencies beyond 0.9 of the limit, which the source blurs away
    assert made[10:-10, 10:-10] == pytest.approx(expected[10:-10, 10:-10], abs=0.01)


def test_without_abtem_it_says_what_to_install(
    columns: RelaxedColumns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "abtem", None)
    with pytest.raises(DefectStrainError, match="pip install abtem"):
        multislice_average(DEFECT, columns, blank(41), spline_profile(48.0, 10, 0.7))


def test_waves_must_reach_the_detector(columns: RelaxedColumns) -> None:
    pytest.importorskip("abtem")
    coarse = Optics(sampling_pm=20.0)
    with pytest.raises(DefectStrainError, match="reach 70 mrad"):
        multislice_average(DEFECT, columns, blank(41), spline_profile(48.0, 10, 0.7), coarse)


def test_a_single_se_is_darker_than_a_pair(columns: RelaxedColumns) -> None:
    pytest.importorskip("abtem")
    image = multislice_average(DEFECT, columns, blank(41), spline_profile(48.0, 10, 0.7)).mean
    ring = np.rint(A_PM / 20.0).astype(int)
    assert image[20, 20] < 0.6 * image[20, 20 + ring]
