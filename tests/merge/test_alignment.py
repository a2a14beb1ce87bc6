"""Merging whole values: which element is which, what both inserted alike, and what has moved elsewhere."""

from __future__ import annotations

import copy
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from itertools import combinations, permutations, product
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from merge.strategies import documents
from merge.test_diff import VALUES, edited, parsed, places, short, versions
from plait_merge import (
    ABSENT,
    Conflicted,
    LimitExceeded,
    Limits,
    Merged,
    apply,
    diff,
    merge,
    parse_pointer,
    read_patch,
    resolve,
    same,
)
from plait_merge.alignment import Aligner, Alignment, longest_common
from plait_merge.elementkey import value_form
from plait_merge.keys import infer_key
from plait_merge.sameness import Sameness

Json: TypeAlias = Any


def merged(base: Json, theirs: Json, yours: Json) -> Json:
    """Merge what has to be clean; the values share nothing, as those of three files."""
    outcome = merge(parsed(base), parsed(theirs), parsed(yours))
    assert isinstance(outcome, Merged), outcome
    return outcome.value


def kinds(base: Json, theirs: Json, yours: Json) -> list[tuple[str, str]]:
    outcome = merge(parsed(base), parsed(theirs), parsed(yours))
    assert isinstance(outcome, Conflicted), outcome
    return [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]


def people(*names: str, **more: Json) -> list[dict[str, Json]]:
    return [{"id": name, "n": 0, **more} for name in names]


# Keys


@pytest.mark.parametrize(
    ("arrays", "key"),
    [
        ([people("a", "b"), people("b", "c")], ("id",)),
        ([[{"a": 1, "b": 1}, {"a": 1, "b": 2}], [{"a": 2, "b": 1}, {"a": 1, "b": 1}]], ("a", "b")),
        ([[{"a": 1}, {"a": 1}], []], None),
        ([[{"a": True}, {"a": False}], []], None),
        ([[{"a": 1}, {"b": 1}], []], None),
        ([[{"a": 1}, 2], []], None),
        ([[1, 2], [1, 2]], None),
        ([[], []], None),
        ([[], people("a")], ("id",)),
        ([[{"a": 1}], [{"a": 1.0}, {"a": 2}]], ("a",)),
        ([[{"a": 10**30}], [{"a": 1e30}, {"a": 2}]], ("a",)),
        # Of several that fit alike the one that comes first in base; no side comes first.
        ([[{"b": 1, "a": 1}], [{"a": 1, "b": 1}]], ("b",)),
        ([[{"b": 1, "a": 1}], []], ("b",)),
        ([[], [{"b": 1, "a": 1}]], ("a",)),
        # Of two members only where they differ together.
        ([[{"a": a, "b": 1, "c": c} for a, c in ((1, 1), (1, 2), (2, 1))]], ("a", "c")),
        ([[{"a": a, "b": True, "c": c} for a, c in ((1, 1), (1, 2), (2, 1))]], ("a", "c")),
        ([[{"a": 1}, {"a": "1"}, {"a": 1.5}], []], ("a",)),
        ([[{"a": 1, "b": n} for n in range(2)], [{"a": 1, "b": 2}, {"a": 1, "b": 2}]], None),
    ],
)
def test_a_key_is_there_and_unique_in_every_element(arrays: list[list[Json]], key: Any) -> None:
    assert infer_key(arrays) == key


def test_a_name_is_a_better_key_than_a_position() -> None:
    """Most elements have more in common with the one of their name, the first and the last or not."""

    def rows(names: str, *texts: str) -> list[Json]:
        texts = texts or tuple(names)
        return [{"at": n, "name": name, "text": [texts[n]]} for n, name in enumerate(names)]

    base = rows("abcde")
    for other in (rows("xabcde"), rows("axbcde"), rows("xabcd", *"xabce")):
        assert infer_key([base, other]) == ("name",)


def test_elements_of_one_pair_of_members_are_one() -> None:
    base, target = (
        [{"a": a, "b": b, "n": [side]} for a, b in pairs]
        for side, pairs in ((0, [(1, 1), (1, 2), (2, 1)]), (1, [(2, 1), (1, 1), (1, 2)]))
    )
    alignment = aligned(base, target)
    assert (alignment.kept, alignment.moved) == ([(0, 1), (1, 2)], [(2, 0)])


def test_elements_of_one_key_are_one_however_different() -> None:
    base = [{"id": "a", "x": 1, "y": 1, "z": 1}, {"id": "b", "x": 2, "y": 2, "z": 2}]
    theirs = [{"id": "b", "x": 7, "y": 8, "z": 9}, {"id": "a", "x": 1, "y": 1, "z": 1}]
    yours = [{"id": "a", "x": 1, "y": 1, "z": 5}, {"id": "b", "x": 2, "y": 2, "z": 2, "w": 3}]
    assert merged(base, theirs, yours) == [
        {"id": "b", "x": 7, "y": 8, "z": 9, "w": 3},
        {"id": "a", "x": 1, "y": 1, "z": 5},
    ]


