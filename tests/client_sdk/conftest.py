"""The real server, and what goes wrong on the way to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from simulation.faulty_proxy import Decide, FaultyProxy

Through = Callable[[Decide], Awaitable[tuple[ClientSession, FaultyProxy]]]


@pytest.fixture
async def through(client: ClientSession) -> AsyncIterator[Through]:
    """Put a faulty proxy before the server and give a session that goes through it."""
    url = client._base_url
    assert url is not None
    assert url.host is not None
    assert url.port is not None
    host, port = url.host, url.port
    async with AsyncExitStack() as ends:

        async def opened(decide: Decide) -> tuple[ClientSession, FaultyProxy]:
            proxy = FaultyProxy(host, port, decide, delay_s=0.01)
            await proxy.open()
            ends.push_async_callback(proxy.close)
            return await ends.enter_async_context(ClientSession(proxy.url)), proxy

        yield opened
