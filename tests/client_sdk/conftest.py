"""The real server, and what goes wrong on the way to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession

from address import address_of
from plait_client import AsyncPlait, Surroundings
from simulation.faulty_proxy import Decide, FaultyProxy

Join = Callable[..., Awaitable[AsyncPlait]]
Through = Callable[[Decide], Awaitable[tuple[ClientSession, FaultyProxy]]]
PASSING_S = 2.0


async def _hurried(seconds: float) -> None:
    """Wait only where what is waited for is a sign of life."""
    await asyncio.sleep(seconds if seconds > PASSING_S else 0)


@pytest.fixture
def hurried() -> Surroundings:
    """A world in which waits are drawn as short as they may be, and short ones are over at once."""
    return Surroundings(sleep=_hurried, uniform=lambda low, high: low)


@pytest.fixture
async def join(client: ClientSession, hurried: Surroundings) -> AsyncIterator[Join]:
    """Open clients of the server, or of a proxy before it; they are closed at the end."""
    async with AsyncExitStack() as ends:

        async def joined(session: ClientSession | None = None, **given: Any) -> AsyncPlait:
            url = str((session or client)._base_url)
            return await ends.enter_async_context(AsyncPlait(url, **{"surroundings": hurried, **given}))

        yield joined


@pytest.fixture
async def through(client: ClientSession) -> AsyncIterator[Through]:
    """Put a faulty proxy before the server and give a session that goes through it."""
    async with AsyncExitStack() as ends:

        async def opened(decide: Decide) -> tuple[ClientSession, FaultyProxy]:
            proxy = FaultyProxy(*address_of(client), decide, delay_s=0.01)
            await proxy.open()
            ends.push_async_callback(proxy.close)
            return await ends.enter_async_context(ClientSession(proxy.url)), proxy

        yield opened
