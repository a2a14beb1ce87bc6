"""JSON patches: RFC 6902, the public conformance suite, and what a stranger may try."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_merge.patch import (
    Inapplicable,
    MalformedPatch,
    Operation,
    Replay,
    apply,
    apply_operations,
    read_patch,
    without_increments,
)
from plait_merge.pointer import format_pointer
from plait_merge.values import ABSENT, Json, LimitExceeded, Limits, is_within_depth, same

SUITE = Path(__file__).parents[2].parent / "shared" / "vectors" / "json-patch-tests"


def suite_cases() -> list[Any]:
    """Read the enabled cases of the public suite; one that says why it is skipped where it is not there."""
    if not SUITE.is_dir():
        missing = pytest.mark.skip(reason=f"json-patch-tests is not at {SUITE}")
        return [pytest.param({}, marks=missing, id="json-patch-tests")]
    cases = []
    for file in ("tests.json", "spec_tests.json"):
        for number, case in enumerate(json.loads((SUITE / file).read_text(encoding="utf-8"))):
            if "patch" in case and not case.get("disabled"):
                cases.append(pytest.param(case, id=f"{file}-{number}"))
    return cases


@pytest.mark.parametrize("case", suite_cases())
def test_the_public_conformance_suite(case: dict[str, Json]) -> None:
    before = copy.deepcopy(case)
    if "error" in case:
        with pytest.raises((Inapplicable, MalformedPatch)):
            apply(case["doc"], case["patch"])
    else:
        assert same(apply(case["doc"], case["patch"]), case.get("expected", case["doc"]))
    assert case == before


# What is refused whatever it is applied to


@pytest.mark.parametrize(
    ("operation", "detail"),
    [
        (1, "an operation is an object"),
        ({}, 'an operation has an "op"'),
        ({"op": None, "path": ""}, '"op" is not a string'),
        ({"op": ["add"], "path": ""}, '"op" is not a string'),
        ({"op": "spam", "path": ""}, "'spam' is no operation"),
        ({"op": "Add", "path": "", "value": 1}, "'Add' is no operation"),
        ({"op": "inc", "value": 1}, '"path" is missing'),
        ({"op": "add", "value": 1}, '"path" is missing'),
        ({"op": "add", "path": None, "value": 1}, '"path" is not a string'),
        ({"op": "add", "path": 0, "value": 1}, '"path" is not a string'),
        ({"op": "add", "path": "/a"}, '"add" has no "value"'),
        ({"op": "replace", "path": "/a"}, '"replace" has no "value"'),
        ({"op": "test", "path": "/a"}, '"test" has no "value"'),
        ({"op": "move", "path": "/a"}, '"from" is missing'),
        ({"op": "copy", "path": "/a", "from": 1}, '"from" is not a string'),
        ({"op": "remove", "path": "a"}, "pointer 'a' does not start with \"/\""),
        ({"op": "remove", "path": "/~2"}, 'pointer \'/~2\' has a "~" that is neither "~0" nor "~1"'),
        (
            {"op": "copy", "path": "/a", "from": "/~"},
            'pointer \'/~\' has a "~" that is neither "~0" nor "~1"',
        ),
    ],
)
def test_a_malformed_operation_is_named(operation: Json, detail: str) -> None:
    with pytest.raises(MalformedPatch) as malformed:
        read_patch([{"op": "add", "path": "", "value": None}, operation])
    assert (malformed.value.operation, malformed.value.detail) == (1, detail)
    with pytest.raises(MalformedPatch) as malformed:
        read_patch([operation])
    assert malformed.value.operation == 0


@pytest.mark.parametrize("patch", [None, {}, "[]", 1, ({"op": "remove", "path": ""},)])
def test_what_is_no_array_is_no_patch(patch: Json) -> None:
    with pytest.raises(MalformedPatch) as malformed:
        read_patch(patch)
    assert (malformed.value.operation, malformed.value.detail) == (None, "a patch is an array of operations")


def test_nothing_is_applied_of_a_patch_that_is_malformed_at_its_end() -> None:
    with pytest.raises(MalformedPatch):
        apply({}, [{"op": "test", "path": "/a", "value": 1}, {"op": "add"}])


def test_members_an_operation_should_not_have_are_ignored() -> None:
    (operation,) = read_patch([{"op": "remove", "path": "/a", "from": 1, "value": 2, "xyz": 3}])
    assert operation == Operation("remove", ("a",), None, ABSENT)


def test_operations_are_written_as_they_were_read() -> None:
    patch = [
        {"op": "add", "path": "/a~1b", "value": None},
        {"op": "remove", "path": ""},
        {"op": "move", "from": "/x/0", "path": "/y/-"},
        {"op": "test", "path": "/~0", "value": [1]},
    ]
    assert [operation.as_json() for operation in read_patch(patch)] == patch


def test_too_many_operations_are_refused() -> None:
    patch = [{"op": "test", "path": "", "value": 0}] * 3
    assert len(read_patch(patch, Limits(operations_max=3))) == 3
    with pytest.raises(LimitExceeded) as exceeded:
        read_patch(patch, Limits(operations_max=2))
    assert exceeded.value.limit == "operations"
    with pytest.raises(LimitExceeded):
        apply(0, patch, Limits(operations_max=2))


@pytest.mark.parametrize("member", ["path", "from"])
def test_pointers_are_measured_in_bytes(member: str) -> None:
    operation = {"op": "copy", "path": "", "from": ""}
    read_patch([{**operation, member: "/" + "x" * 4095}])
    read_patch([{**operation, member: "/" + "é" * 2047}])
    for pointer in ("/" + "x" * 4096, "/" + "é" * 2048):
        with pytest.raises(LimitExceeded) as exceeded:
            read_patch([{**operation, member: pointer}])
        assert (exceeded.value.limit, exceeded.value.pointer) == ("pointer_bytes", pointer)


# What does not fit the value


DOCUMENT: Json = {"a": {"b": [10, 20]}, "s": "text", "n": None, "t": True}


@pytest.mark.parametrize(
    ("operation", "pointer", "reason", "found"),
    [
        ({"op": "remove", "path": "/x"}, "/x", "missing", DOCUMENT),
        ({"op": "replace", "path": "/a/x", "value": 1}, "/a/x", "missing", {"b": [10, 20]}),
        ({"op": "add", "path": "/a/x/y", "value": 1}, "/a/x/y", "missing", {"b": [10, 20]}),
        ({"op": "test", "path": "/x", "value": None}, "/x", "missing", DOCUMENT),
        ({"op": "move", "from": "/x", "path": "/a"}, "/x", "missing", DOCUMENT),
        ({"op": "copy", "from": "/a/x", "path": "/a"}, "/a/x", "missing", {"b": [10, 20]}),
        ({"op": "copy", "from": "/s", "path": "/x/y"}, "/x/y", "missing", DOCUMENT),
        ({"op": "remove", "path": "/a/b/2"}, "/a/b/2", "index", [10, 20]),
        ({"op": "add", "path": "/a/b/3", "value": 1}, "/a/b/3", "index", [10, 20]),
        ({"op": "add", "path": "/a/b/x", "value": 1}, "/a/b/x", "index", [10, 20]),
        ({"op": "replace", "path": "/a/b/-", "value": 1}, "/a/b/-", "index", [10, 20]),
        ({"op": "remove", "path": "/a/b/-"}, "/a/b/-", "index", [10, 20]),
        ({"op": "test", "path": "/a/b/-", "value": 1}, "/a/b/-", "index", [10, 20]),
        ({"op": "move", "from": "/a/b/-", "path": "/x"}, "/a/b/-", "index", [10, 20]),
        ({"op": "add", "path": "/a/b/-/x", "value": 1}, "/a/b/-/x", "index", [10, 20]),
        ({"op": "add", "path": "/s/0", "value": 1}, "/s/0", "no-container", "text"),
        ({"op": "test", "path": "/s/0", "value": "t"}, "/s/0", "no-container", "text"),
        ({"op": "add", "path": "/n/x", "value": 1}, "/n/x", "no-container", None),
        ({"op": "remove", "path": "/a/b/0/x/y"}, "/a/b/0/x/y", "no-container", 10),
        ({"op": "test", "path": "/t", "value": 1}, "/t", "test", True),
        ({"op": "test", "path": "/a", "value": {}}, "/a", "test", {"b": [10, 20]}),
        ({"op": "move", "from": "/a", "path": "/a/b/0"}, "/a/b/0", "into-itself", {"b": [10, 20]}),
        ({"op": "move", "from": "", "path": "/a"}, "/a", "into-itself", DOCUMENT),
        ({"op": "inc", "path": "/a/b/0", "value": 1}, "/a/b/0", "unsupported", 10),
        ({"op": "inc", "path": "/x/y", "value": 1}, "/x/y", "unsupported", DOCUMENT),
    ],
)
def test_a_misfit_says_where_why_and_what_is_there(
    operation: dict[str, Json], pointer: str, reason: str, found: Json
) -> None:
    fits = {"op": "test", "path": "/s", "value": "text"}
    with pytest.raises(Inapplicable) as misfit:
        apply(DOCUMENT, [fits, operation, {"op": "remove", "path": "/nowhere"}])
    error = misfit.value
    assert (error.operation, error.pointer, error.reason) == (1, pointer, reason)
    assert same(error.found, found)


ARABIC_ONE = "\u0661"


@pytest.mark.parametrize(
    "token", ["01", "-1", "1e3", "1e0", "1.0", "+1", " 1", "1_0", ARABIC_ONE, "", "99999999999"]
)
@pytest.mark.parametrize("op", ["add", "remove", "replace", "test", "move", "copy"])
def test_indices_are_read_strictly_everywhere(op: str, token: str) -> None:
    patch = [{"op": op, "path": f"/b/{token}", "value": 1, "from": f"/b/{token}"}]
    with pytest.raises(Inapplicable) as misfit:
        apply({"b": list(range(11))}, patch)
    assert (misfit.value.reason, misfit.value.pointer) == ("index", f"/b/{token}")


def test_such_tokens_are_names_in_objects() -> None:
    names = ["01", "-1", "1e3", "-", "", ARABIC_ONE, "~", "/"]
    patch = [{"op": "add", "path": format_pointer([name]), "value": name} for name in names]
    assert apply({}, patch) == {name: name for name in names}


@pytest.mark.parametrize(
    ("value", "other"),
    [(1, True), (0, False), (None, False), ("1", 1), ([], {}), (10**999, 10**999 + 1), (2**53 + 1, 2.0**53)],
)
def test_a_test_knows_kinds_and_exact_numbers(value: Json, other: Json) -> None:
    apply({"v": [value]}, [{"op": "test", "path": "/v", "value": [value]}])
    for one, two in ((value, other), (other, value)):
        with pytest.raises(Inapplicable) as misfit:
            apply({"v": [one]}, [{"op": "test", "path": "/v", "value": [two]}])
        assert misfit.value.reason == "test"


def test_a_refused_patch_changes_nothing() -> None:
    document = copy.deepcopy(DOCUMENT)
    with pytest.raises(Inapplicable):
        apply(document, [{"op": "remove", "path": "/a/b/0"}, {"op": "remove", "path": "/a/b/7"}])
    assert document == DOCUMENT


# What applying does


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        (ABSENT, [{"op": "add", "path": "", "value": 1}], 1),
        (ABSENT, [{"op": "add", "path": "", "value": {}}, {"op": "add", "path": "/a", "value": 1}], {"a": 1}),
        ({}, [{"op": "remove", "path": ""}], ABSENT),
        ({}, [{"op": "remove", "path": ""}, {"op": "add", "path": "", "value": None}], None),
        ([1], [{"op": "replace", "path": "", "value": {"a": 1}}], {"a": 1}),
        ([1], [{"op": "add", "path": "", "value": {"a": 1}}], {"a": 1}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": ""}], {"b": 1}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a/b", "path": ""}], 1),
        ({"a": 1}, [{"op": "copy", "from": "", "path": "/b"}], {"a": 1, "b": {"a": 1}}),
        ({"a": 1}, [{"op": "move", "from": "", "path": ""}], {"a": 1}),
        ([1, 2, 3], [{"op": "move", "from": "/0", "path": "/2"}], [2, 3, 1]),
        ([1, 2, 3], [{"op": "move", "from": "/0", "path": "/-"}], [2, 3, 1]),
        ([1, 2, 3], [{"op": "move", "from": "/2", "path": "/0"}], [3, 1, 2]),
        ([1, 2], [{"op": "copy", "from": "/0", "path": "/-"}], [1, 2, 1]),
        ([1, 2], [{"op": "add", "path": "/2", "value": 3}], [1, 2, 3]),
        ({"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ],
)
def test_what_operations_do(document: Json, patch: list[Json], result: Json) -> None:
    assert same(apply(document, patch), result)


@pytest.mark.parametrize("op", ["remove", "replace", "test", "copy", "move"])
def test_no_document_is_missing_to_all_but_add(op: str) -> None:
    with pytest.raises(Inapplicable) as misfit:
        apply(ABSENT, [{"op": op, "path": "", "value": 1, "from": ""}])
    assert (misfit.value.reason, misfit.value.pointer) == ("missing", "")
    assert misfit.value.found is ABSENT


def test_adding_into_no_document_finds_nothing_there() -> None:
    with pytest.raises(Inapplicable) as misfit:
        apply(ABSENT, [{"op": "add", "path": "/a", "value": 1}])
    assert misfit.value.reason == "missing"
    assert misfit.value.found is ABSENT


def test_new_members_come_last_and_replaced_ones_keep_their_place() -> None:
    patch = [
        {"op": "add", "path": "/d", "value": 4},
        {"op": "add", "path": "/a", "value": 5},
        {"op": "replace", "path": "/b", "value": 6},
        {"op": "move", "from": "/c", "path": "/c"},
        {"op": "move", "from": "/d", "path": "/b"},
    ]
    assert list(apply({"a": 1, "b": 2, "c": 3}, patch).items()) == [("a", 5), ("b", 4), ("c", 3)]


def test_only_the_containers_on_the_way_are_copied() -> None:
    document: Json = {"a": {"b": [{}, {}], "c": {}}, "d": {}}
    result = apply(document, [{"op": "add", "path": "/a/b/0/x", "value": 1}])
    assert result == {"a": {"b": [{"x": 1}, {}], "c": {}}, "d": {}}
    assert result["d"] is document["d"]
    assert result["a"]["c"] is document["a"]["c"]
    assert result["a"]["b"][1] is document["a"]["b"][1]


def test_a_patch_of_nothing_or_of_tests_gives_the_very_same_value() -> None:
    assert apply(DOCUMENT, []) is DOCUMENT
    assert apply(DOCUMENT, [{"op": "test", "path": "/a/b/1", "value": 20.0}]) is DOCUMENT


def test_values_of_a_patch_are_shared_but_never_changed() -> None:
    value: Json = {"in": {"x": 1}, "by": {}}
    patch = [
        {"op": "add", "path": "/a", "value": value},
        {"op": "add", "path": "/b", "value": value},
        {"op": "replace", "path": "/a/in/x", "value": 2},
    ]
    before = copy.deepcopy(patch)
    result = apply({}, patch)
    assert result == {"a": {"in": {"x": 2}, "by": {}}, "b": {"in": {"x": 1}, "by": {}}}
    assert result["b"] is value
    assert result["a"]["by"] is value["by"]
    assert patch == before


def test_a_copy_of_what_the_patch_has_changed_is_a_thing_of_its_own() -> None:
    """Containers the patch has copied already are changed in place, unless a `copy` made them two."""
    patch = [
        {"op": "add", "path": "/a/b/x", "value": 1},
        {"op": "copy", "from": "/a", "path": "/c"},
        {"op": "add", "path": "/a/b/y", "value": 2},
        {"op": "add", "path": "/c/b/z", "value": 3},
        {"op": "copy", "from": "", "path": "/a/b/all"},
        {"op": "remove", "path": "/a/b/x"},
    ]
    assert apply({"a": {"b": {}}}, patch) == {
        "a": {"b": {"y": 2, "all": {"a": {"b": {"x": 1, "y": 2}}, "c": {"b": {"x": 1, "z": 3}}}}},
        "c": {"b": {"x": 1, "z": 3}},
    }


def test_a_thousand_digit_integer_passes_unharmed() -> None:
    number = 10**999 + 7
    patch = [{"op": "add", "path": "/b", "value": number}, {"op": "test", "path": "/b", "value": number}]
    assert apply({"a": number}, patch) == {"a": number, "b": number}


def test_four_thousand_edits_of_one_object_copy_it_once() -> None:
    members = {f"m{number}": number for number in range(4000)}
    operations = read_patch(
        [{"op": "replace", "path": f"/m{number}", "value": {"n": number}} for number in range(4000)]
    )
    result = apply_operations(members, operations)
    assert result == {f"m{number}": {"n": number} for number in range(4000)}


# Limits


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("op", ["add", "replace"])
def test_a_value_must_not_make_the_document_too_deep(op: str) -> None:
    limits = Limits(depth_max=5)
    document = {"a": {"b": 0}}
    assert same(
        apply(document, [{"op": op, "path": "/a/b", "value": nested(3)}], limits), {"a": {"b": nested(3)}}
    )
    with pytest.raises(LimitExceeded) as exceeded:
        apply(document, [{"op": op, "path": "/a/b", "value": nested(4)}], limits)
    assert (exceeded.value.limit, exceeded.value.pointer) == ("depth", "/a/b")


@pytest.mark.parametrize("op", ["move", "copy"])
def test_what_moves_or_is_copied_must_not_become_too_deep(op: str) -> None:
    limits = Limits(depth_max=5)
    document: Json = {"a": {"b": {}}, "v": nested(4), "w": nested(3)}
    apply(document, [{"op": op, "from": "/w", "path": "/a/v"}], limits)
    apply(document, [{"op": op, "from": "/v", "path": "/x"}], limits)
    with pytest.raises(LimitExceeded) as exceeded:
        apply(document, [{"op": op, "from": "/v", "path": "/a/v"}], limits)
    assert (exceeded.value.limit, exceeded.value.pointer) == ("depth", "/a/v")


def test_many_small_moves_cannot_dig_too_deep() -> None:
    document: Json = {f"m{number}": {} for number in range(100)}
    dive = [
        {"op": "move", "from": f"/m{number}", "path": f"/m{number + 1}/m{number}"} for number in range(99)
    ]
    with pytest.raises(LimitExceeded) as exceeded:
        apply(document, dive)
    assert exceeded.value.limit == "depth"
    assert is_within_depth(apply(document, dive[:62]), 64)
    with pytest.raises(LimitExceeded):
        apply(document, dive[:63])


def test_what_moves_no_deeper_may_be_as_deep_as_it_was() -> None:
    document: Json = {"a": {"b": nested(9)}, "c": {}}
    limits = Limits(depth_max=5)
    moved = apply(document, [{"op": "move", "from": "/a/b", "path": "/c/b"}], limits)
    assert same(moved, {"a": {}, "c": {"b": nested(9)}})


def test_doubling_by_copies_is_stopped() -> None:
    patch: list[Json] = [{"op": "add", "path": "", "value": ["x" * 100]}]
    patch += [{"op": "copy", "from": "", "path": "/-"}] * 30
    with pytest.raises(LimitExceeded) as exceeded:
        apply(ABSENT, patch)
    assert (exceeded.value.limit, exceeded.value.pointer) == ("copied_bytes", "/-")


@pytest.mark.parametrize(
    "value",
    [
        {str(number): "" for number in range(100)},
        {str(number): {} for number in range(100)},
        ["x" * number for number in range(100)],
        [[]] * 100,
        list(range(8)) * 10,
        [10**300, -(10**300)],
        [0.1234567890123456] * 100,
        [None, True] * 50,
    ],
    ids=["members", "objects", "strings", "arrays", "digits", "integers", "doubles", "literals"],
)
def test_copies_are_charged_about_what_their_json_takes(value: Json) -> None:
    size = len(json.dumps(value, separators=(",", ":")))
    patch = [{"op": "copy", "from": "/0", "path": "/-"}]
    apply([value], patch, Limits(copied_bytes_max=size + size // 50))
    with pytest.raises(LimitExceeded):
        apply([value], patch, Limits(copied_bytes_max=size - size // 50))


def test_all_of_the_budget_of_copies_may_be_spent() -> None:
    patch = [{"op": "copy", "from": "/0", "path": "/-"}] * 2
    apply(["x" * 98], patch, Limits(copied_bytes_max=200))
    with pytest.raises(LimitExceeded):
        apply(["x" * 98], patch, Limits(copied_bytes_max=199))


def test_hostile_depths_never_reach_the_stack() -> None:
    deep = nested(100_000)
    with pytest.raises(LimitExceeded):
        apply({}, [{"op": "add", "path": "/a", "value": deep}])
    for op in ("copy", "move"):
        with pytest.raises(LimitExceeded):
            apply({"a": deep, "b": {}}, [{"op": op, "from": "/a", "path": "/b/c"}])
    assert apply(deep, [{"op": "test", "path": "", "value": nested(100_000)}]) is deep


# Laws

NAMES = st.sampled_from(["a", "b", "", "0", "-", "~", "/"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0]) | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def places(value: Json, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List the pointers of everything in a value, itself first."""
    parts: list[tuple[str, Json]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = [(str(index), part) for index, part in enumerate(value)]
    return [at, *(place for token, part in parts for place in places(part, (*at, token)))]


@st.composite
def edits(draw: st.DrawFn, valid: bool) -> tuple[Json, list[Json]]:
    """Draw a document and a patch for it: one that applies, or one that may not."""
    document = draw(VALUES)
    patch: list[Json] = []
    value = document
    for _ in range(draw(st.integers(1, 6))):
        operation = draw(operations(value))
        try:
            value = apply(value, [operation])
        except (Inapplicable, LimitExceeded):
            if valid:
                continue
        patch.append(operation)
    return document, patch


@st.composite
def operations(draw: st.DrawFn, value: Json) -> dict[str, Json]:
    """Draw an operation near what is there; the root is never removed."""
    there = st.sampled_from(places(value))
    near = there | st.builds(
        lambda place, token: (*place, token), there, NAMES | st.integers(0, 3).map(str) | st.just("-")
    )
    op = draw(st.sampled_from(["add", "add", "remove", "replace", "move", "copy", "test"]))
    path = draw(near.filter(bool) if op == "remove" else near)
    operation: dict[str, Json] = {"op": op, "path": format_pointer(path)}
    if op in ("move", "copy"):
        operation["from"] = format_pointer(draw(there))
    elif op != "remove":
        operation["value"] = draw(VALUES)
    return operation


@given(edits(valid=False))
def test_applying_changes_neither_the_value_nor_the_patch(edit: tuple[Json, list[Json]]) -> None:
    before = copy.deepcopy(edit)
    document, patch = edit
    try:
        result = apply(document, patch)
    except (Inapplicable, LimitExceeded):
        result = ABSENT
    assert edit == before
    if result is not ABSENT:
        spoiled = copy.deepcopy(result)
        assert apply(document, patch) == spoiled


@given(edits(valid=True))
def test_one_patch_does_what_its_operations_do_one_by_one(edit: tuple[Json, list[Json]]) -> None:
    document, patch = edit
    value = document
    for operation in patch:
        value = apply(copy.deepcopy(value), [operation])
    assert same(apply(document, patch), value)


@given(edits(valid=True))
def test_jsonpatch_agrees_on_patches_that_apply(edit: tuple[Json, list[Json]]) -> None:
    """Tests are left out: to Python, and so to jsonpatch, True is 1."""
    document, patch = edit
    patch = [operation for operation in patch if operation["op"] != "test"]
    assert same(apply(document, patch), jsonpatch.apply_patch(document, patch))


@given(edits(valid=False))
def test_jsonpatch_refuses_what_is_inapplicable(edit: tuple[Json, list[Json]]) -> None:
    """What jsonpatch takes all the same: a test that is true to Python only."""
    document, patch = edit
    try:
        apply(document, patch)
    except Inapplicable as misfit:
        if misfit.reason != "test":
            value = apply(document, patch[: misfit.operation])
            with pytest.raises((jsonpatch.JsonPatchException, jsonpatch.JsonPointerException)):
                jsonpatch.apply_patch(value, [patch[misfit.operation]])


# -- inc, where it is asked for


def increment(by: Any, path: str = "/n") -> tuple[Operation, ...]:
    return read_patch([{"op": "inc", "path": path, "value": by}], extended=True)


@pytest.mark.parametrize(
    ("found", "by", "result"),
    [
        (1, 2, 3),
        (1, -1, 0),
        (10**40, 1, 10**40 + 1),
        (2**53, 1.0, float(2**53)),
        (0.1, 0.2, 0.30000000000000004),
        (1, 0.5, 1.5),
        (1.5, 0.5, 2.0),
        (10**400, -(10**400), 0),
    ],
)
def test_inc_adds_to_a_number(found: Any, by: Any, result: Any) -> None:
    """Exactly for integers, rounded once for doubles."""
    after = apply_operations({"n": found}, increment(by))
    assert after == {"n": result}
    assert type(after["n"]) is type(result)


def test_inc_works_on_elements_and_on_the_document() -> None:
    assert apply_operations([1, [2]], increment(1, "/1/0")) == [1, [3]]
    assert apply_operations(5, increment(1, "")) == 6


@pytest.mark.parametrize(
    ("document", "by", "reason", "found"),
    [
        ({"n": "1"}, 1, "type", "1"),
        ({"n": True}, 1, "type", True),
        ({"n": None}, 1, "type", None),
        ({"m": 1}, 1, "missing", {"m": 1}),
        ({"n": 1e308}, 1e308, "range", 1e308),
        ({"n": 10**400}, 0.5, "range", 10**400),
    ],
)
def test_inc_of_anything_else_does_not_apply(document: Any, by: Any, reason: str, found: Any) -> None:
    with pytest.raises(Inapplicable) as refusal:
        apply_operations(document, increment(by))
    assert (refusal.value.reason, refusal.value.found) == (reason, found)


def test_inc_keeps_within_the_limit_of_digits() -> None:
    with pytest.raises(LimitExceeded) as refusal:
        apply_operations({"n": 10**999 * 9}, increment(10**999))
    assert (refusal.value.limit, refusal.value.pointer) == ("integer_digits", "/n")


@pytest.mark.parametrize("by", ["1", True, None, [1], float("inf"), float("nan")])
def test_inc_by_what_is_no_number_is_no_operation(by: Any) -> None:
    with pytest.raises(MalformedPatch) as malformed:
        increment(by)
    assert (malformed.value.operation, malformed.value.detail) == (0, '"inc" has a "value" that is no number')
    with pytest.raises(MalformedPatch, match='"inc" has no "value"'):
        read_patch([{"op": "inc", "path": "/n"}], extended=True)


def test_plain_rfc_6902_has_no_inc() -> None:
    with pytest.raises(Inapplicable) as refusal:
        apply({"n": 1}, [{"op": "inc", "path": "/n", "value": 1}])
    assert refusal.value.reason == "unsupported"


def test_increments_are_written_as_what_they_came_to() -> None:
    written = without_increments({"n": 1, "m": 0}, (*increment(2), *increment(3), *increment(1, "/m")))
    assert [operation.as_json() for operation in written] == [
        {"op": "replace", "path": "/n", "value": 3},
        {"op": "replace", "path": "/n", "value": 6},
        {"op": "replace", "path": "/m", "value": 1},
    ]


def test_increments_that_apply_are_written_whatever_the_limits() -> None:
    """They were measured when they were applied."""
    large = 10**2000
    (written,) = without_increments({"n": large}, increment(1))
    assert written.value == large + 1


def test_what_a_replay_is_given_is_never_changed_by_later_steps() -> None:
    """Also where it stands in memory where something stood that the replay itself had made."""
    replay = Replay({"a": {"b": 1}})
    for operation in read_patch([{"op": "remove", "path": "/a/b"}, {"op": "remove", "path": "/a"}]):
        replay.step(operation)
    given: list[Json] = [{"x": 1} for _ in range(100)]
    for number, value in enumerate(given):
        replay.step(Operation("add", (str(number),), None, value))
        replay.step(Operation("remove", (str(number), "x"), None, ABSENT))
    assert given == [{"x": 1}] * 100
