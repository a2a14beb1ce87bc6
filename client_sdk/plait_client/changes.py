"""What happens to a document, as a stream: each revision once, in order, over many connections if need be."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeVar

from plait_client.context import Context
from plait_client.history import Revision, read_history
from plait_client.live.follower import CaughtUp, Ended, Event, Moved, Replaced
from plait_client.live.frame import Part
from plait_client.live.live import Following
from plait_client.live.reconnect import Reconnect
from plait_client.live.stream import FOR_NOW
from plait_client.replica.edit import Patch
from plait_client.replica.replica import Replica
from plait_client.wire.request import PAGE_ITEMS
from plait_client.wire.retry import full_jitter
from plait_merge import ABSENT, Absent, Json

EVENTS_WAITING_MAX: Final = 250
"""A reader that is slower than that reads what it missed from the history."""
BACKFILL_REVISIONS_MAX: Final = 10_000
BACKFILL_OPERATIONS_MAX: Final = 100_000
PAGE_ITEMS_MIN: Final = 4
"""Whoever missed more is told the value instead."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Change:
    """The document moved from `prev` to `revision` by `patch`; `parts` names who made each of them, and when.

    With `reset` there is no patch: what was missed cannot be told ("epoch": the server was restored from a
    backup; "unknown": it has no such revision; "compacted", "lagging": it is too long ago, or too much), and
    `value` is the document now, ABSENT if deleted.
    """

    prev: int
    revision: int
    patch: Patch
    parts: tuple[Part, ...]
    reset: str | None = None
    value: Json | Absent = ABSENT

    @property
    def author(self) -> str | None:
        """Who made the newest revision in it."""
        return self.parts[-1].author if self.parts else None


class Changes:
    """Follows one document for its replica and for any number of readers."""

    def __init__(
        self,
        name: str,
        replica: Replica,
        context: Context,
        listener: Callable[[Event], None],
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        self._name = name
        self._replica = replica
        self._context = context
        self._listener = listener
        self._refresh = refresh
        self._following: Following | None = None
        self._readers: set[_Reader] = set()
        self._position = 0
        self._kept_open = False

    def keep_open(self) -> None:
        """Follow the document whether somebody reads or not."""
        self._kept_open = True
        self._open()

    def close(self) -> None:
        """Follow no longer; readers come to their end."""
        self._kept_open = False
        for reader in self._readers:
            reader.take(None)
        self._close()

    async def read(self, since: int) -> AsyncGenerator[Change]:
        """Give every change after a revision, for ever. Raises what ends it: NotFound, Forbidden."""
        self._context.check_open()
        reader = _Reader()
        self._readers.add(reader)
        try:
            self._open()
            at = since
            if at > self._position:
                await self._persistently(lambda _: self._refresh())
            async for change in self._missed(at, max(self._position, self._replica.confirmed.revision)):
                at = change.revision
                yield change
            while (event := await reader.next()) is not None:
                async for change in self._led(at, event):
                    at = change.revision
                    yield change
        finally:
            self._readers.discard(reader)
            if not self._readers and not self._kept_open:
                self._close()

    def _open(self) -> None:
        if self._following is None or self._following.closed:
            confirmed = self._replica.confirmed
            self._position = confirmed.revision
            self._following = self._context.live.follow(
                self._name, confirmed.revision, confirmed.epoch, listener=self._hear
            )

    def _close(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Moved | Replaced | CaughtUp):
            self._position = event.revision
        self._listener(event)
        if isinstance(event, Moved | Replaced | Ended):
            for reader in list(self._readers):
                reader.take(event)

    async def _led(self, at: int, event: Event | _Overrun) -> AsyncIterator[Change]:
        """Say what an event adds for a reader that is at a revision."""
        match event:
            case Ended():
                raise event.error
            case Moved() if event.prev == at:
                yield Change(event.prev, event.revision, event.patch, tuple(event.parts))
            case Replaced() if event.reason != "lagging":
                yield Change(at, event.revision, [], (), event.reason or "unknown", event.value)
            case _Overrun(other_history=True):
                yield self._as_reset(at, "epoch")
            case Moved() | Replaced() | _Overrun():
                upto = self._position if isinstance(event, _Overrun) else event.revision
                async for change in self._missed(at, upto):
                    yield change

    async def _missed(self, above: int, upto: int) -> AsyncIterator[Change]:
        """Read what was missed from the history: each revision by itself, or a reset where it is not told."""
        if above > upto:
            if self._replica.confirmed.revision < above:
                yield self._as_reset(above, "unknown")
            return
        if above == upto:
            return
        missed = await self._persistently(lambda losses: self._read_missed(above, upto, losses))
        if isinstance(missed, str):
            yield self._as_reset(above, missed)
            return
        for revision in reversed(missed):
            part = Part(revision.revision, revision.author, revision.at, revision.key)
            yield Change(revision.revision - 1, revision.revision, revision.patch, (part,))

    async def _read_missed(self, above: int, upto: int, losses: int) -> list[Revision] | str:
        """Give the revisions, newest first, or say why that cannot be.

        Pages are asked for smaller the more often that was lost: a network may let nothing large through.
        """
        missed: list[Revision] = []
        if upto - above > BACKFILL_REVISIONS_MAX:
            return "lagging"
        left = BACKFILL_OPERATIONS_MAX
        items = max(PAGE_ITEMS_MIN, PAGE_ITEMS >> losses)
        async with aclosing(read_history(self._context.transport, self._name, items)) as history:
            async for revision in history:
                if revision.revision <= above:
                    break
                if revision.revision <= upto:
                    missed.append(revision)
                    left -= len(revision.patch)
                    if left < 0:
                        return "lagging"
        return missed if len(missed) == upto - above else "compacted"

    async def _persistently(self, read: Callable[[int], Awaitable[Result]]) -> Result:
        """Read, over and over while the server cannot be reached: a reader does not end because of that.

        `read` is told how often it was lost.
        """
        transport = self._context.transport
        for losses in count():
            self._context.check_open()
            try:
                return await read(losses)
            except FOR_NOW:
                policy = Reconnect()
                wait_s = full_jitter(policy.base_s, losses, policy.cap_s, transport.uniform)
                await transport.sleep(wait_s)
        raise AssertionError("unreachable")

    def _as_reset(self, at: int, reason: str) -> Change:
        """Tell the value where the way to it cannot be told."""
        confirmed = self._replica.confirmed
        return Change(at, confirmed.revision, [], (), reason, confirmed.value)


@dataclass(frozen=True, slots=True)
class _Overrun:
    """Events were dropped because the reader was too slow. The history has them, unless it is another one."""

    other_history: bool


class _Reader:
    """What one reader has not read yet, bounded: of what does not fit only that it was there."""

    __slots__ = ("_events", "_woken")

    def __init__(self) -> None:
        self._events: deque[Event | _Overrun | None] = deque()
        self._woken = asyncio.Event()

    def take(self, event: Event | None) -> None:
        if len(self._events) >= EVENTS_WAITING_MAX:
            other = any(
                each.other_history if isinstance(each, _Overrun) else isinstance(each, Replaced)
                for each in self._events
            )
            self._events.clear()
            self._events.append(_Overrun(other))
        self._events.append(event)
        self._woken.set()

    async def next(self) -> Event | _Overrun | None:
        while not self._events:
            self._woken.clear()
            await self._woken.wait()
        return self._events.popleft()
