"""Merging whole values: what is made of the merge of two patches."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import pytest

from merge.test_diff import KNOWN, parsed, places
from plait_merge import Conflicted, LimitExceeded, Limits, Merged, Policy, apply, merge, same
from plait_merge.values import LIMITS

Json: TypeAlias = Any


def merged(base: Json, theirs: Json, yours: Json, limits: Limits = LIMITS) -> Merged:
    """Merge what has to be clean; the patch is one that may be submitted, and makes the value."""
    outcome = merge(parsed(base), parsed(theirs), parsed(yours), limits=limits)
    assert isinstance(outcome, Merged), outcome
    assert same(apply(parsed(theirs), outcome.patch, limits), outcome.value)
    return outcome


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "value"),
    [
        ([1, 2, 3, 9], [1, 2, 3, 5, 7, 9], [1, 2, 3, 4, 6, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([1, 2, 3, 9], [1, 2, 3, 5, 7, 9], [2, 3, 4, 6, 8, 9], [2, 3, 4, 5, 6, 7, 8, 9]),
        ([1, 2, 3], [1, 2, 3, 5, 7], [1, 2, 3, 4, 6, 8], [1, 2, 3, 4, 5, 6, 7, 8]),
        ([5, 4, 3], [6, 5, 4, 3], [8, 7, 5, 4, 3], [8, 7, 6, 5, 4, 3]),
        # In each array by the order of its own, whichever numbers are one object in both.
        (
            {"a": [1, 2, 3, 9], "b": [1, 2, 3, 9], "c": [3, 2, 1, 9]},
            {"a": [1, 2, 3, 5, 9], "b": [1, 2, 3, 5, 9], "c": [3, 2, 1, 5, 9]},
            {"a": [1, 2, 3, 4, 9], "b": [1, 2, 3, 4, 6, 9], "c": [3, 2, 1, 4, 9]},
            {"a": [1, 2, 3, 4, 5, 9], "b": [1, 2, 3, 4, 5, 6, 9], "c": [3, 2, 1, 5, 4, 9]},
        ),
        # And nothing else of yours is, though it is the same number.
        (
            {"m": 0, "w": [7, 8], "x": [9, 5, 0], "y": [7, 9, 8, 6], "a": [1, 2, 3, 9]},
            {"m": 0, "w": [7, 8], "x": [9, 5, 0], "y": [7, 9, 8, 6], "a": [1, 2, 3, 5, 9]},
            {"m": 4, "w": [4, 7, 8], "x": [9, 5, 4], "y": [7, 9, 8, 4, 6], "a": [1, 2, 3, 4, 9]},
            {"m": 4, "w": [4, 7, 8], "x": [9, 5, 4], "y": [7, 9, 8, 4, 6], "a": [1, 2, 3, 4, 5, 9]},
        ),
        (
            [{"id": 1, "l": [1, 2, 3]}, {"id": 2, "l": [1, 2, 3]}],
            [{"id": 2, "l": [1, 2, 3, 5]}, {"id": 1, "l": [1, 2, 3, 5]}],
            [{"id": 1, "l": [1, 2, 3, 4]}, {"id": 2, "l": [1, 2, 3, 4]}],
            [{"id": 2, "l": [1, 2, 3, 4, 5]}, {"id": 1, "l": [1, 2, 3, 4, 5]}],
        ),
    ],
)
def test_runs_of_both_in_one_place_are_put_in_the_order_around(
    base: Json, theirs: Json, yours: Json, value: Json
) -> None:
    assert merged(base, theirs, yours).value == value


def nested(depth: int, value: Json) -> Json:
    for _ in range(depth):
        value = {"in": value}
    return value


def test_values_put_in_order_may_be_as_deep_as_the_limits_given() -> None:
    base: Json = [{"n": n} for n in range(4)]
    theirs, yours = [*base, {"n": 6}], [*base, {"n": 5, "v": nested(70, 1)}]
    value = [*base, yours[-1], theirs[-1]]
    assert merged(base, theirs, yours, Limits(depth_max=100)).value == value
    for around in (10, 70):
        old, one, other = (nested(around, side) for side in (base, theirs, yours))
        assert merged(old, one, other, Limits(depth_max=200)).value == nested(around, value)
    assert isinstance(merge(base, theirs, yours, limits=Limits(depth_max=60)), LimitExceeded)


def test_pointers_of_what_is_put_in_order_may_be_as_long_as_the_limits_given() -> None:
    base, theirs, yours = ({"n" * 5_000: [1, 2, 3, *more]} for more in ([], [5], [4]))
    limits = Limits(pointer_bytes_max=6_000)
    assert merged(base, theirs, yours, limits).value == {"n" * 5_000: [1, 2, 3, 4, 5]}


OTHERS: Json = {"b": 1, "c": [1]}, {"b": 2, "c": [1, 2]}, {"b": 1, "c": [1]}


@pytest.mark.parametrize("name", ["n" * 8, "é" * 4, "~" * 4, "\U0001f44d" * 2])
def test_a_patch_holds_no_longer_pointers_than_may_be_submitted(name: str) -> None:
    for before, after in (({name: 1}, {name: 2}), ({name: KNOWN, "d": {}}, {"d": {"k": KNOWN}})):
        base, theirs, yours = (
            {"": {**side, **other}} for side, other in zip((before, before, after), OTHERS, strict=True)
        )
        fits, shorter = (merged(base, theirs, yours, Limits(pointer_bytes_max=n)) for n in (10, 9))
        assert fits.value == shorter.value == {"": {**after, "b": 2, "c": [1, 2]}}
        assert "/" not in [path for _, path in places(fits.patch)]
        assert places(shorter.patch) == [("replace", "/")]


def test_a_patch_holds_no_more_operations_than_may_be_submitted() -> None:
    before, after = (dict.fromkeys("xyz", n) for n in (0, 1))
    base, theirs, yours = (
        {"o": {**side, **other}} for side, other in zip((before, before, after), OTHERS, strict=True)
    )
    for count, paths in ((3, ["/o/x", "/o/y", "/o/z"]), (2, ["/o"])):
        patch = merged(base, theirs, yours, Limits(operations_max=count)).patch
        assert places(patch) == [("replace", path) for path in paths]


def conflicts(base: Json, theirs: Json, yours: Json, rules: Json) -> Conflicted:
    outcome = merge(parsed(base), parsed(theirs), parsed(yours), Policy.read({"rules": rules}))
    assert isinstance(outcome, Conflicted), outcome
    return outcome


def test_where_both_inserted_alike_conflicts_are_told_of_base_without_that() -> None:
    outcome = conflicts(
        {"l": [{"id": 1, "t": ["x"]}], "k": 0},
        {"l": [{"id": 1, "t": ["x", "y"]}, {"id": 2}], "k": 1},
        {"l": [{"id": 1, "t": ["x", "y"]}, {"id": 3}], "k": 2},
        {"/l": {"order": "strict"}},
    )
    told = [(conflict.kind, conflict.pointer, conflict.base.value) for conflict in outcome.conflicts]
    assert told == [("edit_edit", "/k", 0), ("order", "/l", [{"id": 1, "t": ["x"]}])]
    assert [note.as_json() for note in outcome.notes] == [
        {"note": "inferred_key", "pointer": "/l", "key": ["id"]}
    ]


@pytest.mark.parametrize("rule", [{"array": {"keyed": ["id"]}}, {"keys": "strict"}])
def test_where_both_inserted_alike_two_of_one_key_are_a_duplicate(rule: Json) -> None:
    outcome = conflicts(
        {"l": [{"id": 1}], "m": ["x"]},
        {"l": [{"id": 1}, {"id": 2, "n": 1}], "m": ["x", "y"]},
        {"l": [{"id": 1}, {"id": 2, "n": 2}], "m": ["x", "y"]},
        {"/l": rule},
    )
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.pointer, conflict.base.present) == ("duplicate_key", "/l/-", False)


def test_a_rule_may_be_about_one_element() -> None:
    """Of two arrays in an array, the elements of one have no key."""
    base: Json = [[{"id": n, "v": [name]} for n in range(3)] for name in "ab"]
    theirs, yours = ([[*rows, {"id": 3, side: 1}] for rows in base] for side in "ty")
    outcome = merge(base, theirs, yours, Policy.read({"rules": {"/0": {"keys": "off"}}}))
    assert isinstance(outcome, Merged)
    assert outcome.value == [[*theirs[0], yours[0][-1]], [*base[1], {"id": 3, "t": 1, "y": 1}]]
    assert [note.pointer for note in outcome.notes] == ["/1"]


def test_an_array_that_is_another_ones_likeness_only_later_need_not_have_its_key() -> None:
    """On the common ground an array may be paired with another one than before."""
    base = [[], [{"id": 2, "n": 3}, {"id": 3}], [], {"a": [{}]}]
    theirs = [[{"id": 2, "n": 3}, {"id": 7}], [], {"a": [{}, {}]}]
    yours = [[{}, {"id": 2, "n": 3}], {"a": [{}, {}]}]
    for one, other in ((theirs, yours), (yours, theirs)):
        assert isinstance(merge(base, one, other), Merged | Conflicted)


def test_many_insertions_to_be_put_in_order_take_no_seconds() -> None:
    """Small numbers are one object everywhere: each that is set or added might begin any of the runs."""
    count, seconds = 4_000, 10
    names = [f"z{n}" for n in range(count)]
    base: Json = {"set": dict.fromkeys(names, 0), "grown": {name: [1, 2, 3] for name in names}}
    theirs = {**base, "grown": {name: [1, 2, 3, 5] for name in names}}
    yours = {"set": dict.fromkeys(names, 4), "grown": {name: [1, 2, 3, 4] for name in names}}
    began = time.process_time()
    outcome = merge(parsed(base), parsed(theirs), parsed(yours))
    assert time.process_time() - began < seconds
    assert isinstance(outcome, Merged)
    assert outcome.value == {**yours, "grown": {name: [1, 2, 3, 4, 5] for name in names}}
