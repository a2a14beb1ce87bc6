"""Patches made of patches: inverse, composed, guarded."""

from __future__ import annotations

from copy import deepcopy
from functools import reduce
from itertools import product
from typing import Any, TypeAlias

import pytest
from hypothesis import given

from merge.strategies import Scene, add, copy, crowded_scenes, guard, move, remove, replace, scenes
from plait_merge import (
    Conflicted,
    Inapplicable,
    LimitExceeded,
    Limits,
    Rebased,
    apply,
    compose,
    guarded,
    invert,
    rebase,
    same,
)

Json: TypeAlias = Any
any_scenes = scenes(tests=True) | crowded_scenes()


@given(any_scenes)
def test_a_patch_and_its_inverse_leave_things_as_they_were(scene: Scene) -> None:
    before = deepcopy(scene)
    there = apply(scene.base, scene.yours)
    assert same(apply(there, invert(scene.base, scene.yours)), scene.base)
    assert scene == before


@given(any_scenes)
def test_the_inverse_of_the_inverse_does_what_the_patch_does(scene: Scene) -> None:
    there = apply(scene.base, scene.yours)
    undo = invert(scene.base, scene.yours)
    assert same(apply(scene.base, invert(there, undo)), there)


@given(any_scenes)
def test_an_inverse_stays_as_it_was_when_written(scene: Scene) -> None:
    """No value in it is a part of a document that is still being edited."""
    undo = invert(scene.base, scene.yours)
    written = deepcopy(undo)
    apply(apply(scene.base, scene.yours), undo)
    assert undo == written


@pytest.mark.parametrize(
    ("before", "patch", "inverse"),
    [
        ({"a": 1}, [replace("/a", 2)], [replace("/a", 1)]),
        ({"a": 1}, [add("/a", 2)], [replace("/a", 1)]),
        ({"a": 1}, [add("/b", 2)], [remove("/b")]),
        ({"a": 1}, [remove("/a")], [add("/a", 1)]),
        ([1, 2], [add("/-", 3)], [remove("/2")]),
        ([1, 2, 3], [move("/0", "/-")], [move("/2", "/0")]),
        ({"a": 1, "b": 2}, [move("/a", "/b")], [move("/b", "/a"), add("/b", 2)]),
        ({"a": {"b": 1}}, [move("/a/b", "/a")], [move("/a", "/a~0"), add("/a", {}), move("/a~0", "/a/b")]),
        ([{"a": 1}], [move("/0/a", "/0")], [move("/0", "/1"), move("/1", "/0/a")]),
        ({"a": {"b": 1}}, [move("/a/b", "")], [replace("", {"a": {"b": 1}})]),
        ({"a": 1}, [copy("/a", "/b")], [remove("/b")]),
        ({"a": 1, "b": 2}, [copy("/a", "/b")], [replace("/b", 2)]),
        ({"a": 1}, [guard("/a", 1)], []),
        (
            [1, 5, {"a": 2}],
            [move("/0", "/1/a")],
            [move("/1/a", "/1/a~0"), add("/1/a", 2), move("/1/a~0", "/0")],
        ),
        ([1], [add("", 2)], [replace("", [1])]),
        ({"x": [{"a": 1}]}, [move("/x/0/a", "/x/0")], [move("/x/0", "/x/1"), move("/x/1", "/x/0/a")]),
        (
            {"l": [1, 2], "b": 5},
            [move("/l/0", "/b")],
            [move("/b", "/b~0"), add("/b", 5), move("/b~0", "/l/0")],
        ),
        (
            {"a": {"b": {"c": 1}, "b~": 0}},
            [move("/a/b/c", "/a/b")],
            [move("/a/b", "/a/b~0~0"), add("/a/b", {}), move("/a/b~0~0", "/a/b/c")],
        ),
        ({"a": 1}, [replace("/a", 2), replace("/a", 3)], [replace("/a", 2), replace("/a", 1)]),
    ],
)
def test_each_operation_has_its_inverse(before: Json, patch: Json, inverse: Json) -> None:
    there = apply(before, patch)
    assert same(apply(there, invert(before, patch)), before)
    assert invert(before, patch) == inverse


