"""What policies do where two sides meet: each word by itself, then laws for all of them together."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial, reduce
from itertools import islice, product
from typing import Any, TypeAlias

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from merge.strategies import (
    Patch,
    Scene,
    add,
    crowded_scenes,
    documents,
    framed,
    guard,
    patches,
    remove,
    replace,
    scene_policies,
    scenes,
)
from merge.test_laws import unordered
from plait_merge import (
    ABSENT,
    CONFLICT,
    Conflicted,
    InvalidValue,
    Merged,
    Operation,
    Policy,
    Rebased,
    Resolver,
    TouchIndex,
    apply,
    merge,
    read_patch,
    rebase,
    resolve,
    same,
)

Json: TypeAlias = Any
any_scenes = st.one_of(scenes(), crowded_scenes())
COMBINATIONS_MAX = 64


def paired(scene: Scene) -> Scene:
    """A scene with one patch of theirs, so that the sides can be swapped."""
    return scene._replace(theirs=scene.theirs[:1] or [[]])


def head(scene: Scene) -> Json:
    return reduce(apply, scene.theirs, scene.base)


def decided(scene: Scene, policy: Policy | None) -> Rebased | Conflicted:
    outcome = rebase(*scene, policy)
    assert isinstance(outcome, Rebased | Conflicted), outcome
    event(type(outcome).__name__)
    return outcome


# -- each word


def policy(rules: dict[str, Any], **resolvers: Resolver) -> Policy:
    return Policy.read({"rules": rules}, resolvers)


def value_of(outcome: Any) -> Json:
    assert isinstance(outcome, Rebased), outcome
    return outcome.value


def notes_of(outcome: Any) -> list[tuple[str, int | None, str]]:
    assert isinstance(outcome, Rebased), outcome
    return [(note.note, note.operation, note.pointer) for note in outcome.notes]


def conflicts_of(outcome: Any) -> list[tuple[str, str]]:
    assert isinstance(outcome, Conflicted), outcome
    return [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]


def inc(path: str, by: float) -> dict[str, Json]:
    return {"op": "inc", "path": path, "value": by}


def extended(*operations: dict[str, Json]) -> tuple[Operation, ...]:
    return read_patch(list(operations), extended=True)


@pytest.mark.parametrize(
    ("word", "theirs", "yours", "value"),
    [
        ("theirs", 4, 7, 4),
        ("yours", 4, 7, 7),
        ("max", 4, 7, 7),
        ("max", 7, 4, 7),
        ("min", 4, 7, 4),
        ("min", 7, 4, 4),
        ("sum", 4, 7, 6),
        ("sum", 4, 4, 3),
        ("sum", 10**30, 6, 10**30 + 1),
        ("sum", 5.1, 5.2, 5.3),
        ("max", 4, 4.0, 4),
    ],
)
def test_a_word_decides_between_two_numbers(word: str, theirs: Json, yours: Json, value: Json) -> None:
    outcome = rebase(
        {"n": 5}, [[replace("/n", theirs)]], [replace("/n", yours)], policy({"/n": {"scalar": word}})
    )
    assert same({"n": value}, value_of(outcome))


@pytest.mark.parametrize("word", ["max", "min", "sum"])
@pytest.mark.parametrize(("theirs", "yours"), [(True, 7), ("4", 7), (4, None), ([4], 7)])
def test_what_is_no_number_is_not_counted(word: str, theirs: Json, yours: Json) -> None:
    outcome = rebase(
        {"n": 5}, [[replace("/n", theirs)]], [replace("/n", yours)], policy({"/n": {"scalar": word}})
    )
    assert conflicts_of(outcome) == [("edit_edit", "/n")]


def test_a_sum_that_is_no_number_is_a_conflict() -> None:
    for base, big in ((0, 1e308), (0, 10**999 * 9)):
        outcome = rebase(
            {"n": base}, [[replace("/n", big)]], [replace("/n", big)], policy({"/n": {"scalar": "sum"}})
        )
        assert conflicts_of(outcome) == [("edit_edit", "/n")]


def test_a_counter_both_start_counts_both() -> None:
    counted = policy({"**/n": {"scalar": "sum"}})
    assert value_of(rebase({}, [[add("/n", 1)]], [add("/n", 1)], counted)) == {"n": 2}
    assert value_of(rebase({}, [[add("/o", {"n": 1})]], [add("/o", {"n": 1})], counted)) == {"o": {"n": 2}}


def test_two_equal_edits_of_something_exclusive_conflict() -> None:
    """Two clerks who both set stock from 5 to 4 sold two items."""
    once = policy({"/stock": {"scalar": "exclusive"}})
    outcome = rebase({"stock": 5}, [[replace("/stock", 4)]], [replace("/stock", 4)], once)
    assert conflicts_of(outcome) == [("edit_edit", "/stock")]
    assert conflicts_of(rebase({}, [[add("/stock", 4)]], [add("/stock", 4)], once)) == [("add_add", "/stock")]
    assert value_of(rebase({"stock": 5}, [[replace("/stock", 4)]], [add("/a", 1)], once)) == {
        "stock": 4,
        "a": 1,
    }


def test_a_copy_of_what_was_decided_is_not_lost() -> None:
    """The copy holds what its author saw, also where what it copied became a sum."""
    copied = {"op": "copy", "from": "/n", "path": "/m"}
    outcome = rebase(
        {"n": 5}, [[replace("/n", 4)]], [replace("/n", 7), copied], policy({"/n": {"scalar": "sum"}})
    )
    assert value_of(outcome) == {"n": 6, "m": 7}


def test_what_is_decided_is_noted() -> None:
    rules = {"/n": {"scalar": "sum"}, "/t": {"scalar": "theirs"}}
    outcome = rebase(
        {"n": 1, "t": 1, "u": 1},
        [[replace("/n", 2), replace("/t", 2)]],
        [replace("/t", 3), replace("/u", 3), replace("/n", 3)],
        policy(rules),
    )
    assert value_of(outcome) == {"n": 4, "t": 2, "u": 3}
    assert notes_of(outcome) == [("theirs", 0, "/t"), ("sum", 2, "/n")]


def test_what_is_decided_is_in_the_clean_patch_of_what_is_not() -> None:
    outcome = rebase(
        {"n": 1, "t": 1},
        [[replace("/n", 2), replace("/t", 2)]],
        [replace("/t", 3), replace("/n", 3)],
        policy({"/n": {"scalar": "sum"}}),
    )
    assert isinstance(outcome, Conflicted)
    assert conflicts_of(outcome) == [("edit_edit", "/t")]
    assert (outcome.clean_patch, outcome.clean_operations) == ([replace("/n", 4)], (1,))
    chosen = resolve({"n": 2, "t": 2}, outcome, {outcome.conflicts[0].id: "yours"})
    assert apply({"n": 2, "t": 2}, chosen) == {"n": 4, "t": 3}


# -- inc


@given(st.lists(st.integers(-5, 5), max_size=4), st.lists(st.integers(-5, 5), max_size=4), st.integers())
def test_increments_always_add_up(theirs: list[int], yours: list[int], start: int) -> None:
    outcome = rebase(
        {"n": start}, [extended(inc("/n", by)) for by in theirs], extended(*(inc("/n", by) for by in yours))
    )
    assert value_of(outcome) == {"n": start + sum(theirs) + sum(yours)}
    assert {operation["op"] for operation in outcome.patch} <= {"replace"}  # type: ignore[union-attr]


def test_an_increment_adds_to_whatever_number_theirs_made_of_it() -> None:
    for policy_or_none in (
        None,
        policy({"**": {"scalar": "exclusive"}}),
        policy({"**": {"scalar": "theirs"}}),
    ):
        outcome = rebase({"n": 5}, [[replace("/n", 9)]], extended(inc("/n", -1)), policy_or_none)
        assert (value_of(outcome), notes_of(outcome)) == ({"n": 8}, [])
        outcome = rebase({"n": 5}, [extended(inc("/n", -1))], [replace("/n", 9)], policy_or_none)
        assert value_of(outcome) == {"n": 8}


def test_an_increment_follows_its_number() -> None:
    moved = [{"op": "move", "from": "/n", "path": "/m"}, replace("/m", 7)]
    assert value_of(rebase({"n": 5}, [moved], extended(inc("/n", 1)))) == {"m": 8}


def test_an_increment_of_what_is_gone_or_no_number_conflicts() -> None:
    one_more = extended(inc("/o/n", 1))
    base = {"o": {"n": 5}}
    assert conflicts_of(rebase(base, [[remove("/o/n")]], one_more)) == [("remove_edit", "/o/n")]
    assert conflicts_of(rebase(base, [[replace("/o/n", "5")]], one_more)) == [("edit_edit", "/o/n")]
    assert conflicts_of(rebase(base, [[replace("/o", {"n": 6})]], one_more)) == [("replace_edit", "/o")]


def test_an_increment_after_a_value_was_set_is_a_part_of_that() -> None:
    outcome = rebase({"n": 5}, [[replace("/n", 9)]], extended(replace("/n", 1), inc("/n", 1)))
    assert isinstance(outcome, Conflicted)
    assert outcome.conflicts[0].yours.value == 2


def test_a_guard_sees_what_was_added_up() -> None:
    yours = extended(inc("/n", 1), {"op": "test", "path": "/n", "value": 6})
    assert value_of(rebase({"n": 5, "m": 1}, [[replace("/m", 2)]], yours)) == {"n": 6, "m": 2}
    assert conflicts_of(rebase({"n": 5}, [[replace("/n", 9)]], yours)) == [("guard", "/n")]


# -- text


def test_two_edits_of_one_text_merge_where_they_touch_different_places() -> None:
    words = policy({"**": {"string": {"text": "words"}}})
    base = {"t": "one two three", "n": 1}
    outcome = rebase(base, [[replace("/t", "ONE two three")]], [replace("/t", "one two THREE")], words)
    assert (value_of(outcome)["t"], notes_of(outcome)) == ("ONE two THREE", [("text", 0, "/t")])
    clash = rebase(base, [[replace("/t", "ONE two three")]], [replace("/t", "EIN two three")], words)
    assert isinstance(clash, Conflicted)
    assert conflicts_of(clash) == [("text", "/t")]
    assert (clash.conflicts[0].theirs.value, clash.conflicts[0].yours.value) == (
        "ONE two three",
        "EIN two three",
    )
    assert conflicts_of(rebase(base, [[replace("/t", 1)]], [replace("/t", "x")], words)) == [
        ("edit_edit", "/t")
    ]


def test_where_texts_do_not_merge_a_side_may_still_win() -> None:
    rules = {"/t": {"string": {"text": "words"}, "scalar": "yours"}}
    one, other = [replace("/t", "x b")], [replace("/t", "a y")]
    assert value_of(rebase({"t": "a b"}, [one], other, policy(rules))) == {"t": "x y"}
    assert value_of(rebase({"t": "a b"}, [one], [replace("/t", "z b")], policy(rules))) == {"t": "z b"}


# -- containers


def test_a_deep_replace_merges_part_by_part() -> None:
    rules = {"/a": {"replace": "deep"}, "/a/n": {"scalar": "sum"}}
    base, theirs = {"a": {"n": 1, "y": 1}}, [[replace("/a/n", 2)]]
    outcome = rebase(base, theirs, [replace("/a", {"n": 3, "y": 5})], policy(rules))
    assert (value_of(outcome), notes_of(outcome)) == ({"a": {"n": 4, "y": 5}}, [("deep", 0, "/a")])
    clash = rebase(base, [[replace("/a/y", 2)]], [replace("/a", {"n": 3, "y": 5})], policy(rules))
    assert conflicts_of(clash) == [("replace_edit", "/a")]


def test_edits_inside_of_something_atomic_conflict_at_it() -> None:
    base = {"at": {"lat": 1, "lon": 2}, "n": [1, 2]}
    one_place = policy({"/at": {"object": "atomic"}, "/n": {"array": "atomic"}})
    outcome = rebase(base, [[replace("/at/lat", 3)]], [replace("/at/lon", 4)], one_place)
    assert conflicts_of(outcome) == [("edit_edit", "/at")]
    assert isinstance(outcome, Conflicted)
    theirs = {"at": {"lat": 3, "lon": 2}, "n": [1, 2]}
    settled = {
        choice: apply(theirs, resolve(theirs, outcome, {outcome.conflicts[0].id: choice}))["at"]
        for choice in ("theirs", "yours", "base")
    }
    assert settled == {"theirs": {"lat": 3, "lon": 2}, "yours": {"lat": 1, "lon": 4}, "base": base["at"]}
    outcome = rebase(base, [[add("/n/0", 0)]], [add("/n/-", 3)], one_place)
    assert conflicts_of(outcome) == [("edit_edit", "/n")]
    outcome = rebase(base, [[replace("/at", {"lat": 0, "lon": 0})]], [replace("/at/lon", 4)], one_place)
    assert conflicts_of(outcome) == [("edit_edit", "/at")]
    one_side = rebase(base, [[replace("/at/lat", 3)]], [replace("/n/0", 4)], one_place)
    assert value_of(one_side) == {"at": {"lat": 3, "lon": 2}, "n": [4, 2]}


def test_something_atomic_both_made_the_same_is_agreed_on() -> None:
    whole = policy({"/n": {"array": "atomic"}})
    same_by_other_steps = [remove("/n/1"), add("/n/1", 3), add("/n/-", 2)]
    assert value_of(rebase({"n": [1, 2]}, [[add("/n/1", 3)]], same_by_other_steps, whole)) == {"n": [1, 3, 2]}


def test_objects_both_add_at_an_atomic_member_are_not_mixed() -> None:
    whole = policy({"/k": {"object": "atomic"}})
    assert conflicts_of(rebase({}, [[add("/k", {"x": 1})]], [add("/k", {"y": 2})], whole)) == [
        ("add_add", "/k")
    ]
    assert value_of(rebase({}, [[add("/k", {"x": 1})]], [add("/k", {"x": 1})], whole)) == {"k": {"x": 1}}


def test_a_log_keeps_what_was_appended_twice() -> None:
    outcome = rebase(["a"], [[add("/-", "x")]], [add("/-", "x")], policy({"": {"array": "log"}}))
    assert value_of(outcome) == ["a", "x", "x"]


def test_a_strict_order_is_not_decided_by_who_came_first() -> None:
    strict = policy({"": {"order": "strict"}})
    outcome = rebase(["a"], [[add("/-", "x")]], [add("/-", "y")], strict)
    assert isinstance(outcome, Conflicted)
    assert conflicts_of(outcome) == [("order", "")]
    (conflict,) = outcome.conflicts
    results = {name: apply(["a", "x"], patch) for name, patch in conflict.resolutions.items()}
    assert results == {"theirs": ["a", "x"], "yours": ["a", "y"], "base": ["a"], "both": ["a", "x", "y"]}
    for choice in results:
        chosen: Any = {conflict.id: choice}
        assert apply(["a", "x"], resolve(["a", "x"], outcome, chosen)) == results[choice]
    assert value_of(rebase(["a"], [[add("/-", "x")]], [add("/-", "x")], strict)) == ["a", "x"]
    assert value_of(rebase(["a"], [[add("/0", "x")]], [add("/-", "y")], strict)) == ["x", "a", "y"]


def test_the_order_of_an_array_is_one_thing_to_settle_wherever_both_have_put_something() -> None:
    strict = policy({"": {"order": "strict"}})
    theirs, yours = ([add("/0", side), add("/-", side)] for side in "ty")
    outcome = rebase(["a", "b"], [theirs], yours, strict)
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert conflict.your_operations == (0, 1)
    results = {name: apply([*"tabt"], patch) for name, patch in conflict.resolutions.items()}
    assert results == {"theirs": [*"tabt"], "yours": [*"yaby"], "base": [*"ab"], "both": [*"tyabty"]}


TAGS = st.lists(st.sampled_from("abcdef"), max_size=5, unique=True)


@st.composite
def set_edits(draw: st.DrawFn, base: list[str]) -> Patch:
    """Edits of a set that leave it one: adding what is not there, removing, changing, moving."""
    there, patch = list(base), []
    for _ in range(draw(st.integers(0, 4))):
        absent = sorted(set("abcdef") - set(there))
        at = draw(st.integers(0, len(there)))
        kind = draw(st.integers(0, 3))
        if kind == 0 and absent:
            there.insert(at, draw(st.sampled_from(absent)))
            patch.append(add(f"/s/{at}", there[at]))
        elif at < len(there) and kind == 1:
            patch.append(remove(f"/s/{at}"))
            del there[at]
        elif at < len(there) and kind == 2 and absent:
            there[at] = draw(st.sampled_from(absent))
            patch.append(replace(f"/s/{at}", there[at]))
        elif at < len(there):
            patch.append({"op": "move", "from": f"/s/{at}", "path": "/s/0"})
            there.insert(0, there.pop(at))
    return patch


@given(st.data(), TAGS)
def test_sets_merge_as_sets_whichever_side_comes_first(data: st.DataObject, tags: list[str]) -> None:
    """What one side removed and nobody added is gone, what either added is there, and once."""
    base = {"s": tags}
    theirs, yours = data.draw(set_edits(tags)), data.draw(set_edits(tags))
    tagged = policy({"/s": {"array": "set"}})
    here, there = (set(apply(base, side)["s"]) for side in (theirs, yours))
    kept = set(tags) & here & there
    for one, other in ((theirs, yours), (yours, theirs)):
        merged = value_of(rebase(base, [one], other, tagged))["s"]
        assert len(set(merged)) == len(merged)
        assert kept | (here - set(tags)) | (there - set(tags)) <= set(merged)
        assert set(merged) <= here | there
    # What was removed and added again by one side may stand although the other removed it: it was added.


def test_in_a_set_an_edit_outlives_a_removal() -> None:
    tagged = policy({"": {"array": "set"}})
    assert value_of(rebase(["a", "b"], [[remove("/0")]], [replace("/0", "c")], tagged)) == ["c", "b"]
    assert value_of(rebase(["a", "b"], [[replace("/0", "c")]], [remove("/0")], tagged)) == ["c", "b"]
    outcome = rebase([{"a": 1}], [[remove("/0")]], [replace("/0/a", 2)], tagged)
    assert (value_of(outcome), notes_of(outcome)) == ([{"a": 2}], [("set", 0, "/0")])
    assert value_of(rebase(["a"], [[replace("/0", "b")]], [replace("/0", "c")], tagged)) == ["b", "c"]


LINES = {"/l": {"array": {"keyed": ["sku"]}}}


def test_two_elements_with_one_key_become_one_wherever_they_were_put() -> None:
    base = {"l": [{"sku": 1}]}
    outcome = rebase(
        base, [[add("/l/0", {"sku": 2, "n": 1})]], [add("/l/-", {"sku": 2.0, "m": 1})], policy(LINES)
    )
    assert value_of(outcome) == {"l": [{"sku": 2, "n": 1, "m": 1}, {"sku": 1}]}
    assert notes_of(outcome) == [("keyed", 0, "/l/1")]


def test_two_elements_with_one_key_that_differ_are_a_duplicate_key() -> None:
    base, theirs = {"l": [{"sku": 1}]}, [add("/l/0", {"sku": 2, "n": 1})]
    outcome = rebase(
        base, [theirs], [add("/l/-", {"sku": 2, "n": 5}), add("/l/-", {"sku": 3})], policy(LINES)
    )
    assert isinstance(outcome, Conflicted)
    assert conflicts_of(outcome) == [("duplicate_key", "/l/-")]
    (conflict,) = outcome.conflicts
    assert (conflict.pointer_theirs, conflict.pointer_yours) == ("/l/0", "/l/1")
    assert not conflict.base.present
    head = apply(base, theirs)
    for choice, n in (("theirs", 1), ("yours", 5), ({"value": {"sku": 2, "n": 9}}, 9)):
        chosen: Any = {conflict.id: choice}
        lines = apply(head, resolve(head, outcome, chosen))["l"]
        assert sorted((line["sku"], line.get("n")) for line in lines) == [(1, None), (2, n), (3, None)]


def test_members_of_elements_with_one_key_are_decided_by_their_own_rules() -> None:
    theirs, yours = [add("/l/-", {"sku": 2, "n": 1})], [add("/l/-", {"sku": 2, "n": 5})]
    base: Json = {"l": []}
    summed = policy({**LINES, "/l/*/n": {"scalar": "sum"}})
    assert value_of(rebase(base, [theirs], yours, summed)) == {"l": [{"sku": 2, "n": 6}]}


def test_a_key_given_twice_by_an_edit_is_a_duplicate_too() -> None:
    base = {"l": [{"sku": 1}, {"sku": 2}]}
    for theirs, yours in (
        ([replace("/l/0/sku", 3)], [replace("/l/1/sku", 3)]),
        ([replace("/l/0/sku", 3)], [add("/l/-", {"sku": 3})]),
        ([add("/l/-", {"sku": 3})], [replace("/l/1", {"sku": 3})]),
    ):
        outcome = rebase(base, [theirs], yours, policy(LINES))
        assert conflicts_of(outcome) == [("duplicate_key", "/l/-")]


def test_an_element_removed_and_added_again_under_its_key_is_the_same_element() -> None:
    base = {"l": [{"sku": 1, "n": 1, "m": 1}, {"sku": 2}]}
    anew = [remove("/l/0"), add("/l/-", {"sku": 1, "n": 1, "m": 5})]
    deep = policy({**LINES, "/l/*": {"replace": "deep"}})
    outcome = rebase(base, [[replace("/l/0/n", 7)]], anew, deep)
    assert value_of(outcome) == {"l": [{"sku": 2}, {"sku": 1, "n": 7, "m": 5}]}
    clash = rebase(base, [[replace("/l/0/n", 7)]], anew, policy(LINES))
    assert conflicts_of(clash) == [("replace_edit", "/l/0")]


def test_where_an_element_of_a_keyed_array_stands_is_nobodys_conflict() -> None:
    base = {"l": [{"sku": 1}, {"sku": 2}, {"sku": 3}]}
    moved = [[{"op": "move", "from": "/l/0", "path": f"/l/{at}"}] for at in (1, 2)]
    outcome = rebase(base, [moved[0]], moved[1], policy(LINES))
    assert [line["sku"] for line in value_of(outcome)["l"]] == [2, 1, 3]
    assert notes_of(outcome) == [("keyed", 0, "/l/0")]


def test_elements_without_a_key_of_their_own_are_merged_as_in_a_list_and_noted() -> None:
    base: Json = {"l": [{"sku": 1}]}
    yours = [
        add("/l/-", {"n": 1}),
        add("/l/-", {"sku": 1}),
        add("/l/-", {"sku": []}),
        add("/l/-", {"sku": 4}),
    ]
    outcome = rebase(base, [[add("/l/0", {"sku": 2})]], yours, policy(LINES))
    assert value_of(outcome)["l"] == [{"sku": 2}, {"sku": 1}, *(operation["value"] for operation in yours)]
    assert notes_of(outcome) == [("unkeyed", 0, "/l/1"), ("unkeyed", 1, "/l/2"), ("unkeyed", 2, "/l/3")]


@given(st.data())
def test_keyed_merges_do_not_depend_on_positions(data: st.DataObject) -> None:
    """Put anywhere, elements with the same keys and parts come to the same elements."""
    skus = data.draw(st.lists(st.integers(0, 6), unique=True, max_size=4))
    base = {"l": [{"sku": sku, "t": 0, "y": 0} for sku in skus]}

    def edits(side: str, seed: list[int]) -> list[Patch]:
        ways: list[Patch] = []
        for turn in (0, 1):
            there, patch = list(skus), []
            for sku in seed:
                if sku in there:
                    patch.append(replace(f"/l/{there.index(sku)}/{side}", 1))
                else:
                    at = 0 if turn else len(there)
                    there.insert(at, sku)
                    patch.append(add(f"/l/{at}", {"sku": sku, side: 2}))
            ways.append(patch)
        return ways

    seeds = [data.draw(st.lists(st.integers(0, 6), max_size=4)) for _ in "ty"]
    theirs, yours = edits("t", seeds[0]), edits("y", seeds[1])
    results = [
        sorted(value_of(rebase(base, [one], other, policy(LINES)))["l"], key=lambda line: int(line["sku"]))
        for one, other in product(theirs, yours)
    ]
    assert all(same(results[0], result) for result in results)
    assert len({line["sku"] for line in results[0]}) == len(results[0])


# -- resolvers


def test_a_resolver_is_asked_with_all_three_values_and_where() -> None:
    asked: list[tuple[Json, Json, Json, str]] = []

    def union(base: Json, theirs: Json, yours: Json, pointer: str) -> Json:
        asked.append((base, theirs, yours, pointer))
        return sorted({*theirs, *yours})

    rules = policy({"/a": {"resolver": "union"}}, union=union)
    outcome = rebase({"a": [1]}, [[replace("/a", [2])]], [replace("/a", [3])], rules)
    assert (value_of(outcome), notes_of(outcome)) == ({"a": [2, 3]}, [("resolver", 0, "/a")])
    assert asked == [([1], [2], [3], "/a")]


def test_a_resolver_may_choose_a_side_or_leave_it_to_somebody() -> None:
    def answered(answer: Json, *asked: Json) -> Json:
        return answer

    removed, edited = [remove("/a")], [replace("/a", 2)]
    for answer, value in ((ABSENT, {}), (2, {"a": 2}), (9, {"a": 9})):
        rules = policy({"/a": {"resolver": "r"}}, r=partial(answered, answer))
        assert value_of(rebase({"a": 1}, [removed], edited, rules)) == value
        assert value_of(rebase({"a": 1}, [edited], removed, rules)) == value
    rules = policy({"/a": {"resolver": "r", "scalar": "yours"}}, r=lambda *asked: CONFLICT)
    assert conflicts_of(rebase({"a": 1}, [removed], edited, rules)) == [("remove_edit", "/a")]


def test_a_resolver_that_answers_with_no_json_is_at_fault() -> None:
    rules = policy({"/a": {"resolver": "r"}}, r=lambda *asked: {1, 2})
    with pytest.raises(InvalidValue):
        rebase({"a": 1}, [[replace("/a", 2)]], [replace("/a", 3)], rules)


# -- who was touched


def test_an_index_of_what_was_touched_knows_what_is_one_thing() -> None:
    """Else a caller would carry an edit past one that it meets in something atomic."""
    whole = policy({"/a": {"object": "atomic"}})
    edits = [read_patch([replace("/a/x", 1)]), read_patch([replace("/a/y", 1)])]
    for index, touched in ((TouchIndex(), False), (TouchIndex(whole), True)):
        index.record(edits[0], 1)
        assert index.overlaps(edits[1], 0) is touched


# -- laws of all policies


@given(any_scenes, scene_policies())
def test_the_rebased_patch_leads_from_theirs_to_the_value(scene: Scene, policy: Policy) -> None:
    outcome = decided(scene, policy)
    if isinstance(outcome, Rebased):
        assert all(operation["op"] not in ("test", "inc") for operation in outcome.patch)
        assert same(outcome.value, apply(head(scene), json.loads(json.dumps(outcome.patch))))


@given(any_scenes, scene_policies())
def test_every_combination_of_choices_applies(scene: Scene, policy: Policy) -> None:
    outcome = decided(scene, policy)
    if not isinstance(outcome, Conflicted):
        return
    theirs = head(scene)
    for conflict in outcome.conflicts:
        assert "theirs" in conflict.resolutions
        for patch in conflict.resolutions.values():
            apply(theirs, patch)
    assert len({conflict.id for conflict in outcome.conflicts}) == len(outcome.conflicts)
    offered = [list(conflict.resolutions) for conflict in outcome.conflicts]
    if any(conflict.kind == "guard" for conflict in outcome.conflicts):
        offered = [["theirs"] for _ in offered]
    ids = [conflict.id for conflict in outcome.conflicts]
    for chosen in islice(product(*offered), COMBINATIONS_MAX):
        choices: Any = dict(zip(ids, chosen, strict=True))
        apply(theirs, resolve(theirs, outcome, choices))
    clean = apply(theirs, outcome.clean_patch)
    assert same(clean, apply(theirs, resolve(theirs, outcome, dict.fromkeys(ids, "theirs"))))


@given(st.one_of(scenes(tests=True), crowded_scenes()))
def test_a_policy_that_says_nothing_changes_nothing(scene: Scene) -> None:
    """Also the road that only policies take answers what the short one does."""
    plain, ruled = rebase(*scene), rebase(*scene, Policy.read({"rules": {}}))
    assert type(plain) is type(ruled)
    if isinstance(plain, Rebased) and isinstance(ruled, Rebased):
        assert same(plain.value, ruled.value)
    if isinstance(plain, Conflicted) and isinstance(ruled, Conflicted):
        told = [[conflict.as_json() for conflict in outcome.conflicts] for outcome in (plain, ruled)]
        assert told[0] == told[1]
        assert plain.clean_operations == ruled.clean_operations


@given(any_scenes, scene_policies())
def test_an_untouched_side_yields(scene: Scene, policy: Policy) -> None:
    forward = rebase(scene.base, [], scene.yours, policy)
    assert isinstance(forward, Rebased)
    assert same(apply(scene.base, scene.yours), forward.value)
    still = rebase(scene.base, scene.theirs, [], policy)
    assert isinstance(still, Rebased)
    assert same(head(scene), still.value)


@given(any_scenes.map(paired), scene_policies(sides=False))
def test_swapping_the_sides_swaps_nothing_but_the_sides(scene: Scene, policy: Policy) -> None:
    """Where the policy itself speaks of no side; up to the order in gaps."""
    swapped = Scene(scene.base, [scene.yours], scene.theirs[0])
    if are_swapped(decided(scene, None), decided(swapped, None)):
        assert are_swapped(decided(scene, policy), decided(swapped, policy))


def are_swapped(one: Rebased | Conflicted, other: Rebased | Conflicted) -> bool:
    if isinstance(one, Rebased) and isinstance(other, Rebased):
        return same(unordered(one.value), unordered(other.value))
    return type(one) is type(other) and sorted(conflicts_of(one)) == sorted(conflicts_of(other))


@given(st.data(), scene_policies())
def test_no_policy_overrides_a_guard(data: st.DataObject, policy: Policy) -> None:
    document, guarded = data.draw(scenes(absent=False)).base, data.draw(st.sampled_from([1, "x", [1]]))
    breach = data.draw(st.sampled_from([remove("/g"), replace("/g", {"another": guarded})]))
    yours = [guard("/g", guarded), replace("/g", "mine"), *framed(data.draw(patches(document)), "/r")]
    theirs = [breach, *framed(data.draw(patches(document)), "/r")]
    if any(o["path"] == "/r" or o.get("from") == "/r" for o in (*theirs, *yours)):
        return
    outcome = rebase({"g": guarded, "r": document}, [theirs], yours, policy)
    assert isinstance(outcome, Conflicted)
    assert ("guard", "/g") in {(conflict.kind, conflict.pointer) for conflict in outcome.conflicts}
    assert outcome.clean_patch == []
    assert all(set(c.resolutions) == {"theirs"} for c in outcome.conflicts)


@given(scenes(tests=True), scene_policies())
def test_a_guard_that_fails_by_itself_fails_under_every_policy_that_only_chooses(
    scene: Scene, policy: Policy
) -> None:
    plain, ruled = rebase(*scene), rebase(*scene, Policy.read({"rules": {"**": {"scalar": "theirs"}}}))
    if isinstance(plain, Conflicted):
        failed = {c.pointer for c in plain.conflicts if c.kind == "guard"}
        found = {c.pointer for c in ruled.conflicts} if isinstance(ruled, Conflicted) else set()
        assert failed <= found


@given(any_scenes, st.sampled_from(["theirs", "yours"]))
def test_one_side_everywhere_leaves_nothing_to_decide(scene: Scene, side: str) -> None:
    outcome = decided(scene, Policy.read({"rules": {"**": {"scalar": side}}}))
    assert isinstance(outcome, Rebased)
    plain = rebase(*scene)
    if isinstance(plain, Conflicted):
        choices: Any = {conflict.id: side for conflict in plain.conflicts}
        theirs = head(scene)
        assert same(outcome.value, apply(theirs, resolve(theirs, plain, choices)))
        assert {note.note for note in outcome.notes} <= {side, "stale_copy"}


def leaves(value: Json) -> Counter[str]:
    if isinstance(value, dict):
        return sum((leaves(part) for part in value.values()), Counter())
    if isinstance(value, list):
        return sum((leaves(part) for part in value), Counter())
    return Counter() if value is ABSENT else Counter([json.dumps(value)])


@given(any_scenes, scene_policies(sums=False))
def test_nothing_is_invented(scene: Scene, policy: Policy) -> None:
    outcome = decided(scene, policy)
    if isinstance(outcome, Rebased):
        known = leaves([scene.base, head(scene), apply(scene.base, scene.yours)])
        assert leaves(outcome.value).keys() <= known.keys()


# -- whole values


def test_whole_values_are_aligned_by_the_key_a_policy_names() -> None:
    base: Json = {"l": [{"sku": 1, "id": 5, "n": 1}, {"sku": 2, "id": 6, "n": 1}]}
    theirs: Json = {"l": [{"sku": 2, "id": 5, "n": 7}, {"sku": 1, "id": 6, "n": 1}]}
    yours: Json = {"l": [{"sku": 1, "id": 5, "n": 3}, {"sku": 2, "id": 6, "n": 1}]}
    outcome = merge(base, theirs, yours, policy(LINES))
    assert isinstance(outcome, Merged), outcome
    value: Json = outcome.value
    assert {line["sku"]: line["n"] for line in value["l"]} == {1: 3, 2: 7}


def test_whole_values_count_what_both_changed_alike() -> None:
    for rules, expected in (({}, 4), ({"/n": {"scalar": "sum"}}, 3)):
        outcome = merge({"n": 5}, {"n": 4}, {"n": 4}, policy(rules))
        assert isinstance(outcome, Merged)
        assert outcome.value == {"n": expected}
    logged = merge(["a"], ["a", "x"], ["a", "x"], policy({"": {"array": "log"}}))
    assert isinstance(logged, Merged)
    assert logged.value == ["a", "x", "x"]


def test_whole_values_with_one_new_key_are_one_element_or_a_duplicate() -> None:
    base: Json = {"l": [{"sku": 1}]}
    one, other = ({"l": [{"sku": 1}, {"sku": 2, side: 1}]} for side in "ty")
    outcome = merge(base, one, other, policy(LINES))
    assert isinstance(outcome, Merged), outcome
    assert outcome.value == {"l": [{"sku": 1}, {"sku": 2, "t": 1, "y": 1}]}
    clash = merge(base, {"l": [{"sku": 1}, {"sku": 2, "t": 2}]}, one, policy(LINES))
    assert conflicts_of(clash) == [("duplicate_key", "/l/-")]


@given(documents, st.data(), scene_policies())
def test_whole_values_get_a_typed_answer(base: Json, data: st.DataObject, policy: Policy) -> None:
    """And an untouched side yields."""
    theirs, yours = (apply(base, data.draw(patches(base))) for _ in "ty")
    outcome = merge(base, theirs, yours, policy)
    assert isinstance(outcome, Merged | Conflicted)
    if isinstance(outcome, Merged):
        assert same(outcome.value, apply(theirs, outcome.patch))
    for one, other in ((base, yours), (yours, base)):
        still = merge(base, one, other, policy)
        assert isinstance(still, Merged)
        assert same(still.value, yours)
