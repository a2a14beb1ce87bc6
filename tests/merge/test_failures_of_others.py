"""Where other merge libraries fail (merge.md section 9), one test a failure.

Each is a case that a library in use gets wrong: the wrong item hit, an item lost, doubled or brought back
without a word, a crash on agreement, a guard dropped, only one of several conflicts told.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytest

from merge.strategies import add, guard, move, remove, replace
from plait_merge import Conflicted, Merged, Rebased, apply, merge, rebase, resolve, same

Json = Any
Patch = list[dict[str, Json]]


def clean(base: Json, theirs: Patch, yours: Patch) -> Json:
    """The value of a merge that must be clean, reached both ways: as told, and by applying the patch."""
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Rebased), outcome
    assert same(outcome.value, apply(apply(base, theirs), outcome.patch))
    return outcome.value


def conflicts(base: Json, theirs: Patch, yours: Patch) -> list[tuple[str, str]]:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted), outcome
    return [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]


# -- a rebased patch hits the wrong item


def test_an_edit_still_hits_its_item_after_an_earlier_one_was_removed() -> None:
    base = [{"id": 0}, {"id": 1}, {"id": 2}]
    assert clean(base, [remove("/0")], [replace("/2/id", 9)]) == [{"id": 1}, {"id": 9}]


def test_a_removal_still_hits_its_item_after_an_earlier_one_was_removed() -> None:
    assert clean(["a", "b", "c"], [remove("/0")], [remove("/1")]) == ["c"]


def test_an_edit_still_hits_its_item_after_one_was_added_before_it() -> None:
    base = [{"id": 0}, {"id": 1}]
    assert clean(base, [add("/0", {"id": 7})], [replace("/1/id", 9)]) == [{"id": 7}, {"id": 0}, {"id": 9}]


def test_indices_are_compared_as_numbers() -> None:
    """As strings, "10" comes before "2", and the edit of element 10 would not shift."""
    base = [{"v": n} for n in range(12)]
    value = clean(base, [remove("/2")], [replace("/10/v", "ten")])
    assert [item["v"] for item in value] == [0, 1, 3, 4, 5, 6, 7, 8, 9, "ten", 11]


def test_a_removal_at_two_digits_leaves_one_digit_alone() -> None:
    base = list(range(12))
    assert clean(base, [remove("/10")], [replace("/2", "two")]) == [0, 1, "two", 3, 4, 5, 6, 7, 8, 9, 11]


def test_a_numeric_member_is_no_index() -> None:
    base = {"1": "one", "2": "two"}
    assert clean(base, [remove("/1")], [replace("/2", 2)]) == {"2": 2}


# -- both remove one item and a second one goes too


def test_an_item_removed_by_both_takes_no_second_one_with_it() -> None:
    assert clean(["a", "b", "c"], [remove("/1")], [remove("/1")]) == ["a", "c"]


def test_equal_items_removed_by_either_side_are_two_removals() -> None:
    assert clean(["x", "x", "x"], [remove("/0")], [remove("/1")]) == ["x"]


# -- a removed item returns because the other side edited inside it


@pytest.mark.parametrize("turned", [False, True])
def test_a_removed_item_does_not_return_because_of_an_edit_inside_it(turned: bool) -> None:
    base: Json = {"items": [{"id": 1, "v": 1}, {"id": 2, "v": 2}]}
    sides = [[remove("/items/0")], [replace("/items/0/v", 9)]]
    theirs, yours = reversed(sides) if turned else sides
    assert conflicts(base, theirs, yours) == [("remove_edit", "/items/0")]


@pytest.mark.parametrize("turned", [False, True])
def test_a_removed_item_does_not_return_because_of_an_addition_inside_it(turned: bool) -> None:
    sides = [[remove("/a")], [add("/a/x", 1)]]
    theirs, yours = reversed(sides) if turned else sides
    assert conflicts({"a": {}}, theirs, yours) == [("remove_edit", "/a")]


def test_a_removed_member_of_states_does_not_return_either() -> None:
    outcome = merge({"a": {"b": 1}}, {}, {"a": {"b": 2}})
    assert isinstance(outcome, Conflicted)
    assert [(c.kind, c.pointer) for c in outcome.conflicts] == [("remove_edit", "/a")]


# -- moved and edited items appear twice


def test_an_item_moved_and_edited_is_there_once() -> None:
    base = [{"id": 1, "v": 1}, {"id": 2, "v": 2}, {"id": 3, "v": 3}]
    value = [{"id": 2, "v": 2}, {"id": 3, "v": 3}, {"id": 1, "v": 9}]
    assert clean(base, [move("/0", "/2")], [replace("/0/v", 9)]) == value
    assert clean(base, [replace("/0/v", 9)], [move("/0", "/2")]) == value


def test_an_item_moved_to_another_list_and_edited_is_there_once() -> None:
    base = {"todo": [{"v": 1}, {"v": 2}], "done": []}
    value = {"todo": [{"v": 2}], "done": [{"v": 9}]}
    assert clean(base, [move("/todo/0", "/done/-")], [replace("/todo/0/v", 9)]) == value
    assert clean(base, [replace("/todo/0/v", 9)], [move("/todo/0", "/done/-")]) == value


def test_an_item_moved_by_both_to_two_places_is_a_conflict_and_not_two_items() -> None:
    base = {"item": 1}
    assert conflicts(base, [move("/item", "/left")], [move("/item", "/right")]) == [("move_move", "/item")]


def test_an_item_moved_and_edited_in_states_is_there_once() -> None:
    base = [{"id": 1, "v": 1}, {"id": 2, "v": 2}, {"id": 3, "v": 3}]
    moved = [base[1], base[2], base[0]]
    edited = [{"id": 1, "v": 9}, base[1], base[2]]
    outcome = merge(base, moved, edited)
    assert isinstance(outcome, Merged)
    assert outcome.value == [base[1], base[2], {"id": 1, "v": 9}]


# -- both sides delete one key and the library crashes


def test_a_member_removed_by_both_is_removed() -> None:
    assert clean({"a": 1, "b": 2}, [remove("/a")], [remove("/a")]) == {"b": 2}
    outcome = merge({"a": 1, "b": 2}, {"b": 2}, {"b": 2})
    assert isinstance(outcome, Merged)
    assert outcome.value == {"b": 2}


# -- 1 -> true and 0 -> false vanish


@pytest.mark.parametrize(("was", "now"), [(1, True), (0, False), (True, 1), (False, 0), (1.0, True)])
def test_a_change_between_number_and_bool_is_a_change(was: Json, now: Json) -> None:
    value = clean({"a": was, "b": 1}, [replace("/b", 2)], [replace("/a", now)])
    assert same({"a": now, "b": 2}, value)
    outcome = merge({"a": was, "b": 1}, {"a": was, "b": 2}, {"a": now, "b": 1})
    assert isinstance(outcome, Merged)
    assert same({"a": now, "b": 2}, outcome.value)


def test_a_bool_and_a_number_are_two_different_edits() -> None:
    assert conflicts({"a": "x"}, [replace("/a", 1)], [replace("/a", True)]) == [("edit_edit", "/a")]


def test_null_is_a_value_and_not_a_removal() -> None:
    assert conflicts({"a": 1}, [replace("/a", None)], [remove("/a")]) == [("remove_edit", "/a")]
    assert clean({"a": None}, [add("/b", 1)], [remove("/a")]) == {"b": 1}


# -- a test inside a removed parent is dropped and the rest applied


def test_a_guard_in_a_removed_parent_refuses_the_whole_patch() -> None:
    base = {"order": {"state": "open"}, "total": 1}
    yours = [guard("/order/state", "open"), replace("/total", 2)]
    outcome = rebase(base, [[remove("/order")]], yours)
    assert isinstance(outcome, Conflicted)
    assert [conflict.kind for conflict in outcome.conflicts] == ["guard"]
    assert outcome.clean_patch == []
    assert outcome.clean_operations == ()


def test_a_guard_in_a_replaced_parent_refuses_the_whole_patch() -> None:
    base = {"order": {"state": "open"}, "total": 1}
    yours = [guard("/order/state", "open"), replace("/total", 2)]
    assert conflicts(base, [replace("/order", {"state": "shut"})], yours) == [("guard", "/order/state")]


def test_a_guard_on_a_shifted_item_raises_no_false_alarm() -> None:
    base = ["a", "b"]
    assert clean(base, [add("/0", "new")], [guard("/1", "b"), replace("/1", "c")]) == ["new", "a", "c"]


def test_a_guard_on_a_shifted_item_is_not_satisfied_by_its_neighbour() -> None:
    base = [{"v": 1}, {"v": 1}]
    theirs = [replace("/0/v", 2)]
    yours = [guard("/0/v", 1), replace("/1/v", 3)]
    assert conflicts(base, [add("/0", {"v": 1}), replace("/1/v", 2)], yours) == [("guard", "/0/v")]
    assert conflicts(base, theirs, yours) == [("guard", "/0/v")]


# -- mutual moves destroy both subtrees


def test_mutual_moves_are_one_conflict_and_destroy_nothing() -> None:
    base = {"a": {"x": 1}, "b": {"y": 2}}
    theirs, yours = [move("/a", "/b/a")], [move("/b", "/a/b")]
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    assert [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts] == [("cycle", "/a")]
    moved = apply(base, theirs)
    ids = [conflict.id for conflict in outcome.conflicts]
    assert apply(moved, outcome.clean_patch) == {"b": {"y": 2, "a": {"x": 1}}}
    settled = apply(moved, resolve(moved, outcome, dict.fromkeys(ids, "yours")))
    assert settled == {"a": {"x": 1, "b": {"y": 2}}}


# -- an operation-by-operation rewrite overwrites theirs at an intermediate place


def test_a_place_passed_through_overwrites_nothing() -> None:
    value = clean({"x": 1}, [add("/tmp", "theirs")], [move("/x", "/tmp"), move("/tmp", "/y")])
    assert value == {"tmp": "theirs", "y": 1}


def test_a_swap_through_a_place_that_theirs_took_overwrites_nothing() -> None:
    swap = [move("/a", "/tmp"), move("/b", "/a"), move("/tmp", "/b")]
    assert clean({"a": 1, "b": 2}, [add("/tmp", 3)], swap) == {"a": 2, "b": 1, "tmp": 3}


def test_something_added_and_removed_again_overwrites_nothing() -> None:
    assert clean({}, [add("/tmp", 1)], [add("/tmp", 2), remove("/tmp"), add("/y", 3)]) == {"tmp": 1, "y": 3}


# -- only the first conflict, or none, or no path, is reported


def test_every_conflict_is_reported_with_its_place() -> None:
    base = {"a": 1, "b": {"c": 2}, "d": [1, 2, 3], "e": 0}
    theirs = [replace("/a", 2), remove("/b"), replace("/d/2", 9), add("/f", 1)]
    yours = [replace("/a", 3), replace("/b/c", 3), replace("/d/2", 8), add("/f", 2), replace("/e", 1)]
    assert conflicts(base, theirs, yours) == [
        ("edit_edit", "/a"),
        ("remove_edit", "/b"),
        ("edit_edit", "/d/2"),
        ("add_add", "/f"),
    ]
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    assert outcome.clean_operations == (4,)


def test_conflicts_are_ordered_with_indices_as_numbers() -> None:
    base = list(range(12))
    theirs = [replace("/10", "t"), replace("/2", "t")]
    yours = [replace("/10", "y"), replace("/2", "y")]
    assert conflicts(base, theirs, yours) == [("edit_edit", "/2"), ("edit_edit", "/10")]


def test_a_removed_parent_is_the_place_of_the_conflict_and_not_the_leaf() -> None:
    base = {"a": {"b": {"c": {"d": 1}}}}
    assert conflicts(base, [replace("/a/b/c/d", 2)], [remove("/a")]) == [("remove_edit", "/a")]


# -- 4,000 changed members take 4 to 9 seconds


def test_four_thousand_changed_members_on_each_side_take_no_seconds() -> None:
    """A coarse bound, far from what is measured, that only a quadratic merge breaks."""
    base = {f"m{n}": n for n in range(8_000)}
    theirs = [replace(f"/m{n}", -n - 1) for n in range(4_000)]
    yours = [replace(f"/m{n}", -n - 1) for n in range(4_000, 8_000)]
    started = perf_counter()
    value = clean(base, theirs, yours)
    assert perf_counter() - started < 2
    assert value == {f"m{n}": -n - 1 for n in range(8_000)}


def test_four_thousand_changed_members_of_states_take_no_seconds() -> None:
    base = {f"m{n}": n for n in range(8_000)}
    theirs = {name: -n - 1 if n < 4_000 else n for n, name in enumerate(base)}
    yours = {name: n if n < 4_000 else -n - 1 for n, name in enumerate(base)}
    started = perf_counter()
    outcome = merge(base, theirs, yours)
    assert perf_counter() - started < 2
    assert isinstance(outcome, Merged)
    assert outcome.value == {f"m{n}": -n - 1 for n in range(8_000)}
