"""Settling conflicts: what each choice is offered for, what it writes, and which ones are refused."""

from __future__ import annotations

from typing import Any

import pytest

from merge.strategies import Patch, add, copy, guard, move, remove, replace
from merge.test_policies import conflicts_of, notes_of, policy, value_of
from plait_merge import ChoiceError, Conflicted, Json, Limits, Policy, apply, rebase, resolve

ASIDE = [[], [move("/f", "/e")]]
"""What theirs does besides; with a move, the merge takes the long road."""
DEEP: dict[str, Any] = {"/o": {"replace": "deep"}}


def conflicted(base: Json, theirs: Patch, yours: Patch, rules: Policy | None = None) -> Conflicted:
    outcome = rebase(base, [theirs], yours, rules)
    assert isinstance(outcome, Conflicted)
    return outcome


def chosen(base: Json, theirs: Patch, outcome: Conflicted, choices: dict[str, Any]) -> Json:
    """Settle conflicts, by pointer, and give what theirs comes to."""
    by_id = {conflict.id: choices[conflict.pointer] for conflict in outcome.conflicts}
    head = apply(base, theirs)
    return apply(head, resolve(head, outcome, by_id))


# -- what is refused

MOVED: Json = {"m": 1, "a": {}, "b": {}, "x": 1}


@pytest.mark.parametrize(
    ("choice", "detail"),
    [
        ("mine", "'mine' is no choice"),
        ("both", "'both' has no meaning for it"),
        (None, 'a choice is a word or {"value": …}'),
        ({}, 'a choice is a word or {"value": …}'),
        ({"value": 1, "note": 2}, 'a choice is a word or {"value": …}'),
    ],
)
def test_what_is_no_choice_is_refused(choice: Any, detail: str) -> None:
    outcome = conflicted({"x": 1}, [replace("/x", 2)], [replace("/x", 3)])
    (conflict,) = outcome.conflicts
    with pytest.raises(ChoiceError) as refused:
        resolve({"x": 2}, outcome, {conflict.id: choice})
    assert (refused.value.conflict, refused.value.detail) == (conflict.id, detail)


def test_every_conflict_has_a_choice_and_every_choice_a_conflict() -> None:
    outcome = conflicted({"x": 1}, [replace("/x", 2)], [replace("/x", 3)])
    (conflict,) = outcome.conflicts
    with pytest.raises(ChoiceError) as refused:
        resolve({"x": 2}, outcome, {})
    assert (refused.value.conflict, refused.value.detail) == (conflict.id, "has no choice")
    with pytest.raises(ChoiceError) as refused:
        resolve({"x": 2}, outcome, {conflict.id: "yours", "other": "yours"})
    assert (refused.value.conflict, refused.value.detail) == ("other", "there is no such conflict")


@pytest.mark.parametrize(
    ("theirs", "yours", "kind"),
    [
        ([move("/m", "/n")], [move("/m", "/o")], "move_move"),
        ([move("/a", "/b/a")], [move("/b", "/a/b")], "cycle"),
    ],
)
def test_a_value_says_nothing_about_where_something_is(theirs: Patch, yours: Patch, kind: str) -> None:
    outcome = conflicted(MOVED, theirs, yours)
    (conflict,) = outcome.conflicts
    assert conflict.kind == kind
    with pytest.raises(ChoiceError) as refused:
        resolve(apply(MOVED, theirs), outcome, {conflict.id: {"value": 1}})
    assert refused.value.detail == "a value has no meaning for it"


def test_where_a_guard_failed_there_is_nothing_to_choose_but_theirs() -> None:
    outcome = conflicted(
        {"x": 1, "g": 1}, [replace("/x", 2), replace("/g", 2)], [guard("/g", 1), replace("/x", 3)]
    )
    ids = {conflict.pointer: conflict.id for conflict in outcome.conflicts}
    assert resolve({"x": 2, "g": 2}, outcome, {ids["/g"]: "theirs", ids["/x"]: "theirs"}) == []
    refused_choices: list[tuple[Any, str]] = [
        ("yours", "'yours' has no meaning for it"),
        ({"value": 1}, "a value has no meaning for it"),
    ]
    for choice, detail in refused_choices:
        with pytest.raises(ChoiceError) as refused:
            resolve({"x": 2, "g": 2}, outcome, {ids["/g"]: "theirs", ids["/x"]: choice})
        assert (refused.value.conflict, refused.value.detail) == (ids["/x"], detail)


