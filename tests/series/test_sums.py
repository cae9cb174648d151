"""Sums of a few frames, their doses, and how many frames a sum needs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_defectstrain.series.settings import SeriesConfig, series_axis
from napari_defectstrain.series.sums import (
    SumPurity,
    dose_of_groups,
    frame_groups,
    propose_frames,
)
from napari_defectstrain.types import CalibratedImage, DefectStrainError

GOOD = np.ones(10, dtype=bool)


def test_groups_take_every_good_frame_once_and_sliding_sums_share_them():
    groups = frame_groups(GOOD, 3)
    assert np.concatenate(groups).tolist() == list(range(10))
    sliding = frame_groups(GOOD, 4, 2)
    assert [g.tolist() for g in sliding] == [list(range(k, k + 4)) for k in (0, 2, 4, 6)]
    # the last ends with the last frame: none is left out
    sliding = frame_groups(np.ones(11, dtype=bool), 4, 3)
    assert [g.tolist() for g in sliding] == [list(range(k, k + 4)) for k in (0, 3, 6, 7)]
    # sums of the same good frames are one
    few = np.zeros(10, dtype=bool)
    few[[0, 1, 5, 9]] = True
    assert [g.tolist() for g in frame_groups(few, 4, 1)] == [[0, 1], [1], [5], [9]]
    bad = GOOD.copy()
    bad[[2, 3]] = False
    groups = frame_groups(bad, 2)
    assert [g.tolist() for g in groups] == [[0, 1], [4, 5], [6, 7], [8, 9]]
    # frames that were left out took their dose all the same
    assert dose_of_groups(groups, 2.0).tolist() == [2.0, 10.0, 14.0, 18.0]
    with pytest.raises(DefectStrainError, match="expected two or more; sum fewer frames"):
        frame_groups(GOOD, 8)


def test_the_fewest_frames_that_are_pure_enough_are_proposed():
    asked = []

    def look(n, groups):
        asked.append((n, [len(g) for g in groups]))
        return SumPurity(n, {"SeTe": 1 - 0.2 / n, "SV": 0.99}, {"SeTe": 20, "SV": 5})

    n, tried = propose_frames(np.ones(40, dtype=bool), 0.95, look)
    assert n == 4 and [one.per_sum for one in tried] == [1, 2, 3, 4]
    assert asked[0] == (1, [1, 1, 1])
    # where none is pure enough, the purest of those that leave two sums
    n, tried = propose_frames(np.ones(6, dtype=bool), 0.99, look)
    assert n == 3 and tried[-1].per_sum == 3


@pytest.mark.parametrize(
    ("config", "metadata", "quantity", "per_frame"),
    [
        ({"dose_e_per_nm2": 2e6}, {}, "dose", 2.0),
        ({}, {"dose_e_per_nm2": 3e6, "frames": 1}, "dose", 3.0),
        # 10 pA for 1 s on (100 x 30 pm)^2: 6.24e7 electrons on 9 nm2
        ({"current_pa": 10.0}, {"dwell_time_us": 100.0}, "dose", 6.241509e7 / 9 / 1e6),
        ({"kind": "time"}, {"dwell_time_us": 100.0}, "time", 1.0),
        ({"kind": "time", "frame_time_s": 1.5}, {}, "time", 1.5),
        ({}, {}, "frame", 1.0),
        ({"kind": "time"}, {}, "frame", 1.0),
    ],
)
def test_the_axis_is_given_or_by_the_file(config, metadata, quantity, per_frame):
    first = CalibratedImage(np.zeros((100, 100)), 30.0, "f", metadata)
    axis = series_axis(first, SeriesConfig(**config))
    assert axis.quantity == quantity and axis.per_frame == pytest.approx(per_frame, rel=1e-6)
    assert bool(axis.notes) == (quantity == "frame")


def test_a_beam_is_on_while_a_frame_is_scanned():
    # 10 pA for the 1 s that its pixels take, not for the 10 s from one frame to the next
    first = CalibratedImage(np.zeros((100, 100)), 30.0, "f", {"dwell_time_us": 100.0})
    given = {"current_pa": 10.0, "frame_time_s": 10.0}
    axis = series_axis(first, SeriesConfig(**given))
    assert axis.per_frame == pytest.approx(6.241509e7 / 9 / 1e6)
    assert axis.seconds_per_frame == 10.0
    assert "counted over the 1 s of its pixels" in axis.notes[0]
    unknown = CalibratedImage(np.zeros((100, 100)), 30.0)
    axis = series_axis(unknown, SeriesConfig(**given, kind="time"))
    assert axis.dose_per_frame == pytest.approx(6.241509e8 / 9)
    assert "taken to be on for all of the 10 s" in axis.notes[0]


def test_a_current_alone_says_no_dose():
    first = CalibratedImage(np.zeros((100, 100)), 30.0)
    with pytest.raises(DefectStrainError, match="how long a frame takes; expected --frame-time"):
        series_axis(first, SeriesConfig(current_pa=10.0))
