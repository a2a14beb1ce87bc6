"""JSON merge patches: RFC 7396 and what it does not say."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_merge.mergepatch import merge_patch
from plait_merge.values import ABSENT, Json, same

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc(target: Json, patch: Json, result: Json) -> None:
    assert same(merge_patch(target, patch), result)


def test_nulls_inside_arrays_are_values() -> None:
    assert merge_patch({"a": 1}, {"a": [None, {"b": None}]}) == {"a": [None, {"b": None}]}


def test_a_document_that_is_not_there_is_made() -> None:
    assert merge_patch(ABSENT, {"a": {"b": None, "c": 1}}) == {"a": {"c": 1}}


def test_new_members_come_last_in_the_order_of_the_patch() -> None:
    merged = merge_patch({"z": 1, "y": {"x": 1}}, {"c": {"d": 1}, "y": {"w": 2}, "b": 1, "z": 2})
    assert list(merged) == ["z", "y", "c", "b"]


def test_what_the_patch_does_not_name_stays_shared() -> None:
    target: dict[str, Json] = {"a": {"b": {}}, "c": {"d": {}}}
    merged = merge_patch(target, {"a": {"x": 1}})
    assert merged["c"] is target["c"]
    assert merged["a"]["b"] is target["a"]["b"]


@given(VALUES, VALUES)
def test_it_does_what_the_program_in_the_rfc_does_and_changes_neither(target: Json, patch: Json) -> None:
    before = copy.deepcopy((target, patch))
    merged = merge_patch(target, patch)
    assert same(merged, by_the_rfc(copy.deepcopy(target), patch))
    assert (target, patch) == before


def by_the_rfc(target: Json, patch: Json) -> Json:
    """Follow the pseudocode of RFC 7396, section 2, line by line."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = by_the_rfc(target.get(name), value)
    return target


def test_a_very_deep_merge_patch_does_not_recurse() -> None:
    patch: Json = 1
    for _ in range(100_000):
        patch = {"a": patch}
    assert same(merge_patch(ABSENT, patch), patch)