# -- what a choice writes


@pytest.mark.parametrize("aside", ASIDE)
@pytest.mark.parametrize("yours", [[], [move("/g", "/h")]])
def test_a_resolution_holds_nothing_of_yours_but_its_conflict(aside: Patch, yours: Patch) -> None:
    base: Json = {"a": 1, "f": 1, "g": 1}
    outcome = conflicted(base, [replace("/a", 2), *aside], [add("/n", 1), *yours, replace("/a", 3)])
    (conflict,) = outcome.conflicts
    assert conflict.resolutions == {"theirs": [], "yours": [replace("/a", 3)], "base": [replace("/a", 1)]}
    assert outcome.clean_patch == [add("/n", 1), *yours]


def test_a_resolution_of_a_circle_holds_nothing_else_of_yours() -> None:
    outcome = conflicted(MOVED, [move("/a", "/b/a")], [add("/n", 1), move("/b", "/a/b")])
    (conflict,) = outcome.conflicts
    assert conflict.resolutions == {
        "theirs": [],
        "yours": [move("/b/a", "/a"), move("/b", "/a/b")],
        "base": [move("/b/a", "/a")],
    }


@pytest.mark.parametrize(
    ("inner", "more", "there"),
    [
        ([], [], "/c/a/b"),
        ([], [add("/a/n", {})], "/c/a/n/b"),
        ([add("/bb/c/m", {})], [], "/c/m/a/b"),
    ],
    ids=["in base", "in what yours added", "in what theirs added"],
)
def test_a_resolution_brings_what_keeps_things_out_of_themselves(
    inner: Patch, more: Patch, there: str
) -> None:
    """Theirs moved *a* into *c*, which lies in *b*, which yours moves into *a*: so *c* has to come out."""
    base: Json = {"a": {}, "b": {"c": {}}}
    theirs = [move("/b", "/bb"), *inner, move("/a", ("/bb/c/m/a" if inner else "/bb/c/a"))]
    yours = [move("/b/c", "/c"), *more, move("/b", "/a/n/b" if more else "/a/b")]
    outcome = conflicted(base, theirs, yours)
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.pointer) == ("move_move", "/b")
    patch = conflict.resolutions["yours"]
    assert move("/bb/c", "/c") in patch
    assert patch[-1] == move("/bb", there)
    apply(apply(base, theirs), patch)


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "inner"),
    [
        ([1], [replace("/l/0", 10)], [replace("/l/0", 20)], "/l/0"),
        ([{}], [add("/l/0/m", 10)], [add("/l/0/m", 20)], "/l/0/m"),
        ([{"m": {}}], [add("/l/0/m/n", 10)], [add("/l/0/m/n", 20)], "/l/0/m/n"),
    ],
)
def test_a_value_chosen_inside_of_a_value_chosen_is_none(
    base: Json, theirs: Patch, yours: Patch, inner: str
) -> None:
    rules = policy({"/l": {"order": "strict"}})
    base, theirs, yours = {"l": base}, [*theirs, add("/l/-", 2)], [*yours, add("/l/-", 3)]
    outcome = conflicted(base, theirs, yours, rules)
    assert [conflict.pointer for conflict in outcome.conflicts] == ["/l", inner]
    assert chosen(base, theirs, outcome, {"/l": {"value": [9]}, inner: {"value": 30}}) == {"l": [9]}


