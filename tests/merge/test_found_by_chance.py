"""Merges that went wrong once, found by random search and shrunk: the smallest story of each.

Whatever is chosen, a settlement applies, and the model agrees.
"""

from __future__ import annotations

from itertools import islice, product
from typing import Any

import pytest

from merge.model import Conflicts, Merged, merge_patches
from plait_merge import Conflicted, Rebased, apply, rebase, resolve, same

Patch = list[dict[str, Any]]


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def cut(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": path}


def move(source: str, path: str) -> dict[str, Any]:
    return {"op": "move", "from": source, "path": path}


def copy(source: str, path: str) -> dict[str, Any]:
    return {"op": "copy", "from": source, "path": path}


def test_(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


test_.__test__ = False  # type: ignore[attr-defined]

STORIES: dict[str, tuple[Any, list[Patch], Patch]] = {
    "an edit inside what yours replaced is taken back with it": (
        {"d": {"d": [3, 0]}},
        [[put("/d/d/1", True)]],
        [put("/d/d", None)],
    ),
    "theirs moved a thing into what yours then puts inside the thing": (
        [2, {"a": {}}, {"d": []}],
        [[move("/1/a", "/2/d/0"), move("/2", "/1/e")]],
        [move("/2", "/1/a/b")],
    ),
    "what was copied is looked for where it is, not where it will be": (
        [[3]],
        [[copy("/0", "/0/1")]],
        [copy("/0/0", "/0")],
    ),
    "a child takes its parent's place": (
        {"c": [3, 1, True]},
        [[move("/c/0", "/c")]],
        [move("/c/1", "/c/2")],
    ),
    "a child takes its parent's place, and the parent had changed": (
        [{"b": [2, 2, 3]}, [], {}],
        [[add("/0/b/0", 1)]],
        [move("/0/b/2", "/0/b")],
    ),
    "what had moved into a container dies with its content": (
        {"d": 2, "c": [[], [1]]},
        [
            [move("/c/1", "/b")],
            [move("/b", "/a"), move("/d", "/a/1")],
            [move("/a", "/e"), put("/e", {})],
        ],
        [move("/d", "/c/1/-")],
    ),
    "no move may look into itself, though it would only step over it": (
        [0, 2, [], []],
        [[move("/1", "/2/-")], [move("/2", "/1")]],
        [move("/3", "/2/-")],
    ),
    "a member is replaced by one that came out of what is replaced": (
        {"b": {}, "a": {"b": 3}},
        [[move("/a", "/b/c"), move("/b/c/b", "/b/c")]],
        [add("/b", {"d": False, "b": [1, False, "s"]}), move("/a/b", "/b/b/2")],
    ),
    "two values chosen, one inside the other": (
        {"c": [{"d": True}, {}]},
        [[move("/c/0/d", "/c")]],
        [move("/c/1", "/c/0/d")],
    ),
    "a circle over what is only contested": (
        [{"c": {}}, [None, {}]],
        [[move("/0/c", "/1/1/b")]],
        [move("/1/1", "/0/c/d"), move("/1", "/0/c/c")],
    ),
    "a circle over another, clean, move of yours": (
        [{"d": {}}, {"d": {"c": "s"}}],
        [[move("/1/d/c", "/0/d/e"), move("/0/d", "/1/d/a")]],
        [move("/1/d", "/1"), move("/2", "/0/d/e")],
    ),
    "theirs came back to where it was, by way of another root": (
        {},
        [
            [add("/b", None)],
            [put("", {"c": 3}), move("/c", "/b")],
            [cut("/b")],
        ],
        [add("/b", 0)],
    ),
    "the document is replaced by a part of it": (
        [[{}, {"b": 2}], 0, [0, 0, 0], []],
        [[move("/0/1/b", "/3/0")], [move("/3", "")]],
        [move("/2/2", "/3/0")],
    ),
    "two members change places inside what becomes the document": (
        [{"a": 0, "b": 1}],
        [[add("/-", 2)]],
        [move("/0", ""), move("/a", "/t"), move("/b", "/a"), move("/t", "/b")],
    ),
    "a guard on what took in something theirs had changed": (
        {"a": 1, "b": []},
        [[put("/a", [{"c": True}])]],
        [move("/a", "/b/-"), test_("/b", [1])],
    ),
    "a guard on what both sides added alike": (
        [],
        [[add("/0", [3, {}])], [put("/0", "s")]],
        [add("/0", "s"), test_("/0", "s")],
    ),
    "one run put in out of turn, next to its own at home": (
        [[3, 3, 3], []],
        [[move("/0/2", "/-"), move("/1", "/-")], [move("/2", "/0/-"), move("/1", "/0/2/-")]],
        [move("/0/1", "/-"), move("/0/0", "/2"), move("/1", "/-"), move("/0/0", "/-")],
    ),
    "what was added inside an object of both, when theirs' is taken back": (
        {"b": 0, "a": 1},
        [[move("/b", "/d"), copy("/d", "/b")], [put("/b", {"c": {"d": 3}})]],
        [copy("", "/b"), move("/a", "/b/e")],
    ),
    "each moved the same thing into contents that clash": (
        {"a": [{"a": "b0"}, {"a": "b1"}], "b": "b2"},
        [[add("/a/0/a", ["t0", []]), move("/a/1/a", "/a/0/a/0"), put("/a/1", {})]],
        [add("/a/0/a", ["y0", []]), move("/a/1/a", "/a/0/a/0")],
    ),
    "something moved out of what was added, and what was added into it": (
        {},
        [[add("/d", [])]],
        [add("/a", {"d": {"b": "s"}}), move("/a/d", "/d"), move("/a", "/d/c")],
    ),
    "removed, rescued from it, and removed inside what was rescued": (
        [{"b": {"a": 0, "b": 0}, "a": []}, 0, 0],
        [[move("/0/a", "/1"), cut("/0")]],
        [cut("/0/b/a"), move("/0", "/2"), move("/2/b", "/0")],
    ),
    "moves into different new elements of one gap are moves to different places": (
        [[1, 2], [3], []],
        [[add("/1", []), move("/0/1", "/1/0")]],
        [add("/1", [{"a": 0}]), move("/0/1", "/1/0")],
    ),
    "moves into equal new elements of unequal runs are moves to different places": (
        [[1]],
        [[add("/1", []), copy("/0", "/1"), move("/0/0", "/2/0")]],
        [add("/1", []), move("/0/0", "/1/0")],
    ),
    "moves into one new element are to one place, by whatever way": (
        {"a": [1], "b": []},
        [[add("/b/0", [7]), move("/a/0", "/b/0/1")]],
        [add("/b/0", []), move("/a/0", "/b/0/0"), add("/b/0/0", 7)],
    ),
    "what both put into one new element may be edited there": (
        {"a": [2], "b": [1, {"c": 0}]},
        [[add("/a/0", []), move("/b", "/a/0/0"), put("/a/0/0/0", 3)]],
        [add("/a/0", []), move("/b", "/a/0/0"), put("/a/0/0/1/c", True)],
    ),
    "a member both sides' object has of one side only goes with what it copied": (
        {"b": {}},
        [[add("/b/d", {"a": 0})]],
        [add("/b/d", {"a": {}}), copy("/b", "/b/d/c")],
    ),
    "an object both added stays for one though the other's is taken back": (
        {"b": 1},
        [[move("/b", "/t"), add("/b", {"x": 1})]],
        [move("/b", "/y"), add("/b", {"y": 2})],
    ),
    "an object both added in an object both added goes with it": (
        {"b": {"a": 2}},
        [[add("/d", []), move("/b", "/d/0"), add("/b", {"b": {}})]],
        [add("/d", [0]), move("/b", "/d/0"), add("/b", {"b": {}}), copy("/d/0", "/b/b/d")],
    ),
    "what was put where a thing made room needs that side's own move": (
        {"a": 1, "b": {"a": 2}},
        [[move("/a", "/b/a")]],
        [add("/d", {}), move("/b/a", "/d/b"), move("/a", "/b/a"), add("/a", {})],
    ),
    "a thing moved into what went with the copy it was in goes home": (
        {"a": 1, "b": {"a": 2}},
        [
            [
                add("/b/c", {"b": []}),
                put("/b/a", {"a": []}),
                copy("/b/a", "/b/c/b"),
            ]
        ],
        [
            add("/b/c", {"b": []}),
            put("/b/a", {"a": {}, "b": []}),
            copy("/b/a", "/b/c/b"),
            move("/a", "/b/c/b/b/0"),
        ],
    ),
    "one that moves within a content not there yet waits for it": (
        {"a": [1, 2], "b": {}},
        [[put("/b", {"b": {}}), move("/a", "/b/b/c")]],
        [
            put("/b", {"b": {"b": [{}]}}),
            move("/a", "/b/b/c"),
            move("/b/b/c/1", "/b/b/b/0/c"),
        ],
    ),
    "what moved into a content and went with it is not in the content": (
        {"a": [], "b": {}},
        [[move("/a", "/b/b"), put("/b", {})]],
        [add("/b/c", 1)],
    ),
}


# Both conflict, but engine and model do not name the conflict alike; which name is better is open.
NAMED_DIFFERENTLY = {
    "a circle over what is only contested",
    "each moved the same thing into contents that clash",
}


@pytest.mark.parametrize("name", STORIES)
def test_what_chance_found_stays_found(name: str) -> None:
    _judge(name, *STORIES[name])


@pytest.mark.parametrize("name", [name for name, (_, theirs, _) in STORIES.items() if len(theirs) == 1])
def test_what_chance_found_is_found_with_the_sides_swapped(name: str) -> None:
    base, (theirs,), yours = STORIES[name]
    if not any(operation["op"] == "test" for operation in yours):
        _judge(name, base, [yours], theirs)


def _judge(name: str, base: Any, theirs: list[Patch], yours: Patch) -> None:
    head = base
    for patch in theirs:
        head = apply(head, patch)
    outcome, expected = rebase(base, theirs, yours), merge_patches(base, theirs, yours)
    if isinstance(outcome, Rebased):
        assert isinstance(expected, Merged)
        assert same(expected.value, outcome.value)
        assert same(expected.value, apply(head, outcome.patch))
        return
    assert isinstance(outcome, Conflicted)
    assert isinstance(expected, Conflicts)
    if name not in NAMED_DIFFERENTLY:
        assert set(expected.conflicts) == {(c.kind, c.pointer) for c in outcome.conflicts}
        assert same(expected.clean, apply(head, outcome.clean_patch))
    for combination in islice(product(*(c.resolutions for c in outcome.conflicts)), 64):
        chosen = dict(zip((c.id for c in outcome.conflicts), combination, strict=True))
        settled = apply(head, resolve(head, outcome, chosen))  # type: ignore[arg-type]
        if name not in NAMED_DIFFERENTLY and "both" not in combination and not _is_refused(outcome):
            named = ((c.kind, c.pointer) for c in outcome.conflicts)
            assert same(expected.settle(dict(zip(named, combination, strict=True))), settled)  # type: ignore[arg-type]
    for conflict in outcome.conflicts:
        for resolution in conflict.resolutions.values():
            apply(head, resolution)


def _is_refused(outcome: Conflicted) -> bool:
    return any(conflict.kind == "guard" for conflict in outcome.conflicts)
