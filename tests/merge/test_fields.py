"""Each side set other fields: the short road of merging whole values answers what the long one does."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from merge.strategies import Json, objects, patches, scalars
from plait_merge import Conflicted, LimitExceeded, Merged, Policy, apply, merge
from plait_merge.fields import merge_fields
from plait_merge.values import LIMITS, Limits, same

DEPTH = LIMITS.depth_max
LONG_ROAD = Policy()
"""A policy that says nothing; where there is one, the short road is not tried."""


@st.composite
def fields_set(draw: st.DrawFn, base: Json) -> Json:
    """Set some scalars in objects that are scalars already."""
    value = deepcopy(base)
    places = [value]
    for place in places:
        for name, part in place.items():
            if type(part) is dict:
                places.append(part)
            elif type(part) is not list and draw(st.integers(0, 3)) == 0:
                place[name] = draw(scalars)
    return value


@given(st.data())
def test_the_short_road_answers_what_the_long_one_does(data: st.DataObject) -> None:
    """Also where both have made the same of base before, whatever it was."""
    base = {"a": data.draw(objects), "b": data.draw(objects), "c": data.draw(scalars)}
    alike = apply(base, data.draw(st.just([]) | patches(base)))
    shared = alike if type(alike) is dict else base
    theirs, yours = data.draw(fields_set(shared)), data.draw(fields_set(shared))
    short, long = merge(base, theirs, yours), merge(base, theirs, yours, LONG_ROAD)
    event(f"taken: {merge_fields(base, theirs, yours, DEPTH) is not None}")
    assert type(short) is type(long)
    if isinstance(short, Merged) and isinstance(long, Merged):
        assert same(short.value, long.value)
        assert sorted(map(repr, short.patch)) == sorted(map(repr, long.patch))
        assert same(apply(theirs, short.patch), short.value)
        assert short.notes in (long.notes, ())
    elif isinstance(short, Conflicted) and isinstance(long, Conflicted):
        assert [each.as_json() for each in short.conflicts] == [each.as_json() for each in long.conflicts]


BASE: Json = {"title": "A", "done": False, "size": {"w": 1, "h": 2}, "tags": ["x"]}


def test_fields_of_both_sides_are_taken_in_the_order_of_theirs() -> None:
    theirs = {**BASE, "done": True, "tags": ["x", "y"]}
    yours = {**BASE, "size": {"w": 1, "h": 3}, "tags": ["x", "y"], "title": "B"}
    merged = merge_fields(BASE, theirs, yours, DEPTH)
    assert merged is not None
    assert json.dumps(merged.value) == json.dumps(
        {"title": "B", "done": True, "size": {"w": 1, "h": 3}, "tags": ["x", "y"]}
    )
    assert merged.patch == [
        {"op": "replace", "path": "/title", "value": "B"},
        {"op": "replace", "path": "/size/h", "value": 3},
    ]
    assert (theirs["title"], yours["done"]) == ("A", False)


def test_pointers_are_escaped() -> None:
    base = {"a/b": {"~": 1}, "c": 1}
    merged = merge_fields(base, {**base, "c": 2}, {**base, "a/b": {"~": 2}}, DEPTH)
    assert merged == Merged({"a/b": {"~": 2}, "c": 2}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}])


@pytest.mark.parametrize(
    ("theirs", "yours"),
    [
        ({"title": "B"}, {"title": "C"}),  # both set one field
        ({"new": 1}, {"title": "C"}),  # added, by either
        ({"title": "B"}, {"new": 1}),
        ({"title": "B"}, {"tags": ["x", "y"]}),  # in an array
        ({"tags": []}, {"title": "B"}),
        ({"title": "B"}, {"size": 3}),  # another kind of value
        ({"title": {}}, {"done": True}),
        ({"title": "B"}, {"done": 0}),  # another kind of scalar, which Python takes for the same
        ({"done": 0}, {"title": "B"}),
        ({"done": 0}, {"done": "yes"}),
        ({"size": {"w": True, "h": 2}}, {"size": {"w": 2, "h": 2}}),
    ],
)
def test_whatever_else_a_side_did_is_for_the_long_road(theirs: Json, yours: Json) -> None:
    assert merge_fields(BASE, {**BASE, **theirs}, {**BASE, **yours}, DEPTH) is None


@pytest.mark.parametrize("removed", ["title", "size", "tags"])
def test_a_field_that_is_gone_on_one_side_is_for_the_long_road(removed: str) -> None:
    less = {name: part for name, part in BASE.items() if name != removed}
    assert merge_fields(BASE, less, {**BASE, "done": True}, DEPTH) is None
    assert merge_fields(BASE, {**BASE, "done": True}, less, DEPTH) is None


@pytest.mark.parametrize("value", [1, "a", None, [1]])
def test_values_that_are_no_objects_are_for_the_long_road(value: Any) -> None:
    for base, theirs, yours in ((value, {}, {}), ({}, value, {}), ({}, {}, value)):
        assert merge_fields(base, theirs, yours, DEPTH) is None


def test_numbers_written_differently_are_one_thing() -> None:
    merged = merge_fields({"n": 1, "a": 1}, {"n": 1.0, "a": 1}, {"n": 1, "a": 2}, DEPTH)
    assert merged is not None
    assert repr(merged.value) == "{'n': 1.0, 'a': 2}"


def test_what_is_changed_too_deep_is_refused_as_ever() -> None:
    def nested(leaf: Json) -> Json:
        return {"a": {"b": leaf}, "c": leaf}

    base, yours = nested({"n": 1}), nested({"n": 2})
    assert merge_fields(base, base, yours, 3) is not None
    assert merge_fields(base, base, yours, 2) is None
    refusal = merge(base, base, yours, limits=Limits(depth_max=2))
    assert isinstance(refusal, LimitExceeded)
    assert refusal.limit == "depth"


def test_values_deeper_than_python_compares_are_for_the_long_road() -> None:
    deep: Json = 0
    for _ in range(100_000):
        deep = {"a": deep}
    base = {"deep": deep, "n": 1}
    assert merge_fields(base, {"deep": {"a": deep}, "n": 1}, {"deep": {"a": 1}, "n": 1}, 1 << 30) is None


def test_a_patch_that_could_not_be_submitted_is_made_anew() -> None:
    base: Json = {"a": dict.fromkeys("wxyz", 0), "b": 0}
    yours: Json = {"a": dict.fromkeys("wxyz", 1), "b": 0}
    merged = merge(base, {**base, "b": 1}, yours, limits=Limits(operations_max=3))
    assert merged == Merged({"a": yours["a"], "b": 1}, [{"op": "replace", "path": "/a", "value": yours["a"]}])
