"""What two sides known as values have in common beyond base, where they are deep or have keys."""

from __future__ import annotations

from typing import Any

import pytest

from plait_merge import Conflicted, Json, LimitExceeded, Limits, Merged, Policy, merge


def test_values_edited_too_deep_are_refused_where_they_are() -> None:
    def nested(x: int, y: int) -> Json:
        return {"a": {"b": {"c": {"x": x, "y": y}}}}

    values = nested(0, 0), nested(1, 0), nested(0, 1)
    assert isinstance(merge(*values, limits=Limits(depth_max=4)), Merged)
    refused = merge(*values, limits=Limits(depth_max=3))
    assert isinstance(refused, LimitExceeded)
    assert (refused.limit, refused.pointer) == ("depth", "/a/b/c")


def test_two_new_elements_of_one_name_are_a_conflict_in_every_array_that_is_strict() -> None:
    def rows(*new: Json) -> Any:
        old = [{"id": 1, "n": 1}, {"id": 2, "n": 2}]
        return {"p": {"l": [*old, *new]}, "q": [{"l": [*old, *new]}, {"m": [*old, *new]}], "r": 0}

    base, theirs, yours = rows(), rows({"id": 3, "n": 1}), rows({"id": 3, "n": 2})
    strict = Policy.read({"rules": {"/**": {"keys": "strict"}}})
    outcome = merge(base, theirs, yours, strict)
    assert isinstance(outcome, Conflicted)
    found = [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]
    assert found == [("duplicate_key", pointer) for pointer in ("/p/l/-", "/q/0/l/-", "/q/1/m/-")]


ONE: Json = {"id": 1, "v": 0}
TWO: Json = {"id": 2, "v": 0}
NEW: Json = {"id": 9, "v": 9}


def three(v: int) -> Json:
    return {"id": 3, "v": v}


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "told"),
    [
        pytest.param(
            [ONE, {"id": 2, "m": [TWO]}],
            [NEW, ONE, {"id": 2, "m": [NEW, {"id": 2, "v": 1}]}],
            [NEW, ONE, {"id": 2, "m": [NEW, {"id": 2, "v": 2}]}],
            ("edit_edit", "/l/1/m/0/v", {"present": True, "value": 0}),
            id="behind what both inserted",
        ),
        pytest.param(
            [ONE, TWO],
            [ONE, NEW, three(1), TWO],
            [ONE, NEW, three(2), TWO],
            ("add_add", "/l/1/v", {"present": False}),
            id="in what both inserted",
        ),
        pytest.param(
            [ONE, TWO],
            [{"id": 1, "v": 0, "o": {"p": 1}}, NEW, TWO],
            [{"id": 1, "v": 0, "o": {"p": 2}}, NEW, TWO],
            ("add_add", "/l/0/o/p", {"present": False}),
            id="in what both added",
        ),
    ],
)
def test_a_conflict_is_where_base_has_it_whatever_both_inserted(
    base: Json, theirs: Json, yours: Json, told: tuple[str, str, Json]
) -> None:
    outcome = merge({"l": base}, {"l": theirs}, {"l": yours})
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.pointer, conflict.base.as_json()) == told


@pytest.mark.parametrize("rule", [{"keys": "strict"}, {"array": {"keyed": ["id"]}}], ids=["strict", "keyed"])
def test_two_new_elements_of_one_key_are_a_conflict_whatever_both_inserted_elsewhere(rule: Json) -> None:
    policy = Policy.read({"rules": {"/l": rule}})
    base, theirs, yours = (
        {"l": [ONE, TWO, *new], "m": m} for new, m in (([], []), ([three(1)], [0]), ([three(2)], [0]))
    )
    outcome = merge(base, theirs, yours, policy)
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.pointer, conflict.base.present) == ("duplicate_key", "/l/-", False)


@pytest.mark.parametrize("gap", range(4))
def test_three_neighbours_are_enough_to_tell_an_order(gap: int) -> None:
    base = [10, 20, 30]
    theirs, yours = ([*base[:gap], new, *base[gap:]] for new in (10 * gap + 6, 10 * gap + 3))
    outcome = merge(base, theirs, yours)
    assert isinstance(outcome, Merged)
    assert outcome.value == sorted({*theirs, *yours})
