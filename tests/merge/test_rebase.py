"""What `rebase` and `carry` answer, whatever road through the engine is taken: limits, guards, mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from merge.strategies import add, guard, move, replace
from plait_merge import Conflicted, Inapplicable, Json, LimitExceeded, Limits, Policy, Rebased, rebase
from plait_merge.patch import read_patch
from plait_merge.rebase import carry

SHALLOW = Limits(depth_max=3)
SHORT = Limits(operations_max=1)
DEEP: Json = {"a": {"b": {"c": {}}}}


def limit(outcome: object) -> str:
    assert isinstance(outcome, LimitExceeded)
    return outcome.limit


def test_a_patch_past_the_limits_is_refused_wherever_it_stands() -> None:
    deep = [add("/x", DEEP)]
    assert limit(rebase({}, [], deep, limits=SHALLOW)) == "depth"
    assert limit(rebase({}, [[add("/y", 1)]], deep, limits=SHALLOW)) == "depth"
    assert limit(rebase({}, [deep], [add("/y", 1)], limits=SHALLOW)) == "depth"
    assert limit(carry({}, {}, deep, limits=SHALLOW)) == "depth"
    whole: Json = {}
    assert limit(carry(whole, whole, deep, limits=SHALLOW)) == "depth"


def test_a_patch_of_too_many_operations_is_refused_wherever_it_stands() -> None:
    long = [add("/x", 1), add("/y", 1)]
    assert limit(rebase({}, [], long, limits=SHORT)) == "operations"
    assert limit(rebase({}, [long], [add("/z", 1)], limits=SHORT)) == "operations"
    assert limit(carry({}, {}, long, limits=SHORT)) == "operations"


@pytest.mark.parametrize(
    ("limits", "passed"),
    [(Limits(depth_max=4), "depth"), (Limits(pointer_bytes_max=8), "pointer_bytes")],
    ids=["depth", "pointer_bytes"],
)
def test_what_is_within_the_limits_on_either_side_may_pass_them_together(limits: Limits, passed: str) -> None:
    """Theirs moves a thing further in, yours adds something in it."""
    theirs, yours = [move("/x", "/yyyy/x")], [add("/x/aaa/b", {})]
    base: Json = {"x": {"aaa": {}}, "yyyy": {}}
    assert isinstance(rebase(base, [], yours, limits=limits), Rebased)
    assert isinstance(rebase(base, [], theirs, limits=limits), Rebased)
    assert limit(rebase(base, [theirs], yours, limits=limits)) == passed


def test_a_number_both_add_to_is_within_the_limits() -> None:
    limits = Limits(integer_digits_max=3)
    added = [read_patch([{"op": "inc", "path": "/n", "value": n}], extended=True) for n in (600, 700)]
    assert limit(rebase({"n": 0}, added[:1], added[1], limits=limits)) == "integer_digits"
    assert limit(carry({"n": 0}, {"n": 600}, added[1], limits=limits)) == "integer_digits"


@pytest.mark.parametrize(
    "theirs", [[], [[add("/b", 1)]], [[move("/c", "/d")]]], ids=["none", "apart", "woven"]
)
def test_guards_that_hold_are_no_part_of_the_answer(theirs: list[list[dict[str, Any]]]) -> None:
    outcome = rebase({"a": 1, "c": 1}, theirs, [guard("/a", 1), guard("/c", 1), replace("/a", 2)])
    assert isinstance(outcome, Rebased)
    assert outcome.patch == [replace("/a", 2)]


def test_guards_are_no_part_of_what_is_carried() -> None:
    outcome = carry({"a": 1}, {"a": 1, "b": 1}, [guard("/a", 1), replace("/a", 2)])
    assert outcome == Rebased({"a": 2, "b": 1}, [replace("/a", 2)])


@pytest.mark.parametrize(
    ("word", "answer"), [("theirs", Conflicted), ("min", Conflicted), ("yours", Rebased), ("max", Rebased)]
)
def test_a_guard_sees_what_is_decided_though_both_end_alike(word: str, answer: type) -> None:
    """Yours comes to what theirs has set, but by a value of its own, and looks whether it is there."""
    policy = Policy.read({"rules": {"/a": {"scalar": word}}})
    yours = [replace("/a", 3), guard("/a", 3), replace("/a", 2)]
    assert isinstance(rebase({"a": 1}, [[replace("/a", 2)]], yours, policy), answer)


def test_theirs_that_do_not_apply_are_named() -> None:
    with pytest.raises(ValueError, match=r"^theirs\[1\] does not apply: ") as told:
        rebase({}, [[add("/a", 1)], [replace("/b", 1)]], [add("/c", 1)])
    assert isinstance(told.value.__cause__, Inapplicable)


# -- numbers past the limits that hold where nothing else is said


@pytest.mark.parametrize("theirs", [[], [[add("/m", 1)]], [[replace("/n", 0)]]], ids=["none", "apart", "met"])
def test_what_is_added_up_is_within_the_limits_that_are_given(theirs: list[list[dict[str, Any]]]) -> None:
    large = 10**2000
    yours = read_patch([{"op": "inc", "path": "/n", "value": large}], extended=True)
    outcome = rebase({"n": 0}, theirs, yours, limits=Limits(integer_digits_max=3000))
    assert isinstance(outcome, Rebased)
    value: Json = outcome.value
    assert value["n"] == large


def nested_in_arrays(depth: int) -> Json:
    return [nested_in_arrays(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("value", "limits"),
    [("x" * 2_000_000, Limits()), (nested_in_arrays(100), Limits(depth_max=200))],
    ids=["large", "deep"],
)
def test_a_guard_behind_a_move_sees_values_of_any_size(value: Json, limits: Limits) -> None:
    base: Json = {"g": {}, "f": {"z": 1}, "o": 1}
    theirs = [replace("/f/z", 2), move("/f", "/h")]
    yours = [move("/o", "/p"), add("/g/n", value), guard("/g", {"n": value}), add("/f/w", 1)]
    assert isinstance(rebase(base, [theirs], yours, limits=limits), Rebased)