def test_an_element_may_get_another_key() -> None:
    base = [{"id": "a", "x": 1, "y": 1}, {"id": "b", "x": 2, "y": 2}]
    theirs = [{"id": "c", "x": 1, "y": 1}, {"id": "b", "x": 2, "y": 2}]
    yours = [{"id": "a", "x": 1, "y": 9}, {"id": "b", "x": 2, "y": 2}]
    assert merged(base, theirs, yours) == [{"id": "c", "x": 1, "y": 9}, {"id": "b", "x": 2, "y": 2}]


def test_the_result_names_the_keys_it_went_by() -> None:
    base = {"a": people("x", "y"), "b": people("z"), "c": [1]}
    theirs = {"a": people("x", "t", "y"), "b": people("z", "t"), "c": [1, 2]}
    yours = {"a": people("x", "y", "u"), "b": people("z"), "c": [3, 1]}
    outcome = merge(base, theirs, yours)
    assert [note.as_json() for note in outcome.notes] == [  # type: ignore[union-attr]
        {"note": "inferred_key", "pointer": "/a", "key": ["id"]}
    ]


# What both inserted alike


def test_what_both_inserted_at_one_place_is_there_once() -> None:
    assert merged([1, 2], [1, 7, 8, 2], [1, 7, 9, 2]) == [1, 7, 8, 9, 2]
    assert merged(["a"], ["a", "b"], ["a", "b", "c"]) == ["a", "b", "c"]
    assert merged([], ["b", "c"], ["a", "c"]) == ["b", "a", "c"]


def test_what_both_inserted_at_different_places_is_there_twice() -> None:
    assert merged([1, 2], [7, 1, 2], [1, 2, 7]) == [7, 1, 2, 7]


def test_a_name_both_added_to_a_list_of_names_is_there_once_wherever() -> None:
    assert merged(["b", "c"], ["a", "b", "c"], ["b", "c", "a"]) in (["a", "b", "c"], ["b", "c", "a"])
    lines = ["b\n", "c\n"]
    assert merged(lines, ["a\n", *lines], [*lines, "a\n"]) == ["a\n", *lines, "a\n"]
    assert merged(["b", "c", "b"], ["a", "b", "c", "b"], ["b", "c", "b", "a"]) == ["a", "b", "c", "b", "a"]


def test_what_both_inserted_under_one_key_is_there_once_wherever() -> None:
    base, new = people("a", "b"), {"id": "n", "n": 5}
    assert merged(base, [new, *base], [*base, new, *people("c")]) in (
        [new, *base, *people("c")],
        [*base, new, *people("c")],
    )


def test_new_elements_of_one_key_become_one() -> None:
    base = people("a")
    theirs = [*base, {"id": "n", "x": 1, "tags": ["p"]}]
    yours = [*base, {"id": "n", "y": 2, "tags": ["p", "q"]}]
    assert merged(base, theirs, yours) == [*base, {"id": "n", "x": 1, "y": 2, "tags": ["p", "q"]}]


def test_new_elements_of_one_key_that_contradict_conflict() -> None:
    base = people("a")
    outcome = merge(base, [*base, {"id": "n", "x": 1}], [*base, {"id": "n", "x": 2}])
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.pointer) == ("add_add", "/1/x")
    assert not conflict.base.present
    settled = resolve([*base, {"id": "n", "x": 1}], outcome, {conflict.id: "yours"})
    assert apply([*base, {"id": "n", "x": 1}], settled) == [*base, {"id": "n", "x": 2}]


def test_of_two_new_arrays_the_one_that_extends_the_other_is_taken() -> None:
    assert merged({}, {"a": ["x"]}, {"a": ["x", "y"]}) == {"a": ["x", "y"]}
    assert kinds({}, {"a": [1, 2]}, {"a": [1, 3]}) == [("add_add", "/a")]


def test_a_conflict_is_told_of_base_and_not_of_what_both_added() -> None:
    base = {"a": [1, {"x": 0, "y": [1]}]}
    theirs = {"a": [5, 6, 1, {"x": 1, "y": [1]}]}
    yours = {"a": [5, 7, 1, {"x": 2, "y": [1]}]}
    outcome = merge(base, theirs, yours)
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert (conflict.pointer, conflict.pointer_theirs, conflict.pointer_yours) == (
        "/a/1/x",
        "/a/3/x",
        "/a/3/x",
    )
    assert conflict.base.value == 0


# Order


def test_insertions_of_both_at_one_place_go_by_the_order_around() -> None:
    base = ["ant", "bee", "cow", "yak"]
    assert merged(
        base, ["ant", "bee", "cow", "emu", "owl", "yak"], ["ant", "bee", "cow", "dog", "fox", "yak"]
    ) == [
        "ant",
        "bee",
        "cow",
        "dog",
        "emu",
        "fox",
        "owl",
        "yak",
    ]


