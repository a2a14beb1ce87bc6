"""One live connection as a pure value: frames in, frames and intents out. No clock, no I/O, no waiting.

    receive(text)          a frame of the client
    admit / turn_away      who it is, or that it may not come in
    published(publication) a revision is durable: a frame to be sent at once, or it is in the outbox
    overtaken(document, n) some were, and nobody knew at once
    loaded(document, ...)  the answer to a Load
    answered / refused     the answer to a Submit
    tick(now)              time passes
    outbox.take()          the next frame to send; then `loads` says what there is room for

What a client is told of a document can have no gap and nothing twice, by construction: `sent` is the
revision it was led to, and each frame leads from there to further on. Every revision is queued as it
comes, unless the subscription is behind: it has just begun, or the outbox was crowded. Then new revisions
are only noted, and as soon as there is room everything after `sent` is loaded as one frame.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, Literal
from zlib import crc32

from msgspec import Raw, Struct

from plait_merge.values import Json
from plait_server import errors, wire
from plait_server.service.answer import Answer
from plait_server.service.frame import (
    Applied,
    CaughtUp,
    ClientFrame,
    Frame,
    Goaway,
    Heartbeat,
    Hello,
    OwnEdit,
    Ping,
    Pong,
    Presence,
    Reset,
    Sub,
    Submission,
    Throttle,
    Unsub,
    Welcome,
    document_of,
    frame_of,
    read_frame,
)
from plait_server.service.limits import LiveLimits
from plait_server.service.lineage import Ancestor, ancestor_of
from plait_server.service.outbox import Outbox
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey
from plait_server.service.revision import Revision
from plait_server.store import Hold

BAD_FRAME: Final = 4400
UNAUTHENTICATED: Final = 4401
NO_HELLO: Final = 4408
LIMIT: Final = 4429
SLOW: Final = 4013
RESTART: Final = 1012

MALFORMED_FRAMES_MAX: Final = 100
"""A client that sends so many is no client."""
OWN_EDITS_MAX: Final = 64
"""So many of one's own answered edits can be the base of another."""
THROTTLE_MS: Final = 500
"""To be waited for at least where the server is too busy; up to twice as long."""
BASE_REFUSED: Final = "The edit it was made on was refused."
Outcome = Literal["created", "applied", "merged", "noop", "deleted"]


LEVELS_OF_A_FRAME: Final = 4
"""A patch in a frame wraps its values: the frame, the list, the operation."""


class Authenticate(Struct, frozen=True):
    """Find out who this is; then `admit` or `turn_away`."""

    token: str | None


class Follow(Struct, frozen=True):
    """Let the session hear of every revision of the document from now on."""

    document: DocumentKey


class Leave(Struct, frozen=True):
    document: DocumentKey


class Load(Struct, frozen=True):
    """Read what came after a revision, or the whole document (None); then `loaded` or `not_loaded`."""

    document: DocumentKey
    after: int | None
    epoch: str | None


class Submit(Struct, frozen=True):
    """Take an edit to the service; then `answered` or `refused`. Edits of one document stay in order."""

    origin: int
    document: DocumentKey
    edit: Edit
    ancestor: Ancestor | None


class Announce(Struct, frozen=True):
    """Tell the others where this one is."""

    document: DocumentKey
    state: Mapping[str, Json] | None
    revision: int | None


class Close(Struct, frozen=True):
    code: int
    reason: str


Intent = Authenticate | Follow | Leave | Load | Submit | Announce | Close


class Publication(Struct, eq=False):
    """A durable revision on its way to everybody who follows its document: its frame is made once."""

    document: DocumentKey
    revision: Revision
    frame: Frame
    follows: bool = False
    """Whether one of the same document went before it just now: those that follow it go out together."""


class Backlog(Struct, frozen=True):
    """What was loaded: what leads on from where the client is, or a snapshot, up to revision `upto`.

    `frame` is None where there is nothing new. `reset` says why it is a snapshot though a revision was
    named.
    """

    upto: int
    frame: Frame | None
    reset: Literal["epoch", "unknown", "compacted", "lagging"] | None = None


class _Subscription(Struct, eq=False):
    name: str
    document: DocumentKey
    id: int
    sent: int | None
    epoch: str | None
    head: int = 0
    """The newest revision heard of."""
    told: bool = False
    """Whether the client knows that it has caught up."""
    held: list[tuple[int, Frame]] | None = None
    """Answers to edits whose own revision has not been told yet."""


class _UnderWay(Struct, eq=False):
    """An edit that was not answered yet."""

    frame: Submission
    document: DocumentKey
    parent: Ancestor | None = None
    told: bool = False
    waiting: "list[_UnderWay] | None" = None
    """Edits made on this one."""


