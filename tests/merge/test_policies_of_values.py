"""What a policy says of arrays and objects holds for whole values too."""

from __future__ import annotations

from typing import Any

import pytest

from merge.test_diff import parsed
from plait_merge import Conflicted, Json, Merged, Policy, merge


def policy(rules: dict[str, Any]) -> Policy:
    return Policy.read({"rules": rules})


def merged(base: Json, theirs: Json, yours: Json, rules: dict[str, Any]) -> Json:
    outcome = merge(base, theirs, yours, policy(rules))
    assert isinstance(outcome, Merged), outcome
    return outcome.value


def conflicts(base: Json, theirs: Json, yours: Json, rules: dict[str, Any]) -> list[tuple[str, str]]:
    outcome = merge(base, theirs, yours, policy(rules))
    assert isinstance(outcome, Conflicted), outcome
    return [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts]


def lines(*counts: tuple[str, str, int]) -> Json:
    return [{"shop": shop, "sku": sku, "n": n} for shop, sku, n in counts]


BY_BOTH = {"": {"array": {"keyed": ["shop", "sku"]}}}
BY_SKU = {"": {"array": {"keyed": ["sku"]}}}


def test_elements_of_a_named_key_are_the_same_wherever_they_are() -> None:
    """One side turned the array round, the other one edited at a place that is another element's now."""
    base: Json = [{"sku": "a", "id": 1, "n": 0}, {"sku": "b", "id": 2, "n": 0}, {"sku": "c", "id": 3, "n": 0}]
    theirs: Json = [{**line, "id": 4 - line["id"]} for line in reversed(base)]
    yours: Json = [{**line, "n": line["id"] * 10} for line in base]
    value = merged(base, theirs, yours, BY_SKU)
    assert sorted((line["sku"], line["n"]) for line in value) == [("a", 10), ("b", 20), ("c", 30)]


def test_a_key_may_be_several_members() -> None:
    base = lines(("x", "a", 1), ("x", "b", 1), ("y", "a", 1))
    theirs = lines(("y", "a", 5), ("x", "b", 1), ("x", "a", 1))
    yours = lines(("x", "a", 1), ("x", "b", 7), ("y", "a", 1), ("y", "b", 2))
    value = merged(base, theirs, yours, BY_BOTH)
    expected = {("x", "a"): 1, ("x", "b"): 7, ("y", "a"): 5, ("y", "b"): 2}
    assert {(line["shop"], line["sku"]): line["n"] for line in value} == expected


def test_another_key_is_another_element_however_alike() -> None:
    base = lines(("x", "a", 1))
    renamed, edited = lines(("x", "b", 1)), lines(("x", "a", 2))
    assert conflicts(base, renamed, edited, BY_SKU) == [("remove_edit", "/0")]


def test_elements_without_a_key_of_their_own_are_as_in_a_list() -> None:
    """Those that have one are matched by it all the same, and the rest by likeness in its gap."""
    base = [{"sku": "a", "n": 1}, {"note": "free", "by": "me", "n": 1}, {"sku": "b", "n": 1}]
    theirs = [{"sku": "b", "n": 2}, {"sku": "a", "n": 1}, {"note": "free", "by": "me", "n": 1}]
    yours = [{"sku": "a", "n": 3}, {"note": "free", "by": "me", "n": 9}, {"sku": "b", "n": 1}]
    value = merged(base, theirs, yours, BY_SKU)
    assert sorted(map(str, value)) == sorted(
        map(str, [{"sku": "b", "n": 2}, {"sku": "a", "n": 3}, {"note": "free", "by": "me", "n": 9}])
    )


def test_an_array_without_the_named_key_is_a_list() -> None:
    """So one key may be named for all arrays of a document."""
    rules = {"**": {"array": {"keyed": ["sku"]}}}
    base: Json = {"l": [{"sku": 1}], "tags": ["a"], "people": [{"id": 1, "n": 1}, {"id": 2, "n": 1}]}
    theirs: Json = {**base, "tags": ["a", "b"], "people": [{"id": 2, "n": 1}, {"id": 1, "n": 5}]}
    yours: Json = {**base, "tags": ["a", "b", "c"], "people": [{"id": 1, "n": 1}, {"id": 2, "n": 7}]}
    people = [{"id": 2, "n": 7}, {"id": 1, "n": 5}]
    assert merged(base, theirs, yours, rules) == {**yours, "people": people}