@pytest.mark.parametrize(
    ("yours", "written"), [(5, [add("/a", [9])]), ([5], [add("/a", 1), replace("/a", [9])])]
)
def test_a_value_chosen_is_written_instead_of_yours(yours: Json, written: Patch) -> None:
    outcome = conflicted({"a": 1}, [remove("/a")], [replace("/a", yours)])
    (conflict,) = outcome.conflicts
    assert resolve({}, outcome, {conflict.id: {"value": [9]}}) == written


# -- what a policy decides


@pytest.mark.parametrize("aside", ASIDE)
@pytest.mark.parametrize(
    ("rules", "base", "theirs", "yours", "result"),
    [
        (
            {"/n": {"scalar": "sum"}},
            {"n": 1},
            [replace("/n", 2)],
            [replace("/n", 5), copy("/n", "/c")],
            (6, 5),
        ),
        ({"/n": {"scalar": "sum"}}, {}, [add("/n", 1)], [add("/n", 2), copy("/n", "/c")], (3, 2)),
        (
            {"/n": {"string": {"text": "lines"}}},
            {"n": "a\nb\nc\n"},
            [replace("/n", "A\nb\nc\n")],
            [replace("/n", "a\nb\nC\n"), copy("/n", "/c")],
            ("A\nb\nC\n", "a\nb\nC\n"),
        ),
    ],
    ids=["edited", "added", "text"],
)
def test_a_copy_of_what_was_decided_is_a_copy_of_what_its_side_had_set(
    rules: dict[str, Any], base: Json, theirs: Patch, yours: Patch, result: tuple[Json, Json], aside: Patch
) -> None:
    value = value_of(rebase({**base, "f": 1}, [[*theirs, *aside]], yours, policy(rules)))
    assert (value["n"], value["c"]) == result


@pytest.mark.parametrize("aside", ASIDE)
@pytest.mark.parametrize(
    "guarded",
    [
        [guard("/g", 1), replace("/a", 3)],
        [replace("/a", 3), add("/n", 1), guard("/n", 1)],
        [replace("/a", 3), guard("/a", 3)],
    ],
    ids=["before it", "clean", "decided"],
)
def test_a_guard_holds_where_it_holds_as_the_policy_decides(guarded: Patch, aside: Patch) -> None:
    rules = policy({"/a": {"scalar": "yours"}})
    outcome = rebase({"a": 1, "g": 1, "f": 1}, [[replace("/a", 2), *aside]], guarded, rules)
    assert value_of(outcome)["a"] == 3


def test_what_was_decided_is_told_in_the_order_of_your_operations() -> None:
    theirs, yours = [replace("/a", 2), replace("/b", 2)], [replace("/b", 3), replace("/a", 3)]
    outcome = rebase({"a": 1, "b": 1}, [theirs], yours, policy({"**": {"scalar": "yours"}}))
    assert notes_of(outcome) == [("yours", 0, "/b"), ("yours", 1, "/a")]


@pytest.mark.parametrize("more", [[], [move("/f", "/o/k/f")], [replace("/o/z", 5)]])
def test_an_object_both_added_to_one_thing_is_what_the_side_chosen_made_of_it(more: Patch) -> None:
    """Elsewhere it would hold what either side put in it."""
    base: Json = {"o": {"z": 1}, "f": 1}
    theirs, yours = [add("/o/k", {"a": 1})], [add("/o/k", {"b": 1}), *more]
    outcome = conflicted(base, theirs, yours, policy({"/o": {"object": "atomic"}}))
    assert [conflict.pointer for conflict in outcome.conflicts] == ["/o"]
    for choice, patch in (("theirs", theirs), ("yours", yours), ("base", [])):
        assert chosen(base, theirs, outcome, {"/o": choice}) == apply(base, patch)
    decided = policy({"/o": {"object": "atomic", "scalar": "yours"}})
    assert value_of(rebase(base, [theirs], yours, decided)) == apply(base, yours)


# -- deep merges


