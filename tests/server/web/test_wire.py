"""What may come in as JSON, and what may not."""

import json
from itertools import product
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_server.wire import MalformedJson, UnacceptableJson, encode, parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


def read(body: bytes) -> object:
    return parse(body, 64, 1_000)


@given(VALUES)
def test_what_python_writes_is_read_as_it_was(value: object) -> None:
    assert read(json.dumps(value).encode()) == value


@given(VALUES)
def test_what_is_written_is_read_as_it_was(value: object) -> None:
    assert read(encode(value)) == value


@pytest.mark.parametrize("digits", [30, 400, 1_000])
def test_long_integers_stay_exact(digits: int) -> None:
    written = b"9" * digits
    assert encode(read(written)) == written
    assert encode(read(b"-" + written)) == b"-" + written


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,]",
        b"NaN",
        b"-Infinity",
        b"01",
        b"1 2",
        b"'a'",
        b"nul",
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'"\\ud800\\ud800"',
        b'"a\nb"',
        b"[1]\x00",
        b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises((MalformedJson, UnacceptableJson)):
        read(body)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (b"1e400", None),
        (b"-1e400", None),
        (b"[" * 65 + b"]" * 65, "depth"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "depth"),
        (b"[" * 10_000 + b"]" * 10_000, "depth"),
        (b"9" * 1_001, "integer_digits"),
        (b"[-" + b"9" * 1_001 + b"]", "integer_digits"),
        (b'{"a":1,"a":1}', None),
        (b'[{"b":{"a":1,"c":2,"a":1}}]', None),
        (b'{"a":"\\u003a","b":1,"b":1}', None),
        (b'{"a":1,"\\u0061":1}', None),
    ],
)
def test_a_value_no_document_may_hold_is_unacceptable(body: bytes, limit: str | None) -> None:
    with pytest.raises(UnacceptableJson) as refusal:
        read(body)
    assert refusal.value.limit == limit


def test_depth_is_counted_in_containers_not_in_brackets() -> None:
    """Many brackets side by side, or in strings, are not deep."""
    assert read(b"[" + b"[]," * 1_000 + b"{}]") == [[]] * 1_000 + [{}]
    assert read(b'"' + b"[" * 1_000 + b'\\""') == "[" * 1_000 + '"'
    assert read(b"[" * 64 + b"]" * 64) is not None


@given(VALUES)
def test_a_value_is_as_deep_as_its_deepest_container(value: object) -> None:
    body, depth = json.dumps([value]).encode(), depth_of([value])
    assert parse(body, depth, 1_000) == [value]
    if depth > 1:
        with pytest.raises(UnacceptableJson, match="deeper than"):
            parse(body, depth - 1, 1_000)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def test_how_deep_brackets_are_does_not_make_them_dearer() -> None:
    """A body of a megabyte in columns of nine hundred levels took five times as long as one of sixty."""
    shallow, deep = (
        b"[" + b",".join([b"[" * levels + b"]" * levels] * (500_000 // levels)) + b"]" for levels in (60, 900)
    )
    assert read_s(deep, 1_000) < 3 * read_s(shallow, 1_000) + 0.1


def read_s(body: bytes, depth_max: int) -> float:
    began = process_time()
    parse(body, depth_max, 1_000)
    return process_time() - began


def test_long_runs_of_digits_elsewhere_are_not_integers() -> None:
    digits = b"1" * 1_001
    assert read(b'"' + digits + b'"') == digits.decode()
    assert read(b"0." + digits) == float("0." + digits.decode())


def test_equal_names_in_different_objects_are_not_repeated() -> None:
    for gap, colon in product(["", " "], [":", " : "]):
        body = f'[{{"a"{colon}1}},{gap}{{"a"{colon}{{"a"{colon}"::"}}}}]'
        assert read(body.encode()) == [{"a": 1}, {"a": {"a": "::"}}]