def test_without_an_order_around_theirs_come_first() -> None:
    base = ["cow", "ant", "bee", "yak"]
    theirs, yours = [*base, "owl"], [*base, "fox"]
    assert merged(base, theirs, yours) == [*base, "owl", "fox"]


def test_what_grows_at_its_front_has_the_newer_in_front() -> None:
    base = ["3 May", "1 May"]
    assert merged(base, ["5 May", *base], ["7 May", "6 May", *base]) == ["7 May", "6 May", "5 May", *base]
    assert merged(base, ["5 May", "1 May"], ["3 May", "1 May", "0 May"]) == ["5 May", "1 May", "0 May"]
    assert merged([], ["5 May"], ["7 May"]) == ["5 May", "7 May"]


def test_a_side_that_kept_no_order_is_not_sorted() -> None:
    base = ["ant", "bee", "cow", "yak"]
    theirs = ["ant", "bee", "cow", "yak", "zebra"]
    yours = ["ant", "bee", "cow", "yak", "eel"]
    assert merged(base, theirs, yours) == [*theirs, "eel"]


# Moves


def test_a_card_put_into_another_list_takes_the_other_sides_edit_along() -> None:
    card = {"id": "c", "title": "Write", "text": "all of it"}
    base = {"todo": [*people("a"), card], "done": people("b")}
    theirs = {"todo": people("a"), "done": [*people("b"), card]}
    yours = {"todo": [*people("a"), {**card, "title": "Rewrite"}], "done": people("b")}
    assert merged(base, theirs, yours) == {
        "todo": people("a"),
        "done": [*people("b"), {**card, "title": "Rewrite"}],
    }


def test_a_renamed_member_is_a_move() -> None:
    rule = {"type": "string", "pattern": "x", "title": "t"}
    assert short(diff({"nmae": rule, "z": 1}, parsed({"name": rule, "z": 1}))) == ["move /nmae /name"]


def test_what_says_little_of_itself_is_not_known_again() -> None:
    patch = diff({"a": {"type": "string"}}, {"b": {"type": "string"}})
    assert short(patch) == ["remove /a", 'add /b {"type": "string"}']


def records(**brands: str) -> Json:
    """Records of one kind, which look alike but for a brand and its number."""
    return {
        name: {"kind": "fuel", "open": True, "country": "xx", "brand": brand, "number": f"Q{brand}"}
        for name, brand in brands.items()
    }


def test_a_member_that_was_edited_and_renamed_is_known_by_what_only_it_holds() -> None:
    base = records(a="Ant", b="Bee", c="Cow")
    theirs = {"a": base["a"], "b": base["b"], "kine": {**base["c"], "country": "yy"}}
    yours = {**base, "c": {**base["c"], "open": False}}
    assert short(diff(base, parsed(theirs))) == ["move /c /kine", "replace /kine/country yy"]
    for one, other in ((theirs, yours), (yours, theirs)):
        value = merged(base, one, other)
        assert value == {**theirs, "kine": {**base["c"], "country": "yy", "open": False}}


def test_another_record_of_the_same_kind_is_no_renamed_one() -> None:
    """Most of it is equal, and so it is with all the others."""
    base = records(a="Ant", b="Bee", c="Cow")
    theirs = records(a="Ant", b="Bee", d="Dog")
    yours = {**base, "c": {**base["c"], "open": False}}
    assert kinds(base, theirs, yours) == [("remove_edit", "/c")]


def test_what_looks_like_two_new_members_is_neither() -> None:
    base = {"both": {"w": 1, "x": 2, "y": 3, "z": 4}, "more": 0}
    target = {"left": {"w": 1, "x": 2, "a": 5, "b": 6}, "right": {"y": 3, "z": 4, "a": 7, "b": 8}, "more": 0}
    assert {operation["op"] for operation in diff(base, target)} == {"remove", "add"}


def test_renamed_members_at_every_depth_are_looked_for_within_bounds() -> None:
    rest: Json = {str(number): number for number in range(40_000)}
    base, target = rest, {**rest, "more": 1}
    for depth in range(60):
        own = {"x": f"x{depth}", "y": f"y{depth}", "z": f"z{depth}"}
        base, target = {"in": base, "old": {**own, "n": 1}}, {"in": target, "new": {**own, "n": 2}}
    before = time.process_time()
    patch = diff(base, target)
    assert time.process_time() - before < 2
    assert same(apply(base, patch), target)


def test_moves_between_arrays_find_their_places() -> None:
    def card(number: int) -> Json:
        return {"number": number, "title": f"card {number}", "text": "x"}

    base = {"a": [card(n) for n in range(6)], "b": [card(n) for n in range(6, 9)]}
    target = {"a": [card(n) for n in (6, 0, 4, 8)], "b": [card(n) for n in (1, 7, 2, 3, 5)]}
    patch = diff(base, target)
    assert {operation["op"] for operation in patch} == {"move"}
    assert same(apply(base, patch), target)