def test_two_new_documents_are_merged_deeply_on_demand() -> None:
    theirs, yours = {"a": 2, "b": 1}, {"a": 1, "b": 2}
    outcome = conflicted({"a": 1, "b": 1}, [replace("", theirs)], [replace("", yours)])
    assert chosen({"a": 1, "b": 1}, [replace("", theirs)], outcome, {"": "both"}) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("rules", "theirs", "yours", "kind"),
    [
        (
            {"/o": {"object": "atomic"}},
            [replace("/o", {"a": 2, "b": 1})],
            [replace("/o", {"a": 1, "b": 2})],
            "edit_edit",
        ),
        (
            {},
            [replace("/o", {"a": 2, "b": 1}), move("/f", "/e")],
            [replace("/o", {"a": 1, "b": 2})],
            "edit_edit",
        ),
        (DEEP, [replace("/o", {"a": 2, "b": 1})], [move("/f", "/o/f"), replace("/o/b", 2)], "replace_edit"),
        (DEEP, [replace("/o", {"a": 1, "b": 2})], [move("/o/a", "/a")], "replace_edit"),
    ],
    ids=["one thing", "something moved", "moved into it", "moved out of it"],
)
def test_a_deep_merge_is_not_offered_where_it_is_no_merge_of_parts(
    rules: dict[str, Any], theirs: Patch, yours: Patch, kind: str
) -> None:
    outcome = conflicted({"o": {"a": 1, "b": 1}, "f": 1}, theirs, yours, policy(rules))
    assert conflicts_of(outcome) == [(kind, "/o")]
    assert "both" not in outcome.conflicts[0].resolutions


LONG, LONGER = "x" * 4_000, "x" * 5_000
"""Names with which a pointer is too long: such members are compared as a whole, with what they are in."""


@pytest.mark.parametrize("rules", [{}, DEEP])
def test_what_is_compared_as_a_whole_is_not_merged_deeply_again_and_again(rules: dict[str, Any]) -> None:
    theirs, yours = {LONGER: 1, "b": 0}, {LONGER: 0, "b": 2}
    outcome = conflicted(
        {"o": {LONGER: 0, "b": 0}}, [replace("/o", theirs)], [replace("/o", yours)], policy(rules)
    )
    assert list(outcome.conflicts[0].resolutions) == ["theirs", "yours", "base"]


def test_a_deep_merge_merges_deeply_inside_of_itself_too() -> None:
    def document(long: int, short: int) -> Json:
        return {"o": {"p" * 200: {LONG: long, "b": short}}}

    rules = policy({"/o/**": {"replace": "deep"}})
    theirs, yours = [replace("/o", document(1, 0)["o"])], [replace("/o", document(0, 2)["o"])]
    assert value_of(rebase(document(0, 0), [theirs], yours, rules)) == document(1, 2)
    assert conflicts_of(rebase(document(0, 0), [theirs], yours)) == [("edit_edit", "/o")]


def nested(inner: Json, depth: int) -> Json:
    for _ in range(depth):
        inner = {"a": inner}
    return inner


THING: Json = {"kind": "thing", "size": 1, "in": {}}


@pytest.mark.parametrize("rules", [{}, DEEP])
@pytest.mark.parametrize(
    ("base", "theirs", "yours"),
    [
        (nested(0, 100), nested(1, 100), nested(2, 100)),
        ({"x": 0}, {"x": 1}, {"x": 0, "y": nested(0, 100)}),
        (
            {"thing": THING, "deep": nested({}, 40)},
            {"deep": nested({"thing": THING}, 40)},
            {"thing": {**THING, "in": nested({}, 40)}, "deep": nested({}, 40)},
        ),
    ],
    ids=["compared", "added", "moved"],
)
def test_a_deep_merge_of_what_is_too_deep_for_it_is_not_offered(
    base: Json, theirs: Json, yours: Json, rules: dict[str, Any]
) -> None:
    """Whatever the limits are for what is submitted."""
    patches = [[replace("/o", theirs)]], [replace("/o", yours)]
    outcome = rebase({"o": base}, *patches, policy(rules), limits=Limits(depth_max=200))
    assert isinstance(outcome, Conflicted)
    assert list(outcome.conflicts[0].resolutions) == ["theirs", "yours", "base"]