def test_two_new_elements_with_a_named_key_are_one_or_a_duplicate() -> None:
    base = lines(("x", "a", 1))
    theirs, yours = [*base, {"sku": "b", "t": 1}], [{"sku": "b", "y": 1}, *base]
    value = merged(base, theirs, yours, BY_SKU)
    assert value == [*base, {"sku": "b", "t": 1, "y": 1}]
    assert conflicts(base, theirs, [*base, {"sku": "b", "t": 2}], BY_SKU) == [("duplicate_key", "/-")]


BASE: Json = {"l": [{"id": 1, "n": 0}]}
ONE: Json = {"l": [{"id": 1, "n": 0}, {"id": 2, "t": 1}]}
OTHER: Json = {"l": [{"id": 1, "n": 0}, {"id": 2, "y": 1}]}


def test_a_key_is_inferred_unless_the_policy_forbids_it() -> None:
    assert merged(BASE, ONE, OTHER, {}) == {"l": [{"id": 1, "n": 0}, {"id": 2, "t": 1, "y": 1}]}
    apart = {"l": [{"id": 1, "n": 0}, {"id": 2, "t": 1}, {"id": 2, "y": 1}]}
    assert merged(BASE, ONE, OTHER, {"/l": {"keys": "off"}}) == apart


def test_two_new_elements_of_an_inferred_key_conflict_under_strict() -> None:
    strict = {"**": {"keys": "strict"}}
    assert conflicts(BASE, ONE, OTHER, strict) == [("duplicate_key", "/l/-")]
    assert merged(BASE, ONE, ONE, strict) == ONE
    assert merged(BASE, ONE, {"l": [{"id": 1, "n": 5}]}, strict) == {"l": [{"id": 1, "n": 5}, ONE["l"][1]]}
    within = (
        {"k": [{"x": 1}, {"x": 2}, BASE]},
        {"k": [{"x": 1}, {"x": 2}, ONE]},
        {"k": [{"x": 1}, {"x": 2}, OTHER]},
    )
    assert conflicts(*within, strict) == [("duplicate_key", "/k/2/l/-")]


@pytest.mark.parametrize("word", ["array", "object"])
def test_what_is_atomic_takes_one_edit(word: str) -> None:
    base: Json = {"a": {"x": 1, "y": 1}} if word == "object" else {"a": [1, 1]}
    theirs: Json = {"a": {"x": 2, "y": 1}} if word == "object" else {"a": [2, 1]}
    yours: Json = {"a": {"x": 1, "y": 2}} if word == "object" else {"a": [1, 2]}
    rules = {"/a": {word: "atomic"}}
    assert conflicts(base, theirs, yours, rules) == [("edit_edit", "/a")]
    assert merged(base, theirs, base, rules) == theirs
    assert merged(base, theirs, theirs, rules) == theirs


def test_what_both_put_into_something_atomic_is_no_common_ground() -> None:
    rules = {"/a": {"array": "atomic"}}
    assert conflicts({"a": ["x"]}, {"a": ["x", "y"]}, {"a": ["x", "y", "z"]}, rules) == [("edit_edit", "/a")]


def test_what_is_atomic_leaves_the_rest_of_a_value_its_common_ground() -> None:
    base: Json = {"a": [1, 1], "l": ["x"]}
    theirs: Json = {"a": [1, 2], "l": ["x", "new", "t"]}
    yours: Json = {"a": [1, 1], "l": ["x", "new"]}
    assert merged(base, theirs, yours, {"/a": {"array": "atomic"}}) == theirs


def test_a_set_holds_what_both_added_once() -> None:
    rules = {"/s": {"array": "set"}}
    value = merged({"s": ["a", "b"]}, {"s": ["c", "a", "b", "d"]}, {"s": ["b", "d", "c"]}, rules)
    assert sorted(value["s"]) == ["b", "c", "d"]
    pairs = {"s": [[1, 2]]}
    assert merged(pairs, {"s": [[1, 2], [3, 4]]}, {"s": [[3, 4], [1, 2]]}, rules)["s"].count([3, 4]) == 1


def test_a_log_holds_what_both_appended_twice() -> None:
    value = merged(["a"], ["a", {"at": 1}], ["a", {"at": 1}], {"": {"array": "log"}})
    assert value == ["a", {"at": 1}, {"at": 1}]


def test_in_strict_order_two_runs_at_one_place_conflict_and_equal_ones_agree() -> None:
    rules = {"": {"order": "strict"}}
    assert conflicts(["a"], ["a", "x"], ["a", "x", "y"], rules) == [("order", "")]
    assert merged(["a"], ["a", "x"], ["a", "x"], rules) == ["a", "x"]


