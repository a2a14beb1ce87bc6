"""The patch from one value to another: right, small, readable, and bounded in cost."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import permutations

import jsonpatch
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plait_merge.alignment import Aligner
from plait_merge.diff import diff
from plait_merge.patch import apply, read_patch
from plait_merge.values import ABSENT, Json, LimitExceeded, Limits, same

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from([0.0, 1.0, 2.5, 10**30, 1e30, 2**60, float(2**60)])
    | st.text("ab/~", max_size=2)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text("abc/~", max_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


def short(patch: list[dict[str, Json]]) -> list[str]:
    """Write each operation on a line: name, pointers, value."""
    return [
        " ".join(text if isinstance(text, str) else json.dumps(text) for text in o.values()) for o in patch
    ]


def places(patch: list[dict[str, Json]]) -> list[tuple[str, str]]:
    """Write what each operation does, and where."""
    return [(operation["op"], operation["path"]) for operation in patch]


def parsed(value: Json) -> Json:
    """Give the value as another parse of it would: the same, and nothing shared."""
    return json.loads(json.dumps(value))


# What patches look like


@pytest.mark.parametrize(
    ("base", "target", "patch"),
    [
        # Objects: member by member.
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ["replace /b 3"]),
        ({"a": 1}, {"b": 1}, ["remove /a", "add /b 1"]),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1, "d": 3}}}, ["replace /a/b/d 3"]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, ["replace /a~1b/~0 2"]),
        ({"a": None}, {}, ["remove /a"]),
        ({}, {"a": None}, ["add /a null"]),
        ({"a": {}}, {"a": []}, ["replace /a []"]),
        ({"a": {"b": 1}}, {"a": {}}, ["remove /a/b"]),
        # Kinds.
        ({"a": 1}, {"a": True}, ["replace /a true"]),
        ({"a": False}, {"a": 0}, ["replace /a 0"]),
        ([0, [5, False]], [False, [5, 0]], ["replace /0 false", "replace /1/1 0"]),
        ({"a": 1, "b": [0]}, {"b": [-0.0], "a": 1.0}, []),
        (1, [1], ["replace  [1]"]),
        # Arrays: scalars.
        ([1, 2, 3], [1, 2, 3, 4], ["add /3 4"]),
        ([1, 2, 3], [0, 1, 2, 3], ["add /0 0"]),
        ([1, 2, 3], [1, 3], ["remove /1"]),
        ([1, 2, 3], [1, 9, 3], ["replace /1 9"]),
        ([1, 2, 3], [3, 1, 2], ["move /2 /0"]),
        ([1, 2, 3], [2, 3, 1], ["move /0 /2"]),
        ([0, 0, 0, 9], [9, 0, 0, 0], ["move /3 /0"]),
        ([1, 2, 3], [4, 5], ["remove /2", "remove /1", "remove /0", "add /0 4", "add /1 5"]),
        ([1, 2, 3, 4, 5, 6], [1, 3, 4, 8, 9, 5, 6], ["remove /1", "add /3 8", "add /4 9"]),
        ([], [1, 2], ["add /0 1", "add /1 2"]),
        ([1, 2], [], ["remove /1", "remove /0"]),
        # Arrays: containers that are alike are edited, others come and go.
        ([{"id": 1, "n": 1}], [{"id": 1, "n": 2}], ["replace /0/n 2"]),
        ([{"id": 1, "n": 1}], [{"id": 2, "n": 2}], ["remove /0", 'add /0 {"id": 2, "n": 2}']),
        ([[1, 2], [3, 4]], [[1, 2], [3, 5]], ["replace /1/1 5"]),
        (
            [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3}],
            [{"id": 2, "n": 5}, {"id": 3, "n": 6}],
            ["remove /0", "replace /0/n 5", "replace /1/n 6"],
        ),
        (
            [{"id": 1, "n": 1}, {"id": 2, "n": 2}],
            [{"id": 0, "n": 0}, {"id": 1, "n": 9}, {"id": 2, "n": 2}],
            ['add /0 {"id": 0, "n": 0}', "replace /1/n 9"],
        ),
        ([7, {"a": 1, "b": 2}], [{"a": 1, "b": 3}, 8], ["remove /0", "add /1 8", "replace /0/b 3"]),
        # Documents that are not there.
        (ABSENT, {"a": 1}, ['add  {"a": 1}']),
        (ABSENT, None, ["add  null"]),
        ({"a": 1}, ABSENT, ["remove "]),
        (ABSENT, ABSENT, []),
    ],
)
def test_patches_are_small_and_readable(base: Json, target: Json, patch: list[str]) -> None:
    assert short(diff(base, target)) == patch
    assert same(apply(base, diff(base, target)), target)


def test_a_card_dragged_across_a_list_is_one_move() -> None:
    cards = [{"id": number, "title": f"card {number}", "done": False} for number in range(50)]
    dragged = [*cards[1:30], cards[0], *cards[30:]]
    assert short(diff(cards, parsed(dragged))) == ["move /0 /29"]


def test_a_shared_subtree_is_not_looked_at() -> None:
    """A value inside itself would be walked for ever."""
    knot: list[Json] = []
    knot.append(knot)
    assert short(diff({"a": knot, "b": 1}, {"a": knot, "b": 2})) == ["replace /b 2"]


# Laws


@st.composite
def versions(draw: st.DrawFn) -> tuple[Json, Json]:
    """Draw a value and what an edit or two may have made of it."""
    base = draw(VALUES)
    return base, draw(edited(base))


@st.composite
def edited(draw: st.DrawFn, value: Json) -> Json:
    """Change some of a value: parts of it edited, dropped, added, and elements in another order."""
    change = draw(st.integers(0, 9))
    if change == 0:
        return draw(VALUES)
    if isinstance(value, dict):
        members = {name: draw(edited(part)) for name, part in value.items() if draw(st.integers(0, 5))}
        return members | draw(st.dictionaries(st.text("abc", max_size=1), SCALARS, max_size=change % 2))
    if isinstance(value, list):
        elements = [draw(edited(part)) for part in value if draw(st.integers(0, 5))]
        elements += draw(st.lists(VALUES, max_size=change % 2))
        return draw(st.permutations(elements)) if change < 4 else elements
    return value


@given(versions() | st.tuples(VALUES, VALUES))
@example(([1], [True]))
@example(([2**60, 10**30], [1e30, float(2**60)]))
def test_the_patch_makes_base_the_target(values: tuple[Json, Json]) -> None:
    base, target = values
    before = copy.deepcopy(values)
    patch = diff(base, target)
    assert same(apply(base, patch), target)
    assert same(apply(parsed(base), parsed(patch)), target)
    assert values == before


@given(versions())
def test_jsonpatch_makes_the_same_of_it(values: tuple[Json, Json]) -> None:
    base, target = values
    assert same(jsonpatch.apply_patch(base, diff(base, target)), target)


@given(VALUES)
def test_a_value_does_not_differ_from_itself(value: Json) -> None:
    assert diff(value, value) == []
    assert diff(value, copy.deepcopy(value)) == []


@given(versions())
def test_a_patch_is_empty_only_between_values_that_are_the_same(values: tuple[Json, Json]) -> None:
    base, target = values
    assert (diff(base, target) == []) == same(base, target)


@given(versions())
def test_sharing_makes_no_difference_to_what_comes_out(values: tuple[Json, Json]) -> None:
    base, target = values
    assert same(apply(base, diff(base, copy.deepcopy(target))), target)


@given(versions())
def test_a_patch_holds_only_what_it_needs(values: tuple[Json, Json]) -> None:
    """No test, no copy, no operation that changes nothing."""
    base, target = values
    value = base
    for operation in diff(base, target):
        assert operation["op"] in ("add", "remove", "replace", "move")
        changed = apply(value, [operation])
        # Between equal neighbours a move may leave the value as it was while others are still to come.
        assert operation["op"] == "move" or not same(changed, value)
        value = changed


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_as_many_equal_elements_are_kept_as_the_slow_way_finds(base: list[int], target: list[int]) -> None:
    alignment = Aligner(depth_max=64).align(base, target)
    ends = len(base) - len(alignment.kept) - len(alignment.moved) - len(alignment.removed)
    equal = ends + len(alignment.kept) - len(alignment.edited)
    assert equal == longest_common(base, target)
    assert equal + len(alignment.moved) == (Counter(base) & Counter(target)).total()


def longest_common(a: list[int], b: list[int]) -> int:
    """Measure the longest common subsequence from the definition."""
    row = [0] * (len(b) + 1)
    for x in a:
        above = row
        row = [0]
        for column, y in enumerate(b):
            row.append(above[column] + 1 if x == y else max(row[column], above[column + 1]))
    return row[-1]


def test_patches_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "import json, random\n"
        "from plait_merge.diff import diff\n"
        "names = ['name%d' % n for n in range(9)]\n"
        "chance = random.Random(1)\n"
        "def value(d):\n"
        "    if d == 0: return chance.choice([0, True, 'a', None])\n"
        "    if d % 2: return [value(d - 1) for _ in range(chance.randint(0, 6))]\n"
        "    return {name: value(d - 1) for name in chance.sample(names, chance.randint(0, 6))}\n"
        "print(json.dumps([diff(value(4), value(4)) for _ in range(50)] + [diff(value(5), value(5))]))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1


# Bounds


def table(rows: int) -> list[Json]:
    return [{"id": row, "name": f"item {row}", "tags": ["a", "b"], "stock": row % 7} for row in range(rows)]


def test_few_changes_in_ten_thousand_elements_stay_few_operations() -> None:
    base = table(10_000)
    target = parsed(base)
    target[3]["stock"] = 99
    del target[5000]
    target.insert(7000, {"id": -1})
    target.insert(10, target.pop(8000))
    target[9990]["name"] = "renamed"
    assert short(diff(base, target)) == [
        "remove /5000",
        "move /7999 /10",
        'add /7001 {"id": -1}',
        "replace /3/stock 99",
        "replace /9990/name renamed",
    ]


def test_an_edit_of_every_element_stays_inside_the_elements() -> None:
    base = table(2000)
    target = parsed(base)
    for row in target:
        row["stock"] += 1
    patch = diff(base, target)
    assert len(patch) == 2000
    assert {operation["op"] for operation in patch} == {"replace"}


def test_a_large_shuffle_is_put_in_order_by_moves() -> None:
    base = table(3000)
    target = parsed(base)
    random.Random(7).shuffle(target)
    patch = diff(base, target)
    assert {operation["op"] for operation in patch} == {"move"}
    assert same(apply(base, patch), target)


def test_an_array_past_the_bound_is_replaced_whole() -> None:
    """Ten thousand zeros and ones have no element that is unique, and too many that are equal."""
    chance = random.Random(7)
    base = {"a": [chance.randint(0, 1) for _ in range(10_000)], "b": 1}
    target = {"a": [chance.randint(0, 1) for _ in range(10_000)], "b": 2}
    patch = diff(base, target)
    assert places(patch) == [("replace", "/a"), ("replace", "/b")]
    assert same(apply(base, patch), target)


def test_a_container_that_needs_too_many_operations_is_replaced_whole() -> None:
    base = {"a": {str(number): number for number in range(20)}, "b": 1}
    target = {"a": {str(number): -number - 1 for number in range(20)}, "b": 2}
    limits = Limits(operations_max=10)
    patch = diff(base, target, limits)
    assert places(patch) == [("replace", "/a"), ("replace", "/b")]
    read_patch(patch, limits)


def test_integers_with_equal_hashes_cost_no_more_than_others() -> None:
    """In a table they would all fall into one place, and twenty thousand of them take minutes."""
    modulus = sys.hash_info.modulus
    base = [number * modulus for number in range(1, 20_000)]
    target = [number * modulus for number in range(20_000, 39_998)]
    assert diff(base, target)


def test_values_past_the_depth_are_refused() -> None:
    def nested(depth: int, inner: Json, in_arrays: bool) -> Json:
        for _ in range(depth):
            inner = [0, inner] if in_arrays else {"a": inner}
        return inner

    for in_arrays in (False, True):
        assert len(diff(nested(64, 1, in_arrays), nested(64, 2, in_arrays))) == 1
        with pytest.raises(LimitExceeded) as exceeded:
            diff(nested(100_000, 1, in_arrays), nested(100_000, 2, in_arrays))
        assert exceeded.value.limit == "depth"


def test_a_thousand_digit_integer_is_compared_exactly() -> None:
    assert diff([10**999, 1], [10**999, 1]) == []
    assert short(diff({"n": 10**30}, {"n": 1e30})) == [f"replace /n {1e30}"]
    assert diff({"n": 10**22}, {"n": 1e22}) == []


def counted(*numbers: int, by: int = 0) -> dict[str, Json]:
    """Objects with so many members, by name."""
    return {name: dict.fromkeys(map(str, range(n)), by) for name, n in zip("abcd", numbers, strict=False)}


@pytest.mark.parametrize(
    ("sizes", "replaced"),
    [
        ((10,), Counter({"/a/": 10})),
        ((11,), Counter({"/a": 1})),
        ((4, 6), Counter({"/a/": 4, "/b/": 6})),
        ((4, 11, 5), Counter({"/a/": 4, "/b": 1, "/c/": 5})),
        ((8, 5), Counter({"": 1})),
    ],
)
def test_only_what_takes_too_many_operations_is_replaced_whole(
    sizes: tuple[int, ...], replaced: Counter[str]
) -> None:
    patch = diff(counted(*sizes), counted(*sizes, by=1), Limits(operations_max=10))
    assert Counter(path[:3] for _, path in places(patch)) == replaced


KNOWN: Json = {"x": [1, 2, 3], "y": "only here"}


def test_around_and_out_of_what_is_replaced_whole_things_move_or_do_not() -> None:
    limits = Limits(operations_max=10)
    many, changed = counted(20)["a"], counted(20, by=1)["a"]
    base: Json = {"a": {"k": KNOWN}, "b": many, "c": {}}
    target: Json = {"a": {}, "b": changed, "c": {"k": KNOWN}}
    assert short(diff(base, target, limits))[:1] == ["move /a/k /c/k"]
    assert short(diff(target, base, limits))[:1] == ["move /c/k /a/k"]
    assert places(diff(base, target, limits))[1:] == [("replace", "/b")]
    base, target = {"b": {**many, "k": KNOWN}, "c": {}}, {"b": changed, "c": {"k": KNOWN}}
    assert places(diff(base, target, limits)) == [("replace", "/b"), ("add", "/c/k")]
    assert places(diff(target, base, limits)) == [("replace", "/b"), ("remove", "/c/k")]


def test_members_are_renamed_in_more_than_one_object() -> None:
    base = {name: {"old": {**KNOWN, "of": name, "n": 1}} for name in "ab"}
    target = {name: {"new": {**KNOWN, "of": name, "n": 2}} for name in "ab"}
    assert short(diff(base, target)) == [
        "move /a/old /a/new",
        "move /b/old /b/new",
        "replace /a/new/n 2",
        "replace /b/new/n 2",
    ]


@pytest.mark.parametrize(("others", "moves"), [(999, 1), (1_000, 0)])
def test_where_too_much_has_gone_and_come_nothing_has_moved(others: int, moves: int) -> None:
    gone, come = ({f"{side}{n}": [side, n, n] for n in range(others)} for side in "gc")
    base: Json = {"a": {**gone, "k": KNOWN}, "b": {}}
    target: Json = {"a": {}, "b": {**come, "k": KNOWN}}
    assert Counter(op for op, _ in places(diff(base, target)))["move"] == moves


def test_the_limits_of_a_comparison_are_its_own() -> None:
    base: Json = {"a": {"k": KNOWN}, "b": {"in": {}}}
    target: Json = {"a": {}, "b": {"in": {"k": KNOWN}}}
    for _ in range(70):
        base, target = {"in": base}, {"in": target}
    assert places(diff(base, target, Limits(depth_max=100)))[0][0] == "move"
    with pytest.raises(LimitExceeded) as exceeded:
        diff(base, target, Limits(depth_max=3))
    assert (exceeded.value.limit, exceeded.value.pointer) == ("depth", "/in/in/in")


@pytest.mark.parametrize("name", ["n" * 8, "é" * 4, "~" * 4, "/" * 4, "\U0001f44d" * 2])
def test_only_pointers_that_are_too_long_are_left_out(name: str) -> None:
    """Of nine bytes each, whatever stands before, beside or behind them."""
    for base, target in (
        ({name: 1, "b": 1}, {name: 2, "b": 2}),
        ({name: 1, "b": {"k": 1}}, {"b": {"k": 2}}),
        ({"b": {"k": 1}}, {"b": {"k": 2}, name: 1}),
        ({name: KNOWN, "b": {}}, {"b": {"k": KNOWN}}),
    ):
        assert all(pointer for _, pointer in places(diff(base, target, Limits(pointer_bytes_max=9))))
        assert diff(base, target, Limits(pointer_bytes_max=8)) == [
            {"op": "replace", "path": "", "value": target}
        ]


def test_moves_behind_an_equal_front_put_all_in_order() -> None:
    front = ["these", "stay", "where", "they", "are"]
    base = [*front, *range(5)]
    for order in permutations(range(5)):
        patch = diff(base, [*front, *order])
        assert apply(base, patch) == [*front, *order]
        assert {op for op, _ in places(patch)} <= {"move"}
