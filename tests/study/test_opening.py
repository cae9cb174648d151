import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from study_stage import (
    columns,
    moved,
    picture,
    reclassed,
    same_sites,
    small_study,
    with_column,
    without,
)

from napari_defectstrain import create_study, open_study
from napari_defectstrain.averages.choice import leave_out, put_back
from napari_defectstrain.crystal import label_regions
from napari_defectstrain.pipeline import RunConfig
from napari_defectstrain.study import Answer, is_study
from napari_defectstrain.study.journal import FILE
from napari_defectstrain.types import ClassStack, DefectStrainError


def reopened(study):
    study.close()
    return open_study(study.path)


def edited(folder):
    """A study with every kind of edit; what it should hold."""
    study = small_study(folder)
    a = study.images[0]
    for edit in (
        lambda s: moved(s, 3),
        lambda s: reclassed(s, 5, "DV"),
        lambda s: with_column(s, (31.0, 7.0), "SV"),
        lambda s: without(s, 0),
    ):
        study.record(a, edit(study.sites(a)))
    return study, study.sites(a)


def test_it_comes_back_as_it_was(tmp_path):
    study, wanted = edited(tmp_path)
    a, b = study.images
    model = study.model_sites(a)
    config = RunConfig(seed=5, bootstrap=100)
    study.set_config(config)
    study.set_window(viewer={"camera": {"zoom": 2.0}}, plots={"spacings": {"bins": 20}})
    again = reopened(study)
    assert not again.read_only
    assert again.notes == []
    assert again.images == (a, b)
    assert again.config == config
    assert same_sites(again.model_sites(a), model)
    assert same_sites(again.sites(a), wanted)
    assert same_sites(again.sites(b), columns(seed=1))
    assert again.edited_columns(a) == 4
    assert again.edited_columns(b) == 0
    assert again.window == {
        "viewer": {"camera": {"zoom": 2.0}},
        "plots": {"spacings": {"bins": 20}},
    }
    assert [edit.number for edit in again.history()] == list(range(1, 10))


def test_positions_are_exact_after_any_number_of_openings(tmp_path):
    study, wanted = edited(tmp_path)
    a = study.images[0]
    for _ in range(3):
        study = reopened(study)
        np.testing.assert_array_equal(
            np.sort(study.sites(a).position_px, axis=0), np.sort(wanted.position_px, axis=0)
        )
        assert study.record(a, study.sites(a)) is None


def test_what_did_not_change_is_no_edit(tmp_path):
    study = small_study(tmp_path)
    before = len(study.history())
    assert study.record(study.images[0], study.sites(study.images[0])) is None
    assert len(study.history()) == before


def test_what_was_taken_back_is_no_corrected_column(tmp_path):
    study = small_study(tmp_path)
    name = study.images[0]
    first = study.sites(name)
    study.record(name, moved(first, 3))
    study.record(name, reclassed(study.sites(name), 5, "DV"))
    study.record(name, without(study.sites(name), 7))
    study.record(name, with_column(study.sites(name), (1.0, 1.0), "SV"))
    assert study.edited_columns(name) == 4
    study.record(name, first)  # all of it taken back, the removed one under another number
    assert same_sites(study.sites(name), first)
    assert study.edited_columns(name) == 0
    assert reopened(study).edited_columns(name) == 0


def test_steps_of_hands_can_be_taken_back_later(tmp_path):
    study = small_study(tmp_path)
    name, other = study.images
    states = [study.sites(name)]
    for edit in (
        lambda s: moved(s, 3),
        lambda s: without(s, 0),
        lambda s: with_column(s, (31.0, 7.0), "SV"),
        lambda s: reclassed(s, 5, "DV"),
    ):
        study.record(name, edit(states[-1]))
        states.append(study.sites(name))
    study.record(other, moved(study.sites(other), 3))
    study.record(name, states[3])  # the last one was taken back
    study.record(name, states[2])  # and the one before
    study.compact()
    again = reopened(study)
    steps = again.steps_back([name])
    assert len(steps) == 2
    for number, state in zip(steps, states, strict=False):
        assert same_sites(again.sites_before(name, number), state)
    again.record(name, states[1])  # another session goes on: the removed column came back
    assert again.steps_back([name]) == steps[:1]
    assert len(again.steps_back([name, other])) == 2
    again.set_sites(name, columns(seed=7), Answer(key="another"))
    assert again.steps_back([name]) == []  # what a hand did before an answer isn't to be had


