"""What is seen before training: an image's own microscope, and examples at the same sampling."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_alloy import simulated

from napari_defectstrain.crystal.calibration import estimate_pixel_size
from napari_defectstrain.detect.network.config import CANONICAL_PIXEL_PM
from napari_defectstrain.detect.training.previews import (
    Example,
    Microscope,
    column_centres,
    conditions_like,
    contrast_limits,
    image_window,
    preview_windows,
    read_microscope,
)
from napari_defectstrain.detect.training.windows import label_columns
from napari_defectstrain.materials import WSE2, get_material
from napari_defectstrain.simulate.conditions import Conditions
from napari_defectstrain.types import CalibratedImage, DefectStrainError

TRUE_PM = 20.74


def region(pixel_size_pm=TRUE_PM, **metadata):
    return CalibratedImage(simulated(size=384).image.data, pixel_size_pm, "region", metadata)


def test_pixel_size_is_that_of_the_lattice_and_metadata_are_read():
    image = region(21.5, beam_energy_kev=60.0, semi_angle_mrad=32.0)
    found = read_microscope(image, WSE2)
    # an estimate on 8 nm, of a lattice that its defects strain: 1 % at most
    assert found.pixel_size_pm == pytest.approx(TRUE_PM, rel=0.01)
    assert found.by_lattice
    assert (found.energy_kev, found.semi_angle_mrad, found.dose_e_per_nm2) == (60.0, 32.0, None)


def test_without_a_lattice_the_stated_pixel_size_stays(rng):
    image = CalibratedImage(rng.normal(size=(128, 128)), 18.0, "noise")
    assert read_microscope(image, WSE2) == Microscope(18.0, False)


def test_simulated_files_tell_their_own_conditions():
    metadata = {"simulation": {"probe": {"semi_angle_mrad": 25}, "scan": {"dose_e_per_nm2": 3e6}}}
    found = read_microscope(region(**metadata), WSE2)
    assert (found.semi_angle_mrad, found.dose_e_per_nm2) == (25.0, 3e6)


@pytest.mark.parametrize("value", ["80", None, float("nan"), -1, {}])
def test_metadata_that_are_no_positive_number_are_none(value):
    assert read_microscope(region(beam_energy_kev=value), WSE2).energy_kev is None


def test_conditions_are_narrowed_to_what_is_known():
    start = Conditions()
    narrow = conditions_like(Microscope(20.0, True, 60.0, 30.0, 4e6), start)
    assert_allclose(narrow.pixel_size_pm, (17.0, 23.0))
    assert_allclose(narrow.semi_angle_mrad, (27.0, 33.0))
    assert_allclose(narrow.dose_e_per_nm2, (2e6, 8e6))
    assert narrow.energy_kev == (60.0,)
    assert conditions_like(Microscope(None, False), start) == start


@pytest.mark.slow
@pytest.mark.parametrize("material", ["WSe2", "MoS2", "NbSe2(S, 344.5)"])
def test_own_image_and_examples_have_the_same_sampling(material):
    side = 96
    conditions = Conditions(
        materials=(material,), scale_std=0.0, shear_std=0.0, patterns=("whole",), tilt_mrad=(0, 0)
    )
    examples = preview_windows(conditions, 2, side, np.random.default_rng(3))
    a_pm = get_material(material).lattice_pm
    for example in examples:
        assert example.image.shape == (side, side)
        # 3.8 nm hold 11 lattice constants: the {100} spots are found to a few per cent of a pixel
        found = estimate_pixel_size(example.image, a_pm).pixel_size_pm
        assert found == pytest.approx(CANONICAL_PIXEL_PM, rel=0.02)
    own = image_window(region(), TRUE_PM, side)
    assert own.image.shape == (side, side)
    found = estimate_pixel_size(own.image, WSE2.lattice_pm).pixel_size_pm
    assert found == pytest.approx(CANONICAL_PIXEL_PM, rel=0.02)


@pytest.mark.slow
def test_examples_differ_and_can_be_repeated():
    first, again = (
        preview_windows(Conditions(), 2, 64, np.random.default_rng(7)) for _ in range(2)
    )
    assert_array_equal(first[1].image, again[1].image)
    assert not np.array_equal(first[0].image, first[1].image)


def test_columns_of_a_label_image_are_found_again(rng):
    # a grid of 5 px, so that no two discs of 3 x 3 px touch
    true = np.argwhere(np.ones((10, 10))) * 5 + 3
    role = rng.integers(0, 7, len(true))
    labels = label_columns(true.astype(float), role, (52, 52))
    found = column_centres(labels)
    assert_array_equal(found, true)
    assert_array_equal(labels[tuple(found.T)] - 1, role)


def test_the_part_of_the_own_image_is_the_one_asked_for():
    image = region()
    before = image.data.copy()
    corner = image_window(image, TRUE_PM, 64, (0.0, 0.0))
    beyond = image_window(image, TRUE_PM, 64, (-500.0, -1e4))
    middle = image_window(image, TRUE_PM, 64)
    assert_array_equal(corner.image, beyond.image)
    assert not np.array_equal(corner.image, middle.image)
    assert_array_equal(image.data, before)


def test_a_small_image_gives_a_small_window_and_a_tiny_one_a_message():
    small = CalibratedImage(region().data[:160, :200], TRUE_PM, "small")
    # 160 px of 20.74 pm are 83 px of 40 pm, of which a rim of 12 px a side is cut away
    assert image_window(small, TRUE_PM, 128).image.shape == (83 - 24, 104 - 24)
    tiny = CalibratedImage(region().data[:80, :80], TRUE_PM, "tiny")
    with pytest.raises(
        DefectStrainError, match="tiny: got an image 1.7 nm wide, expected at least"
    ):
        image_window(tiny, TRUE_PM, 128)


def test_all_examples_share_their_grey_values():
    ramp = np.linspace(0, 1, 1001).reshape(1, -1)
    low, high = contrast_limits([Example(ramp), Example(ramp + 1)])
    # of values spread evenly over 0 to 2
    assert (low, high) == pytest.approx((0.01, 1.99), abs=1e-3)