def test_equal_insertions_stay_two_where_equal_edits_do() -> None:
    """And nowhere else: what is not counted is shared."""
    rules = {"/stock/*/n": {"scalar": "exclusive"}}
    base: Json = {"stock": [{"id": 1, "n": 5}], "tags": ["a"]}
    theirs: Json = {"stock": [{"id": 1, "n": 4}], "tags": ["a", "b"]}
    assert conflicts(base, theirs, theirs, rules) == [("edit_edit", "/stock/0/n")]
    yours: Json = {"stock": [{"id": 1, "n": 5}], "tags": ["a", "b", "c"]}
    assert merged(base, theirs, yours, rules) == {**theirs, "tags": ["a", "b", "c"]}


def test_true_made_of_one_by_both_is_an_edit_of_both_where_edits_are_counted() -> None:
    """However large the object around it, which is compared as a whole where an edit of both is one."""
    base: Json = {"stock": {"n": 1, **{str(shelf): "full" for shelf in range(20)}}}
    side: Json = {"stock": {**base["stock"], "n": True}}
    assert conflicts(base, side, parsed(side), {"/stock/n": {"scalar": "exclusive"}}) == [
        ("edit_edit", "/stock/n")
    ]


def test_texts_are_merged_inside_of_aligned_elements() -> None:
    rules = {"/*/text": {"string": {"text": "words"}}, **BY_SKU}
    base = [{"sku": "a", "text": "one two three"}, {"sku": "b", "text": ""}]
    theirs = [{"sku": "b", "text": ""}, {"sku": "a", "text": "1 two three"}]
    yours = [{"sku": "a", "text": "one two 3"}, {"sku": "b", "text": ""}]
    value = merged(base, theirs, yours, rules)
    assert {line["sku"]: line["text"] for line in value} == {"a": "1 two 3", "b": ""}


LINES = {"/code": {"array": "lines"}}


def code(*text: str) -> Json:
    return {"code": [f"{line}\n" for line in text]}


def test_lines_of_a_text_that_touch_conflict() -> None:
    """In a list two insertions at one place are both kept; in a program that is a guess."""
    base = code("a", "b", "c", "d")
    for theirs, yours in (
        (code("a", "x", "b", "c", "d"), code("a", "y", "b", "c", "d")),
        (code("A", "b", "c", "d"), code("a", "B", "c", "d")),
        (code("a", "c", "d"), code("a", "b", "y", "c", "d")),
    ):
        assert conflicts(base, theirs, yours, LINES) == [("text", "/code")]
    assert merged(base, code("a", "x", "b", "c", "d"), code("a", "y", "b", "c", "d"), {}) == code(*"axybcd")


def test_lines_of_a_text_with_something_between_them_merge() -> None:
    base = code("a", "b", "c", "d")
    value = merged(base, code("A", "b", "c", "d"), code("a", "b", "c", "x", "d"), LINES)
    assert value == code("A", "b", "c", "x", "d")
    assert merged(base, code("a", "d"), code("a", "d"), LINES) == code("a", "d")


def test_what_is_no_text_is_one_thing_under_lines() -> None:
    base, theirs, yours = ({"code": [number, "b", "c"]} for number in (1, 2, 3))
    assert conflicts(base, theirs, yours, LINES) == [("edit_edit", "/code")]


@pytest.mark.parametrize(
    ("theirs", "yours", "chosen"),
    [
        ("1.10.0", "1.9.5", "1.10.0"),
        ("^1.2.3", "^1.2.4", "^1.2.4"),
        ("on 3.7.2, with 0.4.10", "on 3.7.2, with 0.4.9", "on 3.7.2, with 0.4.10"),
        ("1.2.3", "1.2.3.1", "1.2.3.1"),
        ("1" + "0" * 5000 + ".0.1", "9.0.1", "1" + "0" * 5000 + ".0.1"),
        ("0.5", "0.6", None),  # may be anything
        ("^1.2.3", "~1.2.4", None),
        ("1.2.3 and 2.0.0", "1.2.4 and 1.9.9", None),
        ("1.02.3", "1.2.3", None),
        (3, 4, None),
    ],
)
def test_the_newest_of_two_versions(theirs: Json, yours: Json, chosen: Json) -> None:
    """Where nothing else differs, and all versions are newer on one side."""
    rules = {"/v": {"scalar": "newest"}}
    for one, other in ((theirs, yours), (yours, theirs)):
        if chosen is None:
            assert conflicts({"v": "1.0.0"}, {"v": one}, {"v": other}, rules) == [("edit_edit", "/v")]
        else:
            assert merged({"v": "1.0.0"}, {"v": one}, {"v": other}, rules) == {"v": chosen}