def test_the_second_one_reads_and_is_told_who_writes(tmp_path):
    study, wanted = edited(tmp_path)
    a = study.images[0]
    second = open_study(study.path)
    assert second.read_only
    assert f"process {os.getpid()}" in second.notes[0]
    assert "opened for reading only" in second.notes[0]
    assert same_sites(second.sites(a), wanted)
    for change in (
        lambda: second.record(a, columns(seed=9)),
        lambda: second.set_config(RunConfig(seed=1)),
        lambda: second.set_window(viewer={}),
        lambda: second.add_images([]),
    ):
        with pytest.raises(DefectStrainError, match="is read-only: .* has it open"):
            change()
    study.record(a, moved(study.sites(a), 7))
    second.reload()
    assert same_sites(second.sites(a), study.sites(a))
    study.close()
    assert not open_study(study.path).read_only


def test_one_that_is_forgotten_is_given_back(tmp_path):
    study = small_study(tmp_path)
    path = study.path
    del study
    assert not open_study(path).read_only


def test_a_lock_that_was_forced_away_stops_the_first(tmp_path):
    study = small_study(tmp_path)
    lock = study.path / "lock.json"
    lock.write_text(lock.read_text().replace(json.loads(lock.read_text())["token"], "other"))
    with pytest.raises(DefectStrainError, match="read-only"):
        study.record(study.images[0], columns(seed=9))
    assert study.read_only
    assert lock.exists()


def test_a_new_answer_keeps_the_corrections_and_the_old_one(tmp_path):
    study, _ = edited(tmp_path)
    a = study.images[0]
    old = (study.path / "sites" / f"{a}.sites.csv").read_bytes()
    new = columns(29, seed=0)  # one column less
    study.set_sites(a, new, Answer(weights_sha256="abc", key="k", overconfidence=(1.0, 2.0)))
    again = reopened(study)
    assert same_sites(again.model_sites(a), new)
    found = again.sites(a)
    assert len(found) == 29  # one was added, one removed by hand
    assert sorted(found.class_name[found.source == "manual"]) == sorted(
        ["DV", "SV", columns().class_name[3]]
    )
    assert again.answer_of(a).weights_sha256 == "abc"
    assert again.answer_of(a).overconfidence == (1.0, 2.0)
    (kept,) = (again.path / "earlier").glob("*.sites.csv")
    assert kept.read_bytes() == old


def test_an_answer_that_was_being_replaced_when_it_crashed_is_the_old_one(tmp_path):
    study, wanted = edited(tmp_path)
    a = study.images[0]
    journal = study.path / "edits.jsonl"
    lines = journal.read_bytes()
    study.set_sites(a, columns(29, seed=4))
    journal.write_bytes(lines)  # killed between the table and the line
    again = reopened(study)
    assert same_sites(again.sites(a), wanted)


def test_a_table_that_was_changed_outside_is_refused(tmp_path):
    study, _ = edited(tmp_path)
    a = study.images[0]
    path = study.path / "sites" / f"{a}.sites.csv"
    path.write_text(path.read_text() + "1,1,1,1,W,1,1,0,0,0,0,0,0,manual\n")
    again = reopened(study)
    with pytest.raises(DefectStrainError, match="was changed outside of the study"):
        again.sites(a)
    path.unlink()
    with pytest.raises(DefectStrainError, match="is gone; restore it"):
        again.sites(a)


