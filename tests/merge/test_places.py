"""Separate places: the short road answers what the long one does, and knows what is not for it."""

from __future__ import annotations

import json
from functools import reduce
from itertools import chain as joined
from itertools import product
from typing import Any, TypeAlias

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from merge.strategies import (
    Scene,
    add,
    copy,
    counters,
    crowded_scenes,
    guard,
    move,
    remove,
    replace,
    scene_policies,
    scenes,
    separate_scenes,
    values,
)
from plait_merge import (
    ABSENT,
    Conflicted,
    Operation,
    Policy,
    adds_up,
    apply,
    apply_operations,
    parse_pointer,
    read_patch,
    rebase,
    resolve,
    same,
)
from plait_merge.number import is_number
from plait_merge.outcome import Patch
from plait_merge.places import Clean, compare_places
from plait_merge.report import report
from plait_merge.settlement import Settlement
from plait_merge.values import find
from plait_merge.weave import Weave

Json: TypeAlias = Any
Answer: TypeAlias = Conflicted | Clean
Operations: TypeAlias = tuple[Operation, ...]

BASE = {"a": {"b": 1, "c": [1, 2]}, "d": 2}


def inc(path: str, by: Json) -> dict[str, Json]:
    return {"op": "inc", "path": path, "value": by}


def read(scene: Scene) -> tuple[Json, list[Operations], Operations]:
    chain = [read_patch(patch, extended=True) for patch in scene.theirs]
    return scene.base, chain, read_patch(scene.yours, extended=True)


def short(scene: Scene, policy: Policy | None = None) -> Answer | None:
    return compare_places(*read(scene), policy)


def long(scene: Scene, policy: Policy | None = None) -> Answer:
    weave = Weave(*read(scene), policy)
    settlement = Settlement(lambda: weave)
    if settlement.failed or settlement.open:
        return report(weave, settlement)
    notes = (*weave.notes(), *settlement.notes())
    return Clean(settlement.clean_patch() if weave.knots else weave.write(), notes)


def spelled(answer: Answer) -> str:
    """All of an answer, to the byte."""
    if not isinstance(answer, Conflicted):
        return json.dumps([answer.patch, [note.as_json() for note in answer.notes]])
    conflicts = [conflict.as_json() for conflict in answer.conflicts]
    return json.dumps([conflicts, answer.clean_patch, answer.clean_operations])


@settings(max_examples=3 * settings().max_examples)
@given(separate_scenes(), st.data())
def test_the_short_road_answers_what_the_long_road_answers(scene: Scene, data: st.DataObject) -> None:
    """Everything in the answer, and every settlement of it, to the byte."""
    _check(scene, data)


@settings(max_examples=3 * settings().max_examples)
@given(st.one_of(scenes(tests=True), crowded_scenes()), st.data())
def test_the_short_road_takes_nothing_that_is_not_for_it(scene: Scene, data: st.DataObject) -> None:
    """Where anything may happen it answers seldom, and then as the long road does."""
    _check(scene, data)


@settings(max_examples=3 * settings().max_examples)
@given(separate_scenes(), scene_policies(), st.data())
def test_under_a_policy_too(scene: Scene, policy: Policy, data: st.DataObject) -> None:
    _check(scene, data, policy)


@settings(max_examples=3 * settings().max_examples)
@given(counters(), st.one_of(st.none(), scene_policies()), st.data())
def test_and_where_something_is_counted(scene: Scene, policy: Policy | None, data: st.DataObject) -> None:
    _check(scene, data, policy)


@settings(max_examples=3 * settings().max_examples)
@given(st.one_of(counters(), crowded_scenes(copies=False)), st.data())
def test_what_adds_up_does_on_theirs_what_it_does_on_base(scene: Scene, data: st.DataObject) -> None:
    """Counted on places both sides know, with whatever theirs did there and elsewhere."""
    numbers = [place for place in ("/a", "/b", "/c/a", "/a/0") if is_number(_found(scene.base, place))]
    places = data.draw(st.lists(st.sampled_from(numbers), max_size=3)) if numbers else []
    counting = [{"op": "inc", "path": place, "value": data.draw(st.integers(-2, 2))} for place in places]
    scene = Scene(scene.base, scene.theirs, counting or scene.yours)
    base, chain, yours = read(scene)
    told = adds_up(base, joined.from_iterable(chain), yours)
    event("adds up" if told else "does not")
    if told:
        theirs = reduce(apply_operations, chain, base)
        found = long(scene)
        assert isinstance(found, Clean)
        assert same(apply(theirs, found.patch), apply_operations(theirs, yours))


