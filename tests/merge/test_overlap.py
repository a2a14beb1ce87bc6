"""Where two sides' effects meet: what counts as one thing made by both, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from merge.strategies import Patch, add, move, remove, replace
from plait_merge import Conflicted, Json, Policy, Rebased, rebase


def merged(base: Json, theirs: Patch, yours: Patch, policy: Policy | None = None) -> Json:
    outcome = rebase(base, [theirs], yours, policy)
    assert isinstance(outcome, Rebased)
    return outcome.value


def kinds(base: Json, theirs: Patch, yours: Patch, policy: Policy | None = None) -> list[tuple[str, str]]:
    outcome = rebase(base, [theirs], yours, policy)
    assert isinstance(outcome, Conflicted)
    return [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]


AWAY: Patch = [move("/b", "/z")]


@pytest.mark.parametrize("elsewhere", [[], AWAY], ids=["one side moved", "both sides moved"])
@pytest.mark.parametrize("turned", [False, True])
def test_what_was_moved_in_is_not_what_was_added(elsewhere: Patch, turned: bool) -> None:
    """Two arrays of one value: in one it is the value that base had elsewhere, and may not be there twice."""
    base = {"a": 1, "b": 2, "x": None}
    sides = [add("/y", []), move("/a", "/y/0")], [*elsewhere, add("/y", [1])]
    assert kinds(base, *(sides[::-1] if turned else sides)) == [("add_add", "/y")]
    sides = [replace("/x", []), move("/a", "/x/0")], [*elsewhere, replace("/x", [1])]
    assert kinds(base, *(sides[::-1] if turned else sides)) == [("edit_edit", "/x")]


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), ("a", "a"), (None, None), ([1, {"c": []}], [1.0, {"c": []}])]
)
def test_equal_additions_are_one_though_other_things_moved(one: Json, other: Json) -> None:
    theirs, yours = [move("/a", "/p"), add("/y", [one])], [move("/b", "/q"), add("/y", [other])]
    assert merged({"a": 1, "b": 2}, theirs, yours) == {"p": 1, "q": 2, "y": [one]}


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), ({}, []), ([], "a"), ({"c": 1}, {"c": 2}), ([1], [1, 2])]
)
def test_different_additions_are_two_though_other_things_moved(one: Json, other: Json) -> None:
    theirs, yours = [move("/a", "/p"), add("/y", [one])], [move("/b", "/q"), add("/y", [other])]
    assert kinds({"a": 1, "b": 2}, theirs, yours) == [("add_add", "/y")]


@pytest.mark.parametrize("moved", [[], [move("/a", "/p")]], ids=["by the short road", "by the long road"])
def test_a_counter_set_to_one_number_by_both_adds_up(moved: Patch) -> None:
    policy = Policy.read({"rules": {"/n": {"scalar": "sum"}}})
    theirs, yours = [replace("/n", 3), *moved], [replace("/n", 3), add("/c", 1)]
    value: Any = merged({"a": 1, "b": [], "n": 1}, theirs, yours, policy)
    assert value["n"] == 5


def test_one_element_of_a_set_added_by_both_has_one_place_however_strict() -> None:
    policy = Policy.read({"rules": {"/a": {"array": "set", "order": "strict"}}})
    theirs, yours = [add("/a/0", 1)], [add("/a/0", 2), add("/b", 1)]
    value: Any = merged({"a": []}, theirs, yours, policy)
    assert sorted(value["a"]) == [1, 2]


def test_one_element_of_a_key_added_by_both_has_one_place_however_strict() -> None:
    policy = Policy.read({"rules": {"/a": {"array": {"keyed": ["id"]}, "order": "strict"}}})
    theirs, yours = [add("/a/0", {"id": 1, "v": 1})], [add("/a/0", {"id": 1, "w": 2}), add("/b", 1)]
    assert merged({"a": []}, theirs, yours, policy) == {"a": [{"id": 1, "v": 1, "w": 2}], "b": 1}


# What was put into parts of what both made, and what is in what one removed.


def test_what_both_moved_into_one_element_of_what_both_added_is_in_one_place() -> None:
    """However they made that element: at once, or with something else in front of it for a while."""
    theirs = [add("/y", [[1]]), move("/a", "/y/0/1")]
    yours = [add("/y", []), add("/y/0", [1]), move("/a", "/y/0/1")]
    for one, other in ((theirs, yours), (yours, theirs)):
        assert merged({"a": "a"}, one, [*other, add("/b", 1)]) == {"y": [[1, "a"]], "b": 1}


@pytest.mark.parametrize("turned", [False, True])
def test_a_circle_is_one_though_it_leads_through_what_one_side_added(turned: bool) -> None:
    sides = [add("/b/n", {}), move("/a", "/b/n/a")], [move("/b", "/a/b")]
    assert kinds({"a": {}, "b": {}}, *(sides[::-1] if turned else sides)) == [("cycle", "/a")]


def test_two_moves_of_one_side_are_no_circle() -> None:
    """What would be one if the first did not happen: then the second does not either."""
    theirs, yours = [move("/a/b", "/c")], [move("/a/b", "/d"), move("/a", "/d/a")]
    assert kinds({"a": {"b": {}}}, theirs, yours) == [("move_move", "/a/b")]


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        ([move("/a/b", "/z"), remove("/z/e/c")], ("move_remove", "/a/b")),
        ([move("/a/b", "/a/x/b"), remove("/a/x/b/e/c")], ("remove_edit", "/a")),
    ],
    ids=["taken out", "moved within"],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_was_removed_in_something_moved_goes_with_the_move(
    moved: Patch, told: tuple[str, str], turned: bool
) -> None:
    """The other side removed what all of this was in: one conflict, which the removal inside is a part of."""
    base: Json = {"a": {"b": {"e": {"c": 1}}, "x": {}}}
    sides = [remove("/a")], moved
    theirs, yours = sides[::-1] if turned else sides
    outcome = rebase(base, [[operation] for operation in theirs], yours)
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.pointer) == told
    assert conflict.your_operations == tuple(range(len(yours)))
    assert conflict.their_patches == tuple(range(len(theirs)))
