"""Live updates of many documents over one connection, which comes back by itself.

What is heard and what is missing is decided in `follower`, which does no I/O; here is what carries its
frames, and when to connect again. Every listener is told each revision exactly once, in order, however
often the connection is lost. Where sockets are blocked each document is followed on its own (`stream`),
and a socket is tried again after a while.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from aiohttp import ClientError, WSServerHandshakeError

from plait_client.errors import Forbidden, PlaitError, TransportError, error_of
from plait_client.live.follower import (
    CaughtUp,
    Ended,
    Event,
    Follower,
    Lost,
    Moved,
    Replaced,
    SentAway,
    Signal,
    Subscription,
    Throttled,
    Told,
    Turned,
    Welcomed,
)
from plait_client.live.frame import MalformedFrame
from plait_client.live.polling import poll
from plait_client.live.pulse import Pulse, Silent
from plait_client.live.reconnect import Losses, Reconnect
from plait_client.live.stream import BETTER_WAY_S, FOR_NOW, Shares, Stream
from plait_client.live.websocket import Conversation
from plait_client.wire.request import check_name, features
from plait_client.wire.retry import full_jitter
from plait_client.wire.transport import Transport

log = logging.getLogger(__name__)

WELCOME_TIMEOUT_S: Final = 10.0
PROBE_DEADLINE_S: Final = 10.0
BLOCKED_MAX: Final = 2
"""So often in a row a socket was refused while the server answers: then there are none here."""
HELD_MAX: Final = 1_000
"""Events kept for a listener that is being led to where the others are."""

State = Literal["connected", "reconnecting", "offline"]
Listener = Callable[[Event], object]


class Following:
    """One listener of one document."""

    __slots__ = ("_at", "_held", "_listener", "_live", "closed", "document")

    def __init__(self, live: "Live", document: str, at: Subscription, listener: Listener) -> None:
        self._live = live
        self._listener = listener
        self._at = at
        self._held: list[Event] | None = None
        self.document = document
        self.closed = False

    def close(self) -> None:
        """Hear no more. May be called at any time, also by the listener."""
        if not self.closed:
            self.closed = True
            self._live._left(self)

    def _hear(self, event: Event) -> None:
        """Tell the listener, if that leads on from what it was told; if not, lead it there first."""
        if self._held is not None and not isinstance(event, Ended):
            self._held.append(event)
            del self._held[:-HELD_MAX]
            return
        match event:
            case Moved():
                if self._at.revision is not None and event.revision <= self._at.revision:
                    return
                if event.prev != self._at.revision:
                    self._live._lead(self)
                    return
                self._at.revision = event.revision
            case Replaced():
                self._at.revision, self._at.epoch = event.revision, event.epoch
            case CaughtUp() if event.revision != self._at.revision:
                return
        self._tell(event)

    def _tell(self, event: Event) -> None:
        if self.closed:
            return
        self.closed = isinstance(event, Ended)
        try:
            self._listener(event)
        except Exception:
            log.exception("A listener of %s failed; it is told nothing any more", self.document)
            self.close()


@dataclass(slots=True, eq=False)
class _Document:
    name: str
    followings: list[Following] = field(default_factory=list)
    refusals: int = 0
    stream: asyncio.Task[None] | None = None
    is_heard: bool = False
    """Whether its stream works."""

    def tell(self, event: Event) -> None:
        for following in list(self.followings):
            following._hear(event)


@dataclass(frozen=True, slots=True)
class _Loss:
    """How a connection came to its end."""

    reason: str
    kind: Literal["lost", "careful", "blocked", "barred"] = "lost"
    error: PlaitError | None = None


class Live:
    """Follows documents. There is a connection as long as there is a document to follow."""

    def __init__(
        self,
        transport: Transport,
        *,
        client: str | None = None,
        reconnect: Reconnect | None = None,
        on_state: Callable[[State], object] | None = None,
    ) -> None:
        """The transport lends its session, its clock, sleep and chance, and its counters.

        The session has a base URL, and the headers that say who it is (Authorization, Plait-Author).
        `client` is a name and version for people. `on_state` hears of every change of `state`, and
        must not block.
        """
        self._transport = Transport(
            transport.session,
            # Here it is tried again for ever: that must not take from what edits may be retried with.
            replace(transport.retry, attempts=1),
            counters=transport.counters,
            answer_bytes_max=transport.answer_bytes_max,
            clock=transport.clock,
            now=transport.now,
            sleep=transport.sleep,
            uniform=transport.uniform,
        )
        self._client = client
        self._reconnect = reconnect or Reconnect()
        self._on_state = on_state
        self._documents: dict[str, _Document] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._conversation: Conversation | None = None
        self._losses = self._no_losses()
        self._was_lost = False
        self._streams = False
        self._shares = Shares()
        self._closed = False
        self.state: State = "offline"
        """connected; reconnecting (also for the first time); offline: nothing is tried."""
        self.throttled_until = 0.0
        """When, by the transport's clock, the server wants edits again."""

    def follow(
        self, name: str, revision: int | None = None, epoch: str | None = None, *, listener: Listener
    ) -> Following:
        """Tell a listener what happens to a document from a revision on, or from a snapshot.

        The listener is called in order, from the event loop, and must not block; if it raises, it is
        told nothing any more. The last event of one that did not close is Ended. Raises ValueError for
        what is no name of a document.
        """
        if self._closed:
            raise RuntimeError("The client is closed.")
        following = Following(self, check_name(name), Subscription(revision, epoch), listener)
        document = self._documents.get(name)
        if document is None:
            self._subscriptions[name] = Subscription(revision, epoch)
            self._documents[name] = _Document(name, [following])
            self._start(self._documents[name])
        else:
            document.followings.append(following)
            self._join(following)
        return following

    async def close(self) -> None:
        """End everything and wait for it. Nobody is told anything any more."""
        self._closed = True
        for document in list(self._documents.values()):
            for following in list(document.followings):
                following.close()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, document: _Document) -> None:
        if self._running is None:
            self._turn("reconnecting")
            self._running = self._begin(self._run())
        elif self._streams:
            self._begin_stream(document)
        elif self._conversation is not None:
            self._conversation.ask(document.name)

    def _stop(self) -> None:
        """Disconnect, soon."""
        for task in self._tasks:
            task.cancel()
        self._running = self._conversation = None
        self._losses = self._no_losses()
        self._streams = self._was_lost = False
        self._turn("offline")

    def _left(self, following: Following) -> None:
        document = self._documents.get(following.document)
        if document is None or following not in document.followings:
            return
        document.followings.remove(following)
        if not document.followings:
            self._drop(document)

    def _drop(self, document: _Document) -> None:
        del self._documents[document.name]
        del self._subscriptions[document.name]
        if document.stream is not None:
            document.stream.cancel()
        if self._conversation is not None:
            self._conversation.leave(document.name)
        if not self._documents:
            self._stop()

    # A second listener

    def _join(self, following: Following) -> None:
        """Let a listener in where the others are, or lead it there."""
        there, at = self._subscriptions[following.document], following._at
        if there.revision is None:
            return
        if at.revision == there.revision and (at.epoch is None or at.epoch == there.epoch):
            asyncio.get_running_loop().call_soon(self._tell_of_arrival, following)
        else:
            self._lead(following)

    def _lead(self, following: Following) -> None:
        """Give a listener what the others were told before, and hold what they are told meanwhile."""
        following._held = []
        self._begin(self._leading(following))

    async def _leading(self, following: Following) -> None:
        losses = self._no_losses()
        while not following.closed:
            try:
                told = await poll(self._transport, following.document, following._at)
            except FOR_NOW:
                await self._transport.sleep(losses.wait_s())
            except PlaitError as error:
                self._left(following)
                following._tell(Ended(error))
            else:
                held, following._held = following._held or [], None
                for event in told:
                    following._tell(event)
                for event in held:
                    following._hear(event)
                return

    def _tell_of_arrival(self, following: Following) -> None:
        there = self._subscriptions.get(following.document)
        if there is not None and there.caught_up and there.revision is not None:
            following._hear(CaughtUp(there.revision))

    # One connection after the other

    async def _run(self) -> None:
        blocked = 0
        try:
            while True:
                loss = await self._converse()
                if loss.error is not None:
                    self._end_all(loss.error)
                    return
                self._lose(loss)
                blocked = blocked + 1 if loss.kind == "blocked" else 0
                if blocked >= BLOCKED_MAX:
                    self._begin_streams()
                wait_s = self._losses.wait_s(careful=loss.kind == "careful")
                await self._transport.sleep(BETTER_WAY_S if self._streams else wait_s)
        except Exception as error:
            log.exception("Following failed in a way it should not")
            self._end_all(TransportError(f"The client failed: {error}"))

    async def _converse(self) -> _Loss:
        """Hold one conversation; say how it ended."""
        transport = self._transport
        pulse = Pulse(transport.clock, transport.sleep, WELCOME_TIMEOUT_S)
        follower = Follower(self._subscriptions, self._client)
        headers = transport.session.headers
        hello = "Authorization" not in headers and "Plait-Author" not in headers

        def deliver(signal: Signal) -> None:
            if self._conversation is conversation:
                self._hear(signal)

        conversation = self._conversation = Conversation(follower, pulse, deliver)
        try:
            return _loss_of(await pulse.guard(conversation.hold(transport.session, hello=hello)))
        except Silent as error:
            return _Loss(str(error)) if self._losses.is_connected else await self._probe(str(error))
        except MalformedFrame as error:
            return _Loss(f"The server makes no sense: {error}", "careful")
        except WSServerHandshakeError as error:
            return await self._not_let_in(error)
        except (ClientError, OSError) as error:
            return _Loss(str(error) or type(error).__name__)
        finally:
            if self._conversation is conversation:
                self._conversation = None

    async def _not_let_in(self, error: WSServerHandshakeError) -> _Loss:
        """Find out what an answer other than 101 means."""
        reason = f"The server answered with status {error.status} instead of a WebSocket."
        is_own = "Plait-Should-Retry" in (error.headers or {})
        if is_own and error.status in (401, 403):
            return _Loss(reason, "barred", error_of(error.status, None))
        if is_own and (error.status == 429 or error.status >= 500):
            return _Loss(reason)
        return await self._probe(reason)

    async def _probe(self, reason: str) -> _Loss:
        """Tell whether it is only the socket that does not come through."""
        try:
            await self._transport.send(features(), deadline_s=PROBE_DEADLINE_S)
        except Forbidden as forbidden:
            return _Loss(reason, "barred", forbidden)
        except PlaitError:
            return _Loss(reason)
        return _Loss(reason, "blocked")

    def _lose(self, loss: _Loss) -> None:
        was_connected = self._losses.lost()
        if self._streams:
            return
        self._was_lost = True
        self._turn("reconnecting")
        if was_connected:
            for document in list(self._documents.values()):
                document.tell(Lost(loss.reason))

    # A stream for each document

    def _begin_streams(self) -> None:
        if not self._streams:
            self._streams = True
            for document in self._documents.values():
                self._begin_stream(document)

    def _begin_stream(self, document: _Document) -> None:
        document.is_heard = False
        document.stream = self._begin(self._stream(document))

    async def _stream(self, document: _Document) -> None:
        name = document.name

        def deliver(signal: Signal) -> None:
            if self._documents.get(name) is document:
                self._heard_in_stream(document, signal)

        stream = Stream(
            self._transport, name, self._subscriptions[name], self._reconnect, self._shares, deliver
        )
        try:
            await stream.run()
        except PlaitError as error:
            self._refused(document, error)
        except Exception as error:
            log.exception("Following %s failed in a way it should not", name)
            self._refused(document, TransportError(f"The client failed: {error}"))

    def _heard_in_stream(self, document: _Document, signal: Signal) -> None:
        document.is_heard = not (isinstance(signal, Told) and isinstance(signal.event, Lost))
        if self._streams:
            all_heard = all(each.is_heard for each in self._documents.values())
            self._turn("connected" if all_heard else "reconnecting")
        if isinstance(signal, Told):
            document.tell(signal.event)

    def _end_streams(self) -> None:
        self._streams = False
        for document in self._documents.values():
            if document.stream is not None:
                document.stream.cancel()
                document.stream = None

    # What is heard

    def _hear(self, signal: Signal) -> None:
        match signal:
            case Told(name, event):
                document = self._documents.get(name)
                if document is not None:
                    document.refusals = 0
                    document.tell(event)
            case Welcomed():
                self._end_streams()
                self._losses.connected()
                self._transport.counters.reconnects += self._was_lost
                self._was_lost = False
                self._turn("connected")
            case Throttled(wait_s):
                self.throttled_until = self._transport.clock() + wait_s
            case SentAway():
                self._losses.sent_away(signal)
            case Turned():
                self._turned(signal)

    def _turned(self, turned: Turned) -> None:
        """A document is not told of: now, or at all."""
        document = self._documents.get(turned.document or "")
        if document is None:
            log.debug("The server refused a frame: %s", turned.problem)
        elif turned.retry:
            document.refusals += 1
            self._begin(self._ask_later(document))
        else:
            self._refused(document, error_of(turned.status, turned.problem))

    async def _ask_later(self, document: _Document) -> None:
        policy, transport = self._reconnect, self._transport
        losses = document.refusals - 1
        await transport.sleep(full_jitter(policy.base_s, losses, policy.cap_s, transport.uniform))
        if self._conversation is not None:
            self._conversation.ask(document.name)

    def _refused(self, document: _Document, error: PlaitError) -> None:
        """Follow a document no longer; where it is about who asks, none at all."""
        if isinstance(error, Forbidden):
            self._end_all(error)
        elif self._documents.get(document.name) is document:
            self._drop(document)
            document.tell(Ended(error))

    def _end_all(self, error: PlaitError) -> None:
        ended = list(self._documents.values())
        for document in ended:
            self._drop(document)
        for document in ended:
            document.tell(Ended(error))

    def _turn(self, state: State) -> None:
        if state == self.state:
            return
        self.state = state
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:
                log.exception("A listener failed on the state %s", state)

    def _no_losses(self) -> Losses:
        return Losses(self._reconnect, self._transport.clock, self._transport.uniform)

    def _begin(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _loss_of(code: int | None) -> _Loss:
    match code:
        case 4401:
            return _Loss("", "barred", Forbidden("The server does not know who connects."))
        case 4403:
            return _Loss("", "barred", Forbidden("The server does not let this client connect."))
        case 4400 | 4429 | 1009:
            return _Loss(f"The server closed the connection with code {code}.", "careful")
        case _:
            return _Loss(f"The connection was lost (code {code}).")