@pytest.mark.parametrize(
    "patch",
    [
        [replace("/n", "x")],
        [replace("/n", "x"), replace("/n", 1)],
        [remove("/n")],
        [remove("/n"), add("/n", 1)],
        [move("/n", "/m")],
        [replace("", {"n": 1, "list": [1]})],
    ],
)
def test_it_does_not_add_up_where_theirs_did_more_than_count(patch: Patch) -> None:
    yours = read_patch([{"op": "inc", "path": "/n", "value": 1}], extended=True)
    assert not adds_up({"n": 0, "list": [1]}, read_patch(patch), yours)
    assert not adds_up({"n": "x"}, read_patch([replace("/n", 1)]), yours)
    assert not adds_up({"n": 0}, read_patch([]), (*yours, *read_patch([guard("/n", 0)])))
    of_list = read_patch([{"op": "inc", "path": "/list/0", "value": 1}], extended=True)
    assert not adds_up({"list": [1]}, read_patch([add("/list/0", 7)]), of_list)
    assert adds_up(
        {"list": [1], "n": 0}, read_patch([replace("/list/0", 7), add("/m", 1)]), (*of_list, *yours)
    )


def _found(value: Json, place: str) -> Json:
    return find(value, parse_pointer(place))


def _check(scene: Scene, data: st.DataObject, policy: Policy | None = None) -> None:
    found = short(scene, policy)
    event(type(found).__name__)
    if found is None:
        return
    expected = long(scene, policy)
    if isinstance(found, Conflicted) and isinstance(expected, Conflicted) and data.draw(st.booleans()):
        base, chain, _ = read(scene)
        theirs = reduce(apply_operations, chain, base)
        choices = {c.id: data.draw(_choices(sorted(c.resolutions))) for c in expected.conflicts}
        assert json.dumps(resolve(theirs, expected, choices)) == json.dumps(resolve(theirs, found, choices))
    assert spelled(expected) == spelled(found)


def _choices(offered: list[str]) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(offered), values.map(lambda value: {"value": value}))


@pytest.mark.parametrize(
    ("theirs", "yours", "kinds"),
    [
        ([replace("/a/b", 2)], [replace("/a/b", 3)], ["edit_edit"]),
        ([replace("/a/c/1", 3)], [replace("/a/c/1", 4), replace("/a/c/1", 5)], ["edit_edit"]),
        ([replace("/a", {})], [add("/a", [])], ["edit_edit"]),
        ([replace("", 1)], [replace("", 2)], ["edit_edit"]),
        ([remove("/a")], [replace("/a", 3)], ["remove_edit"]),
        ([replace("/d", 3)], [remove("/d"), replace("/a/b", 2)], ["remove_edit"]),
        ([add("/a/n", 1)], [add("/a/n", {})], ["add_add"]),
        ([add("/n", 1), replace("/n", 3)], [add("/n", 2), replace("/n", 4)], ["add_add"]),
        ([add("/n", 1), replace("/d", 3)], [add("/n", 2), remove("/d")], ["remove_edit", "add_add"]),
        ([add("/n", 1), remove("/d")], [add("/n", 1.0), remove("/d")], []),
        ([replace("/d", 3)], [replace("/d", 2), replace("/a/b", 5)], []),
    ],
)
def test_separate_places_take_the_short_road(theirs: Patch, yours: Patch, kinds: list[str]) -> None:
    found = short(scene := Scene(BASE, [theirs], yours))
    assert found is not None
    conflicts = found.conflicts if isinstance(found, Conflicted) else ()
    assert kinds == [conflict.kind for conflict in conflicts]
    assert spelled(long(scene)) == spelled(found)


