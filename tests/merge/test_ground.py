"""What two sides known as values have in common beyond base, where they are deep or have keys."""

from __future__ import annotations

from typing import Any

from plait_merge import Conflicted, Json, LimitExceeded, Limits, Merged, Policy, merge


def test_values_edited_past_the_depth_are_refused_where_they_are() -> None:
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
