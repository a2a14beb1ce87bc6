"""Where the places in a document are after an edit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_merge import apply, format_pointer, parse_pointer, read_patch
from plait_server.service.place import Fixed, Place, Replayed, follow, overlap
from plait_server.service.revision import STORED
from server.service.shapes import SHAPES, at, containers_in, marked, patches, places_in

VALUE: Any = {"lines": [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}], "1": {"2": 0}, "a": {"b": [1]}}
MOVES: list[tuple[Any, str, str]] = [
    ({"op": "add", "path": "/lines/0", "value": 1}, "/lines/1/n", "/lines/2/n"),
    ({"op": "add", "path": "/lines/1", "value": 1}, "/lines/1", "/lines/2"),
    ({"op": "add", "path": "/lines/2", "value": 1}, "/lines/1", "/lines/1"),
    ({"op": "add", "path": "/lines/-", "value": 1}, "/lines/1", "/lines/1"),
    ({"op": "copy", "from": "/lines/3", "path": "/lines/0"}, "/lines/3", "/lines/4"),
    ({"op": "remove", "path": "/lines/0"}, "/lines/1/n", "/lines/0/n"),
    ({"op": "remove", "path": "/lines/1"}, "/lines/1/n", "/lines"),
    ({"op": "remove", "path": "/lines/2"}, "/lines/1/n", "/lines/1/n"),
    ({"op": "move", "from": "/lines/1", "path": "/lines/3"}, "/lines/1/n", "/lines/3/n"),
    ({"op": "move", "from": "/lines/1", "path": "/lines/-"}, "/lines/1/n", "/lines/3/n"),
    ({"op": "move", "from": "/lines/3", "path": "/lines/0"}, "/lines/1", "/lines/2"),
    ({"op": "move", "from": "/lines/0", "path": "/lines/2"}, "/lines/1", "/lines/0"),
    ({"op": "move", "from": "/lines/0", "path": "/lines/2"}, "/lines/3", "/lines/3"),
    ({"op": "move", "from": "/lines", "path": "/a/lines"}, "/lines/1/n", "/a/lines/1/n"),
    ({"op": "move", "from": "/lines/1", "path": "/lines/1"}, "/lines/1", "/lines/1"),
    ({"op": "replace", "path": "/lines/1", "value": 1}, "/lines/1/n", "/lines/1/n"),
    ({"op": "add", "path": "/1/1", "value": 1}, "/1/2", "/1/2"),
    ({"op": "add", "path": "", "value": 1}, "/1/2", "/1/2"),
    ({"op": "test", "path": "/lines/1", "value": {"n": 1}}, "/lines/1", "/lines/1"),
]


def followed(patch: list[Any], pointer: str, value: Any = VALUE) -> Place:
    (place,) = follow([parse_pointer(pointer)], read_patch(patch, STORED, extended=True), Replayed(value))
    return place


@pytest.mark.parametrize(("operation", "before", "after"), MOVES)
def test_a_place_moves_with_what_it_names(operation: Any, before: str, after: str) -> None:
    place = followed([operation], before)
    assert format_pointer(place.tokens) == after


@pytest.mark.parametrize(("operation", "before", "after"), [each for each in MOVES if each[0]["path"]])
def test_the_value_after_an_operation_tells_as_much(operation: Any, before: str, after: str) -> None:
    """Who does not have the value before a patch may follow it by the one after, as presence does."""
    shape = Fixed(apply(VALUE, [operation], STORED))
    (place,) = follow([parse_pointer(before)], read_patch([operation], STORED), shape)
    assert format_pointer(place.tokens) == after


@pytest.mark.parametrize(
    ("operation", "pointer", "written"),
    [
        ({"op": "replace", "path": "/lines/1/n", "value": 5}, "/lines/1", True),
        ({"op": "replace", "path": "/lines/1", "value": 5}, "/lines/1", True),
        ({"op": "replace", "path": "/lines", "value": 5}, "/lines/1", True),
        ({"op": "replace", "path": "", "value": 5}, "/lines/1", True),
        ({"op": "replace", "path": "/lines/2", "value": 5}, "/lines/1", False),
        ({"op": "inc", "path": "/lines/1/n", "value": 5}, "/lines/1", True),
        ({"op": "inc", "path": "/lines/1/n", "value": 5}, "", True),
        ({"op": "add", "path": "/lines/1/m", "value": 5}, "/lines/1", True),
        ({"op": "add", "path": "/lines/1/n", "value": 5}, "/lines/1/n", True),
        ({"op": "add", "path": "/lines", "value": 5}, "/lines/1/n", True),
        ({"op": "add", "path": "", "value": 5}, "", True),
        ({"op": "add", "path": "/lines/1", "value": 5}, "/lines/1", False),
        ({"op": "add", "path": "/lines/-", "value": 5}, "/lines/1", False),
        ({"op": "add", "path": "/lines/-", "value": 5}, "/lines", True),
        ({"op": "add", "path": "/more", "value": 5}, "", True),
        ({"op": "add", "path": "/more", "value": 5}, "/lines", False),
        ({"op": "remove", "path": "/lines/1/n"}, "/lines/1", True),
        ({"op": "remove", "path": "/lines/1"}, "/lines/1", True),
        ({"op": "remove", "path": "/lines"}, "/lines/1", True),
        ({"op": "remove", "path": "/lines/0"}, "/lines/1", False),
        ({"op": "remove", "path": "/lines/0"}, "/lines", True),
        ({"op": "copy", "from": "/lines/1", "path": "/lines/0"}, "/lines/1", False),
        ({"op": "copy", "from": "/lines/0", "path": "/lines/1/m"}, "/lines/1", True),
        ({"op": "copy", "from": "/1", "path": "/a"}, "/a/b", True),
        ({"op": "move", "from": "/lines/1", "path": "/lines/0"}, "/lines/1", False),
        ({"op": "move", "from": "/lines", "path": "/rows"}, "/lines/1", False),
        ({"op": "move", "from": "/lines/1/n", "path": "/n"}, "/lines/1", True),
        ({"op": "move", "from": "/lines/0", "path": "/lines/1"}, "/lines/1", False),
        ({"op": "move", "from": "/lines/0", "path": "/lines/0/m"}, "/lines/1", True),
        ({"op": "move", "from": "/lines/0", "path": "/a"}, "/a/b", True),
        ({"op": "move", "from": "/lines/0", "path": "/lines/2"}, "/lines", True),
        ({"op": "test", "path": "/lines/1/n", "value": 1}, "/lines/1", False),
    ],
)
def test_to_write_is_at_it_below_it_or_over_what_it_is_in(
    operation: Any, pointer: str, written: bool
) -> None:
    assert followed([operation], pointer).written is written


def test_what_is_an_array_is_asked_when_an_operation_comes_to_it() -> None:
    """A member becomes an array and another one again, in one patch."""
    patch = [
        {"op": "replace", "path": "/a", "value": [5, 6, 7]},
        {"op": "add", "path": "/a/0", "value": 4},
        {"op": "replace", "path": "/a", "value": {"0": 1, "2": 1}},
        {"op": "add", "path": "/a/1", "value": 1},
    ]
    assert followed(patch, "/a/1", {"a": {"1": 0}}).tokens == ("a", "2")


def test_one_place_overlaps_another_where_one_is_in_the_other() -> None:
    assert overlap(("a",), ("a", "b"))
    assert overlap(("a", "b"), ("a",))
    assert overlap((), ("a",))
    assert overlap(("a",), ("a",))
    assert not overlap(("a", "b"), ("a", "c"))


# Laws, on documents in which every object and every array holds a mark of its own.


@given(st.data())
def test_what_a_place_names_is_untouched_as_long_as_nothing_is_written(data: st.DataObject) -> None:
    """Whatever others do elsewhere, it names the same thing, and that is what it was."""
    value = marked(data.draw(SHAPES), [])
    guarded = data.draw(st.sampled_from(containers_in(value)))
    before = at(value, guarded)
    patch = data.draw(patches(value))
    place = followed(patch, format_pointer(guarded), value)
    if not place.written:
        assert place.there
        assert at(apply(value, patch, STORED), place.tokens) == before


@given(st.data())
def test_what_changes_the_value_at_a_place_was_a_write(data: st.DataObject) -> None:
    """Where nothing named the same is left anywhere in the document, somebody wrote."""
    value = marked(data.draw(SHAPES), [])
    guarded = data.draw(st.sampled_from(containers_in(value)))
    before = at(value, guarded)
    patch = data.draw(patches(value))
    after = apply(value, patch, STORED)
    if all(at(after, place) != before for place in places_in(after)):
        assert followed(patch, format_pointer(guarded), value).written
