"""Leases: while one stands, nobody else changes what it is on. Several people are kept apart, not merged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from itertools import count
from typing import Final

from msgspec import Struct

from plait_client.context import Context
from plait_client.errors import Locked, NotFound, PlaitError, StaleFence
from plait_client.replica.edit import Hold, Patch, touches
from plait_client.wire import request
from plait_client.wire.transport import Answer
from plait_merge import parse_pointer

log = logging.getLogger(__name__)

TTL_S: Final = 30.0
RENEWALS: Final = 3
"""So often a lease is renewed in the time that it would stand without."""

_held: ContextVar[tuple[Lease, ...]] = ContextVar("plait_held", default=())
"""The leases that this task, or thread, is inside of, the innermost last."""


class Lock(Struct, frozen=True):
    """A lease as others see it: on what, who holds it, and when it ends unless it is renewed (RFC 3339)."""

    pointer: str
    holder: str
    expires: str


class _Granted(Struct, frozen=True):
    lock: str
    pointer: str
    holder: str
    fence: int
    ttl_s: float
    expires: str


class Lease:
    """A lease of one's own, as `Document.lock` gives it. It renews itself.

    `pointer` is what it is on, "" the document; a place in an array moves with its element. `fence` is
    higher than that of any lease before, so another system can refuse whoever comes with a lower one.
    `expires` is when it would end without another renewal, as RFC 3339.
    """

    def __init__(self, document: str, context: Context, granted: _Granted) -> None:
        self.document = document
        self.pointer = granted.pointer
        self.holder = granted.holder
        self.fence = granted.fence
        self.ttl_s = granted.ttl_s
        self.expires = granted.expires
        self._context = context
        self._hold = Hold(granted.lock, granted.fence)
        self._until = context.transport.clock() + granted.ttl_s
        self._is_lost = self._is_over = False

    def __repr__(self) -> str:
        state = "lost" if self.lost else "over" if self._is_over else f"until {self.expires}"
        return f"<Lease on {self.pointer!r} of {self.document}, fence {self.fence}, {state}>"

    @property
    def lost(self) -> bool:
        """Whether it ended before it was given back: somebody else may have one now, and edits under this
        one are refused."""
        return self._is_lost or (not self._is_over and self._left_s <= 0)

    @property
    def _left_s(self) -> float:
        return self._until - self._context.transport.clock()

    def _is_held_on(self, document: str, context: Context) -> bool:
        return self.document == document and self._context is context and not self._is_over

    async def _keep(self) -> None:
        """Renew it again and again, until it is lost."""
        while not self.lost:
            await self._context.transport.sleep(self.ttl_s / RENEWALS)
            await self._renew()
        self._is_lost = True
        log.warning("The lease on %r of %s is lost", self.pointer, self.document)

    async def _renew(self) -> None:
        transport = self._context.transport
        asked = transport.clock()
        renewal = request.renewal(self.document, self._hold, self.ttl_s)
        try:
            answer = await transport.send(renewal, deadline_s=max(0.0, self._until - asked))
            granted = answer.read_as(_Granted)
        except (StaleFence, NotFound):
            self._is_lost = True
        except PlaitError as error:
            log.info("The lease on %r of %s is not renewed: %s", self.pointer, self.document, error.detail)
        else:
            self._until = asked + granted.ttl_s
            self.pointer, self.expires = granted.pointer, granted.expires

    async def _release(self) -> None:
        """Give it back; where that cannot be said it ends by itself."""
        self._is_lost, self._is_over = self.lost, True
        if not self._is_lost:
            with suppress(PlaitError):
                release = request.release(self.document, self._hold)
                await self._context.transport.send(release, deadline_s=self._left_s)


class Leases:
    """The leases that a client has on one document. `refresh` reads it, `saved` waits for its edits."""

    def __init__(
        self,
        document: str,
        context: Context,
        refresh: Callable[[], Awaitable[None]],
        saved: Callable[[float], Awaitable[None]],
    ) -> None:
        self._document = document
        self._context = context
        self._refresh = refresh
        self._saved = saved
        self._leases: dict[Lease, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def held(self, pointer: str, ttl_s: float, wait_s: float) -> AsyncGenerator[Lease]:
        """Hold a lease; edits of the document that are made inside are made under it."""
        self._context.check_open()
        parse_pointer(pointer)
        if not ttl_s > 0 or not wait_s >= 0:
            raise ValueError("ttl_s must be above 0, and wait_s not below it")
        lease = await self._granted(pointer, ttl_s, wait_s)
        self._leases[lease] = self._context.begin(lease._keep())
        _held.set((*_held.get(), lease))
        try:
            await self._refresh()  # what is edited under it is what is there now
            yield lease
        finally:
            _held.set(tuple([each for each in _held.get() if each is not lease]))
            await asyncio.shield(self._context.begin(self._end(lease)))

    def current(self, patch: Patch | None = None) -> Hold | None:
        """Give the lease that a patch is to be made under: the innermost, of those it is about if any.

        Raises StaleFence where that is lost.
        """
        held = [lease for lease in _held.get() if lease._is_held_on(self._document, self._context)]
        if not held:
            return None
        about = [lease for lease in held if patch and touches(patch, parse_pointer(lease.pointer))]
        lease = (about or held)[-1]
        if lease.lost:
            raise StaleFence(f"The lease on {lease.pointer!r} of {self._document} is lost.")
        return lease._hold

    async def list(self) -> list[Lock]:
        """Give the leases that anybody has on the document."""
        answer = await self._context.transport.send(request.locks(self._document))
        return answer.read_as(_Locks).locks

    async def close(self) -> None:
        """Give back what is held still."""
        for lease in [*self._leases]:
            await self._end(lease)

    async def _end(self, lease: Lease) -> None:
        """Give a lease back, after the edits that were made under it."""
        if not lease.lost:
            with suppress(PlaitError):
                await self._saved(lease._left_s)
        keeping = self._leases.pop(lease, None)
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await lease._release()

    async def _granted(self, pointer: str, ttl_s: float, wait_s: float) -> Lease:
        """Wait for a lease. Who is cancelled here has none: one that is granted meanwhile is given back."""
        granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._context.begin(self._ask(granted, pointer, ttl_s, wait_s))
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._context.begin(granted.result()._release())
            raise

    async def _ask(self, granted: asyncio.Future[Lease], pointer: str, ttl_s: float, wait_s: float) -> None:
        """Ask until it is granted, it is too late, or nobody waits for it any more."""
        try:
            answer = await self._answer(granted, pointer, ttl_s, wait_s)
            lease = Lease(self._document, self._context, answer.read_as(_Granted))
        except Exception as error:
            if not granted.done():
                granted.set_exception(error)
        else:
            if granted.done():
                await lease._release()
            else:
                granted.set_result(lease)

    async def _answer(
        self, granted: asyncio.Future[Lease], pointer: str, ttl_s: float, wait_s: float
    ) -> Answer:
        """Ask again and again, after waits that are drawn as those of `update` are."""
        transport = self._context.transport
        deadline = transport.clock() + wait_s
        for attempt in count(1):
            try:
                return await transport.send(request.lock(self._document, pointer, ttl_s))
            except Locked:
                wait = transport.retry.contention_wait_s(attempt, transport.uniform)
                if granted.done() or transport.clock() + wait >= deadline:
                    raise
            await transport.sleep(wait)
            self._context.check_open()
        raise AssertionError("unreachable")


class _Locks(Struct, frozen=True):
    locks: list[Lock]
