"""Frames of one place are told from frames of several; a perfect crystal tells nothing."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from napari_defectstrain.frames.register import FrameConfig, register_frames
from napari_defectstrain.simulate.acquisition import ScanConfig, contamination, expose
from napari_defectstrain.simulate.dataset import (
    SimulationConfig,
    clean_image,
    crystal_for,
    crystal_to_px,
)
from napari_defectstrain.simulate.structure import CrystalConfig
from napari_defectstrain.types import DefectStrainError

SIDE = 340
ALLOY = (0.056, 0.032, 0.056, 0.002)


@lru_cache
def place(seed, fractions=ALLOY, side=460):
    """Noise-free picture of a place, in units of a metal column's height."""
    rng = np.random.default_rng(seed)
    scan = ScanConfig(shape=(side, side), rotation_deg=8.0)
    config = SimulationConfig(crystal=CrystalConfig(fractions=fractions), scan=scan)
    crystal = crystal_for(config, rng)
    position = crystal_to_px(crystal.position_pm, scan, np.full(2, (side - 1) / 2))
    return clean_image(position, crystal.class_index, config) + contamination(scan, rng)


def series(places, dose=1.24e6, step=(3, 5), seed=0):
    """A frame of each place in turn, drifting by `step` px."""
    rng = np.random.default_rng(seed)
    scan = ScanConfig(shape=(SIDE, SIDE), dose_e_per_nm2=dose, frames=1, read_noise=0.3)
    frames = []
    for t, picture in enumerate(places):
        y, x = 10 + t * np.array(step)
        frames.append(expose(picture[y : y + SIDE, x : x + SIDE], scan, rng))
    return np.stack(frames).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("dose", [1.24e6, 3e5])
@pytest.mark.parametrize("fractions", [ALLOY, (0.0, 0.0, 0.0, 0.0)])
def test_frames_of_one_place_pass_with_defects_or_without(dose, fractions):
    found = register_frames(series([place(1, fractions)] * 4, dose), FrameConfig(jitter="off"))
    assert not found.bad.any()


@pytest.mark.slow
def test_a_large_drift_passes():
    found = register_frames(series([place(1)] * 3, step=(45, 50)), FrameConfig(jitter="off"))
    assert not found.bad.any()
    assert found.shift_px[2] == pytest.approx([-90, -100], abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(1, 2), (1, 2, 3, 4), (1, 1, 2, 2)])
def test_frames_of_different_places_are_refused(seeds):
    with pytest.raises(DefectStrainError, match="of . different places .* separate images"):
        register_frames(series([place(s) for s in seeds]), FrameConfig(jitter="off"))


@pytest.mark.slow
def test_noisy_frames_are_compared_in_halves():
    # Frames that tell nothing one by one: eight of one place, then eight of another.
    frames = series([place(1)] * 8 + [place(2)] * 8, dose=1.5e5, step=(1, 2))
    with pytest.raises(DefectStrainError, match="different places"):
        register_frames(frames, FrameConfig(jitter="off"))


@pytest.mark.slow
def test_a_few_frames_from_elsewhere_are_left_out():
    frames = series([place(s) for s in (1, 2, 1, 3, 1)])
    found = register_frames(frames, FrameConfig(jitter="off"))
    assert found.bad.tolist() == [False, True, False, True, False]
    assert "another place" in found.reason[1]
    assert "2 of 5 frames left out" in " ".join(found.notes)
    kept = register_frames(frames, FrameConfig(jitter="off", include=(1, 3)))
    assert not kept.bad.any()


@pytest.mark.slow
def test_columns_that_the_beam_changes_are_no_other_place():
    before = place(1)
    config = SimulationConfig(
        crystal=CrystalConfig(fractions=ALLOY), scan=ScanConfig(shape=(460, 460), rotation_deg=8.0)
    )
    rng = np.random.default_rng(1)
    crystal = crystal_for(config, rng)
    position = crystal_to_px(crystal.position_pm, config.scan, np.full(2, 229.5))
    lost = (crystal.class_index == 1) & (np.random.default_rng(9).random(len(position)) < 0.15)
    changed = np.where(lost, 4, crystal.class_index)
    after = clean_image(position, changed, config) + contamination(replace(config.scan), rng)
    found = register_frames(series([before, before, after, after]), FrameConfig(jitter="off"))
    assert not found.bad.any()


@pytest.mark.slow
def test_repeated_frames_are_left_out():
    frames = series([place(1)] * 3)
    repeated = np.concatenate([frames[:2], frames[1:2], frames[2:]])
    found = register_frames(repeated, FrameConfig(jitter="off"))
    once = register_frames(frames, FrameConfig(jitter="off"))
    assert found.reason == ("", "", "repeats frame 1", "")
    assert np.array_equal(found.summed, once.summed)
    assert "repeats frame 1" in " ".join(found.notes)
    same = register_frames(np.stack([frames[0]] * 3))
    assert same.bad.tolist() == [False, True, True]
    assert "2 of 3 frames left out" in same.notes[0]