def test_what_was_moved_is_moved_back_with_what_others_did_to_it_since() -> None:
    before = {"todo": [{"n": 1}], "done": []}
    patch = [move("/todo/0", "/done/0")]
    after = apply(before, patch)
    undone = rebase(after, [[replace("/done/0/n", 2)]], invert(before, patch))
    assert isinstance(undone, Rebased)
    assert undone.value == {"todo": [{"n": 2}], "done": []}


def test_only_a_patch_that_applies_has_an_inverse() -> None:
    with pytest.raises(Inapplicable) as refused:
        invert({"a": 1}, [replace("/a", 2), remove("/b")])
    assert refused.value.operation == 1


def test_limits_that_allow_more_hold_for_all_that_is_made_of_a_patch() -> None:
    deep: Json = 1
    for _ in range(80):
        deep = [deep]
    limits, place = Limits(depth_max=100, pointer_bytes_max=6_000), "/" + "a" * 5_000
    assert invert({}, [add(place, deep)], limits) == [remove(place)]
    assert guarded({}, [add(place, deep)], limits) == [add(place, deep)]
    for made_of, patch in product((invert, guarded), ([add(place, 1)], [add("/a", deep)])):
        with pytest.raises(LimitExceeded):
            made_of({}, patch)


def test_ten_thousand_operations_on_a_wide_value_are_inverted_in_time() -> None:
    before = {"wide": list(range(100_000))}
    patch = [remove("/wide/0") for _ in range(10_000)]
    undo = invert(before, patch)
    assert undo[-1] == add("/wide/0", 0)
    assert same(apply(apply(before, patch), undo), before)


@given(any_scenes)
def test_a_composed_patch_does_what_its_parts_do_in_turn(scene: Scene) -> None:
    assert same(apply(scene.base, compose(*scene.theirs)), reduce(apply, scene.theirs, scene.base))


@given(any_scenes)
def test_composing_has_a_unit_and_brackets_do_not_matter(scene: Scene) -> None:
    a, b = scene.yours, [guard("", 1)]
    assert compose(a) == compose(a, []) == compose([], a) == a
    assert compose(compose(a, b), a) == compose(a, compose(b, a))
    assert compose() == []


@given(any_scenes)
def test_a_guarded_patch_does_the_same_where_nobody_intervened(scene: Scene) -> None:
    assert same(apply(scene.base, guarded(scene.base, scene.yours)), apply(scene.base, scene.yours))


@given(any_scenes)
def test_guards_refuse_and_change_nothing_else(scene: Scene) -> None:
    """Guarded, an edit is either refused for a guard or does what it does without."""
    plain = rebase(scene.base, scene.theirs, scene.yours)
    insistent = rebase(scene.base, scene.theirs, guarded(scene.base, scene.yours))
    if isinstance(insistent, Rebased):
        assert isinstance(plain, Rebased)
        assert same(insistent.value, plain.value)


def test_guards_name_what_is_lost_where_base_has_it() -> None:
    before = {"a": [1, {"b": 2}], "c": 3, "d": 4}
    patch = [remove("/a/0"), replace("/a/0/b", 5), add("/c", 6), move("/d", "/e"), add("/f", 7)]
    assert guarded(before, patch) == [guard("/a/0", 1), guard("/a/1/b", 2), guard("/c", 3), *patch]


def test_a_guarded_edit_is_refused_where_agreement_would_lose_one() -> None:
    """Two clerks each sell one of five."""
    base = {"stock": 5}
    sale = [replace("/stock", 4)]
    assert isinstance(rebase(base, [sale], sale), Rebased)
    assert isinstance(rebase(base, [sale], guarded(base, sale)), Conflicted)
