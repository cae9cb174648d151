"""Columns that change while frames are taken: steps beyond noise, named with their frame."""

from __future__ import annotations

import numpy as np
import pytest

from napari_defectstrain.frames.changes import CHANGED_COLUMNS, changed_columns, changes_text
from napari_defectstrain.frames.register import FrameConfig, register_frames
from napari_defectstrain.materials import ROLES
from napari_defectstrain.pipeline.loading import sum_frames
from napari_defectstrain.simulate import SimulationConfig, knock_on, simulate_changes
from napari_defectstrain.types import CalibratedImage

RIGID = FrameConfig(jitter="off")


def series(loss: float, seed: int, drift: tuple[float, float] = (0.0, 0.0)):
    config = SimulationConfig()
    scan = config.scan.replace(
        shape=(224, 224), pixel_size_pm=36.0, dose_e_per_nm2=3e6, frames=1, jitter_px=0.3
    )
    config = config.replace(scan=scan.replace(read_noise=0.1))
    return simulate_changes(
        config, np.random.default_rng(seed), "s", 8, knock_on(loss), drift_px=drift
    )


def true_changes(made) -> np.ndarray:
    """(y, x, frame) of every column that loses an atom, from the first frame after it."""
    history = made.class_index
    t, n = np.nonzero(history[1:] != history[:-1])
    return np.column_stack([made.image.position_px[n], t + 1])


def test_columns_that_lose_atoms_are_named_with_the_frame():
    made = series(0.01, 1, (0.8, -0.5))
    frames = made.image.counts.astype(float)
    found = register_frames(frames, RIGID)
    changed = changed_columns(frames, found)
    assert changed is not None
    truth = true_changes(made)
    inside = np.all((truth[:, :2] > 14) & (truth[:, :2] < 208), axis=1)
    # one frame before or after is too little to tell an atom by
    inside &= (truth[:, 2] > 1) & (truth[:, 2] < 7)
    y0, _, x0, _ = found.region
    place = changed.position_px + [y0, x0]
    apart = np.hypot(*(truth[:, None, :2] - place).transpose(2, 0, 1))
    # half the distance to the next chalcogen column is 4.6 px
    assert (apart.min(axis=0) < 4.6).all()  # nothing is named that didn't change
    told = apart[inside].min(axis=1) < 4.6
    assert told.mean() > 0.8 and told.sum() > 15
    nearest = truth[apart.argmin(axis=0)]
    assert np.mean(nearest[:, 2] == changed.frame) > 0.9


@pytest.mark.parametrize("seed", [2, 3])
def test_nothing_is_named_where_nothing_changes(seed):
    made = series(0.0, seed)
    frames = made.image.counts.astype(float)
    changed = changed_columns(frames, register_frames(frames, RIGID))
    assert changed is not None and len(changed) == 0
    assert changes_text(changed, 8) == ""


def test_a_sum_of_changing_frames_warns_and_keeps_the_table():
    made = series(0.01, 1)
    pixel = made.image.config.scan.pixel_size_pm
    planes = [CalibratedImage(f.astype(float), pixel, "s") for f in made.image.counts]
    total = sum_frames(planes, "s", config=RIGID)
    assert any(
        "chalcogen columns changed while the 8 frames" in w and "in frame " in w
        for w in total.metadata["warnings"]
    )
    rows = total.metadata[CHANGED_COLUMNS]
    assert {"frame", "y_px", "x_px", "step", "significance"} == set(rows[0])
    assert all(row["step"] < 0 for row in rows[:10])  # atoms leave
    still = sum_frames([*planes[:1], *planes[:1]], "s", config=RIGID.replace(include=(1,)))
    assert CHANGED_COLUMNS not in still.metadata


def test_rates_are_those_of_the_chances():
    made = series(0.01, 1)
    rate = made.rates(2.0)
    assert rate["X2", "V1"] == pytest.approx(-np.log(1 - 0.02) / 2)
    assert rate["V1", "V2"] == pytest.approx(-np.log(1 - 0.01) / 2)
    x2 = made.class_index[:-1] == ROLES.index("X2")
    lost = x2 & (made.class_index[1:] == ROLES.index("V1"))
    expected = 0.02 * x2.sum()
    assert abs(lost.sum() - expected) < 4 * np.sqrt(expected)


def test_vacancies_hop_to_perfect_neighbours_and_their_number_stays():
    config = SimulationConfig()
    scan = config.scan.replace(shape=(96, 96), pixel_size_pm=40.0, frames=1)
    made = simulate_changes(
        config.replace(scan=scan), np.random.default_rng(5), "s", 4, {}, hop=0.5
    )
    v1 = ROLES.index("V1")
    moved = made.class_index[1:] != made.class_index[:-1]
    assert moved.any()
    for before, after in zip(made.class_index[:-1], made.class_index[1:], strict=True):
        gone = made.image.position_px[(before == v1) & (after != v1)]
        come = made.image.position_px[(after == v1) & (before != v1)]
        inner = np.all((gone > 12) & (gone < 84), axis=1)
        # a = 8.25 px; one that is followed by another seems to have gone two steps
        assert len(come) and all(np.hypot(*(come - g).T).min() < 18 for g in gone[inner])