def test_an_element_is_not_moved_into_the_one_that_steps_into_its_place() -> None:
    """RFC 6902 takes `move /0 /0/a` for a move of something into itself."""
    part = {"x": 1, "y": 2, "z": 3}
    base: Json = [part, {"a": 1, "b": 2, "c": [4, 5]}]
    target: Json = [{"a": 1, "b": 2, "c": [4, 5], "d": part}]
    assert same(apply(base, diff(base, parsed(target))), target)
    base, target = [part, [7, 8, 9]], [[7, parsed(part), 8, 9]]
    assert same(apply(base, diff(base, target)), target)


@given(versions() | st.tuples(VALUES, VALUES), st.randoms(use_true_random=False))
def test_any_reshuffling_of_parts_is_a_patch(values: tuple[Json, Json], chance: random.Random) -> None:
    """Parts large enough to be known again stand somewhere else in the target."""
    parts = [{"part": n, "of": list(values), "more": 1} for n in range(4)]
    base = {"a": parts[:2], "b": {"c": parts[2]}, "d": {"e": parts[3]}, "f": []}
    chance.shuffle(parts)
    cut = chance.randint(0, 3)
    target = {"a": parts[:cut], "b": {"c": {}}, "g": parts[cut], "f": [1, *parts[cut + 1 :]]}
    assert same(apply(base, diff(base, target)), target)


# Laws


triples = documents.flatmap(lambda base: st.tuples(st.just(base), edited(base), edited(base)))


@given(triples)
def test_an_untouched_side_yields(values: tuple[Json, Json, Json]) -> None:
    base, theirs, _ = values
    for outcome in (merge(base, theirs, base), merge(base, base, theirs), merge(base, theirs, theirs)):
        assert isinstance(outcome, Merged), outcome
        assert same(outcome.value, theirs)


@given(triples)
def test_the_patch_leads_from_theirs_to_the_value_and_no_input_is_changed(
    values: tuple[Json, Json, Json],
) -> None:
    before = copy.deepcopy(values)
    outcome = merge(*values)
    if isinstance(outcome, Merged):
        assert same(apply(values[1], parsed(outcome.patch)), outcome.value)
    assert values == before


@given(triples)
def test_swapping_the_sides_gives_the_same_verdict(values: tuple[Json, Json, Json]) -> None:
    base, theirs, yours = values
    one, other = merge(base, theirs, yours), merge(base, yours, theirs)
    assert type(one) is type(other)


@given(triples)
def test_conflicts_say_where_they_are_and_what_is_there(values: tuple[Json, Json, Json]) -> None:
    outcome = merge(*values)
    if isinstance(outcome, Conflicted):
        for conflict in outcome.conflicts:
            facets = (conflict.base, conflict.theirs, conflict.yours)
            pointers = (conflict.pointer, conflict.pointer_theirs, conflict.pointer_yours)
            for value, facet, pointer in zip(values, facets, pointers, strict=True):
                if facet.present and pointer is not None:
                    assert same(found(value, pointer), facet.value)


@given(triples)
def test_every_side_can_be_chosen(values: tuple[Json, Json, Json]) -> None:
    _, theirs, _ = values
    outcome = merge(*values)
    if isinstance(outcome, Conflicted):
        for side in ("theirs", "yours"):
            patch = resolve(theirs, outcome, {c.id: side for c in outcome.conflicts})
            apply(theirs, patch)


def found(value: Json, pointer: str) -> Json:
    for token in parse_pointer(pointer):
        value = value[int(token)] if isinstance(value, list) else value[token]
    return value


@given(VALUES, VALUES, VALUES)
def test_sameness_is_what_same_says(base: Json, theirs: Json, yours: Json) -> None:
    sameness = Sameness()
    wide, *others = ({"a": [value] * 20, "b": value} for value in (base, parsed(base), theirs, yours))
    for other in others:
        assert sameness.same(wide, other) == same(wide, other)
        assert sameness.same(base, other["b"]) == same(base, other["b"])
    if type(base) is type(theirs) is type(yours) is list:
        expected = [at for at in range(20) if not same([base, theirs][at % 2], [base, yours][at % 2])]
        assert sameness.differing([base, theirs] * 10, [base, yours] * 10) == expected


@given(*[st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)] * 3, st.sampled_from([0, 20]))
def test_what_a_side_changed_is_what_same_says(base: Json, theirs: Json, yours: Json, rest: int) -> None:
    base, theirs, yours = (
        parsed({"0": side, **dict.fromkeys(range(rest), "x"), **side}) for side in (base, theirs, yours)
    )
    sameness = Sameness()
    assert sameness.changed(base, theirs) == changed(base, theirs)
    ground, is_theirs, is_yours = sameness.compare(base, theirs, yours)
    assert (is_theirs, is_yours) == (same(ground, theirs), same(ground, yours))
    for side in (theirs, yours):
        assert sameness.changed(ground, side) == changed(ground, side)
    for name in base.keys() | ground.keys():
        old, now = base.get(name, ABSENT), ground.get(name, ABSENT)
        assert same(old, now) or same(theirs.get(name, ABSENT), yours.get(name, ABSENT))


