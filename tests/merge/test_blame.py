"""Who set what: the marks of a value against a slow model that writes a mark on everything."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, TypeAlias

import pytest
from hypothesis import given

from merge.strategies import (
    Patch,
    Scene,
    add,
    applied,
    copy,
    crowded_scenes,
    guard,
    move,
    remove,
    replace,
    scenes,
)
from plait_merge import ABSENT, Blame, Follower, format_pointer, parse_pointer, read_patch, same
from plait_merge.blame import CONTAINER_BYTES, ELEMENT_BYTES, MEMBER_BYTES

Json: TypeAlias = Any
any_scenes = scenes() | crowded_scenes()


def follow(base: Json, patches: list[Patch], blame: Blame[int] | None = None, first: int = 1) -> Blame[int]:
    """Follow patches that are marked by their numbers; what was there before has the mark 0."""
    follower = (blame or begun(base)).follower(base)
    for number, patch in enumerate(patches, first):
        follower.follow(read_patch(patch), number)
    value, followed = follower.finished()
    assert same(value, value_after(base, patches))
    return followed


def begun(value: Json) -> Blame[int]:
    return Blame() if value is ABSENT else Blame(0)


def value_after(value: Json, patches: list[Patch]) -> Json:
    for patch in patches:
        for operation in patch:
            value = applied(value, operation)
    return value


def told(blame: Blame[int], value: Json, within: str = "", after: str | None = None) -> dict[str, int]:
    """Give what a blame tells, by pointer."""
    past = None if after is None else parse_pointer(after)
    return {format_pointer(path): mark for path, mark in blame.leaves(value, parse_pointer(within), past)}


class Marked:
    """The model: a value in which everything has a mark of its own, containers too."""

    def __init__(self, value: Json, mark: int) -> None:
        self.mark = mark
        self.kids: Json = value
        if isinstance(value, dict):
            self.kids = {name: Marked(part, mark) for name, part in value.items()}
        elif isinstance(value, list):
            self.kids = [Marked(part, mark) for part in value]

    def value(self) -> Json:
        if isinstance(self.kids, dict):
            return {name: part.value() for name, part in self.kids.items()}
        return [part.value() for part in self.kids] if isinstance(self.kids, list) else self.kids

    def at(self, path: tuple[str, ...]) -> Marked:
        found = self
        for token in path:
            found = found.kids[token if isinstance(found.kids, dict) else int(token)]
        return found

    def leaves(self, pointer: str = "") -> Iterator[tuple[str, int]]:
        if not isinstance(self.kids, dict | list) or not self.kids:
            yield pointer, self.mark
        elif isinstance(self.kids, dict):
            for name, part in self.kids.items():
                yield from part.leaves(pointer + format_pointer((name,)))
        else:
            for index, part in enumerate(self.kids):
                yield from part.leaves(f"{pointer}/{index}")

    def take(self, path: tuple[str, ...], mark: int) -> Marked:
        around = self.at(path[:-1])
        taken: Marked = around.kids.pop(path[-1] if isinstance(around.kids, dict) else int(path[-1]))
        if not around.kids:
            around.mark = mark
        return taken

    def put(self, path: tuple[str, ...], part: Marked) -> None:
        around = self.at(path[:-1])
        if isinstance(around.kids, dict):
            around.kids[path[-1]] = part
        else:
            around.kids.insert(len(around.kids) if path[-1] == "-" else int(path[-1]), part)


def model(base: Json, patches: list[Patch]) -> dict[str, int]:
    """Say who set what, slowly. The document is the member "d" of an object, so that it can come and go."""
    root = Marked({} if base is ABSENT else {"d": deepcopy(base)}, 0)
    for number, patch in enumerate(patches, 1):
        for operation in patch:
            _step(root, operation, number)
    if not root.kids:
        return {}
    return dict(root.at(("d",)).leaves())


def _step(root: Marked, operation: dict[str, Json], mark: int) -> None:
    path = ("d", *parse_pointer(operation["path"]))
    match operation["op"]:
        case "remove":
            root.take(path, mark)
        case "replace":
            found = root.at(path)
            if not same(found.value(), operation["value"]):
                found.__init__(deepcopy(operation["value"]), mark)  # type: ignore[misc]
        case "move":
            source = ("d", *parse_pointer(operation["from"]))
            if source != path:
                root.put(path, root.take(source, mark))
        case "add":
            _add(root, path, operation["value"], mark)
        case "copy":
            _add(root, path, root.at(("d", *parse_pointer(operation["from"]))).value(), mark)


def _add(root: Marked, path: tuple[str, ...], value: Json, mark: int) -> None:
    around = root.at(path[:-1]).kids
    is_there = isinstance(around, dict) and path[-1] in around
    if not is_there or not same(around[path[-1]].value(), value):
        root.put(path, Marked(deepcopy(value), mark))


@given(any_scenes)
def test_every_leaf_has_the_mark_of_who_set_it_last(scene: Scene) -> None:
    value = value_after(scene.base, scene.theirs)
    blame = follow(scene.base, scene.theirs)
    if value is ABSENT:
        with pytest.raises(LookupError):
            blame.leaves(value)
    else:
        assert told(blame, value) == model(scene.base, scene.theirs)
        assert list(told(blame, value)) == [pointer for pointer, _ in Marked(value, 0).leaves()]


@given(any_scenes)
def test_following_on_comes_to_the_same_as_following_from_the_beginning(scene: Scene) -> None:
    """And what was followed from stays as it was, to be followed again."""
    patches = [[operation] for patch in [*scene.theirs, []] for operation in patch]
    blame, value = begun(scene.base), scene.base
    states = []
    for number, patch in enumerate(patches, 1):
        blame, value = follow(value, [patch], blame, number), value_after(value, [patch])
        states.append((blame, value, number))
    for blame, value, number in states:
        if value is not ABSENT:
            assert told(blame, value) == model(scene.base, patches[:number])


@given(any_scenes)
def test_a_walk_goes_on_after_any_leaf(scene: Scene) -> None:
    value = value_after(scene.base, scene.theirs)
    if value is ABSENT:
        return
    blame = follow(scene.base, scene.theirs)
    leaves = list(told(blame, value).items())
    for place, (pointer, _) in enumerate(leaves):
        assert list(told(blame, value, "", pointer).items()) == leaves[place + 1 :]
        for depth in range(len(parse_pointer(pointer)) + 1):
            within = format_pointer(parse_pointer(pointer)[:depth])
            below = [(each, mark) for each, mark in leaves if f"{each}/".startswith(f"{within}/")]
            assert list(told(blame, value, within).items()) == below
            rest = below[below.index(leaves[place]) + 1 :]
            assert list(told(blame, value, within, pointer).items()) == rest


@pytest.mark.parametrize(
    ("base", "patch", "marks"),
    [
        ({"a": 1, "b": 2}, [replace("/a", 3)], {"/a": 1, "/b": 0}),
        ({"a": 1}, [replace("/a", 1)], {"/a": 0}),
        ({"a": 1}, [add("/a", 1)], {"/a": 0}),
        ({"a": {"x": 1, "y": 2}}, [replace("/a", {"x": 1, "y": 3})], {"/a/x": 1, "/a/y": 1}),
        ({"a": True}, [replace("/a", 1)], {"/a": 1}),
        ([1, 2], [add("/0", 0)], {"/0": 1, "/1": 0, "/2": 0}),
        ([1, 2], [add("/-", 3)], {"/0": 0, "/1": 0, "/2": 1}),
        ([1, 2, 3], [remove("/0")], {"/0": 0, "/1": 0}),
        ([1], [remove("/0")], {"": 1}),
        ([1, 2, 3], [replace("/2", 5), replace("/0", 6)], {"/0": 1, "/1": 0, "/2": 1}),
        ([1, 2], [guard("/0", 1), guard("", [1, 2])], {"/0": 0, "/1": 0}),
        ({"a": {"b": 1}}, [remove("/a/b")], {"/a": 1}),
        ({"a": {"b": 1}}, [remove("/a/b"), add("/a/c", 1)], {"/a/c": 1}),
        ({"a": {"b": 1}}, [move("/a/b", "/a/c")], {"/a/c": 0}),
        ({"a": {"b": 1}}, [move("/a/b", "/b")], {"/a": 1, "/b": 0}),
        ({"a": {"b": 1}}, [move("/a/b", "/a")], {"/a": 0}),
        ({"a": 1, "b": 2}, [move("/a", "/b")], {"/b": 0}),
        ({"a": {"b": 1}}, [move("/a/b", "")], {"": 0}),
        ([{"a": 1}, 2], [move("/0", "/1")], {"/0": 0, "/1/a": 0}),
        ([{"a": 1}, 2], [replace("/0/a", 5), move("/0", "/1")], {"/0": 0, "/1/a": 1}),
        ({"a": {"x": 1}}, [copy("/a", "/b")], {"/a/x": 0, "/b/x": 1}),
        ({"a": []}, [add("/a/-", {})], {"/a/0": 1}),
        ({"a": {}}, [add("/a/-", 1)], {"/a/-": 1}),
        ({"a": 1}, [remove(""), add("", {"a": 1})], {"/a": 1}),
    ],
)
def test_who_set_it_is_who_one_would_name(base: Json, patch: Patch, marks: dict[str, int]) -> None:
    assert told(follow(base, [patch]), value_after(base, [patch])) == marks


def test_nothing_is_set_in_no_document() -> None:
    blame: Blame[int] = follow({"a": 1}, [[remove("")]])
    with pytest.raises(LookupError):
        blame.leaves(ABSENT)
    assert told(follow(ABSENT, [[add("", [1])]], blame, 7), [1]) == {"/0": 7}


@pytest.mark.parametrize("pointer", ["/x", "/a/1", "/a/-", "/a/00", "/a/-1", "/b/c", "/a/0/0", "/a/\u0660"])
def test_there_are_no_leaves_where_nothing_is(pointer: str) -> None:
    value = {"a": [1], "b": "text"}
    for blame in (Blame(0), follow(value, [[replace("/b", "text2"), replace("/b", "text")]])):
        with pytest.raises(LookupError):
            blame.leaves(value, parse_pointer(pointer))


@pytest.mark.parametrize("after", ["/x", "/a", "", "/a/1", "/b/0"])
def test_a_walk_goes_on_only_after_a_leaf(after: str) -> None:
    value = {"a": [1], "b": "text"}
    with pytest.raises(LookupError):
        Blame(0).leaves(value, (), parse_pointer(after))
    with pytest.raises(LookupError):
        Blame(0).leaves(value, ("a",), ("b",))


def test_a_deep_document_breaks_nothing() -> None:
    depth = 50_000
    value: Json = 1
    for _ in range(depth):
        value = [value]
    assert list(Blame(0).leaves(value)) == [(("0",) * depth, 0)]
    follower: Follower[int] = Blame(0).follower(value)
    follower.follow(read_patch([replace("/0" * 1_000, [2])]), 1)
    value, blame = follower.finished()
    assert list(blame.leaves(value)) == [(("0",) * 1_001, 1)]


def test_what_nobody_touched_weighs_nothing() -> None:
    value = {"many": list(range(10_000)), "a": {"b": 1}}
    assert begun(value).weight == 0
    assert follow(value, [[replace("/a/b", 2)]]).weight < 1_000


@pytest.mark.parametrize(
    ("many", "few", "part_bytes"),
    [
        ({str(number): 0 for number in range(1000)}, {str(number): 0 for number in range(300)}, MEMBER_BYTES),
        ([0] * 5000, [0] * 1500, ELEMENT_BYTES),
        ([0], [0], ELEMENT_BYTES),
    ],
    ids=["members", "elements", "few"],
)
def test_what_is_marked_weighs_about_what_it_takes(many: Json, few: Json, part_bytes: int) -> None:
    value: Json = {"many": many, "few": few}
    blame, takes = begun(value), CONTAINER_BYTES + 2 * MEMBER_BYTES
    for name in value:
        blame = follow(value, [[replace(f"/{name}/0", 1)]], blame)
        value = value_after(value, [[replace(f"/{name}/0", 1)]])
        takes += CONTAINER_BYTES + len(value[name]) * part_bytes
        assert takes <= blame.weight <= 2 * takes


def test_what_is_gone_weighs_nothing_for_long() -> None:
    """However much came and went, what is kept of it is about what is there."""
    value: Json = {"rows": [0]}
    come_and_gone = [add("/rows/0", {"a": 1}), replace("/rows/0/a", 2), remove("/rows/0")]
    blame: Blame[int] = Blame(0)
    for number in range(20):
        follower = blame.follower(value)
        follower.follow(read_patch(come_and_gone * 100), number)
        value, blame = follower.finished()
    assert blame.weight < 30_000
    assert told(blame, value) == {"/rows/0": 0}
