"""Columns are moved by shifting what is there: as if the crystal had been so, noise as it was."""

from dataclasses import replace

import numpy as np
import pytest

from napari_defectstrain.columns.images.measure import ImageColumns, fit_image_columns
from napari_defectstrain.simulate.acquisition import ScanConfig
from napari_defectstrain.simulate.dataset import SimulationConfig, clean_image, simulate_image
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.trials.known_fields import REACH_A, known_displacement
from napari_defectstrain.trials.moving import move_columns
from napari_defectstrain.types import CalibratedImage, DefectStrainError

A_PM, PIXEL_PM = 330.0, 20.74
A_PX = A_PM / PIXEL_PM
HEIGHT = 130.0


@pytest.fixture(scope="module")
def crystal():
    """A perfect crystal without noise: image, true columns, settings, and its fit."""
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=(0.0, 0.0, 0.0, 0.0)),
        scan=ScanConfig(shape=(224, 224), rotation_deg=8.0, jitter_px=0.0, contamination=0.0),
    )
    made = simulate_image(config, np.random.default_rng(3))
    data = HEIGHT * clean_image(made.position_px, made.class_index, config)
    # columns beyond the rim give light, too: only the interior is compared
    image = CalibratedImage(data, PIXEL_PM, "perfect")
    return image, made, fit_image_columns(image, made.position_px)


def built_in(made, strain: float) -> np.ndarray:
    """Shifts (y, x) [px] around the chalcogen column nearest the middle."""
    chalcogen = np.flatnonzero(made.class_index == 1)
    middle = chalcogen[np.argmin(np.hypot(*(made.position_px[chalcogen] - 112).T))]
    to_px = np.linalg.inv(made.config.scan.matrix_pm())
    offset_px = made.position_px - made.position_px[middle]
    offset_pm = offset_px[:, ::-1] @ made.config.scan.matrix_pm().T
    return (known_displacement(offset_pm, strain, A_PM) @ to_px.T)[:, ::-1]


def test_without_a_shift_nothing_changes_to_the_last_bit(crystal):
    image, made, fit = crystal
    data = image.data + np.random.default_rng(0).normal(0, 10, image.data.shape)
    moved = move_columns(replace(image, data=data), fit, np.zeros((len(fit), 2)), A_PX)
    np.testing.assert_array_equal(moved, data)


@pytest.mark.parametrize("strain", [-0.048, 0.012])
def test_the_image_is_that_of_a_crystal_whose_columns_lie_there(crystal, strain):
    image, made, fit = crystal
    shift = built_in(made, strain)
    moved = move_columns(image, fit, shift, A_PX)
    truth = HEIGHT * clean_image(made.position_px + shift, made.class_index, made.config)
    change = np.abs(truth - image.data).max()
    inner = np.s_[30:-30, 30:-30]
    assert change > 5.0 * abs(strain) / 0.048
    # what is wrong is a hundredth of what was changed
    assert np.abs(moved - truth)[inner].max() < 0.02 * change
    assert np.abs(moved - truth)[inner].std() < 0.02 * (truth - image.data)[inner].std()


def test_the_columns_are_found_where_they_were_put(crystal):
    image, made, fit = crystal
    shift = built_in(made, -0.048)
    moved = move_columns(image, fit, shift, A_PX)
    again = fit_image_columns(replace(image, data=moved), made.position_px + shift)
    went = again.position_px - fit.position_px
    far = np.hypot(*shift.T) > 0.05
    assert far.sum() > 15
    slope = (went[far] * shift[far]).sum() / (shift[far] ** 2).sum()
    assert slope == pytest.approx(1.0, abs=0.005)
    assert (went - shift)[far].std() * PIXEL_PM < 0.05
    assert (went - shift)[far].mean() * PIXEL_PM == pytest.approx(0.0, abs=0.02)


def test_noise_is_neither_smoothed_nor_sharpened(crystal):
    image, made, fit = crystal
    noise = np.random.default_rng(1).normal(0, 0.1 * HEIGHT, image.data.shape)
    shift = built_in(made, -0.048)
    quiet = move_columns(image, fit, shift, A_PX)
    loud = move_columns(replace(image, data=image.data + noise), fit, shift, A_PX)
    radius = np.hypot(*(np.indices(noise.shape) - 112.0))
    inside = radius < REACH_A * A_PX
    left = (loud - quiet)[inside]
    # 4700 pixels know their variance to 2 %; that of the same noise, unmoved, is the reference
    assert left.var() == pytest.approx(noise[inside].var(), rel=0.02)
    rough = [np.diff(n, 2, axis=1)[:, 1:][inside[:, 3:]].var() for n in (loud - quiet, noise)]
    assert rough[0] == pytest.approx(rough[1], rel=0.02)
    outside = radius > (REACH_A + 2.2) * A_PX
    np.testing.assert_allclose((loud - quiet)[outside], noise[outside], atol=1e-5 * HEIGHT)


def test_shifts_must_fit_the_columns(crystal):
    image, made, fit = crystal
    with pytest.raises(DefectStrainError, match="expected one each"):
        move_columns(image, fit, np.zeros((3, 2)), A_PX)
    with pytest.raises(DefectStrainError, match="less than a quarter"):
        move_columns(image, fit, np.full((len(fit), 2), 5.0), A_PX)
    single = ImageColumns(**{**vars(fit), "profile": None})
    with pytest.raises(DefectStrainError, match="without a profile"):
        move_columns(image, single, np.zeros((len(fit), 2)), A_PX)