def changed(old: dict[str, Json], new: dict[str, Json]) -> list[str]:
    return [name for name, part in old.items() if not same(part, new.get(name, ABSENT))]


def test_true_and_one_stay_apart_however_large_the_rest() -> None:
    base = {"flags": {str(n): True for n in range(50)}, "z": 0}
    theirs, yours = parsed(base), parsed(base)
    theirs["flags"]["7"] = 1
    yours["flags"]["9"] = 1.0
    value = merged(base, theirs, yours)
    assert type(value["flags"]["7"]) is int
    assert type(value["flags"]["9"]) is float
    assert type(value["flags"]["8"]) is bool
    theirs["z"], yours["z"] = 1, 0
    yours = {**parsed(theirs), "z": 0}
    assert type(merged(base, theirs, yours)["flags"]["7"]) is int


# Bounds


def test_a_patch_too_long_or_with_pointers_too_long_is_written_shorter() -> None:
    name = "n" * 5_000
    base = {"a": {name: {"x": 1, "y": 1}}, "b": 1}
    outcome = merge(base, {"a": {name: {"x": 2, "y": 1}}, "b": 1}, {"a": {name: {"x": 1, "y": 2}}, "b": 2})
    assert isinstance(outcome, Merged)
    assert outcome.value == {"a": {name: {"x": 2, "y": 2}}, "b": 2}
    read_patch(outcome.patch)
    assert same(apply({"a": {name: {"x": 2, "y": 1}}, "b": 1}, outcome.patch), outcome.value)
    limits = Limits(operations_max=3)
    many = {str(n): n for n in range(10)}
    clean = merge({}, {"x": 1}, {"y": many, **many}, limits=limits)
    assert isinstance(clean, Merged)
    read_patch(clean.patch, limits)


def test_a_value_too_deep_is_an_answer() -> None:
    deep: Json = 1
    for _ in range(5_000):
        deep = {"a": deep}
    for triple in (
        ({"a": 1}, deep, {"a": 2}),
        (deep, {"a": {"a": 1}}, {"a": {"a": 2}}),
        ([deep], [1, deep], [2]),
    ):
        assert isinstance(merge(*triple), (LimitExceeded, Conflicted, Merged))
    other = json.loads("[" * 300 + "1" + "]" * 300)
    assert isinstance(merge(other, [other], [1, other]), (LimitExceeded, Conflicted, Merged))


def test_documents_come_and_go() -> None:
    assert merged_or_absent(ABSENT, {"a": 1}, ABSENT) == {"a": 1}
    assert merged_or_absent({"a": 1}, ABSENT, {"a": 1}) is ABSENT


def merged_or_absent(*values: Json) -> Json:
    outcome = merge(*values)
    assert isinstance(outcome, Merged)
    return outcome.value


SIZE = 3_000


def hostile_arrays() -> dict[str, tuple[list[Json], ...]]:
    chance = random.Random(5)
    upward = list(range(SIZE))
    shuffled = [chance.sample(upward, SIZE) for _ in range(2)]
    even, odd = list(range(0, 2 * SIZE, 2)), list(range(1, 2 * SIZE, 2))
    woven = [n for pair in zip(even, odd, strict=True) for n in pair]
    return {
        "all equal": ([0] * SIZE, [0] * (SIZE + 7), [0] * (SIZE + 9)),
        "all equal objects": ([{"a": 1}] * SIZE, [{"a": 1}] * (SIZE + 7), [{"a": 1}] * (SIZE - 9)),
        "all different": (upward, [n + SIZE for n in upward], [n - SIZE for n in upward]),
        "reversed": (upward, upward[::-1], upward[::-1]),
        "shuffled": (upward, *shuffled),
        "shuffled objects": tuple([{"k": n, "v": [n]} for n in row] for row in (upward, *shuffled)),
        "woven": (even, woven, odd),
        "zeros and ones": tuple([chance.randint(0, 1) for _ in range(SIZE)] for _ in range(3)),
        "alike": tuple([{"a": n % 3, "b": n % 5, "c": [side]} for n in upward] for side in "bty"),
        "equal hashes": tuple([{"id": (n + side) * (2**61 - 1)} for n in upward] for side in (1, 2, 3)),
    }


@pytest.mark.parametrize("name", list(hostile_arrays()))
def test_no_arrays_take_long(name: str) -> None:
    base, theirs, yours = hostile_arrays()[name]
    start = time.process_time()
    outcome = merge(base, theirs, yours)
    assert isinstance(outcome, Merged | Conflicted)
    assert time.process_time() - start < 5


# Names


