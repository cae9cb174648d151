import numpy as np
import pytest
from study_stage import columns, moved, reclassed, same_sites, with_column, without

from napari_defectstrain.study.replay import (
    carried_over,
    changes_between,
    combined,
    numbered,
    reach_px,
    with_changes,
)
from napari_defectstrain.types import DefectStrainError

EDITS = {
    "moved": lambda s: moved(s, 3),
    "another class": lambda s: reclassed(s, 5, "DV"),
    "added": lambda s: with_column(s, (31.0, 7.0), "SV"),
    "removed": lambda s: without(s, 0),
    "all": lambda s: without(with_column(reclassed(moved(s, 3), 5, "SV"), (2.0, 60.0), "W"), 9),
    "nothing": lambda s: s,
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_changes_lead_from_one_set_to_the_other(edit):
    before = columns()
    after = edit(before)
    changes = changes_between(numbered(before), after)
    assert same_sites(with_changes(numbered(before), changes).sites, after)


def test_a_change_says_what_was_and_what_is():
    before = columns()
    (change,) = changes_between(numbered(before), reclassed(before, 5, "DV"))
    assert change["column"] == 5
    assert change["from"]["class"] == before.class_name[5]
    assert change["to"]["class"] == "DV"
    assert change["to"]["p"] == {"DV": 1.0}
    assert "y_px" not in change["to"]  # what stayed isn't told


def test_float32_positions_are_no_move():
    before = columns()
    drawn = before.position_px.astype(np.float32).astype(float)
    after = moved(before, 0, (0.0, 0.0))
    after.position_px[:] = drawn
    (change,) = changes_between(numbered(before), after)
    assert change == {"column": 0, "from": {"source": "model"}, "to": {"source": "manual"}}


def test_numbers_are_never_used_twice():
    first = numbered(columns(30))
    added = with_changes(first, changes_between(first, with_column(first.sites, (1.0, 1.0), "W")))
    assert added.number[-1] == 30
    gone = with_changes(added, changes_between(added, without(added.sites, 30)))
    again = changes_between(gone, with_column(gone.sites, (1.0, 1.0), "W"))
    assert again[0]["column"] == 31


def test_many_edits_are_one_change_a_column():
    state = numbered(columns())
    first, said = state, []
    for edit in (*EDITS.values(), EDITS["moved"]):
        changes = changes_between(state, edit(state.sites))
        said += changes
        state = with_changes(state, changes)
    net, following = combined(said)
    assert following == state.next_number
    assert len({change["column"] for change in net}) == len(net)
    at_once = with_changes(first, net)
    assert same_sites(at_once.sites, state.sites)
    assert sorted(at_once.number) == sorted(state.number)


def test_a_change_of_no_column_is_refused():
    with pytest.raises(DefectStrainError, match="column 99: got a column that isn't there"):
        with_changes(numbered(columns()), [{"column": 99, "from": {}, "to": {"y_px": 1.0}}])


def test_other_class_names_are_refused():
    before = columns()
    other = before.subset(np.ones(len(before), dtype=bool))
    object.__setattr__(other, "class_names", ("a", "b", "c", "d", "e", "f", "g"))
    with pytest.raises(DefectStrainError, match="expected those of the study"):
        changes_between(numbered(before), other)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_corrections_are_carried_over_to_another_answer(edit):
    rng = np.random.default_rng(3)
    old = columns()
    corrected = with_changes(numbered(old), changes_between(numbered(old), edit(old)))
    # the new network finds the same columns in another order, at slightly other places
    order = rng.permutation(len(old))
    new = columns()
    shift = rng.normal(0, 0.05, new.position_px.shape)
    for name in ("position_px", "probabilities", "class_index"):
        object.__setattr__(new, name, getattr(new, name)[order])
    object.__setattr__(new, "position_px", new.position_px + shift)
    changes = carried_over(numbered(old), corrected, new)
    found = with_changes(numbered(new), changes).sites
    wanted = edit(old)
    assert len(found) == len(wanted)
    by_hand = found.subset(found.source == "manual")
    asked = wanted.subset(wanted.source == "manual")
    assert sorted(by_hand.class_name) == sorted(asked.class_name)
    reach = reach_px(old.position_px)
    for where, name in zip(asked.position_px, asked.class_name, strict=True):
        away = np.hypot(*(by_hand.position_px - where).T)
        assert away.min() < reach / 5
        assert by_hand.class_name[away.argmin()] == name
