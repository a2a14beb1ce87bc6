"""Who is told that what he reads or writes was touched, and since when."""

from __future__ import annotations

import pytest

from merge.strategies import Patch, add, copy, guard, move, remove, replace
from plait_merge.patch import read_patch
from plait_merge.touch import TouchIndex, adds_up


def overlap(theirs: Patch, yours: Patch) -> bool:
    index = TouchIndex()
    index.record(read_patch(theirs), 1)
    return index.overlaps(read_patch(yours), 0)


@pytest.mark.parametrize(
    ("theirs", "yours"),
    [
        (replace("/a/b", 1), replace("/a/b", 2)),
        (replace("/a/b", 1), remove("/a")),
        (replace("/a/b", 1), add("/a/b/c", 2)),
        (replace("/a/b", 1), replace("", 2)),
        (replace("", 1), replace("/a", 2)),
        (replace("/a", 1), guard("/a", 2)),
        (replace("/a", 1), copy("/a", "/b")),
        (replace("/a", 1), move("/a", "/b")),
        (move("/a", "/b"), replace("/a/c", 1)),
        (add("/l/0", 1), replace("/l/3", 2)),
        (add("/l/-", 1), replace("/l/3", 2)),
        (replace("/l/3", 1), remove("/l/0")),
    ],
)
def test_touched_is_what_was_written_and_what_is_in_it_and_around_it(
    theirs: dict[str, object], yours: dict[str, object]
) -> None:
    assert overlap([theirs], [yours])


@pytest.mark.parametrize(
    ("theirs", "yours"),
    [
        (replace("/a/b", 1), replace("/a/c", 2)),
        (replace("/l/0", 1), replace("/l/1", 2)),
        (add("/a/l/0", 1), replace("/a/x", 2)),
        (add("/a/l/-", 1), replace("/a/x", 2)),
        (guard("/a", 1), replace("/a", 2)),
        (copy("/a", "/b"), replace("/a", 2)),
        (add("/a", 1), replace("/b", 2)),
    ],
)
def test_untouched_is_what_lies_beside_it_and_what_was_only_read(
    theirs: dict[str, object], yours: dict[str, object]
) -> None:
    assert not overlap([theirs], [yours])


def test_what_is_added_to_a_number_touches_no_other_element() -> None:
    index = TouchIndex()
    index.record(read_patch([{"op": "inc", "path": "/l/0", "value": 1}], extended=True), 1)
    assert index.overlaps(read_patch([replace("/l/0", 2)]), 0)
    assert not index.overlaps(read_patch([replace("/l/1", 2)]), 0)


def test_touched_is_what_a_later_revision_touched() -> None:
    index = TouchIndex()
    index.record(read_patch([replace("/a/b", 1)]), 5)
    index.record(read_patch([replace("/c", 1)]), 7)
    for path, touched in (("/a/b", 5), ("/a", 5), ("/a/b/x", 5), ("/c", 7), ("", 7)):
        for since in (4, 5, 6, 7):
            assert index.overlaps(read_patch([replace(path, 2)]), since) == (touched > since), (path, since)


def test_an_index_forgets_what_is_older_than_anybodys_base() -> None:
    index = TouchIndex()
    assert index.nodes == 1
    for revision, path in enumerate(["/a/b", "/a/c", "/d/e/f", "/d/e"], start=1):
        index.record(read_patch([replace(path, 1)]), revision)
    assert index.nodes == 7
    index.forget(2)
    assert index.nodes == 6
    index.forget(4)
    assert index.nodes == 3
    assert index.overlaps(read_patch([replace("/d/e", 1)]), 3)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ([{"op": "inc", "path": "/n", "value": 2}], True),
        ([replace("/n", 2)], True),
        ([replace("/n", 2.5)], True),
        ([replace("/n", True)], False),
        ([replace("/n", "2")], False),
        ([remove("/n")], False),
        ([replace("", {"n": 1})], False),
        ([add("/m", 1), guard("/n", 1)], True),
    ],
)
def test_additions_go_on_what_was_added_to_or_set_to_a_number(theirs: Patch, expected: bool) -> None:
    yours = read_patch([{"op": "inc", "path": "/n", "value": 1}], extended=True)
    assert adds_up({"n": 1}, read_patch(theirs, extended=True), yours) is expected
    assert not adds_up({"n": "1"}, read_patch(theirs, extended=True), yours)
