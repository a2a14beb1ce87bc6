"""Schemas of strangers: what fits and what does not, and that none of them can stop the server."""

import time
from typing import Any

import pytest

from plait_server.service.schema import NOT_UNIQUE, TOO_LARGE, TOO_LONG, VIOLATIONS_MAX, read_schema
from plait_server.service.workload import CHECKS_MAX, PATTERNS_MAX, SchemaError

DEPTH = 64
SOON_S = 10
"""Far more than anything here takes, and far less than for ever."""

ORDER = {
    "type": "object",
    "required": ["lines"],
    "properties": {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "due": {"type": "string", "format": "date"},
    },
    "$defs": {"line": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}}},
}
TREE = {"type": "object", "required": ["name"], "properties": {"children": {"items": {"$ref": "#"}}}}


def violations(schema: Any, value: Any) -> list[tuple[str, str]]:
    return [(each.pointer, each.detail) for each in read_schema(schema, DEPTH).violations(value)]


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (ORDER, {"lines": [{"count": 1}, {}]}, []),
        (True, {"anything": [1]}, []),
        (False, 1, [("", "False schema does not allow this.")]),
        (ORDER, {}, [("", '"lines" is a required property.')]),
        (
            ORDER,
            {"lines": [{"count": 0}, {"count": "x"}] + [{}] * 8 + [{"count": 0}], "due": "soon"},
            [
                ("/due", 'This is not a "date".'),
                ("/lines/0/count", "This is less than the minimum of 1."),
                ("/lines/1/count", 'This is not of type "integer".'),
                ("/lines/10/count", "This is less than the minimum of 1."),
            ],
        ),
        (
            TREE,
            {"name": 1, "children": [{"name": 2}, {"x": 1}]},
            [("/children/1", '"name" is a required property.')],
        ),
        ({"properties": {"a/b": {"type": "null"}}}, {"a/b": 1}, [("/a~1b", 'This is not of type "null".')]),
        ({"maximum": 10**18}, 10**30, [("", f"This is greater than the maximum of {10**18}.")]),
    ],
)
def test_what_does_not_fit_is_named_by_place(schema: Any, value: Any, expected: Any) -> None:
    assert violations(schema, value) == expected


@pytest.mark.parametrize(
    ("value", "unique"),
    [
        ([1, True, "1", None, [1], {"a": 1}, 1.5, [], {}, [[]]], True),
        ([0, False], True),
        ([[0], [False]], True),
        ([10**30, 10**30 + 1], True),
        (["1", 1, "n1", "1.0"], True),
        ([1e300, 10**300], True),
        ([-0.0, 0], False),
        ([{"a": [1]}, {"a": [2]}], True),
        ([1, 1.0], False),
        ([10**30, 10**30], False),
        ([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}], False),
        ("aa", True),
    ],
)
def test_elements_are_unique_as_json(value: Any, unique: bool) -> None:
    assert violations({"uniqueItems": True}, value) == ([] if unique else [("", NOT_UNIQUE + ".")])
    assert violations({"uniqueItems": False}, value) == []


def test_a_document_of_nothing_but_long_integers_may_be_too_much() -> None:
    value = [10**900 + n for n in range(1_000)]
    assert violations({"items": {"type": "integer"}}, value) == []
    assert violations({"items": {"allOf": [{"minimum": 0}] * 100}}, value) == [("", TOO_LONG)]


def test_violations_are_bounded_and_each_is_told_once() -> None:
    assert len(violations({"items": {"type": "null"}}, list(range(1_000)))) == VIOLATIONS_MAX
    assert len(violations({"allOf": [{"type": "null"}] * 5}, 1)) == 1
    ((_, detail),) = violations({"enum": ["x" * 1_000]}, 1)
    assert len(detail) < 400


def test_in_what_is_too_large_to_look_at_in_full_the_first_violation_is_told_or_none() -> None:
    value = list(range(200_000))
    assert violations({"items": {"type": "null"}}, value) == [("/0", 'This is not of type "null".')]
    assert violations({"items": {"anyOf": [{"type": "null"}]}}, value) == [("", TOO_LARGE)]


