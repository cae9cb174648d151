"""Births, deaths and hops, and tracks that follow a defect."""

from __future__ import annotations

import numpy as np
import pytest
from series_stage import NAMES

from napari_defectstrain.crystal import basis_pm
from napari_defectstrain.materials import WSE2
from napari_defectstrain.series.events import find_events, make_tracks
from napari_defectstrain.series.hidden import SiteChanges
from napari_defectstrain.series.holes import find_holes

A = 10.0
ROW, COLUMN = np.mgrid[:12, :12]
PLACE = (np.stack([ROW.ravel(), COLUMN.ravel()], axis=1) @ basis_pm(A).T)[:, ::-1]


def at(i: int, j: int) -> int:
    return i * 12 + j


def changes_of(path: np.ndarray) -> SiteChanges:
    group, site = np.nonzero(path[1:] != path[:-1])
    one = np.ones(len(site))
    before, after = path[group, site], path[group + 1, site]
    return SiteChanges(site, before, after, group + 1, one, group + 0.5, group * one, group + one)


def told(path: np.ndarray):
    events = find_events(changes_of(path), PLACE, NAMES, WSE2, 1.2 * A, len(path))
    return events, make_tracks(path, events, NAMES, WSE2)


def test_births_changes_and_deaths_make_one_track():
    path = np.zeros((8, 144), dtype=int)
    path[2:, at(5, 5)] = 3  # a vacancy
    path[5:, at(5, 5)] = 4  # that loses its second atom
    path[:6, at(2, 2)] = 1  # a substituent that goes
    events, tracks = told(path)
    assert events.kind == ("birth", "change", "death")
    rows = [(t, g, s) for t, g, s in zip(tracks.track, tracks.group, tracks.site, strict=True)]
    assert len({t for t, _, _ in rows}) == 2
    assert len(rows) == 6 + 6
    mine = tracks.site == at(5, 5)
    assert tracks.class_index[mine].tolist() == [3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_vacancy_that_hops_keeps_its_track(late):
    path = np.zeros((10, 144), dtype=int)
    path[:5, at(5, 5)] = 3
    path[5 + late :, at(5, 6)] = 3  # seen before, with or after the other site is filled
    path[:, at(9, 9)] = 3
    events, tracks = told(path)
    assert events.kind == ("migration", "migration")
    assert events.partner.tolist() == [1, 0]
    hopping = tracks.track[tracks.site == at(5, 5)][0]
    mine = tracks.track == hopping
    assert tracks.site[mine][-1] == at(5, 6)
    assert len(set(tracks.group[mine].tolist())) == mine.sum()  # once in a sum
    assert len(set(tracks.track.tolist())) == 2


def test_one_vacancy_of_a_double_one_becomes_a_child():
    path = np.zeros((6, 144), dtype=int)
    path[:3, at(5, 5)], path[3:, at(5, 5)] = 4, 3
    path[3:, at(6, 5)] = 3
    events, tracks = told(path)
    assert events.kind == ("migration", "migration")
    parent = tracks.track[tracks.site == at(5, 5)][0]
    child = tracks.track[tracks.site == at(6, 5)][0]
    assert tracks.parent == {int(child): int(parent)}


def test_far_away_or_often_is_no_hop():
    path = np.zeros((6, 144), dtype=int)
    path[:3, at(2, 2)] = 3
    path[3:, at(2, 5)] = 3
    assert told(path)[0].kind == ("death", "birth")
    # where vacancies come everywhere, one beside a filled site says nothing
    many = np.zeros((4, 144), dtype=int)
    many[:2, at(5, 5)] = 3
    many[2:, [at(i, j) for i in range(0, 12, 2) for j in range(12)]] = 3
    many[2:, at(5, 5)] = 0
    assert "migration" not in told(many)[0].kind


def test_holes_grow_and_merge():
    empty = np.zeros((5, 144), dtype=bool)
    empty[0:, [at(3, 3), at(3, 4)]] = True
    empty[1:, [at(3, 6), at(3, 7), at(4, 6)]] = True
    empty[3:, at(3, 5)] = True
    empty[:, at(9, 9)] = True  # alone
    holes = find_holes(empty, PLACE, A)
    assert holes.count.tolist() == [1, 2, 2, 1, 1]
    assert holes.largest.tolist() == [2, 3, 3, 6, 6]
    assert holes.columns.tolist() == [2, 5, 5, 6, 6]
    (merger,) = holes.mergers
    assert merger.group == 3 and sorted(merger.sizes) == [2, 3] and merger.size == 6
    assert find_holes(empty, PLACE, A, least_columns=4).mergers == ()