def test_compaction_changes_nothing_and_keeps_the_history(tmp_path):
    study, wanted = edited(tmp_path)
    a = study.images[0]
    history = study.history()
    numbers = study._corrections.corrected(a).number
    study.compact()
    assert not (study.path / "edits.jsonl").exists()
    study = reopened(study)
    assert same_sites(study.sites(a), wanted)
    assert study.history() == history
    assert sorted(study._corrections.corrected(a).number) == sorted(numbers)
    study.record(a, with_column(study.sites(a), (1.0, 50.0), "SV"))
    study = reopened(study)
    assert len(study.sites(a)) == len(wanted) + 1
    assert study.history()[: len(history)] == history
    table = study.history_table()
    assert list(table["edit"]) == sorted(table["edit"])
    assert set(table["what"]) == {"study", "answer", "columns"}


def test_a_crash_in_the_middle_of_compaction_loses_nothing(tmp_path):
    study, wanted = edited(tmp_path)
    a = study.images[0]
    journal = (study.path / "edits.jsonl").read_bytes()
    history = study.history()
    study.compact()
    shutil.rmtree(study.path / "earlier")
    (study.path / "edits.jsonl").write_bytes(journal)  # the state is written, nothing moved yet
    study = reopened(study)
    assert same_sites(study.sites(a), wanted)
    assert study.history() == history


@pytest.mark.parametrize("content", [None, "", '{"up_to": 99}', '{"up_to": 3, "answers": []}'])
def test_the_state_of_closed_parts_is_made_again(tmp_path, content):
    study, wanted = edited(tmp_path)
    a = study.images[0]
    study.compact()
    study.record(a, moved(study.sites(a), 9))
    wanted = study.sites(a)
    path = study.path / "edits.state.json"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    study = reopened(study)
    assert same_sites(study.sites(a), wanted)
    study.compact()
    assert same_sites(reopened(study).sites(a), wanted)


def test_regions_come_back_with_their_orientation(tmp_path):
    study = small_study(tmp_path)
    a = study.images[0]
    labels = np.ones((64, 64), dtype=np.uint8)
    labels[:, 40:] = 2
    labels[:5] = 253
    regions = label_regions(labels, None)
    domains = [
        replace(d, orientation_deg=angle, sense=1)
        for d, angle in zip(regions.domains, (12.5, -3.25), strict=True)
    ]
    regions = type(regions)(regions.labels, tuple(domains))
    assert study.set_regions(a, regions, by=FILE) is not None
    assert study.set_regions(a, regions) is None
    again = reopened(study)
    assert again.regions(a).domains == regions.domains
    np.testing.assert_array_equal(again.regions(a).labels, labels)
    assert again.regions_by(a) == "file"
    labels[60:] = 0
    again.set_regions(a, label_regions(labels, None))
    assert again.regions_by(a) == "manual"
    assert len(list((again.path / "earlier").glob("*.regions.tif"))) == 1
    with pytest.raises(DefectStrainError, match="got no regions"):
        again.regions(again.images[1])


def stack(included):
    n = len(included)
    return ClassStack(
        "SV",
        np.zeros((n, 3, 3)),
        10.0,
        330.0,
        np.arange(n) % 2,
        np.arange(n),
        np.column_stack([np.arange(n) * 4.0, np.arange(n) * 3.0]),
        np.zeros((n, 2)),
        np.ones(n),
        np.asarray(included),
        np.where(included, "", "outlier").astype("<U64"),
    )


def test_windows_left_out_and_put_back_come_back(tmp_path):
    study = small_study(tmp_path)
    automatic = stack([True, True, False, True])
    chosen = stack([False, True, True, True])
    study.record_windows(automatic, chosen, study.images)
    assert study.record_windows(chosen, chosen, study.images) is None
    again = reopened(study)
    found, notes = again.with_windows({"SV": automatic}, again.images)
    assert notes == []
    assert found["SV"].included.tolist() == chosen.included.tolist()
    assert found["SV"].reason[0] == "by hand"
    # put back later: the last word counts
    again.record_windows(chosen, stack([True, True, True, True]), again.images)
    found, _ = reopened(again).with_windows({"SV": automatic}, again.images)
    assert found["SV"].included.all()


