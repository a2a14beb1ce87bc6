"""What two sides known as values have in common beyond base, where they are deep or have keys."""

from __future__ import annotations

from typing import Any

import pytest

from plait_merge import Conflicted, Json, LimitExceeded, Limits, Merged, Policy, merge


def nested(x: int, y: int) -> Json:
    return {"a": {"b": {"c": {"x": x, "y": y}}}}


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "depth", "pointer"),
    [
        pytest.param(nested(0, 0), nested(1, 0), nested(0, 1), 4, "/a/b/c", id="members"),
        pytest.param(
            [nested(0, 0)], [0, nested(1, 0)], [nested(0, 1), 0], 5, "/0/a/b/c", id="elements that moved"
        ),
        pytest.param(
            [{"id": 0}, {"id": 1}],
            [{"id": 0}, {"id": 1}, {"id": 2, **nested(1, 0)}],
            [{"id": 0}, {"id": 1}, {"id": 2, **nested(0, 1)}],
            5,
            "/2/a/b/c",
            id="new elements of one key",
        ),
    ],
)
def test_values_edited_too_deep_are_refused_where_they_are(
    base: Json, theirs: Json, yours: Json, depth: int, pointer: str
) -> None:
    assert not isinstance(merge(base, theirs, yours, limits=Limits(depth_max=depth)), LimitExceeded)
    refused = merge(base, theirs, yours, limits=Limits(depth_max=depth - 1))
    assert isinstance(refused, LimitExceeded)
    assert (refused.limit, refused.pointer) == ("depth", pointer)


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


def row(name: int, **rest: Json) -> Json:
    return {"id": name, **rest}


KEYED: Json = {"": {"array": {"keyed": ["id"]}}}


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "rules", "value"),
    [
        pytest.param(["a"], ["i", "a"], ["a", "i"], {}, ["a", "i"], id="a name in two places"),
        pytest.param([0], [2, 2], [0, 2], {}, [2, 2], id="an edit to what both inserted"),
        pytest.param({"a": 0}, {"a": 0, "l": [0]}, {"a": 0, "l": []}, {}, {"a": 0, "l": [0]}, id="a list"),
        pytest.param([0, row(1)], [row(1, l=[0])], [row(1, l=[])], KEYED, [row(1, l=[0])], id="of a row"),
        pytest.param([], [row(9, o={"p": 0})], [row(9, o={})], {}, [row(9, o={"p": 0})], id="more of a row"),
        pytest.param([], [row(9, o={})], [row(9)], {}, [row(9, o={})], id="an object in one of two rows"),
        pytest.param([], [row(9, n=None)], [row(9)], {}, [row(9, n=None)], id="null in one of two rows"),
        pytest.param([], [row(9, l=[])], [row(9)], {}, [row(9, l=[])], id="a list in one of two rows"),
        pytest.param(
            [row(2, n=1)],
            [row(0, n=1)],
            [row(0, m=2)],
            {},
            [row(0, n=1, m=2)],
            id="a row renamed to a new one",
        ),
        pytest.param([row(5)], [row(1), row(0)], [row(0), 0], {}, [row(1), row(0), 0], id="one row of two"),
        pytest.param([], [[0]], [[0], [1]], {}, [[0], [1]], id="a new element"),
        *(
            pytest.param([], [[0]], [[0], [1]], {"/*": rule}, [[0], [0], [1]], id=f"{rule}, twice")
            for rule in ({"array": "atomic"}, {"array": "lines"}, {"object": "atomic"})
        ),
    ],
)
def test_what_both_inserted_alike_is_there_once(
    base: Json, theirs: Json, yours: Json, rules: dict[str, Json], value: Json
) -> None:
    outcome = merge(base, theirs, yours, Policy.read({"rules": rules}))
    assert isinstance(outcome, Merged)
    assert outcome.value == value
    assert bool(outcome.patch) == (value != theirs)


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "told"),
    [
        ({"s": None}, {"s": 0}, {}, ("remove_edit", "/s")),
        ({"s": 0}, {"s": None}, {}, ("remove_edit", "/s")),
        ([], [row(9, l=0)], [row(9, l={})], ("add_add", "/0/l")),
    ],
)
def test_null_is_not_absent_and_two_kinds_have_nothing_in_common(
    base: Json, theirs: Json, yours: Json, told: tuple[str, str]
) -> None:
    for sides in ((theirs, yours), (yours, theirs)):
        outcome = merge(base, *sides)
        assert isinstance(outcome, Conflicted)
        assert [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts] == [told]


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "arrays"),
    [
        pytest.param([row(0)], [row(1)], [row(2)], [""], id="changed by both"),
        pytest.param([row(0)], [row(1)], [row(0)], [], id="changed by theirs"),
        pytest.param([row(0)], [row(0)], [row(1)], [], id="changed by yours"),
        pytest.param([row(0)], [], [], [], id="emptied by both"),
        pytest.param({}, {"l": [row(0)]}, {"l": [row(0)]}, [], id="added by both"),
        pytest.param(
            [row(3, l=[])], [row(3, l=[row(2)])], [row(3, l=[row(2)])], ["", "/0/l"], id="in an element"
        ),
    ],
)
def test_an_inferred_key_is_told_of_where_both_changed_an_array(
    base: Json, theirs: Json, yours: Json, arrays: list[str]
) -> None:
    outcome = merge(base, theirs, yours)
    assert isinstance(outcome, Merged)
    assert [(note.note, note.pointer) for note in outcome.notes] == [("inferred_key", at) for at in arrays]
