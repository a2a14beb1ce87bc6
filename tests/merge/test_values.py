"""What a JSON value is, when two are the same, and where the limits are."""

from __future__ import annotations

import copy
import json
import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plait_merge.values import (
    ABSENT,
    LIMITS,
    Absent,
    InvalidValue,
    Json,
    LimitExceeded,
    Limits,
    check_value,
    has_more_parts,
    is_within_depth,
    same,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 1.0, 0.5, 10**30, 1e30, 2**53 + 1])
    | st.text(max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> Json:
    """Build containers inside one another, objects and arrays by turns."""
    value: Json = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_absent_is_one_falsy_object_that_copies_and_pickles_as_itself() -> None:
    assert Absent() is ABSENT
    assert not ABSENT
    assert repr(ABSENT) == "ABSENT"
    assert copy.copy(ABSENT) is ABSENT
    assert copy.deepcopy({"a": [ABSENT]}) == {"a": [ABSENT]}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ABSENT, protocol)) is ABSENT


def test_absent_is_not_null() -> None:
    assert not same(ABSENT, None)
    assert not same(None, ABSENT)
    assert same(ABSENT, ABSENT)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (0, -0.0),
        (0.0, -0.0),
        (10**22, 1e22),
        ("é", "é"),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}),
        ([[], {}], [[], {}]),
        (10**999, 10**999),
    ],
)
def test_values_that_are_the_same(a: Json, b: Json) -> None:
    assert same(a, b)
    assert same(b, a)
    assert same([a], [b])
    assert same({"m": a}, {"m": b})


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (True, 1),
        (False, 0),
        (True, 1.0),
        (False, ""),
        (None, False),
        (None, 0),
        (1, "1"),
        (True, False),
        ("", []),
        ([], {}),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"b": 1}),
        ({"a": None}, {"b": None}),
        ({"a": None}, {}),
        ({"a": 1}, {"a": 1, "b": 1}),
        (2**53, float(2**53) + 2),
        (2**53 + 1, float(2**53)),
        (10**23, 1e23),
        ("é", "e\u0301"),
    ],
)
def test_values_that_are_not_the_same(a: Json, b: Json) -> None:
    assert not same(a, b)
    assert not same(b, a)
    assert not same([a], [b])
    assert not same({"m": a}, {"m": b})
    assert not same([0, {"m": [a]}], [0, {"m": [b]}])


@given(VALUES, VALUES)
@example([True], [1])
def test_same_agrees_with_comparing_canonical_texts(a: Json, b: Json) -> None:
    assert same(a, b) == (canonical(a) == canonical(b))


def canonical(value: Json) -> Any:
    """Say the kind with every scalar, and write numbers as fractions."""
    if isinstance(value, dict):
        return {name: canonical(part) for name, part in value.items()}
    if isinstance(value, list):
        return [canonical(part) for part in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (type(value).__name__, value)
    return ("number", Fraction(value))


def test_comparing_very_deep_values_does_not_recurse() -> None:
    assert same(nested(100_000), nested(100_000))


@given(VALUES)
def test_every_json_value_is_accepted(value: Json) -> None:
    check_value(value)


@pytest.mark.parametrize(
    ("value", "pointer", "reason"),
    [
        (float("nan"), "", "number is not finite"),
        ([1, float("inf")], "/1", "number is not finite"),
        ({"a": {"b/c": [float("-inf")]}}, "/a/b~1c/0", "number is not finite"),
        ("\ud800", "", "string has a lone surrogate"),
        (["é", "\udfff"], "/1", "string has a lone surrogate"),
        ({"a": {"\ud800": 1}}, "/a", "member name has a lone surrogate"),
        ({"a": {1: 1}}, "/a", "member name is a int, not a string"),
        ({"a": (1, 2)}, "/a", "tuple is not a JSON type"),
        ({"a": [b""]}, "/a/0", "bytes is not a JSON type"),
        (ABSENT, "", "Absent is not a JSON type"),
    ],
)
def test_what_is_not_json_is_refused_where_it_stands(value: Json, pointer: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_value(value)
    assert (refused.value.pointer, refused.value.reason) == (pointer, reason)
    with pytest.raises(InvalidValue) as refused:
        check_value(value, pointer="/x")
    assert refused.value.pointer == "/x" + pointer


def test_integers_are_exact_up_to_a_thousand_digits() -> None:
    check_value([10**1000 - 1, 1 - 10**1000])
    for value in (10**1000, -(10**1000), 1 << 100_000):
        with pytest.raises(LimitExceeded) as exceeded:
            check_value({"n": value})
        assert (exceeded.value.limit, exceeded.value.pointer) == ("integer_digits", "/n")


def test_depth_is_the_number_of_containers_around_a_scalar() -> None:
    check_value(nested(64))
    assert is_within_depth(nested(64), 64)
    assert not is_within_depth(nested(64), 63)
    assert is_within_depth(1, 0)
    assert not is_within_depth([], 0)
    with pytest.raises(LimitExceeded) as exceeded:
        check_value(nested(65))
    assert exceeded.value.limit == "depth"
    assert exceeded.value.pointer.count("/") == 64
    with pytest.raises(LimitExceeded):
        check_value(nested(3), Limits(depth_max=2))


def test_parts_are_the_members_and_elements_at_all_depths() -> None:
    assert not has_more_parts("text", 0)
    for value, parts in (([1], 1), ([[], {}], 2), ({"a": {"b": [1, 2]}}, 4)):
        assert has_more_parts(value, parts - 1)
        assert not has_more_parts(value, parts)


def test_a_hostile_depth_is_refused_without_recursion() -> None:
    with pytest.raises(LimitExceeded):
        check_value(nested(200_000))
    assert not is_within_depth(nested(200_000), LIMITS.depth_max)


def test_a_value_inside_itself_is_too_deep() -> None:
    knot: list[Json] = []
    knot.append(knot)
    with pytest.raises(LimitExceeded):
        check_value(knot)


@given(VALUES)
def test_a_value_is_the_same_after_a_round_trip_through_json(value: Json) -> None:
    assert same(json.loads(json.dumps(value)), value)