_OwnEdits = OrderedDict[tuple[DocumentKey, str], "_UnderWay | Ancestor | None"]
"""None: it was refused."""
Describe = Callable[[errors.PlaitServerError, DocumentKey | None], Mapping[str, object]]


class Session:
    """What one client was told and asked for."""

    __slots__ = (
        "_behind",
        "_by_key",
        "_closed",
        "_describe",
        "_edits",
        "_epoch",
        "_heartbeat_at",
        "_loading",
        "_malformed",
        "_next_origin",
        "_opened_at",
        "_stuck_since",
        "_subscriptions",
        "_taken",
        "caller",
        "id",
        "limits",
        "outbox",
    )

    def __init__(
        self,
        id: str,
        epoch: str,
        limits: LiveLimits,
        now: float,
        next_origin: Callable[[], int],
        describe: Describe,
    ) -> None:
        """`now` and every later time are seconds of one clock that only goes forward; `next_origin`
        gives numbers that nobody else has; `describe` makes the members of a problem of a refusal."""
        self.id = id
        self.limits = limits
        self.caller: Caller | None = None
        self.outbox = Outbox(limits.queue_frames_max, limits.queue_bytes_max)
        self._epoch = epoch
        self._opened_at = now
        self._heartbeat_at = now + limits.heartbeat_s
        self._next_origin = next_origin
        self._describe = describe
        self._subscriptions: dict[DocumentKey, _Subscription] = {}
        self._behind: dict[DocumentKey, None] = {}
        self._loading: _Subscription | None = None
        self._edits: dict[int, _UnderWay] = {}
        self._by_key: _OwnEdits | None = None
        self._malformed = 0
        self._stuck_since: float | None = None
        self._taken = 0
        self._closed = False

    @property
    def receptive(self) -> bool:
        """Whether the client should be listened to: its window is not full, and it reads its answers."""
        return len(self._edits) < self.limits.edits_in_flight_max and not self.outbox.crowded

    @property
    def behind(self) -> bool:
        """Whether there is something to load once there is room."""
        return bool(self._behind)

    def admit(self, caller: Caller) -> None:
        """Let the client in."""
        self.caller = caller
        limits = self.limits
        self._put(
            Welcome(
                session=self.id,
                epoch=self._epoch,
                limits={
                    "frame_bytes_max": limits.frame_bytes_max,
                    "subscriptions_max": limits.subscriptions_max,
                    "edits_in_flight_max": limits.edits_in_flight_max,
                    "presence_bytes_max": limits.presence_bytes_max,
                    "heartbeat_s": limits.heartbeat_s,
                },
            )
        )

    def turn_away(self) -> list[Intent]:
        return self._close(UNAUTHENTICATED, "The token is not valid.")

    def receive(self, text: bytes) -> list[Intent]:
        """Take a frame of the client."""
        if self._closed:
            return []
        if self.caller is None and len(text) > self.limits.hello_bytes_max:
            return self._close(BAD_FRAME, "The first frame is too large.")
        try:
            frame = read_frame(
                text, self.limits.depth_max + LEVELS_OF_A_FRAME, self.limits.integer_digits_max
            )
        except errors.MalformedFrame as error:
            return self._malformed_frame(error)
        if self.caller is None:
            return self._first(frame)
        match frame:
            case Submission():
                return self._submit(frame, len(text))
            case Sub():
                return self._subscribe(frame)
            case Unsub():
                return self._unsubscribe(frame)
            case Presence():
                return self._announce(frame, len(text))
            case Ping():
                self._put(Pong(id=frame.id))
            case Hello():
                return self._malformed_frame(errors.MalformedFrame("The connection has said hello already."))
        return []

    def _first(self, frame: ClientFrame) -> list[Intent]:
        if not isinstance(frame, Hello):
            return self._close(UNAUTHENTICATED, "The first frame has to be hello.")
        return [Authenticate(frame.token)]

    def _malformed_frame(self, error: errors.MalformedFrame) -> list[Intent]:
        self._malformed += 1
        if self.caller is None or self._malformed > MALFORMED_FRAMES_MAX:
            return self._close(BAD_FRAME, "That is no frame.")
        self._problem(error, None, error.members.get("id"))
        return []

    # Subscriptions

    def _subscribe(self, frame: Sub) -> list[Intent]:
        document = document_of(frame.doc)
        known = self._subscriptions.get(document)
        if known is None and len(self._subscriptions) >= self.limits.subscriptions_max:
            detail = "This connection follows as many documents as it may."
            members = {"limit": "subscriptions", "maximum": self.limits.subscriptions_max}
            self._problem(errors.TooLarge(detail, members), document, frame.id)
            self._malformed += 1
            if self._malformed > MALFORMED_FRAMES_MAX:
                return self._close(LIMIT, detail)
            return []
        subscription = _Subscription(frame.doc, document, frame.id, frame.from_, frame.epoch or self._epoch)
        self._subscriptions[document] = subscription
        self._behind[document] = None
        if known is None:
            return [Follow(document), *self.loads()]
        self._release(known)
        return self.loads()

    def _unsubscribe(self, frame: Unsub) -> list[Intent]:
        document = document_of(frame.doc)
        subscription = self._subscriptions.get(document)
        return [] if subscription is None else self._end(subscription)

    def _end(self, subscription: _Subscription) -> list[Intent]:
        del self._subscriptions[subscription.document]
        self._behind.pop(subscription.document, None)
        self._release(subscription)
        return [Leave(subscription.document)]

    def published(self, publication: Publication) -> Frame | None:
        """Hear of a revision of a document it follows.

        Gives the frame that tells of it, to be sent before anything else, where nothing waits and it is the
        first for now; most often that is so. Else it is in the outbox.
        """
        subscription = self._subscriptions.get(publication.document)
        if subscription is None:
            return None
        revision = publication.revision
        n = subscription.head = revision.n
        own = self._edits.get(revision.origin) if self._edits else None
        frame = None
        if not (self._behind and subscription.document in self._behind):
            is_next = n - 1 == subscription.sent
            if is_next and own is None and self.outbox.empty and not publication.follows:
                frame = publication.frame
                subscription.sent = n
            elif not is_next or self.outbox.crowded:
                # Where one was skipped it is durable, and nobody knew: the store did not say so.
                self._behind[subscription.document] = None
            else:
                self.outbox.put(publication.frame)
                subscription.sent = n
        if own is not None:
            self._committed(own, subscription, revision)
        return frame

    def overtaken(self, document: DocumentKey, n: int) -> list[Intent]:
        """Hear that a document is at revision `n`, where it was not told of each one."""
        subscription = self._subscriptions.get(document)
        if subscription is None or subscription.head >= n:
            return []
        subscription.head = n
        self._behind[document] = None
        return self.loads()

    def loads(self) -> list[Intent]:
        """Say what there is room to load now: one document at a time, and only while little waits."""
        if not self._behind or self._loading is not None or self._closed or not self.outbox.calm:
            return []
        subscription = self._loading = self._subscriptions[next(iter(self._behind))]
        return [Load(subscription.document, subscription.sent, subscription.epoch)]

    def loaded(self, document: DocumentKey, backlog: Backlog) -> list[Intent]:
        """Take what was loaded."""
        subscription = self._end_of_load(document)
        if subscription is None:
            return self.loads()
        if backlog.reset is not None:
            self._put(Reset(doc=subscription.name, reason=backlog.reset))
            subscription.told = False
        if backlog.frame is not None:
            self.outbox.put(backlog.frame)
        subscription.sent, subscription.epoch = backlog.upto, self._epoch
        if subscription.head <= backlog.upto:
            del self._behind[document]
            if not subscription.told:
                subscription.told = True
                caught_up = CaughtUp(doc=subscription.name, rev=backlog.upto)
                self.outbox.put(frame_of(caught_up, backlog.upto))
        self._release(subscription)
        return self.loads()

    def not_loaded(self, document: DocumentKey, error: errors.PlaitServerError) -> list[Intent]:
        """Take that a document cannot be loaded: it is followed no longer."""
        subscription = self._end_of_load(document)
        if subscription is None:
            return self.loads()
        self._problem(error, document, subscription.id)
        return [*self._end(subscription), *self.loads()]

    def _end_of_load(self, document: DocumentKey) -> _Subscription | None:
        """Give the subscription the load was for, unless it was ended or made anew meanwhile."""
        asked, self._loading = self._loading, None
        return asked if asked is not None and self._subscriptions.get(document) is asked else None

    # Edits

    def _submit(self, frame: Submission, weight_bytes: int) -> list[Intent]:
        under_way = _UnderWay(frame, document_of(frame.doc))
        if len(self._edits) >= self.limits.edits_in_flight_max:
            return self._refuse(under_way, errors.Overloaded("Too many edits of this connection wait."))
        base = frame.base
        if isinstance(base, OwnEdit):
            place = (under_way.document, base.key)
            own = self._by_key
            if own is None or place not in own:
                detail = "No edit of this connection has the key its base names."
                return self._refuse(under_way, errors.BaseUnknown(detail))
            named = own[place]
            if named is None:
                return self._refuse(under_way, errors.BaseRefused(BASE_REFUSED))
            if isinstance(named, _UnderWay):
                self._begin(under_way)
                named.waiting = [*(named.waiting or ()), under_way]
                self._edits[self._next_origin()] = under_way
                return []
            under_way.parent = named
        self._begin(under_way)
        return self._send_off(self._next_origin(), under_way, weight_bytes)

    def _send_off(self, origin: int, under_way: _UnderWay, weight_bytes: int) -> list[Intent]:
        frame, parent = under_way.frame, under_way.parent
        self._edits[origin] = under_way
        base = frame.base if parent is None else parent.revision
        edit = Edit(
            kind="patch",
            content=frame.patch,
            base=base if isinstance(base, int) else None,
            epoch=frame.epoch,
            merge=frame.merge,
            extended=True,
            message=frame.message,
            lock=None if frame.lock is None else Hold(frame.lock.id, frame.lock.fence),
            key=None if frame.key is None else IdempotencyKey(frame.key, _fingerprint(frame)),
            weight_bytes=weight_bytes,
            origin=origin,
        )
        return [Submit(origin, under_way.document, edit, parent)]

    def answered(self, origin: int, answer: Answer) -> list[Intent]:
        """Take the answer to an edit: it is durable."""
        under_way = self._edits.pop(origin)
        frame, document = under_way.frame, under_way.document
        subscription = self._subscriptions.get(document)
        if not under_way.told:
            # Who follows the document has seen what was missed, or will; the others are told.
            self._tell(subscription, answer.revision, _applied(frame, answer, whole=subscription is None))
        if frame.key is None:
            return []  # none is made on it: it has no name
        return self._go_on(under_way, ancestor_of(frame.patch, under_way.parent, answer))

    def _committed(self, under_way: _UnderWay, subscription: _Subscription, revision: Revision) -> None:
        """Answer an edit as its revision passes, so that no later one comes in between."""
        under_way.told = True
        frame, record = under_way.frame, revision.record
        outcome: Outcome = "applied" if record.base in (None, record.n - 1) else "merged"
        if record.kind == "create":
            outcome = "created"
        applied = Applied(id=frame.id, doc=frame.doc, rev=revision.n, outcome=outcome, key=frame.key)
        self._tell(subscription, revision.n, applied)

    def refused(self, origin: int, error: errors.PlaitServerError) -> list[Intent]:
        """Take that an edit was refused, and refuse those made on it."""
        under_way = self._edits.pop(origin)
        self._problem(error, under_way.document, under_way.frame.id)
        if isinstance(error, errors.Overloaded | errors.HotDocument | errors.QuotaExceeded):
            self._put(Throttle(retry_after_ms=self._wait_ms(error)))
        return self._go_on(under_way, None)

    def _wait_ms(self, error: errors.PlaitServerError) -> int:
        """Say how long to wait: not everybody as long, so that not all come back at once."""
        known_s = error.members.get("retry_after_s")
        if isinstance(known_s, int):
            return known_s * 1_000
        return THROTTLE_MS + crc32(self.id.encode()) % THROTTLE_MS

    def _refuse(self, under_way: _UnderWay, error: errors.PlaitServerError) -> list[Intent]:
        self._problem(error, under_way.document, under_way.frame.id)
        return self._go_on(under_way, None)

    def _go_on(self, under_way: _UnderWay, ancestor: Ancestor | None) -> list[Intent]:
        """Let the edits made on this one go on, or refuse them with it."""
        self._conclude(under_way, ancestor)
        waiting, under_way.waiting = under_way.waiting or [], None
        intents: list[Intent] = []
        for each in waiting:
            origin = next(number for number, other in self._edits.items() if other is each)
            if ancestor is None:
                del self._edits[origin]
                intents += self._refuse(each, errors.BaseRefused(BASE_REFUSED))
            else:
                each.parent = ancestor
                intents += self._send_off(origin, each, 0)
        return intents

    def _begin(self, under_way: _UnderWay) -> None:
        """Let later edits name this one as their base."""
        if under_way.frame.key is None:
            return
        if self._by_key is None:
            self._by_key = OrderedDict()
        place = (under_way.document, under_way.frame.key)
        if isinstance(self._by_key.get(place), _UnderWay):
            return
        self._by_key[place] = under_way
        self._by_key.move_to_end(place)
        if len(self._by_key) > OWN_EDITS_MAX + self.limits.edits_in_flight_max:
            self._by_key.popitem(last=False)

    def _conclude(self, under_way: _UnderWay, ancestor: Ancestor | None) -> None:
        key = under_way.frame.key
        if key is not None and self._by_key is not None:
            place = (under_way.document, key)
            if self._by_key.get(place) is under_way:
                self._by_key[place] = ancestor

    def _tell(self, subscription: _Subscription | None, revision: int, applied: Applied) -> None:
        """Send `applied`, but never before the revision it speaks of."""
        if subscription is None or (subscription.sent or 0) >= revision:
            self._put(applied)
        else:
            subscription.held = [*(subscription.held or ()), (revision, frame_of(applied))]

    def _release(self, subscription: _Subscription) -> None:
        """Send the answers that waited for their revisions; at the end of a subscription all of them."""
        gone = self._subscriptions.get(subscription.document) is not subscription
        held, subscription.held = subscription.held or (), None
        for revision, frame in held:
            if gone or revision <= (subscription.sent or 0):
                self.outbox.put(frame)
            else:
                subscription.held = [*(subscription.held or ()), (revision, frame)]

    # Presence

    def _announce(self, frame: Presence, size_bytes: int) -> list[Intent]:
        document = document_of(frame.doc)
        if size_bytes > self.limits.presence_bytes_max + len(frame.doc):
            members = {"limit": "presence_bytes", "maximum": self.limits.presence_bytes_max}
            self._problem(errors.TooLarge("The presence is too large.", members), document, None)
            return []
        if document not in self._subscriptions:
            self._problem(
                errors.MalformedFrame("Presence needs a subscription of the document."), document, None
            )
            return []
        return [Announce(document, frame.state, frame.rev)]

    def present(self, document: str, session: str, frame: Frame) -> None:
        """Hear where somebody is."""
        if session != self.id:
            self.outbox.put_presence(document, session, frame)

    # Time and the end

    def tick(self, now: float) -> list[Intent]:
        """Let time pass: about once a second is often enough."""
        if self._closed:
            return []
        if self.caller is None:
            if now - self._opened_at >= self.limits.hello_timeout_s:
                return self._close(NO_HELLO, "No hello came in time.")
            return []
        if self._is_stuck(now):
            return self._close(SLOW, "The client does not read what it is sent.")
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + self.limits.heartbeat_s
            if self.outbox.calm:
                self._put(
                    Heartbeat(heads={each.name: each.sent or 0 for each in self._subscriptions.values()})
                )
        return self.loads()

    def _is_stuck(self, now: float) -> bool:
        """Tell whether the outbox was over half full, or nothing of it was taken, for too long."""
        outbox = self.outbox
        moving = outbox.empty or (outbox.taken != self._taken and not outbox.crowded)
        self._taken = outbox.taken
        if moving:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        return self._stuck_since is not None and now - self._stuck_since >= self.limits.slow_timeout_s

    def go_away(self, reconnect_ms: tuple[int, int]) -> list[Intent]:
        """Say that the server closes."""
        if self._closed:
            return []
        self._put(Goaway(reconnect_ms=reconnect_ms))
        return self._close(RESTART, "The server restarts.")

    def _close(self, code: int, reason: str) -> list[Intent]:
        self._closed = True
        return [Close(code, reason)]

    def _problem(self, error: errors.PlaitServerError, document: DocumentKey | None, id: object) -> None:
        described: dict[str, object] = {"t": "problem"}
        if id is not None:
            described["id"] = id
        if document is not None:
            described["doc"] = document.name
        self.outbox.put(Frame("problem", wire.encode({**described, **self._describe(error, document)})))

    def _put(self, frame: Welcome | Reset | Applied | Heartbeat | Goaway | Pong | Throttle) -> None:
        self.outbox.put(frame_of(frame))


def _applied(frame: Submission, answer: Answer, *, whole: bool) -> Applied:
    outcome = answer.outcome
    assert outcome != "would_apply"
    assert outcome != "would_merge"
    return Applied(
        id=frame.id,
        doc=frame.doc,
        rev=answer.revision,
        outcome=outcome,
        key=frame.key,
        base=answer.base if whole else None,
        patch=Raw(answer.patch) if whole else None,
        missed=Raw(answer.missed) if whole and answer.missed is not None else None,
        replayed=answer.replayed,
    )


def _fingerprint(frame: Submission) -> str:
    """Tell one edit from another, as the fingerprint of a request does."""
    base = {"key": frame.base.key} if isinstance(frame.base, OwnEdit) else frame.base
    said = wire.encode([frame.doc, base, frame.epoch, frame.patch, frame.merge, frame.message])
    return blake2b(b"edit\n" + said, digest_size=16).hexdigest()
