"""What a policy decides of conflicts that the long road finds: with moves, in arrays, several at once."""

from __future__ import annotations

from typing import Any

import pytest

from merge.strategies import Patch, add, move, remove, replace
from merge.test_policies import LINES, conflicts_of, extended, inc, notes_of, policy, value_of
from plait_merge import InvalidValue, Json, rebase

LONG: Patch = [move("/from", "/to")]
"""Done by one side, it takes the merge by the long road."""


@pytest.mark.parametrize(
    ("rule", "elements"),
    [({"/l": {"array": "set"}}, [1, 2, 3]), (LINES, [{"sku": 1}, {"sku": 2}, {"sku": 3}])],
    ids=["set", "keyed"],
)
def test_what_one_side_removes_and_the_other_only_moves_within_is_removed(
    rule: dict[str, Any], elements: list[Json]
) -> None:
    removed, moved = [remove("/l/0")], [move("/l/0", "/l/2")]
    for theirs, yours in ((removed, moved), (moved, removed)):
        outcome = rebase({"l": elements}, [theirs], yours, policy(rule))
        assert value_of(outcome) == {"l": elements[1:]}
    (note,) = notes_of(outcome)
    assert note[0] == ("keyed" if rule is LINES else "set")


def test_what_one_side_removes_and_the_other_moves_out_is_somebodys_to_decide() -> None:
    base: Json = {"l": [{"sku": 1}, {"sku": 2}]}
    removed, moved = [remove("/l/0")], [move("/l/0", "/k")]
    for theirs, yours in ((removed, moved), (moved, removed)):
        assert conflicts_of(rebase(base, [theirs], yours, policy(LINES))) == [("move_remove", "/l/0")]


def test_what_one_side_removes_and_the_other_moves_and_edits_is_somebodys_to_decide() -> None:
    base: Json = {"l": [{"sku": 1, "n": 1}, {"sku": 2}]}
    removed, edited = [remove("/l/0")], [move("/l/0", "/l/1"), replace("/l/1/n", 2)]
    for theirs, yours in ((removed, edited), (edited, removed)):
        assert len(conflicts_of(rebase(base, [theirs], yours, policy(LINES)))) == 1


@pytest.mark.parametrize("long", [[], LONG], ids=["by the short road", "by the long road"])
def test_a_resolver_that_takes_a_side_is_noted(long: Patch) -> None:
    for taken in (2, 3):
        rules = policy({"/a": {"resolver": "r"}}, r=lambda *asked, taken=taken: taken)
        outcome = rebase({"a": 1, "from": 0}, [[replace("/a", 2), *long]], [replace("/a", 3)], rules)
        assert value_of(outcome)["a"] == taken
        assert notes_of(outcome) == [("resolver", 0, "/a")]


@pytest.mark.parametrize("long", [[], LONG], ids=["by the short road", "by the long road"])
def test_a_resolver_that_answers_with_no_json_is_told_where(long: Patch) -> None:
    rules = policy({"/a": {"resolver": "r"}}, r=lambda *asked: {"b": {1, 2}})
    with pytest.raises(InvalidValue) as told:
        rebase({"a": 1, "from": 0}, [[replace("/a", 2), *long]], [replace("/a", 3)], rules)
    assert told.value.pointer == "/a/b"


@pytest.mark.parametrize("long", [[], LONG], ids=["by the short road", "by the long road"])
def test_what_one_side_added_is_added_to_what_the_other_set(long: Patch) -> None:
    added, put = extended(inc("/n", 2), *long), extended(replace("/n", 10))
    for theirs, yours in ((added, put), (put, added)):
        assert value_of(rebase({"n": 1, "from": 0}, [theirs], yours))["n"] == 12


@pytest.mark.parametrize("long", [[], LONG], ids=["by the short road", "by the long road"])
def test_two_new_contents_are_merged_deeply_where_a_policy_says_so(long: Patch) -> None:
    base: Json = {"o": {"a": 0, "b": 0}, "from": 0}
    theirs, yours = [replace("/o", {"a": 1, "b": 0}), *long], [replace("/o", {"a": 0, "b": 2})]
    outcome = rebase(base, [theirs], yours, policy({"/o": {"replace": "deep"}}))
    assert value_of(outcome)["o"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("side", ["theirs", "yours"])
def test_what_can_only_be_settled_together_is_decided_if_all_of_it_is_decided_alike(side: str) -> None:
    """Both move one thing, yours to where theirs added another: one choice for two places."""
    base: Json = {"a": 1}
    theirs, yours = [move("/a", "/c"), add("/b", 2)], [move("/a", "/b")]
    both = {"/a": {"scalar": side}, "/b": {"scalar": side}}
    settled = {"theirs": {"b": 2, "c": 1}, "yours": {"b": 1}}
    assert value_of(rebase(base, [theirs], yours, policy(both))) == settled[side]
    other = {"theirs": "yours", "yours": "theirs"}[side]
    for rules in ({"/a": both["/a"]}, {"/b": both["/b"]}, {**both, "/b": {"scalar": other}}):
        assert len(conflicts_of(rebase(base, [theirs], yours, policy(rules)))) == 1


def test_an_element_of_a_set_that_one_side_edits_is_not_removed_by_the_other() -> None:
    base: Json = {"l": [{"n": 1}, {"n": 2}]}
    removed, edited = [remove("/l/0")], [replace("/l/0/n", 3)]
    for theirs, yours in ((removed, edited), (edited, removed)):
        outcome = rebase(base, [theirs], yours, policy({"/l": {"array": "set"}}))
        assert sorted(element["n"] for element in value_of(outcome)["l"]) == [2, 3]
