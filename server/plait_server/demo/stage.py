"""A real server over a temporary file: the one `plait serve` runs, on a free port of this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import ClientSession, TCPConnector, web

from plait_server.config import Settings
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner


@asynccontextmanager
async def staged() -> AsyncIterator[ClientSession]:
    """Start a server with the default settings and give a session with its address; at the end all is gone.

    Neither the environment nor a settings file has a say: the demo is the same everywhere.
    """
    with TemporaryDirectory(prefix="plait-demo-") as folder:
        settings = Settings.model_construct(port=0, db=Path(folder) / "plait.db")
        service = await Service.open(await SqliteStore.open(settings.db), limits=service_limits(settings))
        runner = Runner(create_app(service, settings), settings)
        try:
            await runner.setup()
            await web.TCPSite(runner, settings.host, settings.port).start()
            host, port = runner.addresses[0][:2]
            async with ClientSession(f"http://{host}:{port}", connector=TCPConnector(limit=0)) as session:
                yield session
        finally:
            await runner.cleanup()
