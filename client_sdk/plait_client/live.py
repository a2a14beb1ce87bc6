"""Live updates of many documents over one connection, which comes back by itself.

What is heard and what is missing is decided in `follower`, which does no I/O; here is what carries its
frames, and when to connect again. Every listener is told each revision exactly once, in order, however
often the connection is lost.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import ClientError, WSServerHandshakeError

from plait_client.errors import Forbidden, PlaitError, TransportError, error_of
from plait_client.follower import (
    CaughtUp,
    Ended,
    Event,
    Follower,
    Lost,
    SentAway,
    Signal,
    Subscription,
    Throttled,
    Told,
    Turned,
    Welcomed,
)
from plait_client.frame import MalformedFrame
from plait_client.pulse import Pulse, Silent
from plait_client.request import check_name, features
from plait_client.retry import full_jitter
from plait_client.transport import Transport
from plait_client.websocket import Conversation

log = logging.getLogger(__name__)

WELCOME_TIMEOUT_S: Final = 10.0
PROBE_DEADLINE_S: Final = 10.0

State = Literal["connected", "reconnecting", "offline"]
Listener = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """When to come back: after 0 to `base_s * 2**n` seconds, `cap_s` at most, where n counts the losses
    since a connection was last stable for `stable_s`."""

    base_s: float = 0.5
    cap_s: float = 30.0
    stable_s: float = 10.0


class Following:
    """One listener of one document."""

    __slots__ = ("_listener", "_live", "closed", "document")

    def __init__(self, live: "Live", document: str, listener: Listener) -> None:
        self._live = live
        self._listener = listener
        self.document = document
        self.closed = False

    def close(self) -> None:
        """Hear no more. May be called at any time, also by the listener."""
        if not self.closed:
            self.closed = True
            self._live._left(self)

    def _tell(self, event: Event) -> None:
        if self.closed:
            return
        if isinstance(event, Ended):
            self.closed = True
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

    def tell(self, event: Event) -> None:
        for following in list(self.followings):
            following._tell(event)


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
        headers: Mapping[str, str] | None = None,
        client: str | None = None,
        reconnect: Reconnect | None = None,
        on_state: Callable[[State], object] | None = None,
    ) -> None:
        """The transport lends its session, which has a base URL, its clock, sleep, chance and counters.

        `headers` say who it is (Authorization, Plait-Author), unless the session's do. `client` is a
        name and version for people. `on_state` hears of every change of `state`, and must not block.
        """
        self._transport = transport
        self._headers = dict(headers or {})
        self._reconnect = reconnect or Reconnect()
        self._on_state = on_state
        self._client = client
        self._subscriptions: dict[str, Subscription] = {}
        self._documents: dict[str, _Document] = {}
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._conversation: Conversation | None = None
        self._away: SentAway | None = None
        self._welcomed_at: float | None = None
        self._was_lost = False
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
        following = Following(self, check_name(name), listener)
        document = self._documents.get(name)
        if document is None:
            document = self._documents[name] = _Document(name)
            self._subscriptions[name] = Subscription(revision, epoch)
        document.followings.append(following)
        self._start()
        self._ask(name)
        return following

    async def close(self) -> None:
        """End everything and wait for it. Nobody is told anything any more."""
        self._closed = True
        for document in list(self._documents.values()):
            for following in list(document.followings):
                following.close()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        if self._running is None:
            self._turn("reconnecting")
            self._running = self._begin(self._run())

    def _stop(self) -> None:
        """Disconnect, soon."""
        if self._running is not None:
            for task in self._tasks:
                task.cancel()
            self._running = self._conversation = None
        self._welcomed_at = None
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
        if self._conversation is not None:
            self._conversation.leave(document.name)
        if not self._documents:
            self._stop()

    # One connection after the other

    async def _run(self) -> None:
        losses = 0
        try:
            while True:
                self._away = self._welcomed_at = None
                loss = await self._converse()
                if loss.error is not None:
                    self._end_all(loss.error)
                    return
                losses = 0 if self._was_stable() else losses
                self._lose(loss.reason)
                await self._transport.sleep(self._wait_s(loss, losses))
                losses += 1
        except Exception as error:
            log.exception("Following failed in a way it should not")
            self._end_all(TransportError(f"The client failed: {error}"))

    async def _converse(self) -> _Loss:
        """Hold one conversation; say how it ended."""
        transport = self._transport
        pulse = Pulse(transport.clock, transport.sleep, WELCOME_TIMEOUT_S)
        follower = Follower(self._subscriptions, self._client)
        conversation = self._conversation = Conversation(follower, pulse, self._hear)
        known = {name.lower() for name in (*self._headers, *transport.session.headers)}
        hello = known.isdisjoint(("authorization", "plait-author"))
        try:
            code = await pulse.guard(conversation.hold(transport.session, self._headers, hello=hello))
            return _loss_of(code)
        except Silent as error:
            return _Loss(str(error)) if self._welcomed_at is not None else await self._probe(str(error))
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
        is_its_own = "Plait-Should-Retry" in (error.headers or {})
        if is_its_own and error.status in (401, 403):
            return _Loss(reason, "barred", error_of(error.status, None))
        if is_its_own and (error.status == 429 or error.status >= 500):
            return _Loss(reason)
        return await self._probe(reason)

    async def _probe(self, reason: str) -> _Loss:
        """Tell whether it is only the WebSocket that does not come through."""
        try:
            await self._transport.send(features(), deadline_s=PROBE_DEADLINE_S)
        except Forbidden as forbidden:
            return _Loss(reason, "barred", forbidden)
        except PlaitError:
            return _Loss(reason)
        return _Loss(reason, "blocked")

    def _was_stable(self) -> bool:
        now = self._transport.clock()
        return self._welcomed_at is not None and now - self._welcomed_at >= self._reconnect.stable_s

    def _wait_s(self, loss: _Loss, losses: int) -> float:
        uniform, cap_s = self._transport.uniform, self._reconnect.cap_s
        if self._away is not None:
            return uniform(self._away.wait_s_min, self._away.wait_s_max)
        if loss.kind == "careful":
            return uniform(cap_s / 2, cap_s)
        return full_jitter(self._reconnect.base_s, losses, cap_s, uniform)

    def _lose(self, reason: str) -> None:
        was_connected, self._was_lost = self.state == "connected", True
        self._turn("reconnecting")
        if was_connected:
            for document in list(self._documents.values()):
                document.tell(Lost(reason))

    def _end_all(self, error: PlaitError) -> None:
        ended = list(self._documents.values())
        for document in ended:
            self._drop(document)
        for document in ended:
            document.tell(Ended(error))

    # What is heard

    def _hear(self, signal: Signal) -> None:
        match signal:
            case Told(name, event):
                document = self._documents.get(name)
                if document is not None:
                    if isinstance(event, CaughtUp):
                        document.refusals = 0
                    document.tell(event)
            case Welcomed():
                self._welcomed_at = self._transport.clock()
                self._transport.counters.reconnects += self._was_lost
                self._was_lost = False
                self._turn("connected")
            case Throttled(wait_s):
                self.throttled_until = self._transport.clock() + wait_s
            case SentAway():
                self._away = signal
            case Turned():
                self._turned(signal)

    def _turned(self, turned: Turned) -> None:
        """A document is not told of: now, or at all."""
        document = self._documents.get(turned.document or "")
        if document is None:
            log.warning("The server refused a frame: %s", turned.problem)
        elif turned.retry:
            document.refusals += 1
            self._begin(self._ask_later(document))
        elif turned.status == 401:
            self._end_all(error_of(turned.status, turned.problem))
        else:
            self._drop(document)
            document.tell(Ended(error_of(turned.status, turned.problem)))

    async def _ask_later(self, document: _Document) -> None:
        reconnect, transport = self._reconnect, self._transport
        losses = document.refusals - 1
        await transport.sleep(full_jitter(reconnect.base_s, losses, reconnect.cap_s, transport.uniform))
        self._ask(document.name)

    def _ask(self, name: str) -> None:
        if self._conversation is not None:
            self._conversation.ask(name)

    def _turn(self, state: State) -> None:
        if state == self.state:
            return
        self.state = state
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:
                log.exception("A listener failed on the state %s", state)

    def _begin(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _loss_of(code: int | None) -> _Loss:
    match code:
        case 4401 | 4403:
            error = Forbidden("Who connects is not known." if code == 4401 else "It may not connect.")
            return _Loss(error.detail, "barred", error)
        case 4400 | 4429 | 1009:
            return _Loss(f"The server closed the connection with code {code}.", "careful")
        case _:
            return _Loss(f"The connection was lost (code {code}).")
