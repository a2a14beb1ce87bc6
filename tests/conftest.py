"""The real application on a loopback port, over a real SQLite store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from plait_server.config import Settings
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner

Serve = Callable[..., Awaitable[ClientSession]]


@pytest.fixture
def runners() -> list[Runner]:
    """What `serve` has started, for a look at it from inside."""
    return []


@pytest.fixture
async def serve(tmp_path: Path, runners: list[Runner]) -> AsyncIterator[Serve]:
    """Start a server with some settings and give a client of it; the path of the file may be set too."""
    async with AsyncExitStack() as ends:

        async def started(**given: Any) -> ClientSession:
            settings = Settings(**{"port": 0, "db": tmp_path / "plait.db", **given})
            service = await Service.open(await SqliteStore.open(settings.db), limits=service_limits(settings))
            runner = Runner(create_app(service, settings), settings)
            runners.append(runner)
            ends.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, settings.host, settings.port).start()
            host, port = runner.addresses[0][:2]
            return await ends.enter_async_context(ClientSession(f"http://{host}:{port}"))

        yield started


@pytest.fixture
async def client(serve: Serve) -> ClientSession:
    """A client of a server with the default settings."""
    return await serve()
