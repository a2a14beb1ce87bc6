"""Elements of sets and keyed arrays: what two that are known by one key come to."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest

from merge.strategies import Patch, add, replace
from plait_merge import Conflicted, Policy, Rebased, rebase

Json: TypeAlias = Any

DUPLICATE = [("duplicate_key", "/l/-")]


def merged(base: Json, theirs: Patch, yours: Patch, rules: Json) -> Json:
    """Give the array a merge comes to, or the kinds and places of its conflicts."""
    outcome = rebase({"l": base}, [theirs], yours, Policy.read({"rules": rules}, {"sevens": lambda *_: 77}))
    if isinstance(outcome, Conflicted):
        return [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]
    assert isinstance(outcome, Rebased), outcome
    value: Json = outcome.value
    return value["l"]


@pytest.mark.parametrize(
    ("rule", "theirs", "yours", "member"),
    [
        ({}, 1, 5, DUPLICATE),
        ({}, {"x": 1}, {"y": 2}, {"x": 1, "y": 2}),
        ({}, {"x": 1}, {"x": 2}, DUPLICATE),
        ({}, {"x": 1}, 5, DUPLICATE),
        ({}, 5, {"x": 1}, DUPLICATE),
        ({"object": "atomic"}, {"x": 1}, {"y": 2}, DUPLICATE),
        ({"scalar": "theirs"}, 1, "5", 1),
        ({"scalar": "yours"}, 1, "5", "5"),
        ({"scalar": "max"}, 1, 5, 5),
        ({"scalar": "max"}, 1, "5", DUPLICATE),
        ({"scalar": "max"}, "1", 5, DUPLICATE),
        ({"scalar": "min"}, 1, 5, 1),
        ({"scalar": "sum"}, 1, 5, 6),
        ({"scalar": "newest"}, "plait 0.1.9", "plait 0.1.10", "plait 0.1.10"),
        ({"scalar": "newest"}, "plait 0.1.9", "braid 0.1.10", DUPLICATE),
        ({"resolver": "sevens"}, 1, "5", 77),
    ],
)
def test_two_new_elements_of_one_key_are_one_where_each_member_is_decided(
    rule: Json, theirs: Json, yours: Json, member: Json
) -> None:
    rules = {"/l": {"array": {"keyed": ["sku"]}}, "/l/*/n": rule}
    one, other = ([add("/l/-", {"sku": 1, "n": n})] for n in (theirs, yours))
    assert merged([], one, other, rules) == (DUPLICATE if member is DUPLICATE else [{"sku": 1, "n": member}])


def test_equal_elements_are_told_apart_in_every_way_json_does() -> None:
    """In a set a value that is there once for each side is there once, whatever is around it."""
    values: list[Json] = [1, True, None, "1", [], [1], {"a": 1}, {"a": True}, {"a": [1]}, 2**60, 0.5]
    for theirs in values:
        yours = [value for value in values if value is not theirs]
        one, other = ([add("/l/-", value) for value in side] for side in ([theirs], [*yours, theirs]))
        assert merged([0], one, other, {"/l": {"array": "set"}}) == [0, theirs, *yours]


KEYED: Json = {"/l": {"array": {"keyed": ["sku", "size"]}}}


def test_only_what_gives_or_takes_a_key_is_compared_by_it() -> None:
    assert merged([], [add("/l/-", {"n": 1})], [add("/l/-", {"n": 1})], KEYED) == [{"n": 1}]
    assert merged([{}], [replace("/l", 5)], [add("/l/-", {"n": 1})], KEYED) == [("replace_edit", "/l")]
    base, anew = [{"sku": 1, "size": 1}], {"sku": 1, "size": 1, "n": 5}
    renamed = [replace("/l/0/sku", 2), add("/l/-", base[0])]
    outcome = rebase({"l": base}, [[replace("/l/0", anew)]], renamed, Policy.read({"rules": KEYED}))
    assert isinstance(outcome, Conflicted)
    assert (outcome.conflicts[0].kind, outcome.clean_operations) == ("replace_edit", (1,))


def test_what_has_no_key_is_told_where_something_that_could_be_one_changed() -> None:
    for member, noted in (("n", []), ("size", [("unkeyed", "/l/0/size")])):
        outcome = rebase(
            {"l": [{}]}, [[add("/l/-", 1)]], [add(f"/l/0/{member}", 0)], Policy.read({"rules": KEYED})
        )
        assert isinstance(outcome, Rebased)
        assert [(note.note, note.pointer) for note in outcome.notes] == noted