def test_a_name_that_one_side_removed_was_not_renamed_by_the_other() -> None:
    """In a list of names renaming is removing and adding; nobody can tell them apart."""
    base = ["height", "reservation", "smoking"]
    yours = ["height", "booking", "smoking"]
    assert merged(base, ["height", "smoking"], yours) == yours
    theirs = ["height", "booking", "self_service", "smoking"]
    assert merged(base, theirs, yours) == theirs
    assert merged(base, yours, theirs) == theirs
    assert merged([None], ["CSS"], []) == ["CSS"]


def test_two_names_for_one_and_removed_lines_or_numbers_conflict() -> None:
    assert kinds(["a", "b"], ["a", "c"], ["a", "d"]) == [("edit_edit", "/1")]
    assert kinds(["a\n", "b\n"], ["a\n"], ["a\n", "c\n"]) == [("remove_edit", "/1")]
    assert kinds([1, 2], [1], [1, 3]) == [("remove_edit", "/1")]


def test_new_arrays_are_compared_each_by_its_own_key() -> None:
    """Whatever was compared before: nothing that is known of one array may come back as another's."""
    rows = {name: [{name: n, "v": 1} for n in range(4)] for name in "abcdefgh"}
    theirs = {name: [row[0], {name: 7, "v": 2}] for name, row in rows.items()}
    for name, row in rows.items():
        if name in "bdfh":
            theirs[name] = row[:3]
    outcome = merge({}, theirs, rows)
    assert isinstance(outcome, Conflicted)
    assert {conflict.pointer for conflict in outcome.conflicts} == {"/a", "/c", "/e", "/g"}


# Which element is which


def aligned(base: list[Json], target: list[Json]) -> Alignment:
    alignment = Aligner(depth_max=64).align(base, target)
    assert_complete(alignment, base, target)
    return alignment


def assert_complete(alignment: Alignment, base: list[Json], target: list[Json]) -> None:
    """Each element of both is told of once, in order, and those that differ are the edited ones."""
    start, kept, edited, moved, removed, added = alignment
    here = sorted([*(i for i, _ in kept), *(i for i, _ in moved), *removed])
    there = sorted([*(j for _, j in kept), *(j for _, j in moved), *added])
    end = len(base) - start - len(here)
    assert here == [*range(start, len(base) - end)]
    assert there == [*range(start, len(target) - end)]
    assert same([*base[:start], *base[len(base) - end :]], [*target[:start], *target[len(target) - end :]])
    for row in (kept, [j for _, j in kept], removed, added):
        assert row == sorted(row)
    assert sorted(edited) == sorted((i, j) for i, j in (*kept, *moved) if not same(base[i], target[j]))
    gaps = alignment.gaps()
    for index in added:
        assert gaps.of(index) == max([i for i, j in kept if j < index], default=start - 1)
    assert [(gap, j) for gap, run in alignment.by_gap().items() for j in run] == [
        (gaps.of(j), j) for j in added
    ]


SHARED: list[Json] = [{"a": True}, [1], [1, 2, 3], {"a": [1, 2], "b": False}]
ELEMENTS = st.one_of(
    st.sampled_from([1, 2, "x", True]),
    st.sampled_from(SHARED),
    st.sampled_from(SHARED).map(parsed),
    st.lists(st.integers(0, 3), min_size=3, max_size=4),
)
ROWS = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 9), "n": st.integers(0, 1), "m": st.integers(0, 1)}),
    unique_by=lambda row: row["id"],
    max_size=6,
)


@given(st.tuples(st.lists(ELEMENTS), st.lists(ELEMENTS)) | st.tuples(ROWS, ROWS))
@example(([0, SHARED[0], 1], [2, SHARED[0], parsed(SHARED[0]), 3]))
@example(([0, SHARED[0], parsed(SHARED[0]), 1], [2, SHARED[0], 3]))
@example(([{"id": 1, "n": 0, "m": 0}, {"id": 2, "n": 0}], [{"id": 3, "n": 0, "m": 0}, {"id": 2, "n": 1}]))
def test_each_element_is_accounted_for_once(arrays: tuple[list[Json], list[Json]]) -> None:
    aligned(*arrays)


@pytest.mark.parametrize("made", [lambda n: n, lambda n: {"id": n, "n": 0}, lambda n: [n]])
def test_as_many_as_can_be_keep_their_order(made: Callable[[int], Json]) -> None:
    """Of all ways to shuffle five elements."""
    base = [made(n) for n in range(5)]
    for order in permutations(range(5)):
        rising = [some for count in range(6) for some in combinations(order, count) if is_rising(list(some))]
        alignment = aligned(base, [base[n] for n in order])
        assert len(alignment.moved) == 5 - len(rising[-1])
        assert not alignment.added


def is_rising(row: list[int]) -> bool:
    return row == sorted(row)


def test_of_two_that_changed_places_the_first_one_stays() -> None:
    for base in (people("a", "b"), SHARED[:2]):
        assert aligned(base, base[::-1]).kept == [(0, 1)]


