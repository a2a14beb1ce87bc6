"""The session alone: frames in, frames and intents out."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from plait_server import errors
from plait_server.errors import PlaitServerError
from plait_server.service import Answer, Caller, DocumentKey, LiveLimits
from plait_server.service.frame import Frame, rev_frame
from plait_server.service.revision import Revision
from plait_server.service.session import (
    Announce,
    Authenticate,
    Backlog,
    Close,
    Follow,
    Intent,
    Leave,
    Load,
    Publication,
    Session,
    Submit,
)
from plait_server.store import RevisionRecord

ORDER = DocumentKey("orders", "1")
ANN = Caller("acme", "ann", "ann")


def describe(error: PlaitServerError, document: DocumentKey | None) -> Mapping[str, object]:
    return {"type": error.code, "title": error.title, "status": 0, "detail": error.detail}


def begun(**limits: Any) -> Session:
    """A session nobody said hello to yet."""
    return Session("s1", "epoch", LiveLimits(**limits), 0.0, itertools.count(1).__next__, describe)


def admitted(**limits: Any) -> Session:
    """A session that may be used, its welcome taken."""
    session = begun(**limits)
    session.admit(ANN)
    assert [frame["t"] for frame in told(session)] == ["welcome"]
    return session


def say(session: Session, **frame: Any) -> list[Intent]:
    return session.receive(json.dumps(frame).encode())


def told(session: Session) -> list[dict[str, Any]]:
    """Take everything there is to send."""
    frames = []
    while (frame := session.outbox.take()) is not None:
        frames.append(json.loads(frame.text))
    return frames


def revision(n: int, *, origin: int = 0, base: int | None = None, key: str | None = None) -> Revision:
    patch = b'[{"op":"replace","path":"/n","value":%d}]' % n
    kind: Any = "create" if n == 1 else "edit"
    record = RevisionRecord(n, kind, patch, base, None, "bob", "bob", key, 0, None, None)
    return Revision(n, record, (), {"n": n}, origin)


def publish(session: Session, n: int, *, follows: bool = False, **how: Any) -> bool:
    """Publish a revision and put its frame in the outbox; whether the session said to send it at once."""
    made = revision(n, **how)
    at_once = session.published(Publication(ORDER, made, rev_frame("orders/1", n - 1, (made,)), follows))
    if at_once is not None:
        session.outbox.put(at_once)
    return at_once is not None


def snapshot(n: int) -> Backlog:
    text = b'{"t":"snapshot","doc":"orders/1","rev":%d,"value":{"n":%d}}' % (n, n)
    return Backlog(n, Frame("snapshot", text, n))


def missed(after: int, upto: int) -> Backlog:
    """What leads from one revision to another, as one frame."""
    if after == upto:
        return Backlog(upto, None)
    return Backlog(upto, rev_frame("orders/1", after, [revision(n) for n in range(after + 1, upto + 1)]))


def following(n: int = 1, **limits: Any) -> Session:
    """A session that follows the order and is at revision n."""
    session = admitted(**limits)
    assert say(session, t="sub", id=1, doc="orders/1") == [Follow(ORDER), Load(ORDER, None, "epoch")]
    session.loaded(ORDER, snapshot(n))
    assert [frame["t"] for frame in told(session)] == ["snapshot", "caught_up"]
    return session


def answer(n: int, *, base: int, outcome: Any = "applied") -> Answer:
    return Answer(
        outcome=outcome,
        document=ORDER,
        revision=n,
        base=base,
        patch=b"[]",
        missed=b"[]",
        epoch="epoch",
        value=None,
    )


def test_hello_comes_first_and_only_once() -> None:
    assert say(begun(), t="ping")[0] == Close(4401, "The first frame has to be hello.")
    session = begun()
    assert say(session, t="hello", token="x") == [Authenticate("x")]
    session.admit(ANN)
    assert told(session)[0]["epoch"] == "epoch"
    assert say(session, t="hello") == []
    assert told(session)[0]["type"] == "malformed-frame"


def test_a_token_that_is_not_valid_ends_the_connection() -> None:
    session = begun()
    say(session, t="hello", token="x")
    assert session.turn_away() == [Close(4401, "The token is not valid.")]


def test_who_says_no_hello_in_time_is_cut() -> None:
    session = begun(hello_timeout_s=10)
    assert session.tick(9.9) == []
    assert session.tick(10.0) == [Close(4408, "No hello came in time.")]
    assert session.tick(11.0) == []


def test_the_first_frame_is_small() -> None:
    assert say(begun(), t="hello", client="x" * 20_000)[0] == Close(4400, "The first frame is too large.")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"t":"nope"}',
        b'{"t":["sub"]}',
        b'{"t":{}}',
        b'{"t":1}',
        b'{"id":1}',
        b'{"t":"sub","id":1}',
        b'{"t":"sub","id":-1,"doc":"orders/1"}',
        b'{"t":"sub","id":1,"doc":"orders"}',
        b'{"t":"sub","id":1,"doc":"orders/.."}',
        b'{"t":"sub","id":1,"doc":"orders/1\\n"}',
        b'{"t":"sub","id":1,"doc":"orders/1","from":"2"}',
        b'{"t":"sub","id":1,"doc":"orders/1","frm":2}',
        b'{"t":"edit","id":1,"doc":"orders/1","patch":{}}',
        b'{"t":"edit","id":1,"doc":"orders/1","patch":[],"base":{"key":""}}',
        b'{"t":"edit","id":1,"doc":"orders/1","patch":[],"key":"a\\n"}',
        b'{"t":"edit","id":1,"doc":"orders/1","patch":[],"merge":"ours"}',
        b'{"t":"ping","id":1e400}',
        b'{"t":"ping","t":"ping"}',
        b"\xff",
        b"[" * 5_000,
    ],
)
def test_what_is_no_frame_is_a_problem_and_many_of_them_end_the_connection(text: bytes) -> None:
    session = admitted()
    assert session.receive(text) == []
    assert [frame["type"] for frame in told(session)] == ["malformed-frame"]
    for _ in range(99):
        assert session.receive(text) == []
    assert session.receive(text) == [Close(4400, "That is no frame.")]
    assert begun().receive(text) == [Close(4400, "That is no frame.")]


def test_a_malformed_frame_is_answered_under_its_number_where_it_has_one() -> None:
    session = admitted()
    say(session, t="sub", id=7)
    assert told(session)[0]["id"] == 7


def test_what_is_committed_while_a_subscription_is_loaded_is_loaded_too() -> None:
    session = admitted()
    say(session, t="sub", id=1, doc="orders/1")
    publish(session, 4)
    assert session.loaded(ORDER, snapshot(3)) == [Load(ORDER, 3, "epoch")]
    assert session.loaded(ORDER, missed(3, 4)) == []
    assert [(f["t"], f["rev"]) for f in told(session)] == [("snapshot", 3), ("rev", 4), ("caught_up", 4)]


def test_who_is_at_the_head_is_told_that_nothing_is_missing() -> None:
    session = admitted()
    say(session, t="sub", id=1, doc="orders/1", **{"from": 5})
    session.loaded(ORDER, missed(5, 5))
    assert told(session) == [{"t": "caught_up", "doc": "orders/1", "rev": 5}]


def test_a_reset_says_why_and_a_snapshot_follows() -> None:
    session = admitted()
    say(session, t="sub", id=1, doc="orders/1", epoch="other", **{"from": 5})
    session.loaded(ORDER, Backlog(3, snapshot(3).frame, "epoch"))
    assert [frame["t"] for frame in told(session)] == ["reset", "snapshot", "caught_up"]


def test_every_revision_is_told_once_with_the_one_before() -> None:
    session = following(1)
    publish(session, 2)
    publish(session, 3)
    assert [(frame["prev"], frame["rev"]) for frame in told(session)] == [(1, 2), (2, 3)]


def test_a_document_that_is_not_there_is_a_problem_and_is_left() -> None:
    session = admitted()
    say(session, t="sub", id=3, doc="orders/1")
    assert session.not_loaded(ORDER, errors.NotFound("x")) == [Leave(ORDER)]
    assert [(frame["type"], frame["id"]) for frame in told(session)] == [("not-found", 3)]
    publish(session, 2)
    assert told(session) == []


def test_a_subscription_made_anew_begins_anew() -> None:
    """What is under way for the old one does not count for it."""
    session = admitted()
    say(session, t="sub", id=1, doc="orders/1")
    assert say(session, t="sub", id=2, doc="orders/1", **{"from": 2}) == []
    assert session.loaded(ORDER, snapshot(4)) == [Load(ORDER, 2, "epoch")]
    session.loaded(ORDER, missed(2, 4))
    assert [(frame["t"], frame.get("prev")) for frame in told(session)] == [("rev", 2), ("caught_up", None)]


def test_after_unsub_nothing_is_told() -> None:
    session = following(1)
    assert say(session, t="unsub", doc="orders/1") == [Leave(ORDER)]
    assert say(session, t="unsub", doc="orders/1") == []
    publish(session, 2)
    assert told(session) == []


def test_subscriptions_have_a_limit() -> None:
    session = admitted(subscriptions_max=2)
    for number in range(3):
        say(session, t="sub", id=number, doc=f"orders/{number}")
    assert [(frame["type"], frame["id"]) for frame in told(session)] == [("too-large", 2)]
    for number in range(3, 102):
        assert say(session, t="sub", id=number, doc=f"orders/{number}") == []
    assert isinstance(say(session, t="sub", id=0, doc="orders/x")[0], Close)


def test_over_half_full_a_document_collapses_into_one_frame() -> None:
    session = following(1, queue_frames_max=16)
    for n in range(2, 100):
        publish(session, n)
    assert len(session.outbox) == 9
    assert session.loads() == []
    frames = told(session)
    assert [frame["rev"] for frame in frames] == list(range(2, 11))
    assert session.loads() == [Load(ORDER, 10, "epoch")]
    session.loaded(ORDER, missed(10, 99))
    (composed,) = told(session)
    assert (composed["prev"], composed["rev"]) == (10, 99)
    assert [part["rev"] for part in composed["parts"]] == list(range(11, 100))
    assert len(composed["patch"]) == 89
    publish(session, 100)
    assert [frame["rev"] for frame in told(session)] == [100]


def test_who_does_not_read_is_cut_after_a_while_and_who_reads_is_not() -> None:
    session = following(1, queue_frames_max=16, slow_timeout_s=20, heartbeat_s=1_000)
    for n in range(2, 100):
        publish(session, n)
    assert session.tick(100.0) == []
    assert session.tick(119.9) == []
    assert session.tick(120.0) == [Close(4013, "The client does not read what it is sent.")]
    reader = following(1, queue_frames_max=16, slow_timeout_s=20, heartbeat_s=1_000)
    for n in range(2, 200):
        publish(reader, n)
        reader.outbox.take()
        assert reader.tick(n * 19.0) == []


def test_one_revision_goes_out_at_once_and_those_right_behind_it_wait_for_each_other() -> None:
    session = following()
    assert publish(session, 2)
    assert [frame["rev"] for frame in told(session)] == [2]
    assert not publish(session, 3, follows=True)
    assert not publish(session, 4, follows=True)
    assert [frame["rev"] for frame in told(session)] == [3, 4]
    assert publish(session, 5)


def test_ones_own_revision_then_applied_then_later_ones() -> None:
    session = following(1)
    (submit,) = say(session, t="edit", id=7, doc="orders/1", base=1, key="a", patch=[])
    assert isinstance(submit, Submit)
    publish(session, 2)
    publish(session, 3, origin=submit.origin, base=1, key="a")
    publish(session, 4)
    session.answered(submit.origin, answer(3, base=1, outcome="merged"))
    frames = told(session)
    assert [(frame["t"], frame["rev"]) for frame in frames] == [
        ("rev", 2),
        ("rev", 3),
        ("applied", 3),
        ("rev", 4),
    ]
    assert frames[1]["parts"][0]["key"] == "a"
    assert frames[2] == {
        "t": "applied",
        "id": 7,
        "doc": "orders/1",
        "rev": 3,
        "outcome": "merged",
        "key": "a",
    }


def test_applied_waits_for_a_revision_that_is_not_told_yet() -> None:
    session = following(1, queue_frames_max=16)
    for n in range(2, 30):
        publish(session, n)
    told(session)
    (submit,) = say(session, t="edit", id=7, doc="orders/1", base=1, patch=[])
    assert isinstance(submit, Submit)
    publish(session, 30, origin=submit.origin)
    session.answered(submit.origin, answer(30, base=29))
    assert told(session) == []
    session.loads()
    session.loaded(ORDER, missed(10, 30))
    assert [(frame["t"], frame["rev"]) for frame in told(session)] == [("rev", 30), ("applied", 30)]


def test_who_does_not_follow_the_document_is_told_what_was_missed() -> None:
    session = admitted()
    (submit,) = say(session, t="edit", id=7, doc="orders/1", base=1, patch=[])
    assert isinstance(submit, Submit)
    session.answered(submit.origin, answer(2, base=1))
    (applied,) = told(session)
    assert (applied["base"], applied["patch"], applied["missed"]) == (1, [], [])


def test_an_edit_on_ones_own_waits_for_it() -> None:
    session = admitted()
    (first,) = say(session, t="edit", id=1, doc="orders/1", base=1, key="a", patch=[])
    assert say(session, t="edit", id=2, doc="orders/1", base={"key": "a"}, key="b", patch=[]) == []
    assert say(session, t="edit", id=3, doc="orders/1", base={"key": "b"}, patch=[]) == []
    assert isinstance(first, Submit)
    (second,) = session.answered(first.origin, answer(2, base=1))
    assert isinstance(second, Submit)
    assert second.edit.base == 2
    (third,) = session.answered(second.origin, answer(3, base=2))
    assert isinstance(third, Submit)
    assert third.edit.base == 3
    (late,) = say(session, t="edit", id=4, doc="orders/1", base={"key": "a"}, patch=[])
    assert isinstance(late, Submit)
    assert late.edit.base == 2


def test_what_was_made_on_a_refused_edit_is_refused_with_it() -> None:
    session = admitted()
    (first,) = say(session, t="edit", id=1, doc="orders/1", base=1, key="a", patch=[])
    say(session, t="edit", id=2, doc="orders/1", base={"key": "a"}, key="b", patch=[])
    say(session, t="edit", id=3, doc="orders/1", base={"key": "b"}, patch=[])
    assert isinstance(first, Submit)
    assert session.refused(first.origin, errors.TestFailed("x")) == []
    say(session, t="edit", id=4, doc="orders/1", base={"key": "b"}, patch=[])
    assert [(frame["id"], frame["type"]) for frame in told(session)] == [
        (1, "test-failed"),
        (2, "base-refused"),
        (3, "base-refused"),
        (4, "base-refused"),
    ]
    assert session.receptive


def test_a_base_nobody_sent_is_unknown() -> None:
    session = admitted()
    assert say(session, t="edit", id=1, doc="orders/1", base={"key": "a"}, patch=[]) == []
    assert told(session)[0]["type"] == "base-unknown"


def test_the_window_of_edits_is_bounded() -> None:
    session = admitted(edits_in_flight_max=2)
    say(session, t="edit", id=1, doc="orders/1", base=1, key="a", patch=[])
    assert session.receptive
    say(session, t="edit", id=2, doc="orders/1", base={"key": "a"}, patch=[])
    assert not session.receptive
    assert say(session, t="edit", id=3, doc="orders/1", base=1, patch=[]) == []
    assert told(session)[0]["type"] == "overloaded"


def test_who_sends_edits_while_there_is_too_much_to_do_is_asked_to_wait() -> None:
    session = admitted()
    (submit,) = say(session, t="edit", id=1, doc="orders/1", base=1, patch=[])
    assert isinstance(submit, Submit)
    session.refused(submit.origin, errors.Overloaded("Too many edits wait."))
    problem, throttle = told(session)
    assert (problem["t"], problem["id"], problem["type"]) == ("problem", 1, "overloaded")
    assert throttle["t"] == "throttle"
    assert throttle["retry_after_ms"] > 0


def test_a_refusal_for_another_reason_asks_nobody_to_wait() -> None:
    session = admitted()
    (submit,) = say(session, t="edit", id=1, doc="orders/1", base=1, patch=[])
    assert isinstance(submit, Submit)
    session.refused(submit.origin, errors.TestFailed("x"))
    assert [frame["t"] for frame in told(session)] == ["problem"]


def test_own_edits_that_can_be_a_base_are_bounded() -> None:
    session = admitted()
    for n in range(2, 1_000):
        (submit,) = say(session, t="edit", id=n, doc="orders/1", base=n - 1, key=f"k{n}", patch=[])
        assert isinstance(submit, Submit)
        session.answered(submit.origin, answer(n, base=n - 1))
    assert session._by_key is not None
    assert len(session._by_key) <= 96


def test_the_same_edit_has_the_same_fingerprint_and_another_has_another() -> None:
    def fingerprint(**changes: Any) -> str:
        frame = {"t": "edit", "id": 1, "doc": "orders/1", "base": 1, "key": "a", "patch": [], **changes}
        (submit,) = admitted().receive(json.dumps(frame).encode())
        assert isinstance(submit, Submit)
        assert submit.edit.key is not None
        return submit.edit.key.fingerprint

    assert fingerprint() == fingerprint(id=2)
    others: list[dict[str, Any]] = [
        {"base": 2},
        {"doc": "orders/2"},
        {"patch": [1]},
        {"merge": "yours"},
        {"message": "m"},
    ]
    assert len({fingerprint(), *(fingerprint(**other) for other in others)}) == 6


def test_presence_needs_a_subscription_and_is_small() -> None:
    session = admitted(presence_bytes_max=100)
    assert say(session, t="presence", doc="orders/1", state={}) == []
    assert told(session)[0]["type"] == "malformed-frame"
    session = following(1, presence_bytes_max=100)
    assert say(session, t="presence", doc="orders/1", state={"x": "y" * 100}) == []
    assert told(session)[0]["type"] == "too-large"
    assert say(session, t="presence", doc="orders/1", state={"x": 1}) == [Announce(ORDER, {"x": 1}, None)]


def test_of_presence_only_the_newest_counts_and_it_is_dropped_first() -> None:
    session = following(1, queue_frames_max=16)
    for number in range(5):
        session.present("orders/1", "other", Frame("presence", b'{"n":%d}' % number))
    session.present("orders/1", session.id, Frame("presence", b"{}"))
    assert told(session) == [{"n": 4}]
    session.present("orders/1", "other", Frame("presence", b"{}"))
    for n in range(2, 12):
        publish(session, n)
    session.present("orders/1", "other", Frame("presence", b"{}"))
    assert [frame["t"] for frame in told(session)] == ["rev"] * 9


def test_a_sign_of_life_says_where_one_is() -> None:
    session = following(4, heartbeat_s=25)
    assert session.tick(24.0) == []
    assert told(session) == []
    session.tick(25.0)
    assert told(session) == [{"t": "hb", "heads": {"orders/1": 4}}]


def test_goaway_says_when_to_come_back() -> None:
    session = following(1)
    assert session.go_away((500, 1_500)) == [Close(1012, "The server restarts.")]
    assert told(session) == [{"t": "goaway", "reconnect_ms": [500, 1500]}]
    assert say(session, t="ping") == []
