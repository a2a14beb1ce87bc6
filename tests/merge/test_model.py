"""What a merge means, case by case: the rows of merge.md section 4 and the numbers of decision 0001.

Each case is judged by the slow model and by the engine, so the cases document both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given

from merge.model import Choice, Conflicts, Merged, Refused, merge_patches, read_effects, replay
from merge.strategies import Scene, add, applied, copy, guard, move, remove, replace, scenes
from plait_merge import ABSENT, Conflicted, Inapplicable, Rebased, apply, rebase, resolve, same

Json = Any
Patch = list[dict[str, Json]]


class Case(NamedTuple):
    """A merge written out: either its value, or the settled values by what is chosen everywhere."""

    name: str
    base: Json
    theirs: Patch
    yours: Patch
    value: Json = None
    conflicts: tuple[tuple[str, str], ...] = ()
    settled: Mapping[str, Json] = {}

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def clean(name: str, base: Json, theirs: Patch, yours: Patch, value: Json) -> Case:
    return Case(name, base, theirs, yours, value)


def clash(
    name: str, base: Json, theirs: Patch, yours: Patch, kind: str, pointer: str, /, **settled: Json
) -> Case:
    return Case(name, base, theirs, yours, None, ((kind, pointer),), settled)


ROWS = [
    # any change | none
    clean("a change beside nothing", {"a": 1}, [], [replace("/a", 2)], {"a": 2}),
    clean("nothing beside a change", {"a": 1}, [replace("/a", 2)], [], {"a": 2}),
    clean("changes apart", {"a": 1, "b": 1}, [replace("/a", 2)], [remove("/b")], {"a": 2}),
    # any change | the same change
    clean("the same edit counts once", {"a": 1}, [replace("/a", 2)], [replace("/a", 2)], {"a": 2}),
    clean("the same edit spelt differently", {"a": 1}, [replace("/a", 2)], [replace("/a", 2.0)], {"a": 2}),
    clean("both remove", {"a": 1}, [remove("/a")], [remove("/a")], {}),
    clean("both move alike", {"a": 1}, [move("/a", "/b")], [move("/a", "/b")], {"b": 1}),
    clean("an edit to an equal value is none", {"a": 1}, [replace("/a", 1.0)], [replace("/a", 2)], {"a": 2}),
    # content edit | different content edit
    clash(
        "two edits of one value",
        {"a": 1},
        [replace("/a", 2)],
        [replace("/a", 3)],
        "edit_edit",
        "/a",
        theirs={"a": 2},
        yours={"a": 3},
        base={"a": 1},
    ),
    clash(
        "a bool is no number",
        {"a": 2},
        [replace("/a", 0)],
        [replace("/a", False)],
        "edit_edit",
        "/a",
        theirs={"a": 0},
        yours={"a": False},
        base={"a": 2},
    ),
    clean(
        "edits of two parts",
        {"a": {"b": 1, "c": [1, 2]}},
        [replace("/a/c/0", 5)],
        [replace("/a/c/1", 6), replace("/a/b", 7)],
        {"a": {"b": 7, "c": [5, 6]}},
    ),
    # removed | edited, or added to, inside
    clash(
        "removed and edited",
        {"a": 1},
        [remove("/a")],
        [replace("/a", 2)],
        "remove_edit",
        "/a",
        theirs={},
        yours={"a": 2},
        base={"a": 1},
    ),
    clash(
        "removed and edited far inside",
        {"a": {"b": {"c": 1}}},
        [replace("/a/b/c", 2)],
        [remove("/a")],
        "remove_edit",
        "/a",
        theirs={"a": {"b": {"c": 2}}},
        yours={},
        base={"a": {"b": {"c": 1}}},
    ),
    clash(
        "removed and added to",
        {"a": {}},
        [remove("/a")],
        [add("/a/b", 1)],
        "remove_edit",
        "/a",
        theirs={},
        yours={"a": {"b": 1}},
        base={"a": {}},
    ),
    clash(
        "an element removed and edited",
        [{"v": 1}, {"v": 2}],
        [add("/0", {"v": 0}), remove("/2")],
        [replace("/1/v", 3)],
        "remove_edit",
        "/1",
        theirs=[{"v": 0}, {"v": 1}],
        yours=[{"v": 0}, {"v": 1}, {"v": 3}],
        base=[{"v": 0}, {"v": 1}, {"v": 2}],
    ),
    clean("removed, and removed in part", {"a": {"b": 1}}, [remove("/a/b")], [remove("/a")], {}),
    # replaced whole | edited inside; child moved out of it
    clash(
        "replaced and edited inside",
        {"a": {"b": 1}},
        [replace("/a", {"b": 1, "c": 1})],
        [replace("/a/b", 2)],
        "replace_edit",
        "/a",
        theirs={"a": {"b": 1, "c": 1}},
        yours={"a": {"b": 2}},
        base={"a": {"b": 1}},
    ),
    clash(
        "replaced and a part removed",
        {"a": {"b": 1}},
        [replace("/a", 0)],
        [remove("/a/b")],
        "replace_edit",
        "/a",
        theirs={"a": 0},
        yours={"a": {}},
        base={"a": {"b": 1}},
    ),
    clash(
        "replaced and a child moved out",
        {"a": {"b": 1}},
        [replace("/a", 0)],
        [move("/a/b", "/b")],
        "replace_edit",
        "/a",
        theirs={"a": 0},
        yours={"a": {}, "b": 1},
        base={"a": {"b": 1}},
    ),
    # replaced whole | replaced whole, differently
    clash(
        "replaced twice",
        {"a": [1]},
        [replace("/a", [2])],
        [replace("/a", [3])],
        "edit_edit",
        "/a",
        theirs={"a": [2]},
        yours={"a": [3]},
        base={"a": [1]},
    ),
    # moved | content edited, also inside
    clean(
        "the edit follows the item",
        {"a": {"b": {"v": 1}}},
        [move("/a/b", "/c")],
        [replace("/a/b/v", 2)],
        {"a": {}, "c": {"v": 2}},
    ),
    clean(
        "a renamed member keeps its edits",
        {"old": {"v": 1}},
        [replace("/old/v", 2)],
        [move("/old", "/new")],
        {"new": {"v": 2}},
    ),
    clean(
        "unwrapped and edited",
        {"a": {"b": {"v": 1}}},
        [move("/a/b", "/b"), remove("/a")],
        [replace("/a/b/v", 2)],
        {"b": {"v": 2}},
    ),
    clean(
        "an element reordered and edited",
        [{"v": 1}, {"v": 2}, {"v": 3}],
        [move("/0", "/2")],
        [replace("/0/v", 9)],
        [{"v": 2}, {"v": 3}, {"v": 9}],
    ),
    # moved | moved elsewhere
    clash(
        "moved to two places",
        {"a": 1},
        [move("/a", "/b")],
        [move("/a", "/c")],
        "move_move",
        "/a",
        theirs={"b": 1},
        yours={"c": 1},
        base={"a": 1},
    ),
    # moved, or a child moved out | removed (or its parent removed)
    clash(
        "moved and removed",
        {"a": 1},
        [remove("/a")],
        [move("/a", "/c")],
        "move_remove",
        "/a",
        theirs={},
        yours={"c": 1},
        base={"a": 1},
    ),
    clash(
        "a child moved out of what was removed",
        {"a": {"q": 1, "r": 2}},
        [move("/a/q", "/q")],
        [remove("/a")],
        "move_remove",
        "/a/q",
        theirs={"q": 1},
        yours={},
    ),
    # A moved under B | B moved under A
    clash(
        "each under the other",
        {"a": {}, "b": {}},
        [move("/a", "/b/a")],
        [move("/b", "/a/b")],
        "cycle",
        "/a",
        theirs={"b": {"a": {}}},
        yours={"a": {"b": {}}},
        base={"a": {}, "b": {}},
    ),
    # something put at a member | something else put at the same member
    clean("two new objects merge", {}, [add("/x", {"a": 1})], [add("/x", {"b": 2})], {"x": {"a": 1, "b": 2}}),
    clean("two equal additions count once", {}, [add("/x", [1])], [add("/x", [1.0])], {"x": [1]}),
    clash(
        "two new objects with one member in dispute",
        {},
        [add("/x", {"a": 1, "b": 1})],
        [add("/x", {"a": 2, "c": 1})],
        "add_add",
        "/x/a",
        theirs={"x": {"a": 1, "b": 1, "c": 1}},
        yours={"x": {"a": 2, "b": 1, "c": 1}},
        base={"x": {"b": 1, "c": 1}},
    ),
    clash(
        "two new arrays",
        {},
        [add("/x", [1])],
        [add("/x", [2])],
        "add_add",
        "/x",
        theirs={"x": [1]},
        yours={"x": [2]},
        base={},
    ),
    clash(
        "added and moved to one member",
        {"a": 1},
        [add("/x", 2)],
        [move("/a", "/x")],
        "add_add",
        "/x",
        theirs={"a": 1, "x": 2},
        yours={"x": 1},
        base={"a": 1},
    ),
    # inserted at a gap | inserted there, or a neighbour removed or moved
    clean("two insertions in one gap", [1, 2], [add("/1", 8)], [add("/1", 9)], [1, 8, 9, 2]),
    clean("two appends", [1], [add("/-", 8)], [add("/-", 9)], [1, 8, 9]),
    clean(
        "equal runs count once", [1], [add("/-", 8), add("/-", 9)], [add("/1", 9), add("/1", 8)], [1, 8, 9]
    ),
    clean(
        "runs never interleave",
        [1],
        [add("/-", 7), add("/-", 8)],
        [add("/-", 7), add("/-", 9)],
        [1, 7, 8, 7, 9],
    ),
    clean("inserted where the neighbour went", [1, 2, 3], [remove("/1")], [add("/2", 9)], [1, 9, 3]),
    clean(
        "inserted where the neighbour moved off", [1, 2, 3], [move("/1", "/0")], [add("/2", 9)], [2, 1, 9, 3]
    ),
    clean("two elements moved", [0, 1, 2, 3], [move("/0", "/1")], [move("/1", "/3")], [0, 2, 3, 1]),
    clean("duplicates are told apart", ["x", "x", "x"], [remove("/0")], [remove("/2")], ["x"]),
    # copy | source edited
    clean(
        "a copy is what its author saw",
        {"a": 1},
        [replace("/a", 2)],
        [copy("/a", "/b")],
        {"a": 2, "b": 1},
    ),
    # root
    clash(
        "the root replaced and edited",
        {"a": 1},
        [replace("", [])],
        [replace("/a", 2)],
        "replace_edit",
        "",
        theirs=[],
        yours={"a": 2},
        base={"a": 1},
    ),
    clash(
        "the root removed and edited",
        {"a": 1},
        [remove("")],
        [replace("/a", 2)],
        "remove_edit",
        "",
        theirs=ABSENT,
        yours={"a": 2},
        base={"a": 1},
    ),
    clean("two documents begun", ABSENT, [add("", {"a": 1})], [add("", {"b": 2})], {"a": 1, "b": 2}),
]

NUMBERS = [
    clean(
        "2: a place passed through does not exist for the other side",
        {"x": 1},
        [add("/tmp", 5)],
        [move("/x", "/tmp"), move("/tmp", "/y")],
        {"tmp": 5, "y": 1},
    ),
    clash(
        "2: removed and added again is a replacement",
        {"a": {"b": 1}},
        [replace("/a/b", 2)],
        [remove("/a"), add("/a", {"b": 3})],
        "replace_edit",
        "/a",
        theirs={"a": {"b": 2}},
        yours={"a": {"b": 3}},
        base={"a": {"b": 1}},
    ),
    clean(
        "2: what was moved out before a replacement lives",
        {"a": {"b": {"v": 1}}},
        [replace("/a/b/v", 2)],
        [move("/a/b", "/b"), replace("/a", 0)],
        {"a": 0, "b": {"v": 2}},
    ),
    clean(
        "2: a move onto its own place changes nothing",
        {"a": 1},
        [remove("/a")],
        [move("/a", "/a")],
        {},
    ),
    clean(
        "2: a swap through a free place",
        {"a": {"v": 1}, "b": {"v": 2}},
        [replace("/a/v", 9)],
        [move("/a", "/t"), move("/b", "/a"), move("/t", "/b")],
        {"a": {"v": 2}, "b": {"v": 9}},
    ),
    clean(
        "3: moved away and back is nothing",
        [1, 2, 3],
        [remove("/0")],
        [move("/0", "/2"), move("/2", "/0")],
        [2, 3],
    ),
    clean(
        "3: an element that passed dead anchors only has not moved",
        [1, 2, 3],
        [remove("/2")],
        [remove("/1"), move("/1", "/1")],
        [1],
    ),
    clean(
        "3: a new content equal to the old is nothing",
        {"a": {"b": 1}},
        [replace("/a/b", 2)],
        [replace("/a", {"b": 1})],
        {"a": {"b": 2}},
    ),
    clash(
        "4: a node in a removed one is removed with it",
        {"a": {"b": {"c": 1}}},
        [remove("/a/b"), remove("/a")],
        [replace("/a/b/c", 2)],
        "remove_edit",
        "/a",
        theirs={},
        yours={"a": {"b": {"c": 2}}},
        base={"a": {"b": {"c": 1}}},
    ),
    clash(
        "6: what was done inside a rescued node goes with it",
        {"a": {"q": {"v": 1}, "r": 2}},
        [remove("/a")],
        [move("/a/q", "/q"), replace("/q/v", 5)],
        "move_remove",
        "/a/q",
        theirs={},
        yours={"q": {"v": 5}},
    ),
    clash(
        "6: moved into what was removed",
        {"a": {}, "b": 1},
        [remove("/a")],
        [move("/b", "/a/b")],
        "remove_edit",
        "/a",
        theirs={"b": 1},
        yours={"a": {"b": 1}},
        base={"a": {}, "b": 1},
    ),
    clean("8: moved to one gap by both", [1, 2, 3], [move("/0", "/2")], [move("/0", "/2")], [2, 3, 1]),
    clash(
        "10: what arrives is compared as its side left it",
        {"n": 1},
        [add("/x", [1])],
        [replace("/n", 2), add("/x", []), move("/n", "/x/0")],
        "add_add",
        "/x",
        theirs={"n": 2, "x": [1]},
        yours={"x": [2]},
        base={"n": 2},
    ),
    clean(
        "11: an insertion goes into the gap of its living left neighbour",
        [1, 2, 3],
        [remove("/1"), add("/1", 8)],
        [add("/2", 9)],
        [1, 8, 9, 3],
    ),
    clean(
        "11: a moved element both put into one gap stays where theirs put it",
        [1, 2, 3],
        [move("/0", "/2"), add("/2", 8)],
        [move("/0", "/2"), add("/3", 9)],
        [2, 3, 8, 1, 9],
    ),
    clean(
        "12: a guard follows its identity",
        [1, 2, 3],
        [remove("/0")],
        [guard("/2", 3), replace("/2", 4)],
        [2, 4],
    ),
    clash(
        "12: a guard whose value changed refuses everything",
        {"a": 1, "b": 1},
        [replace("/a", 2)],
        [guard("/a", 1), replace("/b", 2)],
        "guard",
        "/a",
        theirs={"a": 2, "b": 1},
    ),
    clash(
        "12: a guard whose parent was removed refuses everything",
        {"a": {"b": 1}, "c": 1},
        [remove("/a")],
        [guard("/a/b", 1), replace("/c", 2)],
        "guard",
        "/a/b",
        theirs={"c": 1},
    ),
    Case(
        "12: other conflicts are still reported",
        {"a": 1, "b": 1},
        [replace("/a", 2), replace("/b", 2)],
        [guard("/a", 1), replace("/b", 3)],
        None,
        (("guard", "/a"), ("edit_edit", "/b")),
        {"theirs": {"a": 2, "b": 2}},
    ),
    Case(
        "14: a rescued node and the rest of what was removed can be settled apart",
        {"a": {"q": 1, "r": 2}},
        [remove("/a")],
        [move("/a/q", "/q"), replace("/a/r", 3)],
        None,
        (("remove_edit", "/a"), ("move_remove", "/a/q")),
        {"theirs": {}, "yours": {"a": {"r": 3}, "q": 1}},
    ),
    clash(
        "14: what shares an effect is one conflict",
        {"a": {"v": 1}, "b": {"v": 1}},
        [remove("/a")],
        [move("/b", "/a/b"), replace("/a/v", 3), replace("/a/b/v", 4)],
        "remove_edit",
        "/a",
        theirs={"b": {"v": 4}},
        yours={"a": {"v": 3, "b": {"v": 4}}},
        base={"a": {"v": 1}, "b": {"v": 4}},
    ),
    clash(
        "14: what cannot be settled apart is one conflict",
        {"a": 1, "b": 2},
        [replace("/a", 0), remove("/b")],
        [move("/b", "/a")],
        "move_remove",
        "/b",
        theirs={"a": 0},
        yours={"a": 2},
        base={"a": 1, "b": 2},
    ),
    clash(
        "15: what needs a contested place follows its choice",
        {"a": {"v": 1}, "b": 2},
        [replace("/a/v", 9)],
        [move("/b", "/a")],
        "remove_edit",
        "/a",
        theirs={"a": {"v": 9}, "b": 2},
        yours={"a": 2},
        base={"a": {"v": 1}, "b": 2},
    ),
    clash(
        "15: a copy of a contested value follows its choice",
        {"s": 1},
        [replace("/s", 2)],
        [replace("/s", 3), copy("/s", "/d")],
        "edit_edit",
        "/s",
        theirs={"s": 2},
        yours={"s": 3, "d": 3},
        base={"s": 1},
    ),
]

CASES = ROWS + NUMBERS
CHOICES: dict[str, Choice] = {"theirs": "theirs", "yours": "yours", "base": "base"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_merges_as_written(case: Case) -> None:
    outcome = merge_patches(case.base, [case.theirs], case.yours)
    if not case.conflicts:
        assert isinstance(outcome, Merged)
        assert same(case.value, outcome.value), outcome.value
        return
    assert isinstance(outcome, Conflicts)
    assert frozenset(case.conflicts) == outcome.conflicts
    for choice, value in case.settled.items():
        settled = outcome.settle(dict.fromkeys(outcome.conflicts, CHOICES[choice]))
        assert same(value, settled), (choice, settled)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_engine_merges_as_written(case: Case) -> None:
    theirs = apply(case.base, case.theirs)
    outcome = rebase(case.base, [case.theirs], case.yours)
    if not case.conflicts:
        assert isinstance(outcome, Rebased), outcome
        assert same(case.value, outcome.value), outcome.value
        assert same(case.value, apply(theirs, outcome.patch))
        return
    assert isinstance(outcome, Conflicted), outcome
    assert set(case.conflicts) == {(conflict.kind, conflict.pointer) for conflict in outcome.conflicts}
    for choice, value in case.settled.items():
        chosen = {conflict.id: CHOICES[choice] for conflict in outcome.conflicts}
        settled = apply(theirs, resolve(theirs, outcome, chosen))
        assert same(value, settled), (choice, settled)


REFUSED: list[tuple[Json, Patch, int]] = [
    ({"a": 1}, [remove("/b")], 0),
    ({"a": 1}, [replace("/a", 2), replace("/b", 2)], 1),
    ({"a": 1}, [add("/b/c", 1)], 0),
    ({"a": 1}, [add("/a/c", 1)], 0),
    ([1], [add("/2", 1)], 0),
    ([1], [remove("/-")], 0),
    ([1], [replace("/00", 1)], 0),
    ([1], [replace("/1", 1)], 0),
    ({"a": {}}, [move("/a", "/a/b")], 0),
    ({"a": 1}, [guard("/a", True)], 0),
    (ABSENT, [add("/a", 1)], 0),
    ({"a": 1}, [remove(""), replace("", 1)], 1),
]


@pytest.mark.parametrize(("base", "yours", "operation"), REFUSED)
def test_a_patch_that_does_not_fit_base_is_refused(base: Json, yours: Patch, operation: int) -> None:
    outcome = merge_patches(base, [], yours)
    assert isinstance(outcome, Refused)
    assert operation == outcome.operation
    refused = rebase(base, [], yours)
    assert isinstance(refused, Inapplicable)
    assert operation == refused.operation


@given(scenes())
def test_the_model_replays_as_a_plain_interpreter_does(scene: Scene) -> None:
    value = scene.base
    for operation in scene.yours:
        value = applied(value, operation)
    done = replay(scene.base, [scene.yours], "yours")
    assert same(value, done.tree.value())
    assert same(value, read_effects(done).tree.value())


@given(scenes())
def test_the_model_keeps_the_laws_of_identity(scene: Scene) -> None:
    base, _, yours = scene
    value = replay(base, [yours], "yours").tree.value()
    for theirs, patch in (([], yours), ([yours], []), ([yours], yours)):
        outcome = merge_patches(base, theirs, patch)
        assert isinstance(outcome, Merged)
        assert same(value, outcome.value)
