import json
import os

import pytest

from napari_defectstrain.study.journal import COLUMNS, MANUAL, Journal
from napari_defectstrain.types import DefectStrainError

CHANGE = {"changes": [{"column": 1, "from": {"class": "SV"}, "to": {"class": "2Te"}}]}


def filled(folder, edits=3):
    journal = Journal(folder)
    for _ in range(edits):
        journal.append(COLUMNS, CHANGE, MANUAL, "a", user="anna")
    return journal


def test_lines_say_who_when_and_what(tmp_path):
    filled(tmp_path, 2)
    lines = (tmp_path / "edits.jsonl").read_text(encoding="utf-8").splitlines()
    values = [json.loads(line) for line in lines]
    assert [v["n"] for v in values] == [1, 2]
    assert values[0]["user"] == "anna"
    assert values[0]["by"] == "manual"
    assert values[0]["image"] == "a"
    assert values[0]["changes"] == CHANGE["changes"]


def test_every_edit_comes_back(tmp_path):
    journal = filled(tmp_path)
    assert Journal(tmp_path).edits == journal.edits
    assert Journal(tmp_path).history() == journal.edits


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_torn_last_line_is_said_and_set_aside(tmp_path, cut):
    filled(tmp_path)
    path = tmp_path / "edits.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    reading = Journal(tmp_path)
    assert len(reading.edits) == 2
    assert "the last edit was torn" in reading.notes[0]
    assert path.read_bytes() == whole[:-cut]  # who only reads changes nothing
    reading.prepare()
    reading.append(COLUMNS, CHANGE, MANUAL, "a", user="anna")
    after = Journal(tmp_path)
    assert [edit.number for edit in after.edits] == [1, 2, 3]
    assert after.notes == []
    (kept,) = (tmp_path / "earlier").iterdir()
    assert kept.read_bytes() == whole[:-cut].rpartition(b"\n")[2]


def test_a_line_of_zeros_after_a_power_cut_is_torn(tmp_path):
    filled(tmp_path)
    path = tmp_path / "edits.jsonl"
    path.write_bytes(path.read_bytes() + b"\0" * 300)
    assert len(Journal(tmp_path).edits) == 3
    assert "torn" in Journal(tmp_path).notes[0]


def test_a_damaged_line_among_others_is_named(tmp_path):
    filled(tmp_path)
    path = tmp_path / "edits.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"n": 2, "wh\n' + lines[2])
    with pytest.raises(DefectStrainError, match="line 2 is no edit, and others follow"):
        Journal(tmp_path)


def test_a_line_that_is_missing_is_noticed(tmp_path):
    filled(tmp_path)
    path = tmp_path / "edits.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(DefectStrainError, match="edit 3 after 1, expected them one by one"):
        Journal(tmp_path)


def test_an_edit_that_can_not_be_saved_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    journal = filled(tmp_path)
    before = (tmp_path / "edits.jsonl").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DefectStrainError, match="can't be saved: No space left"):
            journal.append(COLUMNS, CHANGE, MANUAL, "a")
    assert (tmp_path / "edits.jsonl").read_bytes() == before
    assert journal.append(COLUMNS, CHANGE, MANUAL, "a").number == 4
    assert [edit.number for edit in Journal(tmp_path).edits] == [1, 2, 3, 4]


def test_parts_keep_the_history(tmp_path):
    journal = filled(tmp_path)
    everything = list(journal.edits)
    part = journal.close_part()
    assert part.name == "edits.1-3.jsonl"
    assert Journal(tmp_path).edits == []
    assert journal.append(COLUMNS, CHANGE, MANUAL, "b").number == 4
    again = Journal(tmp_path)
    assert again.history()[:3] == everything
    assert [edit.number for edit in again.history()] == [1, 2, 3, 4]
    assert again.close_part().name == "edits.4-4.jsonl"
    assert Journal(tmp_path).last_number == 4
    assert Journal(tmp_path).close_part() is None
