"""JSON pointers: RFC 6901, and indices that Python's `int` would take and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_merge.pointer import (
    InvalidPointer,
    Tokens,
    array_index,
    format_pointer,
    parse_pointer,
    pointer_order,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ()),
        ("/foo", ("foo",)),
        ("/foo/0", ("foo", "0")),
        ("/", ("",)),
        ("//", ("", "")),
        ("/a~1b", ("a/b",)),
        ("/c%d", ("c%d",)),
        ("/e^f", ("e^f",)),
        ("/g|h", ("g|h",)),
        ("/i\\j", ("i\\j",)),
        ('/k"l', ('k"l',)),
        ("/ ", (" ",)),
        ("/m~0n", ("m~n",)),
        ("/~01", ("~1",)),
        ("/~10", ("/0",)),
        ("/é/\U0001f600", ("é", "\U0001f600")),
    ],
)
def test_the_examples_of_the_rfc_read_and_write(text: str, tokens: Tokens) -> None:
    assert parse_pointer(text) == tokens
    assert format_pointer(tokens) == text


@pytest.mark.parametrize("text", ["a", "a/b", "#/a", " /a", "/~", "/~2", "/a~", "/a~b/c", "/~~0", "~0"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(InvalidPointer):
        parse_pointer(text)


@given(st.lists(st.text("ab/~01é", max_size=4)))
def test_tokens_survive_a_round_trip(tokens: list[str]) -> None:
    assert parse_pointer(format_pointer(tokens)) == tuple(tokens)


@pytest.mark.parametrize(("token", "index"), [("0", 0), ("7", 7), ("10", 10), ("9999999999", 9_999_999_999)])
def test_indices_are_digits_without_leading_zeros(token: str, index: int) -> None:
    assert array_index(token) == index


@pytest.mark.parametrize(
    "token",
    # The last three are digits to Python: an Arabic, a superscript and a full-width one.
    [
        "",
        "00",
        "01",
        "-0",
        "-1",
        "+1",
        "1e3",
        "1.0",
        "1_0",
        " 1",
        "1 ",
        "-",
        "x",
        "9" * 11,
        "\u0661",
        "\u00b2",
        "\uff11",
    ],
)
def test_everything_else_is_no_index(token: str) -> None:
    assert array_index(token) is None


def test_pointers_are_in_the_order_of_their_parts_indices_before_names_and_by_number() -> None:
    """What has more digits than an index is a name."""
    ordered = [
        [],
        ["2"],
        ["2", "a"],
        ["10"],
        ["9999999999"],
        ["+"],
        ["12345678901"],
        ["a"],
        ["a", "0"],
        ["\u0661"],
    ]
    assert sorted([*ordered[5:], *ordered[:5]], key=pointer_order) == ordered