def test_a_window_left_out_and_put_back_is_no_choice_any_more(tmp_path):
    study = small_study(tmp_path)
    automatic = stack([True, True, False, True])
    left_out = leave_out(automatic, [0])
    study.record_windows(automatic, left_out, study.images)
    study.record_windows(left_out, put_back(left_out, [0]), study.images)
    assert study.windows == ()
    # one that didn't count by itself: to put it back is a choice, also after second thoughts
    back = put_back(automatic, [2])
    out = leave_out(back, [2])
    study.record_windows(automatic, back, study.images)
    study.record_windows(back, out, study.images)
    study.record_windows(out, put_back(out, [2]), study.images)
    assert [choice.included for choice in study.windows] == [True]


def test_windows_that_are_no_more_are_said(tmp_path):
    study = small_study(tmp_path)
    study.record_windows(stack([True] * 4), stack([True, True, False, True]), study.images)
    gone = stack([True] * 2)
    found, notes = study.with_windows({"SV": gone}, study.images)
    assert found["SV"].included.all()
    assert notes == ["SV: 1 window chosen by hand is no longer among the windows"]


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "s.defectstrain").mkdir()
    (tmp_path / "s.defectstrain" / "thesis.txt").write_text("mine")
    with pytest.raises(DefectStrainError, match="expected nothing there"):
        create_study(tmp_path / "s")
    study = create_study(tmp_path / "t")
    assert study.path.name == "t.defectstrain"
    with pytest.raises(DefectStrainError, match="is there already; open it instead"):
        create_study(study.path)


def test_nothing_is_left_of_one_whose_image_can_not_be_read(tmp_path):
    (tmp_path / "no.tif").write_text("no image")
    there = tmp_path / "empty.defectstrain"
    there.mkdir()
    for name in ("new", "empty"):
        with pytest.raises(DefectStrainError, match=r"no\.tif"):
            create_study(tmp_path / name, images=tmp_path / "no.tif")
    assert not (tmp_path / "new.defectstrain").exists()
    assert list(there.iterdir()) == []


def test_one_path_alone_is_one_image(tmp_path):
    picture(tmp_path / "a.tif")
    with create_study(tmp_path / "s", images=str(tmp_path / "a.tif")) as study:
        assert study.images == ("a",)
        picture(tmp_path / "b.tif", seed=2)
        study.add_images(tmp_path / "b.tif")
        assert study.images == ("a", "b")


def test_what_a_killed_maker_left_is_no_hindrance(tmp_path):
    folder = tmp_path / "s.defectstrain"
    folder.mkdir()
    (folder / "lock.json").write_text('{"host_id": "0", "pid": 1}')
    with pytest.raises(DefectStrainError, match="is making a study there"):
        create_study(folder)
    (folder / "lock.json").unlink()
    assert is_study(create_study(folder).path)


def test_it_opens_by_every_name(tmp_path):
    study = small_study(tmp_path)
    study.close()
    for path in (study.path, study.path / "study.json", tmp_path / "small", str(study.path)):
        with open_study(path) as again:
            assert again.path == study.path
            assert not again.read_only
    with pytest.raises(DefectStrainError, match="got nothing, expected the folder of a study"):
        open_study(tmp_path / "none")
    with pytest.raises(DefectStrainError, match="got a folder without study.json"):
        open_study(tmp_path)


def test_a_folder_that_can_not_be_written_is_read(tmp_path, monkeypatch):
    study, wanted = edited(tmp_path)
    study.close()

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    again = open_study(study.path)
    assert again.read_only
    assert "Permission denied" in again.notes[0]
    assert same_sites(again.sites(again.images[0]), wanted)


def test_two_images_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "b").mkdir()
    study = create_study(tmp_path / "s", images=[picture(tmp_path / "i.tif")])
    (again,) = study.add_images([picture(tmp_path / "b" / "i.tif", 1)])
    assert study.images == ("i", "i_2")
    assert again.name == "i_2"
