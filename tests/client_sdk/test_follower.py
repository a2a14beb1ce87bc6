"""The follower alone: whatever a server sends, a copy has no gap and nothing twice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_client.live.follower import (
    GAPS_MAX,
    CaughtUp,
    Event,
    Follower,
    Moved,
    Replaced,
    SentAway,
    Subscription,
    Throttled,
    Told,
    Turned,
    Welcomed,
)
from plait_client.live.frame import MalformedFrame
from plait_merge import ABSENT

WELCOME = {"t": "welcome", "session": "s", "epoch": "e", "limits": {"heartbeat_s": 25}}
PATCH = [{"op": "replace", "path": "/n", "value": 1}]


class Talk:
    """A follower of one document, and a server that says what a test wants."""

    def __init__(self, revision: int | None = None, epoch: str | None = None) -> None:
        self.subscription = Subscription(revision, epoch)
        self.subscriptions = {"a/b": self.subscription}
        self.follower = Follower(self.subscriptions)
        assert isinstance(self.hear(**WELCOME), Welcomed)
        self.first = self.said()

    def hear(self, **frame: Any) -> Any:
        return self.follower.receive(json.dumps(frame))

    def event(self, t: str, **frame: Any) -> Event | None:
        signal = self.hear(t=t, doc="a/b", **frame)
        assert signal is None or isinstance(signal, Told)
        return None if signal is None else signal.event

    def rev(self, prev: int, rev: int) -> Event | None:
        named = [{"rev": n, "author": "ann", "at": "now"} for n in range(prev + 1, rev + 1)]
        return self.event("rev", prev=prev, rev=rev, patch=PATCH, parts=named)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.follower.take_frames()]


def test_a_document_is_asked_for_from_where_its_copy_is() -> None:
    (sub,) = Talk(7, "e").first
    assert (sub["from"], sub["epoch"]) == (7, "e")
    (sub,) = Talk().first
    assert "from" not in sub


def test_nothing_is_asked_before_the_welcome() -> None:
    follower = Follower({"a/b": Subscription()}, "test 1.0")
    follower.opened()
    follower.ask("a/b")
    assert [json.loads(frame) for frame in follower.take_frames()] == [{"t": "hello", "client": "test 1.0"}]


def test_what_leads_on_is_told() -> None:
    talk = Talk(7)
    moved = talk.rev(7, 9)
    assert isinstance(moved, Moved)
    assert [part.rev for part in moved.parts] == [8, 9]
    assert talk.event("caught_up", rev=9) == CaughtUp(9)
    assert (talk.subscription.revision, talk.subscription.epoch) == (9, "e")


def test_what_is_known_is_not_told_again() -> None:
    talk = Talk(7)
    assert talk.rev(5, 7) is None
    assert talk.said() == []


@pytest.mark.parametrize(("prev", "rev"), [(8, 9), (6, 8)], ids=["beyond", "across"])
def test_a_gap_is_asked_for_again_and_what_was_on_its_way_does_not_count(prev: int, rev: int) -> None:
    talk = Talk(7, "e")
    assert talk.rev(prev, rev) is None
    unsub, ping, sub = talk.said()
    assert (unsub["t"], ping["t"], sub["t"], sub["from"]) == ("unsub", "ping", "sub", 7)
    assert talk.rev(7, 8) is None
    talk.hear(t="pong", id=ping["id"])
    assert isinstance(talk.rev(7, 8), Moved)


def test_a_server_that_never_leads_on_is_given_up() -> None:
    talk = Talk(7)
    for _ in range(GAPS_MAX):
        assert talk.rev(8, 9) is None
        _, ping, _ = talk.said()
        talk.hear(t="pong", id=ping["id"])
    with pytest.raises(MalformedFrame):
        talk.rev(8, 9)


def test_gaps_that_are_closed_are_forgotten() -> None:
    talk = Talk(7)
    for _ in range(GAPS_MAX * 3):
        assert talk.rev(8, 9) is None
        _, ping, _ = talk.said()
        talk.hear(t="pong", id=ping["id"])
        assert talk.event("caught_up", rev=7) == CaughtUp(7)


def test_a_document_is_asked_for_once() -> None:
    talk = Talk(7)
    talk.follower.ask("a/b")
    talk.follower.ask("a/unknown")
    assert talk.said() == []


def test_a_heartbeat_that_knows_of_more_shows_a_gap() -> None:
    talk = Talk(7, "e")
    talk.hear(t="hb", heads={"a/b": 9})
    assert talk.said() == [], "it has not caught up"
    talk.event("caught_up", rev=7)
    talk.hear(t="hb", heads={"a/b": 7})
    assert talk.said() == []
    talk.hear(t="hb", heads={"a/b": 8})
    assert [frame["t"] for frame in talk.said()] == ["unsub", "ping", "sub"]


def test_catching_up_elsewhere_is_a_gap() -> None:
    talk = Talk(7)
    assert talk.event("caught_up", rev=9) is None
    assert [frame["t"] for frame in talk.said()] == ["unsub", "ping", "sub"]


def test_a_reset_needs_a_snapshot_and_names_its_reason() -> None:
    talk = Talk(7, "old")
    assert talk.event("reset", reason="epoch") is None
    assert talk.event("snapshot", rev=3, value={"n": 0}) == Replaced(3, {"n": 0}, "e", "epoch")
    assert isinstance(talk.rev(3, 4), Moved)


def test_another_epoch_is_not_led_on_from() -> None:
    """A restored server may give the same numbers to other contents."""
    talk = Talk(7, "old")
    assert talk.rev(7, 8) is None
    assert talk.event("caught_up", rev=7) is None
    assert talk.subscription.revision == 7


def test_null_is_a_value_and_deleted_is_none() -> None:
    talk = Talk()
    assert talk.event("snapshot", rev=1, value=None) == Replaced(1, None, "e")
    assert talk.event("snapshot", rev=2, deleted=True) == Replaced(2, ABSENT, "e")


def test_what_comes_after_leaving_is_not_told() -> None:
    """Not even where the document is followed again before the server knew."""
    talk = Talk(7)
    del talk.subscriptions["a/b"]
    talk.follower.leave("a/b")
    assert talk.rev(7, 8) is None
    talk.subscriptions["a/b"] = Subscription(7)
    talk.follower.ask("a/b")
    unsub, ping, sub = talk.said()
    assert (unsub["t"], sub["from"]) == ("unsub", 7)
    assert talk.rev(7, 8) is None
    talk.hear(t="pong", id=ping["id"])
    assert isinstance(talk.rev(7, 9), Moved)


def test_a_refusal_belongs_to_its_document() -> None:
    talk = Talk()
    problem = {
        "type": "urn:plait:errors:not-found",
        "status": 404,
        "title": "",
        "detail": "no",
        "retry": False,
    }
    turned = talk.hear(t="problem", id=talk.first[0]["id"], **problem)
    assert isinstance(turned, Turned)
    assert (turned.document, turned.status, turned.problem["detail"]) == ("a/b", 404, "no")
    assert talk.hear(t="problem", **problem).document is None


def test_what_a_server_asks_for_is_bounded() -> None:
    talk = Talk()
    assert talk.hear(t="throttle", retry_after_ms=500) == Throttled(0.5)
    assert talk.hear(t="throttle", retry_after_ms=10**12) == Throttled(60.0)
    assert talk.hear(t="goaway", reconnect_ms=[500, 10**12]) == SentAway(0.5, 300.0)
    follower = Follower({})
    assert follower.receive(json.dumps({**WELCOME, "limits": {"heartbeat_s": 1e9}})) == Welcomed("e", 120.0)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "7", "{}", '{"t":"dance"}', '{"t":7}', '{"t":"presence","doc":1}', b"\xff"]
)
def test_what_nobody_knows_is_ignored(text: str | bytes) -> None:
    assert Talk().follower.receive(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"t":"rev","doc":"a/b","prev":1,"rev":2,"patch":{},"parts":[]}',
        '{"t":"rev","doc":"a/b","prev":1,"rev":2,"patch":[],"parts":[]}',
        '{"t":"rev","doc":"a/b","prev":2,"rev":2,"patch":[],"parts":[]}',
        '{"t":"rev","doc":"a/b","prev":1,"rev":2,"patch":[],"parts":[{"rev":3,"author":"","at":""}]}',
        '{"t":"snapshot","doc":"a/b","rev":1}',
        '{"t":"snapshot","doc":"a/b","rev":-1,"value":1}',
        '{"t":"snapshot","doc":"a/b","rev":1.5,"value":1}',
        '{"t":"snapshot","doc":"a/b","rev":1,"value":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"t":"goaway","reconnect_ms":[2,1]}',
        '{"t":"welcome","epoch":"e"}',
        '{"t":"hb","heads":[]}',
    ],
    ids=lambda text: text[:60],
)
def test_what_is_known_and_malformed_ends_the_connection(text: str) -> None:
    with pytest.raises(MalformedFrame):
        Talk().follower.receive(text)


frames = st.one_of(
    st.tuples(st.integers(0, 6), st.integers(1, 4)).map(
        lambda two: {
            "t": "rev",
            "doc": "a/b",
            "prev": two[0],
            "rev": two[0] + two[1],
            "patch": [],
            "parts": [{"rev": two[0] + n + 1, "author": "", "at": ""} for n in range(two[1])],
        }
    ),
    st.integers(0, 9).map(lambda n: {"t": "snapshot", "doc": "a/b", "rev": n, "value": n}),
    st.integers(0, 9).map(lambda n: {"t": "caught_up", "doc": "a/b", "rev": n}),
    st.just({"t": "reset", "doc": "a/b", "reason": "lagging"}),
    st.integers(0, 9).map(lambda n: {"t": "hb", "heads": {"a/b": n}}),
    st.integers(1, 20).map(lambda n: {"t": "pong", "id": n}),
    st.sampled_from(["leave", "ask"]).map(lambda what: {"t": what}),
)


@given(st.lists(frames, max_size=40), st.none() | st.integers(0, 6))
def test_whatever_comes_each_revision_is_told_once_and_in_order(
    heard: list[dict[str, Any]], revision: int | None
) -> None:
    talk = Talk(revision)
    at = revision
    for frame in heard:
        try:
            signal = talk.follower.receive(json.dumps(frame))
        except MalformedFrame:
            return
        match signal:
            case Told("a/b", Moved(prev, rev, _, parts)):
                assert prev == at
                assert [part.rev for part in parts] == list(range(prev + 1, rev + 1))
                at = rev
            case Told("a/b", Replaced(rev)):
                at = rev
            case Told("a/b", CaughtUp(rev)):
                assert rev == at
