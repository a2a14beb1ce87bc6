"""Who is here, and where."""

from typing import Any

from plait_merge import read_patch
from plait_server.service.presence import PresenceBoard
from plait_server.service.revision import STORED, Revision
from plait_server.store import Address, RevisionRecord

ORDER = Address("acme", "orders", "1")
VALUE: Any = {"lines": [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}], "1": {"2": 0}}


def revision(*patch: dict[str, Any]) -> Revision:
    record = RevisionRecord(2, "edit", b"[]", None, None, "b", "b", None, 0, None, None)
    return Revision(2, record, read_patch(list(patch), STORED), VALUE)


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
