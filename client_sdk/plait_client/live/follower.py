"""Following documents as a pure value: frames of a server in, events and frames to send out.

    opened()               a connection is there, and has to say hello
    ask / leave            a document, from where its copy is
    receive(text)          a frame of the server: what it says
    take_frames()          what to send now

Nothing here waits, looks at a clock or applies a patch. A copy can have no gap and nothing twice,
whatever is sent: a `Subscription` takes only what leads on from where the copy is, and everything else is
either old or asked for again. A subscription outlives its connections; it serves streams of events and
polling too, which have no conversation.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from plait_client.errors import PlaitError
from plait_client.live import frame as frames
from plait_client.live.frame import AboutDocument, MalformedFrame, Part, read_frame
from plait_merge import Absent, Json

GAPS_MAX: Final = 3
"""So often in a row a document is asked for again; then the server does not make sense."""
HEARTBEAT_S_MIN, HEARTBEAT_S_MAX = 1.0, 120.0
THROTTLE_S_MAX: Final = 60.0
AWAY_S_MAX: Final = 300.0
"""What a server may ask for is bounded: it could be anybody's."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The document moved from revision `prev` to `revision`: by `patch`, which is that of all `parts`."""

    prev: int
    revision: int
    patch: list[dict[str, Any]]
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Replaced:
    """The document as it is; whatever the copy was before. ABSENT: it is deleted.

    `reason` says why it is not led on from where it was, None where there was nothing yet: "epoch" (the
    server was restored), "unknown", "compacted", "lagging" (too much was missed).
    """

    revision: int
    value: Json | Absent
    epoch: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The copy is where the document is; what comes from now on is new."""

    revision: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing is heard for now. What is missed will come."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The document is followed no longer, because it is not there or may not be seen."""

    error: PlaitError


Event = Moved | Replaced | CaughtUp | Lost | Ended


@dataclass(frozen=True, slots=True)
class Told:
    """Something about one document."""

    document: str
    event: Event


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The connection may be used; `heartbeat_s` is how often a sign of life comes at least."""

    epoch: str
    heartbeat_s: float


@dataclass(frozen=True, slots=True)
class Throttled:
    """The server has too much to do: no edits for so long."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class SentAway:
    """The server closes; come back after a random time between the two."""

    wait_s_min: float
    wait_s_max: float


@dataclass(frozen=True, slots=True)
class Turned:
    """The server does not tell of the document. `document` is None for a refusal of something else."""

    document: str | None
    status: int
    retry: bool
    problem: Mapping[str, Json]


Signal = Told | Welcomed | Throttled | SentAway | Turned


class Gap(Exception):
    """What was heard does not lead on from where the copy is."""


class Subscription:
    """One document: where the copy is (`revision`, `epoch`; None: there is none, or it is not known)."""

    __slots__ = ("_reason", "caught_up", "epoch", "revision")

    def __init__(self, revision: int | None = None, epoch: str | None = None) -> None:
        self.revision = revision
        self.epoch = epoch
        self.caught_up = False
        self._reason: str | None = None

    def begin(self) -> None:
        """The document is asked for (anew), from where the copy is."""
        self.caught_up = False

    def forget(self, reason: str) -> None:
        """The copy is of no use any more: it has to be replaced."""
        self.caught_up = False
        self.revision = self.epoch = None
        self._reason = reason

    def take(self, frame: AboutDocument, epoch: str) -> Event | None:
        """Move the copy on; `epoch` is that of the server. None: there is nothing to tell.

        Raises Gap; then `begin` and ask again.
        """
        match frame:
            case frames.Reset():
                self.forget(frame.reason)
                return None
            case frames.Snapshot():
                reason, self._reason = self._reason, None
                self.revision, self.epoch = frame.rev, epoch
                return Replaced(frame.rev, frame.content, epoch, reason)
            case frames.Rev():
                if frame.rev <= self._known(epoch):
                    return None
                self._arrive(frame.prev, frame.rev, epoch)
                return Moved(frame.prev, frame.rev, frame.patch, frame.parts)
            case frames.CaughtUp():
                self._arrive(frame.rev, frame.rev, epoch)
                self.caught_up = True
                return CaughtUp(frame.rev)

    def _known(self, epoch: str) -> int:
        if self.revision is None or self.epoch not in (None, epoch):
            raise Gap
        return self.revision

    def _arrive(self, prev: int, revision: int, epoch: str) -> None:
        if prev != self._known(epoch):
            raise Gap
        self.revision, self.epoch = revision, epoch