def test_equal_elements_around_a_shared_one_keep_their_places() -> None:
    middle: Json = [[7]]
    assert aligned([0, 1, middle, 2, 9], [1, 8, middle, 2, 7]).kept == [(1, 0), (2, 2), (3, 3), (4, 4)]


def test_what_stands_between_two_that_are_alike_is_paired_by_position() -> None:
    alignment = aligned([5, [1, 2, 3], 6, ["a", "b", "c"]], [[1, 2, 4], 7, ["a", "b", "d"]])
    assert alignment.edited == [(1, 0), (2, 1), (3, 2)]


def test_equal_keys_are_paired_in_order() -> None:
    assert longest_common([(1, "a"), (3, "b")], [(0, "a"), (2, "c"), (4, "b")]) == [(1, 0), (3, 4)]


LONG: Json = list(range(20, 30))


@pytest.mark.parametrize(
    ("old", "new", "is_one"),
    [
        # Half of all scalars in common, wherever they are.
        ([1, 2, 3, 4], [1, 2, 5, 6], True),
        ([1, 2, 3, 4, 5], [1, 2, 6, 7, 8], False),
        ([[1, 2, 3], [4]], [[1, 2, 3, 5], [6]], True),
        ({"a": [1, 2], "b": True}, {"a": [1, 3], "b": False}, False),
        ({"a": [1, 2], "b": [True]}, {"a": [1, 2], "b": [False]}, True),
        ({"a": [1, 2]}, {"b": [1, 2]}, False),
        # Or half of the parts.
        ([1, [2, 3, 4]], [1, [5, 6, 7]], True),
        ([1, 8, [2, 3, 4]], [1, 9, [5, 6, 7]], False),
        ({"a": True, "b": [2, 3, 4]}, {"a": True, "b": [5, 6, 7]}, True),
        ({"a": True, "b": [2, 3, 4], "c": []}, {"a": True, "b": [5, 6, 7], "c": [8]}, False),
        # Or something that holds enough to be known again; not just anything.
        ({"a": [1, 2, 3], "b": LONG, "c": [True]}, {"a": [1, 2, 3], "b": [0], "c": []}, True),
        ({"a": [1, 2], "b": LONG, "c": [True]}, {"a": [1, 2], "b": [0], "c": []}, False),
        ({"a": [1, 2, 3], "b": LONG, "c": [True]}, {"a": [4, 5, 6], "b": [0], "c": [True]}, False),
        # A container of another kind is never the same.
        ([True], {"a": True}, False),
        ({}, [], False),
    ],
)
def test_containers_that_are_alike_are_one_that_was_edited(old: Json, new: Json, is_one: bool) -> None:
    for base, target in (([old], [new]), ([new], [old])):
        assert aligned([0, *base, 1, 2], [3, 4, *target]).edited == ([(1, 2)] if is_one else [])


def test_of_what_is_alike_that_stays_which_weighs_the_most() -> None:
    weights = {"a": 8, "b": 5, "c": 3, "-": 0}

    def rows(names: tuple[str, ...], side: int) -> list[Json]:
        return [
            [f"{side}{at}", *(f"{name}{n}" for n in range(weights[name]))] for at, name in enumerate(names)
        ]

    orders = [order for count in range(1, 4) for order in permutations("abc", count)]
    orders += [("a", "-", "b", "-", "-"), ("-", "b", "c"), ("-", "a", "-", "-", "c")]
    for one, other in product(orders, orders):
        pairs = [(i, other.index(name)) for i, name in enumerate(one) if weights[name] and name in other]
        ways = [
            some
            for count in range(4)
            for some in combinations(pairs, count)
            if is_rising([j for _, j in some])
        ]
        edited = aligned(rows(one, 1), rows(other, 2)).edited
        assert sum(weights[one[i]] for i, _ in edited) == max(
            sum(weights[one[i]] for i, _ in way) for way in ways
        )
    little_more: Json = [[5, 6, [7, 8]], [1, 2, 3]]
    assert aligned(little_more, [[1, 2, 4], [5, 6, [7, 9, 0]]]).edited == [(0, 1)]


@given(VALUES, VALUES)
@example([True], [False])
@example({"a": 1}, {"a": 2})
@example([1, True, 2**60, -(2**60)], [1.0, True, float(2**60), -float(2**60)])
@example({"a": 1e300, "b": 0.5}, {"b": 0.5, "a": int(1e300)})
def test_the_form_of_values_is_equal_where_they_are_the_same(one: Json, other: Json) -> None:
    for form in (Aligner(depth_max=64).form, value_form):
        assert (form(one) == form(other)) is same(one, other)
        assert form(one) == form(copy.deepcopy(one))


def test_there_is_no_form_of_a_value_deeper_than_the_limit() -> None:
    values: list[Json] = [[[[1]]], {"a": {"a": {"a": 1}}}, {"a": [{}]}]
    for value in values:
        assert Aligner(depth_max=3).form(value)
        for deeper in ([value], {"a": value}):
            with pytest.raises(LimitExceeded) as exceeded:
                Aligner(depth_max=3).form(deeper)
            assert exceeded.value.limit == "depth"


