"""From one commit to everybody who follows the document.

A revision is encoded once. Each follower is handed the same frame and queues it, or notes that it is
behind; nobody is ever waited for, so whoever does not read can stop nobody else.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakValueDictionary

from plait_server.service.frame import Frame, Present, document_of, frame_of, rev_frame
from plait_server.service.limits import LiveLimits
from plait_server.service.presence import PresenceBoard
from plait_server.service.request import DocumentKey
from plait_server.service.revision import CommittedRevision
from plait_server.service.session import Publication
from plait_server.store import Address


class Follower(Protocol):
    """A live connection, as the hub knows it. None of these may wait."""

    def published(self, publication: Publication) -> None: ...

    def overtaken(self, document: DocumentKey, n: int) -> None: ...

    def present(self, document: str, session: str, frame: Frame) -> None: ...

    def tick(self, now: float) -> None: ...

    async def go_away(self, reconnect_ms: tuple[int, int]) -> None: ...


GO_AWAY_TIMEOUT_S = 3.0
RECONNECT_MS_MIN = 500
RECONNECT_MS_EACH = 2
"""Those who were sent away together come back one after the other: so much more time for each."""


class Hub:
    """Who follows what; who is where; who waits for the next change. Nothing of it is stored."""

    def __init__(self, limits: LiveLimits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.clock = clock
        """Seconds that only go forward."""
        self.presence = PresenceBoard(limits.presence_ttl_s)
        self.frames: WeakValueDictionary[tuple[Address, int | None, int], Frame] = WeakValueDictionary()
        """Composed frames and snapshots that still wait somewhere: who asks for the same shares them."""
        self._followers: dict[Address, dict[Follower, None]] = {}
        self._connections: dict[Follower, None] = {}
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}
        self._just_told: set[Address] = set()
        """Documents whose followers heard of a revision in this turn of the event loop."""
        self._origins = itertools.count(1)
        self._announcing: asyncio.TimerHandle | None = None
        self._ticking = asyncio.create_task(self._tick(), name="live hub")
        self.closing = False

    def __len__(self) -> int:
        return len(self._connections)

    def next_origin(self) -> int:
        return next(self._origins)

    def connect(self, connection: Follower) -> None:
        self._connections[connection] = None

    def disconnect(self, connection: Follower) -> None:
        self._connections.pop(connection, None)

    def follow(self, address: Address, follower: Follower) -> None:
        """Let a connection hear of every revision of a document from now on, and who is there."""
        self._followers.setdefault(address, {})[follower] = None
        document = address.document
        for session, place in self.presence.here(address):
            frame = frame_of(
                Present(doc=document, session=session, author=place.author, state=dict(place.state))
            )
            follower.present(document, session, frame)

    def leave(self, address: Address, follower: Follower, session: str) -> None:
        followers = self._followers.get(address)
        if followers is None:
            return
        followers.pop(follower, None)
        if not followers:
            del self._followers[address]
        self.presence.leave(address, session)
        self.announce()

    def publish(self, committed: CommittedRevision) -> None:
        """Tell everybody of a durable revision. Cost: some microseconds for each."""
        address, revision = committed.address, committed.revision
        if self._waiting:
            self._wake(address.tenant)
        followers = self._followers.get(address)
        if not followers:
            return
        frame = rev_frame(address.document, revision.n - 1, (revision,))
        follows = self._follows(address)
        publication = Publication(document_of(address.document), revision, frame, follows)
        for follower in list(followers):
            follower.published(publication)
        self.presence.follow(address, revision)
        self.announce()

    def _follows(self, address: Address) -> bool:
        """Tell whether a document had another revision in this turn of the event loop, and note this one."""
        if not self._just_told:
            asyncio.get_running_loop().call_soon(self._just_told.clear)
        follows = address in self._just_told
        self._just_told.add(address)
        return follows

    def overtake(self, address: Address, n: int) -> None:
        """Tell everybody that a document is at revision `n`, where it is not known which were told."""
        self._wake(address.tenant)
        for follower in list(self._followers.get(address, ())):
            follower.overtaken(DocumentKey(address.collection, address.id), n)

    def announce(self) -> None:
        """See that what changed in presence is told soon: together, ten times a second at most."""
        if self.presence.has_changed and self._announcing is None:
            loop = asyncio.get_running_loop()
            self._announcing = loop.call_later(self.limits.presence_interval_s, self._announce)

    def _announce(self) -> None:
        self._announcing = None
        for address, session, author, state in self.presence.changes():
            document = address.document
            plain = None if state is None else dict(state)
            frame = frame_of(Present(doc=document, session=session, author=author, state=plain))
            for follower in list(self._followers.get(address, ())):
                follower.present(document, session, frame)

    @contextmanager
    def listening(self, tenant: str) -> Iterator[asyncio.Future[None]]:
        """Give a future that is done once something of a tenant is committed from now on."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, {})[waiter] = None
        try:
            yield waiter
        finally:
            waiting = self._waiting.get(tenant, {})
            waiting.pop(waiter, None)
            if not waiting:
                self._waiting.pop(tenant, None)

    def _wake(self, tenant: str) -> None:
        for waiter in self._waiting.pop(tenant, {}):
            if not waiter.done():
                waiter.set_result(None)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.limits.tick_s)
            now = self.clock()
            self.presence.expire(now)
            self.announce()
            for connection in list(self._connections):
                connection.tick(now)

    async def go_away(self) -> None:
        """Send everybody away, each with a time to come back at, and let no more in."""
        self.closing = True
        for tenant in list(self._waiting):
            self._wake(tenant)
        latest = RECONNECT_MS_MIN + max(1_000, RECONNECT_MS_EACH * len(self._connections))
        going = [
            asyncio.create_task(connection.go_away((RECONNECT_MS_MIN, latest)))
            for connection in list(self._connections)
        ]
        if going:
            _, slow = await asyncio.wait(going, timeout=GO_AWAY_TIMEOUT_S)
            for each in slow:
                each.cancel()

    async def close(self) -> None:
        """Stop. Whoever is still connected hears nothing any more."""
        await self.go_away()
        if self._announcing is not None:
            self._announcing.cancel()
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
