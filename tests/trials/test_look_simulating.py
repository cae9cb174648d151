"""Simulated images have the look that they were asked for."""

import numpy as np
import pytest
from look_stage import STEADY, known_look, seen
from small_alloy import true_sites

from napari_defectstrain.io import read_images
from napari_defectstrain.simulate import write_simulated
from napari_defectstrain.trials import look_profile, see_image, simulate_look


@pytest.fixture(scope="module")
def alike():
    return simulate_look(known_look(), (288, 288), 3)


def test_it_is_seen_as_it_was_asked_for(alike):
    first, again = seen(*STEADY), see_image(alike.image, true_sites(alike), "WSe2")
    assert again.number["line_px"] == pytest.approx(
        first.number["line_px"], abs=3 * np.hypot(first.sigma["line_px"], again.sigma["line_px"])
    )
    assert again.number["fwhm_pm"] == pytest.approx(first.number["fwhm_pm"], rel=0.05)
    assert again.number["noise"] == pytest.approx(first.number["noise"], rel=0.08)
    assert again.number["frames"] == pytest.approx(first.number["frames"], abs=4)
    assert again.number["weight_X2"] == pytest.approx(first.number["weight_X2"], abs=0.02)
    spread = [b.background.std() for b in (first, again)]
    assert spread[1] == pytest.approx(spread[0], rel=0.4)


def test_its_truth_is_where_the_columns_are(alike):
    from napari_defectstrain.columns import fit_image_columns

    fit = fit_image_columns(alike.image, alike.position_px)
    inner = np.all(np.abs(alike.position_px - 143.5) < 110, axis=1) & fit.measured
    off = (fit.position_px - alike.position_px)[inner]
    assert np.abs(off.mean(axis=0)).max() < 0.05
    assert off.std(axis=0).max() < 0.4


def test_the_same_seed_gives_the_same_image_and_other_seeds_others(alike):
    same = simulate_look(known_look(), (288, 288), 3)
    np.testing.assert_array_equal(same.counts, alike.counts)
    other = simulate_look(known_look(), (288, 288), 4)
    assert (other.counts != alike.counts).mean() > 0.9


def test_it_is_written_as_simulated_images_are(alike, tmp_path):
    image, truth = write_simulated(alike, lambda name: tmp_path / name)
    (back,) = read_images(image)
    assert back.pixel_size_pm == pytest.approx(known_look().pixel_size_pm.value)
    assert back.name == "like_known_5"
    assert back.metadata["simulated"] is True
    assert truth.read_text().startswith("y_px,x_px,")


def test_other_populations_can_be_asked_for():
    made = simulate_look(known_look(), (200, 200), 1, fractions=(0.0, 0.0, 0.3, 0.0))
    share = (made.class_index == 4).sum() / (made.class_index > 0).sum()
    assert share == pytest.approx(0.3, abs=0.08)
    assert not (made.class_index == 2).any()


def test_the_profile_of_the_look_is_the_one_that_was_learnt():
    look = known_look()
    profile = look_profile(look)
    k = np.asarray(look.shape.frequency_per_pm)[1:20:3] * look.pixel_size_pm.value
    isotropic = profile.with_blur(np.zeros(3)).transfer(k, np.zeros_like(k))
    assert isotropic == pytest.approx(np.asarray(look.shape.transfer)[1:20:3], abs=4e-3)
