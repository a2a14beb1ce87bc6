"""Whatever the order of commits, subscriptions, loads, edits and reads: each subscriber passes through the
states in order, each revision named once, and his own answer comes right after his own revision."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plait_merge import apply
from plait_server.errors import NotFound, PlaitServerError, TestFailed
from plait_server.service import Answer, Caller, DocumentKey, LiveLimits
from plait_server.service.frame import Frame, rev_frame
from plait_server.service.revision import Revision
from plait_server.service.session import (
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

DOCUMENTS = [DocumentKey("orders", name) for name in ("1", "2", "3")]
LIMITS = LiveLimits(
    queue_frames_max=16, queue_bytes_max=4_000, composed_revisions_max=30, edits_in_flight_max=4
)


def describe(error: PlaitServerError, document: DocumentKey | None) -> Mapping[str, object]:
    return {"type": error.code, "title": error.title, "status": 0, "detail": error.detail}


class Copy:
    """A client's copy of one document, made of nothing but frames."""

    def __init__(self) -> None:
        self.revision: int | None = None
        self.value: Any = None
        self.caught_up = False

    def take(self, frame: dict[str, Any]) -> None:
        match frame["t"]:
            case "snapshot":
                self.revision, self.value = frame["rev"], frame["value"]
            case "reset":
                self.revision = None
            case "rev":
                assert frame["prev"] == self.revision, "a gap"
                assert [part["rev"] for part in frame["parts"]] == list(
                    range(frame["prev"] + 1, frame["rev"] + 1)
                )
                self.revision, self.value = frame["rev"], apply(self.value, frame["patch"])
            case "caught_up":
                assert frame["rev"] == self.revision
                self.caught_up = True


