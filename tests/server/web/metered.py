"""A server whose clock passes when told to, and whose commits can be held back."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from plait_server.config import Settings
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner
from server.service.bench import Clock, TroubledStore


class Metered:
    """A running server and a client of it."""

    def __init__(self, client: ClientSession, clock: Clock, store: TroubledStore) -> None:
        self.client = client
        self.clock = clock
        self.store = store


@asynccontextmanager
async def metered(folder: Path, **given: Any) -> AsyncIterator[Metered]:
    """Serve with some settings; the counters go by a clock of the test's own."""
    clock = Clock()
    settings = Settings(**{"port": 0, "db": folder / "plait.db", **given})
    async with AsyncExitStack() as ends:
        store = TroubledStore(await SqliteStore.open(settings.db))
        service = await Service.open(store, limits=service_limits(settings), monotonic=clock)
        runner = Runner(create_app(service, settings), settings)
        ends.push_async_callback(runner.cleanup)
        ends.callback(store.gate.set)
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port).start()
        host, port = runner.addresses[0][:2]
        client = await ends.enter_async_context(ClientSession(f"http://{host}:{port}"))
        yield Metered(client, clock, store)