@pytest.mark.parametrize(
    ("theirs", "yours"),
    [
        pytest.param([replace("/a/b", 2)], [replace("/a", 3)], id="a place in another"),
        pytest.param([replace("/d", 1)], [replace("/a", {"b": 1}), replace("/a/b", 1)], id="of one side"),
        pytest.param(
            [replace("/d", 1)], [replace("/a", {"n": 1}), inc("/a/n", 1)], id="one counted in another"
        ),
        pytest.param([remove("/a/c/0")], [replace("/a/c/1", 3)], id="a shift by theirs"),
        pytest.param([replace("/a/c/1", 3)], [add("/a/c/0", 3)], id="a shift by yours"),
        pytest.param([replace("/a/c/1", 3)], [add("/a/c/-", 3)], id="an array that grows"),
        pytest.param([move("/d", "/e")], [replace("/d", 3)], id="a move"),
        pytest.param([replace("/d", 3)], [copy("/d", "/e")], id="a copy"),
        pytest.param([replace("/d", 3)], [guard("/d", 2), replace("/d", 4)], id="a guard"),
        pytest.param([replace("/d", 3)], [remove("/d"), add("/d", 4)], id="a member that comes back"),
        pytest.param([replace("/d", 3)], [replace("/d", 4), remove("/d")], id="a member set and removed"),
        pytest.param([add("/n", {"x": 1})], [add("/n", {"y": 1})], id="two added objects"),
        pytest.param([remove("")], [replace("", 1)], id="the document goes"),
    ],
)
def test_what_is_not_so_simple_takes_the_long_road(theirs: Patch, yours: Patch) -> None:
    assert short(Scene(BASE, [theirs], yours)) is None


def test_two_documents_that_come_take_the_long_road() -> None:
    assert short(Scene(ABSENT, [[add("", 1)]], [add("", 2)])) is None


def test_a_thousand_conflicts_of_the_short_road_are_settled_together() -> None:
    base = {f"m{number:03}": 0 for number in range(1000)}
    sides = [[replace(f"/{name}", value) for name in base] for value in (1, 2)]
    conflicted = rebase(base, sides[:1], sides[1])
    assert isinstance(conflicted, Conflicted)
    theirs = apply(base, sides[0])
    settled = apply(theirs, resolve(theirs, conflicted, {c.id: "yours" for c in conflicted.conflicts}))
    assert dict.fromkeys(base, 2) == settled


EDITS: dict[str, list[Patch]] = {
    "/n": [
        [replace("/n", 2)],
        [replace("/n", 3), replace("/n", 2.0)],
        [replace("/n", "x")],
        [remove("/n")],
        [inc("/n", 1)],
        [inc("/n", 1), inc("/n", 2)],
        [replace("/n", 2), inc("/n", 1)],
    ],
    "/s": [
        [replace("/s", "a c")],
        [replace("/s", "b b")],
        [replace("/s", 1), replace("/s", "1.2.3")],
        [remove("/s")],
    ],
    "/m": [[add("/m", 1)], [add("/m", "1.1.1")], [add("/m", {}), replace("/m", 2)]],
}


@pytest.mark.parametrize("aside", [[], [replace("/o", 1)]], ids=["alone", "with another place"])
@pytest.mark.parametrize(
    "rule",
    [
        {},
        *({"scalar": word} for word in ("theirs", "yours", "max", "min", "sum", "newest", "exclusive")),
        {"string": {"text": "characters"}},
        {"string": {"text": "characters"}, "scalar": "yours"},
        {"string": {"text": "characters"}, "scalar": "exclusive"},
    ],
    ids=str,
)
def test_both_roads_decide_alike_what_both_did_to_one_value(rule: dict[str, Json], aside: Patch) -> None:
    """Every edit against every other, to the byte; each way to settle what is left, too."""
    policy = Policy.read({"rules": {"/*": rule}}) if rule else None
    for edits in EDITS.values():
        for theirs, yours in product(edits, repeat=2):
            scene = Scene({"n": 1, "s": "a b", "o": 0}, [aside[:1], theirs], [*yours, *aside])
            found = short(scene, policy)
            if found is not None:
                assert spelled(found) == spelled(long(scene, policy)), scene