class Sessions(RuleBasedStateMachine):
    """One session, the documents it may follow, and a client that sees only what is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[DocumentKey, list[Revision]] = {document: [] for document in DOCUMENTS}
        self.session = Session("s", "e", LIMITS, 0.0, itertools.count(1).__next__, describe)
        self.session.admit(Caller("t", "a", "a"))
        self.loads: list[Load] = []
        self.submits: list[Submit] = []
        self.answers: list[tuple[Submit, Answer]] = []
        self.followed: set[DocumentKey] = set()
        self.copies: dict[str, Copy] = {}
        self.kept: dict[str, Copy] = {}
        self.last_own: dict[int, tuple[str, int]] = {}
        self.numbers = itertools.count(1)
        self.now = 0.0
        for document in DOCUMENTS[:2]:
            self.commit(document, 0)

    def commit(self, document: DocumentKey, origin: int) -> Revision:
        chain = self.history[document]
        n = len(chain) + 1
        value = {"n": n}
        operation = {"op": "add", "path": "" if n == 1 else "/n", "value": value if n == 1 else n}
        patch = json.dumps([operation]).encode()
        record = RevisionRecord(
            n, "create" if n == 1 else "edit", patch, None, None, "b", "b", None, 0, "", ""
        )
        revision = Revision(n, record, (), value, origin)
        chain.append(revision)
        if document in self.followed:
            name = f"{document.collection}/{document.id}"
            told = Publication(document, revision, rev_frame(name, n - 1, [revision]), follows=n % 2 == 0)
            at_once = self.session.published(told)
            if at_once is not None:
                assert self.session.outbox.empty
                self.session.outbox.put(at_once)
        return revision

    def do(self, intents: list[Intent]) -> None:
        for intent in intents:
            match intent:
                case Follow(document):
                    self.followed.add(document)
                case Leave(document):
                    self.followed.discard(document)
                case Load():
                    self.loads.append(intent)
                case Submit():
                    self.submits.append(intent)
                case Close():
                    raise AssertionError(intent)

    def send(self, **frame: Any) -> None:
        self.do(self.session.receive(json.dumps(frame).encode()))

    @rule(document=st.sampled_from(DOCUMENTS), times=st.integers(1, 40))
    def others_edit(self, document: DocumentKey, times: int) -> None:
        for _ in range(times):
            self.commit(document, 0)

    @rule(document=st.sampled_from(DOCUMENTS), resume=st.booleans())
    def subscribe(self, document: DocumentKey, resume: bool) -> None:
        """Begin, or come back with what was kept of an earlier subscription."""
        name = f"{document.collection}/{document.id}"
        if document in self.followed:
            return
        kept = self.kept.get(name)
        if resume and kept is not None and kept.revision is not None:
            self.copies[name] = kept
            kept.caught_up = False
            self.send(t="sub", id=next(self.numbers), doc=name, **{"from": kept.revision})
        else:
            self.copies[name] = Copy()
            self.send(t="sub", id=next(self.numbers), doc=name)

    @rule(document=st.sampled_from(DOCUMENTS))
    def unsubscribe(self, document: DocumentKey) -> None:
        name = f"{document.collection}/{document.id}"
        self.read(10_000)
        self.send(t="unsub", doc=name)
        # Answers that waited for their revisions come now: nobody follows the document any more.
        if name in self.copies:
            self.kept[name] = self.copies.pop(name)
        self.read(10_000)

    @precondition(lambda self: self.loads)
    @rule()
    def load(self) -> None:
        load = self.loads.pop(0)
        chain = self.history[load.document]
        name = f"{load.document.collection}/{load.document.id}"
        head = len(chain)
        if not chain:
            self.do(self.session.not_loaded(load.document, NotFound("")))
            if load.document not in self.followed:  # else the load was for a subscription that was ended
                self.copies.pop(name, None)
            return
        missed = [] if load.after is None else chain[load.after :]
        if load.after is None or len(missed) > LIMITS.composed_revisions_max:
            text = json.dumps({"t": "snapshot", "doc": name, "rev": head, "value": chain[-1].value})
            reset: Any = None if load.after is None else "lagging"
            backlog = Backlog(head, Frame("snapshot", text.encode(), head), reset)
        else:
            backlog = Backlog(head, rev_frame(name, load.after, missed) if missed else None)
        self.do(self.session.loaded(load.document, backlog))

    @precondition(lambda self: self.session.receptive)
    @rule(document=st.sampled_from(DOCUMENTS[:2]))
    def edit(self, document: DocumentKey) -> None:
        self.send(
            t="edit", id=next(self.numbers), doc=f"{document.collection}/{document.id}", base=1, patch=[]
        )

    @precondition(lambda self: self.submits)
    @rule(accepted=st.booleans())
    def decide(self, accepted: bool) -> None:
        submit = self.submits.pop(0)
        if not accepted:
            self.do(self.session.refused(submit.origin, TestFailed("")))
            return
        revision = self.commit(submit.document, submit.origin)
        self.answers.append(
            (
                submit,
                Answer(
                    outcome="applied",
                    document=submit.document,
                    revision=revision.n,
                    base=1,
                    patch=b"[]",
                    missed=b"[]",
                    epoch="e",
                    value=None,
                ),
            )
        )

    @precondition(lambda self: self.answers)
    @rule()
    def answer(self) -> None:
        submit, answer = self.answers.pop(0)
        self.do(self.session.answered(submit.origin, answer))

    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        for _ in range(count):
            frame = self.session.outbox.take()
            if frame is None:
                break
            self.hear(json.loads(frame.text))
        self.do(self.session.loads())

    def hear(self, frame: dict[str, Any]) -> None:
        name = frame.get("doc")
        copy = self.copies.get(name) if isinstance(name, str) else None
        if frame["t"] == "applied":
            # One with everything in it was decided while nobody followed the document.
            if copy is not None and copy.revision is not None and "patch" not in frame:
                assert copy.revision >= frame["rev"], "applied came before its revision"
        elif copy is not None and frame["t"] != "problem":
            copy.take(frame)

    @rule()
    def time_passes(self) -> None:
        self.now += 1
        self.do(self.session.tick(min(self.now, 15.0)))

    @invariant()
    def what_waits_is_bounded(self) -> None:
        assert self.session.outbox.waiting_bytes <= LIMITS.queue_bytes_max + 20_000
        assert len(self.session.outbox) <= 2 * LIMITS.queue_frames_max

    def teardown(self) -> None:
        """Once everything was done and read, every copy is at the head."""
        while self.loads or self.submits or self.answers or not self.session.outbox.empty:
            if self.submits:
                self.decide(True)
            if self.answers:
                self.answer()
            if self.loads:
                self.load()
            self.read(10_000)
        assert self.session.loads() == []
        for document in self.followed:
            copy, chain = self.copies[f"{document.collection}/{document.id}"], self.history[document]
            assert copy.caught_up
            assert (copy.revision, copy.value) == (len(chain), chain[-1].value)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
