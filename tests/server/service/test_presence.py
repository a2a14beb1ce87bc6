"""Who is here, and where."""

from typing import Any

import pytest

from plait_merge import format_pointer, parse_pointer, read_patch
from plait_server.service.presence import PresenceBoard, moved_by
from plait_server.service.revision import STORED, Revision
from plait_server.store import Address, RevisionRecord

ORDER = Address("acme", "orders", "1")
VALUE: Any = {"lines": [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}], "1": {"2": 0}}


def revision(*patch: dict[str, Any]) -> Revision:
    record = RevisionRecord(2, "edit", b"[]", None, None, "b", "b", None, 0, None, None)
    return Revision(2, record, read_patch(list(patch), STORED), VALUE)


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        ({"op": "add", "path": "/lines/0", "value": 1}, "/lines/1/n", "/lines/2/n"),
        ({"op": "add", "path": "/lines/1", "value": 1}, "/lines/1", "/lines/2"),
        ({"op": "add", "path": "/lines/2", "value": 1}, "/lines/1", "/lines/1"),
        ({"op": "add", "path": "/lines/-", "value": 1}, "/lines/1", "/lines/1"),
        ({"op": "remove", "path": "/lines/0"}, "/lines/1/n", "/lines/0/n"),
        ({"op": "remove", "path": "/lines/1"}, "/lines/1/n", "/lines"),
        ({"op": "remove", "path": "/lines/2"}, "/lines/1/n", "/lines/1/n"),
        ({"op": "move", "from": "/lines/1", "path": "/lines/3"}, "/lines/1/n", "/lines/3/n"),
        ({"op": "move", "from": "/lines/3", "path": "/lines/0"}, "/lines/1", "/lines/2"),
        ({"op": "replace", "path": "/lines/1", "value": 1}, "/lines/1/n", "/lines/1/n"),
        ({"op": "add", "path": "/1/1", "value": 1}, "/1/2", "/1/2"),
        ({"op": "add", "path": "", "value": 1}, "/1/2", "/1/2"),
    ],
)
def test_a_pointer_moves_with_what_it_names(operation: Any, before: str, after: str) -> None:
    (read,) = read_patch([operation], STORED)
    assert format_pointer(moved_by(read, parse_pointer(before), VALUE)) == after


def test_the_newest_state_counts_and_is_told_once() -> None:
    board = PresenceBoard(30)
    board.announce(ORDER, "s", "ann", {"n": 1}, 0)
    board.announce(ORDER, "s", "ann", {"n": 2}, 1)
    assert list(board.changes()) == [(ORDER, "s", "ann", {"n": 2})]
    assert not board.has_changed


def test_who_is_not_heard_of_is_gone() -> None:
    board = PresenceBoard(30)
    board.announce(ORDER, "s", "ann", {}, 0)
    list(board.changes())
    board.expire(29.9)
    assert len(board) == 1
    board.expire(30)
    assert list(board.changes()) == [(ORDER, "s", "ann", None)]
    assert len(board) == 0


def test_pointers_follow_revisions_also_those_missed_when_they_were_announced() -> None:
    board = PresenceBoard(30)
    added = revision({"op": "add", "path": "/lines/0", "value": {"n": 9}})
    board.announce(ORDER, "s", "ann", {"pointer": "/lines/0"}, 0, [added])
    assert [state for *_, state in board.changes()] == [{"pointer": "/lines/1"}]
    board.follow(ORDER, added)
    assert [state for *_, state in board.changes()] == [{"pointer": "/lines/2"}]
    board.follow(ORDER, revision({"op": "replace", "path": "/1", "value": 0}))
    assert not board.has_changed


def test_a_state_without_a_pointer_stays_as_it_is() -> None:
    board = PresenceBoard(30)
    for state in ({}, {"pointer": 1}, {"pointer": "nonsense"}):
        board.announce(ORDER, "s", "ann", state, 0, [revision({"op": "remove", "path": "/lines/0"})])
        assert [each for *_, each in board.changes()] == [state]
