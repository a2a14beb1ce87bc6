"""Merging whole values: what is made of the merge of two patches."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest

from merge.test_diff import KNOWN, parsed, places
from plait_merge import LimitExceeded, Limits, Merged, apply, merge, same
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


OTHERS: Json = {"b": 1, "c": [1]}, {"b": 2, "c": [1, 2]}, {"b": 1, "c": [1]}


@pytest.mark.parametrize("name", ["n" * 8, "é" * 4, "~" * 4, "\U0001f44d" * 2])
def test_a_patch_holds_no_longer_pointers_than_may_be_submitted(name: str) -> None:
    for before, after in (({name: 1}, {name: 2}), ({name: KNOWN, "d": {}}, {"d": {"k": KNOWN}})):
        base, theirs, yours = (
            {**side, **other} for side, other in zip((before, before, after), OTHERS, strict=True)
        )
        fits, shorter = (merged(base, theirs, yours, Limits(pointer_bytes_max=n)) for n in (9, 8))
        assert fits.value == shorter.value == {**after, "b": 2, "c": [1, 2]}
        assert all(path for _, path in places(fits.patch))
        assert places(shorter.patch) == [("replace", "")]


def test_a_patch_holds_no_more_operations_than_may_be_submitted() -> None:
    before, after = (dict.fromkeys("xyz", n) for n in (0, 1))
    base, theirs, yours = (
        {**side, **other} for side, other in zip((before, before, after), OTHERS, strict=True)
    )
    for count, paths in ((3, ["/x", "/y", "/z"]), (2, [""])):
        patch = merged(base, theirs, yours, Limits(operations_max=count)).patch
        assert places(patch) == [("replace", path) for path in paths]
