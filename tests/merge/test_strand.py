"""What one side's operations do to identities: where things are, since when, and by which operations."""

from __future__ import annotations

import pytest

from merge.strategies import Patch, add, copy, move, remove, replace
from plait_merge import Conflicted, Json, Policy, Rebased, apply, rebase, resolve
from plait_merge.patch import read_patch


def merged(base: Json, theirs: Patch, yours: Patch, policy: Policy | None = None) -> Json:
    outcome = rebase(base, [theirs], yours, policy)
    assert isinstance(outcome, Rebased)
    return outcome.value


MADE: Json = {"m": {"n": 1}, "l": [1, 2]}


@pytest.mark.parametrize(
    "then",
    [
        add("/a/x", 1),
        add("/a/m", 1),
        add("/a/l/0", 1),
        remove("/a/m/n"),
        remove("/a/l/0"),
        replace("/a/l/1", 3),
        replace("/a/m", 3),
        move("/a/m/n", "/a/n"),
        move("/a/l/0", "/a/l/-"),
        move("/b", "/a/b"),
        move("/a/m", "/c"),
        copy("/b", "/a/l/-"),
        {"op": "inc", "path": "/a/m/n", "value": 1},
    ],
    ids=str,
)
def test_what_is_done_to_what_a_side_made_is_part_of_making_it(then: dict[str, Json]) -> None:
    """Whatever is done in it: a conflict over the one names the operations of both."""
    for base, made, other in (
        ({"a": 0, "b": 0}, replace("/a", MADE), replace("/a", 1)),
        ({"b": 0}, add("/a", MADE), add("/a", 1)),
    ):
        one, *two = (read_patch([operation], extended=True) for operation in (other, made, then))
        outcome = rebase(base, [one], (*two[0], *two[1]))
        assert isinstance(outcome, Conflicted)
        assert outcome.conflicts[0].your_operations == (0, 1)
        assert outcome.clean_operations == ()
        outcome = rebase(base, two, one)
        assert isinstance(outcome, Conflicted)
        assert outcome.conflicts[0].their_patches == (0, 1)


def test_what_was_done_to_what_a_side_then_replaced_is_no_part_of_that() -> None:
    outcome = rebase({"a": {}}, [[replace("/a", 6)]], [add("/a/x", 1), replace("/a", 5)])
    assert isinstance(outcome, Conflicted)
    assert outcome.conflicts[0].your_operations == (1,)


def test_what_both_added_is_where_it_came_to_however_it_came_there() -> None:
    for theirs in ([add("/t", {"x": 1}), move("/t", "/n")], [copy("/o", "/n")]):
        outcome = rebase({"o": {"x": 1}}, [theirs], [add("/n", {"x": 2})])
        assert isinstance(outcome, Conflicted)
        assert [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts] == [("add_add", "/n/x")]


@pytest.mark.parametrize("again", ["1", "-"])
def test_a_move_to_where_a_thing_is_does_nothing(again: str) -> None:
    """Were it one, the element would come to stand directly behind the one on its left."""
    theirs = [add("/o/l/-", "y")]
    yours = [add("/o/l/-", "x"), remove("/o/l/1"), move("/o/l/1", f"/o/l/{again}")]
    assert merged({"o": {"l": ["a", "b"]}}, theirs, yours) == {"o": {"l": ["a", "y", "x"]}}


@pytest.mark.parametrize("name", ["a", "0"])
def test_a_member_may_be_called_like_the_end_of_an_array(name: str) -> None:
    assert merged({name: {"x": 1}}, [replace(f"/{name}/x", 2)], [move(f"/{name}", "/-")]) == {"-": {"x": 2}}


@pytest.mark.parametrize(("old", "new"), [(1, 1.0), ([1], [1]), (None, 5), (5, None)])
def test_an_element_of_a_set_set_to_what_it_was_is_the_same_element(old: Json, new: Json) -> None:
    """And set to anything else it is another."""
    policy = Policy.read({"rules": {"/l": {"array": "set"}}})
    value = merged({"l": [old, 2]}, [remove("/l/0")], [replace("/l/0", new), add("/x", 1)], policy)
    assert value == {"l": [2] if new == old else [new, 2], "x": 1}


def test_what_went_into_a_new_element_falls_with_it() -> None:
    base: Json = {"l": [], "m": 1}
    outcome = rebase(base, [[remove("/l")]], [add("/x", 1), add("/l/0", {}), move("/m", "/l/0/m")])
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    head: Json = {"m": 1}
    assert apply(head, resolve(head, outcome, {conflict.id: "theirs"})) == {"m": 1, "x": 1}


@pytest.mark.parametrize("turned", [False, True])
def test_a_circle_may_lead_through_a_new_element(turned: bool) -> None:
    sides = [add("/b/l/0", {}), move("/a", "/b/l/0/a")], [move("/b", "/a/b")]
    theirs, yours = sides[::-1] if turned else sides
    outcome = rebase({"a": {}, "b": {"l": []}}, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    assert [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts] == [("cycle", "/a")]


def test_what_theirs_put_into_what_goes_is_moved_out_of_it_as_theirs_has_it() -> None:
    base: Json = {"a": {}, "b": 0, "c": 0}
    theirs = [remove("/b"), add("/a", []), move("/c", "/a/0")]
    outcome = rebase(base, [theirs], [move("/b", "/a/a")])
    assert isinstance(outcome, Conflicted)
    assert [conflict.resolutions["yours"] for conflict in outcome.conflicts] == [
        [move("/a/0", "/c"), replace("/a", {}), add("/a/a", 0)]
    ]
    base = {"b": [0, {"a": 0}]}
    theirs = [replace("/b/1/a", {}), move("/b", "")]
    outcome = rebase(base, [theirs], [move("/b/1/a", "/b")])
    assert isinstance(outcome, Conflicted)
    head = apply(base, theirs)
    assert [apply(head, conflict.resolutions["yours"]) for conflict in outcome.conflicts] == [{"b": {}}]