def doubling(word: str, steps: int) -> dict[str, Any]:
    """Each step asks the next one twice."""
    steps_ = {f"s{n}": {word: [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(steps)}
    return {"$ref": "#/$defs/s0", "$defs": {**steps_, f"s{steps}": {"type": "string"}}}


def chain(length: int) -> dict[str, Any]:
    """Each step asks the next one; the last leads down into the document and back to the first."""
    steps = {f"s{n}": {"anyOf": [{"$ref": f"#/$defs/s{n + 1}"}]} for n in range(length)}
    last = {"type": "object", "properties": {"x": {"$ref": "#/$defs/s0"}}}
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{length}": last}}


def everybody_asks_everybody(count: int) -> dict[str, Any]:
    others = {f"s{n}": [{"$ref": f"#/$defs/s{m}"} for m in range(count) if m != n] for n in range(count)}
    return {"$ref": "#/$defs/s0", "$defs": {name: {"allOf": each} for name, each in others.items()}}


def nested(word: str, depth: int) -> Any:
    schema: Any = {}
    for _ in range(depth):
        schema = {word: schema}
    return schema


def intricate() -> dict[str, Any]:
    """Which parts apply to a place is another set nearly everywhere."""
    parts = {
        f"n{i}": {
            "properties": {f"p{j}": {"$ref": f"#/$defs/n{(i * 7 + j) % 60}"} for j in range(20)},
            "patternProperties": {"a": {"$ref": f"#/$defs/n{(i * 3 + 1) % 60}"}},
        }
        for i in range(40)
    }
    return {"$ref": "#/$defs/n0", "$defs": parts}


DOUBLED_BY_LEVEL = {
    "anyOf": [
        {"properties": {"x": {"$ref": "#"}}, "required": ["a"]},
        {"properties": {"x": {"$ref": "#"}}, "required": ["b"]},
    ]
}
LOOKED_AT_AGAIN: Any = {}
for _ in range(20):
    LOOKED_AT_AGAIN = {"unevaluatedProperties": False, "allOf": [LOOKED_AT_AGAIN]}

HOSTILE: list[tuple[Any, str]] = [
    ("{}", ""),
    (None, ""),
    ([], ""),
    (3, ""),
    ({"type": "strin"}, "/type"),
    ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
    ({"$ref": "http://127.0.0.1:9/schema.json"}, ""),
    ({"$ref": "file:///etc/passwd"}, ""),
    ({"$id": "file:///etc/", "$ref": "passwd"}, ""),
    ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "/$ref"),
    ({"$ref": "#/nothing"}, ""),
    ({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}, "/$ref"),
    ({"$dynamicRef": "#"}, "/$dynamicRef"),
    ({"properties": {"a": {"$id": "b"}}}, "/properties/a/$id"),
    ({"$ref": "#"}, ""),
    ({"allOf": [{"$ref": "#"}]}, ""),
    (doubling("allOf", 40), "/$defs/s33/allOf/1"),
    (doubling("anyOf", 40), "/$defs/s33/anyOf/1"),
    (DOUBLED_BY_LEVEL, "/anyOf/0/properties/x"),
    (LOOKED_AT_AGAIN, "?"),
    (everybody_asks_everybody(40), "?"),
    (chain(60), "?"),
    (chain(1_000), "?"),
    (nested("not", 200), "?"),
    (nested("properties", 2_000), "?"),
    (intricate(), "?"),
    ({"allOf": [{"uniqueItems": True}] * 20}, "/allOf/4"),
    ({"enum": [{"a": n} for n in range(100)]}, ""),
    ({"maximum": 2**64}, "/maximum"),
    ({"allOf": [{"type": "array"}] * (CHECKS_MAX + 1)}, "?"),
    ({"patternProperties": {f"p{n}": {} for n in range(PATTERNS_MAX + 1)}}, ""),
    ({"pattern": "("}, "/pattern"),
    ({"pattern": "(a)\\1"}, "/pattern"),
    ({"pattern": "(?=a)b"}, "/pattern"),
    ({"pattern": "a{1000}{1000}{10}"}, "/pattern"),
]


@pytest.mark.parametrize(("schema", "pointer"), HOSTILE)
def test_a_schema_that_cannot_be_used_is_refused_soon(schema: Any, pointer: str) -> None:
    began = time.process_time()
    with pytest.raises(SchemaError) as caught:
        read_schema(schema, DEPTH)
    assert time.process_time() - began < SOON_S
    assert pointer in ("?", caught.value.pointer)
    assert caught.value.detail


DEEP: Any = 1
for _ in range(DEPTH - 1):
    DEEP = {"x": DEEP}

HARMLESS: list[tuple[Any, Any]] = [
    ({"pattern": "(x+x+)+y"}, "x" * 200_000),
    ({"pattern": "^(a|aa)+$"}, "a" * 200_000 + "b"),
    ({"allOf": [{"pattern": f"(a|b|ab)*{n}c$"} for n in range(40)]}, "ab" * 400_000),
    ({"allOf": [{"uniqueItems": True}] * 4}, list(range(100_000))),
    ({"allOf": [{"uniqueItems": True}] * 4}, [{"a": n, "b": [n]} for n in range(40_000)]),
    ({"uniqueItems": True}, [10**400 + n for n in range(2_000)]),
    ({"uniqueItems": True}, [10**25 + n for n in range(30_000)]),
    ({"uniqueItems": True}, [n * (2**61 - 1) for n in range(40_000)]),
    ({"items": {"allOf": [{"maximum": 2**64 - 1}] * 400}}, [10**900 + n for n in range(1_000)]),
    ({"items": {"allOf": [{"maximum": 2**64 - 1}] * 400}}, [n + 0.5 for n in range(50_000)]),
    ({"items": {"minimum": 0}}, [10**900 + n for n in range(1_000)]),
    ({"items": {"enum": [{"a": n} for n in range(95)]}}, [{"a": 94}] * 100_000),
    ({"items": {"enum": [f"v{n}" for n in range(3_000)]}}, ["v2999"] * 100_000),
    ({"items": {"allOf": [{"type": "integer"}] * 490}}, list(range(100_000))),
    ({"items": {"allOf": [{"type": "integer"}] * 490}}, ["x"] * 100_000),
    ({"patternProperties": {f"a{n}$": {} for n in range(45)}}, {f"k{n}": 1 for n in range(50_000)}),
    (doubling("anyOf", 6), 1),
    (chain(10), DEEP),
    ({"properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}, "not": {"type": "integer"}}, DEEP),
    ({"oneOf": [{"properties": {"t": {"const": n}}} for n in range(200)]}, {"t": -1, "x": [1] * 100_000}),
    ({"format": "regex"}, "(" * 100_000),
    ({"format": "email"}, "a" * 500_000 + "@x"),
]


@pytest.mark.parametrize(("schema", "value"), HARMLESS)
def test_what_looks_bad_and_is_taken_is_over_soon(schema: Any, value: Any) -> None:
    began = time.process_time()
    read_schema(schema, DEPTH).violations(value)
    assert time.process_time() - began < SOON_S
