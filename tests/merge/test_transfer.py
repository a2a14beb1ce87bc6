"""What a comparison knows again in another container: moves that nobody said."""

from __future__ import annotations

import pytest

from plait_merge import Json, apply, diff
from plait_merge.transfer import TRANSFERS_MAX


def thing(number: int) -> Json:
    return {"number": number, "kind": "thing", "size": 1}


ROW: Json = {"id": 7, "name": "row", "size": 2}


def moves(base: Json, target: Json) -> list[tuple[str, str]]:
    patch = diff(base, target)
    assert apply(base, patch) == target
    return [(operation["from"], operation["path"]) for operation in patch if operation["op"] == "move"]


@pytest.mark.parametrize("value", [thing(1), [1, 2, 3], [1, [2]], {"a": {"b": {"c": 1}}}])
def test_what_holds_three_parts_is_known_again(value: Json) -> None:
    assert moves({"a": {"x": value}, "b": {}}, {"a": {}, "b": {"y": value}}) == [("/a/x", "/b/y")]


@pytest.mark.parametrize("value", [1, "a text of some length", [], [1, 2], {"a": 1, "b": 2}, {"a": {"b": 1}}])
def test_what_holds_less_may_be_anybodys(value: Json) -> None:
    assert moves({"a": {"x": value}, "b": {}}, {"a": {}, "b": {"y": value}}) == []


def test_what_is_there_twice_is_not_known_again() -> None:
    one = thing(1)
    assert moves({"a": {"x": one, "y": one}, "b": {}}, {"a": {}, "b": {"x": one}}) == []
    assert moves({"a": {"x": one}, "b": {}}, {"a": {}, "b": {"x": one, "y": one}}) == []


@pytest.mark.parametrize(
    ("apart", "together", "out", "back"),
    [
        (
            {"l": ["x", "y"], "m": {"a": thing(1), "b": thing(2), "c": thing(3)}},
            {"l": [thing(1), "x", thing(2), "y", thing(3)], "m": {}},
            [("/m/a", "/l/0"), ("/m/b", "/l/2"), ("/m/c", "/l/4")],
            [("/l/4", "/m/c"), ("/l/2", "/m/b"), ("/l/0", "/m/a")],
        ),
        (
            {"l": [ROW], "m": {"a": thing(1), "b": thing(2)}},
            {"l": [thing(1), {**ROW, "in": thing(2)}], "m": {}},
            [("/m/a", "/l/0"), ("/m/b", "/l/1/in")],
            [("/l/0", "/m/a"), ("/l/0/in", "/m/b")],
        ),
    ],
    ids=["of one array", "of an array and of what is in it"],
)
def test_each_move_says_where_things_are_after_those_before_it(
    apart: Json, together: Json, out: list[tuple[str, str]], back: list[tuple[str, str]]
) -> None:
    assert moves(apart, together) == out
    assert moves(together, apart) == back


def test_what_goes_into_its_follower_is_left_out_and_nothing_else() -> None:
    base: Json = {"l": [thing(1), ["k", 1, 2]], "m": {"a": thing(2)}}
    target: Json = {"l": [["k", 1, 2, thing(1)]], "m": {}, "n": thing(2)}
    assert moves(base, target) == [("/m/a", "/n")]


def test_there_are_only_so_many_moves_or_none() -> None:
    for number, found in ((TRANSFERS_MAX, TRANSFERS_MAX), (TRANSFERS_MAX + 1, 0)):
        things = {str(n): thing(n) for n in range(number)}
        assert len(moves({"a": things, "b": {}}, {"a": {}, "b": things})) == found
