"""Policies as data: what is read, what is refused, and which of several patterns counts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_merge import CONFLICT, Policy, PolicyError, Rule
from plait_merge.policy import DEFAULT, PLACES_REMEMBERED_MAX, RULES_MAX, Resolver, policy_schema

WRITTEN: dict[str, Any] = {
    "version": 3,
    "rules": {
        "/stock": {"scalar": "sum"},
        "/lines": {"array": {"keyed": ["sku", "lot"]}, "order": "strict"},
        "/lines/*/note": {"string": {"text": "lines"}, "replace": "deep"},
        "/tags": {"array": "set"},
        "/log": {"array": "log", "keys": "off"},
        "/address": {"object": "atomic"},
        "/name": {"string": "atomic"},
        "**": {"string": {"text": "words"}},
    },
}


RESOLVER: Resolver = lambda base, theirs, yours, at: CONFLICT  # noqa: E731


def policy(rules: dict[str, Any]) -> Policy:
    return Policy.read({"rules": rules})


def test_a_policy_reads_as_it_was_written() -> None:
    read = Policy.read(WRITTEN)
    assert read.version == 3
    assert read.at(("stock",)) == Rule(scalar="sum", text="words")
    assert read.at(("lines",)) == Rule(array="keyed", key=("sku", "lot"), order="strict", text="words")
    assert read.at(("lines", "7", "note")) == Rule(text="lines", replace="deep")
    assert read.at(("title",)) == Rule(text="words")
    assert read.as_json() == WRITTEN


def test_nothing_stated_is_the_default_and_one_object() -> None:
    assert Policy.read({}).at(()) is DEFAULT
    assert policy({"/a": {"scalar": "max"}}).at(("b",)) is DEFAULT
    assert policy({}).at(("a", "b")) == Rule()


def test_a_version_is_kept_and_no_more() -> None:
    assert Policy.read({"version": "2024-05"}).version == "2024-05"
    assert Policy.read({"rules": {}}).version is None
    assert Policy.read({"version": 1, "rules": {}}) != Policy.read({"version": 2, "rules": {}})


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", ["/"], ["/a"]),
        ("/", ["//"], ["/a", ""]),
        ("/a", ["/a"], ["", "/b", "/a/b"]),
        ("/*", ["/a", "/0", "/-"], ["", "/a/b"]),
        ("**", ["", "/a", "/a/b/c"], []),
        ("/**", ["", "/a", "/a/b/c"], []),
        ("/a/**", ["/a", "/a/b", "/a/b/c"], ["", "/b"]),
        ("**/a", ["/a", "/b/a", "/a/b/a"], ["", "/a/b"]),
        ("/**/*", ["/a", "/a/b"], [""]),
        ("/a/**/b/*/**/c", ["/a/b/x/c", "/a/b/b/b/x/c", "/a/x/b/x/y/c/c"], ["/a/b/c", "/a/x/c", "/b/x/c"]),
        ("/a~1b/~0", ["/a~1b/~0"], ["/a/b/~0"]),
    ],
)
def test_a_pattern_is_a_pointer_with_one_and_any_number_of_tokens(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    ruled = policy({pattern: {"scalar": "max"}})

    def applies(pointer: str) -> bool:
        tokens = [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]]
        if pointer == "/":
            tokens = []
        if pointer == "//":
            tokens = [""]
        return ruled.at(tuple(tokens)).scalar == "max"

    assert [pointer for pointer in matching if not applies(pointer)] == []
    assert [pointer for pointer in others if applies(pointer)] == []


@pytest.mark.parametrize(
    ("general", "specific", "pointer"),
    [
        ("**", "", ()),
        ("**", "/*", ("a",)),
        ("**", "/**/*", ("a",)),
        ("/**/*", "/*", ("a",)),
        ("/*/*", "/**/b", ("a", "b")),
        ("/**/b", "/a/**", ("a", "b")),
        ("/*/b", "/a/*", ("a", "b")),
        ("/a/**", "/a", ("a",)),
        ("/a/**", "/*/b/**/c", ("a", "b", "c")),
        ("/a/**/c", "/a/*/c", ("a", "b", "c")),
        ("/a/*/c", "/a/b/c", ("a", "b", "c")),
        ("/**/b/**", "/**/a/**", ("a", "b")),
        ("/**/a/**/*", "/**/b/*/**", ("a", "b", "c")),
    ],
)
def test_the_most_specific_pattern_wins_in_whatever_order_they_are_written(
    general: str, specific: str, pointer: tuple[str, ...]
) -> None:
    one, other = {general: {"scalar": "theirs"}}, {specific: {"scalar": "yours"}}
    assert policy(one | other).at(pointer).scalar == "yours"
    assert policy(other | one).at(pointer).scalar == "yours"


def test_each_word_is_looked_up_by_itself() -> None:
    ruled = policy({"**": {"string": {"text": "words"}, "scalar": "theirs"}, "/a": {"scalar": "conflict"}})
    assert ruled.at(("a",)) == Rule(scalar="conflict", text="words")


def test_a_word_can_take_another_back() -> None:
    ruled = policy({"**": {"array": {"keyed": ["id"]}}, "/a": {"array": "list", "string": "atomic"}})
    assert ruled.at(("a",)) == DEFAULT


def test_members_named_like_wildcards_are_only_met_by_wildcards() -> None:
    assert policy({"/*": {"scalar": "max"}}).at(("*",)).scalar == "max"


REFUSED: list[tuple[Any, str, str]] = [
    ([], "", "an array is not an object; known are version, rules"),
    ({"rule": {}}, "/rule", "'rule' is not known here; known are version, rules"),
    ({"version": 1.5}, "/version", "a version is an integer or a string"),
    ({"version": True}, "/version", "a version is an integer or a string"),
    ({"rules": []}, "/rules", "rules are an object"),
    ({"rules": {"a": {}}}, "/rules/a", "pointer 'a' does not start with \"/\""),
    ({"rules": {"**a": {}}}, "/rules/**a", "pointer '**a' does not start with \"/\""),
    ({"rules": {"/~2": {}}}, "/rules/~1~02", 'pointer \'/~2\' has a "~" that is neither "~0" nor "~1"'),
    ({"rules": {"**": {}, "/**": {}}}, "/rules/~1**", "the same pattern is there in another spelling"),
    (
        {"rules": {"**/a": {}, "/**/**/a": {}}},
        "/rules/~1**~1**~1a",
        "the same pattern is there in another spelling",
    ),
    ({"rules": {"/a": 1}}, "/rules/~1a", "1 is not an object; known are object, replace, array"),
    ({"rules": {"/a": {"scaler": "sum"}}}, "/rules/~1a/scaler", "'scaler' is not known here; known are"),
    (
        {"rules": {"/a": {"scalar": "summ"}}},
        "/rules/~1a/scalar",
        "'summ' is no word for \"scalar\"; known are"
        " conflict, theirs, yours, max, min, newest, sum, exclusive",
    ),
    ({"rules": {"/a": {"scalar": None}}}, "/rules/~1a/scalar", 'None is no word for "scalar"'),
    ({"rules": {"/a": {"object": {}}}}, "/rules/~1a/object", 'an object is no word for "object"'),
    (
        {"rules": {"/a": {"array": "keyed"}}},
        "/rules/~1a/array",
        '\'keyed\' is no word for "array"; known are list, set, log, lines, atomic, {"keyed": [...]}',
    ),
    (
        {"rules": {"/a": {"string": "words"}}},
        "/rules/~1a/string",
        '\'words\' is no word for "string"; known are atomic, {"text": ...}',
    ),
    ({"rules": {"/a": {"array": {}}}}, "/rules/~1a/array", "is empty; known are keyed"),
    ({"rules": {"/a": {"array": {"keyed": []}}}}, "/rules/~1a/array/keyed", "a key is an array of member"),
    ({"rules": {"/a": {"array": {"keyed": "id"}}}}, "/rules/~1a/array/keyed", "a key is an array of member"),
    ({"rules": {"/a": {"array": {"keyed": ["a", "a"]}}}}, "/rules/~1a/array/keyed", "a key has up to 8"),
    ({"rules": {"/a": {"string": {}}}}, "/rules/~1a/string", "is empty; known are text"),
    (
        {"rules": {"/a": {"string": {"text": "word"}}}},
        "/rules/~1a/string/text",
        "'word' is no word for \"text\"; known are lines, words, characters",
    ),
    ({"rules": {"/a": {"resolver": "later"}}}, "/rules/~1a/resolver", "'later' is no registered resolver"),
]


@pytest.mark.parametrize(("written", "pointer", "message"), REFUSED)
def test_what_is_no_policy_is_refused_with_the_place_and_the_words_that_would_do(
    written: Any, pointer: str, message: str
) -> None:
    with pytest.raises(PolicyError) as refusal:
        Policy.read(written)
    assert refusal.value.pointer == pointer
    assert str(refusal.value).startswith(f"policy, at {pointer!r}: {message}")


def test_there_are_only_so_many_rules() -> None:
    rules: dict[str, Any] = {f"/{number}": {} for number in range(RULES_MAX)}
    assert len(policy(rules).rules) == RULES_MAX
    with pytest.raises(PolicyError, match="more than 256 rules") as refusal:
        policy({**rules, "/more": {}})
    assert refusal.value.pointer == "/rules"
    assert len(policy({"/a" * 64: {}}).rules) == 1
    with pytest.raises(PolicyError, match="more than 64 tokens"):
        policy({"/a" * 65: {}})


def test_a_resolver_is_registered_by_name() -> None:
    read = Policy.read(
        {"rules": {"/a": {"resolver": "never"}}},
        resolvers={"never": RESOLVER},
    )
    assert read.at(("a",)).resolver == "never"
    assert repr(CONFLICT) == "CONFLICT"
    assert read.as_json() == {"rules": {"/a": {"resolver": "never"}}}
    with pytest.raises(PolicyError) as refusal:
        Policy.read(read.as_json(), resolvers={"b": RESOLVER, "a": RESOLVER})
    assert refusal.value.known == ("a", "b")


def test_many_different_places_do_not_fill_the_memory() -> None:
    ruled = policy({"/*": {"scalar": "max"}})
    for number in range(PLACES_REMEMBERED_MAX + 10):
        assert ruled.at((str(number),)).scalar == "max"
    assert len(ruled._known) <= PLACES_REMEMBERED_MAX


@pytest.mark.parametrize(
    ("rules", "place", "whole"),
    [
        ({"/a": {"object": "atomic"}}, ("a", "b", "c"), ("a",)),
        ({"/a": {"object": "atomic"}}, ("a",), ("a",)),
        ({"/a": {"object": "atomic"}}, ("b", "c"), ("b", "c")),
        ({"**": {"array": "set"}}, ("a", "0"), ()),
        ({"/l": {"array": {"keyed": ["id"]}}, "**": {"array": "list"}}, ("l", "0", "id"), ("l",)),
        ({"/a": {"scalar": "sum"}}, ("a", "b"), ("a", "b")),
    ],
)
def test_an_edit_inside_of_one_thing_concerns_all_of_it(
    rules: dict[str, Any], place: tuple[str, ...], whole: tuple[str, ...]
) -> None:
    assert policy(rules).within(place) == whole


@pytest.mark.parametrize(
    ("pattern", "counting", "others"),
    [
        ("/a/b", [(), ("a",), ("a", "b")], [("b",), ("a", "c"), ("a", "b", "c")]),
        ("/*/b", [(), ("a",), ("c", "b")], [("a", "c"), ("a", "b", "c")]),
        ("/a/**", [(), ("a",), ("a", "b", "c")], [("b",)]),
        ("**/a", [(), ("a",), ("b", "c")], []),
    ],
)
def test_equal_values_count_as_two_where_a_counter_is_or_may_be_inside(
    pattern: str, counting: list[tuple[str, ...]], others: list[tuple[str, ...]]
) -> None:
    for word in ("sum", "exclusive"):
        ruled = policy({pattern: {"scalar": word}, "/z": {"array": "log", "scalar": "max"}})
        assert [place for place in counting if not ruled.counts_within(place)] == []
        assert [place for place in others if ruled.counts_within(place)] == []
        assert [
            place for place in counting if place and not ruled.under(place[:1]).counts_within(place[1:])
        ] == []
    assert not policy({pattern: {"scalar": "max"}}).counts_within(())


# -- the schema published for others says the same as the reader


def accepts(schema: Any, value: Any) -> bool:
    """As much of JSON Schema as the schema of policies uses."""
    if "oneOf" in schema:
        return sum(accepts(one, value) for one in schema["oneOf"]) == 1
    if "enum" in schema:
        return value in schema["enum"]
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    kinds = {dict: "object", list: "array", str: "string", int: "integer", type(None): "null"}
    if kinds.get(type(value)) not in types:
        return False
    if isinstance(value, list):
        return (
            schema["minItems"] <= len(value) <= schema["maxItems"]
            and all(accepts(schema["items"], part) for part in value)
            and (not schema["uniqueItems"] or len(set(value)) == len(value))
        )
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema["additionalProperties"]
        names = schema.get("propertyNames", {"pattern": ""})
        return (
            len(value) <= schema.get("maxProperties", len(value))
            and all(name in value for name in schema.get("required", ()))
            and all(re.search(names["pattern"], name) for name in value)
            and all(
                accepts(known[name], part) if name in known else other is not False and accepts(other, part)
                for name, part in value.items()
            )
        )
    return True


def reads(written: Any) -> bool:
    try:
        Policy.read(written, {"r": RESOLVER})
    except PolicyError:
        return False
    return True


WORDS = st.sampled_from(
    ["merge", "atomic", "deep", "opaque", "list", "set", "log", "free", "strict", "infer", "off", "sum", None]
)
NAMES = st.sampled_from(["object", "replace", "array", "order", "keys", "scalar", "string", "other"])
KEYED = st.lists(st.sampled_from(["a", "b", 1]), max_size=3).map(lambda key: {"keyed": key})
TEXTS = st.sampled_from(["words", "lines", "characters", "letters"]).map(lambda unit: {"text": unit})
RULES = st.dictionaries(NAMES, st.one_of(WORDS, KEYED, TEXTS, st.just({}), st.lists(WORDS, max_size=1)))
PATTERNS = st.sampled_from(["", "**", "/a", "/*", "**/a", "a", "/~0", "/~2", "**a", "/a/**/b", "/ü\n"])
POLICIES: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "version": st.sampled_from([1, "1", None, [], {}]),
            "rules": st.dictionaries(PATTERNS, st.one_of(RULES, WORDS), max_size=3),
        },
    ),
    RULES,
    WORDS,
)


def rule(**words: Any) -> dict[str, Any]:
    return {"rules": {"/a": words}}


KEY = list("abcdefgh")
NO_KEYS: list[Any] = [[1], [[]], [*KEY, "i"]]
NO_ARRAYS: list[Any] = [1, [], {"keyed": ["a"], "by": 1}, {"by": ["a"]}, *({"keyed": key} for key in NO_KEYS)]
NO_STRINGS: list[Any] = [1, [], {"text": "lines", "by": 1}, {"by": "lines"}, {"text": 1}]


@pytest.mark.parametrize(
    "written",
    [
        *({"version": version} for version in (1, "1", None)),
        {"rules": {f"/{n}": {} for n in range(RULES_MAX)}},
        *({"rules": {pattern: {}}} for pattern in ("", "/", "**", "**/a", "/**/a", "/~0~1")),
        *(rule(object=word) for word in ("merge", "atomic")),
        *(rule(replace=word) for word in ("opaque", "deep")),
        *(rule(array=word) for word in ("list", "set", "log", "lines", "atomic")),
        *(rule(array={"keyed": key}) for key in (["a"], KEY)),
        *(rule(order=word) for word in ("free", "strict")),
        *(rule(keys=word) for word in ("infer", "off", "strict")),
        *(rule(scalar=word) for word in ("theirs", "yours", "max", "min", "newest", "sum", "exclusive")),
        rule(string="atomic"),
        *(rule(string={"text": unit}) for unit in ("lines", "words", "characters")),
        rule(resolver="r"),
    ],
)
def test_the_schema_and_the_reader_take_what_is_a_policy(written: Any) -> None:
    assert reads(written)
    assert accepts(policy_schema(), written)


@pytest.mark.parametrize(
    "written",
    [
        *(written for written, *_, text in REFUSED if "registered" not in text and "spelling" not in text),
        {"rules": {f"/{n}": {} for n in range(RULES_MAX + 1)}},
        *(rule(array=word) for word in NO_ARRAYS),
        *(rule(string=word) for word in NO_STRINGS),
        rule(resolver=1),
    ],
)
def test_the_schema_and_the_reader_refuse_what_is_none(written: Any) -> None:
    assert not reads(written)
    assert not accepts(policy_schema(), written)


def test_the_schema_says_what_it_is_written_in() -> None:
    assert policy_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@given(POLICIES)
def test_the_schema_takes_what_the_reader_takes(written: Any) -> None:
    assert accepts(policy_schema(), written) == reads(written)


@given(POLICIES.filter(reads))
def test_a_policy_written_and_read_again_is_the_same(written: Any) -> None:
    read = Policy.read(written)
    assert Policy.read(read.as_json()) == read
