"""What is learnt of images whose look is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from look_stage import FRACTIONS, SHAKEN, SIDE, STEADY, known_look, pictured, seen
from small_alloy import true_sites

from napari_defectstrain.columns import fit_image_columns
from napari_defectstrain.simulate import column_height
from napari_defectstrain.trials import (
    Look,
    learn_look,
    pooled_look,
    read_look,
    see_image,
    write_look,
)
from napari_defectstrain.trials.look_seeing import LOOK_FIT
from napari_defectstrain.types import CalibratedImage, DefectStrainError


@pytest.mark.parametrize("known", [STEADY, SHAKEN])
def test_the_lines_jitter_is_told_within_its_error(known):
    _, jitter, frames, _ = known
    one = seen(*known)
    sigma = one.sigma["line_px"]
    assert sigma < 0.08
    assert abs(one.number["line_px"] - jitter / np.sqrt(frames)) < 3 * sigma


def test_a_sum_of_frames_is_told_from_a_single_one_by_the_blur_along_the_lines():
    assert seen(*STEADY).number["frames"] == pytest.approx(10, abs=4)
    assert seen(*SHAKEN).number["frames"] < 2.5


@pytest.mark.parametrize("known", [STEADY, SHAKEN])
def test_the_noise_is_that_of_counts_and_amplifier(known):
    made, one = pictured(*known), seen(*known)
    scan = made.config.scan
    counts = scan.dose_e_per_nm2 * (scan.pixel_size_pm * 1e-3) ** 2 * scan.metal_fraction
    # heights are those of blurred columns as they were found, not those of the perfect probe
    height = one.grey[1] / counts
    for name, true in (
        ("floor", (scan.read_noise / height) ** 2),
        ("slope", 1 / counts / height),
    ):
        assert one.sigma[name] < 0.3 * true
        assert abs(one.number[name] - true) < 3 * one.sigma[name]
    assert one.number["white"] > 0.85


def test_the_columns_are_as_wide_as_the_probe():
    made, one = pictured(*SHAKEN), seen(*SHAKEN)
    pixel = made.config.scan.pixel_size_pm
    # of a Gaussian column: height 1 / (2 pi s^2) of unit weight
    height = column_height(np.diag([pixel, pixel]), made.config.probe) / pixel**2
    gaussian = 2.3548 * np.sqrt(1 / (2 * np.pi * height))
    assert one.number["fwhm_pm"] == pytest.approx(gaussian, rel=0.15)
    assert one.number["pixel_size_pm"] == pytest.approx(pixel, rel=0.006)


def test_the_populations_are_told_within_their_errors():
    look = pooled_look([seen(*STEADY), seen(*SHAKEN)])
    for learnt, share in zip(look.columns.fractions, FRACTIONS, strict=True):
        assert abs(learnt.value - share) < 3 * learnt.sigma
        assert learnt.spread is not None
    assert [round(w.value, 1) for w in look.columns.weights] == pytest.approx(
        [0.7, 1.06, 1.35, 0.36, 0.0], abs=0.08
    )


def test_a_look_comes_back_from_its_file(tmp_path):
    look = known_look()
    path = tmp_path / "look.json"
    write_look(path, look)
    assert read_look(path) == look
    assert Look.from_dict(look.to_dict()) == look
    told = json.loads(path.read_text())
    assert told["schema"] == 1
    path.write_text(json.dumps({**told, "schema": 2}))
    with pytest.raises(DefectStrainError, match="version 2, expected 1"):
        read_look(path)
    path.write_text(json.dumps({**told, "blurr": 2}))
    with pytest.raises(DefectStrainError, match="unknown setting"):
        read_look(path)


def test_what_could_not_be_learnt_is_said():
    look = known_look()
    assert any("semi-angle" in note for note in look.notes)


def test_images_without_a_crystal_are_left_out_or_refused():
    made = pictured(*SHAKEN)
    sites = true_sites(made)
    empty = CalibratedImage(
        np.random.default_rng(0).normal(100, 10, (SIDE, SIDE)).astype(np.float32), 20.74, "empty"
    )
    few = sites.subset(np.arange(len(sites)) < 20)
    with pytest.raises(DefectStrainError, match="no image that can be learnt from"):
        learn_look([empty], [few], "WSe2")


def test_a_fit_that_ended_on_the_way_is_said() -> None:
    made = pictured(*STEADY)
    sites = true_sites(made)
    fit = fit_image_columns(made.image, sites.position_px, LOOK_FIT)
    for converged in (True, False):
        one = see_image(made.image, sites, "WSe2", fit=replace(fit, converged=converged))
        said = [n for n in pooled_look([one]).notes if "had not converged" in n]
        assert len(said) == (not converged)
    assert said[0].startswith(made.image.name)
