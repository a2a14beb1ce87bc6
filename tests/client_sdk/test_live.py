"""Live updates from the real server: whatever happens to the connection, nothing is missed or told twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from plait_client.errors import NotFound
from plait_client.follower import CaughtUp, Ended, Event, Moved, Replaced
from plait_client.live import Live
from plait_client.transport import Transport
from plait_merge import ABSENT, apply
from server.live.client import create, replace

Serve = Callable[..., Awaitable[ClientSession]]
LONG_S = 31.0


class Time:
    """A clock that is put forward by hand. Short waits are over at once, and are kept; long ones are not."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.waits: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds < LONG_S:
            self.waits.append(seconds)
            await asyncio.sleep(0)
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, over))
        await over

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        for until, over in self._sleepers:
            if until <= self.now and not over.done():
                over.set_result(None)


class Copy:
    """What one listener makes of what it is told. Fails where a revision is missing or comes twice."""

    def __init__(self, revision: int | None = None, value: Any = None) -> None:
        self.revision = revision
        self.value = value
        self.epoch: str | None = None
        self.told: list[int] = []
        self.events: list[Event] = []
        self._waiting: list[tuple[Callable[[Event], bool], asyncio.Future[None]]] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case Replaced():
                self.revision, self.value, self.epoch = event.revision, event.value, event.epoch
            case Moved():
                assert event.prev == self.revision
                self.told += [part.rev for part in event.parts]
                self.value = apply(self.value, list(event.patch))
                self.revision = event.revision
            case CaughtUp():
                assert event.revision == self.revision
        for wanted, future in self._waiting:
            if not future.done() and wanted(event):
                future.set_result(None)

    async def hears(self, kind: type[Event], revision: int | None = None) -> None:
        """Wait for an event, unless the last one was it."""

        def wanted(event: Event) -> bool:
            return isinstance(event, kind) and revision in (None, getattr(event, "revision", None))

        if self.events and wanted(self.events[-1]):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        async with asyncio.timeout(10):
            await future

    async def reaches(self, revision: int) -> None:
        if self.revision != revision:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((lambda _: self.revision == revision, future))
            async with asyncio.timeout(10):
                await future


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def live(client: ClientSession, time: Time) -> AsyncIterator[Live]:
    live = of(client, time)
    yield live
    await live.close()


def of(session: ClientSession, time: Time, **how: Any) -> Live:
    return Live(Transport(session, clock=time.clock, sleep=time.sleep, uniform=lambda low, high: high), **how)


async def test_a_document_is_followed_from_a_snapshot_on(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    assert (copy.revision, copy.value, live.state) == (1, {"n": 0}, "connected")
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)
    assert (copy.value, copy.told) == ({"n": 1}, [2])


async def test_a_document_is_followed_from_a_revision_on(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    await replace(client, "orders/1", "/n", 1)
    await replace(client, "orders/1", "/n", 2)
    copy = Copy(1, {"n": 0})
    live.follow("orders/1", 1, listener=copy)
    await copy.hears(CaughtUp)
    assert (copy.value, copy.told) == ({"n": 2}, [2, 3])


async def test_deleting_is_a_revision_and_so_is_creating_again(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    async with client.delete("/v1/docs/orders/1", headers={"If-Match": "*"}):
        await copy.reaches(2)
    assert copy.value == ABSENT
    await create(client, "orders/1", {"n": 5})
    await copy.reaches(3)
    assert (copy.value, copy.told) == ({"n": 5}, [2, 3])


async def test_a_document_that_never_was_ends_alone(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    copy, none = Copy(), Copy()
    live.follow("orders/1", listener=copy)
    following = live.follow("orders/none", listener=none)
    await none.hears(Ended)
    (ended,) = none.events
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, NotFound)
    assert following.closed
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)


async def test_there_is_a_connection_only_while_something_is_followed(
    client: ClientSession, time: Time
) -> None:
    states: list[str] = []
    live = of(client, time, on_state=states.append)
    await create(client, "orders/1", {"n": 0})
    assert live.state == "offline"
    for _ in range(2):
        copy = Copy()
        following = live.follow("orders/1", listener=copy)
        await copy.hears(CaughtUp)
        following.close()
    assert states == ["reconnecting", "connected", "offline"] * 2
    await live.close()