def test_a_name_that_the_other_side_removed_was_removed_and_added() -> None:
    aligner, base, target = Aligner(depth_max=64), list("0abcd"), list("ancm")
    assert aligner.align(base, target).edited == [(2, 1), (4, 3)]
    alignment = aligner.part(base, target, [2])
    assert alignment.edited == [(4, 3)]
    assert_complete(alignment, base, target)
    assert aligner.align(base, target) == alignment


def test_a_key_is_looked_for_only_where_it_is_needed_and_then_stands() -> None:
    aligner, base, longer = Aligner(depth_max=64), people("a", "b"), people("a", "b", "c")
    assert aligner.align(base, longer).added == [2]
    assert aligner.keys == {}
    aligner.keys[id(base)] = None
    swapped = [{"id": "b", "n": 0, "m": 1}, {"id": "a", "n": 0, "m": 1}]
    assert aligner.align(base, swapped).moved == []


def test_past_the_bound_on_pairs_only_what_is_unique_holds_an_array_together() -> None:
    """And the bound is on all arrays of one comparison together."""
    base = [element for n in range(1_100) for element in (f"unique {n}", 0, 0, 0)]
    target = base.copy()
    for n in (4_390, 2_001, 7):
        del target[n]
    base, target = ["x", *base, "y"], ["z", *target, "t"]
    alignment = aligned(base, target)
    assert alignment.edited == [(0, 0), (4_401, 4_398)]
    assert len(alignment.removed) == 3
    chance = random.Random(7)
    old, new = ({name: [chance.randint(0, 1) for _ in range(3_000)] for name in "ab"} for _ in range(2))
    patch = diff(old, new)
    assert ("replace", "/b") in places(patch)
    assert ("replace", "/a") not in places(patch)


def test_past_the_bound_on_comparisons_position_tells_what_is_alike() -> None:
    """Which is on all arrays of one comparison together, too."""

    def told(count: int, first: list[Json], last: list[Json]) -> dict[str, Counter[str]]:
        """Tell what becomes of the rows of two arrays, in each of which a part is new."""
        base, target = (
            [[f"a{n}", f"b{n}", f"c{n}", f"{side}{n}", "of all"] for n in range(count)] for side in "bt"
        )
        old, new = ({name: rows.copy() for name in "xy"} for rows in (base, [*first, *target, *last]))
        patch = diff(old, new)
        return {name: Counter(op for op, path in places(patch) if path[1] == name) for name in "xy"}

    edited, apart = {"replace": 50, "add": 1}, {"remove": 90, "add": 91}
    assert told(50, [[0]], []) == {"x": edited, "y": edited}
    assert told(90, [[0]], []) == {"x": {"replace": 90, "add": 1}, "y": apart}
    by_position = {"replace": 200, "add": 1}
    assert told(200, [], [[0]]) == {"x": by_position, "y": by_position}


@pytest.mark.parametrize(
    ("old", "new", "is_renamed"),
    [
        # Half of its own scalars, two at least, which is half of all, under half of the names.
        ({"w": 1, "x": 2, "y": 3, "z": 4}, {"w": 1, "x": 2, "y": 5, "z": 6}, True),
        ({"w": 1, "x": 2, "y": 3}, {"w": 1, "y": 4, "z": 5}, False),
        ({"n": 1, "in": {"w": 1, "x": 2}}, {"n": 1, "of": {"w": 1, "x": 2}}, True),
        # Of all scalars most are the same, but too few of those that nobody else has.
        (
            {"k": 1, "l": 1, "m": 1, "w": 1, "x": 2, "y": 3, "z": 4, "v": 5},
            {"k": 1, "l": 1, "m": 1, "w": 1, "x": 2, "y": 6, "z": 7, "v": 8},
            False,
        ),
        # Of its own all are, but too few of all.
        ({"w": 1, "x": 2, "k": 1, "l": 1, "m": 1}, {"w": 1, "x": 2, "k": 2, "l": 2, "m": 2}, False),
        # All scalars are, but too few under the same name.
        ({"n": 1, "p": {"w": 1}, "q": {"x": 1}}, {"n": 1, "r": {"w": 1}, "s": {"x": 1}}, False),
    ],
)
def test_a_renamed_member_has_half_of_everything_in_common(old: Json, new: Json, is_renamed: bool) -> None:
    others = {"one": {"k": 1, "l": 1, "m": 1}, "other": {"k": 2, "l": 2, "m": 2}}
    for before, after in ((old, new), (new, old)):
        patch = diff({"old": before, **others}, {"new": after, **others})
        assert (patch[0]["op"] == "move") is is_renamed


def test_what_both_inserted_in_one_order_stays_in_it() -> None:
    assert merged([0, 1], [0, 7, 8, 5, 1], [0, 7, 8, 6, 1]) == [0, 7, 8, 5, 6, 1]
