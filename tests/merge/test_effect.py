"""What a side did in the end: contents that are as they were, and what lives on outside of them."""

from __future__ import annotations

import pytest

from merge.strategies import Patch, add, copy, move, remove, replace
from plait_merge import Conflicted, Json, Rebased, apply, rebase, resolve

A: Json = {"o": {"x": 1}, "y": 1}


def merged(base: Json, theirs: Patch, yours: Patch) -> Json:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Rebased)
    return outcome.value


@pytest.mark.parametrize(
    ("before", "rest"),
    [
        pytest.param([], {"b": {}}, id="at once"),
        pytest.param([replace("/a/o/x", 5)], {"b": {}}, id="after an edit in it"),
        pytest.param([move("/a/o/x", "/c"), remove("/c")], {"b": {}}, id="after a part of it moved and went"),
        pytest.param(
            [move("/a/o/x", "/b/x"), remove("/b")], {}, id="after a part of it went with another thing"
        ),
        pytest.param([replace("/b", 1)], {"b": 1}, id="after something of another kind"),
        pytest.param(
            [move("/b", "/c"), replace("/c", {"d": 1})], {"c": {"d": 1}}, id="after something that moved"
        ),
    ],
)
def test_a_content_equal_to_what_was_there_is_no_change(before: Patch, rest: dict[str, Json]) -> None:
    """The other side may edit inside."""
    yours = [*before, replace("/a", A)]
    assert merged({"a": A, "b": {}}, [replace("/a/y", 2)], yours) == {"a": {"o": {"x": 1}, "y": 2}, **rest}


@pytest.mark.parametrize("after", [[], [replace("/b", [1])]], ids=["last", "before another"])
def test_an_equal_content_is_a_change_if_a_part_of_the_old_one_lives_on(after: Patch) -> None:
    """What the other side edits there follows the part; without it, it edits what is replaced."""
    base: Json = {"a": A, "b": [1]}
    yours = [move("/a/o/x", "/c"), replace("/a", A), *after]
    assert merged(base, [replace("/a/o/x", 2), replace("/b/0", 2)], yours) == {"a": A, "b": [2], "c": 2}
    outcome = rebase(base, [[replace("/a/y", 2)]], yours)
    assert isinstance(outcome, Conflicted)
    assert [(c.kind, c.pointer) for c in outcome.conflicts] == [("replace_edit", "/a")]


def test_an_equal_content_is_a_change_if_something_moved_into_it() -> None:
    yours = [replace("/a", {"o": {}, "y": 1}), move("/c", "/a/o/x")]
    assert merged({"a": A, "c": 1}, [replace("/c", 2)], yours) == {"a": {"o": {"x": 2}, "y": 1}}


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "value"),
    [
        pytest.param(
            {"o": {}},
            [add("/o/x", 9)],
            [add("/x", 1), copy("/o", "/k"), move("/x", "/o/x")],
            {"o": {"x": 9}, "k": {}},
            id="what came into it, though it was there before",
        ),
        pytest.param(
            {"a": 1}, [replace("/a", 2)], [copy("/a", "/k"), replace("/a", 3)], {"a": 2, "k": 1}, id="an edit"
        ),
        pytest.param(
            {"o": {"n": 1}},
            [replace("/o/n", 2)],
            [copy("/o", "/k"), replace("/o/n", 3)],
            {"o": {"n": 2}, "k": {"n": 1}},
            id="an edit in it",
        ),
        pytest.param(
            {},
            [add("/o", 5)],
            [add("/x", 1), copy("/x", "/k"), add("/o", {}), move("/x", "/o/x")],
            {"o": 5, "k": 1},
            id="a member it went into",
        ),
        pytest.param(
            {"l": []},
            [remove("/l")],
            [add("/x", 1), copy("/x", "/k"), add("/l/0", {}), move("/x", "/l/0/x")],
            {"k": 1},
            id="an element it went into",
        ),
        pytest.param(
            {"e": {}},
            [add("/o", 5)],
            [add("/x", 1), copy("/x", "/k"), copy("/e", "/o"), move("/x", "/o/x")],
            {"e": {}, "o": 5, "k": 1},
            id="a copy it went into",
        ),
    ],
)
def test_a_copy_needs_nothing_that_happened_to_its_source_later(
    base: Json, theirs: Patch, yours: Patch, value: Json
) -> None:
    """So it stays where that is not chosen."""
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    head = apply(base, theirs)
    assert apply(head, resolve(head, outcome, {c.id: "theirs" for c in outcome.conflicts})) == value