class Follower:
    """Many documents over one connection."""

    def __init__(self, subscriptions: Mapping[str, Subscription], client: str | None = None) -> None:
        """`subscriptions` are by the name of the document; they may change meanwhile, and then `ask` or
        `leave` says so. `client` is a name and version for the people who run the server."""
        self._subscriptions = subscriptions
        self._client = client
        self._outgoing: deque[dict[str, Any]] = deque()
        self._epoch: str | None = None
        self._numbers = 0
        self._asked: dict[str, int] = {}
        self._fences: dict[str, int] = {}
        self._gaps: dict[str, int] = {}

    @property
    def has_frames(self) -> bool:
        """Whether there is something to send."""
        return bool(self._outgoing)

    def opened(self) -> None:
        """Begin, over a connection that did not say who it is when it was opened."""
        self._outgoing.append({"t": "hello", **({} if self._client is None else {"client": self._client})})

    def ask(self, document: str) -> None:
        """Subscribe to a document from where its copy is, as soon as the server has said welcome."""
        subscription = self._subscriptions.get(document)
        if subscription is None or self._epoch is None or document in self._asked:
            return
        subscription.begin()
        self._asked[document] = number = self._number()
        asked: dict[str, Any] = {"t": "sub", "id": number, "doc": document}
        if subscription.revision is not None:
            asked["from"] = subscription.revision
            if subscription.epoch is not None:
                asked["epoch"] = subscription.epoch
        self._outgoing.append(asked)

    def leave(self, document: str) -> None:
        """End a subscription. What is on its way still belongs to it, up to the answer of the ping."""
        if self._asked.pop(document, None) is None:
            return
        self._fences[document] = number = self._number()
        self._gaps.pop(document, None)
        self._outgoing.append({"t": "unsub", "doc": document})
        self._outgoing.append({"t": "ping", "id": number})

    def take_frames(self) -> Iterator[bytes]:
        """Take what is to be sent."""
        while self._outgoing:
            yield msgspec.json.encode(self._outgoing.popleft())

    def receive(self, text: bytes | str) -> Signal | None:
        """Take a frame of the server, and give what it says, if that is anything.

        Raises MalformedFrame: then the connection is to be given up.
        """
        frame = read_frame(text)
        match frame:
            case frames.Snapshot() | frames.Rev() | frames.CaughtUp() | frames.Reset():
                return self._take(frame)
            case frames.Heartbeat():
                self._compare(frame.heads)
            case frames.Pong():
                self._fences = {name: number for name, number in self._fences.items() if number != frame.id}
            case frames.Welcome():
                return self._welcomed(frame)
            case frames.Problem():
                return self._turned(frame, text)
            case frames.Throttle():
                return Throttled(min(frame.retry_after_ms / 1_000, THROTTLE_S_MAX))
            case frames.Goaway():
                return _sent_away(frame)
        return None

    def _welcomed(self, frame: frames.Welcome) -> Welcomed:
        if self._epoch is not None:
            raise MalformedFrame("The server said welcome twice.")
        self._epoch = frame.epoch
        for document in self._subscriptions:
            self.ask(document)
        return Welcomed(frame.epoch, min(max(frame.limits.heartbeat_s, HEARTBEAT_S_MIN), HEARTBEAT_S_MAX))

    def _take(self, frame: AboutDocument) -> Told | None:
        document = frame.doc
        subscription = self._subscriptions.get(document)
        if self._epoch is None or subscription is None or not self._is_current(document):
            return None
        try:
            event = subscription.take(frame, self._epoch)
        except Gap:
            self._ask_again(document)
            return None
        if subscription.caught_up:
            self._gaps.pop(document, None)
        return None if event is None else Told(document, event)

    def _is_current(self, document: str) -> bool:
        """Whether what is heard of a document now belongs to its newest subscription."""
        return document in self._asked and document not in self._fences

    def _compare(self, heads: Mapping[str, int]) -> None:
        """Compare where the server thinks the copies are with where they are."""
        for document, subscription in self._subscriptions.items():
            if not subscription.caught_up or not self._is_current(document):
                continue
            if heads.get(document) != subscription.revision:
                self._ask_again(document)

    def _ask_again(self, document: str) -> None:
        gaps = self._gaps.get(document, 0) + 1
        if gaps > GAPS_MAX:
            raise MalformedFrame(f"What the server says of {document} does not lead on.")
        self.leave(document)
        self._gaps[document] = gaps
        self.ask(document)

    def _turned(self, frame: frames.Problem, text: bytes | str) -> Turned:
        document = next((name for name, number in self._asked.items() if number == frame.id), None)
        if document is not None:
            del self._asked[document]
        return Turned(document, frame.status, frame.retry, msgspec.json.decode(text))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


class OneWay:
    """One document over connections that cannot be spoken to; what is to be said is said by opening one."""

    def __init__(self, name: str, subscription: Subscription) -> None:
        self.name = name
        self.subscription = subscription
        self._epoch: str | None = None
        self.is_over = False
        """Whether this connection is of no use any more."""

    def opened(self) -> None:
        """A connection is asked for that begins where the copy is."""
        self.subscription.begin()
        self._epoch = None
        self.is_over = False

    def receive(self, text: bytes) -> Signal | None:
        """Take a frame of the server, and give what it says, if that is anything. Raises MalformedFrame."""
        frame = read_frame(text)
        match frame:
            case frames.Welcome():
                return self._welcomed(frame)
            case frames.Snapshot() | frames.Rev() | frames.CaughtUp() | frames.Reset():
                return self._take(frame)
            case frames.Goaway():
                return _sent_away(frame)
            case frames.Problem():
                self.is_over = True
        return None

    def _welcomed(self, frame: frames.Welcome) -> Welcomed:
        """Where the connection could not say of what epoch its revision is, that is noticed here."""
        self._epoch = frame.epoch
        if self.subscription.epoch not in (None, frame.epoch):
            self.subscription.forget("epoch")
            self.is_over = True
        return Welcomed(frame.epoch, frame.limits.heartbeat_s)

    def _take(self, frame: AboutDocument) -> Told | None:
        if self._epoch is None or frame.doc != self.name:
            return None
        try:
            event = self.subscription.take(frame, self._epoch)
        except Gap:
            self.is_over = True
            return None
        return None if event is None else Told(self.name, event)


def _sent_away(frame: frames.Goaway) -> SentAway:
    """Read when to come back."""
    first_ms, last_ms = frame.reconnect_ms
    return SentAway(min(first_ms / 1_000, AWAY_S_MAX), min(last_ms / 1_000, AWAY_S_MAX))
