"""Arranging what has moved or is taken back: what is written for it, in which order."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest

from merge.strategies import Patch, add, copy, move, remove, replace
from plait_merge import Conflicted, Rebased, apply, rebase, same

Json: TypeAlias = Any


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "resolved", "taken_back"),
    [
        ({}, [add("/a", 1)], [add("/a", 0)], [add("/a", 0)], [remove("/a")]),
        # What holds a thing comes first, and it is ready before that is put into it.
        (
            {"a": {"c": 1}, "b": 2},
            [move("/a/c", "/a")],
            [replace("/a", {}), move("/b", "/a/a")],
            [add("/a", {"c": 1}), replace("/a", {}), move("/b", "/a/a")],
            [move("/a", "/a~0"), add("/a", {}), move("/a~0", "/a/c")],
        ),
        (
            [[1], {"a": []}],
            [remove("/0/0"), move("/1", "/0"), remove("/0")],
            [move("/0/0", "/1/a/0")],
            [add("/1", {"a": []}), add("/1/a/0", 1)],
            [add("/1", {"a": []}), add("/0/0", 1)],
        ),
        # What is where it shall be stays there.
        (
            {"a": 1, "b": {"b": 2}},
            [move("/b/b", "/c"), move("/a", "/b/b")],
            [move("/a", "/b/b")],
            [remove("/c")],
            [move("/b/b", "/a"), move("/c", "/b/b")],
        ),
        # Two that change places go by a spare one; what comes out of the thing in its way takes its place.
        (
            {"a": {"a": 1}, "b": 2},
            [move("/a", "/t"), move("/b", "/a"), move("/t", "/b")],
            [move("/a/a", "/a")],
            [move("/a", "/a~0"), move("/b/a", "/a"), move("/a~0", "/b")],
            [move("/b", "/b~0"), move("/a", "/b"), move("/b~0", "/a")],
        ),
        (
            {"a": {"a": {"a": {"b": 1}}}},
            [move("/a/a/a/b", "/a/c")],
            [move("/a/a", "/a")],
            [move("/a", "/a~0"), move("/a~0/a", "/a"), move("/a~0/c", "/a/a/b"), remove("/a~0")],
            [move("/a/c", "/a/a/a/b")],
        ),
        (
            {"a": {"a": {"a": {"b": 1}}}},
            [move("/a/a/a/b", "/a/a/a/a")],
            [move("/a/a/a/b", "/a/a")],
            [move("/a/a/a/a", "/a/a")],
            [move("/a/a/a/a", "/a/a/a/b")],
        ),
        (
            {"a": {"b": 1}, "b": {"c": []}},
            [move("/a", "/b")],
            [move("/a/b", "/b/c/0")],
            [move("/b", "/a"), add("/b", {"c": []}), move("/a/b", "/b/c/0")],
            [move("/b", "/a"), add("/b", {"c": []})],
        ),
        (
            {"a": {"a": {"a": 1}}},
            [move("/a/a/a", "/c")],
            [move("/a/a", "/c")],
            [move("/c", "/c~0"), move("/a/a", "/c"), move("/c~0", "/c/a")],
            [move("/c", "/a/a/a")],
        ),
        (
            {"a": [{"a": 1}], "b": []},
            [move("/a/0", "/b/-"), move("/b/0/a", "/a")],
            [move("/a/0", "/c")],
            [move("/b/0", "/c"), move("/a", "/c/a"), add("/a", [])],
            [move("/a", "/a~0"), add("/a", []), move("/b/0", "/a/0"), move("/a~0", "/a/0/a")],
        ),
        (
            {"a": {"b": 1}, "c": {}},
            [replace("/c", []), move("/a/b", "/c/-"), move("/c/0", "/c")],
            [move("/a", "/c/b")],
            [move("/c", "/c~0"), add("/c", {}), move("/a", "/c/b"), move("/c~0", "/c/b/b")],
            [move("/c", "/a/b"), add("/c", {})],
        ),
        # What was in something that is replaced goes with it, or comes back into it.
        (
            {"a": {"a": {"a": 1}}},
            [move("/a/a/a", "/a/b"), add("/a/a", 0)],
            [add("/a/a", 0)],
            [remove("/a/b")],
            [replace("/a/a", {}), move("/a/b", "/a/a/a")],
        ),
        (
            {"a": 1, "b": 2},
            [replace("", 1)],
            [move("/a", "/t"), move("/b", "/a"), move("/t", "/b")],
            [replace("", {"a": 1, "b": 2}), move("/a", "/a~0"), move("/b", "/a"), move("/a~0", "/b")],
            [replace("", {"a": 1, "b": 2})],
        ),
        (
            [{"b": 2}, {"a": 1}],
            [replace("/1", 1)],
            [replace("/1/a", {}), move("/0/b", "/1/a/c")],
            [replace("/1", {"a": 1}), replace("/1/a", {}), move("/0/b", "/1/a/c")],
            [replace("/1", {"a": 1})],
        ),
        # Something that is nowhere is put back with all that was in it.
        (
            {"a": 1},
            [replace("", 1)],
            [move("/a", "/c")],
            [replace("", {"a": 1}), move("/a", "/c")],
            [replace("", {"a": 1})],
        ),
    ],
)
def test_a_side_that_is_chosen_is_what_there_is_in_the_end(
    base: Json, theirs: Patch, yours: Patch, resolved: Patch, taken_back: Patch
) -> None:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert conflict.resolutions == {"theirs": [], "yours": resolved, "base": taken_back}
    assert same(apply(apply(base, theirs), resolved), apply(base, yours))
    assert same(apply(apply(base, theirs), taken_back), base)


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "rebased"),
    [
        (
            {"a": {}, "b": {"c": []}},
            [move("/b/c", "/a/b")],
            [add("/b/c/0", 1), move("/b", "/t")],
            [add("/a/b/0", 1), move("/b", "/t")],
        ),
        (
            {"a": 1, "b": 2},
            [replace("/b", 3)],
            [move("/b", "/c"), copy("/a", "/d")],
            [move("/b", "/c"), copy("/a", "/d")],
        ),
    ],
)
def test_what_is_clean_is_made_in_the_order_it_was_made_in(
    base: Json, theirs: Patch, yours: Patch, rebased: Patch
) -> None:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Rebased)
    assert outcome.patch == rebased
